"""The engine and the auditor fed with the same inputs, compared after each."""

from collections import Counter
from random import Random
from typing import Any

from tests.model.auditor import Auditor
from tests.model.auditor_state import micros
from tests.model.rulebooks import Setting
from tests.model.streams import Stream, plain

from closeout.engine import events as e
from closeout.engine import fund
from closeout.engine.book import HOUSE, Flag
from closeout.engine.commands import Input
from closeout.engine.engine import Engine

FLAGS = (
    Flag.RESTRICTED,
    Flag.HELD,
    Flag.LOCKED,
    Flag.DESK_LIQUIDATE_ONLY,
    Flag.IN_DEBIT,
    Flag.UNPRICED,
    Flag.STOPPED,
    Flag.FROZEN,
)
LABELS = sorted((flag.label, int(flag)) for flag in FLAGS)
FREE_WORDS = ("news", "review", "risk_settings")
"""Settings whose detail the rules leave to the engine."""
NOTICES = ("stopped", "desk_alert", "expiry_warning", "margin_call", "margin_call_met", "look_ahead")
NOT_PREDICTED = (
    "unpriced",
    "mark_missing",
    "mark_jump",
    "unknown_account",
    "unknown_order",
    "overfilled",
    "wrong_fill",
    "close_out_queued",
)
"""Alarms that follow from a fill or a mark by itself, or whenever a plan happens to be looked at again."""


def engine_view(engine: Engine, account_id: str) -> dict[str, Any]:
    """An account of the engine in the same words as `Auditor.view`, read from its columns."""
    state = engine.loaded
    book, row = state.book, state.book.row[account_id]
    risk, active, debt, flags = state.risk(row), book.close_outs.get(row), book.debts.get(row), int(book.flags[row])
    names, table = list(state.contracts), book.positions
    held = sorted((names[table.contract[at]], int(table.lots[at]), int(table.cost[at])) for at in table.of(row))
    return {
        "cash": int(book.cash[row]),
        "receivable": int(book.receivable[row]),
        "accrued": int(book.accrued[row]),
        "pending_fees": int(book.pending[row]),
        "net_liq": risk.net_liq,
        "requirement": risk.requirement,
        "level": state.level(row).name.lower(),
        "flags": [label for label, flag in LABELS if flags & flag],
        "liquidations": int(book.liquidations[row]),
        "days_in_debit": debt.business_days if debt else 0,
        "positions": {name: (lots, cost) for name, lots, cost in held if lots},
        "working": {o: (w.contract, w.lots) for o, w in sorted(book.working.get(row, {}).items())},
        "outstanding": dict(sorted(active.outstanding.items())) if active else {},
        "event": (active.receipt_id, bool(active.own), active.step) if active else None,
        "won": int(book.won[row]),
        "call": (call.call_id, call.business_days) if (call := book.calls.get(row)) else None,
        "bases": _bases(engine, row),
    }


def _bases(engine: Engine, row: int) -> list[int] | None:
    """What the account's brakes count from."""
    brakes = engine.loaded.book.brakes
    slot = brakes.slot.get(row)
    return None if slot is None else [int(brakes.column(n)[slot]) for n in ("base_day", "base_week", "peak")]


SWITCHES = {Flag.HELD: "held", Flag.LOCKED: "locked", Flag.DESK_LIQUIDATE_ONLY: "liquidate_only"}


def engine_standing(engine: Engine) -> dict[str, Any]:
    """What holds for everybody, in the same words as `Auditor.standing`."""
    state = engine.loaded
    desk = {"": state.desk, **{name: contract.desk for name, contract in state.contracts.items()}}
    return {
        "news": {name: (c.news.multiplier, c.news.held) for name, c in state.contracts.items() if c.news is not None},
        "switches": {scope: {word for flag, word in SWITCHES.items() if bits & flag} for scope, bits in desk.items()},
        "releases": {
            name: (r.contracts, r.begins, r.ends, r.multiplier, r.held, r.begun) for name, r in state.releases.items()
        },
        "reviews": state.reviews,
        "disclosure": state.disclosure,
        "intervals": {name: (c.interval, c.calm, c.last) for name, c in state.cadences.items()},
        "told until": state.ticked,
        "fund": fund.peak(state, state.policy.fund_window) if state.policy.fund_window else None,
        "below zero": {state.book.ids[row] for row in state.below_zero},
        "told of stale marks": {name for name, contract in state.contracts.items() if contract.stale_told},
    }


