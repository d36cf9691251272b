"""Market files: what is read, and the one line that says what is wrong with a bad one."""

import csv
import hashlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from closeout.core.units import InputError
from closeout.studies import market as market_module
from closeout.studies.market import WINDOWS, Bar, Market, load_market, parse_time

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "crash_windows"
DATA = resources.files("closeout") / "data"

BTC_OCT = "BTCUSDT_UMperp_1m_2025-10-10_2030-2200.csv"
SOL_OCT = "SOLUSDT_UMperp_1m_2025-10-10_2050-2200.csv"
MORNING = "BTCUSDT_UMperp_1m_2020-03-12_1000-1200.csv"
NIGHT = "BTCUSDT_UMperp_1m_2020-03-12_2250_to_2020-03-13_0244.csv"
T0 = 1_760_129_400_000_000_000  # 2025-10-10 20:50 UTC
MINUTE = 60 * 10**9


def clock(time: int) -> str:
    return datetime.fromtimestamp(time // 10**9, UTC).strftime("%H:%M")


def write(folder: Path, text: str, name: str = "BTCUSDT_test.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


# The shipped windows. The facts were taken down from the source before the package existed.


@pytest.mark.parametrize(
    ("file", "short", "rows", "low", "at", "first_open"),
    [
        (MORNING, "96009da3", 121, "5199.17", "10:48", "7358.51"),
        (NIGHT, "d0099a5b", 235, "3621.81", "02:16", "5729.37"),
        (BTC_OCT, "41094d56", 91, "101516.50", "21:20", "117014.0"),
        (SOL_OCT, "133876a7", 71, "141.28", "21:21", "207.06"),
    ],
)
def test_the_shipped_windows_are_the_recorded_ones(
    file: str, short: str, rows: int, low: str, at: str, first_open: str
) -> None:
    data = (DATA / file).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert digest.startswith(short)
    assert f"{digest}  {file}" in (DATA / "checksums.txt").read_text().splitlines()
    assert f"{digest}  {file}" in (DATA / "SOURCES.md").read_text()
    if SHARED.exists():
        assert data == (SHARED / file).read_bytes()
    name = next(name for name, files in WINDOWS.items() if files == (file,))
    market = load_market([name])
    (bars,) = market.contracts.values()
    assert [(source.file, source.sha256, source.rows) for source in market.sources] == [(file, digest, rows)]
    assert len(bars) == rows
    assert {b.time - a.time for a, b in pairwise(bars)} == {MINUTE}
    lowest = min(bars, key=lambda bar: bar.low)
    assert (lowest.low, clock(lowest.time)) == (Decimal(low), at)
    assert bars[0].open == Decimal(first_open)


def test_a_changed_shipped_window_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    for name in (BTC_OCT, "checksums.txt"):
        (tmp_path / "data" / name).write_bytes((DATA / name).read_bytes().replace(b"117014.0,", b"117015.0,"))
    monkeypatch.setattr(market_module.resources, "files", lambda _package: tmp_path)
    with pytest.raises(InputError, match=f"{BTC_OCT}.*checksum"):
        load_market(["oct-10"])


@pytest.mark.parametrize(
    ("name", "start", "leverage", "trigger"),
    [
        ("oct-10", "20:50", 7, None),
        ("oct-10", "20:50", 10, "21:17"),
        ("oct-10", "20:50", 25, "21:13"),
        ("oct-10", "20:50", 100, "20:51"),
        ("march-12-morning", "10:00", 3, None),
        ("march-12-morning", "10:00", 4, "10:48"),
        ("march-12-morning", "10:00", 5, "10:46"),
        ("march-12-morning", "10:00", 10, "10:41"),
        ("march-12", "22:50", 2, None),
        ("march-12", "22:50", 3, "02:14"),
        ("march-12", "22:50", 10, "23:24"),
    ],
)
def test_trigger_minute_of_one_long(name: str, start: str, leverage: int, trigger: str | None) -> None:
    """A long entered at the open of `start`, maintenance 0.5 %: the first minute whose low is at or below the
    liquidation price. The expected minutes are published; the price is reckoned here with fractions alone."""
    (bars,) = load_market([name]).contracts.values()
    held = [bar for bar in bars if bar.time >= next(bar.time for bar in bars if clock(bar.time) == start)]
    liquidation = Fraction(held[0].open) * (1 - Fraction(1, leverage)) / (1 - Fraction(1, 200))
    crossed = [clock(bar.time) for bar in held if Fraction(bar.low) <= liquidation]
    assert (crossed[0] if crossed else None) == trigger


def test_the_deficit_of_25x_at_the_low_and_at_the_close() -> None:
    """2.6432 % of notional at the low of 21:13, 0.2168 % at its close, for a long of 25x from 116,830.30."""
    (bars,) = load_market(["oct-10"]).contracts.values()
    by_clock = {clock(bar.time): bar for bar in bars}
    entry, bar = Fraction(by_clock["20:50"].open), by_clock["21:13"]
    bankruptcy = entry * Fraction(24, 25)
    assert round((bankruptcy - Fraction(bar.low)) / entry * 100, 4) == Fraction("2.6432")
    assert round((bankruptcy - Fraction(bar.close)) / entry * 100, 4) == Fraction("0.2168")


# What a file may look like


def test_a_bar_file() -> None:
    market = load_market(["oct-10"])
    with (DATA / BTC_OCT).open() as lines:
        row = next(csv.DictReader(lines))
    first, high, low, last = (Decimal(row[field]) for field in ("open", "high", "low", "close"))
    assert market.contracts["BTCUSDT"][0] == Bar(int(row["open_time"]) * 10**6, first, high, low, last)


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-10T20:50:00Z",
        "2025-10-10 22:50:00+02:00",
        "2025-10-10T20:50Z",
        "1760129400",
        "1760129400000",
        "1760129400000000",
        "1760129400000000000",
    ],
)
def test_times(tmp_path: Path, text: str) -> None:
    market = load_market([write(tmp_path, f"mark,time,note\n1.50,{text},x\n")])
    price = Decimal("1.50")
    assert market.contracts == {"BTCUSDT": [Bar(T0, price, price, price, price)]}
    assert parse_time("2025-10-10T20:50:00.000000001Z")[0] == T0 + 1


