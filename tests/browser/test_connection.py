"""What the pages ask of the service, and what they make of answers and frames that do not come as they should."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocket, expect
from tests.browser.pages import Demo, viewing


def reloaded(page: Page) -> list[dict[str, Any]]:
    """What a page says on its socket from now on: it is loaded anew, with the key that it has kept."""
    sent: list[dict[str, Any]] = []

    def opened(socket: WebSocket) -> None:
        socket.on("framesent", lambda text: sent.append(json.loads(text)))

    page.on("websocket", opened)
    page.reload()
    expect(page.locator("[data-connection=live]")).to_be_visible()
    return sent


@pytest.mark.rule("US-20")
def test_the_desk_asks_for_each_topic_once(chromium: Browser, running: Demo) -> None:
    with viewing(chromium, running, "desk", "/desk") as page:
        expect(page.get_by_test_id("accounts").locator("[data-account]").first).to_be_visible()
        sent = reloaded(page)
        expect(page.get_by_test_id("accounts").locator("[data-account]").first).to_be_visible()
        expect(page.get_by_test_id("events").locator("time").first).to_be_visible()
        asked = [word["topic"].partition("?")[0] for word in sent if word["type"] == "subscribe"]
        assert sorted(asked) == ["accounts", "desk", "events", "stress"]
        assert not any(word["type"] == "unsubscribe" for word in sent)


def test_staff_who_look_at_one_account_are_not_told_all_that_ever_happened(chromium: Browser, running: Demo) -> None:
    for _ in range(150):  # more inputs than "from now on" looks back
        running.call("broker", "POST", "/v1/accounts/CASEY/deposits", {"amount": "1"})
    with viewing(chromium, running, "auditor", "/?account=CASEY") as page:
        expect(page.get_by_test_id("net-liq")).to_be_visible()
        sent = reloaded(page)
        expect(page.get_by_test_id("timeline")).to_contain_text("Deposit")
        begins = [word["after"] for word in sent if word.get("topic") == "events"]
        assert len(begins) == 1
        assert begins[0] > 40


@pytest.mark.rule("US-19")
def test_an_order_whose_answer_is_cut_off_is_in_doubt_and_is_placed_once(chromium: Browser, running: Demo) -> None:
    cut: list[str] = []

    def cut_off(route: Route) -> None:
        answer = route.fetch()  # the service has it, and has answered
        if cut:
            route.fulfill(response=answer)
        else:
            cut.append(json.loads(route.request.post_data or "")["order_id"])
            route.fulfill(status=200, content_type="application/json", body=answer.text()[:20])

    with viewing(chromium, running, "customer") as page:
        expect(page.get_by_test_id("net-liq")).to_be_visible()
        page.route("**/orders/check", cut_off)
        page.get_by_test_id("ticket-side-sell").click()
        page.get_by_test_id("ticket-quantity").fill("1")
        page.get_by_test_id("ticket-submit").click()
        expect(page.get_by_test_id("ticket-result")).to_contain_text("Not known whether it arrived")
        page.get_by_test_id("ticket-submit").click()
        expect(page.get_by_test_id("ticket-result")).to_contain_text("Approved")
    orders = running.call("customer", "GET", "/v1/accounts/CASEY/orders")["items"]
    placed = [order["order_id"] for order in orders if order["order_id"].startswith("web-")]
    assert placed == cut


def test_another_key_in_the_address_of_an_open_page_is_taken_out_of_it(chromium: Browser, running: Demo) -> None:
    with viewing(chromium, running, "customer") as page:
        expect(page.get_by_test_id("net-liq")).to_be_visible()
        page.evaluate("key => { location.hash = `key=${key}` }", running.keys["auditor"])
        expect(page.locator("main")).to_contain_text("Type an account's id")
        assert running.keys["auditor"] not in page.url
