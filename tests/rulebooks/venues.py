"""What the tests of the venues' rulebooks share: published rows, contracts, and a crash that must end well."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from closeout.rulebooks.loader import load
from closeout.rulebooks.policy import ContractPolicy
from closeout.studies.market import load_market
from closeout.studies.outcome import Run
from closeout.studies.replay import Replay, Settings
from closeout.studies.runner import population_for

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"
vectors = pytest.mark.skipif(not VECTORS.exists(), reason="the published examples are not part of the project")


def rows(name: str) -> dict[str, dict[str, Any]]:
    found = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"), parse_float=Decimal)
    return {row["id"]: row for row in found}


def contracts(name: str) -> dict[str, ContractPolicy]:
    return load(name).policy().contracts


def crash(name: str, folder: Path) -> Run:
    """10 October 2025 under a rulebook of limited liability: every deficit is borne, and nobody owes."""
    market = load_market(["oct-10"])
    accounts = population_for([name], market, seed=1, count=30)
    run = Replay(market, accounts, load(name), "oct-10", Settings()).run(folder / "journal.sqlite")
    assert run.problems == []
    assert run.ledger_imbalance == 0
    assert run.liquidated
    assert not run.debtors
    assert all(account.net_liq_after >= 0 for account in run.accounts)
    return run
