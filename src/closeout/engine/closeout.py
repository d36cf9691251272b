"""Closing an account out: cancel and look again, plan, send, plan anew after each fill, end (US-09, US-10, G-07, G-08).

A plan maps contracts to |lots| to close. Every plan closes all that can be closed unless fewer lots cure or the
rulebook's step takes a part; it never crosses zero because it never exceeds the position less what is outstanding.

A rulebook's steps follow one another (EX-02): an order with a limit is immediate-or-cancel, and where it leaves
something the next step is on; behind the last one, or below the rulebook's line for it, the positions go to the stages
of the waterfall that take positions. What these leave goes to the market without a limit (G-08).
"""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction

from closeout.core.bankruptcy import bankruptcy_value, fillable_value, order_limit
from closeout.core.margin import Level, below, line
from closeout.core.risk import Holding, Risk, assess, take_over_line
from closeout.core.units import MAX_PRICE_TICKS, RATE, floor_div, mul_div_ceil, mul_div_floor
from closeout.engine import ledger as books
from closeout.engine import receipts, waterfall
from closeout.engine.book import CloseOut, ContractState, Flag, Grade
from closeout.engine.events import CloseOutOrder, CloseOutQueued
from closeout.engine.state import State
from closeout.rulebooks.policy import CloseOutMethod, CloseOutStep, Limit

Plan = dict[str, int]

MARKET = CloseOutStep(CloseOutMethod.FLATTEN_ALL)
"""Everything, without a limit."""
TAKEOVERS = (CloseOutMethod.FLATTEN_ALL, CloseOutMethod.LOWER_TIER)
"""Methods whose order for a whole position, with its limit at bankruptcy, takes it over: in the lowest tier there is no
tier to drop to."""
ANY = "any"
"""On receipts, the limit of an immediate-or-cancel order that takes any price."""


def start(state: State, row: int, risk: Risk) -> CloseOut | None:
    """Begin a close-out: working orders are cancelled first, then the account is looked at again. It is one of the
    customer's own brake only where nothing else asks for it (US-23). Returned if it is over at once: stages of the
    waterfall took the positions."""
    book = state.book
    by_desk = _ordered(state, row)
    own = book.stops.pop(row, "")
    if by_desk or risk.level is Level.LIQUIDATING:
        own = ""
    flatten = by_desk or bool(own)
    receipt_id = f"{state.place}-{book.ids[row]}"
    receipt = receipts.opened(state, row, receipt_id, risk, by_desk=by_desk, own=own)
    active = CloseOut(receipt_id, flatten, receipt, own=own)
    book.close_outs[row] = active
    _cancel_working(state, row, active)
    # Working orders do not count in the requirement of positions held, so the second look cannot differ from the
    # first: `advance` takes it all the same, and would end the event here if it did.
    return active if advance(state, row, active) else None


def advance(state: State, row: int, active: CloseOut, *, executed: bool = False) -> bool:
    """Plan anew and send what is missing. Returns True when the event is over (the caller then judges the account).
    `executed`: one of its orders was just filled or ended, as against a new look at the market."""
    if _over(state, row, active):
        return True
    if held(state, row) and not _ordered(state, row):
        return False
    active.paused = active.paused and executed
    _next_step(state, active)
    if active.missed:
        return False  # the step's other orders end first: sent again, they would take turns without an end
    closable = [holding for holding in state.holdings(row) if not _blocked(state, row, holding, active)]
    step = _step(state, active)
    if not active.outstanding and closable and _taken_over(state, row, active):
        waterfall.take_over(state, row, active, [holding.contract.name for holding in closable])
        if _over(state, row, active):
            return True
        closable = [h for h in state.holdings(row) if not _obstacle(state, state.contracts[h.contract.name])]
        if step.limit is not Limit.ANY_PRICE:
            step, active.paused = MARKET, False
    if active.paused:
        return False
    wanted = _hedged(state.holdings(row), closable, plan(state, row, state.holdings(row), closable, active, step))
    for holding in closable:
        name = holding.contract.name
        missing = wanted.get(name, 0) - closing(active, name, holding.lots)
        if missing > 0:
            _cancel_working(state, row, active)  # an order approved since the start could take it through zero
            _send(state, row, active, step, holding, missing)
    return False


