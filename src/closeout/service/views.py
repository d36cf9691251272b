"""What people see of the engine's state: plain documents made of it, at the instant of the call.

Every figure comes from the functions that the engine judges by, so that a screen cannot disagree with a verdict. Money,
prices and quantities are decimal strings, times RFC 3339.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from closeout.core.margin import Level, MarginKind, MarginTier, Window
from closeout.core.outlook import could_owe, shortfall
from closeout.core.risk import assess
from closeout.core.times import SECOND, time_text
from closeout.core.units import RATE, mul_div_ceil, rate_text
from closeout.engine import closeout, gate, scan
from closeout.engine.accounts import withdrawable
from closeout.engine.book import ContractState, Flag
from closeout.engine.orders import acknowledged
from closeout.engine.state import State
from closeout.rulebooks.margins import slope_text
from closeout.service import listing
from closeout.service.listing import Scans
from closeout.studies import assessment
from closeout.studies.assessment import Line, Part

TENTH = (-RATE // 10, RATE // 10)
"""The moves of all contracts that an account's line says what would be owed after."""


def children(state: State, row: int) -> list[int]:
    """The isolated positions of an account, by id."""
    return sorted(state.book.children.get(row, ()), key=state.book.ids.__getitem__)


def parts(state: State, row: int) -> list[Part]:
    """An account and its isolated positions, as they are judged now. Isolated accounts that are flat are left out."""
    found = [_part(state, row, isolated=row in state.book.parent)]
    return found + [part for child in children(state, row) if (part := _part(state, child, isolated=True)).lines]


def _part(state: State, row: int, *, isolated: bool) -> Part:
    lines: list[Line] = []
    for holding in state.holdings(row):
        contract = holding.contract
        session = state.contracts[contract.name].session
        lines.append(Line(holding, session, contract.name, contract.quantity_text(holding.lots), ""))
    return Part(isolated, state.money(row), lines, closeout.fee_to_come(state, row))


def account_assessment(state: State, account_id: str, now: int) -> dict[str, Any]:
    """One account in full: `closeout quote`'s document, live, with the account's own facts beside it."""
    row = state.row(account_id)
    found = parts(state, row)
    return {
        "account_id": account_id,
        "rulebook": state.policy.name,
        "rulebook_version": state.policy.version,
        "rulebook_digest": state.policy.digest,
        "currency": state.policy.currency.code,
        "as_of": time_text(now),
        **assessment.document(found, state.policy, now),
        "state": {"level": _level(state, row), "flags": flags(state, row)},
        "account": facts(state, row),
    }


def _level(state: State, row: int) -> str:
    return max(state.level(member) for member in (row, *children(state, row))).name.lower()


def flags(state: State, row: int) -> list[str]:
    """The account's flags in words, without the toggle, which is a setting."""
    return _labels(int(state.book.flags[row]) & ~Flag.INITIAL_ONLY)


def _labels(value: int) -> list[str]:
    return [flag.label for flag in Flag if value & flag]


def facts(state: State, row: int) -> dict[str, Any]:
    """What an account has beside its risk: money, settings, debts, working orders."""
    book, text = state.book, state.policy.currency.text
    debt = book.debts.get(row)
    return {
        "owner": book.owner.get(row, ""),
        "parent": None if row not in book.parent else book.ids[book.parent[row]],
        "cash": text(int(book.cash[row])),
        "accrued_funding": text(int(book.accrued[row])),
        "pending_fees": text(int(book.pending[row])),
        "withdrawable": text(0 if gate.closed(state) else withdrawable(state, row)),
        "validate_with_intraday": not book.has(row, Flag.INITIAL_ONLY),
        "disclosure": {"required": state.disclosure or None, "acknowledged": acknowledged(state, row) or None},
        "liquidations": int(book.liquidations[row]),
        "liquidating": None if row not in book.close_outs else book.close_outs[row].receipt_id,
        "receivable": {
            "owed": text(int(book.receivable[row])),
            "status": None if debt is None else debt.status,
            "business_days": None if debt is None else debt.business_days,
            "receipt_id": None if debt is None else debt.receipt_id,
        },
        "working_orders": [
            {
                "order_id": order.order_id,
                "contract": order.contract,
                "quantity": state.contracts[order.contract].contract.quantity_text(order.lots),
                "limit_price": None
                if order.limit_ticks is None
                else state.contracts[order.contract].contract.price_text(order.limit_ticks),
            }
            for order in book.working.get(row, {}).values()
        ],
        "contracts": {contract.contract.name: _market(state, contract) for contract in _concerned(state, row)},
    }


