"""The outbox as the desk sees it: what waits, what is under way, and what a person must decide (G-16)."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from closeout.core.times import time_text
from closeout.service.api.problems import Problem
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, Reason, View
from closeout.service.store.records import Conflict, Effect


class EffectView(View, frozen=True, kw_only=True):
    """`state` is sending (an order in it is frozen: nobody knows whether the venue has it) or parked; `note` says why.
    `event` is what it is about."""

    effect_id: str
    kind: str
    account_id: str
    state: str
    attempts: int
    time: str
    event: str
    note: str


class Effects(View, frozen=True, kw_only=True):
    items: list[EffectView]


class Decision(Body, frozen=True, kw_only=True):
    """`again` sends it once more under the same id, `done` says that it need not be sent."""

    decision: Literal["again", "done"]
    reason: Reason


@route("GET", "/v1/effects", Effects)
async def list_effects(call: Call) -> Any:
    """Orders and letters that are under way, or wait for a person."""
    store = call.context.store
    sending = await asyncio.to_thread(store.sending_effects)
    parked = await asyncio.to_thread(store.parked_effects)
    return {"items": [_view(effect) for effect in (*parked, *sending)]}


@route("POST", "/v1/effects/{effect_id}/decide", EffectView, body=Decision)
async def decide_effect(call: Call) -> Any:
    """Decide about a parked effect."""
    store, effect_id, body = call.context.store, call.path["effect_id"], call.body
    effect = await asyncio.to_thread(store.effect, effect_id)
    if effect is None:
        raise Problem(404, "unknown_effect", f"no effect {effect_id!r}")
    note = f"{call.by}: {body.reason}"[:500]
    try:
        if effect.state != "parked":
            raise Conflict(f"it is {effect.state}, and only what is parked waits for a decision")
        if body.decision == "done":
            await asyncio.to_thread(store.mark_sent, effect_id, note)
        else:
            await asyncio.to_thread(store.mark_failed, effect_id, note, call.now())
    except Conflict as error:
        raise Problem(409, "not_parked", str(error)) from None
    after = await asyncio.to_thread(store.effect, effect_id)
    return _view(after or effect)


def _view(effect: Effect) -> dict[str, Any]:
    return {
        "effect_id": effect.effect_id, "kind": effect.kind, "account_id": effect.account_id, "state": effect.state,
        "attempts": effect.attempts, "time": time_text(effect.time), "event": type(effect.event).__name__,
        "note": effect.note,
    }  # fmt: skip
