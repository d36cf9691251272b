"""What the world tells the engine. Every input is one `Input`: who says it, their running number, when, and what.

Units are those of `closeout.core.units`. Structs are arrays on the wire (fields by position): add fields at the end,
with defaults.  `accounts`, `contracts` are named by their ids; `by` and `second` name the people who acted.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct


class Command(Struct, frozen=True, array_like=True, tag=True):
    """Base of all commands; the tag is the class name."""


class LoadRulebook(Command, frozen=True):
    """Start under a rulebook: `document` is the resolved rulebook as canonical JSON (`Rulebook.document`)."""

    document: bytes


class OpenAccount(Command, frozen=True):
    """A margin account. An isolated position is an account of its own, with `parent` set (its cash flows back there).

    `leverage` maps contracts to a rate (25x is 25e9); it only sets initial margin.
    """

    account_id: str
    owner: str = ""
    validate_with_intraday: bool = True
    parent: str | None = None
    leverage: dict[str, int] = {}


class Deposit(Command, frozen=True):
    """Cash in, in micros above zero. It pays receivables first (US-01)."""

    account_id: str
    micros: int


class Withdraw(Command, frozen=True):
    """Cash out, refused above the withdrawable amount (US-16)."""

    account_id: str
    micros: int


class TransferPosition(Command, frozen=True):
    """A position brought in from elsewhere at a cost in units, without a fee.

    `last` is False while further positions of the same transfer follow: the account is judged when all are in.
    """

    account_id: str
    contract: str
    lots: int
    cost: int
    last: bool = True


class Fill(Command, frozen=True):
    """An execution: signed lots at a price. `order_id` may be a close-out order, a customer's order, or unknown."""

    account_id: str
    contract: str
    lots: int
    price_ticks: int
    order_id: str
    fill_id: str


class OrderDone(Command, frozen=True):
    """The venue is finished with an order: nothing more will fill (cancelled, expired, rejected, or complete)."""

    order_id: str
    reason: str


class Mark(Struct, frozen=True, array_like=True):
    """One contract's mark in ticks; `None` says that the source lost it (missing or not finite)."""

    contract: str
    price_ticks: int | None


class Marks(Command, frozen=True):
    """An atomic batch of marks from one feed: one verdict per account after all are in (G-19)."""

    marks: tuple[Mark, ...]


class Tick(Command, frozen=True):
    """The time, and nothing else: grades grow stale, queued plans are looked at again."""


class SessionChange(Command, frozen=True):
    """The instant at which contracts of a session enter a window, open or close (US-02, US-21)."""

    session: str
    window: str
    is_open: bool


class Halt(Command, frozen=True):
    """Trading in a contract is halted or locked at its limit, or resumes."""

    contract: str
    halted: bool


class NewsWindow(Command, frozen=True):
    """A news window begins (`multiplier` as a rate above 1) or ends (0) for contracts (US-08)."""

    contracts: tuple[str, ...]
    multiplier: int
    held: bool
    by: str
    reason: str


class SetMargin(Command, frozen=True):
    """New tiers for a contract: JSON of the rulebook's `tiers`. Lowering any figure needs `second` (US-08)."""

    contract: str
    tiers: bytes
    by: str
    reason: str
    second: str = ""


class AccrueFunding(Command, frozen=True):
    """The end of a funding interval: `rate` (1e-9, signed, longs pay when above zero) on the position held now at
    `price_ticks`, which is the mark unless the venue names another (US-14)."""

    contract: str
    rate: int
    price_ticks: int | None = None


class BookFunding(Command, frozen=True):
    """Accrued funding of all accounts becomes cash (15:00 CT; US-14)."""


class Settle(Command, frozen=True):
    """Daily settlement: open trade equity at the settlement price becomes cash (US-24)."""

    contract: str
    price_ticks: int


class Expire(Command, frozen=True):
    """Final settlement: positions are closed at the price and the contract ends (US-24)."""

    contract: str
    price_ticks: int


class BusinessDay(Command, frozen=True):
    """A new business day begins: receivables age (and earn interest where the rulebook says so) (US-13)."""

    date: str


class CheckOrder(Command, frozen=True):
    """A new order for approval before it goes out (US-07): signed lots, a limit price or None for market."""

    account_id: str
    order_id: str
    contract: str
    lots: int
    limit_ticks: int | None = None


class CancelOrder(Command, frozen=True):
    """A working order is gone without (further) fills."""

    order_id: str


class SetValidation(Command, frozen=True):
    """The customer's toggle "Validate order size using intraday margin" (US-06)."""

    account_id: str
    with_intraday: bool


class DeskAction(Command, frozen=True):
    """An act of the risk desk on one account (US-12, US-20).

    `action` is one of hold, release_hold, lock, unlock, liquidate_only, release_liquidate_only, liquidate, restrict,
    release_restriction. Releases of a restriction need `second`.
    """

    account_id: str
    action: str
    by: str
    reason: str
    second: str = ""


class SetReceivableStatus(Command, frozen=True):
    """demanded -> plan -> collections; settled and written_off are reached by money, not by this (US-13)."""

    account_id: str
    status: str
    by: str
    reason: str


class WriteOff(Command, frozen=True):
    """Forgive part of a receivable: an authorised act with two names (US-13)."""

    account_id: str
    micros: int
    by: str
    second: str
    reason: str


class AdjustCash(Command, frozen=True):
    """A correction in money (US-25): signed micros to the customer from the house, superseding `receipt_id` if any.

    `restore_count`: the close-out was wrongful, so it no longer counts as one of the account's events (US-10).
    """

    account_id: str
    micros: int
    by: str
    second: str
    reason: str
    receipt_id: str = ""
    restore_count: bool = False


class CorrectFill(Command, frozen=True):
    """A bust (`price_ticks` None) or a price adjustment of an earlier fill (US-25)."""

    fill_id: str
    price_ticks: int | None
    by: str
    second: str
    reason: str


AnyCommand = (
    LoadRulebook
    | OpenAccount
    | Deposit
    | Withdraw
    | TransferPosition
    | Fill
    | OrderDone
    | Marks
    | Tick
    | SessionChange
    | Halt
    | NewsWindow
    | SetMargin
    | AccrueFunding
    | BookFunding
    | Settle
    | Expire
    | BusinessDay
    | CheckOrder
    | CancelOrder
    | SetValidation
    | DeskAction
    | SetReceivableStatus
    | WriteOff
    | AdjustCash
    | CorrectFill
)


class Input(Struct, frozen=True, array_like=True):
    """One numbered input (G-09): each `source` counts 1, 2, 3, ...; `time` is UTC nanoseconds and never runs back."""

    source: str
    number: int
    time: int
    command: AnyCommand


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(list[Input])
