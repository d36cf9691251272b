"""Margin by brackets, by entry, with the fee of closing, by a slope, and by open interest (EX-02)."""

import json
from dataclasses import replace
from fractions import Fraction
from math import ceil, isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.drawn import WINDOWS, contract

from closeout.core.margin import (
    MarginKind,
    MarginRules,
    MarginTier,
    Slope,
    Terms,
    entry_requirement,
    held_requirement,
    initial_margin,
    margin,
    margin_of,
    scaled_rate,
)
from closeout.core.risk import Holding
from closeout.core.units import MAX_RATE, MAX_VALUE, RATE, root_ceil

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"
DAY, NIGHT, ALWAYS = WINDOWS
INITIAL, MAINTENANCE = MarginKind.INITIAL, MarginKind.MAINTENANCE
NONE = (0, 0, 0)
USD = 10**6


def rates(intraday: str, initial: str, maintenance: str) -> tuple[int, int, int]:
    return (_rate(intraday), _rate(initial), _rate(maintenance))


def _rate(text: str) -> int:
    return int(Fraction(text) * RATE)


FLAT = (MarginTier(0, rates("0.05", "0.1", "0.05"), NONE, NONE),)
# 2 % up to 500,000, 4 % of what lies above it, 6 % above 1,000,000; maintenance is half.
BRACKETS = (
    MarginTier(0, rates("0.02", "0.02", "0.01"), NONE, NONE),
    MarginTier(500_000 * USD, rates("0.04", "0.04", "0.02"), NONE, (10_000 * USD, 10_000 * USD, 5_000 * USD)),
    MarginTier(1_000_000 * USD, rates("0.06", "0.06", "0.03"), NONE, (30_000 * USD, 30_000 * USD, 15_000 * USD)),
)


@pytest.mark.rule("EX-02", "US-02")
@pytest.mark.parametrize(
    ("notional", "initial"),
    [(400_000, 8_000), (500_000, 10_000), (700_000, 18_000), (1_000_000, 30_000), (1_500_000, 60_000)],
)
def test_brackets_of_initial_margin_add_up(notional: int, initial: int) -> None:
    assert margin(BRACKETS, INITIAL, 1, notional * USD) == initial * USD
    assert margin(BRACKETS, MAINTENANCE, 1, notional * USD) == initial * USD // 2


@pytest.mark.rule("EX-02")
@given(st.integers(0, 2 * 10**12))
def test_nothing_jumps_where_a_bracket_begins(notional: int) -> None:
    for kind in MarginKind:
        step = margin(BRACKETS, kind, 1, notional + 1) - margin(BRACKETS, kind, 1, notional)
        assert 0 <= step <= 1


@pytest.mark.rule("EX-02")
def test_by_entry_the_requirement_does_not_move_with_the_mark() -> None:
    own = contract("X")
    for by_entry, expected in ((False, 45 * USD), (True, 50 * USD)):
        terms = Terms(FLAT, ALWAYS, rules=MarginRules(by_entry=by_entry))
        holding = Holding(own, terms, 10, own.value(10_000, 10), 9_000, leverage=5 * RATE)
        assert holding.requirement == expected
        assert holding.margin(MAINTENANCE) == expected
        assert holding.margin(INITIAL) == 4 * expected  # a fifth of the value
        assert holding.at(8_000).requirement == (40 * USD, 50 * USD)[by_entry]
        assert holding.less(5).requirement * 2 == expected
    # G-18: without a mark the value at entry is known all the same.
    assert Holding(own, Terms(FLAT, ALWAYS, rules=MarginRules(by_entry=True)), -3, -1, None).required_on == 1


@pytest.mark.rule("EX-02", "G-01")
def test_the_fee_of_closing_is_added_to_every_margin_once() -> None:
    terms = Terms(FLAT, DAY, rules=MarginRules(close_fee=_rate("0.0006")))
    assert held_requirement(terms, 1, 1_000 * USD) == 50_600_000
    assert margin_of(terms, INITIAL, 1, 1_000 * USD) == 100_600_000
    assert initial_margin(terms, 1, 1_000 * USD, 2 * RATE) == 500_600_000
    assert entry_requirement(terms, 1, 1_000 * USD, with_intraday=True) == 50_600_000
    assert entry_requirement(terms, 1, 1_000 * USD, with_intraday=False) == 100_600_000
    assert held_requirement(terms, 1, 1) == 2  # each rounded up


