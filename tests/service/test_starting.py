"""A configuration with each kind of venue starts, and the service becomes ready."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.adapters.venues.acceptor import Acceptor, Server
from tests.adapters.venues.kraken import KEY, SECRET, Kraken

from closeout.core.units import InputError
from closeout.service import parts
from closeout.service.config import load_config

SIMULATED = ""
CCXT = """
[venue]
kind = "ccxt"
exchange = "krakenfutures"
url = "{url}"
api_key_env = "CLOSEOUT_VENUE_KEY"
secret_env = "CLOSEOUT_VENUE_SECRET"

[contracts.PBTCUCZ50]
venue_symbol = "PF_XBTUSD"
"""
FIX = """
[venue]
kind = "fix"
host = "127.0.0.1"
port = {port}
tls = false
sender = "CLOSEOUT"
target = "VENUE"

[contracts.PBTCUCZ50]
venue_symbol = "BTC-PERP"
"""


async def started(folder: Path, text: str) -> dict[str, Any]:
    """The health of a service with this configuration once it is ready; half a minute means that it never is."""
    (folder / "closeout.toml").write_text('rulebook = "kraken-us"\n[listen]\nport = 0\n' + text)
    service = parts.serve(load_config(folder / "closeout.toml"))
    begun = asyncio.Event()
    running = asyncio.create_task(service.run(begun.set))
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=service.server.address) as client:
        await asyncio.wait({asyncio.ensure_future(begun.wait()), running}, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), running.exception()
        while (response := await client.get("/health")).status_code != 200:
            await asyncio.sleep(0.02)
        service.stop.set()
        await running
    return response.json()


def test_a_service_with_the_simulated_venue_starts(tmp_path: Path) -> None:
    assert asyncio.run(started(tmp_path, SIMULATED))["checks"]["venue"] == ""


def test_a_service_with_a_venue_behind_ccxt_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOSEOUT_VENUE_KEY", KEY)
    monkeypatch.setenv("CLOSEOUT_VENUE_SECRET", SECRET)

    async def run() -> None:
        async with Kraken() as kraken:
            await started(tmp_path, CCXT.format(url=kraken.url))
            assert kraken.requests

    asyncio.run(run())


def test_a_market_that_the_exchange_does_not_have_ends_the_service_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOSEOUT_VENUE_KEY", KEY)
    monkeypatch.setenv("CLOSEOUT_VENUE_SECRET", SECRET)

    async def run() -> None:
        async with Kraken() as kraken:
            text = CCXT.format(url=kraken.url).replace("PF_XBTUSD", "PF_NOTHING")
            (tmp_path / "closeout.toml").write_text('rulebook = "kraken-us"\n[listen]\nport = 0\n' + text)
            service = parts.serve(load_config(tmp_path / "closeout.toml"))
            with pytest.raises(InputError, match="PBTCUCZ50: the exchange has no market PF_NOTHING"):
                await service.run(lambda: None)

    asyncio.run(run())


def test_a_service_with_a_venue_behind_fix_starts(tmp_path: Path) -> None:
    async def run() -> None:
        async with Server(Acceptor()) as server:
            await started(tmp_path, FIX.format(port=server.port))
            assert next(message[35] for message in server.acceptor.admin) == "A"

    asyncio.run(run())
