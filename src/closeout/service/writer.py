"""The one writer: what the world says becomes durable, is applied, and only then is answered and published.

    offers, marks -> queue -> one frame -> journal (a commit) -> engine -> answers, subscribers

Everything but the commit (in `thread`, where the journal was opened) runs on the event loop, so whoever reads `engine`
there between two awaits sees a state that is whole and durable. While one frame is being committed the next one fills
up: that is the group commit. Marks wait in one slot per source and contract and are taken newest first: under load a
batch has one mark of a contract, and `conflated` counts those that a newer one replaced (none is dropped otherwise). A
full queue refuses offers (`Busy`).
"""

from __future__ import annotations

import asyncio
import time as wall
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol, TypeVar, cast

import msgspec

from closeout.engine.commands import AnyCommand, Input, Mark, Marks
from closeout.engine.engine import Engine
from closeout.engine.events import AnyEvent, Rejected
from closeout.service.applied import Applied, Batch
from closeout.service.time import Clock

T = TypeVar("T")
ENCODER = msgspec.msgpack.Encoder(order="deterministic")

QUEUE = 10_000
"""Offers that wait at most; one more is refused with `Busy`."""
FRAME = 250
"""Commands in one frame at most: what an answer waits for at most while others are applied."""
RECENT = 50_000
"""Answers to keyed offers held in memory; older ones are asked of `Replies`, when it has them."""


class Refused(Exception):
    """Base of the reasons for which an offer never reached the journal: nothing has happened."""


class Busy(Refused):
    """The queue is full; try again in a moment."""


class Stopped(Refused):
    """The writer is stopping, or has failed."""


class KeyReused(Refused):
    """The idempotency key came before with another command."""


class KeyBusy(Refused):
    """The first offer with this idempotency key is still under way."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What followed from one input. The same after a restart, when it comes out of `Replies`."""

    seq: int
    time: int
    events: Sequence[AnyEvent]

    @property
    def rejected(self) -> Rejected | None:
        first = self.events[0] if self.events else None
        return first if isinstance(first, Rejected) else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers to an offer's commands, in order. `replayed`: the key came before and these are the first answers."""

    answers: tuple[Answer, ...]
    replayed: bool = False

    @property
    def rejected(self) -> Rejected | None:
        """The first rejection among the answers."""
        return next((answer.rejected for answer in self.answers if answer.rejected), None)


class Reply(Protocol):
    """An answered key as it was stored."""

    @property
    def command_digest(self) -> bytes: ...

    @property
    def answers(self) -> Sequence[Answer]: ...


class Replies(Protocol):
    """Where answered keys are found again (the store)."""

    def find_reply(self, source: str, key: str) -> Reply | None: ...


class JournalLike(Protocol):
    """What the writer needs of a journal."""

    def append(self, inputs: Sequence[Input]) -> int: ...

    def record(self, seq: int, events: Sequence[AnyEvent]) -> None: ...

    def checkpoint(self, seq: int, engine: Engine) -> str: ...

    def snapshot(self, seq: int, engine: Engine) -> object: ...


@dataclass(slots=True)
class _Offer:
    source: str
    commands: Sequence[AnyCommand]
    key: str
    future: asyncio.Future[Outcome]
    at: float


@dataclass(slots=True)
class Timings:
    """Seconds of the last frame, with how long each of its offers took from its coming to its published verdict (the
    marks count as one offer), and totals, for the metrics."""

    commit: float = 0.0
    apply: float = 0.0
    waits: list[float] = field(default_factory=list[float])
    frames: int = 0
    inputs: int = 0
    conflated: int = 0
    refused: int = 0


def command_digest(commands: Sequence[AnyCommand]) -> bytes:
    """By which the same key with another request is told from a repetition."""
    return blake2b(ENCODER.encode(commands), digest_size=16).digest()


