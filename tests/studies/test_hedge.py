"""Both legs of a contract in files: a quote by Binance's formula, account files, and a crash played through (EX-02)."""

import json
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from closeout.adapters.venues.simulated import FillMode
from closeout.core.units import InputError
from closeout.engine.commands import OpenAccount, TransferPosition
from closeout.rulebooks.loader import load
from closeout.studies.accounts import load_accounts, parse_account, to_commands
from closeout.studies.funding_rates import FundingRates, Interval
from closeout.studies.market import Source, load_market, parse_time
from closeout.studies.quote import quote
from closeout.studies.replay import Settings
from closeout.studies.runner import run_replay

LONG = {"contract": "BTCUSDT:long", "quantity": "12", "entry_price": "60100"}
SHORT = {"contract": "BTCUSDT:short", "quantity": "-7.5", "entry_price": "59000"}
OTHER = {"contract": "ETHUSDT", "quantity": "-3", "entry_price": "3100"}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "account_id": "A",
        "cash": "20000",
        "rulebook": "binance-usdm",
        "marks": {"BTCUSDT": "60000", "ETHUSDT": "3000"},
        "positions": [LONG, SHORT, OTHER],
    } | changes


@pytest.mark.rule("EX-02", "G-05")
def test_binances_formula_with_both_legs() -> None:
    """At 58,715 the long of 12 is worth 704,580, in the third bracket, the short 440,362, in the second."""
    answer = quote(document(), "a.json")
    wallet, others = Fraction(20_000), Fraction(300) - Fraction(9_000) * Fraction(4, 1000)
    above = wallet + others + 950 + 50 - 12 * 60_100 + Fraction(15, 2) * 59_000
    below = 12 * Fraction(65, 10_000) + Fraction(15, 2) * Fraction(5, 1000) - 12 + Fraction(15, 2)
    price = Decimal(ceil(above / below * 100)) / 100
    shown = {position["contract"]: position["liquidation_price"] for position in answer["positions"]}
    assert (shown["BTCUSDT:long"], shown["BTCUSDT:short"]) == (str(price), str(price)) == ("58715.02", "58715.02")
    level = {
        mark: quote(document(marks={"BTCUSDT": mark, "ETHUSDT": "3000"}), "a.json") for mark in ("58715.02", "58715.01")
    }
    assert [answer["state"]["level"] for answer in level.values()] == ["alert", "liquidating"]
    long, short = answer["positions"][:2]
    # Each leg by its own bracket: 720,000 x 0.65 % - 950 and 450,000 x 0.5 % - 50.
    assert (long["maintenance_margin"], short["maintenance_margin"]) == ("3730.00", "2200.00")
    assert (long["mark"], short["mark"]) == ("60000.00", "60000.00")


