"""A Kraken Futures server on this machine, in a process of its own, that plays what a benchmark asks for.

    python -m benchmarks.exchange < SPEC

SPEC is a line of JSON, a `Recording` or a `Walk`. The process prints ``{"url": ...}``, plays once for each connection
that has subscribed, and at the end of its input prints what it did: ``{"sent": ..., "prices": ..., "late ms": ...}``.

Prices of products that nobody subscribed to are left out; all else is sent. Each message that carries a price also has
 `sent`: the machine's monotonic clock in nanoseconds as it was sent, which every process of the machine shares.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

SEED = 20_210_722
RETURN = 1 / 30
Due = tuple[float, Any]
"""Seconds after the beginning, and a message."""


class Recording(Struct, tag="recording", frozen=True):
    """A recording's messages in a loop for `seconds`, `speed` times as fast. Over the whole time the prices of
    ticker_lite fall evenly by `fall`; times and sequence numbers go on rising."""

    path: str
    seconds: float
    speed: float
    fall: float


class Walk(Struct, tag="walk", frozen=True):
    """`moving` products by price, each with `rate` new marks a second; `resting` ones repeat theirs once a second. For
    `seconds`.

    A mark steps by about 1 in 10,000, and is drawn back to where the price began by a share of `RETURN` a second: the
    book is the same at the end as at the beginning, however long the walk is."""

    moving: dict[str, float]
    resting: dict[str, float]
    rate: float
    seconds: float


Spec = Recording | Walk


def recorded(path: Path) -> list[Due]:
    """What the venue sent after its acknowledgements, with the seconds since the first of them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [(float(m[1]), json.loads(m[2])) for line in lines if (m := re.match(r"([0-9.]+): (.*)", line))]
    found = [(at, message) for at, message in found if "event" not in message]
    return [(at - found[0][0], message) for at, message in found]


def recording_messages(spec: Recording) -> Iterator[Due]:
    """The recording over and over, until the time is over."""
    played = recorded(Path(spec.path))
    length = played[-1][0] / spec.speed
    count = 0
    while True:
        for at, message in played:
            due = count * length + at / spec.speed
            if due > spec.seconds:
                return
            yield due, _rewritten(message, count * len(played), 1 - spec.fall * due / spec.seconds)
        count += 1


def _rewritten(message: dict[str, Any], shift: int, factor: float) -> dict[str, Any]:
    """A message of a later time: sequence numbers go on, and a ticker's prices stand lower."""
    changed = dict(message)
    if "seq" in message:
        changed["seq"] = message["seq"] + shift
    if message["feed"] == "ticker_lite":
        changed["bid"], changed["ask"] = round(message["bid"] * factor, 6), round(message["ask"] * factor, 6)
    return changed


def walk_messages(spec: Walk) -> Iterator[Due]:
    """Marks evenly spread over time."""
    draw = random.Random(SEED)
    prices = {**spec.moving, **spec.resting}
    moving, resting = list(spec.moving), list(spec.resting)
    for product in prices:
        yield 0.0, _ticker(product, prices[product])
    due: list[tuple[float, str]] = []
    for second in range(int(spec.seconds)):
        for step in range(round(spec.rate)):
            due += [(second + (step + n / len(moving)) / spec.rate, product) for n, product in enumerate(moving)]
        due += [(second + n / len(resting), product) for n, product in enumerate(resting)]
    for at, product in sorted(due):
        if product in spec.moving:
            away = prices[product] / spec.moving[product] - 1
            prices[product] *= 1 + draw.gauss(0, 1e-4) - away * RETURN / spec.rate
        yield at, _ticker(product, prices[product])


def _ticker(product: str, price: float) -> dict[str, Any]:
    return {"feed": "ticker", "product_id": product, "markPrice": round(price, 4)}


# -- the server --------------------------------------------------------------------------------------


class Exchange:
    """Answers subscriptions as the venue does, then plays."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.sent = self.prices = 0
        self.late = 0.0
        self.products: set[str] = set()

    async def serve(self, connection: ServerConnection) -> None:
        try:
            await connection.send('{"event":"info","version":1}')
            async for text in connection:
                request = json.loads(text)
                if request["feed"] == "heartbeat":  # asked for last
                    await connection.send('{"event":"subscribed","feed":"heartbeat"}')
                    break
                for product in request["product_ids"]:
                    self.products.add(product)
                    done = {"event": "subscribed", "feed": request["feed"], "product_ids": [product.upper()]}
                    await connection.send(json.dumps(done))
            await self._play(connection)
            await connection.wait_closed()
        except ConnectionClosed:
            pass

    async def _play(self, connection: ServerConnection) -> None:
        spec, encode = self.spec, msgspec.json.Encoder().encode
        messages = recording_messages(spec) if isinstance(spec, Recording) else walk_messages(spec)
        begun = time.monotonic()
        for due, message in messages:
            is_price = message["feed"] in ("ticker", "ticker_lite")
            if is_price and message["product_id"] not in self.products:
                continue
            wait = begun + due - time.monotonic()
            if wait > 0.001:
                await asyncio.sleep(wait)
            self.late = max(self.late, -wait)
            now = time.time_ns() // 1_000_000
            for name in ("time", "timestamp"):
                if name in message:
                    message[name] = now
            if is_price:
                if message["feed"] == "ticker":
                    message["time"] = now
                message["sent"] = time.monotonic_ns()
                self.prices += 1
            await connection.send(encode(message), text=True)
            self.sent += 1


async def main(spec: Spec) -> None:
    exchange = Exchange(spec)
    async with serve(exchange.serve, "127.0.0.1", 0, compression=None) as server:
        print(json.dumps({"url": f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    done = {"sent": exchange.sent, "prices": exchange.prices, "late ms": exchange.late * 1000}
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.stdin.readline(), type=Spec)))
