"""Kraken spot, websocket v2, against messages as its documentation has them."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.adapters.feeds.exchange import NOW, Exchange, Fault, KrakenSpotVenue, Listener, Step, prices

from closeout.adapters.feeds.kraken_spot import KrakenSpot
from closeout.adapters.feeds.port import FeedStatus, Observation

BTC, ETH = "BTC/USD", "ETH/USD"


def quoted(last: str, bid: str, ask: str, second: int | None = None, symbol: str = BTC) -> str:
    stamp = "" if second is None else f',"timestamp":"2026-09-24T03:54:{second:02d}.054886Z"'
    return (
        f'{{"symbol":"{symbol}","bid":{bid},"bid_qty":5.47575141,"ask":{ask},"ask_qty":0.5,"last":{last},'
        f'"volume":812.4,"vwap":0.99983,"low":0.9,"high":1.1,"change":0.00005,"change_pct":0.01{stamp}}}'
    )


def message(*tickers: str) -> str:
    return f'{{"channel":"ticker","type":"update","data":[{",".join(tickers)}]}}'


def hear(
    *sessions: Sequence[Step], until: int, markets: Sequence[str] = (BTC,)
) -> tuple[list[Observation], FeedStatus, Exchange]:
    async def run() -> tuple[list[Observation], FeedStatus, Exchange]:
        listener = Listener()
        async with Exchange(KrakenSpotVenue([BTC, ETH]), *sessions) as exchange:
            feed = KrakenSpot(markets, url=exchange.url, clock=lambda: NOW, sleep=listener.sleep)
            heard = await listener.listen(feed, lambda: len(listener.heard) >= until)
        return heard, feed.status, exchange

    return asyncio.run(run())


@pytest.mark.rule("G-06")
@pytest.mark.parametrize(
    ("last", "bid", "ask", "expected"),
    [
        ("0.99981", "0.99980", "0.99982", "0.99981"),
        ("80225.9", "80226.1", "80226.4", "80226.1"),  # the book has moved up since the last trade
        ("80230", "80226.1", "80226.4", "80226.4"),
        ("80225.9", "1", "99999999", "80225.9"),  # a book that is hardly there
        ("null", "80226.1", "80226.4", "80226.25"),  # not traded for a day
        ("80225.9", "null", "80226.4", "80225.9"),
        ("80225.9", "0", "80226.4", "80225.9"),
        ("80225.9", "80227", "80226.4", "80225.9"),  # crossed
        ("null", "80227", "80226.4", "None"),
        ("null", "null", "null", "None"),
    ],
)
def test_the_last_trade_is_held_within_the_book(last: str, bid: str, ask: str, expected: str) -> None:
    heard, status, _ = hear([message(quoted(last, bid, ask))], until=1)
    assert prices(heard, BTC) == [expected]
    assert status.malformed == 0


def test_times_are_exact_and_may_be_missing() -> None:
    heard, _, exchange = hear([message(quoted("1", "1", "1")), message(quoted("1", "1", "1", 18))], until=2)
    assert [o.exchange_time for o in heard] == [None, 1_790_222_058_054_886_000]
    assert exchange.requests == [
        {
            "method": "subscribe",
            "params": {"channel": "ticker", "symbol": [BTC], "event_trigger": "bbo"},
            "req_id": 1,
        }
    ]


@pytest.mark.rule("G-06")
def test_a_symbol_that_the_venue_refuses_has_no_price_and_is_named() -> None:
    heard, status, _ = hear([message(quoted("1", "1", "1"))], until=2, markets=["XBT/USD", BTC])
    assert [(o.market, o.price is None) for o in heard] == [("XBT/USD", True), (BTC, False)]
    assert status.unsubscribed == {"XBT/USD": "Currency pair not supported XBT/USD"}


@pytest.mark.rule("G-06", "G-09")
def test_a_bad_ticker_does_not_take_its_neighbours_with_it() -> None:
    session = [
        message(quoted("NaN", "1", "1"), quoted("1", "1", "1", symbol=ETH)),  # not even JSON: nothing of it can be used
        message(quoted('"NaN"', "1", "1"), quoted("2", "2", "2", symbol=ETH)),
        message('{"symbol":7}', quoted("3", "3", "3", symbol=ETH), "[]", quoted("-3", "1", "1")),
        message(quoted("4", "4", "4", symbol="SOL/USD"), quoted("5", "5", "5")),
        '{"channel":"ticker","data":7}',
        '{"channel":"heartbeat"}',
        message(quoted("6", "6", "6")),
    ]
    heard, status, _ = hear(session, until=4, markets=[BTC, ETH])
    assert (prices(heard, ETH), prices(heard, BTC)) == (["2", "3"], ["5", "6"])
    assert status.malformed == 7


@pytest.mark.rule("G-09")
def test_out_of_order_and_over_a_cut() -> None:
    one, two, three = (message(quoted(str(i), "0", "0", i)) for i in (1, 2, 3))
    heard, status, _ = hear([two, one, two, Fault.DROP], [one, two, three], until=3)
    assert prices(heard, BTC) == ["2", "2", "3"]
    assert (status.out_of_order, status.reconnects) == (3, 1)


def test_the_venue_may_end_a_subscription() -> None:
    end = '{"method":"unsubscribe","success":true,"result":{"channel":"ticker","symbol":"BTC/USD"}}'
    heard, status, _ = hear([message(quoted("1", "1", "1")), end], until=2)
    assert heard[1].price is None
    assert status.unsubscribed == {BTC: "unsubscribed"}
