"""Drift v2's rows whose mechanism the engine has: reducing to a target, fees by rate, a loss shared among positions.

A margin buffer is a requirement that is used to more than 100 % when liquidation begins: 5 % and a buffer of 2 % are a
requirement of 7 % with a line at 140 %. The liquidator's fee is the trade's, the insurance fund's that of the
liquidation; the liquidator is the other side of the close-out order, and has the trade's fee.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.engine.bench import Desk

from closeout.core.margin import MarginKind, MarginTier, margin
from closeout.core.units import RATE
from closeout.engine import closeout
from closeout.engine import commands as c
from closeout.engine.events import DeficitBooked
from closeout.studies.quote import quote

Row = dict[str, Any]
Found = dict[str, Any]

_FUND = 10**6
_BASE = Decimal("1e-9")
_QUOTE = Decimal("1e-6")
_RATIO = Decimal("1e-4")

OF_REST = {"of_rest": "0.95"}
"""The share of what the margin leaves that is at most the fund's."""


def _text(number: Decimal | int) -> str:
    return format(Decimal(number).normalize(), "f")


def _desk(rate: Decimal, line: Decimal, lot: Decimal, tick: str, fees: tuple[Decimal, Decimal], **fee: str) -> Desk:
    level = _text(round(line, 9))
    contract = {
        "tick": tick,
        "lot": _text(lot),
        "taker_fee": _text(fees[0]),
        "tiers": [{"maintenance_margin_rate": _text(rate)}],
    }
    given = {
        "currency": "USDC",
        "contracts": {"C": contract},
        "windows": {"always": {"alert": level, "liquidate_only": level, "auto_liquidate": level}},
        "close_out": {"method": "reduce_to_target", "target": "1.00"},
        "insurance_fund": {"initial": str(_FUND)},
        "liquidation_fee": {"rate": _text(fees[1]), "payee": "insurance_fund", "capped": True, **fee},
    }
    return Desk("reference", given)


def base_to_cover(row: Row) -> Found:
    """How much of a position of ten is closed."""
    inputs = row["inputs"]
    price = inputs["oracle_price"] * _QUOTE * inputs["quote_oracle_price"] * _QUOTE
    fees = (inputs["liquidation_fee"] * _QUOTE, inputs["if_liquidation_fee"] * _QUOTE)
    closed = _to_cover(inputs["margin_shortage"] * _QUOTE, inputs["margin_ratio"] * _RATIO, price, *fees)
    return {"base_asset_amount": int(closed / _BASE)}


def base_to_cover_worked(row: Row) -> Found:
    """A hundred such positions in one account: fees are whole micros of all of them."""
    names = ("margin_shortage", "margin_ratio", "oracle_price", "liquidator_fee", "if_fee")
    shortage, rate, price, *fees = (Decimal(row["inputs"][name]) for name in names)
    return {"base_amount": _to_cover(shortage * 100, rate, price, *fees, many=100) / 100}


def _to_cover(
    shortage: Decimal, rate: Decimal, price: Decimal, liquidator_fee: Decimal, fund_fee: Decimal, many: int = 1
) -> Decimal:
    desk = _desk(rate, Decimal(1), many * _BASE, "0.01", (liquidator_fee, fund_fee))
    held = str(10 * many)
    desk.account("A")
    desk.hold("A", "C", held, _text(price))
    needed = desk.facts("C").notional(desk.ticks("C", _text(price)), desk.lots("C", held))
    desk.deposit("A", _text(Decimal(desk.money(needed)) * rate - shortage))
    desk.marks(C=_text(price))
    ((_, quantity),) = desk.outstanding("A")
    return -Decimal(quantity)


