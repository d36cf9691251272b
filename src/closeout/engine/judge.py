"""One verdict per account: flags, level, the start of a close-out, and the debt of an account that is flat."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from closeout.core.margin import Level
from closeout.core.risk import Risk
from closeout.engine import brakes, closeout, gate, margin_calls, receipts, waterfall
from closeout.engine import ledger as books
from closeout.engine.book import CloseOut, Column, Flag, Receivable
from closeout.engine.candidates import candidates
from closeout.engine.events import DeficitBooked, LevelChanged, Notice, ReceivableChanged
from closeout.engine.state import State


def judge_all(state: State) -> None:
    """Judge whoever the scan names, in the order of account ids (G-19)."""
    judge_rows(state, (int(row) for row in candidates(state)))


def judge_rows(state: State, rows: Iterable[int], *, executed: bool = False) -> None:
    """Isolated accounts first: what they give to or take from their parents is in the parents' verdicts (G-19).
    `executed`: plans of close-outs that go on are made anew."""
    due = set(rows)
    waterfall.keep_fund_whole(state)
    for row in _by_id(state, due & state.book.parent.keys()):
        due.discard(row)
        parent = _judge(state, row, executed=executed)
        due |= set() if parent is None else {parent}
    for row in _by_id(state, due):
        judge(state, row, executed=executed)


def judge_many(state: State, rows: Column) -> None:
    """As `judge_rows`, without those in whom nothing would change: who holds something and whom the scan does not
    name."""
    table = state.book.positions
    flat = np.ones(state.book.count, bool)
    flat[table.account[: table.count][table.lots[: table.count] != 0]] = False
    judge_rows(state, rows[flat[rows] | np.isin(rows, candidates(state))].tolist())


def _judge_touched(state: State) -> None:
    """Whoever a close-out touched is judged right after its account, as often as it takes: each time a position closed
    or money moved. So no account that is judged in vain changes anybody's turn (G-12)."""
    waiting = _touched(state)
    while waiting:  # a chain may be as long as there are accounts
        row = waiting.pop()
        waterfall.keep_fund_whole(state)
        parent = _judge_alone(state, row, executed=False)
        waiting += [] if parent is None else [parent]
        waiting += _touched(state)


def _touched(state: State) -> list[int]:
    """Who was touched since the last look, the lowest account id last."""
    due, state.touched = state.touched, set()
    return _by_id(state, due)[::-1]


def _by_id(state: State, rows: Iterable[int]) -> list[int]:
    return sorted(rows, key=state.book.ids.__getitem__)


def judge(state: State, row: int, *, executed: bool = False) -> None:
    """Judge one account, and its parent where money moved between them.

    `executed`: it was just filled, one of its close-out orders is done, or the desk wants it so: its plan is made anew
    (G-07).
    """
    waterfall.keep_fund_whole(state)
    parent = _judge(state, row, executed=executed)
    if parent is not None:
        judge(state, parent)


def _judge(state: State, row: int, *, executed: bool) -> int | None:
    """One account's verdict, and the verdicts of those that it touched. Returns the parent if it must be judged now."""
    parent = _judge_alone(state, row, executed=executed)
    _judge_touched(state)
    return parent


def _judge_alone(state: State, row: int, *, executed: bool) -> int | None:
    """One account's verdict, and what it means for its margin call and for withdrawals. Returns the parent if it must
    be judged now."""
    if row in state.book.house:
        return None
    parent = _verdict(state, row, executed=executed)
    gate.look(state, row)
    margin_calls.look(state, row)
    return parent


def _verdict(state: State, row: int, *, executed: bool) -> int | None:
    """Bring one account's flags and level up to date and act on them. Returns the parent if it must be judged now."""
    book = state.book
    unpriced = state.is_unpriced(row)
    if unpriced and not book.has(row, Flag.UNPRICED):
        state.alarm(book.ids[row], "unpriced", "a position has no mark yet; it is valued at the bounded worst")
    state.set_flag(
        row, Flag.UNPRICED, unpriced, "a position has no mark yet" if unpriced else "every position is marked"
    )
    brakes.watch(state, row)
    ended: list[CloseOut] = []
    active = book.close_outs.get(row)
    if active is not None:
        due = executed or not active.outstanding or closeout.reopened(state, row, active)
        if not due or not closeout.advance(state, row, active, executed=executed):
            brakes.watch(state, row)  # a part may have been taken over
            _flag_debit(state, row)
            return None
        ended.append(active)
        brakes.watch(state, row)
    _begin(state, row, ended)
    left = receipts.Shortfall()
    parent = None
    if not state.holds(row) and row not in book.close_outs:
        cash = int(book.cash[row])
        left = _settle_flat(state, row, ended[-1].receipt_id if ended else "")
        parent = book.parent.get(row) if int(book.cash[row]) != cash else None
    _flag_debit(state, row)
    for over in ended:
        receipts.issue(state, row, over, left if over is ended[-1] else receipts.Shortfall())
    return parent


def _begin(state: State, row: int, ended: list[CloseOut]) -> None:
    """Bring the level up to date and begin a close-out where it says so. One that is over at once, because others took
    the positions, is added to `ended`, and the account is looked at again."""
    while True:
        risk = state.risk(row)
        brakes.trip(state, row, risk)
        _set_level(state, row, risk)
        if state.level(row) is not Level.LIQUIDATING:
            return
        active = closeout.start(state, row, risk)
        if active is None:
            return
        ended.append(active)
        brakes.watch(state, row)


