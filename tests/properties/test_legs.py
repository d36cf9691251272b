"""Hedge mode: a contract and its legs have one price and one set of terms, and every leg holds its own side (EX-02)."""

from collections import Counter
from typing import Any

import pytest
from tests.properties.driver import HEDGED_STREAMS, recorded_hedged, replay

from closeout.core.risk import assess
from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine import scan
from closeout.engine.engine import Engine
from closeout.engine.state import State

TRADING = (c.Fill, c.TransferPosition, c.CorrectFill, c.Expire)
"""Commands that change positions by themselves."""
SHARED = (
    "mark", "good_mark", "previous_mark", "mark_time", "mark_source", "grade", "tiers", "window", "session", "is_open",
    "halted", "desk", "news", "news_by_hand", "expired", "settlement", "rules", "margin_set_by",
)  # fmt: skip


def held(state: State, market: str) -> list[int]:
    """Signed lots of everybody in a contract and its legs."""
    return [
        int(leg.position(int(row)).lots) for leg in state.legs(market) for row in leg.holders()
    ]  # fmt: skip


@pytest.mark.rule("EX-02", "EX-03", "EX-04", "G-02", "G-07", "G-12")
def test_legs_of_everybody_after_every_input() -> None:
    """No leg is on the wrong side, of the house's either; what befalls the contract befalls its legs; longs less shorts
    of all three change by trades alone; the books balance, the fund is not below zero, and the scan judges each account
    as one judges it by itself."""
    reached: Counter[str] = Counter()
    for seed in range(HEDGED_STREAMS):
        before: dict[str, int] = {}

        def look(engine: Engine, given: Any, events: list[e.AnyEvent], before: dict[str, int] = before) -> None:
            state = engine.state
            if state is None:
                return
            assert engine.imbalances() == []
            fund = state.book.row.get("insurance_fund")
            assert fund is None or int(state.book.cash[fund]) >= 0
            for name, contract in state.contracts.items():
                if contract.contract.side:
                    continue
                whole, *legs = state.legs(name)
                for leg in legs:
                    assert [getattr(leg, what) for what in SHARED] == [getattr(whole, what) for what in SHARED]
                    lots = [leg.position(int(row)).lots for row in leg.holders()]
                    assert all(own * leg.contract.side > 0 for own in lots)
                    reached["legs held"] += len(lots)
                total = sum(held(state, name))
                if not isinstance(given.command, TRADING):
                    assert total == before.get(name, 0), given
                before[name] = total
            net_liq, required, _ = scan.levels(state)
            for row in range(state.book.count):
                risk = assess(state.money(row), state.holdings(row), state.policy.net_liq_floor)
                assert (risk.net_liq, risk.requirement) == (int(net_liq[row]), int(required[row]))
                names = {holding.contract.name for holding in state.holdings(row)}
                reached["both legs"] += any({f"{n}:long", f"{n}:short"} <= names for n in state.contracts)
            reached["closed against a leg"] += any(
                isinstance(event, e.Deleveraged) and ":" in event.contract for event in events
            )

        replay(recorded_hedged(seed), look)
    print(dict(reached))
    assert min(reached["legs held"], reached["both legs"]) >= 1000
    assert reached["closed against a leg"] >= 10
