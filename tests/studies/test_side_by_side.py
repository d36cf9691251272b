"""The same accounts under several rulebooks: whatever is lost is borne by somebody, to the micro; both sides of a book;
sizes, coins and dollars."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.studies.waterfalls import VENUE, WINNERS, rulebook

from closeout.core.units import InputError
from closeout.engine.commands import Deposit, TransferPosition
from closeout.rulebooks.loader import load
from closeout.rulebooks.policy import StageKind
from closeout.studies import conservation
from closeout.studies.accounts import AccountFile, AccountPosition, to_commands
from closeout.studies.market import Market, load_market
from closeout.studies.outcome import BEARERS, Totals
from closeout.studies.population import generate
from closeout.studies.replay import Settings
from closeout.studies.runner import Finished, population_for, run_replay
from closeout.studies.side_by_side import figures
from closeout.studies.sizing import Sizer

BORNE = (
    "owed", "paid_from_other_cash", "fund_paid", "liquidity_providers_bore", "backstop_vault_bore", "winners_bore",
    "customers_shared", "withdrawals_bore", "venue_bore",
)  # fmt: skip
SHIPPED = ("reference", "kraken-us", "kraken-linear", "kraken-coinm", "binance-usdm", "hyperliquid", "dydx-v4")


@pytest.fixture(scope="module")
def market() -> Market:
    return load_market(["oct-10"])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Rulebooks that differ in nothing but in who bears a deficit, by what to call them."""
    folder = tmp_path_factory.mktemp("rulebooks")
    providers = {"stage": "liquidity_providers", "capacity": "40000"}
    taking = {"stage": "insurance_fund_takes", "capacity": "400000"}
    stages: dict[str, tuple[list[dict[str, str]], str | None]] = {
        "fund": ([{"stage": "insurance_fund"}, VENUE], "5000"),
        "fund-takes": ([taking, {"stage": "insurance_fund"}, VENUE], "9000"),
        "providers": ([providers, {"stage": "customer_owes"}], None),
        "winners": ([WINNERS, VENUE], None),
        "previous": ([WINNERS | {"price": "previous_mark"}, VENUE], None),
        "unwound": ([{"stage": "unwind"}, VENUE], None),
        "haircut": ([{"stage": "withdrawal_haircut"}], None),
        "shared": ([{"stage": "socialised_loss", "among": "positions"}, VENUE], None),
        "all": ([providers, WINNERS, {"stage": "insurance_fund"}, {"stage": "customer_owes"}], "100"),
    }  # fmt: skip
    return {name: rulebook(folder, name, *given, fund=fund) for name, (given, fund) in stages.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, market: Market, own: dict[str, str]) -> Finished:
    """All of them over one population."""
    names = [*SHIPPED, *own.values()]
    accounts = population_for(names, market, 1, 120)
    return run_replay(["oct-10"], market, accounts, names, tmp_path_factory.mktemp("out") / "run", settings=Settings())


