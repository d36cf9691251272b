"""Which accounts a list shows, and in which order: decided over columns, so that only the rows shown are worked out.

An account's line has its isolated positions in it: so do the columns here, at the rows of customers' accounts.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from closeout.core.margin import Level
from closeout.engine import scan
from closeout.engine.book import Book, Column, Flag
from closeout.engine.state import State

FLAGS = {flag.label: flag for flag in Flag}
SLICE = 20_000
"""Names that are looked through at once."""
_Name = Annotated[str, Meta(min_length=1, max_length=128)]
_Sort = Literal["usage", "account_id", "net_liq", "requirement", "excess", "owed", "unrealized_pnl", "notional"]
_ASCENDING = ("account_id", "excess")
"""Sorted from the lowest on unless said otherwise; all others from the highest."""


class Wanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of a list of accounts. `contract`: holders of it; `search`: part of the account's id or its
    owner's name, in any case; `n`: how many are shown."""

    sort: _Sort = "usage"
    order: Literal["asc", "desc"] | UnsetType = UNSET
    level: Literal["normal", "alert", "liquidate_only", "liquidating"] | UnsetType = UNSET
    flag: _Name | UnsetType = UNSET
    owner: _Name | UnsetType = UNSET
    contract: _Name | UnsetType = UNSET
    search: Annotated[str, Meta(max_length=128)] = ""
    n: Annotated[int, Meta(ge=1, le=200)] = 200

    @property
    def text(self) -> str:
        """As a query, the same for all that ask for the same."""
        return urlencode(msgspec.to_builtins(self))


def parse(query: str, state: State) -> Wanted:
    """The query of an ``accounts?`` topic; `ValueError` says what is wrong with it."""
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a part is given twice")
    wanted = msgspec.convert(given, Wanted, strict=False)
    if wanted.flag is not UNSET and wanted.flag not in FLAGS:
        raise ValueError(f"expected one of {', '.join(FLAGS)} - at `$.flag`")
    if wanted.contract is not UNSET and wanted.contract not in state.contracts:
        raise ValueError(f"no contract {wanted.contract!r} - at `$.contract`")
    order = wanted.order or ("asc" if wanted.sort in _ASCENDING else "desc")
    return msgspec.structs.replace(wanted, order=order, search=wanted.search.casefold())


# -- filters -----------------------------------------------------------------------------------------


def customers(book: Book) -> Any:
    """Which rows are accounts of customers: all but isolated positions and the suspense account."""
    mask = np.ones(book.count, bool)
    mask[[*book.parent, *book.house]] = False
    return mask


def narrow(book: Book, mask: Any, level: str | UnsetType, flag: Flag | None, owner: str | UnsetType) -> Any:
    """The rows of `mask` that these filters leave."""
    if owner is not UNSET:
        own = np.zeros(book.count, bool)
        own[book.owned.get(owner, [])] = True
        mask = mask & own
    if flag is not None:
        mask = mask & ((book.column("flags") & flag) != 0)
    if level is not UNSET:
        mask = mask & (_levels(book) == Level[level.upper()])
    return mask


def _levels(book: Book) -> Column:
    """The worse of each account's own level and those of its isolated positions, as everywhere."""
    levels = book.column("level").copy()
    if book.parent:
        np.maximum.at(levels, [*book.parent.values()], levels[[*book.parent]])
    return levels


@dataclass(slots=True)
class Search:
    """Which accounts' ids or owners have `part` in them. Neither ever changes: each account is looked at once."""

    part: str
    seen: int = 0
    mask: Any = field(default_factory=lambda: np.zeros(0, bool))

    def extend(self, book: Book) -> Generator[None]:
        """Look at the accounts that were opened since; it pauses where there are many."""
        while self.part and self.seen < book.count:
            owner, part = book.owner.get, self.part
            found = [
                part in account_id.casefold() or part in owner(row, "").casefold()
                for row, account_id in enumerate(islice(book.ids, self.seen, self.seen + SLICE), self.seen)
            ]
            self.mask = np.concatenate([self.mask, found])
            self.seen += len(found)
            yield

    def narrow(self, mask: Any) -> Any:
        """Accounts that were opened after the last look are not found yet."""
        if not self.part:
            return mask
        found = mask.copy()
        found[: self.seen] &= self.mask
        found[self.seen :] = False
        return found


# -- figures -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Family:
    """The isolated positions by row, and their accounts' rows."""

    children: Column
    parents: Column

    @classmethod
    def of(cls, state: State) -> Family:
        """Those that hold something: the others are in nobody's line."""
        book = state.book
        if not book.parent:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        holds = np.zeros(book.count, bool)
        for contract in state.contracts.values():
            holds[contract.holders()] = True
        children = np.fromiter(book.parent, np.int64, len(book.parent))
        parents = np.fromiter(book.parent.values(), np.int64, len(book.parent))
        return cls(children[holds[children]], parents[holds[children]])

    def joined(self, column: Any) -> Any:
        """The column with what isolated positions come to added to their accounts."""
        if not len(self.children):
            return column
        joined = column.copy()
        np.add.at(joined, self.parents, column[self.children])
        return joined


@dataclass(frozen=True, slots=True)
class Figures:
    """Net liq, requirement and open profit of every account in micros, isolated positions included."""

    net_liq: Column
    requirement: Column
    unrealized_pnl: Column
    family: Family


