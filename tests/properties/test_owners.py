"""Two accounts of one owner gain nothing from each other."""

from collections import Counter, defaultdict
from fractions import Fraction
from random import Random

import pytest
from tests.model.rulebooks import SETTINGS
from tests.properties.driver import Desk

from closeout.core.contracts import Kind
from closeout.engine import events as e


@pytest.mark.rule("G-15", "US-13")
def test_a_pair_of_accounts_gains_nothing() -> None:
    """Trades between the two at any price, then close-outs with the market, down to debts: what the owner has, debts
    counted, is what was deposited and won in the market, less fees, and never a micro more."""
    reached: Counter[str] = Counter()
    for seed in range(350):
        random = Random(seed)
        setting = SETTINGS[seed % len(SETTINGS)]
        desk = Desk(setting.document, setting.prices)
        scale = 10**6 if setting.name == "coin" else 10**9
        deposits = [random.randint(1, 12) * scale for _ in range(2)]
        for account_id, cash in zip("AB", deposits, strict=True):
            desk.open(account_id, cash, owner="one")
        market: dict[str, Fraction] = defaultdict(Fraction)  # won from the market, exactly, in units
        told: list[e.AnyEvent] = []
        for _ in range(25):
            told += step(desk, random, setting.sizes, market)
        finish(desk, market, told)
        book = desk.state.book
        rows = [desk.row(account_id) for account_id in "AB"]
        has = sum(int(book.cash[row]) - int(book.receivable[row]) for row in rows)
        fees = sum(p.micros for p in told if isinstance(p, e.Posted) and p.credit == "fees")
        contracts = desk.state.contracts
        won = sum(units / contracts[name].contract.units_per_micro for name, units in market.items())
        assert has + fees <= sum(deposits) + won
        assert has + fees >= sum(deposits) + won - 2 * desk.fills
        reached["owing"] += any(int(book.receivable[row]) for row in rows)
        reached["closed out"] += any(isinstance(event, e.CloseOutEnded) for event in told)
        reached["traded"] += 1
    print(dict(reached))
    assert min(reached.values()) >= 100


def step(desk: Desk, random: Random, sizes: dict[str, int], market: dict[str, Fraction]) -> list[e.AnyEvent]:
    out = [(a, o, n, lots) for a in "AB" for o, (n, lots) in desk.outstanding(a).items()]
    name = random.choice(list(sizes))
    if out and random.random() < 0.5:
        account_id, order_id, name, lots = random.choice(out)
        worse = abs(desk.prices[name]) * random.choice((0, 1, 10)) // 100
        return take(desk, market, account_id, name, lots, desk.prices[name] + (worse if lots > 0 else -worse), order_id)
    if random.random() < 0.5:
        price = max(1, desk.prices[name] * random.choice((100, 100, 90, 120)) // 100)
        lots = random.choice((-1, 1)) * random.randint(1, sizes[name])
        return desk.fill("A", name, lots, price) + desk.fill("B", name, -lots, price)
    return desk.mark({name: max(1, desk.prices[name] * random.randint(88, 112) // 100)})


def take(
    desk: Desk, market: dict[str, Fraction], account_id: str, name: str, lots: int, price: int, order_id: str
) -> list[e.AnyEvent]:
    """A trade with the market: bought for its exact value, which the owner gives."""
    contract = desk.state.contracts[name].contract
    linear = contract.kind is Kind.LINEAR
    market[name] -= (
        Fraction(contract.unit_value * lots * price) if linear else Fraction(-contract.unit_value * lots, price)
    )
    return desk.fill(account_id, name, lots, price, order_id)


def finish(desk: Desk, market: dict[str, Fraction], told: list[e.AnyEvent]) -> None:
    """Everything that is left is sold to the market, orders that are out first."""
    for _ in range(100):
        out = [(a, o, n, lots) for a in "AB" for o, (n, lots) in desk.outstanding(a).items()]
        held = [(a, "x", n, -desk.position(a, n)) for a in "AB" for n in desk.prices if desk.position(a, n)]
        if not out and not held:
            return
        account_id, order_id, name, lots = (out or held)[0]
        told += take(desk, market, account_id, name, lots, desk.prices[name], order_id)
    raise AssertionError("not flat after 100 trades")
