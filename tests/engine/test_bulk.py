"""Funding and settlement of all holders at once are what plain loops over them come to, to the bit (G-01, G-12)."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.bench import NOON, nanoseconds
from tests.engine.loops import LoopEngine
from tests.properties.driver import STREAMS, WATERFALL_STREAMS, recorded, recorded_waterfall

from closeout.core.times import HOUR
from closeout.core.units import RATE, exact_sum
from closeout.engine import commands as c
from closeout.engine.engine import Engine
from closeout.engine.events import Rejected
from closeout.rulebooks.loader import load


@pytest.mark.rule("G-03", "G-12", "US-14", "US-24", "EX-06")
def test_over_streams_that_go_everywhere() -> None:
    """Brakes, calls, close-outs that go on, isolated positions, debts, every stage of the waterfall."""
    seen = 0
    streams = [recorded(seed) for seed in range(0, STREAMS, 4)]
    streams += [recorded_waterfall(seed) for seed in range(0, WATERFALL_STREAMS, 4)]
    for inputs in streams:
        engine, loops = Engine(), LoopEngine()
        for given_input in inputs:
            assert engine.apply(given_input) == loops.apply(given_input), given_input
            seen += isinstance(given_input.command, c.AccrueFunding | c.BookFunding | c.Settle)
        assert engine.snapshot() == loops.snapshot()
    assert seen > 100


CAPPED = {"interval_hours": [4, 1], "calm_rate": "0.0001", "calm_intervals": 2}
FUNDING: dict[str, Any] = {
    "contracts": ["BTCUSDT", "FINE"], "time_zone": "UTC", "interval_hours": 8, "interest": "0", "cap": "0.02",
    "capped": CAPPED, "paid_from": "balance",
}  # fmt: skip
TIERS = [{"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}]
FINE = {"tick": "0.0000001", "lot": "0.1", "contract_size": "0.3", "tiers": TIERS, "hedge_mode": True}
INVERSE = {"kind": "inverse", "tick": "0.7", "lot": "1", "contract_size": "10", "tiers": TIERS}
PRICES = {"BTCUSDT": 5_000_000, "FINE": 25_000_000_123, "XBTM": 71_429}
SIZES = {"BTCUSDT": 2_000, "FINE": 900, "XBTM": 500}


class Both:
    """Two engines under one rulebook, which must not differ."""

    def __init__(self, currency: str) -> None:
        self.contracts = ("XBTM",) if currency == "BTC" else ("BTCUSDT", "FINE")
        more = {"XBTM": INVERSE} if currency == "BTC" else {"FINE": FINE}
        funding = FUNDING | {"contracts": list(self.contracts)}
        book = load("reference", {"currency": currency, "contracts": more, "funding": funding})
        self.engines = Engine(), LoopEngine()
        self.time, self.number, self.rejected = nanoseconds(NOON), 0, 0
        self.give(c.LoadRulebook(book.document()))

    def give(self, command: Any) -> None:
        self.number += 1
        given_input = c.Input("both", self.number, self.time, command)
        events, expected = (engine.apply(given_input) for engine in self.engines)
        assert events == expected, command
        assert self.engines[0].snapshot() == self.engines[1].snapshot(), command
        assert self.engines[0].imbalances() == []
        self.rejected += any(isinstance(event, Rejected) for event in events)


@pytest.mark.rule("G-01", "G-09", "US-14", "US-24", "EX-06")
@pytest.mark.parametrize("currency", ["USD", "BTC"])
@pytest.mark.parametrize("seed", range(3))
def test_over_a_book_of_many_holders(currency: str, seed: int) -> None:
    """Values in fractions of a micro and of a coin, isolated positions, legs, and accounts at their bound of cash."""
    random, both = Random(seed), Both(currency)
    for name in both.contracts:
        both.give(c.Marks((c.Mark(name, PRICES[name]),)))
    names = [f"{random.randrange(10**6):06d}" for _ in range(60)]
    for name in dict.fromkeys(names):
        parent = random.choice([None, None, *names[: names.index(name)]])
        both.give(c.OpenAccount(name, parent=parent))
        both.give(c.Deposit(name, random.choice((10**9, 10**11, 2**53 - random.randrange(10**8)))))
        for contract in random.sample(both.contracts, random.randint(0, len(both.contracts))):
            lots = random.choice((-1, 1)) * random.randint(1, SIZES[contract])
            facts = both.engines[0].loaded.contracts[contract].contract
            held = [contract, f"{contract}:{'long' if lots > 0 else 'short'}"] if contract == "FINE" else [contract]
            for leg in random.sample(held, random.randint(1, len(held))):
                both.give(c.TransferPosition(name, leg, lots, facts.value(PRICES[contract], lots)))
    for _ in range(25):
        both.time += HOUR
        contract = random.choice(both.contracts)
        price = PRICES[contract] + random.randint(-PRICES[contract] // 20, PRICES[contract] // 20)
        rate = random.choice((1, -1, 100_000, -375_001, 20_000_000, -RATE, RATE))
        both.give(
            random.choice((
                c.AccrueFunding(contract, rate, random.choice((None, price))),
                c.AccrueFunding(contract, rate),
                c.BookFunding(),
                c.Settle(contract, price),
                c.Marks((c.Mark(contract, price),)),
            ))
        )  # fmt: skip
    both.give(c.Expire(both.contracts[0], PRICES[both.contracts[0]]))
    assert both.rejected, "no bound was reached"


@pytest.mark.rule("G-01")
@given(st.lists(st.integers(-(2**53), 2**53), max_size=50), st.integers(1, 2**12))
def test_a_sum_may_pass_63_bits(values: list[int], times: int) -> None:
    assert exact_sum(np.array(values * times, np.int64)) == sum(values) * times
