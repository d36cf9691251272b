"""`closeout study funding` over the recorded series of Binance, Bybit and dYdX.

They lie in ../shared/data/funding next to the checkout; what is not there is not tested. Totals are pinned as the
engine came to them, and worked out again from the file by fractions.
"""

import csv
import datetime as dt
import json
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import floor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from closeout.cli import app
from closeout.core.units import InputError
from closeout.rulebooks.loader import load
from closeout.studies import funding_screen
from closeout.studies.funding_series import MINUTE, Series, read_series
from closeout.studies.funding_study import Study, study

SERIES = Path(__file__).parents[2].parent / "shared" / "data" / "funding"
BTC_BINANCE = "BTC-USDT_binance_2020-01-01_2024-01-01_funding_history.csv"
BTC_BYBIT = "BTC-USDT_bybit_2021-01-01_2024-01-01_funding_history.csv"
BTC_DYDX = "BTC-USDT_dydx_2022-01-01_2024-01-01_funding_history.csv"
there = pytest.mark.skipif(not (SERIES / BTC_BINANCE).exists(), reason="../shared/data/funding is not there")
PLAIN = "Symbol,Date,Funding Rate\nBTC-USDT,2020-01-01 08:00:00,0.0001\nBTC-USDT,2020-01-01 16:00:00,-0.0002\n"


def run(series: Series, rulebook: str = "reference", quantity: str = "1", price: str = "10000") -> Study:
    return study(series, load(rulebook), contract=None, quantity=Decimal(quantity), price=Decimal(price))


def written(folder: Path, text: str, zone: str | None = "UTC", name: str = "rates.csv") -> Series:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_series(path, zone)


@cache
def recorded(name: str) -> Study:
    """A position of one under the reference rulebook: 10,000 a payment."""
    return run(read_series(SERIES / name))


def by_fractions(path: Path, hours_ahead: int, notional: int, *, finest: int = 10**9) -> dict[int, Fraction]:
    """What a long position was paid in each year, from the file alone: each payment rounded down to 1e-6."""
    found: dict[int, Fraction] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            when = dt.datetime.fromisoformat(row["Date"]) - dt.timedelta(hours=hours_ahead)
            rate = Fraction(round(Fraction(row["Funding Rate"]) * finest), finest)
            due = Fraction(floor(-rate * notional * 10**6), 10**6)
            found[when.year] = found.get(when.year, Fraction(0)) + due
    return found


@there
@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize(
    ("name", "ahead", "payments", "years"),
    [
        (BTC_BINANCE, 3, 4383, {2020: "-1723.9719", 2021: "-3060.8423", 2022: "-416.4925", 2023: "-786.5712"}),
        (BTC_BYBIT, 3, 3285, {2021: "-3829.8526", 2022: "-294.6321", 2023: "-888.3011"}),
        (BTC_DYDX, 0, 17520, {2022: "282.27954", 2023: "-1206.11609"}),
        (BTC_BINANCE.replace("BTC", "ETH"), 3, 4383, None),
        (BTC_BYBIT.replace("BTC", "ETH"), 3, 3285, None),
    ],
)
def test_a_recorded_series_comes_to_these_totals(
    name: str, ahead: int, payments: int, years: dict[int, str] | None
) -> None:
    found = recorded(name)
    net = {one.year: Fraction(one.received - one.paid, 10**6) for one in found.years}
    assert net == by_fractions(SERIES / name, ahead, 10_000)
    if years is not None:
        assert net == {year: Fraction(text) for year, text in years.items()}
    assert sum(one.payments for one in found.years) == payments == found.bookings
    assert Fraction(found.booked, 10**6) == sum(net.values())
    assert found.booked + found.booked_other + found.rounding + found.cleared == 0
    assert (found.problems, found.cleared) == ([], 0)


@there
@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize(("name", "hours"), [(BTC_BINANCE, 8), (BTC_BYBIT, 8), (BTC_DYDX, 1)])
def test_the_series_have_no_gaps_and_fall_on_whole_intervals_of_the_utc_day(name: str, hours: int) -> None:
    series = read_series(SERIES / name)
    assert (series.gaps, series.repeated, series.closer, series.off_grid) == ((), (), 0, 0)
    assert series.interval == hours * 60 * MINUTE
    if hours == 8:
        assert funding_screen.hours(series) == ["00:00", "08:00", "16:00"]
        assert read_series(SERIES / name, "UTC").off_grid == len(series.payments)  # the trap: 03, 11 and 19 o'clock


