"""The auditor's fractions say what Python's say."""

import fractions
import operator
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model.auditor_fractions import Fraction

ARITHMETIC: Any = (operator.add, operator.sub, operator.mul, operator.truediv)
ORDER: Any = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
NUMBERS = st.integers(-(10**6), 10**6) | st.fractions(-100, 100, max_denominator=400) | st.sampled_from([0.5, -3.25])


@given(st.fractions(-100, 100, max_denominator=400), NUMBERS)
def test_fractions_are_pythons_own(plain: Any, other: Any) -> None:
    """With one another, with whole numbers, floats and Python's fractions on either side; always in lowest terms."""
    ours = Fraction(plain)
    others = [other, Fraction(other)] if isinstance(other, fractions.Fraction) else [other]
    for left, right in [(ours, each) for each in others] + [(each, ours) for each in others]:
        a, b = (plain, other) if left is ours else (other, plain)
        for act in (*ARITHMETIC, *ORDER):
            if act is operator.truediv and not b:
                with pytest.raises(ZeroDivisionError):
                    act(left, right)
                continue
            found, expected = act(left, right), act(a, b)
            assert found == expected
            if isinstance(expected, fractions.Fraction):
                assert isinstance(found, Fraction)
                assert (found.numerator, found.denominator) == (expected.numerator, expected.denominator)
    single: Any = (operator.neg, abs, floor, ceil, round, bool, hash, int, str)
    for one in single:
        assert one(ours) == one(plain)
