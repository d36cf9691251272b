"""Calling the command in this process, and small inputs to call it with."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from closeout import cli


@dataclass(frozen=True)
class Answer:
    """What a call came to: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)


class Command:
    """`closeout` as a user has it, in a folder of its own; call it with the arguments."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch
        monkeypatch.chdir(folder)

    def __call__(self, *arguments: object) -> Answer:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["closeout", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        else:
            code = 0
        out, err = self.capsys.readouterr()
        return Answer(code, out, err)

    def write(self, name: str, content: str | bytes | dict[str, Any] | list[Any]) -> str:
        """A file in the folder; a dict becomes JSON, a list JSON Lines."""
        if isinstance(content, dict):
            content = json.dumps(content)
        elif isinstance(content, list):
            content = "".join(json.dumps(line) + "\n" for line in content)
        data = content if isinstance(content, bytes) else content.encode()
        (self.folder / name).write_bytes(data)
        return name

    def names(self) -> set[str]:
        """Everything that lies in the folder."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")}

    def refuses(self, *arguments: object, naming: tuple[str, ...], begun: bool = False) -> str:
        """The call is bad: exit code 2, one line on standard error that says `naming`, nothing else anywhere. Lines of
        progress come before it where the run had `begun`."""
        before = self.names()
        answer = self(*arguments)
        assert (answer.code, answer.out) == (2, ""), answer
        *progress, line = answer.err.splitlines()
        assert bool(progress) == begun, answer.err
        assert line.startswith("closeout: "), line
        assert [part for part in naming if part not in line] == [], line
        assert self.names() == before
        return line


def market(*closes: str, start: int = 0, header: str = "time,mark") -> str:
    """A market of marks a minute apart, as CSV."""
    return "\n".join([header, *(f"2026-11-12T10:{start + i:02d}:00Z,{close}" for i, close in enumerate(closes))]) + "\n"


def account(**changes: Any) -> dict[str, Any]:
    """Long one BTC at 50,000 with 1,000."""
    return {
        "account_id": "A1",
        "cash": "1000",
        "positions": [{"contract": "BTCUSDT", "quantity": "1", "entry_price": "50000"}],
    } | changes


def position(**changes: Any) -> dict[str, Any]:
    """The account above with another position."""
    return account(positions=[account()["positions"][0] | changes])


def sqlite_journal(command: Command) -> Path:
    """The journal of a small replay that closes an account out."""
    command.write("BTCUSDT.csv", market("50000", "49400", "48000", "49000"))
    command.write("accounts.jsonl", [account()])
    answer = command("replay", "BTCUSDT.csv", "--accounts", "accounts.jsonl", "--out", "run", "--fill", "adverse")
    assert answer.code == 0, answer.err
    journal = command.folder / "journal.sqlite"
    shutil.copy(command.folder / "run" / "journal.sqlite", journal)
    return journal
