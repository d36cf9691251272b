"""Who falls below the line and in which batch, exactly: int64, compiled, by other means than the engine's.

A million marks over a million accounts are too many to judge one by one. So the path is cut into segments, and an
account whose slack would still be at least zero with each of its contracts at the worst price of the segment is not
looked at in it: slack is a sum of one contract's price each, so it cannot have fallen below. All others are followed
mark by mark.
"""

import itertools
from typing import Any

import numba
import numpy as np

from benchmarks.index.book import CONTRACTS, Columns
from benchmarks.index.paths import Path

SEGMENT = 2_000
NEVER = -1


def first_breaches(columns: Columns, path: Path) -> Any:
    """Of each account the batch after which it is below its line for the first time, or `NEVER`. Nothing is closed."""
    first = np.full(columns.accounts, NEVER, np.int64)
    ticks = columns.opening.copy()
    bounds = path.bounds()
    cuts = np.unique(bounds[np.searchsorted(bounds, np.arange(0, len(path) + SEGMENT, SEGMENT).clip(max=len(path)))])
    book = (columns.start, columns.contract, columns.weight, columns.base)
    for begin, end in itertools.pairwise(cuts):
        part = path.part(begin, end)
        low, high = ticks.copy(), ticks.copy()
        np.minimum.at(low, part.contract, part.ticks)
        np.maximum.at(high, part.contract, part.ticks)
        chosen, slack = _screened(*book, first, ticks, low, high)
        _follow(columns.start, columns.contract, columns.weight, chosen, slack, *_columns(part), ticks, first)
        ticks = part.after(ticks)
    return first


def order_of(first: Any) -> Any:
    """The accounts that fall below, in the order in which an engine must say so: by batch, then by account."""
    fallen = np.flatnonzero(first != NEVER)
    return fallen[np.argsort(first[fallen], kind="stable")]


def _columns(path: Path) -> tuple[Any, Any, Any]:
    return path.contract, path.ticks, path.batch


@numba.njit(cache=True)
def _screened(
    start: Any, contract: Any, weight: Any, base: Any, first: Any, ticks: Any, low: Any, high: Any
) -> Any:  # pragma: no cover (compiled)
    """Accounts that could fall below between `low` and `high`, and their slack at `ticks`."""
    chosen = np.empty(len(base), np.int64)
    slack = np.empty(len(base), np.int64)
    count = 0
    for account in range(len(base)):
        if first[account] != NEVER:
            continue
        now = worst = base[account]
        for row in range(start[account], start[account + 1]):
            number, gain = contract[row], weight[row]
            now += gain * ticks[number]
            worst += gain * (low[number] if gain > 0 else high[number])
        if worst < 0:
            chosen[count], slack[count] = account, now
            count += 1
    return chosen[:count].copy(), slack[:count].copy()


@numba.njit(cache=True)
def _follow(
    start: Any, contract: Any, weight: Any, chosen: Any, slack: Any, marked: Any, prices: Any, batch: Any,
    opening: Any, first: Any,
) -> None:  # pragma: no cover (compiled)  # fmt: skip
    """Follow the chosen accounts through each mark; verdicts when a batch is in."""
    bounds = np.zeros(CONTRACTS + 1, np.int64)
    for account in chosen:
        for row in range(start[account], start[account + 1]):
            bounds[contract[row] + 1] += 1
    bounds = np.cumsum(bounds)
    filled = bounds[:-1].copy()
    who, gain = np.empty(bounds[-1], np.int64), np.empty(bounds[-1], np.int64)
    for place in range(len(chosen)):
        for row in range(start[chosen[place]], start[chosen[place] + 1]):
            at = filled[contract[row]]
            who[at], gain[at] = place, weight[row]
            filled[contract[row]] += 1
    ticks = opening.copy()
    for number in range(len(marked)):
        held = marked[number]
        moved = prices[number] - ticks[held]
        ticks[held] = prices[number]
        for at in range(bounds[held], bounds[held + 1]):
            slack[who[at]] += gain[at] * moved
        if number + 1 < len(marked) and batch[number + 1] == batch[number]:
            continue
        if number > 0 and batch[number - 1] == batch[number]:
            for place in range(len(chosen)):
                if slack[place] < 0 and first[chosen[place]] == NEVER:
                    first[chosen[place]] = batch[number]
        else:
            for at in range(bounds[held], bounds[held + 1]):
                if slack[who[at]] < 0 and first[chosen[who[at]]] == NEVER:
                    first[chosen[who[at]]] = batch[number]
