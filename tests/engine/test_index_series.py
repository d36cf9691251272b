"""An engine with an index says and stores what one without says and stores, batches that come as a series included
(G-12, G-19)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.index_books import starts
from tests.engine.index_twins import NEVER, Twins
from tests.engine.index_walk import Size

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Book, Flag
from closeout.engine.engine import Engine
from closeout.engine.series import unpack

STARTS = starts()
SIZE = Size(100, 40)


@pytest.mark.rule("G-12", "G-19", "G-03")
@pytest.mark.parametrize("name", STARTS)
def test_an_engine_with_an_index_says_what_one_without_says(name: str) -> None:
    twins = Twins(3, STARTS[name], SIZE)
    twins.run()
    assert twins.one.loaded.index is not None


def levels_of(book: Book) -> dict[str, int]:
    return dict(zip(book.ids, book.column("level").tolist(), strict=True))


def peaks_of(book: Book) -> dict[str, int]:
    return {book.ids[row]: int(book.brakes.peak[slot]) for row, slot in book.brakes.slot.items()}


@pytest.mark.rule("G-12", "G-19")
@pytest.mark.parametrize("name", ["mechanisms", "bybit", "kraken-us", "model-coin"])
def test_a_series_says_what_its_batches_say_one_by_one(name: str) -> None:
    """While the desk holds everybody: ids of close-outs would tell a series from single batches."""
    twins = Twins(5, STARTS[name], SIZE, Flag.HELD)
    levels = stopped = 0
    for _ in range(12):
        twins.aim()
        twins.new_week()
        twins.brakes()
        single = Engine.restore(twins.one.snapshot(), NEVER)
        twins.series()
        command = twins.command
        said = [event for event in twins.events if not isinstance(event, ev.SeriesBatch)]
        own = list[ev.AnyEvent]()
        for time, marks in unpack(command):
            if time > twins.time:  # ahead of the series: no clock tells a single batch so
                continue
            given = c.Input("s", single.sources["s"] + 1, time, c.Marks(marks))
            own += single.apply(given)
        levels += sum(isinstance(event, ev.LevelChanged) for event in said)
        stopped += sum(isinstance(event, ev.FlagChanged) and event.flag == "stopped" for event in said)
        assert [event for event in own if not isinstance(event, ev.Rejected)] == [
            event for event in said if not isinstance(event, ev.Rejected)
        ]
        assert levels_of(single.loaded.book) == levels_of(twins.one.loaded.book)
        assert peaks_of(single.loaded.book) == peaks_of(twins.one.loaded.book)
    assert levels > 50
    assert stopped > 2
    index: Any = twins.one.loaded.index
    assert len(index.batches.times) > 0  # it did run through the index
