"""A seeded book as columns.

1 to 5 positions an account (3 on average), each in another of twenty contracts, long and short. Marks are 20,000 to
200,000 ticks, 1 to 49 lots a position, entry within 500 ticks of the mark. Cash is drawn last, so that the distance to
the line is what is asked for: the slack of an account (net liq less requirement) as a share of its gross notional,
which is the adverse move of all its contracts that takes it to its line. Near the line accounts are the fewer the
nearer, as where those beyond it have been closed out already.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

CONTRACTS = 20
UNIT_VALUE = 10_000
"""Micros that one lot changes by when the price moves by one tick."""
MAINTENANCE = 50_000_000
"""The maintenance margin rate (1e-9) of every contract: 5 %."""
NEED = UNIT_VALUE * MAINTENANCE // 10**9
"""Micros of requirement for one lot and one tick of price; a whole number."""
NEAR = 0.01
"""An account is near its line when a move of this share of its prices takes it there."""
SEED = 20_251_010
CHUNK = 100_000
"""Accounts drawn at a time, so that drawing does not set the peak of memory."""
HOT_SHARES = (0.0, 0.291667, 0.583333, 0.875, 1.0, 1.0)
"""The share of accounts with 1, 2, .. positions that hold the hot contract: a quarter of all positions together."""


@dataclass(frozen=True)
class Shape:
    """What book is drawn. `share_near`: of accounts, within 1 % of the line; `near`: their number instead. The others
    are `far_from` away and a gamma of shape 2 beyond, `far_spread` each. `hot`: contract 0 has a quarter of all
    positions. `ticks`: instead of all that, every account is so many adverse ticks in all its contracts at once away
    (1 to `ticks`)."""

    accounts: int
    share_near: float = 0.02
    near: int | None = None
    far_from: float = NEAR
    far_spread: float = 0.08
    long: float = 0.5
    hot: bool = False
    ticks: int = 0
    seed: int = SEED

    def text(self) -> str:
        """For people."""
        spread = "contract 0 with a quarter of the positions" if self.hot else "an even spread"
        if self.ticks:
            near = f"every account 1 to {self.ticks} adverse ticks from its line"
        elif self.near is not None:
            near = f"{self.near:,} accounts within 1 % of their line, all others at least {self.far_from:.0%} away"
        else:
            near = f"{self.share_near:.1%} of the accounts within 1 % of their line (the fewer the nearer), the others "
            near += f"{self.far_from:.0%} and a gamma of mean {2 * self.far_spread:.0%} away"
        return f"{near}; {spread} over {CONTRACTS} contracts; {self.long:.0%} long; seed {self.seed}"


@dataclass(frozen=True)
class Columns:
    """The positions of account `a` are `start[a]` to `start[a + 1]`, in contract order. Lots are signed, costs and cash
    in micros (one unit is one micro here), `opening` the ticks at which the distances hold."""

    start: Any
    account: Any
    contract: Any
    lots: Any
    cost: Any
    cash: Any
    opening: Any

    @property
    def accounts(self) -> int:
        return len(self.cash)

    @property
    def positions(self) -> int:
        return len(self.lots)

    def sums(self, values: Any) -> Any:
        """A value of each position summed by account; every account has at least one."""
        return np.add.reduceat(values, self.start[:-1])

    def gross(self, ticks: Any) -> Any:
        return self.sums(abs(self.lots) * ticks[self.contract] * UNIT_VALUE)

    def net_liq(self, ticks: Any) -> Any:
        return self.cash + self.sums(self.lots * ticks[self.contract] * UNIT_VALUE - self.cost)

    def requirement(self, ticks: Any) -> Any:
        return self.sums(abs(self.lots) * ticks[self.contract] * NEED)

    def breached(self, ticks: Any) -> Any:
        """Accounts below their line at these marks: the reference, int64, nothing fused or kept."""
        return np.flatnonzero(self.net_liq(ticks) < self.requirement(ticks))

    def near(self, ticks: Any) -> int:
        """How many accounts are within 1 % of their line."""
        slack = self.net_liq(ticks) - self.requirement(ticks)
        return int(((slack >= 0) & (slack <= NEAR * self.gross(ticks))).sum())

    @cached_property
    def weight(self) -> Any:
        """Micros of slack that each position gains with a tick, as long as prices are above zero."""
        return self.lots * UNIT_VALUE - abs(self.lots) * NEED

    @cached_property
    def base(self) -> Any:
        """Slack less what depends on marks."""
        return self.cash - self.sums(self.cost)

    @cached_property
    def by_contract(self) -> tuple[Any, Any]:
        """Position rows contract by contract, and where each contract begins."""
        order = np.argsort(self.contract, kind="stable")
        bounds = np.zeros(CONTRACTS + 1, np.int64)
        np.cumsum(np.bincount(self.contract, minlength=CONTRACTS), out=bounds[1:])
        return order, bounds

    def holders(self, contract: int) -> Any:
        """The position rows in a contract."""
        order, bounds = self.by_contract
        return order[bounds[contract] : bounds[contract + 1]]


def draw(shape: Shape) -> Columns:
    rng = np.random.default_rng(shape.seed)
    opening = rng.integers(20_000, 200_000, CONTRACTS)
    sizes = rng.integers(1, 6, shape.accounts)
    start = np.zeros(shape.accounts + 1, np.int64)
    np.cumsum(sizes, out=start[1:])
    held = [_contracts(rng, sizes[at : at + CHUNK], shape.hot) for at in range(0, shape.accounts, CHUNK)]
    contract = np.concatenate(held)
    positions = len(contract)
    lots = rng.integers(1, 50, positions) * np.where(rng.random(positions) < shape.long, 1, -1)
    cost = (opening[contract] + rng.integers(-500, 501, positions)) * lots * UNIT_VALUE
    account = np.repeat(np.arange(shape.accounts, dtype=np.int32), sizes)
    empty = Columns(start, account, contract, lots, cost, np.zeros(shape.accounts, np.int64), opening)
    slack = _slack(rng, shape, empty)
    cash = empty.requirement(opening) - empty.net_liq(opening) + slack
    assert cash.min() >= 0
    return Columns(start, account, contract, lots, cost, cash, opening)


def _contracts(rng: Any, sizes: Any, hot: bool) -> Any:
    """Of each account as many different contracts as it has positions, ascending."""
    keys = rng.random((len(sizes), CONTRACTS))
    if hot:
        keys[:, 0] = np.where(rng.random(len(sizes)) < np.array(HOT_SHARES)[sizes], -1.0, 2.0)
    chosen = keys.argsort(axis=1)[:, :5]
    chosen[np.arange(5) >= sizes[:, None]] = CONTRACTS
    chosen.sort(axis=1)
    return chosen[chosen < CONTRACTS].astype(np.int32)


def _slack(rng: Any, shape: Shape, columns: Columns) -> Any:
    """Micros from each account to its line."""
    if shape.ticks:
        adverse = columns.sums(abs(columns.lots) * UNIT_VALUE + abs(columns.lots) * NEED)
        return adverse * rng.integers(1, shape.ticks + 1, shape.accounts)
    distance = shape.far_from + rng.gamma(2.0, shape.far_spread, shape.accounts)
    near = rng.random(shape.accounts) < shape.share_near
    if shape.near is not None:
        near[:] = False
        near[rng.choice(shape.accounts, min(shape.near, shape.accounts), replace=False)] = True
    distance[near] = np.sqrt(rng.random(int(near.sum()))) * NEAR
    return (distance * columns.gross(columns.opening)).astype(np.int64)
