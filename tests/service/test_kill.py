"""Kill -9 in the middle of it, several times: nothing acknowledged is lost, nothing is done twice (G-09, G-16)."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.service.kill import ACCOUNTS, World, world

from closeout.adapters.notices.mail import message_id
from closeout.engine.commands import Input
from closeout.journal.reader import JournalReader

ROUNDS = 5
SEED = 16


async def story(found: World, chance: random.Random) -> None:
    """Customers trade while the service is killed and started again; then everything comes to rest."""
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    await found.spawn()
    await found.ready()
    customers = [asyncio.create_task(found.customer(name, random.Random(f"{SEED} {name}"))) for name in ACCOUNTS]
    for _ in range(ROUNDS):
        await asyncio.sleep(chance.uniform(1.3, 2.6))  # the counter of second copies is brought up each second
        await found.kill()
        await found.spawn()
        if chance.random() < 0.5:
            await asyncio.sleep(chance.uniform(0.2, 1.2))  # before it has even started
            await found.kill(counting=False)
            await found.spawn()
        await found.ready()
    found.resting = found.market.still = True
    await asyncio.gather(*customers)
    await at_rest(found)
    await found.kill()  # what comes now is the answer of a process that was not there
    await found.spawn()
    await found.ready()
    assert not faults, faults


async def at_rest(found: World) -> None:
    """Wait until no close-out is under way and every effect is out."""
    async with asyncio.timeout(120):
        while True:
            risk = await found.ask("/v1/risk")
            if not risk["totals"]["close_outs"] and not unsent(found.folder):
                return
            await asyncio.sleep(0.1)


def rows(folder: Path, query: str) -> list[Any]:
    store = sqlite3.connect(f"file:{folder / 'closeout.store'}?mode=ro", uri=True)
    try:
        return store.execute(query).fetchall()
    finally:
        store.close()


def unsent(folder: Path) -> list[Any]:
    return rows(folder, "SELECT effect_id, state FROM effect WHERE state != 'sent'")


@pytest.mark.rule("G-09", "G-16", "G-17", "G-02", "US-11")
def test_kill_in_the_middle(tmp_path: Path) -> None:
    async def run() -> World:
        async with world(tmp_path, SEED) as found:
            await story(found, random.Random(SEED))
            await answers_stand(found)
            await accounts_agree(found)
            found.counted += await found.possible_copies()
            assert await found.stop() == 0
        return found

    found = asyncio.run(run())
    assert len(found.acknowledged) > 100
    every_answer_is_in_the_journal(found)
    no_order_twice(found)
    no_mail_twice(found)
    command = [sys.executable, "-m", "closeout.cli", "verify", str(tmp_path / "closeout.journal"), "--json"]
    proven = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert proven["ok"], proven["problems"]
    assert proven["receipts"] > 5


async def answers_stand(found: World) -> None:
    """Every acknowledged request, sent again under its key, is answered as it was."""
    for first in found.acknowledged:
        again = await found.write(first.key, first.path, first.body)
        assert (again.status, again.document) == (first.status, first.document), first.key


async def accounts_agree(found: World) -> None:
    """Each account holds what it was brought, what the venue filled and what the broker filled, once each."""
    held: Counter[str] = Counter()
    for answer in found.acknowledged:
        if answer.status == 200 and answer.path.endswith("/positions"):
            held[answer.path.split("/")[3]] += int(answer.body["quantity"])
        elif answer.status == 200 and answer.path == "/v1/fills":
            held[answer.body["account_id"]] += int(answer.body["quantity"])
    for order_id, quantity, _ in found.venue.executions.values():
        held[order_id.split("-")[1]] += quantity
    for account_id in ACCOUNTS:
        positions = (await found.ask(f"/v1/accounts/{account_id}"))["positions"]
        assert sum(int(position["quantity"]) for position in positions) == held[account_id], account_id


def every_answer_is_in_the_journal(found: World) -> None:
    with JournalReader.read(found.folder / "closeout.journal") as journal:
        inputs: dict[int, Input] = {
            seq: given for frame in journal.frames() for seq, given in enumerate(frame.inputs(), frame.first_seq)
        }
    keyed = Counter(given.key for given in inputs.values() if given.key)
    assert set(keyed) == {answer.key for answer in found.acknowledged}
    assert set(keyed.values()) == {1}
    for answer in found.acknowledged:
        given = inputs[answer.document["seq"]]
        assert (given.source, given.key) == ("key:broker", answer.key)


def no_order_twice(found: World) -> None:
    first_time = Counter(order_id for order_id, again in found.venue.orders if not again)
    assert [order_id for order_id, count in first_time.items() if count > 1] == []
    assert len(first_time) > 3  # how many accounts fall in this story depends on when the kills come: five or six
    booked = rows(found.folder, "SELECT fill_id, lots, price_ticks FROM fill WHERE source = 'venue:fix'")
    executed = [(fill_id, lots, price // 5) for fill_id, (_, lots, price) in found.venue.executions.items()]
    assert sorted(booked) == sorted(executed)


def no_mail_twice(found: World) -> None:
    """A second copy only where the service said that there may be one."""
    copies = found.mail.copies
    assert sum(copies.values()) - len(copies) <= found.counted
    sent = rows(found.folder, "SELECT effect_id FROM effect WHERE kind IN ('notice', 'alarm') AND note LIKE 'to %'")
    assert set(copies) == {message_id(effect_id, "broker.example") for (effect_id,) in sent}
    assert len(copies) > 10
