"""The tutorial does what its page says: its script runs against a real demo, and calls what the page shows."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "examples" / "tutorial.py"
PAGE = (DOCS / "tutorial.md").read_text(encoding="utf-8")
CALL = re.compile(r"^(?:customer|broker|desk|supervisor|auditor): [A-Z]+ /\S*", re.MULTILINE)


def calls(text: str) -> list[str]:
    """Who called what, in order; ids that are made in each run are left out."""
    return [re.sub(r"[0-9a-f]{16}", "ID", call) for call in CALL.findall(text)]


def titles(text: str, mark: str) -> list[str]:
    return re.findall(rf"^{mark} (\d+\. .*)$", text, re.MULTILINE)


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Path]:
    """`closeout demo` in a process of its own; yields the file with its line."""
    command = [sys.executable, "-m", "closeout.cli", "demo", "--port", "0", "--json", "--out", str(folder), *arguments]
    said = folder.parent / "demo.json"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        said.write_text(line)
        try:
            yield said
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err


def tell(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["tutorial"] = found
    spec.loader.exec_module(found)
    return found


@pytest.mark.rule("US-04", "US-07", "US-10", "US-11", "US-12", "US-13", "US-18", "US-20", "G-11")
def test_the_story_holds_and_calls_what_the_page_shows(tmp_path: Path) -> None:
    for speed in ("150", "40"):  # a machine that is busy with other things has no eye for moments
        folder = tmp_path / speed
        with demo(folder, "--market", script().MARKET, "--speed", speed, "--accounts", "200") as said:
            told = tell(said)
            again = tell(said)
        if "play it more slowly" not in told.stderr:
            break
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr
    assert told.stdout.endswith("All of it held.\n")
    assert titles(told.stdout, "==") == titles(PAGE, "##")
    assert calls(told.stdout) == calls(PAGE)
    assert again.returncode == 1
    assert "start a new one" in again.stderr
    command = [sys.executable, "-m", "closeout.cli", "verify", str(folder / "journal.sqlite"), "--json"]
    proven = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert proven["ok"], proven["problems"]
    assert proven["published"]


def test_the_page_has_a_section_for_each_step() -> None:
    assert len(titles(PAGE, "##")) == len(script().STEPS)
    assert len(re.findall(r"^```text\n", PAGE, re.MULTILINE)) == len(script().STEPS)


def test_without_a_file_the_script_starts_a_demo_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with script().demo("600") as announcement:
        assert httpx.get(f"{announcement['url']}/health").status_code == 200
    assert capsys.readouterr().out.startswith("$ closeout demo --market ")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{announcement['url']}/health")
