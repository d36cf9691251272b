"""Inputs act once, in order, and the same for everybody (G-02, G-03, G-09, G-19)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin, nanoseconds, of

from closeout.core.units import RATE, InputError
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.engine import Engine

BOOK: dict[str, Any] = {
    "contracts": {
        "CAR": flat_margin("50", "300", session="cme_equity", fee_per_contract="0.25"),
        "BUS": flat_margin("50", "300", session="cme_crypto"),
    },
}


def desk_with(*accounts: str) -> Desk:
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.session("cme_crypto")
    desk.marks(CAR="1000", BUS="1000")
    for account_id in accounts:
        desk.account(account_id, "1000")
    return desk


# -- numbers ---------------------------------------------------------------------------------------------


@pytest.mark.rule("G-09")
def test_an_input_acts_once_and_a_gap_is_not_jumped() -> None:
    desk = desk_with("A")
    number = desk.engine.sources["bench"]
    deposit = c.Deposit("A", 10**6)
    for again in (number, 1, 0, -5):
        (rejected,) = desk.give(deposit, number=again)
        assert isinstance(rejected, ev.Rejected)
        assert rejected.code == "duplicate_input"
    for ahead in (number + 2, number + 100):
        (rejected,) = desk.give(deposit, number=ahead)
        assert isinstance(rejected, ev.Rejected)
        assert rejected.code == "gap_in_inputs"
    assert desk.engine.sources["bench"] == number
    assert desk.cash("A") == "1000.00"
    desk.give(deposit, number=number + 1)
    assert desk.cash("A") == "1001.00"
    (rejected,) = desk.give(deposit, number=number + 1)
    assert desk.cash("A") == "1001.00"


@pytest.mark.rule("G-09")
def test_each_source_counts_for_itself_and_a_refused_command_uses_its_number_up() -> None:
    desk = desk_with("A")
    desk.give(c.Deposit("A", 10**6), source="bank", number=1)
    (rejected,) = desk.give(c.Deposit("nobody", 10**6), source="bank", number=2)
    assert isinstance(rejected, ev.Rejected)
    assert rejected.code == "unknown_account"
    (rejected,) = desk.give(c.Deposit("A", 10**6), source="bank", number=2)
    assert isinstance(rejected, ev.Rejected)
    assert rejected.code == "duplicate_input"
    desk.give(c.Deposit("A", 10**6), source="bank", number=3)
    assert desk.cash("A") == "1002.00"


@pytest.mark.rule("G-09", "G-03")
def test_time_never_runs_back() -> None:
    desk = desk_with("A")
    now = desk.time
    desk.time = now - 1
    assert desk.refused(c.Deposit("A", 1)) == "time_ran_back"
    desk.time = now
    desk.deposit("A", "1")


@pytest.mark.rule("G-09")
def test_the_first_input_loads_a_rulebook_and_no_other_does() -> None:
    engine = Engine()
    (rejected,) = engine.apply(c.Input("s", 1, 0, c.Tick()))
    assert isinstance(rejected, ev.Rejected)
    assert rejected.code == "no_rulebook"
    assert engine.imbalances() == []
    assert Engine.restore(engine.snapshot()).snapshot() == engine.snapshot()
    desk = desk_with()
    assert desk.refused(c.LoadRulebook(desk.rulebook.document())) == "rulebook_loaded"


REFUSED: dict[str, tuple[Any, str]] = {
    "open again": (c.OpenAccount("A"), "duplicate_account"),
    "open without id": (c.OpenAccount(""), "duplicate_account"),
    "open the suspense account": (c.OpenAccount("suspense"), "duplicate_account"),
    "open a house account": (c.OpenAccount("backstop_vault"), "duplicate_account"),
    "parent": (c.OpenAccount("N", parent="nobody"), "unknown_account"),
    "leverage of what": (c.OpenAccount("N", leverage={"XYZ": RATE}), "unknown_contract"),
    "leverage": (c.OpenAccount("N", leverage={"CAR": 0}), "out_of_bounds"),
    "deposit": (c.Deposit("nobody", 1), "unknown_account"),
    "deposit nothing": (c.Deposit("A", 0), "out_of_bounds"),
    "withdraw": (c.Withdraw("A", 10**10), "exceeds_withdrawable"),
    "transfer nothing": (c.TransferPosition("A", "CAR", 0, 0), "zero_quantity"),
    "transfer what": (c.TransferPosition("A", "XYZ", 1, 0), "unknown_contract"),
    "transfer whose": (c.TransferPosition("nobody", "CAR", 1, 0), "unknown_account"),
    "fill what": (c.Fill("A", "XYZ", 1, 1, "o", "f"), "unknown_contract"),
    "fill nothing": (c.Fill("A", "CAR", 0, 1, "o", "f"), "zero_quantity"),
    "fill again": (c.Fill("A", "CAR", 1, 1, "o", "booked"), "duplicate_fill"),
    "done": (c.OrderDone("o", "x"), "unknown_order"),
    "cancel": (c.CancelOrder("o"), "unknown_order"),
    "mark what": (c.Marks((c.Mark("CAR", 90_000), c.Mark("XYZ", 1))), "unknown_contract"),
    "mark twice": (c.Marks((c.Mark("CAR", 90_000), c.Mark("BUS", 1), c.Mark("CAR", 1))), "contract_twice"),
    "mark beyond": (c.Marks((c.Mark("CAR", 90_000), c.Mark("BUS", 2**41))), "out_of_bounds"),
    "session": (c.SessionChange("moon", "intraday", True), "unknown_session"),
    "window": (c.SessionChange("cme_equity", "moon", True), "unknown_window"),
    "halt": (c.Halt("XYZ", True), "unknown_contract"),
    "news": (c.NewsWindow(("CAR", "XYZ"), 4 * RATE, True, "ann", "x"), "unknown_contract"),
    "margin": (c.SetMargin("CAR", b"nonsense", "ann", "x", "bob"), "bad_tiers"),
    "accrue": (c.AccrueFunding("ES", 1), "unpriced"),
    "settle": (c.Settle("XYZ", 1), "unknown_contract"),
    "expire": (c.Expire("CAR", 2**41), "out_of_bounds"),
    "toggle": (c.SetValidation("nobody", True), "unknown_account"),
    "desk": (c.DeskAction("A", "sing", "ann", "x"), "unknown_action"),
    "status": (c.SetReceivableStatus("A", "plan", "ann", "x"), "no_receivable"),
    "write off": (c.WriteOff("A", 1, "ann", "ann", "x"), "needs_second"),
    "adjust": (c.AdjustCash("A", 1, "ann", "", "x"), "needs_second"),
    "correct": (c.CorrectFill("f", None, "ann", "bob", "x"), "unknown_fill"),
}


@pytest.mark.rule("G-09", "G-01")
@pytest.mark.parametrize(("command", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_rejection_says_why_and_leaves_the_state_as_it_was(command: Any, code: str) -> None:
    desk = desk_with("A")
    desk.done(c.Fill("A", "CAR", 1, 100_000, "o", "booked"))
    assert desk.refused(command) == code  # the bench compares the state's image


@pytest.mark.rule("G-09", "G-19")
def test_a_batch_with_one_bad_mark_sets_none() -> None:
    desk = desk_with("A")
    (rejected,) = desk.give(c.Marks((c.Mark("CAR", 90_000), c.Mark("BUS", 2**41))))
    assert isinstance(rejected, ev.Rejected)
    assert desk.state.contract("CAR").mark == 100_000


# -- determinism -----------------------------------------------------------------------------------------


def _story(desk: Desk, *accounts: str) -> Desk:
    for account_id in accounts:
        desk.account(account_id, "1000")
    for account_id in sorted(accounts):
        desk.hold(account_id, "CAR", "4", "1000")
        desk.trade(account_id, "BUS", "-2", "1000")
    desk.marks(CAR="800", BUS="1010")
    for account_id in sorted(accounts):
        desk.close_at(account_id, "790" if account_id != "b" else "600")
    desk.done(c.BusinessDay("2026-06-11"))
    return desk


@pytest.mark.rule("G-03")
def test_two_engines_given_the_same_inputs_are_the_same_to_the_byte() -> None:
    desk = _story(desk_with(), "a", "b", "c")
    assert desk.events(ev.CloseOutEnded) != []
    again = Engine()
    events = [event for given in desk.inputs for event in again.apply(given)]
    assert events == desk.log
    assert ev.ENCODER.encode(events) == ev.ENCODER.encode(desk.log)
    assert again.snapshot() == desk.engine.snapshot()
    assert again.digest() == desk.engine.digest()


@pytest.mark.rule("G-03")
def test_an_engine_restored_in_the_middle_of_a_close_out_goes_on_the_same() -> None:
    desk = _story(desk_with(), "a", "b", "c")
    for cut in range(1, len(desk.inputs)):
        first = Engine()
        for given in desk.inputs[:cut]:
            first.apply(given)
        second = Engine.restore(first.snapshot())
        for given in desk.inputs[cut:]:
            assert second.apply(given) == first.apply(given)
        assert second.digest() == desk.engine.digest()


@pytest.mark.rule("G-03", "G-09")
def test_a_damaged_snapshot_is_refused() -> None:
    picture = desk_with("A").engine.snapshot()
    for damaged in (b"", picture[:-1], b"\x80", picture.replace(b"\xa6format\x05", b"\xa6format\x63")):
        with pytest.raises(InputError, match="snapshot"):
            Engine.restore(damaged)


@pytest.mark.rule("G-03", "G-19")
def test_the_order_in_which_accounts_were_opened_leaves_no_trace() -> None:
    one, other = _story(desk_with(), "a", "b", "c"), _story(desk_with(), "c", "a", "b")
    assert one.engine.digest() == other.engine.digest()
    later = len(one.log) - 40
    assert one.log[later:] == other.log[later:]


@pytest.mark.rule("G-03")
def test_inputs_and_events_survive_the_wire() -> None:
    desk = _story(desk_with(), "a", "b")
    assert c.DECODER.decode(c.ENCODER.encode(desk.inputs)) == desk.inputs
    assert ev.DECODER.decode(ev.ENCODER.encode(desk.log)) == desk.log


# -- batches ---------------------------------------------------------------------------------------------


@pytest.mark.rule("G-19")
def test_one_verdict_after_all_marks_of_a_batch_are_in() -> None:
    desk = desk_with("A", "B")
    desk.hold("A", "CAR", "4", "1000")
    desk.hold("A", "BUS", "-4", "1000")
    desk.hold("B", "CAR", "4", "1000")
    # Each leg alone would liquidate A; together they cancel.
    events = desk.marks(CAR="700", BUS="700")
    assert [change.account_id for change in of(events, ev.LevelChanged)] == ["B"]
    assert desk.net_liq("A") == "1000.00"
    split = desk_with("A")
    split.hold("A", "CAR", "4", "1000")
    split.hold("A", "BUS", "-4", "1000")
    assert of(split.marks(CAR="700"), ev.CloseOutOrder) != []


@pytest.mark.rule("G-19")
def test_events_come_out_by_account_whatever_the_order_of_opening() -> None:
    desk = desk_with("c", "a", "b")
    for account_id in ("b", "c", "a"):
        desk.hold(account_id, "CAR", "4", "1000")
    events = desk.marks(CAR="780")
    assert [order.account_id for order in of(events, ev.CloseOutOrder)] == ["a", "b", "c"]


# -- the ledger ------------------------------------------------------------------------------------------


@pytest.mark.rule("G-02")
def test_every_posting_moves_a_positive_amount_between_two_accounts() -> None:
    desk = _story(desk_with(), "a", "b", "c")
    postings = desk.events(ev.Posted)
    assert all(p.micros > 0 and p.debit != p.credit and p.reason for p in postings)
    balances = dict.fromkeys(desk.state.ledger.balances, 0)
    for p in postings:
        balances[p.debit] += p.micros
        balances[p.credit] -= p.micros
    assert balances == desk.state.ledger.balances
    assert sum(balances.values()) == 0


@pytest.mark.rule("G-02", "G-01")
def test_between_two_customers_of_one_market_money_is_neither_made_nor_lost() -> None:
    desk = desk_with("long", "short")
    for account_id, side in (("long", 1), ("short", -1)):
        desk.trade(account_id, "CAR", str(3 * side), "1000.01")
        desk.trade(account_id, "CAR", str(-2 * side), "1010.07")
    desk.done(c.Expire("CAR", desk.ticks("CAR", "990.55")))
    total = desk.micros(desk.cash("long")) + desk.micros(desk.cash("short"))
    fees = -desk.state.ledger.balances["fees"]
    assert total + fees == desk.micros("2000")
    assert desk.balance("clearing_house") == "0.00"


@pytest.mark.rule("G-03")
def test_time_is_that_of_the_input() -> None:
    desk = desk_with("A")
    desk.at("2031-01-01T00:00:00Z")
    desk.done(c.Tick())
    assert desk.state.time == nanoseconds("2031-01-01T00:00:00Z")


@pytest.mark.rule("G-09", "EX-01")
@pytest.mark.parametrize("document", [b"nonsense", b"[]", b"{}", b"\xff"])
def test_a_document_that_is_no_rulebook_is_rejected_and_the_next_may_be_one(document: bytes) -> None:
    engine = Engine()
    (rejected,) = engine.apply(c.Input("s", 1, 0, c.LoadRulebook(document)))
    assert isinstance(rejected, ev.Rejected)
    assert (rejected.code, bool(rejected.detail)) == ("bad_rulebook", True)
    assert engine.state is None
    assert engine.apply(c.Input("s", 2, 0, c.LoadRulebook(desk_with().rulebook.document()))) == []


@pytest.mark.rule("G-03", "US-24")
def test_orders_sent_keep_their_order_in_a_snapshot() -> None:
    """The tenth order's id sorts before the second's; a restored engine ends them as they were sent all the same."""
    desk = desk_with("A")
    desk.hold("A", "CAR", "8", "1000")
    desk.marks(CAR="900")
    for _ in range(10):
        desk.fill("A", "CAR", "1", "900")  # fills of nobody's order make the position larger
    orders = [order.order_id for order in desk.events(ev.CloseOutOrder)]
    assert len(orders) > 10
    again = Engine.restore(desk.engine.snapshot())
    active = again.loaded.book.close_outs[again.loaded.row("A")]
    assert list(active.outstanding) == orders != sorted(orders)
    events = desk.done(c.Expire("CAR", 90_000))  # the bench holds the restored engine's events against these
    assert [event.order_ids for event in of(events, ev.CancelOrders)] == [(order,) for order in orders]


@pytest.mark.rule("G-03", "G-11")
def test_a_receipt_begun_before_a_snapshot_is_issued_to_the_byte() -> None:
    desk = desk_with("A")
    desk.hold("A", "CAR", "8", "1000")
    desk.marks(CAR="900")
    again = Engine.restore(desk.engine.snapshot())
    desk.close_at("A", "880")
    for given in desk.inputs[again.offered :]:
        events = again.apply(given)
        issued = [json.dumps(event.receipt) for event in of(events, ev.CloseOutEnded)]
    (ended,) = desk.events(ev.CloseOutEnded)
    assert issued == [json.dumps(ended.receipt)]
