"""A book that grows bit by bit never waits for the compiler of the trigger index (G-12)."""

from __future__ import annotations

import subprocess
import sys

import pytest

GROWING = """
import asyncio
from types import SimpleNamespace

import numpy as np

from closeout.engine import wheels
from closeout.engine.candidates import finder
from closeout.engine.engine import initial_state
from closeout.rulebooks import loader
from closeout.service import preparing

state = initial_state(loader.load("reference").document())
state.index_from, preparing.LOOK = 4, 0.01
contract = next(iter(state.contracts.values()))


def grow(count: int) -> None:
    rows = state.book.add_all([f"a{number}" for number in range(state.book.count, state.book.count + count)])
    rows = rows + np.arange(count)
    state.book.positions.load(rows, np.full(count, contract.index), np.ones(count, np.int64), np.ones(count, np.int64))


async def run() -> None:
    preparing_it = asyncio.create_task(preparing.prepare_index(SimpleNamespace(engine=SimpleNamespace(loaded=state))))
    await asyncio.sleep(0.1)
    print(preparing_it.done(), len(wheels.run.signatures))
    grow(2)
    await preparing_it
    print(finder(state), len(wheels.run.signatures), sum(wheels.run.stats.cache_misses.values()))
    grow(2)
    print(finder(state) is state.index is not None, len(wheels.run.signatures))


asyncio.run(run())
"""


@pytest.mark.rule("G-12")
def test_the_index_is_compiled_at_half_the_size_and_in_another_process() -> None:
    """This process has read the functions from the cache by the time it needs them, and compiled none."""
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=False, timeout=120)
    said = [line for line in done.stdout.splitlines() if "prepared" not in line]
    assert said == ["False 0", "None 1 0", "True 1"], done.stderr
