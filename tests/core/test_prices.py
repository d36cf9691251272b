"""Displayed prices against the engine's verdict, tick by tick (G-05), and the Estimated Liquidation Value (US-05)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.drawn import WINDOWS, Drawn, accounts, contract, flat_tier

from closeout.core import prices
from closeout.core.contracts import Kind
from closeout.core.margin import Level, MarginTier, News, Slope, Terms
from closeout.core.prices import bankruptcy_price, estimated_liquidation_value, liquidation_price
from closeout.core.risk import Holding, Money, assess
from closeout.core.units import MAX_PRICE_TICKS, RATE

DAY, NIGHT, ALWAYS = WINDOWS
SLOW = [HealthCheck.too_slow]


def long_at(
    rate: int,
    *,
    lots: int = 10,
    entry: int = 10_000,
    mark: int = 10_000,
    window: object = ALWAYS,
    news: News | None = None,
) -> Holding:
    """Lots of one unit at ticks of 0.01: one tick on one lot is 10,000 micros."""
    own = contract("X")
    assert window in WINDOWS
    return Holding(own, Terms((flat_tier(rate),), window, news), lots, own.value(entry, lots), mark)  # pyright: ignore[reportArgumentType]


def net_liq_at(money: Money, holdings: list[Holding], index: int, mark: int) -> int:
    moved = [*holdings]
    moved[index] = moved[index].at(mark)
    return assess(money, moved, None).net_liq


def dollars(amount: int) -> Money:
    return Money(amount * 10**6)


# -- liquidation price ---------------------------------------------------------------------------------


@pytest.mark.rule("G-04", "G-05")
@pytest.mark.parametrize(
    ("cash", "lots", "expected"),
    [
        (100, 10, 9_091),  # 1,000 x 9 %: (1000 - 100) / .99 = 909.0909..., on ten lots of 1 at 100.00
        (100, -10, 10_891),
        (90, 10, 9_192),
    ],
)
def test_one_contract_by_hand(cash: int, lots: int, expected: int) -> None:
    assert liquidation_price(dollars(cash), [long_at(RATE // 100, lots=lots)], 0, None) == expected


@pytest.mark.rule("G-04", "G-05")
def test_exactly_on_the_line_is_not_below() -> None:
    # 10 lots at 80.00: 800 x 20 % = 160 = 360 - 200 exactly.
    holding = long_at(RATE // 5)
    assert liquidation_price(dollars(360), [holding], 0, None) == 8_000
    assert liquidation_price(Money(360 * 10**6 - 1), [holding], 0, None) == 8_001


@pytest.mark.rule("G-05")
def test_none_is_its_own_value() -> None:
    assert liquidation_price(dollars(1_001), [long_at(RATE // 100)], 0, None) is None
    assert bankruptcy_price(dollars(1_001), [long_at(RATE // 100)], 0) is None
    # Down to one tick: there is no tick at zero.
    assert bankruptcy_price(Money(1_000 * 10**6 - 200_000), [long_at(RATE // 100)], 0) == 2
    assert bankruptcy_price(dollars(1_000), [long_at(RATE // 100)], 0) is None


@pytest.mark.rule("G-05")
@pytest.mark.parametrize(("lots", "expected"), [(10, 9_010), (-10, 10_989)])
def test_a_bankruptcy_price_that_leaves_the_fee(lots: int, expected: int) -> None:
    """100 are lost at 90.00 (110.00). At 90.10 a fee of 0.1 % is 0.901 of the 1.00 left, at 90.09 0.9009 of 0.90; at
    109.89 it is 1.0989 of 1.10, at 109.90 1.099 of 1.00."""
    own = long_at(RATE // 100, lots=lots)
    own = replace(own, contract=replace(own.contract, taker_fee=RATE // 1000))
    assert bankruptcy_price(dollars(100), [own], 0) == (9_000 if lots > 0 else 11_000)
    assert bankruptcy_price(dollars(100), [own], 0, after_fee=True) == expected


@pytest.mark.rule("G-05", "G-14")
def test_a_price_may_be_negative() -> None:
    oil = contract("CL", size="1000", negative=True)
    holding = Holding(oil, Terms((flat_tier(RATE // 10),), ALWAYS), 1, oil.value(2_000, 1), 2_000)
    assert bankruptcy_price(dollars(57_630), [holding], 0) == -3_763
    found = liquidation_price(dollars(57_630), [holding], 0, None)
    assert found is not None
    account = Drawn(dollars(57_630), [holding], None)
    assert -3_763 < found < 0
    assert (account.verdict(0, found), account.verdict(0, found - 1)) == (False, True)


@pytest.mark.rule("G-05", "US-08")
def test_a_steep_requirement_outgrows_a_longs_profit() -> None:
    """30 % x 4 in a news window of scope all: 120 % of value, so the line lies above the mark."""
    news = News(4 * RATE, held=True)
    holding = long_at(3 * RATE // 10, window=NIGHT, news=news)
    # 1,250 + 10 (p - 100) = 1.2 x 10 p at p = 125.
    assert liquidation_price(dollars(1_250), [holding], 0, None) == 12_500
    assert liquidation_price(dollars(1_250), [long_at(3 * RATE // 10, window=NIGHT)], 0, None) is None


@pytest.mark.rule("G-05")
def test_the_nearer_of_two_lines_is_shown() -> None:
    """A tier whose margin jumps from 10 % to 20 % of the whole position at 1,050 lies nearer than the loss."""
    own = contract("X")
    tiers = (flat_tier(RATE // 10), flat_tier(RATE // 5, notional_from=1_050 * 10**6))
    holding = Holding(own, Terms(tiers, ALWAYS), 10, own.value(10_000, 10), 10_000)
    assert liquidation_price(dollars(158), [holding], 0, None) == 10_499
    assert liquidation_price(dollars(120), [holding], 0, None) == 9_778
    assert liquidation_price(dollars(161), [holding], 0, None) == 9_323


@pytest.mark.rule("G-05")
def test_below_its_line_the_way_back_is_shown() -> None:
    holding = long_at(RATE // 5, mark=7_900)
    account = Drawn(dollars(360), [holding], None)
    assert account.verdict(0, 7_900)
    assert liquidation_price(dollars(360), [holding], 0, None) == 8_000
    unreachable = long_at(2 * RATE, mark=7_900)
    assert liquidation_price(dollars(-9_000), [unreachable], 0, None) is None


@pytest.mark.rule("G-05", "G-18")
def test_without_a_mark_there_is_no_liquidation_price() -> None:
    held, other = long_at(RATE // 100), long_at(RATE // 100)
    unmarked = Holding(contract("Y"), held.terms, 10, held.cost, None)
    money = dollars(700)
    assert liquidation_price(money, [other, unmarked], 1, None) is None
    assert liquidation_price(money, [other, unmarked], 0, None) is not None
    # The unmarked ten lots are taken to have lost half of 1,000.
    assert bankruptcy_price(money, [other, unmarked], 0) == 8_000


def check_found(account: Drawn, index: int, seen: Counter[str]) -> None:
    """What is shown is the nearest change of the verdict, by a scan of every tick up to it in both directions."""
    mark = account.holdings[index].mark
    assert mark is not None
    shown = liquidation_price(account.money, account.holdings, index, account.floor)
    lowest = -MAX_PRICE_TICKS if account.holdings[index].contract.negative_prices else 1
    is_below = account.verdict(index, mark)
    reach = 600
    if shown is None:
        unchanged = reach
        seen["none"] += 1
    else:
        away = 1 if shown >= mark else -1
        if shown == mark:
            seen["at once"] += 1
            assert not is_below
            assert account.verdict(index, mark + 1) or account.verdict(index, max(lowest, mark - 1))
            return
        assert not account.verdict(index, shown)
        assert account.verdict(index, shown - away if is_below else shown + away)
        unchanged = min(reach, abs(shown - mark) - (1 if is_below else 0))
        seen["back" if is_below else "line"] += 1
    for step in range(unchanged + 1):
        for tick in (mark + step, mark - step):
            assert tick < lowest or account.verdict(index, tick) == is_below, f"tick {tick}, mark {mark}, shown {shown}"


@pytest.mark.rule("G-05")
def test_the_shown_price_is_the_nearest_change_of_the_verdict() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=400, suppress_health_check=SLOW)
    @given(accounts(), st.integers(0, 2))
    def check(account: Drawn, index: int) -> None:
        check_found(account, index % len(account.holdings), seen)

    check()
    assert seen["line"] >= 100
    assert seen["back"] >= 20
    assert seen["none"] >= 10


def inverse_short(rate: int, slope: Slope, lots: int = 10, mark: int = 200) -> Holding:
    """Lots of 100 dollars, sold at ticks of 0.50: 10 of them are worth 10 coins at 100."""
    own = contract("X", tick="0.5", size="100", inverse=True)
    tier = flat_tier(rate, slope=slope)
    return Holding(own, Terms((tier,), ALWAYS), -lots, own.value(mark, -lots), mark)


@pytest.mark.rule("G-05", "EX-02")
def test_a_rate_that_grows_outgrows_the_profit_of_an_inverse_short() -> None:
    """1 % and 4 % a coin: with four coins of cash, 4 + (n - 10) is above n x (1 % + 4 % n) from 10.6 coins to 14.1. At
    ten coins, a price of 100, the account is below its line; at 94.3 it is not any more, and at 70.7 it is again."""
    holding = inverse_short(RATE // 100, Slope(4 * RATE // 100, 10**8, of_lots=False))
    short = Money(4 * 10**8)
    account = Drawn(short, [holding], None)
    above = [tick for tick in range(1, 401) if not account.verdict(0, tick)]
    assert above == [*range(142, 189)]
    assert liquidation_price(short, [holding], 0, None) == 188
    # From inside, the nearer of the two ends.
    assert liquidation_price(short, [holding.at(175)], 0, None) == 188
    assert liquidation_price(short, [holding.at(150)], 0, None) == 142
    # One tick wide: both ends of the search are below the line.
    slack, tick = max((account.at(0, tick).net_liq - account.at(0, tick).requirement, tick) for tick in above)
    assert liquidation_price(Money(short.cash - slack), [holding], 0, None) == tick == 162
    assert liquidation_price(Money(short.cash - slack - 1), [holding], 0, None) is None


@pytest.mark.rule("G-05", "EX-02")
def test_the_shown_price_where_a_rate_grows_with_the_notional() -> None:
    """As above, only for holdings whose slack is bent."""
    seen: Counter[str] = Counter()

    @settings(max_examples=300, suppress_health_check=SLOW)
    @given(accounts(bent=True), st.integers(0, 2))
    def check(account: Drawn, index: int) -> None:
        check_found(account, index % len(account.holdings), seen)

    check()
    assert seen["line"] >= 60
    assert seen["back"] >= 10


@pytest.mark.rule("G-05")
def test_more_cash_never_brings_a_price_nearer() -> None:
    """For an account below its line more cash never takes the way back further off."""
    seen: Counter[str] = Counter()

    @settings(max_examples=600, suppress_health_check=SLOW)
    @given(accounts(), st.integers(0, 2), st.integers(0, 30), st.booleans())
    def check(account: Drawn, index: int, size: int, jitter: bool) -> None:
        index %= len(account.holdings)
        own = account.holdings[index]
        assert own.mark is not None
        richer = Money(account.money.cash + 2**size + jitter)
        before = liquidation_price(account.money, account.holdings, index, account.floor)
        after = liquidation_price(richer, account.holdings, index, account.floor)
        was_below = account.verdict(index, own.mark)
        is_below = account._replace(money=richer).verdict(index, own.mark)
        assert was_below or not is_below
        far = MAX_PRICE_TICKS * 2
        apart = [far if price is None else abs(price - own.mark) for price in (before, after)]
        if was_below == is_below:
            assert apart[0] >= apart[1] if was_below else apart[0] <= apart[1]
            seen["liquidation"] += before is not None
        towards = 1 if own.lots > 0 else -1
        bankrupt = bankruptcy_price(account.money, account.holdings, index)
        later = bankruptcy_price(richer, account.holdings, index)
        if bankrupt is not None and later is not None:
            assert towards * later <= towards * bankrupt
            seen["bankruptcy"] += 1

    check()
    assert seen["liquidation"] >= 100
    assert seen["bankruptcy"] >= 100


# -- bankruptcy price ----------------------------------------------------------------------------------


@pytest.mark.rule("G-05")
def test_at_the_bankruptcy_price_net_liq_is_zero_to_one_tick() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=300, suppress_health_check=SLOW)
    @given(accounts(), st.integers(0, 2))
    def check(account: Drawn, index: int) -> None:
        index %= len(account.holdings)
        money, holdings, own = account.money, account.holdings, account.holdings[index]
        shown = bankruptcy_price(money, holdings, index)
        losing = -1 if own.lots > 0 else 1
        lowest = -MAX_PRICE_TICKS if own.contract.negative_prices else 1
        if shown is None:
            ends = {net_liq_at(money, holdings, index, tick) >= 0 for tick in (lowest, MAX_PRICE_TICKS)}
            assert len(ends) == 1
            return
        assert net_liq_at(money, holdings, index, shown) >= 0
        assert net_liq_at(money, holdings, index, shown + losing) < 0
        seen["found"] += 1

    check()
    assert seen["found"] >= 100


# -- estimated liquidation value -----------------------------------------------------------------------


@pytest.mark.rule("US-05")
def test_a_long_may_lose_what_it_has_above_the_line() -> None:
    # 100 % of usage: 150 - 50; the auto-liquidation line of the day window: 50 / 1.2 = 41.666667.
    holding = long_at(RATE // 20, window=DAY)
    assert estimated_liquidation_value(dollars(150), [holding], None) == 100_000_000
    assert estimated_liquidation_value(dollars(150), [holding], None, to_auto_line=True) == 108_333_333
    assert estimated_liquidation_value(dollars(150), [holding], 50 * 10**6, to_auto_line=True) == 100_000_000


@pytest.mark.rule("US-05")
def test_fixed_margin_leaves_exactly_net_liq_less_the_line() -> None:
    """Off the tick, too: 150.05 - 50 on ten lots, where a tick is worth 0.10."""
    own = contract("X")
    tier = MarginTier(0, (0, 0, 0), (5_000_000, 5_000_000, 5_000_000), (0, 0, 0))
    for lots in (10, -10):
        holding = Holding(own, Terms((tier,), ALWAYS), lots, own.value(10_000, lots), 10_000)
        assert estimated_liquidation_value(Money(150_050_000), [holding], None) == 100_050_000


@pytest.mark.rule("US-05")
def test_a_shorts_requirement_grows_as_it_loses() -> None:
    # 150 - 10 (p - 100) = .05 x 10 p at 109.5238...: below at 109.53, where 95.30 is lost; not below at 109.52.
    holding = long_at(RATE // 20, lots=-10)
    assert estimated_liquidation_value(dollars(150), [holding], None) == 95_300_000


@pytest.mark.rule("US-05")
def test_a_common_move_can_reach_the_line_at_a_smaller_loss() -> None:
    """A hedged book loses little in a common move, while the requirement of both legs grows."""
    held = [long_at(RATE // 20, lots=-10), long_at(RATE // 20, lots=9)]
    # Together: 300 - (p - 100) = .05 x 19 p at p = 205.128: below at 205.13, where 105.13 is lost. Alone, the short
    # reaches it at 300 - 10 (p - 100) = 45 + .5 p, p = 119.53, having lost 195.30.
    assert estimated_liquidation_value(dollars(300), held, None) == 105_130_000


@pytest.mark.rule("US-05")
def test_a_line_crossed_at_a_gain_is_not_a_loss() -> None:
    held = [long_at(RATE // 20, lots=10), long_at(RATE // 20, lots=-9)]
    # The short leg alone: 300 - 9 d = 95 + .45 d at d = 21.69, below at 121.70.
    assert estimated_liquidation_value(dollars(300), held, None) == 195_300_000
    # At 15 %: 300 - 9 d = 285 + 1.35 d at d = 1.449. Rising together the legs gain 1 a dollar and require 2.85 more:
    # below at 108.11, with a gain of 8.11.
    steep = [long_at(3 * RATE // 20, lots=10), long_at(3 * RATE // 20, lots=-9)]
    assert estimated_liquidation_value(dollars(300), steep, None) == 13_050_000


@pytest.mark.rule("US-05")
def test_no_room_is_zero_and_a_flat_account_may_lose_all() -> None:
    assert estimated_liquidation_value(dollars(40), [long_at(RATE // 20)], None) == 0
    assert estimated_liquidation_value(dollars(40), [], None) == 40_000_000
    assert estimated_liquidation_value(dollars(-40), [], 0, to_auto_line=True) == 0


@pytest.mark.rule("US-05")
def test_no_smaller_loss_puts_the_account_below() -> None:
    """Whatever one contract or all of them do: an account that has lost less than the value is not below its line."""
    seen: Counter[str] = Counter()

    @settings(max_examples=200, suppress_health_check=SLOW)
    @given(accounts(), st.lists(st.integers(-99, 200), min_size=6, max_size=6))
    def check(account: Drawn, percents: list[int]) -> None:
        money, held, floor = account
        value = estimated_liquidation_value(money, held, floor, to_auto_line=True)
        now = assess(money, held, floor)
        assert 0 <= value <= max(0, now.net_liq - now.lines[2])
        for number, percent in enumerate(percents):
            together = number % 2 == 0
            moved = [h.at(max(1, floor_of((h.mark or 0) * Fraction(100 + percent, 100)))) for h in held]
            if not together:
                index = number % len(held)
                moved = [*held[:index], moved[index], *held[index + 1 :]]
            after = assess(money, moved, floor)
            if value and after.level is Level.LIQUIDATING and after.net_liq <= now.net_liq:
                # A common move is searched on its grid: a tick may be crossed between two of its steps.
                grid = sum(abs(h.contract.profit(1, h.lots, 0)) for h in held) if together else 0
                assert now.net_liq - after.net_liq >= value - 2 * grid
                seen["below"] += 1

    check()
    assert seen["below"] >= 100


@st.composite
def with_lots_margin(draw: st.DrawFn) -> Drawn:
    """As `accounts`, with margins per lot beside the rates of some tiers, and now and then a holding without a mark."""
    money, held, floor = draw(accounts())
    for index, holding in enumerate(held):
        worth = holding.notional // abs(holding.lots)
        tiers = tuple(
            replace(tier, per_lot=(draw(st.integers(0, worth // 4)),) * 3) if draw(st.booleans()) else tier
            for tier in holding.terms.tiers
        )
        unmarked = len(held) > 1 and draw(st.integers(0, 9)) == 0
        held[index] = replace(
            holding, terms=replace(holding.terms, tiers=tiers), mark=None if unmarked else holding.mark
        )  # fmt: skip
    return Drawn(money, held, floor)


@pytest.mark.rule("US-05")
def test_nothing_is_passed_over_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a search of every path in which each look is taken."""
    seen: Counter[str] = Counter()
    searched: Counter[tuple[str, bool, Kind]] = Counter()
    whole = False

    def watch(name: str) -> None:
        made = getattr(prices, name)

        def counting(money: Money, holdings: list[Holding], *more: Any) -> Any:
            searched[name, whole, holdings[0].contract.kind] += 1
            return made(money, holdings, *more)

        monkeypatch.setattr(prices, name, counting)

    def unless_whole(name: str, instead: Callable[..., Any]) -> None:
        own = getattr(prices, name)
        monkeypatch.setattr(prices, name, lambda *given: (instead if whole else own)(*given))

    for name in ("_one_contract", "_all_contracts"):
        watch(name)
    unless_whole("_eases", lambda *_: False)
    unless_whole("_gains", lambda *_: False)
    unless_whole("_stray", lambda *_: None)

    @settings(max_examples=400, suppress_health_check=SLOW)
    @given(with_lots_margin(), st.booleans(), st.integers(0, 6))
    def check(account: Drawn, to_auto_line: bool, further: int) -> None:
        nonlocal whole
        worth = sum(holding.notional for holding in account.holdings)
        money = Money(account.money.cash + further * worth // 4)
        found: list[int] = []
        for every_path in (False, True):
            whole = every_path
            found.append(estimated_liquidation_value(money, account.holdings, account.floor, to_auto_line=to_auto_line))
        assert found[0] == found[1]
        seen["some left"] += found[0] > 0

    check()
    assert seen["some left"] >= 100
    for name in ("_one_contract", "_all_contracts"):
        for kind in Kind:
            left = searched[name, False, kind]
            assert 20 <= left <= searched[name, True, kind] - 20


@pytest.mark.rule("US-05")
def test_a_lower_tier_that_asks_more_is_not_passed_over() -> None:
    """From 1,000 on 5 %, below it 40 %: a long of 1,010 that falls by 1.1 % is at once below its line."""
    own = contract("X")
    tiers = (flat_tier(2 * RATE // 5), flat_tier(RATE // 20, notional_from=1_000 * 10**6))
    holding = Holding(own, Terms(tiers, ALWAYS), 10, own.value(10_100, 10), 10_100)
    # 289.90 are left at 99.99, the first tick below 1,000 in all, where 399.96 are asked for.
    assert estimated_liquidation_value(dollars(300), [holding], None) == 10_100_000


def floor_of(number: Fraction) -> int:
    return number.numerator // number.denominator
