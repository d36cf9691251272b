"""BitMEX, Bybit, OKX, Deribit, Binance COIN-M, Drift v2, FTX, and the format's trial: what was published of them."""

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.rulebooks.venues import contracts, crash, rows, vectors

from closeout.core.margin import MarginKind, margin
from closeout.core.units import RATE
from closeout.rulebooks.loader import describe, load, variants
from closeout.rulebooks.policy import Among, CloseOutMethod, ContractPolicy, Limit, Ranking, StageKind, TransferPrice
from closeout.studies.quote import quote

ROOT = Path(__file__).parents[2]
TRIAL = "docs/examples/rulebooks/paradex.toml"
SHIPPED = ("bitmex", "bybit", "bybit:2023", "okx", "deribit", "binance-coinm", "drift-v2", "ftx")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the trial is a file of the docs, named from here


def position(rulebook: str, contract: str, mark: object, **held: object) -> dict[str, Any]:
    """The quote of one position, in its own margin where `isolated_margin` is given."""
    own = {key: format(value, "f") if isinstance(value, Decimal) else str(value) for key, value in held.items()}
    cash = own.pop("cash", "0")
    if "isolated_margin" in own:
        own["margin_mode"] = "isolated"
    document = {"account_id": "A", "cash": cash, "rulebook": rulebook, "marks": {contract: str(mark)}}
    return quote(document | {"positions": [{"contract": contract, **own}]}, "example")["positions"][0]


def steps(name: str) -> list[tuple[CloseOutMethod, Limit]]:
    return [(step.method, step.limit) for step in load(name).policy().close_out.steps]


def stages(name: str) -> list[StageKind]:
    return [stage.kind for stage in load(name).policy().waterfall]


@pytest.mark.rule("EX-01", "EX-07")
@pytest.mark.parametrize("name", [*SHIPPED, TRIAL, f"{TRIAL}:pro"])
def test_the_notice_the_sources_and_the_limited_liability(name: str) -> None:
    book = load(name)
    found = describe(book)
    assert found["notice"].startswith("A model made from public documents. Not affiliated")
    assert not book.policy().customer_owes
    assert not book.policy().sessions
    for row in found["parameters"]:
        assert row["assumed"] != bool(row["source"]), row["key"]
        assert row["as_of"], row["key"]


