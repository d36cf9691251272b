"""What the pages draw beside the account itself: what could be owed, and marks by the minute (US-18, US-19)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import Meta

from closeout.core.times import MINUTE, SECOND, time_text
from closeout.service import views
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, View
from closeout.service.curves import curves


class Curve(View, frozen=True, kw_only=True):
    """By move: what the account is worth at the moved marks, or behind the close-out that starts there, fees paid; its
    level; and what is owed. `contract` null moves all together, else that one alone.

    `liquidation_move` and `debt_move` are the nearest to 0 at which a close-out starts, and after which something is
    owed; null up to a loss of all and a gain of as much. They are looked for at each percent and found to 0.001 %.
    """

    contract: str | None
    net_liq: list[str]
    level: list[str]
    owed: list[str]
    liquidation_move: str | None
    debt_move: str | None


class Gap(View, frozen=True, kw_only=True):
    """One of the worst minutes on record: what would be owed if all contracts held moved so; `contracts` are those of
    them whose market it was."""

    move: str
    what: str
    contracts: list[str]
    owed: str


class CouldOwe(View, frozen=True, kw_only=True):
    """Close-outs fill at the moved marks here, which is no promise: they can fill further away."""

    account_id: str
    currency: str
    as_of: str
    net_liq: str
    moves: list[str]
    curves: list[Curve]
    gaps: list[Gap]


@route("GET", f"{ACCOUNT}/could-owe", CouldOwe)
async def get_could_owe(call: Call) -> Any:
    """What the account would be worth, and owe, over a range of moves: of all contracts together, and of each alone."""
    account_id = call.account()
    async with call.context.drawing:
        found = views.parts(call.state, call.row(account_id))
        head = {"account_id": account_id, "currency": call.currency.code, "as_of": time_text(call.now())}
        return head | await asyncio.to_thread(curves, found, call.state.policy)


class BarsQuery(Body, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1500, description="bars, at most; a day of them is kept")] = 500


class BarView(View, frozen=True, kw_only=True):
    """A minute of the service's clock, from `time` on."""

    time: str
    open: str
    high: str
    low: str
    close: str


class BarsView(View, frozen=True, kw_only=True):
    contract: str
    interval_seconds: int
    items: list[BarView]


@route("GET", "/v1/contracts/{contract}/bars", BarsView, query=BarsQuery)
async def list_bars(call: Call) -> BarsView:
    """The contract's marks by the minute, oldest first: those that the engine took since the service started."""
    contract = call.contract(call.path["contract"], "contract")
    text = contract.price_text
    bars = [
        BarView(
            time=time_text(bar.time), open=text(bar.open), high=text(bar.high), low=text(bar.low), close=text(bar.close)
        )
        for bar in call.context.bars.newest(contract.name, call.query.limit)
    ]
    return BarsView(contract=contract.name, interval_seconds=MINUTE // SECOND, items=bars)
