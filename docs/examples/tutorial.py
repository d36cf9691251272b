"""The story of one account, told by API calls against a running demo: docs/tutorial.md with its code.

    python docs/examples/tutorial.py               starts `closeout demo` itself, and stops it at the end
    python docs/examples/tutorial.py DEMO.json     against a demo that runs; DEMO.json holds the line that it printed:
        closeout demo --market march-12-morning --json > DEMO.json

It prints each call and what matters of the answer, and stops with an error where something is not as it says. Besides
Python it needs httpx.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import httpx

MARKET = "march-12-morning"
ACCOUNT = "/v1/accounts/CASEY-2"
CONTRACT = "PBTCUCZ50"  # a perpetual of 0.01 BTC
QUANTITY = 800_000  # contracts: 8,000 BTC, of which the simulated book takes 50 to 500 a minute in this market
WORTHLESS_AT = Decimal(6476)  # the price at which the account's cash is lost, fee and all
BEGINS_BEFORE = "2020-03-12T10:13"  # after that the market falls, and the account cannot be opened as it is here
PATIENCE = 900  # seconds until something that should come is given up

Json = dict[str, Any]


def stop(why: str) -> NoReturn:
    sys.exit(f"tutorial: {why}")


def holds(true: object, what: str) -> None:
    """What the story says must be so."""
    if not true:
        stop(f"this does not hold: {what}")


def shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    return str(value)


@dataclass
class Story:
    """The API as each of the demo's people has it; it prints what is called and what came back."""

    url: str
    keys: Mapping[str, str]
    mail: Path
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))
    calls: int = 0
    steps: int = 0

    def step(self, title: str) -> None:
        self.steps += 1
        print(f"\n== {self.steps}. {title}", flush=True)

    def request(self, role: str, method: str, path: str, body: Json | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        if method != "GET":
            self.calls += 1
            headers["Idempotency-Key"] = f"tutorial-{self.run}-{self.calls}"
        return self.http.request(method, self.url + path, headers=headers, json=body)

    def call(
        self, role: str, method: str, path: str, body: Json | None = None, *, show: str = "", status: int | None = None
    ) -> Json:
        """Call as one of the demo's people; `show` names the fields of the answer to print, `a.b` is b of a."""
        response = self.request(role, method, path, body)
        print(f"{role}: {method} {path}" + (f" {json.dumps(body)}" if body else ""))
        answer = response.json()
        if response.is_success == (status is not None) or status not in (None, response.status_code):
            stop(f"{method} {path} answered {response.status_code}: {answer}")
        lines = [f"{name}: {shown(pick(answer, name))}" for name in show.split()]
        print("\n".join(f"    {line}" for line in [str(response.status_code), *lines]), flush=True)
        return answer

    def look(self, role: str, path: str) -> Json:
        """The same without a word, for what is looked at again and again."""
        response = self.request(role, "GET", path)
        return response.raise_for_status().json()

    def until(self, found: Callable[[], Json | None], what: str) -> Json:
        """What `found` comes up with, as soon as it does."""
        print(f"... until {what}", flush=True)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = found()
            if answer is not None:
                return answer
            time.sleep(0.03)
        stop(f"waited {PATIENCE} s in vain until {what}")

    # -- what is asked for more than once ------------------------------------------------------------

    def mark(self) -> tuple[Decimal, str]:
        """Price and time of the contract's mark."""
        items = self.look("broker", "/v1/contracts")["items"]
        contract = next(item for item in items if item["contract"] == CONTRACT)
        return Decimal(contract["mark"] or 0), contract["mark_time"] or ""

    def order(self, order_id: str, quantity: int, *, show: str) -> Json:
        """The customer asks whether an order may go out."""
        body = {"order_id": order_id, "contract": CONTRACT, "quantity": str(quantity)}
        return self.call("customer", "POST", f"{ACCOUNT}/orders/check", body, show=f"approved {show}")

    def notice(self, *kinds: str) -> Json | None:
        """The first thing of these kinds that the account was told."""
        items = self.look("customer", f"{ACCOUNT}/notices?limit=500")["items"]
        return next((item for item in items if item["kind"] in kinds), None)


def pick(answer: Any, name: str) -> Any:
    for part in name.split("."):
        answer = answer[int(part)] if isinstance(answer, list) else answer[part]
    return answer


WORTH = "net_liq requirement usage estimated_liquidation_value state.level"
VERDICT = "code before change after available suggested_quantity"


def print_could_owe(account: Json) -> None:
    """What the account would owe if it were closed out after a fall of so much."""
    for case in account["could_owe"]:
        if case["move"].startswith("-"):
            where = f" (as in {case['worst_minute']})" if case["worst_minute"] else ""
            print(f"    could owe {case['amount']} after a move of {case['move']}{where}")


def the_neighbour(story: Story) -> None:
    story.step("Somebody's account")
    story.until(lambda: story.look("customer", "/v1/accounts")["items"] or None, "the demo's accounts are in")
    casey = story.call("customer", "GET", "/v1/accounts/CASEY", show=WORTH)
    print_could_owe(casey)
    holds(casey["positions"], "CASEY holds something")
    story.call("customer", "GET", "/v1/accounts/P0000001", show="code", status=404)
    holds(story.look("broker", "/health")["status"], "the service is healthy")


def opened(story: Story) -> None:
    story.step("An account is opened")
    price, at = story.mark()
    if not price or at >= BEGINS_BEFORE:
        stop(f"this demo's market is at {at or 'no price'}; start a new one: closeout demo --market {MARKET}")
    story.call("broker", "POST", "/v1/accounts", {"account_id": "CASEY-2", "owner": "Casey Customer"}, show="seq")
    cash = QUANTITY // 100 * (price - WORTHLESS_AT)
    story.call("broker", "POST", f"{ACCOUNT}/deposits", {"amount": str(cash)}, show="seq time")
    account = story.call("customer", "GET", ACCOUNT, show="net_liq account.withdrawable state.level")
    holds(Decimal(account["net_liq"]) == cash, "what was paid in is there")


def disclosed(story: Story) -> None:
    story.step("The risk disclosure comes first")
    refused = story.order("first", QUANTITY, show="code detail")
    holds(refused["code"] == "disclosure", "nobody trades who has not acknowledged the disclosure")
    version = refused["detail"].split()[2]
    story.call("customer", "POST", f"{ACCOUNT}/disclosure", {"version": version}, show="applied")


def bought(story: Story) -> None:
    story.step("An order is checked, and filled")
    large = story.order("large", 3 * QUANTITY // 2, show=VERDICT)
    holds(large["code"] == "margin" and int(large["suggested_quantity"]) > QUANTITY, "too large, and how much is not")
    order = story.order("first", QUANTITY, show=VERDICT)
    holds(order["approved"], "the smaller one fits")
    price, _ = story.mark()
    fill = {
        "account_id": "CASEY-2", "order_id": "first", "fill_id": f"first-{story.run}", "contract": CONTRACT,
        "quantity": str(QUANTITY), "price": str(price),
    }  # fmt: skip
    story.call("broker", "POST", "/v1/fills", fill, show="applied")
    show = f"{WORTH} positions.0.quantity positions.0.liquidation_price"
    account = story.call("customer", "GET", ACCOUNT, show=show)
    print_could_owe(account)
    holds(account["state"]["level"] == "normal", "usage is below the alert level")


def warned(story: Story) -> None:
    story.step("A warning")
    notice = story.until(lambda: story.notice("warning"), "the market has fallen far enough for a warning")
    print(f"    {notice['time']}: warning, level {notice['detail']}")
    story.call("customer", "GET", ACCOUNT, show=WORTH)


def liquidate_only(story: Story) -> None:
    story.step("Only orders that reduce risk")
    body = {"order_id": "more", "contract": CONTRACT, "quantity": "100"}

    def refused() -> Json | None:
        """The market moves on between a look and a call: what is approved is taken back, and tried again."""
        code = story.request("customer", "POST", f"{ACCOUNT}/orders/preview", body).raise_for_status().json()["code"]
        holds(
            code not in ("liquidating", "in_debit"),
            "the market stays between the two lines for a moment; play it more slowly",
        )
        if code != "liquidate_only":
            return None
        answer = story.request("customer", "POST", f"{ACCOUNT}/orders/check", body).raise_for_status().json()
        if answer["approved"]:
            story.request("customer", "DELETE", f"{ACCOUNT}/orders/more").raise_for_status()
        return answer if answer["code"] == "liquidate_only" else None

    answer = story.until(refused, "usage has passed 100 %, and an order for more is refused")
    print(f"customer: POST {ACCOUNT}/orders/check {json.dumps(body)}")
    print("\n".join(f"    {name}: {shown(answer[name])}" for name in ["approved", *VERDICT.split()]))
    holds(Decimal(answer["after"]) > Decimal(answer["before"]), "it would have needed more")
    body = {"order_id": "less", "contract": CONTRACT, "quantity": "-100"}
    less = story.call("customer", "POST", f"{ACCOUNT}/orders/preview", body, show=f"approved {VERDICT}")
    holds(less["approved"], "an order that reduces the position passes")


def closed_out(story: Story) -> None:
    story.step("The close-out")

    def flat() -> Json | None:
        account = story.look("customer", ACCOUNT)
        return account if not account["positions"] else None

    account = story.until(flat, "the close-out has begun, and the account is flat")
    receipts = story.call("customer", "GET", f"{ACCOUNT}/receipts")["items"]
    for item in receipts:
        print_receipt(item["document"])
    holds(Decimal(account["account"]["receivable"]["owed"]) > 0, "the close-out left a debt")


def print_receipt(receipt: Json) -> None:
    print(f"    receipt {receipt['receipt_id']}: {receipt['trigger']['cause']}")
    for name in ("time", "net_liq", "requirement", "line", "usage"):
        print(f"      at the trigger, {name}: {receipt['trigger'][name]}")
    for order in receipt["orders"]:
        fills = order["fills"]
        filled = sum(int(fill["quantity"]) for fill in fills)
        print(
            f"      {order['side']} {order['quantity']} at a mark of {order['mark']}: {filled} filled in {len(fills)} "
            f"pieces, from {fills[0]['price'] if fills else '-'} to {fills[-1]['price'] if fills else '-'}"
        )
    for name, value in receipt["end"].items():
        print(f"      at the end, {name}: {value}")
    print("      " + ", ".join(f"{name}: {receipt[name]}" for name in ("liquidation_fee", "deficit", "owed")))


def mailed(story: Story) -> None:
    story.step("The mail")

    def letters() -> list[email.message.EmailMessage]:
        found = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted(story.mail.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
        ]
        return [letter for letter in found if letter["To"] == "casey-2@customers.example"]

    def last() -> Json | None:
        found = [letter for letter in letters() if "closed out" in letter["Subject"]]
        return {"letter": found[-1]} if found else None

    letter = story.until(last, f"the confirmation lies in {story.mail.name}/")["letter"]
    for name in ("Message-ID", "From", "To", "Subject", "Date"):
        print(f"    {name}: {letter[name]}")
    text = letter.get_body(("plain",)).get_content()
    lines = text.strip().splitlines()
    if len(lines) > 30:  # with a line or more for each fill
        lines[9:-18] = [f"[{len(lines) - 27} lines more]"]
    print("\n".join(f"    | {line}".rstrip() for line in ["", *lines]))
    subjects = dict.fromkeys(str(each["Subject"]) for each in letters())
    print("    what the account was mailed:", *subjects, sep="\n      ")
    ids = [each["Message-ID"] for each in letters()]
    holds(len(ids) == len(set(ids)), "no mail came twice")


def charged(story: Story) -> None:
    story.step("The fee, the restriction, the debt")
    postings = story.call("customer", "GET", f"{ACCOUNT}/statement?limit=500")["items"]
    for posting in postings:
        if posting["reason"] not in ("realised profit", "trade fee"):
            print(f"    {posting['amount']} from {posting['debit']} to {posting['credit']}: {posting['reason']}")
    holds(any(posting["reason"] == "liquidation fee" for posting in postings), "the fee stands in the statement")
    account = story.call("customer", "GET", ACCOUNT, show="net_liq state.level state.flags account.liquidations")
    holds({"restricted", "in_debit"} <= set(account["state"]["flags"]), "restricted, and in debit")
    debt = story.call("customer", "GET", f"{ACCOUNT}/receivable", show="owed status business_days receipt_id")
    holds(debt["status"] == "demanded", "the debt is due at once")
    deficits = story.look("desk", "/v1/deficits?limit=500")["items"]
    holds(any(each["account_id"] == "CASEY-2" for each in deficits), "the desk sees the deficit")


def refused_in_debit(story: Story) -> None:
    story.step("No order while in debt")
    order = story.order("again", 1, show=VERDICT)
    holds(order["code"] == "in_debit", "who owes and is flat cannot trade")


def paid(story: Story) -> None:
    story.step("The debt is paid in two parts")
    owed = Decimal(story.look("customer", f"{ACCOUNT}/receivable")["owed"])
    first = (owed / 2).quantize(Decimal("0.01"))
    for amount in (first, owed - first + 1000):
        story.call("broker", "POST", f"{ACCOUNT}/payments", {"amount": str(amount)}, show="applied")
        debt = story.call("customer", "GET", f"{ACCOUNT}/receivable", show="owed status")
    holds(debt["owed"] == "0.00", "nothing is owed any more")
    account = story.call("customer", "GET", ACCOUNT, show="net_liq state.flags")
    holds(account["net_liq"] == "1000.00", "what was paid beyond the debt is the customer's")
    holds(account["state"]["flags"] == ["restricted"], "still restricted")


def released(story: Story) -> None:
    story.step("The restriction is lifted by two people")
    margin = story.look("customer", "/v1/contracts")["items"][0]["margin_of_one_lot"]
    fits = int(1500 / Decimal(margin["initial"]))  # needs 1,500 of initial margin, and half of that intraday
    order = story.order("small", fits, show=VERDICT)
    holds(order["code"] == "margin", "the restricted must have the initial margin")
    alone = {"action": "release_restriction", "reason": "paid in full"}
    story.call("desk", "POST", f"{ACCOUNT}/desk", alone, show="code detail", status=409)
    act = {"kind": "release_restriction", "account_id": "CASEY-2", "reason": "paid in full"}
    proposal = story.call("desk", "POST", "/v1/proposals", act, show="proposal_id", status=None)
    path = f"/v1/proposals/{proposal['proposal_id']}/approve"
    story.call("desk", "POST", path, show="code", status=403)
    story.call("supervisor", "POST", path, show="applied")
    story.call("customer", "GET", ACCOUNT, show="state.flags")
    order = story.order("small", fits, show=VERDICT)
    holds(order["approved"], "intraday margin is enough again")
    story.call("customer", "DELETE", f"{ACCOUNT}/orders/small", show="applied")


def audited(story: Story) -> None:
    story.step("What the auditor sees")
    show = "balances.house balances.receivable balances.fees ledger_imbalance faults"
    ledger = story.call("auditor", "GET", "/v1/ledger", show=show)
    holds(ledger["ledger_imbalance"] == "0.00" and not ledger["faults"], "the books balance")
    acts = story.call("auditor", "GET", "/v1/acts?limit=500")["items"]
    for act in acts:
        who = act["person"] or act["source"].removeprefix("key:")
        print(f"    {act['time'][:19]} {who}: {act['command']}, {act['outcome']} {act['code']}".rstrip())
    names = [act["document"].get("second") for act in acts]
    holds("Sam Supervisor" in names, "who approved stands beside who proposed")


STEPS = (
    the_neighbour, opened, disclosed, bought, warned, liquidate_only, closed_out, mailed, charged, refused_in_debit,
    paid, released, audited,
)  # fmt: skip


def story_of(announcement: Json) -> Story:
    keys = {role: key["key"] if isinstance(key, dict) else key for role, key in announcement["keys"].items()}
    return Story(announcement["url"], keys, Path(announcement["folder"]) / "mail")


def tell(announcement: Json) -> None:
    story = story_of(announcement)
    for step in STEPS:
        step(story)
    print("\nAll of it held.")


@contextmanager
def demo(speed: str, market: str = MARKET, accounts: int = 200) -> Iterator[Json]:
    """A demo of one's own, on a free port."""
    command = ["closeout", "demo", "--market", market, "--speed", speed, "--port", "0", "--accounts", f"{accounts}"]
    command.append("--json")
    print("$ " + " ".join(command), flush=True)
    beside = Path(sys.executable).parent  # where `closeout` lies, if it was installed for this Python
    command[0] = str(beside / command[0]) if (beside / command[0]).exists() else command[0]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                stop("the demo did not start; run the command above to see why")
            yield json.loads(line)
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("demo", nargs="?", help="file with the line that `closeout demo --json` printed")
    parser.add_argument("--url", help="where that demo is, if not where its line says")
    parser.add_argument("--speed", default="60", help="of a demo that this starts itself (60)")
    given = parser.parse_args()
    if given.demo:
        announcement = json.loads(Path(given.demo).read_text(encoding="utf-8"))
        tell(announcement | ({"url": given.url} if given.url else {}))
    else:
        with demo(given.speed) as announcement:
            tell(announcement)


if __name__ == "__main__":
    main()
