"""Funding in a replay: recorded rates at each rulebook's own intervals, against plain arithmetic (EX-06, EX-09)."""

import csv
import json
from fractions import Fraction
from typing import Any

import pytest
from tests.cli.command import Command

DAY = "2026-11-12"
HEADER = "time,contract,rate\n"
BINANCE = (
    f"{HEADER}{DAY}T00:00:00Z,BTCUSDT,0.0001\n{DAY}T08:00:00.004Z,BTCUSDT,-0.0008\n{DAY}T16:00:00Z,BTCUSDT,0.0024\n"
)
PRICE = 50_000


def held_through(command: Command, rulebooks: str, rates: str, *more: object) -> Any:
    """Two accounts, one long and one short a coin, from 07:30 to 16:30 at a price that stands still."""
    times = [f"{hour:02d}:{minute}" for hour in range(7, 17) for minute in ("00", "30")][1:]
    command.write("BTCUSDT.csv", "time,mark\n" + "".join(f"{DAY}T{time}:00Z,{PRICE}\n" for time in times))
    command.write("funding.csv", rates)
    position = {"contract": "BTCUSDT", "entry_price": str(PRICE)}
    command.write(
        "accounts.jsonl",
        [
            {"account_id": name, "cash": "100000", "positions": [position | {"quantity": quantity}]}
            for name, quantity in (("LONG", "1"), ("SHORT", "-1"))
        ],
    )
    call = ("replay", "BTCUSDT.csv", "--accounts", "accounts.jsonl", "--rulebook", rulebooks, *more, "--json")
    answer = command(*call)
    assert answer.code == 0, answer.err
    return answer.json


