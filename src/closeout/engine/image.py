"""The state as canonical bytes, back again, and its digest (G-03).

Accounts are written in the order of their ids and maps in key order, so that equal states give equal bytes whatever
the order in which they came about.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np

from closeout.core.funding import Cadence
from closeout.core.margin import News, Tiers
from closeout.core.units import InputError
from closeout.engine.book import Book, CloseOut, ContractState, MarginCall, Positions, Receivable, WorkingOrder
from closeout.engine.commands import Limits, RiskSettings
from closeout.engine.state import PastFill, Release, State

ENCODER = msgspec.msgpack.Encoder(order="sorted")
FORMAT = 5

PLAIN = (
    "is_open", "halted", "margin_set_by", "desk", "stale_told", "expired", "mark", "good_mark", "previous_mark",
    "mark_time", "mark_source", "grade", "settlement", "profit_residue", "funding_residue", "funding_rounding",
    "largest",
)  # fmt: skip


def digest(image: bytes) -> str:
    return hashlib.blake2b(image, digest_size=32).hexdigest()


def encode(sources: dict[str, int], offered: int, state: State | None) -> bytes:
    return ENCODER.encode({
        "format": FORMAT,
        "sources": sources,
        "offered": offered,
        "state": None if state is None else _state(state),
    })  # fmt: skip


def _state(state: State) -> dict[str, Any]:
    book = state.book
    order = sorted(range(book.count), key=book.ids.__getitem__)
    ids = [book.ids[row] for row in order]

    def by_id(rows: dict[int, Any], encode: Callable[[Any], Any] | None = None) -> dict[str, Any]:
        return {book.ids[row]: encode(value) if encode else value for row, value in rows.items()}

    return {
        "document": state.document,
        "time": state.time,
        "seq": state.seq,
        "desk": state.desk,
        "disclosure": state.disclosure,
        "trade_date": state.trade_date,
        "ticked": state.ticked,
        "owner_limits": state.owner_limits,
        "releases": {key: asdict(release) for key, release in state.releases.items()},
        "reviews": sorted((seq, *raise_) for seq, raise_ in state.reviews.items()),
        "cadences": {name: asdict(cadence) for name, cadence in state.cadences.items()},
        "fund": (state.fund_changed, state.fund_highs),
        "below_zero_at": state.below_zero_at,
        "ledger": state.ledger.balances,
        "ids": ids,
        "columns": {name: book.column(name)[order].tobytes() for name in Book.COLUMNS},
        "owner": by_id(book.owner),
        "parent": by_id(book.parent, book.ids.__getitem__),
        "leverage": by_id(book.leverage),
        "working": by_id(book.working, lambda orders: [asdict(order) for order in orders.values()]),
        "debts": by_id(book.debts, asdict),
        "close_outs": by_id(book.close_outs, _close_out),
        "acknowledged": by_id(book.acknowledged),
        "limits": by_id(book.limits),
        "brakes": {book.ids[row]: _brake(book, row) for row in book.brakes.slot},
        "stops": by_id(book.stops),
        "in_part": by_id(book.in_part),
        "calls": by_id(book.calls, asdict),
        "fills": {key: {**asdict(past), "account": book.ids[past.account]} for key, past in state.fills.items()},
        "contracts": {name: _contract(state, contract) for name, contract in state.contracts.items()},
    }


def _close_out(active: CloseOut) -> dict[str, Any]:
    """Orders in the order of sending, and the receipt as text: a restored engine goes on to issue the same bytes."""
    fields = {item.name: getattr(active, item.name) for item in dataclasses.fields(active)}
    outstanding = [(order_id, *order) for order_id, order in active.outstanding.items()]
    return {**fields, "outstanding": outstanding, "receipt": msgspec.json.encode(active.receipt)}


def _brake(book: Book, row: int) -> tuple[RiskSettings, int, int, int]:
    table, slot = book.brakes, book.brakes.slot[row]
    return table.settings(row), int(table.base_day[slot]), int(table.base_week[slot]), int(table.peak[slot])


def _contract(state: State, contract: ContractState) -> dict[str, Any]:
    rows, lots, cost = contract.held()
    holders: list[int] = rows.tolist()
    ids = [state.book.ids[row] for row in holders]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return {
        **{name: getattr(contract, name) for name in PLAIN},
        "tiers": [asdict(tier) for tier in contract.tiers],
        "window": contract.window.name,
        "news": None if contract.news is None else asdict(contract.news),
        "news_by_hand": None if contract.news_by_hand is None else asdict(contract.news_by_hand),
        "holders": [ids[i] for i in order],
        "lots": lots[order].tobytes(),
        "cost": cost[order].tobytes(),
    }


def decode(image: bytes, initial: Callable[[bytes], State]) -> tuple[dict[str, int], int, State | None]:
    """Sources, inputs offered and state of an image; `InputError` where it is damaged or of another format."""
    try:
        data = msgspec.msgpack.decode(image)
        if data["format"] != FORMAT:
            raise InputError(f"snapshot: format {data['format']}, expected {FORMAT}")
        raw = data["state"]
        return data["sources"], data["offered"], None if raw is None else _restore(raw, initial)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as damage:
        raise InputError(f"snapshot: damaged image ({damage})") from damage


def _restore(raw: dict[str, Any], initial: Callable[[bytes], State]) -> State:
    state = initial(raw["document"])
    state.time, state.seq = raw["time"], raw["seq"]
    state.desk, state.disclosure, state.trade_date = raw["desk"], raw["disclosure"], raw["trade_date"]
    state.ticked = raw["ticked"]
    state.owner_limits = msgspec.convert(raw["owner_limits"], dict[str, Limits])
    state.releases = msgspec.convert(raw["releases"], dict[str, Release])
    state.reviews = {seq: (contract, by) for seq, contract, by in raw["reviews"]}
    state.cadences = {name: Cadence(**fields) for name, fields in raw["cadences"].items()}
    state.fund_changed, highs = raw["fund"]
    state.fund_highs = [(until, cash) for until, cash in highs]
    state.below_zero_at = raw["below_zero_at"]
    state.ledger.balances.update(raw["ledger"])
    state.book = _book(raw, state.book.positions)
    row = state.book.row
    for account_id, orders in raw["working"].items():
        state.book.working[row[account_id]] = {order["order_id"]: WorkingOrder(**order) for order in orders}
        state.order_owner.update((order["order_id"], row[account_id]) for order in orders)
    for account_id, fields in raw["close_outs"].items():
        fields["outstanding"] = {order_id: (name, lots) for order_id, name, lots in fields["outstanding"]}
        fields["receipt"] = msgspec.json.decode(fields["receipt"])
        active = CloseOut(**fields)
        state.book.close_outs[row[account_id]] = active
        state.order_owner.update((order_id, row[account_id]) for order_id in active.outstanding)
    state.fills = {key: PastFill(row[past.pop("account")], **past) for key, past in raw["fills"].items()}
    for name, fields in raw["contracts"].items():
        _restore_contract(state, state.contracts[name], fields)
    _restore_positions(state, raw["contracts"])
    return state


def _book(raw: dict[str, Any], positions: Positions) -> Book:
    book = Book(positions=positions)
    for account_id in raw["ids"]:
        book.add(account_id)
    for name, column in raw["columns"].items():
        book.column(name)[:] = np.frombuffer(column, np.int64)
    row = book.row
    book.owner = {row[key]: value for key, value in raw["owner"].items()}
    for key, value in raw["parent"].items():
        book.adopt(row[key], row[value])
    book.leverage = {row[key]: value for key, value in raw["leverage"].items()}
    book.debts = {row[key]: Receivable(**value) for key, value in raw["debts"].items()}
    book.acknowledged = {row[key]: value for key, value in raw["acknowledged"].items()}
    book.limits = {row[key]: msgspec.convert(value, Limits) for key, value in raw["limits"].items()}
    book.stops = {row[key]: value for key, value in raw["stops"].items()}
    book.in_part = {row[key]: value for key, value in raw["in_part"].items()}
    book.calls = {row[key]: MarginCall(**value) for key, value in raw["calls"].items()}
    for key, (settings, *bases) in raw["brakes"].items():
        table = book.brakes
        table.add(row[key], 0)
        table.set(row[key], msgspec.convert(settings, RiskSettings))
        slot = table.slot[row[key]]
        table.base_day[slot], table.base_week[slot], table.peak[slot] = bases
    for account in sorted(book.owner.keys() | book.parent.keys()):
        if owner := book.owner_of(account):
            book.owned.setdefault(owner, []).append(account)
    return book


def _restore_contract(state: State, contract: ContractState, fields: dict[str, Any]) -> None:
    for name in PLAIN:
        setattr(contract, name, fields[name])
    contract.tiers = msgspec.convert(fields["tiers"], Tiers)
    contract.window = state.policy.windows[fields["window"]]
    contract.news = None if fields["news"] is None else News(**fields["news"])
    contract.news_by_hand = None if fields["news_by_hand"] is None else News(**fields["news_by_hand"])


def _restore_positions(state: State, raw: dict[str, Any]) -> None:
    row, names = state.book.row, [name for name in state.contracts if name in raw]
    columns = [
        (
            np.array([row[account_id] for account_id in raw[name]["holders"]], np.int64),
            np.full(len(raw[name]["holders"]), state.contracts[name].index),
            *(np.frombuffer(raw[name][column], np.int64) for column in ("lots", "cost")),
        )
        for name in names
    ]
    state.book.positions.load(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))
    for name in names:
        state.contracts[name].load()
        state.contracts[name].largest = raw[name]["largest"]
