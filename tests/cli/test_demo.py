"""`closeout demo` for somebody who has never seen it: what it prints, how it ends, how it goes on, what it refuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys

import pytest
from tests.cli.command import Command
from tests.cli.service import running

FAST = ("demo", "--speed", "600", "--port", "0", "--accounts", "30", "--market", "march-12-morning")


def test_the_line_is_what_the_interface_promises(command: Command) -> None:
    with running(command.folder, *FAST) as demo:
        assert set(demo.said) >= {"url", "keys", "pages"}
        pages = {name: page.replace(demo.said["url"], "") for name, page in demo.said["pages"].items()}
        assert pages == {"portfolio": f"/#key={demo.key('customer')}", "desk": f"/desk#key={demo.key('desk')}"}
        assert set(demo.said["keys"]) == {"customer", "desk", "supervisor", "broker", "auditor"}
        assert demo.said["keys"]["customer"]["account_id"] == "CASEY"
        assert demo.get("/health", role="").status_code == 200
        assert demo.get("/openapi.json", role="").json()["openapi"].startswith("3.1")
        for role in demo.said["keys"]:
            assert demo.get("/v1/me", role).json()["role"] == role
        assert demo.get("/v1/risk", role="").status_code == 401
        assert demo.get("/v1/risk", "customer").status_code == 403
    assert (demo.code, demo.out) == (0, "")
    for line in demo.err.splitlines():  # the log, and nothing else
        assert json.loads(line)["level"] in ("info", "warning"), line
    assert command.names() == set()  # without --out nothing stays


@pytest.mark.rule("US-07", "US-18")
def test_a_customer_reads_the_disclosure_and_sends_an_order_that_fills(command: Command) -> None:
    with running(command.folder, *FAST) as demo:
        service = demo.get("/v1/service", "customer").json()
        assert (service["mode"], service["market"], service["speed"]) == ("recorded", "BTCUSDT of 12 March 2020", 600.0)
        assert (service["venue"], service["simulated_venue"]) == ("simulated", True)
        assert "broker" in service["how_to_pay"]
        disclosure = demo.get("/v1/disclosure", "customer").json()
        assert disclosure["version"] == service["disclosure"]
        assert "does not cap your loss" in disclosure["text"]
        demo.until("/v1/accounts", lambda found: found["items"])
        account = demo.get("/v1/accounts/CASEY", "customer").json()["account"]
        assert account["disclosure"] == {"required": service["disclosure"], "acknowledged": service["disclosure"]}
        [contract] = account["contracts"]
        order = {"order_id": "web-1", "contract": contract, "quantity": "-1"}
        headers = {"Authorization": f"Bearer {demo.key('customer')}", "Idempotency-Key": "web-1"}
        url = f"{demo.said['url']}/v1/accounts/CASEY/orders/check"
        assert demo.http.post(url, json=order, headers=headers).json()["approved"]
        fills = demo.until("/v1/accounts/CASEY/fills", lambda found: found["items"])["items"]
        assert (fills[0]["order_id"], fills[0]["fill_id"], fills[0]["quantity"]) == ("web-1", "web-1-f1", "-1")
        assert demo.get(f"/v1/contracts/{contract}/bars", "customer").json()["items"]


@pytest.mark.rule("US-05", "US-18", "US-27")
def test_the_customers_account_has_something_to_show(command: Command) -> None:
    with running(command.folder, *FAST, how=signal.SIGTERM) as demo:
        demo.until("/v1/accounts", lambda found: found["items"])
        account = demo.get("/v1/accounts/CASEY", "customer").json()
        assert account["positions"]
        assert float(account["usage"]) > 0
        assert account["look_ahead"] is not None
        assert any(float(case["amount"]) > 0 for case in account["could_owe"])
        assert demo.get("/v1/accounts/P0000001", "customer").status_code == 404
        receipts = demo.until("/v1/accounts/CASEY/receipts", lambda found: found["items"])["items"]
    assert (demo.code, demo.out) == (0, "")
    assert receipts[0]["document"]["trigger"]["cause"] == "net liq below the auto-liquidation line"


@pytest.mark.rule("G-16", "G-17")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_leaves_a_proven_journal_and_goes_on(command: Command, how: signal.Signals) -> None:
    with running(command.folder, *FAST, "--out", "here", how=how) as first:
        seen = first.until("/v1/journal", lambda found: int(found["seq"]) >= 60, "auditor")["seq"]
        time = first.get("/v1/risk").json()["totals"]["as_of"]
    assert first.code == (-how if how is signal.SIGKILL else 0), first.err
    assert first.out == ""
    proven = command("verify", "here/journal.sqlite", "--json")
    assert proven.json["ok"], proven.out
    assert bool(proven.json["published"]) == (how is not signal.SIGKILL)
    with running(command.folder, *FAST, "--out", "here") as second:
        assert second.get("/v1/journal").json()["seq"] > seen
        assert second.get("/v1/risk").json()["totals"]["as_of"] > time
        assert second.get("/v1/accounts/CASEY", "customer").json()["positions"]
        assert second.get("/v1/ledger").json()["faults"] == []
        assert second.key("desk") != first.key("desk")
    assert command("verify", "here/journal.sqlite", "--json").json["ok"]


def test_for_a_person_it_prints_where_it_is_and_the_keys(command: Command) -> None:
    call = [sys.executable, "-m", "closeout.cli", *FAST]
    with subprocess.Popen(
        call, cwd=command.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        assert demo.stdout is not None
        said = "".join(iter(demo.stdout.readline, "Ctrl-C stops it.\n"))
        demo.send_signal(signal.SIGINT)
    assert demo.returncode == 0
    assert re.search(r"listens on http://127\.0\.0\.1:[0-9]+\.", said)
    keys = dict(re.findall(r"^  ([a-z]+) +(co_demo-\S+)", said, re.MULTILINE))
    assert set(keys) == {"customer", "broker", "desk", "supervisor", "auditor"}
    assert "(account CASEY)" in said


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_a_port_that_is_none(command: Command, port: str) -> None:
    answer = command("demo", "--port", port)
    assert (answer.code, answer.out, command.names()) == (2, "", set())
    assert "--port" in answer.err
    assert "Traceback" not in answer.err


def test_a_port_in_use(command: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command.refuses("demo", "--port", port, "--out", "here", naming=(f"127.0.0.1:{port}", "in use"))


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        (("--market", "march-13"), ("march-13", "march-12-morning")),
        (("--market", "none.csv"), ("none.csv",)),
        (("--rulebook", "krakenus"), ("krakenus", "did you mean kraken-us?")),
        (("--speed", "0"), ("--speed", "above 0")),
        (("--out", "file"), ("file", "cannot be the demo's folder")),
        (("--out", "file/below"), ("file/below", "cannot be the demo's folder")),
    ],
)
def test_what_cannot_be(command: Command, arguments: tuple[str, ...], naming: tuple[str, ...]) -> None:
    command.write("file", "no folder")
    out = () if "--out" in arguments else ("--out", "here")
    command.refuses("demo", "--port", 0, "--accounts", 5, *out, *arguments, naming=naming)


def test_another_market_or_rulebook_does_not_go_on_in_the_same_folder(command: Command) -> None:
    with running(command.folder, *FAST, "--out", "here"):
        pass
    other = ("demo", "--port", 0, "--out", "here", "--accounts", 30)
    command.refuses(*other, "--market", "oct-10", naming=("here", "--market march-12-morning"))
    command.refuses(*other[:-1], 31, "--market", "march-12-morning", naming=("here", "--accounts 30"))
    line = ("demo", "--port", 0, "--out", "here", "--accounts", 30, "--market", "march-12-morning")
    command.refuses(*line, "--rulebook", "kraken-us", naming=("rulebook", "kraken-us:as_if_24x7"))


@pytest.mark.rule("G-17")
def test_two_demos_do_not_write_one_journal(command: Command) -> None:
    with running(command.folder, *FAST, "--out", "here") as first:
        answer = command(*FAST, "--out", "here")
        assert (answer.code, answer.out) == (2, "")
        assert "here/store.sqlite: another process has this store open" in answer.err.splitlines()[-1]
        assert first.get("/health", role="").status_code == 200
