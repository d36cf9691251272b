"""Sessions on small tables of their own: windows, holidays, clock changes, markets that never close."""

import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from closeout.core.sessions import END_OF_DAY, INTRADAY, Holiday, Session, SessionInstant, SessionTable
from closeout.core.units import InputError

CHICAGO = "America/Chicago"
NIGHT = SessionTable(dt.date(2025, 1, 1), dt.time(17), dt.time(16), 15)
ALWAYS = SessionTable(dt.date(2026, 6, 1), dt.time(17), dt.time(16), 15, always_open=True)
WEEKDAYS = Session("weekdays", CHICAGO, (NIGHT,))


def ns(text: str) -> int:
    """Nanoseconds of an ISO time with an offset."""
    return round(dt.datetime.fromisoformat(text).timestamp()) * 10**9


def local(text: str) -> int:
    """Nanoseconds of a wall time in Chicago."""
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(CHICAGO)).timestamp()) * 10**9


def changes(session: Session, start: str, end: str) -> list[tuple[int, bool, str]]:
    return [(change.time_ns, change.is_open, change.window) for change in session.changes(local(start), local(end))]


@pytest.mark.rule("US-02")
def test_a_day_is_intraday_from_the_open_to_a_quarter_of_an_hour_before_the_close():
    assert changes(WEEKDAYS, "2026-02-02 12:00", "2026-02-03 15:59") == [
        (local("2026-02-02 15:45"), True, END_OF_DAY),
        (local("2026-02-02 16:00"), False, END_OF_DAY),
        (local("2026-02-02 17:00"), True, INTRADAY),
        (local("2026-02-03 15:45"), True, END_OF_DAY),
    ]


@pytest.mark.rule("US-02", "US-21")
@pytest.mark.parametrize(
    ("wall", "is_open", "window", "trade_date"),
    [
        ("2026-02-06 15:44:59", True, INTRADAY, "2026-02-06"),
        ("2026-02-06 15:45:00", True, END_OF_DAY, "2026-02-06"),  # the switch fires while orders can still be sent
        ("2026-02-06 16:00:00", False, END_OF_DAY, "2026-02-09"),
        ("2026-02-08 16:59:59", False, END_OF_DAY, "2026-02-09"),
        ("2026-02-08 17:00:00", True, INTRADAY, "2026-02-09"),
        ("2026-02-08 23:30:00", True, INTRADAY, "2026-02-09"),
    ],
)
def test_instants_around_a_weekend(wall: str, is_open: bool, window: str, trade_date: str):
    state = WEEKDAYS.state(local(wall))
    assert (state.is_open, state.window, str(state.trade_date)) == (is_open, window, trade_date)
    assert WEEKDAYS.trade_date(local(wall)) == state.trade_date


@pytest.mark.rule("US-02")
@pytest.mark.parametrize(
    ("after", "switch"),
    [
        ("2026-03-06T12:00:00-06:00", "2026-03-06T21:45:00+00:00"),
        ("2026-03-06T21:45:00+00:00", "2026-03-09T20:45:00+00:00"),  # at the switch: the next one
        ("2026-10-30T12:00:00-05:00", "2026-10-30T20:45:00+00:00"),
        ("2026-10-31T12:00:00-05:00", "2026-11-02T21:45:00+00:00"),
    ],
)
def test_the_switch_keeps_its_wall_time_over_both_clock_changes(after: str, switch: str):
    assert WEEKDAYS.next_switch(ns(after)) == ns(switch)


@pytest.mark.rule("US-02")
def test_the_weekend_is_an_hour_shorter_and_an_hour_longer_when_the_clocks_change():
    def closed_hours(friday: str) -> float:
        start = local(f"{friday} 16:00")
        return (WEEKDAYS.next_open(start) - start) / 3600e9

    assert [closed_hours(day) for day in ("2026-02-27", "2026-03-06", "2026-10-30")] == [49.0, 48.0, 50.0]