@dataclass(slots=True)
class Writer:
    """Owns the engine and the journal, which must be recovered; `seq` is the journal's last input.

    `keys` are hashes of all (source, key) pairs of the last day that the store knows (`key_hash`). `subscribers` are
    called on the loop with each batch after its answers are out; they must be quick and must not raise.
    """

    engine: Engine
    journal: JournalLike
    seq: int
    clock: Clock
    thread: ThreadPoolExecutor
    replies: Replies | None = None
    keys: set[int] = field(default_factory=set[int])
    stored: Callable[[], int] = lambda: 2**63
    """The last input that `replies` can answer for; answers to later ones stay in memory."""
    subscribers: list[Callable[[Batch], None]] = field(default_factory=list[Callable[[Batch], None]])
    timings: Timings = field(default_factory=Timings)
    held_up: Callable[[], bool] = lambda: False
    """Whether those behind the writer are too far behind; offers are then refused as well."""
    queue_limit: int = QUEUE
    frame_limit: int = FRAME
    failed: BaseException | None = None
    _offers: deque[_Offer] = field(default_factory=deque[_Offer])
    _waiting: int = 0
    _marks_at: float = 0.0
    _marks: dict[str, dict[str, int | None]] = field(default_factory=dict[str, dict[str, int | None]])
    _recent: OrderedDict[tuple[str, str], tuple[bytes, Outcome | None]] = field(
        default_factory=OrderedDict[tuple[str, str], tuple[bytes, "Outcome | None"]]
    )
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _errands: deque[tuple[Callable[[], object], asyncio.Future[object]]] = field(
        default_factory=deque[tuple[Callable[[], object], "asyncio.Future[object]"]]
    )
    _older: set[int] = field(default_factory=set[int])
    _taken: list[_Offer] = field(default_factory=list[_Offer])
    _stopping: bool = False

    # -- what others call ----------------------------------------------------------------------------

    async def offer(self, source: str, *commands: AnyCommand, key: str = "") -> Outcome:
        """Offer commands that stand in one frame, and wait until they are durable and applied.

        With a `key` the offer acts once: the same again gets the first answers. Raises a `Refused` where nothing was
        taken; what the engine refuses is in the answers (`Rejected`)."""
        if key:
            known = await self._known(source, key, commands)
            if known is not None:
                return known
        if self._stopping or self.failed:
            self._forget(source, key)
            raise Stopped("the service is stopping")
        if self._waiting >= self.queue_limit or self.held_up():
            self._forget(source, key)
            self.timings.refused += 1
            raise Busy(f"{self._waiting} inputs are waiting")
        offer = _Offer(source, commands, key, asyncio.get_running_loop().create_future(), wall.perf_counter())
        self._offers.append(offer)
        self._waiting += len(commands)
        self._work.set()
        return await asyncio.shield(offer.future)

    def offer_marks(self, source: str, marks: Mapping[str, int | None]) -> None:
        """Marks in ticks, None for a contract that its source lost. They need no answer and never wait."""
        if not self._marks:
            self._marks_at = wall.perf_counter()
        slot = self._marks.setdefault(source, {})
        self.timings.conflated += len(slot.keys() & marks.keys())
        slot.update(marks)
        self._work.set()

    @property
    def waiting(self) -> int:
        """Commands that are not in a frame yet."""
        return self._waiting

    async def settled(self) -> None:
        """Wait until everything offered so far is applied."""
        while (self._waiting or self._marks or not self._idle.is_set()) and not self.failed:
            await self._idle.wait()
            await asyncio.sleep(0)

    async def run(self) -> None:
        """Write until `stop`; an exception of the engine or the journal ends it, and the process should end too: the
        journal then holds what was acknowledged, and perhaps inputs that were not."""
        try:
            while True:
                self._idle.set()
                await self._work.wait()
                self._work.clear()
                self._idle.clear()
                while self._marks or self._offers or self._errands:
                    while self._errands:
                        await self._errand()
                    if self._marks or self._offers:
                        await self._frame()
                if self._stopping:
                    return
        except BaseException as error:
            self.failed = error
            raise
        finally:
            self._idle.set()
            for future in (*(offer.future for offer in (*self._taken, *self._offers)), *(f for _, f in self._errands)):
                if not future.done():
                    future.set_exception(Stopped("the writer has stopped"))
                    future.exception()  # whoever waited may be gone
            self._offers.clear()
            self._errands.clear()

    def stop(self) -> None:
        """Take nothing more; `run` ends when what was taken is applied."""
        self._stopping = True
        self._work.set()

    async def between(self, errand: Callable[[], T]) -> T:
        """Run `errand` in the journal's thread between two frames: nothing is applied meanwhile."""
        if self._stopping or self.failed:
            raise Stopped("the service is stopping")
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._errands.append((errand, future))
        self._work.set()
        return cast(T, await asyncio.shield(future))

    # -- one frame -----------------------------------------------------------------------------------

    async def _errand(self) -> None:
        errand, future = self._errands.popleft()
        try:
            result = await asyncio.get_running_loop().run_in_executor(self.thread, errand)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    async def _frame(self) -> None:
        heard = [self._marks_at] if self._marks else []
        offers, inputs = self._take()
        self._taken = offers
        begun = wall.perf_counter()
        last = await asyncio.get_running_loop().run_in_executor(self.thread, self.journal.append, inputs)
        committed = wall.perf_counter()
        applied: list[Applied] = []
        for seq, given in enumerate(inputs, last - len(inputs) + 1):
            events = self.engine.apply(given)
            self.journal.record(seq, events)
            applied.append(Applied(seq, given, events))
        self.seq = last
        self._answer(offers, applied)
        self._taken = []
        timings = self.timings
        timings.commit, timings.apply = committed - begun, wall.perf_counter() - committed
        timings.frames += 1
        timings.inputs += len(inputs)
        done = wall.perf_counter()
        timings.waits = [done - at for at in (*heard, *(offer.at for offer in offers))]
        for subscriber in self.subscribers:
            subscriber(applied)
        await asyncio.sleep(0)

    def _take(self) -> tuple[list[_Offer], list[Input]]:
        """The next frame: all marks that wait, then offers as they came, an offer never split."""
        now = max(self.clock.now(), self.engine.state.time if self.engine.state else 0)
        numbers: dict[str, int] = {}

        def numbered(source: str, command: AnyCommand, key: str = "") -> Input:
            numbers[source] = numbers.get(source, self.engine.sources.get(source, 0)) + 1
            return Input(source, numbers[source], now, command, key)

        marks, self._marks = self._marks, {}
        inputs = [
            numbered(source, Marks(tuple(Mark(name, ticks) for name, ticks in sorted(slot.items()))))
            for source, slot in marks.items()
        ]
        offers: list[_Offer] = []
        while self._offers and (not offers or len(inputs) + len(self._offers[0].commands) <= self.frame_limit):
            offer = self._offers.popleft()
            self._waiting -= len(offer.commands)
            offers.append(offer)
            inputs += [numbered(offer.source, command, offer.key) for command in offer.commands]
        return offers, inputs

    def _answer(self, offers: Iterable[_Offer], applied: Sequence[Applied]) -> None:
        position = len(applied) - sum(len(offer.commands) for offer in offers)
        for offer in offers:
            own = applied[position : position + len(offer.commands)]
            position += len(own)
            outcome = Outcome(tuple(Answer(item.seq, item.input.time, item.events) for item in own))
            if offer.key:
                self._recent[offer.source, offer.key] = (command_digest(offer.commands), outcome)
                self.keys.add(key_hash(offer.source, offer.key))
            if not offer.future.done():
                offer.future.set_result(outcome)
        while len(self._recent) > RECENT:
            oldest, (_, outcome) = next(iter(self._recent.items()))
            if outcome is None or outcome.answers[-1].seq > self.stored():
                break
            del self._recent[oldest]

    # -- keys ----------------------------------------------------------------------------------------

    async def _known(self, source: str, key: str, commands: Sequence[AnyCommand]) -> Outcome | None:
        """The first answers to this key; None, and the key taken, when it is new."""
        digest = command_digest(commands)
        known = await self._remembered(source, key)
        if known is None:
            self._recent[source, key] = (digest, None)
            return None
        before, outcome = known
        if before != digest:
            raise KeyReused("this idempotency key came with another request before")
        if outcome is None:
            raise KeyBusy("the first request with this idempotency key is under way")
        return Outcome(outcome.answers, replayed=True)

    async def first_answer(self, source: str, key: str) -> Outcome | None:
        """What an offer with this key was answered, in the last day at least; None where there was none."""
        known = await self._remembered(source, key)
        return None if known is None else known[1]

    async def _remembered(self, source: str, key: str) -> tuple[bytes, Outcome | None] | None:
        known = self._recent.get((source, key))
        if known is None and self.replies is not None and self._answered(source, key):
            reply = await asyncio.to_thread(self.replies.find_reply, source, key)
            known = self._recent.get((source, key))  # meanwhile another may have taken it
            if known is None and reply is not None:
                known = (reply.command_digest, Outcome(tuple(reply.answers)))
        return known

    def _answered(self, source: str, key: str) -> bool:
        found = key_hash(source, key)
        return found in self.keys or found in self._older

    def forget_keys(self) -> None:
        """A day is over: keys of the day before it count as new again; `Replies` does not know them any more."""
        self._older, self.keys = self.keys, set()

    def _forget(self, source: str, key: str) -> None:
        if key:
            self._recent.pop((source, key), None)


def key_hash(source: str, key: str) -> int:
    """Eight bytes that stand for a key in `Writer.keys`; a false hit only costs a look into the store."""
    return int.from_bytes(blake2b(f"{source}\n{key}".encode(), digest_size=8).digest(), "big")
