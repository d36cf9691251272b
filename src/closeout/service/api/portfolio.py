"""What the Portfolio page is drawn from beside the account itself: curves of what could be owed (US-18, US-19)."""

from __future__ import annotations

import asyncio
from typing import Any

from closeout.core.times import time_text
from closeout.service import views
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.route import Call, route
from closeout.service.api.schema import View
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
    found = views.parts(call.state, call.row(account_id))
    head = {"account_id": account_id, "currency": call.currency.code, "as_of": time_text(call.now())}
    return head | await asyncio.to_thread(curves, found, call.state.policy)
