"""The weekly stress: every account after a move of the market (US-18, US-19, US-22; 17 CFR 1.73).

For each move all accounts are valued at the moved marks under today's terms. Who is below the auto-liquidation line
there is closed out at those marks, fees paid; what an isolated position leaves behind its account's cash pays first.
The arithmetic is that of `core.outlook.could_owe`, over columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from closeout.core.margin import Level, held_requirement
from closeout.core.outlook import WORST_GAPS, gapped
from closeout.core.risk import Holding, level_of, lines_of
from closeout.core.units import RATE
from closeout.engine.book import Column
from closeout.engine.scan import Requirements
from closeout.engine.state import State
from closeout.rulebooks.policy import Policy
from closeout.service.reports.figures import held

ALL = "all contracts"
STEPS = tuple(percent * RATE // 100 for percent in range(-20, 25, 5))
"""Moves of all contracts together; 0 shows the book as it stands."""
LARGEST = 10
"""Debts that are listed for each move."""


@dataclass(frozen=True, slots=True)
class Move:
    """A move (a rate) of the contracts named; `what` says where it comes from."""

    rate: int
    what: str
    contracts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Debt:
    """What a customer would owe in micros, and how much of it is new; `net_liq` is the present one, isolated positions
    included."""

    account_id: str
    owner: str
    owed: int
    new: int
    net_liq: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """After one move, in micros: accounts closed out and owing, what they owe in all and anew, and the variation that
    the firm would have to pay the clearing house (below zero: would get)."""

    move: Move
    closed_out: int
    would_owe: int
    debts: int
    new_debts: int
    variation: int
    largest: tuple[Debt, ...]

    @property
    def cash_needed(self) -> int:
        """What the firm must have in cash at once: the new debts, which it covers, and the variation."""
        return self.new_debts + max(0, self.variation)


def contracts_of(policy: Policy, market: str) -> tuple[str, ...]:
    """The contracts that a market's gap moves: the one of its name, and those that its prices may mark."""
    return tuple(
        name
        for name, rules in policy.contracts.items()
        if rules.contract.market == market or market in policy.contracts[rules.contract.market].stands_for
    )


def moves(policy: Policy) -> list[Move]:
    """The steps of all contracts, then the worst gaps on record of the contracts that the rulebook has."""
    every = tuple(policy.contracts)
    found = [Move(step, ALL, every) for step in STEPS]
    gaps = ((gap, contracts_of(policy, gap.what.partition(",")[0])) for gap in WORST_GAPS)
    return found + [Move(gap.move, gap.what, names) for gap, names in gaps if names]


def stress(state: State) -> list[Outcome]:
    """Each move's outcome over all accounts of a frozen state."""
    before = Before.of(state)
    return [outcome(state, before, move) for move in moves(state.policy)]


def marks_after(state: State, move: Move) -> dict[str, int | None]:
    """Every contract's mark after the move; the contracts that it is not of stand still."""
    marks = {name: contract.mark for name, contract in state.contracts.items()}
    for name in move.contracts:
        contract = state.contracts[name]
        marks[name] = gapped(Holding(contract.contract, contract.terms, 1, 0, contract.mark), move.rate).mark
    return marks


@dataclass(frozen=True, slots=True)
class _Moved:
    """All accounts at the moved marks: columns of micros."""

    net_liq: Column
    lines: Any
    holds: Any
    fees: Column
    profit: int


def _moved(state: State, marks: Mapping[str, int | None]) -> _Moved:
    book = state.book
    net_liq = book.column("cash") + book.column("accrued") - book.column("pending") - book.column("receivable")
    fees, holds = np.zeros(book.count, np.int64), np.zeros(book.count, bool)
    by_window = Requirements(state.book.count)
    profit = 0
    for part in held(state, marks):
        contract, rows = part.contract, part.rows
        net_liq[rows] += part.profit
        holds[rows] = True
        profit += int(part.profit.sum())
        required = held_requirement(contract.terms, part.lots, part.required_on)
        by_window.add(contract.window, contract, rows, part.lots, required)
        if part.mark is not None:
            fees[rows] += contract.contract.trade_fee(part.mark, part.lots)  # pyright: ignore[reportArgumentType]
    return _Moved(net_liq, lines_of(by_window.netted()), holds, fees, profit)


@dataclass(frozen=True, slots=True)
class Before:
    """What every move begins with. Of each row the row of its customer's account (its own, or its parent's), whether it
    is an isolated position, the fee of its next liquidation, and what the customer has now, isolated positions
    included; `profit` is all open profit in micros."""

    head: Column
    isolated: Any
    fee: Column
    net_liq: Column
    profit: int

    @classmethod
    def of(cls, state: State) -> Before:
        book, policy = state.book, state.policy
        now = _moved(state, {name: contract.mark for name, contract in state.contracts.items()})
        head = np.arange(book.count)
        isolated = np.zeros(book.count, bool)
        if book.parent:
            children = np.fromiter(book.parent, np.int64, len(book.parent))
            head[children] = np.fromiter(book.parent.values(), np.int64, len(book.parent))
            isolated[children] = True
        first = book.column("liquidations") == 0
        fee = np.where(first, policy.liquidation_fee.first, policy.liquidation_fee.later)
        for row, active in book.close_outs.items():
            if active.fee or active.own:  # it is among the pending fees already, or there is none
                fee[row] = 0
        net_liq = np.zeros(book.count, np.int64)
        np.add.at(net_liq, head, now.net_liq)
        return cls(head, isolated, fee, net_liq, now.profit)


def outcome(state: State, before: Before, move: Move) -> Outcome:
    """One move's outcome over all accounts of the state that `before` was made of."""
    book, now = state.book, _moved(state, marks_after(state, move))
    cash, owing = book.column("cash"), book.column("receivable")
    after = now.net_liq - now.fees - before.fee
    # What an isolated position leaves goes to its account, or is taken from it, before that one is judged.
    gone = before.isolated & _below_line(state, now, now.net_liq)
    left = np.zeros(book.count, np.int64)
    np.add.at(left, before.head[gone], after[gone])
    unpaid = np.maximum(0, -left - np.maximum(0, cash))
    net_liq = now.net_liq + left
    closed: Any = gone | (~before.isolated & _below_line(state, now, net_liq))
    owed: Any = np.where(closed, np.maximum(0, -(after + left)), owing + unpaid)
    owed = np.where(now.holds, owed, np.maximum(0, -net_liq))
    suspense = np.isin(np.arange(book.count), [*book.house])
    owed[before.isolated | suspense] = 0
    new = np.maximum(0, owed - owing)
    hit = np.zeros(book.count, bool)
    hit[before.head[closed & ~suspense]] = True
    return Outcome(
        move,
        int(np.count_nonzero(hit)),
        int(np.count_nonzero(owed)),
        sum(owed[owed > 0].tolist()),
        sum(new[new > 0].tolist()),
        before.profit - now.profit,
        _largest(state, before, owed, new),
    )


def _below_line(state: State, now: _Moved, net_liq: Column) -> Any:
    return level_of(net_liq, now.lines, now.holds, state.policy.net_liq_floor) == Level.LIQUIDATING


def _largest(state: State, before: Before, owed: Any, new: Any) -> tuple[Debt, ...]:
    """The largest debts, largest first; of equal ones the account opened first."""
    book = state.book
    found = np.flatnonzero(owed)
    rows: list[int] = found[np.argsort(-owed[found], kind="stable")[:LARGEST]].tolist()
    return tuple(
        Debt(book.ids[row], book.owner_of(row), int(owed[row]), int(new[row]), int(before.net_liq[row])) for row in rows
    )
