"""Who is below the line: to the micro, at once, and at any price (G-04, G-13, G-14, US-01)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.engine.bench import FULL, Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.core.units import RATE
from closeout.engine import commands as c
from closeout.engine import events as ev

BOOK: dict[str, Any] = {
    "contracts": {
        "CAR": flat_margin("50", "300", session="cme_equity", fee_per_contract="0.25"),
        "RATED": {
            "tick": "0.01",
            "lot": "0.01",
            "tiers": [
                {"notional_from": "0", "initial_margin_rate": "0.1"},
                {"notional_from": "5000", "initial_margin_rate": "0.2", "maintenance_margin_rate": "0.2"},
            ],
        },
    },
    "windows": {"intraday": FULL},
}


def desk_at(cash: str, quantity: str = "4") -> Desk:
    """Four contracts that need 200 dollars, at 100 %."""
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", RATED="100")
    desk.account("A", cash)
    if quantity != "0":
        desk.hold("A", "CAR", quantity, "1000")
    return desk


@pytest.mark.rule("G-04", "US-04")
@pytest.mark.parametrize(("micro", "below"), [(-1, True), (0, False), (1, False)])
def test_at_exactly_the_requirement_an_account_is_not_below_it(micro: int, below: bool) -> None:
    desk = desk_at(desk_money(200_000_000 + micro))
    assert (desk.level("A") is Level.LIQUIDATING) == below
    assert (desk.close_out("A") is not None) == below


def desk_money(micros: int) -> str:
    return format(Decimal(micros) / 10**6, "f")


@pytest.mark.rule("G-04", "G-01")
@pytest.mark.parametrize(("micro", "below"), [(-1, True), (0, False), (1, False)])
def test_the_line_of_a_rate_is_exact_to_the_micro(micro: int, below: bool) -> None:
    desk = desk_at(desk_money(3_003_300 + micro), quantity="0")  # 0.3 x 100.11 x 10 % = 3.0033
    desk.marks(RATED="100.11")
    desk.hold("A", "RATED", "0.3", "100.11")
    assert (desk.level("A") is Level.LIQUIDATING) == below


@pytest.mark.rule("G-04", "US-01")
@pytest.mark.parametrize(
    ("notional", "requirement"), [("4999.99", "499.999"), ("5000", "1000.00"), ("5001", "1000.20")]
)
def test_a_higher_tier_counts_from_its_first_dollar_on(notional: str, requirement: str) -> None:
    desk = desk_at("100000", quantity="0")
    desk.hold("A", "RATED", "1", "100")
    desk.marks(RATED="149.99")
    for _ in range(2):  # the jump is confirmed
        desk.marks(RATED=notional)
    assert desk.requirement("A") == requirement


@pytest.mark.rule("US-01")
def test_net_liq_is_cash_profit_accruals_less_pending_fees_and_debts() -> None:
    desk = desk_at("5000")
    desk.marks(CAR="1010.25")
    desk.done(c.AccrueFunding("CAR", RATE // 1000))  # 0.1 % of 4,041
    assert desk.net_liq("A") == "5036.959"
    parts = desk.cash("A"), desk.accrued("A"), desk.owed("A")
    assert parts == ("5000.00", "-4.041", "0.00")


# -- at once ---------------------------------------------------------------------------------------------


def _raise(desk: Desk) -> list[ev.AnyEvent]:
    return desk.done(desk.set_margin("CAR", intraday_margin="60", initial_margin="300"))


def _busted(desk: Desk) -> list[ev.AnyEvent]:
    """A sale that brought the account above its line never happened."""
    return desk.done(c.CorrectFill("sold", None, "ann", "bob", "error"))


LIQUIDATING: dict[str, tuple[str, Callable[[Desk], list[ev.AnyEvent]]]] = {
    "mark": ("200", lambda desk: desk.marks(CAR="999.99")),
    "funding": ("200", lambda desk: desk.done(c.AccrueFunding("CAR", 1))),
    "fee and fill": ("250", lambda desk: desk.fill("A", "CAR", "1", "1000")),
    "position brought in": ("249", lambda desk: desk.hold("A", "CAR", "1", "1000")),
    "margin raised": ("200", _raise),
    "session": ("200", lambda desk: desk.session("cme_equity", "end_of_day")),
    "news": ("200", lambda desk: desk.news("1.5", "CAR", held=True)),
    "correction in money": ("200", lambda desk: desk.done(c.AdjustCash("A", -1, "ann", "bob", "x"))),
    "desk": ("9000", lambda desk: desk.desk("A", "liquidate")),
}


@pytest.mark.rule("G-13", "US-02", "US-08", "US-14", "G-04")
@pytest.mark.parametrize(("cash", "act"), LIQUIDATING.values(), ids=LIQUIDATING.keys())
def test_whatever_happens_is_in_the_verdict_of_the_same_input(
    cash: str, act: Callable[[Desk], list[ev.AnyEvent]]
) -> None:
    desk = desk_at(cash)
    assert desk.close_out("A") is None
    events = act(desk)
    assert [change.after for change in of(events, ev.LevelChanged)] == ["liquidating"]
    assert of(events, ev.CloseOutOrder) != []


@pytest.mark.rule("G-13", "US-25")
def test_a_bust_is_in_the_verdict_of_the_same_input() -> None:
    desk = desk_at("220", quantity="5")
    assert desk.close_out("A") is not None
    desk = desk_at("250", quantity="5")
    desk.done(c.Fill("A", "CAR", -1, 100_000, "elsewhere", "sold"))
    desk.done(c.AdjustCash("A", -desk.micros("20"), "ann", "bob", "x"))
    assert desk.close_out("A") is None
    assert of(_busted(desk), ev.CloseOutOrder) != []


@pytest.mark.rule("G-13", "US-16", "US-24")
def test_money_in_and_out_moves_the_level_in_the_same_input() -> None:
    desk = desk_at("1000")
    desk.session("cme_equity", "end_of_day", is_open=False)
    assert desk.level("A") is Level.LIQUIDATING
    assert desk.outstanding("A") == []
    desk.deposit("A", "1000")
    assert desk.level("A") is Level.NORMAL
    desk.done(desk.withdraw("A", "600"))
    assert desk.level("A") is Level.ALERT
    desk.deposit("A", "100")
    assert desk.level("A") is Level.NORMAL


# -- any price -------------------------------------------------------------------------------------------

SHIFTING: dict[str, Any] = {
    "contracts": {"OIL": flat_margin("50", "300", negative_prices=True, fee_per_contract="0.25")},
    "windows": {"end_of_day": {"requirement": "intraday", **FULL}},
    "marks": {"jump": "100", "stale_after_seconds": 300, "unpriced_move": "0.5"},
}
PATH = ("18.27", "20", "9.05", "-3.11", "1.25", "-90.01", "-37.63", "-20", "10.01")


def _shifted(shift: str) -> tuple[list[Any], Desk]:
    """One story at prices that are `shift` higher; what everybody has after each step."""

    def price(text: str) -> str:
        return str(Decimal(text) + Decimal(shift))

    desk = Desk("kraken-us", SHIFTING)
    desk.marks(OIL=price("18.27"))
    for account_id, cash, quantity in (("long", "90", "1"), ("thin", "55", "1"), ("short", "100", "-1")):
        desk.account(account_id, cash)
        desk.trade(account_id, "OIL", quantity, price("18.27"))
    seen: list[Any] = []
    for step in PATH:
        for _ in range(2):  # whatever was a jump is confirmed
            desk.marks(OIL=price(step))
        for account_id in ("long", "thin", "short"):
            desk.close_at(account_id, price(step))
            seen.append((
                step, account_id, desk.position(account_id, "OIL"), desk.net_liq(account_id), desk.cash(account_id),
                desk.owed(account_id), desk.requirement(account_id), desk.level(account_id),
            ))  # fmt: skip
    desk.done(c.Settle("OIL", desk.ticks("OIL", price("10.01"))))
    answer = desk.order("short", "OIL", "1")
    seen += [type(answer).__name__, desk.cash("short")]
    return seen, desk


@pytest.mark.rule("G-14", "G-08", "US-13")
def test_prices_below_zero_change_nothing_but_the_prices() -> None:
    high, _ = _shifted("1000")
    for shift in ("0", "37.63", "60.01", "-18.26", "-500"):
        low, desk = _shifted(shift)
        assert low == high, shift
        assert desk.owed("long") == "43.78"  # 90 - 0.25 - 108.28 - 0.25 - 25


@pytest.mark.rule("G-14", "US-07")
def test_at_a_price_of_zero_orders_fills_and_withdrawals_pass() -> None:
    desk = Desk("kraken-us", SHIFTING)
    desk.marks(OIL="0")
    desk.account("A", "1000")
    desk.trade("A", "OIL", "2", "0")
    desk.trade("A", "OIL", "-3", "-37.63")
    assert desk.position("A", "OIL") == "-1"
    assert desk.cash("A") == "923.49"  # 2 x -37.63 and 5 x 0.25
    assert desk.net_liq("A") == "885.86"  # short from -37.63, marked at 0
    desk.done(desk.withdraw("A", "585.86"))
    assert desk.refused(desk.withdraw("A", "0.01")) == "exceeds_withdrawable"
