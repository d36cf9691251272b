"""What a venue is to the rest of the house: it takes reduce-only orders and says what became of them (G-07, G-16).

Order ids are the engine's and derive from the journal's position; every id on a wire derives from them (`wire_id`).
Quantities are signed lots, prices ticks. A venue does not decide whether to send again: it tells apart what surely was
not taken (`Refused`) from what nobody knows (`Uncertain`), and `find` answers for an id.

After a restart the service calls `remember` for every order that is not finished, before `run`: a venue needs to know
what an id stands for, and the journal is the only place where that is kept.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from math import ceil, floor
from typing import Protocol

from msgspec import Struct

from closeout.core.contracts import Contract, Kind
from closeout.core.units import MAX_LOTS, MAX_PRICE_TICKS


class VenueOrder(Struct, frozen=True):
    """A reduce-only order: signed whole lots, at market (`limit_ticks` None), or immediate-or-cancel
    with a limit."""

    order_id: str
    account_id: str
    contract: Contract
    lots: int
    limit_ticks: int | None = None


class Execution(Struct, frozen=True):
    """Signed lots traded at a price. `fill_id` is the same whenever this execution is told again (G-09)."""

    order_id: str
    fill_id: str
    contract: str
    lots: int
    price_ticks: int


class Done(Struct, frozen=True):
    """Nothing more will fill; every execution of the order was reported before."""

    order_id: str
    reason: str


Report = Execution | Done


class Found(Struct, frozen=True):
    """The venue has, or had, the order. `executions` are those that it can tell one by one; `filled` is how many |lots|
    it says were filled in total, or None where it does not say: the caller alarms when its own count ends up lower."""

    done: bool
    executions: tuple[Execution, ...] = ()
    filled: int | None = None


class Absent(Struct, frozen=True):
    """The venue surely never had the order, and will not get it from what was sent before."""


class Unknown(Struct, frozen=True):
    """Nobody can say: the leg stays frozen and the desk is alarmed."""


ABSENT = Absent()
UNKNOWN = Unknown()


class Refused(Exception):
    """The venue surely did not take the order (or the cancellation)."""


class NotConnected(Refused):
    """Nothing was sent, for lack of a connection: the same order may be placed later."""


class Uncertain(Exception):
    """Nobody knows whether the venue has it: ask with `find`, never send again blindly."""


Reporter = Callable[[Report], Awaitable[None]]
"""Returns when the report is durable; what raised or never returned is reported again."""

Alarm = Callable[[str, str], None]
"""What only a person can mend: a code and plain words, with every number that is known."""


class Venue(Protocol):
    """A place that fills close-out orders. Only one task calls `run`; the other methods may overlap."""

    @property
    def name(self) -> str: ...

    @property
    def connected(self) -> bool: ...

    def remember(self, order: VenueOrder, sent_at: int) -> None:
        """An order of an earlier process that is not finished, sent (or about to be) at `sent_at` (UTC ns)."""
        ...

    async def run(self, report: Reporter) -> None:
        """Keep the connection, for ever, and report. Executions may be told more than once."""
        ...

    async def place(self, order: VenueOrder) -> None:
        """Send an order; returns when the venue has it. `Refused`, `NotConnected` or `Uncertain` otherwise."""
        ...

    async def cancel(self, order_id: str) -> None:
        """Ask to cancel; an order that is finished already, or unknown to the venue, is no error."""
        ...

    async def find(self, order_id: str, sent_at: int) -> Found | Absent | Unknown:
        """What the venue knows of an order that was, or may have been, sent at `sent_at` (UTC ns). Bounded in time."""
        ...


def wire_id(order_id: str, longest: int, allowed: str) -> str:
    """The client id under which a venue knows an order: the order id, where it is no longer than `longest` and has only
    signs of the class `allowed` (of a regular expression); otherwise ``x`` and as many hexadecimal digits of its
    SHA-256 as fit. The same order id always gives the same client id; the way back is by looking it up among the orders
    known."""
    if len(order_id) <= longest and re.fullmatch(f"[{allowed}]+", order_id):
        return order_id
    return "x" + sha256(order_id.encode()).hexdigest()[: min(longest - 1, 48)]


def execution(
    order_id: str, execution_id: str, contract: Contract, quantity: Decimal | Fraction, price: Decimal, alarm: Alarm
) -> Execution | None:
    """An execution in ticks and lots. `quantity` is signed, in the unit that the contract's quantities are quoted in.

    What is off the tick or the lot cannot be held exactly, and has happened all the same: the price goes to the next
    tick against the customer (equity down) and of the quantity the whole lots are reported, with an alarm that has the
    exact figures, for the desk to correct. None where nothing can be reported; the alarm then is all there is.
    """
    said = f"order {order_id}, execution {execution_id}: {quantity} {contract.name} at {price}"
    lots, ticks = Fraction(quantity) / Fraction(contract.lot), Fraction(price) / Fraction(contract.tick)
    whole_lots = floor(lots) if lots > 0 else ceil(lots)
    whole_ticks = ceil(ticks) if lots > 0 else floor(ticks)
    impossible = contract.kind is Kind.INVERSE and whole_ticks <= 0
    if not whole_lots or abs(whole_lots) > MAX_LOTS or abs(whole_ticks) > MAX_PRICE_TICKS or impossible:
        alarm("execution_not_booked", f"{said} cannot be booked")
        return None
    if lots != whole_lots:
        alarm("execution_off_lot", f"{said} is off the lot; {contract.quantity_text(whole_lots)} reported")
    if ticks != whole_ticks:
        alarm("execution_off_tick", f"{said} is off the tick; reported at {contract.price_text(whole_ticks)}")
    return Execution(order_id, f"{order_id}-{execution_id}", contract.name, whole_lots, whole_ticks)
