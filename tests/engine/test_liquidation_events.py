"""A liquidation event: its fee, the restriction after it, and what happens while the market takes no orders
(US-10, US-12, US-21, G-06, G-08, G-18)."""

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
        "CAR": flat_margin("50", "300", session="cme_equity"),
        "BUS": flat_margin("50", "300", session="cme_crypto"),
    },
    "close_out": {"method": "reduce_to_target", "target": "1.00"},
}


def four_cars(cash: str = "1000") -> Desk:
    """Four contracts worth 1,000 each, 50 dollars intraday: liquidated below a net liq of 166.67."""
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.session("cme_crypto")
    desk.marks(CAR="1000", BUS="1000")
    desk.account("A", cash)
    desk.hold("A", "CAR", "4", "1000")
    return desk


@pytest.mark.rule("US-10", "US-09")
def test_the_first_event_costs_25_and_each_later_one_50() -> None:
    desk = four_cars()
    fees: list[str] = []
    for _ in range(3):
        net_liq = desk.state.risk(desk.state.row("A")).net_liq
        lots = int(desk.position("A", "CAR"))
        fall = (net_liq - lots * 41_000_000) // lots  # net liq of 41 dollars a contract is below 50 / 1.2
        mark = desk.state.contract("CAR").mark
        assert mark is not None
        price = desk.facts("CAR").price_text(mark - fall // 10_000)
        desk.marks(CAR=price)
        desk.close_at("A", price)
        ended = desk.events(ev.CloseOutEnded)[-1]
        fees.append(ended.receipt["liquidation_fee"])
        desk.deposit("A", "1000")
        desk.desk("A", "release_restriction", "bob")
        desk.trade("A", "CAR", str(4 - int(desk.position("A", "CAR"))), price)
    assert fees == ["25.00", "50.00", "50.00"]
    assert desk.balance("fees") == "-125.00"


@pytest.mark.rule("US-10")
def test_one_event_lasts_from_entry_until_cured_however_many_orders_it_takes() -> None:
    desk = four_cars()
    desk.marks(CAR="790")
    assert desk.outstanding("A") == [("CAR", "-2")]  # 160 - 25 carries two contracts
    order = next(iter(desk.state.order_owner))
    desk.fill_order(order, "780", "1")  # 10 worse than the mark: 125 still carries two
    assert desk.outstanding("A") == [("CAR", "-1")]
    desk.marks(CAR="770")
    desk.fill_order(order, "770", "1")
    assert desk.outstanding("A") == [("CAR", "-1")]  # 75 carries one
    desk.close_at("A", "770")
    assert desk.position("A", "CAR") == "1"
    (ended,) = desk.events(ev.CloseOutEnded)
    assert len(ended.receipt["orders"]) == 2
    assert [p.micros for p in desk.events(ev.Posted) if p.reason == "liquidation fee"] == [desk.micros("25")]


@pytest.mark.rule("US-10", "US-01", "G-13")
def test_the_fee_is_pending_from_the_first_order_on_and_counts_at_once() -> None:
    desk = four_cars()
    desk.marks(CAR="790")
    assert desk.net_liq("A") == "135.00"
    assert desk.cash("A") == "1000.00"


@pytest.mark.rule("US-10")
def test_an_event_that_fills_nothing_has_no_fee_no_restriction_and_does_not_count() -> None:
    desk = four_cars()
    desk.marks(CAR="790")
    (order,) = desk.state.order_owner
    desk.marks(CAR="1000")
    assert desk.close_out("A") is not None  # an order that was sent is not recalled
    desk.done(c.OrderDone(order, "expired"))
    assert desk.close_out("A") is None
    assert desk.net_liq("A") == "1000.00"
    assert desk.level("A") is Level.NORMAL
    assert not desk.has("A", Flag.RESTRICTED)
    (ended,) = desk.events(ev.CloseOutEnded)
    assert ended.receipt["liquidation_fee"] == "0.00"
    assert [notice.kind for notice in desk.events(ev.Notice)] == []
    desk.marks(CAR="790")
    desk.close_at("A", "790")
    assert desk.events(ev.CloseOutEnded)[-1].receipt["liquidation_fee"] == "25.00"


@pytest.mark.rule("US-12", "US-06")
def test_a_restricted_account_must_fit_initial_margin_whatever_its_toggle_says() -> None:
    desk = four_cars()
    desk.marks(CAR="790")
    desk.close_at("A", "790")
    assert desk.position("A", "CAR") == "2"
    assert desk.has("A", Flag.RESTRICTED)
    assert desk.requirement("A") == "100.00"  # what is held keeps the window's requirement
    desk.deposit("A", "865")
    assert desk.net_liq("A") == "1000.00"
    desk.done(c.SetValidation("A", with_intraday=True))
    assert desk.refusal("A", "CAR", "2") == "margin"  # 4 x 300
    desk.done(c.CancelOrder(desk.approved("A", "CAR", "1")))
    for second in ("", "ann"):
        assert desk.refused(c.DeskAction("A", "release_restriction", "ann", "calm", second)) == "needs_second"
    desk.desk("A", "release_restriction", "bob")
    assert not desk.has("A", Flag.RESTRICTED)
    assert desk.approved("A", "CAR", "2")


@pytest.mark.rule("US-12")
def test_where_the_rulebook_does_not_restrict_nothing_is_restricted() -> None:
    desk = Desk("kraken-us", {**BOOK, "restriction": {"after_liquidation": False}})
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "1000")
    desk.hold("A", "CAR", "4", "1000")
    desk.marks(CAR="790")
    desk.close_at("A", "790")
    assert not desk.has("A", Flag.RESTRICTED)


