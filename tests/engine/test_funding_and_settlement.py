"""Funding accrues and is booked once a day; settlement turns open trade equity into cash; expiry ends a contract
(US-14, US-24)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.funding_rows import published
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.funding import FundingTerms, part_of_rate, settlement
from closeout.core.margin import MarginKind
from closeout.core.units import MAX_VALUE, RATE, rate
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag

PERP = "PBTCUCZ50"
SPOT = "64771.195"
FINE: dict[str, Any] = {
    "contracts": {
        PERP: {"tick": "0.005"},
        "CAR": flat_margin("50", session="cme_equity"),
        # One lot at one tick is worth 0.3 micros, so that money rounds.
        "DUST": {
            "tick": "0.01",
            "lot": "0.0001",
            "contract_size": "0.3",
            "tiers": [{"notional_from": "0", "initial_margin_rate": "0.1"}],
        },
    },
}
BASIS_POINT = rate("0.0001", "rate")


def desk_with(**holdings: str) -> Desk:
    """Accounts with a thousand dollars each and so many perpetuals at the spot price."""
    desk = Desk("kraken-us", FINE)
    desk.session("bitnomial")
    desk.session("cme_equity")
    desk.marks(**{PERP: SPOT, "CAR": "1000", "DUST": "10"})
    for account_id, quantity in holdings.items():
        desk.account(account_id, "1000")
        if quantity != "0":
            desk.hold(account_id, PERP, quantity, SPOT)
    return desk


@pytest.mark.rule("US-14", "US-01", "G-13")
def test_three_intervals_are_paid_as_one_cash_adjustment() -> None:
    desk = desk_with(long="1", short="-1", flat="0")
    assert desk.requirement("long") == "53.436236"  # 8.25 % of 647.71195, rounded up
    for part in ("-0.064772", "-0.129544", "-0.194316"):  # 647.71195 x 0.0001 = 0.064771195, against who pays
        desk.done(c.AccrueFunding(PERP, BASIS_POINT))
        assert desk.accrued("long") == part
        assert desk.net_liq("long") == desk.money(desk.micros("1000") + desk.micros(part))
        assert desk.cash("long") == "1000.00"
    assert desk.accrued("short") == "0.194313"  # and rounded down for who receives
    assert desk.accrued("flat") == "0.00"
    events = desk.done(c.BookFunding())
    booked = [(p.account_id, desk.money(p.micros)) for p in of(events, ev.Posted) if p.account_id]
    assert booked == [("long", "0.194316"), ("short", "0.194313")]
    assert (desk.cash("long"), desk.cash("short"), desk.cash("flat")) == ("999.805684", "1000.194313", "1000.00")
    assert desk.accrued("long") == desk.accrued("short") == "0.00"
    assert desk.balance("rounding") == "-0.000003"
    assert of(desk.done(c.BookFunding()), ev.Posted) == []


@pytest.mark.rule("US-14")
def test_fifteen_percent_of_the_mark() -> None:
    desk = desk_with(A="1")
    row = desk.state.row("A")
    (holding,) = desk.state.holdings(row)
    assert desk.money(holding.margin(MarginKind.MAINTENANCE)) == "97.156793"


@pytest.mark.rule("US-14", "G-02")
def test_longs_pay_what_shorts_receive_and_the_rest_is_rounding() -> None:
    desk = desk_with(a="3", b="-1", d="-2")
    for funding_rate in (123_457, -987_653, 1, -1, 333_333):
        desk.done(c.AccrueFunding(PERP, funding_rate))
    desk.done(c.BookFunding())
    total = sum(int(cash) for cash in desk.state.book.column("cash"))
    rounding = desk.state.ledger.balances["rounding"]
    assert total - rounding == desk.micros("3000")  # longs equal shorts: nothing comes from outside
    assert 0 <= -rounding <= 5 * 3


@pytest.mark.rule("US-14", "G-01", "G-02")
def test_the_clearing_house_is_paid_the_exact_total_whatever_the_parts_were_rounded_to() -> None:
    desk = desk_with(A="1")
    for _ in range(3):
        desk.done(c.AccrueFunding(PERP, BASIS_POINT))
    desk.done(c.BookFunding())
    assert desk.balance("rounding") == "-0.000002"  # 3 x 0.064772 paid, 0.194313585 due
    assert desk.balance("clearing_house") == "-0.194314"


@pytest.mark.rule("EX-06", "G-02")
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=4),
    st.integers(1, 400),
    st.lists(st.tuples(st.integers(-(10**7), 10**7), st.integers(500, 2000)), min_size=1, max_size=6),
)
def test_what_longs_and_shorts_get_and_rounding_add_up_to_nothing(
    longs: list[int], short: int, intervals: list[tuple[int, int]]
) -> None:
    """One lot is worth 0.3 micros a tick, so that every payment rounds."""
    short = min(short, sum(longs))
    shorts = [short, sum(longs) - short] if sum(longs) > short else [short]
    desk = desk_with()
    for index, lots in enumerate([*longs, *(-lots for lots in shorts)]):
        name = f"a{index}"
        desk.account(name, "1000")
        desk.done(c.TransferPosition(name, "DUST", lots, desk.facts("DUST").trade_value(1000, lots)))
    start = sum(int(cash) for cash in desk.state.book.column("cash"))
    for funding_rate, ticks in intervals:
        desk.done(c.AccrueFunding("DUST", funding_rate, ticks))
        desk.done(c.BookFunding())
    paid = sum(int(cash) for cash in desk.state.book.column("cash")) - start
    rounding = -desk.state.ledger.balances["rounding"]
    assert paid + rounding == 0  # longs are shorts: nothing stays with the clearing house
    assert desk.state.ledger.balances["clearing_house"] == 0
    assert 0 <= rounding <= len(intervals) * (len(longs) + len(shorts))


@pytest.mark.rule("EX-06", "EX-08")
def test_six_intervals_at_the_cap_of_march_2020() -> None:
    """BitMEX on 13 and 14 March 2020: -0.375 % six times over, so that a long receives 2.25 %."""
    desk = Desk("reference", {"contracts": {"BTCUSDT": {"tick": "0.5", "lot": "0.001"}}})
    desk.marks(BTCUSDT="5000")
    for name, quantity in (("long", "1"), ("short", "-1")):
        desk.account(name, "1000")
        desk.hold(name, "BTCUSDT", quantity, "5000")
    terms = FundingTerms(rate("0.0001", "i"), rate("0.0005", "c"), interval=480, period=480, cap=rate("0.00375", "cap"))
    for _ in range(6):
        desk.done(c.AccrueFunding("BTCUSDT", terms.rate_of(Fraction(-1, 50))))
        desk.done(c.BookFunding())
    assert (desk.cash("long"), desk.cash("short")) == ("1112.50", "887.50")  # 2.25 % of 5,000


@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize("row", published("funding_fee"))
def test_published_fees_are_what_the_engine_pays(row: dict[str, Any]) -> None:
    """The last column of a row is Kraken's, whose positions pay for the part of the period that they were held."""
    inputs, expected = row["inputs"], row["expected"]
    lots = {"long": 1, "short": -1}[inputs["side"]] * int(inputs["size"])
    whole = rate(format(inputs["funding_rate"], "f"), "rate")
    parts = {"funding_fee": whole}
    if expected["kraken_funding_fee"] is not None:
        held = Fraction(inputs["time_in_ratio"])
        parts["kraken_funding_fee"] = part_of_rate(whole, 0, held.numerator, held.denominator)
    for key, paid_rate in parts.items():
        desk = Desk("reference", {"contracts": {"BTCUSDT": {"tick": "0.1", "lot": "1"}}})
        desk.marks(BTCUSDT=str(inputs["mark_price"]))
        desk.account("A", "1000")
        desk.hold("A", "BTCUSDT", str(lots), str(inputs["mark_price"]))
        desk.done(c.AccrueFunding("BTCUSDT", paid_rate))
        assert Decimal(desk.accrued("A")) == expected[key]


