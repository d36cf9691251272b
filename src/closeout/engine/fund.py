"""What the insurance fund has, had, and may lose yet (EX-03, EX-04)."""

from __future__ import annotations

from closeout.core.units import RATE, mul_div_floor
from closeout.engine import ledger as books
from closeout.engine.state import State
from closeout.rulebooks.policy import Stage


def in_fund(state: State) -> int:
    """What the fund has: its cash, less what the positions that it holds have lost."""
    row = state.book.row[books.INSURANCE_FUND]
    return max(0, min(int(state.book.cash[row]), state.risk(row).net_liq))


def peak(state: State, window: int) -> int:
    """The most cash that the fund held at any time within the last `window` nanoseconds."""
    now = int(state.book.cash[state.book.row[books.INSURANCE_FUND]])
    return max([now, *(cash for until, cash in state.fund_highs if until > state.time - window)])


def before_drawdown(state: State, stage: Stage) -> int | None:
    """What the fund may lose until it is down by the stage's share of its peak; below zero where it is further down
    already. None where the stage asks for no drawdown."""
    if stage.drawdown is None:
        return None
    return in_fund(state) - mul_div_floor(peak(state, stage.window), RATE - stage.drawdown, RATE)
