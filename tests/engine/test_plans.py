"""What a close-out sends, in what order, how little, and that it ends (US-09, G-07, G-08, G-10)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.engine import commands as c
from closeout.engine import events as ev

FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
CONTRACTS: tuple[str, ...] = ("CAR", "BUS", "VAN")
MARGINS = {"CAR": 50, "BUS": 80, "VAN": 30}
FEES = {"CAR": "0.25", "BUS": "1", "VAN": "2.50"}
BOOK: dict[str, Any] = {
    "contracts": {
        name: flat_margin(str(MARGINS[name]), fee_per_contract=FEES[name], session="cme_equity") for name in CONTRACTS
    },
    "close_out": {"method": "reduce_to_target", "target": "0.90"},
    "marks": {"jump": "100", "stale_after_seconds": 300, "unpriced_move": "0.5"},
}
FLATTEN: dict[str, Any] = {**BOOK, "close_out": {"method": "flatten_all"}}


def desk_with(cash: str, overrides: dict[str, Any] | None = None, **positions: int) -> Desk:
    desk = Desk("kraken-us", overrides or BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="1000", VAN="1000")
    desk.account("A", cash)
    for name, quantity in positions.items():
        desk.done(c.TransferPosition("A", name, quantity, quantity * 1_000_000_000))
    return desk


# -- how little ------------------------------------------------------------------------------------------


def _cures(closed: dict[str, int], held: dict[str, int], net_liq: int) -> bool:
    """Whether closing so many lots leaves usage at or under 90 %, the fees of the first event counted; in micros."""
    fee = {name: int(float(text) * 10**6) for name, text in FEES.items()}
    after = net_liq - 25 * 10**6 - sum(fee[name] * lots for name, lots in closed.items())
    left = {name: abs(lots) - closed.get(name, 0) for name, lots in held.items()}
    required = sum(MARGINS[name] * 10**6 * lots for name, lots in left.items())
    if not any(left.values()):
        return True
    return after > 0 and after * 90 >= required * 100


@pytest.mark.rule("US-09", "G-07", "US-10")
@FEW
@given(
    st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-40, 40).filter(bool), min_size=1),
    st.integers(1, 10**9),
)
def test_a_plan_cures_and_one_lot_fewer_of_any_leg_would_not(held: dict[str, int], share: int) -> None:
    line = sum(MARGINS[name] * abs(lots) for name, lots in held.items()) * 10**9 // 1200  # 120 % of micros
    net_liq = max(1, line * share // 10**9)
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="1000", VAN="1000")
    desk.account("A")
    desk.done(c.Deposit("A", net_liq))
    *first, last = held.items()
    for name, lots in first:
        desk.done(c.TransferPosition("A", name, lots, lots * 10**9, last=False))
    desk.done(c.TransferPosition("A", last[0], last[1], last[1] * 10**9))
    assert desk.level("A") is (Level.LIQUIDATING if net_liq < line else desk.level("A"))
    sent = {name: abs(int(quantity)) for name, quantity in desk.outstanding("A")}
    if not sent:
        assert net_liq >= line
        return
    for name, quantity in desk.outstanding("A"):
        assert (int(quantity) > 0) == (held[name] < 0)
        assert abs(int(quantity)) <= abs(held[name])
    everything = {name: abs(lots) for name, lots in held.items()}
    assert _cures(sent, held, net_liq)
    if sent != everything:
        for name, lots in sent.items():
            assert not _cures({**sent, name: lots - 1}, held, net_liq), (held, sent)


@pytest.mark.rule("US-09")
def test_the_leg_with_the_most_relief_for_its_cost_goes_first() -> None:
    # Relief for each dollar of fee and expected cost: CAR 50 / 0.25, BUS 80 / 1, VAN 30 / 2.50.
    desk = desk_with("2000", CAR=4, BUS=4, VAN=4)
    desk.marks(CAR="860", BUS="860", VAN="890")  # 440 dollars left for 640
    assert desk.outstanding("A") == [("CAR", "-4"), ("BUS", "-1")]  # 409 left for 360; without the BUS 440


@pytest.mark.rule("US-09")
def test_expected_cost_ranks_a_leg_as_fees_do() -> None:
    dear = {**BOOK, "contracts": {**BOOK["contracts"], "CAR": flat_margin("50", expected_cost="0.01")}}
    dear["contracts"]["CAR"]["session"] = "cme_equity"
    desk = desk_with("2000", dear, CAR=4, BUS=4)
    desk.marks(CAR="800", BUS="808")  # 432 left for 520; CAR costs 8 a contract for 50, BUS 1 for 80
    assert [name for name, _ in desk.outstanding("A")] == ["BUS"]


@pytest.mark.rule("US-09", "G-07")
def test_a_fee_is_part_of_the_cure() -> None:
    # 4 contracts at 50; 180 dollars cure at 90 % when nothing is charged, but 25 is, and 0.25 a contract.
    desk = desk_with("1000", CAR=4)
    desk.marks(CAR="791.50")  # 166 left: 166 - 25 - 0.50 = 140.50 carries two at 90 %, 140.75 would not carry three
    assert desk.outstanding("A") == [("CAR", "-2")]
    desk.close_at("A", "791.50")
    assert (desk.position("A", "CAR"), desk.net_liq("A")) == ("2", "140.50")


# -- it never crosses zero, and it ends ------------------------------------------------------------------


@pytest.mark.rule("G-07")
def test_working_orders_are_cancelled_first() -> None:
    desk = desk_with("1000", CAR=4)
    buy, sell = desk.approved("A", "CAR", "2"), desk.approved("A", "BUS", "-1")
    events = desk.marks(CAR="780")
    kinds = [type(event).__name__ for event in events if isinstance(event, ev.CancelOrders | ev.CloseOutOrder)]
    assert kinds == ["CancelOrders", "CloseOutOrder"]
    (cancel,) = of(events, ev.CancelOrders)
    assert cancel.order_ids == (buy, sell)
    assert desk.refused(c.CancelOrder(buy)) == "unknown_order"
    desk.close_at("A", "780")
    (ended,) = desk.events(ev.CloseOutEnded)
    assert ended.receipt["cancelled_orders"] == [buy, sell]


@pytest.mark.rule("G-07")
def test_the_rest_of_a_done_order_is_planned_and_sent_anew() -> None:
    desk = desk_with("1000", FLATTEN, CAR=4)
    desk.marks(CAR="780")
    (order,) = desk.state.order_owner
    desk.fill_order(order, "780", "1")
    events = desk.done(c.OrderDone(order, "expired"))
    assert [(o.lots, o.order_id) for o in of(events, ev.CloseOutOrder)] == [(-3, f"{order[:-1]}2")]
    assert desk.refused(c.OrderDone(order, "expired")) == "unknown_order"
    desk.close_at("A", "780")
    assert desk.position("A", "CAR") == "0"


@pytest.mark.rule("G-07")
def test_a_mark_neither_recalls_nor_adds_while_orders_are_out() -> None:
    desk = desk_with("1000", CAR=4)
    desk.marks(CAR="785")
    sent = desk.outstanding("A")
    for price in ("785", "700", "1000", "600"):
        events = desk.marks(CAR=price)
        assert of(events, ev.CloseOutOrder) == []
        assert of(events, ev.CancelOrders) == []
        assert desk.outstanding("A") == sent


@pytest.mark.rule("G-07")
def test_a_fill_beyond_the_order_is_booked_and_alarmed_and_what_it_opened_is_judged() -> None:
    desk = desk_with("1000", FLATTEN, CAR=4)
    desk.marks(CAR="780")
    (order,) = desk.state.order_owner
    events = desk.done(c.Fill("A", "CAR", -6, desk.ticks("CAR", "780"), order, "f"))
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["overfilled"]
    assert desk.position("A", "CAR") == "-2"
    assert desk.outstanding("A") == [("CAR", "2")]


@pytest.mark.rule("G-07")
def test_what_the_customer_closes_himself_is_not_closed_twice() -> None:
    desk = desk_with("1000", FLATTEN, CAR=4)
    desk.session("cme_equity", is_open=False)
    desk.marks(CAR="760")
    desk.fill("A", "CAR", "-3", "760")
    events = desk.session("cme_equity")
    assert [order.lots for order in of(events, ev.CloseOutOrder)] == [-1]


@st.composite
def battles(draw: st.DrawFn) -> tuple[dict[str, int], int, list[tuple[str, int, int]]]:
    held = draw(st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-12, 12).filter(bool), min_size=1))
    acts = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["fill", "fill", "done", "mark", "tick"]), st.integers(1, 12), st.integers(1, 2000)
            ),
            max_size=25,
        )
    )
    return held, draw(st.integers(0, 23)), acts  # below 30 / 1.2, the lowest line there is


@pytest.mark.rule("G-07", "G-08", "US-09")
@FEW
@given(battles(), st.booleans())
def test_a_close_out_only_ever_reduces_and_ends(
    battle: tuple[dict[str, int], int, list[tuple[str, int, int]]], flatten: bool
) -> None:
    held, cash, acts = battle
    desk = desk_with(str(cash + 1), FLATTEN if flatten else BOOK)
    *first, last = held.items()
    for name, lots in first:
        desk.done(c.TransferPosition("A", name, lots, lots * 10**9, last=False))
    desk.done(c.TransferPosition("A", last[0], last[1], last[1] * 10**9))
    for kind, number, price in [*acts, *[("fill", 12, 1000)] * 60]:
        active = desk.close_out("A")
        if active is None:
            break
        before = {name: int(desk.position("A", name)) for name in held}
        if kind == "mark":
            desk.marks(**{CONTRACTS[number % 3]: str(price)})
        elif kind == "tick" or not active.outstanding:
            desk.done(c.Tick())
        else:
            order = list(active.outstanding)[number % len(active.outstanding)]
            if kind == "done":
                desk.done(c.OrderDone(order, "expired"))
            else:
                lots = abs(active.outstanding[order][1])
                desk.fill_order(order, str(price), str(min(lots, number)))
        for name, lots in before.items():
            now = int(desk.position("A", name))
            assert abs(now) <= abs(lots)
            assert now * held[name] >= 0
        for name in held:
            out = sum(int(quantity) for contract, quantity in desk.outstanding("A") if contract == name)
            now = int(desk.position("A", name))
            assert abs(out) <= abs(now)
            assert out * now <= 0
    active = desk.close_out("A")
    assert active is None
    assert len(desk.events(ev.CloseOutEnded)) >= 1


# -- at any equity ---------------------------------------------------------------------------------------


@pytest.mark.rule("G-08", "G-10", "US-13", "G-01")
@FEW
@given(
    st.integers(1, 2 * 10**8),
    st.integers(-30, 30).filter(bool),
    st.integers(-200_000, 400_000),
    st.integers(-500_000, 900_000),
)
def test_an_account_below_its_line_is_closed_out_at_any_equity(cash: int, lots: int, mark: int, price: int) -> None:
    desk = Desk("kraken-us", FLATTEN)
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A")
    desk.done(c.Deposit("A", cash))
    desk.done(c.TransferPosition("A", "CAR", lots, lots * 10**9))
    for _ in range(2):
        desk.done(c.Marks((c.Mark("CAR", mark),)))
    if desk.close_out("A") is None:
        return
    desk.close_at("A", desk.facts("CAR").price_text(price))
    # Gone to zero, whatever it took: what is missing is owed to the micro, what is left is the customer's.
    left = cash + lots * (price - 100_000) * 10_000 - abs(lots) * 250_000 - 25_000_000
    row = desk.state.row("A")
    assert int(desk.state.book.receivable[row]) == max(0, -left)
    assert int(desk.state.book.cash[row]) == max(0, left)
    assert desk.close_out("A") is None
    assert desk.position("A", "CAR") == "0"


@pytest.mark.rule("G-08", "G-04")
@pytest.mark.parametrize(("dust", "owed"), [(-1, "0.000001"), (0, "0.00"), (1, "0.00")])
def test_a_micro_either_side_of_nothing(dust: int, owed: str) -> None:
    desk = desk_with("1000", FLATTEN, CAR=4)
    if dust:
        desk.done(c.AdjustCash("A", dust, "ann", "bob", "dust"))
    desk.marks(CAR="756.50")
    desk.close_at("A", "756.50")  # 1,000 - 974 - 1 - 25
    assert desk.owed("A") == owed
    assert desk.cash("A") == ("0.000001" if dust > 0 else "0.00")


@pytest.mark.rule("G-08")
def test_a_close_out_at_minus_a_billion_is_still_planned_and_ends() -> None:
    desk = desk_with("1000", CAR=4, BUS=-4)
    for _ in range(2):  # the jump is confirmed
        desk.marks(CAR="-100000000", BUS="100000000")
    assert sorted(desk.outstanding("A")) == [("BUS", "4"), ("CAR", "-4")]
    desk.close_at("A", "-100000000")
    assert desk.position("A", "CAR") == desk.position("A", "BUS") == "0"
    assert desk.close_out("A") is None


@pytest.mark.rule("G-08", "G-10")
def test_fees_that_eat_the_balance_do_not_stop_a_plan() -> None:
    fees = {**BOOK, "contracts": {"CAR": flat_margin("50", fee_per_contract="400", session="cme_equity")}}
    desk = Desk("kraken-us", fees)
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "150")
    desk.hold("A", "CAR", "4", "1000")
    assert desk.outstanding("A") == [("CAR", "-4")]  # no fewer cure: closing costs more than margin relieves
    desk.close_at("A", "1000")
    assert desk.owed("A") == "1475.00"


@pytest.mark.rule("G-08", "US-21")
@pytest.mark.parametrize("book", [FLATTEN, BOOK], ids=["flatten_all", "reduce_to_target"])
def test_a_leg_whose_market_opens_does_not_wait_for_an_order_that_is_stuck(book: dict[str, Any]) -> None:
    desk = desk_with("1000", book, CAR=5, BUS=5)
    desk.done(c.Halt("BUS", True))
    desk.marks(CAR="880")
    assert desk.outstanding("A") == [("CAR", "-5")]
    desk.done(c.Halt("CAR", True))  # its order stays out and does not fill
    desk.marks(CAR="860")
    assert desk.outstanding("A") == [("CAR", "-5")]
    events = desk.done(c.Halt("BUS", False))
    assert [order.contract for order in of(events, ev.CloseOutOrder)] == ["BUS"]
    assert of(desk.marks(CAR="850"), ev.CloseOutOrder) == []


@pytest.mark.rule("US-09", "G-07")
def test_what_is_out_counts_before_more_is_sent() -> None:
    """A leg that ranks higher and opens again does not bring the same relief a second time."""
    desk = desk_with("1000", BOOK, CAR=5, BUS=5)
    desk.done(c.Halt("CAR", True))
    desk.marks(CAR="900")
    (order,) = of(desk.log, ev.CloseOutOrder)
    assert (order.contract, order.lots) == ("BUS", -3)
    assert of(desk.done(c.Halt("CAR", False)), ev.CloseOutOrder) == []
    assert of(desk.fill_order(order.order_id, "1000", "1"), ev.CloseOutOrder) == []
    desk.fill_order(order.order_id, "1000")
    assert desk.close_out("A") is None
    assert (desk.position("A", "CAR"), desk.position("A", "BUS")) == ("5", "2")
