"""Proving a journal: its frames, and that they lead to what was recorded (rules G-03, G-11, G-17).

What each check catches. A byte changed: the frame's checksum. A frame taken out, put in or moved: the numbers and the
chained digests. A frame rewritten with all digests after it: the checkpoints and receipts, which are those of other
inputs. All of these rewritten too: the published digest, if the user noted it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from closeout.journal.reader import JournalReader
from closeout.journal.records import (
    EngineLike,
    Frame,
    Head,
    Outputs,
    Segment,
    VerificationError,
    check_rulebook,
    digest_of_image,
)
from closeout.journal.rerun import Rerun, restore

E = TypeVar("E", bound=EngineLike)


@dataclass(slots=True)
class Verification:
    """What was proven. `ok` says that every frame was run again and nothing differs; `problems` holds one plain line
    for each segment that could not be run and one for the first difference. Counts are of what was run again; `journal`
    is its path, or its address without the password."""

    ok: bool = False
    problems: list[str] = field(default_factory=list[str])
    frames: int = 0
    inputs: int = 0
    events: int = 0
    postings: int = 0
    receipts: int = 0
    checkpoints: int = 0
    snapshots: int = 0
    state_digest: str = ""
    events_digest: str = ""
    chain_digest: str = ""
    published: str = ""
    journal: str = ""


def verify(
    address: Path | str,
    engine_class: type[EngineLike],
    *,
    published: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Run the journal in a file, or at ``postgresql://...``, again from its first input. `published` is a digest that
    `checkpoint` once gave; it must be that of a checkpoint which holds. `progress` is called with inputs done and
    inputs in all.

    `InputError` if there is no journal; all else that is wrong is in the result.
    """
    result = Verification()
    try:
        with JournalReader.read(address) as journal:
            result.journal = journal.name
            head = journal.check()
            result.chain_digest = head.chain.hex()
            try:
                _Verifier(journal, head, engine_class, result, progress).run(published)
            except VerificationError as error:
                raise journal.named(error) from None
    except VerificationError as error:
        result.problems.append(str(error))
    result.ok = not result.problems
    return result


class _Verifier(Generic[E]):
    """Goes through the segments of a journal whose chain is proven."""

    def __init__(
        self,
        journal: JournalReader,
        head: Head,
        engine_class: type[E],
        result: Verification,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.journal = journal
        self.head = head
        self.engine_class = engine_class
        self.result = result
        self.progress = progress
        self.rerun: Rerun[E] | None = None
        self.proven: set[str] = set()
        self.checkpoints = {(row.segment, row.seq): row for row in journal.checkpoints()}
        self.snapshots = set(journal.snapshot_keys())

    def run(self, published: str | None) -> None:
        segments = self.journal.segments()
        ends = [following.first_seq - 1 for following in segments[1:]] + [self.head.seq]
        rulebook = ""
        for segment, end in zip(segments, ends, strict=True):
            self._segment(segment, end, rulebook)
            rulebook = segment.rulebook_digest
        if self.rerun is not None:
            self.result.state_digest = digest_of_image(self.rerun.engine.snapshot()).hex()
        for _, seq in sorted([*self.checkpoints, *self.snapshots]):
            raise VerificationError(f"a checkpoint stands after input {seq}, but no frame ends there: {self._end()}")
        for receipt in self.journal.receipts(self.head.seq + 1):
            raise VerificationError(f"{receipt.name} is stored, but {self._end()}")
        if published is not None and published.strip().lower() not in self.proven:
            raise VerificationError(f"no checkpoint that was run again has the published digest {published}")

    def _end(self) -> str:
        return f"the journal ends with frame {self.head.frame}, input {self.head.seq}"

    def _segment(self, segment: Segment, end: int, rulebook_before: str) -> None:
        rerun = self._enter(segment, end)
        if rerun is None:
            return
        last_record = max(
            (seq for number, seq in [*self.checkpoints, *self.snapshots] if number == segment.number), default=0
        )
        self._compare_records(rerun, segment.number, segment.first_seq - 1, segment.chain)
        for frame in self.journal.frames(first_segment=segment.number, last_segment=segment.number):
            if frame.first_seq == segment.first_seq:
                check_rulebook(segment, rulebook_before, frame.inputs()[0])
            self._frame(rerun, frame)
        for receipt in rerun.unstored:
            if receipt.seq <= last_record:
                raise VerificationError(f"{receipt.name} was issued, but is not stored")
        rerun.unstored.clear()
        for receipt in self.journal.receipts(segment.first_seq, end):
            if (receipt.seq, receipt.receipt_id) not in rerun.receipts:
                raise VerificationError(f"{receipt.name} is stored, but was never issued")

    def _enter(self, segment: Segment, end: int) -> Rerun[E] | None:
        """What runs the segment: the engine that ran the one before, or a new one; none for another version's."""
        start = None
        if segment.number > 1:
            start = self.journal.stored_snapshot(segment.number, segment.first_seq - 1)
            if start is None or start.image_digest != segment.image_digest:
                raise VerificationError(f"segment {segment.number}: the snapshot that it starts from is missing")
            start.check_image()
        if segment.engine_version != self.engine_class.version:
            self.result.problems.append(
                f"{self.journal.name}: segment {segment.number} (inputs {segment.first_seq} to {end}) was recorded by "
                f"engine {segment.engine_version}, this is {self.engine_class.version}: it cannot be run again here"
            )
            self.rerun = None
            self.checkpoints = {key: row for key, row in self.checkpoints.items() if key[0] != segment.number}
            self.snapshots = {key for key in self.snapshots if key[0] != segment.number}
        elif self.rerun is None:
            engine = self.engine_class() if start is None else restore(start, self.engine_class, segment.chain)
            outputs = Outputs() if start is None else Outputs(start.events, start.events_digest)
            self.rerun = Rerun(self.journal, engine, outputs)
        return self.rerun

    def _frame(self, rerun: Rerun[E], frame: Frame) -> None:
        before = rerun.outputs.events, rerun.postings, len(rerun.receipts)
        rerun.frame(frame)
        if imbalances := rerun.engine.imbalances():
            raise VerificationError(
                f"{frame.name}: after input {frame.last_seq} the books do not balance: {imbalances[0]}"
            )
        self._compare_records(rerun, frame.segment, frame.last_seq, frame.chain)
        result = self.result
        result.frames += 1
        result.inputs += frame.last_seq - frame.first_seq + 1
        result.events += rerun.outputs.events - before[0]
        result.postings += rerun.postings - before[1]
        result.receipts += len(rerun.receipts) - before[2]
        result.events_digest = rerun.outputs.digest.hex()
        if self.progress:
            self.progress(frame.last_seq, self.head.seq)

    def _compare_records(self, rerun: Rerun[E], segment: int, seq: int, chain: bytes) -> None:
        """Compare what was written down after input `seq`, if anything."""
        if (segment, seq) in self.snapshots:
            self.snapshots.remove((segment, seq))
            if snapshot := self.journal.stored_snapshot(segment, seq):
                rerun.compare(snapshot, chain)
                self.result.snapshots += 1
        if checkpoint := self.checkpoints.pop((segment, seq), None):
            rerun.compare(checkpoint, chain)
            self.proven.add(checkpoint.published)
            self.result.checkpoints += 1
            self.result.state_digest, self.result.published = checkpoint.state_digest, checkpoint.published
