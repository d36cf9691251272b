"""All accounts at once, as columns: what they have, what they need, and their levels (G-12)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from closeout.core.margin import Level, MarginKind, Window, below, held_requirement, margin_of, value_at_entry
from closeout.core.risk import level_of, lines_of, unpriced
from closeout.engine.book import Column, ContractState, Flag
from closeout.engine.state import State

Positions = tuple[ContractState, Column, Column, Column, Column]


class Requirements:
    """Requirements of every account, a column for each key: the window, or whatever else they are summed by. Within a
    netting group only the larger of what an account's longs and its shorts ask for counts (EX-02)."""

    def __init__(self, accounts: int) -> None:
        self.count = accounts
        self.sums = dict[Any, Column]()
        self.sides = dict[tuple[Any, str], tuple[Column, Column]]()

    def add(self, key: Any, contract: ContractState, rows: Column, lots: Column, required: Any) -> None:
        """What a contract's positions ask for; each row stands once among `rows`."""
        if key not in self.sums:
            self.sums[key] = np.zeros(self.count, np.int64)
        group = contract.rules.netting
        if not group:
            self.sums[key][rows] += required
            return
        if (key, group) not in self.sides:
            self.sides[key, group] = np.zeros(self.count, np.int64), np.zeros(self.count, np.int64)
        longs, shorts = self.sides[key, group]
        longs[rows] += required * (lots > 0)
        shorts[rows] += required * (lots < 0)

    def netted(self) -> dict[Any, Column]:
        """The columns by key."""
        for (key, _), sides in self.sides.items():
            self.sums[key] += np.maximum(*sides)
        self.sides.clear()
        return self.sums

    def together(self) -> Column:
        """All keys in one column."""
        return sum(self.netted().values(), np.zeros(self.count, np.int64))


def positions(state: State) -> Iterator[Positions]:
    """Of each contract that is held: account rows, lots, open profit and notional."""
    for contract, rows, lots, cost in _held(state):
        profit, notional = worth(state, contract, lots, cost)
        yield contract, rows, lots, profit, notional


def required_on(contract: ContractState, cost: Column, notional: Any) -> Any:
    """What the requirements of a contract's positions stand on (`Holding.required_on`)."""
    return value_at_entry(cost, contract.contract.units_per_micro) if contract.rules.by_entry else notional


def _judgeable(state: State, among: Column | None = None) -> Iterator[Positions]:
    """As `positions`, with what requirements stand on in the place of the notional."""
    for contract, rows, lots, cost in _held(state, among):
        profit, notional = worth(state, contract, lots, cost)
        yield contract, rows, lots, profit, required_on(contract, cost, notional)


def _held(state: State, among: Column | None = None) -> Iterator[tuple[ContractState, Column, Column, Column]]:
    """Account rows, lots and cost of each contract that is held; by the accounts at the rows `among` alone where given,
    and then places in it instead of rows."""
    if among is not None:
        yield from _held_by(state, among)
        return
    for contract in state.contracts.values():
        rows, lots, cost = contract.held()
        if rows.size:
            yield contract, rows, lots, cost


def _held_by(state: State, accounts: Column) -> Iterator[tuple[ContractState, Column, Column, Column]]:
    table = state.book.positions
    places, at = table.chains(accounts)
    numbers, lots = table.contract[at], table.lots[at]
    for contract in state.contracts.values():
        own = np.flatnonzero((numbers == contract.index) & (lots != 0))
        if own.size:
            yield contract, places[own], lots[own], table.cost[at[own]]


def worth(state: State, contract: ContractState, lots: Column, cost: Column) -> tuple[Any, Any]:
    """Profit and notional of a contract's positions."""
    facts = contract.contract
    if contract.mark is None:
        return unpriced(facts, cost, state.policy.marks.unpriced_move)
    return facts.profit(contract.mark, lots, cost), facts.notional(contract.mark, lots)


def levels(state: State, windows: Mapping[str, Window] | None = None) -> tuple[Column, Column, Column]:
    """Net liq, requirement and level number of every account, by the same formulas as `core.risk.assess`; under
    `windows` by session instead of the present ones where given."""
    net_liq, by_window, holds = _judged(state, windows)
    requirement = np.asarray(sum(by_window.values(), np.zeros(state.book.count, np.int64)))
    level = level_of(net_liq, lines_of(by_window), holds, state.policy.net_liq_floor)
    return net_liq, requirement, np.asarray(level, np.int64)


def shortfalls(state: State, windows: Mapping[str, Window]) -> Column:
    """Of every account that would liquidate under `windows` by session, what it is short of (`core.outlook.shortfall`);
    0 for the others."""
    net_liq, by_window, holds = _judged(state, windows)
    auto, floor = lines_of(by_window)[2], state.policy.net_liq_floor
    line = auto if floor is None else np.maximum(auto, floor + 1)
    return np.asarray(np.maximum(line - net_liq, 0) * holds, np.int64)


def _judged(state: State, windows: Mapping[str, Window] | None) -> tuple[Column, dict[Window, Any], Any]:
    """Net liq of every account, its requirements by window, and whether it holds anything."""
    book = state.book
    net_liq = money(state)
    holds = np.zeros(book.count, bool)
    by_window = Requirements(state.book.count)
    for contract, rows, lots, profit, value in _judgeable(state):
        # A row appears once per contract, so plain fancy indexing adds each exactly once.
        net_liq[rows] += profit
        holds[rows] = True
        window = (windows or {}).get(contract.session or "", contract.window)
        required = held_requirement(replace(contract.terms, window=window), lots, value)
        by_window.add(window, contract, rows, lots, required)
    return net_liq, by_window.netted(), holds


def money(state: State, among: Column | None = None) -> Column:
    """Of every account, or of those at the rows `among`, what net liq is made of besides open profit."""
    rows = slice(None) if among is None else among
    cash, accrued, pending, receivable = (
        state.book.column(name)[rows] for name in ("cash", "accrued", "pending", "receivable")
    )
    return cash + accrued - pending - receivable


def standing(state: State, among: Column | None = None) -> tuple[Column, Column, Column]:
    """Of every account, or of those at the rows `among`: net liq, the maintenance margin of what it holds, news left
    out, and whether it holds anything."""
    net_liq = money(state, among)
    required, holds = Requirements(len(net_liq)), np.zeros(len(net_liq), bool)
    for contract, rows, lots, profit, value in _judgeable(state, among):
        net_liq[rows] += profit
        holds[rows] = True
        margin = margin_of(contract.terms, MarginKind.MAINTENANCE, lots, value)
        required.add(None, contract, rows, lots, margin)
    return net_liq, required.together(), holds


def undermargined(state: State) -> Column:
    """Rows of accounts below the maintenance margin of what they hold, news left out (US-17)."""
    net_liq, required, holds = standing(state)
    return np.flatnonzero(below(net_liq, required) & holds)


def as_stored(state: State) -> tuple[Column, Column]:
    """Every account's net liq, and the level at which it would be stored: who is held by the desk is not closed out."""
    flags = state.book.column("flags")
    net_liq, _, level = levels(state)
    kept_back = ((flags & Flag.LIQUIDATE_NOW) == 0) & (level == Level.LIQUIDATING)
    if not state.desk & Flag.HELD:
        kept_back &= (flags & Flag.HELD) != 0
    level[kept_back] = Level.LIQUIDATE_ONLY
    return net_liq, level


def scanned(state: State) -> tuple[Column, Column]:
    """Every account's net liq, and who would be stored at another level."""
    net_liq, level = as_stored(state)
    return net_liq, np.flatnonzero(level != state.book.column("level"))