@there
@pytest.mark.rule("EX-06", "EX-08")
def test_the_extremes_of_binance_are_those_published() -> None:
    found = recorded(BTC_BINANCE)
    assert [one.payment.rate for one in found.largest[:2]] == [3_000_000, -3_000_000]
    assert [one.micros for one in found.largest[:2]] == [-30_000_000, 30_000_000]
    first, second = (json.loads(json.dumps(one)) for one in funding_screen.document(found)["largest"][:2])
    assert (first["time"], second["time"]) == ("2020-02-12T00:00:00Z", "2020-03-13T08:00:00Z")
    mean = Fraction(sum(one.rate for one in found.series.payments), len(found.paid) * 10**9)
    assert round(mean * 10**7) == 1366  # 0.01366 % each eight hours


@there
@pytest.mark.rule("EX-06", "US-14", "G-02")
def test_under_the_us_rulebook_three_payments_are_one_cash_adjustment() -> None:
    found = run(read_series(SERIES / BTC_BYBIT), "kraken-us", quantity="-3")
    assert found.holding.contract == "PBTCUCZ50"
    assert found.bookings == 1095 + (3285 % 3 > 0)
    assert found.booked == sum(one.micros for one in found.paid) == 150_383_574


@there
@pytest.mark.rule("EX-06", "G-01")
def test_in_the_coin_the_paying_side_pays_the_rounding() -> None:
    found = run(read_series(SERIES / BTC_BYBIT), "kraken-coinm", quantity="100")
    assert (found.booked, found.booked_other, found.rounding, found.cleared) == (-502_178, 500_418, 1760, 0)


@pytest.mark.rule("EX-06")
def test_a_gap_and_a_repetition_are_told_and_nothing_is_filled_in(tmp_path: Path) -> None:
    more = (
        "BTC-USDT,2020-01-02 00:00:00,0.0001\nBTC-USDT,2020-01-02 00:00:00.020,0.00010\n"
        "BTC-USDT,2020-01-03 00:00:00,0.0001\nBTC-USDT,2020-01-03 04:00:00,0.0001\n"
    )
    series = written(tmp_path, PLAIN + more)
    assert [(one.line, missing) for one, missing in series.gaps] == [(4, 2)]
    assert (series.repeated, series.closer, series.off_grid, len(series.payments)) == ((5,), 1, 1, 5)
    found = run(series)
    assert [one.micros for one in found.paid] == [-1_000_000, 2_000_000, -1_000_000, -1_000_000, -1_000_000]
    said = funding_screen.text(found)
    assert "Missing: 2 payments (2 after 2020-01-02T00:00:00Z). None is filled in." in said
    assert "1 payment not at whole intervals from midnight UTC" in said
    assert "Lines that repeat the one before, left out: 1." in said


@pytest.mark.rule("EX-06", "G-01")
def test_a_rate_finer_than_the_engines_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    rates = ("0.0000000005", "0.0000000015", "-0.0000000025", "0.00000000251")
    lines = [f"BTC-USDT,2020-01-01 0{hour}:00:00,{rate}" for hour, rate in enumerate(rates)]
    series = written(tmp_path, "Symbol,Date,Funding Rate\n" + "\n".join(lines) + "\n")
    assert [one.rate for one in series.payments] == [0, 2, -2, 3]
    assert series.rounded == 4


@pytest.mark.rule("EX-06")
def test_the_zone_is_known_or_given(tmp_path: Path) -> None:
    ahead = written(tmp_path, PLAIN, "+03:00")
    assert [one.time for one in written(tmp_path, PLAIN).payments] == [
        one.time + 180 * MINUTE for one in ahead.payments
    ]
    assert written(tmp_path, PLAIN, None, "BTC_binance_x.csv").zone == "+03:00"
    assert written(tmp_path, PLAIN, None, "BTC_dydx.csv").zone == "UTC"
    assert written(tmp_path, PLAIN, "-05:30").payments[0].time == ahead.payments[0].time + 510 * MINUTE
    for zone, name in ((None, "rates.csv"), (None, "binance_bybit.csv"), ("CET", "a.csv"), ("+15:00", "a.csv")):
        with pytest.raises(InputError, match="--stamps: expected"):
            written(tmp_path, PLAIN, zone, name)


