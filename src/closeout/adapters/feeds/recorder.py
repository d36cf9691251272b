"""What the feeds heard, as market files that ``closeout replay`` plays."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from io import FileIO
from pathlib import Path
from urllib.parse import quote

from closeout.adapters.feeds.port import Observation
from closeout.adapters.feeds.selector import Route
from closeout.core.times import time_text

HEADER = ("time", "contract", "mark", "feed", "market")
_PLACES = Decimal("1E-18")  # the finest that a market file may hold
_TAIL = 4096
"""Bytes that hold a whole row."""
_ROUND = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(slots=True)
class _Open:
    day: str
    file: FileIO
    last: str


class Recorder:
    """Writes every observation that can mark a contract, as it comes, into ``CONTRACT_FEED_MARKET_DAY.csv`` (UTC day
    received; names percent-encoded): one source a file, for a replay on a mix of two is a replay of neither.

    Where the source says that it has no price, the row goes to ``lost_DAY.csv``: a market file holds only prices.
    Recording never stands in the way of the marks: a row that cannot be written is counted in `failed`, with the reason
    in `last_fault`, and the file is opened anew for the next one.
    """

    def __init__(self, folder: Path, routes: Mapping[str, Route]) -> None:
        self.failed = 0
        self.last_fault = ""
        self._folder = folder
        self._contracts: dict[tuple[str, str], list[str]] = {}
        for contract, route in routes.items():
            for source in route.sources:
                self._contracts.setdefault(source, []).append(contract)
        self._open: dict[str, _Open] = {}

    def record(self, observation: Observation) -> None:
        """Write an observation, once for each contract that its market marks."""
        for contract in self._contracts.get((observation.feed, observation.market), ()):
            names = (contract, observation.feed, observation.market)
            stem = "lost" if observation.price is None else "_".join(quote(name, safe="") for name in names)
            try:
                self._write(stem, contract, observation)
            except OSError as fault:
                self.failed += 1
                self.last_fault = str(fault)
                self._close(stem)

    def close(self) -> None:
        for stem in list(self._open):
            self._close(stem)

    def _close(self, stem: str) -> None:
        opened = self._open.pop(stem, None)
        if opened is not None:
            opened.file.close()

    def _write(self, stem: str, contract: str, observation: Observation) -> None:
        time = _fixed_time(observation.received_at)
        day = time[:10]
        opened = self._open.get(stem)
        if opened is not None and opened.day < day:
            self._close(stem)
            opened = None
        if opened is None:
            opened = self._open[stem] = self._continue(stem, day)
        if observation.price is not None and time <= opened.last:
            return  # times in a market file rise: a second price in the same nanosecond, or a clock that was set back
        _append(opened.file, time, contract, _mark_text(observation.price), observation.feed, observation.market)
        opened.last = time

    def _continue(self, stem: str, day: str) -> _Open:
        """The day's file, begun or gone on with; a last line that a crash cut off is taken back."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{stem}_{day}.csv"
        path.touch()
        file = path.open("r+b", buffering=0)
        try:
            return _Open(day, file, _resume(file))
        except OSError:
            file.close()
            raise


def _resume(file: FileIO) -> str:
    """Stand behind the last whole row; returns its time, if there is one."""
    start = max(file.seek(0, 2) - _TAIL, 0)
    file.seek(start)
    tail = file.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    file.truncate(start + len(whole))
    file.seek(start + len(whole))
    if not start and not whole:
        _append(file, *HEADER)
    last = whole.splitlines()[-1].split(b",")[0].decode() if whole else ""
    return "" if last == HEADER[0] else last


def _fixed_time(time: int) -> str:
    """RFC 3339 with nine places, so that text sorts as time does."""
    seconds, fraction = divmod(time, 10**9)
    return f"{time_text(seconds * 10**9)[:-1]}.{fraction:09d}Z"


def _mark_text(price: Decimal | None) -> str:
    if price is None:
        return ""
    exponent = price.as_tuple().exponent
    too_fine = isinstance(exponent, int) and exponent < -18
    return format(price.quantize(_PLACES, context=_ROUND) if too_fine else price, "f")


def _append(file: FileIO, *cells: str) -> None:
    """Write a row; `OSError` also where the disk takes only a part of it."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    row = line.getvalue().encode()
    if file.write(row) != len(row):
        raise OSError("the disk is full")
