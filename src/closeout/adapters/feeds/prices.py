"""Numbers and times at the boundary: what a source wrote, exactly, or `Malformed`.

No binary float comes into being here: JSON numbers are taken as the text that was sent.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact

import msgspec

_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_TOO_LARGE = 15
"""Power of ten that no price reaches: the bound of market files."""
_FINEST = -40
_EXACT = Context(prec=120, traps=[Inexact])  # two numbers within the bounds have a sum and a half in 120 digits
_HALF = Decimal("0.5")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Malformed(Exception):
    """A message, or a part of one, that cannot be used; the text says why."""


UNUSABLE = (Malformed, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What taking a message in may raise; a message nested too deeply, or not in UTF-8, gets past msgspec's own errors."""


def is_price(number: Decimal) -> bool:
    """Whether a number is finite and within the bounds of any price."""
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= _FINEST and (not number or number.adjusted() < _TOO_LARGE)


def price_of(text: str, what: str) -> Decimal | None:
    """The price that `text` wrote; None where there is none: empty, null, or zero.

    These sources trade at prices above zero and write 0 for "none"; a negative, non-finite or absurd number is
    `Malformed`.
    """
    if text in ("", "null"):
        return None
    if not _NUMBER.fullmatch(text):
        raise Malformed(f"{what}: {text[:40]!r} is not a number")
    number = Decimal(text)
    if not is_price(number) or number < 0:
        raise Malformed(f"{what}: {text[:40]} is out of bounds")
    return number or None


def json_price(raw: msgspec.Raw, what: str) -> Decimal | None:
    """`price_of` a JSON number, or of a JSON string that holds one."""
    text = bytes(raw).decode()
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    return price_of(text[1:-1] if quoted else text, what)


def middle(bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    """Halfway between the best bid and the best offer; None for a one-sided or crossed book."""
    if bid is None or ask is None or bid > ask:
        return None
    return _EXACT.multiply(_EXACT.add(bid, ask), _HALF)


def held_price(last: Decimal | None, bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    """The last trade, held between the best bid and the best offer: the book moves a mark that nobody trades at, and
    one side of a thin book that goes away does not. Without a trade the middle, without a book the trade."""
    if last is None:
        return middle(bid, ask)
    if bid is None or ask is None or bid > ask:
        return last
    return min(max(last, bid), ask)


def nanoseconds(moment: datetime | None) -> int | None:
    """UTC nanoseconds of a time with a zone; `Malformed` without."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise Malformed(f"the time {moment} has no zone")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
