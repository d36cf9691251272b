"""What people add: acknowledged alarms, proposals, the access log, and the accounts of a day."""

import pytest
from tests.service.store.batches import applied

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.service.store import Conflict, NotFound, Query, Store
from closeout.service.store import desk as module
from closeout.service.store import records as r

RELEASE = c.ENCODER.encode(c.DeskAction("A", "unlock", "ann", "cleared"))


def test_the_first_to_acknowledge_an_alarm_stays(store: Store) -> None:
    store.project([applied(1, ev.Notice("A", "k", ""), ev.Alarm("A", "x", "look")), applied(2, ev.Alarm("", "y", ""))])
    alarm = store.page(r.Alarm).items[0]
    seen = r.Alarm(1, 1, 10, "A", "x", "look", "ann", 99)
    assert store.acknowledge(alarm.alarm_id, "ann", 99) == seen
    assert store.acknowledge(alarm.alarm_id, "bob", 100) == seen
    open_ones = store.page(r.Alarm, Query(matching={"acknowledged_by": ""})).items
    assert [alarm.code for alarm in open_ones] == ["y"]


@pytest.mark.parametrize("alarm_id", ["1.0", "3.0", "x", "", "1.0c", "9" * 40 + ".1"])
def test_an_alarm_that_is_none_cannot_be_acknowledged(store: Store, alarm_id: str) -> None:
    store.project([applied(1, ev.Notice("A", "k", ""), ev.Alarm("A", "x", ""))])
    with pytest.raises(NotFound, match="no alarm"):
        store.acknowledge(alarm_id, "ann", 1)


@pytest.mark.rule("US-20")
def test_a_proposal_needs_another_to_approve_it(store: Store) -> None:
    made = store.propose("p1", 5, "ann", "release", RELEASE, "cleared")
    assert made == r.Proposal("p1", 5, "ann", "release", RELEASE, "cleared", "open", "", 0, None)
    with pytest.raises(Conflict, match="needs another"):
        store.decide("p1", "ann", True, 6, 77)
    assert store.proposal("p1") == made
    decided = store.decide("p1", "bob", True, 7, 77)
    assert (decided.status, decided.decided_by, decided.decided_at, decided.seq) == ("approved", "bob", 7, 77)
    for approved in (True, False):
        with pytest.raises(Conflict, match="is approved"):
            store.decide("p1", "cid", approved, 8)
    assert store.proposal("p1") == decided


def test_who_proposes_may_withdraw(store: Store) -> None:
    store.propose("p2", 6, "ann", "release", RELEASE, "")
    store.propose("p1", 5, "bob", "release", RELEASE, "")
    store.decide("p2", "ann", False, 7)
    assert [proposal.proposal_id for proposal in store.proposals()] == ["p1", "p2"]
    assert [proposal.proposal_id for proposal in store.proposals("open")] == ["p1"]
    assert [proposal.proposal_id for proposal in store.proposals("rejected")] == ["p2"]


def test_proposals_that_are_none_and_ids_used_twice(store: Store) -> None:
    with pytest.raises(NotFound):
        store.proposal("p1")
    with pytest.raises(NotFound):
        store.decide("p1", "ann", False, 1)
    store.propose("p1", 5, "ann", "release", RELEASE, "")
    with pytest.raises(Conflict, match="made before"):
        store.propose("p1", 6, "bob", "other", b"", "")
    assert store.proposal("p1").proposed_by == "ann"


@pytest.mark.rule("US-20")
def test_the_access_log_keeps_the_order_of_requests(store: Store) -> None:
    entries = [
        r.AuditEntry(5, "k1", "desk", "POST", "/v1/acts", 201, 17, "10.0.0.1"),
        r.AuditEntry(5, "", "", "GET", "/v1/accounts", 401, None, "10.0.0.2"),
        r.AuditEntry(4, "k2", "auditor", "GET", "/v1/acts", 200, None, "::1"),
    ]
    store.audit(entries[:1])
    store.audit([])
    store.audit(entries[1:])
    assert [entry.status for entry in store.page(r.AuditEntry).items] == [201, 401, 200]
    first = store.page(r.AuditEntry, Query(newest_first=True, limit=2))
    rest = store.page(r.AuditEntry, Query(newest_first=True, limit=2, cursor=first.cursor))
    read = [*first.items, *rest.items]
    assert [r.AuditEntry(*[getattr(e, f) for f in e.__struct_fields__[:-1]]) for e in read] == entries[::-1]
    assert rest.cursor is None
    assert [entry.key_id for entry in store.page(r.AuditEntry, Query(matching={"key_id": "k2"})).items] == ["k2"]
    assert [entry.key_id for entry in store.page(r.AuditEntry, Query(until=5)).items] == ["k2"]


def account_day(account_id: str, cash: int) -> r.AccountDay:
    return r.AccountDay(account_id, "ann", -cash, 1, 2, 3, cash, 4, 5, 6, "normal", "held locked", 7)


@pytest.mark.rule("US-22")
def test_a_day_is_kept_whole_and_can_be_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DAY_CHUNK", 2)
    rows = [account_day(account_id, cash) for cash, account_id in enumerate(["B", "A/x", "A", "a", "C"])]
    store.record_day("2026-06-10", rows)
    store.record_day("2026-06-11", rows[:1])
    ordered = sorted(rows, key=lambda row: row.account_id)
    assert store.account_days("2026-06-10") == ordered
    assert store.account_days("2026-06-10", after="A/x", limit=2) == ordered[2:4]
    assert store.days() == ["2026-06-10", "2026-06-11"]
    store.record_day("2026-06-10", rows[1:2])
    assert store.account_days("2026-06-10") == rows[1:2]
    assert store.account_days("2026-06-12") == []


def test_a_day_that_was_not_finished_is_not_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DAY_CHUNK", 2)
    store.record_day("2026-06-10", [account_day("A", 1)])

    def broken() -> "list[r.AccountDay]":
        raise RuntimeError("killed")

    rows = (account_day(name, 1) if name != "D" else broken()[0] for name in "ABCD")
    with pytest.raises(RuntimeError):
        store.record_day("2026-06-10", rows)
    assert store.days() == []
    store.record_day("2026-06-10", [account_day("A", 2)])
    assert store.days() == ["2026-06-10"]
    assert store.account_days("2026-06-10") == [account_day("A", 2)]
