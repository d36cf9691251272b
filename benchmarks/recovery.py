"""How long a large book takes to come back: from a snapshot, and from the inputs after it applied again.

    closeout bench recovery [--accounts N] [--inputs N] [--json]

The book is opened by one command, a snapshot of it is stored, then orders, their fills and cash commands are journaled
and applied. The journal is closed, opened again, proven, and recovered; the digest must be the one that was left.
Beside it in the same run: the bare disk, which writes the image's bytes, and the same inputs applied without a journal.
"""

import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.full_scan import START, Walk, fill_book, rulebook
from benchmarks.full_scan import Desk as Bulk
from benchmarks.report import Result, main_of, result_of
from closeout.engine.commands import CheckOrder, Deposit, Fill, Input, LoadRulebook, OpenBook, SessionChange, Withdraw
from closeout.engine.engine import Engine
from closeout.engine.events import AnyEvent
from closeout.journal.journal import Journal
from closeout.journal.records import document_digest

ACCOUNTS = INPUTS = 1_000_000
FRAME = 1_000
SEED = 20_251_010
SECOND = 10**9
LEAST = 200


def drawn_book(count: int) -> tuple[list[Any], OpenBook]:
    """The commands before the book, and the book: that of `bench scan`, as one command."""
    desk = Bulk(rulebook())
    marks = Walk(desk.state).now()
    desk.offer(marks)
    fill_book(desk.state, count)
    book, table = desk.state.book, desk.state.book.positions
    first, rows = book.count - count, slice(0, table.count)
    command = OpenBook(
        tuple(book.ids[first:]),
        tuple(desk.state.contracts),
        book.column("cash")[first:].astype("<i8").tobytes(),
        (table.account[rows].astype("<i8") - first).tobytes(),
        table.contract[rows].astype("<i8").tobytes(),
        table.lots[rows].astype("<i8").tobytes(),
        table.cost[rows].astype("<i8").tobytes(),
    )
    sessions = (("cme_crypto", "intraday"), ("bitnomial", "intraday"), ("cme_equity", "end_of_day"))
    before = [SessionChange(session, window, True) for session, window in sessions]
    return [LoadRulebook(rulebook().document()), *before, marks], command


def later(engine: Engine, accounts: int, count: int) -> Iterator[list[Input]]:
    """Frames of inputs: an order and its fill, a deposit, a withdrawal, each of any account, in turns."""
    draw, number = random.Random(SEED), engine.sources["bench"]
    state, frame = engine.loaded, list[Input]()
    names = list(state.contracts)
    order = ("", "", 0)
    for index in range(count):
        account, kind = f"A{draw.randrange(accounts):07d}", index % 4
        if kind == 0:
            order = account, draw.choice(names), draw.choice((-1, 1))
            command = CheckOrder(account, f"o{index}", *order[1:])
        elif kind == 1:
            ticks = state.contracts[order[1]].mark or 0
            command = Fill(*order, ticks, f"o{index - 1}", f"f{index}")
        else:
            command = Deposit(account, draw.randrange(1, 10**8)) if kind == 2 else Withdraw(account, 10_000)
        number += 1
        frame.append(Input("bench", number, START + 100 * SECOND + number, command))
        if len(frame) == FRAME:
            yield frame
            frame = []
    if frame:
        yield frame


class Stages:
    """Seconds by stage, in the order in which they ended."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        print(f"bench recovery: {what}", file=sys.stderr, flush=True)
        begun, used = time.perf_counter(), time.process_time()
        yield
        self.add(what, time.perf_counter() - begun, time.process_time() - used)

    def add(self, what: str, seconds: float, used: float) -> None:
        self.rows.append({"what": what, "seconds": round(seconds, 3), "of processor": round(used, 3)})


def run(scale: float = 1.0, accounts: int = ACCOUNTS, inputs: int = INPUTS, folder: Path | None = None) -> Result:
    """Measure in a new folder under `folder` (the system's temporary one by default); `scale` shrinks the work."""
    accounts, inputs = max(LEAST, int(accounts * scale)), max(LEAST, int(inputs * scale))
    stages = Stages()
    before, book = drawn_book(accounts)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "journal.sqlite"
        image, digest, positions = _live(path, stages, [*before, book], accounts, inputs)
        _bare_disk(Path(place) / "bare", image, stages)
        found = _recovered(path, stages)
        size = path.stat().st_size
    again = Engine.restore(image)
    with stages.timed("the same inputs without a journal"):
        for frame in later(again, accounts, inputs):
            for given in frame:
                again.apply(given)
    if not found == digest == again.digest():
        raise RuntimeError(f"recovery: digest {found}, left was {digest}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    figures = {
        "digest": "equal", "image MB": len(image) / 1e6, "journal MB": size / 1e6, "peak MiB of the process": peak,
    }  # fmt: skip
    result = result_of(
        workload=f"{accounts:,} accounts with {positions:,} positions in 20 contracts opened by one command; then "
        f"{inputs:,} inputs: orders, their fills, deposits, withdrawals, {FRAME:,} a frame",
        method="one process; the journal in SQLite, synchronous=FULL; recovery proves every frame and restores the "
        "image, whose digest it compares, before it applies the inputs again",
        rows=stages.rows,
    )
    return {**result, "figures": figures}


def _live(path: Path, stages: Stages, first: list[Any], accounts: int, inputs: int) -> tuple[bytes, str, int]:
    """Journal and apply everything; the image after the book, the digest at the end, and the number of positions."""
    engine = Engine()
    digest = document_digest(first[0].document)
    with Journal.create(path, engine_version=Engine.version, rulebook_digest=digest) as journal:

        def put(frame: list[Input]) -> None:
            last = journal.append(frame)
            for seq, given in enumerate(frame, last - len(frame) + 1):
                journal.record(seq, engine.apply(given))

        numbered = [Input("bench", number, START + number * SECOND, command) for number, command in enumerate(first, 1)]
        put(numbered[:-1])
        with stages.timed("book opened by one journaled command"):
            put(numbered[-1:])
        positions = engine.loaded.book.positions.count
        with stages.timed("image of the book made"):
            image = engine.snapshot()
        with stages.timed("snapshot: image made, hashed and stored"):
            journal.snapshot(journal.last_seq, engine)
        with stages.timed("inputs journaled and applied"):
            for frame in later(engine, accounts, inputs):
                put(frame)
    return image, engine.digest(), positions


def _bare_disk(path: Path, image: bytes, stages: Stages) -> None:
    with stages.timed("the bare disk with the image's bytes"), path.open("wb", buffering=0) as file:
        file.write(image)
        os.fsync(file.fileno())


def _recovered(path: Path, stages: Stages) -> str:
    """The digest of the engine that comes back."""
    with stages.timed("journal opened, every frame proven"):
        journal = Journal.open(path)
    begun: list[tuple[float, float]] = [(time.perf_counter(), time.process_time())]

    def applied(_: int, __: Input, ___: list[AnyEvent]) -> None:
        if len(begun) == 1:
            begun.append((time.perf_counter(), time.process_time()))

    with journal:
        engine, _ = journal.recover(Engine, applied)
        begun.append((time.perf_counter(), time.process_time()))
    for what, start, end in zip(("image restored and proven", "inputs applied again"), begun, begun[1:], strict=False):
        stages.add(what, end[0] - start[0], end[1] - start[1])
    return engine.digest()


main = main_of(run)

if __name__ == "__main__":
    main()
