"""A venue's messages into a running service: how soon a price is judged, how soon an order goes out, what piles up.

    python -m benchmarks.feed_load [--json] [--seconds N]

Beside it, in the same run, a client that reads the same messages and does nothing with them. The recording is not part
of the project; it lies next to the checkout, and without it there is nothing to measure.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.exchange import Recording
from benchmarks.report import result_of, text_of
from benchmarks.serving import RULEBOOK, Process, exchange, is_ready, prepare, process
from closeout.core.units import InputError
from closeout.engine import ledger
from closeout.engine.state import State

RECORDING = Path(__file__).parents[2] / "shared" / "data" / "recordings" / "KRAKEN_FUTURES.ws.1.0"
SECONDS = 360.0
"""An hour at ten times the speed."""
SPEED = 10.0
FALL = 0.10
ACCOUNTS = 2_000
SEED = 20_210_722
PLACES = 10**6

MARKETS = {
    "PETHIUZ50": ("PI_ETHUSD", 2004.8),
    "PBTCUCZ50": ("FI_XBTUSD_210924", 32_200.0),
    "MBT": ("FI_XBTUSD_210730", 32_180.0),
    "MET": ("FI_ETHUSD_210730", 2010.0),
    "ETH": ("FI_ETHUSD_211231", 2040.0),
    "PSOLUZ50": ("PI_LTCUSD", 119.4),
}
"""Contract -> the recorded product whose prices stand for it, and about where they begin."""
REWRITTEN = (
    "the recording has 30.6 seconds of ten products, 7,134 messages after the acknowledgements; it is played ten times "
    "as fast and looped. REWRITTEN are: time and timestamp of each message (the moment it is sent; trades inside a "
    "trade_snapshot keep theirs), seq (goes on from loop to loop), bid and ask of ticker_lite (they fall evenly by "
    f"{FALL:.0%} over the run, so that close-outs go on happening; book and trade keep their prices, which the "
    "service does not read). ADDED is `sent` to each ticker_lite. Books and trades of all ten products are sent though "
    "the service subscribes to six tickers only; the tickers of the other four are left out. The products stand for "
    "contracts of the rulebook: " + ", ".join(f"{product} for {name}" for name, (product, _) in MARKETS.items())
)


def fill(state: State) -> None:
    """One long position an account, worth about 15,000; cash such that each is at its line after a fall of its own,
    even between 0.5 and 15 percent."""
    draw, book = np.random.default_rng(SEED), state.book
    first = book.add_all([f"A{number:05d}" for number in range(ACCOUNTS)])
    held = draw.integers(0, len(MARKETS), ACCOUNTS)
    for index, name in enumerate(MARKETS):
        contract = state.contracts[name]
        assert contract.mark is not None
        rows = np.flatnonzero(held == index) + first
        facts, window, size = contract.contract, contract.window, len(rows)
        one = facts.notional(contract.mark, 1)
        lots = np.full(size, max(1, 15_000 * PLACES // one))
        notional, fall = lots * one, draw.uniform(0.005, 0.15, size)
        line = notional * (1 - fall) * contract.tiers[0].rate[window.requirement] / window.auto_liquidate
        book.cash[rows] = np.rint(line + notional * fall).astype(np.int64)
        book.positions.load(rows, np.full(size, contract.index), lots, contract.mark * lots * facts.unit_value)
        contract.load()
    state.ledger.post(ledger.SEGREGATED_BANK, ledger.CUSTOMER_CASH, int(book.column("cash")[first:].sum()))


def run(scale: float = 1.0, seconds: float | None = None) -> dict[str, Any]:
    """Measure for `seconds`, or for six minutes times `scale`. Rows: what, how often, and p50, p99, p99.9 and worst in
    ms. `figures`: messages, memory and what waited. `InputError` without the recording."""
    if not RECORDING.is_file():
        raise InputError(f"bench feeds: {RECORDING.name} is not there; the recordings are not part of the project")
    seconds = max(2.0, SECONDS * scale) if seconds is None else seconds
    spec = Recording(str(RECORDING), seconds, SPEED, FALL)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        alone = _alone(spec, folder)
        played, found, memory, processor = _served(spec, folder)
    rows = [
        _row(name, found["latencies"].get(kind))
        for name, kind in (
            ("price sent to verdicts published", "verdict"),
            ("verdict published to order taken by the venue", "order"),
            ("price sent to order taken by the venue", "price to order"),
        )
    ]
    rows.append(_row("price sent to read by a bare client", alone["latencies"]["read"]))
    result = result_of(
        workload=f"Kraken futures, {seconds / 60 * SPEED:g} minutes of messages in {seconds:g} s; {ACCOUNTS:,} "
        f"accounts with a position each under {RULEBOOK}, SQLite, the simulated venue, no mail",
        method="three processes on one machine: the venue's server, the service (what `closeout serve` runs, in a "
        "process that also listens at the feed, the writer and the order desk) and this one; every sample counted; "
        "the bare client ran before it for a tenth of the time",
        rows=rows,
    )
    return result | {"rewritten": REWRITTEN, "figures": _figures(played, found, memory, processor, seconds)}


def _row(what: str, spread: dict[str, int] | None) -> dict[str, Any]:
    """Zeros where there was no sample: nothing was closed out."""
    spread = spread or dict.fromkeys(("count", "p50", "p99", "p99.9", "worst"), 0)
    return {"what": what, "samples": spread["count"]} | {
        f"{name} ms": spread[name] / 1e6 for name in ("p50", "p99", "p99.9", "worst")
    }


def _alone(spec: Recording, folder: Path) -> dict[str, Any]:
    seconds = max(1.0, spec.seconds / 10)
    products = [product for product, _ in MARKETS.values()]
    shorter = Recording(spec.path, seconds, spec.speed, spec.fall)
    with (
        exchange(shorter, folder) as venue,
        process(["-m", "benchmarks.feed_probe", venue.said["url"], *products], folder / "listen.log") as client,
    ):
        time.sleep(seconds + 0.5)
        return client.last()


def _served(spec: Recording, folder: Path) -> tuple[dict[str, Any], dict[str, Any], list[float], float]:
    """What the venue sent, what the probe found, the service's memory once a second, and its share of a core."""
    prices = {name: price for name, (_, price) in MARKETS.items()}
    with exchange(spec, folder) as venue:
        products = {name: product for name, (product, _) in MARKETS.items()}
        place = prepare(folder, venue.said["url"], products, prices, fill)
        with process(["-m", "benchmarks.feed_probe", str(place.config)], folder / "service.log") as service:
            memory, processor = _wait(service, spec.seconds)
            assert is_ready(service.said["url"])
            found = service.last()
            return venue.last(), found, memory, processor


