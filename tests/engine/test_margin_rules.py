"""Requirements by entry, with the fee of closing, by a slope and by open interest, in the engine (EX-02)."""

from typing import Any

import msgspec
import pytest
from tests.engine.bench import Desk

from closeout.core.margin import Level
from closeout.engine import commands as c

FLAT = {"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}


def desk_with(tiers: list[dict[str, str]] | None = None, **more: Any) -> Desk:
    table = {"tick": "0.01", "lot": "1", "tiers": tiers or [FLAT], **more}
    desk = Desk("reference", {"contracts": {"CAR": table}})
    desk.marks(CAR="100")
    return desk


@pytest.mark.rule("EX-02", "G-13")
def test_by_entry_only_the_loss_brings_the_line_nearer() -> None:
    desk = desk_with(requirement_base="entry")
    desk.account("A", "100")
    desk.hold("A", "CAR", "10", "100")
    assert desk.requirement("A") == "50.00"
    desk.marks(CAR="95")
    assert (desk.requirement("A"), desk.net_liq("A")) == ("50.00", "50.00")
    assert desk.level("A") is Level.ALERT
    desk.marks(CAR="94.99")
    assert desk.level("A") is Level.LIQUIDATING
    # By the mark it is 5 % of 950: the line lies at 94.74.
    desk = desk_with()
    desk.account("A", "100")
    desk.hold("A", "CAR", "10", "100")
    desk.marks(CAR="94.74")
    assert desk.level("A") is not Level.LIQUIDATING
    desk.marks(CAR="94.73")
    assert desk.level("A") is Level.LIQUIDATING


@pytest.mark.rule("EX-02", "US-06", "US-07")
def test_an_order_by_entry_counts_what_is_held_at_its_entry() -> None:
    desk = desk_with(requirement_base="entry")
    desk.account("A", "1000")
    desk.hold("A", "CAR", "10", "80")
    # 800 at entry and 20 at the mark: 10 % of 2,800 is 280, of 1,200 that is there (200 of it profit).
    state = desk.state
    from closeout.engine.orders import worst_case

    row = state.row("A")
    assert desk.money(worst_case(state, row, with_intraday=False)) == "80.00"
    order = desk.approved("A", "CAR", "20")
    assert desk.money(worst_case(state, row, with_intraday=False)) == "280.00"
    desk.fill("A", "CAR", "20", "100", order)
    assert desk.money(worst_case(state, row, with_intraday=False)) == "280.00"
    # Through zero: 30 are sold out of what is held, 40 opened at the mark.
    desk.approved("A", "CAR", "-70")
    assert desk.money(worst_case(state, row, with_intraday=False)) == "400.00"
    assert desk.refusal("A", "CAR", "-81") == "margin"


@pytest.mark.rule("EX-02")
def test_the_fee_of_closing_is_required_and_still_charged() -> None:
    desk = desk_with(taker_fee="0.001", close_fee_in_requirement=True)
    desk.account("A", "100")
    desk.hold("A", "CAR", "10", "100")
    assert desk.requirement("A") == "51.00"
    desk.marks(CAR="95")
    # 48.45 against 50: by rate alone it would be 47.50.
    assert desk.requirement("A") == "48.45"
    desk.marks(CAR="94.83")
    assert (desk.net_liq("A"), desk.requirement("A")) == ("48.30", "48.3633")
    assert desk.level("A") is Level.LIQUIDATING
    desk.close_at("A", "94.83")
    assert desk.cash("A") == "47.3517"


@pytest.mark.rule("EX-02", "US-20")
def test_a_slope_asks_more_of_a_larger_position_and_is_lowered_by_two() -> None:
    sloped = {**FLAT, "initial_margin_slope": "0.001", "maintenance_margin_slope": "0.001"}
    desk = desk_with([sloped])
    desk.account("A", "1000")
    desk.hold("A", "CAR", "10", "100")
    assert desk.requirement("A") == "60.00"  # 5 % + 10 x 0.1 %
    desk.hold("A", "CAR", "10", "100")
    assert desk.requirement("A") == "140.00"
    flatter = msgspec.json.encode([{**sloped, "maintenance_margin_slope": "0.0009"}])
    assert desk.refused(c.SetMargin("CAR", flatter, "ann", "x")) == "needs_second"
    steeper = msgspec.json.encode([{**sloped, "initial_margin_slope": "0.002", "maintenance_margin_slope": "0.002"}])
    desk.done(c.SetMargin("CAR", steeper, "ann", "x"))
    assert desk.requirement("A") == "180.00"
    assert desk.refused(c.NewsWindow(("CAR",), 2 * 10**9, True, "ann", "x")) == "out_of_bounds"


@pytest.mark.rule("EX-02", "US-20")
def test_a_root_asks_more_from_a_size_on_and_is_lowered_by_two() -> None:
    """2 % x the square root of the size reaches four fifths of the rate of 5 % at 4."""
    rooted = {**FLAT, "initial_margin_root": "0.02", "maintenance_margin_root": "0.02", "root_within_rate": "0.8"}
    desk = desk_with([rooted])
    desk.account("A", "1000")
    desk.hold("A", "CAR", "4", "100")
    assert desk.requirement("A") == "20.00"  # 5 % of 400
    desk.hold("A", "CAR", "12", "100")
    assert desk.requirement("A") == "144.00"  # 5 % and 4 x 2 % - 4 % of 1,600
    for key, value in (("maintenance_margin_root", "0.019"), ("root_within_rate", "0.81")):
        assert (
            desk.refused(c.SetMargin("CAR", msgspec.json.encode([rooted | {key: value}]), "ann", "x")) == "needs_second"
        )
    steeper = {"initial_margin_root": "0.03", "maintenance_margin_root": "0.03", "root_within_rate": "0.5"}
    desk.done(c.SetMargin("CAR", msgspec.json.encode([rooted | steeper]), "ann", "x"))
    assert desk.requirement("A") == "232.00"
    assert desk.refused(c.SetMargin("CAR", msgspec.json.encode([FLAT]), "ann", "x")) == "needs_second"


@pytest.mark.rule("EX-02", "US-07")
def test_open_interest_raises_what_opening_takes() -> None:
    desk = desk_with(open_interest_lower="1000", open_interest_upper="3000")
    desk.account("A", "100000")
    desk.account("B", "100000")
    desk.account("C", "110")
    # 10 % while 1,000 are open; the order counts too: 23.5 % of 300 with three lots, 28 % of 400 with four.
    desk.hold("A", "CAR", "10", "100")
    desk.hold("B", "CAR", "-10", "100")
    assert desk.refusal("C", "CAR", "4") == "margin"
    order = desk.approved("C", "CAR", "3")
    desk.done(c.OrderDone(order, "cancelled"))
    # 2,000 are open: half of the way from 10 % to 100 %, and with the order 59.5 % of 100, or 64 % of 200.
    desk.hold("A", "CAR", "10", "100")
    desk.hold("B", "CAR", "-10", "100")
    assert desk.refusal("C", "CAR", "-2") == "margin"
    order = desk.approved("C", "CAR", "-1")
    desk.done(c.OrderDone(order, "cancelled"))
    # Positions held, and orders that reduce them, are not asked more; a fallen price is a smaller open interest.
    assert desk.requirement("A") == "100.00"
    desk.marks(CAR="75")
    assert desk.state.contract("CAR").order_terms.open_interest == 1_500_000_000
    order = desk.approved("C", "CAR", "3")  # 42.625 % of 225
    desk.done(c.OrderDone(order, "cancelled"))
    assert desk.refusal("C", "CAR", "4") == "margin"  # 46 % of 300
    # Closed and turned positions are no open interest.
    desk.trade("A", "CAR", "-25", "75")
    assert desk.state.contract("CAR").long_lots == 0
    desk.trade("B", "CAR", "25", "75")
    assert desk.state.contract("CAR").long_lots == 5


@pytest.mark.rule("EX-02")
def test_a_tier_by_entry_is_left_by_closing_a_part() -> None:
    tiers = [FLAT, {"notional_from": "1000", "initial_margin_rate": "0.4", "maintenance_margin_rate": "0.2"}]
    table = {"tick": "0.01", "lot": "1", "tiers": tiers, "requirement_base": "entry"}
    desk = Desk("reference", {
        "contracts": {"CAR": table},
        "close_out": {"method": "lower_tier", "limit": "any_price", "then": [{"method": "flatten_all"}]},
    })  # fmt: skip
    desk.marks(CAR="100")
    desk.account("A", "400")
    desk.hold("A", "CAR", "15", "100")
    desk.marks(CAR="93")
    # 300 are required by 1,500 at entry, 295 are there. At entry 9 lots are worth 900; at the mark 10 are 930.
    assert desk.outstanding("A") == [("CAR", "-6")]


@pytest.mark.rule("EX-02", "US-20")
def test_the_desk_raises_no_margin_beyond_the_value_where_the_fee_is_on_what_is_left_of_it() -> None:
    desk = desk_with(taker_fee="0.001", close_fee_in_requirement=True, close_fee_on="bankruptcy")
    tiers = b'[{"initial_margin_rate": "1.1", "maintenance_margin_rate": "0.5"}]'
    assert desk.refused(c.SetMargin("CAR", tiers, "anna", "volatility", "bert")) == "bad_tiers"
    desk.done(c.SetMargin("CAR", tiers.replace(b"1.1", b"1.0"), "anna", "volatility", "bert"))
