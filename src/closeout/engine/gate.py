"""Withdrawals wait where a rulebook says so: while an account with positions is below zero, and a while after (EX-02).

An account is below zero where its money and the positions that have a mark come to less than nothing; a position at the
bounded worst counts neither way, since nobody else's money may be held back by a guess. Whoever stands there at the end
of an input, or of a batch of a series, after takeovers and deleveraging, stands there until the next: so `stands`, when
it comes, is what is remembered with its time. A flat account below zero is no longer one by then: the waterfall has had
it, and a position that was taken over or deleveraged by the input that took it below zero was never seen.

`State.below_zero` is kept, not sought: a verdict looks at its own account, and what moves many without their verdicts,
marks, funding and settlement, at everybody at liquidate-only or below it, where whoever is below zero stands.
"""

from __future__ import annotations

import numpy as np

from closeout.core.margin import Level
from closeout.engine.state import State


def stands(state: State) -> bool:
    """Whether an account is below zero now, where that matters."""
    return bool(state.below_zero)


def closed(state: State) -> bool:
    """Whether nothing can be withdrawn now."""
    gate, seen = state.policy.withdrawal_gate, state.below_zero_at
    return gate is not None and (stands(state) or (seen is not None and state.time - seen < gate))


def look(state: State, row: int) -> None:
    """Note whether one account is below zero, once it is judged."""
    if state.policy.withdrawal_gate is None:
        return
    if _is_below_zero(state, row):
        state.below_zero.add(row)
    else:
        state.below_zero.discard(row)


def look_at_all(state: State) -> None:
    """Note who is below zero."""
    if state.policy.withdrawal_gate is not None:
        rows = np.flatnonzero(state.book.column("level") >= Level.LIQUIDATE_ONLY).tolist()
        state.below_zero = {row for row in rows if _is_below_zero(state, row)}


def _is_below_zero(state: State, row: int) -> bool:
    if state.book.level[row] < Level.LIQUIDATE_ONLY or row in state.book.house:
        return False
    held = state.holdings(row)
    priced = sum(holding.profit for holding in held if holding.mark is not None)
    return bool(held) and state.money(row).sum + priced < 0
