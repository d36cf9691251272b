"""Requirements, lines, levels, and the one predicate that decides "below the line" (rules G-04, US-02 to US-05).

Everything here takes Python integers or NumPy int64 arrays alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

from closeout.core.units import RATE, IntOrArray, mul_div_ceil


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
class MarginTier:
    """From `notional_from` micros on: ``rate x notional + per_lot x lots - amount``, each triple by `MarginKind`."""

    notional_from: int
    rate: tuple[int, int, int]
    per_lot: tuple[int, int, int]
    amount: tuple[int, int, int]


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


@dataclass(frozen=True, slots=True)
class News:
    """A news window (US-08): `multiplier` x intraday margin; `held` = positions held are measured too (scope all)."""

    multiplier: int
    held: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """The margin terms of one contract that are in force now."""

    tiers: Tiers
    window: Window
    news: News | None = None


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
    for before, tier in pairwise(tiers):
        reached = notional >= tier.notional_from
        rate = rate + reached * (tier.rate[kind] - before.rate[kind])
        per_lot = per_lot + reached * (tier.per_lot[kind] - before.per_lot[kind])
        amount = amount + reached * (tier.amount[kind] - before.amount[kind])
    return mul_div_ceil(notional, rate, RATE) + abs(lots) * per_lot - amount


def held_requirement(terms: Terms, lots: IntOrArray, notional: IntOrArray) -> IntOrArray:
    """What a position held must be covered by now: the window's margin, or k x intraday in a news window of scope
    ``all`` if that is larger (US-02, US-08)."""
    required = margin(terms.tiers, terms.window.requirement, lots, notional)
    if terms.news is None or not terms.news.held:
        return required
    return larger(required, _news_margin(terms.tiers, terms.news, lots, notional))


def initial_margin(terms: Terms, lots: int, notional: int, leverage: int) -> int:
    """Initial margin: the tiers' own, or notional / leverage (a rate, 0 = not set) where the position names one that
    asks for more. A leverage beyond what the tiers allow changes nothing: nobody opens on less than the venue's own."""
    own = margin(terms.tiers, MarginKind.INITIAL, lots, notional)
    return max(own, mul_div_ceil(notional, RATE, leverage)) if leverage else own


def entry_requirement(terms: Terms, lots: int, notional: int, *, with_intraday: bool, leverage: int = 0) -> int:
    """What an order that adds risk must fit for this contract (US-06 to US-08): the requirement in force, initial
    margin as well unless intraday margin is in force and the account may use it (the customer's toggle is on, the
    account is not restricted), and k x intraday in any news window."""
    required = held_requirement(terms, lots, notional)
    if not (with_intraday and terms.window.requirement is MarginKind.INTRADAY):
        required = max(required, initial_margin(terms, lots, notional, leverage))
    if terms.news is not None:
        required = max(required, _news_margin(terms.tiers, terms.news, lots, notional))
    return required


def _news_margin(tiers: Tiers, news: News, lots: IntOrArray, notional: IntOrArray) -> IntOrArray:
    """k x intraday margin, rounded up. Whole and part of k are multiplied apart: RATE x k can pass 63 bits."""
    intraday: Any = margin(tiers, MarginKind.INTRADAY, lots, notional)
    whole, part = divmod(news.multiplier, RATE)
    return intraday * whole + mul_div_ceil(intraday, part, RATE)


def larger(a: IntOrArray, b: IntOrArray) -> IntOrArray:
    """max() for integers and arrays."""
    more: Any = b > a
    return a + more * (b - a)
