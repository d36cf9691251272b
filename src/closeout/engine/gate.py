"""Withdrawals wait where a rulebook says so: while an account with positions is below zero, and a while after (EX-02).

Whoever is below zero stands at liquidate-only or below it: only these are looked at, and of them only those whose
positions all have a mark, since one at the bounded worst is a guess by which nobody else's money may be held back. What
stands when an input comes, or a batch of marks of a series, has stood until then, and is remembered with its time. A
flat account below zero is no longer one by then: the waterfall has had it, and a position that was taken over or
deleveraged by the input that took it below zero was never seen.
"""

from __future__ import annotations

import numpy as np

from closeout.core.margin import Level
from closeout.engine.state import State


def stands(state: State) -> bool:
    """Whether an account is below zero now, where that matters."""
    return state.policy.withdrawal_gate is not None and _below_zero(state)


def closed(state: State) -> bool:
    """Whether nothing can be withdrawn now."""
    gate, seen = state.policy.withdrawal_gate, state.below_zero_at
    if gate is None:
        return False
    return (seen is not None and state.time - seen < gate) or _below_zero(state)


def _below_zero(state: State) -> bool:
    book = state.book
    rows = np.flatnonzero(book.column("level") >= Level.LIQUIDATE_ONLY).tolist()
    below = (row for row in rows if row not in book.house and state.risk(row).net_liq < 0 and state.holdings(row))
    return any(not state.is_unpriced(row) for row in below)
