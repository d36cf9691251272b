"""Closing an account out: cancel and look again, plan, send, plan anew after each fill, end (US-09, US-10, G-07, G-08).

A plan maps contracts to |lots| to close. Every plan closes all that can be closed unless fewer lots cure; it never
crosses zero because it never exceeds the position less what is outstanding.
"""

from __future__ import annotations

from fractions import Fraction

from closeout.core.margin import Level, below, line
from closeout.core.risk import Holding, Risk, assess
from closeout.core.units import RATE, mul_div_ceil
from closeout.engine import ledger as books
from closeout.engine import receipts
from closeout.engine.book import CloseOut, ContractState, Flag, Grade
from closeout.engine.events import CloseOutOrder, CloseOutQueued
from closeout.engine.state import State
from closeout.rulebooks.policy import CloseOutMethod

Plan = dict[str, int]


def start(state: State, row: int, risk: Risk) -> None:
    """Begin a close-out: working orders are cancelled first, then the account is looked at again. It is one of the
    customer's own brake only where nothing else asks for it (US-23)."""
    book = state.book
    by_desk = _ordered(state, row)
    own = book.stops.pop(row, "")
    if by_desk or risk.level is Level.LIQUIDATING:
        own = ""
    flatten = by_desk or bool(own) or state.policy.close_out.method is CloseOutMethod.FLATTEN_ALL
    receipt_id = f"{state.seq}-{book.ids[row]}"
    receipt = receipts.opened(state, row, receipt_id, risk, by_desk=by_desk, own=own)
    active = CloseOut(receipt_id, flatten, receipt, own=own)
    book.close_outs[row] = active
    _cancel_working(state, row, active)
    # Working orders do not count in the requirement of positions held, so the second look cannot differ from the
    # first: `advance` takes it all the same, and would end the event here if it did.
    advance(state, row, active)


def advance(state: State, row: int, active: CloseOut) -> bool:
    """Plan anew and send what is missing. Returns True when the event is over (the caller then judges the account)."""
    holdings = state.holdings(row)
    whole = bool(active.own) or _ordered(state, row)
    if not active.outstanding and (not holdings or (not whole and cured(state, row, holdings, {}, active))):
        _end(state, row, active)
        return True
    if held(state, row) and not _ordered(state, row):
        return False
    closable = [holding for holding in holdings if not _blocked(state, row, holding, active)]
    wanted = plan(state, row, holdings, closable, active)
    for holding in closable:
        name = holding.contract.name
        missing = wanted.get(name, 0) - closing(active, name, holding.lots)
        if missing > 0:
            _cancel_working(state, row, active)  # an order approved since the start could take it through zero
            _send(state, row, active, holding, missing)
    return False


def closing(active: CloseOut, name: str, held: int) -> int:
    """|lots| outstanding that close a position of `held` lots; an order from before it changed sides closes nothing."""
    return sum(
        abs(lots) for contract, lots in active.outstanding.values() if contract == name and (lots > 0) != (held > 0)
    )


def _cancel_working(state: State, row: int, active: CloseOut) -> None:
    """Cancel the customer's working orders before a close-out order goes out (G-07)."""
    active.receipt["cancelled_orders"] += state.cancel_orders(row, "close-out")


def plan(state: State, row: int, holdings: list[Holding], closable: list[Holding], active: CloseOut) -> Plan:
    """|lots| to close per contract (US-09)."""
    everything = {holding.contract.name: abs(holding.lots) for holding in closable}
    if active.flatten:
        return everything
    # What is out will close: only what it leaves uncured needs more.
    out = {h.contract.name: min(abs(h.lots), closing(active, h.contract.name, h.lots)) for h in closable}
    chosen: Plan = {name: lots for name, lots in out.items() if lots}
    if chosen and cured(state, row, holdings, chosen, active):
        return chosen
    raised: list[str] = []
    for holding in sorted(closable, key=lambda holding: _rank(state, holding)):
        raised.append(holding.contract.name)
        chosen[raised[-1]] = abs(holding.lots)
        if cured(state, row, holdings, chosen, active):
            break
    else:
        return everything
    for name in reversed(raised):
        chosen[name] = _fewest(state, row, holdings, chosen, name, active, out[name])
    return chosen


def _fewest(
    state: State, row: int, holdings: list[Holding], chosen: Plan, name: str, active: CloseOut, least: int
) -> int:
    """The smallest |lots| of one leg, from `least` on, that cures while the other legs stay: one lot fewer does not."""
    low, high = least - 1, chosen[name]
    while high - low > 1:
        middle = (low + high) // 2
        if cured(state, row, holdings, {**chosen, name: middle}, active):
            high = middle
        else:
            low = middle
    return high


