"""The access log: who did or was refused what.

Entries wait in memory and go into the store once a second and at shutdown, so an answer never waits for them: the last
second of them is lost in a crash (the acts themselves are in the journal). When the store cannot keep up, `LIMIT`
entries wait at most and `dropped` counts the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque

from closeout.service.context import Context
from closeout.service.store.records import AuditEntry

LIMIT = 100_000
INTERVAL = 1.0


class Audit:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[AuditEntry] = deque()
        self.dropped = 0

    def add(self, entry: AuditEntry) -> None:
        if len(self._waiting) >= LIMIT:
            self.dropped += 1
        else:
            self._waiting.append(entry)

    async def run(self) -> None:
        """Write for ever; cancelling it writes what is left."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        entries = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not entries:
            return
        try:
            await asyncio.to_thread(self._context.store.audit, entries)
        except Exception as error:  # the store is back, or the service ends for that reason: not an answer's affair
            self._waiting.extendleft(reversed(entries))
            self._context.failed("audit", error)