def _flag_debit(state: State, row: int) -> None:
    """In debit: a deficit is owed, or the account is flat and below zero (US-04, US-13)."""
    owes = int(state.book.receivable[row]) > 0 or (state.money(row).sum < 0 and not state.holds(row))
    state.set_flag(row, Flag.IN_DEBIT, owes, "the account owes a deficit" if owes else "nothing is owed any more")


def _set_level(state: State, row: int, risk: Risk) -> None:
    book, before, level = state.book, state.level(row), risk.level
    ordered = book.has(row, Flag.LIQUIDATE_NOW)
    if (ordered or row in book.stops) and not state.holds(row):
        book.stops.pop(row, None)
        state.set_flag(row, Flag.LIQUIDATE_NOW, False, "flat")
    elif ordered:
        level = Level.LIQUIDATING
    elif not closeout.held(state, row):
        level = Level.LIQUIDATING if row in book.stops else level
    elif level is Level.LIQUIDATING:
        level = Level.LIQUIDATE_ONLY
    if level is before:
        return
    if level is not risk.level and level is Level.LIQUIDATE_ONLY:
        state.alarm(book.ids[row], "held_below_line", "below the auto-liquidation line, but held by the desk")
    book.level[row] = level
    book.positions.moved.add(row)
    crossed = risk.lines[min(max(level, before) - 1, 2)]
    account_id = book.ids[row]
    state.emit(
        LevelChanged(account_id, before.name.lower(), level.name.lower(), risk.net_liq, risk.requirement, crossed)
    )
    if before < level < Level.LIQUIDATING:
        state.emit(Notice(account_id, "warning", level.name.lower()))


def pay_receivable(state: State, row: int, reason: str) -> None:
    """The customer's cash pays what he owes, and the firm takes its own money back out of the pool (US-01, US-13).

    Cash that accrued funding already claims is not free to pay: it would come back as a deficit at once.
    """
    book = state.book
    free = int(book.cash[row]) + min(0, int(book.accrued[row]))
    paid = min(int(book.receivable[row]), max(0, free))
    if paid == 0:
        return
    state.post(row, books.CUSTOMER_CASH, books.RECEIVABLE, paid, reason)
    state.post(row, books.HOUSE, books.SEGREGATED_BANK, paid, reason)
    changed_receivable(state, row, reason)


def changed_receivable(state: State, row: int, reason: str) -> None:
    """Tell what is still owed; a receivable of zero is settled and its story ends."""
    book, total = state.book, int(state.book.receivable[row])
    debt = book.debts[row]
    if total == 0:
        debt.status = "written_off" if reason == "write-off" else "settled"
        del book.debts[row]
    state.emit(ReceivableChanged(book.ids[row], total, debt.status, debt.business_days, reason))


def _settle_flat(state: State, row: int, receipt_id: str) -> receipts.Shortfall:
    """A flat account: isolated money goes home, cash pays what is owed, and a shortfall goes down the waterfall."""
    book = state.book
    parent = book.parent.get(row)
    if parent is not None:
        return _settle_isolated(state, row, parent, receipt_id)
    pay_receivable(state, row, "payment from the account's cash")
    shortfall = -(int(book.cash[row]) + int(book.accrued[row]) - int(book.pending[row]))
    if shortfall <= 0:
        return receipts.Shortfall()
    paid = waterfall.pay(state, row, shortfall, receipt_id)
    owed = shortfall - sum(paid.values())
    if owed:
        state.post(row, books.RECEIVABLE, books.CUSTOMER_CASH, owed, "deficit owed by the customer")
        _cover(state, row, owed, receipt_id)
    return receipts.Shortfall(shortfall, owed, paid)


def _cover(state: State, row: int, shortfall: int, receipt_id: str) -> None:
    """The firm covers the pool from its own money the same day; the customer is told what he owes."""
    book, account_id = state.book, state.book.ids[row]
    state.post(row, books.SEGREGATED_BANK, books.HOUSE, shortfall, "deficit covered by the firm")
    book.debts.setdefault(row, Receivable(receipt_id=receipt_id))
    total = int(book.receivable[row])
    state.emit(DeficitBooked(account_id, shortfall, total, receipt_id))
    state.emit(Notice(account_id, "deficit", state.policy.currency.text(total)))


def _settle_isolated(state: State, row: int, parent: int, receipt_id: str) -> receipts.Shortfall:
    """An isolated account that is flat: what is left goes to the parent. What is missing goes down the waterfall;
    where the customer owes, the parent's cash pays first what stages before that one left, and the rest becomes the
    parent's receivable. What it won today is the account's from then on."""
    book, cash = state.book, int(state.book.cash[row])
    book.won[parent] += book.won[row]
    book.won[row] = 0
    free = cash + min(0, int(book.accrued[row]))  # funding that is due stays, until it is booked
    if free > 0:
        state.post(row, books.CUSTOMER_CASH, books.TRANSFER, free, "isolated margin returned")
        state.post(parent, books.TRANSFER, books.CUSTOMER_CASH, free, "isolated margin returned")
        brakes.move(state, parent, free)
    if cash >= 0:
        return receipts.Shortfall()
    stages = waterfall.pay(state, row, -cash, receipt_id)
    missing = -cash - sum(stages.values())
    paid = min(missing, max(0, int(book.cash[parent])))
    owed = missing - paid
    if missing:
        state.post(row, books.TRANSFER, books.CUSTOMER_CASH, missing, "isolated deficit")
        state.post(parent, books.CUSTOMER_CASH, books.TRANSFER, paid, "isolated deficit paid from other cash")
        brakes.move(state, parent, -missing)
    if owed:
        state.post(parent, books.RECEIVABLE, books.TRANSFER, owed, "deficit owed by the customer")
        _cover(state, parent, owed, receipt_id)
    return receipts.Shortfall(-cash, owed, stages)
