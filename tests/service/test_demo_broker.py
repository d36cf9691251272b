"""The demo's broker fills what the Portfolio page sends, and nothing else; what the demo tells its customers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.adapters.notices.test_wording import PROMISES
from tests.service.api.harness import Service, running

from closeout.engine.commands import CancelOrder, CheckOrder, Halt, SessionChange
from closeout.engine.events import OrderApproved
from closeout.service import demo
from closeout.service.demo_broker import DemoBroker
from closeout.service.store import Query, records


@asynccontextmanager
async def broking(folder: Path) -> AsyncGenerator[Service]:
    """A service with the stand-in; MBT trades at 70,000."""
    async with running(folder) as service:
        broker = DemoBroker(service.context.writer, service.clock)
        service.context.writer.subscribers.append(broker.take)
        task = asyncio.create_task(broker.run())
        try:
            session = service.context.writer.engine.loaded.contracts["MBT"].session
            assert session is not None
            await service.put_in(SessionChange(session, "intraday", is_open=True))
            yield service
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def order(service: Service, order_id: str, lots: int, limit: int | None = None) -> None:
    outcome = await service.context.writer.offer("customer", CheckOrder("A1", order_id, "MBT", lots, limit))
    assert isinstance(outcome.answers[0].events[0], OrderApproved), outcome


async def mark(service: Service, ticks: int) -> int:
    """The next mark; lots held once all is booked that follows from it."""
    await service.mark({"MBT": ticks})
    for _ in range(3):
        await asyncio.sleep(0)
        await service.context.writer.settled()
    state = service.context.writer.engine.loaded
    return state.contracts["MBT"].position(state.book.row["A1"]).lots


@pytest.mark.rule("US-07")
def test_an_order_at_market_fills_at_the_next_mark_and_others_do_not(tmp_path: Path) -> None:
    async def run() -> None:
        async with broking(tmp_path) as service:
            await mark(service, 14_000)
            await order(service, "web-1", 1)
            await order(service, "mine-1", 1)
            assert await mark(service, 14_010) == 1
            assert await mark(service, 14_020) == 1
            await service.projected()
            [fill] = (service.context.store.page(records.Fill, Query("A1"))).items
            assert (fill.order_id, fill.fill_id, fill.price_ticks, fill.source) == (
                "web-1",
                "web-1-f1",
                14_010,
                "broker",
            )
            assert set(service.context.writer.engine.loaded.order_owner) == {"mine-1"}

    asyncio.run(run())


@pytest.mark.rule("US-07")
def test_a_limit_order_waits_for_its_price_and_a_cancelled_one_for_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with broking(tmp_path) as service:
            await mark(service, 14_000)
            await order(service, "web-buy", 1, 13_990)
            await order(service, "web-gone", 1, 13_990)
            assert await mark(service, 13_995) == 0
            await service.put_in(CancelOrder("web-gone"))
            assert await mark(service, 13_985) == 1
            await order(service, "web-sell", -1, 14_000)
            assert await mark(service, 13_999) == 1
            assert await mark(service, 14_000) == 0
            await service.projected()
            fills = service.context.store.page(records.Fill, Query("A1")).items
            assert [(fill.order_id, fill.price_ticks) for fill in fills] == [("web-buy", 13_985), ("web-sell", 14_000)]

    asyncio.run(run())


@pytest.mark.rule("US-21")
def test_nothing_fills_in_a_market_that_is_halted(tmp_path: Path) -> None:
    async def run() -> None:
        async with broking(tmp_path) as service:
            await mark(service, 14_000)
            await order(service, "web-1", 1)
            await service.put_in(Halt("MBT", True))
            assert await mark(service, 14_001) == 0
            await service.put_in(Halt("MBT", False))
            assert await mark(service, 14_002) == 1

    asyncio.run(run())


@pytest.mark.rule("G-16")
def test_an_order_that_works_over_a_restart_fills_after_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with broking(tmp_path) as service:
            await mark(service, 14_000)
            await order(service, "web-1", 1)
        async with broking(tmp_path) as service:
            assert await mark(service, 14_001) == 1

    asyncio.run(run())


@pytest.mark.rule("US-18")
def test_what_the_demo_tells_its_customers_promises_nothing() -> None:
    text = re.sub(r"\s+", " ", demo.TEXT.read_text(encoding="utf-8"))
    assert [promise for promise in PROMISES if promise in text.lower()] == []
    assert "A close-out does not cap your loss." in text
    assert "you owe that amount" in text
