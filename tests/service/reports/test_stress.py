"""The stress over columns is what one account after the other comes to, and what a book of two comes to by hand."""

from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin
from tests.service.reports.books import DAYS, edition, mixed_book

from closeout.core.outlook import WORST_GAPS, Account, could_owe, gapped
from closeout.core.risk import assess
from closeout.core.units import RATE
from closeout.engine.book import SUSPENSE
from closeout.engine.state import State
from closeout.service import views
from closeout.service.reports.figures import freeze
from closeout.service.reports.press import debts_sheet, stress_sheet
from closeout.service.reports.stress import Move, Outcome, moves, stress


def one_by_one(state: State, move: Move) -> dict[str, tuple[bool, int]]:
    """Of each customer's account whether anything of it is closed out after the move, and what it then owes."""
    book = state.book
    own = [row for row in range(book.count) if row not in book.parent and book.ids[row] != SUSPENSE]
    return {book.ids[row]: _alone(state, move, row) for row in own}


def _alone(state: State, move: Move, row: int) -> tuple[bool, int]:
    children = [child for child, parent in state.book.parent.items() if parent == row]
    after = {child: _left(state, move, child) for child in children}
    left = sum(micros or 0 for micros in after.values())
    cash, accrued, pending, receivable = (
        int(state.book.column(name)[row]) for name in ("cash", "accrued", "pending", "receivable")
    )
    unpaid = max(0, -left - max(0, cash))
    mine = _left(state, move, row, left)
    if not state.holdings(row):
        owed = max(0, -(cash + accrued - pending - receivable + left))
    else:
        owed = receivable + unpaid if mine is None else max(0, -mine)
    if set(move.contracts) == set(state.contracts):  # then it is what the account's page shows, whose fees are its own
        cross, *isolated = [part.account() for part in views.parts(state, row)]
        assert owed == could_owe(cross, isolated, move.rate, state.policy.net_liq_floor, -1)
    return mine is not None or any(micros is not None for micros in after.values()), owed


def _left(state: State, move: Move, row: int, more: int = 0) -> int | None:
    """Net liq after everything was closed and paid for; None where nothing is closed."""
    floor, part = state.policy.net_liq_floor, _account(state, move, row)
    risk = assess(part.money, part.holdings, floor)
    net_liq = risk.net_liq + more
    if not part.holdings or (net_liq >= risk.lines[2] and (floor is None or net_liq > floor)):
        return None
    fees = sum(one.contract.trade_fee(one.mark, one.lots) for one in part.holdings if one.mark is not None)
    return net_liq - fees - _fee(state, row)


def _account(state: State, move: Move, row: int) -> Account:
    held = [
        gapped(one, move.rate) if one.contract.name in move.contracts else one for one in state.holdings(row)
    ]  # fmt: skip
    return Account(state.money(row), tuple(held))


def _fee(state: State, row: int) -> int:
    """What the next liquidation costs beyond what is pending."""
    if row in state.book.close_outs and state.book.close_outs[row].fee:
        return 0
    policy = state.policy
    return policy.liquidation_fee.later if int(state.book.liquidations[row]) else policy.liquidation_fee.first


@pytest.mark.rule("US-18", "US-19", "US-22")
@pytest.mark.parametrize("seed", range(1, 6))
def test_all_accounts_at_once_come_to_what_each_comes_to_alone(seed: int) -> None:
    state = mixed_book(seed).state
    outcomes = stress(freeze(state))
    assert [outcome.move for outcome in outcomes] == moves(state.policy)
    for outcome in outcomes:
        alone = one_by_one(state, outcome.move)
        owing = {name: owed for name, (_, owed) in alone.items() if owed}
        assert outcome.closed_out == sum(closed for closed, _ in alone.values())
        assert (outcome.would_owe, outcome.debts) == (len(owing), sum(owing.values()))
        assert [debt.owed for debt in outcome.largest] == sorted(owing.values(), reverse=True)[:10]
        assert {debt.account_id: debt.owed for debt in outcome.largest}.items() <= owing.items()
        already = {state.book.ids[row]: int(state.book.receivable[row]) for row in state.book.debts}
        assert outcome.new_debts == sum(max(0, owed - already.get(name, 0)) for name, owed in owing.items())
    assert max(outcome.would_owe for outcome in outcomes) > 5
    assert max(outcome.closed_out for outcome in outcomes) > min(outcome.closed_out for outcome in outcomes)


def pair() -> Desk:
    """A long and B short two contracts at 1,000, with 500 each; C owes 637 and holds nothing. No fees."""
    car = flat_margin("50", session="cme_equity")
    desk = Desk("kraken-us", {"contracts": {"CAR": car}, "liquidation_fee": {"first": "0", "later": "0"}})
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("C", "1000")
    desk.trade("C", "CAR", "4", "1000")
    desk.marks(CAR="780")
    desk.close_at("C", "590.75")
    desk.marks(CAR="1000")
    for name, quantity in (("A", "2"), ("B", "-2")):
        desk.account(name, "500", owner=f"owner of {name}")
        desk.hold(name, "CAR", quantity, "1000")
    return desk


@pytest.mark.rule("US-22")
def test_a_book_of_two_by_hand() -> None:
    """A falls 400 at -20 % and keeps 100, as much as its margin; at +20 % B does. Nothing is owed but C's old debt."""
    desk = pair()
    by_move = {
        outcome.move.rate: outcome for outcome in stress(freeze(desk.state)) if outcome.move.what == "all contracts"
    }
    for move, outcome in by_move.items():
        assert outcome.variation == 0  # long and short are equal
        assert (outcome.would_owe, outcome.debts, outcome.new_debts) == (1, desk.micros("637"), 0)
        assert (outcome.cash_needed, outcome.closed_out) == (0, 0), move
        assert outcome.largest[0].account_id == "C"


