"""Each fault that is put into the trigger index is noticed by walks or twins that hold it against the scan (G-12)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.rule("G-12")
def test_the_walks_notice_every_fault_and_nothing_else() -> None:
    """Without the compiler kernels are functions like others, and can be put in place anew."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.engine.index_mutants"],
        cwd=ROOT, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("") == ""
    assert len(said) > 60
    assert [name for name, what in said.items() if not what] == []
