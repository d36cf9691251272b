"""What a person decides about the outbox: parked letters go again or are done with, and nothing else moves (G-16)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.service.api.harness import running

from closeout.engine.commands import DeskAction


@pytest.mark.rule("G-16", "US-20")
def test_parked_letters_wait_for_a_persons_decision(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            store = service.context.store
            await service.put_in(*(DeskAction("A1", "alert", "dana", f"call {n}") for n in range(3)))
            await service.projected()
            first, second, third = (effect.effect_id for effect in store.due_effects(2**62))
            store.mark_sending([first, second])
            store.mark_parked([first, second], "refused by the server")

            listed = (await service.send("auditor", "GET", "/v1/effects")).json()["items"]
            assert [(item["effect_id"], item["state"], item["note"]) for item in listed] == [
                (first, "parked", "refused by the server"),
                (second, "parked", "refused by the server"),
            ]
            place = "/v1/effects/{}/decide"
            done = {"decision": "done", "reason": "told by telephone"}
            answer = await service.send("desk", "POST", place.format(first), done)
            assert (answer.status_code, answer.json()["state"]) == (200, "sent")
            assert answer.json()["note"] == "desk person: told by telephone"
            again = await service.send("desk", "POST", place.format(second), {**done, "decision": "again"})
            assert again.json()["state"] == "failed"
            assert {effect.effect_id for effect in store.due_effects(2**62)} == {second, third}

            for effect_id, code, status in ((first, "not_parked", 409), ("9.9", "unknown_effect", 404)):
                refused = await service.send("desk", "POST", place.format(effect_id), done)
                assert (refused.status_code, refused.json()["code"]) == (status, code)

    asyncio.run(run())
