"""The columnar book: accounts and positions as NumPy columns, and the engine's cold facts beside them.

Accounts are rows of the account columns, positions rows of one table (`Positions`): an account's are chained in
contract order, and a contract has the list of its own. So one account costs a step for each of its positions, one
contract a pass over its list, and everybody one pass over the table. Rows of closed positions stay (lots 0): their
owners are likely to trade again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from closeout.core.contracts import Contract, Position
from closeout.core.margin import PLAIN_RULES, MarginRules, News, Terms, Tiers, Window
from closeout.engine import ledger
from closeout.engine.commands import Limits, RiskSettings

Column = NDArray[np.int64]
Links = NDArray[np.int32]

SUSPENSE = "suspense"
"""The account that takes fills of accounts nobody knows (G-18). It is never judged."""
HOUSE = (SUSPENSE, ledger.INSURANCE_FUND, ledger.LIQUIDITY_PROVIDERS, ledger.BACKSTOP_VAULT)
"""Accounts that are no customer's: nobody judges them, and each is a ledger account of its own name."""


MANY = 10_000
"""Accounts that change at once from which on no list of them is kept."""


class Flag(IntFlag):
    """Independent account flags: any number of them stand together, beside the one margin level."""

    RESTRICTED = 1
    HELD = 2
    LOCKED = 4
    DESK_LIQUIDATE_ONLY = 8
    IN_DEBIT = 16
    UNPRICED = 32
    INITIAL_ONLY = 64
    """The customer's toggle is off: new orders must fit initial margin (US-06)."""
    LIQUIDATE_NOW = 128
    """The desk ordered the liquidation; it flattens whatever the policy says."""
    STOPPED = 256
    """The customer's own brake: no opening orders before the next trade date (US-23)."""
    FROZEN = 512
    """The clearing side holds something else: no opening orders and no withdrawals (US-26)."""

    @property
    def label(self) -> str:
        return (self.name or "").lower()


class Grade:
    """How good a mark is (G-06)."""

    OK = "ok"
    JUMP = "jump"
    STALE = "stale"
    MISSING = "missing"


def grown(column: NDArray[Any], size: int) -> NDArray[Any]:
    """The column with room for at least `size` rows; new rows are zero."""
    if size <= len(column):
        return column
    larger = np.zeros(max(size, 2 * len(column), 64), column.dtype)
    larger[: len(column)] = column
    return larger


@dataclass(slots=True)
class Positions:
    """All positions: account row, contract number, signed lots and cost in units. `first` (by account) and `next` chain
    an account's in contract order; links are row + 1, and 0 ends a chain. `moved`: accounts whose own figures (money,
    positions, level, flags) have changed since the index last looked; `all_moved`: more than are worth a list have.
    `changes` counts the times that lots or costs were written."""

    count: int = 0
    account: Links = field(default_factory=lambda: np.zeros(0, np.int32))
    contract: Links = field(default_factory=lambda: np.zeros(0, np.int32))
    lots: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    cost: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    next: Links = field(default_factory=lambda: np.zeros(0, np.int32))
    first: Links = field(default_factory=lambda: np.zeros(0, np.int32))
    moved: set[int] = field(default_factory=set[int])
    all_moved: bool = False
    changes: int = 0

    COLUMNS: ClassVar[tuple[str, ...]] = ("account", "contract", "lots", "cost", "next")

    def of(self, account: int) -> Iterator[int]:
        """The rows of an account's positions, closed ones too, in contract order."""
        link: int = self.first.item(account) if account < len(self.first) else 0
        while link:
            yield link - 1
            link = self.next.item(link - 1)

    def chains(self, accounts: Column) -> tuple[Column, Column]:
        """The rows of the positions of accounts that hold some, closed ones too, and beside each row whose it is, as a
        place in `accounts`."""
        places, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        owners, links = np.arange(len(accounts)), self.first[accounts].astype(np.int64)
        while len(links):
            places.append(owners)
            rows.append(links - 1)
            links = self.next[rows[-1]].astype(np.int64)
            owners, links = owners[links > 0], links[links > 0]
        return np.concatenate(places), np.concatenate(rows)

    def touch(self, accounts: Column) -> None:
        """Note that many accounts' figures change."""
        if len(accounts) > MANY:
            self.all_moved = True
        else:
            self.moved.update(accounts.tolist())

    def find(self, account: int, contract: int) -> int:
        """The row of an account's position in a contract; -1 where there is none."""
        for row in self.of(account):
            if self.contract.item(row) == contract:
                return row
        return -1

    def add(self, account: int, contract: int) -> int:
        """A new row, flat, at its place in the account's chain."""
        row = self.count
        self.count += 1
        for name in self.COLUMNS:
            setattr(self, name, grown(getattr(self, name), self.count))
        self.first = grown(self.first, account + 1)
        self.account[row], self.contract[row] = account, contract
        before = -1
        for other in self.of(account):
            if self.contract[other] > contract:
                break
            before = other
        if before < 0:
            self.next[row], self.first[account] = self.first[account], row + 1
        else:
            self.next[row], self.next[before] = self.next[before], row + 1
        return row

    def load(self, account: Column, contract: Column, lots: Column, cost: Column) -> None:
        """New rows for accounts that have none yet, at most one for each account and contract."""
        if not len(account):
            return
        order = np.argsort(account * (1 + contract.max(initial=0)) + contract, kind="stable")  # at once where sorted
        start, self.count = self.count, self.count + len(order)
        self.changes += 1
        for name in self.COLUMNS:
            setattr(self, name, grown(getattr(self, name), self.count))
        new = slice(start, self.count)
        self.account[new], self.contract[new] = account[order], contract[order]
        self.lots[new], self.cost[new] = lots[order], cost[order]
        owner = self.account[new]
        begins = np.flatnonzero(np.diff(owner, prepend=-1))
        self.first = grown(self.first, int(owner[-1]) + 1)
        assert not self.first[owner[begins]].any()  # noqa: S101
        self.first[owner[begins]] = start + 1 + begins
        self.next[new] = np.arange(start + 2, self.count + 2)
        self.next[start + begins[1:] - 1] = 0
        self.next[self.count - 1] = 0


