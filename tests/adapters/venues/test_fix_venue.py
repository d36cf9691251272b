"""Orders over FIX against the tests' own acceptor, with lines that break and messages that get lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext, create_default_context

import pytest
from tests.adapters.notices.servers import certificate
from tests.adapters.venues.acceptor import Acceptor, Server
from tests.adapters.venues.common import BTC, COIN, Ears, order

from closeout.adapters.venues.fix_session import FixConfig
from closeout.adapters.venues.fix_venue import FixVenue
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
from closeout.core.units import InputError

FOREVER = 60.0


class Stage:
    """A venue that is logged on to a server, and who listens to it."""

    def __init__(self, server: Server, store: Path, patience: float = FOREVER, tls: SSLContext | None = None) -> None:
        self.server, self.acceptor, self.ears = server, server.acceptor, Ears()
        self.venue = FixVenue(
            FixConfig("CLOSEOUT", "VENUE", heartbeat=30),
            "127.0.0.1",
            server.port,
            store,
            {"BTC-PERP": BTC, "BTC-COIN": COIN},
            {"BTC-PERP": "BTCUSD"},
            self.ears.alarm,
            tls=tls,
            answer_within=patience,
            pause=0.01,
        )

    async def __aenter__(self) -> "Stage":
        self._running = asyncio.create_task(self.venue.run(self.ears.report))
        await self.server.until(lambda: self.acceptor.logged_on)
        while not self.venue.connected:
            await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.venue.close()

    async def heard(self, count: int) -> None:
        await self.ears.until(lambda: len(self.ears.reports) >= count)


@asynccontextmanager
async def stage(tmp_path: Path, patience: float = FOREVER) -> AsyncIterator[Stage]:
    async with Server(Acceptor()) as server, Stage(server, tmp_path / "fix.sqlite", patience) as on:
        yield on


def play(tmp_path: Path, scene: Callable[[Stage], Awaitable[None]], patience: float = FOREVER) -> None:
    async def main() -> None:
        async with stage(tmp_path, patience) as on:
            await scene(on)

    asyncio.run(main())


# Orders and what becomes of them


@pytest.mark.rule("G-07", "G-16")
def test_an_order_is_sent_as_it_is_and_its_executions_come_back_exactly(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7, limit=128_001))
        await on.venue.place(order(3, "7-A1-2"))
        limit, market = on.acceptor.handled
        shown = {tag: limit.get(tag) for tag in (35, 11, 1, 55, 54, 38, 40, 44, 59, 77)}
        wanted = ["D", "7-A1-1", "A1", "BTCUSD", "2", "0.07", "2", "64000.5", "3", "C"]
        assert shown == dict(zip(shown, wanted, strict=True))
        assert [market.get(tag) for tag in (11, 54, 38, 40, 44, 77)] == ["7-A1-2", "1", "0.03", "1", None, "C"]
        on.server.write(on.acceptor.fill("7-A1-1", "0.03", "64000.50"), on.acceptor.fill("7-A1-1", "0.04", "64001"))
        on.server.write(on.acceptor.fill("7-A1-2", "0.03", "64010", last=True))
        await on.heard(4)
        assert on.ears.reports == [
            Execution("7-A1-1", "7-A1-1-E3", "BTC-PERP", -3, 128_001),
            Execution("7-A1-1", "7-A1-1-E4", "BTC-PERP", -4, 128_002),
            Execution("7-A1-2", "7-A1-2-E5", "BTC-PERP", 3, 128_020),
            Done("7-A1-2", "filled"),
        ]
        assert on.ears.alarms == []

    play(tmp_path, scene)


@pytest.mark.rule("G-16")
@pytest.mark.parametrize(
    "refusal",
    [
        ("8", [(103, "0"), (58, "market closed")]),
        ("3", [(373, "5"), (58, "market closed")]),
        ("j", [(380, "4"), (58, "market closed")]),
    ],
)
def test_what_the_venue_refuses_surely_was_not_taken(
    tmp_path: Path, refusal: tuple[str, list[tuple[int, str]]]
) -> None:
    async def scene(on: Stage) -> None:
        on.acceptor.refuse = refusal
        with pytest.raises(Refused, match="market closed"):
            await on.venue.place(order(-7))
        await on.venue.place(order(-7))  # so the same id may be sent again
        assert len(on.acceptor.orders) == 1

    play(tmp_path, scene)


def test_what_cannot_be_sent_is_refused_here(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        for wrong, why in ((order(1, contract=COIN), "no symbol"), (order(0), "without lots")):
            with pytest.raises(Refused, match=why):
                await on.venue.place(wrong)
        assert on.acceptor.handled == []

    play(tmp_path, scene)
    with pytest.raises(InputError, match="symbols: no contract SOL"):
        FixVenue(FixConfig("A", "B"), "h", 1, ":memory:", {}, {"SOL": "S"}, print)


@pytest.mark.rule("G-16")
def test_without_a_connection_nothing_is_kept_for_later(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        on.server.arriving = lambda message: False
        on.server.cut()
        while on.venue.connected:
            await asyncio.sleep(0)
        with pytest.raises(NotConnected):
            await on.venue.place(order(-7))
        on.server.arriving = lambda message: True
        await on.server.until(lambda: on.acceptor.logged_on)
        assert await on.venue.find("7-A1-1", 0) == ABSENT
        assert on.acceptor.orders == {}
        assert [message[35] for message in on.acceptor.handled] == ["H"]

    play(tmp_path, scene)


def test_ids_and_accounts_that_a_wire_cannot_carry(tmp_path: Path) -> None:
    """A long or foreign order id is shortened, and its executions come back under the order's own."""
    long = f"7-{'ü' * 40}-1"

    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7, long))
        (wire,) = on.acceptor.orders
        assert len(wire) <= 64
        assert wire.isascii()
        on.server.write(on.acceptor.fill(wire, "0.07", "64000", last=True))
        await on.heard(2)
        assert on.ears.executions[0].order_id == on.ears.done[0].order_id == long
        with pytest.raises(Refused, match="cannot be sent"):
            await on.venue.place(order(-7, "7-A-1").__class__("7-A-1", "A\x0154=1", BTC, -7))

    play(tmp_path, scene)


