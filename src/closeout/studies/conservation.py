"""Who bore each deficit, account by account, and the sums that must agree under every rulebook (EX-03 to EX-05).

The deficits come from the receipts, what bore them from the events of the waterfall, debts and the fund from the books:
four ways to the same sums, compared to the micro.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from math import floor

from closeout.engine import ledger as books
from closeout.engine import receipts
from closeout.engine.events import DeficitBooked, DeficitCovered, Deleveraged, Socialised
from closeout.engine.state import State
from closeout.rulebooks.policy import TAKERS, StageKind
from closeout.studies.outcome import BEARERS, OTHER_CASH, SOCIALISED, WINNERS, AccountOutcome, Fund, Funding, Run
from closeout.studies.recorder import Recorder

LIQUIDATION_FEE = "liquidation fee"
FUNDING = "funding"
SURPLUS = "surplus to the insurance fund"
"""What the engine's postings say of themselves."""


def deficits(recorder: Recorder) -> Counter[str]:
    """By account as the engine knows it: the receipts' deficits, and what was borne or owed outside any receipt: in a
    close-out that goes on, or by an account that its owner closed himself."""
    micros = recorder.state.policy.currency.micros_of_text
    found: Counter[str] = Counter()
    issued: set[str] = set()
    for receipt in recorder.receipts:
        found[receipt["account_id"]] += micros(receipt["deficit"])
        issued.add(receipt["receipt_id"])
    for _, event in recorder.borne:
        if isinstance(event, DeficitBooked | DeficitCovered) and event.receipt_id not in issued:
            found[event.account_id] += event.micros
    return found


def gather(recorder: Recorder, outcomes: Iterable[tuple[AccountOutcome, list[str]]]) -> None:
    """Fill in what the waterfall bore for each account and took from it; an account comes with its members' ids."""
    owner = {member: outcome for outcome, members in outcomes for member in members}
    for account_id, amount, beyond in _taken(recorder):
        if account_id in owner:
            owner[account_id].adl_amount += amount
            owner[account_id].adl_beyond += beyond
    for _, event in recorder.borne:
        outcome = owner.get(event.account_id)
        if outcome is None:
            continue  # a house account
        match event:
            case DeficitCovered():
                outcome.covered[event.stage] = outcome.covered.get(event.stage, 0) + event.micros
            case Deleveraged():
                outcome.deleveraged += 1
                outcome.adl_gain += max(-event.taken, 0)
            case Socialised():
                outcome.socialised += event.micros
            case DeficitBooked():
                pass


def _taken(recorder: Recorder) -> Iterator[tuple[str, int, int]]:
    """By winner and transfer what was taken from it to cover a deficit, and what its price took beyond that: in
    proportion, so that both add up to what the transfer covered and went beyond."""
    beyond: Counter[tuple[int, str, str]] = Counter()
    taken: dict[tuple[int, str, str], list[tuple[str, int]]] = {}
    for seq, event in recorder.borne:
        if isinstance(event, DeficitCovered):
            beyond[seq, event.receipt_id, event.stage] += event.beyond
        elif isinstance(event, Deleveraged) and event.taken > 0:
            taken.setdefault((seq, event.receipt_id, event.stage), []).append((event.account_id, event.taken))
    for key, parts in taken.items():
        whole, done, told = sum(micros for _, micros in parts), 0, 0
        for account_id, micros in parts:
            done += micros
            part = beyond[key] * done // whole - told
            told += part
            yield account_id, micros - part, part


def fees(recorder: Recorder) -> tuple[Counter[str], Counter[str]]:
    """By account its trade fees and its liquidation fees, whether the firm or the insurance fund gets them."""
    trade: Counter[str] = Counter()
    liquidation: Counter[str] = Counter()
    for _, _, posting in recorder.postings:
        if posting.reason == LIQUIDATION_FEE:
            liquidation[posting.account_id] += posting.micros
        elif posting.credit == books.FEES:
            trade[posting.account_id] += posting.micros
    return trade, liquidation


def surplus(recorder: Recorder) -> Counter[str]:
    """By account what the insurance fund kept of what close-outs brought."""
    found: Counter[str] = Counter()
    for _, _, posting in recorder.postings:
        if posting.reason == SURPLUS:
            found[posting.account_id] += posting.micros
    return found


def left_with_takers(recorder: Recorder) -> Counter[str]:
    """By account the equity that went with its positions to takers, in close-outs that go on too."""
    micros, takers = recorder.state.policy.currency.micros_of_text, {kind.value for kind in TAKERS}
    found: Counter[str] = Counter()
    for receipt in [*recorder.receipts, *(active.receipt for active in recorder.state.book.close_outs.values())]:
        for transfer in receipt.get("transfers", []):
            if transfer["stage"] in takers:
                found[receipt["account_id"]] += micros(transfer["kept"])
    return found


