"""The writer: durable before it is answered, once per key, marks newest first, and an end for everybody who waits."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from closeout.engine import commands as c
from closeout.engine.commands import Input
from closeout.engine.engine import Engine
from closeout.engine.events import AnyEvent, Posted
from closeout.rulebooks.loader import load
from closeout.service import writer as writer_module
from closeout.service.writer import Answer, Busy, KeyBusy, KeyReused, Outcome, Stopped, Writer, command_digest, key_hash

CONTRACT = "BTCUSDT"


class FixedClock:
    speed = 1.0

    def __init__(self) -> None:
        self.time = 10**18

    def now(self) -> int:
        return self.time

    async def sleep(self, nanoseconds: int) -> None:
        await asyncio.sleep(0)


@dataclass
class MemoryJournal:
    """Frames in memory. `gate`, where set, holds each commit back; `broken` makes it fail."""

    frames: list[list[Input]] = field(default_factory=list)
    recorded: list[tuple[int, Sequence[AnyEvent]]] = field(default_factory=list)
    gate: Callable[[], None] | None = None
    broken: bool = False

    def append(self, inputs: Sequence[Input]) -> int:
        if self.gate is not None:
            self.gate()
        if self.broken:
            raise OSError("the disk is gone")
        self.frames.append(list(inputs))
        return sum(map(len, self.frames))

    def record(self, seq: int, events: Sequence[AnyEvent]) -> None:
        self.recorded.append((seq, events))

    def checkpoint(self, seq: int, engine: Engine) -> str:
        return ""

    def snapshot(self, seq: int, engine: Engine) -> str:
        return ""

    @property
    def inputs(self) -> list[Input]:
        return [item for frame in self.frames for item in frame]


def writing(scenario: Callable[[Writer, MemoryJournal], Awaitable[Any]], **settings: Any) -> MemoryJournal:
    """Run a scenario beside a writer whose engine has a rulebook and the accounts A1 and A2."""
    journal = MemoryJournal()

    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            writer = Writer(Engine(), journal, 0, FixedClock(), thread, **settings)
            run = asyncio.create_task(writer.run())
            await writer.offer("service", c.LoadRulebook(load("reference").document()))
            await writer.offer("service", c.OpenAccount("A1"), c.OpenAccount("A2"))
            try:
                await scenario(writer, journal)
            finally:
                writer.stop()
                await asyncio.gather(run, return_exceptions=True)

    asyncio.run(main())
    return journal


def micros(outcome: Outcome) -> list[int]:
    return [event.micros for answer in outcome.answers for event in answer.events if isinstance(event, Posted)]


@pytest.mark.rule("G-09", "G-16")
def test_an_answer_comes_after_its_commit_and_state_is_that_of_what_is_durable() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        outcome = await writer.offer("key:b", c.Deposit("A1", 5))
        assert journal.inputs[-1].command == c.Deposit("A1", 5)
        assert outcome.answers[0].seq == len(journal.inputs) == journal.recorded[-1][0]
        assert micros(outcome) == [5]

    writing(scenario)


@pytest.mark.rule("G-09")
def test_what_waits_during_a_commit_becomes_one_frame_in_order_of_coming() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        offers = [asyncio.create_task(writer.offer(f"key:{i % 3}", c.Deposit("A1", i + 1))) for i in range(40)]
        await asyncio.gather(*offers)
        deposits = [item for item in journal.inputs if isinstance(item.command, c.Deposit)]
        assert [item.command.micros for item in deposits] == list(range(1, 41))  # type: ignore[union-attr]
        for source in ("key:0", "key:1", "key:2"):
            numbers = [item.number for item in deposits if item.source == source]
            assert numbers == list(range(1, len(numbers) + 1))
        assert len(journal.frames) < 20

    writing(scenario)


def test_the_commands_of_one_offer_stand_in_one_frame() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        await asyncio.gather(*(writer.offer("key:b", *[c.Deposit("A1", i + 1)] * 7) for i in range(9)))
        frames = [[i.command.micros for i in f if isinstance(i.command, c.Deposit)] for f in journal.frames[2:]]
        assert all(len(frame) % 7 == 0 for frame in frames)

    writing(scenario, frame_limit=10)


@pytest.mark.rule("G-19")
def test_marks_of_one_feed_go_in_as_one_batch_and_only_a_newer_one_replaces_one() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        writer.offer_marks("feed:a", {"BTCUSDT": 100, "ETHUSDT": 7})
        writer.offer_marks("feed:a", {"BTCUSDT": 101})
        writer.offer_marks("feed:b", {"SOLUSDT": None})
        await writer.settled()
        batches = [item for item in journal.inputs if isinstance(item.command, c.Marks)]
        assert [(item.source, item.command) for item in batches] == [
            ("feed:a", c.Marks((c.Mark("BTCUSDT", 101), c.Mark("ETHUSDT", 7)))),
            ("feed:b", c.Marks((c.Mark("SOLUSDT", None),))),
        ]
        assert writer.timings.conflated == 1

    writing(scenario)


@pytest.mark.rule("G-09")
def test_a_key_acts_once_and_refuses_another_request() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        first, second = await asyncio.gather(
            writer.offer("key:b", c.Deposit("A1", 5), key="k"),
            writer.offer("key:b", c.Deposit("A1", 5), key="k"),
            return_exceptions=True,
        )
        assert isinstance(first, Outcome)
        assert isinstance(second, KeyBusy)
        again = await writer.offer("key:b", c.Deposit("A1", 5), key="k")
        assert again == Outcome(first.answers, replayed=True)
        with pytest.raises(KeyReused):
            await writer.offer("key:b", c.Deposit("A1", 6), key="k")
        other = await writer.offer("key:other", c.Deposit("A1", 6), key="k")  # keys belong to their sender
        assert micros(other) == [6]
        assert sum(isinstance(item.command, c.Deposit) for item in journal.inputs) == 2

    writing(scenario)


@dataclass(frozen=True)
class Stored:
    command_digest: bytes
    answers: tuple[Answer, ...]


class OldReplies:
    """What the store would find of an earlier process."""

    def __init__(self) -> None:
        self.asked = 0

    def find_reply(self, source: str, key: str) -> Stored | None:
        self.asked += 1
        if (source, key) != ("key:b", "old"):
            return None
        return Stored(command_digest((c.Deposit("A1", 5),)), (Answer(17, 3, []),))


@pytest.mark.rule("G-09", "G-16")
def test_after_a_restart_the_first_answer_comes_out_of_the_store() -> None:
    replies = OldReplies()

    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        again = await writer.offer("key:b", c.Deposit("A1", 5), key="old")
        assert again == Outcome((Answer(17, 3, []),), replayed=True)
        with pytest.raises(KeyReused):
            await writer.offer("key:b", c.Deposit("A1", 7), key="old")
        assert replies.asked == 2
        await writer.offer("key:b", c.Deposit("A1", 7), key="new")
        assert replies.asked == 2  # an unknown key costs no look into the store

    writing(scenario, replies=replies, keys={key_hash("key:b", "old")})


def test_a_full_queue_refuses_and_forgets_the_key() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        held = [asyncio.create_task(writer.offer("key:b", c.Deposit("A1", 1))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await writer.offer("key:b", c.Deposit("A1", 9), key="k")
        await asyncio.gather(*held)
        assert micros(await writer.offer("key:b", c.Deposit("A1", 9), key="k")) == [9]
        assert writer.timings.refused == 1

    writing(scenario, queue_limit=3)


def test_those_who_are_too_far_behind_hold_offers_up() -> None:
    behind = [True]

    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        writer.held_up = lambda: behind[0]
        with pytest.raises(Busy):
            await writer.offer("key:b", c.Deposit("A1", 1))
        behind[0] = False
        await writer.offer("key:b", c.Deposit("A1", 1))

    writing(scenario)


@pytest.mark.rule("G-16")
def test_a_failed_commit_answers_nobody_with_success_and_ends_the_writer() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        journal.broken = True
        ends = await asyncio.gather(
            *(writer.offer("key:b", c.Deposit("A1", 1)) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(end, Stopped) for end in ends)
        assert isinstance(writer.failed, OSError)
        with pytest.raises(Stopped):
            await writer.offer("key:b", c.Deposit("A1", 1))
        assert int(writer.engine.loaded.book.cash[writer.engine.loaded.row("A1")]) == 0

    writing(scenario)


def test_stopping_takes_nothing_new_and_finishes_what_was_taken() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        taken = [asyncio.create_task(writer.offer("key:b", c.Deposit("A1", 1))) for _ in range(5)]
        await asyncio.sleep(0)
        writer.stop()
        with pytest.raises(Stopped):
            await writer.offer("key:b", c.Deposit("A1", 1))
        assert all(micros(outcome) == [1] for outcome in await asyncio.gather(*taken))

    writing(scenario)


def test_an_errand_runs_between_two_frames() -> None:
    seen: list[int] = []

    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        offers = [asyncio.create_task(writer.offer("key:b", c.Deposit("A1", 1))) for _ in range(30)]
        counted = await writer.between(lambda: (seen.append(len(journal.inputs)), len(journal.recorded))[1])
        assert counted == seen[0]  # everything durable was applied as well
        await asyncio.gather(*offers)

    writing(scenario, frame_limit=4)


@pytest.mark.rule("G-03")
def test_time_never_runs_back() -> None:
    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        clock = writer.clock
        assert isinstance(clock, FixedClock)
        await writer.offer("key:b", c.Deposit("A1", 1))
        clock.time -= 10**12
        outcome = await writer.offer("key:b", c.Deposit("A1", 1))
        assert outcome.rejected is None
        assert journal.inputs[-1].time == journal.inputs[-2].time

    writing(scenario)


@pytest.mark.rule("G-09")
def test_an_answer_stays_in_memory_until_the_store_can_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store may be a hundred thousand inputs behind: a key must not act again because nobody remembers it."""
    monkeypatch.setattr(writer_module, "RECENT", 2)

    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        for number in range(5):
            await writer.offer("key:b", c.Deposit("A1", 1), key=f"k{number}")
        assert (await writer.offer("key:b", c.Deposit("A1", 1), key="k0")).replayed
        writer.stored = lambda: writer.seq
        await writer.offer("key:b", c.Deposit("A1", 1), key="k5")
        assert len(writer._recent) == 2  # pyright: ignore[reportPrivateUsage]

    writing(scenario, replies=NoReplies(), stored=lambda: 0)


class NoReplies:
    """Has nothing yet."""

    def find_reply(self, source: str, key: str) -> None:
        return None


def test_keys_are_looked_up_for_a_day_at_least_and_then_forgotten() -> None:
    replies = OldReplies()

    async def scenario(writer: Writer, journal: MemoryJournal) -> None:
        writer.forget_keys()
        assert (await writer.offer("key:b", c.Deposit("A1", 5), key="old")).replayed
        writer.forget_keys()
        assert not (await writer.offer("key:b", c.Deposit("A1", 5), key="old")).replayed
        assert replies.asked == 1

    writing(scenario, replies=replies, keys={key_hash("key:b", "old")})
