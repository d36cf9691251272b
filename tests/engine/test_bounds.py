"""The bounds on price, lots, value, cash and rates, each at one below, at, and one above (G-01, G-09)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.engine.bench import Desk

from closeout.core.units import MAX_INVERSE, MAX_LOTS, MAX_PRICE_TICKS, MAX_RATE, MAX_VALUE, RATE, InputError
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.scan import levels
from closeout.rulebooks.loader import load

MARGIN = {"notional_from": "0", "initial_margin_rate": "0.1"}
UNIT: dict[str, Any] = {
    "marks": {"stale_after_seconds": 300, "jump": "100", "unpriced_move": "0.5"},
    "contracts": {
        # One lot at one tick is a micro, so that value is ticks x lots.
        "ONE": {"tick": "0.000001", "lot": "1", "tiers": [MARGIN], "negative_prices": True},
        # A hundredth of a micro: prices and lots reach their own bounds before value does.
        "SMALL": {"tick": "0.000001", "lot": "0.000001", "tiers": [MARGIN], "negative_prices": True},
        "LOTS": {"tick": "0.01", "lot": "1", "tiers": [{"notional_from": "0", "initial_margin": "1000"}]},
        "COIN": {"kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "1", "tiers": [MARGIN]},
        "COINS": {"kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "100", "tiers": [MARGIN]},
    },
}
NEAR = (-1, 0, 1)


def bench(cash: int = MAX_VALUE) -> Desk:
    desk = Desk("kraken-us", UNIT)
    desk.account("A")
    if cash:
        desk.done(c.Deposit("A", cash))
    return desk


def answer(desk: Desk, command: Any) -> str:
    """ "" where the command is taken, the code where it is not."""
    events = desk.give(command)
    return events[0].code if events and isinstance(events[0], ev.Rejected) else ""


def expected(beyond: int) -> str:
    return "out_of_bounds" if beyond > 0 else ""


@pytest.mark.rule("G-01", "G-14")
@pytest.mark.parametrize("beyond", NEAR)
@pytest.mark.parametrize("sign", [1, -1])
def test_price(beyond: int, sign: int) -> None:
    ticks = sign * (MAX_PRICE_TICKS + beyond)
    assert answer(bench(), c.Marks((c.Mark("ONE", ticks),))) == expected(beyond)
    assert answer(bench(), c.Fill("A", "ONE", 1, ticks, "x", "x")) == expected(beyond)
    desk = bench(0)
    desk.done(c.TransferPosition("A", "ONE", 1, 0))
    assert answer(desk, c.Settle("ONE", ticks)) == expected(beyond)
    assert answer(bench(), c.Expire("ONE", ticks)) == expected(beyond)
    desk = bench()
    desk.done(c.Marks((c.Mark("SMALL", 1),)))
    (verdict,) = desk.done(c.CheckOrder("A", "o", "SMALL", 1, ticks))
    assert isinstance(verdict, ev.OrderRefused) == bool(beyond > 0)


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("beyond", NEAR)
@pytest.mark.parametrize("sign", [1, -1])
def test_lots(beyond: int, sign: int) -> None:
    lots = sign * (MAX_LOTS + beyond)
    assert answer(bench(), c.Fill("A", "SMALL", lots, 1, "x", "x")) == expected(beyond)
    assert answer(bench(), c.TransferPosition("A", "SMALL", lots, 0)) == expected(beyond)
    desk = bench()
    desk.done(c.Marks((c.Mark("SMALL", 1),)))
    desk.done(c.TransferPosition("A", "SMALL", lots - sign * 10, 0))
    assert answer(desk, c.Fill("A", "SMALL", sign * 10, 1, "x", "x")) == expected(beyond)
    desk = bench()
    desk.done(c.Marks((c.Mark("SMALL", 1),)))
    (verdict,) = desk.done(c.CheckOrder("A", "o", "SMALL", lots))
    assert isinstance(verdict, ev.OrderRefused) == bool(beyond > 0)


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("beyond", NEAR)
@pytest.mark.parametrize("sign", [1, -1])
def test_value(beyond: int, sign: int) -> None:
    lots = sign * (MAX_VALUE // 2**20 + beyond)
    assert answer(bench(), c.Fill("A", "ONE", lots, 2**20, "x", "x")) == expected(beyond)
    assert answer(bench(), c.TransferPosition("A", "ONE", 1, sign * (MAX_VALUE + beyond))) == expected(beyond)
    desk = bench()  # a mark may not take the largest position past the bound
    desk.done(c.Marks((c.Mark("ONE", 1),)))
    desk.done(c.Fill("A", "ONE", sign * 2**20, 1, "x", "x"))
    assert answer(desk, c.Marks((c.Mark("ONE", MAX_VALUE // 2**20 + beyond),))) == expected(beyond)
    desk = bench()  # nor may a trade at a low price grow a position that is marked high
    desk.done(c.Marks((c.Mark("ONE", 2**20),)))
    assert answer(desk, c.Fill("A", "ONE", lots, 1, "x", "x")) == expected(beyond)


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("beyond", NEAR)
@pytest.mark.parametrize("sign", [1, -1])
def test_cost(beyond: int, sign: int) -> None:
    """Bought dear in small parts, a position could cost more than it may ever be worth."""
    desk = bench(0)
    desk.done(c.Marks((c.Mark("ONE", 1),)))
    half = MAX_VALUE // 2
    desk.done(c.TransferPosition("A", "ONE", sign, sign * (half - 2**20)))
    desk.done(c.Fill("A", "ONE", sign * 2**13, 2**39, "x", "x"))  # 2**52
    assert answer(desk, c.Fill("A", "ONE", sign, 2**20 + beyond, "x", "y")) == expected(beyond)
    desk = bench(0)
    desk.done(c.TransferPosition("A", "ONE", sign, sign * half))
    assert answer(desk, c.TransferPosition("A", "ONE", sign, sign * (half + beyond))) == expected(beyond)


@pytest.mark.rule("G-01", "US-25")
@pytest.mark.parametrize("beyond", NEAR)
def test_cash_after_a_correction(beyond: int) -> None:
    desk = bench(MAX_VALUE - 2**20)
    desk.done(c.Fill("A", "ONE", 1, 0, "x", "bought"))
    desk.done(c.Fill("A", "ONE", -1, 0, "x", "sold"))
    assert answer(desk, c.CorrectFill("sold", 2**20 + beyond, "ann", "bob", "x")) == expected(beyond)


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("beyond", NEAR)
def test_cash(beyond: int) -> None:
    assert answer(bench(0), c.Deposit("A", MAX_VALUE + beyond)) == expected(beyond)
    assert answer(bench(MAX_VALUE - 5), c.Deposit("A", 5 + beyond)) == expected(beyond)
    assert answer(bench(MAX_VALUE - 5), c.AdjustCash("A", 5 + beyond, "ann", "bob", "x")) == expected(beyond)


def _holding(cash: int) -> Desk:
    desk = bench(cash)
    desk.done(c.Marks((c.Mark("ONE", 2**20),)))
    desk.done(c.TransferPosition("A", "ONE", 1, 0))
    return desk


@pytest.mark.rule("G-01", "US-24", "US-14")
@pytest.mark.parametrize("beyond", NEAR)
def test_cash_after_a_fill_a_settlement_and_funding(beyond: int) -> None:
    profit = 2**20
    assert answer(_holding(MAX_VALUE - profit + beyond), c.Fill("A", "ONE", -1, profit, "x", "x")) == expected(beyond)
    assert answer(_holding(MAX_VALUE - profit + beyond), c.Settle("ONE", profit)) == expected(beyond)
    assert answer(_holding(MAX_VALUE - profit + beyond), c.Expire("ONE", profit)) == expected(beyond)
    desk = _holding(MAX_VALUE - profit + beyond)
    desk.done(c.AccrueFunding("ONE", -RATE))
    assert answer(desk, c.BookFunding()) == expected(beyond)


@pytest.mark.rule("G-01", "US-14")
def test_accrued_funding_stays_in_its_bound() -> None:
    desk = bench()
    desk.done(c.Marks((c.Mark("ONE", 1),)))
    desk.done(c.TransferPosition("A", "ONE", -(2**33), 0))
    desk.done(c.AccrueFunding("ONE", RATE, 2**20 - 1))
    assert answer(desk, c.AccrueFunding("ONE", RATE, 2)) == "out_of_bounds"
    desk.done(c.AccrueFunding("ONE", RATE, 1))
    assert int(desk.state.book.accrued[desk.state.row("A")]) == MAX_VALUE
    assert answer(desk, c.AccrueFunding("ONE", 1, 1)) == "out_of_bounds"
    desk.done(c.AccrueFunding("ONE", -1, 1))


@pytest.mark.rule("G-01", "US-14")
@pytest.mark.parametrize("beyond", NEAR)
@pytest.mark.parametrize("sign", [1, -1])
def test_funding_rate(beyond: int, sign: int) -> None:
    desk = _holding(10**9)
    assert answer(desk, c.AccrueFunding("ONE", sign * (RATE + beyond))) == expected(beyond)


def _tiers(**tier: str) -> bytes:
    return msgspec.json.encode([{"notional_from": "0", **tier}])


@pytest.mark.rule("G-01", "US-08")
@pytest.mark.parametrize(("rate", "code"), [("1.999999999", ""), ("2", ""), ("2.000000001", "bad_tiers")])
def test_margin_rate(rate: str, code: str) -> None:
    assert MAX_RATE == 2 * RATE
    assert answer(bench(), c.SetMargin("ONE", _tiers(initial_margin_rate=rate), "ann", "x")) == code
    overrides = {
        "news": {"multiplier": "1"},
        "contracts": {"ONE": {**UNIT["contracts"]["ONE"], "tiers": [{**MARGIN, "initial_margin_rate": rate}]}},
    }
    if code:
        with pytest.raises(InputError, match="initial_margin_rate"):
            load("kraken-us", overrides)
    else:
        load("kraken-us", overrides)


@pytest.mark.rule("G-01", "US-08")
@pytest.mark.parametrize(
    ("multiplier", "code"), [(19_999_999_999, ""), (20 * RATE, ""), (20 * RATE + 1, "out_of_bounds")]
)
def test_a_news_multiple_of_a_rate(multiplier: int, code: str) -> None:
    assert answer(bench(), c.NewsWindow(("ONE",), multiplier, True, "ann", "x")) == code
    desk = bench()
    desk.done(c.NewsWindow(("ONE",), 20 * RATE, True, "ann", "x"))
    raised = c.SetMargin("ONE", _tiers(initial_margin_rate="0.100000001"), "ann", "x")
    assert answer(desk, raised) == "out_of_bounds"
    desk.done(c.NewsWindow(("ONE",), 0, True, "ann", "x", "bob"))
    assert answer(desk, raised) == ""


@pytest.mark.rule("G-01", "US-08")
def test_margin_per_lot_and_its_news_multiple() -> None:
    desk = bench()
    most = MAX_VALUE // 10**9  # lots at 1,000 dollars of margin each
    desk.done(c.Marks((c.Mark("LOTS", 1),)))
    assert answer(desk, c.TransferPosition("A", "LOTS", most + 1, 0)) == "out_of_bounds"
    assert answer(desk, c.TransferPosition("A", "LOTS", most // 10, 0)) == ""
    assert answer(desk, c.SetMargin("LOTS", _tiers(initial_margin="10001"), "ann", "x")) == "out_of_bounds"
    assert answer(desk, c.NewsWindow(("LOTS",), 11 * RATE, True, "ann", "x")) == "out_of_bounds"
    assert answer(desk, c.NewsWindow(("LOTS",), 10 * RATE, True, "ann", "x")) == ""
    assert answer(desk, c.TransferPosition("A", "LOTS", 10, 0)) == "out_of_bounds"
    # Ten times the margin of a full position: the columns say what exact arithmetic says.
    row = desk.state.row("A")
    assert desk.state.risk(row).requirement == 10 * 10**9 * (most // 10)


@pytest.mark.rule("G-01")
@pytest.mark.parametrize(("ticks", "code"), [(1, ""), (0, "out_of_bounds"), (-1, "out_of_bounds")])
def test_an_inverse_price_is_above_zero(ticks: int, code: str) -> None:
    assert answer(bench(), c.Marks((c.Mark("COIN", ticks),))) == code
    assert answer(bench(), c.Settle("COIN", ticks)) == code


@pytest.mark.rule("G-01", "G-09")
def test_an_inverse_fill_or_order_at_or_below_zero_is_refused() -> None:
    for ticks in (0, -1):
        assert answer(bench(), c.Fill("A", "COIN", 1, ticks, "x", "x")) == "out_of_bounds"
        desk = bench()
        desk.done(c.Marks((c.Mark("COIN", 2),)))
        (verdict,) = desk.done(c.CheckOrder("A", "o", "COIN", 1, ticks))
        assert isinstance(verdict, ev.OrderRefused)
        assert verdict.code == "out_of_bounds"
    desk = bench()
    desk.done(c.Fill("A", "COIN", 1, 2, "x", "x"))
    for ticks in (0, -1):
        assert answer(desk, c.CorrectFill("x", ticks, "ann", "bob", "x")) == "out_of_bounds"
        assert answer(desk, c.AccrueFunding("COIN", 1, ticks)) == "out_of_bounds"


def coin(ticks: int) -> Desk:
    """A bench with a mark for the inverse contract of a hundred."""
    desk = bench()
    desk.done(c.Marks((c.Mark("COINS", ticks),)))
    return desk


@pytest.mark.rule("G-01", "G-12")
@pytest.mark.parametrize("sign", [1, -1])
def test_columns_of_an_inverse_contract_do_not_wrap(sign: int) -> None:
    """Lots x unit value passes 63 bits long before the position's value comes near its bound."""
    desk = coin(200_000)
    lots = sign * 2**36
    facts = desk.facts("COINS")
    assert abs(lots) * facts.unit_value > 2**63 > 2**10 * abs(facts.value(200_000, lots))
    desk.done(c.TransferPosition("A", "COINS", lots, facts.trade_value(200_000, lots)))
    for ticks in (200_000, 199_999, 200_003):
        desk.done(c.Marks((c.Mark("COINS", ticks),)))
        row = desk.state.row("A")
        net_liq, requirement, level = levels(desk.state)
        risk = desk.state.risk(row)
        assert (net_liq[row], requirement[row], level[row]) == (risk.net_liq, risk.requirement, risk.level)
        assert risk.requirement > 0


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("beyond", NEAR)
def test_ticks_times_lots_of_an_inverse_contract(beyond: int) -> None:
    lots = 2**30
    ticks = MAX_INVERSE // lots + beyond
    assert answer(coin(ticks), c.Fill("A", "COINS", lots, ticks, "x", "x")) == expected(beyond)
    desk = coin(1_000_000)
    desk.done(c.Fill("A", "COINS", lots, 1_000_000, "x", "x"))
    assert answer(desk, c.Marks((c.Mark("COINS", ticks),))) == expected(beyond)


