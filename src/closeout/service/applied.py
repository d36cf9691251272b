"""One input that is durable and applied, with what followed from it: what the writer hands to everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from closeout.engine.commands import Input
from closeout.engine.events import AnyEvent


@dataclass(frozen=True, slots=True)
class Applied:
    """Input `seq` of the journal and its events, in the engine's order. Nobody changes `events`."""

    seq: int
    input: Input
    events: list[AnyEvent]


Batch = Sequence[Applied]
"""Inputs that became durable together, in the order of `seq`."""