def _concerned(state: State, row: int) -> list[ContractState]:
    """The contracts that an account or an isolated position of it holds or has orders in, in the rulebook's order."""
    rows = [row, *children(state, row)]
    ordered = {order.contract for member in rows for order in state.book.working.get(member, {}).values()}
    return [
        contract
        for name, contract in state.contracts.items()
        if name in ordered or any(contract.position(member).lots for member in rows)
    ]


def _market(state: State, contract: ContractState) -> dict[str, Any]:
    """What an owner sees of a contract: its mark, how far that is to be believed, and what holds in it now."""
    marked = contract.mark is not None
    return {
        "mark": None if contract.mark is None else contract.contract.price_text(contract.mark),
        "mark_time": time_text(contract.mark_time) if marked else None,
        "mark_source": contract.mark_source if marked else None,
        "grade": state.grade(contract),
        "window": contract.window.name,
        "is_open": contract.is_open,
        "halted": contract.halted,
        "news_multiplier": None if contract.news is None else rate_text(contract.news.multiplier),
        "stale_after_seconds": state.policy.marks.stale_after // SECOND,
    }


def rows_of(state: State) -> list[int]:
    """All accounts of customers, by id; isolated positions are shown with their accounts."""
    book = state.book
    return sorted(
        (row for row in range(book.count) if row not in book.parent and row not in book.house),
        key=book.ids.__getitem__,
    )


def summaries(state: State, rows: Iterable[int], now: int) -> list[dict[str, Any]]:
    """A line per account, for lists and the desk."""
    return list(map(liner(state, now), rows))


def liner(state: State, now: int) -> Callable[[int], dict[str, Any]]:
    """What makes an account's line, as of when it is called; the next windows are those as of `now`."""

    @cache
    def following(sessions: tuple[str, ...]) -> tuple[int, dict[str, Window]] | None:
        return assessment.next_windows(state.policy, sessions, now)

    def line(row: int) -> dict[str, Any]:
        members = parts(state, row)
        figures = assessment.figures(members, state.policy)
        largest = max((line for part in members for line in part.lines), key=_notional, default=None)
        return {
            "account_id": state.book.ids[row],
            "owner": state.book.owner.get(row, ""),
            "level": _level(state, row),
            "flags": flags(state, row),
            "net_liq": figures["net_liq"],
            "requirement": figures["requirement"],
            "usage": figures["usage"],
            "intraday_usage": figures["intraday_usage"],
            "initial_usage": figures["initial_usage"],
            "initial_margin": figures["initial_margin"],
            "estimated_liquidation_value": figures["estimated_liquidation_value"],
            "excess_intraday_margin": figures["excess_intraday_margin"],
            "excess_initial_margin": figures["excess_initial_margin"],
            "excess": figures["excess"],
            **_at_switch(state, members, following(assessment.sessions_of(members))),
            "owed": state.policy.currency.text(int(state.book.receivable[row])),
            "largest_position": None if largest is None else {"contract": largest.name, "quantity": largest.quantity},
            "unrealized_pnl": figures["open_trade_equity"],
            "notional": figures["notional"],
            "could_owe_10_percent": _owed_after_a_tenth(state, members),
        }

    return line


def _at_switch(
    state: State, members: Sequence[Part], ahead: tuple[int, dict[str, Window]] | None
) -> dict[str, str | None]:
    """Net liq less the requirement of the next window, and what the account will be short of in it."""
    text, floor = state.policy.currency.text, state.policy.net_liq_floor
    if ahead is None:
        return {"excess_at_switch": None, "short_at_switch": None}
    then = [part.account(ahead[1]) for part in members]
    risks = [assess(account.money, account.holdings, floor) for account in then]
    excess = sum(risk.net_liq - risk.requirement for risk in risks)
    return {"excess_at_switch": text(excess), "short_at_switch": text(shortfall(then[0], floor))}


