"""Two accounts of one owner where others bear deficits: they gain what the waterfall pays them, and nothing else."""

from collections import Counter
from fractions import Fraction
from random import Random

import pytest
from tests.model.rulebooks_waterfall import WATERFALLS
from tests.properties.driver import Desk

from closeout.core.contracts import Contract, Kind
from closeout.engine import commands as c
from closeout.engine import events as e

PAIR = "AB"
TAKERS = ("liquidity_providers", "insurance_fund_takes", "backstop_vault")
TOLD_BY_WINNERS = ("auto_deleveraging", "unwind")


def exact(contract: Contract, ticks: int, lots: int) -> Fraction:
    """What lots are worth at a price, in micros and without any rounding."""
    units = contract.unit_value * lots
    worth = Fraction(units * ticks) if contract.kind is Kind.LINEAR else Fraction(-units, ticks)
    return worth / contract.units_per_micro


class Owner:
    """What the owner of both must have: deposits, profit in the market at the marks, what the waterfall gave or took;
    fees apart. `loose`: a taker got equity with a position, which no event tells."""

    def __init__(self, desk: Desk, random: Random, wealth: int) -> None:
        self.desk, self.random = desk, random
        self.profit = self.given = Fraction(0)
        self.fees = self.surplus = self.rounded = 0
        self.loose = self.owed = False
        fund = desk.state.policy.insurance_fund or 0
        if fund and random.random() < 0.5:
            desk.accept(c.AdjustCash("insurance_fund", 1 - fund, "desk", "second", "to set the scene"))
        self.deposits = [random.randint(1, wealth) for _ in PAIR]
        for account_id, cash in zip(PAIR, self.deposits, strict=True):
            desk.open(account_id, cash, owner="one")
        self.other_side = random.random() < 0.5  # somebody with money holds it
        desk.open("C", 1000 * wealth if self.other_side else 0)

    def take(self, events: list[e.AnyEvent]) -> None:
        taken = sum(isinstance(p, e.Posted) and p.reason.startswith("position taken") for p in events)
        covered = sum(isinstance(p, e.DeficitCovered) and p.stage in TAKERS for p in events)
        self.loose |= taken > covered
        self.owed |= any(isinstance(event, e.DeficitBooked) for event in events)
        for event in events:
            self.rounded += 1
            match event:
                case e.Deleveraged():
                    self.given += event.taken * ((event.against in PAIR) - (event.account_id in PAIR))
                case e.DeficitCovered(account_id=account_id) if account_id in PAIR:
                    if event.stage not in TOLD_BY_WINNERS:
                        self.given += event.micros
                case e.Socialised():
                    self.given -= event.micros * (event.account_id in PAIR)
                case e.Posted(account_id=account_id) if account_id in PAIR:
                    self.fees += event.micros * (event.credit == "fees" or event.reason == "liquidation fee")
                    self.surplus += event.micros * event.reason.startswith("surplus")

    def check(self) -> None:
        book = self.desk.state.book
        rows = [self.desk.row(account_id) for account_id in PAIR]
        has = sum(self.desk.net_liq(account_id) for account_id in PAIR) + sum(int(book.pending[row]) for row in rows)
        due = sum(self.deposits) + self.profit + self.given - self.fees - self.surplus
        assert has <= due + self.rounded, (has, float(due))
        if not self.loose:
            assert has >= due - 3 * self.rounded, (has, float(due))

    # -- acts ------------------------------------------------------------------------------------

    def trade(self, account_id: str, name: str, lots: int, price: int, order_id: str = "x") -> None:
        """With the market, or with somebody else."""
        contract = self.desk.state.contracts[name].contract
        mark = self.desk.prices[name]
        self.profit += exact(contract, mark, lots) - exact(contract, price, lots)
        self.take(self.desk.fill(account_id, name, lots, price, order_id))

    def mark(self, name: str, ticks: int) -> None:
        contract, before = self.desk.state.contracts[name].contract, self.desk.prices[name]
        held = sum(self.desk.position(account_id, name) for account_id in PAIR)
        self.profit += exact(contract, ticks, held) - exact(contract, before, held)
        self.take(self.desk.mark({name: ticks}))

    def step(self, sizes: dict[str, int]) -> None:
        random, desk = self.random, self.desk
        out = [(a, o, n, lots) for a in "ABC" for o, (n, lots) in desk.outstanding(a).items()]
        name, act = random.choice(list(sizes)), random.random()
        lots = random.choice((-1, 1)) * random.randint(1, sizes[name])
        if out and act < 0.5:
            self.answer(*random.choice(out))
        elif act < 0.65:
            price = max(1, desk.prices[name] * random.choice((100, 90, 120)) // 100)
            self.trade("A", name, lots, price)
            self.trade("B", name, -lots, price)
        elif act < 0.8:
            self.trade(random.choice(PAIR), name, lots, desk.prices[name])
            if self.other_side:
                self.take(desk.fill("C", name, -lots, desk.prices[name]))
        else:
            self.mark(name, max(1, desk.prices[name] * random.randint(88, 112) // 100))

    def answer(self, account_id: str, order_id: str, name: str, lots: int) -> None:
        if self.random.random() < 0.5:
            self.take(self.desk.accept(c.OrderDone(order_id, "nothing within the limit")))
            return
        worse = abs(self.desk.prices[name]) * self.random.choice((0, 1, 10)) // 100
        price = max(1, self.desk.prices[name] + (worse if lots > 0 else -worse))
        if account_id in PAIR:
            self.trade(account_id, name, lots, price, order_id)
        else:
            self.take(self.desk.fill(account_id, name, lots, price, order_id))


def gain(owner: Owner) -> Fraction:
    """What limited liability is worth to the owner: less than nothing where the pair paid for others."""
    return owner.given - owner.surplus


@pytest.mark.rule("G-15", "EX-03", "EX-04", "EX-05", "US-13")
def test_a_pair_gains_what_the_waterfall_pays_and_nothing_else() -> None:
    """After each input what the owner has, debts counted, is deposits, market profit and what the waterfall gave, less
    fees, but for roundings of a micro or two a posting; where a taker got equity it is less."""
    reached: Counter[str] = Counter()
    gains: dict[str, list[Fraction]] = {}
    for seed in range(250):
        random, setting = Random(seed), WATERFALLS[seed % len(WATERFALLS)]
        owner = Owner(Desk(setting.document, setting.prices), random, setting.wealth)
        for _ in range(40):
            owner.step(setting.sizes)
            owner.check()
        reached["gained"] += gain(owner) > 0
        reached["paid for others"] += gain(owner) < 0
        reached["told to the micro"] += not owner.loose and owner.given != 0
        reached["a taker got equity"] += owner.loose
        reached["owing"] += owner.owed
        gains.setdefault(setting.name, []).append(gain(owner))
    print(dict(reached), {name: (len(all_), float(sum(all_)), float(max(all_))) for name, all_ in gains.items()})
    assert min(reached["gained"], reached["told to the micro"]) >= 100
    assert min(reached["a taker got equity"], reached["owing"]) >= 20
