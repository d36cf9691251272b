"""The simulated venue, live."""

import asyncio
from collections.abc import Callable
from fractions import Fraction

import pytest
from tests.adapters.venues.common import BTC, COIN, Ears, order

from closeout.adapters.venues.paper import PaperVenue
from closeout.adapters.venues.port import ABSENT, Done, Execution, Found, Refused, Report, Uncertain, Venue, wire_id
from closeout.adapters.venues.simulated import BarTicks, Depth, FillMode, SimulatedVenue
from closeout.core.times import MILLISECOND, MINUTE, SECOND
from closeout.engine.commands import Fill, OrderDone
from closeout.engine.events import CloseOutOrder

T0 = 1_760_130_780 * SECOND
CONTRACTS = {"BTC-PERP": BTC}


def told(venue: PaperVenue, scene: Callable[[], object] | None = None) -> list[Report]:
    """What `run` reports of it all."""
    ears = Ears()

    async def main() -> None:
        running = asyncio.create_task(venue.run(ears.report))
        if scene is not None:
            scene()
        await venue.settled()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
    return ears.reports


def place(venue: Venue, lots: int, order_id: str = "7-A1-1", limit: int | None = None) -> None:
    asyncio.run(venue.place(order(lots, order_id, limit)))


def find(venue: PaperVenue, order_id: str = "7-A1-1") -> object:
    return asyncio.run(venue.find(order_id, T0))


def test_an_order_waits_for_the_latency_in_input_time_and_fills_at_the_mark_then() -> None:
    venue = PaperVenue(CONTRACTS, depth=Depth(half_spread=Fraction(0), latency_ms=500))
    venue.on_marks(T0, {"BTC-PERP": 128_000})
    place(venue, -7)
    venue.on_marks(T0 + 400 * MILLISECOND, {"BTC-PERP": 127_000})
    assert find(venue) == Found(done=False, executions=(), filled=0)
    venue.on_marks(T0 + 500 * MILLISECOND, {})  # the time alone: at the last mark
    execution = Execution("7-A1-1", "7-A1-1-f1", "BTC-PERP", -7, 126_999)  # its own impact, rounded against it
    assert told(venue) == [execution, Done("7-A1-1", "filled")]
    assert find(venue) == Found(done=True, executions=(execution,), filled=7)


def test_a_mark_is_its_own_close() -> None:
    venue = PaperVenue(CONTRACTS, mode=FillMode.CLOSE)
    venue.on_marks(T0, {"BTC-PERP": 128_000})
    place(venue, -7)
    assert told(venue) == [Execution("7-A1-1", "7-A1-1-f1", "BTC-PERP", -7, 128_000), Done("7-A1-1", "filled")]


def test_without_a_mark_an_order_waits() -> None:
    venue = PaperVenue(CONTRACTS, mode=FillMode.ADVERSE, depth=Depth(latency_ms=0))
    place(venue, 3)
    venue.on_marks(T0, {"BTC-PERP": None})
    assert told(venue) == []
    venue.on_marks(T0 + 1, {"BTC-PERP": 5})
    venue.on_marks(T0 + 2, {"BTC-PERP": None})
    place(venue, 3, "7-A1-2")
    assert told(venue) == [Execution("7-A1-1", "7-A1-1-f1", "BTC-PERP", 3, 5), Done("7-A1-1", "filled")]


@pytest.mark.parametrize("mode", list(FillMode))
def test_bars_fill_as_in_a_replay(mode: FillMode) -> None:
    """The same bars and orders through the simulated venue itself, as studies/replay drives it."""
    bars = [
        (T0, BarTicks(128_000, 128_400, 126_000, 127_000)),
        (T0 + MINUTE, BarTicks(127_000, 127_500, 120_000, 121_000, high_first=True)),
    ]
    orders = {(0, 1): ("7-A1-1", -5000), (0, 2): ("8-A2-1", -40_000), (1, 3): ("9-A1-1", 300)}
    depth = Depth(latency_ms=500)
    plain = SimulatedVenue(CONTRACTS, mode, depth, MINUTE)
    expected: list[Fill | OrderDone] = []
    for number, (time, bar) in enumerate(bars):
        plain.begin_bar(time, {"BTC-PERP": bar})
        for point in range(4):
            expected += plain.due(point)
            if (number, point) in orders:
                order_id, lots = orders[number, point]
                plain.send(CloseOutOrder("A1", order_id, "", "BTC-PERP", lots), point)
                expected += plain.due(point)
    expected += plain.end()

    venue = PaperVenue(CONTRACTS, mode=mode, depth=depth, interval=MINUTE)
    for number, (time, bar) in enumerate(bars):
        for point in range(4):
            if point == 0:
                venue.on_bar(time, {"BTC-PERP": bar})
            else:
                venue.on_point(point)
            if (number, point) in orders:
                order_id, lots = orders[number, point]
                place(venue, lots, order_id)
    venue.end()
    shown = [
        Execution(one.order_id, one.fill_id, one.contract, one.lots, one.price_ticks)
        if isinstance(one, Fill)
        else Done(one.order_id, one.reason)
        for one in expected
    ]
    assert told(venue) == shown
    assert len(shown) > 3


@pytest.mark.rule("G-07")
def test_cancelling_ends_an_order_once() -> None:
    venue = PaperVenue(CONTRACTS)
    place(venue, 3)
    for _ in range(2):
        asyncio.run(venue.cancel("7-A1-1"))
    asyncio.run(venue.cancel("never sent"))
    venue.on_marks(T0, {"BTC-PERP": 5})
    assert told(venue) == [Done("7-A1-1", "cancelled")]
    assert find(venue) == Found(done=True, executions=(), filled=0)


@pytest.mark.rule("G-16")
def test_what_was_sent_is_known_by_its_id_and_an_earlier_process_orders_are_done() -> None:
    venue = PaperVenue(CONTRACTS)
    assert find(venue) == ABSENT
    place(venue, 3)
    with pytest.raises(Uncertain, match="placed before"):
        place(venue, 3)
    for wrong, why in ((order(1, "x", contract=COIN), "not traded"), (order(0, "y"), "without lots")):
        with pytest.raises(Refused, match=why):
            asyncio.run(venue.place(wrong))
    assert find(venue, "y") == ABSENT
    venue.remember(order(3, "5-A1-1"), T0)
    venue.remember(order(3), T0)  # its own
    assert told(venue) == [Done("5-A1-1", "the simulated venue was restarted")]
    assert find(venue, "5-A1-1") == Found(done=True, executions=(), filled=0)
    assert find(venue) == Found(done=False, executions=(), filled=0)


def test_wire_ids_are_the_order_ids_where_they_fit_and_stable_where_not() -> None:
    assert wire_id("7-A1-1", 64, r"!-~") == "7-A1-1"
    names = ["7-A1-1", "7-A1.1", "a" * 40, "b" * 40, "ü"]
    short = [wire_id(name, 32, "A-Za-z0-9") for name in names]
    assert short == [wire_id(name, 32, "A-Za-z0-9") for name in names]
    assert len(set(short)) == len(names)
    assert all(len(one) <= 32 and one.isalnum() and one.isascii() for one in short)
