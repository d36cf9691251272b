"""What the properties share: an engine that takes bare commands, recorded streams, and simple accounts."""

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import msgspec
from tests.model.auditor import Auditor
from tests.model.rulebooks import SETTINGS, US, Setting, document
from tests.model.rulebooks_margins import SETTINGS as MARGINS
from tests.model.rulebooks_waterfall import HEDGED, WATERFALLS
from tests.model.streams import Stream, plain
from tests.model.streams_look import START

from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine import image
from closeout.engine.commands import Input
from closeout.engine.engine import Engine
from closeout.engine.state import State

STREAMS = 120
WATERFALL_STREAMS = 60
HEDGED_STREAMS = 60
NETTING_STREAMS = 8
LENGTH = 120
WATERFALL_LENGTH = 150


@cache
def recorded(seed: int) -> tuple[Input, ...]:
    """A stream's inputs; every kind of command, refused ones included. The customer owes what is left of a deficit."""
    return _recorded(seed, SETTINGS[seed % len(SETTINGS)], LENGTH)


@cache
def recorded_waterfall(seed: int) -> tuple[Input, ...]:
    """The same where others take positions and bear deficits."""
    return _recorded(seed, WATERFALLS[seed % len(WATERFALLS)], WATERFALL_LENGTH)


@cache
def recorded_hedged(seed: int) -> tuple[Input, ...]:
    """The same under rulebooks with a hedge mode, whose legs are traded as well."""
    return _recorded(seed, HEDGED[seed % len(HEDGED)], WATERFALL_LENGTH)


@cache
def recorded_netting(seed: int) -> tuple[Input, ...]:
    """The same where longs net against shorts."""
    return _recorded(seed, next(setting for setting in MARGINS if setting.name == "netting"), LENGTH)


def all_recorded() -> list[tuple[Input, ...]]:
    found = [recorded(seed) for seed in range(STREAMS)]
    found += [recorded_waterfall(seed) for seed in range(WATERFALL_STREAMS)]
    return found + [recorded_netting(seed) for seed in range(NETTING_STREAMS)]


def _recorded(seed: int, setting: Setting, length: int) -> tuple[Input, ...]:
    auditor = Auditor()
    stream = Stream(Random(seed), setting, auditor)
    inputs: list[Input] = []
    for _ in range(length):
        given = stream.next()
        auditor.apply(given.source, given.number, given.time, plain(given.command))
        stream.took(given)
        inputs.append(given)
    return tuple(inputs)


def replay(inputs: tuple[Input, ...], look: Callable[[Engine, Input, list[e.AnyEvent]], None]) -> Engine:
    """A fresh engine fed with the inputs; `look` sees it after each."""
    engine = Engine()
    for given in inputs:
        look(engine, given, engine.apply(given))
    return engine


def state_image(engine: Engine) -> bytes:
    """The state without the numbers of its sources: what a refused input must leave alone."""
    return image.encode({}, 0, engine.state)


class Desk:
    """An engine fed with bare commands by one source, a second apart."""

    def __init__(self, rulebook: bytes, prices: dict[str, int]) -> None:
        self.engine = Engine()
        self.number = self.fills = 0
        self.time = START
        self.prices: dict[str, int] = {}
        self.put(c.LoadRulebook(rulebook))
        self.mark(prices)

    @property
    def state(self) -> State:
        return self.engine.loaded

    def put(self, command: Any) -> list[e.AnyEvent]:
        self.number += 1
        self.time += 10**9
        events = self.engine.apply(Input("desk", self.number, self.time, command))
        assert self.engine.imbalances() == []
        return events

    def accept(self, command: Any) -> list[e.AnyEvent]:
        events = self.put(command)
        assert not [event for event in events if isinstance(event, e.Rejected)], f"{command}: {events}"
        return events

    def mark(self, prices: dict[str, int]) -> list[e.AnyEvent]:
        self.prices.update(prices)
        return self.accept(c.Marks(tuple(c.Mark(name, ticks) for name, ticks in prices.items())))

    def open(self, account_id: str, cash: int = 0, owner: str = "") -> None:
        self.accept(c.OpenAccount(account_id, owner))
        if cash:
            self.accept(c.Deposit(account_id, cash))

    def fill(self, account_id: str, name: str, lots: int, ticks: int, order_id: str = "x") -> list[e.AnyEvent]:
        self.fills += 1
        return self.accept(c.Fill(account_id, name, lots, ticks, order_id, f"f{self.fills}"))

    def bring(self, account_id: str, positions: dict[str, int]) -> list[e.AnyEvent]:
        """Positions at the marks, in one transfer."""
        events: list[e.AnyEvent] = []
        for index, (name, lots) in enumerate(positions.items(), start=1):
            contract = self.state.contracts[name].contract
            cost = contract.value(self.prices[name], lots)
            last = index == len(positions)
            events = self.accept(c.TransferPosition(account_id, name, lots, cost, last))
        return events

    def row(self, account_id: str) -> int:
        return self.state.book.row[account_id]

    def net_liq(self, account_id: str) -> int:
        return self.state.risk(self.row(account_id)).net_liq

    def position(self, account_id: str, name: str) -> int:
        return self.state.contracts[name].position(self.row(account_id)).lots

    def level(self, account_id: str) -> str:
        return self.state.level(self.row(account_id)).name.lower()

    def outstanding(self, account_id: str) -> dict[str, tuple[str, int]]:
        active = self.state.book.close_outs.get(self.row(account_id))
        return dict(active.outstanding) if active else {}


def orders(events: list[e.AnyEvent]) -> list[e.CloseOutOrder]:
    return [event for event in events if isinstance(event, e.CloseOutOrder)]


def dollars(size: str, margin: str, initial: str, **more: Any) -> dict[str, Any]:
    """A contract with fixed margins and no rounding anywhere."""
    tier = {"intraday_margin": margin, "initial_margin": initial, "maintenance_margin": margin}
    return {"tick": "0.25", "lot": "1", "contract_size": size, "negative_prices": True, "tiers": [tier], **more}


def us_with(contracts: dict[str, Any], **changes: Any) -> bytes:
    table = msgspec.json.decode(msgspec.json.encode({**US, **changes}))
    table["contracts"] = contracts
    return document(table)


DOLLARS = us_with(
    {
        "MES": dollars("5", "50", "2500", fee_per_contract="0.37"),
        "CL": dollars("100", "150", "700", fee_per_contract="0.99"),
    },
    marks={"jump": "100", "stale_after_seconds": 10**6, "unpriced_move": "0.5"},
)
"""Fixed margins, part closed to 80 %: no rounding anywhere, no jumps, no stale marks."""

PRICES = {"MES": 20_000, "CL": 400}
