"""What a journal holds, and the digests that tie its frames together (rules G-03, G-17).

A journal is one chain. It starts with segment 1; then come frames, and further segments where the engine or the
rulebook changes. Each link is ``blake2b(chain so far || header [|| payload])``: nothing can be changed, taken out, put
in or moved without changing every link that follows. Inputs are numbered 1, 2, 3, ... over the whole journal (`seq`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, Protocol, Self

import msgspec

from closeout.engine.commands import DECODER, ENCODER, Input, LoadRulebook
from closeout.engine.events import ENCODER as EVENT_ENCODER
from closeout.engine.events import AnyEvent, CloseOutEnded, CorrectionIssued

FRAME_HEADER = struct.Struct(">QQQQQ8s")  # number, segment, first seq, last seq, length, checksum
SEGMENT_HEADER = struct.Struct(">QQ")  # number, first seq


class VerificationError(Exception):
    """A journal is damaged or altered. The message is one line that names the file and the place in it."""


class EngineLike(Protocol):
    """What the journal needs of an engine; `closeout.engine.engine.Engine` is one. Called without arguments, the class
    gives an engine that has seen no input."""

    version: str

    def __init__(self) -> None: ...

    def apply(self, input: Input, /) -> list[AnyEvent]: ...

    def snapshot(self) -> bytes: ...

    @classmethod
    def restore(cls, image: bytes, /) -> Self: ...

    def imbalances(self) -> list[str]: ...


class Segment(NamedTuple):
    """A stretch recorded by one engine version under one rulebook. All but the first start from a snapshot, whose
    image has the digest `image_digest`."""

    number: int
    first_seq: int
    engine_version: str
    rulebook_digest: str
    image_digest: bytes
    chain: bytes


class Frame(NamedTuple):
    """Inputs that became durable together: `payload` is msgpack of `Input`s `first_seq` to `last_seq`."""

    number: int
    segment: int
    first_seq: int
    last_seq: int
    length: int
    checksum: bytes
    chain: bytes
    payload: bytes

    @property
    def name(self) -> str:
        return f"frame {self.number} (inputs {self.first_seq} to {self.last_seq})"

    def inputs(self) -> list[Input]:
        """The inputs; `VerificationError` without the file's name where the payload is not what was written."""
        if len(self.payload) != self.length:
            raise VerificationError(f"{self.name}: it is {len(self.payload)} bytes long, its header says {self.length}")
        if checksum(self.payload) != self.checksum:
            raise VerificationError(f"{self.name}: its bytes do not match its checksum")
        try:
            inputs = DECODER.decode(self.payload)
        except msgspec.MsgspecError as error:
            raise VerificationError(f"{self.name}: it does not decode: {error}") from None
        if len(inputs) != self.last_seq - self.first_seq + 1:
            raise VerificationError(f"{self.name}: it holds {len(inputs)} inputs")
        return inputs


class Snapshot(NamedTuple):
    """The engine's image after input `seq`, and how far the chain and the outputs were then."""

    segment: int
    seq: int
    state_digest: str
    events: int
    events_digest: bytes
    chain: bytes
    image_digest: bytes
    image: bytes

    @property
    def name(self) -> str:
        return f"snapshot at input {self.seq} (segment {self.segment})"

    def check_image(self) -> None:
        if digest_of_image(self.image) != self.image_digest:
            raise VerificationError(f"{self.name}: its image does not match the image's digest")


class Checkpoint(NamedTuple):
    """What stood after input `seq`: the state (its image's digest, in hexadecimal), all events so far, the chain."""

    segment: int
    seq: int
    state_digest: str
    events: int
    events_digest: bytes
    chain: bytes

    @property
    def name(self) -> str:
        return f"checkpoint at input {self.seq}"

    @property
    def published(self) -> str:
        """A short digest of the checkpoint, and through the chain of all before it: note it elsewhere, and whoever
        alters the journal afterwards cannot give it the same one."""
        text = f"{self.segment} {self.seq} {self.state_digest} {self.events} "
        return blake2b(text.encode() + self.events_digest + self.chain, digest_size=16).hexdigest()


class Receipt(NamedTuple):
    """A receipt as it was issued: `document` is the JSON text of the event's `receipt`."""

    seq: int
    receipt_id: str
    document: str

    @property
    def name(self) -> str:
        return f"receipt {self.receipt_id} of input {self.seq}"


def checksum(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=8).digest()


def digest_of_image(image: bytes) -> bytes:
    return blake2b(image, digest_size=32).digest()


