"""Nanoseconds since 1970 as text. No clock is read here."""

from __future__ import annotations

from datetime import UTC, datetime

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def time_text(time_ns: int) -> str:
    """RFC 3339 in UTC: ``2025-10-10T21:13:00Z``, with a fraction only where there is one."""
    seconds, fraction = divmod(time_ns, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}{f'.{fraction:09d}'.rstrip('0') if fraction else ''}Z"
