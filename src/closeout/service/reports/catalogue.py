"""The reports that there are: their columns, and what each assumes. docs/reports.md explains every column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

Row = tuple[Any, ...]


class Kind(Enum):
    """How a column's values are given: money is micros, a time UTC nanoseconds; None is nothing."""

    WORDS = auto()
    MONEY = auto()
    NUMBER = auto()
    TIME = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """`heading` is what the page calls it, `name` what the CSV does. `total`: the page adds it up."""

    name: str
    heading: str
    kind: Kind = Kind.WORDS
    total: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """`columns` of its one table; `assumed` are sentences that stand on the page."""

    name: str
    title: str
    columns: tuple[Column, ...]
    assumed: tuple[str, ...]
    weekly: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A report filled in. `rows` gives all of them, which may be many; `shown` are those of the page, `count` how many
    there are. `key` are figures for the top: a name, a value, and its kind."""

    report: Report
    rows: Callable[[], Iterable[Row]]
    shown: Sequence[Row]
    count: int
    order: str = ""
    key: Sequence[tuple[str, Any, Kind]] = ()
    notes: Sequence[str] = field(default_factory=tuple[str, ...])

    @classmethod
    def of(cls, report: Report, rows: list[Row], **more: Any) -> Sheet:
        return cls(report, lambda: rows, rows[:MOST], len(rows), **more)


MOST = 1_000
"""Rows on a page; the CSV file has all."""


def _money(name: str, heading: str, *, total: bool = False) -> Column:
    return Column(name, heading, Kind.MONEY, total)


def _number(name: str, heading: str, *, total: bool = False) -> Column:
    return Column(name, heading, Kind.NUMBER, total)


ACCOUNT = (Column("account_id", "account"), Column("owner", "owner"))
AS_JUDGED = (
    "Each account stands as it is judged: an isolated position is an account of its own (account/contract), and "
    "accounts of one owner are not added up."
)

MARGIN = Report(
    "margin",
    "Margin of every account",
    (
        *ACCOUNT,
        _money("net_liq", "net liq"),
        _money("requirement", "required now"),
        _money("initial", "initial margin"),
        _money("maintenance", "maintenance margin"),
        _money("excess", "excess or deficit"),
        Column("usage", "usage", Kind.NUMBER),
        Column("level", "level"),
        Column("flags", "flags"),
        _money("cash", "cash"),
        _money("accrued", "accrued funding"),
        _money("pending", "pending fees"),
        _money("receivable", "owed"),
        _number("liquidations", "liquidations"),
    ),
    (
        AS_JUDGED,
        "Initial and maintenance margin are of the positions held, without working orders and without news windows; "
        "what is required now follows the window and news.",
        "A position without any mark is valued at the rulebook's bounded worst.",
    ),
)

UNDERMARGINED = Report(
    "undermargined",
    "Undermargined accounts, margin calls and the capital charge",
    (
        *ACCOUNT,
        _money("net_liq", "net liq"),
        _money("maintenance", "maintenance margin"),
        _money("initial", "initial margin"),
        _money("undermargined", "undermargined", total=True),
        _money("debit", "debit", total=True),
        Column("call_id", "call"),
        Column("call_status", "status"),
        _money("called", "called"),
        Column("issued", "issued, UTC", Kind.TIME),
        _number("call_age", "age, business days"),
        _money("capital_charge", "capital charge", total=True),
    ),
    (
        AS_JUDGED,
        "Undermargined is what the funds of an account lack of maintenance margin. One account's surplus never covers "
        "another's: the total is what the firm's residual interest must cover by 6:00 p.m. ET on the next business day "
        "(17 CFR 1.22), besides the debits.",
        "The charge is taken for a call that is not met at the close of its second business day (17 CFR 1.17, as the "
        "Joint Audit Committee reads it); debits are a deduction of their own and are not in it.",
        "A first call is made when the next business day begins; until then an account stands here without one.",
    ),
)

DEBTS = Report(
    "debts",
    "Debts of customers, and their ages",
    (
        *ACCOUNT,
        _money("opening", "owed before", total=True),
        _money("booked", "booked", total=True),
        _money("interest", "interest", total=True),
        _money("paid", "paid", total=True),
        _money("written_off", "written off", total=True),
        _money("owed", "owed", total=True),
        Column("status", "status"),
        _number("age", "age, business days"),
        Column("since", "since, UTC", Kind.TIME),
        Column("receipt_id", "receipt"),
        _money("net_liq", "net liq"),
    ),
    (
        "What is owed, and what became of it, is as of the day's end; net liq is as of the balances.",
        "The firm covered each debt from its own money on the day it was booked; no customer's balance carries "
        "another's loss (17 CFR 1.20). For the firm's net capital an unsecured debt is no asset (17 CFR 1.17).",
        "in_debit: below zero with nothing booked yet, because positions are still open.",
    ),
)

LIQUIDATIONS = Report(
    "liquidations",
    "Liquidations that ended",
    (
        Column("receipt_id", "receipt"),
        *ACCOUNT,
        Column("kind", "kind"),
        Column("began", "began, UTC", Kind.TIME),
        Column("ended", "ended, UTC", Kind.TIME),
        Column("cause", "cause"),
        Column("how", "end"),
        _money("net_liq", "net liq before"),
        _money("requirement", "required"),
        _money("line", "line"),
        _number("orders", "orders", total=True),
        _money("profit", "result", total=True),
        _money("trade_fees", "trade fees", total=True),
        _money("liquidation_fee", "liquidation fee", total=True),
        _money("deficit", "deficit", total=True),
        _money("borne_other_cash", "borne by other cash", total=True),
        _money("borne_debt", "owed by the customer", total=True),
        Column("corrected_by", "corrected by"),
    ),
    (
        "A deficit is the customer's: other cash of his pays first, the rest is a debt. The firm advances the debt to "
        "the pool of customers' money the same day.",
        "own_brake: closed by the customer's own limit, which is no liquidation event and has no liquidation fee.",
        "Figures are those of the receipt as it was issued; a correction has a receipt of its own.",
    ),
)

FEES = Report(
    "fees",
    "Fees by kind",
    (
        Column("kind", "kind"),
        _money("taken", "taken", total=True),
        _money("returned", "returned", total=True),
        _money("net", "net", total=True),
        _number("postings", "postings", total=True),
        _number("accounts", "accounts"),
    ),
    (
        "Every posting to or from the ledger account fees, by its reason; a fee is booked at the amount taken, which "
        "may be less than the amount asked.",
    ),
)

_MOVE = (Column("move", "move", Kind.NUMBER), Column("what", "of"))
_STRESS_ASSUMED = (
    "All accounts are valued at the moved marks under the terms of now. Who is below the auto-liquidation line there "
    "is closed out in full at those very marks, trade fees and the liquidation fee paid, even where the desk holds it.",
    "Contracts that a gap is not of stand still. A gap moves the contract of its market's name and those that the "
    "rulebook says its prices stand for.",
    "Gaps are a minute's open to its extreme, in trades of Binance's USD-M perpetuals.",
)

STRESS = Report(
    "stress",
    "Weekly stress: close-outs, debts and cash needed",
    (
        *_MOVE,
        _number("closed_out", "accounts closed out"),
        _number("would_owe", "accounts owing"),
        _money("debts", "debts"),
        _money("new_debts", "of them new"),
        _money("largest_debt", "largest debt"),
        Column("largest_account", "owed by"),
        _money("variation", "variation"),
        _money("cash_needed", "cash needed at once"),
    ),
    (
        *_STRESS_ASSUMED,
        "Variation is what the firm pays the clearing house in cash for the loss on all positions (below zero: "
        "receives), before close-outs. Cash needed is that and the new debts, which the firm covers itself.",
    ),
    weekly=True,
)

STRESS_DEBTS = Report(
    "stress-debts",
    "Weekly stress: the largest debts",
    (
        *_MOVE,
        _number("rank", "rank"),
        *ACCOUNT,
        _money("owed", "would owe"),
        _money("new", "of it new"),
        _money("net_liq", "net liq now"),
    ),
    _STRESS_ASSUMED,
    weekly=True,
)

REPORTS = {
    report.name: report for report in (MARGIN, UNDERMARGINED, DEBTS, LIQUIDATIONS, FEES, STRESS, STRESS_DEBTS)
}  # fmt: skip
