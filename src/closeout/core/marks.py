"""The mark as a venue's own formula works it out (rule EX-02).

    given             no formula: the mark comes from outside
    index             the index, or the oracle's price, is the mark
    funding_basis     P1 = index x (1 + funding rate x time to the next funding / interval)
    index_and_basis   P2 = index + basis, the venue's moving average of what its book is above the index
    median            the middle one of P1, P2 and the last price

Prices in ticks, as exact fractions up to the last step; the engine's marks are whole ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from closeout.core.units import RATE


class MarkFormula(Enum):
    GIVEN = "given"
    INDEX = "index"
    FUNDING_BASIS = "funding_basis"
    INDEX_AND_BASIS = "index_and_basis"
    MEDIAN = "median"


READS: dict[MarkFormula, tuple[str, ...]] = {
    MarkFormula.GIVEN: (),
    MarkFormula.INDEX: ("index",),
    MarkFormula.FUNDING_BASIS: ("index", "funding_rate"),
    MarkFormula.INDEX_AND_BASIS: ("index", "basis"),
    MarkFormula.MEDIAN: ("index", "funding_rate", "basis", "last"),
}
"""What a formula reads. A funding rate goes with the time that is left of its interval."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a formula may read: ticks, the funding rate in 1e-9 of the interval, nanoseconds left of the interval, and
    the interval's own."""

    index: Fraction
    basis: Fraction = Fraction(0)
    last: Fraction = Fraction(0)
    funding_rate: int = 0
    left: int = 0
    interval: int = 1

    @property
    def funding_basis(self) -> Fraction:
        """The part of the funding rate that is yet to be paid, as a share of the index."""
        return Fraction(self.funding_rate * self.left, RATE * self.interval)


def mark_ticks(formula: MarkFormula, seen: Seen) -> int:
    """The mark in whole ticks, to the nearest and ties to even: a long and a short stand at the same mark, so that
    neither may be favoured."""
    by_funding = seen.index * (1 + seen.funding_basis)
    by_book = seen.index + seen.basis
    if formula is MarkFormula.FUNDING_BASIS:
        return round(by_funding)
    if formula is MarkFormula.INDEX_AND_BASIS:
        return round(by_book)
    if formula is MarkFormula.MEDIAN:
        return round(sorted((by_funding, by_book, seen.last))[1])
    return round(seen.index)