# Lines that break


@pytest.mark.rule("G-16")
def test_disconnected_after_the_venue_took_the_order_and_before_it_said_so(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        on.server.incoming = lambda message: message[35] != "D"
        await on.venue.place(order(-7))  # the report comes by a resend, after the reconnect
        assert on.server.connections == 2
        assert len(on.acceptor.copies) == 1

    play(tmp_path, scene)


@pytest.mark.rule("G-16")
def test_disconnected_before_the_order_reached_the_venue(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        lost: list[str] = []

        def arriving(message: dict[int, str]) -> bool:
            if message[35] == "D" and not lost:
                lost.append(message[34])
                return False
            return True

        on.server.arriving = arriving
        await on.venue.place(order(-7))
        assert [(int(seq), True) for seq in lost] == on.acceptor.copies  # the one copy that came was flagged
        assert list(on.acceptor.orders) == ["7-A1-1"]

    play(tmp_path, scene)


@pytest.mark.rule("G-16")
def test_an_order_without_an_answer_is_found_and_never_sent_twice(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        on.acceptor.answers_orders = False
        with pytest.raises(Uncertain, match="no answer"):
            await on.venue.place(order(-7))
        with pytest.raises(Uncertain, match="sent before"):
            await on.venue.place(order(-7))
        assert await on.venue.find("7-A1-1", 0) == Found(done=False, executions=(), filled=0)
        on.server.write(on.acceptor.fill("7-A1-1", "0.02", "64000"))
        await on.heard(1)
        on.acceptor.orders["7-A1-1"].status = "4"
        found = await on.venue.find("7-A1-1", 0)
        assert found == Found(done=True, executions=tuple(on.ears.executions), filled=200)
        assert [message[35] for message in on.acceptor.handled] == ["D", "H", "H"]
        del on.acceptor.orders["7-A1-1"]  # a venue that lost its book
        assert await on.venue.find("7-A1-1", 0) == ABSENT
        on.acceptor.answers_orders = True
        await on.venue.place(order(-7))

    play(tmp_path, scene, patience=1.0)


@pytest.mark.rule("G-16", "G-09")
def test_after_a_restart_the_venue_is_asked_and_tells_what_happened_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        async with Server(Acceptor()) as server:
            async with Stage(server, tmp_path / "fix.sqlite") as first:
                await first.venue.place(order(-7))
            assert not server.acceptor.logged_on
            server.acceptor.fill("7-A1-1", "0.02", "64000")
            server.acceptor.fill("7-A1-1", "0.05", "63990", last=True)
            second = Stage(server, tmp_path / "fix.sqlite")
            second.venue.remember(order(-7), 0)
            second.venue.remember(order(-7, "8-A1-1"), 0)
            async with second:
                await second.heard(3)
                assert [(one.lots, one.price_ticks) for one in second.ears.executions] == [(-2, 128_000), (-5, 127_980)]
                assert second.ears.done == [Done("7-A1-1", "filled")]
                found = await second.venue.find("7-A1-1", 0)
                assert isinstance(found, Found)
                assert (found.done, len(found.executions)) == (True, 2)
                assert await second.venue.find("8-A1-1", 0) == ABSENT
                await second.venue.place(order(-7, "8-A1-1"))
                assert await second.venue.find("9-A1-1", 0) == UNKNOWN  # not remembered: nobody can be asked
        assert second.ears.alarms == []

    asyncio.run(main())


def test_the_venue_does_not_answer_a_question(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        on.server.outgoing = lambda data: []
        assert await on.venue.find("7-A1-1", 0) == UNKNOWN
        with pytest.raises(Uncertain):
            await on.venue.cancel("7-A1-1")

    play(tmp_path, scene, patience=0.2)


@pytest.mark.rule("G-16")
def test_an_order_that_the_venue_calls_a_duplicate_is_not_refused(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        on.acceptor.refuse = ("8", [(103, "6"), (58, "duplicate ClOrdID")])
        with pytest.raises(Uncertain, match="has an order"):
            await on.venue.place(order(-7))
        assert on.ears.reports == []

    play(tmp_path, scene)


@pytest.mark.rule("G-09")
def test_a_report_that_did_not_become_durable_is_asked_for_again(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        on.ears.deaf = 1
        on.server.write(on.acceptor.fill("7-A1-1", "0.02", "64000"), on.acceptor.fill("7-A1-1", "0.05", "64000"))
        await on.heard(2)
        assert [one.lots for one in on.ears.executions] == [-2, -5]
        assert on.ears.codes == ["fix_message"]

    play(tmp_path, scene)


@pytest.mark.parametrize("fault", ["lost", "garbled", "in two pieces with noise before"])
def test_a_report_that_is_lost_or_garbled_comes_again(tmp_path: Path, fault: str) -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        faults = {
            "lost": lambda data: [],
            "garbled": lambda data: [data.replace(b"64000", b"94000")],
            "in two pieces with noise before": lambda data: [b"8=FIX.4.4\x019=x\x01noise", data[:30], data[30:]],
        }
        on.server.outgoing = faults[fault]
        on.server.write(on.acceptor.fill("7-A1-1", "0.02", "64000"))
        on.server.outgoing = lambda data: [data]
        on.server.write(on.acceptor.fill("7-A1-1", "0.05", "63000"))
        await on.heard(2)
        assert [(one.lots, one.price_ticks) for one in on.ears.executions] == [(-2, 128_000), (-5, 126_000)]
        assert on.server.connections == 1
        assert on.ears.alarms == []

    play(tmp_path, scene)


def test_a_message_sent_twice_under_one_number_ends_the_session_with_an_alarm(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        on.server.outgoing = lambda data: [data, data]
        on.server.write(on.acceptor.fill("7-A1-1", "0.02", "64000"))
        on.server.outgoing = lambda data: [data]
        await on.server.until(lambda: on.server.connections == 2)
        assert len(on.ears.executions) == 1
        assert on.ears.codes == ["fix_session"]

    play(tmp_path, scene)


def test_over_tls_and_only_to_whom_the_certificate_names(tmp_path: Path) -> None:
    async def main() -> None:
        context, trusted = certificate(tmp_path)
        async with Server(Acceptor(), context) as server:
            async with Stage(server, tmp_path / "fix.sqlite", tls=create_default_context(cafile=trusted)) as on:
                await on.venue.place(order(-7))
            stranger = Stage(server, tmp_path / "other.sqlite", tls=create_default_context())
            running = asyncio.create_task(stranger.venue.run(stranger.ears.report))
            while not stranger.ears.alarms:
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            stranger.venue.close()
            ((code, text),) = stranger.ears.alarms
            assert code == "fix_disconnected"
            assert "certificate verify failed" in text

    asyncio.run(main())


# Cancellations


@pytest.mark.rule("G-07")
def test_cancelling(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        await on.venue.place(order(-7, "7-A1-2"))
        await on.venue.cancel("7-A1-1")
        await on.heard(1)
        assert on.ears.reports == [Done("7-A1-1", "cancelled")]
        sent = on.acceptor.handled[-1]
        assert sent[41] == "7-A1-1"
        assert sent[11].startswith("7-A1-1-c")
        await on.venue.cancel("7-A1-1")  # finished: no error, and not asked
        on.acceptor.orders["7-A1-2"].status = "2"
        await on.venue.cancel("7-A1-2")  # too late: no error
        on.venue.remember(order(-7, "6-A1-1"), 0)
        await on.venue.cancel("6-A1-1")  # unknown to the venue: no error
        with pytest.raises(Uncertain, match="not known to this process"):
            await on.venue.cancel("5-A1-1")

    play(tmp_path, scene)


# Executions that are not as they should be


@pytest.mark.rule("G-18")
def test_odd_executions_are_alarmed_and_not_dropped(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        await on.venue.place(order(-7))
        await on.venue.place(order(7, "7-A1-2"))
        book, known = on.acceptor, on.acceptor.orders["7-A1-1"]
        for quantity, price in (("0.01", "64000.3"), ("0.025", "64000"), ("0.001", "64000"), ("x", "64000")):
            known.status = "1"
            on.server.write(book.told(known, "F", (32, quantity), (31, price)))
        on.server.write(book.fill("7-A1-2", "0.01", "64000.3"))
        book.orders["6-A1-1"] = known.__class__({**known.fields, 11: "6-A1-1"}, "V9")
        on.server.write(book.fill("6-A1-1", "0.01", "64000"))
        known.fields = {**known.fields, 54: "1"}
        on.server.write(book.told(known, "F", (32, "0.01"), (31, "64000")))
        on.server.write(book.told(known, "H", (19, "E3"), (32, "0.01"), (31, "64000.3")))
        await on.heard(5)
        await on.venue.find("7-A1-1", 0)  # so that all before it was read
        assert [(one.order_id, one.lots, one.price_ticks) for one in on.ears.executions] == [
            ("7-A1-1", -1, 128_000),  # sold at 64000.3: down to 64000
            ("7-A1-1", -2, 128_000),
            ("7-A1-2", 1, 128_001),  # bought at 64000.3: up to 64000.5
            ("6-A1-1", -1, 128_000),
            ("7-A1-1", 1, 128_000),
        ]
        assert on.ears.codes == [
            "execution_off_tick",
            "execution_off_lot",
            "execution_not_booked",
            "fix_message",
            "execution_off_tick",
            "execution_unknown_order",
            "execution_wrong_side",
            "trade_corrected",
        ]
        assert "-0.025 BTC-PERP at 64000" in on.ears.alarms[1][1]
        assert "32=x" in on.ears.alarms[3][1]

    play(tmp_path, scene)


def test_a_report_without_a_required_field_is_rejected_and_alarmed(tmp_path: Path) -> None:
    async def scene(on: Stage) -> None:
        on.server.write(on.acceptor.send("8", [(150, "F"), (39, "1"), (11, "7-A1-1"), (17, "E1"), (55, "BTCUSD")]))
        on.server.write(on.acceptor.send("8", [(39, "1"), (11, "7-A1-1")]))
        on.server.write(on.acceptor.send("W", [(55, "BTCUSD")]))
        await on.server.until(lambda: on.acceptor.handled)
        rejects = [(m[371], m[373]) for m in on.acceptor.admin if m[35] == "3"]
        assert rejects == [("32", "1"), ("150", "1")]
        assert [(m[35], m[372], m[380]) for m in on.acceptor.handled] == [("j", "W", "3")]
        assert on.ears.codes == ["fix_message", "fix_message"]

    play(tmp_path, scene)
