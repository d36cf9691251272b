"""What a rulebook file may say of margin, and what is refused by its key (EX-01, EX-02)."""

from itertools import pairwise
from typing import Any

import pytest

from closeout.core.margin import MarginKind, MarginRules, Slope, margin
from closeout.core.units import RATE, InputError
from closeout.rulebooks.loader import load, tiers_from_json
from closeout.rulebooks.margins import gaps, slope_text
from closeout.rulebooks.policy import ContractPolicy

PLAIN = {"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}
SECOND = {"notional_from": "1000", "initial_margin_rate": "0.2", "maintenance_margin_rate": "0.1"}


def built(*tiers: dict[str, str], **more: Any) -> ContractPolicy:
    table = {"tick": "0.01", "lot": "0.001", "tiers": list(tiers), **more}
    return load("reference", {"contracts": {"X": table}}).policy().contracts["X"]


def refusal(*tiers: dict[str, str], **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        built(*tiers, **more)
    return str(caught.value).partition("contracts.X")[2]


@pytest.mark.rule("EX-01", "EX-02")
def test_brackets_of_both_margins() -> None:
    found = built(PLAIN, {**SECOND, "initial_amount": "100", "maintenance_amount": "50"})
    assert found.tiers[1].amount == (100_000_000, 100_000_000, 50_000_000)  # intraday margin is the initial one
    by_leverage = built({"max_leverage": "10"}, {"notional_from": "1000", "max_leverage": "5", "initial_amount": "100"})
    assert by_leverage.tiers[1].amount == (100_000_000,) * 3  # maintenance is the initial one too


@pytest.mark.rule("EX-01", "EX-02")
def test_an_amount_that_joins_its_bracket_to_the_one_before() -> None:
    joined = {"initial_amount": "continuous", "maintenance_amount": "continuous"}
    third = {"notional_from": "3000.000001", "initial_margin_rate": "0.3", "maintenance_margin_rate": "0.1555"}
    own = built(PLAIN, SECOND | joined, third | joined)
    for before, tier in pairwise(own.tiers):
        for kind in (MarginKind.INITIAL, MarginKind.MAINTENANCE):
            at = tier.notional_from
            assert 0 <= margin((tier,), kind, 1, at) - margin((before,), kind, 1, at) <= 1
    assert gaps(own.tiers, own.contract, "tiers") == []
    own = built(PLAIN, SECOND | {"initial_amount": "continuous", "maintenance_amount": "1"})
    (note,) = gaps(own.tiers, own.contract, "tiers")
    assert note == "tiers[1].maintenance_amount: 1.00 lets the margin jump at 1000.00; 50.00 would be continuous"
    assert gaps(built(PLAIN, SECOND).tiers, own.contract, "tiers") == []  # steps on the whole position


@pytest.mark.rule("EX-01", "EX-02", "G-06")
@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"initial_amount": "200"}, "tiers[1].initial_amount: expected less than the margin at the tier's start"),
        ({"maintenance_amount": "100"}, "tiers[1].maintenance_amount: expected less than the margin"),
        (
            {"initial_margin_rate": "0.05", "initial_amount": "continuous", "maintenance_margin_rate": "0.01"},
            "tiers[1].initial_amount: expected a rate not below that of the tier before, and no slope",
        ),
        ({"initial_amount": "-1"}, "tiers[1].initial_amount: expected an amount not below zero"),
        ({"initial_amount": "101"}, "tiers[1]: expected maintenance margin at the tier's start to be no more than"),
        ({"maintenance_margin_slope": "0.001"}, "tiers[1].maintenance_margin_slope: expected no more than initial"),
        ({"initial_margin_slope": "0"}, "tiers[1].initial_margin_slope: expected a number above zero"),
        ({"initial_margin_slope": "9999"}, "tiers[1].initial_margin_slope: 9999 is out of bounds"),
        ({"initial_margin_slope": "1e-30"}, "tiers[1].initial_margin_slope: 1e-30 is out of bounds, or too fine"),
        ({"initial_margin_root": "0"}, "tiers[1].initial_margin_root: expected a number above zero"),
        ({"initial_margin_root": "1e-30"}, "tiers[1].initial_margin_root: 1e-30 is out of bounds, or too fine"),
        (
            {"maintenance_margin_root": "0.1"},
            "tiers[1].maintenance_margin_root: expected no more than initial_margin_r",
        ),
        ({"root_within_rate": "0.1"}, "tiers[1].root_within_rate: expected initial_margin_root or maintenance_margin_"),
        (
            {"initial_margin_root": "1", "root_within_rate": "2"},
            "tiers[1].root_within_rate: expected a rate from 0 to 1",
        ),
        (
            {"initial_margin_root": "0.1", "initial_margin_slope": "0.1"},
            "tiers[1].initial_margin_root: expected no slope beside it",
        ),
        (
            {"initial_margin_root": "0.1", "maintenance_margin_slope": "0.1"},
            "tiers[1].maintenance_margin_slope: expected slopes or roots for both levels",
        ),
        ({"margin_slope": "1"}, "tiers[1].margin_slope: unknown key"),
    ],
)
def test_what_a_bracket_or_a_slope_may_not_be(second: dict[str, str], message: str) -> None:
    assert refusal(PLAIN, SECOND | second).startswith(f".{message}")


