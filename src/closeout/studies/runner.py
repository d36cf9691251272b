"""`closeout replay`: one market and one book of accounts under one or several rulebooks, into one folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from closeout.adapters.venues.simulated import Depth, FillMode
from closeout.core.times import MILLISECOND, time_text
from closeout.core.units import InputError
from closeout.rulebooks import loader
from closeout.studies import files
from closeout.studies.accounts import AccountFile
from closeout.studies.funding_rates import load_funding
from closeout.studies.market import Market
from closeout.studies.outcome import Run
from closeout.studies.population import generate
from closeout.studies.replay import Progress, Replay, Settings, matches_orders

MEASURE = "reference"
"""The rulebook whose initial margin measures an account's appetite."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a replay left: the runs, the summary as written, and the folder."""

    runs: list[Run]
    summary: dict[str, Any]
    folder: Path


def run_replay(
    names: Sequence[str],
    market: Market,
    accounts: Sequence[AccountFile],
    rulebooks: Sequence[str],
    out: Path,
    *,
    settings: Settings,
    overrides: dict[str, Any] | None = None,
    same_appetite: bool = False,
    progress: Progress | None = None,
) -> Finished:
    """Check everything, then run, then write. Nothing is written for bad input (`InputError`).

    With `same_appetite` each account is sized to the same part of what each rulebook allows (`studies.sizing`).

    A book with several contracts in one account is run with the extremes of a bar in both orders: the files hold the
    run with the low first, `summary.json` the totals of both.
    """
    _check_names(rulebooks)
    title = "+".join(names)
    if same_appetite:
        settings = replace(settings, measure=loader.load(MEASURE))
    books = {name: loader.load(name, overrides) for name in rulebooks}
    replays = {name: Replay(market, accounts, book, title, settings, name) for name, book in books.items()}
    folder = files.Folder(out)
    partial = folder.begin()
    try:
        runs = [
            replay.run(partial / files.journal_name(name, len(replays) > 1), progress)
            for name, replay in replays.items()
        ]
        if any(len({p.contract for p in account.positions}) > 1 for account in accounts):
            for name, run in zip(replays, runs, strict=True):
                other = Replay(market, accounts, books[name], title, replace(settings, high_first=True), name)
                run.path_assumed = "low_first"
                run.other_path = {"path": "high_first"} | _other_outcome(other, partial, progress)
    except InputError:
        folder.discard()
        raise
    except KeyboardInterrupt:
        print(f"closeout: what was journaled until now lies in {partial}; closeout verify proves it", file=sys.stderr)
        raise
    described = describe_market(market, title)
    described["funding"] = None if settings.funding is None else asdict(settings.funding.source)
    summary = files.write_runs(partial, runs, described, same_appetite=same_appetite)
    files.write_ledger(partial / "ledger.csv", ((name, replay.recorder) for name, replay in replays.items()))
    from closeout.studies.report import write_report  # matplotlib is slow to import

    write_report(partial / "report.html", runs, title=title, market=described, same_appetite=same_appetite)
    return Finished(runs, summary, folder.commit())


def population_for(
    rulebooks: Sequence[str], market: Market, seed: int, count: int, overrides: dict[str, Any] | None = None
) -> list[AccountFile]:
    """A seeded population for a run under these rulebooks: two-sided where one of them takes from winners, so that
    there are some."""
    _check_names(rulebooks)
    policies = [loader.load(name, overrides).policy() for name in rulebooks]
    return generate(seed, count, market, two_sided=any(map(matches_orders, policies)))


def venue_settings(fill: str, latency: str, depth: int, interval: int, funding: Path | None = None) -> Settings:
    """The simulated venue as the command line names it; `interval` is the length of a bar in nanoseconds, `funding` a
    file of rates."""
    modes = {mode.value: mode for mode in FillMode}
    if fill not in modes:
        raise InputError(f"--fill: expected one of {', '.join(modes)}, not {fill!r}")
    form = re.fullmatch(r"(\d{1,9})(ms|bars?)", latency)
    if form is None:
        raise InputError(f"--latency: expected milliseconds or bars such as 500ms or 2bars, not {latency!r}")
    number = int(form[1])
    milliseconds = number if form[2] == "ms" else number * interval // MILLISECOND
    rates = None if funding is None else load_funding(funding)
    return Settings(modes[fill], Depth(within_1_percent=depth, latency_ms=milliseconds), funding=rates)


def _check_names(rulebooks: Sequence[str]) -> None:
    twice = {name for name in rulebooks if list(rulebooks).count(name) > 1}
    if not rulebooks or twice:
        raise InputError(f"--rulebook: expected each name once, not {','.join(rulebooks)!r}")


def _other_outcome(other: Replay, folder: Path, progress: Progress | None) -> dict[str, Any]:
    """The totals that the order of the extremes can change; this run's journal is not kept."""
    keys = ("liquidated_accounts", "close_out_orders", "fees", "deficits", "debtors", "digest")
    scratch = folder / "other-path.sqlite"
    summary = files.totals(other.run(scratch, progress))
    scratch.unlink()
    return {key: summary[key] for key in keys}


def describe_market(market: Market, name: str) -> dict[str, Any]:
    times = [bar.time for bars in market.contracts.values() for bar in bars]
    return {
        "name": name,
        "contracts": list(market.contracts),
        "start": time_text(min(times)),
        "end": time_text(max(times)),
        "sources": [{"file": s.file, "sha256": s.sha256, "rows": s.rows} for s in market.sources],
    }
