"""Lists out of the store, a page at a time: what was posted, ordered, filled, told, alarmed, owed and done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from closeout.adapters.notices import wording
from closeout.core.units import InputError
from closeout.service.api import documents
from closeout.service.api.accounts import ReceivableView, receivable
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.problems import Problem, invalid
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, Limit, Listed, Name, PageQuery, StoreCursor, View
from closeout.service.store import NotFound, Query, records

Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339")]
InstantText = Annotated[
    str,
    Meta(
        pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
        extra_json_schema={"format": "date-time"},
        examples=["2026-02-05T14:30:00Z"],
    ),
]
"""For the query, where a number would pass as an instant too."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ListQuery(Body, frozen=True, kw_only=True):
    """`since` <= time < `until`."""

    limit: Limit = 100
    cursor: StoreCursor | UnsetType = UNSET
    since: InstantText | UnsetType = UNSET
    until: InstantText | UnsetType = UNSET
    newest_first: bool = False


class AlarmsQuery(ListQuery, frozen=True, kw_only=True):
    """`acknowledged` false: those that nobody has seen to."""

    acknowledged: bool | UnsetType = UNSET


def nanoseconds(instant: datetime) -> int:
    """UTC nanoseconds, as near as 64 bits have them."""
    since = instant - _EPOCH
    exact = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    return max(-(2**63), min(exact, 2**63 - 1))


def instant_of(text: str | UnsetType, name: str) -> int | None:
    """Nanoseconds of a query parameter; None where it is left out."""
    if text is UNSET:
        return None
    try:
        return nanoseconds(msgspec.convert(text, Instant))
    except msgspec.ValidationError as error:
        raise invalid(str(error), name) from None


async def page(call: Call, record: type[Struct], account_id: str | None = None, **matching: Any) -> dict[str, Any]:
    """A page of one of the store's lists, as the call's parameters ask for it."""
    asked: ListQuery = call.query
    query = Query(
        account_id,
        instant_of(asked.since, "since"),
        instant_of(asked.until, "until"),
        matching,
        asked.newest_first,
        None if asked.cursor is UNSET else asked.cursor,
        asked.limit,
    )
    try:
        found = await asyncio.to_thread(call.context.store.page, record, query)
    except InputError as error:
        raise invalid(str(error), "cursor") from None
    return {"items": [documents.document(call.state, item) for item in found.items], "next": found.cursor}


@route("GET", f"{ACCOUNT}/statement", Listed, query=ListQuery)
async def list_postings(call: Call) -> Any:
    """Every movement of the account's money, as posted in the ledger."""
    return await page(call, records.Posting, call.account())


@route("GET", f"{ACCOUNT}/receipts", Listed, query=ListQuery)
async def list_account_receipts(call: Call) -> Any:
    """Receipts of the account's close-outs and corrections (G-11)."""
    return await page(call, records.Receipt, call.account())


@route("GET", f"{ACCOUNT}/margin-calls", Listed, query=ListQuery)
async def list_account_margin_calls(call: Call) -> Any:
    """What became of the account's margin calls (US-17)."""
    return await page(call, records.MarginCall, call.account())


@route("GET", f"{ACCOUNT}/notices", Listed, query=ListQuery)
async def list_notices(call: Call) -> Any:
    """What the account was told."""
    return await page(call, records.Notice, call.account())


@route("GET", f"{ACCOUNT}/orders", Listed, query=ListQuery)
async def list_orders(call: Call) -> Any:
    """Orders that were checked, and those of close-outs. Working ones are in the account's assessment."""
    return await page(call, records.Order, call.account())


@route("GET", f"{ACCOUNT}/fills", Listed, query=ListQuery)
async def list_fills(call: Call) -> Any:
    """The account's executions."""
    return await page(call, records.Fill, call.account())


@route("GET", "/v1/receipts", Listed, query=ListQuery)
async def list_receipts(call: Call) -> Any:
    """Receipts of all accounts."""
    return await page(call, records.Receipt)


class ReceiptView(View, frozen=True, kw_only=True):
    """`document` is the receipt as it was issued, `text` the letter that was mailed about it."""

    receipt_id: str
    account_id: str
    seq: int
    time: str
    kind: str
    supersedes: str
    document: dict[str, Any]
    text: str


