"""A seeded population of retail-like accounts for a recorded market, for runs without an account file.

Every distribution is an assumption, named here and nowhere else; no venue has published its customers' books.

    leverage        one an account: `LEVERAGE`, a mixture with its mode at 10x and a tail of 50x and 100x
    contracts       one, or two where the market has several (`TWO_CONTRACTS` of the accounts), each equally likely
    side            long with `LONGS`, for each position
    entry           at the contract's first open (`FROM_THE_START` of the accounts), or at the open of a bar drawn
                    evenly from the window; `opened_at` is that bar's time
    notional        log-normal with `MEDIAN_NOTIONAL` and `SIGMA`, at most `LARGEST_NOTIONAL`, down to whole lots and at
                    least one
    holding         until the end (`HELD_TO_THE_END` of the accounts), or to the open of a bar drawn evenly from those
                    after the entry; `closed_at` is that bar's time
    cash            entry notional / leverage, up to a micro; all positions are cross

Quantities are multiples of the coarsest lot among the shipped rulebooks (`LOTS`), so that one book can be held under
each of them. A venue's own limit on leverage is not applied here: whoever is above it is not admitted in the run.

The same seed gives the same bytes on any machine and Python: `random.Random.random` is the one generator method whose
sequence Python promises to keep, its 53 bits are taken as an integer, and from there on there are only integers and
Decimals, whose exp is correctly rounded by its specification. The C library's exp and log, which differ by a last bit
from one machine to the next, are not used. A longer population begins with the shorter one of the same seed.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from decimal import ROUND_CEILING, Context, Decimal, localcontext

from closeout.core.units import InputError
from closeout.studies.accounts import AccountFile, AccountPosition
from closeout.studies.market import Bar, Market

LEVERAGE = ((2, 5), (3, 8), (5, 17), (10, 28), (20, 20), (25, 8), (50, 9), (100, 5))
"""Leverage and its weight in percent."""
LONGS = 70
TWO_CONTRACTS = 25
FROM_THE_START = 40
HELD_TO_THE_END = 75
"""Percent, as said above."""
MEDIAN_NOTIONAL = Decimal(15_000)
SIGMA = Decimal("1.3")
LARGEST_NOTIONAL = Decimal(2_000_000)
LOTS = {"BTCUSDT": Decimal("0.01"), "ETHUSDT": Decimal("0.5"), "SOLUSDT": Decimal(5)}
"""The coarsest lot of each market in its base units; a market that is not here has whole units."""

_MICRO = Decimal("0.000001")
_EXACT = Context(prec=50)
_BITS = 2**53


def generate(seed: int, count: int, market: Market) -> list[AccountFile]:
    """`count` accounts for the market's contracts, named ``P0000001`` and so on; prices are the market's.

    `InputError` for a market in which a contract's price at entry is not above zero.
    """
    draw = _Draw(seed)
    try:
        with localcontext(_EXACT):
            return [_account(draw, f"P{number:07d}", market) for number in range(1, count + 1)]
    except InputError as bad:
        raise InputError(f"{', '.join(source.file for source in market.sources)}: {bad}") from None


class _Draw:
    """Random draws as integers and Decimals."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (a study must be repeatable, not secret)

    def below(self, bound: int) -> int:
        """An integer from 0 to bound - 1."""
        return int(self._random.random() * _BITS) * bound // _BITS

    def percent(self, share: int) -> bool:
        return self.below(100) < share

    def weighted(self, table: tuple[tuple[int, int], ...]) -> int:
        left = self.below(sum(weight for _, weight in table))
        for value, weight in table:
            left -= weight
            if left < 0:
                return value
        raise AssertionError("unreachable: the draw is below the sum of the weights")

    def normal(self) -> Decimal:
        """Standard normal as nearly as a sum of twelve even draws is (mean 0, variance 1, within 6)."""
        return Decimal(sum(self.below(_BITS) for _ in range(12))) / _BITS - 6


def _account(draw: _Draw, account_id: str, market: Market) -> AccountFile:
    leverage = draw.weighted(LEVERAGE)
    chosen = _contracts(draw, list(market.contracts))
    # Of two contracts the one that begins later has the bars from which both can be entered.
    latest = max((market.contracts[name] for name in chosen), key=lambda bars: bars[0].time)
    entry = None if draw.percent(FROM_THE_START) else draw.below(len(latest))
    opened_at = None if entry is None else latest[entry].time
    after = latest[(entry or 0) + 1 :]
    closed_at = None if draw.percent(HELD_TO_THE_END) or not after else after[draw.below(len(after))].time
    positions = tuple(_position(draw, name, market.contracts[name], opened_at, leverage) for name in chosen)
    notional = sum((abs(position.quantity) * position.entry_price for position in positions), Decimal(0))
    cash = (notional / leverage).quantize(_MICRO, ROUND_CEILING)
    return AccountFile(account_id, cash, positions, opened_at=opened_at, closed_at=closed_at)


def _contracts(draw: _Draw, names: list[str]) -> list[str]:
    """One contract, or two different ones, in the market's order."""
    two = len(names) > 1 and draw.percent(TWO_CONTRACTS)
    chosen = {draw.below(len(names))}
    if two:
        left = [index for index in range(len(names)) if index not in chosen]
        chosen.add(left[draw.below(len(left))])
    return [names[index] for index in sorted(chosen)]


def _position(draw: _Draw, name: str, bars: list[Bar], opened_at: int | None, leverage: int) -> AccountPosition:
    price = _price(bars, opened_at)
    if price <= 0:
        raise InputError(f"{name}: a population needs prices above zero, not {price}")
    lot = LOTS.get(name, Decimal(1))
    notional = min(MEDIAN_NOTIONAL * (SIGMA * draw.normal()).exp(), LARGEST_NOTIONAL)
    quantity = max(notional / price // lot, Decimal(1)) * lot
    side = 1 if draw.percent(LONGS) else -1
    return AccountPosition(name, side * quantity, price, Decimal(leverage))


def _price(bars: list[Bar], time: int | None) -> Decimal:
    """The price at hand then: the first open, the open of the bar that begins then, or the last close before."""
    if time is None:
        return bars[0].open
    bar = bars[bisect_right(bars, time, key=lambda bar: bar.time) - 1]
    return bar.open if bar.time == time else bar.close
