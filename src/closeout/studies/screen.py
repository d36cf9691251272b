"""What a terminal shows: a live picture of a replay on standard error, and the summary at its end.

Standard output belongs to the summary and to ``--json``. On a terminal the picture is drawn in place; where standard
error goes to a file or a pipe, plain lines say the same now and then.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from closeout.core.text import clean
from closeout.studies.columns import columns
from closeout.studies.outcome import AccountOutcome, Run, Totals
from closeout.studies.side_by_side import Figure, figures
from closeout.studies.wording import (
    amount,
    clock,
    comparison,
    count,
    dollars,
    grouped,
    headline,
    made_by_fees,
    money,
    verify_command,
)

PLAIN_EVERY = 3.0
"""Seconds between two plain lines."""
_LIVE_EVERY = 0.1
_MOST_ROWS = 12
_WIDTH = 100
_WIDEST = 130

_STYLES = {"normal": "", "alert": "yellow", "liquidate_only": "dark_orange", "liquidating": "bold red",
           "closed out": "dim"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RiskRow:
    """One of the riskiest accounts. `level` is a level's name in lower case; the rest is exact decimal text, `usage`
    a ratio or "over", `would_owe` what the account would owe if it were closed out at the mark."""

    account_id: str
    level: str
    net_liq: str
    requirement: str
    usage: str
    contract: str
    side: str
    quantity: str
    would_owe: str = ""


@dataclass(frozen=True, slots=True)
class _Picture:
    """The state as last told."""

    bar_index: int
    time_ns: int
    prices: Mapping[str, str]
    counts: Mapping[str, int]
    money: Mapping[str, str]
    riskiest: Sequence[RiskRow]


class Screen:
    """A replay as it runs. Call `start`, then `update` after each bar, and `finish` in a ``finally``."""

    def __init__(self, console: Console | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(stderr=True)
        self._now = now
        self._live: Live | None = None
        self._title, self._total = "", 0
        self._last: _Picture | None = None
        self._shown: _Picture | None = None
        self._due = 0.0

    def start(self, total_bars: int, title: str) -> None:
        """Begin a run of `total_bars`; a run that is still on is finished first."""
        self.finish()
        self._title, self._total = clean(title), total_bars
        self._last = self._shown = None
        self._due = self._now()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(None), MofNCompleteColumn(),
                       TextColumn("bars"), TimeRemainingColumn())  # fmt: skip
            self._progress = Progress(*columns, console=self.console)
            self._task: TaskID = self._progress.add_task(self._title, total=total_bars)
            self._live = Live(self._progress, console=self.console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        else:
            self._line(f"{self._title}: {count(total_bars, 'bar')}")

    def update(
        self,
        bar_index: int,
        time_ns: int,
        prices: Mapping[str, str],
        counts: Mapping[str, int],
        money: Mapping[str, str],
        riskiest: Sequence[RiskRow],
    ) -> None:
        """`bar_index` bars are played, the last at `time_ns`. `counts` are accounts by level and what else is counted,
        `money` amounts by name; both are shown in their order."""
        self._last = _Picture(bar_index, time_ns, prices, counts, money, riskiest)
        if self.is_due():
            self._show()

    def is_due(self) -> bool:
        """Whether the next update will be shown at once; one that is not need not be put together."""
        return self._now() >= self._due

    def finish(self) -> None:
        """Show what was told last, and leave the terminal as it was. Does nothing the second time."""
        if self._last is not None and self._last is not self._shown:
            self._show()
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._last = self._shown = None

    def _show(self) -> None:
        picture = self._last
        if picture is None:
            return
        self._shown = picture
        if self._live is None:
            self._due = self._now() + PLAIN_EVERY
            self._line(_plain(picture, self._title, self._total))
            return
        self._due = self._now() + _LIVE_EVERY
        self._progress.update(self._task, completed=picture.bar_index)
        self._live.update(Group(self._progress, _facts(picture), _table(picture.riskiest)), refresh=True)

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _plain(picture: _Picture, title: str, total: int) -> str:
    facts = [
        clock(picture.time_ns),
        *(f"{clean(name)} {grouped(price)}" for name, price in picture.prices.items()),
        *(f"{name.replace('_', ' ')} {number:,}" for name, number in picture.counts.items()),
        *(f"{name.replace('_', ' ')} {grouped(text)}" for name, text in picture.money.items()),
    ]
    return f"{title}: bar {picture.bar_index:,} of {total:,}; {'; '.join(facts)}"


def _facts(picture: _Picture) -> Table:
    """Time and prices, accounts by level, money: a line each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text("market", "dim"), Text("   ".join([
        clock(picture.time_ns), *(f"{clean(name)} {grouped(price)}" for name, price in picture.prices.items()),
    ])))  # fmt: skip
    accounts = Text()
    for name, number in picture.counts.items():
        accounts.append(f"{name.replace('_', ' ')} {number:,}   ", _STYLES.get(name, "") if number else "dim")
    grid.add_row(Text("accounts", "dim"), accounts)
    amounts = "   ".join(f"{name.replace('_', ' ')} {grouped(text)}" for name, text in picture.money.items())
    grid.add_row(Text("money", "dim"), Text(amounts))
    return grid


