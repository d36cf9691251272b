"""Makes the reports when they are due, and gives them out (US-22)."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import exists, select

from closeout.core.times import MINUTE, SECOND
from closeout.engine.commands import RaiseAlarm
from closeout.service.logs import logger
from closeout.service.reports.calendar import Calendar, ReportDay
from closeout.service.reports.catalogue import REPORTS
from closeout.service.reports.edition import Edition
from closeout.service.reports.figures import freeze
from closeout.service.reports.press import FORMS, press, render
from closeout.service.store import Store
from closeout.service.store.schema import posting
from closeout.service.time import Clock
from closeout.service.writer import Busy, Writer

LOG = logger(__name__)

TOLERANCE = 10 * MINUTE
"""What is made so much after it was due says so; a process that slept is no better than one that was down."""
RETRY = 5 * MINUTE
PATIENCE = 60.0
"""Seconds that a reader waits for the copy of the state."""
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(slots=True)
class Clerk:
    """One folder of files a day in `folder`. `caught_up` waits until the store has an input.

    On the loop it only takes the copy of the state; everything else is done in threads.
    """

    writer: Writer
    store: Store
    calendar: Calendar
    clock: Clock
    folder: Path
    caught_up: Callable[[int], Awaitable[None]]
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)

    async def run(self) -> None:
        """For ever: what was missed while nobody was here, then each day's when it is due."""
        self._loop = asyncio.get_running_loop()
        said = self.clock.now()
        missed = self.calendar.latest_due(said)
        if missed is not None and not self._made(missed) and await asyncio.to_thread(self._had_begun, missed):
            await self._make(missed, late=True)
        while True:
            following = self.calendar.next_due(said)
            while (left := following.due - self.clock.now()) > 0:
                await self.clock.sleep(min(left, MINUTE))
            day = self.calendar.latest_due(self.clock.now()) or following  # after a pause only the last of those due
            said = day.due
            if not self._made(day):
                await self._make(day)

    async def _make(self, day: ReportDay, *, late: bool = False) -> None:
        """Try until it is done: a full disk must not stop the service."""
        told = False
        while True:
            try:
                await self._press(day, late=late or self.clock.now() - day.due > TOLERANCE)
                return
            except Exception as error:
                LOG.exception("reports failed", date=day.text)
                detail = f"the reports of {day.text} could not be made: {error}"[:500]
                if not told:
                    with suppress(Busy):
                        await self.writer.offer("service", RaiseAlarm("", "reports_failed", detail))
                        told = True
            await self.clock.sleep(RETRY)

    async def _press(self, day: ReportDay, *, late: bool) -> None:
        while self.writer.engine.loaded.ticked < day.due:  # until then the clock has not said all of the day
            await self.clock.sleep(SECOND)
        edition = await self._edition(day, late=late)
        stopped = threading.Event()
        making = asyncio.create_task(asyncio.to_thread(press, self.store, edition, self.folder, stopped.is_set))
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:  # the store is about to be closed: nobody may be at work on it then
            stopped.set()
            await asyncio.wait({making})
            if not making.cancelled() and (error := making.exception()) is not None:
                LOG.info("reports left for the next start", date=day.text, why=type(error).__name__)
            raise
        LOG.info("reports made", date=day.text, late=late, seq=edition.seq)

    async def _edition(self, day: ReportDay, *, late: bool = False, so_far: bool = False) -> Edition:
        """A copy of the present state, when the store has all that led to it."""
        state, now = freeze(self.writer.engine.loaded), self.clock.now()
        await self.caught_up(state.seq)
        return Edition(day, state, now, late, so_far)

    def _made(self, day: ReportDay) -> bool:
        return (self.folder / day.text).is_dir()

    def _had_begun(self, day: ReportDay) -> bool:
        """Whether any money had moved by the day's end: before that there was nothing to report."""
        with self.store.read() as connection:
            return bool(connection.execute(select(exists().where(posting.c.time < day.until))).scalar_one())

    # -- for readers, in their threads ---------------------------------------------------------------

    def available(self) -> Sequence[Mapping[str, Any]]:
        """Each report with the dates whose files are kept, and those that can be had as they are so far."""
        names = sorted(entry.name for entry in self.folder.iterdir()) if self.folder.is_dir() else []
        dates = [name for name in names if DATE.fullmatch(name)]
        so_far = [day.text for day in self._open_days()]
        return [
            {
                "name": report.name,
                "title": report.title,
                "every": "week" if report.weekly else "day",
                "dates": [text for text in dates if (self.folder / text / f"{report.name}.html").is_file()],
                "so_far": so_far,
            }
            for report in REPORTS.values()
        ]

    def render(self, name: str, day: date, form: str) -> tuple[str, bytes] | None:
        """The kept file of a day, or the report so far of a day that is not done; content type and bytes."""
        report, content_type = REPORTS.get(name), FORMS.get(form)
        if report is None or content_type is None:
            return None
        with suppress(FileNotFoundError):
            return content_type, (self.folder / day.isoformat() / f"{name}.{form}").read_bytes()
        going_on = next((found for found in self._open_days() if found.date == day), None)
        if going_on is None or self._loop is None:
            return None
        copying = asyncio.run_coroutine_threadsafe(self._edition(going_on, so_far=True), self._loop)
        return content_type, render(self.store, copying.result(PATIENCE), report, form)

    def _open_days(self) -> list[ReportDay]:
        """The day that is going on, and before it the one that has ended and whose reports are not due yet."""
        now = self.clock.now()
        current = self.calendar.current(now)
        ended = self.calendar.before(current)
        return [day for day in (ended, current) if day is not None and now < day.due and not self._made(day)]
