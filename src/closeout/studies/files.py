"""The files of a replay (INTERFACES: "closeout replay: files out"), and the folder that they go into."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from closeout.core.times import time_text
from closeout.core.units import InputError
from closeout.engine import ledger as books
from closeout.studies import side_by_side
from closeout.studies.outcome import OTHER_CASH, PROVIDERS, SOCIALISED, VAULT, VENUE, WINNERS, WITHDRAWALS, Run, Totals
from closeout.studies.recorder import Recorder

SUMMARY = "summary.json"

ACCOUNTS = (
    "rulebook", "account_id", "state", "net_liq_before", "net_liq_after", "liquidated_at", "liquidation_price",
    "fill_price", "fees", "deficit", "owed", "fund_paid", "adl_amount", "paid_from_other_cash",
    "liquidity_providers_bore", "backstop_vault_bore", "winners_bore", "customers_shared",
    "withdrawals_bore", "venue_bore", "adl_beyond", "adl_gain", "times_deleveraged", "socialised_paid", "fund_kept",
    "left_with_takers", "funding_paid", "funding_received",
)  # fmt: skip
LIQUIDATIONS = (
    "rulebook", "receipt_id", "account_id", "contract", "time", "side", "quantity", "limit_price", "fill_price",
    "filled_quantity", "fee",
)  # fmt: skip
LEDGER = ("rulebook", "seq", "time", "debit", "credit", "currency", "amount", "account_id", "reason")


_OURS = re.compile(r"(summary\.json|report\.html|receipts|(accounts|liquidations|ledger)\.csv|"
                   r"(journal(\..+)?|other-path)\.sqlite(-[\w-]+)?)")  # fmt: skip


def partial_of(path: Path) -> Path:
    """Where a replay into `path` is at work until it is done; its journals are here if it is interrupted."""
    return path.with_name(f"{path.name}.partial")


class Folder:
    """An output folder that appears whole or not at all: work goes on beside it under ``NAME.partial``.

    An earlier replay's folder is replaced, and so is what an interrupted one left; a folder with anything else in it is
    refused (`InputError`).
    """

    def __init__(self, path: Path) -> None:
        if not path.name or path.name == "..":
            raise InputError(f"{path}: --out: expected a folder with a name, such as {path / 'closeout-replay'}")
        self.path, self.partial = path, partial_of(path)
        try:
            _check_replaceable(self.path)
            _check_replaceable(self.partial)
            above = next(parent for parent in path.absolute().parents if parent.exists())
            possible = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
        except OSError as error:
            raise InputError(f"{path}: --out: {error.strerror}") from None
        if not possible:
            raise InputError(f"{path}: --out: no folder can be made in {above}")

    def begin(self) -> Path:
        try:
            if self.partial.exists():
                shutil.rmtree(self.partial)
            self.partial.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{self.path}: --out: {error.strerror}") from None
        return self.partial

    def discard(self) -> None:
        """Take back what was begun."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def commit(self) -> Path:
        if self.path.is_dir():
            shutil.rmtree(self.path)
        self.partial.rename(self.path)
        return self.path


def _check_replaceable(path: Path) -> None:
    """`InputError` where something is that no replay has put there."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(f"{path}: --out: expected a folder or a new name, this is a file or a link")
    others = sorted(entry.name for entry in path.iterdir() if not _OURS.fullmatch(entry.name)) if path.exists() else []
    if others:
        raise InputError(f"{path}: --out: expected a new or empty folder, or an earlier replay's; it has {others[0]}")


def journal_name(rulebook: str, several: bool) -> str:
    """``journal.sqlite``, or one per rulebook where there are several: ``journal.kraken-us.as_if_24x7.sqlite``."""
    return f"journal.{quote(rulebook.replace(':', '.'), safe='')}.sqlite" if several else "journal.sqlite"


def write_ledger(path: Path, parts: Iterable[tuple[str, Recorder]]) -> None:
    """One row per posting, in order; what an insurance fund begins with comes first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(LEDGER)
        for rulebook, recorder in parts:
            policy = recorder.state.policy
            text = policy.currency.text
            if policy.insurance_fund:
                rows.writerow((
                    rulebook, 1, time_text(recorder.begun), books.SEGREGATED_BANK, books.INSURANCE_FUND,
                    policy.currency.code, text(policy.insurance_fund), "", "the insurance fund begins with it",
                ))  # fmt: skip
            rows.writerows(
                (
                    rulebook, seq, time_text(time), posting.debit, posting.credit, posting.currency,
                    text(posting.micros), posting.account_id, posting.reason,
                )
                for seq, time, posting in recorder.postings
            )  # fmt: skip


