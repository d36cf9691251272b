"""Who may see what through the pages, how they load, and whether everybody can read and reach them."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.pages import Demo, axe, viewing
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def other(running: Demo) -> str:
    """Somebody else's account, once the demo's accounts are in."""
    for _ in range(600):
        ids = [item["account_id"] for item in running.call("desk", "GET", "/v1/accounts")["items"]]
        if own := [account_id for account_id in ids if not account_id.startswith("CASEY")]:
            return own[0]
        time.sleep(0.1)
    raise AssertionError("the demo's accounts have not come in")


def settled(page: Page, test_id: str) -> None:
    expect(page.get_by_test_id(test_id).first).to_be_visible()
    expect(page.locator("[data-connection=live]")).to_be_visible()


def test_a_customer_cannot_see_anothers_account_on_any_page(chromium: Browser, running: Demo, other: str) -> None:
    cash = Decimal(running.call("desk", "GET", f"/v1/accounts/{other}")["cash"])
    shown = {f"/?account={other}": "CASEY", "/desk": "for the firm's own people", f"/desk?account={other}": "Portfolio"}
    for path, instead in shown.items():
        with viewing(chromium, running, "customer", path) as page:
            expect(page.locator("body")).to_contain_text(instead)
            page.wait_for_timeout(1500)
            text = page.locator("body").inner_text()
            assert f"{cash:,.2f}" not in text
            assert other not in text


def test_nor_through_the_socket_behind_the_pages(running: Demo, other: str) -> None:
    where = running.url.replace("http", "ws") + "/v1/stream"
    topics = {
        f"account:{other}": "unknown_account", "desk": "forbidden", "stress": "forbidden",
        "accounts?sort=usage&n=50": "forbidden",
    }  # fmt: skip
    with connect(where) as socket:
        socket.send(json.dumps({"type": "auth", "key": running.keys["customer"]}))
        assert json.loads(socket.recv(10))["type"] == "ready"
        for topic, code in topics.items():
            socket.send(json.dumps({"type": "subscribe", "topic": topic}))
            said = json.loads(socket.recv(10))
            assert (topic, said["type"], said.get("code")) == (topic, "error", code)


def test_a_wrong_key_is_told_so_and_a_right_one_enters(chromium: Browser, running: Demo) -> None:
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(running.url)
        page.get_by_label("API key").fill("nobody.nothing")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("the key is not known")
        page.get_by_label("API key").fill(running.keys["customer"])
        page.get_by_role("button", name="Sign in").click()
        settled(page, "net-liq")
        page.reload()  # the tab remembers
        settled(page, "net-liq")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.reload()
        expect(page.get_by_label("API key")).to_be_visible()
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize(("role", "path", "test_id"), [("customer", "/", "net-liq"), ("desk", "/desk", "accounts")])
def test_nothing_serious_for_the_accessibility_checker(
    chromium: Browser, running: Demo, role: str, path: str, test_id: str, width: int, scheme: str
) -> None:
    with viewing(chromium, running, role, path, width=width, color_scheme=scheme) as page:
        settled(page, test_id)
        page.wait_for_timeout(1000)
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out


def test_the_desk_is_reached_by_keyboard(chromium: Browser, running: Demo) -> None:
    """From the address bar to an account's figures without a pointer."""
    with viewing(chromium, running, "desk", "/desk") as page:
        settled(page, "accounts")
        page.get_by_test_id("accounts-search").focus()
        page.keyboard.type("CASEY")
        expect(page.get_by_text("1 match of")).to_be_visible()
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('[data-testid=accounts]') !== null"):
                break
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("drill")).to_contain_text("CASEY")
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("drill")).not_to_be_visible()