def _wait(service: Process, seconds: float) -> tuple[list[float], float]:
    memory: list[float] = []
    begun, at = service.seconds(), time.monotonic()
    while time.monotonic() < at + seconds + 1:
        time.sleep(min(1.0, seconds / 10))
        memory.append(service.memory())
    return memory, (service.seconds() - begun) / (time.monotonic() - at)


def _figures(
    played: dict[str, Any], found: dict[str, Any], memory: list[float], processor: float, seconds: float
) -> dict[str, Any]:
    third = max(1, len(memory) // 3)
    replies = 2 + len(MARKETS)
    return {
        "messages sent": played["sent"],
        "messages a second": played["sent"] / seconds,
        "messages heard": found["messages"] - replies,
        "prices among them": played["prices"],
        "malformed": found["malformed"],
        "out of order, gaps, reconnects": found["out of order"] + found["gaps"] + found["reconnects"],
        "marks replaced by newer ones before the journal": found["conflated"],
        "inputs": found["inputs"],
        "frames": found["frames"],
        "close-outs": found["close-outs"],
        "close-out orders": found["orders"],
        "commands waiting, mean": mean(found["queue"] or [0]),
        "commands waiting, most": max(found["queue"], default=0),
        "inputs that the store is behind, mean": mean(found["lag"] or [0]),
        "inputs that the store is behind, most": max(found["lag"], default=0),
        "memory in the first third, MiB": mean(memory[:third]),
        "memory in the last third, MiB": mean(memory[-third:]),
        "memory at most, MiB": max(memory),
        "share of a core": processor,
        "venue's server behind its own times at most, ms": played["late ms"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--seconds", type=float, help=f"how long; {SECONDS:g} without it")
    given = parser.parse_args()
    result = run(seconds=given.seconds)
    print(json.dumps(result, indent=2) if given.json else text_of(result))


if __name__ == "__main__":
    main()