def write_runs(
    folder: Path, runs: Sequence[Run], market: dict[str, Any], *, same_appetite: bool = False
) -> dict[str, Any]:
    """accounts.csv, liquidations.csv, receipts/ and summary.json; returns the summary."""
    _rows(folder / "accounts.csv", ACCOUNTS, (row for run in runs for row in _accounts(run)))
    _rows(folder / "liquidations.csv", LIQUIDATIONS, (row for run in runs for row in _orders(run)))
    receipts = folder / "receipts"
    receipts.mkdir()
    for run in runs:
        for receipt in run.receipts:
            prefix = f"{run.rulebook}-" if len(runs) > 1 else ""
            name = quote(f"{prefix}{receipt['receipt_id']}", safe="")
            text = json.dumps(receipt, indent=2, ensure_ascii=False)
            (receipts / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    summary = {
        "market": market,
        "same_appetite": same_appetite,
        "rulebooks": {run.rulebook: totals(run) for run in runs},
        "side_by_side": side_by_side.document(runs) if len(runs) > 1 else None,
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def totals(run: Run) -> dict[str, Any]:
    """One rulebook's part of summary.json; money as exact decimal strings."""
    text, total, fund = run.currency.text, Totals.of(run), run.fund
    return {
        "version": run.version,
        "rulebook_digest": run.digest,
        "currency": run.currency.code,
        "accounts": total.accounts,
        "not_admitted": total.not_admitted,
        "liquidated_accounts": total.closed_out,
        "close_out_orders": total.orders,
        "fees": text(total.fees),
        "deficits": side_by_side.deficits(run, total),
        "debtors": len(total.debtors),
        "fund_before": None if fund is None else text(fund.before),
        "fund_after": None if fund is None else text(fund.after),
        "fund_open_profit": None if fund is None else text(fund.open_profit),
        "fund": None if fund is None else {name: text(micros) for name, micros in asdict(fund).items()},
        "deleveraged_accounts": len(total.deleveraged),
        "deleveraged_amount": text(total.adl_amount),
        "deleveraged_beyond": text(total.adl_beyond),
        "deleveraged_gain": text(total.adl_gain),
        "socialised_amount": text(total.socialised),
        "fund_kept": text(total.fund_kept),
        "left_with_takers": text(total.left_with_takers),
        "funding": None
        if run.funding is None
        else {
            "accounts_paid": text(total.funding_paid),
            "accounts_received": text(total.funding_received),
            "paid": text(run.funding.paid),
            "received": text(run.funding.received),
            "rounding": text(run.funding.rounding),
            "outsiders_paid": text(run.funding.outsiders),
        },
        "conservation": {
            "deficits_less_what_bore_them": text(total.deficit - sum(total.borne.values())),
            "taken_from_winners_less_what_it_covered": text(total.adl_amount - total.borne[WINNERS.key]),
            "shared_less_what_it_covered": text(total.socialised - total.borne[SOCIALISED.key]),
            "funding_less_rates_on_what_was_held": text(run.funding.outsiders - run.funding.due if run.funding else 0),
            "problems": run.problems,
        },
        "ledger": {name: text(balance) for name, balance in run.ledger.items()},
        "ledger_imbalance": "0" if run.ledger_imbalance == 0 else text(run.ledger_imbalance),
        "alarms": run.alarms,
        "assumptions": run.assumptions,
        "path_assumed": run.path_assumed,
        "other_path": run.other_path,
        "inputs": run.inputs,
        "events": run.events,
        "digest": run.final_digest,
        "published": run.published,
    }


def _rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


_APART = (OTHER_CASH, PROVIDERS, VAULT, WINNERS, SOCIALISED, WITHDRAWALS, VENUE)
"""The bearers whose columns stand together."""


def _accounts(run: Run) -> Iterable[Sequence[object]]:
    text = run.currency.text
    for account in run.accounts:
        state = "+".join([account.level, *account.flags])
        at = "" if account.liquidated_at is None else time_text(account.liquidated_at)
        yield (
            run.rulebook, account.account_id, state, text(account.net_liq_before), text(account.net_liq_after), at,
            account.liquidation_price or "", account.fill_price or "", text(account.fees), text(account.deficit),
            text(account.owed), text(account.fund_paid), text(account.adl_amount),
            *(text(account.borne_by(b)) for b in _APART),
            text(account.adl_beyond), text(account.adl_gain), account.deleveraged, text(account.socialised),
            text(account.fund_kept), text(account.left_with_takers), text(account.funding_paid),
            text(account.funding_received),
        )  # fmt: skip


def _orders(run: Run) -> Iterable[Sequence[object]]:
    for order in run.orders:
        yield (
            run.rulebook, order.receipt_id, order.account_id, order.contract, time_text(order.time), order.side,
            order.quantity, order.limit_price or "", order.fill_price or "", order.filled_quantity,
            run.currency.text(order.fee),
        )  # fmt: skip
