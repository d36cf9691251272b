"""Hedge mode: a contract and its legs have one price and one set of terms, and every leg holds its own side (EX-02)."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from tests.model.rulebooks_waterfall import HEDGED
from tests.model.streams_look import START
from tests.properties.driver import HEDGED_STREAMS, recorded_hedged, replay

from closeout.core.risk import assess
from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine import scan, series
from closeout.engine.engine import Engine
from closeout.engine.state import State

TRADING = (c.Fill, c.TransferPosition, c.CorrectFill, c.Expire, c.OpenBook)
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
    assert min(reached["legs held"], reached["both legs"]) >= 500
    assert reached["closed against a leg"] >= 10


@pytest.mark.rule("EX-02", "G-12", "G-19")
def test_a_series_of_marks_moves_the_legs_through_the_index_too() -> None:
    """With the index and without it a series has the same events and leaves the same image."""
    reached = 0
    for seed in range(30):
        random, setting = Random(seed), HEDGED[seed % len(HEDGED)]
        engines = [Engine(index_from=0), Engine(index_from=10**9)]
        markets, prices = [name for name in setting.prices if ":" not in name], dict(setting.prices)
        commands: list[Any] = [
            c.LoadRulebook(setting.document),
            c.Marks(tuple(c.Mark(name, prices[name]) for name in markets)),
        ]
        for number in range(40):
            commands += [c.OpenAccount(f"A{number}"), c.Deposit(f"A{number}", random.randint(1, setting.wealth))]
            for name in random.sample(list(prices), 2):
                side = {"long": 1, "short": -1}.get(name.partition(":")[2], random.choice((-1, 1)))
                commands.append(c.Fill(f"A{number}", name, side * random.randint(1, setting.sizes[name]), prices[name],
                                       "x", f"{number}-{name}"))  # fmt: skip
        batches: list[series.Batch] = []
        for step in range(150):
            moved: list[c.Mark] = []
            for name in random.sample(markets, random.randint(0, len(markets))):
                prices[name] = max(1, round(prices[name] * (1 + random.uniform(-0.01, 0.01))))
                moved.append(c.Mark(name, prices[name]))
            if random.random() < 0.02:
                moved.append(c.Mark(next(name for name in prices if ":" in name), 1))  # no leg is marked alone
            batches.append((START + step, tuple(moved)))
        commands.append(series.pack(batches))
        last: list[list[e.AnyEvent]] = []
        for engine in engines:
            answers = [
                engine.apply(c.Input("desk", number, START + (150 if command is commands[-1] else 0), command))
                for number, command in enumerate(commands, 1)
            ]  # fmt: skip
            last.append(answers[-1])
        assert last[0] == last[1]
        assert engines[0].snapshot() == engines[1].snapshot()
        reached += len(last[0])
    assert reached >= 1000
