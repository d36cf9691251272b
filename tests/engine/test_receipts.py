"""The receipt of a close-out: everything that decided it, as data and in words (G-11, US-11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.engine.bench import Desk, flat_margin, of

from closeout import __version__
from closeout.engine import commands as c
from closeout.engine import events as ev

BOOK: dict[str, Any] = {
    "contracts": {"CAR": flat_margin("50", "300", session="cme_equity", fee_per_contract="1.50")},
    "close_out": {"method": "flatten_all"},
}


def closed_out(fills: list[tuple[str, str]]) -> tuple[Desk, dict[str, Any], list[ev.AnyEvent]]:
    """Four contracts marked down to 780 and filled so (quantity, price); the receipt, and the last input's events."""
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "1000", owner="Ada")
    desk.hold("A", "CAR", "4", "1000")
    desk.wait(60)
    desk.marks(CAR="780", _source="cme")
    events: list[ev.AnyEvent] = []
    for quantity, price in fills:
        desk.wait(1)
        (order,) = desk.state.order_owner
        events = desk.fill_order(order, price, quantity)
    (ended,) = desk.events(ev.CloseOutEnded)
    return desk, ended.receipt, events


@pytest.mark.rule("G-11", "US-11")
def test_a_receipt_holds_what_decided_the_close_out() -> None:
    desk, receipt, _ = closed_out([("4", "780")])
    assert receipt["receipt_id"] == desk.events(ev.CloseOutEnded)[0].receipt_id
    assert (receipt["account_id"], receipt["owner"], receipt["currency"]) == ("A", "Ada", "USD")
    assert receipt["rulebook"] == {
        "name": "kraken-us", "version": desk.rulebook.policy().version, "digest": desk.rulebook.digest,
    }  # fmt: skip
    assert receipt["engine_version"] == __version__
    assert {"US-09", "US-10", "US-13", "G-04"} <= set(receipt["rules"])
    assert receipt["policy"] == {
        "method": "flatten_all", "target": "0.9", "then": [], "waterfall": ["customer_owes"],
    }  # fmt: skip
    assert receipt["trigger"] == {
        "time": "2026-06-10T17:01:00Z",
        "input": int(receipt["receipt_id"].split("-")[0]),
        "cause": "net liq below the auto-liquidation line",
        "net_liq": "120.00",
        "requirement": "200.00",
        "line": "166.666667",
        "usage": "1.6667",
        "marks": [
            {"contract": "CAR", "price": "780.00", "source": "cme", "time": "2026-06-10T17:01:00Z", "grade": "ok"}
        ],
        "margin": [
            {"contract": "CAR", "window": "intraday", "rates": "rulebook", "news_multiplier": None, "news_held": None}
        ],
    }


@pytest.mark.rule("G-11", "US-10")
def test_a_receipt_shows_the_numbers_before_and_after_each_leg() -> None:
    desk, receipt, _ = closed_out([("1", "779"), ("3", "775.25")])
    (order,) = receipt["orders"]
    assert (order["side"], order["quantity"], order["contract"], order["mark"]) == ("sell", "4", "CAR", "780.00")
    assert order["order_id"] == f"{receipt['receipt_id']}-1"
    assert order["before"] == {"net_liq": "95.00", "requirement": "200.00"}  # the fee is pending by then
    one, three = order["fills"]
    assert (one["price"], one["quantity"], one["fee"], one["profit"]) == ("779.00", "1", "1.50", "-221.00")
    assert one["after"] == {"net_liq": "92.50", "requirement": "150.00"}
    assert (three["price"], three["quantity"], three["fee"], three["profit"]) == ("775.25", "3", "4.50", "-674.25")
    assert three["after"] == {"net_liq": "73.75", "requirement": "0.00"}
    assert receipt["liquidation_fee"] == "25.00"
    assert receipt["end"] == {
        "time": "2026-06-10T17:01:02Z", "how": "flat", "net_liq": "73.75", "requirement": "0.00",
    }  # fmt: skip
    assert (receipt["deficit"], receipt["owed"], receipt["borne_by"]) == ("0.00", "0.00", [])
    assert desk.cash("A") == "73.75"


