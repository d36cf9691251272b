"""The outbox: what becomes an effect, how its state may change, and what is due when."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.service.store.batches import applied, wipe

from closeout.engine import events as ev
from closeout.service.applied import Applied
from closeout.service.store import Conflict, Effect, Store

SUBSCRIBED: list[ev.AnyEvent] = [
    ev.CloseOutEnded("A", "1-A", {}),
    ev.CorrectionIssued("A", "1c-A", {}),
    ev.DeficitBooked("A", 1, 1, "1-A"),
    ev.MarginCallChanged("A", "1m-A", "issued", 1, 1, False),
    ev.LevelChanged("A", "normal", "alert", 1, 1, 1),
    ev.FlagChanged("A", "held", True, ""),
]
NOTICE = ev.Notice("A", "warning", "alert")
SENT = {
    "pending": ["sending", "parked"],
    "failed": ["sending", "parked"],
    "sending": ["sent", "failed", "parked"],
    "parked": ["sent", "failed"],
    "sent": [],
}
"""The state machine: from a state to those that it may be left for."""


def due(store: Store, now: int = 10**9, **more: Any) -> list[str]:
    return [effect.effect_id for effect in store.due_effects(now, **more)]


def mark(store: Store, effect_id: str, state: str) -> None:
    match state:
        case "sending":
            store.mark_sending(effect_id)
        case "sent":
            store.mark_sent(effect_id, "done")
        case "failed":
            store.mark_failed(effect_id, "no line", 0)
        case _:
            store.mark_parked(effect_id, "who knows")


def state(store: Store, effect_id: str) -> str:
    effect = store.effect(effect_id)
    assert effect is not None
    return effect.state


@pytest.mark.rule("G-16")
def test_events_become_effects_under_ids_of_the_journal(store: Store) -> None:
    order = ev.CloseOutOrder("A", "7-A-1", "7-A", "BTC", -5)
    quiet = ev.Posted("A", "fees", "house", "USD", 1, "fee")
    events = [quiet, ev.CancelOrders("A", ("o",), "close-out"), order, NOTICE, ev.Alarm("B", "x", ""), *SUBSCRIBED]
    store.project([applied(1, *events)])
    found = store.due_effects(10)
    assert [(effect.kind, effect.effect_id, effect.account_id) for effect in found] == [
        ("cancel", "1.1c", "A"),
        ("notice", "1.3", "A"),
        ("alarm", "1.4", "B"),
    ]
    assert store.effect("7-A-1") == Effect(
        "7-A-1", "order", 1, 2, 10, "A", ev.ENCODER.encode(order), "pending", 0, 10, ""
    )
    assert [effect.event for effect in found] == [events[1], events[3], events[4]]


def test_webhooks_are_effects_where_somebody_wants_them(url: str) -> None:
    store = Store.open(url, webhooks=True)
    store.project([applied(1, *SUBSCRIBED, NOTICE)])
    found = store.due_effects(10)
    store.close()
    assert [effect.effect_id for effect in found] == [*(f"1.{idx}w" for idx in range(len(SUBSCRIBED))), "1.6"]
    assert [effect.event for effect in found] == [*SUBSCRIBED, NOTICE]


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("before", SENT)
@pytest.mark.parametrize("after", ["sending", "sent", "failed", "parked"])
def test_states_change_as_drawn_and_not_otherwise(store: Store, before: str, after: str) -> None:
    ways = {
        "pending": [], "sending": ["sending"], "sent": ["sending", "sent"],
        "failed": ["sending", "failed"], "parked": ["parked"],
    }  # fmt: skip
    store.project([applied(1, NOTICE)])
    for step in ways[before]:
        mark(store, "1.0", step)
    if after in SENT[before]:
        mark(store, "1.0", after)
        assert state(store, "1.0") == after
    else:
        stood = store.effect("1.0")
        with pytest.raises(Conflict, match=f"cannot become {after}"):
            mark(store, "1.0", after)
        assert store.effect("1.0") == stood


def test_several_change_together_or_not_at_all(store: Store) -> None:
    store.project([applied(1, NOTICE, NOTICE, NOTICE)])
    store.mark_sending(["1.0", "1.1"])
    with pytest.raises(Conflict, match=r"1 of 1\.1, 1\.2 cannot become sending"):
        store.mark_sending(["1.1", "1.2"])
    assert state(store, "1.2") == "pending"
    with pytest.raises(Conflict, match="unheard"):
        store.mark_sent("unheard")
    store.mark_sent(["1.0", "1.1", "1.1"], "250 OK")
    assert due(store) == ["1.2"]


def test_attempts_notes_and_the_time_of_the_next_try(store: Store) -> None:
    store.project([applied(1, NOTICE)])
    assert due(store, 9) == []
    store.mark_sending("1.0")
    store.mark_failed("1.0", "451 later", 100)
    assert due(store, 99) == []
    assert due(store, 100) == ["1.0"]
    store.mark_sending("1.0")
    store.mark_parked("1.0", "550 no such user")
    effect = store.effect("1.0")
    assert effect is not None
    assert (effect.attempts, effect.note, effect.not_before) == (2, "550 no such user", 100)
    assert due(store) == []
    assert [parked.effect_id for parked in store.parked_effects()] == ["1.0"]


@pytest.mark.rule("G-16")
def test_what_was_under_way_is_found_after_a_start(url: str) -> None:
    store = Store.open(url)
    store.project([applied(1, NOTICE), applied(2, NOTICE)])
    store.mark_sending("2.0")
    store.close()
    store = Store.open(url)
    assert [effect.effect_id for effect in store.sending_effects()] == ["2.0"]
    assert due(store) == ["1.0"]
    store.close()


def test_kinds_and_limit(store: Store) -> None:
    store.project([applied(seq, NOTICE, ev.Alarm("A", "x", "")) for seq in (1, 2, 3)])
    assert due(store, limit=3) == ["1.0", "1.1", "2.0"]
    assert due(store, kinds=("alarm",)) == ["1.1", "2.1", "3.1"]


def test_counts_and_age_for_the_metrics(store: Store) -> None:
    assert (store.effect_counts(), store.oldest_due_age(50)) == ({}, 0)
    store.project([applied(1, NOTICE), applied(2, NOTICE), applied(3, NOTICE, ev.Alarm("A", "x", ""))])
    store.mark_sending(["1.0", "2.0"])
    store.mark_sent("1.0")
    assert store.effect_counts() == {("notice", "sending"): 1, ("notice", "pending"): 1, ("alarm", "pending"): 1}
    assert store.oldest_due_age(50) == 30
    store.mark_failed("2.0", "later", 60)
    assert store.oldest_due_age(50) == 20
    assert store.oldest_due_age(60) == 40


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_store_made_again_sends_nothing_blindly(url: str, cut: int) -> None:
    def happened(seq: int) -> Applied:
        order = ev.CloseOutOrder("A", f"{seq}-A-1", f"{seq}-A", "BTC", -5)
        return applied(seq, ev.CancelOrders("A", ("o",), ""), order, NOTICE, ev.Alarm("A", "x", ""))

    store = Store.open(url)
    store.rebuild_to(2)
    store.project([happened(seq) for seq in (1, 2, 3)][:cut])
    store.close()  # as if it was killed here: the rest is still known to be old
    store = Store.open(url)
    store.project([happened(seq) for seq in (1, 2, 3)])
    assert [effect.effect_id for effect in store.sending_effects()] == ["1.0c", "1-A-1", "2.0c", "2-A-1"]
    assert [effect.effect_id for effect in store.parked_effects()] == ["1.2", "1.3", "2.2", "2.3"]
    assert due(store) == ["3.0c", "3.2", "3.3"]
    store.close()


@pytest.mark.rule("G-07")
def test_an_order_waits_for_its_accounts_cancels(store: Store) -> None:
    def order(seq: int, account: str) -> ev.CloseOutOrder:
        return ev.CloseOutOrder(account, f"{seq}-{account}-1", f"{seq}-{account}", "BTC", -1)

    def cancel(account: str) -> ev.CancelOrders:
        return ev.CancelOrders(account, ("o",), "close-out")

    store.project([
        applied(1, cancel("A"), order(1, "A"), order(1, "A/x"), order(1, "B")),
        applied(2, order(2, "A"), cancel("A"), order(2, "C")),
    ])  # fmt: skip
    free = ["1-A/x-1", "1-B-1", "2-C-1"]
    assert due(store, kinds=("order",)) == free
    assert due(store, kinds=("cancel",)) == ["1.0c", "2.1c"]
    for step in ("sending", "failed", "sending", "parked"):
        mark(store, "1.0c", step)
        assert due(store, kinds=("order",)) == free
    store.mark_sent("1.0c", "the desk asked the venue")
    assert due(store, kinds=("order",)) == ["1-A-1", "1-A/x-1", "1-B-1", "2-A-1", "2-C-1"]


KINDS = st.sampled_from(["cancel", "order", "notice"])
STEPS = st.tuples(st.integers(0, 30), st.sampled_from(["sending", "sent", "failed", "parked"]))


@pytest.mark.rule("G-07")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(st.tuples(st.sampled_from("AB"), KINDS), max_size=12), steps=st.lists(STEPS, max_size=25))
def test_what_is_due_is_what_a_plain_list_says(
    store: Store, made: list[tuple[str, str]], steps: list[tuple[int, str]]
) -> None:
    wipe(store)
    events: list[ev.AnyEvent] = []
    ids: list[str] = []
    for idx, (account, kind) in enumerate(made):
        match kind:
            case "cancel":
                events.append(ev.CancelOrders(account, ("o",), ""))
                ids.append(f"1.{idx}c")
            case "order":
                events.append(ev.CloseOutOrder(account, f"1-{account}-{idx}", f"1-{account}", "BTC", -1))
                ids.append(f"1-{account}-{idx}")
            case _:
                events.append(ev.Notice(account, "k", ""))
                ids.append(f"1.{idx}")
    store.project([applied(1, *events)])
    states = ["pending"] * len(made)

    def is_due(place: int) -> bool:
        account, kind = made[place]
        held = kind == "order" and any(
            other == (account, "cancel") and state != "sent"
            for other, state in zip(made[:place], states[:place], strict=True)
        )
        return states[place] in ("pending", "failed") and not held

    for place, step in steps:
        if place < len(made):
            if step in SENT[states[place]]:
                mark(store, ids[place], step)
                states[place] = step
            else:
                with pytest.raises(Conflict):
                    mark(store, ids[place], step)
        assert due(store) == [effect_id for place, effect_id in enumerate(ids) if is_due(place)]
