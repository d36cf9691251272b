"""What falls due when: wall times and sessions turned into commands (US-02, US-13, US-14, US-23, US-24).

A schedule knows instants and makes commands of them; it reads no clock and keeps nothing but samples. The service asks
for all that fell due since the last time, so that after a pause nothing is skipped and nothing comes twice.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from zoneinfo import ZoneInfo

from closeout.core.funding import Cadence, part_of_rate, premium
from closeout.core.sessions import Session
from closeout.core.times import MINUTE, time_text, wall_instants
from closeout.core.units import InputError
from closeout.engine.commands import (
    AccrueFunding,
    AnyCommand,
    BookFunding,
    BusinessDay,
    Flatten,
    RaiseAlarm,
    SessionChange,
    Settle,
    TradeDate,
)
from closeout.engine.state import State
from closeout.rulebooks.intervals import multiples, next_end
from closeout.rulebooks.loader import Rulebook
from closeout.rulebooks.policy import FundingPolicy

DAY = dt.timedelta(days=1)
DAY_NS = 24 * 60 * MINUTE
KEPT = DAY_NS
"""How long premium samples are kept: three of the longest intervals."""


@dataclass(slots=True)
class Samples:
    """What settlement and funding are made of: a contract's marks in ticks, premiums and index, with their times."""

    marks: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    premiums: deque[tuple[int, Fraction]] = field(default_factory=deque[tuple[int, Fraction]])
    index: Fraction | None = None

    def mark(self, time: int, ticks: int) -> None:
        self.marks.append((time, ticks))
        while len(self.marks) > 1 and self.marks[1][0] < time - 30 * MINUTE:  # the first is in force until the second
            self.marks.popleft()

    def sample(self, time: int, book: int, index: Fraction) -> None:
        """A premium of the mark (which stands for both sides of the book) over the index, both in ticks."""
        self.premiums.append((time, premium(book, book, index)))
        self.index = index
        while self.premiums[0][0] < time - KEPT:
            self.premiums.popleft()

    def average(self, since: int, until: int) -> int | None:
        """The time-weighted average of the marks in force between two instants, to the nearest tick, ties to even."""
        weighted = total = 0
        inside = [(max(time, since), ticks) for time, ticks in self.marks if time < until]
        ends = [*(time for time, _ in inside[1:]), until][: len(inside)]
        for (begin, ticks), end in zip(inside, ends, strict=True):
            if end > begin:
                weighted += ticks * (end - begin)
                total += end - begin
        return round(Fraction(weighted, total)) if total else None


