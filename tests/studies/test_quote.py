"""`closeout quote`: one account in, its assessment out, with the engine's own numbers."""

import json
import re
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from closeout.core.units import InputError
from closeout.engine.commands import Input, LoadRulebook, Mark, Marks
from closeout.engine.engine import Engine
from closeout.engine.events import LevelChanged, Rejected
from closeout.rulebooks.loader import load
from closeout.studies.accounts import parse_account, to_commands
from closeout.studies.quote import explain, quote

PERP = {"tick": "0.01", "tiers": [{"initial_margin_rate": "0.15", "maintenance_margin_rate": "0.15"}]}
ALWAYS = {"opening_window": "end_of_day", "contracts": {"PBTCUCZ50": PERP}}


def document(**changes: Any) -> dict[str, Any]:
    """Long ten perpetuals of 0.01 BTC at 65,000 with 1,500."""
    return {
        "account_id": "A1",
        "cash": "1500",
        "positions": [{"contract": "PBTCUCZ50", "quantity": "10", "entry_price": "65000"}],
        "rulebook": "kraken-us",
        "marks": {"PBTCUCZ50": "65000"},
        "overrides": ALWAYS,
    } | changes


def ask(**changes: Any) -> dict[str, Any]:
    return quote(document(**changes), "a.json")


def reference(position: dict[str, Any], mark: str, cash: str = "0") -> dict[str, Any]:
    return quote(
        {
            "account_id": "A1",
            "cash": cash,
            "positions": [position],
            "rulebook": "reference",
            "marks": {position["contract"]: mark},
        },
        "a.json",
    )


# -- numbers -------------------------------------------------------------------------------------------


@pytest.mark.rule("G-05", "US-01", "US-03", "US-05")
def test_the_example() -> None:
    result = ask()
    position = result["positions"][0]
    assert (position["liquidation_price"], position["bankruptcy_price"]) == ("58823.53", "50000.00")
    assert (result["net_liq"], result["requirement"], result["usage"]) == ("1500.00", "975.00", "0.65")
    assert result["estimated_liquidation_value"] == result["auto_liquidation_distance"] == "525.00"
    assert result["state"] == {"level": "normal", "flags": []}
    owed = {row["move"]: row["amount"] for row in result["could_owe"]}
    assert list(owed)[:6] == ["-0.05", "-0.10", "-0.20", "0.05", "0.10", "0.20"]
    assert set(owed.values()) == {"0.00"}
    assert result["look_ahead"] is None


@pytest.mark.rule("G-04", "G-05")
@pytest.mark.parametrize(("mark", "level"), [("58823.53", "liquidate_only"), ("58823.52", "liquidating")])
def test_the_liquidation_price_put_in_as_the_mark(mark: str, level: str) -> None:
    overrides = ALWAYS | {"windows": {"end_of_day": {"alert": "0.80", "liquidate_only": "0.90"}}}
    assert ask(marks={"PBTCUCZ50": mark}, overrides=overrides)["state"]["level"] == level


@pytest.mark.rule("US-03")
def test_net_liq_at_or_below_zero_is_over() -> None:
    result = ask(marks={"PBTCUCZ50": "50000"})
    assert (result["net_liq"], result["usage"], result["state"]["level"]) == ("0.00", "over", "liquidating")
    flat = ask(positions=[], cash="0")
    assert (flat["usage"], flat["state"]["level"], flat["positions"]) == (None, "normal", [])


@pytest.mark.rule("US-18", "US-19")
def test_what_could_be_owed() -> None:
    """At 52,000: 1,000 - 1,300 - 1.50 - 25."""
    owed = {row["move"]: row["amount"] for row in ask(cash="1000")["could_owe"]}
    assert (owed["-0.10"], owed["-0.20"], owed["0.20"]) == ("0.00", "326.50", "0.00")


@pytest.mark.rule("G-05")
@pytest.mark.parametrize(
    ("leverage", "entry", "bankruptcy", "liquidation"),
    [
        # Bars of 10 October 2025 and 12-13 March 2020: p = P (1 - 1/L), and that / (1 - 0.5 %).
        ("7", "116830.30", "100140.26", "100643.47"),
        ("10", "116830.30", "105147.27", "105675.65"),
        ("25", "116830.30", "112157.09", "112720.69"),
        ("100", "116830.30", "115662.00", "116243.21"),
        ("4", "7358.51", "5518.88", None),
        ("5", "7358.51", "5886.81", None),
        ("3", "5729.37", "3819.58", None),
        ("10", "5729.37", "5156.43", None),
    ],
)
def test_isolated_positions_of_the_crash_windows(
    leverage: str, entry: str, bankruptcy: str, liquidation: str | None
) -> None:
    position = {"contract": "BTCUSDT", "quantity": "1", "entry_price": entry, "leverage": leverage}
    found = reference(position | {"margin_mode": "isolated"}, entry)["positions"][0]
    tick = Decimal("0.01")
    assert abs(Decimal(found["bankruptcy_price"]) - Decimal(bankruptcy)) <= tick
    if liquidation is not None:
        assert abs(Decimal(found["liquidation_price"]) - Decimal(liquidation)) <= tick


