"""Close-out orders through the outbox to a venue with faults: never twice, never lost, never on a guess (G-16)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from closeout.adapters.venues.port import (
    ABSENT,
    UNKNOWN,
    Absent,
    Done,
    Execution,
    Found,
    NotConnected,
    Refused,
    Reporter,
    Uncertain,
    Unknown,
    VenueOrder,
)
from closeout.core.times import MILLISECOND
from closeout.engine import commands as c
from closeout.engine.commands import AnyCommand
from closeout.rulebooks.loader import load
from closeout.service.orders import OrderDesk
from closeout.service.projector import Projector
from closeout.service.store.records import Alarm, Query
from closeout.service.vault import Vault
from closeout.service.writer import Writer

BOOK = load("reference")
BTC = BOOK.policy().contracts["BTCUSDT"].contract


class QuickClock:
    """Real time, a thousand times as fast, so that pauses cost little."""

    speed = 1000.0

    def __init__(self) -> None:
        self.time = 10**18

    def now(self) -> int:
        self.time += 1000
        return self.time

    async def sleep(self, nanoseconds: int) -> None:
        await asyncio.sleep(max(0, nanoseconds) / 10**9 / self.speed)
        self.time += nanoseconds


@dataclass
class FaultyVenue:
    """Takes orders as `script` says, one entry for each `place` (then "take"): take, refuse, lost_before (the order
    never arrived, and nobody knows), lost_after (it arrived, and nobody knows), away. `silent` finds answer Unknown."""

    script: list[str] = field(default_factory=list)
    silent: int = 0
    name: str = "faulty"
    connected: bool = True
    taken: dict[str, VenueOrder] = field(default_factory=dict)
    placed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    cancel_fault: bool = False
    told_short: int = 0
    """Of its fills, how many lots `find` tells less than it says it has filled."""
    fill_at: int | None = 3_000_000
    reporter: Reporter | None = None

    def remember(self, order: VenueOrder, sent_at: int) -> None:
        pass

    async def run(self, report: Reporter) -> None:
        self.reporter = report
        await asyncio.Event().wait()

    async def place(self, order: VenueOrder) -> None:
        self.placed.append(order.order_id)
        step = self.script.pop(0) if self.script else "take"
        if step == "refuse":
            raise Refused("not today")
        if step == "away":
            raise NotConnected("no line")
        if step == "lost_before":
            raise Uncertain("the line broke")
        assert order.order_id not in self.taken, "an order came twice"
        self.taken[order.order_id] = order
        if step == "lost_after":
            raise Uncertain("the line broke")
        if self.fill_at is not None:
            await self.fill(order.order_id)

    async def fill(self, order_id: str) -> None:
        order, price = self.taken[order_id], self.fill_at or 0
        assert self.reporter is not None
        await self.reporter(Execution(order_id, f"{order_id}-f1", order.contract.name, order.lots, price))
        await self.reporter(Done(order_id, "filled"))

    async def cancel(self, order_id: str) -> None:
        self.cancelled.append(order_id)
        if self.cancel_fault:
            raise Uncertain("unknown here")

    async def find(self, order_id: str, sent_at: int) -> Found | Absent | Unknown:
        self.asked.append(order_id)
        if self.silent:
            self.silent -= 1
            return UNKNOWN
        if order_id not in self.taken:
            return ABSENT
        order = self.taken[order_id]
        if self.fill_at is None:
            return Found(done=False)
        execution = Execution(order_id, f"{order_id}-f1", order.contract.name, order.lots, self.fill_at)
        return Found(done=True, executions=(execution,), filled=abs(order.lots) + self.told_short)


@dataclass
class House:
    """Everything between the writer and the venue, on real files."""

    writer: Writer
    desk: OrderDesk
    vault: Vault

    async def say(self, *commands: AnyCommand) -> None:
        for command in commands:
            assert (await self.writer.offer("bench", command)).rejected is None

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.005)

    @property
    def flat(self) -> bool:
        state = self.writer.engine.loaded
        return not state.book.close_outs and not any(len(x.holders()) for x in state.contracts.values())

    def alarms(self) -> list[str]:
        return [row.code for row in self.vault.store.page(Alarm, Query()).items]


def running(folder: Path, venue: FaultyVenue, scenario: Callable[[House], Awaitable[Any]]) -> None:
    """Run a scenario in a house on `folder`; what is under way when it ends is cut off."""

    async def main() -> None:
        clock = QuickClock()
        vault = Vault.open(str(folder / "j.sqlite"), str(folder / "s.sqlite"), BOOK, clock.now(), webhooks=False)
        writer = Writer(vault.engine, vault.journal, vault.seq, clock, vault.thread, vault.store, vault.keys())
        projector = Projector(vault.store)
        desk = OrderDesk(vault.store, writer, venue, clock, patience=500 * MILLISECOND)
        writer.subscribers.append(projector.take)
        projector.wakers.append(desk.wake)
        tasks = [asyncio.create_task(x) for x in (writer.run(), projector.run(), desk.run())]
        try:
            await scenario(House(writer, desk, vault))
            await writer.settled()
            await projector.caught_up(writer.seq)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            vault.close()
        faults = [end for end in ends if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError)]
        assert faults == []

    asyncio.run(main())


LONG = 10_000
OPENING: tuple[AnyCommand, ...] = (
    c.Marks((c.Mark("BTCUSDT", 3_000_000),)),
    c.OpenAccount("A1"),
    c.Deposit("A1", 1_000_000_000),
    c.TransferPosition("A1", "BTCUSDT", LONG, BTC.value(3_000_000, LONG)),
)
CRASH = c.Marks((c.Mark("BTCUSDT", 2_910_000),))


@contextmanager
def sold_once(venue: FaultyVenue) -> Iterator[None]:
    yield
    assert [order.lots for order in venue.taken.values()] == [-LONG]


@pytest.mark.rule("G-07", "G-16")
def test_an_order_goes_out_once_and_its_fill_comes_back(tmp_path: Path) -> None:
    venue = FaultyVenue()

    async def scenario(house: House) -> None:
        await house.say(*OPENING, c.CheckOrder("A1", "mine", "BTCUSDT", -5, 3_100_000), CRASH)
        await house.until(lambda: house.flat)

    with sold_once(venue):
        running(tmp_path, venue, scenario)
    assert venue.cancelled == ["mine"]  # and it went out before the order (G-07)


@pytest.mark.rule("G-16")
@pytest.mark.parametrize(("fault", "places", "asks"), [("lost_before", 2, 1), ("lost_after", 1, 1), ("away", 2, 0)])
def test_a_doubt_is_cleared_by_asking(tmp_path: Path, fault: str, places: int, asks: int) -> None:
    venue = FaultyVenue([fault])

    async def scenario(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: house.flat)

    with sold_once(venue):
        running(tmp_path, venue, scenario)
    assert (len(venue.placed), len(venue.asked)) == (places, asks)
    assert len(set(venue.placed)) == 1  # the same client id each time


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("fault", ["lost_before", "lost_after"])
def test_what_the_venue_cannot_say_freezes_the_leg_and_alarms_once(tmp_path: Path, fault: str) -> None:
    venue = FaultyVenue([fault], silent=4)

    async def scenario(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: bool(house.desk.frozen))
        assert len(venue.placed) == 1
        await house.until(lambda: house.flat)
        assert house.desk.frozen == {}
        assert house.alarms().count("order_unknown") == 1

    with sold_once(venue):
        running(tmp_path, venue, scenario)


@pytest.mark.rule("G-16")
def test_a_refused_order_is_planned_anew_under_another_id(tmp_path: Path) -> None:
    venue = FaultyVenue(["refuse", "refuse"])

    async def scenario(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: house.flat)
        assert house.alarms().count("order_refused") == 2

    with sold_once(venue):
        running(tmp_path, venue, scenario)
    assert len(set(venue.placed)) == 3


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("arrived", [False, True], ids=["before the venue had it", "after the venue had it"])
def test_killed_while_sending_the_next_process_asks_first(tmp_path: Path, arrived: bool) -> None:
    venue = FaultyVenue()
    place = venue.place

    async def hang(order: VenueOrder) -> None:
        """Mark `sending` is durable; then the process ends, before or after the order arrived."""
        if arrived:
            venue.taken[order.order_id] = order
        await asyncio.Event().wait()

    venue.place = hang  # type: ignore[method-assign]

    async def before(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: any(e.kind == "order" for e in house.vault.store.sending_effects()))
        await house.until(lambda: bool(venue.taken) or not arrived)

    running(tmp_path, venue, before)
    venue.place = place  # type: ignore[method-assign]

    async def after(house: House) -> None:
        await house.until(lambda: house.flat)

    with sold_once(venue):
        running(tmp_path, venue, after)
    assert venue.asked
    assert len(venue.placed) == (0 if arrived else 1)


@pytest.mark.rule("G-16")
def test_an_order_acknowledged_before_the_kill_is_adopted_with_its_fills(tmp_path: Path) -> None:
    venue = FaultyVenue(fill_at=None)

    async def before(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: bool(venue.taken) and not house.vault.store.sending_effects())

    running(tmp_path, venue, before)
    venue.fill_at = 2_900_000

    async def after(house: House) -> None:
        await house.until(lambda: house.flat)
        ended = [row for row in house.vault.store.page(Alarm, Query()).items]
        assert ended == []

    with sold_once(venue):
        running(tmp_path, venue, after)
    assert len(venue.placed) == 1


@pytest.mark.rule("G-16")
def test_an_acknowledged_order_that_the_venue_lost_is_planned_anew(tmp_path: Path) -> None:
    venue = FaultyVenue(fill_at=None)

    async def before(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: bool(venue.taken) and not house.vault.store.sending_effects())

    running(tmp_path, venue, before)
    lost = next(iter(venue.taken))
    venue.taken.clear()
    venue.fill_at = 2_900_000

    async def after(house: House) -> None:
        await house.until(lambda: house.flat)

    with sold_once(venue):
        running(tmp_path, venue, after)
    assert lost not in venue.taken


@pytest.mark.rule("G-07", "G-08")
def test_a_close_out_does_not_wait_for_ever_for_a_cancel_that_the_venue_cannot_do(tmp_path: Path) -> None:
    venue = FaultyVenue(cancel_fault=True)

    async def scenario(house: House) -> None:
        await house.say(*OPENING, c.CheckOrder("A1", "mine", "BTCUSDT", -5, 3_100_000), CRASH)
        await house.until(lambda: house.flat)
        await house.until(lambda: "cancel_failed" in house.alarms())

    with sold_once(venue):
        running(tmp_path, venue, scenario)
    assert venue.cancelled == ["mine"] * 3


@pytest.mark.rule("G-16")
def test_fills_that_nobody_told_of_are_an_alarm(tmp_path: Path) -> None:
    venue = FaultyVenue(["lost_after"], told_short=7)

    async def scenario(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: house.flat)
        await house.until(lambda: "fills_missing" in house.alarms())

    with sold_once(venue):
        running(tmp_path, venue, scenario)


@pytest.mark.rule("G-09", "G-16")
def test_a_fill_told_twice_is_booked_once(tmp_path: Path) -> None:
    venue = FaultyVenue()

    async def scenario(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: house.flat)
        await venue.fill(next(iter(venue.taken)))
        await house.writer.settled()
        assert house.flat

    with sold_once(venue):
        running(tmp_path, venue, scenario)


@pytest.mark.rule("G-18")
def test_a_fill_of_an_order_that_nobody_knows_goes_to_suspense_with_an_alarm(tmp_path: Path) -> None:
    venue = FaultyVenue()

    async def scenario(house: House) -> None:
        await house.say(*OPENING)
        await house.until(lambda: venue.reporter is not None)
        assert venue.reporter is not None
        await venue.reporter(Execution("strange", "strange-f1", "BTCUSDT", 3, 3_000_000))
        state = house.writer.engine.loaded
        assert state.contracts["BTCUSDT"].position(state.row("suspense")).lots == 3
        await house.until(lambda: "unknown_account" in house.alarms())

    running(tmp_path, venue, scenario)


@dataclass
class SlowVenue(FaultyVenue):
    """Its first order is on its way until `arrive` is set; meanwhile the line comes and goes."""

    arrive: asyncio.Event = field(default_factory=asyncio.Event)

    async def place(self, order: VenueOrder) -> None:
        if not self.placed:
            self.placed.append(order.order_id)
            await self.arrive.wait()
            self.placed.pop()
        await super().place(order)


@pytest.mark.rule("G-16")
def test_an_order_that_is_under_way_is_not_taken_for_absent_when_the_line_comes_back(tmp_path: Path) -> None:
    """The other account's order finds the line broken, and the reconnect asks about everything that is being sent."""
    venue = SlowVenue()

    async def scenario(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: bool(venue.placed))
        venue.connected = False
        await house.say(
            c.OpenAccount("B1"), c.Deposit("B1", 1_000_000_000),
            c.TransferPosition("B1", "BTCUSDT", LONG, BTC.value(3_000_000, LONG)), CRASH,
        )  # fmt: skip
        await asyncio.sleep(0.5)
        venue.connected = True
        await house.until(lambda: len(venue.taken) == 1)
        venue.arrive.set()
        await house.until(lambda: house.flat)

    running(tmp_path, venue, scenario)
    assert sorted(order.account_id for order in venue.taken.values()) == ["A1", "B1"]
    assert len(venue.placed) == 2


