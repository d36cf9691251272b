"""Close-out orders on their way to the venue, and executions on their way back (G-16).

An order's row is durable before it is marked `sending`, and that mark is durable before the order is sent. What nobody
knows is asked of the venue under the order's id: found = adopted, surely absent = sent again, unknown = the leg is
frozen (its row stays `sending`, the engine counts the order as outstanding) and the desk is alarmed, and the venue is
asked again. No order is ever sent on a guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from closeout.adapters.venues.port import (
    ABSENT,
    UNKNOWN,
    Absent,
    Execution,
    Found,
    NotConnected,
    Refused,
    Report,
    Uncertain,
    Unknown,
    Venue,
    VenueOrder,
)
from closeout.core.times import SECOND
from closeout.engine.commands import AnyCommand, Fill, OrderDone, RaiseAlarm
from closeout.engine.events import AnyEvent, CancelOrders, CloseOutOrder
from closeout.service.logs import logger
from closeout.service.marker import Marker
from closeout.service.store.effects import Effects
from closeout.service.store.records import Effect
from closeout.service.threads import in_own_thread
from closeout.service.time import Clock
from closeout.service.writer import Busy, Outcome, Writer

LOG = logger(__name__)
T = TypeVar("T")

AT_ONCE = 50
"""Orders under way to the venue at the same time."""
LONGEST_PAUSE = 60 * SECOND
CANCEL_TRIES = 3
"""With pauses of one and two seconds. The broker hears of each cancellation by the event stream as well."""


@dataclass(slots=True)
class OrderDesk:
    """Sends what the outbox holds, and books what the venue reports. `patience` (nanoseconds) is how long an order may
    be unknown before it is asked for again."""

    effects: Effects
    writer: Writer
    venue: Venue
    clock: Clock
    patience: int = 10 * SECOND
    on_sent: Callable[[Effect, int], None] | None = None
    sent: int = 0
    frozen: dict[str, int] = field(default_factory=dict[str, int])
    """Orders of which the venue cannot say whether it has them, and since when (clock nanoseconds)."""
    _busy: set[str] = field(default_factory=set[str])
    """Effects that a task is at."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _marker: Marker = field(init=False)
    _refusals: dict[str, int] = field(default_factory=dict[str, int])
    _under_way: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def __post_init__(self) -> None:
        self._marker = Marker(self.effects)

    @property
    def source(self) -> str:
        return f"venue:{self.venue.name}"

    def wake(self) -> None:
        """New rows are durable."""
        self._wake.set()

    async def run(self) -> None:
        """Clear up what an earlier process left, then send for ever."""
        for effect in await self._open_orders():
            self.venue.remember(self._order(effect.event), effect.time)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.venue.run(self.booked))
            await self._until_connected()
            await self.reconcile()
            group.create_task(self._ask_again())
            while True:
                self._wake.clear()
                due = await self._call(self.effects.due_effects, self.clock.now(), AT_ONCE, ("order", "cancel"))
                if not due:
                    await self._pause(SECOND // 4)
                    continue
                if not self.venue.connected:
                    await self._until_connected()
                    await self.reconcile()
                    continue
                self._busy.update(effect.effect_id for effect in due)
                await self._call(self.effects.mark_sending, [effect.effect_id for effect in due])
                for effect in due:
                    group.create_task(self._send(effect))

    # -- out -----------------------------------------------------------------------------------------

    async def _send(self, effect: Effect) -> None:
        event = effect.event
        try:
            if isinstance(event, CancelOrders):
                await self._cancel(effect, event)
            else:
                assert isinstance(event, CloseOutOrder)  # noqa: S101
                await self._place(effect, event)
        finally:
            self._busy.discard(effect.effect_id)

    async def _place(self, effect: Effect, event: CloseOutOrder) -> None:
        try:
            async with self._under_way:
                await self.venue.place(self._order(event))
        except NotConnected as reason:
            not_before = self.clock.now() + (SECOND if effect.attempts else 0)
            await self._call(self.effects.mark_failed, effect.effect_id, str(reason)[:500], not_before)
        except Refused as reason:
            await self._refused(effect, event, str(reason))
        except Uncertain as reason:
            await self._ask(effect, str(reason))
        except Exception as fault:  # an adapter's own: nobody knows how far it came
            LOG.error("order not placed", effect=effect.effect_id, exc_info=fault)
            await self._ask(effect, f"{type(fault).__name__}: {fault}")
        else:
            await self._sent(effect)

    async def _sent(self, effect: Effect, note: str = "") -> None:
        self._refusals.pop(effect.account_id, None)
        self.frozen.pop(effect.effect_id, None)
        self.sent += 1
        if self.on_sent is not None:
            self.on_sent(effect, self.clock.now())
        await self._marker.sent(effect.effect_id, note)

    async def _cancel(self, effect: Effect, event: CancelOrders) -> None:
        """A customer's orders at the venue. What the venue does not know is gone already."""
        try:
            for order_id in event.order_ids:
                await self.venue.cancel(order_id)
        except NotConnected as reason:
            not_before = self.clock.now() + (SECOND if effect.attempts else 0)
            await self._call(self.effects.mark_failed, effect.effect_id, str(reason)[:500], not_before)
        except Exception as reason:
            if not isinstance(reason, Refused | Uncertain):
                LOG.error("not cancelled", effect=effect.effect_id, exc_info=reason)
            if effect.attempts + 1 < CANCEL_TRIES:
                not_before = self.clock.now() + self._pause_after(effect.attempts)
                await self._call(self.effects.mark_failed, effect.effect_id, str(reason)[:500], not_before)
                return
            # A close-out must not wait for ever for orders that the venue does not know by us (G-08); it only reduces.
            await self._alarm(effect.account_id, "cancel_failed", f"{', '.join(event.order_ids)}: {reason}")
            await self._call(self.effects.mark_sent, effect.effect_id, f"given up: {reason}"[:500])
        else:
            await self._marker.sent(effect.effect_id, "")

    async def _refused(self, effect: Effect, event: CloseOutOrder, reason: str) -> None:
        """The venue surely did not take it: the engine plans anew, after a pause that grows with each refusal."""
        count = self._refusals[effect.account_id] = self._refusals.get(effect.account_id, 0) + 1
        await self._alarm(effect.account_id, "order_refused", f"{event.order_id}: {reason}")
        await self._marker.sent(effect.effect_id, f"refused: {reason}"[:500])
        await self.clock.sleep(self._pause_after(count) if count > 1 else 0)
        await self._offer(self.source, OrderDone(event.order_id, f"refused: {reason}"[:200]))

    def _pause_after(self, attempts: int) -> int:
        return min(SECOND << min(attempts, 10), LONGEST_PAUSE)

    def _order(self, event: AnyEvent) -> VenueOrder:
        assert isinstance(event, CloseOutOrder)  # noqa: S101
        contract = self.writer.engine.loaded.contracts[event.contract].contract
        return VenueOrder(event.order_id, event.account_id, contract, event.lots, event.limit_ticks)

    # -- what nobody knows ---------------------------------------------------------------------------

    async def reconcile(self) -> None:
        """After a start or a reconnect: ask for every order that was being sent, and for every order that the engine
        still counts as outstanding."""
        for effect in await self._call(self.effects.sending_effects):
            if effect.kind in ("order", "cancel"):
                await self._doubt(effect, "the connection was lost while it was being sent")
        for effect in await self._open_orders():
            if effect.state != "sent":
                continue
            found = await self._find(effect)
            if found is ABSENT:
                await self._offer(self.source, OrderDone(effect.effect_id, "unknown to the venue"))
            elif isinstance(found, Found):
                await self._adopt(effect.effect_id, found)

    async def _doubt(self, effect: Effect, reason: str) -> None:
        """Clear up an effect that was being sent, unless a task of this process is at it still, or has been since: it
        must not be taken for absent while its own request is under way."""
        if effect.effect_id in self._busy:
            return
        self._busy.add(effect.effect_id)
        now = await self._call(self.effects.effect, effect.effect_id)
        if now is not None and now.state == "sending" and now.kind == "cancel":
            await self._send(now)
        elif now is not None and now.state == "sending":
            await self._ask(now, reason)
        self._busy.discard(effect.effect_id)

    async def _find(self, effect: Effect) -> Found | Absent | Unknown:
        try:
            return await self.venue.find(effect.effect_id, effect.time)
        except Exception as fault:
            LOG.error("order not found out about", effect=effect.effect_id, exc_info=fault)
            return UNKNOWN

    async def _open_orders(self) -> list[Effect]:
        """The rows of the orders that the engine counts as outstanding."""
        active = self.writer.engine.loaded.book.close_outs.values()
        outstanding = [order_id for close_out in active for order_id in close_out.outstanding]
        rows = [await self._call(self.effects.effect, order_id) for order_id in outstanding]
        return [row for row in rows if row is not None]

    async def _ask(self, effect: Effect, reason: str) -> None:
        """Found = adopted, surely absent = sent again, unknown = frozen."""
        found = await self._find(effect)
        if isinstance(found, Found):
            await self._sent(effect, "found after a doubt")
            await self._adopt(effect.effect_id, found)
        elif found is ABSENT:
            self.frozen.pop(effect.effect_id, None)
            not_before = self.clock.now() + self._pause_after(effect.attempts)
            await self._call(self.effects.mark_failed, effect.effect_id, f"surely absent: {reason}"[:500], not_before)
        else:
            assert found is UNKNOWN  # noqa: S101
            if effect.effect_id not in self.frozen:
                detail = f"{effect.effect_id}: {reason}; the venue cannot say whether it has it. The leg is frozen."
                await self._alarm(effect.account_id, "order_unknown", detail)
            self.frozen[effect.effect_id] = self.clock.now()

    async def _ask_again(self) -> None:
        """Frozen legs are asked for until somebody knows."""
        while True:
            await self.clock.sleep(self.patience)
            if self.frozen and self.venue.connected:
                for effect in await self._call(self.effects.sending_effects):
                    if effect.effect_id in self.frozen:
                        await self._doubt(effect, "still unknown")

    async def _adopt(self, order_id: str, found: Found) -> None:
        for execution in found.executions:
            await self.booked(execution)
        if found.filled is not None:
            fills = self.writer.engine.loaded.fills
            booked = sum(abs(fill.lots) for key, fill in fills.items() if key.startswith(f"{order_id}-"))
            if booked < found.filled:
                detail = f"{order_id}: the venue has filled {found.filled} lots, told here were {booked}"
                await self._alarm("", "fills_missing", detail)
        if found.done:
            await self._offer(self.source, OrderDone(order_id, "done at the venue"))

    # -- back ----------------------------------------------------------------------------------------

    async def booked(self, report: Report) -> None:
        """An execution, or the end of an order, becomes an input. What was booked before the engine drops (G-09)."""
        if isinstance(report, Execution):
            state = self.writer.engine.loaded
            if report.fill_id in state.fills:
                return
            row = state.order_owner.get(report.order_id)
            account_id = state.book.ids[row] if row is not None else await self._account_of(report.order_id)
            fill = Fill(account_id, report.contract, report.lots, report.price_ticks, report.order_id, report.fill_id)
            outcome = await self._offer(self.source, fill)
            if (rejected := outcome.rejected) is not None and rejected.code != "duplicate_fill":
                said = f"fill {report.fill_id}: {report.lots} lots of {report.contract} at {report.price_ticks} ticks"
                await self._alarm(account_id, "execution_not_booked", f"{said}: {rejected.code}: {rejected.detail}")
        elif report.order_id in self.writer.engine.loaded.order_owner:
            await self._offer(self.source, OrderDone(report.order_id, report.reason))

    async def _account_of(self, order_id: str) -> str:
        known = await self._call(self.effects.effect, order_id)
        return known.account_id if known else ""

    # -- helpers -------------------------------------------------------------------------------------

    async def _until_connected(self) -> None:
        told = False
        while not self.venue.connected:
            await asyncio.sleep(0.05)
            if not told and self._has_orders():
                await self._alarm("", "venue_lost", f"{self.venue.name} is not connected; close-out orders wait")
                told = True

    def _has_orders(self) -> bool:
        return any(active.outstanding for active in self.writer.engine.loaded.book.close_outs.values())

    async def _pause(self, nanoseconds: int) -> None:
        try:
            async with asyncio.timeout(nanoseconds / SECOND):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _alarm(self, account_id: str, code: str, detail: str) -> None:
        known = account_id if account_id in self.writer.engine.loaded.book.row else ""
        await self._offer("service", RaiseAlarm(known, code, detail[:500]))

    async def _offer(self, source: str, command: AnyCommand) -> Outcome:
        """What the venue says is never dropped: a full queue is waited for."""
        while True:
            try:
                return await self.writer.offer(source, command)
            except Busy:
                await asyncio.sleep(0.05)

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        return await in_own_thread(function, *args)
