"""Whom a look must judge: by the trigger index, or by a full scan of all accounts (G-12, G-19).

There may be more of them than change, never fewer, and the order in which they are judged does not depend on who finds
them.
"""

from __future__ import annotations

import numpy as np

from closeout.core.margin import Level, below
from closeout.engine import brakes, closeout, scan
from closeout.engine.book import Column
from closeout.engine.state import Finder, State


def candidates(state: State) -> Column:
    """Rows of accounts whose stored level is not what it would be now, that have a plan to look at again, whose own
    brake trips, or that have met their margin call. What is seen so raises the brakes' peaks."""
    book, index = state.book, finder(state)
    own = book.brakes.column("account")
    if index is None:
        net_liq, found = scan.scanned(state)
        book.positions.moved.clear()
        braked = net_liq[own]
    else:
        found = index.changed()
        braked = index.net_liqs(own)
    rows = set(found.tolist())
    for row in book.stops:
        if not closeout.held(state, row):
            rows.add(row) if book.level[row] != Level.LIQUIDATING else rows.discard(row)
    if book.brakes.count:
        rows.update(brakes.found(state, braked).tolist())
    for row, close_out in book.close_outs.items():
        due = not close_out.outstanding or closeout.reopened(state, row, close_out)
        rows.add(row) if due else rows.discard(row)
    for row in book.calls:  # a call is met while close-out orders are out as well
        if not below(state.risk(row).net_liq, state.initial(row)):
            rows.add(row)
    return np.array(sorted(rows), np.int64)


def finder(state: State) -> Finder | None:
    """The index, made where the book has grown to its size; None below that."""
    if state.index is None and state.book.positions.count >= state.index_from:
        from closeout.engine.index import Index  # compiled: small books never wait for it

        state.index = Index.over(state)
    return state.index
