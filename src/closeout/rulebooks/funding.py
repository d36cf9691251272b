"""The `[funding]` of a rulebook, read and bounded (EX-06)."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from msgspec.structs import replace

from closeout.core.funding import Averaging, FundingTerms, Scaled, Shortening
from closeout.core.margin import MarginKind
from closeout.core.times import SECOND
from closeout.core.units import RATE, InputError
from closeout.rulebooks.policy import ContractPolicy, FundingPolicy
from closeout.rulebooks.schema import CappedTable, FundingTable
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
    for name in table.own:
        if name not in table.contracts:
            raise InputError(f"funding.own.{name}: expected one of funding.contracts")
    try:
        ZoneInfo(table.time_zone)
    except (KeyError, ValueError, OSError):
        raise InputError(f"funding.time_zone: unknown zone {table.time_zone!r}") from None
    interval = _interval(table)
    if table.samples is not None:
        read_whole("funding.samples", table.samples, 1, 86400)
    return FundingPolicy(
        terms={name: _contract(table, interval, name, contracts[name]) for name in table.contracts},
        time_zone=table.time_zone,
        ends=tuple(table.interval_ends),
        booking=_booking(table),
        step=_step(table, interval),
        on_index=table.notional == "index",
        known_ahead=table.known_ahead,
        from_balance=table.paid_from == "balance",
    )


def _contract(table: FundingTable, interval: int, name: str, contract: ContractPolicy) -> FundingTerms:
    """A contract's terms: the table with what its own one replaces, whose keys are named where they are."""
    own = table.own.get(name)
    if own is None:
        return _terms(table, "funding", interval, contract)
    key = f"funding.own.{name}"
    if own.interval_hours is not None:
        if table.interval_hours is None or table.accrual == "continuous":
            raise InputError(f"{key}.interval_hours: expected none beside interval_ends or continuous accrual")
        interval = _hours(f"{key}.interval_hours", own.interval_hours) * 60
    fields = ("period_hours", "interest", "clamp", "cap", "cap_of_margins", "capped")
    given = {field: value for field in fields if (value := getattr(own, field)) is not None}
    if len(given.keys() & {"cap", "cap_of_margins"}) == 1:
        given = {"cap": None, "cap_of_margins": None} | given
    return _terms(replace(table, **given), key, interval, contract)


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


def _terms(table: FundingTable, key: str, interval: int, contract: ContractPolicy) -> FundingTerms:
    period = interval
    if table.period_hours is not None:
        period = read_whole(f"{key}.period_hours", table.period_hours, interval // 60, 24) * 60
    return FundingTerms(
        interest=read_rate(f"{key}.interest", table.interest, -RATE, RATE),
        clamp=None if table.clamp is None else read_rate(f"{key}.clamp", table.clamp, 0, RATE),
        interval=interval,
        period=period,
        averaging=Averaging(table.averaging),
        scaled=Scaled(table.scaled),
        cap=_cap(table, key, contract),
        cap_of_period=table.cap_for == "period",
        shortening=None if table.capped is None else _shortening(table, table.capped, f"{key}.capped", interval),
    )


def _cap(table: FundingTable, key: str, contract: ContractPolicy) -> int | None:
    if table.cap is not None and table.cap_of_margins is not None:
        raise InputError(f"{key}: expected at most one of cap and cap_of_margins")
    if table.cap is not None:
        return read_rate(f"{key}.cap", table.cap, 0, RATE)
    if table.cap_of_margins is None:
        return None
    share = read_rate(f"{key}.cap_of_margins", table.cap_of_margins, 0, 100 * RATE)
    rates = contract.tiers[0].rate
    return share * (rates[MarginKind.INITIAL] - rates[MarginKind.MAINTENANCE]) // RATE


def _shortening(table: FundingTable, capped: CappedTable, key: str, interval: int) -> Shortening | None:
    """None for a contract whose own table has no shorter ones."""
    if table.interval_hours is None or table.accrual == "continuous" or table.known_ahead:
        raise InputError(f"{key}: expected interval_hours, and rates of the interval's own premiums paid at its end")
    if (table.cap is None and table.cap_of_margins is None) or table.cap_for == "period":
        raise InputError(f"{key}: expected a cap for the interval")
    calm_rate = read_rate(f"{key}.calm_rate", capped.calm_rate, 0, RATE)
    calm_intervals = read_whole(f"{key}.calm_intervals", capped.calm_intervals, 1, 10_000)
    found: list[int] = []
    for index, hours in enumerate(capped.interval_hours):
        place = f"{key}.interval_hours[{index}]"
        if _hours(place, hours) * 60 >= (found[-1] if found else interval):
            raise InputError(f"{place}: expected less than the one before, got {hours}")
        found.append(hours * 60)
    restored = interval
    if capped.restored_hours is not None:
        restored = _hours(f"{key}.restored_hours", capped.restored_hours) * 60
        if not (found[0] if found else 0) < restored <= interval:
            raise InputError(f"{key}.restored_hours: expected more than the shorter ones, at most the contract's own")
    return Shortening(tuple(found), calm_rate, calm_intervals, restored) if found else None


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
