"""Which source marks a contract now: failover in order, staleness, and a guard against jumps (rule G-06).

No clock is read: observations carry when they were received, `select` and `grades` are told the time. All comparisons
are of whole ticks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from closeout.adapters.feeds.port import Observation
from closeout.adapters.feeds.prices import is_price
from closeout.core.contracts import Contract
from closeout.core.times import SECOND
from closeout.core.units import RATE, InputError

HOLD = 5 * SECOND
"""How long a source must have been good before it takes a contract back from one behind it."""
_RENEWALS = 3
"""An unchanged mark is offered again after this part of `stale_after_ns`, if it was heard again: it is not stale."""


class Grade(StrEnum):
    MISSING = "missing"
    STALE = "stale"
    JUMP = "jump"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Route:
    """How a contract is marked: by `sources` (feed, market), best first.

    A price older than `stale_after_ns` is stale. One that moves by more than `jump` (1e-9 of the source's last good
    price; None: no guard) is a jump until confirmed.
    """

    contract: Contract
    sources: tuple[tuple[str, str], ...]
    stale_after_ns: int
    jump: int | None = None


@dataclass(frozen=True, slots=True)
class GradedMark:
    """A source of a contract as the desk sees it. `age_ns` is None before anything was heard."""

    contract: str
    feed: str
    market: str
    price: Decimal | None
    age_ns: int | None
    grade: Grade
    selected: bool


@dataclass(slots=True)
class _Source:
    """What one source last said for one contract. `good` is its last price that was no jump, `ok_since` the instant
    from which it has been good without a break (while it is)."""

    feed: str
    market: str
    price: Decimal | None = None
    ticks: int | None = None
    exchange_time: int | None = None
    received_at: int | None = None
    good: int | None = None
    jumps: bool = False
    ok_since: int | None = None

    def age(self, now: int) -> int | None:
        return None if self.received_at is None else max(now - self.received_at, 0)

    def grade(self, now: int, stale_after: int) -> Grade:
        age = self.age(now)
        if self.ticks is None or age is None:
            return Grade.MISSING
        if age > stale_after:
            return Grade.STALE
        return Grade.JUMP if self.jumps else Grade.OK


@dataclass(slots=True)
class _Marked:
    """A contract: its sources, the one selected, and what was offered last."""

    route: Route
    sources: list[_Source]
    selected: int | None = None
    offered: int | None = None
    offered_at: int = 0
    offered_received_at: int | None = None


class MarkSelector:
    """Takes observations in, gives the marks to offer to the engine. Same calls, same answers."""

    def __init__(self, routes: Mapping[str, Route], hold_ns: int = HOLD) -> None:
        self._hold = hold_ns
        self._marked = {
            name: _Marked(route, [_Source(feed, market) for feed, market in route.sources])
            for name, route in routes.items()
        }
        self._heard: dict[tuple[str, str], list[tuple[_Marked, _Source]]] = {}
        for marked in self._marked.values():
            for source in marked.sources:
                self._heard.setdefault((source.feed, source.market), []).append((marked, source))

    def observe(self, observation: Observation) -> None:
        """Take in what a feed heard. A market that marks nothing is ignored."""
        for marked, source in self._heard.get((observation.feed, observation.market), ()):
            _observe(marked, source, observation)

    def select(self, now: int) -> dict[str, dict[str, int | None]]:
        """The marks to offer at `now`, in ticks, by feed and contract: those that changed, come from another source
        than before, or renew one that would grow stale. None, once, when every source of a contract is gone."""
        offers: dict[str, dict[str, int | None]] = {}
        for name, marked in self._marked.items():
            chosen = self._choose(marked, now)
            if chosen is None:
                if marked.selected is not None:
                    offers.setdefault(marked.sources[marked.selected].feed, {})[name] = None
                marked.selected = None
                continue
            source = marked.sources[chosen]
            if chosen != marked.selected or source.ticks != marked.offered or _needs_renewal(marked, source, now):
                offers.setdefault(source.feed, {})[name] = source.ticks
                marked.offered, marked.offered_at = source.ticks, now
                marked.offered_received_at = source.received_at
            marked.selected = chosen
        return offers

    def grades(self, now: int) -> list[GradedMark]:
        """Every source of every contract in order, for display; `selected` is as of the last `select`."""
        return [
            GradedMark(
                name, source.feed, source.market, source.price, source.age(now),
                source.grade(now, marked.route.stale_after_ns), index == marked.selected,
            )
            for name, marked in self._marked.items()
            for index, source in enumerate(marked.sources)
        ]  # fmt: skip

    def _choose(self, marked: _Marked, now: int) -> int | None:
        """The first good source, but a better one than the one in use only once it has held; with none good, one that
        jumps (the engine has a guard of its own), the one in use before others."""
        grades = [source.grade(now, marked.route.stale_after_ns) for source in marked.sources]
        good = [index for index, grade in enumerate(grades) if grade is Grade.OK]
        current = marked.selected
        if current in good:
            return next(i for i in good if i == current or self._held(marked.sources[i], now))
        if good:
            return good[0]
        jumping = [index for index, grade in enumerate(grades) if grade is Grade.JUMP]
        return current if current in jumping else next(iter(jumping), None)

    def _held(self, source: _Source, now: int) -> bool:
        return source.ok_since is not None and now - source.ok_since >= self._hold


def _needs_renewal(marked: _Marked, source: _Source, now: int) -> bool:
    heard_again = source.received_at != marked.offered_received_at
    return heard_again and (now - marked.offered_at) * _RENEWALS >= marked.route.stale_after_ns


def _observe(marked: _Marked, source: _Source, observation: Observation) -> None:
    now, route = observation.received_at, marked.route
    was_good = source.grade(now, route.stale_after_ns) is Grade.OK
    repeats = source.exchange_time is not None and source.exchange_time == observation.exchange_time
    before = source.ticks
    source.price, source.received_at = observation.price, now
    source.exchange_time = observation.exchange_time
    source.ticks = _usable_ticks(route.contract, observation.price)
    if source.ticks is not None:
        own = source.jumps and before is not None and not repeats and _near(source.ticks, before, route.jump)
        source.jumps = not (source.good is None or own or _near(source.ticks, source.good, route.jump))
        if not source.jumps:
            source.good = source.ticks
            source.ok_since = source.ok_since if was_good else now
    _confirm(marked, now)


def _confirm(marked: _Marked, now: int) -> None:
    """A jump that another fresh source is near to is none."""
    route = marked.route
    fresh = [s for s in marked.sources if s.grade(now, route.stale_after_ns) in (Grade.OK, Grade.JUMP)]
    confirmed = [
        source
        for source in fresh
        if source.jumps and any(other is not source and _agree(source, other, route.jump) for other in fresh)
    ]
    for source in confirmed:
        source.jumps, source.good, source.ok_since = False, source.ticks, now


def _agree(source: _Source, other: _Source, jump: int | None) -> bool:
    return source.ticks is not None and other.ticks is not None and _near(source.ticks, other.ticks, jump)


def _near(ticks: int, known: int, jump: int | None) -> bool:
    """Whether a price is within the guard around a known one: the engine's own measure."""
    return jump is None or abs(ticks - known) * RATE <= jump * abs(known)


def _usable_ticks(contract: Contract, price: Decimal | None) -> int | None:
    """The nearest tick; None for a price that cannot be this contract's."""
    if price is None or not is_price(price):
        return None
    try:
        ticks = contract.nearest_ticks(price)
    except InputError:
        return None
    return ticks if ticks > 0 or contract.negative_prices else None
