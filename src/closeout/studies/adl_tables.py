"""The published outcome tables of the auto-deleveraging on Hyperliquid, 10 October 2025, read from their folder.

Origin: github.com/pluriholonomic/autodeleveraging-analysis, folder `out` (MIT). They do not come with the package.
Files that are read, money in USD, times UTC; what else lies in the folder is not looked at:

    bad_debt_loser_waves.csv              a wave of close-outs: its time, fills, losers, their equity below zero
    eval_horizon_sweep/summary.csv        totals for each time after the wave at which equity is taken (or
                                          eval_horizon_sweep_gap_ms=5000.csv, its name in the repository)
    eval_horizon_sweep/gap_ms=G/horizon_ms=H/
        two_pass_equity_delta_by_wave.csv         needed and taken in each wave
        two_pass_wave_coin_gap_per_contract.csv   needed in each wave and coin (the same for all H)
    per_shock_metrics_queue.csv           a coin's run of fills: what its winners had and gave
    summary_totals.csv                    totals of that
    policy_per_wave_metrics.csv           what other policies would have taken, and the largest haircut
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from closeout.core.units import InputError, decimal
from closeout.studies.market import Source, parse_time

LOSERS = "bad_debt_loser_waves.csv"
SWEEP = "eval_horizon_sweep/summary.csv"
SWEEP_AT_ORIGIN = "eval_horizon_sweep_gap_ms=5000.csv"
BY_WAVE = "two_pass_equity_delta_by_wave.csv"
GAPS = "two_pass_wave_coin_gap_per_contract.csv"
SHOCKS = "per_shock_metrics_queue.csv"
QUEUE_TOTALS = "summary_totals.csv"
POLICY_METRICS = "policy_per_wave_metrics.csv"
POLICIES = {
    "prod": "production",
    "pr": "pro-rata",
    "pnl_pr": "pro-rata of profit",
    "eq_pr": "pro-rata of equity",
    "vector": "vector mirror descent",
    "contract_pr": "contract pro-rata",
    "fixed_point_ilp_integer": "fixed-point ILP",
}
"""Policies of `POLICY_METRICS` by the ending of their columns, and their names."""


@dataclass(frozen=True, slots=True)
class LoserWave:
    """`deficit` is the sum of the losers' equity below zero, `largest_loss` the largest of one account."""

    wave: int
    start_ms: int
    end_ms: int
    fills: int
    losers: int
    deficit: Fraction
    largest_loss: Fraction


@dataclass(frozen=True, slots=True)
class Outcome:
    """A wave at one horizon: what closing at the mark needed, what was taken from winners, and what the unrealised
    profit of these winners' accounts when it began."""

    wave: int
    needed: Fraction
    taken: Fraction
    winners_profit: Fraction


@dataclass(frozen=True, slots=True)
class Published:
    """Totals of one horizon as the sweep's own summary has them."""

    deficit: Fraction
    needed: Fraction
    taken: Fraction
    overshoot: Fraction


@dataclass(frozen=True, slots=True)
class Gap:
    """What a wave needed in one coin: sum of |mark - fill| x size."""

    wave: int
    coin: str
    needed: Fraction


@dataclass(frozen=True, slots=True)
class Shock:
    """A coin's fills with less than the gap between them. `capacity` is the winners' profit that could be taken,
    `budget` their profit that was closed."""

    coin: str
    start_ms: int
    end_ms: int
    deficit: Fraction
    capacity: Fraction
    budget: Fraction


@dataclass(frozen=True, slots=True)
class PolicyWave:
    """By policy (the keys of `POLICIES`): what it takes, its overshoot as published, the largest haircut (1 is all)."""

    wave: int
    needed: Fraction
    taken: Mapping[str, Fraction]
    overshoot: Mapping[str, Fraction]
    largest: Mapping[str, Fraction]


@dataclass(slots=True)
class Tables:
    """All files. `outcomes` and `published` go by horizon in ms; waves are in the order of `losers`."""

    losers: list[LoserWave]
    outcomes: dict[int, list[Outcome]]
    published: dict[int, Published]
    gaps: list[Gap]
    shocks: list[Shock]
    queue_overshoot: Fraction
    queue_residual: Fraction
    policies: list[PolicyWave]
    sources: list[Source] = field(default_factory=list[Source])


