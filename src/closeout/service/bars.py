"""The marks of the last day by the minute, kept in memory for charts: what the engine took since the process began.

A restart begins anew, and a minute without a mark has no bar. The journal has every mark for longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from closeout.core.times import MINUTE
from closeout.service.applied import Batch, marks_taken

KEPT = 1440


@dataclass(slots=True)
class Bar:
    """One minute of a contract's marks, in ticks; `time` is the minute's begin (UTC nanoseconds)."""

    time: int
    open: int
    high: int
    low: int
    close: int


class Bars:
    """Bars by contract, oldest first."""

    def __init__(self) -> None:
        self._bars: dict[str, deque[Bar]] = {}

    def take(self, batch: Batch) -> None:
        """Add the marks of a batch of the writer's."""
        for time, contract, ticks in marks_taken(batch):
            if ticks is None:
                continue
            bars = self._bars.setdefault(contract, deque(maxlen=KEPT))
            minute = time - time % MINUTE
            if not bars or bars[-1].time != minute:
                bars.append(Bar(minute, ticks, ticks, ticks, ticks))
                continue
            last = bars[-1]
            last.high, last.low, last.close = max(last.high, ticks), min(last.low, ticks), ticks

    def newest(self, contract: str, limit: int) -> Sequence[Bar]:
        """The newest `limit` bars of a contract."""
        return list(self._bars.get(contract, ()))[-limit:]
