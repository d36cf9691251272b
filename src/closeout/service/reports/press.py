"""Fills reports in and writes a day's into its folder, all of them or none."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from closeout.core.outlook import WORST_GAPS
from closeout.core.units import rate_text
from closeout.service.reports import balances, flows
from closeout.service.reports.catalogue import REPORTS, STRESS, STRESS_DEBTS, Kind, Report, Row, Sheet
from closeout.service.reports.edition import Edition
from closeout.service.reports.figures import account_days
from closeout.service.reports.page import page, write_csv
from closeout.service.reports.stress import Outcome, contracts_of, stress
from closeout.service.store import Store

R = TypeVar("R")

FORMS = {"csv": "text/csv; charset=utf-8", "html": "text/html; charset=utf-8"}


def sheets(days: Connection, store: Connection, edition: Edition, reports: Iterable[Report]) -> Iterator[Sheet]:
    """Each report filled in: from `days` what is of accounts, from `store` what happened. They may be one database."""
    outcomes: list[Outcome] = []
    for report in reports:
        if report.weekly and not outcomes:
            outcomes = stress(edition.state)
        match report.name:
            case "margin":
                yield balances.margin(days, edition)
            case "undermargined":
                yield balances.undermargined(days, store, edition)
            case "debts":
                yield flows.debts(days, store, edition)
            case "liquidations":
                yield flows.liquidations(store, edition)
            case "fees":
                yield flows.fees(store, edition)
            case "stress":
                yield stress_sheet(outcomes, edition)
            case _:
                yield debts_sheet(outcomes, edition)


class Stopped(Exception):
    """The service stops; the next one makes the reports."""


def press(store: Store, edition: Edition, folder: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Keep the day's balances in the store, and write its reports into `folder`/DATE; the stress with the last day of
    a week. A folder that is there is whole: it appears when everything in it is durable. `Stopped` soon after `stopped`
    says so."""
    date = edition.day.text
    store.record_day(date, _until(stopped, account_days(edition.state)))
    partial = folder / f".{date}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    wanted = [report for report in REPORTS.values() if edition.day.ends_week or not report.weekly]
    with store.read() as connection:
        for sheet in sheets(connection, connection, edition, wanted):
            with (partial / f"{sheet.report.name}.csv").open("w", newline="", encoding="utf-8") as file:
                write_csv(file, sheet.report, _until(stopped, sheet.rows()), edition.state.policy.currency)
                _durable(file)
            with (partial / f"{sheet.report.name}.html").open("w", encoding="utf-8") as file:
                file.write(page(sheet, edition))
                _durable(file)
    partial.rename(folder / date)


def _until(stopped: Callable[[], bool], rows: Iterable[R]) -> Iterator[R]:
    for row in rows:
        if stopped():
            raise Stopped
        yield row


def _durable(file: io.TextIOWrapper) -> None:
    file.flush()
    os.fsync(file.fileno())


def render(store: Store, edition: Edition, report: Report, form: str) -> bytes:
    """One report of a day whose balances are in no table: of what is so far."""
    rows = () if report.weekly else account_days(edition.state)
    with balances.in_memory(edition.day.text, rows) as days, store.read() as connection:
        (sheet,) = sheets(days, connection, edition, [report])
        if form == "html":
            return page(sheet, edition).encode()
        text = io.StringIO(newline="")
        write_csv(text, report, sheet.rows(), edition.state.policy.currency)
        return text.getvalue().encode()


# -- stress --------------------------------------------------------------------------------------------


def stress_sheet(outcomes: list[Outcome], edition: Edition) -> Sheet:
    rows: list[Row] = []
    for outcome in outcomes:
        largest = outcome.largest[0] if outcome.largest else None
        rows.append((
            move_text(outcome.move.rate), outcome.move.what, outcome.closed_out, outcome.would_owe, outcome.debts,
            outcome.new_debts, largest.owed if largest else 0, largest.account_id if largest else "",
            outcome.variation, outcome.cash_needed,
        ))  # fmt: skip
    worst = max(outcomes, key=lambda outcome: outcome.cash_needed)
    key = [
        ("most cash needed", worst.cash_needed, Kind.MONEY),
        ("after a move of", f"{move_text(worst.move.rate)} of {worst.move.what}", Kind.WORDS),
        ("most accounts closed out", max(outcome.closed_out for outcome in outcomes), Kind.NUMBER),
        ("most debts", max(outcome.debts for outcome in outcomes), Kind.MONEY),
    ]
    return Sheet.of(STRESS, rows, key=key, notes=[*_liability(edition), *_mapping(edition)])


def _liability(edition: Edition) -> list[str]:
    """Where nobody owes, that what these pages call debts are deficits that others bear."""
    policy = edition.state.policy
    if policy.customer_owes:
        return []
    return [f"{policy.name} limits liability: what stands here as debt is a deficit, not borne by the customer."]


def debts_sheet(outcomes: list[Outcome], edition: Edition) -> Sheet:
    rows: list[Row] = [
        (move_text(outcome.move.rate), outcome.move.what, rank, debt.account_id, debt.owner, debt.owed, debt.new,
         debt.net_liq)
        for outcome in outcomes
        for rank, debt in enumerate(outcome.largest, 1)
    ]  # fmt: skip
    return Sheet.of(
        STRESS_DEBTS, rows, order="by move, then largest first", notes=[*_liability(edition), *_mapping(edition)]
    )


def _mapping(edition: Edition) -> list[str]:
    """Which contracts each market's gaps move, and which no gap moves."""
    policy = edition.state.policy
    markets = dict.fromkeys(gap.what.partition(",")[0] for gap in WORST_GAPS)
    moved = {market: contracts_of(policy, market) for market in markets}
    said = [f"Gaps of {market} move {', '.join(names)}." for market, names in moved.items() if names]
    still = [name for name in policy.contracts if all(name not in names for names in moved.values())]
    if still:
        said.append(f"No gap on record is of {', '.join(still)}.")
    none = [market for market, names in moved.items() if not names]
    if none:
        said.append(f"Gaps of {', '.join(none)} are left out: the rulebook has no contract that they are of.")
    return said


def move_text(move: int) -> str:
    """A rate with its sign and at least two places: ``+0.10``."""
    whole, _, fraction = rate_text(abs(move)).partition(".")
    sign = "-" if move < 0 else "+" if move else ""
    return f"{sign}{whole}.{fraction.ljust(2, '0')}"