@pytest.mark.rule("US-02")
def test_the_minutes_before_the_close_are_real_minutes_on_the_night_of_a_clock_change():
    """Cairo's clocks go forward at midnight: four hours before a close at 03:30 are 22:30 the evening before."""
    table = SessionTable(dt.date(2026, 1, 1), dt.time(17), dt.time(3, 30), 60)
    session = Session("night", "Africa/Cairo", (table,))  # clocks go forward on Friday 24 April 2026 at 00:00
    closes = ns("2026-04-24T03:30:00+03:00")
    assert session.next_switch(closes - 2 * 3600 * 10**9) == closes - 3600 * 10**9
    long_switch = Session(
        "long", "Africa/Cairo", (SessionTable(dt.date(2026, 1, 1), dt.time(17), dt.time(3, 30), 240),)
    )
    assert long_switch.next_switch(closes - 8 * 3600 * 10**9) == ns("2026-04-23T22:30:00+02:00")


@pytest.mark.rule("US-02")
def test_an_early_close_moves_the_switch():
    session = Session("early", CHICAGO, (NIGHT,), (Holiday(dt.date(2025, 12, 24), dt.time(12, 15)),))
    assert changes(session, "2025-12-24 00:00", "2025-12-24 23:00") == [
        (local("2025-12-24 12:00"), True, END_OF_DAY),
        (local("2025-12-24 12:15"), False, END_OF_DAY),
        (local("2025-12-24 17:00"), True, INTRADAY),
    ]


@pytest.mark.rule("US-02")
def test_a_full_holiday_leaves_the_end_of_day_to_run_on_until_the_next_open():
    session = Session("christmas", CHICAGO, (NIGHT,), (Holiday(dt.date(2025, 12, 25)),))
    assert changes(session, "2025-12-24 12:00", "2025-12-25 18:00") == [
        (local("2025-12-24 15:45"), True, END_OF_DAY),
        (local("2025-12-24 16:00"), False, END_OF_DAY),
        (local("2025-12-25 17:00"), True, INTRADAY),
    ]
    assert session.trade_date(local("2025-12-24 18:00")) == dt.date(2025, 12, 26)


@pytest.mark.rule("US-02")
def test_thanksgiving_halts_at_noon_and_belongs_to_friday():
    holidays = (
        Holiday(dt.date(2025, 11, 27), dt.time(12), merged=True),
        Holiday(dt.date(2025, 11, 28), dt.time(12, 15)),
    )
    session = Session("thanksgiving", CHICAGO, (NIGHT,), holidays)
    assert changes(session, "2025-11-27 00:00", "2025-11-28 23:00") == [
        (local("2025-11-27 11:45"), True, END_OF_DAY),
        (local("2025-11-27 12:00"), False, END_OF_DAY),
        (local("2025-11-27 17:00"), True, INTRADAY),
        (local("2025-11-28 12:00"), True, END_OF_DAY),
        (local("2025-11-28 12:15"), False, END_OF_DAY),
    ]
    for wall in ("2025-11-26 18:00", "2025-11-27 11:59", "2025-11-27 14:00", "2025-11-27 18:00"):
        assert session.trade_date(local(wall)) == dt.date(2025, 11, 28)
    assert session.trade_date(local("2025-11-28 12:15")) == dt.date(2025, 12, 1)


@pytest.mark.rule("US-02", "US-24")
def test_a_monday_holiday_belongs_to_tuesday():
    session = Session("mlk", CHICAGO, (NIGHT,), (Holiday(dt.date(2026, 1, 19), dt.time(12), merged=True),))
    states = [session.state(local(wall)) for wall in ("2026-01-18 17:00", "2026-01-19 11:50", "2026-01-19 17:00")]
    assert [state.trade_date for state in states] == [dt.date(2026, 1, 20)] * 3
    assert [state.window for state in states] == [INTRADAY, END_OF_DAY, INTRADAY]


@pytest.mark.rule("US-02")
def test_a_market_that_never_closes_keeps_initial_margin_from_friday_to_sunday():
    session = Session("always", CHICAGO, (NIGHT, ALWAYS))
    assert changes(session, "2026-06-05 12:00", "2026-06-08 18:00") == [
        (local("2026-06-05 15:45"), True, END_OF_DAY),
        (local("2026-06-07 17:00"), True, INTRADAY),
        (local("2026-06-08 15:45"), True, END_OF_DAY),
        (local("2026-06-08 17:00"), True, INTRADAY),
    ]
    assert session.trade_date(local("2026-06-06 12:00")) == dt.date(2026, 6, 8)


