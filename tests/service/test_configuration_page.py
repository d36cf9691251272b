"""docs/configuration.md names every key with its default, and its examples are accepted."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.adapters.venues.acceptor import Acceptor, Server
from tests.adapters.venues.kraken import KEY, SECRET, Kraken

from closeout.service import config as c
from closeout.service import parts

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = DOCS / "examples" / "closeout.toml"
TABLES: dict[str, type[c.Section]] = {
    "At the top": c.Config,
    "[listen]": c.Listen,
    "[storage]": c.Storage,
    "[[feeds]]": c.FeedTable,
    "[contracts.NAME]": c.ContractTable,
    "[venue]": c.VenueTable,
    "[mail]": c.MailTable,
    "[[webhooks]]": c.WebhookTable,
    "[[keys]]": c.KeyTable,
    "[clock]": c.ClockTable,
    "[service]": c.ServiceTable,
}
SECRETS = ("DB_PASSWORD", "VENUE_KEY", "VENUE_SECRET", "VENUE_USER", "VENUE_PASSWORD", "MAIL_PASSWORD", "HOOK_SECRET")


def rows(heading: str) -> dict[str, str]:
    """The keys under a heading, with their defaults as the page has them."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([a-z_]+)` \| (\S.*?) \|", text, re.MULTILINE))


def default(field: msgspec.structs.FieldInfo) -> str:
    value: Any = field.default
    if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    return "none" if value is msgspec.NODEFAULT or value is None else f"`{json.dumps(value)}`"


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_names_every_key_with_its_default(heading: str) -> None:
    fields = list(msgspec.structs.fields(TABLES[heading]))
    if heading == "At the top":  # the tables have sections of their own; `where` is not for the file
        fields = [field for field in fields if field.name in ("rulebook", "overrides")]
    assert rows(heading) == {field.name: default(field) for field in fields}


def test_the_page_has_every_table() -> None:
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == list(TABLES)
    tables = {re.sub(r"[\[\]]|\.NAME", "", heading) for heading in list(TABLES)[1:]}
    assert tables == set(c.Config.__struct_fields__) - {"rulebook", "overrides", "where"}


def test_the_example_is_accepted_as_it_stands() -> None:
    config = c.load_config(EXAMPLE)
    parts.check(config)
    assert {feed.kind for feed in config.feeds} == {"kraken_futures", "kraken_spot", "coinbase"}
    assert {key.role for key in config.keys} == {"broker", "desk", "supervisor", "customer"}


def examples() -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", examples())
def test_the_examples_on_the_page_are_accepted(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(f"CLOSEOUT_{name}", "a secret")
    (tmp_path / "closeout.toml").write_text('rulebook = "kraken-us"\n' + text)
    parts.check(c.load_config(tmp_path / "closeout.toml"))


def test_the_examples_on_the_page_are_of_every_kind() -> None:
    told = [tomllib.loads(text) for text in examples()]
    assert {text["venue"]["kind"] for text in told if "venue" in text} == {"ccxt", "fix"}
    assert {name for text in told for name in text} == {"storage", "venue", "contracts", "mail", "webhooks"}


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
    service = parts.serve(c.load_config(folder / "closeout.toml"))
    begun = asyncio.Event()
    running = asyncio.create_task(service.run(begun.set))
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=service.server.address) as client:
        await begun.wait()
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


def test_a_service_with_a_venue_behind_fix_starts(tmp_path: Path) -> None:
    async def run() -> None:
        async with Server(Acceptor()) as server:
            await started(tmp_path, FIX.format(port=server.port))
            assert next(message[35] for message in server.acceptor.admin) == "A"

    asyncio.run(run())
