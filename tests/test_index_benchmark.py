"""The benchmark of the trigger index at tiny sizes: its command, its book and marks, its reference and its baselines.
Nothing here looks at the time taken."""

import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import main, readme
from benchmarks.index import baselines, book, compiled, desk, paths, reference, run, switch, tools
from benchmarks.index.book import Columns, Shape
from benchmarks.index.paths import Path as Marks
from benchmarks.report import markdown_of, text_of

from closeout.core.units import InputError
from closeout.engine import scan

ROOT = Path(__file__).parents[1]
FEW = 300
Results = Callable[[str], dict[str, Any]]
PROMISED = {
    "accounts", "positions", "contracts", "marks", "crossings_per_mark", "marks_per_second", "ratio_to_incremental",
    "ratio_to_full_scan", "growth_100k_to_3M", "digest_equal",
}  # fmt: skip


def columns_of(accounts: int = FEW, **shape: Any) -> Columns:
    return book.draw(Shape(accounts, **shape))


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    """The result of each workload, measured once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SAMPLED": 10, "DIGEST_MARKS": 100, "ROUGH": 500, "SCANS": 2}.items():
            patch.setattr(run, name, value)
        yield functools.cache(lambda workload: run.run(workload=workload, accounts=FEW, marks=300))


def check_shape(result: dict[str, Any], workload: str) -> None:
    """A result has what is promised, and fits JSON, the text for people and the README's table."""
    assert set(result) >= PROMISED | {"machine", "workload", "method"}
    json.dumps(result)
    assert result["machine"] in text_of(result)
    lines = [line for line in markdown_of({f"index.{workload}": result}).splitlines() if line.startswith("|")]
    assert len(lines) > 2
    assert all(line.count("|") == 4 for line in lines)


@pytest.mark.rule("G-12", "G-19")
@pytest.mark.parametrize("workload", run.WORKLOADS)
def test_the_engine_finds_whom_the_reference_finds_and_every_baseline_agrees(workload: str, results: Results) -> None:
    result = results(workload)
    check_shape(result, workload)
    assert result["accounts"] == FEW
    assert result["marks"] >= 300
    assert result["fallen_as_reference"]
    assert result["order_as_reference"]
    assert result["digest_equal"]
    assert result["events_equal"]
    assert result["digest_fallen"] > 0
    assert result["imbalances"] == 0
    assert result["ratio_to_incremental"] > 0 < result["ratio_to_full_scan"]
    assert result["single_marks"]["p50 us"] <= result["single_marks"]["p99.9 us"] <= result["single_marks"]["worst us"]
    measured = [row for row in result["rows"] if "samples" in row]
    assert all(row["agrees"] for row in measured)
    assert len(measured) >= len(baselines.COMPILED) + 3  # NumPy is always there
    missing = [row["package"] for row in result["rows"] if "samples" not in row]
    assert all(package.endswith("is not installed") for package in missing)


def test_a_crash_closes_many_out_and_swings_close_nobody_out(results: Results) -> None:
    crashed, swung = results("crash"), results("adversarial")
    assert crashed["fallen_share"] > 0.05
    assert crashed["close_out_orders"] >= crashed["fallen"] > swung["fallen"] == 0
    assert crashed["path"].startswith("synthetic")
    assert swung["worst_batch_to_full_scan"] > 0
    assert swung["share_near"] == 1


def test_growth_and_sweep(results: Results) -> None:
    grown, swept = results("growth"), results("sweep")
    check_shape(grown, "growth")
    check_shape(swept, "sweep")
    assert [row["accounts"] for row in grown["growth"]] == [100, FEW, 3 * FEW]
    assert grown["growth_factor"] > 0
    assert grown["growth_100k_to_3M"] is None  # these are not the sizes that it speaks of
    assert len(swept["sweep"]) == len(run.SWEEP_SHARES) * len(run.SWEEP_STEPS)


def test_a_switch_takes_nobody_anywhere(results: Results) -> None:
    switched = results("switch")
    check_shape(switched, "switch")
    assert {row["to"] for row in switched["switch"]} == set(switch.WINDOWS)
    assert switched["events"] == 0
    assert all(row["verdicts / bare"] > 0 < row["marks meanwhile"] for row in switched["switch"])


def test_a_tool_that_is_not_installed_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "version_of", lambda package: "" if package == "scipy" else "1")
    monkeypatch.setattr(baselines, "TOOLS", {"scipy": tools.TOOLS["scipy"]})
    columns = columns_of()
    rows = list(baselines.measure(columns, paths.calm(columns.opening, 10), 0))
    assert [row["method"] for row in rows if row["package"] == "scipy is not installed"] == [tools.ScipyMatrix.name]


def test_the_command_says_what_is_wrong_with_its_options() -> None:
    cases: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("index", {"workload": "storm"}, "bench index: --workload: expected one of calm, hot, crash, adversarial, "),
        ("index", {"accounts": 5}, "bench index: --accounts and --marks must be at least 100"),
        ("scan", {"marks": 5}, "bench: --marks belongs to `bench index` alone"),
    )
    for name, option, said in cases:
        with pytest.raises(InputError, match=said):
            main(name, **option)


