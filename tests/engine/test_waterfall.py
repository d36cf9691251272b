"""Every stage of the deficit waterfall, with its money followed to the micro (EX-03 to EX-05, G-02, G-08)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from tests.engine.bench import Desk, of

from closeout.core.margin import Level
from closeout.engine import commands as c
from closeout.engine import events as ev

DOCS = Path(__file__).resolve().parents[2] / "docs"
TIER = {"notional_from": "0", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}
CAR = {"tick": "0.01", "lot": "1", "tiers": [TIER]}
BANKRUPT = {"method": "flatten_all", "limit": "bankruptcy"}


def desk_of(*stages: dict[str, Any], fund: str | None = None, **tables: Any) -> Desk:
    """A linear contract at 1,000, and a rulebook with these stages."""
    more = {} if fund is None else {"insurance_fund": {"initial": fund}}
    overrides = {
        "contracts": {"CAR": CAR, "BUS": CAR},
        "close_out": BANKRUPT,
        "waterfall": list(stages),
        **more,
        **tables,
    }
    desk = Desk("reference", overrides)
    desk.marks(CAR="1000", BUS="1000")
    return desk


def hold(desk: Desk, account_id: str, cash: str, quantity: str, price: str = "1000", contract: str = "CAR") -> None:
    """An account that opens with cash and a position."""
    desk.account(account_id)
    facts = desk.facts(contract)
    lots = desk.lots(contract, quantity)
    cost = facts.value(desk.ticks(contract, price), lots)
    desk.done(c.TransferPosition(account_id, contract, lots, cost, last=False))
    desk.deposit(account_id, cash)


def nothing_filled(desk: Desk, account_id: str) -> list[ev.AnyEvent]:
    """The close-out order found no price within its limit."""
    (order_id,) = desk.state.book.close_outs[desk.state.book.row[account_id]].outstanding
    return desk.done(c.OrderDone(order_id, "immediate or cancel"))


def filled(desk: Desk, account_id: str, price: str) -> list[ev.AnyEvent]:
    """The close-out order that is out fills whole."""
    (order_id,) = desk.state.book.close_outs[desk.state.book.row[account_id]].outstanding
    return desk.fill_order(order_id, price)


def takers(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"stage": name, **more} for name in names]


VENUE = {"stage": "venue_bears"}
FUND = {"stage": "insurance_fund"}
ADL = {"stage": "auto_deleveraging", "ranking": "leveraged_return"}


@pytest.mark.rule("EX-02", "G-07")
def test_the_limit_is_the_bankruptcy_price_and_the_order_is_immediate_or_cancel() -> None:
    desk = desk_of(VENUE)
    hold(desk, "A", "100", "1")
    (order,) = of(desk.marks(CAR="940"), ev.CloseOutOrder)
    assert desk.facts("CAR").price_text(order.limit_ticks or 0) == "900.00"


@pytest.mark.rule("EX-03", "G-10")
def test_the_fund_pays_what_it_has_and_the_venue_the_rest() -> None:
    desk = desk_of(FUND, VENUE, fund="30")
    hold(desk, "A", "100", "1")
    desk.marks(CAR="850")
    events = nothing_filled(desk, "A")  # no stage takes the position: it goes to the market without a limit
    (order,) = of(events, ev.CloseOutOrder)
    assert order.limit_ticks is None
    events = filled(desk, "A", "850")
    covered = {event.stage: event.micros for event in of(events, ev.DeficitCovered)}
    assert covered == {"insurance_fund": 30_000_000, "venue_bears": 20_000_000}
    (ended,) = of(events, ev.CloseOutEnded)
    assert (ended.receipt["deficit"], ended.receipt["owed"]) == ("50.00", "0.00")
    assert [part["party"] for part in ended.receipt["borne_by"]] == ["insurance_fund", "venue_bears"]
    assert (desk.cash("insurance_fund"), desk.cash("A"), desk.balance("house")) == ("0.00", "0.00", "20.00")


@pytest.mark.rule("EX-05", "G-02")
@pytest.mark.parametrize("stage", ["liquidity_providers", "insurance_fund_takes", "backstop_vault"])
def test_a_taker_gets_the_position_at_the_bankruptcy_price(stage: str) -> None:
    desk = desk_of(*takers(stage), VENUE, fund="1000")
    hold(desk, "A", "100", "2")
    desk.marks(CAR="940")
    events = nothing_filled(desk, "A")
    (ended,) = of(events, ev.CloseOutEnded)
    assert ended.receipt["transfers"][0]["price"] == "950"
    assert (desk.cash("A"), ended.receipt["deficit"]) == ("0.00", "20.00")
    taker = "insurance_fund" if stage == "insurance_fund_takes" else stage
    assert desk.position(taker, "CAR") == "2"
    assert desk.net_liq(taker) == ("980.00" if taker == "insurance_fund" else "-20.00")


@pytest.mark.rule("EX-03", "EX-05")
def test_what_a_taker_has_no_room_for_is_the_next_stages() -> None:
    desk = desk_of({"stage": "liquidity_providers", "capacity": "1900"}, *takers("backstop_vault"), VENUE)
    hold(desk, "A", "150", "3")
    desk.marks(CAR="940")
    nothing_filled(desk, "A")
    assert (desk.position("liquidity_providers", "CAR"), desk.position("backstop_vault", "CAR")) == ("2", "1")
    assert desk.cash("A") == "0.00"


@pytest.mark.rule("EX-05", "G-08")
def test_a_vault_that_takes_only_what_is_above_zero_leaves_the_rest_to_the_market() -> None:
    close_out = {"method": "flatten_all", "limit": "any_price", "take_over_below": "0.5"}
    desk = desk_of({"stage": "backstop_vault", "solvent_only": True}, VENUE, close_out=close_out)
    hold(desk, "A", "100", "1")
    events = desk.marks(CAR="915")  # 15 left of 45.75 required: under half
    assert not of(events, ev.CloseOutOrder)
    assert (desk.position("backstop_vault", "CAR"), desk.cash("A")) == ("1", "0.00")
    assert desk.net_liq("backstop_vault") == "15.00"
    hold(desk, "B", "200", "1")
    events = desk.marks(CAR="790")  # 10 below zero: the vault does not take it
    (order,) = of(events, ev.CloseOutOrder)
    assert (order.account_id, order.limit_ticks) == ("B", 1)


@pytest.mark.rule("EX-04", "G-02")
def test_deleveraging_takes_from_the_first_in_rank_what_it_covers() -> None:
    desk = desk_of(ADL, VENUE)
    hold(desk, "A", "100", "2")
    hold(desk, "W-low", "1000", "-1", "1000")
    hold(desk, "W-high", "120", "-1", "1000")
    hold(desk, "W-last", "9000", "-1", "1000")
    desk.marks(CAR="940")
    events = nothing_filled(desk, "A")
    taken = {event.account_id: (event.price, event.taken) for event in of(events, ev.Deleveraged)}
    assert taken == {"W-high": ("950", 10_000_000), "W-low": ("950", 10_000_000)}
    assert (desk.cash("A"), desk.cash("W-high"), desk.cash("W-low")) == ("0.00", "170.00", "1050.00")
    assert sum(event.taken for event in of(events, ev.Deleveraged)) == 20_000_000
    assert [n.account_id for n in of(events, ev.Notice) if n.kind == "auto_deleveraging"] == ["W-high", "W-low"]
    assert desk.position("W-last", "CAR") == "-1"


@pytest.mark.rule("EX-04")
def test_equal_ranks_go_by_account_id_and_flat_or_losing_sides_are_passed_over() -> None:
    desk = desk_of(ADL, VENUE)
    hold(desk, "A", "100", "1")
    for name in ("Z", "Y", "X"):
        hold(desk, name, "500", "-1", "1000")
    hold(desk, "L", "500", "1", "1000")
    desk.marks(CAR="890")
    events = nothing_filled(desk, "A")
    assert [event.account_id for event in of(events, ev.Deleveraged)] == ["X"]
    assert desk.position("L", "CAR") == "1"


@pytest.mark.rule("EX-04", "G-13")
def test_what_deleveraging_does_to_a_winner_is_in_its_next_verdict() -> None:
    """A winner whose other position stood on its profit is closed out in the same input."""
    desk = desk_of(ADL, VENUE)
    hold(desk, "A", "510", "10")
    hold(desk, "W", "600", "-10")
    desk.marks(CAR="850")
    facts, lots = desk.facts("BUS"), desk.lots("BUS", "25")
    desk.done(c.TransferPosition("W", "BUS", lots, facts.value(desk.ticks("BUS", "1000"), lots)))
    assert (desk.net_liq("W"), desk.requirement("W"), desk.level("W")) == ("2100.00", "1675.00", Level.NORMAL)
    events = nothing_filled(desk, "A")
    assert [event.taken for event in of(events, ev.Deleveraged)] == [990_000_000]
    assert (desk.position("W", "CAR"), desk.net_liq("W")) == ("0", "1110.00")
    assert [order.account_id for order in of(events, ev.CloseOutOrder)] == ["W"]


@pytest.mark.rule("EX-05", "G-02")
def test_an_unwind_takes_from_all_in_proportion() -> None:
    desk = desk_of({"stage": "unwind"}, VENUE)
    hold(desk, "A", "100", "4")
    for name, quantity in (("S", "-1"), ("M", "-3"), ("L", "-5")):
        hold(desk, name, "5000", quantity)
    desk.marks(CAR="970")
    events = nothing_filled(desk, "A")
    got = {event.account_id: event.lots for event in of(events, ev.Deleveraged)}
    assert got == {"L": 2, "M": 1, "S": 1}  # 20/9, 12/9 and 4/9: the lot left over goes to the largest remainder
    assert sum(event.taken for event in of(events, ev.Deleveraged)) == 20_000_000


@pytest.mark.rule("EX-05", "G-02")
@pytest.mark.parametrize(
    ("among", "paid"),
    [
        ("days_winners", {"W": 40_000_000, "V": 10_000_000}),  # 600 and 150 won
        ("positions", {"F": 8_333_334, "V": 8_333_333, "W": 33_333_333}),  # 850, 850 and 3,400 held
        ("balances", {"F": 10_144_927, "V": 16_666_667, "W": 23_188_406}),
    ],
)
def test_a_socialised_loss_is_shared_in_proportion(among: str, paid: dict[str, int]) -> None:
    desk = desk_of({"stage": "socialised_loss", "among": among}, VENUE)
    hold(desk, "A", "100", "1")
    hold(desk, "W", "1000", "-4", "1000")
    hold(desk, "V", "1000", "-1", "1000")
    hold(desk, "F", "700", "1", "850", contract="BUS")
    desk.marks(CAR="850", BUS="850")
    nothing_filled(desk, "A")
    events = filled(desk, "A", "850")
    shares = {event.account_id: event.micros for event in of(events, ev.Socialised)}
    assert sum(shares.values()) == 50_000_000
    assert shares == paid
    assert desk.cash("A") == "0.00"
    assert {e.stage: e.micros for e in of(events, ev.DeficitCovered)} == {"socialised_loss": 50_000_000}


@pytest.mark.rule("EX-04", "EX-05")
def test_at_the_mark_the_account_keeps_its_deficit_for_the_next_stage() -> None:
    desk = desk_of({**ADL, "price": "mark"}, FUND, VENUE, fund="1000")
    hold(desk, "A", "100", "1")
    hold(desk, "W", "500", "-1", "1000")
    desk.marks(CAR="850")
    events = nothing_filled(desk, "A")
    assert [(event.price, event.taken) for event in of(events, ev.Deleveraged)] == [("850", 0)]
    assert desk.cash("insurance_fund") == "950.00"


@pytest.mark.rule("EX-04")
def test_at_the_previous_mark_a_winner_pays_the_last_move() -> None:
    close_out = {"method": "flatten_all", "limit": "any_price", "take_over_below": "0"}
    desk = desk_of({**ADL, "price": "previous_mark"}, VENUE, close_out=close_out)
    hold(desk, "A", "100", "1")
    hold(desk, "W", "500", "-1", "1000")
    desk.marks(CAR="960")
    events = desk.marks(CAR="850")
    assert [(event.price, event.taken) for event in of(events, ev.Deleveraged)] == [("960", 110_000_000)]
    assert (desk.cash("A"), desk.cash("W")) == ("60.00", "540.00")


DOWN = {**ADL, "price": "drawdown", "drawdown": "0.30", "drawdown_hours": 8}


@pytest.mark.rule("EX-02", "EX-03", "EX-04")
@pytest.mark.parametrize(
    ("mark", "taken", "fund"),
    [
        ("870.01", None, "700.10"),  # 299.90 below zero would leave the fund 29.99 % down: it takes the position itself
        ("870", 0, "700.00"),  # exactly 30 %: the winners' turn, at the mark
        ("865", 50_000_000, "700.00"),
        ("800", 700_000_000, "700.00"),
    ],
)
def test_winners_bear_what_would_take_the_fund_below_its_drawdown(mark: str, taken: int | None, fund: str) -> None:
    desk = desk_of(DOWN, *takers("insurance_fund_takes"), FUND, VENUE, fund="1000")
    hold(desk, "W", "5000", "-10")
    hold(desk, "A", "1000", "10")
    desk.marks(CAR=mark)
    events = nothing_filled(desk, "A")
    assert [event.taken for event in of(events, ev.Deleveraged)] == ([] if taken is None else [taken])
    assert desk.position("insurance_fund", "CAR") == ("10" if taken is None else "0")
    assert (desk.cash("A"), desk.net_liq("insurance_fund")) == ("0.00", fund)


@pytest.mark.rule("EX-03", "EX-04", "G-03")
@pytest.mark.parametrize(
    ("mark", "taken", "fund"),
    [
        ("900.01", [], "700.20"),  # 299.80 below zero, half of it by each contract
        ("895", [50_000_000, 50_000_000], "700.00"),  # either alone is 200: what the fund may lose is asked once
    ],
)
def test_a_drawdown_counts_what_all_positions_of_an_account_are_below_zero(
    mark: str, taken: list[int], fund: str
) -> None:
    desk = desk_of(DOWN, *takers("insurance_fund_takes"), FUND, VENUE, fund="1000")
    hold(desk, "W", "5000", "-10")
    hold(desk, "X", "5000", "-10", contract="BUS")
    hold(desk, "A", "1700", "10")
    desk.done(c.TransferPosition("A", "BUS", desk.lots("BUS", "10"), desk.facts("BUS").value(100_000, 10), last=False))
    desk.marks(CAR=mark, BUS=mark)
    events: list[ev.AnyEvent] = []
    for order_id in list(desk.state.book.close_outs[desk.state.book.row["A"]].outstanding):
        events += desk.done(c.OrderDone(order_id, "immediate or cancel"))
    assert [event.taken for event in of(events, ev.Deleveraged)] == taken
    assert (desk.cash("A"), desk.net_liq("insurance_fund")) == ("0.00", fund)


@pytest.mark.rule("EX-03", "EX-04", "G-03")
@pytest.mark.parametrize(
    ("hours", "stage"),
    [(7, "auto_deleveraging"), (9, "insurance_fund")],
)
def test_the_peak_is_that_of_the_hours_before(hours: int, stage: str) -> None:
    """The fund loses 250 of 1,000. Another 60 are 31 % below its peak, and 8 % below what it has held since."""
    desk = desk_of(DOWN, FUND, VENUE, fund="1000")
    hold(desk, "W", "5000", "-10")
    hold(desk, "A", "1000", "10", contract="BUS")
    desk.wait(60)
    desk.marks(BUS="875")
    nothing_filled(desk, "A")
    filled(desk, "A", "875")
    assert desk.cash("insurance_fund") == "750.00"
    desk.wait(3600 * hours)
    desk.marks(CAR="1000", BUS="875")
    hold(desk, "B", "100", "1")
    desk.marks(CAR="840")
    events = nothing_filled(desk, "B")
    if stage == "auto_deleveraging":
        assert [event.taken for event in of(events, ev.Deleveraged)] == [10_000_000]
        assert desk.cash("insurance_fund") == "700.00"
    else:
        assert not of(events, ev.Deleveraged)
        filled(desk, "B", "840")
        assert desk.cash("insurance_fund") == "690.00"


@pytest.mark.rule("EX-03", "EX-04")
def test_a_drawdown_before_the_fund_at_the_mark() -> None:
    """OKX: closed against winners at the mark; the fund pays all the same, and has no position to lose more by."""
    desk = desk_of({**DOWN, "price": "mark"}, *takers("insurance_fund_takes"), FUND, VENUE, fund="1000")
    hold(desk, "W", "5000", "-10")
    hold(desk, "A", "1000", "10")
    desk.marks(CAR="860")
    events = nothing_filled(desk, "A")
    assert [(event.price, event.taken) for event in of(events, ev.Deleveraged)] == [("860", 0)]
    assert (desk.cash("insurance_fund"), desk.position("insurance_fund", "CAR")) == ("600.00", "0")


@pytest.mark.rule("EX-02", "G-10")
def test_a_capped_fee_takes_what_is_left_and_no_more() -> None:
    fee = {"rate": "0.01", "payee": "insurance_fund", "capped": True}
    desk = desk_of(VENUE, fund="0", liquidation_fee=fee)
    hold(desk, "A", "100", "1")
    desk.marks(CAR="940")
    events = filled(desk, "A", "905")
    assert of(events, ev.CloseOutEnded)[0].receipt["liquidation_fee"] == "5.00"
    assert (desk.cash("A"), desk.cash("insurance_fund")) == ("0.00", "5.00")


@pytest.mark.rule("EX-03")
def test_a_surplus_goes_to_the_fund_where_the_rulebook_says_so() -> None:
    desk = desk_of(VENUE, fund="0", close_out={**BANKRUPT, "surplus": "insurance_fund"})
    hold(desk, "A", "100", "1")
    desk.marks(CAR="940")
    filled(desk, "A", "930")
    assert (desk.cash("A"), desk.cash("insurance_fund")) == ("0.00", "30.00")


@pytest.mark.rule("EX-02", "G-07")
def test_a_share_is_closed_each_interval_and_all_of_a_small_position_at_once() -> None:
    close_out = {
        "method": "reduce_by_share", "share": "0.2", "share_above": "5000", "interval_seconds": 30,
        "limit": "any_price",
    }  # fmt: skip
    desk = desk_of(VENUE, close_out=close_out)
    hold(desk, "A", "1000", "20")
    (order,) = of(desk.marks(CAR="990"), ev.CloseOutOrder)
    assert order.lots == -4
    assert not of(filled(desk, "A", "990"), ev.CloseOutOrder)
    desk.wait(10)
    assert not of(desk.marks(CAR="990"), ev.CloseOutOrder)
    desk.wait(20)
    (order,) = of(desk.marks(CAR="989"), ev.CloseOutOrder)
    assert order.lots == -4  # 16 x 0.2, rounded up


@pytest.mark.rule("EX-02", "G-07")
@pytest.mark.parametrize(("seconds", "lots"), [(29, -16), (30, -4)])
def test_a_fifth_first_and_all_of_it_for_half_a_minute_after(seconds: int, lots: int) -> None:
    """Hyperliquid: a fifth of a large position; within 30 seconds after it, of any position of the customer's, all."""
    close_out = {
        "method": "reduce_by_share", "share": "0.2", "share_above": "5000", "whole_within_seconds": 30,
        "limit": "any_price", "take_over_below": "0",
    }  # fmt: skip

    def sent(*events: ev.AnyEvent) -> list[tuple[str, int]]:
        return [(order.account_id, order.lots) for order in of(list(events), ev.CloseOutOrder)]

    desk = desk_of(VENUE, close_out=close_out)
    hold(desk, "A", "1000", "20")
    desk.account("A/BUS", parent="A")
    desk.done(c.TransferPosition("A/BUS", "BUS", 10, desk.facts("BUS").value(100_000, 10), last=False))
    desk.deposit("A/BUS", "520")
    assert sent(*desk.marks(CAR="990")) == [("A", -4)]
    assert sent(*nothing_filled(desk, "A")) == []  # nothing was closed: the next look sends a fifth again
    desk.wait(5)
    assert sent(*desk.marks(CAR="990")) == [("A", -4)]
    assert sent(*filled(desk, "A", "990")) == []
    assert desk.level("A") is Level.ALERT  # 800 left, of 792 required: the fifth was enough
    desk.wait(10)
    assert sent(*desk.marks(BUS="996")) == [("A/BUS", -10)]  # the customer's other position: all of it
    filled(desk, "A/BUS", "996")
    desk.wait(seconds - 10)
    assert sent(*desk.marks(CAR="955")) == [("A", lots)]


