"""Accounts and quotes that cannot be used: file, line, field and what was expected; and the bounds from both sides."""

import json
from typing import Any

import pytest
from tests.cli.command import Command, account, market, position

BOUND = "9007199254.740992"
"""2^53 micro-dollars."""

BAD_ACCOUNTS: list[tuple[Any, tuple[str, ...]]] = [
    (account(cash="ten"), ("cash",)),
    (account(cash="-0.01"), ("cash", "zero or more")),
    (account(cash="0.0000001"), ("cash", "6 decimal places")),
    (account(cash="9007199254.740993"), ("cash", "bound of 9007199254.740992")),
    (account(cash="1e15"), ("cash", "10^15")),
    (account(cash=0.5), ("cash", "0.5 is a float", "string")),
    (account(cash=None), ("cash",)),
    (account(cash=True), ("cash",)),
    (account(cash="NaN"), ("cash", "finite")),
    (account(account_id=""), ("account_id", "1 to 128 characters")),
    (account(account_id="a/b"), ("account_id", "without '/'")),
    (account(account_id=7), ("account_id",)),
    (account(owner=7), ("owner",)),
    (account(csh="1"), ("csh",)),
    (account(positions={}), ("positions",)),
    (account(settings={"validate_with_intraday": "yes"}), ("settings.validate_with_intraday",)),
    (account(opened_at="2026-11-12"), ("opened_at", "no zone")),
    (account(opened_at="2026-11-12T10:00:00Z", closed_at="2026-11-12T10:00:00Z"), ("closed_at", "after opened_at")),
    ({"account_id": "A1"}, ("cash",)),
    (position(contract="BTCUSD"), ("positions[0].contract", "BTCUSD", "did you mean BTCUSDT")),
    (position(quantity="0"), ("positions[0].quantity", "above or below zero")),
    (position(quantity="0.00005"), ("positions[0].quantity", "off the lot", "0.0001")),
    (position(quantity="109951163"), ("positions[0].quantity", "out of bounds")),
    (position(quantity="Infinity"), ("positions[0].quantity", "finite")),
    (position(entry_price="0"), ("positions[0].entry_price", "above zero")),
    (position(entry_price="-5"), ("positions[0].entry_price", "above zero")),
    (position(quantity="2", entry_price="4503599628"), ("positions[0].entry_price", "bound on one position")),
    (position(leverage="0"), ("positions[0].leverage", "from 0.1 to 1000")),
    (position(leverage="1000.1"), ("positions[0].leverage", "from 0.1 to 1000")),
    (position(leverage="0.1234567891"), ("positions[0].leverage", "1e-9")),
    (position(margin_mode="crossed"), ("positions[0].margin_mode", "cross or isolated")),
    (position(margin_mode="isolated"), ("positions[0].isolated_margin", "isolated_margin or leverage")),
    (position(margin_mode="isolated", isolated_margin="0"), ("positions[0].isolated_margin", "above zero")),
    (position(isolated_margin="5"), ("positions[0].isolated_margin", "a cross position has none")),
    (position(colour="red"), ("colour",)),
    ([], ("JSON object",)),
    ("A1", ("JSON object",)),
    (None, ("JSON object",)),
]


@pytest.mark.parametrize(("bad", "naming"), BAD_ACCOUNTS)
def test_a_bad_account_on_the_second_line(command: Command, bad: Any, naming: tuple[str, ...]) -> None:
    prices = command.write("BTCUSDT.csv", market("50000", "49000"))
    accounts = command.write("accounts.jsonl", [account(account_id="first"), bad])
    command.refuses("replay", prices, "--accounts", accounts, naming=("accounts.jsonl: line 2", *naming))


