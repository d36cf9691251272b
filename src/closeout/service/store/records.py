"""What the store gives back, one struct a table. Fields are the table's columns: money in micros, times in UTC
nanoseconds, `seq` the journal's input and `idx` the event's place among its events (0 for what an input itself says).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from closeout.engine.events import AnyEvent
from closeout.service.writer import Answer

R = TypeVar("R", bound=Struct)
EVENT_DECODER = msgspec.msgpack.Decoder(AnyEvent)


class NotFound(Exception):
    """Nothing has that id."""


class Conflict(Exception):
    """What is asked for does not fit what stands: an effect's state, a decision that was taken, an id used before."""


class Entry(Struct, frozen=True):
    """Base of what lies in a list in the order of the journal."""

    seq: int
    idx: int
    time: int
    account_id: str


class Posting(Entry, frozen=True):
    """`micros` (above zero) moved from `credit` to `debit`."""

    debit: str
    credit: str
    currency: str
    micros: int
    reason: str


class Receipt(Entry, frozen=True):
    """`kind` is close_out, own_brake or correction; `document` is the JSON text as it was issued."""

    receipt_id: str
    kind: str
    supersedes: str
    document: str


class Fill(Entry, frozen=True):
    """An execution that the engine booked; `source` reported it. Of an account nobody knows it lies in suspense."""

    source: str
    contract: str
    lots: int
    price_ticks: int
    order_id: str
    fill_id: str


class Order(Entry, frozen=True):
    """`origin` customer (an order check) or close_out. `outcome` is approved, refused (`code` says why) or sent.

    The numbers are those of the check, in micros. Lots and limits of a refused order may be beyond every bound; they
    are kept within 64 bits here, and whole in the act.
    """

    order_id: str
    origin: str
    contract: str
    lots: int
    limit_ticks: int | None
    receipt_id: str
    outcome: str
    code: str
    detail: str
    before: int
    change: int
    after: int
    available: int
    suggested_lots: int


class Alarm(Entry, frozen=True):
    """`acknowledged_by` is "" and `acknowledged_at` 0 until somebody has."""

    code: str
    detail: str
    acknowledged_by: str
    acknowledged_at: int

    @property
    def alarm_id(self) -> str:
        return f"{self.seq}.{self.idx}"


class Notice(Entry, frozen=True):
    kind: str
    detail: str


class LevelChange(Entry, frozen=True):
    before: str
    after: str
    net_liq: int
    requirement: int
    line: int


class FlagChange(Entry, frozen=True):
    flag: str
    is_on: bool
    reason: str


class Deficit(Entry, frozen=True):
    micros: int
    total: int
    receipt_id: str


class ReceivableChange(Entry, frozen=True):
    total: int
    status: str
    business_days: int
    reason: str


class MarginCall(Entry, frozen=True):
    call_id: str
    status: str
    micros: int
    business_days: int
    capital_charge: bool


class Reconciliation(Entry, frozen=True):
    """`differences` is JSON: "cash" or a contract to [ours, theirs]."""

    file: str
    agreed: bool
    differences: str


class SettingChange(Entry, frozen=True):
    what: str
    detail: str
    changed_by: str


class Act(Entry, frozen=True):
    """An input that somebody sent with an API key: `person` is the command's `by`, `document` the command as JSON with
    its fields' names, in the engine's units. `outcome` is done, rejected or refused; `code` says why not."""

    source: str
    command: str
    person: str
    document: str
    outcome: str
    code: str


class AuditEntry(Struct, frozen=True):
    """One request to the API. `seq` is the input that it became, if any; `entry_id` is given by the store."""

    time: int
    key_id: str
    role: str
    method: str
    path: str
    status: int
    seq: int | None
    remote: str
    entry_id: int = 0


class Effect(Struct, frozen=True):
    """Something to be done outside: `kind` order, cancel, notice, alarm or webhook.

    `state` is pending, sending, sent, failed (tried, due again at `not_before`) or parked (needs a person); `note` says
    what came of it. `attempts` counts how often it was marked as sending.
    """

    effect_id: str
    kind: str
    seq: int
    idx: int
    time: int
    account_id: str
    payload: bytes
    state: str
    attempts: int
    not_before: int
    note: str

    @property
    def event(self) -> AnyEvent:
        return EVENT_DECODER.decode(self.payload)


class Proposal(Struct, frozen=True):
    """An act that waits for a second person: `status` is open, approved or rejected, `command` msgpack of the command.
    `seq` is the input that an approved one became."""

    proposal_id: str
    time: int
    proposed_by: str
    kind: str
    command: bytes
    reason: str
    status: str
    decided_by: str
    decided_at: int
    seq: int | None


class AccountDay(Struct, frozen=True):
    """An account at the end of a day. `flags` are labels with spaces between; the margins are of positions held."""

    account_id: str
    owner: str
    net_liq: int
    requirement: int
    initial: int
    maintenance: int
    cash: int
    accrued: int
    pending: int
    receivable: int
    level: str
    flags: str
    liquidations: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answers to a key's commands, in order; `command_digest` is the writer's of those commands."""

    command_digest: bytes
    answers: tuple[Answer, ...]

    @property
    def seq(self) -> int:
        return self.answers[0].seq


@dataclass(frozen=True, slots=True)
class Query:
    """What a page is to hold. `account_id` takes its isolated positions (``A/...``) in; `since` <= time < `until`.

    `matching` asks for equal values in other columns, such as {"acknowledged_by": ""}. `cursor` is the `cursor` of the
    page before, under the same order.
    """

    account_id: str | None = None
    since: int | None = None
    until: int | None = None
    matching: dict[str, Any] = field(default_factory=dict[str, Any])
    newest_first: bool = False
    cursor: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """`cursor` goes on after the last item; None when nothing follows."""

    items: list[R]
    cursor: str | None
