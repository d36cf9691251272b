"""Two engines in the same state, one with a trigger index and one that only scans: what they say and what they store is
compared after every input (G-12, G-19)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.engine.index_books import Start
from tests.engine.index_walk import LEAST, Size, Walk

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import ContractState
from closeout.engine.engine import Engine
from closeout.engine.series import pack

SECOND = 10**9
HOUR = 3600 * SECOND
KINDS = (
    "marks", "marks", "series", "series", "series", "fills", "fills", "session", "news", "desk", "cash", "opened",
)  # fmt: skip
NEVER = 10**12
"""Positions from which an engine that only scans would keep an index."""


class Twins:
    """Two engines in the same state, one with an index; every input goes to both, and what they say is compared."""

    def __init__(self, seed: int, start: Start, size: Size, desk: int = 0) -> None:
        self.size = size
        self.walk = Walk.of(seed, start, size, money=("cash",))
        self.random = self.walk.random
        self.time = 10**18
        self.filled = 0
        self.date = dt.date(2026, 1, 1)
        self.command: Any = None
        self.events: list[ev.AnyEvent] = []
        self.walk.state.index_from, self.walk.state.desk = 0, desk
        self.one = Engine(state=self.walk.state, index_from=0)
        self.other = Engine.restore(self.one.snapshot(), NEVER)
        self.walk.indexed(LEAST[:3])
        self.give(c.Tick())

    def run(self) -> None:
        """All steps."""
        for _ in range(self.size.steps):
            self.step()

    def give(self, command: Any) -> list[ev.AnyEvent]:
        number = self.one.sources.get("s", 0) + 1
        given = c.Input("s", number, self.time, command)
        self.command, self.events = command, self.one.apply(given)
        events = self.events
        assert self.other.apply(given) == events, command
        assert self.other.snapshot() == self.one.snapshot(), command
        assert self.other.loaded.index is None
        return events

    def aim(self) -> None:
        """Some accounts stand next to a line again, in both engines."""
        own, others = self.one.loaded.book, self.other.loaded.book
        for row in self.random.sample(self.walk.customers(), self.size.accounts // 4):
            self.walk.aim_one(row)
            others.cash[others.row[own.ids[row]]] = own.cash[row]
            others.positions.moved.add(others.row[own.ids[row]])

    # -- inputs ------------------------------------------------------------------------------------

    def step(self) -> None:
        kind = self.random.choice(KINDS)
        if kind == "series" and self.random.random() < 0.5:
            self.brakes()
        getattr(self, kind)()
        if self.random.random() < 0.7:
            self.aim()
        self.time += self.random.choice((0, 1, SECOND, 60 * SECOND, 60 * SECOND, HOUR))

    def batch(self, now: dict[str, int]) -> list[c.Mark]:
        """A batch that moves some of the prices of now, at times of a contract that nobody holds."""
        random, held = self.random, self.walk.held if self.random.random() < 0.9 else self.walk.contracts
        found: list[c.Mark] = []
        for contract in random.sample(held, random.randint(1, min(3, len(held)))):
            facts, name = contract.contract, contract.contract.name
            ticks = self.price(contract, now.get(name) or self.walk.homes[name])
            found.append(c.Mark(facts.leg_of or name, ticks))
            now[name] = ticks
        return found

    def price(self, contract: ContractState, mark: int) -> int:
        kind, ticks = self.walk.moved(contract, mark)
        far = kind in ("gap", "turn", "zero") and self.random.random() < 0.8
        return mark + self.random.choice((-1, 0, 1)) if far else max(1, ticks)

    def prices(self) -> dict[str, int]:
        return {contract.contract.name: contract.mark for contract in self.walk.held if contract.mark is not None}

    def marks(self) -> None:
        self.give(c.Marks(tuple(self.batch(self.prices()))))

    def series(self) -> None:
        """Up to sixty batches in an hour, some of which have something amiss."""
        random, now, finder = self.random, self.prices(), self.one.loaded.index
        if finder is not None and random.random() < 0.5:  # most accounts get their triggers first
            for _ in range(20):
                finder.changed()
        batches: list[tuple[int, list[c.Mark]]] = []
        for _ in range(random.choice((1, 5, 20, 60))):
            self.time += random.choice((0, SECOND, 20 * SECOND))
            time, marks = self.time, self.batch(now)
            amiss = random.random()
            if amiss < 0.02:
                marks.append(marks[0])
            elif amiss < 0.04:
                marks.append(c.Mark("WHAT", 1))
            elif amiss < 0.06:
                marks[0] = c.Mark(marks[0].contract, None)
            elif amiss < 0.08:
                marks[0] = c.Mark(marks[0].contract, random.choice((2**41, -(2**41), 0)))
            elif amiss < 0.10:
                time += random.choice((-HOUR, -1, 2 * HOUR))
            elif amiss < 0.12:
                marks = []
            elif amiss < 0.13:
                self.time += 2 * HOUR
            batches.append((time, marks))
        self.give(pack(batches))

    def fills(self) -> None:
        """Orders of close-outs are filled, in part at times."""
        state = self.one.loaded
        for row, active in list(state.book.close_outs.items()):
            for order_id, (name, lots) in list(active.outstanding.items()):
                if self.random.random() < 0.6 and order_id in active.outstanding:
                    self.filled += 1
                    part = lots if self.random.random() < 0.7 or abs(lots) < 2 else lots // 2
                    mark = state.contract(name).mark or self.walk.homes[name]
                    self.give(c.Fill(state.book.ids[row], name, part, mark, order_id, f"f{self.filled}"))

    def session(self) -> None:
        contract = self.random.choice(self.walk.held)
        window = self.random.choice(list(self.walk.state.policy.windows))
        self.give(c.SessionChange(contract.session or "", window, self.random.random() < 0.9))

    def news(self) -> None:
        contract = self.random.choice(self.walk.held).contract
        multiplier = self.random.choice((0, 2 * 10**9, 4 * 10**9))
        self.give(c.NewsWindow((contract.leg_of or contract.name,), multiplier, True, "ann", "x", "bob"))

    def desk(self) -> None:
        account_id = self.walk.state.book.ids[self.walk.a_customer()]
        action = self.random.choice(("hold", "release", "liquidate", "restrict"))
        self.give(c.DeskAction(account_id, action, "ann", "x", "bob"))

    def cash(self) -> None:
        for row in self.random.sample(self.walk.customers(), 5):
            self.give(c.Deposit(self.walk.state.book.ids[row], self.random.randint(1, 10**9)))

    def opened(self) -> None:
        """A new account that has what another has, at the same cost."""
        state, account_id = self.one.loaded, f"b{self.one.loaded.book.count}"
        row = self.walk.a_customer()
        held = state.holdings(row)
        self.give(c.OpenAccount(account_id))
        self.give(c.Deposit(account_id, max(1, int(state.book.cash[row]))))
        for holding in held:
            self.give(c.TransferPosition(account_id, holding.contract.name, holding.lots, holding.cost))

    def brakes(self) -> None:
        """Some customers set brakes, of any kind and seldom far away; at times a new week begins before."""
        state, random = self.one.loaded, self.random
        if random.random() < 0.4:
            self.new_week()
        for row in random.sample(self.walk.customers(), self.size.accounts // 4):
            most = abs(state.risk(row).net_liq) // random.choice((30, 300, 3000)) + 1
            day, week, drawdown = (random.choice((0, random.randint(1, most))) for _ in range(3))
            self.give(c.SetRiskSettings(state.book.ids[row], c.RiskSettings(day, week, drawdown)))

    def new_week(self) -> None:
        """Daily and weekly losses count anew."""
        self.date += dt.timedelta(days=7)
        self.give(c.TradeDate(self.date.isoformat()))
