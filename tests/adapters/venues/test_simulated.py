"""The simulated venue: exact modes, and what must hold of the depth model whatever the bars and orders."""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.adapters.venues.simulated import BarTicks, Depth, FillMode, SimulatedVenue
from closeout.core.contracts import Contract, Kind
from closeout.core.units import USD
from closeout.engine.commands import Fill, OrderDone
from closeout.engine.events import CloseOutOrder
from closeout.studies.market import load_market

MINUTE = 60 * 10**9
AT_ONCE = Depth(latency_ms=0)


def contract(name: str = "BTC", negative: bool = False, kind: Kind = Kind.LINEAR, size: str = "1") -> Contract:
    return Contract.define(
        name,
        kind=kind,
        currency=USD,
        tick=Decimal("0.01"),
        lot=Decimal("0.01"),
        contract_size=Decimal(size),
        negative_prices=negative,
    )


def venue(mode: FillMode = FillMode.BOOK, depth: Depth = AT_ONCE, negative: bool = False) -> SimulatedVenue:
    return SimulatedVenue({"BTC": contract(negative=negative), "SOL": contract("SOL")}, mode, depth)


def order(lots: int, order_id: str = "o1", name: str = "BTC", limit: int | None = None) -> CloseOutOrder:
    return CloseOutOrder("A1", order_id, "r1", name, lots, limit)


def fills(told: Iterable[Fill | OrderDone]) -> list[Fill]:
    return [one for one in told if isinstance(one, Fill)]


def fill_in_one_bar(
    bar: BarTicks, *orders: CloseOutOrder, depth: Depth = AT_ONCE, negative: bool = False
) -> list[Fill]:
    """Fills of orders sent at the open, at the open."""
    place = venue(depth=depth, negative=negative)
    place.begin_bar(0, {"BTC": bar})
    for one in orders:
        place.send(one, 0)
    return fills(place.due(0))


# The exact modes

BAR = BarTicks(open=1000, high=1100, low=900, close=950)


@pytest.mark.parametrize(("lots", "price"), [(-7, 900), (7, 1100)])
@pytest.mark.parametrize("point", range(4))
def test_adverse_fills_whole_at_once_at_the_extreme(lots: int, price: int, point: int) -> None:
    place = venue(FillMode.ADVERSE)
    place.begin_bar(MINUTE, {"BTC": BAR})
    place.send(order(lots), point)
    assert place.due(point) == [Fill("A1", "BTC", lots, price, "o1", "o1-f1"), OrderDone("o1", "filled")]
    assert place.due(point) == []
    assert place.end() == []


@pytest.mark.parametrize("lots", [-7, 7])
def test_close_fills_whole_at_the_close(lots: int) -> None:
    place = venue(FillMode.CLOSE)
    place.begin_bar(MINUTE, {"BTC": BAR})
    place.send(order(lots), 1)
    assert [place.due(point) for point in (1, 2)] == [[], []]
    assert place.due(3) == [Fill("A1", "BTC", lots, 950, "o1", "o1-f1"), OrderDone("o1", "filled")]


@pytest.mark.parametrize("mode", [FillMode.ADVERSE, FillMode.CLOSE])
def test_single_marks_fill_at_the_mark(mode: FillMode) -> None:
    place = venue(mode)
    place.begin_bar(0, {"BTC": BarTicks(-3763, -3763, -3763, -3763)})
    place.send(order(-1), 0)
    told = [one for point in range(4) for one in place.due(point)]
    assert [fill.price_ticks for fill in fills(told)] == [-3763]


