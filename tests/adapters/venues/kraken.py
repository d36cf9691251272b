"""A server on this machine that speaks the order protocol of Kraken Futures (REST v3, history v2), and fails on demand.

Written from the exchange's public documentation. Numbers leave it as they are written here, never as floats.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

KEY, SECRET = "the key", base64.b64encode(b"the secret").decode()
PAGE = 100
START = 1_760_130_780_000
INSTRUMENTS: list[dict[str, Any]] = [
    {
        "symbol": "PF_XBTUSD",
        "type": "flexible_futures",
        "tickSize": "@0.5",
        "contractSize": "@1",
        "contractValueTradePrecision": "@2",
        "tradeable": True,
    },
    {
        "symbol": "PI_XBTUSD",
        "type": "futures_inverse",
        "tickSize": "@0.5",
        "contractSize": "@1",
        "contractValueTradePrecision": "@0",
        "tradeable": True,
    },
]


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@dataclass
class Order:
    query: dict[str, str]
    order_id: str
    status: str = "open"
    filled: str = "0"


@dataclass
class Kraken:
    """`faults` are taken one by one, one per order request; `requests` are all that came, by path. `now`: the venue's
    clock in milliseconds, which only moves when told to. `lagging` orders are listed as open though they are not.
    `at_once`: sizes and prices that the next market order gets before it is answered; the rest of it is gone."""

    now: int = START
    faults: deque[str] = field(default_factory=deque[str])
    requests: list[str] = field(default_factory=list[str])
    orders: dict[str, Order] = field(default_factory=dict[str, Order])
    fills: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    down: bool = False
    lagging: set[str] = field(default_factory=set[str])
    at_once: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    events_per_page: int = 50
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> "Kraken":
        app = web.Application(middlewares=[self._checked])
        api = "/derivatives/api/v3"
        app.router.add_get(f"{api}/instruments", self._instruments)
        app.router.add_post(f"{api}/sendorder", self._send)
        app.router.add_post(f"{api}/cancelorder", self._cancel)
        app.router.add_get(f"{api}/openorders", self._open)
        app.router.add_get(f"{api}/fills", self._fills)
        app.router.add_get("/api/history/v2/orders", self._history)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _checked(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Down, or signed as the exchange wants it."""
        self.requests.append(request.path)
        if self.down:
            return web.Response(status=503, text="maintenance")
        if not request.path.endswith("/instruments"):
            path = request.path.removeprefix("/derivatives")
            signed = request.raw_path.partition("?")[2]
            digest = hashlib.sha256((signed + path).encode()).digest()
            wanted = base64.b64encode(hmac.new(base64.b64decode(SECRET), digest, hashlib.sha512).digest()).decode()
            if (request.headers.get("APIKey"), request.headers.get("Authent")) != (KEY, wanted):
                return self._answer(result="error", error="authenticationError")
        return await handler(request)

    def _answer(self, status: int = 200, **fields: Any) -> web.Response:
        text = json.dumps({"result": "success", "serverTime": iso(self.now), **fields})
        text = re.sub(r'"@([^"]+)"', r"\1", text)
        return web.Response(status=status, text=text, content_type="application/json")

    # -- the endpoints ------------------------------------------------------------------------------

    async def _instruments(self, request: web.Request) -> web.Response:
        return self._answer(instruments=INSTRUMENTS)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        fault = self.faults.popleft() if self.faults else ""
        if fault == "late":  # the request lies about until it is void
            self.now = max(self.now, milliseconds(query["processBefore"]) + 1)
        if fault == "500":
            return web.Response(status=500, text="Internal Server Error")
        if fault == "unknown error":
            return self._answer(500, result="error", error="unknownError")
        if fault == "limit":
            return self._answer(result="error", error="apiLimitExceeded")
        if milliseconds(query["processBefore"]) < self.now:
            return web.Response(status=500, text="late") if fault == "late" else self._answer(error="expired")
        status = fault or self._place(query)
        if fault.startswith("accept"):
            status = self._place(query)
            self.arrived.set()
            if fault == "accept and hang":
                await asyncio.sleep(3600)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        order = self.orders.get(query["cliOrdId"])
        sent = {"status": status, "receivedTime": iso(self.now), "orderEvents": []}
        if order and status == "placed":
            placed: list[dict[str, Any]] = [{"type": "PLACE", "order": self._told(order)}]
            sent |= {"order_id": order.order_id, "orderEvents": self._executed(order) or placed}
        return self._answer(sendStatus=sent)

    def _executed(self, order: Order) -> list[dict[str, Any]]:
        """The events of a market order that found something at once. Their ids are not those of the fills."""
        before, events = self._told(order), list[dict[str, Any]]()
        for number, (size, price) in enumerate(self.at_once):
            self.trade(order.query["cliOrdId"], order, size, price)
            event = {"type": "EXECUTION", "executionId": f"X{number}", "price": f"@{price}", "amount": f"@{size}"}
            events.append({**event, "orderPriorEdit": None, "orderPriorExecution": before})
        if self.at_once:
            order.status = "done"
            self.at_once = []
        return events

    def _place(self, query: dict[str, str]) -> str:
        assert query["reduceOnly"] == "true"
        assert len(query["cliOrdId"]) <= 100
        if query["cliOrdId"] in self.orders:
            return "clientOrderIdAlreadyExist"
        order = Order(query, f"K{len(self.orders) + 1}")
        self.orders[query["cliOrdId"]] = order
        self._event("OrderPlaced", order, "new_user_order")
        return "placed"

    def _told(self, order: Order) -> dict[str, Any]:
        query = order.query
        shown = {"orderId": order.order_id, "cliOrdId": query["cliOrdId"], "type": query["orderType"]}
        shown |= {"symbol": query["symbol"], "side": query["side"], "quantity": f"@{query['size']}"}
        return shown | {"filled": f"@{order.filled}", "reduceOnly": True, "timestamp": iso(self.now)}

    async def _cancel(self, request: web.Request) -> web.Response:
        order = next((one for one in self.orders.values() if one.order_id == request.query["order_id"]), None)
        if order is None or order.status != "open":
            return self._answer(cancelStatus={"status": "filled" if order else "notFound"})
        self.end(order.query["cliOrdId"], "cancelled_by_user")
        return self._answer(cancelStatus={"status": "cancelled", "order_id": order.order_id})

    async def _open(self, request: web.Request) -> web.Response:
        shown: list[dict[str, Any]] = [
            {
                "order_id": order.order_id,
                "cliOrdId": order.query["cliOrdId"],
                "symbol": order.query["symbol"],
                "side": order.query["side"],
                "orderType": order.query["orderType"],
                "unfilledSize": "@1",
                "filledSize": f"@{order.filled}",
                "status": "untouched",
                "receivedTime": iso(self.now),
            }
            for order in self.orders.values()
            if order.status == "open" or order.query["cliOrdId"] in self.lagging
        ]
        foreign = {**shown[0], "order_id": "F1"} if shown else {}
        foreign.pop("cliOrdId", None)
        return self._answer(openOrders=shown + ([foreign] if foreign else []))

    async def _fills(self, request: web.Request) -> web.Response:
        before = milliseconds(request.query.get("lastFillTime", "2100-01-01T00:00:00.000Z"))
        older = [fill for fill in reversed(self.fills) if milliseconds(fill["fillTime"]) < before]
        return self._answer(fills=older[:PAGE])

    async def _history(self, request: web.Request) -> web.Response:
        since, first = int(request.query["since"]), int(request.query.get("continuation_token", "0"))
        elements = [event for event in self.events if event["timestamp"] >= since]
        last = first + self.events_per_page
        more: dict[str, Any] = {"continuationToken": str(last)} if last < len(elements) else {}
        return self._answer(elements=elements[first:last], **more)

    # -- what happens there -------------------------------------------------------------------------

    def _event(self, kind: str, order: Order, reason: str) -> None:
        query = order.query
        shown = {"uid": order.order_id, "tradeable": query["symbol"], "filled": order.filled}
        shown |= {"clientId": query["cliOrdId"], "orderType": {"ioc": "IoC", "mkt": "IoC"}[query["orderType"]]}
        told = {"newOrder" if kind == "OrderUpdated" else "order": shown, "reason": reason}
        self.events.append({"uid": f"V{len(self.events)}", "timestamp": self.now, "event": {kind: told}})

    def fill(self, client_id: str, size: str, price: str, *, total: str = "", full: bool = False) -> str:
        """An execution; `total` is what the order then has. The id of the fill."""
        order = self.orders[client_id]
        self.now += 1
        self.trade(client_id, order, size, price)
        order.filled = total or size
        order.status = "done" if full else order.status
        if order.query["orderType"] == "lmt":
            self._event("OrderUpdated", order, "full_fill" if full else "partial_fill")
        return self.fills[-1]["fill_id"]

    def trade(self, client_id: str, order: Order, size: str, price: str, symbol: str = "") -> None:
        told = {"fill_id": f"F{len(self.fills) + 1}", "fillTime": iso(self.now), "order_id": order.order_id}
        told |= {"cliOrdId": client_id, "symbol": symbol or order.query["symbol"], "side": order.query["side"]}
        self.fills.append({**told, "size": f"@{size}", "price": f"@{price}", "fillType": "taker"})

    def end(self, client_id: str, reason: str) -> None:
        """What is left of an order is gone."""
        order = self.orders[client_id]
        order.status = "done"
        if order.query["orderType"] == "lmt":
            self._event("OrderCancelled", order, reason)
        else:  # the placement of an immediate-or-cancel order is told once, with what it got
            self.events = [event for event in self.events if client_id not in str(event)]
            self._event("OrderPlaced", order, "new_user_order")
