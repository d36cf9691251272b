"""The engine's whole state, and the primitive acts that every handler is made of: emit, post, look, store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from closeout.core.bankruptcy import share_of
from closeout.core.contracts import LEGS, OutOfBounds, Position, leg_name
from closeout.core.funding import Cadence
from closeout.core.margin import Level, MarginKind, News, Tiers
from closeout.core.risk import Holding, Money, Risk, assess, margin_together
from closeout.core.units import MAX_RATE, MAX_VALUE, RATE, floor_div
from closeout.engine import ledger as books
from closeout.engine.book import HOUSE, Book, Column, ContractState, Flag, Grade
from closeout.engine.commands import Limits
from closeout.engine.events import Alarm, AnyEvent, CancelOrders, FlagChanged, Posted, SettingChanged
from closeout.engine.ledger import Ledger
from closeout.rulebooks.policy import Policy

INDEX_FROM = 50_000
"""Positions from which on a mark is cheaper through the index than through a scan, its compilation counted."""


class Batches(NamedTuple):
    """Marks in batches, one after another, as columns of int64: each batch's time and where its marks end; each mark's
    contract by number (-1 for one that the rulebook has not) and ticks. `until`: the latest time that a batch may
    have."""

    times: Column
    ends: Column
    contracts: Column
    ticks: Column
    until: int


class Finder(Protocol):
    """What finds the accounts that may have changed level (`engine.index`)."""

    @property
    def counters(self) -> dict[str, int]: ...

    def changed(self) -> Column: ...

    def net_liqs(self, rows: Column) -> Column: ...

    def begin(self, batches: Batches, source: str) -> None: ...

    def advance(self, first: int) -> tuple[int, Column | None]: ...


class Reject(Exception):
    """Raised by a handler before it has changed anything; becomes a `Rejected` event (G-09)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


def require_name(by: str) -> None:
    """Reject an act of nobody."""
    if not by:
        raise Reject("needs_name", "who does this must be named")


def require_second(by: str, second: str, act: str = "this act") -> None:
    """Reject an act that two different people must stand for."""
    if not second or by == second:
        raise Reject("needs_second", f"{act} needs two different people")


class PastFill(NamedTuple):
    """What a correction needs to know of a fill (US-25)."""

    account: int
    contract: str
    lots: int
    price_ticks: int
    fee: int


@dataclass(slots=True)
class Release:
    """A news release to come, or one whose window has begun (US-08)."""

    contracts: tuple[str, ...]
    begins: int
    ends: int
    multiplier: int
    held: bool
    begun: bool = False


@dataclass(slots=True)
class Look:
    """One account as it was last looked at, when positions had been written `changes` times; `risk` is what was found
    with that money."""

    row: int = -1
    changes: int = -1
    pairs: list[tuple[ContractState, Holding]] = field(default_factory=list[tuple[ContractState, Holding]])
    holdings: list[Holding] = field(default_factory=list[Holding])
    money: Money | None = None
    risk: Risk | None = None


def _stands(pair: tuple[ContractState, Holding]) -> bool:
    """Whether a position is still at its contract's mark and under its terms."""
    contract, held = pair
    return held.mark == contract.mark and held.terms is contract.terms