@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize("row", published("GetSettlementPpm"))
def test_dydx_settlements_are_what_the_engine_pays(row: dict[str, Any]) -> None:
    """A quantum is a lot and a ppm of a quote quantum the value of one at one tick, so that the index's move is a
    price at 100 %; beyond the bound on one position the engine says so."""
    inputs = row["inputs"]
    move = inputs["perpetual_funding_index"] - inputs["position_funding_index"]
    contract = {"tick": "0.000001", "lot": "0.000001", "tiers": [{"maintenance_margin_rate": "0.01"}]}
    desk = Desk("reference", {"contracts": {"X": contract}})
    desk.marks(X="0.000001")
    desk.account("A", "1000")
    lots = inputs["quantums"]
    desk.done(c.TransferPosition("A", "X", lots, desk.facts("X").trade_value(1, lots)))
    command = c.AccrueFunding("X", RATE if move > 0 else -RATE, abs(move) or None)
    if abs(move * lots) > MAX_VALUE:
        assert desk.refused(command) == "out_of_bounds"
        return
    desk.done(command if move else c.AccrueFunding("X", 0))
    assert desk.micros(desk.accrued("A")) == settlement([row["expected"]["net_settlement_ppm"]])


@pytest.mark.rule("US-14")
def test_the_rate_is_signed_and_the_price_may_be_named() -> None:
    desk = desk_with(long="1", short="-1")
    desk.done(c.AccrueFunding(PERP, -BASIS_POINT, desk.ticks(PERP, "50000")))
    assert (desk.accrued("long"), desk.accrued("short")) == ("0.05", "-0.05")
    assert desk.refused(c.AccrueFunding("ETH", BASIS_POINT)) == "unpriced"
    assert desk.refused(c.AccrueFunding(PERP, 10**9 + 1)) == "out_of_bounds"
    assert desk.refused(c.AccrueFunding(PERP, 1, 2**40 + 1)) == "out_of_bounds"


