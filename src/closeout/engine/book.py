"""The columnar book: accounts and positions as NumPy columns, and the engine's cold facts beside them.

Accounts are rows of the account columns. Positions lie per contract: a contract has columns `account`, `lots`, `cost`
and a dense map from account row to position row, so that a scan of one contract is a pass over contiguous memory.
Rows of closed positions stay (lots 0): their owners are likely to trade again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from closeout.core.contracts import Contract, Position
from closeout.core.margin import News, Terms, Tiers, Window

Column = NDArray[np.int64]

SUSPENSE = "suspense"
"""The account that takes fills of accounts nobody knows (G-18). It is never judged."""


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
class ContractState:
    """One contract: what holds for it now, and its positions. `margin_set_by` is the input with which the desk set its
    margin rates; 0 while they are the rulebook's."""

    contract: Contract
    index: int
    tiers: Tiers
    window: Window
    session: str | None
    expected_cost: int
    news: News | None = None
    is_open: bool = True
    halted: bool = False
    margin_set_by: int = 0
    expired: bool = False
    mark: int | None = None
    good_mark: int | None = None
    mark_time: int = 0
    mark_source: str = ""
    grade: str = Grade.MISSING
    profit_residue: int = 0
    funding_residue: int = 0
    funding_rounding: int = 0
    largest: int = 0
    count: int = 0
    account: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    lots: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    cost: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    row_of: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    @property
    def terms(self) -> Terms:
        return Terms(self.tiers, self.window, self.news)

    def position(self, account: int) -> Position:
        row = self._row(account)
        return Position() if row < 0 else Position(int(self.lots[row]), int(self.cost[row]))

    def store(self, account: int, position: Position) -> None:
        row = self._row(account)
        if row < 0:
            row = self._add_row(account)
        self.lots[row], self.cost[row] = position.lots, position.cost
        self.largest = max(self.largest, abs(position.lots))

    def holders(self) -> Column:
        """Account rows that hold a position now, in position-row order."""
        return self.account[: self.count][self.lots[: self.count] != 0]

    def _row(self, account: int) -> int:
        return int(self.row_of[account]) - 1 if account < len(self.row_of) else -1

    def _add_row(self, account: int) -> int:
        row = self.count
        self.count += 1
        self.account, self.lots, self.cost = (grown(c, self.count) for c in (self.account, self.lots, self.cost))
        self.row_of = grown(self.row_of, account + 1)
        self.row_of[account] = row + 1
        self.account[row] = account
        return row


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
    """A liquidation event in progress. `outstanding` maps order ids to (contract, signed lots left)."""

    receipt_id: str
    flatten: bool
    receipt: dict[str, Any]
    outstanding: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    orders_sent: int = 0
    filled: bool = False
    fee: int = 0
    queued: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Book:
    """All accounts. Column arrays may be longer than `count`."""

    count: int = 0
    ids: list[str] = field(default_factory=list[str])
    row: dict[str, int] = field(default_factory=dict[str, int])
    owner: dict[int, str] = field(default_factory=dict[int, str])
    parent: dict[int, int] = field(default_factory=dict[int, int])
    leverage: dict[int, dict[str, int]] = field(default_factory=dict[int, dict[str, int]])
    working: dict[int, dict[str, WorkingOrder]] = field(default_factory=dict[int, dict[str, WorkingOrder]])
    debts: dict[int, Receivable] = field(default_factory=dict[int, Receivable])
    close_outs: dict[int, CloseOut] = field(default_factory=dict[int, CloseOut])
    cash: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    accrued: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    pending: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    receivable: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    level: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    flags: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    liquidations: Column = field(default_factory=lambda: np.zeros(0, np.int64))

    COLUMNS: ClassVar[tuple[str, ...]] = ("cash", "accrued", "pending", "receivable", "level", "flags", "liquidations")

    def add(self, account_id: str) -> int:
        row = self.count
        self.count += 1
        self.ids.append(account_id)
        self.row[account_id] = row
        for name in self.COLUMNS:
            setattr(self, name, grown(getattr(self, name), self.count))
        return row

    def column(self, name: str) -> Column:
        """A column cut to the accounts that exist."""
        values: Column = getattr(self, name)
        return values[: self.count]

    def has(self, row: int, flag: Flag) -> bool:
        return bool(int(self.flags[row]) & flag)

    def set_flag(self, row: int, flag: Flag, on: bool) -> bool:
        """Set or clear; returns whether it changed."""
        before = int(self.flags[row])
        after = before | flag if on else before & ~flag
        self.flags[row] = after
        return before != after
