"""The benchmark runs, and its helpers count right."""

from pathlib import Path

from benchmarks.journal_inputs import COMMITS, methods, run
from benchmarks.measure import machine, percentiles, table


def test_the_benchmark_measures_every_method_at_every_size(tmp_path: Path) -> None:
    rows = run(tmp_path, scale=0.001)["rows"]
    assert [(row["inputs a frame"], row["method"]) for row in rows] == [
        (size, name) for size in COMMITS for name in methods()
    ]
    assert all(row["p50 us"] <= row["p99 us"] <= row["p99.9 us"] <= row["worst us"] for row in rows)
    assert [row["journal / it"] for row in rows if row["method"] == "journal"] == [1.0] * len(COMMITS)
    assert list(tmp_path.iterdir()) == []


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles(range(1_000, 0, -1)) == {"p50": 500, "p99": 990, "p99.9": 999, "worst": 1_000}
    assert percentiles([7]) == {"p50": 7, "p99": 7, "p99.9": 7, "worst": 7}


def test_table_and_machine() -> None:
    assert table([{"name": "a", "count": 1_234}, {"name": "bcdef", "count": 0.5}]).splitlines() == [
        "name   count",
        "-----  -----",
        "a      1,234",
        "bcdef   0.50",
    ]
    assert "\n" not in machine()