@pytest.mark.rule("G-11", "US-13")
def test_a_receipt_says_who_bore_the_deficit() -> None:
    desk, receipt, _ = closed_out([("4", "700")])
    assert (receipt["deficit"], receipt["owed"]) == ("231.00", "231.00")
    assert receipt["borne_by"] == [{"party": "customer, as a debt", "amount": "231.00"}]
    assert "the customer owes 231.00 USD" in receipt["words"]
    assert "does not cap the loss" in receipt["words"]
    assert desk.owed("A") == "231.00"


@pytest.mark.rule("G-11", "US-11", "US-18")
def test_a_receipt_in_words_names_every_number_and_promises_nothing() -> None:
    _, receipt, _ = closed_out([("1", "779"), ("3", "775.25")])
    words = receipt["words"]
    for part in (
        "At 2026-06-10T17:01:00Z account A had a net liq of 120.00 USD against a requirement of 200.00 USD",
        "CAR was marked at 780.00 (cme, 2026-06-10T17:01:00Z, ok)",
        "1 of 4 CAR were sold at 779.00",
        "3 of 4 CAR were sold at 775.25",
        "The liquidation fee was 25.00 USD",
        "the account was flat with a net liq of 73.75 USD",
    ):
        assert part in words
    for promise in ("maximum loss", "cannot lose", "guarantee", "owes"):
        assert promise not in words


@pytest.mark.rule("US-11")
def test_an_event_is_told_once_and_with_its_receipt() -> None:
    desk, receipt, events = closed_out([("4", "780")])
    (notice,) = of(events, ev.Notice)
    assert (notice.account_id, notice.kind, notice.detail) == ("A", "liquidation", receipt["receipt_id"])
    desk.marks(CAR="700")
    desk.marks(CAR="790")
    assert [n.kind for n in desk.events(ev.Notice)].count("liquidation") == 1


@pytest.mark.rule("G-11")
def test_a_receipt_is_plain_data_and_the_same_from_the_journal() -> None:
    desk, receipt, _ = closed_out([("4", "780")])
    assert msgspec.json.decode(msgspec.json.encode(receipt)) == receipt
    again = type(desk.engine)()
    events = [event for given in desk.inputs for event in again.apply(given)]
    (ended,) = of(events, ev.CloseOutEnded)
    assert ended.receipt == receipt


@pytest.mark.rule("G-11", "US-04")
def test_a_close_out_at_the_floor_says_so() -> None:
    levels = {"alert": "4", "liquidate_only": "4", "auto_liquidate": "4"}  # the line is a quarter of 200
    overrides = {**BOOK, "windows": {"intraday": levels}, "net_liq_floor": "80"}
    desk = Desk("kraken-us", overrides)
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "80")
    desk.hold("A", "CAR", "4", "1000")
    desk.close_at("A", "1000")
    (ended,) = desk.events(ev.CloseOutEnded)
    assert ended.receipt["trigger"]["cause"] == "net liq at or below the floor of 80.00"


@pytest.mark.rule("G-11", "US-08")
def test_a_receipt_says_who_set_the_margin_that_decided() -> None:
    desk = Desk("kraken-us", {"contracts": {"CAR": flat_margin("50")}})
    desk.marks(CAR="1000")
    desk.account("A", "300")
    desk.hold("A", "CAR", "4", "1000")
    tiers = b'[{"notional_from": "0", "initial_margin": "400", "maintenance_margin": "300"}]'
    desk.done(c.SetMargin("CAR", tiers, "ann", "volatility"))
    active = desk.state.book.close_outs[desk.state.row("A")]
    (margin,) = active.receipt["trigger"]["margin"]
    assert margin["rates"] == f"set by input {desk.state.seq}"
