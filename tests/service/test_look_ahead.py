"""Ahead of the margin switch: who will be short, by how much, what clears it; told to the desk and to customers."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest
from tests.service.api.harness import START, running

from closeout.core.times import MINUTE, time_text
from closeout.engine.commands import GiveNotice
from closeout.service.schedule import Schedule
from closeout.service.timekeeper import Timekeeper

BEFORE = 5 * 60 * MINUTE  # from 8 o'clock in Chicago, when the test's time begins, to 13:00
SWITCH = "2026-02-05T21:45:00Z"  # 15:45 in Chicago


@pytest.mark.rule("US-02", "US-27")
def test_whom_the_switch_puts_below_the_line_is_listed_and_told_an_hour_and_a_quarter_before(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            told: list[tuple[int, GiveNotice]] = []
            service.context.writer.subscribers.append(
                lambda batch: told.extend(
                    (item.input.time, item.input.command)
                    for item in batch
                    if isinstance(item.input.command, GiveNotice)
                )
            )
            schedule = Schedule(service.context.rulebook, "07:00")
            keeper = Timekeeper(service.context.writer, schedule, service.clock, (60, 15), MINUTE)
            await keeper.begin()
            await service.mark({"MBT": 14_000})  # 70,000 dollars
            for account_id, quantity in (("A1", "8"), ("A2", "1")):
                body = {"contract": "MBT", "quantity": quantity, "entry_price": "70000"}
                assert (await service.send("broker", "POST", f"/v1/accounts/{account_id}/positions", body)).is_success
            service.clock.time = START + BEFORE
            ahead = (await service.send("desk", "GET", "/v1/look-ahead")).json()
            (item,) = ahead["items"]
            assert (ahead["switch_at"], ahead["countdown_seconds"]) == (SWITCH, 165 * 60)
            # 8 x 0.1 BTC x 70,000 at 27.5 %, against 10,000: 5,400 short; a lot brings 1,925
            assert (item["account_id"], item["level_now"], item["smallest_deposit"]) == ("A1", "normal", "5400.00")
            assert item["fewest_lots"] == [{"contract": "MBT", "lots": "3", "quantity": "3"}]
            assert (ahead["matching"], ahead["short"]) == (1, "5400.00")

            keeping = asyncio.create_task(keeper.run())
            while service.clock.now() < START + 8 * 60 * MINUTE:
                await asyncio.sleep(0.01)
            keeping.cancel()
            at: dict[str, list[GiveNotice]] = {time_text(time): [] for time, _ in told}
            for time, notice in told:
                at[time_text(time)].append(notice)
            assert list(at) == ["2026-02-05T20:45:00Z", "2026-02-05T21:30:00Z"]
            for notices in at.values():
                assert [(n.account_id, n.kind) for n in notices] == [("", "look_ahead_list"), ("A1", "look_ahead")]
            desk, own = (json.loads(notice.detail) for notice in at["2026-02-05T20:45:00Z"])
            assert desk == [own]
            assert Decimal(own["deposit"]) == 5400 * 10**6
            await service.projected()

    asyncio.run(run())
