"""A venue behind ccxt: orders by REST, what became of them by polling.

Numbers go out as exact text and come back as the text that the exchange wrote (JSON numbers are not made floats).
Nothing is rounded to the exchange's steps on the way: an order that would be is refused here.

`place` is `Refused` only where the exchange said no, and `NotConnected` where no connection was made; a timeout, a
server error and whatever else is `Uncertain`. So is an answer that the client id exists already: the order is there.
ccxt does not repeat a request by itself, and neither does the HTTP client a POST.

An order request carries an expiry. `find` calls an order absent only when a look that began after the expiry, and as
much again for a difference of clocks, found it neither among open orders nor in the history nor in the fills.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec import Struct

from closeout.adapters.venues.ccxt_exchanges import EXCHANGES, OwnTrade
from closeout.adapters.venues.port import (
    ABSENT,
    UNKNOWN,
    Absent,
    Alarm,
    Done,
    Execution,
    Found,
    NotConnected,
    Refused,
    Reporter,
    Uncertain,
    Unknown,
    VenueOrder,
    execution,
    wire_id,
)
from closeout.core.contracts import Contract, Kind
from closeout.core.times import MILLISECOND, MINUTE, SECOND
from closeout.core.units import InputError, decimal, plain


class Listed(Struct, frozen=True):
    """A contract at the exchange: its unified symbol, and how much of ccxt's amount one lot is."""

    contract: Contract
    symbol: str
    per_lot: Fraction

    def amount(self, lots: int) -> str:
        """Exact text (`Refused` where it has none)."""
        exact = self.per_lot * abs(lots)
        number = Decimal(exact.numerator) / exact.denominator
        if Fraction(number) != exact:
            raise Refused(f"{lots} lots of {self.contract.name} are no decimal amount of {self.symbol}")
        return plain(number)


class Sent(Struct):
    """An order known here. `trades` are its executions by the exchange's id, as text and, where they can be booked, as
    reports; `told` the ids of those reported. `final`: all that it will ever trade, where that is known."""

    order: VenueOrder
    sent_at: int
    trades: dict[str, tuple[OwnTrade, Execution | None]] = {}
    told: set[str] = set()
    final: Fraction | None = None
    done: bool = False

    def traded(self) -> Fraction:
        """The sum of ccxt's amounts."""
        return sum((Fraction(trade.quantity) for trade, _ in self.trades.values()), Fraction(0))


