"""The record of a liquidation event: numbers, orders, fills, fees, and who bore what, as data and in words (G-11).

A receipt is plain JSON-able data. Money, prices and quantities are exact decimal strings, times RFC 3339.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from closeout import __version__
from closeout.core.bankruptcy import price_text
from closeout.core.contracts import Contract
from closeout.core.risk import Holding, Risk
from closeout.core.times import time_text
from closeout.core.units import Currency, mul_div_ceil, rate_text
from closeout.engine.book import CloseOut, ContractState
from closeout.engine.commands import AdjustCash, CorrectFill
from closeout.engine.events import CloseOutEnded, CorrectionIssued, DeficitCovered, Notice
from closeout.engine.state import State
from closeout.rulebooks.policy import StageKind

OTHER_CASH = "customer, from other cash"
DEBT = "customer, as a debt"
SHARED = tuple(k.value for k in (StageKind.AUTO_DELEVERAGING, StageKind.UNWIND, StageKind.SOCIALISED_LOSS))
"""Stages that other customers bear."""

RULES = ["G-04", "G-07", "US-01", "US-04", "US-09", "US-10", "US-13"]
LIMITED_RULES = ["G-04", "G-07", "EX-02", "EX-03", "EX-04", "EX-05"]
OWN_RULES = ["G-07", "US-01", "US-13", "US-23"]
OWN_BRAKE = "own_brake"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What a flat account was below zero, what of it is owed now, and what stages of the waterfall paid, in micros."""

    deficit: int = 0
    owed: int = 0
    paid: dict[str, int] = field(default_factory=dict[str, int])


def opened(state: State, row: int, receipt_id: str, risk: Risk, *, by_desk: bool, own: str) -> dict[str, Any]:
    """The receipt of a close-out that begins now. `own` is the reason of the customer's own brake, if it is one: only
    such a receipt has a `kind`."""
    text = state.policy.currency.text
    floor = state.policy.net_liq_floor
    line = risk.lines[2]
    if by_desk:
        cause = "ordered by the desk"
    elif own:
        cause = f"the customer's own {own}"
    elif risk.net_liq < line:
        cause = "net liq below the auto-liquidation line"
    else:
        cause = f"net liq at or below the floor of {text(floor or 0)}"
    held = [state.contracts[holding.contract.name] for holding in state.holdings(row)]
    close_out = state.policy.close_out
    return {
        "receipt_id": receipt_id,
        "account_id": state.book.ids[row],
        "owner": state.book.owner.get(row, ""),
        "rulebook": {"name": state.policy.name, "version": state.policy.version, "digest": state.policy.digest},
        "engine_version": __version__,
        "rules": OWN_RULES if own else RULES if state.policy.customer_owes else LIMITED_RULES,
        **({"kind": OWN_BRAKE} if own else {}),
        "currency": state.policy.currency.code,
        "trigger": {
            "time": time_text(state.time),
            "input": state.seq,
            "cause": cause,
            "net_liq": text(risk.net_liq),
            "requirement": text(risk.requirement),
            "line": text(line),
            "usage": usage(risk.requirement, risk.net_liq),
            "marks": [_mark(state, contract) for contract in held],
            "margin": [_margin(contract) for contract in held],
            **_netting(state, row),
        },
        "policy": {
            "method": close_out.steps[0].method.value,
            "target": rate_text(close_out.target),
            "then": [step.method.value for step in close_out.steps[1:]],
            "waterfall": [stage.kind.value for stage in state.policy.waterfall],
        },
        "cancelled_orders": [],
        "orders": [],
        "supersedes": None,
    }


def usage(requirement: int, net_liq: int) -> str | None:
    """requirement / net liq to four places, rounded up; None ("over") at or below zero net liq (US-03)."""
    if net_liq <= 0:
        return None
    scaled = mul_div_ceil(requirement, 10_000, net_liq)
    return f"{scaled // 10_000}.{scaled % 10_000:04d}"


def _mark(state: State, contract: ContractState) -> dict[str, Any]:
    facts = contract.contract
    return {
        "contract": facts.name,
        "price": None if contract.mark is None else facts.price_text(contract.mark),
        "source": contract.mark_source,
        "time": time_text(contract.mark_time),
        "grade": state.grade(contract),
    }


def _margin(contract: ContractState) -> dict[str, Any]:
    """What decided a contract's requirement: the window, who set the rates, and a news window."""
    news = contract.news
    return {
        "contract": contract.contract.name,
        "window": contract.window.name,
        "rates": f"set by input {contract.margin_set_by}" if contract.margin_set_by else "rulebook",
        "news_multiplier": None if news is None else rate_text(news.multiplier),
        "news_held": None if news is None else news.held,
    }


