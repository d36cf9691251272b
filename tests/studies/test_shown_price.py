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