def _owed_after_a_tenth(state: State, members: Sequence[Part]) -> str:
    """The most that the account would owe after a move of all contracts by a tenth, down or up (US-18)."""
    policy = state.policy
    cross, *isolated = [part.account() for part in members]
    owed = max(
        could_owe(
            cross, isolated, move, policy.net_liq_floor, policy.liquidation_fee.first,
            customer_owes=policy.customer_owes,
        )
        for move in TENTH
    )  # fmt: skip
    return policy.currency.text(owed)


def _notional(line: Line) -> int:
    return line.holding.notional


def riskiest(state: State, count: int, now: int, scans: Scans) -> list[dict[str, Any]]:
    """The accounts nearest to being closed out, or past it: by requirement / net liq, those at or below zero first.

    One vectorised pass over all accounts, then a line for each of the few.
    """
    return summaries(state, riskiest_rows(state, count, scans), now)


def riskiest_rows(state: State, count: int, scans: Scans) -> list[int]:
    """The rows of these accounts."""
    net_liq, requirement, _ = scans.levels(state)
    holds = np.flatnonzero(requirement > 0)
    owing = np.flatnonzero(state.book.column("receivable") > 0)
    # A ratio only orders the rows of a screen; no verdict is read from it.
    worth = net_liq[holds].astype(np.float64)
    ratio = np.where(worth > 0, requirement[holds] / np.maximum(worth, 1.0), np.inf)
    few = holds[listing.first([-ratio], 2 * count)].tolist()
    parent = state.book.parent
    rows = list(dict.fromkeys(parent.get(row, row) for row in [*few, *owing.tolist()]))
    return [row for row in rows if row not in state.book.house][:count]


def totals(state: State, now: int, scans: Scans) -> dict[str, Any]:
    """The whole book in one line: accounts by level and flag, what they are worth, must hold and owe together,
    close-outs under way; `desk` names the firm's switches that are on."""
    book, text = state.book, state.policy.currency.text
    levels = book.column("level")
    values = book.column("flags")
    own = int(state.book.count) - len(book.house)
    net_liq, requirement, _ = scans.levels(state)

    def of_customers(column: Any) -> str:
        return text(int(column.sum() - column[[*book.house]].sum()))

    return {
        "as_of": time_text(now),
        "currency": state.policy.currency.code,
        "accounts": own,
        "levels": {
            level.name.lower(): int((levels == level).sum()) - (level is Level.NORMAL) * len(book.house)
            for level in Level
        },
        "flags": {flag.label: int(((values & flag) != 0).sum()) for flag in Flag},
        "close_outs": len(book.close_outs),
        "working_orders": sum(map(len, book.working.values())),
        "net_liq": of_customers(net_liq),
        "requirement": of_customers(requirement),
        "open_trade_equity": of_customers(net_liq - scan.money(state)),
        "owed": text(int(book.column("receivable").sum())),
        "debtors": int((book.column("receivable") > 0).sum()),
        "cash": text(int(book.column("cash").sum())),
        "ledger": {name: text(balance) for name, balance in state.ledger.balances.items()},
        "ledger_imbalance": text(state.ledger.imbalance()),
        "desk": _labels(state.desk),
    }


def contracts(state: State, now: int) -> list[dict[str, Any]]:
    """What holds in each contract now."""
    return [contract_document(state, contract, now) for contract in state.contracts.values()]


def contract_document(state: State, contract: ContractState, now: int) -> dict[str, Any]:
    facts, text = contract.contract, state.policy.currency.text
    _, lots, _ = contract.held()
    one = None if contract.mark is None else _one(contract, contract.mark)
    news = contract.news
    return {
        "contract": facts.name,
        "kind": facts.kind.value,
        "tick": format(facts.tick, "f"),
        "lot": format(facts.lot, "f"),
        "contract_size": format(facts.contract_size, "f"),
        "mark": None if contract.mark is None else facts.price_text(contract.mark),
        "mark_source": contract.mark_source,
        "mark_time": None if contract.mark is None else time_text(contract.mark_time),
        "mark_age_seconds": None if contract.mark is None else max(0, now - contract.mark_time) // SECOND,
        "grade": state.grade(contract),
        "window": contract.window.name,
        "session": contract.session,
        "is_open": contract.is_open,
        "halted": contract.halted,
        "expired": contract.expired,
        "desk": _labels(contract.desk),
        "news_multiplier": None if news is None else rate_text(news.multiplier),
        "news_held": None if news is None else news.held,
        "margin_of_one_lot": None if one is None else {kind: text(micros) for kind, micros in one.items()},
        "tiers": [_tier(contract, tier, text) for tier in contract.tiers],
        "holders": int((lots != 0).sum()),
        "open_interest": facts.quantity_text(int(lots[lots > 0].sum())),
        "short_interest": facts.quantity_text(int(-lots[lots < 0].sum())),
    }


