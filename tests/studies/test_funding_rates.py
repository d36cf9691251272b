"""Recorded funding rates for a replay: the file, and what of it falls between two instants (EX-06)."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.core.times import HOUR, MINUTE
from closeout.core.units import InputError
from closeout.studies.funding_rates import FundingRates, Interval, load_funding
from closeout.studies.market import Source

DAY = "2026-11-12"
HEADER = "time,contract,rate\n"
BINANCE = (
    f"{HEADER}{DAY}T00:00:00Z,BTCUSDT,0.0001\n{DAY}T08:00:00.004Z,BTCUSDT,-0.0008\n{DAY}T16:00:00Z,BTCUSDT,0.0024\n"
)


def loaded(tmp_path: Path, text: str) -> FundingRates:
    path = tmp_path / "funding.csv"
    path.write_text(text, encoding="utf-8")
    return load_funding(path)


def at(text: str) -> int:
    """Nanoseconds of an hour and minute of the day."""
    hour, minute = text.split(":")
    return 1_794_441_600 * 10**9 + int(hour) * HOUR + int(minute) * MINUTE


@pytest.mark.rule("EX-06")
def test_an_interval_is_the_distance_to_the_row_above_or_what_the_row_says(tmp_path: Path) -> None:
    (rows,) = loaded(tmp_path, BINANCE).contracts.values()
    assert rows == [
        Interval(at("0:00") - 8 * HOUR, at("0:00"), 100_000),
        Interval(at("0:00"), at("8:00"), -800_000),  # 4 ms late
        Interval(at("8:00"), at("16:00"), 2_400_000),
    ]
    stated = f"hours,rate,time,contract\n1,0.0000000015,{DAY}T08:00:00Z,X\n4,1,{DAY}T23:00:00Z,X\n"
    assert loaded(tmp_path, stated).contracts["X"] == [
        Interval(at("7:00"), at("8:00"), 2),
        Interval(at("19:00"), at("23:00"), 10**9),
    ]


@pytest.mark.rule("EX-06")
def test_a_rate_accrues_evenly_and_longer_intervals_add_up(tmp_path: Path) -> None:
    rates = loaded(tmp_path, BINANCE)
    for since, until, expected in (
        ("0:00", "8:00", -800_000),
        ("7:00", "8:00", -100_000),
        ("7:00", "9:00", 200_000),
        ("0:00", "16:00", 1_600_000),
        ("15:00", "17:00", 300_000),  # what is recorded of it
        ("16:00", "17:00", None),
    ):
        assert rates.between("BTCUSDT", at(since), at(until)) == expected
    assert rates.between("ETHUSDT", at("0:00"), at("8:00")) is None


@pytest.mark.rule("EX-06", "G-01")
@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5), st.lists(st.integers(1, 2399), max_size=20))
def test_parts_of_a_series_add_up_to_it(given_rates: list[int], cuts: list[int]) -> None:
    intervals = [Interval(8 * HOUR * i, 8 * HOUR * (i + 1), rate) for i, rate in enumerate(given_rates)]
    rates = FundingRates(Source("", "", 0), {"X": intervals})
    inside = sorted({cut * MINUTE for cut in cuts if cut * MINUTE < intervals[-1].end})
    parts = [rates.between("X", since, until) for since, until in pairwise([0, *inside, intervals[-1].end])]
    assert sum(part or 0 for part in parts) == sum(given_rates)


@pytest.mark.rule("EX-06", "EX-09")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "funding.csv: header: expected one column time, found nothing"),
        ("time,rate\n", "header: expected one column contract, found time, rate"),
        (HEADER, "expected at least one row"),
        (HEADER + "2026-11-12,X\n", "line 2: expected 3 fields, found 2"),
        (HEADER + "2026-11-12T08:00:00,X,0\n", "line 2: time: '2026-11-12T08:00:00' has no zone"),
        (HEADER + f"{DAY}T08:00:00Z,,0\n", "line 2: contract: expected a name"),
        (HEADER + f"{DAY}T08:00:00Z,X,much\n", "line 2: rate: 'much' is not a number"),
        (HEADER + f"{DAY}T08:00:00Z,X,1.1\n", "line 2: rate: expected one from -1 to 1, got 1.1"),
        (HEADER + f"{DAY}T08:00:00Z,X,0\n", "line 2: expected a second row of its contract, or a column hours"),
        (BINANCE + f"{DAY}T16:00:00Z,BTCUSDT,0\n", "line 5: time: expected one after the row above's in BTCUSDT"),
        (BINANCE + "2026-11-13T01:00:00Z,BTCUSDT,0\n", "line 5: time: expected rows at most 8 hours apart"),
        (f"time,contract,rate,hours\n{DAY}T08:00:00Z,X,0,25\n", "line 2: hours: expected a whole number from 1 to 24"),
        (
            f"time,contract,rate,hours\n{DAY}T08:00:00Z,X,0,1\n{DAY}T09:00:00Z,X,0,2\n",
            "line 3: hours: the interval begins before the one above it has ended",
        ),
        (BINANCE + '"', "line 5: not CSV"),
    ],
)  # fmt: skip
def test_bad_lines_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        loaded(tmp_path, text)
    assert message in str(refused.value)
