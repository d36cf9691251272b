"""Answers found again by their idempotency key."""

import pytest
from tests.service.store.batches import applied

from closeout.core.times import SECOND
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.service.store import Store
from closeout.service.writer import Answer, command_digest

DAY = 24 * 3600 * SECOND
POSTED = ev.Posted("A", "x", "y", "USD", 1, "deposit")


def test_a_reply_is_the_commands_digest_and_the_answers(store: Store) -> None:
    limits = c.SetLimits("account", "A", c.Limits(order_lots={"B": 1, "A": 2}), "ann", "why")
    ended = ev.CloseOutEnded("A", "2-A", {"owed": None, "legs": [{"a": "1"}]})
    store.project([applied(1), applied(2, POSTED, ended, command=limits, source="key:a", key="k")])
    reply = store.find_reply("key:a", "k")
    assert reply is not None
    assert reply.command_digest == command_digest([limits])
    assert reply.answers == (Answer(2, 20, [POSTED, ended]),)
    assert reply.seq == 2


def test_keys_belong_to_their_source(store: Store) -> None:
    store.project([applied(1, source="key:a", key="k"), applied(2, source="key:b", key="k"), applied(3, key="")])
    for source, seq in (("key:a", 1), ("key:b", 2)):
        reply = store.find_reply(source, "k")
        assert reply is not None
        assert reply.seq == seq
    assert store.find_reply("key:c", "k") is None
    assert store.find_reply("service", "") is None
    assert sorted(store.reply_keys()) == [("key:a", "k"), ("key:b", "k")]


@pytest.mark.parametrize("cut", [2, 3, 4])
def test_the_commands_of_a_file_form_one_reply(store: Store, cut: int) -> None:
    deposits = [c.Deposit("A", micros) for micros in (1, 2, 3)]
    items = [
        applied(1),
        *(applied(seq, POSTED, command=command, source="key:a", key="k") for seq, command in enumerate(deposits, 2)),
        applied(5, source="key:a", key="other"),
    ]
    store.project(items[:cut])
    store.project(items[cut:])
    reply = store.find_reply("key:a", "k")
    assert reply is not None
    assert reply.command_digest == command_digest(deposits)
    assert [answer.seq for answer in reply.answers] == [2, 3, 4]
    assert store.reply_keys().count(("key:a", "k")) == 1


def test_the_first_answer_counts_where_a_key_came_again(store: Store) -> None:
    first, second = c.Deposit("A", 1), c.Deposit("A", 2)
    store.project([applied(1, command=first, key="k"), applied(2), applied(3, command=second, key="k")])
    reply = store.find_reply("service", "k")
    assert reply is not None
    assert reply.command_digest == command_digest([first])
    assert len(reply.answers) == 1


def test_replies_are_kept_for_a_day(store: Store) -> None:
    store.project([applied(1, key="old", time=5), applied(2, key="new", time=6)])
    assert store.prune(DAY + 5) == 0
    assert store.prune(DAY + 6) == 1
    assert store.find_reply("service", "old") is None
    assert store.find_reply("service", "new") is not None
    store.project([applied(1, key="old", time=5)])
    assert store.find_reply("service", "old") is None
