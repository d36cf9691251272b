"""Recorded funding rates for a replay: a file beside the prices, and what of it falls into a rulebook's intervals.

A file is CSV (UTF-8, with a header). Columns, in any order:

    time       when the rate was paid: ISO 8601 with a zone, or an integer epoch in s, ms, us or ns
    contract   a contract of the market
    rate       0.0001 is 0.01 %; longs pay where it is above zero
    hours      may be left out: the length of the interval that ended then

Without `hours` an interval is as long as the distance to the contract's row above, the first as long as the second. A
rate is taken to have accrued evenly through its interval: a rulebook whose intervals are shorter takes its part of it,
and the parts add up to the rate exactly; one whose intervals are longer takes the sum.
"""

from __future__ import annotations

import csv
import hashlib
import io
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from closeout.core.funding import part_of_rate
from closeout.core.times import HOUR, MINUTE, time_text
from closeout.core.units import RATE, InputError, decimal
from closeout.studies.documents import read_csv
from closeout.studies.market import Source, parse_time

LONGEST = 8
"""Hours: rows further apart are a gap, unless they say how long their intervals are."""


class Interval(NamedTuple):
    """A recorded rate in 1e-9 and the instants between which it accrued."""

    begin: int
    end: int
    rate: int


@dataclass(frozen=True, slots=True)
class FundingRates:
    """A file's intervals by contract, ascending in time."""

    source: Source
    contracts: dict[str, list[Interval]] = field(default_factory=dict[str, list[Interval]])

    def between(self, contract: str, since: int, until: int) -> int | None:
        """What accrued in (since, until], in 1e-9; None where none of it is recorded."""
        intervals = self.contracts.get(contract, [])
        total, found = 0, False
        for begin, end, rate in intervals[bisect_right(intervals, since, key=lambda one: one.end) :]:
            if begin >= until:
                break
            total += part_of_rate(rate, max(since, begin) - begin, min(until, end) - begin, end - begin)
            found = True
        return total if found else None


class _Row(NamedTuple):
    where: str
    time: int
    rate: int
    hours: int | None


def load_funding(path: Path) -> FundingRates:
    """Read and check a file; `InputError` names the file, the line and the field."""
    data, text = read_csv(path)
    found: dict[str, list[_Row]] = {}
    for contract, row in _rows(path, text):
        rows = found.setdefault(contract, [])
        if rows and row.time <= rows[-1].time:
            raise InputError(f"{row.where}: time: expected one after the row above's in {contract}")
        rows.append(row)
    if not found:
        raise InputError(f"{path}: expected at least one row")
    contracts = {name: list(_intervals(rows)) for name, rows in found.items()}
    count = sum(map(len, contracts.values()))
    return FundingRates(Source(path.name, hashlib.sha256(data).hexdigest(), count), contracts)


def _rows(path: Path, text: str) -> Iterator[tuple[str, _Row]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, list[str]())]
        for name in ("time", "contract", "rate"):
            if header.count(name) != 1:
                raise InputError(f"{path}: header: expected one column {name}, found {', '.join(header) or 'nothing'}")
        for cells in reader:
            if cells:
                where = f"{path}: line {reader.line_num}"
                if len(cells) != len(header):
                    raise InputError(f"{where}: expected {len(header)} fields, found {len(cells)}")
                yield _row(where, dict(zip(header, map(str.strip, cells), strict=True)))
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV: {error}") from None


def _row(where: str, cells: dict[str, str]) -> tuple[str, _Row]:
    """One line; the instant is the full minute nearest to it, the rate the 1e-9 nearest to it, ties to even."""
    if not cells["contract"]:
        raise InputError(f"{where}: contract: expected a name")
    try:
        time, _ = parse_time(cells["time"])
    except ValueError as error:
        raise InputError(f"{where}: time: {error}") from None
    rate = decimal(cells["rate"], f"{where}: rate")
    if abs(rate) > 1:
        raise InputError(f"{where}: rate: expected one from -1 to 1, got {rate}")
    hours = cells.get("hours")
    if hours is not None and (not hours.isdecimal() or not 1 <= int(hours) <= 24):
        raise InputError(f"{where}: hours: expected a whole number from 1 to 24, got {hours!r}")
    due = round(Fraction(time, MINUTE)) * MINUTE
    return cells["contract"], _Row(where, due, round(Fraction(rate) * RATE), None if hours is None else int(hours))


def _intervals(rows: list[_Row]) -> Iterator[Interval]:
    for index, row in enumerate(rows):
        if row.hours is not None:
            length = row.hours * HOUR
        elif len(rows) == 1:
            raise InputError(f"{row.where}: expected a second row of its contract, or a column hours")
        else:
            length = rows[max(index, 1)].time - rows[max(index, 1) - 1].time
            if length > LONGEST * HOUR:
                said = f"expected rows at most {LONGEST} hours apart, or a column hours"
                raise InputError(f"{row.where}: time: {said}; {time_text(row.time)} has {length // HOUR}")
        if index and row.time - length < rows[index - 1].time:
            raise InputError(f"{row.where}: hours: the interval begins before the one above it has ended")
        yield Interval(row.time - length, row.time, row.rate)
