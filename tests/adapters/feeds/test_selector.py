"""Which source marks a contract: failover, staleness, jumps, and taking back (G-06)."""

from decimal import Decimal
from typing import Any

import pytest

from closeout.adapters.feeds.port import Observation
from closeout.adapters.feeds.selector import Grade, GradedMark, MarkSelector, Route
from closeout.core.contracts import Contract, Kind
from closeout.core.units import RATE, USD

SECOND = 10**9
STALE = 30 * SECOND
HOLD = 5 * SECOND
START = 1_800_000_000 * SECOND
NAME = "BTC"
A, B, C = ("a", "BTCUSD"), ("b", "BTC-USD"), ("c", "XBT")


def contract(name: str = NAME, **fields: Any) -> Contract:
    facts = {
        "kind": Kind.LINEAR,
        "currency": USD,
        "tick": Decimal("0.5"),
        "lot": Decimal(1),
        "contract_size": Decimal(1),
    }
    return Contract.define(name, **{**facts, **fields})


class World:
    """A selector with a clock in seconds."""

    def __init__(self, *sources: tuple[str, str], jump: int | None = RATE // 10, **fields: Any) -> None:
        self.selector = MarkSelector({NAME: Route(contract(**fields), sources, STALE, jump)}, HOLD)
        self.now = START
        self.stamp = 0

    def hear(self, source: tuple[str, str], price: str | None, *, repeat: bool = False) -> None:
        self.stamp += not repeat
        heard = None if price is None else Decimal(price)
        self.selector.observe(Observation(*source, heard, self.stamp, self.now))

    def select(self, seconds: float = 0) -> dict[str, dict[str, int | None]]:
        self.now += int(seconds * SECOND)
        return self.selector.select(self.now)

    def grades(self) -> str:
        """One letter a source: missing, stale, jump, ok; a capital for the one selected."""
        rows = self.selector.grades(self.now)
        return "".join(row.grade[0].upper() if row.selected else row.grade[0] for row in rows)


def offer(source: tuple[str, str], ticks: int | None) -> dict[str, dict[str, int | None]]:
    return {source[0]: {NAME: ticks}}


def test_a_mark_is_offered_once_and_to_the_nearest_tick() -> None:
    world = World(A, B)
    assert world.select() == {}
    world.hear(A, "100.24")
    assert world.select() == offer(A, 200)
    assert world.select() == {}
    world.hear(A, "100.25")  # halfway: to even
    assert world.select() == {}
    world.hear(A, "100.26")
    assert world.select() == offer(A, 201)


@pytest.mark.rule("G-06")
def test_a_mark_heard_again_is_renewed_before_it_grows_stale() -> None:
    world = World(A)
    world.hear(A, "100")
    assert world.select() == offer(A, 200)
    assert world.select(11) == {}  # nothing new was heard
    world.hear(A, "100")
    assert world.select() == offer(A, 200)
    assert world.select(1) == {}
    world.hear(A, "100")
    assert world.select(8) == {}
    assert world.select(1) == offer(A, 200)


@pytest.mark.rule("G-06")
def test_failover_in_order_and_back_after_the_hold() -> None:
    world = World(A, B, C)
    for source, price in ((C, "103"), (B, "102"), (A, "101")):
        world.hear(source, price)
    assert world.select() == offer(A, 202)
    world.select(25)
    world.hear(B, "102")
    world.hear(C, "103")
    assert world.select(5) == {}  # exactly at the bound nothing is stale
    assert world.select(0.000000001) == offer(B, 204)
    assert world.grades() == "sOo"
    world.hear(A, "101")
    assert world.select() == {}
    assert world.select(4.999999999) == {}
    assert world.select(0.000000001) == offer(A, 202)
    assert world.grades() == "Ooo"


@pytest.mark.rule("G-06")
def test_a_source_that_speaks_every_second_is_taken_back_too() -> None:
    world = World(A, B)
    world.hear(B, "100")
    world.select()
    world.hear(A, "101")
    for _ in range(4):
        assert world.select(1) == {}
        world.hear(A, "101")
    assert world.select(1) == offer(A, 202)


def test_the_same_price_from_another_source_is_offered_in_its_name() -> None:
    world = World(A, B)
    world.hear(A, "100")
    world.hear(B, "100")
    assert world.select() == offer(A, 200)
    world.hear(A, None)
    assert world.select() == offer(B, 200)


@pytest.mark.rule("G-06")
def test_a_source_that_flaps_is_not_taken_back() -> None:
    world = World(A, B)
    world.hear(B, "100")
    assert world.select() == offer(B, 200)
    for _ in range(10):
        world.hear(A, "101")
        world.select(4)
        world.hear(A, None)
        world.hear(B, "100")
        assert world.selector.grades(world.now)[1].selected


@pytest.mark.rule("G-06")
def test_when_all_are_gone_none_is_said_once() -> None:
    world = World(A, B)
    world.hear(A, "100")
    world.hear(B, "101")
    assert world.select() == offer(A, 200)
    world.hear(A, None)
    assert world.select() == offer(B, 202)
    assert world.select(31) == offer(B, None)
    assert world.select(31) == {}
    assert world.grades() == "ms"
    world.hear(B, "101")
    assert world.select() == offer(B, 202)  # at once: anything is better than nothing


@pytest.mark.rule("G-06")
def test_a_jump_is_passed_over_until_its_own_next_price_confirms_it() -> None:
    world = World(A, B)
    world.hear(A, "100")
    world.hear(B, "100")
    assert world.select() == offer(A, 200)
    world.hear(A, "110")  # exactly the guard
    assert world.select() == offer(A, 220)
    world.hear(A, "60")
    assert world.select() == offer(B, 200)
    assert world.grades() == "jO"
    world.hear(A, "60", repeat=True)  # the same message again is no confirmation
    assert world.grades() == "jO"
    world.hear(A, "61")
    assert world.grades() == "oO"
    assert world.select(5) == offer(A, 122)


@pytest.mark.rule("G-06")
def test_a_jump_that_is_taken_back_leaves_no_trace() -> None:
    world = World(A)
    world.hear(A, "100")
    world.hear(A, "1000")
    world.hear(A, "100")
    assert world.grades() == "o"
    world.hear(A, "1000")
    assert world.grades() == "j"


@pytest.mark.rule("G-06")
@pytest.mark.parametrize("first", [A, B])
def test_a_jump_that_another_source_makes_too_is_none(first: tuple[str, str]) -> None:
    second = B if first == A else A
    world = World(A, B)
    world.hear(A, "100")
    world.hear(B, "100")
    world.select()
    world.hear(first, "60")
    world.hear(second, "62")
    assert world.grades() == "Oo"
    world.select(5)
    assert world.selector.grades(world.now)[0].selected


@pytest.mark.rule("G-06")
def test_a_stale_source_confirms_nothing() -> None:
    world = World(A, B)
    world.hear(A, "100")
    world.hear(B, "60")
    world.select(31)
    world.hear(A, "61")
    assert world.grades() == "js"


@pytest.mark.rule("G-06")
def test_the_only_source_is_passed_on_though_it_jumps() -> None:
    world = World(A, B)
    world.hear(A, "100")
    world.select()
    world.hear(A, "60")
    assert world.select() == offer(A, 120)
    assert world.grades() == "Jm"
    world.hear(B, "100")
    assert world.select() == offer(B, 200)


@pytest.mark.rule("G-06")
@pytest.mark.parametrize(
    "price", ["NaN", "sNaN", "Infinity", "-Infinity", "-1", "0", "0.2", "1E+999999", "1E-999999", "1E+15"]
)
def test_a_price_that_cannot_be_the_contracts_is_none(price: str) -> None:
    world = World(A, B)
    world.hear(A, "100")
    world.hear(B, "101")
    world.select()
    world.hear(A, price)
    assert world.select() == offer(B, 202)
    assert world.grades() == "mO"


@pytest.mark.rule("G-06", "G-14")
def test_a_contract_that_may_trade_below_zero_takes_such_prices() -> None:
    world = World(A, jump=None, negative_prices=True)
    for price, ticks in (("1", 2), ("0", 0), ("-37.63", -75)):
        world.hear(A, price)
        assert world.select() == offer(A, ticks)


def test_without_a_guard_nothing_jumps() -> None:
    world = World(A, jump=None)
    for price in ("1", "1000000", "1"):
        world.hear(A, price)
        assert world.grades().lower() == "o"


def test_one_market_may_mark_two_contracts_and_a_batch_is_by_feed() -> None:
    routes = {
        "BTC": Route(contract("BTC"), (A, B), STALE),
        "MICRO": Route(contract("MICRO", tick=Decimal(5)), (A,), STALE),
        "ETH": Route(contract("ETH"), (("b", "ETH-USD"),), STALE),
    }
    selector = MarkSelector(routes)
    for feed, market, price in (("a", "BTCUSD", "101"), ("b", "ETH-USD", "7"), ("x", "BTCUSD", "9"), ("a", "?", "9")):
        selector.observe(Observation(feed, market, Decimal(price), None, START))
    assert selector.select(START) == {"a": {"BTC": 202, "MICRO": 20}, "b": {"ETH": 14}}


def test_the_display_says_what_was_heard() -> None:
    world = World(A, B)
    world.hear(A, "100.26")
    world.select(3)
    assert world.selector.grades(world.now) == [
        GradedMark(NAME, *A, Decimal("100.26"), 3 * SECOND, Grade.OK, True),
        GradedMark(NAME, *B, None, None, Grade.MISSING, False),
    ]
