"""Conformance vectors (EX-08): a case is a rulebook's parameters, steps, and what is so after each; `vectors/README.md`
has the format. `answers` is what our engine says of a case, `case_of` makes one from a scenario file.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec

from closeout.core.contracts import Contract
from closeout.core.prices import bankruptcy_price, liquidation_price
from closeout.core.times import SECOND
from closeout.core.units import InputError, rate
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.engine import Engine
from closeout.engine.ledger import HOUSE
from closeout.engine.state import State
from closeout.rulebooks.loader import Rulebook, load

Case = dict[str, Any]
Answer = dict[str, Any]

FORMAT = "closeout-vector/1"
_STATEMENTS = {"source", "as_of", "assumed", "sources", "overridden", "notice", "title", "name", "version"}
_EVENT_TABLES = {"sessions", "funding", "news", "settlement", "receivable"}
"""Parameters of a calendar and of the books, which arrive in the steps or do not matter in one day."""


# -- our engine --------------------------------------------------------------------------------------------


def answers(case: Case) -> list[Answer]:
    """What is so after each step, by our engine."""
    player = _Player(_rulebook(case["rulebook"]))
    return [player.step(step["at"], step["act"]) for step in case["steps"]]


def _rulebook(given: Case) -> Rulebook:
    """The parameters of a case as a whole rulebook."""
    sessions = {contract["session"] for contract in given["contracts"].values() if contract.get("session")}
    hours = [{"valid_from": "2000-01-01", "opens": "00:00", "closes": "23:00", "switch_minutes_before_close": 1}]
    raw = {
        **given,
        "name": "vector",
        "title": "A conformance vector",
        "notice": "",
        "version": FORMAT,
        "sources": {},
        "sessions": {name: {"time_zone": "UTC", "tables": hours} for name in sessions},
        "receivable": {"daily_interest": "0", "closing_only_after_business_days": 5},
    }
    return Rulebook.from_document(msgspec.json.encode(raw))


class _Player:
    """An engine that is given acts and looked at after each."""

    def __init__(self, rulebook: Rulebook) -> None:
        self.engine = Engine()
        self.time = self.number = 0
        self._give(c.LoadRulebook(rulebook.document()))

    @property
    def state(self) -> State:
        return self.engine.loaded

    def step(self, at: str, act: dict[str, Any]) -> Answer:
        self.time = _nanoseconds(at)
        kinds: dict[str, Callable[..., Iterator[c.Command]]] = {
            "open": self._open,
            "deposit": self._deposit,
            "withdraw": self._withdraw,
            "marks": self._marks,
            "window": self._window,
            "news": self._news,
            "validation": self._validation,
            "order": self._order,
            "close_out_fill": self._fill,
            "close_out_unfilled": self._unfilled,
        }
        kind = act["kind"]
        if kind not in kinds:
            raise InputError(f"act: expected one of {', '.join(kinds)}, got {kind!r}")
        fields = {key: value for key, value in act.items() if key != "kind"}
        events: list[ev.AnyEvent] = []
        for command in kinds[kind](**fields):
            events += self._give(command)
        return self._answer(events)

    def _give(self, command: c.Command) -> list[ev.AnyEvent]:
        self.number += 1
        return self.engine.apply(c.Input("vector", self.number, self.time, command))  # pyright: ignore[reportArgumentType]

    # acts

    def _open(
        self, account: str, cash: str, parent: str | None = None, positions: list[dict[str, str]] | None = None
    ) -> Iterator[c.Command]:
        yield c.OpenAccount(account, parent=parent)
        for held in positions or []:
            facts = self._facts(held["contract"])
            lots = facts.lots(Decimal(held["quantity"]))
            cost = facts.cost_of(Decimal(held["entry_price"]), lots)
            yield c.TransferPosition(account, facts.name, lots, cost, last=False)
        if Decimal(cash):
            yield c.Deposit(account, self._micros(cash))

    def _deposit(self, account: str, amount: str) -> Iterator[c.Command]:
        yield c.Deposit(account, self._micros(amount))

    def _withdraw(self, account: str, amount: str) -> Iterator[c.Command]:
        yield c.Withdraw(account, self._micros(amount))

    def _marks(self, prices: dict[str, str]) -> Iterator[c.Command]:
        yield c.Marks(tuple(c.Mark(name, self._ticks(name, price)) for name, price in prices.items()))

    def _window(self, session: str, window: str, open: bool) -> Iterator[c.Command]:
        yield c.SessionChange(session, window, open)

    def _news(self, contract: str, multiplier: str, held: bool) -> Iterator[c.Command]:
        second = "" if Decimal(multiplier) else "b"
        yield c.NewsWindow((contract,), rate(multiplier, "multiplier"), held, "a", "vector", second)

    def _validation(self, account: str, with_intraday: bool) -> Iterator[c.Command]:
        yield c.SetValidation(account, with_intraday)

    def _order(self, account: str, contract: str, quantity: str, filled_at: str | None = None) -> Iterator[c.Command]:
        order_id, lots = f"o{self.number}", self._facts(contract).lots(Decimal(quantity))
        yield c.CheckOrder(account, order_id, contract, lots)
        if filled_at is not None and order_id in self.state.order_owner:
            yield c.Fill(account, contract, lots, self._ticks(contract, filled_at), order_id, f"f{self.number}")

    def _fill(self, account: str, price: str, quantity: str | None = None) -> Iterator[c.Command]:
        """Every close-out order of the account that is out fills until none is; with a quantity the first alone."""
        while out := self._out(account):
            order_id, name, lots = out[0]
            if quantity is not None:
                part = self._facts(name).lots(Decimal(quantity))
                lots = part if lots > 0 else -part
            yield c.Fill(account, name, lots, self._ticks(name, price), order_id, f"f{self.number}")
            if quantity is not None:
                return

    def _unfilled(self, account: str) -> Iterator[c.Command]:
        """The close-out orders that are out find no price within their limit."""
        for order_id, _, _ in self._out(account):
            yield c.OrderDone(order_id, "no price within the limit")

    def _out(self, account: str) -> list[tuple[str, str, int]]:
        active = self.state.book.close_outs.get(self.state.row(account))
        return [(order_id, *out) for order_id, out in active.outstanding.items()] if active else []

    # looking

    def _answer(self, events: list[ev.AnyEvent]) -> Answer:
        refused = any(isinstance(event, ev.Rejected | ev.OrderRefused) for event in events)
        return {
            "refused": refused,
            "close_out_orders": [self._order_text(one) for one in events if isinstance(one, ev.CloseOutOrder)],
            "taken_from_winners": [self._taken(one) for one in events if isinstance(one, ev.Deleveraged)],
            "deficit_borne": [
                {"account": one.account_id, "stage": one.stage, "amount": self._text(one.micros)}
                for one in events
                if isinstance(one, ev.DeficitCovered)
            ],
            "loss_shared": [
                {"account": one.account_id, "against": one.against, "amount": self._text(one.micros)}
                for one in events
                if isinstance(one, ev.Socialised)
            ],
            "accounts": {
                name: self._account(name, row)
                for name, row in sorted(self.state.book.row.items())
                if row not in self.state.book.house
            },
            "house": {
                name: {"cash": self._text(int(self.state.book.cash[row])), "positions": self._positions(row)}
                for name, row in sorted(self.state.book.row.items())
                if row in self.state.book.house and name != "suspense"
            },
            "firms_money": self._text(self.state.ledger.balances[HOUSE]),
        }

    def _order_text(self, order: ev.CloseOutOrder) -> Answer:
        facts = self._facts(order.contract)
        limit = None if order.limit_ticks is None else facts.price_text(order.limit_ticks)
        quantity = facts.quantity_text(order.lots)
        return {"account": order.account_id, "contract": order.contract, "quantity": quantity, "limit": limit}

    def _taken(self, event: ev.Deleveraged) -> Answer:
        return {
            "account": event.account_id,
            "against": event.against,
            "contract": event.contract,
            "quantity": self._facts(event.contract).quantity_text(event.lots),
            "price": event.price,
            "stage": event.stage,
            "amount": self._text(event.taken),
        }

    def _account(self, name: str, row: int) -> Answer:
        book, risk = self.state.book, self.state.risk(row)
        holdings, money, floor = self.state.holdings(row), self.state.money(row), self.state.policy.net_liq_floor
        prices: dict[str, Answer] = {}
        for index, holding in enumerate(holdings):
            found = {
                "liquidation": liquidation_price(money, holdings, index, floor),
                "bankruptcy": bankruptcy_price(money, holdings, index),
            }
            text = holding.contract.price_text
            prices[holding.contract.name] = {
                key: None if ticks is None else text(ticks) for key, ticks in found.items()
            }
        return {
            "level": self.state.level(row).name.lower(),
            "net_liq": self._text(risk.net_liq),
            "requirement": self._text(risk.requirement),
            "cash": self._text(int(book.cash[row])),
            "owed": self._text(int(book.receivable[row])),
            "positions": self._positions(row),
            "prices": prices,
        }

    def _positions(self, row: int) -> dict[str, str]:
        return {held.contract.name: held.contract.quantity_text(held.lots) for held in self.state.holdings(row)}

    def _facts(self, name: str) -> Contract:
        return self.state.contract(name).contract

    def _ticks(self, name: str, price: str) -> int:
        return self._facts(name).ticks(Decimal(price))

    def _micros(self, amount: str) -> int:
        return self.state.policy.currency.micros_of_text(amount)

    def _text(self, micros: int) -> str:
        return self.state.policy.currency.text(micros)


def _nanoseconds(moment: str) -> int:
    when = dt.datetime.fromisoformat(moment)
    return int(when.timestamp()) * SECOND + when.microsecond * 1000


# -- cases from scenarios ----------------------------------------------------------------------------------


def case_of(path: Path, origin: str) -> Case | None:
    """A scenario file (`docs/scenarios/README.md`) as a case, answered by our engine. None for a story of the books and
    the desk, which another engine need not have."""
    scenario = tomllib.loads(path.read_text(encoding="utf-8"))
    rulebook = load(scenario["rulebook"], scenario.get("overrides"))
    zone = ZoneInfo(scenario["zone"])
    steps: list[Case] = []
    for given in scenario["steps"]:
        at = given["at"].replace(tzinfo=zone).astimezone(dt.UTC)
        act = _act(given, rulebook, int(at.timestamp()) * SECOND)
        if act is None:
            return None
        step = {"at": at.isoformat().replace("+00:00", "Z"), "act": act}
        steps.append(step | ({"why": given["why"]} if given.get("why") else {}))
    case = {
        "format": FORMAT,
        "id": path.stem,
        "title": scenario["title"],
        "story": " ".join(scenario["story"].split()),
        "rules": scenario["rules"],
        "origin": origin,
        "tolerance": "0",
        "rulebook": _spelled_out(rulebook, steps),
        "steps": steps,
    }
    for step, answer, given in zip(steps, answers(case), scenario["steps"], strict=True):
        step["expect"] = _brief(answer)
        _check_by_hand(step["expect"], given.get("holds", {}), f"{path.name}: {step['at']}")
    return case


def _check_by_hand(found: Any, worked: Any, where: str) -> None:
    """What somebody worked out for a step (`holds`) is what the engine answers."""
    if isinstance(worked, dict):
        given = cast(dict[str, Any], found) if isinstance(found, dict) else {}
        for key, value in cast(dict[str, Any], worked).items():
            _check_by_hand(given.get(key), value, f"{where}: {key}")
    elif isinstance(worked, list) and isinstance(found, list) and len(worked) == len(cast(list[Any], found)):  # pyright: ignore[reportUnknownArgumentType]
        for own, one in zip(cast(list[Any], found), cast(list[Any], worked), strict=True):
            _check_by_hand(own, one, where)
    elif found != worked:
        raise InputError(f"{where}: expected {worked}, got {found}")


def _act(step: dict[str, Any], rulebook: Rulebook, at: int) -> Case | None:
    """A scenario's act in the words of a case."""
    match next(name for name in step if name not in ("at", "why", "expect")):
        case "session":
            now = rulebook.policy().sessions[step["session"]["name"]].state(at)
            return {"kind": "window", "session": step["session"]["name"], "window": now.window, "open": now.is_open}
        case "marks":
            return {"kind": "marks", "prices": step["marks"]}
        case "open":
            given = step["open"]
            held = [
                {"contract": one["contract"], "quantity": one["quantity"], "entry_price": one["price"]}
                for one in given.get("holds", [])
            ]
            parent = {"parent": given["parent"]} if "parent" in given else {}
            return {"kind": "open", "account": given["account"], **parent, "cash": given["cash"], "positions": held}
        case "news":
            kept = ("contract", "multiplier", "held")
            return {"kind": "news", **{key: step["news"][key] for key in kept}}
        case "toggle":
            return {"kind": "validation", **step["toggle"]}
        case "deposit" | "withdraw" | "order" | "close_out_fill" | "close_out_unfilled" as kind:
            return {"kind": kind, **step[kind]}
        case _:
            return None


