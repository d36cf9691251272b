"""What must be acknowledged before an order, what limits it, and the largest that would pass (US-18, US-28, US-07)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.units import MAX_LOTS, MAX_RATE, MAX_VALUE, RATE
from closeout.engine import commands as c
from closeout.engine import events as ev

BOOK: dict[str, Any] = {
    "contracts": {name: flat_margin("50", "300", session="cme_equity") for name in ("BUS", "CAR", "VAN")}
}


def desk_with(cash: str = "100000", **positions: str) -> Desk:
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="100")
    desk.account("A", cash, owner="Ann")
    for contract, quantity in positions.items():
        desk.hold("A", contract, quantity, "1000" if contract == "CAR" else "100")
    return desk


def limit(name: str, second: str = "", scope: str = "account", **limits: Any) -> c.SetLimits:
    return c.SetLimits(scope, name, c.Limits(**limits), "ann", "prudence", second)


def answer(desk: Desk, quantity: str, price: str | None = None, account: str = "A") -> tuple[str, int]:
    """The code of the answer ("" approved, and the order is withdrawn at once) and the lots suggested."""
    told = desk.order(account, "CAR", quantity, price)
    if isinstance(told, ev.OrderApproved):
        desk.done(c.CancelOrder(told.order_id))
        return "", 0
    assert isinstance(told, ev.OrderRefused)
    assert told.detail
    return told.code, told.suggested_lots


# -- disclosure ----------------------------------------------------------------------------------------


@pytest.mark.rule("US-18")
def test_an_opening_order_waits_for_the_current_disclosure_and_a_reducing_one_does_not() -> None:
    desk = desk_with(CAR="3")
    (told,) = desk.done(c.SetDisclosure("2026-06", "ann"))
    assert told == ev.SettingChanged("", "disclosure", "2026-06", "ann")
    assert answer(desk, "1") == ("disclosure", 0)
    refused = desk.order("A", "CAR", "1")
    assert isinstance(refused, ev.OrderRefused)
    assert "2026-06" in refused.detail
    assert answer(desk, "-3") == ("", 0)
    assert desk.refused(c.AcknowledgeDisclosure("A", "2026-05")) == "disclosure_version"
    assert desk.refused(c.AcknowledgeDisclosure("nobody", "2026-06")) == "unknown_account"
    (told,) = desk.done(c.AcknowledgeDisclosure("A", "2026-06"))
    assert told == ev.SettingChanged("A", "disclosure", "2026-06", "customer")
    assert answer(desk, "1") == ("", 0)
    desk.done(c.SetDisclosure("2026-07", "ann"))
    assert answer(desk, "1") == ("disclosure", 0)
    (told,) = desk.done(c.SetDisclosure("", "ann"))
    assert told == ev.SettingChanged("", "disclosure", "none", "ann")
    assert answer(desk, "1") == ("", 0)
    assert desk.refused(c.SetDisclosure("x", "")) == "needs_name"


@pytest.mark.rule("US-18")
def test_an_isolated_account_has_what_its_parent_acknowledged() -> None:
    desk = desk_with()
    desk.account("A/CAR", parent="A")
    desk.done(c.TransferPosition("A/CAR", "BUS", 1, desk.facts("BUS").value(10_000, 1), last=False))
    desk.deposit("A/CAR", "1000")
    desk.done(c.SetDisclosure("v1", "ann"))
    desk.done(c.AcknowledgeDisclosure("A/CAR", "v1"))
    assert answer(desk, "1", account="A/CAR") == ("disclosure", 0)
    desk.done(c.AcknowledgeDisclosure("A", "v1"))
    assert answer(desk, "1", account="A/CAR") == ("", 0)


# -- limits --------------------------------------------------------------------------------------------


@pytest.mark.rule("US-28")
def test_the_size_of_one_order() -> None:
    desk = desk_with(CAR="30")
    (told,) = desk.done(limit("A", order_lots={"CAR": 5}))
    assert told == ev.SettingChanged("A", "limits", "account A", "ann")
    assert answer(desk, "5") == ("", 0)
    assert answer(desk, "6") == ("order_size", 5)
    assert answer(desk, "-30") == ("", 0)  # it only reduces
    assert answer(desk, "-31") == ("order_size", -30)
    assert isinstance(desk.order("A", "BUS", "6"), ev.OrderApproved)


@pytest.mark.rule("US-28")
def test_a_limit_price_may_stand_so_far_beyond_the_mark_on_the_paying_side() -> None:
    desk = desk_with()
    desk.done(limit("A", collar=RATE // 100))
    assert answer(desk, "1", "1010") == ("", 0)
    assert answer(desk, "1", "1010.01") == ("price_collar", 0)
    assert answer(desk, "1", "1") == ("", 0)
    assert answer(desk, "-1", "990") == ("", 0)
    assert answer(desk, "-1", "989.99") == ("price_collar", 0)
    assert answer(desk, "-1", "5000") == ("", 0)
    assert answer(desk, "1") == ("", 0)


@pytest.mark.rule("US-28")
def test_a_position_with_all_orders_of_the_side_filled() -> None:
    desk = desk_with(CAR="4")
    desk.done(limit("A", position_lots={"CAR": 10}))
    desk.approved("A", "CAR", "3")
    desk.approved("A", "CAR", "-2")
    assert answer(desk, "3") == ("", 0)
    assert answer(desk, "4") == ("position_limit", 3)
    assert answer(desk, "-12") == ("", 0)  # short 10
    assert answer(desk, "-13") == ("position_limit", -12)


@pytest.mark.rule("US-28")
def test_one_owners_accounts_are_limited_together_with_isolated_ones() -> None:
    desk = desk_with(CAR="4")
    desk.account("B", "100000", owner="Ann")
    desk.hold("B", "CAR", "-3", "1000")
    desk.account("A/BUS", parent="A")
    desk.done(c.TransferPosition("A/BUS", "CAR", 1, desk.facts("CAR").value(100_000, 1), last=False))
    desk.deposit("A/BUS", "1000")
    desk.account("C", "100000", owner="Carl")
    (told,) = desk.done(limit("Ann", scope="owner", position_lots={"CAR": 10}))
    assert told == ev.SettingChanged("", "limits", "owner Ann", "ann")
    assert answer(desk, "2") == ("", 0)
    assert answer(desk, "3") == ("position_limit", 2)
    desk.approved("B", "CAR", "-1")  # it counts on its own side only
    assert answer(desk, "2") == ("", 0)
    assert answer(desk, "100", account="C") == ("", 0)
    desk.approved("B", "CAR", "4")  # |-3 + 4| = 1 on the buying side: 4 + 1 + 1
    assert answer(desk, "4") == ("", 0)
    assert answer(desk, "5") == ("position_limit", 4)


@pytest.mark.rule("US-28")
def test_a_group_is_limited_by_its_notional_at_the_marks() -> None:
    desk = desk_with(CAR="2", BUS="-5")
    both = c.GroupLimit(("CAR", "BUS"), desk.micros("5000"))
    desk.done(limit("A", groups=(both,)))
    assert answer(desk, "2") == ("", 0)  # 4,000 and 500
    assert answer(desk, "3") == ("group_limit", 2)
    sell = desk.approved("A", "BUS", "-5")  # 1,000 at its worst
    assert answer(desk, "2") == ("", 0)
    desk.marks(BUS="100.01")
    assert answer(desk, "2") == ("group_limit", 1)
    desk.done(c.CancelOrder(sell))
    desk.done(limit("A", groups=(c.GroupLimit(("CAR", "VAN"), desk.micros("5000")),), second="bob"))
    assert answer(desk, "3") == ("", 0)
    desk.hold("A", "VAN", "1", "1")
    assert answer(desk, "1") == ("unpriced", 0)
    desk.marks(VAN="1")
    assert answer(desk, "3") == ("group_limit", 2)


@pytest.mark.rule("US-28", "G-06")
def test_a_group_with_another_of_the_owners_accounts_in_an_unmarked_contract_cannot_be_measured() -> None:
    desk = desk_with()
    desk.account("B", "1000", owner="Ann")
    desk.hold("B", "VAN", "1", "1")
    group = c.GroupLimit(("CAR", "VAN"), desk.micros("5000"))
    desk.done(limit("A", groups=(group,)))
    assert answer(desk, "1") == ("", 0)
    desk.done(limit("Ann", scope="owner", groups=(group,)))
    assert answer(desk, "1") == ("unpriced", 0)
    desk.marks(VAN="2000")
    assert answer(desk, "4") == ("group_limit", 3)


@pytest.mark.rule("US-28", "US-07")
def test_what_is_concentrated_asks_for_more_margin_in_the_order_check_alone() -> None:
    desk = desk_with("1000", CAR="4")
    desk.done(limit("A", concentration_lots={"CAR": 5}, concentration_rate=RATE // 10))
    told = desk.order("A", "CAR", "1")
    assert isinstance(told, ev.OrderApproved)
    assert [desk.money(n) for n in (told.before, told.change, told.after)] == ["200.00", "50.00", "250.00"]
    told = desk.order("A", "CAR", "2")  # 7 x 50, and a tenth of two at 1,000
    assert isinstance(told, ev.OrderApproved)
    assert [desk.money(n) for n in (told.before, told.change, told.after)] == ["250.00", "300.00", "550.00"]
    assert answer(desk, "4") == ("margin", 3)  # 10 x 50 + 500 fit exactly
    assert desk.requirement("A") == "200.00"


@pytest.mark.rule("US-28")
def test_an_isolated_account_has_its_parents_limits_for_itself_unless_it_has_its_own() -> None:
    desk = desk_with(CAR="4")
    desk.account("A/CAR", parent="A")
    desk.done(c.TransferPosition("A/CAR", "BUS", 1, desk.facts("BUS").value(10_000, 1), last=False))
    desk.deposit("A/CAR", "100000")
    desk.done(limit("A", position_lots={"CAR": 5}))
    assert answer(desk, "5", account="A/CAR") == ("", 0)
    assert answer(desk, "6", account="A/CAR") == ("position_limit", 5)
    assert desk.refused(limit("A/CAR", position_lots={"CAR": 6})) == "needs_second"
    desk.done(limit("A/CAR", position_lots={"CAR": 3}))
    assert answer(desk, "4", account="A/CAR") == ("position_limit", 3)
    assert desk.refused(limit("A/CAR")) == "needs_second"
    desk.done(limit("A/CAR", second="bob"))
    assert answer(desk, "5", account="A/CAR") == ("", 0)


FIRST: dict[str, Any] = {
    "order_lots": {"CAR": 5},
    "position_lots": {"CAR": 9},
    "collar": 10,
    "concentration_lots": {"CAR": 7},
    "concentration_rate": 3,
    "groups": (c.GroupLimit(("CAR", "BUS"), 100),),
}
WIDER: dict[str, dict[str, Any]] = {
    "order larger": {"order_lots": {"CAR": 6}},
    "order gone": {"order_lots": {}},
    "order of another": {"order_lots": {"BUS": 1}},
    "order none": {"order_lots": {"CAR": 0}},
    "position": {"position_lots": {"CAR": 10}},
    "collar": {"collar": 11},
    "collar gone": {"collar": None},
    "concentration later": {"concentration_lots": {"CAR": 8}},
    "concentration gone": {"concentration_lots": {}},
    "concentration rate": {"concentration_rate": 2},
    "group": {"groups": (c.GroupLimit(("BUS", "CAR"), 101),)},
    "group gone": {"groups": ()},
    "group of fewer": {"groups": (c.GroupLimit(("CAR",), 100),)},
}


@pytest.mark.rule("US-28", "US-20")
@pytest.mark.parametrize("change", WIDER.values(), ids=WIDER.keys())
def test_widening_any_limit_takes_two(change: dict[str, Any]) -> None:
    desk = desk_with()
    desk.done(limit("A", **FIRST))
    desk.done(limit("A", **FIRST))
    for second in ("", "ann"):
        assert desk.refused(limit("A", second, **{**FIRST, **change})) == "needs_second"
    desk.done(limit("A", "bob", **{**FIRST, **change}))
    desk.done(limit("A", "bob"))
    desk.done(limit("A", **FIRST))  # anything is narrower than nothing


@pytest.mark.rule("US-28", "US-20")
def test_narrowing_limits_takes_one() -> None:
    desk = desk_with()
    desk.done(limit("A", **FIRST))
    desk.done(
        limit(
            "A",
            order_lots={"CAR": 4, "BUS": 1},
            position_lots={"CAR": 1},
            collar=1,
            concentration_lots={"CAR": 1, "BUS": 2},
            concentration_rate=4,
            groups=(c.GroupLimit(("BUS", "CAR"), 99), c.GroupLimit(("VAN",), 10**9)),
        )
    )


REFUSED: dict[str, tuple[c.SetLimits, str]] = {
    "name": (c.SetLimits("moon", "A", c.Limits(), "", "x"), "needs_name"),
    "scope": (limit("A", scope="moon"), "unknown_scope"),
    "no owner": (limit("", scope="owner"), "unknown_scope"),
    "account": (limit("nobody"), "unknown_account"),
    "contract": (limit("A", order_lots={"XYZ": 1}), "unknown_contract"),
    "group": (limit("A", groups=(c.GroupLimit(("XYZ",), 1),)), "unknown_contract"),
    "below": (limit("A", position_lots={"CAR": -1}), "out_of_bounds"),
    "lots": (limit("A", concentration_lots={"CAR": MAX_LOTS + 1}), "out_of_bounds"),
    "collar": (limit("A", collar=MAX_RATE + 1), "out_of_bounds"),
    "rate": (limit("A", concentration_rate=-1), "out_of_bounds"),
    "micros": (limit("A", groups=(c.GroupLimit(("CAR",), MAX_VALUE + 1),)), "out_of_bounds"),
}


@pytest.mark.rule("US-28", "G-09", "G-01")
@pytest.mark.parametrize(("command", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_limits_that_cannot_be_set(command: c.SetLimits, code: str) -> None:
    assert desk_with().refused(command) == code


# -- suggestions ---------------------------------------------------------------------------------------


@pytest.mark.rule("US-07")
@pytest.mark.parametrize(("cash", "held", "asked"), [("1000", "4", "21"), ("1000", "4", "-1000"), ("40", "0", "5")])
def test_the_suggested_order_is_approved_and_one_lot_more_is_not(cash: str, held: str, asked: str) -> None:
    desk = desk_with(cash, **({"CAR": held} if held != "0" else {}))
    code, suggested = answer(desk, asked, "1000.37")
    assert code == "margin"
    sign = 1 if int(asked) > 0 else -1
    assert abs(suggested) < abs(int(asked))
    if suggested:
        assert suggested * sign > 0
        assert answer(desk, str(suggested), "1000.37") == ("", 0)
    assert answer(desk, str(suggested + sign), "1000.37")[0] == "margin"


@pytest.mark.rule("US-07", "US-08")
def test_an_account_above_its_margin_may_only_go_down_so_far() -> None:
    """Twenty at 50 fill 1,000 dollars; in a news window of 4 x none may be added, but all may be sold."""
    desk = desk_with("1000", CAR="20")
    desk.news("4", "CAR")
    assert answer(desk, "1") == ("margin", 0)
    assert answer(desk, "-26") == ("margin", -20)  # short six would need 1,200, long twenty needs 4,000
    assert of(desk.log, ev.LevelChanged)[-1].after == "alert"
