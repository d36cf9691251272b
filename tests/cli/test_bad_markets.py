"""A market file that cannot be used: one line names the file, the line or row, the field, and what was expected."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.command import Command, account, market

HOUR = "2026-11-12T10:"
BARS = "time,open,high,low,close\n"


def parquet(columns: dict[str, list[object]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "naming"),
    [
        ("", ("empty",)),
        ("time,mark\n", ("header but no rows",)),
        ("\n\n\n", ("header", "time")),
        ("mark\n1\n", ("header", "time or open_time")),
        (f"time\n{HOUR}00:00Z\n", ("header", "mark, or open, high, low and close")),
        (f"time,open,high,low\n{HOUR}00:00Z,1,1,1\n", ("header", "close")),
        (f"time,mark,mark\n{HOUR}00:00Z,1,1\n", ("header", "mark", "once")),
        (f"time,mark,open,high,low,close\n{HOUR}00:00Z,1,1,1,1,1\n", ("header", "either", "not both")),
        (f"time,mark\n{HOUR}00:00Z\n", ("line 2", "2 fields", "found 1")),
        ("time,mark\n12 Nov 2026,50000\n", ("line 2", "time", "ISO 8601", "'12 Nov 2026'")),
        (f"time,mark\n{HOUR}00:00,50000\n", ("line 2", "time", "no zone")),
        ("time,mark\n2026-13-12T10:00:00Z,50000\n", ("line 2", "time", "not a time")),
        ("time,mark\n5,50000\n", ("line 2", "time", "epoch")),
        ("time,mark\n0001-01-01T00:00:00Z,50000\n", ("line 2", "time")),
        ("time,mark\n9999-01-01T00:00:00Z,50000\n", ("line 2", "time")),
        (f"time,mark\n{HOUR}00:00Z,50000\n1762941660,50000\n", ("line 3", "time", "form of the rows above (iso)")),
        (f"time,mark\n{HOUR}01:00Z,50000\n{HOUR}00:00Z,50000\n", ("line 3", "time", "earlier than the row above")),
        (f"time,mark\n{HOUR}00:00Z,50000\n{HOUR}00:00Z,50000\n", ("line 3", "time", "second row for this time")),
        (market("NaN"), ("line 2", "mark", "not a finite number")),
        (market("inf"), ("line 2", "mark", "not a finite number")),
        (market("50000", "5O000"), ("line 3", "mark", "'5O000' is not a number")),
        (market(""), ("line 2", "mark", "not a number")),
        (market("50000.005"), ("open", "2026-11-12T10:00:00Z", "off the tick of 0.01")),
        (market("1e15"), ("line 2", "mark", "10^15")),
        (market("1e-19"), ("line 2", "mark", "18 decimal places")),
        (market("10995116277.77"), ("2026-11-12T10:00:00Z", "out of bounds")),
        (market("0"), ("BTCUSDT: ", "above zero")),
        (market("50000", "-1"), ("2026-11-12T10:01:00Z", "above zero")),
        (f"{BARS}{HOUR}00:00Z,10,9,8,9\n", ("line 2", "high", "at least open and close")),
        (f"{BARS}{HOUR}00:00Z,10,12,11,12\n", ("line 2", "low", "at most open and close")),
        (f"time,contract,mark\n{HOUR}00:00Z,,1\n", ("line 2", "contract", "expected a name")),
        (
            f"time,contract,mark\n{HOUR}00:00Z,DOGEUSDT,1\n",
            ("contract", "DOGEUSDT", "reference", "BTCUSDT, ETHUSDT, SOLUSDT"),
        ),
        (f'time,mark\n{HOUR}00:00Z,"50000\n', ("line",)),
        (f"time,mark\n{HOUR}00:00Z,5\x000\n", ("line 2",)),
        (b"\xff\xfe\x00time", ("UTF-8",)),
        (b"PAR1 and no more", ("Parquet",)),
        (parquet({"time": [1762941600], "mark": ["50000"]})[:-30], ("Parquet",)),
        (parquet({"time": [1762941600, 1762941660], "mark": [50000.0, float("nan")]}), ("row 2", "mark")),
        (parquet({"time": [1762941600], "mark": [None]}), ("row 1", "mark")),
        (parquet({"time": [1762941600]}), ("header", "mark")),
    ],
)
def test_a_bad_market(command: Command, content: str | bytes, naming: tuple[str, ...]) -> None:
    name = command.write("BTCUSDT.csv", content)
    command.refuses("replay", name, "--population", 1, naming=(name, *naming))


def test_a_name_that_is_no_file_and_no_window(command: Command) -> None:
    command.refuses("replay", "oct-1O", naming=("oct-1O", "did you mean oct-10"))
    command.refuses("replay", "nowhere.csv", naming=("nowhere.csv", "neither a file nor a shipped window"))
    command.refuses("replay", "oct-10", "missing.csv", naming=("missing.csv",))


def test_a_folder_as_a_market(command: Command) -> None:
    (command.folder / "prices").mkdir()
    command.refuses("replay", "prices", naming=("prices", "Is a directory"))


def test_the_same_prices_twice(command: Command) -> None:
    name = command.write("BTCUSDT.csv", market("50000"))
    command.refuses("replay", name, name, naming=(name, "line 2", "second row for this time"))


def test_accounts_without_prices(command: Command) -> None:
    name = command.write("ETHUSDT.csv", market("3000"))
    accounts = command.write("accounts.jsonl", [account()])
    command.refuses("replay", name, "--accounts", accounts, naming=("accounts.jsonl: line 1", "no prices", "ETHUSDT"))


@pytest.mark.rule("G-01")
def test_the_largest_price_is_played(command: Command) -> None:
    """2^40 ticks of 0.01, and one tick beyond it above."""
    name = command.write("BTCUSDT.csv", market("10995116277.76"))
    accounts = command.write("accounts.jsonl", [account(positions=[])])
    answer = command("replay", name, "--accounts", accounts, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["rulebooks"]["reference"]["alarms"] == {}


def test_good_parquet_gives_what_csv_gives(command: Command) -> None:
    """Prices as text, time as an epoch in milliseconds."""
    prices = ["50000", "49400", "48000.5", "49000"]
    start = 1_794_477_600_000
    command.write("BTCUSDT.csv", "time,mark\n" + "".join(f"{start + i * 60_000},{p}\n" for i, p in enumerate(prices)))
    command.write("BTCUSDT.parquet", parquet({"time": [start + i * 60_000 for i in range(4)], "mark": [*prices]}))
    accounts = command.write("accounts.jsonl", [account()])
    digests = [
        command("replay", name, "--accounts", accounts, "--json", "--out", name[8:]).json["rulebooks"]["reference"]
        for name in ("BTCUSDT.csv", "BTCUSDT.parquet")
    ]
    assert digests[0]["liquidated_accounts"] == 1
    assert digests[0]["deficits"] == digests[1]["deficits"]
    assert digests[0]["ledger"] == digests[1]["ledger"]
