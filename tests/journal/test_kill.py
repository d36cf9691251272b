"""A writer killed at any instant loses nothing that it acknowledged."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.journal.places import Place
from tests.journal.purse import Purse, inputs, straight

from closeout.journal.journal import Journal
from closeout.journal.verify import verify

ROOT = Path(__file__).parents[2]
KILLS = 10


@pytest.mark.rule("G-09", "G-16", "G-17")
def test_sigkill_loses_nothing_acknowledged(place: Place) -> None:
    rng = random.Random(7)
    survived = []
    for seed in range(KILLS):
        command = [sys.executable, "-m", "tests.journal.purse", str(place), str(seed)]
        writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        resumed = int(writer.stdout.readline())
        assert resumed >= (survived[-1] if survived else 0)
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        rest, _ = writer.communicate()
        # a line cut in the middle was never read by anybody as an acknowledgement
        acknowledged = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]

        result = verify(place, Purse)
        assert result.problems == []
        with Journal.open(place) as journal:
            engine, last = journal.recover(Purse)
        assert last >= max(acknowledged, default=resumed)
        assert engine.digest() == straight(inputs(last)).digest()
        survived.append(last)
    assert survived[-1] > 0
    assert verify(place, Purse).inputs == survived[-1]
