"""The `[funding]` of a rulebook: what it may say, and what is said about what it may not (EX-06)."""

from typing import Any

import pytest

from closeout.core.funding import Averaging, FundingTerms, Scaled
from closeout.core.times import SECOND
from closeout.core.units import InputError, rate
from closeout.rulebooks.loader import describe, load
from closeout.rulebooks.policy import FundingPolicy

HOURLY: dict[str, Any] = {"contracts": ["BTCUSDT"], "time_zone": "UTC", "interval_hours": 1, "interest": "0"}


def built(**funding: Any) -> FundingPolicy:
    given = {key: value for key, value in (HOURLY | funding).items() if value is not None}
    found = load("reference", {"funding": given}).policy().funding
    assert found is not None
    return found


@pytest.mark.rule("US-14", "EX-06")
def test_the_us_rulebook_is_as_it_was() -> None:
    found = load("kraken-us").policy().funding
    terms = FundingTerms(100_000, 500_000, interval=480, period=480)
    names = ("PBTCUCZ50", "PETHIUZ50", "PSOLUZ50")
    assert found == FundingPolicy(
        dict.fromkeys(names, terms), "America/Chicago", ("03:00", "11:00", "19:00"), booking="15:00"
    )


@pytest.mark.rule("EX-06")
def test_every_way_can_be_said() -> None:
    found = built(
        period_hours=8, averaging="minute_medians", clamp="0.0005", scaled="interest", cap="0.04", cap_for="period",
        notional="index", known_ahead=True, accrual="continuous", step_seconds=60, booking="08:00",
    )  # fmt: skip
    terms = FundingTerms(0, 500_000, 60, 480, Averaging.MINUTE_MEDIANS, Scaled.INTEREST, 40_000_000, cap_of_period=True)
    assert found == FundingPolicy(
        {"BTCUSDT": terms}, "UTC", booking="08:00", step=60 * SECOND, on_index=True, known_ahead=True
    )
    assert found.interval == 60


@pytest.mark.rule("EX-06")
def test_a_cap_may_be_a_share_of_the_gap_between_the_margins() -> None:
    """BitMEX: 75 % of initial less maintenance margin, 0.375 % at 1 % and 0.5 %."""
    assert built(cap_of_margins="0.75").terms["BTCUSDT"].cap == rate("0.00375", "cap")


@pytest.mark.rule("EX-06")
def test_shorter_intervals_are_data() -> None:
    assert built(interval_hours=8, capped_interval_hours=[4, 2, 1]).shorter == (240, 120, 60)


@pytest.mark.rule("EX-01", "EX-06")
def test_what_a_rulebook_leaves_out_stays_out_of_its_description() -> None:
    keys = {row["key"] for row in describe(load("kraken-us"))["parameters"] if row["key"].startswith("funding.")}
    said = ("contracts", "time_zone", "interval_ends", "booking", "interest", "clamp", "samples")
    assert keys == {f"funding.{key}" for key in said}


@pytest.mark.rule("EX-01", "EX-06")
@pytest.mark.parametrize(
    ("funding", "message"),
    [
        ({"contracts": []}, "funding.contracts: expected at least one"),
        ({"contracts": ["BTC"]}, "funding.contracts: 'BTC' is not a contract"),
        ({"time_zone": "Mars"}, "funding.time_zone: unknown zone 'Mars'"),
        ({"interval_ends": ["00:00"]}, "funding: expected one of interval_ends and interval_hours"),
        ({"interval_hours": None}, "funding: expected one of interval_ends and interval_hours"),
        ({"time_zone": "America/Chicago"}, "funding.interval_hours: expected the time_zone UTC"),
        ({"interval_hours": 5}, "funding.interval_hours: expected one of 1, 2, 3, 4, 6, 8 hours, got 5"),
        ({"interval_hours": None, "interval_ends": ["00:00", "09:00", "16:00"]}, "divide the day into even hours"),
        ({"interval_hours": None, "interval_ends": ["16:00", "08:00", "00:00"]}, "divide the day into even hours"),
        ({"interval_hours": None, "interval_ends": ["8:00"]}, r"funding.interval_ends\[0\]: expected a time HH:MM"),
        ({"interval_hours": None, "interval_ends": ["00:00"]}, "divide the day into even hours"),
        ({"period_hours": 25}, "funding.period_hours: expected a whole number from 1 to 24, got 25"),
        ({"interval_hours": 8, "period_hours": 1}, "funding.period_hours: expected a whole number from 8 to 24"),
        ({"averaging": "median"}, "funding.averaging: "),
        ({"interest": "2"}, "funding.interest: expected a rate"),
        ({"clamp": "-1"}, "funding.clamp: expected a rate"),
        ({"cap": "0.01", "cap_of_margins": "0.75"}, "funding: expected at most one of cap and cap_of_margins"),
        ({"cap": "2"}, "funding.cap: expected a rate"),
        ({"accrual": "continuous"}, "funding.step_seconds: expected it where accrual is continuous"),
        ({"step_seconds": 60}, "funding.step_seconds: expected it where accrual is continuous"),
        ({"accrual": "continuous", "step_seconds": 7}, "funding.step_seconds: expected a part of the interval, got 7"),
        (
            {"interval_hours": None, "interval_ends": ["00:00", "08:00", "16:00"], "accrual": "continuous",
             "step_seconds": 60},
            "funding.accrual: continuous funding needs interval_hours",
        ),
        ({"capped_interval_hours": [1]}, r"funding.capped_interval_hours\[0\]: expected less than the one before"),
        ({"interval_hours": 8, "capped_interval_hours": [2, 4]}, r"capped_interval_hours\[1\]: expected less"),
        ({"booking": "25:00"}, "funding.booking: expected a time HH:MM"),
        ({"samples": 0}, "funding.samples: expected a whole number from 1"),
        ({"basis": "mark"}, "funding.basis: unknown key"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_by_its_key(funding: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(**funding)