def _spelled_out(rulebook: Rulebook, steps: list[Case]) -> Case:
    """The parameters of the contracts that the steps name, and of what nets against them, without what states its
    source."""
    named = str([step["act"] for step in steps])
    table = cast(Case, _bare(rulebook.table))
    contracts: dict[str, Case] = table["contracts"]
    groups = {one.get("netting_group", "") for name, one in contracts.items() if f"'{name}'" in named} - {""}
    table["contracts"] = {
        name: one for name, one in contracts.items() if f"'{name}'" in named or one.get("netting_group") in groups
    }
    return {key: value for key, value in table.items() if key not in _EVENT_TABLES}


def _bare(value: Any) -> Any:
    """Without statements and without what stands at the schema's default."""
    if isinstance(value, msgspec.Struct):
        fields = {field.name: field.default for field in msgspec.structs.fields(value)}
        given = {name: getattr(value, name) for name in fields}
        return {
            name: _bare(one)
            for name, one in given.items()
            if name not in _STATEMENTS and one not in (fields[name], [], {})
        }
    if isinstance(value, dict):
        return {key: _bare(one) for key, one in cast(dict[str, Any], value).items()}
    return [_bare(one) for one in cast(list[Any], value)] if isinstance(value, list) else value


def _brief(answer: Answer) -> Answer:
    """Without lists that are empty."""
    return {key: value for key, value in answer.items() if value not in ([], {})}
