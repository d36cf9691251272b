"""A real browser on a running demo: Chromium, driven by Playwright.

A page opened here fails its test if anything was asked of another machine, if a script failed, or if something that it
loads was not there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx
import pytest
from benchmarks.browser import browser as chromium
from benchmarks.browser import program
from playwright.sync_api import Browser, Page, expect

from closeout.core.units import InputError

ROOT = Path(__file__).parents[2]
PATIENCE = 20_000
"""Milliseconds until the page must show what is waited for."""
TOLERATED = re.compile("WebSocket connection|net::ERR_CONNECTION|Failed to load resource: the server responded")
"""What the browser itself writes into its console when a service goes away, or refuses something as it should."""

expect.set_options(timeout=PATIENCE)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium; the test is skipped where there is none (never under CI: see `--forbid-skips`)."""
    try:
        program()
    except InputError as missing:
        pytest.skip(str(missing))
    with chromium() as running:
        yield running


@dataclass
class Demo:
    """A running `closeout demo`: its address, keys by role, and the process."""

    url: str
    keys: dict[str, str]
    process: subprocess.Popen[bytes]
    http: httpx.Client
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**6)))

    def call(self, role: str, method: str, path: str, body: Any = None, expected: int = 200) -> Any:
        """One call of the API; what writes acts once."""
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        if method != "GET":
            headers["Idempotency-Key"] = f"test-{next(self.numbers)}"
        answer = self.http.request(method, self.url + path, json=body, headers=headers)
        assert answer.status_code == expected, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    """Start one, and end it."""
    command = [sys.executable, "-m", "closeout.cli", "demo", "--port", "0", "--json", *arguments]
    with (folder / "demo.log").open("ab") as log, httpx.Client(timeout=30) as http:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, env=os.environ | {"TZ": "UTC"}
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "demo.log").read_text()[-2000:]
            said = json.loads(line)
            keys = {role: key["key"] if isinstance(key, dict) else key for role, key in said["keys"].items()}
            yield Demo(said["url"], keys, process, http)
        finally:
            process.terminate()
            process.wait(60)
            if process.stdout is not None:
                process.stdout.close()


@dataclass
class Watched:
    """What went wrong on a page behind its viewer's back."""

    page: Page
    outside: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, page: Page) -> Watched:
        watched = cls(page)
        page.on("request", lambda request: watched._request(request.url))
        page.on("response", lambda answer: watched._answered(answer.url, answer.status))
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.on("console", lambda said: watched._said(said.type, said.text))
        return watched

    def _request(self, url: str) -> None:
        if urlparse(url).hostname not in ("127.0.0.1", None):
            self.outside.append(url)

    def _answered(self, url: str, status: int) -> None:
        """What the API refuses is its answer; a part of the page that is not there is a fault."""
        if status >= 400 and not urlparse(url).path.startswith("/v1/"):
            self.missing.append(url)

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and not TOLERATED.search(text):
            self.errors.append(text)

    def check(self) -> None:
        assert self.outside == []
        assert self.missing == []
        assert self.errors == []


@contextmanager
def viewing(
    browser: Browser, demo: Demo, role: str, path: str = "/", *, width: int = 1440, height: int = 900, **more: Any
) -> Generator[Page]:
    """A page opened with a role's key, by its link."""
    context = browser.new_context(viewport={"width": width, "height": height}, timezone_id="Europe/Berlin", **more)
    try:
        page = context.new_page()
        watched = Watched.of(page)
        page.goto(f"{demo.url}{path}#key={demo.keys[role]}")
        yield page
        watched.check()
    finally:
        context.close()


def axe(page: Page) -> list[str]:
    """What the accessibility checker finds that is serious or critical: the rule, and where."""
    # Evaluated, not added: the pages' own policy lets no foreign script in.
    page.evaluate((ROOT / "frontend/node_modules/axe-core/axe.min.js").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)"
    )
    return [
        f"{one['id']} ({one['impact']}): {', '.join(str(node['target']) for node in one['nodes'][:5])}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
