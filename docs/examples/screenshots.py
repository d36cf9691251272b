"""Makes the pictures of the README and of docs/pages.md: two demos, played as far as the pictures need them, and a
replay under several rulebooks.

    .venv/bin/python docs/examples/screenshots.py [OUT]

OUT is docs/images unless given. Each picture is of a page as it stands at that moment of a recorded market; nothing in
it is drawn or filled in but what a person could type. It needs Chromium, and the pages must be built. It takes about
three minutes.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tutorial
from PIL import Image
from tutorial import ACCOUNT, CONTRACT, Json, Story

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the browser of the benchmarks is used

from benchmarks.browser import browser  # noqa: E402

WIDE, TALL, NARROW = (1440, 900), (1440, 1300), (390, 844)
COLOURS = 256
EXTRA = "25"
"""Contracts that CASEY can afford intraday, and not against initial margin."""
SETTLING = 1500
"""Milliseconds until a page that is live has drawn everything."""
SIDES = ("reference", "kraken-linear", "binance-usdm", "hyperliquid", "dydx-v4", "deribit", "drift-v2")
PATIENCE = 120_000
"""Milliseconds until the first account owes something."""
EDGE = 14
"""Pixels of the page that are left around a part of it."""


@dataclass
class Studio:
    """A running demo's story, and pages on it."""

    story: Story
    chromium: Any
    out: Path

    @contextmanager
    def page(
        self, role: str, path: str, shows: str, size: tuple[int, int] = WIDE, *, dark: bool = False
    ) -> Iterator[Any]:
        """A page that a role's key has opened, as soon as it shows what has that test id."""
        context = self.chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light",
            timezone_id="America/New_York", locale="en-US",
        )  # fmt: skip
        try:
            page = context.new_page()
            page.goto(f"{self.story.url}{path}#key={self.story.keys[role]}")
            page.locator("[data-connection=live]").wait_for()
            page.get_by_test_id(shows).first.wait_for()
            yield page
        finally:
            context.close()

    def shoot(self, shot: Any, name: str) -> None:
        """Of a page, or of a part of one."""
        getattr(shot, "page", shot).wait_for_timeout(SETTLING)
        file = self.out / f"{name}.png"
        save(shot.screenshot(animations="disabled"), file)
        print(f"-> {file.name}, {file.stat().st_size / 1024:.0f} KiB", flush=True)


def save(png: bytes, file: Path) -> None:
    """With at most 256 colours: a third of the size, and nobody sees it."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


# -- an afternoon before the switch ------------------------------------------------------------------


def afternoon(studio: Studio) -> None:
    """10 October 2025, a quarter of an hour before initial margin holds: CASEY, calm, then with too much for it."""
    story = studio.story
    story.until(lambda: story.look("customer", "/v1/accounts")["items"] or None, "the demo's accounts are in")
    story.until(lambda: {"mark": 1} if story.mark()[0] else None, "there is a price")
    with studio.page("customer", "/?account=CASEY", "positions", TALL) as page:
        page.get_by_test_id("ticket-contract").select_option(CONTRACT)
        page.get_by_test_id("ticket-quantity").fill("5")
        page.get_by_test_id("ticket-preview").wait_for()
        studio.shoot(page, "portfolio-calm")
    buy_more(story)
    story.until(lambda: look_ahead(story) if is_short(story) else None, "CASEY will be short at the switch")
    with studio.page("customer", "/?account=CASEY", "countdown") as page:
        studio.shoot(page, "portfolio-before-the-switch")


def buy_more(story: Story) -> None:
    body = {"order_id": "more", "contract": CONTRACT, "quantity": EXTRA}
    story.call("customer", "POST", "/v1/accounts/CASEY/orders/check", body, show="approved code")
    fill = {
        "account_id": "CASEY", "order_id": "more", "fill_id": f"more-{story.run}", "contract": CONTRACT,
        "quantity": EXTRA, "price": str(story.mark()[0]),
    }  # fmt: skip
    story.call("broker", "POST", "/v1/fills", fill, show="applied")


def look_ahead(story: Story) -> Json:
    return story.look("customer", "/v1/accounts/CASEY")["look_ahead"]


def is_short(story: Story) -> bool:
    return float(look_ahead(story)["short"] or 0) > 0


# -- a morning that falls ----------------------------------------------------------------------------


def morning(studio: Studio) -> None:
    """12 March 2020: the account of the tutorial, from its first position to its debt, from both pages."""
    story = studio.story
    tutorial.opened(story)
    tutorial.disclosed(story)
    tutorial.bought(story)
    with studio.page("desk", "/desk?account=CASEY-2", "drill", dark=True) as desk:
        tutorial.warned(story)
        with studio.page("customer", "/?account=CASEY-2", "countdown", NARROW, dark=True) as page:
            studio.shoot(page, "portfolio-narrow")
        with studio.page("customer", "/?account=CASEY-2", "could-owe", TALL) as page:
            studio.shoot(page.get_by_test_id("could-owe"), "portfolio-could-owe")
        story.until(lambda: {"level": 1} if is_liquidating(story) else None, "the close-out has begun")
        with studio.page("desk", "/desk?account=CASEY-2", "act-hold") as page:
            page.get_by_test_id("act-hold").click()
            page.get_by_test_id("act-reason").fill("The customer is on the phone and wires the money")
            page.get_by_test_id("act-sure").check()
            studio.shoot(page, "desk-act")
        with studio.page("desk", "/desk", "accounts", NARROW) as page:
            studio.shoot(page, "desk-narrow")
        desk.get_by_test_id("flag-in_debit").wait_for(timeout=PATIENCE)
        studio.shoot(desk, "desk")
    with studio.page("customer", "/?account=CASEY-2", "could-owe", TALL) as page:
        studio.shoot(page, "portfolio-liquidating")
    tutorial.closed_out(story)
    with studio.page("customer", "/?account=CASEY-2", "debt", TALL) as page:
        studio.shoot(page, "portfolio-owes")


def is_liquidating(story: Story) -> bool:
    return story.look("customer", ACCOUNT)["state"]["level"] == "liquidating"


@contextmanager
def studio(chromium: Any, out: Path, market: str, speed: str, accounts: int) -> Iterator[Studio]:
    with tutorial.demo(speed, market, accounts) as announcement:
        yield Studio(tutorial.story_of(announcement), chromium, out)


def side_by_side(chromium: Any, out: Path) -> None:
    """Where each dollar of loss beyond margin went, from the report of a replay."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "crash"
        command = [sys.executable, "-m", "closeout.cli", "replay", "oct-10", "--rulebook", ",".join(SIDES)]
        subprocess.run([*command, "--out", folder], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        page = chromium.new_page(viewport={"width": 1180, "height": 900})
        page.goto((folder / "report.html").as_uri())
        file = out / "side-by-side.png"
        box = page.locator("figure.sides").bounding_box()
        edges = {"x": -EDGE, "y": -EDGE, "width": 2 * EDGE, "height": 2 * EDGE}
        save(page.screenshot(full_page=True, clip={side: box[side] + more for side, more in edges.items()}), file)
        page.close()
    print(f"-> {file.name}, {file.stat().st_size / 1024:.0f} KiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "docs" / "images", help="docs/images")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with browser() as chromium:
        side_by_side(chromium, out)
        with studio(chromium, out, "oct-10", "15", 300) as opened:
            afternoon(opened)
        with studio(chromium, out, tutorial.MARKET, "30", 1000) as opened:
            morning(opened)


if __name__ == "__main__":
    main()
