"""Postings of many accounts at once. Balances and events are those of one posting after another; the events of one
account keep their order, and between accounts there is none: what goes out is sorted by account (G-19)."""

from __future__ import annotations

import numpy as np

from closeout.core.units import exact_sum, floor_div
from closeout.engine import ledger as books
from closeout.engine.book import Column, ContractState
from closeout.engine.events import Posted
from closeout.engine.state import State


def post_all(state: State, rows: Column, micros: Column, reason: str) -> None:
    """Credit each account its micros against the clearing house, or debit it where they are below zero."""
    book, code = state.book, state.policy.currency.code
    own = np.isin(rows, list(book.house))
    for row, amount in zip(rows[own].tolist(), micros[own].tolist(), strict=True):
        state.post_signed(row, books.CLEARING_HOUSE, amount, reason)
    some = ~own & (micros != 0)
    rows, micros = rows[some], micros[some]
    total = exact_sum(micros)
    if total > 0:
        state.ledger.post(books.CLEARING_HOUSE, books.CUSTOMER_CASH, total)
    elif total < 0:
        state.ledger.post(books.CUSTOMER_CASH, books.CLEARING_HOUSE, -total)
    book.cash[rows] += micros
    listed: list[int] = rows.tolist()
    amounts: list[int] = micros.tolist()
    book.positions.touch(rows)
    state.events += [
        Posted(book.ids[row], books.CLEARING_HOUSE, books.CUSTOMER_CASH, code, amount, reason)
        if amount > 0
        else Posted(book.ids[row], books.CUSTOMER_CASH, books.CLEARING_HOUSE, code, -amount, reason)
        for row, amount in zip(listed, amounts, strict=True)
    ]


def realise_all(state: State, rows: Column, contract: ContractState, units: Column, reason: str) -> None:
    """`State.realise` of each, in this order: what rounding leaves of one is the next one's."""
    per_micro = contract.contract.units_per_micro
    micros = floor_div(units, per_micro)
    left = contract.profit_residue + exact_sum(units - micros * per_micro)  # of each less than a micro
    whole, contract.profit_residue = divmod(left, per_micro)
    state.book.won[rows] += micros
    post_all(state, rows, micros, reason)
    for _ in range(whole):
        state.post_rounding(1, reason)
