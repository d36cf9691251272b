"""A replay that is stopped leaves a journal that can be proven, and says where."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import Command

WAIT = 60


def interrupted(folder: Path, stop: signal.Signals) -> tuple[int, str, str]:
    """A replay of two rulebooks, told to stop when its first bar is through: exit code, output, standard error."""
    call = [sys.executable, "-m", "closeout.cli", "replay", "march-12", "--population", "3000", "--out", "run"]
    running = subprocess.Popen(call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        seen = next(line for line in running.stderr if ": bar " in line)
        running.send_signal(stop)
        out, rest = running.communicate(timeout=WAIT)
    finally:
        running.kill()
    return running.returncode, out, seen + rest


@pytest.mark.rule("G-17")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_leaves_a_proven_journal(command: Command, stop: signal.Signals) -> None:
    code, out, err = interrupted(command.folder, stop)
    assert (code, out) == (1, ""), err
    assert err.splitlines()[-1] == "closeout: interrupted"
    assert "lies in run.partial; closeout verify proves it" in err
    assert "Traceback" not in err
    assert {path.name for path in command.folder.iterdir()} == {"run.partial"}
    answer = command("verify", "run.partial/journal.sqlite", "--json")
    assert answer.code == 0, answer.out
    assert answer.json["inputs"] > 0
    assert answer.json["published"] == ""
    assert "no digest was published" in command("verify", "run.partial/journal.sqlite").out


@pytest.mark.rule("G-17")
def test_a_killed_replay_leaves_one_too(command: Command) -> None:
    """No time to say anything: what was committed is there, its write-ahead log included."""
    code, _, _ = interrupted(command.folder, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert command("verify", "run.partial/journal.sqlite", "--json").json["ok"] is True
    again = command("replay", "oct-10", "--population", 5, "--out", "run")
    assert again.code == 0, again.err
    assert {path.name for path in command.folder.iterdir()} == {"run"}


def test_an_interruption_elsewhere_is_exit_code_1(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("closeout.studies.documents.read_object", stop)
    before = signal.getsignal(signal.SIGTERM)
    answer = command("quote", "a.json")
    assert (answer.code, answer.out, answer.err) == (1, "", "closeout: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) == before
