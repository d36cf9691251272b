"""A thousand WebSocket clients of a running service, four updates a second, and one that does not read.

    python -m benchmarks.streams [--json]

Beside them, in the same run, as many clients that are connected and follow nothing.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.exchange import Walk
from benchmarks.full_scan import PRICES, UNDERLYING, fill_book
from benchmarks.report import main_of, result_of
from benchmarks.serving import RULEBOOK, Process, address, exchange, is_ready, prepare, process, service
from benchmarks.stream_clients import Spec

CLIENTS = 1_000
ACCOUNTS = 10_000
SECONDS = 15.0
MOVES = 8.0
"""New marks of every contract a second: every topic has something to tell at each of its four looks."""


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure; `scale` shrinks clients, accounts and time. Rows: what was followed, frames a second in all and of the
    slowest, the median and the fastest client, p50, p99, p99.9 and worst delay in ms, the service's share of a core,
    clients lost, and how often a snapshot took the place of frames that were not read in time."""
    clients, accounts = max(4, int(CLIENTS * scale)), max(200, int(ACCOUNTS * scale))
    seconds = max(1.5, SECONDS * min(1.0, 10 * scale))
    _allow_files(clients + 200)
    rows: list[dict[str, Any]] = []
    stuck: list[Any] = []
    prices = {name: float(PRICES[underlying]) for name, underlying in UNDERLYING.items()}
    walk = Walk({f"PF_{name}": price for name, price in prices.items()}, {}, MOVES, 10 * seconds + 120)
    with tempfile.TemporaryDirectory() as place, exchange(walk, Path(place)) as venue:
        products = {name: f"PF_{name}" for name in prices}
        made = prepare(
            Path(place), venue.said["url"], products, prices, lambda state: fill_book(state, accounts), clients + 10
        )
        with service(made) as serving:
            port, own = address(serving.said["url"])[1], [f"A{number:07d}" for number in range(max(clients, 150))]
            for what, follow, desk, frozen in (
                ("nothing (only connected)", [], False, 0),
                ("the desk", [], True, 0),
                ("an account each", own, False, 0),
                ("the desk and an account each, one client stuck", own, True, 1),
            ):
                spec = Spec(port, made.keys["desk"], clients, follow, desk, seconds, frozen)
                row, found = _measure(what, spec, serving, Path(place))
                rows.append(row)
                stuck += found["stuck"]
            assert is_ready(serving.said["url"])
    result = result_of(
        workload=f"{clients:,} clients on {accounts:,} accounts with 2 to 4 positions each under {RULEBOOK}; all 13 "
        f"contracts move {MOVES:g} times a second, so that every topic has news at each of its four looks a second",
        method=f"`closeout serve` in a process of its own, the clients in another, the marks from a third; "
        f"{seconds:g} s each; delay: from when the frame's document was worked out until a client had read it",
        rows=rows,
    )
    return result | {"figures": {"the stuck client was closed with": _reasons(stuck)}}


def _allow_files(count: int) -> None:
    """A connection is a file to the system, and it allows few."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def _measure(what: str, spec: Spec, serving: Process, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    command = ["-m", "benchmarks.stream_clients"]
    with process(command, folder / "clients.log", msgspec.json.encode(spec).decode()) as clients:
        time.sleep(1.0)
        begun, at = serving.seconds(), time.monotonic()
        clients.tell("go")
        time.sleep(spec.seconds)
        processor = (serving.seconds() - begun) / (time.monotonic() - at)
        found = clients.last()
    delay = found["delay"] or dict.fromkeys(("p50", "p99", "p99.9", "worst"), 0)
    return {
        "followed": what,
        "frames/s": round(found["frames"] / spec.seconds),
        "slowest": found["rate"]["least"],
        "median": found["rate"]["median"],
        "most": found["rate"]["most"],
        **{f"{name} ms": delay[name] / 1e6 for name in ("p50", "p99", "p99.9", "worst")},
        "share of a core": processor,
        "lost": found["lost"],
        "caught up by a snapshot": sum(n for kind, n in found["kinds"].items() if kind.startswith("snapshot")),
    }, found


def _reasons(stuck: list[dict[str, Any]]) -> str:
    told = [f"{one['code']} {one['reason']}" if one["code"] else f"closed: {one['closed']}" for one in stuck]
    return ", ".join(told) or "none was stuck"


main = main_of(run)

if __name__ == "__main__":
    main()
