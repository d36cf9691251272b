"""Where the waterfall meets the rest: events over at once, what nobody takes, money that others claim already."""

from __future__ import annotations

import pytest
from tests.engine.bench import Desk, of
from tests.engine.test_waterfall import ADL, BANKRUPT, CAR, FUND, VENUE, desk_of, filled, hold, nothing_filled

from closeout.core.margin import Level
from closeout.engine import closeout
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


SURPLUS = {"method": "flatten_all", "limit": "bankruptcy", "surplus": "insurance_fund"}


@pytest.mark.rule("EX-03", "G-10")
def test_a_deposit_that_comes_too_late_is_no_surplus() -> None:
    """The fund gets what the order brought beyond its limit, and not what was paid in meanwhile."""
    desk = desk_of(VENUE, fund="0", close_out=SURPLUS)
    hold(desk, "A", "100", "1")
    desk.marks(CAR="940")
    desk.deposit("A", "5000")
    filled(desk, "A", "930")
    assert (desk.cash("A"), desk.cash("insurance_fund")) == ("5000.00", "30.00")


@pytest.mark.rule("EX-03")
def test_in_the_lowest_tier_dropping_a_tier_is_a_takeover() -> None:
    desk = desk_of(VENUE, fund="0", close_out={**SURPLUS, "method": "lower_tier"})
    hold(desk, "A", "100", "1")
    desk.marks(CAR="940")
    filled(desk, "A", "930")
    assert (desk.cash("A"), desk.cash("insurance_fund")) == ("0.00", "30.00")


@pytest.mark.rule("EX-03", "US-20")
def test_what_the_desk_has_closed_leaves_no_surplus() -> None:
    desk = desk_of(VENUE, fund="0", close_out=SURPLUS)
    hold(desk, "A", "100", "1")
    desk.marks(CAR="990")
    desk.desk("A", "liquidate")
    filled(desk, "A", "990")
    assert (desk.cash("A"), desk.cash("insurance_fund")) == ("90.00", "0.00")


@pytest.mark.rule("EX-04", "G-18", "G-06")
def test_nobody_pays_for_a_leg_without_a_mark() -> None:
    """Its loss is a bounded guess: the waterfall waits until it is known, and the other leg goes to the market."""
    desk = Desk("reference", {
        "contracts": {"CAR": CAR, "BUS": CAR}, "close_out": BANKRUPT, "waterfall": [ADL, VENUE],
    })  # fmt: skip
    desk.marks(CAR="1000")
    hold(desk, "W", "500", "-1")
    desk.account("A")
    for name in ("CAR", "BUS"):
        desk.done(c.TransferPosition("A", name, 1, desk.facts(name).value(100_000, 1), last=False))
    desk.deposit("A", "400")
    desk.marks(CAR="950")
    events = nothing_filled(desk, "A")
    assert of(events, ev.Deleveraged) == []
    assert [(order.contract, order.limit_ticks) for order in of(events, ev.CloseOutOrder)] == [("CAR", None)]


@pytest.mark.rule("EX-03")
def test_the_fund_pays_only_what_its_positions_have_not_lost() -> None:
    desk = desk_of({"stage": "insurance_fund_takes"}, FUND, VENUE, fund="100")
    hold(desk, "A", "100", "1")
    hold(desk, "B", "300", "1", contract="BUS")
    desk.marks(CAR="940")
    nothing_filled(desk, "A")  # the fund holds 1 at 900
    desk.marks(CAR="830", BUS="730")
    assert desk.net_liq("insurance_fund") == "30.00"
    (order,) = of(desk.log, ev.CloseOutOrder)[-1:]
    desk.fill_order(order.order_id, "650")
    assert {e.stage: e.micros for e in of(desk.log, ev.DeficitCovered) if e.account_id == "B"} == {
        "insurance_fund": 30_000_000,
        "venue_bears": 20_000_000,
    }


@pytest.mark.rule("EX-05")
def test_an_accounts_other_cash_does_not_share_its_own_isolated_loss() -> None:
    desk = desk_of({"stage": "socialised_loss", "among": "balances"}, VENUE)
    desk.account("P", "500")
    desk.account("P/CAR", parent="P")
    desk.done(c.TransferPosition("P/CAR", "CAR", 1, desk.facts("CAR").value(100_000, 1), last=False))
    desk.deposit("P/CAR", "100")
    desk.account("W", "500")
    desk.marks(CAR="850")
    nothing_filled(desk, "P/CAR")
    filled(desk, "P/CAR", "850")
    assert (desk.cash("P"), desk.cash("W")) == ("500.00", "450.00")


