"""What an account must have with its working orders at their worst, and the largest order that fits (US-06, US-28).

A contract's orders are looked at a side at a time: all buys filled, and all sells. What filling them at their limits
would lose against the mark is needed too; an order at market has no worst price, and none is invented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple, Protocol

from closeout.core.contracts import Contract, Position
from closeout.core.margin import Terms, entry_requirement, value_at_entry
from closeout.core.units import ceil_div


class Working(Protocol):
    """An order that may still fill: signed lots left, and its limit, None at market."""

    @property
    def lots(self) -> int: ...

    @property
    def limit_ticks(self) -> int | None: ...


class Needed(NamedTuple):
    """One contract's part of the worst case in micros, and its netting group: the worst of all fills if what counts is
    what is held `long` then, and if it is what is held `short`; what the group has no say in is `apart`."""

    group: str
    long: int = 0
    short: int = 0
    apart: int = 0

    @property
    def alone(self) -> int:
        """What the contract needs if nothing nets against it."""
        return max(self.long, self.short) + self.apart


NOTHING = Needed("")
"""That of a contract in which nothing is held and no order works."""


def together(parts: Iterable[Needed]) -> int:
    """The worst case of several contracts. Which side of a group is the larger is part of the worst case: it is the
    worse of the longs' worst and the shorts' worst, each a sum over the contracts."""
    total = 0
    sides: dict[str, tuple[int, int]] = {}
    for part in parts:
        if part.group:
            longs, shorts = sides.get(part.group, (0, 0))
            sides[part.group] = longs + part.long, shorts + part.short
            total += part.apart
        else:
            total += part.alone
    return total + sum(map(max, sides.values()))


def sides_of(orders: Iterable[Working]) -> tuple[list[Working], list[Working]]:
    """The buys and the sells."""
    buys: list[Working] = []
    sells: list[Working] = []
    for order in orders:
        (buys if order.lots > 0 else sells).append(order)
    return buys, sells


def filled(held: int, orders: Iterable[Working]) -> int:
    """Lots once these orders are filled."""
    return held + sum(order.lots for order in orders)


def needed(
    contract: Contract,
    terms: Terms,
    mark: int,
    held: Position,
    orders: Iterable[Working],
    *,
    with_intraday: bool,
    leverage: int,
) -> Needed:
    """What a position and its contract's orders need at the mark. `with_intraday`, `leverage`: `entry_requirement`."""
    longs = shorts = 0
    for side in sides_of(orders):
        lots = filled(held.lots, side)
        own = _with_opened(contract, terms, mark, abs(lots) - abs(held.lots))
        lost = required = sum(_loss_at_limit(contract, mark, order) for order in side)
        if lots:
            value = _value_after(contract, terms, mark, held, lots)
            required += entry_requirement(own, lots, value, with_intraday=with_intraday, leverage=leverage)
        longs = max(longs, required if lots > 0 else lost)
        shorts = max(shorts, required if lots < 0 else lost)
    return Needed(terms.rules.netting, longs, shorts)


def of_unpriced(terms: Terms, lots: int, value: int, *, with_intraday: bool, leverage: int) -> Needed:
    """What a position without a mark needs at the bounded worst, worth `value` micros; its orders are refused."""
    required = entry_requirement(terms, lots, value, with_intraday=with_intraday, leverage=leverage)
    return Needed(terms.rules.netting, required * (lots > 0), required * (lots < 0))


def largest(fits: Callable[[int], bool], below: int) -> int:
    """The most |lots| below `below` that fit, where fewer do if more do; 0 if none."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def reduces(held: int, lots: int, same_side: int = 0) -> bool:
    """Whether an order can only bring a position nearer to zero, `same_side` |lots| of others on its side filled."""
    return held * lots < 0 and abs(lots) + same_side <= abs(held)


def _with_opened(contract: Contract, terms: Terms, mark: int, opened: int) -> Terms:
    """Terms as they will be with what the orders open: it counts to the open interest that scales initial margin."""
    if terms.rules.open_interest is None or opened <= 0:
        return terms
    return replace(terms, open_interest=terms.open_interest + contract.notional(mark, opened))


def _value_after(contract: Contract, terms: Terms, mark: int, held: Position, lots: int) -> int:
    """What the requirement of `lots` stands on once the position held has become them at the mark; what orders lose
    against the mark at their limits is counted apart."""
    if not terms.rules.by_entry:
        return contract.notional(mark, lots)
    after, traded = Position(held.lots, held.cost), lots - held.lots
    if traded:
        after.trade(contract, traded, contract.trade_value(mark, traded))
    return value_at_entry(after.cost, contract.units_per_micro)


def _loss_at_limit(contract: Contract, mark: int, order: Working) -> int:
    """Micros that a fill at the order's limit loses against the mark, rounded up."""
    if order.limit_ticks is None:
        return 0
    units = contract.trade_value(order.limit_ticks, order.lots) - contract.value(mark, order.lots)
    return max(0, ceil_div(units, contract.units_per_micro))
