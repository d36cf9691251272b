"""FIX 4.4 messages to bytes and back (tag=value encoding, through simplefix).

Framing is done here, by BeginString, BodyLength and CheckSum: what does not add up is garbled, is counted and skipped,
and the next message is looked for behind it, as the FIX rules want.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from closeout.core.times import SECOND
from closeout.core.units import InputError

BEGIN_STRING = "FIX.4.4"
START = b"8=FIX.4.4\x019="
TRAILER = 7
"""Length of ``10=nnn`` and its separator."""
MAX_BODY = 99_999
"""A body length beyond it is taken as garbled."""

Field = tuple[int, str]
Fields = Sequence[Field]

HEADER_TAGS = frozenset((8, 9, 35, 49, 56, 34, 52, 43, 122, 97, 10))


class MissingTag(Exception):
    """A message lacks a field that it must have; `tag` is the field."""

    def __init__(self, tag: int) -> None:
        super().__init__(f"required tag missing: {tag}")
        self.tag = tag


class Message(Struct, frozen=True):
    """One message: its type (tag 35) and all fields between BodyLength and CheckSum, in order."""

    type: str
    fields: tuple[Field, ...]

    def get(self, tag: int) -> str | None:
        """The first value of a field."""
        return next((value for own, value in self.fields if own == tag), None)

    def need(self, tag: int) -> str:
        """The first value of a field that must be there (`MissingTag`)."""
        value = self.get(tag)
        if value is None:
            raise MissingTag(tag)
        return value

    def all(self, tag: int) -> list[str]:
        """All values of a repeated field, in order."""
        return [value for own, value in self.fields if own == tag]

    def number(self, tag: int) -> int | None:
        """A whole number without a sign; None where the field is missing or something else."""
        value = self.get(tag)
        return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 19 else None

    def flag(self, tag: int) -> bool:
        return self.get(tag) == "Y"

    @property
    def seq(self) -> int:
        """MsgSeqNum (`MissingTag`)."""
        number = self.number(34)
        if not number:
            raise MissingTag(34)
        return number

    def body(self) -> list[Field]:
        """The fields that are not of the header."""
        return [field for field in self.fields if field[0] not in HEADER_TAGS]


def utc_timestamp(time_ns: int) -> str:
    """UTCTimestamp with milliseconds: ``20251010-21:13:00.250``."""
    seconds, fraction = divmod(time_ns, SECOND)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y%m%d-%H:%M:%S}.{fraction // 1_000_000:03d}"


def encode(msg_type: str, fields: Iterable[Field]) -> bytes:
    """The bytes of a message; `fields` are all but BeginString, BodyLength, MsgType and CheckSum. `ValueError` where a
    value is empty or holds the separator."""
    message = _simplefix().FixMessage()
    message.append_pair(8, BEGIN_STRING)
    message.append_pair(35, msg_type)
    for tag, value in fields:
        data = value.encode("utf-8", "surrogateescape")
        if not data or b"\x01" in data:
            raise ValueError(f"tag {tag}: {value!r} cannot be sent")
        message.append_pair(tag, data)
    return message.encode()


class Framer:
    """A stream of bytes into messages. `garbled` counts what was skipped."""

    def __init__(self) -> None:
        self.garbled = 0
        self._buffer = b""
        self._simplefix = _simplefix()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now."""
        self._buffer += data
        found: list[Message] = []
        while True:
            length = self._length()
            if length is None:
                return found
            raw, self._buffer = self._buffer[:length], self._buffer[length:]
            message = self._parse(raw)
            if message is None:  # skip its first signs only: a good message may stand in what its length covers
                self.garbled += 1
                self._buffer = raw[len(START) :] + self._buffer
            else:
                found.append(message)

    def _length(self) -> int | None:
        """Bytes of the message at the front of the buffer, by its own account; None until they are there."""
        while True:
            start = self._buffer.find(START)
            if start < 0:
                self._buffer = self._buffer[-(len(START) - 1) :]
                return None
            self._buffer = self._buffer[start:]
            digits, separator, _ = self._buffer[len(START) :][: len(str(MAX_BODY)) + 1].partition(b"\x01")
            if separator and digits.isdigit():
                length = len(START) + len(digits) + 1 + int(digits) + TRAILER
                return length if length <= len(self._buffer) else None
            if not separator and len(digits) <= len(str(MAX_BODY)) and (digits.isdigit() or not digits):
                return None
            self.garbled += 1
            self._buffer = self._buffer[len(START) :]

    def _parse(self, raw: bytes) -> Message | None:
        """The message in a frame; None where it is garbled."""
        body, trailer = raw[:-TRAILER], raw[-TRAILER:]
        if trailer != b"10=%03d\x01" % (sum(body) % 256) or not body.endswith(b"\x01"):
            return None
        parser = self._simplefix.FixParser()
        parser.append_buffer(raw)
        try:
            parsed = parser.get_message()
        except (self._simplefix.errors.ParsingError, ValueError):
            return None
        if parsed is None or parser.get_buffer():
            return None
        pairs = [(int(tag), value.decode("utf-8", "surrogateescape")) for tag, value in parsed.pairs]
        if len(pairs) < 4 or [tag for tag, _ in pairs[:3]] != [8, 9, 35]:
            return None
        return Message(pairs[2][1], tuple(pairs[2:-1]))


def _simplefix() -> Any:
    try:
        import simplefix  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise InputError("FIX needs a package that is not installed: pip install closeout[fix]") from None
    return simplefix