@pytest.mark.parametrize("mode", list(FillMode))
def test_an_order_waits_for_a_bar_and_with_a_limit_for_nothing_else(mode: FillMode) -> None:
    place = venue(mode)
    place.begin_bar(0, {"BTC": BAR})
    place.send(order(-1, "a", "SOL"), 0)
    place.send(order(-1, "b", limit=1200), 0)
    place.send(order(1, "c", limit=800), 0)
    told = [one for point in range(4) for one in place.due(point)]
    assert told == [OrderDone("b", "immediate or cancel"), OrderDone("c", "immediate or cancel")]
    flat = BarTicks(1201, 1201, 1201, 1201)
    place.begin_bar(MINUTE, {"BTC": flat, "SOL": flat})
    told = [one for point in range(4) for one in place.due(point)]
    assert [fill.order_id for fill in fills(told)] == ["a"]
    assert place.end() == []


def test_an_order_is_sent_once() -> None:
    place = venue()
    place.begin_bar(0, {"BTC": BAR})
    place.send(order(1), 0)
    for again in (order(1), order(0, "o2")):
        with pytest.raises(ValueError, match="sent twice, or without lots"):
            place.send(again, 0)


# The depth model by hand

# 1 % of a reference of 1,000,000 ticks (10,000.00) holds 1,000,000 / 100 a lot = 10,000 lots: a lot moves it by a tick.
ROUND = Depth(within_1_percent=1_000_000, half_spread=Fraction(1, 100_000), latency_ms=0)
FLAT = BarTicks(1_000_000, 1_000_000, 1_000_000, 1_000_000)


def test_the_book_of_a_quiet_bar() -> None:
    """Half a spread of 10 ticks and half of 100 ticks: the average over 100 lots is 60 ticks away; the next order
    begins where this one ended."""
    sold = fill_in_one_bar(FLAT, order(-100), order(-101, "o2"), order(100, "o3"), depth=ROUND)
    assert [(fill.lots, fill.price_ticks) for fill in sold] == [
        (-100, 1_000_000 - 60),
        (-101, 1_000_000 - 161),  # 10 + 100 + 50.5, against the seller
        (100, 1_000_000 + 60),
    ]


def test_stress_thins_the_book() -> None:
    """A range of 0.12 % is twice the typical one: stress 1.4. Spread 10 -> 14, step 1 -> 1.4 ticks a lot."""
    bar = BarTicks(1_000_000, 1_000_000, 998_800, 999_000)
    (sold,) = fill_in_one_bar(bar, order(-100), depth=ROUND)
    assert sold.price_ticks == 1_000_000 - 14 - 70


def test_a_bar_gives_at_most_its_depth_and_the_next_goes_on() -> None:
    place = venue(depth=ROUND)
    told: list[Fill | OrderDone] = []
    for time in (0, MINUTE, 2 * MINUTE):
        place.begin_bar(time, {"BTC": FLAT})
        if time == 0:
            place.send(order(-25_000), 0)
        for point in range(4):
            told += place.due(point)
    assert [(fill.fill_id, fill.lots, fill.price_ticks) for fill in fills(told)] == [
        ("o1-f1", -10_000, 994_990),
        ("o1-f2", -10_000, 994_990),
        ("o1-f3", -5_000, 997_490),
    ]
    assert told[-1] == OrderDone("o1", "filled")


def test_a_limit_takes_what_the_book_gives_above_it() -> None:
    (sold,) = fill_in_one_bar(FLAT, order(-1000, limit=999_950), depth=ROUND)
    assert (sold.lots, sold.price_ticks) == (-80, 999_950)  # 10 + 80 / 2


