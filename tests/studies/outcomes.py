"""Outcomes made by hand, for the tests of what is written about them."""

from typing import Any

from closeout.core.times import MINUTE, time_text
from closeout.core.units import CURRENCIES, Currency
from closeout.studies.outcome import AccountOutcome, OrderRow, PricePath, Run

START = 1_760_130_600 * 10**9  # 2025-10-10T21:10:00Z
BARS = 30
MARKET: dict[str, Any] = {
    "name": "oct-10",
    "start": time_text(START),
    "end": time_text(START + (BARS - 1) * MINUTE),
    "sources": [{"file": "BTCUSDT.csv", "sha256": "ab" * 32, "rows": BARS}],
}
ONE = 10**6


def account(account_id: str, owed: int = 0, *, leverage: str = "10.0", after: int | None = None) -> AccountOutcome:
    """An account with 1,000 and a notional of 10,000; closed out in the third bar if it owes."""
    outcome = AccountOutcome(account_id, ("BTCUSDT",), "long", leverage, START, 1000 * ONE, 10_000 * ONE)
    outcome.net_liq_after = -owed if after is None else after
    if owed:
        outcome.liquidated_at, outcome.fees = START + 2 * MINUTE, 30 * ONE
        outcome.liquidation_price, outcome.fill_price = "105000.50", "103999.25"
        outcome.deficit = outcome.owed = owed
    return outcome


def run_of(accounts: list[AccountOutcome], rulebook: str = "kraken-us", currency: Currency = CURRENCIES["USD"]) -> Run:
    """A run in which those accounts that were liquidated have an order, a receipt, and an equity path."""
    run = Run(rulebook, "2026-07-01", "d" * 64, currency, accounts)
    path = PricePath("BTCUSDT")
    for bar in range(BARS):
        path.times.append(START + bar * MINUTE)
        for field, price in zip(("open", "high", "low", "close"), (109_000, 109_500, 108_000, 108_500), strict=True):
            getattr(path, field).append(f"{price - 200 * bar}.5")
    run.prices = [path]
    for closed in run.liquidated:
        at = closed.liquidated_at or 0
        receipt_id = f"7-{closed.account_id}"
        run.orders.append(OrderRow(
            receipt_id, closed.account_id, "BTCUSDT", at, "sell", "0.1", None, closed.fill_price, "0.1", 5 * ONE,
        ))  # fmt: skip
        run.receipts.append({
            "receipt_id": receipt_id, "account_id": closed.account_id, "deficit": currency.text(closed.deficit),
            "words": f"Receipt in words for {closed.account_id}.",
        })  # fmt: skip
    for worst in accounts[:6]:
        run.equity[worst.account_id] = [(START, worst.net_liq_before), (START + 9 * MINUTE, worst.net_liq_after)]
    owed = sum(a.owed for a in run.debtors)
    if owed:
        had = sum(a.net_liq_before for a in run.debtors)
        run.money = [("equity the debtors had", had), ("lost in the market", -had - owed), ("owed by customers", owed)]
    run.assumptions = ["Margin: one window throughout.", "Execution: fill book, latency ms 500."]
    run.alarms = {"close_out_queued": 2}
    run.inputs, run.events = 1234, 5678
    run.final_digest, run.published = "f" * 64, "e" * 32
    return run