@pytest.mark.parametrize(
    ("text", "naming"),
    [
        ("", ("empty",)),
        ("\n \n", ("empty",)),
        ("{\n", ("line 1", "JSON")),
        ('{"account_id": "A1", "cash": "1", "cash": "2", "positions": []}', ("line 1", "cash", "twice")),
        ('{"account_id": "A1", "cash": NaN, "positions": []}', ("line 1", "NaN")),
        ('{"account_id": "A1", "cash": -Infinity, "positions": []}', ("line 1", "Infinity")),
        ('{"account_id": "A1", "cash": ' + "9" * 5000 + ', "positions": []}', ("line 1", "too many digits")),
        ("[" * 100_000, ("line 1", "nested")),
        (b'{"account_id": "\xff"}', ("line 1", "UTF-8")),
    ],
)
def test_an_accounts_file_that_is_none(command: Command, text: str | bytes, naming: tuple[str, ...]) -> None:
    prices = command.write("BTCUSDT.csv", market("50000"))
    accounts = command.write("accounts.jsonl", text)
    command.refuses("replay", prices, "--accounts", accounts, naming=("accounts.jsonl", *naming))


def test_an_account_twice(command: Command) -> None:
    prices = command.write("BTCUSDT.csv", market("50000"))
    accounts = command.write("accounts.jsonl", [account(), account(account_id="B"), account()])
    command.refuses("replay", prices, "--accounts", accounts, naming=("line 3", "account_id", "A1", "line 1"))


def test_files_that_are_not_there(command: Command) -> None:
    (command.folder / "folder").mkdir()
    for name, said in (("missing.jsonl", "No such file"), ("folder", "Is a directory")):
        command.refuses("replay", "oct-10", "--accounts", name, naming=(name, said))
        command.refuses("replay", "oct-10", "--population", 1, "--overrides", name, naming=(name, said))
        command.refuses("quote", name, naming=(name, said))


# Quotes


def quoted(**changes: Any) -> dict[str, Any]:
    return account(rulebook="reference", marks={"BTCUSDT": "49000"}) | changes


@pytest.mark.parametrize(("bad", "naming"), [(bad, naming) for bad, naming in BAD_ACCOUNTS if isinstance(bad, dict)])
def test_a_bad_account_quoted(command: Command, bad: dict[str, Any], naming: tuple[str, ...]) -> None:
    own = {"rulebook": "reference", "marks": {"BTCUSDT": "49000"}}
    command.refuses("quote", command.write("a.json", bad | own), naming=("a.json", *naming))


@pytest.mark.parametrize(
    ("changes", "naming"),
    [
        ({"rulebook": "referenze"}, ("rulebook 'referenze'", "did you mean reference")),
        ({"rulebook": "kraken-us:as_if_24x8"}, ("as_if_24x8", "did you mean as_if_24x7")),
        ({"rulebook": 7}, ("rulebook", "expected the name")),
        ({"marks": {"BTCUSDT": 0.5}}, ("marks.BTCUSDT", "as a string")),
        ({"marks": {"BTCUSD": "1"}}, ("marks.BTCUSD", "no such contract")),
        ({"marks": {"BTCUSDT": "10995116277.77"}}, ("marks.BTCUSDT", "out of bounds")),
        ({"marks": {"BTCUSDT": "9007199254.75"}}, ("positions", "bound")),
        ({"marks": 5}, ("marks", "object of contracts and prices")),
        ({"as_of": "2026-11-12 10:00"}, ("as_of", "no zone")),
        ({"overrides": []}, ("overrides", "object")),
        ({"overrides": {"contracts": {"BTCUSDT": {"tik": "1"}}}}, ("contracts.BTCUSDT.tik", "did you mean 'tick'")),
        ({"overrides": {"contracts": {"BTCUSDT": {"tick": "0"}}}}, ("contracts.BTCUSDT.tick", "above zero")),
        ({"overrides": {"contracts": {"BTCUSDT": {"tiers": []}}}}, ("contracts.BTCUSDT.tiers",)),
        ({"overrides": {"contracts": {"BTCUSDT": "x"}}}, ("contracts.BTCUSDT",)),
        ({"overrides": {"contracts": []}}, ("contracts",)),
        ({"overrides": {"contracts": {"NEW": {"tick": "1"}}}}, ("contracts.NEW.", "expected a value")),
    ],
)
def test_a_bad_quote(command: Command, changes: dict[str, Any], naming: tuple[str, ...]) -> None:
    command.refuses("quote", command.write("a.json", quoted(**changes)), naming=("a.json", *naming))


