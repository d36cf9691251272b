"""Where the service's time comes from: the wall, or a recorded market that is played at some speed.

Nothing else in the service reads a clock; engine and journal see time only as part of an input (G-03).
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from closeout.core.times import SECOND


class Clock(Protocol):
    """UTC nanoseconds, `speed` times as fast as the wall."""

    speed: float

    def now(self) -> int: ...

    async def sleep(self, nanoseconds: int) -> None:
        """Wait that much of this clock's time."""
        ...


class SystemClock:
    """The wall clock, but it never stands or runs back: set back, it goes on at half speed until the wall has caught
    up. A clock that stood still would let no mark grow stale."""

    speed = 1.0

    def __init__(self) -> None:
        self._now, self._counted = time.time_ns(), time.monotonic_ns()

    def now(self) -> int:
        counted = time.monotonic_ns()
        self._now = max(time.time_ns(), self._now + (counted - self._counted) // 2)
        self._counted = counted
        return self._now

    async def sleep(self, nanoseconds: int) -> None:
        await asyncio.sleep(max(0, nanoseconds) / SECOND)


class RecordedClock:
    """A clock that starts at a recorded instant and runs `speed` times as fast as the wall, once `begin` was called."""

    def __init__(self, start: int, speed: float) -> None:
        self.start, self.speed = start, speed
        self._begun: int | None = None

    def begin(self) -> None:
        self._begun = time.monotonic_ns()

    def now(self) -> int:
        if self._begun is None:
            return self.start
        return self.start + int((time.monotonic_ns() - self._begun) * self.speed)

    async def sleep(self, nanoseconds: int) -> None:
        await asyncio.sleep(max(0, nanoseconds) / SECOND / self.speed)
