"""The reference pages say what the code does: the lists in docs/receipts.md and docs/files.md cannot go stale."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios import FOLDER, play

from closeout.core.units import USD
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.rulebooks.loader import load
from closeout.studies import files
from closeout.studies.accounts import AccountFile, AccountPosition, parse_account
from closeout.studies.market import WINDOWS
from closeout.studies.outcome import Run
from closeout.studies.quote import quote

DOCS = FOLDER.parent


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert f"\n## {heading}\n" in text
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def listed(text: str) -> list[str]:
    """The names in the first column of a text's tables, in order."""
    cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def examples(text: str) -> list[str]:
    return re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# -- docs/receipts.md ----------------------------------------------------------------------------------


def paths(value: dict[str, Any], above: str = "") -> Iterator[str]:
    """The fields of a receipt; `[]` stands for the entries of a list. `windows` has contracts for keys."""
    for name, item in value.items():
        if isinstance(item, dict) and name != "windows":
            yield from paths(item, f"{above}{name}.")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            for entry in item:
                yield from paths(entry, f"{above}{name}[].")
        else:
            yield f"{above}{name}"


@pytest.mark.rule("G-11")
def test_the_page_lists_every_field_of_a_receipt() -> None:
    (ended,) = play(FOLDER / "gap-and-debt.toml").events(ev.CloseOutEnded)
    assert listed(section("receipts.md", "Of a close-out")) == list(dict.fromkeys(paths(ended.receipt)))


@pytest.mark.rule("US-25")
def test_the_page_lists_every_field_of_a_correction() -> None:
    desk = play(FOLDER / "gap-and-debt.toml")
    (ended,) = desk.events(ev.CloseOutEnded)
    refund = c.AdjustCash("Ann", desk.micros("25"), "carl", "dora", "waived", ended.receipt_id)
    desk.done(refund)
    (correction,) = desk.events(ev.CorrectionIssued)
    assert correction.receipt["supersedes"] == ended.receipt_id
    assert listed(section("receipts.md", "Of a correction")) == list(paths(correction.receipt))


@pytest.mark.rule("G-11", "US-13")
def test_the_page_shows_the_receipt_that_the_engine_issues() -> None:
    (ended,) = play(FOLDER / "gap-and-debt.toml").events(ev.CloseOutEnded)
    (example,) = examples(section("receipts.md", "Of a close-out"))
    assert re.fullmatch(r"[0-9a-f]{64}", ended.receipt["rulebook"]["digest"])
    ended.receipt["rulebook"]["digest"] = "..."  # it changes with every word of the rulebook
    assert example == json.dumps(ended.receipt, indent=2) + "\n"


# -- docs/files.md -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("accounts.csv", files.ACCOUNTS),
        ("liquidations.csv", files.LIQUIDATIONS),
        ("ledger.csv", files.LEDGER),
        ("summary.json", tuple(files.totals(Run("r", "1", "d", USD)))),
    ],
)
def test_the_page_lists_the_columns_of_the_files_out(heading: str, columns: tuple[str, ...]) -> None:
    assert tuple(listed(section("files.md", heading))) == columns


def test_the_page_lists_the_fields_of_an_account_and_its_example_is_read() -> None:
    text = section("files.md", "In: the accounts")
    account = [field for field in AccountFile.__struct_fields__ if field != "where"]
    assert listed(text) == [*account, *AccountPosition.__struct_fields__]
    (example,) = examples(text)
    read = parse_account(json.loads(example), "files.md")
    assert set(json.loads(example)["positions"][0]) == set(AccountPosition.__struct_fields__)
    assert read.positions[0].margin_mode == "isolated"


def test_the_page_lists_every_field_of_an_assessment() -> None:
    account = json.loads((DOCS / "examples" / "account.json").read_text(encoding="utf-8"))
    account["collateral"] = [{"asset": "BTC", "amount": "0.1", "price": "60000", "haircut": "0.03"}]
    account["overrides"] = {"marks": {"formula": "index"}}
    account["marks"]["PBTCUCZ50"] = {"index": "64000"}
    assert listed(section("files.md", "Out: the assessment")) == list(quote(account, "account.json"))


def test_the_overrides_on_the_page_are_accepted() -> None:
    (example,) = examples(section("files.md", "In: overrides"))
    assert load("kraken-us", json.loads(example)).table.overridden
    assert load("kraken-us", json.loads(example)).digest != load("kraken-us").digest


def test_the_page_lists_the_shipped_windows() -> None:
    text = section("files.md", "In: the market")
    assert [name for name in WINDOWS if f"`{name}`" not in text] == []


def test_the_page_lists_every_file_out(tmp_path: Path) -> None:
    named = listed(section("files.md", "Out: the folder"))
    files.write_runs(tmp_path, [Run("r", "1", "d", USD)], {})
    files.write_ledger(tmp_path / "ledger.csv", [])
    written = {f"{path.name}/" if path.is_dir() else path.name for path in tmp_path.iterdir()}
    assert written | {"report.html", files.journal_name("r", several=False)} == set(named)


# -- docs/why.md ---------------------------------------------------------------------------------------


@pytest.mark.rule("US-13")
def test_the_postings_on_the_page_are_those_of_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^```text\n(.*?)^```", (DOCS / "why.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    play(FOLDER / "gap-and-debt.toml", tell=True)
    told = capsys.readouterr().out.replace("\n    ", "\n")
    assert len(shown) == 2
    for postings in shown:
        assert f"\n{postings}" in told
