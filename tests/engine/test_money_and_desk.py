"""Withdrawals, acts of the desk, and corrections (US-16, US-20, US-25)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag

BOOK: dict[str, Any] = {
    "contracts": {"CAR": flat_margin("50", "300", session="cme_equity", fee_per_contract="1.50")},
    "close_out": {"method": "reduce_to_target", "target": "1.00"},
}


def desk_with(cash: str = "1000", quantity: str = "0") -> Desk:
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", cash)
    if quantity != "0":
        desk.hold("A", "CAR", quantity, "1000")
    return desk


# -- withdrawals -----------------------------------------------------------------------------------------


@pytest.mark.rule("US-16", "G-10")
@pytest.mark.parametrize("toggle", [True, False])
def test_what_initial_margin_does_not_need_can_be_withdrawn_to_the_micro(toggle: bool) -> None:
    desk = desk_with("1000", "2")
    desk.done(c.SetValidation("A", toggle))
    desk.marks(CAR="1010.50")
    assert desk.refused(desk.withdraw("A", "421.000001")) == "exceeds_withdrawable"
    desk.done(desk.withdraw("A", "421"))
    assert (desk.cash("A"), desk.net_liq("A")) == ("579.00", "600.00")
    assert desk.balance("segregated_bank") == "579.00"
    assert desk.refused(desk.withdraw("A", "0.000001")) == "exceeds_withdrawable"


@pytest.mark.rule("US-16", "EX-02")
def test_a_share_of_the_notional_stays_where_that_is_more_than_initial_margin() -> None:
    """A tenth of 1,050.50, where initial margin is 20; with an order for twelve more that is 260."""
    desk = Desk(
        "reference", {"contracts": {"CAR": flat_margin("10", "20")}, "withdrawals": {"kept_of_notional": "0.1"}}
    )
    desk.account("A", "1000")
    desk.hold("A", "CAR", "1", "1000")
    desk.marks(CAR="1050.50")
    assert desk.refused(desk.withdraw("A", "945.450001")) == "exceeds_withdrawable"
    desk.done(desk.withdraw("A", "945.45"))
    assert desk.net_liq("A") == "105.05"
    desk.deposit("A", "500")
    desk.approved("A", "CAR", "12")  # initial margin of 13 is 260
    assert desk.refused(desk.withdraw("A", "345.050001")) == "exceeds_withdrawable"
    desk.done(desk.withdraw("A", "345.05"))


@pytest.mark.rule("US-16")
def test_working_orders_accrued_funding_and_losses_stay_in_the_account() -> None:
    desk = desk_with("1000", "1")
    order = desk.approved("A", "CAR", "1")
    assert desk.refused(desk.withdraw("A", "400.000001")) == "exceeds_withdrawable"
    desk.done(c.AccrueFunding("CAR", 10**7))  # 10 dollars
    desk.marks(CAR="950")
    assert desk.refused(desk.withdraw("A", "340.000001")) == "exceeds_withdrawable"
    desk.done(desk.withdraw("A", "340"))
    desk.done(c.CancelOrder(order))
    desk.done(desk.withdraw("A", "300"))
    assert desk.net_liq("A") == "300.00"


@pytest.mark.rule("US-16", "G-09")
def test_withdrawals_that_are_no_amounts_are_rejected() -> None:
    desk = desk_with("1000")
    assert desk.refused(c.Withdraw("A", 0)) == "out_of_bounds"
    assert desk.refused(c.Withdraw("A", -1)) == "out_of_bounds"
    assert desk.refused(c.Withdraw("nobody", 1)) == "unknown_account"
    desk.done(desk.withdraw("A", "1000"))
    assert desk.refused(c.Withdraw("A", 1)) == "exceeds_withdrawable"


# -- the desk --------------------------------------------------------------------------------------------


@pytest.mark.rule("US-20")
def test_hold_keeps_an_account_below_its_line_and_alarms_and_its_release_lets_it_go() -> None:
    desk = desk_with("1000", "4")
    desk.desk("A", "hold")
    events = desk.marks(CAR="780")
    assert desk.level("A") is Level.LIQUIDATE_ONLY
    assert desk.close_out("A") is None
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["held_below_line"]
    assert of(desk.marks(CAR="770"), ev.Alarm) == []
    events = desk.desk("A", "release_hold")
    assert of(events, ev.CloseOutOrder) != []
    assert desk.level("A") is Level.LIQUIDATING


@pytest.mark.rule("US-20", "G-07")
def test_a_hold_in_the_middle_of_a_close_out_sends_nothing_more() -> None:
    desk = desk_with("1000", "4")
    desk.marks(CAR="780")
    (order,) = desk.state.order_owner
    desk.desk("A", "hold")
    desk.marks(CAR="760")
    assert of(desk.fill_order(order, "760", "1"), ev.CloseOutOrder) == []
    desk.done(c.OrderDone(order, "cancelled"))
    assert desk.outstanding("A") == []
    assert of(desk.done(c.Tick()), ev.CloseOutOrder) == []
    assert of(desk.desk("A", "release_hold"), ev.CloseOutOrder) != []


@pytest.mark.rule("US-20", "G-08")
def test_a_hold_released_beside_an_order_that_is_out_goes_on_at_once() -> None:
    desk = desk_with("1000", "8")
    desk.marks(CAR="910")
    (order,) = desk.state.order_owner
    desk.desk("A", "hold")
    desk.fill_order(order, "910", "1")
    desk.marks(CAR="895")
    (before,) = desk.outstanding("A")
    (sent,) = of(desk.desk("A", "release_hold"), ev.CloseOutOrder)
    assert desk.outstanding("A") == [before, ("CAR", str(sent.lots))]


@pytest.mark.rule("US-20", "US-09")
def test_liquidate_now_flattens_a_healthy_account_and_a_held_one() -> None:
    desk = desk_with("10000", "4")
    assert of(desk.desk("A", "liquidate"), ev.CloseOutOrder)[0].lots == -4
    desk.close_at("A", "1000")
    (ended,) = desk.events(ev.CloseOutEnded)
    assert ended.receipt["trigger"]["cause"] == "ordered by the desk"
    assert not desk.has("A", Flag.LIQUIDATE_NOW)
    assert desk.refused(c.DeskAction("A", "liquidate", "ann", "x")) == "flat"
    desk.desk("A", "release_restriction", "bob")
    desk.trade("A", "CAR", "4", "1000")
    assert desk.close_out("A") is None
    desk.desk("A", "hold")
    assert of(desk.desk("A", "liquidate"), ev.CloseOutOrder)[0].lots == -4


@pytest.mark.rule("US-20", "US-09")
def test_liquidate_now_widens_a_reduction_that_is_under_way() -> None:
    desk = desk_with("1000", "4")
    desk.marks(CAR="785")
    assert desk.outstanding("A") == [("CAR", "-2")]
    desk.desk("A", "liquidate")
    assert desk.outstanding("A") == [("CAR", "-2"), ("CAR", "-2")]  # now, not after the next fill
    desk.close_at("A", "785")
    assert desk.position("A", "CAR") == "0"


@pytest.mark.rule("US-20", "US-07")
def test_a_lock_stops_all_orders_but_not_the_close_out() -> None:
    desk = desk_with("1000", "4")
    desk.desk("A", "lock")
    assert desk.refusal("A", "CAR", "1") == "locked"
    assert desk.refusal("A", "CAR", "-1") == "locked"
    assert of(desk.marks(CAR="780"), ev.CloseOutOrder) != []
    desk.close_at("A", "780")
    desk.desk("A", "unlock")
    assert desk.approved("A", "CAR", "-1")


@pytest.mark.rule("US-20")
def test_acts_of_the_desk_are_facts_with_a_name_and_a_reason() -> None:
    desk = desk_with("1000", "4")
    for action, flag in (
        ("hold", "held"),
        ("lock", "locked"),
        ("liquidate_only", "desk_liquidate_only"),
        ("restrict", "restricted"),
    ):
        (changed,) = of(desk.desk("A", action), ev.FlagChanged)
        assert (changed.flag, changed.on, changed.reason) == (flag, True, "ann: a reason")
        assert of(desk.desk("A", action), ev.FlagChanged) == []
    assert desk.refused(c.DeskAction("A", "dance", "ann", "x")) == "unknown_action"
    assert desk.refused(c.DeskAction("nobody", "hold", "ann", "x")) == "unknown_account"


# -- corrections -----------------------------------------------------------------------------------------


def _last_fill(desk: Desk) -> str:
    return list(desk.state.fills)[-1]


@pytest.mark.rule("US-25", "G-10", "G-02")
def test_a_bust_undoes_a_fill_and_gives_its_fee_back_as_taken() -> None:
    desk = desk_with("1000")
    desk.trade("A", "CAR", "2", "1003.25")
    before = desk.position("A", "CAR"), desk.net_liq("A"), desk.balance("fees")
    desk.trade("A", "CAR", "3", "1010")
    bust = c.CorrectFill(_last_fill(desk), None, "ann", "bob", "erroneous trade")
    desk.done(bust)
    # The average cost of what is left differs, so cash and open profit share the same total in another way.
    assert (desk.position("A", "CAR"), desk.net_liq("A"), desk.balance("fees")) == before
    assert desk.refused(bust) == "unknown_fill"


@pytest.mark.rule("US-25")
def test_a_bust_of_a_sale_brings_the_position_and_its_loss_back() -> None:
    desk = desk_with("1000", "4")
    desk.trade("A", "CAR", "-4", "990")
    assert desk.cash("A") == "954.00"
    desk.done(c.CorrectFill(_last_fill(desk), None, "ann", "bob", "erroneous trade"))
    assert desk.position("A", "CAR") == "4"
    assert desk.net_liq("A") == "1000.00"


@pytest.mark.rule("US-25")
def test_a_price_adjustment_books_the_difference_and_the_new_fee() -> None:
    desk = Desk("kraken-us", {"contracts": {"CAR": flat_margin("50", taker_fee="0.001")}})
    desk.marks(CAR="1000")
    desk.account("A", "1000")
    desk.trade("A", "CAR", "2", "1000")
    assert (desk.cash("A"), desk.net_liq("A")) == ("998.00", "998.00")
    desk.done(c.CorrectFill(_last_fill(desk), desk.ticks("CAR", "990"), "ann", "bob", "price adjustment"))
    assert (desk.cash("A"), desk.net_liq("A")) == ("998.02", "1018.02")
    desk.done(c.CorrectFill(_last_fill(desk), None, "ann", "bob", "bust after all"))
    assert (desk.cash("A"), desk.position("A", "CAR")) == ("1000.00", "0")


@pytest.mark.rule("US-25", "US-20", "G-09")
def test_corrections_need_two_names_and_a_fill_that_exists() -> None:
    desk = desk_with("1000")
    desk.trade("A", "CAR", "1", "1000")
    fill = _last_fill(desk)
    for by, second, code in (("ann", "", "needs_second"), ("ann", "ann", "needs_second"), ("", "bob", "needs_name")):
        assert desk.refused(c.CorrectFill(fill, None, by, second, "x")) == code
        assert desk.refused(c.AdjustCash("A", 1, by, second, "x")) == code
    assert desk.refused(c.CorrectFill("nothing", None, "ann", "bob", "x")) == "unknown_fill"
    assert desk.refused(c.CorrectFill(fill, 2**40 + 1, "ann", "bob", "x")) == "out_of_bounds"
    assert desk.refused(c.AdjustCash("A", 0, "ann", "bob", "x")) == "out_of_bounds"


@pytest.mark.rule("US-25", "US-10", "G-17", "G-11")
def test_a_wrongful_close_out_is_made_good_and_its_receipt_stands() -> None:
    desk = desk_with("1000", "4")
    desk.marks(CAR="790")
    desk.close_at("A", "790")
    (ended,) = desk.events(ev.CloseOutEnded)
    stands = repr(ended.receipt)
    lost = desk.state.contract("CAR")
    assert lost.position(desk.state.row("A")).lots == 2
    # The mark was wrong: the fee and the closing fees back, the lots brought in again at what they cost.
    desk.marks(CAR="1000")
    repaid = desk.micros("448")  # 2 x 210 lost, 2 x 1.50, 25
    desk.done(c.AdjustCash("A", repaid, "ann", "bob", "the feed was wrong", ended.receipt_id, restore_count=True))
    desk.hold("A", "CAR", "2", "1000")
    assert (desk.cash("A"), desk.position("A", "CAR"), desk.net_liq("A")) == ("1000.00", "4", "1000.00")
    posted = [(p.debit, p.credit) for p in desk.events(ev.Posted) if p.reason == "correction"]
    assert posted == [("segregated_bank", "house"), ("house", "customer_cash")]  # the firm's own money
    notice = desk.events(ev.Notice)[-1]
    (correction,) = desk.events(ev.CorrectionIssued)
    assert (notice.account_id, notice.kind, notice.detail) == ("A", "correction", correction.receipt_id)
    assert correction.receipt["supersedes"] == ended.receipt_id
    assert correction.receipt["approved_by"] == ["ann", "bob"]
    assert correction.receipt["cash_change"] == "448.00"
    assert "corrected account A" in correction.receipt["words"]
    assert desk.events(ev.CloseOutEnded) == [ended]
    assert repr(ended.receipt) == stands
    desk.marks(CAR="790")
    desk.close_at("A", "790")
    assert desk.events(ev.CloseOutEnded)[-1].receipt["liquidation_fee"] == "25.00"  # it counts as the first again


@pytest.mark.rule("US-25", "US-13")
def test_money_taken_back_below_zero_is_owed_and_money_given_pays_what_is_owed() -> None:
    desk = desk_with("100")
    desk.done(c.AdjustCash("A", -desk.micros("130"), "ann", "bob", "paid twice"))
    assert (desk.cash("A"), desk.owed("A")) == ("0.00", "30.00")
    desk.done(c.AdjustCash("A", desk.micros("50"), "ann", "bob", "it was not"))
    assert (desk.cash("A"), desk.owed("A")) == ("20.00", "0.00")


@pytest.mark.rule("US-25", "G-13")
def test_a_correction_is_in_the_very_next_verdict() -> None:
    desk = desk_with("1000", "4")
    events = desk.done(c.AdjustCash("A", -desk.micros("840"), "ann", "bob", "paid twice"))
    assert of(events, ev.CloseOutOrder) != []


@pytest.mark.rule("US-25", "G-11")
def test_a_correction_and_the_close_out_that_it_sets_off_have_receipts_of_their_own() -> None:
    desk = desk_with("1000", "4")
    desk.done(c.AdjustCash("A", -desk.micros("900"), "ann", "bob", "paid twice"))
    desk.close_at("A", "1000")
    (correction,), (ended,) = desk.events(ev.CorrectionIssued), desk.events(ev.CloseOutEnded)
    assert correction.receipt_id != ended.receipt_id
    assert correction.receipt["receipt_id"] == correction.receipt_id
