"""What an account could owe after a gap, and what the next margin window will ask of it (rules US-18, US-19, US-27)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from closeout.core.contracts import Position
from closeout.core.margin import Level
from closeout.core.risk import Holding, Money, Risk, assess
from closeout.core.units import RATE, floor_div, mul_div_ceil, mul_div_floor

MOVES = tuple(percent * RATE // 100 for percent in (-5, -10, -20, 5, 10, 20))
"""Moves of all contracts together (rates) that an account is always shown."""

LOOK, GRID = RATE // 100, RATE // 100_000
"""The moves (rates) at which a first move is looked for, and to which it is then found."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A move from a minute's open to its extreme (a rate, rounded away from zero to 1e-5), and where it happened."""

    move: int
    what: str


WORST_GAPS = (
    Gap(-123_650_000, "SOLUSDT, 2025-10-10 21:18 UTC"),
    Gap(-93_070_000, "BTCUSDT, 2020-03-13 02:40 UTC"),
    Gap(-74_640_000, "BTCUSDT, 2020-03-12 10:48 UTC"),
    Gap(-61_480_000, "BTCUSDT, 2025-10-10 21:19 UTC"),
    Gap(130_440_000, "BTCUSDT, 2020-03-12 11:02 UTC"),
    Gap(139_900_000, "SOLUSDT, 2025-10-10 21:22 UTC"),
)
"""The worst minutes of the shipped crash windows, trades of Binance's USD-M perpetuals (data/SOURCES.md)."""


@dataclass(frozen=True, slots=True)
class Account:
    """Money and positions that are judged together: a cross account, or one isolated position with its margin. `fee` is
    what its next close-out costs beside the trades, in micros; None: the same as anybody's first."""

    money: Money
    holdings: tuple[Holding, ...]
    fee: int | None = None


@dataclass(frozen=True, slots=True)
class LookAhead:
    """An account under the terms of the next window. `short` is how far net liq is below the auto-liquidation line,
    and so the smallest deposit that clears it; `fewest_lots` by contract, each alone, fees counted: 0 where nothing is
    short, None where closing all of it is not enough (or it has no mark)."""

    risk: Risk
    short: int
    fewest_lots: dict[str, int | None]


def gapped(holding: Holding, move: int) -> Holding:
    """The holding after its mark has moved by a rate of itself: at least that far, in whole ticks, and not below one
    tick unless the contract knows negative prices. An unmarked holding stays at its bounded worst."""
    if holding.mark is None:
        return holding
    change = (mul_div_floor if move < 0 else mul_div_ceil)(abs(holding.mark), move, RATE)
    lowest = holding.mark + change if holding.contract.negative_prices else min(1, holding.mark)
    return holding.at(max(lowest, holding.mark + change))


@dataclass(frozen=True, slots=True)
class Outcome:
    """An account and its isolated positions after a move, in micros. `level` is the worst among them at the moved
    marks; where it means a close-out, `net_liq` is what is left behind it, fees paid, and may be below zero. `owed` is
    what the customer owes then, `borne` what others bear where the customer's liability is limited."""

    net_liq: int
    level: Level
    owed: int
    borne: int = 0


def outcome(
    account: Account, isolated: Sequence[Account], move: int, floor: int | None, liquidation_fee: int,
    only: str | None = None, *, customer_owes: bool = True,
) -> Outcome:  # fmt: skip
    """The outcome of a gap by `move` (a rate) of all contracts, or of the one named `only` with its legs, close-outs
    filled there.

    Whatever is not below its line there stays open and owes nothing. What an isolated position leaves below zero is
    paid from the account's cash first; what it leaves above zero goes there. Unless `customer_owes`, nobody owes
    anything: what any of them leaves below zero is borne by the stages of the rulebook's waterfall.
    """
    if not customer_owes:
        return _limited(account, isolated, move, floor, liquidation_fee, only)
    left = standing = 0
    level = Level.NORMAL
    for part in isolated:
        risk, after = _moved(part, move, floor, liquidation_fee, only)
        level = max(level, risk.level)
        if after is None:
            standing += risk.net_liq
        else:
            left += after
    cash = account.money.cash
    paid = min(-left, max(0, cash)) if left < 0 else -left
    unpaid = max(0, -left - paid)
    money = replace(account.money, cash=cash - paid, receivable=account.money.receivable + unpaid)
    risk, after = _moved(replace(account, money=money), move, floor, liquidation_fee, only)
    if not account.holdings:
        owed = max(0, -money.sum)
    else:
        owed = money.receivable if after is None else max(0, -after)
    return Outcome(standing + (risk.net_liq if after is None else after), max(level, risk.level), owed)


def could_owe(
    account: Account, isolated: Sequence[Account], move: int, floor: int | None, liquidation_fee: int,
    *, customer_owes: bool = True,
) -> int:  # fmt: skip
    """Micros that the customer would owe if all contracts gapped by `move` (a rate)."""
    return outcome(account, isolated, move, floor, liquidation_fee, customer_owes=customer_owes).owed


