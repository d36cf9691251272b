"""The baselines timed on the same marks of the same book, each checked against the int64 reference."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.index import compiled
from benchmarks.index.book import Columns
from benchmarks.index.measuring import Load, say, spread, timed
from benchmarks.index.paths import Path
from benchmarks.index.tools import TOOLS, Flox, Maker, Tool, version_of

BUDGET = 2_000_000_000
"""Nanoseconds of marks after which a baseline has been timed enough, if it has had `LEAST` of them."""
LEAST = 5
CHECKED = 3
"""Marks at the begin and at the end of each baseline's whose accounts are compared with the reference, one by one."""
FLOX_ACCOUNTS = 100_000
"""Attaching an account to FLOX costs more the more it has; a million take minutes."""

COMPILED: tuple[Maker, ...] = (compiled.Incremental, compiled.FullScan, compiled.PlainScan)

Row = dict[str, Any]


def measure(columns: Columns, path: Path, begin: int, *, flox_all: bool = False) -> Iterator[Row]:
    """A row for each baseline: the marks of the path from `begin` on, over the book as it is then."""
    ticks = path.after(columns.opening, begin)
    part = path.part(begin, len(path))
    for maker in COMPILED:
        yield row_of(maker, f"Numba {version_of('numba')}", columns, part, ticks)
    for package, makers in TOOLS.items():
        version = version_of(package)
        for maker in makers:
            if not version:
                yield {"method": _name(maker), "package": f"{package} is not installed", "accounts": columns.accounts}
            elif maker is Flox:
                for size in _flox_sizes(columns.accounts, flox_all):
                    yield _apart(f"{package} {version}", head(columns, size), part, ticks)
            else:
                yield row_of(maker, f"{package} {version}", columns, part, ticks)


def _flox_sizes(accounts: int, flox_all: bool) -> tuple[int, ...]:
    if accounts <= FLOX_ACCOUNTS:
        return (accounts,)
    return (FLOX_ACCOUNTS // 10, FLOX_ACCOUNTS, *((accounts,) if flox_all else ()))


def _apart(package: str, columns: Columns, part: Path, ticks: Any) -> Row:
    """FLOX in a process of its own: its library cannot be loaded behind some of the others."""
    told = pickle.dumps((package, columns, part, ticks))
    command, places = [sys.executable, "-m", "benchmarks.index.flox_apart"], os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        command, input=told, stdout=subprocess.PIPE, check=True, env={**os.environ, "PYTHONPATH": places}
    )
    return pickle.loads(done.stdout)  # noqa: S301 (what flox_apart wrote)


def head(columns: Columns, accounts: int) -> Columns:
    """The first accounts of a book, as a book."""
    end = columns.start[accounts]
    account, contract, lots, cost = (
        columns.account[:end],
        columns.contract[:end],
        columns.lots[:end],
        columns.cost[:end],
    )
    return Columns(
        columns.start[: accounts + 1], account, contract, lots, cost, columns.cash[:accounts], columns.opening
    )


def _name(maker: Any) -> str:
    return maker.name


def row_of(maker: Maker, package: str, columns: Columns, part: Path, ticks: Any) -> Row:
    say(f"baseline: {_name(maker)}, {columns.accounts:,} accounts")
    taken: list[int] = []
    with Load() as load:
        opened, tool = timed(lambda: maker(columns, ticks))
        tool.mark(int(part.contract[0]), int(ticks[part.contract[0]]))  # compiles, and changes nothing
        marks = zip(part.contract.tolist(), part.ticks.tolist(), strict=True)
        found: list[Any] = []
        for contract, price in marks:
            lasted, accounts = timed(lambda at=(contract, price): tool.mark(*at))
            taken.append(lasted)
            found.append(np.sort(np.asarray(accounts)))
            if sum(taken) > BUDGET and len(taken) >= LEAST:
                break
    agrees = _agrees(tool, columns, part.part(0, len(taken)), ticks, found)
    return {
        "method": _name(maker),
        "package": package,
        "accounts": columns.accounts,
        "asks": tool.question,
        "keeps": tool.keeps,
        "samples": len(taken),
        **spread(taken),
        "opening s": opened / 1e9,
        "agrees": agrees,
        "load of others": load.others,
    }


def _agrees(tool: Tool, columns: Columns, part: Path, ticks: Any, found: list[Any]) -> bool:
    """Whether the accounts found are those of the reference at the marks that are checked."""
    if isinstance(tool, Flox):
        return _closes_the_same(tool, columns, part, ticks, found)
    now = ticks.copy()
    for number, (contract, price) in enumerate(zip(part.contract.tolist(), part.ticks.tolist(), strict=True)):
        now[contract] = price
        if CHECKED <= number < len(part) - CHECKED:
            continue
        expected = columns.breached(now)
        if tool.question == "holders":
            expected = np.intersect1d(expected, columns.account[columns.holders(contract)])
        if not np.array_equal(found[number], expected):
            return False
    return True


def _closes_the_same(tool: Flox, columns: Columns, part: Path, ticks: Any, found: list[Any]) -> bool:
    """FLOX closes an account once. So all that it closed are all that were below the line at any of the marks."""
    expected, now = set(columns.breached(ticks).tolist()), ticks.copy()
    for contract, price in zip(part.contract.tolist(), part.ticks.tolist(), strict=True):
        now[contract] = price
        expected |= set(columns.breached(now).tolist())
    return set(np.concatenate([tool.closed_at_once, *found]).tolist()) == expected
