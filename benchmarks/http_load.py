"""A load of HTTP requests from a process of its own, to an address on this machine.

    python -m benchmarks.http_load < SPEC

SPEC is a line of JSON, a `Load`. With a `rate` requests are due at even times whatever the answers do, and each counts
from the moment it was due (an open loop: a slow answer does not hide those behind it); without one every connection
asks again as soon as it was answered (a closed loop: the most that is taken). Prints ``{}`` when connected, begins with
another line on its input, and prints at its end what it measured.
"""

import asyncio
import json
import re
import selectors
import sys
import time
from collections import deque
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.measure import percentiles

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
GRACE = 30.0
"""Seconds after the last due time until what has no answer is given up."""


class Load(Struct, frozen=True):
    """`count` requests to 127.0.0.1:`port` at most, over `connections`, for `seconds`. With `orders` they are order
    checks: (account, contract, quantity) in turns, each with an id of its own that begins with `prefix`; otherwise GET
    /health."""

    port: int
    connections: int
    count: int
    seconds: float
    rate: float = 0.0
    key: str = ""
    prefix: str = ""
    orders: list[tuple[str, str, str]] = []


def request(load: Load, number: int) -> bytes:
    if not load.orders:
        return b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    account, contract, quantity = load.orders[number % len(load.orders)]
    order = f"{load.prefix}-{number}"
    body = f'{{"order_id":"{order}","contract":"{contract}","quantity":"{quantity}"}}'
    return (
        f"POST /v1/accounts/{account}/orders/check HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {load.key}\r\n"
        f"Idempotency-Key: {order}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, loader: "Loader") -> None:
        self.loader = loader
        self.begun = 0
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.loader.lost += 1

    def ask(self, text: bytes, begun: int) -> None:
        self.begun = begun
        self.transport.write(text)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._buffer, 0, head)
        size = head + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < size:
            return
        answer, self._buffer = self._buffer[:size], b""
        self.loader.answered(self, answer)


class Loader:
    """Asks, and measures."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.free: deque[Connection] = deque()
        self.due: deque[int] = deque()
        self.asked = self.approved = self.lost = 0
        self.taken: list[int] = []
        self.statuses: dict[str, int] = {}
        self.ended = 0

    async def run(self) -> dict[str, Any]:
        loop, load = asyncio.get_running_loop(), self.load
        for _ in range(load.connections):
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", load.port)
            self.free.append(connection)
        print("{}", flush=True)
        sys.stdin.readline()
        begun = time.perf_counter_ns()
        self.stop = begun + int(load.seconds * 1e9)
        self.left = load.count
        if load.rate:
            await self._at_times(begun)
        else:
            for connection in [*self.free]:
                self._next(connection)
        while len(self.taken) < self.asked + len(self.due) and time.perf_counter_ns() < self.stop + GRACE * 1e9:
            await asyncio.sleep(0.01)
        while not load.rate and time.perf_counter_ns() < self.stop and self.asked < load.count:
            await asyncio.sleep(0.01)
        seconds = (self.ended - begun) / 1e9
        return {
            "asked": self.asked,
            "answered": len(self.taken),
            "seconds": seconds,
            "per second": len(self.taken) / seconds,
            "statuses": self.statuses,
            "approved": self.approved,
            "latency": percentiles(self.taken),
        }

    async def _at_times(self, begun: int) -> None:
        count = min(self.load.count, int(self.load.rate * self.load.seconds))
        for number in range(count):
            due = begun + int(number * 1e9 / self.load.rate)
            while (wait := due - time.perf_counter_ns()) > 0:
                await asyncio.sleep(wait / 1e9)
            self.due.append(due)
            if self.free:
                self._next(self.free.popleft())

    def _next(self, connection: Connection) -> None:
        """The next request of this connection, if one is due."""
        if self.load.rate:
            if not self.due:
                self.free.append(connection)
                return
            begun = self.due.popleft()
        else:
            begun = time.perf_counter_ns()
            if begun >= self.stop or self.asked >= self.load.count:
                return
        self.asked += 1
        connection.ask(request(self.load, self.asked), begun)

    def answered(self, connection: Connection, answer: bytes) -> None:
        self.ended = time.perf_counter_ns()
        self.taken.append(self.ended - connection.begun)
        status = answer[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.approved += b'"approved":true' in answer
        self._next(connection)


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.readline(), type=Load)
    # epoll would wake a millisecond late at worst, select does not
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        print(json.dumps(runner.run(Loader(given).run())), flush=True)
