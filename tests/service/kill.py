"""The world around a service that is killed: an exchange, a venue, a mail server and customers, which all live on.

They are in the test's process; the service is `closeout serve` in its own, and hears of a kill as little as it would in
an outage.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
from aiosmtpd.smtp import SMTP, Envelope, Session
from tests.adapters.feeds.exchange import Exchange, KrakenFuturesVenue
from tests.adapters.notices.servers import mail_server
from tests.adapters.venues.acceptor import Acceptor, Server
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from closeout.service.access import make_key

CONTRACT, PRODUCT, SYMBOL = "PBTCUCZ50", "PF_XBTUSD", "BTC-PERP"
ACCOUNTS = [f"K{number:02d}" for number in range(12)]
NOT_NOW = (429, 503)
"""Answers that say that nothing has happened."""


class Market(Exchange):
    """An exchange whose mark goes up and down by a seventh, or stands still; whoever connects hears it at once."""

    def __init__(self) -> None:
        super().__init__(KrakenFuturesVenue((PRODUCT,)))
        self.still = False

    @property
    def price(self) -> int:
        """On the contract's tick, and no dearer than it was cheap a second and a half ago."""
        place = 0.25 if self.still else time.monotonic() / 3 % 1
        return 6000 + 5 * round(160 * (abs(4 * place - 2) - 1))

    async def _serve(self, connection: ServerConnection) -> None:
        venue = KrakenFuturesVenue((PRODUCT,))
        self.connections += 1
        try:
            for message in venue.greet():
                await connection.send(message)
            while not venue.ready():
                for reply in venue.answer(json.loads(await connection.recv())):
                    await connection.send(reply)
            while True:
                now = time.time_ns() // 1_000_000
                ticker = {"feed": "ticker", "product_id": PRODUCT, "time": now, "markPrice": self.price}
                await connection.send(json.dumps(ticker))
                await asyncio.sleep(0.02)
        except ConnectionClosed:
            pass


class Counterparty:
    """The venue: an acceptor that takes every order, says so a little later, and fills it in one or two pieces."""

    def __init__(self, market: Market, chance: random.Random) -> None:
        self.acceptor, self.market, self.chance = Acceptor(answers_orders=False), market, chance
        self.server = Server(self.acceptor)
        self.server.arriving = self._arriving
        self.orders: list[tuple[str, bool]] = []
        """ClOrdID of every order that came, and whether it was flagged as a possible duplicate."""
        self.executions: dict[str, tuple[str, int, int]] = {}
        """By fill id: ClOrdID, signed quantity and price."""
        self._filling: set[asyncio.Task[None]] = set()

    def _arriving(self, message: dict[int, str]) -> bool:
        if message[35] == "D":
            self.orders.append((message[11], message.get(43) == "Y"))
        return True

    async def run(self) -> None:
        begun: set[str] = set()
        while True:
            for order_id in self.acceptor.orders.keys() - begun:
                begun.add(order_id)
                self._filling.add(asyncio.create_task(self._fill(order_id)))
            await asyncio.sleep(0.005)

    async def _fill(self, order_id: str) -> None:
        order = self.acceptor.orders[order_id]
        fields = order.fields
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        self.server.write(self.acceptor.told(order, "0"))
        whole = int(fields[38])
        first = whole // 2 if self.chance.random() < 0.5 else 0
        for quantity in [first, whole - first] if first else [whole]:
            await asyncio.sleep(self.chance.uniform(0, 0.3))
            last, price = quantity == whole - first, self.market.price
            message = self.acceptor.fill(order_id, str(quantity), str(price), last=last)
            said = re.findall(rb"\x0117=([^\x01]*)", message)[0].decode()
            signed = quantity if fields[54] == "1" else -quantity
            self.executions[f"{order_id}-{said}"] = (order_id, signed, price)
            self.server.write(message)


@dataclass
class MailBox:
    """Takes mail, and says so a little later: a process that is killed meanwhile cannot know."""

    copies: Counter[str] = field(default_factory=Counter)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.copies[message_from_bytes(envelope.content)["Message-ID"]] += 1
        await asyncio.sleep(0.1)
        return "250 yes"


@dataclass
class Answer:
    """What was acknowledged: the request, and the answer that must stand."""

    key: str
    path: str
    body: dict[str, str]
    status: int
    document: dict[str, Any]


