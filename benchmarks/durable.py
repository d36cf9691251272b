"""How many commands a second become durable when many stand in one chained frame, and what bounds it.

    python -m benchmarks.durable [--json]

Fills and cash commands, and marks as packed series, each frame encoded, chained and committed with `synchronous=FULL`.
Beside them, in turns on the same disk: the same commands one a commit, and the bare disk, which writes the same bytes
to a file and waits for them. What encoding and chaining take is timed alone as well.
"""

import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.measure import percentiles
from benchmarks.report import Result, main_of, result_of
from closeout.engine.commands import Deposit, Fill, Input, LoadRulebook, Mark, Withdraw
from closeout.engine.series import pack
from closeout.journal.journal import Journal
from closeout.journal.records import Head, document_digest, encode_inputs

DOCUMENT = b"{}"
START = 1_760_108_400_000_000_000
SECOND = 10**9
SEED = 20_251_010
CONTRACTS = tuple(f"CONTRACT{number:02d}" for number in range(20))
SIZES = {1: 2_000, 250: 400, 1_000: 400, 4_000: 200, 16_000: 100}
"""Commits by commands in a frame."""
MARKS = {10_000: 200, 100_000: 100, 1_000_000: 20}
"""Commits by marks in a second, which is a series and a frame."""
ROUNDS = 10
"""The methods take turns this often, so that a slow moment of the machine meets all of them."""
EACH = "each/s"
COMMANDS, MARKED = "fills and cash commands", "marks"
JOURNAL, DISK = "journal", "bare disk"


def commands(count: int) -> list[Input]:
    """Three fills to a deposit or withdrawal, of a million accounts, in twenty contracts."""
    draw = random.Random(SEED)
    found: list[Input] = []
    for number in range(1, count + 1):
        account, contract = f"A{draw.randrange(1_000_000):07d}", draw.choice(CONTRACTS)
        lots, ticks = draw.choice((-3, -1, 1, 2, 10)), 11_683_030 + number % 997
        fill = Fill(account, contract, lots, ticks, f"o{number:08d}", f"f{number:08d}")
        cash = draw.choice((Deposit, Withdraw))(account, draw.randrange(1, 10**10))
        found.append(Input("broker", number, START + number * 5_000, cash if number % 4 == 0 else fill))
    return found


def second_of_marks(count: int) -> list[Input]:
    """One input: a second of so many marks in batches of two contracts."""
    draw = random.Random(SEED)
    batches: list[tuple[int, list[Mark]]] = []
    for number in range(0, count, 2):
        one, other = draw.sample(CONTRACTS, 2)
        prices = draw.randrange(10**6, 10**7), draw.randrange(10**6, 10**7)
        batches.append((START + SECOND * number // count, [Mark(one, prices[0]), Mark(other, prices[1])]))
    return [Input("feed", 1, START + SECOND, pack(batches))]


class InJournal:
    """A journal in SQLite, as it is used: `append` encodes, chains and commits."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        digest = document_digest(DOCUMENT)
        created = Journal.create(folder / "journal.sqlite", engine_version="bench", rulebook_digest=digest)
        self._journal = stack.enter_context(created)
        self._journal.append([Input("bench", 1, 0, LoadRulebook(DOCUMENT))])

    def append(self, inputs: Sequence[Input], payload: bytes) -> None:
        self._journal.append(inputs)


class OnDisk:
    """A file that gets the same bytes, encoded beforehand."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context((folder / "bare").open("ab", buffering=0))

    def append(self, inputs: Sequence[Input], payload: bytes) -> None:
        self._file.write(payload)
        getattr(os, "fdatasync", os.fsync)(self._file.fileno())


METHODS: dict[str, type[InJournal] | type[OnDisk]] = {JOURNAL: InJournal, DISK: OnDisk}


def run(folder: Path | None = None, scale: float = 1.0) -> Result:
    """Measure in a new folder under `folder` (the system's temporary one by default); `scale` shortens the run."""
    rows: list[dict[str, Any]] = []
    pool = commands(max(SIZES))
    for size, commits in SIZES.items():
        rows += _rows(folder, COMMANDS, pool[:size], size, max(ROUNDS, int(commits * scale)))
    single = rows[0][EACH]
    for size, commits in MARKS.items():
        rows += _rows(folder, MARKED, second_of_marks(size), size, max(ROUNDS, int(commits * scale)))
    for row in rows:
        row["it / one a commit"] = row[EACH] / single
    result = result_of(
        workload="three fills to one deposit or withdrawal; marks in batches of two contracts, one series a second",
        method="one writer, synchronous=FULL, one frame a commit; the bare disk writes the same bytes and waits "
        f"(fdatasync), in turns with the journal, {ROUNDS} rounds; encode and chain are timed alone, without the disk",
        rows=rows,
    )
    return {**result, "machine": f"{result['machine']}, SQLite {sqlite3.sqlite_version}"}


def _rows(folder: Path | None, what: str, inputs: list[Input], size: int, commits: int) -> list[dict[str, Any]]:
    payload = encode_inputs(inputs)
    encode, chain = _alone(inputs, payload)
    durations = _durations(folder, inputs, payload, commits)
    speed = {name: len(taken) * size * 1e9 / sum(taken) for name, taken in durations.items()}
    rows: list[dict[str, Any]] = []
    for name, taken in durations.items():
        alone = (encode / size, chain / size) if name == JOURNAL else (0.0, 0.0)
        spread = {f"{key} us": round(value / 1000) for key, value in percentiles(taken).items()}
        rows.append({
            "what": what, "method": name, "a frame": size, EACH: round(speed[name]), **spread,
            "bytes each": len(payload) / size, "encode ns": alone[0], "chain ns": alone[1],
            "journal / it": speed[JOURNAL] / speed[name],
        })  # fmt: skip
    return rows


def _alone(inputs: list[Input], payload: bytes) -> tuple[int, int]:
    """Nanoseconds that a frame's encoding takes, and its checksum and chained digest: the quickest of several."""
    encoded, chained = list[int](), list[int]()
    for _ in range(20):
        begun = time.perf_counter_ns()
        encode_inputs(inputs)
        between = time.perf_counter_ns()
        Head().next_frame(payload, len(inputs))
        encoded.append(between - begun)
        chained.append(time.perf_counter_ns() - between)
    return min(encoded), min(chained)


def _durations(folder: Path | None, inputs: list[Input], payload: bytes, commits: int) -> dict[str, list[int]]:
    """Nanoseconds of each commit by method."""
    durations: dict[str, list[int]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory(dir=folder) as place, ExitStack() as stack:
        places = {name: method(Path(place), stack) for name, method in METHODS.items()}
        for _ in range(ROUNDS):
            for name, method in places.items():
                for _ in range(commits // ROUNDS):
                    begun = time.perf_counter_ns()
                    method.append(inputs, payload)
                    durations[name].append(time.perf_counter_ns() - begun)
    return durations


main = main_of(run)

if __name__ == "__main__":
    main()
