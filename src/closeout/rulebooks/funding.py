"""The `[funding]` of a rulebook, read and bounded (EX-06)."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from closeout.core.funding import Averaging, FundingTerms, Scaled
from closeout.core.margin import MarginKind
from closeout.core.times import SECOND
from closeout.core.units import RATE, InputError
from closeout.rulebooks.policy import ContractPolicy, FundingPolicy
from closeout.rulebooks.schema import FundingTable
from closeout.rulebooks.values import read_rate, read_wall_time, read_whole

HOURS = (1, 2, 3, 4, 6, 8)
"""The interval lengths that divide a day, up to the longest that any venue has."""
DAY = 24 * 60


def build(table: FundingTable, contracts: dict[str, ContractPolicy]) -> FundingPolicy:
    """Every contract's terms, and when they apply."""
    if not table.contracts:
        raise InputError("funding.contracts: expected at least one contract")
    for name in table.contracts:
        if name not in contracts:
            raise InputError(f"funding.contracts: {name!r} is not a contract of this rulebook")
    try:
        ZoneInfo(table.time_zone)
    except (KeyError, ValueError, OSError):
        raise InputError(f"funding.time_zone: unknown zone {table.time_zone!r}") from None
    interval = _interval(table)
    if table.samples is not None:
        read_whole("funding.samples", table.samples, 1, 86400)
    return FundingPolicy(
        terms={name: _terms(table, interval, contracts[name]) for name in table.contracts},
        time_zone=table.time_zone,
        ends=tuple(table.interval_ends),
        booking=_booking(table),
        step=_step(table, interval),
        shorter=_shorter(table, interval),
        on_index=table.notional == "index",
        known_ahead=table.known_ahead,
        from_balance=table.paid_from == "balance",
    )


def _interval(table: FundingTable) -> int:
    """Minutes; wall times must divide the day evenly."""
    if (table.interval_hours is None) == (not table.interval_ends):
        raise InputError("funding: expected one of interval_ends and interval_hours")
    if table.interval_hours is not None:
        if table.time_zone != "UTC":
            raise InputError("funding.interval_hours: expected the time_zone UTC, from whose midnight they are counted")
        return _hours("funding.interval_hours", table.interval_hours) * 60
    ends = [read_wall_time(f"funding.interval_ends[{index}]", text) for index, text in enumerate(table.interval_ends)]
    minutes = [end.hour * 60 + end.minute for end in ends]
    interval, rest = divmod(DAY, len(minutes))
    even = all(minute == minutes[0] + index * interval for index, minute in enumerate(minutes))
    if rest or not even or interval not in [hours * 60 for hours in HOURS]:
        raise InputError("funding.interval_ends: expected times in order that divide the day into even hours")
    return interval


def _hours(key: str, hours: int) -> int:
    if hours not in HOURS:
        raise InputError(f"{key}: expected one of {', '.join(map(str, HOURS))} hours, got {hours}")
    return hours


def _terms(table: FundingTable, interval: int, contract: ContractPolicy) -> FundingTerms:
    period = interval
    if table.period_hours is not None:
        period = read_whole("funding.period_hours", table.period_hours, interval // 60, 24) * 60
    return FundingTerms(
        interest=read_rate("funding.interest", table.interest, -RATE, RATE),
        clamp=None if table.clamp is None else read_rate("funding.clamp", table.clamp, 0, RATE),
        interval=interval,
        period=period,
        averaging=Averaging(table.averaging),
        scaled=Scaled(table.scaled),
        cap=_cap(table, contract),
        cap_of_period=table.cap_for == "period",
    )


def _cap(table: FundingTable, contract: ContractPolicy) -> int | None:
    if table.cap is not None and table.cap_of_margins is not None:
        raise InputError("funding: expected at most one of cap and cap_of_margins")
    if table.cap is not None:
        return read_rate("funding.cap", table.cap, 0, RATE)
    if table.cap_of_margins is None:
        return None
    share = read_rate("funding.cap_of_margins", table.cap_of_margins, 0, 100 * RATE)
    rates = contract.tiers[0].rate
    return share * (rates[MarginKind.INITIAL] - rates[MarginKind.MAINTENANCE]) // RATE


def _booking(table: FundingTable) -> str | None:
    if table.booking is not None:
        read_wall_time("funding.booking", table.booking)
    return table.booking


def _step(table: FundingTable, interval: int) -> int:
    """Nanoseconds; whole parts of an interval, so that its end is one of them."""
    if (table.accrual == "continuous") != (table.step_seconds is not None):
        raise InputError("funding.step_seconds: expected it where accrual is continuous, and only there")
    if table.step_seconds is None:
        return 0
    seconds = read_whole("funding.step_seconds", table.step_seconds, 1, interval * 60)
    if interval * 60 % seconds:
        raise InputError(f"funding.step_seconds: expected a part of the interval, got {seconds}")
    if table.interval_hours is None:
        raise InputError("funding.accrual: continuous funding needs interval_hours")
    return seconds * SECOND


def _shorter(table: FundingTable, interval: int) -> tuple[int, ...]:
    found: list[int] = []
    for index, hours in enumerate(table.capped_interval_hours):
        key = f"funding.capped_interval_hours[{index}]"
        if _hours(key, hours) * 60 >= (found[-1] if found else interval):
            raise InputError(f"{key}: expected less than the one before, got {hours}")
        found.append(hours * 60)
    return tuple(found)
