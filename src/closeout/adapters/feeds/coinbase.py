"""Coinbase Exchange, channel ``ticker``: the price of the last trade.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from closeout.adapters.feeds.prices import json_price, nanoseconds
from closeout.adapters.feeds.socket import Sleep, SocketFeed, text

URL = "wss://ws-feed.exchange.coinbase.com"


class _Envelope(msgspec.Struct):
    type: str = ""


class _Ticker(msgspec.Struct):
    product_id: str
    sequence: int
    trade_id: int
    time: datetime
    price: msgspec.Raw = msgspec.Raw()


class _Heartbeat(msgspec.Struct):
    product_id: str
    last_trade_id: int


class _Channel(msgspec.Struct):
    name: str
    product_ids: list[str] = []


class _Subscriptions(msgspec.Struct):
    """Everything that is subscribed now."""

    channels: list[_Channel]


class _Error(msgspec.Struct):
    message: str = ""
    reason: str = ""


class Coinbase(SocketFeed):
    """`Feed` of products such as ``BTC-USD``.

    A product's sequence numbers rise, but not by one: they also number what this channel leaves out, and cascading
    trades share one ticker. So a drop cannot be told from the tickers alone. Heartbeats name each product's last trade:
    a trade that one of them names and that has still no ticker at the next was dropped, and the product is subscribed
    anew, upon which the venue repeats its ticker.
    """

    def __init__(
        self,
        markets: Iterable[str],
        *,
        name: str = "coinbase",
        url: str = URL,
        idle_seconds: float = 30,
        clock: Callable[[], int] = time.time_ns,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(name, url, markets, idle_seconds=idle_seconds, clock=clock, sleep=sleep)
        self._trade: dict[str, int] = {}
        self._missing: dict[str, int] = {}

    def opening(self) -> list[str]:
        """One request for each product: a wrong one fails the whole request that it is in."""
        self._trade.clear()
        self._missing.clear()
        return [self._request("subscribe", product, "ticker", "heartbeat") for product in self.intake.markets]

    def hear(self, message: bytes) -> list[str]:
        kind = msgspec.json.decode(message, type=_Envelope).type
        if kind == "ticker":
            self._ticker(msgspec.json.decode(message, type=_Ticker))
        elif kind == "heartbeat":
            return self._heartbeat(msgspec.json.decode(message, type=_Heartbeat))
        elif kind == "subscriptions":
            self._subscriptions(msgspec.json.decode(message, type=_Subscriptions))
        elif kind == "error":
            error = msgspec.json.decode(message, type=_Error)
            self.intake.status.last_fault = ": ".join(part for part in (error.message, error.reason) if part)
        return []

    def _ticker(self, ticker: _Ticker) -> None:
        price = json_price(ticker.price, "price")
        self.intake.offer(ticker.product_id, price, nanoseconds(ticker.time), ticker.sequence)
        self._trade[ticker.product_id] = max(ticker.trade_id, self._trade.get(ticker.product_id, 0))

    def _heartbeat(self, heartbeat: _Heartbeat) -> list[str]:
        product, known = heartbeat.product_id, self._trade.get(heartbeat.product_id, 0)
        named_before = self._missing.pop(product, 0)
        if named_before > known:
            self.intake.gap(product, f"trade {named_before} has no ticker")
            return [self._request(kind, product, "ticker") for kind in ("unsubscribe", "subscribe")]
        if heartbeat.last_trade_id > known and product in self.intake.markets:
            self._missing[product] = heartbeat.last_trade_id
        return []

    def _subscriptions(self, subscriptions: _Subscriptions) -> None:
        for channel in subscriptions.channels:
            for product in channel.product_ids if channel.name == "ticker" else ():
                self.intake.subscribed(product)

    def _request(self, kind: str, product: str, *channels: str) -> str:
        return text({"type": kind, "product_ids": [product], "channels": channels})
