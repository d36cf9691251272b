"""The customer's own brakes: loss limits and trailing drawdown, their lines and what a tripped one does (US-23).

A brake's line is a net liq. The account's own counts; isolated positions are accounts of their own and have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from closeout.core.margin import below
from closeout.core.risk import Risk
from closeout.engine.book import Brakes, Column, Flag
from closeout.engine.events import Notice
from closeout.engine.state import State

NEVER = -(2**62)
"""A line that no net liq is below; bases stay between it and its opposite."""

LIMITS = (
    ("daily loss limit", "daily_loss", "base_day"),
    ("weekly loss limit", "weekly_loss", "base_week"),
    ("trailing drawdown", "trailing_drawdown", "peak"),
)
"""Each brake's name, the column of its loss and that of the net liq it counts from."""


def found(state: State, own: Column) -> Column:
    """Account rows whose brake trips at these net liqs, one for each row of the brakes. Peaks are raised first: every
    account is seen."""
    brakes, flags = state.book.brakes, state.book.column("flags")
    rows = brakes.column("account")
    peak = brakes.column("peak")
    known = ~_unpriced(state, rows)
    peak[:] = np.where(known, np.maximum(peak, own), peak)
    tripped: Any = known & below(own, _lines(brakes)) & ((flags[rows] & Flag.STOPPED) == 0)
    return rows[tripped]


def _lines(brakes: Brakes) -> Column:
    line = np.full(brakes.count, NEVER, np.int64)
    for _, loss, base in LIMITS:
        lost = brakes.column(loss)
        np.maximum(line, np.where(lost > 0, brakes.column(base) - lost, NEVER), out=line)
    return line


def _unpriced(state: State, rows: Column) -> Any:
    """For each of these account rows whether it holds a contract that has no mark."""
    without = [contract for contract in state.contracts.values() if contract.mark is None and contract.count]
    if not without:
        return np.zeros(len(rows), bool)
    mask = np.zeros(state.book.count, bool)
    for contract in without:
        mask[contract.holders()] = True
    return mask[rows]


def watch(state: State, row: int) -> None:
    """The highest net liq since the setting, as far as it is known."""
    brakes = state.book.brakes
    slot = brakes.slot.get(row)
    if slot is not None and not state.book.has(row, Flag.UNPRICED):
        brakes.peak[slot] = max(int(brakes.peak[slot]), state.risk(row).net_liq)


def trip(state: State, row: int, risk: Risk) -> None:
    """Stop the account where a brake's line is crossed. The caller has brought `unpriced` up to date."""
    book = state.book
    slot = book.brakes.slot.get(row)
    if slot is None or book.has(row, Flag.STOPPED) or book.has(row, Flag.UNPRICED):
        return
    for name, loss, base in LIMITS:
        lost = int(book.brakes.column(loss)[slot])
        if lost and below(risk.net_liq, int(book.brakes.column(base)[slot]) - lost):
            stop(state, row, name)
            return


def stop(state: State, row: int, reason: str) -> None:
    """No opening orders before the next trade date; what is held is to be closed out."""
    account_id = state.book.ids[row]
    state.set_flag(row, Flag.STOPPED, True, reason)
    state.emit(Notice(account_id, "stopped", reason))
    state.cancel_orders(row, "stopped")
    if state.holds(row):
        state.book.stops[row] = reason


def move(state: State, row: int, micros: int) -> None:
    """Money that came in or went out (below zero) is neither profit nor loss."""
    brakes = state.book.brakes
    slot = brakes.slot.get(row)
    if slot is not None:
        for name in ("base_day", "base_week", "peak"):
            column = brakes.column(name)
            column[slot] = max(NEVER, min(-NEVER, int(column[slot]) + micros))
