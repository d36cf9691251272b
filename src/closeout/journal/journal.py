"""The durable log of what the world told the engine (rules G-09, G-16, G-17).

One writer per journal. `append` returns once its inputs are on disk; only then may the engine's events go out. The
caller decides how many inputs one frame holds: a frame is one commit. What the engine refuses stays in the journal,
which keeps what was offered (G-09).

    journal = Journal.create(path, engine_version=Engine.version, rulebook_digest=document_digest(document))
    last = journal.append(inputs)
    for seq, item in enumerate(inputs, last - len(inputs) + 1):
        journal.record(seq, engine.apply(item))
    journal.checkpoint(last, engine)

A kill at any instant loses nothing that `append` returned. What nobody can see in a journal alone is a tail that was
taken away cleanly, checkpoints included (or an SQLite file's ``-wal``, after a kill): for that, note `published`
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from closeout.core.units import InputError
from closeout.engine.commands import Input
from closeout.engine.events import AnyEvent
from closeout.journal.reader import JournalReader, backend
from closeout.journal.records import (
    Checkpoint,
    EngineLike,
    Head,
    Outputs,
    Receipt,
    Snapshot,
    VerificationError,
    check_rulebook,
    digest_of_image,
    encode_inputs,
)
from closeout.journal.rerun import OnApplied, Rerun, restore
from closeout.journal.storage import TABLES, Record, Statement, Storage

E = TypeVar("E", bound=EngineLike)

INSERTS = {
    kind: f"INSERT INTO {table} VALUES ({', '.join(f'?{n}' for n, _ in enumerate(kind._fields, 1))})"  # noqa: S608
    for table, kind in TABLES.items()
}
DELETES = {kind: f"DELETE FROM {table} WHERE segment = ?1 AND seq = ?2" for table, kind in TABLES.items()}  # noqa: S608


class Journal(JournalReader):
    """The one writer of a journal. After a failed write it takes nothing more: open the journal again, which reads what
    is durable. `notes` says in plain lines what recovery had to work around."""

    def __init__(self, storage: Storage, head: Head) -> None:
        super().__init__(storage)
        self.notes: list[str] = []
        self._head = head
        self._outputs = Outputs()
        self._recorded: int | None = None  # the last input whose events are known; None until recovery
        self._unstored: list[Receipt] = []
        self._failed = False
        self._closed = False

    @classmethod
    def create(cls, address: Path | str, *, engine_version: str, rulebook_digest: str) -> Journal:
        """A new journal, in a file or at ``postgresql://...``; `InputError` if there is one. `rulebook_digest` is
        `records.document_digest` of the document that the first input loads."""
        head = Head()
        segment = head.next_segment(engine_version, rulebook_digest, b"")
        head.enter(segment)
        journal = Journal(backend(address).create(str(address), [_insert(segment)]), head)
        journal._recorded = 0
        return journal

    @classmethod
    def open(cls, address: Path | str) -> Journal:
        """Open for appending, the whole journal proven first (`check`); `recover` before appending."""
        journal = Journal(backend(address).open(str(address)), Head())
        try:
            journal._head = journal.check()
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Store what is left to be stored and let the journal go; may be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._unstored and not self._failed:
                self._commit()
        finally:
            self._storage.close(finished=self._recorded is not None and not self._failed)

    @property
    def last_seq(self) -> int:
        """The number of the last durable input, 0 when there is none."""
        return self._head.seq

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
        self._commit(_insert(frame))
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
        checkpoint = self._checkpoint(digest_of_image(engine.snapshot()))
        self._commit(*_replace(checkpoint))
        return checkpoint.published

    def snapshot(self, seq: int, engine: EngineLike) -> str:
        """Store the engine's image after the last input `seq`, from which recovery starts, and a checkpoint with it;
        the checkpoint's published digest. The engine makes its image once."""
        self._need_all_recorded(seq)
        image = engine.snapshot()
        image_digest = digest_of_image(image)
        checkpoint = self._checkpoint(image_digest)
        self._commit(*_replace(checkpoint), *_replace(Snapshot(*checkpoint, image_digest, image)))
        return checkpoint.published

    def prune(self, keep: int = 3) -> None:
        """Delete all snapshots but the `keep` newest and those that segments start from."""
        starts = {(segment.number, segment.first_seq - 1) for segment in self.segments()}
        old = [key for key in self.snapshot_keys()[max(keep, 1) :] if key not in starts]
        if old:
            self._commit(*((DELETES[Snapshot], key) for key in old))

    def upgrade(self, engine_class: type[E], rulebook_digest: str | None = None) -> tuple[E, int]:
        """Instead of `recover`: start a segment for another engine version, or another rulebook, from the snapshot at
        the journal's end. `InputError` if there is none, `VerificationError` if it is damaged."""
        segment = self.segments()[-1]
        newest = self.stored_snapshot(segment.number, self._head.seq)
        if newest is None:
            raise InputError(
                f"{self.name}: no snapshot at its end, input {self._head.seq}: "
                f"recover it with engine {segment.engine_version} and take one before the upgrade"
            )
        try:
            newest.check_image()
        except VerificationError as error:
            raise self.named(error) from None
        engine = engine_class.restore(newest.image)
        self._outputs = Outputs(newest.events, newest.events_digest)
        image = engine.snapshot()
        image_digest = digest_of_image(image)
        digest = segment.rulebook_digest if rulebook_digest is None else rulebook_digest
        segment = self._head.next_segment(engine_class.version, digest, image_digest)
        self._head.enter(segment)
        self._commit(_insert(segment), *_replace(Snapshot(*self._checkpoint(image_digest), image_digest, image)))
        self._recorded = self._head.seq
        return engine, self._head.seq

    # recovery

    def recover(
        self, engine_class: type[E], on_applied: OnApplied | None = None, before_seq: int | None = None
    ) -> tuple[E, int]:
        """The engine as it stood, and the last input's number: the newest good snapshot, later frames applied again,
        every checkpoint and receipt on the way compared. A damaged snapshot is passed over, and `notes` says so.

        `on_applied(seq, input, events)` is called for each input that is applied again. `before_seq`, the last input
        that whoever follows the events has seen: the snapshot is one at or before it, so that all later ones come.

        `InputError` if the last segment is another engine version's, or `before_seq` lies in such a one;
        `VerificationError` at the first difference."""
        last = self.segments()[-1]
        if last.engine_version != engine_class.version:
            raise InputError(
                f"{self.name}: recorded by engine {last.engine_version}, this is {engine_class.version}: "
                "recover with the recorded version, or upgrade from a snapshot at its end"
            )
        engine, outputs, seq = self._start(engine_class, self._head.seq if before_seq is None else before_seq)
        rerun = Rerun(self, engine, outputs, on_applied)
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

    def _start(self, engine_class: type[E], latest: int) -> tuple[E, Outputs, int]:
        """Where recovery starts: the newest good snapshot of this engine version at or before input `latest`, or a new
        engine at input 0."""
        others = [segment for segment in self.segments() if segment.engine_version != engine_class.version]
        first = others[-1].number + 1 if others else 1
        for number, seq in self.snapshot_keys():
            snapshot = self.stored_snapshot(number, seq) if number >= first and seq <= latest else None
            if snapshot is None:
                continue
            try:
                engine = restore(snapshot, engine_class, self._chain_at(number, seq))
            except VerificationError as error:
                self.notes.append(f"{self.name}: {error}; passed over for an earlier start")
            else:
                return engine, Outputs(snapshot.events, snapshot.events_digest), seq
        if first == 1:
            return engine_class(), Outputs(), 0
        if latest < (begin := self.segments()[first - 1].first_seq - 1):
            raise InputError(
                f"{self.name}: inputs {latest + 1} to {begin} were applied by engine {others[-1].engine_version} "
                f"and cannot be applied again by {engine_class.version}"
            )
        raise VerificationError(f"{self.name}: segment {first} has no good snapshot to start from")

    def _chain_at(self, segment: int, seq: int) -> bytes:
        frame = self._storage.rows("SELECT chain FROM frame WHERE segment = ?1 AND last_seq = ?2", segment, seq)
        begin = self._storage.rows("SELECT chain FROM segment WHERE number = ?1", segment)
        with self._naming(f"the chain at input {seq}"):
            return next(chain(frame, begin), (b"",))[0]

    # helpers

    def _checkpoint(self, image_digest: bytes) -> Checkpoint:
        """What stands now, in a state whose image has this digest."""
        head, outputs = self._head, self._outputs
        return Checkpoint(head.segment, head.seq, image_digest.hex(), outputs.events, outputs.digest, head.chain)

    def _need_recovery(self) -> int:
        if self._recorded is None:
            raise ValueError("recover before appending")
        return self._recorded

    def _need_all_recorded(self, seq: int) -> None:
        if not self._need_recovery() == self._head.seq == seq:
            raise ValueError(f"input {seq}: recorded are {self._recorded}, durable are {self._head.seq}")

    def _commit(self, *statements: Statement) -> None:
        """One durable commit, receipts not stored yet included. After a failure nobody knows what the disk holds, so
        the journal refuses all further writes."""
        if self._failed:
            raise ValueError(f"{self.name}: an earlier write failed; open the journal again")
        self._failed = True
        self._storage.commit([*statements, *map(_insert, self._unstored)])
        self._unstored.clear()
        self._failed = False


def _insert(record: Record) -> Statement:
    return INSERTS[type(record)], record


def _replace(record: Checkpoint | Snapshot) -> tuple[Statement, Statement]:
    return (DELETES[type(record)], (record.segment, record.seq)), _insert(record)
