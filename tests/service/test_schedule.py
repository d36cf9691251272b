"""What falls due when: nothing skipped, nothing twice, whatever the pieces in which the time is asked for."""

import datetime as dt
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.bench import Desk, nanoseconds

from closeout.core.funding import Cadence
from closeout.core.times import MINUTE, SECOND, wall_instants
from closeout.core.units import RATE, rate
from closeout.engine import commands as c
from closeout.rulebooks.loader import load
from closeout.service.schedule import Samples, Schedule

CHICAGO = ZoneInfo("America/Chicago")
DAY = 86_400 * SECOND
BOOK = load("kraken-us")
PERP = "PBTCUCZ50"


def desk(at: str) -> Desk:
    """An account that holds the perpetual, at an instant."""
    bench = Desk("kraken-us", at=at)
    for command in (
        c.Marks((c.Mark(PERP, 20_000),)),
        c.OpenAccount("A1"),
        c.Deposit("A1", 10**12),
        c.TransferPosition("A1", PERP, 10, 20_000 * 10 * 50_000),
    ):
        assert not any(type(event).__name__ == "Rejected" for event in bench.give(command))
    return bench


def due(schedule: Schedule, bench: Desk, since: str, until: str) -> list[tuple[str, c.AnyCommand]]:
    found = schedule.due(bench.engine.loaded, nanoseconds(since), nanoseconds(until))
    assert [time for time, _ in found] == sorted(time for time, _ in found)
    return [
        (dt.datetime.fromtimestamp(time / SECOND, CHICAGO).strftime("%a %H:%M"), command) for time, command in found
    ]


@pytest.mark.rule("US-02", "US-13", "US-14", "US-23", "US-24")
def test_a_day_of_duties_in_chicago_time() -> None:
    schedule, bench = Schedule(BOOK, "07:00"), desk("2026-06-10T05:00:00Z")
    schedule.samples[PERP].mark(nanoseconds("2026-06-10T20:50:00Z"), 20_000)
    for at in ("2026-06-10T07:30:00Z", "2026-06-10T15:30:00Z", "2026-06-10T23:30:00Z"):
        schedule.samples[PERP].sample(nanoseconds(at), 20_020, Fraction(20_000))
    found = due(schedule, bench, "2026-06-10T05:00:00Z", "2026-06-11T05:00:00Z")
    said = [(when, type(command).__name__) for when, command in found if type(command) is not c.SessionChange]
    assert said == [
        ("Wed 03:00", "AccrueFunding"),
        ("Wed 07:00", "BusinessDay"),
        ("Wed 11:00", "AccrueFunding"),
        ("Wed 15:00", "BookFunding"),
        ("Wed 16:00", "Settle"),
        ("Wed 17:00", "TradeDate"),
        ("Wed 19:00", "AccrueFunding"),
    ]
    changes = {(when, command) for when, command in found if isinstance(command, c.SessionChange)}
    assert ("Wed 15:45", c.SessionChange("bitnomial", "end_of_day", True)) in changes
    assert ("Wed 17:00", c.SessionChange("cme_crypto", "intraday", True)) in changes
    assert ("Wed 19:00", c.SessionChange("bitnomial", "intraday", True)) in changes


@pytest.mark.rule("US-02")
@pytest.mark.parametrize(("day", "utc"), [("2026-03-06", "21:45"), ("2026-03-09", "20:45"), ("2026-11-02", "21:45")])
def test_the_switch_follows_daylight_saving(day: str, utc: str) -> None:
    schedule, bench = Schedule(BOOK, "07:00"), desk(f"{day}T12:00:00Z")
    switch = nanoseconds(f"{day}T{utc}:00Z")
    found = schedule.due(bench.engine.loaded, switch - SECOND, switch)
    assert (switch, c.SessionChange("bitnomial", "end_of_day", True)) in found


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 5 * 24 * 60), max_size=12), begin=st.sampled_from(["2026-03-05", "2026-10-29"]))
@pytest.mark.rule("G-13", "US-02")
def test_pieces_of_time_give_what_the_whole_gives(cuts: list[int], begin: str) -> None:
    schedule, state = Schedule(BOOK, "07:00"), desk(f"{begin}T00:00:00Z").engine.loaded
    start = nanoseconds(f"{begin}T00:00:00Z")
    stops = [start, *sorted(start + cut * MINUTE for cut in cuts), start + 5 * DAY]
    pieces = [item for since, until in pairwise(stops) for item in schedule.due(state, since, until)]
    assert pieces == schedule.due(state, start, start + 5 * DAY)
    assert len(pieces) > 20