@pytest.mark.rule("G-05")
def test_an_isolated_position_is_an_account_of_its_own() -> None:
    isolated = {"contract": "BTCUSDT", "quantity": "1", "entry_price": "50000", "leverage": "10"}
    alone = reference(isolated | {"margin_mode": "isolated"}, "45200")
    rich = reference(isolated | {"margin_mode": "isolated"}, "45200", cash="100000")
    assert alone["state"]["level"] == rich["state"]["level"] == "liquidating"
    assert (alone["net_liq"], rich["net_liq"], rich["equity"]) == ("200.00", "100200.00", "100200.00")
    for result in (alone, rich):
        found = result["positions"][0]
        assert result["open_trade_equity"] == found["unrealized_pnl"] == "-4800.00"
        assert set(result["lines"].values()) == {"0.00", None}  # of the cross account, which holds nothing
        assert (found["margin_mode"], found["isolated_margin"], found["level"]) == (
            "isolated",
            "5000.00",
            "liquidating",
        )
        assert (found["liquidation_price"], found["bankruptcy_price"]) == ("45226.14", "45000.00")
    # What it leaves unpaid the account's cash pays: 5,000 - 9,320 at 40,680.
    owed = {row["move"]: row["amount"] for row in alone["could_owe"]}
    assert owed["-0.10"] == "4320.00"
    assert {row["amount"] for row in rich["could_owe"]} == {"0.00"}


@pytest.mark.rule("EX-02", "G-01")
def test_the_fee_of_closing_in_the_margins_and_at_the_bankruptcy_price() -> None:
    """2 long at 100 and 110 now, 40 set aside: 0.05 % of 220 beside 1 % of it, and of 160 at 80. 60 / 2.31."""
    tier = {"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.01"}
    contract = {"tick": "0.01", "lot": "1", "taker_fee": "0.0005", "close_fee_in_requirement": True, "tiers": [tier]}
    held = {"contract": "C", "quantity": "2", "entry_price": "100", "margin_mode": "isolated", "isolated_margin": "40"}
    given: dict[str, Any] = {"rulebook": "reference", "overrides": {"contracts": {"C": contract}}}
    result = quote({"account_id": "A1", "cash": "0", "positions": [held], "marks": {"C": "110"}} | given, "a.json")
    found = result["positions"][0]
    assert (found["maintenance_margin"], found["maintenance_before_fee"], found["close_fee"]) == (
        "2.31",
        "2.20",
        "0.11",
    )
    assert (found["initial_margin"], found["bankruptcy_price"], found["fee_at_bankruptcy"]) == (
        "22.11",
        "80.00",
        "0.08",
    )
    assert result["margin_ratio"] == found["margin_ratio"] == "25.974025974"
    plain = ask()
    assert (plain["positions"][0]["close_fee"], plain["margin_ratio"]) == ("0.00", "1.538461538")
    assert ask(positions=[])["margin_ratio"] is None


@pytest.mark.rule("US-03", "US-04")
def test_excess_open_profit_and_the_lines_of_the_levels() -> None:
    """At 64,000 ten of 0.01 BTC have lost 100; margin is 5 and 15 % of 6,400, the intraday levels 80, 100, 120 %."""
    tiers = [{"intraday_margin_rate": "0.05", "initial_margin_rate": "0.15", "maintenance_margin_rate": "0.14"}]
    overrides = {"contracts": {"PBTCUCZ50": {"tick": "0.01", "tiers": tiers}}}
    result = ask(cash="1000", marks={"PBTCUCZ50": "64000"}, as_of="2026-11-12T15:00:00-06:00", overrides=overrides)
    assert (result["net_liq"], result["open_trade_equity"]) == ("900.00", "-100.00")
    assert result["excess_intraday_margin"] == "580.00"
    assert (result["excess_initial_margin"], result["excess_maintenance_margin"]) == ("-60.00", "4.00")
    levels = {"alert": "400.00", "liquidate_only": "320.00", "auto_liquidation": "266.666667"}
    assert result["lines"] == levels | {"take_over": None}
    taken = quote(document(rulebook="ftx", positions=[], marks={}, overrides={}), "a.json")
    assert taken["lines"]["take_over"] == "0.00"
    assert (result["look_ahead"]["requirement"], result["look_ahead"]["excess"]) == ("960.00", "-60.00")
    without = reference({"contract": "BTCUSDT", "quantity": "1", "entry_price": "50000"}, "51000", cash="3000")
    assert (without["intraday_margin"], without["excess_intraday_margin"]) == (None, None)


