"""The ccxt feed: ccxt's own Kraken Futures client against a server on this machine, with its addresses replaced."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import pytest
from tests.adapters.feeds.exchange import NOW, Exchange, Fault, Listener, Step, prices

from closeout.adapters.feeds.ccxt_feed import CcxtFeed
from closeout.adapters.feeds.port import FeedStatus, Observation
from closeout.core.units import InputError

BTC, ETH = "BTC/USD:USD", "ETH/USD:USD"

pytestmark = pytest.mark.skipif(find_spec("ccxt") is None, reason="ccxt is not installed (extra venues)")


class CcxtVenue:
    """Kraken Futures as ccxt speaks to it: no heartbeats, played once each of `asked` symbols is subscribed."""

    def __init__(self, asked: int) -> None:
        self.asked = asked
        self.subscribed: list[str] = []

    def greet(self) -> list[str]:
        self.subscribed = []
        return ['{"event":"info","version":1}']

    def answer(self, request: Any) -> list[str]:
        self.subscribed += request.get("product_ids", [])
        return [json.dumps({**request, "event": "subscribed"})]

    def ready(self) -> bool:
        return len(self.subscribed) >= self.asked


def instruments() -> str:
    listed = [
        {
            "symbol": product, "type": "flexible_futures", "tickSize": 0.5, "contractSize": 1, "tradeable": True,
            "contractValueTradePrecision": 4,
        }
        for product in ("PF_XBTUSD", "PF_ETHUSD")
    ]  # fmt: skip
    return json.dumps({"result": "success", "instruments": listed})


def ticker(mark: str, product: str = "PF_XBTUSD", last: str = "28053.5") -> str:
    return (
        f'{{"time":1680811086487,"product_id":"{product}","feed":"ticker","bid":28060,"ask":28070,"last":{last},'
        f'"change":-0.77,"volume":19628180,"tag":"perpetual","pair":"XBT:USD"{mark}}}'
    )


def marked(mark: str, product: str = "PF_XBTUSD") -> str:
    return ticker(f',"markPrice":{mark}', product)


def hear(
    *sessions: Sequence[Step],
    until: int,
    malformed: int = 0,
    markets: Sequence[str] = (BTC,),
    asked: int = 1,
    idle_seconds: float = 30,
) -> tuple[list[Observation], FeedStatus, Listener]:
    async def run() -> tuple[list[Observation], FeedStatus, Listener]:
        listener = Listener()
        async with Exchange(CcxtVenue(asked), *sessions, pages={"/v3/instruments": instruments()}) as exchange:
            addresses = {"ws": exchange.url, "public": exchange.url.replace("ws:", "http:") + "/"}
            feed = CcxtFeed(
                "krakenfutures", markets, options={"urls": {"api": addresses}}, idle_seconds=idle_seconds,
                clock=lambda: NOW, sleep=listener.sleep,
            )  # fmt: skip
            heard = await listener.listen(
                feed, lambda: len(listener.heard) >= until and feed.status.malformed >= malformed
            )
        return heard, feed.status, listener

    return asyncio.run(run())


@pytest.mark.rule("G-06")
def test_marks_are_what_the_exchange_wrote() -> None:
    written = ["28064.92082724", "0.1", "64771.195", '"28064.920827245921234567890"', "28060"]
    for text in written:
        heard, status, _ = hear([marked(text)], until=1)
        assert heard == [Observation("krakenfutures", BTC, Decimal(text.strip('"')), None, NOW)]
        assert (status.connected, status.malformed, status.unsubscribed) == (True, 0, {})


def test_without_a_mark_the_last_trade_is_held_within_the_book() -> None:
    heard, _, _ = hear([ticker("")], until=1)
    assert prices(heard, BTC) == ["28060"]
    heard, _, _ = hear([ticker("", last="28066.5")], until=1)
    assert prices(heard, BTC) == ["28066.5"]


@pytest.mark.rule("G-06")
def test_two_symbols_and_one_that_the_exchange_does_not_know() -> None:
    session = [marked("1.5"), marked("2.5", "PF_ETHUSD")]
    heard, status, _ = hear(session, until=3, markets=[BTC, "NOPE/USD:USD", ETH], asked=2)
    assert [prices(heard, market) for market in (BTC, ETH, "NOPE/USD:USD")] == [["1.5"], ["2.5"], ["None"]]
    assert "NOPE/USD:USD" in status.unsubscribed["NOPE/USD:USD"]


@pytest.mark.rule("G-06")
@pytest.mark.parametrize("bad", ['"NaN"', '"1_000"', "-1", "1e300"])
def test_what_cannot_be_used_is_counted(bad: str) -> None:
    heard, status, _ = hear([marked(bad)], until=0, malformed=1)
    assert (heard, status.malformed) == ([], 1)
    assert "markPrice" in status.last_fault


def test_malformed_json_ends_the_session() -> None:
    """ccxt stops listening without a word: only the silence tells."""
    heard, status, _ = hear(["{"], [marked("2")], until=1, idle_seconds=1)
    assert prices(heard, BTC) == ["2"]
    assert status.reconnects >= 1


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.CLOSE])
def test_a_cut_is_mended(fault: Fault) -> None:
    heard, status, listener = hear([fault], [fault], [marked("2")], until=1)
    assert prices(heard, BTC) == ["2"]
    assert status.reconnects == 2
    assert listener.pauses == [2, 4]


def test_silence_is_a_cut() -> None:
    heard, status, _ = hear([], [marked("2")], until=1, idle_seconds=1)
    assert prices(heard, BTC) == ["2"]
    assert status.reconnects >= 1
    assert status.last_fault == "nothing heard for 1 seconds"


def test_a_session_with_tickers_goes_on() -> None:
    heard, status, _ = hear([marked("1"), 1.8, marked("2"), 1.8, marked("3")], until=3, idle_seconds=3)
    assert prices(heard, BTC) == ["1", "2", "3"]
    assert status.reconnects == 0


def test_an_unknown_exchange_is_refused() -> None:
    with pytest.raises(InputError, match="ccxt knows no exchange of this name that streams tickers"):
        CcxtFeed("nasdaq", [BTC])


def test_without_ccxt_the_extra_is_named_and_the_module_still_loads() -> None:
    program = (
        "import sys; sys.modules['ccxt'] = None\n"
        "from closeout.adapters.feeds.ccxt_feed import CcxtFeed\n"
        "try: CcxtFeed('krakenfutures', [])\n"
        "except ValueError as fault: print(fault)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "feed krakenfutures: needs ccxt; install it with: pip install 'closeout[venues]'"