def _limited(
    account: Account, isolated: Sequence[Account], move: int, floor: int | None, liquidation_fee: int, only: str | None
) -> Outcome:
    net_liq = borne = 0
    level = Level.NORMAL
    for part in (*isolated, account):
        risk, after = _moved(part, move, floor, liquidation_fee, only)
        level = max(level, risk.level)
        net_liq += risk.net_liq if after is None else max(0, after)
        borne += 0 if after is None else max(0, -after)
    return Outcome(net_liq, level, 0, borne)


def _moved(
    account: Account, move: int, floor: int | None, liquidation_fee: int, only: str | None
) -> tuple[Risk, int | None]:
    """The account at the moved marks, and net liq after everything is closed there, fees paid; None where no close-out
    would start."""
    moved = [
        gapped(holding, move) if only in (None, holding.contract.market) else holding for holding in account.holdings
    ]
    risk = assess(account.money, moved, floor)
    if risk.level is not Level.LIQUIDATING:
        return risk, None
    fees = sum(h.contract.trade_fee(h.mark, h.lots) for h in moved if h.mark is not None)
    return risk, risk.net_liq - fees - (liquidation_fee if account.fee is None else account.fee)


def first_move(holds: Callable[[int], bool]) -> int | None:
    """The move (a rate) nearest to 0 at which something holds, on a grid of `GRID`; None up to a loss of all and a gain
    of as much.

    Looks are taken at each percent on both sides, and the first percent within which it begins to hold is halved. What
    holds between two looks and at neither is passed over: a line that is touched by a tick's rounding, or within the
    percent in which a margin tier begins.
    """
    if holds(0):
        return 0
    for end in range(LOOK, RATE + 1, LOOK):
        found = [towards * _first_step(holds, towards, end) for towards in (-1, 1) if holds(towards * end)]
        if found:
            return min(found, key=abs)
    return None


def _first_step(holds: Callable[[int], bool], towards: int, end: int) -> int:
    """Where in the last look before `end`, at which it holds, it begins to."""
    steps = range(end - LOOK + GRID, end + 1, GRID)
    return steps[bisect_left(steps, True, key=lambda step: holds(towards * step))]


def look_ahead(account: Account, floor: int | None) -> LookAhead:
    """The account as it would be judged now under the terms that its holdings carry: those of the next window."""
    risk = assess(account.money, account.holdings, floor)
    short = _short(account, risk, floor)
    fewest = {
        holding.contract.name: _fewest_lots(account, index, floor) if short else 0
        for index, holding in enumerate(account.holdings)
    }
    return LookAhead(risk, short, fewest)


def shortfall(account: Account, floor: int | None) -> int:
    """`LookAhead.short` alone."""
    return _short(account, assess(account.money, account.holdings, floor), floor)


def _short(account: Account, risk: Risk, floor: int | None) -> int:
    line = risk.lines[2] if floor is None else max(risk.lines[2], floor + 1)
    return max(0, line - risk.net_liq) if account.holdings else max(0, -risk.net_liq)


def _fewest_lots(account: Account, index: int, floor: int | None) -> int | None:
    own = account.holdings[index]
    if own.mark is None:
        return None
    # More lots closed can only help: relief outweighs the fee, or no number clears it. The last may help no more.
    closings = range(1, _relieving(account.holdings, own))
    found = bisect_left(closings, True, key=lambda lots: _clears(account, index, lots, floor))
    if found < len(closings):
        return closings[found]
    last = closings.stop
    return last if last and _clears(account, index, last, floor) else None


def _relieving(holdings: Sequence[Holding], own: Holding) -> int:
    """|lots| of a holding up to which closing it makes less required: all of it, or in a netting group until what its
    side asks for is no more than what the other side does."""
    lots, group = abs(own.lots), own.terms.rules.netting
    if not group:
        return lots
    rest = [each for each in holdings if each is not own and each.terms.rules.netting == group]
    same, other = (sum(each.requirement for each in rest if each.lots * own.lots * way > 0) for way in (1, -1))
    return bisect_left(range(lots), True, key=lambda closed: own.less(closed).requirement + same <= other)


def _clears(account: Account, index: int, lots: int, floor: int | None) -> bool:
    """Whether closing `lots` of one holding at its mark, fee paid, leaves an account that is not below its line."""
    own = account.holdings[index]
    assert own.mark is not None  # noqa: S101
    contract = own.contract
    closing = -lots if own.lots > 0 else lots
    position = Position(own.lots, own.cost)
    realised = position.trade(contract, closing, contract.trade_value(own.mark, closing))
    cash = account.money.cash + floor_div(realised, contract.units_per_micro) - contract.trade_fee(own.mark, lots)
    rest = [*account.holdings[:index], *account.holdings[index + 1 :]]
    if position.lots:
        rest.append(replace(own, lots=position.lots, cost=position.cost))
    risk = assess(replace(account.money, cash=cash), rest, floor)
    return risk.level is not Level.LIQUIDATING and (bool(rest) or risk.net_liq >= 0)
