"""Accounts and their money: opening, cash, debts, corrections (US-13, US-16, US-25)."""

from __future__ import annotations

from closeout.core import risk
from closeout.core.units import MAX_VALUE, RATE, mul_div_ceil, rate_text
from closeout.engine import brakes, gate, receipts, scan
from closeout.engine import ledger as books
from closeout.engine.book import HOUSE, Flag
from closeout.engine.commands import (
    AdjustCash,
    CorrectFill,
    Deposit,
    OpenAccount,
    SetReceivableStatus,
    TransferPosition,
    Withdraw,
    WriteOff,
)
from closeout.engine.judge import changed_receivable, judge, pay_receivable
from closeout.engine.orders import worst_case
from closeout.engine.state import Reject, State, require_name, require_second

STATUSES = ("demanded", "plan", "collections")

MIN_LEVERAGE = RATE // 10
"""With it initial margin is at most ten times a position's value, and every figure about an order fits 64 bits."""


def open_account(state: State, command: OpenAccount) -> None:
    book = state.book
    if not command.account_id or command.account_id in book.row or command.account_id in HOUSE:
        raise Reject("duplicate_account", f"account {command.account_id!r} exists")
    parent = state.row(command.parent) if command.parent is not None else None
    for name, leverage in command.leverage.items():
        state.contract(name)
        if leverage < MIN_LEVERAGE:
            raise Reject("out_of_bounds", f"leverage of {name} is below {rate_text(MIN_LEVERAGE)}")
    row = book.add(command.account_id)
    if command.owner:
        book.owner[row] = command.owner
    if parent is not None:
        book.adopt(row, parent)
    if owner := book.owner_of(row):
        book.owned.setdefault(owner, []).append(row)
    if command.leverage:
        book.leverage[row] = dict(command.leverage)
    book.set_flag(row, Flag.INITIAL_ONLY, not command.validate_with_intraday)


def deposit(state: State, command: Deposit) -> None:
    row = state.row(command.account_id)
    _check_amount(command.micros)
    state.check_cash(row, command.micros)
    state.post(row, books.SEGREGATED_BANK, books.CUSTOMER_CASH, command.micros, "deposit")
    brakes.move(state, row, command.micros)
    pay_receivable(state, row, "payment by deposit")
    judge(state, row)


def withdrawable(state: State, row: int) -> int:
    """max(0, net liq - initial margin with all working orders at their worst - pending items), or less where a share of
    the notional must stay (US-16).

    Pending is what flat isolated accounts of the customer will still cost: funding accrued and not booked yet. Nothing
    is while a deficit is owed, a position has no mark, or the books are not reconciled: `withdraw` says which. That
    withdrawals wait for accounts below zero is not in it (`engine.gate`).
    """
    book = state.book
    if int(book.receivable[row]) > 0 or book.has(row, Flag.UNPRICED) or book.has(row, Flag.FROZEN):
        return 0
    children = (child for child in state.book.children.get(row, ()) if not state.holdings(child))
    pending = sum(max(0, -state.money(child).sum) for child in children)
    keep = state.policy.withdrawal_keep
    notional = sum(holding.notional for holding in state.holdings(row)) if keep else 0
    required = worst_case(state, row, with_intraday=False)
    return risk.withdrawable(state.risk(row).net_liq - pending, required, notional, keep)


def withdraw(state: State, command: Withdraw) -> None:
    row = state.row(command.account_id)
    _check_amount(command.micros)
    if int(state.book.receivable[row]) > 0:
        raise Reject("in_debit", "nothing can be withdrawn while a deficit is owed")
    if state.book.has(row, Flag.UNPRICED):
        raise Reject("unpriced", "a position has no mark")
    if state.book.has(row, Flag.FROZEN):
        raise Reject("reconciliation_break", "the account's books differ from the clearing side's")
    if gate.closed(state):
        raise Reject("withdrawals_gated", "an account is below zero, or was a short while ago")
    free = withdrawable(state, row)
    if command.micros > free:
        raise Reject("exceeds_withdrawable", f"withdrawable is {state.policy.currency.text(free)}")
    state.check_cash(row, -command.micros)
    kept = _haircut(state, command.micros)
    state.post(row, books.CUSTOMER_CASH, books.UNCOVERED, kept, "withdrawal haircut")
    state.post(row, books.CUSTOMER_CASH, books.SEGREGATED_BANK, command.micros - kept, "withdrawal")
    brakes.move(state, row, -command.micros)
    judge(state, row)


def _haircut(state: State, micros: int) -> int:
    """What a withdrawal of `micros` leaves in the hole that deficits made: its share of the hole is that of `micros` in
    all that customers could take out (net liqs above zero), rounded up, and never more than the hole."""
    hole = state.ledger.balances[books.UNCOVERED]
    if hole <= 0:
        return 0
    net_liq = scan.levels(state)[0]
    net_liq[[*state.book.house]] = 0
    total = int(net_liq.clip(min=0).sum())
    return min(hole, micros, mul_div_ceil(micros, hole, max(total, hole)))


