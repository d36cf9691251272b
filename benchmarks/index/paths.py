"""Seeded marks as columns. Prices of the calm walk and of the swings are nobody's; the crash follows recorded bars,
with synthetic prices between the four that each bar tells."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from closeout.studies.market import Bar, load_market

SEED = 7
CALM_STEP = 2e-5
"""Scale of a calm mark's step as a share of the price (Student's t with 4 degrees of freedom)."""
CRASH = "oct-10-all"
MINUTE = 60 * 10**9


@dataclass(frozen=True)
class Path:
    """Marks in their order: contract number, ticks, and the number of the atomic batch that each belongs to."""

    contract: Any
    ticks: Any
    batch: Any
    label: str

    def __len__(self) -> int:
        return len(self.contract)

    def part(self, begin: int, end: int) -> "Path":
        return Path(self.contract[begin:end], self.ticks[begin:end], self.batch[begin:end], self.label)

    def bounds(self) -> Any:
        """Where each batch begins, and the end."""
        begins = np.flatnonzero(np.diff(self.batch, prepend=self.batch[0] - 1))
        return np.append(begins, len(self))

    def after(self, opening: Any, marks: int | None = None) -> Any:
        """The ticks of every contract after the first `marks`, or all."""
        found = opening.copy()
        found[self.contract[:marks]] = self.ticks[:marks]  # of several values for one place the last one stays
        return found


def singly(contract: Any, ticks: Any, label: str) -> Path:
    """Each mark a batch of its own."""
    return Path(contract.astype(np.int32), ticks.astype(np.int64), np.arange(len(contract)), label)


def calm(opening: Any, marks: int, *, step: float = CALM_STEP, only: int | None = None, seed: int = SEED) -> Path:
    """A random contract each time, or always the same, moved by a seeded step of at least one tick."""
    rng = np.random.default_rng(seed)
    contract = rng.integers(0, len(opening), marks) if only is None else np.full(marks, only)
    steps = np.rint(rng.standard_t(4, marks) * opening[contract] * step).astype(np.int64)
    steps = np.where(steps == 0, rng.choice(np.array([-1, 1]), marks), steps)
    ticks = np.empty(marks, np.int64)
    for number, price in enumerate(opening):
        mine = np.flatnonzero(contract == number)
        ticks[mine] = price + np.cumsum(steps[mine])
    floor = opening // 100  # a walk of many large steps stays above zero
    whose = "of all contracts" if only is None else f"of contract {only} alone"
    label = f"calm walk {whose}, steps of about {step:.4%} of the price"
    return singly(contract, np.maximum(ticks, floor[contract]), label)


def swings(opening: Any, batches: int, size: int, *, amplitude: int = 1, seed: int = SEED) -> Path:
    """Batches of `size` contracts, each of which jumps from its opening mark by `amplitude` ticks, down or up, and back
    across it the next time."""
    rng = np.random.default_rng(seed)
    side = rng.choice(np.array([-1, 1]), len(opening))
    contract, ticks = np.empty((batches, size), np.int64), np.empty((batches, size), np.int64)
    for number in range(batches):
        chosen = rng.choice(len(opening), size, replace=False)
        side[chosen] *= -1
        contract[number], ticks[number] = chosen, opening[chosen] + side[chosen] * amplitude
    batch = np.repeat(np.arange(batches), size)
    label = f"swings of {amplitude} tick about the opening mark, {size} contracts a batch"
    return Path(contract.ravel().astype(np.int32), ticks.ravel(), batch, label)


def crash(opening: Any, marks: int, *, together: bool = False, seed: int = SEED) -> Path:
    """The shipped windows of 10 October 2025: contracts of even number move as BTCUSDT did, odd ones as SOLUSDT.

    About `marks` in all, as many for each contract. The four prices of a one-minute bar are recorded, which extreme
    came first is drawn, and between them lies a Brownian bridge that stays within the bar. `together`: the first marks
    of all contracts are one batch, the second ones the next, and so on.
    """
    rng = np.random.default_rng(seed)
    recorded = list(load_market([CRASH]).contracts.values())
    wanted = -(-marks // len(opening))
    contract, ticks, times = [], [], []
    for number, price in enumerate(opening):
        bars = recorded[number % len(recorded)]
        factors, when = _bridges(rng, bars, -(-wanted // len(bars)))
        contract.append(np.full(len(when), number))
        ticks.append(np.rint(factors * price).astype(np.int64))
        times.append(when)
    place = np.concatenate([np.arange(len(when)) for when in times])
    order = np.argsort(place if together else np.concatenate(times), kind="stable")
    label = "synthetic: seeded Brownian bridges through open, extremes and close of recorded one-minute bars of "
    label += "10 October 2025 (even contracts BTCUSDT, odd ones SOLUSDT)"
    found = singly(np.concatenate(contract)[order], np.concatenate(ticks)[order], label)
    return replace(found, batch=place[order]) if together else found


def _bridges(rng: Any, bars: list[Bar], per_bar: int) -> tuple[Any, Any]:
    """Prices as shares of the first open, and their times; at least three in each bar."""
    steps = max(1, -(-per_bar // 3))
    opens, highs, lows, closes = (
        np.array([float(getattr(bar, name)) for bar in bars]) for name in ("open", "high", "low", "close")
    )
    high_first = rng.random(len(bars)) < 0.5
    nodes = [opens, np.where(high_first, highs, lows), np.where(high_first, lows, highs), closes]
    share = np.arange(1, steps + 1) / steps
    parts = []
    for begin, end in itertools.pairwise(nodes):
        walk = rng.normal(size=(len(bars), steps)).cumsum(axis=1) / np.sqrt(steps)
        bridge = (walk - walk[:, -1:] * share) * ((highs - lows) / 2)[:, None]
        path = begin[:, None] + (end - begin)[:, None] * share + bridge
        path = np.clip(path, lows[:, None], highs[:, None])
        path[:, -1] = end
        parts.append(path)
    prices = np.concatenate(parts, axis=1)
    place = (np.arange(prices.shape[1]) + rng.random(prices.shape)) / prices.shape[1]
    times = np.array([bar.time for bar in bars])[:, None] + (place * MINUTE).astype(np.int64)
    return (prices / opens[0]).ravel(), times.ravel()
