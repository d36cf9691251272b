"""A loss beyond the account: the customer owes it, the firm covers it, nobody else pays (US-01, US-13, US-15)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin, of

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag

PERP = "PBTCUCZ50"
ISSUE: dict[str, Any] = {
    "contracts": {
        PERP: {
            "tick": "0.01",
            "tiers": [{"notional_from": "0", "initial_margin_rate": "0.15", "maintenance_margin_rate": "0.15"}],
        }
    },
    "windows": {"intraday": {"alert": "0.80", "liquidate_only": "1.00", "auto_liquidate": "1.00"}},
}


def gap(overrides: dict[str, Any] | None = None) -> Desk:
    """Long 10 perpetuals of 0.01 BTC from 65,000 with 1,500 dollars, gone to 48,000 and filled there."""
    desk = Desk("kraken-us", {**ISSUE, **(overrides or {})})
    desk.session("bitnomial")
    desk.marks(PBTCUCZ50="65000")
    desk.account("bystander", "1000")
    desk.account("A", "1500")
    desk.hold("A", PERP, "10", "65000")
    desk.hold("bystander", PERP, "1", "65000")
    assert desk.net_liq("A") == "1500.00"
    events = desk.marks(PBTCUCZ50="48000")
    assert [order.lots for order in of(events, ev.CloseOutOrder)] == [-10]
    desk.close_at("A", "48000")
    return desk


@pytest.mark.rule("US-01", "US-13", "US-15", "US-10", "G-08")
def test_a_gap_through_bankruptcy_leaves_the_published_deficit() -> None:
    desk = gap()
    assert desk.position("A", PERP) == "0"
    assert desk.owed("A") == "226.50"  # -200.00, 10 x 0.15 for closing, 25 for the event
    assert desk.cash("A") == "0.00"
    assert desk.net_liq("A") == "-226.50"
    assert desk.has("A", Flag.IN_DEBIT)
    (booked,) = desk.events(ev.DeficitBooked)
    assert (booked.account_id, desk.money(booked.micros), desk.money(booked.total)) == ("A", "226.50", "226.50")
    (ended,) = desk.events(ev.CloseOutEnded)
    assert ended.receipt_id == booked.receipt_id
    assert ended.receipt["owed"] == "226.50"


@pytest.mark.rule("US-13", "G-02")
def test_the_firm_covers_the_pool_and_no_other_customer_is_touched() -> None:
    desk = gap()
    assert desk.cash("bystander") == "1000.00"
    named = {posting.account_id for posting in desk.events(ev.Posted) if posting.reason.startswith("deficit")}
    assert named == {"A"}
    assert desk.balance("receivable") == "226.50"
    assert desk.balance("house") == "-226.50"
    assert desk.balance("customer_cash") == "-1000.00"
    assert desk.balance("fees") == "-26.50"
    # What the bank holds once the day's variation is paid: the bystander's money and the fees, to the cent.
    desk.done(c.BusinessDay("2026-06-11"))
    assert desk.balance("clearing_house") == "0.00"
    assert desk.balance("segregated_bank") == "1026.50"


@pytest.mark.rule("US-01", "US-13")
def test_deposits_pay_the_debt_first_and_no_order_is_accepted_until_it_is_gone() -> None:
    desk = gap()
    assert desk.refusal("A", PERP, "1") == "in_debit"
    events = desk.deposit("A", "100")
    assert [(p.debit, p.credit) for p in of(events, ev.Posted)] == [
        ("segregated_bank", "customer_cash"),
        ("customer_cash", "receivable"),
        ("house", "segregated_bank"),
    ]
    assert (desk.owed("A"), desk.cash("A"), desk.balance("house")) == ("126.50", "0.00", "-126.50")
    assert desk.refusal("A", PERP, "1") == "in_debit"
    assert desk.refused(desk.withdraw("A", "1")) == "in_debit"
    desk.deposit("A", "126.499999")
    assert desk.owed("A") == "0.000001"
    assert desk.refusal("A", PERP, "1") == "in_debit"
    desk.deposit("A", "1000.000001")
    assert (desk.owed("A"), desk.cash("A"), desk.balance("house")) == ("0.00", "1000.00", "0.00")
    assert not desk.has("A", Flag.IN_DEBIT)
    assert desk.approved("A", PERP, "1")
    (settled,) = [change for change in desk.events(ev.ReceivableChanged) if change.total == 0]
    assert settled.status == "settled"


@pytest.mark.rule("US-13")
def test_a_debt_ages_by_business_days_and_after_five_only_closing_is_left() -> None:
    desk = gap()
    desk.deposit("bystander", "10000")
    for day in range(1, 6):
        events = desk.done(c.BusinessDay(f"2026-06-{10 + day}"))
        assert [change.business_days for change in of(events, ev.ReceivableChanged)] == [day]
        assert desk.refusal("A", PERP, "1") == "in_debit"
    assert desk.owed("A") == "226.50"  # no interest unless the rulebook says so
    desk.done(c.BusinessDay("2026-06-17"))
    assert desk.refusal("A", PERP, "1") == "debit_overdue"
    assert desk.approved("bystander", PERP, "1")


@pytest.mark.rule("US-13", "US-07")
def test_in_debit_with_a_position_only_orders_that_reduce_pass_and_after_five_days_none() -> None:
    desk = _indebted_holder()
    assert desk.refusal("A", PERP, "1") == "in_debit"
    assert desk.refusal("A", PERP, "-3") == "in_debit"  # would open a short
    reducing = desk.approved("A", PERP, "-1")
    desk.done(c.CancelOrder(reducing))
    for day in range(6):
        desk.done(c.BusinessDay(f"2026-06-{11 + day}"))
    assert desk.refusal("A", PERP, "-1") == "debit_overdue"
    assert desk.refusal("A", PERP, "1") == "debit_overdue"


def _indebted_holder() -> Desk:
    """An account that owes and holds two perpetuals well covered by their profit."""
    desk = gap()
    desk.hold("A", PERP, "2", "10000")
    assert desk.net_liq("A") == "533.50"
    assert desk.close_out("A") is None
    assert (desk.owed("A"), desk.position("A", PERP)) == ("226.50", "2")
    return desk


@pytest.mark.rule("US-13", "US-01")
def test_what_a_customer_in_debit_realises_pays_his_debt_when_he_is_flat() -> None:
    desk = _indebted_holder()
    desk.trade("A", PERP, "-1", "48000")
    assert (desk.owed("A"), desk.cash("A")) == ("226.50", "379.85")
    desk.trade("A", PERP, "-1", "48000")
    assert (desk.owed("A"), desk.cash("A")) == ("0.00", "533.20")


@pytest.mark.rule("US-13", "G-01")
def test_interest_is_charged_where_the_rulebook_says_so_and_rounded_up() -> None:
    desk = gap({"receivable": {"daily_interest": "0.000300003"}})
    desk.done(c.BusinessDay("2026-06-11"))
    assert desk.owed("A") == "226.567951"  # 226.50 x 0.000300003 = 0.0679506795
    assert desk.balance("fees") == "-26.567951"
    desk.done(c.BusinessDay("2026-06-12"))
    assert desk.owed("A") == "226.635923"  # 226.567951 x 0.000300003 = 0.067971065
    desk.deposit("A", "226.635923")
    assert desk.owed("A") == "0.00"


@pytest.mark.rule("US-13")
def test_a_debt_has_statuses_and_is_settled_only_by_money() -> None:
    desk = gap()
    assert desk.refused(c.SetReceivableStatus("bystander", "plan", "ann", "x")) == "no_receivable"
    assert desk.refused(c.SetReceivableStatus("A", "settled", "ann", "x")) == "unknown_status"
    for status in ("plan", "collections"):
        (changed,) = desk.done(c.SetReceivableStatus("A", status, "ann", "as agreed"))
        assert isinstance(changed, ev.ReceivableChanged)
        assert (changed.status, desk.money(changed.total)) == (status, "226.50")


@pytest.mark.rule("US-13")
def test_a_write_off_needs_two_names_and_the_firm_bears_it() -> None:
    desk = gap()
    debt = desk.micros("226.50")
    for by, second in (("ann", ""), ("ann", "ann")):
        assert desk.refused(c.WriteOff("A", debt, by, second, "hardship")) == "needs_second"
    for second in ("", "bob"):
        assert desk.refused(c.WriteOff("A", debt, "", second, "hardship")) == "needs_name"
    assert desk.refused(c.WriteOff("A", debt + 1, "ann", "bob", "hardship")) == "exceeds_receivable"
    assert desk.refused(c.WriteOff("A", 0, "ann", "bob", "hardship")) == "out_of_bounds"
    assert desk.refused(c.WriteOff("bystander", 1, "ann", "bob", "hardship")) == "exceeds_receivable"
    desk.done(c.WriteOff("A", desk.micros("26.50"), "ann", "bob", "hardship"))
    assert (desk.owed("A"), desk.balance("written_off"), desk.balance("receivable")) == ("200.00", "26.50", "200.00")
    events = desk.done(c.WriteOff("A", desk.micros("200"), "ann", "bob", "hardship"))
    assert (desk.owed("A"), desk.balance("written_off"), desk.balance("receivable")) == ("0.00", "226.50", "0.00")
    (changed,) = of(events, ev.ReceivableChanged)
    assert changed.status == "written_off"
    assert not desk.has("A", Flag.IN_DEBIT)
    # The firm covered 226.50 with its own money and did not get it back: it stays in the pool as what was lost.
    desk.done(c.BusinessDay("2026-06-11"))
    assert (desk.balance("segregated_bank"), desk.balance("house")) == ("1026.50", "-226.50")


@pytest.mark.rule("US-13")
def test_below_zero_with_a_position_is_an_exposure_and_no_debt_yet() -> None:
    desk = Desk("kraken-us", ISSUE)
    desk.session("bitnomial")
    desk.marks(PBTCUCZ50="65000")
    desk.account("A", "1500")
    desk.hold("A", PERP, "10", "65000")
    desk.marks(PBTCUCZ50="40000")
    assert desk.net_liq("A") == "-1025.00"  # the fee of an event under way is pending
    assert desk.owed("A") == "0.00"
    first = next(iter(desk.state.order_owner))
    desk.fill_order(first, "40000", "9")
    assert desk.owed("A") == "0.00"
    desk.fill_order(first, "40000", "1")
    assert desk.owed("A") == "1026.50"


@pytest.mark.rule("US-15", "G-10")
def test_fees_are_per_contract_and_side_and_booked_as_taken() -> None:
    desk = Desk("kraken-us", {"contracts": {"TAKER": flat_margin("5", fee_per_contract="0.02", taker_fee="0.0005")}})
    desk.session("bitnomial")
    desk.marks(PBTCUCZ50="65000", TAKER="10.01")
    desk.account("A", "5000")
    desk.trade("A", PERP, "3", "65000")
    assert (desk.cash("A"), desk.balance("fees")) == ("4999.55", "-0.45")
    desk.trade("A", PERP, "-3", "65000")
    assert (desk.cash("A"), desk.balance("fees")) == ("4999.10", "-0.90")
    desk.trade("A", "TAKER", "1", "10.01")
    assert desk.cash("A") == "4999.074995"  # 10.01 x 0.0005 = 0.005005, and 0.02


@pytest.mark.rule("G-10", "US-13")
def test_a_fee_larger_than_the_balance_is_taken_in_full_and_becomes_a_debt() -> None:
    desk = Desk("kraken-us")
    desk.session("bitnomial")
    desk.marks(PBTCUCZ50="65000")
    desk.account("A", "0.10")
    desk.fill("A", PERP, "1", "65000")
    desk.close_at("A", "65000")
    assert desk.cash("A") == "0.00"
    assert desk.owed("A") == "25.20"  # 0.10 - 0.15 - 0.15 - 25
    assert desk.balance("fees") == "-25.30"


@pytest.mark.rule("US-01", "US-13")
def test_money_paid_in_equals_money_owed_whatever_the_parts() -> None:
    desk = gap()
    parts = ["0.000001", "99.999999", "26.25", "100.25"]
    for part in parts:
        desk.deposit("A", part)
    assert (desk.owed("A"), desk.cash("A")) == ("0.00", "0.00")
    assert desk.net_liq("A") == "0.00"
    paid = sum(p.micros for p in desk.events(ev.Posted) if (p.debit, p.credit) == ("customer_cash", "receivable"))
    assert desk.money(paid) == "226.50"
