"""Frames of packed inputs, a book and series of marks: proven, run again and recovered as any others (G-17)."""

import pytest
from tests.engine.bench import Desk, flat_margin
from tests.journal.places import Place, name_of, tampering

from closeout.engine import commands as c
from closeout.engine.engine import Engine
from closeout.engine.events import AnyEvent, CloseOutOrder
from closeout.engine.opening import pack as book_of
from closeout.engine.series import pack as series_of
from closeout.journal.journal import Journal
from closeout.journal.records import document_digest
from closeout.journal.verify import verify

ACCOUNTS = 40
BATCHES = 30


def frames() -> list[list[c.Input]]:
    """A rulebook, a book of accounts that a falling price closes out one after another, and the fall in three series,
    all but the first in one frame."""
    desk = Desk(overrides={"contracts": {"CAR": flat_margin("10")}})
    value = desk.facts("CAR").value
    accounts = [(f"A{number:02d}", (110 + 3 * number) * 10**6) for number in range(ACCOUNTS)]
    positions = [(name, "CAR", 10, value(10_000, 10)) for name, _ in accounts]
    mark = c.Marks((c.Mark("CAR", 10_000),))
    first = [*(given.command for given in desk.inputs), mark, book_of(accounts, positions)]
    walks = [
        [(desk.time + BATCHES * walk + n, 9_990 - 100 * walk - 3 * n) for n in range(BATCHES)] for walk in range(3)
    ]
    series = [series_of((time, [c.Mark("CAR", ticks)]) for time, ticks in walk) for walk in walks]
    times = [desk.time] * len(first) + [walk[-1][0] for walk in walks]
    inputs = [
        c.Input("in", n, time, command)
        for n, (time, command) in enumerate(zip(times, [*first, *series], strict=True), 1)
    ]
    return [inputs[:1], inputs[1:]]


def write(place: Place, *, stored: int = 2) -> tuple[str, list[AnyEvent]]:
    """Journal and apply the frames, a snapshot after `stored` of them; the digest at the end, and all events."""
    engine, events = Engine(), list[AnyEvent]()
    document = frames()[0][0].command
    assert isinstance(document, c.LoadRulebook)
    with Journal.create(
        place, engine_version=Engine.version, rulebook_digest=document_digest(document.document)
    ) as journal:
        for number, frame in enumerate(frames(), 1):
            last = journal.append(frame)
            for seq, given in enumerate(frame, last - len(frame) + 1):
                found = engine.apply(given)
                journal.record(seq, found)
                events += found
            if number == stored:
                journal.snapshot(last, engine)
    return engine.digest(), events


@pytest.mark.rule("G-17", "G-03")
@pytest.mark.parametrize("stored", [1, 2])
def test_they_are_proven_and_recovered(place: Place, stored: int) -> None:
    digest, events = write(place, stored=stored)
    assert len({event.order_id for event in events if isinstance(event, CloseOutOrder)}) >= 7
    result = verify(place, Engine)
    assert (result.problems, result.frames, result.events) == ([], 2, len(events))
    again: list[AnyEvent] = []
    with Journal.open(place) as journal:
        engine, seq = journal.recover(Engine, lambda _, __, found: again.extend(found))
        assert seq == sum(map(len, frames()))
    assert engine.digest() == digest
    assert again == ([] if stored == 2 else events)


@pytest.mark.rule("G-17")
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_byte_changed_in_their_columns_is_found(place: Place, part: float) -> None:
    write(place)
    with tampering(place) as execute:
        ((payload,),) = list(execute("SELECT payload FROM frame WHERE number = 2"))
        changed = bytearray(payload)
        changed[int(len(changed) * part)] ^= 1
        execute("UPDATE frame SET payload = ? WHERE number = 2", (bytes(changed),))
    (problem,) = verify(place, Engine).problems
    assert problem.startswith(f"{name_of(place)}: frame 2 ")


@pytest.mark.rule("G-17")
def test_a_torn_frame_is_found(place: Place) -> None:
    write(place)
    with tampering(place) as execute:
        ((payload,),) = list(execute("SELECT payload FROM frame WHERE number = 2"))
        execute("UPDATE frame SET payload = ? WHERE number = 2", (bytes(payload)[:-100],))
    (problem,) = verify(place, Engine).problems
    assert problem.startswith(f"{name_of(place)}: frame 2 ")
