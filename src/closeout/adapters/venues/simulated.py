"""A venue for replays: it fills close-out orders from recorded bars, in one of three ways.

A bar is played through four points: 0 the open, 1 and 2 its extremes, 3 the close. For each time the driver calls
`begin_bar`; for each point `due(point)` for what was executed on the way to it, then, for each order that the marks of
this point cause, `send(order, point)`, and `due(point)` again until nothing comes; after the last bar `end`. Single
marks are bars of four equal prices and pass through the same four points. An order whose contract has no bar now waits
for one. An order with a limit is immediate-or-cancel: where it reaches the market it takes what it gets at its limit or
better, and is done. In the depth model that is told with the point at which it was sent if it is due before the next
one, so that an account's steps follow each other at the latency and not at the points of a bar.

    adverse   whole, at once, at the bar's adverse extreme: the low for a sale, the high for a purchase
    close     whole, at point 3 of the bar, at its close
    book      the depth model

The depth model. Everything is exact (integers and Fractions); the figures are assumptions, see `Depth`.

    path        the price goes in straight lines through the four points, each a third of a bar after the one before
    latency     an order reaches the book `latency` after it was sent, at the path's price then (the bar's open, if that
                falls between two bars); what it then leaves is tried at each further `due`, at the point's price
    reference   = max(|high|, |low|), at least one tick, of the bar that the order is in
    stress      = 1 + range_multiplier x (high - low) / reference / typical_range
    depth       = within_1_percent / stress, the notional on one side within 1 % of the mid, spread evenly over the
                prices: so a lot moves the price by  step = reference / 100 / (depth / notional of a lot)  ticks
    spread      = half_spread x reference x stress
    price       = mid -/+ (spread + step x (before + filled / 2)), the average over the lots that the order takes;
                `before` is what earlier orders took from this side in this bar
    limit       = a bar gives at most participation x depth, and at least one lot, on each side

Orders of one contract and its legs take from one book, by the time at which they reach it and then by order id: a
cascade gets worse and worse prices. The book is full again with the next bar; what was not filled goes on there. Prices
are rounded to a tick against the order, and stay at least one tick unless the contract knows negative prices. The
recorded prices are not moved by the fills, and the depth of a minute is that of its whole range, also for an order that
is early in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from math import ceil, floor

from closeout.core.contracts import Contract, Kind
from closeout.core.times import MILLISECOND, MINUTE
from closeout.engine.commands import Fill, OrderDone
from closeout.engine.events import CloseOutOrder

LAST_POINT = 3


class FillMode(Enum):
    ADVERSE = "adverse"
    CLOSE = "close"
    BOOK = "book"


@dataclass(frozen=True, slots=True)
class BarTicks:
    """A bar in ticks. `high_first` says which extreme is point 1."""

    open: int
    high: int
    low: int
    close: int
    high_first: bool = False

    def points(self) -> tuple[int, int, int, int]:
        first, second = (self.high, self.low) if self.high_first else (self.low, self.high)
        return self.open, first, second, self.close


@dataclass(frozen=True, slots=True)
class Depth:
    """The depth model's figures, the same for every contract. All are assumptions.

    `within_1_percent` is in the currency that prices are quoted in. The default lies between the books of a small and a
    large derivatives venue on a calm day in 2021 (recorded: 2 to 4 million USD within 1 % on Kraken Futures, 23 million
    on BitMEX). `typical_range` is the median minute of BTCUSDT on 10 October 2025 from 20:30 to 20:45. With it,
    `range_multiplier` makes the book of that evening lose 86 % by 21:22 and 95 % in its worst minute; of Binance's asks
    within 1 % 84 % were gone at 21:22, and of BTC depth on all venues about 98 % at worst, it is reported. An order
    reaches the book half a second late.
    """

    within_1_percent: int = 20_000_000
    half_spread: Fraction = Fraction(1, 10_000)
    typical_range: Fraction = Fraction(6, 10_000)
    range_multiplier: Fraction = Fraction(1, 5)
    participation: Fraction = Fraction(1)
    latency_ms: int = 500


@dataclass(slots=True)
class _Order:
    """An order not done yet. It is in the book from `ready` (nanoseconds) on; `tried`: it has been there before."""

    order: CloseOutOrder
    left: int
    ready: int
    fills: int = 0
    tried: bool = False


@dataclass(slots=True)
class _Book:
    """One contract's book in one bar: half spread and step of a lot in ticks, the most lots that a side gives, and the
    lots taken so far by sales and by purchases."""

    spread: Fraction
    step: Fraction
    most: int
    taken: list[int]


@dataclass(slots=True)
class SimulatedVenue:
    """Fills orders as the module says. `interval` is the length of a bar in nanoseconds (`Market.interval`); `unheard`
    counts the orders that `end` left unanswered.

    Fill ids are ``ORDER-fN``, N = 1, 2, ...: the same in every run.
    """

    contracts: Mapping[str, Contract]
    mode: FillMode = FillMode.BOOK
    depth: Depth = Depth()
    interval: int = MINUTE
    unheard: int = 0
    _time: int = 0
    _bars: dict[str, BarTicks] = field(default_factory=dict[str, BarTicks])
    _open: dict[str, _Order] = field(default_factory=dict[str, _Order])
    _heard: dict[str, int] = field(default_factory=dict[str, int])
    _books: dict[str, _Book] = field(default_factory=dict[str, _Book])

    def parameters(self) -> dict[str, str]:
        """The mode and, for the depth model, its figures as text for the report."""
        if self.mode is not FillMode.BOOK:
            return {"fill": self.mode.value}
        depth = self.depth
        return {
            "fill": self.mode.value,
            "depth_within_1_percent": str(depth.within_1_percent),
            "half_spread": str(depth.half_spread),
            "typical_range": str(depth.typical_range),
            "range_multiplier": str(depth.range_multiplier),
            "participation": str(depth.participation),
            "latency_ms": str(depth.latency_ms),
            "bar_ns": str(self.interval),
        }

    def begin_bar(self, time: int, bars: Mapping[str, BarTicks]) -> None:
        """The next bars, at `time` (UTC nanoseconds, above the last). Contracts without a bar are left out."""
        self._time, self._bars = time, dict(bars)
        self._books.clear()

    def send(self, order: CloseOutOrder, point: int) -> None:
        """An order sent at a point of this bar. Its id must be new and its lots not zero (`ValueError`)."""
        if order.order_id in self._open or not order.lots:
            raise ValueError(f"order {order.order_id}: sent twice, or without lots")
        sent = max(self._at(point), self._heard.get(order.account_id, 0))
        ready = sent + self.depth.latency_ms * MILLISECOND
        self._open[order.order_id] = _Order(order, abs(order.lots), ready)

    def due(self, point: int) -> list[Fill | OrderDone]:
        """What was executed up to this point and is not told yet; an order that is full is done right after."""
        told: list[Fill | OrderDone] = []
        for resting in sorted(self._open.values(), key=lambda order: (order.ready, order.order.order_id)):
            bar = self._bars.get(self.contracts[resting.order.contract].market)
            if bar is None:
                continue
            if self.mode is FillMode.BOOK:
                lots, price = self._from_book(resting, bar, point)
            else:
                lots, price = self._whole(resting, bar, point)
            if lots:
                told.append(self._fill(resting, lots, price))
            if not resting.left or (resting.tried and resting.order.limit_ticks is not None):
                del self._open[resting.order.order_id]
                reason = "immediate or cancel" if resting.left else "filled"
                told.append(OrderDone(resting.order.order_id, reason))
        return told

    def cancel(self, order_id: str) -> bool:
        """Take an order out of the book; False when it is not in it."""
        return self._open.pop(order_id, None) is not None

    def end(self) -> list[Fill | OrderDone]:
        """The market's data are over: what is still open is done without further fills. But an order with a limit that
        has not reached the market stays unanswered: that it found no price there is not known."""
        told: list[Fill | OrderDone] = []
        for order_id, resting in sorted(self._open.items()):
            if resting.order.limit_ticks is None or resting.tried:
                told.append(OrderDone(order_id, "end of data"))
            else:
                self.unheard += 1
        self._open.clear()
        return told

    # -- executions ---------------------------------------------------------------------------------

    def _fill(self, resting: _Order, lots: int, price: int) -> Fill:
        order = resting.order
        resting.left -= lots
        resting.fills += 1
        signed = lots if order.lots > 0 else -lots
        fill_id = f"{order.order_id}-f{resting.fills}"
        return Fill(order.account_id, order.contract, signed, price, order.order_id, fill_id)

    def _whole(self, resting: _Order, bar: BarTicks, point: int) -> tuple[int, int]:
        """Lots and price in the modes adverse and close; no lots while the order waits."""
        buys, limit = resting.order.lots > 0, resting.order.limit_ticks
        if self.mode is FillMode.CLOSE:
            if point < LAST_POINT:
                return 0, 0
            price = bar.close
        else:
            price = bar.high if buys else bar.low
        resting.tried = True
        if limit is not None and (price > limit if buys else price < limit):
            return 0, 0
        return resting.left, price

    def _from_book(self, resting: _Order, bar: BarTicks, point: int) -> tuple[int, int]:
        """Lots and price from the depth model; no lots while the order waits."""
        order, contract = resting.order, self.contracts[resting.order.contract]
        is_near = order.limit_ticks is not None and point < LAST_POINT and resting.ready < self._at(point + 1)
        if resting.ready > self._at(point) and not is_near:
            return 0, 0
        time = self._at(point) if resting.tried else max(resting.ready, self._time)
        resting.tried = True
        if order.limit_ticks is not None:
            self._heard[order.account_id] = time
        book = self._book(contract, bar)
        buys = order.lots > 0
        lots = min(resting.left, book.most - book.taken[buys])
        if lots <= 0:
            return 0, 0
        mid = self._path(bar, time)
        first = book.spread + book.step * book.taken[buys]
        if order.limit_ticks is not None:
            room = order.limit_ticks - mid if buys else mid - order.limit_ticks
            lots = min(lots, floor((room - first) * 2 / book.step))
            if lots <= 0:
                return 0, 0
        book.taken[buys] += lots
        moved = first + book.step * lots / 2
        price = ceil(mid + moved) if buys else floor(mid - moved)
        return lots, price if contract.negative_prices else max(price, 1)

    def _book(self, contract: Contract, bar: BarTicks) -> _Book:
        """The contract's book in this bar, full when it is first asked for."""
        if contract.market not in self._books:
            depth = self.depth
            reference = max(abs(bar.high), abs(bar.low), 1)
            stress = 1 + depth.range_multiplier * Fraction(bar.high - bar.low, reference) / depth.typical_range
            notional = Fraction(contract.lot) * Fraction(contract.contract_size)
            if contract.kind is Kind.LINEAR:
                notional *= Fraction(contract.tick) * reference
            lots = depth.within_1_percent / stress / notional
            spread, step = depth.half_spread * reference * stress, reference / (100 * lots)
            self._books[contract.market] = _Book(spread, step, max(floor(lots * depth.participation), 1), [0, 0])
        return self._books[contract.market]

    def _at(self, point: int) -> int:
        return self._time + self.interval * point // LAST_POINT

    def _path(self, bar: BarTicks, time: int) -> Fraction:
        """The price at a time in this bar."""
        points = bar.points()
        done = Fraction((time - self._time) * LAST_POINT, self.interval)
        if done >= LAST_POINT:
            return Fraction(points[LAST_POINT])
        leg = floor(done)
        return points[leg] + (points[leg + 1] - points[leg]) * (done - leg)
