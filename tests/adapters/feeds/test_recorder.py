"""What the recorder writes is what `closeout replay` reads."""

from decimal import Decimal
from pathlib import Path

import pytest

from closeout.adapters.feeds.port import Observation
from closeout.adapters.feeds.recorder import Recorder
from closeout.adapters.feeds.selector import Route
from closeout.core.contracts import Contract, Kind
from closeout.core.units import USD
from closeout.studies.market import load_market

NOON = 1_800_014_400 * 10**9  # 2027-01-15 12:00 UTC
DAY = 86_400 * 10**9


def contract(name: str) -> Contract:
    one = Decimal(1)
    return Contract.define(name, kind=Kind.LINEAR, currency=USD, tick=one, lot=one, contract_size=one)


def recorder(folder: Path) -> Recorder:
    routes = {
        "BTC/USD": Route(contract("BTC/USD"), (("kraken", "PF_XBTUSD"), ("coinbase", "BTC-USD")), 1),
        "MICRO": Route(contract("MICRO"), (("coinbase", "BTC-USD"),), 1),
    }
    return Recorder(folder, routes)


def heard(feed: str, market: str, price: str | None, time: int) -> Observation:
    return Observation(feed, market, None if price is None else Decimal(price), None, time)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_source_has_its_file_and_replay_reads_it(tmp_path: Path) -> None:
    writer = recorder(tmp_path / "marks")
    written = ["28064.92082724592", "1E-8", "0.1", "100"]
    for second, price in enumerate(written):
        writer.record(heard("kraken", "PF_XBTUSD", price, NOON + second))
        writer.record(heard("coinbase", "BTC-USD", price, NOON + second))
        writer.record(heard("coinbase", "ETH-USD", price, NOON + second))  # marks nothing
    writer.close()
    assert names(tmp_path / "marks") == [
        "BTC%2FUSD_coinbase_BTC-USD_2027-01-15.csv",
        "BTC%2FUSD_kraken_PF_XBTUSD_2027-01-15.csv",
        "MICRO_coinbase_BTC-USD_2027-01-15.csv",
    ]
    for name in names(tmp_path / "marks"):
        market = load_market([str(tmp_path / "marks" / name)])
        ((contract_name, bars),) = market.contracts.items()
        assert contract_name == ("MICRO" if name.startswith("MICRO") else "BTC/USD")
        assert [(bar.time, bar.close) for bar in bars] == [
            (NOON + second, Decimal(price)) for second, price in enumerate(written)
        ]
    first = (tmp_path / "marks" / "BTC%2FUSD_kraken_PF_XBTUSD_2027-01-15.csv").read_text().splitlines()
    assert first[:2] == [
        "time,contract,mark,feed,market",
        "2027-01-15T12:00:00.000000000Z,BTC/USD,28064.92082724592,kraken,PF_XBTUSD",
    ]


def test_rows_are_there_at_once_and_days_follow_one_another(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    for time in (NOON, NOON + DAY // 2 - 1, NOON + DAY // 2, NOON + DAY):
        writer.record(heard("kraken", "PF_XBTUSD", "5", time))
    files = [f"BTC%2FUSD_kraken_PF_XBTUSD_2027-01-{day}.csv" for day in (15, 16)]
    assert names(tmp_path) == files
    market = load_market([str(tmp_path / file) for file in files])
    assert [bar.time for bar in market.contracts["BTC/USD"]] == [NOON, NOON + DAY // 2 - 1, NOON + DAY // 2, NOON + DAY]
    writer.close()


@pytest.mark.rule("G-09")
def test_a_time_is_written_once_and_never_runs_back(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    for time, price in ((NOON, "1"), (NOON, "2"), (NOON - 1, "3"), (NOON - DAY, "4"), (NOON + 1, "5")):
        writer.record(heard("kraken", "PF_XBTUSD", price, time))
    writer.close()
    (name,) = names(tmp_path)
    bars = load_market([str(tmp_path / name)]).contracts["BTC/USD"]
    assert [(bar.time, bar.close) for bar in bars] == [(NOON, 1), (NOON + 1, 5)]


@pytest.mark.parametrize("cut", [1, 30, 10_000])
def test_after_a_crash_the_file_goes_on_behind_its_last_whole_row(tmp_path: Path, cut: int) -> None:
    writer = recorder(tmp_path)
    for second in range(100):
        writer.record(heard("kraken", "PF_XBTUSD", str(second + 1), NOON + second))
    writer.close()
    (name,) = names(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    left = max(data[:-cut].count(b"\n") - 1, 0)
    assert left < 100
    writer = recorder(tmp_path)
    writer.record(heard("kraken", "PF_XBTUSD", "7", NOON))  # known already, unless all is gone
    writer.record(heard("kraken", "PF_XBTUSD", "8", NOON + 200))
    writer.close()
    bars = load_market([str(path)]).contracts["BTC/USD"]
    assert [bar.time for bar in bars] == [*(NOON + second for second in range(max(left, 1))), NOON + 200]


def test_a_lost_price_is_kept_apart(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    writer.record(heard("coinbase", "BTC-USD", None, NOON))
    writer.close()
    (name,) = names(tmp_path)
    assert name == "lost_2027-01-15.csv"
    assert (tmp_path / name).read_text().splitlines()[1:] == [
        "2027-01-15T12:00:00.000000000Z,BTC/USD,,coinbase,BTC-USD",
        "2027-01-15T12:00:00.000000000Z,MICRO,,coinbase,BTC-USD",
    ]


def test_a_price_finer_than_a_file_may_hold_is_rounded(tmp_path: Path) -> None:
    writer = recorder(tmp_path)
    writer.record(heard("kraken", "PF_XBTUSD", "0.0000123456789012345678", NOON))
    writer.close()
    (name,) = names(tmp_path)
    bar = load_market([str(tmp_path / name)]).contracts["BTC/USD"][0]
    assert bar.close == Decimal("0.000012345678901235")


def test_a_disk_that_fails_does_not_stop_the_marks(tmp_path: Path) -> None:
    (tmp_path / "marks").write_text("a file where the folder should be")
    writer = recorder(tmp_path / "marks")
    writer.record(heard("kraken", "PF_XBTUSD", "1", NOON))
    assert writer.failed == 1
    assert writer.last_fault
    (tmp_path / "marks").unlink()
    writer.record(heard("kraken", "PF_XBTUSD", "2", NOON + 1))
    writer.close()
    assert (writer.failed, len(names(tmp_path / "marks"))) == (1, 1)


def test_a_row_that_the_disk_takes_in_part_is_taken_back() -> None:
    """Every write to this device fails as on a full disk."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    writer = recorder(Path("/dev/full/below"))
    writer.record(heard("kraken", "PF_XBTUSD", "1", NOON))
    assert writer.failed == 1