def funding(recorder: Recorder) -> tuple[Counter[str], Counter[str]]:
    """By account, the house's too, the funding that it paid and that it received: what became cash, and what has
    accrued since."""
    paid: Counter[str] = Counter()
    received: Counter[str] = Counter()
    for _, _, posting in recorder.postings:
        if posting.reason == FUNDING and books.ROUNDING not in (posting.debit, posting.credit):
            (received if posting.debit == books.CLEARING_HOUSE else paid)[posting.account_id] += posting.micros
    book = recorder.state.book
    for row in book.column("accrued").nonzero()[0]:
        accrued = int(book.accrued[row])
        (received if accrued > 0 else paid)[book.ids[row]] += abs(accrued)
    return paid, received


def funding_of(recorder: Recorder, exact: Mapping[str, Fraction]) -> Funding | None:
    """The funding of a run, and beside it what rates and positions come to (`exact`, by contract)."""
    if not exact:
        return None
    paid, received = funding(recorder)
    booked = (posting for _, _, posting in recorder.postings if posting.reason == FUNDING)
    rounding = sum(posting.micros for posting in booked if posting.credit == books.ROUNDING)
    rounding += sum(contract.funding_rounding for contract in recorder.state.contracts.values())
    return Funding(sum(paid.values()), sum(received.values()), rounding, sum(map(floor, exact.values())))


def fund_of(recorder: Recorder) -> Fund | None:
    """The insurance fund's own account of the run; None under a rulebook without one."""
    state = recorder.state
    before = state.policy.insurance_fund
    if before is None:
        return None
    row = state.book.row[books.INSURANCE_FUND]
    moved: Counter[str] = Counter()
    for _, _, posting in recorder.postings:
        for account, other, signed in (
            (posting.credit, posting.debit, posting.micros),
            (posting.debit, posting.credit, -posting.micros),
        ):
            if account == books.INSURANCE_FUND:
                moved["realised" if other == books.CLEARING_HOUSE else "received" if signed > 0 else "paid"] += signed
    profit = sum(holding.profit for holding in state.holdings(row))
    return Fund(before, moved["received"], -moved["paid"], moved["realised"], int(state.book.cash[row]), profit)


def problems(run: Run, recorder: Recorder, outcomes: Mapping[str, list[str]]) -> list[str]:
    """Sums that do not agree, in words. None are expected: a number of such a run is not to be trusted."""
    state, text = recorder.state, run.currency.text
    accounts = run.admitted
    borne = sum(account.borne_by(bearer) for account in accounts for bearer in BEARERS if bearer is not OTHER_CASH)
    own = _from_other_cash(recorder) + _repaid(recorder, {member for ids in outcomes.values() for member in ids})
    taken = sum(account.adl_amount for account in accounts)
    shared = sum(account.socialised for account in accounts)
    checks = [
        ("deficits, and what bore them", sum(account.deficit for account in accounts), borne + own),
        ("taken by deleveraging, and covered by it", taken, sum(account.borne_by(WINNERS) for account in accounts)),
        ("shared losses, and what they covered", shared, sum(account.borne_by(SOCIALISED) for account in accounts)),
        ("the ledger's sum, and zero", run.ledger_imbalance, 0),
        *_fund_checks(run, state),
        *_funding_checks(run, recorder),
    ]
    return [f"{what}: {text(one)} against {text(other)}" for what, one, other in checks if one != other]


def _funding_checks(run: Run, recorder: Recorder) -> list[tuple[str, int, int]]:
    if run.funding is None:
        return []
    house = {recorder.state.book.ids[row] for row in recorder.state.book.house}
    paid, received = funding(recorder)
    own = sum(received[name] - paid[name] for name in house)
    accounts = sum(account.funding_received - account.funding_paid for account in run.admitted)
    return [
        ("funding with its rounding, and rates on what was held", run.funding.outsiders, run.funding.due),
        ("funding of accounts and house, and of all", accounts + own, run.funding.received - run.funding.paid),
    ]


def _fund_checks(run: Run, state: State) -> list[tuple[str, int, int]]:
    fund = run.fund
    if fund is None:
        return []
    cash_paid = sum(account.covered.get(StageKind.INSURANCE_FUND.value, 0) for account in run.admitted)
    return [
        ("what the fund ends with, and its flows", fund.after, fund.before + fund.received - fund.paid + fund.realised),
        ("what the fund ends with, and its ledger account", fund.after, -state.ledger.balances[books.INSURANCE_FUND]),
        ("what the fund paid, and what it covered", fund.paid, cash_paid),
        ("the fund below zero, and zero", min(fund.after, 0), 0),
    ]


def _from_other_cash(recorder: Recorder) -> int:
    """What customers paid of their deficits at once, from cash outside the isolated position."""
    micros = recorder.state.policy.currency.micros_of_text
    parts = (part for receipt in recorder.receipts for part in receipt["borne_by"])
    return sum(micros(part["amount"]) for part in parts if part["party"] == receipts.OTHER_CASH)


def _repaid(recorder: Recorder, members: set[str]) -> int:
    """What customers have paid of their debts since, less what was added to them."""
    paid = 0
    for _, _, posting in recorder.postings:
        if posting.account_id in members:
            paid += posting.micros if posting.credit == books.RECEIVABLE else 0
            added = posting.debit == books.RECEIVABLE and posting.credit not in (books.CUSTOMER_CASH, books.TRANSFER)
            paid -= posting.micros if added else 0
    return paid
