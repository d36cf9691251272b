"""Series of marks: many atomic batches in one input, each taken in as if it had come alone at its time (G-06, G-19).

A series is one input, however many batches it has. Its events come batch by batch, sorted by account within each, under
a `SeriesBatch`; ids of close-outs carry the batch's number. Its source counts it as one input, and the engine's time
afterwards is that of the last batch that was taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from closeout.engine import brakes, gate, market
from closeout.engine.book import ContractState
from closeout.engine.commands import Mark, MarkSeries
from closeout.engine.events import AnyEvent, Rejected, SeriesBatch
from closeout.engine.judge import judge_rows
from closeout.engine.state import Batches, Reject, State

LOST = -(2**63)
"""In the column of ticks, a mark that its source lost."""

Batch = tuple[int, Sequence[Mark]]
"""UTC nanoseconds, and the marks that came together."""


def pack(batches: Iterable[Batch]) -> MarkSeries:
    """The series of these batches."""
    places: dict[str, int] = {}
    times, counts, which, ticks = list[int](), list[int](), list[int](), list[int]()
    for time, marks in batches:
        times.append(time)
        counts.append(len(marks))
        which += (places.setdefault(mark.contract, len(places)) for mark in marks)
        ticks += (LOST if mark.price_ticks is None else mark.price_ticks for mark in marks)
    return MarkSeries(
        tuple(places),
        np.array(times, "<i8").tobytes(),
        np.array(counts, "<i4").tobytes(),
        np.array(which, "<i4").tobytes(),
        np.array(ticks, "<i8").tobytes(),
    )


def unpack(command: MarkSeries) -> Iterator[tuple[int, tuple[Mark, ...]]]:
    """The batches of a series that the engine did not reject as a whole."""
    columns = read(command)
    names = command.contracts
    for index, time in enumerate(columns.times.tolist()):
        yield time, tuple(Mark(names[place], ticks) for place, ticks in columns.marks(index))


def refused(events: Iterable[AnyEvent]) -> set[int]:
    """Numbers of the batches that the events of a series reject; 0 where it was rejected as a whole."""
    found, number = set[int](), 0
    for event in events:
        if isinstance(event, SeriesBatch):
            number = event.number
        elif isinstance(event, Rejected):
            found.add(number)
    return found


@dataclass(frozen=True, slots=True)
class Columns:
    """A series as arrays. The marks of batch i are those from the end of the batch before to `ends[i]`."""

    times: NDArray[np.int64]
    ends: NDArray[np.int64]
    which: NDArray[np.int32]
    ticks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)

    def marks(self, index: int) -> Iterator[tuple[int, int | None]]:
        """The marks of batch `index`: place in the series' contracts, ticks or None."""
        own = slice(int(self.ends[index - 1]) if index else 0, int(self.ends[index]))
        places: list[int] = self.which[own].tolist()
        prices: list[int] = self.ticks[own].tolist()
        for place, ticks in zip(places, prices, strict=True):
            yield place, None if ticks == LOST else ticks


def read(command: MarkSeries) -> Columns:
    """The columns, which must fit one another."""
    sizes = ((command.times, 8), (command.counts, 4), (command.which, 4), (command.ticks, 8))
    if any(len(column) % size for column, size in sizes):
        raise Reject("bad_series", "a column ends within a number")
    times, counts, which, ticks = (np.frombuffer(column, f"<i{size}") for column, size in sizes)
    if not len(times) or len(times) != len(counts) or len(which) != len(ticks):
        raise Reject("bad_series", f"{len(times)} times, {len(counts)} counts, {len(which)} places, {len(ticks)} ticks")
    ends = counts.cumsum(dtype=np.int64)
    if counts.min() < 0 or int(ends[-1]) != len(which):
        raise Reject("bad_series", f"the counts do not sum up to {len(which)} marks")
    if len(which) and (which.min() < 0 or int(which.max()) >= len(command.contracts)):
        raise Reject("bad_series", f"a place beyond the {len(command.contracts)} contracts of the series")
    return Columns(times, ends, which, ticks)


@dataclass(slots=True)
class Series:
    """A series on its way into a state. `contracts` are those of its names, None where the rulebook has none; `until`
    is the time of the input; `taken` says whether any batch was accepted, `runs` that the index follows the series."""

    columns: Columns
    names: tuple[str, ...]
    contracts: tuple[ContractState | None, ...]
    source: str
    until: int
    batches: Batches
    taken: bool = False
    runs: bool = False

    def marks(self, state: State, index: int) -> list[tuple[ContractState, int | None]]:
        """The marks of batch `index`."""
        return [
            (self.contracts[place] or state.contract(self.names[place]), ticks)
            for place, ticks in self.columns.marks(index)
        ]


