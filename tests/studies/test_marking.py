"""`closeout quote` works a mark out of an index by the rulebook's own formula (EX-02)."""

from typing import Any

import pytest

from closeout.core.units import InputError
from closeout.rulebooks.loader import load, names
from closeout.studies.quote import explain, quote

MEDIAN = {"index": "60000", "funding_rate": "0.0008", "basis": "9", "last": "60100"}


def ask(rulebook: str, name: str, seen: Any, **changes: Any) -> dict[str, Any]:
    lot = load(rulebook).policy().contracts[name].contract.quantity_text(1)
    held = [{"contract": name, "quantity": lot, "entry_price": "60000"}]
    document = {"account_id": "A", "cash": "1000", "positions": held, "rulebook": rulebook, "marks": {name: seen}}
    return quote({**document, "as_of": "2026-01-05T06:00:00Z"} | changes, "a.json")


@pytest.mark.rule("EX-02")
@pytest.mark.parametrize(
    ("rulebook", "name", "seen", "mark", "basis"),
    [
        # Two of eight hours are left at 06:00: P1 is 60000 x (1 + 0.0008 x 2 / 8), P2 60009.
        ("binance-usdm", "BTCUSDT", MEDIAN, "60012.0", "12"),
        ("binance-usdm", "BTCUSDT", MEDIAN | {"last": "60010.5"}, "60010.5", "10.5"),
        ("binance-coinm", "BTCUSD_PERP", MEDIAN | {"basis": "-9", "last": "59000"}, "59991.0", "-9"),
        ("bybit", "BTCUSDT", MEDIAN, "60012.00", "12"),
        # Six of eight hours at BitMEX, whose intervals end at 04:00, 12:00 and 20:00.
        ("bitmex", "XBTUSDT", {"index": "60000", "funding_rate": "-0.0008"}, "59964.0", "-36"),
        ("okx", "BTC-USDT-SWAP", {"index": "60000.04", "basis": "0.01"}, "60000.0", "-0.04"),
        ("dydx-v4", "BTC-USD", {"index": "60000.7"}, "60001", "0.3"),
        ("drift-v2", "BTC-PERP", {"index": "60000"}, "60000.0", "0"),
    ],
)
def test_the_mark_by_each_venues_own_formula(rulebook: str, name: str, seen: Any, mark: str, basis: str) -> None:
    answer = ask(rulebook, name, seen)
    found = answer["marks"][name]
    assert [float(found[key]) for key in ("mark", "basis")] == [float(mark), float(basis)]
    assert answer["positions"][0]["mark"] == found["mark"]
    assert answer | {"marks": None} == ask(rulebook, name, found["mark"]) | {"marks": None}
    assert found["mark"] in explain(answer)


@pytest.mark.rule("EX-02")
def test_what_a_funding_rate_comes_to() -> None:
    found = ask("bitmex", "XBTUSDT", {"index": "60000", "funding_rate": "0.0001"})["marks"]["XBTUSDT"]
    assert (found["funding_basis"], found["basis_a_year"]) == ("0.000075", "0.1095")


@pytest.mark.rule("EX-01", "EX-02")
def test_every_venue_states_how_its_mark_comes_about() -> None:
    formulas = {name: load(name).table.marks.formula for name in names()}
    assert {name for name, formula in formulas.items() if formula == "given"} == {
        "deribit", "ftx", "hyperliquid", "kraken-coinm", "kraken-linear", "kraken-linear:2025",
        "kraken-us", "kraken-us:as_if_24x7", "reference",
    }  # fmt: skip


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize(
    ("rulebook", "name", "changes", "message"),
    [
        ("deribit", "BTC-PERPETUAL", {}, ": expected a price: deribit states no formula of a mark"),
        ("bitmex", "XBTUSDT", {}, ".funding_rate: expected index, funding_rate under the formula funding_basis"),
        ("bitmex", "XBTUSDT", {"last": "1"}, ".funding_rate: expected index, funding_rate under"),
        ("bitmex", "XBTUSDT", {"funding_rate": "0", "last": "1"}, ".last: expected index, funding_rate under"),
        ("bitmex", "XBTUSDT", {"funding_rate": "2"}, ".funding_rate: expected one from -1 to 1, got 2"),
        ("bitmex", "XBTUSDT", {"funding_rate": 0.5}, ".funding_rate: expected a price as a string, not 0.5"),
        ("bitmex", "XBTUSDT", {"index": "0", "funding_rate": "0"}, ".index: expected a price above zero, not 0"),
        ("bitmex", "XBTUSDT", {"funding_rate": "-1e-10"}, ".funding_rate: -1e-10 is finer than 1e-9"),
        ("okx", "BTC-USDT-SWAP", {"basis": "-60000"}, ": expected a price above zero, not 0.0"),
    ],
)
def test_refusals_name_the_key(rulebook: str, name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(rulebook, name, {"index": "60000"} | changes)
    assert str(caught.value).startswith(f"a.json: marks.{name}{message}")


@pytest.mark.rule("EX-02")
def test_a_funding_rate_needs_a_time_and_an_interval() -> None:
    seen = {"index": "60000", "funding_rate": "0.0001"}
    with pytest.raises(InputError, match=r"funding_rate: expected as_of, from which its interval has so long to go"):
        ask("bitmex", "XBTUSDT", seen, as_of=None)
    with pytest.raises(InputError, match=r"funding_rate: bitmex states no funding of XBTUSDT"):
        ask("bitmex", "XBTUSDT", seen, overrides={"funding": {"contracts": ["ETHUSDT"]}})
    with pytest.raises(InputError, match=r"marks\.formula: expected a table \[funding\] beside median"):
        load("reference", {"marks": {"formula": "median"}})
