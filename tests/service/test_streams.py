"""What a page follows: snapshots, deltas, gaps, slow readers, and the events in their order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.api.harness import Service
from tests.service.following import applied, buy, calls_of, followed, heard, say, stream
from websockets.exceptions import ConnectionClosed

from closeout.engine.commands import Deposit
from closeout.service import streams, views

ORDER = {"order_id": "o1", "contract": "MBT", "quantity": "1"}


@pytest.mark.rule("US-19")
def test_an_account_is_followed_by_a_snapshot_and_deltas_without_a_gap(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "customer") as socket:
            assert (await heard(socket))["type"] == "ready"
            await say(socket, "subscribe", topic="account:A1")
            first = await heard(socket)
            assert (first["type"], first["topic"]) == ("snapshot", "account:A1")
            document, n = applied({}, first), first["n"]
            await buy(service)
            await service.mark({"MBT": 14_010})
            while document["net_liq"] == first["data"]["net_liq"]:
                frame = await heard(socket)
                assert (frame["type"], frame["n"]) == ("delta", n + 1)
                assert "could_owe" in frame["data"] or set(frame["data"]) != set(document)
                document, n = applied(document, frame), frame["n"]
            await service.mark({"MBT": 14_020})
            while document["net_liq"] != "10009.61":  # 20 ticks of 0.50, less the fee of 0.39
                document = applied(document, await heard(socket))
            now = (await service.send("customer", "GET", "/v1/accounts/A1")).json()
            assert document == now

    asyncio.run(run())


def test_only_what_touches_an_account_wakes_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "customer") as socket:
            await heard(socket)
            await say(socket, "subscribe", topic="account:A1")
            await heard(socket)
            service.clock.time += 10**9
            await service.mark({"MBT": 14_100})  # it holds nothing there
            await buy(service, "A2")
            await service.put_in(Deposit("A3", 1))
            await asyncio.sleep(0.5)
            await service.put_in(Deposit("A1", 5_000_000))
            frame = await heard(socket)
            assert frame["data"]["cash"] == "10005.00"

    asyncio.run(run())


@pytest.mark.rule("US-20")
def test_the_desk_is_worked_out_once_for_all_who_follow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(monkeypatch, views, "totals")

    async def run() -> None:
        async with (
            followed(tmp_path) as (service, where),
            stream(where, "desk") as one,
            stream(where, "supervisor") as two,
        ):
            documents: list[dict[str, Any]] = []
            for socket in (one, two):
                await heard(socket)
                await say(socket, "subscribe", topic="desk")
                documents.append(applied({}, await heard(socket)))
            before = len(calls)
            await buy(service)
            for place, socket in enumerate((one, two)):
                while documents[place]["requirement"] == "0.00":
                    documents[place] = applied(documents[place], await heard(socket))
            assert documents[0] == documents[1]
            assert documents[0]["requirement"] == "962.50"  # half of 27.5 % of 7,000
            assert 1 <= len(calls) - before <= 2

    asyncio.run(run())


def test_a_portfolio_has_a_line_for_each_account_and_sends_those_that_changed(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where):
            service.access.keys["customer"] = type(service.access.keys["customer"])(
                "customer", "Ann", "customer", frozenset({"A1", "A3"})
            )  # fmt: skip
            async with stream(where, "customer") as socket:
                await heard(socket)
                await say(socket, "subscribe", topic="portfolio")
                first = await heard(socket)
                assert [row["account_id"] for row in first["data"]["items"]] == ["A1", "A3"]
                await service.put_in(Deposit("A3", 5_000_000))
                frame = await heard(socket)
                assert [row["account_id"] for row in frame["data"]["items"]["rows"]] == ["A3"]
                assert applied(first["data"], frame)["items"][1]["net_liq"] == "10005.00"

    asyncio.run(run())


def test_who_comes_back_gets_what_he_missed_or_a_snapshot(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "desk") as other:
            await heard(other)
            await say(other, "subscribe", topic="account:A1")  # while he is away, it goes on for others
            async with stream(where, "customer") as socket:
                await heard(socket)
                await say(socket, "subscribe", topic="account:A1")
                first = await heard(socket)
            for amount in (1_000_000, 2_000_000):
                await service.put_in(Deposit("A1", amount))
                await asyncio.sleep(0.6)
            async with stream(where, "customer") as socket:
                await heard(socket)
                await say(socket, "resume", topic="account:A1", after=first["n"])
                document = first["data"]
                for expected in (first["n"] + 1, first["n"] + 2):
                    frame = await heard(socket)
                    assert (frame["type"], frame["n"]) == ("delta", expected)
                    document = applied(document, frame)
                assert document["cash"] == "10003.00"
                await say(socket, "resume", topic="account:A1", after=first["n"] - 1000)
                assert (await heard(socket))["type"] == "snapshot"
                await say(socket, "resume", topic="account:A1", after=2**60)
                assert (await heard(socket))["type"] == "snapshot"

    asyncio.run(run())


def test_a_key_in_the_first_message_opens_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path, accounts=False) as (service, where):
            reasons: list[str] = []
            service.context.closed = reasons.append
            async with stream(where, None) as socket:
                await say(socket, "auth", key="desk")
                assert (await heard(socket))["type"] == "ready"
            for first in ({"type": "auth", "key": "nobody"}, {"type": "subscribe", "topic": "desk"}, "nothing"):
                async with stream(where, None) as socket:
                    await socket.send(json.dumps(first))
                    with pytest.raises(ConnectionClosed) as closed:
                        await heard(socket)
                    assert closed.value.rcvd is not None
                    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "unauthorized")
            assert reasons == 3 * ["unauthorized"]

    asyncio.run(run())


def test_messages_that_make_no_sense_are_answered_and_the_stream_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (_, where), stream(where, "customer") as socket:
            await heard(socket)
            for sent, code in (
                ("nonsense", "bad_message"),
                ("[" * 30_000, "bad_message"),
                ('{"type":"subscribe","topic":"account:A2"}', "unknown_account"),
                ('{"type":"subscribe","topic":"account:A9"}', "unknown_account"),
                ('{"type":"subscribe","topic":"desk"}', "forbidden"),
                ('{"type":"subscribe","topic":"weather"}', "unknown_topic"),
                ('{"type":"unsubscribe","topic":"desk"}', "not_subscribed"),
                ('{"type":"shout"}', "unknown_message"),
                ('{"type":"subscribe","topic":"account:A1","loud":true}', "bad_message"),
            ):
                await socket.send(sent)
                answer = await heard(socket)
                assert (answer["type"], answer["code"]) == ("error", code), answer
                about = None if code == "bad_message" else json.loads(sent).get("topic")
                assert answer.get("topic") == about, answer
            await socket.send(b"\x00\xff")
            assert (await heard(socket))["code"] == "bad_message"
            await say(socket, "ping")
            assert (await heard(socket))["type"] == "pong"
            await socket.send("x" * 70_000)
            with pytest.raises(ConnectionClosed) as closed:
                await heard(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    asyncio.run(run())


def test_a_key_has_so_many_streams(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path, accounts=False, streams_per_key=2) as (service, where):
            async with stream(where, "desk") as one, stream(where, "desk") as two:
                await heard(one)
                await heard(two)
                async with stream(where, "desk") as three:
                    with pytest.raises(ConnectionClosed) as closed:
                        await heard(three)
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1008
                async with httpx.AsyncClient(headers={"Authorization": "Bearer desk"}) as client:
                    answer = await client.get(f"http://{where}/v1/events", headers={"Accept": "text/event-stream"})
                    assert answer.status_code == 429
            for _ in range(100):
                if service.context.seats.open == 0:
                    break
                await asyncio.sleep(0.05)
            assert service.context.seats.open == 0

    asyncio.run(run())


def test_who_reads_slowly_gets_a_snapshot_and_who_does_not_read_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEND_TIMEOUT", 0.5)

    async def run() -> None:
        sent: list[dict[str, Any]] = []
        stuck = asyncio.Event()
        inbox: asyncio.Queue[Any] = asyncio.Queue()

        async def send(message: Any) -> None:
            if message["type"] == "websocket.send":
                if stuck.is_set():
                    await asyncio.sleep(60)
                await asyncio.sleep(0.35)  # slower than deltas come
            sent.append(message)

        async with followed(tmp_path) as (service, _):
            handler = streams.Streams(service.context)
            running_topics = asyncio.create_task(handler.run())
            inbox.put_nowait({"type": "websocket.connect"})
            inbox.put_nowait({"type": "websocket.receive", "text": '{"type":"subscribe","topic":"account:A1"}'})
            serving = asyncio.create_task(handler.serve({b"authorization": b"Bearer desk"}, inbox.get, send))
            for _ in range(12):
                await service.put_in(Deposit("A1", 1_000_000))
                await asyncio.sleep(0.26)
            frames = [json.loads(message["text"]) for message in sent if message["type"] == "websocket.send"]
            snapshots = [frame for frame in frames if frame.get("type") == "snapshot"]
            assert len(snapshots) >= 2  # the first, and one in the place of deltas that it had no time for
            document: dict[str, Any] = {}
            last = 0
            for frame in frames:
                if frame["type"] == "delta":
                    assert frame["n"] == last + 1
                if frame["type"] in ("delta", "snapshot"):
                    document, last = applied(document, frame), frame["n"]
            assert float(document["cash"]) > 10_000
            stuck.set()
            await service.put_in(Deposit("A1", 1_000_000))
            await asyncio.wait_for(serving, 10)
            assert sent[-1] == {"type": "websocket.close", "code": 1013, "reason": "slow"}
            running_topics.cancel()

    asyncio.run(run())


# -- events ------------------------------------------------------------------------------------------


async def paged(service: Service, key: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = (await service.send(key, "GET", "/v1/events", params=query)).json()
        found += page["items"]
        if page["next"] is None:
            return found
        query["after"] = page["next"]


@pytest.mark.rule("G-09")
def test_events_come_in_order_whole_and_only_to_who_may_see_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where):
            await buy(service)
            await buy(service, "A2")
            await service.send("desk", "POST", "/v1/accounts/A1/desk", {"action": "lock", "reason": "drill"})
            await service.projected()
            whole = await paged(service, "auditor", limit=500)
            places = [(event["seq"], event["idx"]) for event in whole]
            assert places == sorted(places)
            for limit in (1, 2, 3, 7):
                assert await paged(service, "auditor", limit=limit) == whole
            own = await paged(service, "customer", limit=2)
            assert own == [e for e in whole if e["account_id"] == "A1" and e["type"] != "alarm"]
            assert {event["type"] for event in own} >= {"posting", "fill", "flag_change"}
            assert any(event["type"] == "alarm" for event in whole)  # a fill of an order that nobody knows
            behind = await paged(service, "auditor", after=str(whole[3]["seq"]))
            assert behind == [event for event in whole if event["seq"] > whole[3]["seq"]]

            async with stream(where, "desk") as socket:
                await heard(socket)
                await say(socket, "subscribe", topic="events", after=0)
                followed_events: list[dict[str, Any]] = []
                n = 0
                while len(followed_events) < len(whole):
                    frame = await heard(socket)
                    n += 1
                    assert (frame["topic"], frame["n"]) == ("events", n)
                    followed_events += frame["data"]
                assert followed_events == whole
                await buy(service)
                frame = await heard(socket)
                assert frame["n"] == n + 1
                assert {event["type"] for event in frame["data"]} >= {"fill", "posting"}

    asyncio.run(run())


async def server_sent(where: str, key: str, count: int, headers: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """The first `count` server-sent events as (id, data)."""
    found: list[tuple[str, dict[str, Any]]] = []
    sent = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream", **headers}
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"http://{where}/v1/events?after=0", headers=sent) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        place = ""
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            place = value if name == "id" else place
            if name == "data":
                found.append((place, json.loads(value)))
                if len(found) == count:
                    break
    return found


@pytest.mark.rule("G-09")
def test_server_sent_events_go_on_where_they_broke_off(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where):
            await buy(service)
            await service.projected()
            whole = await paged(service, "desk", limit=500)
            first = await server_sent(where, "desk", 3, {})
            rest = await server_sent(where, "desk", len(whole) - 3, {"Last-Event-ID": first[-1][0]})
            assert [event for _, event in [*first, *rest]] == whole
            for _ in range(100):
                if service.context.seats.open == 0:
                    break
                await asyncio.sleep(0.05)
            assert service.context.seats.open == 0

    asyncio.run(run())


def test_no_event_is_lost_or_told_twice_while_many_come(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "auditor") as early:
            await heard(early)
            await say(early, "subscribe", topic="events", after=0)

            async def write() -> None:
                for _ in range(150):
                    await service.put_in(Deposit("A1", 1), Deposit("A2", 2))

            writing = asyncio.create_task(write())
            await asyncio.sleep(0.3)
            async with stream(where, "auditor") as late:
                await heard(late)
                await say(late, "subscribe", topic="events", after=0)
                await writing
                await service.projected()
                whole = await paged(service, "auditor", limit=500)
                for socket in (early, late):
                    found: list[dict[str, Any]] = []
                    while len(found) < len(whole):
                        found += (await heard(socket))["data"]
                    assert found == whole

    asyncio.run(run())


def test_a_topic_that_cannot_be_worked_out_closes_who_follows_it_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "desk") as desk, stream(where, "desk") as one:
            await heard(desk)
            await heard(one)
            await say(desk, "subscribe", topic="desk")
            await say(one, "subscribe", topic="account:A1")
            assert (await heard(desk))["type"] == (await heard(one))["type"] == "snapshot"
            monkeypatch.setattr(views, "totals", lambda *given: 1 // 0)
            await buy(service)
            with pytest.raises(ConnectionClosed) as closed:
                await heard(desk)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1011
            assert (await heard(one))["type"] == "delta"
            assert [type(fault) for fault in service.faults] == [ZeroDivisionError]
            service.faults.clear()

    asyncio.run(run())
