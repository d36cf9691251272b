"""Random walks of a crowded book: what the trigger index names is held against the full scan after every step (G-12).

Most accounts stand within a percent of one of their lines or of the floor, many within a few ticks or a few micros, and
many positions are next to the start of a margin tier. Everything is worked on the columns themselves, as the engine's
acts leave them: whoever's own figures change is told in `Positions.moved`. `LARGE` is for compiled kernels, `SMALL` for
those that are not (`index_mutants`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
from tests.engine.index_books import Start

from closeout.core.contracts import Kind, OutOfBounds, Position
from closeout.core.margin import Level, News
from closeout.core.units import MAX_RATE, RATE
from closeout.engine import scan
from closeout.engine.book import Column, ContractState, Flag
from closeout.engine.engine import initial_state
from closeout.engine.index import BOTH, LEAST_QUOTA, Index
from closeout.engine.state import Reject, State

MOST = 2**50
"""No value or cash here goes beyond it, so that a price may still go up a few times."""
MULTIPLIERS = (RATE, 1_500_000_001, 4 * RATE, 4 * RATE, 37 * RATE + 1)


@dataclass(frozen=True, slots=True)
class Size:
    """How many accounts and steps a walk has."""

    accounts: int
    steps: int


LARGE, SMALL = Size(250, 120), Size(70, 120)
CONTRACTS = 6
"""At most so many are held in one walk."""
LEAST = (1, 7, LEAST_QUOTA, LEAST_QUOTA, LEAST_QUOTA, LEAST_QUOTA)
"""Least quotas: with a small one a few triggers crossed at once are a crowd, and few accounts have any."""

STEPS = {
    "marks": 50, "squeeze": 16, "aim": 8, "fill": 8, "close": 4, "open": 4, "window": 4, "margin": 3, "news": 3,
    "flag": 4, "desk": 2, "first_mark": 3, "everybody": 1, "nothing": 2,
}  # fmt: skip
MOVES = {
    "tick": 10, "few": 10, "trigger": 8, "within": 6, "tier": 10, "small": 8, "percent": 8, "home": 12,
    "gap": 3, "turn": 3, "zero": 1,
}  # fmt: skip


@dataclass
class Walk:
    """One book on its way. `held` are the contracts in which there are positions, `homes` prices that the marks come
    back to, `money` the columns in which money moves; `story` says what happened last."""

    random: Random
    state: State
    size: Size
    worths: dict[str, int]
    held: list[ContractState] = field(default_factory=list[ContractState])
    homes: dict[str, int] = field(default_factory=dict[str, int])
    tiers: dict[str, Any] = field(default_factory=dict[str, Any])
    money: tuple[str, ...] = ("cash", "cash", "cash", "accrued", "pending", "receivable")
    story: list[Any] = field(default_factory=list[Any])

    @classmethod
    def of(cls, seed: int, start: Start, size: Size, **more: Any) -> Walk:
        """A book under a rulebook, every account aimed; some contracts are without a mark yet."""
        walk = cls(Random(seed), initial_state(start.document), size, start.worths, **more)
        random = walk.random
        walk.held = random.sample(walk.contracts, min(len(walk.contracts), CONTRACTS))
        for name, contract in walk.state.contracts.items():
            walk.homes[name] = start.prices.get(name) or int(2 ** random.uniform(9, 23))
            walk.tiers[name] = contract.tiers
            if random.random() < 0.85:
                contract.mark = walk.homes[name]
            contract.window = random.choice(list(walk.state.policy.windows.values()))
            if contract.rules.netting:
                group = (each for each in walk.contracts if each.rules.netting == contract.rules.netting)
                contract.window = next(group).window
            if contract.contract.leg_of:
                whole = walk.state.contract(contract.contract.leg_of)
                walk.homes[name], contract.mark, contract.window = (
                    walk.homes[whole.contract.name],
                    whole.mark,
                    whole.window,
                )
        walk.news()
        for _ in range(size.accounts):
            walk.open()
        return walk

    def run(self) -> None:
        """All steps, the index held against the scan after each."""
        index = self.indexed(LEAST)
        self.check(index)
        for _ in range(self.size.steps):
            self.story = []
            for kind in self.random.choices(list(STEPS), list(STEPS.values()), k=self.random.choice((1, 1, 1, 2, 3))):
                self.story.append(kind)
                getattr(self, kind)()
            for row in self.customers():
                if self.random.random() < (0.2 if self.state.book.level[row] == Level.LIQUIDATING else 0.02):
                    self.aim_one(row)
            self.check(index)

    def indexed(self, least: Sequence[int]) -> Index:
        """The book's index, with one of these least quotas. Every other is looked at as that of a large book is."""
        index = self.state.index = Index.over(self.state, self.random.choice(least))
        index.both = self.random.choice((BOTH, 1))
        return index

    # -- the property ------------------------------------------------------------------------------

    def check(self, index: Index) -> None:
        """The index and the scan name the same accounts, and once more when asked again; then most of them are stored
        at their new level."""
        book = self.state.book
        net_liq, level = scan.as_stored(self.state)
        due = sorted(set(np.flatnonzero(level != book.column("level")).tolist()) - book.house)
        assert sorted(index.changed().tolist()) == due, self.story
        assert sorted(index.changed().tolist()) == due, self.story
        some = np.array(sorted(self.random.sample(range(book.count), 8)))
        assert index.net_liqs(some).tolist() == net_liq[some].tolist(), self.story
        for row in due:
            if self.random.random() < 0.9:
                book.level[row] = level[row]
                book.positions.moved.add(row)

    def customers(self) -> list[int]:
        return [row for row in range(self.state.book.count) if row not in self.state.book.house]

    def a_customer(self) -> int:
        return self.random.choice(self.customers())

    def a_contract(self) -> ContractState:
        return self.random.choice(self.held)

    # -- accounts ----------------------------------------------------------------------------------

    def nothing(self) -> None: ...

    def open(self) -> None:
        """A new account with some positions, aimed at one of its lines."""
        row = self.state.book.add(f"a{self.state.book.count:05}")
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            self.fill_one(row)
        self.aim_one(row)

    def fill(self) -> None:
        """A trade, after which nobody aims: the account stands where it stands."""
        for _ in range(self.random.randint(1, 5)):
            row = self.a_customer()
            self.fill_one(row)
            self.story.append(row)

    def fill_one(self, row: int) -> None:
        contract = self.a_contract()
        facts, random = contract.contract, self.random
        ticks = contract.mark or self.homes[contract.contract.name]
        worth = int(2 ** random.uniform(12, 36))
        if contract.contract.name in self.worths:
            worth = self.worths[contract.contract.name] * random.randint(50, 200) // 100
        elif random.random() < 0.5:
            tier = random.choice(contract.tiers)
            worth = tier.notional_from * random.randint(990, 1010) // 1000 or worth
        worth = min(worth * facts.units_per_micro, MOST)
        if facts.kind is Kind.INVERSE:
            lots = worth * ticks // facts.unit_value
        else:
            lots = worth // (facts.unit_value * max(1, abs(ticks)))
        lots = random.choice((-1, 1)) * max(1, min(lots, 2**34))
        entry = max(1, abs(ticks) * random.randint(85, 115) // 100) * (-1 if ticks < 0 else 1)
        cost = facts.value(entry, lots) + random.randint(-3, 3)
        try:
            for price in (ticks, 4 * self.homes[facts.name], entry):
                facts.check_bounds(price, lots)
        except OutOfBounds:
            return
        contract.store(row, Position(lots, cost))

    def close(self) -> None:
        """Positions close, at times all of an account's."""
        for _ in range(self.random.randint(1, 5)):
            row = self.a_customer()
            for holding in self.state.holdings(row):
                if self.random.random() < 0.7:
                    self.state.contract(holding.contract.name).store(row, Position())
            self.story.append(row)

    def aim(self) -> None:
        """Money moves: many accounts stand next to a line again."""
        for row in self.random.sample(self.customers(), self.state.book.count // 3):
            self.aim_one(row)

    def everybody(self) -> None:
        """Money of everybody moves, and no list of them is kept."""
        book = self.state.book
        before, book.positions.moved = book.positions.moved, set()
        self.aim()
        book.positions.moved, book.positions.all_moved = before, True

    def aim_one(self, row: int) -> None:
        book, random, risk = self.state.book, self.random, self.state.risk(row)
        floor = self.state.policy.net_liq_floor
        lines: list[int] = [*risk.lines, *([] if floor is None else [floor])]
        line = random.choice(lines)
        offset = self.offset(row, line)
        if line in lines[2:] and random.random() < 0.6:
            offset = abs(offset)
        change = line + offset - risk.net_liq
        name = random.choice(self.money)
        column: Column = getattr(book, name)
        if name in ("pending", "receivable"):
            change = -change
        if abs(int(column[row]) + change) > MOST:
            return
        column[row] += change
        book.positions.moved.add(row)

    def offset(self, row: int, line: int) -> int:
        """How far from its line an account is aimed, in micros."""
        random, holdings = self.random, self.state.holdings(row)
        kind = random.choice(("micros", "some", "ticks", "ticks", "ticks", "percent", "percent"))
        if kind == "micros" or not holdings:
            return random.randint(-3, 3)
        if kind == "some":
            return random.randint(-80, 80)
        if kind == "percent":
            return line * random.randint(-(10**6), 10**6) // 10**8
        holding = random.choice(holdings)
        if holding.mark is None or holding.mark < 2:
            return 0
        a_tick = abs(holding.at(holding.mark + 1).profit - holding.profit) + 1
        return random.choice((-1, 1, 1)) * (random.randint(1, 12) * a_tick + random.randint(0, 80))

    # -- marks -------------------------------------------------------------------------------------

    def marks(self) -> None:
        """One batch."""
        for contract in self.random.sample(
            self.held, self.random.choice((1, 1, 1, min(3, len(self.held)), len(self.held)))
        ):
            if contract.mark is None:
                continue
            kind, ticks = self.moved(contract, contract.mark)
            self.set_mark(contract, ticks)
            self.story.append((contract.contract.name, kind, contract.mark))

    def moved(self, contract: ContractState, mark: int) -> tuple[str, int]:
        """How a price moves, and where to."""
        (kind,) = self.random.choices(list(MOVES), list(MOVES.values()))
        return kind, getattr(self, f"_{kind}")(contract, mark)

    def squeeze(self) -> None:
        """All prices of one account go as far as its triggers let them at once, or one goes a little further."""
        random, table = self.random, self.state.book.positions
        rows = [list(table.of(row)) for row in self.customers()]
        nodes = random.choice([nodes for nodes in map(self.nodes, rows) if nodes] or [[]])
        against = random.random() < 0.8
        for node in nodes:
            lots, down = int(table.lots[node >> 1]), node & 1
            if (lots > 0) != bool(down) if against else random.random() < 0.5:
                continue
            contract = self.contracts[int(table.contract[node >> 1])]
            self.set_mark(contract, self.before(node) + (random.choice((-1, 1)) if random.random() < 0.1 else 0))
            self.story.append((contract.contract.name, contract.mark))

    @property
    def contracts(self) -> list[ContractState]:
        return list(self.state.contracts.values())

    def first_mark(self) -> None:
        for contract in self.held:
            if contract.mark is None:
                self.set_mark(contract, self.homes[contract.contract.name])
                return
        self.marks()

    def set_mark(self, contract: ContractState, ticks: int) -> None:
        if abs(ticks) > 4 * self.homes[contract.contract.name]:
            return
        try:
            contract.contract.check_bounds(ticks, contract.largest)
        except OutOfBounds:
            return
        contract.mark = ticks

    def _tick(self, contract: ContractState, mark: int) -> int:
        return mark + self.random.choice((-1, 1)) * self.random.randint(1, 3)

    def _few(self, contract: ContractState, mark: int) -> int:
        return mark + self.random.choice((-1, 1)) * self.random.randint(1, 50)

    def _small(self, contract: ContractState, mark: int) -> int:
        return mark + mark * self.random.randint(-1000, 1000) // 10**6

    def _percent(self, contract: ContractState, mark: int) -> int:
        return mark + mark * self.random.randint(-2000, 2000) // 10**5

    def _gap(self, contract: ContractState, mark: int) -> int:
        return mark + mark * self.random.choice((-1, 1)) * self.random.randint(3, 45) // 100

    def _turn(self, contract: ContractState, mark: int) -> int:
        """Further than a wheel turns."""
        return self.random.choice((mark * 3, mark // 3, mark * 9 // 5, mark // 20))

    def _home(self, contract: ContractState, mark: int) -> int:
        home = self.homes[contract.contract.name]
        return home + home * self.random.randint(-20, 20) // 10**4

    def _zero(self, contract: ContractState, mark: int) -> int:
        if contract.contract.kind is Kind.INVERSE:
            return 1
        return self.random.choice((0, 0, -mark, -1, -self.homes[contract.contract.name] // 2))

    def nodes(self, rows: list[int]) -> list[int]:
        """The triggers there are of positions."""
        index: Any = self.state.index
        known = [node for row in rows if row < index.positions for node in (2 * row, 2 * row + 1)]
        return [node for node in known if index.wheels.before[node] >= 0]

    def before(self, node: int) -> int:
        """The last price before a trigger: of all that are safe the most dangerous."""
        index: Any = self.state.index
        return int(index.wheels.trigger[node]) + (1 if node & 1 else -1)

    def _trigger(self, contract: ContractState, mark: int) -> int:
        nodes = self.nodes(contract.rows[: contract.count].tolist())
        return self.before(self.random.choice(nodes)) + self.random.choice((0, 0, 1, -1)) if nodes else mark

    def _within(self, contract: ContractState, mark: int) -> int:
        """Somewhere on the way to a trigger."""
        nodes = self.nodes(contract.rows[: contract.count].tolist())
        return self.random.randint(*sorted((mark, self.before(self.random.choice(nodes))))) if nodes else mark

    def _tier(self, contract: ContractState, mark: int) -> int:
        """Where a position comes into another margin tier, or a tick beside it."""
        facts, (_, lots, _) = contract.contract, contract.held()
        start = self.random.choice(contract.tiers).notional_from * facts.units_per_micro
        if not lots.size or not start:
            return mark
        size = abs(int(self.random.choice(lots.tolist()))) * facts.unit_value
        at = size // start if facts.kind is Kind.INVERSE else start // size
        return max(1, at + self.random.randint(-1, 2))

    # -- terms and flags ---------------------------------------------------------------------------

    def window(self) -> None:
        """A session enters another window."""
        session = self.a_contract().session
        window = self.random.choice(list(self.state.policy.windows.values()))
        for contract in self.state.contracts.values():
            if contract.session == session:
                contract.window = window

    def tiers_of(self, contract: ContractState) -> Any:
        share = self.random.choice((4, 5, 5, 6))
        scaled = [
            replace(
                tier,
                rate=tuple(min(rate * share // 5, MAX_RATE) for rate in tier.rate),
                per_lot=tuple(each * share // 5 for each in tier.per_lot),
                amount=tuple(each * share // 5 for each in tier.amount),
            )
            for tier in self.tiers[contract.contract.name]
        ]
        return tuple(scaled)

    def desk(self) -> None:
        self.state.desk ^= Flag.HELD

    def flag(self) -> None:
        for _ in range(self.random.randint(1, 6)):
            row, flag = self.a_customer(), self.random.choice((Flag.HELD, Flag.LIQUIDATE_NOW, Flag.RESTRICTED))
            self.state.book.set_flag(row, flag, self.random.random() < 0.5)

    def news(self) -> None:
        """A window of news begins or ends."""
        for _ in range(3):
            contract, held = self.a_contract(), self.random.random() < 0.8
            news = News(self.random.choice(MULTIPLIERS), held) if self.random.random() < 0.6 else None
            if self.allowed(contract, contract.tiers, news):
                contract.news = news

    def margin(self) -> None:
        """The desk sets other margins."""
        contract = self.a_contract()
        tiers = self.tiers_of(contract)
        if self.allowed(contract, tiers, contract.news):
            contract.tiers = tiers

    def allowed(self, contract: ContractState, tiers: Any, news: News | None) -> bool:
        try:
            self.state.check_margin(contract, tiers, news, contract.largest)
        except Reject:
            return False
        return True
