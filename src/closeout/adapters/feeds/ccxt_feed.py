"""Any exchange that ccxt can listen to (extra ``venues``): its mark price where it has one, else the last trade.

Numbers. ccxt is asked for texts in place of floats (``number = str``), so that a price which the exchange sent as a
string reaches us as it was sent. A JSON number has been through Python's float by then; its text is the shortest that
reads back the same, which is the number as sent up to 15 digits: finer than any tick.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from closeout.adapters.feeds.intake import Intake
from closeout.adapters.feeds.port import FeedStatus, Observation
from closeout.adapters.feeds.prices import Malformed, held_price, price_of
from closeout.adapters.feeds.socket import Sleep, pause
from closeout.core.times import MILLISECOND
from closeout.core.units import InputError


class CcxtFeed:
    """`Feed` of ccxt's unified symbols (``BTC/USD:BTC``) at the exchange `exchange_id` (``krakenfutures``).

    `options` go to ccxt's constructor: proxies, addresses. `InputError`: ccxt is not installed, or has no such exchange
    with tickers over a websocket. One session serves all symbols; a fault, or no ticker at all for `idle_seconds`, ends
    it and a new one begins.
    """

    def __init__(
        self,
        exchange_id: str,
        markets: Iterable[str],
        *,
        name: str = "",
        options: Mapping[str, Any] | None = None,
        idle_seconds: float = 60,
        clock: Callable[[], int] = time.time_ns,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.name = name or exchange_id
        self.intake = Intake(self.name, markets, clock)
        self._make, self._bad_symbol = _load(exchange_id)
        self._options = dict(options or {})
        self._idle_seconds = idle_seconds
        self._sleep = sleep
        self._told = asyncio.Event()

    @property
    def status(self) -> FeedStatus:
        return self.intake.status

    async def run(self, publish: Callable[[Observation], None]) -> None:
        """See `Feed.run`."""
        self.intake.to(publish)
        attempts = 0
        while True:
            published = self.intake.published
            reason = await self._session()
            self.intake.disconnected(reason)
            attempts = 0 if self.intake.published > published else attempts + 1
            await self._sleep(pause(attempts))

    async def _session(self) -> str:
        """Watch every symbol until something ends it; returns what. What `publish` raises goes through."""
        exchange: Any = self._make(self._options)
        exchange.number = str
        self.intake.begin()
        tasks = [asyncio.create_task(self._watch(exchange, symbol)) for symbol in self.intake.markets]
        tasks.append(asyncio.create_task(self._idle()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(Exception):  # what is broken may not close either
                await exchange.close()

    async def _idle(self) -> str:
        """Returns when no symbol had a ticker for too long."""
        while True:
            self._told.clear()
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._told.wait()
            except TimeoutError:
                return f"nothing heard for {self._idle_seconds} seconds"

    async def _watch(self, exchange: Any, symbol: str) -> str:
        """Take in one symbol's tickers; returns the fault. An unknown symbol waits: the others go on."""
        while True:
            try:
                ticker = await exchange.watch_ticker(symbol)
            except self._bad_symbol as fault:
                self.intake.refused(symbol, str(fault))
                await asyncio.Event().wait()
            except Exception as fault:  # whatever the exchange sent, ccxt may stumble over it in any way
                return f"{type(fault).__name__}: {fault}"
            else:
                self._take(symbol, ticker)

    def _take(self, symbol: str, ticker: Any) -> None:
        self._told.set()
        self.intake.heard()
        self.intake.subscribed(symbol)
        try:
            mark, last, bid, ask = (_price(ticker.get(key), key) for key in ("markPrice", "last", "bid", "ask"))
            stamp = ticker.get("timestamp")
            moment = stamp * MILLISECOND if isinstance(stamp, int) else None
            self.intake.offer(symbol, mark or held_price(last, bid, ask), moment)
        except Malformed as fault:
            self.intake.malformed(str(fault))


def _price(value: Any, what: str) -> Decimal | None:
    return None if value is None else price_of(str(value), what)


def _load(exchange_id: str) -> tuple[Any, Any]:
    """The exchange's class and the exception for a symbol that it does not know."""
    try:
        import ccxt.pro  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise InputError(f"feed {exchange_id}: needs ccxt; install it with: pip install 'closeout[venues]'") from None
    pro: Any = ccxt.pro
    make = getattr(pro, exchange_id, None) if exchange_id in pro.exchanges else None
    if make is None:
        raise InputError(f"feed {exchange_id}: ccxt knows no exchange of this name that streams tickers")
    return make, pro.BadSymbol