@pytest.mark.rule("EX-02", "G-07")
def test_a_step_drops_a_tier_and_the_next_closes_the_rest() -> None:
    tiers = [TIER, {**TIER, "notional_from": "5000", "maintenance_margin_rate": "0.08"}]
    close_out = {"method": "lower_tier", "limit": "bankruptcy", "then": [BANKRUPT]}
    desk = desk_of(VENUE, close_out=close_out, contracts={"CAR": {**CAR, "tiers": tiers}, "BUS": CAR})
    hold(desk, "A", "700", "8")
    (order,) = of(desk.marks(CAR="990"), ev.CloseOutOrder)
    assert order.lots == -3  # five at 990 are below 5,000
    desk.marks(CAR="930")
    (order,) = of(nothing_filled(desk, "A"), ev.CloseOutOrder)
    assert order.lots == -8


@pytest.mark.rule("EX-02", "G-07")
@pytest.mark.parametrize(("down", "lots"), [(1, -1), (2, -4), (3, -6), (9, -6)])
def test_a_step_drops_several_tiers(down: int, lots: int) -> None:
    starts = ("0", "2000", "4000", "7000")
    tiers = [
        {**TIER, "notional_from": start, "maintenance_margin_rate": f"0.0{6 + n}"} for n, start in enumerate(starts)
    ]
    close_out = {"method": "lower_tier", "tiers_down": down, "limit": "bankruptcy", "then": [BANKRUPT]}
    desk = desk_of(VENUE, close_out=close_out, contracts={"CAR": {**CAR, "tiers": tiers}, "BUS": CAR})
    hold(desk, "A", "800", "8")
    (order,) = of(desk.marks(CAR="980"), ev.CloseOutOrder)
    assert order.lots == lots  # 8 at 980 are 7,840: 7 are below 7,000, 4 below 4,000, 2 below 2,000