def _over(state: State, row: int, active: CloseOut) -> bool:
    """Whether the event is over; then it is ended."""
    holdings = state.holdings(row)
    whole = bool(active.own) or _ordered(state, row)
    over = not active.outstanding and (not holdings or (not whole and cured(state, row, holdings, {}, active)))
    if over:
        _end(state, row, active)
    return over


# -- steps ---------------------------------------------------------------------------------------------


def _next_step(state: State, active: CloseOut) -> None:
    """Where an order of the step found no price, the next step is on as soon as nothing is out. Behind the last one a
    rulebook with a line for its waterfall tries the last one again at the next look; any other has come to its end."""
    if not active.missed or active.outstanding:
        return
    active.missed = False
    policy = state.policy.close_out
    if active.step < len(policy.steps) - 1 or policy.take_over_below is None:
        active.step += 1
    else:
        active.paused = True


def _taken_over(state: State, row: int, active: CloseOut) -> bool:
    """Whether the positions go to the waterfall now."""
    if active.own or not state.policy.takes_positions:
        return False
    if any(state.grade(state.contracts[held.contract.name]) != Grade.OK for held in state.holdings(row)):
        return False  # its net liq is not known well enough for others to pay by it
    policy = state.policy.close_out
    if active.step >= len(policy.steps):
        return True
    if policy.take_over_below is None:
        return False
    risk = state.risk(row)
    return below(risk.net_liq, take_over_line(risk.requirement, policy.take_over_below))


def _step(state: State, active: CloseOut) -> CloseOutStep:
    """The step that is on. The desk, the customer's own brake, and whoever is behind the last step close everything
    without a limit."""
    steps = state.policy.close_out.steps
    return MARKET if active.flatten or active.step >= len(steps) else steps[active.step]


def is_immediate(active: CloseOut, order_id: str) -> bool:
    """Whether an order of this close-out has a limit, and so is immediate-or-cancel."""
    return any(o["order_id"] == order_id and o["limit_price"] is not None for o in active.receipt["orders"])


def _limit(state: State, row: int, step: CloseOutStep, holding: Holding) -> int | None:
    """The limit in ticks of an order of this step; None without one."""
    facts = holding.contract
    if step.limit is Limit.NONE:
        return None
    value: int | Fraction | None = None
    if step.limit is Limit.BANKRUPTCY:
        value = bankruptcy_value(holding, state.share(row, facts.name), abs(holding.lots))
    elif step.limit is Limit.FILLABLE:
        risk = state.risk(row)
        adjustment, spread = step.bankruptcy_adjustment, step.spread_to_maintenance
        value = fillable_value(holding, risk.net_liq, risk.requirement, adjustment, spread)
    return order_limit(facts, holding.lots, value)