@pytest.mark.rule("EX-02")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"marks": {"BTCUSDT:long": "60000"}},
            "a.json: marks.BTCUSDT:long: expected a mark of BTCUSDT, which is that of its legs",
        ),
        (
            {"positions": [{**LONG, "quantity": "-1"}]},
            "a.json: positions[0].quantity: expected a quantity above zero in BTCUSDT:long, not -1",
        ),
        (
            {"positions": [{**SHORT, "quantity": "1"}]},
            "a.json: positions[0].quantity: expected a quantity below zero in BTCUSDT:short, not 1",
        ),
        (
            {"rulebook": "kraken-linear", "marks": {"BTCUSDT": "60000"}, "positions": [LONG, SHORT]},
            "a.json: positions[1].quantity: long and short of PF_XBTUSD in one cross account; expected one side",
        ),
        ({"positions": [{**LONG, "contract": "DOGE:long"}]}, "a.json: positions[0].contract: DOGE:long is unknown"),
    ],
)  # fmt: skip
def test_what_a_file_may_not_say(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        quote(document(**changes), "a.json")
    assert str(refused.value).startswith(message)


@pytest.mark.rule("EX-02")
def test_one_leg_is_the_one_position_of_a_venue_without_a_hedge_mode() -> None:
    answer = quote(document(rulebook="kraken-linear", marks={"BTCUSDT": "60000"}, positions=[LONG]), "a.json")
    (position,) = answer["positions"]
    assert (position["contract"], position["held_as"], position["quantity"]) == ("BTCUSDT:long", "PF_XBTUSD", "12")


@pytest.mark.rule("EX-02")
def test_a_leg_of_a_market_is_a_leg_of_the_contract_that_stands_for_it() -> None:
    """And an isolated leg is an account of its own, one a side."""
    margin = {"margin_mode": "isolated", "isolated_margin": "100"}
    legs = [{**LONG, "quantity": "1", **margin}, {**SHORT, "quantity": "-1", **margin}]
    given = parse_account({"account_id": "A", "cash": "0", "positions": legs}, "a")
    bybit = load("bybit").policy()
    commands = to_commands(given, bybit)
    assert [command.account_id for command in commands if isinstance(command, OpenAccount)] == [
        "A", "A/BTCUSDT:long", "A/BTCUSDT:short",
    ]  # fmt: skip
    assert [command.contract for command in commands if isinstance(command, TransferPosition)] == [
        "BTCUSDT:long", "BTCUSDT:short",
    ]  # fmt: skip
    own = {"tick": "0.1", "lot": "0.001", "stands_for": ["X"], "hedge_mode": True}
    tiers = [{"maintenance_margin_rate": "0.01"}]
    renamed = load("bybit", {"contracts": {"OWN": {**own, "tiers": tiers}}}).policy()
    found = renamed.contract_for("X:short")
    assert found is not None
    assert found.contract.name == "OWN:short"
    assert renamed.contract_for("Y:short") is None


def holds(long: str = "0", short: str = "0", plain: str = "0") -> list[dict[str, str]]:
    sizes = {"BTCUSDT:long": long, "BTCUSDT:short": short, "BTCUSDT": plain}
    return [
        {"contract": name, "quantity": size, "entry_price": "113000"} for name, size in sizes.items() if size != "0"
    ]


@pytest.mark.rule("EX-02", "EX-04", "G-02")
def test_a_crash_with_both_legs(tmp_path: Path) -> None:
    """10 October 2025 under Binance's rules, without a fund: hedged, half hedged and one-way accounts side by side.
    Money adds up to the micro; a whole hedge lives, and half a one is liquidated where the formula says."""
    accounts = [
        {"account_id": "whole", "cash": "6000", "positions": holds("2", "-2")},
        {"account_id": "half", "cash": "9000", "positions": holds("2", "-1")},
        {"account_id": "long", "cash": "9000", "positions": holds(plain="1")},
        {"account_id": "short", "cash": "90000", "positions": holds(short="-2")},
    ]
    path = tmp_path / "accounts.jsonl"
    path.write_text("".join(json.dumps(account) + "\n" for account in accounts))
    finished = run_replay(
        ["oct-10"], load_market(["oct-10"]), load_accounts(path), ["binance-usdm"], tmp_path / "out",
        settings=Settings(FillMode.ADVERSE), overrides={"insurance_fund": {"initial": "0"}},
    )  # fmt: skip
    (run,) = finished.runs
    assert (run.problems, run.ledger_imbalance, run.alarms) == ([], 0, {})
    found = {account.account_id: account for account in run.accounts}
    above = 9_000 + 50 + 50 - 2 * 113_000 + 113_000  # both legs are in the bracket of 0.5 % less 50
    price = Decimal(ceil(above / (3 * Fraction(5, 1000) - 1) * 100)) / 100
    assert found["half"].liquidation_price == str(price)
    # Nothing fills at the bar's extreme within the limits: each leg is closed against the other side by itself, at the
    # price at which its part of what is missing is gone, and of the whole hedge a long of 1 is left.
    moved = {receipt["account_id"]: receipt["transfers"] for receipt in run.receipts}
    told = [(part["contract"], part["quantity"], part["price"], part["to"][0]["account_id"]) for part in moved["half"]]
    assert told == [("BTCUSDT:long", "2", "102806.238806", "whole"), ("BTCUSDT:short", "1", "101612.477612", "whole")]
    assert [(part["contract"], part["to"][0]["account_id"]) for part in moved["long"]] == [("BTCUSDT", "short")]
    missing = 9_000 * 10**6 - (113_000 * 10**6 - 102_193_600_000)
    assert missing == -1_806_400_000
    for loser, winner in (("half", "whole"), ("long", "short")):
        assert found[loser].covered == {"auto_deleveraging": -missing}
        assert (found[loser].net_liq_after, found[winner].adl_amount) == (0, -missing)
    close = Fraction(run.prices[0].close[-1])
    assert found["whole"].side == "both"
    whole = Fraction(6_000) + Fraction(missing, 10**6) + close - Fraction("102193.60")
    assert found["whole"].net_liq_after == whole * 10**6


@pytest.mark.rule("EX-02", "EX-06", "G-02")
def test_funding_is_paid_and_received_by_the_legs(tmp_path: Path) -> None:
    """0.8 % at midnight: the long of a whole hedge pays what its short receives."""
    begin, _ = parse_time("2020-03-12T16:00:00Z")
    rates = FundingRates(Source("rates", "", 1), {"BTCUSDT": [Interval(begin, begin + 8 * 3600 * 10**9, 8 * 10**6)]})
    accounts = [
        {"account_id": "whole", "cash": "600000", "positions": holds("2", "-2")},
        {"account_id": "half", "cash": "900000", "positions": holds("3", "-1")},
    ]
    path = tmp_path / "accounts.jsonl"
    path.write_text("".join(json.dumps(account) + "\n" for account in accounts))
    finished = run_replay(
        ["march-12"], load_market(["march-12"]), load_accounts(path), ["binance-usdm"], tmp_path / "out",
        settings=Settings(FillMode.ADVERSE, funding=rates),
    )  # fmt: skip
    (run,) = finished.runs
    assert (run.problems, run.ledger_imbalance) == ([], 0)
    assert run.funding is not None
    assert run.funding.due == run.funding.received - run.funding.paid < 0
    whole, half = (next(a for a in run.accounts if a.account_id == name) for name in ("whole", "half"))
    assert whole.funding_paid == whole.funding_received
    assert half.funding_paid - half.funding_received == -run.funding.due
