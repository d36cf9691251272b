"""The shape of a benchmark's result, and how it is printed: as it is, or as lines of the README's table."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.index import show
from benchmarks.measure import machine, number, table

Result = dict[str, Any]
Line = tuple[str, str, str]
"""What was done, what it took, and what the baseline took in the same run."""


def result_of(*, workload: str, method: str, rows: list[dict[str, Any]]) -> Result:
    return {"machine": machine(), "workload": workload, "method": method, "rows": rows}


def text_of(result: Result) -> str:
    """All of it for people; `figures`, where a benchmark has them, are single numbers by name."""
    if "crossings_per_mark" in result:
        return show.text_of(result)
    said = [f"{name}: {text}" for name, text in result.items() if name not in ("rows", "figures")]
    figures = [{"figure": name, "value": value} for name, value in result.get("figures", {}).items()]
    return "\n".join([*said, "", table(result["rows"]), *(["", table(figures)] if figures else [])])


def main_of(run: Callable[[], Result]) -> Callable[[], None]:
    """A script's `main`: run in full, print for people, or with ``--json`` as one document."""

    def main() -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        given = parser.parse_args()
        result = run()
        print(json.dumps(result, indent=2) if given.json else text_of(result))

    return main


def markdown_of(results: Mapping[str, Result]) -> str:
    """The README's table: one line a claim, then the machine, and per benchmark what was run and how. A name may have a
    workload behind a dot."""
    lines: list[Line] = [("what", "measured", "beside it, in the same run")]
    lines.append(("---", "---", "---"))
    for name, result in results.items():
        lines += show.lines_of(result) if name.startswith("index") else LINES[name](result["rows"])
        lines += [(f"{name}: {figure}", _shown(value), "") for figure, value in result.get("figures", {}).items()]
    said = [f"| {' | '.join(line)} |" for line in lines]
    machines = {result["machine"]: list[str]() for result in results.values()}
    for name, result in results.items():
        machines[result["machine"]].append(name)
    said += [""]
    for told, names in machines.items():
        of = "" if len(machines) == 1 else f" ({', '.join(names)})"
        said.append(f"Machine{of}: {told}.")
    said += [""]
    said += [f"- `closeout bench {_called(name)}`: {r['workload']}. {r['method']}." for name, r in results.items()]
    return "\n".join(said)


def _called(name: str) -> str:
    """The command of a result's name."""
    benchmark, _, workload = name.partition(".")
    return f"{benchmark} --workload {workload}" if workload else benchmark


def _by(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], dict[str, dict[str, Any]]]:
    """Rows of one case together, by method."""
    cases: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault(tuple(row[key] for key in keys), {})[row["method"]] = row
    return cases


def _spread(row: Mapping[str, Any], unit: str) -> str:
    """p50, p99 and worst of a row."""
    return ", ".join(f"{key} {number(row[f'{key} {unit}'])} {unit}" for key in ("p50", "p99", "worst"))


def scan_lines(rows: list[dict[str, Any]]) -> list[Line]:
    found: list[Line] = []
    for (accounts, positions), methods in _by(rows, "accounts", "positions").items():
        scan, exact_over_float = methods["scan"], 1 / methods["float64"]["it / scan"]
        found.append(
            (
                f"all {accounts:,} accounts ({positions:,} positions) judged by a full scan after a batch of 20 marks",
                f"{_spread(scan, 'ms')}; {scan['ns an account']} ns an account; "
                f"{number(scan['peak MiB'])} MiB in the process",
                f"one by one in Python: {number(methods['one by one']['it / scan'])} times as long; float64 in NumPy: "
                f"{number(methods['float64']['p50 ms'])} ms, so exactness costs {number(exact_over_float)} times",
            )
        )
    return found


def replay_lines(rows: list[dict[str, Any]]) -> list[Line]:
    found: list[Line] = []
    for (rulebook, accounts), methods in _by(rows, "rulebook", "accounts").items():
        disk, without = methods["journal on disk"], methods["no journal"]
        found.append(
            (
                f"oct-10 replayed over {accounts:,} accounts under {rulebook}, {disk['close-outs']:,} close-outs",
                f"{number(disk['seconds'])} s (worst {number(disk['worst s'])} s): {disk['bars/s']:,} bars/s, "
                f"{disk['inputs/s']:,} inputs/s, "
                f"{disk['events/s']:,} events/s",
                f"without a journal {number(without['seconds'])} s, so durability costs "
                f"{number(disk['it / no journal'])} times",
            )
        )
    return found