@pytest.mark.rule("US-14")
def test_a_position_closed_before_the_booking_still_pays_what_accrued() -> None:
    desk = desk_with(A="1")
    desk.done(c.AccrueFunding(PERP, BASIS_POINT))
    desk.trade("A", PERP, "-1", SPOT)
    assert (desk.cash("A"), desk.accrued("A"), desk.net_liq("A")) == ("999.85", "-0.064772", "999.785228")
    assert desk.refused(desk.withdraw("A", "999.785229")) == "exceeds_withdrawable"
    desk.done(c.AccrueFunding(PERP, BASIS_POINT))  # flat: nothing more accrues
    desk.done(c.BookFunding())
    assert desk.cash("A") == "999.785228"


@pytest.mark.rule("US-14", "US-13")
def test_accrued_funding_that_the_cash_does_not_cover_is_owed_once() -> None:
    desk = desk_with(A="1")
    desk.done(c.AccrueFunding(PERP, rate("0.5", "rate")))  # 323.855975
    desk.done(c.AdjustCash("A", -desk.micros("500"), "ann", "bob", "set up"))
    desk.trade("A", PERP, "-1", "46771.195")  # 180 lost, 0.15 paid
    assert (desk.owed("A"), desk.net_liq("A")) == ("4.005975", "-4.005975")
    desk.deposit("A", "1")  # pays one dollar of the debt, not with cash that the funding claims already
    assert desk.owed("A") == "3.005975"
    desk.done(c.BookFunding())
    assert (desk.cash("A"), desk.owed("A"), desk.net_liq("A")) == ("0.00", "3.005975", "-3.005975")
    assert len(desk.events(ev.DeficitBooked)) == 1
    assert desk.has("A", Flag.IN_DEBIT)
    desk.deposit("A", "3.005975")
    assert (desk.cash("A"), desk.owed("A")) == ("0.00", "0.00")


@pytest.mark.rule("US-14", "G-13", "US-09")
def test_funding_alone_can_liquidate_in_the_very_next_verdict() -> None:
    desk = desk_with(A="1")
    desk.done(c.Withdraw("A", desk.micros("893")))
    events = desk.done(c.AccrueFunding(PERP, rate("0.1", "rate")))
    assert [order.lots for order in of(events, ev.CloseOutOrder)] == [-1]


# -- settlement ------------------------------------------------------------------------------------------


