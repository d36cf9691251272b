"""A page, as a test plays it: a service behind a real server, and a WebSocket on which it follows topics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.service.api.harness import Service, running, served
from websockets.asyncio.client import ClientConnection, connect

from closeout.engine.commands import SessionChange


@asynccontextmanager
async def followed(folder: Path, **more: Any) -> AsyncGenerator[tuple[Service, str]]:
    async with running(folder, **more) as service:
        session = service.context.writer.engine.loaded.contracts["MBT"].session
        assert session is not None
        await service.put_in(SessionChange(session, "intraday", is_open=True))
        await service.mark({"MBT": 14_000})
        async with served(service) as where:
            yield service, where


def stream(where: str, key: str | None) -> connect:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return connect(f"ws://{where}/v1/stream", additional_headers=headers, compression=None)


async def heard(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await asyncio.wait_for(socket.recv(), 30))


async def say(socket: ClientConnection, kind: str, **more: Any) -> None:
    await socket.send(json.dumps({"type": kind, **more}))


def applied(document: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """What a page does with a frame."""
    if frame["type"] == "snapshot":
        return frame["data"]
    document = dict(document)
    for name, value in frame["data"].items():
        if isinstance(value, dict) and set(value) == {"rows", "order"}:
            rows = {row["account_id"]: row for row in [*document[name], *value["rows"]]}
            document[name] = [rows[account_id] for account_id in value["order"]]
        else:
            document[name] = value
    return document


async def buy(service: Service, account_id: str = "A1") -> None:
    fill = {"account_id": account_id, "contract": "MBT", "quantity": "1", "price": "70000", "order_id": "x",
            "fill_id": f"f-{account_id}-{service.context.writer.seq}"}  # fmt: skip
    assert (await service.send("broker", "POST", "/v1/fills", fill)).status_code == 200


def calls_of(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[None]:
    """An entry for each call of a module's function from now on."""
    calls: list[None] = []
    function = getattr(module, name)

    def counting(*given: Any) -> Any:
        calls.append(None)
        return function(*given)

    monkeypatch.setattr(module, name, counting)
    return calls
