"""Auto-deleveraging and unwinding: positions of winners are closed against one that the book could not (EX-04).

    leveraged_return            return x leverage, or return / leverage where it lost; leverage = value / equity
    profit_times_margin_ratio   max(0, open profit) / max(1, wallet) x (maintenance margin / equity)
    return_times_leverage       mark / entry (a short: entry / mark) x (notional / equity)
    random                      by the hash of the rulebook's seed, the input's number, the account that is closed out,
                                the contract, and the candidate's id

The highest is taken first, of equal ones the lower account id; whoever the price itself would leave below zero, is
being closed out, or holds nothing on the other side is passed over. The other side of a leg of hedge mode, or of a
contract that has legs, is whatever of the contract and its legs is held there: each of an account's positions has a
place of its own, of equal ones first that in the contract, then that in a leg. An unwind takes all of them, each in
proportion to its position; lots that do not divide go to the largest remainders, of equal ones to the lower account id.

A stage with a drawdown takes part only where the insurance fund, were it to bear all that the account is below zero,
would be down by that share or more from the most that it held within the stage's window. At the price `drawdown` the
fund bears what leads there, each position its part of it, and the winners the rest: the price lies between the mark and
the bankruptcy price.

What it takes from them together is what it covers, to the micro; at a price other than bankruptcy it may be more, and
what goes beyond the deficit is a figure of its own.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

from closeout.core.bankruptcy import bankruptcy_value, price_text
from closeout.core.contracts import Kind
from closeout.core.margin import MarginKind
from closeout.core.risk import Holding, margin_together
from closeout.core.units import apportion, floor_div, mul_div_floor
from closeout.engine import fund, receipts
from closeout.engine.book import CloseOut, ContractState
from closeout.engine.events import Deleveraged, Notice
from closeout.engine.state import State
from closeout.rulebooks.policy import Ranking, Stage, StageKind, TransferPrice

ROUNDINGS = 3
"""Micros that the roundings of one part can come to: of the part itself, of the trade, and of what is left at the mark.
Who has no more than these above what the price takes is passed over, so that nobody is a micro below zero by it; but
not where the price gives as much for every lot."""

Rival = tuple[int, str]
"""An account's row and the contract, or leg of it, in which it holds the other side."""

Taken = list[tuple[Rival, int]]
"""Whose position, and |lots| taken from each."""


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
    rivals = _rivals(state, contract, side, given, whole)
    if stage.kind is StageKind.UNWIND:
        taken = _unwound(state, rivals, whole)
    else:
        taken = _ranked(state, rivals, whole, stage, state.book.ids[row])
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


# -- who, and how much -----------------------------------------------------------------------------------


def _rivals(state: State, contract: ContractState, side: int, covered: int, whole: int) -> list[Rival]:
    """Which positions could be closed against one of this side. Closing all of its own lots would cost an account its
    part of `covered`, which is for `whole` lots (below zero: brings it); who has less than that and `ROUNDINGS` is
    passed over, or less than nothing where each lot brings these."""
    book = state.book
    found: dict[int, list[str]] = {}
    lots: dict[int, int] = {}
    for each in state.legs(contract.contract.market):
        for other in each.holders().tolist():
            held = each.position(other).lots
            if held * side > 0 or other in book.house or other in book.close_outs:
                continue
            found.setdefault(other, []).append(each.contract.name)
            lots[other] = lots.get(other, 0) + abs(held)
    rivals: list[Rival] = []
    for other in sorted(found, key=book.ids.__getitem__):
        cost = -mul_div_floor(-covered, min(lots[other], whole), whole)
        least = 0 if -covered >= ROUNDINGS * whole else max(cost, 0) + ROUNDINGS
        if state.risk(other).net_liq >= least:
            rivals += [(other, name) for name in found[other]]
    return rivals


def _lots(state: State, rival: Rival) -> int:
    return abs(state.contracts[rival[1]].position(rival[0]).lots)


def _ranked(state: State, rivals: list[Rival], need: int, stage: Stage, against: str) -> Taken:
    assert stage.ranking is not None  # noqa: S101
    keys = {rival: -_score(state, state.contracts[rival[1]], rival[0], stage, against) for rival in rivals}
    taken: Taken = []
    for rival in sorted(rivals, key=keys.__getitem__):  # stable: of equal ones the lower id
        part = min(need, _lots(state, rival))
        taken.append((rival, part))
        need -= part
        if not need:
            break
    return taken


def _unwound(state: State, rivals: list[Rival], need: int) -> Taken:
    """Each in proportion to its position; the lots that are left to the largest remainders."""
    sizes = {rival: _lots(state, rival) for rival in rivals}
    total = sum(sizes.values())
    if not total:
        return []
    parts = apportion(min(need, total), sizes)
    return [(rival, parts[rival]) for rival in rivals if parts[rival]]


def _score(state: State, contract: ContractState, row: int, stage: Stage, against: str) -> Fraction:
    if stage.ranking is Ranking.RANDOM:
        text = f"{stage.seed} {state.seq} {against} {contract.contract.name} {state.book.ids[row]}"
        return Fraction(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))
    holding, money = state.holding(row, contract, contract.position(row)), state.money(row)
    equity = max(1, state.risk(row).net_liq)
    if stage.ranking is Ranking.PROFIT_TIMES_MARGIN_RATIO:
        maintenance = margin_together(state.holdings(row), MarginKind.MAINTENANCE)
        return Fraction(max(0, holding.profit), max(1, money.cash)) * Fraction(maintenance, equity)
    leverage, inverse = Fraction(holding.notional, equity), Fraction(equity, max(1, holding.notional))
    units = contract.contract.units_per_micro
    entry, now = max(1, abs(holding.cost)), max(1, holding.notional * units)
    if stage.ranking is Ranking.RETURN_TIMES_LEVERAGE:
        rises = (holding.lots > 0) == (contract.contract.kind is Kind.LINEAR)
        return (Fraction(now, entry) if rises else Fraction(entry, now)) * leverage
    gained = Fraction(holding.profit * units, entry)
    return gained * (leverage if gained > 0 else inverse)
