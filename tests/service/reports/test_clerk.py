"""The clerk makes each day's reports once, when they are due, and says so where it was late."""

import asyncio
import datetime as dt
import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.engine.bench import nanoseconds

from closeout.core.times import MINUTE, SECOND
from closeout.engine import commands as c
from closeout.engine.state import State
from closeout.rulebooks.loader import load
from closeout.service.projector import Projector
from closeout.service.reports import press
from closeout.service.reports.calendar import Calendar
from closeout.service.reports.catalogue import REPORTS
from closeout.service.reports.clerk import Clerk
from closeout.service.reports.figures import account_days
from closeout.service.schedule import Schedule
from closeout.service.store import Query
from closeout.service.store.records import AccountDay, Alarm
from closeout.service.vault import Vault
from closeout.service.writer import Writer

NIGHTLY = {name for name, report in REPORTS.items() if not report.weekly}
WEDNESDAY, THURSDAY, FRIDAY = (dt.date(2026, 6, date) for date in (10, 11, 12))


class HandClock:
    """Time stands until it is moved."""

    speed = 1.0

    def __init__(self, moment: str) -> None:
        self.time = nanoseconds(moment)

    def now(self) -> int:
        return self.time

    async def sleep(self, nanoseconds: int) -> None:
        until = self.time + nanoseconds
        while self.time < until:
            await asyncio.sleep(0.001)

    def set(self, moment: str) -> None:
        self.time = nanoseconds(moment)


@dataclass
class World:
    """A writer, a store behind it, and the clerk, who begins to work with `start`."""

    clock: HandClock
    writer: Writer
    clerk: Clerk
    folder: Path
    group: asyncio.TaskGroup
    tasks: list[asyncio.Task[None]]

    def start(self) -> None:
        self.tasks.append(self.group.create_task(self.clerk.run()))

    async def put_in(self, *commands: c.AnyCommand) -> None:
        outcome = await self.writer.offer("test", *commands)
        assert outcome.rejected is None, outcome.rejected

    async def tick(self) -> None:
        """The clock's word that it has said everything, and a second more for who waits for it."""
        await self.put_in(c.Tick())
        self.clock.time += SECOND

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():
                await asyncio.sleep(0.005)

    async def quiet(self) -> None:
        """Long enough for whoever would wrongly do something to do it."""
        await asyncio.sleep(0.1)

    def files(self, date: dt.date) -> set[str]:
        made = self.folder / date.isoformat()
        return {path.stem for path in made.glob("*.csv")} if made.is_dir() else set()

    def text(self, date: dt.date, name: str) -> str:
        return (self.folder / date.isoformat() / f"{name}.html").read_text(encoding="utf-8")


@asynccontextmanager
async def world(place: Path, store: str, moment: str) -> AsyncGenerator[World, None]:
    """A service without its doors, on the journal in `place`; put away in order."""
    clock, rulebook = HandClock(moment), load("kraken-us")
    vault = Vault.open(str(place / "journal.sqlite"), store, rulebook, clock.now(), webhooks=False)
    writer = Writer(vault.engine, vault.journal, vault.seq, clock, vault.thread, vault.store, vault.keys())
    projector = Projector(vault.store)
    writer.subscribers.append(projector.take)
    calendar = Calendar(Schedule(rulebook, "07:00"), "17:30")
    folder = place / "reports"
    clerk = Clerk(writer, vault.store, calendar, clock, folder, projector.caught_up)
    writing = asyncio.create_task(writer.run())
    projecting = asyncio.create_task(projector.run())
    try:
        async with asyncio.TaskGroup() as group:
            made = World(clock, writer, clerk, folder, group, [])
            yield made
            for task in made.tasks:
                task.cancel()
    finally:
        writer.stop()
        await writing
        await projector.caught_up(writer.seq)
        projecting.cancel()
        with suppress(asyncio.CancelledError):
            await projecting
        vault.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    return str(request.getfixturevalue("postgres_url"))


def opened(*names: str) -> list[c.AnyCommand]:
    found: list[c.AnyCommand] = []
    for name in names:
        found += [c.OpenAccount(name), c.Deposit(name, 1000 * 10**6)]
    return found


