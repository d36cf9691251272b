"""The shipped CME hours against an independent calendar, every minute of 2025 and 2026 (US-02).

What is compared: `Session.changes` spread over every minute of the range (is it open, and in which window) with
pandas_market_calendars' own opening and closing times; and `Session.state` at every change, a nanosecond before it,
and every 47 minutes between. Where the calendar contradicts what was published, the date stands below with its
evidence and our hours are asserted on their own.

Not independent: CME crypto's early closes of 3 July, 28 November and 24 December 2025 and of 3 April 2026 are known to
us from this calendar alone (and assumed in the rulebook); there the test only holds the two to each other.
"""

import datetime as dt
from collections.abc import Iterable
from zoneinfo import ZoneInfo

import numpy as np
import pandas_market_calendars
import pytest

from closeout.core.sessions import INTRADAY, Session
from closeout.rulebooks.loader import load

pytestmark = pytest.mark.rule("US-02")

MINUTE = 60 * 10**9
FIRST, LAST = "2025-01-01", "2026-12-31"
Times = list[tuple[int, int]]

# Trade dates on which the calendar is wrong, with our (open, close), None for no session at all.
CALENDAR_IS_WRONG: dict[str, dict[str, tuple[str, str] | None]] = {
    "cme_equity": {
        # Day of mourning: U.S. equity index closes at 8:30 a.m. CT (CME Group's notice of 30 December 2024).
        "2025-01-09": ("2025-01-08 17:00", "2025-01-09 08:30"),
        # Good Friday without a jobs report: Globex closed. The calendar carries 2023's 8:15 forward to every year.
        "2025-04-18": None,
    },
    "cme_crypto": {"2025-04-18": None},
}


def shipped(name: str) -> Session:
    return load("kraken-us").policy().sessions[name]