class CcxtVenue:
    """One account at an exchange of `EXCHANGES`.

    `markets` maps contract names to the exchange's own market ids (``PF_XBTUSD``), `contracts` the same names to
    contracts. `base_url` takes the place of the exchange's scheme and host. `lifetime`, in seconds: see `find`; half of
    it is the expiry of an order request. `throttled`: requests are spaced as the exchange's budget wants.
    """

    def __init__(
        self,
        exchange: str,
        contracts: Mapping[str, Contract],
        markets: Mapping[str, str],
        alarm: Alarm,
        *,
        api_key: str,
        secret: str,
        name: str = "",
        base_url: str = "",
        every: float = 1.0,
        timeout: float = 10.0,
        lifetime: float = 10.0,
        throttled: bool = True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if exchange not in EXCHANGES:
            raise InputError(f"venue {exchange}: expected one of {', '.join(EXCHANGES)}")
        missing = sorted(markets.keys() - contracts.keys())
        if missing:
            raise InputError(f"venue {name or exchange}: markets: no contract {', '.join(missing)}")
        self.name, self.connected = name or exchange, False
        self._rules = EXCHANGES[exchange]
        self._ccxt = _ccxt()
        self._exchange = _opened(self._ccxt, exchange, api_key, secret, base_url, timeout, throttled)
        self._contracts = {own: contracts[own] for own in markets}
        self._markets = dict(markets)
        self._alarm, self._every, self._clock = alarm, every, clock
        self._lifetime = int(lifetime * SECOND)
        self._started_at = self._polled_at = clock()
        self._listed: dict[str, Listed] = {}
        self._sent: dict[str, Sent] = {}
        self._placed_at: dict[str, int] = {}
        self._next_history = 0.0
        self._wake = asyncio.Event()

    # -- the port -----------------------------------------------------------------------------------

    def remember(self, order: VenueOrder, sent_at: int) -> None:
        self._sent.setdefault(self._wire(order.order_id), Sent(order, sent_at))

    async def run(self, report: Reporter) -> None:
        """Raises `InputError` where a market is not what the contract says."""
        told = ""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._load()
                    await self._poll(report)
                    self.connected, told = True, ""
                except Exception as bad:
                    if isinstance(bad, InputError) and not self._listed:
                        raise
                    self.connected = False
                    if type(bad).__name__ != told:  # once for each kind of fault until a poll succeeds
                        told = type(bad).__name__
                        self._alarm("venue_disconnected", f"{self.name}: {told}: {bad}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every):
                        await self._wake.wait()
        finally:
            self.connected = False
            await self._exchange.close()

    async def place(self, order: VenueOrder) -> None:
        wire = self._wire(order.order_id)
        if wire in self._placed_at:
            raise Uncertain(f"order {order.order_id} was sent before")
        if order.contract.name not in self._markets:
            raise Refused(f"{order.contract.name} has no market at {self.name}")
        if not self._listed:
            raise NotConnected(f"{self.name} has not told its markets yet")
        request = self._request(order, wire)
        now = self._clock()
        self.remember(order, now)
        self._placed_at[wire] = now
        try:
            answer = await self._exchange.create_order(*request)
            final = self._rules.final(answer) if order.limit_ticks is None else ""
            self._sent[wire].final = Fraction(final) if final else None
        except self._ccxt.DuplicateOrderId:
            raise Uncertain(f"{self.name} has an order {order.order_id} already") from None
        except Exception as bad:
            if not _connected(bad):
                raise self._not_taken(wire, NotConnected(str(bad))) from None
            if self._definite(bad):
                raise self._not_taken(wire, Refused(str(bad))) from None
            raise Uncertain(f"{type(bad).__name__}: {bad}") from bad
        finally:
            self._wake.set()

    async def cancel(self, order_id: str) -> None:
        wire = self._wire(order_id)
        try:
            venue_ids = [one["id"] for one in await self._open() if one["clientOrderId"] == wire]
            for venue_id in venue_ids:
                await self._exchange.cancel_order(venue_id)
        except self._ccxt.OrderNotFound:
            pass
        except Exception as bad:
            raise (Refused if self._definite(bad) else Uncertain)(f"{type(bad).__name__}: {bad}") from bad
        finally:
            self._wake.set()

    async def find(self, order_id: str, sent_at: int) -> Found | Absent | Unknown:
        """Waits until the order's request has surely expired, `lifetime` after it was last sent at the latest."""
        wire = self._wire(order_id)
        clear_at = max(sent_at, self._placed_at.get(wire, self._started_at)) + self._lifetime
        while True:
            began = self._clock()
            try:
                found = await self._look(wire, sent_at)
            except Exception as bad:
                self._alarm("venue_lookup", f"{self.name}: order {order_id}: {type(bad).__name__}: {bad}")
                return UNKNOWN
            if found is not None:
                return found
            if began >= clear_at:
                self._placed_at.pop(wire, None)
                return ABSENT
            if clear_at - began > 2 * self._lifetime:
                return UNKNOWN  # sent in the future: the clocks cannot be trusted
            await asyncio.sleep((clear_at - began) / SECOND)

    # -- sending ------------------------------------------------------------------------------------

    def _request(self, order: VenueOrder, wire: str) -> tuple[Any, ...]:
        """The arguments of `create_order`, exact or `Refused`."""
        listed = self._listed[order.contract.name]
        if not order.lots:
            raise Refused("an order without lots")
        amount, price = listed.amount(order.lots), None
        steps = self._exchange
        if order.limit_ticks is not None:
            price = order.contract.price_text(order.limit_ticks)
            if Decimal(steps.price_to_precision(listed.symbol, price)) != Decimal(price):
                raise Refused(f"a price of {price} is not on the tick of {listed.symbol}")
        try:
            exact = Decimal(steps.amount_to_precision(listed.symbol, amount)) == Decimal(amount)
        except self._ccxt.InvalidOrder:
            exact = False
        if not exact:
            raise Refused(f"{amount} of {listed.symbol} is finer than its lot")
        expiry = (self._clock() + self._lifetime // 2) // MILLISECOND
        params = {"clientOrderId": wire, "reduceOnly": True, **self._rules.expiring(expiry)}
        if price is not None:
            params["timeInForce"] = "ioc"  # as ccxt spells it
        side = "buy" if order.lots > 0 else "sell"
        return listed.symbol, "market" if price is None else "limit", side, amount, price, params

    def _definite(self, bad: Exception) -> bool:
        """Whether the exchange itself said no, so that nothing was done."""
        said_no = (
            self._ccxt.InvalidOrder,
            self._ccxt.InsufficientFunds,
            self._ccxt.BadRequest,
            self._ccxt.AuthenticationError,
            self._ccxt.OperationRejected,
        )
        return isinstance(bad, said_no) or (isinstance(bad, self._ccxt.BaseError) and self._rules.refusal in str(bad))

    def _not_taken(self, wire: str, error: Refused) -> Refused:
        self._sent.pop(wire, None)
        self._placed_at.pop(wire, None)
        return error

    def _wire(self, order_id: str) -> str:
        return wire_id(order_id, self._rules.longest_id, self._rules.id_signs)

    # -- listening ----------------------------------------------------------------------------------

    async def _open(self) -> list[dict[str, Any]]:
        return await self._exchange.fetch_open_orders()

    async def _poll(self, report: Reporter) -> None:
        """Open orders first: an order that is none, and whose fills are all heard of, is done."""
        now = self._clock()
        unfinished = {wire: sent for wire, sent in self._sent.items() if not sent.done}
        is_open = {one["clientOrderId"] for one in await self._open()}
        since = min([self._polled_at, *(sent.sent_at for sent in unfinished.values())]) - MINUTE
        for trade in await self._rules.trades(self._exchange, since // MILLISECOND):
            sent = self._sent.get(trade.client_id)
            if sent is None:
                continue  # somebody else's, on the same account
            heard = self._read(trade, sent)
            if heard is not None and trade.trade_id not in sent.told:
                await report(heard)
                sent.told.add(trade.trade_id)
        self._polled_at = now
        gone = {wire: sent for wire, sent in unfinished.items() if wire not in is_open}
        for sent in gone.values():
            if sent.traded() in (self._amount(sent.order), sent.final):
                await self._finish(sent, "filled" if sent.traded() == self._amount(sent.order) else "cancelled", report)
        unclear = {wire: sent for wire, sent in gone.items() if not sent.done}
        time = asyncio.get_running_loop().time()
        if not unclear or time < self._next_history:
            return
        self._next_history = time + self._rules.history_pause
        past = await self._rules.past_orders(self._exchange, since // MILLISECOND)
        for wire, sent in unclear.items():
            if wire in past and past[wire].ended and sent.traded() == Fraction(past[wire].filled):
                await self._finish(sent, past[wire].ended, report)

    async def _finish(self, sent: Sent, reason: str, report: Reporter) -> None:
        await report(Done(sent.order.order_id, reason))
        sent.done = True

    async def _look(self, wire: str, sent_at: int) -> Found | None:
        """What the exchange has of an order; None where it has nothing. In the order in which an order moves on; the
        history is asked only where the rest does not say enough."""
        await self._load()
        since = (sent_at - MINUTE) // MILLISECOND
        sent = self._sent.get(wire)
        still = next((one for one in await self._open() if one["clientOrderId"] == wire), None)
        trades = [one for one in await self._rules.trades(self._exchange, since) if one.client_id == wire]
        heard = [one for one in [self._read(trade, sent) for trade in trades] if one is not None] if sent else []
        traded = sum((Fraction(trade.quantity) for trade in trades), Fraction(0))
        ended = sent is not None and traded == self._amount(sent.order)
        if still is None and not ended:
            past = (await self._rules.past_orders(self._exchange, since)).get(wire)
            if past is None and not trades:
                return None
            ended = past is not None and bool(past.ended)
            traded = max(traded, Fraction(past.filled) if past else Fraction(0))
        filled = int(traded / self._listed_as(sent.order).per_lot) if sent else None
        return Found(still is None and ended, tuple(heard), filled)

    def _read(self, trade: OwnTrade, sent: Sent) -> Execution | None:
        """A trade of ours in lots and ticks, None where it cannot be booked; what is odd is alarmed once."""
        if trade.trade_id not in sent.trades:
            sent.trades[trade.trade_id] = trade, self._booked(trade, sent.order)
        return sent.trades[trade.trade_id][1]

    def _booked(self, trade: OwnTrade, order: VenueOrder) -> Execution | None:
        said = f"execution {trade.trade_id} of {order.order_id}: {trade.quantity} {trade.market} at {trade.price}"
        amount, price = decimal(trade.quantity, "quantity"), decimal(trade.price, "price")
        if trade.market.upper() != self._markets[order.contract.name].upper():
            self._alarm("execution_not_booked", f"{said} is not in {order.contract.name}")
            return None
        if trade.buys != (order.lots > 0):
            self._alarm("execution_wrong_side", f"{said} is on the other side")
        factor = Fraction(order.contract.lot) / self._listed_as(order).per_lot
        quantity = amount if factor == 1 else Fraction(amount) * factor
        signed = quantity if trade.buys else -quantity
        return execution(order.order_id, trade.trade_id, order.contract, signed, price, self._alarm)

    def _listed_as(self, order: VenueOrder) -> Listed:
        return self._listed[order.contract.name]

    def _amount(self, order: VenueOrder) -> Fraction:
        """All of an order in ccxt's amount."""
        return self._listed_as(order).per_lot * abs(order.lots)

    # -- markets ------------------------------------------------------------------------------------

    async def _load(self) -> None:
        if not self._listed:
            self._listed = self._list(await self._exchange.load_markets())

    def _list(self, markets: Mapping[str, Any]) -> dict[str, Listed]:
        """Our contracts among the exchange's markets; `InputError` where they do not fit together."""
        by_id = {str(market["id"]).upper(): market for market in markets.values()}
        listed: dict[str, Listed] = {}
        for own, market_id in self._markets.items():
            contract, market = self._contracts[own], by_id.get(market_id.upper())
            where = f"venue {self.name}: markets: {own}"
            if market is None:
                raise InputError(f"{where}: the exchange has no market {market_id}")
            if bool(market["linear"]) != (contract.kind is Kind.LINEAR):
                raise InputError(f"{where}: {market_id} is not {contract.kind.value}")
            size = Fraction(str(market["contractSize"]))
            per_lot = Fraction(contract.lot) * Fraction(contract.contract_size) / size
            listed[own] = Listed(contract, str(market["symbol"]), per_lot)
        return listed


def _opened(ccxt: Any, name: str, api_key: str, secret: str, base_url: str, timeout: float, throttled: bool) -> Any:
    """The exchange, without floats and without requests repeated by itself."""
    rules = EXCHANGES[name]
    settings = {
        "apiKey": api_key,
        "secret": secret,
        "timeout": int(timeout * 1000),
        "enableRateLimit": throttled,
        "rateLimit": rules.gap_ms,
    }

    def cost(api: Any, method: str, path: str, query: dict[str, Any], config: Any = None) -> int:
        return rules.cost(path, query)

    exchange = getattr(ccxt, name)(settings)
    exchange.number = str
    exchange.calculate_rate_limiter_cost = cost
    exchange.on_json_response = _exact_json
    exchange.options["maxRetriesOnFailure"] = 0
    if base_url:
        old = exchange.urls["api"]
        exchange.urls["api"] = {part: re.sub(r"^https?://[^/]+", base_url, url) for part, url in old.items()}
    return exchange


def _exact_json(body: str) -> Any:
    """JSON with its fractions as the text that was written."""
    return json.loads(body, parse_float=str)


def _connected(bad: Exception) -> bool:
    """False where the request never left, because no connection could be made."""
    import aiohttp

    return not isinstance(bad.__cause__, aiohttp.ClientConnectorError)


def _ccxt() -> Any:
    try:
        import ccxt.async_support  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise InputError("this venue needs a package that is not installed: pip install closeout[venues]") from None
    return ccxt.async_support