def rows(run: Finished, name: str) -> list[dict[str, str]]:
    with (run.folder / "accounts.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["rulebook"] == name and "not_admitted" not in row["state"]]


def total(table: list[dict[str, str]], column: str) -> Decimal:
    return sum((Decimal(row[column]) for row in table), Decimal(0))


# -- who bears it -------------------------------------------------------------------------------------------


@pytest.mark.rule("EX-03", "EX-04", "EX-05", "G-02")
def test_every_deficit_is_borne_to_the_micro(run: Finished) -> None:
    for name, part in run.summary["rulebooks"].items():
        table = rows(run, name)
        assert part["conservation"]["problems"] == []
        assert part["ledger_imbalance"] == "0"
        for row in table:
            assert sum(Decimal(row[column]) for column in BORNE) == Decimal(row["deficit"]), row
            assert all(Decimal(row[column]) >= 0 for column in BORNE), row
        deficits = {key: Decimal(text) for key, text in part["deficits"].items()}
        assert sum(deficits.values()) - deficits["total"] == deficits["total"] == total(table, "deficit")
        assert total(table, "adl_amount") == total(table, "winners_bore") == Decimal(part["deleveraged_amount"])
        assert total(table, "adl_beyond") == Decimal(part["deleveraged_beyond"])
        assert total(table, "socialised_paid") == total(table, "customers_shared") == deficits["socialised"]
        assert total(table, "fund_paid") == deficits["fund_paid"]
        assert sum(int(row["times_deleveraged"]) > 0 for row in table) == part["deleveraged_accounts"]


@pytest.mark.rule("EX-03")
def test_the_fund_ends_with_what_it_had_and_got_less_what_it_paid(run: Finished, own: dict[str, str]) -> None:
    for part in run.summary["rulebooks"].values():
        if part["fund"] is None:
            assert part["fund_before"] is part["fund_after"] is None
            continue
        fund = {key: Decimal(text) for key, text in part["fund"].items()}
        assert fund["after"] == fund["before"] + fund["received"] - fund["paid"] + fund["realised"] >= 0
        assert (part["fund_before"], part["fund_after"]) == (part["fund"]["before"], part["fund"]["after"])
        assert Decimal(part["ledger"]["insurance_fund"]) == -fund["after"]
    exhausted = run.summary["rulebooks"][own["fund"]]
    assert (exhausted["fund_after"], exhausted["deficits"]["fund_paid"]) == ("0.00", "5000.00")
    assert Decimal(exhausted["deficits"]["venue_bears"]) > 0


@pytest.mark.rule("EX-09")
@pytest.mark.parametrize(
    ("name", "key"),
    [("fund", "fund_paid"), ("fund-takes", "fund_paid"), ("providers", "liquidity_providers"),
     ("providers", "customers_owe"), ("winners", "deleveraged"), ("previous", "deleveraged"),
     ("unwound", "deleveraged"), ("shared", "socialised"), ("haircut", "withdrawals"),
     ("all", "deleveraged"), ("all", "liquidity_providers")],
)  # fmt: skip
def test_the_same_loss_falls_to_whom_the_rulebook_says(run: Finished, own: dict[str, str], name: str, key: str) -> None:
    assert Decimal(run.summary["rulebooks"][own[name]]["deficits"][key]) > 0
    others = {bearer.key for bearer in BEARERS} - {"customers_owe", "customers_paid_from_other_cash"}
    reference = run.summary["rulebooks"]["reference"]["deficits"]
    assert {other for other in others if Decimal(reference[other])} == set()
    assert reference["customers_owe"] == reference["total"] != "0.00"


@pytest.mark.rule("EX-04")
def test_what_a_price_takes_beyond_the_deficit_is_counted_apart(run: Finished, own: dict[str, str]) -> None:
    """Only at a price that is not the bankruptcy price; winners lose it all the same."""
    beyond = {name: Decimal(part["deleveraged_beyond"]) for name, part in run.summary["rulebooks"].items()}
    assert beyond[own["previous"]] > 0
    assert [beyond[own[name]] for name in ("winners", "unwound", "all")] == [0, 0, 0]
    for one in run.runs:
        noted = any(text.startswith("Deleveraging: at the") for text in one.assumptions)
        assert noted or not beyond[one.rulebook]
        taken = sum(sum(map(_taken, receipt.get("transfers", []))) for receipt in one.receipts)
        assert taken == sum(
            Fraction(row["adl_amount"]) + Fraction(row["adl_beyond"]) for row in rows(run, one.rulebook)
        )


def _taken(transfer: dict[str, Any]) -> Fraction:
    """What a transfer took from winners, as its receipt tells it."""
    return sum((max(Fraction(part.get("taken", "0")), Fraction(0)) for part in transfer["to"]), Fraction(0))


def test_every_stage_has_one_bearer() -> None:
    stages = [stage for bearer in BEARERS for stage in bearer.stages]
    assert sorted(stages) == sorted(kind.value for kind in StageKind)


@pytest.mark.rule("EX-03", "EX-05")
def test_a_stage_without_a_bearer_is_a_sum_that_does_not_agree(
    tmp_path: Path, market: Market, own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conservation, "BEARERS", [one for one in BEARERS if one.key != "withdrawals"])
    accounts = generate(1, 60, market)
    done = run_replay(["oct-10"], market, accounts, [own["haircut"]], tmp_path / "run", settings=Settings())
    (problem,) = done.runs[0].problems
    assert problem.startswith("deficits, and what bore them: ")


@pytest.mark.rule("EX-02", "EX-03")
def test_fees_and_surplus_are_those_of_the_ledger_whoever_gets_them(run: Finished) -> None:
    """A liquidation fee is one in the firm's books or in the fund's; what the fund keeps beside it stands apart."""
    assert_fees_are_the_ledgers(run, "liquidation fee")


@pytest.mark.rule("EX-03")
def test_what_the_fund_keeps_of_a_takeover_is_told(tmp_path: Path, market: Market, own: dict[str, str]) -> None:
    accounts, changes = generate(1, 60, market), {"close_out": {"surplus": "insurance_fund"}}
    done = run_replay(
        ["oct-10"], market, accounts, [own["fund-takes"]], tmp_path / "run", settings=Settings(), overrides=changes
    )
    assert done.runs[0].problems == []
    assert_fees_are_the_ledgers(done, "surplus to the insurance fund")
    (kept,) = [figure for figure in figures(done.runs) if figure.name == "kept by the insurance fund"]
    assert kept.values == [Totals.of(done.runs[0]).fund_kept] != [0]


def assert_fees_are_the_ledgers(run: Finished, to_fund: str) -> None:
    """`to_fund`: what some rulebook gives to the fund."""
    kept, fees, gave = Counter[str](), Counter[str](), 0
    with (run.folder / "ledger.csv").open(newline="", encoding="utf-8") as file:
        for leg in csv.DictReader(file):
            micros = int(Decimal(leg["amount"]).scaleb(8))
            fee = leg["reason"] == "liquidation fee"
            fees[leg["rulebook"]] += micros * (fee or leg["credit"] == "fees")
            gave += micros * (leg["reason"] == to_fund and leg["credit"] == "insurance_fund")
            kept[leg["rulebook"]] += micros * (leg["reason"] == "surplus to the insurance fund")
    assert gave
    for name, part in run.summary["rulebooks"].items():
        assert int(Decimal(part["fees"]).scaleb(8)) == fees[name], name
        assert int(Decimal(part["fund_kept"]).scaleb(8)) == kept[name], name
        assert total(rows(run, name), "fees") == Decimal(part["fees"])
        assert total(rows(run, name), "fund_kept") == Decimal(part["fund_kept"])


@pytest.mark.rule("EX-03")
def test_equity_that_went_with_a_position_is_told(run: Finished) -> None:
    takers = {"liquidity_providers", "insurance_fund_takes", "backstop_vault"}
    for one in run.runs:
        kept = sum(
            Decimal(transfer["kept"])
            for receipt in one.receipts
            for transfer in receipt.get("transfers", [])
            if transfer["stage"] in takers
        )
        part = run.summary["rulebooks"][one.rulebook]
        assert Decimal(part["left_with_takers"]) == kept == total(rows(run, one.rulebook), "left_with_takers")
    assert any(Decimal(part["left_with_takers"]) for part in run.summary["rulebooks"].values())
    assert "left with the takers" in {figure.name for figure in figures(run.runs)}


@pytest.mark.rule("G-02")
def test_the_ledgers_legs_add_up_with_the_fund_in_them(run: Finished) -> None:
    balances: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with (run.folder / "ledger.csv").open(newline="", encoding="utf-8") as file:
        for leg in csv.DictReader(file):
            micros = int(Decimal(leg["amount"]).scaleb(8))
            balances[leg["rulebook"]][leg["debit"]] += micros
            balances[leg["rulebook"]][leg["credit"]] -= micros
    for name, part in run.summary["rulebooks"].items():
        for account, text in part["ledger"].items():
            assert balances[name][account] == int(Decimal(text).scaleb(8)), (name, account)


@pytest.mark.rule("EX-04")
def test_who_was_liquidated_without_an_order_has_its_time_and_price(run: Finished) -> None:
    for name in run.summary["rulebooks"]:
        for row in rows(run, name):
            if Decimal(row["deficit"]):
                assert row["liquidated_at"], (name, row)
                assert row["fill_price"], (name, row)


@pytest.mark.rule("EX-02")
def test_orders_with_a_limit_say_so(run: Finished) -> None:
    with (run.folder / "liquidations.csv").open(newline="", encoding="utf-8") as file:
        limits = {(row["rulebook"], bool(row["limit_price"])) for row in csv.DictReader(file)}
    assert ("binance-usdm", True) in limits
    assert ("reference", True) not in limits


# -- side by side -------------------------------------------------------------------------------------------


@pytest.mark.rule("EX-09")
def test_accounts_and_totals_stand_side_by_side(run: Finished) -> None:
    side: dict[str, Any] = run.summary["side_by_side"]
    assert set(side["totals"]) == set(run.summary["rulebooks"])
    assert len(side["accounts"]) == 120
    for name, totals in side["totals"].items():
        part = run.summary["rulebooks"][name]
        assert {key: totals[key] for key in ("accounts", "not_admitted", "currency", "deficits")} == {
            key: part[key] for key in ("accounts", "not_admitted", "currency", "deficits")
        }
        outcomes = [account[name] for account in side["accounts"].values() if name in account]
        assert sum(not outcome["admitted"] for outcome in outcomes) == part["not_admitted"]
        assert sum(outcome["admitted"] for outcome in outcomes) == part["accounts"]
        admitted = [outcome for outcome in outcomes if outcome["admitted"]]
        assert sum(Decimal(outcome["deficit"]) for outcome in admitted) == Decimal(totals["deficits"]["total"])
        assert all(set(outcome) == {"admitted"} for outcome in outcomes if not outcome["admitted"])
    assert side["totals"]["dydx-v4"]["not_admitted"] > 0


@pytest.mark.rule("EX-09")
def test_coins_are_told_in_dollars_at_the_opening_mark(run: Finished, market: Market) -> None:
    coins, dollars = (run.summary["side_by_side"]["totals"][name] for name in ("kraken-coinm", "dydx-v4"))
    price = Fraction(market.contracts["BTCUSDT"][0].open)
    assert coins["currency"] == "BTC"
    assert Fraction(coins["dollars_at_opening_mark"]["one"]) == round(price * 100) / Fraction(100)
    exact = Fraction(coins["deficits"]["total"]) * price
    assert abs(Fraction(coins["dollars_at_opening_mark"]["deficits"]["total"]) - exact) <= Fraction(1, 200)
    assert dollars["dollars_at_opening_mark"]["one"] == "1.00"


@pytest.mark.rule("EX-09")
def test_the_report_shows_where_each_dollar_went(run: Finished) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Where each dollar of loss beyond margin went" in page
    assert page.count('class="side"') == len(run.runs)
    top = page[: page.index("<section")]
    for one in run.runs:
        assert one.currency.text(Totals.of(one).deficit) in top
    for words in ("the customers owe it", "the insurance fund", "deleveraged winners", "shared among customers"):
        assert words in top


# -- both sides ---------------------------------------------------------------------------------------------


def sides(accounts: list[AccountFile]) -> dict[tuple[int, str], Decimal]:
    """Longs less shorts by opening time and contract."""
    found: defaultdict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for account in accounts:
        for position in account.positions:
            found[account.opened_at or 0, position.contract] += position.quantity
    return dict(found)


@pytest.mark.rule("EX-04", "EX-09")
@pytest.mark.parametrize("count", [2, 3, 7, 400, 401])
def test_a_two_sided_population_has_a_short_for_each_long(count: int) -> None:
    accounts = generate(5, count, load_market(["oct-10-all"]), two_sided=True)
    assert len({account.account_id for account in accounts}) == len(accounts) == count
    assert set(sides(accounts).values()) == {0}
    micro = Decimal("0.000001")
    for account in accounts:
        notional = sum(abs(position.quantity) * position.entry_price for position in account.positions)
        leverage = account.positions[0].leverage or 1
        assert 0 <= account.cash * leverage - notional < 2 * micro * leverage


def test_a_longer_two_sided_population_begins_with_the_shorter(market: Market) -> None:
    assert generate(1, 40, market, two_sided=True)[:20] == generate(1, 20, market, two_sided=True)
    assert generate(1, 21, market, two_sided=True)[:18] == generate(1, 20, market, two_sided=True)[:18]
    with pytest.raises(InputError, match="at least 2"):
        generate(1, 1, market, two_sided=True)


@pytest.mark.rule("EX-09")
def test_the_population_is_two_sided_where_a_rulebook_takes_from_winners(market: Market, own: dict[str, str]) -> None:
    one_sided, two_sided = generate(1, 30, market), generate(1, 30, market, two_sided=True)
    assert population_for(["reference", "kraken-us", own["fund"]], market, 1, 30) == one_sided
    for name in ("winners", "unwound", "shared"):
        assert population_for(["reference", own[name]], market, 1, 30) == two_sided
    waterfall = [{"stage": "auto_deleveraging", "ranking": "random"}, {"stage": "venue_bears"}]
    overrides = {"waterfall": waterfall, "close_out": {"limit": "bankruptcy"}}
    assert population_for(["reference"], market, 1, 30, overrides) == two_sided


# -- sizes and money ----------------------------------------------------------------------------------------


def carried(name: str, account: AccountFile, market: Market, feeds: dict[str, str], measure: str | None) -> list[Any]:
    policy = load(name).policy()
    sizer = Sizer(market, policy, feeds, load(measure).policy() if measure else None)
    return to_commands(account, policy, sizer.carry(account))


@pytest.mark.rule("EX-09")
@pytest.mark.parametrize("initial", ["0.01", "0.02", "0.1", "0.03333"])
def test_the_same_appetite_is_the_same_part_of_what_is_allowed(tmp_path: Path, market: Market, initial: str) -> None:
    """The most lots whose initial margin is no more than 1 % of the notional that the account has: `reference`'s."""
    name = rulebook(tmp_path, "tight", {"stage": "customer_owes"}, initial=initial)
    feeds = {"BTCUSDT": "BTCUSDT"}
    for account in generate(3, 60, market):
        (position,) = account.positions
        transfer = next(
            c for c in carried(name, account, market, feeds, "reference") if isinstance(c, TransferPosition)
        )
        price = Fraction(market.price_at("BTCUSDT", account.opened_at))
        allowed = ceil(abs(Fraction(position.quantity)) * price / 100 * 10**6)
        lots = abs(transfer.lots)

        def needs(lots: int, price: Fraction = price) -> int:
            return ceil(Fraction(initial) * lots * price / 10_000 * 10**6)

        assert needs(lots) <= allowed < needs(lots + 1) or lots == 1
        assert (transfer.lots > 0) == (position.quantity > 0)
        if initial == "0.01":
            assert transfer.lots == position.quantity * 10_000


@pytest.mark.rule("EX-09")
def test_a_book_stays_two_sided_at_the_same_appetite(tmp_path: Path, market: Market, own: dict[str, str]) -> None:
    names = ["reference", "dydx-v4", "kraken-coinm", own["winners"]]
    accounts = population_for(names, market, 4, 40)
    done = run_replay(["oct-10"], market, accounts, names, tmp_path / "run", settings=Settings(), same_appetite=True)
    assert done.summary["same_appetite"] is True
    for one in done.runs:
        assert one.problems == []
        assert Totals.of(one).accounts == 40  # nobody is refused for what another venue allows
        said = [text for text in one.assumptions if text.startswith("Sides")]
        assert ["its other side" in text for text in said] == [True] * (one.rulebook != "reference")


@pytest.mark.rule("EX-09")
def test_coins_become_inverse_contracts_and_dollars_coins(market: Market) -> None:
    feeds = {"BTCUSDT": "PI_XBTUSD"}
    account = next(account for account in generate(1, 50, market) if account.opened_at is not None)
    (position,) = account.positions
    commands = carried("kraken-coinm", account, market, feeds, None)
    deposit = next(command for command in commands if isinstance(command, Deposit))
    transfer = next(command for command in commands if isinstance(command, TransferPosition))
    contract = load("kraken-coinm").policy().contracts["PI_XBTUSD"].contract
    price = Fraction(market.price_at("BTCUSDT", account.opened_at))
    assert deposit.micros == floor(Fraction(account.cash) / price * 10**8)
    notional = abs(Fraction(position.quantity)) * Fraction(position.entry_price)
    assert abs(transfer.lots) == floor(notional / Fraction(contract.contract_size) / Fraction(contract.lot))
    own_name = AccountPosition("PI_XBTUSD", Decimal(-100), Decimal(100_000))
    as_it_is = replace(account, cash=Decimal("0.5"), positions=(own_name,))
    commands = carried("kraken-coinm", as_it_is, market, feeds, None)
    assert Deposit(account.account_id, 50_000_000) in commands
    assert [command.lots for command in commands if isinstance(command, TransferPosition)] == [-100]


@pytest.mark.rule("EX-09")
@pytest.mark.parametrize("name", ["dydx-v4", "kraken-coinm"])
def test_isolated_margin_stays_whatever_becomes_of_the_size(market: Market, name: str) -> None:
    feeds = {"BTCUSDT": "BTC-USD" if name == "dydx-v4" else "PI_XBTUSD"}
    position = AccountPosition(
        "BTCUSDT", Decimal(1), market.price_at("BTCUSDT", None), margin_mode="isolated", isolated_margin=Decimal(5000)
    )
    account = AccountFile("A1", Decimal(1000), (position,))
    coin = Fraction(market.price_at("BTCUSDT", None)) if name == "kraken-coinm" else Fraction(1)
    places = 8 if name == "kraken-coinm" else 6
    for measure in (None, "reference"):
        commands = carried(name, account, market, feeds, measure)
        deposits = {command.account_id: command.micros for command in commands if isinstance(command, Deposit)}
        assert deposits == {"A1": floor(1000 / coin * 10**places), "A1/BTCUSDT": floor(5000 / coin * 10**places)}


@pytest.mark.rule("EX-09")
def test_what_cannot_be_carried_over_is_refused(market: Market, tmp_path: Path) -> None:
    account = AccountFile("A1", Decimal(1000), (AccountPosition("PI_XBTUSD", Decimal(5), Decimal(100_000)),))
    with pytest.raises(InputError, match=r"A1: positions\[0\]\.contract: --same-appetite measures by reference"):
        carried("kraken-coinm", account, market, {"BTCUSDT": "PI_XBTUSD"}, "reference")
    with pytest.raises(InputError, match="what a BTC is worth"):
        carried("kraken-coinm", generate(1, 1, market)[0], market, {}, None)


# -- the same again -----------------------------------------------------------------------------------------


@pytest.mark.rule("G-03", "EX-09")
def test_the_same_call_gives_the_same_bytes(tmp_path: Path, market: Market, own: dict[str, str]) -> None:
    names = ["reference", "kraken-coinm", own["winners"], own["all"]]
    accounts = population_for(names, market, 2, 40)
    files: list[dict[str, bytes]] = []
    for folder in ("one", "two"):
        done = run_replay(["oct-10"], market, accounts, names, tmp_path / folder, settings=Settings())
        files.append({path.name: path.read_bytes() for path in done.folder.iterdir() if path.is_file()})
    assert files[0] == files[1]
    assert json.loads(files[0]["summary.json"])["rulebooks"][own["winners"]]["deleveraged_accounts"] > 0