def transfer_position(state: State, command: TransferPosition) -> None:
    row, contract = state.row(command.account_id), state.live_contract(command.contract)
    if command.lots == 0:
        raise Reject("zero_quantity", "a transfer of nothing")
    if abs(command.cost) > MAX_VALUE:
        raise Reject("out_of_bounds", "cost beyond the bound on one position")
    state.check_trade(row, contract, command.lots, contract.mark if contract.mark is not None else 1)
    state.check_outcome(row, contract, [(command.lots, command.cost)], 0)
    state.trade(row, contract, command.lots, command.cost, "realised profit")
    if command.last:
        judge(state, row)
    else:
        gate.look(state, row)


def set_receivable_status(state: State, command: SetReceivableStatus) -> None:
    require_name(command.by)
    row = state.row(command.account_id)
    if command.status not in STATUSES:
        raise Reject("unknown_status", f"{command.status!r}; expected one of {', '.join(STATUSES)}")
    debt = state.book.debts.get(row)
    if debt is None:
        raise Reject("no_receivable", "nothing is owed")
    debt.status = command.status
    changed_receivable(state, row, f"{command.by}: {command.reason}")


def write_off(state: State, command: WriteOff) -> None:
    """Forgive part of a debt: the firm bears it, by two names (US-13)."""
    require_name(command.by)
    row = state.row(command.account_id)
    require_second(command.by, command.second)
    _check_amount(command.micros)
    if command.micros > int(state.book.receivable[row]):
        raise Reject("exceeds_receivable", "more than is owed")
    state.post(row, books.WRITTEN_OFF, books.RECEIVABLE, command.micros, "write-off")
    changed_receivable(state, row, "write-off")
    judge(state, row)


def adjust_cash(state: State, command: AdjustCash) -> None:
    """A correction in money between the firm and the customer (US-25)."""
    require_name(command.by)
    row = state.row(command.account_id)
    require_second(command.by, command.second)
    _check_amount(abs(command.micros))
    state.check_cash(row, command.micros)
    before = int(state.book.cash[row])
    if command.micros > 0:
        state.post(row, books.SEGREGATED_BANK, books.HOUSE, command.micros, "correction")
        state.post(row, books.HOUSE, books.CUSTOMER_CASH, command.micros, "correction")
    else:
        state.post(row, books.CUSTOMER_CASH, books.HOUSE, -command.micros, "correction")
        state.post(row, books.HOUSE, books.SEGREGATED_BANK, -command.micros, "correction")
    brakes.move(state, row, command.micros)
    receipts.correction(state, row, command, command.receipt_id, "cash adjusted", before)
    if command.restore_count and int(state.book.liquidations[row]) > 0:
        state.book.liquidations[row] -= 1
    pay_receivable(state, row, "payment from a correction")
    judge(state, row)


def correct_fill(state: State, command: CorrectFill) -> None:
    """Bust a fill, or book it at another price: the reverse trade without fee, its fee back as taken, and for an
    adjustment the same lots anew (US-25)."""
    require_name(command.by)
    require_second(command.by, command.second)
    past = state.fills.get(command.fill_id)
    if past is None:
        raise Reject("unknown_fill", f"no fill {command.fill_id!r}")
    row, contract = past.account, state.live_contract(past.contract)
    facts, price = contract.contract, command.price_ticks
    state.check_trade(row, contract, -past.lots, past.price_ticks, replaced=price is not None)
    trades = [(-past.lots, -facts.trade_value(past.price_ticks, past.lots))]
    fee = 0
    if price is not None:
        state.check_trade(row, contract, past.lots, price, replaced=True)
        trades.append((past.lots, facts.trade_value(price, past.lots)))
        fee = facts.trade_fee(price, past.lots)
    state.check_outcome(row, contract, trades, fee - past.fee)
    before = int(state.book.cash[row])
    state.trade(row, contract, *trades[0], "correction")
    state.post(row, books.FEES, books.CUSTOMER_CASH, past.fee, "correction")
    if price is None:
        del state.fills[command.fill_id]
    else:
        state.trade(row, contract, *trades[1], "correction")
        state.post(row, books.CUSTOMER_CASH, books.FEES, fee, "correction")
        state.fills[command.fill_id] = past._replace(price_ticks=price, fee=fee)
    what = "busted" if price is None else f"booked at {facts.price_text(price)} instead"
    receipts.correction(state, row, command, command.fill_id, f"fill {command.fill_id} {what}", before)
    judge(state, row)


def _check_amount(micros: int) -> None:
    if micros <= 0 or micros > MAX_VALUE:
        raise Reject("out_of_bounds", f"amount {micros} is not between 1 and {MAX_VALUE} micros")
