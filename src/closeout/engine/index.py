"""The trigger index: a mark costs what it changes (G-12).

It stands behind the same question as the full scan (`candidates`), and gives the same answer: which accounts would
change level now. The marks that it has taken in and the terms that it has packed are its own copies; what differs from
the state's when it is asked is what has happened. Accounts without triggers (new ones, those that changed, those below
their auto-liquidation line) are looked at each time; `kernels` has how the others are spared that.

Nothing of it is part of the state: not of the digest, the snapshot or the order of events.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from closeout.core.contracts import Kind
from closeout.core.margin import MarginKind, MarginTier, Terms, Tiers
from closeout.core.units import MAX_INVERSE, MAX_PRICE_TICKS, MAX_VALUE, RATE, ceil_div
from closeout.engine import kernels, triggers, wheels
from closeout.engine.book import Column, ContractState, Flag, Grade, grown
from closeout.engine.kernels import Braked, Columns, Tables
from closeout.engine.state import Batches, State
from closeout.engine.wheels import Wheels

SMALLEST, LARGEST = 2**10, 2**20
"""Buckets of a wheel."""
TURN = 3
"""A turn of a wheel covers at least six tenths of the price: half a turn reaches three tenths up and down."""
LEAST_QUOTA = 1024
BOTH = 2**16
"""From so many loose accounts on, both halves of a book are looked at in parallel."""
EMPTY = np.zeros(0, np.int64)
UNKNOWN = np.zeros(0, np.int8)
"""No levels worked out already."""
LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class Index:
    """`terms` are those packed into `tables`, by contract; `following` and `largest` belong to a series. `quota` is how
    many accounts get triggers at one look; twice as many triggers may be crossed at once before all are dropped.
    `void`: all triggers are, and the wheels are to be laid out anew before anybody gets one; until then they stand as
    they stood, and a look is for verdicts alone. From `both` loose accounts on both halves are looked at at once; the
    quota is at least `least`."""

    state: State
    contracts: list[ContractState]
    terms: list[Terms | None]
    tables: Tables
    wheels: Wheels
    quota: int = 0
    accounts: int = 0
    positions: int = 0
    resets: int = 0
    void: bool = False
    both: int = BOTH
    least: int = LEAST_QUOTA
    batches: Batches = field(default_factory=lambda: Batches(EMPTY, EMPTY, EMPTY, EMPTY, 0))
    source: str = ""
    aside: set[int] = field(default_factory=set[int])
    largest: list[int] = field(default_factory=list[int])
    following: Column = field(default_factory=lambda: np.zeros((0, wheels.BATCH + 1), np.int64))
    found: Column = field(default_factory=lambda: np.zeros(0, np.int64))
    room: Column = field(default_factory=lambda: np.zeros((kernels.MAX_POSITIONS, 6), np.int64))
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "closeout-index"))

    @classmethod
    def over(cls, state: State, least: int = LEAST_QUOTA) -> Index:
        """An index over a state, with every account loose."""
        contracts = list(state.contracts.values())
        windows = np.array(
            [(w.alert, w.liquidate_only, w.auto_liquidate) for w in state.policy.windows.values()], np.int64
        )
        tables = Tables(
            np.zeros((len(contracts), kernels.FACTS), np.int64), np.zeros((0, kernels.TIER), np.int64), windows,
            np.zeros(kernels.LIMITS, np.int64), np.zeros(len(_groups(contracts)), np.int64),
        )  # fmt: skip
        index = cls(state, contracts, [None] * len(contracts), tables, _no_wheels(), least=least)
        index._pack_limits()
        index._pack_terms()
        for number, contract in enumerate(contracts):
            index._take_first_mark(number, contract)
        index._grow()
        index._reset()
        index._lay_out()
        if not getattr(wheels.run, "signatures", True):  # without the compiler it has none
            index._compile()
        return index

    # -- the question ------------------------------------------------------------------------------

    def changed(self) -> Column:
        """Rows of accounts whose level, as the desk leaves it, is not the stored one; a brake that has tripped does not
        count here."""
        self._take_in()
        return self._look()

    def net_liqs(self, rows: Column) -> Column:
        """Net liq of the accounts at `rows`, at the marks that `changed` took in."""
        found = np.zeros(len(rows), np.int64)
        kernels.net_liqs(self.tables, self._columns(), rows, found)
        return found

    def begin(self, batches: Batches, source: str) -> None:
        """Follow a series. Until the next `begin` nothing but `advance` may bring marks or terms."""
        self._take_in()
        self._set_aside(self.state.book.close_outs)
        self.batches, self.source = batches, source
        self.following = np.array([_followed(contract) for contract in self.contracts], np.int64)
        self.largest = [contract.largest for contract in self.contracts]

    def advance(self, first: int) -> tuple[int, Column | None]:
        """Take in batches of the series from `first` on, up to one that is not plain (`wheels.is_plain`) or at which
        accounts change level or a brake trips: its number, and these accounts if its marks are in, without those of the
        brakes, whose peaks are yet to be raised then."""
        self._grow()
        state, guard, following = self.state, self.state.policy.marks.jump, self.following
        self._set_aside(state.book.positions.moved & state.book.close_outs.keys())
        self._take_moved([])
        self._lay_out()
        for number, contract in enumerate(self.contracts):
            if contract.largest > self.largest[number]:
                self.largest[number] = contract.largest
                following[number, wheels.LOWEST : wheels.HIGHEST + 1] = _bounds(contract)
        batch, how = wheels.run(
            self.tables, self._columns(), self.wheels, self.batches, first, state.time,
            -1 if guard is None else guard, following, self._braked(), (UNKNOWN, self.found, self._sums(), self.room),
            self.quota,
        )  # fmt: skip
        is_in = how != wheels.UNTOUCHED
        if batch + is_in > first:
            state.time = int(self.batches.times[batch - 1 + is_in])
        for contract, (good, previous, marked_at) in zip(self.contracts, following[:, :3].tolist(), strict=True):
            if marked_at:
                contract.mark = contract.good_mark = good
                contract.previous_mark, contract.mark_time, contract.mark_source = previous, marked_at, self.source
                contract.grade, contract.stale_told = Grade.OK, False
        following[:, wheels.MARKED_AT] = 0
        if how == wheels.CROWDED:
            self._reset()
            wheels.wait(self.wheels)
            return batch, self._look()
        return batch, self.found[: self.wheels.counts[wheels.FOUND]].copy() if is_in else None

    def _set_aside(self, rows: Collection[int]) -> None:
        """Do not look at accounts that are being closed out: while a series runs their plans only wait for their
        orders."""
        if rows:
            self.aside.update(rows)
            self.state.book.positions.moved.difference_update(rows)
            waiting = np.fromiter(rows, np.int64, len(rows))
            wheels.set_aside(self.tables, self._columns(), self.wheels, waiting)

    @property
    def counters(self) -> dict[str, int]:
        """What it has done: triggers crossed, looks at accounts, accounts given triggers, times when all were dropped;
        and how many accounts are loose now."""
        counts = self.wheels.counts
        return {
            "triggers_crossed": int(counts[wheels.CROSSED]),
            "accounts_looked_at": int(counts[wheels.LOOKED_AT]),
            "accounts_anchored": int(counts[wheels.GIVEN]),
            "resets": self.resets,
            "loose": self.accounts - len(self.state.book.house) if self.void else int(counts[wheels.LOOSE]),
        }

    def _compile(self) -> None:
        """Have everything compiled, or read from the cache, before it is needed: by calls that do nothing."""
        LOGGER.info("preparing the trigger index: the first time on a machine it takes some twenty seconds")
        given, sums = (self.tables, self._columns()), self._sums()
        kernels.verdicts(*given, self.wheels.anchored, False, 0, 0, UNKNOWN, sums)
        kernels.net_liqs(*given, EMPTY, EMPTY)
        wheels.loosen_all(*given, self.wheels, EMPTY)
        wheels.set_aside(*given, self.wheels, EMPTY)
        wheels.take(*given, self.wheels, EMPTY, EMPTY, 0, 0)
        wheels.look(*given, self.wheels, UNKNOWN, self.found, 0, sums, self.room)
        wheels.run(
            *given, self.wheels, self.batches, 0, 0, -1, self.following, self._braked(),
            (UNKNOWN, self.found, sums, self.room), 0,
        )  # fmt: skip
        wheels.wait(self.wheels)
        self.wheels.counts[[wheels.PAUSE, wheels.WAITED]] = 0

    # -- taking in what happened -------------------------------------------------------------------

    def _take_in(self) -> None:
        self._lay_out()
        self._grow()  # before the marks: whose trigger one crosses may have a new position
        if self.aside:
            wheels.loosen_all(self.tables, self._columns(), self.wheels, np.array(list(self.aside), np.int64))
            self.aside.clear()
        self._pack_limits()
        stale = self._pack_terms()
        facts = self.tables.facts
        marked: list[int] = []
        for number, contract in enumerate(self.contracts):
            if contract.mark is None or (
                contract.mark == facts[number, kernels.MARK] and facts[number, kernels.PRICED]
            ):
                continue
            if facts[number, kernels.PRICED]:
                marked.append(number)
            else:
                self._take_first_mark(number, contract)
                stale.append(number)
        if marked:
            self._take_marks(np.array(marked), np.array([self.contracts[number].mark for number in marked]))
        if self._outgrown():
            self._reset()
        self._take_moved(stale)

    def _take_moved(self, stale: list[int]) -> None:
        """Loosen the accounts whose own figures have changed, and who holds the contracts `stale`."""
        table = self.state.book.positions
        most = len(table.moved) + sum(self.contracts[number].count for number in stale)
        if table.all_moved or most > self.quota:
            self._reset()
        elif most:
            rows = [np.fromiter(table.moved, np.int64, len(table.moved))]
            rows += [self.contracts[number].holders() for number in stale]
            wheels.loosen_all(self.tables, self._columns(), self.wheels, np.concatenate(rows))
        table.moved.clear()
        table.all_moved = False

    def _take_marks(self, contracts: Column, marks: Column) -> None:
        if not wheels.take(self.tables, self._columns(), self.wheels, contracts, marks, 0, len(contracts)):
            self._reset()
            wheels.wait(self.wheels)

    def _take_first_mark(self, number: int, contract: ContractState) -> None:
        if contract.mark is not None:
            self.tables.facts[number, [kernels.PRICED, kernels.MARK]] = 1, contract.mark

    def _look(self) -> Column:
        known, columns, count = UNKNOWN, self._columns(), self.accounts
        if self.void or self.wheels.counts[wheels.LOOSE] >= self.both:
            known = np.empty(count, np.int8)
            given = self.tables, columns, self.wheels.anchored, self.void
            other = self.pool.submit(kernels.verdicts, *given, 0, count // 2, known, self._sums())
            own, theirs = kernels.verdicts(*given, count // 2, count, known, self._sums()), other.result()
            changed = own[1] + theirs[1]
            if self.void:
                self.wheels.counts[wheels.LOOKED_AT] += own[0] + theirs[0]
                return np.flatnonzero(known != columns.level[:count]) if changed else EMPTY
        found = wheels.look(self.tables, columns, self.wheels, known, self.found, self.quota, self._sums(), self.room)
        return self.found[:found].copy()

    def _sums(self) -> Column:
        return np.zeros(len(self.tables.windows) + 2 * len(self.tables.nets), np.int64)

    def _columns(self) -> Columns:
        book, table = self.state.book, self.state.book.positions
        return Columns(
            book.cash, book.accrued, book.pending, book.receivable, book.level, book.flags,
            table.contract, table.account, table.lots, table.cost, table.next, table.first,
        )  # fmt: skip

    def _braked(self) -> Braked:
        brakes = self.state.book.brakes
        return Braked(*map(brakes.column, brakes.COLUMNS))

    # -- what holds for everybody ------------------------------------------------------------------

    def _pack_limits(self) -> None:
        policy, limits = self.state.policy, self.tables.limits
        floor = policy.net_liq_floor
        limits[kernels.HAS_FLOOR], limits[kernels.FLOOR] = floor is not None, floor or 0
        limits[kernels.UNPRICED_MOVE] = policy.marks.unpriced_move
        limits[kernels.DESK_HELD] = bool(self.state.desk & Flag.HELD)
        steepest = min(window.alert for window in policy.windows.values())
        news = max((contract.news.multiplier for contract in self.contracts if contract.news is not None), default=0)
        limits[kernels.ROUNDINGS] = 16 + (8 + 2 * ceil_div(news, RATE)) * ceil_div(RATE, steepest)

    def _pack_terms(self) -> list[int]:
        """Pack the terms that are not those packed before; returns whose they are."""
        changed = [number for number, contract in enumerate(self.contracts) if not _same(contract, self.terms[number])]
        if changed:
            facts, tiers = self.tables.facts, list[tuple[int, ...]]()
            windows = list(self.state.policy.windows)
            for number, contract in enumerate(self.contracts):
                self.terms[number] = contract.terms
                _pack(facts[number], tiers, contract, windows)
            for group, netting in enumerate(_groups(self.contracts)):
                own = [number for number, contract in enumerate(self.contracts) if contract.rules.netting == netting]
                facts[own, kernels.NETTING] = len(windows) + 2 * group
                self.tables.nets[group] = facts[own[0], kernels.WINDOW]
            self.tables = self.tables._replace(tiers=np.array(tiers, np.int64))
        return changed

    # -- room --------------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Room for new accounts, which are loose (house accounts are nobody's to judge), and new positions."""
        book, old = self.state.book, self.wheels
        if self.accounts == book.count and self.positions == book.positions.count:
            return
        first, self.accounts, self.positions = self.accounts, book.count, book.positions.count
        loose, anchored = grown(old.loose, self.accounts), grown(old.anchored, self.accounts)
        anchored[first : self.accounts] = kernels.ANCHORED
        for row in book.house:
            anchored[row] = kernels.HOUSE
        nodes = 2 * self.positions
        before = grown(old.before, nodes)
        before[len(old.before) :] = wheels.NOWHERE
        self.wheels = old._replace(
            loose=loose, anchored=anchored, before=before,
            trigger=grown(old.trigger, nodes), after=grown(old.after, nodes),
        )  # fmt: skip
        self.found = grown(self.found, len(loose))
        new = np.arange(first, self.accounts)
        if len(new) > self.quota:
            self._reset()
        else:
            wheels.loosen_all(self.tables, self._columns(), self.wheels, new)

    def _outgrown(self) -> bool:
        """Whether the wheels must be laid out anew, for another size of the book or another price (a first one)."""
        facts = self.tables.facts
        turns = facts[:, kernels.SIZE] << facts[:, kernels.SHIFT]
        small = 4 * facts[:, kernels.SIZE] < np.minimum([contract.count for contract in self.contracts], LARGEST)
        return bool(np.any(small | (_turn(facts) > 4 * turns)))

    def _reset(self) -> None:
        """All triggers are void, and every account is loose."""
        self.resets += not self.void
        self.void = True
        self.quota = max(self.least, self.state.book.count // 128)

    def _lay_out(self) -> None:
        """Once all triggers are void, empty the wheels and lay them out for the book as it is."""
        if not self.void:
            return
        self.void = False
        facts, drums, book = self.tables.facts, self.wheels, self.state.book
        counts = np.array([contract.count for contract in self.contracts])
        sizes = np.array([1 << max(0, int(count) - 1).bit_length() for count in counts]).clip(SMALLEST, LARGEST)
        if not np.array_equal(sizes, facts[:, kernels.SIZE]) or len(drums.hits) != 2 * self.quota:
            room = 2 * int(sizes.sum())
            drums = drums._replace(
                head=np.zeros(room, np.int32),
                bits=np.zeros(room // 64, np.uint64),
                hits=np.zeros(2 * self.quota, np.int32),
            )
        facts[:, kernels.WHEEL], facts[:, kernels.SIZE] = 2 * (np.cumsum(sizes) - sizes), sizes
        facts[:, kernels.SHIFT] = [int(turn).bit_length() for turn in _turn(facts) // sizes]
        self.wheels = drums
        wheels.drop_all(drums, self.accounts)
        self._set_aside(self.aside & book.close_outs.keys())


def _groups(contracts: list[ContractState]) -> list[str]:
    """The netting groups there are."""
    return list(dict.fromkeys(contract.rules.netting for contract in contracts if contract.rules.netting))


def _same(contract: ContractState, terms: Terms | None) -> bool:
    """Whether a contract's terms are still those; its rules never change."""
    if terms is None or contract.tiers is not terms.tiers or contract.window is not terms.window:
        return False
    return contract.news == terms.news


def _followed(contract: ContractState) -> tuple[int, ...]:
    """What a series moves along of a contract (`wheels.GOOD_MARK` and after); `MARKED_AT` is 0 until it does."""
    return contract.good_mark or 0, 0, 0, *_bounds(contract), -1


def _bounds(contract: ContractState) -> tuple[int, int]:
    """Bounds of marks that are within those of G-01 for the largest position; what is beyond is looked at alone."""
    facts, largest = contract.contract, max(contract.largest, 1)
    if facts.kind is Kind.INVERSE:
        return largest * facts.unit_value // MAX_VALUE + 1, min(MAX_PRICE_TICKS, MAX_INVERSE // largest)
    most = min(MAX_PRICE_TICKS, MAX_VALUE // (largest * facts.unit_value))
    return -most, most


def _no_wheels() -> Wheels:
    nothing: Any = np.zeros(0, np.int32)
    return Wheels(
        np.zeros(0, np.int64), nothing, nothing, nothing, np.zeros(0, np.uint64), nothing, np.zeros(0, np.uint8),
        nothing, np.zeros(wheels.COUNTS, np.int64),
    )  # fmt: skip


def _turn(facts: Any) -> Column:
    """Ticks that a turn of each contract's wheel should cover."""
    return abs(facts[:, kernels.MARK]) * TURN // 5


def _pack(facts: Any, tiers: list[tuple[int, ...]], contract: ContractState, windows: list[str]) -> None:
    """One contract's terms as rows of integers."""
    own, terms = contract.contract, contract.terms
    facts[kernels.INVERSE] = own.kind is Kind.INVERSE
    facts[kernels.UNIT_VALUE], facts[kernels.UNITS_PER_MICRO] = own.unit_value, own.units_per_micro
    facts[kernels.BY_ENTRY], facts[kernels.CLOSE_FEE] = terms.rules.by_entry, terms.rules.close_fee
    facts[kernels.WINDOW] = windows.index(terms.window.name)
    facts[kernels.TIERS] = len(tiers)
    tiers += _rows(terms.tiers, terms.window.requirement)
    facts[kernels.TIERS_END] = facts[kernels.NEWS] = len(tiers)
    news = terms.news if terms.news is not None and terms.news.held else None
    if news is not None:
        tiers += _rows(terms.tiers, MarginKind.INTRADAY)
        facts[kernels.NEWS_WHOLE], facts[kernels.NEWS_PART] = divmod(news.multiplier, RATE)
    facts[kernels.NEWS_END] = facts[kernels.INITIAL] = len(tiers)
    facts[kernels.CLOSE_FEE_SIDE] = terms.rules.close_fee_side
    if terms.rules.close_fee_side:
        tiers += _rows(terms.tiers, MarginKind.INITIAL)
    facts[kernels.INITIAL_END] = len(tiers)
    facts[kernels.SHAPE] = _shape(terms)


def _rows(tiers: Tiers, kind: MarginKind) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = []
    for tier in tiers:
        slope = tier.slope[kind]
        sloped = (0, 0, 0, 0, 0)
        if slope is not None:
            sloped = (slope.rate, slope.per, int(slope.of_lots), slope.root, slope.within)
        rows.append((tier.notional_from, tier.rate[kind], tier.per_lot[kind], tier.amount[kind], *sloped))
    return rows


def _rises(terms: Terms, kind: MarginKind) -> bool:
    """Whether more notional never needs less margin, the fee of closing included."""
    fee = terms.rules.close_fee if terms.rules.close_fee_side else 0
    return all(
        after.per_lot[kind] >= before.per_lot[kind]
        and _step(before, after, kind) * RATE >= fee * _step(before, after, MarginKind.INITIAL) >= 0
        and after.slope[kind] == before.slope[kind]
        for before, after in pairwise(terms.tiers)
    )


def _step(before: MarginTier, after: MarginTier, kind: MarginKind) -> int:
    """By how much margin jumps where a tier begins, in units of `RATE`."""
    rate, amount = after.rate[kind] - before.rate[kind], after.amount[kind] - before.amount[kind]
    return rate * after.notional_from - amount * RATE


def _shape(terms: Terms) -> int:
    """How profit less requirement moves with the price within a tier (`kernels.SHAPE`)."""
    if not all(_rises(terms, kind) for kind in (terms.window.requirement, MarginKind.INTRADAY)):
        return triggers.UNEVEN
    slopes = [slope for tier in terms.tiers for slope in tier.slope if slope is not None]
    if slopes and any(any(tier.amount) for tier in terms.tiers):  # a rate at its cap grows no more, an amount does
        return triggers.UNEVEN
    if any(not slope.of_lots for slope in slopes):
        return triggers.BENT
    if terms.news is not None:
        return triggers.CONCAVE
    return triggers.STRAIGHT if slopes or not _is_mild(terms) else triggers.MILD


def _is_mild(terms: Terms) -> bool:
    """Whether no line rises faster than the value does, where no tier begins with a jump."""
    kind, rules = terms.window.requirement, terms.rules
    steps = [_step(before, after, kind) for before, after in pairwise(terms.tiers)]
    lots = {tier.per_lot[kind] for tier in terms.tiers}
    steepest = max(tier.rate[kind] for tier in terms.tiers) + rules.close_fee
    return not any(steps) and len(lots) == 1 and not rules.close_fee_side and steepest <= terms.window.alert
