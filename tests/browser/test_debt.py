"""A crash from both pages' point of view: a position too large for its market, its close-out, the debt that is left,
how it is paid, and what the desk does meanwhile, with a second pair of eyes. At the end the service stops answering for
a while, and comes back.

The market is that of the morning of 12 March 2020; the account is that of docs/tutorial.md.
"""

from __future__ import annotations

import re
import signal
import time
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.pages import Demo, browser, demo, viewing

ACCOUNT = "CASEY-2"
AT = f"/v1/accounts/{ACCOUNT}"
CONTRACT, QUANTITY, WORTHLESS_AT = "PBTCUCZ50", 800_000, Decimal(6476)


def opened(running: Demo) -> None:
    """An account with money and a position that its market cannot take quickly."""
    price = Decimal(0)
    while not price:
        items = running.call("broker", "GET", "/v1/contracts")["items"]
        price = Decimal(next(item["mark"] for item in items if item["contract"] == CONTRACT) or 0)
    running.call("broker", "POST", "/v1/accounts", {"account_id": ACCOUNT, "owner": "Casey Customer"}, expected=201)
    running.call("broker", "POST", f"{AT}/deposits", {"amount": str(QUANTITY // 100 * (price - WORTHLESS_AT))})
    body = {"contract": CONTRACT, "quantity": str(QUANTITY), "entry_price": str(price)}
    running.call("broker", "POST", f"{AT}/positions", body)


@pytest.mark.rule("US-12", "US-13", "US-18", "US-19", "US-20")
def test_a_crash_from_both_pages(tmp_path: Path) -> None:
    with browser() as chromium, demo(tmp_path, "--market", "march-12-morning", "--speed", "100") as running:
        opened(running)
        with (
            viewing(chromium, running, "customer", f"/?account={ACCOUNT}") as portfolio,
            viewing(chromium, running, "desk", "/desk") as desk,
            viewing(chromium, running, "supervisor", "/desk") as supervisor,
        ):
            acknowledges(portfolio, running)
            owes(portfolio, running)
            is_seen_by_the_desk(desk, running)
            pays(portfolio, running)
            is_released(desk, supervisor, portfolio, running)
            loses_its_connection(portfolio, running)


def acknowledges(page: Page, running: Demo) -> None:
    """Before the first order the risk disclosure is read and acknowledged."""
    expect(page.get_by_test_id("disclosure")).to_be_visible()
    page.get_by_test_id("acknowledge").click()
    expect(page.get_by_test_id("acknowledge")).not_to_be_visible()
    facts = running.call("customer", "GET", AT)["account"]["disclosure"]
    assert facts["acknowledged"] == facts["required"]


def owes(page: Page, running: Demo) -> None:
    """Warned, closed out, below zero: what is owed is on the page to the cent, and how to pay it."""
    expect(page.get_by_test_id("status")).to_contain_text(re.compile("owe", re.IGNORECASE), timeout=180_000)
    debt = page.get_by_test_id("debt")
    expect(debt).to_be_visible(timeout=180_000)
    owed = Decimal(running.call("customer", "GET", f"{AT}/receivable")["owed"])
    assert owed > 0
    expect(debt).to_contain_text(f"{owed:,.2f}")
    expect(debt).to_contain_text("due at once")
    expect(page.get_by_test_id("timeline")).to_contain_text(re.compile("warn", re.IGNORECASE))
    page.get_by_test_id("ticket-contract").select_option(CONTRACT)
    page.get_by_test_id("ticket-quantity").fill("1")
    expect(page.get_by_test_id("ticket-preview")).to_contain_text(re.compile("owes", re.IGNORECASE))


def is_seen_by_the_desk(page: Page, running: Demo) -> None:
    """The desk finds the account by its name, and its receipt."""
    expect(page.get_by_test_id("totals")).to_be_visible()
    page.get_by_test_id("accounts-search").fill(ACCOUNT)
    accounts = page.get_by_test_id("accounts")
    expect(accounts).to_contain_text("In debit")
    accounts.get_by_text(ACCOUNT, exact=True).first.click()
    drill = page.get_by_test_id("drill")
    expect(drill).to_contain_text("Owes")
    page.get_by_test_id("drill-receipts-tab").click()
    expect(drill).to_contain_text(running.call("desk", "GET", f"{AT}/receivable")["receipt_id"])
    act(page, "hold", "looking into it")
    expect(drill).to_contain_text("On hold")
    assert "held" in running.call("desk", "GET", AT)["state"]["flags"]


def act(page: Page, action: str, reason: str) -> None:
    page.get_by_test_id(f"act-{action}").click()
    dialog = page.get_by_test_id("act-dialog")
    expect(page.get_by_test_id("act-confirm")).to_be_disabled()  # not without a reason
    page.get_by_test_id("act-reason").fill(reason)
    read = dialog.get_by_role("checkbox", name="I have read")
    if read.is_visible():  # of the acts that cannot be taken back
        expect(page.get_by_test_id("act-confirm")).to_be_disabled()
        read.check()
    page.get_by_test_id("act-confirm").click()
    expect(page.get_by_test_id("act-result")).to_be_visible()
    if dialog.is_visible():
        page.keyboard.press("Escape")


def pays(page: Page, running: Demo) -> None:
    """Half of it, then the rest: the page follows."""
    owed = Decimal(running.call("customer", "GET", f"{AT}/receivable")["owed"])
    half = (owed / 2).quantize(Decimal("0.01"))
    running.call("broker", "POST", f"{AT}/payments", {"amount": str(half)})
    expect(page.get_by_test_id("debt")).to_contain_text(f"{owed - half:,.2f}")
    running.call("broker", "POST", f"{AT}/payments", {"amount": str(owed - half)})
    expect(page.get_by_test_id("debt")).not_to_be_visible()


def is_released(desk: Page, supervisor: Page, portfolio: Page, running: Demo) -> None:
    """The restriction after a liquidation is lifted by two people: proposed by one, approved by the other."""
    expect(portfolio.get_by_test_id("status")).to_contain_text("Restricted")
    act(desk, "release_restriction", "paid in full")
    (proposal,) = running.call("desk", "GET", "/v1/proposals?status=open")["items"]
    assert proposal["kind"] == "release_restriction"
    proposals = supervisor.get_by_test_id("tab-proposals")
    proposals.click()
    supervisor.get_by_test_id(f"approve-{proposal['proposal_id']}").click()
    supervisor.get_by_test_id("act-reason").or_(supervisor.get_by_test_id("act-confirm")).first.wait_for()
    if supervisor.get_by_test_id("act-reason").is_visible():
        supervisor.get_by_test_id("act-reason").fill("seen the payment")
    read = supervisor.get_by_test_id("act-dialog").get_by_role("checkbox", name="I have read")
    if read.is_visible():
        read.check()
    supervisor.get_by_test_id("act-confirm").click()
    expect(portfolio.get_by_test_id("status")).not_to_contain_text("Restricted")
    done = running.call("desk", "GET", "/v1/proposals?status=approved")["items"]
    assert (done[0]["proposed_by"], done[0]["decided_by"]) == ("Dana Desk", "Sam Supervisor")


def loses_its_connection(page: Page, running: Demo) -> None:
    """A service that says nothing any more makes the page say that it is old; when it answers, the page is live."""
    running.process.send_signal(signal.SIGSTOP)
    try:
        expect(page.locator("[data-connection=stale]")).to_be_visible()
        expect(page.get_by_role("alert").filter(has_text="What you see is old")).to_be_visible()
        expect(page.get_by_test_id("ticket-submit")).to_be_disabled()
        time.sleep(1)
    finally:
        running.process.send_signal(signal.SIGCONT)
    expect(page.locator("[data-connection=live]")).to_be_visible()
    running.call("broker", "POST", f"{AT}/deposits", {"amount": "123.45"})
    expect(page.get_by_test_id("net-liq")).to_contain_text("123.45")
