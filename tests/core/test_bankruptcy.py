"""At what value a position changes hands: nothing is left of it, whole or in parts (EX-02)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.core.bankruptcy import bankruptcy_value, closes, order_limit
from closeout.core.contracts import Contract, Kind, Position
from closeout.core.margin import MarginKind, MarginTier, Terms, Window
from closeout.core.risk import Holding
from closeout.core.units import RATE, USD, InputError, floor_div

TIER = MarginTier(0, (RATE // 10, RATE // 10, RATE // 10), (0, 0, 0), (0, 0, 0))
TERMS = Terms((TIER,), Window("all", MarginKind.MAINTENANCE, RATE, RATE, RATE))
CAR = Contract.define(
    "CAR", kind=Kind.LINEAR, currency=USD, tick=Decimal("0.001"), lot=Decimal("0.0001"), contract_size=Decimal(1)
)  # fmt: skip


@pytest.mark.rule("EX-02", "G-10")
@given(
    st.integers(1, 10**5), st.sampled_from((1, -1)), st.integers(1, 10**7), st.integers(1, 10**7),
    st.integers(-(10**9), 10**9), st.data(),
)  # fmt: skip
def test_a_position_closed_in_two_parts_leaves_nothing(
    size: int, side: int, entry: int, mark: int, share: int, data: st.DataObject
) -> None:
    """What the first part realises leaves the rest a share that its own bankruptcy value takes to zero, and is within
    two micros of its part."""
    whole = Position(side * size, CAR.value(entry, side * size))
    part = data.draw(st.integers(1, size))
    holding = Holding(CAR, TERMS, whole.lots, whole.cost, mark)
    cash = share - holding.profit
    value = bankruptcy_value(holding, share, part)
    realised = floor_div(whole.trade(CAR, -side * part, -value), CAR.units_per_micro)
    cash += realised
    assert 0 <= realised - (holding.profit - share) * part / size < 2.001
    if whole.lots:
        rest = Holding(CAR, TERMS, whole.lots, whole.cost, mark)
        left = cash + rest.profit
        value = bankruptcy_value(rest, left, size - part)
        cash += floor_div(whole.trade(CAR, -whole.lots, -value), CAR.units_per_micro)
    assert (cash, whole.lots, whole.cost) == (0, 0, 0)


@pytest.mark.rule("EX-02")
def test_the_price_of_a_part_is_rounded_towards_plus_infinity() -> None:
    """One of three lots: a third of a micro that the account has is nothing, a third that it lacks is one more."""
    holding = Holding(CAR, TERMS, 3, CAR.value(100, 3), 101)
    assert holding.profit == 0  # three tenths of a micro
    assert bankruptcy_value(holding, 1, 1) == CAR.value(100, 1)
    assert bankruptcy_value(holding, -1, 1) == CAR.value(100, 1) + CAR.units_per_micro


@pytest.mark.rule("EX-02")
def test_what_closes_nothing_has_no_bankruptcy_price() -> None:
    assert [closes(3, -1), closes(3, -3), closes(-3, 2)] == [1, 3, 2]
    for held, change in ((3, 0), (3, 1), (-3, -1), (3, -4), (-3, 4), (0, -1)):
        with pytest.raises(InputError, match="expected a change that closes"):
            closes(held, change)


@pytest.mark.rule("EX-02", "G-05")
def test_no_order_of_an_inverse_contract_has_a_limit_of_zero() -> None:
    """A short position worth more than a tick's price can say is bought back at no less than a tick: at zero it would
    be worth nothing that can be counted."""
    coin = Contract.define(
        "COIN", kind=Kind.INVERSE, currency=USD, tick=Decimal("0.5"), lot=Decimal(1), contract_size=Decimal(1)
    )
    worth = 10 * coin.value(1, -3)
    assert worth > 0
    assert order_limit(coin, -3, worth) == 1
    assert coin.trade_value(order_limit(coin, -3, worth), 3) < 0
