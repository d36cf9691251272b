"""Verdicts of one account after another, compiled: who would be stored at another level now.

What is compiled here says what `core.contracts`, `core.margin` and `core.risk` say, over rows of integers instead of
objects; the roundings are theirs, compiled. Tests hold both against each other for every mechanism (G-12). All numbers
are int64 in the units of `core.units`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

from numba import njit

from closeout.core import units
from closeout.engine.book import Flag

RATE = units.RATE
HELD, LIQUIDATE_NOW, STOPPED = int(Flag.HELD), int(Flag.LIQUIDATE_NOW), int(Flag.STOPPED)

# Columns of `Tables.facts`, a row for each contract
INVERSE, UNIT_VALUE, UNITS_PER_MICRO, PRICED, MARK, BY_ENTRY, CLOSE_FEE, WINDOW = range(8)
TIERS, TIERS_END, NEWS, NEWS_END, NEWS_WHOLE, NEWS_PART, SHAPE = range(8, 15)
CLOSE_FEE_SIDE, INITIAL, INITIAL_END, WHEEL, SIZE, SHIFT, NETTING = range(15, 22)
FACTS = 22
# Columns of `Tables.tiers`: one margin kind of a tier
FROM, TIER_RATE, PER_LOT, AMOUNT, SLOPE_RATE, SLOPE_PER, SLOPE_OF_LOTS, SLOPE_ROOT, SLOPE_WITHIN = range(9)
TIER = 9
# Entries of `Tables.limits`
HAS_FLOOR, FLOOR, UNPRICED_MOVE, DESK_HELD, ROUNDINGS = range(5)
LIMITS = 5


MAX_POSITIONS = 128
"""Accounts with more are always looked at."""

# Values of `Wheels.anchored`: loose; with triggers; never judged; and set aside during a series, neither loose nor with
# triggers, because what happens to it no longer depends on its level
FREE, ANCHORED, HOUSE, ASIDE = range(4)


class Tables(NamedTuple):
    """What holds for everybody. `windows`: of each the levels at which alert, liquidate-only and auto-liquidation
    begin; `nets`: of each netting group the window in which it is."""

    facts: Any
    tiers: Any
    windows: Any
    limits: Any
    nets: Any


class Columns(NamedTuple):
    """The book's columns, and the position table's (`first` and `next` as there)."""

    cash: Any
    accrued: Any
    pending: Any
    receivable: Any
    level: Any
    flags: Any
    contract: Any
    account: Any
    lots: Any
    cost: Any
    next: Any
    first: Any


class Braked(NamedTuple):
    """The columns of the customers' own brakes (`Brakes.COLUMNS`)."""

    account: Any
    daily_loss: Any
    weekly_loss: Any
    trailing_drawdown: Any
    base_day: Any
    base_week: Any
    peak: Any


