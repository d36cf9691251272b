"""Many WebSocket clients of the service's streams, in a process of its own.

    python -m benchmarks.stream_clients < SPEC

SPEC is a line of JSON, a `Spec`. Prints ``{}`` when every client is connected and has its snapshots, measures from a
line on its input on, and prints at its end what came. Each client is the protocol and no more, so that a thousand of
them do not take the machine from the service.
"""

import asyncio
import base64
import heapq
import json
import os
import random
import re
import socket
import struct
import sys
import time
from collections import Counter
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.measure import percentiles

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
PATIENCE = 60.0
DRAIN = 10.0
"""Seconds at most in which a stuck client, reading at last, must find the reason for which it was dropped."""
SMALL_BUFFER = 4096
EVENTS = "events"
"""The topic that has no snapshot."""
ACCOUNT = "{account}"
TS = re.compile(rb'"ts":"([^"]+)"')
TOPIC = re.compile(rb'"topic":"([^":]+)')


class Spec(Struct, frozen=True):
    """Client number i follows ``account:I`` of `accounts` (none where that is empty), the `topics` that all follow and,
    with `desk`, the desk topic. `stuck` more clients follow the desk and 150 accounts and read nothing, from when
    measuring begins until its end. Client number i also asks for the paths of `polls`, each so many times a
    second; ``{account}`` in them is its account."""

    port: int
    key: str
    clients: int
    accounts: list[str]
    desk: bool
    seconds: float
    stuck: int = 0
    topics: list[str] = []
    polls: dict[str, float] = {}


class Client(asyncio.Protocol):
    """One WebSocket. `delays`: nanoseconds from when a frame's document was worked out until it was read."""

    def __init__(self, topics: list[str], key: str) -> None:
        self.topics, self.key = topics, key
        self.wanted, self.snapshots = sum(topic != EVENTS for topic in topics), 0
        self.ready = asyncio.Event()
        self.closed = asyncio.Event()
        self.why: tuple[int, str] | None = None
        self.measuring = False
        self.delays: list[int] = []
        self.kinds: Counter[str] = Counter()
        self._buffer = bytearray()
        self._upgraded = False

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        nonce = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            (
                "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {self.key}\r\n\r\n"
            ).encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._upgraded:
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(bytes(buffer[:200]))
            del buffer[: head + 4]
            self._upgraded = True
            for topic in self.topics:
                self.send(TEXT, json.dumps({"type": "subscribe", "topic": topic}).encode())
        while (frame := self._frame()) is not None:
            self._take(*frame)

    def _frame(self) -> tuple[int, bytes] | None:
        """The next whole frame: its kind and content. The service does not split messages."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + size:
            return None
        kind, content = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        del buffer[: start + size]
        return kind, content

    def send(self, kind: int, content: bytes) -> None:
        """A masked frame; the mask of zeros is allowed, and costs nothing."""
        head = struct.pack("!BB", 0x80 | kind, 0x80 | len(content)) if len(content) < 126 else None
        if head is None:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, len(content))
        self.transport.write(head + bytes(4) + content)

    def _take(self, kind: int, content: bytes) -> None:
        if kind == PING:
            self.send(PONG, content)
        elif kind == CLOSE:
            self.why = (int.from_bytes(content[:2], "big"), content[2:].decode())
            self.send(CLOSE, content[:2])
        elif kind == TEXT:
            now = time.time_ns()
            what = content[9 : content.index(b'"', 9)].decode()
            if what == "snapshot" and not self.ready.is_set():
                self.snapshots += 1
            if what == "error":
                raise RuntimeError(content.decode())
            if self.snapshots >= self.wanted and (what == "ready" or self.snapshots):
                self.ready.set()
            if self.measuring and what in ("snapshot", "delta"):
                topic = TOPIC.search(content)[1].decode()  # type: ignore[index]
                self.kinds[f"{what} {topic}"] += 1
                if topic != EVENTS:  # whose frames do not say when they were made
                    self.delays.append(now - nanoseconds(TS.search(content)[1]))  # type: ignore[index]


def nanoseconds(text: bytes) -> int:
    """An instant of the service's as nanoseconds since 1970."""
    whole, _, fraction = text.decode().rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


async def connect(spec: Spec, topics: list[str], buffer: int = 0) -> Client:
    loop = asyncio.get_running_loop()
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setblocking(False)
    if buffer:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await loop.sock_connect(opened, ("127.0.0.1", spec.port))
    _, client = await loop.create_connection(lambda: Client(topics, spec.key), sock=opened)
    await asyncio.wait_for(client.ready.wait(), PATIENCE)
    return client


async def poll(spec: Spec, number: int) -> None:
    """A viewer's plain requests, evenly spread, until it is cancelled."""
    import httpx

    loop = asyncio.get_running_loop()
    start = loop.time() + random.random()
    own = spec.accounts[number] if spec.accounts else ""
    due = [[start + random.random() / rate, path.replace(ACCOUNT, own), 1 / rate] for path, rate in spec.polls.items()]
    heapq.heapify(due)
    headers = {"Authorization": f"Bearer {spec.key}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{spec.port}", headers=headers, timeout=PATIENCE) as asking:
        while due:
            at, path, every = due[0]
            await asyncio.sleep(at - loop.time())
            (await asking.get(path)).raise_for_status()
            heapq.heapreplace(due, [max(at + every, loop.time()), path, every])


async def run(spec: Spec) -> dict[str, Any]:
    desk = ["desk"] if spec.desk else []
    clients: list[Client] = []
    for start in range(0, spec.clients, 20):
        some = range(start, min(start + 20, spec.clients))
        wanted = [[*desk, *spec.topics, *([f"account:{spec.accounts[i]}"] if spec.accounts else [])] for i in some]
        clients += await asyncio.gather(*(connect(spec, topics) for topics in wanted))
    heavy = ["desk", *(f"account:{account}" for account in spec.accounts[:150])]
    stuck = [await connect(spec, heavy, SMALL_BUFFER) for _ in range(spec.stuck)]
    polling = [asyncio.create_task(poll(spec, number)) for number in range(spec.clients) if spec.polls]
    print("{}", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for client in clients:
        client.measuring = True
    for client in stuck:
        client.transport.pause_reading()
    await asyncio.sleep(spec.seconds)
    for client in clients:
        client.measuring = False
    for client in stuck:
        client.transport.resume_reading()
    await asyncio.wait(
        [asyncio.create_task(client.closed.wait()) for client in stuck] or [_done()], timeout=min(DRAIN, spec.seconds)
    )
    found = _found(clients, spec.seconds)
    found["stuck"] = [
        {"closed": client.closed.is_set(), "code": client.why and client.why[0], "reason": client.why and client.why[1]}
        for client in stuck
    ]
    for task in polling:
        task.cancel()
    for client in [*clients, *stuck]:
        client.transport.abort()
    return found


def _done() -> Any:
    return asyncio.create_task(asyncio.sleep(0))


def _found(clients: list[Client], seconds: float) -> dict[str, Any]:
    delays = [delay for client in clients for delay in client.delays]
    kinds = sum((client.kinds for client in clients), Counter[str]())
    rates = sorted(len(client.delays) / seconds for client in clients)
    return {
        "frames": len(delays),
        "kinds": dict(kinds),
        "delay": percentiles(delays) if delays else {},
        "rate": {"least": rates[0], "median": rates[len(rates) // 2], "most": rates[-1]},
        "lost": sum(client.closed.is_set() for client in clients),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(msgspec.json.decode(sys.stdin.readline(), type=Spec)))), flush=True)
