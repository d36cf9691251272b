"""Requirements, lines, levels, and the one predicate that decides "below the line" (rules G-04, US-02 to US-05).

Everything here takes Python integers or NumPy int64 arrays alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Any

from closeout.core.units import MAX_RATE, RATE, IntOrArray, ceil_div, mul_div_ceil, root_ceil

PPM = RATE // 10**6
"""A millionth in rate units."""


class MarginKind(IntEnum):
    """The three margin levels of US-02, in the order in which tiers store them."""

    INTRADAY = 0
    INITIAL = 1
    MAINTENANCE = 2


class Level(IntEnum):
    """An account's margin level; the numbers are stored in the book's level column."""

    NORMAL = 0
    ALERT = 1
    LIQUIDATE_ONLY = 2
    LIQUIDATING = 3


@dataclass(frozen=True, slots=True)
class Slope:
    """A margin rate that grows with the position's size: by `rate` for each `per` lots, or micros of the notional of an
    inverse contract, which is its size in the coin. Rounded up to a rate unit.

    With `root` it grows by the square root of that, of lots: no mark moves it. From so many lots on (`root`) it grows
    no more, because `MAX_RATE` is reached there; the first `within` rate units of the root add nothing."""

    rate: int
    per: int
    of_lots: bool
    root: int = 0
    within: int = 0

    def added(self, lots: IntOrArray, notional: IntOrArray) -> IntOrArray:
        if not self.root:
            return mul_div_ceil(abs(lots) if self.of_lots else notional, self.rate, self.per)
        grown: Any = root_ceil(mul_div_ceil(smaller(abs(lots), self.root), self.rate, self.per))
        return larger(grown - self.within, grown * 0)


@dataclass(frozen=True, slots=True)
class MarginTier:
    """From `notional_from` micros on: ``rate x notional + per_lot x lots - amount``, each triple by `MarginKind`; where
    there is a slope the rate grows by it, up to `MAX_RATE`."""

    notional_from: int
    rate: tuple[int, int, int]
    per_lot: tuple[int, int, int]
    amount: tuple[int, int, int]
    slope: tuple[Slope | None, Slope | None, Slope | None] = (None, None, None)


Tiers = tuple[MarginTier, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """What holds during one part of the session: which margin is required, and the levels as rates of usage.

    A level of 1.2 means: crossed when requirement / net liq is above 120 %.
    """

    name: str
    requirement: MarginKind
    alert: int
    liquidate_only: int
    auto_liquidate: int

    def __hash__(self) -> int:
        return hash(self.name)  # requirements are summed by window at every verdict


@dataclass(frozen=True, slots=True)
class News:
    """A news window (US-08): `multiplier` x intraday margin; `held` = positions held are measured too (scope all)."""

    multiplier: int
    held: bool


@dataclass(frozen=True, slots=True)
class MarginRules:
    """What a contract's rulebook says of margin beside its tiers (EX-02). `by_entry`: requirements, tiers and leverage
    stand on the value at entry, not at the mark. `close_fee`: a rate of that value that every margin includes for the
    fee of closing. `open_interest`: micros from which on, and at which in full, open interest raises initial margin.
    `close_fee_side`: 0 where that fee is on the value itself; where it is on what is left of the value when the tiers'
    initial margin is lost, 1 for a contract whose long position is then worth less, -1 for an inverse one (more).
    `netting`: the group of contracts in which only an account's longs or its shorts count; "" none."""

    by_entry: bool = False
    close_fee: int = 0
    open_interest: tuple[int, int] | None = None
    close_fee_side: int = 0
    netting: str = ""


PLAIN_RULES = MarginRules()


@dataclass(frozen=True, slots=True)
class Terms:
    """The margin terms of one contract that are in force now. `open_interest` is that of the contract in micros, where
    initial margin is to be scaled by it."""

    tiers: Tiers
    window: Window
    news: News | None = None
    rules: MarginRules = PLAIN_RULES
    open_interest: int = 0


