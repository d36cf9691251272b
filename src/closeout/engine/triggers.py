"""How far a price may move before a position can have used up its share of its account's slack, compiled."""

from __future__ import annotations

from typing import Any

from closeout.engine.kernels import (
    HAS_FLOOR,
    INVERSE,
    MARK,
    NEWS,
    NEWS_END,
    ROUNDINGS,
    SHAPE,
    SHIFT,
    SIZE,
    TIERS,
    TIERS_END,
    UNIT_VALUE,
    WINDOW,
    Tables,
    compiled,
    inlined,
    line_of,
    required_of,
    tier_at,
    worth_of,
)

FAR = 2**57
"""No value goes beyond it in the search for a trigger: requirements of it still fit 63 bits."""
UP, DOWN = 0, 1

MILD, STRAIGHT, CONCAVE, BENT, UNEVEN = range(5)
"""Of a contract in one tier, profit less requirement as the price moves (`SHAPE`). Mild: straight, and through all
tiers no line rises faster than what a winning position wins, which therefore never uses slack up. Uneven: more notional
may need less margin, and each move of the price is a trigger."""


@compiled
def segment_of(tables: Tables, c: int, worth: int) -> int:
    """A number for the tiers in which a position of that worth is."""
    facts, tiers = tables.facts, tables.tiers
    segment = tier_at(tiers, facts[c, TIERS], facts[c, TIERS_END], worth)
    if facts[c, NEWS] < facts[c, NEWS_END]:
        segment += (tier_at(tiers, facts[c, NEWS], facts[c, NEWS_END], worth) + 1) << 20
    return segment


@compiled
def height(tables: Tables, c: int, lots: int, cost: int, ticks: int, which: int) -> tuple[int, int, int]:
    """Of a position at a price: profit, its part of a line (0: of the floor, which no requirement moves), and its
    segment."""
    profit, worth = worth_of(tables, c, lots, cost, ticks)
    if which == 3:
        return profit, 0, segment_of(tables, c, worth)
    line = line_of(required_of(tables, c, lots, worth), tables.windows[tables.facts[c, WINDOW], which])
    return profit, line, segment_of(tables, c, worth)


@inlined
def used(here: tuple[int, int, int], there: tuple[int, int, int], gains: bool, shape: int) -> int:
    """At most how much slack a position loses (or gains) anywhere between two prices. In one tier, profit less
    requirement is straight in the price (or in its inverse), so that it is worst at an end, or at least concave, so
    that it loses most at an end; else profit and requirement, each monotone, are taken at their own worst ends."""
    profit, line = there[0] - here[0], there[1] - here[1]
    if here[2] == there[2] and (shape <= STRAIGHT or (shape == CONCAVE and not gains)):
        lost = line - profit
        return max(-lost if gains else lost, 0)
    if gains:
        return max(profit, 0) + max(-line, 0)
    return max(-profit, 0) + max(line, 0)


@inlined
def reach_of(facts: Any, c: int, lots: int, direction: int) -> int:
    """How far a search goes: half a turn of the wheel, not past zero, where requirements turn, no price that is none,
    and no value beyond `FAR`."""
    price = facts[c, MARK]
    reach = (facts[c, SIZE] << facts[c, SHIFT]) // 2 - 1
    if facts[c, INVERSE]:
        return min(reach, price - 1) if direction == UP else min(reach, price - max(1, price >> 4))
    if (price > 0 and direction == DOWN) or (price < 0 and direction == UP):
        reach = min(reach, abs(price))
    return max(0, min(reach, FAR // (abs(lots) * facts[c, UNIT_VALUE]) - abs(price)))


@compiled
def safe_distance(
    tables: Tables,
    position: tuple[int, int, int],
    direction: int,
    which: int,
    gains: bool,
    share: int,
    here: tuple[int, int, int],
) -> int:
    """How many ticks the price may move before a position (contract, lots, cost) could have used up its share: at most
    `reach_of`, and within a few percent of the largest such number. `here`: its height at the mark."""
    c, lots, cost = position
    share -= tables.limits[ROUNDINGS]  # what roundings may hide between two prices
    reach, shape = reach_of(tables.facts, c, lots, direction), tables.facts[c, SHAPE]
    if share < 0 or reach <= 0 or shape == UNEVEN:
        return 0
    price, sign = tables.facts[c, MARK], 1 if direction == UP else -1
    above = used(here, height(tables, c, lots, cost, price + sign * reach, which), gains, shape)
    if above <= share:
        return reach
    low, high, below = 0, reach, 0
    turn = 0
    while high - low > 1 + (low >> 5):
        if turn >= 8:
            middle = (low + high) >> 1
        elif turn & 1:  # is it close enough?
            middle = low + 1 + (low >> 5)
        else:  # profit is close to a straight line: where would it meet the share?
            shift = 0
            while (above - below) >> shift >= 2**22:
                shift += 1
            part, whole = (share - below) >> shift, max((above - below) >> shift, 1)
            middle = min(max(low + (high - low) * part // whole, low + 1), high - 1)
        lost = used(here, height(tables, c, lots, cost, price + sign * middle, which), gains, shape)
        if lost <= share:
            low, below = middle, lost
        else:
            high, above = middle, lost
        turn += 1
    return low


@inlined
def never_loses(tables: Tables, c: int, lots: int, direction: int, shares: tuple[int, int]) -> bool:
    """Whether a position loses no slack however far the price moves that way, but for roundings. `shares`: of the slack
    to the line, and to the floor."""
    limits = tables.limits
    least = min(shares[0], shares[1]) if limits[HAS_FLOOR] else shares[0]
    return tables.facts[c, SHAPE] == MILD and (lots > 0) == (direction == UP) and least >= limits[ROUNDINGS]
