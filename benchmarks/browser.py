"""A real browser for benchmarks and pictures: Chromium, driven by Playwright, and what a page in it does and costs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.serving import processor_seconds
from closeout.core.units import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic",
]  # fmt: skip
WATCH = (Path(__file__).parent / "watch.js").read_text(encoding="utf-8")
PATIENCE = 60_000
"""Milliseconds until a page must show what it is for."""
UPDATES = 3
"""Seen before a page counts as open."""


def program() -> str:
    """The browser's program; `InputError` where this machine has none, or nothing to drive it with."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise InputError("no Chromium on this machine (Debian: apt-get install chromium)")
    if importlib.util.find_spec("playwright") is None:
        raise InputError("Playwright is not installed; it is one of the packages for working on closeout")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    found = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield running
        finally:
            running.close()


# -- what a page does --------------------------------------------------------------------------------


class Watched:
    """A page from before its first script on: what it draws, how evenly, and what it holds.

    Its updates are those of the element `drawn_in` that follow a frame of a topic that begins with `topic`.
    """

    def __init__(self, page: Page, topic: str, drawn_in: str) -> None:
        self.page, self.topic, self.drawn_in = page, topic, drawn_in
        self._tools = page.context.new_cdp_session(page)
        self._tools.send("Performance.enable")
        page.add_init_script(WATCH)

    def open(self, url: str) -> None:
        self.page.goto(url)
        if self.topic:
            self.page.wait_for_selector(self.drawn_in, timeout=PATIENCE)
            self.begin()
            deadline = time.monotonic() + PATIENCE / 1000
            while len(self.found()["delays"]) < UPDATES:  # the page's own policy allows no `wait_for_function`
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.page.url} draws nothing of {self.topic}: {self.page.inner_text('body')}")
                self.page.wait_for_timeout(100)
        else:
            self.page.wait_for_load_state("networkidle")

    def begin(self) -> None:
        """Forget what was measured until now."""
        self.page.evaluate("([topic, place]) => watch.begin(topic, place)", [self.topic, self.drawn_in])

    def found(self) -> dict[str, Any]:
        """Milliseconds (`ms`) since `begin`; animation `frames`; `delays` of the updates; durations of long `tasks`;
        paths that were `asked` for, and how often."""
        return self.page.evaluate("watch.found()")

    def followed(self) -> list[str]:
        """The topics that the page subscribed to."""
        return self.page.evaluate("[...watch.topics]")

    def held(self) -> dict[str, float]:
        """What it holds now that rubbish was collected: `heap` in bytes, DOM `nodes`."""
        self._tools.send("HeapProfiler.collectGarbage")
        metrics: list[dict[str, Any]] = self._tools.send("Performance.getMetrics")["metrics"]
        found = {metric["name"]: metric["value"] for metric in metrics}
        return {"heap": found["JSHeapUsedSize"], "nodes": found["Nodes"]}

    def weight(self) -> int:
        """Bytes of the page and of all that it loaded until now, as they were sent."""
        return self.page.evaluate(
            "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
            ".filter((entry) => !new URL(entry.name).pathname.startsWith('/v1/'))"
            ".reduce((sum, entry) => sum + entry.encodedBodySize, 0)"
        )


# -- what the browser costs --------------------------------------------------------------------------


def seconds_by_process() -> dict[int, float]:
    """Time on the processor so far of each of the browser's processes that this process has started, and they in turn.
    Empty where the system has no /proc."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            line = stat.read_text()
        except OSError:  # it has ended
            continue
        number, (name, _, rest) = int(stat.parent.name), line.rpartition(")")
        parents[number] = int(rest.split()[1])
        if "chrom" in name:
            used[number] = processor_seconds(line)
    return {number: seconds for number, seconds in used.items() if _descends(number, parents)}


def _descends(number: int, parents: dict[int, int]) -> bool:
    while number in parents:
        number = parents[number]
        if number == os.getpid():
            return True
    return False


def seconds_between(before: dict[int, float], after: dict[int, float]) -> float:
    return sum(seconds - before.get(number, 0.0) for number, seconds in after.items())