@pytest.mark.rule("EX-02", "G-07")
def test_a_step_with_orders_in_two_contracts_waits_for_both() -> None:
    """Sent again as soon as one ends, the two would take turns for ever."""
    desk = desk_of(*takers("liquidity_providers"), VENUE)
    hold(desk, "A", "200", "1")
    desk.done(c.TransferPosition("A", "BUS", 1, desk.facts("BUS").value(100_000, 1)))
    first, second = (order.order_id for order in of(desk.marks(CAR="900", BUS="900"), ev.CloseOutOrder))
    assert of(desk.done(c.OrderDone(first, "immediate or cancel")), ev.CloseOutOrder) == []
    desk.done(c.OrderDone(second, "immediate or cancel"))
    assert (desk.position("A", "CAR"), desk.position("A", "BUS"), desk.cash("A")) == ("0", "0", "0.00")


@pytest.mark.rule("EX-03", "EX-05", "US-13")
def test_an_isolated_positions_deficit_does_not_reach_the_account_where_liability_is_limited() -> None:
    desk = desk_of(FUND, VENUE, fund="1000")
    desk.account("P", "500")
    desk.account("P/CAR", parent="P")
    facts = desk.facts("CAR")
    desk.done(c.TransferPosition("P/CAR", "CAR", 1, facts.value(100_000, 1), last=False))
    desk.deposit("P/CAR", "100")
    desk.marks(CAR="850")
    nothing_filled(desk, "P/CAR")
    filled(desk, "P/CAR", "850")
    assert (desk.cash("P"), desk.cash("P/CAR"), desk.cash("insurance_fund")) == ("500.00", "0.00", "950.00")


