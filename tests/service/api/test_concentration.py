"""GET /v1/concentration over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.service.following import buy, followed

from closeout.engine.commands import OpenAccount


@pytest.mark.rule("US-28")
def test_the_desk_sees_where_the_risk_is(tmp_path: Path) -> None:
    async def run() -> None:
        async with followed(tmp_path) as (service, _):
            await service.put_in(OpenAccount("A9"))
            await buy(service)
            await buy(service, "A9")
            await buy(service, "A9")
            found = (await service.send("desk", "GET", "/v1/concentration")).json()
            (contract,) = found["contracts"]
            assert contract == {
                "contract": "MBT", "mark": "70000", "long": "3", "short": "0", "long_notional": "21000.00",
                "short_notional": "0.00", "holders": 2,
                "largest": {"account_id": "A9", "owner": "", "quantity": "2", "notional": "14000.00",
                            "share": "0.666666667"},
            }  # fmt: skip
            requirement = {
                line["account_id"]: line["requirement"]
                for line in (await service.send("desk", "GET", "/v1/accounts")).json()["items"]
            }
            assert found["owners"] == [
                {"owner": "", "account_id": "A9", "accounts": 1, "net_liq": "-25.78", "requirement": requirement["A9"],
                 "notional": "14000.00", "share": "0.666666667", "owed": "0.00"},
                {"owner": "Ann & Co", "account_id": None, "accounts": 3, "net_liq": "29999.61",
                 "requirement": requirement["A1"], "notional": "7000.00", "share": "0.333333334", "owed": "0.00"},
            ]  # fmt: skip
            first = (await service.send("desk", "GET", "/v1/concentration", params={"n": 1})).json()
            assert first["owners"] == found["owners"][:1]
            assert (await service.send("desk", "GET", "/v1/concentration", params={"n": 0})).status_code == 400
            assert (await service.send("customer", "GET", "/v1/concentration")).status_code == 403

    asyncio.run(run())
