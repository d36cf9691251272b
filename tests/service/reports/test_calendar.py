"""A report's day runs from close to close; its reports are due after it, once."""

import datetime as dt
from itertools import pairwise

import pytest
from tests.engine.bench import nanoseconds

from closeout.core.times import MINUTE, time_text
from closeout.rulebooks.loader import load
from closeout.service.reports.calendar import Calendar, ReportDay
from closeout.service.schedule import Schedule

DAY = 24 * 60 * MINUTE


def calendar(rulebook: str = "kraken-us", reports_at: str = "17:30") -> Calendar:
    return Calendar(Schedule(load(rulebook), "07:00"), reports_at)


def told(day: ReportDay | None) -> tuple[str, str, str, str, bool] | None:
    if day is None:
        return None
    return day.text, time_text(day.since), time_text(day.until), time_text(day.due), day.ends_week


@pytest.mark.rule("US-22", "US-21")
@pytest.mark.parametrize(
    ("date", "since", "until", "due", "ends_week"),
    [
        ("2026-02-05", "2026-02-04T22:00:00Z", "2026-02-05T22:00:00Z", "2026-02-05T23:30:00Z", False),
        ("2026-02-06", "2026-02-05T22:00:00Z", "2026-02-06T22:00:00Z", "2026-02-06T23:30:00Z", True),
        ("2026-02-09", "2026-02-06T22:00:00Z", "2026-02-09T22:00:00Z", "2026-02-09T23:30:00Z", False),
        # the clocks change on Sunday 8 March
        ("2026-03-09", "2026-03-06T22:00:00Z", "2026-03-09T21:00:00Z", "2026-03-09T22:30:00Z", False),
        # shut on Good Friday, 18 April 2025: Thursday ends the week, Monday has what comes between
        ("2025-04-17", "2025-04-16T21:00:00Z", "2025-04-17T21:00:00Z", "2025-04-17T22:30:00Z", True),
        ("2025-04-21", "2025-04-17T21:00:00Z", "2025-04-21T21:00:00Z", "2025-04-21T22:30:00Z", False),
        # equities are merged into the next trade date on 20 January 2025, the perpetuals are not
        ("2025-01-20", "2025-01-17T22:00:00Z", "2025-01-20T22:00:00Z", "2025-01-20T23:30:00Z", False),
    ],
)
def test_a_day_runs_from_close_to_close(date: str, since: str, until: str, due: str, ends_week: bool) -> None:
    assert told(calendar().day(dt.date.fromisoformat(date))) == (date, since, until, due, ends_week)


@pytest.mark.parametrize("date", ["2026-02-07", "2026-02-08", "2025-04-18", "2026-12-25"])
def test_weekends_and_holidays_have_no_report(date: str) -> None:
    assert calendar().day(dt.date.fromisoformat(date)) is None


def test_days_follow_each_other_without_a_gap_and_are_due_after_they_ended() -> None:
    found = calendar()
    days = [found.day(dt.date(2025, 1, 2) + number * dt.timedelta(1)) for number in range(730)]
    kept = [day for day in days if day is not None]
    assert 500 < len(kept) < 522
    assert all(before.until == after.since for before, after in pairwise(kept))
    assert all(day.until <= day.due for day in kept)
    ends = {day.date.isocalendar()[:2] for day in kept if day.ends_week}
    assert len(ends) == sum(day.ends_week for day in kept)
    assert ends >= {day.date.isocalendar()[:2] for day in kept if day.date < dt.date(2026, 12, 20)}


@pytest.mark.rule("US-22")
def test_who_asks_at_an_instant_is_told_the_day_and_what_is_due() -> None:
    found = calendar()
    for moment, current, latest, following in [
        ("2026-02-05T21:59:59Z", "2026-02-05", "2026-02-04", "2026-02-05"),
        ("2026-02-05T22:00:00Z", "2026-02-06", "2026-02-04", "2026-02-05"),
        ("2026-02-05T23:30:00Z", "2026-02-06", "2026-02-05", "2026-02-06"),
        ("2026-02-07T12:00:00Z", "2026-02-09", "2026-02-06", "2026-02-09"),
    ]:
        now = nanoseconds(moment)
        latest_due = found.latest_due(now)
        assert latest_due is not None
        assert (found.current(now).text, latest_due.text, found.next_due(now).text) == (current, latest, following)
        before = found.before(found.current(now))
        assert before is not None
        assert before.until == found.current(now).since


def test_reports_wait_for_the_close() -> None:
    """Wanted at noon, the reports of a day that ends at four are made at noon of the day after."""
    day = calendar(reports_at="12:00").day(dt.date(2026, 2, 5))
    assert day is not None
    assert time_text(day.due) == "2026-02-06T18:00:00Z"


def test_without_sessions_a_day_ends_when_its_reports_are_made() -> None:
    day = calendar("reference").day(dt.date(2026, 2, 5))
    assert day is not None
    assert day.due == day.until == nanoseconds("2026-02-05T23:30:00Z")
    assert day.until - day.since == DAY
