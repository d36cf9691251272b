"""`closeout study funding`: a series of funding rates paid by a position and received by the one against it.

Both are accounts of the engine, which accrues and books as it does for the service; what is reported are its own
accruals and postings. The series has rates and no prices, so that the position is worth the same at each payment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil
from zoneinfo import ZoneInfo

from closeout.core.contracts import OutOfBounds
from closeout.core.times import MINUTE, SECOND, wall_instants
from closeout.core.units import MAX_VALUE, RATE, InputError, rate_text
from closeout.engine import commands as c
from closeout.engine import ledger as books
from closeout.engine.engine import Engine
from closeout.engine.events import Rejected
from closeout.rulebooks.loader import Rulebook
from closeout.rulebooks.policy import FundingPolicy, Policy
from closeout.studies.funding_series import Payment, Series

POSITION, OTHER = "position", "the other side"
LARGEST = 5


@dataclass(frozen=True, slots=True)
class Holding:
    """What is held: signed lots of a contract, at a mark that stands still."""

    contract: str
    lots: int
    ticks: int
    notional: int


@dataclass(frozen=True, slots=True)
class Paid:
    """What one payment was to the position, in micros: above zero received."""

    payment: Payment
    micros: int


@dataclass(slots=True)
class Year:
    """The payments that fell into a year (UTC)."""

    year: int
    payments: int = 0
    rate: int = 0
    paid: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Study:
    """A run. `booked` and `booked_other` are what became cash on either side, `rounding` and `cleared` what rounding
    and the clearing house have of it: the four add up to zero. `bookings` counts the cash adjustments."""

    series: Series
    policy: Policy
    holding: Holding
    paid: list[Paid]
    booked: int
    booked_other: int
    rounding: int
    cleared: int
    bookings: int
    problems: list[str]
    notes: list[str]

    @property
    def years(self) -> list[Year]:
        found: dict[int, Year] = {}
        for one in self.paid:
            when = datetime.fromtimestamp(one.payment.due // SECOND, UTC).year
            year = found.setdefault(when, Year(when))
            year.payments += 1
            year.rate += one.payment.rate
            if one.micros < 0:
                year.paid -= one.micros
            else:
                year.received += one.micros
        return list(found.values())

    @property
    def largest(self) -> list[Paid]:
        """The largest payments either way, the largest first, at one size the earlier first."""
        return sorted(self.paid, key=lambda one: (-abs(one.micros), one.payment.due))[:LARGEST]


def study(series: Series, rulebook: Rulebook, *, contract: str | None, quantity: Decimal, price: Decimal) -> Study:
    """Run a series; `InputError` where the rulebook has no such contract, or the position cannot be held."""
    policy = rulebook.policy()
    holding = _holding(policy, _contract(policy, series, contract), quantity, price)
    run = _Run(Engine(), policy, holding, series.payments[0].time - 2 * MINUTE)
    run.open(rulebook, series)
    paid = [Paid(one, run.accrue(one)) for one in series.payments]
    if run.pending:
        run.book(series.payments[-1].time)
    notes = list(_notes(series, policy.funding, holding))
    return Study(
        series, policy, holding, paid, run.gained(POSITION), run.gained(OTHER), run.has(books.ROUNDING),
        run.has(books.CLEARING_HOUSE), run.bookings, run.engine.imbalances(), notes,
    )  # fmt: skip


def _contract(policy: Policy, series: Series, given: str | None) -> str:
    """The contract named, or the one that is or stands for the series' symbol; those with funding come first."""
    if given is not None:
        if given not in policy.contracts:
            raise InputError(f"--contract: expected one of {', '.join(policy.contracts)}, got {given!r}")
        return given
    name = series.symbol.replace("-", "")
    funded = policy.funding.terms if policy.funding is not None else {}
    for one in sorted(policy.contracts, key=lambda one: one not in funded):
        if one == name or name in policy.contracts[one].stands_for:
            return one
    raise InputError(f"--contract: {policy.name} has none for {series.symbol}; one of {', '.join(policy.contracts)}")


def _holding(policy: Policy, name: str, quantity: Decimal, price: Decimal) -> Holding:
    facts = policy.contracts[name].contract
    try:
        lots = facts.lots(quantity)
    except InputError as error:
        raise InputError(f"--quantity: {error}") from None
    if lots == 0:
        raise InputError("--quantity: expected more or less than zero")
    try:
        ticks = facts.ticks(price)
        facts.check_bounds(ticks, abs(lots))
    except InputError as error:
        raise InputError(f"--price: {error}") from None
    except OutOfBounds as error:
        raise InputError(f"--price: {error} is out of bounds") from None
    if ticks <= 0:
        raise InputError(f"--price: expected a price above zero, got {price}")
    return Holding(name, lots, ticks, int(facts.notional(ticks, lots)))


