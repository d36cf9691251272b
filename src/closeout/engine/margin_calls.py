"""Margin calls: issued, aged by business days, met or closed (US-17).

A day's calls come with the `BusinessDay` that follows its close: that is a call's first business day.
"""

from __future__ import annotations

from closeout.core.margin import below
from closeout.engine import scan
from closeout.engine.book import MarginCall
from closeout.engine.events import MarginCallChanged, Notice
from closeout.engine.state import State

CHARGED_FROM = 3
"""The business day from which an open call is a capital charge: not met by the close of the second."""
CLOSING_ONLY_AFTER = 5
"""After more business days only orders that reduce risk."""


def business_day(state: State) -> None:
    """Calls that stand grow a day older; accounts below maintenance margin without one get one."""
    book = state.book
    short = {int(row) for row in scan.undermargined(state)} - book.house
    for row in sorted(short | book.calls.keys(), key=book.ids.__getitem__):
        if row not in book.calls:
            _issue(state, row)
            continue
        look(state, row)
        call = book.calls.get(row)
        if call is not None:
            call.business_days += 1
            call.micros = _missing(state, row)
            _tell(state, row, call, "aged")


def look(state: State, row: int) -> None:
    """A call is met as soon as net liq covers initial margin, and closed when the account is flat."""
    call = state.book.calls.get(row)
    if call is None:
        return
    if not state.holds(row):
        status = "closed"
    elif not below(state.risk(row).net_liq, state.initial(row)):
        status = "met"
    else:
        return
    del state.book.calls[row]
    call.micros = 0
    _tell(state, row, call, status)
    if status == "met":
        state.emit(Notice(state.book.ids[row], "margin_call_met", call.call_id))


def overdue(state: State, row: int) -> bool:
    call = state.book.calls.get(row)
    return call is not None and call.business_days > CLOSING_ONLY_AFTER


def _issue(state: State, row: int) -> None:
    """Where a rulebook asks for less initial than maintenance margin there can be nothing to call for."""
    account_id, missing = state.book.ids[row], _missing(state, row)
    if missing <= 0:
        return
    call = state.book.calls[row] = MarginCall(f"{state.place}m-{account_id}", 1, missing)
    state.emit(Notice(account_id, "margin_call", state.policy.currency.text(missing)))
    _tell(state, row, call, "issued")


def _missing(state: State, row: int) -> int:
    return state.initial(row) - state.risk(row).net_liq


def _tell(state: State, row: int, call: MarginCall, status: str) -> None:
    charged = call.business_days >= CHARGED_FROM
    state.emit(MarginCallChanged(state.book.ids[row], call.call_id, status, call.micros, call.business_days, charged))
