"""Hedge mode: legs of one contract as positions of their own (EX-02)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk, of

from closeout.engine import commands as c
from closeout.engine import events as ev

TIER = {"notional_from": "0", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}
CAR = {"tick": "0.01", "lot": "1", "hedge_mode": True, "tiers": [TIER]}
ADL = {"stage": "auto_deleveraging", "ranking": "leveraged_return"}
UNWIND = {"stage": "unwind"}
VENUE = {"stage": "venue_bears"}
LONG, SHORT = "CAR:long", "CAR:short"


def desk_of(*stages: dict[str, Any], **tables: Any) -> Desk:
    close_out = {"method": "flatten_all", "limit": "bankruptcy"} if stages else {"method": "flatten_all"}
    given = {"contracts": {"CAR": CAR}, "close_out": close_out, **({"waterfall": list(stages)} if stages else {})}
    desk = Desk("reference", {**given, **tables})
    desk.marks(CAR="1000")
    return desk


def both(desk: Desk, account_id: str, cash: str, long: str, short: str, price: str = "1000") -> None:
    desk.account(account_id, cash)
    desk.hold(account_id, LONG, long, price)
    desk.hold(account_id, SHORT, f"-{short}", price)


@pytest.mark.rule("EX-02", "US-01")
def test_each_leg_carries_its_own_requirement() -> None:
    desk = desk_of()
    both(desk, "A", "1000", "3", "2")
    risk = desk.state.risk(desk.state.book.row["A"])
    assert risk.requirement == (150 + 100) * 10**6
    desk.marks(CAR="1100")  # the mark of the contract is that of both legs
    risk = desk.state.risk(desk.state.book.row["A"])
    assert (risk.net_liq, risk.requirement) == (1100 * 10**6, 275 * 10**6)
    assert (desk.position("A", "CAR"), desk.position("A", LONG), desk.position("A", SHORT)) == ("0", "3", "-2")


@pytest.mark.rule("EX-02", "US-16")
def test_a_leverage_of_the_contract_holds_for_a_leg_without_its_own() -> None:
    desk = desk_of()
    desk.account("A", "3000", leverage={"CAR": 2 * 10**9, SHORT: 5 * 10**9})
    for name, quantity, initial in (("CAR", "1", 500), (LONG, "1", 1000), (SHORT, "-1", 1200)):
        desk.hold("A", name, quantity, "1000")
        assert desk.state.initial(desk.state.book.row["A"]) == initial * 10**6


@pytest.mark.rule("EX-02", "G-09")
def test_what_befalls_the_contract_befalls_its_legs_and_no_leg_alone() -> None:
    desk = desk_of()
    both(desk, "A", "1000", "1", "1")
    row = desk.state.book.row["A"]
    tiers = b'[{"initial_margin_rate": "0.2", "maintenance_margin_rate": "0.1"}]'
    alone: tuple[c.Command, ...] = (
        c.Marks((c.Mark(LONG, 100_000),)),
        c.Halt(SHORT, True),
        c.AccrueFunding(LONG, 10**6),
        c.Settle(SHORT, 100_000),
        c.Expire(LONG, 100_000),
        c.AnnounceExpiry(LONG, "soon"),
        c.NewsWindow((LONG,), 2 * 10**9, True, "desk", "figures"),
        c.ScheduleNews("r", (SHORT,), 1, 2, 2 * 10**9, True, "desk", "figures"),
        c.SetMargin(LONG, tiers, "desk", "volatile"),
        c.DeskSwitch(SHORT, "hold", "desk", "look"),
    )
    assert {desk.refused(command) for command in alone} == {"leg"}
    desk.done(c.SetMargin("CAR", tiers, "desk", "volatile", "second"))
    assert desk.state.risk(row).requirement == 200 * 10**6
    desk.done(c.AccrueFunding("CAR", 10**6))  # 0.1 %: the long pays a dollar, the short is paid one
    assert int(desk.state.book.accrued[row]) == 0
    desk.done(c.Settle("CAR", desk.ticks("CAR", "1010")))
    assert {desk.state.contracts[name].position(row).cost for name in (LONG, SHORT)} == {
        101_000 * 10**4,
        -101_000 * 10**4,
    }
    (notice,) = of(desk.done(c.AnnounceExpiry("CAR", "soon")), ev.Notice)
    assert notice.account_id == "A"
    desk.done(c.Halt("CAR", True))
    assert all(desk.state.contracts[name].halted for name in ("CAR", LONG, SHORT))
    desk.done(c.Expire("CAR", desk.ticks("CAR", "900")))
    assert desk.state.holdings(row) == []
    assert desk.cash("A") == "1000.00"
    assert desk.refused(c.Fill("A", LONG, 1, 90_000, "x", "f")) == "expired_contract"


@pytest.mark.rule("EX-02", "US-07", "US-15")
def test_a_leg_holds_its_own_side_alone() -> None:
    desk = desk_of()
    both(desk, "A", "1000", "2", "1")
    assert desk.refused(c.Fill("A", LONG, -3, 100_000, "x", "f1")) == "wrong_leg"  # through zero
    assert desk.refused(c.Fill("A", SHORT, 2, 100_000, "x", "f2")) == "wrong_leg"
    assert desk.refused(c.TransferPosition("A", SHORT, 5, 1)) == "wrong_leg"
    desk.account("B", "1000")
    assert desk.refused(c.Fill("B", LONG, -1, 100_000, "x", "f3")) == "wrong_leg"  # on the wrong side

    def ask(order_id: str, name: str, lots: int) -> str:
        (answer,) = desk.done(c.CheckOrder("A", order_id, name, lots))
        return answer.code if isinstance(answer, ev.OrderRefused) else "approved"

    assert ask("o1", LONG, -3) == "wrong_leg"
    assert [ask(f"s{n}", LONG, -1) for n in range(3)] == ["approved", "approved", "wrong_leg"]  # orders that work count
    assert (ask("o2", LONG, 1), ask("o3", SHORT, 1), ask("o4", SHORT, 1)) == ("approved", "approved", "wrong_leg")
    assert (ask("o5", "CAR", -1), desk.position("A", "CAR")) == ("approved", "0")  # the plain contract, beside them


@pytest.mark.rule("EX-02", "US-25")
def test_a_fill_that_a_leg_needs_is_repriced_but_not_busted() -> None:
    desk = desk_of()
    desk.account("A", "1000")
    desk.done(c.Fill("A", LONG, 2, 100_000, "x", "f1"))
    desk.done(c.Fill("A", LONG, -2, 101_000, "y", "f2"))
    assert desk.refused(c.CorrectFill("f1", None, "desk", "second", "wrong")) == "wrong_leg"
    desk.done(c.CorrectFill("f1", 100_500, "desk", "second", "wrong price"))
    assert (desk.cash("A"), desk.position("A", LONG)) == ("1010.00", "0")


@pytest.mark.rule("EX-02", "US-28")
def test_a_limit_on_the_contract_holds_for_each_leg() -> None:
    desk = desk_of()
    desk.account("A", "100000")
    group = c.GroupLimit(("CAR",), 5_000 * 10**6)
    limits = c.Limits(order_lots={"CAR": 3}, position_lots={"CAR": 4, SHORT: 2}, groups=(group,))
    desk.done(c.SetLimits("account", "A", limits, "desk", "exposure"))

    def refusal(name: str, lots: int) -> str:
        (answer,) = desk.done(c.CheckOrder("A", desk.new_id(), name, lots))
        return answer.code if isinstance(answer, ev.OrderRefused) else ""

    assert (refusal(LONG, 4), refusal(SHORT, -3)) == ("order_size", "position_limit")
    assert (refusal(LONG, 3), refusal(LONG, 2)) == ("", "position_limit")
    assert (refusal(SHORT, -2), refusal("CAR", 1)) == ("", "group_limit")  # 3,000 + 2,000 of 5,000 are out


@pytest.mark.rule("EX-02", "US-09", "G-07")
def test_each_leg_has_a_close_out_order_of_its_own() -> None:
    desk = desk_of()
    both(desk, "A", "300", "4", "1")
    orders = of(desk.marks(CAR="940"), ev.CloseOutOrder)  # 300 - 240 + 60 = 120 of 235
    assert [(order.contract, order.lots) for order in orders] == [(LONG, -4), (SHORT, 1)]
    for order in orders:
        desk.fill_order(order.order_id, "940")
    assert (desk.cash("A"), desk.state.holdings(desk.state.book.row["A"])) == ("120.00", [])


@pytest.mark.rule("EX-02", "EX-04", "G-02")
def test_every_position_on_the_other_side_has_a_place_of_its_own() -> None:
    """A long leg is closed against shorts: one-way, or the short leg of whoever holds both; the long leg stays."""
    desk = desk_of(ADL, VENUE)
    desk.account("A", "160")
    desk.hold("A", LONG, "3", "1000")
    desk.account("B", "1000")
    desk.hold("B", "CAR", "-1", "1000")
    both(desk, "C", "1000", "1", "2", "1000")
    (order,) = of(desk.marks(CAR="940"), ev.CloseOutOrder)
    events = desk.done(c.OrderDone(order.order_id, "immediate or cancel"))
    taken = {(event.account_id, event.contract): event.lots for event in of(events, ev.Deleveraged)}
    assert taken == {("B", "CAR"): 1, ("C", SHORT): 2}
    assert sum(event.taken for event in of(events, ev.Deleveraged)) == 20 * 10**6  # what A was below zero
    assert (desk.position("C", LONG), desk.position("C", SHORT), desk.cash("A")) == ("1", "0", "0.00")


@pytest.mark.rule("EX-02", "EX-05")
def test_an_unwind_takes_an_accounts_positions_in_proportion() -> None:
    desk = desk_of(UNWIND, VENUE)
    desk.account("A", "210")
    desk.hold("A", "CAR", "4", "1000")
    desk.account("B", "2000")
    desk.hold("B", "CAR", "-2", "1000")
    desk.hold("B", SHORT, "-6", "1000")
    (order,) = of(desk.marks(CAR="940"), ev.CloseOutOrder)
    events = desk.done(c.OrderDone(order.order_id, "immediate or cancel"))
    assert {event.contract: event.lots for event in of(events, ev.Deleveraged)} == {"CAR": 1, SHORT: 3}


@pytest.mark.rule("EX-02", "EX-04")
@pytest.mark.parametrize(("has", "taken"), [(91, ["CAR", SHORT]), (60, [])])
def test_who_could_not_pay_for_both_positions_is_passed_over(has: int, taken: list[str]) -> None:
    """A is 350 below zero with 8 lots: the price takes 43.75 of each of B's two positions, and B has `has`."""
    desk = desk_of(ADL, VENUE)
    desk.account("A", "450")
    desk.hold("A", LONG, "8", "1000")
    desk.account("B", "105")
    desk.hold("B", "CAR", "-1", "1000")
    desk.hold("B", SHORT, "-1", "1000")
    desk.done(c.DeskAction("B", "hold", "desk", "to set the scene"))
    desk.done(c.AdjustCash("B", (has - 305) * 10**6, "desk", "second", "to set the scene"))
    (order,) = of(desk.marks(CAR="900"), ev.CloseOutOrder)
    assert order.account_id == "A"
    events = desk.done(c.OrderDone(order.order_id, "immediate or cancel"))
    assert [event.contract for event in of(events, ev.Deleveraged)] == taken


@pytest.mark.rule("EX-02", "G-06")
def test_a_stale_mark_is_told_once_for_all_legs() -> None:
    desk = desk_of(marks={"stale_after_seconds": 60})
    desk.account("A", "1000")
    desk.hold("A", SHORT, "-1", "1000")
    desk.wait(61)
    alarms = of(desk.done(c.Tick()), ev.Alarm)
    assert [alarm.code for alarm in alarms] == ["mark_stale"]
    assert of(desk.done(c.Tick()), ev.Alarm) == []
    assert desk.state.grade(desk.state.contracts[SHORT]) == "stale"
