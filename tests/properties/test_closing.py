"""Close-outs start, shrink what there is, cure with no lot to spare, and end."""

from collections import Counter
from random import Random

import pytest
from tests.model.rulebooks import SETTINGS, Setting
from tests.properties.driver import DOLLARS, PRICES, Desk, orders

from closeout.core.margin import held_requirement, line
from closeout.engine import commands as c
from closeout.engine import events as e

EXAMPLES = 300
REDUCING = [setting for setting in SETTINGS if setting.name in ("us", "tiered", "coin")]


def drawn(random: Random, setting: Setting) -> tuple[Desk, dict[str, int]]:
    """An account with positions and no money; the desk holds it, so that nothing is closed yet."""
    desk = Desk(setting.document, setting.prices)
    desk.open("A")
    desk.accept(c.DeskAction("A", "hold", "desk", "to set the scene"))
    names = random.sample(list(setting.prices), random.randint(1, len(setting.prices)))
    positions = {name: random.choice((-1, 1)) * random.randint(1, setting.sizes[name]) for name in names}
    desk.bring("A", positions)
    return desk, positions


def set_net_liq(desk: Desk, wanted: int) -> None:
    change = wanted - desk.net_liq("A")
    if change > 0:
        desk.accept(c.Deposit("A", change))
    elif change < 0:
        desk.accept(c.AdjustCash("A", change, "desk", "second", "to set the scene"))
    assert desk.net_liq("A") == wanted


def release(desk: Desk) -> list[e.AnyEvent]:
    return desk.accept(c.DeskAction("A", "release_hold", "desk", "go"))


@pytest.mark.rule("G-04", "G-08")
def test_below_the_line_there_is_a_plan_at_any_net_liq() -> None:
    """A micro below the line, at zero, or far below: orders go out. On the line or a micro above: none."""
    reached: Counter[str] = Counter()
    for seed in range(EXAMPLES):
        random = Random(seed)
        desk, positions = drawn(random, SETTINGS[seed % len(SETTINGS)])
        auto_line = desk.state.risk(desk.row("A")).lines[2]
        offset = random.choice(
            (-1, 0, 1, -auto_line, -auto_line - 1, -auto_line + 1, -(10**6), -(10**12), -random.randint(1, 10**9))
        )
        set_net_liq(desk, auto_line + offset)
        floor = desk.state.policy.net_liq_floor
        is_below = offset < 0 or (floor is not None and auto_line + offset <= floor)
        sent = orders(release(desk))
        assert bool(sent) is is_below
        for order in sent:
            assert order.lots * positions[order.contract] < 0
            assert abs(order.lots) <= abs(positions[order.contract])
        reached["plan" if sent else "none"] += 1
        if abs(offset) <= 1:
            reached[f"{offset:+d} of the line"] += 1
    print(dict(reached))
    assert min(reached["plan"], reached["none"]) >= 50
    assert min(reached["-1 of the line"], reached["+0 of the line"], reached["+1 of the line"]) >= 20
    assert reached["plan"] >= 100


def cured_by(desk: Desk, closing: dict[str, int], fee: int) -> bool:
    """Usage at or under the target after fees and no line crossed: by the plain formulas, from the account's risk."""
    state, row = desk.state, desk.row("A")
    net_liq, rest, auto_line = state.risk(row).net_liq - fee, 0, 0
    for name, contract in state.contracts.items():
        position = contract.position(row)
        closed = closing.get(name, 0)
        assert contract.mark is not None
        net_liq -= contract.contract.trade_fee(contract.mark, closed)
        left = abs(position.lots) - closed
        if left:
            notional = contract.contract.notional(contract.mark, left)
            required = held_requirement(contract.terms, left, notional)
            rest += required
            auto_line += line(required, contract.window.auto_liquidate)
    if not rest:
        return True
    target = state.policy.close_out.target
    floor = state.policy.net_liq_floor
    return rest * 10**9 <= net_liq * target and net_liq >= auto_line and (floor is None or net_liq > floor)


