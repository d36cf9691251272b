"""A mark worked out of an index by the venues' formulas, against another way to work it out."""

from decimal import Decimal
from fractions import Fraction
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.core.marks import READS, MarkFormula, Seen, mark_ticks
from closeout.core.units import RATE

prices = st.fractions(min_value=1, max_value=10**9, max_denominator=1000)


@pytest.mark.rule("EX-02")
@given(
    index=prices,
    last=prices,
    basis=st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1000),
    rate=st.integers(-RATE, RATE),
    hours=st.integers(1, 8),
    left=st.integers(0, 8 * 3600),
)
def test_each_formula(index: Fraction, last: Fraction, basis: Fraction, rate: int, hours: int, left: int) -> None:
    left = min(left, hours * 3600)
    seen = Seen(index, basis, last, rate, left * 10**9, hours * 3600 * 10**9)
    by_funding = index + index * rate * left / (RATE * hours * 3600)
    expected = {
        MarkFormula.GIVEN: index,
        MarkFormula.INDEX: index,
        MarkFormula.FUNDING_BASIS: by_funding,
        MarkFormula.INDEX_AND_BASIS: index + basis,
        MarkFormula.MEDIAN: median([by_funding, index + basis, last]),
    }
    for formula in MarkFormula:
        found = mark_ticks(formula, seen)
        assert abs(found - expected[formula]) <= Fraction(1, 2)
        assert set(READS[formula]) <= {"index", "funding_rate", "basis", "last"}


@pytest.mark.rule("EX-02", "G-01")
def test_a_mark_between_two_ticks_favours_no_side() -> None:
    halves = [Fraction(Decimal(text)) for text in ("10.5", "11.5", "-10.5", "-11.5")]
    assert [mark_ticks(MarkFormula.INDEX, Seen(half)) for half in halves] == [10, 12, -10, -12]
