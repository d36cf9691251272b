"""Funding rates (rules US-14, EX-06): the premium samples of an interval, by a venue's formula, to a rate of 1e-9.

    premium     P  = (max(0, CI_bid - S) - max(0, S - CI_ask)) / S
    average     avgP of the interval's premiums, one of `Averaging`
    clamped     F  = avgP + clamp(I - avgP, -clamp, +clamp)        or avgP + I where there is no clamp
    rate        F x interval / period, within the cap              longs pay where it is above zero

CI is the price of one side of the book, weighted by quantity; without a book the mark stands for both (assumed).
Interest, clamp and F are stated for the `period`, which is longer than the interval where a venue pays in parts
(Hyperliquid: an eighth of an 8-hour rate each hour). Exact fractions up to the last step.

The last functions are dYdX's, in the integers of its chain: rates in parts per million (ppm), floors and truncations
where the chain has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from statistics import median

from closeout.core.times import HOUR, MINUTE
from closeout.core.units import RATE, InputError

PPM = 1_000_000
EIGHT_HOURS = 8 * 3600
"""dYdX states its rates for eight hours, in seconds here."""


class Averaging(Enum):
    """How an interval's premiums become one: weighted by their numbers (later ones weigh more), their plain mean, or
    the mean of each minute's median."""

    WEIGHTED = "weighted"
    MEAN = "mean"
    MINUTE_MEDIANS = "minute_medians"


class Scaled(Enum):
    """What is scaled from the period to the interval: the clamped rate as a whole, or its interest alone (Bybit)."""

    RATE = "rate"
    INTEREST = "interest"


@dataclass(frozen=True, slots=True)
class Shortening:
    """The intervals of a venue that shortens them after a rate at its cap (EX-06), in minutes.

    After such a rate the longest of `shorter` that is below the present interval follows. After `calm_intervals`
    shortened ones in a row whose rates were no further from zero than `calm_rate`, `restored` follows.
    """

    shorter: tuple[int, ...]
    calm_rate: int
    calm_intervals: int
    restored: int


@dataclass(frozen=True, slots=True)
class FundingTerms:
    """A venue's formula for one contract: rates of 1e-9 for the `period`, lengths in minutes.

    `cap` bounds the rate of an interval, or with `cap_of_period` F before it is scaled. None: no clamp, no cap.
    `shortening`: None where intervals are always `interval` long.
    """

    interest: int
    clamp: int | None
    interval: int
    period: int
    averaging: Averaging = Averaging.WEIGHTED
    scaled: Scaled = Scaled.RATE
    cap: int | None = None
    cap_of_period: bool = False
    shortening: Shortening | None = None

    def rate(self, samples: Sequence[tuple[int, Fraction]], minutes: Fraction | None = None) -> int:
        """The rate of an interval from its premiums and their times, oldest first."""
        return self.rate_of(self.average(samples), minutes)

    def rate_of(self, share: Fraction, minutes: Fraction | None = None) -> int:
        """The rate of an interval (or of so many minutes) with this average premium.

        Rounded to the nearest, ties to even: one side receives what the other pays, so that neither may be favoured.
        """
        return round(self.exact_rate(share, minutes))

    def exact_rate(self, share: Fraction, minutes: Fraction | None = None) -> Fraction:
        """The same in 1e-9 before it is rounded."""
        part = Fraction(self.interval if minutes is None else minutes) / self.period
        share, interest = share * RATE, Fraction(self.interest)
        if self.scaled is Scaled.INTEREST:
            interest, part = interest * part, Fraction(1)
        full = share + (interest if self.clamp is None else _within(interest - share, self.clamp))
        if self.cap is None:
            return full * part
        return _within(full, self.cap) * part if self.cap_of_period else _within(full * part, self.cap)

    def average(self, samples: Sequence[tuple[int, Fraction]]) -> Fraction:
        """The average of (time, premium) pairs."""
        if self.averaging is Averaging.MINUTE_MEDIANS:
            return minute_medians(samples)
        premiums = [value for _, value in samples]
        return average(premiums) if self.averaging is Averaging.WEIGHTED else mean(premiums)


def _within(value: Fraction, bound: int) -> Fraction:
    return min(max(value, Fraction(-bound)), Fraction(bound))


def premium(bid: Fraction | int, ask: Fraction | int, spot: Fraction | int) -> Fraction:
    """How far the book stands off the spot price, as a share of it. All three in the same unit."""
    if spot <= 0:
        raise InputError(f"spot price: expected one above zero, not {spot}")
    return Fraction(max(0, bid - spot) - max(0, spot - ask)) / Fraction(spot)