@dataclass(slots=True)
class ContractState:
    """One contract: what holds for it now, and which positions are in it. `margin_set_by` is the input with which the
    desk set its margin rates; 0 while they are the rulebook's. `news` is what the releases that have begun and the
    desk's own window (`news_by_hand`) come to together. `desk` holds the desk's flags for the product, `stale_told`
    that the desk knows of its stale mark, `settlement` the last settlement price. `long_lots`: all that is held long.
    """

    contract: Contract
    index: int
    tiers: Tiers
    window: Window
    session: str | None
    expected_cost: int
    rules: MarginRules = PLAIN_RULES
    news: News | None = None
    news_by_hand: News | None = None
    is_open: bool = True
    halted: bool = False
    margin_set_by: int = 0
    desk: int = 0
    stale_told: bool = False
    expired: bool = False
    mark: int | None = None
    good_mark: int | None = None
    mark_time: int = 0
    mark_source: str = ""
    previous_mark: int | None = None
    grade: str = Grade.MISSING
    settlement: int | None = None
    profit_residue: int = 0
    funding_residue: int = 0
    funding_rounding: int = 0
    largest: int = 0
    long_lots: int = 0
    count: int = 0
    rows: Links = field(default_factory=lambda: np.zeros(0, np.int32))
    positions: Positions = field(default_factory=Positions)
    _terms: Terms | None = None

    @property
    def terms(self) -> Terms:
        """The same object until one of them changes."""
        kept = self._terms
        if kept is None or not (kept.tiers is self.tiers and kept.window is self.window and kept.news is self.news):
            kept = self._terms = Terms(self.tiers, self.window, self.news, self.rules)
        return kept

    @property
    def order_terms(self) -> Terms:
        """Those for orders: open interest raises what opening takes, and nothing of what is held already."""
        if self.rules.open_interest is None or self.mark is None:
            return self.terms
        open_interest = self.contract.notional(self.mark, self.long_lots)
        return Terms(self.tiers, self.window, self.news, self.rules, open_interest)

    def position(self, account: int) -> Position:
        row, table = self.positions.find(account, self.index), self.positions
        return Position() if row < 0 else Position(table.lots.item(row), table.cost.item(row))

    def store(self, account: int, position: Position) -> None:
        table = self.positions
        row = table.find(account, self.index)
        if row < 0:
            row = table.add(account, self.index)
            self.rows = grown(self.rows, self.count + 1)
            self.rows[self.count] = row
            self.count += 1
        self.long_lots += max(position.lots, 0) - max(int(table.lots[row]), 0)
        table.lots[row], table.cost[row] = position.lots, position.cost
        table.changes += 1
        table.moved.add(account)
        self.largest = max(self.largest, abs(position.lots))

    def load(self) -> None:
        """Take up what `Positions.load` put into a table in which this contract had nothing."""
        table = self.positions
        self.rows = np.flatnonzero(table.contract[: table.count] == self.index).astype(np.int32)
        self.count = len(self.rows)
        lots = table.lots[self.rows]
        self.long_lots = int(lots[lots > 0].sum())
        self.largest = int(abs(lots).max(initial=0))

    def held(self) -> tuple[Column, Column, Column]:
        """Account rows, lots and cost of all that is held now, in the order of the list."""
        table, rows = self.positions, self.rows[: self.count]
        lots = table.lots[rows]
        if not lots.all():  # copying twice is dear, and most contracts have no closed rows to leave out
            rows, lots = rows[lots != 0], lots[lots != 0]
        return table.account[rows].astype(np.int64), lots, table.cost[rows]

    def holders(self) -> Column:
        """Account rows that hold a position now, in the order of the list."""
        return self.held()[0]


