"""Order checks over HTTP by an outside load, with 100,000 accounts in the service and the market moving.

    python -m benchmarks.order_checks [--json]

Requests come from another process: at fixed rates (open loop, `benchmarks.http_load`), and as many as are taken (closed
loop; by wrk where it is installed, by `benchmarks.http_load` otherwise). Beside them GET /health of the same service,
which does no work, and the engine's check alone.
"""

import json
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.exchange import Walk
from benchmarks.full_scan import PRICES, SEED, UNDERLYING, fill_book
from benchmarks.http_load import Load
from benchmarks.measure import percentiles
from benchmarks.report import main_of, result_of
from benchmarks.serving import RULEBOOK, Process, address, exchange, is_ready, prepare, process, service
from closeout.core.times import SECOND
from closeout.engine.commands import AnyCommand, CheckOrder, Input, LoadRulebook, Mark, Marks, SessionChange
from closeout.engine.engine import Engine
from closeout.engine.events import Rejected
from closeout.engine.state import State
from closeout.rulebooks import loader

ACCOUNTS = 100_000
CONNECTIONS = 32
RATES = (200, 500, 1_000)
SECONDS = 8.0
MOVES = (1, 10)
"""New marks a second of each of three contracts."""
MOVING = ("PBTCUCZ50", "PETHIUZ50", "MES")
ORDERED = ("PBTCUCZ50", "PETHIUZ50", "MET", "MES")
MOST = 60_000
"""Requests of one measurement."""
LUA = Path(__file__).with_name("order_checks.lua")