@pytest.mark.parametrize(
    ("latency_ms", "sent_at", "told_at", "mid"),
    [
        (0, 3, 3, 1_002_000),  # at the close
        (5_000, 0, 1, 997_750),  # a quarter of the way to the low
        (20_000, 1, 2, 1_002_000),  # at the high
        (30_000, 3, 6, 998_000),  # in the next bar, half way up from its low
        (60_000, 3, 7, 1_003_000),  # at its close
    ],
)
def test_latency_goes_along_the_path(latency_ms: int, sent_at: int, told_at: int, mid: int) -> None:
    """Points lie 20 s apart: 1,000,000, 991,000, 1,002,000 twice; then 1,003,000, 993,000, 1,003,000 twice."""
    place = venue(depth=Depth(10**15, Fraction(0), range_multiplier=Fraction(0), latency_ms=latency_ms))
    told: list[tuple[int, int]] = []
    for number, bar in enumerate(
        (
            BarTicks(1_000_000, 1_002_000, 991_000, 1_002_000),
            BarTicks(1_003_000, 1_003_000, 993_000, 1_003_000),
        )
    ):
        place.begin_bar(number * MINUTE, {"BTC": bar})
        for point in range(4):
            if (number, point) == (0, sent_at):
                place.send(order(-1), point)
            told += [(4 * number + point, fill.price_ticks) for fill in fills(place.due(point))]
    assert told == [(told_at, mid - 1)]  # a tick less: the impact, rounded against the seller


@pytest.mark.rule("EX-02")
def test_an_order_with_a_limit_meets_the_price_when_it_arrives_and_no_other() -> None:
    """Half a second into the bar the price is too low for the limit; that the high comes later does not help. The next
    order of the account follows another half second later, at the price of then: 450 ticks of the 9,000 in 20 s."""
    place = venue(depth=Depth(within_1_percent=10**15, half_spread=Fraction(0), latency_ms=500))
    place.begin_bar(0, {"BTC": BarTicks(1_000_000, 1_009_000, 991_000, 992_000, high_first=True)})
    place.send(order(-1, limit=1_008_000), 0)
    assert place.due(0) == [OrderDone("o1", "immediate or cancel")]
    place.send(order(-1, "o2", limit=1_000_000), 0)
    assert [fill.price_ticks for fill in fills(place.due(0))] == [1_000_449]
    assert place.due(1) == []


def test_a_gap_between_bars_is_passed_at_the_open() -> None:
    place = venue(depth=Depth(latency_ms=500, within_1_percent=10**15, half_spread=Fraction(0)))
    place.begin_bar(0, {"BTC": FLAT})
    place.send(order(-1), 3)
    assert place.due(3) == []
    place.begin_bar(60 * MINUTE, {"BTC": BarTicks(990_000, 995_000, 980_000, 981_000, high_first=True)})
    assert [fill.price_ticks for fill in fills(place.due(0))] == [989_999]


@pytest.mark.rule("G-14")
def test_prices_stay_a_tick_above_zero_unless_the_contract_knows_less() -> None:
    bar = BarTicks(3, 10_000, 1, 2)
    assert [fill.price_ticks for fill in fill_in_one_bar(bar, order(-(10**9)))] == [1]
    assert fill_in_one_bar(bar, order(-(10**9)), negative=True)[0].price_ticks < 0
    below = BarTicks(-3763, -100, -4032, -4000)
    (sold,) = fill_in_one_bar(below, order(-1), negative=True)
    # 1 basis point of 4032 x stress (1 + 3932 / 4032 / 5 / 0.0006 = 326) is 131.4 ticks of spread; the rest is impact
    assert sold.price_ticks == -3763 - 132


def test_the_book_below_zero_is_that_above() -> None:
    below = BarTicks(-1_000_000, -1_000_000, -1_000_000, -1_000_000)
    (sold,) = fill_in_one_bar(below, order(-100), depth=ROUND, negative=True)
    assert sold.price_ticks == -1_000_000 - 60


def test_inverse_lots_are_worth_their_size() -> None:
    """1 lot of 0.01 contracts of 10,000 USD is 100 USD at any price, as a linear lot at 10,000.00 is."""
    inverse = contract(kind=Kind.INVERSE, size="10000")
    place = SimulatedVenue({"BTC": inverse}, depth=ROUND)
    place.begin_bar(0, {"BTC": FLAT})
    place.send(order(-100), 0)
    assert fills(place.due(0)) == fill_in_one_bar(FLAT, order(-100), depth=ROUND)


