"""The funding rate's formula (US-14)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.core.funding import average, funding_rate, premium
from closeout.core.units import InputError, rate
from closeout.rulebooks.loader import load

INTEREST = rate("0.0001", "interest")
CLAMP = rate("0.0005", "clamp")
SAMPLES = 1920


def percent(text: str) -> Fraction:
    return Fraction(text) / 100


@pytest.mark.rule("US-14")
@pytest.mark.parametrize(
    ("premium_percent", "rate_percent"),
    [
        ("-0.20", "-0.15"),
        ("-0.10", "-0.05"),
        ("-0.05", "0.00"),
        ("-0.04", "0.01"),
        ("0.00", "0.01"),
        ("0.06", "0.01"),
        ("0.10", "0.05"),
        ("0.20", "0.15"),
    ],
)
def test_rate_of_a_constant_premium(premium_percent: str, rate_percent: str) -> None:
    got = funding_rate([percent(premium_percent)] * SAMPLES, INTEREST, CLAMP)
    assert got == percent(rate_percent) * 10**9


@pytest.mark.rule("US-14")
def test_the_shipped_rulebook_names_the_same_constants() -> None:
    funding = load("kraken-us").table.funding
    assert funding is not None
    assert (rate(funding.interest, "interest"), rate(funding.clamp, "clamp")) == (INTEREST, CLAMP)
    assert funding.samples == SAMPLES
    assert funding.interval_ends == ["03:00", "11:00", "19:00"]
    assert funding.booking == "15:00"


@pytest.mark.rule("US-14")
def test_weights_are_the_samples_numbers_and_add_up_to_1844160() -> None:
    for index in (1, 2, 1000, SAMPLES):
        samples = [Fraction(0)] * SAMPLES
        samples[index - 1] = Fraction(1)
        assert average(samples) == Fraction(index, 1_844_160)


@pytest.mark.rule("US-14")
def test_premium_is_zero_inside_the_spread_and_signed_outside() -> None:
    assert premium(99, 101, 100) == 0
    assert premium(100, 100, 100) == 0
    assert premium(102, 103, 100) == Fraction(2, 100)
    assert premium(96, 97, 100) == Fraction(-3, 100)
    assert premium(Fraction(302, 3), 105, 100) == Fraction(2, 300)


@pytest.mark.rule("US-14", "G-01")
def test_the_rate_is_rounded_to_the_nearest_and_ties_favour_nobody() -> None:
    tick = Fraction(1, 10**9)
    for share, expected in (("0.5", 0), ("1.5", 2), ("0.49", 0), ("-0.5", 0), ("-1.5", -2), ("-0.51", -1)):
        assert funding_rate([Fraction(share) * tick], 0, 0) == expected


@pytest.mark.rule("US-14")
@pytest.mark.parametrize("bad", [lambda: average([]), lambda: premium(1, 1, 0)])
def test_what_cannot_be_a_sample_is_refused(bad: object) -> None:
    assert callable(bad)
    with pytest.raises(InputError):
        bad()


@pytest.mark.rule("US-14")
@given(st.lists(st.fractions(-1, 1, max_denominator=10**6), min_size=1, max_size=30))
def test_the_rate_never_strays_from_the_average_by_more_than_the_clamp(samples: list[Fraction]) -> None:
    share = average(samples) * 10**9
    got = funding_rate(samples, INTEREST, CLAMP)
    assert abs(got - share) <= CLAMP + Fraction(1, 2)
    if abs(INTEREST - share) <= CLAMP:
        assert got == INTEREST
    assert funding_rate([-sample for sample in samples], -INTEREST, CLAMP) == -got  # the other side's view