def average(premiums: Sequence[Fraction]) -> Fraction:
    """The average of an interval's premiums with weights 1, 2, ... n, oldest first."""
    count = _count(premiums)
    weighted = sum((index * sample for index, sample in enumerate(premiums, start=1)), Fraction(0))
    return weighted / (count * (count + 1) // 2)


def mean(premiums: Sequence[Fraction]) -> Fraction:
    """The plain mean."""
    return sum(premiums, Fraction(0)) / _count(premiums)


def minute_medians(samples: Sequence[tuple[int, Fraction]]) -> Fraction:
    """The mean of the minutes' medians; a minute is the one that its samples' times end in."""
    minutes: dict[int, list[Fraction]] = {}
    for time, value in samples:
        minutes.setdefault((time - 1) // MINUTE, []).append(value)
    return mean([median(values) for values in minutes.values()])


def _count(premiums: Sequence[Fraction]) -> int:
    if not premiums:
        raise InputError("funding samples: expected at least one")
    return len(premiums)


def funding_rate(premiums: Sequence[Fraction], interest: int, clamp: int) -> int:
    """The rate of a Bitnomial perpetual (US-14): weighted, and clamped for the interval itself."""
    return FundingTerms(interest, clamp, interval=1, period=1).rate_of(average(premiums))


def part_of_rate(rate: int, begin: int, end: int, whole: int) -> int:
    """What of an interval's rate falls between two instants of it, so that the parts add up to the rate exactly."""
    return round(Fraction(rate * end, whole)) - round(Fraction(rate * begin, whole))


@dataclass(frozen=True, slots=True)
class Cadence:
    """Where a contract's funding stands: the present interval in minutes, how many shortened ones in a row were calm,
    and the instant at which the last one ended (0: not known). Intervals end at whole multiples from midnight UTC, so
    that the first after a longer one came back may be a part of it."""

    interval: int
    calm: int = 0
    last: int = 0

    def next_end(self, since: int) -> int:
        """The first end of an interval after an instant."""
        length = self.interval * MINUTE
        return (since // length + 1) * length

    def begin(self, end: int) -> int:
        """When the interval that ends then began."""
        begin = end - self.interval * MINUTE
        return self.last if begin < self.last < end else begin

    def after(self, terms: FundingTerms, rate: int, time: int) -> Cadence:
        """What follows an interval with this rate. `time` is when it was said, at its end or within an hour of it."""
        rule = terms.shortening
        if rule is None:
            return self
        last = time - time % HOUR
        if terms.cap is not None and abs(rate) >= terms.cap:
            shorter = [minutes for minutes in rule.shorter if minutes < self.interval]
            return Cadence(max(shorter, default=self.interval), 0, last)
        if self.interval >= rule.restored:
            return Cadence(self.interval, 0, last)
        calm = self.calm + 1 if abs(rate) <= rule.calm_rate else 0
        if calm < rule.calm_intervals:
            return Cadence(self.interval, calm, last)
        return Cadence(rule.restored, 0, last)


# -- dYdX v4, as the chain computes ------------------------------------------------------------------


def max_funding_ppm(clamp_factor_ppm: int, initial_margin_ppm: int, maintenance_fraction_ppm: int) -> int:
    """The cap of an 8-hour rate: clamp factor x (initial - maintenance margin), each step rounded down."""
    maintenance = maintenance_ppm(initial_margin_ppm, maintenance_fraction_ppm)
    return clamp_factor_ppm * (initial_margin_ppm - maintenance) // PPM


def maintenance_ppm(initial_margin_ppm: int, maintenance_fraction_ppm: int) -> int:
    """Maintenance margin, which the chain states as a fraction of initial margin, rounded down."""
    return initial_margin_ppm * maintenance_fraction_ppm // PPM


def funding_index_delta(rate_ppm: int, seconds: int, quote_per_base: Fraction) -> int:
    """What an 8-hour rate adds to a perpetual's funding index in so many seconds: ppm of quote quantums a base quantum.
    `quote_per_base` is the oracle price in quote quantums a base quantum. Truncated twice, towards zero."""
    quote = int(rate_ppm * seconds * quote_per_base)
    return int(Fraction(quote, EIGHT_HOURS))


def settlement_ppm(index: int, index_of_position: int, quantums: int) -> int:
    """What the index's move since a position was last settled pays to it, in ppm of quote quantums."""
    return -(index - index_of_position) * quantums


def settlement(positions_ppm: Iterable[int]) -> int:
    """The quote quantums that an account with these settlements receives, rounded down once for the account."""
    return sum(positions_ppm) // PPM