def _close(desk: Desk) -> None:
    desk.session("cme_equity", "intraday", is_open=False)
    desk.marks(CAR="790")


def _halt(desk: Desk) -> None:
    desk.done(c.Halt("CAR", True))
    desk.marks(CAR="790")


def _jump(desk: Desk) -> None:
    desk.marks(CAR="499.99")


def _stale(desk: Desk) -> None:
    desk.marks(CAR="800")
    desk.wait(301)
    desk.news("5", "CAR", held=True)


def _missing(desk: Desk) -> None:
    desk.marks(CAR="800")
    desk.marks(CAR=None)
    desk.news("5", "CAR", held=True)


BLOCKED = {
    "closed": (_close, "market closed", lambda desk: desk.session("cme_equity")),
    "halted": (_halt, "trading halted", lambda desk: desk.done(c.Halt("CAR", False))),
    "jump": (_jump, "mark is jump", lambda desk: desk.marks(CAR="499.99")),
    "stale": (_stale, "mark is stale", lambda desk: desk.marks(CAR="800")),
    "missing": (_missing, "mark is missing", lambda desk: desk.marks(CAR="800")),
}


@pytest.mark.rule("US-21", "G-06", "G-08", "G-07")
@pytest.mark.parametrize(("block", "reason", "release"), BLOCKED.values(), ids=BLOCKED.keys())
def test_while_no_order_can_go_out_the_plan_waits_is_told_once_and_goes_out_then(
    block: Any, reason: str, release: Any
) -> None:
    desk = four_cars()
    block(desk)
    assert desk.level("A") is Level.LIQUIDATING
    assert desk.events(ev.CloseOutOrder) == []
    for _ in range(3):
        desk.done(c.Tick())
    (queued,) = desk.events(ev.CloseOutQueued)
    assert (queued.account_id, queued.contract, queued.reason) == ("A", "CAR", reason)
    assert [a.account_id for a in desk.events(ev.Alarm) if a.code == "close_out_queued"] == ["A"]
    assert desk.money(int(desk.state.book.pending[desk.state.row("A")])) == "0.00"
    assert of(release(desk), ev.CloseOutOrder) != []
    assert desk.events(ev.CloseOutQueued) == [queued]
    mark = desk.state.contract("CAR").mark
    assert mark is not None
    desk.close_at("A", desk.facts("CAR").price_text(mark))
    assert desk.close_out("A") is None


@pytest.mark.rule("US-21", "US-10", "US-01")
def test_a_deposit_that_cures_before_the_open_ends_the_event_without_a_fee() -> None:
    desk = four_cars()
    _close(desk)
    desk.deposit("A", "6.666666")
    assert desk.close_out("A") is not None  # one micro short of the line, and far from the target
    desk.deposit("A", "33.333333")
    assert desk.close_out("A") is not None  # above the line, but not at the target of 100 %
    events = desk.deposit("A", "0.000001")
    assert desk.close_out("A") is None
    (ended,) = of(events, ev.CloseOutEnded)
    assert ended.receipt["liquidation_fee"] == "0.00"
    assert ended.receipt["orders"] == []
    assert (desk.net_liq("A"), desk.level("A")) == ("200.00", Level.ALERT)
    assert of(desk.session("cme_equity"), ev.CloseOutOrder) == []
    assert not desk.has("A", Flag.RESTRICTED)


