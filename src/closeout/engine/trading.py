"""Executions and customers' orders: fills, order ends, the pre-trade check, cancellations (US-06, US-07, US-15)."""

from __future__ import annotations

from closeout.core.contracts import Contract, OutOfBounds
from closeout.core.margin import Level, entry_requirement
from closeout.core.units import ceil_div
from closeout.engine import closeout, receipts
from closeout.engine import ledger as books
from closeout.engine.book import SUSPENSE, ContractState, Flag, Grade, WorkingOrder
from closeout.engine.commands import CancelOrder, CheckOrder, Fill, OrderDone
from closeout.engine.events import OrderApproved, OrderRefused
from closeout.engine.judge import judge
from closeout.engine.state import PastFill, Reject, State


def fill(state: State, command: Fill) -> None:
    """Book an execution: position, realised profit, fee; then judge the account."""
    contract = state.live_contract(command.contract)
    if command.lots == 0:
        raise Reject("zero_quantity", "a fill of nothing")
    if command.fill_id in state.fills:
        raise Reject("duplicate_fill", f"fill {command.fill_id!r} was booked before")
    known = state.book.row.get(command.account_id)
    row = known if known is not None else state.book.row[SUSPENSE]
    state.check_trade(row, contract, command.lots, command.price_ticks)
    value = contract.contract.trade_value(command.price_ticks, command.lots)
    fee = contract.contract.trade_fee(command.price_ticks, command.lots)
    state.check_outcome(row, contract, [(command.lots, value)], fee)

    profit = state.trade(row, contract, command.lots, value, "realised profit")
    state.post(row, books.CUSTOMER_CASH, books.FEES, fee, "trade fee")
    state.fills[command.fill_id] = PastFill(row, command.contract, command.lots, command.price_ticks, fee)
    if known is None:
        state.alarm(command.account_id, "unknown_account", f"fill {command.fill_id} booked to suspense")
    elif state.order_owner.get(command.order_id) != row:
        state.alarm(command.account_id, "unknown_order", f"fill {command.fill_id} of unknown order {command.order_id}")
    else:
        _execute(state, row, command, contract, fee, profit)
    judge(state, row, executed=True)


def _execute(state: State, row: int, command: Fill, contract: ContractState, fee: int, profit: int) -> None:
    """Take the fill off its order."""
    active = state.book.close_outs.get(row)
    if active is None or command.order_id not in active.outstanding:
        order = state.book.working[row][command.order_id]
        if _fits(state, command, order.contract, order.lots):
            reduce_order(state, row, command.order_id, command.lots)
        return
    name, left = active.outstanding[command.order_id]
    if not _fits(state, command, name, left):
        return
    active.filled = True
    receipts.filled(
        state, row, active, command.order_id, command.fill_id, contract, command.lots, command.price_ticks, fee, profit
    )
    if abs(command.lots) < abs(left):
        active.outstanding[command.order_id] = (name, left - command.lots)
        return
    del active.outstanding[command.order_id]
    del state.order_owner[command.order_id]
    if abs(command.lots) > abs(left):
        state.alarm(command.account_id, "overfilled", f"{command.order_id}: more than was ordered")


def _fits(state: State, command: Fill, contract: str, left: int) -> bool:
    """Whether a fill can be one of the order that it names; if not it is booked all the same, and alarmed."""
    fits = command.contract == contract and (command.lots > 0) == (left > 0)
    if not fits:
        state.alarm(command.account_id, "wrong_fill", f"fill {command.fill_id} does not fit order {command.order_id}")
    return fits


def reduce_order(state: State, row: int, order_id: str, lots: int) -> None:
    """Take signed `lots` off a working order; it is gone when nothing is left."""
    order = state.book.working[row][order_id]
    left = order.lots - lots
    if left == 0 or (left > 0) != (order.lots > 0):
        drop_order(state, row, order_id)
    else:
        order.lots = left


def drop_order(state: State, row: int, order_id: str) -> None:
    del state.book.working[row][order_id]
    del state.order_owner[order_id]
    if not state.book.working[row]:
        del state.book.working[row]


def order_done(state: State, command: OrderDone) -> None:
    """Nothing more of an order will fill. For a close-out order the plan is made anew at once."""
    row = state.order_owner.get(command.order_id)
    if row is None:
        raise Reject("unknown_order", f"no order {command.order_id!r} is working")
    active = state.book.close_outs.get(row)
    if active is not None and command.order_id in active.outstanding:
        del active.outstanding[command.order_id]
        del state.order_owner[command.order_id]
        judge(state, row, executed=True)
    else:
        drop_order(state, row, command.order_id)


def cancel_order(state: State, command: CancelOrder) -> None:
    """A customer's order is gone. Only the venue's own word (`OrderDone`) ends a close-out order: were it believed
    gone while it still works, the next plan would close the same lots twice."""
    row = state.order_owner.get(command.order_id)
    if row is None or command.order_id not in state.book.working.get(row, {}):
        raise Reject("unknown_order", f"no order {command.order_id!r} of a customer is working")
    drop_order(state, row, command.order_id)