@pytest.mark.rule("US-22")
@pytest.mark.asyncio
async def test_reports_are_made_when_they_are_due_and_the_stress_at_the_week_s_end(tmp_path: Path, url: str) -> None:
    async with world(tmp_path, url, "2026-06-10T17:00:00Z") as here:
        await here.put_in(*opened("A", "B"))
        here.start()
        here.clock.set("2026-06-10T22:29:59Z")
        await here.quiet()
        assert here.files(WEDNESDAY) == set()
        here.clock.set("2026-06-10T22:30:00Z")
        await here.tick()
        await here.until(lambda: here.files(WEDNESDAY) == NIGHTLY)
        assert "Made at 2026-06-10T22:30:0" in here.text(WEDNESDAY, "margin")
        assert here.clerk.store.days() == ["2026-06-10"]
        assert [row.account_id for row in here.clerk.store.account_days("2026-06-10")] == ["A", "B"]
        for date in (THURSDAY, FRIDAY):
            here.clock.set(f"{date}T22:31:00Z")
            await here.tick()
            await here.until(lambda date=date: bool(here.files(date)))
        assert here.files(THURSDAY) == NIGHTLY
        assert here.files(FRIDAY) == set(REPORTS)


@pytest.mark.rule("US-22")
@pytest.mark.asyncio
async def test_a_restart_makes_nothing_twice_and_nothing_before_there_was_money(tmp_path: Path, url: str) -> None:
    async with world(tmp_path, url, "2026-06-10T17:00:00Z") as here:
        here.start()  # Tuesday's were due yesterday, but there was no service yet
        await here.quiet()
        assert not here.folder.exists()
        await here.put_in(*opened("A"))
        here.clock.set("2026-06-10T22:30:30Z")
        await here.tick()
        await here.until(lambda: bool(here.files(WEDNESDAY)))
        before = here.text(WEDNESDAY, "margin")
    async with world(tmp_path, url, "2026-06-10T22:31:00Z") as here:
        await here.put_in(*opened("B"))
        here.start()
        await here.quiet()
        here.clock.set("2026-06-11T12:00:00Z")
        await here.quiet()
        assert here.text(WEDNESDAY, "margin") == before
        assert [path.name for path in here.folder.iterdir()] == ["2026-06-10"]


@pytest.mark.rule("US-22")
@pytest.mark.asyncio
async def test_the_latest_day_that_was_missed_is_made_at_the_start_and_says_so(tmp_path: Path, url: str) -> None:
    async with world(tmp_path, url, "2026-06-10T17:00:00Z") as here:
        await here.put_in(*opened("A"))
    partial = tmp_path / "reports" / ".2026-06-12.partial"
    partial.mkdir(parents=True)
    (partial / "margin.csv").write_text("half of")
    async with world(tmp_path, url, "2026-06-13T15:00:00Z") as here:  # Saturday
        await here.tick()
        here.start()
        await here.until(lambda: here.files(FRIDAY) == set(REPORTS))
        assert [path.name for path in here.folder.iterdir()] == ["2026-06-12"]
        said = here.text(FRIDAY, "margin")
        assert "Made late at 2026-06-13T15:00:0" in said
        assert "at 2026-06-12T22:30:00Z, when it was due" in said
        here.clock.set("2026-06-15T22:30:00Z")
        await here.tick()
        await here.until(lambda: bool(here.files(dt.date(2026, 6, 15))))
        assert "Made late" not in here.text(dt.date(2026, 6, 15), "margin")


@pytest.mark.rule("US-22")
@pytest.mark.asyncio
async def test_a_process_that_slept_over_days_makes_the_last_of_them(tmp_path: Path, url: str) -> None:
    async with world(tmp_path, url, "2026-06-09T17:00:00Z") as here:
        await here.put_in(*opened("A"))
        here.start()
        await here.quiet()
        here.clock.set("2026-06-12T12:00:00Z")
        await here.quiet()
        assert not here.folder.exists()  # the clock has said nothing of these days yet
        await here.tick()
        await here.until(lambda: bool(here.files(THURSDAY)))
        await here.quiet()
        assert [path.name for path in here.folder.iterdir()] == ["2026-06-11"]
        assert "Made late at 2026-06-12T12:00:0" in here.text(THURSDAY, "fees")


