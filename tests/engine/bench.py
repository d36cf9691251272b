"""A bench for the engine: every input that goes in is held against the rules that hold for all inputs.

After each input the books balance (G-02), a rejection has left the state's image as it was (G-09), the events come
sorted by account (G-19), and an engine restored from the last snapshot has answered the same and is in the same state
(G-03). Amounts, prices and quantities are decimal text, as in files.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from closeout.core.contracts import Contract
from closeout.core.margin import Level
from closeout.core.units import rate
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine import image
from closeout.engine.book import CloseOut, Flag
from closeout.engine.engine import Engine
from closeout.engine.state import State
from closeout.rulebooks.loader import load

SECOND = 10**9
NOON = "2026-06-10T17:00:00Z"
"""A Wednesday at noon in Chicago."""

FULL = {"alert": "0.80", "liquidate_only": "1.00", "auto_liquidate": "1.00"}
"""Levels of a window that liquidates at 100 %."""

AnyEvent = TypeVar("AnyEvent", bound=ev.Event)


def flat_margin(intraday: str, initial: str | None = None, **more: Any) -> dict[str, Any]:
    """A contract worth a dollar a point whose margin is in dollars a contract."""
    tier = {"notional_from": "0", "intraday_margin": intraday, "initial_margin": initial or intraday}
    return {"tick": "0.01", "lot": "1", "tiers": [tier], **more}


def nanoseconds(moment: str) -> int:
    """An ISO 8601 instant with its zone."""
    when = dt.datetime.fromisoformat(moment)
    return int(when.timestamp()) * SECOND + when.microsecond * 1000


def of(events: list[ev.AnyEvent], kind: type[AnyEvent]) -> list[AnyEvent]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


class Desk:
    """One engine under a rulebook, and what is needed to talk to it."""

    def __init__(self, rulebook: str = "kraken-us", overrides: dict[str, Any] | None = None, at: str = NOON) -> None:
        self.rulebook = load(rulebook, overrides)
        self.engine = Engine(index_from=0)  # the twin scans: both give the same (G-12)
        self.twin = Engine()
        self.time = nanoseconds(at)
        self.log: list[ev.AnyEvent] = []
        self.inputs: list[c.Input] = []
        self._ids = 0
        self.give(c.LoadRulebook(self.rulebook.document()))

    # -- inputs --------------------------------------------------------------------------------------

    def give(self, command: Any, source: str = "bench", number: int | None = None) -> list[ev.AnyEvent]:
        """Apply one command as the next input of its source; returns its events."""
        expected = self.engine.sources.get(source, 0) + 1
        given = c.Input(source, expected if number is None else number, self.time, command)
        before = self.picture()
        events = self.engine.apply(given)
        self.inputs.append(given)
        assert self.engine.imbalances() == []
        assert [e.account_id for e in events] == sorted(e.account_id for e in events)
        if any(isinstance(event, ev.Rejected) for event in events):
            assert len(events) == 1
            assert self.picture() == before
        assert self.twin.apply(given) == events
        snapshot = self.engine.snapshot()
        assert self.twin.snapshot() == snapshot
        self.twin = Engine.restore(snapshot)
        assert self.twin.snapshot() == snapshot
        self.log += events
        return events

    def done(self, command: Any) -> list[ev.AnyEvent]:
        """Apply a command that must not be rejected."""
        events = self.give(command)
        assert of(events, ev.Rejected) == []
        return events

    def refused(self, command: Any) -> str:
        """Apply a command that must be rejected; returns the code."""
        (rejected,) = self.give(command)
        assert isinstance(rejected, ev.Rejected)
        assert rejected.detail
        return rejected.code

    def at(self, moment: str) -> None:
        """The time of the next inputs."""
        self.time = nanoseconds(moment)

    def wait(self, seconds: int) -> None:
        self.time += seconds * SECOND

    def new_id(self) -> str:
        self._ids += 1
        return f"n{self._ids}"

    def account(self, account_id: str, cash: str = "0", **more: Any) -> None:
        self.done(c.OpenAccount(account_id, **more))
        if Decimal(cash):
            self.deposit(account_id, cash)

    def deposit(self, account_id: str, amount: str) -> list[ev.AnyEvent]:
        return self.done(c.Deposit(account_id, self.micros(amount)))

    def withdraw(self, account_id: str, amount: str) -> c.Withdraw:
        return c.Withdraw(account_id, self.micros(amount))

    def session(self, session: str, window: str = "intraday", *, is_open: bool = True) -> list[ev.AnyEvent]:
        return self.done(c.SessionChange(session, window, is_open))

    def marks(self, _source: str = "feed", **prices: str | None) -> list[ev.AnyEvent]:
        """One atomic batch of marks."""
        batch = tuple(
            c.Mark(name, None if price is None else self.ticks(name, price)) for name, price in prices.items()
        )
        events = self.give(c.Marks(batch), source=_source)
        assert of(events, ev.Rejected) == []
        return events

    def hold(self, account_id: str, contract: str, quantity: str, price: str) -> list[ev.AnyEvent]:
        """Bring a position in, without a fee."""
        facts = self.facts(contract)
        lots = facts.lots(Decimal(quantity))
        cost = facts.cost_of(Decimal(price), lots)
        return self.done(c.TransferPosition(account_id, contract, lots, cost))

    def order(self, account_id: str, contract: str, quantity: str, limit: str | None = None) -> ev.AnyEvent:
        """Ask for an order; returns the answer."""
        ticks = None if limit is None else self.ticks(contract, limit)
        lots = self.lots(contract, quantity)
        (answer,) = self.done(c.CheckOrder(account_id, self.new_id(), contract, lots, ticks))
        return answer

    def approved(self, account_id: str, contract: str, quantity: str) -> str:
        """Ask for an order that must be approved; returns its id."""
        answer = self.order(account_id, contract, quantity)
        assert isinstance(answer, ev.OrderApproved), answer
        return answer.order_id

    def refusal(self, account_id: str, contract: str, quantity: str) -> str:
        """Ask for an order that must be refused, which changes nothing; returns the code."""
        before = self.facts_only()
        answer = self.order(account_id, contract, quantity)
        assert isinstance(answer, ev.OrderRefused), answer
        assert self.facts_only() == before
        return answer.code

    def fill(
        self, account_id: str, contract: str, quantity: str, price: str, order_id: str = "elsewhere"
    ) -> list[ev.AnyEvent]:
        lots, ticks = self.lots(contract, quantity), self.ticks(contract, price)
        return self.done(c.Fill(account_id, contract, lots, ticks, order_id, self.new_id()))

    def trade(self, account_id: str, contract: str, quantity: str, price: str) -> list[ev.AnyEvent]:
        """An approved order, filled at once."""
        order_id = self.approved(account_id, contract, quantity)
        return self.fill(account_id, contract, quantity, price, order_id)

    def fill_order(self, order_id: str, price: str, quantity: str | None = None) -> list[ev.AnyEvent]:
        """Fill a close-out order that is out, all of it or |quantity| of it."""
        row = self.state.order_owner[order_id]
        name, lots = self.state.book.close_outs[row].outstanding[order_id]
        if quantity is not None:
            part = self.lots(name, quantity)
            lots = part if lots > 0 else -part
        fill = c.Fill(self.state.book.ids[row], name, lots, self.ticks(name, price), order_id, self.new_id())
        return self.done(fill)

    def close_at(self, account_id: str, price: str, limit: int = 1000) -> list[ev.AnyEvent]:
        """Fill every close-out order of an account at one price until none is out."""
        events: list[ev.AnyEvent] = []
        for _ in range(limit):
            active = self.close_out(account_id)
            if active is None or not active.outstanding:
                return events
            events += self.fill_order(next(iter(active.outstanding)), price)
        raise AssertionError("the close-out does not end")

    def desk(self, account_id: str, action: str, second: str = "") -> list[ev.AnyEvent]:
        return self.done(c.DeskAction(account_id, action, "ann", "a reason", second))

    def news(self, multiplier: str, *contracts: str, held: bool = False) -> list[ev.AnyEvent]:
        second = "" if rate(multiplier, "multiplier") else "bob"
        return self.done(c.NewsWindow(contracts, rate(multiplier, "multiplier"), held, "ann", "payrolls", second))

    def set_margin(self, contract: str, second: str = "", **tier: str) -> c.SetMargin:
        tiers = msgspec.json.encode([{"notional_from": "0", **tier}])
        return c.SetMargin(contract, tiers, "ann", "volatility", second)

    # -- looking -------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.engine.loaded

    def picture(self) -> bytes:
        """The state's image without the sources' numbers and the count of inputs."""
        return image.encode({}, 0, self.engine.state)

    def facts_only(self) -> dict[str, Any]:
        """The state without the clock and the number of the input: what an answer must leave alone."""
        state: dict[str, Any] = msgspec.msgpack.decode(self.picture())["state"]
        return {key: value for key, value in state.items() if key not in ("time", "seq")}

    def facts(self, contract: str) -> Contract:
        return self.state.contract(contract).contract

    def ticks(self, contract: str, price: str) -> int:
        return self.facts(contract).ticks(Decimal(price))

    def lots(self, contract: str, quantity: str) -> int:
        return self.facts(contract).lots(Decimal(quantity))

    def micros(self, amount: str) -> int:
        return self.state.policy.currency.micros_of_text(amount)

    def money(self, micros: int) -> str:
        return self.state.policy.currency.text(micros)

    def cash(self, account_id: str) -> str:
        return self.money(int(self.state.book.cash[self.state.row(account_id)]))

    def accrued(self, account_id: str) -> str:
        return self.money(int(self.state.book.accrued[self.state.row(account_id)]))

    def owed(self, account_id: str) -> str:
        return self.money(int(self.state.book.receivable[self.state.row(account_id)]))

    def net_liq(self, account_id: str) -> str:
        return self.money(self.state.risk(self.state.row(account_id)).net_liq)

    def requirement(self, account_id: str) -> str:
        return self.money(self.state.risk(self.state.row(account_id)).requirement)

    def level(self, account_id: str) -> Level:
        return self.state.level(self.state.row(account_id))

    def has(self, account_id: str, flag: Flag) -> bool:
        return self.state.book.has(self.state.row(account_id), flag)

    def position(self, account_id: str, contract: str) -> str:
        state = self.state.contract(contract)
        return state.contract.quantity_text(state.position(self.state.row(account_id)).lots)

    def close_out(self, account_id: str) -> CloseOut | None:
        return self.state.book.close_outs.get(self.state.row(account_id))

    def outstanding(self, account_id: str) -> list[tuple[str, str]]:
        """Contract and signed quantity of each close-out order that is out."""
        active = self.close_out(account_id)
        lots = active.outstanding.values() if active else ()
        return [(name, self.facts(name).quantity_text(signed)) for name, signed in lots]

    def events(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """All events of a kind since the start."""
        return of(self.log, kind)

    def balance(self, ledger_account: str) -> str:
        return self.money(self.state.ledger.balances[ledger_account])
