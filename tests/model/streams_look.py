"""What a stream looks at when it aims: accounts, holders, prices, all as the auditor knows them."""

from math import floor
from random import Random

from tests.model.auditor import Auditor
from tests.model.auditor_fractions import Fraction
from tests.model.auditor_state import Account
from tests.model.rulebooks import Setting

from closeout.engine import commands as c

SECOND = 10**9
START = 1_790_000_000 * SECOND
ACCOUNTS = ("A", "B", "C", "0", "A/1", "A/2", "0/1")
PARENTS = {"A/1": "A", "A/2": "A", "0/1": "0"}
OWNERS = {"A": "A", "B": "B", "C": "B", "0": "", "A/1": "A", "A/2": "", "0/1": ""}


class Look:
    """A random source, and what there is."""

    def __init__(self, random: Random, setting: Setting, auditor: Auditor) -> None:
        self.random, self.setting, self.auditor = random, setting, auditor
        self.time = START
        self.ids = 0
        self.limits_asked: dict[tuple[str, str], c.Limits] = {}
        self.news_asked: c.NewsWindow | None = None

    def new_id(self, prefix: str) -> str:
        self.ids += 1
        return f"{prefix}{self.ids}"

    def accounts(self) -> list[Account]:
        return [self.auditor.accounts[name] for name in ACCOUNTS if name in self.auditor.accounts]

    def an_account(self) -> Account | None:
        found = self.accounts()
        return self.random.choice(found) if found else None

    def a_holder(self) -> tuple[Account, str] | None:
        held = [(account, name) for account in self.accounts() for name in account.held()]
        return self.random.choice(held) if held else None

    def a_contract(self) -> str:
        return self.random.choice(list(self.setting.prices))

    def markets(self) -> list[str]:
        """The contracts themselves, without legs."""
        return [name for name in self.setting.prices if ":" not in name]

    def a_market(self) -> str:
        return self.random.choice(self.markets())

    def price(self, name: str) -> int:
        """The newest price in ticks, or the first one."""
        contract = self.auditor.contract(name)
        return self.setting.prices[name] if contract.price is None else int(contract.price / contract.tick)

    def legal(self, name: str, ticks: int) -> int:
        return ticks if self.auditor.contract(name).linear else max(1, ticks)

    def moved(self, name: str, largest: float) -> int:
        """A price at most so far from the newest; far enough it may be below zero."""
        price, first = self.price(name), self.setting.prices[name]
        step = round(max(abs(price), first // 20) * self.random.uniform(-largest, largest))
        return self.legal(name, price + step)

    def lots(self, name: str) -> int:
        lots = self.random.choice((-1, 1)) * self.random.randint(1, self.setting.sizes[name])
        side = self.auditor.contract(name).side if ":" in name else 0
        return abs(lots) * side if side and self.random.random() < 0.85 else lots

    def micros(self, amount: Fraction) -> int:
        assert self.auditor.rules is not None
        return floor(amount / self.auditor.rules.micro)