@pytest.mark.rule("US-21", "G-07")
def test_what_can_be_closed_is_closed_while_the_rest_waits() -> None:
    desk = four_cars("2000")
    desk.hold("A", "BUS", "4", "1000")
    desk.session("cme_equity", "intraday", is_open=False)
    events = desk.marks(CAR="700", BUS="650")  # 2,000 - 1,200 - 1,400 is below any line
    assert desk.outstanding("A") == [("BUS", "-4")]
    assert [q.contract for q in of(events, ev.CloseOutQueued)] == ["CAR"]
    desk.close_at("A", "650")
    assert desk.close_out("A") is not None
    assert desk.owed("A") == "0.00"
    desk.session("cme_equity")
    desk.close_at("A", "700")
    assert desk.owed("A") == "625.00"
    assert desk.close_out("A") is None


@pytest.mark.rule("G-06")
def test_a_mark_is_a_jump_until_the_next_one_confirms_or_refutes_it() -> None:
    desk = four_cars("10000")
    for price, grade in (
        ("1500", "ok"),  # exactly half more is no jump
        ("2250.01", "jump"),
        ("1500", "ok"),  # refuted by one that is near the last good mark
        ("700", "jump"),
        ("750", "ok"),  # confirmed by one that is near it
        ("375", "ok"),
        ("187.49", "jump"),
        ("600", "jump"),  # neither confirms nor refutes
        ("600", "ok"),
    ):
        desk.marks(CAR=price)
        assert desk.state.grade(desk.state.contract("CAR")) == grade, price
    alarms = [alarm.code for alarm in desk.events(ev.Alarm)]
    assert alarms.count("mark_jump") == 4


@pytest.mark.rule("G-06")
def test_a_mark_grows_stale_after_its_time_and_not_at_it() -> None:
    desk = four_cars("10000")
    contract = desk.state.contract("CAR")
    desk.wait(300)
    assert desk.done(c.Tick()) == []
    assert desk.state.grade(desk.state.contract("CAR")) == "ok"
    assert desk.approved("A", "CAR", "1")
    desk.time += 1
    desk.done(c.Tick())
    assert desk.state.grade(desk.state.contract("CAR")) == "stale"
    assert desk.refusal("A", "CAR", "1") == "mark_grade"
    assert desk.approved("A", "CAR", "-1")  # what only reduces passes
    assert contract.mark == desk.ticks("CAR", "1000")


@pytest.mark.rule("G-06")
def test_losing_a_mark_neither_raises_equity_nor_lowers_the_requirement_and_alarms() -> None:
    desk = four_cars()
    desk.marks(CAR="900")
    before = desk.net_liq("A"), desk.requirement("A")
    events = desk.marks(CAR=None)
    assert (desk.net_liq("A"), desk.requirement("A")) == before
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["mark_missing"]
    assert of(desk.marks(CAR=None), ev.Alarm) == []
    assert desk.refusal("A", "CAR", "1") == "mark_grade"


@pytest.mark.rule("G-18", "G-06")
def test_a_position_without_any_mark_is_taken_at_its_bounded_worst_and_never_closed() -> None:
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.session("cme_crypto")
    desk.account("A", "3000")
    events = desk.hold("A", "CAR", "4", "1000")
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["unpriced"]
    assert desk.has("A", Flag.UNPRICED)
    assert desk.net_liq("A") == "1000.00"  # half of the cost is taken as lost
    assert desk.refusal("A", "CAR", "1") == "unpriced"
    desk.marks(BUS="1000")
    assert desk.refusal("A", "BUS", "1") == "unpriced"
    assert desk.refused(desk.withdraw("A", "1")) == "unpriced"
    desk.hold("A", "BUS", "4", "1000")
    events = desk.marks(BUS="750")  # the rest is judged all the same: 1,000 - 1,000 is at the floor
    assert desk.outstanding("A") == [("BUS", "-4")]
    assert [q.reason for q in of(events, ev.CloseOutQueued)] == ["mark is missing"]
    events = desk.marks(CAR="1000")
    assert not desk.has("A", Flag.UNPRICED)
    assert desk.net_liq("A") == "1975.00"
    assert of(events, ev.CloseOutOrder) == []


@pytest.mark.rule("G-18")
def test_a_fill_of_an_unknown_order_is_booked_to_its_account_and_of_an_unknown_account_to_suspense() -> None:
    desk = four_cars()
    events = desk.fill("A", "CAR", "1", "1000", "who?")
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["unknown_order"]
    assert desk.position("A", "CAR") == "5"
    events = desk.fill("nobody", "CAR", "7", "1000", "who?")
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["unknown_account"]
    assert desk.position("suspense", "CAR") == "7"
    desk.marks(CAR="700")
    assert desk.close_out("suspense") is None
    desk.fill("nobody", "CAR", "-7", "600", "who?")
    assert desk.cash("suspense") == "-2800.00"
    assert desk.balance("suspense") == "2800.00"
