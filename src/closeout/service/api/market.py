"""What holds in each contract, and the desk's and the back office's acts on it (US-02, US-08, US-14, US-21, US-24)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from closeout.core.contracts import Contract
from closeout.engine.commands import (
    AccrueFunding,
    Halt,
    Mark,
    Marks,
    RaiseAlarm,
    ReviewMargin,
    SetMargin,
    Settle,
)
from closeout.service.api import money
from closeout.service.api.problems import invalid
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, Listed, Reason, View, Written, written

CONTRACT = "/v1/contracts/{contract}"


class Tier(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Margins from `notional_from` on, by the names of a rulebook file: a rate of the notional (more by its slope for
    each coin of size) plus so much per quantity of one, less the amount."""

    notional_from: money.Amount = "0"
    max_leverage: money.RateText | None = None
    intraday_margin_rate: money.RateText | None = None
    intraday_margin: money.Amount | None = None
    initial_margin_rate: money.RateText | None = None
    initial_margin: money.Amount | None = None
    initial_margin_slope: money.RateText | None = None
    initial_margin_root: money.RateText | None = None
    initial_amount: money.Amount | None = None
    maintenance_margin_rate: money.RateText | None = None
    maintenance_margin: money.Amount | None = None
    maintenance_margin_slope: money.RateText | None = None
    maintenance_margin_root: money.RateText | None = None
    maintenance_amount: money.Amount | None = None
    root_within_rate: money.RateText = "0"


class Tiers(Body, frozen=True, kw_only=True):
    tiers: Annotated[list[Tier], Meta(min_length=1, max_length=100)]
    reason: Reason


class HaltBody(Body, frozen=True, kw_only=True):
    halted: bool


class HandMark(Body, frozen=True, kw_only=True):
    price: money.Price
    reason: Reason


class SettlementPrice(Body, frozen=True, kw_only=True):
    price: money.Price


class FundingRate(Body, frozen=True, kw_only=True):
    """The rate of the interval that ends now; longs pay when it is above zero. `price` null is the mark."""

    rate: money.SignedRate
    price: money.Price | None = None


class Review(Body, frozen=True, kw_only=True):
    reason: Reason


class RiskQuery(Body, frozen=True, kw_only=True):
    n: Annotated[int, Meta(ge=1, le=200, description="how many of the riskiest accounts")] = 20


class Risk(View, frozen=True, kw_only=True):
    totals: dict[str, Any]
    riskiest: list[dict[str, Any]]


class ConcentrationQuery(Body, frozen=True, kw_only=True):
    n: Annotated[int, Meta(ge=1, le=200, description="how many of the largest owners")] = 10


class Largest(View, frozen=True, kw_only=True):
    """The account with the largest position in a contract, isolated positions included; `share` is of the contract's
    notional, long and short."""

    account_id: str
    owner: str
    quantity: str
    notional: str
    share: str


class HeldContract(View, frozen=True, kw_only=True):
    contract: str
    mark: str | None
    long: str
    short: str
    long_notional: str
    short_notional: str
    holders: int
    largest: Largest


class LargeOwner(View, frozen=True, kw_only=True):
    """What an owner's accounts come to together; `share` is of all notional. An account whose owner is not known stands
    alone, with `owner` empty; `account_id` is null where there are several accounts."""

    owner: str
    account_id: str | None
    accounts: int
    net_liq: str
    requirement: str
    notional: str
    share: str
    owed: str


class Concentration(View, frozen=True, kw_only=True):
    """Contracts that are held, largest notional first, and the owners with the largest."""

    as_of: str
    currency: str
    contracts: list[HeldContract]
    owners: list[LargeOwner]


class AheadQuery(Body, frozen=True, kw_only=True):
    n: Annotated[int, Meta(ge=1, le=500, description="how many accounts, those with the largest shortfall")] = 100


class SwitchView(View, frozen=True, kw_only=True):
    """Who will be short when the window changes, the largest shortfall first, and what clears each; `matching` is how
    many they are in all, `short` what those lack together (US-27)."""

    switch_at: str | None
    countdown_seconds: int | None
    matching: int
    short: str
    items: list[dict[str, Any]]


def path_contract(call: Call) -> Contract:
    return call.contract(call.path["contract"], "contract")