def read_tables(folder: Path) -> Tables:
    """`InputError` names the file, the line, the field and what was expected."""
    _check_folder(folder)
    files = _Files(folder)
    losers = _once(files.rows(LOSERS, _LOSER_FIELDS), _loser, lambda wave: wave.wave, "wave")
    waves = [loser.wave for loser in losers]
    sweep = files.rows(SWEEP if files.has(SWEEP) else SWEEP_AT_ORIGIN, _SWEEP_FIELDS, called=SWEEP)
    _once(sweep, lambda row: row, lambda row: row.whole("eval_horizon_ms"), "eval_horizon_ms")
    published = {row.whole("eval_horizon_ms"): _published(row) for row in sweep}
    folders = {row.whole("eval_horizon_ms"): _horizon_folder(row) for row in sweep}
    outcomes = {
        horizon: _of_waves(files.rows(f"{place}/{BY_WAVE}", _OUTCOME_FIELDS), _outcome, waves)
        for horizon, place in folders.items()
    }
    gap_file = next((f"{place}/{GAPS}" for place in folders.values() if files.has(f"{place}/{GAPS}")), None)
    gap_rows = files.rows(gap_file or f"{next(iter(folders.values()))}/{GAPS}", _GAP_FIELDS)
    for row in gap_rows:
        if row.whole("wave") not in waves:
            raise InputError(f"{row.where}: wave: {row.whole('wave')} is not in {LOSERS}")
    totals = files.rows(QUEUE_TOTALS, ("policy", "total_residual", "total_overshoot"))
    queue = next((row for row in totals if row.cells["policy"].strip() == "queue"), None)
    if queue is None:
        raise InputError(f"{totals[0].where}: policy: expected a row queue")
    return Tables(
        losers,
        outcomes,
        published,
        _once(gap_rows, _gap, lambda gap: (gap.wave, gap.coin.upper()), "wave and coin"),
        [_shock(row) for row in files.rows(SHOCKS, _SHOCK_FIELDS)],
        queue.number("total_overshoot"),
        queue.number("total_residual"),
        _of_waves(files.rows(POLICY_METRICS, _POLICY_FIELDS), _policy, waves),
        files.sources,
    )


T = TypeVar("T")
OfWave = TypeVar("OfWave", Outcome, PolicyWave)


def _check_folder(folder: Path) -> None:
    if (folder / LOSERS).is_file():
        return
    expected = f"{folder}: expected the folder of the outcome tables, with {LOSERS} and others"
    if not folder.is_dir():
        raise InputError(f"{expected}; found {'a file' if folder.exists() else 'nothing of that name'}")
    near = sorted(path.parent for path in folder.glob(f"*/{LOSERS}"))
    raise InputError(f"{expected}; {f'did you mean {near[0]}?' if near else 'this folder has no such file'}")


# -- rows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a file. `where` is its file and number."""

    where: str
    cells: Mapping[str, str]

    def number(self, name: str) -> Fraction:
        return Fraction(decimal(self.cells[name].strip(), f"{self.where}: {name}"))

    def amount(self, name: str) -> Fraction:
        """A number that is zero or more."""
        found = self.number(name)
        if found < 0:
            raise InputError(f"{self.where}: {name}: expected zero or more, not {self.cells[name].strip()}")
        return found

    def whole(self, name: str) -> int:
        """A whole number that is zero or more."""
        found = self.amount(name)
        if found.denominator != 1:
            raise InputError(f"{self.where}: {name}: expected a whole number, not {self.cells[name].strip()}")
        return found.numerator

    def milliseconds(self, name: str) -> int:
        try:
            return parse_time(self.cells[name].strip())[0] // 10**6
        except ValueError as error:
            raise InputError(f"{self.where}: {name}: {error}") from None


