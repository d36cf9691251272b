"""Turns wall time into inputs: what falls due, a tick after it, and the list of who will be short at the switch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec

from closeout.adapters.notices.wording import Shortfall
from closeout.core.times import MINUTE, SECOND
from closeout.engine.commands import AnyCommand, Flatten, GiveNotice, Tick
from closeout.service import views
from closeout.service.schedule import Schedule
from closeout.service.time import Clock
from closeout.service.writer import Busy, Writer

SOURCE = "clock"
CHUNK = 200
"""Commands in one offer: an account's order checks do not wait for ten thousand notices."""


@dataclass(slots=True)
class Timekeeper:
    """`tick` is the time between two ticks, in the clock's nanoseconds. `look_ahead`: how many minutes before a switch
    its list is sent."""

    writer: Writer
    schedule: Schedule
    clock: Clock
    look_ahead: Iterable[int] = (60, 15)
    tick: int = SECOND
    last: int = 0
    """The instant up to which everything has been said."""
    _announced: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    async def begin(self) -> None:
        """Say what fell due while nobody kept the time, and what is true now."""
        now = self.clock.now()
        since = self.writer.engine.loaded.ticked or now
        await self._catch_up(since, max(since, now))
        await self._say(self.schedule.at_start(self.writer.engine.loaded, now))

    async def run(self) -> None:
        """Keep the time, for ever."""
        while True:
            await self.clock.sleep(self._until_next())
            now = max(self.clock.now(), self.last)
            await self._catch_up(self.last, now)
            await self._announce(now)

    def _until_next(self) -> int:
        """To the next tick, or to what falls due before it: a switch is not a tick late."""
        due = self.schedule.due(self.writer.engine.loaded, self.last, self.last + self.tick)
        at = due[0][0] if due else self.last + self.tick
        return max(0, min(at - self.clock.now(), self.tick))

    async def _catch_up(self, since: int, until: int) -> None:
        """All that falls due in (since, until], and a tick. Each instant's commands are durable together with the tick
        that says so, so that a kill repeats none of them: funding is taken once. Only closing an account at its flatten
        time may come twice, and may be ten thousand commands: those go before, in pieces."""
        due = self.schedule.due(self.writer.engine.loaded, since, until)
        for at, group in groupby(due, key=lambda item: item[0]):
            commands = [command for _, command in group]
            await self._say([command for command in commands if isinstance(command, Flatten)])
            await self._offer(*(command for command in commands if not isinstance(command, Flatten)), Tick(at))
        await self._offer(Tick(until))
        self.last = until

    async def _say(self, commands: Sequence[AnyCommand]) -> None:
        """What may be said again after a kill, in pieces between which others have their turn."""
        for start in range(0, len(commands), CHUNK):
            await self._offer(*commands[start : start + CHUNK])

    async def _offer(self, *commands: AnyCommand) -> None:
        """In one frame."""
        while True:
            try:
                await self.writer.offer(SOURCE, *commands)
                return
            except Busy:
                await self.clock.sleep(SECOND // 20)

    # -- look-ahead ----------------------------------------------------------------------------------

    async def _announce(self, now: int) -> None:
        """Ahead of a switch, the list to the desk and a letter to each customer on it (US-27), once each."""
        state = self.writer.engine.loaded
        found = views.next_switch(state, now)
        if found is None:
            return
        switch, windows = found
        minutes = [m for m in self.look_ahead if switch - m * MINUTE <= now < switch]
        if not minutes or (switch, min(minutes)) in self._announced:
            return
        self._announced = {(switch, m) for m in self.look_ahead if m >= min(minutes)}
        rows: list[Shortfall] = []
        for row in views.short_rows(state, windows):
            line = shortfall(views.ahead_of(state, row, windows), state.policy.currency.places, switch)
            if line.deposit:  # not cured meanwhile
                rows.append(line)
            await asyncio.sleep(0)  # there may be thousands, and others have their turn
        if rows:
            listed = msgspec.json.encode(rows[:CHUNK]).decode()
            notices = [GiveNotice(row.account_id, "look_ahead", msgspec.json.encode(row).decode()) for row in rows]
            await self._say([GiveNotice("", "look_ahead_list", listed), *notices])


def shortfall(item: dict[str, Any], places: int, switch: int) -> Shortfall:
    """A line of the list in micros, for the letters."""

    def micros(text: str) -> int:
        return int(Decimal(text).scaleb(places))

    return Shortfall(
        item["account_id"], switch, micros(item["net_liq"]), micros(item["requirement"]),
        micros(item["smallest_deposit"]), {row["contract"]: row["quantity"] for row in item["fewest_lots"]},
    )  # fmt: skip
