"""What the service does beside its work: snapshots although it is never idle, and what it forgets."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from closeout.core.times import MINUTE
from closeout.engine import commands as c
from closeout.rulebooks.loader import load
from closeout.service import service as service_module
from closeout.service.projector import Projector
from closeout.service.service import Service
from closeout.service.vault import Vault
from closeout.service.writer import Writer


class HandClock:
    speed = 1.0
    time = 10**18

    def now(self) -> int:
        return self.time

    async def sleep(self, nanoseconds: int) -> None:
        await asyncio.sleep(0)


def keeping_house(folder: Path, scenario: Callable[[Service, HandClock], Awaitable[Any]], **more: Any) -> None:
    """A service that has only its writer, its projector and its housekeeping."""

    async def main() -> None:
        clock = HandClock()
        book = load("reference")
        vault = Vault.open(str(folder / "j.sqlite"), str(folder / "s.sqlite"), book, clock.now(), webhooks=False)
        writer = Writer(vault.engine, vault.journal, vault.seq, clock, vault.thread, vault.store, vault.keys())
        projector = Projector(vault.store)
        nothing: Any = None
        service = Service(vault, writer, projector, nothing, nothing, nothing, clock, nothing, **more)
        writer.subscribers.append(projector.take)
        duties = (writer.run(), projector.run(), service._housekeeping())  # pyright: ignore[reportPrivateUsage]
        tasks = [asyncio.create_task(duty) for duty in duties]
        try:
            async with asyncio.timeout(20):
                await scenario(service, clock)
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            vault.close()

    asyncio.run(main())


@pytest.mark.rule("G-17")
def test_a_snapshot_is_taken_while_inputs_never_stop_coming(tmp_path: Path) -> None:
    async def scenario(service: Service, clock: HandClock) -> None:
        price = 3_000_000
        while not service.published:
            price += 1
            service.writer.offer_marks("feed:x", {"BTCUSDT": price})
            await asyncio.sleep(0)

    keeping_house(tmp_path, scenario, snapshot_every=10)


def test_replies_of_the_day_before_are_forgotten_and_a_figure_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module.asyncio, "sleep", quickly(asyncio.sleep))

    async def scenario(service: Service, clock: HandClock) -> None:
        service.watchers.append(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        await service.writer.offer("key:b", c.OpenAccount("A1"), key="k")
        await service.projector.caught_up(service.writer.seq)
        assert service.vault.store.reply_keys() == [("key:b", "k")]
        clock.time += 25 * 60 * MINUTE
        while service.vault.store.reply_keys():
            await asyncio.sleep(0.01)

    with capture_logs() as logged:
        keeping_house(tmp_path, scenario)
    assert {entry["event"] for entry in logged} == {"watcher failed"}


def quickly(sleep: Callable[[float], Awaitable[None]]) -> Callable[[float], Awaitable[None]]:
    """Whole seconds are hundredths."""
    return lambda seconds: sleep(seconds / 100 if seconds >= 1 else seconds)
