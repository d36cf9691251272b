"""The simulated venue, live: `SimulatedVenue` behind the port, moved by the inputs' own time.

It has two drivers, of which a process uses one. `on_marks` is for live feeds: a mark is a bar of four equal prices, and
an order waits for the latency in input time, then fills at the contract's last mark. `on_bar` and `on_point` are for a
recorded market, point by point as `SimulatedVenue` says. The book is full again with each call of `on_marks` or
`on_bar`: marks that follow each other quickly make it deeper than any real one.

It exists only in this process. Orders of an earlier process are done without (further) fills.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from closeout.adapters.venues.port import (
    ABSENT,
    Absent,
    Done,
    Execution,
    Found,
    Refused,
    Report,
    Reporter,
    Uncertain,
    VenueOrder,
)
from closeout.adapters.venues.simulated import LAST_POINT, BarTicks, Depth, FillMode, SimulatedVenue
from closeout.core.contracts import Contract
from closeout.engine.commands import Fill, OrderDone
from closeout.engine.events import CloseOutOrder

MARKS_ONLY = 1
"""A bar's length in nanoseconds where there are no bars: all four points of a mark are at its time."""


class PaperVenue:
    """A venue that fills against recorded bars or live marks; see the module.

    `interval` is the length of a bar in nanoseconds (`MARKS_ONLY` with `on_marks`).
    """

    def __init__(
        self,
        contracts: Mapping[str, Contract],
        *,
        name: str = "simulated",
        mode: FillMode = FillMode.BOOK,
        depth: Depth | None = None,
        interval: int = MARKS_ONLY,
    ) -> None:
        self.name = name
        self.connected = True
        self._contracts = dict(contracts)
        self._simulated = SimulatedVenue(self._contracts, mode, depth or Depth(), interval)
        self._marks: dict[str, int] = {}
        self._point = 0
        self._due = 0
        self._sent: dict[str, VenueOrder] = {}
        self._executions: dict[str, list[Execution]] = {}
        self._done: dict[str, Done] = {}
        self._told: asyncio.Queue[Report] = asyncio.Queue()

    # -- the market ---------------------------------------------------------------------------------

    def on_marks(self, time: int, marks: Mapping[str, int | None]) -> None:
        """New marks in ticks at input time `time` (UTC ns); the others stay. None: the mark is lost, and its orders
        wait. Without marks it moves the time alone."""
        for name, ticks in marks.items():
            if ticks is None:
                self._marks.pop(name, None)
            else:
                self._marks[name] = ticks
        bars = {name: BarTicks(ticks, ticks, ticks, ticks) for name, ticks in self._marks.items()}
        self._simulated.begin_bar(time, bars)
        self._point, self._due = 0, LAST_POINT
        for point in range(LAST_POINT + 1):
            self._tell(self._simulated.due(point))

    def on_bar(self, time: int, bars: Mapping[str, BarTicks]) -> None:
        """The next bars, at their point 0. Call it, and `on_point`, before the marks of the point are offered."""
        self._simulated.begin_bar(time, bars)
        self.on_point(0)

    def on_point(self, point: int) -> None:
        """The bars have moved on to `point`; what filled on the way is reported."""
        self._point = self._due = point
        self._tell(self._simulated.due(point))

    def end(self) -> None:
        """The market's data are over: open orders are done."""
        self._tell(self._simulated.end())

    async def settled(self) -> None:
        """Returns when every report made so far has been taken."""
        await self._told.join()

    # -- the port -----------------------------------------------------------------------------------

    def remember(self, order: VenueOrder, sent_at: int) -> None:
        """The order ended with the process that simulated its venue."""
        if order.order_id not in self._sent:
            self._sent[order.order_id] = order
            self._finish(Done(order.order_id, "the simulated venue was restarted"))

    async def run(self, report: Reporter) -> None:
        while True:
            told = await self._told.get()
            try:
                await report(told)
            finally:
                self._told.task_done()

    async def place(self, order: VenueOrder) -> None:
        if order.order_id in self._sent:
            raise Uncertain(f"order {order.order_id} was placed before")
        if order.contract.name not in self._contracts:
            raise Refused(f"{order.contract.name} is not traded here")
        if not order.lots:
            raise Refused("an order without lots")
        self._sent[order.order_id] = order
        sent = CloseOutOrder(order.account_id, order.order_id, "", order.contract.name, order.lots, order.limit_ticks)
        self._simulated.send(sent, self._point)
        self._tell(self._simulated.due(self._due))

    async def cancel(self, order_id: str) -> None:
        if self._simulated.cancel(order_id):
            self._finish(Done(order_id, "cancelled"))

    async def find(self, order_id: str, sent_at: int) -> Found | Absent:
        if order_id not in self._sent:
            return ABSENT
        executions = tuple(self._executions.get(order_id, ()))
        return Found(order_id in self._done, executions, sum(abs(one.lots) for one in executions))

    def _tell(self, told: Sequence[Fill | OrderDone]) -> None:
        for one in told:
            if isinstance(one, OrderDone):
                self._finish(Done(one.order_id, one.reason))
                continue
            heard = Execution(one.order_id, one.fill_id, one.contract, one.lots, one.price_ticks)
            self._executions.setdefault(one.order_id, []).append(heard)
            self._told.put_nowait(heard)

    def _finish(self, done: Done) -> None:
        self._done[done.order_id] = done
        self._told.put_nowait(done)
