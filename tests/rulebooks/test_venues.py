"""The offshore rulebooks: what their venues published, and that every close-out under them ends (EX-01, EX-02)."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.rulebooks import page
from tests.rulebooks.venues import contracts, crash, rows, vectors

from closeout.core.margin import MarginKind, margin
from closeout.core.units import RATE
from closeout.rulebooks.loader import describe, load
from closeout.rulebooks.policy import CloseOutMethod, ContractPolicy, Limit, Ranking, StageKind, TransferPrice
from closeout.studies.quote import quote

VENUES = ("kraken-linear", "kraken-linear:2025", "kraken-coinm", "binance-usdm", "hyperliquid", "dydx-v4")


@pytest.mark.rule("EX-01", "EX-07")
@pytest.mark.parametrize("name", VENUES)
def test_the_notice_and_the_limited_liability(name: str) -> None:
    book = load(name)
    policy = book.policy()
    assert "not affiliated" in describe(book)["notice"].lower()
    assert describe(book)["notice"].startswith("A model made from public documents.")
    assert not policy.customer_owes
    assert not policy.sessions
    assert [window.requirement for window in policy.windows.values()] == [MarginKind.MAINTENANCE]


@pytest.mark.rule("EX-07", "EX-09")
@pytest.mark.parametrize("name", VENUES)
def test_the_shipped_markets_have_a_contract(name: str) -> None:
    marked = {market for own, given in contracts(name).items() for market in (own, *given.stands_for)}
    markets = {"BTCUSDT"} if name == "kraken-coinm" else {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert markets <= marked


# -- margins -----------------------------------------------------------------------------------------------


def jumps(given: ContractPolicy, kind: MarginKind) -> Iterator[int]:
    """By how much the margin of a position changes where the next tier begins, in micros."""
    for before, tier in pairwise(given.tiers):
        at = tier.notional_from
        yield margin((tier,), kind, 0, at) - margin((before,), kind, 0, at)


@pytest.mark.rule("EX-02")
@pytest.mark.parametrize("name", VENUES)
def test_brackets_are_continuous(name: str) -> None:
    """Maintenance is marginal at each of these venues; Kraken's initial margin too, the others' is a step."""
    for given in contracts(name).values():
        assert not any(jumps(given, MarginKind.MAINTENANCE))
        if name.startswith("kraken"):
            assert not any(jumps(given, MarginKind.INITIAL))


@vectors
@pytest.mark.rule("EX-08")
def test_recorded_brackets_are_continuous_with_their_recorded_amounts() -> None:
    """Binance's own amounts: what is checked of our brackets holds of every recorded one, and only with its amount."""
    recorded = [r for r in rows("freqtrade").values() if r["function"] == "binance_maintenance_amount_recursion"]
    assert recorded
    for row in recorded:
        amounts = row["expected"]["maintenance_amounts"]
        tiers = [
            {
                "notional_from": format(tier["min_notional"], "f"),
                "max_leverage": format(tier["max_leverage"], "f"),
                "maintenance_margin_rate": format(tier["maintenance_margin_rate"], "f"),
                "maintenance_amount": format(amount, "f"),
            }
            for tier, amount in zip(row["inputs"]["tiers"], amounts, strict=True)
        ]
        patch = {"contracts": {"BTCUSDT": {"tiers": tiers}}}
        given = load("binance-usdm", patch).policy().contracts["BTCUSDT"]
        assert not any(jumps(given, MarginKind.MAINTENANCE)), row["id"]
        tiers[-1]["maintenance_amount"] = format(amounts[-1] - 1, "f")
        changed = load("binance-usdm", patch).policy().contracts["BTCUSDT"]
        assert [jump for jump in jumps(changed, MarginKind.MAINTENANCE) if jump] == [10**6]


@pytest.mark.rule("EX-02")
def test_binance_brackets_have_the_amounts_that_were_recorded() -> None:
    given = {name: own for name, own in contracts("binance-usdm").items() if not own.contract.side}
    last = {name: own.tiers[-1].amount[MarginKind.MAINTENANCE] for name, own in given.items()}
    assert last == {
        "BTCUSDT": 421_481_450 * 10**6,
        "ETHUSDT": 280_506_450 * 10**6,
        "SOLUSDT": 66_728_380 * 10**6,
    }


