"""What could be owed after a gap (US-18, US-19), and the look-ahead to the next window (US-27)."""

import csv
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from importlib import resources

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.drawn import WINDOWS, Drawn, accounts, contract, flat_tier

from closeout.core.contracts import Contract, Kind
from closeout.core.margin import Level, MarginTier, Terms
from closeout.core.outlook import (
    GRID,
    LOOK,
    MOVES,
    WORST_GAPS,
    Account,
    Outcome,
    could_owe,
    first_move,
    gapped,
    look_ahead,
    outcome,
)
from closeout.core.risk import Holding, Money, assess
from closeout.core.units import RATE, USD

DAY, NIGHT, ALWAYS = WINDOWS
FEE = 25 * 10**6


def perpetual(lots: int, mark: int | None, *, entry: int = 65_000_00) -> Holding:
    """Lots of 0.01 BTC at ticks of 0.01, 15 % of value, 0.15 a lot."""
    own = Contract.define(
        "PERP",
        kind=Kind.LINEAR,
        currency=USD,
        tick=Decimal("0.01"),
        lot=Decimal(1),
        contract_size=Decimal("0.01"),
        fee_per_contract=Decimal("0.15"),
    )
    return Holding(own, Terms((flat_tier(15 * RATE // 100),), NIGHT), lots, own.value(entry, lots), mark)


def dollars(amount: int) -> Money:
    return Money(amount * 10**6)


# -- gaps ----------------------------------------------------------------------------------------------


@pytest.mark.rule("US-18", "US-19")
@pytest.mark.parametrize(
    ("percent", "owed"),
    [
        (-5, 0),  # 1,500 - 325 covers 15 % of 6,175
        (-10, 0),  # 850 is below 877.50, but closing at 58,500 leaves 823.50 after 1.50 and 25
        (-20, 0),
        (-25, 151_500_000),  # 1,500 - 1,625 - 1.50 - 25
        (20, 0),
    ],
)
def test_what_a_long_could_owe(percent: int, owed: int) -> None:
    account = Account(dollars(1_500), (perpetual(10, 65_000_00),))
    assert could_owe(account, (), percent * RATE // 100, 0, FEE) == owed


@pytest.mark.rule("US-18", "US-19")
def test_fees_alone_can_make_a_debt() -> None:
    """At 52,000 net liq is 1.00, and the fees are 26.50."""
    account = Account(dollars(1_301), (perpetual(10, 65_000_00),))
    assert could_owe(account, (), -RATE // 5, 0, FEE) == 25_500_000


@pytest.mark.rule("US-19")
def test_a_short_owes_after_a_rise() -> None:
    account = Account(dollars(1_000), (perpetual(-10, 65_000_00),))
    assert could_owe(account, (), RATE // 5, 0, FEE) == (1_300 - 1_000) * 10**6 + 1_500_000 + FEE
    assert could_owe(account, (), -RATE // 5, 0, FEE) == 0


@pytest.mark.rule("US-19")
def test_an_isolated_deficit_is_paid_from_other_cash_first() -> None:
    """1,300 lost on a margin of 1,000: 300, 1.50 and 25 are missing."""
    part = Account(dollars(1_000), (perpetual(10, 65_000_00),))
    drop = -RATE // 5
    assert could_owe(Account(dollars(0), ()), [part], drop, 0, FEE) == 326_500_000
    assert could_owe(Account(dollars(300), ()), [part], drop, 0, FEE) == 26_500_000
    assert could_owe(Account(dollars(400), ()), [part], drop, 0, FEE) == 0
    # What another isolated position has left goes to the same cash.
    rich = Account(dollars(2_000), (perpetual(10, 65_000_00),))
    assert could_owe(Account(dollars(0), ()), [part, rich], drop, 0, FEE) == 0
    # The cross position stands open, but the debt is there.
    safe = replace(perpetual(1, 65_000_00), contract=contract("X"))
    assert could_owe(Account(dollars(400), (safe,)), [part], drop, 0, FEE) == 0
    open_profit = Account(dollars(100), (perpetual(1, 65_000_00, entry=5_000_00),))
    assert could_owe(open_profit, [part], drop, 0, FEE) == 226_500_000


@pytest.mark.rule("US-19", "G-14")
def test_a_gap_moves_at_least_as_far_and_never_below_one_tick() -> None:
    assert gapped(perpetual(1, 3), -RATE // 10).mark == 2
    assert gapped(perpetual(1, 3), RATE // 10).mark == 4
    assert gapped(perpetual(1, 1), -RATE // 2).mark == 1
    oil = replace(perpetual(1, -3_763), contract=contract("CL", negative=True))
    assert gapped(oil, -RATE // 10).mark == -4_140
    assert gapped(replace(oil, mark=1), -RATE).mark == 0


@pytest.mark.rule("US-19")
def test_the_worst_minutes_are_those_of_the_shipped_windows() -> None:
    """Each window's worst fall from a minute's open to its low is in the table, and each row is a minute's move."""
    moves = {gap.move for gap in WORST_GAPS}
    seen: set[int] = set()
    for file in resources.files("closeout").joinpath("data").iterdir():
        if not file.name.endswith(".csv"):
            continue
        bars = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        falls = [rounded_away(Decimal(bar["low"]) / Decimal(bar["open"]) - 1) for bar in bars]
        rises = [rounded_away(Decimal(bar["high"]) / Decimal(bar["open"]) - 1) for bar in bars]
        assert min(falls) in moves
        seen |= {min(falls), max(rises)}
    assert moves <= seen
    assert max(seen) in moves
    assert all(abs(move) < RATE for move in (*moves, *MOVES))


def rounded_away(share: Decimal) -> int:
    away = "ROUND_CEILING" if share > 0 else "ROUND_FLOOR"
    return int((share * 100_000).to_integral_value(away)) * (RATE // 100_000)


gaps = st.integers(-RATE, RATE)


@pytest.mark.rule("US-18", "US-19", "G-04")
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(accounts(), gaps, st.integers(0, 10**12))
def test_a_move_is_judged_as_the_engine_would_judge_it(drawn: Drawn, move: int, more: int) -> None:
    account = Account(drawn.money, tuple(drawn.holdings))
    after = outcome(account, (), move, drawn.floor, FEE)
    moved = [gapped(holding, move) for holding in drawn.holdings]
    risk = assess(drawn.money, moved, drawn.floor)
    assert after.level is risk.level
    if risk.level is Level.LIQUIDATING:
        fees = sum(h.contract.trade_fee(h.mark, h.lots) for h in moved if h.mark is not None)
        assert after.net_liq == risk.net_liq - fees - FEE
        assert after.owed == max(0, -after.net_liq)
    else:
        assert (after.net_liq, after.owed) == (risk.net_liq, 0)
    assert after.owed == could_owe(account, (), move, drawn.floor, FEE)
    richer = replace(account, money=replace(account.money, cash=account.money.cash + more))
    assert outcome(richer, (), move, drawn.floor, FEE).owed <= after.owed
    assert outcome(account, (), 0, drawn.floor, FEE, "another") == outcome(account, (), 0, drawn.floor, FEE)


@pytest.mark.rule("US-18")
@given(gaps, st.integers(0, 2_000), st.integers(0, 2_000))
def test_an_isolated_position_moves_no_money_out_of_sight(move: int, cash: int, margin: int) -> None:
    """Whatever stays open or is closed, the customer's worth is the sum of the parts, less the fees of those closed."""
    account = Account(dollars(cash), (perpetual(4, 65_000_00),))
    isolated = Account(dollars(margin), (perpetual(-6, 65_000_00),))
    after = outcome(account, [isolated], move, 0, FEE)
    worth = sum(part.money.sum + gapped(part.holdings[0], move).profit for part in (account, isolated))
    assert worth - 2 * FEE - 1_500_000 <= after.net_liq <= worth
    alone = [outcome(account, [isolated], move, 0, FEE, name) for name in ("PERP", "another")]
    assert (alone[0], alone[1]) == (after, outcome(account, [isolated], 0, 0, FEE))


@pytest.mark.rule("US-18")
def test_the_first_move_that_closes_out_and_the_first_that_leaves_a_debt() -> None:
    """1,500 less 65 a percent covers 15 % of what is left until -9.502 %, and the fees of 26.50 until -22.669 %."""
    account = Account(dollars(1_500), (perpetual(10, 65_000_00),))

    def after(move: int) -> Outcome:
        return outcome(account, (), move, 0, FEE)

    assert first_move(lambda move: after(move).level is Level.LIQUIDATING) == -95_030_000
    assert first_move(lambda move: after(move).owed > 0) == -226_700_000
    assert after(-226_690_000).owed == 0
    assert first_move(lambda move: after(move).level is Level.LIQUIDATING and move > 0) is None
    assert first_move(lambda move: move < RATE) == 0
    assert first_move(lambda move: move >= RATE) == RATE


@pytest.mark.rule("US-18")
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(accounts())
def test_no_look_nearer_than_the_first_move_holds(drawn: Drawn) -> None:
    account = Account(drawn.money, tuple(drawn.holdings))

    def liquidated(move: int) -> bool:
        return outcome(account, (), move, drawn.floor, FEE).level is Level.LIQUIDATING

    found = first_move(liquidated)
    nearer = range(0, RATE + 1 if found is None else abs(found), LOOK)
    assert not any(liquidated(towards * move) for move in nearer for towards in (-1, 1))
    if found:
        assert liquidated(found)
        assert not liquidated(found - (GRID if found > 0 else -GRID))


# -- look-ahead ----------------------------------------------------------------------------------------


@pytest.mark.rule("US-05", "US-27")
def test_the_smallest_deposit_and_the_fewest_lots() -> None:
    """Ten lots need 975 at the switch and 800 are there: 175, or two lots, since closing one leaves 877.50."""
    ahead = look_ahead(Account(dollars(800), (perpetual(10, 65_000_00),)), 0)
    assert (ahead.risk.requirement, ahead.risk.level, ahead.short) == (975_000_000, Level.LIQUIDATING, 175_000_000)
    assert ahead.fewest_lots == {"PERP": 2}


@pytest.mark.rule("US-27")
def test_fees_count_among_the_lots() -> None:
    """Closing one lot frees 97.50 and costs 0.15: 877.50 + 0.15 is what must be there."""
    for cash, lots in ((877_650_000, 1), (877_649_999, 2)):
        ahead = look_ahead(Account(Money(cash), (perpetual(10, 65_000_00),)), 0)
        assert ahead.fewest_lots == {"PERP": lots}


@pytest.mark.rule("US-27")
def test_what_cannot_be_cleared_is_none() -> None:
    poor = look_ahead(Account(dollars(800), (perpetual(10, 65_000_00, entry=80_000_00),)), 0)
    assert (poor.short, poor.fewest_lots) == (975_000_000 + 700_000_000, {"PERP": None})
    fine = look_ahead(Account(dollars(975), (perpetual(10, 65_000_00),)), 0)
    assert (fine.short, fine.fewest_lots) == (0, {"PERP": 0})
    unmarked = look_ahead(Account(dollars(800), (perpetual(10, None),)), 0)
    assert unmarked.fewest_lots == {"PERP": None}
    assert look_ahead(Account(Money(-5), ()), 0).short == 5


@pytest.mark.rule("US-27")
def test_one_micro_or_one_lot_less_does_not_clear() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
    @given(accounts(), st.integers(10, 101))
    def check(account: Drawn, percent: int) -> None:
        held = tuple(account.holdings)
        now = assess(account.money, held, account.floor)
        money = Money(account.money.cash - now.net_liq + now.lines[2] * percent // 100)
        ahead = look_ahead(Account(money, held), account.floor)

        def liquidated(deposit: int) -> bool:
            return assess(Money(money.cash + deposit), held, account.floor).level is Level.LIQUIDATING

        assert not liquidated(ahead.short)
        assert ahead.short == 0 or liquidated(ahead.short - 1)
        for index, own in enumerate(held):
            lots = ahead.fewest_lots[own.contract.name]
            if ahead.short and lots:
                seen["lots"] += 1
                assert clears(money, held, index, lots, account.floor)
                assert lots == 1 or not clears(money, held, index, lots - 1, account.floor)

    check()
    assert seen["lots"] >= 100


def clears(money: Money, held: tuple[Holding, ...], index: int, lots: int, floor: int | None) -> bool:
    """The verdict after lots are closed at the mark: proceeds less their share of the cost are cash, less the fee."""
    own = held[index]
    assert own.mark is not None
    closing = -lots if own.lots > 0 else lots
    cost = -(-own.cost * lots // abs(own.lots))
    realised = (-own.contract.trade_value(own.mark, closing) - cost) // own.contract.units_per_micro
    left = replace(own, lots=own.lots + closing, cost=own.cost - cost)
    rest = [*held[:index], *([left] if left.lots else []), *held[index + 1 :]]
    after = assess(Money(money.cash + realised - own.contract.trade_fee(own.mark, lots)), rest, floor)
    return after.level is not Level.LIQUIDATING and (bool(rest) or after.net_liq >= 0)


@pytest.mark.rule("US-27")
def test_per_contract_margin_frees_by_the_lot() -> None:
    own = contract("MES", tick="0.25", size="5")
    tier = MarginTier(0, (0, 0, 0), (50 * 10**6, 2_100 * 10**6, 1_909 * 10**6), (0, 0, 0))
    night = Holding(own, Terms((tier,), NIGHT), 3, own.value(20_000, 3), 20_000)
    ahead = look_ahead(Account(dollars(5_000), (night,)), 0)
    assert (ahead.risk.requirement, ahead.short, ahead.fewest_lots) == (6_300_000_000, 1_300_000_000, {"MES": 1})