@pytest.mark.rule("EX-02")
def test_an_amount_or_a_slope_needs_the_levels_own_rate() -> None:
    only_maintenance = {"maintenance_margin_rate": "0.1", "notional_from": "1000"}
    expected = ".tiers[1].initial_amount: expected less than the margin at the tier's start"
    assert refusal(PLAIN, {**only_maintenance, "initial_amount": "1"}) == expected
    expected = ".tiers[1].initial_margin_slope: expected the level's rate beside it"
    assert refusal(PLAIN, {**only_maintenance, "initial_margin_slope": "0.001"}) == expected
    by_contract = {"initial_margin": "100", "initial_margin_slope": "0.1"}
    assert refusal(by_contract) == ".tiers[0].initial_margin_slope: expected the level's rate beside it"


@pytest.mark.rule("EX-02")
def test_a_root_is_of_coins_of_size() -> None:
    rooted = {**PLAIN, "initial_margin_root": "0.00005", "root_within_rate": "0.2"}
    own = built(rooted)
    # 50,000 rate units squared for a coin; a lot is a thousandth of one. The maintenance margin has none.
    root = Slope(2_500_000, 1, of_lots=True, root=2**40, within=20_000_000)
    assert own.tiers[0].slope == (root, root, None)
    assert slope_text(root, own.contract) == "0.00005"
    (tier,) = built(rooted | {"initial_margin_root": "0.5"}).tiers
    assert tier.slope[MarginKind.INITIAL] == Slope(25 * 10**13, 1, of_lots=True, root=16_000, within=20_000_000)
    contract = {"kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "10", "tiers": [rooted]}
    with pytest.raises(InputError, match=r"tiers\[0\]\.initial_margin_root: expected a linear contract"):
        load("reference", {"currency": "BTC", "contracts": {"X": contract}})


@pytest.mark.rule("EX-02")
def test_a_slope_is_for_a_coin_of_size() -> None:
    sloped = {**PLAIN, "initial_margin_slope": "0.00005", "maintenance_margin_slope": "0.00004"}
    (tier,) = built(sloped).tiers
    # 50,000 rate units a coin; a lot is a thousandth of one.
    assert tier.slope == (Slope(50, 1, True), Slope(50, 1, True), Slope(40, 1, True))
    (tier,) = built(sloped, lot="1", contract_size="0.0000001").tiers
    assert tier.slope[MarginKind.INITIAL] == Slope(1, 200, True)
    coin = load("reference", {
        "currency": "BTC",
        "contracts": {"X": {"kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "10", "tiers": [sloped]}},
    }).policy().contracts["X"]  # fmt: skip
    # A unit of 1e-9 for each 2,000 (2,500) of the 1e8 that a bitcoin has.
    assert coin.tiers[0].slope == (Slope(1, 2000, False), Slope(1, 2000, False), Slope(1, 2500, False))


@pytest.mark.rule("EX-02")
@pytest.mark.parametrize("text", ["0.00005", "0.000001", "0.1"])
@pytest.mark.parametrize("kind", ["linear", "inverse"])
def test_a_slope_is_shown_as_it_was_written(text: str, kind: str) -> None:
    sloped = {**PLAIN, "initial_margin_slope": text}
    own = built(sloped, kind=kind, contract_size="0.1" if kind == "linear" else "100")
    slope = own.tiers[0].slope[MarginKind.INITIAL]
    assert slope is not None
    assert slope_text(slope, own.contract) == text


@pytest.mark.rule("EX-02")
def test_a_level_that_is_not_stated_takes_the_others_slope() -> None:
    (tier,) = built({"initial_margin_rate": "0.1", "initial_margin_slope": "0.01"}).tiers
    assert len({*tier.slope}) == 1
    (tier,) = built({"maintenance_margin_rate": "0.1", "maintenance_margin_slope": "0.01"}).tiers
    assert len({*tier.slope}) == 1
    (tier,) = built({**PLAIN, "intraday_margin_rate": "0.01", "initial_margin_slope": "0.01"}).tiers
    assert tier.slope == (None, Slope(10_000, 1, True), None)


@pytest.mark.rule("EX-01", "EX-02")
def test_what_requirements_stand_on() -> None:
    assert built(PLAIN).margin == MarginRules()
    assert built(PLAIN, taker_fee="0.0005").margin == MarginRules()
    found = built(PLAIN, taker_fee="0.0005", close_fee_in_requirement=True, requirement_base="entry").margin
    assert found == MarginRules(by_entry=True, close_fee=500_000)
    fee: dict[str, Any] = {"taker_fee": "0.0005", "close_fee_in_requirement": True, "close_fee_on": "bankruptcy"}
    assert built(PLAIN, **fee).margin == MarginRules(close_fee=500_000, close_fee_side=1)
    assert built(PLAIN, kind="inverse", **fee).margin == MarginRules(close_fee=500_000, close_fee_side=-1)
    assert built(PLAIN, taker_fee="0.0005", bankruptcy_price_after_fee=True).shown.after_fee
    found = built(PLAIN, open_interest_lower="1000", open_interest_upper="2000.5").margin
    assert found.open_interest == (1_000_000_000, 2_000_500_000)


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"requirement_base": "last"}, ".requirement_base: "),
        ({"close_fee_in_requirement": True}, ".close_fee_in_requirement: expected a taker_fee beside it"),
        ({"close_fee_on": "bankruptcy"}, ".close_fee_on: expected close_fee_in_requirement beside it"),
        (
            {
                "taker_fee": "0.0005",
                "close_fee_in_requirement": True,
                "close_fee_on": "bankruptcy",
                "tiers": [{**PLAIN, "initial_margin_slope": "0.1"}],
            },
            ".close_fee_on: expected initial margins by rate, of at most 1, without a slope",
        ),
        ({"bankruptcy_price_after_fee": True}, ".bankruptcy_price_after_fee: expected a taker_fee beside it"),
        ({"open_interest_lower": "1"}, ": expected open_interest_lower and open_interest_upper together"),
        (
            {"open_interest_lower": "2", "open_interest_upper": "2"},
            ".open_interest_upper: expected more than open_interest_lower, got 2",
        ),
        ({"open_interest_lower": "-1", "open_interest_upper": "2"}, ".open_interest_lower: expected an amount not"),
        (
            {"open_interest_lower": "1", "open_interest_upper": "2", "tiers": [PLAIN, SECOND]},
            ".open_interest_lower: expected one tier with rates only",
        ),
    ],
)
def test_what_a_contract_may_not_say(more: dict[str, Any], message: str) -> None:
    assert refusal(PLAIN, **more).startswith(message)


@pytest.mark.rule("US-08", "G-01")
def test_news_multiplies_no_margin_that_grows() -> None:
    sloped = {"initial_margin_rate": "0.1", "initial_margin_slope": "0.001"}
    table = {"tick": "0.01", "lot": "1", "tiers": [sloped], "session": "cme_equity"}
    with pytest.raises(InputError, match="news: expected no intraday margin with a slope beside it, as X has it"):
        load("kraken-us", {"contracts": {"X": table}}).policy()
    load("kraken-us", {"contracts": {"X": {**table, "tiers": [{**sloped, "intraday_margin_rate": "0.1"}]}}}).policy()


@pytest.mark.rule("US-20")
def test_the_desks_tiers_are_read_alike() -> None:
    contract = built(PLAIN).contract
    (tier,) = tiers_from_json(
        contract, b'[{"initial_margin_rate": "0.1", "initial_margin_slope": "0.01", "maintenance_margin_rate": "0.1"}]'
    )
    assert tier.slope == (Slope(10_000, 1, True), Slope(10_000, 1, True), None)
    assert tier.rate == (RATE // 10,) * 3
