"""The state as canonical bytes, back again, and its digest (G-03).

Accounts are written in the order of their ids and maps in key order, so that equal states give equal bytes whatever
the order in which they came about. What there are millions of lies in columns: accounts, positions by account and
contract, fills by id. An account is its place in the order of ids there, a contract its number in the rulebook.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import repeat
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from closeout.core.funding import Cadence
from closeout.core.margin import News, Tiers
from closeout.core.units import InputError
from closeout.engine import gate
from closeout.engine.book import (
    HOUSE,
    Book,
    CloseOut,
    Column,
    ContractState,
    MarginCall,
    Positions,
    Receivable,
    WorkingOrder,
)
from closeout.engine.commands import Limits, RiskSettings
from closeout.engine.state import PastFill, Release, State

ENCODER = msgspec.msgpack.Encoder(order="sorted")
FORMAT = 5

PLAIN = (
    "is_open", "halted", "margin_set_by", "desk", "stale_told", "expired", "mark", "good_mark", "previous_mark",
    "mark_time", "mark_source", "grade", "settlement", "profit_residue", "funding_residue", "funding_rounding",
    "largest",
)  # fmt: skip


POSITION = ("account", "contract", "lots", "cost")
FILL = ("lots", "price_ticks", "fee")


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
    order = np.array(sorted(range(book.count), key=book.ids.__getitem__), np.int64)
    place = np.zeros(book.count, np.int64)
    place[order] = np.arange(book.count)

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
        "taken": state.taken,
        "below_zero_at": state.below_zero_at,
        "ledger": state.ledger.balances,
        "ids": [book.ids[row] for row in order.tolist()],
        "columns": {name: book.column(name)[order].tobytes() for name in Book.COLUMNS},
        "owner": list(map(book.owner.get, order.tolist(), repeat(""))),
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
        "fills": _fills(state, place),
        "positions": _positions(book.positions, place),
        "contracts": {name: _contract(contract) for name, contract in state.contracts.items()},
    }


def _close_out(active: CloseOut) -> dict[str, Any]:
    """Orders in the order of sending, and the receipt as text: a restored engine goes on to issue the same bytes."""
    fields = {item.name: getattr(active, item.name) for item in dataclasses.fields(active)}
    outstanding = [(order_id, *order) for order_id, order in active.outstanding.items()]
    return {**fields, "outstanding": outstanding, "receipt": msgspec.json.encode(active.receipt)}


def _brake(book: Book, row: int) -> tuple[RiskSettings, int, int, int]:
    table, slot = book.brakes, book.brakes.slot[row]
    return table.settings(row), int(table.base_day[slot]), int(table.base_week[slot]), int(table.peak[slot])


def _fills(state: State, place: Column) -> dict[str, Any]:
    keys = sorted(state.fills)
    past = [state.fills[key] for key in keys]
    numbers = {name: contract.index for name, contract in state.contracts.items()}
    columns = {
        "account": place[np.fromiter((fill.account for fill in past), np.int64, len(past))],
        "contract": np.fromiter((numbers[fill.contract] for fill in past), np.int64, len(past)),
        **{name: np.fromiter(map(attrgetter(name), past), np.int64, len(past)) for name in FILL},
    }
    return {"ids": keys, **{name: column.tobytes() for name, column in columns.items()}}


def _positions(table: Positions, place: Column) -> dict[str, bytes]:
    """What is held now."""
    rows = np.flatnonzero(table.lots[: table.count])
    account, contract = place[table.account[rows]], table.contract[rows].astype(np.int64)
    order = np.argsort(account * (1 + contract.max(initial=0)) + contract, kind="stable")  # at once where it is sorted
    columns = (account, contract, table.lots[rows], table.cost[rows])
    return {name: column[order].tobytes() for name, column in zip(POSITION, columns, strict=True)}


def _contract(contract: ContractState) -> dict[str, Any]:
    return {
        **{name: getattr(contract, name) for name in PLAIN},
        "tiers": [asdict(tier) for tier in contract.tiers],
        "window": contract.window.name,
        "news": None if contract.news is None else asdict(contract.news),
        "news_by_hand": None if contract.news_by_hand is None else asdict(contract.news_by_hand),
    }


def decode(image: bytes, initial: Callable[[bytes], State]) -> tuple[dict[str, int], int, State | None]:
    """Sources, inputs offered and state of an image; `InputError` where it is damaged or of another format."""
    try:
        data = msgspec.msgpack.decode(image)
        if data["format"] != FORMAT:
            raise InputError(f"snapshot: format {data['format']}, expected {FORMAT}")
        raw = data["state"]
        return data["sources"], data["offered"], None if raw is None else _restore(raw, initial)
    except (msgspec.DecodeError, LookupError, TypeError, ValueError) as damage:
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
    taken_since, taken = raw["taken"]
    state.taken = (taken_since, taken)
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
    state.fills = _restore_fills(state, raw["fills"])
    for name, fields in raw["contracts"].items():
        _restore_contract(state, state.contracts[name], fields)
    _restore_positions(state, raw)
    gate.look_at_all(state)
    return state


def _book(raw: dict[str, Any], positions: Positions) -> Book:
    book = Book(positions=positions)
    book.add_all(raw["ids"])
    row = book.row
    book.house = {row[name] for name in HOUSE if name in row}
    for name, column in raw["columns"].items():
        book.column(name)[:] = np.frombuffer(column, np.int64)
    book.owner = {account: owner for account, owner in enumerate(raw["owner"]) if owner}
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


def _restore_fills(state: State, raw: dict[str, Any]) -> dict[str, PastFill]:
    ids, names = raw["ids"], list(state.contracts)
    accounts, contracts, *columns = _columns(raw, ("account", "contract", *FILL), state, len(ids))
    of = map(names.__getitem__, contracts.tolist())
    fills = map(PastFill, accounts.tolist(), of, *(column.tolist() for column in columns))
    return dict(zip(ids, fills, strict=True))


def _restore_positions(state: State, raw: dict[str, Any]) -> None:
    table = raw["positions"]
    state.book.positions.load(*_columns(table, POSITION, state, len(table["lots"]) // 8))
    for contract in state.contracts.values():
        contract.load()
        contract.largest = raw["contracts"][contract.contract.name]["largest"]


def _columns(raw: dict[str, Any], names: Iterable[str], state: State, count: int) -> list[Column]:
    """Columns of `count` rows, whose accounts and contracts exist."""
    columns = [np.frombuffer(raw[name], np.int64) for name in names]
    if any(len(column) != count for column in columns):
        raise ValueError("columns of different lengths")
    accounts, contracts = columns[:2]
    if count and (min(accounts.min(), contracts.min()) < 0 or accounts.max() >= state.book.count):
        raise ValueError("a row of an account that is not there")
    if count and contracts.max() >= len(state.contracts):
        raise ValueError("a row of a contract that is not there")
    return columns
