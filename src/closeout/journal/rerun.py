"""Running recorded inputs again and comparing with what was recorded (rules G-03, G-17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec

from closeout.engine.commands import Input
from closeout.engine.events import AnyEvent, Posted
from closeout.journal.reader import JournalReader
from closeout.journal.records import (
    Checkpoint,
    EngineLike,
    Frame,
    Outputs,
    Receipt,
    Snapshot,
    VerificationError,
    digest_of_image,
)

E = TypeVar("E", bound=EngineLike)
OnApplied = Callable[[int, Input, list[AnyEvent]], object]


class Rerun(Generic[E]):
    """An engine that follows a journal. Each step raises `VerificationError`, without the file's name, at the first
    difference from the record. `unstored` collects the receipts that the journal does not hold. `on_applied` is told
    each input and its events, once its receipts are compared."""

    def __init__(
        self, journal: JournalReader, engine: E, outputs: Outputs, on_applied: OnApplied | None = None
    ) -> None:
        self.engine = engine
        self.outputs = outputs
        self.postings = 0
        self.receipts: set[tuple[int, str]] = set()
        self.unstored: list[Receipt] = []
        self._journal = journal
        self._on_applied = on_applied

    def frame(self, frame: Frame) -> None:
        """Apply a frame's inputs and compare the receipts that they issue with the stored ones."""
        for seq, item in enumerate(frame.inputs(), frame.first_seq):
            try:
                events = self.engine.apply(item)
            except Exception as error:
                raise VerificationError(
                    f"input {seq} ({frame.name}): the engine stops at it: {one_line(error)}"
                ) from error
            self.postings += sum(isinstance(event, Posted) for event in events)
            for receipt in self.outputs.add(seq, events):
                self._compare_receipt(receipt)
            if self._on_applied:
                self._on_applied(seq, item, events)

    def compare(self, record: Checkpoint | Snapshot, chain: bytes) -> None:
        """Compare state, events and chain with those of a checkpoint or snapshot."""
        image_digest = digest_of_image(self.engine.snapshot())
        if (digest := image_digest.hex()) != record.state_digest:
            raise VerificationError(f"{record.name}: the state's digest is {digest}, recorded is {record.state_digest}")
        if self.outputs.events != record.events:
            raise VerificationError(f"{record.name}: {self.outputs.events} events, recorded are {record.events}")
        if self.outputs.digest != record.events_digest:
            raise VerificationError(f"{record.name}: the events are not those that were issued (their digest differs)")
        if chain != record.chain:
            raise VerificationError(f"{record.name}: its chained digest is not that of the frames before it")
        if isinstance(record, Snapshot):
            record.check_image()
            if image_digest != record.image_digest:
                raise VerificationError(f"{record.name}: its image is not that of the state")

    def _compare_receipt(self, receipt: Receipt) -> None:
        self.receipts.add((receipt.seq, receipt.receipt_id))
        stored = self._journal.receipt(receipt.seq, receipt.receipt_id)
        if stored is None:
            self.unstored.append(receipt)
        elif stored != receipt:
            raise VerificationError(f"{receipt.name}: {_difference_of_documents(stored.document, receipt.document)}")


def restore(snapshot: Snapshot, engine_class: type[E], chain: bytes) -> E:
    """The engine of a good snapshot; `VerificationError`, without the file's name, for a damaged one."""
    if snapshot.chain != chain:
        raise VerificationError(f"{snapshot.name}: its chained digest is not that of the frames before it")
    snapshot.check_image()
    try:
        engine = engine_class.restore(snapshot.image)
        digest = digest_of_image(engine.snapshot()).hex()
    except Exception as error:
        raise VerificationError(f"{snapshot.name}: its image cannot be restored: {one_line(error)}") from error
    if digest != snapshot.state_digest:
        raise VerificationError(f"{snapshot.name}: the state's digest is {digest}, recorded is {snapshot.state_digest}")
    return engine


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _difference_of_documents(stored: str, issued: str) -> str:
    try:
        return first_difference(msgspec.json.decode(stored), msgspec.json.decode(issued)) or "its text was rewritten"
    except msgspec.MsgspecError as error:
        return f"it is not JSON: {error}"


def first_difference(stored: Any, issued: Any, field: str = "") -> str:
    """The first field in which two JSON values differ, in words; "" when they are equal."""
    if isinstance(stored, dict) and isinstance(issued, dict):
        old, new = cast("dict[str, Any]", stored), cast("dict[str, Any]", issued)
        for key in [*new, *(key for key in old if key not in new)]:
            name = f"{field}.{key}" if field else key
            if key not in old:
                return f"field {name} is missing"
            if key not in new:
                return f"field {name} was never issued"
            if difference := first_difference(old[key], new[key], name):
                return difference
        return ""
    if isinstance(stored, list) and isinstance(issued, list):
        olds, news = cast("list[Any]", stored), cast("list[Any]", issued)
        for index, (old, new) in enumerate(zip(olds, news, strict=False)):
            if difference := first_difference(old, new, f"{field}[{index}]"):
                return difference
        return "" if len(olds) == len(news) else f"field {field} has {len(olds)} entries, issued were {len(news)}"
    same: bool = type(cast("object", stored)) is type(cast("object", issued)) and stored == issued
    return "" if same else f"field {field} is {stored!r}, issued was {issued!r}"
