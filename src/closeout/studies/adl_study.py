"""The auto-deleveraging of 10 October 2025, from its published tables: totals summed again, what they hide, and the
same amounts shared by other rules (rules EX-04 and EX-08).

Sums are exact: every decimal of the files counts. Money is in USD. What each quantity is:

    needed      sum of |mark - fill| x size over a wave's deleveraging fills: what closing at the mark was short of
    taken       what the winners' equity lost by being deleveraged, against the same prices without it
    overshoot   taken - needed, below zero where less was taken than needed
    deficit     sum of the losers' equity below zero
    profit      what winners of a coin had to give (the tables' capacity); a haircut is a share of it
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from closeout.studies.adl_tables import (
    BY_WAVE,
    GAPS,
    LOSERS,
    POLICIES,
    POLICY_METRICS,
    QUEUE_TOTALS,
    SHOCKS,
    SWEEP,
    LoserWave,
    Outcome,
    Shock,
    Tables,
)
from closeout.studies.allocations import (
    Allocation,
    Winner,
    capped_pro_rata,
    power,
    pro_rata,
    queue,
    risk_aware,
)

ZERO = Fraction(0)
AGREES = Fraction(1, 200)
"""Half a cent: a published total that was added up in floating point is not further from the exact sum."""


@dataclass(frozen=True, slots=True)
class Total:
    """A total summed again from rows, and as a file publishes it (None where no file does)."""

    what: str
    found: Fraction
    rows_in: str
    published: Fraction | None = None
    published_in: str = ""

    def agrees(self) -> bool | None:
        return None if self.published is None else abs(self.found - self.published) <= AGREES


@dataclass(frozen=True, slots=True)
class Corrections:
    """What the totals hide. A loss that is the largest of several waves to the last digit is one account's, counted in
    each of them."""

    deficit: Fraction
    repeated_loss: Fraction
    repeated_in: tuple[int, ...]
    deficit_once: Fraction
    deficit_others: Fraction
    over: Fraction
    over_waves: int
    under: Fraction
    under_waves: int
    row_deficit: Fraction
    largest_row_deficit: Fraction
    largest_row_coin: str
    shocks_without_deficit: int
    overshoot_without_deficit: Fraction
    shocks_outside: int
    budget_outside: Fraction


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy by account, as the tables have it, over all waves."""

    name: str
    taken: Fraction
    overshoot: Fraction
    mean_largest: Fraction


@dataclass(frozen=True, slots=True)
class Shared:
    """A wave's needed amount shared among the winners of its coins by one rule. `largest` is the largest haircut, None
    where nobody paid; `first` the share of the amount that the coin paying most pays."""

    left: Fraction
    paying: int
    at_cap: int
    largest: Fraction | None
    first: Fraction


