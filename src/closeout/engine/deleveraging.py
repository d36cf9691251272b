"""Auto-deleveraging and unwinding: positions of winners are closed against one that the book could not (EX-04).

`rivals` says who can be taken from, and in which order.

A stage with a drawdown takes part only where the insurance fund, were it to bear all that the account is below zero,
would be down by that share or more from the most that it held within the stage's window. At the price `drawdown` the
fund bears what leads there, each position its part of it, and the winners the rest: the price lies between the mark and
the bankruptcy price.

What it takes from them together is what it covers, to the micro; at a price other than bankruptcy it may be more, and
what goes beyond the deficit is a figure of its own.
"""

from __future__ import annotations

from closeout.core.bankruptcy import bankruptcy_value, price_text
from closeout.core.risk import Holding
from closeout.core.units import floor_div, mul_div_floor
from closeout.engine import fund, receipts
from closeout.engine.book import CloseOut, ContractState
from closeout.engine.events import Deleveraged, Notice
from closeout.engine.rivals import Rival, Rivals
from closeout.engine.state import State
from closeout.rulebooks.policy import Stage, StageKind, TransferPrice


def deleverage(state: State, row: int, active: CloseOut, stage: Stage, holding: Holding) -> None:
    """Close as much of the holding as there is somebody to close it against."""
    contract, whole = state.contracts[holding.contract.name], abs(holding.lots)
    side = 1 if holding.lots > 0 else -1
    share = state.share(row, holding.contract.name)
    spare, net_liq = fund.before_drawdown(state, stage), state.risk(row).net_liq
    if spare is not None and -net_liq < spare:
        return
    left = 0
    if stage.price is TransferPrice.DRAWDOWN and spare is not None and spare > 0:
        left = mul_div_floor(spare, -share, -net_liq)
    value, given = _terms(contract, holding, stage, share + left, whole)
    rivals = Rivals.of(state, contract, side, given, whole)
    if stage.kind is StageKind.UNWIND:
        taken = rivals.unwound(whole)
    else:
        taken = rivals.ranked(whole, stage, state.book.ids[row])
    lots = sum(part for _, part in taken)
    if not lots:
        return
    if lots < whole:
        value, given = _terms(contract, holding, stage, share + left, lots)
    own = mul_div_floor(share, lots, whole)
    beyond = receipts.covered(state, row, active, stage.kind, own, given)
    state.trade(row, contract, -side * lots, -value, f"position closed by {stage.kind.value}")
    told: list[dict[str, str]] = []
    done = 0
    for other, part in taken:
        own_value = mul_div_floor(value, done + part, lots) - mul_div_floor(value, done, lots)
        own_taken = mul_div_floor(given, done + part, lots) - mul_div_floor(given, done, lots)
        done += part
        told.append(_close(state, row, active, stage, other, side * part, own_value, own_taken))
    text = state.policy.currency.text
    receipts.transferred(
        state, active, stage.kind, holding.contract, side * lots, value, -given, told,
        covered=text(max(0, given) - beyond), beyond=text(beyond),
    )  # fmt: skip


def _terms(contract: ContractState, holding: Holding, stage: Stage, share: int, lots: int) -> tuple[int, int]:
    """Units for |lots| of the holding at the stage's price, and what that gives the account beyond the mark, micros.
    `share` is what of net liq the winners make good, where the price follows from it."""
    if stage.price in (TransferPrice.BANKRUPTCY, TransferPrice.DRAWDOWN):
        return bankruptcy_value(holding, share, lots), -mul_div_floor(share, lots, abs(holding.lots))
    signed = lots if holding.lots > 0 else -lots
    mark = holding.mark or 0
    price = mark if stage.price is TransferPrice.MARK or contract.previous_mark is None else contract.previous_mark
    value = contract.contract.value(price, signed)
    return value, floor_div(value - contract.contract.value(mark, signed), contract.contract.units_per_micro)


def _close(
    state: State, row: int, active: CloseOut, stage: Stage, rival: Rival, lots: int, value: int, taken: int
) -> dict[str, str]:
    """One winner's part: signed lots for `value` units. Its working orders in the contract are cancelled."""
    other, contract = rival[0], state.contracts[rival[1]]
    facts, account_id = contract.contract, state.book.ids[other]
    state.cancel_orders(other, stage.kind.value, facts.name)
    state.trade(other, contract, lots, value, f"closed by {stage.kind.value}")
    state.touched.add(other)
    price = price_text(facts, lots, value)
    against = state.book.ids[row]
    state.emit(
        Deleveraged(account_id, facts.name, lots, price, taken, against, active.receipt_id, stage.kind.value)
    )  # fmt: skip
    quantity = facts.quantity_text(abs(lots))
    state.emit(Notice(account_id, "auto_deleveraging", f"{quantity} {facts.name} at {price}"))
    return {"account_id": account_id, "quantity": quantity, "taken": state.policy.currency.text(taken)}