@dataclass(slots=True)
class Schedule:
    """The clock's duties under one rulebook. `business_day` is ``HH:MM`` in the first session's time zone."""

    rulebook: Rulebook
    business_day: str
    samples: dict[str, Samples] = field(default_factory=dict[str, Samples])
    sessions: dict[str, Session] = field(init=False)
    funding: FundingPolicy | None = field(init=False)

    def __post_init__(self) -> None:
        policy = self.rulebook.policy()
        self.funding = policy.funding
        used = {rules.session for rules in policy.contracts.values()}
        self.sessions = {name: session for name, session in policy.sessions.items() if name in used}
        for name in policy.contracts:
            self.samples.setdefault(name, Samples())

    @property
    def zone(self) -> ZoneInfo:
        """The firm's own time zone: that of its first session."""
        first = next(iter(self.sessions.values()), None)
        return ZoneInfo(first.time_zone if first else "America/Chicago")

    def is_business_day(self, date: dt.date) -> bool:
        """Monday to Friday, but for the dates on which some session of the rulebook is shut all day (assumed)."""
        closed = (day.date for session in self.sessions.values() for day in session.holidays if day.closes is None)
        return date.weekday() < 5 and date not in closed

    def at_start(self, state: State, now: int) -> list[AnyCommand]:
        """What must be said so that the engine's sessions are those of this instant, after a start or a pause."""
        said: list[AnyCommand] = []
        for name, session in self.sessions.items():
            held = next(contract for contract in state.contracts.values() if contract.session == name)
            due = session.state(now)
            if (held.window.name, held.is_open) != (due.window, due.is_open):
                said.append(SessionChange(name, due.window, due.is_open))
        return said

    def due(self, state: State, since: int, until: int) -> list[tuple[int, AnyCommand]]:
        """All that falls due in (since, until], in order of time; at one instant in the order of the duties here."""
        found: list[tuple[int, int, AnyCommand]] = []
        duties = (
            self._settlements(state, since, until),
            self._session_changes(since, until),
            self._trade_dates(since, until),
            self._funding(state, since, until),
            self._business_days(since, until),
            self._flatten_times(state, since, until),
        )
        for order, duty in enumerate(duties):
            found += [(time, order, command) for time, command in duty]
        found.sort(key=lambda item: item[:2])
        return [(time, command) for time, _, command in found]

    # -- duties --------------------------------------------------------------------------------------

    def _session_changes(self, since: int, until: int) -> Iterator[tuple[int, AnyCommand]]:
        for name, session in self.sessions.items():
            for change in session.changes(since, until):
                yield change.time_ns, SessionChange(name, change.window, change.is_open)

    def _trade_dates(self, since: int, until: int) -> Iterator[tuple[int, AnyCommand]]:
        """A trade date begins with the first session that opens for it."""
        opens: dict[dt.date, int] = {}
        for session in self.sessions.values():
            for day in session.trade_dates(since - 2 * DAY_NS, until):
                if day.trade_date == day.date:
                    opens[day.date] = min(day.open_ns, opens.get(day.date, day.open_ns))
        for date, at in sorted(opens.items()):
            if since < at <= until:
                yield at, TradeDate(date.isoformat())

    def _business_days(self, since: int, until: int) -> Iterator[tuple[int, AnyCommand]]:
        for at, date in wall_instants(self.business_day, self.zone, since, until):
            if self.is_business_day(date):
                yield at, BusinessDay(date.isoformat())

    def _settlements(self, state: State, since: int, until: int) -> Iterator[tuple[int, AnyCommand]]:
        table = self.rulebook.table.settlement
        if table is None:
            return
        contracts = self.rulebook.table.contracts
        for name, session in self.sessions.items():
            for day in session.trade_dates(since, until):
                if day.trade_date != day.date or not since < day.close_ns <= until:
                    continue  # a halt on a holiday settles nothing: its trades carry the next trade date
                for contract, rules in contracts.items():
                    if rules.session == name and state.is_held(contract):
                        price = self._settlement(state, contract, day.close_ns, table.period_minutes, table.prices)
                        yield day.close_ns, price

    def _settlement(self, state: State, contract: str, close: int, minutes: int, order: list[str]) -> AnyCommand:
        """The first price of the rulebook's order that can be had of marks (US-24); the exchange's own comes by the API
        and stands as the previous settlement until the next."""
        for kind in order:
            price = None
            if kind == "midpoint_twap":
                price = self.samples[contract].average(close - minutes * MINUTE, close)
            elif kind == "previous_settlement":
                price = state.contracts[contract].settlement
            if price is not None:
                return Settle(contract, price)
        detail = f"{contract}: no settlement price at {time_text(close)}: no mark and no earlier settlement; give one"
        return RaiseAlarm("", "no_settlement_price", detail)

    def _funding(self, state: State, since: int, until: int) -> Iterator[tuple[int, AnyCommand]]:
        """Each contract's accruals, and the bookings after all of those at the same instant."""
        funding = self.funding
        if funding is None:
            return
        ends: set[int] = set()
        for contract, terms in funding.terms.items():
            cadence = state.cadences.get(contract, Cadence(terms.interval))
            if funding.step:
                yield from self._steps(state, funding, contract, cadence, since, until)
            at = since
            while (at := next_end(funding, cadence, at)) <= until:
                ends.add(at)
                command = None if funding.step else self._accrual(state, funding, contract, cadence, at)
                if command is not None:
                    yield at, command
                if isinstance(command, AccrueFunding):
                    cadence = cadence.after(terms, command.rate, at)
        if funding.booking is None:
            yield from ((at, BookFunding()) for at in sorted(ends))
        else:
            zone = ZoneInfo(funding.time_zone)
            yield from ((at, BookFunding()) for at, _ in wall_instants(funding.booking, zone, since, until))

    def _steps(
        self, state: State, funding: FundingPolicy, contract: str, cadence: Cadence, since: int, until: int
    ) -> Iterator[tuple[int, AnyCommand]]:
        for at in multiples(funding.step, since, until):
            command = self._accrual(state, funding, contract, cadence, at)
            if command is not None:
                yield at, command

    def _accrual(
        self, state: State, funding: FundingPolicy, contract: str, cadence: Cadence, at: int
    ) -> AnyCommand | None:
        """What accrues at an instant: the interval's rate at its end, or of continuous funding the step's part. Nothing
        where nobody holds the contract, but for the rate that decides on the interval after it."""
        terms = funding.terms[contract]
        held = state.is_held(contract)
        if not held and terms.shortening is None:
            return None
        end = cadence.next_end(at - 1) if funding.step else at
        begin = cadence.begin(end)
        length, passed = end - begin, at - begin
        step = funding.step or length
        if funding.known_ahead:
            since, until, minutes = begin - length, begin, None
        else:
            since, until, minutes = at - step, at, Fraction(step, MINUTE)
        samples = self.samples[contract]
        premiums = [(time, value) for time, value in samples.premiums if since < time <= until]
        try:
            rate = terms.rate(premiums, minutes)
        except InputError:
            if passed < length or not held:
                return None  # told once an interval, at its end
            detail = f"{contract}: no funding rate for the interval to {time_text(at)}: no index was heard; give one"
            return RaiseAlarm("", "no_funding_rate", detail)
        if funding.known_ahead:
            rate = part_of_rate(rate, passed - step, passed, length)
        price = round(samples.index) if funding.on_index and samples.index is not None else None
        return AccrueFunding(contract, rate, price)

    def _flatten_times(self, state: State, since: int, until: int) -> Iterator[tuple[int, AnyCommand]]:
        """Instants are worked out once for each time, not for each account: this is asked twice a second."""
        times = state.book.brakes.flatten_at
        for text in sorted(set(times.values())):
            for at, _ in wall_instants(text, self.zone, since, until):
                for account_id in sorted(state.book.ids[row] for row, own in times.items() if own == text):
                    yield at, Flatten(account_id, f"flatten time {text}")