def _tier(contract: ContractState, tier: MarginTier, text: Any) -> dict[str, Any]:
    """A tier by the names of the rulebook file; margin per lot, which is the contract's smallest quantity."""
    shown: dict[str, Any] = {"notional_from": text(tier.notional_from)}
    for kind in MarginKind:
        name = kind.name.lower()
        shown[f"{name}_margin_rate"] = rate_text(tier.rate[kind])
        shown[f"{name}_margin_per_lot"] = text(tier.per_lot[kind])
    shown["maintenance_amount"] = text(tier.amount[MarginKind.MAINTENANCE])
    if amount := tier.amount[MarginKind.INITIAL]:
        shown["initial_amount"] = text(amount)
    for kind in (MarginKind.INITIAL, MarginKind.MAINTENANCE):
        if slope := tier.slope[kind]:
            word = "root" if slope.root else "slope"
            shown[f"{kind.name.lower()}_margin_{word}"] = slope_text(slope, contract.contract)
            if slope.within:
                shown["root_within_rate"] = rate_text(mul_div_ceil(slope.within, RATE, tier.rate[kind]))
    return shown


def _one(contract: ContractState, mark: int) -> dict[str, int]:
    from closeout.core.margin import margin_of

    notional = contract.contract.notional(mark, 1)
    return {kind.name.lower(): margin_of(contract.terms, kind, 1, notional) for kind in MarginKind}


# -- before the switch ---------------------------------------------------------------------------------


def next_switch(state: State, now: int) -> tuple[int, dict[str, Window]] | None:
    """The next change of window among the sessions of all contracts, and the windows that hold from then on."""
    used = sorted({contract.session for contract in state.contracts.values() if contract.session is not None})
    return assessment.next_windows(state.policy, used, now) if used else None


def look_ahead(state: State, now: int, count: int) -> dict[str, Any]:
    """The accounts that the next change of window finds short: how many, by how much together, and of the `count` with
    the largest shortfall what clears each (US-27)."""
    following, text = next_switch(state, now), state.policy.currency.text
    if following is None:
        return {"switch_at": None, "countdown_seconds": None, "matching": 0, "short": text(0), "items": []}
    switch, windows = following
    short = short_rows(state, windows)
    return {
        "switch_at": time_text(switch),
        "countdown_seconds": -((now - switch) // SECOND),
        "matching": len(short),
        "short": text(sum(short.values())),
        "items": [ahead_of(state, row, windows) for row in islice(short, count)],
    }


def short_rows(state: State, windows: dict[str, Window]) -> dict[int, int]:
    """Rows that would liquidate under these windows by session at the present marks, and what each is short of in
    micros: the largest shortfall first. One vectorised pass finds them."""
    short, ids = scan.shortfalls(state, windows), state.book.ids
    rows: list[int] = [row for row in np.flatnonzero(short).tolist() if row not in state.book.house]
    return {row: int(short[row]) for row in sorted(rows, key=lambda row: (-int(short[row]), ids[row]))}


def ahead_of(state: State, row: int, windows: dict[str, Window]) -> dict[str, Any]:
    """One account (an isolated position is one) under the windows of the switch, and what clears it."""
    part = _part(state, row, isolated=row in state.book.parent)
    return {
        "account_id": state.book.ids[row],
        "owner": state.book.owner.get(row, ""),
        "level_now": _level(state, row),
        "net_liq": state.policy.currency.text(part.risk(state.policy.net_liq_floor).net_liq),
        **assessment.part_ahead(part, windows, state.policy),
    }
