"""The projector tells who waits for it, also when it is never idle and when it has died."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from tests.service.store.batches import applied

from closeout.service.projector import Projector


class Shelf:
    """A store in name."""

    projected_seq = 0

    def __init__(self, broken_at: int = 0) -> None:
        self.broken_at = broken_at

    def project(self, batch: Any) -> None:
        if self.broken_at and batch[-1].seq >= self.broken_at:
            raise OSError("the disk is full")
        self.projected_seq = batch[-1].seq


def projecting(shelf: Any, scenario: Any) -> None:
    async def main() -> None:
        projector = Projector(shelf)
        run = asyncio.create_task(projector.run())
        try:
            async with asyncio.timeout(5):
                await scenario(projector)
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    asyncio.run(main())


def test_who_waits_hears_of_it_while_more_keeps_coming() -> None:
    async def scenario(projector: Projector) -> None:
        seq = 0

        def more() -> None:
            nonlocal seq
            seq += 1
            projector.take([applied(seq)])
            coming.append(asyncio.get_running_loop().call_soon(more))

        coming: list[Any] = []
        more()
        await projector.caught_up(50)
        coming[-1].cancel()

    projecting(Shelf(), scenario)


def test_who_waits_for_a_projection_that_has_died_hears_of_it() -> None:
    async def scenario(projector: Projector) -> None:
        waiting = asyncio.create_task(projector.caught_up(3))
        await asyncio.sleep(0)
        for seq in (1, 2, 3):
            projector.take([applied(seq)])
            await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="has stopped at input 1"):
            await waiting
        with pytest.raises(RuntimeError, match="has stopped at input 1"):
            await projector.caught_up(3)

    projecting(Shelf(broken_at=2), scenario)


@pytest.mark.rule("G-08")
def test_readers_who_fill_the_loops_threads_do_not_hold_it_up() -> None:
    async def scenario(projector: Projector) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        read = Event()
        reading = asyncio.create_task(asyncio.to_thread(read.wait))
        projector.take([applied(1)])
        await projector.caught_up(1)
        read.set()
        await reading

    projecting(Shelf(), scenario)
