"""Marks effects as sent, many in one transaction."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from closeout.service.store.effects import Effects
from closeout.service.threads import in_own_thread


@dataclass(slots=True)
class Marker:
    """What is to be marked while one transaction is under way goes into the next: a hundred orders at once do not each
    wait for the disk."""

    effects: Effects
    _waiting: dict[str, str] = field(default_factory=dict[str, str])
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sent(self, effect_id: str, note: str) -> None:
        """Returns when it is durable."""
        self._waiting[effect_id] = note
        async with self._lock:
            if effect_id in self._waiting:
                taken, self._waiting = self._waiting, {}
                await in_own_thread(self.effects.mark_all_sent, taken)
