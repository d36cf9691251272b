"""What is reported of accounts: margin, and who is undermargined, by queries on `account_day` (US-17, US-22)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import Connection, case, create_engine, func, insert, select
from sqlalchemy.pool import StaticPool

from closeout.engine.margin_calls import CHARGED_FROM
from closeout.engine.receipts import usage
from closeout.service.reports import catalogue
from closeout.service.reports.catalogue import MARGIN, MOST, UNDERMARGINED, Kind, Sheet
from closeout.service.reports.edition import Edition
from closeout.service.store.records import AccountDay
from closeout.service.store.schema import account_day, columns, margin_call

A = account_day.c
AT_ONCE = 500
STANDING = ("issued", "changed", "aged")


@contextmanager
def in_memory(date: str, rows: Iterable[AccountDay]) -> Generator[Connection]:
    """A database of its own with a day's accounts, for a day that is not over."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.begin() as connection:
            account_day.create(connection)
            left = iter(rows)
            while chunk := [{"date": date, **asdict(row)} for row in islice(left, AT_ONCE)]:
                connection.execute(insert(account_day), chunk)
            yield connection
    finally:
        engine.dispose()


def accounts(days: Connection, date: str, ids: Iterable[str]) -> dict[str, AccountDay]:
    """The accounts of these ids that the day has."""
    found: dict[str, AccountDay] = {}
    left = iter(ids)
    while chunk := list(islice(left, AT_ONCE)):
        query = select(*columns(account_day, AccountDay)).where(A.date == date, A.account_id.in_(chunk))
        found |= {row.account_id: AccountDay(*row) for row in days.execute(query)}
    return found


# -- margin --------------------------------------------------------------------------------------------


def margin(days: Connection, edition: Edition) -> Sheet:
    """Every account; the page begins with the largest deficits."""
    date = edition.day.text
    query = select(*columns(account_day, AccountDay)).where(A.date == date)
    excess = A.net_liq - A.requirement

    def rows() -> Iterator[catalogue.Row]:
        lines = days.execution_options(yield_per=AT_ONCE).execute(query.order_by(A.account_id))
        return map(_margin_row, lines)

    worst = days.execute(query.order_by(excess, A.account_id).limit(MOST))
    total = days.execute(
        select(
            func.count(),
            func.sum(A.net_liq),
            func.sum(A.requirement),
            func.sum(case((A.net_liq < A.requirement, 1), else_=0)),
            func.sum(case((A.net_liq < A.requirement, A.requirement - A.net_liq), else_=0)),
        ).where(A.date == date)
    ).one()
    count, net_liq, requirement, short, deficit = (int(value or 0) for value in total)
    levels = days.execute(select(A.level, func.count()).where(A.date == date).group_by(A.level))
    by_level = {level: int(number) for level, number in levels}
    key: list[tuple[str, Any, Kind]] = [
        ("accounts", count, Kind.NUMBER),
        ("net liq of all", net_liq, Kind.MONEY),
        ("required of all", requirement, Kind.MONEY),
        ("accounts in deficit", short, Kind.NUMBER),
        ("their deficits", deficit, Kind.MONEY),
        *((name.replace("_", " "), by_level[name], Kind.NUMBER) for name in LEVELS if name in by_level),
    ]
    shown = [_margin_row(row) for row in worst]
    return Sheet(MARGIN, rows, shown, count, order="largest deficit first", key=key)


LEVELS = ("liquidating", "liquidate_only", "alert", "normal")


def _margin_row(row: Any) -> catalogue.Row:
    over = None if not row.requirement else usage(row.requirement, row.net_liq) or "over"
    return (
        row.account_id, row.owner, row.net_liq, row.requirement, row.initial, row.maintenance,
        row.net_liq - row.requirement, over, row.level, row.flags, row.cash, row.accrued, row.pending, row.receivable,
        row.liquidations,
    )  # fmt: skip


# -- undermargined accounts ----------------------------------------------------------------------------


def undermargined(days: Connection, store: Connection, edition: Edition) -> Sheet:
    """Accounts below maintenance margin, those with a call, and those whose calls ended in the day."""
    date = edition.day.text
    calls: dict[str, list[Any]] = defaultdict(list)
    for row in _calls(store, edition):
        calls[row.account_id].append(row)
    query = select(*columns(account_day, AccountDay)).where(
        A.date == date, A.maintenance > 0, A.net_liq < A.maintenance
    )
    found = {row.account_id: AccountDay(*row) for row in days.execute(query)}
    found |= accounts(days, date, calls.keys() - found.keys())
    # At the close of a call's second day it is not met: from then on, and not from the next morning on, it is charged.
    charged_from = CHARGED_FROM - (edition.as_of >= edition.day.until)
    rows: list[catalogue.Row] = []
    for account_id in sorted(found.keys() | calls.keys()):
        *earlier, last = calls.get(account_id) or [None]
        owner = found[account_id].owner if account_id in found else ""
        rows += [(account_id, owner, *(None,) * 5, *_told(call), None) for call in earlier]
        rows.append(_account_row(account_id, found.get(account_id), last, charged_from))
    key: list[tuple[str, Any, Kind]] = [
        ("undermargined accounts", sum(bool(row[5]) for row in rows), Kind.NUMBER),
        ("undermargined amount", sum(row[5] or 0 for row in rows), Kind.MONEY),
        ("calls that stand", sum(row[8] in STANDING for row in rows), Kind.NUMBER),
        ("capital charge", sum(row[12] or 0 for row in rows), Kind.MONEY),
    ]
    return Sheet.of(UNDERMARGINED, rows, order="by account", key=key)


def _calls(store: Connection, edition: Edition) -> Iterable[Any]:
    """The last word on each call that stands or that ended in the day, and when it was issued; by account and age."""
    call, day = margin_call.c, edition.day
    told = select(
        *call,
        func.min(call.time).over(partition_by=call.call_id).label("issued"),
        func.row_number().over(partition_by=call.call_id, order_by=(call.seq.desc(), call.idx.desc())).label("back"),
    ).where(call.seq <= edition.seq)
    last = told.subquery().c
    ended = (last.time >= day.since) & (last.time < day.until)
    return store.execute(
        select(*last).where(last.back == 1, last.status.in_(STANDING) | ended)
        .order_by(last.account_id, last.seq, last.idx)
    ).all()  # fmt: skip


def _told(call: Any) -> catalogue.Row:
    return (call.call_id, call.status, call.micros, call.issued, call.business_days)


def _account_row(account_id: str, account: AccountDay | None, call: Any, charged_from: int) -> catalogue.Row:
    """An account with its last call."""
    if account is None:  # an isolated position that was closed: nothing is left of it
        owner, net_liq, maintenance, initial = "", 0, 0, 0
    else:
        owner, net_liq, maintenance, initial = account.owner, account.net_liq, account.maintenance, account.initial
    lacking = max(0, maintenance - max(0, net_liq))
    debit = max(0, -net_liq) if lacking else 0
    charged = call is not None and call.status in STANDING and call.business_days >= charged_from
    told = (None,) * 5 if call is None else _told(call)
    return (account_id, owner, net_liq, maintenance, initial, lacking, debit, *told, lacking if charged else 0)