@pytest.mark.rule("US-06")
def test_leverage_sets_initial_margin_alone() -> None:
    position = {"contract": "BTCUSDT", "quantity": "1", "entry_price": "50000", "leverage": "25"}
    result = reference(position, "51000", cash="3000")
    assert (result["initial_margin"], result["maintenance_margin"]) == ("2040.00", "255.00")
    assert (result["requirement"], result["intraday_margin"]) == ("255.00", None)
    assert result["positions"][0]["unrealized_pnl"] == "1000.00"


@pytest.mark.rule("G-06", "G-18")
def test_a_position_without_a_mark_is_unpriced() -> None:
    result = ask(marks={}, cash="10000")
    assert result["state"]["flags"] == ["unpriced"]
    position = result["positions"][0]
    assert (position["mark"], position["liquidation_price"], position["bankruptcy_price"]) == (None, None, None)
    # Judged at the bounded worst: half of 6,500 lost, 15 % of 9,750 required.
    assert (result["net_liq"], result["requirement"]) == ("6750.00", "1462.50")


@pytest.mark.rule("US-02", "US-04", "US-05", "US-27")
def test_the_next_window_is_looked_ahead_to() -> None:
    """Intraday until 15:45 in Chicago (21:45 UTC in November), initial margin from then on."""
    tiers = [{"intraday_margin_rate": "0.05", "initial_margin_rate": "0.15", "maintenance_margin_rate": "0.14"}]
    overrides = {"contracts": {"PBTCUCZ50": {"tick": "0.01", "tiers": tiers}}}
    result = ask(cash="800", as_of="2026-11-12T15:00:00-06:00", overrides=overrides)
    assert (result["requirement"], result["state"]["level"]) == ("325.00", "normal")
    ahead = result["look_ahead"]
    assert (ahead["switch_at"], ahead["countdown_seconds"]) == ("2026-11-12T21:45:00Z", 2700)
    assert (ahead["requirement"], ahead["level"], ahead["usage"]) == ("975.00", "liquidating", "1.21875")
    assert (ahead["short"], ahead["smallest_deposit"]) == ("175.00", "175.00")
    assert ahead["fewest_lots"] == [{"contract": "PBTCUCZ50", "lots": "2", "quantity": "2"}]
    after = ask(cash="800", as_of="2026-11-12T21:45:00Z", overrides=overrides)
    assert (after["requirement"], after["state"]["level"]) == ("975.00", "liquidating")
    assert after["look_ahead"]["windows"] == {"PBTCUCZ50": "intraday"}
    assert after["look_ahead"]["switch_at"] == "2026-11-13T01:00:00Z"


@pytest.mark.rule("US-27")
def test_a_look_ahead_for_each_isolated_position() -> None:
    position = document()["positions"][0] | {"margin_mode": "isolated", "isolated_margin": "700"}
    result = ask(positions=[position], cash="5", as_of="2026-11-12T15:00:00-06:00")
    ahead = result["look_ahead"]
    assert (ahead["short"], ahead["isolated"][0]["short"]) == ("0.00", "275.00")
    assert ahead["isolated"][0]["contract"] == "PBTCUCZ50"


@pytest.mark.rule("EX-09")
def test_a_market_that_a_contract_stands_for() -> None:
    position = {"contract": "BTCUSDT", "quantity": "0.1", "entry_price": "65000"}
    result = ask(positions=[position], marks={"BTCUSDT": "65000"})
    found = result["positions"][0]
    assert (found["contract"], found["quantity"]) == ("BTCUSDT", "0.1")
    assert (found["held_as"], found["lots"], found["liquidation_price"]) == ("PBTCUCZ50", "10", "58823.53")


def test_positions_in_one_contract_are_one() -> None:
    first = {"contract": "PBTCUCZ50", "quantity": "6", "entry_price": "64000"}
    second = {"contract": "PBTCUCZ50", "quantity": "4", "entry_price": "66500"}
    result = ask(positions=[first, second])
    assert len(result["positions"]) == 1
    found = result["positions"][0]
    assert (found["quantity"], found["entry_price"], found["liquidation_price"]) == ("10", "65000", "58823.53")
    both = ask(positions=[first, {"contract": "BTCUSDT", "quantity": "0.04", "entry_price": "66500"}])["positions"][0]
    assert (both["contract"], both["quantity"], both["bankruptcy_price"]) == ("PBTCUCZ50", "10", "50000.00")


