"""At what value a position changes hands when its account is closed out: bankruptcy and fillable (EX-02, EX-04).

A position is closed for `value` units (the signed worth of the part closed, as in `Contract.value`), so that an account
that is closed whole at its bankruptcy values ends at exactly zero. In an account with several positions each carries a
share of net liq by its requirement, floored, the last the rest: dYdX v4's rule, checked against its own tests. With one
position it is everybody's: the price at which equity is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from closeout.core.contracts import Contract, Kind
from closeout.core.risk import Holding
from closeout.core.units import MAX_PRICE_TICKS, RATE, InputError, mul_div_ceil, mul_div_floor


def share_of(net_liq: int, holdings: Sequence[Holding], index: int) -> int:
    """The part of the account's net liq, in micros and rounded down, that the position stands for; the only position
    stands for all of it. By requirement, or by notional where nothing is required."""
    if len(holdings) == 1:
        return net_liq
    weights = [holding.requirement for holding in holdings]
    if not sum(weights):
        weights = [holding.notional for holding in holdings]
    return mul_div_floor(net_liq, weights[index], sum(weights)) if sum(weights) else 0


def closes(held: int, change: int) -> int:
    """|lots| that a signed change closes of a position of `held` lots. `InputError` for one that closes none: where
    nothing is held, of nothing, of the same side, or of more than there is."""
    if held * change >= 0 or abs(change) > abs(held):
        raise InputError(f"expected a change that closes a part of {held} lots, or all, got one of {change}")
    return abs(change)


def bankruptcy_value(holding: Holding, share: int, lots: int) -> int:
    """Units for which |lots| of a position are closed so that of its `share` of net liq nothing is left.

    Whole micros are realised, so that no rounding is left over: the part of the cost that leaves with the lots
    (`Position.trade` rounds it so), and their part of the profit, rounded up, less that of the share, rounded down. A
    part closed so is up to a micro dear to who takes it: dYdX v4 rounds the price towards plus infinity.
    """
    contract, whole = holding.contract, abs(holding.lots)
    closes(whole, -lots)
    realised = mul_div_ceil(holding.profit, lots, whole) - mul_div_floor(share, lots, whole)
    return mul_div_ceil(holding.cost, lots, whole) + realised * contract.units_per_micro


def fillable_value(holding: Holding, net_liq: int, requirement: int, adjustment: int, spread: int) -> Fraction:
    """Units that the whole position must at least bring: its value less clamp(adjustment x (1 - net liq /
    requirement), 0, 1) x spread x its requirement (dYdX v4). `adjustment` and `spread` are rates."""
    assert holding.mark is not None  # noqa: S101
    value = holding.contract.value(holding.mark, holding.lots)
    if requirement <= 0:
        return Fraction(value)
    conceded = min(max(Fraction(adjustment, RATE) * (1 - Fraction(net_liq, requirement)), Fraction(0)), Fraction(1))
    return value - conceded * Fraction(spread, RATE) * holding.requirement * holding.contract.units_per_micro


def price_of(contract: Contract, lots: int, value: int | Fraction) -> Fraction | None:
    """The price in ticks at which signed `lots` are worth `value` units; None where no price is."""
    if contract.kind is Kind.LINEAR:
        return Fraction(value, lots * contract.unit_value)
    return None if value * lots >= 0 else Fraction(-lots * contract.unit_value, value)


def limit_of(contract: Contract, lots: int, value: int | Fraction) -> int | None:
    """The limit in ticks of an order that closes signed `lots` for no worse than `value`: a sale's rounded up, a
    purchase's down. None where any price is as good: a linear sale below the lowest tick, an inverse position that no
    price makes worth it."""
    exact = price_of(contract, lots, value)
    if exact is None:
        return None
    ticks = -((-exact.numerator) // exact.denominator) if lots > 0 else exact.numerator // exact.denominator
    return None if lots > 0 and ticks < 1 and not contract.negative_prices else ticks


def order_limit(contract: Contract, lots: int, value: int | Fraction | None) -> int:
    """That limit as an order can have it: within the bounds of prices, an inverse contract's from a tick on, and the
    worst price there is where any is as good (or where `value` is None)."""
    exact = None if value is None else limit_of(contract, lots, value)
    if exact is not None:
        lowest = 1 if contract.kind is Kind.INVERSE else -MAX_PRICE_TICKS
        return max(lowest, min(exact, MAX_PRICE_TICKS))
    if lots < 0:
        return MAX_PRICE_TICKS
    return -MAX_PRICE_TICKS if contract.negative_prices else 1


def price_text(contract: Contract, lots: int, value: int) -> str:
    """That price for people, to eight places of the quoted unit, half to even."""
    exact = price_of(contract, lots, value)
    if exact is None:
        return ""
    scaled = round(exact * Fraction(contract.tick) * 10**8)
    whole, rest = divmod(abs(scaled), 10**8)
    fraction = f".{rest:08d}".rstrip("0") if rest else ""
    return f"{'-' if scaled < 0 else ''}{whole}{fraction}"
