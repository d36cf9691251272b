"""Scenario files: short stories that the engine must live through as written (docs/scenarios/README.md).

`python -m tests.scenarios [NAME ...]` tells them; `play` runs one and raises `Wrong` at the first step that ends
otherwise than the file says. The bench holds its own rules after each input; at the end of a story `_conserved` counts
the money once more, from the story's own trades.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct, field
from tests.engine.bench import Desk, of

from closeout.core.units import rate
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag
from closeout.engine.ledger import ACCOUNTS, CUSTOMER_CASH, FEES, RECEIVABLE, WRITTEN_OFF
from closeout.engine.receipts import usage

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "scenarios"


class Wrong(AssertionError):
    """A scenario that cannot be read, or that ends otherwise: file, step, field, got, expected."""


# -- acts: each gives the engine its commands, one after the other ---------------------------------------


class Act(Struct, forbid_unknown_fields=True, kw_only=True):
    """What happens in a step."""

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        raise NotImplementedError


class Held(Struct, forbid_unknown_fields=True):
    contract: str
    quantity: str
    price: str


class Open(Act):
    """A new account with positions and cash. With `parent` it is an isolated position of that account."""

    account: str
    cash: str
    parent: str | None = None
    holds: tuple[Held, ...] = ()

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        yield c.OpenAccount(self.account, parent=self.parent)
        for held in self.holds:
            facts = desk.facts(held.contract)
            lots = desk.lots(held.contract, held.quantity)
            cost = facts.value(desk.ticks(held.contract, held.price), lots)
            yield c.TransferPosition(self.account, held.contract, lots, cost, last=False)
        yield c.Deposit(self.account, desk.micros(self.cash))


class Deposit(Act):
    account: str
    amount: str

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        yield c.Deposit(self.account, desk.micros(self.amount))


class Withdraw(Act):
    account: str
    amount: str

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        yield c.Withdraw(self.account, desk.micros(self.amount))


class Session(Act):
    """The window and the opening hours that the rulebook's own calendar has at this moment."""

    name: str

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        now = desk.state.policy.sessions[self.name].state(desk.time)
        yield c.SessionChange(self.name, now.window, now.is_open)


class News(Act):
    """A news window begins with a `multiplier` above 1 and ends with 0, by two people; `held` measures positions held
    as well."""

    contract: str
    multiplier: str
    held: bool
    by: str
    reason: str
    second: str = ""

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        multiplier = rate(self.multiplier, "multiplier")
        yield c.NewsWindow((self.contract,), multiplier, self.held, self.by, self.reason, self.second)


class Toggle(Act):
    """The customer's setting: new orders are checked against intraday margin, or against initial margin."""

    account: str
    with_intraday: bool

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        yield c.SetValidation(self.account, self.with_intraday)


class Order(Act):
    """A customer's order; it works until it is filled, which `filled_at` does at once."""

    account: str
    contract: str
    quantity: str
    filled_at: str | None = None

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        order_id, lots = desk.new_id(), desk.lots(self.contract, self.quantity)
        yield c.CheckOrder(self.account, order_id, self.contract, lots)
        if self.filled_at is not None and order_id in desk.state.order_owner:
            price = desk.ticks(self.contract, self.filled_at)
            yield c.Fill(self.account, self.contract, lots, price, order_id, desk.new_id())


class CloseOutFill(Act):
    """Every close-out order of the account that is out fills whole at one price, until none is out."""

    account: str
    price: str

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        while (active := desk.close_out(self.account)) and active.outstanding:
            order_id, (name, lots) = next(iter(active.outstanding.items()))
            yield c.Fill(self.account, name, lots, desk.ticks(name, self.price), order_id, desk.new_id())


class Status(Act):
    account: str
    status: str
    by: str
    reason: str

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        yield c.SetReceivableStatus(self.account, self.status, self.by, self.reason)


