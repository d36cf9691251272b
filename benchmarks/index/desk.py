"""The engine under test: the one place that knows how a book and marks go into it.

Close-out orders are filled in full at the mark of the moment, when the command that brought the marks is done.
"""

import time
from hashlib import sha256
from typing import Any

import numpy as np

from benchmarks.index.book import CONTRACTS, Columns
from benchmarks.index.paths import Path
from closeout.engine import ledger
from closeout.engine.commands import AnyCommand, Fill, Input, LoadRulebook, Mark, Marks
from closeout.engine.engine import Engine
from closeout.engine.events import ENCODER, AnyEvent, CloseOutOrder, LevelChanged, Rejected
from closeout.engine.state import State
from closeout.rulebooks import loader

START = 1_760_108_400 * 10**9
STEP = 10**6
"""Nanoseconds from one input to the next."""
NAMES = tuple(f"C{number:02d}" for number in range(CONTRACTS))
CROSSED, TOUCHED, LOOSE = "triggers_crossed", "accounts_looked_at", "loose"
"""What the index calls its counts."""
NEVER = 2**62
"""More positions than there can be: what it takes for an index."""


def document() -> bytes:
    """The reference rulebook with twenty contracts of the book's one rate, one line, and a taker fee."""
    contract = {
        "tick": "1",
        "lot": "0.01",
        "taker_fee": "0.0005",
        "tiers": [{"notional_from": "0", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}],
    }
    one_line = {"always": {"alert": "1.00"}}
    return loader.load("reference", {"contracts": dict.fromkeys(NAMES, contract), "windows": one_line}).document()


class Desk:
    """An engine with the book in it. `fallen` are the accounts whose close-outs began, in the order of events;
    `applied` and `filled` the nanoseconds spent on marks and on fills; `touched` the accounts that each command of
    marks made the index look at. `judged_by_scan`: without the index."""

    def __init__(self, columns: Columns, *, judged_by_scan: bool = False) -> None:
        self.engine = Engine(index_from=NEVER if judged_by_scan else 1)
        self.number = self.fills = 0
        self.fallen: list[int] = []
        self.applied = self.filled = self.events = 0
        self.touched: list[int] = []
        self.seen = sha256()
        self._offer(LoadRulebook(document()))
        self._offer(
            Marks(tuple(Mark(name, ticks) for name, ticks in zip(NAMES, columns.opening.tolist(), strict=True)))
        )
        self.ticks = columns.opening.copy()
        begun = time.perf_counter()
        _fill_book(self.state, columns)
        self.opened = time.perf_counter() - begun

    @property
    def state(self) -> State:
        return self.engine.loaded

    def settle(self) -> int:
        """Tell the first contract's mark again until the index has taken up every account that it can; returns the
        nanoseconds that took. Without an index there is nothing to take up."""
        again, spent, before = Marks((Mark(NAMES[0], int(self.ticks[0])),)), 0, -1
        while (loose := self.counted().get(LOOSE, 0) if spent else NEVER) and loose != before:
            before = loose
            begun = time.perf_counter_ns()
            self._offer(again)
            spent += time.perf_counter_ns() - begun
        return spent

    def play(self, path: Path, size: int) -> list[int]:
        """All marks, each batch of the path judged for itself, `size` marks in a command where each is its own batch.
        Returns the nanoseconds of each command."""
        taken: list[int] = []
        bounds = path.bounds()
        single = len(bounds) == len(path) + 1
        cuts = range(0, len(path), size) if single else bounds[:-1].tolist()
        ends = [*cuts[1:], len(path)]
        for begin, end in zip(cuts, ends, strict=True):
            for command in _commands(path.part(begin, end), single):
                before = self.counted().get(TOUCHED, 0)
                begun = time.perf_counter_ns()
                events = self._offer(command)
                taken.append(time.perf_counter_ns() - begun)
                self.touched.append(self.counted().get(TOUCHED, 0) - before)
                self._take(events, path.part(begin, end))
        self.applied += sum(taken)
        return taken

    def counted(self) -> dict[str, int]:
        """What the index has counted so far; empty where there is none."""
        return dict(getattr(getattr(self.state, "index", None), "counters", {}))

    def _offer(self, command: AnyCommand) -> list[AnyEvent]:
        self.number += 1
        events = self.engine.apply(Input("bench", self.number, START + self.number * STEP, command))
        if events and isinstance(events[0], Rejected):
            raise RuntimeError(str(events[0]))
        return events

    def _take(self, events: list[AnyEvent], part: Path) -> None:
        """Note who fell, and fill what was ordered."""
        self.ticks[part.contract] = part.ticks
        begun = time.perf_counter_ns()
        while events:
            self.events += len(events)
            self.seen.update(ENCODER.encode(events))
            orders: list[CloseOutOrder] = []
            for event in events:
                if isinstance(event, CloseOutOrder):
                    orders.append(event)
                elif isinstance(event, LevelChanged) and event.after == "liquidating":
                    self.fallen.append(int(event.account_id[1:]))
            events = [event for order in orders for event in self._offer(self._fill(order))]
        self.filled += time.perf_counter_ns() - begun

    def _fill(self, order: CloseOutOrder) -> Fill:
        self.fills += 1
        price = int(self.ticks[NAMES.index(order.contract)])
        return Fill(order.account_id, order.contract, order.lots, price, order.order_id, f"F{self.fills}")


def _commands(part: Path, single: bool) -> list[Any]:
    """The commands for these marks: packed where each is a batch of its own."""
    pairs = zip(part.contract.tolist(), part.ticks.tolist(), strict=True)
    marks = [Mark(NAMES[contract], ticks) for contract, ticks in pairs]
    return [Marks((mark,)) for mark in marks] if single else [Marks(tuple(marks))]


def _fill_book(state: State, columns: Columns) -> None:
    """Write the book into the engine's columns."""
    book, numbers = state.book, np.array([state.contracts[name].index for name in NAMES])
    first = book.add_all([f"A{number:07d}" for number in range(columns.accounts)])
    book.column("cash")[first:] = columns.cash
    book.positions.load(columns.account.astype(np.int64) + first, numbers[columns.contract], columns.lots, columns.cost)
    for name in NAMES:
        state.contracts[name].load()
    state.ledger.post(ledger.SEGREGATED_BANK, ledger.CUSTOMER_CASH, int(columns.cash.sum()))
