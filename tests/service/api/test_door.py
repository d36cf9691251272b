"""What is turned away before it does anything, and what happens once however often it is sent (G-09)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.api.harness import Service, running

from closeout.engine.commands import OpenAccount
from closeout.service.access import Gate, make_key
from closeout.service.store import Query
from closeout.service.store.records import AuditEntry

DEPOSITS = "/v1/accounts/A1/deposits"


async def cash(service: Service) -> str:
    return (await service.send("broker", "GET", "/v1/accounts/A1")).json()["account"]["cash"]


@pytest.mark.rule("G-09")
def test_a_key_acts_once_also_after_a_restart(tmp_path: Path) -> None:
    async def before() -> httpx.Response:
        async with running(tmp_path) as service:
            first = await service.send("broker", "POST", DEPOSITS, {"amount": "5.00"}, idempotency="d1")
            again = await service.send("broker", "POST", DEPOSITS, {"amount": "5.00"}, idempotency="d1")
            assert "idempotent-replayed" not in first.headers
            assert again.headers["idempotent-replayed"] == "true"
            assert again.content == first.content
            other = await service.send("broker", "POST", DEPOSITS, {"amount": "6.00"}, idempotency="d1")
            assert (other.status_code, other.json()["code"]) == (422, "key_reused")
            refused = await service.send("broker", "POST", DEPOSITS, {"amount": "0"}, idempotency="d2")
            assert (refused.status_code, refused.json()["code"]) == (409, "out_of_bounds")
            assert await cash(service) == "10005.00"
            await service.projected()
            return first

    async def after(first: httpx.Response) -> None:
        async with running(tmp_path) as service:
            again = await service.send("broker", "POST", DEPOSITS, {"amount": "5.00"}, idempotency="d1")
            assert again.content == first.content
            assert again.headers["idempotent-replayed"] == "true"
            other = await service.send("broker", "POST", DEPOSITS, {"amount": "6.00"}, idempotency="d1")
            assert other.status_code == 422
            refused = await service.send("broker", "POST", DEPOSITS, {"amount": "0"}, idempotency="d2")
            assert (refused.status_code, refused.json()["code"]) == (409, "out_of_bounds")
            assert await cash(service) == "10005.00"

    asyncio.run(after(asyncio.run(before())))


@pytest.mark.rule("G-09")
def test_the_same_key_sent_at_once_acts_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            sent = [service.send("broker", "POST", DEPOSITS, {"amount": "5.00"}, idempotency="d1") for _ in range(20)]
            statuses = {answer.status_code for answer in await asyncio.gather(*sent)}
            assert statuses <= {200, 409}
            assert await cash(service) == "10005.00"

    asyncio.run(run())


BAD_BODIES: list[tuple[bytes, str]] = [
    (b"", "bad_request"),
    (b"{", "bad_request"),
    (b'{"amount": "\xff"}', "bad_request"),
    (b"[" * 60_000, "validation"),
    (b'{"amount": ' + b"[" * 60_000, "validation"),
    (b'{"amount": 5}', "validation"),
    (b'{"amount": 1e999}', "validation"),
    (b'{"amount": "1e5"}', "validation"),
    (b'{"amount": "-1"}', "validation"),
    (b'{"amount": "NaN"}', "validation"),
    (b'{"amount": "1\\n"}', "validation"),
    (b'{"amount": "\\u0000"}', "validation"),
    (b'{"amount": "0.0000001"}', "validation"),
    (b'{"amount": "999999999999999999"}', "validation"),
    (b'{"amount": "' + b"9" * 60_000 + b'"}', "validation"),
    (b'{"amount": "1", "sum": "1"}', "validation"),
    (b"{}", "validation"),
    (b"null", "validation"),
]


@pytest.mark.parametrize(("body", "code"), BAD_BODIES, ids=[str(body[:24]) for body, _ in BAD_BODIES])
def test_a_bad_body_is_named_and_does_nothing(tmp_path: Path, body: bytes, code: str) -> None:
    async def run() -> None:
        async with running(tmp_path) as service, service.api("broker") as client:
            seq = service.context.writer.seq
            headers = {"Idempotency-Key": "k", "Content-Type": "application/json; charset=utf-8"}
            answer = await client.post(DEPOSITS, content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert service.context.writer.seq == seq

    asyncio.run(run())


@pytest.mark.parametrize(
    ("what", "status", "code"),
    [
        ({"headers": {"Content-Type": "application/json"}}, 400, "key_missing"),
        ({"headers": {"Idempotency-Key": "x" * 129, "Content-Type": "application/json"}}, 400, "validation"),
        ({"headers": {"Idempotency-Key": "k", "Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"headers": {"Idempotency-Key": "k"}}, 415, "unsupported_media_type"),
        ({"params": {"verbose": "1"}}, 400, "validation"),
        ({"path": "/v1/accounts/A1%00/deposits"}, 400, "validation"),
        ({"path": "/v1/accounts/%FF/deposits"}, 400, "validation"),
        ({"path": f"/v1/accounts/{'A' * 300}/deposits"}, 400, "validation"),
        ({"path": "/v1/accounts/A9/deposits"}, 404, "unknown_account"),
        ({"path": "/v1/account"}, 404, "not_found"),
        ({"path": "/v1"}, 404, "not_found"),
        ({"path": "/nothing"}, 404, "not_found"),
        ({"method": "PATCH"}, 405, "method_not_allowed"),
        ({"content": b'{"amount": "' + b"1" * 2**16 + b'"}'}, 413, "body_too_large"),
    ],
    ids=str,
)
def test_what_is_turned_away_says_why(tmp_path: Path, what: dict[str, Any], status: int, code: str) -> None:
    async def run() -> None:
        async with running(tmp_path) as service, service.api("broker") as client:
            seq = service.context.writer.seq
            headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
            given = {"content": b'{"amount": "1"}', "headers": headers, **what}
            answer = await client.request(given.pop("method", "POST"), given.pop("path", DEPOSITS), **given)
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
            assert answer.json()["status"] == status
            assert service.context.writer.seq == seq

    asyncio.run(run())


def test_a_body_that_does_not_say_its_length_is_cut_off(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes, None]:
        nonlocal sent
        while sent < 10 * 2**20:
            sent += 2**14
            yield b" " * 2**14

    async def run() -> None:
        async with running(tmp_path) as service, service.api("broker") as client:
            headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
            answer = await client.post(DEPOSITS, content=endless(), headers=headers)
            assert answer.status_code == 413
            assert sent <= 2**17

    asyncio.run(run())


def test_pointers_name_the_field(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            cases: list[tuple[str, Any, str]] = [
                ("/v1/accounts", {"account_id": "B1", "leverage": {"MBT": 5}}, "/leverage"),
                ("/v1/accounts", {}, "/account_id"),
                ("/v1/accounts/A1/orders/check", {"order_id": "o", "contract": "MBT", "quantity": "1.5"}, "/quantity"),
                (
                    "/v1/accounts/A1/orders/check",
                    {"order_id": "o", "contract": "MBT", "quantity": "1", "limit_price": "70001"},
                    "/limit_price",
                ),
            ]
            for path, body, pointer in cases:
                answer = await service.send("broker", "POST", path, body)
                assert (answer.status_code, answer.json().get("pointer")) == (400, pointer), answer.text

    asyncio.run(run())


def test_a_key_has_so_many_requests_a_minute(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            service.access.per_minute = service.access.spent["broker"] + 2
            allowed = [await service.send("broker", "GET", "/v1/me") for _ in range(2)]
            assert [answer.headers["ratelimit-remaining"] for answer in allowed] == ["1", "0"]
            refused = await service.send("broker", "GET", "/v1/me")
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) > 0
            assert (await service.send("desk", "GET", "/v1/me")).status_code == 200

    asyncio.run(run())


def test_a_full_queue_and_a_stopping_service_say_come_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            service.context.writer.queue_limit = 0
            busy = await service.send("broker", "POST", DEPOSITS, {"amount": "1"}, idempotency="b")
            assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (503, "busy", "1")
            service.context.writer.queue_limit = 10
            later = await service.send("broker", "POST", DEPOSITS, {"amount": "1"}, idempotency="b")
            assert later.status_code == 200
            service.context.writer.stop()
            stopping = await service.send("broker", "POST", DEPOSITS, {"amount": "1"})
            assert (stopping.status_code, stopping.json()["code"]) == (503, "stopping")

    asyncio.run(run())


def test_writes_and_denials_are_in_the_access_log(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            done = await service.send("broker", "POST", DEPOSITS, {"amount": "1"})
            await service.send("desk", "POST", DEPOSITS, {"amount": "1"})
            await service.send("nobody", "GET", "/v1/me")
            await service.send("broker", "GET", "/v1/me")
            await asyncio.sleep(1.5)
            store = service.context.store
            entries = store.page(AuditEntry, Query(newest_first=True, limit=3)).items
            assert [(e.key_id, e.method, e.path, e.status, e.seq) for e in reversed(entries)] == [
                ("broker", "POST", DEPOSITS, 200, done.json()["seq"]),
                ("desk", "POST", DEPOSITS, 403, None),
                ("", "GET", "/v1/me", 401, None),
            ]
            listed = (await service.send("auditor", "GET", "/v1/audit", params={"limit": 500})).json()
            assert listed["items"][-1]["status"] == 401

    asyncio.run(run())


def test_an_isolated_position_is_found_by_its_whole_id(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await service.put_in(OpenAccount("A1/MBT", parent="A1"))
            own = await service.send("customer", "GET", "/v1/accounts/A1%2FMBT")
            assert (own.status_code, own.json()["account_id"]) == (200, "A1/MBT")
            assert own.json()["account"]["parent"] == "A1"
            assert (await service.send("other", "GET", "/v1/accounts/A1%2FMBT")).status_code == 404

    asyncio.run(run())


def test_an_isolated_position_is_opened_under_its_accounts_id_and_only_there(tmp_path: Path) -> None:
    """Lists, events and mail know by the id whose it is."""

    async def run() -> None:
        async with running(tmp_path) as service:
            for account_id, parent in (
                ("A1/MBT", "A1"), ("A1/", "A1"), ("B", "A1"), ("A2/MBT", "A1"), ("A1/x/y", "A1/x"), ("A1/y", None),
            ):  # fmt: skip
                body = {"account_id": account_id, "parent": parent}
                opened = await service.send("broker", "POST", "/v1/accounts", body)
                assert opened.status_code == (201 if account_id == "A1/MBT" else 400), (account_id, opened.text)
            assert (await service.send("customer", "GET", "/v1/accounts/A1%2FMBT")).status_code == 200

    asyncio.run(run())


def test_health_says_what_is_lacking(tmp_path: Path) -> None:
    async def run() -> None:
        checks = {"store": "", "venue": ""}
        async with running(tmp_path, accounts=False, ready=lambda: checks) as service:
            ready = await service.send("broker", "GET", "/health")
            assert (ready.status_code, ready.json()["status"]) == (200, "ready")
            checks["venue"] = "not connected"
            lacking = await service.send("broker", "GET", "/health")
            assert (lacking.status_code, lacking.json()["checks"]["venue"]) == (503, "not connected")

    asyncio.run(run())


def test_a_key_of_the_configuration_opens_and_a_changed_one_does_not(tmp_path: Path) -> None:
    async def run() -> None:
        token, key = make_key("ann", "Ann", "customer", ["A1"], per_minute=5)
        async with running(tmp_path) as service:
            service.context.access = Gate([key])
            me = await service.send(token, "GET", "/v1/me")
            assert me.json() == {"key_id": "ann", "name": "Ann", "role": "customer", "accounts": ["A1"]}
            assert (me.headers["ratelimit-limit"], me.headers["ratelimit-remaining"]) == ("5", "4")
            assert (await service.send(token, "GET", "/v1/accounts/A1")).status_code == 200
            assert (await service.send(token, "GET", "/v1/accounts/A2")).status_code == 404
            assert (await service.send(token[:-1] + "x", "GET", "/v1/me")).status_code == 401
            statuses = [(await service.send(token, "GET", "/v1/me")).status_code for _ in range(3)]
            assert statuses == [200, 200, 429]

    asyncio.run(run())


def test_accounts_are_filtered(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await service.put_in(OpenAccount("A1/MBT", parent="A1"), OpenAccount("B1", owner="Bob"))
            await service.send("desk", "POST", "/v1/accounts/A2/desk", {"action": "hold", "reason": "x"})
            for query, ids in (
                ({}, ["A1", "A2", "A3", "B1"]),
                ({"owner": "Bob"}, ["B1"]),
                ({"owner": "Nobody"}, []),
                ({"flag": "held"}, ["A2"]),
                ({"level": "normal"}, ["A1", "A2", "A3", "B1"]),
                ({"level": "liquidating"}, []),
                ({"flag": "held", "owner": "Bob"}, []),
            ):
                listed = await service.send("desk", "GET", "/v1/accounts", params=query)
                assert [item["account_id"] for item in listed.json()["items"]] == ids, query
            bad = await service.send("desk", "GET", "/v1/accounts", params={"flag": "tall"})
            assert (bad.status_code, bad.json()["pointer"]) == (400, "flag")

    asyncio.run(run())
