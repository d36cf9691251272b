"""What the market does to every holder: marks, sessions, funding, settlement, the day (US-02, US-14, US-24).

What holders are due is worked out over whole columns; money is posted account by account, because each posting is a
fact of somebody's statement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from closeout.core.contracts import OutOfBounds
from closeout.core.funding import Cadence
from closeout.core.times import time_text
from closeout.core.units import MAX_VALUE, RATE, exact_sum, floor_div, mul_div_ceil, mul_div_floor
from closeout.engine import brakes, gate, margin_calls, rates
from closeout.engine import ledger as books
from closeout.engine.accounts import withdrawable
from closeout.engine.book import Column, ContractState, Grade
from closeout.engine.bulk import post_all, realise_all
from closeout.engine.commands import (
    AccrueFunding,
    AnnounceExpiry,
    BookFunding,
    BusinessDay,
    Expire,
    Halt,
    Marks,
    SessionChange,
    Settle,
    Tick,
)
from closeout.engine.events import CancelOrders, Notice
from closeout.engine.judge import changed_receivable, judge_all, judge_many, judge_rows
from closeout.engine.state import Reject, State


def marks(state: State, command: Marks, source: str) -> None:
    take_batch(state, [(state.contract(mark.contract), mark.price_ticks) for mark in command.marks], source)


def take_batch(state: State, batch: Sequence[tuple[ContractState, int | None]], source: str) -> None:
    """Take in an atomic batch; every account is judged once, after all its marks are in (G-19)."""
    marked = [(state.whole(contract.contract.name), ticks) for contract, ticks in batch]
    if len({contract.index for contract, _ in batch}) != len(batch):
        raise Reject("contract_twice", "a contract stands twice in one batch of marks")
    for contracts, ticks in marked:
        if ticks is not None:
            _check_mark(contracts, ticks)
    first: list[int] = []
    for (contract, *legs), ticks in marked:
        if contract.mark is None and ticks is not None:
            first += _holders([contract, *legs])
        _take_mark(state, contract, ticks, source)
        for leg in legs:
            _mark_leg(leg, contract)
    judge_rows(state, first)  # they are no longer unpriced, which the scan does not look at
    judge_all(state)
    gate.look_at_all(state)


def _holders(contracts: Sequence[ContractState]) -> list[int]:
    """Account rows that hold any of these."""
    return list({int(row) for contract in contracts for row in contract.holders()})


def _rows(state: State, contracts: Sequence[ContractState]) -> Column:
    """The same as a column, ascending."""
    held = np.zeros(state.book.count, bool)
    for contract in contracts:
        held[contract.holders()] = True
    return np.flatnonzero(held)


def _check_mark(contracts: Sequence[ContractState], ticks: int) -> None:
    """Reject a price that is out of bounds, or takes the largest position in a contract or its legs out of them."""
    facts, most = contracts[0].contract, max(contract.largest for contract in contracts)
    try:
        facts.check_bounds(ticks, most)
    except OutOfBounds:
        largest = facts.quantity_text(most)
        detail = f"mark of {facts.name} is out of bounds with a position of {largest}: {ticks} ticks"
        raise Reject("out_of_bounds", detail) from None


def _take_mark(state: State, contract: ContractState, ticks: int | None, source: str) -> None:
    """Store and grade a mark (G-06). A jump is confirmed by the next mark that is near it, or refuted by one that is
    near the last good mark."""
    name = contract.contract.name
    if ticks is None:
        if contract.grade != Grade.MISSING:
            state.alarm("", "mark_missing", f"{name}: {source} has no price")
        contract.grade = Grade.MISSING
        return
    guard = state.policy.marks.jump
    jumps = guard is not None and all(
        known is not None and abs(ticks - known) * RATE > guard * abs(known)
        for known in (contract.mark, contract.good_mark)
    )
    if jumps:
        state.alarm("", "mark_jump", f"{name}: {source} moved from {contract.mark} to {ticks} ticks")
    contract.grade = Grade.JUMP if jumps else Grade.OK
    if not jumps:
        contract.good_mark, contract.stale_told = ticks, False
    contract.previous_mark = contract.mark
    contract.mark, contract.mark_time, contract.mark_source = ticks, state.time, source


def _mark_leg(leg: ContractState, whole: ContractState) -> None:
    """One price: a leg's mark is its contract's, and so is its grade."""
    leg.previous_mark, leg.mark, leg.good_mark = whole.previous_mark, whole.mark, whole.good_mark
    leg.mark_time, leg.mark_source, leg.grade = whole.mark_time, whole.mark_source, whole.grade


def tick(state: State, command: Tick) -> None:
    """Time passes: marks grow stale, news windows begin and end, plans that wait are looked at again."""
    for contract in state.contracts.values():
        _tell_stale(state, contract)
    rates.news_due(state)
    judge_all(state)
    state.ticked = max(state.ticked, min(command.until or state.time, state.time))


def _tell_stale(state: State, contract: ContractState) -> None:
    """The desk hears once that a mark somebody depends on has grown stale, before anything needs it (G-06)."""
    if contract.contract.side or contract.stale_told or state.grade(contract) != Grade.STALE:
        return
    name, working = contract.contract.name, state.book.working.values()
    legs = state.legs(name)
    names = {leg.contract.name for leg in legs}
    if _holders(legs) or any(order.contract in names for orders in working for order in orders.values()):
        contract.stale_told = True
        state.alarm(
            "", "mark_stale", f"{name}: no mark from {contract.mark_source} since {time_text(contract.mark_time)}"
        )


def session_change(state: State, command: SessionChange) -> None:
    """A session enters a window, opens or closes; every account is judged in the new window at once (US-02, G-13)."""
    window = state.policy.windows.get(command.window)
    if window is None:
        raise Reject("unknown_window", f"no window {command.window!r} in rulebook {state.policy.name}")
    changed = [contract for contract in state.contracts.values() if contract.session == command.session]
    if not changed:
        raise Reject("unknown_session", f"no contract trades in session {command.session!r}")
    for contract in changed:
        contract.window, contract.is_open = window, command.is_open
    judge_all(state)


def halt(state: State, command: Halt) -> None:
    for contract in state.live_whole(command.contract):
        contract.halted = command.halted
    judge_all(state)


def accrue_funding(state: State, command: AccrueFunding) -> None:
    """The end of a funding interval: the position held now accrues, payments rounded against the customer (US-14)."""
    contracts = state.live_whole(command.contract)
    facts, mark = contracts[0].contract, contracts[0].mark
    price = command.price_ticks if command.price_ticks is not None else mark
    if price is None:
        raise Reject("unpriced", f"{command.contract} has no mark and no price was given")
    if abs(command.rate) > RATE:
        raise Reject("out_of_bounds", "a funding rate above 100 %")
    _check_mark(contracts, price)
    book, total = state.book, state.book.column("accrued").copy()
    parts: list[tuple[int, int]] = []  # units and micros of each contract: the legs have residues of their own
    for contract in contracts:
        own, lots, _ = contract.held()
        value: Column = abs(facts.value(price, lots))
        owed = value * np.where(lots > 0, -1, 1)  # units: what each would receive at a rate of 100 %
        due = floor_div(mul_div_floor(owed, command.rate, RATE), facts.units_per_micro)
        parts.append((exact_sum(owed) * command.rate, exact_sum(due)))
        total[own] += due
    rows = _rows(state, contracts)
    accrued = total[rows]
    beyond: Column = rows[abs(accrued) > MAX_VALUE]
    if len(beyond):
        first = min(book.ids[int(row)] for row in beyond)
        raise Reject("out_of_bounds", f"accrued funding of {first} would pass its bound")
    book.accrued[rows] = accrued
    book.positions.touch(rows)
    for contract, (units, booked) in zip(contracts, parts, strict=True):
        exact, contract.funding_residue = divmod(contract.funding_residue + units, RATE * facts.units_per_micro)
        contract.funding_rounding += exact - booked
    _next_interval(state, command)
    judge_many(state, rows)
    gate.look_at_all(state)


def _next_interval(state: State, command: AccrueFunding) -> None:
    """Where the venue shortens intervals after a rate at its cap, what follows this one (EX-06)."""
    policy = state.policy.funding
    terms = None if policy is None else policy.terms.get(command.contract)
    if terms is not None and terms.shortening is not None:
        cadence = state.cadences.get(command.contract, Cadence(terms.interval))
        state.cadences[command.contract] = cadence.after(terms, command.rate, state.time)


def book_funding(state: State, command: BookFunding) -> None:
    """Accrued funding becomes cash (US-14). What an isolated position pays comes out of what its customer has free, if
    the rulebook says so, and out of its own margin as far as that does not go (EX-06)."""
    book = state.book
    from_balance = state.policy.funding is not None and state.policy.funding.from_balance
    rows = book.column("accrued").nonzero()[0]
    amounts = book.accrued[rows]
    state.check_cash_of(rows, amounts)
    parents = {row: book.parent[row] for row in rows[amounts < 0].tolist() if from_balance and row in book.parent}
    apart = np.isin(rows, [*parents, *parents.values()])  # who is concerned by somebody's payment, one after another
    book.accrued[rows[~apart]] = 0
    post_all(state, rows[~apart], amounts[~apart], "funding")
    for row in sorted(rows[apart].tolist(), key=book.ids.__getitem__):
        amount, book.accrued[row] = int(book.accrued[row]), 0
        state.post_signed(row, books.CLEARING_HOUSE, amount, "funding")
        if row in parents:
            _pay_from_balance(state, row, parents[row], -amount)
    for contract in state.contracts.values():
        state.post_rounding(contract.funding_rounding, "funding")
        contract.funding_rounding = 0
    judge_many(state, np.concatenate((rows, np.array([*parents.values()], np.int64))))
    gate.look_at_all(state)


def _pay_from_balance(state: State, row: int, parent: int, micros: int) -> None:
    """Move an isolated position's payment from its customer's free cash, as far as that goes."""
    paid = min(micros, withdrawable(state, parent))
    if paid > 0:
        state.post(parent, books.CUSTOMER_CASH, books.TRANSFER, paid, "funding of an isolated position")
        state.post(row, books.TRANSFER, books.CUSTOMER_CASH, paid, "funding of an isolated position")
        brakes.move(state, parent, -paid)


def settle(state: State, command: Settle) -> None:
    """Open trade equity at the settlement price becomes cash; cost starts anew from there (US-24)."""
    contracts = state.live_whole(command.contract)
    _check_mark(contracts, command.price_ticks)
    rows = _settle(state, contracts, command.price_ticks, "daily settlement", close=False)
    for contract in contracts:
        contract.settlement = command.price_ticks
    judge_many(state, rows)
    gate.look_at_all(state)


def expire(state: State, command: Expire) -> None:
    """Final settlement closes every position at the price, and the contract takes nothing more (US-24)."""
    contracts = state.live_whole(command.contract)
    _check_mark(contracts, command.price_ticks)
    rows = list(map(int, _settle(state, contracts, command.price_ticks, "final settlement", close=True)))
    for contract in contracts:
        contract.expired = True
    names = [contract.contract.name for contract in contracts]
    for row in list(state.book.working):
        for name in names:
            state.cancel_orders(row, "expired", name)
    for row, active in state.book.close_outs.items():
        for order_id in [o for o, (name, _) in active.outstanding.items() if name in names]:
            del active.outstanding[order_id]
            del state.order_owner[order_id]
            state.emit(CancelOrders(state.book.ids[row], (order_id,), "expired"))
            rows.append(row)
    judge_rows(state, rows)


def _settle(state: State, contracts: Sequence[ContractState], price: int, reason: str, *, close: bool) -> Column:
    """Every holder realises what lies between cost and price. Returns their rows."""
    facts, profit = contracts[0].contract, np.zeros(state.book.count, np.int64)
    for contract in contracts:
        own, lots, cost = contract.held()
        profit[own] += facts.profit(price, lots, cost)
    rows = _rows(state, contracts)
    state.check_cash_of(rows, profit[rows])
    for contract in contracts:
        own, lots, cost = contract.held()
        value = facts.value(price, lots)
        _store(contract, own, value, close=close)
        if close:
            state.events += [Notice(state.book.ids[int(row)], "expiry", contract.contract.name) for row in own]
        realise_all(state, own, contract, value - cost, reason)
    return rows


def _store(contract: ContractState, rows: Column, value: Column, *, close: bool) -> None:
    """The holders' cost becomes the value, or nothing is held any more."""
    table, at = contract.positions, contract.rows[: contract.count]
    at = at[table.lots[at] != 0]
    table.cost[at] = 0 if close else value
    if close:
        table.lots[at] = contract.long_lots = 0
    table.changes += 1
    table.touch(rows)


