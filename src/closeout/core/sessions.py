"""Trading sessions: when a market is open, which margin window holds, and which trade date it is (US-02, US-21).

A session is a list of dated tables and holidays; nothing here reads a clock. Each trade date (Monday to Friday) has
three instants, computed from wall time in the session's own zone and compared in UTC nanoseconds:

    open      trading and the window ``intraday`` begin; on the day before where `opens` is not before `closes`
    switch    some minutes before the close: ``end_of_day`` begins, and holds until the next open
    close     end of trading; from here on it is the next trade date

so that weekends, full holidays and early closes need no rule of their own: a trade date without a session leaves its
predecessor's end of day to run on, and an early close takes its switch along. A market that trades around the clock
keeps the same three instants as its daily margin close and is open between them too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from zoneinfo import ZoneInfo

from closeout.core.units import InputError

INTRADAY = "intraday"
END_OF_DAY = "end_of_day"

FIRST_YEAR = 1900
LAST_YEAR = 9000

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ONE_DAY = dt.timedelta(days=1)
_MICROSECOND = dt.timedelta(microseconds=1)
_MINUTE_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class SessionTable:
    """The hours of all trade dates from `valid_from` on. `always_open`: the market trades between its daily margin
    close and reopening as well, weekends included."""

    valid_from: dt.date
    opens: dt.time
    closes: dt.time
    switch_minutes_before_close: int
    always_open: bool = False


@dataclass(frozen=True, slots=True)
class Holiday:
    """A trade date with hours of its own. `closes` None: it has no session at all. `merged`: trading halts at `closes`
    and what was traded carries the next trade date."""

    date: dt.date
    closes: dt.time | None = None
    merged: bool = False


@dataclass(frozen=True, slots=True)
class SessionState:
    """What holds at an instant. While the market is closed `trade_date` is that of the next session."""

    is_open: bool
    window: str
    trade_date: dt.date


@dataclass(frozen=True, slots=True)
class SessionInstant:
    """An instant (UTC nanoseconds) and what holds from it on."""

    time_ns: int
    is_open: bool
    window: str


@dataclass(frozen=True, slots=True)
class TradeDay:
    """The instants (UTC nanoseconds) of one day's session; `trade_date` is what its trades carry, which is a later one
    where the day is merged into the next."""

    date: dt.date
    open_ns: int
    switch_ns: int
    close_ns: int
    trade_date: dt.date


@dataclass(frozen=True, slots=True)
class _Day:
    """One trade date's instants in UTC nanoseconds."""

    date: dt.date
    open_ns: int
    switch_ns: int
    close_ns: int
    always_open: bool
    merged: bool


