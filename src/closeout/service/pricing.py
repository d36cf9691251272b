"""From feeds to marks: what is heard is recorded, the best source of each contract is chosen, its mark is offered.

The input's source is the feed that the mark came from, so that every receipt names it (G-06, G-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from closeout.adapters.feeds.port import Feed, Observation
from closeout.adapters.feeds.recorder import Recorder
from closeout.adapters.feeds.selector import GradedMark, MarkSelector, Route
from closeout.core.times import SECOND, time_text
from closeout.core.units import rate
from closeout.engine.commands import RaiseAlarm
from closeout.rulebooks.policy import Policy
from closeout.service.config import Config, ContractTable, FeedTable, Source
from closeout.service.schedule import Samples
from closeout.service.time import Clock
from closeout.service.writer import Refused, Writer

LOOK = 0.25
"""Seconds between two looks for what has grown stale."""
SAMPLE = 15 * SECOND
"""Between two premium samples: 1,920 in eight hours (US-14)."""


@dataclass(slots=True)
class Pricing:
    """Keeps the feeds running. `selector` chooses marks, `index` spot prices for funding."""

    feeds: Sequence[Feed]
    selector: MarkSelector
    index: MarkSelector
    writer: Writer
    clock: Clock
    samples: Mapping[str, Samples]
    recorder: Recorder | None = None
    _pending: bool = False
    _lost: set[str] = field(default_factory=set[str])
    _spot: dict[str, int] = field(default_factory=dict[str, int])
    _sampled: int = 0

    async def run(self) -> None:
        """Listen to every feed, for ever."""
        async with asyncio.TaskGroup() as group:
            for feed in self.feeds:
                group.create_task(feed.run(self.heard))
            while True:
                await asyncio.sleep(LOOK)
                self._select()
                self._sample()
                await self._watch()

    def heard(self, observation: Observation) -> None:
        """An observation: marks are chosen once for all that is heard in the same turn of the loop (G-19)."""
        if self.recorder is not None:
            self.recorder.record(observation)
        self.selector.observe(observation)
        self.index.observe(observation)
        if not self._pending:
            self._pending = True
            asyncio.get_running_loop().call_soon(self._select)

    def _select(self) -> None:
        self._pending = False
        now = self.clock.now()
        for feed, marks in self.selector.select(now).items():
            for name, ticks in marks.items():
                if ticks is not None:
                    self.samples[name].mark(now, ticks)
            self.writer.offer_marks(f"feed:{feed}", marks)
        for marks in self.index.select(now).values():
            for name, ticks in marks.items():
                if ticks is None:
                    self._spot.pop(name, None)
                else:
                    self._spot[name] = ticks

    def _sample(self) -> None:
        """A premium sample for funding, where a mark and an index are known."""
        now = self.clock.now()
        if now - self._sampled < SAMPLE:
            return
        self._sampled = now
        for name, spot in self._spot.items():
            mark = self.writer.engine.loaded.contracts[name].mark
            if mark is not None:
                self.samples[name].sample(now, mark, Fraction(spot))

    async def _watch(self) -> None:
        """A feed that was heard and is not any more is an alarm, once, and so is its return."""
        for feed in self.feeds:
            status = feed.status
            if not status.connected and feed.name not in self._lost and (status.messages or status.reconnects):
                self._lost.add(feed.name)
                heard = time_text(status.last_message_at) if status.last_message_at else "never"
                await self._alarm("feed_lost", f"{feed.name}: last heard {heard}; {status.last_fault}"[:500])
            elif status.connected and feed.name in self._lost:
                self._lost.discard(feed.name)
                await self._alarm("feed_back", f"{feed.name} is connected again")

    async def _alarm(self, code: str, detail: str) -> None:
        try:
            await self.writer.offer("service", RaiseAlarm("", code, detail))
        except Refused:
            self._lost.clear()  # told again at the next look

    def status(self) -> list[dict[str, Any]]:
        """Every feed's health, with the grade of each price that it gives."""
        grades = self.selector.grades(self.clock.now())
        return [_status(feed, [row for row in grades if row.feed == feed.name]) for feed in self.feeds]


def _status(feed: Feed, grades: Sequence[GradedMark]) -> dict[str, Any]:
    status = feed.status
    return {
        "feed": feed.name,
        "connected": status.connected,
        "last_message_at": None if status.last_message_at is None else time_text(status.last_message_at),
        "messages": status.messages,
        "malformed": status.malformed,
        "reconnects": status.reconnects,
        "out_of_order": status.out_of_order,
        "gaps": status.gaps,
        "unsubscribed": status.unsubscribed,
        "last_fault": status.last_fault,
        "prices": [
            {
                "contract": row.contract,
                "market": row.market,
                "price": None if row.price is None else format(row.price, "f"),
                "age_seconds": None if row.age_ns is None else row.age_ns // SECOND,
                "grade": row.grade.value,
                "selected": row.selected,
            }
            for row in grades
        ],
    }


def routes(config: Config, policy: Policy, *, index: bool = False) -> dict[str, Route]:
    """The routes of the configured contracts to their marks, or to their index."""
    found: dict[str, Route] = {}
    for name, table in config.contracts.items():
        sources = _sources(table.index if index else table.sources)
        if sources:
            jump = None if table.jump is None else rate(table.jump, f"contracts.{name}.jump")
            stale = int(table.stale_after_seconds * SECOND)
            found[name] = Route(policy.contracts[name].contract, sources, stale, jump)
    return found


def _sources(given: Sequence[Source]) -> tuple[tuple[str, str], ...]:
    return tuple((source.feed, source.market) for source in given)


def make_feeds(config: Config, clock: Clock) -> list[Feed]:
    """The configured feeds, each with the markets that some contract asks of it."""
    return [_make_feed(table, _markets(config, table.name), clock) for table in config.feeds]


def _markets(config: Config, feed: str) -> list[str]:
    tables: list[ContractTable] = list(config.contracts.values())
    wanted = [s.market for table in tables for s in (*table.sources, *table.index) if s.feed == feed]
    return list(dict.fromkeys(wanted))


def _make_feed(table: FeedTable, markets: list[str], clock: Clock) -> Feed:
    from closeout.adapters.feeds.ccxt_feed import CcxtFeed
    from closeout.adapters.feeds.coinbase import Coinbase
    from closeout.adapters.feeds.kraken_futures import KrakenFutures
    from closeout.adapters.feeds.kraken_spot import KrakenSpot

    if table.kind == "ccxt":
        return CcxtFeed(table.exchange, markets, name=table.name, clock=clock.now)
    kinds = {"kraken_futures": KrakenFutures, "kraken_spot": KrakenSpot, "coinbase": Coinbase}
    make = kinds[table.kind]
    if not table.url:
        return make(markets, name=table.name, clock=clock.now)
    return make(markets, name=table.name, url=table.url, clock=clock.now)