def announce_expiry(state: State, command: AnnounceExpiry) -> None:
    """The last trade or the roll comes nearer: every holder is told (US-24)."""
    contracts = state.live_whole(command.contract)
    for row in sorted(_holders(contracts), key=state.book.ids.__getitem__):
        state.emit(Notice(state.book.ids[row], "expiry_warning", command.what))


def business_day(state: State, command: BusinessDay) -> None:
    """Debts age and, where the rulebook says so, earn interest; the day's variation is paid, margin calls are made
    and age (US-13, US-17)."""
    book, policy = state.book, state.policy.receivable
    rows = sorted(book.debts, key=book.ids.__getitem__)
    interest = {row: mul_div_ceil(int(book.receivable[row]), policy.daily_interest, RATE) for row in rows}
    for row in rows:
        state.check_cash(row, -interest[row])
    for row in rows:
        book.debts[row].business_days += 1
        state.post(row, books.RECEIVABLE, books.FEES, interest[row], "interest on a deficit")
        changed_receivable(state, row, f"business day {command.date}")
    book.column("won")[:] = 0
    variation = state.ledger.balances[books.CLEARING_HOUSE]
    if variation > 0:
        state.post(-1, books.SEGREGATED_BANK, books.CLEARING_HOUSE, variation, "variation received")
    elif variation < 0:
        state.post(-1, books.CLEARING_HOUSE, books.SEGREGATED_BANK, -variation, "variation paid")
    margin_calls.business_day(state)
    judge_rows(state, rows)
