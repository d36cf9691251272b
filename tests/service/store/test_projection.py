"""Batches become rows once, in order, whole or not at all."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from tests.service.store.batches import STORY, applied, contents, story, wipe

from closeout.core.units import InputError
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.service.store import Query, Store
from closeout.service.store import records as r

ROOT = Path(__file__).parents[3]

EVENTS = [
    (
        ev.Posted("A", "fees", "house", "USD", 7, "fee"),
        r.Posting(1, 0, 10, "A", "fees", "house", "USD", 7, "fee"),
    ),
    (
        ev.LevelChanged("A", "normal", "alert", 1, 2, -3),
        r.LevelChange(1, 0, 10, "A", "normal", "alert", 1, 2, -3),
    ),
    (ev.FlagChanged("A", "held", True, "why"), r.FlagChange(1, 0, 10, "A", "held", True, "why")),
    (
        ev.CloseOutOrder("A", "1-A-1", "1-A", "BTC", -5),
        r.Order(1, 0, 10, "A", "1-A-1", "close_out", "BTC", -5, None, "1-A", "sent", "", "", 0, 0, 0, 0, 0),
    ),
    (
        ev.CloseOutEnded("A", "1-A", {"receipt_id": "1-A", "owed": "5.00", "supersedes": None}),
        r.Receipt(1, 0, 10, "A", "1-A", "close_out", "", '{"receipt_id":"1-A","owed":"5.00","supersedes":null}'),
    ),
    (
        ev.CloseOutEnded("A", "1-A", {"kind": "own_brake"}),
        r.Receipt(1, 0, 10, "A", "1-A", "own_brake", "", '{"kind":"own_brake"}'),
    ),
    (
        ev.CorrectionIssued("A", "1c-A", {"kind": "correction", "supersedes": "0-A"}),
        r.Receipt(1, 0, 10, "A", "1c-A", "correction", "0-A", '{"kind":"correction","supersedes":"0-A"}'),
    ),
    (ev.DeficitBooked("A", 5, 9, "1-A"), r.Deficit(1, 0, 10, "A", 5, 9, "1-A")),
    (ev.ReceivableChanged("A", 9, "plan", 3, "aged"), r.ReceivableChange(1, 0, 10, "A", 9, "plan", 3, "aged")),
    (ev.Notice("A", "warning", "alert"), r.Notice(1, 0, 10, "A", "warning", "alert")),
    (ev.Alarm("A", "code", "words"), r.Alarm(1, 0, 10, "A", "code", "words", "", 0)),
    (ev.MarginCallChanged("A", "1m-A", "aged", 4, 3, True), r.MarginCall(1, 0, 10, "A", "1m-A", "aged", 4, 3, True)),
    (
        ev.Reconciled("A", "file.csv", {"cash": (1, 2), "BTC": (0, -3)}),
        r.Reconciliation(1, 0, 10, "A", "file.csv", False, '{"BTC":[0,-3],"cash":[1,2]}'),
    ),
    (ev.Reconciled("A", "file.csv", {}), r.Reconciliation(1, 0, 10, "A", "file.csv", True, "{}")),
    (
        ev.SettingChanged("", "news", "CPI begins", "clock"),
        r.SettingChange(1, 0, 10, "", "news", "CPI begins", "clock"),
    ),
]


@pytest.mark.parametrize(("event", "record"), EVENTS, ids=lambda value: type(value).__name__)
def test_an_event_becomes_an_entry(store: Store, event: ev.AnyEvent, record: r.Entry) -> None:
    store.project([applied(1, event)])
    assert store.page(type(record)).items == [record]


def test_an_entry_stands_at_its_events_place(store: Store) -> None:
    store.project([applied(1), applied(2, ev.Alarm("A", "x", ""), ev.Notice("A", "k", ""), ev.Notice("B", "k", ""))])
    assert [(entry.seq, entry.idx) for entry in store.page(r.Notice).items] == [(2, 1), (2, 2)]


def test_order_checks_are_listed_with_their_outcome(store: Store) -> None:
    check = c.CheckOrder("A", "o1", "BTC", 5, 100)
    huge = c.CheckOrder("A", "o2", "BTC", -(2**63) + 1, 2**64 - 1)
    store.project([
        applied(1, ev.OrderApproved("A", "o1", 1, 2, 3, 4), command=check),
        applied(2, ev.OrderRefused("A", "o1", "margin", "too much", 1, 2, 3, 4, -5), command=check),
        applied(3, ev.OrderRefused("A", "o2", "out_of_bounds", "", 0, 0, 0, 0), command=huge),
    ])  # fmt: skip
    assert store.page(r.Order).items == [
        r.Order(1, 0, 10, "A", "o1", "customer", "BTC", 5, 100, "", "approved", "", "", 1, 2, 3, 4, 0),
        r.Order(2, 0, 20, "A", "o1", "customer", "BTC", 5, 100, "", "refused", "margin", "too much", 1, 2, 3, 4, -5),
        r.Order(
            3, 0, 30, "A", "o2", "customer", "BTC", -(2**63) + 1, 2**63 - 1, "", "refused", "out_of_bounds", "",
            0, 0, 0, 0, 0,
        ),
    ]  # fmt: skip


def test_fills_are_listed_unless_rejected(store: Store) -> None:
    fill = c.Fill("A", "BTC", -2, 99, "o1", "f1")
    store.project([
        applied(1, command=fill, source="venue:paper"),
        applied(2, ev.Rejected("A", "duplicate_fill", ""), command=fill, source="venue:paper"),
    ])  # fmt: skip
    assert store.page(r.Fill).items == [r.Fill(1, 0, 10, "A", "venue:paper", "BTC", -2, 99, "o1", "f1")]


@pytest.mark.rule("US-20")
def test_what_people_send_is_an_act(store: Store) -> None:
    raised = c.SetMargin("BTC", b'[{"notional_from":"0"}]', "ann", "storm")
    limits = c.SetLimits("account", "A", c.Limits(order_lots={"BTC": 5}), "ann", "new")
    store.project([
        applied(1, command=c.Deposit("A", 5), source="clock"),
        applied(2, command=raised, source="key:desk"),
        applied(3, ev.Rejected("A", "unknown_account", "no"), command=c.Deposit("A", 5), source="key:broker"),
        applied(4, ev.OrderRefused("A", "o", "margin", "", 0, 0, 0, 0), command=c.CheckOrder("A", "o", "BTC", 1),
                source="key:c"),
        applied(5, command=limits, source="key:desk"),
        applied(6, command=c.LoadRulebook(b"\xff not JSON"), source="key:desk"),
    ])  # fmt: skip
    acts = store.page(r.Act).items
    assert [(act.seq, act.source, act.command, act.account_id, act.person) for act in acts] == [
        (2, "key:desk", "SetMargin", "", "ann"),
        (3, "key:broker", "Deposit", "A", ""),
        (4, "key:c", "CheckOrder", "A", ""),
        (5, "key:desk", "SetLimits", "", "ann"),
        (6, "key:desk", "LoadRulebook", "", ""),
    ]
    assert [(act.outcome, act.code) for act in acts[:4]] == [
        ("done", ""), ("rejected", "unknown_account"), ("refused", "margin"), ("done", ""),
    ]  # fmt: skip
    assert json.loads(acts[0].document)["tiers"] == [{"notional_from": "0"}]
    assert json.loads(acts[3].document)["limits"]["order_lots"] == {"BTC": 5}
    assert json.loads(acts[4].document) == {"document": b"\xff not JSON".hex()}


def test_text_that_a_database_cannot_hold_is_no_obstacle(store: Store) -> None:
    store.project([applied(1, ev.Rejected("A\0", "x", ""), ev.Notice("A\0B", "k", "\U0001f600"), key="a\0b")])
    assert store.page(r.Notice).items[0].account_id == "A\ufffdB"
    reply = store.find_reply("service", "a\0b")
    assert reply is not None
    assert reply.answers[0].events[0] == ev.Rejected("A\0", "x", "")


def test_receipts_are_found_by_their_id(store: Store) -> None:
    store.project([applied(1, ev.CloseOutEnded("A", "1-A", {"owed": "1"}))])
    receipt = store.receipt("1-A")
    assert receipt is not None
    assert receipt.document == '{"owed":"1"}'
    assert store.receipt("2-A") is None


@pytest.mark.rule("G-09")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=8))
def test_a_batch_twice_or_overlapping_changes_nothing(store: Store, cuts: list[tuple[int, int]]) -> None:
    wipe(store)
    store.project(story(1, 60))
    once = contents(store)
    wipe(store)
    for back, length in cuts:
        first = max(1, store.projected_seq + 1 - back)
        store.project(story(first, min(60, first + length - 1)))
    store.project(story(1, 60))
    store.project(story(1, 60))
    assert contents(store) == once
    assert store.projected_seq == 60


def test_missing_inputs_are_refused(store: Store) -> None:
    store.project(story(1, 10))
    before = contents(store)
    with pytest.raises(InputError, match="up to input 10, cannot go on with input 12"):
        store.project(story(12, 13))
    with pytest.raises(InputError, match="up to input 11, cannot go on with input 13"):
        store.project([*story(11, 11), *story(13, 13)])
    assert contents(store) == before
    assert store.projected_seq == 10


def test_a_batch_that_fails_leaves_nothing(store: Store) -> None:
    store.project(story(1, 10))
    before = contents(store)
    twice = ev.CloseOutOrder("A", "same", "r", "BTC", -1)
    with pytest.raises(IntegrityError):
        store.project([*story(11, 12), applied(13, twice, twice)])
    assert contents(store) == before
    assert store.projected_seq == 10
    store.project(story(11, 13))
    assert store.projected_seq == 13


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("after", [1, 20, 60])
def test_killed_between_and_within_batches(url: str, after: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.service.store.batches", url]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(after):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = [int(line) for line in process.stdout.read().split()]
    process.wait()
    process.stdout.close()

    killed, whole = Store.open(url), Store.open(f"sqlite:///{tmp_path / 'whole.sqlite'}")
    assert killed.projected_seq >= max(told, default=after)
    assert killed.projected_seq < STORY
    whole.project(story(1, killed.projected_seq))
    assert contents(killed) == contents(whole)
    more = killed.projected_seq + 20
    for store in (killed, whole):
        store.project(story(1, more))
    assert contents(killed) == contents(whole)
    killed.close()
    whole.close()


def test_another_store_on_the_same_database_skips_what_it_holds(postgres_url: str) -> None:
    first, second = Store.open(postgres_url), Store.open(postgres_url)
    first.project(story(1, 20))
    second.project(story(1, 30))
    first.project(story(1, 30))
    assert first.projected_seq == second.projected_seq == 30
    assert len(first.page(r.Act, Query(limit=1000)).items) == sum(
        item.input.source == "key:desk" for item in story(1, 30)
    )
    first.close()
    second.close()
