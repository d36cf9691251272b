"""Each benchmark runs at a tiny scale and returns what its table needs. Nothing here looks at the time taken."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import (
    NAMES,
    browser,
    durable,
    exchange,
    feed_load,
    full_scan,
    main,
    order_checks,
    replay_speed,
    run,
    start_up,
)
from benchmarks.journal_inputs import COMMITS
from benchmarks.report import LINES, markdown_of, number, text_of

from closeout.core.units import InputError
from closeout.engine import scan
from closeout.engine.book import ContractState
from closeout.engine.candidates import candidates

TINY = 0.001
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    return {name: run(name, TINY) for name in ("scan", "replay", "journal")}


def test_every_benchmark_has_a_module_and_lines_in_the_table() -> None:
    assert [*LINES, "index"] == list(NAMES)
    assert all((ROOT / "benchmarks" / f"{module.replace('.', '/')}.py").is_file() for module in NAMES.values())


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


def test_durable_rows() -> None:
    result = run("durable", TINY)
    rows = result["rows"]
    sizes = [(durable.COMMANDS, size) for size in durable.SIZES] + [(durable.MARKED, size) for size in durable.MARKS]
    assert [(row["what"], row["a frame"], row["method"]) for row in rows] == [
        (*case, method) for case in sizes for method in durable.METHODS
    ]
    assert rows[0]["it / one a commit"] == 1.0
    assert all(line.count("|") == 4 for line in markdown_of({"durable": result}).splitlines() if line.startswith("|"))


def test_recovery_comes_back_to_the_same_digest() -> None:
    """A difference would be an error."""
    result = run("recovery", TINY)
    assert result["figures"]["digest"] == "equal"
    assert [row["what"] for row in result["rows"]][-2:] == ["inputs applied again", "the same inputs without a journal"]
    assert all(line.count("|") == 4 for line in markdown_of({"recovery": result}).splitlines() if line.startswith("|"))


def test_start_up_rows() -> None:
    rows = start_up.run(TINY)["rows"]
    assert rows[0]["command"] == start_up.NOTHING
    assert [row["command"].split()[0] for row in rows[1:]] == ["closeout"] * 3
    assert rows[0]["more than nothing, ms"] == 0
    with pytest.raises(RuntimeError, match="ended with 3"):
        start_up._time([sys.executable, "-c", "raise SystemExit(3)"])


def check_running(name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and figures of a benchmark of a running service, which must fit its table."""
    result = run(name, TINY)
    rows = result["rows"]
    assert all(result[key] in text_of(result) for key in ("machine", "workload", "method"))
    assert all(row["p50 ms"] <= row["p99 ms"] <= row["p99.9 ms"] <= row["worst ms"] for row in rows)
    assert all(line.count("|") == 4 for line in markdown_of({name: result}).splitlines() if line.startswith("|"))
    json.dumps(result)
    return rows, result.get("figures", {})


@pytest.mark.skipif(not feed_load.RECORDING.is_file(), reason="the recordings are not part of the project")
def test_every_message_of_the_feed_is_heard() -> None:
    rows, figures = check_running("feeds")
    assert rows[0]["samples"] > 0
    assert figures["messages heard"] == figures["messages sent"] > 0
    assert figures["malformed"] == figures["out of order, gaps, reconnects"] == 0
    assert figures["close-out orders"] == rows[1]["samples"]


def test_the_feed_needs_its_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(feed_load, "RECORDING", tmp_path / "none")
    with pytest.raises(InputError, match="bench feeds: none is not there"):
        run("feeds", TINY)


def test_every_order_check_is_answered() -> None:
    rows, _ = check_running("orders")
    assert len(rows) == len(order_checks.MOVES) * (len(order_checks.RATES) + 2) + 1
    assert all(row["failed"] == 0 < row["answered/s"] for row in rows)
    open_loop = [row for row in rows if row["what"] == "order checks, open loop"]
    assert all(row["approved"] > 0 for row in open_loop)


def test_no_client_of_the_streams_is_lost() -> None:
    rows, figures = check_running("streams")
    assert [row["lost"] for row in rows] == [0] * 4
    assert [row["frames/s"] > 0 for row in rows] == [False, True, True, True]
    assert list(figures) == ["the stuck client was closed with"]


def test_the_pages_draw_what_the_service_tells_them() -> None:
    """None is measured that has not drawn three frames of its topic."""
    try:
        browser.program()
    except InputError as missing:
        pytest.skip(str(missing))
    rows, figures = check_running("pages")
    nothing, *pages = rows
    assert len(pages) == 4
    assert nothing["updates/s"] == 0 < nothing["frames/s"]
    assert all(row["DOM nodes"] > nothing["DOM nodes"] for row in pages)
    assert len(figures) == 5


def test_the_pages_need_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "PROGRAMS", ("no-such-browser",))
    with pytest.raises(InputError, match="bench pages: no Chromium on this machine"):
        run("pages", TINY)


def test_prices_of_later_loops_are_lower_and_their_numbers_higher(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.write_text(
        'wss://there <- 1.0: {"event":"subscribe"}\n1.5: {"event":"subscribed"}\n'
        '2.0: {"feed":"ticker_lite","product_id":"P","bid":100.0,"ask":102.0}\n3.0: {"feed":"book","seq":7}\n'
    )
    spec = exchange.Recording(str(recording), 2.0, 1.0, 0.5)
    found = list(exchange.recording_messages(spec))
    assert [at for at, _ in found] == [0.0, 1.0, 1.0, 2.0, 2.0]
    assert [message["bid"] for _, message in found if message["feed"] == "ticker_lite"] == [100.0, 75.0, 50.0]
    assert [message["seq"] for _, message in found if message["feed"] == "book"] == [7, 9]


def test_the_table_has_a_line_for_each_case(results: dict[str, dict[str, Any]]) -> None:
    lines = [line for line in markdown_of(results).splitlines() if line.startswith("|")]
    replays = {(row["rulebook"], row["accounts"]) for row in results["replay"]["rows"]}
    assert len(lines) == 2 + len(full_scan.SIZES) + len(replays) + len(COMMITS)
    assert all(line.count("|") == 4 for line in lines)
    assert [number(value) for value in (1_234.5, 99.94, 9.994, 0.5)] == ["1,234", "99.9", "9.99", "0.50"]


def test_an_unknown_name_is_bad_input() -> None:
    with pytest.raises(
        InputError,
        match=r"expected one of scan, replay, journal, durable, recovery, start-up, feeds, .*, pages, index, not",
    ):
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
    assert len(candidates(desk.state)) == 0
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
        desk.state.book.positions.first[int(contract.holders()[0])] = 0
    with pytest.raises(AssertionError):
        full_scan.check(desk, full_scan.rulebook(), list(range(1, 51)))


@pytest.mark.rule("G-01")
def test_float64_agrees_away_from_the_lines() -> None:
    desk = filled(300)
    floats = full_scan.FloatBook(desk.state)
    assert np.array_equal(floats.levels(), scan.levels(desk.state)[2])