@pytest.mark.rule("EX-07", "EX-09")
@pytest.mark.parametrize("name", [*SHIPPED, TRIAL])
def test_the_shipped_markets_have_a_contract(name: str) -> None:
    marked = {market for own, given in contracts(name).items() for market in (own, *given.stands_for)}
    markets = {"BTCUSDT"} if name in ("deribit", "binance-coinm") else {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert markets <= marked


# -- margins -----------------------------------------------------------------------------------------------


def jumps(given: ContractPolicy) -> Iterator[int]:
    """By how much maintenance margin changes where the next tier begins, in micros."""
    for before, tier in pairwise(given.tiers):
        at = tier.notional_from
        yield margin((tier,), MarginKind.MAINTENANCE, 0, at) - margin((before,), MarginKind.MAINTENANCE, 0, at)


@pytest.mark.rule("EX-02")
def test_brackets_are_continuous_and_steps_jump() -> None:
    for name in ("bybit", "binance-coinm"):
        assert not any(jump for given in contracts(name).values() for jump in jumps(given))
    for name in ("bitmex", "bybit:2023", "okx"):
        assert all(jump > 0 for given in contracts(name).values() for jump in jumps(given))


@pytest.mark.rule("EX-02")
def test_bitmex_adds_its_base_rate_a_step_begun() -> None:
    step = 1_000_000 * 10**6
    for index, tier in enumerate(contracts("bitmex")["XBTUSDT"].tiers):
        assert tier.notional_from == index * step
        assert tier.rate[MarginKind.MAINTENANCE] == (1 + index) * RATE // 200
        assert tier.rate[MarginKind.INITIAL] == RATE // 100 + index * RATE // 200


@vectors
@pytest.mark.rule("EX-08")
def test_bitmex_published_step() -> None:
    """The rule of the tiers, on the limits of XBTUSD in its day: 200 XBT, then by 150."""
    row = rows("worked_examples")["bitmex-risklimit-xbtusd-old"]
    given, expected = row["inputs"], row["expected"]
    begun = -((given["base_risk_limit_xbt"] - given["position_after_xbt"]) // given["risk_step_xbt"])
    tiers = contracts("bitmex")["XBTUSDT"].tiers
    assert tiers[0].rate[MarginKind.MAINTENANCE] == Decimal(expected["mm_rate_before"]) * RATE
    assert tiers[begun].rate[MarginKind.MAINTENANCE] == Decimal(expected["mm_rate_after"]) * RATE
    assert tiers[begun].rate[MarginKind.INITIAL] == Decimal(expected["im_rate_after"]) * RATE


@pytest.mark.rule("EX-02")
def test_okx_tiers_lead_to_the_published_last_one() -> None:
    """From tier 3 on each adds half a per cent, which makes the 49.5 % and 50 % of tier 100."""
    third = contracts("okx")["BTC-USDT-SWAP"].tiers[2]
    steps_left = 100 - 3
    assert third.rate[MarginKind.MAINTENANCE] + steps_left * RATE // 200 == RATE * 495 // 1000
    assert third.rate[MarginKind.INITIAL] + steps_left * RATE // 200 == RATE // 2
    sizes = [tier.notional_from for tier in contracts("okx")["BTC-USDT-SWAP"].tiers]
    assert {after - before for before, after in pairwise(sizes[2:])} == {10_000_000 * 10**6}  # 10,000 contracts


@vectors
@pytest.mark.rule("EX-08")
def test_binance_coinm_published_amount() -> None:
    row = rows("worked_examples")["binance-coinm-maintamount"]
    amounts = {
        tier.notional_from: tier.amount[MarginKind.MAINTENANCE]
        for tier in contracts("binance-coinm")["BTCUSD_PERP"].tiers
    }
    assert amounts[row["inputs"]["floor_btc"] * 10**8] == Decimal(row["expected"]["maint_amount"]) * 10**8


# -- published examples ------------------------------------------------------------------------------------


@vectors
@pytest.mark.rule("EX-08", "G-05")
@pytest.mark.parametrize("name", ["bybit-usdt-iso-long", "bybit-usdt-iso-short-extra", "bybit-usdt-iso-long-funding"])
def test_bybit_examples_of_the_entry_value(name: str) -> None:
    """Published with the older rules, whose maintenance margin is a share of the value at entry."""
    row = rows("worked_examples")[name]
    given = row["inputs"]
    entry, sign = given["entry"], 1 if given["side"] == "long" else -1
    answer = position(
        "bybit:2023",
        "BTCUSDT",
        entry,
        quantity=sign * given["size"],
        entry_price=entry,
        isolated_margin=Decimal(entry) * given["size"] / given["leverage"] + given["extra_margin"],
    )
    assert Decimal(answer["liquidation_price"]) == row["expected"]["liquidation_price"]
    if "MM" in row["expected"]:
        assert Decimal(answer["maintenance_margin"]) == row["expected"]["MM"]


@vectors
@pytest.mark.rule("EX-08", "G-05")
def test_binance_coinm_recorded_position() -> None:
    row = rows("ccxt")["binance-coinm-isolated-liquidation-price-001"]
    given, expected = row["inputs"], row["expected"]
    answer = position(
        "binance-coinm",
        "BTCUSD_PERP",
        "38103.0",
        quantity=given["position_amount"],
        entry_price=given["entry_price"],
        isolated_margin=given["isolated_wallet"],
    )
    safe = Decimal(answer["liquidation_price"]) - Decimal(expected["liquidation_price"])
    assert 0 <= safe < Decimal("0.2")  # a tick, and what eight decimal places of the wallet are worth


@vectors
@pytest.mark.rule("EX-08")
def test_deribit_margin_grows_with_the_size() -> None:
    """The published example of a linear contract, whose rates are those of BTC: 25 BTC at 100,000."""
    row = rows("worked_examples")["deribit-im-btc-25"]
    given, expected = row["inputs"], row["expected"]
    dollars = given["size"] * given["index"]
    answer = position(
        "deribit", "BTC-PERPETUAL", given["index"], quantity=dollars, entry_price=given["index"], cash="10"
    )
    assert Decimal(answer["initial_margin"]) == Decimal(expected["rate"]) * given["size"]
    assert Decimal(answer["initial_margin"]) * given["index"] == expected["margin_usdc"]
    assert Decimal(answer["maintenance_margin"]) == Decimal("0.01125") * given["size"]


@vectors
@pytest.mark.rule("EX-08")
def test_recorded_deribit_positions() -> None:
    """Perpetuals and quarterlies share the slope; those with 25x have twice the base."""
    found = [row for row in rows("venue_recordings").values() if row["function"] == "deribit_futures_margin"]
    recorded = [row for row in found if Decimal(row["inputs"]["slope_per_coin"]) == Decimal("0.00005")]
    assert recorded
    for row in recorded:
        given, expected = row["inputs"], row["expected"]
        tier = {
            "initial_margin_rate": str(given["im_base"]),
            "maintenance_margin_rate": str(given["mm_base"]),
            "initial_margin_slope": "0.00005",
            "maintenance_margin_slope": "0.00005",
        }
        document = {
            "account_id": row["id"],
            "cash": "1",
            "rulebook": "deribit",
            "overrides": {"contracts": {"BTC-PERPETUAL": {"tick": "0.01", "lot": "1", "tiers": [tier]}}},
            "marks": {"BTC-PERPETUAL": str(given["mark_price"])},
            "positions": [
                {
                    "contract": "BTC-PERPETUAL",
                    "quantity": str(given["size_usd"]),
                    "entry_price": str(given["mark_price"]),
                }
            ],
        }
        answer = quote(document, row["id"])["positions"][0]
        for key in ("initial_margin", "maintenance_margin"):
            assert abs(Decimal(answer[key]) - Decimal(expected[key])) <= Decimal("0.00000001"), (row["id"], key)


@pytest.mark.rule("EX-08", "EX-01")
def test_the_trials_published_example() -> None:
    """Alice of docs.paradex.trade/risk/liquidations: 80 against 88.8 of maintenance margin."""
    alice = json.loads((ROOT / "docs" / "examples" / "rulebooks" / "alice.json").read_text(encoding="utf-8"))
    answer = quote(alice, "alice.json")
    assert (answer["net_liq"], answer["requirement"]) == ("80.00", "88.80")
    assert [row["maintenance_margin"] for row in answer["positions"]] == ["54.80", "34.00"]
    assert answer["state"]["level"] == "liquidating"
    policy = load(TRIAL).policy()
    full = Fraction(policy.liquidation_fee.rate, RATE) * (5480 + 3400)  # the penalty for all of it
    assert full == Fraction(70, 100) * Fraction(888, 10)
    printed = Fraction(1776, 100)  # for 40 %: the page says a fee of 70 %, its example has 50 %
    assert printed == Fraction(40, 100) * Fraction(50, 100) * Fraction(888, 10) != Fraction(40, 100) * full
    assert variants(TRIAL) == ["pro"]


# -- close-outs and waterfalls -----------------------------------------------------------------------------


TAKEOVER = [(CloseOutMethod.LOWER_TIER, Limit.BANKRUPTCY), (CloseOutMethod.FLATTEN_ALL, Limit.BANKRUPTCY)]
FUND_THEN_WINNERS = [
    StageKind.INSURANCE_FUND_TAKES,
    StageKind.AUTO_DELEVERAGING,
    StageKind.INSURANCE_FUND,
    StageKind.VENUE_BEARS,
]


@pytest.mark.rule("EX-02", "EX-03", "EX-04")
@pytest.mark.parametrize(
    ("name", "price"),
    [("bitmex", TransferPrice.BANKRUPTCY), ("bybit", TransferPrice.BANKRUPTCY), ("okx", TransferPrice.MARK)],
)
def test_a_tier_lower_then_all_at_the_bankruptcy_price(name: str, price: TransferPrice) -> None:
    policy = load(name).policy()
    assert steps(name) == TAKEOVER
    assert stages(name)[-4:] == FUND_THEN_WINNERS
    assert policy.close_out.surplus_to_fund
    winners = policy.waterfall[-3]
    assert (winners.ranking, winners.price, winners.drawdown) == (Ranking.LEVERAGED_RETURN, price, None)


@pytest.mark.rule("EX-02", "EX-04")
@pytest.mark.parametrize(
    ("name", "price"), [("bitmex", None), ("bybit", TransferPrice.DRAWDOWN), ("okx", TransferPrice.MARK)]
)
def test_winners_come_before_a_fund_that_falls_fast(name: str, price: TransferPrice | None) -> None:
    policy = load(name).policy()
    early = [stage for stage in policy.waterfall if stage.drawdown is not None]
    assert early == list(policy.waterfall[:-4])
    found = [(stage.kind, stage.price, stage.drawdown, stage.window) for stage in early]
    hours = 8 * 3600 * 10**9
    assert found == ([] if price is None else [(StageKind.AUTO_DELEVERAGING, price, RATE * 3 // 10, hours)])


@pytest.mark.rule("EX-01")
def test_the_older_limits_of_bybit_change_margins_and_know_no_drawdown() -> None:
    now, then = load("bybit"), load("bybit:2023")
    assert then.table.version < now.table.version
    assert now.policy().waterfall[1:] == then.policy().waterfall
    assert now.policy().close_out == then.policy().close_out
    bases = [{given.requirement_base for given in book.table.contracts.values()} for book in (now, then)]
    assert bases == [{"mark"}, {"entry"}]
    assert {given.close_fee_in_requirement for given in then.table.contracts.values()} == {False}


@pytest.mark.rule("EX-02", "EX-05")
def test_deribit_goes_on_until_margin_is_enough_and_shares_losses_among_the_days_winners() -> None:
    policy = load("deribit").policy()
    (step,) = policy.close_out.steps
    assert (step.method, step.limit, step.interval) == (CloseOutMethod.REDUCE_BY_SHARE, Limit.ANY_PRICE, 10**9)
    assert (policy.close_out.target, policy.close_out.surplus_to_fund) == (RATE, False)
    assert (policy.liquidation_fee.rate, policy.liquidation_fee.to_fund) == (RATE * 75 // 10_000, True)
    assert stages("deribit") == [StageKind.INSURANCE_FUND, StageKind.SOCIALISED_LOSS, StageKind.VENUE_BEARS]
    assert policy.waterfall[1].among is Among.DAYS_WINNERS


@pytest.mark.rule("EX-02", "EX-04")
def test_binance_coinm_is_closed_as_usdm_is() -> None:
    coin, dollar = load("binance-coinm").policy(), load("binance-usdm").policy()
    assert coin.close_out == dollar.close_out
    assert coin.waterfall == dollar.waterfall


@pytest.mark.rule("EX-02", "EX-05")
def test_drift_covers_the_shortage_and_its_buffer() -> None:
    policy = load("drift-v2").policy()
    assert steps("drift-v2") == [(CloseOutMethod.REDUCE_TO_TARGET, Limit.ANY_PRICE)]
    assert policy.close_out.target == 100 * RATE // 102
    assert stages("drift-v2") == [StageKind.INSURANCE_FUND, StageKind.SOCIALISED_LOSS, StageKind.VENUE_BEARS]
    assert policy.waterfall[1].among is Among.POSITIONS


@pytest.mark.rule("EX-02", "EX-05")
def test_ftx_a_tenth_every_six_seconds_and_backstops_below_half() -> None:
    policy = load("ftx").policy()
    (step,) = policy.close_out.steps
    assert (step.share, step.share_above, step.interval) == (RATE // 10, 1000 * 10**6, 6 * 10**9)
    maintenance = contracts("ftx")["BTC-PERP"].tiers[0].rate[MarginKind.MAINTENANCE]
    auto_close = max(maintenance // 2, maintenance - 6 * RATE // 100)
    assert policy.close_out.take_over_below == auto_close * RATE // maintenance
    assert policy.waterfall[0].solvent_only
    assert stages("ftx")[:3] == [StageKind.LIQUIDITY_PROVIDERS, StageKind.UNWIND, StageKind.INSURANCE_FUND]


@pytest.mark.rule("G-02", "G-08", "EX-03", "EX-05", "EX-09")
@pytest.mark.parametrize("name", [*SHIPPED, TRIAL])
def test_a_crash_ends_with_every_deficit_borne(name: str, tmp_path: Path) -> None:
    crash(name, tmp_path)