def _share(state: State, row: int, step: CloseOutStep, active: CloseOut, holding: Holding) -> int:
    """|lots| of a share step: for each interval since the last one its share of what is held, rounded up; everything
    where it is worth no more than `share_above`, and within `whole_within` after a part was closed."""
    whole = abs(holding.lots)
    in_part = state.book.in_part.get(state.book.parent.get(row, row))
    if holding.notional <= step.share_above or (in_part is not None and state.time - in_part < step.whole_within):
        return whole
    rounds = 1
    if step.interval and active.sent_at is not None:
        rounds = (state.time - active.sent_at) // step.interval
    return min(whole, mul_div_ceil(whole, step.share * min(rounds, RATE // step.share + 1), RATE))


def note_part(state: State, row: int, active: CloseOut, contract: ContractState) -> None:
    """A close-out order was filled: remember when, where it leaves a part of the position and a step asks for it."""
    asked = any(step.whole_within for step in state.policy.close_out.steps)
    if asked and not active.flatten and contract.position(row).lots:
        state.book.in_part[state.book.parent.get(row, row)] = state.time


def _to_lower_tier(step: CloseOutStep, holding: Holding) -> int:
    """The fewest |lots| that bring the position `tiers_down` tiers lower, or into the lowest; all of it there."""
    own = [tier.notional_from for tier in holding.terms.tiers if tier.notional_from <= holding.required_on]
    whole = abs(holding.lots)
    if len(own) < 2 or holding.mark is None:
        return whole
    lots = range(1, whole + 1)
    start = own[max(1, len(own) - step.tiers_down)]
    found = bisect_left(lots, True, key=lambda n: holding.less(n).required_on < start)
    return lots[found] if found < whole else whole


def closing(active: CloseOut, name: str, held: int) -> int:
    """|lots| outstanding that close a position of `held` lots; an order from before it changed sides closes nothing."""
    return sum(
        abs(lots) for contract, lots in active.outstanding.values() if contract == name and (lots > 0) != (held > 0)
    )


def _cancel_working(state: State, row: int, active: CloseOut) -> None:
    """Cancel the customer's working orders before a close-out order goes out (G-07)."""
    active.receipt["cancelled_orders"] += state.cancel_orders(row, "close-out")


def plan(
    state: State, row: int, holdings: list[Holding], closable: list[Holding], active: CloseOut, step: CloseOutStep
) -> Plan:
    """|lots| to close per contract (US-09)."""
    everything = {holding.contract.name: abs(holding.lots) for holding in closable}
    if step.method is CloseOutMethod.FLATTEN_ALL:
        return everything
    if step.method in (CloseOutMethod.REDUCE_BY_SHARE, CloseOutMethod.LOWER_TIER):
        if active.outstanding:
            return {}  # one order at a time in each contract: the next is decided when they are done
        if step.method is CloseOutMethod.LOWER_TIER:
            return {holding.contract.name: _to_lower_tier(step, holding) for holding in closable}
        return {holding.contract.name: _share(state, row, step, active, holding) for holding in closable}
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


def _hedged(holdings: list[Holding], closable: list[Holding], wanted: Plan) -> Plan:
    """Where a leg of a netting group takes no orders now, legs on the other side are closed only as far as that makes
    less required: what is left of them hedges what waits (G-07)."""
    taken = {holding.contract.name for holding in closable}
    left = {holding.contract.name: holding.requirement for holding in holdings}
    for own in closable:
        name, group = own.contract.name, own.terms.rules.netting
        others = [h for h in holdings if group and h is not own and h.terms.rules.netting == group]
        waiting = sum(h.requirement for h in others if h.lots * own.lots < 0 and h.contract.name not in taken)
        if waiting:
            beside = sum(left[h.contract.name] for h in others if h.lots * own.lots > 0)
            lots = range(abs(own.lots))
            most = bisect_left(lots, True, key=lambda n: own.less(n).requirement + beside <= waiting)
            wanted[name] = min(wanted.get(name, 0), most)
            left[name] = own.less(wanted[name]).requirement
    return wanted


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
            fees += mul_div_ceil(
                holding.contract.notional(holding.mark or 0, lots), fee_rate(state, row, holding), RATE
            )
        if lots < abs(holding.lots):
            after.append(holding.less(lots) if lots else holding)
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


def _send(state: State, row: int, active: CloseOut, step: CloseOutStep, holding: Holding, lots: int) -> None:
    if not active.fee:
        active.fee = _fee(state, row, active)
        state.book.pending[row] += active.fee
        state.book.positions.moved.add(row)
    active.orders_sent += 1
    while (order_id := f"{active.receipt_id}-{active.orders_sent}") in state.order_owner:
        active.orders_sent += 1  # a customer named his order so
    signed = -lots if holding.lots > 0 else lots
    limit = _limit(state, row, step, holding)
    active.outstanding[order_id] = (holding.contract.name, signed)
    active.sent_at = state.time
    state.order_owner[order_id] = row
    is_any = step.limit is Limit.ANY_PRICE or (limit is not None and abs(limit) == MAX_PRICE_TICKS)
    shown = None if limit is None else ANY if is_any else holding.contract.price_text(limit)
    is_takeover = step.limit is Limit.BANKRUPTCY and step.method in TAKEOVERS and lots == abs(holding.lots)
    if limit is not None and is_takeover and state.policy.close_out.surplus_to_fund:
        active.takeovers[order_id] = limit
    receipts.order_sent(state, row, active, order_id, holding, signed, shown)
    state.emit(CloseOutOrder(state.book.ids[row], order_id, active.receipt_id, holding.contract.name, signed, limit))


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
    fee = state.policy.liquidation_fee
    return fee.first if first else fee.later


def above_bankruptcy(state: State, row: int, contract: ContractState, lots: int, value: int, trade_fee: int) -> int:
    """Micros that a fill of signed `lots` for `value` units is about to bring beyond the bankruptcy value of the part
    that it closes, its trade fee taken off; not below zero. What a capped liquidation fee takes at most."""
    position = contract.position(row)
    if not position.lots or (position.lots > 0) == (lots > 0):
        return 0
    part = min(abs(lots), abs(position.lots))
    holding = state.holding(row, contract, position)
    share = state.share(row, contract.contract.name)
    brought = -value if part == abs(lots) else mul_div_floor(-value, part, abs(lots))
    beyond = brought - bankruptcy_value(holding, share, part)
    return max(0, floor_div(beyond, contract.contract.units_per_micro) - trade_fee)


def fee_rate(state: State, row: int, holding: Holding) -> int:
    """The liquidation fee's rate on the holding's contract now: the rulebook's, or less where it is of what is left
    (`LiquidationFee.of_rest`), as a rate of the holding's value, rounded down."""
    policy = state.policy.liquidation_fee
    if policy.of_rest is None or holding.mark is None or not holding.notional:
        return policy.rate
    risk = state.risk(row)
    short = max(0, line(risk.requirement, state.policy.close_out.target) - risk.net_liq)
    left = holding.requirement - holding.contract.trade_fee(holding.mark, holding.lots) - short
    return min(policy.rate, mul_div_floor(max(0, left), policy.of_rest, holding.notional))


def charge_by_rate(
    state: State, row: int, active: CloseOut, contract: ContractState, lots: int, ticks: int, rate: int, above: int
) -> int:
    """The liquidation fee of what a close-out order filled (EX-02): a rate of its value, rounded up; where it is
    capped, at most what the fill brought `above` bankruptcy. What was taken is what is booked (G-10)."""
    policy = state.policy.liquidation_fee
    if active.own or not policy.rate:
        return 0
    fee = mul_div_ceil(contract.contract.notional(ticks, lots), rate, RATE)
    if policy.capped:
        fee = min(fee, above)
    payee = books.INSURANCE_FUND if policy.to_fund else books.FEES
    state.post(row, books.CUSTOMER_CASH, payee, fee, "liquidation fee")
    active.charged += fee
    return fee


def give_surplus(
    state: State, row: int, active: CloseOut, order_id: str, contract: ContractState, lots: int, value: int, fees: int
) -> None:
    """What a fill of a takeover, which has its limit at bankruptcy, brought beyond that limit, its fees taken off, goes
    to the insurance fund where the rulebook says so (EX-03): not what was paid in since, and nothing that accrued
    funding or a debt claims already."""
    limit = active.takeovers.get(order_id)
    if limit is None:
        return
    book, facts = state.book, contract.contract
    beyond = floor_div(facts.trade_value(limit, lots) - value, facts.units_per_micro) - fees
    free = int(book.cash[row]) + min(0, int(book.accrued[row])) - int(book.receivable[row])
    surplus = max(0, min(beyond, free))
    state.post(row, books.CUSTOMER_CASH, books.INSURANCE_FUND, surplus, "surplus to the insurance fund")
    active.surplus += surplus


def held(state: State, row: int) -> bool:
    """Whether the desk keeps close-outs of the account back, alone or with the whole firm (US-20)."""
    return bool((int(state.book.flags[row]) | state.desk) & int(Flag.HELD))


def _ordered(state: State, row: int) -> bool:
    return state.book.has(row, Flag.LIQUIDATE_NOW)


def _end(state: State, row: int, active: CloseOut) -> None:
    """Charge the event's fee if anything was filled, restrict, and let the judge do the rest."""
    book = state.book
    book.pending[row] -= active.fee
    book.positions.moved.add(row)
    if active.filled and not active.own:
        state.post(row, books.CUSTOMER_CASH, books.FEES, active.fee, "liquidation fee")
        book.liquidations[row] += 1
        if state.policy.restrict_after_liquidation:
            state.set_flag(row, Flag.RESTRICTED, True, f"after liquidation {active.receipt_id}")
    else:
        active.fee = 0
    del book.close_outs[row]
