"""Each benchmark runs at a tiny scale and returns what its table needs. Nothing here looks at the time taken."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import NAMES, full_scan, main, replay_speed, run, start_up
from benchmarks.journal_inputs import COMMITS
from benchmarks.report import LINES, markdown_of, number, text_of

from closeout.core.units import InputError
from closeout.engine import scan
from closeout.engine.book import ContractState

TINY = 0.001
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    return {name: run(name, TINY) for name in NAMES if name != "start-up"}


def test_every_benchmark_has_a_module_and_lines_in_the_table() -> None:
    assert list(LINES) == list(NAMES)
    assert all((ROOT / "benchmarks" / f"{module}.py").is_file() for module in NAMES.values())


def test_results_say_machine_workload_and_method(results: dict[str, dict[str, Any]]) -> None:
    for result in results.values():
        assert all(result[key] for key in ("machine", "workload", "method", "rows"))
        json.dumps(result)
        assert result["workload"] in text_of(result)


def test_scan_rows(results: dict[str, dict[str, Any]]) -> None:
    rows = results["scan"]["rows"]
    assert [row["method"] for row in rows] == ["apply", "scan", "float64", "one by one"] * len(full_scan.SIZES)
    assert all(row["p50 ms"] <= row["p99 ms"] <= row["worst ms"] for row in rows)
    assert all(2 * row["accounts"] <= row["positions"] <= 4 * row["accounts"] for row in rows)
    assert [row["it / scan"] for row in rows if row["method"] == "scan"] == [1.0] * len(full_scan.SIZES)


def test_replay_rows(results: dict[str, dict[str, Any]]) -> None:
    rows = results["replay"]["rows"]
    ways = {name for name, (folder, _) in replay_speed.METHODS.items() if folder is None or folder.is_dir()}
    assert {row["method"] for row in rows} == ways
    assert {row["rulebook"] for row in rows} == set(replay_speed.RULEBOOKS)
    outcomes = {(row["rulebook"], row["accounts"]): set[tuple[int, int]]() for row in rows}
    for row in rows:
        outcomes[row["rulebook"], row["accounts"]].add((row["inputs"], row["events"]))
    assert all(len(seen) == 1 for seen in outcomes.values())  # the journal changes nothing but the time


def test_start_up_rows() -> None:
    rows = start_up.run(TINY)["rows"]
    assert rows[0]["command"] == start_up.NOTHING
    assert [row["command"].split()[0] for row in rows[1:]] == ["closeout"] * 3
    assert rows[0]["more than nothing, ms"] == 0
    with pytest.raises(RuntimeError, match="ended with 3"):
        start_up._time([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_table_has_a_line_for_each_case(results: dict[str, dict[str, Any]]) -> None:
    lines = [line for line in markdown_of(results).splitlines() if line.startswith("|")]
    replays = {(row["rulebook"], row["accounts"]) for row in results["replay"]["rows"]}
    assert len(lines) == 2 + len(full_scan.SIZES) + len(replays) + len(COMMITS)
    assert all(line.count("|") == 4 for line in lines)
    assert [number(value) for value in (1_234.5, 99.94, 9.994, 0.5)] == ["1,234", "99.9", "9.99", "0.50"]


def test_an_unknown_name_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"expected one of scan, replay, journal, start-up, not 'speed'"):
        run("speed")


def test_one_benchmark_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main("journal", as_json=True, scale=TINY)
    assert set(json.loads(capsys.readouterr().out)) == {"machine", "workload", "method", "rows"}


def test_the_scripts_run_as_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "invalid choice: 'speed'" in done.stderr


# -- the book of the scan ------------------------------------------------------------------------------


def filled(count: int) -> full_scan.Desk:
    desk = full_scan.Desk(full_scan.rulebook())
    desk.offer(full_scan.Walk(desk.state).now())
    full_scan.fill_book(desk.state, count)
    return desk


@pytest.mark.rule("G-12")
def test_the_scan_judges_a_bulk_book_as_the_one_account_assessment_does() -> None:
    desk = filled(300)
    full_scan.check(desk, full_scan.rulebook(), list(range(1, 301)))
    assert len(scan.candidates(desk.state)) == 0
    assert len({contract.window for contract in desk.state.contracts.values() if contract.count}) == 2


def first_holding(desk: full_scan.Desk) -> ContractState:
    return next(contract for contract in desk.state.contracts.values() if contract.count)


@pytest.mark.parametrize("spoil", ["level", "cash", "position"])
def test_a_book_that_is_not_legal_is_found(spoil: str) -> None:
    desk = filled(50)
    if spoil == "level":
        desk.state.book.level[7] = 1
    elif spoil == "cash":
        desk.state.book.cash[7] += 1
    else:
        contract = first_holding(desk)
        contract.row_of[int(contract.account[0])] = 0
    with pytest.raises(AssertionError):
        full_scan.check(desk, full_scan.rulebook(), list(range(1, 51)))


@pytest.mark.rule("G-01")
def test_float64_agrees_away_from_the_lines() -> None:
    desk = filled(300)
    floats = full_scan.FloatBook(desk.state)
    assert np.array_equal(floats.levels(), scan.levels(desk.state)[2])
