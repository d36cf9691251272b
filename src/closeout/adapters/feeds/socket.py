"""The websocket loop that the venues' feeds share: connect, subscribe, listen, and again after every fault."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, WebSocketException

from closeout.adapters.feeds.intake import Intake
from closeout.adapters.feeds.port import FeedStatus, Observation
from closeout.adapters.feeds.prices import UNUSABLE
from closeout.core.units import InputError

MAX_MESSAGE = 2**20
"""Bytes; a ticker has a few hundred."""
FIRST_PAUSE, LONGEST_PAUSE = 1, 60
"""Seconds before the first new attempt, doubled up to the longest while nothing useful is heard."""
_MESSAGE_TOO_BIG = 1009
_CLOSING_SECONDS = 2

Sleep = Callable[[float], Awaitable[None]]


def pause(attempts: int) -> int:
    """Seconds to wait before connecting again after `attempts` that brought nothing."""
    return min(FIRST_PAUSE << min(attempts, 16), LONGEST_PAUSE)


class SocketFeed(ABC):
    """A `Feed` over one websocket. `idle_seconds` without any message count as a dead connection.

    The library answers pings and sends its own, so that a dead peer is also noticed below the messages.
    """

    def __init__(
        self,
        name: str,
        url: str,
        markets: Iterable[str],
        *,
        idle_seconds: float = 30,
        clock: Callable[[], int] = time.time_ns,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise InputError(f"feed {name}: url: expected ws:// or wss://, not {url!r}")
        self.name = name
        self.url = url
        self.intake = Intake(name, markets, clock)
        self._idle_seconds = idle_seconds
        self._sleep = sleep

    @property
    def status(self) -> FeedStatus:
        return self.intake.status

    @abstractmethod
    def opening(self) -> list[str]:
        """What to send once connected."""

    @abstractmethod
    def hear(self, message: bytes) -> list[str]:
        """Take one message in; returns what to send back. What is `UNUSABLE` is counted."""

    async def run(self, publish: Callable[[Observation], None]) -> None:
        """See `Feed.run`."""
        self.intake.to(publish)
        attempts = 0
        while True:
            published = self.intake.published
            try:
                await self._converse()
            except (OSError, EOFError, WebSocketException) as fault:
                if isinstance(fault, ConnectionClosedError) and fault.sent and fault.sent.code == _MESSAGE_TOO_BIG:
                    self.intake.malformed("a message was too big")
                self.intake.disconnected(str(fault) or f"nothing heard for {self._idle_seconds} seconds")
            attempts = 0 if self.intake.published > published else attempts + 1
            await self._sleep(pause(attempts))

    async def _converse(self) -> None:
        """One connection, from its opening to the fault that ends it."""
        async with connect(self.url, max_size=MAX_MESSAGE, close_timeout=_CLOSING_SECONDS) as connection:
            self.intake.begin()
            for message in self.opening():
                await connection.send(message)
            while True:
                async with asyncio.timeout(self._idle_seconds):
                    heard = await connection.recv(decode=False)
                for answer in self._take(heard):
                    await connection.send(answer)

    def _take(self, message: bytes) -> list[str]:
        self.intake.heard()
        try:
            return self.hear(message)
        except UNUSABLE as fault:
            self.intake.malformed(str(fault))
            return []


def text(message: object) -> str:
    """A message as JSON text."""
    return msgspec.json.encode(message).decode()
