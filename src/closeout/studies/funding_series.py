"""A file of funding rates, as collectors write them: ``Symbol,Date,Funding Rate``, one line a payment.

The stamps say no time zone. What zone they are in is stated by the caller or known of the collector, and checked as far
as it can be: payments that do not fall on whole intervals of the UTC day are told.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from closeout.core.times import MILLISECOND, MINUTE
from closeout.core.units import RATE, InputError, decimal
from closeout.studies.documents import read_csv

HEADER = ("Symbol", "Date", "Funding Rate")
KNOWN = {"binance": "+03:00", "bybit": "+03:00", "dydx": "UTC"}
"""The zones of supervik/historical-funding-rates-fetcher, by the venue in a file's name: the collector's own clock on
Binance and Bybit, whose payments at 00, 08 and 16 UTC it stamps 03, 11 and 19; UTC on dYdX."""
DAY = 24 * 60 * MINUTE
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?")
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Payment:
    """One line: the instant as stamped, the full minute that it belongs to (UTC nanoseconds), and the rate in 1e-9
    before and after it is rounded to the nearest, ties to even."""

    line: int
    time: int
    due: int
    exact: Fraction
    rate: int


@dataclass(frozen=True, slots=True)
class Series:
    """A series without its repetitions. `interval` is the commonest distance, `gaps` are (the payment before, payments
    missing), `repeated` the lines that say an instant again, `closer` counts distances shorter than the interval."""

    file: str
    sha256: str
    symbol: str
    zone: str
    zone_known: str
    payments: tuple[Payment, ...]
    repeated: tuple[int, ...]
    interval: int
    gaps: tuple[tuple[Payment, int], ...]
    closer: int

    @property
    def late(self) -> int:
        """The largest distance of a stamp from its full minute, in milliseconds."""
        return max(abs(one.time - one.due) for one in self.payments) // MILLISECOND

    @property
    def off_grid(self) -> int:
        """Payments that do not fall on whole intervals since midnight UTC."""
        return sum(one.due % self.interval != 0 for one in self.payments)

    @property
    def rounded(self) -> int:
        """Rates finer than the engine's unit of 1e-9."""
        return sum(one.exact != one.rate for one in self.payments)


def read_series(path: Path, zone: str | None = None) -> Series:
    """Read and check a file; `InputError` names the file, the line and the field. `zone` is that of the stamps: ``UTC``
    or an offset such as ``+03:00``; without one the file's name must say a venue of `KNOWN`."""
    stated, known = _zone(path, zone)
    data, text = read_csv(path)
    symbol, rows = "", list[Payment]()
    repeated: list[int] = []
    for line, (name, stamp, rate) in _rows(path, text):
        where = f"{path}: line {line}"
        symbol = symbol or name
        if not name or name != symbol:
            raise InputError(f"{where}: Symbol: expected {symbol or 'a symbol'} as on the first line, got {name!r}")
        one = _payment(where, line, stamp, rate, offset(stated))
        if rows and one.due < rows[-1].due:
            raise InputError(f"{where}: Date: expected a time after the line before's, got {stamp}")
        if rows and one.due == rows[-1].due:
            if one.exact != rows[-1].exact:
                raise InputError(f"{where}: Funding Rate: {rate} contradicts line {rows[-1].line} for the same time")
            repeated.append(line)
        else:
            rows.append(one)
    if len(rows) < 2:
        raise InputError(f"{path}: expected at least two payments, got {len(rows)}")
    return _series(path, data, symbol, (stated, known), rows, repeated)


def _series(
    path: Path, data: bytes, symbol: str, zone: tuple[str, str], rows: list[Payment], repeated: list[int]
) -> Series:
    distances = Counter(after.due - before.due for before, after in pairwise(rows))
    interval = min(distances, key=lambda distance: (-distances[distance], distance))
    gaps = [
        (before, -(-(after.due - before.due) // interval) - 1)
        for before, after in pairwise(rows)
        if after.due - before.due > interval
    ]
    closer = sum(number for distance, number in distances.items() if distance < interval)
    return Series(
        path.name, hashlib.sha256(data).hexdigest(), symbol, *zone, tuple(rows), tuple(repeated), interval,
        tuple(gaps), closer,
    )  # fmt: skip


def _rows(path: Path, text: str) -> Iterator[tuple[int, tuple[str, str, str]]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = tuple(next(reader, ()))
        if header != HEADER:
            raise InputError(f"{path}: line 1: expected the header {','.join(HEADER)}, got {','.join(header)[:80]!r}")
        for row in reader:
            if len(row) != len(HEADER):
                fields = f"{len(HEADER)} fields, {', '.join(HEADER)}"
                raise InputError(f"{path}: line {reader.line_num}: expected {fields}; got {len(row)}")
            yield reader.line_num, (row[0], row[1], row[2])
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV: {error}") from None


def _payment(where: str, line: int, stamp: str, rate: str, ahead: timedelta) -> Payment:
    if not _STAMP.fullmatch(stamp):
        raise InputError(f"{where}: Date: expected YYYY-MM-DD HH:MM:SS, got {stamp!r}")
    try:
        moment = datetime.fromisoformat(stamp).replace(tzinfo=UTC) - ahead
    except (ValueError, OverflowError):
        raise InputError(f"{where}: Date: there is no such time: {stamp!r}") from None
    time = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    if not 0 <= time < 2**62:
        raise InputError(f"{where}: Date: expected a time from 1970 to 2100, got {stamp}")
    exact = Fraction(decimal(rate, f"{where}: Funding Rate")) * RATE
    if abs(exact) > RATE:
        raise InputError(f"{where}: Funding Rate: expected a rate from -1 to 1, got {rate}")
    return Payment(line, time, round(Fraction(time, MINUTE)) * MINUTE, exact, round(exact))


def _zone(path: Path, zone: str | None) -> tuple[str, str]:
    """The zone, and why it is that one."""
    if zone is not None:
        offset(zone)
        return zone, "as given by --stamps"
    venues = [venue for venue in KNOWN if re.search(rf"(^|[^a-z]){venue}([^a-z]|$)", path.name.lower())]
    if len(venues) != 1:
        raise InputError(
            f"{path}: --stamps: expected the zone of the file's times, UTC or an offset such as +03:00; "
            f"it is known only where the file's name says {', '.join(KNOWN)}"
        )
    return KNOWN[venues[0]], f"known of this collector's {venues[0]} files"


def offset(zone: str) -> timedelta:
    """How far a zone is ahead of UTC."""
    if zone == "UTC":
        return timedelta()
    found = _ZONE.fullmatch(zone)
    if found is None or int(found[2]) > 14 or int(found[3]) > 59:
        raise InputError(f"--stamps: expected UTC or an offset such as +03:00, got {zone!r}")
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return ahead if found[1] == "+" else -ahead
