"""Orders through ccxt against a server that speaks the protocol of Kraken Futures."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.adapters.venues.common import BTC, COIN, Ears, order
from tests.adapters.venues.kraken import KEY, SECRET, Kraken

from closeout.adapters.venues.ccxt_exchanges import KrakenFutures
from closeout.adapters.venues.ccxt_venue import CcxtVenue
from closeout.adapters.venues.port import (
    ABSENT,
    UNKNOWN,
    Done,
    Execution,
    Found,
    NotConnected,
    Refused,
    Uncertain,
)
from closeout.core.contracts import Contract, Kind
from closeout.core.units import USD, InputError

MARKETS = {"BTC-PERP": "PF_XBTUSD", "BTC-COIN": "PI_XBTUSD"}
CONTRACTS = {"BTC-PERP": BTC, "BTC-COIN": COIN}


@pytest.fixture(autouse=True)
def _history_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KrakenFutures, "history_pause", 0.0)


class Stage:
    def __init__(
        self,
        kraken: Kraken,
        *,
        lifetime: float = 0.0,
        timeout: float = 60.0,
        throttled: bool = False,
        secret: str = SECRET,
        perpetual: Contract = BTC,
    ) -> None:
        self.kraken, self.ears = kraken, Ears()
        self.venue = CcxtVenue(
            "krakenfutures",
            {**CONTRACTS, "BTC-PERP": perpetual},
            MARKETS,
            self.ears.alarm,
            api_key=KEY,
            secret=secret,
            base_url=kraken.url,
            every=0.01,
            timeout=timeout,
            lifetime=lifetime,
            throttled=throttled,
            clock=lambda: kraken.now * 1_000_000,
        )

    async def __aenter__(self) -> "Stage":
        self._running = asyncio.create_task(self.venue.run(self.ears.report))
        while not (self.venue.connected or self.ears.alarms or self._running.done()):
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def heard(self, count: int) -> None:
        await self.ears.until(lambda: len(self.ears.reports) >= count)

    async def polled(self) -> None:
        """Two polls begin and the first of them ends."""
        looks = len(self.kraken.requests) + 8
        while len(self.kraken.requests) < looks:
            await asyncio.sleep(0.01)

    def sent(self) -> int:
        return sum(path.endswith("/sendorder") for path in self.kraken.requests)


def play(
    scene: Callable[[Stage], Awaitable[None]],
    *,
    lifetime: float = 0.0,
    timeout: float = 60.0,
    perpetual: Contract = BTC,
) -> None:
    async def main() -> None:
        async with Kraken() as kraken, Stage(kraken, lifetime=lifetime, timeout=timeout, perpetual=perpetual) as on:
            await scene(on)

    asyncio.run(main())


@pytest.mark.rule("G-07", "G-16", "G-01")
def test_orders_go_out_exactly_and_executions_come_back_exactly() -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7, limit=128_001))
        await on.venue.place(order(30, "8-A1-1", contract=COIN))
        limit, market = (one.query for one in on.kraken.orders.values())
        wanted = {"cliOrdId": "7-A1-1", "symbol": "PF_XBTUSD", "side": "sell", "size": "0.07", "orderType": "ioc"}
        wanted |= {"limitPrice": "64000.5", "reduceOnly": "true"}
        assert {key: limit.get(key) for key in wanted} == wanted
        shown = [market.get(key) for key in ("cliOrdId", "symbol", "side", "size", "orderType", "limitPrice")]
        assert shown == ["8-A1-1", "PI_XBTUSD", "buy", "30", "mkt", None]
        on.kraken.fill("7-A1-1", "0.03", "64000.50", total="0.03")
        await on.heard(1)
        on.kraken.fill("7-A1-1", "0.04", "64001", total="0.07", full=True)
        on.kraken.fill("8-A1-1", "20", "63990.5")
        on.kraken.end("8-A1-1", "")
        await on.heard(5)
        assert on.ears.executions == [
            Execution("7-A1-1", "7-A1-1-F1", "BTC-PERP", -3, 128_001),
            Execution("7-A1-1", "7-A1-1-F2", "BTC-PERP", -4, 128_002),
            Execution("8-A1-1", "8-A1-1-F3", "BTC-COIN", 20, 127_981),
        ]
        assert on.ears.done == [Done("7-A1-1", "filled"), Done("8-A1-1", "immediate or cancel")]
        await on.polled()
        assert len(on.ears.reports) == 5
        assert on.ears.alarms == []

    play(scene)


# What becomes of a request


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("fault", ["wouldNotReducePosition", "insufficientAvailableFunds", "marketSuspended"])
def test_what_the_exchange_refuses_surely_was_not_taken(fault: str) -> None:
    async def scene(on: Stage) -> None:
        on.kraken.faults.append(fault)
        with pytest.raises(Refused, match=fault) as refused:
            await on.venue.place(order(-7))
        assert not isinstance(refused.value, NotConnected)
        await on.venue.place(order(-7))
        assert list(on.kraken.orders) == ["7-A1-1"]

    play(scene)


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("fault", ["accept and hang", "accept and cut"])
def test_a_request_without_an_answer_is_never_repeated_and_its_order_is_found(fault: str) -> None:
    async def scene(on: Stage) -> None:
        on.kraken.faults.append(fault)
        with pytest.raises(Uncertain):
            await on.venue.place(order(-7))
        with pytest.raises(Uncertain, match="sent before"):
            await on.venue.place(order(-7))
        assert await on.venue.find("7-A1-1", on.kraken.now * 1_000_000) == Found(done=False, executions=(), filled=0)
        on.kraken.fill("7-A1-1", "0.07", "64000")
        on.kraken.end("7-A1-1", "")
        await on.heard(2)
        found = await on.venue.find("7-A1-1", on.kraken.now * 1_000_000)
        assert found == Found(done=True, executions=tuple(on.ears.executions), filled=7)
        assert on.ears.done == [Done("7-A1-1", "filled")]
        assert on.sent() == 1

    play(scene, timeout=0.5)


@pytest.mark.rule("G-16")
@pytest.mark.parametrize("fault", ["500", "unknown error", "limit", "late"])
def test_an_order_that_did_not_arrive_is_absent_once_its_request_has_expired(fault: str) -> None:
    async def scene(on: Stage) -> None:
        on.kraken.faults.append(fault)
        sent_at = on.kraken.now * 1_000_000
        with pytest.raises(Uncertain):
            await on.venue.place(order(-7))
        on.kraken.now += 20_000
        assert await on.venue.find("7-A1-1", sent_at) == ABSENT
        await on.venue.place(order(-7))
        assert list(on.kraken.orders) == ["7-A1-1"]
        assert on.sent() == 2

    play(scene, lifetime=10.0)


@pytest.mark.rule("G-16")
def test_an_order_is_not_called_absent_before_its_request_has_expired() -> None:
    async def scene(on: Stage) -> None:
        on.kraken.faults.append("500")
        with pytest.raises(Uncertain):
            await on.venue.place(order(-7))
        finding = asyncio.create_task(on.venue.find("7-A1-1", on.kraken.now * 1_000_000))
        await on.polled()
        assert not finding.done()
        on.kraken.now += 299
        await on.polled()
        query = {"cliOrdId": "7-A1-1", "symbol": "PF_XBTUSD", "side": "sell", "size": "0.07", "orderType": "ioc"}
        on.kraken._place({**query, "reduceOnly": "true"})  # what had lain about on the way arrives
        on.kraken.now += 1
        assert await finding == Found(done=False, executions=(), filled=0)

    play(scene, lifetime=0.3)


@pytest.mark.rule("G-16")
def test_a_duplicate_client_id_means_that_the_order_is_there() -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        async with Stage(on.kraken) as second:  # another process with the same account
            with pytest.raises(Uncertain, match="already"):
                await second.venue.place(order(-7))
            found = await second.venue.find("7-A1-1", on.kraken.now * 1_000_000)
            assert found == Found(done=False, executions=(), filled=0)

    play(scene)


@pytest.mark.rule("G-16", "G-09")
def test_after_a_restart_orders_are_taken_up_with_all_their_pages_of_fills() -> None:
    async def main() -> None:
        async with Kraken(events_per_page=3) as kraken:
            sent_at = kraken.now * 1_000_000
            async with Stage(kraken) as first:
                await first.venue.place(order(-500, limit=128_000))
            for number in range(1, 251):
                kraken.fill("7-A1-1", "0.01", "64000", total=f"{number / 100}")
                if number % 3:
                    kraken.now -= 1  # several within one millisecond
            kraken.end("7-A1-1", "cancelled_by_admin")
            second = Stage(kraken)
            second.venue.remember(order(-500, limit=128_000), sent_at)
            async with second:
                await second.heard(251)
                assert len({one.fill_id for one in second.ears.executions}) == 250
                assert sum(one.lots for one in second.ears.executions) == -250
                assert second.ears.done == [Done("7-A1-1", "immediate or cancel")]
                found = await second.venue.find("7-A1-1", sent_at)
                assert isinstance(found, Found)
                assert (found.done, found.filled, len(found.executions)) == (True, 250, 250)
                assert await second.venue.find("never", sent_at) == ABSENT

    asyncio.run(main())


def test_without_the_exchange_nothing_is_sent_or_known() -> None:
    async def scene(on: Stage) -> None:
        on.kraken.down = True
        while on.venue.connected:
            await asyncio.sleep(0.01)
        with pytest.raises(Uncertain, match="503"):
            await on.venue.place(order(-7))
        assert await on.venue.find("7-A1-1", 0) == UNKNOWN
        with pytest.raises(Uncertain):
            await on.venue.cancel("7-A1-1")
        on.kraken.down = False
        while not on.venue.connected:
            await asyncio.sleep(0.01)
        await on.kraken.__aexit__()
        while on.venue.connected:
            await asyncio.sleep(0.01)
        for number in range(5):  # on a connection that was kept from before it may have left
            with pytest.raises((NotConnected, Uncertain)) as ended:
                await on.venue.place(order(-7, f"8-A1-{number}"))
        assert ended.type is NotConnected
        assert [code for code, _ in on.ears.alarms][:2] == ["venue_disconnected", "venue_lookup"]
        assert KEY not in str(on.ears.alarms)
        assert SECRET not in str(on.ears.alarms)

    play(scene)


def test_a_wrong_key_is_told_and_nothing_counts_as_connected() -> None:
    async def main() -> None:
        async with Kraken() as kraken, Stage(kraken, secret=b64encode(b"wrong").decode()) as on:
            assert not on.venue.connected
            ((code, text),) = on.ears.alarms
            assert code == "venue_disconnected"
            assert "authenticationError" in text

    asyncio.run(main())


@pytest.mark.rule("G-09")
def test_a_report_that_did_not_become_durable_is_made_again() -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7, limit=128_000))
        on.ears.deaf = 1
        on.kraken.fill("7-A1-1", "0.02", "64000")
        await on.heard(1)
        assert [one.lots for one in on.ears.executions] == [-2]

    play(scene)


@pytest.mark.rule("G-16")
def test_a_market_order_is_done_by_what_its_answer_said_without_the_history() -> None:
    """And with requests spaced as the exchange wants them."""

    async def main() -> None:
        async with Kraken() as kraken, Stage(kraken, throttled=True) as on:
            kraken.at_once = [("0.02", "64000"), ("0.01", "63999.5")]
            await on.venue.place(order(-7))
            await on.heard(3)
            assert [(one.lots, one.price_ticks) for one in on.ears.executions] == [(-2, 128_000), (-1, 127_999)]
            assert {one.fill_id for one in on.ears.executions} == {"7-A1-1-F1", "7-A1-1-F2"}
            assert on.ears.done == [Done("7-A1-1", "cancelled")]
            assert not any("history" in path for path in kraken.requests)
            assert on.ears.alarms == []

    asyncio.run(main())


@pytest.mark.rule("G-07")
def test_an_order_is_not_done_before_all_its_executions_were_told() -> None:
    """The history may know an execution before the list of fills does."""

    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        book = on.kraken.orders["7-A1-1"]
        book.filled = "0.03"
        on.kraken.end("7-A1-1", "")
        await on.polled()
        assert on.ears.reports == []
        on.kraken.trade("7-A1-1", book, "0.03", "64000")
        await on.heard(2)
        assert on.ears.reports == [
            Execution("7-A1-1", "7-A1-1-F1", "BTC-PERP", -3, 128_000),
            Done("7-A1-1", "immediate or cancel"),
        ]

    play(scene)


# Cancellations, ids, odd executions, configuration


@pytest.mark.rule("G-07")
def test_cancelling() -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7, limit=128_000))
        await on.venue.cancel("7-A1-1")
        await on.heard(1)
        assert on.ears.reports == [Done("7-A1-1", "immediate or cancel")]
        await on.venue.cancel("7-A1-1")
        await on.venue.cancel("never sent")
        await on.venue.place(order(-7, "8-A1-1", limit=128_000))
        on.kraken.lagging.add("8-A1-1")
        on.kraken.orders["8-A1-1"].status = "filled"
        await on.venue.cancel("8-A1-1")
        assert len(on.ears.reports) == 1

    play(scene)


def test_a_long_order_id_is_shortened_and_comes_back_as_itself() -> None:
    long = f"7-{'ü' * 60}-1"

    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7, long))
        (wire,) = on.kraken.orders
        assert len(wire) <= 100
        assert wire.isascii()
        on.kraken.fill(wire, "0.07", "64000", full=True)
        await on.heard(2)
        assert {one.order_id for one in on.ears.reports} == {long}

    play(scene)


@pytest.mark.rule("G-18")
def test_odd_executions_are_alarmed_once_and_foreign_ones_left_alone() -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-700, limit=128_000))
        book = on.kraken.orders["7-A1-1"]
        on.kraken.fill("7-A1-1", "0.01", "64000.50000000000000001")
        on.kraken.fill("7-A1-1", "0.025", "64000")
        on.kraken.trade("7-A1-1", book, "0.01", "64000", symbol="PF_ETHUSD")
        on.kraken.trade("somebody else's", book, "0.01", "64000")
        book.query["side"] = "buy"
        on.kraken.fill("7-A1-1", "0.01", "64000")
        await on.heard(3)
        await on.polled()
        assert [(one.lots, one.price_ticks) for one in on.ears.executions] == [
            (-1, 128_001),
            (-2, 128_000),
            (1, 128_000),
        ]
        codes = ["execution_off_tick", "execution_off_lot", "execution_not_booked", "execution_wrong_side"]
        assert [code for code, _ in on.ears.alarms] == codes
        assert "64000.50000000000000001" in on.ears.alarms[0][1]

    play(scene)


@pytest.mark.rule("G-07")
def test_what_would_be_rounded_on_the_way_is_refused_here() -> None:
    finer = Contract.define(
        "BTC-PERP", kind=Kind.LINEAR, currency=USD, tick=Decimal("0.1"), lot=Decimal("0.001"), contract_size=Decimal(1)
    )

    async def scene(on: Stage) -> None:
        with pytest.raises(Refused, match="not on the tick"):
            await on.venue.place(order(-10, limit=640_001, contract=finer))
        for lots in (-5, -15):
            with pytest.raises(Refused, match="finer than its lot"):
                await on.venue.place(order(lots, contract=finer))
        with pytest.raises(Refused, match="without lots"):
            await on.venue.place(order(0))
        with pytest.raises(Refused, match="no market"):
            await on.venue.place(order(1, contract=replace(BTC, name="SOL-PERP")))
        assert on.sent() == 0

    play(scene, perpetual=finer)


def test_contracts_of_another_size_are_converted_exactly() -> None:
    """Lots of a tenth of a coin, where the exchange counts coins."""
    tenth = Contract.define(
        "BTC-PERP", kind=Kind.LINEAR, currency=USD, tick=Decimal("0.5"), lot=Decimal(1), contract_size=Decimal("0.1")
    )

    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7, contract=tenth))
        assert on.kraken.orders["7-A1-1"].query["size"] == "0.7"
        on.kraken.fill("7-A1-1", "0.7", "64000", full=True)
        await on.heard(2)
        assert [one.lots for one in on.ears.executions] == [-7]

    play(scene, perpetual=tenth)


def test_configuration_that_does_not_fit_is_told_by_its_key() -> None:
    def opened(name: str = "krakenfutures", **markets: str) -> CcxtVenue:
        return CcxtVenue(name, CONTRACTS, markets or MARKETS, print, api_key=KEY, secret=SECRET)

    with pytest.raises(InputError, match="expected one of krakenfutures"):
        opened("binance")
    with pytest.raises(InputError, match="markets: no contract SOL"):
        opened(SOL="PF_SOLUSD")

    async def wrong(markets: dict[str, str]) -> None:
        async with Kraken() as kraken:
            venue = CcxtVenue(
                "krakenfutures",
                CONTRACTS,
                markets,
                print,
                api_key=KEY,
                secret=SECRET,
                base_url=kraken.url,
                throttled=False,
            )
            await venue.run(Ears().report)

    with pytest.raises(InputError, match="BTC-PERP: the exchange has no market PF_BTCUSD"):
        asyncio.run(wrong({"BTC-PERP": "PF_BTCUSD"}))
    with pytest.raises(InputError, match="BTC-PERP: PI_XBTUSD is not linear"):
        asyncio.run(wrong({"BTC-PERP": "PI_XBTUSD"}))
