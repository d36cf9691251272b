"""What `quote` says can be withdrawn and ordered is what the engine lets out and approves (US-16, US-28)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tests.engine.bench import Desk

from closeout.core.margin import Level
from closeout.core.units import InputError
from closeout.engine import commands as c
from closeout.engine.accounts import withdrawable
from closeout.engine.events import OrderApproved
from closeout.engine.orders import verdict, worst_case
from closeout.studies.quote import quote

Document = dict[str, Any]

BRACKETS = [
    {"initial_margin_rate": "0.04", "maintenance_margin_rate": "0.02"},
    {"notional_from": "5000", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"},
]
CAR: Document = {"tick": "0.01", "lot": "0.1", "tiers": BRACKETS, "netting_group": "car"}
BOOK: Document = {
    "contracts": {
        "CAR": CAR,
        "CAR_DEC": {**CAR, "tiers": [{"initial_margin_rate": "0.2", "maintenance_margin_rate": "0.1"}]},
        "BUS": {
            **CAR,
            "netting_group": "",
            "requirement_base": "entry",
            "taker_fee": "0.0005",
            "close_fee_in_requirement": True,
        },
        "VAN": {**CAR, "netting_group": "", "hedge_mode": True},
    },
    "withdrawals": {"kept_of_notional": "0.07"},
}
MARKS = {"CAR": "100", "CAR_DEC": "101", "BUS": "250", "VAN": "40"}
NAMES = ("CAR", "CAR_DEC", "BUS", "VAN", "VAN:long", "VAN:short")


def a_desk() -> Desk:
    desk = Desk("reference", BOOK)
    desk.marks(**MARKS)
    return desk


def brought_in(random: Random, desk: Desk) -> Document:
    """An account with up to three positions and the orders that the engine approves of five, as a document too."""
    cash = str(random.randint(300, 2_000))
    positions: list[Document] = []
    leverage: dict[str, int] = {}
    for name in random.sample(NAMES, random.randint(0, 3)):
        side = {"VAN:long": 1, "VAN:short": -1}.get(name) or random.choice((1, -1))
        price = float(MARKS[name.partition(":")[0]])
        held = {"contract": name, "quantity": str(side * random.randint(1, 30)), "entry_price": f"{price * 0.99:.2f}"}
        if random.random() < 0.4:
            leverage[name] = random.choice((3, 8)) * 10**9
            held["leverage"] = str(leverage[name] // 10**9)
        positions.append(held)
    desk.account("A", leverage=leverage)
    desk.deposit("A", cash)
    for held in positions:
        desk.hold("A", held["contract"], held["quantity"], held["entry_price"])
    orders: list[Document] = []
    for _ in range(random.randint(0, 5)):
        name = random.choice(NAMES)
        price = float(MARKS[name.partition(":")[0]])
        limit = random.choice((None, f"{price * random.uniform(0.9, 1.1):.2f}"))
        quantity = str(random.choice((1, -1)) * random.randint(1, 40))
        if isinstance(desk.order("A", name, quantity, limit), OrderApproved):
            order = {"contract": name, "quantity": quantity}
            orders.append(order if limit is None else order | {"limit_price": limit})
    own = {"account_id": "A", "cash": cash, "positions": positions, "orders": orders, "marks": MARKS}
    return own | {"rulebook": "reference", "overrides": BOOK}


@pytest.mark.rule("US-16", "US-28", "US-07")
def test_the_engine_agrees_to_the_micro_and_to_the_lot() -> None:
    compared = 0
    for seed in range(60):
        random, desk = Random(seed), a_desk()
        asked = brought_in(random, desk)
        if desk.level("A") is Level.LIQUIDATING:
            continue
        found, state, row = quote(asked, "a.json"), desk.state, desk.state.row("A")
        assert found["withdrawable"] == desk.money(withdrawable(state, row)), seed
        left = state.risk(row).net_liq - worst_case(state, row, with_intraday=False)
        assert found["available_margin"] == desk.money(left), seed
        largest = {one["contract"]: one for one in found["largest_orders"]}
        assert {*largest} == {*NAMES}
        for name, side in ((name, side) for name in NAMES for side in (1, -1)):
            lots = desk.lots(name, largest[name]["buy" if side > 0 else "sell"])
            answers = [verdict(state, c.CheckOrder("A", "next", name, side * (lots + more))) for more in (0, 1)]
            approved = [isinstance(answer, OrderApproved) for answer in answers]
            assert approved == [bool(lots), False], (seed, name, side, lots, answers)
            compared += lots > 0
    assert compared > 200


@pytest.mark.rule("US-16", "G-18")
def test_beside_a_position_without_a_mark_nothing_can_be_withdrawn_and_orders_only_reduce() -> None:
    held = {"contract": "BUS", "quantity": "2", "entry_price": "250"}
    asked = {"account_id": "A", "cash": "9000", "positions": [held], "rulebook": "reference", "overrides": BOOK}
    found = quote(asked | {"marks": {"CAR": "100"}}, "a.json")
    assert found["withdrawable"] == "0.00"
    assert {one["contract"]: (one["buy"], one["sell"]) for one in found["largest_orders"]} == {
        "CAR": ("0", "0"),
        "BUS": ("0", "2"),
    }


@pytest.mark.rule("US-16", "US-28")
def test_an_isolated_position_has_room_of_its_own() -> None:
    held = {"contract": "CAR", "quantity": "10", "entry_price": "100", "leverage": "10", "margin_mode": "isolated"}
    asked = {"account_id": "A", "cash": "50", "positions": [held], "marks": {"CAR": "110"}}
    found = quote(asked | {"rulebook": "reference", "overrides": BOOK}, "a.json")
    cross, isolated = found["largest_orders"]
    assert (found["withdrawable"], found["available_margin"]) == ("50.00", "50.00")
    assert (cross["margin_mode"], cross["buy"], cross["sell"]) == ("cross", "11.3", "11.3")  # 50 / 0.04 / 110
    # 200 carry 2,000 at 10x, 18.1 of them: ten are held.
    assert (isolated["margin_mode"], isolated["buy"], isolated["sell"]) == ("isolated", "8.1", "28.1")


@pytest.mark.rule("US-28")
@pytest.mark.parametrize(
    ("order", "said"),
    [
        (
            {"contract": "CAB", "quantity": "1"},
            r"orders\[0\].contract: CAB is unknown under reference; did you mean CAR",
        ),
        ({"contract": "CAR", "quantity": "0"}, r"orders\[0\].quantity: expected a quantity above or below zero, not 0"),
        ({"contract": "CAR", "quantity": "0.01"}, r"orders\[0\].quantity: 0.01 of CAR is off the lot"),
        ({"contract": "CAR", "quantity": 0.5}, r"orders\[0\]: Expected `int \| str`, got `float`"),
        (
            {"contract": "CAR", "quantity": "1", "limit_price": "0"},
            r"orders\[0\].limit_price: expected a price above zero",
        ),
        (
            {"contract": "CAR", "quantity": "1", "limit_price": "1.001"},
            r"orders\[0\].limit_price: price 1.001 of CAR is off",
        ),
        ({"contract": "CAR", "quantity": "1", "stop": "1"}, r"orders\[0\]: Object contains unknown field `stop`"),
        ({"contract": "BUS", "quantity": "1"}, "orders: expected a mark of BUS, in which an order works"),
    ],
)
def test_an_order_that_cannot_work(order: Document, said: str) -> None:
    asked: Document = {"account_id": "A", "cash": "50", "positions": [], "orders": [order], "marks": {"CAR": "100"}}
    with pytest.raises(InputError, match=f"^a.json: {said}"):
        quote(asked | {"rulebook": "reference", "overrides": BOOK}, "a.json")


def test_orders_are_a_list() -> None:
    asked: Document = {"account_id": "A", "cash": "50", "positions": [], "rulebook": "reference", "orders": {}}
    with pytest.raises(InputError, match=r"^a.json: orders: expected a list of orders"):
        quote(asked, "a.json")
