"""What an account would be worth, and would owe, over a range of moves: the Portfolio page's curves (US-18, US-19).

Every point is `core.outlook.outcome`, which the figures beside them are made of too. No point is the worst that can
happen: the curves end where they are cut off, and the market does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from closeout.core.margin import Level
from closeout.core.outlook import WORST_GAPS, Outcome, first_move, outcome
from closeout.core.units import RATE
from closeout.rulebooks.policy import Policy
from closeout.service.reports.stress import contracts_of
from closeout.studies import assessment
from closeout.studies.assessment import Part

MOVES = tuple(percent * RATE // 100 for percent in range(-30, 31))


def curves(parts: Sequence[Part], policy: Policy) -> dict[str, Any]:
    """The curve of all contracts together, one for each contract held, and the worst gaps on record."""
    text = policy.currency.text
    held = list(dict.fromkeys(line.name for part in parts for line in part.lines))
    every = _after(parts, policy, None)
    alone = {name: _after(parts, policy, name) for name in held} if len(held) > 1 else dict.fromkeys(held, every)
    gaps = [
        {
            "move": assessment.move_text(gap.move),
            "what": gap.what,
            "contracts": [name for name in contracts_of(policy, gap.what.partition(",")[0]) if name in held],
            "owed": text(every(gap.move).owed),
        }
        for gap in WORST_GAPS
    ]
    return {
        "net_liq": text(sum(part.risk(policy.net_liq_floor).net_liq for part in parts)),
        "moves": [assessment.move_text(move) for move in MOVES],
        "curves": [_curve(None, every, policy), *(_curve(name, after, policy) for name, after in alone.items())],
        "gaps": gaps,
    }


def _after(parts: Sequence[Part], policy: Policy, only: str | None) -> Callable[[int], Outcome]:
    """The outcome by move, each worked out once."""
    cross, *isolated = [part.account() for part in parts]

    @cache
    def after(move: int) -> Outcome:
        return outcome(
            cross, isolated, move, policy.net_liq_floor, policy.liquidation_fee.first, only,
            customer_owes=policy.customer_owes,
        )  # fmt: skip

    return after


def _curve(contract: str | None, after: Callable[[int], Outcome], policy: Policy) -> dict[str, Any]:
    text, points = policy.currency.text, [after(move) for move in MOVES]
    liquidation = first_move(lambda move: after(move).level is Level.LIQUIDATING)
    debt = first_move(lambda move: after(move).owed > 0)
    return {
        "contract": contract,
        "net_liq": [text(point.net_liq) for point in points],
        "level": [point.level.name.lower() for point in points],
        "owed": [text(point.owed) for point in points],
        "liquidation_move": None if liquidation is None else assessment.move_text(liquidation),
        "debt_move": None if debt is None else assessment.move_text(debt),
    }
