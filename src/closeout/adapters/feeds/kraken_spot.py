"""Kraken spot, websocket v2: the last trade, held between the best bid and the best offer.

https://docs.kraken.com/api/docs/websocket-v2/ticker
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from closeout.adapters.feeds.prices import UNUSABLE, held_price, json_price, nanoseconds
from closeout.adapters.feeds.socket import Sleep, SocketFeed, text

URL = "wss://ws.kraken.com/v2"


class _Envelope(msgspec.Struct):
    method: str = ""
    channel: str = ""


class _Result(msgspec.Struct):
    channel: str = ""
    symbol: str = ""


class _Reply(msgspec.Struct):
    """Answer to a request: `result` names the symbol of a success, `symbol` that of a failure."""

    success: bool = True
    error: str = ""
    symbol: str = ""
    result: _Result = msgspec.field(default_factory=_Result)


class _Ticker(msgspec.Struct):
    symbol: str
    last: msgspec.Raw = msgspec.Raw()
    bid: msgspec.Raw = msgspec.Raw()
    ask: msgspec.Raw = msgspec.Raw()
    timestamp: datetime | None = None


class _Tickers(msgspec.Struct):
    data: list[msgspec.Raw]


class KrakenSpot(SocketFeed):
    """`Feed` of pairs such as ``BTC/USD``."""

    def __init__(
        self,
        markets: Iterable[str],
        *,
        name: str = "kraken-spot",
        url: str = URL,
        idle_seconds: float = 30,
        clock: Callable[[], int] = time.time_ns,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(name, url, markets, idle_seconds=idle_seconds, clock=clock, sleep=sleep)

    def opening(self) -> list[str]:
        """Each symbol is acknowledged for itself. Changes of the book are news too: ``bbo``."""
        params = {"channel": "ticker", "symbol": list(self.intake.markets), "event_trigger": "bbo"}
        return [text({"method": "subscribe", "params": params, "req_id": 1})]

    def hear(self, message: bytes) -> list[str]:
        envelope = msgspec.json.decode(message, type=_Envelope)
        if envelope.method in ("subscribe", "unsubscribe"):
            self._reply(envelope.method, msgspec.json.decode(message, type=_Reply))
        elif envelope.channel == "ticker":
            for raw in msgspec.json.decode(message, type=_Tickers).data:
                self._ticker(raw)
        return []

    def _reply(self, method: str, reply: _Reply) -> None:
        symbol = reply.symbol or reply.result.symbol
        if not reply.success:
            self.intake.refused(symbol, reply.error or f"{method} failed")
        elif method == "unsubscribe":
            self.intake.refused(symbol, "unsubscribed")
        else:
            self.intake.subscribed(symbol)

    def _ticker(self, raw: msgspec.Raw) -> None:
        """One symbol's ticker; a bad one does not take the message's others with it."""
        try:
            ticker = msgspec.json.decode(raw, type=_Ticker)
            price = held_price(
                json_price(ticker.last, "last"), json_price(ticker.bid, "bid"), json_price(ticker.ask, "ask")
            )
            self.intake.offer(ticker.symbol, price, nanoseconds(ticker.timestamp))
        except UNUSABLE as fault:
            self.intake.malformed(str(fault))