@pytest.mark.rule("US-24")
def test_daily_settlement_moves_open_trade_equity_to_cash_and_leaves_net_liq() -> None:
    desk = desk_with(long="0", short="0")
    desk.hold("long", "CAR", "2", "1000")
    desk.hold("short", "CAR", "-2", "1000")
    desk.marks(CAR="1050.25")
    before = desk.net_liq("long"), desk.net_liq("short")
    desk.done(c.Settle("CAR", desk.ticks("CAR", "1050.25")))
    assert (desk.net_liq("long"), desk.net_liq("short")) == before == ("1100.50", "899.50")
    assert (desk.cash("long"), desk.cash("short")) == before
    assert (desk.position("long", "CAR"), desk.position("short", "CAR")) == ("2", "-2")
    assert desk.balance("clearing_house") == "0.00"  # what one side gained the other lost
    desk.marks(CAR="1040")
    assert desk.net_liq("long") == "1080.00"
    desk.trade("long", "CAR", "-2", "1040")
    assert desk.cash("long") == "1080.00"


@pytest.mark.rule("US-24", "G-01")
def test_settlement_of_a_contract_finer_than_a_micro_rounds_by_its_name() -> None:
    desk = desk_with(A="0", B="0")
    desk.hold("A", "DUST", "0.0001", "10")
    desk.hold("B", "DUST", "-0.0001", "10")
    for price in ("10.01", "10.02", "10.03", "10.04"):
        desk.marks(DUST=price)
        before = desk.net_liq("A"), desk.net_liq("B")
        desk.done(c.Settle("DUST", desk.ticks("DUST", price)))
        assert (desk.net_liq("A"), desk.net_liq("B")) == before
    # 0.3 micros a day: the long has none of his 1.2, the short has lost 4 for 1.2; what is left is rounding.
    assert (desk.cash("A"), desk.cash("B")) == ("1000.00", "999.999996")
    assert desk.balance("rounding") == "-0.000004"
    assert desk.state.contract("DUST").profit_residue == 0


@pytest.mark.rule("US-24", "G-01")
def test_settlement_away_from_the_mark_costs_at_most_a_micro() -> None:
    desk = desk_with(A="0")
    desk.hold("A", "DUST", "0.0003", "10")
    desk.marks(DUST="10.07")
    before = desk.state.risk(desk.state.row("A")).net_liq
    desk.done(c.Settle("DUST", desk.ticks("DUST", "9.98")))
    after = desk.state.risk(desk.state.row("A")).net_liq
    assert 0 <= before - after <= 1


@pytest.mark.rule("US-24", "US-13")
def test_expiry_closes_at_the_final_settlement_and_ends_the_contract() -> None:
    desk = desk_with(A="0", B="0")
    desk.hold("A", "CAR", "2", "1000")
    desk.hold("B", "CAR", "-2", "1000")
    order = desk.approved("A", "CAR", "1")
    events = desk.done(c.Expire("CAR", desk.ticks("CAR", "1600")))
    assert [(n.account_id, n.kind) for n in of(events, ev.Notice)][:2] == [("A", "expiry"), ("B", "expiry")]
    assert [cancel.order_ids for cancel in of(events, ev.CancelOrders)] == [(order,)]
    assert (desk.position("A", "CAR"), desk.position("B", "CAR")) == ("0", "0")
    assert (desk.cash("A"), desk.cash("B"), desk.owed("B")) == ("2200.00", "0.00", "200.00")
    price = desk.ticks("CAR", "1600")
    for command in (
        c.Fill("A", "CAR", 1, price, "x", "x"),
        c.TransferPosition("A", "CAR", 1, price),
        c.Settle("CAR", price),
        c.Expire("CAR", price),
        c.AccrueFunding("CAR", 1),
        c.Halt("CAR", True),
    ):
        assert desk.refused(command) == "expired_contract"


@pytest.mark.rule("US-24", "G-07")
def test_expiry_ends_a_close_out_that_is_under_way() -> None:
    desk = desk_with(A="0")
    desk.hold("A", "CAR", "10", "1000")
    desk.marks(CAR="940")
    assert desk.outstanding("A") != []
    (order,) = desk.state.order_owner
    events = desk.done(c.Expire("CAR", desk.ticks("CAR", "940")))
    assert [cancel.order_ids for cancel in of(events, ev.CancelOrders)] == [(order,)]
    assert desk.close_out("A") is None
    assert desk.cash("A") == "400.00"  # nothing of the close-out filled: no fee
    assert desk.state.order_owner == {}