@pytest.mark.rule("EX-04")
def test_each_position_draws_its_own_lots() -> None:
    """Eight positions of one batch do not all fall on the same winner."""
    desk = desk_of({"stage": "auto_deleveraging", "ranking": "random"}, VENUE)
    for number in range(8):
        hold(desk, f"W{number}", "5000", "-8")
        hold(desk, f"L{number}", "100", "1")
    desk.marks(CAR="890")
    for number in range(8):
        nothing_filled(desk, f"L{number}")
    assert len({event.account_id for event in desk.events(ev.Deleveraged)}) > 2


@pytest.mark.rule("EX-03")
def test_the_fund_takes_nothing_that_would_net_it_below_zero() -> None:
    """It holds 1 at 900 and has 10: a short at 850 would cost it 50 at once."""
    desk = desk_of({"stage": "insurance_fund_takes"}, VENUE, fund="10")
    hold(desk, "A", "100", "1")
    desk.marks(CAR="940")
    nothing_filled(desk, "A")
    desk.marks(CAR="800")
    hold(desk, "B", "50", "-1", "800")
    desk.marks(CAR="845")
    (order,) = of(nothing_filled(desk, "B"), ev.CloseOutOrder)
    assert (order.lots, order.limit_ticks) == (1, None)
    assert (desk.position("insurance_fund", "CAR"), desk.cash("insurance_fund")) == ("1", "10.00")


@pytest.mark.rule("EX-05", "G-02")
def test_an_unwind_extinguishes_contracts_on_both_sides() -> None:
    """What a clearing house calls extinguishing contracts in part: nobody trades, nobody new holds anything, the open
    interest falls by what is gone, everybody on the other side loses his part of it and is told, and what is left over
    for want of another side has a name. Extinguished whole, a contract expires."""
    desk = desk_of({"stage": "unwind"}, VENUE, close_out={**AT_ONCE, "take_over_below": "1.00"})
    for name, quantity in (("B", "2"), ("S", "-1"), ("M", "-2")):
        hold(desk, name, "5000", quantity)
    hold(desk, "A", "300", "4")
    events = desk.marks(CAR="920")
    got = {event.account_id: (event.lots, event.price) for event in of(events, ev.Deleveraged)}
    assert got == {"M": (2, "925"), "S": (1, "925")}
    assert [n.account_id for n in of(events, ev.Notice) if n.kind == "auto_deleveraging"] == ["M", "S"]
    held = {name: desk.position(name, "CAR") for name in ("A", "B", "S", "M")}
    assert held == {"A": "1", "B": "2", "S": "0", "M": "0"}
    assert desk.state.book.house == {desk.state.book.row["suspense"]}
    (order,) = of(events, ev.CloseOutOrder)  # the fourth contract has nobody on its other side: the market gets it
    assert (order.lots, order.limit_ticks) == (-1, None)
    events = filled(desk, "A", "900")
    assert {event.stage: event.micros for event in of(events, ev.DeficitCovered)} == {"venue_bears": 25_000_000}
    desk.done(c.Expire("CAR", desk.ticks("CAR", "900")))
    assert (desk.position("B", "CAR"), desk.cash("B")) == ("0", "4800.00")


@pytest.mark.rule("EX-02", "US-16", "G-09")
def test_withdrawals_wait_for_whoever_is_below_zero_and_a_while_after() -> None:
    desk = desk_of({"stage": "unwind"}, VENUE, close_out=AT_ONCE, withdrawals={"gated_seconds": 55})
    desk.account("W", "1000")
    hold(desk, "A", "100", "1")
    desk.done(desk.withdraw("W", "1"))
    desk.marks(CAR="880")  # below zero, with nobody on the other side: the market is to take it
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"
    desk.wait(100)
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"  # still below zero
    filled(desk, "A", "880")  # until now it was below zero, without a mark since
    desk.wait(54)
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"
    desk.wait(1)
    desk.done(desk.withdraw("W", "1"))
    assert desk.cash("W") == "998.00"


