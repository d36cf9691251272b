"""What the desk follows: lists of accounts that the service filters and sorts, and the stress of the book."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest
from tests.service.following import applied, buy, calls_of, followed, heard, say, stream

from closeout.core.units import RATE
from closeout.engine.commands import Deposit
from closeout.service import listing, streams, topics
from closeout.service.reports.stress import ALL, stress


@pytest.mark.rule("US-20")
def test_a_list_of_accounts_is_filtered_and_sorted_by_the_service(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "desk") as socket:
            await heard(socket)
            await say(socket, "subscribe", topic="accounts?search=ANN&contract=MBT&sort=net_liq")
            first = await heard(socket)
            assert (first["type"], first["topic"]) == ("snapshot", "accounts?search=ANN&contract=MBT&sort=net_liq")
            assert (first["data"]["matching"], first["data"]["items"]) == (0, [])
            document, n = first["data"], first["n"]
            await buy(service)
            await buy(service, "A2")
            await service.mark({"MBT": 14_010})
            await service.put_in(Deposit("A2", 5_000_000))
            while [line["net_liq"] for line in document["items"]] != ["10009.61", "10004.61"]:
                frame = await heard(socket)
                assert (frame["type"], frame["topic"], frame["n"]) == ("delta", first["topic"], n + 1)
                document, n = applied(document, frame), n + 1
            assert [line["account_id"] for line in document["items"]] == ["A2", "A1"]
            assert document["matching"] == 2
            lines = (await service.send("desk", "GET", "/v1/accounts")).json()["items"]
            assert document["items"] == [lines[1], lines[0]]

    asyncio.run(run())


@pytest.mark.rule("US-20")
def test_lists_that_mean_the_same_are_one_topic_by_whatever_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch, listing, "select")
    names = ("accounts", "accounts?", "accounts?n=200&sort=usage", "accounts?order=desc&n=200")

    async def run() -> None:
        async with (
            followed(tmp_path) as (service, where),
            stream(where, "desk") as one,
            stream(where, "broker") as two,
        ):
            for socket, own in ((one, names), (two, names[1:])):
                await heard(socket)
                for name in own:
                    await say(socket, "subscribe", topic=name)
                frames = [await heard(socket) for _ in own]
                assert [(frame["type"], frame["topic"]) for frame in frames] == [("snapshot", name) for name in own]
            assert len(calls) == 1
            await say(one, "unsubscribe", topic=names[0])
            await say(one, "ping")
            assert (await heard(one))["type"] == "pong"
            await service.put_in(Deposit("A1", 1_000_000))
            deltas = [await heard(one) for _ in names[1:]] + [await heard(two) for _ in names[1:]]
            assert [(delta["type"], delta["topic"]) for delta in deltas] == [("delta", name) for name in 2 * names[1:]]
            assert len({json.dumps(delta["data"]) for delta in deltas}) == 1
            assert len(calls) == 2

    asyncio.run(run())


def test_what_nobody_follows_is_not_worked_out_and_goes_on_for_who_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(monkeypatch, listing, "select")

    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "desk") as socket:
            await heard(socket)
            await say(socket, "subscribe", topic="accounts")
            document = applied({}, first := await heard(socket))
            await say(socket, "unsubscribe", topic="accounts")
            await say(socket, "subscribe", topic="desk")
            assert (await heard(socket))["topic"] == "desk"
            await service.put_in(Deposit("A1", 1_000_000))
            assert (await heard(socket))["topic"] == "desk"  # every topic that is due has had its turn
            assert len(calls) == 1
            await say(socket, "resume", topic="accounts", after=first["n"])
            while (frame := await heard(socket))["topic"] != "accounts":
                pass
            assert (frame["type"], frame["n"], len(calls)) == ("delta", first["n"] + 1, 2)
            lines = {row["account_id"]: row for row in applied(document, frame)["items"]}
            before = {row["account_id"]: row for row in document["items"]}
            assert Decimal(lines["A1"]["net_liq"]) == Decimal(before["A1"]["net_liq"]) + 1

    asyncio.run(run())


@pytest.mark.rule("US-19", "US-20")
def test_the_stress_of_the_book_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "STRESS_INTERVAL", 0.2)

    async def run() -> None:
        async with followed(tmp_path) as (service, where), stream(where, "supervisor") as socket:
            await heard(socket)
            await say(socket, "subscribe", topic="stress")
            first = await heard(socket)
            moves = [row["move"] for row in first["data"]["moves"]]
            assert moves == ["-0.20", "-0.10", "-0.05", "0.05", "0.10", "0.20"]
            assert {row["closed_out"] for row in first["data"]["moves"]} == {0}
            fill = {"account_id": "A1", "contract": "MBT", "quantity": "20", "price": "70000", "order_id": "x",
                    "fill_id": "f"}  # fmt: skip
            assert (await service.send("broker", "POST", "/v1/fills", fill)).status_code == 200
            document = first["data"]
            while not document["moves"][0]["would_owe"]:
                document = applied(document, await heard(socket))
            state = service.context.writer.engine.loaded
            by_move = {outcome.move.rate: outcome for outcome in stress(state) if outcome.move.what == ALL}
            for row, percent in zip(document["moves"], (-20, -10, -5, 5, 10, 20), strict=True):
                text, outcome = state.policy.currency.text, by_move[percent * RATE // 100]
                assert row == {
                    "move": row["move"], "closed_out": outcome.closed_out, "would_owe": outcome.would_owe,
                    "debts": text(outcome.debts), "new_debts": text(outcome.new_debts),
                    "cash_needed": text(outcome.cash_needed),
                }  # fmt: skip

    asyncio.run(run())


def test_what_the_desk_follows_is_not_for_customers_and_makes_sense(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (_, where), stream(where, "customer") as one, stream(where, "desk") as two:
            for socket, topic, code in (
                (one, "accounts", "forbidden"),
                (one, "accounts?owner=Ann", "forbidden"),
                (one, "accounts?sort=luck", "forbidden"),
                (one, "stress", "forbidden"),
                (one, "desk", "forbidden"),
                (two, "portfolio", "forbidden"),
                (two, "accounts?sort=luck", "bad_topic"),
                (two, "accounts?contract=NONE", "bad_topic"),
                (two, "accounts?search=%ff", "bad_topic"),
                (two, "stress?", "unknown_topic"),
                (two, "accountsx", "unknown_topic"),
            ):
                await say(socket, "subscribe", topic=topic)
                answer = await heard(socket)
                while answer["type"] == "ready":
                    answer = await heard(socket)
                assert (answer["type"], answer.get("code")) == ("error", code), topic
            await say(two, "subscribe", topic='accounts?search="')
            answer = await heard(two)
            assert (answer["type"], answer["topic"]) == ("snapshot", 'accounts?search="')

    asyncio.run(run())


def test_who_leaves_before_a_topic_is_worked_out_takes_it_from_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (_, where), stream(where, "desk") as stays:
            await heard(stays)
            async with stream(where, "desk") as leaves:
                await heard(leaves)
                await say(leaves, "subscribe", topic="stress")
                await say(stays, "subscribe", topic="stress")
            assert (await heard(stays))["type"] == "snapshot"

    asyncio.run(run())


def test_one_client_follows_a_few_lists_and_then_no_more(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (_, where), stream(where, "desk") as socket:
            await heard(socket)
            for number in range(1, streams.LISTS + 1):
                await say(socket, "subscribe", topic=f"accounts?n={number}")
                assert (await heard(socket))["type"] == "snapshot"
            await say(socket, "subscribe", topic="accounts?n=100")
            refused = await heard(socket)
            assert (refused["type"], refused["code"]) == ("error", "too_many_topics")
            await say(socket, "resume", topic="accounts?n=1")  # one that is followed is not one more
            assert (await heard(socket))["type"] == "snapshot"
            await say(socket, "unsubscribe", topic="accounts?n=1")
            await say(socket, "subscribe", topic="accounts?n=100")
            assert (await heard(socket))["type"] == "snapshot"

    asyncio.run(run())
