"""One engine, its journal and what comes out of it: the driver's side of `apply(input) -> events`.

Inputs are journaled as one frame, then applied; only then does anything that they caused go out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from closeout.engine.commands import Command, Input, LoadRulebook
from closeout.engine.engine import Engine
from closeout.engine.events import (
    Alarm,
    AnyEvent,
    CloseOutEnded,
    CloseOutOrder,
    DeficitBooked,
    DeficitCovered,
    Deleveraged,
    Posted,
    Rejected,
    Socialised,
)
from closeout.engine.state import State
from closeout.journal.journal import Journal
from closeout.rulebooks.loader import Rulebook


class Recorder:
    """An engine under `rulebook` with a journal at `path`, which must not exist yet.

    `postings`, `receipts`, `borne` (who bore deficits, and what it took from winners) and `alarms` collect what the
    inputs caused; `take_orders` hands the close-out orders over.
    """

    def __init__(self, path: Path, rulebook: Rulebook, time: int) -> None:
        self.engine = Engine()
        self.journal = Journal.create(path, engine_version=Engine.version, rulebook_digest=rulebook.digest)
        self.begun = time
        self.seq = 0
        self.numbers: Counter[str] = Counter()
        self.postings: list[tuple[int, int, Posted]] = []
        self.receipts: list[dict[str, Any]] = []
        self.borne: list[tuple[int, DeficitBooked | DeficitCovered | Deleveraged | Socialised]] = []
        self.alarms: Counter[str] = Counter()
        self.events = 0
        self._orders: list[CloseOutOrder] = []
        self.offer("replay", time, [LoadRulebook(rulebook.document())])

    @property
    def state(self) -> State:
        return self.engine.loaded

    def offer(self, source: str, time: int, commands: Iterable[Command]) -> list[AnyEvent]:
        """Journal commands of one source as one frame, apply them, and sort what comes out. Nothing for no commands.

        A `Rejected` event is a fault of the driver's own data and is returned among the others.
        """
        inputs: list[Input] = []
        for command in commands:
            self.numbers[source] += 1
            inputs.append(Input(source, self.numbers[source], time, command))  # pyright: ignore[reportArgumentType]
        if not inputs:
            return []
        self.journal.append(inputs)
        everything: list[AnyEvent] = []
        for given in inputs:
            events = self.engine.apply(given)
            self.seq += 1
            self.journal.record(self.seq, events)
            self._collect(time, events)
            everything += events
        return everything

    def _collect(self, time: int, events: list[AnyEvent]) -> None:
        self.events += len(events)
        for event in events:
            if isinstance(event, Posted):
                self.postings.append((self.seq, time, event))
            elif isinstance(event, CloseOutOrder):
                self._orders.append(event)
            elif isinstance(event, CloseOutEnded):
                self.receipts.append(event.receipt)
            elif isinstance(event, DeficitBooked | DeficitCovered | Deleveraged | Socialised):
                self.borne.append((self.seq, event))
            elif isinstance(event, Alarm):
                self.alarms[event.code] += 1
            elif isinstance(event, Rejected):
                self.alarms[f"rejected: {event.code}"] += 1

    def take_orders(self) -> list[CloseOutOrder]:
        """The close-out orders that are due to go out; each is handed over once."""
        orders, self._orders = self._orders, []
        return orders

    def finish(self) -> str:
        """Checkpoint, close the journal, and return the digest to publish."""
        self.journal.checkpoint(self.seq, self.engine)
        published = self.journal.published()
        self.journal.close()
        return published
