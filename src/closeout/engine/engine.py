"""The deterministic machine: `apply(input) -> events`, the same live and in replay (G-03, G-09)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from closeout import __version__
from closeout.core.units import InputError
from closeout.engine import (
    accounts,
    commands,
    desk,
    gate,
    image,
    limits,
    market,
    opening,
    orders,
    rates,
    reconcile,
    series,
    settings,
    trading,
    waterfall,
)
from closeout.engine import ledger as books
from closeout.engine.book import SUSPENSE, ContractState
from closeout.engine.commands import Input, LoadRulebook, Marks, MarkSeries
from closeout.engine.events import AnyEvent, Rejected
from closeout.engine.state import INDEX_FROM, Reject, State
from closeout.rulebooks.loader import Rulebook

HANDLERS: dict[type, Callable[[State, Any], None]] = {
    commands.OpenAccount: accounts.open_account,
    commands.Deposit: accounts.deposit,
    commands.Withdraw: accounts.withdraw,
    commands.TransferPosition: accounts.transfer_position,
    commands.OpenBook: opening.open_book,
    commands.SetReceivableStatus: accounts.set_receivable_status,
    commands.WriteOff: accounts.write_off,
    commands.AdjustCash: accounts.adjust_cash,
    commands.CorrectFill: accounts.correct_fill,
    commands.Fill: trading.fill,
    commands.OrderDone: trading.order_done,
    commands.CheckOrder: orders.check_order,
    commands.CancelOrder: trading.cancel_order,
    commands.Tick: market.tick,
    commands.SessionChange: market.session_change,
    commands.Halt: market.halt,
    commands.AccrueFunding: market.accrue_funding,
    commands.BookFunding: market.book_funding,
    commands.Settle: market.settle,
    commands.Expire: market.expire,
    commands.BusinessDay: market.business_day,
    commands.AnnounceExpiry: market.announce_expiry,
    commands.NewsWindow: rates.news_window,
    commands.ScheduleNews: rates.schedule_news,
    commands.SetMargin: rates.set_margin,
    commands.ReviewMargin: rates.review_margin,
    commands.DeskAction: desk.desk_action,
    commands.DeskSwitch: desk.desk_switch,
    commands.RaiseAlarm: desk.raise_alarm,
    commands.GiveNotice: desk.give_notice,
    commands.SetLimits: limits.set_limits,
    commands.SetValidation: settings.set_validation,
    commands.SetDisclosure: settings.set_disclosure,
    commands.AcknowledgeDisclosure: settings.acknowledge_disclosure,
    commands.SetRiskSettings: settings.set_risk_settings,
    commands.Flatten: settings.flatten,
    commands.TradeDate: settings.trade_date,
    commands.Reconcile: reconcile.reconcile,
}


@dataclass(slots=True)
class Engine:
    """One writer's machine. `sources` holds the high-water mark of each source's numbers. `index_from`: the number of
    positions from which on a trigger index finds who must be judged; it changes nothing of what comes out (G-12)."""

    sources: dict[str, int] = field(default_factory=dict[str, int])
    offered: int = 0
    state: State | None = None
    index_from: int = INDEX_FROM

    version = __version__

    def apply(self, given: Input) -> list[AnyEvent]:
        """Take one input in. Returns what follows, sorted by account (G-19), that of a series batch by batch; a refused
        input changes nothing but its source's number and says why by a code."""
        self.offered += 1
        expected = self.sources.get(given.source, 0) + 1
        if given.number != expected:
            code = "duplicate_input" if given.number < expected else "gap_in_inputs"
            return [Rejected("", code, f"{given.source} number {given.number}, expected {expected}")]
        self.sources[given.source] = given.number
        try:
            self._handle(given)
        except Reject as reason:
            return [Rejected(getattr(given.command, "account_id", ""), reason.code, reason.detail)]
        state = self.loaded
        events, state.events = state.events, []
        if isinstance(given.command, MarkSeries):
            return events
        return sorted(events, key=lambda event: event.account_id)

    @property
    def loaded(self) -> State:
        """The state; an error before a rulebook is loaded."""
        if self.state is None:
            raise Reject("no_rulebook", "the first input must load a rulebook")
        return self.state

    def _handle(self, given: Input) -> None:
        command = given.command
        if isinstance(command, LoadRulebook):
            if self.state is not None:
                raise Reject("rulebook_loaded", "a rulebook is loaded already")
            try:
                self.state = initial_state(command.document)
                self.state.index_from = self.index_from
            except InputError as bad:
                raise Reject("bad_rulebook", str(bad)) from None
            self.state.time, self.state.seq = given.time, self.offered
            self.state.fund_changed = given.time
            return
        state = self.loaded
        if given.time < state.time:
            raise Reject("time_ran_back", f"{given.time} is before {state.time}")
        if isinstance(command, MarkSeries):
            series.mark_series(state, command, given.source, given.time, self.offered)
            return
        before, below_zero = (state.time, state.seq), gate.stands(state)
        state.time, state.seq = given.time, self.offered
        try:
            if isinstance(command, Marks):
                market.marks(state, command, given.source)
            else:
                HANDLERS[type(command)](state, command)
        except Reject:
            state.time, state.seq = before
            raise
        if below_zero:
            state.below_zero_at = state.time

    def snapshot(self) -> bytes:
        """The whole state as a canonical image: equal states give equal bytes."""
        return image.encode(self.sources, self.offered, self.state)

    @classmethod
    def restore(cls, picture: bytes, index_from: int = INDEX_FROM) -> Engine:
        """The engine that `snapshot` was taken of; `InputError` where the image is damaged."""
        sources, offered, state = image.decode(picture, initial_state)
        if state is not None:
            state.index_from = index_from
        return cls(sources, offered, state, index_from)

    def digest(self) -> str:
        return image.digest(self.snapshot())

    def imbalances(self) -> list[str]:
        """Where the books do not balance, in plain sentences; empty when they do (G-02)."""
        if self.state is None:
            return []
        book, balances = self.state.book, self.state.ledger.balances
        house = {book.ids[row]: int(book.cash[row]) for row in sorted(book.house)}
        cash = sum(book.column("cash").tolist()) - sum(house.values())
        checks = (
            ("the sum over all ledger accounts", self.state.ledger.imbalance(), 0),
            ("customer_cash against the accounts' cash", balances[books.CUSTOMER_CASH], -cash),
            *((f"{name} against its account's cash", balances[name], -micros) for name, micros in house.items()),
            (
                "receivable against the accounts' debts",
                balances[books.RECEIVABLE],
                sum(book.column("receivable").tolist()),
            ),
            ("transfer", balances[books.TRANSFER], 0),
        )
        return [f"{what}: {got} micros, expected {expected}" for what, got, expected in checks if got != expected]


def initial_state(document: bytes) -> State:
    """A state under a rulebook, with nothing in it but the suspense account."""
    policy = Rulebook.from_document(document).policy()
    window = policy.windows[policy.opening_window]
    contracts = {
        name: ContractState(
            rules.contract, index, rules.tiers, window, rules.session, rules.expected_cost, rules.margin
        )
        for index, (name, rules) in enumerate(policy.contracts.items())
    }
    state = State(policy, document, contracts)
    for contract in contracts.values():
        contract.positions = state.book.positions
    state.book.add(SUSPENSE)
    for name in waterfall.house_accounts(policy):
        state.book.add(name)
    if policy.insurance_fund:
        state.ledger.post(books.SEGREGATED_BANK, books.INSURANCE_FUND, policy.insurance_fund)
        state.book.cash[state.book.row[books.INSURANCE_FUND]] = policy.insurance_fund
    for stage in policy.waterfall:
        if stage.equity:
            state.ledger.post(books.SEGREGATED_BANK, books.LIQUIDITY_PROVIDERS, stage.equity)
            state.book.cash[state.book.row[books.LIQUIDITY_PROVIDERS]] = stage.equity
    return state
