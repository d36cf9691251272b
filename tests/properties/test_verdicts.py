"""Verdicts: always up to date, blind to sides and scale, harsher without knowledge, shown where they fall."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from tests.model.rulebooks import SETTINGS
from tests.properties.driver import DOLLARS, PRICES, Desk, all_recorded, dollars, orders, replay, us_with

from closeout.core.margin import Level
from closeout.core.prices import bankruptcy_price, liquidation_price
from closeout.engine import closeout, scan
from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine.book import HOUSE
from closeout.engine.engine import Engine


@pytest.mark.rule("G-12", "G-13")
def test_the_stored_level_is_always_a_full_recompute() -> None:
    """After every kind of input, for every account: one by one, and by the scan of all."""
    kinds: Counter[str] = Counter()

    def look(engine: Engine, given: c.Input, events: list[e.AnyEvent]) -> None:
        state = engine.state
        if state is None or not getattr(given.command, "last", True):
            return
        net_liq, requirement, levels = scan.levels(state)
        for account_id, row in state.book.row.items():
            risk = state.risk(row)
            assert (risk.net_liq, risk.requirement) == (int(net_liq[row]), int(requirement[row]))
            assert int(risk.level) == int(levels[row])
            if account_id in HOUSE:
                continue
            expected = risk.level
            if row in state.book.close_outs:
                expected = Level.LIQUIDATING
            elif expected is Level.LIQUIDATING:
                assert closeout.held(state, row)
                expected = Level.LIQUIDATE_ONLY
            assert state.level(row) is expected, f"{account_id} after {given.command}"
        kinds[type(given.command).__name__] += not any(isinstance(event, e.Rejected) for event in events)

    for inputs in all_recorded():
        replay(inputs, look)
    print(dict(kinds))
    assert len(kinds) >= 26
    assert min(kinds.values()) >= 1
    assert sum(count >= 50 for count in kinds.values()) >= 12


def drive(rulebook: bytes, steps: list[tuple[str, Any]], side: int, lot: int) -> tuple[list[Any], Counter[str]]:
    """What a book does under a list of steps. `side` -1 flips every position and every price move; `lot` multiplies
    quantities. What is told is in money, and in lots as of side 1 and lot 1."""
    first = {name: 0 for name in PRICES} if side else PRICES
    desk = Desk(rulebook, first)
    for account_id in ("A", "B"):
        desk.open(account_id, 30_000_000_000)
    told: list[Any] = []
    reached: Counter[str] = Counter()
    for kind, (account_id, name, amount, price) in steps:
        if kind == "mark":
            told.append(_heard(desk.mark({name: side * price}), side, lot))
        elif kind == "fill":
            told.append(_heard(desk.fill(account_id, name, side * lot * amount, side * price), side, lot))
        else:
            for order_id, (contract, lots) in desk.outstanding(account_id).items():
                at = desk.prices[contract] - side * amount
                told.append(_heard(desk.fill(account_id, contract, lots, at, order_id), side, lot))
                reached["close-out"] += 1
        for a in ("A", "B"):
            risk = desk.state.risk(desk.row(a))
            told.append((desk.level(a), risk.net_liq, risk.requirement, int(desk.state.book.receivable[desk.row(a)])))
    reached["deficit"] += any(event[0] == "deficit" for heard in told if isinstance(heard, list) for event in heard)
    return told, reached


def _heard(events: list[e.AnyEvent], side: int, lot: int) -> list[tuple]:
    found: list[tuple] = []
    for event in events:
        if isinstance(event, e.CloseOutOrder):
            assert event.lots % lot == 0
            found.append(("order", event.account_id, event.contract, side * event.lots // lot))
        elif isinstance(event, e.DeficitBooked):
            found.append(("deficit", event.account_id, event.micros))
    return found


def steps_for(random: Random) -> list[tuple[str, Any]]:
    """Trades, marks and fills of close-outs; prices are moves from zero, which a mirror flips."""
    price = {name: 0 for name in PRICES}
    found: list[tuple[str, Any]] = []
    for _ in range(40):
        account_id, name = random.choice("AB"), random.choice(list(PRICES))
        kind = random.choice(("mark", "mark", "fill", "close"))
        if kind == "mark":
            price[name] += random.choice((-1, 1)) * random.randint(1, random.choice((20, 200, 2000)))
        lots = random.choice((-1, 1)) * random.randint(1, 8)
        slip = random.choice((0, 0, 10, 400))
        found.append((kind, (account_id, name, slip if kind == "close" else lots, price[name])))
    return found


@pytest.mark.rule("G-01", "G-14")
def test_mirror_and_scale() -> None:
    """All sides and moves flipped: the same verdicts and money. A contract ten times smaller, ten times as many
    lots: the same money, closed in full (whole lots are another size)."""
    reached: Counter[str] = Counter()
    whole = us_with(
        {"MES": dollars("5", "50", "2500"), "CL": dollars("100", "150", "700")},
        marks={"jump": "100", "stale_after_seconds": 10**6, "unpriced_move": "0.5"},
        close_out={"method": "flatten_all"},
    )
    tenth = us_with(
        {"MES": dollars("0.5", "5", "250"), "CL": dollars("10", "15", "70")},
        marks={"jump": "100", "stale_after_seconds": 10**6, "unpriced_move": "0.5"},
        close_out={"method": "flatten_all"},
    )
    for seed in range(150):
        steps = steps_for(Random(seed))
        told, count = drive(DOLLARS, steps, 1, 1)
        assert drive(DOLLARS, steps, -1, 1)[0] == told
        scaled, more = drive(whole, steps, 1, 1)
        assert drive(tenth, steps, 1, 10)[0] == scaled
        reached += count + more
    print(dict(reached))
    assert reached["close-out"] >= 100
    assert reached["deficit"] >= 100


@pytest.mark.rule("G-06", "G-18")
def test_less_knowledge_never_helps() -> None:
    """Without a mark, or after it is lost: net liq not higher, requirement not lower, an alarm, no new risk."""
    reached: Counter[str] = Counter()
    for seed in range(200):
        random = Random(seed)
        setting = SETTINGS[seed % len(SETTINGS)]
        names = list(setting.prices)
        hidden = random.choice(names)
        known, blind = (
            Desk(setting.document, setting.prices),
            Desk(setting.document, {n: p for n, p in setting.prices.items() if n != hidden}),
        )
        lots = {n: random.choice((-1, 1)) * random.randint(1, setting.sizes[n]) for n in names}
        for desk in (known, blind):
            desk.prices = dict(setting.prices)
            desk.open("A", 10**13)
            events = desk.bring("A", lots)
        assert [event.code for event in events if isinstance(event, e.Alarm)] == ["unpriced"]
        known.mark({hidden: max(1, setting.prices[hidden] * random.randint(70, 130) // 100)})
        risk, blind_risk = (desk.state.risk(desk.row("A")) for desk in (known, blind))
        assert blind_risk.net_liq <= risk.net_liq
        assert blind_risk.requirement >= risk.requirement
        assert "withdrawn" not in _answer(blind, c.Withdraw("A", 1))
        assert "approved" not in _answer(blind, c.CheckOrder("A", "o1", names[0], lots[names[0]]))
        reached["unpriced"] += 1
        lost = known.accept(c.Marks((c.Mark(hidden, None),)))
        assert [event.code for event in lost if isinstance(event, e.Alarm)] == ["mark_missing"]
        after = known.state.risk(known.row("A"))
        assert (after.net_liq, after.requirement) == (risk.net_liq, risk.requirement)
        assert "approved" not in _answer(known, c.CheckOrder("A", "o1", hidden, lots[hidden]))
        reached["lost"] += 1
    print(dict(reached))
    assert min(reached.values()) >= 100


def _answer(desk: Desk, command: Any) -> str:
    events = desk.put(command)
    if any(isinstance(event, e.Rejected | e.OrderRefused) for event in events):
        return "no"
    return "approved" if isinstance(command, c.CheckOrder) else "withdrawn"


@pytest.mark.rule("G-05")
def test_the_shown_prices_are_where_verdicts_fall() -> None:
    """Put in as the mark: at the liquidation price nothing is closed, a tick beyond it is; at the bankruptcy
    price net liq is zero to one tick."""
    reached: Counter[str] = Counter()
    plain = [setting for setting in SETTINGS if setting.name != "reference"]
    for seed in range(300):
        random = Random(seed)
        setting = plain[seed % len(plain)]
        prices = dict(setting.prices)
        desk = Desk(setting.document, prices)
        desk.open("A")
        desk.accept(c.DeskAction("A", "hold", "desk", "to set the scene"))
        lots = {n: random.choice((-1, 1)) * random.randint(1, setting.sizes[n]) for n in random.sample(list(prices), 2)}
        desk.bring("A", lots)
        row = desk.row("A")
        line = desk.state.risk(row).lines[2]
        desk.accept(c.Deposit("A", line + random.randint(1, max(2, line // 2))))
        holdings, money, floor = desk.state.holdings(row), desk.state.money(row), desk.state.policy.net_liq_floor
        index = random.randrange(2)
        name = holdings[index].contract.name
        shown = liquidation_price(money, holdings, index, floor)
        bankrupt = bankruptcy_price(money, holdings, index)
        if shown is not None and abs(shown - prices[name]) * 5 < abs(prices[name]):  # nearer than a jump
            desk.mark({name: shown})
            desk.accept(c.DeskAction("A", "release_hold", "desk", "go"))
            assert desk.level("A") != "liquidating"
            beyond = shown + (1 if shown > prices[name] or (shown == prices[name] and lots[name] < 0) else -1)
            events = desk.mark({name: beyond})
            assert desk.level("A") == "liquidating"
            assert orders(events)
            reached["liquidation price"] += 1
        if bankrupt is not None:
            worse = bankrupt + (-1 if lots[name] > 0 else 1)
            rest = money.sum + sum(h.profit for h in holdings if h.contract.name != name)
            own = holdings[index]
            assert rest + own.at(bankrupt).profit >= 0 > rest + own.at(worse).profit
            reached["bankruptcy price"] += 1
    print(dict(reached))
    assert min(reached["liquidation price"], reached["bankruptcy price"]) >= 100
