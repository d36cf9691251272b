"""What happened in a day: debts, liquidations and fees, by queries on the lists of the store (US-13, US-22)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, null, or_, select, union_all

from closeout.core.times import SECOND
from closeout.core.units import Currency
from closeout.engine import ledger as books
from closeout.engine.receipts import OTHER_CASH, OWN_BRAKE
from closeout.service.reports import catalogue
from closeout.service.reports.balances import accounts
from closeout.service.reports.catalogue import DEBTS, FEES, LIQUIDATIONS, Kind, Sheet
from closeout.service.reports.edition import Edition
from closeout.service.store.records import AccountDay
from closeout.service.store.schema import account_day, columns, deficit, posting, receipt, receivable_change

P, R = posting.c, receipt.c


def _in_day(time: ColumnElement[int], edition: Edition) -> ColumnElement[bool]:
    return and_(time >= edition.day.since, time < edition.day.until)


def _sum(which: ColumnElement[bool], amount: ColumnElement[int]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((which, amount), else_=0)), 0)


# -- fees ----------------------------------------------------------------------------------------------


def fees(store: Connection, edition: Edition) -> Sheet:
    """Everything that was posted to or from the ledger account `fees`, by reason."""
    query = (
        select(
            P.reason,
            _sum(P.credit == books.FEES, P.micros),
            _sum(P.debit == books.FEES, P.micros),
            func.count(),
            func.count(P.account_id.distinct()),
        )
        .where(_in_day(P.time, edition), or_(P.credit == books.FEES, P.debit == books.FEES))
        .group_by(P.reason)
        .order_by(P.reason)
    )
    rows: list[catalogue.Row] = [
        (kind, int(taken), int(returned), int(taken) - int(returned), postings, by)
        for kind, taken, returned, postings, by in store.execute(query)
    ]
    return Sheet.of(FEES, rows, order="by kind")


# -- debts ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Debt:
    """A debt's story up to an instant: `since` and `receipt_id` are of the deficit that began it."""

    owed: int = 0
    status: str = ""
    age: int = 0
    since: int | None = None
    receipt_id: str = ""


def debts(days: Connection, store: Connection, edition: Edition) -> Sheet:
    """Who owed at the day's end, who owed or paid in it, and who is below zero with nothing booked."""
    day = edition.day
    before, after = _standing(store, day.since), _standing(store, day.until)
    moved = {row.account_id: row for row in store.execute(_movements(edition))}
    below = {row.account_id: AccountDay(*row) for row in days.execute(_below_zero(day.text))}
    owing = {name for name, debt in after.items() if debt.owed}
    named = owing | {name for name, debt in before.items() if debt.owed} | moved.keys()
    known = below | accounts(days, day.text, named - below.keys())
    rows = [
        _debt_row(name, before.get(name), after.get(name), moved.get(name), known.get(name))
        for name in sorted(named | below.keys())
    ]
    rows.sort(key=lambda row: -row[7])
    return Sheet.of(DEBTS, rows, order="largest first", key=_ages(rows))


def _debt_row(
    name: str, before: _Debt | None, after: _Debt | None, moved: Any, account: AccountDay | None
) -> catalogue.Row:
    opening = before.owed if before else 0
    changes = (0, 0, 0, 0) if moved is None else tuple(int(amount) for amount in moved[1:])
    owner, net_liq = (account.owner, account.net_liq) if account else ("", 0)
    if after is None:
        return (name, owner, opening, *changes, 0, "in_debit", None, None, None, net_liq)
    return (
        name, owner, opening, *changes, after.owed, after.status, after.age, after.since, after.receipt_id, net_liq
    )  # fmt: skip


def _ages(rows: Iterable[catalogue.Row]) -> list[tuple[str, Any, Kind]]:
    """What is owed, by age in business days."""
    by_age: dict[str, int] = defaultdict(int)
    for row in rows:
        if row[7]:
            by_age["up to 1 day" if row[9] <= 1 else "2 to 5 days" if row[9] <= 5 else "over 5 days"] += row[7]
    ages = [(f"owed, {age}", by_age[age], Kind.MONEY) for age in ("up to 1 day", "2 to 5 days", "over 5 days")]
    return [("owed", sum(by_age.values()), Kind.MONEY), *ages]


def _below_zero(date: str) -> Any:
    a = account_day.c
    return select(*columns(account_day, AccountDay)).where(a.date == date, a.net_liq < 0, a.receivable == 0)


def _movements(edition: Edition) -> Any:
    """Per account what was booked, charged, paid and written off."""
    charged, forgiven = P.credit == books.FEES, P.debit == books.WRITTEN_OFF
    to, off = P.debit == books.RECEIVABLE, P.credit == books.RECEIVABLE
    return (
        select(
            P.account_id,
            _sum(to & ~charged, P.micros),
            _sum(to & charged, P.micros),
            _sum(off & ~forgiven, P.micros),
            _sum(off & forgiven, P.micros),
        )
        .where(_in_day(P.time, edition), or_(to, off))
        .group_by(P.account_id)
    )