@dataclass(slots=True)
class WorkingOrder:
    """An approved customer order that may still fill: signed lots left."""

    order_id: str
    contract: str
    lots: int
    limit_ticks: int | None


@dataclass(slots=True)
class Receivable:
    """The story of a debt beside its amount, which is the account's `receivable` column (US-13)."""

    status: str = "demanded"
    business_days: int = 0
    receipt_id: str = ""


@dataclass(slots=True)
class CloseOut:
    """A close-out in progress. `outstanding` maps order ids to (contract, signed lots left). `own` is the reason of the
    customer's own brake; "" for a liquidation event. `step` is the rulebook's step that is on, `missed` that an order
    of it found no price within its limit, `paused` that the last step waits for the next look, `sent_at` when a share
    was sent last. `charged` are liquidation fees by rate, `surplus` what fills of `takeovers` (orders by id with
    their limits in ticks) brought the fund beyond them, `covered` what stages of the waterfall paid, all in micros."""

    receipt_id: str
    flatten: bool
    receipt: dict[str, Any]
    outstanding: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    orders_sent: int = 0
    filled: bool = False
    fee: int = 0
    queued: dict[str, str] = field(default_factory=dict[str, str])
    own: str = ""
    step: int = 0
    missed: bool = False
    paused: bool = False
    sent_at: int | None = None
    charged: int = 0
    surplus: int = 0
    takeovers: dict[str, int] = field(default_factory=dict[str, int])
    covered: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(slots=True)
class MarginCall:
    """A margin call that stands (US-17); `micros` is what was called for when it was issued or last aged."""

    call_id: str
    business_days: int
    micros: int


@dataclass(slots=True)
class Brakes:
    """The customers' own brakes (US-23) as columns: a row for each account that ever set one, so that they cost nothing
    where nobody has. `slot` maps account rows to rows here. Losses are 0 where not set; bases and peak are net liqs,
    moved with what is paid in and out."""

    count: int = 0
    slot: dict[int, int] = field(default_factory=dict[int, int])
    flatten_at: dict[int, str] = field(default_factory=dict[int, str])
    account: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    daily_loss: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    weekly_loss: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    trailing_drawdown: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    base_day: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    base_week: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    peak: Column = field(default_factory=lambda: np.zeros(0, np.int64))

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "account", "daily_loss", "weekly_loss", "trailing_drawdown", "base_day", "base_week", "peak",
    )  # fmt: skip

    def column(self, name: str) -> Column:
        """A column cut to the rows that exist."""
        values: Column = getattr(self, name)
        return values[: self.count]

    def add(self, account: int, net_liq: int) -> None:
        """A row for an account, its bases and its peak at `net_liq`."""
        slot = self.slot[account] = self.count
        self.count += 1
        for name in self.COLUMNS:
            setattr(self, name, grown(getattr(self, name), self.count))
        self.account[slot] = account
        self.base_day[slot] = self.base_week[slot] = self.peak[slot] = net_liq

    def settings(self, account: int) -> RiskSettings:
        """What the account has set; nothing where it never did."""
        slot = self.slot.get(account)
        if slot is None:
            return RiskSettings()
        return RiskSettings(
            int(self.daily_loss[slot]),
            int(self.weekly_loss[slot]),
            int(self.trailing_drawdown[slot]),
            self.flatten_at.get(account, ""),
        )

    def set(self, account: int, settings: RiskSettings) -> None:
        slot = self.slot[account]
        self.daily_loss[slot] = settings.daily_loss
        self.weekly_loss[slot] = settings.weekly_loss
        self.trailing_drawdown[slot] = settings.trailing_drawdown
        self.flatten_at.pop(account, None)
        if settings.flatten_at:
            self.flatten_at[account] = settings.flatten_at


