"""Mail and webhooks from the outbox: each is marked as being sent before it goes out, and keeps its id (US-11, G-16).

What was being sent when a process died goes out again under the same Message-ID, and is counted: that is the one case
in which a second copy can exist.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec

from closeout.adapters.notices import wording
from closeout.adapters.notices.letter import Letter
from closeout.adapters.notices.mail import Mail, MailSender, Refused, Retry, message_id
from closeout.core.times import MINUTE, SECOND, time_text
from closeout.core.units import Currency, InputError
from closeout.engine import events as ev
from closeout.service.logs import logger
from closeout.service.marker import Marker
from closeout.service.store.records import Effect, LevelChange, Query
from closeout.service.store.store import Store
from closeout.service.threads import in_own_thread
from closeout.service.time import Clock

LOG = logger(__name__)
T = TypeVar("T")

MAIL_KINDS = ("notice", "alarm")
TRIES = 12
"""After so many tries, with pauses of 1 s to 10 min, a person decides."""
LONGEST_PAUSE = 600 * SECOND
AT_ONCE = 20
WARN_AGAIN = 15 * MINUTE
"""An account that swings about a level is warned of that level once in this time (assumed)."""


class Addresses(Protocol):
    """Where an account's mail goes: "" where nobody said."""

    def __call__(self, account_id: str) -> str: ...


