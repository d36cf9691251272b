"""The published auto-deleveraging tables of 10 October 2025: exact totals, corrections, sharing, and bad files.

The tables lie in ../shared/data next to the checkout. What does not need them is tested with tables made here.
"""

import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from closeout.cli import app
from closeout.core.units import InputError
from closeout.studies.adl_screen import document, exact, money, text
from closeout.studies.adl_study import RULES, Coin, Study, own_coin, study, total
from closeout.studies.adl_tables import LOSERS, POLICIES, SWEEP, SWEEP_AT_ORIGIN, Tables, read_tables

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "hyperliquid_2025-10-10"
HORIZON = "eval_horizon_sweep/gap_ms=5000/horizon_ms=0"

published = pytest.mark.skipif(not FOLDER.exists(), reason="the published tables are not part of the project")


@pytest.fixture(scope="module")
def tables() -> Tables:
    return read_tables(FOLDER)


@pytest.fixture(scope="module")
def found(tables: Tables) -> Study:
    return study(tables)


def summed(found: Study) -> dict[str, str]:
    return {one.what: money(one.found) for one in found.totals}


@published
@pytest.mark.rule("EX-04", "EX-08")
def test_the_published_totals_come_out_of_the_rows(found: Study) -> None:
    assert (found.gap_rows, found.shocks, len(found.waves), found.fills) == (728, 1125, 16, 31152)
    assert summed(found) == {
        "deficit": "100,063,386.69",
        "needed, by wave and coin": "15,079,669.61",
        "needed, by wave": "15,079,669.61",
        "taken after 0 ms": "60,108,335.33",
        "overshoot after 0 ms": "45,028,665.72",
        "taken after 500 ms": "66,753,276.22",
        "overshoot after 500 ms": "51,673,606.61",
        "taken after 1000 ms": "66,091,792.83",
        "overshoot after 1000 ms": "51,012,123.23",
        "taken after 2000 ms": "62,526,361.71",
        "overshoot after 2000 ms": "47,446,692.11",
        "taken after 5000 ms": "64,353,144.63",
        "overshoot after 5000 ms": "49,273,475.02",
        "queue diagnostic: taken": "660,053,504.15",
        "queue diagnostic: overshoot": "653,552,663.51",
        "queue diagnostic: left unpaid": "16,690,263.85",
        "overshoot of production": "45,028,665.72",
        "overshoot of pro-rata": "0.00",
        "overshoot of pro-rata of profit": "0.00",
        "overshoot of pro-rata of equity": "0.00",
        "overshoot of vector mirror descent": "-1,793,022.03",
        "overshoot of contract pro-rata": "-3,020,120.65",
        "overshoot of fixed-point ILP": "92,186.99",
    }
    assert [one.what for one in found.totals if one.agrees() is None] == ["queue diagnostic: taken"]
    assert [one.what for one in found.totals if one.agrees() is False] == []


@published
@pytest.mark.rule("EX-08")
def test_what_coins_needed(tables: Tables) -> None:
    by_coin = {c: total(gap.needed for gap in tables.gaps if gap.coin == c) for c in ("BTC", "SOL", "ETH")}
    assert {coin: round(needed) for coin, needed in by_coin.items()} == {"BTC": 2309555, "SOL": 788660, "ETH": 288595}


@published
@pytest.mark.rule("EX-08")
def test_what_the_totals_hide(found: Study) -> None:
    by = found.corrections
    assert by.repeated_in == (1, 2, 4, 5, 8, 10, 11, 13, 14)
    assert money(by.repeated_loss) == "10,925,707.16"
    assert money(by.deficit_once) == "12,657,729.41"
    assert money(by.deficit_others) == "1,732,022.25"
    assert (money(by.over), by.over_waves) == ("49,405,578.12", 10)
    assert (money(by.under), by.under_waves) == ("4,376,912.41", 6)
    assert money(by.row_deficit) == "23,191,104.48"
    assert (by.shocks_without_deficit, money(by.overshoot_without_deficit)) == (955, "342,510,160.46")


@published
@pytest.mark.rule("EX-08")
def test_policies_by_account(found: Study) -> None:
    means = {one.name: f"{float(one.mean_largest):.4f}" for one in found.policies}
    assert (means["production"], means["pro-rata"]) == ("0.7545", "0.0130")
    assert list(means) == list(POLICIES.values())


