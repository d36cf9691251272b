"""Orders before they go out: what refuses one, what it needs, and the largest that would pass (US-06, US-07, US-28)."""

from __future__ import annotations

from collections.abc import Iterator

from closeout.core.contracts import OutOfBounds
from closeout.core.margin import Level
from closeout.core.orders import NOTHING, Needed, filled, largest, needed, of_unpriced, reduces, sides_of, together
from closeout.engine import closeout, limits, margin_calls
from closeout.engine.book import ContractState, Flag, Grade, WorkingOrder
from closeout.engine.commands import CheckOrder, Limits
from closeout.engine.events import OrderApproved, OrderRefused
from closeout.engine.limits import Refusal
from closeout.engine.state import Reject, State

SIZED = ("margin", "order_size", "position_limit", "group_limit")
"""Refusals that a smaller order may pass: they come with a suggestion."""


def check_order(state: State, command: CheckOrder) -> None:
    """Approve or refuse an order before it goes out (US-07). A refusal is an answer, not a rejection of the input."""
    answer = verdict(state, command)
    if isinstance(answer, OrderApproved):
        row = state.row(command.account_id)
        order = WorkingOrder(command.order_id, command.contract, command.lots, command.limit_ticks)
        state.book.working.setdefault(row, {})[command.order_id] = order
        state.order_owner[command.order_id] = row
    state.emit(answer)


def verdict(state: State, command: CheckOrder) -> OrderApproved | OrderRefused:
    """What the check answers. It changes nothing: a preview may ask while a snapshot is being taken."""
    try:
        row, contract = _orderable(state, command)
    except Reject as reason:
        return OrderRefused(command.account_id, command.order_id, reason.code, reason.detail, 0, 0, 0, 0)
    asked = _Asked(state, row, contract, command)
    after = asked.after(command.lots)
    numbers = (asked.before, after - asked.before, after, asked.available)
    refusal = asked.refusal(command.lots)
    if refusal is None:
        return OrderApproved(command.account_id, command.order_id, *numbers)
    suggested = asked.largest() if refusal[0] in SIZED else 0
    return OrderRefused(command.account_id, command.order_id, *refusal, *numbers, suggested)


def _orderable(state: State, command: CheckOrder) -> tuple[int, ContractState]:
    """The account's row and the contract; `Reject` where the order names nothing that can be ordered."""
    row, contract = state.row(command.account_id), state.live_contract(command.contract)
    if command.lots == 0:
        raise Reject("zero_quantity", "an order for nothing")
    _check_order_bounds(state, row, contract, command)
    if command.order_id in state.order_owner:
        raise Reject("duplicate_order", f"order {command.order_id!r} is working already")
    if command.lots * contract.contract.side < 0 and not _reduces(state, row, contract, command.lots):
        raise Reject("wrong_leg", f"more than {command.contract} holds, orders that work counted")
    return row, contract


def _check_order_bounds(state: State, row: int, contract: ContractState, command: CheckOrder) -> None:
    price = command.limit_ticks if command.limit_ticks is not None else contract.mark
    state.check_trade(row, contract, command.lots, price if price is not None else 1)
    try:
        same_side = sum(
            order.lots
            for order in state.book.working.get(row, {}).values()
            if order.contract == command.contract and (order.lots > 0) == (command.lots > 0)
        )
        worst = contract.position(row).lots + same_side + command.lots
        contract.contract.check_bounds(contract.mark if contract.mark is not None else 1, worst)
    except OutOfBounds as bound:
        raise Reject("out_of_bounds", str(bound)) from None