def _standing(store: Connection, until: int) -> dict[str, _Debt]:
    """Every debt that there ever was, as it stood at an instant.

    A debt that is settled ends; what is booked afterwards is a new one (`number`). Of each the query gives the first
    deficit and the last change, and of each account the last word.
    """
    told = union_all(
        select(*_place(deficit), deficit.c.total, literal(1).label("booked"), deficit.c.receipt_id,
               null().label("status"), literal(0).label("business_days")).where(deficit.c.time < until),
        select(*_place(receivable_change), receivable_change.c.total, literal(0), literal(""),
               receivable_change.c.status, receivable_change.c.business_days).where(receivable_change.c.time < until),
    ).subquery().c  # fmt: skip
    order = (told.seq, told.idx)
    ends = case((told.total == 0, 1), else_=0)
    number = func.sum(ends).over(partition_by=told.account_id, order_by=order, rows=(None, 0)) - ends
    counted = select(*told, number.label("number")).subquery().c
    own = (counted.account_id, counted.number, counted.booked)
    order, back = (counted.seq, counted.idx), (counted.seq.desc(), counted.idx.desc())
    numbered = select(
        *counted,
        func.row_number().over(partition_by=counted.account_id, order_by=back).label("last"),
        func.row_number().over(partition_by=own, order_by=order).label("first_of_kind"),
        func.row_number().over(partition_by=own, order_by=back).label("last_of_kind"),
        func.max(counted.number).over(partition_by=counted.account_id).label("latest"),
    ).subquery().c  # fmt: skip
    query = select(*numbered).where(
        numbered.number == numbered.latest,
        or_(
            numbered["last"] == 1,
            and_(numbered.booked == 1, numbered.first_of_kind == 1),
            and_(numbered.booked == 0, numbered.last_of_kind == 1),
        ),
    )
    found: dict[str, _Debt] = defaultdict(_Debt)
    for row in store.execute(query.order_by(numbered.account_id, *(numbered.seq, numbered.idx))):
        debt = found[row.account_id]
        debt.owed = row.total  # in order: the last word stays
        if row.booked and debt.since is None:
            debt.since, debt.receipt_id, debt.status = row.time, row.receipt_id, debt.status or "demanded"
        if not row.booked:
            debt.status, debt.age = row.status, row.business_days
    return dict(found)


def _place(table: Any) -> list[ColumnElement[Any]]:
    return [table.c.seq, table.c.idx, table.c.time, table.c.account_id]


# -- liquidations --------------------------------------------------------------------------------------


def liquidations(store: Connection, edition: Edition) -> Sheet:
    """The close-outs whose receipts were issued in the day."""
    currency = edition.state.policy.currency
    issued = select(R.receipt_id, R.kind, R.time, R.document).where(
        _in_day(R.time, edition), R.kind.in_(("close_out", OWN_BRAKE))
    )
    corrections: dict[str, list[str]] = defaultdict(list)
    query = select(R.receipt_id, R.supersedes).where(R.time >= edition.day.since, R.supersedes != "")
    for name, corrected in store.execute(query.order_by(R.seq, R.idx)):
        corrections[corrected].append(name)
    rows = [
        _liquidation_row(row, currency, " ".join(corrections.get(row.receipt_id, ())))
        for row in store.execute(issued.order_by(R.seq, R.idx))
    ]
    running = len(edition.state.book.close_outs)
    key: list[tuple[str, Any, Kind]] = [
        ("ended in the day", len(rows), Kind.NUMBER),
        ("under way now", running, Kind.NUMBER),
        ("deficits", sum(row[15] for row in rows), Kind.MONEY),
        ("owed by customers", sum(row[17] for row in rows), Kind.MONEY),
    ]
    return Sheet.of(LIQUIDATIONS, rows, order="as they ended", key=key)


def _liquidation_row(row: Any, currency: Currency, corrected_by: str) -> catalogue.Row:
    document: dict[str, Any] = msgspec.json.decode(row.document)
    trigger, orders = document["trigger"], document["orders"]
    fills = [fill for order in orders for fill in order["fills"]]
    micros = currency.micros_of_text
    borne = sum(micros(part["amount"]) for part in document["borne_by"] if part["party"] == OTHER_CASH)
    return (
        row.receipt_id, document["account_id"], document["owner"], row.kind, instant_of(trigger["time"]), row.time,
        trigger["cause"], document["end"]["how"], micros(trigger["net_liq"]), micros(trigger["requirement"]),
        micros(trigger["line"]), len(orders), sum(micros(fill["profit"]) for fill in fills),
        sum(micros(fill["fee"]) for fill in fills), micros(document["liquidation_fee"]), micros(document["deficit"]),
        borne, micros(document["owed"]), corrected_by,
    )  # fmt: skip


def instant_of(text: str) -> int:
    """The nanoseconds of `core.times.time_text`."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * SECOND + int(fraction.ljust(9, "0") or 0)
