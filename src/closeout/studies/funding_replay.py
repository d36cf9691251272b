"""Funding in a replay: recorded rates as the engine's own commands, at a rulebook's own intervals (EX-06)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from zoneinfo import ZoneInfo

from closeout.core.funding import Cadence
from closeout.core.times import wall_instants
from closeout.core.units import RATE, InputError
from closeout.engine.book import ContractState
from closeout.engine.commands import AccrueFunding, AnyCommand, BookFunding
from closeout.engine.state import State
from closeout.rulebooks.intervals import LONGEST, next_end
from closeout.rulebooks.policy import FundingPolicy, Policy
from closeout.studies.funding_rates import FundingRates


@dataclass(slots=True)
class Payments:
    """What a replay pays when: `rates` of the market's contracts, which `feeds` maps to the rulebook's.

    `done` is the instant up to which everything has been paid, `pending` whether anything waits for its booking.
    `exact` is what all holders of a contract together were due, in micros, worked out beside the engine; `accruals`
    counts the intervals (of continuous funding, the steps) that had a rate, `unknown` those that had none.
    """

    policy: Policy
    feeds: Mapping[str, str]
    rates: FundingRates | None
    done: int
    pending: bool = False
    accruals: int = 0
    unknown: int = 0
    exact: dict[str, Fraction] = field(default_factory=dict[str, Fraction])
    _markets: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if self.rates is None:
            return
        for market in self.rates.contracts:
            if market not in self.feeds:
                expected = f"expected one of {', '.join(self.feeds)}"
                raise InputError(
                    f"{self.rates.source.file}: contract: {market} has no prices in this market; {expected}"
                )
        terms = self.policy.funding.terms if self.policy.funding is not None else {}
        self._markets = {self.feeds[market]: market for market in self.rates.contracts if self.feeds[market] in terms}

    def due(self, state: State, until: int) -> Iterator[tuple[int, AnyCommand]]:
        """What is to be said up to `until`. Each command depends on what the engine made of those before it: it is
        worked out when it is asked for."""
        funding = self.policy.funding
        if funding is None or not self._markets:
            return
        while True:
            ends = {
                name: next_end(funding, state.cadences.get(name, Cadence(funding.terms[name].interval)), self.done)
                for name in self._markets
            }
            booking = min(ends.values()) if funding.booking is None else self._booking(funding)
            step = (self.done // funding.step + 1) * funding.step if funding.step else booking
            at = min(step, booking, *ends.values())
            if at > until:
                return
            for name in self._markets:
                if funding.step or at == ends[name]:
                    yield from ((at, command) for command in self._accrual(state, funding, name, at))
            if at == booking and self.pending:
                self.pending = False
                yield at, BookFunding()
            self.done = at

    def _booking(self, funding: FundingPolicy) -> int:
        zone = ZoneInfo(funding.time_zone)
        return next(wall_instants(funding.booking or "", zone, self.done, self.done + LONGEST))[0]

    def _accrual(self, state: State, funding: FundingPolicy, name: str, at: int) -> Iterator[AnyCommand]:
        contract, terms = state.contracts[name], funding.terms[name]
        if self.rates is None or contract.mark is None or not (state.is_held(name) or terms.shortening):
            return
        since = at - funding.step if funding.step else state.cadences.get(name, Cadence(terms.interval)).begin(at)
        rate = self.rates.between(self._markets[name], since, at)
        if rate is None:
            self.unknown += 1
            return
        self.accruals, self.pending = self.accruals + 1, True
        for leg in state.legs(name):
            due = due_to_all(leg, rate, contract.mark)
            self.exact[leg.contract.name] = self.exact.get(leg.contract.name, Fraction(0)) + due
        yield AccrueFunding(name, rate)

    def said(self) -> list[str]:
        """What a reader must know of it, in plain sentences."""
        if self.rates is None:
            return ["Funding: none is applied: no rates were given (--funding)."]
        funding = self.policy.funding
        others = [name for name in self.feeds.values() if name not in self._markets]
        if funding is None or not self._markets:
            return [f"Funding: none is applied: the rulebook states none for {', '.join(others)}."]
        every = f"each {funding.step // 10**9} s" if funding.step else "at each interval's end"
        said = [
            f"Funding: {self.rates.source.file}, each rate spread evenly over its interval; {every} this rulebook's "
            f"holders pay their part of it, on the value at the mark (accruals: {self.accruals})."
        ]
        if funding.on_index:
            said.append("Funding: the rulebook pays on the index, which is not recorded: the mark stands for it.")
        if others:
            said.append(f"Funding: none for {', '.join(others)}: no rates were given, or the rulebook states none.")
        if self.unknown:
            said.append(f"Funding: {self.unknown} accruals left out: no rate is recorded for their time.")
        return said


def due_to_all(contract: ContractState, rate: int, ticks: int) -> Fraction:
    """What all holders together receive at a rate, in micros, exactly: longs pay where it is above zero."""
    facts = contract.contract
    lots = Counter(contract.position(int(row)).lots for row in contract.holders())
    units = sum((-1 if held > 0 else 1) * abs(facts.value(ticks, held)) * number for held, number in lots.items())
    return Fraction(units * rate, RATE * facts.units_per_micro)
