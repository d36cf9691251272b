"""What follows from an input. Events are facts for the outbox, the journal's digest, reports and people.

Units are those of `closeout.core.units`. Every event carries the account it concerns ("" where none), because events
of one input come out sorted by account (G-19): those of a series of batches by batch, each headed by its `SeriesBatch`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class Event(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all events. None is ever part of a circle of references, so the collector of these need not look."""

    account_id: str


class Rejected(Event, frozen=True):
    """The input changed nothing but its source's number (G-09); under a `SeriesBatch`, the batch changed nothing.
    `code` is stable, `detail` is for people."""

    code: str
    detail: str


class Posted(Event, frozen=True):
    """One balanced ledger posting: `micros` (above zero) moves from `credit` to `debit` (G-02)."""

    debit: str
    credit: str
    currency: str
    micros: int
    reason: str


class LevelChanged(Event, frozen=True):
    """The margin level moved; numbers are those the engine decided by (micros)."""

    before: str
    after: str
    net_liq: int
    requirement: int
    line: int


class FlagChanged(Event, frozen=True):
    """An account flag was set or cleared: the `label` of a `book.Flag`, such as restricted, held, stopped or frozen."""

    flag: str
    on: bool
    reason: str


class OrderApproved(Event, frozen=True):
    """`before`, `change`, `after`: requirement in micros with all working orders at their worst (US-07)."""

    order_id: str
    before: int
    change: int
    after: int
    available: int


class OrderRefused(Event, frozen=True):
    """`suggested_lots` (signed) is the largest order of its kind that would be approved now; 0 where none would."""

    order_id: str
    code: str
    detail: str
    before: int
    change: int
    after: int
    available: int
    suggested_lots: int = 0


class CancelOrders(Event, frozen=True):
    """Cancel these working orders at the venue."""

    order_ids: tuple[str, ...]
    reason: str


class CloseOutOrder(Event, frozen=True):
    """Send a reduce-only order: signed lots, at market (`limit_ticks` None), or immediate-or-cancel
    with a limit (EX-02)."""

    order_id: str
    receipt_id: str
    contract: str
    lots: int
    limit_ticks: int | None = None


class CloseOutQueued(Event, frozen=True):
    """A plan exists but `contract` takes no orders now (closed, halted, or its mark is not good enough)."""

    receipt_id: str
    contract: str
    reason: str


class CloseOutEnded(Event, frozen=True):
    """A liquidation event is over; `receipt` is its whole record (made in `receipts`)."""

    receipt_id: str
    receipt: dict[str, Any]


class CorrectionIssued(Event, frozen=True):
    """A correction was booked; `receipt` is its record and names what it supersedes, which stays as issued (US-25)."""

    receipt_id: str
    receipt: dict[str, Any]


class Deleveraged(Event, frozen=True):
    """A winner's position was reduced without the book (EX-04): its signed lots change at `price`. `taken` is what that
    took from it against the mark, in micros; `against` the account that was closed out."""

    contract: str
    lots: int
    price: str
    taken: int
    against: str
    receipt_id: str
    stage: str


class DeficitCovered(Event, frozen=True):
    """A stage of the waterfall bore `micros` of the account's deficit (EX-03 to EX-05). `beyond`: what its price gave
    the account on top of that, in micros."""

    micros: int
    stage: str
    receipt_id: str
    beyond: int = 0


class Socialised(Event, frozen=True):
    """The account paid `micros` of the deficit of `against` (EX-05)."""

    micros: int
    against: str
    receipt_id: str


class DeficitBooked(Event, frozen=True):
    """The customer owes `micros` more (US-13); `total` is the receivable afterwards."""

    micros: int
    total: int
    receipt_id: str


class ReceivableChanged(Event, frozen=True):
    """Paid, aged, written off, or a new status; `total` is what is still owed."""

    total: int
    status: str
    business_days: int
    reason: str


class Notice(Event, frozen=True):
    """A message is due to the customer or the desk: warning, liquidation, deficit, payment, correction (US-11)."""

    kind: str
    detail: str


class Alarm(Event, frozen=True):
    """The desk must look: code and plain words."""

    code: str
    detail: str


class MarginCallChanged(Event, frozen=True):
    """A margin call (US-17): `status` is issued, changed, aged, met or closed (flat); `micros` what is still called
    for, `business_days` its age, `capital_charge` whether it has stood beyond the second day."""

    call_id: str
    status: str
    micros: int
    business_days: int
    capital_charge: bool


class Reconciled(Event, frozen=True):
    """The outcome for one account (US-26): `differences` maps "cash" or a contract to (ours, theirs), micros or
    lots; empty when all agrees."""

    file: str
    differences: dict[str, tuple[int, int]]


class SettingChanged(Event, frozen=True):
    """A setting that is not a flag: disclosure, limits, risk_settings, margin, review, news, desk_switch. `detail` is
    for people; `by` who did it, "clock" for the timer."""

    what: str
    detail: str
    by: str


class SeriesBatch(Event, frozen=True):
    """The events from here to the next of these follow from batch `number` (1, 2, ...) of the input's series, which
    came at `time` (UTC nanoseconds). Batches without events have none."""

    number: int
    time: int


AnyEvent = (
    Rejected
    | Posted
    | LevelChanged
    | FlagChanged
    | OrderApproved
    | OrderRefused
    | CancelOrders
    | CloseOutOrder
    | CloseOutQueued
    | CloseOutEnded
    | CorrectionIssued
    | Deleveraged
    | DeficitCovered
    | Socialised
    | DeficitBooked
    | ReceivableChanged
    | Notice
    | Alarm
    | MarginCallChanged
    | Reconciled
    | SettingChanged
    | SeriesBatch
)

ENCODER = msgspec.msgpack.Encoder(order="deterministic")
DECODER = msgspec.msgpack.Decoder(list[AnyEvent])
