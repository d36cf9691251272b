"""The same accounts under several rulebooks, laid side by side: the part of summary.json, and the figures that the
report and the terminal show.

Each rulebook counts in its own currency. What is added in dollars is at the opening mark, for comparison only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from closeout.core.times import time_text
from closeout.studies.outcome import BEARERS, Run, Totals


def deficits(run: Run, total: Totals) -> dict[str, str]:
    """The deficits by who bore them; the parts add up to the total."""
    text = run.currency.text
    return {"total": text(total.deficit), **{bearer.key: text(total.borne[bearer.key]) for bearer in BEARERS}}


def document(runs: Sequence[Run]) -> dict[str, Any]:
    """The outcomes under each rulebook: in total, in its own currency and in dollars at the opening mark, and account
    by account."""
    accounts: dict[str, dict[str, Any]] = {}
    for run in runs:
        for account_id, outcome in _accounts(run):
            accounts.setdefault(account_id, {})[run.rulebook] = outcome
    return {"totals": {run.rulebook: _totals(run) for run in runs}, "accounts": accounts}


def _totals(run: Run) -> dict[str, Any]:
    total = Totals.of(run)
    return {
        "currency": run.currency.code,
        "accounts": total.accounts,
        "not_admitted": total.not_admitted,
        "liquidated_accounts": total.closed_out,
        "debtors": len(total.debtors),
        "deleveraged_accounts": len(total.deleveraged),
        "fees": run.currency.text(total.fees),
        "funding_paid": run.currency.text(total.funding_paid),
        "funding_received": run.currency.text(total.funding_received),
        "deficits": deficits(run, total),
        "dollars_at_opening_mark": {
            "one": "1.00" if run.dollars is None else cents(run.dollars),
            "deficits": {
                "total": cents(run.in_dollars(total.deficit)),
                **{bearer.key: cents(run.in_dollars(total.borne[bearer.key])) for bearer in BEARERS},
            },
        },
    }


def _accounts(run: Run) -> list[tuple[str, dict[str, Any]]]:
    text = run.currency.text
    found: list[tuple[str, dict[str, Any]]] = []
    for account in run.accounts:
        outcome: dict[str, Any] = {"admitted": "not_admitted" not in account.flags}
        if outcome["admitted"]:
            outcome |= {
                "net_liq_before": text(account.net_liq_before),
                "net_liq_after": text(account.net_liq_after),
                "liquidated_at": None if account.liquidated_at is None else time_text(account.liquidated_at),
                "deficit": text(account.deficit),
                "owed": text(account.owed),
                "fund_paid": text(account.fund_paid),
                "adl_amount": text(account.adl_amount),
                "adl_beyond": text(account.adl_beyond),
                "socialised_paid": text(account.socialised),
                "funding_paid": text(account.funding_paid),
                "funding_received": text(account.funding_received),
            }
        found.append((account.account_id, outcome))
    return found


def cents(dollars: Fraction) -> str:
    """Dollars to a cent, half to even: for figures that are there to be compared, and never exact."""
    scaled = round(dollars * 100)
    whole, rest = divmod(abs(scaled), 100)
    return f"{'-' if scaled < 0 else ''}{whole}.{rest:02d}"


# -- for people ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure under every rulebook, in the runs' order: micros where it is `money`, else a number; None is none.
    `part`: a part of the figure above it."""

    name: str
    values: list[int | None]
    money: bool = True
    part: bool = False


def figures(runs: Sequence[Run]) -> list[Figure]:
    """What is compared; a part that is nothing under every rulebook is left out."""
    totals = [Totals.of(run) for run in runs]

    def counted(name: str, value: Callable[[Totals], int]) -> Figure:
        return Figure(name, [value(total) for total in totals], money=False)

    def summed(name: str, value: Callable[[Totals], int], *, part: bool = False) -> Figure:
        return Figure(name, [value(total) for total in totals], part=part)

    def fund(name: str, field: str) -> Figure:
        return Figure(name, [None if run.fund is None else getattr(run.fund, field) for run in runs])

    always = [
        counted("accounts", lambda total: total.accounts),
        counted("not admitted", lambda total: total.not_admitted),
        counted("closed out", lambda total: total.closed_out),
        counted("close-out orders", lambda total: total.orders),
        summed("lost beyond margin", lambda total: total.deficit),
    ]
    parts = [summed(bearer.words, lambda total, key=bearer.key: total.borne[key], part=True) for bearer in BEARERS]
    debts = [
        counted("customers who owe", lambda total: len(total.debtors)),
        summed("worst debt", lambda total: total.debtors[0].owed if total.debtors else 0),
        counted("accounts deleveraged", lambda total: len(total.deleveraged)),
        summed("taken from them beyond deficits", lambda total: total.adl_beyond),
        summed("given to them", lambda total: total.adl_gain),
        fund("insurance fund before", "before"),
        fund("insurance fund after", "after"),
        fund("open profit of what it holds", "open_profit"),
        summed("kept by the insurance fund", lambda total: total.fund_kept),
        summed("left with the takers", lambda total: total.left_with_takers),
        summed("funding paid", lambda total: total.funding_paid),
        summed("funding received", lambda total: total.funding_received),
    ]
    fees = summed("fees taken", lambda total: total.fees)
    return [*always, *(figure for figure in [*parts, *debts] if any(figure.values)), fees]
