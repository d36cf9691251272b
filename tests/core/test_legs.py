"""Both legs of a contract move with its mark: one liquidation and one bankruptcy price for the two (G-05, EX-02)."""

from fractions import Fraction
from math import ceil, floor
from random import Random

import pytest
from tests.core.drawn import WINDOWS, contract, flat_tier

from closeout.core.contracts import Contract, leg_name, split_leg
from closeout.core.margin import Level, MarginTier, Terms
from closeout.core.outlook import Account, outcome
from closeout.core.prices import bankruptcy_price, estimated_liquidation_value, liquidation_price
from closeout.core.risk import Holding, Money, assess
from closeout.core.units import RATE

ALWAYS = WINDOWS[2]
CENT = 10**4
# 0.4 % up to 50,000, 0.5 % less 50 up to 600,000, 0.65 % less 950 from there on.
FLOORS = (0, 50_000, 600_000)
RATES = (Fraction(4, 1000), Fraction(5, 1000), Fraction(65, 10_000))
AMOUNTS = (0, 50, 950)
TIERS = tuple(
    flat_tier(int(rate * RATE), amount * 10**6, floor * 10**6)
    for floor, rate, amount in zip(FLOORS, RATES, AMOUNTS, strict=True)
)
WHOLE = contract("X", tick="0.01", lot="0.001")


def leg(side: int, lots: int, entry: int, mark: int, tiers: tuple[MarginTier, ...] = TIERS) -> Holding:
    own = WHOLE.leg(side)
    return Holding(own, Terms(tiers, ALWAYS), side * lots, own.value(entry, side * lots), mark)


def liquidating(money: Money, holdings: list[Holding], tick: int) -> bool:
    moved = [holding.at(tick) if holding.contract.market == "X" else holding for holding in holdings]
    return assess(money, moved, None).level is Level.LIQUIDATING


def published(wallet: Fraction, rest: Fraction, long: Holding, short: Holding) -> dict[Fraction, Fraction]:
    """Binance's formula with a long and a short of one contract, wherever both brackets are those at the price found:
    (WB - TMM1 + UPNL1 + cumL + cumS - QL x EL + QS x ES) / (QL x mmrL + QS x mmrS - QL + QS). `rest` is UPNL1 - TMM1.
    By price, what is below the stroke."""
    lots = [Fraction(abs(holding.lots), 1000) for holding in (long, short)]
    paid = [Fraction(abs(holding.cost), 10**6) for holding in (long, short)]
    found: dict[Fraction, Fraction] = {}
    for i in range(3):
        for j in range(3):
            below = lots[0] * RATES[i] + lots[1] * RATES[j] - lots[0] + lots[1]
            if below == 0:
                continue
            price = (wallet + rest + AMOUNTS[i] + AMOUNTS[j] - paid[0] + paid[1]) / below
            inside = [
                FLOORS[at] <= size * price and (at == 2 or size * price < FLOORS[at + 1])
                for at, size in ((i, lots[0]), (j, lots[1]))
            ]
            if price > 0 and all(inside):
                found[price] = below
    return found


@pytest.mark.rule("EX-02", "G-05")
def test_names_of_legs() -> None:
    assert (leg_name("X", 1), leg_name("X", -1)) == ("X:long", "X:short")
    assert (split_leg("X:long"), split_leg("X:short"), split_leg("X")) == (("X", 1), ("X", -1), ("X", 0))
    assert split_leg(":long") == (":long", 0)
    own = WHOLE.leg(-1)
    assert (own.name, own.market, WHOLE.market, own.side) == ("X:short", "X", "X", -1)


