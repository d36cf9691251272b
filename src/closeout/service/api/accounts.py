"""Accounts: opening, what they hold and owe, the customer's settings (US-01, US-06, US-18, US-23)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from closeout.engine.book import SUSPENSE, Flag
from closeout.engine.commands import OpenAccount, SetValidation
from closeout.engine.state import State
from closeout.service.api import money
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.problems import invalid
from closeout.service.api.route import Answer, Call, encode, route
from closeout.service.api.schema import AccountId, Body, Id, Listed, Name, PageQuery, View, Written, written


class NewAccount(Body, frozen=True, kw_only=True):
    """`parent` makes it an isolated position of that account; `leverage` by contract only sets initial margin."""

    account_id: AccountId
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

    state = call.state
    book, ids = state.book, state.book.ids
    if call.is_customer:
        rows = [book.row[own] for own in sorted(call.person.accounts) if own in book.row]
    else:
        rows = views.rows_of(state)
    found: list[int] = []
    query: AccountsQuery = call.query
    wanted = None if query.flag is UNSET else flag_of(query.flag)
    for row in rows:
        if ids[row] <= query.cursor or (query.owner is not UNSET and book.owner.get(row, "") != query.owner):
            continue
        if wanted is not None and not book.has(row, wanted):
            continue
        if query.level is not UNSET and _level(state, row) != query.level:
            continue
        found.append(row)
        if len(found) > query.limit:
            break
    items = views.summaries(state, found[: query.limit], call.now())
    return {"items": items, "next": ids[found[query.limit - 1]] if len(found) > query.limit else None}


def _level(state: State, row: int) -> str:
    """The worse of the account's own level and those of its isolated positions, as everywhere."""
    from closeout.service import views

    return max(state.level(member) for member in (row, *views.children(state, row))).name.lower()


def flag_of(label: str) -> Flag:
    for flag in Flag:
        if flag.label == label:
            return flag
    raise invalid(f"expected one of {', '.join(flag.label for flag in Flag)}", "flag")


@route("POST", "/v1/accounts", Written, body=NewAccount, status=201)
async def open_account(call: Call) -> Written:
    """Open an account."""
    body: NewAccount = call.body
    if body.account_id == SUSPENSE:
        raise invalid("that name is the service's own", "/account_id")
    leverage = {name: money.rate(text, f"/leverage/{name}") for name, text in body.leverage.items()}
    command = OpenAccount(body.account_id, body.owner or "", body.validate_with_intraday, body.parent, leverage)
    return written(await call.offer(command))


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