@dataclass(frozen=True)
class Session:
    """Hours of a group of contracts; `tables` and `holidays` ascend by date.

    Before the first table's `valid_from` nothing trades. Raises `InputError` where the dates or hours contradict
    each other.
    """

    name: str
    time_zone: str
    tables: tuple[SessionTable, ...]
    holidays: tuple[Holiday, ...] = ()
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _holidays: dict[dt.date, Holiday] = field(init=False, repr=False, compare=False)
    _days: dict[dt.date, _Day | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            zone = ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise InputError(f"time_zone: {self.time_zone!r} is not a known time zone") from None
        object.__setattr__(self, "_zone", zone)
        object.__setattr__(self, "_holidays", {holiday.date: holiday for holiday in self.holidays})
        object.__setattr__(self, "_days", {})
        if not self.tables:
            raise InputError("tables: expected at least one table")
        if any(b.valid_from <= a.valid_from for a, b in pairwise(self.tables)):
            raise InputError("tables: expected each valid_from to be later than the one before")
        if any(b.date <= a.date for a, b in pairwise(self.holidays)):
            raise InputError("holidays: expected each date to be later than the one before")
        for date in [table.valid_from for table in self.tables] + [holiday.date for holiday in self.holidays]:
            if not FIRST_YEAR <= date.year <= LAST_YEAR:
                raise InputError(f"{date}: expected a year from {FIRST_YEAR} to {LAST_YEAR}")
            self._check(date)

    def state(self, time_ns: int) -> SessionState:
        """What holds at an instant; an open, a switch and a close count from their own nanosecond on."""
        day = self._current(time_ns)
        in_session = day.open_ns <= time_ns
        window = INTRADAY if in_session and time_ns < day.switch_ns else END_OF_DAY
        begun = day.date != next(self._days_from(self.tables[0].valid_from)).date
        return SessionState(in_session or (day.always_open and begun), window, self._trade_date(day))

    def trade_date(self, time_ns: int) -> dt.date:
        """The trade date of a trade at this instant, or of the next session while the market is closed."""
        return self._trade_date(self._current(time_ns))

    def changes(self, start_ns: int, end_ns: int) -> Iterator[SessionInstant]:
        """Every instant in (start, end] at which `is_open` or `window` changes, ascending."""
        current = self._current(start_ns)
        state = self.state(start_ns)
        last = (state.is_open, state.window)
        for day, following in pairwise(self._days_from(current.date)):
            instants = [(day.open_ns, True, INTRADAY), (day.switch_ns, True, END_OF_DAY)]
            if day.close_ns < following.open_ns:
                instants.append((day.close_ns, following.always_open, END_OF_DAY))
            for time_ns, is_open, window in instants:
                if time_ns > end_ns:
                    return
                if time_ns > start_ns and (is_open, window) != last:
                    last = (is_open, window)
                    yield SessionInstant(time_ns, is_open, window)

    def next_switch(self, time_ns: int) -> int:
        """The next instant after this one at which the end-of-day window begins."""
        return next(day.switch_ns for day in self._days_from(self._current(time_ns).date) if day.switch_ns > time_ns)

    def next_open(self, time_ns: int) -> int:
        """The next instant after this one at which a session opens and the intraday window begins."""
        return next(day.open_ns for day in self._days_from(self._current(time_ns).date) if day.open_ns > time_ns)

    def trade_dates(self, start_ns: int, end_ns: int) -> Iterator[TradeDay]:
        """The trade dates that open or close in (start, end], ascending."""
        for day in self._days_from(self._current(start_ns).date):
            if day.open_ns > end_ns:
                return
            if day.open_ns > start_ns or day.close_ns <= end_ns:
                yield TradeDay(day.date, day.open_ns, day.switch_ns, day.close_ns, self._trade_date(day))

    # -- trade dates ---------------------------------------------------------------------------------

    def _current(self, time_ns: int) -> _Day:
        """The first trade date that closes after this instant."""
        # Each trade date closes on its own calendar day, so those before the local date are over.
        local = (_EPOCH + dt.timedelta(microseconds=time_ns // 1000)).astimezone(self._zone).date()
        return next(day for day in self._days_from(local) if day.close_ns > time_ns)

    def _days_from(self, date: dt.date) -> Iterator[_Day]:
        date = max(date, self.tables[0].valid_from)
        while True:
            day = self._day(date)
            if day is not None:
                yield day
            date += _ONE_DAY

    def _day(self, date: dt.date) -> _Day | None:
        """The instants of one trade date, None where it has no session."""
        if date not in self._days:
            self._days[date] = self._compute(date)
        return self._days[date]

    def _compute(self, date: dt.date) -> _Day | None:
        holiday = self._holidays.get(date)
        if date.weekday() >= 5 or (holiday is not None and holiday.closes is None):
            return None
        table = next((table for table in reversed(self.tables) if table.valid_from <= date), None)
        if table is None:
            return None
        closes = table.closes if holiday is None or holiday.closes is None else holiday.closes
        opening_date = date if table.opens < table.closes else date - _ONE_DAY
        close_ns = self._instant(date, closes)
        return _Day(
            date=date,
            open_ns=self._instant(opening_date, table.opens),
            # Subtracted in UTC: wall arithmetic would be an hour off on the days when the clocks change.
            switch_ns=close_ns - table.switch_minutes_before_close * _MINUTE_NS,
            close_ns=close_ns,
            always_open=table.always_open,
            merged=holiday is not None and holiday.merged,
        )

    def _instant(self, date: dt.date, wall: dt.time) -> int:
        local = dt.datetime.combine(date, wall, tzinfo=self._zone)
        return (local.astimezone(dt.UTC) - _EPOCH) // _MICROSECOND * 1000

    def _trade_date(self, day: _Day) -> dt.date:
        if not day.merged:
            return day.date
        return next(after.date for after in self._days_from(day.date) if not after.merged)

    def _check(self, date: dt.date) -> None:
        """Open, switch and close of a trade date must follow each other, and the close of the trade date before."""
        day = self._day(date)
        if day is None:
            return
        if not day.open_ns < day.switch_ns < day.close_ns:
            raise InputError(f"{date}: expected the open before the switch before the close")
        before = next((found for back in range(1, 8) if (found := self._day(date - back * _ONE_DAY)) is not None), None)
        if before is not None and before.close_ns > day.open_ns:
            raise InputError(f"{date}: opens before the session of {before.date} closes")
