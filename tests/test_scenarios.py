"""Every scenario ends as its file says; a file that says otherwise is told where (docs/scenarios)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import scenarios
from tests.scenarios import FOLDER, Wrong, play, read

FILES = sorted(FOLDER.glob("*.toml"))
GAP = FOLDER / "gap-and-debt.toml"


def _cases() -> list[object]:
    """A case per file, marked with the rules that the file names (`with_args`: they are no plain strings here)."""
    return [pytest.param(path, id=path.stem, marks=pytest.mark.rule.with_args(*read(path).rules)) for path in FILES]


@pytest.mark.parametrize("path", _cases())
def test_a_scenario_ends_as_it_says(path: Path) -> None:
    desk = play(path)
    assert desk.engine.imbalances() == []


def test_every_scenario_is_in_the_list() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in FILES if f"]({path.name})" not in page] == []


WRONG = {
    "level": (
        'expect.accounts.Ann = { level = "normal", net_liq = "1500.00"',
        'expect.accounts.Ann = { level = "alert", net_liq = "1500.00"',
        "gap-and-debt.toml: step 3 (2026-06-10 12:00:00, open): accounts.Ann.level: got normal, expected alert",
    ),
    "net liq": (
        'net_liq = "-225.00"',
        'net_liq = "-200.00"',
        "step 5 (2026-06-10 12:01:00, marks): accounts.Ann.net_liq: got -225.00, expected -200.00",
    ),
    "order not expected": (
        'expect.orders = ["Ann: sell 10 PBTCUCZ50"]\n',
        "",
        "step 5 (2026-06-10 12:01:00, marks): orders: got ['Ann: sell 10 PBTCUCZ50'], expected nothing",
    ),
    "order not sent": (
        '\nopen = { account = "Bob"',
        '\nexpect.orders = ["Bob: sell 1 PBTCUCZ50"]\nopen = { account = "Bob"',
        "step 4 (2026-06-10 12:00:00, open): orders: got nothing, expected ['Bob: sell 1 PBTCUCZ50']",
    ),
    "ledger": ('house = "-226.50"', 'house = "0.00"', "ledger.house: got -226.50, expected 0.00"),
    "fees": ('fees = "26.50"', 'fees = "25.00"', "accounts.Ann.fees: got 26.50, expected 25.00"),
    "owed": ('expect.receipt.owed = "226.50"', 'expect.receipt.owed = "0.00"', "receipt.owed: got 226.50"),
    "words": ('"no other customer', '"another customer', "receipt.words: got"),
    "positions": ("positions = {}", 'positions = { PBTCUCZ50 = "10" }', "accounts.Ann.positions: got {}"),
    "refusal code": ('expect.refused = "in_debit"', 'expect.refused = "margin"', "refused: got in_debit"),
    "refusal not expected": ('expect.refused = "in_debit"\n', "", "refused: got in_debit, expected nothing"),
    "not refused": (
        'expect.needs = "72.00"',
        'expect.refused = "margin"\nexpect.needs = "72.00"',
        "refused: got nothing, expected margin",
    ),
    "needs": ('expect.needs = "72.00"', 'expect.needs = "72.01"', "needs: got 72.00, expected 72.01"),
    "window": ('expect.window = "intraday"', 'expect.window = "end_of_day"', "window: got intraday"),
    "open": ("expect.is_open = true", "expect.is_open = false", "is_open: got True, expected False"),
}


@pytest.mark.parametrize(("old", "new", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_expectation_names_file_step_field_got_and_expected(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(Wrong) as wrong:
        play(_changed(tmp_path, old, new))
    assert message in str(wrong.value)


UNREADABLE = {
    "unknown key of a step": ("why = ", "because = ", "gap-and-debt.toml: Object contains unknown field `because`"),
    "unknown field of an account": ("net_liq = ", "netliq = ", "unknown field `netliq`"),
    "unknown field of an act": ('cash = "1500"', 'money = "1500"', "`$.steps[2].open`"),
    "unknown ledger account": ("house = ", "hause = ", "step 6: expect.ledger.hause: expected one of customer_cash,"),
    "no act": ('marks.PBTCUCZ50 = "65000"\n', "", "step 2: expected one act, got none"),
    "two acts": (
        'marks.PBTCUCZ50 = "65000"\n',
        'marks.PBTCUCZ50 = "65000"\nsession.name = "bitnomial"\n',
        "step 2: expected one act, got marks, session",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_is_no_scenario_is_refused_by_name(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(Wrong) as wrong:
        play(_changed(tmp_path, old, new))
    assert message in str(wrong.value)


def _changed(folder: Path, old: str, new: str) -> Path:
    """A copy of the gap's scenario with the first `old` replaced."""
    text = GAP.read_text(encoding="utf-8")
    assert old in text
    path = folder / GAP.name
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_money_that_comes_from_nowhere_is_found(tmp_path: Path) -> None:
    desk = play(GAP)
    desk.state.book.cash[desk.state.row("Bob")] += 1
    with pytest.raises(Wrong, match=r"gap-and-debt\.toml: the end: worth 1330000001, from "):
        scenarios._conserved(GAP, desk)


def test_a_scenario_can_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    play(GAP, tell=True)
    told = capsys.readouterr().out
    assert told.startswith("\nA gap past bankruptcy, and the debt that is left\n")
    assert "    Ann: Dr receivable Cr customer_cash 226.50 (deficit owed by the customer)\n" in told