def _netting(state: State, row: int) -> dict[str, Any]:
    """Of each netting group in which longs and shorts are held: what each side asks for, of which the larger counts."""
    sides: dict[str, list[int]] = {}
    for holding in state.holdings(row):
        if holding.terms.rules.netting:
            sides.setdefault(holding.terms.rules.netting, [0, 0])[holding.lots < 0] += holding.requirement
    text = state.policy.currency.text
    found = [{"group": g, "long": text(own[0]), "short": text(own[1])} for g, own in sides.items() if all(own)]
    return {"netting": found} if found else {}


def order_sent(
    state: State, row: int, active: CloseOut, order_id: str, holding: Holding, lots: int, limit: str | None
) -> None:
    """Add an order with the numbers that it was sent on."""
    risk, text = state.risk(row), state.policy.currency.text
    facts = holding.contract
    active.receipt["orders"].append({
        "order_id": order_id,
        "contract": facts.name,
        "side": "sell" if lots < 0 else "buy",
        "quantity": facts.quantity_text(abs(lots)),
        "limit_price": limit,
        "sent_at": time_text(state.time),
        "mark": facts.price_text(holding.mark or 0),
        "before": {"net_liq": text(risk.net_liq), "requirement": text(risk.requirement)},
        "fills": [],
    })  # fmt: skip


def filled(
    state: State, row: int, active: CloseOut, order_id: str, fill_id: str, contract: ContractState, lots: int,
    price_ticks: int, fee: int, profit: int,
) -> None:  # fmt: skip
    """Add an execution with the numbers after it."""
    order = next(order for order in active.receipt["orders"] if order["order_id"] == order_id)
    risk, text = state.risk(row), state.policy.currency.text
    order["fills"].append({
        "fill_id": fill_id,
        "time": time_text(state.time),
        "price": contract.contract.price_text(price_ticks),
        "quantity": contract.contract.quantity_text(abs(lots)),
        "fee": text(fee),
        "profit": text(profit),
        "after": {"net_liq": text(risk.net_liq), "requirement": text(risk.requirement)},
    })  # fmt: skip


def covered(state: State, row: int, active: CloseOut, stage: StageKind, share: int, given: int) -> int:
    """A stage took lots for which `share` of net liq stood, at a price that gave the account `given` micros beyond the
    mark: of these it bore what the share was below zero; the rest, which is returned, went beyond that."""
    borne = min(max(0, given), max(0, -share))
    beyond = max(0, given) - borne
    if borne:
        active.covered[stage.value] = active.covered.get(stage.value, 0) + borne
    if borne or beyond:
        state.emit(DeficitCovered(state.book.ids[row], borne, stage.value, active.receipt_id, beyond))
    return beyond


def transferred(
    state: State, active: CloseOut, stage: StageKind, contract: Contract, lots: int, value: int, kept: int,
    others: list[dict[str, str]], **more: str,
) -> None:  # fmt: skip
    """Signed `lots` changed hands for `value` units without the book; `others` got them, and `kept` micros of equity
    where that is above zero."""
    active.filled = True
    active.receipt.setdefault("transfers", []).append({
        "stage": stage.value,
        "contract": contract.name,
        "quantity": contract.quantity_text(abs(lots)),
        "price": price_text(contract, lots, value),
        **more,
        "kept": state.policy.currency.text(max(0, kept)),
        "to": others,
    })  # fmt: skip


def issue(state: State, row: int, active: CloseOut, left: Shortfall) -> None:
    """Finish the receipt of an event that is over, and tell the customer (US-11)."""
    account_id, risk = state.book.ids[row], state.risk(row)
    text = state.policy.currency.text
    flat = not state.holds(row)
    receipt = active.receipt
    receipt["liquidation_fee"] = text(active.fee + active.charged)
    receipt["end"] = {
        "time": time_text(state.time),
        "how": "flat" if flat else "cured",
        "net_liq": text(risk.net_liq),
        "requirement": text(risk.requirement),
    }
    stages = dict.fromkeys(stage.kind.value for stage in state.policy.waterfall)
    borne = {stage: active.covered.get(stage, 0) + left.paid.get(stage, 0) for stage in stages}
    other_cash = left.deficit - left.owed - sum(left.paid.values())
    deficit = left.deficit + sum(active.covered.values())
    if active.surplus:
        receipt["surplus"] = text(active.surplus)
    receipt["deficit"] = text(deficit)
    receipt["owed"] = text(left.owed)
    receipt["borne_by"] = [
        {"party": party, "amount": text(amount)}
        for party, amount in (*borne.items(), (DEBT, left.owed), (OTHER_CASH, other_cash))
        if amount
    ]
    receipt["words"] = words(receipt, state.policy.currency)
    state.emit(CloseOutEnded(account_id, active.receipt_id, receipt))
    if active.filled:
        state.emit(Notice(account_id, "liquidation", active.receipt_id))