def local(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/Chicago")).timestamp()) * 10**9


def calendar_times(calendar: str, wrong: dict[str, tuple[str, str] | None]) -> Times:
    """Opening and closing times in UTC nanoseconds, with the listed dates replaced."""
    schedule = pandas_market_calendars.get_calendar(calendar).schedule(
        "2024-12-20", "2027-01-10", tz="UTC", start="market_open", end="market_close"
    )
    times: Times = []
    for date, opens, closes in zip(schedule.index, schedule["market_open"], schedule["market_close"], strict=True):
        day = str(date.date())
        published = (opens.value, closes.value)
        if day in wrong:
            ours = wrong[day]
            assert ours is None or (local(ours[0]), local(ours[1])) != published, f"{day} is right by now"
            if ours is None:
                continue
            published = (local(ours[0]), local(ours[1]))
        times.append(published)
    return times


def spread(minutes: np.ndarray, times: Iterable[tuple[int, int]]) -> np.ndarray:
    """Which minutes lie in one of the (start, end) spans."""
    inside = np.zeros(len(minutes), dtype=bool)
    for start, end in times:
        inside[np.searchsorted(minutes, start) : np.searchsorted(minutes, end)] = True
    return inside


def by_changes(session: Session, minutes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Open and intraday at every minute, from `changes` alone."""
    state = session.state(int(minutes[0]))
    is_open = np.full(len(minutes), state.is_open)
    intraday = np.full(len(minutes), state.window == INTRADAY)
    for change in session.changes(int(minutes[0]), int(minutes[-1])):
        at = np.searchsorted(minutes, change.time_ns)
        is_open[at:], intraday[at:] = change.is_open, change.window == INTRADAY
    return is_open, intraday


@pytest.mark.parametrize(
    ("name", "calendar", "end"),
    [
        ("cme_equity", "CME Globex Equity", "2027-01-01 00:00"),
        ("cme_crypto", "CME Globex Crypto", "2026-05-29 16:00"),  # from here on it trades around the clock
    ],
)
def test_every_minute_of_two_years(name: str, calendar: str, end: str):
    minutes = np.arange(local("2025-01-01 00:00"), local(end), MINUTE)
    times = calendar_times(calendar, CALENDAR_IS_WRONG[name])
    is_open, intraday = by_changes(shipped(name), minutes)
    differs = minutes[is_open != spread(minutes, times)]
    assert [str(np.datetime64(int(minute), "ns")) for minute in differs[:3]] == []
    switched = [(opens, closes - 15 * MINUTE) for opens, closes in times]
    differs = minutes[intraday != spread(minutes, switched)]
    assert [str(np.datetime64(int(minute), "ns")) for minute in differs[:3]] == []


@pytest.mark.parametrize("name", ["cme_equity", "cme_crypto", "bitnomial"])
def test_state_agrees_with_changes(name: str):
    session = shipped(name)
    start, end = local("2025-01-01 00:00"), local("2027-01-01 00:00")
    changes = list(session.changes(start, end))
    instants = np.array([change.time_ns for change in changes])
    assert np.all(np.diff(instants) > 0)
    probes = np.unique(np.concatenate([instants, instants - 1, np.arange(start, end, 47 * MINUTE)]))
    last = np.searchsorted(instants, probes, side="right") - 1
    for probe, index in zip(probes[last >= 0].tolist(), last[last >= 0].tolist(), strict=True):
        state = session.state(probe)
        assert (state.is_open, state.window) == (changes[index].is_open, changes[index].window), probe


def test_trade_dates_are_business_days_of_the_calendar():
    """Holidays on which the exchange halts but does not settle belong to the next trade date; no date is left out."""
    session = shipped("cme_equity")
    seen = {
        session.trade_date(time) for time in range(local("2025-01-02 12:00"), local("2026-12-31 12:00"), 60 * MINUTE)
    }
    schedule = pandas_market_calendars.get_calendar("CME Globex Equity").schedule("2025-01-02", LAST)
    listed = {date.date() for date in schedule.index}
    merged = {holiday.date for holiday in session.holidays if holiday.merged}
    assert seen == listed - merged - {dt.date(2025, 4, 18)}
    assert len(merged) == 2 * 7  # King, Presidents, Memorial, Juneteenth, Independence, Labor, Thanksgiving


def test_crypto_since_it_trades_around_the_clock():
    session = shipped("cme_crypto")
    start = local("2026-05-29 16:00")
    later = list(session.changes(start, local("2026-12-31 23:59")))
    assert session.state(start).is_open
    assert all(change.is_open for change in later)
    thanksgiving = session.state(local("2026-11-26 12:00"))
    assert (thanksgiving.is_open, thanksgiving.trade_date) == (True, dt.date(2026, 11, 27))
    assert session.next_open(local("2026-11-25 16:30")) == local("2026-11-26 17:00")


def test_the_perpetuals_pause_for_three_hours():
    session = shipped("bitnomial")
    friday = local("2026-07-10 15:45")
    assert session.next_switch(friday - 1) == friday
    assert session.next_open(friday) == local("2026-07-12 19:00")
    assert session.next_open(local("2026-07-13 17:00")) == local("2026-07-13 19:00")


def test_both_crashes_find_the_market_as_it_was():
    """On 10 October 2025 the crash came after Friday's close; in March 2020 the second wave met the daily pause."""
    session, always = shipped("cme_equity"), load("kraken-us:as_if_24x7").policy().sessions["cme_equity"]
    crash = round(dt.datetime(2025, 10, 10, 21, 13, tzinfo=dt.UTC).timestamp()) * 10**9
    assert not session.state(crash).is_open
    state = always.state(crash)
    assert (state.is_open, state.window) == (True, "end_of_day")
    wave = round(dt.datetime(2020, 3, 12, 23, 30, tzinfo=dt.UTC).timestamp()) * 10**9
    assert session.state(wave).is_open
    assert not shipped("bitnomial").state(wave).is_open
