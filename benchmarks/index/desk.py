"""The engine under test: the one place that knows how a book and marks go into it.

Close-out orders are filled in full at the mark of the moment, when the command that brought the marks is done.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

import numpy as np

from benchmarks.index.book import CONTRACTS, Columns
from benchmarks.index.paths import Path
from closeout.engine import kernels, ledger
from closeout.engine.commands import AnyCommand, Fill, Input, LoadRulebook, Mark, Marks, MarkSeries, SessionChange
from closeout.engine.engine import Engine
from closeout.engine.events import ENCODER, AnyEvent, CloseOutOrder, LevelChanged, Rejected
from closeout.engine.index import Index
from closeout.engine.state import State
from closeout.rulebooks import loader

START = 1_760_108_400 * 10**9
SESSION = "cme_crypto"
STEP = 10**6
"""Nanoseconds from one input to the next, and so at most as many batches in one."""
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


def switching_document() -> bytes:
    """Kraken's US rulebook with the twenty contracts in one session, whose windows ask for 5 and for 10 % margin."""
    rates = {"intraday_margin_rate": "0.05", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.09"}
    contract = {"tick": "1", "lot": "0.01", "session": SESSION, "tiers": [{"notional_from": "0", **rates}]}
    return loader.load("kraken-us", {"contracts": dict.fromkeys(NAMES, contract)}).document()


class Finding:
    """Within it, the nanoseconds that the index takes to find who must be judged while series run: what the baselines
    do, without the judgements, orders and events that follow."""

    def __init__(self) -> None:
        self.spent, self._plain = 0, Index.advance

    def __enter__(self) -> Finding:
        def timed_advance(index: Index, first: int) -> Any:
            begun = time.perf_counter_ns()
            found = self._plain(index, first)
            self.spent += time.perf_counter_ns() - begun
            return found

        Index.advance = timed_advance  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __exit__(self, *_: object) -> None:
        Index.advance = self._plain


class Desk:
    """An engine with the book in it. `fallen` are the accounts whose close-outs began, in the order of events;
    `applied` and `filled` the nanoseconds spent on marks and on fills; `touched` the accounts that each command of
    marks made the index look at. `judged_by_scan`: without the index."""

    def __init__(self, columns: Columns, *, judged_by_scan: bool = False, switching: bool = False) -> None:
        self.engine = Engine(index_from=NEVER if judged_by_scan else 1)
        self.number = self.fills = 0
        self.fallen: list[int] = []
        self.applied = self.filled = self.events = 0
        self.touched: list[int] = []
        self.seen = sha256()
        self._offer(LoadRulebook(switching_document() if switching else document()))
        if switching:
            self.switch("intraday")
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

    def settle(self) -> list[int]:
        """Tell the first contract's mark again until the index has taken up every account that it can; returns the
        nanoseconds that each of these marks took. Without an index there is nothing to take up."""
        again, taken, before = Marks((Mark(NAMES[0], int(self.ticks[0])),)), list[int](), -1
        while (loose := self.counted().get(LOOSE, 0) if taken else NEVER) and loose != before:
            before = loose
            taken.append(self._offer(again)[0])
        return taken

    def switch(self, window: str) -> int:
        """The session enters a window; returns the nanoseconds until every verdict is there."""
        lasted, events = self._offer(SessionChange(SESSION, window, True))
        self.events += len(events)
        return lasted

    def columns(self) -> list[Any]:
        """The columns that a verdict over all accounts reads, as arrays."""
        book, table = self.state.book, self.state.book.positions
        money = [book.column(name) for name in ("cash", "accrued", "pending", "receivable", "level", "flags")]
        held = [getattr(table, name)[: table.count] for name in ("account", "contract", "lots", "cost", "next")]
        return [*money, *held, table.first[: book.count]]

    def play(self, path: Path, size: int) -> list[int]:
        """All marks, each batch of the path judged for itself, `size` batches in a command. Returns the nanoseconds of
        each command."""
        taken: list[int] = []
        bounds = path.bounds()
        for begin in range(0, len(bounds) - 1, size):
            cuts = bounds[begin : begin + size + 1]
            part = path.part(int(cuts[0]), int(cuts[-1]))
            command = self._series(part, np.diff(cuts)) if size > 1 else _batch(part)
            before = self.counted().get(TOUCHED, 0)
            lasted, events = self._offer(command)
            taken.append(lasted)
            self.touched.append(self.counted().get(TOUCHED, 0) - before)
            self._take(events, part)
        self.applied += sum(taken)
        return taken

    def counted(self) -> dict[str, int]:
        """What the index has counted so far; empty where there is none."""
        return dict(getattr(getattr(self.state, "index", None), "counters", {}))

    def judge_everybody(self) -> None:
        """A scan of all accounts by the index's own compiled verdicts, every mechanism in, on one thread."""
        index: Any = self.state.index
        known = np.empty(self.state.book.count, np.int8)
        kernels.verdicts(
            index.tables, index._columns(), index.wheels.anchored, True, 0, len(known), known, index._sums()
        )  # fmt: skip

    def owing(self) -> int:
        """How many customers owe a deficit now."""
        return int((self.state.book.column("receivable") > 0).sum())

    def _offer(self, command: AnyCommand) -> tuple[int, list[AnyEvent]]:
        """The nanoseconds that the engine took, and what follows."""
        self.number += 1
        given = Input("bench", self.number, START + self.number * STEP, command)
        begun = time.perf_counter_ns()
        events = self.engine.apply(given)
        lasted = time.perf_counter_ns() - begun
        refused = [event for event in events if isinstance(event, Rejected)]
        if refused:
            raise RuntimeError(str(refused[0]))
        return lasted, events

    def _series(self, part: Path, counts: Any) -> MarkSeries:
        """The batches as one command, a nanosecond from one to the next."""
        times = START + self.number * STEP + np.arange(1, len(counts) + 1)
        columns = (times, "<i8"), (counts, "<i4"), (part.contract, "<i4"), (part.ticks, "<i8")
        return MarkSeries(NAMES, *(column.astype(kind).tobytes() for column, kind in columns))

    def _take(self, events: list[AnyEvent], part: Path) -> None:
        """Note who fell, and fill what was ordered."""
        self.ticks[part.contract] = part.ticks
        while events:
            self.events += len(events)
            self.seen.update(ENCODER.encode(events))
            orders: list[CloseOutOrder] = []
            for event in events:
                if isinstance(event, CloseOutOrder):
                    orders.append(event)
                elif isinstance(event, LevelChanged) and event.after == "liquidating":
                    self.fallen.append(int(event.account_id[1:]))
            answers = [self._offer(self._fill(order)) for order in orders]
            self.filled += sum(lasted for lasted, _ in answers)
            events = [event for _, own in answers for event in own]

    def _fill(self, order: CloseOutOrder) -> Fill:
        self.fills += 1
        price = int(self.ticks[NAMES.index(order.contract)])
        return Fill(order.account_id, order.contract, order.lots, price, order.order_id, f"F{self.fills}")


def _batch(part: Path) -> Marks:
    pairs = zip(part.contract.tolist(), part.ticks.tolist(), strict=True)
    return Marks(tuple(Mark(NAMES[contract], ticks) for contract, ticks in pairs))


def _fill_book(state: State, columns: Columns) -> None:
    """Write the book into the engine's columns."""
    book, numbers = state.book, np.array([state.contracts[name].index for name in NAMES])
    first = book.add_all([f"A{number:07d}" for number in range(columns.accounts)])
    book.column("cash")[first:] = columns.cash
    book.positions.load(columns.account.astype(np.int64) + first, numbers[columns.contract], columns.lots, columns.cost)
    for name in NAMES:
        state.contracts[name].load()
    state.ledger.post(ledger.SEGREGATED_BANK, ledger.CUSTOMER_CASH, int(columns.cash.sum()))
