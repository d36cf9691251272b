"""Streams of inputs that go where it is interesting: near the lines, through bankruptcy, half filled, out of order.

A `Stream` invents one input after another, looking at the auditor's state to aim: fills belong to orders that are
out, prices land a tick to either side of a line, withdrawals just fit or just do not. What it invents depends on its
random source alone, so that hypothesis can drive and shrink it (`streams`), and a seed can repeat it.
"""

import struct
from math import floor
from random import Random
from typing import Any

import msgspec
from hypothesis import strategies as st
from tests.model.auditor import Auditor
from tests.model.auditor_fractions import Fraction
from tests.model.auditor_state import Account
from tests.model.rulebooks import SETTINGS, Setting
from tests.model.rulebooks_waterfall import HEDGED, SPECIAL, WATERFALLS
from tests.model.streams_desk import DeskInputs
from tests.model.streams_look import ACCOUNTS, OWNERS, PARENTS, SECOND
from tests.model.streams_weights import CALM, UNFILLED, WEIGHTS

from closeout.engine import commands as c
from closeout.engine.series import pack, unpack


def plain(command: Any) -> dict[str, Any]:
    """A command as the auditor takes it."""
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    if isinstance(command, c.MarkSeries):
        fields = {"batches": [(time, [(m.contract, m.price_ticks) for m in marks]) for time, marks in unpack(command)]}
    elif isinstance(command, c.OpenBook):
        fields = book_of(command)
    elif isinstance(command, c.Marks):
        fields["marks"] = [(mark.contract, mark.price_ticks) for mark in command.marks]
    elif isinstance(command, c.SetLimits):
        limits = {name: getattr(command.limits, name) for name in command.limits.__struct_fields__}
        fields["limits"] = {**limits, "groups": [(group.contracts, group.micros) for group in command.limits.groups]}
    elif isinstance(command, c.SetRiskSettings):
        fields["settings"] = {name: getattr(command.settings, name) for name in command.settings.__struct_fields__}
    return {"type": type(command).__name__, **fields}


def book_of(command: c.OpenBook) -> dict[str, Any]:
    """The accounts with their cash, and the positions: account, contract, lots, cost."""
    packed = (command.cash, command.account, command.contract, command.lots, command.cost)
    cash, owner, contract, lots, cost = (struct.unpack(f"<{len(column) // 8}q", column) for column in packed)
    owners, names = (command.account_ids[i] for i in owner), (command.contracts[i] for i in contract)
    return {
        "accounts": list(zip(command.account_ids, cash, strict=True)),
        "positions": list(zip(owners, names, lots, cost, strict=True)),
    }