@dataclass(frozen=True, slots=True)
class WaveStudy:
    """`outcome` is production's, at the end of the wave. `without_profit` coins needed something while the tables have
    no profit of their winners."""

    wave: int
    start_ms: int
    outcome: Outcome
    deficit: Fraction
    coins: int
    without_profit: int
    profit: Fraction
    shared: dict[str, Shared]


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that the command prints."""

    fills: int
    gap_rows: int
    shocks: int
    totals: list[Total]
    corrections: Corrections
    policies: list[Policy]
    waves: list[WaveStudy]

    def mean_largest(self, rule: str) -> Fraction:
        found = [wave.shared[rule].largest or ZERO for wave in self.waves]
        return total(found) / len(found)

    def left(self, rule: str) -> Fraction:
        return total(wave.shared[rule].left for wave in self.waves)


def total(numbers: Iterable[Fraction]) -> Fraction:
    return sum(numbers, ZERO)


def study(tables: Tables) -> Study:
    """All of it. A coin stands for its winners: no file at hand has them one by one."""
    policies = [_policy(tables, key) for key in POLICIES]
    return Study(
        sum(loser.fills for loser in tables.losers),
        len(tables.gaps),
        len(tables.shocks),
        [*_wave_totals(tables), *_queue_totals(tables), *_policy_totals(tables)],
        _corrections(tables),
        policies,
        _waves(tables),
    )


# -- totals -------------------------------------------------------------------------------------------------


def _wave_totals(tables: Tables) -> list[Total]:
    first = min(tables.published)
    published = tables.published[first]
    found = [
        Total("deficit", total(loser.deficit for loser in tables.losers), LOSERS, published.deficit, SWEEP),
        Total("needed, by wave and coin", total(gap.needed for gap in tables.gaps), GAPS, published.needed, SWEEP),
        Total("needed, by wave", total(one.needed for one in tables.outcomes[first]), BY_WAVE, published.needed, SWEEP),
    ]
    for horizon, outcomes in sorted(tables.outcomes.items()):
        said = tables.published[horizon]
        taken = total(one.taken for one in outcomes)
        overshoot = total(one.taken - one.needed for one in outcomes)
        found.append(Total(f"taken after {horizon} ms", taken, BY_WAVE, said.taken, SWEEP))
        found.append(Total(f"overshoot after {horizon} ms", overshoot, BY_WAVE, said.overshoot, SWEEP))
    return found


def _queue_totals(tables: Tables) -> list[Total]:
    """The queue diagnostic: the profit of all that was closed, coin by coin, against the deficit of the same fills."""
    over = total(max(ZERO, shock.budget - shock.deficit) for shock in tables.shocks)
    left = total(max(ZERO, shock.deficit - shock.budget) for shock in tables.shocks)
    return [
        Total("queue diagnostic: taken", total(shock.budget for shock in tables.shocks), SHOCKS),
        Total("queue diagnostic: overshoot", over, SHOCKS, tables.queue_overshoot, QUEUE_TOTALS),
        Total("queue diagnostic: left unpaid", left, SHOCKS, tables.queue_residual, QUEUE_TOTALS),
    ]


def _policy_totals(tables: Tables) -> list[Total]:
    """Overshoots from what each policy takes, against the sum of the file's own column."""
    return [
        Total(
            f"overshoot of {name}",
            total(wave.taken[key] - wave.needed for wave in tables.policies),
            f"{POLICY_METRICS}, budget columns",
            total(wave.overshoot[key] for wave in tables.policies),
            f"{POLICY_METRICS}, overshoot column",
        )
        for key, name in POLICIES.items()
    ]


def _policy(tables: Tables, key: str) -> Policy:
    taken = total(wave.taken[key] for wave in tables.policies)
    overshoot = total(wave.taken[key] - wave.needed for wave in tables.policies)
    largest = total(wave.largest[key] for wave in tables.policies) / len(tables.policies)
    return Policy(POLICIES[key], taken, overshoot, largest)


# -- corrections --------------------------------------------------------------------------------------------


def _corrections(tables: Tables) -> Corrections:
    deficit = total(loser.deficit for loser in tables.losers)
    repeated, waves = _repeated_loss(tables.losers)
    ends = [one.taken - one.needed for one in tables.outcomes[min(tables.outcomes)]]
    inside = _wave_of(tables.losers)
    outside = [shock for shock in tables.shocks if inside(shock) is None]
    without = [shock for shock in tables.shocks if not shock.deficit]
    largest = max(tables.shocks, key=lambda shock: (shock.deficit, shock.coin))
    return Corrections(
        deficit=deficit,
        repeated_loss=repeated,
        repeated_in=waves,
        deficit_once=deficit - repeated * max(0, len(waves) - 1),
        deficit_others=deficit - repeated * len(waves),
        over=total(end for end in ends if end > 0),
        over_waves=sum(end > 0 for end in ends),
        under=-total(end for end in ends if end < 0),
        under_waves=sum(end < 0 for end in ends),
        row_deficit=total(shock.deficit for shock in tables.shocks),
        largest_row_deficit=largest.deficit,
        largest_row_coin=largest.coin,
        shocks_without_deficit=len(without),
        overshoot_without_deficit=total(shock.budget for shock in without),
        shocks_outside=len(outside),
        budget_outside=total(shock.budget for shock in outside),
    )


def _repeated_loss(losers: Sequence[LoserWave]) -> tuple[Fraction, tuple[int, ...]]:
    """The loss that is the largest of most waves, and these waves; nothing where none is so of two."""
    waves: dict[Fraction, list[int]] = defaultdict(list)
    for loser in losers:
        waves[loser.largest_loss].append(loser.wave)
    loss, where = max(waves.items(), key=lambda item: (len(item[1]) if item[0] else 0, item[0]))
    return (loss, tuple(where)) if loss and len(where) > 1 else (ZERO, ())


