"""Market files: recorded prices in, checked bars out.

A file is CSV (UTF-8, with a header) or Parquet, and holds one contract or several. Columns, in any order:

    time or open_time       ISO 8601 with a zone, or an integer epoch in s, ms, us or ns; one form per file
    contract                may be left out: then it is the file's name up to the first ``_`` or ``.``
    mark                    either one price a row ...
    open, high, low, close  ... or a bar

Other columns are ignored. Prices are exact decimals. Times of a contract rise from row to row; a contract may go on in
a further file. These windows come with the package and are loaded by name (see ``data/SOURCES.md``):

    name              contracts          UTC
    oct-10            BTCUSDT            2025-10-10 20:30 to 22:00
    oct-10-sol        SOLUSDT            2025-10-10 20:50 to 22:00
    oct-10-all        BTCUSDT, SOLUSDT   both of these
    march-12          BTCUSDT            2020-03-12 22:50 to 2020-03-13 02:44
    march-12-morning  BTCUSDT            2020-03-12 10:00 to 12:00
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from closeout.core.times import MINUTE
from closeout.core.units import InputError, decimal
from closeout.rulebooks import loader

_BTC_OCT_10 = "BTCUSDT_UMperp_1m_2025-10-10_2030-2200.csv"
_SOL_OCT_10 = "SOLUSDT_UMperp_1m_2025-10-10_2050-2200.csv"
WINDOWS: dict[str, tuple[str, ...]] = {
    "oct-10": (_BTC_OCT_10,),
    "oct-10-sol": (_SOL_OCT_10,),
    "oct-10-all": (_BTC_OCT_10, _SOL_OCT_10),
    "march-12": ("BTCUSDT_UMperp_1m_2020-03-12_2250_to_2020-03-13_0244.csv",),
    "march-12-morning": ("BTCUSDT_UMperp_1m_2020-03-12_1000-1200.csv",),
}
"""The shipped windows: name to packaged files."""

_BAR = ("open", "high", "low", "close")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_UNITS = (("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1))
_LATEST = 9_200_000_000
"""Seconds up to which a time in nanoseconds fits into 63 bits."""
_TIME_FORMS = "an ISO 8601 time with a zone, or an integer epoch in s, ms, us or ns"


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices from `time` (UTC nanoseconds) on. A single mark has four equal prices."""

    time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its name, SHA-256 and number of rows."""

    file: str
    sha256: str
    rows: int


@dataclass(slots=True)
class Market:
    """Bars by contract, ascending in time, and the files they came from."""

    contracts: dict[str, list[Bar]] = field(default_factory=dict[str, list[Bar]])
    sources: list[Source] = field(default_factory=list[Source])

    def bars(self) -> Iterator[tuple[int, dict[str, Bar]]]:
        """All bars by time, ascending; at each time the contracts that have a bar, in the files' order."""
        merged: dict[int, dict[str, Bar]] = {}
        for contract, bars in self.contracts.items():
            for bar in bars:
                merged.setdefault(bar.time, {})[contract] = bar
        for time in sorted(merged):
            yield time, merged[time]

    def price_at(self, contract: str, time: int | None) -> Decimal:
        """The price at hand then: the open of the bar that begins then, or the last close before; the first open for
        None, or before there is any."""
        bars = self.contracts[contract]
        place = 0 if time is None else bisect_right(bars, time, key=lambda bar: bar.time)
        if place == 0:
            return bars[0].open
        bar = bars[place - 1]
        return bar.open if bar.time == time else bar.close

    def interval(self) -> int:
        """The smallest distance between two bars of a contract in nanoseconds; a minute if there is only one bar."""
        steps = (b.time - a.time for bars in self.contracts.values() for a, b in pairwise(bars))
        return min(steps, default=MINUTE)


def load_market(paths_or_names: Iterable[str]) -> Market:
    """Read market files and shipped windows. `InputError` names the file, the line or row, the field and what was
    expected; nothing is returned then."""
    market = Market()
    for name in paths_or_names:
        if name in WINDOWS and not Path(name).is_file():
            for file in WINDOWS[name]:
                _add(market, file, _packaged(file))
        else:
            _add(market, name, _read(name))
    if not market.contracts:
        raise InputError("market: expected at least one file or shipped window")
    return market


