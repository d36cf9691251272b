"""How many inputs a second become durable, and how long a commit takes.

    python -m benchmarks.journal_inputs

Beside the journal, in turns with it on the same disk: a plain SQLite table under the same settings without checksum,
chain or fence, and a bare file with one write and one fsync a frame; and, where PostgreSQL is installed, the journal in
a server on the same disk. All encode the same inputs.
"""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, percentiles, table
from closeout.engine.commands import ENCODER, Input, LoadRulebook, Mark, Marks
from closeout.journal.journal import Journal
from closeout.journal.records import document_digest
from closeout.journal.sqlite import SETTINGS

DOCUMENT = b"{}"
COMMITS = {1: 3_000, 100: 1_500, 1_000: 600}
"""Commits of each method by inputs in a frame."""
ROUNDS = 10
"""The methods take turns this often, so that a slow moment of the machine meets all of them."""

Append = Callable[[Sequence[Input]], object]


def workload(count: int) -> list[Input]:
    """Batches of three marks, as a feed sends them."""
    contracts = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    start = 1_760_132_400_000_000_000
    return [
        Input("feed", n, start + n * 100_000_000, Marks(tuple(Mark(name, 11_683_030 + n % 997) for name in contracts)))
        for n in range(1, count + 1)
    ]


def open_journal(folder: Path, stack: ExitStack) -> Append:
    return _open_journal(folder / "journal.sqlite", stack)


def open_journal_in_postgres(_: Path, stack: ExitStack) -> Append:
    from tests.postgres import running_server

    return _open_journal(stack.enter_context(running_server(fsync="on")), stack)


def _open_journal(address: Path | str, stack: ExitStack) -> Append:
    digest = document_digest(DOCUMENT)
    journal = stack.enter_context(Journal.create(address, engine_version="bench", rulebook_digest=digest))
    journal.append([Input("bench", 1, 0, LoadRulebook(DOCUMENT))])
    return journal.append


def open_plain_sqlite(folder: Path, stack: ExitStack) -> Append:
    connection = stack.enter_context(closing(sqlite3.connect(folder / "plain.sqlite", isolation_level=None)))
    for setting in SETTINGS:
        connection.execute(setting)
    connection.execute("CREATE TABLE frame (number INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT")

    def append(inputs: Sequence[Input]) -> None:
        payload = ENCODER.encode(inputs)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO frame (payload) VALUES (?)", (payload,))
        connection.execute("COMMIT")

    return append


def open_bare_file(folder: Path, stack: ExitStack) -> Append:
    file = stack.enter_context((folder / "bare").open("ab", buffering=0))

    def append(inputs: Sequence[Input]) -> None:
        file.write(ENCODER.encode(inputs))
        os.fsync(file.fileno())

    return append


def methods() -> dict[str, Callable[[Path, ExitStack], Append]]:
    """What is measured; PostgreSQL where its programs and driver are."""
    found: dict[str, Callable[[Path, ExitStack], Append]] = {
        "journal": open_journal,
        "plain SQLite": open_plain_sqlite,
        "file + fsync": open_bare_file,
    }
    if find_spec("psycopg") and find_spec("pytest"):
        from tests.postgres import programs

        if programs():
            found["journal in PostgreSQL"] = open_journal_in_postgres
    return found


def run(folder: Path | None = None, scale: float = 1.0) -> dict[str, Any]:
    """Measure in a new folder under `folder` (the system's temporary one by default); `scale` shortens the run.

    Each row: method, inputs a frame, inputs a second, microseconds per commit, and the journal's inputs a second over
    this method's (1 = as fast; 0.5 = the journal takes twice as long).
    """
    rows: list[dict[str, object]] = []
    for frame_size, commits in COMMITS.items():
        commits = max(ROUNDS, int(commits * scale))
        durations = _measure(folder, frame_size, commits)
        speed = {name: len(taken) * frame_size * 1e9 / sum(taken) for name, taken in durations.items()}
        for name, taken in durations.items():
            spread = {f"{key} us": round(value / 1000) for key, value in percentiles(taken).items()}
            row = {"method": name, "inputs a frame": frame_size, "inputs/s": round(speed[name]), **spread}
            rows.append({**row, "journal / it": speed["journal"] / speed[name]})
    return {
        "machine": f"{machine()}, SQLite {sqlite3.sqlite_version}",
        "workload": f"inputs of three marks each, {len(ENCODER.encode(workload(1))) - 1} bytes; one frame a commit",
        "method": f"one writer; every commit waits for the disk; the methods in turns, {ROUNDS} rounds",
        "rows": rows,
    }


def _measure(folder: Path | None, frame_size: int, commits: int) -> dict[str, list[int]]:
    """Nanoseconds of each commit by method."""
    inputs = workload(frame_size)
    openers = methods()
    durations: dict[str, list[int]] = {name: [] for name in openers}
    with tempfile.TemporaryDirectory(dir=folder) as place, ExitStack() as stack:
        appends = {name: opener(Path(place), stack) for name, opener in openers.items()}
        for _ in range(ROUNDS):
            for name, append in appends.items():
                for _ in range(commits // ROUNDS):
                    start = time.perf_counter_ns()
                    append(inputs)
                    durations[name].append(time.perf_counter_ns() - start)
    return durations


def main() -> None:
    result = run()
    rows = result.pop("rows")
    for name, text in result.items():
        print(f"{name}: {text}")
    print()
    print(table(rows))


if __name__ == "__main__":
    main()
