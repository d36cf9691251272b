"""Kraken Futures, websocket v1: the venue's own mark price.

https://docs.kraken.com/api/docs/futures-api/websocket/ticker and, next to it, ticker_lite and heartbeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from closeout.adapters.feeds.prices import json_price, middle
from closeout.adapters.feeds.socket import Sleep, SocketFeed, text
from closeout.core.times import MILLISECOND

URL = "wss://futures.kraken.com/ws/v1"


class _Envelope(msgspec.Struct):
    event: str = ""
    feed: str = ""


class _Reply(msgspec.Struct):
    """Answer to a request; `message` in an error or an alert."""

    event: str
    feed: str = ""
    product_ids: list[str] = []
    message: str = ""


class _Ticker(msgspec.Struct, rename="camel"):
    product_id: str = msgspec.field(name="product_id")
    time: int
    mark_price: msgspec.Raw = msgspec.Raw()


class _TickerLite(msgspec.Struct):
    product_id: str
    bid: msgspec.Raw = msgspec.Raw()
    ask: msgspec.Raw = msgspec.Raw()


class KrakenFutures(SocketFeed):
    """`Feed` of product ids such as ``PF_XBTUSD`` (either case).

    Channel ``ticker`` gives the mark price; ``ticker_lite``, which has neither that nor a time, the middle of the book.
    """

    def __init__(
        self,
        markets: Iterable[str],
        *,
        channel: Literal["ticker", "ticker_lite"] = "ticker",
        name: str = "kraken-futures",
        url: str = URL,
        idle_seconds: float = 30,
        clock: Callable[[], int] = time.time_ns,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(name, url, markets, idle_seconds=idle_seconds, clock=clock, sleep=sleep)
        self._channel = channel
        self._asked = {market.upper(): market for market in self.intake.markets}  # the venue answers in capitals

    def opening(self) -> list[str]:
        """One request for each product, so that a wrong one takes no other down; heartbeats tell quiet from dead."""
        requests: list[dict[str, object]] = [
            {"event": "subscribe", "feed": self._channel, "product_ids": [product]} for product in self._asked
        ]
        return [text(request) for request in [*requests, {"event": "subscribe", "feed": "heartbeat"}]]

    def hear(self, message: bytes) -> list[str]:
        envelope = msgspec.json.decode(message, type=_Envelope)
        if envelope.event:
            self._reply(msgspec.json.decode(message, type=_Reply))
        elif envelope.feed == "ticker":
            ticker = msgspec.json.decode(message, type=_Ticker)
            self._offer(ticker.product_id, json_price(ticker.mark_price, "markPrice"), ticker.time * MILLISECOND)
        elif envelope.feed == "ticker_lite":
            lite = msgspec.json.decode(message, type=_TickerLite)
            self._offer(lite.product_id, middle(json_price(lite.bid, "bid"), json_price(lite.ask, "ask")), None)
        return []

    def _offer(self, product: str, price: Decimal | None, time: int | None) -> None:
        self.intake.offer(self._asked.get(product.upper(), product), price, time)

    def _reply(self, reply: _Reply) -> None:
        markets = [self._asked.get(product.upper(), product) for product in reply.product_ids]
        if reply.event in ("error", "alert"):
            self.intake.status.last_fault = reply.message  # it does not say which product was meant
        elif reply.feed != self._channel:
            return
        elif reply.event == "subscribed":
            for market in markets:
                self.intake.subscribed(market)
        elif reply.event in ("subscribed_failed", "unsubscribed"):
            for market in markets:
                self.intake.refused(market, reply.event)
