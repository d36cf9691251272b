"""What the unified interface of ccxt leaves open, by exchange: ids, expiry of requests, own trades, past orders.

An exchange that is not here is not used: whether an order is surely absent depends on exactly these things.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

from msgspec import Struct


class OwnTrade(Struct, frozen=True):
    """An execution as the exchange writes it: quantity and price as exact text, `market` its own id."""

    trade_id: str
    client_id: str
    market: str
    buys: bool
    quantity: str
    price: str
    time_ms: int


class PastOrder(Struct, frozen=True):
    """What the exchange's history last says of an order: `filled` as exact text, and why it `ended`, "" if it did not
    say so."""

    client_id: str
    filled: str
    ended: str


class ExchangeRules(Protocol):
    """One exchange. `longest_id` and `id_signs` as in `wire_id`."""

    longest_id: int
    id_signs: str
    refusal: str
    """What stands in the text of an error with which the exchange says no, whatever the error's class."""
    gap_ms: int
    """Milliseconds for a request that costs 1."""
    history_pause: float
    """Seconds from one look into the history to the next, at least, while listening."""

    def expiring(self, time_ms: int) -> dict[str, str]:
        """Parameters of an order request that is void when the exchange gets to it after this time (UTC)."""
        ...

    def cost(self, path: str, query: dict[str, Any]) -> int:
        """What a request costs of the exchange's budget."""
        ...

    def final(self, answer: dict[str, Any]) -> str:
        """From ccxt's answer to a market order: all that it will ever have filled, "" where that is not said."""
        ...

    async def trades(self, exchange: Any, since_ms: int) -> list[OwnTrade]:
        """Own executions since then, oldest first."""
        ...

    async def past_orders(self, exchange: Any, since_ms: int) -> dict[str, PastOrder]:
        """By client id: what happened to orders since then."""
        ...


class KrakenFutures:
    """Kraken Futures, REST v3 for trading and v2 for history, through the endpoints that ccxt names.

    A market order is immediate-or-cancel within 1 % there; what is left of it is gone, and the answer to it says what
    it got. Its fills are those of `fills` only: the answer names executions too, but by ids that are not documented to
    be the same.

    Trading requests may cost 500 in 10 seconds, an order 10 and a look 2 or more (docs.kraken.com, "Derivatives Rate
    Limits"). The history has a budget of its own; one look in 6 seconds is **assumed** to be within it.
    """

    longest_id = 100
    id_signs = r"A-Za-z0-9._:-"
    refusal = " failed due to "
    gap_ms = 20
    history_pause = 6.0
    page = 100
    pages = 100
    """At most: a bound on what one look asks for."""

    def expiring(self, time_ms: int) -> dict[str, str]:
        return {"processBefore": _iso(time_ms)}

    def cost(self, path: str, query: dict[str, Any]) -> int:
        if path == "fills":
            return 25 if query else 2
        return {"sendorder": 10, "cancelorder": 10, "openorders": 2}.get(path, 1)

    def final(self, answer: dict[str, Any]) -> str:
        events: list[dict[str, Any]] = answer["info"].get("orderEvents") or []
        amounts = [Decimal(str(event["amount"])) for event in events if event.get("type") == "EXECUTION"]
        return str(sum(amounts)) if amounts else ""

    async def trades(self, exchange: Any, since_ms: int) -> list[OwnTrade]:
        """Pages of fills go back in time. The next one overlaps by a millisecond: its bound is exclusive."""
        found: dict[str, OwnTrade] = {}
        before: dict[str, str] = {}
        for _ in range(self.pages):
            fills = (await exchange.privateGetFills(before))["fills"]
            page = [self._trade(fill) for fill in fills]
            new = [trade for trade in page if trade.trade_id not in found]
            found.update((trade.trade_id, trade) for trade in new)
            if len(page) < self.page or not new or min(trade.time_ms for trade in new) < since_ms:
                break
            before = {"lastFillTime": _iso(min(trade.time_ms for trade in new) + 1)}
        wanted = [trade for trade in found.values() if trade.time_ms >= since_ms]
        return sorted(wanted, key=lambda trade: (trade.time_ms, trade.trade_id))

    def _trade(self, fill: dict[str, Any]) -> OwnTrade:
        return OwnTrade(
            str(fill["fill_id"]),
            str(fill.get("cliOrdId") or ""),
            str(fill["symbol"]),
            fill["side"] == "buy",
            str(fill["size"]),
            str(fill["price"]),
            _milliseconds(str(fill["fillTime"])),
        )

    async def past_orders(self, exchange: Any, since_ms: int) -> dict[str, PastOrder]:
        found: dict[str, PastOrder] = {}
        query: dict[str, Any] = {"since": since_ms, "sort": "asc"}
        for _ in range(self.pages):
            answer = await exchange.historyGetOrders(query)
            for element in answer["elements"]:
                for order in self._events(element["event"]):
                    found[order.client_id] = order
            token = answer.get("continuationToken")
            if not token:
                break
            query["continuation_token"] = token
        return found

    def _events(self, event: dict[str, Any]) -> Iterator[PastOrder]:
        """An order event. In an immediate-or-cancel order's placement `filled` is what it got, and nothing rests."""
        for kind, told in event.items():
            order: dict[str, Any] | None = told.get("newOrder") or told.get("order")
            if not order or not order.get("clientId"):
                continue
            reason = str(told.get("reason") or "")
            ended = ""
            if kind in ("OrderCancelled", "OrderRejected"):
                ended = f"{kind.removeprefix('Order').lower()}: {reason}"
            elif kind == "OrderUpdated" and reason == "full_fill":
                ended = "filled"
            elif kind == "OrderPlaced" and str(order.get("orderType")).lower() in ("ioc", "immediate_or_cancel"):
                ended = "immediate or cancel"
            yield PastOrder(str(order["clientId"]), str(order.get("filled") or "0"), ended)


EXCHANGES: dict[str, ExchangeRules] = {"krakenfutures": KrakenFutures()}


def _iso(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
