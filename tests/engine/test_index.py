"""The trigger index names whom the full scan names, whatever happened in between (G-12)."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from tests.engine.index_books import MECHANISMS, NEARLY, alone, starts
from tests.engine.index_walk import LARGE, Walk
from tests.model.rulebooks import document

from closeout.core.contracts import Position
from closeout.core.margin import Level, News
from closeout.core.units import RATE
from closeout.engine import ledger as books
from closeout.engine import scan
from closeout.engine.engine import initial_state
from closeout.engine.index import BOTH, Index
from closeout.engine.kernels import compiled
from closeout.engine.state import State

STARTS = starts()
SEEDS = range(2)


def due(state: State) -> list[int]:
    """Who would be stored at another level, as the scan says."""
    return sorted(set(scan.scanned(state)[1].tolist()) - state.book.house)


def agree(state: State, index: Index) -> list[int]:
    """Index and scan name the same accounts; returns them, stored at their new levels."""
    found = sorted(index.changed().tolist())
    assert found == due(state)
    level = scan.as_stored(state)[1]
    state.book.level[found] = level[found]
    state.book.positions.touch(np.array(found, np.int64))
    return found


@pytest.mark.rule("G-12", "G-04")
@pytest.mark.parametrize("name", STARTS)
def test_the_kernels_say_what_core_says(name: str) -> None:
    """Of one account after another, at every level that it might be stored at."""
    walk = Walk.of(7, STARTS[name], LARGE)
    walk.state.index = Index.over(walk.state)
    for _ in range(3):
        for step in ("marks", "window", "margin", "news", "flag", "desk"):
            getattr(walk, step)()
        state = walk.state
        book, rows = state.book, np.arange(state.book.count)
        risks = [state.risk(int(row)) for row in rows]
        assert Index.over(state).net_liqs(rows).tolist() == [risk.net_liq for risk in risks]
        stored = scan.as_stored(state)[1].tolist()
        for row, risk in enumerate(risks):
            assert stored[row] == risk.level or (stored[row], risk.level) == (2, 3)
        for level in range(4):
            book.level[:] = level
            expected = [row for row in rows.tolist() if stored[row] != level and row not in book.house]
            assert sorted(Index.over(state).changed().tolist()) == expected


@pytest.mark.rule("G-12")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", STARTS)
def test_the_index_names_whom_the_scan_names(name: str, seed: int) -> None:
    Walk.of(seed, STARTS[name], LARGE).run()


# -- crowds --------------------------------------------------------------------------------------------


def crowd(state: State, count: int, seed: int) -> None:
    """New accounts with a position each in ONE, most of them next to a line."""
    random, book, contract = np.random.default_rng(seed), state.book, state.contract("ONE")
    assert contract.mark is not None
    rows = book.add_all([f"a{number:06}" for number in range(book.count, book.count + count)]) + np.arange(count)
    lots = random.integers(1, 100, count) * random.choice([-1, 1], count)
    cost = contract.contract.value(contract.mark, lots) + random.integers(-50, 50, count) * 1000
    book.positions.load(rows, np.full(count, contract.index), lots, cost)
    contract.load()
    net_liq, requirement, _ = scan.levels(state)
    line = requirement[rows] * random.choice([80, 100, 125], count) // 100
    book.cash[rows] = line + line * random.integers(-100, 1000, count) // 50_000 - net_liq[rows]


@pytest.mark.rule("G-12")
def test_a_crowd_near_its_lines() -> None:
    """Looked at by both halves at once, all triggers dropped when too many are crossed, and given again bit by bit."""
    state = one_contract("ONE", document(MECHANISMS), 2000)
    contract, book = state.contract("ONE"), state.book
    contract.window = state.policy.windows["intraday"]
    crowd(state, BOTH + 5000, 1)
    index = Index.over(state)
    assert len(agree(state, index)) > 1000
    seen = 0
    for mark in (2000, 2000, 2000, 2001, 2000, 1999, 1998, 2000, 2040, 2041, 2040, 1000, 1001, 7000, 7001, 2000, 2001):
        contract.mark = mark
        seen += len(agree(state, index))
        assert agree(state, index) == []
    assert seen > 10_000
    resets = index.counters["resets"]
    for count in (200, 20_000):
        crowd(state, count, count)
        agree(state, index)
        agree(state, index)
    for _ in range(160):
        agree(state, index)
    assert index.counters["loose"] == int((scan.levels(state)[2] == Level.LIQUIDATING).sum())
    assert index.counters["accounts_anchored"] + index.counters["loose"] >= book.count - len(book.house)
    assert index.counters["resets"] > resets > 2
    book.cash[: book.count : 3] -= 10**6
    book.positions.touch(np.arange(0, book.count, 3))
    assert len(agree(state, index)) > 100


# -- cases that went wrong ---------------------------------------------------------------------------


def one_contract(name: str, rulebook: bytes, mark: int) -> State:
    """A state in which only the contract `name` has a mark."""
    state = initial_state(rulebook)
    state.contract(name).mark = mark
    return state


@pytest.mark.rule("G-12")
def test_what_the_firm_books_for_itself_is_nobodys_change() -> None:
    """Where the columns are exactly full, "nobody" (-1) is the last account's place."""
    state = one_contract("ONE", document(MECHANISMS), 2000)
    book, contract = state.book, state.contract("ONE")
    book.add_all([f"a{number}" for number in range(64 - book.count)])
    last = book.count - 1
    contract.store(last, Position(10, contract.contract.value(2000, 10)))
    book.cash[last] = 10**8 + 50 * 10**6
    assert len(book.cash) == len(book.positions.first) == book.count
    index = Index.over(state)
    agree(state, index)
    book.cash[last] -= 145 * 10**6
    book.positions.moved.add(last)
    state.post(-1, books.SEGREGATED_BANK, books.CLEARING_HOUSE, 5, "variation")
    assert agree(state, index) == [last]