@route("GET", "/v1/contracts", Listed)
async def list_contracts(call: Call) -> Any:
    """Every contract: its mark with source, age and grade, its window, margins, what is halted, and the desk's switches
    that are on."""
    from closeout.service import views

    return {"items": views.contracts(call.state, call.now()), "next": None}


@route("GET", "/v1/feeds", Listed)
async def list_feeds(call: Call) -> Any:
    """The price feeds, how each is doing, and each price of theirs: age, grade, and whether it is the mark."""
    return {"items": list(call.context.feeds()), "next": None}


@route("GET", "/v1/risk", Risk, query=RiskQuery)
async def get_risk(call: Call) -> Any:
    """The whole book, and the accounts nearest to a close-out or past it."""
    from closeout.service import views

    now, scans = call.now(), call.context.scans
    return {
        "totals": views.totals(call.state, now, scans),
        "riskiest": views.riskiest(call.state, call.query.n, now, scans),
    }


@route("GET", "/v1/concentration", Concentration, query=ConcentrationQuery)
async def get_concentration(call: Call) -> Any:
    """Where the book's risk is concentrated: by contract with its largest holder, and by owner."""
    from closeout.service import concentration

    context = call.context
    return concentration.document(call.state, call.query.n, call.now(), context.scans, context.roster)


@route("GET", "/v1/look-ahead", SwitchView, query=AheadQuery)
async def list_look_ahead(call: Call) -> Any:
    """The accounts that the next change of window finds short, the largest shortfall first."""
    from closeout.service import views

    return views.look_ahead(call.state, call.now(), call.query.n)


def margin_command(call: Call, name: str, tiers: list[Tier], reason: str) -> SetMargin:
    call.contract(name)
    return SetMargin(name, msgspec.json.encode(tiers), call.by, reason)


@route("PUT", f"{CONTRACT}/margin", Written, body=Tiers)
async def set_margin(call: Call) -> Written:
    """New margin tiers. Raising is done at once and reviewed afterwards; lowering any figure takes two: propose it."""
    body: Tiers = call.body
    return written(await call.offer(margin_command(call, call.path["contract"], body.tiers, body.reason)))


@route("GET", "/v1/margin-reviews", Listed)
async def list_margin_reviews(call: Call) -> Any:
    """Raises that one person made alone and nobody else has looked at yet."""
    items = [
        {"seq": seq, "contract": contract, "raised_by": by}
        for seq, (contract, by) in sorted(call.state.reviews.items())
    ]  # fmt: skip
    return {"items": items, "next": None}


@route("POST", "/v1/margin-reviews/{seq}", Written, body=Review)
async def review_margin(call: Call) -> Written:
    """Somebody else has looked at a raise."""
    text = call.path["seq"]
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise invalid("expected a number", "seq")
    return written(await call.offer(ReviewMargin(int(text), call.by, call.body.reason)))


@route("POST", f"{CONTRACT}/halt", Written, body=HaltBody)
async def halt(call: Call) -> Written:
    """Trading is halted or locked at its limit, or resumes."""
    path_contract(call)
    return written(await call.offer(Halt(call.path["contract"], call.body.halted)))


@route("POST", f"{CONTRACT}/mark", Written, body=HandMark)
async def mark_by_hand(call: Call) -> Written:
    """A mark by hand. Its source is the desk, and an alarm says who gave it and why."""
    body: HandMark = call.body
    contract = path_contract(call)
    ticks = money.ticks(contract, body.price)
    said = RaiseAlarm("", "mark_by_hand", f"{call.by}: {contract.name} at {contract.price_text(ticks)}: {body.reason}")
    return written(await call.offer(Marks((Mark(contract.name, ticks),)), said, source=f"desk:{call.person.key_id}"))


@route("POST", f"{CONTRACT}/settlement", Written, body=SettlementPrice)
async def settle(call: Call) -> Written:
    """Daily settlement: open trade equity at the price becomes cash."""
    contract = path_contract(call)
    return written(await call.offer(Settle(contract.name, money.ticks(contract, call.body.price))))


@route("POST", f"{CONTRACT}/funding", Written, body=FundingRate)
async def accrue_funding(call: Call) -> Written:
    """The end of a funding interval."""
    body: FundingRate = call.body
    contract = path_contract(call)
    price = None if body.price is None else money.ticks(contract, body.price)
    return written(await call.offer(AccrueFunding(contract.name, money.rate(body.rate, "/rate"), price)))
