"""Whoever takes positions or bears deficits: no more than is missing, nobody below zero, nothing made or lost."""

from collections import Counter, defaultdict
from random import Random
from typing import Any

import pytest
from tests.model.rulebooks import document
from tests.model.rulebooks_waterfall import FLATTEN, LOTTERY, UNWIND, VENUE, WATERFALLS, adl
from tests.properties.driver import WATERFALL_STREAMS, Desk, recorded_waterfall, replay

from closeout.core.margin import Level
from closeout.engine import closeout
from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine.book import HOUSE, Flag
from closeout.engine.engine import Engine
from closeout.engine.state import State
from closeout.rulebooks.policy import CloseOutMethod

TRADING = (c.Fill, c.TransferPosition, c.CorrectFill, c.Expire, c.OpenBook)
"""Commands that change positions by themselves."""


class Before:
    """What was there before an input: lots by account and contract, and net liqs."""

    def __init__(self, engine: Engine | None) -> None:
        state = engine.state if engine else None
        self.lots: dict[tuple[str, str], int] = {}
        self.net_liq: dict[str, int] = {}
        if state is None:
            return
        for account_id, row in state.book.row.items():
            self.net_liq[account_id] = state.risk(row).net_liq
            for name, contract in state.contracts.items():
                self.lots[account_id, name] = contract.position(row).lots

    def total(self, name: str) -> int:
        return sum(lots for (_, contract), lots in self.lots.items() if contract == name)


def walk(look: Any) -> Counter[str]:
    """Every input of the recorded streams, with what was there before it."""
    reached: Counter[str] = Counter()
    for seed in range(WATERFALL_STREAMS):
        before = [Before(None)]

        def step(engine: Engine, given: c.Input, events: list[e.AnyEvent], before: list[Before] = before) -> None:
            after = Before(engine)
            if engine.state is not None and not any(isinstance(event, e.Rejected) for event in events):
                look(engine.state, given.command, events, before[0], after, reached)
            before[0] = after

        replay(recorded_waterfall(seed), step)
    print(dict(reached))
    return reached


@pytest.mark.rule("EX-03")
def test_the_fund_is_never_below_zero() -> None:
    def look(
        state: State, command: Any, events: list[e.AnyEvent], before: Before, after: Before, reached: Counter[str]
    ) -> None:
        row = state.book.row.get("insurance_fund")
        if row is not None:
            assert int(state.book.cash[row]) >= 0
            paid = any(isinstance(event, e.DeficitCovered) and event.stage == "insurance_fund" for event in events)
            reached["paid"] += paid
            reached["emptied"] += paid and int(state.book.cash[row]) == 0

    reached = walk(look)
    assert reached["paid"] >= 50
    assert reached["emptied"] >= 5


@pytest.mark.rule("EX-04", "EX-05")
def test_what_winners_give_up_is_what_their_stage_gives_the_account() -> None:
    """In each contract the parts taken sum to what the price gave beyond the mark; of that what was missing is covered,
    and the rest is told apart. What is told is what happens to the winner's net liq, but for the rounding of a trade,
    and leaves nobody below zero."""

    def look(
        state: State, command: Any, events: list[e.AnyEvent], before: Before, after: Before, reached: Counter[str]
    ) -> None:
        given: dict[tuple[str, str, str], int] = defaultdict(int)
        taken: dict[str, list[int]] = defaultdict(list)
        covered: Counter[tuple[str, str]] = Counter()
        for event in events:
            if isinstance(event, e.Deleveraged):
                given[event.against, event.stage, event.contract] += event.taken
                taken[event.account_id].append(event.taken)
                reached[event.stage] += 1
            elif isinstance(event, e.DeficitCovered):
                assert min(event.micros, event.beyond) >= 0
                covered[event.account_id, event.stage] += event.micros + event.beyond
                reached["beyond"] += event.beyond > 0
        together: Counter[tuple[str, str]] = Counter()
        for (against, stage, _), micros in given.items():
            together[against, stage] += max(0, micros)
        for key in together:
            assert together[key] == covered[key]
            reached["covered"] += covered[key] > 0
        if isinstance(command, c.OrderDone):  # no mark moved
            check_winners(events, taken, before, after, reached)

    reached = walk(look)
    assert min(reached["auto_deleveraging"], reached["unwind"], reached["covered"]) >= 30
    assert reached["winner's net liq"] >= 15
    assert reached["beyond"] >= 5


