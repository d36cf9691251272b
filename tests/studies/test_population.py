"""The seeded population: the same bytes for a seed, and shares as documented."""

import hashlib
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from closeout.core.units import InputError
from closeout.engine.commands import TransferPosition
from closeout.rulebooks.loader import load
from closeout.studies import population
from closeout.studies.accounts import AccountFile, load_accounts, to_commands, write_accounts
from closeout.studies.market import Market, load_market
from closeout.studies.population import generate

COUNT = 5000


@pytest.fixture(scope="module")
def market() -> Market:
    return load_market(["oct-10-all"])


@pytest.fixture(scope="module")
def accounts(market: Market) -> list[AccountFile]:
    return generate(1, COUNT, market)


@pytest.mark.rule("G-03")
def test_a_seed_gives_its_bytes(tmp_path: Path, market: Market, accounts: list[AccountFile]) -> None:
    path = tmp_path / "accounts.jsonl"
    write_accounts(path, accounts[:1000])
    # The digest was taken once; another machine or Python must come to the same bytes.
    assert (
        hashlib.sha256(path.read_bytes()).hexdigest()
        == "1969cbcbf27146f382d86e623526b2de596da338fb8b5e81c7586980cbb139f1"
    )
    assert generate(1, 1000, market) == accounts[:1000]
    assert generate(2, 1000, market) != accounts[:1000]
    assert [one.account_id for one in load_accounts(path)] == [one.account_id for one in accounts[:1000]]


def near(share: float, percent: int) -> bool:
    """Within four standard deviations of a share of COUNT draws."""
    expected = percent / 100
    return abs(share - expected) < 4 * (expected * (1 - expected) / COUNT) ** 0.5


def test_shares_are_as_documented(accounts: list[AccountFile]) -> None:
    assert sum(weight for _, weight in population.LEVERAGE) == 100
    leverages = Counter(one.positions[0].leverage for one in accounts)
    for leverage, weight in population.LEVERAGE:
        assert near(leverages[Decimal(leverage)] / COUNT, weight), leverage
    positions = [position for one in accounts for position in one.positions]
    assert near(sum(position.quantity > 0 for position in positions) / len(positions), population.LONGS)
    assert near(sum(len(one.positions) == 2 for one in accounts) / COUNT, population.TWO_CONTRACTS)
    assert near(sum(one.opened_at is None for one in accounts) / COUNT, population.FROM_THE_START)
    single = Counter(one.positions[0].contract for one in accounts if len(one.positions) == 1)
    assert abs(single["BTCUSDT"] / single["SOLUSDT"] - 1) < 0.15


def test_sizes_are_log_normal(accounts: list[AccountFile]) -> None:
    """About half of the positions lie above the median and 16 % above one sigma; none above the cap or below a lot."""
    positions = [position for one in accounts for position in one.positions]
    notionals = [abs(position.quantity) * position.entry_price for position in positions]
    above = [
        sum(notional > population.MEDIAN_NOTIONAL * (population.SIGMA * z).exp() for notional in notionals)
        / len(notionals)
        for z in (0, 1)
    ]
    assert 0.46 < above[0] < 0.52  # a little under a half: sizes are cut down to whole lots
    assert 0.14 < above[1] < 0.18
    assert max(notionals) <= population.LARGEST_NOTIONAL
    for position in positions:
        assert position.quantity % population.LOTS[position.contract] == 0
        assert position.quantity


def test_entries_are_prices_of_the_market(accounts: list[AccountFile], market: Market) -> None:
    opens = {name: {bar.time: bar.open for bar in bars} for name, bars in market.contracts.items()}
    times: Counter[int] = Counter()
    for one in accounts:
        for position in one.positions:
            prices = opens[position.contract]
            time = min(prices) if one.opened_at is None else one.opened_at
            assert position.entry_price == prices[time]
        if one.opened_at is not None and [position.contract for position in one.positions] == ["BTCUSDT"]:
            times[one.opened_at] += 1
    assert near(sum(one.closed_at is None for one in accounts) / COUNT, population.HELD_TO_THE_END)
    for one in accounts:
        if one.closed_at is not None:
            assert all(one.closed_at in opens[position.contract] for position in one.positions)
            assert one.closed_at > (one.opened_at or 0)
    bars = market.contracts["BTCUSDT"]
    assert len(times) == len(bars)
    expected = sum(times.values()) / len(bars)
    chi_squared = sum((times[bar.time] - expected) ** 2 / expected for bar in bars)
    assert chi_squared < 147  # 99.99 % of a chi-squared with 90 degrees of freedom


def test_cash_is_notional_over_leverage(accounts: list[AccountFile]) -> None:
    micro = Decimal("0.000001")
    for one in accounts:
        notional = sum(abs(position.quantity) * position.entry_price for position in one.positions)
        leverage = one.positions[0].leverage
        assert leverage is not None
        assert notional <= one.cash * leverage < notional + micro * leverage
        assert one.cash == one.cash.quantize(micro)


def test_one_book_fits_every_shipped_rulebook(accounts: list[AccountFile]) -> None:
    """The same coins, whatever a contract holds: lots times lot times size is the quantity in the file."""
    for name in ("reference", "kraken-us"):
        policy = load(name).policy()
        for one in accounts[:200]:
            transfers = [command for command in to_commands(one, policy) if isinstance(command, TransferPosition)]
            contracts = [policy.contracts[transfer.contract].contract for transfer in transfers]
            assert [
                transfer.lots * contract.lot * contract.contract_size
                for transfer, contract in zip(transfers, contracts, strict=True)
            ] == [position.quantity for position in one.positions]


def test_a_longer_population_begins_with_the_shorter(market: Market, accounts: list[AccountFile]) -> None:
    assert generate(1, 10, market) == accounts[:10]
    assert generate(1, 0, market) == []


def test_a_market_below_zero_has_no_population(tmp_path: Path) -> None:
    path = tmp_path / "CL.csv"
    path.write_text("time,mark\n1587405600,-37.63\n")
    with pytest.raises(InputError, match=r"CL: .*above zero"):
        generate(1, 1, load_market([str(path)]))