@pytest.mark.rule("EX-02", "G-05")
def test_the_published_formula_adds_up_both_legs() -> None:
    """A thousand accounts: the shown price is that of the formula in exact fractions, to the tick, for either leg; and
    where the formula gives two the nearer one."""
    shown = 0
    for seed in range(1000):
        random = Random(seed)
        mark = random.randint(2_000_000, 8_000_000)
        long, short = (
            leg(side, random.randint(1, 12_000), random.randint(mark * 9 // 10, mark * 11 // 10), mark)
            for side in (1, -1)
        )
        other = contract("Y")
        holdings = [
            long,
            Holding(other, Terms((flat_tier(RATE // 50),), ALWAYS), 7, other.value(9_000, 7), 9_100),
            short,
        ]
        exposure = abs(long.lots + short.lots) * mark * CENT // 1000
        money = Money(random.randint(exposure // 50, exposure // 2 + 10**9))
        if assess(money, holdings, None).level is Level.LIQUIDATING:
            continue
        ticks = [liquidation_price(money, holdings, index, None) for index in (0, 2)]
        assert ticks[0] == ticks[1]
        rest = Fraction(holdings[1].profit - holdings[1].requirement, 10**6)
        exact = published(Fraction(money.cash, 10**6), rest, long, short)
        if ticks[0] is None:
            assert exact == {}
            continue
        assert not liquidating(money, holdings, ticks[0])
        nearest = min(exact, key=lambda price: abs(price * 100 - mark))
        falls = nearest * 100 < mark
        safe = ceil(nearest * 100) if falls else floor(nearest * 100)
        # Where the legs all but cancel out a tick moves the account by less than its roundings, a dozen micros.
        assert abs(ticks[0] - safe) <= 12 / abs(exact[nearest] * CENT), (seed, ticks[0], nearest)
        assert liquidating(money, holdings, ticks[0] + (-1 if falls else 1))
        shown += 1
    assert shown > 700


@pytest.mark.rule("EX-02", "G-05")
def test_a_whole_hedge_is_liquidated_by_what_its_margin_grows_to() -> None:
    """Long and short 10 at 50,000 with 5,100: the loss never moves, the two requirements grow with the price."""
    tiers = (flat_tier(RATE // 200),)
    both = [leg(side, 10_000, 5_000_000, 5_000_000, tiers) for side in (1, -1)]
    money = Money(5_100 * 10**6)
    assert [liquidation_price(money, both, index, None) for index in (0, 1)] == [5_100_000, 5_100_000]
    assert [bankruptcy_price(money, both, index) for index in (0, 1)] == [None, None]
    assert estimated_liquidation_value(money, both, None) == 0  # it falls without having lost anything


@pytest.mark.rule("EX-02", "G-05")
def test_the_bankruptcy_price_is_that_of_the_difference() -> None:
    """Long 3 at 50,000, short 1 at 52,000, with 10,000: 2 x price = 150,000 - 52,000 - 10,000."""
    holdings = [leg(1, 3_000, 5_000_000, 5_000_000), leg(-1, 1_000, 5_200_000, 5_000_000)]
    money = Money(10_000 * 10**6)
    assert [bankruptcy_price(money, holdings, index) for index in (0, 1)] == [4_400_000, 4_400_000]


def coin(side: int, lots: int, entry: int, mark: int) -> Holding:
    whole: Contract = contract("C", tick="0.5", size="100", inverse=True)
    own = whole.leg(side)
    return Holding(
        own, Terms((flat_tier(RATE // 250),), ALWAYS), side * lots, own.trade_value(entry, side * lots), mark
    )


@pytest.mark.rule("EX-02", "G-05")
@pytest.mark.parametrize(("long", "short"), [(900, 300), (300, 900), (500, 499)])
def test_inverse_legs_fall_where_the_verdict_does(long: int, short: int) -> None:
    holdings = [coin(1, long, 80_000, 82_000), coin(-1, short, 81_000, 82_000)]
    money = Money(15_000_000)
    found = [liquidation_price(money, holdings, index, None) for index in (0, 1)]
    assert found[0] == found[1]
    assert found[0] is not None
    towards = -1 if found[0] < 82_000 else 1
    for tick, below in ((found[0], False), (found[0] + towards, True)):
        moved = [holding.at(tick) for holding in holdings]
        assert (assess(money, moved, None).level is Level.LIQUIDATING) == below


@pytest.mark.rule("EX-02", "US-19")
def test_a_gap_of_a_contract_is_one_of_its_legs() -> None:
    holdings = (leg(1, 1_000, 5_000_000, 5_000_000), leg(-1, 400, 5_000_000, 5_000_000))
    account = Account(Money(3_000 * 10**6), holdings)
    after = outcome(account, [], -RATE // 5, None, 0, only="X")
    assert after.owed == (600 * 10_000 - 3_000 * 1_000) * 10**3
    assert outcome(account, [], -RATE // 5, None, 0, only="Y").owed == 0