@pytest.mark.rule("US-13")
def test_business_days_leave_out_weekends_and_full_holidays() -> None:
    bench = desk("2025-12-22T00:00:00Z")
    found = due(Schedule(BOOK, "07:00"), bench, "2025-12-22T00:00:00Z", "2026-01-03T00:00:00Z")
    days = [command.date for _, command in found if isinstance(command, c.BusinessDay)]
    assert "2025-12-25" not in days
    assert "2026-01-01" not in days
    assert not {"2025-12-27", "2025-12-28"} & set(days)
    assert {"2025-12-22", "2025-12-26", "2026-01-02"} <= set(days)


@pytest.mark.rule("US-24")
def test_settlement_prices_fall_back_in_the_rulebooks_order() -> None:
    close = nanoseconds("2026-06-10T21:00:00Z")
    bench = desk("2026-06-10T20:00:00Z")

    def settled(samples: Samples) -> c.AnyCommand:
        schedule = Schedule(BOOK, "07:00", {PERP: samples})
        (found,) = (
            x for _, x in schedule.due(bench.engine.loaded, close - SECOND, close) if not isinstance(x, c.SessionChange)
        )
        return found

    heard = Samples()
    heard.mark(close - 10 * MINUTE, 100)
    heard.mark(close - 2 * MINUTE, 200)  # three of the five minutes at 100, two at 200
    assert settled(heard) == c.Settle(PERP, 140)
    nothing = settled(Samples())
    assert isinstance(nothing, c.RaiseAlarm)
    assert nothing.code == "no_settlement_price"
    bench.give(c.Settle(PERP, 19_000))
    assert settled(Samples()) == c.Settle(PERP, 19_000)


@pytest.mark.rule("US-14")
def test_funding_without_an_index_is_an_alarm_and_not_a_guess() -> None:
    bench = desk("2026-06-10T15:00:00Z")
    found = due(Schedule(BOOK, "07:00"), bench, "2026-06-10T15:59:00Z", "2026-06-10T16:00:00Z")
    assert [type(command).__name__ for _, command in found] == ["RaiseAlarm"]


