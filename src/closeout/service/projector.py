"""Feeds the store with what the writer has applied, behind the writer and in its order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from closeout.service.applied import Applied, Batch
from closeout.service.store.projection import has_effects
from closeout.service.store.store import Store
from closeout.service.threads import in_own_thread

AT_MOST = 2_000
"""Inputs in one transaction."""
TOO_FAR = 100_000
"""Inputs that the store may be behind before offers are refused."""


@dataclass(slots=True)
class Projector:
    """`wakers` are called after each transaction from which effects may follow."""

    store: Store
    wakers: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    _waiting: deque[Applied] = field(default_factory=deque[Applied])
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _done: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: BaseException | None = None

    def take(self, batch: Batch) -> None:
        """A batch of the writer's."""
        self._waiting.extend(batch)
        self._work.set()

    @property
    def lag(self) -> int:
        """Inputs that are applied and not in the store yet."""
        return len(self._waiting)

    @property
    def held_up(self) -> bool:
        return self.lag > TOO_FAR

    async def run(self) -> None:
        """Project for ever; an error of the store's ends it, and the process should end too."""
        try:
            await self._project()
        except BaseException as error:
            self._failed = error
            self._done.set()  # nobody waits for what will not come
            raise

    async def _project(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                batch = [self._waiting[index] for index in range(min(AT_MOST, len(self._waiting)))]
                await in_own_thread(self.store.project, batch)
                for _ in batch:
                    self._waiting.popleft()
                if has_effects(batch):
                    for wake in self.wakers:
                        wake()
                self._done.set()

    async def caught_up(self, seq: int) -> None:
        """Wait until everything up to input `seq` is in the store; an error where the projection has ended."""
        while self.store.projected_seq < seq:
            if self._failed is not None:
                raise RuntimeError(f"the store has stopped at input {self.store.projected_seq}") from self._failed
            self._done.clear()
            self._work.set()
            await self._done.wait()
