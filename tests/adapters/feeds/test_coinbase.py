"""Coinbase Exchange: recorded tickers to the digit, order by sequence, and dropped tickers found by heartbeats."""

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import pytest
from tests.adapters.feeds.exchange import NOW, CoinbaseVenue, Exchange, Fault, Listener, Step, needs, prices, received

from closeout.adapters.feeds.coinbase import Coinbase
from closeout.adapters.feeds.port import FeedStatus, Observation

RECORDING = "COINBASE.ws.28.0"
BTC = "BTC-USD"


def recorded() -> list[tuple[str, dict[str, str]]]:
    """The recording's tickers: the message, and its fields as the texts that stand in it."""
    tickers = [message for message in received(RECORDING) if message.startswith('{"type":"ticker"')]
    field = re.compile(r'"(product_id|price|time|trade_id)":"?([^",}]+)')
    return [(message, dict(field.findall(message))) for message in tickers]


def nanoseconds(text: str) -> int:
    seconds, fraction = text.removesuffix("Z").split(".")
    return int(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def ticker(sequence: int, trade_id: int, price: str, second: int = 0, product: str = BTC) -> str:
    time = f"2021-04-17T16:43:{second:02d}.000001Z"
    return json.dumps({
        "type": "ticker", "sequence": sequence, "product_id": product, "price": price, "best_bid": "1",
        "best_ask": "99999", "side": "buy", "time": time, "trade_id": trade_id, "last_size": "0.04",
    })  # fmt: skip


def heartbeat(last_trade_id: int, product: str = BTC) -> str:
    time = "2021-04-17T16:43:59.464459Z"
    return json.dumps({
        "type": "heartbeat", "sequence": 90, "last_trade_id": last_trade_id, "product_id": product, "time": time,
    })  # fmt: skip


def hear(
    venue: CoinbaseVenue, *sessions: Sequence[Step], until: int, markets: Sequence[str] = (BTC,)
) -> tuple[list[Observation], FeedStatus, Exchange]:
    async def run() -> tuple[list[Observation], FeedStatus, Exchange]:
        listener = Listener()
        async with Exchange(venue, *sessions) as exchange:
            feed = Coinbase(markets, url=exchange.url, clock=lambda: NOW, sleep=listener.sleep)
            heard = await listener.listen(feed, lambda: len(listener.heard) >= until)
        return heard, feed.status, exchange

    return asyncio.run(run())


@needs(RECORDING)
@pytest.mark.rule("G-06")
def test_the_recording_to_the_digit() -> None:
    expected = [(f["product_id"], f["price"], nanoseconds(f["time"])) for _, f in recorded()]
    assert len(expected) == 107
    products = sorted({product for product, _, _ in expected})
    heard, status, exchange = hear(
        CoinbaseVenue(products, len(products)), received(RECORDING), until=107, markets=products
    )
    assert [(o.market, str(o.price), o.exchange_time) for o in heard] == expected
    assert (status.malformed, status.out_of_order, status.gaps, status.unsubscribed) == (0, 0, 0, {})
    assert exchange.requests[0] == {
        "type": "subscribe", "product_ids": [products[0]], "channels": ["ticker", "heartbeat"],
    }  # fmt: skip


@needs(RECORDING)
@pytest.mark.rule("G-06")
def test_a_ticker_dropped_from_the_recording_is_fetched() -> None:
    """The last ticker of a product is dropped; two heartbeats later the product is subscribed anew."""
    tickers = [(message, fields) for message, fields in recorded() if fields["product_id"] == "DASH-BTC"]
    (lost, fields), kept = tickers[-1], [message for message, _ in tickers[:-1]]
    beat = heartbeat(int(fields["trade_id"]), "DASH-BTC")

    class Dropping(CoinbaseVenue):
        def answer(self, request: object) -> list[str]:
            if self.requests == 1:
                self.latest["DASH-BTC"] = lost
            return super().answer(request)

    heard, status, exchange = hear(
        Dropping(["DASH-BTC"], 1), [*kept, beat, beat], until=len(tickers), markets=["DASH-BTC"]
    )
    assert prices(heard, "DASH-BTC") == [fields["price"] for _, fields in tickers]
    assert (status.gaps, status.reconnects, status.out_of_order) == (1, 0, 0)
    assert [request["type"] for request in exchange.requests] == ["subscribe", "unsubscribe", "subscribe"]


def test_a_resubscription_may_repeat_what_is_known() -> None:
    known = ticker(1, 10, "1")
    venue = CoinbaseVenue([BTC], 1, latest={BTC: known})
    heard, status, _ = hear(venue, [known, heartbeat(11), heartbeat(11), known], until=2)
    assert prices(heard, BTC) == ["1", "1"]  # once for each subscription
    assert status.gaps == 1


def test_a_heartbeat_just_ahead_of_its_ticker_is_no_gap() -> None:
    session = [ticker(1, 10, "1"), heartbeat(11), ticker(2, 11, "2"), heartbeat(11), heartbeat(0), ticker(3, 15, "3")]
    heard, status, exchange = hear(CoinbaseVenue([BTC], 1), session, until=3)
    assert prices(heard, BTC) == ["1", "2", "3"]
    assert (status.gaps, len(exchange.requests)) == (0, 1)


def test_a_heartbeat_of_another_product_is_nobodys_gap() -> None:
    beat = heartbeat(7, "ETH-USD")
    _, status, exchange = hear(CoinbaseVenue([BTC], 1), [beat, beat, beat, ticker(1, 1, "1")], until=1)
    assert (status.gaps, len(exchange.requests)) == (0, 1)


@pytest.mark.rule("G-09")
def test_sequences_rise_within_a_connection() -> None:
    """Several trades share a time: their sequence orders them."""
    session = [ticker(5, 1, "1"), ticker(7, 2, "2"), ticker(6, 3, "9"), ticker(7, 2, "2"), ticker(9, 4, "3")]
    heard, status, _ = hear(CoinbaseVenue([BTC], 1), session, until=3)
    assert prices(heard, BTC) == ["1", "2", "3"]
    assert status.out_of_order == 2


@pytest.mark.rule("G-09")
def test_sequences_may_begin_anew_with_a_connection_but_times_may_not() -> None:
    first = [ticker(500, 1, "1", 1), ticker(600, 2, "2", 2), Fault.DROP]
    second = [ticker(3, 1, "1", 1), ticker(4, 3, "3", 3)]
    heard, status, _ = hear(CoinbaseVenue([BTC], 1), first, second, until=3)
    assert prices(heard, BTC) == ["1", "2", "3"]
    assert (status.out_of_order, status.reconnects) == (1, 1)


@pytest.mark.rule("G-06")
def test_a_wrong_product_fails_alone_and_a_malformed_ticker_is_asked_for_again() -> None:
    session = [ticker(1, 10, "1"), ticker(2, 11, "NaN"), heartbeat(11), heartbeat(11)]

    class Mending(CoinbaseVenue):
        def answer(self, request: object) -> list[str]:
            if self.requests >= 2:
                self.latest[BTC] = ticker(2, 11, "2.50")
            return super().answer(request)

    heard, status, _ = hear(Mending([BTC], 2), session, until=2, markets=[BTC, "NOPE-USD"])
    assert [o.price for o in heard] == [Decimal(1), Decimal("2.50")]
    assert (status.malformed, status.gaps) == (1, 1)
    assert status.unsubscribed == {"NOPE-USD": "not acknowledged yet"}


@pytest.mark.parametrize(
    "bad",
    [
        ticker(2, 2, "2").replace("Z", ""),
        ticker(2, 2, "2").replace("2021", "2101"),
        ticker(2, 2, "2").replace("2021", "99999"),
        ticker(2, 2, "2").replace('"sequence": 2', '"sequence": "2"'),
        ticker(2, 2, "2", product="ETH-USD"),
        '{"type":"heartbeat","product_id":"BTC-USD"}',
        '{"type":["ticker"]}',
    ],
)
@pytest.mark.rule("G-06")
def test_what_cannot_be_used_is_counted(bad: str) -> None:
    heard, status, _ = hear(CoinbaseVenue([BTC], 1), [ticker(1, 1, "1"), bad, ticker(3, 3, "3")], until=2)
    assert prices(heard, BTC) == ["1", "3"]
    assert status.malformed == 1


def test_an_error_is_shown() -> None:
    _, status, _ = hear(CoinbaseVenue([], 1), [ticker(1, 1, "1")], until=1)
    assert status.last_fault == "Failed to subscribe: BTC-USD is not a valid product"