@published
@pytest.mark.rule("EX-04")
def test_each_rule_shares_what_a_wave_needed(found: Study) -> None:
    for wave in found.waves:
        assert set(wave.shared) == set(RULES)
        for rule, by in wave.shared.items():
            assert 0 < (by.largest or 0) <= 1, (wave.wave, rule)
            assert rule == "own coin" or by.left == 0
        assert wave.shared["queue"].paying == 1  # the coin with most profit has enough for every wave
        assert wave.shared["pro-rata"] == wave.shared["capped pro-rata"]
        level = wave.shared["pro-rata"].largest or 0
        assert abs(level * wave.profit - wave.outcome.needed) < Fraction(1, 10**6)
    assert money(found.left("own coin")) == "5,125.31"
    means = {rule: f"{float(found.mean_largest(rule)):.4f}" for rule in RULES}
    assert means == {"own coin": "0.5082", "queue": "0.0548", "pro-rata": "0.0087", "capped pro-rata": "0.0087",
                     "risk-aware 2": "0.6209", "risk-aware 3": "0.6957"}  # fmt: skip


def test_sharing_among_three_coins() -> None:
    """Worked by hand. 60 is needed of 300; the stand-ins for leverage are 0.2, 0.4 and 0."""
    coins = [Coin("A", Fraction(20), Fraction(100), Fraction(10)), Coin("B", Fraction(40), Fraction(100), Fraction(9)),
             Coin("C", Fraction(0), Fraction(100), Fraction(50))]  # fmt: skip
    shares = {name: list(rule(coins).shares.values()) for name, rule in RULES.items()}
    assert shares == {
        "own coin": [20, 40, 0],
        "queue": [0, 0, 60],
        "pro-rata": [20, 20, 20],
        "capped pro-rata": [20, 20, 20],
        "risk-aware 2": [12, 48, 0],  # 0.04 to 0.16
        "risk-aware 3": [Fraction(20, 3), Fraction(160, 3), 0],  # 0.008 to 0.064
    }
    poor = own_coin(
        [Coin("A", Fraction(20), Fraction(5), Fraction(0)), Coin("B", Fraction(1), Fraction(9), Fraction(0))]
    )
    assert (poor.shares, poor.left) == ({"A": 5, "B": 1}, 15)


# The command


@published
def test_the_command_prints_what_the_study_found(found: Study) -> None:
    result = CliRunner().invoke(app, ["study", "deleveraging", str(FOLDER)])
    assert result.exit_code == 0
    assert result.stdout == text(found) + "\n"
    assert "DIFFERS" not in result.stdout
    assert "the 165 accounts and 302 fills" in " ".join(result.stdout.split())
    assert max(len(line) for line in result.stdout.splitlines()) <= 110


@published
def test_the_documents_page_has_what_the_command_prints(found: Study) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deleveraging-study.md").read_text(encoding="utf-8")
    for block in page.split("```")[1::2]:
        if block.startswith("text\n"):
            assert block.removeprefix("text").strip("\n") in text(found)


@published
def test_json_has_exact_sums(found: Study, tables: Tables) -> None:
    result = CliRunner().invoke(app, ["study", "deleveraging", str(FOLDER), "--json"])
    told: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == 0
    rows = (FOLDER / LOSERS).read_text(encoding="utf-8").splitlines()[1:]
    assert Decimal(told["totals"][0]["summed"]) == sum(Decimal(row.split(",")[5]) for row in rows)
    assert told["waves"][0]["time"] == "2025-10-10T21:16:04.831Z"
    assert {one["file"] for one in told["files"]} >= {LOSERS, SWEEP}
    assert told["corrections"]["deficit_once"].startswith("12657729.41")
    assert told == json.loads(json.dumps(document(found, tables)))


@published
def test_the_repositorys_own_folder_is_read_too(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / SWEEP).rename(folder / SWEEP_AT_ORIGIN)
    assert summed(study(read_tables(folder)))["overshoot after 0 ms"] == "45,028,665.72"