def _notes(series: Series, funding: FundingPolicy | None, holding: Holding) -> Iterator[str]:
    """What of the series does not agree with the rulebook's own terms."""
    if funding is None or holding.contract not in funding.terms:
        yield f"The rulebook states no funding for {holding.contract}: payments are booked at once, no cap is checked."
        return
    terms = funding.terms[holding.contract]
    length = series.interval // MINUTE
    if length != terms.interval:
        yield f"The series pays every {length} minutes, the rulebook every {terms.interval}."
        return
    if funding.step:
        yield "The rulebook accrues through the interval; for what is held throughout, its whole rate at the end."
    if terms.cap is not None and not terms.cap_of_period:
        beyond = sum(abs(one.rate) > terms.cap for one in series.payments)
        at = sum(abs(one.rate) == terms.cap for one in series.payments)
        yield f"The rulebook's cap is {rate_text(terms.cap)}: {at:,} rates at it, {beyond:,} beyond it."
        if terms.shortening is not None and at + beyond:
            hours = max(terms.shortening.shorter) // 60
            yield f"After each of them the rulebook's next interval is {hours} h; paid here is what was recorded."


@dataclass(slots=True)
class _Run:
    """The engine with the two accounts, and what it has to be told when."""

    engine: Engine
    policy: Policy
    holding: Holding
    time: int
    number: int = 0
    deposit: int = 0
    bookings: int = 0
    pending: bool = False
    booked_until: int = 0
    _rows: dict[str, int] = field(default_factory=dict[str, int])

    def give(self, command: c.AnyCommand, time: int) -> None:
        self.number += 1
        for event in self.engine.apply(c.Input("study", self.number, time, command)):
            if isinstance(event, Rejected):
                raise InputError(f"the engine refused {type(command).__name__}: {event.detail}")
        self.time = time

    def open(self, rulebook: Rulebook, series: Series) -> None:
        """Both accounts, with what all payments together and twice the margin could take."""
        holding, facts = self.holding, self.policy.contracts[self.holding.contract]
        owed = ceil(sum(abs(one.rate) for one in series.payments) * Fraction(holding.notional, RATE))
        self.deposit = owed + 2 * len(series.payments) + 4 * holding.notional
        if self.deposit > MAX_VALUE:
            raise InputError("--price: the position is too large for what an account can hold")
        self.give(c.LoadRulebook(rulebook.document()), self.time)
        self.give(c.Marks((c.Mark(holding.contract, holding.ticks),)), self.time)
        for name, lots in ((POSITION, holding.lots), (OTHER, -holding.lots)):
            self.give(c.OpenAccount(name), self.time)
            self.give(c.Deposit(name, self.deposit), self.time)
            cost = facts.contract.trade_value(holding.ticks, lots)
            self.give(c.TransferPosition(name, holding.contract, lots, cost), self.time)
            self._rows[name] = self.engine.loaded.row(name)
        self.booked_until = self.time

    def accrue(self, one: Payment) -> int:
        """One payment; what it is to the position."""
        self._book_before(one.time)
        accrued = self.engine.loaded.book.accrued
        before = int(accrued[self._rows[POSITION]])
        self.give(c.AccrueFunding(self.holding.contract, one.rate, self.holding.ticks), one.time)
        self.pending = True
        due = int(self.engine.loaded.book.accrued[self._rows[POSITION]]) - before
        if self.policy.funding is None or self.policy.funding.booking is None:
            self.book(one.time)
        return due

    def _book_before(self, time: int) -> None:
        """The bookings of a rulebook that books at a wall time; one at the instant of a payment comes after it."""
        funding = self.policy.funding
        if funding is None or funding.booking is None:
            return
        zone = ZoneInfo(funding.time_zone)
        for at, _ in wall_instants(funding.booking, zone, self.booked_until - 1, time - 1):
            if at >= self.time and self.pending:
                self.book(at)
        self.booked_until = time

    def book(self, time: int) -> None:
        self.give(c.BookFunding(), time)
        self.bookings += 1
        self.pending = False

    def gained(self, name: str) -> int:
        return int(self.engine.loaded.book.cash[self._rows[name]]) - self.deposit

    def has(self, account: str) -> int:
        """What stands to a ledger account's credit."""
        return -self.engine.loaded.ledger.balances[account]