@dataclass(slots=True)
class Book:
    """All accounts. Column arrays may be longer than `count`. `house`: the rows of those that are no customer's.
    `owned` lists the rows of each owner's accounts, `children` those of an account's isolated positions. `stops` holds
    the reason of a brake whose close-out has not begun. `in_part`: when a close-out last closed a part of a position of
    an account or of its isolated positions, where the rulebook asks. `won`: what each realised since the business day
    began, in micros."""

    count: int = 0
    ids: list[str] = field(default_factory=list[str])
    house: set[int] = field(default_factory=set[int])
    row: dict[str, int] = field(default_factory=dict[str, int])
    owner: dict[int, str] = field(default_factory=dict[int, str])
    parent: dict[int, int] = field(default_factory=dict[int, int])
    children: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    leverage: dict[int, dict[str, int]] = field(default_factory=dict[int, dict[str, int]])
    working: dict[int, dict[str, WorkingOrder]] = field(default_factory=dict[int, dict[str, WorkingOrder]])
    debts: dict[int, Receivable] = field(default_factory=dict[int, Receivable])
    close_outs: dict[int, CloseOut] = field(default_factory=dict[int, CloseOut])
    acknowledged: dict[int, str] = field(default_factory=dict[int, str])
    limits: dict[int, Limits] = field(default_factory=dict[int, Limits])
    owned: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    brakes: Brakes = field(default_factory=Brakes)
    stops: dict[int, str] = field(default_factory=dict[int, str])
    in_part: dict[int, int] = field(default_factory=dict[int, int])
    calls: dict[int, MarginCall] = field(default_factory=dict[int, MarginCall])
    positions: Positions = field(default_factory=Positions)
    cash: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    accrued: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    pending: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    receivable: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    level: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    flags: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    liquidations: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    won: Column = field(default_factory=lambda: np.zeros(0, np.int64))

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "cash",
        "accrued",
        "pending",
        "receivable",
        "level",
        "flags",
        "liquidations",
        "won",
    )

    def add(self, account_id: str) -> int:
        row = self.count
        self.count += 1
        self.ids.append(account_id)
        self.row[account_id] = row
        if account_id in HOUSE:
            self.house.add(row)
        for name in self.COLUMNS:
            setattr(self, name, grown(getattr(self, name), self.count))
        return row

    def add_all(self, account_ids: Sequence[str]) -> int:
        """Add many customers' accounts, none of them known; returns the first's row."""
        first = self.count
        self.count += len(account_ids)
        self.ids += account_ids
        self.row.update(zip(account_ids, range(first, self.count), strict=True))
        for name in self.COLUMNS:
            setattr(self, name, grown(getattr(self, name), self.count))
        return first

    def adopt(self, row: int, parent: int) -> None:
        """Make an account an isolated position of another."""
        self.parent[row] = parent
        self.children.setdefault(parent, []).append(row)

    def owner_of(self, row: int) -> str:
        """Whose account it is: an isolated one without an owner of its own belongs to its parent's; "" unknown."""
        found = self.owner.get(row, "")
        parent = self.parent.get(row)
        return found or (self.owner_of(parent) if parent is not None else "")

    def column(self, name: str) -> Column:
        """A column cut to the accounts that exist."""
        values: Column = getattr(self, name)
        return values[: self.count]

    def has(self, row: int, flag: Flag) -> bool:
        return bool(self.flags.item(row) & int(flag))  # plain numbers: `Flag`'s own arithmetic is ten times as slow

    def set_flag(self, row: int, flag: Flag, on: bool) -> bool:
        """Set or clear; returns whether it changed."""
        before, mask = self.flags.item(row), int(flag)
        after = before | mask if on else before & ~mask
        if after == before:
            return False
        self.flags[row] = after
        self.positions.moved.add(row)
        return True
