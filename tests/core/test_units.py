"""Named roundings and bounds (G-01)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from closeout.core.margin import MarginKind, MarginTier, News, Terms, Window, below, held_requirement, line
from closeout.core.units import (
    CURRENCIES,
    MAX_RATE,
    MAX_VALUE,
    RATE,
    USD,
    InputError,
    ceil_div,
    decimal,
    floor_div,
    mul_div_ceil,
    mul_div_floor,
    rate,
    rate_text,
)

EDGE = 2**63 - 1

values = st.integers(-(2**62), 2**62) | st.sampled_from([0, 1, -1, MAX_VALUE - 1, MAX_VALUE, MAX_VALUE + 1, -MAX_VALUE])
divisors = st.integers(1, 4 * RATE) | st.sampled_from([1, 2, RATE - 1, RATE, RATE + 1])


@pytest.mark.rule("G-01")
@given(values, values, divisors)
@example(EDGE, EDGE, 1)
def test_multiply_divide_of_integers_is_the_exact_fraction_rounded(value: int, multiplier: int, divisor: int) -> None:
    exact = Fraction(value * multiplier, divisor)
    assert mul_div_floor(value, multiplier, divisor) == floor(exact)
    assert mul_div_ceil(value, multiplier, divisor) == ceil(exact)
    assert floor_div(value, divisor) == floor(Fraction(value, divisor))
    assert ceil_div(value, divisor) == ceil(Fraction(value, divisor))


@st.composite
def products_that_fit(draw: st.DrawFn) -> tuple[int, int, int]:
    """A value, a multiplier and a divisor with divisor x multiplier and the result inside int64, often at its edge."""
    divisor = draw(divisors)
    multiplier = draw(st.integers(0, EDGE // divisor) | st.sampled_from([0, 1, RATE, MAX_RATE]))
    if divisor * multiplier > EDGE:
        multiplier = EDGE // divisor
    most = EDGE if multiplier <= divisor else (EDGE // multiplier) * divisor
    value = draw(st.integers(-most, most) | st.sampled_from([most, most - 1, -most, 1 - most]))
    return value, multiplier, divisor


@pytest.mark.rule("G-01")
@given(st.lists(products_that_fit(), min_size=1, max_size=4))
def test_multiply_divide_of_arrays_is_exact_up_to_the_edge_of_int64(cases: list[tuple[int, int, int]]) -> None:
    for value, multiplier, divisor in cases:
        column = np.array([value, -value, 0], np.int64)
        exact = [Fraction(v * multiplier, divisor) for v in (value, -value, 0)]
        assert mul_div_floor(column, multiplier, divisor).tolist() == [floor(e) for e in exact]
        assert mul_div_ceil(column, multiplier, divisor).tolist() == [ceil(e) for e in exact]
        rates = np.full(3, multiplier, np.int64)
        assert mul_div_floor(column, rates, divisor).tolist() == [floor(e) for e in exact]
        assert ceil_div(column, divisor).tolist() == [ceil(Fraction(v, divisor)) for v in (value, -value, 0)]
        assert floor_div(column, divisor).tolist() == [floor(Fraction(v, divisor)) for v in (value, -value, 0)]


@pytest.mark.rule("G-01", "US-08")
@given(st.integers(1, 2**44), st.integers(RATE, 100 * RATE))
@example(999_999_999_999, 10 * RATE)
def test_a_news_multiple_beyond_nine_does_not_wrap_in_a_column(per_lot: int, multiplier: int) -> None:
    tiers = (MarginTier(0, (0, 0, 0), (per_lot, per_lot, per_lot), (0, 0, 0)),)
    window = Window("w", MarginKind.INTRADAY, RATE, RATE, RATE)
    terms = Terms(tiers, window, News(multiplier, held=True))
    lots = np.array([1, -1], np.int64)
    expected = ceil(Fraction(per_lot * multiplier, RATE))
    assert held_requirement(terms, lots, np.zeros(2, np.int64)).tolist() == [expected, expected]
    assert held_requirement(terms, 1, 0) == expected


@pytest.mark.rule("G-04", "US-04")
@given(st.integers(0, MAX_VALUE), st.integers(RATE // 2, 4 * RATE))
def test_a_line_is_the_least_net_liq_whose_usage_is_within_the_level(requirement: int, level: int) -> None:
    at = line(requirement, level)
    assert requirement * RATE <= at * level
    assert requirement * RATE > (at - 1) * level
    assert not below(at, at)
    assert below(at - 1, at)
    assert not below(at + 1, at)
    column = np.array([requirement], np.int64)
    assert line(column, level).tolist() == [at]


@pytest.mark.rule("G-01")
def test_money_in_text_is_exact_or_refused() -> None:
    assert USD.micros_of_text("1234.567891") == 1_234_567_891
    assert USD.text(1_234_567_891) == "1234.567891"
    assert USD.text(-1_500_000) == "-1.50"
    assert USD.text(0) == "0.00"
    assert CURRENCIES["BTC"].micros_of_text("0.00000001") == 1
    with pytest.raises(InputError, match="decimal places"):
        USD.micros_of_text("0.0000001")
    largest = Decimal(MAX_VALUE) / 10**6
    assert USD.micros(largest) == MAX_VALUE
    assert USD.micros(-largest) == -MAX_VALUE
    with pytest.raises(InputError, match="bound"):
        USD.micros(largest + Decimal("0.000001"))


@pytest.mark.rule("G-01")
def test_rates_in_text_are_exact_or_refused() -> None:
    assert rate("0.000000001", "x") == 1
    assert rate_text(5_000_000) == "0.005"
    for bad in ("0.0000000001", "nan", "inf", "x", ""):
        with pytest.raises(InputError, match="x"):
            rate(bad, "x")


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("text", ["1e501", "-1e999999999", "1e-501", "1e-999999999", "0e-999999999", "0e999999999"])
def test_a_number_with_an_absurd_exponent_is_refused_at_once(text: str) -> None:
    with pytest.raises(InputError, match=r"^tick: "):
        decimal(text, "tick")
    assert decimal("1e500", "tick") == 10**500
