"""Brings what the parts know of themselves into the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from closeout.adapters.feeds.port import FeedStatus
from closeout.core.times import SECOND
from closeout.engine.commands import Tick
from closeout.service.applied import Batch
from closeout.service.metrics import Metrics
from closeout.service.service import Service
from closeout.service.store.records import Effect


class Observer:
    """`applied` and `sent` are called as it happens, `look` once a second."""

    def __init__(self, service: Service, metrics: Metrics, open_streams: Callable[[], int]) -> None:
        self._service, self._metrics, self._open_streams = service, metrics, open_streams
        self._counting: asyncio.Task[None] | None = None

    def applied(self, batch: Batch) -> None:
        """A batch of the writer's."""
        writer = self._service.writer
        currency = writer.engine.loaded.policy.currency
        self._metrics.applied(batch, writer.timings.commit, writer.timings.apply, currency)
        for seconds in writer.timings.waits:
            self._metrics.verdict_after(seconds)
        for item in batch:
            if isinstance(item.input.command, Tick):
                self._metrics.heartbeat(item.input.time)

    def sent(self, effect: Effect, now: int) -> None:
        """A close-out order that the venue has acknowledged."""
        self._metrics.order_after((now - effect.time) / SECOND / self._service.clock.speed)

    def look(self) -> None:
        """The gauges."""
        service, metrics = self._service, self._metrics
        metrics.state(service.writer.engine.loaded)
        metrics.writer(service.writer.waiting, service.writer.timings.conflated, service.writer.timings.refused)
        metrics.projection_lag(service.projector.lag)
        metrics.streams(self._open_streams())
        metrics.possible_second_copies(service.post_office.second_copies)
        metrics.feeds(self._feeds(), service.clock.now())
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count())

    def _feeds(self) -> Sequence[FeedStatus]:
        pricing = self._service.pricing
        return [feed.status for feed in pricing.feeds] if pricing else ()

    async def _count(self) -> None:
        store, now = self._service.vault.store, self._service.clock.now()
        counts = await asyncio.to_thread(store.effect_counts)
        self._metrics.effects(counts, await asyncio.to_thread(store.oldest_due_age, now))
