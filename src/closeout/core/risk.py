"""One account's figures: net liq, requirement, lines and level (rules US-01, US-04, G-04, G-18).

`level_of` also serves the vectorised scan, column by column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from closeout.core.contracts import Contract
from closeout.core.margin import (
    Level,
    MarginKind,
    Terms,
    Window,
    below,
    close_fee,
    held_requirement,
    initial_margin,
    larger,
    line,
    margin_of,
    netted,
    value_at_entry,
)
from closeout.core.units import RATE, IntOrArray, ceil_div, floor_div, mul_div_ceil


@dataclass(frozen=True, slots=True)
class Money:
    """An account's money in micros: what net liq is made of besides open profit (US-01)."""

    cash: int
    accrued: int = 0
    pending_fees: int = 0
    receivable: int = 0

    @property
    def sum(self) -> int:
        return self.cash + self.accrued - self.pending_fees - self.receivable


def unpriced(contract: Contract, cost: IntOrArray, move: int) -> tuple[IntOrArray, IntOrArray]:
    """Profit and notional in micros of a position without any mark: the bounded worst (G-18). It is taken to have lost
    `move` (a rate) of its cost, and its notional to have grown by as much."""
    size: Any = abs(cost)
    lost = mul_div_ceil(size, move, RATE)
    return floor_div(-lost, contract.units_per_micro), ceil_div(size + lost, contract.units_per_micro)


@dataclass(frozen=True)
class Holding:
    """One position as it is judged. `mark` is None before the contract's first mark; then `unpriced_move` (a rate)
    bounds the worst: the position is taken to have lost that share of its cost, and its notional to have grown by it.
    `leverage` (a rate, 0 = not set) only sets initial margin. What is worked out is kept for the next who asks.
    """

    contract: Contract
    terms: Terms
    lots: int
    cost: int
    mark: int | None
    leverage: int = 0
    unpriced_move: int = RATE // 2

    @cached_property
    def profit(self) -> int:
        if self.mark is not None:
            return self.contract.profit(self.mark, self.lots, self.cost)
        return unpriced(self.contract, self.cost, self.unpriced_move)[0]

    @cached_property
    def notional(self) -> int:
        if self.mark is not None:
            return self.contract.notional(self.mark, self.lots)
        return unpriced(self.contract, self.cost, self.unpriced_move)[1]

    @property
    def required_on(self) -> int:
        """The value in micros that requirements stand on: the notional, or the value at entry."""
        if self.terms.rules.by_entry:
            return value_at_entry(self.cost, self.contract.units_per_micro)
        return self.notional

    @cached_property
    def requirement(self) -> int:
        return held_requirement(self.terms, self.lots, self.required_on)

    @property
    def close_fee(self) -> int:
        """The part of every margin that is the fee of closing (EX-02)."""
        return close_fee(self.terms, self.lots, self.required_on)

    def margin(self, kind: MarginKind) -> int:
        if kind is MarginKind.INITIAL:
            return initial_margin(self.terms, self.lots, self.required_on, self.leverage)
        return margin_of(self.terms, kind, self.lots, self.required_on)

    def at(self, mark: int) -> Holding:
        return Holding(
            self.contract, self.terms, self.lots, self.cost, mark, self.leverage, self.unpriced_move
        )  # fmt: skip

    def under(self, window: Window) -> Holding:
        """The same in another margin window."""
        terms = replace(self.terms, window=window)
        return Holding(
            self.contract, terms, self.lots, self.cost, self.mark, self.leverage, self.unpriced_move
        )  # fmt: skip

    def less(self, lots_closed: int) -> Holding:
        """The position after |lots_closed| are closed at the mark. The profit of the part closed is not in it."""
        remaining = self.lots - lots_closed if self.lots > 0 else self.lots + lots_closed
        return replace(self, lots=remaining, cost=mul_div_ceil(self.cost, abs(remaining), abs(self.lots)))


class Risk(NamedTuple):
    """What an account is judged by, in micros. `lines` are the net liqs at which alert, liquidate-only and
    auto-liquidation begin."""

    net_liq: int
    requirement: int
    lines: tuple[int, int, int]
    level: Level


def requirements_by_window(holdings: Iterable[Holding]) -> dict[Window, int]:
    """Requirements per window, each of which has its own levels: summed, but within a netting group, whose contracts
    are in one window, the larger of the longs' and the shorts' sums."""
    sums: dict[Window, int] = {}
    sides: dict[tuple[Window, str], list[int]] = {}
    for holding in holdings:
        terms, requirement = holding.terms, holding.requirement
        sums[terms.window] = sums.get(terms.window, 0) + requirement
        if terms.rules.netting:
            sides.setdefault((terms.window, terms.rules.netting), [0, 0])[holding.lots > 0] += requirement
    for (window, _), own in sides.items():
        sums[window] -= min(own)
    return sums


def margin_together(holdings: Iterable[Holding], kind: MarginKind) -> int:
    """One kind of margin of an account's positions, netted."""
    return netted((holding.terms.rules.netting, holding.lots, holding.margin(kind)) for holding in holdings)


def withdrawable(net_liq: int, required: int, notional: int, keep: int) -> int:
    """Micros that can leave an account: net liq above what it must have, or above `keep` (a rate) of its positions'
    notional where that is more (US-16)."""
    return max(0, net_liq - max(required, mul_div_ceil(notional, keep, RATE)))


def take_over_line(requirement: int, share: int) -> int:
    """The net liq in micros below which positions go to the waterfall: `share` (a rate) of the requirement."""
    return mul_div_ceil(requirement, share, RATE)


def lines_of(by_window: Mapping[Window, IntOrArray]) -> tuple[IntOrArray, IntOrArray, IntOrArray]:
    """The three lines: over the windows, the sum of ceil(requirement / level)."""
    alert: Any = 0
    liquidate_only: Any = 0
    auto: Any = 0
    for window, requirement in by_window.items():
        alert = alert + line(requirement, window.alert)
        liquidate_only = liquidate_only + line(requirement, window.liquidate_only)
        auto = auto + line(requirement, window.auto_liquidate)
    return alert, liquidate_only, auto


def level_of(
    net_liq: IntOrArray, lines: tuple[IntOrArray, IntOrArray, IntOrArray], holds: Any, floor: int | None
) -> IntOrArray:
    """The margin level as a number of `Level` (US-04). `holds`: the account has a position. `floor`: with a position,
    net liq at or below it always liquidates."""
    alert, liquidate_only, auto = lines
    liquidating = below(net_liq, auto)
    if floor is not None:
        liquidating = liquidating | (net_liq <= floor)
    warned = below(net_liq, alert) * 1 + below(net_liq, liquidate_only) * 1
    return larger(warned, liquidating * int(Level.LIQUIDATING)) * holds


def assess(money: Money, holdings: Sequence[Holding], floor: int | None) -> Risk:
    """Judge one account. The only other place where accounts are judged is the scan, with the same functions."""
    net_liq = money.sum + sum(holding.profit for holding in holdings)
    by_window = requirements_by_window(holdings)
    lines = lines_of(by_window)
    level = level_of(net_liq, lines, bool(holdings), floor)
    return Risk(net_liq, sum(by_window.values()), lines, Level(level))