def test_contracts_are_merged_by_time(tmp_path: Path) -> None:
    both = write(tmp_path, "time,contract,mark\n1760129400,A,1\n1760129400,B,2\n1760129460,B,-37.63\n", "x.csv")
    later = write(tmp_path, "time,mark\n1760129460000,0\n", "A.csv")
    market = load_market([both, later])
    seen = [(time, {name: bar.close for name, bar in bars.items()}) for time, bars in market.bars()]
    assert seen == [(T0, {"A": 1, "B": 2}), (T0 + MINUTE, {"A": 0, "B": Decimal("-37.63")})]
    assert [source.rows for source in market.sources] == [3, 1]
    assert market.interval() == MINUTE


def test_both_contracts_of_october(tmp_path: Path) -> None:
    market = load_market(["oct-10-all"])
    times = [time for time, _ in market.bars()]
    assert times == sorted(set(times))
    assert sum(len(bars) for _, bars in market.bars()) == 91 + 71
    assert load_market(["oct-10", "oct-10-sol"]) == market
    assert Market().interval() == MINUTE


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "time,contract,mark\n1760129400,A,1\n", "oct-10")
    assert list(load_market(["oct-10"]).contracts) == ["A"]


# What is refused

HEADER = "time,open,high,low,close\n"
ROW = "1760129400,10,12,9,11\n"
BAD: list[tuple[str, str, tuple[str, ...]]] = [
    ("empty", "", ("empty",)),
    ("only a header", HEADER, ("no rows",)),
    ("no time", "when,mark\n1760129400,1\n", ("header", "time or open_time", "when")),
    ("no price", "time,price\n1760129400,1\n", ("header", "mark", "price")),
    ("half a bar", "time,open,high,low\n1760129400,1,1,1\n", ("header", "close")),
    ("mark and bar", "time,mark,open,high,low,close\n1760129400,1,1,1,1,1\n", ("header", "not both")),
    ("a column twice", "time,mark,mark\n1760129400,1,1\n", ("header", "mark", "once")),
    ("no header", ROW, ("header", "time or open_time")),
    ("malformed time", HEADER + ROW + "yesterday,10,12,9,11\n", ("line 3", "time", "'yesterday'", "ISO 8601")),
    ("no zone", "time,mark\n2025-10-10T20:50:00,1\n", ("line 2", "time", "zone")),
    ("a date as a number", "time,mark\n20251010,1\n", ("line 2", "time", "1973")),
    ("a day that does not exist", "time,mark\n2025-02-30T00:00Z,1\n", ("line 2", "time", "not a time")),
    ("two forms", "time,mark\n1760129400,1\n1760129460000,1\n", ("line 3", "time", "(s)", "ms")),
    ("unsorted", HEADER + ROW + "1760129340,10,12,9,11\n", ("line 3", "time", "earlier", "BTCUSDT")),
    ("duplicate", HEADER + ROW + ROW, ("line 3", "time", "second row", "BTCUSDT")),
    ("nan", "time,mark\n1760129400,NaN\n", ("line 2", "mark", "finite")),
    ("inf", HEADER + "1760129400,10,inf,9,11\n", ("line 2", "high", "finite")),
    ("no number", HEADER + "1760129400,10,12,9,eleven\n", ("line 2", "close", "'eleven'", "number")),
    ("nothing", HEADER + "1760129400,10,12,,11\n", ("line 2", "low", "number")),
    ("too many digits", "time,mark\n1760129400,1e400\n", ("line 2", "mark", "10^15")),
    ("high below close", HEADER + "1760129400,10,10.5,9,11\n", ("line 2", "high", "11", "10.5")),
    ("low above open", HEADER + "1760129400,10,12,10.1,11\n", ("line 2", "low", "10", "10.1")),
    ("cut short", HEADER + ROW + "1760129460,10,1", ("line 3", "5 fields", "3")),
    ("no contract", "time,contract,mark\n1760129400,,1\n", ("line 2", "contract", "name")),
    ("an open quote", 'time,mark\n"1760129400,1\n', ("line 2",)),
]


