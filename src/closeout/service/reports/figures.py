"""A copy of the state that a thread may work on, and every account's figures from it.

The live state is only consistent between two awaits of the loop. The copy takes its columns in one go; what an account
is given once, when it is opened (its id and its owner), is not copied, for nothing ever changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np

from closeout.core.margin import Level, MarginKind, margin, margin_of, with_close_fee
from closeout.core.risk import unpriced
from closeout.core.units import RATE, mul_div_ceil
from closeout.engine import scan
from closeout.engine.book import Book, Column, ContractState, Flag, Positions
from closeout.engine.state import State
from closeout.service.store.records import AccountDay

SLICE = 2_000
"""Accounts whose columns become Python numbers at once: a million would stop every thread for a while."""


def freeze(state: State) -> State:
    """A state that stays as it is, for scans: columns, marks and terms."""
    book = state.book
    kept = Book(
        book.count, book.ids, house=set(book.house), row=book.row, owner=book.owner,
        parent=dict(book.parent), leverage=dict(book.leverage),
        close_outs={row: replace(active) for row, active in book.close_outs.items()},
    )  # fmt: skip
    for name in Book.COLUMNS:
        setattr(kept, name, book.column(name).copy())
    table = kept.positions
    table.count = book.positions.count
    for name in Positions.COLUMNS:
        setattr(table, name, getattr(book.positions, name)[: table.count].copy())
    table.first = book.positions.first.copy()
    contracts = {
        name: replace(contract, rows=contract.rows[: contract.count].copy(), positions=table)
        for name, contract in state.contracts.items()
    }
    return State(state.policy, b"", contracts, kept, desk=state.desk, time=state.time, seq=state.seq)


@dataclass(frozen=True, slots=True)
class Held:
    """The positions of one contract: account rows, lots, their profit and notional in micros, and the value that their
    requirements stand on. `mark` is None before the contract's first one, when positions stand at their bounded worst
    (G-18)."""

    contract: ContractState
    mark: int | None
    rows: Column
    lots: Column
    profit: Any
    notional: Any
    required_on: Any


def held(state: State, marks: Mapping[str, int | None] | None = None) -> Iterator[Held]:
    """Each contract that is held, at its own mark or at the one given."""
    for name, contract in state.contracts.items():
        rows, lots, cost = contract.held()
        if not rows.size:
            continue
        mark = contract.mark if marks is None else marks[name]
        facts = contract.contract
        if mark is None:
            profit, notional = unpriced(facts, cost, state.policy.marks.unpriced_move)
        else:
            profit, notional = facts.profit(mark, lots, cost), facts.notional(mark, lots)
        yield Held(contract, mark, rows, lots, profit, notional, scan.required_on(contract, cost, notional))


def account_days(state: State) -> Iterator[AccountDay]:
    """Every account as it stands. Isolated positions are accounts of their own; those that are flat and empty are left
    out, and so is the suspense account."""
    book = state.book
    net_liq, requirement, _ = scan.levels(state)
    initial, maintenance, holds = _margins(state)
    money = [book.column(name) for name in ("cash", "accrued", "pending", "receivable")]
    left_out = ~holds & ~np.any(money, axis=0)
    left_out &= np.isin(np.arange(book.count), list(book.parent))
    left_out[[*book.house]] = True
    levels = {int(level): level.name.lower() for level in Level}
    words = {int(value): flag_words(int(value)) for value in np.unique(book.column("flags"))}
    columns = [net_liq, requirement, initial, maintenance, *money]
    columns += [book.column(name) for name in ("level", "flags", "liquidations")]
    for start in range(0, book.count, SLICE):
        rows = zip(*(column[start : start + SLICE].tolist() for column in columns), strict=True)
        for row, (*amounts, level, flags, liquidations) in enumerate(rows, start):
            if left_out[row]:
                continue
            yield AccountDay(
                book.ids[row], book.owner_of(row), *amounts,
                level=levels[level], flags=words[flags], liquidations=liquidations,
            )  # fmt: skip


def flag_words(value: int) -> str:
    """The flags in words, without the toggle, which is a setting."""
    return " ".join(flag.label for flag in Flag if value & flag and flag is not Flag.INITIAL_ONLY)


def _margins(state: State) -> tuple[Column, Column, Any]:
    """Initial and maintenance margin of what every account holds, news left out, and who holds anything (US-17)."""
    initial, maintenance = scan.Requirements(state.book.count), scan.Requirements(state.book.count)
    holds = np.zeros(state.book.count, bool)
    leverage = _leverage(state)
    for part in held(state):
        terms, value = part.contract.terms, part.required_on
        holds[part.rows] = True
        maintained = margin_of(terms, MarginKind.MAINTENANCE, part.lots, value)
        maintenance.add(None, part.contract, part.rows, part.lots, maintained)
        required: Any = margin(terms.tiers, MarginKind.INITIAL, part.lots, value)
        named = leverage.get(part.contract.contract.name)
        if named is not None:
            own = named[part.rows]
            for rate in np.unique(own[own > 0]).tolist():
                mine = own == rate
                required[mine] = np.maximum(required[mine], _by_leverage(value[mine], rate))
        required = with_close_fee(terms, required, part.lots, value)
        initial.add(None, part.contract, part.rows, part.lots, required)
    return initial.together(), maintenance.together(), holds


def _leverage(state: State) -> dict[str, Column]:
    """Per contract the leverage (a rate, 0 = not set) that each account names for it."""
    found: dict[str, Column] = {}
    for row, by_contract in state.book.leverage.items():
        for name, value in by_contract.items():
            if name not in found:
                found[name] = np.zeros(state.book.count, np.int64)
            found[name][row] = value
    return found


def _by_leverage(notional: Column, leverage: int) -> Any:
    """ceil(notional / leverage), as `core.margin.initial_margin`; number by number where 64 bits are too few."""
    common = gcd(RATE, leverage)
    multiplier, divisor = RATE // common, leverage // common
    if multiplier * divisor < 2**63:
        return mul_div_ceil(notional, multiplier, divisor)
    return [mul_div_ceil(value, multiplier, divisor) for value in notional.tolist()]
