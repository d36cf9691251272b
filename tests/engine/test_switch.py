"""From intraday to initial margin before the close: what holds when, by the session tables (US-02, US-09)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.engine.bench import SECOND, Desk, flat_margin, nanoseconds, of

from closeout.core.margin import Level, MarginKind
from closeout.core.outlook import Account, LookAhead, look_ahead
from closeout.core.times import time_text
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.receipts import usage

CAR: dict[str, Any] = {
    "contracts": {"CAR": flat_margin("50", "300", session="cme_equity")},
    "close_out": {"method": "reduce_to_target", "target": "1.00"},
}
"""A contract of a dollar a point: 50 dollars intraday, 300 dollars initial."""

FLATTEN: dict[str, Any] = {**CAR, "close_out": {"method": "flatten_all"}}
TARGET_90: dict[str, Any] = {**CAR, "close_out": {"method": "reduce_to_target", "target": "0.90"}}


def run(desk: Desk, start: str, end: str) -> None:
    """Give the session's changes in (start, end], the mark fresh a second before each."""
    for instant in desk.state.policy.sessions["cme_equity"].changes(nanoseconds(start), nanoseconds(end)):
        desk.time = instant.time_ns - SECOND
        desk.marks(CAR="1000")
        desk.time = instant.time_ns
        desk.session("cme_equity", instant.window, is_open=instant.is_open)
    desk.at(end)


def four_cars(overrides: dict[str, Any], start: str, cash: str = "1000") -> Desk:
    """A thousand dollars and four contracts, in the middle of a session."""
    desk = Desk("kraken-us", overrides, at=start)
    now = desk.state.policy.sessions["cme_equity"].state(desk.time)
    assert (now.is_open, now.window) == (True, "intraday")
    desk.session("cme_equity", now.window, is_open=now.is_open)
    desk.marks(CAR="1000")
    desk.account("A", cash)
    desk.hold("A", "CAR", "4", "1000")
    return desk


SWITCHES = {
    "Friday before the clocks go forward": ("2026-03-06T18:00:00Z", "2026-03-06T21:45:00Z"),
    "Monday after": ("2026-03-09T17:00:00Z", "2026-03-09T20:45:00Z"),
    "Friday before the clocks go back": ("2026-10-30T17:00:00Z", "2026-10-30T20:45:00Z"),
    "Monday after that": ("2026-11-02T18:00:00Z", "2026-11-02T21:45:00Z"),
    "the clocks of Europe are an hour off": ("2026-10-26T17:00:00Z", "2026-10-26T20:45:00Z"),
    "early close at 12:15": ("2026-11-27T15:00:00Z", "2026-11-27T18:00:00Z"),
    "holiday halt at 12:00": ("2026-11-26T15:00:00Z", "2026-11-26T17:45:00Z"),
    "early close before Christmas": ("2026-12-24T15:00:00Z", "2026-12-24T18:00:00Z"),
}


@pytest.mark.rule("US-02", "US-03", "US-04", "US-09", "US-21", "G-13")
@pytest.mark.parametrize(("start", "switch"), SWITCHES.values(), ids=SWITCHES.keys())
@pytest.mark.parametrize(("overrides", "left"), [(CAR, "3"), (TARGET_90, "2"), (FLATTEN, "0")])
def test_the_switch_closes_out_what_initial_margin_does_not_carry(
    overrides: dict[str, Any], left: str, start: str, switch: str
) -> None:
    desk = four_cars(overrides, start)
    desk.time = nanoseconds(switch) - SECOND
    run(desk, start, time_text(desk.time))
    desk.marks(CAR="1000")
    holding = desk.state.holdings(desk.state.row("A"))[0]
    thousand = desk.micros("1000")
    assert usage(holding.requirement, thousand) == "0.2000"
    assert usage(holding.margin(MarginKind.INITIAL), thousand) == "1.2000"
    assert desk.level("A") is Level.NORMAL
    assert desk.events(ev.CloseOutOrder) == []

    run(desk, time_text(desk.time), switch)
    assert desk.level("A") is Level.LIQUIDATING
    assert desk.state.contract("CAR").is_open
    desk.close_at("A", "1000")
    assert desk.position("A", "CAR") == left
    assert desk.cash("A") == "975.00"
    (ended,) = desk.events(ev.CloseOutEnded)
    assert ended.receipt["trigger"]["usage"] == "1.2000"
    assert ended.receipt["end"]["how"] == ("flat" if left == "0" else "cured")
    assert desk.close_out("A") is None