@route("GET", "/v1/receipts/{receipt_id}", ReceiptView)
async def get_receipt(call: Call) -> Any:
    """One receipt."""
    receipt_id = call.path["receipt_id"]
    found = await asyncio.to_thread(call.context.store.receipt, receipt_id)
    row = None if found is None else call.state.book.row.get(found.account_id)
    if found is None or (call.is_customer and (row is None or not call.owns(row))):
        raise Problem(404, "unknown_receipt", f"no receipt {receipt_id!r}")
    shown = documents.document(call.state, found)
    return shown | {"text": wording.receipt_letter(shown["document"], wording.About(found.time, call.currency)).text}


@route("GET", "/v1/deficits", Listed, query=ListQuery)
async def list_deficits(call: Call) -> Any:
    """Deficits as they were booked (US-13)."""
    return await page(call, records.Deficit)


@route("GET", "/v1/alarms", Listed, query=AlarmsQuery)
async def list_alarms(call: Call) -> Any:
    """What the desk must look at; `alarm_id` names one."""
    wanted = call.query.acknowledged
    matching = {"acknowledged_by": ""} if wanted is False else {}
    found = await page(call, records.Alarm, **matching)
    items = [{"alarm_id": f"{item['seq']}.{item['idx']}", **item} for item in found["items"]]
    if wanted is True:
        items = [item for item in items if item["acknowledged_by"]]
    return {**found, "items": items}


class AlarmView(View, frozen=True, kw_only=True):
    alarm_id: str
    acknowledged_by: str
    acknowledged_at: str | None


@route("POST", "/v1/alarms/{alarm_id}/acknowledge", AlarmView)
async def acknowledge_alarm(call: Call) -> Any:
    """Note that somebody has seen to an alarm. The first one stays."""
    store, alarm_id = call.context.store, call.path["alarm_id"]
    try:
        alarm = await asyncio.to_thread(store.acknowledge, alarm_id, call.by, call.now())
    except NotFound as error:
        raise Problem(404, "unknown_alarm", str(error)) from None
    return {"alarm_id": alarm_id, **documents.document(call.state, alarm)}


@route("GET", "/v1/acts", Listed, query=ListQuery)
async def list_acts(call: Call) -> Any:
    """What was done with a key, by whom and why, in the journal's order; amounts in the engine's own units."""
    return await page(call, records.Act)


@route("GET", "/v1/audit", Listed, query=ListQuery)
async def list_audit(call: Call) -> Any:
    """The access log: every write, and every refusal at the door."""
    return await page(call, records.AuditEntry)


# -- what stands now ---------------------------------------------------------------------------------


class Receivables(View, frozen=True, kw_only=True):
    items: list[ReceivableView]
    next: str | None = None


class OwingQuery(PageQuery, frozen=True, kw_only=True):
    status: Name | UnsetType = UNSET


@route("GET", "/v1/receivables", Receivables, query=OwingQuery)
async def list_receivables(call: Call) -> Any:
    """Who owes what now, by account id."""
    book = call.state.book
    rows = sorted((int(row) for row in book.column("receivable").nonzero()[0]), key=book.ids.__getitem__)
    views = [receivable(call, row) for row in rows if book.ids[row] > call.query.cursor]
    views = [view for view in views if call.query.status in (UNSET, view.status)]
    return standing(views, call.query.limit)


@route("GET", "/v1/margin-calls", Listed, query=PageQuery)
async def list_margin_calls(call: Call) -> Any:
    """Margin calls that stand now, by account id (US-17)."""
    book, text = call.state.book, call.currency.text
    rows = sorted(book.calls, key=book.ids.__getitem__)
    items = [
        {
            "account_id": book.ids[row],
            "owner": book.owner_of(row),
            "call_id": book.calls[row].call_id,
            "amount": text(book.calls[row].micros),
            "business_days": book.calls[row].business_days,
            "capital_charge": book.calls[row].business_days >= 3,
        }
        for row in rows
        if book.ids[row] > call.query.cursor and row not in book.house
    ]
    return standing(items, call.query.limit)


def standing(items: list[Any], limit: int) -> dict[str, Any]:
    """The first of a list by account id."""
    shown: list[dict[str, Any]] = [msgspec.to_builtins(item) for item in items[:limit]]
    return {"items": shown, "next": shown[-1]["account_id"] if len(items) > limit else None}