def check_winners(
    events: list[e.AnyEvent], taken: dict[str, list[int]], before: Before, after: Before, reached: Counter[str]
) -> None:
    moved = {event.account_id for event in events if isinstance(event, e.CloseOutOrder | e.CloseOutEnded)}
    posted = [event for event in events if isinstance(event, e.Posted)]
    moved |= {event.account_id for event in posted if "transfer" in (event.debit, event.credit)}
    for account_id, parts in taken.items():
        if account_id in moved:  # it paid for something else as well
            continue
        lost = before.net_liq[account_id] - after.net_liq[account_id]
        assert abs(lost - sum(parts)) <= 2 * len(parts), (account_id, lost, parts)
        assert after.net_liq[account_id] >= 0
        reached["winner's net liq"] += 1


TO_WINNERS = [
    {**table, "close_out": FLATTEN, "liquidation_fee": None, "insurance_fund": None, "waterfall": [stage, VENUE]}
    for table in (UNWIND, LOTTERY)
    for stage in (adl("leveraged_return"), {"stage": "unwind"})
]


@pytest.mark.rule("EX-04", "EX-05", "G-01")
def test_the_price_takes_nobody_below_zero_and_passes_over_nobody_who_can_pay() -> None:
    """Winners with what the price takes of all their lots, a few micros more, or a micro less: each part is taken from
    somebody who has zero or more afterwards; who has less than the price takes is passed over."""
    reached: Counter[str] = Counter()
    for seed in range(600):
        random = Random(seed)
        setting = WATERFALLS[3 if seed % 4 < 2 else 4]
        desk, name = Desk(document(TO_WINNERS[seed % 4]), setting.prices), random.choice(list(setting.prices))
        sign, whole = random.choice((-1, 1)), random.randint(1, 3 * setting.sizes[name])
        desk.open("A", random.randint(1, setting.wealth // 100))
        desk.accept(c.DeskAction("A", "hold", "desk", "to set the scene"))
        desk.bring("A", {name: sign * whole})
        for winner in "BCDE":
            desk.open(winner, 10**13)
            desk.bring(winner, {name: -sign * random.randint(1, 2 * setting.sizes[name])})
        price = max(1, desk.prices[name] * (100 - sign * random.randint(30, 70)) // 100)
        for _ in range(2):  # the second confirms the jump
            desk.mark({name: price})
        spare = {winner: random.choice((-1, 0, 2, 3, 3, 4, 10**6)) for winner in "BCDE"}
        for winner, micros in spare.items():
            most = min(abs(desk.position(winner, name)), whole)
            change = -(desk.net_liq("A") * most // whole) + micros - desk.net_liq(winner)
            desk.accept(c.AdjustCash(winner, change, "desk", "second", "to set the scene"))
        desk.accept(c.DeskAction("A", "release_hold", "desk", "go"))
        for order_id in desk.outstanding("A"):
            for event in desk.accept(c.OrderDone(order_id, "nothing within the limit")):
                if isinstance(event, e.Deleveraged):
                    assert desk.net_liq(event.account_id) >= 0
                    assert spare[event.account_id] >= 3
                    reached[f"{event.stage} with {spare[event.account_id]} to spare"] += 1
    print(dict(reached))
    assert min(reached[f"{stage} with {n} to spare"] for stage in ("auto_deleveraging", "unwind") for n in (3, 4)) >= 50


@pytest.mark.rule("G-02", "G-07", "EX-04", "EX-05")
def test_lots_only_change_hands_and_nobodys_position_grows() -> None:
    """Takers, deleveraging and unwinding leave longs less shorts of a contract as they were; every customer's position
    shrinks by them or stays, and none crosses zero. A fill changes the sum by its own lots, and nothing else of its
    account's grows."""

    def look(
        state: State, command: Any, events: list[e.AnyEvent], before: Before, after: Before, reached: Counter[str]
    ) -> None:
        own = getattr(command, "account_id", "") if isinstance(command, TRADING) else ""
        if isinstance(command, c.CorrectFill | c.Expire | c.OpenBook):
            return
        traded = command.contract if isinstance(command, c.Fill | c.TransferPosition) else ""
        for name in state.contracts:
            grown = command.lots if name == traded else 0
            assert after.total(name) - before.total(name) == grown
        for (account_id, name), lots in after.lots.items():
            held = before.lots.get((account_id, name), 0)
            if account_id in HOUSE or (account_id == own and name == traded):
                continue
            assert lots * held >= 0
            assert abs(lots) <= abs(held)
            reached["shrunk without a trade"] += lots != held
        reached["taken over"] += any(
            after.lots[key] != before.lots.get(key, 0) for key in after.lots if key[0] in HOUSE[1:]
        )

    reached = walk(look)
    assert min(reached["shrunk without a trade"], reached["taken over"]) >= 50


@pytest.mark.rule("G-08", "EX-02")
def test_below_the_line_there_is_a_plan_or_nothing_is_held() -> None:
    """Whoever is below its line and not held by the desk is being closed out; where no order is out, no market takes
    one, or the step has tried and is on again at the next look."""

    def look(
        state: State, command: Any, events: list[e.AnyEvent], before: Before, after: Before, reached: Counter[str]
    ) -> None:
        if not getattr(command, "last", True):
            return
        for row in range(state.book.count):
            if row in state.book.house:
                continue
            active, risk = state.book.close_outs.get(row), state.risk(row)
            if risk.level is Level.LIQUIDATING and not closeout.held(state, row):
                assert active is not None
            if active is None:
                assert state.level(row) is not Level.LIQUIDATING
                continue
            assert state.holdings(row) or active.outstanding
            if active.outstanding or (closeout.held(state, row) and not state.book.has(row, Flag.LIQUIDATE_NOW)):
                reached["orders out"] += bool(active.outstanding)
                continue
            waits = all(active.queued.get(holding.contract.name) for holding in state.holdings(row))
            method = state.policy.close_out.steps[min(active.step, len(state.policy.close_out.steps) - 1)].method
            later = active.paused or (method is CloseOutMethod.REDUCE_BY_SHARE and active.sent_at is not None)
            reached["paused" if active.paused else "queued" if waits else "later"] += 1
            assert waits or later

    reached = walk(look)
    assert min(reached["orders out"], reached["queued"], reached["paused"]) >= 50


@pytest.mark.rule("G-07", "G-08", "EX-02")
def test_it_ends() -> None:
    """However often the market takes nothing, each answer brings at most an order a position, and as soon as it takes
    something everything comes to an end."""
    reached: Counter[str] = Counter()
    for seed in range(200):
        random, setting = Random(seed), WATERFALLS[seed % len(WATERFALLS)]
        desk = Desk(setting.document, setting.prices)
        for account_id in "ABCDE":
            desk.open(account_id, random.randint(1, setting.wealth))
        name = random.choice(list(setting.prices))
        for other in "ABCDE":
            for contract in {name, random.choice(list(setting.prices))}:
                lots = random.choice((-1, 1)) * random.randint(1, 3 * setting.sizes[contract])
                desk.bring(other, {contract: lots})
        for name in setting.prices:
            desk.mark({name: max(1, desk.prices[name] * random.choice((80, 90, 110, 120)) // 100)})
            desk.mark({name: desk.prices[name]})  # confirms the jump
        answers = settle_down(desk, random, unfilled=random.choice((0.3, 0.7, 1.0)))
        reached["had to be answered"] += answers > 0
        reached["others took it"] += any(
            desk.position(house, n) for house in HOUSE[1:] for n in setting.prices if house in desk.state.book.row
        )
    print(dict(reached))
    assert min(reached.values()) >= 20


def settle_down(desk: Desk, random: Random, unfilled: float) -> int:
    """Answers close-out orders until there are none: some without any fill, all of them for a while at 1.0."""
    answers = looks = 0
    while desk.state.book.close_outs:
        out = [(a, o, n, lots) for a in "ABCDE" for o, (n, lots) in desk.outstanding(a).items()]
        if not out:
            desk.time += 30 * 10**9
            desk.mark(dict(desk.prices))  # a look
            looks += 1
        elif random.random() < unfilled and answers < 60:
            order_id = random.choice(out)[1]
            events = desk.accept(c.OrderDone(order_id, "nothing within the limit"))
            sent = [event for event in events if isinstance(event, e.CloseOutOrder)]
            assert len(sent) <= 5 * len(desk.prices)
            answers += 1
        else:
            account_id, order_id, name, lots = random.choice(out)
            desk.fill(account_id, name, lots, desk.prices[name], order_id)
            answers += 1
        assert answers + looks < 600
    return answers