def test_parameters_are_text() -> None:
    assert venue(FillMode.ADVERSE).parameters() == {"fill": "adverse"}
    shown = SimulatedVenue({}).parameters()
    assert shown["fill"] == "book"
    assert (shown["half_spread"], shown["latency_ms"], shown["bar_ns"]) == ("1/10000", "500", "60000000000")


def test_the_defaults_fit_what_was_recorded() -> None:
    """The typical range is the median minute before the fall; depth lost by 21:22 and at worst, against that calm."""
    (bars,) = load_market(["oct-10"]).contracts.values()
    ranges = [Fraction(bar.high - bar.low) / Fraction(bar.high) for bar in bars]
    depth = Depth()
    assert round(median(ranges[:16]), 4) == depth.typical_range

    def lost(part: Fraction) -> Fraction:
        multiplier = depth.range_multiplier
        return 1 - (1 + multiplier) / (1 + multiplier * part / depth.typical_range)

    assert round(lost(ranges[52]), 2) == Fraction("0.86")  # 21:22
    assert round(lost(max(ranges)), 2) == Fraction("0.95")


# Properties

PRICES = st.integers(1, 2**34)
DEPTHS = st.builds(
    Depth,
    within_1_percent=st.integers(1, 10**10),
    half_spread=st.fractions(0, Fraction(1, 100)),
    typical_range=st.fractions(Fraction(1, 10_000), 1),
    range_multiplier=st.fractions(0, 10),
    participation=st.fractions(Fraction(1, 10), 3),
    latency_ms=st.integers(0, 200_000),
)


@st.composite
def bars(draw: st.DrawFn) -> BarTicks:
    low, *inner, high = sorted(draw(st.lists(PRICES, min_size=4, max_size=4)))
    first, last = draw(st.permutations(inner))
    return BarTicks(first, high, low, last, draw(st.booleans()))


SENT = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-(2**30), 2**30).filter(bool), st.none() | PRICES),
    max_size=12,
)


def play(depth: Depth, mode: FillMode, played: list[BarTicks], sent: list[tuple[int, int, int, int | None]]):
    """Everything that a venue tells, with the place: bar, point."""
    place = venue(mode, depth)
    told: list[tuple[int, int, Fill | OrderDone]] = []
    for number, bar in enumerate(played):
        place.begin_bar(number * MINUTE, {"BTC": bar})
        for point in range(4):
            told += [(number, point, one) for one in place.due(point)]
            for index, (at_bar, at_point, lots, limit) in enumerate(sent):
                if (at_bar, at_point) == (number, point):
                    place.send(order(lots, f"o{index}", limit=limit), point)
            told += [(number, point, one) for one in place.due(point)]
    return [*told, *((len(played), 0, one) for one in place.end())]


@pytest.mark.rule("G-03", "G-10")
@given(DEPTHS, st.sampled_from(FillMode), st.lists(bars(), min_size=4, max_size=4), SENT)
def test_whatever_is_sent(
    depth: Depth, mode: FillMode, played: list[BarTicks], sent: list[tuple[int, int, int, int | None]]
) -> None:
    told = play(depth, mode, played, sent)
    assert play(depth, mode, played, sent) == told
    done = [one for _, _, one in told if isinstance(one, OrderDone)]
    at_market = {f"o{index}" for index, (*_, limit) in enumerate(sent) if limit is None}
    ended = {one.order_id for one in done}  # one with a limit that never reached the market stays unanswered
    assert at_market <= ended <= {f"o{index}" for index in range(len(sent))}
    assert len(done) == len(ended)
    assert all(one.reason != "end of data" for one in done if one.order_id not in at_market)
    ids = [one.fill_id for _, _, one in told if isinstance(one, Fill)]
    assert len(ids) == len(set(ids))
    reasons = {one.order_id: one.reason for one in done}
    for index, (_, _, lots, limit) in enumerate(sent):
        own = [one for _, _, one in told if isinstance(one, Fill) and one.order_id == f"o{index}"]
        filled = sum(fill.lots for fill in own)
        assert all(fill.lots * lots > 0 for fill in own)
        assert abs(filled) <= abs(lots)
        assert (filled == lots) == (reasons.get(f"o{index}") == "filled")
        for fill in own:
            assert fill.price_ticks >= 1
            assert limit is None or (fill.price_ticks <= limit if lots > 0 else fill.price_ticks >= limit)


