"""A service small enough for a test: a real writer on a real journal and store, the API over it, a few accounts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from closeout.engine.commands import AnyCommand, LoadRulebook
from closeout.engine.engine import Engine
from closeout.journal.journal import Journal
from closeout.journal.records import document_digest
from closeout.rulebooks.loader import Rulebook, load
from closeout.service.api.app import build
from closeout.service.applied import Batch
from closeout.service.context import Context
from closeout.service.store import Store
from closeout.service.writer import Writer, key_hash

START = 1_770_300_000_000_000_000  # 2026-02-05T14:00:00Z, a Thursday
ROLES = ("customer", "broker", "desk", "supervisor", "auditor")
ACCOUNTS = ("A1", "A2", "A3")


@dataclass(frozen=True)
class Key:
    key_id: str
    name: str
    role: str
    accounts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Allowance:
    allowed: bool
    limit: int
    remaining: int
    reset: int


@dataclass
class Access:
    """Keys in the clear; the token is the key's id."""

    keys: dict[str, Key]
    per_minute: int = 1_000_000
    spent: dict[str, int] = field(default_factory=dict)

    def check(self, token: str) -> Key | None:
        return self.keys.get(token)

    def spend(self, key: Any) -> Allowance:
        spent = self.spent[key.key_id] = self.spent.get(key.key_id, 0) + 1
        return Allowance(spent <= self.per_minute, self.per_minute, max(0, self.per_minute - spent), 60)


class HandClock:
    """Time stands until it is moved."""

    speed = 1.0

    def __init__(self) -> None:
        self.time = START

    def now(self) -> int:
        return self.time

    async def sleep(self, nanoseconds: int) -> None:
        self.time += nanoseconds


def keys() -> dict[str, Key]:
    found = {role: Key(role, f"{role} person", role) for role in ROLES}
    found["customer"] = Key("customer", "Ann", "customer", frozenset({"A1"}))
    found["other"] = Key("other", "Bob", "customer", frozenset({"A2"}))
    found["second"] = Key("second", "second supervisor", "supervisor")
    return found


@dataclass
class Service:
    """One running service. `api(key)` is a client that speaks as that key."""

    context: Context
    app: Any
    clock: HandClock
    access: Access
    faults: list[BaseException]
    lag: asyncio.Queue[Batch | None]
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def api(self, key: str | None = "broker") -> httpx.AsyncClient:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://closeout.test", headers=headers)

    async def send(
        self, key: str, method: str, path: str, body: Any = None, *, idempotency: str | None = None, **more: Any
    ) -> httpx.Response:
        """One request as `key`; what writes gets an idempotency key of its own unless one is given."""
        headers: dict[str, str] = dict(more.pop("headers", {}))
        if method != "GET":
            headers.setdefault("Idempotency-Key", idempotency or f"test-{next(self.numbers)}")
        async with self.api(key) as client:
            return await client.request(method, path, json=body, headers=headers, **more)

    async def put_in(self, *commands: AnyCommand) -> None:
        """Commands past the API; they must not be rejected."""
        outcome = await self.context.writer.offer("test", *commands)
        assert outcome.rejected is None, outcome.rejected

    async def mark(self, prices: Mapping[str, int]) -> None:
        self.context.writer.offer_marks("feed:test", prices)
        await self.context.writer.settled()

    async def projected(self) -> None:
        """Wait until the store has everything that was applied."""
        await self.context.writer.settled()
        await self.lag.join()


@asynccontextmanager
async def running(
    folder: Path, *, rulebook: str = "kraken-us", accounts: bool = True, **overrides: Any
) -> AsyncGenerator[Service, None]:
    """Start on the journal in `folder`, making it where there is none; stop in order."""
    book = load(rulebook)
    clock, faults = HandClock(), list[BaseException]()
    thread = ThreadPoolExecutor(1)
    store = Store.open(f"sqlite:///{folder / 'store.sqlite'}")
    loop = asyncio.get_running_loop()
    fresh = not (folder / "journal.sqlite").exists()
    journal, engine, last = await loop.run_in_executor(thread, _open, folder / "journal.sqlite", book, fresh)
    hashes = {key_hash(source, key) for source, key in store.reply_keys()}
    writer = Writer(engine, journal, last, clock, thread, replies=store, keys=hashes)
    lag: asyncio.Queue[Batch | None] = asyncio.Queue()
    writer.subscribers.append(lag.put_nowait)
    access = Access(keys())
    context = Context(
        writer=writer, store=store, access=access, clock=clock, rulebook=book,
        failed=lambda where, error: faults.append(error), **overrides,
    )  # fmt: skip
    service = Service(context, build(context), clock, access, faults, lag)
    tasks = [asyncio.create_task(writer.run()), asyncio.create_task(_project(store, lag))]
    try:
        async with service.app.lifespan():
            if fresh:
                await service.put_in(LoadRulebook(book.document()))
                if accounts:
                    await populate(service)
            yield service
    finally:
        writer.stop()
        await tasks[0]
        lag.put_nowait(None)
        await tasks[1]
        await loop.run_in_executor(thread, journal.close)
        thread.shutdown()
        store.close()
    assert not faults, faults


def _open(path: Path, book: Rulebook, fresh: bool) -> tuple[Journal, Engine, int]:
    if fresh:
        digest = document_digest(book.document())
        return Journal.create(path, engine_version=Engine.version, rulebook_digest=digest), Engine(), 0
    journal = Journal.open(path)
    return journal, *journal.recover(Engine)


async def _project(store: Store, lag: asyncio.Queue[Batch | None]) -> None:
    while (batch := await lag.get()) is not None:
        await asyncio.to_thread(store.project, batch)
        lag.task_done()


async def populate(service: Service) -> None:
    """Three accounts with money, through the API."""
    for account_id in ACCOUNTS:
        opened = await service.send("broker", "POST", "/v1/accounts", {"account_id": account_id, "owner": "Ann & Co"})
        assert opened.status_code == 201, opened.text
        path = f"/v1/accounts/{account_id}/deposits"
        assert (await service.send("broker", "POST", path, {"amount": "10000.00"})).status_code == 200


@asynccontextmanager
async def served(service: Service) -> AsyncGenerator[str, None]:
    """The same application behind a real server on a free port; yields ``127.0.0.1:PORT``."""
    config = uvicorn.Config(
        service.app, port=0, lifespan="off", log_level="warning", ws="websockets-sansio",
        ws_per_message_deflate=False, ws_max_size=2**16, access_log=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await task
