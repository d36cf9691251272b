"""The funding rate of Bitnomial's perpetuals (rule US-14): premium samples of one interval to a rate of 1e-9.

    premium     P  = (max(0, CI_bid - S) - max(0, S - CI_ask)) / S
    average     avgP = sum(i x P_i) / (n (n + 1) / 2)              later samples weigh more
    rate        avgP + clamp(interest - avgP, -clamp, +clamp)      longs pay where it is above zero

CI is the price of one side of the book, weighted by quantity; without a book the mark stands for both (assumed).
Exact fractions up to the last step. Source: the contract's rulebook page and the description of its pricing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from closeout.core.units import RATE, InputError


def premium(bid: Fraction | int, ask: Fraction | int, spot: Fraction | int) -> Fraction:
    """How far the book stands off the spot price, as a share of it. All three in the same unit."""
    if spot <= 0:
        raise InputError(f"spot price: expected one above zero, not {spot}")
    return Fraction(max(0, bid - spot) - max(0, spot - ask)) / Fraction(spot)


def average(premiums: Sequence[Fraction]) -> Fraction:
    """The average of an interval's premiums with weights 1, 2, ... n, oldest first."""
    count = len(premiums)
    if not count:
        raise InputError("funding samples: expected at least one")
    weighted = sum((index * sample for index, sample in enumerate(premiums, start=1)), Fraction(0))
    return weighted / (count * (count + 1) // 2)


def funding_rate(premiums: Sequence[Fraction], interest: int, clamp: int) -> int:
    """The interval's rate in 1e-9. `interest` and `clamp` are rates of 1e-9 for an interval.

    Rounded to the nearest, ties to even: one side receives what the other pays, so that neither may be favoured.
    """
    share = average(premiums) * RATE
    return round(share + min(max(interest - share, Fraction(-clamp)), Fraction(clamp)))