@pytest.mark.parametrize(("text", "words"), [pytest.param(text, words, id=name) for name, text, words in BAD])
def test_a_bad_file(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_market(["oct-10-sol", path])
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("oct10", ("oct10", "shipped window", "oct-10")),
        ("nothing-like-it", ("neither a file", "march-12-morning")),
        (".", ("cannot be read", "directory")),
        ("a\0b", ("cannot be read",)),
    ],
)
def test_a_bad_name(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        load_market([name])
    assert [word for word in words if word not in str(caught.value)] == []


def test_no_market_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        load_market([])
    (tmp_path / "A.csv").write_bytes(b"time,mark\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"A\.csv: .*UTF-8"):
        load_market([str(tmp_path / "A.csv")])


# Parquet

WriteParquet = Callable[..., str]


@pytest.fixture
def write_parquet(tmp_path: Path) -> WriteParquet:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write_columns(**columns: object) -> str:
        path = tmp_path / "BTCUSDT.parquet"
        parquet.write_table(arrow.table(columns), path)
        return str(path)

    return write_columns


@pytest.mark.parametrize("prices", [["10.1", "3e1"], [Decimal("10.10"), Decimal("30.00")], [10.1, 30.0]])
@pytest.mark.parametrize(
    "times", [[T0, T0 + 1], [datetime(2025, 1, 1, 7, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)]]
)
def test_parquet(write_parquet: WriteParquet, times: list[int | datetime], prices: list[str]) -> None:
    bars = load_market([write_parquet(mark=prices, time=times, note=[b"x", b"y"])]).contracts["BTCUSDT"]
    assert [bar.close for bar in bars] == [Decimal("10.1"), Decimal("30")]
    first = times[0]
    assert bars[0].time == (first if isinstance(first, int) else int(first.timestamp()) * 10**9)


def test_bad_parquet(write_parquet: WriteParquet, tmp_path: Path) -> None:
    good = Path(write_parquet(time=[T0], mark=["1"])).read_bytes()
    cut = tmp_path / "cut.parquet"
    for data in (good[:-20], good[: len(good) // 2], b"PAR1", b"no parquet at all"):
        cut.write_bytes(data)
        with pytest.raises(InputError, match=r"cut\.parquet: not a Parquet file"):
            load_market([str(cut)])
    for columns, words in [
        ({"time": [datetime(2025, 1, 1)], "mark": ["1"]}, "row 1: time: .*zone"),
        ({"time": [T0, T0 + 1], "mark": [1.0, float("nan")]}, "row 2: mark: .*finite"),
        ({"time": [T0], "mark": [None]}, "row 1: mark: .*number"),
        ({"time": [T0]}, "header: .*mark"),
    ]:
        with pytest.raises(InputError, match=words):
            load_market([write_parquet(**columns)])


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "A.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"A\.parquet: .*pip install 'closeout\[parquet\]'"):
        load_market([str(tmp_path / "A.parquet")])
