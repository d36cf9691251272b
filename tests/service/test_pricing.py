"""From what feeds say to the marks that are offered, and what the desk sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import pytest
from tests.service.api.harness import HandClock

from closeout.adapters.feeds.port import FeedStatus, Observation
from closeout.adapters.feeds.selector import MarkSelector
from closeout.core.times import SECOND
from closeout.rulebooks.loader import load
from closeout.service.config import Config, ContractTable, Source
from closeout.service.pricing import Pricing, routes
from closeout.service.schedule import Samples
from closeout.service.writer import Writer

CONTRACT = "PBTCUCZ50"


class SilentFeed:
    def __init__(self, name: str) -> None:
        self.name, self.status = name, FeedStatus(name)

    async def run(self, publish: Callable[[Observation], None]) -> None:
        await asyncio.Event().wait()


class Offers:
    """Stands in for the writer: keeps the marks that are offered."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, dict[str, int | None]]] = []

    def offer_marks(self, source: str, marks: dict[str, int | None]) -> None:
        self.marks.append((source, dict(marks)))


@pytest.mark.rule("G-06", "G-11", "G-19")
def test_the_mark_comes_from_the_best_source_and_every_price_is_shown_with_its_grade() -> None:
    async def run() -> None:
        policy, clock, writer = load("kraken-us").policy(), HandClock(), Offers()
        sources = [Source(feed="one", market="XBT"), Source(feed="two", market="BTC")]
        config = Config(rulebook="kraken-us", contracts={CONTRACT: ContractTable(sources=sources)})
        selector = MarkSelector(routes(config, policy))
        feeds = [SilentFeed("one"), SilentFeed("two")]
        samples = {CONTRACT: Samples()}
        pricing = Pricing(feeds, selector, MarkSelector({}), cast(Writer, writer), clock, samples)

        def hear(feed: str, market: str, price: str) -> None:
            pricing.heard(Observation(feed, market, Decimal(price), None, clock.now()))

        def shown() -> list[list[tuple[Any, ...]]]:
            return [
                [(row["contract"], row["market"], row["price"], row["age_seconds"], row["grade"], row["selected"])
                 for row in feed["prices"]]
                for feed in pricing.status()
            ]  # fmt: skip

        assert shown() == [
            [(CONTRACT, "XBT", None, None, "missing", False)], [(CONTRACT, "BTC", None, None, "missing", False)]
        ]  # fmt: skip
        tick = policy.contracts[CONTRACT].contract.tick
        hear("two", "BTC", "64000")
        hear("one", "XBT", "65000")
        await asyncio.sleep(0)  # both came in one turn of the loop: one look, one mark
        assert writer.marks == [("feed:one", {CONTRACT: int(65000 / tick)})]
        assert shown() == [
            [(CONTRACT, "XBT", "65000", 0, "ok", True)], [(CONTRACT, "BTC", "64000", 0, "ok", False)]
        ]  # fmt: skip
        clock.time += 6 * SECOND
        hear("two", "BTC", "64000.00")
        await asyncio.sleep(0)
        assert writer.marks[1:] == [("feed:two", {CONTRACT: int(64000 / tick)})]
        assert shown() == [
            [(CONTRACT, "XBT", "65000", 6, "stale", False)], [(CONTRACT, "BTC", "64000.00", 0, "ok", True)]
        ]  # fmt: skip

    asyncio.run(run())
