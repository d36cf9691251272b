"""The event feed where pages of what is new and a listener's catching up overlap."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from closeout.service.eventfeed import EventFeed, Listener, Place, Read, Sight, Told

EVERYTHING, SLOW = Sight(None), Sight(None)


class Scripted(EventFeed):
    """One event an input, two on a page. What a listener with the sight `SLOW` reads comes when `gate` is set, and so
    do pages that begin at or behind `held`."""

    def __init__(self) -> None:
        self.seq, self.held, self.gate, self.broken = 10, 10**9, asyncio.Event(), 0
        self.faults: list[BaseException] = []
        super().__init__(self, lambda: None, lambda where, error: self.faults.append(error))  # type: ignore[arg-type, return-value]

    @property
    def projected_seq(self) -> int:
        return self.seq

    async def page(self, after: Place, limit: int, sight: Sight) -> Read:
        if self.broken:
            self.broken -= 1
            raise OSError("the database is away")
        until = self.seq
        seqs = range(after[0] + bool(after[1]), until + 1)
        told = [Told((seq, 1), "posting", "A1", False, b"%d" % seq) for seq in seqs][:2]
        if after[0] >= self.held or sight is SLOW:
            await self.gate.wait()
        return Read(told, len(seqs) > 2, until)


def following(scenario: Callable[[Scripted], Any]) -> None:
    async def main() -> None:
        feed = Scripted()
        run = asyncio.create_task(feed.run())
        try:
            async with asyncio.timeout(5):
                await scenario(feed)
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    asyncio.run(main())


async def heard(listener: Listener, last: int) -> list[int]:
    found: list[int] = []
    while not found or found[-1] < last:
        found += [told.place[0] for told in listener.take()]
        await asyncio.sleep(0.01)
    return found


def test_who_joins_between_two_pages_of_what_is_new_misses_none() -> None:
    async def scenario(feed: Scripted) -> None:
        early, late = (Listener(sight, (10, 10**9), lambda: None) for sight in (EVERYTHING, SLOW))
        await feed.catch_up(early)
        feed.held = 12
        joining = asyncio.create_task(feed.catch_up(late))
        await asyncio.sleep(0)  # he has read as far as input 10
        feed.seq = 16
        assert await heard(early, 12) == [11, 12]
        feed.gate.set()
        assert await heard(late, 16) == [11, 12, 13, 14, 15, 16]
        await joining
        assert await heard(early, 16) == [13, 14, 15, 16]

    following(scenario)


@pytest.mark.parametrize("joined", [True, False])
def test_a_store_that_is_away_for_a_moment_drops_who_waits_and_stops_nobody(joined: bool) -> None:
    async def scenario(feed: Scripted) -> None:
        listener = Listener(EVERYTHING, (10, 10**9), lambda: None)
        if joined:
            await feed.catch_up(listener)
        feed.broken, feed.seq = 1, 12
        if joined:
            assert await heard(listener, 12) == [11, 12]
        else:
            await feed.catch_up(listener)
            assert listener.dropped
        assert len(feed.faults) == 1

    following(scenario)
