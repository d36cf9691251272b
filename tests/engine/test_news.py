"""News windows by the timer and by hand, and the review of a raise that one person made alone (US-08)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import SECOND, Desk, flat_margin, of

from closeout.core.margin import Level, News
from closeout.core.units import MAX_VALUE, RATE
from closeout.engine import commands as c
from closeout.engine import events as ev

BOOK: dict[str, Any] = {
    "contracts": {
        "CAR": flat_margin("50", "300", session="cme_equity"),
        "BUS": flat_margin("50", "300", session="cme_equity"),
    }
}


def desk_with(quantity: str = "4") -> Desk:
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="1000")
    desk.account("A", "1000")
    desk.hold("A", "CAR", quantity, "1000")
    return desk


def release(
    desk: Desk, begins: int, ends: int, multiplier: int = 4, *, key: str = "cpi", second: str = "", **more: Any
) -> c.ScheduleNews:
    """A release whose window begins and ends so many seconds from now."""
    begin, end = desk.time + begins * SECOND, desk.time + ends * SECOND
    facts: dict[str, Any] = {"contracts": ("CAR",), "held": False, **more}
    return c.ScheduleNews(
        key, facts["contracts"], begin, end, multiplier * RATE, facts["held"], "ann", "inflation", second
    )


def withdrawal(key: str = "cpi", second: str = "") -> c.ScheduleNews:
    return c.ScheduleNews(key, (), 0, 0, 0, False, "ann", "called off", second)


def told(events: list[ev.AnyEvent]) -> list[tuple[str, str]]:
    """Who said the first word of what about news."""
    return [(event.by, event.detail.split(":")[0]) for event in of(events, ev.SettingChanged) if event.what == "news"]


def news(desk: Desk, contract: str = "CAR") -> News | None:
    return desk.state.contract(contract).news


@pytest.mark.rule("US-08")
def test_the_first_tick_at_the_instant_begins_and_ends_the_window() -> None:
    desk = desk_with()
    assert told(desk.done(release(desk, 60, 120))) == [("ann", "cpi")]
    desk.wait(59)
    assert desk.done(c.Tick()) == []
    assert news(desk) is None
    desk.wait(1)
    assert told(desk.done(c.Tick())) == [("clock", "begun")]
    assert news(desk) == News(4 * RATE, False)
    assert desk.refusal("A", "CAR", "2") == "margin"
    desk.wait(59)
    desk.marks(CAR="1000")
    assert desk.done(c.Tick()) == []
    desk.wait(1)
    assert told(desk.done(c.Tick())) == [("clock", "ended")]
    assert news(desk) is None
    assert desk.state.releases == {}
    assert desk.approved("A", "CAR", "2")


@pytest.mark.rule("US-08", "G-13")
def test_a_window_for_positions_held_is_in_the_verdict_of_the_tick_that_begins_it() -> None:
    desk = desk_with("20")
    desk.done(release(desk, 0, 60, held=True))
    assert desk.level("A") is Level.ALERT  # no tick has come
    events = desk.done(c.Tick())
    assert desk.level("A") is Level.LIQUIDATING
    assert of(events, ev.CloseOutOrder) != []


@pytest.mark.rule("US-08")
def test_overlapping_windows_come_to_the_largest_and_end_one_by_one() -> None:
    desk = desk_with("1")
    desk.done(release(desk, 0, 100, 4))
    desk.done(release(desk, 10, 50, 6, key="jobs", contracts=("CAR", "BUS")))
    desk.done(c.NewsWindow(("CAR",), 2 * RATE, True, "ann", "x"))
    assert news(desk) == News(2 * RATE, True)
    desk.done(c.Tick())
    assert (news(desk), news(desk, "BUS")) == (News(4 * RATE, True), None)
    desk.wait(10)
    desk.done(c.Tick())
    assert (news(desk), news(desk, "BUS")) == (News(6 * RATE, True), News(6 * RATE, False))
    desk.done(c.NewsWindow(("CAR",), 0, False, "ann", "x", "bob"))
    assert news(desk) == News(6 * RATE, False)
    desk.wait(40)
    desk.done(c.Tick())
    assert (news(desk), news(desk, "BUS")) == (News(4 * RATE, False), None)
    desk.wait(50)
    desk.done(c.Tick())
    assert news(desk) is None


@pytest.mark.rule("US-08", "G-03")
def test_what_is_due_comes_in_the_order_of_the_instants_and_a_late_tick_does_both() -> None:
    desk = desk_with()
    desk.done(release(desk, 20, 30, key="b"))
    desk.done(release(desk, 10, 20, key="c"))
    desk.done(release(desk, 20, 90, key="a"))
    desk.wait(40)
    events = of(desk.done(c.Tick()), ev.SettingChanged)
    said = [(event.detail.split(": ")[0], event.detail.split(": ")[1]) for event in events]
    assert said == [("begun", "c"), ("begun", "a"), ("begun", "b"), ("ended", "c"), ("ended", "b")]
    assert list(desk.state.releases) == ["a"]


@pytest.mark.rule("US-08", "US-20")
def test_a_release_to_come_is_withdrawn_by_one_and_a_begun_one_by_two() -> None:
    desk = desk_with()
    desk.done(release(desk, 10, 20))
    assert told(desk.done(withdrawal())) == [("ann", "cpi withdrawn")]
    assert desk.refused(withdrawal()) == "unknown_release"
    desk.done(release(desk, 0, 20))
    desk.done(c.Tick())
    for second in ("", "ann"):
        assert desk.refused(withdrawal(second=second)) == "needs_second"
    desk.done(withdrawal(second="bob"))
    assert news(desk) is None


@pytest.mark.rule("US-08", "US-20")
def test_a_begun_release_is_made_harder_by_one_and_softer_by_two() -> None:
    desk = desk_with()
    desk.done(release(desk, 0, 100, 4, held=True))
    desk.done(release(desk, 0, 50, 3))  # not begun yet: one may
    desk.done(release(desk, 0, 100, 4, held=True))
    desk.done(c.Tick())
    softer: list[dict[str, Any]] = [
        {"ends": 99},
        {"multiplier": 3},
        {"held": False},
        {"begins": 1},
        {"contracts": ("BUS",)},
    ]
    for change in softer:
        facts = {"begins": 0, "ends": 100, "multiplier": 4, "held": True, **change}
        assert desk.refused(release(desk, **facts)) == "needs_second"
    desk.done(release(desk, -5, 101, 5, held=True, contracts=("CAR", "BUS")))
    assert news(desk) == news(desk, "BUS") == News(5 * RATE, True)
    desk.done(release(desk, 0, 100, 3, contracts=("BUS",), second="bob"))
    assert (news(desk), news(desk, "BUS")) == (None, News(3 * RATE, False))
    desk.done(release(desk, 10, 100, second="bob"))
    assert (news(desk), news(desk, "BUS")) == (None, None)


@pytest.mark.rule("US-08", "US-20")
def test_by_hand_a_window_is_begun_by_one_and_ended_or_lowered_by_two() -> None:
    desk = desk_with()
    assert told(desk.done(c.NewsWindow(("CAR",), 4 * RATE, True, "ann", "x"))) == [("ann", "CAR")]
    for multiplier, held in ((0, True), (3 * RATE, True), (4 * RATE, False)):
        for second in ("", "ann"):
            lower = c.NewsWindow(("BUS", "CAR"), multiplier, held, "ann", "x", second)
            assert desk.refused(lower) == "needs_second"
    desk.done(c.NewsWindow(("CAR",), 5 * RATE, True, "ann", "x"))
    desk.done(c.NewsWindow(("CAR",), 3 * RATE, True, "ann", "x", "bob"))
    desk.done(c.NewsWindow(("CAR",), 0, True, "ann", "x", "bob"))
    desk.done(c.NewsWindow(("CAR",), 0, True, "ann", "x"))
    assert desk.refused(c.NewsWindow(("CAR",), 4 * RATE, True, "", "x")) == "needs_name"


@pytest.mark.rule("US-08", "G-09", "G-01")
def test_releases_that_cannot_be() -> None:
    desk = desk_with()
    nobody = c.ScheduleNews("cpi", ("CAR",), 1, 2, 4 * RATE, False, "", "x")
    assert desk.refused(nobody) == "needs_name"
    assert desk.refused(release(desk, 10, 10)) == "bad_time"
    assert desk.refused(release(desk, 10, 20, contracts=("CAR", "XYZ"))) == "unknown_contract"
    too_low = c.ScheduleNews("cpi", ("CAR",), 1, 2, RATE - 1, False, "ann", "x")
    assert desk.refused(too_low) == "out_of_bounds"
    lots, dollars = 10**6, 50 * 10**6
    desk.marks(BUS="0.01")
    desk.done(c.TransferPosition("A", "BUS", lots, 0))
    most = MAX_VALUE // (lots * dollars)
    assert desk.refused(release(desk, 10, 20, most + 1, contracts=("BUS",))) == "out_of_bounds"
    desk.done(release(desk, 10, 20, most, contracts=("BUS",)))
    # What is scheduled bounds what may be held: the window that begins cannot be refused.
    assert desk.refused(c.TransferPosition("A", "BUS", lots, 0)) == "out_of_bounds"


# -- reviews -------------------------------------------------------------------------------------------


@pytest.mark.rule("US-08", "US-20")
def test_a_raise_by_one_is_reviewed_by_another() -> None:
    desk = desk_with()
    events = desk.done(desk.set_margin("CAR", intraday_margin="60", initial_margin="300"))
    assert of(events, ev.SettingChanged) == [ev.SettingChanged("", "margin", "CAR: volatility", "ann")]
    assert [alarm.code for alarm in of(events, ev.Alarm)] == ["margin_raised"]
    seq = desk.engine.offered
    assert desk.state.reviews == {seq: ("CAR", "ann")}
    assert desk.refused(c.ReviewMargin(seq, "", "fine")) == "needs_name"
    assert desk.refused(c.ReviewMargin(seq, "ann", "fine")) == "needs_second"
    assert desk.refused(c.ReviewMargin(seq + 1, "bob", "fine")) == "unknown_review"
    (change,) = desk.done(c.ReviewMargin(seq, "bob", "fine"))
    assert isinstance(change, ev.SettingChanged)
    assert (change.what, change.by) == ("review", "bob")
    assert desk.refused(c.ReviewMargin(seq, "bob", "fine")) == "unknown_review"


@pytest.mark.rule("US-08")
def test_a_raise_by_two_or_of_nothing_needs_no_review() -> None:
    desk = desk_with()
    desk.done(desk.set_margin("CAR", "bob", intraday_margin="60", initial_margin="300"))
    desk.done(desk.set_margin("CAR", intraday_margin="60", initial_margin="300"))
    assert desk.state.reviews == {}
    desk.done(desk.set_margin("CAR", "ann", intraday_margin="61", initial_margin="300"))
    assert len(desk.state.reviews) == 1
