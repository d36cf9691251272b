"""How fast a recorded crash is replayed, and what durability costs in it.

    python -m benchmarks.replay_speed [--json]

The same run three times, in turns: with its journal on disk, as `closeout replay` does it; with the journal in memory,
where the system has a folder for that; and without one. Nothing else differs, so the difference is the journal's.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.report import main_of, result_of
from closeout.engine.commands import Input
from closeout.journal.journal import Journal
from closeout.rulebooks import loader
from closeout.studies.market import load_market
from closeout.studies.outcome import Run
from closeout.studies.population import generate
from closeout.studies.replay import Replay, Settings

WINDOW = "oct-10"
SIZES = (1_000, 10_000)
RULEBOOKS = ("reference", "kraken-us:as_if_24x7")
SEED = 1
ROUNDS = 3
IN_MEMORY = Path("/dev/shm")  # noqa: S108 (only scratch folders that are removed again)


class NoJournal:
    """Takes what a journal takes and keeps nothing."""

    def append(self, inputs: Sequence[Input]) -> int:
        return len(inputs)

    def record(self, seq: int, events: Sequence[object]) -> None: ...

    def checkpoint(self, seq: int, engine: object) -> str:
        return ""

    def published(self) -> str:
        return ""

    def close(self) -> None: ...


def _without_journal() -> AbstractContextManager[Any]:
    return mock.patch.object(Journal, "create", return_value=NoJournal())


METHODS: dict[str, tuple[Path | None, Callable[[], AbstractContextManager[Any]]]] = {
    "journal on disk": (None, nullcontext),
    "journal in memory": (IN_MEMORY, nullcontext),
    "no journal": (None, _without_journal),
}


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure; `scale` shrinks the number of accounts and of rounds. Rows: rulebook, accounts, inputs, events,
    close-outs, method, median and worst seconds, bars, inputs and events a second, and the median over that without a
    journal."""
    market = load_market([WINDOW])
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        book = generate(SEED, max(20, int(size * scale)), market)
        for name in RULEBOOKS:
            prepare = partial(Replay, market, book, loader.load(name), WINDOW, Settings())
            rows += _rows(prepare, max(1, int(ROUNDS * scale)))
    return result_of(
        workload=f"window {WINDOW}, one-minute bars of one contract played as four marks each; population of seed "
        f"{SEED}; default venue",
        method=f"Median of {ROUNDS} rounds, the methods in turns; from the first input to the final digest, without "
        "reading the market, making the population and writing reports; every frame waits for the disk",
        rows=rows,
    )


def _rows(prepare: Callable[[], Replay], rounds: int) -> list[dict[str, Any]]:
    methods = {name: how for name, how in METHODS.items() if how[0] is None or how[0].is_dir()}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, (folder, around) in methods.items():
            replay = prepare()
            with tempfile.TemporaryDirectory(dir=folder) as place, around():
                run = replay.run(Path(place) / "journal.sqlite")
            seconds[name].append(run.seconds)
    bars = len(replay.bars)
    without = statistics.median(seconds["no journal"])
    return [_row(name, run, bars, seconds[name], without) for name in methods]


def _row(method: str, run: Run, bars: int, taken: list[float], without: float) -> dict[str, Any]:
    seconds = statistics.median(taken)
    return {
        "rulebook": run.rulebook,
        "accounts": len(run.accounts),
        "close-outs": len(run.receipts),
        "inputs": run.inputs,
        "events": run.events,
        "method": method,
        "seconds": seconds,
        "worst s": max(taken),
        "bars/s": round(bars / seconds),
        "inputs/s": round(run.inputs / seconds),
        "events/s": round(run.events / seconds),
        "it / no journal": seconds / without,
    }


main = main_of(run)

if __name__ == "__main__":
    main()
