"""Whatever a venue sends, the feeds take it or count it: nothing is raised, nothing impossible is published."""

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.adapters.feeds.exchange import NOW

from closeout.adapters.feeds.coinbase import Coinbase
from closeout.adapters.feeds.kraken_futures import KrakenFutures
from closeout.adapters.feeds.kraken_spot import KrakenSpot
from closeout.adapters.feeds.port import Observation
from closeout.adapters.feeds.prices import UNUSABLE, is_price
from closeout.adapters.feeds.socket import SocketFeed

GOOD = (
    b'{"feed":"ticker","product_id":"M","time":1680811086487,"markPrice":28064.92082724592}',
    b'{"feed":"ticker_lite","product_id":"M","bid":28060,"ask":28070.5}',
    b'{"event":"subscribed","feed":"ticker","product_ids":["M"]}',
    b'{"event":"error","message":"Invalid product id"}',
    b'{"channel":"ticker","type":"update","data":[{"symbol":"M","last":1.5,"bid":1,"ask":2,'
    b'"timestamp":"2026-09-24T03:54:18.054886Z"}]}',
    b'{"method":"subscribe","success":false,"error":"no","symbol":"M"}',
    b'{"type":"ticker","product_id":"M","sequence":5,"trade_id":7,"price":"14.7775","time":"2021-04-17T16:43:30.2Z"}',
    b'{"type":"heartbeat","product_id":"M","sequence":5,"last_trade_id":9,"time":"2021-04-17T16:43:30.2Z"}',
    b'{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["M"]}]}',
)
PIECES = st.sampled_from(
    [b"", b"null", b"0", b"-1", b"1e999", b"NaN", b'"NaN"', b"[]", b"{}", b'"', b"\\ud800", b"\xff", b"M", b"9" * 50]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message with a part cut out and another put in."""
    message = draw(st.sampled_from(GOOD))
    begin = draw(st.integers(0, len(message)))
    end = draw(st.integers(begin, min(len(message), begin + 30)))
    return message[:begin] + draw(PIECES | st.binary(max_size=4)) + message[end:]


@pytest.mark.rule("G-06")
@pytest.mark.parametrize("kind", [KrakenFutures, KrakenSpot, Coinbase])
@given(messages=st.lists(damaged() | st.sampled_from(GOOD) | st.binary(max_size=50), max_size=12))
@example(messages=list(GOOD * 2))
def test_any_bytes(kind: Callable[..., SocketFeed], messages: list[bytes]) -> None:
    feed = kind(["M"], clock=lambda: NOW)
    heard: list[Observation] = []
    feed.intake.to(heard.append)
    feed.intake.begin()
    for message in messages:
        with suppress(*UNUSABLE):
            assert all(isinstance(msgspec.json.decode(answer), dict) for answer in feed.hear(message))
    for found in heard:
        assert (found.market, found.received_at) == ("M", NOW)
        assert found.price is None or (is_price(found.price) and found.price > 0)
        assert found.exchange_time is None or found.exchange_time <= NOW + 60 * 10**9
    times = [found.exchange_time for found in heard if found.exchange_time is not None]
    assert times == sorted(times)
