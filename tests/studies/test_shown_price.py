"""How a venue states a liquidation price is a parameter of its contract, which only the display reads (G-05)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk

from closeout.core.units import InputError
from closeout.rulebooks.loader import load
from closeout.studies.quote import quote

TIER = {"notional_from": "0", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}


def overrides(**shown: str) -> dict[str, Any]:
    return {"contracts": {"CAR": {"tick": "0.01", "lot": "1", "tiers": [TIER], **shown}}}


def price(quantity: str, *, isolated: bool = False, **shown: str) -> str:
    position: dict[str, Any] = {"contract": "CAR", "quantity": quantity, "entry_price": "1000"}
    if isolated:
        position |= {"margin_mode": "isolated", "isolated_margin": "100"}
    document = {
        "account_id": "A",
        "cash": "100",
        "positions": [position],
        "rulebook": "reference",
        "marks": {"CAR": "1000"},
        "overrides": overrides(**shown),
    }
    return quote(document, "here")["positions"][0]["liquidation_price"]


@pytest.mark.rule("G-05", "EX-08")
def test_the_price_is_rounded_to_the_safe_side_of_the_venues_step() -> None:
    assert (price("1"), price("-1")) == ("947.37", "1047.61")
    assert price("1", liquidation_price_tick="0.5") == "947.50"
    assert price("-1", liquidation_price_tick="0.5") == "1047.50"
    assert price("1", liquidation_price_tick="0.01") == "947.37"


@pytest.mark.rule("G-05", "EX-08")
def test_an_isolated_position_may_be_shown_one_step_nearer_to_the_entry() -> None:
    okx: dict[str, Any] = {"liquidation_price_rounding": "one_tick_towards_entry", "liquidation_price_tick": "0.1"}
    assert price("1", isolated=True, **okx) == "947.47"
    assert price("-1", isolated=True, **okx) == "1047.51"
    assert (price("1", **okx), price("-1", **okx)) == ("947.37", "1047.61")
    assert price("1", isolated=True, liquidation_price_rounding="one_tick_towards_entry") == "947.38"


@pytest.mark.rule("G-05", "EX-08")
def test_prices_of_inverse_contracts_may_be_those_at_which_each_is_worth_whole_units() -> None:
    """A contract of a dollar is worth 10,000 satoshis at 10,000 dollars."""

    def prices(quantity: str, margin: str, **shown: str) -> tuple[str, str]:
        tier = {"notional_from": "0", "maintenance_margin_rate": "0.005"}
        terms = {"kind": "inverse", "tick": "0.5", "lot": "1", "requirement_base": "entry", "tiers": [tier]}
        held = {"contract": "XBT", "quantity": quantity, "entry_price": "10000", "isolated_margin": margin}
        document = {
            "account_id": "A",
            "cash": "0",
            "positions": [held | {"margin_mode": "isolated"}],
            "rulebook": "reference",
            "marks": {"XBT": "10000"},
            "overrides": {"currency": "BTC", "contracts": {"XBT": {**terms, **shown}}},
        }
        (found,) = quote(document, "here")["positions"]
        return found["liquidation_price"], found["bankruptcy_price"]

    whole = "whole_contracts"
    # 1,004.5 of 10,000 satoshis a contract can be lost above the requirement of 50, and 1,054.5 until nothing is left.
    assert prices("-100", "0.00105450") == ("11116.5", "11178.5")
    assert prices("-100", "0.00105450", liquidation_price_rounding=whole) == ("11116.0", "11178.0")
    assert prices("100", "0.00105450") == ("9087.5", "9046.5")
    assert prices("100", "0.00105450", liquidation_price_rounding=whole) == ("9088.0", "9046.5")
    message = r"contracts\.CAR\.liquidation_price_rounding: expected whole_contracts with kind inverse only"
    with pytest.raises(InputError, match=message):
        load("reference", overrides(liquidation_price_rounding=whole))


@pytest.mark.rule("EX-01")
def test_a_step_that_is_no_multiple_of_the_tick_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"contracts\.CAR\.liquidation_price_tick: expected a multiple of the tick 0\.01"
    ):
        load("reference", overrides(liquidation_price_tick="0.015"))


@pytest.mark.rule("G-05")
def test_no_verdict_reads_it() -> None:
    def levels(**shown: str) -> list[str]:
        desk = Desk("reference", overrides(**shown))
        desk.account("A", "100")
        desk.hold("A", "CAR", "1", "1000")
        found: list[str] = []
        for mark in ("1000", "960", "950", "947.50", "947.37", "947.36", "940"):
            desk.marks(CAR=mark)
            found.append(desk.level("A").name)
        return found

    plain = levels()
    assert levels(liquidation_price_tick="5") == plain
    assert levels(liquidation_price_rounding="one_tick_towards_entry", liquidation_price_tick="5") == plain
    assert plain[-3:] == ["ALERT", "LIQUIDATING", "LIQUIDATING"]
