"""Longs and shorts in one netting group: of the two sides only the larger asks for margin (EX-02)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engine.bench import Desk, of

from closeout.core.margin import Level, MarginKind
from closeout.core.risk import margin_together
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine import scan
from closeout.engine.index import Index
from closeout.service.reports.figures import account_days
from closeout.service.reports.stress import stress

TIER = {"notional_from": "0", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}
CAR: dict[str, Any] = {"tick": "0.01", "lot": "1", "tiers": [TIER], "netting_group": "car"}


def desk_of(**tables: Any) -> Desk:
    """A perpetual, a dated future at twice its margin, and a contract of something else."""
    twice = {"notional_from": "0", "initial_margin_rate": "0.2", "maintenance_margin_rate": "0.1"}
    contracts = {"CAR": CAR, "CAR_DEC": {**CAR, "tiers": [twice]}, "BUS": {**CAR, "netting_group": ""}}
    desk = Desk("reference", {"contracts": contracts, **tables})
    desk.marks(CAR="1000", CAR_DEC="1000", BUS="1000")
    return desk


def both(desk: Desk, account_id: str, cash: str, long: str, short: str) -> None:
    desk.account(account_id, cash)
    desk.hold(account_id, "CAR", long, "1000")
    desk.hold(account_id, "CAR_DEC", f"-{short}", "1000")


@pytest.mark.rule("EX-02", "US-01", "G-04")
def test_the_larger_side_is_the_requirement() -> None:
    desk = desk_of()
    both(desk, "A", "1000", "3", "1")  # 150 against 100
    row = desk.state.row("A")
    assert (desk.requirement("A"), desk.money(desk.state.initial(row))) == ("150.00", "300.00")
    desk.hold("A", "CAR_DEC", "-1", "1000")
    assert (desk.requirement("A"), desk.money(desk.state.initial(row))) == ("200.00", "400.00")
    desk.hold("A", "BUS", "-2", "1000")  # of another underlying
    assert desk.requirement("A") == "300.00"
    desk.marks(CAR="1500")  # 225 against 200
    assert desk.requirement("A") == "325.00"


@pytest.mark.rule("EX-02", "US-07")
def test_an_order_on_the_other_side_needs_nothing_until_that_side_is_the_larger() -> None:
    desk = desk_of()
    desk.account("A", "1000")
    desk.hold("A", "CAR", "10", "1000")  # initial margin of 1000: nothing is free
    assert desk.refusal("A", "CAR", "1") == "margin"
    answer = desk.order("A", "CAR_DEC", "-5")  # 1000 short
    assert isinstance(answer, ev.OrderApproved)
    assert (answer.before, answer.change) == (desk.micros("1000"), 0)
    assert desk.refusal("A", "CAR_DEC", "-1") == "margin"  # the one before works: six would need 1200
    desk.fill("A", "CAR_DEC", "-5", "1000", answer.order_id)
    assert desk.requirement("A") == "500.00"
    refused = desk.order("A", "CAR_DEC", "-6", "990")
    assert isinstance(refused, ev.OrderRefused)
    assert refused.suggested_lots == 0


@pytest.mark.rule("EX-02", "US-07", "US-16")
def test_closing_one_side_never_asks_for_more_and_the_worst_fills_decide() -> None:
    desk = desk_of()
    both(desk, "A", "600", "6", "3")  # 600 against 600
    answer = desk.order("A", "CAR", "-6")  # filled, the short's 600 remain
    assert isinstance(answer, ev.OrderApproved)
    assert answer.change == 0
    assert desk.refused(desk.withdraw("A", "0.01")) == "exceeds_withdrawable"
    desk.fill("A", "CAR", "-6", "1000", answer.order_id)
    assert desk.requirement("A") == "300.00"
    both(desk, "B", "1000", "6", "3")
    assert isinstance(desk.order("B", "CAR", "2", "1010"), ev.OrderApproved)  # 800 + 20 lost at the limit
    assert isinstance(desk.order("B", "CAR_DEC", "-1"), ev.OrderApproved)  # 800, and 20 lost by the other: as much
    assert desk.refused(desk.withdraw("B", "180.01")) == "exceeds_withdrawable"
    desk.done(desk.withdraw("B", "180"))


@pytest.mark.rule("EX-02", "G-11")
def test_a_receipt_shows_what_was_netted() -> None:
    desk = desk_of()
    both(desk, "A", "200", "3", "1")
    (order, *_) = of(desk.marks(CAR="950"), ev.CloseOutOrder)  # 50 left against 142.50
    (closed,) = of(desk.close_at("A", "950"), ev.CloseOutEnded)
    trigger = closed.receipt["trigger"]
    assert trigger["netting"] == [{"group": "car", "long": "142.50", "short": "100.00"}]
    assert (trigger["requirement"], trigger["line"]) == ("142.50", "142.50")
    assert (
        "longs and its shorts in car asked for, 142.50 and 100.00 USD, the larger counted." in closed.receipt["words"]
    )
    assert order.contract == "CAR"
    desk.account("B", "200")
    desk.hold("B", "CAR", "3", "950")
    desk.marks(CAR="900")
    (closed,) = of(desk.close_at("B", "900"), ev.CloseOutEnded)
    assert "netting" not in closed.receipt["trigger"]


@pytest.mark.rule("EX-02", "US-16")
def test_an_isolated_position_nets_with_nothing_beside_it() -> None:
    desk = desk_of()
    desk.account("A", "1000")
    desk.hold("A", "CAR", "4", "1000")
    desk.account("A/DEC", parent="A")
    desk.deposit("A/DEC", "500")
    desk.hold("A/DEC", "CAR_DEC", "-2", "1000")
    assert (desk.requirement("A"), desk.requirement("A/DEC")) == ("200.00", "200.00")


@pytest.mark.rule("EX-02", "US-17", "US-22")
def test_columns_say_what_one_account_after_the_other_does() -> None:
    """The scan, the undermargined, the margin report and the stress."""
    desk = desk_of()
    for number in range(40):
        both(desk, f"A{number}", str(number * 12), str(1 + number % 5), str(1 + number % 3))
    state = desk.state
    state.contracts["CAR"].mark = desk.ticks("CAR", "1031")  # nobody is judged: many are below their lines
    net_liq, required, level = scan.levels(state)
    days = {day.account_id: day for day in account_days(state)}
    under = set(scan.undermargined(state).tolist())
    rows = [state.row(f"A{number}") for number in range(40)]
    for row in rows:
        risk, held = state.risk(row), state.holdings(row)
        assert (int(net_liq[row]), int(required[row]), int(level[row])) == (risk.net_liq, risk.requirement, risk.level)
        initial, maintenance = (margin_together(held, k) for k in (MarginKind.INITIAL, MarginKind.MAINTENANCE))
        day = days[state.book.ids[row]]
        assert (day.requirement, day.initial, day.maintenance) == (risk.requirement, initial, maintenance)
        assert (row in under) == (risk.net_liq < maintenance)
    assert 0 < len(under) < 40
    (still,) = (outcome for outcome in stress(state) if outcome.move.rate == 0)
    assert still.closed_out == sum(state.risk(row).level is Level.LIQUIDATING for row in rows)


@pytest.mark.rule("EX-02", "G-12")
def test_the_index_always_looks_at_who_holds_both_sides() -> None:
    desk = desk_of()
    both(desk, "A", "1000", "3", "1")
    for account_id, name in (("B", "CAR"), ("C", "CAR_DEC"), ("D", "BUS")):
        desk.account(account_id, "1000")
        desk.hold(account_id, name, "2", "1000")
    desk.hold("B", "CAR_DEC", "1", "1000")  # longs alone: a sum like any other
    index = desk.state.index
    assert isinstance(index, Index)
    index.changed()
    assert index.counters["loose"] == 1
    assert index.wheels.loose[0] == desk.state.row("A")
    desk.fill("A", "CAR_DEC", "1", "1000")
    index.changed()
    assert index.counters["loose"] == 0
    assert np.count_nonzero(index.wheels.anchored[: desk.state.book.count] == 1) >= 4


@pytest.mark.rule("G-07", "EX-02")
def test_a_side_is_closed_only_as_far_as_margin_falls_while_the_other_waits() -> None:
    desk = desk_of()
    both(desk, "A", "1100", "10", "10")
    desk.done(c.Halt("CAR", True))
    desk.marks(CAR="930")  # 400 left for 1000 short, beside 465 long
    assert desk.outstanding("A") == [("CAR_DEC", "6")]
    desk.close_at("A", "1000")
    assert (desk.position("A", "CAR"), desk.position("A", "CAR_DEC")) == ("10", "-4")
    assert desk.level("A") is Level.LIQUIDATING
    desk.marks(CAR="929")
    assert desk.outstanding("A") == []
    desk.done(c.Halt("CAR", False))
    desk.marks(CAR="930")
    assert desk.outstanding("A") == [("CAR", "-10"), ("CAR_DEC", "4")]


@pytest.mark.rule("G-07", "EX-02")
def test_the_smaller_side_waits_for_the_larger() -> None:
    desk = desk_of()
    both(desk, "A", "1100", "10", "10")
    desk.done(c.Halt("CAR_DEC", True))
    desk.marks(CAR="930")
    assert desk.level("A") is Level.LIQUIDATING
    assert desk.outstanding("A") == []
    desk.done(c.Halt("CAR_DEC", False))
    desk.marks(CAR="930")
    assert desk.outstanding("A") == [("CAR", "-10"), ("CAR_DEC", "10")]
