"""Time, what else the machine was doing meanwhile, and memory."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.measure import percentiles

STAT = Path("/proc/stat")
STATUS = Path("/proc/self/status")
PEAK_RESET = Path("/proc/self/clear_refs")


def say(text: str) -> None:
    """Progress, for people."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Load:
    """How much of the machine's cores others used while this was measured; None where the system does not say."""

    def __enter__(self) -> "Load":
        self.begun, self.busy, self.own = time.perf_counter(), _busy(), _own()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds, busy = time.perf_counter() - self.begun, _busy()
        self.others = None
        if busy is not None and self.busy is not None and seconds > 0:
            self.others = round(max(0.0, (busy - self.busy) - (_own() - self.own)) / seconds, 2)


def _busy() -> float | None:
    """Seconds that all cores together have worked since the start."""
    try:
        fields = [int(number) for number in STAT.read_text().split("\n", 1)[0].split()[1:]]
    except (OSError, ValueError):
        return None
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    spent = os.times()
    return spent.user + spent.system


class Memory:
    """Bytes that the process held at most beyond what it held at the start of the block."""

    def __enter__(self) -> "Memory":
        with suppress(OSError):  # without it the peak is that of the whole process, which is no less
            PEAK_RESET.write_text("5")
        self.before = _status("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.peak = _status("VmHWM")
        self.grown = max(0, self.peak - self.before)


def _status(name: str) -> int:
    """Bytes; 0 where the system does not say."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def timed(act: Callable[[], Any]) -> tuple[int, Any]:
    """Nanoseconds that the call took, and what it returned."""
    begun = time.perf_counter_ns()
    found = act()
    return time.perf_counter_ns() - begun, found


def spread(nanoseconds: list[int]) -> dict[str, float]:
    """Mean, p50, p99, p99.9 and worst in microseconds."""
    shown = {"mean": sum(nanoseconds) / len(nanoseconds), **percentiles(nanoseconds)}
    return {f"{name} us": value / 1000 for name, value in shown.items()}
