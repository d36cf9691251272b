"""`closeout demo`: two real crashes over one book of accounts, under the rules of a US broker and under `reference`.

Nothing is tuned so that somebody owes: the population, the seed and the venue's depth are the package's defaults, and
"0 debtors" is an answer. After each run the same book is run again with one assumption changed at a time, so that the
reader sees which of them makes each debt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from closeout.adapters.venues.simulated import Depth, FillMode
from closeout.rulebooks import loader
from closeout.studies.accounts import AccountFile
from closeout.studies.columns import columns
from closeout.studies.files import Folder
from closeout.studies.market import Market, load_market
from closeout.studies.outcome import Run
from closeout.studies.population import generate
from closeout.studies.replay import Replay, Settings
from closeout.studies.runner import run_replay

SEED = 20_200_312
ACCOUNTS = 1_000


@dataclass(frozen=True, slots=True)
class Scene:
    """One crash of the demo: the market, the rulebooks it runs under, and what a reader must know beforehand."""

    market: str
    rulebooks: tuple[str, ...]
    said: str


SCENES = (
    Scene(
        "march-12",
        ("kraken-us:as_if_24x7", "reference"),
        "12 March 2020, 22:50 UTC (17:50 in Chicago), a Thursday night. The contracts did not exist yet: the rules of "
        "today meet the prices of then, as if the market had never shut.",
    ),
    Scene(
        "oct-10",
        ("kraken-us:as_if_24x7", "kraken-us", "reference"),
        "10 October 2025 was a Friday. The margin switch fell at 20:45 UTC, before the crash; under the published "
        "hours the market shut at 21:00 UTC, before the low at 21:20, and opened again on Sunday. Both are run.",
    ),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """What a run's debts would have been under one other assumption: by account, in micros; None = not admitted."""

    name: str
    owed: dict[str, int | None]

    @property
    def total(self) -> int:
        return sum(owed or 0 for owed in self.owed.values())


def run(out: Path, accounts: int, speed: float, *, print_text: bool) -> dict[str, Any]:
    """Play every scene, print what came of it and which assumption makes each debt; returns the summaries by market."""
    from closeout.studies.screen import summary_text
    from closeout.studies.watch import watching

    for scene in SCENES:
        Folder(out / scene.market)  # refused before anything is played
    summaries: dict[str, Any] = {}
    for scene in SCENES:
        market = load_market([scene.market])
        book = generate(SEED, accounts, market)
        folder = out / scene.market
        with watching(speed) as progress:
            finished = run_replay(
                [scene.market], market, book, scene.rulebooks, folder, settings=Settings(), progress=progress
            )
        summaries[scene.market] = finished.summary
        if print_text:
            print(f"\n{scene.said}\n")
            print(summary_text(finished.runs, finished.folder))
        for one in finished.runs:
            if one.debtors:
                found = variants(scene.market, market, book, one)
                summaries[scene.market]["rulebooks"][one.rulebook]["owed_if"] = {
                    variant.name: one.currency.text(variant.total) for variant in found
                }
                if print_text:
                    print(f"\n{explain(one, found)}")
    return summaries


def variants(name: str, market: Market, book: Sequence[AccountFile], run: Run) -> list[Variant]:
    """The run again with one assumption changed at a time. Only the debtors' accounts differ in interest, but the
    whole book is run: it shares the venue's depth."""
    rulebook = loader.load(run.rulebook)
    depth = Depth()
    cases: list[tuple[str, Settings, dict[str, Any] | None]] = [
        ("margin doubled", Settings(), _doubled(rulebook)),
        ("ten times the depth", Settings(depth=replace(depth, within_1_percent=10 * depth.within_1_percent)), None),
        ("no latency", Settings(depth=replace(depth, latency_ms=0)), None),
        ("filled at the bar's close", Settings(FillMode.CLOSE), None),
        ("filled at the bar's worst price", Settings(FillMode.ADVERSE), None),
    ]
    return [
        Variant(case, _owed(market, book, loader.load(run.rulebook, overrides), name, settings))
        for case, settings, overrides in cases
    ]


def _owed(
    market: Market, book: Sequence[AccountFile], rulebook: loader.Rulebook, name: str, settings: Settings
) -> dict[str, int | None]:
    with tempfile.TemporaryDirectory() as scratch:
        run = Replay(market, book, rulebook, name, settings).run(Path(scratch) / "journal.sqlite")
    return {a.account_id: None if "not_admitted" in a.flags else a.owed for a in run.accounts}


def _doubled(rulebook: loader.Rulebook) -> dict[str, Any]:
    """Overrides that double each margin figure of every contract (rates to at most 100 % of the notional)."""

    def doubled(key: str, value: str) -> str:
        if key.endswith("_rate"):
            return str(min(Decimal(1), 2 * Decimal(value)))
        return str(2 * Decimal(value)) if key.endswith("_margin") else value

    contracts: dict[str, Any] = {}
    for name, contract in rulebook.table.contracts.items():
        contracts[name] = {
            "tiers": [
                {key: doubled(key, value) for key, value in msgspec.to_builtins(tier).items() if isinstance(value, str)}
                for tier in contract.tiers
            ]
        }
    return {"contracts": contracts}


def explain(run: Run, found: Sequence[Variant], most: int = 10) -> str:
    """Per debtor what would be owed under each other assumption, and the totals."""
    text = run.currency.text
    debtors = run.debtors
    header = ["account", "owes", *(variant.name for variant in found)]
    rows = [
        [a.account_id, text(a.owed), *(_cell(variant.owed.get(a.account_id), text) for variant in found)]
        for a in debtors[:most]
    ]
    rows.append(["everybody", text(sum(a.owed for a in run.accounts)), *(text(variant.total) for variant in found)])
    return f"{run.rulebook}: what makes the debts (owed under one other assumption at a time)\n" + columns(
        [header, *rows], left=1
    )


def _cell(owed: int | None, text: Callable[[int], str]) -> str:
    return "not admitted" if owed is None else text(owed)
