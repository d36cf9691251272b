"""A venue behind FIX 4.4: orders out, execution reports in.

ClOrdID (11) is the order id (`wire_id`). An order is new until the venue's first execution report; its rejection, a
session-level reject or a business reject is `Refused`; no answer in time is `Uncertain`. `find` sends an
OrderStatusRequest: messages are dealt with in the order of their numbers, so when the venue answers that it does not
know the order, nothing of what was sent before can still reach it.

FIX 4.4 has no reduce-only instruction. PositionEffect (77) = C says that the order closes; a venue may or may not
enforce it. What holds in any case is the engine's: it never has more out than the position (G-07).

Executions reach the journal before their message counts as received, and what a crash interrupts is asked for again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TypeVar

from closeout.adapters.venues import fix_reports
from closeout.adapters.venues.fix_codec import Field, Message, MissingTag, utc_timestamp
from closeout.adapters.venues.fix_connection import FixConnection
from closeout.adapters.venues.fix_session import FixConfig, FixSession
from closeout.adapters.venues.fix_store import FixStore
from closeout.adapters.venues.port import (
    ABSENT,
    UNKNOWN,
    Absent,
    Alarm,
    Done,
    Execution,
    Found,
    NotConnected,
    Refused,
    Reporter,
    Uncertain,
    Unknown,
    VenueOrder,
    execution,
    wire_id,
)
from closeout.core.contracts import Contract
from closeout.core.units import InputError, decimal

T = TypeVar("T")

LONGEST_ID, ID_SIGNS = 64, r"!-~"
FINISHED = {"2": "filled", "3": "done for the day", "4": "cancelled", "8": "rejected", "C": "expired"}
"""OrdStatus (39) after which nothing fills, in words."""
UNKNOWN_ORDER, DUPLICATE_ORDER = "5", "6"
"""OrdRejReason (103)."""
NO_ORDER_ID = "NONE"
"""OrderID (37) of an order that the venue does not know."""
SILENT = frozenset("0A56DE")
"""ExecType (150) that change nothing here: new and the pending ones, replaced, restated."""
CANCEL_SETTLED = frozenset(("0", "1", "3"))
"""CxlRejReason (102): too late, unknown order, pending already."""


class FixVenue:
    """One FIX session as a venue.

    `symbols` maps contract names to Symbol (55), `contracts` the same names to contracts. `store` is the file of the
    session's numbers. `reports` looks accounts up for position and collateral reports, if they are to be given.
    `answer_within`: seconds that `place`, `cancel` and `find` wait for an answer.
    """

    def __init__(
        self,
        config: FixConfig,
        host: str,
        port: int,
        store: Path | str,
        contracts: Mapping[str, Contract],
        symbols: Mapping[str, str],
        alarm: Alarm,
        *,
        name: str = "fix",
        tls: ssl.SSLContext | None = None,
        reports: fix_reports.Accounts | None = None,
        answer_within: float = 10.0,
        pause: float = 1.0,
    ) -> None:
        missing = sorted(symbols.keys() - contracts.keys())
        if missing:
            raise InputError(f"venue {name}: symbols: no contract {', '.join(missing)}")
        self.name = name
        self._symbols = dict(symbols)
        self._contracts = {symbol: contracts[own] for own, symbol in symbols.items()}
        self._alarm, self._reports, self._answer_within = alarm, reports, answer_within
        self._session = FixSession(config, FixStore(store, config.session))
        self._connection = FixConnection(self._session, host, port, alarm, tls=tls, pause=pause)
        self._orders: dict[str, VenueOrder] = {}
        self._tried: set[str] = set()
        self._heard: dict[str, dict[str, Execution]] = {}
        self._done: dict[str, Done] = {}
        self._placing: dict[str, asyncio.Future[None]] = {}
        self._cancelling: dict[str, asyncio.Future[None]] = {}
        self._asking: dict[str, tuple[str, asyncio.Future[Found | Absent | Unknown]]] = {}
        self._questions = count(1)

    @property
    def connected(self) -> bool:
        return self._connection.logged_on

    def close(self) -> None:
        """Close the store, after `run` has ended."""
        self._session.store.close()

    def remember(self, order: VenueOrder, sent_at: int) -> None:
        self._orders.setdefault(_wire(order.order_id), order)

    async def run(self, report: Reporter) -> None:
        async def handle(message: Message) -> None:
            await self._handle(message, report)

        await self._connection.run(handle)

    # -- the port -----------------------------------------------------------------------------------

    async def place(self, order: VenueOrder) -> None:
        wire = _wire(order.order_id)
        if wire in self._tried:
            raise Uncertain(f"order {order.order_id} was sent before")
        if order.contract.name not in self._symbols:
            raise Refused(f"{order.contract.name} has no symbol at {self.name}")
        if not order.lots:
            raise Refused("an order without lots")
        self._orders[wire] = order
        kind: list[Field] = [(40, "1")]
        if order.limit_ticks is not None:
            kind = [(40, "2"), (44, order.contract.price_text(order.limit_ticks)), (59, "3")]  # immediate or cancel
        fields = [(11, wire), *self._order_fields(order), *kind, (77, "C")]
        answer = self._placing[wire] = asyncio.get_running_loop().create_future()
        self._tried.add(wire)
        try:
            await self._send("D", fields)
            async with asyncio.timeout(self._answer_within):
                await answer
        except Refused:
            self._tried.discard(wire)
            raise
        except TimeoutError:
            raise Uncertain(f"no answer to order {order.order_id} within {self._answer_within:g} seconds") from None
        finally:
            self._placing.pop(wire, None)

    async def cancel(self, order_id: str) -> None:
        wire = _wire(order_id)
        order = self._orders.get(wire)
        if order_id in self._done:
            return
        if order is None:
            raise Uncertain(f"order {order_id} is not known to this process")
        cancel_id = _wire(f"{order_id}-c{self._session.store.next_out}")
        answer = self._cancelling[cancel_id] = asyncio.get_running_loop().create_future()
        try:
            await self._send("F", [(41, wire), (11, cancel_id), *self._order_fields(order)])
            async with asyncio.timeout(self._answer_within):
                await answer
        except TimeoutError:
            raise Uncertain(f"no answer to the cancellation of {order_id}") from None
        finally:
            self._cancelling.pop(cancel_id, None)

    async def find(self, order_id: str, sent_at: int) -> Found | Absent | Unknown:
        """`sent_at` is not used: the session's numbers say more. `UNKNOWN` too for an order that `remember` was not
        called for, because the question has to name symbol and side."""
        wire = _wire(order_id)
        order = self._orders.get(wire)
        if order is None or not await self._connection.logged_on_within(self._answer_within):
            return UNKNOWN
        question = _wire(f"{order_id}-s{next(self._questions)}")
        answer: asyncio.Future[Found | Absent | Unknown] = asyncio.get_running_loop().create_future()
        self._asking[question] = wire, answer
        fields = [(11, wire), (790, question), (1, order.account_id), *self._instrument(order)]
        try:
            await self._send("H", fields)
            async with asyncio.timeout(self._answer_within):
                found = await answer
        except (TimeoutError, NotConnected):
            return UNKNOWN
        finally:
            self._asking.pop(question, None)
        if isinstance(found, Absent):
            self._tried.discard(wire)
        return found

    async def _send(self, msg_type: str, fields: list[Field]) -> None:
        try:
            await self._connection.send(msg_type, fields)
        except ValueError as bad:
            raise Refused(str(bad)) from None

    def _instrument(self, order: VenueOrder) -> list[Field]:
        return [(55, self._symbols[order.contract.name]), (54, "1" if order.lots > 0 else "2")]

    def _order_fields(self, order: VenueOrder) -> list[Field]:
        quantity = order.contract.quantity_text(abs(order.lots))
        time = utc_timestamp(self._session.clock())
        return [(1, order.account_id), *self._instrument(order), (60, time), (38, quantity)]

    # -- what comes in ------------------------------------------------------------------------------

    async def _handle(self, message: Message, report: Reporter) -> None:
        try:
            match message.type:
                case "8":
                    await self._execution_report(message, report)
                case "9":
                    self._cancel_refused(message)
                case "3" | "j":
                    await self._rejected(message)
                case _:
                    await self._question(message)
        except MissingTag as bad:
            self._alarm("fix_message", f"message {message.seq} of type {message.type}: {bad}")
            await self._connection.reject(message, bad.tag, str(bad))
        except ValueError as bad:  # a number that is none, or an answer that cannot be written
            said = "|".join(f"{tag}={value}" for tag, value in message.body())
            self._alarm("fix_message", f"message {message.seq} of type {message.type}: {bad}: {said}")

    async def _execution_report(self, message: Message, report: Reporter) -> None:
        kind, status = message.need(150), message.need(39)
        wire = message.get(41) or message.need(11)
        order = self._orders.get(wire)
        order_id = order.order_id if order else wire
        if kind == "I":
            self._status(message, order, order_id, status)
        elif kind == "F":
            heard = self._trade(message, order, order_id)
            if heard is not None:
                await report(heard)
                self._heard.setdefault(order_id, {})[heard.fill_id] = heard
        elif kind in ("G", "H"):
            text = f"order {order_id}: the venue {'corrected' if kind == 'G' else 'cancelled'} execution"
            self._alarm("trade_corrected", f"{text} {message.get(19)}: {message.get(32)} at {message.get(31)}")
        elif kind not in SILENT and kind not in FINISHED:
            self._alarm("fix_message", f"order {order_id}: execution report of the unknown kind {kind}")
        if kind == "8" and message.get(103) == DUPLICATE_ORDER:
            _fail(self._placing.get(wire), Uncertain(f"the venue has an order {order_id} already"))
            return
        if kind == "8" and _fail(self._placing.get(wire), Refused(message.get(58) or "rejected by the venue")):
            return
        if kind != "A":
            _settle(self._placing.get(wire), None)
        if kind in ("4", "6"):
            _settle(self._cancelling.get(message.need(11)), None)
        if status in FINISHED and kind in ("F", *FINISHED) and order_id not in self._done:
            text = message.get(58)
            done = Done(order_id, f"{FINISHED[status]}: {text}" if text else FINISHED[status])
            await report(done)
            self._done[order_id] = done

    def _trade(self, message: Message, order: VenueOrder | None, order_id: str) -> Execution | None:
        said = message.need(17)
        contract = order.contract if order else self._contracts.get(message.need(55))
        quantity, price = decimal(message.need(32), "LastQty"), decimal(message.need(31), "LastPx")
        signed = quantity if message.need(54) == "1" else -quantity
        if order is None:
            self._alarm("execution_unknown_order", f"execution {said} of {order_id}, which is not known: {signed}")
        elif (signed > 0) != (order.lots > 0):
            self._alarm("execution_wrong_side", f"execution {said} of {order_id} is on the other side: {signed}")
        if contract is None:
            text = f"execution {said} of {order_id}: {signed} at {price} in {message.get(55)}, which is not known"
            self._alarm("execution_not_booked", text)
            return None
        return execution(order_id, said, contract, signed, price, self._alarm)

    def _status(self, message: Message, order: VenueOrder | None, order_id: str, status: str) -> None:
        """The answer to an OrderStatusRequest; by 790, or by the order where the venue does not send that back."""
        wire, named = _wire(order_id), message.get(790)
        answers = [answer for key, (own, answer) in self._asking.items() if (key == named if named else own == wire)]
        unknown = message.get(103) == UNKNOWN_ORDER or message.get(37) == NO_ORDER_ID
        if status == "8" and unknown:
            found = ABSENT
        else:
            filled = decimal(message.get(14) or "0", "CumQty") / order.contract.lot if order else 0
            found = Found(status in FINISHED, tuple(self._heard.get(order_id, {}).values()), int(filled))
        for answer in answers:
            _settle(answer, found)

    def _cancel_refused(self, message: Message) -> None:
        answer = self._cancelling.get(message.need(11))
        if message.get(102) in CANCEL_SETTLED:
            _settle(answer, None)
        else:
            _fail(answer, Refused(message.get(58) or f"cancellation rejected, reason {message.get(102)}"))

    async def _rejected(self, message: Message) -> None:
        """The other side could not use a message of ours: what it carried surely was not done."""
        text = message.get(58) or "no reason given"
        self._alarm("fix_reject", f"message {message.get(45)} of type {message.get(372)} was rejected: {text}")
        sent = await self._connection.sent(message.number(45) or 0)
        fields = dict(sent.body) if sent else {}
        _fail(self._placing.get(fields.get(11, "")), Refused(text))
        _fail(self._cancelling.get(fields.get(11, "")), Refused(text))
        if fields.get(790) in self._asking:
            _settle(self._asking[fields[790]][1], UNKNOWN)

    async def _question(self, message: Message) -> None:
        replies = fix_reports.answer(message, self._reports) if self._reports else None
        if replies is None:
            text = "this message is not supported"
            replies = [("j", [(45, str(message.seq)), (372, message.type), (380, "3"), (58, text)])]
        for msg_type, fields in replies:
            await self._connection.send(msg_type, fields)


def _wire(order_id: str) -> str:
    return wire_id(order_id, LONGEST_ID, ID_SIGNS)


def _settle(answer: asyncio.Future[T] | None, value: T) -> None:
    if answer is not None and not answer.done():
        answer.set_result(value)


def _fail(answer: asyncio.Future[None] | None, error: Exception) -> bool:
    """Whether somebody was waiting."""
    if answer is None or answer.done():
        return False
    answer.set_exception(error)
    return True
