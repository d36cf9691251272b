"""What every source of market data looks like to the service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Observation:
    """A price heard from a source. Times are UTC nanoseconds; the exchange's own may be unknown.

    `price` is finite, above zero and exactly what the source wrote; None: the source says that it has no price.
    """

    feed: str
    market: str
    price: Decimal | None
    exchange_time: int | None
    received_at: int


@dataclass(slots=True)
class FeedStatus:
    """How a source is doing, for the desk: `connected` since the first message of a connection until its end. Counters
    run from the start of the process.

    `malformed` counts what could not be used, `out_of_order` what was older than what is known (or known already),
    `gaps` the times that the source was found to have dropped something. `unsubscribed` names the markets that it
    does not serve (now), and why; `last_fault` is the last trouble in words.
    """

    name: str
    connected: bool = False
    last_message_at: int | None = None
    messages: int = 0
    malformed: int = 0
    reconnects: int = 0
    out_of_order: int = 0
    gaps: int = 0
    unsubscribed: dict[str, str] = field(default_factory=dict[str, str])
    last_fault: str = ""


class Feed(Protocol):
    """A source of market data, by the name that receipts show."""

    name: str

    @property
    def status(self) -> FeedStatus: ...

    async def run(self, publish: Callable[[Observation], None]) -> None:
        """Listen for ever, reconnecting as needed, until cancelled.

        Faults of the outside world show in `status` and are never raised; what `publish` raises is.
        """
        ...