@pytest.mark.rule("US-14")
def test_the_funding_rate_is_of_the_premiums_of_its_own_interval() -> None:
    end = nanoseconds("2026-06-10T16:00:00Z")
    schedule, bench = Schedule(BOOK, "07:00"), desk("2026-06-10T08:00:00Z")
    schedule.samples[PERP].sample(end - 8 * 60 * MINUTE, 30_000, Fraction(20_000))  # the interval before
    schedule.samples[PERP].sample(end - MINUTE, 20_020, Fraction(20_000))  # 0.1 %, from which the clamp takes 0.05 %
    (found,) = (command for _, command in schedule.due(bench.engine.loaded, end - SECOND, end))
    assert found == c.AccrueFunding(PERP, RATE * 5 // 10_000)


@pytest.mark.rule("US-23")
def test_flatten_times_come_for_those_who_set_one() -> None:
    bench = desk("2026-06-10T18:00:00Z")
    bench.give(c.SetRiskSettings("A1", c.RiskSettings(flatten_at="14:30")))
    found = due(Schedule(BOOK, "07:00"), bench, "2026-06-10T19:00:00Z", "2026-06-10T19:59:00Z")
    assert found == [("Wed 14:30", c.Flatten("A1", "flatten time 14:30"))]


@pytest.mark.rule("US-02", "US-21")
def test_after_a_pause_the_sessions_are_those_of_now() -> None:
    bench = desk("2026-06-10T17:00:00Z")
    schedule, now = Schedule(BOOK, "07:00"), nanoseconds("2026-06-10T21:30:00Z")
    said = schedule.at_start(bench.engine.loaded, now)
    for command in said:
        bench.give(command)
    assert said
    assert schedule.at_start(bench.engine.loaded, now) == []


def test_a_wall_time_that_the_clocks_skip_comes_once() -> None:
    since, until = nanoseconds("2026-03-08T00:00:00Z"), nanoseconds("2026-03-09T00:00:00Z")
    assert len(list(wall_instants("02:30", CHICAGO, since, until))) == 1


@pytest.mark.rule("US-24")
def test_a_holiday_that_carries_the_next_trade_date_settles_with_it() -> None:
    """On 19 January 2026 equity index futures halt at noon in Chicago, and what was traded is Tuesday's."""
    schedule, bench = Schedule(BOOK, "07:00"), Desk("kraken-us", at="2026-01-18T00:00:00Z")
    facts = bench.engine.loaded.contracts["MES"].contract
    for command in (c.Marks((c.Mark("MES", 24_000),)), c.OpenAccount("A1"), c.Deposit("A1", 10**12)):
        bench.give(command)
    bench.give(c.TransferPosition("A1", "MES", 1, facts.value(24_000, 1)))
    bench.give(c.Settle("MES", 24_000))
    found = due(schedule, bench, "2026-01-18T00:00:00Z", "2026-01-22T00:00:00Z")
    assert [when for when, command in found if isinstance(command, c.Settle)] == ["Tue 16:00", "Wed 16:00"]


# -- other venues' funding (EX-06) -------------------------------------------------------------------

BTC = "BTCUSDT"
HOURLY = {
    "contracts": [BTC], "time_zone": "UTC", "interval_hours": 1, "period_hours": 8, "averaging": "mean",
    "interest": "0", "notional": "index",
}  # fmt: skip


def funded(**funding: object) -> tuple[Schedule, Desk]:
    """The reference contract with this funding, held by one account since 12:00."""
    overrides = {"funding": {key: value for key, value in (HOURLY | funding).items() if value is not None}}
    bench = Desk("reference", overrides, at="2026-06-10T12:00:00Z")
    for command in (
        c.Marks((c.Mark(BTC, 2_000_000),)),
        c.OpenAccount("A1"),
        c.Deposit("A1", 10**12),
        c.TransferPosition("A1", BTC, 10_000, 2 * 10**12),
    ):
        assert not any(type(event).__name__ == "Rejected" for event in bench.give(command))
    return Schedule(load("reference", overrides), "07:00"), bench


def said(schedule: Schedule, bench: Desk, since: str, until: str) -> list[tuple[str, c.AnyCommand]]:
    found = schedule.due(
        bench.engine.loaded, nanoseconds(f"2026-06-10T{since}:00Z"), nanoseconds(f"2026-06-10T{until}:00Z")
    )
    return [
        (dt.datetime.fromtimestamp(time / SECOND, dt.UTC).strftime("%H:%M:%S"), command)
        for time, command in found
        if not isinstance(command, c.BusinessDay)
    ]


@pytest.mark.rule("EX-06")
def test_an_hourly_rate_is_paid_on_the_index_and_booked_at_once() -> None:
    schedule, bench = funded()
    schedule.samples[BTC].sample(nanoseconds("2026-06-10T12:30:00Z"), 2_016_000, Fraction(2_000_000))  # 0.8 %
    assert said(schedule, bench, "12:00", "13:00") == [
        ("13:00:00", c.AccrueFunding(BTC, rate("0.001", "rate"), 2_000_000)),
        ("13:00:00", c.BookFunding()),
    ]
    for _, command in said(schedule, bench, "12:00", "13:00"):
        bench.done(command)
    assert bench.cash("A1") == "999980.00"  # 0.1 % of 20,000


@pytest.mark.rule("EX-06")
def test_a_rate_known_ahead_accrues_through_the_hour_after_its_premiums() -> None:
    schedule, bench = funded(known_ahead=True, accrual="continuous", step_seconds=900, notional="mark")
    schedule.samples[BTC].sample(nanoseconds("2026-06-10T12:30:00Z"), 2_016_000, Fraction(2_000_000))
    schedule.samples[BTC].sample(nanoseconds("2026-06-10T13:30:00Z"), 2_400_000, Fraction(2_000_000))
    part = rate("0.001", "rate") // 4
    quarters = [(f"{at}:00", c.AccrueFunding(BTC, part)) for at in ("13:15", "13:30", "13:45", "14:00")]
    assert said(schedule, bench, "13:00", "14:00") == [*quarters, ("14:00:00", c.BookFunding())]
    assert [type(command) for _, command in said(schedule, bench, "11:00", "12:00")] == [c.RaiseAlarm, c.BookFunding]


@pytest.mark.rule("EX-06")
def test_continuous_funding_of_the_present_premium_is_booked_once_a_day() -> None:
    schedule, bench = funded(
        accrual="continuous", step_seconds=1800, clamp="0.00025", notional="mark", interval_hours=8, booking="14:00"
    )
    schedule.samples[BTC].sample(nanoseconds("2026-06-10T12:30:00Z"), 2_000_400, Fraction(2_000_000))  # within
    schedule.samples[BTC].sample(nanoseconds("2026-06-10T13:00:00Z"), 2_002_500, Fraction(2_000_000))  # 0.1 % beyond
    found = said(schedule, bench, "12:00", "14:00")
    assert found == [
        ("12:30:00", c.AccrueFunding(BTC, 0)),
        ("13:00:00", c.AccrueFunding(BTC, rate("0.001", "rate") // 16)),
        ("14:00:00", c.BookFunding()),
    ]  # half an hour without an index says nothing until the interval's end


@pytest.mark.rule("EX-06")
def test_a_rate_known_ahead_is_paid_whole_at_the_end_of_the_next_interval() -> None:
    """BitMEX: what was measured from 04:00 to 12:00 is paid at 20:00."""
    ends = ["04:00", "12:00", "20:00"]
    schedule, bench = funded(interval_hours=None, interval_ends=ends, known_ahead=True, notional="mark")
    schedule.samples[BTC].sample(nanoseconds("2026-06-10T11:59:00Z"), 2_002_000, Fraction(2_000_000))  # 0.1 %
    schedule.samples[BTC].sample(nanoseconds("2026-06-10T12:01:00Z"), 2_400_000, Fraction(2_000_000))
    assert said(schedule, bench, "12:00", "21:00") == [
        ("20:00:00", c.AccrueFunding(BTC, rate("0.001", "rate"))),
        ("20:00:00", c.BookFunding()),
    ]


CAPPED = {"interval_hours": [1], "calm_rate": "0.0001", "calm_intervals": 2, "restored_hours": 4}
SHORTENING = {"interval_hours": 8, "period_hours": None, "cap": "0.001", "capped": CAPPED, "notional": "mark"}


def premiums(schedule: Schedule, *found: tuple[str, int]) -> None:
    """Premiums of so many ticks over an index of 2,000,000."""
    for time, ticks in found:
        schedule.samples[BTC].sample(nanoseconds(f"2026-06-10T{time}:00Z"), 2_000_000 + ticks, Fraction(2_000_000))


@pytest.mark.rule("EX-06")
def test_a_rate_at_the_cap_shortens_the_intervals_that_follow() -> None:
    """At the cap at 16:00; calm at 17:00 and 18:00, when four hours come back: what is left of them ends at 20:00."""
    schedule, bench = funded(**SHORTENING)
    premiums(schedule, ("15:30", 9000), ("16:30", 0), ("17:30", 100), ("18:30", 400), ("19:30", 800))
    expected = [("16:00", 1_000_000), ("17:00", 0), ("18:00", 6250), ("20:00", 75_000)]
    pairs = [
        (f"{at}:00", command) for at, rate in expected for command in (c.AccrueFunding(BTC, rate), c.BookFunding())
    ]
    assert said(schedule, bench, "12:00", "21:00") == pairs


@pytest.mark.rule("EX-06", "G-03")
def test_the_engine_remembers_the_interval_and_so_does_its_image() -> None:
    schedule, bench = funded(**SHORTENING)
    premiums(schedule, ("15:30", 9000), ("16:30", 0), ("17:30", 0), ("19:30", 0))
    heard: list[str] = []
    for since, until in pairwise(f"{hour}:00" for hour in range(12, 24)):
        for at, command in said(schedule, bench, since, until):
            bench.at(f"2026-06-10T{at}Z")
            bench.wait(3)
            bench.done(command)
            heard += [at] if isinstance(command, c.AccrueFunding) else []
    assert heard == ["16:00:00", "17:00:00", "18:00:00", "20:00:00"]
    assert bench.engine.loaded.cadences[BTC] == Cadence(240, 0, nanoseconds("2026-06-10T20:00:00Z"))


@pytest.mark.rule("EX-06")
def test_a_rate_at_the_cap_shortens_intervals_also_while_nobody_holds_the_contract() -> None:
    schedule, bench = funded(**SHORTENING)
    bench.done(c.TransferPosition("A1", BTC, -10_000, -2 * 10**12))
    premiums(schedule, ("15:30", 9000))
    assert [at for at, command in said(schedule, bench, "12:00", "17:30") if isinstance(command, c.BookFunding)] == [
        "16:00:00",
        "17:00:00",
    ]
    assert not any(isinstance(command, c.RaiseAlarm) for _, command in said(schedule, bench, "12:00", "17:30"))