def spoken(events: list[e.AnyEvent]) -> list[tuple]:
    """The events that the auditor predicts, in its words."""
    found: list[tuple] = []
    for event in events:
        match event:
            case e.Rejected():
                found.append(("rejected", event.code))
            case e.CloseOutOrder():
                order = (event.order_id, event.contract, event.lots, event.limit_ticks)
                found.append(("order", event.account_id, *order))
            case e.CancelOrders():
                found.append(("cancel", event.account_id, event.order_ids))
            case e.OrderApproved():
                numbers = (event.before, event.change, event.after, event.available)
                found.append(("approved", event.account_id, event.order_id, *numbers))
            case e.OrderRefused():
                numbers = (event.before, event.change, event.after, event.available)
                fewer = event.suggested_lots
                found.append(("refused", event.account_id, event.order_id, event.code, *numbers, fewer))
            case e.CloseOutEnded():
                own = event.receipt.get("kind") == "own_brake"
                found.append(("ended", event.account_id, event.receipt_id, own))
            case e.DeficitBooked():
                found.append(("deficit", event.account_id, event.micros))
            case e.DeficitCovered():
                found.append(("covered", event.account_id, event.micros, event.beyond, event.stage))
            case e.Deleveraged():
                told = (event.contract, event.lots, event.taken, event.against, event.stage)
                found.append(("deleveraged", event.account_id, *told))
            case e.Socialised():
                found.append(("socialised", event.account_id, event.micros, event.against))
            case _:
                found += told_besides(event)
    return sorted(found, key=repr)


def told_besides(event: e.AnyEvent) -> list[tuple]:
    """Notices, alarms and settings that the auditor predicts."""
    match event:
        case e.FlagChanged(flag="stopped"):
            return [("flag", event.account_id, event.flag, event.on)]
        case e.Notice() if event.kind in NOTICES:
            detail = None if event.kind.startswith("margin_call") else event.detail
            return [("notice", event.account_id, event.kind, detail)]
        case e.Alarm() if event.code not in NOT_PREDICTED:
            return [("alarm", event.account_id, event.code)]
        case e.MarginCallChanged():
            call = (event.call_id, event.status, event.micros, event.business_days, event.capital_charge)
            return [("call", event.account_id, *call)]
        case e.Reconciled():
            differences = tuple(sorted((name, tuple(pair)) for name, pair in event.differences.items()))
            return [("reconciled", event.account_id, event.file, differences)]
        case e.SettingChanged() if event.what != "margin":
            detail = "" if event.what in FREE_WORDS else event.detail
            return [("setting", event.account_id, event.what, detail, event.by)]
    return []


class Pair:
    """Both machines; `take` feeds an input to both and raises `AssertionError` at the first difference."""

    def __init__(self) -> None:
        self.engine, self.auditor = Engine(index_from=0), Auditor()
        self.inputs: list[Input] = []

    def take(self, given: Input) -> list[e.AnyEvent]:
        self.inputs.append(given)
        events = self.engine.apply(given)
        predicted = self.auditor.apply(given.source, given.number, given.time, plain(given.command))
        told, expected = spoken(events), sorted(predicted, key=repr)
        assert told == expected, f"input {len(self.inputs)}: {given}\nengine  {told}\nauditor {expected}"
        assert self.engine.imbalances() == [], f"input {len(self.inputs)}: {given}"
        if getattr(given.command, "last", True):  # a transfer is judged when all of it is in
            self.compare(given)
        return events

    def compare(self, given: Input) -> None:
        auditor = self.auditor
        if auditor.rules is None:
            return
        assert sorted(self.engine.loaded.book.ids) == sorted(auditor.accounts)
        for account_id in auditor.accounts:
            view, expected = engine_view(self.engine, account_id), auditor.view(account_id)
            if account_id in HOUSE:
                view["flags"] = expected["flags"] = []
            differs = {key: (view[key], expected[key]) for key in view if view[key] != expected[key]}
            assert not differs, f"input {len(self.inputs)}, account {account_id}: {given}: {differs}"
        standing, expected = engine_standing(self.engine), auditor.standing()
        assert standing == expected, f"input {len(self.inputs)}: {given}"
        balances = {name: balance for name, balance in self.engine.loaded.ledger.balances.items() if balance}
        expected = {n: micros(b, auditor.rules.micro) for n, b in auditor.ledger.items() if b}
        assert balances == expected, f"input {len(self.inputs)}: {given}: {balances} {expected}"


def run(random: Random, setting: Setting, length: int) -> tuple[Pair, Counter[str]]:
    """A stream of so many inputs, compared throughout. Halfway the engine goes on from its own snapshot."""
    pair = Pair()
    stream = Stream(random, setting, pair.auditor)
    for index in range(length):
        if index == length // 2:
            pair.engine = Engine.restore(pair.engine.snapshot(), index_from=0)
        given = stream.next()
        pair.take(given)
        stream.took(given)
    return pair, pair.auditor.reached
