"""The command lines that README.md and docs/*.md show: each is run as it stands, and none may fail.

A line is one that begins with ``$ closeout`` or ``$ .venv/bin/closeout`` in a fenced block. The lines of one page are
run in order in one folder, in which the project's docs/ lies, so that a later line finds what an earlier one wrote. Of
a line that starts a service only the options are looked at: test_demo.py and test_serve.py start services.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from closeout import cli

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^ *(?P<fence>```+|~~~+)[^\n]*\n(?P<block>.*?)^ *(?P=fence)", re.DOTALL | re.MULTILINE)
PROMPT = re.compile(r"\$ +(?:\.venv/bin/)?closeout(?= |$)")
SERVICE = re.compile(r"closeout (?:demo(?!.*--once)|serve(?!.*--check))[^>|&]*")
LONGEST = 300


def pages() -> list[Path]:
    return [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.is_file()]


def console_lines(text: str) -> list[str]:
    """Lines of fenced blocks after their prompt, those that end in a backslash joined with the next."""
    found: list[str] = []
    for block in FENCE.finditer(text):
        for line in block["block"].replace("\\\n", " ").splitlines():
            if prompt := PROMPT.match(line.strip()):
                found.append(f"closeout{line.strip()[prompt.end() :]}")
    return found


def commands_of(page: Path) -> list[str]:
    return console_lines(page.read_text(encoding="utf-8"))


def test_the_lines_are_found() -> None:
    text = "\n```console\n$ closeout quote a.json\nnet liq 5\n$ .venv/bin/closeout verify \\\n    j\n$ closeoutx\n```\n"
    indented = "1. do\n\n   ```sh\n   $ closeout demo | head -3\n   ```\n"
    outside = "`$ closeout nothing`\n$ closeout nothing\n"
    lines = console_lines(text + indented + outside)
    assert [" ".join(line.split()) for line in lines] == [
        "closeout quote a.json", "closeout verify j", "closeout demo | head -3",
    ]  # fmt: skip


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages()])
def test_every_line_runs(page: Path, tmp_path: Path) -> None:
    """A page without such lines has nothing to show."""
    shell = shutil.which("bash") or "bash"
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "closeout").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{cli.__file__}" "$@"\n')
    (tmp_path / "bin" / "closeout").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for line in commands_of(page):
        if starts := SERVICE.match(line):
            line = f"{starts[0]} --help"
        call = [shell, "-o", "pipefail", "-c", line]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONGEST)
        assert done.returncode == 0, f"{page.name}: {line}\n{done.stdout}{done.stderr}"
