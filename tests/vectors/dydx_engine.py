"""dYdX v4's rows whose answer takes an engine: fills, the insurance fund, deleveraging. Run on the bench of the
engine's own tests, under `reference` with the row's parameters as overrides."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import gcd
from typing import Any

from tests.engine.bench import Desk, of
from tests.vectors import dydx
from tests.vectors.dydx import Found, Row

from closeout.core.units import rate_text
from closeout.engine import commands as c
from closeout.engine import events as ev

REFUSED = "FailedToUpdateSubaccounts"
"""The chain's word where an account may not take part; the engine passes over it."""
_SOME = 10**6
"""A fund that is large enough, in USDC."""


def overrides(perpetuals: list[Row], tick: str, sizes: list[int], **tables: Any) -> dict[str, Any]:
    contracts: dict[str, Any] = {}
    for one in perpetuals:
        rates = dydx.tier(one)
        contracts[name(one)] = {
            "tick": tick,
            "lot": format(Decimal(gcd(*sizes)).scaleb(one["atomic_resolution"]), "f"),
            "tiers": [
                {"initial_margin_rate": rate_text(rates.rate[1]), "maintenance_margin_rate": rate_text(rates.rate[2])}
            ],
        }
    return {"currency": "USDC", "contracts": contracts, **tables}


def name(perpetual: Row) -> str:
    return f"P{perpetual['perpetual_id']}"


def price(perpetual: Row) -> Decimal:
    return Decimal(perpetual["price"]).scaleb(perpetual["price_exponent"])


def open_account(desk: Desk, account_id: str, subaccount: Row, perpetuals: dict[int, Row]) -> None:
    """A subaccount's quote balance is cash less cost: positions cost what they are worth, and the first one more where
    the cash would be below zero."""
    desk.account(account_id)
    cash = subaccount["usdc_quantums"]
    held: list[tuple[Any, int, int]] = []
    for one in subaccount["positions"]:
        perpetual = perpetuals[one["perpetual_id"]]
        facts = desk.facts(name(perpetual))
        lots = facts.lots(Decimal(one["quantums"]).scaleb(perpetual["atomic_resolution"]))
        cost = facts.value(facts.ticks(price(perpetual)), lots)
        cash += cost // facts.units_per_micro
        held.append((facts, lots, cost))
    for index, (facts, lots, cost) in enumerate(held):
        lack = max(0, -cash) if index == 0 else 0
        cash += lack
        more = cost + lack * facts.units_per_micro
        desk.done(c.TransferPosition(account_id, facts.name, lots, more, last=False))
    if cash:
        desk.done(c.Deposit(account_id, cash))


def subaccount_after(desk: Desk, account_id: str, perpetuals: dict[int, Row]) -> Row:
    """Quote balance and positions, in the row's units."""
    row = desk.state.row(account_id)
    cash = int(desk.state.book.cash[row])
    positions: list[Row] = []
    for perpetual_id, perpetual in perpetuals.items():
        contract = desk.state.contract(name(perpetual))
        held = contract.position(row)
        if held.lots:
            size = Decimal(contract.contract.quantity_text(held.lots)).scaleb(-perpetual["atomic_resolution"])
            positions.append(
                {"perpetual_id": perpetual_id, "quantums": int(size), "funding_index": 0, "quote_balance": 0}
            )
            cash -= held.cost // contract.contract.units_per_micro
    return {"usdc_quantums": cash, "positions": positions}


# -- the insurance fund ------------------------------------------------------------------------------------


def insurance(row: Row) -> Found:
    """The account is closed by a fill at the row's price; the fund is looked at before and after."""
    inputs = row["inputs"]
    (perpetual,) = inputs["perpetuals"]
    exponent = inputs["quantum_conversion_exponent"] - 6 - perpetual["atomic_resolution"]
    at = Decimal(inputs["subticks"]).scaleb(exponent)
    delta = insurance_delta(
        inputs["subaccount"],
        perpetual,
        inputs["fill_amount_base_quantums"],
        at,
        Decimal(inputs["max_liquidation_fee_ppm"]).scaleb(-6),
    )
    return {"insurance_fund_delta_quote_quantums": delta}


