"""The store's records as documents: money, prices and quantities as text, times as RFC 3339."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, structs

from closeout.core.times import time_text
from closeout.engine.state import State
from closeout.service.store import records

KINDS: dict[type[Struct], str] = {
    records.Posting: "posting",
    records.LevelChange: "level_change",
    records.FlagChange: "flag_change",
    records.Order: "order",
    records.Fill: "fill",
    records.Receipt: "receipt",
    records.Deficit: "deficit",
    records.ReceivableChange: "receivable_change",
    records.Notice: "notice",
    records.Alarm: "alarm",
    records.MarginCall: "margin_call",
    records.Reconciliation: "reconciliation",
    records.SettingChange: "setting_change",
}
"""What the events are made of, by the name that they carry."""
FOR_STAFF = (records.Alarm, records.Reconciliation)
"""What a customer does not see, of his own account neither."""

MONEY = frozenset(
    {"micros", "net_liq", "requirement", "line", "total", "before", "change", "after", "available"},
)
TIMES = frozenset({"time", "acknowledged_at", "decided_at"})
JSON = frozenset({"document", "differences"})
NAMES = {"micros": "amount", "is_on": "on", "lots": "quantity", "price_ticks": "price", "limit_ticks": "limit_price"}
NAMES["suggested_lots"] = "suggested_quantity"


def document(state: State, record: Struct) -> dict[str, Any]:
    """One record. `idx` tells apart what followed from one input."""
    found = structs.asdict(record)
    contract = found.get("contract")
    return {NAMES.get(name, name): _shown(state, name, value, contract) for name, value in found.items()}


def _shown(state: State, name: str, value: Any, contract: str | None) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if name in TIMES:
        return time_text(value) if value else None
    if name in MONEY and isinstance(value, int):
        return state.policy.currency.text(value)
    if name in JSON and value:
        return msgspec.json.decode(value)
    if contract is not None and name in ("lots", "suggested_lots", "price_ticks", "limit_ticks"):
        found = state.contracts.get(contract)
        if found is None:  # an order that was refused because nobody knows the contract
            return str(value)
        facts = found.contract
        return facts.quantity_text(value) if name.endswith("lots") else facts.price_text(value)
    return value


def event(state: State, entry: records.Entry) -> dict[str, Any]:
    """An entry as an event: its `type`, and its place `seq`, `idx` in the journal."""
    return {"type": KINDS[type(entry)], **document(state, entry)}
