"""The deficit waterfall (EX-03 to EX-05): one ordered list of stages, in the order of the rulebook.

Stages that take positions act on an account that the book could not close, before it is flat:

    liquidity_providers    take the position at its bankruptcy price, up to their capacity, which may be of their equity
    insurance_fund_takes   the fund takes it there, up to its capacity; it takes nothing that would leave it below zero
    backstop_vault         the vault takes it there, and with it whatever equity the position has
    auto_deleveraging      winners are closed against it, ranked (`engine.deleveraging`); with a `drawdown`, and then
                           before the fund's stages, only where the fund would be down by so much from its peak
    unwind                 all that hold the other side are closed against it, each in proportion

Stages that pay money act on what a flat account is below zero, each on what the one before left:

    insurance_fund         pays, never more than it has
    socialised_loss        the day's winners, or all that hold the contracts, or all balances pay in proportion
    withdrawal_haircut     the rest is a hole in the pool; until it is filled each withdrawal leaves its share there
    customer_owes          the rest is the customer's debt; the firm covers it from its own money the same day
    venue_bears            the rest is the venue's own loss, a stated number of the ledger

What a position stage takes at the bankruptcy price leaves nothing to pay. What no stage takes goes to the market
without a limit: an account below the line always has a plan (G-08).
"""

from __future__ import annotations

from closeout.core.bankruptcy import bankruptcy_value
from closeout.core.risk import Holding
from closeout.core.units import RATE, apportion, mul_div_floor
from closeout.engine import deleveraging, fund, receipts
from closeout.engine import ledger as books
from closeout.engine.book import Book, CloseOut
from closeout.engine.events import DeficitCovered, Notice, Socialised
from closeout.engine.state import Reject, State
from closeout.rulebooks.policy import POSITION_STAGES, TAKERS, Among, Policy, Stage, StageKind

HOLDERS = {
    StageKind.LIQUIDITY_PROVIDERS: books.LIQUIDITY_PROVIDERS,
    StageKind.INSURANCE_FUND_TAKES: books.INSURANCE_FUND,
    StageKind.BACKSTOP_VAULT: books.BACKSTOP_VAULT,
}
"""The house account into which a taker's positions go."""


def house_accounts(policy: Policy) -> list[str]:
    """The house accounts that a rulebook needs beside suspense."""
    names = [HOLDERS[stage.kind] for stage in policy.waterfall if stage.kind in TAKERS]
    own = [books.INSURANCE_FUND] if policy.insurance_fund is not None else []
    return list(dict.fromkeys([*own, *names]))


# -- positions -----------------------------------------------------------------------------------------


def take_over(state: State, row: int, active: CloseOut, closable: list[str]) -> None:
    """Pass the account's positions in these contracts down the stages that take positions."""
    for stage in state.policy.waterfall:
        if stage.kind not in POSITION_STAGES:
            return
        for name in closable:
            holding = _holding(state, row, name)
            if holding is None:
                continue
            if stage.kind in TAKERS:
                _assign(state, row, active, stage, holding)
            else:
                deleveraging.deleverage(state, row, active, stage, holding)


def _holding(state: State, row: int, name: str) -> Holding | None:
    contract = state.contracts[name]
    position = contract.position(row)
    return state.holding(row, contract, position) if position.lots else None


def _assign(state: State, row: int, active: CloseOut, stage: Stage, holding: Holding) -> None:
    """A taker gets the position, or the part that it has room for, at its bankruptcy value."""
    if stage.solvent_only and state.risk(row).net_liq < 0:
        return
    taker = state.book.row[HOLDERS[stage.kind]]
    lots = min(abs(holding.lots), _room(state, taker, stage, holding))
    if not lots:
        return
    share = state.share(row, holding.contract.name)
    value = bankruptcy_value(holding, share, lots)
    signed = lots if holding.lots > 0 else -lots
    contract = state.contracts[holding.contract.name]
    try:
        state.check_trade(taker, contract, signed, holding.mark or 1)
        state.check_outcome(taker, contract, [(signed, value)], 0)
    except Reject:
        return
    if taker == state.book.row.get(books.INSURANCE_FUND) and not _fund_stays_whole(
        state, taker, holding, signed, value
    ):
        return
    if stage.within:
        since, taken = state.taken = _taken(state, stage)
        state.taken = (since, taken + holding.contract.notional(holding.mark or 0, lots))
    state.trade(row, contract, -signed, -value, f"position taken by {HOLDERS[stage.kind]}")
    state.trade(taker, contract, signed, value, f"position of {state.book.ids[row]} taken")
    own = mul_div_floor(share, lots, abs(holding.lots))
    receipts.covered(state, row, active, stage.kind, own, -own)
    facts, text = holding.contract, state.policy.currency.text
    got = [{"account_id": HOLDERS[stage.kind], "quantity": facts.quantity_text(lots)}]
    receipts.transferred(
        state, active, stage.kind, facts, signed, value, own, got, covered=text(max(0, -own))
    )  # fmt: skip


