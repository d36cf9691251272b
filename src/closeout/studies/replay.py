"""Replay: recorded prices and a book of accounts through the engine under one rulebook, with a simulated venue.

At each bar time: session changes that have fallen due, the open as a batch of marks, accounts that open now, then the
two extremes and the close as batches. Close-out orders go to the venue at the point at which they were caused, and
its executions come back as fills. All marks of a bar carry the bar's time.
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from closeout.adapters.venues.simulated import BarTicks, Depth, FillMode, SimulatedVenue
from closeout.core.contracts import Kind
from closeout.core.margin import entry_requirement, netted, value_at_entry
from closeout.core.risk import Holding
from closeout.core.times import time_text
from closeout.core.units import InputError
from closeout.engine.commands import (
    CheckOrder,
    Command,
    Deposit,
    Fill,
    Mark,
    Marks,
    OpenAccount,
    OrderDone,
    SessionChange,
    TransferPosition,
)
from closeout.engine.events import AnyEvent, OrderApproved, Rejected
from closeout.engine.state import State
from closeout.rulebooks.loader import Rulebook
from closeout.rulebooks.policy import Policy, StageKind, TransferPrice
from closeout.studies.accounts import AccountFile, to_commands
from closeout.studies.funding_rates import FundingRates
from closeout.studies.funding_replay import Payments
from closeout.studies.market import Bar, Market
from closeout.studies.outcome import Run
from closeout.studies.recorder import Recorder
from closeout.studies.results import Tracker
from closeout.studies.sizing import Sizer

Progress = Callable[["Replay", int, int], None]
"""Called after each bar with the replay, the bar's number from 1, and its time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a market is replayed: `fill` and `depth` of the venue, and which extreme comes first in a bar. `measure` is
    the rulebook by which sizes are made the same appetite everywhere (`studies.sizing`); None keeps them. `funding`:
    the recorded rates; None applies none."""

    fill: FillMode = FillMode.BOOK
    depth: Depth = field(default_factory=Depth)
    high_first: bool = False
    measure: Rulebook | None = None
    funding: FundingRates | None = None


class Replay:
    """One run under one rulebook; `name` is the market's, `label` the rulebook's as the user wrote it.

    What is wrong with the input is raised here as `InputError`, before `run` creates the journal; but for what passes
    the engine's bounds only at the market's prices, which `run` raises.
    """

    def __init__(
        self,
        market: Market,
        accounts: Sequence[AccountFile],
        rulebook: Rulebook,
        name: str,
        settings: Settings,
        label: str = "",
    ) -> None:
        self.market, self.rulebook, self.name, self.settings = market, rulebook, name, settings
        self.label = label or rulebook.table.name
        self.policy = rulebook.policy()
        self.feeds = _feeds(market, self.policy)
        measure = None if settings.measure is None else settings.measure.policy()
        self.sizer = Sizer(market, self.policy, self.feeds, measure)
        self.bars = [(time, self._ticks(time, bars)) for time, bars in market.bars()]
        self.start, self.end = self.bars[0][0], self.bars[-1][0]
        self.waiting = sorted(
            (
                (account.opened_at or self.start, to_commands(account, self.policy, self.sizer.carry(account)), account)
                for account in accounts
            ),
            key=lambda entry: entry[0],
        )
        self.leaving = {a.account_id: a.closed_at for a in accounts if a.closed_at is not None}
        for _, commands, account in self.waiting:
            _check_fed(commands, set(self.feeds.values()), self.policy, account)
        contracts = {name: rules.contract for name, rules in self.policy.contracts.items()}
        self.venue = SimulatedVenue(contracts, settings.fill, settings.depth, interval=market.interval())
        self.clock = self.start
        self.payments = Payments(self.policy, self.feeds, settings.funding, self.start)

    def run(self, journal: Path, progress: Progress | None = None) -> Run:
        """Play everything; the journal at `journal` must not exist."""
        begun = wall.perf_counter()
        self.recorder = Recorder(journal, self.rulebook, self.start)
        self.tracker = Tracker(self.recorder, self.feeds, self.venue, self.payments)
        try:
            self._sessions_at_start()
            for number, (time, bars) in enumerate(self.bars, 1):
                self._bar(time, bars)
                if progress is not None:
                    progress(self, number, time)
            self._reopen()
            self._offer_venue(self.clock, self.venue.end())
            published = self.recorder.finish()
        finally:
            self.recorder.journal.close()
        run = self.tracker.result(self.label, len(self.waiting), published, wall.perf_counter() - begun)
        run.assumptions += self.sizer.notes()
        if matches_orders(self.policy):
            run.assumptions += [*_transfer_prices(self.policy), *self.tracker.sides()]
        run.dollars = self.sizer.dollars()
        return run

    @property
    def state(self) -> State:
        return self.recorder.state

    def _ticks(self, time: int, bars: dict[str, Bar]) -> dict[str, BarTicks]:
        """Bars by rulebook contract. A contract's own prices must be on its tick; a market that it stands for, of its
        own name too, is rounded to the nearest (`Contract.nearest_ticks`)."""
        found: dict[str, BarTicks] = {}
        for market_name, bar in bars.items():
            name = self.feeds[market_name]
            contract, stands_for = self.policy.contracts[name].contract, self.policy.contracts[name].stands_for
            convert = contract.nearest_ticks if name != market_name or name in stands_for else contract.ticks
            prices: list[int] = []
            for point in ("open", "high", "low", "close"):
                price = getattr(bar, point)
                try:
                    ticks = convert(price)
                    if ticks <= 0 and not contract.negative_prices:
                        raise InputError(f"expected a price of {name} above zero, not {price}")
                except InputError as bad:
                    raise self._bad(f"{market_name} at {time_text(time)}: {point}: {bad}") from None
                prices.append(ticks)
            found[name] = BarTicks(*prices, high_first=self.settings.high_first)
        return found

    def _bad(self, what: str) -> InputError:
        """What is wrong with the market, with its files in front."""
        return InputError(f"{', '.join(source.file for source in self.market.sources)}: {what}")

    # -- time --------------------------------------------------------------------------------------

    def _sessions_at_start(self) -> None:
        changes: list[Command] = []
        for name, session in self.policy.sessions.items():
            if any(rules.session == name for rules in self.policy.contracts.values()):
                now = session.state(self.start)
                changes.append(SessionChange(name, now.window, now.is_open))
                self.tracker.window(name, self.start, now.window, is_open=now.is_open)
        self.recorder.offer("clock", self.start, changes)

    def _advance(self, time: int) -> None:
        """Session changes and funding in (clock, time], in order of time; at one instant the session comes first."""
        used = {rules.session for rules in self.policy.contracts.values()}
        due = [
            (instant.time_ns, name, instant)
            for name, session in self.policy.sessions.items()
            if name in used
            for instant in session.changes(self.clock, time)
        ]
        for at, name, instant in sorted(due, key=lambda entry: entry[:2]):
            self._pay(at - 1)
            self.recorder.offer("clock", at, [SessionChange(name, instant.window, instant.is_open)])
            self.tracker.window(name, at, instant.window, is_open=instant.is_open)
            self.clock = at
        self._pay(time)
        self.clock = max(self.clock, time)

    def _pay(self, until: int) -> None:
        """Funding that falls due, at the marks of the prices before."""
        for at, command in self.payments.due(self.state, until):
            for refused in _refused(self.recorder.offer("clock", at, [command])):
                raise InputError(f"--funding: {refused.detail}, under {self.label} at {time_text(at)}")

    # -- bars --------------------------------------------------------------------------------------

    def _bar(self, time: int, bars: dict[str, BarTicks]) -> None:
        """One bar of every contract that has one and whose market is open: a shut market has no prices."""
        self._advance(time)
        traded = {name: bar for name, bar in bars.items() if self.state.contracts[name].is_open}
        self.tracker.withheld += len(bars) - len(traded)
        self.venue.begin_bar(time, traded)
        for point in range(4):
            self._offer_venue(time, self.venue.due(point))
            marks = tuple(Mark(name, bar.points()[point]) for name, bar in traded.items())
            if marks:
                for refused in _refused(self.recorder.offer(self.name, time, [Marks(marks)])):
                    raise self._bad(f"{time_text(time)}: {refused.detail}")
            if point == 0:
                self._open_accounts(time)
                self._close_accounts(time)
            self._execute(time, point)
        self.tracker.bar(time, traded)

    def _execute(self, time: int, point: int) -> None:
        """Hand orders to the venue and its executions to the engine until nothing more happens at this point."""
        while orders := self.recorder.take_orders():
            for order in orders:
                self.tracker.order(order, time)
                self.venue.send(order, point)
            self._offer_venue(time, self.venue.due(point))

    def _offer_venue(self, time: int, told: Sequence[Command]) -> None:
        """Executions as inputs; the end of an order that is full says nothing new."""
        news = [command for command in told if not (isinstance(command, OrderDone) and command.reason == "filled")]
        self.recorder.offer("venue", time, news)

    def _reopen(self) -> None:
        """Where a plan still waits for a shut market: play its next open with the last price known, and say so."""
        shut = {
            name: bar
            for name, bar in self.tracker.last_bars(self.bars).items()
            if not self.state.contracts[name].is_open and self.state.is_held(name)
        }
        if not shut:
            return
        sessions = {self.policy.contracts[name].session for name in shut}
        at = max(self.policy.sessions[name].next_open(self.clock) for name in sessions if name is not None)
        close = {name: BarTicks(bar.close, bar.close, bar.close, bar.close) for name, bar in shut.items()}
        self.tracker.reopened(at, close)
        self._bar(at, close)

    # -- accounts ----------------------------------------------------------------------------------

    def _open_accounts(self, time: int) -> None:
        """Open who is due and whose contracts are all marked; who would not pass the opening check is not admitted."""
        commands: list[Command] = []
        later: list[tuple[int, list[Command], AccountFile]] = []
        for entry in self.waiting:
            opened_at, wanted, account = entry
            if opened_at > time or not all_marked(self.state, wanted):
                later.append(entry)
                continue
            net_liq, notional, admitted = opening_check(self.state, wanted)
            self.tracker.opened(account, wanted, time, net_liq, notional, admitted=admitted)
            if admitted:
                commands += wanted
        self.waiting = later
        for refused in _refused(self.recorder.offer("replay", time, commands)):
            raise InputError(f"account {refused.account_id}: {refused.detail}, under {self.label} at {time_text(time)}")

    def _close_accounts(self, time: int) -> None:
        """Customers whose time is up close their own positions at the open, as orders that only reduce risk. A position
        that is being closed out, or whose market is shut, is left alone."""
        for account_id in [key for key, at in self.leaving.items() if at <= time and key in self.tracker.members]:
            if any(not self.state.contracts[name].is_open for name in self.tracker.outcomes[account_id].contracts):
                continue
            del self.leaving[account_id]
            for member in self.tracker.members[account_id]:
                row = self.state.book.row[member]
                if row in self.state.book.close_outs:
                    continue
                for holding in self.state.holdings(row):
                    name = holding.contract.name
                    order_id = f"exit-{member}-{name}"
                    answer = self.recorder.offer("customer", time, [CheckOrder(member, order_id, name, -holding.lots)])
                    if any(isinstance(event, OrderApproved) for event in answer):
                        price = self.state.contracts[name].mark or 0
                        fill = Fill(member, name, -holding.lots, price, order_id, f"{order_id}-f1")
                        self.recorder.offer("venue", time, [fill])


def matches_orders(policy: Policy) -> bool:
    """Whether a rulebook takes from customers who won: then its customers are one another's counterparties, and a book
    of accounts needs both sides. A cut of withdrawals falls on whoever withdraws, and needs none."""
    kinds = (StageKind.AUTO_DELEVERAGING, StageKind.UNWIND, StageKind.SOCIALISED_LOSS)
    return any(stage.kind in kinds for stage in policy.waterfall)


def _transfer_prices(policy: Policy) -> list[str]:
    """What winners lose where the price is not the one at which the other side is worth nothing."""
    kinds = (StageKind.AUTO_DELEVERAGING, StageKind.UNWIND)
    prices = {stage.price for stage in policy.waterfall if stage.kind in kinds} - {TransferPrice.BANKRUPTCY}
    limited = TransferPrice.DRAWDOWN in prices
    prices.discard(TransferPrice.DRAWDOWN)
    lines = [
        "Deleveraging after a fall of the fund: winners give what it may not lose any more, not the whole deficit."
    ]
    return (lines if limited else []) + [
        f"Deleveraging: at the {price.value.replace('_', ' ')}, not at the bankruptcy price: it may take more from "
        "winners than the account was below zero (counted apart), or less; the account keeps what is over."
        for price in sorted(prices, key=lambda price: price.value)
    ]


def _feeds(market: Market, policy: Policy) -> dict[str, str]:
    """Market contract -> rulebook contract: its own name, or the one that it stands for."""
    feeds: dict[str, str] = {}
    for name in market.contracts:
        standing = [own for own, rules in policy.contracts.items() if name == own or name in rules.stands_for]
        if not standing:
            source = ", ".join(source.file for source in market.sources)
            raise InputError(
                f"{source}: contract: rulebook {policy.name} has no {name}, and nothing that it stands for; it has "
                f"{', '.join(policy.contracts)} (a file without a column contract is named after its contract)"
            )
        feeds[name] = standing[0]
    if len(set(feeds.values())) < len(feeds):
        raise InputError(f"market: two of {', '.join(feeds)} are prices of the same contract of {policy.name}")
    return feeds


def _check_fed(commands: Sequence[Command], fed: set[str], policy: Policy, account: AccountFile) -> None:
    for command in commands:
        if isinstance(command, TransferPosition) and policy.contracts[command.contract].contract.market not in fed:
            raise InputError(
                f"{account.where or account.account_id}: contract: {command.contract} has no prices in this market; "
                f"expected one of {', '.join(sorted(fed))}"
            )


def _refused(events: Sequence[AnyEvent]) -> list[Rejected]:
    return [event for event in events if isinstance(event, Rejected)]


def all_marked(state: State, commands: Sequence[Command]) -> bool:
    """Whether every contract of the account has a mark: its first complete set of marks (EX-09)."""
    return all(state.contracts[c.contract].mark is not None for c in commands if isinstance(c, TransferPosition))


def opening_check(state: State, commands: Sequence[Command]) -> tuple[int, int, bool]:
    """Net liq and notional in micros with which an account would open, and whether it passes the opening check (EX-09):
    none of its margin accounts has less than the engine's order check asks for opening its positions. What the venue
    asks is asked at the marks, what the positions' own leverage asks at the marks or at the prices of entry, without a
    fee of closing: who names 10x has a tenth.

    A position whose entry price is the mark but for rounding to the tick is opened at that price, without profit: half
    a tick turns nobody away. Accounts of one moment are measured against the same open interest, that before them."""
    net_liq, notional, admitted = 0, 0, True
    for opening in (command for command in commands if isinstance(command, OpenAccount)):
        own = [command for command in commands if getattr(command, "account_id", "") == opening.account_id]
        cash = sum(command.micros for command in own if isinstance(command, Deposit))
        holdings = list(_brought(state, opening, own))
        net_liq += cash + sum(holding.profit for holding in holdings)
        notional += sum(holding.notional for holding in holdings)
        now = [holding for holding in holdings if not _opens_at_the_mark(holding)]
        moved = cash + sum(holding.profit for holding in now)
        entry, marks = _asked(opening, holdings, [], named=True), _asked(opening, holdings, now, named=True)
        admitted = admitted and moved >= _asked(opening, holdings, now) and (cash >= entry or moved >= marks)
    return net_liq, notional, admitted


def _brought(state: State, opening: OpenAccount, commands: Sequence[Command]) -> Iterator[Holding]:
    """The positions that one margin account brings, a holding a contract, under the terms for orders."""
    positions: dict[str, tuple[int, int]] = {}
    for command in commands:
        if isinstance(command, TransferPosition):
            lots, cost = positions.get(command.contract, (0, 0))
            positions[command.contract] = lots + command.lots, cost + command.cost
    for name, (lots, cost) in positions.items():
        contract = state.contracts[name]
        yield Holding(contract.contract, contract.order_terms, lots, cost, contract.mark)


def _asked(opening: OpenAccount, holdings: Sequence[Holding], now: Sequence[Holding], *, named: bool = False) -> int:
    """What the order check asks for these positions: of those in `now` on what they are worth at the marks, of the
    others on their value at entry. `named`: at the leverage that they name, without a fee of closing."""
    required = (
        entry_requirement(
            replace(holding.terms, rules=replace(holding.terms.rules, close_fee=0)) if named else holding.terms,
            holding.lots,
            holding.required_on if holding in now else value_at_entry(holding.cost, holding.contract.units_per_micro),
            with_intraday=opening.validate_with_intraday,
            leverage=holding.contract.named_in(opening.leverage) if named else 0,
        )
        for holding in holdings
    )
    groups = ((holding.terms.rules.netting, holding.lots) for holding in holdings)
    return netted((group, lots, micros) for (group, lots), micros in zip(groups, required, strict=True))


def _opens_at_the_mark(holding: Holding) -> bool:
    """Whether the mark is the tick nearest to the entry price."""
    units = holding.lots * holding.contract.unit_value
    linear = holding.contract.kind is Kind.LINEAR
    entry = Fraction(holding.cost, units) if linear else Fraction(-units, holding.cost)
    return holding.mark is not None and abs(entry - holding.mark) <= Fraction(1, 2)
