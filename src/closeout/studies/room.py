"""What is left to an account beside its positions and working orders: to withdraw, and to trade (US-16, US-28).

The engine's own functions, on one account from a file: what its gate lets out, and the largest order that its check
would approve for margin. Limits, collars and grades of marks, which the check knows as well, are not in a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, cast

import msgspec
from msgspec import Struct

from closeout.core.contracts import Contract, OutOfBounds, Position
from closeout.core.margin import Level
from closeout.core.orders import NOTHING, Needed, Working, largest, needed, of_unpriced, reduces, together
from closeout.core.risk import Holding, Money, assess, withdrawable
from closeout.core.units import MAX_LOTS, InputError, decimal
from closeout.rulebooks.policy import Policy
from closeout.studies.accounts import resolve
from closeout.studies.market import bounded_decimal


class Order(NamedTuple):
    """A working order: signed lots, and its limit, None at market."""

    lots: int
    limit_ticks: int | None = None


Orders = Mapping[str, Sequence[Order]]
"""By contract."""


class Room:
    """One account: contracts as holdings of nothing, then what it holds, which replaces these; and its orders.

    `with_intraday`: whether its orders may be checked against intraday margin where that is in force.
    """

    def __init__(
        self, money: Money, holdings: Sequence[Holding], orders: Orders, floor: int | None, *, with_intraday: bool
    ) -> None:
        self.holdings = {holding.contract.name: holding for holding in holdings}
        self.orders, self.with_intraday = orders, with_intraday
        self.held = [holding for holding in holdings if holding.lots]
        risk = assess(money, self.held, floor)
        self.net_liq = risk.net_liq
        self.unpriced = any(holding.mark is None for holding in self.held)
        self.closing_only = self.unpriced or risk.level >= Level.LIQUIDATE_ONLY

    @property
    def worst_case(self) -> int:
        """Initial margin in micros, or the margin in force where that is more, with all orders at their worst."""
        return together(self._needed(name, self.orders.get(name, ()), with_intraday=False) for name in self.holdings)

    def withdrawable(self, keep: int) -> int:
        """Micros that could be taken out; `keep`: the rate of the notional that stays. Nothing is free beside a
        position without a mark."""
        notional = sum(holding.notional for holding in self.held)
        return 0 if self.unpriced else withdrawable(self.net_liq, self.worst_case, notional, keep)

    def largest_order(self, name: str, side: int) -> int:
        """The most |lots| of a further order at market, 1 to buy and -1 to sell, for which there is margin; where the
        account may only reduce, what it holds on the other side."""
        own, orders = self.holdings[name], self.orders.get(name, ())
        same_side = sum(abs(order.lots) for order in orders if order.lots * side > 0)
        others = [
            self._needed(each, self.orders.get(each, ()), with_intraday=self.with_intraday)
            for each in self.holdings
            if each != name
        ]

        def fits(lots: int) -> bool:
            if not _within_bounds(own.contract, own.mark, own.lots + side * (same_side + lots)):
                return False
            if reduces(own.lots, lots * side, same_side):
                return True
            if self.closing_only or own.contract.side * side < 0:
                return False
            with_it = self._needed(name, [*orders, Order(side * lots)], with_intraday=self.with_intraday)
            return together([*others, with_it]) <= self.net_liq

        return largest(fits, MAX_LOTS + 1)

    def _needed(self, name: str, orders: Sequence[Working], *, with_intraday: bool) -> Needed:
        own = self.holdings[name]
        if not (own.lots or orders):
            return NOTHING
        if own.mark is None:
            return of_unpriced(
                own.terms, own.lots, own.required_on, with_intraday=with_intraday, leverage=own.leverage
            )  # fmt: skip
        position = Position(own.lots, own.cost)
        return needed(
            own.contract, own.terms, own.mark, position, orders, with_intraday=with_intraday, leverage=own.leverage
        )  # fmt: skip


def _within_bounds(contract: Contract, mark: int | None, lots: int) -> bool:
    try:
        contract.check_bounds(1 if mark is None else mark, lots)
    except OutOfBounds:
        return False
    return True


# -- reading ---------------------------------------------------------------------------------------------


class _Written(Struct, frozen=True, forbid_unknown_fields=True):
    """An order as a document has it."""

    contract: str
    quantity: str | int
    limit_price: str | int | None = None


def read_orders(value: object, policy: Policy, where: str) -> dict[str, list[Order]]:
    """A document's list of working orders, by the rulebook's contract; `InputError` names the field."""
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list of orders with contract and quantity")
    found: dict[str, list[Order]] = {}
    for index, given in enumerate(cast(list[object], value)):
        contract, order = _order(given, policy, f"{where}[{index}]")
        found.setdefault(contract.name, []).append(order)
    return found


def _order(value: object, policy: Policy, where: str) -> tuple[Contract, Order]:
    try:
        written = msgspec.convert(value, _Written)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from None
    quantity = _number(written.quantity, f"{where}.quantity")
    contract, lots = resolve(written.contract, quantity, policy, where)
    if not lots:
        raise InputError(f"{where}.quantity: expected a quantity above or below zero, not {quantity}")
    if written.limit_price is None:
        return contract, Order(lots)
    limit = _number(written.limit_price, f"{where}.limit_price")
    if limit <= 0 and not contract.negative_prices:
        raise InputError(f"{where}.limit_price: expected a price above zero, not {limit}")
    try:
        return contract, Order(lots, contract.ticks(limit))
    except InputError as error:
        raise InputError(f"{where}.limit_price: {error}") from None


def _number(value: str | int, where: str) -> Decimal:
    return bounded_decimal(decimal(str(value), where), where)
