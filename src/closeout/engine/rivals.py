"""Whose positions can be closed against one that the book could not take, and in which order (EX-04).

    leveraged_return            return x leverage, or return / leverage where it lost; leverage = value / equity
    profit_times_margin_ratio   max(0, open profit) / max(1, wallet) x (maintenance margin / equity)
    return_times_leverage       mark / entry (a short: entry / mark) x (notional / equity)
    random                      by the hash of the rulebook's seed, the input's number, the account that is closed out,
                                the contract, and the candidate's id

The highest is taken first, of equal ones the lower account id; whoever the price itself would leave below zero, is
being closed out, or holds nothing on the other side is passed over. The other side of a leg of hedge mode, or of a
contract that has legs, is whatever of the contract and its legs is held there: each of an account's positions has a
place of its own, of equal ones first that in the contract, then that in a leg. An unwind takes all of them, each in
proportion to its position; lots that do not divide go to the largest remainders, of equal ones to the lower account id.

There may be as many of them as there are accounts, so they are columns, worked out of the book's at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop
from typing import Any, cast

import numpy as np

from closeout.core.contracts import Kind
from closeout.core.units import apportion, mul_div_floor
from closeout.engine import scan
from closeout.engine.book import Column, ContractState
from closeout.engine.state import State
from closeout.rulebooks.policy import Ranking, Stage

ROUNDINGS = 3
"""Micros that the roundings of one part can come to: of the part itself, of the trade, and of what is left at the mark.
Who has no more than these above what the price takes is passed over, so that nobody is a micro below zero by it; but
not where the price gives as much for every lot."""
SHIFT = 240
"""Fractions whose denominators are below 2^120 differ by more than 2^-240, or not at all: whole numbers of that order
them. A denominator is a position's value in units, or a wallet, at most 2^54, times an equity, below 2^60 (G-01)."""

Rival = tuple[int, str]
"""An account's row and the contract, or leg of it, in which it holds the other side."""

Taken = list[tuple[Rival, int]]
"""Whose position, and |lots| taken from each."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """Positions that can be closed against one, a row each: whose, in which of `legs`, signed lots and cost; `net_liq`
    and `maintenance` are its account's, in micros."""

    state: State
    legs: list[ContractState]
    account: Column
    leg: Column
    lots: Column
    cost: Column
    net_liq: Column
    maintenance: Column

    @classmethod
    def of(cls, state: State, contract: ContractState, side: int, covered: int, whole: int) -> Rivals:
        """Those of the other side than `side`. Closing all of its own lots would cost an account its part of `covered`,
        which is for `whole` lots (below zero: brings it); who has less than that and `ROUNDINGS` is passed over, or
        less than nothing where each lot brings these."""
        book, legs = state.book, state.legs(contract.contract.market)
        barred = np.array([*book.house, *book.close_outs], np.int64)
        held: list[tuple[Column, ...]] = []
        for leg, each in enumerate(legs):
            account, lots, cost = each.held()
            other = np.flatnonzero((lots * side < 0) & ~np.isin(account, barred))
            held.append((account[other], np.full(len(other), leg), lots[other], cost[other]))
        account, leg, lots, cost = (np.concatenate(column) for column in zip(*held, strict=True))
        accounts, place = np.unique(account, return_inverse=True)
        sizes = np.zeros(len(accounts), np.int64)
        np.add.at(sizes, place, abs(lots))
        net_liq, maintenance, _ = scan.standing(state, accounts)
        able = np.flatnonzero((net_liq >= _least(sizes, covered, whole))[place])
        who = place[able]
        return cls(
            state, legs, account[able], leg[able], lots[able], cost[able], net_liq[who], maintenance[who]
        )  # fmt: skip

    def ranked(self, need: int, stage: Stage, against: str) -> Taken:
        """The first of them, up to `need` lots."""
        assert stage.ranking is not None  # noqa: S101
        scores = self._drawn(stage, against) if stage.ranking is Ranking.RANDOM else self._scores(stage.ranking)
        queue = [
            (-score, order, place) for place, (score, order) in enumerate(zip(scores, self._orders(), strict=True))
        ]
        heapify(queue)
        taken: Taken = []
        while need and queue:
            place = heappop(queue)[-1]
            part = min(need, abs(int(self.lots[place])))
            taken.append((self._rival(place), part))
            need -= part
        return taken

    def unwound(self, need: int) -> Taken:
        """All of them, each in proportion to its position."""
        orders = list(self._orders())
        sizes = {place: abs(int(self.lots[place])) for place in sorted(range(len(orders)), key=orders.__getitem__)}
        total = sum(sizes.values())
        parts = apportion(min(need, total), sizes) if total else {}
        return [(self._rival(place), part) for place, part in parts.items() if part]

    def _rival(self, place: int) -> Rival:
        return int(self.account[place]), self.legs[int(self.leg[place])].contract.name

    def _orders(self) -> Iterator[tuple[str, int]]:
        """Which of equal ones is first: by account, then as the contract and its legs are named."""
        ids, accounts, legs = (
            self.state.book.ids,
            cast(list[int], self.account.tolist()),
            cast(list[int], self.leg.tolist()),
        )
        return ((ids[account], leg) for account, leg in zip(accounts, legs, strict=True))

    def _drawn(self, stage: Stage, against: str) -> Iterator[int]:
        for account_id, leg in self._orders():
            text = f"{stage.seed} {self.state.seq} {against} {self.legs[leg].contract.name} {account_id}"
            yield int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())

    def _scores(self, ranking: Ranking) -> Iterator[int]:
        """Each score, a fraction, as an integer in the same order (`SHIFT`)."""
        contract = self.legs[0].contract
        profit, notional = scan.worth(self.state, self.legs[0], self.lots, self.cost)
        equity, entry = np.maximum(1, self.net_liq), np.maximum(1, abs(self.cost))
        units, is_linear = contract.units_per_micro, contract.kind is Kind.LINEAR
        cash = np.maximum(1, self.state.book.cash[self.account])
        columns: tuple[Any, ...] = (profit, notional, equity, entry, self.lots, cash, self.maintenance)
        for gain, value, worth, paid, lots, wallet, margin in zip(*(each.tolist() for each in columns), strict=True):
            if ranking is Ranking.PROFIT_TIMES_MARGIN_RATIO:
                above, below = max(0, gain) * margin, wallet * worth
            elif ranking is Ranking.RETURN_TIMES_LEVERAGE:
                now = max(1, value * units)
                grown = (now, paid) if (lots > 0) == is_linear else (paid, now)
                above, below = grown[0] * value, grown[1] * worth
            elif gain > 0:
                above, below = gain * units * value, paid * worth
            else:
                above, below = gain * units * worth, paid * max(1, value)
            yield (above << SHIFT) // below


def _least(sizes: Column, covered: int, whole: int) -> Any:
    """What accounts must have, by |lots| on the other side."""
    if -covered >= ROUNDINGS * whole:
        return 0
    parts = [-mul_div_floor(-covered, size, whole) for size in np.minimum(sizes, whole).tolist()]
    return np.maximum(np.array(parts, np.int64), 0) + ROUNDINGS
