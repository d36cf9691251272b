"""Calls that cannot be: options, rulebooks, the output folder. Exit code 2, and nothing is written or taken away."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import Command, account, market

from closeout.rulebooks import loader
from closeout.studies import files

USAGE = [
    (("replay",), "Missing argument"),
    (("replay", "oct-10", "--fil", "book"), "--fill"),
    (("replay", "oct-10", "--population", "0"), "--population"),
    (("replay", "oct-10", "--population", "many"), "--population"),
    (("replay", "oct-10", "--seed", "-1"), "--seed"),
    (("replay", "oct-10", "--seed", "1.5"), "--seed"),
    (("replay", "oct-10", "--depth", "0"), "--depth"),
    (("replay", "oct-10", "--out"), "--out"),
    (("repaly", "oct-10"), "replay"),
    (("rulebooks", "lst"), "lst"),
    (("rulebooks", "show"), "name"),
    (("quote",), "account"),
    (("quote", "a.json", "b.json"), "b.json"),
    (("verify",), "journal"),
    (("demo", "--accounts", "-5"), "--accounts"),
    (("demo", "--speed", "-1"), "--speed"),
    (("demo", "--speed", "fast"), "--speed"),
    (("demo", "--speed", "nan"), "--speed"),
    (("--version-of-nothing",), "--version-of-nothing"),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE)
def test_usage_errors_are_readable(command: Command, arguments: tuple[str, ...], said: str) -> None:
    answer = command(*arguments)
    assert (answer.code, answer.out, command.names()) == (2, "", set())
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        (("--fill", "boook"), ("--fill", "book", "'boook'")),
        (("--fill", ""), ("--fill",)),
        (("--latency", "soon"), ("--latency", "500ms or 2bars", "'soon'")),
        (("--latency", "-1ms"), ("--latency",)),
        (("--latency", "1.5bars"), ("--latency",)),
        (("--latency", "9999999999ms"), ("--latency",)),
        (("--rulebook", ""), ("rulebook ''", "kraken-us, kraken-us:as_if_24x7")),
        (("--rulebook", "reference,"), ("rulebook ''", "kraken-us, kraken-us:as_if_24x7")),
        (("--rulebook", "reference,reference"), ("--rulebook", "each name once")),
        (("--rulebook", "krakenus"), ("krakenus", "did you mean kraken-us?")),
        (("--rulebook", "kraken-us:as-if-24x7"), ("as-if-24x7", "did you mean as_if_24x7?")),
        (("--rulebook", "reference:wide"), ("reference.toml", "variants", "'wide'")),
        (("--rulebook", "mine.toml"), ("mine.toml", "cannot be read: No such file")),
        (("--rulebook", "folder.toml"), ("folder.toml", "Is a directory")),
        (("--rulebook", "text.toml"), ("text.toml", "not TOML")),
    ],
)
def test_options_that_mean_nothing(command: Command, arguments: tuple[str, ...], naming: tuple[str, ...]) -> None:
    (command.folder / "folder.toml").mkdir()
    command.write("text.toml", "this is no toml")
    command.refuses("replay", "oct-10", "--population", 1, *arguments, naming=naming)


def test_other_verbs(command: Command) -> None:
    spaced = ("--rulebook", "reference,", "dydx-v4")
    command.refuses("replay", "oct-10", *spaced, naming=("dydx-v4", "it is a rulebook", "--rulebook A,B"))
    command.refuses("rulebooks", "--json", "list", naming=("--json", "closeout rulebooks list --json"))
    command.refuses("rulebooks", "show", "refrence", naming=("refrence", "did you mean reference?"))
    command.refuses("rulebooks", "check", "mine.txt", naming=("mine.txt", ".toml"))
    command.refuses("bench", "speed", naming=("bench", "scan", "'speed'"))


# Rulebooks of one's own

REFERENCE = (Path(loader.__file__).parent / "reference.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after", "naming"),
    [
        ("maintenance_margin_rate", "maintenence_margin_rate", ("unknown key", "did you mean 'maintenance_margin")),
        ('initial_margin_rate = "0.01", maintenance_margin_rate = "0.005"',
         'initial_margin_rate = "0", maintenance_margin_rate = "0"', ("maintenance_margin_rate", "above zero")),
        ('initial_margin_rate = "0.01", maintenance_margin_rate = "0.005"',
         'initial_margin_rate = "2.000000001", maintenance_margin_rate = "0.005"', ("initial_margin_rate", "to 2")),
        ('maintenance_margin_rate = "0.005"', 'maintenance_margin_rate = "-0.005"', ("maintenance_margin_rate",)),
        ('maintenance_margin_rate = "0.005"', 'maintenance_margin_rate = "0.02"', ("maintenance", "initial margin")),
        ('maintenance_margin_rate = "0.005"', 'maintenance_margin_rate = "half"', ("maintenance_margin_rate", "half")),
        ('maintenance_margin_rate = "0.005"', 'maintenance_margin_rate = 0.005', ("maintenance_margin_rate",)),
        ('maintenance_margin_rate = "0.005"', 'maintenance_margin_rate = "NaN"', ("maintenance_margin_rate",)),
        ('tick = "0.01"', 'tick = "-0.01"', ("contracts.BTCUSDT.tick", "above zero")),
        ('tick = "0.01"', 'tick = "1e30"', ("contracts.BTCUSDT", "out of bounds")),
        ('lot = "0.0001"', 'lot = "1e-30"', ("contracts.BTCUSDT",)),
        ('lot = "0.0001"', "", ("contracts.BTCUSDT.lot", "expected a value")),
        ('currency = "USD"', 'currency = "EUR"', ("currency", "USD", "'EUR'")),
        ('alert = "0.80"', 'alert = "1.80"', ("windows.always", "alert <= liquidate_only")),
        ('method = "flatten_all"', 'method = "hope"', ("close_out.method",)),
        ('title = "BTC', 'title = "BTC" "', ("not TOML",)),
        ('source = "closeout"', 'source = "nobody"', ("source", "'nobody'")),
    ],
)  # fmt: skip
def test_a_bad_rulebook(command: Command, before: str, after: str, naming: tuple[str, ...]) -> None:
    assert before in REFERENCE
    command.write("mine.toml", REFERENCE.replace(before, after, 1))
    command.refuses("rulebooks", "check", "mine.toml", naming=("mine.toml", *naming))
    command.refuses("replay", "oct-10", "--population", 1, "--rulebook", "mine.toml", naming=("mine.toml", *naming))


def test_a_bad_variant_is_found_by_check(command: Command) -> None:
    variant = '\n[variants.wide.contracts.BTCUSDT]\ntick = "0"\n'
    command.write("mine.toml", REFERENCE + variant)
    command.refuses("rulebooks", "check", "mine.toml", naming=("variants.wide", "contracts.BTCUSDT.tick"))
    command.write("mine.toml", REFERENCE + variant.replace('"0"', '"0.1"'))
    assert command("rulebooks", "check", "mine.toml").code == 0


@pytest.mark.parametrize(
    ("overrides", "naming"),
    [
        ("[]", ("JSON object",)),
        ("{", ("line 1", "JSON")),
        ('{"contracts": {"BTCUSDT": {"tick": "1"}}, "contracts": {}}', ("contracts", "twice")),
        ('{"contracts": {"BTCUSDT": {"tick": 1}}}', ("contracts.BTCUSDT.tick",)),
        ('{"contracts": {"BTCUSDT": {"tickk": "1"}}}', ("contracts.BTCUSDT.tickk", "did you mean 'tick'")),
        ('{"marks": {"jump": Infinity}}', ("Infinity",)),
        ('{"nonsense": {"a": "1"}}', ("nonsense", "unknown key")),
        ('{"contracts": null}', ("contracts",)),
    ],
)
def test_bad_overrides(command: Command, overrides: str, naming: tuple[str, ...]) -> None:
    command.write("other.json", overrides)
    command.refuses("replay", "oct-10", "--population", 1, "--overrides", "other.json", naming=naming)


# The output folder


def test_out_where_something_else_is(command: Command) -> None:
    command.write("file", "mine")
    (command.folder / "full").mkdir()
    command.write("full/notes.txt", "mine")
    command.write("full/summary.json", {"mine": True})
    (command.folder / "run.partial").mkdir()
    command.write("run.partial/notes.txt", "mine")
    (command.folder / "link").symlink_to("full")
    for out, naming in {
        "file": ("file: --out", "this is a file"),
        "full": ("full: --out", "it has notes.txt"),
        "run": ("run.partial: --out", "it has notes.txt"),
        "link": ("link: --out", "link"),
        ".": (".: --out", "with a name"),
        "..": ("..: --out", "with a name"),
        "file/below": ("file/below: --out", "no folder can be made"),
        "n" * 300: ("--out", "name too long"),
    }.items():
        command.refuses("replay", "oct-10", "--population", 1, "--out", out, naming=naming)


def test_the_demo_looks_at_both_folders_first(command: Command) -> None:
    (command.folder / "show" / "oct-10").mkdir(parents=True)
    command.write("show/oct-10/notes.txt", "mine")
    command.refuses("demo", "--once", "--accounts", 1, "--out", "show", naming=("oct-10", "it has notes.txt"))


def test_out_where_nothing_may_be_written(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (command.folder / "locked").mkdir(mode=0o500)
    monkeypatch.setattr(os, "access", lambda *_: False)  # nothing is locked for root
    command.refuses("replay", "oct-10", "--population", 1, "--out", "locked/run", naming=("locked", "no folder"))


def test_out_where_writing_fails_all_the_same(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    command.refuses("replay", "oct-10", "--population", 2, "--out", "run", naming=("run: --out: Read-only",))


def test_an_earlier_run_is_replaced_and_an_interrupted_one_too(command: Command) -> None:
    prices = command.write("BTCUSDT.csv", market("50000", "49000"))
    accounts = command.write("accounts.jsonl", [account()])
    call = ("replay", prices, "--accounts", accounts, "--out", "run")
    (command.folder / "run").mkdir()
    (command.folder / "run.partial").mkdir()
    command.write("run.partial/journal.sqlite", "half")
    for _ in range(2):
        assert command(*call).code == 0
        assert "run.partial" not in command.names()


def test_bad_input_leaves_an_earlier_run_as_it_was(command: Command) -> None:
    prices = command.write("BTCUSDT.csv", market("50000", "49000"))
    accounts = command.write("accounts.jsonl", [account()])
    assert command("replay", prices, "--accounts", accounts, "--out", "run").code == 0
    before = (command.folder / "run" / "summary.json").read_bytes()
    command.write("BTCUSDT.csv", market("50000", "x"))
    command.refuses("replay", prices, "--accounts", accounts, "--out", "run", naming=("BTCUSDT.csv: line 3",))
    assert (command.folder / "run" / "summary.json").read_bytes() == before


def test_an_unexpected_fault_is_no_bad_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends with Python's own report: as a process, exit code 1."""

    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(files, "write_runs", fault)
    prices = command.write("BTCUSDT.csv", market("50000"))
    with pytest.raises(RuntimeError, match="a bug"):
        command("replay", prices, "--population", 1)
    assert "closeout-replay" not in command.names()
    assert "closeout-replay.partial/journal.sqlite" in command.names()
    assert "closeout" in sys.argv