Function = TypeVar("Function", bound=Callable[..., Any])
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Without Numba's run time nothing here can make an array, and no call counts references to every column, which would
cost more than the sums."""


def compiled(function: Function, **more: Any) -> Function:
    """The function, compiled at its first call and kept on the disk for the next process where there is a place."""
    try:
        return cast(Function, njit(cache=True, **OPTIONS, **more)(function))
    except RuntimeError:  # neither the package's folder, nor one of the user's, nor NUMBA_CACHE_DIR can be written
        return cast(Function, njit(**OPTIONS, **more)(function))


def inlined(function: Function) -> Function:
    """For what is done at each position."""
    return compiled(function, inline="always")


floor_div = inlined(units.floor_div)
ceil_div = inlined(units.ceil_div)
mul_div_floor = inlined(units.mul_div_floor)
mul_div_ceil = inlined(units.mul_div_ceil)
root_ceil = compiled(units.root_ceil)


# -- one position and one account --------------------------------------------------------------------


@inlined
def value_of(facts: Any, c: int, ticks: int, lots: int) -> int:
    """`Contract.value`."""
    if facts[c, INVERSE] == 0:
        return ticks * lots * facts[c, UNIT_VALUE]
    whole = facts[c, UNIT_VALUE] // ticks
    rest = facts[c, UNIT_VALUE] - whole * ticks
    return -lots * whole + floor_div(-lots * rest, ticks)


@inlined
def tier_at(tiers: Any, begin: int, end: int, notional: int) -> int:
    """The row of the last tier that `notional` reaches."""
    found = begin
    for row in range(begin + 1, end):
        if notional < tiers[row, FROM]:
            break
        found = row
    return found


@inlined
def margin_in(tiers: Any, row: int, lots: int, notional: int) -> int:
    """`margin`, in the tier of a row."""
    rate = tiers[row, TIER_RATE]
    if tiers[row, SLOPE_ROOT] > 0:
        size = min(abs(lots), tiers[row, SLOPE_ROOT])
        grown = root_ceil(mul_div_ceil(size, tiers[row, SLOPE_RATE], tiers[row, SLOPE_PER]))
        rate = min(rate + max(grown - tiers[row, SLOPE_WITHIN], 0), units.MAX_RATE)
    elif tiers[row, SLOPE_PER] > 0:
        size = abs(lots) if tiers[row, SLOPE_OF_LOTS] else notional
        rate = min(rate + mul_div_ceil(size, tiers[row, SLOPE_RATE], tiers[row, SLOPE_PER]), units.MAX_RATE)
    return mul_div_ceil(notional, rate, RATE) + abs(lots) * tiers[row, PER_LOT] - tiers[row, AMOUNT]


@inlined
def required_of(tables: Tables, c: int, lots: int, worth: int) -> int:
    """`held_requirement`."""
    facts, tiers = tables.facts, tables.tiers
    row = tier_at(tiers, facts[c, TIERS], facts[c, TIERS_END], worth)
    required = margin_in(tiers, row, lots, worth)
    if facts[c, NEWS] < facts[c, NEWS_END]:
        intraday = margin_in(tiers, tier_at(tiers, facts[c, NEWS], facts[c, NEWS_END], worth), lots, worth)
        required = max(required, intraday * facts[c, NEWS_WHOLE] + mul_div_ceil(intraday, facts[c, NEWS_PART], RATE))
    if facts[c, CLOSE_FEE]:
        closed = worth
        if facts[c, CLOSE_FEE_SIDE]:
            initial = margin_in(tiers, tier_at(tiers, facts[c, INITIAL], facts[c, INITIAL_END], worth), lots, worth)
            closed -= facts[c, CLOSE_FEE_SIDE] * (initial if lots > 0 else -initial)
        required += mul_div_ceil(closed, facts[c, CLOSE_FEE], RATE)
    return required


@inlined
def worth_of(tables: Tables, c: int, lots: int, cost: int, ticks: int) -> tuple[int, int]:
    """Profit, and what requirements stand on, of a priced position at a price."""
    facts = tables.facts
    value = value_of(facts, c, ticks, lots)
    worth = abs(cost) if facts[c, BY_ENTRY] else abs(value)
    if facts[c, UNITS_PER_MICRO] == 1:
        return value - cost, worth
    return floor_div(value - cost, facts[c, UNITS_PER_MICRO]), ceil_div(worth, facts[c, UNITS_PER_MICRO])


@inlined
def now_of(tables: Tables, c: int, lots: int, cost: int) -> tuple[int, int]:
    """As `worth_of` at the mark; without one the bounded worst (`core.risk.unpriced`)."""
    facts = tables.facts
    if facts[c, PRICED]:
        return worth_of(tables, c, lots, cost, facts[c, MARK])
    size = abs(cost)
    lost = mul_div_ceil(size, tables.limits[UNPRICED_MOVE], RATE)
    profit = floor_div(-lost, facts[c, UNITS_PER_MICRO])
    if facts[c, BY_ENTRY]:
        return profit, ceil_div(size, facts[c, UNITS_PER_MICRO])
    return profit, ceil_div(size + lost, facts[c, UNITS_PER_MICRO])


@inlined
def line_of(required: int, level: int) -> int:
    """`line`."""
    return required if level == RATE else mul_div_ceil(required, RATE, level)


@compiled
def assess(tables: Tables, book: Columns, account: int, sums: Any) -> tuple[int, int, int, int, int]:
    """Of one account net liq, the three lines (0 for those that are not reached: divisions are dear, and no line is
    above twice the requirement, since no level is below a half), and how many positions it has. `sums`: room for a
    sum a window, and behind these for the longs and the shorts of each netting group (`NETTING` is where they stand, 0
    without one)."""
    net_liq = book.cash[account] + book.accrued[account] - book.pending[account] - book.receivable[account]
    positions = 0
    sums[:] = 0
    link = book.first[account] if account < len(book.first) else 0
    while link:
        row = link - 1
        link = book.next[row]
        if book.lots[row] == 0:
            continue
        c = book.contract[row]
        profit, worth = now_of(tables, c, book.lots[row], book.cost[row])
        net_liq += profit
        place = tables.facts[c, NETTING]
        place = place + (book.lots[row] < 0) if place else tables.facts[c, WINDOW]
        sums[place] += required_of(tables, c, book.lots[row], worth)
        positions += 1
    alert, liquidate_only, auto = 0, 0, 0
    for group in range(len(tables.nets)):
        place = len(tables.windows) + 2 * group
        sums[tables.nets[group]] += max(sums[place], sums[place + 1])
    required = 0
    for window in range(len(tables.windows)):
        required += sums[window]
    if net_liq >= 2 * required:
        return net_liq, 0, 0, 0, positions
    for window in range(len(tables.windows)):
        if sums[window]:
            alert += line_of(sums[window], tables.windows[window, 0])
    if net_liq < alert:
        for window in range(len(tables.windows)):
            liquidate_only += line_of(sums[window], tables.windows[window, 1])
            auto += line_of(sums[window], tables.windows[window, 2])
    return net_liq, alert, liquidate_only, auto, positions


@compiled
def is_spread(tables: Tables, book: Columns, account: int, positions: int) -> bool:
    """Whether an account gets no triggers: it has too many positions, or holds both sides of a netting group, so that
    its lines are no sums over its positions."""
    if len(tables.nets) == 0 or positions > MAX_POSITIONS:
        return positions > MAX_POSITIONS
    longs, shorts = 0, 0
    link = book.first[account] if account < len(book.first) else 0
    while link:
        row = link - 1
        link = book.next[row]
        place = tables.facts[book.contract[row], NETTING]
        if place and book.lots[row]:
            group = 1 << ((place - len(tables.windows)) >> 1)
            longs |= group if book.lots[row] > 0 else 0
            shorts |= group if book.lots[row] < 0 else 0
    return longs & shorts != 0


@inlined
def level_of(tables: Tables, net_liq: int, alert: int, liquidate_only: int, auto: int, positions: int) -> int:
    """`core.risk.level_of`."""
    if positions == 0:
        return 0
    limits = tables.limits
    if net_liq < auto or (limits[HAS_FLOOR] and net_liq <= limits[FLOOR]):
        return 3
    return (net_liq < alert) * 1 + (net_liq < liquidate_only) * 1


@inlined
def kept_back(tables: Tables, flags: int, level: int) -> int:
    """The level as it is stored: who is held by the desk is not closed out."""
    held = tables.limits[DESK_HELD] or flags & HELD
    return 2 if level == 3 and held and not flags & LIQUIDATE_NOW else level


@compiled
def verdicts(
    tables: Tables, book: Columns, anchored: Any, everybody: bool, begin: int, end: int, found: Any, sums: Any
) -> tuple[int, int]:
    """The level as it would be stored of the loose accounts among ``begin:end``, and of those with triggers where
    `everybody` is loose; returns how many these are, and how many are stored at another level. Of the others `found` is
    the stored level."""
    judged, changed = 0, 0
    for account in range(begin, end):
        held = anchored[account]
        found[account] = book.level[account]
        if held == FREE or (everybody and held == ANCHORED):
            net_liq, alert, liquidate_only, auto, positions = assess(tables, book, account, sums)
            level = level_of(tables, net_liq, alert, liquidate_only, auto, positions)
            found[account] = kept_back(tables, book.flags[account], level)
            judged += 1
            changed += found[account] != book.level[account]
    return judged, changed


@compiled
def net_liq_of(tables: Tables, book: Columns, account: int) -> tuple[int, bool]:
    """Net liq of one account, and whether every contract that it holds has a mark."""
    net_liq = book.cash[account] + book.accrued[account] - book.pending[account] - book.receivable[account]
    priced = True
    link = book.first[account] if account < len(book.first) else 0
    while link:
        row = link - 1
        link = book.next[row]
        if book.lots[row]:
            net_liq += now_of(tables, book.contract[row], book.lots[row], book.cost[row])[0]
            priced = priced and tables.facts[book.contract[row], PRICED] != 0
    return net_liq, priced


@compiled
def net_liqs(tables: Tables, book: Columns, accounts: Any, found: Any) -> None:
    """Net liq of each account."""
    for place in range(len(accounts)):
        found[place] = net_liq_of(tables, book, accounts[place])[0]


@compiled
def watch(tables: Tables, book: Columns, brakes: Braked, anchored: Any) -> bool:
    """Raise every brake's peak, as `brakes.found` does; whether one trips of an account that is not set aside."""
    trips = False
    for slot in range(len(brakes.account)):
        account = brakes.account[slot]
        net_liq, priced = net_liq_of(tables, book, account)
        if not priced:
            continue
        brakes.peak[slot] = max(brakes.peak[slot], net_liq)
        if book.flags[account] & STOPPED or anchored[account] == ASIDE:
            continue
        day, week, drawdown = brakes.daily_loss[slot], brakes.weekly_loss[slot], brakes.trailing_drawdown[slot]
        if day and net_liq < brakes.base_day[slot] - day:
            trips = True
        if week and net_liq < brakes.base_week[slot] - week:
            trips = True
        if drawdown and net_liq < brakes.peak[slot] - drawdown:
            trips = True
    return trips