def below(net_liq: IntOrArray, line: IntOrArray) -> Any:
    """The predicate. At exactly the line an account is *not* below it (G-04)."""
    return net_liq < line


def line(requirement: IntOrArray, level: int) -> IntOrArray:
    """The net liq at which `level` (a rate of usage) is reached: ceil(requirement / level) (US-04)."""
    if level == RATE:
        return requirement
    return mul_div_ceil(requirement, RATE, level)


def margin(tiers: Tiers, kind: MarginKind, lots: IntOrArray, notional: IntOrArray) -> IntOrArray:
    """Margin in micros for |lots| worth `notional` micros, rounded up.

    The tier's figures are built as sums of steps, which is the same arithmetic for one account and for a column.
    """
    first = tiers[0]
    rate: Any = first.rate[kind]
    per_lot: Any = first.per_lot[kind]
    amount: Any = first.amount[kind]
    sloped = first.slope[kind]
    for before, tier in pairwise(tiers):
        sloped = sloped or tier.slope[kind]
        reached = notional >= tier.notional_from
        rate = rate + reached * (tier.rate[kind] - before.rate[kind])
        per_lot = per_lot + reached * (tier.per_lot[kind] - before.per_lot[kind])
        amount = amount + reached * (tier.amount[kind] - before.amount[kind])
    if sloped is not None:
        rate = smaller(rate + _slope(tiers, kind, lots, notional), MAX_RATE)
    return mul_div_ceil(notional, rate, RATE) + abs(lots) * per_lot - amount


def _slope(tiers: Tiers, kind: MarginKind, lots: IntOrArray, notional: IntOrArray) -> Any:
    """What the slopes add to the rate."""
    steps: list[Any] = []
    for tier in tiers:
        slope = tier.slope[kind]
        steps.append(0 if slope is None else slope.added(lots, notional))
    added = steps[0]
    for tier, (before, after) in zip(tiers[1:], pairwise(steps), strict=True):
        added = added + (notional >= tier.notional_from) * (after - before)
    return added


def value_at_entry(cost: IntOrArray, units_per_micro: int) -> IntOrArray:
    """What `cost` units are in micros, rounded up: what requirements `by_entry` stand on."""
    return ceil_div(abs(cost), units_per_micro)


def with_close_fee(terms: Terms, required: IntOrArray, lots: IntOrArray, value: IntOrArray) -> IntOrArray:
    """Margin and the fee of closing where it includes one."""
    whole: Any = required
    return whole + close_fee(terms, lots, value) if terms.rules.close_fee else whole


def close_fee(terms: Terms, lots: IntOrArray, value: IntOrArray) -> IntOrArray:
    """The fee of closing that every margin of a position includes, rounded up."""
    return mul_div_ceil(_closed_at(terms, lots, value), terms.rules.close_fee, RATE)


def _closed_at(terms: Terms, lots: IntOrArray, value: IntOrArray) -> Any:
    """The value that the fee of closing is a share of: `value`, or that less (a short position's plus) the initial
    margin of the tiers, where the position is bankrupt if it was opened on no more than that."""
    closed: Any = value
    if terms.rules.close_fee_side:
        sign: Any = (lots > 0) * 2 - 1
        closed = closed - terms.rules.close_fee_side * sign * margin(terms.tiers, MarginKind.INITIAL, lots, value)
    return closed


def margin_of(terms: Terms, kind: MarginKind, lots: IntOrArray, value: IntOrArray) -> IntOrArray:
    """One kind of margin under these terms; `value` is the notional, or the value at entry (`MarginRules.by_entry`)."""
    return with_close_fee(terms, margin(terms.tiers, kind, lots, value), lots, value)


