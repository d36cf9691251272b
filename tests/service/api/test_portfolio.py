"""What the Portfolio page asks for: the account's own facts, the service's, curves of what could be owed, bars."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.service.api.harness import START, Service, running

from closeout.adapters.notices import wording
from closeout.core.times import MINUTE, SECOND
from closeout.core.units import USD
from closeout.engine.commands import (
    AcknowledgeDisclosure,
    AdjustCash,
    CheckOrder,
    Deposit,
    Fill,
    Input,
    Mark,
    Marks,
    OpenAccount,
    SessionChange,
    SetDisclosure,
    TransferPosition,
)
from closeout.engine.events import CloseOutEnded, CorrectionIssued, Notice, OrderApproved
from closeout.service.about import About
from closeout.service.applied import Applied
from closeout.service.bars import Bars


async def trading(service: Service) -> None:
    """MBT, a tenth of a bitcoin, at 70,000 in the intraday window; A1 holds two."""
    session = service.context.writer.engine.loaded.contracts["MBT"].session
    assert session is not None
    await service.put_in(SessionChange(session, "intraday", is_open=True))
    await service.mark({"MBT": 14_000})
    await service.put_in(Fill("A1", "MBT", 2, 14_000, "", "a1-1"))


@pytest.mark.rule("US-18")
def test_the_account_says_which_disclosure_is_asked_for_and_which_was_acknowledged(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:

            async def said() -> object:
                return (await service.send("customer", "GET", "/v1/accounts/A1")).json()["account"]["disclosure"]

            assert await said() == {"required": None, "acknowledged": None}
            await service.put_in(SetDisclosure("2026-07", "test"))
            assert await said() == {"required": "2026-07", "acknowledged": None}
            await service.put_in(AcknowledgeDisclosure("A1", "2026-07"))
            assert await said() == {"required": "2026-07", "acknowledged": "2026-07"}
            await service.put_in(SetDisclosure("2027-01", "test"), OpenAccount("A1/MBT", "", True, "A1", {}))
            assert await said() == {"required": "2027-01", "acknowledged": "2026-07"}
            isolated = (await service.send("customer", "GET", "/v1/accounts/A1%2FMBT")).json()["account"]
            assert isolated["disclosure"] == {"required": "2027-01", "acknowledged": "2026-07"}

    asyncio.run(run())


@pytest.mark.rule("US-19", "G-06")
def test_the_account_says_what_holds_in_the_contracts_that_it_holds_or_has_orders_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            state = service.context.writer.engine.loaded

            async def contracts() -> dict[str, dict[str, object]]:
                return (await service.send("customer", "GET", "/v1/accounts/A1")).json()["account"]["contracts"]

            assert await contracts() == {}
            await trading(service)
            found = await contracts()
            assert found == {
                "MBT": {
                    "mark": "70000", "mark_time": "2026-02-05T14:00:00Z", "mark_source": "feed:test", "grade": "ok",
                    "window": "intraday", "is_open": True, "halted": False, "news_multiplier": None,
                    "stale_after_seconds": 300,
                }
            }  # fmt: skip
            held, ordered = "MET", "BTC"
            await service.mark({held: 1_000, ordered: 1_000})
            isolated = TransferPosition("A1/own", held, 1, state.contracts[held].contract.value(1_000, 1), last=False)
            await service.put_in(OpenAccount("A1/own", "", True, "A1", {}), isolated, Deposit("A1/own", 10**9))
            assert set(await contracts()) == {"MBT", held}
            checked = await service.context.writer.offer("test", CheckOrder("A1", "o1", ordered, 1))
            assert isinstance(checked.answers[0].events[0], OrderApproved), checked
            assert list(await contracts()) == [name for name in state.contracts if name in ("MBT", held, ordered)]

    asyncio.run(run())


@pytest.mark.parametrize(("rulebook", "liability"), [("reference", "unlimited"), ("binance-usdm", "limited")])
def test_the_service_says_whether_customers_owe(tmp_path: Path, rulebook: str, liability: str) -> None:
    async def run() -> None:
        async with running(tmp_path, rulebook=rulebook, accounts=False) as service:
            assert (await service.send("auditor", "GET", "/v1/service")).json()["liability"] == liability

    asyncio.run(run())


def test_the_service_says_what_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            found = (await service.send("customer", "GET", "/v1/service")).json()
            assert found | {"version": "", "rulebook_version": ""} == {
                "version": "", "mode": "live", "market": None, "speed": 1.0, "now": "2026-02-05T14:00:00Z",
                "currency": "USD", "places": 6, "rulebook": "kraken-us", "rulebook_version": "",
                "liability": "unlimited",
                "time_zone": "America/Chicago",
                "disclosure": None, "how_to_pay": None, "venue": "simulated", "simulated_venue": True,
                "windows": {
                    "intraday": {
                        "requirement": "intraday", "alert": "0.8", "liquidate_only": "1", "auto_liquidate": "1.2",
                    },
                    "end_of_day": {
                        "requirement": "initial", "alert": "0.8", "liquidate_only": "1", "auto_liquidate": "1",
                    },
                },
            }  # fmt: skip
        about = About("March 2020", "Elsewhere", simulated_venue=False, how_to_pay="by wire")
        async with running(tmp_path, about=about) as service:
            found = (await service.send("auditor", "GET", "/v1/service")).json()
            assert (found["mode"], found["market"], found["how_to_pay"]) == ("recorded", "March 2020", "by wire")
            assert (found["venue"], found["simulated_venue"]) == ("Elsewhere", False)

    asyncio.run(run())


@pytest.mark.rule("US-18")
def test_the_disclosure_in_force_is_there_to_be_read(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, about=About(disclosure="You can owe money.\n")) as service:
            none = await service.send("customer", "GET", "/v1/disclosure")
            assert (none.status_code, none.json()["code"]) == (404, "no_disclosure")
            await service.put_in(SetDisclosure("2026-07", "test"))
            found = (await service.send("customer", "GET", "/v1/disclosure")).json()
            assert found == {"version": "2026-07", "text": "You can owe money.\n"}
            assert (await service.send("customer", "GET", "/v1/service")).json()["disclosure"] == "2026-07"
        async with running(tmp_path) as service:  # the broker's own pages show it
            assert (await service.send("customer", "GET", "/v1/disclosure")).json()["text"] is None

    asyncio.run(run())


@pytest.mark.rule("US-18", "US-19")
def test_the_curves_agree_with_the_account_beside_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await trading(service)
            every, mbt = (await service.send("customer", "GET", "/v1/accounts/A1/could-owe")).json()["curves"]
            assert (every | {"contract": "MBT"}) == mbt  # the only one is all of them
            await service.mark({"PBTCUCZ50": 1_000})
            await service.put_in(Fill("A1", "PBTCUCZ50", -3, 1_000, "", "a1-2"))
            account = (await service.send("customer", "GET", "/v1/accounts/A1")).json()
            found = (await service.send("customer", "GET", "/v1/accounts/A1/could-owe")).json()
            assert [curve["contract"] for curve in found["curves"]] == [None, "PBTCUCZ50", "MBT"]
            every, perpetual, mbt = found["curves"]
            moves = found["moves"]
            assert (moves[0], moves[30], moves[-1], len(moves)) == ("-0.30", "0.00", "0.30", 61)
            for curve in found["curves"]:
                assert curve["net_liq"][30] == found["net_liq"] == account["net_liq"]
                assert curve["level"][30] == account["state"]["level"]
                assert {len(curve[name]) for name in ("net_liq", "level", "owed")} == {61}
            for row in account["could_owe"]:
                if row["worst_minute"] is None:
                    assert every["owed"][moves.index(row["move"])] == row["amount"]
                else:
                    [gap] = [gap for gap in found["gaps"] if gap["move"] == row["move"]]
                    assert (gap["owed"], gap["what"]) == (row["amount"], row["worst_minute"])
                    assert gap["contracts"] == (["PBTCUCZ50"] if "BTC" in gap["what"] else [])
            # Two tenths of a bitcoin at 70,000 lose 140 a percent; three perpetuals at 10 next to nothing.
            assert mbt["net_liq"][29] == f"{float(found['net_liq']) - 140:.2f}"
            assert set(mbt["level"]) | set(perpetual["level"]) <= {"normal", "alert", "liquidate_only", "liquidating"}
            assert (perpetual["liquidation_move"], perpetual["debt_move"]) == (None, None)
            assert float(mbt["debt_move"]) < float(mbt["liquidation_move"]) < 0

    asyncio.run(run())


@pytest.mark.rule("US-11", "G-11")
def test_a_receipt_is_told_in_the_words_of_its_mail(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            await trading(service)
            for _ in range(2):  # the second confirms the jump
                await service.mark({"MBT": 4_000})
            await service.projected()
            [order] = (await service.send("desk", "GET", "/v1/accounts/A1/orders")).json()["items"]
            filled = Fill("A1", "MBT", -2, 4_000, order["order_id"], "f1")
            outcome = await service.context.writer.offer("venue:test", filled)
            events = [event for answer in outcome.answers for event in answer.events]
            [ended] = [event for event in events if isinstance(event, CloseOutEnded)]
            [notice] = [event for event in events if isinstance(event, Notice) and event.kind == "liquidation"]
            await service.projected()
            found = (await service.send("customer", "GET", f"/v1/receipts/{ended.receipt['receipt_id']}")).json()
            about = wording.About(outcome.answers[0].time, USD)
            assert found["text"] == wording.notice(notice, about, receipt=ended.receipt).text
            assert "does not cap the loss" in found["text"]
            correction = AdjustCash("A1", 25 * 10**6, "dana", "sam", "waived", found["receipt_id"])
            done = await service.context.writer.offer("test", correction)
            [issued] = [event for event in done.answers[0].events if isinstance(event, CorrectionIssued)]
            await service.projected()
            corrected = (await service.send("customer", "GET", f"/v1/receipts/{issued.receipt['receipt_id']}")).json()
            assert "Approved by" in corrected["text"]

    asyncio.run(run())


@pytest.mark.rule("US-19")
def test_marks_by_the_minute(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:

            async def bars(**query: int) -> list[dict[str, str]]:
                answer = await service.send("customer", "GET", "/v1/contracts/MBT/bars", params=query)
                assert (answer.json()["contract"], answer.json()["interval_seconds"]) == ("MBT", 60)
                return answer.json()["items"]

            assert await bars() == []
            for seconds, ticks in ((0, 14_000), (20, 14_100), (30, 13_900), (59, 13_950), (125, 14_200)):
                service.clock.time = START + seconds * SECOND
                await service.mark({"MBT": ticks})
            refused = await service.context.writer.offer("feed:test", Marks((Mark("MBT", 2**41),)))
            assert refused.rejected is not None
            first = {
                "time": "2026-02-05T14:00:00Z", "open": "70000", "high": "70500", "low": "69500", "close": "69750",
            }  # fmt: skip
            last = dict.fromkeys(("open", "high", "low", "close"), "71000") | {"time": "2026-02-05T14:02:00Z"}
            assert await bars() == [first, last]
            assert await bars(limit=1) == [last]
            unknown = await service.send("customer", "GET", "/v1/contracts/XYZ/bars")
            assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_contract")

    asyncio.run(run())


def test_a_day_of_minutes_is_kept() -> None:
    bars = Bars()
    for minute in range(2_000):
        item = Input("feed:test", minute, START + minute * MINUTE, Marks((Mark("MBT", minute + 1), Mark("BTC", None))))
        bars.take([Applied(minute, item, [])])
    assert [bar.close for bar in bars.newest("MBT", 5_000)] == list(range(561, 2_001))
    assert bars.newest("BTC", 10) == []