@dataclass
class BrokenVenue(FaultyVenue):
    """An adapter with a mistake in it: `faults` calls of `place`, and as many of `find`, raise what no port allows."""

    faults: int = 2

    async def place(self, order: VenueOrder) -> None:
        if self.faults:
            raise KeyError("symbol")
        await super().place(order)

    async def find(self, order_id: str, sent_at: int) -> Found | Absent | Unknown:
        if self.faults:
            self.faults -= 1
            raise KeyError("clientOrderId")
        return await super().find(order_id, sent_at)


@pytest.mark.rule("G-16")
def test_an_adapters_own_error_is_a_doubt_and_does_not_end_the_service(tmp_path: Path) -> None:
    venue = BrokenVenue()

    async def scenario(house: House) -> None:
        await house.say(*OPENING, CRASH)
        await house.until(lambda: house.flat)
        await house.until(lambda: house.alarms().count("order_unknown") == 1)

    with sold_once(venue), capture_logs() as logged:
        running(tmp_path, venue, scenario)
    assert "order not placed" in [entry["event"] for entry in logged]


@pytest.mark.rule("G-18")
def test_a_fill_that_the_engine_cannot_book_is_an_alarm(tmp_path: Path) -> None:
    venue = FaultyVenue(fill_at=None)

    async def scenario(house: House) -> None:
        await house.say(*OPENING)
        await house.until(lambda: venue.reporter is not None)
        assert venue.reporter is not None
        await venue.reporter(Execution("gone", "gone-f1", "NOTHERE", 7, 3_000_000))
        await house.until(lambda: "execution_not_booked" in house.alarms())

    running(tmp_path, venue, scenario)
