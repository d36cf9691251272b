"""The switch of a session for every account at once, beside bare reads of the columns that its verdicts stand on."""

import statistics
from typing import Any

import numba

from benchmarks.index import book
from benchmarks.index.book import CONTRACTS, Shape
from benchmarks.index.desk import Desk
from benchmarks.index.measuring import Load, say, spread, timed

ROUNDS = 3
WINDOWS = ("end_of_day", "intraday")
FAR = 0.25
"""No account is so near its line, or the line of a warning, that the other window takes it there."""

METHOD = (
    "`Engine.apply` of the session change, with every verdict; then the same mark of one contract until "
    "every account has its triggers; the bare pass reads each column once on one thread, compiled"
)


@numba.njit(cache=True)
def _read(column: Any) -> int:  # pragma: no cover (compiled)
    """The sum of a column, which is no more than reading it."""
    total = 0
    for value in column:
        total += value
    return total


def measured(accounts: int) -> dict[str, Any]:
    """A row for each switch: to the dearer window and back, several times."""
    shape = Shape(accounts, share_near=0.0, far_from=FAR)
    columns = book.draw(shape)
    say(f"switch: {accounts:,} accounts")
    under_test = Desk(columns, switching=True)
    under_test.settle()
    rows: list[dict[str, Any]] = []
    with Load() as load:
        for window in WINDOWS * ROUNDS:
            verdicts = under_test.switch(window)
            served = under_test.settle()
            bare = statistics.median(timed(lambda: _bare(under_test))[0] for _ in range(ROUNDS))
            rows.append(
                {
                    "to": window,
                    "verdicts ms": verdicts / 1e6,
                    "bare pass ms": bare / 1e6,
                    "verdicts / bare": verdicts / bare,
                    "rebuild s": sum(served) / 1e9,
                    "marks meanwhile": len(served),
                    **spread(served),
                }
            )
    return {
        "accounts": accounts,
        "positions": columns.positions,
        "contracts": CONTRACTS,
        "workload": f"a session of all {CONTRACTS} contracts that changes its margin window; {shape.text()}",
        "method": METHOD,
        "events": under_test.events,
        "load_of_others": load.others,
        "switch": rows[2:],  # what is compiled late is compiled by then
    }


def _bare(under_test: Desk) -> int:
    return sum(int(_read(column)) for column in under_test.columns())