class AddressFile:
    """A CSV file ``account_id,address``, read again when it changes; an isolated position's mail goes to its account's
    address. `InputError` names the line that is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = 0
        self._addresses: dict[str, str] = {}
        self._read()

    def __call__(self, account_id: str) -> str:
        if self._path.exists() and self._path.stat().st_mtime_ns != self._changed:
            self._read()
        return self._addresses.get(account_id) or self._addresses.get(account_id.partition("/")[0], "")

    def _read(self) -> None:
        try:
            changed = self._path.stat().st_mtime_ns
            rows = list(csv.reader(self._path.read_text(encoding="utf-8").splitlines()))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self._path}: cannot be read: {error}") from None
        found: dict[str, str] = {}
        for number, row in enumerate(rows, 1):
            if number == 1 and row[:1] == ["account_id"]:
                continue
            if len(row) != 2 or not row[0] or "@" not in row[1]:
                raise InputError(f"{self._path}: line {number}: expected account_id,address")
            found[row[0]] = row[1]
        self._addresses, self._changed = found, changed


class Hook(Protocol):
    """A receiver of webhooks."""

    async def send(self, event_id: str, body: bytes) -> None: ...


@dataclass(slots=True)
class PostOffice:
    """Sends what the outbox holds of mail and webhooks. `mail` None: mail is off, and its rows are marked so."""

    store: Store
    clock: Clock
    currency: Currency
    mail: MailSender | None
    address: Addresses
    desk: Sequence[str]
    domain: str
    hooks: Sequence[Hook] = ()
    sent: int = 0
    second_copies: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _marker: Marker = field(init=False)
    _warned: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict[tuple[str, str], tuple[int, str]])
    _given: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Of effects that are tried again, or parked: which receivers have them."""

    def __post_init__(self) -> None:
        self._marker = Marker(self.store)

    def wake(self) -> None:
        """New rows are durable."""
        self._wake.set()

    async def run(self) -> None:
        """Send again what an earlier process was sending, then all that falls due."""
        for effect in await self._call(self.store.sending_effects):
            if effect.kind in (*MAIL_KINDS, "webhook"):
                self.second_copies += effect.kind in MAIL_KINDS
                reason = "the process ended while it was being sent"
                await self._call(self.store.mark_failed, effect.effect_id, reason, self.clock.now())
        kinds = (*MAIL_KINDS, "webhook")
        while True:
            self._wake.clear()
            due = await self._call(self.store.due_effects, self.clock.now(), AT_ONCE, kinds)
            if not due:
                await self._pause()
                continue
            await self._call(self.store.mark_sending, [effect.effect_id for effect in due])
            await asyncio.gather(*(self._send(effect) for effect in due))

    async def _send(self, effect: Effect) -> None:
        try:
            note = await (self._hooks(effect) if effect.kind == "webhook" else self._mails(effect))
        except Refused as reason:
            await self._call(self.store.mark_parked, effect.effect_id, str(reason)[:500])
        except Exception as fault:
            reason = fault if isinstance(fault, Retry) else _surprise(fault, effect.effect_id)
            self.second_copies += reason.maybe_taken and effect.kind in MAIL_KINDS
            if effect.attempts + 1 >= TRIES:
                await self._call(self.store.mark_parked, effect.effect_id, f"{TRIES} tries: {reason}"[:500])
            else:
                pause = min(SECOND << effect.attempts, LONGEST_PAUSE)
                not_before = self.clock.now() + pause
                await self._call(self.store.mark_failed, effect.effect_id, str(reason)[:500], not_before)
        else:
            self.sent += 1
            await self._marker.sent(effect.effect_id, note)

    # -- mail ----------------------------------------------------------------------------------------

    async def _mails(self, effect: Effect) -> str:
        """Hand the letter in for each of its addresses; the note says where it went."""
        if self.mail is None:
            return "mail is off"
        event = effect.event
        to_desk = isinstance(event, ev.Alarm) or not event.account_id
        try:
            own = "" if to_desk else await in_own_thread(self.address, event.account_id)
        except InputError as bad:  # the file of addresses: its mail waits until it is mended
            raise Retry(str(bad)) from None
        addresses = [own] if own else list(self.desk)
        if not addresses:
            if to_desk:
                return "the desk has no address"
            raise Refused(f"account {event.account_id} has no address, and neither has the desk")
        if isinstance(event, ev.Notice) and event.kind == "warning":
            time, first = self._warned.get((event.account_id, event.detail), (0, effect.effect_id))
            if first != effect.effect_id and effect.time - time < WARN_AGAIN:
                return f"warned of this level at {time_text(time)}"
            self._warned[event.account_id, event.detail] = (effect.time, effect.effect_id)
        letter = await self._letter(effect)
        mails: dict[str, Callable[[], Awaitable[None]]] = {}
        for index, address in enumerate(addresses):
            own_id = message_id(effect.effect_id if index == 0 else f"{effect.effect_id}-{index}", self.domain)
            mails[address] = partial(self.mail.send, Mail(own_id, address, letter.subject, letter.text, letter.html))
        await self._to_each(effect.effect_id, mails)
        return f"to {', '.join(addresses)}"[:500]

    async def _letter(self, effect: Effect) -> Letter:
        event = effect.event
        about = wording.About(effect.time, self.currency)
        if isinstance(event, ev.Alarm):
            return wording.alarm(event, about)
        assert isinstance(event, ev.Notice)  # noqa: S101
        if event.kind == "look_ahead":
            return wording.look_ahead(msgspec.json.decode(event.detail, type=wording.Shortfall), about)
        if event.kind == "look_ahead_list":
            return wording.look_ahead_list(msgspec.json.decode(event.detail, type=list[wording.Shortfall]), about)
        receipt: Mapping[str, Any] | None = None
        level: ev.LevelChanged | None = None
        if event.kind in ("liquidation", "correction"):
            stored = await self._call(self.store.receipt, event.detail)
            if stored is None:
                raise Refused(f"receipt {event.detail} is not in the store")
            receipt = cast(Mapping[str, Any], msgspec.json.decode(stored.document))
        elif event.kind == "warning":
            level = await self._level(effect)
        try:
            return wording.notice(event, about, receipt=receipt, level=level)
        except KeyError:
            raise Refused(f"there is no wording for a notice of kind {event.kind!r}") from None

    async def _level(self, effect: Effect) -> ev.LevelChanged | None:
        """The change of level that a warning is about: it came out of the same input."""
        query = Query(effect.account_id, effect.time, effect.time + 1, limit=100)
        page = await self._call(self.store.page, LevelChange, query)
        for row in page.items:
            if row.seq == effect.seq and row.account_id == effect.account_id:
                return ev.LevelChanged(row.account_id, row.before, row.after, row.net_liq, row.requirement, row.line)
        return None

    # -- webhooks ------------------------------------------------------------------------------------

    async def _hooks(self, effect: Effect) -> str:
        body = msgspec.json.encode({
            "id": effect.effect_id, "seq": effect.seq, "time": time_text(effect.time),
            "event": type(effect.event).__name__, "currency": self.currency.code,
            "data": {name: getattr(effect.event, name) for name in effect.event.__struct_fields__},
        })  # fmt: skip
        hooks = {str(index): partial(hook.send, effect.effect_id, body) for index, hook in enumerate(self.hooks, 1)}
        await self._to_each(effect.effect_id, hooks)
        return f"to {len(self.hooks)} receivers"

    # -- helpers -------------------------------------------------------------------------------------

    async def _to_each(self, effect_id: str, receivers: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """Every receiver is tried, whatever the others answer. Who has it is not given it again by this process."""
        given = self._given.setdefault(effect_id, set())
        faults: dict[str, Refused | Retry] = {}
        for name, send in receivers.items():
            if name in given:
                continue
            try:
                await send()
            except (Refused, Retry) as fault:
                faults[name] = fault
            except Exception as fault:
                faults[name] = _surprise(fault, effect_id)
            else:
                given.add(name)
        said = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        again = [fault for fault in faults.values() if isinstance(fault, Retry)]
        if again:
            raise Retry(said, maybe_taken=any(fault.maybe_taken for fault in again))
        if faults:
            raise Refused(said)
        del self._given[effect_id]

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        return await in_own_thread(function, *args)


def _surprise(fault: Exception, effect_id: str) -> Retry:
    """One letter that cannot be made or sent must not keep back the others, nor end the service."""
    LOG.error("not sent", effect=effect_id, exc_info=fault)
    return Retry(f"{type(fault).__name__}: {fault}", maybe_taken=True)
