"""Reports, and the back office's file of the morning (US-22, US-26)."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator
from datetime import date
from hashlib import blake2b
from typing import Any, Literal

from msgspec import Struct

from closeout.engine.book import HOUSE
from closeout.engine.commands import Reconcile
from closeout.engine.events import Reconciled
from closeout.service.api import money
from closeout.service.api.problems import Problem, invalid
from closeout.service.api.route import Answer, Call, route
from closeout.service.api.schema import Body, Listed, View
from closeout.service.writer import Answer as Applied

CHUNK = 200
"""Accounts in one offer: an order check waits for no more than that."""


class ReportQuery(Body, frozen=True, kw_only=True):
    date: date
    format: Literal["csv", "html"] = "html"


@route("GET", "/v1/reports", Listed)
async def list_reports(call: Call) -> Any:
    """The reports that there are, and their dates."""
    return {"items": list(await asyncio.to_thread(call.context.reports.available)), "next": None}


@route("GET", "/v1/reports/{name}", str, query=ReportQuery, media=("text/csv", "text/html"))
async def get_report(call: Call) -> Answer:
    """One day's report."""
    name, query = call.path["name"], call.query
    made = await asyncio.to_thread(call.context.reports.render, name, query.date, query.format)
    if made is None:
        raise Problem(404, "unknown_report", f"no report {name!r} of {query.date}")
    content_type, body = made
    return Answer(body, content_type=content_type.encode("latin-1"))


# -- reconciliation ----------------------------------------------------------------------------------


class Difference(Struct, frozen=True, kw_only=True):
    account_id: str
    item: str
    ours: str
    theirs: str


class Reconciliation(View, frozen=True, kw_only=True):
    """`not_in_file` accounts of the book were taken as having nothing there."""

    file: str
    accounts: int
    agreed: int
    not_in_file: int
    differences: list[Difference]


@route("POST", "/v1/reconciliation", Reconciliation, file="text/csv")
async def reconcile(call: Call) -> Reconciliation:
    """Compare the book with a file: columns ``account_id,item,value``, where an item is ``cash`` or a contract. The
    file is checked in full before anything is done."""
    file = blake2b(call.body, digest_size=8).hexdigest()
    given = dict(_read(call, call.body))
    book = call.state.book
    own = sorted(account_id for account_id in book.ids if account_id not in HOUSE)
    commands = [Reconcile(name, *given.get(name, (0, {})), file, call.by) for name in own]
    answers: list[Applied] = []
    for start in range(0, len(commands), CHUNK):  # a key of a client's own has no space in it
        key = f"{call.idempotency_key} {start}"
        answers += (await call.offer(*commands[start : start + CHUNK], key=key)).answers
    told = [event for answer in answers for event in answer.events if isinstance(event, Reconciled)]
    differences = [
        _difference(call, event.account_id, what, pair) for event in told for what, pair in event.differences.items()
    ]
    agreed = sum(not event.differences for event in told)
    missing = sum(event.account_id not in given for event in told)
    return Reconciliation(file=file, accounts=len(told), agreed=agreed, not_in_file=missing, differences=differences)


def _difference(call: Call, account_id: str, what: str, pair: tuple[int, int]) -> Difference:
    text = call.currency.text if what == "cash" else call.state.contracts[what].contract.quantity_text
    return Difference(account_id=account_id, item=what, ours=text(pair[0]), theirs=text(pair[1]))


def _read(call: Call, raw: bytes) -> Iterator[tuple[str, tuple[int, dict[str, int]]]]:
    """Cash and lots by account; a problem names the row."""
    found: dict[str, tuple[list[int], dict[str, int]]] = {}
    for number, (account_id, item, value) in _rows(raw):
        row = f"row {number}"
        if account_id not in call.state.book.row or account_id in HOUSE:
            raise invalid(f"{row}: account_id: no account {account_id[:128]!r}", row)
        cash, lots = found.setdefault(account_id, ([], {}))
        if item == "cash":
            if cash:
                raise invalid(f"{row}: cash of {account_id} stands twice", row)
            cash.append(money.micros(call.currency, value, row))
        elif item in call.state.contracts:
            if item in lots:
                raise invalid(f"{row}: {item} of {account_id} stands twice", row)
            lots[item] = money.lots(call.state.contracts[item].contract, value, row)
        else:
            raise invalid(f"{row}: item: expected cash or a contract, not {item[:128]!r}", row)
    for account_id, (cash, lots) in found.items():
        if not cash:
            raise invalid(f"account {account_id}: there is no row for its cash")
        yield account_id, (cash[0], lots)


def _rows(raw: bytes) -> Iterator[tuple[int, list[str]]]:
    """The file's rows, numbered as its lines are."""
    try:
        lines = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        header = next(lines, None)
        if header != ["account_id", "item", "value"]:
            raise invalid("row 1: expected the columns account_id,item,value", "row 1")
        for row in lines:
            if row and len(row) != 3:
                raise invalid(f"row {lines.line_num}: expected three fields, not {len(row)}", f"row {lines.line_num}")
            if row:
                yield lines.line_num, row
    except UnicodeDecodeError:
        raise invalid("the file is not UTF-8") from None
    except csv.Error as error:
        raise invalid(f"the file is not CSV: {error}") from None