class Stream(DeskInputs):
    """Inputs under one rulebook. `auditor` must have taken all inputs given out before."""

    def __init__(self, random: Random, setting: Setting, auditor: Auditor) -> None:
        super().__init__(random, setting, auditor)
        self.numbers: dict[str, int] = {}
        self.calm = random.random() < 0.3
        self.first = self._first_commands()

    # -- inputs ----------------------------------------------------------------------------------

    def next(self) -> c.Input:
        """The next input: mostly in order, sometimes a duplicate, a gap, or a time that runs back."""
        planned = bool(self.first)
        command = self.first.pop(0) if planned else self._command()
        source = self.random.choice(("feed", "venue", "desk"))
        number = self.numbers.get(source, 0) + 1
        time = self.time + self.random.choice((0, 1, SECOND, 60 * SECOND))
        slip = 1.0 if planned else self.random.random()
        if slip < 0.008:
            return c.Input(source, number - 1, time, command)
        if slip < 0.016:
            return c.Input(source, number + self.random.randint(1, 3), time, command)
        self.numbers[source] = number
        if slip < 0.024:
            return c.Input(source, number, self.time - 1 - self.random.randint(0, SECOND), command)
        if slip < 0.034:
            time += 3600 * SECOND
        return c.Input(source, number, max(time, self.auditor.now), command)

    def took(self, given: c.Input) -> None:
        """To be called when the auditor has taken the input."""
        self.time = self.auditor.now or self.time

    def _first_commands(self) -> list[Any]:
        """The rulebook, accounts, marks of all contracts but sometimes the last, and positions."""
        names = self.markets()
        if self.random.random() < 0.4:
            names.pop()
        found: list[Any] = [c.Tick()] if self.random.random() < 0.1 else []
        found.append(c.LoadRulebook(self.setting.document))
        found += [self._account(account_id) for account_id in ACCOUNTS]
        found.append(c.Marks(tuple(c.Mark(name, self.setting.prices[name]) for name in names)))
        if self.calm:
            found += [c.Deposit(account_id, self.random.randint(1, 5 * self.setting.wealth)) for account_id in ACCOUNTS]
        if len(names) < len(self.markets()) and self.random.random() < 0.2:
            found += self._group_without_a_mark(names[0], self.markets()[-1])
        return found

    def _group_without_a_mark(self, marked: str, unmarked: str) -> list[Any]:
        """One account of an owner holds what nobody can price, and another orders in the same group."""
        limits = c.Limits(groups=(c.GroupLimit((marked, unmarked), 2**50),))
        return [
            c.TransferPosition("A/1", unmarked, 1, 1),
            c.SetLimits("owner", "A", limits, "desk", "exposure"),
            c.CheckOrder("A", self.new_id("o"), marked, 1),
        ]

    def _account(self, account_id: str) -> c.OpenAccount:
        leverage = {self.a_contract(): 25 * SECOND} if self.random.random() < 0.2 else {}
        return c.OpenAccount(
            account_id, OWNERS[account_id], self.random.random() < 0.7, PARENTS.get(account_id), leverage
        )

    def _command(self) -> Any:
        weights = CALM if self.calm else UNFILLED if self.setting.limited else WEIGHTS
        for _ in range(30):
            kind = self.random.choices(list(weights), list(weights.values()))[0]
            command = getattr(self, f"_{kind}")()
            if command is not None:
                nameless = hasattr(command, "by") and self.random.random() < 0.02
                return msgspec.structs.replace(command, by="") if nameless else command
        return c.Tick()

    # -- the market ------------------------------------------------------------------------------

    def _marks(self) -> Any:
        names = self.random.sample(self.markets(), self.random.randint(1, len(self.markets())))
        batch: list[c.Mark] = []
        for name in names:
            if self.random.random() < 0.04:
                batch.append(c.Mark(name, None))
            elif self.random.random() < 0.35:  # confirms a jump; otherwise nothing new but its time
                batch.append(c.Mark(name, self.price(name)))
            else:
                batch.append(c.Mark(name, self.moved(name, self.random.choice((0.005, 0.03, 0.1)))))
        return c.Marks(tuple(batch))

    def _series(self) -> Any:
        """Several batches, each aimed without knowing of the others; some fall after the series' own time."""
        batches: list[tuple[int, tuple[c.Mark, ...]]] = []
        time = self.time
        for _ in range(self.random.randint(1, 5)):
            kind = self.random.choices(("marks", "aimed_mark", "gap", "nonsense"), (6, 6, 1, 1))[0]
            command = getattr(self, f"_{kind}")()
            time += self.random.choice((0, 0, 1, SECOND // 2))
            if isinstance(command, c.Marks):
                slip = SECOND if self.random.random() < 0.02 else 0
                batches.append((time - slip, command.marks))
        return pack(batches) if batches else None

    def _gap(self) -> Any:
        name = self.a_market()
        return c.Marks((c.Mark(name, self.moved(name, self.random.choice((0.3, 0.7, 1.3)))),))

    def _aimed_mark(self) -> Any:
        """The price at which an account is at one of its lines, or a tick or so beside it."""
        found = self.a_holder()
        if found is None or self.auditor.contract(found[1]).price is None:
            return None
        account, name = found
        contract, figures = self.auditor.contract(name), self.auditor.figures
        lines = [figures.line(figures.required(account), level) for level in ("alert", "auto_liquidate")]
        lines += [line for line, _ in account.brakes.lines()] * 3 if account.brakes else [Fraction(0)]
        target = self.random.choice(lines)
        a_tick = contract.tick if contract.linear else contract.tick * 20
        assert contract.price is not None
        slope = (
            contract.value(contract.price + a_tick, account.held()[name].quantity)
            - contract.value(contract.price, account.held()[name].quantity)
        ) / (a_tick / contract.tick)
        if slope == 0:
            return None
        ticks = self.price(name) + round((target - figures.net_liq(account)) / slope) + self.random.randint(-2, 2)
        first = self.setting.prices[name]
        if not -first <= ticks <= 4 * first:
            return None
        market = name.partition(":")[0]
        return c.Marks((c.Mark(market, self.legal(name, ticks)),))

    def _tick(self) -> Any:
        return c.Tick(self.random.choice((0, 0, self.auditor.now - 90 * SECOND, self.auditor.now + 90 * SECOND)))

    def _session(self) -> Any:
        sessions = sorted(self.auditor.rules.sessions) if self.auditor.rules else []
        if not sessions:
            return None
        window = self.random.choice(("intraday", "end_of_day"))
        return c.SessionChange(self.random.choice(sessions), window, self.random.random() < 0.8)

    def _halt(self) -> Any:
        name = self.a_market()
        return c.Halt(name, not self.auditor.contract(name).halted and self.random.random() < 0.7)

    def _set_margin(self) -> Any:
        name = self.a_market()
        table = msgspec.json.decode(self.setting.document)["contracts"][name]["tiers"]
        factor = self.random.choice((Fraction(11, 10), Fraction(5, 4), Fraction(4, 5), Fraction(1)))
        for tier in table:
            for key in [key for key in tier if "_margin" in key and tier[key] is not None]:
                tier[key] = f"{float(Fraction(tier[key]) * factor):.6f}"
        second = self.random.choice(("", "second", "second", "desk"))
        return c.SetMargin(name, msgspec.json.encode(table), "desk", "volatility", second)

    def _accrue(self) -> Any:
        name = self.a_market()
        rate = self.random.choice((100_000, -100_000, 375_001, -20_000_000, 50_000_000, 1))
        price = self.moved(name, 0.01) if self.random.random() < 0.3 else None
        if self.auditor.rules and name in self.auditor.rules.intervals and self.random.random() < 0.4:
            rates = self.random.choice(((rate,) * 3, (-100_000, 1, 0), (20_000_000, 5, 6), (1, 100_001)))
            self.first += [*(c.AccrueFunding(name, next_rate) for next_rate in rates), c.BookFunding()]
        return c.AccrueFunding(name, rate, price)

    def _book_funding(self) -> Any:
        return c.BookFunding()

    def _settle(self) -> Any:
        name = self.a_market()
        return c.Settle(name, self.moved(name, 0.02))

    def _expire(self) -> Any:
        """At a price near the mark, or at one that hurts somebody who holds something else as well."""
        several = [account for account in self.accounts() if len(account.held()) > 1]
        if not several or self.random.random() < 0.5:
            name = self.a_market()
            return c.Expire(name, self.moved(name, 0.1))
        name, position = self.random.choice(list(self.random.choice(several).held().items()))
        name = name.partition(":")[0]
        against = -1 if position.quantity > 0 else 1
        return c.Expire(name, self.legal(name, self.price(name) + against * (abs(self.price(name)) // 3)))

    def _business_day(self) -> Any:
        """One, or a week of them at once while somebody is called for margin."""
        if any(account.call for account in self.accounts()) and self.random.random() < 0.5:
            self.first += [c.BusinessDay(self.new_id("day")) for _ in range(5)]
            called = self.random.choice([account for account in self.accounts() if account.call])
            self.first += [self._order_of(called) for _ in range(4)]
        return c.BusinessDay(self.new_id("day"))

    # -- orders and fills ------------------------------------------------------------------------

    def _close_out_fill(self) -> Any:
        """A fill of an order that is out: at the mark, or worse, or far beyond; whole, in part, seldom too much."""
        orders = [
            (account, order_id, name, quantity)
            for account in self.accounts()
            if account.event
            for order_id, (name, quantity) in account.event.outstanding.items()
        ]
        if not orders:
            return None
        account, order_id, name, quantity = self.random.choice(orders)
        contract = self.auditor.contract(name)
        lots = int(quantity / contract.lot)
        if abs(lots) > 1 and self.random.random() < 0.35:
            lots = self.random.randint(1, abs(lots) - 1) * (1 if lots > 0 else -1)
        elif self.random.random() < 0.02:
            lots += 1 if lots > 0 else -1
        worse = self.random.choice((0.0, 0.0, 0.002, 0.02, 0.1, 0.4))
        price = self.price(name) + round(abs(self.price(name)) * worse) * (1 if lots > 0 else -1)
        fill_id = self.new_id("f")
        return c.Fill(account.account_id, name, lots, self.legal(name, price), order_id, fill_id)

    def _order_done(self) -> Any:
        orders = [o for account in self.accounts() if account.event for o in account.event.outstanding]
        orders += [o for account in self.accounts() for o in account.working][:2]
        return c.OrderDone(self.random.choice(orders), "cancelled") if orders else None

    def _check_order(self) -> Any:
        account = self.an_account()
        if account is None:
            return None
        barred = [account for account in self.accounts() if account.set_flags & {"stopped", "frozen"}]
        return self._order_of(self.random.choice(barred) if barred and self.random.random() < 0.25 else account)

    def _order_of(self, account: Account) -> c.CheckOrder:
        name = self.a_contract()
        lots = self.lots(name)
        if self.random.random() < 0.35 and account.held():
            name = self.random.choice(list(account.held()))
            held = account.held()[name].quantity / self.auditor.contract(name).lot
            lots = -int(held) if self.random.random() < 0.6 else -int(held) - (1 if held > 0 else -1)
        order_id = self.random.choice(list(account.working) or [""]) if self.random.random() < 0.1 else ""
        limit = self.moved(name, 0.01) if self.random.random() < 0.5 else None
        collar = self.auditor.bounds_of(account).collar
        if limit is not None and collar is not None and self.random.random() < 0.5:
            room = floor(abs(self.price(name)) * collar) + self.random.choice((0, 1))
            limit = self.legal(name, self.price(name) + (room if lots > 0 else -room))
        return c.CheckOrder(account.account_id, order_id or self.new_id("o"), name, lots, limit)

    def _customer_fill(self) -> Any:
        """A fill of a working order, or of one that nobody checked, which is how positions beyond the margin come."""
        account = self.an_account()
        if account is None:
            return None
        if account.working and self.random.random() < 0.8:
            order_id, (name, quantity) = self.random.choice(list(account.working.items()))
            lots = int(quantity / self.auditor.contract(name).lot)
            if abs(lots) > 1 and self.random.random() < 0.4:
                lots = self.random.randint(1, abs(lots) - 1) * (1 if lots > 0 else -1)
        else:
            order_id, name = self.new_id("unknown"), self.a_contract()
            lots = self.lots(name) // self.random.choice((1, 4)) or 1
            if name in account.held() and self.random.random() < 0.5:
                lots = -int(account.held()[name].quantity / self.auditor.contract(name).lot)
        return c.Fill(account.account_id, name, lots, self.moved(name, 0.003), order_id, self.new_id("f"))

    def _counterparty(self) -> Any:
        """Somebody with money gets the other side of what an account holds."""
        found = self.a_holder()
        others = [a for a in self.accounts() if a.event is None and found is not None and a is not found[0]]
        if found is None or not others:
            return None
        account, name = self.random.choice(others), found[1]
        lots = -int(found[0].held()[name].quantity / self.auditor.contract(name).lot)
        lots = lots // self.random.choice((1, 1, 2, 3)) or lots
        if not self.auditor.contract(name).expired:
            price = self.moved(name, self.random.choice((0.01, 0.2)))
            order_id, fill_id = self.new_id("unknown"), self.new_id("f")
            self.first.append(c.Fill(account.account_id, name, lots, price, order_id, fill_id))
        share = self.random.choice((1, 1, Fraction(1, 5), Fraction(1, 20)))
        return c.Deposit(account.account_id, max(1, int(self.setting.wealth * share)))

    def _stray_fill(self) -> Any:
        name = self.a_contract()
        account_id = self.random.choice(("nobody", "nobody", "A"))
        fill_id = self.new_id("f")
        if self.random.random() < 0.3 and self.auditor.fills:
            fill_id = self.random.choice(list(self.auditor.fills))
        order_id = "stray"
        if account_id == "A" and "A" in self.auditor.accounts:
            account = self.auditor.accounts["A"]
            known = [*account.working, *(account.event.outstanding if account.event else ())]
            order_id = self.random.choice(known or [order_id])
        return c.Fill(account_id, name, self.lots(name), self.moved(name, 0.01), order_id, fill_id)

    def _cancel(self) -> Any:
        orders = [o for account in self.accounts() for o in account.working] or ["none"]
        orders += [o for account in self.accounts() if account.event for o in account.event.outstanding][:1]
        return c.CancelOrder(self.random.choice(orders))

    def _transfer(self) -> Any:
        account, name = self.an_account(), self.a_contract()
        if account is None:
            return None
        contract, lots = self.auditor.contract(name), self.lots(name)
        value = contract.value(self.moved(name, 0.02) * contract.tick, lots * contract.lot)
        cost = floor(contract.units(value)) + 1
        last = contract.expired or self.random.random() < 0.8
        if not last:
            self.first.append(c.TransferPosition(account.account_id, name, 1, floor(Fraction(cost, lots))))
        return c.TransferPosition(account.account_id, name, lots, cost, last)

    def _toggle(self) -> Any:
        account = self.an_account()
        return c.SetValidation(account.account_id, self.random.random() < 0.5) if account else None

    # -- money -----------------------------------------------------------------------------------

    def _deposit(self) -> Any:
        """About what the account's positions, or those it might take, require."""
        account = self.an_account()
        if account is None or (account.parent and not account.held()):
            return None
        figures = self.auditor.figures
        needed = sum(figures.required(account).values(), Fraction(0))
        if not needed or self.random.random() < 0.3:
            name = self.a_contract()
            contract = self.auditor.contract(name)
            quantity = abs(self.lots(name)) * contract.lot
            notional = contract.notional(self.price(name) * contract.tick, quantity)
            needed += contract.margin("initial", quantity, notional)
        micros = self.micros(needed * Fraction(self.random.choice((20, 60, 105, 150, 400)), 100))
        return c.Deposit(account.account_id, max(1, micros))

    def _answer_call(self) -> Any:
        """What brings net liq to initial margin, or a micro beside it."""
        called = [account for account in self.accounts() if account.call]
        if not called:
            return None
        account = self.random.choice(called)
        missing = self.micros(self.auditor.initial_margin(account) - self.auditor.figures.net_liq(account))
        return c.Deposit(account.account_id, max(1, missing + self.random.choice((-1, 0, 1))))

    def _pay_debt(self) -> Any:
        owing = [account for account in self.accounts() if account.receivable]
        if not owing:
            return None
        account = self.random.choice(owing)
        share = self.random.choice((Fraction(1, 3), Fraction(1), Fraction(5, 4)))
        return c.Deposit(account.account_id, max(1, self.micros(account.receivable * share)))

    def _withdraw(self) -> Any:
        account = self.an_account()
        if account is None:
            return None
        free = self.micros(self.auditor.withdrawable(account))
        amount = self.random.choice((free, free + 1, free // 3 + 1))
        return c.Withdraw(account.account_id, max(1, amount))

    def _write_off(self) -> Any:
        owing = [account for account in self.accounts() if account.receivable]
        if not owing:
            return None
        account = self.random.choice(owing)
        micros = self.micros(account.receivable) // self.random.choice((1, 1, 3)) + self.random.choice((0, 0, 1))
        second = self.random.choice(("second", "second", "", "desk"))
        return c.WriteOff(account.account_id, max(1, micros), "desk", second, "agreed")

    def _adjust(self) -> Any:
        account = self.an_account()
        if account is None:
            return None
        cash = max(1, abs(self.micros(account.cash)))
        micros = self.random.choice((1, 1, -1)) * self.random.choice((1, cash // 2 + 1, cash))
        second = self.random.choice(("second", "second", "desk"))
        restore = self.random.random() < 0.3
        return c.AdjustCash(account.account_id, micros, "desk", second, "goodwill", "", restore)

    def _correct(self) -> Any:
        known = list(self.auditor.fills)
        fill_id = self.random.choice(known[-6:]) if known and self.random.random() < 0.95 else "none"
        price = None
        if fill_id != "none" and self.random.random() < 0.6:
            past = self.auditor.fills[fill_id]
            ticks = int(past.price / self.auditor.contract(past.contract).tick)
            price = self.legal(past.contract, ticks + self.random.randint(-20, 20))
        second = self.random.choice(("second", "second", "second", ""))
        return c.CorrectFill(fill_id, price, "desk", second, "busted")

    def _of_a_leg(self, leg: str) -> Any:
        """What befalls a market befalls no leg alone, and a leg holds its own side."""
        return self.random.choice(
            (
                c.Marks((c.Mark(leg, self.price(leg)),)),
                c.Halt(leg, True),
                c.AccrueFunding(leg, 1),
                c.Settle(leg, self.price(leg)),
                c.NewsWindow((leg,), 2 * SECOND, False, "desk", "x"),
                c.DeskSwitch(leg, "hold", "desk", "x"),
                c.TransferPosition("A", leg, -1000 * self.setting.sizes[leg] * self.auditor.contract(leg).side, 1),
            )
        )

    def _nonsense(self) -> Any:
        """Inputs that no state accepts."""
        name, too_high = self.a_market(), 2**40 + 1
        legs = [own for own in self.setting.prices if ":" in own]
        if legs and self.random.random() < 0.5:
            return self._of_a_leg(self.random.choice(legs))
        return self.random.choice(
            (
                c.LoadRulebook(self.setting.document),
                c.OpenAccount("A"),
                c.OpenAccount("E", parent="nobody"),
                c.Deposit("nobody", 1),
                c.Deposit("A", 0),
                c.Withdraw("A", -1),
                c.Fill("A", "NONE", 1, 1, "x", self.new_id("f")),
                c.Fill("A", name, 0, self.price(name), "x", self.new_id("f")),
                c.Fill("A", name, 1, too_high, "x", self.new_id("f")),
                c.Marks((c.Mark("NONE", 1),)),
                c.Marks((c.Mark(name, too_high),)),
                c.Marks((c.Mark(name, self.price(name)), c.Mark(name, self.price(name)))),
                c.CheckOrder("A", self.new_id("o"), "NONE", 1),
                c.CheckOrder("nobody", self.new_id("o"), name, 1),
                c.CheckOrder("A", self.new_id("o"), name, 0),
                c.CheckOrder("A", self.new_id("o"), name, 1, too_high),
                c.SessionChange("none", "intraday", True),
                c.NewsWindow((name,), 500, False, "desk", "x"),
                c.OrderDone("none", "cancelled"),
                c.TransferPosition("A", name, 0, 0),
            )
        )


def streams() -> st.SearchStrategy[tuple[Random, Setting]]:
    """What a stream is made of: a random source that hypothesis drives, and a rulebook."""
    return st.tuples(st.randoms(use_true_random=False), st.sampled_from((*SETTINGS, *WATERFALLS, *SPECIAL, *HEDGED)))
