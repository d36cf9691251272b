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

Where a venue matches its customers' orders with one another, somebody holds the other side of every position: a
two-sided population has as many lots long as short of each contract at each opening time. Its accounts come in pairs:
the first is drawn as above, its counterpart holds the same positions the other way round, from the same time to the
same time, at the same leverage and with the same cash, so that a venue admits both or neither at their time. Where they
come in later, because a contract has no mark yet or its market is shut, the price may have put one of them below the
venue's margin. Of an odd number the last three belong together: one holds twice what each of the two others has against
it, and a venue that asks more of large positions may admit these alone.

Quantities are multiples of the coarsest lot among the shipped rulebooks (`LOTS`), so that one book can be held under
each of them. A venue's own limit on leverage is not applied here: whoever is above it is not admitted in the run.

The same seed gives the same bytes on any machine and Python: `random.Random.random` is the one generator method whose
sequence Python promises to keep, its 53 bits are taken as an integer, and from there on there are only integers and
Decimals, whose exp is correctly rounded by its specification. The C library's exp and log, which differ by a last bit
from one machine to the next, are not used. A longer population begins with the shorter one of the same seed.
"""

from __future__ import annotations

import random
from decimal import ROUND_CEILING, Context, Decimal, localcontext

from msgspec.structs import replace

from closeout.core.units import InputError
from closeout.studies.accounts import AccountFile, AccountPosition
from closeout.studies.market import Market

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


def generate(seed: int, count: int, market: Market, *, two_sided: bool = False) -> list[AccountFile]:
    """`count` accounts for the market's contracts, named ``P0000001`` and so on; prices are the market's.

    `InputError` for a market in which a contract's price at entry is not above zero, and for one account alone that
    should have another on its other side.
    """
    if two_sided and count == 1:
        raise InputError("--population: expected at least 2 accounts: each long needs a short on its other side")
    draw = _Draw(seed)
    try:
        with localcontext(_EXACT):
            if two_sided:
                return _pairs(draw, count, market)
            return [_account(draw, _name(number), market) for number in range(1, count + 1)]
    except InputError as bad:
        raise InputError(f"{', '.join(source.file for source in market.sources)}: {bad}") from None


def _name(number: int) -> str:
    return f"P{number:07d}"


def _pairs(draw: _Draw, count: int, market: Market) -> list[AccountFile]:
    accounts: list[AccountFile] = []
    for number in range(1, count, 2):
        one = _account(draw, _name(number), market)
        accounts += [one, replace(one, account_id=_name(number + 1), positions=_scaled(one, -1))]
    if count % 2:
        one, other = accounts[-2:]
        accounts[-2] = replace(one, cash=2 * one.cash, positions=_scaled(one, 2))
        accounts.append(replace(other, account_id=_name(count)))
    return accounts


def _scaled(account: AccountFile, factor: int) -> tuple[AccountPosition, ...]:
    return tuple(replace(position, quantity=factor * position.quantity) for position in account.positions)


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
    positions = tuple(_position(draw, name, market.price_at(name, opened_at), leverage) for name in chosen)
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


def _position(draw: _Draw, name: str, price: Decimal, leverage: int) -> AccountPosition:
    if price <= 0:
        raise InputError(f"{name}: a population needs prices above zero, not {price}")
    lot = LOTS.get(name, Decimal(1))
    notional = min(MEDIAN_NOTIONAL * (SIGMA * draw.normal()).exp(), LARGEST_NOTIONAL)
    quantity = max(notional / price // lot, Decimal(1)) * lot
    side = 1 if draw.percent(LONGS) else -1
    return AccountPosition(name, side * quantity, price, Decimal(leverage))