@pytest.mark.rule("US-22")
def test_a_lopsided_book_by_hand() -> None:
    """Without B: at -20 % A's loss of 400 is due to the clearing house; with 300 left A would owe 100 besides."""
    desk = pair()
    desk.fill("B", "CAR", "2", "1000")
    desk.done(desk.withdraw("A", "200"))
    outcomes: dict[int, Outcome] = {
        o.move.rate: o for o in stress(freeze(desk.state)) if o.move.what == "all contracts"
    }
    worst = outcomes[-RATE // 5]
    assert (worst.variation, worst.new_debts) == (desk.micros("400"), desk.micros("100"))
    assert worst.cash_needed == desk.micros("500")
    assert (worst.closed_out, worst.would_owe, worst.debts) == (1, 2, desk.micros("737"))
    assert [(debt.account_id, debt.owed, debt.new) for debt in worst.largest] == [
        ("C", desk.micros("637"), 0),
        ("A", desk.micros("100"), desk.micros("100")),
    ]
    assert worst.largest[1].net_liq == desk.micros("300")
    gain = outcomes[RATE // 5]
    assert (gain.variation, gain.cash_needed, gain.closed_out) == (desk.micros("-400"), 0, 0)


@pytest.mark.rule("US-10", "US-22")
def test_the_fee_is_that_of_the_account_s_next_liquidation() -> None:
    car = flat_margin("50", session="cme_equity")
    desk = Desk("kraken-us", {"contracts": {"CAR": car}, "liquidation_fee": {"first": "10", "later": "30"}})
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    for name in ("A", "B"):
        desk.account(name, "300")
    desk.trade("B", "CAR", "2", "1000")
    desk.marks(CAR="870")
    desk.close_at("B", "870")
    desk.marks(CAR="1000")
    desk.deposit("B", desk.money(desk.micros("300") - int(desk.state.book.cash[desk.state.row("B")])))
    for name in ("A", "B"):
        desk.hold(name, "CAR", "2", "1000")
    (worst,) = (o for o in stress(freeze(desk.state)) if o.move.rate == -RATE // 5)
    assert {debt.account_id: debt.owed for debt in worst.largest} == {
        "A": desk.micros("110"),
        "B": desk.micros("130"),
    }


@pytest.mark.rule("US-19", "US-22")
def test_gaps_move_the_contracts_that_the_rulebook_says_and_the_page_says_which() -> None:
    desk = mixed_book(1)
    gaps = [outcome for outcome in stress(freeze(desk.state)) if outcome.move.what != "all contracts"]
    assert [(o.move.rate, o.move.what) for o in gaps] == [(gap.move, gap.what) for gap in WORST_GAPS]
    assert {o.move.what.partition(",")[0]: o.move.contracts for o in gaps} == {
        "BTCUSDT": ("PBTCUCZ50",), "SOLUSDT": ("PSOLUZ50",),
    }  # fmt: skip
    notes = stress_sheet(stress(freeze(desk.state)), edition(desk, DAYS[4])).notes
    assert notes[0] == "Gaps of SOLUSDT move PSOLUZ50."
    assert "MBT" in notes[2]


def test_a_rulebook_without_the_market_leaves_its_gaps_out() -> None:
    desk = Desk("reference")
    found = [move for move in moves(desk.state.policy) if move.what != "all contracts"]
    assert {name for move in found for name in move.contracts} == {"BTCUSDT", "SOLUSDT"}


@pytest.mark.rule("US-22")
def test_the_sheets_say_what_the_outcomes_do() -> None:
    desk = mixed_book(2)
    outcomes, made = stress(freeze(desk.state)), edition(desk, DAYS[4])
    rows: list[dict[Any, dict[str, Any]]] = []
    for sheet in (stress_sheet(outcomes, made), debts_sheet(outcomes, made)):
        names = [column.name for column in sheet.report.columns]
        rows.append({row[:3]: dict(zip(names, row, strict=True)) for row in sheet.rows()})
    by_move, debts = rows
    assert len(by_move) == len(outcomes) == 15
    assert next(iter(by_move.values()))["move"] == "-0.20"
    for outcome, row in zip(outcomes, by_move.values(), strict=True):
        assert row["cash_needed"] == outcome.new_debts + max(0, outcome.variation)
        assert row["largest_debt"] == (outcome.largest[0].owed if outcome.largest else 0)
    assert len(debts) == sum(len(outcome.largest) for outcome in outcomes)


def test_what_happens_afterwards_does_not_reach_the_copy() -> None:
    desk = pair()
    copy = freeze(desk.state)
    before = stress(copy)
    desk.deposit("A", "1000")
    desk.marks(CAR="900")
    desk.account("D", "5000")
    desk.hold("D", "CAR", "3", "1000")
    assert stress(copy) == before
    assert stress(freeze(desk.state)) != before


@pytest.mark.rule("US-22", "EX-05")
@pytest.mark.parametrize("last", ["customer_owes", "venue_bears"])
def test_where_liability_is_limited_the_sheets_say_that_nobody_owes_a_deficit(last: str) -> None:
    desk = Desk("reference", {"waterfall": [{"stage": last}]})
    outcomes, made = stress(freeze(desk.state)), edition(desk, DAYS[4])
    sentence = "reference limits liability: what stands here as debt is a deficit, not borne by the customer."
    for sheet in (stress_sheet(outcomes, made), debts_sheet(outcomes, made)):
        assert (sentence in sheet.notes) == (last == "venue_bears")