def document_digest(document: bytes) -> str:
    """The digest by which a journal knows the document of `LoadRulebook`; the same as `Rulebook.digest`."""
    return blake2b(document, digest_size=32).hexdigest()


@dataclass(slots=True)
class Head:
    """How far a chain has come. The writer makes the next link from it, the reader checks the next link against it."""

    frame: int = 0
    seq: int = 0
    segment: int = 0
    chain: bytes = b""

    def next_segment(self, engine_version: str, rulebook_digest: str, image_digest: bytes) -> Segment:
        number, first_seq = self.segment + 1, self.seq + 1
        texts = f"{engine_version}\n{rulebook_digest}\n".encode()
        link = blake2b(self.chain + SEGMENT_HEADER.pack(number, first_seq) + texts + image_digest, digest_size=32)
        return Segment(number, first_seq, engine_version, rulebook_digest, image_digest, link.digest())

    def next_frame(self, payload: bytes, inputs: int) -> Frame:
        number, first_seq, last_seq = self.frame + 1, self.seq + 1, self.seq + inputs
        check = checksum(payload)
        link = blake2b(self.chain, digest_size=32)
        link.update(FRAME_HEADER.pack(number, self.segment, first_seq, last_seq, len(payload), check))
        link.update(payload)
        return Frame(number, self.segment, first_seq, last_seq, len(payload), check, link.digest(), payload)

    def enter(self, segment: Segment) -> None:
        """Follow the chain into a segment; `VerificationError` where it is not the one due here."""
        due = self.next_segment(segment.engine_version, segment.rulebook_digest, segment.image_digest)
        if segment.number != due.number:
            raise VerificationError(f"segment {due.number} is missing")
        if segment.first_seq != due.first_seq:
            raise VerificationError(
                f"segment {segment.number} begins at input {segment.first_seq}, after input {self.seq}"
            )
        if segment != due:
            raise VerificationError(f"segment {segment.number}: its chained digest does not follow from what is before")
        self.segment, self.chain = segment.number, segment.chain

    def follow(self, frame: Frame) -> None:
        """Follow the chain over a frame; `VerificationError` where it is not the one due here."""
        if not self.segment:
            raise VerificationError("segment 1 is missing")
        if frame.number != self.frame + 1:
            raise VerificationError(f"frame {self.frame + 1} (from input {self.seq + 1}) is missing")
        if frame.first_seq != self.seq + 1 or frame.last_seq < frame.first_seq:
            raise VerificationError(
                f"{frame.name}: input {self.seq + 1} was due: frames are swapped, missing or renumbered"
            )
        due = self.next_frame(frame.payload, frame.last_seq - self.seq)
        if (frame.length, frame.checksum) != (due.length, due.checksum):
            raise VerificationError(f"{frame.name}: its bytes do not match its length and checksum")
        if frame != due:
            raise VerificationError(f"{frame.name}: its chained digest does not follow from what is before")
        self.frame, self.seq, self.chain = frame.number, frame.last_seq, frame.chain


@dataclass(slots=True)
class Outputs:
    """All events so far, as a count and a running digest. Inputs without events leave both as they are."""

    events: int = 0
    digest: bytes = b""

    def add(self, seq: int, events: Sequence[AnyEvent]) -> list[Receipt]:
        """Take the events of input `seq`; the receipts among them, as they are to be stored."""
        if not events:
            return []
        self.events += len(events)
        self.digest = blake2b(
            self.digest + seq.to_bytes(8, "big") + EVENT_ENCODER.encode(events), digest_size=32
        ).digest()
        return [
            Receipt(seq, event.receipt_id, msgspec.json.encode(event.receipt).decode())
            for event in events
            if isinstance(event, CloseOutEnded | CorrectionIssued)
        ]


def encode_inputs(inputs: Sequence[Input]) -> bytes:
    return ENCODER.encode(inputs)


def check_rulebook(segment: Segment, before: str, first: Input) -> None:
    """The first input of a segment loads the rulebook whose digest the segment states; a later segment may also go on
    under the one `before` it."""
    if isinstance(first.command, LoadRulebook):
        if (found := document_digest(first.command.document)) != segment.rulebook_digest:
            raise VerificationError(
                f"input {segment.first_seq} loads a rulebook with digest {found}, "
                f"segment {segment.number} states {segment.rulebook_digest}"
            )
    elif segment.rulebook_digest != before:
        raise VerificationError(
            f"input {segment.first_seq} is not LoadRulebook, segment {segment.number} states {segment.rulebook_digest}"
        )