@pytest.mark.rule("US-02")
def test_initial_margin_holds_until_the_next_open_over_a_holiday_that_spans_days() -> None:
    # Thursday 24 December closes early at 12:15 CT; Friday is Christmas; the next open is Sunday 17:00 CT.
    desk = four_cars(CAR, "2026-12-24T15:00:00Z", cash="1500")
    run(desk, "2026-12-24T15:00:00Z", "2026-12-24T18:00:00Z")
    assert desk.requirement("A") == "1200.00"
    for moment in ("2026-12-24T18:15:00Z", "2026-12-25T18:00:00Z", "2026-12-26T18:00:00Z", "2026-12-27T22:59:59Z"):
        before = time_text(desk.time)
        run(desk, before, moment)
        assert desk.requirement("A") == "1200.00"
        assert not desk.state.contract("CAR").is_open
    run(desk, "2026-12-27T22:59:59Z", "2026-12-27T23:00:00Z")
    assert desk.requirement("A") == "200.00"
    assert desk.state.contract("CAR").is_open


@pytest.mark.rule("US-02", "US-21")
def test_a_market_that_trades_around_the_clock_keeps_its_daily_margin_close() -> None:
    overrides = {"contracts": {"CAR": flat_margin("50", "300", session="cme_crypto")}}
    desk = Desk("kraken-us", {**CAR, **overrides}, at="2026-06-12T18:00:00Z")  # a Friday
    session = desk.state.policy.sessions["cme_crypto"]
    desk.session("cme_crypto")
    desk.marks(CAR="1000")
    desk.account("A", "1000")
    desk.hold("A", "CAR", "4", "1000")
    switches = list(session.changes(desk.time, nanoseconds("2026-06-15T00:00:00Z")))
    assert [(time_text(i.time_ns), i.window, i.is_open) for i in switches] == [
        ("2026-06-12T20:45:00Z", "end_of_day", True),
        ("2026-06-14T22:00:00Z", "intraday", True),
    ]
    desk.time = switches[0].time_ns - SECOND
    desk.marks(CAR="1000")
    desk.time = switches[0].time_ns
    desk.session("cme_crypto", switches[0].window, is_open=True)
    desk.close_at("A", "1000")
    assert desk.position("A", "CAR") == "3"


def ahead(desk: Desk) -> LookAhead:
    """What the look-ahead says of the account before the switch."""
    row = desk.state.row("A")
    window = desk.state.policy.windows["end_of_day"]
    holdings = [replace(h, terms=replace(h.terms, window=window)) for h in desk.state.holdings(row)]
    return look_ahead(Account(desk.state.money(row), tuple(holdings)), desk.state.policy.net_liq_floor)


def switched(desk: Desk) -> bool:
    """Whether the Friday's switch liquidates the account."""
    run(desk, "2026-03-06T18:00:00Z", "2026-03-06T21:45:00Z")
    return desk.close_out("A") is not None


@pytest.mark.rule("US-02", "US-04", "US-27", "G-04")
@pytest.mark.parametrize("cash", ["1000", "847.123456", "1199.999999", "300"])
def test_the_deposit_that_the_look_ahead_names_clears_the_switch_and_a_micro_less_does_not(cash: str) -> None:
    short = ahead(four_cars(CAR, "2026-03-06T18:00:00Z", cash)).short
    assert short == 1_200_000_000 - int(Decimal(cash) * 10**6)
    for given, liquidates in ((short - 1, True), (short, False), (short + 1, False)):
        desk = four_cars(CAR, "2026-03-06T18:00:00Z", cash)
        if given:
            desk.done(c.Deposit("A", given))
        assert switched(desk) == liquidates


@pytest.mark.rule("US-02", "US-09", "US-27")
@pytest.mark.parametrize(
    ("cash", "fewest"), [("1000", 1), ("899.999999", 2), ("600", 2), ("599.999999", 3), ("299", 4)]
)
def test_the_lots_that_the_look_ahead_names_clear_the_switch_and_one_fewer_does_not(cash: str, fewest: int) -> None:
    assert ahead(four_cars(CAR, "2026-03-06T18:00:00Z", cash)).fewest_lots == {"CAR": fewest}
    for lots, liquidates in ((fewest - 1, True), (fewest, False)):
        desk = four_cars(CAR, "2026-03-06T18:00:00Z", cash)
        if lots:
            desk.trade("A", "CAR", str(-lots), "1000")
        assert switched(desk) == liquidates


