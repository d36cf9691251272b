"""Series of marks: what is refused, of which batch, and what those behind the engine make of it (G-09, G-16, G-19)."""

import msgspec
import pytest
from tests.engine.bench import SECOND, Desk, flat_margin

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.series import pack
from closeout.service.applied import Applied, marks_taken
from closeout.service.store import schema
from closeout.service.store.projection import rows_of


def desk() -> Desk:
    found = Desk(overrides={"contracts": {"CAR": flat_margin("10"), "BUS": flat_margin("10")}})
    found.marks(CAR="100", BUS="100")
    found.account("A", "150")
    found.hold("A", "CAR", "10", "100")
    found.wait(10)
    return found


def series(found: Desk, *batches: tuple[int, dict[str, int | None]]) -> c.MarkSeries:
    """Batches at so many seconds before the desk's time."""
    return pack(
        (found.time - ago * SECOND, [c.Mark(name, ticks) for name, ticks in marks.items()]) for ago, marks in batches
    )


def apply(found: Desk, command: c.MarkSeries) -> Applied:
    given = c.Input("feed", found.engine.sources["feed"] + 1, found.time, command)
    return Applied(found.engine.offered + 1, given, found.engine.apply(given))


@pytest.mark.rule("G-19", "G-16")
def test_events_stand_under_their_batch_and_its_time() -> None:
    found = desk()
    batches: list[tuple[int, dict[str, int | None]]] = [
        (4, {"CAR": 9900}),
        (3, {"CAR": 10**13}),
        (2, {"BUS": None}),
        (2, {"CAR": 9800, "BUS": 10100}),
        (1, {}),
        (0, {"CAR": 9400}),
    ]
    item = apply(found, series(found, *batches))
    events = item.events
    told = [(event.number, found.time - event.time) for event in events if isinstance(event, ev.SeriesBatch)]
    assert told == [(2, 3 * SECOND), (3, 2 * SECOND), (6, 0)]
    assert [type(event).__name__ for event in events[:4]] == ["SeriesBatch", "Rejected", "SeriesBatch", "Alarm"]
    assert isinstance(events[1], ev.Rejected)
    assert events[1].detail.startswith("batch 2: ")
    (order,) = [event for event in events if isinstance(event, ev.CloseOutOrder)]
    assert order.order_id == f"{item.seq}.6-A-1"
    assert found.state.time == found.time
    assert found.state.contracts["CAR"].mark == 9400
    taken = list(marks_taken([item]))
    assert [(found.time - time, name, ticks) for time, name, ticks in taken] == [
        (ago * SECOND, name, ticks) for ago, marks in batches for name, ticks in marks.items() if ticks != 10**13
    ]
    rows = rows_of([item], webhooks=False, rebuilt_to=0)
    assert [found.time - row["time"] for row in rows[schema.alarm]] == [2 * SECOND]
    assert {row["time"] for row in rows[schema.level_change]} == {found.time}
    effects = rows[schema.effect]
    assert len({row["effect_id"] for row in effects}) == len(effects) > 1


@pytest.mark.rule("G-09")
def test_a_batch_out_of_its_time_is_refused_alone() -> None:
    found = desk()
    found.give(c.Tick())
    item = apply(found, series(found, (1, {"CAR": 1}), (0, {"CAR": 9900}), (-1, {"CAR": 1})))
    codes = [event.code for event in item.events if isinstance(event, ev.Rejected)]
    assert codes == ["time_ran_back", "time_ahead"]
    assert found.state.contracts["CAR"].mark == 9900
    assert list(marks_taken([item])) == [(found.time, "CAR", 9900)]


@pytest.mark.rule("G-09")
def test_a_series_of_refused_batches_changes_nothing() -> None:
    found = desk()
    before = found.picture()
    apply(found, series(found, (0, {"WHAT": 1}), (-1, {"CAR": 1})))
    assert found.picture() == before


@pytest.mark.rule("G-09")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("times", b""),
        ("times", b"1234567"),
        ("counts", b"\1\0\0\0"),
        ("counts", b"\2\0\0\0\0\0\0\0"),
        ("counts", b"\xff\xff\xff\xff\2\0\0\0"),
        ("which", b"\0\0\0\0\0\0\0\0"),
        ("which", b"\2\0\0\0"),
        ("which", b"\xff\xff\xff\xff"),
        ("ticks", b"\1"),
        ("contracts", ()),
    ],
)
def test_columns_that_do_not_fit_are_refused_as_a_whole(column: str, value: object) -> None:
    found = desk()
    good = series(found, (1, {}), (0, {"CAR": 9900}))
    before = found.picture()
    item = apply(found, msgspec.structs.replace(good, **{column: value}))
    (rejected,) = item.events
    assert isinstance(rejected, ev.Rejected)
    assert rejected.code == "bad_series"
    assert found.picture() == before
    assert list(marks_taken([item])) == []
