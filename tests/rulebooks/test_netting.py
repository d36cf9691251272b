"""`netting_group` in a rulebook: what does not go with it, where venues have it, and Kraken's example (EX-02)."""

from decimal import Decimal
from typing import Any

import pytest

from closeout.core.units import InputError
from closeout.rulebooks.loader import Rulebook, load, names
from closeout.studies.quote import quote

OWN = {"tick": "0.5", "lot": "1", "tiers": [{"maintenance_margin_rate": "0.05"}], "netting_group": "oil"}
PERPETUAL, DATED = "PI_XBTUSD", "FI_XBTUSD_261225"


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize(
    ("rulebook", "overrides", "message"),
    [
        ("reference", {"X": OWN}, "contracts.X.netting_group: expected another contract of the group 'oil'"),
        (
            "reference",
            {"X": OWN, "Y": {**OWN, "hedge_mode": True}},
            "contracts.Y.netting_group: expected no hedge_mode beside it",
        ),
        (
            "kraken-us",
            {"X": OWN, "Y": {**OWN, "session": "cme_crypto"}},
            "contracts.X.netting_group: expected Y, which is of it too, in the same session",
        ),
        (
            "dydx-v4",
            {"X": OWN, "Y": OWN, "close_out": {"method": "reduce_to_target"}},
            "contracts.X.netting_group: expected no reduce_to_target in close_out: one side closed may cure nothing",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_netting_group(rulebook: str, overrides: dict[str, Any], message: str) -> None:
    tables = {"close_out": overrides.pop("close_out")} if "close_out" in overrides else {}
    with pytest.raises(InputError) as refused:
        load(rulebook, {"contracts": overrides, **tables})
    assert f" {message}" in str(refused.value)


@pytest.mark.rule("EX-02")
def test_where_venues_have_it() -> None:
    found: dict[str, set[str]] = {}
    for name in names():
        for contract, rules in load(name).policy().contracts.items():
            if rules.margin.netting:
                found.setdefault(f"{name} {rules.margin.netting}", set()).add(contract)
    assert found == {
        "kraken-coinm BTC": {PERPETUAL, DATED},
        "kraken-linear BTC": {"PF_XBTUSD", "FF_XBTUSD_261225"},
        "kraken-linear:2025 BTC": {"PF_XBTUSD", "FF_XBTUSD_261225"},
    }
    first = load("kraken-coinm")
    assert Rulebook.from_document(first.document()).policy().contracts == first.policy().contracts


def answer(dated: str, **more: Any) -> dict[str, Any]:
    """A million contracts long in the perpetual, and some in the dated future, at 100,000 dollars a bitcoin."""
    quantities = ((PERPETUAL, "1000000"), (DATED, dated))
    return quote(
        {
            "account_id": "K",
            "cash": "0.4",
            "rulebook": "kraken-coinm",
            "marks": dict.fromkeys((PERPETUAL, DATED), "100000"),
            "positions": [
                {"contract": name, "quantity": quantity, "entry_price": "100000", **more.get(name, {})}
                for name, quantity in quantities
            ],
        },
        "example",
    )


@pytest.mark.rule("EX-02", "EX-08")
def test_krakens_perpetual_beside_a_dated_future() -> None:
    """The schedule of the inverse contracts asks 2 % of the first 500,000 contracts and 4 % of the next, for each
    maturity by itself: 0.3 BTC of a million, 0.05 of 250,000. Two longs are summed; of a long and a short counts
    max(long, short), of initial and of maintenance margin."""
    longs = answer("250000")
    assert (longs["initial_margin"], longs["maintenance_margin"]) == ("0.35", "0.175")
    spread = answer("-250000")
    assert [position["initial_margin"] for position in spread["positions"]] == ["0.30", "0.05"]
    assert (spread["initial_margin"], spread["maintenance_margin"]) == ("0.30", "0.15")
    assert (spread["requirement"], spread["usage"]) == ("0.15", "0.375")
    shorter = answer("-2000000")  # 2 % of 500,000, 4 % of as many, 6 % of a million
    assert shorter["initial_margin"] == "0.90"


@pytest.mark.rule("EX-02", "G-05")
def test_the_liquidation_price_of_one_side_knows_the_other() -> None:
    """The long's margin grows as it loses: it is the larger side at its price. The short's falls, and the long's 0.15
    BTC stay: 0.25 BTC may be lost of a value of 10, at 100,000 / 0.975."""
    perpetual, dated = answer("-1000000")["positions"]
    value = 10**6 / Decimal(perpetual["liquidation_price"])
    slack = Decimal("0.4") - (value - 10) - (value * 3 / 100 - Decimal("0.15"))
    assert 0 <= slack < Decimal("0.0001")
    assert dated["liquidation_price"] == "102564.0"


@pytest.mark.rule("EX-02", "US-16")
def test_an_isolated_side_nets_with_nothing() -> None:
    isolated = {"margin_mode": "isolated", "isolated_margin": "0.1"}
    assert answer("-250000", **{DATED: isolated})["initial_margin"] == "0.35"
