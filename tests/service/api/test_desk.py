"""The desk through the API: four eyes, limits, the market by hand, the file of the morning."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.service.api.harness import Service, running

from closeout.engine.commands import SessionChange
from closeout.service.store import Store

DESK = "/v1/accounts/A1/desk"


async def flags(service: Service) -> list[str]:
    return (await service.send("desk", "GET", "/v1/accounts/A1")).json()["state"]["flags"]


@pytest.mark.rule("US-12", "US-20")
def test_an_act_for_two_is_proposed_by_one_and_approved_by_another(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            restrict = await service.send("desk", "POST", DESK, {"action": "restrict", "reason": "late"})
            assert restrict.status_code == 200
            alone = await service.send("desk", "POST", DESK, {"action": "release_restriction", "reason": "paid"})
            assert (alone.status_code, alone.json()["code"]) == (409, "needs_second")
            assert "/v1/proposals" in alone.json()["detail"]
            act = {"kind": "release_restriction", "account_id": "A1", "reason": "paid"}
            proposed = await service.send("supervisor", "POST", "/v1/proposals", act, idempotency="p1")
            assert proposed.status_code == 202
            again = await service.send("supervisor", "POST", "/v1/proposals", act, idempotency="p1")
            assert (again.json(), again.headers["idempotent-replayed"]) == (proposed.json(), "true")
            other = await service.send(
                "supervisor", "POST", "/v1/proposals", {**act, "reason": "other"}, idempotency="p1"
            )
            assert other.json()["code"] == "key_reused"
            place = f"/v1/proposals/{proposed.json()['proposal_id']}"
            own = await service.send("supervisor", "POST", f"{place}/approve")
            assert (own.status_code, own.json()["code"]) == (409, "needs_second")
            assert "restricted" in await flags(service)
            approved = await service.send("second", "POST", f"{place}/approve")
            assert approved.status_code == 200, approved.text
            assert "restricted" not in await flags(service)
            seq = service.context.writer.seq
            twice = await service.send("second", "POST", f"{place}/approve")
            assert (twice.json(), service.context.writer.seq) == (approved.json(), seq)
            late = await service.send("supervisor", "POST", f"{place}/reject")
            assert (late.status_code, late.json()["code"]) == (409, "decided")
            [listed] = (await service.send("auditor", "GET", "/v1/proposals")).json()["items"]
            assert (listed["status"], listed["proposed_by"], listed["decided_by"]) == (
                "approved", "supervisor person", "second supervisor",
            )  # fmt: skip
            await service.projected()
            acts = (await service.send("auditor", "GET", "/v1/acts", params={"newest_first": True})).json()["items"]
            assert acts[0]["document"]["by"] == "supervisor person"
            assert acts[0]["document"]["second"] == "second supervisor"

    asyncio.run(run())


@pytest.mark.rule("US-25")
def test_every_kind_of_proposal_becomes_the_act(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await service.mark({"MBT": 14_000})
            fill = {"account_id": "A1", "contract": "MBT", "quantity": "1", "price": "70000", "order_id": "x",
                    "fill_id": "f1"}  # fmt: skip
            assert (await service.send("broker", "POST", "/v1/fills", fill)).status_code == 200
            acts: list[tuple[dict[str, Any], int, str | None]] = [
                ({"kind": "adjust_cash", "account_id": "A1", "amount": "-25.00"}, 200, None),
                ({"kind": "write_off", "account_id": "A1", "amount": "1.00"}, 409, "exceeds_receivable"),
                ({"kind": "correct_fill", "fill_id": "f1", "price": "69990"}, 200, None),
                ({"kind": "correct_fill", "fill_id": "f1", "price": None}, 200, None),
                ({"kind": "set_margin", "contract": "MBT", "tiers": [{"initial_margin": "1"}]}, 200, None),
                ({"kind": "desk_switch", "contract": None, "action": "unlock"}, 200, None),
                ({"kind": "set_limits", "scope": "account", "name": "A1", "collar": "0.05"}, 200, None),
                ({"kind": "withdraw_news", "release_id": "none"}, 409, "unknown_release"),
                ({"kind": "news", "release_id": "cpi", "contracts": ["MBT"], "begins": "2026-02-05T15:00:00Z",
                  "ends": "2026-02-05T16:00:00Z"}, 200, None),
            ]  # fmt: skip
            for act, status, code in acts:
                body = {**act, "reason": "because"}
                proposed = await service.send("supervisor", "POST", "/v1/proposals", body)
                assert proposed.status_code == 202, proposed.text
                place = f"/v1/proposals/{proposed.json()['proposal_id']}/approve"
                answer = await service.send("second", "POST", place)
                assert (answer.status_code, answer.json().get("code")) == (status, code), (act, answer.text)
            listed = (await service.send("desk", "GET", "/v1/proposals", params={"status": "open"})).json()["items"]
            assert {item["kind"] for item in listed} == {"write_off", "withdraw_news"}
            seen = (await service.send("desk", "GET", "/v1/accounts/A1")).json()
            assert (seen["account"]["cash"], seen["positions"]) == ("9975.00", [])

    asyncio.run(run())


@pytest.mark.rule("US-28")
def test_limits_are_read_as_they_were_set_and_refuse_an_order(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await service.mark({"MBT": 14_000})
            limits = {
                "order_quantity": {"MBT": "1"}, "position_quantity": {"MBT": "3"}, "collar": "0.05",
                "concentration_quantity": {"MBT": "2"}, "concentration_rate": "0.1",
                "groups": [{"contracts": ["MBT", "MET"], "amount": "500000.00"}],
            }  # fmt: skip
            path = "/v1/accounts/A1/limits"
            assert (await service.send("desk", "PUT", path, {**limits, "reason": "new"})).status_code == 200
            seen = (await service.send("customer", "GET", path)).json()
            assert {name: seen[name] for name in limits} == limits
            order = {"order_id": "o", "contract": "MBT", "quantity": "2"}
            refused = (await service.send("customer", "POST", "/v1/accounts/A1/orders/check", order)).json()
            assert (refused["approved"], refused["code"], refused["suggested_quantity"]) == (False, "order_size", "1")
            wider = await service.send("desk", "PUT", path, {"reason": "none"})
            assert (wider.status_code, wider.json()["code"]) == (409, "needs_second")
            owner = "/v1/owners/Ann & Co/limits"
            owned = await service.send("desk", "PUT", owner, {"position_quantity": {"MBT": "9"}, "reason": "x"})
            assert owned.status_code == 200
            assert (await service.send("desk", "GET", owner)).json()["position_quantity"] == {"MBT": "9"}
            together = (await service.send("desk", "GET", "/v1/owners/Ann & Co")).json()
            assert (together["net_liq"], len(together["accounts"])) == ("30000", 3)

    asyncio.run(run())


@pytest.mark.rule("US-08")
def test_a_raise_is_made_alone_and_reviewed_by_somebody_else(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            path = "/v1/contracts/MBT/margin"
            [shown] = [c for c in (await service.send("desk", "GET", "/v1/contracts")).json()["items"]
                       if c["contract"] == "MBT"]  # fmt: skip
            assert shown["mark"] is None
            raised = {"tiers": [{"intraday_margin_rate": "0.9", "initial_margin_rate": "0.9",
                                 "maintenance_margin_rate": "0.9"}], "reason": "volatility"}  # fmt: skip
            answer = await service.send("desk", "PUT", path, raised)
            assert answer.status_code == 200, answer.text
            [review] = (await service.send("auditor", "GET", "/v1/margin-reviews")).json()["items"]
            assert (review["contract"], review["raised_by"]) == ("MBT", "desk person")
            place = f"/v1/margin-reviews/{review['seq']}"
            own = await service.send("desk", "POST", place, {"reason": "fine"})
            assert (own.status_code, own.json()["code"]) == (409, "needs_second")
            assert (await service.send("supervisor", "POST", place, {"reason": "fine"})).status_code == 200
            assert (await service.send("auditor", "GET", "/v1/margin-reviews")).json()["items"] == []
            lowered = await service.send("desk", "PUT", path, {"tiers": [{"initial_margin": "1"}], "reason": "calm"})
            assert (lowered.status_code, lowered.json()["code"]) == (409, "needs_second")

    asyncio.run(run())


@pytest.mark.rule("US-08", "EX-02")
def test_brackets_and_slopes_are_set_and_shown_by_the_names_of_a_rulebook(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            tiers = [
                {"intraday_margin_rate": "0.9", "initial_margin_rate": "0.91", "initial_margin_slope": "0.001",
                 "maintenance_margin_rate": "0.9", "maintenance_margin_slope": "0.0005"},
                {"notional_from": "1000", "initial_margin_rate": "0.95", "initial_amount": "10.50",
                 "maintenance_margin_rate": "0.9"},
            ]  # fmt: skip
            body = {"kind": "set_margin", "contract": "MBT", "tiers": tiers, "reason": "a large position"}
            proposed = await service.send("supervisor", "POST", "/v1/proposals", body)
            assert proposed.status_code == 202, proposed.text
            place = f"/v1/proposals/{proposed.json()['proposal_id']}/approve"
            assert (await service.send("second", "POST", place)).status_code == 200
            [shown] = [c for c in (await service.send("desk", "GET", "/v1/contracts")).json()["items"]
                       if c["contract"] == "MBT"]  # fmt: skip
            first, second = shown["tiers"]
            assert (first["initial_margin_slope"], first["maintenance_margin_slope"]) == ("0.001", "0.0005")
            assert "initial_amount" not in first
            assert (second["initial_amount"], second["maintenance_amount"]) == ("10.50", "0.00")

    asyncio.run(run())


@pytest.mark.rule("US-20")
def test_the_kill_switch_and_a_mark_by_hand_are_told_to_the_desk(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            by_hand = {"price": "70000", "reason": "feed lost"}
            assert (await service.send("desk", "POST", "/v1/contracts/MBT/mark", by_hand)).status_code == 200
            listed = (await service.send("customer", "GET", "/v1/contracts")).json()["items"]
            [shown] = [contract for contract in listed if contract["contract"] == "MBT"]
            assert (shown["mark"], shown["mark_source"]) == ("70000", "desk:desk")
            order = {"order_id": "o", "contract": "MBT", "quantity": "1"}
            assert (await service.send("customer", "POST", "/v1/accounts/A1/orders/check", order)).json()["approved"]
            kill = {"contract": None, "action": "kill", "reason": "drill"}
            assert (await service.send("desk", "POST", "/v1/desk", kill)).status_code == 200
            assert (await service.send("desk", "GET", "/v1/accounts/A1")).json()["account"]["working_orders"] == []
            refused = (await service.send("customer", "POST", "/v1/accounts/A1/orders/check", order)).json()
            assert refused["code"] == "locked"
            hold = {"contract": "MBT", "action": "hold", "reason": "drill"}
            assert (await service.send("desk", "POST", "/v1/desk", hold)).status_code == 200
            listed = (await service.send("customer", "GET", "/v1/contracts")).json()["items"]
            on = {contract["contract"]: contract["desk"] for contract in listed if contract["desk"]}
            totals = (await service.send("desk", "GET", "/v1/risk")).json()["totals"]
            assert (totals["desk"], on) == (["locked"], {"MBT": ["held"]})
            await service.projected()
            [alarm] = (await service.send("desk", "GET", "/v1/alarms", params={"acknowledged": False})).json()["items"]
            assert (alarm["code"], "desk person" in alarm["detail"]) == ("mark_by_hand", True)
            place = f"/v1/alarms/{alarm['alarm_id']}/acknowledge"
            seen = await service.send("supervisor", "POST", place)
            assert seen.json()["acknowledged_by"] == "supervisor person"
            assert (await service.send("desk", "POST", place)).json() == seen.json()
            assert (await service.send("desk", "POST", "/v1/alarms/9.9/acknowledge")).status_code == 404
            left = await service.send("desk", "GET", "/v1/alarms", params={"acknowledged": False})
            assert left.json()["items"] == []

    asyncio.run(run())


@pytest.mark.rule("US-26")
def test_the_morning_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service, service.api("broker") as client:

            async def send(text: str, key: str) -> Any:
                headers = {"Content-Type": "text/csv", "Idempotency-Key": key}
                return await client.post("/v1/reconciliation", content=text.encode(), headers=headers)

            seq = service.context.writer.seq
            head = "account_id,item,value\n"
            for text, row in (
                (f"{head}A1,cash,10000\nA9,cash,1\n", "row 3"),
                (f"{head}A1,cash,ten\n", "row 2"),
                (f"{head}A1,cash,1\nA1,MBT,0.5\n", "row 3"),
                (f"{head}A1,XYZ,1\n", "row 2"),
                (f"{head}A1,cash,1\nA1,cash,1\n", "row 3"),
                (f"{head}A1,cash\n", "row 2"),
                ("account,item,value\n", "row 1"),
                (f"{head}A1,MBT,1\n", None),
            ):
                answer = await send(text, "bad")
                assert answer.status_code == 400, answer.text
                assert (answer.json().get("pointer")) == row, answer.text
            assert service.context.writer.seq == seq
            done = await send(f"{head}A1,cash,10000.00\nA2,cash,9999.99\nA2,MBT,-1\n", "r1")
            assert done.status_code == 200, done.text
            found = done.json()
            assert (found["accounts"], found["agreed"], found["not_in_file"]) == (3, 1, 1)
            assert {(d["account_id"], d["item"], d["ours"], d["theirs"]) for d in found["differences"]} == {
                ("A2", "cash", "10000.00", "9999.99"), ("A2", "MBT", "0", "-1"), ("A3", "cash", "10000.00", "0.00"),
            }  # fmt: skip
            again = await send(f"{head}A1,cash,10000.00\nA2,cash,9999.99\nA2,MBT,-1\n", "r1")
            assert again.json() == found
            frozen = await service.send("other", "POST", "/v1/accounts/A2/withdrawals", {"amount": "1"})
            assert (frozen.status_code, frozen.json()["code"]) == (409, "reconciliation_break")

    asyncio.run(run())


@pytest.mark.rule("US-18", "US-23")
def test_the_customers_own_settings(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            path = "/v1/accounts/A1/settings/risk"
            brakes = {"daily_loss": "500.00", "weekly_loss": "0.00", "trailing_drawdown": "900.00",
                      "flatten_at": "15:30"}  # fmt: skip
            assert (await service.send("customer", "PUT", path, brakes)).status_code == 200
            seen = (await service.send("customer", "GET", path)).json()
            assert seen == {"account_id": "A1", **brakes, "stopped": False}
            other = await service.send("customer", "POST", "/v1/accounts/A1/disclosure", {"version": "9"})
            assert (other.status_code, other.json()["code"]) == (409, "disclosure_version")

    asyncio.run(run())


def test_lists_come_in_pages(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            for _ in range(4):
                await service.send("broker", "POST", "/v1/accounts/A1/deposits", {"amount": "1.00"})
            session = service.context.writer.engine.loaded.contracts["MBT"].session
            assert session is not None
            await service.put_in(SessionChange(session, "intraday", is_open=True))
            await service.projected()
            found: list[Any] = []
            query: dict[str, Any] = {"limit": 2}
            while True:
                page = (await service.send("customer", "GET", "/v1/accounts/A1/statement", params=query)).json()
                found += page["items"]
                assert len(page["items"]) <= 2
                if page["next"] is None:
                    break
                query["cursor"] = page["next"]
            assert [item["amount"] for item in found] == ["10000.00", "1.00", "1.00", "1.00", "1.00"]
            pages = [await service.send("desk", "GET", "/v1/accounts", params={"limit": 2})]
            pages.append(await service.send("desk", "GET", "/v1/accounts", params={"cursor": pages[0].json()["next"]}))
            assert [[item["account_id"] for item in page.json()["items"]] for page in pages] == [["A1", "A2"], ["A3"]]
            late = {"since": "2030-01-01T00:00:00Z"}
            assert (await service.send("customer", "GET", "/v1/accounts/A1/statement", params=late)).json()[
                "items"
            ] == []

    asyncio.run(run())


@pytest.mark.rule("US-20")
@pytest.mark.parametrize("killed", [False, True])
def test_what_was_approved_cannot_be_rejected_meanwhile_nor_after_a_kill_before_it_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            act = {"kind": "adjust_cash", "account_id": "A1", "amount": "5.00", "reason": "wrong fee"}
            proposed = await service.send("desk", "POST", "/v1/proposals", act)
            place = f"/v1/proposals/{proposed.json()['proposal_id']}"
            decide, store = Store.decide, service.context.store

            def slow(self: Store, proposal_id: str, by: str, approved: bool, *more: Any) -> Any:
                time.sleep(0.2)
                if approved and killed:
                    raise OSError("the process is gone")
                return decide(self, proposal_id, by, approved, *more)

            monkeypatch.setattr(Store, "decide", slow)
            approving = asyncio.create_task(service.send("second", "POST", f"{place}/approve"))
            await asyncio.sleep(0.1)
            rejected = await service.send("supervisor", "POST", f"{place}/reject")
            assert (rejected.status_code, rejected.json()["code"]) == (409, "decided")
            assert (await approving).status_code == (500 if killed else 200)
            monkeypatch.setattr(Store, "decide", decide)
            again = await service.send("second", "POST", f"{place}/approve")
            assert again.status_code == 200
            assert [found.status for found in store.proposals()] == ["approved"]
            seen = (await service.send("customer", "GET", "/v1/accounts/A1")).json()
            assert seen["account"]["cash"] == "10005.00"
            service.faults.clear()

    asyncio.run(run())


def test_what_the_engine_refused_at_its_approval_can_be_rejected(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            act = {"kind": "write_off", "account_id": "A1", "amount": "5.00", "reason": "old"}
            proposed = await service.send("desk", "POST", "/v1/proposals", act)
            place = f"/v1/proposals/{proposed.json()['proposal_id']}"
            approved = await service.send("supervisor", "POST", f"{place}/approve")
            assert (approved.status_code, approved.json()["code"]) == (409, "exceeds_receivable")
            assert (await service.send("supervisor", "POST", f"{place}/reject")).status_code == 200

    asyncio.run(run())
