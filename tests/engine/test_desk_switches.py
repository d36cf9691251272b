"""The desk on a product and on the firm, alerts, alarms from outside, and what a stale mark tells (US-20, G-06)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag

BOOK: dict[str, Any] = {
    "contracts": {
        "CAR": flat_margin("50", "300", session="cme_equity"),
        "BUS": flat_margin("50", "300", session="cme_equity"),
    },
    "close_out": {"method": "flatten_all"},
}


def desk_with() -> Desk:
    """A holds two CAR and one BUS, B two BUS; at 1,000."""
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="1000")
    for name in ("B", "A"):
        desk.account(name, "1000")
    desk.hold("A", "CAR", "2", "1000")
    desk.hold("A", "BUS", "1", "1000")
    desk.hold("B", "BUS", "2", "1000")
    return desk


def switch(contract: str, action: str, second: str = "", by: str = "ann") -> c.DeskSwitch:
    return c.DeskSwitch(contract, action, by, "a reason", second)


# -- orders --------------------------------------------------------------------------------------------


@pytest.mark.rule("US-20", "US-07")
@pytest.mark.parametrize("contract", ["", "CAR"])
def test_a_lock_refuses_every_order_and_two_lift_it(contract: str) -> None:
    desk = desk_with()
    (told,) = desk.done(switch(contract, "lock"))
    assert told == ev.SettingChanged("", "desk_switch", f"{contract or 'firm'} lock: a reason", "ann")
    assert desk.refusal("A", "CAR", "-1") == "locked"
    if contract:
        assert desk.approved("A", "BUS", "-1")
    else:
        assert desk.refusal("A", "BUS", "-1") == "locked"
    for second in ("", "ann"):
        assert desk.refused(switch(contract, "unlock", second)) == "needs_second"
    desk.done(switch(contract, "unlock", "bob"))
    assert desk.approved("A", "CAR", "1")


@pytest.mark.rule("US-20", "US-07")
@pytest.mark.parametrize("contract", ["", "CAR"])
def test_liquidate_only_lets_reduce_and_two_lift_it(contract: str) -> None:
    desk = desk_with()
    desk.done(switch(contract, "liquidate_only"))
    assert desk.refusal("A", "CAR", "1") == "liquidate_only"
    assert desk.approved("A", "CAR", "-1")
    answer = desk.order("A", "BUS", "1")
    assert isinstance(answer, ev.OrderApproved) == bool(contract)
    assert desk.refused(switch(contract, "release_liquidate_only")) == "needs_second"
    desk.done(switch(contract, "release_liquidate_only", "bob"))
    assert desk.approved("A", "CAR", "1")


@pytest.mark.rule("US-20")
@pytest.mark.parametrize("contract", ["", "BUS"])
def test_the_kill_switch_locks_and_cancels_every_working_order(contract: str) -> None:
    desk = desk_with()
    orders = {name: [desk.approved(name, "BUS", "1"), desk.approved(name, "BUS", "-1")] for name in ("B", "A")}
    other = desk.approved("A", "CAR", "1")
    events = desk.done(switch(contract, "kill"))
    gone = tuple(orders["A"]) if contract else (*orders["A"], other)
    assert events[1:] == [
        ev.CancelOrders("A", gone, "kill switch"),
        ev.CancelOrders("B", tuple(orders["B"]), "kill switch"),
    ]
    assert (other in desk.state.order_owner) == bool(contract)
    assert desk.refusal("B", "BUS", "-1") == "locked"
    assert desk.refused(switch(contract, "unlock")) == "needs_second"
    desk.done(switch(contract, "unlock", "bob"))
    assert desk.approved("B", "BUS", "-1")


@pytest.mark.rule("US-20", "G-08")
def test_a_kill_does_not_keep_close_outs_back() -> None:
    desk = desk_with()
    desk.done(switch("", "kill"))
    assert [order.account_id for order in of(desk.marks(CAR="520"), ev.CloseOutOrder)] == ["A", "A"]


# -- close-outs ----------------------------------------------------------------------------------------


@pytest.mark.rule("US-20", "US-21")
def test_a_product_that_is_held_keeps_its_close_out_orders_back() -> None:
    desk = desk_with()
    desk.done(switch("CAR", "hold"))
    events = desk.marks(CAR="520")
    assert [(order.contract, order.lots) for order in of(events, ev.CloseOutOrder)] == [("BUS", -1)]
    assert [(queued.contract, queued.reason) for queued in of(events, ev.CloseOutQueued)] == [
        ("CAR", "held by the desk")
    ]
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["close_out_queued"]
    events = desk.done(switch("CAR", "release_hold"))
    assert [(order.contract, order.lots) for order in of(events, ev.CloseOutOrder)] == [("CAR", -2)]


@pytest.mark.rule("US-20")
def test_a_firm_that_is_held_starts_nothing_and_says_so_and_a_release_judges_at_once() -> None:
    desk = desk_with()
    desk.done(switch("", "hold"))
    events = desk.marks(CAR="520")
    assert of(events, ev.CloseOutOrder) == []
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["held_below_line"]
    assert desk.level("A") is Level.LIQUIDATE_ONLY
    assert desk.refusal("A", "BUS", "1") == "liquidate_only"
    events = desk.done(switch("", "release_hold"))
    assert isinstance(events[0], ev.SettingChanged)
    assert len(of(events, ev.CloseOutOrder)) == 2
    assert desk.level("A") is Level.LIQUIDATING


@pytest.mark.rule("US-20", "G-07")
def test_a_firm_that_is_held_in_the_middle_of_a_close_out_sends_nothing_more() -> None:
    desk = desk_with()
    desk.marks(CAR="520")
    active = desk.close_out("A")
    assert active is not None
    desk.done(switch("", "hold"))
    first, second = active.outstanding
    events = desk.done(c.OrderDone(first, "cancelled"))
    assert of(events, ev.CloseOutOrder) == []
    events = desk.done(switch("", "release_hold"))
    assert [(order.contract, order.lots) for order in of(events, ev.CloseOutOrder)] == [("CAR", -2)]
    assert second in active.outstanding


# -- words ---------------------------------------------------------------------------------------------


@pytest.mark.rule("US-20")
def test_alerts_go_to_one_account_to_the_holders_of_a_product_or_to_all() -> None:
    desk = desk_with()
    desk.account("C", "10")
    assert desk.done(c.DeskAction("C", "alert", "ann", "call us")) == [ev.Notice("C", "desk_alert", "call us")]
    assert of(desk.done(switch("CAR", "alert")), ev.Notice) == [ev.Notice("A", "desk_alert", "a reason")]
    notices = of(desk.done(switch("", "alert")), ev.Notice)
    assert [notice.account_id for notice in notices] == ["A", "B"]


@pytest.mark.rule("US-20", "G-09")
def test_acts_that_cannot_be() -> None:
    desk = desk_with()
    assert desk.refused(switch("", "lock", by="")) == "needs_name"
    assert desk.refused(switch("XYZ", "lock")) == "unknown_contract"
    for action in ("liquidate", "restrict", "sing", ""):
        assert desk.refused(switch("CAR", action)) == "unknown_action"
    for action in ("alert", "hold", "release_restriction"):
        assert desk.refused(c.DeskAction("A", action, "", "x", "bob")) == "needs_name"
    assert desk.refused(c.DeskAction("nobody", "alert", "ann", "x")) == "unknown_account"
    assert desk.refused(c.SetReceivableStatus("A", "plan", "", "x")) == "needs_name"


@pytest.mark.rule("US-20", "G-09")
def test_alarms_and_notices_from_outside_stand_with_the_engines() -> None:
    desk = desk_with()
    assert desk.done(c.RaiseAlarm("", "feed_lost", "kraken")) == [ev.Alarm("", "feed_lost", "kraken")]
    assert desk.done(c.RaiseAlarm("A", "mail", "bounced")) == [ev.Alarm("A", "mail", "bounced")]
    assert desk.refused(c.RaiseAlarm("nobody", "mail", "bounced")) == "unknown_account"
    assert desk.done(c.GiveNotice("A", "look_ahead", "x")) == [ev.Notice("A", "look_ahead", "x")]
    assert desk.refused(c.GiveNotice("nobody", "look_ahead", "x")) == "unknown_account"


@pytest.mark.rule("US-24")
def test_holders_are_warned_before_the_last_trade() -> None:
    desk = desk_with()
    events = desk.done(c.AnnounceExpiry("BUS", "last trade on 19 June"))
    assert events == [ev.Notice(name, "expiry_warning", "last trade on 19 June") for name in ("A", "B")]
    assert desk.refused(c.AnnounceExpiry("XYZ", "x")) == "unknown_contract"
    desk.done(c.Expire("BUS", 100_000))
    assert desk.refused(c.AnnounceExpiry("BUS", "x")) == "expired_contract"


# -- stale marks ---------------------------------------------------------------------------------------


@pytest.mark.rule("G-06")
def test_a_mark_that_grows_stale_alarms_once_before_anything_needs_it() -> None:
    desk = desk_with()
    desk.marks(BUS="1000", MES="5000")  # nobody has MES
    desk.wait(300)
    assert desk.done(c.Tick()) == []
    desk.marks(CAR="1000")
    desk.wait(1)
    (alarm,) = desk.done(c.Tick())
    assert isinstance(alarm, ev.Alarm)
    assert (alarm.account_id, alarm.code) == ("", "mark_stale")
    assert "BUS" in alarm.detail
    assert "feed" in alarm.detail
    assert desk.done(c.Tick()) == []
    desk.marks(CAR="1000", BUS="400")  # a jump does not arm it again
    desk.wait(301)
    assert [alarm.detail[:3] for alarm in of(desk.done(c.Tick()), ev.Alarm)] == ["CAR"]
    desk.marks(BUS="400")
    desk.wait(301)
    assert [alarm.detail[:3] for alarm in of(desk.done(c.Tick()), ev.Alarm)] == ["BUS"]


@pytest.mark.rule("G-06")
def test_a_working_order_depends_on_its_mark_too() -> None:
    desk = desk_with()
    desk.marks(MES="5000")
    desk.session("cme_equity")
    order = desk.approved("A", "MES", "1")
    desk.wait(301)
    desk.marks(CAR="1000", BUS="1000")
    assert [alarm.detail[:3] for alarm in of(desk.done(c.Tick()), ev.Alarm)] == ["MES"]
    desk.done(c.CancelOrder(order))
    assert not desk.has("A", Flag.UNPRICED)