def held_requirement(terms: Terms, lots: IntOrArray, value: IntOrArray) -> IntOrArray:
    """What a position held must be covered by now: the window's margin, or k x intraday in a news window of scope
    ``all`` if that is larger (US-02, US-08); open interest never raises it. `value` as in `margin_of`."""
    required = margin(terms.tiers, terms.window.requirement, lots, value)
    if terms.news is not None and terms.news.held:
        required = larger(required, _news_margin(terms.tiers, terms.news, lots, value))
    return with_close_fee(terms, required, lots, value)


def initial_margin(terms: Terms, lots: int, value: int, leverage: int) -> int:
    """Initial margin: the tiers' own as open interest scales it, or value / leverage (a rate, 0 = not set) where the
    position names one that asks for more. A leverage beyond what the tiers allow changes nothing: nobody opens on less
    than the venue's own."""
    own = margin(_scaled(terms), MarginKind.INITIAL, lots, value)
    if leverage:
        own = max(own, mul_div_ceil(value, RATE, leverage))
    return with_close_fee(terms, own, lots, value)


def scaled_rate(rate: int, open_interest: int, lower: int, upper: int) -> int:
    """An initial margin rate that rises in a straight line from `rate` at an open interest of `lower` to 100 % at
    `upper`; what is added is rounded down to a millionth, as dYdX v4's chain does it."""
    beyond = min(max(open_interest - lower, 0), upper - lower)
    return rate + max(RATE - rate, 0) * beyond // ((upper - lower) * PPM) * PPM


def _scaled(terms: Terms) -> Tiers:
    """The tiers with initial margin as open interest scales it."""
    bounds = terms.rules.open_interest
    if bounds is None or terms.open_interest <= bounds[0]:
        return terms.tiers
    scaled: list[MarginTier] = []
    for tier in terms.tiers:
        intraday, initial, maintenance = tier.rate
        initial = scaled_rate(initial, terms.open_interest, *bounds)
        scaled.append(replace(tier, rate=(intraday, initial, maintenance)))
    return tuple(scaled)


def entry_requirement(terms: Terms, lots: int, value: int, *, with_intraday: bool, leverage: int = 0) -> int:
    """What an order that adds risk must fit for this contract (US-06 to US-08): the requirement in force, initial
    margin as well unless intraday margin is in force and the account may use it (the customer's toggle is on, the
    account is not restricted), and k x intraday in any news window. `value` as in `margin_of`."""
    required = held_requirement(terms, lots, value)
    if not (with_intraday and terms.window.requirement is MarginKind.INTRADAY):
        required = max(required, initial_margin(terms, lots, value, leverage))
    if terms.news is not None:
        news = _news_margin(terms.tiers, terms.news, lots, value)
        required = max(required, with_close_fee(terms, news, lots, value))
    return required


def _news_margin(tiers: Tiers, news: News, lots: IntOrArray, notional: IntOrArray) -> IntOrArray:
    """k x intraday margin, rounded up. Whole and part of k are multiplied apart: RATE x k can pass 63 bits."""
    intraday: Any = margin(tiers, MarginKind.INTRADAY, lots, notional)
    whole, part = divmod(news.multiplier, RATE)
    return intraday * whole + mul_div_ceil(intraday, part, RATE)


def netted(parts: Iterable[tuple[str, int, int]]) -> int:
    """What positions must be covered by together: of each its netting group, its lots and its margin. Within a group
    only the larger of what the longs and what the shorts ask for counts."""
    total = 0
    sides: dict[str, list[int]] = {}
    for group, lots, required in parts:
        if group:
            sides.setdefault(group, [0, 0])[lots > 0] += required
        else:
            total += required
    return total + sum(max(own) for own in sides.values())


def larger(a: IntOrArray, b: IntOrArray) -> IntOrArray:
    """max() for integers and arrays."""
    more: Any = b > a
    return a + more * (b - a)


def smaller(a: IntOrArray, b: int) -> IntOrArray:
    """min() with a number, for integers and arrays."""
    less: Any = b < a
    return a + less * (b - a)
