"""Replay under `reference` against plain arithmetic on the same bars: triggers, deficits and debts, to the micro.

The expectation is worked out here from the CSV rows with `Fraction`, for one position in one contract, by the textbook
formulas; nothing of the engine is used for it. The rows of the published table (25x owes 2.6432 % of its notional, and
so on) are asserted beside it.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest

from closeout.adapters.venues.simulated import FillMode
from closeout.core.times import time_text
from closeout.studies.accounts import load_accounts
from closeout.studies.market import load_market
from closeout.studies.outcome import AccountOutcome
from closeout.studies.replay import Settings
from closeout.studies.runner import run_replay

WINDOWS = Path(__file__).parents[2] / "src/closeout/data"
FILES = {
    "oct-10": "BTCUSDT_UMperp_1m_2025-10-10_2030-2200.csv",
    "oct-10-sol": "SOLUSDT_UMperp_1m_2025-10-10_2050-2200.csv",
    "march-12": "BTCUSDT_UMperp_1m_2020-03-12_2250_to_2020-03-13_0244.csv",
    "march-12-morning": "BTCUSDT_UMperp_1m_2020-03-12_1000-1200.csv",
}
MAINTENANCE = {"BTCUSDT": Fraction(5, 1000), "SOLUSDT": Fraction(1, 100)}


@dataclass(frozen=True)
class Expected:
    """What one account should come to; money in micros, the debt before it is rounded to one."""

    liquidated_at: str | None
    owed: Fraction


def rows(window: str) -> list[dict[str, str]]:
    with (WINDOWS / FILES[window]).open(newline="") as file:
        return list(csv.DictReader(file))


def expected(
    window: str, contract: str, opened_ms: int, quantity: Fraction, entry: Fraction, cash: Fraction, fill: str
) -> Expected:
    """Walk the bars: the first extreme at which equity is below maintenance closes the whole position."""
    adverse = "low" if quantity > 0 else "high"
    for row in rows(window):
        if int(row["open_time"]) < opened_ms:
            continue
        for price in (Fraction(row["open"]), Fraction(row[adverse]), Fraction(row["close"])):
            if cash + quantity * (price - entry) < MAINTENANCE[contract] * abs(quantity) * price:
                exit_price = Fraction(row[adverse] if fill == "adverse" else row["close"])
                equity = cash + quantity * (exit_price - entry)
                return Expected(time_text(int(row["open_time"]) * 10**6), max(-equity, Fraction(0)) * 10**6)
    return Expected(None, Fraction(0))


def replay(tmp_path: Path, window: str, fill: str, accounts: list[dict[str, object]]) -> dict[str, AccountOutcome]:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "accounts.jsonl"
    path.write_text("".join(json.dumps(account) + "\n" for account in accounts))
    finished = run_replay(
        [window], load_market([window]), load_accounts(path), ["reference"], tmp_path / "out",
        settings=Settings(FillMode(fill)),
    )  # fmt: skip
    (run,) = finished.runs
    assert run.ledger_imbalance == 0
    assert run.alarms == {}
    return {account.account_id: account for account in run.accounts}


CASES = [
    # window, contract, opening bar (UTC milliseconds), leverages
    ("oct-10", "BTCUSDT", 1760129400000, (2, 3, 5, 7, 8, 9, 10, 12, 20, 25, 33, 50, 77, 100, 125)),
    ("oct-10-sol", "SOLUSDT", 1760129400000, (2, 3, 4, 5, 7, 10, 20, 25, 50)),
    ("march-12-morning", "BTCUSDT", 1584007200000, (2, 3, 4, 5, 8, 10, 20, 50)),
    ("march-12", "BTCUSDT", 1584053400000, (2, 3, 4, 5, 8, 10, 20, 50, 100)),
]


@pytest.mark.rule("G-03", "US-01", "US-04", "US-13")
@pytest.mark.parametrize("fill", ["adverse", "close"])
@pytest.mark.parametrize(("window", "contract", "opened", "leverages"), CASES, ids=[case[0] for case in CASES])
def test_triggers_and_debts_are_those_of_plain_arithmetic(
    tmp_path: Path, window: str, contract: str, opened: int, leverages: tuple[int, ...], fill: str
) -> None:
    """Longs and shorts at many leverages, cross and isolated, one entry and two."""
    entry = next(Fraction(row["open"]) for row in rows(window) if int(row["open_time"]) == opened)
    accounts: list[dict[str, object]] = []
    wanted: dict[str, Expected] = {}
    for leverage in leverages:
        for side in (1, -1):
            for mode in ("cross", "isolated", "two entries"):
                account_id = f"{leverage}x {side} {mode}"
                cash = Fraction(int(entry * 10 * 10**6 / leverage), 10**6)
                text = f"{float(cash):.6f}"
                assert Fraction(text) == cash
                positions = [{"contract": contract, "quantity": str(10 * side), "entry_price": str(float(entry))}]
                if mode == "two entries":
                    low, high = entry - Fraction(1, 10), entry + Fraction(1, 10)
                    positions = [
                        {"contract": contract, "quantity": str(5 * side), "entry_price": str(float(price))}
                        for price in (low, high)
                    ]
                if mode == "isolated":
                    positions[0] |= {"margin_mode": "isolated", "isolated_margin": text}
                accounts.append({
                    "account_id": account_id,
                    "cash": "0" if mode == "isolated" else text,
                    "positions": positions,
                    "opened_at": opened,
                })  # fmt: skip
                wanted[account_id] = expected(window, contract, opened, Fraction(10 * side), entry, cash, fill)
    outcomes = replay(tmp_path, window, fill, accounts)
    admitted = {key: outcome for key, outcome in outcomes.items() if "not_admitted" not in outcome.flags}
    assert len(admitted) >= len(outcomes) * 3 // 4
    for account_id, outcome in admitted.items():
        at = None if outcome.liquidated_at is None else time_text(outcome.liquidated_at)
        assert (account_id, at, Fraction(outcome.owed)) == (
            account_id, wanted[account_id].liquidated_at, wanted[account_id].owed,
        )  # fmt: skip


PUBLISHED = [
    # window, leverage, trigger, percent of entry notional owed at the minute's low and at its close
    ("oct-10", 1760129400000, 7, None, "0.0000", "0.0000"),
    ("oct-10", 1760129400000, 10, "21:17", "0.0000", "0.0000"),
    ("oct-10", 1760129400000, 25, "21:13", "2.6432", "0.2168"),
    ("oct-10", 1760129400000, 100, "20:51", "0.0000", "0.0000"),
    ("march-12-morning", 1584007200000, 3, None, "0.0000", "0.0000"),
    ("march-12-morning", 1584007200000, 4, "10:48", "4.3448", "0.0000"),
    ("march-12-morning", 1584007200000, 5, "10:46", "2.5251", "0.9930"),
    ("march-12-morning", 1584007200000, 10, "10:41", "0.0000", "0.0000"),
    ("march-12", 1584053400000, 2, None, "0.0000", "0.0000"),
    ("march-12", 1584053400000, 3, "02:14", "1.6419", "1.0207"),
    ("march-12", 1584053400000, 10, "23:24", "1.5960", "0.0000"),
]


@pytest.mark.rule("US-13")
@pytest.mark.parametrize(("window", "opened", "leverage", "trigger", "at_low", "at_close"), PUBLISHED)
def test_the_published_rows(
    tmp_path: Path, window: str, opened: int, leverage: int, trigger: str | None, at_low: str, at_close: str
) -> None:
    """A million dollars of notional, opened at the window's opening bar."""
    entry = next(row["open"] for row in rows(window) if int(row["open_time"]) == opened)
    lots = str(Fraction(10**6 * 10**4) / Fraction(entry) // 1)
    quantity = f"{lots[:-4]}.{lots[-4:]}"
    notional = Fraction(quantity) * Fraction(entry)
    cash = f"{float(Fraction(ceil(notional / leverage * 10**6), 10**6)):.6f}"  # the margin, not a micro less
    account: dict[str, object] = {
        "account_id": "A", "cash": cash, "opened_at": opened,
        "positions": [{"contract": "BTCUSDT", "quantity": quantity, "entry_price": entry}],
    }  # fmt: skip
    for fill, percent in (("adverse", at_low), ("close", at_close)):
        (outcome,) = replay(tmp_path / fill, window, fill, [account]).values()
        at = None if outcome.liquidated_at is None else time_text(outcome.liquidated_at)[11:16]
        assert at == trigger
        assert f"{float(Fraction(outcome.owed, 10**6) / notional * 100):.4f}" == percent
