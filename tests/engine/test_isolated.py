"""An isolated position is an account of its own: what is left goes home, what is missing is asked for at home
(G-10, G-19, US-13)."""

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
        "CAR": flat_margin("50", session="cme_equity"),
        "BUS": flat_margin("50", session="cme_equity"),
    },
    "close_out": {"method": "flatten_all"},
}


def isolated(parent_cash: str, margin: str = "200", rules: dict[str, Any] | None = None) -> Desk:
    """A parent with cash, and under it an isolated account with margin and two contracts bought at 1,000."""
    desk = Desk("kraken-us", BOOK | (rules or {}))
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="1000")
    desk.account("P")
    desk.account("P/CAR", parent="P")
    # Position first: an isolated account that is flat keeps no money.
    desk.done(c.TransferPosition("P/CAR", "CAR", 2, desk.facts("CAR").value(100_000, 2), last=False))
    desk.deposit("P/CAR", margin)
    if parent_cash != "0":
        desk.deposit("P", parent_cash)
    return desk


@pytest.mark.rule("G-10", "US-01")
def test_what_is_left_of_isolated_margin_goes_home() -> None:
    desk = isolated("100")
    desk.trade("P/CAR", "CAR", "-2", "1010")
    assert (desk.cash("P/CAR"), desk.cash("P")) == ("0.00", "320.00")
    moves = [
        (p.account_id, p.debit, p.credit) for p in desk.events(ev.Posted) if p.reason == "isolated margin returned"
    ]
    assert moves == [("P", "transfer", "customer_cash"), ("P/CAR", "customer_cash", "transfer")]


@pytest.mark.rule("US-01", "G-04")
def test_isolated_margin_does_not_support_the_rest_nor_the_rest_it() -> None:
    desk = isolated("10000", "100")
    assert desk.net_liq("P") == "10000.00"
    events = desk.marks(CAR="990")  # 80 left for 100 / 1.2
    assert [order.account_id for order in of(events, ev.CloseOutOrder)] == ["P/CAR"]
    assert desk.level("P") is Level.NORMAL


@pytest.mark.rule("US-13", "G-10", "G-11")
def test_an_isolated_deficit_is_paid_from_the_other_cash_as_far_as_it_goes() -> None:
    desk = isolated("100")
    desk.marks(CAR="850")
    desk.close_at("P/CAR", "850")  # 200 - 300 - 25
    assert (desk.cash("P/CAR"), desk.cash("P")) == ("0.00", "0.00")
    assert (desk.owed("P/CAR"), desk.owed("P")) == ("0.00", "25.00")
    assert desk.has("P", Flag.IN_DEBIT)
    (ended,) = desk.events(ev.CloseOutEnded)
    assert (ended.receipt["deficit"], ended.receipt["owed"]) == ("125.00", "25.00")
    assert ended.receipt["borne_by"] == [
        {"party": "customer, as a debt", "amount": "25.00"},
        {"party": "customer, from other cash", "amount": "100.00"},
    ]
    (booked,) = desk.events(ev.DeficitBooked)
    assert (booked.account_id, desk.money(booked.total)) == ("P", "25.00")
    assert desk.refusal("P", "CAR", "1") == "in_debit"


@pytest.mark.rule("US-13", "G-10")
def test_other_cash_that_covers_the_deficit_leaves_no_debt() -> None:
    desk = isolated("125")
    desk.marks(CAR="850")
    desk.close_at("P/CAR", "850")
    assert (desk.cash("P"), desk.owed("P"), desk.balance("house")) == ("0.00", "0.00", "0.00")
    assert desk.events(ev.DeficitBooked) == []


@pytest.mark.rule("G-13", "G-19")
def test_the_parent_is_judged_with_what_its_isolated_account_took() -> None:
    desk = isolated("200")
    desk.hold("P", "BUS", "2", "1000")
    assert desk.level("P") is Level.NORMAL
    desk.marks(CAR="850")
    events = desk.close_at("P/CAR", "850")  # 125 of the parent's 200 go: 75 is below 100 / 1.2
    assert desk.level("P") is Level.LIQUIDATING
    assert [order.account_id for order in of(events, ev.CloseOutOrder)] == ["P"]


@pytest.mark.rule("US-14", "G-10")
def test_funding_that_is_due_stays_with_an_isolated_position_until_it_is_booked() -> None:
    desk = isolated("100")
    desk.done(c.AccrueFunding("CAR", 10**7))  # 20 dollars
    desk.trade("P/CAR", "CAR", "-2", "1000")
    assert (desk.cash("P/CAR"), desk.accrued("P/CAR"), desk.cash("P")) == ("20.00", "-20.00", "280.00")
    desk.done(c.BookFunding())
    assert (desk.cash("P/CAR"), desk.cash("P"), desk.owed("P")) == ("0.00", "280.00", "0.00")


@pytest.mark.rule("G-13", "G-19", "US-24")
def test_expiry_of_the_isolated_contract_judges_the_parent_in_the_same_input() -> None:
    desk = isolated("200")
    desk.hold("P", "BUS", "2", "1000")
    events = desk.done(c.Expire("CAR", desk.ticks("CAR", "850")))  # 100 of the parent's 200 go
    assert desk.close_out("P") is None
    assert [(change.account_id, change.after) for change in of(events, ev.LevelChanged)] == [("P", "alert")]
    desk = isolated("200")
    desk.hold("P", "BUS", "2", "1000")
    events = desk.done(c.Expire("CAR", desk.ticks("CAR", "841")))
    assert [order.account_id for order in of(events, ev.CloseOutOrder)] == ["P"]


@pytest.mark.rule("EX-06", "G-02")
@pytest.mark.parametrize(
    ("free", "paid_from", "parent", "child"),
    [
        ("100", "position_margin", "100.00", "180.00"),
        ("100", "balance", "80.00", "200.00"),
        ("5", "balance", "0.00", "185.00"),  # as far as it goes
        ("0", "balance", "0.00", "180.00"),
    ],
)
def test_funding_of_an_isolated_position_is_paid_where_the_rulebook_says(
    free: str, paid_from: str, parent: str, child: str
) -> None:
    desk = isolated(free, rules={"funding": {"contracts": ["CAR"], "paid_from": paid_from}})
    desk.done(c.AccrueFunding("CAR", 10**7))  # 1 % of 2,000
    desk.done(c.BookFunding())
    assert (desk.cash("P"), desk.cash("P/CAR")) == (parent, child)
    desk.done(c.AccrueFunding("CAR", -(10**7)))
    desk.done(c.BookFunding())
    assert desk.cash("P") == parent  # what is received stays with the position
