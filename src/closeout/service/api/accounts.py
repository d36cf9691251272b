"""Accounts: opening, what they hold and owe, the customer's settings (US-01, US-06, US-18, US-23)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Any

import numpy as np
from msgspec import UNSET, Meta, UnsetType, field

from closeout.engine.book import HOUSE, Flag
from closeout.engine.commands import OpenAccount, SetValidation
from closeout.service import listing
from closeout.service.api import money
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.problems import invalid
from closeout.service.api.route import Answer, Call, encode, route
from closeout.service.api.schema import Body, Id, Listed, Name, PageQuery, View, Written, written


class NewAccount(Body, frozen=True, kw_only=True):
    """`parent` makes it an isolated position of that account, called ``PARENT/NAME``; other ids have no slash.
    `leverage` by contract only sets initial margin."""

    account_id: Id
    owner: Name | None = None
    validate_with_intraday: bool = True
    parent: Id | None = None
    leverage: dict[Name, money.RateText] = field(default_factory=dict[str, str])


class AccountsQuery(PageQuery, frozen=True, kw_only=True):
    """`flag` is one of the labels in an account's `flags`."""

    level: Annotated[str, Meta(pattern="^(normal|alert|liquidate_only|liquidating)$")] | UnsetType = UNSET
    flag: Name | UnsetType = UNSET
    owner: Name | UnsetType = UNSET


class Validation(Body, frozen=True, kw_only=True):
    """The toggle "Validate order size using intraday margin"."""

    with_intraday: bool


class Document(View, frozen=True, kw_only=True):
    """An account's assessment: the document of `closeout quote`, with `account`, its own facts."""

    account_id: str
    currency: str
    as_of: str
    net_liq: str
    requirement: str
    usage: str | None
    state: dict[str, Any]
    positions: list[dict[str, Any]]
    could_owe: list[dict[str, Any]]
    look_ahead: dict[str, Any] | None
    account: dict[str, Any]


@route("GET", "/v1/accounts", Listed, query=AccountsQuery)
async def list_accounts(call: Call) -> Any:
    """Accounts by id, a line each; a customer's own."""
    from closeout.service import views

    query: AccountsQuery = call.query
    book = call.state.book
    ids = _ids(call, query)
    first = bisect_right(ids, query.cursor)
    shown = ids[first : first + query.limit]
    items = views.summaries(call.state, [book.row[account_id] for account_id in shown], call.now())
    return {"items": items, "next": shown[-1] if first + query.limit < len(ids) else None}


def _ids(call: Call, query: AccountsQuery) -> list[str]:
    """The ids that the filters leave, sorted. Isolated positions are in their account's line."""
    book = call.state.book
    if call.is_customer:
        mask = np.zeros(book.count, bool)
        mask[[book.row[own] for own in call.person.accounts if own in book.row]] = True
    elif query.level is UNSET and query.flag is UNSET and query.owner is UNSET:
        return call.context.roster.ids(book)
    else:
        mask = listing.customers(book)
    flag = None if query.flag is UNSET else flag_of(query.flag)
    mask = listing.narrow(book, mask, query.level, flag, query.owner)
    return sorted(book.ids[row] for row in np.flatnonzero(mask).tolist())


def flag_of(label: str) -> Flag:
    if label not in listing.FLAGS:
        raise invalid(f"expected one of {', '.join(listing.FLAGS)}", "flag")
    return listing.FLAGS[label]


@route("POST", "/v1/accounts", Written, body=NewAccount, status=201)
async def open_account(call: Call) -> Written:
    """Open an account."""
    body: NewAccount = call.body
    _check_id(call, body)
    leverage = {name: money.rate(text, f"/leverage/{name}") for name, text in body.leverage.items()}
    command = OpenAccount(body.account_id, body.owner or "", body.validate_with_intraday, body.parent, leverage)
    return written(await call.offer(command))


def _check_id(call: Call, body: NewAccount) -> None:
    """An isolated position is known by its id: whose mail, events and lists it is in."""
    if body.account_id in HOUSE:
        raise invalid("that name is the service's own", "/account_id")
    parent, slash, name = body.account_id.partition("/")
    if body.parent is None:
        if slash:
            raise invalid("expected an id without a slash, or a parent", "/account_id")
    elif parent != body.parent or not name or "/" in name:
        raise invalid("expected PARENT/NAME for an isolated position", "/account_id")


@route("GET", ACCOUNT, Document)
async def get_account(call: Call) -> Answer:
    """An account's assessment, as of now. `ETag` is the journal's last input."""
    from closeout.service import views

    found = views.account_assessment(call.state, call.account(), call.now())
    return Answer(encode(found), headers=((b"etag", f'"{call.context.writer.seq}"'.encode()),))


@route("GET", f"{ACCOUNT}/positions", Listed)
async def list_positions(call: Call) -> Any:
    """The account's positions, isolated ones included."""
    from closeout.service import views

    return {"items": views.account_assessment(call.state, call.account(), call.now())["positions"], "next": None}


class Ahead(View, frozen=True, kw_only=True):
    look_ahead: dict[str, Any] | None


@route("GET", f"{ACCOUNT}/look-ahead", Ahead)
async def get_look_ahead(call: Call) -> Any:
    """The account under the windows that hold from the next switch on (US-27); null where none comes."""
    from closeout.service import views

    return {"look_ahead": views.account_assessment(call.state, call.account(), call.now())["look_ahead"]}


class ReceivableView(View, frozen=True, kw_only=True):
    """What the customer owes; `status` is null where nothing is owed."""

    account_id: str
    currency: str
    owed: str
    status: str | None
    business_days: int | None
    receipt_id: str | None


@route("GET", f"{ACCOUNT}/receivable", ReceivableView)
async def get_receivable(call: Call) -> Any:
    """What the account owes (US-13)."""
    return receivable(call, call.row(call.path["account_id"]))


def receivable(call: Call, row: int) -> ReceivableView:
    book = call.state.book
    debt = book.debts.get(row)
    return ReceivableView(
        account_id=book.ids[row],
        currency=call.currency.code,
        owed=call.currency.text(int(book.receivable[row])),
        status=None if debt is None else debt.status,
        business_days=None if debt is None else debt.business_days,
        receipt_id=None if debt is None else debt.receipt_id,
    )


@route("PUT", f"{ACCOUNT}/settings/validation", Written, body=Validation)
async def set_validation(call: Call) -> Written:
    """Move the toggle: it changes what new orders must fit, and nothing that is held (US-06)."""
    return written(await call.offer(SetValidation(call.account(), call.body.with_intraday)))