class WriteOff(Act):
    account: str
    amount: str
    by: str
    second: str
    reason: str

    def commands(self, desk: Desk) -> Iterator[c.Command]:
        yield c.WriteOff(self.account, desk.micros(self.amount), self.by, self.second, self.reason)


# -- the file --------------------------------------------------------------------------------------------


class AccountSeen(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An account after the step."""

    level: str | None = None
    flags: list[str] | None = None
    net_liq: str | None = None
    requirement: str | None = None
    usage: str | None = None
    cash: str | None = None
    owed: str | None = None
    fees: str | None = None
    debt_status: str | None = None
    debt_days: int | None = None
    positions: dict[str, str] | None = None


class ReceiptSeen(Struct, forbid_unknown_fields=True):
    """The receipt that the step issued; each of `words` stands in its words."""

    account: str
    how: str
    fee: str
    deficit: str
    owed: str
    words: list[str] = []


class Expect(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is so after the step. A refusal, an order sent, a plan that waits and a receipt must be expected: without
    these fields the step must not bring any."""

    refused: str | None = None
    orders: list[str] = []
    waits: list[str] = []
    receipt: ReceiptSeen | None = None
    needs: str | None = None
    available: str | None = None
    window: str | None = None
    is_open: bool | None = None
    accounts: dict[str, AccountSeen] = {}
    ledger: dict[str, str] = {}


class Step(Struct, forbid_unknown_fields=True):
    """One act at a wall time, and what it leads to. `why` is for people."""

    at: dt.datetime
    why: str = ""
    open: Open | None = None
    deposit: Deposit | None = None
    withdraw: Withdraw | None = None
    marks: dict[str, str] | None = None
    session: Session | None = None
    news: News | None = None
    toggle: Toggle | None = None
    order: Order | None = None
    close_out_fill: CloseOutFill | None = None
    business_day: dt.date | None = None
    status: Status | None = None
    write_off: WriteOff | None = None
    expect: Expect = field(default_factory=Expect)

    @property
    def acts(self) -> dict[str, Any]:
        names = [name for name in self.__struct_fields__ if name not in ("at", "why", "expect")]
        return {name: act for name in names if (act := getattr(self, name)) is not None}


class Scenario(Struct, forbid_unknown_fields=True):
    title: str
    story: str
    rules: tuple[str, ...]
    rulebook: str
    zone: str
    steps: tuple[Step, ...]
    overrides: dict[str, Any] = {}


def read(path: Path) -> Scenario:
    """A scenario file; `Wrong` names the file and the key where it is not one."""
    try:
        scenario = msgspec.toml.decode(path.read_bytes(), type=Scenario)
    except msgspec.DecodeError as error:
        raise Wrong(f"{path.name}: {error}") from None
    for number, step in enumerate(scenario.steps, 1):
        if len(step.acts) != 1:
            raise Wrong(f"{path.name}: step {number}: expected one act, got {', '.join(step.acts) or 'none'}")
        for name in step.expect.ledger.keys() - set(ACCOUNTS):
            raise Wrong(f"{path.name}: step {number}: expect.ledger.{name}: expected one of {', '.join(ACCOUNTS)}")
    return scenario


# -- playing ---------------------------------------------------------------------------------------------


def play(path: Path, *, tell: bool = False) -> Desk:
    """Run a scenario to its end; `tell` prints it. Returns the bench with all that happened."""
    scenario = read(path)
    zone = ZoneInfo(scenario.zone)
    desk = Desk(scenario.rulebook, scenario.overrides, at=_instant(scenario.steps[0], zone))
    if tell:
        print(f"\n{scenario.title}\n\n{scenario.story.strip()}\n")
    for number, step in enumerate(scenario.steps, 1):
        desk.at(_instant(step, zone))
        (name, act), *_ = step.acts.items()
        events = _do(desk, name, act)
        if tell:
            print(f"{step.at}  {name}: {_words(act)}", *_told(desk, step, events), sep="\n    ")
        expected = _flat(msgspec.to_builtins(step.expect))
        seen = _flat(_seen(desk, step, events))
        wrong = [
            f"{path.name}: step {number} ({step.at}, {name}): {field}: got {_show(seen.get(field))}, "
            f"expected {_show(expected.get(field))}"
            for field in [*expected, *(field for field in seen if field not in expected)]
            if seen.get(field) != expected.get(field)
        ]
        if wrong:
            raise Wrong("\n".join(wrong))
    _conserved(path, desk)
    return desk


def _instant(step: Step, zone: ZoneInfo) -> str:
    return step.at.replace(tzinfo=zone).isoformat()


def _do(desk: Desk, name: str, act: Any) -> list[ev.AnyEvent]:
    if name == "marks":
        return desk.marks(**act)
    if name == "business_day":
        return desk.give(c.BusinessDay(act.isoformat()))
    events: list[ev.AnyEvent] = []
    for command in act.commands(desk):
        events += desk.give(command)
    return events


def _seen(desk: Desk, step: Step, events: list[ev.AnyEvent]) -> dict[str, Any]:
    """The fields that the step expects, as they are, and whatever may not happen unexpected."""
    expect = step.expect
    found: dict[str, Any] = {
        "orders": [
            f"{order.account_id}: {'buy' if order.lots > 0 else 'sell'} "
            f"{desk.facts(order.contract).quantity_text(abs(order.lots))} {order.contract}"
            for order in of(events, ev.CloseOutOrder)
        ],
        "waits": [f"{wait.account_id}: {wait.contract}: {wait.reason}" for wait in of(events, ev.CloseOutQueued)],
    }
    found = {name: lines for name, lines in found.items() if lines}
    for refusal in (*of(events, ev.Rejected), *of(events, ev.OrderRefused)):
        found["refused"] = refusal.code
    for answer in (*of(events, ev.OrderApproved), *of(events, ev.OrderRefused)):
        numbers = {"needs": desk.money(answer.after), "available": desk.money(answer.available)}
        found |= {name: text for name, text in numbers.items() if getattr(expect, name) is not None}
    for change in desk.inputs[-1:] if step.session else []:
        now = {"window": change.command.window, "is_open": change.command.is_open}  # pyright: ignore
        found |= {name: value for name, value in now.items() if getattr(expect, name) is not None}
    for ended in of(events, ev.CloseOutEnded):
        found["receipt"] = _receipt(ended.receipt, expect.receipt)
    found["accounts"] = {
        name: {field: getattr(_account(desk, name), field) for field in msgspec.to_builtins(wanted)}
        for name, wanted in expect.accounts.items()
    }
    found["ledger"] = {name: desk.balance(name) for name in expect.ledger}
    return found


def _receipt(receipt: dict[str, Any], expect: ReceiptSeen | None) -> dict[str, Any]:
    wanted = expect.words if expect else []
    return {
        "account": receipt["account_id"],
        "how": receipt["end"]["how"],
        "fee": receipt["liquidation_fee"],
        "deficit": receipt["deficit"],
        "owed": receipt["owed"],
        "words": [words if words in receipt["words"] else receipt["words"] for words in wanted],
    }


def _account(desk: Desk, account_id: str) -> AccountSeen:
    row = desk.state.row(account_id)
    risk = desk.state.risk(row)
    fees = sum(p.micros for p in desk.events(ev.Posted) if p.account_id == account_id and p.credit == FEES)
    debts = [change for change in desk.events(ev.ReceivableChanged) if change.account_id == account_id]
    return AccountSeen(
        level=desk.level(account_id).name.lower(),
        flags=sorted(flag.label for flag in Flag(int(desk.state.book.flags[row]))),
        net_liq=desk.money(risk.net_liq),
        requirement=desk.money(risk.requirement),
        usage=usage(risk.requirement, risk.net_liq) or "over",
        cash=desk.cash(account_id),
        owed=desk.owed(account_id),
        fees=desk.money(fees),
        debt_status=debts[-1].status if debts else "none",
        debt_days=debts[-1].business_days if debts else 0,
        positions={h.contract.name: h.contract.quantity_text(h.lots) for h in desk.state.holdings(row)},
    )


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Leaves by dotted path. Lists and `positions` are compared whole."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        whole = not isinstance(value, dict) or name == "positions"
        leaves |= {f"{above}{name}": value} if whole else _flat(value, f"{above}{name}.")
    return leaves


def _show(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _conserved(path: Path, desk: Desk) -> None:
    """All accounts together are worth what was paid in, plus what their trades brought at the last marks, less fees,
    plus what the firm gave up. The trades are taken from the inputs, not from the engine's positions."""
    paid = market = 0
    for given in desk.inputs:
        match given.command:
            case c.Fill(contract=name, lots=lots, price_ticks=price):
                facts, mark = desk.facts(name), desk.state.contract(name).mark or 0
                market += (facts.value(mark, lots) - facts.trade_value(price, lots)) // facts.units_per_micro
            case c.TransferPosition(contract=name, lots=lots, cost=cost):
                facts, mark = desk.facts(name), desk.state.contract(name).mark or 0
                market += (facts.value(mark, lots) - cost) // facts.units_per_micro
            case _:
                pass
    fees = forgiven = 0
    for posting in desk.events(ev.Posted):
        if posting.reason in ("deposit", "withdrawal"):
            paid += posting.micros if posting.reason == "deposit" else -posting.micros
        fees += posting.micros if posting.credit == FEES else 0
        forgiven += posting.micros if (posting.debit, posting.credit) == (WRITTEN_OFF, RECEIVABLE) else 0
    worth = sum(desk.state.risk(row).net_liq for row in range(1, desk.state.book.count))
    if worth != paid + market - fees + forgiven:
        raise Wrong(f"{path.name}: the end: worth {worth}, from {paid} + {market} - {fees} + {forgiven}")


# -- telling ---------------------------------------------------------------------------------------------


def _words(act: Any) -> str:
    """An act's fields in a line."""
    if isinstance(act, dt.date):
        return act.isoformat()
    given = act if isinstance(act, dict) else {name: getattr(act, name) for name in act.__struct_fields__}
    parts: list[str] = []
    for name, value in given.items():
        if isinstance(value, tuple):
            parts += (f"holding {held.quantity} {held.contract} from {held.price}" for held in value)
        elif value is not None:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _told(desk: Desk, step: Step, events: list[ev.AnyEvent]) -> Iterator[str]:
    """What a step led to, in lines for people."""
    if step.why:
        yield f"({step.why})"
    for event in events:
        match event:
            case ev.LevelChanged():
                numbers = f"net liq {desk.money(event.net_liq)}, requirement {desk.money(event.requirement)}"
                yield f"{event.account_id}: {event.before} -> {event.after}: {numbers}"
            case ev.Rejected() | ev.OrderRefused():
                yield f"{event.account_id}: refused: {event.code}: {event.detail}"
            case ev.CloseOutQueued():
                yield f"{event.account_id}: the plan waits: {event.contract}: {event.reason}"
            case ev.CloseOutOrder():
                yield f"{event.account_id}: order sent: {event.lots} lots of {event.contract}"
            case ev.Posted() if event.debit != CUSTOMER_CASH or event.credit in (FEES, RECEIVABLE):
                posting = f"Dr {event.debit} Cr {event.credit} {desk.money(event.micros)}"
                yield f"{event.account_id}: {posting} ({event.reason})"
            case ev.CloseOutEnded():
                yield f"receipt {event.receipt_id}: {event.receipt['words']}"
            case _:
                pass


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(file.stem for file in FOLDER.glob("*.toml")):
        play(FOLDER / f"{name}.toml", tell=True)
