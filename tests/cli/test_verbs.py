"""Every verb as a newcomer calls it: what it prints, and one JSON document with `--json`."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cli.command import Command, account

from closeout.rulebooks import loader

VERBS = ("demo", "replay", "quote", "rulebooks", "verify", "bench")
NUMBERS = {"accounts", "not_admitted", "liquidated_accounts", "close_out_orders", "debtors", "deleveraged_accounts",
           "inputs", "events", "rows", "alarms", "countdown_seconds"}  # fmt: skip
"""Keys of whole counts, which are the only numbers in JSON that are not strings."""


def numbers(value: Any, key: str = "") -> Iterator[str]:
    """The keys at which a JSON document holds a number."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from numbers(item, key if key == "alarms" else name)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        assert isinstance(value, int), (key, value)
        yield key


def test_help_of_every_verb(command: Command) -> None:
    answer = command("--help")
    assert answer.code == 0
    assert [verb for verb in VERBS if verb not in answer.out] == []
    assert "Exit codes" in answer.out
    for call in ((), *((verb,) for verb in VERBS), *(("rulebooks", verb) for verb in ("list", "show", "check"))):
        answer = command(*call, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.strip().startswith("Usage: closeout")
        assert "--json" in answer.out or call == ()


def test_without_a_verb_the_help_is_shown(command: Command) -> None:
    answer = command()
    assert (answer.code, "Usage: closeout" in answer.out + answer.err) == (2, True)


def test_the_help_says_whose_money_overrides_are_in(command: Command) -> None:
    told = " ".join(command("replay", "--help").out.replace("│", " ").split())
    assert "amounts are in each rulebook's own currency" in told


def test_rulebooks(command: Command) -> None:
    listed = command("rulebooks", "list", "--json").json
    assert [book["name"] for book in listed] == loader.names()
    assert command("rulebooks", "--json").json == listed
    assert command("rulebooks").out == command("rulebooks", "list").out
    for book in listed:
        assert f"{book['name']}  " in command("rulebooks").out
        shown = command("rulebooks", "show", book["name"], "--json")
        assert (shown.code, shown.err, list(numbers(shown.json["sources"]))) == (0, "", [])
        text = command("rulebooks", "show", book["name"]).out
        assert [row["key"] for row in shown.json["parameters"] if row["key"] not in text] == []
        assert "[ASSUMED]" in text
        assert not any(word in text for word in ("['", "True", "False", "None"))  # TOML's own words
        checked = command("rulebooks", "check", book["name"])
        assert (checked.code, "good" in checked.out) == (0, True)


def test_check_a_file(command: Command) -> None:
    command.write("mine.toml", (loader._shipped() / "reference.toml").read_bytes())
    found = command("rulebooks", "check", "mine.toml", "--json").json
    assert (found["ok"], found["name"], found["contracts"]) == (True, "mine", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
    assert found["digest"] in command("rulebooks", "check", "mine.toml").out
    assert found["notes"] == []
    answer = command("replay", "oct-10", "--population", 5, "--rulebook", "mine.toml", "--json")
    assert list(answer.json["rulebooks"]) == ["mine.toml"]


def test_quote_from_a_file_and_from_standard_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    document = account(rulebook="reference", marks={"BTCUSDT": "49000"})
    asked = command("quote", command.write("a.json", document), "--json")
    assert (asked.code, asked.err) == (0, "")
    assert list(numbers(asked.json)) == []
    for key in ("net_liq", "equity", "initial_margin", "maintenance_margin", "intraday_margin", "requirement", "usage",
                "excess_intraday_margin", "excess_initial_margin", "excess_maintenance_margin", "open_trade_equity",
                "lines", "state", "estimated_liquidation_value", "positions", "could_owe"):  # fmt: skip
        assert key in asked.json
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(document).encode())))
    assert command("quote", "-", "--json").json == asked.json
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{\n")))
    command.refuses("quote", "-", naming=("standard input: line 2", "expected JSON"))
    text = command("quote", "a.json").out
    assert asked.json["net_liq"] in text
    assert "What it could owe" in text


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--fill", "adverse"),
        ("--fill", "close"),
        ("--fill", "book", "--latency", "0ms", "--depth", "1000000"),
        ("--latency", "2bars"),
        ("--seed", "0"),
        ("--rulebook", " reference , kraken-us"),
    ],
)
def test_replay_with_every_option(command: Command, options: tuple[str, ...]) -> None:
    answer = command("replay", "oct-10", "--population", 20, *options, "--json")
    assert answer.code == 0, answer.err
    assert set(numbers(answer.json)) <= NUMBERS
    assert answer.json == json.loads((command.folder / "closeout-replay" / "summary.json").read_bytes())
    assert "bar 91 of 91" in answer.err


def test_overrides_decide(command: Command) -> None:
    tiers = [{"initial_margin_rate": "0.5", "maintenance_margin_rate": "0.5"}]
    strict = command.write("strict.json", {"contracts": {"BTCUSDT": {"tiers": tiers}}})
    plain = command("replay", "oct-10", "--population", 50, "--json").json["rulebooks"]["reference"]
    strictly = command("replay", "oct-10", "--population", 50, "--overrides", strict, "--json").json["rulebooks"]
    assert strictly["reference"]["not_admitted"] > plain["not_admitted"]


def test_a_replay_for_people(command: Command) -> None:
    answer = command("replay", "oct-10", "--population", 50)
    for said in ("closed out", "closeout verify", "report.html", "summary.json", "Not affiliated"):
        assert said in answer.out


def test_the_demo_once(command: Command) -> None:
    answer = command("demo", "--once", "--accounts", 10, "--out", "show", "--json")
    assert answer.code == 0, answer.err
    assert list(answer.json) == ["march-12", "oct-10"]
    assert {"show/march-12/report.html", "show/oct-10/journal.kraken-us.sqlite"} <= command.names()
    assert set(numbers(answer.json)) <= NUMBERS


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["rulebooks", "list"], 0, "reference", ""),
        (["quote", "missing.json"], 2, "", "closeout: missing.json: cannot be read: No such file"),
        (["replay", "oct-11"], 2, "", "closeout: oct-11: neither a file nor a shipped window; did you mean oct-10"),
        (["replay", "--nonsense"], 2, "", "--nonsense"),
    ],
)
def test_as_a_process(command: Command, arguments: list[str], code: int, out: str, err: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "closeout.cli", *arguments], cwd=command.folder, capture_output=True, text=True
    )
    assert (done.returncode, out in done.stdout, err in done.stderr) == (code, True, True), done
    assert (done.stdout == "") == (code != 0)
    assert "Traceback" not in done.stderr


def test_a_bug_as_a_process_is_exit_code_1(command: Command) -> None:
    script = "import closeout.cli as c, json; json.dumps = None; import sys; sys.argv = ['x', 'rulebooks', '--json']; "
    done = subprocess.run([sys.executable, "-c", script + "c.main()"], cwd=command.folder, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