@pytest.mark.rule("G-12", "US-08")
def test_a_multiple_of_a_rounded_margin_is_rounded_as_often() -> None:
    """A tick is worth a fraction of a micro, and 37 times intraday margin moves by 37 micros at once."""
    state = one_contract("TINY", alone("TINY", tiers=[NEARLY]), 3_000_000)
    contract = state.contract("TINY")
    contract.news = News(37 * RATE, held=True)
    for number in range(600):
        row, lots = state.book.add(f"a{number:03}"), 1 + number % 3
        contract.store(row, Position(lots, contract.contract.value(3_000_000, lots)))
        risk = state.risk(row)
        state.book.cash[row] += risk.lines[0] + number // 3 - risk.net_liq
    index = Index.over(state)
    agree(state, index)
    agree(state, index)
    for ticks in range(3_000_000, 2_999_400, -1):
        contract.mark = ticks
        agree(state, index)


@pytest.mark.rule("G-12")
def test_a_mark_that_drops_all_triggers_finds_new_accounts_counted() -> None:
    """There is room for them, and for new positions, before the mark is taken in: each gets its triggers once."""
    state = one_contract("ONE", document(MECHANISMS), 2000)
    book, contract = state.book, state.contract("ONE")

    def more(first: int, end: int) -> None:
        for number in range(first, end):
            row = book.add(f"a{number}")
            contract.store(row, Position(10, contract.contract.value(2000, 10)))
            book.cash[row] = 10**9

    more(0, 50)
    index = Index.over(state)
    agree(state, index)
    assert index.counters["accounts_anchored"] == 50
    more(50, 60)
    contract.mark = 200_000  # the wheels are laid out anew, after a look for verdicts alone
    agree(state, index)
    agree(state, index)
    assert index.counters["accounts_anchored"] == 50 + 60


@pytest.mark.rule("G-12")
def test_nothing_needs_a_place_on_the_disk_to_be_compiled() -> None:
    """A service may run where it can write no cache."""

    def twice(number: int) -> int:
        return 2 * number

    twice.__code__ = twice.__code__.replace(co_filename="nowhere.py")
    with pytest.raises(RuntimeError, match="no locator"):
        njit(cache=True)(twice)
    assert compiled(twice)(21) == 42