class _Files:
    """The folder, and what was read from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sources: list[Source] = []

    def has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def rows(self, name: str, fields: Sequence[str], called: str | None = None) -> list[_Row]:
        """The rows of a CSV file that has at least these columns, and at least one row. `called` is the name to give
        where the file is missing."""
        path = self._folder / name
        try:
            data = path.read_bytes()
            text = data.decode("utf-8-sig")
        except FileNotFoundError:
            raise InputError(f"{self._folder / (called or name)}: no such file; expected the folder of the outcome "
                             "tables") from None  # fmt: skip
        except UnicodeDecodeError:
            raise InputError(f"{path}: expected a CSV file in UTF-8") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        rows = _parsed(str(path), text, fields)
        self.sources.append(Source(name, hashlib.sha256(data).hexdigest(), len(rows)))
        return rows


def _parsed(path: str, text: str, fields: Sequence[str]) -> list[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[_Row] = []
    header: list[str] | None = None
    last = 0
    try:
        for cells in reader:
            last = reader.line_num
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_header(path, header, fields)
            elif len(cells) != len(header):
                raise InputError(f"{path}: line {reader.line_num}: expected {len(header)} fields, found {len(cells)}")
            else:
                rows.append(_Row(f"{path}: line {reader.line_num}", dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise InputError(f"{path}: line {last + 1}: not a row of CSV: {error}") from None
    if not rows:
        raise InputError(f"{path}: {'the file is empty' if header is None else 'the file has a header but no rows'}")
    return rows


def _check_header(path: str, header: list[str], fields: Sequence[str]) -> None:
    for name in fields:
        if header.count(name) != 1:
            found = "found it twice" if name in header else f"found {', '.join(header)[:200]}"
            raise InputError(f"{path}: header: expected a column {name}, {found}")


def _once(rows: Iterable[_Row], made: Callable[[_Row], T], key: Callable[[T], object], fields: str) -> list[T]:
    """What the rows stand for; a second row of the same key is refused."""
    found: dict[object, T] = {}
    for row in rows:
        one = made(row)
        if found.setdefault(key(one), one) is not one:
            raise InputError(f"{row.where}: {fields}: a second row for {key(one)}")
    return list(found.values())


def _of_waves(rows: list[_Row], made: Callable[[_Row], OfWave], waves: list[int]) -> list[OfWave]:
    """One row for each of these waves, in their order."""
    found = {one.wave: one for one in _once(rows, made, lambda one: one.wave, "wave")}
    for row in rows:
        if row.whole("wave") not in waves:
            raise InputError(f"{row.where}: wave: {row.whole('wave')} is not in {LOSERS}")
    if missing := [wave for wave in waves if wave not in found]:
        raise InputError(f"{rows[-1].where}: wave: the rows end without wave {missing[0]}, which is in {LOSERS}")
    return [found[wave] for wave in waves]


# -- what a row stands for ----------------------------------------------------------------------------------

_LOSER_FIELDS = ("wave", "t_start_ms", "t_end_ms", "n_rows", "unique_losers", "deficit_usd", "max_loss_usd")
_SWEEP_FIELDS = ("gap_ms", "eval_horizon_ms", "total_deficit_usd", "total_budget_needed_usd", "total_H_prod_usd",
                 "total_overshoot_prod_minus_needed_usd")  # fmt: skip
_OUTCOME_FIELDS = ("wave", "budget_needed_usd", "budget_prod_usd", "winners_pnl_start_usd")
_GAP_FIELDS = ("wave", "coin", "gap_usd_x_qty")
_SHOCK_FIELDS = ("coin", "t_start", "t_end", "deficit_usd", "total_capacity_usd", "budget_queue_usd")
_POLICY_FIELDS = ("wave", "budget_needed",
                  *(f"{what}_{name}" for name in POLICIES for what in ("budget", "overshoot", "max_pct")))  # fmt: skip


def _loser(row: _Row) -> LoserWave:
    start, end = row.milliseconds("t_start_ms"), row.milliseconds("t_end_ms")
    if end < start:
        raise InputError(f"{row.where}: t_end_ms: expected at least t_start_ms ({start}), not {end}")
    deficit, largest = row.amount("deficit_usd"), row.amount("max_loss_usd")
    if largest > deficit:
        raise InputError(f"{row.where}: max_loss_usd: expected at most deficit_usd, not {row.cells['max_loss_usd']}")
    return LoserWave(row.whole("wave"), start, end, row.whole("n_rows"), row.whole("unique_losers"), deficit, largest)


def _horizon_folder(row: _Row) -> str:
    return f"eval_horizon_sweep/gap_ms={row.whole('gap_ms')}/horizon_ms={row.whole('eval_horizon_ms')}"


def _published(row: _Row) -> Published:
    return Published(
        row.amount("total_deficit_usd"),
        row.amount("total_budget_needed_usd"),
        row.amount("total_H_prod_usd"),
        row.number("total_overshoot_prod_minus_needed_usd"),
    )


def _outcome(row: _Row) -> Outcome:
    needed, taken = row.amount("budget_needed_usd"), row.amount("budget_prod_usd")
    return Outcome(row.whole("wave"), needed, taken, row.number("winners_pnl_start_usd"))


def _gap(row: _Row) -> Gap:
    coin = row.cells["coin"].strip()
    if not coin:
        raise InputError(f"{row.where}: coin: expected a name")
    return Gap(row.whole("wave"), coin, row.amount("gap_usd_x_qty"))


def _shock(row: _Row) -> Shock:
    start, end = row.milliseconds("t_start"), row.milliseconds("t_end")
    if end < start:
        raise InputError(f"{row.where}: t_end: earlier than t_start")
    amounts = (row.amount(name) for name in _SHOCK_FIELDS[3:])
    return Shock(row.cells["coin"].strip(), start, end, *amounts)


def _policy(row: _Row) -> PolicyWave:
    def by_policy(what: str) -> dict[str, Fraction]:
        return {name: row.number(f"{what}_{name}") for name in POLICIES}

    return PolicyWave(
        row.whole("wave"),
        row.amount("budget_needed"),
        by_policy("budget"),
        by_policy("overshoot"),
        by_policy("max_pct"),
    )
