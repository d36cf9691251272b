"""Who pays a deficit: rules that share an amount among winners, and the prices and the fund around them, all exact.

Money is in any one unit, the same throughout; prices are in that unit for one unit of quantity. Numbers are ints or
Fractions, and every share is a Fraction, so that shares add up exactly; `whole_shares` turns them into whole units of
money. Sources are named by letter:

    C   Chitra, "Autodeleveraging: Impossibilities and Optimization", arXiv 2512.01112 (2025)

That paper's appendix works out bankruptcy prices from the mark of the moment while the collateral stays what it was at
entry. These functions take the entry price, which is the paper's own definition of equity; three of its examples then
come out higher: 0.045895 for 0.0379, 0.448990 for 0.3990, and 0.010947 where it has no bad debt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

Exact = int | Fraction


@dataclass(frozen=True, slots=True)
class Winner:
    """Somebody who may be made to pay. `equity` (money, zero or more) is what shares are in proportion to, `cap`
    (money) the most that may be taken, `score` the rank in a queue (any unit, higher goes first), `leverage` the
    effective leverage after the loss (exposure by equity)."""

    name: str
    equity: Exact
    cap: Exact
    score: Exact = 0
    leverage: Exact = 0


@dataclass(frozen=True, slots=True)
class Allocation:
    """Shares by name, in the order of names, and what nobody could be made to pay. The shares and `left` add up to the
    amount that was to be shared, exactly."""

    shares: dict[str, Fraction]
    left: Fraction

    def total(self) -> Fraction:
        return sum(self.shares.values(), Fraction(0))


# -- rules --------------------------------------------------------------------------------------------------


def queue(amount: Exact, winners: Iterable[Winner]) -> Allocation:
    """The highest score pays up to its cap, then the next, until the amount is paid. Of equal scores the name that
    sorts first pays first. Venues deleverage in this way, by
    rank (C, abstract and section on the production queue)."""
    ranked = sorted(_checked(amount, winners), key=lambda winner: (-winner.score, winner.name))
    left = Fraction(amount)
    shares: dict[str, Fraction] = {}
    for winner in ranked:
        shares[winner.name] = min(left, Fraction(winner.cap))
        left -= shares[winner.name]
    return _allocation(shares, left)


def pro_rata(amount: Exact, winners: Iterable[Winner]) -> Allocation:
    """share = amount x equity / sum of equity. Caps are not looked at: a share may be above its winner's cap, and
    above its equity where the amount is above the sum of all."""
    listed = _checked(amount, winners)
    whole = sum((Fraction(winner.equity) for winner in listed), Fraction(0))
    if not whole:
        return _allocation({winner.name: Fraction(0) for winner in listed}, Fraction(amount))
    return _allocation({winner.name: amount * winner.equity / whole for winner in listed}, Fraction(0))


def capped_pro_rata(amount: Exact, winners: Iterable[Winner]) -> Allocation:
    """share = min(cap, level x equity), with the one level at which the shares are the amount, or all are at their
    caps (C, appendix "Theoretical properties of capped pro-rata"). Splitting a winner, its equity and cap in one
    proportion, changes nothing for anybody; so does merging."""
    return weighted(amount, winners, lambda winner: winner.equity)


def risk_aware(amount: Exact, winners: Iterable[Winner], risk: Callable[[Exact], Exact]) -> Allocation:
    """Capped pro-rata in which equity counts `risk` of the winner's leverage times over: share = min(cap, level x
    equity x risk(leverage)). C calls it RAP; `power` and `tail` are its choices for `risk`."""
    return weighted(amount, winners, lambda winner: winner.equity * risk(winner.leverage))


def power(exponent: int) -> Callable[[Exact], Exact]:
    """leverage to the power of `exponent`: 2 is the paper's "linear" g, 3 its "power" g, 0 plain pro-rata (C, appendix
    "Examples of Risk-Aware Pro-Rata": a weight is leverage x g(leverage))."""
    return lambda leverage: leverage**exponent


def tail(threshold: Exact) -> Callable[[Exact], Exact]:
    """leverage x (leverage - threshold), and zero below the threshold: the paper's CVaR weight (C, same place)."""
    return lambda leverage: leverage * max(leverage - threshold, 0)


def weighted(amount: Exact, winners: Iterable[Winner], weight: Callable[[Winner], Exact]) -> Allocation:
    """share = min(cap, level x weight). Who has no weight pays nothing. The level is found by filling up those first
    whose cap is lowest for their weight, with no iteration to a tolerance."""
    listed = _checked(amount, winners)
    weights = {winner.name: Fraction(weight(winner)) for winner in listed}
    paying = [winner for winner in listed if weights[winner.name] > 0]
    paying.sort(key=lambda winner: (winner.cap / weights[winner.name], winner.name))
    shares = {winner.name: Fraction(0) for winner in listed}
    left = Fraction(amount)
    open_weight = sum((weights[winner.name] for winner in paying), Fraction(0))
    for winner in paying:
        shares[winner.name] = min(Fraction(winner.cap), left * weights[winner.name] / open_weight)
        left -= shares[winner.name]
        open_weight -= weights[winner.name]
    return _allocation(shares, left)