def test_the_command_line() -> None:
    command = [sys.executable, "-m", "benchmarks", "index", "--workload", "growth", "--accounts", "200"]
    done = subprocess.run([*command, "--marks", "100", "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["growth_factor"] > 0
    done = subprocess.run([*command, "--marks", "1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


# -- the book and the marks ----------------------------------------------------------------------------


def test_the_book_is_what_its_shape_asks_for() -> None:
    columns = columns_of(20_000, share_near=0.05)
    held = np.diff(columns.start)
    assert (held.min(), held.max()) == (1, 5)
    assert 2.95 < columns.positions / columns.accounts < 3.05
    assert 0.045 < columns.near(columns.opening) / columns.accounts < 0.055
    assert len(columns.breached(columns.opening)) == 0
    assert {1, -1} == set(np.sign(columns.lots).tolist())
    pairs = columns.account.astype(np.int64) * book.CONTRACTS + columns.contract
    assert np.all(np.diff(pairs) > 0)  # account by account, in contract order, each contract once
    hot = columns_of(20_000, hot=True)
    assert 0.24 < (hot.contract == 0).mean() < 0.26
    assert columns_of(2_000, near=50, far_from=0.3).near(columns_of(2_000).opening) == 50


@pytest.mark.rule("G-12")
def test_the_engine_judges_the_book_as_the_reference_does() -> None:
    columns = columns_of(share_near=0.5)
    under_test = desk.Desk(columns)
    net_liq, requirement, _ = (column[-columns.accounts :] for column in scan.levels(under_test.state))
    assert np.array_equal(net_liq, columns.net_liq(columns.opening))
    assert np.array_equal(requirement, columns.requirement(columns.opening))
    assert under_test.engine.imbalances() == []


def test_the_crash_keeps_to_its_bars() -> None:
    opening = columns_of().opening
    path = paths.crash(opening, 20_000)
    assert np.bincount(path.contract).min() >= 1_000
    first = path.ticks[path.contract == 0]
    bitcoin = paths.load_market([paths.CRASH]).contracts["BTCUSDT"]
    scale = int(opening[0]) / float(bitcoin[0].open)
    assert first[0] == pytest.approx(opening[0], rel=0.01)
    assert first.min() == round(scale * float(min(bar.low for bar in bitcoin)))
    assert first.max() == round(scale * float(max(bar.high for bar in bitcoin)))


# -- the reference -------------------------------------------------------------------------------------


def judged_one_by_one(columns: Columns, path: Marks) -> Any:
    first, ticks, bounds = np.full(columns.accounts, -1), columns.opening.copy(), path.bounds()
    for begin, end in itertools.pairwise(bounds):
        ticks[path.contract[begin:end]] = path.ticks[begin:end]
        below = columns.breached(ticks)
        first[below[first[below] < 0]] = path.batch[begin]
    return first


@pytest.mark.parametrize("kind", ["calm", "crash", "swings"])
def test_the_reference_is_a_judgement_after_every_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "SEGMENT", 97)
    columns = columns_of(share_near=0.2, ticks=2 if kind == "swings" else 0)
    path = {
        "calm": lambda: paths.calm(columns.opening, 1_500, step=1e-3),
        "crash": lambda: paths.crash(columns.opening, 2_000),
        "swings": lambda: paths.swings(columns.opening, 60, 20, amplitude=2),
    }[kind]()
    first = reference.first_breaches(columns, path)
    assert (first >= 0).sum() > 5
    assert np.array_equal(first, judged_one_by_one(columns, path))
    order = reference.order_of(first)
    assert order.tolist() == sorted(np.flatnonzero(first >= 0).tolist(), key=lambda account: (first[account], account))


def test_a_baseline_that_misses_somebody_does_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = columns_of(share_near=0.5)
    path = paths.calm(columns.opening, 400, step=1e-3)
    right = baselines.row_of(compiled.FullScan, "", columns, path.part(300, 400), path.after(columns.opening, 300))
    assert right["agrees"]
    mark = compiled.FullScan.mark
    monkeypatch.setattr(compiled.FullScan, "mark", lambda self, *told: mark(self, *told)[1:])
    wrong = baselines.row_of(compiled.FullScan, "", columns, path.part(300, 400), path.after(columns.opening, 300))
    assert not wrong["agrees"]


# -- the README ----------------------------------------------------------------------------------------


def test_the_readme_has_the_tables_that_the_committed_results_make() -> None:
    text = readme.README.read_text("utf-8")
    assert readme.TABLE.search(text)
    assert readme.written(text, readme.RESULTS) == text
    named = {name for _, names, _ in readme.TABLE.findall(text) for name in names.split()}
    assert {file.stem for file in readme.RESULTS.glob("*.json")} <= named  # no result is committed and not shown


def test_a_table_is_written_from_its_results(tmp_path: Path, results: Results) -> None:
    begin, end = "<!-- benchmarks: index index.growth -->\n", "<!-- end of benchmarks -->"
    text = f"before\n{begin}old\n{end}\nafter\n"
    assert readme.written(text, tmp_path) == f"before\n{begin}{end}\nafter\n"
    (tmp_path / "index.growth.json").write_text(json.dumps(results("growth")))
    made = readme.written(text, tmp_path)
    assert "| a mark that crosses as many triggers in a larger book |" in made
    assert "`closeout bench index --workload growth`" in made
    assert readme.written(made, tmp_path) == made
