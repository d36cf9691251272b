"""The table of roles holds on every route, and the document for people says the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.service.api.harness import ROLES as NAMES
from tests.service.api.harness import running

from closeout.service.api import openapi
from closeout.service.api.guards import ROLES, as_markdown
from closeout.service.api.route import ROUTES

DOCS = Path(__file__).parents[3] / "docs"
VALUES = {
    "account_id": "A1", "contract": "MBT", "owner": "Ann", "order_id": "none", "receipt_id": "none", "seq": "1",
    "effect_id": "1.1",
    "alarm_id": "1.1", "proposal_id": "none", "release_id": "none", "name": "daily",
}  # fmt: skip


def test_every_route_stands_in_the_table_in_the_document_and_in_the_page_for_people() -> None:
    assert set(ROUTES) == set(ROLES)
    described = {
        (method.upper(), path)
        for path, operations in openapi.document()["paths"].items()
        for method in operations
    }  # fmt: skip
    assert described == set(ROLES)
    names = [route.name for route in ROUTES.values()]
    assert len(set(names)) == len(names)
    assert (DOCS / "api-roles.md").read_text(encoding="utf-8") == as_markdown()


@pytest.mark.rule("US-20")
def test_every_role_and_no_key_on_every_route(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            for (method, path), roles in ROLES.items():
                address = path.format(**VALUES)
                for role in (None, "nobody", *NAMES):
                    headers = {"Idempotency-Key": f"{role}"}
                    if role is not None:
                        headers["Authorization"] = f"Bearer {role}"
                    async with service.api(None) as client:
                        answer = await client.request(method, address, headers=headers)
                    what = f"{role} {method} {address}: {answer.status_code} {answer.text[:200]}"
                    if not roles or path == "/metrics":  # this client is on the machine itself
                        assert answer.status_code == 200, what
                    elif role not in NAMES:
                        assert answer.status_code == 401, what
                        assert answer.headers["www-authenticate"].startswith("Bearer"), what
                    elif role not in roles:
                        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), what
                    else:
                        assert answer.status_code not in (401, 403, 405), what
                        assert answer.status_code < 500, what

    asyncio.run(run())


def test_metrics_from_elsewhere_need_a_key(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, accounts=False) as service, service.api(None) as client:
            forwarded = await client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
            assert forwarded.status_code == 401
            async with service.api("auditor") as auditor:
                assert (await auditor.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})).status_code == 200

    asyncio.run(run())


def test_a_customer_finds_nothing_of_anybody_else(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            for (method, path), roles in ROLES.items():
                if "{account_id}" not in path or "customer" not in roles or method != "GET":
                    continue
                own = await service.send("customer", method, path.format(**VALUES))
                assert own.status_code == 200, (path, own.text)
                foreign = await service.send("customer", method, path.format(**VALUES | {"account_id": "A2"}))
                none = await service.send("customer", method, path.format(**VALUES | {"account_id": "A9"}))
                assert foreign.status_code == none.status_code == 404, path
                assert foreign.text.replace("A2", "A9") == none.text
            listed = (await service.send("customer", "GET", "/v1/accounts")).json()
            assert [item["account_id"] for item in listed["items"]] == ["A1"]
            refused = await service.send("customer", "POST", "/v1/accounts/A2/withdrawals", {"amount": "1"})
            assert (refused.status_code, refused.json()["code"]) == (404, "unknown_account")

    asyncio.run(run())