def insurance_delta(subaccount: Row, perpetual: Row, fill: int, at: Decimal, fee: Decimal) -> int:
    tick = format(min(Decimal("0.01"), Decimal(1).scaleb(at.normalize().adjusted())), "f")
    given = overrides(
        [perpetual],
        tick,
        [subaccount["positions"][0]["quantums"], fill],
        insurance_fund={"initial": str(_SOME)},
        liquidation_fee={"rate": format(fee, "f"), "payee": "insurance_fund", "capped": True},
        waterfall=[{"stage": "insurance_fund"}, {"stage": "customer_owes"}],
    )
    desk = Desk("reference", given)
    open_account(desk, "A", subaccount, {perpetual["perpetual_id"]: perpetual})
    before = int(desk.state.book.cash[desk.state.row("insurance_fund")])
    desk.marks(**{name(perpetual): format(price(perpetual), "f")})
    active = desk.close_out("A")
    assert active is not None
    (order_id,) = active.outstanding
    quantity = format(Decimal(fill).scaleb(perpetual["atomic_resolution"]), "f")
    desk.fill_order(order_id, format(at, "f"), quantity)
    return int(desk.state.book.cash[desk.state.row("insurance_fund")]) - before


def fund_covers(row: Row) -> Found:
    """Whether the fund pays the whole of a deficit of that size. What comes in is always valid."""
    balance, delta = row["inputs"]["insurance_fund_balance"], row["inputs"]["insurance_fund_delta"]
    contract = {
        "tick": "0.000001",
        "lot": "1",
        "tiers": [{"initial_margin_rate": "1", "maintenance_margin_rate": "1"}],
    }
    given = {
        "currency": "USDC",
        "contracts": {"C": contract},
        "insurance_fund": {"initial": format(Decimal(balance).scaleb(-6), "f")},
        "waterfall": [{"stage": "insurance_fund"}, {"stage": "customer_owes"}],
    }
    desk = Desk("reference", given)
    fund = desk.state.row("insurance_fund")
    if delta < 0:
        desk.account("A")
        worth = format(Decimal(1 - delta).scaleb(-6), "f")
        desk.hold("A", "C", "1", worth)
        desk.marks(C="0.000001")
        desk.close_at("A", "0.000001")
        return {"is_valid": int(desk.state.book.cash[fund]) == balance + delta and desk.owed("A") == "0.00"}
    return {"is_valid": int(desk.state.book.cash[fund]) == balance}


# -- deleveraging ------------------------------------------------------------------------------------------


def _deleverager(perpetuals: list[Row], sizes: list[int], at: str, below: str) -> Desk:
    """Whoever is below `below` of the requirement goes to deleveraging at once."""
    given = overrides(
        perpetuals,
        "1",
        sizes,
        close_out={"method": "flatten_all", "take_over_below": below, "limit": "bankruptcy"},
        waterfall=[
            {"stage": "auto_deleveraging", "ranking": "random", "price": at},
            {"stage": "customer_owes"},
        ],
    )
    return Desk("reference", given)


def _sizes(subaccounts: list[Row]) -> list[int]:
    return [position["quantums"] for one in subaccounts for position in one["positions"]]


def process_deleveraging(row: Row) -> Found:
    """The loser is B and the winner A, who is judged first (G-19): no row may pass by the loser's turn alone."""
    inputs = row["inputs"]
    both = [inputs["liquidated"], inputs["offsetting"]]
    perpetuals = {one["perpetual_id"]: one for one in inputs["perpetuals"]}
    (own,) = inputs["liquidated"]["positions"]
    if dydx.closed([own], own["perpetual_id"], inputs["delta_quantums"]) is None:
        return {"error": dydx.NO_CLOSE}
    at = "bankruptcy" if inputs["close_at"] == "bankruptcy_price" else "mark"
    used = [perpetuals[own["perpetual_id"]]]
    desk = _deleverager(used, _sizes(both), at, "1")
    known = {own["perpetual_id"]: used[0]}
    open_account(desk, "B", inputs["liquidated"], known)
    open_account(desk, "A", inputs["offsetting"], known)
    if at == "mark":  # a market in final settlement: everybody is closed at the oracle's price
        desk.done(c.Expire(name(used[0]), desk.facts(name(used[0])).ticks(price(used[0]))))
        done = desk.position("B", name(used[0])) == "0"
    else:
        events = desk.marks(**{name(one): format(price(one), "f") for one in used})
        done = any(event.against == "B" for event in of(events, ev.Deleveraged))
    found: Found = {"success": done or None}
    if done:
        found["liquidated_after"] = subaccount_after(desk, "B", known)
        found["offsetting_after"] = subaccount_after(desk, "A", known)
    else:
        found["error"] = REFUSED
    return {key: found.get(key) for key in row["expected"]}


