"""Limits of accounts and owners, the customer's own brakes, and the disclosure (US-18, US-23, US-28)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from closeout.core.units import plain, rate_text
from closeout.engine.commands import (
    AcknowledgeDisclosure,
    GroupLimit,
    Limits,
    RiskSettings,
    SetLimits,
    SetRiskSettings,
)
from closeout.engine.limits import NONE, of_account
from closeout.service.api import money
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.problems import Problem
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, Name, Reason, View, Written, written


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `amount` of notional in these contracts together."""

    contracts: Annotated[list[Name], Meta(min_length=1, max_length=64)]
    amount: money.Amount


class LimitsBody(Body, frozen=True, kw_only=True):
    """All limits, in the place of those before; what is left out is not limited. Quantities are by contract; `collar`
    and `concentration_rate` are rates: an order's limit price at most so far beyond the mark, and margin on what is
    held beyond the concentration quantity. For an owner only the position quantities and groups count."""

    order_quantity: dict[Name, money.UnsignedQuantity] = field(default_factory=dict[str, str])
    position_quantity: dict[Name, money.UnsignedQuantity] = field(default_factory=dict[str, str])
    collar: money.RateText | None = None
    concentration_quantity: dict[Name, money.UnsignedQuantity] = field(default_factory=dict[str, str])
    concentration_rate: money.RateText = "0"
    groups: Annotated[list[Group], Meta(max_length=64)] = field(default_factory=list[Group])


class NewLimits(LimitsBody, frozen=True, kw_only=True):
    reason: Reason


class LimitsView(View, frozen=True, kw_only=True):
    scope: str
    name: str
    order_quantity: dict[str, str]
    position_quantity: dict[str, str]
    collar: str | None
    concentration_quantity: dict[str, str]
    concentration_rate: str
    groups: list[dict[str, Any]]


def limits_of(call: Call, body: LimitsBody) -> Limits:
    def lots(field_name: str, given: dict[str, str]) -> dict[str, int]:
        return {
            name: money.lots(call.contract(name, f"/{field_name}"), text, f"/{field_name}/{name}")
            for name, text in given.items()
        }

    return Limits(
        lots("order_quantity", body.order_quantity),
        lots("position_quantity", body.position_quantity),
        None if body.collar is None else money.rate(body.collar, "/collar"),
        lots("concentration_quantity", body.concentration_quantity),
        money.rate(body.concentration_rate, "/concentration_rate"),
        tuple(
            GroupLimit(tuple(group.contracts), money.micros(call.currency, group.amount, f"/groups/{place}/amount"))
            for place, group in enumerate(body.groups)
        ),
    )


def limits_view(call: Call, scope: str, name: str, limits: Limits) -> LimitsView:
    def text(lots: dict[str, int]) -> dict[str, str]:
        return {name: call.state.contracts[name].contract.quantity_text(count) for name, count in lots.items()}

    return LimitsView(
        scope=scope,
        name=name,
        order_quantity=text(limits.order_lots),
        position_quantity=text(limits.position_lots),
        collar=None if limits.collar is None else rate_text(limits.collar),
        concentration_quantity=text(limits.concentration_lots),
        concentration_rate=rate_text(limits.concentration_rate),
        groups=[
            {"contracts": list(group.contracts), "amount": call.currency.text(group.micros)} for group in limits.groups
        ],
    )


@route("GET", f"{ACCOUNT}/limits", LimitsView)
async def get_limits(call: Call) -> LimitsView:
    """The account's limits; an isolated position without its own has its account's."""
    account_id = call.account()
    return limits_view(call, "account", account_id, of_account(call.state.book, call.state.book.row[account_id]))


@route("PUT", f"{ACCOUNT}/limits", Written, body=NewLimits)
async def set_limits(call: Call) -> Written:
    """Set the account's limits. Widening one takes two people: propose it."""
    body: NewLimits = call.body
    command = SetLimits("account", call.account(), limits_of(call, body), call.by, body.reason)
    return written(await call.offer(command))


@route("GET", "/v1/owners/{owner}/limits", LimitsView)
async def get_owner_limits(call: Call) -> LimitsView:
    """The limits of all accounts of one owner together."""
    owner = call.path["owner"]
    return limits_view(call, "owner", owner, call.state.owner_limits.get(owner, NONE))