@pytest.mark.rule("EX-02", "G-01")
def test_the_fee_of_closing_on_what_a_bankrupt_position_is_worth() -> None:
    """A tenth of initial margin: 900 of 1,000 are left of a long position, a short one is bought back for 1,100."""
    rules = MarginRules(close_fee=_rate("0.0006"), close_fee_side=1)
    terms = Terms(FLAT, DAY, rules=rules)
    assert held_requirement(terms, 1, 1_000 * USD) == 50_540_000
    assert held_requirement(terms, -1, 1_000 * USD) == 50_660_000
    assert margin_of(terms, INITIAL, 1, 1_000 * USD) == 100_540_000
    assert initial_margin(terms, 1, 1_000 * USD, 2 * RATE) == 500_540_000
    # An inverse contract's long position is worth more of the coin as its price falls.
    coins = Terms(FLAT, DAY, rules=replace(rules, close_fee_side=-1))
    assert held_requirement(coins, 1, 1_000 * USD) == 50_660_000
    both = held_requirement(terms, np.array([1, -1]), np.array([1_000 * USD, 1_000 * USD]))
    assert both.tolist() == [50_540_000, 50_660_000]


# -- slopes --------------------------------------------------------------------------------------------


@pytest.mark.rule("EX-02")
@pytest.mark.skipif(not VECTORS.exists(), reason="the vectors lie beside the checkout")
@pytest.mark.parametrize("row", [f"deribit-futures-margin-{number:03}" for number in (2, 4, 7, 9, 11, 12, 13)])
def test_deribits_own_margins(row: str) -> None:
    """The exchange's numbers, within its own rounding (and ours, of the size to 1e-8 and up)."""
    found = json.loads((VECTORS / "venue_recordings.json").read_text(encoding="utf-8"), parse_float=Fraction)
    given = next(one for one in found if one["id"] == row)
    inputs, expected = given["inputs"], given["expected"]
    coin = contract("X", size="1", tick="0.01", inverse=True)
    lots, mark = int(inputs["size_usd"]), int(inputs["mark_price"] * 100)
    slope = inputs["slope_per_coin"] * RATE / 10**8
    each = Slope(slope.numerator, slope.denominator, of_lots=False)
    initial, maintenance = int(inputs["im_base"] * RATE), int(inputs["mm_base"] * RATE)
    tier = MarginTier(0, (initial, initial, maintenance), NONE, NONE, (each, each, each))
    holding = Holding(coin, Terms((tier,), ALWAYS), lots, coin.value(mark, lots), mark)
    for kind, key in ((INITIAL, "initial_margin"), (MAINTENANCE, "maintenance_margin")):
        assert abs(Fraction(holding.margin(kind), 10**8) - expected[key]) <= Fraction(2, 10**8)


sizes = st.integers(0, 2**40)
slopes = st.builds(Slope, st.integers(1, 10**7), st.integers(1, 10**7), st.booleans())


@st.composite
def roots(draw: st.DrawFn) -> Slope:
    """As `rulebooks.margins` makes one: up to the square at which it grows no more."""
    square, per = draw(st.integers(1, 2**40)), draw(st.integers(1, 2**20))
    most = min(2**40, ceil(Fraction(MAX_RATE**2 * per, square)))
    return Slope(square, per, of_lots=True, root=most, within=draw(st.integers(0, 10**8)))


tiers = st.builds(
    MarginTier,
    st.integers(1, 2**53),
    st.tuples(*[st.integers(1, MAX_RATE)] * 3),
    st.tuples(*[st.integers(0, 1000)] * 3),
    st.just(NONE),
    st.tuples(*[st.none() | slopes | roots()] * 3),
)


def by_fractions(tier: MarginTier, kind: MarginKind, lots: int, notional: int) -> int:
    rate, slope = Fraction(tier.rate[kind], RATE), tier.slope[kind]
    if slope is not None:
        size = abs(lots) if slope.of_lots else notional
        grown = ceil(Fraction(size * slope.rate, slope.per))
        if slope.root:
            grown = max(0, isqrt(max(0, grown - 1)) + (grown > 0) - slope.within)
        rate += Fraction(grown, RATE)
    return ceil(notional * min(rate, Fraction(2))) + abs(lots) * tier.per_lot[kind]


