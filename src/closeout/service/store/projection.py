"""From inputs and events to rows. Pure: the same batch always gives the same rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Table

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.service.applied import Applied
from closeout.service.store import schema

Row = dict[str, Any]
Rows = dict[Table, list[Row]]
EventRow = Callable[[Any, c.Input], Row]

PERSON = "key:"
"""Sources of inputs that somebody sent with an API key: those are acts."""
WEBHOOK_EVENTS = (
    ev.CloseOutEnded,
    ev.CorrectionIssued,
    ev.DeficitBooked,
    ev.MarginCallChanged,
    ev.LevelChanged,
    ev.FlagChanged,
)
EFFECT_EVENTS = (ev.CloseOutOrder, ev.CancelOrders, ev.Notice, ev.Alarm, *WEBHOOK_EVENTS)
REBUILT = "made again from the journal: nobody knows whether it went out"


def rows_of(batch: Iterable[Applied], *, webhooks: bool, rebuilt_to: int) -> Rows:
    """All rows that follow from `batch`, by table. Up to input `rebuilt_to` they stood in a store that is lost."""
    rows: Rows = defaultdict(list)
    for item in batch:
        rebuilt = item.seq <= rebuilt_to
        given = item.input
        time = given.time
        for idx, event in enumerate(item.events):
            if isinstance(event, ev.SeriesBatch):
                time = event.time
            place = {"seq": item.seq, "idx": idx, "time": time, "account_id": event.account_id}
            if found := EVENT_ROWS.get(type(event)):
                table, row = found
                rows[table].append(place | row(event, given))
            for kind, effect_id in _effects(event, item.seq, idx, webhooks):
                rows[schema.effect].append(_effect(place, event, kind, effect_id, rebuilt))
        if isinstance(given.command, c.Fill) and not _rejected(item):
            rows[schema.fill].append(_fill(item, given.command))
        if given.source.startswith(PERSON):
            rows[schema.act].append(_act(item))
        if given.key:
            rows[schema.reply].append(_reply(item))
    return rows


# -- events --------------------------------------------------------------------------------------------


def _same(*names: str) -> EventRow:
    """A row of the event's fields of these names."""
    return lambda event, _: {name: getattr(event, name) for name in names}


def _receipt(event: ev.CloseOutEnded | ev.CorrectionIssued, _: c.Input) -> Row:
    return {
        "receipt_id": event.receipt_id,
        "kind": event.receipt.get("kind", "close_out"),
        "supersedes": event.receipt.get("supersedes") or "",
        "document": msgspec.json.encode(event.receipt).decode(),
    }


def _checked(event: ev.OrderApproved | ev.OrderRefused, given: c.Input) -> Row:
    """The row of a customer's order. What the engine refused need not fit a column."""
    order = given.command
    refused = isinstance(event, ev.OrderRefused)
    asked = isinstance(order, c.CheckOrder)
    limit = order.limit_ticks if asked else None
    return {
        "order_id": event.order_id,
        "origin": "customer",
        "contract": order.contract if asked else "",
        "lots": _within(order.lots) if asked else 0,
        "limit_ticks": None if limit is None else _within(limit),
        "receipt_id": "",
        "outcome": "refused" if refused else "approved",
        "code": event.code if refused else "",
        "detail": event.detail if refused else "",
        "before": event.before,
        "change": event.change,
        "after": event.after,
        "available": event.available,
        "suggested_lots": event.suggested_lots if refused else 0,
    }


def _sent(event: ev.CloseOutOrder, _: c.Input) -> Row:
    return {
        "order_id": event.order_id,
        "origin": "close_out",
        "contract": event.contract,
        "lots": event.lots,
        "limit_ticks": event.limit_ticks,
        "receipt_id": event.receipt_id,
        "outcome": "sent",
        **dict.fromkeys(("code", "detail"), ""),
        **dict.fromkeys(("before", "change", "after", "available", "suggested_lots"), 0),
    }


def _alarm(event: ev.Alarm, _: c.Input) -> Row:
    return {"code": event.code, "detail": event.detail, "acknowledged_by": "", "acknowledged_at": 0}


def _flag(event: ev.FlagChanged, _: c.Input) -> Row:
    return {"flag": event.flag, "is_on": event.on, "reason": event.reason}


def _reconciliation(event: ev.Reconciled, _: c.Input) -> Row:
    differences = msgspec.json.encode(event.differences, order="deterministic").decode()
    return {"file": event.file, "agreed": not event.differences, "differences": differences}


def _setting(event: ev.SettingChanged, _: c.Input) -> Row:
    return {"what": event.what, "detail": event.detail, "changed_by": event.by}


