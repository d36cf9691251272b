"""The figures of the shipped rulebooks, against what their sources say."""

from fractions import Fraction

import pytest

from closeout.core.margin import MarginKind
from closeout.core.units import InputError
from closeout.rulebooks.loader import describe, load, names, notes
from closeout.rulebooks.policy import CloseOutMethod

KRAKEN = load("kraken-us").policy()
PERPETUALS = ("PBTCUCZ50", "PETHIUZ50", "PSOLUZ50")


def test_what_is_shipped():
    assert {"kraken-us", "kraken-us:as_if_24x7", "reference"} <= set(names())
    assert "Not affiliated" in describe(load("kraken-us"))["notice"]


@pytest.mark.rule("EX-01")
@pytest.mark.parametrize("name", names())
def test_every_parameter_has_a_source_and_a_date_or_is_assumed(name: str):
    found = describe(load(name))
    for row in found["parameters"]:
        assert row["assumed"] != bool(row["source"]), row["key"]
        assert row["as_of"], row["key"]
        assert set(row["source"]) <= set(found["sources"]), row["key"]


def test_reference():
    policy = load("reference").policy()
    assert list(policy.contracts) == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    for name, given in policy.contracts.items():
        tier = given.tiers[0]
        maintenance = Fraction(1, 100) if name == "SOLUSDT" else Fraction(5, 1000)
        assert Fraction(tier.rate[MarginKind.MAINTENANCE], 10**9) == maintenance
        assert Fraction(tier.rate[MarginKind.INITIAL], 10**9) == 2 * maintenance
        assert (str(given.contract.tick), str(given.contract.lot)) == ("0.01", "0.0001")
        assert (given.contract.taker_fee, given.contract.fee_per_lot, given.session) == (0, 0, None)
    window = policy.windows["always"]
    assert (window.requirement, window.alert, window.liquidate_only, window.auto_liquidate) == (
        MarginKind.MAINTENANCE,
        800_000_000,
        1_000_000_000,
        1_000_000_000,
    )
    assert (policy.opening_window, policy.net_liq_floor, policy.currency.code) == ("always", None, "USD")
    assert [step.method for step in policy.close_out.steps] == [CloseOutMethod.FLATTEN_ALL]
    assert (policy.liquidation_fee.first, policy.liquidation_fee.later) == (0, 0)
    assert not policy.restrict_after_liquidation


@pytest.mark.rule("US-04", "US-08", "US-09", "US-10", "US-12", "US-13")
def test_kraken_us_liquidates_as_published():
    levels = [(w.requirement, w.alert, w.liquidate_only, w.auto_liquidate) for w in KRAKEN.windows.values()]
    assert levels == [
        (MarginKind.INTRADAY, 800_000_000, 1_000_000_000, 1_200_000_000),
        (MarginKind.INITIAL, 800_000_000, 1_000_000_000, 1_000_000_000),
    ]
    assert (KRAKEN.liquidation_fee.first, KRAKEN.liquidation_fee.later) == (25_000_000, 50_000_000)
    assert (KRAKEN.news_multiplier, KRAKEN.news_held) == (4_000_000_000, False)
    assert KRAKEN.restrict_after_liquidation
    assert (KRAKEN.net_liq_floor, KRAKEN.receivable.closing_only_after) == (0, 5)
    assert KRAKEN.close_out.target == 900_000_000


@pytest.mark.rule("US-02", "US-14", "US-15")
def test_kraken_us_perpetuals():
    sizes = [str(KRAKEN.contracts[name].contract.contract_size) for name in PERPETUALS]
    assert sizes == ["0.01", "0.5", "5"]
    for name, percent in zip(PERPETUALS, (15, 16, 17), strict=True):
        given = KRAKEN.contracts[name]
        intraday, initial, maintenance = given.tiers[0].rate
        assert maintenance == percent * 10_000_000
        assert initial * 10 == maintenance * 11
        assert intraday * 2 == initial
        assert given.contract.fee_per_lot == 150_000
        assert given.session == "bitnomial"
    funding = load("kraken-us").table.funding
    assert funding is not None
    assert (funding.interval_ends, funding.booking) == (["03:00", "11:00", "19:00"], "15:00")
    assert sum(range(1, (funding.samples or 0) + 1)) == 1_844_160  # the weights' sum that Bitnomial prints
    assert tuple(funding.contracts) == PERPETUALS


@pytest.mark.rule("US-02", "US-15")
def test_kraken_us_cme_contracts():
    sizes = {name: str(given.contract.contract_size) for name, given in KRAKEN.contracts.items()}
    assert {name: sizes[name] for name in sizes if name not in PERPETUALS} == {
        "MBT": "0.1", "BTC": "5", "MET": "0.1", "ETH": "50", "MSL": "25", "SOL": "500",
        "MES": "5", "ES": "50", "MNQ": "2", "NQ": "20",
    }  # fmt: skip
    micro, mini = KRAKEN.contracts["MES"], KRAKEN.contracts["ES"]
    assert micro.tiers[0].per_lot[:2] == (50_000_000, 2_100_000_000)
    assert mini.tiers[0].per_lot[0] == 500_000_000
    assert [KRAKEN.contracts[name].contract.fee_per_lot for name in ("MES", "MNQ")] == [390_000] * 2
    assert [KRAKEN.contracts[name].contract.fee_per_lot for name in ("ES", "NQ")] == [1_290_000] * 2


@pytest.mark.parametrize("name", list(KRAKEN.contracts))
def test_a_tick_is_worth_tick_times_size(name: str):
    """Bitnomial's own pages contradict each other about the BTC perpetual; only tick x size can be (G9)."""
    table, contract = load("kraken-us").table.contracts[name], KRAKEN.contracts[name].contract
    value = contract.profit(1, 1, 0)  # one contract, bought at zero, at the first tick
    assert table.tick_value is not None
    assert Fraction(value, 10**6) == Fraction(table.tick_value)
    with pytest.raises(InputError, match=f"contracts.{name}.tick_value"):
        load("kraken-us", {"contracts": {name: {"tick_value": "10"}}})


@pytest.mark.rule("US-02")
def test_as_if_24x7_never_closes_and_changes_nothing_else():
    variant = load("kraken-us:as_if_24x7").policy()
    assert all(table.always_open for session in variant.sessions.values() for table in session.tables)
    assert variant.contracts == KRAKEN.contracts
    assert variant.windows == KRAKEN.windows
    assert variant.name == "kraken-us:as_if_24x7"


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize("name", names())
def test_the_brackets_of_shipped_rulebooks_join(name: str):
    assert notes(load(name)) == []
