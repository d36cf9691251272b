"""The boundary that all sources share: checks times and order, counts, and publishes what is good."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from closeout.adapters.feeds.port import FeedStatus, Observation
from closeout.adapters.feeds.prices import Malformed
from closeout.core.times import MINUTE

_EARLIEST = 946_684_800 * 10**9
"""The year 2000 in nanoseconds: an earlier time is another field, or another unit."""


class Intake:
    """One source's way in. `clock` gives UTC nanoseconds.

    Order: a market's exchange time never runs back, also over a reconnection; within one subscription its sequence
    number (or, without one, its exchange time) rises. The first message after subscribing may repeat what is known: it
    says that it still holds.
    """

    def __init__(self, name: str, markets: Iterable[str], clock: Callable[[], int]) -> None:
        self.status = FeedStatus(name)
        self.markets = tuple(dict.fromkeys(markets))
        self.published = 0
        self._clock = clock
        self._publish: Callable[[Observation], None] = lambda _: None
        self._time: dict[str, int] = {}
        self._sequence: dict[str, int | None] = {}

    def to(self, publish: Callable[[Observation], None]) -> None:
        self._publish = publish

    def begin(self) -> None:
        """A new connection; nothing is subscribed yet."""
        self.status.unsubscribed = dict.fromkeys(self.markets, "not acknowledged yet")
        self._sequence.clear()

    def disconnected(self, reason: str) -> None:
        self.status.connected = False
        self.status.reconnects += 1
        self.status.last_fault = reason

    def heard(self) -> None:
        """Any message arrived."""
        self.status.connected = True
        self.status.messages += 1
        self.status.last_message_at = self._clock()

    def malformed(self, reason: str) -> None:
        self.status.malformed += 1
        self.status.last_fault = reason

    def subscribed(self, market: str) -> None:
        self.status.unsubscribed.pop(market, None)

    def refused(self, market: str, reason: str) -> None:
        """The source does not serve one of our markets (any more): it has no price."""
        if market in self.markets:
            self.status.unsubscribed[market] = reason
            self._publish(Observation(self.status.name, market, None, None, self._clock()))
        self.status.last_fault = f"{market}: {reason}"

    def gap(self, market: str, reason: str) -> None:
        """The source dropped something in a market, which is subscribed anew."""
        self.status.gaps += 1
        self.status.last_fault = f"{market}: {reason}"
        self._sequence.pop(market, None)

    def offer(self, market: str, price: Decimal | None, time: int | None, sequence: int | None = None) -> None:
        """Publish a price, or drop it as out of order. `Malformed`: a market that nobody asked for, or a time that
        cannot be: one from the future would hold back all that follow."""
        if market not in self.markets:
            raise Malformed(f"{market!r} was not asked for")
        now = self._clock()
        if time is not None and not _EARLIEST <= time <= now + MINUTE:
            raise Malformed(f"{market}: the time {time} is out of bounds")
        if self._is_old(market, time, sequence):
            self.status.out_of_order += 1
            return
        if time is not None:
            self._time[market] = time
        self._sequence[market] = sequence
        self.published += 1
        self._publish(Observation(self.status.name, market, price, time, now))

    def _is_old(self, market: str, time: int | None, sequence: int | None) -> bool:
        known = self._time.get(market)
        if time is not None and known is not None and time < known:
            return True
        if market not in self._sequence:
            return False
        before = self._sequence[market]
        if sequence is not None and before is not None:
            return sequence <= before
        return time is not None and time == known