@pytest.mark.rule("EX-02", "US-16", "G-18")
def test_a_position_without_a_mark_holds_back_nobody_elses_money() -> None:
    cars = {"CAR": CAR, "BUS": CAR, "VAN": CAR}
    desk = desk_of({"stage": "unwind"}, VENUE, close_out=AT_ONCE, withdrawals={"gated_seconds": 55}, contracts=cars)
    desk.account("W", "1000")
    hold(desk, "A", "100", "1", contract="VAN")
    assert desk.state.risk(desk.state.row("A")).net_liq < 0  # the bounded worst
    desk.wait(1)
    desk.done(desk.withdraw("W", "1"))
    desk.marks(VAN="880")  # now it is known
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"


@pytest.mark.rule("EX-02", "US-16", "G-18")
def test_a_position_without_a_mark_opens_the_gate_for_nobody() -> None:
    cars = {"CAR": CAR, "BUS": CAR, "VAN": CAR}
    desk = desk_of({"stage": "unwind"}, VENUE, close_out=AT_ONCE, withdrawals={"gated_seconds": 0}, contracts=cars)
    desk.account("W", "1000")
    hold(desk, "A", "100", "1")
    desk.done(c.TransferPosition("A", "VAN", desk.lots("VAN", "1"), desk.facts("VAN").value(100_000, 1)))
    desk.marks(CAR="900")  # nothing is left, and what has no mark counts neither way
    desk.done(desk.withdraw("W", "1"))
    desk.marks(CAR="899")
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"
    desk.deposit("A", "1")
    desk.done(desk.withdraw("W", "1"))


@pytest.mark.rule("EX-02", "US-16", "G-09", "G-14")
def test_the_gate_follows_money_that_moves_without_a_verdict() -> None:
    """Nobody judges an account whose order is out when funding accrues, nor one of which more is brought in."""
    desk = desk_of({"stage": "unwind"}, VENUE, close_out=AT_ONCE, withdrawals={"gated_seconds": 55})
    desk.account("W", "1000")
    hold(desk, "A", "100", "1")
    desk.marks(CAR="901")
    row = desk.state.row("A")
    desk.done(desk.withdraw("W", "1"))
    desk.done(c.AccrueFunding("CAR", 10_000_000, None))  # 9.01 is due, 1 was left
    assert desk.state.below_zero == {row}
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"
    assert desk.state.below_zero == {row}
    desk.done(c.AccrueFunding("CAR", -20_000_000, None))
    assert (desk.state.below_zero, desk.state.below_zero_at) == (set(), desk.state.time)
    desk.wait(55)
    part = c.TransferPosition("A", "BUS", desk.lots("BUS", "1"), desk.facts("BUS").value(110_000, 1), last=False)
    desk.done(part)  # 100 lost at the mark
    assert desk.state.below_zero == {row}
    desk.deposit("A", "200")
    assert desk.state.below_zero == set()
    desk.wait(54)
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"
    desk.wait(1)
    desk.done(desk.withdraw("W", "1"))


@pytest.mark.rule("EX-02", "EX-06", "US-16", "US-24")
def test_the_gate_follows_a_settlement_and_funding_that_a_parent_pays() -> None:
    tables = {"contracts": {"CAR": CAR, "BUS": CAR, "VAN": CAR}, "withdrawals": {"gated_seconds": 0}}
    days = {"time_zone": "UTC", "interval_hours": 8, "interest": "0", "cap": "0.02"}
    funding = {"contracts": ["CAR"], "paid_from": "balance", **days}
    desk = desk_of({"stage": "unwind"}, VENUE, close_out=AT_ONCE, funding=funding, **tables)
    desk.account("P", "1000")
    desk.account("A", parent="P")
    facts = desk.facts("CAR")
    desk.done(c.TransferPosition("A", "CAR", desk.lots("CAR", "1"), facts.value(100_000, 1), last=False))
    desk.deposit("A", "100")
    desk.marks(CAR="901")
    assert desk.state.book.close_outs[desk.state.row("A")].outstanding
    desk.done(c.AccrueFunding("CAR", 10_000_000, None))
    assert desk.refused(desk.withdraw("P", "1")) == "withdrawals_gated"
    desk.done(c.BookFunding())
    assert desk.net_liq("A") == "1.00"
    desk.done(desk.withdraw("P", "1"))
    desk.done(c.TransferPosition("A", "VAN", desk.lots("VAN", "1"), facts.value(100_000, 1)))
    desk.done(desk.withdraw("P", "1"))
    desk.done(c.Settle("VAN", desk.ticks("VAN", "990")))  # what was a guess is money now
    assert desk.refused(desk.withdraw("P", "1")) == "withdrawals_gated"


