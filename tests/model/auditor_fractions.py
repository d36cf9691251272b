"""Python's own fractions, with shorter ways through the arithmetic that the auditor spends its time on.

Only what two fractions, or a fraction and a whole number, come to is written anew; text, floats, powers, roundings to
even and hashes are those of the standard library.
"""

import fractions
from math import gcd
from typing import TYPE_CHECKING, Any


def parts(other: Any) -> tuple[int, int]:
    """Numerator and denominator; the latter is 0 where `other` is neither a fraction nor a whole number."""
    if isinstance(other, int):
        return other, 1
    if isinstance(other, fractions.Fraction):
        return other.numerator, other.denominator
    return 0, 0


class Short(fractions.Fraction):
    """An exact number in lowest terms."""

    __slots__ = ()
    _numerator: int
    _denominator: int

    def __add__(self, other: Any) -> Any:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        own = self._denominator
        if d == own:
            return lowest(self._numerator + n, d)
        return lowest(self._numerator * d + n * own, own * d) if d else super().__add__(other)

    __radd__ = __add__  # pyright: ignore[reportAssignmentType]

    def __sub__(self, other: Any) -> Any:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        own = self._denominator
        if d == own:
            return lowest(self._numerator - n, d)
        return lowest(self._numerator * d - n * own, own * d) if d else super().__sub__(other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        return lowest(self._numerator * n, self._denominator * d) if d else super().__mul__(other)

    __rmul__ = __mul__  # pyright: ignore[reportAssignmentType]

    def __truediv__(self, other: Any) -> Any:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        if n < 0:
            n, d = -n, -d
        return lowest(self._numerator * d, self._denominator * n) if n else super().__truediv__(other)

    def __rtruediv__(self, other: Any) -> Any:
        return Short(other) / self if parts(other)[1] else super().__rtruediv__(other)

    def __neg__(self) -> Any:
        return whole_over(-self._numerator, self._denominator)

    def __abs__(self) -> Any:
        return whole_over(abs(self._numerator), self._denominator)

    def __floor__(self) -> int:
        return self._numerator // self._denominator

    def __ceil__(self) -> int:
        return -(-self._numerator // self._denominator)

    def __bool__(self) -> bool:
        return self._numerator != 0

    def __eq__(self, other: object) -> bool:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        return self._numerator == n and self._denominator == d if d else super().__eq__(other)

    __hash__ = fractions.Fraction.__hash__

    def __lt__(self, other: Any) -> bool:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        return self._numerator * d < n * self._denominator if d else super().__lt__(other)

    def __le__(self, other: Any) -> bool:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        return self._numerator * d <= n * self._denominator if d else super().__le__(other)

    def __gt__(self, other: Any) -> bool:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        return self._numerator * d > n * self._denominator if d else super().__gt__(other)

    def __ge__(self, other: Any) -> bool:
        n, d = (other._numerator, other._denominator) if type(other) is Short else parts(other)
        return self._numerator * d >= n * self._denominator if d else super().__ge__(other)


new = object.__new__


def whole_over(numerator: int, denominator: int) -> Short:
    """The fraction of two numbers without a common factor, the denominator above zero."""
    made = new(Short)
    made._numerator, made._denominator = numerator, denominator
    return made


def lowest(numerator: int, denominator: int) -> Short:
    """The fraction of two numbers, the denominator above zero."""
    made = new(Short)
    if denominator != 1:
        common = gcd(numerator, denominator)
        if common != 1:
            numerator //= common
            denominator //= common
    made._numerator, made._denominator = numerator, denominator
    return made


if TYPE_CHECKING:
    from fractions import Fraction as Fraction
else:
    Fraction = Short