@pytest.mark.rule("G-01", "US-13")
@pytest.mark.parametrize("beyond", NEAR)
def test_cash_that_goes_home_to_the_parent(beyond: int) -> None:
    desk = bench(MAX_VALUE - 2**20)
    desk.done(c.OpenAccount("A/1", parent="A"))
    assert answer(desk, c.Deposit("A/1", 2**20 + beyond)) == expected(beyond)
    desk = bench(MAX_VALUE)
    desk.done(c.OpenAccount("A/1", parent="A"))
    desk.done(c.Withdraw("A", 2**20))
    assert answer(desk, c.AdjustCash("A/1", 2**20 + beyond, "ann", "bob", "x")) == expected(beyond)


@pytest.mark.rule("G-01", "US-13")
@pytest.mark.parametrize("beyond", NEAR)
def test_a_debt_and_its_interest(beyond: int) -> None:
    desk = Desk("kraken-us", {**UNIT, "receivable": {"daily_interest": "1"}})
    desk.account("A")
    half = MAX_VALUE // 2
    desk.done(c.AdjustCash("A", -(half + max(0, beyond)), "ann", "bob", "x"))
    assert answer(desk, c.BusinessDay("2026-06-11")) == expected(beyond)
    desk = bench(0)
    desk.done(c.AdjustCash("A", -half, "ann", "bob", "x"))
    assert desk.cash("A") == "0.00"
    assert answer(desk, c.AdjustCash("A", -(half + beyond), "ann", "bob", "x")) == expected(beyond)


@pytest.mark.rule("G-01", "G-09", "US-07")
def test_leverage_has_a_least_and_figures_of_orders_fit_the_wire() -> None:
    desk = bench()
    assert answer(desk, c.OpenAccount("L", leverage={"ONE": RATE // 10 - 1})) == "out_of_bounds"
    desk.done(c.OpenAccount("L", leverage={"ONE": RATE // 10}))
    desk.done(c.Deposit("L", MAX_VALUE))
    desk.done(c.Marks((c.Mark("ONE", 2**20),)))
    desk.done(c.TransferPosition("L", "ONE", MAX_VALUE // 2**20, MAX_VALUE))
    events = desk.done(c.CheckOrder("L", "o", "ONE", -1))  # a position at its bound can be reduced
    assert isinstance(events[0], ev.OrderApproved)
    assert ev.DECODER.decode(ev.ENCODER.encode(events)) == events