@route("PUT", "/v1/owners/{owner}/limits", Written, body=NewLimits)
async def set_owner_limits(call: Call) -> Written:
    """Set the owner's limits. Widening one takes two people: propose it."""
    body: NewLimits = call.body
    return written(
        await call.offer(SetLimits("owner", call.path["owner"], limits_of(call, body), call.by, body.reason))
    )


class OwnerView(View, frozen=True, kw_only=True):
    """An owner's accounts with their sums."""

    owner: str
    currency: str
    net_liq: str
    requirement: str
    owed: str
    unrealized_pnl: str
    accounts: list[dict[str, Any]]


@route("GET", "/v1/owners/{owner}", OwnerView)
async def get_owner(call: Call) -> OwnerView:
    """All accounts of one owner, and what they come to together."""
    from closeout.service import views

    owner, book = call.path["owner"], call.state.book
    rows = sorted(
        (row for row in book.owned.get(owner, ()) if row not in book.parent), key=book.ids.__getitem__
    )  # fmt: skip
    if not rows:
        raise Problem(404, "unknown_owner", f"no account belongs to {owner!r}")
    accounts = views.summaries(call.state, rows, call.now())

    def total(name: str) -> str:
        return plain(sum((Decimal(account[name]) for account in accounts), Decimal(0)))

    return OwnerView(
        owner=owner, currency=call.currency.code, net_liq=total("net_liq"), requirement=total("requirement"),
        owed=total("owed"), unrealized_pnl=total("unrealized_pnl"), accounts=accounts,
    )  # fmt: skip


# -- the customer's own ------------------------------------------------------------------------------


class RiskBody(Body, frozen=True, kw_only=True):
    """The customer's own brakes: the loss of a day, of a week, and from the highest net liq; "0" is none.
    `flatten_at` is a wall time ``HH:MM`` of the contracts' sessions."""

    daily_loss: money.Amount = "0"
    weekly_loss: money.Amount = "0"
    trailing_drawdown: money.Amount = "0"
    flatten_at: Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")] | None = None


class RiskView(View, frozen=True, kw_only=True):
    account_id: str
    daily_loss: str
    weekly_loss: str
    trailing_drawdown: str
    flatten_at: str | None
    stopped: bool


@route("GET", f"{ACCOUNT}/settings/risk", RiskView)
async def get_risk_settings(call: Call) -> RiskView:
    """The account's brakes, and whether one has stopped it."""
    from closeout.engine.book import Flag

    row, text = call.row(call.path["account_id"]), call.currency.text
    settings = call.state.book.brakes.settings(row)
    return RiskView(
        account_id=call.state.book.ids[row],
        daily_loss=text(settings.daily_loss),
        weekly_loss=text(settings.weekly_loss),
        trailing_drawdown=text(settings.trailing_drawdown),
        flatten_at=settings.flatten_at or None,
        stopped=call.state.book.has(row, Flag.STOPPED),
    )


@route("PUT", f"{ACCOUNT}/settings/risk", Written, body=RiskBody)
async def set_risk_settings(call: Call) -> Written:
    """Set the account's brakes. One that has stopped the account cannot be loosened before the next trade date."""
    body: RiskBody = call.body
    account_id = call.account()
    settings = RiskSettings(
        money.micros(call.currency, body.daily_loss, "/daily_loss"),
        money.micros(call.currency, body.weekly_loss, "/weekly_loss"),
        money.micros(call.currency, body.trailing_drawdown, "/trailing_drawdown"),
        body.flatten_at or "",
    )
    return written(await call.offer(SetRiskSettings(account_id, settings)))


class DisclosureBody(Body, frozen=True, kw_only=True):
    version: Name


@route("POST", f"{ACCOUNT}/disclosure", Written, body=DisclosureBody)
async def acknowledge_disclosure(call: Call) -> Written:
    """The customer has read that version of the risk disclosure, and says so, or has said so to the broker."""
    return written(await call.offer(AcknowledgeDisclosure(call.account(), call.body.version)))
