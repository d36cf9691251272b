"""Who is admitted: the venue's opening check, not its line for positions held (EX-09)."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.studies.waterfalls import VENUE, rulebook

from closeout.studies.accounts import AccountFile, AccountPosition, AccountSettings
from closeout.studies.market import Market, load_market
from closeout.studies.replay import Settings
from closeout.studies.runner import population_for, run_replay

MICRO = Decimal("0.000001")


@pytest.fixture(scope="module")
def market() -> Market:
    return load_market(["oct-10"])


def account(name: str, market: Market, share: str, **position: object) -> AccountFile:
    """One coin long at the market's first price, with a share of its worth as cash."""
    price = market.price_at("BTCUSDT", None)
    held = replace(AccountPosition("BTCUSDT", Decimal(1), price), **position)
    worth = held.entry_price * abs(held.quantity)
    return AccountFile(name, (worth * Decimal(share)).quantize(MICRO, ROUND_CEILING), (held,))


def admitted(accounts: list[AccountFile], market: Market, name: str, folder: Path) -> list[str]:
    done = run_replay(["oct-10"], market, accounts, [name], folder / "run", settings=Settings())
    return [outcome.account_id for outcome in done.runs[0].admitted]


@pytest.mark.rule("EX-09")
def test_initial_margin_decides_to_the_micro(tmp_path: Path, market: Market) -> None:
    """Initial margin is 2 % and maintenance half a percent: at the margin one may open, a micro below one may not."""
    exact = account("EXACT", market, "0.02")
    accounts = [
        exact,
        replace(exact, account_id="MICRO-LESS", cash=exact.cash - MICRO),
        account("HELD-ONLY", market, "0.01"),
        account("LEVERAGE-MET", market, "0.1", leverage=Decimal(10)),
        account("LEVERAGE-MISSED", market, "0.05", leverage=Decimal(10)),
        account("TOO-MUCH-LEVERAGE", market, "0.01", leverage=Decimal(100)),
    ]
    name = rulebook(tmp_path, "tight", VENUE, initial="0.02")
    assert admitted(accounts, market, name, tmp_path) == ["EXACT", "LEVERAGE-MET"]


@pytest.mark.rule("EX-09")
def test_what_a_position_has_won_or_lost_before_counts(tmp_path: Path, market: Market) -> None:
    """The venue's margin stands on the marks; the account's own leverage was asked when it opened, or is met now."""
    price = market.price_at("BTCUSDT", None)
    lost = (price * Decimal("1.03")).quantize(Decimal("0.1"))
    accounts = [
        account("LOST-SOME", market, "0.1", entry_price=lost, leverage=Decimal(10)),
        account("LOST-MUCH", market, "0.045", entry_price=lost),
        account("WON", market, "0.02", entry_price=price - 10_000, leverage=Decimal(10)),
    ]
    name = rulebook(tmp_path, "tight", VENUE, initial="0.02")
    assert admitted(accounts, market, name, tmp_path) == ["LOST-SOME", "WON"]


@pytest.mark.rule("EX-09", "US-06")
def test_intraday_margin_opens_where_the_account_validates_with_it(tmp_path: Path, market: Market) -> None:
    with_intraday = account("INTRADAY", market, "0.3")
    lot = replace(with_intraday.positions[0], quantity=Decimal("0.01"))
    cash = (lot.entry_price * lot.quantity * Decimal("0.12")).quantize(MICRO)  # from 8.25 % intraday to 16.5 % initial
    with_intraday = replace(with_intraday, positions=(lot,), cash=cash)
    without = replace(with_intraday, account_id="INITIAL", settings=AccountSettings(validate_with_intraday=False))
    assert admitted([with_intraday, without], market, "kraken-us", tmp_path) == ["INTRADAY"]


@pytest.mark.rule("EX-09")
@pytest.mark.parametrize(("name", "leverage"), [("kraken-linear", 50), ("dydx-v4", 20), ("bybit", 10)])
def test_half_a_tick_or_a_fee_turns_nobody_away(tmp_path: Path, market: Market, name: str, leverage: int) -> None:
    """Long and short at the venue's own most, on a tick coarser than the market's; and at 10x with a tenth where margin
    includes the fee of closing."""
    accounts = [one for one in population_for([name], market, 1, 200) if one.positions[0].leverage == leverage]
    assert len(accounts) > 10
    assert set(admitted(accounts, market, name, tmp_path)) == {one.account_id for one in accounts}
