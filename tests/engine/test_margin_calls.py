"""Margin calls by business days, and the start-of-day reconciliation (US-17, US-26)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk, of

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.accounts import withdrawable
from closeout.engine.book import SUSPENSE, Flag
from closeout.engine.candidates import candidates

TIER = {"notional_from": "0", "intraday_margin": "50", "initial_margin": "300", "maintenance_margin": "200"}
BOOK: dict[str, Any] = {
    "contracts": {
        name: {"tick": "0.01", "lot": "1", "tiers": [TIER], "session": "cme_equity"} for name in ("BUS", "CAR")
    }
}


def desk_with(cash: str, quantity: str = "2") -> Desk:
    """Two contracts: 100 intraday, 400 maintenance, 600 initial."""
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="1000")
    desk.account("A", cash)
    desk.hold("A", "CAR", quantity, "1000")
    return desk


def day(desk: Desk, date: int) -> list[ev.AnyEvent]:
    return desk.done(c.BusinessDay(f"2026-06-{date}"))


def calls(desk: Desk, events: list[ev.AnyEvent]) -> list[tuple[str, str, int, bool]]:
    return [
        (call.status, desk.money(call.micros), call.business_days, call.capital_charge)
        for call in of(events, ev.MarginCallChanged)
    ]


@pytest.mark.rule("US-17", "G-04")
@pytest.mark.parametrize(("cash", "called"), [("400", False), ("399.999999", True)])
def test_who_is_below_maintenance_is_called_up_to_initial_margin(cash: str, called: bool) -> None:
    desk = desk_with(cash)
    events = day(desk, 11)
    if not called:
        assert events == []
        return
    call_id = f"{desk.engine.offered}m-A"
    assert events == [
        ev.Notice("A", "margin_call", "200.000001"),
        ev.MarginCallChanged("A", call_id, "issued", desk.micros("200.000001"), 1, False),
    ]


@pytest.mark.rule("US-17")
def test_a_call_ages_charges_capital_after_its_second_day_and_in_the_end_bars_opening_orders() -> None:
    desk = desk_with("390")
    assert calls(desk, day(desk, 10)) == [("issued", "210.00", 1, False)]
    assert calls(desk, day(desk, 11)) == [("aged", "210.00", 2, False)]
    desk.marks(CAR="1010")
    assert calls(desk, day(desk, 12)) == [("aged", "190.00", 3, True)]
    desk.marks(CAR="1000")
    day(desk, 15)
    assert calls(desk, day(desk, 16)) == [("aged", "210.00", 5, True)]
    assert desk.approved("A", "CAR", "1")
    assert calls(desk, day(desk, 17)) == [("aged", "210.00", 6, True)]
    assert desk.refusal("A", "CAR", "1") == "margin_call_overdue"
    assert desk.approved("A", "CAR", "-1")


@pytest.mark.rule("US-17", "G-12")
def test_a_call_is_met_by_money_by_the_market_or_by_closing() -> None:
    desk = desk_with("390")
    day(desk, 10)
    assert calls(desk, desk.deposit("A", "209.99")) == []
    events = desk.deposit("A", "0.01")
    assert calls(desk, events) == [("met", "0.00", 1, False)]
    assert of(events, ev.Notice)[-1].kind == "margin_call_met"
    desk = desk_with("390")
    day(desk, 10)
    assert calls(desk, desk.marks(CAR="1104.99")) == []
    assert calls(desk, desk.marks(CAR="1105")) == [("met", "0.00", 1, False)]  # the level did not change
    assert set(candidates(desk.state).tolist()) <= {desk.state.book.row[SUSPENSE]}
    desk = desk_with("390")
    day(desk, 10)
    assert calls(desk, desk.fill("A", "CAR", "-1", "1000")) == [("met", "0.00", 1, False)]
    desk = desk_with("390")
    day(desk, 10)
    assert calls(desk, desk.fill("A", "CAR", "-2", "1000")) == [("closed", "0.00", 1, False)]
    assert calls(desk, day(desk, 11)) == []


@pytest.mark.rule("US-17")
def test_a_new_shortfall_is_a_new_call() -> None:
    desk = desk_with("390")
    day(desk, 10)
    desk.marks(CAR="1105")
    assert calls(desk, desk.marks(CAR="1000")) == []
    assert calls(desk, day(desk, 11)) == [("issued", "210.00", 1, False)]


@pytest.mark.rule("US-17")
def test_news_and_a_positions_leverage_in_a_call() -> None:
    """News do not count. A leverage of 2x asks for more than the contract's own initial margin, and is called for; one
    of 100x asks for less, and changes nothing."""
    desk = desk_with("390")
    desk.news("4", "CAR")
    assert calls(desk, day(desk, 10)) == [("issued", "210.00", 1, False)]
    for account_id, leverage in (("B", 100), ("C", 2)):
        desk.account(account_id, "390", leverage={"CAR": leverage * 10**9})
        desk.hold(account_id, "CAR", "2", "1000")
    called = {call.account_id: call.micros for call in of(day(desk, 11), ev.MarginCallChanged)}
    assert (called["B"], called["C"]) == (desk.micros("210"), desk.micros("610"))


@pytest.mark.rule("US-17", "G-18")
def test_calls_come_by_account_and_the_unpriced_are_measured_at_the_bounded_worst() -> None:
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.account("B", "899")
    desk.hold("B", "CAR", "1", "1000")  # half of it lost: 399 against 200
    desk.account("A", "650")
    desk.hold("A", "CAR", "1", "1000")  # 150
    events = day(desk, 10)
    assert [(call.account_id, call.micros) for call in of(events, ev.MarginCallChanged)] == [("A", desk.micros("150"))]


@pytest.mark.rule("US-17")
def test_a_liquidation_that_cures_the_account_leaves_its_call_until_initial_margin_is_there() -> None:
    desk = desk_with("112")
    day(desk, 10)
    desk.marks(CAR="985")  # 82 for 100 / 1.2
    events = desk.close_at("A", "985")
    assert desk.position("A", "CAR") == "1"
    assert calls(desk, events) == []
    assert calls(desk, day(desk, 11)) == [("aged", "243.00", 2, False)]  # 300 - 57


@pytest.mark.rule("US-17", "G-12")
def test_the_market_meets_a_call_while_close_out_orders_are_out() -> None:
    desk = desk_with("390")
    day(desk, 10)
    desk.marks(CAR="840")  # 70 for 100 / 1.2
    assert desk.outstanding("A") != []
    assert calls(desk, desk.marks(CAR="1117.49")) == []  # the fee is pending
    assert calls(desk, desk.marks(CAR="1117.50")) == [("met", "0.00", 1, False)]


# -- reconciliation ------------------------------------------------------------------------------------


def file_of(desk: Desk, cash: str, by: str = "ann", **lots: int) -> c.Reconcile:
    return c.Reconcile("A", desk.micros(cash), lots, "sod.csv", by)


@pytest.mark.rule("US-26")
def test_a_break_freezes_opening_orders_and_withdrawals_until_the_books_agree() -> None:
    desk = desk_with("1000")
    assert desk.done(file_of(desk, "1000", CAR=2)) == [ev.Reconciled("A", "sod.csv", {})]
    events = desk.done(file_of(desk, "999.99", CAR=3, BUS=-1))
    cash = (desk.micros("1000"), desk.micros("999.99"))
    differences = {"cash": cash, "BUS": (0, -1), "CAR": (2, 3)}
    assert events[0] == ev.FlagChanged("A", "frozen", True, "differs from sod.csv")
    assert isinstance(events[1], ev.Alarm)
    assert events[1].code == "reconciliation_break"
    assert events[2] == ev.Reconciled("A", "sod.csv", differences)
    assert desk.refusal("A", "CAR", "1") == "reconciliation_break"
    assert desk.approved("A", "CAR", "-2")
    assert desk.refused(desk.withdraw("A", "1")) == "reconciliation_break"
    assert withdrawable(desk.state, desk.state.row("A")) == 0  # and it is not said that anything could be
    desk.deposit("A", "1")
    events = desk.done(file_of(desk, "1001", CAR=3))
    assert [type(event) for event in events] == [ev.Alarm, ev.Reconciled]
    events = desk.done(file_of(desk, "1001", CAR=2, BUS=0))
    assert events == [
        ev.Reconciled("A", "sod.csv", {}),
        ev.FlagChanged("A", "frozen", False, "agrees with sod.csv"),
    ]
    desk.done(desk.withdraw("A", "1"))
    assert desk.approved("A", "CAR", "1")


@pytest.mark.rule("US-26")
def test_a_frozen_account_is_liquidated_like_any_other() -> None:
    desk = desk_with("1000")
    desk.done(file_of(desk, "1000"))
    assert desk.has("A", Flag.FROZEN)
    assert of(desk.marks(CAR="505"), ev.CloseOutOrder) != []


@pytest.mark.rule("US-26", "G-09")
def test_files_that_cannot_be() -> None:
    desk = desk_with("1000")
    assert desk.refused(file_of(desk, "1000", by="")) == "needs_name"
    assert desk.refused(file_of(desk, "1000", XYZ=0)) == "unknown_contract"
    assert desk.refused(c.Reconcile("nobody", 0, {}, "sod.csv", "ann")) == "unknown_account"
