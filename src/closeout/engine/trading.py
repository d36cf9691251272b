"""Executions and the ends of orders: fills, what is done, cancellations (US-15)."""

from __future__ import annotations

from closeout.engine import closeout, receipts
from closeout.engine import ledger as books
from closeout.engine.book import SUSPENSE, ContractState
from closeout.engine.commands import CancelOrder, Fill, OrderDone
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

    above = rate = 0
    if row in state.book.close_outs and state.policy.liquidation_fee.rate:
        rate = closeout.fee_rate(state, row, state.holding(row, contract, contract.position(row)))
    if row in state.book.close_outs and state.policy.liquidation_fee.capped:
        above = closeout.above_bankruptcy(state, row, contract, command.lots, value, fee)
    profit = state.trade(row, contract, command.lots, value, "realised profit")
    state.post(row, books.CUSTOMER_CASH, books.FEES, fee, "trade fee")
    state.fills[command.fill_id] = PastFill(row, command.contract, command.lots, command.price_ticks, fee)
    if known is None:
        state.alarm(command.account_id, "unknown_account", f"fill {command.fill_id} booked to suspense")
    elif state.order_owner.get(command.order_id) != row:
        state.alarm(command.account_id, "unknown_order", f"fill {command.fill_id} of unknown order {command.order_id}")
    else:
        _execute(state, row, command, contract, fee, profit, (rate, above))
    judge(state, row, executed=True)


def _execute(
    state: State, row: int, command: Fill, contract: ContractState, fee: int, profit: int, charge: tuple[int, int]
) -> None:
    """Take the fill off its order; `charge`: the liquidation fee's rate before it, and what it brought beyond
    bankruptcy, micros."""
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
    closeout.note_part(state, row, active, contract)
    charged = closeout.charge_by_rate(state, row, active, contract, command.lots, command.price_ticks, *charge)
    value = contract.contract.trade_value(command.price_ticks, command.lots)
    closeout.give_surplus(state, row, active, command.order_id, contract, command.lots, value, fee + charged)
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
        state.drop_order(row, order_id)
    else:
        order.lots = left


def order_done(state: State, command: OrderDone) -> None:
    """Nothing more of an order will fill. For a close-out order the plan is made anew at once."""
    row = state.order_owner.get(command.order_id)
    if row is None:
        raise Reject("unknown_order", f"no order {command.order_id!r} is working")
    active = state.book.close_outs.get(row)
    if active is not None and command.order_id in active.outstanding:
        del active.outstanding[command.order_id]
        del state.order_owner[command.order_id]
        active.missed |= closeout.is_immediate(active, command.order_id)
        judge(state, row, executed=True)
    else:
        state.drop_order(row, command.order_id)


def cancel_order(state: State, command: CancelOrder) -> None:
    """A customer's order is gone. Only the venue's own word (`OrderDone`) ends a close-out order: were it believed
    gone while it still works, the next plan would close the same lots twice."""
    row = state.order_owner.get(command.order_id)
    if row is None or command.order_id not in state.book.working.get(row, {}):
        raise Reject("unknown_order", f"no order {command.order_id!r} of a customer is working")
    state.drop_order(row, command.order_id)