@pytest.mark.rule("EX-02", "G-01", "G-12")
@given(st.lists(tiers, min_size=1, max_size=3, unique_by=lambda t: t.notional_from), st.data())
def test_columns_integers_and_fractions_agree_up_to_the_bounds(drawn: list[MarginTier], data: st.DataObject) -> None:
    ladder = tuple(sorted(drawn, key=lambda tier: tier.notional_from))
    lots = data.draw(st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4))
    starts = [tier.notional_from for tier in ladder]
    notional = data.draw(st.lists(st.integers(0, MAX_VALUE) | st.sampled_from(starts), min_size=4, max_size=4))
    for kind in MarginKind:
        column = margin(ladder, kind, np.array(lots), np.array(notional))
        for index, (held, worth) in enumerate(zip(lots, notional, strict=True)):
            reached = [tier for tier in ladder if worth >= tier.notional_from] or [*ladder[:1]]
            expected = by_fractions(reached[-1], kind, held, worth)
            assert column[index] == margin(ladder, kind, held, worth) == expected


@pytest.mark.rule("G-01")
@given(
    st.integers(0, 2**62)
    | st.integers(0, 2**31).map(lambda n: n * n)
    | st.integers(1, 2**31 - 1).map(lambda n: n * n + 1)
)
def test_a_square_root_is_rounded_up(value: int) -> None:
    found = root_ceil(value)
    assert max(0, found - 1) ** 2 < max(1, value) <= max(1, found**2)
    assert root_ceil(np.array([value, 0])).tolist() == [found, 0]


@pytest.mark.rule("G-01")
def test_a_slope_stops_at_200_percent() -> None:
    slope = Slope(2**8, 1, of_lots=False)
    steep = MarginTier(0, (1, 1, 1), NONE, NONE, (slope, slope, slope))
    assert margin((steep,), MAINTENANCE, 1, MAX_VALUE) == 2 * MAX_VALUE
    assert margin((steep,), MAINTENANCE, np.array([1]), np.array([MAX_VALUE])).tolist() == [2 * MAX_VALUE]
    slope = Slope(2**21, 1, of_lots=True)
    by_lots = MarginTier(0, (1, 1, 1), NONE, NONE, (slope, slope, slope))
    assert margin((by_lots,), MAINTENANCE, np.array([-(2**40)]), np.array([MAX_VALUE])).tolist() == [2 * MAX_VALUE]


# -- open interest -------------------------------------------------------------------------------------


def chain_rows() -> list[Any]:
    path = VECTORS / "dydx_v4_chain.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [row for row in rows if row["function"] == "GetAdjustedInitialMarginPpm"]


@pytest.mark.rule("EX-02")
@pytest.mark.skipif(not VECTORS.exists(), reason="the vectors lie beside the checkout")
def test_dydx_own_open_interest_rows() -> None:
    rows = chain_rows()
    assert rows
    for row in rows:
        given = row["inputs"]
        lower, upper = given["open_interest_lower_cap"], given["open_interest_upper_cap"]
        scaled = scaled_rate(given["initial_margin_ppm"] * 1000, given["open_interest_notional"], lower, upper)
        assert scaled == row["expected"]["adjusted_initial_margin_ppm"] * 1000


@pytest.mark.rule("EX-02")
def test_open_interest_raises_what_is_opened_and_nothing_that_is_held() -> None:
    rules = MarginRules(open_interest=(1_000 * USD, 2_000 * USD))
    for open_interest, expected in ((0, 100), (1_000, 100), (1_500, 550), (2_000, 1_000), (9_000, 1_000)):
        terms = Terms(FLAT, ALWAYS, rules=rules, open_interest=open_interest * USD)
        assert initial_margin(terms, 1, 1_000 * USD, 0) == expected * USD
        assert entry_requirement(terms, 1, 1_000 * USD, with_intraday=False) == expected * USD
        assert held_requirement(terms, 1, 1_000 * USD) == 50 * USD
        # The window that asks for initial margin of positions asks for the tiers' own.
        assert held_requirement(Terms(FLAT, NIGHT, rules=rules, open_interest=open_interest * USD), 1, USD) == USD // 10
    assert scaled_rate(MAX_RATE, 10, 0, 10) == MAX_RATE
