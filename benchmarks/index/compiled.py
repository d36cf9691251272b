"""The compiled baselines (Numba, one thread): what is usually done, as well as it can be done.

Slack is kept or summed with one coefficient for each position, which only a book of one rate and one line allows.
"""

import itertools
from typing import Any

import numba
import numpy as np

from benchmarks.index.book import NEED, UNIT_VALUE, Columns


@numba.njit(cache=True)
def _scan(start: Any, contract: Any, weight: Any, base: Any, ticks: Any, out: Any) -> int:  # pragma: no cover
    count = 0
    for account in range(len(base)):
        slack = base[account]
        for row in range(start[account], start[account + 1]):
            slack += weight[row] * ticks[contract[row]]
        if slack < 0:
            out[count] = account
            count += 1
    return count


@numba.njit(cache=True)
def _plain_scan(
    start: Any, contract: Any, lots: Any, cost: Any, cash: Any, ticks: Any, out: Any
) -> int:  # pragma: no cover (compiled)
    count = 0
    for account in range(len(cash)):
        net_liq, required = cash[account], 0
        for row in range(start[account], start[account + 1]):
            value = lots[row] * ticks[contract[row]]
            net_liq += value * UNIT_VALUE - cost[row]
            required += abs(value) * NEED
        if net_liq < required:
            out[count] = account
            count += 1
    return count


@numba.njit(cache=True)
def _pass(account: Any, weight: Any, moved: int, slack: Any, out: Any) -> int:  # pragma: no cover (compiled)
    count = 0
    for row in range(len(account)):
        left = slack[account[row]] + weight[row] * moved
        slack[account[row]] = left
        if left < 0:
            out[count] = account[row]
            count += 1
    return count


class FullScan:
    """Everybody's slack anew, one coefficient a position."""

    name, question, keeps = "Numba, full scan", "all accounts", "stateless"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        self.ticks, self.out = ticks.copy(), np.empty(columns.accounts, np.int64)
        self.book = (columns.start, columns.contract, columns.weight, columns.base)

    def mark(self, contract: int, ticks: int) -> Any:
        self.ticks[contract] = ticks
        return self.out[: _scan(*self.book, self.ticks, self.out)]


class PlainScan:
    """Everybody's net liq and requirement anew from lots, cost and cash."""

    name, question, keeps = "Numba, full scan of plain columns", "all accounts", "stateless"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        self.ticks, self.out = ticks.copy(), np.empty(columns.accounts, np.int64)
        self.book = (columns.start, columns.contract, columns.lots, columns.cost, columns.cash)

    def mark(self, contract: int, ticks: int) -> Any:
        self.ticks[contract] = ticks
        return self.out[: _plain_scan(*self.book, self.ticks, self.out)]


class Incremental:
    """The slack of every account is kept; a mark adds to that of its contract's holders."""

    name, question, keeps = "Numba, incremental pass", "holders", "incremental"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        order, bounds = columns.by_contract
        account, weight = columns.account[order], columns.weight[order]
        self.parts = [(account[begin:end], weight[begin:end]) for begin, end in itertools.pairwise(bounds)]
        self.slack = columns.net_liq(ticks) - columns.requirement(ticks)
        self.ticks, self.out = ticks.copy(), np.empty(columns.accounts, np.int64)

    def mark(self, contract: int, ticks: int) -> Any:
        moved = ticks - self.ticks[contract]
        self.ticks[contract] = ticks
        return self.out[: _pass(*self.parts[contract], moved, self.slack, self.out)]
