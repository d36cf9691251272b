"""The durable log of what the world told the engine (rules G-09, G-16, G-17).

One writer per file. `append` returns once its inputs are on disk; only then may the engine's events go out. The caller
decides how many inputs one frame holds: a frame is one commit. What the engine refuses stays in the journal, which
keeps what was offered (G-09).

    journal = Journal.create(path, engine_version=Engine.version, rulebook_digest=document_digest(document))
    last = journal.append(inputs)
    for seq, item in enumerate(inputs, last - len(inputs) + 1):
        journal.record(seq, engine.apply(item))
    journal.checkpoint(last, engine)

A kill at any instant loses nothing that `append` returned. What nobody can see in a file alone is a tail that was taken
away cleanly, checkpoints included (or the ``-wal`` file beside it, after a kill): for that, note `published` elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from closeout.core.units import InputError
from closeout.engine.commands import Input
from closeout.engine.events import AnyEvent
from closeout.journal.reader import (
    APPLICATION_ID,
    BUSY_MILLISECONDS,
    FORMAT,
    SCHEMA,
    JournalReader,
    check_exists,
    check_is_journal,
    damage,
)
from closeout.journal.records import (
    Checkpoint,
    EngineLike,
    Head,
    Outputs,
    Receipt,
    Segment,
    Snapshot,
    VerificationError,
    check_rulebook,
    digest_of_image,
    encode_inputs,
)
from closeout.journal.rerun import Rerun, restore

E = TypeVar("E", bound=EngineLike)

SETTINGS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 2000",
    f"PRAGMA journal_size_limit = {64 * 2**20}",
)


class Journal(JournalReader):
    """The one writer of a journal file. After a failed write it takes nothing more: open the file again, which reads
    what is durable. `notes` says in plain lines what recovery had to work around."""

    def __init__(self, path: Path, connection: sqlite3.Connection, fence: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self.notes: list[str] = []
        self._fence = fence
        self._head = Head()
        self._outputs = Outputs()
        self._recorded: int | None = None  # the last input whose events are known; None until recovery
        self._unstored: list[Receipt] = []
        self._failed = False
        self._closed = False

    @classmethod
    def create(cls, path: Path | str, *, engine_version: str, rulebook_digest: str) -> Journal:
        """A new journal; `InputError` if the file exists. `rulebook_digest` is `records.document_digest` of the
        document that the first input loads."""
        path = Path(path)
        try:
            path.open("xb").close()
        except FileExistsError:
            raise InputError(f"{path}: exists already, a journal is never overwritten") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be created: {error.strerror}") from None
        journal = _connect(path)
        try:
            with journal._transaction():
                for statement in (
                    f"PRAGMA application_id = {APPLICATION_ID}",
                    f"PRAGMA user_version = {FORMAT}",
                    *SCHEMA,
                ):
                    journal._connection.execute(statement)
                journal._start_segment(journal._head.next_segment(engine_version, rulebook_digest, b""))
        except BaseException:
            journal.close()
            path.unlink()
            raise
        journal._recorded = 0
        return journal

    @classmethod
    def open(cls, path: Path | str) -> Journal:
        """Open for appending, the whole file proven first (`check`); `recover` before appending."""
        path = Path(path)
        check_exists(path)
        JournalReader.read(path).close()  # so that nothing is written to a file that is not a journal
        journal = _connect(path)
        try:
            check_is_journal(path, journal._connection)
            journal._head = journal.check()
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Store what is left to be stored and let the file go; may be called twice. Unless somebody reads it just now,
        the file then stands alone: whoever reads it later leaves no log beside it, and it can lie where nothing may be
        written."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._unstored and not self._failed:
                with self._transaction():
                    pass
            if self._recorded is not None and not self._failed:
                with suppress(sqlite3.OperationalError):
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA journal_mode = DELETE")
        finally:
            super().close()
            with suppress(OSError):
                _fence_path(self.path).unlink(missing_ok=True)
            self._fence.close()

    # writing

    def append(self, inputs: Sequence[Input]) -> int:
        """Make inputs durable as one frame; the number of the last one."""
        self._need_recovery()
        if not inputs:
            raise ValueError("a frame holds at least one input")
        if self._head.seq == 0:
            try:
                check_rulebook(self.segments()[0], "", inputs[0])
            except VerificationError as error:
                raise ValueError(str(error)) from None
        frame = self._head.next_frame(encode_inputs(inputs), len(inputs))
        with self._transaction():
            self._connection.execute("INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?)", frame)
        self._head.frame, self._head.seq, self._head.chain = frame.number, frame.last_seq, frame.chain
        return frame.last_seq

    def record(self, seq: int, events: Sequence[AnyEvent]) -> None:
        """Take the events of input `seq`, of each input in turn. Receipts are stored with the next commit: until then
        they follow from the inputs, which are durable already."""
        if self._need_recovery() + 1 != seq or seq > self._head.seq:
            raise ValueError(f"input {seq}: recorded are {self._recorded}, durable are {self._head.seq}")
        self._recorded = seq
        self._unstored += self._outputs.add(seq, events)

    def checkpoint(self, seq: int, engine: EngineLike) -> str:
        """Write down what stands after the last input `seq`; its published digest."""
        self._need_all_recorded(seq)
        outputs, head = self._outputs, self._head
        row = Checkpoint(head.segment, seq, engine.digest(), outputs.events, outputs.digest, head.chain)
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)", row)
        return row.published

    def snapshot(self, seq: int, engine: EngineLike) -> None:
        """Store the engine's image after the last input `seq`: recovery starts from it."""
        self._need_all_recorded(seq)
        with self._transaction():
            self._insert_snapshot(engine, engine.snapshot())

    def upgrade(self, engine_class: type[E], rulebook_digest: str | None = None) -> tuple[E, int]:
        """Instead of `recover`: start a segment for another engine version, or another rulebook, from the snapshot at
        the journal's end. `InputError` if there is none, `VerificationError` if it is damaged."""
        segment = self.segments()[-1]
        newest = self.stored_snapshot(segment.number, self._head.seq)
        if newest is None:
            raise InputError(
                f"{self.path}: no snapshot at its end, input {self._head.seq}: "
                f"recover it with engine {segment.engine_version} and take one before the upgrade"
            )
        try:
            newest.check_image()
        except VerificationError as error:
            raise self.named(error) from None
        engine = engine_class.restore(newest.image)
        self._outputs = Outputs(newest.events, newest.events_digest)
        image = engine.snapshot()
        digest = segment.rulebook_digest if rulebook_digest is None else rulebook_digest
        with self._transaction():
            self._start_segment(self._head.next_segment(engine_class.version, digest, digest_of_image(image)))
            self._insert_snapshot(engine, image)
        self._recorded = self._head.seq
        return engine, self._head.seq

    # recovery

    def recover(self, engine_class: type[E]) -> tuple[E, int]:
        """The engine as it stood, and the last input's number: the newest good snapshot, later frames applied again,
        every checkpoint and receipt on the way compared. A damaged snapshot is passed over, and `notes` says so.

        `InputError` if the last segment is another engine version's, `VerificationError` at the first difference."""
        last = self.segments()[-1]
        if last.engine_version != engine_class.version:
            raise InputError(
                f"{self.path}: recorded by engine {last.engine_version}, this is {engine_class.version}: "
                "recover with the recorded version, or upgrade from a snapshot at its end"
            )
        engine, outputs, seq = self._start(engine_class)
        rerun = Rerun(self, engine, outputs)
        checkpoints = {(row.segment, row.seq): row for row in self.checkpoints()}
        try:
            for frame in self.frames(after_seq=seq):
                rerun.frame(frame)
                if found := checkpoints.get((frame.segment, frame.last_seq)):
                    rerun.compare(found, frame.chain)
        except VerificationError as error:
            raise self.named(error) from error.__cause__
        self._outputs, self._recorded = rerun.outputs, self._head.seq
        self._unstored = rerun.unstored
        return rerun.engine, self._head.seq

    def _start(self, engine_class: type[E]) -> tuple[E, Outputs, int]:
        """Where recovery starts: the newest good snapshot of this engine version, or a new engine at input 0."""
        segments = self.segments()
        others = [row.number for row in segments if row.engine_version != engine_class.version]
        first = max(others, default=0) + 1
        for number, seq in self.snapshot_keys():
            snapshot = self.stored_snapshot(number, seq)
            if number < first or snapshot is None:
                break
            try:
                engine = restore(snapshot, engine_class, self._chain_at(number, seq))
            except VerificationError as error:
                self.notes.append(f"{self.path}: {error}; passed over for an earlier start")
            else:
                return engine, Outputs(snapshot.events, snapshot.events_digest), seq
        if first > 1:
            raise VerificationError(f"{self.path}: segment {first} has no good snapshot to start from")
        return engine_class(), Outputs(), 0

    def _chain_at(self, segment: int, seq: int) -> bytes:
        query = "SELECT chain FROM frame WHERE segment = ? AND last_seq = ?"
        row = self._connection.execute(query, (segment, seq)).fetchone()
        if row is None:
            row = self._connection.execute("SELECT chain FROM segment WHERE number = ?", (segment,)).fetchone()
        return row[0] if row else b""

    # helpers

    def _start_segment(self, segment: Segment) -> None:
        self._connection.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)", segment)
        self._head.enter(segment)

    def _insert_snapshot(self, engine: EngineLike, image: bytes) -> None:
        head, outputs = self._head, self._outputs
        image_digest = digest_of_image(image)
        row = Snapshot(
            head.segment, head.seq, engine.digest(), outputs.events, outputs.digest, head.chain, image_digest, image
        )
        self._connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _need_recovery(self) -> int:
        if self._recorded is None:
            raise ValueError("recover before appending")
        return self._recorded

    def _need_all_recorded(self, seq: int) -> None:
        if not self._need_recovery() == self._head.seq == seq:
            raise ValueError(f"input {seq}: recorded are {self._recorded}, durable are {self._head.seq}")

    @contextmanager
    def _transaction(self) -> Generator[None]:
        """One durable commit, receipts not stored yet included. After a failure nobody knows what the disk holds, so
        the journal refuses all further writes."""
        if self._failed:
            raise ValueError(f"{self.path}: an earlier write failed; open the journal again")
        self._failed = True
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.executemany("INSERT INTO receipt VALUES (?, ?, ?)", self._unstored)
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._unstored.clear()
        self._failed = False


def _connect(path: Path) -> Journal:
    """Open for writing behind the fence: an empty file whose lock the operating system drops with its process.

    Two writers would break the chain, and SQLite before 3.51.3 can damage a file that two connections write."""
    fence = sqlite3.connect(_fence_path(path), isolation_level=None, timeout=0)
    try:
        fence.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        fence.close()
        raise InputError(f"{path}: another writer has this journal open") from None
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        for setting in SETTINGS:
            connection.execute(setting)
    except sqlite3.DatabaseError as error:
        fence.close()
        raise damage(path, error) from None
    return Journal(path, connection, fence)


def _fence_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-writer")