def check_order(state: State, command: CheckOrder) -> None:
    """Approve or refuse an order before it goes out (US-07). A refusal is an answer, not a rejection of the input."""
    try:
        row, contract = _orderable(state, command)
    except Reject as reason:
        refused = OrderRefused(command.account_id, command.order_id, reason.code, reason.detail, 0, 0, 0, 0)
        state.emit(refused)
        return
    before = worst_case(state, row, with_intraday=_with_intraday(state, row))
    order = WorkingOrder(command.order_id, command.contract, command.lots, command.limit_ticks)
    after = worst_case(state, row, with_intraday=_with_intraday(state, row), extra=order)
    available = state.risk(row).net_liq
    refusal = _refusal(state, row, contract, command, after, available)
    numbers = (before, after - before, after, available)
    if refusal is None:
        state.book.working.setdefault(row, {})[command.order_id] = order
        state.order_owner[command.order_id] = row
        state.emit(OrderApproved(command.account_id, command.order_id, *numbers))
    else:
        state.emit(OrderRefused(command.account_id, command.order_id, *refusal, *numbers))


def _orderable(state: State, command: CheckOrder) -> tuple[int, ContractState]:
    """The account's row and the contract; `Reject` where the order names nothing that can be ordered."""
    row, contract = state.row(command.account_id), state.live_contract(command.contract)
    if command.lots == 0:
        raise Reject("zero_quantity", "an order for nothing")
    _check_order_bounds(state, row, contract, command)
    if command.order_id in state.order_owner:
        raise Reject("duplicate_order", f"order {command.order_id!r} is working already")
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


def _with_intraday(state: State, row: int) -> bool:
    return not (state.book.has(row, Flag.INITIAL_ONLY) or state.book.has(row, Flag.RESTRICTED))


def _refusal(
    state: State, row: int, contract: ContractState, command: CheckOrder, after: int, available: int
) -> tuple[str, str] | None:
    """The first reason against an order, as a code and words; None approves."""
    book, text = state.book, state.policy.currency.text
    if book.has(row, Flag.LOCKED):
        return "locked", "the account is locked by the desk"
    debt = book.debts.get(row)
    if debt is not None and debt.business_days > state.policy.receivable.closing_only_after:
        return "debit_overdue", f"in debit for {debt.business_days} business days: only close-outs and the desk"
    if _reduces(state, row, contract, command.lots):
        return None
    if book.has(row, Flag.IN_DEBIT):
        return "in_debit", f"{text(int(book.receivable[row]))} is owed; only orders that reduce risk are accepted"
    if row in book.close_outs:
        return "liquidating", "the account is being liquidated"
    if book.has(row, Flag.DESK_LIQUIDATE_ONLY) or state.level(row) is Level.LIQUIDATE_ONLY:
        return "liquidate_only", "only orders that reduce risk are accepted"
    if book.has(row, Flag.UNPRICED) or contract.mark is None:
        return "unpriced", "a position or the contract has no mark"
    if state.grade(contract) != Grade.OK:
        return "mark_grade", f"the mark of {command.contract} is {state.grade(contract)}"
    if after > available:
        return "margin", f"needs {text(after)}, net liq is {text(available)}"
    return None


def _reduces(state: State, row: int, contract: ContractState, lots: int) -> bool:
    """Whether an order can only bring the position nearer to zero, all orders on its side filled: the customer's own
    and those of a close-out."""
    held = contract.position(row).lots
    if held == 0 or (held > 0) == (lots > 0):
        return False
    same_side = sum(
        abs(order.lots)
        for order in state.book.working.get(row, {}).values()
        if order.contract == contract.contract.name and (order.lots > 0) == (lots > 0)
    )
    active = state.book.close_outs.get(row)
    if active is not None:
        same_side += closeout.closing(active, contract.contract.name, held)
    return abs(lots) + same_side <= abs(held)


def worst_case(state: State, row: int, *, with_intraday: bool, extra: WorkingOrder | None = None) -> int:
    """Entry requirement in micros of the positions with every working order (and `extra`) at its worst fill, and what
    filling at their limits would lose against the mark. An order at market has no worst price, and none is invented.

    A contract without a mark counts at the bounded worst of its position and is left out where the account is flat
    in it: an opening order there is refused anyway.
    """
    orders = list(state.book.working.get(row, {}).values()) + ([extra] if extra else [])
    leverages = state.book.leverage.get(row, {})
    total = 0
    for name, contract in state.contracts.items():
        held = contract.position(row)
        if contract.mark is None:
            if held.lots:
                holding = state.holding(row, contract, held)
                total += entry_requirement(
                    contract.terms, held.lots, holding.notional, with_intraday=with_intraday,
                    leverage=holding.leverage,
                )  # fmt: skip
            continue
        own = [order for order in orders if order.contract == name]
        sides = ([order for order in own if order.lots > 0], [order for order in own if order.lots < 0])
        worst = 0
        for side in sides:
            lots = held.lots + sum(order.lots for order in side)
            required = sum(_loss_at_limit(contract.contract, contract.mark, order) for order in side)
            if lots:
                notional = contract.contract.notional(contract.mark, lots)
                required += entry_requirement(
                    contract.terms, lots, notional, with_intraday=with_intraday, leverage=leverages.get(name, 0)
                )
            worst = max(worst, required)
        total += worst
    return total


def _loss_at_limit(contract: Contract, mark: int, order: WorkingOrder) -> int:
    """Micros that a fill at the order's limit loses against the mark, rounded up."""
    if order.limit_ticks is None:
        return 0
    units = contract.trade_value(order.limit_ticks, order.lots) - contract.value(mark, order.lots)
    return max(0, ceil_div(units, contract.units_per_micro))