def parse_time(text: str) -> tuple[int, str]:
    """UTC nanoseconds, and the form that the time was written in: iso, s, ms, us or ns (`ValueError` says what is
    wrong). The unit of an epoch is told by its magnitude, for times from 1973 to 2261."""
    if re.fullmatch(r"-?[0-9]{1,20}", text):
        for unit, scale in _EPOCH_UNITS:
            if 10**17 <= int(text) * scale < _LATEST * 10**9:
                return int(text) * scale, unit
        raise ValueError(f"{text!r} is no epoch between 1973 and 2261; expected {_TIME_FORMS}")
    found = re.fullmatch(r"([^.]+)(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?", text)
    try:
        moment = datetime.fromisoformat(found[1] + (found[3] or "")) if found else None
        seconds = (moment - _EPOCH) // timedelta(seconds=1) if moment and moment.tzinfo else 0
    except (ValueError, OverflowError):
        moment, seconds = None, 0
    if found is None or moment is None:
        raise ValueError(f"{text!r} is not a time; expected {_TIME_FORMS}")
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; expected {_TIME_FORMS}")
    if not 0 <= seconds < _LATEST:
        raise ValueError(f"{text!r} is out of bounds; expected a time from 1970 to 2261")
    return seconds * 10**9 + int((found[2] or "").ljust(9, "0")), "iso"


def bounded_decimal(number: Decimal, where: str) -> Decimal:
    """The number itself, or `InputError` where it has more digits than any price or quantity needs: a bound that
    keeps every later product exact."""
    if not number.is_finite():
        raise InputError(f"{where}: {number} is not a finite number")
    exponent = number.as_tuple().exponent
    if number and (number.adjusted() >= 15 or not isinstance(exponent, int) or exponent < -18):
        raise InputError(f"{where}: expected a number below 10^15 with at most 18 decimal places, not {number}")
    return number


