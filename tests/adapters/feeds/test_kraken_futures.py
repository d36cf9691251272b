"""Kraken Futures: recorded tickers to the digit, mark prices, acknowledgements, and every fault of the line."""

import asyncio
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from tests.adapters.feeds.exchange import (
    NOW,
    Exchange,
    Fault,
    KrakenFuturesVenue,
    Listener,
    Step,
    needs,
    prices,
    received,
)

from closeout.adapters.feeds.kraken_futures import KrakenFutures
from closeout.adapters.feeds.port import FeedStatus, Observation
from closeout.core.units import InputError

RECORDING = "KRAKEN_FUTURES.ws.1.0"
XBT = "PF_XBTUSD"


def ticker(time_ms: int, mark: str, product: str = XBT) -> str:
    """A message of the ``ticker`` feed; fields as in the venue's documentation."""
    return (
        f'{{"time":{time_ms},"product_id":"{product}","funding_rate":7.792297e-12,"feed":"ticker","bid":28060,'
        f'"ask":28070,"bid_size":2844,"volume":19628180,"leverage":"50x","index":28062.14,"last":28053.5,'
        f'"suspended":false,"tag":"perpetual","pair":"XBT:USD","markPrice":{mark},"maturityTime":0}}'
    )


FIRST = 1_680_811_086_487


def hear(
    *sessions: Sequence[Step],
    until: int,
    markets: Sequence[str] = (XBT,),
    products: Sequence[str] = (XBT,),
    **options: Any,
) -> tuple[list[Observation], FeedStatus, Listener, Exchange]:
    """What the feed published until it had published `until` observations."""

    async def run() -> tuple[list[Observation], FeedStatus, Listener, Exchange]:
        listener = Listener()
        async with Exchange(KrakenFuturesVenue(products), *sessions) as exchange:
            feed = KrakenFutures(markets, url=exchange.url, clock=lambda: NOW, sleep=listener.sleep, **options)
            heard = await listener.listen(feed, lambda: len(listener.heard) >= until)
        return heard, feed.status, listener, exchange

    return asyncio.run(run())


def half(bid: str, ask: str) -> Fraction:
    return (Fraction(bid) + Fraction(ask)) / 2


@needs(RECORDING)
@pytest.mark.rule("G-06")
def test_the_recording_to_the_digit() -> None:
    messages = received(RECORDING)
    pattern = r'"ticker_lite","product_id":"([^"]+)","bid":([0-9.]+),"ask":([0-9.]+)'
    expected = [found.groups() for text in messages if (found := re.search(pattern, text))]
    assert len(expected) == 107
    products = sorted({product for product, _, _ in expected})
    asked = [product.lower() for product in products]  # as the recorded client asked
    heard, status, _, exchange = hear(messages, until=107, markets=asked, products=products, channel="ticker_lite")
    assert [(o.market.upper(), Fraction(o.price or 0)) for o in heard] == [(p, half(b, a)) for p, b, a in expected]
    assert {o.market for o in heard} == set(asked)
    assert (status.malformed, status.out_of_order, status.reconnects, status.unsubscribed) == (0, 0, 0, {})
    assert exchange.requests[0] == {"event": "subscribe", "feed": "ticker_lite", "product_ids": [products[0]]}


def test_the_mark_price_is_exact_and_timed() -> None:
    heard, status, _, _ = hear([ticker(FIRST, "28064.92082724592")], until=1)
    assert heard == [Observation("kraken-futures", XBT, Decimal("28064.92082724592"), FIRST * 10**6, NOW)]
    assert status.unsubscribed == {}
    assert status.last_message_at == NOW


@pytest.mark.rule("G-06", "G-09")
@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "",
        "[]",
        b"\xff\xfe",
        '{"x":' * 20_000,
        b'{"feed":"\x80"}',
        ticker(FIRST + 1, "1").encode().replace(b'Price":1', b'Price":"\xff"'),
        ticker(FIRST + 1, "NaN"),
        ticker(FIRST + 1, '"NaN"'),
        ticker(FIRST + 1, '"Infinity"'),
        ticker(FIRST + 1, "-28064.9"),
        ticker(FIRST + 1, "1e400"),
        ticker(FIRST + 1, "1e999999999"),
        ticker(FIRST + 1, "9" * 500),
        ticker(FIRST + 1, '"1_000"'),
        ticker(FIRST + 1, '" 5 "'),
        ticker(FIRST + 1, '"٣"'),
        ticker(FIRST + 1, "true"),
        ticker(FIRST + 1, '{"price":1}'),
        ticker(FIRST + 1, "1", product="PF_ETHUSD"),
        ticker(FIRST // 1000, "1"),  # seconds in place of milliseconds
        ticker(NOW // 10**6 + 3_600_000, "1"),  # an hour ahead: it would hold back all that follow
        ticker(FIRST + 1, "1").replace('"time":', '"late":'),
        ticker(FIRST + 1, "1").replace('"product_id":', '"product":'),
        ticker(FIRST + 1, "1").replace(f'"{XBT}"', "7"),
    ],
)
def test_what_cannot_be_used_is_counted_and_changes_nothing(bad: Step) -> None:
    heard, status, _, _ = hear([ticker(FIRST, "1.5"), bad, ticker(FIRST + 2, "2.5")], until=2)
    assert prices(heard, XBT) == ["1.5", "2.5"]
    assert (status.malformed, status.reconnects, status.out_of_order) == (1, 0, 0)
    assert status.last_fault


