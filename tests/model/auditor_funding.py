"""The auditor's funding: when intervals end, what their premiums make, and the parts of it, on exact fractions."""

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from tests.model.auditor_fractions import Fraction

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
FINEST = 10**9
Samples = list[tuple[int, Fraction]]


def of_contract(document: dict, name: str) -> dict | None:
    """A contract's own funding: the table with what the contract's own one says instead; None where it has none."""
    table = document.get("funding")
    if table is None or name not in table["contracts"]:
        return None
    own = {key: value for key, value in (table.get("own") or {}).get(name, {}).items() if value is not None}
    if "cap" in own or "cap_of_margins" in own:
        table = table | {"cap": None, "cap_of_margins": None}
    found = table | own
    if found.get("cap_of_margins") is not None:
        tier = document["contracts"][name]["tiers"][0]
        gap = Fraction(tier["initial_margin_rate"]) - Fraction(tier["maintenance_margin_rate"])
        found["cap"] = Fraction(found["cap_of_margins"]) * gap
    return found


class Intervals:
    """How long a contract's intervals are: shorter after a rate at the cap, longer again when it has been calm."""

    def __init__(self, table: dict) -> None:
        capped = table.get("capped") or {}
        self.usual = self.hours = Fraction(table.get("interval_hours") or 8)
        self.shorter = sorted(capped.get("interval_hours") or [], reverse=True)
        self.cap = None if table.get("cap") is None else Fraction(table["cap"])
        self.calm_rate, self.calm_wanted = Fraction(capped.get("calm_rate") or 0), capped.get("calm_intervals", 0)
        self.back_to = capped.get("restored_hours") or self.usual
        self.calm, self.last = 0, 0

    def ended(self, rate: Fraction, time: int) -> str:
        """One of them has ended with this rate; what that has changed."""
        if not self.shorter:
            return ""
        self.last = time // HOUR * HOUR
        if self.cap is not None and (rate >= self.cap or rate <= -self.cap):
            self.calm = 0
            steps = [hours for hours in self.shorter if hours < self.hours]
            self.hours = Fraction(steps[0]) if steps else self.hours
            return "interval shortened" if steps else "interval as short as it gets"
        if self.hours >= self.back_to:
            self.calm = 0
            return ""
        self.calm = self.calm + 1 if -self.calm_rate <= rate <= self.calm_rate else 0
        if self.calm < self.calm_wanted:
            return "calm interval" if self.calm else "interval not calm"
        self.hours, self.calm = Fraction(self.back_to), 0
        return "interval restored"

    def state(self) -> tuple[int, int, int]:
        return int(self.hours * 60), self.calm, self.last

    def next_end(self, after: int) -> int:
        length = int(self.hours * HOUR)
        return after - after % length + length

    def begin(self, end: int) -> int:
        begin = end - int(self.hours * HOUR)
        return self.last if begin < self.last < end else begin


def within(value: Fraction, bound: Fraction) -> Fraction:
    return max(-bound, min(bound, value))


def average(kind: str, samples: Samples) -> Fraction:
    values = [value for _, value in samples]
    if kind == "weighted":
        weights = range(1, len(values) + 1)
        return sum((w * v for w, v in zip(weights, values, strict=True)), Fraction(0)) / sum(weights)
    if kind == "minute_medians":
        minutes = defaultdict(list)
        for time, value in samples:
            minutes[-(-time // MINUTE)].append(value)
        values = [Fraction(median(found)) for found in minutes.values()]
    return sum(values, Fraction(0)) / len(values)


def rate_of(table: dict, samples: Samples, minutes: Fraction) -> int:
    """The rate of so many minutes with these premiums, in 1e-9, to the nearest, ties to even."""
    usual = (table.get("interval_hours") or 8) * 60
    share = minutes / (60 * table["period_hours"] if table.get("period_hours") else usual)
    premium, interest = average(table.get("averaging") or "weighted", samples), Fraction(table["interest"])
    alone = table.get("scaled") == "interest"
    interest *= share if alone else 1
    clamp = table.get("clamp")
    whole = premium + (interest if clamp is None else within(interest - premium, Fraction(clamp)))
    cap = None if table.get("cap") is None else Fraction(table["cap"])
    if cap is not None and table.get("cap_for") == "period":
        whole = within(whole, cap)
    whole *= 1 if alone else share
    if cap is not None and table.get("cap_for") != "period":
        whole = within(whole, cap)
    return round(whole * FINEST)


def accruals(table: dict, samples: Samples, since: int, until: int) -> Iterator[tuple[int, int | None]]:
    """What accrues in (since, until] of intervals counted from midnight UTC; None where no premium is known."""
    intervals = Intervals(table)
    step = table.get("step_seconds")
    at = since
    while True:
        at = at - at % (step * 10**9) + step * 10**9 if step else intervals.next_end(at)
        if at > until:
            return
        end = intervals.next_end(at - 1)
        begin = intervals.begin(end)
        length, passed = end - begin, at - begin
        part = step * 10**9 if step else length
        first, last = (begin - length, begin) if table.get("known_ahead") else (at - part, at)
        heard = [(time, value) for time, value in samples if first < time <= last]
        usual = Fraction(table["interval_hours"] * 60)
        if not heard:
            if at == end:
                yield at, None
            continue
        if table.get("known_ahead"):
            whole = rate_of(table, heard, usual)
            rate = round(Fraction(whole * passed, length)) - round(Fraction(whole * (passed - part), length))
        else:
            rate = rate_of(table, heard, Fraction(part, MINUTE))
        yield at, rate
        intervals.ended(Fraction(rate, FINEST), at)