@pytest.mark.rule("EX-06")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the header Symbol,Date,Funding Rate, got ''"),
        ("time,rate\n", "line 1: expected the header"),
        (PLAIN.splitlines()[0] + "\n", "expected at least two payments, got 0"),
        (PLAIN + "BTC-USDT,2020-01-02 00:00:00\n", "line 4: expected 3 fields"),
        (PLAIN + "ETH-USDT,2020-01-02 00:00:00,0\n", "line 4: Symbol: expected BTC-USDT as on the first line"),
        (PLAIN + "BTC-USDT,2020-01-02T00:00:00Z,0\n", "line 4: Date: expected YYYY-MM-DD HH:MM:SS"),
        (PLAIN + "BTC-USDT,2020-02-30 00:00:00,0\n", "line 4: Date: there is no such time"),
        (PLAIN + "BTC-USDT,0001-01-01 00:00:00,0\n", "line 4: Date: "),
        (PLAIN + "BTC-USDT,2020-01-01 12:00:00,0\n", "line 4: Date: expected a time after the line before's"),
        (PLAIN + "BTC-USDT,2020-01-01 16:00:00,0\n", "line 4: Funding Rate: 0 contradicts line 3 for the same time"),
        (PLAIN + "BTC-USDT,2020-01-02 00:00:00,much\n", "line 4: Funding Rate: 'much' is not a number"),
        (PLAIN + "BTC-USDT,2020-01-02 00:00:00,NaN\n", "line 4: Funding Rate: 'NaN' is not a finite number"),
        (PLAIN + "BTC-USDT,2020-01-02 00:00:00,1.1\n", "line 4: Funding Rate: expected a rate from -1 to 1"),
        (PLAIN + '"BTC', "line 4: not CSV"),
        (PLAIN.replace("BTC-USDT", ""), "line 2: Symbol: expected a symbol"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        written(tmp_path, text)


@pytest.mark.rule("EX-06")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quantity", "0"], "--quantity: expected more or less than zero"),
        (["--quantity", "0.00001"], "--quantity: quantity 0.00001 of BTCUSDT is off the lot"),
        (["--price", "0"], "--price: expected a price above zero"),
        (["--price", "0.001"], "--price: price 0.001 of BTCUSDT is off the tick"),
        (["--price", "5000000000"], "--price: the position is too large for what an account can hold"),
        (["--contract", "X"], "--contract: expected one of BTCUSDT"),
        (["--rulebook", "nobody"], "rulebook 'nobody'"),
        (["--stamps", "here"], "--stamps: expected UTC or an offset"),
    ],
)
def test_bad_calls_are_named(tmp_path: Path, options: list[str], message: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(PLAIN, encoding="utf-8")
    given = ["study", "funding", str(path), *(["--stamps", "UTC"] if "--stamps" not in options else []), *options]
    found = CliRunner().invoke(app, given)
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)


@pytest.mark.rule("EX-06")
def test_a_rate_at_the_cap_is_told_with_the_interval_that_would_follow(tmp_path: Path) -> None:
    series = written(tmp_path, PLAIN + "BTC-USDT,2020-01-01 16:00:00,0.003\n".replace("01 16", "02 00"))
    assert run(series, "binance-usdm").notes[1:] == [
        "After each of them the rulebook's next interval is 1 h; paid here is what was recorded."
    ]
    assert len(run(series, "bybit").notes) == 1  # not for BTCUSDT


@pytest.mark.rule("EX-06")
def test_a_symbol_that_the_rulebook_does_not_have_asks_for_a_contract(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--contract: reference has none for DOGE-USDT"):
        run(written(tmp_path, PLAIN.replace("BTC", "DOGE")))


@pytest.mark.rule("EX-06")
def test_the_command_prints_text_or_json(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(PLAIN, encoding="utf-8")
    call = ["study", "funding", str(path), "--stamps", "UTC"]
    said = CliRunner().invoke(app, call)
    assert said.exit_code == 0
    assert "long 1 BTCUSDT at 10000.00, worth 10,000.00 USD at each payment, under reference" in said.output
    found: dict[str, Any] = json.loads(CliRunner().invoke(app, [*call, "--json"]).output)
    (year,) = found["years"]
    assert year == {
        "year": 2020, "payments": 2, "sum_of_rates": "-0.0001", "paid": "1.00", "received": "2.00", "net": "1.00",
    }  # fmt: skip
    assert (found["net"], found["net_other_side"], found["rounding"]) == ("1.00", "-1.00", "0.00")
    assert found["ledger_imbalances"] == []
