"""Where the book's risk is concentrated: the contracts that are held and by whom most, and the largest owners (US-28).

The positions of the suspense account are nobody's and are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from closeout.core.times import time_text
from closeout.core.units import RATE, mul_div_ceil, rate_text
from closeout.engine import scan
from closeout.engine.book import Column, ContractState
from closeout.engine.state import State
from closeout.service.listing import Roster, Scans


def document(state: State, count: int, now: int, scans: Scans, roster: Roster) -> dict[str, Any]:
    """The contracts with any position, the largest notional first, and the `count` owners with the largest."""
    book = state.book
    head = np.arange(book.count)
    if book.parent:
        head[[*book.parent]] = [*book.parent.values()]
    total = np.zeros(book.count, np.int64)
    contracts: list[tuple[int, dict[str, Any]]] = []
    for contract, rows, lots, _, value in scan.positions(state):
        own = ~np.isin(rows, [*book.house])
        accounts, lots, value = head[rows[own]], lots[own], value[own]
        if accounts.size:
            np.add.at(total, accounts, value)
            contracts.append((int(value.sum()), _contract(state, contract, accounts, lots, value)))
    contracts.sort(key=lambda found: -found[0])
    return {
        "as_of": time_text(now),
        "currency": state.policy.currency.code,
        "contracts": [found for _, found in contracts],
        "owners": _owners(state, total, count, scans, roster),
    }


def _contract(state: State, contract: ContractState, accounts: Column, lots: Column, value: Column) -> dict[str, Any]:
    """One contract's positions by their customers' accounts: both sides, and the largest account, isolated positions
    included."""
    book, facts, text = state.book, contract.contract, state.policy.currency.text
    holders, of = np.unique(accounts, return_inverse=True)
    by_account = np.zeros((2, len(holders)), np.int64)
    np.add.at(by_account[0], of, value)
    np.add.at(by_account[1], of, lots)
    place = int(by_account[0].argmax())
    largest, long = int(holders[place]), lots > 0
    return {
        "contract": facts.name,
        "mark": None if contract.mark is None else facts.price_text(contract.mark),
        "long": facts.quantity_text(int(lots[long].sum())),
        "short": facts.quantity_text(int(-lots[~long].sum())),
        "long_notional": text(int(value[long].sum())),
        "short_notional": text(int(value[~long].sum())),
        "holders": len(holders),
        "largest": {
            "account_id": book.ids[largest],
            "owner": book.owner_of(largest),
            "quantity": facts.quantity_text(int(by_account[1][place])),
            "notional": text(int(by_account[0][place])),
            "share": _share(int(by_account[0][place]), int(value.sum())),
        },
    }


def _owners(state: State, total: Column, count: int, scans: Scans, roster: Roster) -> list[dict[str, Any]]:
    """The owners with the largest gross notional, of equal ones the one whose account was opened first."""
    book, text, figures = state.book, state.policy.currency.text, scans.figures(state)
    owner = roster.owners(book)
    columns = [total, figures.net_liq, figures.requirement, book.column("receivable")]
    own = owner >= 0
    sums = np.zeros((len(columns) + 1, int(owner.max(initial=-1)) + 1), np.int64)
    for place, column in enumerate([*columns, np.ones(book.count, np.int64)]):
        np.add.at(sums[place], owner[own], column[own])
    holding = np.flatnonzero(sums[0])
    first = holding[np.argsort(-sums[0][holding], kind="stable")[:count]].tolist()
    whole = int(total.sum())
    found: list[dict[str, Any]] = []
    for index in first:
        notional, net_liq, requirement, owed, accounts = (int(column[index]) for column in sums)
        rows = np.flatnonzero(owner == index)
        found.append({
            "owner": book.owner.get(int(rows[0]), ""),
            "account_id": book.ids[int(rows[0])] if accounts == 1 else None,
            "accounts": accounts,
            "net_liq": text(net_liq),
            "requirement": text(requirement),
            "notional": text(notional),
            "share": _share(notional, whole),
            "owed": text(owed),
        })  # fmt: skip
    return found


def _share(part: int, whole: int) -> str:
    """Rounded up to 1e-9; nothing is no share of nothing."""
    return rate_text(mul_div_ceil(part, RATE, whole)) if whole else "0"
