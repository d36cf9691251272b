"""The files that a replay leaves: their names and columns, and that they agree with one another to the micro."""

import csv
import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import Command

RULEBOOKS = ("reference", "kraken-us:as_if_24x7")
COLUMNS = {
    "accounts.csv": "rulebook,account_id,state,net_liq_before,net_liq_after,liquidated_at,liquidation_price,fill_price,"
    "fees,deficit,owed,fund_paid,adl_amount,paid_from_other_cash,liquidity_providers_bore,backstop_vault_bore,"
    "winners_bore,customers_shared,withdrawals_bore,venue_bore,adl_beyond,adl_gain,times_deleveraged,socialised_paid,"
    "fund_kept,left_with_takers,funding_paid,funding_received",
    "liquidations.csv": "rulebook,receipt_id,account_id,contract,time,side,quantity,limit_price,fill_price,"
    "filled_quantity,fee",
    "ledger.csv": "rulebook,seq,time,debit,credit,currency,amount,account_id,reason",
}
SUMMARY = {
    "accounts", "liquidated_accounts", "close_out_orders", "fees", "deficits", "fund_before", "fund_after",
    "deleveraged_accounts", "deleveraged_amount", "ledger_imbalance", "digest", "published", "path_assumed",
    "other_path", "not_admitted", "debtors", "ledger", "assumptions",
}  # fmt: skip


@dataclass(frozen=True)
class Replayed:
    folder: Path
    summary: dict[str, Any]


def replay(out: Path) -> Replayed:
    call = ["replay", "march-12", "--population", "150", "--rulebook", ",".join(RULEBOOKS), "--out", out.name, "--json"]
    command = [sys.executable, "-m", "closeout.cli", *call]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Replayed(out, json.loads(done.stdout))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """One replay under two rulebooks, for all that only read its files."""
    return replay(tmp_path_factory.mktemp("files") / "run")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def of(rows: list[dict[str, str]], rulebook: str) -> list[dict[str, str]]:
    return [row for row in rows if row["rulebook"] == rulebook]


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_names_columns_and_keys(run: Replayed) -> None:
    folder = run.folder
    assert {path.name for path in folder.iterdir()} == {
        "summary.json", *COLUMNS, "receipts", "report.html",
        "journal.reference.sqlite", "journal.kraken-us.as_if_24x7.sqlite",
    }  # fmt: skip
    for name, columns in COLUMNS.items():
        assert (folder / name).read_text(encoding="utf-8").splitlines()[0] == columns
    summary = json.loads((folder / "summary.json").read_bytes())
    assert summary == run.summary
    assert tuple(summary["rulebooks"]) == RULEBOOKS
    for part in summary["rulebooks"].values():
        assert set(part) >= SUMMARY
        assert (part["ledger_imbalance"], part["path_assumed"], part["other_path"]) == ("0", None, None)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in report
    assert [word for word in ("<script src", "<link", '<img src="http') if word in report] == []
    assert {path.name for path in folder.parent.iterdir()} == {"run"}


@pytest.mark.rule("G-02", "US-13")
def test_the_books_agree(run: Replayed) -> None:
    """Ledger legs add up to the balances, fees and debts by account to the totals."""
    ledger, accounts = table(run.folder / "ledger.csv"), table(run.folder / "accounts.csv")
    for rulebook in RULEBOOKS:
        part = run.summary["rulebooks"][rulebook]
        balances: defaultdict[str, Decimal] = defaultdict(Decimal)
        for leg in of(ledger, rulebook):
            assert Decimal(leg["amount"]) > 0
            balances[leg["debit"]] += Decimal(leg["amount"])
            balances[leg["credit"]] -= Decimal(leg["amount"])
        stated = {name: Decimal(text) for name, text in part["ledger"].items()}
        assert {name: balances[name] for name in stated} == stated
        assert set(balances) <= set(stated)
        admitted = [row for row in of(accounts, rulebook) if "not_admitted" not in row["state"]]
        assert len(admitted) == part["accounts"]
        assert sum(Decimal(row["owed"]) for row in admitted) == stated["receivable"]
        assert sum(Decimal(row["owed"]) for row in admitted) == Decimal(part["deficits"]["customers_owe"])
        assert sum(Decimal(row["deficit"]) for row in admitted) == Decimal(part["deficits"]["total"])
        assert sum(Decimal(row["fees"]) for row in admitted) == Decimal(part["fees"]) == -stated["fees"]
        assert sum(row["liquidated_at"] != "" for row in admitted) == part["liquidated_accounts"]
        assert sum(Decimal(row["owed"]) > 0 for row in admitted) == part["debtors"]
    assert run.summary["rulebooks"]["reference"]["debtors"] > 0


