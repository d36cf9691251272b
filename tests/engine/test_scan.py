"""The scan over all accounts says what judging them one by one says (G-12, G-19)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import SUSPENSE
from closeout.engine.candidates import candidates
from closeout.engine.engine import Engine
from closeout.engine.scan import levels
from closeout.rulebooks.loader import load

TIERS = [
    {"notional_from": "0", "intraday_margin_rate": "0.05", "initial_margin_rate": "0.1"},
    {"notional_from": "2500.01", "intraday_margin_rate": "0.07", "initial_margin_rate": "0.2"},
    {
        "notional_from": "9000",
        "initial_margin_rate": "0.3",
        "maintenance_margin_rate": "0.25",
        "maintenance_amount": "1",
    },
]
CONTRACTS: dict[str, Any] = {
    "ONE": {"tick": "0.01", "lot": "1", "tiers": TIERS, "session": "cme_equity"},
    "FINE": {"tick": "0.01", "lot": "0.0001", "contract_size": "0.3", "tiers": TIERS, "session": "cme_crypto"},
    "LOTS": {
        "tick": "0.25", "lot": "1", "contract_size": "5", "session": "cme_equity",
        "tiers": [{"notional_from": "0", "intraday_margin": "33.33", "initial_margin": "100"}],
    },
    "COIN": {"kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "100", "tiers": TIERS},
    "BRACKETS": {
        "tick": "0.01", "lot": "1", "session": "cme_equity", "taker_fee": "0.0007", "close_fee_in_requirement": True,
        "tiers": [
            {"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"},
            {
                "notional_from": "3000", "initial_margin_rate": "0.2", "initial_amount": "300",
                "maintenance_margin_rate": "0.1", "maintenance_amount": "150",
            },
        ],
    },
    "ENTRY": {
        "tick": "0.01", "lot": "1", "tiers": TIERS, "session": "cme_crypto", "requirement_base": "entry",
        "taker_fee": "0.0003", "close_fee_in_requirement": True,
    },
    "BENT": {
        "kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "100", "session": "cme_equity",
        "tiers": [
            {
                "intraday_margin_rate": "0.01", "initial_margin_rate": "0.02", "initial_margin_slope": "0.037",
                "maintenance_margin_rate": "0.01", "maintenance_margin_slope": "0.02",
            },
            {
                "notional_from": "20", "intraday_margin_rate": "0.4",
                "initial_margin_rate": "0.5", "initial_margin_slope": "0.04",
            },
        ],
    },
    "ROOT": {
        "tick": "0.01", "lot": "1", "session": "cme_crypto",
        "tiers": [{"intraday_margin_rate": "0.02", "initial_margin_rate": "0.03", "initial_margin_root": "0.0119"}],
    },
    "PER_LOT": {
        "tick": "0.01", "lot": "1", "session": "cme_crypto",
        "tiers": [{"intraday_margin_rate": "0.02", "initial_margin_rate": "0.03", "initial_margin_slope": "0.0019"}],
    },
}  # fmt: skip
NAMES = list(CONTRACTS)
RULEBOOK = load("kraken-us", {"contracts": CONTRACTS})

signed_lots = st.integers(-400, 400).filter(bool)
position = st.tuples(st.sampled_from(NAMES), signed_lots, st.integers(-200, 200))
account = st.tuples(st.integers(0, 10**10), st.lists(position, max_size=4), st.booleans())
happening = st.one_of(
    st.tuples(st.just("marks"), st.dictionaries(st.sampled_from(NAMES), st.integers(1, 40_000), min_size=1)),
    st.tuples(st.just("session"), st.tuples(st.sampled_from(["cme_equity", "cme_crypto"]), st.booleans())),
    st.tuples(
        st.just("news"),
        st.tuples(st.sampled_from(NAMES), st.sampled_from([0, 4 * 10**9, 2_500_000_001]), st.booleans()),
    ),
    st.tuples(st.just("funding"), st.tuples(st.sampled_from(NAMES), st.integers(-(10**7), 10**7))),
)


def offer(engine: Engine, command: Any) -> list[ev.AnyEvent]:
    return engine.apply(c.Input("s", engine.sources.get("s", 0) + 1, 10**18, command))


def populate(engine: Engine, accounts: list[tuple[int, list[tuple[str, int, int]], bool]]) -> None:
    for number, (cash, positions, held) in enumerate(accounts):
        account_id = f"a{number:02}"
        offer(engine, c.OpenAccount(account_id))
        if cash:
            offer(engine, c.Deposit(account_id, cash))
        if held:
            offer(engine, c.DeskAction(account_id, "hold", "ann", "x"))
        for name, lots, away in positions:
            facts = engine.loaded.contract(name).contract
            cost = facts.value(2000, lots) + away * facts.unit_value
            offer(engine, c.TransferPosition(account_id, name, lots, cost))


def check(engine: Engine) -> None:
    state = engine.loaded
    net_liq, requirement, level = levels(state)
    for row, account_id in enumerate(state.book.ids):
        risk = state.risk(row)
        assert (net_liq[row], requirement[row], level[row]) == (risk.net_liq, risk.requirement, risk.level), account_id
    assert engine.imbalances() == []
    # After an input that judged everybody, nobody is left whose verdict would differ.
    active = {row for row, close_out in state.book.close_outs.items() if not close_out.outstanding}
    left = set(candidates(state).tolist()) - active - {state.book.row[SUSPENSE]}
    assert left == set()


@pytest.mark.rule("G-12", "G-19", "G-02")
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(account, min_size=1, max_size=8), st.lists(happening, max_size=12))
def test_the_scan_and_the_single_verdict_agree_on_every_number(
    accounts: list[tuple[int, list[tuple[str, int, int]], bool]], happenings: list[tuple[str, Any]]
) -> None:
    engine = Engine()
    offer(engine, c.LoadRulebook(RULEBOOK.document()))
    populate(engine, accounts)
    for kind, what in happenings:
        if kind == "marks":
            offer(engine, c.Marks(tuple(c.Mark(name, ticks) for name, ticks in what.items())))
        elif kind == "session":
            offer(engine, c.SessionChange(what[0], "intraday" if what[1] else "end_of_day", True))
        elif kind == "news":
            offer(engine, c.NewsWindow((what[0],), what[1], what[2], "ann", "x"))
        else:
            offer(engine, c.AccrueFunding(what[0], what[1]))
        check(engine)


@pytest.mark.rule("G-12", "G-04")
@settings(max_examples=60)
@given(st.integers(1, 300), st.sampled_from([-1, 1]), st.integers(1, 5000), st.sampled_from([-1, 0, 1]))
def test_the_scan_is_exact_to_the_micro_at_the_line(lots: int, side: int, ticks: int, micro: int) -> None:
    engine = Engine()
    offer(engine, c.LoadRulebook(RULEBOOK.document()))
    offer(engine, c.Marks((c.Mark("ONE", ticks),)))
    offer(engine, c.OpenAccount("a"))
    state = engine.loaded
    facts = state.contract("ONE").contract
    offer(engine, c.DeskAction("a", "hold", "ann", "look only"))
    offer(engine, c.TransferPosition("a", "ONE", side * lots, facts.value(ticks, side * lots)))
    requirement = state.risk(state.row("a")).requirement
    offer(engine, c.Deposit("a", requirement + micro))
    _, _, level = levels(state)
    assert (level[state.row("a")] == Level.LIQUIDATING) == (micro < 0)
    assert state.risk(state.row("a")).level == level[state.row("a")]
    assert state.level(state.row("a")) is (Level.LIQUIDATE_ONLY if micro < 0 else Level.ALERT)


@pytest.mark.rule("US-17", "G-12")
def test_a_mark_meets_a_margin_call_while_a_close_out_order_is_out() -> None:
    desk = Desk("kraken-us", {"contracts": {"CAR": flat_margin("50", "300", session="cme_equity")}})
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "40")
    desk.hold("A", "CAR", "2", "1000")
    assert desk.outstanding("A") == [("CAR", "-2")]
    (issued,) = of(desk.done(c.BusinessDay("2026-06-11")), ev.MarginCallChanged)
    assert issued.status == "issued"
    (met,) = of(desk.marks(CAR="1400"), ev.MarginCallChanged)
    assert (met.call_id, met.status, met.micros) == (issued.call_id, "met", 0)
    assert desk.outstanding("A") == [("CAR", "-2")]


@pytest.mark.rule("G-12")
def test_what_is_posted_to_nobody_moves_no_account_of_the_index() -> None:
    """What the house settles for all is posted to no account, row -1: as a place in a column the last account's."""
    tiers = [{"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}]
    fine = {"tick": "0.0000001", "lot": "0.1", "contract_size": "0.3", "tiers": tiers}
    book = load("reference", {"contracts": {"FINE": fine}})
    scanning = Engine(index_from=10**9)
    inputs: list[Any] = [c.LoadRulebook(book.document()), c.Marks((c.Mark("FINE", 25_000_000_123),))]
    for number in range(128):
        name = f"u{number:03}"  # behind the house's own in the snapshot, which lists accounts by id
        inputs += [c.OpenAccount(name), c.Deposit(name, 40_000_000)]
        inputs.append(c.Fill(name, "FINE", 3, 25_000_000_123, "", name))
    for number, command in enumerate(inputs, 1):
        scanning.apply(c.Input("desk", number, number, command))
    indexed = Engine.restore(scanning.snapshot(), index_from=0)
    after: list[Any] = []
    for ticks in (25_000_000_123, 25_000_001_123, 25_000_002_123, 20_000_000_000):
        after += [c.Marks((c.Mark("FINE", ticks),)), c.AccrueFunding("FINE", 999_999), c.BookFunding()]
        after += [c.Marks((c.Mark("FINE", ticks),)), c.BusinessDay("2026-06-10"), c.Marks((c.Mark("FINE", ticks),))]
    for number, command in enumerate(after, len(inputs) + 1):
        given_input = c.Input("desk", number, number, command)
        assert indexed.apply(given_input) == scanning.apply(given_input)
    assert indexed.snapshot() == scanning.snapshot()
