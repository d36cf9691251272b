"""Accounts drawn by hypothesis for the tests of displayed prices: few ticks, so that a scan can check the search."""

from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from hypothesis import strategies as st

from closeout.core.contracts import Contract, Kind
from closeout.core.margin import PLAIN_RULES, Level, MarginRules, MarginTier, News, Slope, Terms, Window
from closeout.core.margin import MarginKind as M
from closeout.core.risk import Holding, Money, Risk, assess
from closeout.core.units import RATE, USD, Currency

COIN = Currency("BTC", 8)
WINDOWS = (
    Window("day", M.INTRADAY, 8 * RATE // 10, RATE, 12 * RATE // 10),
    Window("night", M.INITIAL, 8 * RATE // 10, RATE, RATE),
    Window("always", M.MAINTENANCE, 8 * RATE // 10, RATE, RATE),
)


class Drawn(NamedTuple):
    money: Money
    holdings: list[Holding]
    floor: int | None

    def at(self, index: int, mark: int) -> Risk:
        """The engine's own judgement with one mark replaced."""
        moved = [*self.holdings]
        moved[index] = moved[index].at(mark)
        return assess(self.money, moved, self.floor)

    def verdict(self, index: int, mark: int) -> bool:
        """Whether the account is to be liquidated with one mark replaced."""
        return self.at(index, mark).level is Level.LIQUIDATING


def contract(
    name: str, *, tick: str = "0.01", lot: str = "1", size: str = "1", inverse: bool = False, negative: bool = False
) -> Contract:
    return Contract.define(
        name,
        kind=Kind.INVERSE if inverse else Kind.LINEAR,
        currency=COIN if inverse else USD,
        tick=Decimal(tick),
        lot=Decimal(lot),
        contract_size=Decimal(size),
        negative_prices=negative,
    )


def flat_tier(rate: int, amount: int = 0, notional_from: int = 0, slope: Slope | None = None) -> MarginTier:
    return MarginTier(notional_from, (rate, rate, rate), (0, 0, 0), (amount, amount, amount), (slope, slope, slope))


gentle = st.integers(RATE // 1000, RATE // 2)
RULES = (PLAIN_RULES, MarginRules(by_entry=True), MarginRules(close_fee=RATE // 1999), MarginRules(True, RATE // 50))
rules = st.sampled_from((PLAIN_RULES, PLAIN_RULES, *RULES))
rates = st.one_of(gentle, gentle, gentle, st.integers(RATE // 2, 2 * RATE), st.sampled_from((RATE, 1)))


@st.composite
def contracts(draw: st.DrawFn, name: str, inverse: bool) -> Contract:
    if inverse:
        return contract(name, tick=draw(st.sampled_from(("0.5", "1"))), size="100", inverse=True)
    tick, lot = draw(st.sampled_from((("0.01", "1"), ("0.01", "0.0001"), ("0.001", "0.00003"), ("5", "0.7"))))
    return contract(name, tick=tick, lot=lot, negative=draw(st.booleans()))


@st.composite
def holdings(draw: st.DrawFn, name: str, inverse: bool, windows: tuple[Window, ...], bent: bool = False) -> Holding:
    own = draw(contracts(name, inverse))
    lots = draw(st.integers(1, 40)) * draw(st.sampled_from((-1, 1)))
    mark = draw(st.integers(40, 1500))
    entry = draw(st.integers(40, 1500))
    cost = own.value(entry, lots) + draw(st.integers(0, own.units_per_micro))
    notional = own.notional(mark, lots)
    growing = bent or (draw(st.booleans()) and draw(st.booleans()))

    def slope() -> Slope | None:
        """One that adds a percent to four times the notional at the mark, or to the lots held."""
        if not growing:
            return None
        added = draw(st.integers(RATE // 100, 4 * RATE))
        return Slope(added, notional, of_lots=False) if inverse else Slope(added, abs(lots), of_lots=True)

    tiers = [flat_tier(draw(rates), slope=slope())]
    for start in sorted(draw(st.sets(st.integers(1, 2 * notional), max_size=2))):
        rate = draw(rates)
        joined = start * (rate - tiers[-1].rate[0]) // RATE + tiers[-1].amount[0]
        amount = joined if draw(st.booleans()) and 0 <= joined <= start * rate // RATE else 0
        tiers.append(flat_tier(rate, amount, start, slope()))
    news = None if growing else draw(st.none() | st.builds(News, st.integers(RATE, 4 * RATE), st.booleans()))
    if news is not None and any(tier.rate[0] * news.multiplier > 2 * RATE * RATE for tier in tiers):
        news = None
    stands = PLAIN_RULES if bent else draw(rules)
    if stands.close_fee and not growing and all(tier.rate[0] <= RATE for tier in tiers) and draw(st.booleans()):
        stands = replace(stands, close_fee_side=-1 if inverse else 1)
    return Holding(own, Terms(tuple(tiers), draw(st.sampled_from(windows)), news, stands), lots, cost, mark)


def in_group(holding: Holding, group: str = "G") -> Holding:
    """The holding in a netting group."""
    return replace(holding, terms=replace(holding.terms, rules=replace(holding.terms.rules, netting=group)))


@st.composite
def accounts(draw: st.DrawFn, bent: bool = False) -> Drawn:
    """One to three holdings, with cash that leaves the account somewhere around its line; `bent`: their rates grow with
    the notional. Of some accounts two holdings or all are of one netting group."""
    inverse = bent or draw(st.booleans())
    count = draw(st.integers(1, 3))
    netted = draw(st.sampled_from((0, 0, 2, 3)))
    windows = (draw(st.sampled_from(WINDOWS)),) if netted else WINDOWS
    held = [draw(holdings(f"C{number}", inverse, windows, bent)) for number in range(count)]
    held[:netted] = [in_group(holding) for holding in held[:netted]]
    line = assess(Money(0), held, None).lines[2]
    spread = sum(holding.notional for holding in held)
    percent = draw(st.sampled_from((0, *range(-12, 60, 4))))
    cash = line - sum(holding.profit for holding in held) + spread * percent // 100 + draw(st.integers(-3, 3))
    return Drawn(Money(cash), held, draw(st.sampled_from((None, 0))))
