"""The demo's broker: fills the orders that customers send from the Portfolio page, whose ids begin with ``web-``.

The order check approves an order and no more; sending it to a market is the broker's part, for which a few lines stand
in here. An order at market fills whole at the next mark of its contract, a limit order at the first one that is as good
as its limit or better, both at that mark. What can fill is what works in the engine's state: a restart goes on with it,
and a cancelled order does not fill unless its fill was on its way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from closeout.core.times import SECOND
from closeout.engine.book import ContractState, WorkingOrder
from closeout.engine.commands import Fill, OrderDone
from closeout.service.applied import Batch, marks_taken
from closeout.service.time import Clock
from closeout.service.writer import Busy, Outcome, Writer

PREFIX = "web-"
SOURCE = "broker"


@dataclass(slots=True)
class DemoBroker:
    """`take` hears the writer's batches, `run` reports the fills."""

    writer: Writer
    clock: Clock
    _resting: set[str] = field(default_factory=set[str])
    """Orders that were working before the present batch: the mark that an order was approved on does not fill it."""
    _due: deque[Fill] = field(default_factory=deque[Fill])
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, batch: Batch) -> None:
        state = self.writer.engine.loaded
        marks = {contract: ticks for _, contract, ticks in marks_taken(batch) if ticks is not None}
        working = {
            order_id: (state.book.ids[row], order)
            for row, orders in state.book.working.items()
            for order_id, order in orders.items()
            if order_id.startswith(PREFIX)
        }
        rests = self._resting - {fill.order_id for fill in self._due}
        for order_id, (account_id, order) in working.items():
            mark = marks.get(order.contract)
            if mark is not None and order_id in rests and _fills(state.contracts[order.contract], order, mark):
                self._due.append(Fill(account_id, order.contract, order.lots, mark, order_id, f"{order_id}-f1"))
                self._wake.set()
        self._resting = set(working)

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                await self._report(self._due[0])
                self._due.popleft()

    async def _report(self, fill: Fill) -> None:
        """Report a fill, unless the order was cancelled meanwhile; what cannot be booked is done without it."""
        if fill.order_id not in self.writer.engine.loaded.order_owner:
            return
        outcome = await self._offer(fill)
        if outcome.rejected is not None:
            await self._offer(OrderDone(fill.order_id, outcome.rejected.detail))

    async def _offer(self, command: Fill | OrderDone) -> Outcome:
        while True:
            try:
                return await self.writer.offer(SOURCE, command)
            except Busy:
                await self.clock.sleep(SECOND // 10)


def _fills(contract: ContractState, order: WorkingOrder, mark: int) -> bool:
    if not contract.is_open or contract.halted:
        return False
    limit = order.limit_ticks
    return limit is None or (mark <= limit if order.lots > 0 else mark >= limit)