@pytest.mark.rule("G-04", "G-05")
def test_the_engine_says_the_same() -> None:
    """The same account in the engine, its mark walked over the displayed price."""
    rulebook = load("kraken-us", ALWAYS)
    account = parse_account({k: document()[k] for k in ("account_id", "cash", "positions")}, "a.json")
    shown = int(Decimal(ask()["positions"][0]["liquidation_price"]) * 100)
    first, *walk = [Marks((Mark("PBTCUCZ50", ticks),)) for ticks in (6_500_000, shown, shown - 1)]
    commands = [LoadRulebook(rulebook.document()), first, *to_commands(account, rulebook.policy()), *walk]
    engine = Engine()
    started: list[int] = []
    for number, command in enumerate(commands, 1):
        events = engine.apply(Input("test", number, 10**9 * number, command))
        assert not any(isinstance(event, Rejected) for event in events)
        if any(isinstance(event, LevelChanged) and event.after == "liquidating" for event in events):
            started.append(number)
    assert started == [len(commands)]


# -- for people, and refusals --------------------------------------------------------------------------


def test_plain_text_for_people() -> None:
    text = explain(ask(cash="800", as_of="2026-11-12T15:00:00-06:00"))
    for part in (
        "A1 under kraken-us",
        "65000.00",
        "-20 %",
        "2026-11-12T21:45:00Z",
        "worst minute of BTCUSDT",
        "175.00",
    ):
        assert part in text
    assert explain(ask(marks={}, positions=[])).startswith("A1 under kraken-us")
    assert "state   " in text
    assert "solated" not in text


@pytest.mark.rule("G-05")
def test_plain_text_says_which_part_of_an_account_is_closed_out() -> None:
    """A rich account with an isolated position below its line: the sums look well, the line says whose level it is."""
    isolated = {"contract": "BTCUSDT", "quantity": "1", "entry_price": "50000", "leverage": "10"}
    text = explain(reference(isolated | {"margin_mode": "isolated"}, "45200", cash="100000"))
    assert re.search(r"state, of its worst part +liquidating", text)
    assert re.search(r"nearest part can lose before liquidation +0\.00", text)
    assert re.search(r"BTCUSDT +5000\.00 +200\.00 +226\.00 +113 % +liquidating", text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rulebook": None}, "a.json: rulebook: expected the name of a rulebook, not None"),
        ({"rulebook": "nobody"}, "a.json: rulebook 'nobody': expected "),
        ({"marks": {"XYZ": "1"}}, "a.json: marks.XYZ: kraken-us has no such contract"),
        ({"marks": {"PBTCUCZ50": 65000.5}}, "a.json: marks.PBTCUCZ50: expected a price as a string, not 65000.5"),
        ({"marks": {"PBTCUCZ50": "abc"}}, "a.json: marks.PBTCUCZ50: 'abc' is not a number"),
        ({"marks": {"PBTCUCZ50": "0"}}, "a.json: marks.PBTCUCZ50: expected a price above zero, not 0"),
        ({"marks": {"PBTCUCZ50": "NaN"}}, "a.json: marks.PBTCUCZ50: 'NaN' is not a finite number"),
        ({"marks": ["1"]}, "a.json: marks: expected an object of contracts and prices"),
        ({"as_of": "2026-11-12T15:00:00"}, "a.json: as_of: '2026-11-12T15:00:00' has no zone"),
        ({"overrides": "x"}, "a.json: overrides: expected an object with the rulebook's own keys"),
        (
            {"overrides": {"contracts": {"PBTCUCZ50": {"tik": "1"}}}},
            "contracts.PBTCUCZ50.tik: unknown key; did you mean",
        ),
        ({"cash": "-1"}, "a.json: cash: expected zero or more"),
        ({"stuff": 1}, "a.json: "),
        (
            {"positions": [{"contract": "XBT", "quantity": "1", "entry_price": "1"}]},
            "a.json: positions[0].contract: XBT is unknown under kraken-us",
        ),
        (
            {"positions": [{"contract": "PBTCUCZ50", "quantity": "9000000000", "entry_price": "1"}]},
            "a.json: positions: ",
        ),
    ],
)
def test_bad_input_is_one_line_with_file_and_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(**changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith("a.json: ")
    assert "\n" not in str(caught.value)


def test_a_document_must_be_an_object() -> None:
    with pytest.raises(InputError, match=r"a\.json: expected one account as a JSON object"):
        quote([], "a.json")


def test_the_answer_is_json_and_waits_for_no_heavy_library() -> None:
    """A cold start: neither NumPy nor the command line's libraries are needed."""
    program = (
        "import json, sys\n"
        "from closeout.studies.quote import explain, quote\n"
        "result = quote(json.load(sys.stdin), 'a.json')\n"
        "explain(result)\n"
        "heavy = {'numpy', 'typer', 'rich', 'matplotlib', 'pyarrow'} & set(sys.modules)\n"
        "print(json.dumps([sorted(heavy), result['net_liq']]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(document()), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[], "1500.00"]