@pytest.mark.rule("US-02")
def test_contracts_of_other_sessions_keep_their_windows() -> None:
    desk = four_cars(CAR, "2026-03-06T18:00:00Z")
    desk.session("bitnomial")
    run(desk, "2026-03-06T18:00:00Z", "2026-03-06T21:45:00Z")
    assert desk.state.contract("CAR").window.name == "end_of_day"
    assert desk.state.contract("MES").window.name == "end_of_day"
    assert desk.state.contract("PBTCUCZ50").window.name == "intraday"
    assert desk.refused(c.SessionChange("cme_equity", "lunch", True)) == "unknown_window"
    assert desk.refused(c.SessionChange("eurex", "intraday", True)) == "unknown_session"


@pytest.mark.rule("US-04", "G-04")
@pytest.mark.parametrize(
    ("cash", "level"),
    [
        ("250.00", Level.NORMAL),
        ("249.999999", Level.ALERT),
        ("200.00", Level.ALERT),
        ("199.999999", Level.LIQUIDATE_ONLY),
        ("166.666667", Level.LIQUIDATE_ONLY),  # 200 / 1.2, rounded up
        ("166.666666", Level.LIQUIDATING),
    ],
)
def test_levels_of_the_intraday_window(cash: str, level: Level) -> None:
    desk = four_cars(CAR, "2026-03-06T18:00:00Z", cash=cash)
    assert desk.level("A") is level


@pytest.mark.rule("US-04", "G-04")
@pytest.mark.parametrize(
    ("cash", "level"),
    [
        ("1500.00", Level.NORMAL),
        ("1499.999999", Level.ALERT),
        ("1200.00", Level.ALERT),
        ("1199.999999", Level.LIQUIDATING),
    ],
)
def test_levels_of_the_end_of_day_window(cash: str, level: Level) -> None:
    desk = four_cars(CAR, "2026-03-06T18:00:00Z", cash=cash)
    run(desk, "2026-03-06T18:00:00Z", "2026-03-06T21:45:00Z")
    assert desk.level("A") is level


@pytest.mark.rule("US-04")
@pytest.mark.parametrize(("floor", "liquidates"), [("100", True), ("99.999999", False)])
def test_at_the_floor_an_account_with_a_position_is_liquidated(floor: str, liquidates: bool) -> None:
    desk = four_cars({**CAR, "net_liq_floor": floor}, "2026-03-06T18:00:00Z")
    desk.account("B", "100")
    desk.hold("B", "CAR", "1", "1000")
    assert (desk.level("B") is Level.LIQUIDATING) == liquidates
    assert desk.level("A") is Level.NORMAL


@pytest.mark.rule("US-04", "US-03")
def test_without_a_position_the_level_is_normal_and_usage_over_is_no_number() -> None:
    desk = four_cars(CAR, "2026-03-06T18:00:00Z")
    desk.account("flat")
    desk.done(c.Tick())
    assert desk.level("flat") is Level.NORMAL
    assert usage(desk.micros("2100"), desk.micros("500")) == "4.2000"
    assert usage(1, 0) is None
    assert usage(1, -1) is None
    assert usage(1, 1_000_000) == "0.0001"  # rounded up: never shown as unused


@pytest.mark.rule("US-04", "US-11")
def test_each_crossing_is_told_once_with_the_numbers_that_decided_it() -> None:
    desk = four_cars(CAR, "2026-03-06T18:00:00Z")
    seen: list[tuple[str, str]] = []
    for price in ("812", "812", "800", "799.99", "792", "862.50"):
        for event in of(desk.marks(CAR=price), ev.LevelChanged):
            assert desk.money(event.net_liq) == desk.net_liq("A")
            assert desk.money(event.requirement) == "200.00"
            seen.append((event.before, event.after))
    assert seen == [("normal", "alert"), ("alert", "liquidate_only"), ("liquidate_only", "normal")]
    warnings = [notice.detail for notice in desk.events(ev.Notice)]
    assert warnings == ["alert", "liquidate_only"]
