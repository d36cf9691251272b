"""A recorded market played into the running service, with the book of accounts that lives through it: the demo's world.

Prices, customers who come and go, and a broker who reports their fills: all enter by the same door as live ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from closeout.adapters.venues.paper import PaperVenue
from closeout.adapters.venues.simulated import BarTicks
from closeout.core.times import SECOND
from closeout.engine.commands import AcknowledgeDisclosure, CheckOrder, Command, Fill, OpenAccount
from closeout.engine.events import OrderApproved
from closeout.service.schedule import Samples
from closeout.service.time import RecordedClock
from closeout.service.writer import Busy, Outcome, Writer
from closeout.studies.accounts import AccountFile
from closeout.studies.replay import Replay, all_marked, opening_check

FEED = "recorded"
CHUNK = 200
POINTS = 4


@dataclass(slots=True)
class RecordedMarket:
    """Plays `replay`'s bars and accounts. After a restart it goes on at the clock's present instant."""

    replay: Replay
    writer: Writer
    venue: PaperVenue
    clock: RecordedClock
    samples: dict[str, Samples]
    ended: bool = False
    bar: int = 0
    not_admitted: int = 0
    _members: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    async def run(self) -> None:
        """Play to the end of the recording; then its last marks grow old, which is the truth."""
        begin = self.clock.start
        interval = self.replay.market.interval()
        self._resume(begin - interval)
        for number, (time, bars) in enumerate(self.replay.bars, 1):
            self.bar = number
            if time + interval < begin:
                continue
            for point in range(POINTS):
                at = time + interval * point // POINTS
                await self.clock.sleep(at - self.clock.now())
                await self._point(time, point, bars, known=at < begin)
        self.ended = True
        self.venue.end()

    def _resume(self, since: int) -> None:
        """After a restart: who was in is in; who was due before the present bar and is not, was not admitted."""
        state = self.writer.engine.loaded
        rows = state.book.row
        for _, commands, account in self.replay.waiting:
            if account.account_id in rows:
                self._members[account.account_id] = _members(commands)
        self.replay.waiting = [
            (at, wanted, account)
            for at, wanted, account in self.replay.waiting
            if account.account_id not in rows and (at >= since or not all_marked(state, wanted))
        ]

    async def _point(self, time: int, point: int, bars: dict[str, BarTicks], *, known: bool) -> None:
        """One point of a bar: the venue first, then the marks unless they are `known`, then who comes and who goes."""
        state = self.writer.engine.loaded
        traded = {name: bar for name, bar in bars.items() if state.contracts[name].is_open}
        if point == 0:
            self.venue.on_bar(time, traded)
        else:
            self.venue.on_point(point)
        marks: dict[str, int | None] = {name: bar.points()[point] for name, bar in traded.items()}
        if marks and not known:
            now = self.clock.now()
            for name, ticks in marks.items():
                self.samples[name].mark(now, ticks or 0)
            self.writer.offer_marks(f"feed:{FEED}", marks)
            await self.writer.settled()
        if point == 0:
            await self._come(time)
            await self._go(time)

    async def _come(self, time: int) -> None:
        """Accounts that are due and whose contracts are marked; who fails the opening check is not admitted (EX-09)."""
        state = self.writer.engine.loaded
        offers: list[list[Command]] = [[]]
        later: list[tuple[int, list[Command], AccountFile]] = []
        for entry in self.replay.waiting:
            opened_at, wanted, account = entry
            if opened_at > time or not all_marked(state, wanted):
                later.append(entry)
            elif opening_check(state, wanted)[2]:
                if len(offers[-1]) + len(wanted) >= CHUNK:  # an account is not parted: a kill leaves it in, or out
                    offers.append([])
                offers[-1] += wanted
                if state.disclosure:  # who brings a position has acknowledged it before
                    offers[-1].append(AcknowledgeDisclosure(account.account_id, state.disclosure))
                self._members[account.account_id] = _members(wanted)
            else:
                self.not_admitted += 1
        self.replay.waiting = later
        for commands in offers:
            if commands:
                await self._offer("service", commands)

    async def _go(self, time: int) -> None:
        """Customers whose time is up close their own positions, as orders that only reduce risk."""
        for account_id in [key for key, at in self.replay.leaving.items() if at <= time and key in self._members]:
            del self.replay.leaving[account_id]
            for member in self._members[account_id]:
                state = self.writer.engine.loaded
                row = state.book.row[member]
                if row in state.book.close_outs:
                    continue
                for holding in state.holdings(row):
                    name = holding.contract.name
                    if state.contracts[name].is_open:
                        await self._close(member, name, -holding.lots)

    async def _close(self, member: str, name: str, lots: int) -> None:
        order_id = f"exit-{member}-{name}"
        outcome = await self._offer("customer", [CheckOrder(member, order_id, name, lots)])
        if any(isinstance(event, OrderApproved) for answer in outcome.answers for event in answer.events):
            price = self.writer.engine.loaded.contracts[name].mark or 0
            await self._offer("broker", [Fill(member, name, lots, price, order_id, f"{order_id}-f1")])

    async def _offer(self, source: str, commands: Sequence[Command]) -> Outcome:
        while True:
            try:
                return await self.writer.offer(source, *commands)  # pyright: ignore[reportArgumentType]
            except Busy:
                await self.clock.sleep(SECOND // 10)


def _members(commands: Sequence[Command]) -> list[str]:
    return [command.account_id for command in commands if isinstance(command, OpenAccount)]
