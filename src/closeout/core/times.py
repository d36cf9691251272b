"""Nanoseconds since 1970, as text and of wall times. No clock is read here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(time_ns: int) -> str:
    """RFC 3339 in UTC: ``2025-10-10T21:13:00Z``, with a fraction only where there is one."""
    seconds, fraction = divmod(time_ns, SECOND)
    return f"{_second_text(seconds)}{f'.{fraction:09d}'.rstrip('0') if fraction else ''}Z"


@lru_cache(64)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def instant(day: date, wall: time, zone: ZoneInfo) -> int:
    """A wall time as UTC nanoseconds."""
    local = datetime.combine(day, wall, tzinfo=zone)
    return (local.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000


def wall_instants(text: str, zone: ZoneInfo, since: int, until: int) -> Iterator[tuple[int, date]]:
    """Every (since, until] at which it is ``HH:MM`` in a zone, with the local date."""
    day = datetime.fromtimestamp(since // SECOND, zone).date() - _DAY
    wall = time.fromisoformat(text)
    while (at := instant(day, wall, zone)) <= until:
        if at > since:
            yield at, day
        day += _DAY