@pytest.mark.rule("G-06")
@pytest.mark.parametrize("absent", ["null", "0", "0.0", '""'])
def test_no_price_is_none_and_not_zero(absent: str) -> None:
    heard, status, _, _ = hear([ticker(FIRST, absent)], until=1)
    assert heard[0].price is None
    assert status.malformed == 0


def test_a_one_sided_or_crossed_book_has_no_middle() -> None:
    lite = '{"feed":"ticker_lite","product_id":"PF_XBTUSD","bid":%s,"ask":%s}'
    books = [lite % book for book in (("1", "2"), ("1", "0"), ("3", "2"), ("2", "2"))]
    heard, _, _, _ = hear(books, until=4, channel="ticker_lite")
    assert prices(heard, XBT) == ["1.5", "None", "None", "2.0"]


@pytest.mark.rule("G-09")
def test_older_and_repeated_messages_act_once() -> None:
    old, late = ticker(FIRST, "1"), ticker(FIRST + 5, "3")
    heard, status, _, _ = hear([old, old, late, ticker(FIRST + 4, "2"), late, ticker(FIRST + 6, "4")], until=3)
    assert prices(heard, XBT) == ["1", "3", "4"]
    assert status.out_of_order == 3


@pytest.mark.rule("G-09")
def test_after_a_reconnection_time_does_not_run_back_but_what_holds_is_said_again() -> None:
    one, two = ticker(FIRST, "1"), ticker(FIRST + 1, "2")
    heard, status, _, _ = hear([one, two, Fault.DROP], [one, two, two, ticker(FIRST + 2, "3")], until=4)
    assert prices(heard, XBT) == ["1", "2", "2", "3"]
    assert (status.out_of_order, status.reconnects) == (2, 1)


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.CLOSE, "x" * 2**21])
def test_every_cut_is_mended(fault: Step) -> None:
    heard, status, listener, exchange = hear(
        [ticker(FIRST, "1"), fault], [fault], [fault], [ticker(FIRST + 1, "2")], until=2
    )
    assert prices(heard, XBT) == ["1", "2"]
    assert listener.pauses == [1, 2, 4]  # a second after what worked, longer after each attempt that brought nothing
    assert (status.reconnects, exchange.connections) == (3, 4)
    assert status.malformed == (3 if isinstance(fault, str) else 0)
    assert len([request for request in exchange.requests if request["feed"] == "ticker"]) == 4


def test_silence_is_a_cut() -> None:
    heard, status, _, _ = hear([ticker(FIRST, "1")], [ticker(FIRST + 1, "2")], until=2, idle_seconds=0.5)
    assert prices(heard, XBT) == ["1", "2"]
    assert status.reconnects >= 1
    assert status.last_fault == "nothing heard for 0.5 seconds"


def test_nobody_listens_there() -> None:
    async def run() -> FeedStatus:
        listener = Listener()
        async with Exchange(KrakenFuturesVenue([]), []) as exchange:
            url = exchange.url
        feed = KrakenFutures([XBT], url=url, sleep=listener.sleep)
        await listener.listen(feed, lambda: len(listener.pauses) >= 9)
        assert listener.pauses[:9] == [2, 4, 8, 16, 32, 60, 60, 60, 60]
        return feed.status

    status = asyncio.run(run())
    assert not status.connected
    assert status.reconnects >= 9
    assert status.last_fault


@pytest.mark.rule("G-06")
def test_a_product_that_the_venue_does_not_serve_is_named_and_harms_no_other() -> None:
    failed = '{"event":"subscribed_failed","feed":"ticker","product_ids":["PF_GONE"]}'
    gone = '{"event":"unsubscribed","feed":"ticker","product_ids":["PF_XBTUSD"]}'
    heard, status, _, _ = hear(
        [failed, ticker(FIRST, "1"), gone.replace("ticker", "book"), gone], until=3, markets=[XBT, "PF_GONE", "PF_NONE"]
    )
    assert [(o.market, o.price) for o in heard] == [("PF_GONE", None), (XBT, Decimal(1)), (XBT, None)]
    assert status.unsubscribed == {
        XBT: "unsubscribed",
        "PF_GONE": "subscribed_failed",
        "PF_NONE": "not acknowledged yet",
    }


def test_alerts_and_errors_are_shown() -> None:
    _, status, _, _ = hear(['{"event":"alert","message":"Bad websocket message"}', ticker(FIRST, "1")], until=1)
    assert status.last_fault == "Bad websocket message"


def test_a_publisher_that_fails_is_our_own_fault() -> None:
    async def run() -> None:
        def publish(_: Observation) -> None:
            raise ZeroDivisionError

        async with Exchange(KrakenFuturesVenue([XBT]), [ticker(FIRST, "1")]) as exchange:
            await KrakenFutures([XBT], url=exchange.url, clock=lambda: NOW).run(publish)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"feed kraken-futures: url: expected ws:// or wss://, not 'https:"):
        KrakenFutures([XBT], url="https://example.com")
