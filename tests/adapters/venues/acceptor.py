"""A small FIX 4.4 acceptor for the tests, with a small order book behind it. It shares no code with the initiator.

`Acceptor` is the protocol without input or output; `Server` puts it on a local port. Both outlive connections: what
they know is what a venue would.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

SOH = b"\x01"
ADMIN = {"0", "1", "2", "3", "4", "5", "A"}
Pairs = list[tuple[int, str]]


def packed(fields: Pairs) -> bytes:
    """The bytes of a message that begins with MsgType (35)."""
    body = b"".join(f"{tag}={value}".encode() + SOH for tag, value in fields)
    start = b"8=FIX.4.4" + SOH + b"9=" + str(len(body)).encode() + SOH + body
    return start + f"10={sum(start) % 256:03d}".encode() + SOH


def unpacked(data: bytes) -> tuple[list[Pairs], bytes]:
    """The whole messages at the front of a stream that is never garbled, and the rest."""
    messages: list[Pairs] = []
    while True:
        end = data.find(SOH + b"10=")
        if end < 0 or len(data) < end + 8:
            return messages, data
        raw, data = data[: end + 8], data[end + 8 :]
        fields = [
            (int(tag), value.decode()) for tag, _, value in (part.partition(b"=") for part in raw.split(SOH)[:-1])
        ]
        assert raw == packed(fields[2:-1]), "the initiator sent a message with a wrong length or checksum"
        messages.append(fields[2:-1])


@dataclass
class Order:
    fields: dict[int, str]
    order_id: str
    filled: int = 0
    status: str = "0"


@dataclass
class Acceptor:
    """`handled` are the application messages that it has dealt with, in order; `copies` every copy of one that came, as
    its number and whether it was flagged as a possible duplicate. With `answers_orders` False it takes orders without a
    word; `refuse` is what it answers the next order with instead of taking it."""

    me: str = "VENUE"
    other: str = "CLOSEOUT"
    next_in: int = 1
    next_out: int = 1
    logged_on: bool = False
    sent: dict[int, Pairs] = field(default_factory=dict[int, Pairs])
    handled: list[dict[int, str]] = field(default_factory=list[dict[int, str]])
    admin: list[dict[int, str]] = field(default_factory=list[dict[int, str]])
    copies: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])
    orders: dict[str, Order] = field(default_factory=dict[str, Order])
    executions: int = 0
    asked: int = 0
    answers_orders: bool = True
    refuse: tuple[str, Pairs] | None = None

    # -- the session --------------------------------------------------------------------------------

    def lost(self) -> None:
        self.logged_on, self.asked = False, 0

    def send(self, msg_type: str, fields: Pairs) -> bytes:
        """Under the next number. Kept, to be sent again when asked for."""
        seq, self.next_out = self.next_out, self.next_out + 1
        if msg_type not in ADMIN:
            self.sent[seq] = [(35, msg_type), *fields]
        return self._packed(msg_type, seq, [], fields)

    def _packed(self, msg_type: str, seq: int, again: Pairs, fields: Pairs) -> bytes:
        head = [(35, msg_type), (49, self.me), (56, self.other), (34, str(seq)), (52, "20251010-21:13:00.000")]
        return packed([*head, *again, *fields])

    def receive(self, pairs: Pairs) -> list[bytes]:
        message = dict(pairs)
        seq, kind, again = int(message[34]), message[35], message.get(43) == "Y"
        assert (message[49], message[56]) == (self.other, self.me)
        assert self.logged_on or kind == "A", "something came before the logon"
        if kind not in ADMIN:
            self.copies.append((seq, again))
        if kind == "A" and message.get(141) == "Y":
            self.next_in = self.next_out = 1
            self.sent.clear()
        if seq < self.next_in:
            assert again, f"message {seq} came a second time without its flag"
            return []
        out: list[bytes] = []
        if kind == "A":
            self.logged_on = True
            out.append(self.send("A", [(98, "0"), (108, message[108]), *[(141, "Y")] * (message.get(141) == "Y")]))
        if kind == "2":
            out += self._again(int(message[7]), int(message[16]))
        if seq > self.next_in:
            if self.asked != self.next_in:
                self.asked = self.next_in
                out.append(self.send("2", [(7, str(self.next_in)), (16, "0")]))
            return out
        self.next_in = int(message[36]) if kind == "4" else seq + 1
        if kind in ADMIN:
            self.admin.append(message)
        if kind == "1":
            out.append(self.send("0", [(112, message[112])]))
        elif kind == "5":
            out.append(self.send("5", []))
            self.logged_on = False
        elif kind not in ADMIN:
            self.handled.append(message)
            out += self._application(message)
        return out

    def _again(self, first: int, last: int) -> list[bytes]:
        last = self.next_out - 1 if last == 0 else last
        flagged = [(43, "Y"), (122, "20251010-21:13:00.000")]
        out: list[bytes] = []
        for seq in range(first, last + 1):  # one gap fill for each administrative message: the plainest way
            if seq in self.sent:
                (_, kind), *fields = self.sent[seq]
                out.append(self._packed(kind, seq, flagged, fields))
            else:
                out.append(self._packed("4", seq, flagged, [(123, "Y"), (36, str(seq + 1))]))
        return out

    # -- the venue ----------------------------------------------------------------------------------

    def _application(self, message: dict[int, str]) -> list[bytes]:
        kind = message[35]
        if kind == "D":
            if self.refuse is not None:
                (answer, fields), self.refuse = self.refuse, None
                if answer == "8":
                    return [self.send("8", self._report(message, [(37, "NONE"), (150, "8"), (39, "8"), *fields]))]
                return [self.send(answer, [(45, message[34]), (372, "D"), *fields])]
            if message[11] in self.orders:
                refused = [(37, "NONE"), (150, "8"), (39, "8"), (103, "6"), (58, "duplicate ClOrdID")]
                return [self.send("8", self._report(message, refused))]
            order = self.orders[message[11]] = Order(message, f"V{len(self.orders) + 1}")
            return [self.told(order, "0")] if self.answers_orders else []
        if kind == "H":
            order = self.orders.get(message[11])
            if order is None:
                unknown = [(37, "NONE"), (150, "I"), (39, "8"), (103, "5"), (790, message[790])]
                return [self.send("8", self._report(message, unknown))]
            return [self.told(order, "I", (790, message[790]))]
        if kind == "F":
            order = self.orders.get(message[41])
            if order is None or order.status in ("2", "4", "8"):
                settled = [(37, "NONE"), (11, message[11]), (41, message[41]), (39, "8"), (434, "1")]
                return [self.send("9", [*settled, (102, "0" if order else "1")])]
            order.status = "4"
            return [self.told(order, "4", (41, message[41]), cl_ord_id=message[11])]
        return []

    def _report(self, message: dict[int, str], fields: Pairs) -> Pairs:
        self.executions += 1
        own = [(11, message[11]), (17, f"E{self.executions}"), (55, message[55]), (54, message[54])]
        return [*own, *fields, (14, "0"), (151, "0"), (6, "0")]

    def told(self, order: Order, kind: str, *more: tuple[int, str], cl_ord_id: str = "") -> bytes:
        """An execution report about an order as it stands."""
        self.executions += 1
        fields = order.fields
        left = 0 if order.status in ("2", "4", "8") else 1
        return self.send(
            "8",
            [
                *[(37, order.order_id), (17, f"E{self.executions}"), (150, kind), (39, order.status)],
                *[(11, cl_ord_id or fields[11]), (55, fields[55]), (54, fields[54]), (38, fields[38])],
                *[(14, str(order.filled)), (151, str(left)), (6, "0")],
                *more,
            ],
        )

    def fill(self, cl_ord_id: str, quantity: str, price: str, *, last: bool = False, symbol: str = "") -> bytes:
        """An execution; `last` fills the order."""
        order = self.orders[cl_ord_id]
        order.filled += int(float(quantity) * 100)  # only its own count, in hundredths
        order.status = "2" if last else "1"
        return self.told(order, "F", (32, quantity), (31, price), *([(55, symbol)] if symbol else []))


class Server:
    """The acceptor on a port of this machine. `outgoing` may drop, repeat or break what is sent."""

    def __init__(self, acceptor: Acceptor, tls: ssl.SSLContext | None = None) -> None:
        self.acceptor, self._tls = acceptor, tls
        self.port = 0
        self.connections = 0
        self.outgoing: Callable[[bytes], list[bytes]] = lambda data: [data]
        self.incoming: Callable[[dict[int, str]], bool] = lambda message: True
        """Asked after each message was dealt with; False cuts the connection before anything is answered."""
        self.arriving: Callable[[dict[int, str]], bool] = lambda message: True
        """Asked before; False cuts the connection, and the message never came."""
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """The connection breaks."""
        if self._writer is not None:
            self._writer.transport.abort()

    def write(self, *messages: bytes) -> None:
        for message in messages:
            for data in self.outgoing(message):
                if self._writer is not None:
                    self._writer.write(data)

    async def until(self, true: Callable[[], object]) -> None:
        """Returns when it holds; looks after each message."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(true()))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, rest = writer, b""
        self.acceptor.lost()
        self.connections += 1
        try:
            while data := await reader.read(65536):
                messages, rest = unpacked(rest + data)
                for message in messages:
                    if not self.arriving(dict(message)):
                        writer.transport.abort()
                        return
                    answers = self.acceptor.receive(message)
                    if not self.incoming(dict(message)):
                        writer.transport.abort()
                        return
                    self.write(*answers)
                async with self._changed:
                    self._changed.notify_all()
        except ConnectionError:
            pass
        finally:
            self.acceptor.lost()
            writer.close()