EVENT_ROWS: dict[type, tuple[Table, EventRow]] = {
    ev.Posted: (schema.posting, _same("debit", "credit", "currency", "micros", "reason")),
    ev.LevelChanged: (schema.level_change, _same("before", "after", "net_liq", "requirement", "line")),
    ev.FlagChanged: (schema.flag_change, _flag),
    ev.OrderApproved: (schema.order_entry, _checked),
    ev.OrderRefused: (schema.order_entry, _checked),
    ev.CloseOutOrder: (schema.order_entry, _sent),
    ev.CloseOutEnded: (schema.receipt, _receipt),
    ev.CorrectionIssued: (schema.receipt, _receipt),
    ev.DeficitBooked: (schema.deficit, _same("micros", "total", "receipt_id")),
    ev.ReceivableChanged: (schema.receivable_change, _same("total", "status", "business_days", "reason")),
    ev.Notice: (schema.notice, _same("kind", "detail")),
    ev.Alarm: (schema.alarm, _alarm),
    ev.MarginCallChanged: (
        schema.margin_call, _same("call_id", "status", "micros", "business_days", "capital_charge")
    ),
    ev.Reconciled: (schema.reconciliation, _reconciliation),
    ev.SettingChanged: (schema.setting_change, _setting),
}  # fmt: skip


# -- effects -------------------------------------------------------------------------------------------


def has_effects(batch: Iterable[Applied]) -> bool:
    """Whether anything may have to be done outside because of a batch."""
    return any(isinstance(event, EFFECT_EVENTS) for item in batch for event in item.events)


def _effects(event: ev.AnyEvent, seq: int, idx: int, webhooks: bool) -> list[tuple[str, str]]:
    """What is to be done outside because of an event: (kind, id). Ids follow from the journal's position (G-16)."""
    match event:
        case ev.CloseOutOrder():
            return [("order", event.order_id)]
        case ev.CancelOrders():
            return [("cancel", f"{seq}.{idx}c")]
        case ev.Notice():
            return [("notice", f"{seq}.{idx}")]
        case ev.Alarm():
            return [("alarm", f"{seq}.{idx}")]
        case _ if webhooks and isinstance(event, WEBHOOK_EVENTS):
            return [("webhook", f"{seq}.{idx}w")]
        case _:
            return []


def _effect(place: Row, event: ev.AnyEvent, kind: str, effect_id: str, rebuilt: bool) -> Row:
    state = "pending"
    if rebuilt:  # the venue is asked for orders as after any crash; a second mail about an old event helps nobody
        state = "sending" if kind in ("order", "cancel") else "parked"
    return place | {
        "effect_id": effect_id,
        "kind": kind,
        "payload": ev.ENCODER.encode(event),
        "state": state,
        "attempts": 0,
        "not_before": place["time"],
        "note": REBUILT if rebuilt else "",
    }


# -- inputs --------------------------------------------------------------------------------------------


def _rejected(item: Applied) -> bool:
    return bool(item.events) and isinstance(item.events[0], ev.Rejected)


def _fill(item: Applied, command: c.Fill) -> Row:
    return {
        "seq": item.seq,
        "idx": 0,
        "time": item.input.time,
        "account_id": command.account_id,
        "source": item.input.source,
        "contract": command.contract,
        "lots": command.lots,
        "price_ticks": command.price_ticks,
        "order_id": command.order_id,
        "fill_id": command.fill_id,
    }


def _act(item: Applied) -> Row:
    command = item.input.command
    outcome, code = "done", ""
    for event in item.events:
        if isinstance(event, ev.Rejected | ev.OrderRefused):
            outcome, code = "rejected" if isinstance(event, ev.Rejected) else "refused", event.code
            break
    return {
        "seq": item.seq,
        "idx": 0,
        "time": item.input.time,
        "account_id": getattr(command, "account_id", ""),
        "source": item.input.source,
        "command": type(command).__name__,
        "person": getattr(command, "by", ""),
        "document": msgspec.json.encode(_readable(command)).decode(),
        "outcome": outcome,
        "code": code,
    }


def _readable(value: Any) -> Any:
    """A command with the names of its fields, ready for JSON; bytes that hold JSON as what they say."""
    match value:
        case Struct():
            return {name: _readable(getattr(value, name)) for name in value.__struct_fields__}
        case tuple():
            return [_readable(part) for part in value]  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return {key: _readable(part) for key, part in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case bytes():
            try:
                return msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError):
                return value.hex()
        case _:
            return value


def _reply(item: Applied) -> Row:
    given = item.input
    return {
        "source": given.source,
        "key": given.key,
        "seq": item.seq,
        "time": given.time,
        "command": c.ENCODER.encode(given.command),
        "events": ev.ENCODER.encode(item.events),
    }


def _within(number: int) -> int:
    """The number, or the nearest that fits 64 bits."""
    return max(-(2**63), min(number, 2**63 - 1))