@dataclass
class World:
    """Everything outside, and the service as a process. `logs` is where its standard error goes."""

    folder: Path
    port: int
    broker: str
    market: Market
    venue: Counterparty
    mail: MailBox
    http: httpx.AsyncClient
    process: asyncio.subprocess.Process | None = None
    acknowledged: list[Answer] = field(default_factory=list)
    counted: int = 0
    """Mails that the processes so far said may have arrived twice."""
    resting: bool = False

    # -- the process -------------------------------------------------------------------------------

    async def spawn(self) -> None:
        config = str(self.folder / "closeout.toml")
        command = [sys.executable, "-m", "closeout.cli", "serve", "--config", config, "--json"]
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=log
            )  # fmt: skip

    async def ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(120):
            line = await self.process.stdout.readline()
        assert line, (self.folder / "log").read_text()[-3000:]
        assert json.loads(line)["url"].endswith(f":{self.port}")

    async def kill(self, *, counting: bool = True) -> None:
        assert self.process is not None
        if counting:
            self.counted += await self.possible_copies()
        self.process.kill()
        await self.process.wait()

    async def possible_copies(self) -> int:
        text = (await self.http.get("/metrics")).text
        return int(float(re.findall(r"^closeout_mail_possible_second_copies_total (\S+)$", text, re.MULTILINE)[0]))

    async def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(120):
            return await self.process.wait()

    # -- the customers -----------------------------------------------------------------------------

    async def ask(self, path: str) -> Any:
        response = await self.http.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def write(self, key: str, path: str, body: dict[str, str]) -> Answer:
        """Ask until there is an answer, under the same key: what was not answered may or may not have happened."""
        while True:
            try:
                response = await self.http.post(path, json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                await asyncio.sleep(0.02)
                continue
            document = response.json()
            if response.status_code in NOT_NOW or document.get("code") == "key_busy":
                await asyncio.sleep(0.02)
                continue
            assert response.status_code < 500, document
            return Answer(key, path, body, response.status_code, document)

    async def customer(self, account_id: str, chance: random.Random) -> None:
        """One customer's broker: opens the account, then money, orders, fills and positions, one after the other."""
        path = f"/v1/accounts/{account_id}"
        number = 0

        async def act(path: str, **body: str) -> Answer:
            nonlocal number
            number += 1
            answer = await self.write(f"{account_id}-{number}", path, body)
            self.acknowledged.append(answer)
            return answer

        await act("/v1/accounts", account_id=account_id)
        while not self.resting:
            await act(f"{path}/deposits", amount=str(chance.randint(3000, 9000)))
            side = chance.choice((-1, 1))
            price = str(self.market.price)
            await act(f"{path}/positions", contract=CONTRACT, quantity=str(side * 1000), entry_price=price)
            order_id, quantity = f"{account_id}-o{number}", str(side * chance.randint(1, 50))
            order = await act(f"{path}/orders/check", order_id=order_id, contract=CONTRACT, quantity=quantity)
            if order.document.get("approved"):
                fill = {"account_id": account_id, "order_id": order_id, "fill_id": f"{order_id}-f"}
                await act("/v1/fills", **fill, contract=CONTRACT, quantity=quantity, price=price)
            await asyncio.sleep(chance.uniform(0, 0.2))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


CONFIG = """
rulebook = "kraken-us:as_if_24x7"

[listen]
port = {port}

[storage]
snapshot_every = 300

[venue]
kind = "fix"
host = "127.0.0.1"
port = {fix}
tls = false
sender = "CLOSEOUT"
target = "VENUE"
patience_seconds = 1.0

[[feeds]]
name = "kraken"
kind = "kraken_futures"
url = "{feed}"

[contracts.{contract}]
sources = [{{ feed = "kraken", market = "{product}" }}]
venue_symbol = "{symbol}"

[mail]
kind = "smtp"
host = "127.0.0.1"
port = {smtp}
tls = "none"
sender = "risk@broker.example"
desk = ["desk@broker.example"]
addresses = "addresses.csv"

{key}
"""


@asynccontextmanager
async def world(folder: Path, seed: int) -> AsyncIterator[World]:
    """Everything outside, running; the service is not started yet."""
    chance, market, mail, port = random.Random(seed), Market(), MailBox(), free_port()
    text, key = make_key("broker", "order system", "broker", per_minute=1_000_000)
    (folder / "addresses.csv").write_text("".join(f"{name},{name.lower()}@customers.example\n" for name in ACCOUNTS))
    venue = Counterparty(market, chance)
    headers = {"Authorization": f"Bearer {text}"}
    http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10)
    async with market, venue.server, http:
        with mail_server(mail) as smtp:  # pyright: ignore[reportArgumentType] - a handler of another class
            settings = {"port": port, "fix": venue.server.port, "feed": market.url, "smtp": smtp, "key": key.as_table()}
            names = {"contract": CONTRACT, "product": PRODUCT, "symbol": SYMBOL}
            (folder / "closeout.toml").write_text(CONFIG.format(**settings, **names))
            filling = asyncio.create_task(venue.run())
            found = World(folder, port, text, market, venue, mail, http)
            try:
                yield found
            finally:
                filling.cancel()
                if found.process is not None and found.process.returncode is None:
                    found.process.kill()
                    await found.process.wait()