def paid(command: Command) -> dict[str, list[Fraction]]:
    """By rulebook what LONG and SHORT received, net, from accounts.csv."""
    found: dict[str, list[Fraction]] = {}
    with (command.folder / "closeout-replay" / "accounts.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            net = Fraction(row["funding_received"]) - Fraction(row["funding_paid"])
            assert Fraction(row["net_liq_after"]) - Fraction(row["net_liq_before"]) == net
            found.setdefault(row["rulebook"], []).append(net)
    return found


@pytest.mark.rule("EX-06", "EX-09", "G-02")
def test_each_rulebook_pays_its_own_intervals_part_of_the_same_rates(command: Command) -> None:
    """Binance and OKX at 08:00 and 16:00, Hyperliquid each hour, BitMEX at 12:00 halves of two rates; Kraken each
    minute from the first mark on."""
    answer = held_through(
        command, "reference,binance-usdm,hyperliquid,bitmex,kraken-linear,okx", BINANCE, "--funding", "funding.csv"
    )
    value = Fraction(PRICE)
    percent = {
        "reference": Fraction(0),
        "binance-usdm": Fraction(-8 + 24, 10_000),
        "hyperliquid": Fraction(-1, 10_000) + Fraction(24, 10_000),
        "bitmex": Fraction(-4 + 12, 10_000),
        "kraken-linear": Fraction(-1, 20_000) + Fraction(24, 10_000),
        "okx": Fraction(-8 + 24, 10_000),
    }
    found = paid(command)
    for name, rate in percent.items():
        long, short = found[name]
        assert abs(long + rate * value) <= Fraction(600, 10**6), name  # a micro an accrual
        assert 0 <= -long - short <= Fraction(600, 10**6), name
        run = answer["rulebooks"][name]
        assert run["conservation"]["problems"] == []
        if rate:
            funding = {key: Fraction(text) for key, text in run["funding"].items()}
            assert (funding["accounts_paid"], funding["accounts_received"]) == (funding["paid"], funding["received"])
            assert funding["paid"] - funding["received"] == -long - short
            assert funding["outsiders_paid"] == 0
            assert funding["rounding"] == funding["paid"] - funding["received"]
        else:
            assert run["funding"] is None
    assert found["binance-usdm"] == [-80, 80]
    assert answer["market"]["funding"]["file"] == "funding.csv"
    assert answer["side_by_side"]["totals"]["binance-usdm"]["funding_paid"] == "160.00"
    assert answer["side_by_side"]["accounts"]["LONG"]["binance-usdm"]["funding_received"] == "40.00"


@pytest.mark.rule("EX-06", "EX-09")
def test_a_rate_at_the_cap_shortens_the_rulebooks_intervals_in_a_replay_too(command: Command) -> None:
    """0.3 % at 08:00 is Binance's cap: an hour's part of the next rate at 09:00, and each hour from then on, but for
    OKX, whose cap is higher, and Bybit, which does not do so for BTCUSDT."""
    rates = BINANCE.replace("-0.0008", "0.003")
    answer = held_through(command, "binance-usdm,okx,bybit", rates, "--funding", "funding.csv")
    said = {
        name: next(line for line in run["assumptions"] if line.startswith("Funding"))
        for name, run in answer["rulebooks"].items()
    }
    assert said["binance-usdm"].endswith("(accruals: 9).")
    assert said["okx"].endswith("(accruals: 2).")
    assert paid(command) == {name: [-270, 270] for name in ("binance-usdm", "okx", "bybit")}


@pytest.mark.rule("EX-09")
def test_without_a_file_none_is_applied_and_the_report_says_so(command: Command) -> None:
    answer = held_through(command, "binance-usdm", BINANCE)
    run = answer["rulebooks"]["binance-usdm"]
    assert "Funding: none is applied: no rates were given (--funding)." in run["assumptions"]
    assert (run["funding"], answer["market"]["funding"]) == (None, None)
    assert paid(command) == {"binance-usdm": [0, 0]}
    report = (command.folder / "closeout-replay" / "report.html").read_text(encoding="utf-8")
    assert "no rates were given" in report
    assert "funding paid" not in report


@pytest.mark.rule("EX-06", "EX-09", "EX-04", "G-02")
def test_a_crash_with_funding_is_conserved_and_verifies(command: Command) -> None:
    """Takers, deleveraging, debts and isolated positions, with a payment each minute or hour in the middle."""
    command.write("funding.csv", HEADER + "2025-10-10T16:00:00Z,BTCUSDT,0.0001\n2025-10-11T00:00:00Z,BTCUSDT,-0.01\n")
    books = "kraken-linear,hyperliquid,dydx-v4,deribit,ftx,kraken-us"
    call = ("replay", "oct-10", "--population", 80, "--rulebook", books, "--funding", "funding.csv", "--json")
    answer = command(*call)
    assert answer.code == 0, answer.err
    for name, run in answer.json["rulebooks"].items():
        if name != "kraken-us":  # it pays at 19:00 in Chicago
            assert Fraction(run["funding"]["accounts_paid"]) > 0, name
        assert run["conservation"]["funding_less_rates_on_what_was_held"] == "0.00"
        assert run["conservation"]["problems"] == []
        journal = f"closeout-replay/journal.{name}.sqlite"
        assert command("verify", journal, "--published", run["published"]).code == 0
    report = (command.folder / "closeout-replay" / "report.html").read_text(encoding="utf-8")
    assert "funding paid" in report
    assert "funding.csv" in report
    assert json.loads((command.folder / "closeout-replay" / "summary.json").read_bytes())["market"]["funding"]


@pytest.mark.rule("EX-09")
def test_a_contract_without_prices_is_named(command: Command) -> None:
    command.write("funding.csv", BINANCE.replace("BTCUSDT", "DOGEUSDT"))
    command.refuses(
        "replay", "oct-10", "--population", 5, "--funding", "funding.csv",
        naming=("funding.csv: contract: DOGEUSDT has no prices in this market; expected one of BTCUSDT",),
    )  # fmt: skip
    command.refuses("replay", "oct-10", "--funding", "none.csv", naming=("none.csv: cannot be read",))
