"""The service in a process that also measures it: what `closeout serve` runs, with ears at its joints.

    python -m benchmarks.feed_probe CONFIG | URL PRODUCT...

It prints ``{"url": ...}`` when the service is ready, stops at the end of its input, and then prints what it measured.
With a venue's URL it is the baseline instead: a client that reads and does nothing.
"""

import asyncio
import json
import re
import sys
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import websockets

from benchmarks.measure import percentiles
from closeout.adapters.feeds.kraken_futures import KrakenFutures
from closeout.adapters.feeds.selector import MarkSelector
from closeout.engine.commands import Marks
from closeout.engine.events import CloseOutEnded, CloseOutOrder
from closeout.service import parts
from closeout.service.applied import Batch
from closeout.service.config import load_config
from closeout.service.logs import configure
from closeout.service.run import run_until_signal
from closeout.service.service import Service
from closeout.service.store.records import Effect
from closeout.service.writer import Writer

SENT = re.compile(rb'"sent":(\d+)')
PRODUCT = re.compile(rb'"product_id":"([^"]+)"')
EVERY = 0.1
"""Seconds between two looks at the queues."""


class Probe:
    """Follows each price from the venue's `sent` to the verdicts on it, and each close-out order to the venue.

    A price that a newer one replaced before it was offered counts with the newer one's verdicts, from its own `sent`.
    """

    def __init__(self, service: Service, contracts: Mapping[str, str]) -> None:
        self.service, self.contracts = service, contracts
        self.heard: dict[str, list[int]] = defaultdict(list)
        self.offered: dict[str, deque[tuple[int | None, list[int]]]] = defaultdict(deque)
        self.ordered: dict[str, tuple[int, int]] = {}
        self.samples: dict[str, list[int]] = {"verdict": [], "order": [], "price to order": []}
        self.queue: list[int] = []
        self.lag: list[int] = []
        self.close_outs = 0
        self._oldest = 0
        pricing = service.pricing
        assert pricing is not None
        self.feed = pricing.feeds[0]
        assert isinstance(self.feed, KrakenFutures)
        self._hear, self._offer = self.feed.hear, service.writer.offer_marks
        self._select = pricing.selector.select
        self.feed.hear = self.hear  # type: ignore[method-assign]
        pricing.selector = cast(MarkSelector, _Tap(pricing.selector, select=self.select))
        pricing.writer = cast(Writer, _Tap(service.writer, offer_marks=self.offer_marks))
        service.writer.subscribers.insert(0, self.applied)
        on_sent = service.order_desk.on_sent

        def sent(effect: Effect, now: int) -> None:
            if on_sent is not None:
                on_sent(effect, now)
            self.sent(effect)

        service.order_desk.on_sent = sent

    def hear(self, message: bytes) -> list[str]:
        if (found := SENT.search(message)) and (product := PRODUCT.search(message)):
            self.heard[self.contracts[product[1].decode()]].append(int(found[1]))
        return self._hear(message)

    def select(self, now: int) -> dict[str, dict[str, int | None]]:
        found = self._select(now)
        changed = {name for marks in found.values() for name in marks}
        for name in [*self.heard]:
            if name not in changed:  # the price says what is known: no verdict follows
                del self.heard[name]
        return found

    def offer_marks(self, source: str, marks: Mapping[str, int | None]) -> None:
        for name, ticks in marks.items():
            self.offered[name].append((ticks, self.heard.pop(name, [])))
        self._offer(source, marks)

    def applied(self, batch: Batch) -> None:
        """Published: the verdicts on all marks in the batch."""
        now = time.monotonic_ns()
        for item in batch:
            if isinstance(item.input.command, Marks) and item.input.source.startswith("feed:"):
                self._oldest = now
                for mark in item.input.command.marks:
                    self._judged(mark.contract, mark.price_ticks, now)
            for event in item.events:
                if isinstance(event, CloseOutOrder):
                    self.ordered[event.order_id] = (now, self._oldest)
                self.close_outs += isinstance(event, CloseOutEnded)

    def _judged(self, name: str, ticks: int | None, now: int) -> None:
        """Everything offered up to the mark that was taken."""
        waiting = self.offered[name]
        while waiting:
            offered, stamps = waiting.popleft()
            self.samples["verdict"] += [now - stamp for stamp in stamps]
            self._oldest = min([self._oldest, *stamps])
            if offered == ticks:
                return

    def sent(self, effect: Effect) -> None:
        now = time.monotonic_ns()
        if effect.effect_id in self.ordered:
            judged, stamp = self.ordered.pop(effect.effect_id)
            self.samples["order"].append(now - judged)
            self.samples["price to order"].append(now - stamp)

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            self.queue.append(self.service.writer.waiting)
            self.lag.append(self.service.projector.lag)

    def found(self) -> dict[str, Any]:
        status, timings = self.feed.status, self.service.writer.timings
        return {
            "latencies": {name: spread(found) for name, found in self.samples.items()},
            "messages": status.messages,
            "malformed": status.malformed,
            "out of order": status.out_of_order,
            "gaps": status.gaps,
            "reconnects": status.reconnects,
            "conflated": timings.conflated,
            "inputs": timings.inputs,
            "frames": timings.frames,
            "close-outs": self.close_outs,
            "orders": self.service.order_desk.sent,
            "queue": self.queue,
            "lag": self.lag,
        }


class _Tap:
    """Something, with a method of its own."""

    def __init__(self, whole: Any, **own: Any) -> None:
        self._whole = whole
        vars(self).update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def spread(nanoseconds: list[int]) -> dict[str, int]:
    """Percentiles and how many there were; empty where there was none."""
    return {"count": len(nanoseconds), **percentiles(nanoseconds)} if nanoseconds else {}


async def end_of_input() -> None:
    await asyncio.to_thread(sys.stdin.read)


async def serve(path: Path) -> dict[str, Any]:
    config = load_config(path)
    configure(config.service.log_level)
    products = {table.sources[0].market.upper(): name for name, table in config.contracts.items()}
    service = parts.serve(config)
    probe = Probe(service, products)
    service.extra.append(probe.watch)

    async def stop() -> None:
        await end_of_input()
        service.stop.set()

    service.extra.append(stop)
    await run_until_signal(service, lambda: print(json.dumps({"url": service.server.address}), flush=True))
    return probe.found()


async def listen(url: str, products: list[str]) -> dict[str, Any]:
    """The baseline: a client that subscribes, reads every message, and does nothing with it."""
    delays: list[int] = []
    async with websockets.connect(url, compression=None) as connection:
        for message in KrakenFutures(products).opening():
            await connection.send(message)
        print("{}", flush=True)
        ending = asyncio.create_task(end_of_input())
        while not ending.done():
            reading = asyncio.create_task(connection.recv(decode=False))
            await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and (found := SENT.search(reading.result())):
                delays.append(time.monotonic_ns() - int(found[1]))
            reading.cancel()
    return {"latencies": {"read": spread(delays)}}


if __name__ == "__main__":
    target = sys.argv[1]
    measured = asyncio.run(listen(target, sys.argv[2:]) if target.startswith("ws:") else serve(Path(target)))
    print(json.dumps(measured), flush=True)
