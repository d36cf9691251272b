"""What streams follow: documents of the book that are worked out again as it changes, and sent as what changed."""

from __future__ import annotations

import time as wall
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from closeout.core.times import time_text
from closeout.core.units import RATE
from closeout.engine.commands import Marks, MarkSeries, Tick
from closeout.engine.events import SettingChanged
from closeout.engine.state import State
from closeout.service import listing, views
from closeout.service.applied import Applied
from closeout.service.listing import Roster, Scans, Search, Wanted
from closeout.service.reports.figures import freeze
from closeout.service.reports.stress import ALL, Before, Move, outcome
from closeout.studies.assessment import move_text

INTERVAL = 0.25
"""Seconds between two looks at a topic, at least."""
STRESS_INTERVAL = 2.0
KEPT = 64
"""Deltas of a topic that are kept for `resume`."""
STRESSES = tuple(percent * RATE // 100 for percent in (-20, -10, -5, 5, 10, 20))
"""Moves of all contracts together (rates)."""
STEP = 4
"""Accounts that are worked out at once."""
ANYTHING, ANY_MARK = "*", "* mark"
"""What no account and no contract is called."""
BY_ACCOUNT = "items"
"""The field that is a list of accounts."""

Document = dict[str, Any]
Work = Generator[None, None, Document]
"""Works a document out; it pauses where others may have a turn, so that none of its steps takes long."""
ENCODER = msgspec.json.Encoder()


class Follower(Protocol):
    """A client, as a topic knows it."""

    def offer(self, topic: Topic, frame: str) -> None: ...

    def begin(self, topic: Topic) -> None: ...

    def close(self, why: tuple[int, str]) -> None: ...


def quoted(name: str) -> str:
    return ENCODER.encode(name).decode()


def changes(before: Document, after: Document) -> Document:
    """The fields of `after` that are not as in `before`."""
    found: Document = {}
    for name, value in after.items():
        if value == before.get(name):
            continue
        if name == BY_ACCOUNT and name in before:
            old = {row["account_id"]: row for row in before[name]}
            rows = [row for row in value if old.get(row["account_id"]) != row]
            found[name] = {"rows": rows, "order": [row["account_id"] for row in value]}
        else:
            found[name] = value
    return found


@dataclass(slots=True, eq=False)
class Topic:
    """One document that clients follow. `n` begins with the wall's milliseconds, so that numbers of an earlier life of
    the topic, or of the process, are never taken for its own."""

    name: str
    compute: Callable[[State, int], Work]
    touches: Callable[[Document], frozenset[str]]
    interval: float = INTERVAL
    n: int = field(default_factory=lambda: wall.time_ns() // 1_000_000)
    document: Document | None = None
    seq: int = 0
    ts: int = 0
    dirty: bool = True
    busy: bool = False
    due: float = 0.0
    idle_since: float = 0.0
    touched_by: frozenset[str] = frozenset()
    followers: set[Follower] = field(default_factory=set["Follower"])
    deltas: deque[tuple[int, str]] = field(default_factory=lambda: deque[tuple[int, str]](maxlen=KEPT))
    _snapshot: tuple[int, str] = (0, "")

    def refresh(self, state: State, seq: int, now: int) -> Generator[None]:
        """Work the document out, and tell the clients what changed, or all of it the first time. Others run at each
        pause."""
        self.dirty, self.due = False, wall.perf_counter() + self.interval
        found = yield from self.compute(state, now)
        self.seq, self.ts = seq, now
        before, self.document = self.document, found
        self.touched_by = self.touches(found)
        if before is None:
            for follower in self.followers:
                follower.begin(self)
        elif changed := changes(before, found):
            self.n += 1
            frame = self._frame("delta", changed)
            self.deltas.append((self.n, frame))
            for follower in self.followers:
                follower.offer(self, frame)

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0].partition("?")[0]

    @property
    def word(self) -> str:
        """The name as it first stands in every frame."""
        return quoted(self.name)

    def snapshot(self) -> str:
        """The whole document, encoded once for all who need it."""
        if self._snapshot[0] != self.n:
            self._snapshot = (self.n, self._frame("snapshot", self.document or {}))
        return self._snapshot[1]

    def since(self, n: int) -> list[str] | None:
        """The deltas behind `n`, or None where they are not all there."""
        if n == self.n:
            return []
        if n > self.n or not self.deltas or n < self.deltas[0][0] - 1:
            return None
        return [frame for number, frame in self.deltas if number > n]

    def _frame(self, kind: str, data: Document) -> str:
        frame = {
            "type": kind, "topic": self.name, "n": self.n, "seq": self.seq, "ts": time_text(self.ts), "data": data
        }  # fmt: skip
        return ENCODER.encode(frame).decode()


def account_topic(name: str, account_id: str) -> Topic:
    def touches(document: Document) -> frozenset[str]:
        held = (row["contract"] for row in document["positions"])
        ordered = (row["contract"] for row in document["account"]["working_orders"])
        return frozenset({account_id, *held, *ordered})

    def compute(state: State, now: int) -> Work:
        yield
        return views.account_assessment(state, account_id, now)

    return Topic(name, compute, touches)


def portfolio_topic(name: str, accounts: Iterable[str]) -> Topic:
    own = sorted(accounts)

    def compute(state: State, now: int) -> Work:
        rows = [state.book.row[account_id] for account_id in own if account_id in state.book.row]
        items = yield from _summaries(state, rows, now)
        return {"items": items}

    return Topic(name, compute, lambda _: frozenset({*own, ANY_MARK}))


def desk_topic(name: str, scans: Scans) -> Topic:
    def compute(state: State, now: int) -> Work:
        yield
        return views.totals(state, now, scans)

    return Topic(name, compute, lambda _: frozenset({ANYTHING}))


def accounts_topic(name: str, wanted: Wanted, scans: Scans, roster: Roster) -> Topic:
    search = Search(wanted.search)

    def compute(state: State, now: int) -> Work:
        yield from search.extend(state.book)
        rows, matching = listing.select(state, wanted, search, scans, roster)
        items = yield from _summaries(state, rows, now)
        return {"as_of": time_text(now), "matching": matching, "items": items}

    return Topic(name, compute, lambda _: frozenset({ANYTHING}))


def stress_topic(name: str) -> Topic:
    """Every move of the same instant, a step each."""

    def compute(state: State, now: int) -> Work:
        frozen, text = freeze(state), state.policy.currency.text
        yield
        before = Before.of(frozen)
        rows: list[Document] = []
        for rate in STRESSES:
            yield
            after = outcome(frozen, before, Move(rate, ALL, tuple(frozen.contracts)))
            rows.append({
                "move": move_text(rate),
                "closed_out": after.closed_out,
                "would_owe": after.would_owe,
                "debts": text(after.debts),
                "new_debts": text(after.new_debts),
                "cash_needed": text(after.cash_needed),
            })  # fmt: skip
        return {"as_of": time_text(now), "moves": rows}

    return Topic(name, compute, lambda _: frozenset({ANYTHING}), STRESS_INTERVAL)


def _summaries(state: State, rows: Sequence[int], now: int) -> Generator[None, None, list[Document]]:
    """A line per account, each as of when it is worked out: what is applied at a pause is not missed, as it makes the
    topic dirty again."""
    line = views.liner(state, now)
    found: list[Document] = []
    for place in range(0, len(rows), STEP):
        yield
        found += map(line, rows[place : place + STEP])
    return found


def touched(item: Applied) -> set[str] | None:
    """The accounts and contracts that an input touched; None for everything."""
    command = item.input.command
    account_id: str | None = getattr(command, "account_id", None)
    names = set[str]()
    if account_id is not None:
        names = {account_id, account_id.partition("/")[0]}
    elif isinstance(command, Marks):
        names = {ANY_MARK, *(mark.contract for mark in command.marks)}
    elif isinstance(command, MarkSeries):
        names = {ANY_MARK, *command.contracts}
    elif not isinstance(command, Tick):
        return None
    for event in item.events:
        if isinstance(event, SettingChanged) and not event.account_id:
            return None
        names |= {event.account_id, event.account_id.partition("/")[0]}
    return names
