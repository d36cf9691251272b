"""dYdX v4's rows that ask whether a subaccount may be changed so: what the engine answers to the same wish, as a
withdrawal, a deposit or an order.

The chain's words are for the account as it was: what is refused makes one short that was not (`NEWLY`), or was short
already (`STILL`), of its initial margin.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.engine.bench import Desk, of
from tests.vectors import dydx, dydx_engine
from tests.vectors.dydx import Found, Row

from closeout.engine import commands as c
from closeout.engine import events as ev

NEWLY, STILL, SUCCESS = "NewlyUndercollateralized", "StillUndercollateralized", "Success"
_RICH = 10**15
"""Micros of those who hold the rest of the open interest."""


def updates(row: Row) -> Found:
    """Each update of the row by itself, on the accounts as they are."""
    results = [_answer(row, update) for update in row["inputs"]["updates"]]
    return {"result_per_update": results, "success": all(result == SUCCESS for result in results)}


def _answer(row: Row, update: Row) -> str:
    inputs = row["inputs"]
    perpetuals = {one["perpetual_id"]: one for one in inputs["perpetuals"]}
    desk = Desk("reference", _overrides(row))
    own = inputs["subaccounts"][update["subaccount"]]
    funding = dydx.settled({"inputs": {"subaccount": own, "perpetuals": inputs["perpetuals"]}})
    for one in inputs["perpetuals"]:
        _others(desk, one)
    if code := _open(desk, {**own, "usdc_quantums": own["usdc_quantums"] + funding}, perpetuals):
        return code
    if perpetuals:
        desk.marks(**{dydx_engine.name(one): format(dydx_engine.price(one), "f") for one in inputs["perpetuals"]})
    account = desk.state.row("A")
    refused = STILL if desk.state.risk(account).net_liq < desk.state.initial(account) else NEWLY
    usdc = sum(update["usdc_deltas"])
    sizes: dict[int, int] = {}
    for delta in update["perpetual_deltas"]:
        sizes[delta["perpetual_id"]] = sizes.get(delta["perpetual_id"], 0) + delta["quantums"]
    if any(sizes.values()):
        ((perpetual_id, quantums),) = sizes.items()
        return SUCCESS if _ordered(desk, perpetuals[perpetual_id], quantums, usdc) else refused
    if not usdc:
        return SUCCESS  # nothing is asked of the engine, and nobody is refused
    command = c.Withdraw("A", -usdc) if usdc < 0 else c.Deposit("A", usdc)
    (rejected,) = of(desk.give(command), ev.Rejected) or (None,)
    return SUCCESS if rejected is None else "out_of_bounds" if rejected.code == "out_of_bounds" else refused


def _overrides(row: Row) -> Row:
    inputs = row["inputs"]
    held = [one["quantums"] for account in inputs["subaccounts"].values() for one in account["positions"]]
    asked = [one["quantums"] for update in inputs["updates"] for one in update["perpetual_deltas"]]
    rest = [one["open_interest_base_quantums"] for one in inputs["perpetuals"]]
    given = dydx_engine.overrides(inputs["perpetuals"], "1", [*held, *asked, *rest])
    for one in inputs["perpetuals"]:
        if one["open_interest_upper_cap"]:
            bounds = {key: one[f"open_interest_{key}_cap"] for key in ("lower", "upper")}
            limits = {f"open_interest_{key}": format(Decimal(value).scaleb(-6), "f") for key, value in bounds.items()}
            given["contracts"][dydx_engine.name(one)] |= limits
    return given


def _others(desk: Desk, perpetual: Row) -> None:
    """Who holds the open interest of the row: a long and a short account."""
    size, name = perpetual["open_interest_base_quantums"], dydx_engine.name(perpetual)
    for side in (1, -1) if size else ():
        held = {"perpetual_id": perpetual["perpetual_id"], "quantums": side * size}
        account = {"usdc_quantums": _RICH, "positions": [held]}
        dydx_engine.open_account(desk, f"{name} {side}", account, {perpetual["perpetual_id"]: perpetual})


def _open(desk: Desk, own: Row, perpetuals: dict[int, Row]) -> str:
    """The row's account; the code where the engine does not take its amounts."""
    if own["usdc_quantums"] < 0 and not own["positions"]:
        desk.account("A")
        desk.done(c.AdjustCash("A", own["usdc_quantums"], "anna", "bert", "the row's debt"))
    elif own["usdc_quantums"] > 2 * _RICH:
        desk.account("A")
        return desk.refused(c.Deposit("A", own["usdc_quantums"]))
    else:
        dydx_engine.open_account(desk, "A", own, perpetuals)
    return ""


def _ordered(desk: Desk, perpetual: Row, quantums: int, usdc: int) -> bool:
    """Whether an order of that size at the update's own price is approved."""
    size = Decimal(quantums).scaleb(perpetual["atomic_resolution"])
    limit = -Decimal(usdc).scaleb(-6) / size
    answer: Any = desk.order("A", dydx_engine.name(perpetual), format(size, "f"), format(limit, "f"))
    return isinstance(answer, ev.OrderApproved)


def transition(row: Row) -> Found:
    """An account in debt that asks for a position of so much margin, at the mark less what the row has it gain."""
    inputs = row["inputs"]
    numbers = (inputs["new_mmr"], inputs["new_nc"] - inputs["old_nc"])
    margin, gain = (Decimal(number).scaleb(-6) for number in numbers)
    contract = {"tick": "0.000001", "lot": "1", "tiers": [{"maintenance_margin": format(margin, "f")}]}
    desk = Desk("reference", {"currency": "USDC", "contracts": {"C": contract}})
    desk.account("A")
    desk.done(c.AdjustCash("A", inputs["old_nc"], "anna", "bert", "the row's debt"))
    desk.marks(C=format(margin + gain, "f"))
    answer = desk.order("A", "C", "1", format(margin, "f"))
    return {"result": SUCCESS if isinstance(answer, ev.OrderApproved) else STILL}


WAYS: dict[str, Callable[[Row], Found]] = {
    "CanUpdateSubaccounts": updates,
    "dydx-statetransitionundercollateralized-002": transition,
    "dydx-statetransitionundercollateralized-003": transition,
}