def _table(riskiest: Sequence[RiskRow]) -> Table:
    """The riskiest accounts; always as tall, so that the screen does not jump."""
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    for name in ("account", "level"):
        table.add_column(name, no_wrap=True)
    for name in ("net liq", "required", "usage"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("position", no_wrap=True)
    table.add_column("would owe", justify="right", no_wrap=True)
    for row in riskiest[:_MOST_ROWS]:
        owes = row.would_owe if row.would_owe.strip("0.") else ""
        table.add_row(
            Text(clean(row.account_id)), Text(row.level.replace("_", " "), _STYLES.get(row.level, "")),
            Text(grouped(row.net_liq), "red" if row.net_liq.startswith("-") else ""), Text(grouped(row.requirement)),
            Text(row.usage), Text(clean(f"{row.side} {row.quantity} {row.contract}")),
            Text(grouped(owes), "bold red"),
        )  # fmt: skip
    for _ in range(_MOST_ROWS - len(riskiest)):
        table.add_row("")
    return table


@contextmanager
def progress_bar(title: str) -> Generator[Callable[[int, int], None]]:
    """A bar on standard error for work that tells how much is done, and of how much; nothing off a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


# -- the summary --------------------------------------------------------------------------------------------


def summary_text(runs: Sequence[Run], out_dir: Path | str) -> str:
    """What a replay came to, for standard output: a table, who owes, what it rests on, and where it all lies."""
    if len(runs) == 1:
        parts = [_overview(runs[0]), _told(runs[0], runs, out_dir, [])]
    else:
        common = [text for text in runs[0].assumptions if all(text in run.assumptions for run in runs)]
        parts = [_wrap(comparison(runs)), _side_by_side(runs), *(_told(run, runs, out_dir, common) for run in runs)]
        parts += ["\n".join(["What all of this rests on:", *_rests(common)])] if common else []
    return "\n\n".join([*parts, _where(Path(out_dir))]) + "\n"


def _overview(run: Run) -> str:
    head = ["rulebook", "accounts", "closed out", "orders", "fees", "debtors", "owed", "worst debt", ""]
    totals = Totals.of(run)
    worst = money(run.currency, totals.debtors[0].owed) if totals.debtors else "none"
    row = [
        clean(run.rulebook), f"{totals.accounts:,}", f"{totals.closed_out:,}", f"{totals.orders:,}",
        money(run.currency, totals.fees), f"{len(totals.debtors):,}", money(run.currency, totals.owed), worst,
        run.currency.code,
    ]  # fmt: skip
    return columns([head, row], left=1)


def _side_by_side(runs: Sequence[Run]) -> str:
    """Figures as rows, rulebooks as columns, as many side by side as a wide terminal has room for."""
    rows = [["", *(clean(run.rulebook) for run in runs)]]
    for figure in figures(runs):
        name = f"  {figure.name}" if figure.part else figure.name
        rows.append([name, *(_figure(run, figure, value) for run, value in zip(runs, figure.values, strict=True))])
    if any(run.dollars is not None for run in runs):
        lost = [dollars(run, Totals.of(run).deficit) for run in runs]
        rows.append(["lost, at the opening mark", *lost])
    rows.append(["in", *(run.currency.code for run in runs)])
    blocks: list[list[int]] = [[]]
    for column in range(1, len(rows[0])):
        if columns([[row[i] for i in (0, *blocks[-1], column)] for row in rows], left=1).index("\n") > _WIDEST:
            blocks.append([])
        blocks[-1].append(column)
    return "\n\n".join(columns([[row[i] for i in (0, *block)] for row in rows], left=1) for block in blocks)


def _figure(run: Run, figure: Figure, value: int | None) -> str:
    if value is None or (figure.part and not value):
        return "-"
    return money(run.currency, value) if figure.money else f"{value:,}"


def _told(run: Run, runs: Sequence[Run], folder: Path | str, common: Sequence[str]) -> str:
    """One rulebook: the headline, the largest debts, what they rest on beside what is `common`, and how to verify."""
    totals = Totals.of(run)
    said = [clean(run.rulebook), _wrap(headline(run))]
    if totals.not_admitted:
        said.append(_wrap(f"{count(totals.not_admitted, 'account')} would not pass the opening check and stayed out."))
    if totals.debtors:
        said += ["", *_debts(run, totals.debtors, 10 if len(runs) < 3 else 3)]
    own = [text for text in run.assumptions if text not in common]
    if own or run.other_path is not None:
        alone = len(runs) == 1
        said += ["", "What these debts rest on:" if totals.debtors and alone else "What this rests on:" if alone else
                 "What it rests on:"]  # fmt: skip
    said += _rests(own)
    if run.other_path is not None:
        debtors, deficits, code = run.other_path["debtors"], run.other_path["deficits"], run.currency.code
        owed, lost = deficits["customers_owe"], deficits["total"]
        other = f"{count(debtors, 'customer')} would owe {grouped(owed)} {code} in total"
        if lost != owed or totals.deficit != totals.owed:
            other = f"{grouped(lost)} {code} would be lost beyond margin, and {other}"
        said.append(_wrap(f"Path: each bar's low comes before its high. With the high first {other}.", "- "))
    if run.ledger_imbalance:
        said.append(f"THE BOOKS DO NOT BALANCE: they are off by {amount(run.currency, run.ledger_imbalance)}.")
    said += [_wrap(f"SUMS DO NOT AGREE: {text}.") for text in run.problems]
    said.append(f"Verify: {clean(verify_command(run, runs, folder))}")
    return "\n".join(said)


def _rests(assumptions: Sequence[str]) -> list[str]:
    return [_wrap(clean(text), "- ") for text in assumptions]


def _debts(run: Run, debtors: Sequence[AccountOutcome], most: int) -> list[str]:
    """The largest debts, a line each, and what is to be said of them all."""
    head = ["account", "side", "contracts", "leverage", "had", "closed out", "line", "filled", "fees", "owes"]
    rows = [
        [
            clean(a.account_id), clean(a.side), clean(",".join(a.contracts)), f"{clean(a.leverage)}x",
            money(run.currency, a.net_liq_before),
            "not yet" if a.liquidated_at is None else clock(a.liquidated_at).partition(",")[0],
            grouped(a.liquidation_price or "none"), grouped(a.fill_price or "none"),
            money(run.currency, a.fees), money(run.currency, a.owed), "fees" if made_by_fees(a) else "price",
        ]
        for a in debtors[:most]
    ]  # fmt: skip
    said = columns([[*head, "made by"], *rows], left=3).splitlines()
    if len(debtors) > most:
        rest = sum(account.owed for account in debtors[most:])
        said.append(f"and {count(len(debtors) - most, 'smaller debt')}, {amount(run.currency, rest)} together")
    by_fees = sum(made_by_fees(account) for account in debtors)
    if by_fees:
        said.append(f"{by_fees:,} of {count(len(debtors), 'debt')} would not be there without fees.")
    return said


def _wrap(text: str, bullet: str = "") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet),
                         break_on_hyphens=False)  # fmt: skip


def _where(folder: Path) -> str:
    return "\n".join([
        f"Report:  {folder / 'report.html'}",
        f"Files:   {folder} (summary.json, accounts.csv, liquidations.csv, ledger.csv, receipts/, and the "
        "journals to verify)",
        "Not affiliated with any venue modelled; assumed values are not theirs.",
    ])  # fmt: skip