@dataclass(slots=True)
class Scans:
    """The last scan of the book, for all who look at the same instant of it."""

    _state: State | None = None
    _seq: int = -1
    _levels: tuple[Column, Column, Column] | None = None
    _figures: Figures | None = None

    def levels(self, state: State) -> tuple[Column, Column, Column]:
        """`scan.levels`, made once for each input of the journal. Not to be written to."""
        if self._levels is None or self._state is not state or self._seq != state.seq:
            self._state, self._seq, self._figures = state, state.seq, None
            self._levels = scan.levels(state)
        return self._levels

    def figures(self, state: State) -> Figures:
        net_liq, requirement, _ = self.levels(state)
        if self._figures is None:
            family = Family.of(state)
            join = family.joined
            profit = net_liq - scan.money(state)
            self._figures = Figures(join(net_liq), join(requirement), join(profit), family)
        return self._figures


@dataclass(slots=True)
class Roster:
    """What only changes when accounts are opened: customers' accounts by id, and whose they are."""

    _count: int = 0
    _ids: list[str] = field(default_factory=list[str])
    _places: Column | None = None
    _owners: Column | None = None

    def ids(self, book: Book) -> list[str]:
        """The ids of customers' accounts, sorted."""
        if self._count != book.count:
            self._ids = sorted(
                name for row, name in enumerate(book.ids) if row not in book.parent and row not in book.house
            )  # fmt: skip
            self._count, self._places, self._owners = book.count, None, None
        return self._ids

    def places(self, book: Book) -> Column:
        """Of each row its place in the order of ids; 0 for what is no customer's account."""
        ids = self.ids(book)
        if self._places is None:
            self._places = np.zeros(book.count, np.int64)
            self._places[[book.row[name] for name in ids]] = np.arange(len(ids))
        return self._places

    def owners(self, book: Book) -> Column:
        """Of each row the number of its owner, in the order in which their first accounts were opened; an account whose
        owner nobody named is an owner by itself. -1 for what is no customer's account."""
        self.ids(book)
        if self._owners is None:
            numbers: dict[str | int, int] = {}
            mine = np.flatnonzero(customers(book)).tolist()
            self._owners = np.full(book.count, -1)
            self._owners[mine] = [numbers.setdefault(book.owner.get(row, row), len(numbers)) for row in mine]
        return self._owners


# -- order -------------------------------------------------------------------------------------------


def notional(state: State, family: Family) -> Column:
    """Of each account the value of all it holds, in micros and without sign."""
    found = np.zeros(state.book.count, np.int64)
    for _, rows, _, _, value in scan.positions(state):
        found[rows] += value
    return family.joined(found)


def select(state: State, wanted: Wanted, search: Search, scans: Scans, roster: Roster) -> tuple[list[int], int]:
    """The rows of the first `n` accounts in the order wanted, and how many match. Of equal ones the account opened
    first comes first."""
    book, figures = state.book, scans.figures(state)
    flag = None if wanted.flag is UNSET else FLAGS[wanted.flag]
    mask = search.narrow(narrow(book, customers(book), wanted.level, flag, wanted.owner))
    if wanted.contract is not UNSET:
        mask = mask & _holders(state, wanted.contract, figures.family)
    rows = np.flatnonzero(mask)
    sign = -1 if wanted.order == "desc" else 1
    keys = [sign * key[rows] for key in _keys(state, wanted.sort, figures, roster)]
    return rows[first(keys, wanted.n)].tolist(), len(rows)


def _holders(state: State, name: str, family: Family) -> Any:
    holds = np.zeros(state.book.count, bool)
    if name in state.contracts:  # a new rulebook may have dropped it
        for leg in state.legs(name):
            holds[leg.holders()] = True
    np.logical_or.at(holds, family.parents, holds[family.children])
    return holds


def _keys(state: State, sort: str, figures: Figures, roster: Roster) -> list[Any]:
    """What accounts are sorted by, the first before the second; highest first it is the order that `usage` shows."""
    book, net_liq, requirement = state.book, figures.net_liq, figures.requirement
    if sort == "usage":
        # A ratio only orders the rows of a screen; no verdict is read from it. Who holds nothing has none: debts that
        # stand still must not hide who is next.
        ratio = requirement / np.maximum(net_liq, 1).astype(np.float64)
        over = (net_liq <= 0) & (requirement > 0)
        return [np.where(over, np.inf, ratio), requirement - net_liq]
    match sort:
        case "account_id":
            key = roster.places(book)
        case "requirement":
            key = requirement
        case "excess":
            key = net_liq - requirement
        case "owed":
            key = book.column("receivable")
        case "unrealized_pnl":
            key = figures.unrealized_pnl
        case "notional":
            key = notional(state, figures.family)
        case _:
            key = net_liq
    return [key]


def first(keys: Sequence[Any], n: int) -> Any:
    """The places of the `n` smallest, in order; of equal ones the earlier. Only they are sorted."""
    most = keys[0]
    few = np.arange(len(most))
    if len(most) > n:
        few = np.flatnonzero(most <= np.partition(most, n - 1)[n - 1])
    return few[np.lexsort([key[few] for key in reversed(keys)])][:n]