def mark_series(state: State, command: MarkSeries, source: str, time: int, seq: int) -> None:
    """Take in the batches one after another."""
    contracts = tuple(map(state.contracts.get, command.contracts))
    columns = read(command)
    series = Series(columns, command.contracts, contracts, source, time, _batches(state, columns, contracts, time))
    before, state.seq = state.seq, seq
    events: list[AnyEvent] = []
    index = 0
    while (index := advance(state, series, index)) < len(series.columns):
        found, state.events = state.events, []
        index += 1
        events.append(SeriesBatch("", index, int(series.columns.times[index - 1])))
        events += sorted(found, key=lambda event: event.account_id)
    state.events, state.batch = events, 0
    if not series.taken:
        state.seq = before


def _batches(state: State, columns: Columns, contracts: Sequence[ContractState | None], until: int) -> Batches:
    """The series as the index takes it: a mark of a contract that has legs is one of each leg as well; -1 where a mark
    has no place."""
    numbers = [
        [-1]
        if contract is None or contract.contract.side
        else [leg.index for leg in state.legs(contract.contract.name)]
        for contract in contracts
    ]
    times, ends, which, ticks = columns.times.astype(np.int64), columns.ends, columns.which, columns.ticks
    flat = np.array([number for own in numbers for number in own], np.int64)
    if len(flat) == len(numbers):
        return Batches(times, ends, flat[which], ticks.astype(np.int64), until)
    sizes = np.array([len(own) for own in numbers], np.int64)
    own = sizes[which]
    before = np.concatenate(([0], own.cumsum()))
    first = (sizes.cumsum() - sizes)[which] - before[:-1]
    places = np.asarray(np.repeat(first, own) + np.arange(int(before[-1])), np.int64)
    return Batches(times, before[ends], flat[places], np.repeat(ticks.astype(np.int64), own), until)


def advance(state: State, series: Series, first: int) -> int:
    """Take in the batches from `first` (0, 1, ...) on, until one of them has events, which are then the state's; its
    index, or the number of batches where all the rest is in."""
    index = first
    while index < len(series.columns):
        begun = state.index is not None and _runs(state, state.book.positions.moved if series.runs else None)
        if state.index is not None and begun:
            if not series.runs:
                state.index.begin(series.batches, series.source)
            first = index
            index, changed = state.index.advance(first)
            series.taken |= changed is not None or index > first
            if index == len(series.columns):
                break
            if changed is not None:
                state.batch = index + 1
                rows = set(changed.tolist())
                if state.book.brakes.count:
                    own = state.book.brakes.column("account")
                    rows.update(brakes.found(state, state.index.net_liqs(own)).tolist())
                judge_rows(state, rows - state.book.close_outs.keys())
            else:
                begun = False
        series.runs = begun
        if not begun:
            take_one(state, series, index)
        if state.events:
            return index
        index += 1
    return index


def _runs(state: State, moved: Collection[int] | None) -> bool:
    """Whether levels and brakes alone decide what happens: no margin call may be met, no stop waits, no plan can go on,
    and nothing is looked at after each batch for accounts below zero (`engine.gate`)."""
    book = state.book
    if book.calls or book.stops or state.policy.withdrawal_gate is not None:
        return False
    rows = book.close_outs if moved is None else book.close_outs.keys() & moved
    return all(book.close_outs[row].outstanding and not any(book.close_outs[row].queued.values()) for row in rows)


def take_one(state: State, series: Series, index: int) -> None:
    """Take in one batch, as `Marks` at its time."""
    before, time, below_zero = state.time, int(series.columns.times[index]), gate.stands(state)
    state.batch = index + 1
    try:
        if time < before:
            raise Reject("time_ran_back", f"{time} is before {before}")
        if time > series.until:
            raise Reject("time_ahead", f"{time} is after the input's own time {series.until}")
        marks = series.marks(state, index)
        state.time = time
        market.take_batch(state, marks, series.source)
    except Reject as reason:
        state.time = before
        state.emit(Rejected("", reason.code, f"batch {state.batch}: {reason.detail}"))
    else:
        series.taken = True
        if below_zero:
            state.below_zero_at = time