def cured(state: State, row: int, holdings: list[Holding], closed: Plan, active: CloseOut) -> bool:
    """Whether closing `closed` at the marks leaves usage, fees counted, at or under the target and no line crossed."""
    money = state.money(row)
    fees = (
        _fee(state, row, active) if closed and not active.fee else 0
    )  # a fee that is pending stands in net liq already
    after: list[Holding] = []
    profit = 0
    for holding in holdings:
        lots = closed.get(holding.contract.name, 0)
        profit += holding.profit
        if lots:
            fees += holding.contract.trade_fee(holding.mark or 0, lots)
        if lots < abs(holding.lots):
            after.append(holding.less(lots))
    if not after:
        return True
    net_liq = money.sum + profit - fees
    risk = assess(money, after, None)
    floor = state.policy.net_liq_floor
    if below(net_liq, risk.lines[2]) or (floor is not None and net_liq <= floor):
        return False
    return not below(net_liq, line(risk.requirement, state.policy.close_out.target))


def _rank(state: State, holding: Holding) -> tuple[bool, Fraction, int]:
    """Sort key: largest margin relief per expected cost first; without any cost first of all; then contract order."""
    contract = state.contracts[holding.contract.name]
    cost = mul_div_ceil(holding.notional, contract.expected_cost, RATE)
    cost += holding.contract.trade_fee(holding.mark or 0, holding.lots)
    return bool(cost), -Fraction(holding.requirement, cost or 1), contract.index


def _blocked(state: State, row: int, holding: Holding, active: CloseOut) -> bool:
    """Why a contract takes no close-out now; told once per reason (US-21, G-06, G-18)."""
    name = holding.contract.name
    reason = _obstacle(state, state.contracts[name])
    if reason and active.queued.get(name) != reason:
        account_id = state.book.ids[row]
        state.emit(CloseOutQueued(account_id, active.receipt_id, name, reason))
        state.alarm(account_id, "close_out_queued", f"{name}: {reason}")
    active.queued[name] = reason
    return bool(reason)


def reopened(state: State, row: int, active: CloseOut) -> bool:
    """Whether a leg that was queued can be traded now: it does not wait for what else is out (G-08)."""
    waiting = (state.contracts[name] for name, reason in active.queued.items() if reason)
    return any(contract.position(row).lots and not _obstacle(state, contract) for contract in waiting)


def _obstacle(state: State, contract: ContractState) -> str:
    """Why a contract takes no close-out now; "" where it does."""
    grade = state.grade(contract)
    if not contract.is_open:
        return "market closed"
    if contract.halted:
        return "trading halted"
    if contract.desk & Flag.HELD:
        return "held by the desk"
    return f"mark is {grade}" if grade != Grade.OK else ""


def _send(state: State, row: int, active: CloseOut, holding: Holding, lots: int) -> None:
    if not active.fee:
        active.fee = _fee(state, row, active)
        state.book.pending[row] += active.fee
    active.orders_sent += 1
    while (order_id := f"{active.receipt_id}-{active.orders_sent}") in state.order_owner:
        active.orders_sent += 1  # a customer named his order so
    signed = -lots if holding.lots > 0 else lots
    active.outstanding[order_id] = (holding.contract.name, signed)
    state.order_owner[order_id] = row
    receipts.order_sent(state, row, active, order_id, holding, signed)
    state.emit(CloseOutOrder(state.book.ids[row], order_id, active.receipt_id, holding.contract.name, signed))


def _fee(state: State, row: int, active: CloseOut) -> int:
    """US-10: the first event's fee, or the later one; the customer's own brake costs none (US-23)."""
    return 0 if active.own else _fee_by_count(state, row)


def fee_to_come(state: State, row: int) -> int:
    """What a close-out of the account will cost yet: nothing where one is under way that has its fee among the pending
    ones already, or costs none."""
    active = state.book.close_outs.get(row)
    return 0 if active is not None and (active.fee or active.own) else _fee_by_count(state, row)


def _fee_by_count(state: State, row: int) -> int:
    first = int(state.book.liquidations[row]) == 0
    return state.policy.liquidation_fee_first if first else state.policy.liquidation_fee_later


def held(state: State, row: int) -> bool:
    """Whether the desk keeps close-outs of the account back, alone or with the whole firm (US-20)."""
    return bool((int(state.book.flags[row]) | state.desk) & Flag.HELD)


def _ordered(state: State, row: int) -> bool:
    return state.book.has(row, Flag.LIQUIDATE_NOW)


def _end(state: State, row: int, active: CloseOut) -> None:
    """Charge the event's fee if anything was filled, restrict, and let the judge do the rest."""
    book = state.book
    book.pending[row] -= active.fee
    if active.filled and not active.own:
        state.post(row, books.CUSTOMER_CASH, books.FEES, active.fee, "liquidation fee")
        book.liquidations[row] += 1
        if state.policy.restrict_after_liquidation:
            state.set_flag(row, Flag.RESTRICTED, True, f"after liquidation {active.receipt_id}")
    else:
        active.fee = 0
    del book.close_outs[row]
