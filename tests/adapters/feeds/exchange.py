"""A venue on this machine: answers subscriptions as the real one does, then plays messages and faults.

What it plays is mostly the recordings in ../shared/data/recordings next to the checkout; without them the tests that
need them are skipped by name.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from closeout.adapters.feeds.port import Feed, Observation

RECORDINGS = Path(__file__).parents[3].parent / "shared" / "data" / "recordings"
NOW = 1_800_000_000 * 10**9
"""A clock for tests: after every recording."""


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (RECORDINGS / name).exists(), reason="the recordings are not part of the project")


def received(name: str) -> list[str]:
    """What a venue sent, message for message: the lines ``TIME: MESSAGE`` of a recording."""
    lines = (RECORDINGS / name).read_text(encoding="utf-8").splitlines()
    return [found[1] for line in lines if (found := re.match(r"[0-9.]+: (.*)", line))]


class Fault(Enum):
    """What a session can play besides messages."""

    DROP = "the line is cut"
    CLOSE = "the venue says goodbye"


Step = str | bytes | Fault | float
"""A message, a fault, or seconds of silence."""


class Venue(Protocol):
    """How a venue answers. `ready`: everything is subscribed, the session can be played."""

    def greet(self) -> list[str]: ...
    def answer(self, request: Any) -> list[str]: ...
    def ready(self) -> bool: ...


@dataclass
class KrakenFuturesVenue:
    """One acknowledgement a product, in capitals, whatever the case asked for; heartbeats are asked for last."""

    products: Sequence[str]
    begun: bool = False

    def greet(self) -> list[str]:
        self.begun = False
        return ['{"event":"info","version":1}']

    def answer(self, request: Any) -> list[str]:
        feed = request["feed"]
        if feed == "heartbeat":
            self.begun = True
            return ['{"event":"subscribed","feed":"heartbeat"}', '{"feed":"heartbeat","time":1534262350627}']
        known = [product.upper() in self.products for product in request["product_ids"]]
        acks = [
            json.dumps({"event": "subscribed", "feed": feed, "product_ids": [product.upper()]})
            for product in request["product_ids"]
        ]
        error = '{"event":"error","message":"Invalid product id"}'
        return [ack if is_known else error for ack, is_known in zip(acks, known, strict=True)]

    def ready(self) -> bool:
        return self.begun


@dataclass
class KrakenSpotVenue:
    symbols: Sequence[str]
    begun: bool = False

    def greet(self) -> list[str]:
        self.begun = False
        state = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 7974620515126709019}
        return [json.dumps({"channel": "status", "type": "update", "data": [state]})]

    def answer(self, request: Any) -> list[str]:
        self.begun = True
        times = {"time_in": "2026-09-24T03:54:28.829165Z", "time_out": "2026-09-24T03:54:28.829217Z"}
        replies = [
            {"method": "subscribe", "success": True, "result": {"channel": "ticker", "symbol": symbol}, **times}
            if symbol in self.symbols
            else {
                "error": f"Currency pair not supported {symbol}", "method": "subscribe", "success": False,
                "symbol": symbol, **times,
            }
            for symbol in request["params"]["symbol"]
        ]  # fmt: skip
        return [json.dumps(reply) for reply in replies]

    def ready(self) -> bool:
        return self.begun


@dataclass
class CoinbaseVenue:
    """Lists all subscriptions on each request and repeats the product's ticker; a wrong product fails its request."""

    products: Sequence[str]
    asked: int
    latest: dict[str, str] = field(default_factory=dict)
    subscribed: list[str] = field(default_factory=list)
    requests: int = 0

    def greet(self) -> list[str]:
        self.subscribed, self.requests = [], 0
        return []

    def answer(self, request: Any) -> list[str]:
        (product,) = request["product_ids"]
        self.requests += 1
        if product not in self.products:
            reason = f"{product} is not a valid product"
            return [json.dumps({"type": "error", "message": "Failed to subscribe", "reason": reason})]
        if request["type"] == "unsubscribe":
            self.subscribed.remove(product)
        else:
            self.subscribed.append(product)
        channels = [{"name": "ticker", "product_ids": self.subscribed}]
        repeats = [self.latest[product]] if request["type"] == "subscribe" and product in self.latest else []
        return [json.dumps({"type": "subscriptions", "channels": channels}), *repeats]

    def ready(self) -> bool:
        return self.requests >= self.asked


class Exchange:
    """A local server that plays one session a connection, and the last one to all further connections.

    After a session the line stays open and silent. `requests` is what clients said. `pages` answers plain HTTP.
    """

    def __init__(self, venue: Venue, *sessions: Sequence[Step], pages: Mapping[str, str] | None = None) -> None:
        self.venue = venue
        self.pages = pages or {}
        self.sessions = sessions
        self.connections = 0
        self.requests: list[Any] = []
        self._server: Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def __aenter__(self) -> "Exchange":
        self._server = await serve(self._serve, "127.0.0.1", 0, close_timeout=1, process_request=self._page)
        return self

    def _page(self, connection: ServerConnection, request: Request) -> Response | None:
        page = self.pages.get(request.path)
        return None if page is None else connection.respond(HTTPStatus.OK, page)

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        session = self.sessions[min(self.connections, len(self.sessions) - 1)]
        self.connections += 1
        ready = asyncio.Event()
        answering = asyncio.create_task(self._answer(connection, ready))
        try:
            for message in self.venue.greet():
                await connection.send(message)
            await ready.wait()
            for step in session:
                if step is Fault.DROP:
                    connection.transport.abort()
                elif step is Fault.CLOSE:
                    await connection.close()
                elif isinstance(step, float | int):
                    await asyncio.sleep(step)
                else:
                    await connection.send(step)
            await connection.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def _answer(self, connection: ServerConnection, ready: asyncio.Event) -> None:
        async for message in connection:
            request = json.loads(message)
            self.requests.append(request)
            for reply in self.venue.answer(request):
                await connection.send(reply)
            if self.venue.ready():
                ready.set()


class Listener:
    """Runs a feed until enough was heard. `pauses` are the seconds it meant to wait before connecting again."""

    def __init__(self) -> None:
        self.heard: list[Observation] = []
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def listen(self, feed: Feed, enough: Callable[[], bool]) -> list[Observation]:
        """Until `enough()`, asked after each observation and now and then. Half a minute means that it hangs."""
        done = asyncio.Event()

        def publish(observation: Observation) -> None:
            self.heard.append(observation)
            if enough():
                done.set()

        async def watch() -> None:
            while not enough():
                await asyncio.sleep(0.005)
            done.set()

        running = asyncio.create_task(feed.run(publish))
        others = [asyncio.create_task(done.wait()), asyncio.create_task(watch())]
        try:
            async with asyncio.timeout(30):
                await asyncio.wait([running, *others[:1]], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in (running, *others):
                task.cancel()
            await asyncio.gather(running, *others, return_exceptions=True)
        return self.heard


def prices(observations: Sequence[Observation], market: str) -> list[str]:
    """The prices of one market as texts."""
    return [str(found.price) for found in observations if found.market == market]
