"""Collateral in other assets in an assessment: at its price less a haircut (EX-02)."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from closeout.core.units import InputError
from closeout.studies.quote import quote

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "venue_recordings.json"


def ask(collateral: object, cash: str = "100", currency: str = "USD") -> dict[str, Any]:
    account = {"account_id": "A", "cash": cash, "positions": [], "rulebook": "reference", "collateral": collateral}
    return quote({**account, "overrides": {"currency": currency}}, "a.json")


@pytest.mark.rule("EX-02", "G-01")
def test_assets_count_at_their_price_less_the_haircut() -> None:
    bitcoin = {"asset": "BTC", "amount": "0.5", "price": "60000.01", "haircut": "0.03"}
    euro = {"asset": "EUR", "amount": "10.0000009", "price": "1.1"}
    answer = ask([bitcoin, euro])
    # 29,100.00485, and 11.00000099 rounded down.
    assert (answer["collateral"], answer["cash"], answer["net_liq"]) == ("29111.00485", "29211.00485", "29211.00485")
    assert ask([])["net_liq"] == "100.00"
    assert "collateral" not in quote({"account_id": "A", "cash": "1", "positions": [], "rulebook": "reference"}, "a")


@pytest.mark.rule("EX-02", "G-05")
def test_collateral_stands_behind_a_position() -> None:
    held = {"contract": "X", "quantity": "10", "entry_price": "100"}
    document = {
        "account_id": "A",
        "cash": "50",
        "positions": [held],
        "marks": {"X": "100"},
        "rulebook": "reference",
        "overrides": {"contracts": {"X": {"tick": "0.01", "lot": "1", "tiers": [{"maintenance_margin_rate": "0.01"}]}}},
    }
    behind = {**document, "collateral": [{"asset": "ETH", "amount": "1", "price": "55.56", "haircut": "0.1"}]}
    # 100.004 in all: (1000 - 100.004) / 9.9 = 90.9087 and (1000 - 50) / 9.9 = 95.959.
    shown = [quote(one, "a.json")["positions"][0]["liquidation_price"] for one in (document, behind)]
    assert shown == ["95.96", "90.91"]


@pytest.mark.rule("EX-02")
@pytest.mark.skipif(not VECTORS.exists(), reason="the vectors lie beside the checkout")
@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_krakens_own_collateral_values(number: int) -> None:
    rows = json.loads(VECTORS.read_text(encoding="utf-8"), parse_float=Decimal)
    row = next(row for row in rows if row["id"] == f"kraken-flex-collateral-value-{number:03}")
    given = row["inputs"]
    haircut = given["haircut"] if "haircut" in given else 1 - given["factor"]
    asset = {"asset": given["currency"], "amount": "1", "price": str(given["value_usd"]), "haircut": str(haircut)}
    answer = ask([asset], "0", "BTC")  # a currency of eight places, for the row's tolerance
    assert abs(Decimal(answer["collateral"]) - row["expected"]["collateral_value"]) <= Decimal(row["tolerance"])


@pytest.mark.rule("EX-02")
@pytest.mark.parametrize(
    ("collateral", "message"),
    [
        ({}, "a.json: collateral: expected a list of assets"),
        ([{"asset": "BTC", "amount": "1"}], "a.json: collateral[0]: "),
        ([{"asset": "BTC", "amount": "1", "price": 5}], "a.json: collateral[0]: "),
        ([{"asset": "BTC", "amount": "-1", "price": "5"}], "a.json: collateral[0].amount: expected zero or more"),
        ([{"asset": "BTC", "amount": "1", "price": "x"}], "a.json: collateral[0].price: 'x' is not a number"),
        (
            [{"asset": "BTC", "amount": "1", "price": "5", "haircut": "1.01"}],
            "a.json: collateral[0].haircut: expected a share from 0 to 1",
        ),
        ([{"asset": "BTC", "amount": "1", "price": "5", "cut": "0"}], "a.json: collateral[0]: "),
    ],
)
def test_what_collateral_may_not_be(collateral: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(collateral)
    assert str(caught.value).startswith(message)