def _room(state: State, taker: int, stage: Stage, holding: Holding) -> int:
    """Lots that a taker's capacity leaves room for: notional at the marks, all its positions counted."""
    room = None if stage.capacity is None else stage.capacity
    if stage.capacity_of_fund is not None:
        of_fund = mul_div_floor(fund.in_fund(state), stage.capacity_of_fund, RATE)
        room = of_fund if room is None else min(room, of_fund)
    equity = max(0, state.risk(taker).net_liq) if stage.equity is not None else 0
    if stage.of_equity is not None:
        of_equity = mul_div_floor(equity, stage.of_equity, RATE)
        room = of_equity if room is None else min(room, of_equity)
    if room is not None:
        room -= sum(held.notional for held in state.holdings(taker))
    if stage.share_of_equity is not None:
        left = mul_div_floor(equity, stage.share_of_equity, RATE) - _taken(state, stage)[1]
        room = left if room is None else min(room, left)
    if room is None:
        return abs(holding.lots)
    return max(0, mul_div_floor(abs(holding.lots), room, holding.notional)) if holding.notional else 0


def _taken(state: State, stage: Stage) -> tuple[int, int]:
    """When the takers' present window began, and what they took in it: a window is as long as it is, whatever is taken
    in it, and one that is over begins anew with the next position."""
    since, taken = state.taken
    return (since, taken) if taken and state.time - since < stage.within else (state.time, 0)


def _fund_stays_whole(state: State, row: int, holding: Holding, lots: int, value: int) -> bool:
    """Whether netting against what the fund holds leaves its cash at zero or above (EX-03)."""
    position = state.contracts[holding.contract.name].position(row)
    realised = position.trade(holding.contract, lots, value)
    return int(state.book.cash[row]) + realised // holding.contract.units_per_micro >= 0


# -- money ---------------------------------------------------------------------------------------------


def keep_fund_whole(state: State) -> None:
    """The fund is never below zero (EX-03): what its own positions lose beyond it, by settlement or funding, is the
    venue's loss."""
    row = state.book.row.get(books.INSURANCE_FUND)
    if row is not None and int(state.book.cash[row]) < 0:
        missing = -int(state.book.cash[row])
        state.post(row, books.HOUSE, books.INSURANCE_FUND, missing, "loss of the insurance fund's own positions")


def pay(state: State, row: int, deficit: int, receipt_id: str) -> dict[str, int]:
    """Cover a flat account's deficit, in micros above zero, up to the last stage; returns who paid what, by stage, in
    the order of the stages. What the last one is left with is not paid here: see `customer_owes`."""
    paid: dict[str, int] = {}
    left = deficit
    for stage in state.policy.waterfall:
        micros = 0
        match stage.kind:
            case StageKind.INSURANCE_FUND:
                micros = min(left, fund.in_fund(state))
                state.post(row, books.INSURANCE_FUND, books.CUSTOMER_CASH, micros, "deficit paid by the insurance fund")
            case StageKind.SOCIALISED_LOSS:
                micros = _socialise(state, row, left, stage, receipt_id)
            case StageKind.WITHDRAWAL_HAIRCUT:
                micros = left
                state.post(row, books.UNCOVERED, books.CUSTOMER_CASH, micros, "deficit left to withdrawals")
            case StageKind.VENUE_BEARS:
                micros = left
                state.post(row, books.HOUSE, books.CUSTOMER_CASH, micros, "deficit borne by the venue")
            case _:
                pass
        if micros:
            paid[stage.kind.value] = paid.get(stage.kind.value, 0) + micros
            left -= micros
            state.emit(DeficitCovered(state.book.ids[row], micros, stage.kind.value, receipt_id))
    return paid


def _socialise(state: State, row: int, deficit: int, stage: Stage, receipt_id: str) -> int:
    """Each pays in proportion to its weight, and never more than `_bound`; the account's own parent and its other
    isolated positions do not. Returns what was paid together: what one could not pay is left to the next stage, not
    asked of the others."""
    book, paid = state.book, 0
    own = _family(book, row)
    weights = {
        other: weight for other, weight in _weights(state, stage).items() if weight > 0 and _family(book, other) != own
    }
    if not weights:
        return 0
    bounds = {other: _bound(state, other, stage, weight) for other, weight in weights.items()}
    for other, share in apportion(min(deficit, sum(bounds.values())), weights).items():
        part = min(share, bounds[other])
        if not part:
            continue
        state.post(other, books.CUSTOMER_CASH, books.TRANSFER, part, f"socialised loss of {book.ids[row]}")
        state.post(row, books.TRANSFER, books.CUSTOMER_CASH, part, f"socialised loss paid by {book.ids[other]}")
        state.emit(Socialised(book.ids[other], part, book.ids[row], receipt_id))
        state.emit(Notice(book.ids[other], "socialised_loss", state.policy.currency.text(part)))
        state.touched.add(other)
        paid += part
    return paid


def _family(book: Book, row: int) -> int:
    return book.parent.get(row, row)


def _bound(state: State, row: int, stage: Stage, weight: int) -> int:
    """Winners give up no more than they won; nobody is taken below zero."""
    has = max(0, state.risk(row).net_liq)
    return min(has, weight) if stage.among is Among.DAYS_WINNERS else has


def _weights(state: State, stage: Stage) -> dict[int, int]:
    """By row: what it realised since the business day began and has open now; or |notional| of all it holds; or net
    liq."""
    book = state.book
    rows = [row for row in range(book.count) if row not in book.house and row not in book.close_outs]
    rows.sort(key=book.ids.__getitem__)
    if stage.among is Among.BALANCES:
        return {row: state.risk(row).net_liq for row in rows}
    if stage.among is Among.POSITIONS:
        return {row: sum(holding.notional for holding in state.holdings(row)) for row in rows}
    return {row: int(book.won[row]) + sum(holding.profit for holding in state.holdings(row)) for row in rows}
