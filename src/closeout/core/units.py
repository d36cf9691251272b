"""Integers in stated units, the named roundings, and the bounds (rule G-01).

Units
    money      ``micros``: integer minor units of a currency (1e-6 USD, 1e-8 BTC; see `Currency`)
    price      ``ticks``: integer multiples of a contract's tick
    quantity   ``lots``: integer multiples of a contract's lot, negative for a short position
    value      ``units``: 1/`Contract.units_per_micro` of a micro, so that tick x lot is always a whole number
    rate       integer multiples of 1e-9 (`RATE` is 100 %)
    time       integer nanoseconds since 1970-01-01 UTC

The rounding functions take Python integers or NumPy int64 arrays alike: the engine's vectorised scan and the
one-account path run the same code.  For arrays `mul_div_*` is exact while ``divisor x multiplier < 2**63`` and the
result fits: the quotient and the remainder are multiplied apart, which is the 128-bit product without a second word.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, TypeVar

RATE = 1_000_000_000
"""100 % in rate units."""

MAX_PRICE_TICKS = 2**40
MAX_LOTS = 2**40
MAX_VALUE = 2**53
"""Largest |value| of one position in units, and largest |cash| in micros (about 9 billion USD)."""
MAX_INVERSE = 2**62
"""Largest ticks x |lots| of an inverse position: the product that its value goes through."""
MAX_CONTRACTS = 64
"""With `MAX_VALUE` it keeps every sum over one account below 2**62."""
MAX_EXPONENT = 500
"""Largest power of ten in the text of any number, and the finest."""
MAX_RATE = 2 * RATE
"""Largest margin rate, a news multiplier included."""

IntOrArray = TypeVar("IntOrArray", int, Any)
Key = TypeVar("Key", bound=Hashable)


class InputError(ValueError):
    """Input from outside that cannot be used. The message names file, line or row, field, and what was expected."""


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency and the number of decimal places that its micros stand for."""

    code: str
    places: int

    def micros(self, amount: Decimal) -> int:
        """Exact micros of `amount`; `InputError` where it is finer than a micro or out of bounds."""
        scaled = Fraction(amount) * 10**self.places
        if scaled.denominator != 1:
            raise InputError(f"{amount} {self.code} has more than {self.places} decimal places")
        micros = scaled.numerator
        if abs(micros) > MAX_VALUE:
            raise InputError(f"{amount} {self.code} is beyond the bound of {self.text(MAX_VALUE)} {self.code}")
        return micros

    def micros_of_text(self, text: str) -> int:
        """Exact micros of what `text` wrote."""
        return self.micros(Decimal(text))

    def text(self, micros: int) -> str:
        """Exact decimal text, trailing zeros removed down to two places: ``1234.5`` is ``1234.50``."""
        whole, fraction = divmod(abs(micros), 10**self.places)
        digits = str(fraction).zfill(self.places).rstrip("0").ljust(2, "0")
        return f"-{whole}.{digits}" if micros < 0 else f"{whole}.{digits}"


USD = Currency("USD", 6)
CURRENCIES = {
    currency.code: currency
    for currency in (
        USD,
        Currency("USDT", 6),
        Currency("USDC", 6),
        Currency("BTC", 8),
        Currency("ETH", 8),
        Currency("SOL", 8),
    )
}


def apportion(total: int, weights: Mapping[Key, int]) -> dict[Key, int]:
    """Split `total` (not below zero) in proportion to `weights` (not below zero, not all zero): each part is rounded
    down, and what is left goes one by one to the largest remainders, of equal ones to the earlier in the mapping."""
    whole = sum(weights.values())
    parts = {key: total * weight // whole for key, weight in weights.items()}
    by_rest = sorted(weights, key=lambda key: -(total * weights[key] % whole))
    for key in by_rest[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def floor_div(value: IntOrArray, divisor: int) -> IntOrArray:
    """Round down. For equity: what is uncertain is not counted as the customer's."""
    whole: Any = value // divisor
    return whole


def ceil_div(value: IntOrArray, divisor: int) -> IntOrArray:
    """Round up. For requirements and fees: what is uncertain is required."""
    whole: Any = -value // divisor
    return -whole


def mul_div_floor(value: IntOrArray, multiplier: int | Any, divisor: int) -> IntOrArray:
    """floor(value x multiplier / divisor), exact (see the module's note on arrays)."""
    whole: Any = value // divisor
    rest = value - whole * divisor  # NumPy vectorises this, but not %
    return whole * multiplier + (rest * multiplier) // divisor


def mul_div_ceil(value: IntOrArray, multiplier: int | Any, divisor: int) -> IntOrArray:
    """ceil(value x multiplier / divisor), exact (see the module's note on arrays)."""
    whole: Any = value // divisor
    rest = value - whole * divisor  # NumPy vectorises this, but not %
    return whole * multiplier - (-(rest * multiplier)) // divisor


def root_ceil(value: IntOrArray) -> IntOrArray:
    """ceil(square root), exact for integers or columns from 0 to 2**62: its bits one by one, the highest first."""
    root: Any = value * 0
    for bit in range(30, -1, -1):
        longer = root + (1 << bit)
        root = root + (longer * longer < value) * (1 << bit)
    return root + (value > 0) * 1


def exact_sum(values: Any) -> int:
    """The sum of an int64 array, whatever its length: halves are added apart, since the whole can pass 63 bits."""
    high = values >> 32
    return (int(high.sum()) << 32) + int((values - (high << 32)).sum())


def decimal(text: str, field: str) -> Decimal:
    """A finite decimal from text; `InputError` names `field`. An exponent that no number of ours needs is refused: it
    would be worked out digit by digit."""
    try:
        number = Decimal(text)
    except (InvalidOperation, ValueError, TypeError):
        raise InputError(f"{field}: {text!r} is not a number") from None
    if not number.is_finite():
        raise InputError(f"{field}: {text!r} is not a finite number")
    exponent = number.as_tuple().exponent
    if number.adjusted() > MAX_EXPONENT or not isinstance(exponent, int) or exponent < -MAX_EXPONENT:
        raise InputError(f"{field}: {text} is beyond 10^{MAX_EXPONENT}, or finer than 10^-{MAX_EXPONENT}")
    return number


def rate(text: str, field: str) -> int:
    """A rate such as ``"0.005"`` in units of 1e-9; `InputError` names `field`."""
    scaled = Fraction(decimal(text, field)) * RATE
    if scaled.denominator != 1:
        raise InputError(f"{field}: {text} is finer than 1e-9")
    return scaled.numerator


def rate_text(value: int) -> str:
    """Decimal text of a rate: 5_000_000 is ``0.005``."""
    return format((Decimal(value) / RATE).normalize(), "f")


def plain(number: Decimal) -> str:
    """Decimal text without exponent and without trailing zeros."""
    return format(number.normalize(), "f") if number else "0"
