"""What the schedule says of funding, against the auditor's own reading of the rulebook: intervals, rates and parts."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.bench import Desk, nanoseconds
from tests.model import auditor_funding as auditor

from closeout.core.times import HOUR, MINUTE
from closeout.engine import commands as c
from closeout.rulebooks.loader import load
from closeout.service.schedule import Schedule

BTC = "BTCUSDT"
NOON = nanoseconds("2026-06-10T12:00:00Z")
BASE: dict[str, Any] = {"contracts": [BTC], "time_zone": "UTC"}
SPOT = 1_000_000


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """A `[funding]` of one contract, of any kind that counts intervals from midnight UTC."""

    def one(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    hours = one(1, 2, 4, 8)
    table = BASE | {
        "interval_hours": hours,
        "period_hours": one(None, 8, 24),
        "averaging": one("weighted", "mean", "minute_medians"),
        "interest": one("0", "0.0001", "-0.000300001"),
        "clamp": one(None, "0", "0.0005"),
        "scaled": one("rate", "interest"),
        "cap": one("0.0005", "0.01", None),
        "cap_for": one("interval", "period"),
        "own": {BTC: one({}, {"cap": "0.001"}, {"cap_of_margins": "0.75"}, {"interest": "0.0002", "clamp": "0.001"})},
    }
    kind = one("plain", "ahead", "continuous", "continuous ahead", "capped")
    if kind == "capped":
        shorter = [h for h in one((4, 2, 1), (1,), (2,)) if h < hours]
        calm = {"calm_rate": one("0.00005", "0.0002"), "calm_intervals": one(1, 3)}
        table |= {"cap": one("0.0005", "0.001"), "cap_for": "interval"}
        table["capped"] = {"interval_hours": shorter, **calm, "restored_hours": one(None, hours)}
    table["known_ahead"] = "ahead" in kind
    if "continuous" in kind:
        table |= {"accrual": "continuous", "step_seconds": one(60, 900, 3600)}
    return {key: value for key, value in table.items() if value is not None}


@pytest.mark.rule("EX-06", "G-01")
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.lists(st.tuples(st.integers(0, 1800), st.integers(-3000, 3000)), max_size=60), st.data())
def test_the_schedule_says_what_the_auditor_says(
    table: dict[str, Any], heard: list[tuple[int, int]], data: st.DataObject
) -> None:
    bench = Desk("reference", {"funding": table}, at="2026-06-10T12:00:00Z")
    for command in (
        c.Marks((c.Mark(BTC, SPOT),)),
        c.OpenAccount("A1"),
        c.Deposit("A1", 10**12),
        c.TransferPosition(
            "A1", BTC, 10_000, SPOT * 10_000 * bench.rulebook.policy().contracts[BTC].contract.unit_value
        ),
    ):
        bench.done(command)
    schedule = Schedule(load("reference", {"funding": table}), "07:00")
    samples = sorted((NOON + minute * MINUTE // 2, premium) for minute, premium in dict(heard).items())
    for time, premium in samples:
        schedule.samples[BTC].sample(time, SPOT + premium, Fraction(SPOT))
    since = NOON + data.draw(st.integers(0, 600)) * MINUTE
    until = since + data.draw(st.integers(0, 10)) * HOUR
    said: list[tuple[int, int | None]] = []
    for time, command in schedule.due(bench.engine.loaded, since, until):
        if isinstance(command, c.AccrueFunding):
            said.append((time, command.rate))
        elif isinstance(command, c.RaiseAlarm):
            said.append((time, None))
    rulebook = {"funding": table, "contracts": {BTC: {"tiers": [MARGINS]}}}
    own = auditor.of_contract(rulebook, BTC)
    assert own is not None
    premiums = [(time, Fraction(premium, SPOT)) for time, premium in samples]
    assert said == list(auditor.accruals(own, premiums, since, until))


MARGINS = {"initial_margin_rate": "0.01", "maintenance_margin_rate": "0.005"}
"""Of the reference rulebook's BTCUSDT."""
