"""One input that is durable and applied, with what followed from it: what the writer hands to everybody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from closeout.engine import series
from closeout.engine.commands import Input, Marks, MarkSeries
from closeout.engine.events import AnyEvent, Rejected


@dataclass(frozen=True, slots=True)
class Applied:
    """Input `seq` of the journal and its events, in the engine's order. Nobody changes `events`."""

    seq: int
    input: Input
    events: list[AnyEvent]


Batch = Sequence[Applied]
"""Inputs that became durable together, in the order of `seq`."""


def marks_taken(batch: Batch) -> Iterator[tuple[int, str, int | None]]:
    """Each mark of a batch that the engine took, oldest first: its time, contract, ticks (None: the mark is lost)."""
    for item in batch:
        command = item.input.command
        if isinstance(command, Marks) and not any(isinstance(event, Rejected) for event in item.events):
            for mark in command.marks:
                yield item.input.time, mark.contract, mark.price_ticks
        elif isinstance(command, MarkSeries) and 0 not in (refused := series.refused(item.events)):
            for number, (time, marks) in enumerate(series.unpack(command), 1):
                for mark in marks if number not in refused else ():
                    yield time, mark.contract, mark.price_ticks
