"""The clock's duties over kills, pauses and clocks that are set back: each comes once, none is left out."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from tests.engine.bench import Desk, nanoseconds

from closeout.core.times import MINUTE, SECOND
from closeout.engine import commands as c
from closeout.engine.commands import Input
from closeout.engine.engine import Engine
from closeout.engine.events import AnyEvent
from closeout.rulebooks.loader import load
from closeout.service import time as service_time
from closeout.service.schedule import Schedule
from closeout.service.time import SystemClock
from closeout.service.timekeeper import Timekeeper
from closeout.service.writer import Writer

BOOK = load("kraken-us")
PERP = "PBTCUCZ50"
BEGIN, END = "2026-06-09T20:00:00Z", "2026-06-11T13:00:00Z"
"""Two business days' beginnings, five ends of funding intervals."""
ONCE = (c.AccrueFunding, c.BookFunding, c.BusinessDay, c.TradeDate, c.Settle, c.RaiseAlarm)


class HandClock:
    """Time stands until somebody sleeps, or goes on by `step` whenever somebody looks."""

    speed = 1.0

    def __init__(self, time: int, step: int = 0) -> None:
        self.time, self.step = time, step

    def now(self) -> int:
        self.time += self.step
        return self.time

    async def sleep(self, nanoseconds: int) -> None:
        self.time += max(nanoseconds, 1)


class Killed(Exception):
    """The process ended before a commit."""


class Journal:
    """Keeps frames; the one after `frames` kills the process."""

    def __init__(self, inputs: list[Input], frames: int) -> None:
        self.inputs, self.left = inputs, frames

    def append(self, inputs: Sequence[Input]) -> int:
        if not self.left:
            raise Killed
        self.left -= 1
        self.inputs += inputs
        return len(self.inputs)

    def record(self, seq: int, events: Sequence[AnyEvent]) -> None:
        pass

    def checkpoint(self, seq: int, engine: Engine) -> str:
        return ""

    def snapshot(self, seq: int, engine: Engine) -> str:
        return ""


def began() -> list[Input]:
    """A book with two funded positions, and a customer who flattens at a time."""
    desk = Desk("kraken-us", at=BEGIN)
    for command in (
        c.Marks((c.Mark(PERP, 20_000),)),
        *(c.OpenAccount(name) for name in ("A1", "A2")),
        *(c.Deposit(name, 10**12) for name in ("A1", "A2")),
        *(c.TransferPosition(name, PERP, 10, 20_000 * 10 * 50_000) for name in ("A1", "A2")),
        c.SetRiskSettings("A1", c.RiskSettings(flatten_at="03:00")),
        c.Tick(),
    ):
        desk.give(command, "service")
    return desk.inputs


async def live(
    inputs: list[Input], clock: HandClock, act: Callable[[Timekeeper], Awaitable[None]], frames: int
) -> bool:
    """One process on the journal's inputs, until it is killed or `act` is over; whether it lived."""
    engine = Engine()
    for given in inputs:
        engine.apply(given)
    with ThreadPoolExecutor(1) as thread:
        writer = Writer(engine, Journal(inputs, frames), len(inputs), clock, thread)
        run = asyncio.create_task(writer.run())
        keeper = Timekeeper(writer, Schedule(BOOK, "07:00"), clock)
        acting = asyncio.ensure_future(act(keeper))
        await asyncio.wait({run, acting}, return_when=asyncio.FIRST_COMPLETED)
        lived = acting.done() and acting.exception() is None
        acting.cancel()
        writer.stop()
        await asyncio.gather(run, acting, return_exceptions=True)
    return lived


async def begin(keeper: Timekeeper) -> None:
    await keeper.begin()


def said(inputs: Sequence[Input]) -> Counter[str]:
    return Counter(repr(given.command) for given in inputs if isinstance(given.command, ONCE))


@pytest.mark.rule("G-09", "G-16", "US-13", "US-14")
def test_a_kill_at_any_frame_of_a_catch_up_leaves_nothing_out_and_repeats_nothing() -> None:
    def after(kills: int) -> Counter[str]:
        inputs, clock = began(), HandClock(nanoseconds(END))
        if kills >= 0:
            assert asyncio.run(live(inputs, clock, begin, kills)) is False
        assert asyncio.run(live(inputs, clock, begin, -1))
        return said(inputs)

    whole = after(-1)
    assert len(whole) == sum(whole.values()) >= 8, whole
    for kills in range(8):
        assert after(kills) == whole, kills


@pytest.mark.rule("G-09", "US-14")
@pytest.mark.parametrize("minute", range(48, 60, 3))
@pytest.mark.parametrize("kills", range(1, 4))
def test_what_falls_due_while_a_frame_waits_is_said_by_the_next_process(minute: int, kills: int) -> None:
    """Frames are stamped later than their ticks were worked out; what is due in between is not taken as said."""

    async def keep(keeper: Timekeeper) -> None:
        await keeper.begin()
        await keeper.run()

    inputs = began()
    clock = HandClock(nanoseconds(f"2026-06-10T07:{minute}:30Z"), step=MINUTE)  # 08:00 is 03:00 in Chicago
    assert asyncio.run(live(inputs, clock, keep, kills)) is False
    assert asyncio.run(live(inputs, HandClock(nanoseconds("2026-06-10T08:30:00Z")), begin, -1))
    (found,) = [count for text, count in said(inputs).items() if "interval to 2026-06-10T08:00:00Z" in text]
    assert found == 1


@pytest.mark.rule("G-09")
def test_a_journal_that_is_ahead_of_the_clock_is_not_lived_through_again() -> None:
    async def set_back(keeper: Timekeeper) -> None:
        await keeper.begin()
        assert keeper.last == nanoseconds(END)
        assert keeper._until_next() <= keeper.tick  # pyright: ignore[reportPrivateUsage] - it ticks on all the same

    inputs, clock = began(), HandClock(nanoseconds(END))
    assert asyncio.run(live(inputs, clock, begin, -1))
    before = said(inputs)
    clock.time = nanoseconds(END) - 60 * MINUTE
    assert asyncio.run(live(inputs, clock, set_back, -1))
    assert said(inputs) == before


@pytest.mark.rule("G-06")
def test_a_clock_that_is_set_back_goes_on_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, counted = 1000 * SECOND, 0
    monkeypatch.setattr(service_time.time, "time_ns", lambda: wall)
    monkeypatch.setattr(service_time.time, "monotonic_ns", lambda: counted)
    clock = SystemClock()
    seen = [clock.now()]
    wall -= 100 * SECOND
    for _ in range(30):
        wall, counted = wall + 10 * SECOND, counted + 10 * SECOND
        seen.append(clock.now())
    assert seen[1] - seen[0] == 5 * SECOND
    assert seen[-1] == wall
    assert all(later > earlier for earlier, later in pairwise(seen))
