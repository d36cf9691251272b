"""How far all marks can move together before a close-out (G-05)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.drawn import Drawn, accounts
from tests.core.test_prices import dollars, long_at

from closeout.core.margin import Level
from closeout.core.prices import MOVE_GRID, common_move, moved_tick
from closeout.core.risk import Holding, assess
from closeout.core.units import RATE


@pytest.mark.rule("G-05")
def test_the_move_of_all_marks_that_an_account_just_bears() -> None:
    held = [long_at(RATE // 20, lots=-10), long_at(RATE // 20, lots=9)]
    move = common_move(dollars(300), held, None)
    assert move == 1_051_299  # of a millionth: below its line from 205.13 on, where it has lost 105.13
    assert [moved_tick(own, own.mark or 0, move) for own in held] == [20_512] * 2
    assert common_move(dollars(94), held, None) is None  # below its line of 95 already
    assert common_move(dollars(95), held, None) == 99  # one tick up is too much
    assert common_move(dollars(50), [], None) is None
    assert common_move(dollars(600), [replace(own, mark=None) for own in held], None) is None
    assert common_move(dollars(1_000), [long_at(RATE // 20)], None) is None  # all of it is paid for


@pytest.mark.rule("G-05")
def test_one_step_of_the_common_move_further_is_too_much() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(accounts(), st.lists(st.integers(-99, 99), min_size=4, max_size=4))
    def check(account: Drawn, percents: list[int]) -> None:
        money, held, floor = account

        def at(move: int) -> list[Holding]:
            return [own.at(moved_tick(own, own.mark or 0, move)) for own in held]

        def after(move: int) -> Level:
            return assess(money, at(move), floor).level

        move = common_move(money, held, floor)
        seen["none" if move is None else "down" if move < 0 else "up"] += 1
        if move is None:
            return
        assert after(move) is not Level.LIQUIDATING
        further = (-1, 1) if move == 0 else (move + (1 if move > 0 else -1),)
        assert Level.LIQUIDATING in map(after, further)
        for nearer in (max(1 - MOVE_GRID, abs(move) * percent // 100) for percent in percents):
            risk = assess(money, at(nearer), floor)
            if risk.level is Level.LIQUIDATING:  # marks land on their ticks at different steps
                ticks = [
                    own.contract.profit(1 + (own.mark or 0), own.lots, own.cost) - own.profit for own in at(nearer)
                ]
                least = risk.lines[2] if floor is None else max(risk.lines[2], floor + 1)
                assert least - risk.net_liq <= 3 * sum(map(abs, ticks)) + 9

    check()
    assert min(seen["up"], seen["down"], seen["none"]) >= 10
