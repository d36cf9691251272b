"""What the Portfolio page asks for: the account's own facts, the service's, curves of what could be owed, bars."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.service.api.harness import Service, running

from closeout.engine.commands import (
    AcknowledgeDisclosure,
    CheckOrder,
    Deposit,
    Fill,
    OpenAccount,
    SessionChange,
    SetDisclosure,
    TransferPosition,
)
from closeout.engine.events import OrderApproved


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
