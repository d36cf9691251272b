"""The running service: its parts put together, started in order, and stopped so that nothing is lost.

feeds -> pricing -> writer -> projector -> order desk -> venue -> (executions) -> writer
                    ^    \\-> streams           \\-> post office -> mail, webhooks
         API, clock ------/
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from closeout import __version__
from closeout.core.times import MINUTE, SECOND
from closeout.core.units import InputError
from closeout.engine.commands import SetDisclosure
from closeout.service.applied import Batch, marks_taken
from closeout.service.logs import logger
from closeout.service.orders import OrderDesk
from closeout.service.post import PostOffice
from closeout.service.preparing import prepare_index
from closeout.service.pricing import Pricing
from closeout.service.projector import Projector
from closeout.service.store.store import KEEP_REPLIES
from closeout.service.threads import in_own_thread
from closeout.service.time import Clock
from closeout.service.timekeeper import Timekeeper
from closeout.service.vault import Vault
from closeout.service.web import Server
from closeout.service.writer import Writer

LOG = logger(__name__)

PRUNE_EVERY = 60 * MINUTE
STORE_WAIT = 2.0
"""Seconds for which the writer waits at most, before a snapshot, for the store."""


@dataclass(slots=True)
class Service:
    """All parts of a running service; `parts.py` makes one of a configuration, `demo.py` one of a recorded crash.

    `extra` are further tasks (the demo's market). `snapshot_every` inputs a snapshot is taken. `disclosure` is the
    version that customers must have acknowledged.
    """

    vault: Vault
    writer: Writer
    projector: Projector
    timekeeper: Timekeeper
    order_desk: OrderDesk
    post_office: PostOffice
    clock: Clock
    server: Server
    pricing: Pricing | None = None
    extra: list[Callable[[], Coroutine[Any, Any, None]]] = field(
        default_factory=list[Callable[[], Coroutine[Any, Any, None]]]
    )
    watchers: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    """Called every second, for the metrics and the audit."""
    closing: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    """What is closed when the service ends: connections and files of the adapters."""
    on_start: Callable[[], None] = lambda: None
    """Called when everything is ready, just before the duties begin (the demo's clock starts)."""
    snapshot_every: int = 100_000
    disclosure: str = ""
    published: str = ""
    started: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _snapshot_at: int = 0

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until `stop` is set; `ready` is called once everything runs. An error of the journal, the engine or the
        store ends the service: what was acknowledged is in the journal."""
        self.writer.subscribers.append(self.projector.take)
        self.projector.wakers += [self.order_desk.wake, self.post_office.wake]
        self.writer.held_up = lambda: self.projector.held_up
        self.writer.stored = lambda: self.vault.store.projected_seq
        self._snapshot_at = self.writer.seq
        writing = asyncio.create_task(self.writer.run(), name="writer")
        projecting = asyncio.create_task(self.projector.run(), name="projector")
        try:
            await self._while_alive(self._serve(ready), writing, projecting)
        finally:
            await self._put_away(writing, projecting)

    async def _serve(self, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.server.run_until(self.stop), name="server")]
            await self.timekeeper.begin()
            if self.writer.engine.loaded.disclosure != self.disclosure:
                await self.writer.offer("service", SetDisclosure(self.disclosure, "configuration"))
            self.on_start()
            duties: list[tuple[str, Coroutine[Any, Any, None]]] = [
                ("timekeeper", self.timekeeper.run()),
                ("order desk", self.order_desk.run()),
                ("post office", self.post_office.run()),
                ("housekeeping", self._housekeeping()),
                ("index", prepare_index(self.writer)),
            ]
            if self.pricing is not None:
                duties.append(("pricing", self.pricing.run()))
            duties += [("extra", make()) for make in self.extra]
            tasks += [group.create_task(duty, name=name) for name, duty in duties]
            self.started = True
            gc.collect()
            gc.freeze()  # what is here stays: looking through it again took 150 ms with 100,000 accounts
            LOG.info("started", version=__version__, address=self.server.address, seq=self.writer.seq)
            ready()
            await self.stop.wait()
            LOG.info("stopping")
            for task in tasks[1:]:
                task.cancel()

    async def _while_alive(self, serving: Coroutine[Any, Any, None], *needed: asyncio.Task[None]) -> None:
        """Serve as long as the writer and the projector live."""
        task = asyncio.create_task(serving, name="service")
        await asyncio.wait({task, *needed}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            self.stop.set()
            task.cancel()
            await asyncio.wait({task})
        for one in needed:
            if one.done() and (error := one.exception()) is not None:
                raise error
        try:
            await task
        except BaseExceptionGroup as errors:
            wrong = errors.subgroup(InputError)
            while isinstance(wrong, BaseExceptionGroup):
                wrong = wrong.exceptions[0]
            raise wrong or errors from None  # a duty may find only now that the configuration is wrong

    async def _put_away(self, writing: asyncio.Task[None], projecting: asyncio.Task[None]) -> None:
        """Drain, take a snapshot where everything is whole, and close."""
        self.writer.stop()
        with contextlib.suppress(BaseException):
            await writing
        try:
            if self.writer.failed is None and not projecting.done():
                await self.projector.caught_up(self.writer.seq)
                loop = asyncio.get_running_loop()
                self.published = await loop.run_in_executor(self.vault.thread, self.vault.snapshot)
        finally:
            projecting.cancel()
            try:
                await self.closing.aclose()
            finally:
                self.vault.close()
            LOG.info("stopped", seq=self.writer.seq, published=self.published)

    async def _housekeeping(self) -> None:
        """Each second what the watchers do, a snapshot when it is due, and once an hour replies are forgotten."""
        pruned = forgot = self.clock.now()
        while True:
            await asyncio.sleep(1.0)
            for watch in self.watchers:
                try:
                    watch()
                except Exception as error:  # a figure that cannot be made is no reason to stop watching accounts
                    LOG.error("watcher failed", exc_info=error)
            if self.writer.seq - self._snapshot_at >= self.snapshot_every:
                await self._snapshot()
            now = self.clock.now()
            if now - pruned >= PRUNE_EVERY:
                await in_own_thread(self.vault.store.prune, now)
                pruned = now
            if now - forgot >= KEEP_REPLIES:
                self.writer.forget_keys()
                forgot = now

    async def _snapshot(self) -> None:
        """Between two frames, when the store has what the frame before led to: under load it never is idle."""
        await self.projector.caught_up(self.writer.seq)
        last = time.monotonic() + STORE_WAIT

        def take() -> str:
            while self.vault.store.projected_seq < self.vault.journal.last_seq:
                if time.monotonic() >= last:
                    return ""  # at the next look
                time.sleep(0.001)
            return self.vault.snapshot()

        published = await self.writer.between(take)
        if published:
            self.published, self._snapshot_at = published, self.writer.seq
            LOG.info("snapshot", seq=self.writer.seq, published=published)

    def checks(self) -> Mapping[str, str]:
        """What each part lacks to be ready; "" where nothing."""
        late = self.clock.now() - self.timekeeper.last
        return {
            "writer": f"failed: {self.writer.failed}" if self.writer.failed else ("" if self.started else "starting"),
            "store": f"{self.projector.lag} inputs behind" if self.projector.held_up else "",
            "clock": f"no tick for {late // SECOND} s" if self.started and late > 10 * self.timekeeper.tick else "",
            "venue": "" if self.order_desk.venue.connected else f"{self.order_desk.venue.name} is not connected",
        }


def published_marks(batch: Batch) -> dict[str, int | None]:
    """The marks of a batch that the engine took, newest last."""
    return {contract: ticks for _, contract, ticks in marks_taken(batch)}