@pytest.mark.rule("G-11")
def test_every_receipt_has_its_orders_and_every_order_its_receipt(run: Replayed) -> None:
    folder = run.folder
    orders = table(folder / "liquidations.csv")
    for rulebook in RULEBOOKS:
        receipts: list[dict[str, Any]] = [
            json.loads(path.read_bytes())
            for path in sorted((folder / "receipts").glob("*.json"))
            if json.loads(path.read_bytes())["rulebook"]["name"] == rulebook
        ]
        assert {receipt["currency"] for receipt in receipts} == {"USD"}
        told = Counter(
            (receipt["receipt_id"], receipt["account_id"], order["contract"], order["side"], order["quantity"])
            for receipt in receipts
            for order in receipt["orders"]
        )
        rows = of(orders, rulebook)
        listed = Counter((r["receipt_id"], r["account_id"], r["contract"], r["side"], r["quantity"]) for r in rows)
        assert listed == told
        assert len(rows) == run.summary["rulebooks"][rulebook]["close_out_orders"] > 0
        known = {row["account_id"] for row in of(table(folder / "accounts.csv"), rulebook)}
        assert {row["account_id"].partition("/")[0] for row in rows} <= known


@pytest.mark.rule("G-03")
def test_the_same_call_twice_gives_the_same_bytes(run: Replayed, tmp_path: Path) -> None:
    """Every file, journals and report included: nothing in them tells when they were written, or where."""
    first, second = digests(run.folder), digests(replay(tmp_path / "again").folder)
    assert len(first) > 100
    assert [name for name in first if first[name] != second.get(name)] == []
    assert set(first) == set(second)


@pytest.mark.rule("G-03", "G-11", "G-17")
def test_the_journals_are_proven_with_the_published_digests(run: Replayed, command: Command) -> None:
    folder = run.folder
    for rulebook, part in run.summary["rulebooks"].items():
        name = folder / f"journal.{rulebook.replace(':', '.')}.sqlite"
        proven = command("verify", name, "--published", part["published"], "--json")
        assert proven.code == 0, proven.out
        assert (proven.json["state_digest"], proven.json["inputs"]) == (part["digest"], part["inputs"])
        legs = of(table(folder / "ledger.csv"), rulebook)
        assert (proven.json["postings"], proven.json["receipts"]) == (
            len(legs),
            len(list(receipts_of(folder, rulebook))),
        )
    assert command("verify", name, "--published", run.summary["rulebooks"]["reference"]["published"]).code == 3


def receipts_of(folder: Path, rulebook: str) -> list[Path]:
    return [p for p in (folder / "receipts").iterdir() if json.loads(p.read_bytes())["rulebook"]["name"] == rulebook]


def test_the_command_that_the_summary_prints_proves_the_run(command: Command) -> None:
    answer = command("replay", "oct-10", "--population", 50, "--out", "a run")
    (line,) = [line for line in answer.out.splitlines() if line.startswith("Verify: ")]
    assert line.startswith("Verify: closeout verify 'a run/journal.sqlite' --published ")
    published = line.rpartition(" ")[2]
    assert command("verify", "a run/journal.sqlite", "--published", published).code == 0


def test_both_orders_of_the_extremes_where_an_account_holds_two_contracts(command: Command) -> None:
    """Long 1 BTC and short 10 ETH with 1,000 left: the bar first falls and then rises, or the other way round.

    Low first, BTC loses 2,000 before ETH has moved; high first, ETH loses 2,000. Either closes both, at other prices.
    """
    bars = "time,open,high,low,close\n2026-11-12T10:00:00Z,{0}\n2026-11-12T10:01:00Z,{1}\n"
    command.write("BTCUSDT.csv", bars.format("50000,50000,50000,50000", "50000,50100,48000,50000"))
    command.write("ETHUSDT.csv", bars.format("3000,3000,3000,3000", "3000,3300,2990,3000"))
    held = [
        {"contract": "BTCUSDT", "quantity": "1", "entry_price": "50000"},
        {"contract": "ETHUSDT", "quantity": "-10", "entry_price": "3000"},
    ]
    command.write("accounts.jsonl", [{"account_id": "A1", "cash": "1500", "positions": held}])
    call = ("replay", "BTCUSDT.csv", "ETHUSDT.csv", "--accounts", "accounts.jsonl", "--latency", "0ms")
    answer = command(*call, "--json")
    assert answer.code == 0, answer.err
    part = answer.json["rulebooks"]["reference"]
    other = part["other_path"]
    assert (part["path_assumed"], other["path"]) == ("low_first", "high_first")
    assert set(other) >= {"liquidated_accounts", "close_out_orders", "fees", "deficits", "debtors", "digest"}
    assert (part["liquidated_accounts"], other["liquidated_accounts"]) == (1, 1)
    # Low first the account has 1,500 - 2,000 + 100, high first 1,500 + 100 - 3,000, and worse by the depth.
    assert Decimal(part["deficits"]["customers_owe"]) >= 400
    assert Decimal(other["deficits"]["customers_owe"]) >= 1400
    assert other["digest"] != part["digest"]
    assert "the high of each bar first" in answer.err
    folder = command.folder / "closeout-replay"
    assert "low first" in (folder / "report.html").read_text(encoding="utf-8")
    assert "Path: each bar's low comes before its high" in " ".join(command(*call).out.split())
    assert command("verify", folder / "journal.sqlite", "--published", part["published"]).code == 0
    assert not [path for path in folder.iterdir() if "other" in path.name]