@pytest.mark.rule("EX-02")
@pytest.mark.parametrize("name", ["kraken-linear", "kraken-coinm"])
def test_kraken_maintenance_is_half_of_initial_in_every_tier(name: str) -> None:
    for given in contracts(name).values():
        for tier in given.tiers:
            assert tier.rate[MarginKind.INITIAL] == 2 * tier.rate[MarginKind.MAINTENANCE]
            assert tier.amount[MarginKind.INITIAL] == 2 * tier.amount[MarginKind.MAINTENANCE]


@pytest.mark.rule("EX-02")
def test_hyperliquid_maintenance_is_half_of_the_margin_at_the_greatest_leverage() -> None:
    table = load("hyperliquid").table
    for name, given in contracts("hyperliquid").items():
        for tier, stated in zip(given.tiers, table.contracts[name].tiers, strict=True):
            assert stated.max_leverage is not None
            exact = Fraction(RATE) / (2 * Fraction(stated.max_leverage))
            assert exact <= tier.rate[MarginKind.MAINTENANCE] < exact + 1


@pytest.mark.rule("EX-02")
def test_dydx_margins() -> None:
    given = contracts("dydx-v4")
    for contract in given.values():
        (tier,) = contract.tiers
        assert tier.rate[MarginKind.MAINTENANCE] * 10 == tier.rate[MarginKind.INITIAL] * 6
    assert [contract.margin.open_interest for contract in given.values()] == [
        None,
        None,
        (40_000_000 * 10**6, 100_000_000 * 10**6),
    ]


# -- published examples ------------------------------------------------------------------------------------


def position(document: dict[str, Any]) -> dict[str, Any]:
    return quote(document, "example")["positions"][0]


@vectors
@pytest.mark.rule("EX-08", "G-05")
def test_krakens_example() -> None:
    row = rows("worked_examples")["kraken-epp-inverse-long"]
    inputs, expected = row["inputs"], row["expected"]
    held = {
        "contract": "PI_XBTUSD",
        "quantity": str(inputs["contracts_usd"]),
        "entry_price": str(inputs["entry"]),
    }
    marks = {"PI_XBTUSD": str(inputs["entry"])}
    answer = position(
        {
            "account_id": "K",
            "cash": str(inputs["collateral_btc"]),
            "rulebook": "kraken-coinm",
            "marks": marks,
            "positions": [held],
        }
    )
    assert Decimal(answer["notional"]) == expected["position_value_btc"]
    assert Decimal(answer["initial_margin"]) == expected["IM_btc"]
    assert Decimal(answer["maintenance_margin"]) == expected["MM_btc"]
    for ours, theirs in (("liquidation_price", "liquidation_price"), ("bankruptcy_price", "zero_equity_price")):
        assert abs(Decimal(answer[ours]) - expected[theirs]) <= row["tolerance"][theirs]


@vectors
@pytest.mark.rule("EX-08", "G-05")
def test_recorded_hyperliquid_positions_in_a_contract_whose_tier_has_not_changed() -> None:
    """SOL had 20x then as now; a price is right to the tick, which is rounded towards the safe side."""
    found = [r for key, r in rows("worked_examples").items() if key.startswith("hyperliquid-iso-") and "-sol-" in key]
    assert len(found) >= 4
    for row in found:
        inputs = row["inputs"]
        sign = 1 if inputs["side"] == "long" else -1
        held = {
            "contract": "SOL",
            "quantity": format(sign * Decimal(inputs["size"]), "f"),
            "entry_price": format(inputs["entry"], "f"),
            "margin_mode": "isolated",
            "isolated_margin": format(inputs["isolated_margin"], "f"),
        }
        document = {"account_id": row["id"], "cash": "0", "rulebook": "hyperliquid", "positions": [held]}
        answer = position(document | {"marks": {"SOL": held["entry_price"]}})
        safe = sign * (Decimal(answer["liquidation_price"]) - row["expected"]["liquidation_price"])
        assert -row["tolerance"] <= safe < Decimal("0.01") + row["tolerance"], row["id"]


# -- close-outs and waterfalls -----------------------------------------------------------------------------


def steps(name: str) -> list[tuple[CloseOutMethod, Limit]]:
    return [(step.method, step.limit) for step in load(name).policy().close_out.steps]


def stages(name: str) -> list[StageKind]:
    return [stage.kind for stage in load(name).policy().waterfall]


