"""What the world tells the engine. Every input is one `Input`: who says it, their running number, when, and what.

Units are those of `closeout.core.units`. Structs are arrays on the wire (fields by position): add fields at the end,
with defaults. Accounts and contracts are named by their ids; `by` and `second` name the people who acted.
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


class OpenBook(Command, frozen=True):
    """Many new accounts with cash and positions, or none of them, as `OpenAccount`, `Deposit` and `TransferPosition` of
    each (`engine.opening` packs them). Columns of little-endian int64: `cash` by account; for each position `account`
    and `contract`, their places in the names, `lots` and `cost` in units."""

    account_ids: tuple[str, ...]
    contracts: tuple[str, ...]
    cash: bytes
    account: bytes
    contract: bytes
    lots: bytes
    cost: bytes


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


class MarkSeries(Command, frozen=True):
    """Many atomic batches of marks from one feed, as if each had come as `Marks` at its time, or been rejected alone
    (`engine.series` packs them). Columns, little-endian: `times` int64, UTC nanoseconds up to the input's own; `counts`
    int32, marks by batch; by mark `which` int32, its place in `contracts`, and `ticks` int64, -2^63 for a lost one."""

    contracts: tuple[str, ...]
    times: bytes
    counts: bytes
    which: bytes
    ticks: bytes


class Tick(Command, frozen=True):
    """The time, and nothing else: grades grow stale, queued plans are looked at again. All that fell due until `until`
    (UTC nanoseconds; 0 is the input's own time) has been said before it."""

    until: int = 0


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
    """The desk begins a news window (`multiplier` as a rate above 1) or ends one (0) for contracts, at once (US-08).

    Ending one, or lowering its multiplier, lowers margin and needs `second`; the timer's own end does not.
    """

    contracts: tuple[str, ...]
    multiplier: int
    held: bool
    by: str
    reason: str
    second: str = ""


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

    `action` is one of alert (a notice to the customer), hold, release_hold, lock, unlock, liquidate_only,
    release_liquidate_only, liquidate, restrict, release_restriction. Releases of a restriction need `second`.
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


class ScheduleNews(Command, frozen=True):
    """A release to come (US-08): the first `Tick` at or after `begins` (UTC nanoseconds) begins its news window, the
    first at or after `ends` ends it. The same `release_id` again replaces the schedule; `multiplier` 0 withdraws it,
    which needs `second` once the window has begun."""

    release_id: str
    contracts: tuple[str, ...]
    begins: int
    ends: int
    multiplier: int
    held: bool
    by: str
    reason: str
    second: str = ""


class ReviewMargin(Command, frozen=True):
    """Somebody else has looked at a raise that one person made alone, the `SetMargin` of input `seq` (US-08)."""

    seq: int
    by: str
    reason: str


class DeskSwitch(Command, frozen=True):
    """An act of the desk on a whole product (`contract`) or, with `contract` "", on the firm (US-20).

    `action` is one of hold, release_hold (close-outs are not started), liquidate_only, release_liquidate_only, lock,
    unlock (no customer orders at all), kill (lock, and every working order of customers is cancelled), alert (a notice
    to every holder). The releases (release_hold excepted) need `second`.
    """

    contract: str
    action: str
    by: str
    reason: str
    second: str = ""


class SetDisclosure(Command, frozen=True):
    """The version of the risk disclosure that customers must have acknowledged before an opening order; "" asks for
    none (US-18)."""

    version: str
    by: str


class AcknowledgeDisclosure(Command, frozen=True):
    """The customer has read and acknowledged that version of the disclosure (US-18)."""

    account_id: str
    version: str


class GroupLimit(Struct, frozen=True, array_like=True):
    """At most `micros` of notional in these contracts together, at the marks (US-28: a product)."""

    contracts: tuple[str, ...]
    micros: int


class Limits(Struct, frozen=True, array_like=True):
    """Limits of an account, or of one owner's accounts together (US-28); 0, None and empty mean no limit.

    `order_lots`, `position_lots`: |lots| per contract, of one order and of the position with all working orders of a
    side filled. `collar`: how far beyond the mark (a rate of it) an order's limit price may stand on the paying side.
    `concentration_lots`, `concentration_rate`: what a position holds beyond these lots asks for that rate of its
    notional more in the order check.
    """

    order_lots: dict[str, int] = {}
    position_lots: dict[str, int] = {}
    collar: int | None = None
    concentration_lots: dict[str, int] = {}
    concentration_rate: int = 0
    groups: tuple[GroupLimit, ...] = ()


class SetLimits(Command, frozen=True):
    """Put limits in the place of those before (US-28). `scope` is "account" or "owner", `name` its id. For an owner
    only `position_lots` and `groups` count. Taking any limit away or widening it needs `second`."""

    scope: str
    name: str
    limits: Limits
    by: str
    reason: str
    second: str = ""


class RiskSettings(Struct, frozen=True, array_like=True):
    """The customer's own brakes (US-23), micros above zero or 0 for none: the loss of net liq since the trade date
    began, since the week began, and from its highest since the setting. Deposits and withdrawals do not count."""

    daily_loss: int = 0
    weekly_loss: int = 0
    trailing_drawdown: int = 0
    flatten_at: str = ""
    """Wall time ``HH:MM`` in the time zone of the contracts' sessions; read by the clock, which sends `Flatten`."""


class SetRiskSettings(Command, frozen=True):
    """The customer sets his brakes. A brake that has stopped the account today cannot be loosened before the next
    trade date (US-23)."""

    account_id: str
    settings: RiskSettings


class Flatten(Command, frozen=True):
    """The customer's own flatten time has come: positions are closed, orders refused until the next trade date
    (US-23). Not a liquidation event: no fee, no restriction."""

    account_id: str
    reason: str


class TradeDate(Command, frozen=True):
    """A new trade date (ISO 8601) begins: daily (and on a new ISO week weekly) loss limits count anew, accounts that
    their own brakes stopped may trade again (US-23)."""

    date: str


class Reconcile(Command, frozen=True):
    """What the clearing side holds for an account at the start of the day (US-26): cash in micros and signed lots per
    contract, flat where left out. A difference freezes opening orders and withdrawals and alarms; agreement lifts it.
    """

    account_id: str
    cash: int
    lots: dict[str, int]
    file: str
    by: str


class RaiseAlarm(Command, frozen=True):
    """Something outside needs the desk, such as a lost feed or a missed heartbeat. It becomes an `Alarm`, so that the
    desk has one list and the journal has all of it."""

    account_id: str
    code: str
    detail: str


class AnnounceExpiry(Command, frozen=True):
    """A contract's last trade or roll comes nearer: a notice to every holder (US-24)."""

    contract: str
    what: str


class GiveNotice(Command, frozen=True):
    """A notice that clock or desk have reason for, such as the look-ahead list (US-27): it becomes a `Notice`, so that
    its mail is sent once. `account_id` "" is the desk."""

    account_id: str
    kind: str
    detail: str


AnyCommand = (
    LoadRulebook
    | OpenAccount
    | Deposit
    | Withdraw
    | TransferPosition
    | OpenBook
    | Fill
    | OrderDone
    | Marks
    | MarkSeries
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
    | ScheduleNews
    | ReviewMargin
    | DeskSwitch
    | SetDisclosure
    | AcknowledgeDisclosure
    | SetLimits
    | SetRiskSettings
    | Flatten
    | TradeDate
    | Reconcile
    | RaiseAlarm
    | AnnounceExpiry
    | GiveNotice
)


class Input(Struct, frozen=True, array_like=True):
    """One numbered input (G-09): each `source` counts 1, 2, 3, ...; `time` is UTC nanoseconds and never runs back.

    `key` is the sender's idempotency key. The engine does not read it; it lies in the journal so that a sender who asks
    again after a crash gets the first answer."""

    source: str
    number: int
    time: int
    command: AnyCommand
    key: str = ""


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(list[Input])