def orders(accounts: int) -> list[tuple[str, str, str]]:
    """One lot, long or short, of accounts drawn by chance."""
    draw = random.Random(SEED)
    return [
        (f"A{draw.randrange(accounts):07d}", draw.choice(ORDERED), draw.choice(("1", "-1")))
        for _ in range(min(MOST, accounts))
    ]


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure; `scale` shrinks accounts, rates and times. Rows: what, marks a second, requests asked for and answered a
    second, p50, p99, p99.9 and worst in ms, and approved and failed ones."""
    accounts, seconds = max(100, int(ACCOUNTS * scale)), max(0.5, SECONDS * min(1.0, 10 * scale))
    rates = [max(20, int(rate * min(1.0, 10 * scale))) for rate in RATES]
    rows: list[dict[str, Any]] = []
    for moves in MOVES:
        with tempfile.TemporaryDirectory() as folder:
            rows += _served(Path(folder), accounts, moves, rates, seconds)
    rows.append(_engine_alone(accounts))
    return result_of(
        workload=f"{accounts:,} accounts with 2 to 4 positions each under {RULEBOOK}, SQLite; order checks of one lot, "
        f"each for an account drawn by chance and with a key of its own; {len(MOVING)} contracts move",
        method=f"`closeout serve` in a process of its own, the load in another, the marks from a third; {CONNECTIONS} "
        f"connections, {seconds:g} s each; open loop: an answer's time counts from when its request was due; closed "
        f"loop: by {'wrk' if shutil.which('wrk') else 'benchmarks/http_load.py'}",
        rows=rows,
    )


def _served(folder: Path, accounts: int, moves: int, rates: list[int], seconds: float) -> list[dict[str, Any]]:
    prices = {name: float(PRICES[underlying]) for name, underlying in UNDERLYING.items()}
    moving = {f"PF_{name}": prices[name] for name in MOVING}
    resting = {f"PF_{name}": price for name, price in prices.items() if name not in MOVING}
    walk = Walk(moving, resting, moves, 20 * seconds + 60)
    with exchange(walk, folder) as venue:
        products = {name: f"PF_{name}" for name in prices}
        place = prepare(folder, venue.said["url"], products, prices, lambda state: fill_book(state, accounts))
        with service(place) as serving:
            time.sleep(min(2.0, seconds))  # the first marks
            found = _measure(serving, place.keys["broker"], folder, accounts, rates, seconds)
            assert is_ready(serving.said["url"])
    return [{"what": row.pop("what"), "marks/s": moves * len(MOVING)} | row for row in found]


def _measure(
    serving: Process, key: str, folder: Path, accounts: int, rates: list[int], seconds: float
) -> list[dict[str, Any]]:
    port = address(serving.said["url"])[1]
    asked = orders(accounts)
    rows: list[dict[str, Any]] = []
    for rate in rates:
        load = Load(port, CONNECTIONS, MOST, seconds, rate, key, f"r{rate}", asked)
        rows.append(_row("order checks, open loop", rate, _ask(load, folder)))
    for what, given in (("order checks, closed loop", asked), ("GET /health, closed loop", [])):
        load = Load(port, CONNECTIONS, MOST, seconds, 0.0, key, "most", given)
        rows.append(_row(what, 0, _wrk(load, folder) if shutil.which("wrk") else _ask(load, folder)))
    return rows


def _ask(load: Load, folder: Path) -> dict[str, Any]:
    command = ["-m", "benchmarks.http_load"]
    with process(command, folder / "load.log", msgspec.json.encode(load).decode()) as loading:
        loading.tell("go")
        found = loading.last()
    found["failed"] = found["asked"] - found["statuses"].get("200", 0)
    return found


def _wrk(load: Load, folder: Path) -> dict[str, Any]:
    """The closed loop by wrk; it does not count what was approved."""
    listed = folder / "orders.txt"
    listed.write_text("".join(f"{' '.join(order)}\n" for order in load.orders), encoding="utf-8")
    arguments = [load.key, load.prefix, str(listed)] if load.orders else []
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s", "-s", str(LUA)]
    command += [f"http://127.0.0.1:{load.port}", "--", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=load.seconds + 60)
    found = json.loads(done.stdout.splitlines()[-1])
    found["per second"] = found["answered"] / found["seconds"]
    return found | {"approved": 0, "failed": found["refused"]}


def _row(what: str, rate: int, found: dict[str, Any]) -> dict[str, Any]:
    shown = {f"{name} ms": found["latency"][name] / 1e6 for name in ("p50", "p99", "p99.9", "worst")}
    counted = {"approved": found["approved"], "failed": found["failed"]}
    return {"what": what, "asked/s": rate, "answered/s": round(found["per second"]), **shown, **counted}


def _engine_alone(accounts: int) -> dict[str, Any]:
    """The same checks by the engine in this process: no HTTP, no journal, no store."""
    engine = Engine()
    taken: list[int] = []
    number = approved = 0

    def apply(command: AnyCommand) -> int:
        nonlocal number
        number += 1
        given = Input("bench", number, 1_760_108_400 * SECOND + number, command)
        begun = time.perf_counter_ns()
        events = engine.apply(given)
        duration = time.perf_counter_ns() - begun
        assert not any(isinstance(event, Rejected) for event in events), events
        return duration

    apply(LoadRulebook(loader.load(RULEBOOK).document()))
    for session in sorted({str(contract.session) for contract in engine.loaded.contracts.values()}):
        apply(SessionChange(session, "intraday", True))
    apply(Marks(tuple(_marks(engine.loaded))))
    fill_book(engine.loaded, accounts)
    begun = time.perf_counter()
    for index, (account, contract, quantity) in enumerate(orders(accounts)):
        taken.append(apply(CheckOrder(account, f"o{index}", contract, int(quantity))))
        approved += f"o{index}" in engine.loaded.order_owner
    seconds = time.perf_counter() - begun
    found = {"latency": percentiles(taken), "per second": len(taken) / seconds, "approved": approved, "failed": 0}
    return {"what": "the engine's check alone", "marks/s": 0} | {
        name: value for name, value in _row("", 0, found).items() if name != "what"
    }


def _marks(state: State) -> list[Mark]:
    prices = {name: PRICES[underlying] for name, underlying in UNDERLYING.items()}
    return [Mark(name, round(prices[name] / float(found.contract.tick))) for name, found in state.contracts.items()]


main = main_of(run)

if __name__ == "__main__":
    main()