@pytest.mark.rule("EX-02", "EX-05")
def test_kraken_closes_a_tenth_at_a_time_since_march_2026() -> None:
    full = (CloseOutMethod.FLATTEN_ALL, Limit.BANKRUPTCY)
    assert steps("kraken-linear") == [(CloseOutMethod.REDUCE_BY_SHARE, Limit.BANKRUPTCY), full]
    assert load("kraken-linear").policy().close_out.steps[0].share == RATE // 10
    assert steps("kraken-linear:2025") == [full]
    assert steps("kraken-coinm") == [full]
    assert load("kraken-linear:2025").policy().liquidation_fee.rate == 0
    for name in ("kraken-linear", "kraken-linear:2025", "kraken-coinm"):
        assert stages(name) == [StageKind.LIQUIDITY_PROVIDERS, StageKind.UNWIND, StageKind.VENUE_BEARS]
        assert not load(name).policy().close_out.surplus_to_fund


@pytest.mark.rule("EX-01")
def test_a_dated_version_changes_what_it_says_and_nothing_else() -> None:
    now, then = load("kraken-linear"), load("kraken-linear:2025")
    assert then.table.version < now.table.version
    assert now.policy().contracts == then.policy().contracts
    assert now.policy().waterfall == then.policy().waterfall


@pytest.mark.rule("EX-02", "EX-03", "EX-04")
def test_binance_restores_margin_and_its_fund_takes_the_rest() -> None:
    policy = load("binance-usdm").policy()
    assert steps("binance-usdm") == [(CloseOutMethod.REDUCE_TO_TARGET, Limit.BANKRUPTCY)]
    assert stages("binance-usdm") == [
        StageKind.INSURANCE_FUND_TAKES,
        StageKind.AUTO_DELEVERAGING,
        StageKind.INSURANCE_FUND,
        StageKind.VENUE_BEARS,
    ]
    takes, winners = policy.waterfall[:2]
    assert takes.capacity_of_fund == RATE
    assert (winners.ranking, winners.price) == (Ranking.PROFIT_TIMES_MARGIN_RATIO, TransferPrice.BANKRUPTCY)
    assert (policy.liquidation_fee.rate, policy.liquidation_fee.to_fund) == (RATE // 80, True)


@pytest.mark.rule("EX-02", "EX-04", "EX-05")
def test_hyperliquid_has_a_vault_and_deleverages_below_zero() -> None:
    policy = load("hyperliquid").policy()
    first = policy.close_out.steps[0]
    assert (first.method, first.limit) == (CloseOutMethod.REDUCE_BY_SHARE, Limit.ANY_PRICE)
    assert (first.share, first.share_above, first.whole_within) == (RATE // 5, 100_000 * 10**6, 30 * 10**9)
    assert policy.close_out.take_over_below == round(Fraction(2 * RATE, 3))
    vault, winners, last = policy.waterfall
    assert (vault.kind, vault.solvent_only) == (StageKind.BACKSTOP_VAULT, True)
    assert (winners.ranking, winners.price) == (Ranking.RETURN_TIMES_LEVERAGE, TransferPrice.PREVIOUS_MARK)
    assert last.kind is StageKind.VENUE_BEARS
    assert (policy.withdrawal_keep, policy.withdrawal_gate) == (RATE // 10, None)


@pytest.mark.rule("EX-02", "EX-03", "EX-04")
def test_dydx_concedes_margin_and_deleverages_at_random() -> None:
    policy = load("dydx-v4").policy()
    (step,) = policy.close_out.steps
    assert (step.limit, step.share) == (Limit.FILLABLE, RATE // 10)
    assert (step.bankruptcy_adjustment, step.spread_to_maintenance) == (RATE, RATE * 3 // 2)
    assert policy.close_out.take_over_below == 0
    fee = policy.liquidation_fee
    assert (fee.rate, fee.to_fund, fee.capped) == (RATE * 15 // 1000, True, True)
    winners = policy.waterfall[0]
    assert (winners.ranking, winners.price) == (Ranking.RANDOM, TransferPrice.BANKRUPTCY)
    assert stages("dydx-v4")[1:] == [StageKind.INSURANCE_FUND, StageKind.VENUE_BEARS]


@pytest.mark.rule("G-02", "G-08", "EX-03", "EX-05", "EX-09")
@pytest.mark.parametrize("name", VENUES)
def test_a_crash_ends_with_every_deficit_borne(name: str, tmp_path: Path) -> None:
    run = crash(name, tmp_path)
    assert run.fund is None or run.ledger["insurance_fund"] < 0, "its balance is a credit"


# -- the page ----------------------------------------------------------------------------------------------


@pytest.mark.rule("EX-01")
def test_the_page_has_the_table_of_today() -> None:
    """`python -m tests.rulebooks.page` writes it anew."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.written(text)