def journal_lines(rows: list[dict[str, Any]]) -> list[Line]:
    found: list[Line] = []
    for (size,), methods in _by(rows, "inputs a frame").items():
        journal, sqlite, file = methods["journal"], methods["plain SQLite"], methods["file + fsync"]
        postgres = methods.get("journal in PostgreSQL")
        found.append(
            (
                f"inputs made durable, {size:,} a commit",
                f"{journal['inputs/s']:,} inputs/s; {_spread(journal, 'us')} a commit"
                + (f"; in PostgreSQL {postgres['inputs/s']:,} inputs/s, {_spread(postgres, 'us')}" if postgres else ""),
                f"plain SQLite {sqlite['inputs/s']:,}, a bare file with fsync {file['inputs/s']:,} inputs/s",
            )
        )
    return found


def durable_lines(rows: list[dict[str, Any]]) -> list[Line]:
    found: list[Line] = []
    for (what, size), methods in _by(rows, "what", "a frame").items():
        journal, disk = methods["journal"], methods["bare disk"]
        found.append(
            (
                f"{what} made durable in chained frames, {size:,} a commit",
                f"{journal['each/s']:,}/s, {number(journal['it / one a commit'])} times one a commit; "
                f"{_spread(journal, 'us')} a commit; without the disk, encoding {number(journal['encode ns'])} ns and "
                f"chaining {number(journal['chain ns'])} ns each",
                f"the bare disk with the same bytes ({number(disk['bytes each'])} each) {disk['each/s']:,}/s",
            )
        )
    return found


def recovery_lines(rows: list[dict[str, Any]]) -> list[Line]:
    taken = {row["what"]: f"{number(row['seconds'])} s" for row in rows}
    left_out = ("the bare disk with the image's bytes", "the same inputs without a journal")
    disk, alone = (f"{what} {taken[what]}" for what in left_out)
    beside = {"snapshot: image made, hashed and stored": disk, "inputs applied again": alone}
    return [(what, seconds, beside.get(what, "")) for what, seconds in taken.items() if what not in left_out]


def start_up_lines(rows: list[dict[str, Any]]) -> list[Line]:
    nothing, *commands = rows
    baseline = f"`{nothing['command']}`: p50 {number(nothing['p50 ms'])} ms"
    return [(f"`{row['command']}` from a cold start", _spread(row, "ms"), baseline) for row in commands]


def feed_lines(rows: list[dict[str, Any]]) -> list[Line]:
    *measured, bare = rows
    baseline = f"{bare['what']}: {_tail(bare)}"
    return [(f"{row['what']} ({row['samples']:,} times)", _tail(row), baseline) for row in measured]


def order_lines(rows: list[dict[str, Any]]) -> list[Line]:
    *served, engine = rows
    alone = f"{engine['what']}: {engine['answered/s']:,}/s, {_tail(engine)}"
    found: list[Line] = []
    for row in served:
        asked = f"{row['asked/s']:,} asked for a second" if row["asked/s"] else "as many as are taken"
        what = f"{row['what']}, {asked}, {row['marks/s']} marks a second"
        found.append((what, f"{row['answered/s']:,}/s, {_tail(row)}", alone))
    return found


def stream_lines(rows: list[dict[str, Any]]) -> list[Line]:
    idle, *following = rows
    baseline = f"{idle['followed']}: {number(idle['share of a core'])} of a core"
    return [
        (
            f"streams followed: {row['followed']}",
            f"{row['frames/s']:,} frames/s, {number(row['slowest'])} to {number(row['most'])} a client; {_tail(row)}; "
            f"{number(row['share of a core'])} of a core",
            baseline,
        )
        for row in following
    ]


def page_lines(rows: list[dict[str, Any]]) -> list[Line]:
    idle, *pages = rows
    baseline = (
        f"{idle['page']}: {number(idle['frames/s'])} frames/s, {number(idle['browser'])} of a core; the service "
        f"{number(idle['service'])}"
    )
    return [
        (
            f"{row['page']}, {row['seconds']:,} s",
            f"{number(row['updates/s'])} updates/s drawn, {_tail(row)} behind the service; {number(row['frames/s'])} "
            f"frames/s, {row['long tasks']} long tasks (longest {row['longest ms']} ms); {number(row['browser'])} of a "
            f"core, the service {number(row['service'])}; heap {number(row['heap MiB'])} MiB, at the end "
            f"{number(row['at the end'])}; {row['DOM nodes']:,} nodes, {number(row['page KiB'])} KiB to load",
            baseline,
        )
        for row in pages
    ]


def _tail(row: Mapping[str, Any]) -> str:
    """p50, p99, p99.9 and worst of a row in ms."""
    return ", ".join(f"{key} {number(row[f'{key} ms'])} ms" for key in ("p50", "p99", "p99.9", "worst"))


def _shown(value: object) -> str:
    return value if isinstance(value, str) else number(float(str(value)))


LINES: dict[str, Callable[[list[dict[str, Any]]], list[Line]]] = {
    "scan": scan_lines,
    "replay": replay_lines,
    "journal": journal_lines,
    "durable": durable_lines,
    "recovery": recovery_lines,
    "start-up": start_up_lines,
    "feeds": feed_lines,
    "orders": order_lines,
    "streams": stream_lines,
    "pages": page_lines,
}
