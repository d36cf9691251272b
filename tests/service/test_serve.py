"""`closeout serve` as its configuration makes it: one close-out from the mark to a FIX counterparty and back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.adapters.venues.acceptor import Acceptor, Server

from closeout.service import parts
from closeout.service.access import make_key
from closeout.service.config import load_config

CONTRACT = "PBTCUCZ50"
ROLES = ("broker", "desk", "supervisor")
TOML = """
rulebook = "kraken-us:as_if_24x7"
listen = {{ port = 0 }}
service = {{ log_level = "error" }}
mail = {{ kind = "folder", addresses = "addresses.csv", desk = ["desk@firm.example"] }}

[venue]
kind = "fix"
host = "127.0.0.1"
port = {port}
tls = false
sender = "CLOSEOUT"
target = "VENUE"
firm = "FIRM"
secret_env = "FIX_PASSWORD"
api_key_env = "FIX_USER"

[contracts.{contract}]
venue_symbol = "BTC/USD"

{keys}"""


class Api:
    """The service over HTTP, as each of its people."""

    def __init__(self, url: str, keys: dict[str, str]) -> None:
        self.client, self.keys, self.number = httpx.AsyncClient(base_url=url), keys, 0

    async def __call__(self, role: str, method: str, path: str, **body: Any) -> dict[str, Any]:
        self.number += 1
        headers = {"Authorization": f"Bearer {self.keys[role]}", "Idempotency-Key": f"n{self.number}"}
        answer = await self.client.request(method, path, headers=headers, json=body or None)
        assert answer.is_success, answer.text
        return answer.json()

    async def until(self, role: str, path: str, true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        while not true(found := await self(role, "GET", path)):
            await asyncio.sleep(0.02)
        return found


async def serving(folder: Path, server: Server, scene: Callable[[Api], Awaitable[None]]) -> None:
    made = [make_key(role, f"{role} person", role) for role in ROLES]
    tables = "\n".join(key.as_table() for _, key in made)
    (folder / "addresses.csv").write_text("account_id,address\nA1,ann@customers.example\n")
    path = folder / "closeout.toml"
    path.write_text(TOML.format(port=server.port, contract=CONTRACT, keys=tables), encoding="utf-8")
    service = parts.serve(load_config(path))
    ready = asyncio.Event()
    running = asyncio.create_task(service.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        api = Api(service.server.address, {role: text for role, (text, _) in zip(ROLES, made, strict=True)})
        async with api.client, asyncio.timeout(60):
            await scene(api)
    finally:
        waiting.cancel()
        service.stop.set()
        await running


@pytest.mark.rule("G-16", "US-11")
def test_a_close_out_goes_to_the_counterparty_under_its_own_id_and_is_mailed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIX_USER", "us")
    monkeypatch.setenv("FIX_PASSWORD", "word")

    async def main() -> None:
        async with Server(Acceptor()) as server:
            acceptor = server.acceptor

            async def scene(api: Api) -> None:
                await server.until(lambda: acceptor.logged_on)
                await api("desk", "POST", f"/v1/contracts/{CONTRACT}/mark", price="65000", reason="the start")
                await api("broker", "POST", "/v1/accounts", account_id="A1", owner="Ann")
                await api("broker", "POST", "/v1/accounts/A1/deposits", amount="2000")
                order = {"contract": CONTRACT, "quantity": "10"}
                said = await api("broker", "POST", "/v1/accounts/A1/orders/check", order_id="o1", **order)
                assert said["approved"], said
                fill = {"order_id": "o1", "fill_id": "f1", "price": "65000"}
                await api("broker", "POST", "/v1/fills", account_id="A1", **order, **fill)
                server.write(acceptor.send("BB", [(909, "q1"), (1, "A1")]))
                await server.until(lambda: any(message[35] == "BA" for message in acceptor.handled))

                # Below zero, so that all of it goes in whatever margin window the test is run.
                await api("desk", "POST", f"/v1/contracts/{CONTRACT}/mark", price="45000", reason="the fall")
                await server.until(lambda: acceptor.orders)
                (order_id,) = acceptor.orders
                assert acceptor.orders[order_id].fields[38] == "10"
                server.write(acceptor.fill(order_id, "10", "45000", last=True))
                account = await api.until("desk", "/v1/accounts/A1", lambda found: not found["positions"])
                assert account["account"]["liquidations"] == 1
                # The store, where receipts are listed, follows the engine.
                listed = await api.until("desk", "/v1/accounts/A1/receipts", lambda found: found["items"])
                (receipt,) = listed["items"]
                assert order_id.startswith(receipt["receipt_id"])
                mails = tmp_path / "closeout-mail"
                while not any(receipt["receipt_id"] in mail.read_text() for mail in mails.glob("*.eml")):
                    await asyncio.sleep(0.02)

            await serving(tmp_path, server, scene)
            report = next(message for message in acceptor.handled if message[35] == "BA")
            logon = next(message for message in acceptor.admin if message[35] == "A")
            assert (report[909], report[448], report[900], report[901]) == ("q1", "FIRM", "1998.5", "1998.5")
            assert (logon[553], logon[554], logon[108]) == ("us", "word", "30")

    asyncio.run(main())
    with sqlite3.connect(tmp_path / "closeout.fix") as session:
        assert session.execute("SELECT name FROM session").fetchone() == ("FIX.4.4:CLOSEOUT->VENUE",)
