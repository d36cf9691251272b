"""The result of `closeout bench index` for people, and as lines of the README's table."""

from typing import Any

from benchmarks.measure import number, table

Result = dict[str, Any]
Line = tuple[str, str, str]

NAMED = {
    "calm": "calm walk",
    "hot": "walk of one contract that has a quarter of all positions",
    "crash": "10 October 2025, synthetic between the prices of its bars",
    "adversarial": "every account next to its line, marks that swing about it",
}
"""What a workload is called in the table; the lines below it say all."""
LISTS = ("rows", "growth", "sweep", "switch")


def text_of(result: Result) -> str:
    """All that was measured; what does not belong to the workload is left out."""
    said: list[str] = []
    for name, value in result.items():
        if name in LISTS or value is None:
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_number(each)}" for key, each in value.items())
        said.append(f"{name.replace('_', ' ')}: {_number(value)}")
    tables = [table(_even(result[name])) for name in LISTS if result[name]]
    return "\n\n".join(["\n".join(said), *tables])


def _even(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the same keys in each, those of the longest, and a dash where one has no value."""
    names = list(max(rows, key=len))
    return [{name: "-" if row.get(name) is None else row[name] for name in names} for row in rows]


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


def lines_of(result: Result) -> list[Line]:
    """One line a claim."""
    return [
        *_marks_lines(result),
        *_batch_lines(result),
        *_growth_lines(result),
        *_sweep_lines(result),
        *_switch_lines(result),
    ]


def _marks_lines(result: Result) -> list[Line]:
    if not result["ns_per_mark"]:
        return []
    each, rows = result["single_marks"], [row for row in result["rows"] if row.get("p50 us")]
    us = ", ".join(f"{name} {number(each[f'{name} us'])}" for name in ("p50", "p99", "p99.9", "worst"))
    what = (
        f"{NAMED[result['name']]}: {result['marks']:,} marks, each a batch of its own, over {result['accounts']:,} "
        f"accounts ({result['positions']:,} positions)"
    )
    measured = (
        f"{result['marks_per_second']:,.0f} marks a second ({number(result['ns_per_mark'] / 1000)} us each, "
        f"{_crossings(result)}){_finding(result)}; given one by one "
        f"{us} us; {result['fallen']:,} accounts closed out, the same in the "
        f"same order as the reference: {_yes(result['order_as_reference'])}; "
        f"{number(result['marks_seconds'])} s for all marks and {number(result['fills_seconds'])} s for "
        f"{result['close_out_orders']:,} fills, after which {result['owing']:,} owe; "
        f"{result['peak_bytes_per_account']:,.0f} bytes an account at the peak; the engine with a full scan instead, "
        f"over {result['digest_accounts']:,} accounts and {result['digest_batches']:,} batches with "
        f"{result['digest_fallen']:,} closed out: the same digest and the same events in the same order: "
        f"{_yes(result['digest_equal'] and result['events_equal'])}"
    )
    beside = "; ".join(_beside(row, result["accounts"]) for row in rows)
    return [(what, measured, f"a mark: {beside}")]


def _beside(row: dict[str, Any], accounts: int) -> str:
    fewer = "" if row["accounts"] == accounts else f" with {row['accounts']:,} accounts"
    times = f" ({number(row['it / closeout'])} times)" if row["it / closeout"] else ""
    return f"{row['method']}{fewer} {_time(row['p50 us'])}{times}"


def _time(us: float) -> str:
    return f"{number(us)} us" if us < 1000 else f"{number(us / 1000)} ms"


def _finding(result: Result) -> str:
    """The part of a mark that the baselines do as well; it is timed where marks come in series."""
    if not result["finding_ratio_to_full_scan"]:
        return ""
    return (
        f", of which {number(result['finding_ns_per_mark'] / 1000)} us to find who changes level "
        f"({number(result['finding_ratio_to_incremental'])} times as fast as the compiled incremental pass, "
        f"{number(result['finding_ratio_to_full_scan'])} times as fast as the compiled scan)"
    )


def _crossings(result: Result) -> str:
    if result["crossings_per_mark"] is None:
        return "by scan"
    crossed, judged = number(result["crossings_per_mark"]), number(result["touched_per_mark"])
    return f"{crossed} triggers crossed and {judged} accounts judged"


def _batch_lines(result: Result) -> list[Line]:
    if not result["worst_batch_ms"]:
        return []
    touched = "" if result["most_touched"] is None else f", at most {result['most_touched']:,} accounts judged"
    return [
        (
            f"all contracts at once in each batch, every one of {result['accounts']:,} accounts next to its line",
            f"worst batch {number(result['worst_batch_ms'])} ms{touched}",
            f"{number(result['worst_batch_to_full_scan'])} times the engine's full scan, "
            f"{number(result['worst_batch_to_exact_scan'])} times a compiled scan with every mechanism on one thread, "
            f"{number(result['worst_batch_to_compiled_scan'])} times the compiled one of one coefficient a position",
        )
    ]


def _growth_lines(result: Result) -> list[Line]:
    if not result["growth"]:
        return []
    first, last = result["growth"][-3], result["growth"][-1]  # 100,000 to 3,000,000 accounts in a full run
    steps = "; ".join(
        f"{row['accounts']:,} accounts {number(row['ns a mark'] / 1000)} us"
        + ("" if row["crossings a mark"] is None else f" ({number(row['crossings a mark'])} crossings)")
        for row in result["growth"]
    )
    times = number(last["ns a mark"] / first["ns a mark"])
    grown = number(last["accounts"] / first["accounts"])
    return [
        (
            "a mark that crosses as many triggers in a larger book",
            steps,
            f"{grown} times the accounts, {times} times the cost",
        )
    ]


def _sweep_lines(result: Result) -> list[Line]:
    """A line for each share of accounts near their line; its steps in one cell."""
    shares: dict[str, list[dict[str, Any]]] = {}
    for row in result["sweep"]:
        shares.setdefault(row["share near"], []).append(row)
    return [
        (
            f"{share} of {result['accounts']:,} accounts near their line; calm steps, and 10 and 100 times as large",
            "; ".join(_step(row) for row in rows),
            "incremental pass " + ", ".join(f"{number(row['it / closeout'])}" for row in rows) + " times as long",
        )
        for share, rows in shares.items()
    ]


def _step(row: dict[str, Any]) -> str:
    crossed = "" if row["crossings a mark"] is None else f" ({number(row['crossings a mark'])} crossings)"
    return f"{number(row['ns a mark'] / 1000)} us a mark{crossed}"


def _switch_lines(result: Result) -> list[Line]:
    if not result["switch"]:
        return []
    rows = result["switch"]
    middle = sorted(rows, key=lambda row: row["verdicts / bare"])[len(rows) // 2]
    return [
        (
            f"a session's switch for all {result['accounts']:,} accounts ({result['positions']:,} positions)",
            f"every verdict after {number(middle['verdicts ms'])} ms; triggers laid anew within "
            f"{number(middle['rebuild s'])} s, of {middle['marks meanwhile']:,} marks meanwhile the worst took "
            f"{number(middle['worst us'] / 1000)} ms",
            f"a bare pass over the same columns {number(middle['bare pass ms'])} ms: "
            f"{number(middle['verdicts / bare'])} times",
        )
    ]


def _yes(value: object) -> str:
    return "yes" if value else "no"