@pytest.mark.rule("US-02")
def test_a_table_takes_over_with_its_first_trade_date():
    """The last close under the old hours is also the first instant of the market that never closes."""
    session = Session("crypto", CHICAGO, (NIGHT, ALWAYS))
    assert changes(session, "2026-05-28 15:50", "2026-05-31 18:00") == [
        (local("2026-05-28 16:00"), False, END_OF_DAY),
        (local("2026-05-28 17:00"), True, INTRADAY),
        (local("2026-05-29 15:45"), True, END_OF_DAY),
        (local("2026-05-31 17:00"), True, INTRADAY),
    ]
    assert session.state(local("2026-05-29 16:00")).is_open


def test_a_session_within_one_calendar_day_opens_on_that_day():
    session = Session("day", CHICAGO, (SessionTable(dt.date(2026, 1, 1), dt.time(8, 30), dt.time(13, 20), 15),))
    assert changes(session, "2026-02-03 00:00", "2026-02-03 23:59") == [
        (local("2026-02-03 08:30"), True, INTRADAY),
        (local("2026-02-03 13:05"), True, END_OF_DAY),
        (local("2026-02-03 13:20"), False, END_OF_DAY),
    ]


def test_sessions_that_touch_never_close():
    session = Session("round", CHICAGO, (SessionTable(dt.date(2026, 1, 1), dt.time(16), dt.time(16), 15),))
    assert changes(session, "2026-02-03 12:00", "2026-02-03 18:00") == [
        (local("2026-02-03 15:45"), True, END_OF_DAY),
        (local("2026-02-03 16:00"), True, INTRADAY),
    ]


def test_nothing_trades_before_the_first_table():
    state = WEEKDAYS.state(local("2024-06-03 12:00"))
    assert (state.is_open, state.window, state.trade_date) == (False, END_OF_DAY, dt.date(2025, 1, 1))


@pytest.mark.rule("US-02", "G-03")
def test_changes_cut_anywhere_are_the_same_changes():
    start, end = local("2026-02-27 12:00"), local("2026-03-13 12:00")
    whole = list(WEEKDAYS.changes(start, end))
    for cut in (whole[3].time_ns - 1, whole[3].time_ns, whole[3].time_ns + 1, local("2026-03-07 00:00")):
        assert [*WEEKDAYS.changes(start, cut), *WEEKDAYS.changes(cut, end)] == whole
    for before, change in pairwise([SessionInstant(start, True, INTRADAY), *whole]):
        at, just_before = WEEKDAYS.state(change.time_ns), WEEKDAYS.state(change.time_ns - 1)
        assert (at.is_open, at.window) == (change.is_open, change.window)
        assert (just_before.is_open, just_before.window) == (before.is_open, before.window)


@pytest.mark.parametrize(
    ("zone", "tables", "holidays", "message"),
    [
        ("America/Chikago", (NIGHT,), (), "time_zone"),
        (CHICAGO, (), (), "at least one table"),
        (CHICAGO, (ALWAYS, NIGHT), (), "valid_from"),
        (CHICAGO, (NIGHT,), (Holiday(dt.date(2025, 12, 25)), Holiday(dt.date(2025, 12, 25))), "holidays"),
        (CHICAGO, (SessionTable(dt.date(2026, 1, 2), dt.time(9), dt.time(9, 10), 15),), (), "before the switch"),
        (CHICAGO, (NIGHT, SessionTable(dt.date(2026, 6, 2), dt.time(15), dt.time(14), 15)), (), "opens before"),
    ],
)
def test_hours_that_contradict_each_other_are_refused(zone: str, tables: tuple, holidays: tuple, message: str):
    with pytest.raises(InputError, match=message):
        Session("bad", zone, tables, holidays)


@pytest.mark.rule("US-02", "US-21")
def test_before_the_first_trade_date_nothing_trades_not_even_around_the_clock():
    session = Session("always", CHICAGO, (ALWAYS,))
    opening = local("2026-05-31 17:00")
    assert not session.state(opening - 1).is_open
    assert session.state(opening).is_open
    assert changes(session, "2026-05-01 00:00", "2026-05-31 17:00") == [(opening, True, INTRADAY)]


@pytest.mark.parametrize("date", [dt.date.min, dt.date(1899, 12, 31), dt.date(9001, 1, 1), dt.date.max])
def test_a_table_at_the_ends_of_the_calendar_is_refused(date: dt.date):
    with pytest.raises(InputError, match=f"{date}: expected a year from 1900 to 9000"):
        Session("far", CHICAGO, (SessionTable(date, dt.time(17), dt.time(16), 15),))
