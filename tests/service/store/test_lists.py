"""Pages and cursors: everything once, in order, whatever comes in meanwhile."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.service.store.batches import applied, contents, story, wipe

from closeout.core.units import InputError
from closeout.engine import events as ev
from closeout.service.store import Query, Store
from closeout.service.store import records as r
from closeout.service.store.schema import LISTS

ACCOUNTS = ["A", "A/x", "A/x/y", "A0", "A.", "AA", "a", "", "A%", "Å/x"]
"""Among them neighbours of A's isolated positions in several orders of text."""
INPUTS = st.lists(st.lists(st.sampled_from(ACCOUNTS), max_size=3), max_size=12)
BOUND = st.none() | st.integers(0, 130)
HYPOTHESIS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def walk(store: Store, query: Query) -> list[r.Notice]:
    found: list[r.Notice] = []
    while True:
        page = store.page(r.Notice, query)
        assert len(page.items) <= query.limit
        found += page.items
        if page.cursor is None:
            return found
        assert len(page.items) == query.limit
        query = replace(query, cursor=page.cursor)


@HYPOTHESIS
@given(
    inputs=INPUTS, account=st.none() | st.sampled_from(ACCOUNTS), since=BOUND, until=BOUND,
    newest_first=st.booleans(), limit=st.integers(1, 5), kind=st.sampled_from(["", "even", "odd"]),
)  # fmt: skip
def test_pages_together_are_the_filtered_list(
    store: Store, inputs: list[list[str]], account: str | None, since: int | None, until: int | None,
    newest_first: bool, limit: int, kind: str,
) -> None:  # fmt: skip
    wipe(store)
    batch = [
        applied(seq, *(ev.Notice(name, "even" if idx % 2 == 0 else "odd", "") for idx, name in enumerate(names)))
        for seq, names in enumerate(inputs, 1)
    ]
    store.project(batch)
    expected = [
        r.Notice(item.seq, idx, item.input.time, event.account_id, event.kind, "")
        for item in batch
        for idx, event in enumerate(item.events)
        if isinstance(event, ev.Notice)
        and (account is None or event.account_id == account or event.account_id.startswith(f"{account}/"))
        and (since is None or item.input.time >= since)
        and (until is None or item.input.time < until)
        and (not kind or event.kind == kind)
    ]
    if newest_first:
        expected.reverse()
    matching: dict[str, Any] = {"kind": kind} if kind else {}
    assert walk(store, Query(account, since, until, matching, newest_first, None, limit)) == expected


@HYPOTHESIS
@given(first=st.integers(0, 6), second=st.integers(0, 6), limit=st.integers(1, 4), newest_first=st.booleans())
def test_a_cursor_stays_good_while_entries_come_in(
    store: Store, first: int, second: int, limit: int, newest_first: bool
) -> None:
    wipe(store)
    store.project([applied(seq, ev.Notice("A", "k", "")) for seq in range(1, first + 1)])
    query = Query(newest_first=newest_first, limit=limit)
    page = store.page(r.Notice, query)
    store.project([applied(seq, ev.Notice("A", "k", "")) for seq in range(first + 1, first + second + 1)])
    found = [notice.seq for notice in page.items]
    if page.cursor:
        found += [notice.seq for notice in walk(store, replace(query, cursor=page.cursor))]
        last = first if newest_first else first + second
    else:
        last = first
    assert found == (list(range(first, 0, -1)) if newest_first else list(range(1, last + 1)))


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.2.3", "-1.0", "1.0\n", "1" * 30 + ".0", "١.٢"])
def test_a_cursor_that_is_none_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InputError, match="cursor: expected the cursor of an earlier page"):
        store.page(r.Notice, Query(cursor=cursor))


@pytest.mark.parametrize("limit", [-1, 0, 10_001])
def test_a_limit_out_of_bounds_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(InputError, match=f"limit: expected 1 to 10000, got {limit}"):
        store.page(r.Notice, Query(limit=limit))


def test_every_list_can_be_read(store: Store) -> None:
    story_rows = contents(store)
    store.project(story(1, 40))
    filled = [record for record in LISTS if store.page(record, Query(newest_first=True)).items]
    assert set(filled) == {r.Posting, r.Receipt, r.Fill, r.Order, r.Notice, r.LevelChange, r.Act}
    assert story_rows != contents(store)
    for record in set(LISTS) - {r.AuditEntry}:
        assert store.page(record, Query(account_id="nobody", since=0, until=1)) == r.Page([], None)


def test_a_column_that_a_list_has_not_is_an_error(store: Store) -> None:
    with pytest.raises(KeyError):
        store.page(r.Notice, Query(matching={"colour": "red"}))
