"""When a day of the reports begins and ends, and when its reports are made (US-21, US-22).

A report's day is a trade date that is a business day of the firm. It ends with the last close among the sessions of
that date, and begins where the report's day before it ended: what happens on a weekend or a holiday belongs to the
next. Where a rulebook has no session the day ends when the reports are made. Instants are UTC nanoseconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field

from closeout.core.times import SECOND, instant
from closeout.service.schedule import DAY, DAY_NS, Schedule

FAR = 15
"""Days to look for a business day: longer than any exchange was ever shut."""


@dataclass(frozen=True, slots=True)
class ReportDay:
    """What happened in [since, until) is in the reports of `date`, which are made at `due`. `ends_week`: it is the last
    of its ISO week."""

    date: dt.date
    since: int
    until: int
    due: int
    ends_week: bool

    @property
    def text(self) -> str:
        return self.date.isoformat()


@dataclass(slots=True)
class Calendar:
    """The days of a schedule. `reports_at` is ``HH:MM`` in the schedule's time zone."""

    schedule: Schedule
    reports_at: str
    _closes: dict[dt.date, int | None] = field(default_factory=dict[dt.date, int | None])

    def day(self, date: dt.date) -> ReportDay | None:
        """None for a date that is no report's day."""
        until = self._close(date)
        if until is None:
            return None
        before = next(self._backwards(date - DAY), None)
        after = next((day for ahead in range(1, FAR) if self._close(day := date + ahead * DAY) is not None), None)
        since = until - DAY_NS if before is None else self._close(before) or 0
        due = self._at(date)
        due = due if due >= until else self._at(date + DAY)
        return ReportDay(date, since, until, due, after is None or after.isocalendar()[:2] != date.isocalendar()[:2])

    def current(self, now: int) -> ReportDay:
        """The day that is going on."""
        return next(day for day in self._forwards(now) if day.until > now)

    def before(self, day: ReportDay) -> ReportDay | None:
        """The report's day before a day."""
        date = next(self._backwards(day.date - DAY), None)
        return None if date is None else self.day(date)

    def latest_due(self, now: int) -> ReportDay | None:
        """The last day whose reports should have been made."""
        days = (self.day(date) for date in self._backwards(self._local(now)))
        return next((day for day in days if day is not None and day.due <= now), None)

    def next_due(self, after: int) -> ReportDay:
        """The first day whose reports are due later."""
        return next(day for day in self._forwards(after) if day.due > after)

    def _forwards(self, now: int) -> Iterator[ReportDay]:
        date = self._local(now) - 2 * DAY
        while True:
            if (day := self.day(date)) is not None:
                yield day
            date += DAY

    def _backwards(self, date: dt.date) -> Iterator[dt.date]:
        return (day for back in range(FAR) if self._close(day := date - back * DAY) is not None)

    def _local(self, now: int) -> dt.date:
        return dt.datetime.fromtimestamp(now // SECOND, self.schedule.zone).date()

    def _at(self, date: dt.date) -> int:
        return instant(date, dt.time.fromisoformat(self.reports_at), self.schedule.zone)

    def _close(self, date: dt.date) -> int | None:
        """The last close of a trade date; None where it is none, or no business day. A session that is merged into the
        next trade date closes none."""
        if date not in self._closes:
            self._closes[date] = self._find_close(date) if self.schedule.is_business_day(date) else None
        return self._closes[date]

    def _find_close(self, date: dt.date) -> int | None:
        sessions = self.schedule.sessions.values()
        if not sessions:
            return self._at(date)
        noon = instant(date, dt.time(12), self.schedule.zone)
        return max(
            (
                day.close_ns
                for session in sessions
                for day in session.trade_dates(noon - 2 * DAY_NS, noon + 2 * DAY_NS)
                if day.date == day.trade_date == date
            ),
            default=None,
        )