@pytest.mark.parametrize(
    ("text", "naming"),
    [
        ("", ("line 1", "JSON")),
        ("[]", ("JSON object",)),
        ('{"cash": "1",\n "cash": "2"}', ("cash", "twice")),
        ('{"marks": {"BTCUSDT": NaN}}', ("NaN",)),
        ('{\n"cash": }', ("line 2", "JSON")),
        (b"\xff\xfe{", ("UTF-8",)),
        ('{"a":' * 100_000, ("nested",)),
    ],
)
def test_a_quote_that_is_no_json(command: Command, text: str | bytes, naming: tuple[str, ...]) -> None:
    command.refuses("quote", command.write("a.json", text), naming=("a.json", *naming))


@pytest.mark.rule("G-01")
@pytest.mark.parametrize(
    "changes",
    [
        {"cash": BOUND},
        {"positions": [{"contract": "BTCUSDT", "quantity": "2", "entry_price": "4503599627.370496"}]},
        {"positions": [{"contract": "BTCUSDT", "quantity": "109951162.7776", "entry_price": "1"}], "marks": {}},
        {"marks": {"BTCUSDT": "9007199254.74"}},
        {"positions": [], "marks": {"BTCUSDT": "10995116277.76"}},
        {"positions": [account()["positions"][0] | {"leverage": "1000"}]},
    ],
)
def test_numbers_at_their_bounds_are_quoted(command: Command, changes: dict[str, Any]) -> None:
    answer = command("quote", command.write("a.json", quoted(**changes)), "--json")
    assert answer.code == 0, answer.err
    assert answer.json["account_id"] == "A1"


# Bounds that only the market's prices show


@pytest.mark.rule("G-01")
def test_what_passes_a_bound_only_at_the_market_is_refused_too(command: Command) -> None:
    """9,000 BTC are within the bound at 1,000,000 and beyond it at 1,100,000: never a run without that account."""
    prices = command.write("BTCUSDT.csv", market("1000000", "1100000"))
    large = account(cash=BOUND, positions=[account()["positions"][0] | {"quantity": "9000", "entry_price": "1000000"}])
    accounts = command.write("accounts.jsonl", [large])
    naming = ("BTCUSDT.csv: 2026-11-12T10:01:00Z", "bound")
    command.refuses("replay", prices, "--accounts", accounts, naming=naming, begun=True)
    prices = command.write("BTCUSDT.csv", market("1100000"))
    command.refuses("replay", prices, "--accounts", accounts, naming=("account A1", "9000 BTCUSDT at 1100000"))


@pytest.mark.rule("G-01")
def test_an_account_at_the_bound_is_run(command: Command) -> None:
    prices = command.write("BTCUSDT.csv", market("9007199254.74"))
    largest = [{"contract": "BTCUSDT", "quantity": "1", "entry_price": "9007199254.740992"}]
    accounts = command.write("accounts.jsonl", [account(cash=BOUND, positions=largest)])
    answer = command("replay", prices, "--accounts", accounts, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["rulebooks"]["reference"]["accounts"] == 1


def test_control_characters_cannot_break_the_line(command: Command) -> None:
    prices = command.write("BTCUSDT.csv", market("50000"))
    accounts = command.write("accounts.jsonl", json.dumps(position(contract="A\nB\x1b[2J")))
    line = command.refuses("replay", prices, "--accounts", accounts, naming=("A\\nB\\x1b[2J",))
    assert line.isprintable()