# -- files --------------------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """A file as text: column names, numbered rows, and what a row is called in messages."""

    columns: list[str]
    rows: Iterator[tuple[int, list[str]]]
    unit: str


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(name, WINDOWS, n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"shipped windows: {', '.join(WINDOWS)}"
        if name.strip(",") in loader.names():
            known = "it is a rulebook; several are one word: --rulebook A,B"
        raise InputError(f"{name}: neither a file nor a shipped window; {known}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _packaged(file: str) -> bytes:
    """A shipped file whose checksum holds."""
    folder = resources.files("closeout") / "data"
    data = (folder / file).read_bytes()
    lines = (folder / "checksums.txt").read_text(encoding="ascii").splitlines()
    if f"{hashlib.sha256(data).hexdigest()}  {file}" not in lines:
        raise InputError(f"{file}: this shipped window was changed; its checksum does not hold")
    return data


def _add(market: Market, name: str, data: bytes) -> None:
    if not data:
        raise InputError(f"{name}: the file is empty")
    parquet = data.startswith(b"PAR1") or Path(name).suffix in (".parquet", ".pq")
    table = _parquet(name, data) if parquet else _csv(name, data)
    rows = _add_rows(market, name, table)
    if rows == 0:
        raise InputError(f"{name}: the file has a header but no rows")
    market.sources.append(Source(Path(name).name, hashlib.sha256(data).hexdigest(), rows))


def _csv(name: str, data: bytes) -> _Table:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: expected a CSV file in UTF-8, or a Parquet file") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise InputError(f"{name}: line {reader.line_num}: {error}") from None

    lines = rows()
    header = next(lines, None)
    return _Table([column.strip() for column in header[1]] if header else [], lines, "line")


def _parquet(name: str, data: bytes) -> _Table:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise InputError(f"{name}: Parquet needs pyarrow; install it with: pip install 'closeout[parquet]'") from None
    arrow: Any = pa  # pyarrow ships no types
    parquet: Any = pq
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        columns: list[str] = list(file.schema_arrow.names)
        wanted = [column for column in columns if column in ("time", "open_time", "contract", "mark", *_BAR)]
        table = file.read(columns=wanted)
        # Arrow writes a float as the shortest text that reads back the same, like repr; a time keeps its zone.
        texts: list[list[str | None]] = [table[column].cast(arrow.string()).to_pylist() for column in wanted]
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: not a Parquet file, damaged, or a column of an unknown type: {reason}") from None
    cells = zip(*texts, strict=True)
    return _Table(wanted or columns, ((i, [cell or "" for cell in row]) for i, row in enumerate(cells, 1)), "row")


# -- rows ---------------------------------------------------------------------------------------------------


class _Columns(NamedTuple):
    """Where the fields are: `contract` is None where the file's name tells it; `prices` is the mark or the bar."""

    time: int
    time_name: str
    contract: int | None
    prices: tuple[int, ...]
    names: tuple[str, ...]


def _columns(name: str, columns: list[str]) -> _Columns:
    found = ", ".join(columns) or "nothing"
    for column in ("time", "open_time", "contract", "mark", *_BAR):
        if columns.count(column) > 1:
            raise InputError(f"{name}: header: {column}: expected the column once")
    time_name = "time" if "time" in columns else "open_time"
    if time_name not in columns:
        raise InputError(f"{name}: header: expected a column time or open_time, found {found}")
    has_bar = all(column in columns for column in _BAR)
    if not has_bar and "mark" not in columns:
        raise InputError(f"{name}: header: expected a column mark, or open, high, low and close, found {found}")
    if has_bar and "mark" in columns:
        raise InputError(f"{name}: header: expected either mark, or open, high, low and close, not both")
    names = _BAR if has_bar else ("mark",)
    contract = columns.index("contract") if "contract" in columns else None
    return _Columns(columns.index(time_name), time_name, contract, tuple(columns.index(n) for n in names), names)


def _add_rows(market: Market, name: str, table: _Table) -> int:
    """Append the file's bars to the market; returns their number."""
    columns = _columns(name, table.columns)
    own_contract = re.split(r"[_.]", Path(name).name)[0]
    form, rows = "", 0
    for number, row in table.rows:
        where = f"{name}: {table.unit} {number}"
        if len(row) != len(table.columns):
            raise InputError(f"{where}: expected {len(table.columns)} fields, found {len(row)}")
        time, row_form = _time(row[columns.time].strip(), f"{where}: {columns.time_name}")
        if form and row_form != form:
            raise InputError(
                f"{where}: {columns.time_name}: expected the form of the rows above ({form}), not {row_form}"
            )
        contract = own_contract if columns.contract is None else row[columns.contract].strip()
        if not contract:
            raise InputError(f"{where}: contract: expected a name")
        bars = market.contracts.setdefault(contract, [])
        if bars and time <= bars[-1].time:
            raise InputError(
                f"{where}: {columns.time_name}: "
                f"{'a second row for this time' if time == bars[-1].time else 'earlier than the row above'}"
                f" in {contract}; expected times that rise"
            )
        bars.append(_bar(time, row, columns, where))
        form, rows = row_form, rows + 1
    return rows


def _time(text: str, where: str) -> tuple[int, str]:
    try:
        return parse_time(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def _bar(time: int, row: list[str], columns: _Columns, where: str) -> Bar:
    prices = [
        bounded_decimal(decimal(row[index].strip(), f"{where}: {column}"), f"{where}: {column}")
        for index, column in zip(columns.prices, columns.names, strict=True)
    ]
    if len(prices) == 1:
        mark = prices[0]
        return Bar(time, mark, mark, mark, mark)
    first, high, low, last = prices
    if high < max(first, last):
        raise InputError(f"{where}: high: expected at least open and close ({max(first, last)}), not {high}")
    if low > min(first, last):
        raise InputError(f"{where}: low: expected at most open and close ({min(first, last)}), not {low}")
    return Bar(time, first, high, low, last)
