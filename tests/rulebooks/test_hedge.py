"""`hedge_mode` in a rulebook: the legs that it makes, what does not go with it, and where venues have it (EX-02)."""

from typing import Any

import pytest

from closeout.core.units import MAX_CONTRACTS, InputError
from closeout.rulebooks.loader import Rulebook, load, names

TIER = {"maintenance_margin_rate": "0.05"}


def given(**contracts: dict[str, Any]) -> dict[str, Any]:
    return {"contracts": {name: {"tick": "0.5", "lot": "1", "tiers": [TIER], **own} for name, own in contracts.items()}}


@pytest.mark.rule("EX-02")
def test_legs_have_the_terms_of_their_contract() -> None:
    policy = load("reference", given(X={"hedge_mode": True, "stands_for": ["M"], "taker_fee": "0.001"})).policy()
    at = list(policy.contracts).index("X")
    assert list(policy.contracts)[at : at + 3] == ["X", "X:long", "X:short"]
    whole, long, short = (policy.contracts[name] for name in ("X", "X:long", "X:short"))
    for leg, side in ((long, 1), (short, -1)):
        assert (leg.contract.leg_of, leg.contract.side, leg.stands_for) == ("X", side, ())
        assert (leg.tiers, leg.margin, leg.session, leg.shown) == (
            whole.tiers,
            whole.margin,
            whole.session,
            whole.shown,
        )
        assert (leg.contract.tick, leg.contract.taker_fee) == (whole.contract.tick, whole.contract.taker_fee)
    assert policy.contract_for("M:short") is short
    assert policy.contract_for("BTCUSDT:long") is policy.contracts["BTCUSDT"]  # no hedge mode: the one position


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize(
    ("contracts", "message"),
    [
        (
            {"X": {"hedge_mode": True, "tiers": [{**TIER, "maintenance_margin_slope": "0.001"}]}},
            "contracts.X.hedge_mode: expected no margin slope or root beside it",
        ),
        (
            {"X": {"hedge_mode": True, "open_interest_lower": "1", "open_interest_upper": "2"}},
            "contracts.X.hedge_mode: expected no open_interest_lower beside it",
        ),
        ({"X:long": {}}, "contracts.X:long: expected no name of a leg; hedge_mode makes legs of a contract"),
        ({"X": {"hedge_mode": "yes"}}, "contracts.X.hedge_mode: expected `bool`, got `str`"),
        (
            {f"X{n}": {"hedge_mode": True} for n in range(MAX_CONTRACTS // 3)},
            f"contracts: expected at most {MAX_CONTRACTS} with their legs, got ",
        ),
    ],
)  # fmt: skip
def test_what_a_hedge_mode_may_not_be(contracts: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError) as refused:
        load("reference", given(**contracts))
    assert f" {message}" in str(refused.value)


@pytest.mark.rule("EX-01", "EX-02")
def test_where_venues_have_it() -> None:
    """Those whose pages say how the two legs are margined."""
    found = {
        name.partition(":")[0]
        for name in names()
        if any(rules.contract.side for rules in load(name).policy().contracts.values())
    }
    assert found == {"binance-usdm", "binance-coinm", "bybit"}


@pytest.mark.rule("EX-01")
def test_a_document_makes_the_same_legs_again() -> None:
    first = load("bybit")
    again = Rulebook.from_document(first.document())
    assert (list(again.policy().contracts), again.digest) == (list(first.policy().contracts), first.digest)
