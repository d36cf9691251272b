"""Between a running replay and the screen: counts, money and the riskiest accounts after each bar."""

from __future__ import annotations

import time as wall
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np

from closeout.core.times import SECOND
from closeout.core.units import MAX_VALUE
from closeout.engine import ledger as books
from closeout.engine import receipts, scan
from closeout.studies.replay import Progress, Replay
from closeout.studies.screen import RiskRow, Screen

RISKIEST = 12


@contextmanager
def watching(speed: float = 0) -> Generator[Progress]:
    """A progress callback for `Replay.run`: shows each run. `speed`: times the recorded speed, 0 without a pause."""
    screen = Screen()
    begun = 0.0

    def progress(replay: Replay, number: int, time: int) -> None:
        nonlocal begun
        if number == 1:
            begun = wall.monotonic()
            order = ", the high of each bar first" if replay.settings.high_first else ""
            screen.start(len(replay.bars), f"{replay.name} under {replay.label}{order}")
        if screen.is_due() or number == len(replay.bars):
            _tell(screen, replay, number, time)
        if speed:
            due = begun + (time - replay.start) / SECOND / speed
            wall.sleep(max(0.0, due - wall.monotonic()))

    try:
        yield progress
    finally:
        screen.finish()


def _tell(screen: Screen, replay: Replay, number: int, time: int) -> None:
    text = replay.policy.currency.text
    balances = replay.state.ledger.balances
    prices = {
        name: contract.contract.price_text(contract.mark)
        for name, contract in replay.state.contracts.items()
        if contract.mark is not None and not contract.contract.leg_of
    }
    money = {"fees": text(-balances[books.FEES]), "owed": text(balances[books.RECEIVABLE])}
    if replay.policy.insurance_fund is not None:
        money["fund"] = text(-balances[books.INSURANCE_FUND])
    screen.update(number, time, prices, replay.tracker.counts(), money, riskiest(replay))


def riskiest(replay: Replay) -> list[RiskRow]:
    """The accounts with the highest usage now; at or below zero net liq first of all, the deepest first."""
    state = replay.state
    net_liq, requirement, _ = scan.levels(state)
    customers = np.ones(state.book.count, np.bool_)
    customers[sorted(state.book.house)] = False
    rows = np.flatnonzero((requirement > 0) & customers)
    # Display order only: a float ratio may tie where the exact one does not.
    usage = np.where(net_liq[rows] > 0, requirement[rows] / np.maximum(net_liq[rows], 1), MAX_VALUE - net_liq[rows])
    worst = rows[np.argsort(-usage, kind="stable")[:RISKIEST]]
    text = state.policy.currency.text
    found: list[RiskRow] = []
    for row in (int(index) for index in worst):
        held = max(state.holdings(row), key=lambda holding: holding.requirement)
        net, required = int(net_liq[row]), int(requirement[row])
        found.append(RiskRow(
            state.book.ids[row], state.level(row).name.lower(), text(net), text(required),
            receipts.usage(required, net) or "over", held.contract.name, "long" if held.lots > 0 else "short",
            held.contract.quantity_text(abs(held.lots)), text(-net) if net < 0 else "",
        ))  # fmt: skip
    return found
