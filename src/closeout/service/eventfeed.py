"""Events in the journal's order, out of the store: a page of them, and from there on all that come (G-09).

An event is an entry of one of the store's lists, named by its place ``SEQ.IDX``. What is new is read once for all who
listen; who is behind reads pages of his own until he has caught up. Nothing is told before the store has it, so that a
listener who comes back goes on exactly where he stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from closeout.engine.state import State
from closeout.service.api.documents import FOR_STAFF, KINDS, event
from closeout.service.store import Query, Store
from closeout.service.store.records import Entry

INTERVAL = 0.1
AGAIN = 1.0
"""Seconds until what failed is tried again."""
AT_ONCE = 1_000
BEHIND = 20_000
"""Events that may wait for one listener; then he is dropped."""
Place = tuple[int, int]
END = 10**9 - 1
"""Behind all events of one input."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event, encoded once for everybody."""

    place: Place
    kind: str
    account_id: str
    for_staff: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class Sight:
    """What a key may see: everything (`accounts` None), or what concerns a customer's accounts."""

    accounts: Collection[str] | None

    def __call__(self, told: Told) -> bool:
        if self.accounts is None:
            return True
        return not told.for_staff and told.account_id.partition("/")[0] in self.accounts


@dataclass(frozen=True, slots=True)
class Read:
    """A page of events. `until`: it leaves out what was told after that input, as the store may have half of it."""

    events: list[Told]
    more: bool
    until: int


def read(store: Store, state: State, after: Place, limit: int, sight: Sight) -> Read:
    """Up to `limit` events behind a place, and one more where two stand at the last one."""
    until = store.projected_seq
    found: list[tuple[Place, int, Entry]] = []
    cursor = f"{after[0]}.{after[1]}"
    for rank, kind in enumerate(KINDS):
        if sight.accounts is not None and kind in FOR_STAFF:
            continue
        for account_id in [None] if sight.accounts is None else sorted(sight.accounts):
            page = store.page(kind, Query(account_id, cursor=cursor, limit=limit + 1))
            entries: list[Any] = page.items
            found += (((entry.seq, entry.idx), rank, entry) for entry in entries if entry.seq <= until)
    found.sort(key=lambda item: item[:2])
    end = min(limit, len(found))
    if end < len(found) and found[end][0] == found[end - 1][0]:
        end += 1
    return Read([_told(state, place, entry) for place, _, entry in found[:end]], end < len(found), until)


def _told(state: State, place: Place, entry: Entry) -> Told:
    document = event(state, entry)
    return Told(
        place, document["type"], entry.account_id, isinstance(entry, FOR_STAFF), msgspec.json.encode(document)
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class Listener:
    """Somebody who is told of every event that he may see; `take` gives what has come since."""

    sight: Sight
    after: Place
    wake: Callable[[], None]
    waiting: deque[Told] = field(default_factory=deque[Told])
    dropped: bool = False

    def offer(self, events: Sequence[Told]) -> None:
        for told in events:
            if told.place > self.after and self.sight(told):
                self.waiting.append(told)
        if len(self.waiting) > BEHIND:
            self.drop()
        elif self.waiting:
            self.wake()

    def drop(self) -> None:
        self.dropped = True
        self.waiting.clear()
        self.wake()

    def take(self) -> list[Told]:
        found = list(self.waiting)
        self.waiting.clear()
        return found


class EventFeed:
    """What is new, to all listeners."""

    def __init__(self, store: Store, state: Callable[[], State], failed: Callable[[str, BaseException], None]) -> None:
        self._store, self._state, self._failed = store, state, failed
        self._listeners: set[Listener] = set()
        self._told: Place = (store.projected_seq, END)
        """Up to here the listeners have been told."""

    @property
    def position(self) -> int:
        """The last input that the store has."""
        return self._store.projected_seq

    async def page(self, after: Place, limit: int, sight: Sight) -> Read:
        return await asyncio.to_thread(read, self._store, self._state(), after, limit, sight)

    async def catch_up(self, listener: Listener) -> None:
        """Tell a listener what he has missed, and from there on what is new; he is dropped where that cannot be."""
        try:
            await self._catch_up(listener)
        except Exception as error:
            self._failed("events", error)
            listener.drop()

    async def _catch_up(self, listener: Listener) -> None:
        while True:
            found = await self.page(listener.after, AT_ONCE, listener.sight)
            listener.offer(found.events)
            if found.more:
                listener.after = found.events[-1].place
                while listener.waiting:  # he takes them as fast as he can
                    await asyncio.sleep(0.01)
                continue
            listener.after = max(listener.after, (found.until, END))
            if not self._listeners:
                self._told = max(self._told, (found.until, END))
            if self._told <= (found.until, END):
                self._listeners.add(listener)
                return

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    async def run(self) -> None:
        """Tell what is new, for ever. A store that cannot be read for a moment is read again."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self._tell()
            except Exception as error:
                self._failed("events", error)
                await asyncio.sleep(AGAIN)

    async def _tell(self) -> None:
        while self._listeners and (self._store.projected_seq, END) > self._told:
            found = await self.page(self._told, AT_ONCE, Sight(None))
            for listener in tuple(self._listeners):
                listener.offer(found.events)
            self._told = found.events[-1].place if found.more else (found.until, END)
