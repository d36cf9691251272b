"""Inputs act once, refused ones leave no trace, equal histories give equal states (G-03)."""

from collections import Counter
from random import Random

import pytest
from tests.properties.driver import DOLLARS, PRICES, Desk, all_recorded, orders, replay, state_image

from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine.commands import Input
from closeout.engine.engine import Engine


@pytest.mark.rule("G-09")
def test_a_refused_input_leaves_no_trace_and_none_acts_twice() -> None:
    """The state's image is the same after a refusal, and after an input that is offered again."""
    reached: Counter[str] = Counter()
    for inputs in all_recorded():
        engine = Engine()
        before = state_image(engine)
        for given in inputs:
            events = engine.apply(given)
            after = state_image(engine)
            refused = [event.code for event in events[:1] if isinstance(event, e.Rejected)]
            if refused:
                assert len(events) == 1
                assert after == before
                reached[refused[0]] += 1
            again = engine.apply(given)
            assert next(event.code for event in again if isinstance(event, e.Rejected)) in (
                "duplicate_input",
                "gap_in_inputs",
            )
            assert state_image(engine) == after
            before = after
    print(dict(reached))
    assert sum(reached.values()) >= 300
    assert len(reached) >= 20


@pytest.mark.rule("G-03")
def test_a_restored_engine_goes_on_as_the_first() -> None:
    restored = 0
    for inputs in all_recorded():
        twins = [Engine()]

        def look(engine: Engine, given: Input, events: list[e.AnyEvent], twins: list[Engine] = twins) -> None:
            assert twins[0].apply(given) == events
            twins[0] = Engine.restore(twins[0].snapshot())

        engine = replay(inputs, look)
        assert twins[0].digest() == engine.digest()
        restored += len(inputs)
    assert restored >= 100


def shuffled(inputs: tuple[Input, ...], random: Random) -> tuple[Input, ...]:
    """The same history: contracts of a batch in another order; accounts opened in another order, parents first."""
    opened: list[int] = []
    accounts: list[c.OpenAccount] = []
    for index, given in enumerate(inputs):
        if isinstance(given.command, c.OpenAccount) and len(opened) < 7:
            opened.append(index)
            accounts.append(given.command)
    random.shuffle(accounts)
    accounts.sort(key=lambda command: command.parent is not None)
    found = list(inputs)
    for index, command in zip(opened, accounts, strict=True):
        given = found[index]
        found[index] = Input(given.source, given.number, given.time, command)
    for index, given in enumerate(found):
        if isinstance(given.command, c.Marks):
            marks = list(given.command.marks)
            random.shuffle(marks)
            found[index] = Input(given.source, given.number, given.time, c.Marks(tuple(marks)))
    return tuple(found)


@pytest.mark.rule("G-03", "G-19", "EX-04")
def test_the_order_of_equals_does_not_matter() -> None:
    """Marks within a batch and the order in which accounts were opened change no event and no digest, with whom a
    waterfall takes from as well."""
    moved = 0
    for seed, inputs in enumerate(all_recorded()):
        told: list[list[e.AnyEvent]] = []
        engine = replay(inputs, lambda _, given, events, told=told: told.append(_without_names(events)))
        other = shuffled(inputs, Random(seed))
        retold: list[list[e.AnyEvent]] = []
        twin = replay(other, lambda _, given, events, told=retold: told.append(_without_names(events)))
        moved += sum(a != b for a, b in zip(inputs, other, strict=True))
        assert retold == told
        assert twin.digest() == engine.digest()
    print(moved)
    assert moved >= 100


def _without_names(events: list[e.AnyEvent]) -> list[e.AnyEvent]:
    """Alarms about contracts follow the batch, and a refused batch names the first contract at fault."""
    return [event for event in events if not isinstance(event, e.Alarm | e.Rejected)]


@pytest.mark.rule("G-03")
def test_the_order_that_matters_is_the_order_of_inputs() -> None:
    """A deposit before the mark saves the account; after it, it comes too late."""
    for deposit_first in (True, False):
        desk = Desk(DOLLARS, PRICES)
        desk.open("A", 10_000_000_000)
        desk.bring("A", {"MES": 10})
        steps = [c.Deposit("A", 50_000_000_000), c.Marks((c.Mark("MES", 18_900),))]
        told = [event for step in (steps if deposit_first else steps[::-1]) for event in desk.accept(step)]
        assert bool(orders(told)) is not deposit_first