def offset(row: Row) -> Found:
    inputs = row["inputs"]
    accounts = inputs["subaccounts"]
    perpetuals = {one["perpetual_id"]: one for one in inputs["perpetuals"]}
    desk = _deleverager(inputs["perpetuals"], _sizes(list(accounts.values())), "bankruptcy", "1")
    for account_id, subaccount in accounts.items():
        open_account(desk, account_id, subaccount, perpetuals)
    wanted = name(perpetuals[inputs["perpetual_id"]])
    longs = _longs(desk, inputs, accounts)
    marks = {name(one): format(price(one), "f") for one in inputs["perpetuals"]}
    events = desk.marks(**marks)
    against = [e for e in of(events, ev.Deleveraged) if e.against == inputs["liquidated_subaccount"]]
    lot = gcd(*_sizes(list(accounts.values())))
    fills = [{"subaccount": e.account_id, "base_quantums": abs(e.lots) * lot} for e in against if e.contract == wanted]
    done = sum(fill["base_quantums"] for fill in fills)
    found: Found = {"fills": fills, "quantums_remaining": abs(inputs["delta_quantums"]) - done}
    if "open_interest_base_quantums" in row["expected"]:
        closed = _longs(desk, inputs, accounts) - longs
        found["open_interest_base_quantums"] = (
            perpetuals[inputs["perpetual_id"]]["open_interest_base_quantums"] + closed
        )
    if "subaccounts_after" in row["expected"]:
        found["subaccounts_after"] = {one: subaccount_after(desk, one, perpetuals) for one in accounts}
    return found


def _longs(desk: Desk, inputs: Row, accounts: dict[str, Row]) -> int:
    """Quantums that are held long in the market."""
    (perpetual,) = [one for one in inputs["perpetuals"] if one["perpetual_id"] == inputs["perpetual_id"]]
    known = {perpetual["perpetual_id"]: perpetual}
    held = [position for one in accounts for position in subaccount_after(desk, one, known)["positions"]]
    return sum(max(0, position["quantums"]) for position in held)


def can_deleverage(row: Row) -> Found:
    """Below zero an account is deleveraged where there is somebody to take it, above zero the book comes first."""
    inputs = row["inputs"]
    perpetuals = {one["perpetual_id"]: one for one in inputs["perpetuals"]}
    (own,) = inputs["subaccount"]["positions"]
    desk = _deleverager(inputs["perpetuals"], [own["quantums"]], "bankruptcy", "0")
    open_account(desk, "A", inputs["subaccount"], perpetuals)
    rival = {"usdc_quantums": 10**12, "positions": [{**own, "quantums": -own["quantums"]}]}
    open_account(desk, "B", rival, perpetuals)
    events = desk.marks(**{name(one): format(price(one), "f") for one in inputs["perpetuals"]})
    return {"deleverage_at_bankruptcy_price": bool(of(events, ev.Deleveraged)), "deleverage_at_oracle_price": False}


WAYS: dict[str, Callable[[Row], Found]] = {
    "GetLiquidationInsuranceFundDelta": insurance,
    "IsValidInsuranceFundDelta": fund_covers,
    "CanDeleverageSubaccount": can_deleverage,
    "ProcessDeleveraging": process_deleveraging,
    "OffsetSubaccountPerpetualPosition": offset,
}
