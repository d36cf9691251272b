"""What the auditor knows of an account, and an account's figures by the plainest formulas."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_limits import Bounds, of_contract
from tests.model.auditor_rules import Contract, Rules, down, up

SUSPENSE = "suspense"
FUND = "insurance_fund"
HOUSE = (SUSPENSE, FUND, "liquidity_providers", "backstop_vault")
"""Accounts that are no customer's."""
EVERYBODY = "*"


class Refusal(Exception):
    """The input changes nothing; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def check_name(by: str) -> None:
    if not by:
        raise Refusal("needs_name")


def check_second(by: str, second: str) -> None:
    if not second or by == second:
        raise Refusal("needs_second")


@dataclass
class Position:
    """A signed quantity and what it cost (signed, in the currency)."""

    quantity: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)

    def trade(self, quantity: Fraction, value: Fraction, quantum: Fraction) -> Fraction:
        """The realised profit. Costs that leave with a part of the position are rounded up to a quantum."""
        same_side = self.quantity * quantity >= 0
        if same_side:
            self.quantity += quantity
            self.cost += value
            return Fraction(0)
        closing = min(abs(quantity), abs(self.quantity)) * (1 if quantity > 0 else -1)
        closing_value = up(value * closing / quantity, quantum)
        cost_leaving = up(self.cost * abs(closing / self.quantity), quantum)
        self.quantity += closing
        self.cost -= cost_leaving
        if closing != quantity:
            self.quantity, self.cost = quantity - closing, value - closing_value
        return -closing_value - cost_leaving


@dataclass
class Event:
    """A liquidation under way. `outstanding` maps sent orders to (contract, signed quantity still to fill).

    `flatten`: the desk ordered it; `own`: the customer's own brake did. `waiting`: why contracts take no order. `step`
    is the rulebook's step that is on, `limited` the orders that are immediate-or-cancel,
    `takeovers` the limits of those that take everything over for the fund, `missed` that one of them left
    something, `rests` that the last step is over until the next look, `shared_at` when orders went out last."""

    receipt_id: str
    flatten: bool
    own: bool = False
    sent: int = 0
    fee: Fraction | None = None
    filled: bool = False
    outstanding: dict[str, tuple[str, Fraction]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    step: int = 0
    limited: set[str] = field(default_factory=set)
    takeovers: dict[str, Fraction] = field(default_factory=dict)
    missed: bool = False
    rests: bool = False
    shared_at: int | None = None

    def closing_in(self, contract: str, sign: int) -> Fraction:
        """What is out in one direction. Orders from before the position changed sides close nothing."""
        return sum((abs(q) for name, q in self.outstanding.values() if name == contract and q * sign > 0), Fraction(0))


Order = tuple[Fraction, Fraction | None]  # signed quantity and limit


@dataclass
class Brakes:
    """The customer's own limits on losses (of the day, of the week, from the peak; 0: none), and the net liqs that
    they count from."""

    losses: tuple[Fraction, ...]
    flatten_at: str
    day: Fraction
    week: Fraction
    peak: Fraction

    def moved(self, amount: Fraction) -> None:
        """Money that came or went is neither profit nor loss."""
        self.day += amount
        self.week += amount
        self.peak += amount

    def lines(self) -> list[tuple[Fraction, str]]:
        """Those that are set: the net liq below which each trips, and its name."""
        bases = (self.day, self.week, self.peak)
        names = ("daily loss limit", "weekly loss limit", "trailing drawdown")
        return [(base - loss, name) for base, loss, name in zip(bases, self.losses, names, strict=True) if loss > 0]


@dataclass
class Release:
    """News to come: its window and its terms."""

    contracts: tuple[str, ...]
    begins: int
    ends: int
    multiplier: Fraction
    held: bool
    begun: bool


@dataclass
class Call:
    """A margin call: its age, and what it was last said to be short of."""

    call_id: str
    days: int
    missing: Fraction


@dataclass
class Account:
    account_id: str
    owner: str
    parent: str | None
    with_intraday: bool
    cash: Fraction = Fraction(0)
    receivable: Fraction = Fraction(0)
    accrued: Fraction = Fraction(0)
    pending_fees: Fraction = Fraction(0)
    positions: dict[str, Position] = field(default_factory=dict)
    working: dict[str, tuple[str, Fraction]] = field(default_factory=dict)
    level: str = "normal"
    set_flags: set[str] = field(default_factory=set)
    liquidations: int = 0
    days_in_debit: int = 0
    status: str = ""
    event: Event | None = None
    leverage: dict[str, Fraction] = field(default_factory=dict)
    limits: dict[str, Fraction | None] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    acknowledged: str = ""
    brakes: Brakes | None = None
    flatten_due: bool = False
    call: Call | None = None
    won: Fraction = Fraction(0)
    parted_at: int | None = None

    def leverage_of(self, name: str) -> Fraction | None:
        """A leg without a leverage of its own has that of its contract."""
        return self.leverage.get(name, self.leverage.get(name.partition(":")[0]))

    def held(self) -> dict[str, Position]:
        return {name: position for name, position in self.positions.items() if position.quantity}

    def touched(self) -> list[str]:
        """Contracts with a position or a working order."""
        return list(dict.fromkeys([*self.held(), *(name for name, _ in self.working.values())]))

    def position(self, contract: str) -> Position:
        return self.positions.setdefault(contract, Position())

    def working_in(self, contract: str, sign: int) -> Fraction:
        return sum((q for name, q in self.working.values() if name == contract and q * sign > 0), Fraction(0))


class Figures:
    """Formulas that read the rules and one account."""

    def __init__(self, rules: Rules, everybody: Iterable[Account] = ()) -> None:
        self.rules, self.everybody = rules, everybody

    def stands_on(self, contract: Contract, position: Position) -> Fraction:
        """The value that a requirement is a share of."""
        return up(abs(position.cost), contract.micro) if contract.by_entry else self.notional(contract, position)

    def open_now(self, contract: Contract, opened: Fraction) -> Fraction:
        """What all accounts hold long, at the mark, and what the orders looked at would open."""
        if contract.interest is None or contract.price is None:
            return Fraction(0)
        added = contract.notional(contract.price, max(opened, Fraction(0)))
        held = (account.positions.get(contract.name, Position()).quantity for account in self.everybody)
        return added + contract.notional(contract.price, sum((max(q, Fraction(0)) for q in held), Fraction(0)))

    def profit(self, contract: Contract, position: Position) -> Fraction:
        if contract.price is None:
            return down(-up(abs(position.cost) * self.rules.unpriced_move, contract.quantum), contract.micro)
        return down(contract.value(contract.price, position.quantity) - position.cost, contract.micro)

    def notional(self, contract: Contract, position: Position) -> Fraction:
        if contract.price is None:
            worst = abs(position.cost) + up(abs(position.cost) * self.rules.unpriced_move, contract.quantum)
            return up(worst, contract.micro)
        return contract.notional(contract.price, position.quantity)

    def net_liq(self, account: Account) -> Fraction:
        profits = [self.profit(self.rules.contracts[name], p) for name, p in account.held().items()]
        return account.cash + sum(profits) + account.accrued - account.pending_fees - account.receivable

    def known(self, account: Account) -> Fraction:
        """Net liq without the positions that have no price."""
        guesses = {n: p for n, p in account.held().items() if self.rules.contracts[n].price is None}
        return self.net_liq(account) - sum(self.profit(self.rules.contracts[n], p) for n, p in guesses.items())

    def requirement_of(self, account: Account, name: str, position: Position) -> Fraction:
        contract = self.rules.contracts[name]
        return contract.held_requirement(position.quantity, self.stands_on(contract, position))

    def requirements(self, account: Account) -> dict[str, Fraction]:
        return {name: self.requirement_of(account, name, p) for name, p in account.held().items()}

    def counted(self, account: Account, margins: dict[str, Fraction]) -> dict[str, Fraction]:
        """Of the margins by contract those that count: where longs net against shorts, the cheaper side's do not."""
        found = dict(margins)
        for group in {self.rules.contracts[name].nets_in for name in margins} - {""}:
            members = [name for name in margins if self.rules.contracts[name].nets_in == group]
            longs = [name for name in members if account.positions[name].quantity > 0]
            shorts = [name for name in members if account.positions[name].quantity < 0]
            cheaper = min((longs, shorts), key=lambda side: sum(margins[name] for name in side))
            found |= dict.fromkeys(cheaper, Fraction(0))
        return found

    def required(self, account: Account) -> dict[str, Fraction]:
        return self.counted(account, self.requirements(account))

    def line(self, requirements: dict[str, Fraction], level: str) -> Fraction:
        """Contracts in the same window are summed first; each window has levels of its own."""
        by_window: dict[str, Fraction] = {}
        for name, requirement in requirements.items():
            window = self.rules.contracts[name].window.name
            by_window[window] = by_window.get(window, Fraction(0)) + requirement
        lines = (up(r / getattr(self.rules.windows[w], level), self.rules.micro) for w, r in by_window.items())
        return sum(lines, Fraction(0))

    def level_at(self, net_liq: Fraction, requirements: dict[str, Fraction]) -> str:
        if not requirements:
            return "normal"
        if net_liq < self.line(requirements, "auto_liquidate"):
            return "liquidating"
        if self.rules.floor is not None and net_liq <= self.rules.floor:
            return "liquidating"
        if net_liq < self.line(requirements, "liquidate_only"):
            return "liquidate_only"
        return "alert" if net_liq < self.line(requirements, "alert") else "normal"

    def unpriced(self, account: Account) -> bool:
        return any(self.rules.contracts[name].price is None for name in account.held())

    def in_debit(self, account: Account) -> bool:
        return account.receivable > 0 or (not account.held() and self.net_liq(account) < 0)

    def flags(self, account: Account) -> set[str]:
        found = set(account.set_flags)
        found |= {"unpriced"} if self.unpriced(account) else set()
        return found | ({"in_debit"} if self.in_debit(account) else set())

    # -- orders ----------------------------------------------------------------------------------

    def fills(
        self, account: Account, name: str, with_intraday: bool, extra: Order | None = None
    ) -> list[tuple[bool, Fraction, Fraction]]:
        """All working buys filled, and all working sells filled at their limits; `extra` is one more. Of each whether
        the position is long then, what the fills lose, and what it asks for."""
        contract = self.rules.contracts[name]
        position = account.positions.get(name, Position())
        orders = [(q, account.limits[order]) for order, (n, q) in account.working.items() if n == name]
        orders += [extra] if extra else []
        found = []
        for sign in (1, -1):
            side = [(quantity, limit) for quantity, limit in orders if quantity * sign > 0]
            total = position.quantity + sum((quantity for quantity, _ in side), Fraction(0))
            lost = sum((self._lost_at(contract, quantity, limit) for quantity, limit in side), Fraction(0))
            long = (position.quantity if contract.price is None else total) > 0
            found.append((long, lost, self._entry(account, contract, position, total, with_intraday)))
        return found

    def worst_entry(self, fills: list[list[tuple[bool, Fraction, Fraction]]]) -> Fraction:
        """The dearest way in which orders of contracts that net can fill."""
        return max(
            sum((lost for _, lost, _ in way), Fraction(0))
            + max(sum((asked for long, _, asked in way if long == side), Fraction(0)) for side in (True, False))
            for way in product(*fills)
        )

    def _lost_at(self, contract: Contract, quantity: Fraction, limit: Fraction | None) -> Fraction:
        if limit is None or contract.price is None:
            return Fraction(0)
        lost = contract.cost(limit, quantity) - contract.value(contract.price, quantity)
        return max(Fraction(0), up(lost, self.rules.micro))

    def _entry(
        self, account: Account, contract: Contract, position: Position, quantity: Fraction, with_intraday: bool
    ) -> Fraction:
        if contract.price is None:
            value = self.stands_on(contract, position)
        else:
            after, added = Position(position.quantity, position.cost), quantity - position.quantity
            after.trade(added, contract.cost(contract.price, added), contract.quantum)
            value = self.stands_on(contract, after)
        leverage = account.leverage_of(contract.name)
        open_now = self.open_now(contract, abs(quantity) - abs(position.quantity))
        return contract.entry_requirement(quantity, value, with_intraday, leverage, open_now)

    def entry_total(
        self,
        account: Account,
        with_intraday: bool,
        extra: dict[str, Order] | None = None,
        bounds: Bounds | None = None,
    ) -> Fraction:
        """`bounds`: large holdings ask for more, but only of orders."""
        extra = extra or {}
        total = Fraction(0)
        groups: dict[str, list[list[tuple[bool, Fraction, Fraction]]]] = {}
        for name in dict.fromkeys([*account.touched(), *extra]):
            fills = self.fills(account, name, with_intraday, extra.get(name))
            groups.setdefault(self.rules.contracts[name].nets_in or f" {name}", []).append(fills)
            if bounds is not None:
                total += self.concentration(account, name, bounds, extra.get(name))
        return total + sum((self.worst_entry(fills) for fills in groups.values()), Fraction(0))

    def largest(self, account: Account, name: str, extra: Order | None = None) -> Fraction:
        """The larger of what is held with all working buys filled, and with all working sells filled."""
        held = account.positions.get(name, Position()).quantity
        added = extra[0] if extra else Fraction(0)
        buys = held + account.working_in(name, 1) + max(added, Fraction(0))
        sells = held + account.working_in(name, -1) + min(added, Fraction(0))
        return max(abs(buys), abs(sells))

    def concentration(self, account: Account, name: str, bounds: Bounds, extra: Order | None) -> Fraction:
        contract = self.rules.contracts[name]
        allowed = of_contract(bounds.concentration_lots, name)
        if allowed is None or contract.price is None:
            return Fraction(0)
        beyond = self.largest(account, name, extra) - allowed * contract.lot
        if beyond <= 0:
            return Fraction(0)
        return up(contract.notional(contract.price, beyond) * bounds.concentration_rate, contract.micro)

    def free(self, account: Account) -> Fraction:
        """Net liq above initial margin, all working orders at their worst; below zero where it is short."""
        return self.net_liq(account) - self.entry_total(account, False)

    def above_kept(self, account: Account) -> Fraction:
        """Net liq above the share of what is held that stays with the account."""
        held = (self.notional(self.rules.contracts[name], position) for name, position in account.held().items())
        return self.net_liq(account) - up(sum(held, Fraction(0)) * self.rules.kept, self.rules.micro)

    # -- close-out -------------------------------------------------------------------------------

    def closable(self, name: str, now: int) -> bool:
        return self.why_not_closable(name, now) == ""

    def why_not_closable(self, name: str, now: int) -> str:
        contract = self.rules.contracts[name]
        if contract.expired or not contract.is_open or contract.halted:
            return "expired" if contract.expired else "closed" if not contract.is_open else "halted"
        if "held" in contract.switches:
            return "held by the desk"
        grade = contract.grade_at(now, self.rules.stale_after)
        return "" if grade == "ok" else grade

    def fee_rate(self, account: Account, name: str) -> Fraction:
        """The rate of the liquidation fee on a contract's close-out, which may be of what its margin has left."""
        contract, position = self.rules.contracts[name], account.position(name)
        if self.rules.fee_of_rest is None or contract.price is None or not position.quantity:
            return self.rules.fee_rate
        wanted = up(sum(self.required(account).values()) / self.rules.target, self.rules.micro)
        short = max(Fraction(0), wanted - self.net_liq(account))
        left = self.requirement_of(account, name, position) - contract.fee(contract.price, position.quantity) - short
        share = max(left, Fraction(0)) * self.rules.fee_of_rest / self.notional(contract, position)
        return min(self.rules.fee_rate, down(share, Fraction(1, 10**9)))

    def after_closing(self, account: Account, closing: dict[str, int]) -> tuple[Fraction, dict[str, Fraction]]:
        """Net liq after the fees of closing so many lots, and what the rest requires."""
        net_liq = self.net_liq(account)
        requirements: dict[str, Fraction] = {}
        for name, position in account.held().items():
            contract = self.rules.contracts[name]
            closed = closing.get(name, 0) * contract.lot
            if closed:
                assert contract.price is not None
                net_liq -= contract.fee(contract.price, closed)
                net_liq -= up(
                    contract.notional(contract.price, closed) * self.fee_rate(account, name), self.rules.micro
                )
            left = abs(position.quantity) - closed
            if left > 0 and closed:
                assert contract.price is not None
                share = left / abs(position.quantity)
                rest = Position(position.quantity * share, up(position.cost * share, contract.quantum))
                requirements[name] = self.requirement_of(account, name, rest)
            elif left > 0:
                requirements[name] = self.requirement_of(account, name, position)
        return net_liq, self.counted(account, requirements)

    def cured(self, account: Account, closing: dict[str, int], fee: Fraction) -> bool:
        net_liq, requirements = self.after_closing(account, closing)
        net_liq -= fee
        if not requirements:
            return True
        wanted = up(sum(requirements.values(), Fraction(0)) / self.rules.target, self.rules.micro)
        return net_liq >= wanted and self.level_at(net_liq, requirements) != "liquidating"

    def plan_reduction(self, account: Account, fee: Fraction, now: int) -> dict[str, int]:
        """Lots to close by contract: whole legs by relief per cost, the last one in part, then earlier ones trimmed."""
        legs = [name for name in self._ranked(account) if self.closable(name, now)]
        lots = {n: int(abs(account.held()[n].quantity) / self.rules.contracts[n].lot) for n in legs}
        out = {n: min(lots[n], self._out(account, n)) for n in legs}
        chosen = dict(out)
        if any(out.values()) and self.cured(account, chosen, fee):
            return chosen
        raised: list[str] = []
        for leg in legs:
            raised.append(leg)
            chosen[leg] = lots[leg]
            if self.cured(account, chosen, fee):
                break
        else:
            return lots
        for leg in reversed(raised):
            fewest = range(out[leg], lots[leg] + 1)
            chosen[leg] = next(n for n in fewest if self.cured(account, {**chosen, leg: n}, fee))
        return chosen

    def _out(self, account: Account, name: str) -> int:
        """Lots that the orders sent already will close."""
        assert account.event is not None
        sign = -1 if account.held()[name].quantity > 0 else 1
        return int(account.event.closing_in(name, sign) / self.rules.contracts[name].lot)

    def _ranked(self, account: Account) -> list[str]:
        """Margin relief per expected cost, larger first; free legs before all, ties as the rulebook lists them."""
        relief: dict[str, Fraction] = {}
        held = account.held()
        for name in (n for n in self.rules.contracts if n in held):
            contract, position = self.rules.contracts[name], held[name]
            if contract.price is None:
                relief[name] = Fraction(0)
                continue
            notional = contract.notional(contract.price, position.quantity)
            cost = up(notional * contract.expected_cost, contract.micro) + contract.fee(
                contract.price, position.quantity
            )
            requirement = self.requirement_of(account, name, position)
            relief[name] = requirement / cost if cost else Fraction(10**30)
        return sorted(relief, key=lambda name: -relief[name])


def lots_of(contract: Contract, quantity: Fraction) -> int:
    lots = quantity / contract.lot
    assert lots.denominator == 1
    return int(lots)


def micros(amount: Fraction, micro: Fraction) -> int:
    whole = amount / micro if amount else amount
    assert whole.denominator == 1, f"{amount} is not in whole micros"
    return whole.numerator