def whole_shares(allocation: Allocation) -> dict[str, int]:
    """Shares in whole units of money that add up to the amount paid, which is a whole number: each rounded down, then
    one unit more for those whose remainders are largest, of equal ones the name that sorts first. No share goes above a
    cap that is a whole number; a unit may move between the parts of a winner that was split."""
    paid = allocation.total()
    if paid.denominator != 1:
        raise ValueError(f"{paid} is not a whole number of units")
    down = {name: math.floor(share) for name, share in allocation.shares.items()}
    missing = paid.numerator - sum(down.values())
    by_remainder = sorted(down, key=lambda name: (down[name] - allocation.shares[name], name))
    for name in by_remainder[:missing]:
        down[name] += 1
    return down


def _checked(amount: Exact, winners: Iterable[Winner]) -> list[Winner]:
    listed = sorted(winners, key=lambda winner: winner.name)
    if amount < 0:
        raise ValueError(f"an amount to share is zero or more, not {amount}")
    for winner in listed:
        if winner.equity < 0 or winner.cap < 0 or winner.leverage < 0:
            raise ValueError(f"{winner.name}: equity, cap and leverage are zero or more")
    for winner, following in pairwise(listed):
        if winner.name == following.name:
            raise ValueError(f"{winner.name}: stands twice among the winners")
    return listed


def _allocation(shares: Mapping[str, Fraction], left: Fraction) -> Allocation:
    return Allocation(dict(sorted(shares.items())), left)


# -- prices and the fund ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Position:
    """An isolated position: `quantity` above zero, bought (`side` 1) or sold (-1) at `entry`, with `collateral` (money)
    and the funding received so far (money, below zero where paid)."""

    quantity: Exact
    entry: Exact
    collateral: Exact
    side: int
    funding: Exact = 0


def bankruptcy_price(position: Position) -> Fraction:
    """entry - (collateral + funding) / (side x quantity), and not below zero: the price at which equity is zero (C,
    equation "bankruptcy price" with equity as defined there)."""
    held = Fraction(position.side * position.quantity)
    return max(Fraction(0), position.entry - (position.collateral + position.funding) / held)


def liquidation_price(position: Position, rate: Exact) -> Fraction:
    """bankruptcy price / (1 - side x rate): where equity is `rate` (a maintenance margin rate, 1/10 for 10 %) of the
    value at that price (C, appendix "Liquidation Price Example")."""
    return bankruptcy_price(position) / (1 - position.side * Fraction(rate))


def filled_price(mark: Exact, quantity: Exact, side: int, impact: Exact) -> Fraction:
    """mark - side x impact x quantity / 2: the average price of closing `quantity` of a position on `side` where the
    price moves by `impact` for each unit (C, appendix "Execution Price Example")."""
    return mark - side * impact * Fraction(quantity) / 2


def shortfall(bankruptcy: Exact, price: Exact, quantity: Exact, side: int) -> Fraction:
    """max(0, side x (bankruptcy - price)) x quantity: the money missing when `quantity` is closed at `price` (C,
    appendix "Bad Debt Example")."""
    return max(Fraction(0), side * (Fraction(bankruptcy) - price)) * quantity


def liquidation_fee(mark: Exact, price: Exact, quantity: Exact, of_mark: Exact, of_fill: Exact) -> Fraction:
    """(of_mark x mark + of_fill x price) x quantity, rates as fractions of value (C, "Liquidation Costs Example")."""
    return (Fraction(of_mark) * mark + Fraction(of_fill) * price) * quantity


def fund_pays(fund: Exact, deficit: Exact) -> tuple[Fraction, Fraction, Fraction]:
    """What the insurance fund pays, min(fund, deficit), what it has then, and what is left for the winners,
    max(0, deficit - fund) (C, section "Exchange solvency")."""
    paid = Fraction(min(fund, deficit))
    return paid, fund - paid, deficit - paid


def best_fund(
    reaches: Callable[[Fraction], Exact], capital_cost: Exact, loss_weight: Exact, *, step: Exact = 1, most: Exact
) -> Fraction:
    """The fund that costs least: the smallest multiple of `step` (money) up to `most` at which the distribution
    function `reaches`, P(deficit <= x), is at least 1 - capital_cost / loss_weight. C, appendix "Optimal Capital
    Structure": the cost is capital_cost x fund + loss_weight x E[(deficit - fund)+]. Zero where capital costs as much
    as a loss."""
    level = _level(capital_cost, loss_weight)
    low, high = -1, math.floor(Fraction(most) / step)  # below at low, reached at high
    if level <= 0:
        return Fraction(0)
    if reaches(high * Fraction(step)) < level:
        raise ValueError(f"the distribution function does not reach {level} at {most}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle * Fraction(step)) >= level else (middle, high)
    return high * Fraction(step)


def best_fund_of(deficits: Sequence[Exact], capital_cost: Exact, loss_weight: Exact) -> Fraction:
    """`best_fund` where the deficits are a sample and each is as likely as the next: the smallest of them that a share
    of at least 1 - capital_cost / loss_weight does not exceed."""
    if not deficits:
        raise ValueError("no deficits")
    level = _level(capital_cost, loss_weight)
    place = math.ceil(level * len(deficits))
    return max(Fraction(0), Fraction(sorted(deficits)[place - 1])) if place > 0 else Fraction(0)


def _level(capital_cost: Exact, loss_weight: Exact) -> Fraction:
    if capital_cost <= 0 or loss_weight <= 0:
        raise ValueError("the cost of capital and the weight of a loss are above zero")
    return 1 - Fraction(capital_cost) / loss_weight
