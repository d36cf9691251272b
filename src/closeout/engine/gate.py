"""Withdrawals wait where a rulebook says so: while an account with positions is below zero, and a while after (EX-02).

Whoever is below zero stands at liquidate-only or below it: only these are looked at. The engine looks after each batch
of marks, once everybody is judged, and at each withdrawal; it remembers the last batch at which it saw one. A flat
account below zero is no longer one by then: the waterfall has had it.
"""

from __future__ import annotations

import numpy as np

from closeout.core.margin import Level
from closeout.engine.state import State


def look(state: State) -> None:
    """Remember that an account is below zero now."""
    if state.policy.withdrawal_gate is not None and _below_zero(state):
        state.below_zero_at = state.time


def closed(state: State) -> bool:
    """Whether nothing can be withdrawn now."""
    gate, seen = state.policy.withdrawal_gate, state.below_zero_at
    if gate is None:
        return False
    return (seen is not None and state.time - seen < gate) or _below_zero(state)


def _below_zero(state: State) -> bool:
    book = state.book
    rows = np.flatnonzero(book.column("level") >= Level.LIQUIDATE_ONLY).tolist()
    return any(row not in book.house and state.risk(row).net_liq < 0 and state.holdings(row) for row in rows)