@dataclass(slots=True)
class State:
    """`order_owner` maps the ids of working and close-out orders to account rows. `desk` holds the desk's flags for the
    firm, `disclosure` the version that must be acknowledged, `releases` the news to come and now, `reviews` who raised
    which contract's margin alone, by the input's number, `trade_date` the last one told, and `ticked` the instant up to
    which the clock has said everything. `cadences` are those of contracts whose funding intervals change. `batch` is
    the number of the batch of a series that is being taken in, 0 elsewhere. `touched` are rows whose positions or money
    another account's close-out changed: they are judged in the same input. `fund_highs` are, where a rulebook looks
    back at the insurance fund, until when it held how much cash, those only that can be the most within a window;
    `fund_changed` is when that last changed. `taken` are when liquidity providers' present window began, and the
    notional in micros that they took in it. `below_zero` are rows of accounts with positions that are below zero,
    where withdrawals wait for that, and `below_zero_at` is when an input last found one there. From `index_from`
    positions on there is an `index`; neither is kept, nor are `below_zero` and `looked_at`."""

    policy: Policy
    document: bytes
    contracts: dict[str, ContractState]
    book: Book = field(default_factory=Book)
    ledger: Ledger = field(default_factory=Ledger)
    order_owner: dict[str, int] = field(default_factory=dict[str, int])
    fills: dict[str, PastFill] = field(default_factory=dict[str, PastFill])
    desk: int = 0
    disclosure: str = ""
    trade_date: str = ""
    ticked: int = 0
    owner_limits: dict[str, Limits] = field(default_factory=dict[str, Limits])
    releases: dict[str, Release] = field(default_factory=dict[str, Release])
    reviews: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    cadences: dict[str, Cadence] = field(default_factory=dict[str, Cadence])
    time: int = 0
    seq: int = 0
    batch: int = 0
    fund_highs: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    fund_changed: int = 0
    taken: tuple[int, int] = (0, 0)
    below_zero: set[int] = field(default_factory=set[int])
    below_zero_at: int | None = None
    touched: set[int] = field(default_factory=set[int])
    looked_at: Look = field(default_factory=Look)
    index: Finder | None = None
    index_from: int = INDEX_FROM
    events: list[AnyEvent] = field(default_factory=list[AnyEvent])

    @property
    def place(self) -> str:
        """What ids of close-outs begin with: the input's number, and that of the batch in a series."""
        return f"{self.seq}.{self.batch}" if self.batch else str(self.seq)

    # -- events ------------------------------------------------------------------------------------

    def emit(self, event: AnyEvent) -> None:
        self.events.append(event)

    def alarm(self, account_id: str, code: str, detail: str) -> None:
        self.emit(Alarm(account_id, code, detail))

    def setting(self, account_id: str, what: str, detail: str, by: str) -> None:
        self.emit(SettingChanged(account_id, what, detail, by))

    def set_flag(self, row: int, flag: Flag, on: bool, reason: str) -> None:
        if self.book.set_flag(row, flag, on):
            self.emit(FlagChanged(self.book.ids[row], flag.label, on, reason))

    # -- working orders ----------------------------------------------------------------------------

    def drop_order(self, row: int, order_id: str) -> None:
        """A customer's order works no more."""
        del self.book.working[row][order_id]
        del self.order_owner[order_id]
        if not self.book.working[row]:
            del self.book.working[row]

    def cancel_orders(self, row: int, reason: str, contract: str | None = None) -> tuple[str, ...]:
        """Cancel the account's working orders, or those in one contract; returns their ids."""
        orders = self.book.working.get(row, {}).values()
        gone = tuple(order.order_id for order in orders if contract is None or order.contract == contract)
        for order_id in gone:
            self.drop_order(row, order_id)
        if gone:
            self.emit(CancelOrders(self.book.ids[row], gone, reason))
        return gone

    # -- money -------------------------------------------------------------------------------------

    def post(self, row: int, debit: str, credit: str, micros: int, reason: str) -> None:
        """Post and keep the account columns in step. Zero micros post nothing."""
        if micros == 0:
            return
        account_id = self.book.ids[row] if row >= 0 else ""
        if row in self.book.house:
            debit, credit = (account_id if name == books.CUSTOMER_CASH else name for name in (debit, credit))
        self.ledger.post(debit, credit, micros)
        if row >= 0:
            self.book.positions.moved.add(row)
        for name, signed in ((debit, -micros), (credit, micros)):
            if name == books.CUSTOMER_CASH:
                self.book.cash[row] += signed
            elif name in HOUSE:
                if name == books.INSURANCE_FUND:
                    self._note_fund()
                self.book.cash[self.book.row[name]] += signed
            elif name == books.RECEIVABLE:
                self.book.receivable[row] -= signed
        self.emit(Posted(account_id, debit, credit, self.policy.currency.code, micros, reason))

    def _note_fund(self) -> None:
        """The fund's cash is about to change: keep what it was until now. What it was for no time counts as never."""
        window = self.policy.fund_window
        if not window or self.fund_changed == self.time:
            return
        self.fund_changed = self.time
        held = int(self.book.cash[self.book.row[books.INSURANCE_FUND]])
        highs = [(until, cash) for until, cash in self.fund_highs if until > self.time - window and cash > held]
        self.fund_highs = [*highs, (self.time, held)]

    def post_signed(self, row: int, asset: str, micros: int, reason: str) -> None:
        """Credit the customer `micros` against an asset account, or debit him when below zero."""
        if micros >= 0:
            self.post(row, asset, books.CUSTOMER_CASH, micros, reason)
        else:
            self.post(row, books.CUSTOMER_CASH, asset, -micros, reason)

    def post_rounding(self, micros: int, reason: str) -> None:
        """What roundings in the firm's favour leave; never below zero (G-01)."""
        self.post(-1, books.CLEARING_HOUSE, books.ROUNDING, micros, reason)

    def realise(self, row: int, contract: ContractState, units: int, reason: str) -> int:
        """Turn realised units into cash: the customer's micros rounded down, the clearing house's exact running total,
        and the difference to `rounding`. Returns the customer's micros."""
        per_micro = contract.contract.units_per_micro
        micros = floor_div(units, per_micro)
        exact, contract.profit_residue = divmod(contract.profit_residue + units, per_micro)
        self.book.won[row] += micros
        self.post_signed(row, books.CLEARING_HOUSE, micros, reason)
        self.post_rounding(exact - micros, reason)
        return micros

    def check_cash(self, row: int, change: int) -> None:
        """Reject a change that would take cash out of bounds: the account's own with its debt, which is what a deficit
        turns into, and with its parent's, which is where an isolated account's goes."""
        book = self.book
        own = int(book.cash[row]) - int(book.receivable[row]) + change
        parent = book.parent.get(row)
        family = own if parent is None else own + int(book.cash[parent]) - int(book.receivable[parent])
        if max(abs(int(book.cash[row]) + change), abs(own), abs(family)) > MAX_VALUE:
            raise Reject("out_of_bounds", f"cash of {book.ids[row]} would pass its bound")

    def check_cash_of(self, rows: Column, changes: Column) -> None:
        """`check_cash` of many accounts, each as if it alone changed; the first of them by id is named."""
        book = self.book
        cash = book.cash[rows]
        own = cash - book.receivable[rows] + changes
        family = own
        if book.parent:
            parents = np.fromiter((book.parent.get(row, -1) for row in rows.tolist()), np.int64, len(rows))
            family = np.where(parents < 0, own, own + book.cash[parents] - book.receivable[parents])
        beyond: Column = rows[np.maximum(np.maximum(abs(cash + changes), abs(own)), abs(family)) > MAX_VALUE]
        if len(beyond):
            first = min(book.ids[int(row)] for row in beyond)
            raise Reject("out_of_bounds", f"cash of {first} would pass its bound")

    def money(self, row: int) -> Money:
        book = self.book
        return Money(book.cash.item(row), book.accrued.item(row), book.pending.item(row), book.receivable.item(row))

    # -- looking -----------------------------------------------------------------------------------

    def row(self, account_id: str) -> int:
        row = self.book.row.get(account_id)
        if row is None:
            raise Reject("unknown_account", f"no account {account_id!r}")
        return row

    def contract(self, name: str) -> ContractState:
        contract = self.contracts.get(name)
        if contract is None:
            raise Reject("unknown_contract", f"no contract {name!r} in rulebook {self.policy.name}")
        return contract

    def live_contract(self, name: str) -> ContractState:
        contract = self.contract(name)
        if contract.expired:
            raise Reject("expired_contract", f"{name} has expired")
        return contract

    def legs(self, name: str) -> list[ContractState]:
        """A contract and, where it has a hedge mode, its legs: all that its price and its terms stand for."""
        names = (name, *(leg_name(name, side) for side in LEGS.values()))
        return [self.contracts[each] for each in names if each in self.contracts]

    def is_held(self, name: str) -> bool:
        """Whether anybody holds the contract or a leg of it."""
        return any(leg.holders().size for leg in self.legs(name))

    def whole(self, name: str) -> list[ContractState]:
        """The same where something befalls the market or its terms. No leg can be meant alone (EX-02)."""
        leg_of = self.contract(name).contract.leg_of
        if leg_of:
            raise Reject("leg", f"{name} is a leg; what befalls {leg_of} befalls its legs")
        return self.legs(name)

    def live_whole(self, name: str) -> list[ContractState]:
        self.live_contract(name)
        return self.whole(name)

    def grade(self, contract: ContractState) -> str:
        """The mark's grade now: staleness is judged when the mark is used (G-06)."""
        if contract.grade == Grade.OK and self.time - contract.mark_time > self.policy.marks.stale_after:
            return Grade.STALE
        return contract.grade

    def holding(self, row: int, contract: ContractState, position: Position) -> Holding:
        leverage = contract.contract.named_in(self.book.leverage.get(row, {})) if self.book.leverage else 0
        return Holding(
            contract.contract, contract.terms, position.lots, position.cost, contract.mark, leverage,
            self.policy.marks.unpriced_move,
        )  # fmt: skip

    def holds(self, row: int) -> bool:
        """Whether the account has a position."""
        return bool(self.holdings(row))

    def is_unpriced(self, row: int) -> bool:
        """Whether the account has a position without any mark (G-18)."""
        return any(holding.mark is None for holding in self.holdings(row))

    def holdings(self, row: int) -> list[Holding]:
        """The account's positions in the rulebook's contract order; not to be changed by who asks. Where it was the
        last account looked at, those of which nothing has changed since are the same objects, with what was worked out
        of them."""
        look, table = self.looked_at, self.book.positions
        if (look.row, look.changes) == (row, table.changes) and all(map(_stands, look.pairs)):
            return look.holdings
        contracts = list(self.contracts.values())
        before = {id(contract): held for contract, held in look.pairs} if look.row == row else {}
        pairs: list[tuple[ContractState, Holding]] = []
        for at in table.of(row):
            lots = table.lots.item(at)
            if lots:
                contract, cost = contracts[table.contract.item(at)], table.cost.item(at)
                held = before.get(id(contract))
                if held is None or (held.lots, held.cost) != (lots, cost) or not _stands((contract, held)):
                    held = self.holding(row, contract, Position(lots, cost))
                pairs.append((contract, held))
        self.looked_at = Look(row, table.changes, pairs, [held for _, held in pairs])
        return self.looked_at.holdings

    def risk(self, row: int) -> Risk:
        money, holdings = self.money(row), self.holdings(row)
        look = self.looked_at
        if look.risk is None or look.money != money:
            look.money, look.risk = money, assess(money, holdings, self.policy.net_liq_floor)
        return look.risk

    def share(self, row: int, name: str) -> int:
        """The part of the account's net liq that its position in a contract stands for (`core.bankruptcy`)."""
        holdings = self.holdings(row)
        index = [holding.contract.name for holding in holdings].index(name)
        return share_of(self.risk(row).net_liq, holdings, index)

    def initial(self, row: int) -> int:
        """Initial margin in micros of the positions held, without news (US-17)."""
        return margin_together(self.holdings(row), MarginKind.INITIAL)

    def level(self, row: int) -> Level:
        return Level(int(self.book.level[row]))

    # -- positions ---------------------------------------------------------------------------------

    def check_trade(
        self, row: int, contract: ContractState, lots: int, price_ticks: int, *, replaced: bool = False
    ) -> None:
        """Reject a trade that is out of bounds or takes a leg through zero, before anything is changed. `replaced`: it
        is undone and done at another price at once, and the position stays what it is."""
        try:
            contract.contract.check_bounds(price_ticks, lots)
            held = contract.position(row).lots + lots
            contract.contract.check_bounds(price_ticks, held)
            if contract.mark is not None:
                contract.contract.check_bounds(contract.mark, held)
        except OutOfBounds as bound:
            raise Reject("out_of_bounds", str(bound)) from None
        if held * contract.contract.side < 0 and not replaced:
            side = "longs" if contract.contract.side > 0 else "shorts"
            raise Reject("wrong_leg", f"{contract.contract.name} holds {side} alone")
        self.check_margin(contract, contract.tiers, self.most_news(contract), abs(held))

    def check_outcome(self, row: int, contract: ContractState, trades: Sequence[tuple[int, int]], fees: int) -> None:
        """Reject trades (signed lots, units) that would leave cost or cash out of bounds; nothing is changed yet."""
        position = contract.position(row)
        change = -fees
        for lots, value in trades:
            change += floor_div(position.trade(contract.contract, lots, value), contract.contract.units_per_micro)
        if abs(position.cost) > MAX_VALUE:
            raise Reject("out_of_bounds", f"cost of {contract.contract.name} would pass the bound on one position")
        self.check_cash(row, change)

    def most_news(self, contract: ContractState) -> News | None:
        """The largest multiplier that holds or is scheduled: a release that begins cannot be refused any more."""
        name = contract.contract.market
        due = [News(r.multiplier, r.held) for r in self.releases.values() if name in r.contracts]
        due += [contract.news] if contract.news else []
        return max(due, key=lambda news: news.multiplier, default=None)

    def check_margin(self, contract: ContractState, tiers: Tiers, news: News | None, lots: int) -> None:
        """Reject margin that would take the requirement of |lots| past its bound: per lot that on a position's value,
        by rate `MAX_RATE`, k x intraday margin in a news window included. A slope stops at `MAX_RATE`: no multiple of
        intraday margin can be bounded beside one."""
        multiplier = RATE if news is None else news.multiplier
        if news is not None and any(tier.slope[MarginKind.INTRADAY] for tier in tiers):
            raise Reject("out_of_bounds", f"intraday margin of {contract.contract.name} with a slope in a news window")
        if any(
            max(tier.per_lot) * lots > MAX_VALUE
            or tier.per_lot[MarginKind.INTRADAY] * lots * multiplier > MAX_VALUE * RATE
            or tier.rate[MarginKind.INTRADAY] * multiplier > MAX_RATE * RATE
            for tier in tiers
        ):
            raise Reject("out_of_bounds", f"margin of {lots} lots of {contract.contract.name} would pass its bound")

    def trade(self, row: int, contract: ContractState, lots: int, value: int, reason: str) -> int:
        """Change the position and book what it realises. Returns the realised micros."""
        position = contract.position(row)
        realised = position.trade(contract.contract, lots, value)
        contract.store(row, position)
        return self.realise(row, contract, realised, reason) if realised else 0