def _wave_of(losers: Sequence[LoserWave]) -> Callable[[Shock], int | None]:
    """The wave that a coin's fills lie in. Fills of one coin less than the gap apart never reach over two waves."""

    def wave_of(shock: Shock) -> int | None:
        inside = (one.wave for one in losers if one.start_ms <= shock.start_ms and shock.end_ms <= one.end_ms)
        return next(inside, None)

    return wave_of


# -- the same amounts by other rules ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Coin:
    """A coin's winners in one wave. `needed` is their own coin's; `closed` the profit that production closed."""

    name: str
    needed: Fraction
    profit: Fraction
    closed: Fraction


def own_coin(coins: Sequence[Coin]) -> Allocation:
    """Each coin's winners pay what their own coin needed, as far as their profit reaches: what closing contracts at
    the losers' price comes to."""
    shares = {coin.name: min(coin.needed, coin.profit) for coin in coins}
    return Allocation(dict(sorted(shares.items())), total(coin.needed - shares[coin.name] for coin in coins))


def _by_winner(rule: Callable[[Fraction, list[Winner]], Allocation]) -> Callable[[Sequence[Coin]], Allocation]:
    """A rule over a wave's coins. `leverage` is a stand-in, for no file has any: what the coin needed for each dollar
    of its winners' profit."""

    def shared(coins: Sequence[Coin]) -> Allocation:
        winners = [
            Winner(coin.name, coin.profit, coin.profit, coin.closed, coin.needed / coin.profit if coin.profit else 0)
            for coin in coins
        ]
        return rule(total(coin.needed for coin in coins), winners)

    return shared


RULES: Mapping[str, Callable[[Sequence[Coin]], Allocation]] = {
    "own coin": own_coin,
    "queue": _by_winner(queue),
    "pro-rata": _by_winner(pro_rata),
    "capped pro-rata": _by_winner(capped_pro_rata),
    "risk-aware 2": _by_winner(lambda amount, winners: risk_aware(amount, winners, power(2))),
    "risk-aware 3": _by_winner(lambda amount, winners: risk_aware(amount, winners, power(3))),
}
"""Every rule by its name. Equity and cap of a coin are its winners' profit; the queue goes by the profit closed."""


def _waves(tables: Tables) -> list[WaveStudy]:
    by_wave = _coins(tables)
    outcomes = tables.outcomes[min(tables.outcomes)]
    found: list[WaveStudy] = []
    for loser, outcome in zip(tables.losers, outcomes, strict=True):
        coins = by_wave[loser.wave]
        found.append(
            WaveStudy(
                wave=loser.wave,
                start_ms=loser.start_ms,
                outcome=outcome,
                deficit=loser.deficit,
                coins=len(coins),
                without_profit=sum(coin.needed > 0 and not coin.profit for coin in coins),
                profit=total(coin.profit for coin in coins),
                shared={name: _shared(coins, rule(coins)) for name, rule in RULES.items()},
            )
        )
    return found


def _coins(tables: Tables) -> dict[int, list[Coin]]:
    """The coins of each wave. One file writes kPEPE, the other KPEPE: names are compared in capitals."""
    wave_of = _wave_of(tables.losers)
    profit: dict[tuple[int | None, str], Fraction] = defaultdict(Fraction)
    closed: dict[tuple[int | None, str], Fraction] = defaultdict(Fraction)
    for shock in tables.shocks:
        place = wave_of(shock), shock.coin.upper()
        profit[place] += shock.capacity
        closed[place] += shock.budget
    coins: dict[int, list[Coin]] = defaultdict(list)
    for gap in tables.gaps:
        place = gap.wave, gap.coin.upper()
        coins[gap.wave].append(Coin(gap.coin, gap.needed, profit[place], closed[place]))
    return coins


def _shared(coins: Sequence[Coin], by: Allocation) -> Shared:
    profit = {coin.name: coin.profit for coin in coins}
    paying = {name: share for name, share in by.shares.items() if share}
    amount = by.total() + by.left
    return Shared(
        left=by.left,
        paying=len(paying),
        at_cap=sum(share == profit[name] for name, share in paying.items()),
        largest=max((share / profit[name] for name, share in paying.items()), default=None),
        first=max(paying.values(), default=ZERO) / amount if amount else ZERO,
    )
