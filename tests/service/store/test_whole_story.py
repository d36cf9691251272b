"""A close-out with a deficit, lived through by the real engine: the store holds what happened, to the micro."""

from collections import Counter

import msgspec
import pytest
from sqlalchemy import func, select
from tests.engine.bench import Desk, flat_margin

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.engine import Engine
from closeout.engine.ledger import ACCOUNTS
from closeout.service.applied import Applied
from closeout.service.store import Query, Store
from closeout.service.store import records as r
from closeout.service.store.schema import posting

ALL = Query(limit=1000)


def lived() -> tuple[Desk, list[Applied]]:
    """Two customers; the first falls through his margin with an order working and ends in debt, then pays."""
    car = flat_margin("50", session="cme_equity", fee_per_contract="1.50")
    desk = Desk("kraken-us", {"contracts": {"CAR": car}, "close_out": {"method": "flatten_all"}})
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    for account_id, quantity in (("A", "4"), ("B", "-1")):
        desk.account(account_id, "1000")
        desk.trade(account_id, "CAR", quantity, "1000")
    desk.approved("A", "CAR", "1")
    desk.wait(1)
    desk.marks(CAR="780")
    desk.close_at("A", "600")
    desk.refused(desk.withdraw("A", "1"))
    desk.deposit("A", "50")
    engine = Engine()
    return desk, [Applied(seq, given, engine.apply(given)) for seq, given in enumerate(desk.inputs, 1)]


@pytest.mark.rule("G-02", "G-11", "US-13", "US-22")
def test_the_lists_tell_the_whole_story(store: Store) -> None:
    desk, batch = lived()
    store.project(batch)
    events = [event for item in batch for event in item.events]
    assert events == desk.log

    with store.read() as connection:
        debits = connection.execute(select(posting.c.debit, func.sum(posting.c.micros)).group_by(posting.c.debit))
        balances = Counter({name: int(micros) for name, micros in debits})
        credits = connection.execute(select(posting.c.credit, func.sum(posting.c.micros)).group_by(posting.c.credit))
        balances.subtract({name: int(micros) for name, micros in credits})
    assert {name: balances[name] for name in ACCOUNTS} == desk.state.ledger.balances

    (receipt,) = store.page(r.Receipt, ALL).items
    (ended,) = (event for event in events if isinstance(event, ev.CloseOutEnded))
    assert msgspec.json.decode(receipt.document) == ended.receipt
    (deficit,) = store.page(r.Deficit, ALL).items
    assert deficit.receipt_id == receipt.receipt_id
    assert desk.money(deficit.total) == ended.receipt["owed"]
    paid = store.page(r.ReceivableChange, ALL).items[-1]
    assert paid.total == int(desk.state.book.receivable[desk.state.row("A")]) < deficit.total

    lots = Counter[str]()
    for fill in store.page(r.Fill, ALL).items:
        lots[fill.account_id] += fill.lots
    assert lots == {"A": 0, "B": desk.lots("CAR", "-1")}
    orders = [(order.origin, order.outcome) for order in store.page(r.Order, Query("A")).items]
    assert orders == [("customer", "approved"), ("customer", "approved"), ("close_out", "sent")]
    levels = [change.after for change in store.page(r.LevelChange, Query("A")).items]
    assert "liquidating" in levels


@pytest.mark.rule("G-07", "G-16", "US-11")
def test_the_outbox_cancels_then_orders_and_confirms_once(store: Store) -> None:
    _, batch = lived()
    store.project(batch)
    now = batch[-1].input.time
    (cancel,) = store.due_effects(now, kinds=("cancel", "order"))
    assert isinstance(cancel.event, ev.CancelOrders)
    store.mark_sending(cancel.effect_id)
    assert store.due_effects(now, kinds=("cancel", "order")) == []
    store.mark_sent(cancel.effect_id)
    (order,) = store.due_effects(now, kinds=("cancel", "order"))
    assert isinstance(order.event, ev.CloseOutOrder)
    assert order.effect_id == order.event.order_id

    mails = [effect.event for effect in store.due_effects(now, kinds=("notice",))]
    (confirmed,) = (mail for mail in mails if isinstance(mail, ev.Notice) and mail.kind == "liquidation")
    receipt = store.receipt(confirmed.detail)
    assert receipt is not None
    assert receipt.account_id == confirmed.account_id == "A"


def test_a_rejected_act_of_a_person_is_in_the_audit(store: Store) -> None:
    engine = Desk("kraken-us").engine
    given = c.Input("key:desk", 1, engine.loaded.time, c.DeskAction("nobody", "lock", "ann", "why"))
    store.project([Applied(1, given, engine.apply(given))])
    (act,) = store.page(r.Act).items
    assert (act.person, act.account_id, act.outcome, act.code) == ("ann", "nobody", "rejected", "unknown_account")
