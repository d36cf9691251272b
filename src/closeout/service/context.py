"""What the API and the streams are given: the running parts, made by whoever starts the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from closeout.rulebooks.loader import Rulebook
from closeout.service.about import About
from closeout.service.bars import Bars
from closeout.service.eventfeed import EventFeed
from closeout.service.listing import Roster, Scans
from closeout.service.store import Store
from closeout.service.time import Clock
from closeout.service.writer import Writer


class ApiKey(Protocol):
    """Whose key it is. `name` is the person's (or the system's): the `by` of every act."""

    @property
    def key_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def accounts(self) -> Collection[str]:
        """A customer's accounts; empty for everybody else."""
        ...


class Allowance(Protocol):
    """What a key has left: `reset` is in seconds."""

    @property
    def allowed(self) -> bool: ...

    @property
    def limit(self) -> int: ...

    @property
    def remaining(self) -> int: ...

    @property
    def reset(self) -> int: ...


class Access(Protocol):
    """Who may call, and how often."""

    def check(self, token: str) -> ApiKey | None:
        """Whose key it is; None for a key that nobody has."""
        ...

    def spend(self, key: ApiKey) -> Allowance:
        """Count one request."""
        ...


class Reports(Protocol):
    """Reports by name and day (US-22)."""

    def available(self) -> Sequence[Mapping[str, Any]]:
        """For each its name and title, and the dates that there are."""
        ...

    def render(self, name: str, day: date, form: str) -> tuple[str, bytes] | None:
        """Content type and bytes of a report as `form` csv or html; None where there is none."""
        ...


class NoReports:
    """Stands in where no reports are made."""

    def available(self) -> Sequence[Mapping[str, Any]]:
        return ()

    def render(self, name: str, day: date, form: str) -> tuple[str, bytes] | None:
        return None


class Seats:
    """How many streams each key has open."""

    def __init__(self, each: int) -> None:
        self.each = each
        self._taken: dict[str, int] = {}

    def take(self, key_id: str) -> Callable[[], None] | None:
        """A place for one stream; what gives it back, or None where all are taken."""
        taken = self._taken.get(key_id, 0)
        if taken >= self.each:
            return None
        self._taken[key_id] = taken + 1

        def give_back() -> None:
            self._taken[key_id] -= 1

        return give_back

    @property
    def open(self) -> int:
        return sum(self._taken.values())


@dataclass(slots=True, eq=False)
class Context:
    """`ready` says what each part of the service lacks to be ready, "" where nothing; `feeds` one row per feed;
    `metrics` the Prometheus text; `published` the journal's digest as of its last checkpoint."""

    writer: Writer
    store: Store
    access: Access
    clock: Clock
    rulebook: Rulebook
    ready: Callable[[], Mapping[str, str]] = lambda: {}
    feeds: Callable[[], Sequence[Mapping[str, Any]]] = lambda: ()
    metrics: Callable[[], bytes] = lambda: b""
    published: Callable[[], str] = lambda: ""
    answered: Callable[[str, str, int, float], None] = lambda operation, role, status, seconds: None
    """Told of each answer of the API."""
    closed: Callable[[str], None] = lambda reason: None
    """Told why, whenever the service closes a stream."""
    failed: Callable[[str, BaseException], None] = lambda where, error: None
    """Told of each error that is the service's own."""
    reports: Reports = field(default_factory=NoReports)
    about: About = field(default_factory=About)
    streams_per_key: int = 20
    seats: Seats = field(init=False)
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One decision about a proposal at a time."""
    drawing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One account's curves at a time: they take the processor from order checks."""
    events: EventFeed = field(init=False)
    roster: Roster = field(default_factory=Roster)
    scans: Scans = field(default_factory=Scans)
    bars: Bars = field(default_factory=Bars)

    def __post_init__(self) -> None:
        self.seats = Seats(self.streams_per_key)
        self.writer.subscribers.append(self.bars.take)
        self.events = EventFeed(
            self.store, lambda: self.writer.engine.loaded, lambda where, error: self.failed(where, error)
        )