@given(DEPTHS, bars(), st.integers(1, 12), st.sampled_from((-1, 1)))
def test_an_order_at_market_ends(depth: Depth, bar: BarTicks, lots: int, side: int) -> None:
    """A bar gives at least one lot, however thin the book."""
    told = play(at_once(depth), FillMode.BOOK, [bar] * lots, [(0, 0, side * lots, None)])
    assert told[-1][2] == OrderDone("o0", "filled")


WITHIN = st.integers(1, 10**6)


@given(DEPTHS, bars(), WITHIN, WITHIN, st.sampled_from((-1, 1)))
def test_a_larger_order_gets_no_better_price(depth: Depth, bar: BarTicks, a: int, b: int, side: int) -> None:
    depth = at_once(depth)
    small, large = sorted((a, b))
    (first,) = fill_in_one_bar(bar, order(side * small), depth=depth)
    (second,) = fill_in_one_bar(bar, order(side * large), depth=depth)
    assert side * second.price_ticks >= side * first.price_ticks
    mid = bar.open
    assert side * first.price_ticks >= side * mid or first.price_ticks == 1


@given(DEPTHS, bars(), st.integers(0, 2**20), st.integers(0, 2**20), WITHIN, st.sampled_from((-1, 1)))
def test_a_wider_bar_gives_no_better_price(
    depth: Depth, bar: BarTicks, up: int, down: int, lots: int, side: int
) -> None:
    """For what both bars fill whole: a wider one gives less, and less may be nearer to the mid."""
    depth = at_once(depth)
    wider = BarTicks(bar.open, bar.high + up, max(bar.low - down, 1), bar.close)
    (first,) = fill_in_one_bar(bar, order(side * lots), depth=depth)
    (second,) = fill_in_one_bar(wider, order(side * lots), depth=depth)
    assert abs(second.lots) <= abs(first.lots)
    if abs(second.lots) == lots:
        assert side * second.price_ticks >= side * first.price_ticks


@given(DEPTHS, bars(), st.lists(WITHIN, min_size=2, max_size=6), st.sampled_from((-1, 1)))
def test_a_cascade_gets_worse_and_worse(depth: Depth, bar: BarTicks, sizes: list[int], side: int) -> None:
    """Orders of one point share the book by order id, in whatever order they were sent."""
    depth = at_once(depth)
    orders = [order(side * lots, f"o{index}") for index, lots in enumerate(sizes)]
    sold = fill_in_one_bar(bar, *orders, depth=depth)
    assert sold == fill_in_one_bar(bar, *reversed(orders), depth=depth)
    assert [fill.order_id for fill in sold] == [one.order_id for one in orders][: len(sold)]
    assert all(side * b.price_ticks >= side * a.price_ticks for a, b in pairwise(sold))
    (alone,) = fill_in_one_bar(bar, order(side * sum(sizes)), depth=depth)
    assert sum(fill.lots for fill in sold) == alone.lots
    # Together they pay what one large order pays, but for a tick of rounding a lot
    paid = sum(side * fill.lots * fill.price_ticks for fill in sold)
    if min(fill.price_ticks for fill in [*sold, alone]) > 1:
        assert abs(side * paid - alone.lots * alone.price_ticks) <= abs(alone.lots)


def at_once(depth: Depth) -> Depth:
    return Depth(
        depth.within_1_percent, depth.half_spread, depth.typical_range, depth.range_multiplier, depth.participation, 0
    )