def fund_fee(row: Row) -> Found:
    """The rate of the fund's fee on a position of an account that is so much short."""
    inputs = row["inputs"]
    price, size = inputs["oracle_price"] * _QUOTE, inputs["user_base_asset_amount"] * _BASE
    if not price:
        return {"if_fee": None}  # a mark of zero is none
    fees = (inputs["liquidator_fee"] * _QUOTE, inputs["max_if_liquidation_fee"] * _QUOTE)
    desk = _desk(inputs["margin_ratio"] * _RATIO, Decimal(1), _BASE, "0.01", fees, **OF_REST)
    desk.account("A")
    desk.hold("A", "C", _text(size), _text(price))
    account = desk.state.row("A")
    (held,) = desk.state.holdings(account)
    money = held.at(desk.ticks("C", _text(price))).requirement - inputs["margin_shortage"]
    desk.done(c.Deposit("A", money) if money > 0 else c.AdjustCash("A", money, "anna", "bert", "the row's debt"))
    desk.marks(C=_text(price))
    (held,) = desk.state.holdings(account)
    return {"if_fee": closeout.fee_rate(desk.state, account, held) // (RATE // 10**6)}


def liquidate_perp(row: Row) -> Found:
    """One call: the order that the engine sends is filled by the liquidator at the oracle's price."""
    inputs, user = row["inputs"], row["inputs"]["user"]
    ratio, buffer = inputs["margin_ratio_maintenance"], inputs["liquidation_margin_buffer_ratio"]
    price = inputs["oracle_price"] * _QUOTE
    step = inputs["order_step_size"] * _BASE
    fees = (inputs["liquidator_fee"] * _QUOTE, inputs["if_liquidation_fee"] * _QUOTE)
    desk = _desk((ratio + buffer) * _RATIO, Decimal(ratio + buffer) / ratio, step, "0.000001", fees, **OF_REST)
    desk.account("A")
    facts = desk.facts("C")
    lots = facts.lots(user["base"] * _BASE)
    desk.done(c.TransferPosition("A", "C", lots, -user["quote"] * facts.units_per_micro, last=False))
    if user["deposit"]:
        desk.done(c.Deposit("A", user["deposit"]))
    before = int(desk.state.book.cash[desk.state.row("insurance_fund")])
    for side in ("open_bids", "open_asks"):
        if user[side]:
            desk.order("A", "C", _text(user[side] * _BASE))
    desk.marks(C=_text(price))
    desk.close_at("A", _text(price))
    return {"after_each_call": [{key: value for key, value in _after(desk, user, before).items() if _asked(row, key)}]}


def _asked(row: Row, key: str) -> bool:
    return key in row["expected"]["after_each_call"][0]


def _after(desk: Desk, user: Row, fund_before: int) -> Row:
    state, row = desk.state, desk.state.row("A")
    contract = state.contract("C")
    facts, position = contract.contract, contract.position(row)
    base = int(Decimal(facts.quantity_text(position.lots)) / _BASE)
    money = int(state.book.cash[row]) - int(state.book.receivable[row])
    fees = -state.ledger.balances["fees"]
    other = base - user["base"]
    return {
        "user_base": base,
        "user_quote": money - user["deposit"] - position.cost // facts.units_per_micro,
        "liquidator_base": -other,
        "liquidator_quote": facts.value(contract.mark or 0, facts.lots(other * _BASE)) // facts.units_per_micro + fees,
        "total_liquidation_fee": int(state.book.cash[state.row("insurance_fund")]) - fund_before,
        "user_open_orders": sum(1 for order_id, owner in state.order_owner.items() if owner == row),
    }


def bankrupt(row: Row) -> Found:
    """Whether the engine books a deficit of such an account: not while it holds a position, nor of one without debt."""
    inputs = row["inputs"]
    contract = {"tick": "0.01", "lot": _text(_BASE), "tiers": [{"maintenance_margin_rate": "0.05"}]}
    desk = Desk("reference", {"currency": "USDC", "contracts": {"C": contract}})
    desk.marks(C="100")
    desk.account("A")
    money = inputs["deposit"] + (0 if inputs["perp_base"] else inputs["perp_quote"])
    if money:
        desk.done(c.Deposit("A", money) if money > 0 else c.AdjustCash("A", money, "anna", "bert", "the row's debt"))
    if inputs["perp_base"]:
        facts = desk.facts("C")
        cost = -inputs["perp_quote"] * facts.units_per_micro
        desk.done(c.TransferPosition("A", "C", facts.lots(inputs["perp_base"] * _BASE), cost))
    return {"is_bankrupt": any(isinstance(event, DeficitBooked) for event in desk.log)}


def resolve_bankruptcy(row: Row) -> Found:
    """A loss without a fund, shared among all that hold the contract."""
    inputs = row["inputs"]
    contract = {"tick": "0.01", "lot": "1", "tiers": [{"maintenance_margin_rate": "0.05"}]}
    given = {
        "currency": "USDC",
        "contracts": {"C": contract},
        "waterfall": [{"stage": "socialised_loss", "among": "positions"}, {"stage": "venue_bears"}],
    }
    desk = Desk("reference", given)
    rows: dict[str, int] = {}
    for name in ("other_long", "other_short"):
        desk.account(name, "1000")
        quote, base = inputs[name]["quote"] * _QUOTE, inputs[name]["base"] * _BASE
        desk.hold(name, "C", _text(base), _text(-quote / base))
        rows[name] = desk.state.row(name)
    price = -inputs["other_long"]["quote"] * _QUOTE / (inputs["other_long"]["base"] * _BASE)
    desk.account("A")
    desk.hold("A", "C", "1", _text(price - inputs["bankrupt_quote"] * _QUOTE))
    before = {name: int(desk.state.book.cash[at]) for name, at in rows.items()}
    desk.marks(C=_text(price))
    desk.close_at("A", _text(price))
    paid = {f"{name}_payment": int(desk.state.book.cash[at]) - before[name] for name, at in rows.items()}
    book, own = desk.state.book, desk.state.row("A")
    return {"bankrupt_quote_after": int(book.cash[own]) - int(book.receivable[own]), **paid}


def plain_ratio(row: Row) -> Found:
    """A ratio that size does not change: the margin of a notional of one."""
    inputs = row["inputs"]
    kind = MarginKind[inputs["margin_type"].upper()]
    mode = "high_leverage_" if inputs["user_high_leverage_mode"] else ""
    ratios = [inputs[f"{mode}margin_ratio_{name}"] for name in ("initial", "maintenance")]
    initial, maintenance = (int(ratio * _RATIO * RATE) for ratio in ratios)
    tier = MarginTier(0, (initial, initial, maintenance), (0, 0, 0), (0, 0, 0))
    return {"margin_ratio": margin((tier,), kind, 1, 10**4)}


def ratio_by_size(row: Row) -> Found:
    """The size in coins, each worth a hundredth of a cent, so that a ratio is the margin of a notional of one."""
    inputs = row["inputs"]
    coins = inputs["size"] * _BASE
    table = {
        "initial_margin_rate": _text(inputs["margin_ratio_initial"] * _RATIO),
        "initial_margin_root": _text(inputs["imf_factor"] * _QUOTE),
        "maintenance_margin_rate": _text(inputs["margin_ratio_maintenance"] * _RATIO),
        "root_within_rate": "0.2",
    }
    contract = Desk("reference", {"contracts": {"C": {"tick": "0.01", "lot": "1", "tiers": [table]}}})
    terms = contract.state.contract("C")
    return {"margin_ratio": margin(terms.tiers, MarginKind.INITIAL, int(coins), 10**4)}


def ratio_of_the_account(row: Row) -> Found:
    """A perpetual alone, of an owner who asks for more margin than the market: a leverage below one."""
    inputs = row["inputs"]
    largest = max(inputs["user_max_margin_ratio"], inputs["position_max_margin_ratio"])
    contract = {"tick": "0.01", "lot": "1", "tiers": []}
    contract["tiers"] = [
        {
            "initial_margin_rate": _text(inputs["perp_margin_ratio_initial"] * _RATIO),
            "maintenance_margin_rate": _text(inputs["perp_margin_ratio_maintenance"] * _RATIO),
        }
    ]
    price = _text(inputs["oracle_price"] * _QUOTE)
    position = {
        "contract": "C",
        "quantity": _text(inputs["perp_base"] * _BASE),
        "entry_price": price,
        "leverage": _text(1 / (largest * _RATIO)),
    }
    document = {
        "account_id": row["id"],
        "cash": _text(inputs["usdc_deposit"] * _QUOTE),
        "positions": [position],
        "rulebook": "reference",
        "marks": {"C": price},
        "overrides": {"currency": "USDC", "contracts": {"C": contract}},
    }
    return {"margin_requirement": int(Decimal(quote(document, row["id"])["initial_margin"]) / _QUOTE)}


WAYS: dict[str, Callable[[Row], Found]] = {
    "calculate_base_asset_amount_to_cover_margin_shortage": base_to_cover,
    "calculate_perp_if_fee": fund_fee,
    "drift-margin-shortage-fee0": base_to_cover_worked,
    "drift-margin-shortage-fee1pct-if1pct": base_to_cover_worked,
    **{f"drift-liquidate-perp-{number}": liquidate_perp for number in ("002", "004", "008", "010", "011")},
    **{f"drift-get-margin-ratio-{number}": plain_ratio for number in ("001", "004", "005")},
    "drift-get-margin-ratio-007": ratio_by_size,
    "drift-margin-requirement-006": ratio_of_the_account,
    "is_cross_margin_bankrupt": bankrupt,
    "resolve_perp_bankruptcy": resolve_bankruptcy,
}
