"""The table in docs/waterfall.md: one account that the book cannot close, under each stage of the waterfall alone.

    python docs/examples/waterfall.py

Long 2 at 1,000 with 100 of margin; at a mark of 940 it is 20 below zero, and its order finds nobody at its bankruptcy
price of 950. Low (120 of margin), Mid (1,000) and High (9,000) are short 1, 1 and 2 at 1,000; the fund has 100. Where a
stage pays money, the position is sold at 940 first. Where a fall of the fund decides, the fund pays what is left.
"""

from __future__ import annotations

from typing import Any

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine import ledger
from closeout.engine.engine import Engine
from closeout.rulebooks.loader import load
from closeout.rulebooks.policy import StageKind

CAR = {
    "tick": "0.01",
    "lot": "1",
    "tiers": [{"notional_from": "0", "initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}],
}
STAGES: tuple[dict[str, Any], ...] = (
    {"stage": "liquidity_providers"},
    {"stage": "liquidity_providers", "capacity": "1000"},
    {
        "stage": "liquidity_providers",
        "equity": "8000",
        "capacity_of_equity": "2",
        "share_of_equity": "0.15",
        "within_seconds": 300,
    },
    {"stage": "insurance_fund_takes"},
    {"stage": "backstop_vault"},
    {"stage": "auto_deleveraging", "ranking": "leveraged_return"},
    {"stage": "auto_deleveraging", "ranking": "profit_times_margin_ratio"},
    {"stage": "auto_deleveraging", "ranking": "return_times_leverage", "price": "previous_mark"},
    {"stage": "auto_deleveraging", "ranking": "leveraged_return", "price": "mark"},
    {"stage": "auto_deleveraging", "ranking": "random", "seed": 7},
    {
        "stage": "auto_deleveraging",
        "ranking": "leveraged_return",
        "price": "drawdown",
        "drawdown": "0.12",
        "drawdown_hours": 8,
    },
    {"stage": "unwind"},
    {"stage": "unwind", "price": "mark"},
    {"stage": "insurance_fund"},
    {"stage": "socialised_loss", "among": "days_winners"},
    {"stage": "socialised_loss", "among": "positions"},
    {"stage": "socialised_loss", "among": "balances"},
    {"stage": "withdrawal_haircut"},
    {"stage": "customer_owes"},
    {"stage": "venue_bears"},
)
LAST = (StageKind.WITHDRAWAL_HAIRCUT, StageKind.CUSTOMER_OWES, StageKind.VENUE_BEARS)
BOOK = (("A", 2, 100), ("Low", -1, 120), ("Mid", -1, 1_000), ("High", -2, 9_000))
SECOND = 10**9


class Story:
    """One engine in which the account is closed out under one stage, with the venue for what that leaves."""

    def __init__(self, stage: dict[str, Any]) -> None:
        last = [] if StageKind(stage["stage"]) in LAST else [{"stage": "venue_bears"}]
        if "drawdown" in stage:
            last.insert(0, {"stage": "insurance_fund"})
        self.engine, self.log, self.number = Engine(), list[ev.AnyEvent](), 0
        overrides = {
            "contracts": {"CAR": CAR},
            "close_out": {"method": "flatten_all", "limit": "bankruptcy"},
            "insurance_fund": {"initial": "100"},
            "waterfall": [stage, *last],
        }
        self.give(c.LoadRulebook(load("reference", overrides).document()))
        self.mark("1000")
        facts = self.engine.loaded.contracts["CAR"].contract
        for account_id, lots, cash in BOOK:
            self.give(c.OpenAccount(account_id))
            self.give(c.TransferPosition(account_id, "CAR", lots, facts.value(100_000, lots), last=False))
            self.give(c.Deposit(account_id, cash * 10**6))
        self.mark("950")
        self.mark("940")
        state = self.engine.loaded
        (order_id,) = state.book.close_outs[state.book.row["A"]].outstanding
        self.give(c.OrderDone(order_id, "immediate or cancel"))
        for order in [event for event in self.log if isinstance(event, ev.CloseOutOrder)][1:]:
            self.give(c.Fill("A", "CAR", order.lots, 94_000, order.order_id, f"{order.order_id}-f1"))

    def mark(self, price: str) -> None:
        self.give(c.Marks((c.Mark("CAR", int(price) * 100),)))

    def give(self, command: c.Command) -> None:
        self.number += 1
        self.log += self.engine.apply(c.Input("story", self.number, self.number * SECOND, command))
        problems = self.engine.imbalances()
        if problems:
            raise SystemExit("; ".join(problems))

    def net_liq(self, account_id: str) -> int:
        state = self.engine.loaded
        return state.risk(state.book.row[account_id]).net_liq

    def position(self, account_id: str) -> int:
        state = self.engine.loaded
        return state.contracts["CAR"].position(state.book.row[account_id]).lots


def row(stage: dict[str, Any]) -> list[str]:
    story = Story(stage)
    taken = {event.account_id: event for event in story.log if isinstance(event, ev.Deleveraged)}
    shared = {event.account_id: event.micros for event in story.log if isinstance(event, ev.Socialised)}
    covered = {event.stage: event.micros for event in story.log if isinstance(event, ev.DeficitCovered)}
    owed = sum(event.micros for event in story.log if isinstance(event, ev.DeficitBooked))
    holders = {
        name: story.position(name)
        for name in (ledger.LIQUIDITY_PROVIDERS, ledger.INSURANCE_FUND, ledger.BACKSTOP_VAULT)
        if name in story.engine.loaded.book.row
    }
    went = [f"{lots} to {name.replace('_', ' ')}" for name, lots in holders.items() if lots]
    went += [f"{abs(event.lots)} against {name} at {event.price}" for name, event in taken.items()]
    sold = 2 - sum(holders.values()) - sum(abs(event.lots) for event in taken.values())
    went += [f"{sold} sold at 940"] if sold else []
    bearers = {stage.replace("_", " "): micros for stage, micros in covered.items()}
    bearers |= {"the customer, as a debt": owed} if owed else {}
    bore = [f"{who} {text(micros)}" for who, micros in bearers.items()]
    bore += [f"of which {who} {text(micros)}" for who, micros in shared.items()]
    changes = [f"{who} {text(event.taken)}" for who, event in taken.items() if event.taken]
    told = {**stage, "drawdown_hours": f"{stage['drawdown_hours']} hours"} if "drawdown" in stage else stage
    name = ", ".join(str(value).replace("_", " ") for value in told.values())
    return [name, "; ".join(went), text(story.net_liq("A")), "; ".join(bore), "; ".join(changes) or "nothing"]


def text(micros: int) -> str:
    return f"{micros / 10**6:,.2f}"


def table() -> str:
    head = ["Stage", "Where the two contracts go", "The account ends with", "Who bears what", "Winners give up"]
    lines = [head, ["---"] * len(head), *map(row, STAGES)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def unnamed() -> set[StageKind]:
    """Stages that the table leaves out: there must be none."""
    return {*StageKind} - {StageKind(stage["stage"]) for stage in STAGES}


if __name__ == "__main__":
    missing = unnamed()
    if missing:
        raise SystemExit(f"not in the table: {missing}")
    print(table(), end="")
