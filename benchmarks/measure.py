"""What all benchmarks share: the machine's line, percentiles, and a table for people."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def machine() -> str:
    """One line: processor, cores this process may use, memory, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB, "
    return (
        f"{_processor()}, {cores} cores, {memory}{platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {'.'.join(map(str, sys.version_info[:3]))}"
    )


def _processor() -> str:
    """The processor's model; Linux keeps it in a file, elsewhere `platform` knows it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown processor"


def percentiles(nanoseconds: Sequence[int]) -> dict[str, int]:
    """p50, p99, p99.9 and worst of at least one duration, each one that was measured (nearest rank)."""
    ordered = sorted(nanoseconds)

    def rank(per_mille: int) -> int:
        return ordered[max(0, -(-len(ordered) * per_mille // 1000) - 1)]

    return {"p50": rank(500), "p99": rank(990), "p99.9": rank(999), "worst": ordered[-1]}


def number(value: float) -> str:
    """About three digits, with thousands."""
    if abs(value) >= 10:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.2f}"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the same keys as aligned columns under their names; numbers to the right, with thousands."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(names, *cells, strict=True)]
    right = [isinstance(rows[0][name], int | float) for name in names]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if end else text.ljust(width)
            for text, width, end in zip(texts, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(names), line(["-" * width for width in widths]), *map(line, cells)])


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