def correction(
    state: State, row: int, act: AdjustCash | CorrectFill, supersedes: str, what: str, cash_before: int
) -> None:
    """Issue the receipt of a correction and tell the customer; what it corrects is superseded, never edited (US-25)."""
    account_id, text, code = state.book.ids[row], state.policy.currency.text, state.policy.currency.code
    receipt_id = f"{state.place}c-{account_id}"  # a close-out that the correction sets off has the one without the c
    change = text(int(state.book.cash[row]) - cash_before)
    receipt: dict[str, Any] = {
        "receipt_id": receipt_id,
        "account_id": account_id,
        "kind": "correction",
        "rules": ["US-25"],
        "engine_version": __version__,
        "currency": code,
        "time": time_text(state.time),
        "supersedes": supersedes,
        "what": what,
        "cash_change": change,
        "approved_by": [act.by, act.second],
        "reason": act.reason,
        "words": f"At {time_text(state.time)} {act.by} and {act.second} corrected account {account_id}: {what}. "
        f"Its cash changed by {change} {code}. Reason: {act.reason}.",
    }
    state.emit(CorrectionIssued(account_id, receipt_id, receipt))
    state.emit(Notice(account_id, "correction", receipt_id))


def words(receipt: dict[str, Any], currency: Currency) -> str:
    """The receipt in plain sentences; the e-mail says the same."""
    trigger, end, code = receipt["trigger"], receipt["end"], currency.code
    own = receipt.get("kind") == OWN_BRAKE
    line = "" if own else f"; the line was {trigger['line']} {code}"
    said = [
        f"At {trigger['time']} account {receipt['account_id']} had a net liq of {trigger['net_liq']} {code} against a "
        f"requirement of {trigger['requirement']} {code} ({trigger['cause']}{line})."
    ]
    said += [
        f"Of what its longs and its shorts in {net['group']} asked for, {net['long']} and {net['short']} {code}, the "
        "larger counted."
        for net in trigger.get("netting", [])
    ]
    said += [
        f"{mark['contract']} was marked at {mark['price']} ({mark['source']}, {mark['time']}, {mark['grade']})."
        for mark in trigger["marks"]
    ]
    if receipt["cancelled_orders"]:
        said.append(f"{len(receipt['cancelled_orders'])} working order(s) were cancelled first.")
    for order in receipt["orders"]:
        verb = "sold" if order["side"] == "sell" else "bought"
        if not order["fills"]:
            said.append(
                f"An order to {order['side']} {order['quantity']} {order['contract']} was sent; nothing filled."
            )
        said += [
            f"{fill['quantity']} of {order['quantity']} {order['contract']} were {verb} at {fill['price']} at "
            f"{fill['time']}, fee {fill['fee']} {code}, result {fill['profit']} {code}."
            for fill in order["fills"]
        ]
    said.append(
        "It was no liquidation: there is no fee for it."
        if own
        else f"The liquidation fee was {receipt['liquidation_fee']} {code}."
    )
    said += _passed_on(receipt, code)
    said.append(f"At {end['time']} the account was {end['how']} with a net liq of {end['net_liq']} {code}.")
    said += _borne(receipt, currency, own=own)
    return " ".join(said)


def _passed_on(receipt: dict[str, Any], code: str) -> list[str]:
    """What changed hands without the book, and what the fund kept."""
    said: list[str] = []
    for transfer in receipt.get("transfers", []):
        others = [part["account_id"] for part in transfer["to"]]
        whom = f"{len(others)} accounts" if len(others) > 1 else others[0]
        kept = "" if not transfer["kept"].strip("0.") else f", and {transfer['kept']} {code} of equity with it"
        said.append(
            f"{transfer['quantity']} {transfer['contract']} passed to {whom} at {transfer['price']} without the book "
            f"({transfer['stage'].replace('_', ' ')}){kept}."
        )
    if "surplus" in receipt:
        said.append(
            f"What was brought beyond the bankruptcy price went to the insurance fund: {receipt['surplus']} {code}."
        )
    return said


def _borne(receipt: dict[str, Any], currency: Currency, *, own: bool) -> list[str]:
    """Who bore what was missing."""
    code, said = currency.code, list[str]()
    for part in receipt["borne_by"]:
        if part["party"] == OTHER_CASH:
            said.append(f"Of the deficit of {receipt['deficit']} {code}, {part['amount']} {code} came from other cash.")
        elif part["party"] != DEBT:
            party = part["party"].replace("_", " ")
            said.append(f"Of the deficit of {receipt['deficit']} {code}, {part['amount']} {code} fell to: {party}.")
    shared = any(part["party"] in SHARED for part in receipt["borne_by"])
    if receipt["owed"] != currency.text(0):
        act = "Closing" if own else "Liquidation"
        said.append(
            f"{act} does not cap the loss: the customer owes {receipt['owed']} {code}, due at once. "
            "The firm has covered it from its own money" + ("." if shared else "; no other customer's balance moved.")
        )
    return said