@published
def test_a_changed_amount_differs(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    change(folder / HORIZON / "two_pass_equity_delta_by_wave.csv", 3, lambda line: line.replace("171137.1", "271137.1"))
    result = CliRunner().invoke(app, ["study", "deleveraging", str(folder)])
    assert result.exit_code == 3
    assert result.stderr == "closeout: differs from the published total: taken after 0 ms, overshoot after 0 ms\n"
    assert result.stdout.count("DIFFERS") == 2


def copied(folder: Path) -> Path:
    shutil.copytree(FOLDER, folder / "tables", copy_function=shutil.copyfile)
    for path in (folder / "tables", *(folder / "tables").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder / "tables"


def change(path: Path, number: int, how: Callable[[str], str]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number - 1] = how(lines[number - 1])
    path.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")


def cell(number: int, value: str) -> Callable[[str], str]:
    def changed(line: str) -> str:
        cells = line.split(",")
        cells[number] = value
        return ",".join(cells)

    return changed


@published
@pytest.mark.parametrize(
    ("file", "line", "how", "said"),
    [
        (LOSERS, 3, cell(0, "1"), "line 3: wave: a second row for 1"),
        (LOSERS, 4, cell(5, "abc"), "line 4: deficit_usd: 'abc' is not a number"),
        (LOSERS, 4, cell(5, "-1"), "line 4: deficit_usd: expected zero or more, not -1"),
        (LOSERS, 4, cell(6, "99999999"), "line 4: max_loss_usd: expected at most deficit_usd, not 99999999"),
        (LOSERS, 4, cell(3, "1.5"), "line 4: n_rows: expected a whole number, not 1.5"),
        (LOSERS, 4, cell(2, "1760130000000"), "line 4: t_end_ms: expected at least t_start_ms"),
        (LOSERS, 4, lambda line: line + ",", "line 4: expected 7 fields, found 8"),
        (LOSERS, 1, lambda line: line.replace("wave", "round"), "header: expected a column wave, found round, t_start"),
        (LOSERS, 1, lambda line: line.replace("n_rows", "wave"), "header: expected a column wave, found it twice"),
        (LOSERS, 2, lambda line: '"' + line, "line 2: not a row of CSV"),
        (SWEEP, 3, cell(1, "0"), "line 3: eval_horizon_ms: a second row for 0"),
        (f"{HORIZON}/two_pass_equity_delta_by_wave.csv", 5, lambda _: "", "the rows end without wave 5"),
        (f"{HORIZON}/two_pass_wave_coin_gap_per_contract.csv", 9, cell(0, "3"), f"line 9: wave: 3 is not in {LOSERS}"),
        (f"{HORIZON}/two_pass_wave_coin_gap_per_contract.csv", 9, cell(3, " "), "line 9: coin: expected a name"),
        ("per_shock_metrics_queue.csv", 7, cell(2, "noon"), "line 7: t_start: 'noon' is not a time"),
        ("per_shock_metrics_queue.csv", 7, cell(3, "2025-10-10 20:00:00+00:00"), "line 7: t_end: earlier than t_start"),
        ("summary_totals.csv", 2, cell(0, "row"), "line 2: policy: expected a row queue"),
        ("policy_per_wave_metrics.csv", 2, cell(0, "3"), f"line 2: wave: 3 is not in {LOSERS}"),
        ("policy_per_wave_metrics.csv", 6, cell(5, "nan"), "line 6: budget_pr: 'nan' is not a finite number"),
    ],
)  # fmt: skip
def test_a_damaged_table(tmp_path: Path, file: str, line: int, how: Callable[[str], str], said: str) -> None:
    folder = copied(tmp_path)
    change(folder / file, line, how)
    with pytest.raises(InputError) as caught:
        read_tables(folder)
    assert str(caught.value).startswith(f"{folder / file}: ")
    assert said in str(caught.value)


@published
def test_a_missing_or_unreadable_table(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    totals = folder / "summary_totals.csv"
    for data, said in ((b"", "the file is empty"), (b"policy,total_residual,total_overshoot\n", "a header but no rows"),
                       (b"\xff\xfe", "expected a CSV file in UTF-8")):  # fmt: skip
        totals.write_bytes(data)
        with pytest.raises(InputError, match=said):
            read_tables(folder)
    totals.unlink()
    with pytest.raises(InputError, match=r"summary_totals\.csv: no such file"):
        read_tables(folder)
    totals.mkdir()
    with pytest.raises(InputError, match=r"summary_totals\.csv: cannot be read"):
        read_tables(folder)
    (folder / SWEEP).unlink()
    with pytest.raises(InputError, match=r"summary\.csv: no such file"):
        read_tables(folder)


def test_not_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing of that name"):
        read_tables(tmp_path / "none")
    with pytest.raises(InputError, match="this folder has no such file"):
        read_tables(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOSERS).touch()
    with pytest.raises(InputError, match=r"found a file"):
        read_tables(tmp_path / "out" / LOSERS)
    with pytest.raises(InputError, match=r"did you mean .*out\?"):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("number", "cents", "digits"),
    [
        (Fraction(-123456789, 1000), "-123,456.79", "-123456.789"),
        (Fraction(1, 3), "0.33", "0.333333333333"),
        (Fraction(1200), "1,200.00", "1200"),
        (Fraction(0), "0.00", "0"),
        (Fraction(-1, 1000), "0.00", "-0.001"),
        (Fraction(10**40 + 1, 10**20), "100,000,000,000,000,000,000.00", "100000000000000000000.00000000000000000001"),
    ],
)
def test_numbers_as_text(number: Fraction, cents: str, digits: str) -> None:
    assert (money(number), exact(number)) == (cents, digits)
