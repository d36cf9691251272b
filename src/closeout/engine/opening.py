"""A whole book at once: accounts with cash and positions, as columns (US-01, G-09).

It leads to what single commands would lead to, account by account: open, deposit, bring the positions in. All of it is
checked before anything is changed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from closeout.core.contracts import OutOfBounds
from closeout.core.units import MAX_VALUE
from closeout.engine import ledger as books
from closeout.engine.book import HOUSE, Column, ContractState
from closeout.engine.candidates import candidates
from closeout.engine.commands import OpenBook
from closeout.engine.events import Posted
from closeout.engine.judge import judge_rows
from closeout.engine.state import Reject, State


def pack(accounts: Iterable[tuple[str, int]], positions: Iterable[tuple[str, str, int, int]]) -> OpenBook:
    """Accounts by id with cash in micros, and positions: account, contract, signed lots, cost in units."""
    cash = dict(accounts)
    places = {account_id: place for place, account_id in enumerate(cash)}
    names: dict[str, int] = {}
    rows = [(places[owner], names.setdefault(name, len(names)), lots, cost) for owner, name, lots, cost in positions]
    columns = [np.array([row[field] for row in rows], "<i8").tobytes() for field in range(4)]
    return OpenBook(tuple(cash), tuple(names), np.array(list(cash.values()), "<i8").tobytes(), *columns)


def open_book(state: State, command: OpenBook) -> None:
    """Take the accounts in; whoever is below a line with what he brings is judged at once."""
    cash, account, contract, lots, cost = _columns(command)
    _check_accounts(state, command.account_ids, cash)
    targets = [state.live_contract(name) for name in command.contracts]
    number = np.array([target.index for target in targets], np.int64)[contract]
    _check_positions(state, targets, account, number, lots, cost)

    book = state.book
    rows = account + book.add_all(command.account_ids)
    first, currency = book.count - len(cash), state.policy.currency.code
    book.column("cash")[first:] = cash
    for account_id, micros in zip(command.account_ids, cash.tolist(), strict=True):
        if micros:
            bank, customer = books.SEGREGATED_BANK, books.CUSTOMER_CASH
            state.emit(Posted(account_id, bank, customer, currency, micros, "deposit"))
    if total := sum(cash.tolist()):
        state.ledger.post(books.SEGREGATED_BANK, books.CUSTOMER_CASH, total)
    book.positions.load(rows, number, lots, cost)
    for target in targets:
        before = target.largest
        target.load()
        target.largest = max(before, target.largest)
    unpriced = rows[np.isin(number, [target.index for target in targets if target.mark is None])]
    found = np.concatenate([unpriced, candidates(state)])  # the scan does not look for what has no mark
    judge_rows(state, found[found >= first].tolist())


def _columns(command: OpenBook) -> tuple[Column, Column, Column, Column, Column]:
    packed = (command.cash, command.account, command.contract, command.lots, command.cost)
    if any(len(column) % 8 for column in packed):
        raise Reject("bad_book", "a column ends within a number")
    cash, account, contract, lots, cost = (np.frombuffer(column, "<i8") for column in packed)
    if len(cash) != len(command.account_ids) or len({len(column) for column in (account, contract, lots, cost)}) > 1:
        raise Reject("bad_book", "columns of different lengths")
    for column, names in ((account, command.account_ids), (contract, command.contracts)):
        if len(column) and (column.min() < 0 or column.max() >= len(names)):
            raise Reject("bad_book", f"a place beyond the {len(names)} names")
    return cash, account, contract, lots, cost


def _check_accounts(state: State, account_ids: tuple[str, ...], cash: Column) -> None:
    known = state.book.row
    taken = next((key for key in account_ids if not key or key in known or key in HOUSE), None)
    if taken is not None or len(set(account_ids)) < len(account_ids):
        raise Reject("duplicate_account", "an account stands twice" if taken is None else f"account {taken!r} exists")
    if len(cash) and (cash.min() < 0 or cash.max() > MAX_VALUE):
        raise Reject("out_of_bounds", f"cash that is not between 0 and {MAX_VALUE} micros")


def _check_positions(
    state: State, targets: list[ContractState], account: Column, number: Column, lots: Column, cost: Column
) -> None:
    if not lots.all():
        raise Reject("zero_quantity", "a position of nothing")
    if len(cost) and (cost.min() < -MAX_VALUE or cost.max() > MAX_VALUE):
        raise Reject("out_of_bounds", "cost beyond the bound on one position")
    places = np.sort(account * len(state.contracts) + number)
    if (places[1:] == places[:-1]).any():
        raise Reject("position_twice", "an account has two positions in one contract")
    for target in targets:
        own = lots[number == target.index]
        largest = max(int(own.max(initial=0)), -int(own.min(initial=0)))
        try:
            target.contract.check_bounds(1 if target.mark is None else target.mark, largest)
        except OutOfBounds as bound:
            raise Reject("out_of_bounds", str(bound)) from None
    sides = np.array([target.contract.side for target in state.contracts.values()], np.int64)[number]
    if (np.sign(lots) * sides < 0).any():
        raise Reject("wrong_leg", "a leg holds its own side alone")
    for target in targets:
        own = lots[number == target.index]
        largest = int(abs(own).max(initial=0))
        state.check_margin(target, target.tiers, state.most_news(target), largest)
