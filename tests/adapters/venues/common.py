"""What the tests of the venues share: contracts, orders, and somebody who listens."""

import asyncio
from collections.abc import Callable
from decimal import Decimal

from closeout.adapters.venues.port import Done, Execution, Report, VenueOrder
from closeout.core.contracts import Contract, Kind
from closeout.core.units import CURRENCIES, USD

BTC = Contract.define(
    "BTC-PERP",
    kind=Kind.LINEAR,
    currency=USD,
    tick=Decimal("0.5"),
    lot=Decimal("0.01"),
    contract_size=Decimal("1"),
)
COIN = Contract.define(
    "BTC-COIN",
    kind=Kind.INVERSE,
    currency=CURRENCIES["BTC"],
    tick=Decimal("0.5"),
    lot=Decimal("1"),
    contract_size=Decimal("1"),
)


def order(lots: int, order_id: str = "7-A1-1", limit: int | None = None, contract: Contract = BTC) -> VenueOrder:
    return VenueOrder(order_id, "A1", contract, lots, limit)


class Ears:
    """Keeps what a venue reports and alarms. `deaf`: how many reports fail before they are durable."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.alarms: list[tuple[str, str]] = []
        self.deaf = 0
        self._changed = asyncio.Condition()

    async def report(self, told: Report) -> None:
        if self.deaf:
            self.deaf -= 1
            raise RuntimeError("the journal is not there")
        self.reports.append(told)
        async with self._changed:
            self._changed.notify_all()

    def alarm(self, code: str, text: str) -> None:
        self.alarms.append((code, text))

    async def until(self, true: Callable[[], object]) -> None:
        """Returns when it holds; looks after each report."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(true()))

    @property
    def executions(self) -> list[Execution]:
        return [one for one in self.reports if isinstance(one, Execution)]

    @property
    def done(self) -> list[Done]:
        return [one for one in self.reports if isinstance(one, Done)]

    @property
    def codes(self) -> list[str]:
        """Codes of alarms, without those about a broken connection."""
        return [code for code, _ in self.alarms if code != "fix_disconnected"]
