"""Verdicts by full vectorised scan: which accounts would change level now (G-12, G-19).

`candidates` is the interface behind which a trigger index can stand: it may return more accounts than change, never
fewer, and the order in which they are judged does not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from closeout.core.margin import Level, Window, held_requirement
from closeout.core.risk import level_of, lines_of, unpriced
from closeout.engine import closeout
from closeout.engine.book import Column, Flag
from closeout.engine.state import State


def levels(state: State) -> tuple[Column, Column, Column]:
    """Net liq, requirement and level number of every account, by the same formulas as `core.risk.assess`."""
    book = state.book
    net_liq = book.column("cash") + book.column("accrued") - book.column("pending") - book.column("receivable")
    holds = np.zeros(book.count, bool)
    by_window: dict[Window, Any] = {}
    for contract in state.contracts.values():
        rows, lots, cost = (column[: contract.count] for column in (contract.account, contract.lots, contract.cost))
        held = lots != 0
        if not held.any():
            continue
        if not held.all():  # most contracts have no closed rows to leave out, and copying is dear
            rows, lots, cost = rows[held], lots[held], cost[held]
        facts = contract.contract
        if contract.mark is None:
            profit, notional = unpriced(facts, cost, state.policy.marks.unpriced_move)
        else:
            profit, notional = facts.profit(contract.mark, lots, cost), facts.notional(contract.mark, lots)
        # A row appears once per contract, so plain fancy indexing adds each exactly once.
        net_liq[rows] += profit
        holds[rows] = True
        if contract.window not in by_window:
            by_window[contract.window] = np.zeros(book.count, np.int64)
        by_window[contract.window][rows] += held_requirement(contract.terms, lots, notional)
    requirement = np.asarray(sum(by_window.values(), np.zeros(book.count, np.int64)))
    level = level_of(net_liq, lines_of(by_window), holds, state.policy.net_liq_floor)
    return net_liq, requirement, np.asarray(level, np.int64)


def candidates(state: State) -> Column:
    """Rows of accounts whose stored level is not what it would be now, or that have a plan to look at again."""
    book = state.book
    _, _, level = levels(state)
    flags = book.column("flags")
    kept_back = ((flags & Flag.HELD) != 0) & ((flags & Flag.LIQUIDATE_NOW) == 0) & (level == Level.LIQUIDATING)
    level[kept_back] = Level.LIQUIDATE_ONLY
    changed = level != book.column("level")
    for row, close_out in book.close_outs.items():
        changed[row] = not close_out.outstanding or closeout.reopened(state, row, close_out)
    return np.flatnonzero(changed)
