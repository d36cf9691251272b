"""Money, orders and fills through the API (US-06, US-07, US-16)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.service.api.harness import Service, running

from closeout.engine.commands import SessionChange

ORDER = {"order_id": "o1", "contract": "MBT", "quantity": "1", "limit_price": None}


async def with_marks(service: Service) -> None:
    """MBT, a tenth of a bitcoin, at 70,000 in the intraday window."""
    session = service.context.writer.engine.loaded.contracts["MBT"].session
    assert session is not None
    await service.put_in(SessionChange(session, "intraday", is_open=True))
    await service.mark({"MBT": 14_000})


@pytest.mark.rule("US-07", "US-01")
def test_an_order_is_checked_filled_and_seen_in_the_assessment(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await with_marks(service)
            answer = await service.send("broker", "POST", "/v1/accounts/A1/orders/check", ORDER)
            found = answer.json()
            assert answer.status_code == 200, found
            assert found["approved"], found
            assert found["before"] == "0.00"
            assert found["after"] == found["change"] != "0.00"
            assert found["available"] == "10000.00"
            fill = {
                "account_id": "A1", "contract": "MBT", "quantity": "1", "price": "70000",
                "order_id": "o1", "fill_id": "f1",
            }  # fmt: skip
            booked = await service.send("broker", "POST", "/v1/fills", fill)
            assert booked.status_code == 200, booked.text
            assert booked.json()["seq"] == found["seq"] + 1
            seen = await service.send("customer", "GET", "/v1/accounts/A1")
            assert seen.headers["etag"] == f'"{found["seq"] + 1}"'
            [position] = seen.json()["positions"]
            assert (position["contract"], position["quantity"]) == ("MBT", "1")
            assert seen.json()["account"]["working_orders"] == []

    asyncio.run(run())


@pytest.mark.rule("US-07")
def test_a_preview_answers_what_the_check_does_and_books_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await with_marks(service)
            image = service.context.writer.engine.snapshot()
            path = "/v1/accounts/A1/orders"
            large = {**ORDER, "quantity": "100"}
            previews = [
                (await service.send("customer", "POST", f"{path}/preview", body)).json() for body in (ORDER, large)
            ]
            assert service.context.writer.engine.snapshot() == image
            assert [preview["approved"] for preview in previews] == [True, False]
            for body, preview in zip((ORDER, large), previews, strict=True):
                checked = (await service.send("customer", "POST", f"{path}/check", {**body})).json()
                assert {key: checked[key] for key in preview if key not in ("before", "after")} == {
                    key: preview[key] for key in preview if key not in ("before", "after")
                }
                await service.send("customer", "DELETE", f"{path}/{body['order_id']}")

    asyncio.run(run())


def test_an_order_is_cancelled_by_its_owner_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await with_marks(service)
            assert (await service.send("customer", "POST", "/v1/accounts/A1/orders/check", ORDER)).json()["approved"]
            foreign = await service.send("other", "DELETE", "/v1/accounts/A2/orders/o1")
            assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_order")
            own = await service.send("customer", "DELETE", "/v1/accounts/A1/orders/o1", idempotency="c1")
            assert own.status_code == 200, own.text
            again = await service.send("customer", "DELETE", "/v1/accounts/A1/orders/o1", idempotency="c1")
            assert again.json() == own.json()
            assert again.headers["idempotent-replayed"] == "true"
            gone = await service.send("customer", "DELETE", "/v1/accounts/A1/orders/o1")
            assert (gone.status_code, gone.json()["code"]) == (409, "unknown_order")

    asyncio.run(run())


@pytest.mark.rule("US-16")
def test_money_goes_out_up_to_what_is_withdrawable(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            path = "/v1/accounts/A1/withdrawals"
            refused = await service.send("customer", "POST", path, {"amount": "10000.01"})
            assert (refused.status_code, refused.json()["code"]) == (409, "exceeds_withdrawable")
            assert (await service.send("customer", "POST", path, {"amount": "10000.00"})).status_code == 200
            seen: dict[str, Any] = (await service.send("customer", "GET", "/v1/accounts/A1")).json()
            assert seen["account"]["cash"] == "0.00"

    asyncio.run(run())


@pytest.mark.rule("US-06")
def test_the_toggle_asks_new_orders_for_initial_margin(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await with_marks(service)
            path = "/v1/accounts/A1/orders/preview"
            with_intraday = (await service.send("customer", "POST", path, ORDER)).json()
            setting = "/v1/accounts/A1/settings/validation"
            assert (await service.send("customer", "PUT", setting, {"with_intraday": False})).status_code == 200
            with_initial = (await service.send("customer", "POST", path, ORDER)).json()
            assert float(with_initial["after"]) > float(with_intraday["after"])
            assert (await service.send("customer", "GET", "/v1/accounts/A1")).json()["account"][
                "validate_with_intraday"
            ] is False

    asyncio.run(run())