@pytest.mark.rule("US-22")
@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_written_is_an_alarm_and_is_tried_again(tmp_path: Path, url: str) -> None:
    async with world(tmp_path, url, "2026-06-10T17:00:00Z") as here:
        await here.put_in(*opened("A"))
        here.folder.write_text("in the way")
        here.start()
        await here.quiet()
        store = here.clerk.store
        here.clock.set("2026-06-10T22:30:00Z")
        await here.tick()
        await here.until(lambda: len(store.page(Alarm, Query()).items) == 1)
        here.clock.time += 6 * MINUTE
        await here.quiet()
        (alarm,) = store.page(Alarm, Query()).items  # told once, tried twice
        assert alarm.code == "reports_failed"
        assert "2026-06-10" in alarm.detail
        here.folder.unlink()
        await here.tick()

        def made_a_while_later() -> bool:
            here.clock.time += MINUTE  # the try that failed last may only end now, and sets the time of the next
            return here.files(WEDNESDAY) == NIGHTLY

        await here.until(made_a_while_later)
        assert "Made late" in here.text(WEDNESDAY, "margin")


@pytest.mark.rule("US-22")
@pytest.mark.asyncio
async def test_readers_get_what_is_kept_and_what_is_so_far(tmp_path: Path, url: str) -> None:
    async with world(tmp_path, url, "2026-06-10T17:00:00Z") as here:
        await here.put_in(*opened("A"))
        here.start()

        async def read(name: str, day: dt.date, form: str = "csv") -> bytes | None:
            found = await asyncio.to_thread(here.clerk.render, name, day, form)
            return None if found is None else found[1]

        await here.quiet()
        live = await read("margin", WEDNESDAY)
        assert live is not None
        assert live.splitlines()[1].startswith(b"A,,1000.00,")
        page = await read("stress", WEDNESDAY, "html")
        assert page is not None
        assert b"So far" in page
        for report in here.clerk.available():
            assert (report["dates"], report["so_far"]) == ([], ["2026-06-10"])
        here.clock.set("2026-06-10T21:30:00Z")  # Wednesday has ended, its reports are not due
        assert {tuple(report["so_far"]) for report in here.clerk.available()} == {("2026-06-10", "2026-06-11")}
        here.clock.set("2026-06-10T22:30:00Z")
        await here.put_in(*opened("B"))
        await here.tick()
        await here.until(lambda: bool(here.files(WEDNESDAY)))
        await here.put_in(*opened("C"))
        kept, now = await read("margin", WEDNESDAY), await read("margin", THURSDAY)
        assert kept == (here.folder / "2026-06-10" / "margin.csv").read_bytes()
        assert now is not None
        assert [line.split(b",")[0] for line in now.splitlines()] == [b"account_id", b"A", b"B", b"C"]
        dates = {report["name"]: (report["dates"], report["so_far"]) for report in here.clerk.available()}
        assert dates["margin"] == (["2026-06-10"], ["2026-06-11"])
        assert dates["stress"] == ([], ["2026-06-11"])
        assert here.clerk.store.days() == ["2026-06-10"]
        for name, day, form in [
            ("margin", FRIDAY, "csv"), ("margin", dt.date(2026, 6, 9), "html"), ("nothing", WEDNESDAY, "csv"),
            ("margin", WEDNESDAY, "pdf"), ("../2026-06-10/margin", WEDNESDAY, "csv"), ("stress", WEDNESDAY, "csv"),
        ]:  # fmt: skip
            assert await read(name, day, form) is None


@pytest.mark.rule("US-22")
@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_reports_and_the_next_start_makes_them(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def without_end(state: State) -> Iterator[AccountDay]:
        for row in itertools.cycle(account_days(state)):
            begun.set()
            yield replace(row, account_id=f"{row.account_id}{next(numbers)}")

    numbers = itertools.count()
    async with world(tmp_path, url, "2026-06-10T17:00:00Z") as here:
        await here.put_in(*opened("A"))
        here.start()
        await here.quiet()
        with monkeypatch.context() as patched:
            patched.setattr(press, "account_days", without_end)
            here.clock.set("2026-06-10T22:30:00Z")
            await here.tick()
            await here.until(begun.is_set)
            here.tasks[0].cancel()
            async with asyncio.timeout(20):
                await asyncio.wait(here.tasks)
        assert not (here.folder / "2026-06-10").exists()
        assert here.clerk.store.days() == []
    async with world(tmp_path, url, "2026-06-10T22:35:00Z") as here:
        here.start()
        await here.until(lambda: here.files(WEDNESDAY) == NIGHTLY)
        assert "Made late at 2026-06-10T22:35:00Z" in here.text(WEDNESDAY, "margin")
        assert store_rows(here) == ["A"]


def store_rows(here: World) -> list[str]:
    return [row.account_id for row in here.clerk.store.account_days("2026-06-10", limit=100_000)]
