"""The project's own conformance vectors are those that its engine makes today, and any command can be asked (EX-08)."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from closeout.studies import conformance, vectors
from closeout.studies.conformance import case_text, compare, main, question, read_case
from closeout.studies.vectors import answers, case_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "vectors"
SOURCES = sorted([*(ROOT / "docs" / "scenarios").glob("*.toml"), *(FOLDER / "cases").glob("*.toml")])
FILES = sorted(FOLDER.glob("*.json"))
ONE = FOLDER / "fund-then-venue.json"
NO_CASE = {"write-off"}
"""Stories of the books and the desk."""


@pytest.mark.rule("EX-08")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_files_are_what_their_sources_make(path: Path) -> None:
    case = case_of(path, path.relative_to(ROOT).as_posix())
    if case is None:
        assert path.stem in NO_CASE
        return
    file = FOLDER / f"{path.stem}.json"
    made = case_text(case) == (file.read_text(encoding="utf-8") if file.exists() else "")
    assert made, f"python -m closeout.studies.conformance write vectors {path.relative_to(ROOT).as_posix()}"


@pytest.mark.rule("EX-08")
def test_every_file_has_its_source_and_stands_in_the_list() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    sources = {path.stem for path in SOURCES}
    assert [path.name for path in FILES if path.stem not in sources] == []
    assert [path.name for path in FILES if f"[{path.name}]({path.name})" not in page] == []


@pytest.mark.rule("EX-08", "G-03")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_engine_answers_as_expected(path: Path) -> None:
    case = read_case(path)
    result = compare(case, answers(question(case)))
    assert (result.different, result.missing) == ([], 0)
    assert result.same > 30


@pytest.mark.rule("EX-08")
def test_what_is_asked_does_not_say_what_is_expected() -> None:
    for path in FILES:
        case = read_case(path)
        assert all("expect" in step for step in case["steps"])
        assert all(step.keys() == {"at", "act"} for step in question(case)["steps"])


def command(folder: Path, change: str) -> str:
    """A command that answers as our engine does, after a change of the answer `steps`."""
    script = folder / "engine.py"
    script.write_text(
        "import json, sys\n"
        "from closeout.studies.vectors import answers\n"
        "steps = answers(json.load(sys.stdin))\n"
        f"{change}\n"
        'print(json.dumps({"steps": steps}))\n',
        encoding="utf-8",
    )
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"


def checked(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    code = main(["check", str(ONE), *args])
    return code, capsys.readouterr().out


@pytest.mark.rule("EX-08")
def test_our_engine_is_the_first_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys)
    assert code == 0
    assert said.endswith("1 of 1 cases as expected\n")
    assert "0 different, 0 not answered" in said


WRONG = {
    "a figure": (
        'steps[2]["accounts"]["Ann"]["net_liq"] = "-50.01"',
        'fund-then-venue: step 3: accounts.Ann.net_liq: got "-50.01", expected "-50.00"',
    ),
    "an order that nobody expects": (
        'steps[0]["close_out_orders"] = [{"account": "Ann"}]',
        'fund-then-venue: step 1: close_out_orders: got [{"account": "Ann"}], expected []',
    ),
    "an order that is not sent": (
        'steps[2]["close_out_orders"] = []',
        "fund-then-venue: step 3: close_out_orders: got [], expected [{",
    ),
    "another stage": (
        'steps[4]["deficit_borne"].reverse()',
        "fund-then-venue: step 5: deficit_borne: got [{",
    ),
}


@pytest.mark.rule("EX-08")
@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, message: str) -> None:
    code, said = checked(capsys, "--command", command(tmp_path, change))
    assert code == 1
    assert message in said
    assert "1 different" in said


@pytest.mark.rule("EX-08")
def test_numbers_are_compared_by_value_and_figures_left_out_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = 'del steps[0]["firms_money"]; steps[2]["accounts"]["Ann"]["net_liq"] = "-50"'
    code, said = checked(capsys, "--command", command(tmp_path, change))
    assert (code, "0 different, 1 not answered" in said) == (0, True)
    code, _ = checked(capsys, "--all", "--command", command(tmp_path, change))
    assert code == 1


UNUSABLE = {
    "ends with an error": ("raise SystemExit('no such act')", "the command ended with 1: no such act"),
    "prints something else": ("print('hello'); raise SystemExit", 'expected {"steps": [...]} on standard output'),
    "answers too few steps": ("steps.pop()", "expected 5 steps"),
}


@pytest.mark.rule("EX-08")
@pytest.mark.parametrize(("change", "message"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_command_that_does_not_answer_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    code, said = checked(capsys, "--command", command(tmp_path, change))
    assert code == 1
    assert f"not answered  fund-then-venue: {message}" in said


@pytest.mark.rule("EX-08")
def test_what_was_worked_out_by_hand_must_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (FOLDER / "cases" / "fund-then-venue.toml").read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(given.replace('amount = "20.00"', 'amount = "19.00"'), encoding="utf-8")
    assert main(["write", str(tmp_path), str(wrong)]) == 2
    assert "deficit_borne: amount: expected 19.00, got 20.00" in capsys.readouterr().err


@pytest.mark.rule("EX-08")
def test_a_file_of_another_format_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"format": "closeout-vector/2"}), encoding="utf-8")
    assert main(["check", str(other)]) == 2
    assert f"format: expected {vectors.FORMAT}, got 'closeout-vector/2'" in capsys.readouterr().err


@pytest.mark.rule("EX-08")
def test_a_case_states_parameters_and_no_sources() -> None:
    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {key for one in value.values() for key in keys(one)}
        return {key for one in value for key in keys(one)} if isinstance(value, list) else set()

    for path in FILES:
        rulebook = read_case(path)["rulebook"]
        assert not keys(rulebook) & {"source", "as_of", "assumed", "sources"}
        assert {"currency", "windows", "contracts", "close_out", "waterfall"} <= set(rulebook)
    assert conformance.OWN.endswith("-m closeout.studies.conformance answer")