@pytest.mark.rule("EX-05", "G-02")
def test_a_hole_is_filled_by_withdrawals_in_proportion() -> None:
    desk = desk_of({"stage": "withdrawal_haircut"})
    hold(desk, "A", "100", "1")
    desk.account("W", "150")
    desk.account("V", "50")
    desk.marks(CAR="850")
    nothing_filled(desk, "A")
    filled(desk, "A", "850")
    assert (desk.cash("A"), desk.balance("uncovered")) == ("0.00", "50.00")
    desk.done(c.Withdraw("W", desk.micros("60")))
    assert (desk.cash("W"), desk.balance("uncovered"), desk.balance("segregated_bank")) == ("90.00", "35.00", "255.00")
    desk.done(c.Withdraw("W", desk.micros("90")))
    desk.done(c.Withdraw("V", desk.micros("50")))
    assert (desk.balance("uncovered"), desk.balance("customer_cash")) == ("0.00", "0.00")


@pytest.mark.rule("EX-02", "EX-03", "EX-04", "EX-05")
def test_the_table_in_the_docs_is_what_the_engine_does() -> None:
    """Trap 26: a document that says otherwise than the code is found here. The table has every stage."""
    path = DOCS / "examples" / "waterfall.py"
    spec = importlib.util.spec_from_file_location("waterfall_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.unnamed() == set()
    assert module.table() in (DOCS / "waterfall.md").read_text(encoding="utf-8")