@pytest.mark.rule("EX-04")
def test_a_winner_who_has_nothing_is_taken_where_the_price_brings_him_something() -> None:
    desk = desk_of({**ADL, "price": "bankruptcy"}, FUND, VENUE, fund="0", close_out=AT_ONCE)
    hold(desk, "A", "100", "1")
    hold(desk, "B", "200", "-1")
    desk.done(c.TransferPosition("B", "BUS", desk.lots("BUS", "1"), desk.facts("BUS").value(100_000, 1), last=False))
    events = desk.marks(CAR="920", BUS="720")  # A is left 20, B nothing
    assert [(event.account_id, event.price, event.taken) for event in of(events, ev.Deleveraged)] == [
        ("B", "900", -20_000_000)
    ]
    assert desk.net_liq("B") == "20.00"


@pytest.mark.rule("EX-02", "US-16", "US-20")
def test_whoever_the_desk_holds_below_zero_closes_the_gate_too() -> None:
    desk = desk_of({"stage": "unwind"}, VENUE, close_out=AT_ONCE, withdrawals={"gated_seconds": 0})
    desk.account("W", "1000")
    hold(desk, "A", "100", "1")
    desk.desk("A", "hold", "bob")
    desk.marks(CAR="880")
    assert desk.refused(desk.withdraw("W", "1")) == "withdrawals_gated"
    desk.marks(CAR="950")  # above zero again: nothing is waited for
    desk.done(desk.withdraw("W", "1"))


@pytest.mark.rule("EX-02", "US-10")
@pytest.mark.parametrize(
    ("cash", "rate", "fee"),
    [("30", 19_000_000, "19.00"), ("45", 33_250_000, "33.25"), ("49", 35_000_000, "35.00"), ("9", 0, "0.00")],
)
def test_a_fee_that_falls_as_the_shortage_grows(cash: str, rate: int, fee: str) -> None:
    """Of 50 required for 1,000 a trade costs 10, and some is missing already: 95 % of the rest, at most 3.5 % of the
    value, is the fee."""
    tiers = [{"maintenance_margin_rate": "0.05"}]
    given = {"rate": "0.035", "of_rest": "0.95", "payee": "insurance_fund", "capped": True}
    car = {**CAR, "taker_fee": "0.01", "tiers": tiers}
    desk = desk_of(FUND, VENUE, fund="0", liquidation_fee=given, contracts={"CAR": car, "BUS": CAR})
    hold(desk, "A", cash, "1")
    desk.marks(CAR="1000")
    (held,) = desk.state.holdings(desk.state.row("A"))
    assert closeout.fee_rate(desk.state, desk.state.row("A"), held) == rate
    filled(desk, "A", "1000")
    assert desk.cash("insurance_fund") == fee


@pytest.mark.rule("EX-05", "G-02")
def test_providers_take_a_share_of_their_equity_in_each_window() -> None:
    """Of 3,000 a half within five minutes, and never more than the whole: each position is worth 880 when it comes."""
    providers = {
        "stage": "liquidity_providers", "equity": "3000", "capacity_of_equity": "1", "share_of_equity": "0.5",
        "within_seconds": 300,
    }  # fmt: skip
    desk = desk_of(providers, VENUE, close_out=AT_ONCE)
    for number, (seconds, taken) in enumerate([(0, "1"), (299, "1"), (1, "2"), (299, "2"), (1, "3"), (300, "3")]):
        desk.wait(seconds)
        desk.marks(CAR="1000")
        hold(desk, f"A{number}", "100", "1")
        desk.marks(CAR="880")
        assert desk.position("liquidity_providers", "CAR") == taken
    assert desk.cash("liquidity_providers") == "3000.00"  # what they hold was bought at 900 each