class _Asked:
    """An order under examination, also for fewer lots than were asked for: what does not depend on them is worked out
    once."""

    def __init__(self, state: State, row: int, contract: ContractState, command: CheckOrder) -> None:
        self.state, self.row, self.contract, self.command = state, row, contract, command
        self.available = state.risk(row).net_liq
        self.limits = limits.OrderLimits(state, row, contract, buy=command.lots > 0)
        self.with_intraday = not (state.book.has(row, Flag.INITIAL_ONLY) or state.book.has(row, Flag.RESTRICTED))
        self.working = _by_contract(state, row)
        group = contract.rules.netting
        others = [
            self._needed(other, self.working.get(name, []))
            for name, other in _concerned(state, row, self.working)
            if other is not contract
        ]
        self.beside = [part for part in others if group and part.group == group]
        self.others = together(part for part in others if not group or part.group != group)
        self.before = self._with(self.working.get(command.contract, []))

    def _needed(self, contract: ContractState, orders: list[WorkingOrder]) -> Needed:
        return _required(self.state, self.row, contract, orders, self.with_intraday, self.limits.account)

    def _with(self, orders: list[WorkingOrder]) -> int:
        """The requirement in micros with these orders in the contract at their worst, and all others."""
        own = self._needed(self.contract, orders)
        return self.others + (together([*self.beside, own]) if self.beside else own.alone)

    def after(self, lots: int) -> int:
        """The requirement in micros with all working orders and this one at their worst."""
        command = self.command
        order = WorkingOrder(command.order_id, command.contract, lots, command.limit_ticks)
        return self._with([*self.working.get(command.contract, []), order])

    def largest(self) -> int:
        """The largest order of the same side, smaller than asked for, that would be approved now; 0 if none."""
        sign = 1 if self.command.lots > 0 else -1
        return sign * largest(lambda lots: self.refusal(sign * lots) is None, abs(self.command.lots))

    def refusal(self, lots: int) -> Refusal | None:
        """The first reason against the order, as a code and words; None approves."""
        state, book, row = self.state, self.state.book, self.row
        if who := self._barred(Flag.LOCKED):
            return "locked", f"{who} is locked by the desk"
        debt = book.debts.get(row)
        if debt is not None and debt.business_days > state.policy.receivable.closing_only_after:
            return "debit_overdue", f"in debit for {debt.business_days} business days: only close-outs and the desk"
        if _reduces(state, row, self.contract, lots):
            return None
        return self._standing() or self._unready() or self._too_large(lots)

    def _barred(self, flag: Flag) -> str:
        """Who is under an order of the desk: the account, the product or the firm; "" nobody."""
        if self.state.book.has(self.row, flag):
            return "the account"
        if self.contract.desk & flag:
            return self.command.contract
        return "the firm" if self.state.desk & flag else ""

    def _standing(self) -> Refusal | None:
        """What the account's standing says against an order that adds risk."""
        state, book, row = self.state, self.state.book, self.row
        if book.has(row, Flag.IN_DEBIT):
            owed = state.policy.currency.text(int(book.receivable[row]))
            return "in_debit", f"{owed} is owed; only orders that reduce risk are accepted"
        if row in book.close_outs:
            return "liquidating", "the account is being liquidated"
        if book.has(row, Flag.STOPPED):
            return "stopped", "stopped by the customer's own risk settings until the next trade date"
        if self._barred(Flag.DESK_LIQUIDATE_ONLY) or state.level(row) is Level.LIQUIDATE_ONLY:
            return "liquidate_only", "only orders that reduce risk are accepted"
        if book.has(row, Flag.FROZEN):
            return "reconciliation_break", "the account's books differ from the clearing side's"
        if margin_calls.overdue(state, row):
            return "margin_call_overdue", "a margin call is overdue; only orders that reduce risk are accepted"
        return None

    def _unready(self) -> Refusal | None:
        """A mark or an acknowledgement that is missing."""
        state, contract = self.state, self.contract
        if state.book.has(self.row, Flag.UNPRICED) or contract.mark is None:
            return "unpriced", "a position or the contract has no mark"
        if (grade := state.grade(contract)) != Grade.OK:
            return "mark_grade", f"the mark of {self.command.contract} is {grade}"
        if state.disclosure and acknowledged(state, self.row) != state.disclosure:
            return "disclosure", f"risk disclosure {state.disclosure} has not been acknowledged"
        return None

    def _too_large(self, lots: int) -> Refusal | None:
        refusal = self.limits.refusal(lots, self.command.limit_ticks)
        if refusal is not None:
            return refusal
        after, text = self.after(lots), self.state.policy.currency.text
        if after > self.available:
            return "margin", f"needs {text(after)}, net liq is {text(self.available)}"
        return None


def acknowledged(state: State, row: int) -> str:
    """The version of the disclosure that the customer acknowledged; an isolated account asks its parent."""
    parent = state.book.parent.get(row)
    return state.book.acknowledged.get(row, "") if parent is None else acknowledged(state, parent)


def _reduces(state: State, row: int, contract: ContractState, lots: int) -> bool:
    """Whether an order can only bring the position nearer to zero, all orders on its side filled: the customer's own
    and those of a close-out."""
    held = contract.position(row).lots
    same_side = sum(
        abs(order.lots)
        for order in state.book.working.get(row, {}).values()
        if order.contract == contract.contract.name and (order.lots > 0) == (lots > 0)
    )
    active = state.book.close_outs.get(row)
    if active is not None:
        same_side += closeout.closing(active, contract.contract.name, held)
    return reduces(held, lots, same_side)


def _by_contract(state: State, row: int) -> dict[str, list[WorkingOrder]]:
    found: dict[str, list[WorkingOrder]] = {}
    for order in state.book.working.get(row, {}).values():
        found.setdefault(order.contract, []).append(order)
    return found


def worst_case(state: State, row: int, *, with_intraday: bool) -> int:
    """Entry requirement in micros of the positions with every working order at its worst fill, and what filling at
    their limits would lose against the mark. An order at market has no worst price, and none is invented.

    A contract without a mark counts at the bounded worst of its position and is left out where the account is flat
    in it: an opening order there is refused anyway.
    """
    orders = _by_contract(state, row)
    return together(
        _required(state, row, contract, orders.get(name, []), with_intraday, limits.NONE)
        for name, contract in _concerned(state, row, orders)
    )


def _concerned(state: State, row: int, orders: dict[str, list[WorkingOrder]]) -> Iterator[tuple[str, ContractState]]:
    """The contracts in which an account holds something or has an order working."""
    for name in dict.fromkeys([*(holding.contract.name for holding in state.holdings(row)), *orders]):
        yield name, state.contracts[name]


def _required(
    state: State, row: int, contract: ContractState, orders: list[WorkingOrder], with_intraday: bool, limited: Limits
) -> Needed:
    """One contract's part of the worst case, and the add-on for what is concentrated in it."""
    held = contract.position(row)
    if held.lots == 0 and not orders:
        return NOTHING
    leverage = contract.contract.named_in(state.book.leverage.get(row, {}))
    terms = contract.order_terms
    if contract.mark is None:
        if held.lots == 0:
            return NOTHING
        value = state.holding(row, contract, held).required_on
        return of_unpriced(terms, held.lots, value, with_intraday=with_intraday, leverage=leverage)
    own = needed(contract.contract, terms, contract.mark, held, orders, with_intraday=with_intraday, leverage=leverage)
    most = max(abs(filled(held.lots, side)) for side in sides_of(orders))
    return own._replace(apart=limits.concentration(limited, contract, most))