@pytest.mark.rule("G-07", "US-09")
def test_a_plan_cures_and_one_lot_fewer_does_not() -> None:
    """Filled at the marks, each step lowers the requirement, nothing crosses zero, and there is an end."""
    reached: Counter[str] = Counter()
    for seed in range(2 * EXAMPLES):
        random = Random(seed)
        setting = REDUCING[seed % len(REDUCING)]
        desk, positions = drawn(random, setting)
        auto_line = desk.state.risk(desk.row("A")).lines[2]
        set_net_liq(desk, max(1, auto_line * random.choice((random.randint(300, 999), random.randint(1, 300))) // 1000))
        fee = desk.state.policy.liquidation_fee.first
        full = {name: abs(lots) for name, lots in positions.items()}
        sent = orders(release(desk))
        if not sent:
            continue
        plan = {order.contract: abs(order.lots) for order in sent}
        check_minimal(desk, plan, full, reached)
        assert fee == int(desk.state.book.pending[desk.row("A")])
        steps = fill_to_the_end(desk, random, worse=random.choice((0, 0, 1, 40)))
        assert steps <= 40 * len(positions)
        reached["ended"] += 1
    print(dict(reached))
    assert min(reached["partial"], reached["several legs"], reached["all"], reached["ended"]) >= 100


def check_minimal(desk: Desk, plan: dict[str, int], full: dict[str, int], reached: Counter[str]) -> None:
    """The fee of the event is pending by now, so nothing more is charged."""
    assert cured_by(desk, plan, 0)
    reached["all" if plan == full else "partial"] += 1
    reached["several legs"] += len(plan) > 1
    for name in plan:
        fewer = {**plan, name: plan[name] - 1}
        assert not cured_by(desk, fewer, 0), (plan, name)


def fill_to_the_end(desk: Desk, random: Random, worse: int) -> int:
    """Fill whatever is out, in parts, at the mark or up to so many permille worse; some orders end unfilled."""
    steps = 0
    while out := desk.outstanding("A"):
        steps += 1
        order_id, (name, lots) = random.choice(list(out.items()))
        before = desk.state.risk(desk.row("A")).requirement
        held = desk.position("A", name)
        if random.random() < 0.1:
            desk.accept(c.OrderDone(order_id, "cancelled"))
            continue
        part = random.randint(max(1, abs(lots) // 2), abs(lots)) * (1 if lots > 0 else -1)
        slip = abs(desk.prices[name]) * worse // 1000 * (1 if lots > 0 else -1)
        desk.fill("A", name, part, desk.prices[name] + slip, order_id)
        after = desk.position("A", name)
        assert after * held >= 0
        assert abs(after) < abs(held)
        assert desk.state.risk(desk.row("A")).requirement <= before
        assert steps < 1000
    assert desk.row("A") not in desk.state.book.close_outs
    assert desk.level("A") != "liquidating"
    return steps


@pytest.mark.rule("G-02", "G-07")
def test_longs_equal_shorts_through_close_outs() -> None:
    """Every trade has two sides in the engine, close-outs included; nothing closes through zero."""
    reached: Counter[str] = Counter()
    for seed in range(60):
        random = Random(seed)
        desk = Desk(DOLLARS, PRICES)
        desk.open("maker", 10**14)
        for account_id in "ABCD":
            desk.open(account_id, random.randint(2, 20) * 10**9)
        for _ in range(40):
            step_two_sided(desk, random, reached)
            for name, contract in desk.state.contracts.items():
                assert sum(contract.position(row).lots for row in desk.state.book.row.values()) == 0, name
    print(dict(reached))
    assert min(reached["close-out"], reached["trade"], reached["mark"]) >= 100


def step_two_sided(desk: Desk, random: Random, reached: Counter[str]) -> None:
    out = [(a, o, n, lots) for a in "ABCD" for o, (n, lots) in desk.outstanding(a).items()]
    if out and random.random() < 0.6:
        account_id, order_id, name, lots = random.choice(out)
        part = random.randint(1, abs(lots)) * (1 if lots > 0 else -1)
        held = desk.position(account_id, name)
        desk.fill(account_id, name, part, desk.prices[name], order_id)
        desk.fill("maker", name, -part, desk.prices[name])
        after = desk.position(account_id, name)
        assert after * held >= 0
        assert abs(after) == abs(held) - abs(part)
        reached["close-out"] += 1
    elif random.random() < 0.5:
        quiet = [a for a in "ABCD" if not desk.outstanding(a)]
        if quiet:
            name, lots = random.choice(list(PRICES)), random.choice((-1, 1)) * random.randint(1, 6)
            desk.fill(random.choice(quiet), name, lots, desk.prices[name])
            desk.fill("maker", name, -lots, desk.prices[name])
            reached["trade"] += 1
    else:
        name = random.choice(list(PRICES))
        desk.mark({name: desk.prices[name] + random.randint(-400, 400)})
        reached["mark"] += 1
