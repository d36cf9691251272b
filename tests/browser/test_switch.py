"""A trader's afternoon in a real browser: the toggle, orders, the countdown to the switch, and what the switch does.

The market is that of 10 October 2025, of which the recording begins at 20:30 UTC: a quarter of an hour before initial
margin holds.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.browser.pages import Demo, browser, demo, viewing

CONTRACT = "PBTCUCZ50"
EXTRA = 25
"""Contracts that CASEY can afford intraday, and not against initial margin."""


def order(page: Page, quantity: str, side: str = "buy") -> None:
    page.get_by_test_id("ticket-contract").select_option(CONTRACT)
    page.get_by_test_id(f"ticket-side-{side}").click()
    page.get_by_test_id("ticket-quantity").fill(quantity)


def toggle(page: Page, *, on: bool) -> None:
    box = page.get_by_test_id("toggle").get_by_role("checkbox").or_(page.get_by_test_id("toggle").get_by_role("switch"))
    if box.first.is_checked() != on:
        box.first.click()
    expect(box.first).to_be_checked(checked=on)


def account(running: Demo) -> dict[str, Any]:
    return running.call("customer", "GET", "/v1/accounts/CASEY")


@pytest.mark.rule("US-03", "US-05", "US-06", "US-07", "US-19", "US-27")
def test_an_afternoon_from_the_toggle_to_the_switch(tmp_path: Path) -> None:
    with (
        browser() as chromium,
        demo(tmp_path, "--market", "oct-10", "--speed", "10") as running,
        viewing(chromium, running, "customer") as page,
    ):
        arrives(page)
        refused_and_accepted(page, running)
        waits_for_the_switch(page, running)
        is_closed_out(page, running)


def arrives(page: Page) -> None:
    expect(page.get_by_text("Not live.")).to_be_visible()
    assert "key" not in page.url
    expect(page.locator("[data-connection=live]")).to_be_visible()
    for name in ("usage-intraday", "usage-initial", "elv", "positions", "could-owe", "price-chart"):
        expect(page.get_by_test_id(name).first).to_be_visible()
    expect(page.get_by_test_id("usage-intraday").get_by_role("meter")).to_have_attribute(
        "aria-valuetext", re.compile(r"\d+\.\d %")
    )


def refused_and_accepted(page: Page, running: Demo) -> None:
    """The toggle decides what new orders must fit, and touches nothing that is held."""
    held = account(running)["positions"]
    toggle(page, on=False)
    order(page, str(EXTRA))
    expect(page.get_by_test_id("ticket-preview")).to_contain_text(re.compile("not enough margin", re.IGNORECASE))
    page.get_by_test_id("ticket-submit").click()
    expect(page.get_by_test_id("ticket-result")).to_contain_text(re.compile("refused", re.IGNORECASE))
    quantities = [position["quantity"] for position in account(running)["positions"]]
    assert quantities == [position["quantity"] for position in held]
    toggle(page, on=True)
    order(page, str(EXTRA))
    preview = page.get_by_test_id("ticket-preview")
    for word in ("before", "change", "after", "available"):
        expect(preview).to_contain_text(re.compile(word, re.IGNORECASE))
    page.get_by_test_id("ticket-submit").click()
    expect(page.get_by_test_id("ticket-result")).to_contain_text(re.compile("accepted|approved", re.IGNORECASE))
    before = Decimal(quantities[0])
    expect(page.get_by_test_id("positions")).to_contain_text(f"{before + EXTRA}")


def waits_for_the_switch(page: Page, running: Demo) -> None:
    """The page says what changes at 15:45, that the account will be short, and what clears it: the engine's numbers."""
    ahead = page.get_by_test_id("look-ahead")
    expect(ahead).to_contain_text("15:45")
    expect(page.get_by_test_id("countdown")).to_have_text(re.compile(r"^\d+:\d\d(:\d\d)?$"))
    expect(page.get_by_test_id("status")).to_contain_text(re.compile("short", re.IGNORECASE))
    expect(ahead).to_contain_text(re.compile("deposit", re.IGNORECASE))
    for _ in range(40):
        before = account(running)["look_ahead"]
        page.wait_for_timeout(400)  # the page is told four times a second
        shown = ahead.inner_text()
        if account(running)["look_ahead"]["smallest_deposit"] == before["smallest_deposit"]:
            break  # the market stood still between the two looks
    assert Decimal(before["short"]) > 0
    assert f"{Decimal(before['smallest_deposit']):,.2f}" in shown


def is_closed_out(page: Page, running: Demo) -> None:
    """At the switch initial margin holds, and the account that is short of it is closed out to fit."""
    timeline = page.get_by_test_id("timeline")
    expect(timeline).to_contain_text(re.compile("clos(ed|e-)", re.IGNORECASE), timeout=180_000)
    receipts = running.call("customer", "GET", "/v1/accounts/CASEY/receipts")["items"]
    while not receipts:
        page.wait_for_timeout(500)
        receipts = running.call("customer", "GET", "/v1/accounts/CASEY/receipts")["items"]
    document = receipts[0]["document"]
    assert document["trigger"]["time"] >= "2025-10-10T20:45"
    timeline.get_by_role("button", name=re.compile("receipt", re.IGNORECASE)).first.click()
    dialog = page.get_by_test_id("receipt-dialog")
    expect(dialog).to_contain_text(receipts[0]["receipt_id"])
    expect(dialog).to_contain_text("A close-out does not cap the loss")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
