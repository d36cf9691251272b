"""Where the waterfall meets the rest: events over at once, what nobody takes, money that others claim already."""

from __future__ import annotations

import pytest
from tests.engine.bench import of
from tests.engine.test_waterfall import FUND, VENUE, desk_of, filled, hold, nothing_filled

from closeout.core.margin import Level
from closeout.engine import commands as c
from closeout.engine import events as ev

AT_ONCE = {"method": "flatten_all", "limit": "bankruptcy", "take_over_below": "0.5"}


@pytest.mark.rule("G-11", "G-13", "EX-05")
def test_a_close_out_that_is_over_at_once_leaves_its_receipt() -> None:
    desk = desk_of({"stage": "backstop_vault"}, VENUE, close_out=AT_ONCE)
    hold(desk, "A", "100", "1")
    events = desk.marks(CAR="880")  # 20 below zero: the vault has it before any order goes out
    (ended,) = of(events, ev.CloseOutEnded)
    assert (ended.receipt["deficit"], ended.receipt["transfers"][0]["price"]) == ("20.00", "900")
    assert [(e.stage, e.micros) for e in of(events, ev.DeficitCovered)] == [("backstop_vault", 20_000_000)]
    assert (desk.level("A"), desk.cash("A"), desk.position("A", "CAR")) == (Level.NORMAL, "0.00", "0")


@pytest.mark.rule("G-08", "EX-05")
def test_what_no_stage_takes_goes_to_the_market_without_a_limit() -> None:
    """At the bankruptcy price it would never fill, and the account would have no plan."""
    desk = desk_of({"stage": "backstop_vault", "solvent_only": True}, VENUE, close_out=AT_ONCE)
    hold(desk, "A", "100", "1")
    (order,) = of(desk.marks(CAR="880"), ev.CloseOutOrder)
    assert (order.lots, order.limit_ticks) == (-1, None)
    filled(desk, "A", "880")
    assert (desk.cash("A"), desk.balance("house")) == ("0.00", "20.00")


@pytest.mark.rule("EX-03", "G-13")
def test_a_surplus_leaves_what_funding_claims_already() -> None:
    close_out = {"method": "flatten_all", "limit": "bankruptcy", "surplus": "insurance_fund"}
    desk = desk_of(FUND, VENUE, fund="0", close_out=close_out)
    hold(desk, "A", "100", "1")
    desk.done(c.AccrueFunding("CAR", 10_000_000, None))  # 1 % of 1,000 is due to the other side
    desk.marks(CAR="940")
    events = filled(desk, "A", "930")
    assert (desk.cash("insurance_fund"), desk.cash("A")) == ("20.00", "10.00")
    assert not of(events, ev.DeficitCovered)
    desk.done(c.BookFunding())
    assert (desk.cash("insurance_fund"), desk.cash("A")) == ("20.00", "0.00")


@pytest.mark.rule("EX-03")
def test_what_the_funds_own_positions_lose_beyond_it_is_the_venues_loss() -> None:
    desk = desk_of({"stage": "insurance_fund_takes"}, FUND, VENUE, fund="30")
    hold(desk, "A", "100", "1")
    hold(desk, "B", "100", "1")
    desk.marks(CAR="945")
    nothing_filled(desk, "A")  # the fund holds it at 900
    desk.done(c.Settle("CAR", desk.ticks("CAR", "860")))  # and loses 40
    assert (desk.cash("insurance_fund"), desk.balance("house")) == ("0.00", "10.00")
    desk.marks(CAR="860")
    nothing_filled(desk, "B")
    assert desk.cash("insurance_fund") == "0.00"
