"""The same question put to general tools: a contract has a new mark, who is below the line?

Each is written the way a good user of the tool would, on columns or tables that lie ready. `holders` asks about the
accounts in that contract, `all accounts` about everybody; `incremental` keeps each account's slack and adds what the
mark changed, `stateless` works everything out again.

NautilusTrader is not among them: it has no operation that finds the accounts below their margin.
"""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from benchmarks.index.book import CONTRACTS, NEED, UNIT_VALUE, Columns


class Tool(Protocol):
    """A baseline, made for a book at these marks; `mark` returns the accounts below the line after it."""

    name: str
    question: str
    keeps: str

    def mark(self, contract: int, ticks: int) -> Any: ...


class NumpyPass:
    name, question, keeps = "NumPy, incremental pass", "holders", "incremental"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        rows = [columns.holders(number) for number in range(CONTRACTS)]
        self.parts = [(columns.account[mine], columns.weight[mine]) for mine in rows]
        self.slack = columns.net_liq(ticks) - columns.requirement(ticks)
        self.ticks = ticks.copy()

    def mark(self, contract: int, ticks: int) -> Any:
        account, weight = self.parts[contract]
        left = self.slack[account] + weight * (ticks - self.ticks[contract])
        self.slack[account], self.ticks[contract] = left, ticks
        return account[left < 0]


class NumpySums:
    name, question, keeps = "NumPy, add.reduceat", "all accounts", "stateless"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        self.columns, self.ticks = columns, ticks.copy()

    def mark(self, contract: int, ticks: int) -> Any:
        self.ticks[contract] = ticks
        book = self.columns
        return np.flatnonzero(book.base + book.sums(book.weight * self.ticks[book.contract]) < 0)


class ScipyMatrix:
    name, question, keeps = "SciPy, sparse matrix (CSR) by vector, int64", "all accounts", "stateless"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        sparse = importlib.import_module("scipy.sparse")
        shape = (columns.accounts, CONTRACTS)
        start = columns.start.astype(np.int32)
        self.matrix = sparse.csr_array((columns.weight, columns.contract, start), shape=shape)
        self.base, self.ticks = columns.base, ticks.copy()

    def mark(self, contract: int, ticks: int) -> Any:
        self.ticks[contract] = ticks
        return np.flatnonzero(self.base + self.matrix @ self.ticks < 0)


class Blas:
    """Exact here: every sum is below 2**53."""

    name, question, keeps = "BLAS, dense matrix by vector, float64", "all accounts", "stateless"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        self.matrix = np.zeros((columns.accounts, CONTRACTS))
        self.matrix[columns.account, columns.contract] = columns.weight
        self.base, self.ticks = columns.base.astype(float), ticks.astype(float)

    def mark(self, contract: int, ticks: int) -> Any:
        self.ticks[contract] = ticks
        return np.flatnonzero(self.base + self.matrix @ self.ticks < 0)


class Polars:
    name, question, keeps = "Polars, semi join and group by (streaming)", "holders", "stateless"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        self.polars = pl = importlib.import_module("polars")
        names = ("account", "contract", "lots", "cost")
        self.positions = pl.DataFrame({name: getattr(columns, name) for name in names})
        numbers = np.arange(columns.accounts, dtype=np.int32)
        self.accounts = pl.DataFrame({"account": numbers, "cash": columns.cash})
        self.ticks = ticks.copy()

    def mark(self, contract: int, ticks: int) -> Any:
        pl, positions = self.polars, self.positions.lazy()
        self.ticks[contract] = ticks
        numbers = np.arange(CONTRACTS, dtype=np.int32)
        marks = pl.LazyFrame({"contract": numbers, "ticks": self.ticks})
        lots, price = pl.col("lots"), pl.col("ticks")
        holders = positions.filter(pl.col("contract") == contract).select("account")
        found = (
            positions.join(holders, on="account", how="semi")
            .join(marks, on="contract")
            .group_by("account")
            .agg(
                profit=(lots * price * UNIT_VALUE - pl.col("cost")).sum(),
                required=(lots.abs() * price * NEED).sum(),
            )
            .join(self.accounts.lazy(), on="account")
            .filter(pl.col("cash") + pl.col("profit") < pl.col("required"))
            .select("account")
        )
        return found.collect(engine="streaming")["account"].to_numpy()


class _Duck:
    """Tables in memory: positions, accounts and marks."""

    def __init__(self, columns: Columns, ticks: Any) -> None:
        arrow, duck = importlib.import_module("pyarrow"), importlib.import_module("duckdb")
        self.base = duck.connect()
        names = ("account", "contract", "lots", "cost", "weight")
        self._table(arrow, "positions", {name: getattr(columns, name) for name in names})
        numbers = np.arange(columns.accounts, dtype=np.int32)
        slack = columns.net_liq(ticks) - columns.requirement(ticks)
        self._table(arrow, "accounts", {"account": numbers, "cash": columns.cash, "slack": slack})
        self._table(arrow, "marks", {"contract": np.arange(CONTRACTS, dtype=np.int32), "ticks": ticks})
        self.ticks = ticks.copy()

    def _table(self, arrow: Any, name: str, columns: dict[str, Any]) -> None:
        self.base.register("given", arrow.table(columns))
        self.base.execute(f"create table {name} as select * from given")  # noqa: S608 (a name of this file)
        self.base.unregister("given")


class DuckQuery(_Duck):
    name, question, keeps = "DuckDB, semi join and group by", "holders", "stateless"
    QUERY = f"""
        select a.account from (
            select p.account, sum(p.lots * m.ticks * {UNIT_VALUE} - p.cost) profit,
                   sum(abs(p.lots) * m.ticks * {NEED}) required
            from positions p join marks m using (contract)
            where p.account in (select account from positions where contract = ?) group by p.account
        ) s join accounts a using (account) where a.cash + s.profit < s.required"""  # noqa: S608 (two constants)

    def mark(self, contract: int, ticks: int) -> Any:
        self.base.execute("update marks set ticks = ? where contract = ?", [ticks, contract])
        return self.base.execute(self.QUERY, [contract]).fetchnumpy()["account"]


class DuckUpdate(_Duck):
    name, question, keeps = "DuckDB, update and select", "holders", "incremental"
    UPDATE = """
        update accounts set slack = slack + p.weight * ? from positions p
        where p.contract = ? and p.account = accounts.account"""
    QUERY = """
        select a.account from accounts a join positions p using (account) where p.contract = ? and a.slack < 0"""

    def mark(self, contract: int, ticks: int) -> Any:
        moved, self.ticks[contract] = ticks - int(self.ticks[contract]), ticks
        self.base.execute(self.UPDATE, [moved, contract])
        return self.base.execute(self.QUERY, [contract]).fetchnumpy()["account"]


class Flox:
    """FLOX's `LiquidationEngine`: one maintenance tier for the venue, float64, walks every account at each mark. It
    closes whom it finds, so `mark` returns the accounts closed by it. Money goes in as dollars: it is kept to 1e-8 in
    64 bits."""

    name, question, keeps = "FLOX (lrvx), LiquidationEngine.on_mark", "all accounts", "closes what it finds"

    def __init__(self, columns: Columns, ticks: Any) -> None:
        flox = importlib.import_module("lrvx")
        self.engine = flox.LiquidationEngine()
        self.engine.add_tier(0.0, NEED / UNIT_VALUE)
        self.engine.set_adl_enabled(False)
        self.engine.set_insurance_fund_capital(1e18)
        self.attached: list[Any] = []  # the engine does not own them
        entry = (columns.cost / (columns.lots * UNIT_VALUE)).tolist()
        start, held, lots = columns.start.tolist(), columns.contract.tolist(), columns.lots.astype(float).tolist()
        for number, cash in enumerate((columns.cash / 10**6).tolist()):
            account = flox.Account(number + 1, cash)
            for row in range(start[number], start[number + 1]):
                account.open_position(held[row] + 1, lots[row], entry[row], 0.0, UNIT_VALUE / 10**6)
            self.attached.append(account)
            self.engine.attach_account(account)
        opened = [(number + 1, float(price)) for number, price in enumerate(ticks.tolist())]
        self.closed_at_once = self._closed(self.engine.on_marks(opened))

    def mark(self, contract: int, ticks: int) -> Any:
        return self._closed(self.engine.on_mark(contract + 1, float(ticks)))

    @staticmethod
    def _closed(outcome: Any) -> Any:
        return np.unique(np.asarray(outcome["liquidated"], np.int64)) - 1


Maker = Callable[[Columns, Any], Tool]

TOOLS: dict[str, tuple[Maker, ...]] = {
    "numpy": (NumpyPass, NumpySums, Blas),
    "scipy": (ScipyMatrix,),
    "polars": (Polars,),
    "duckdb": (DuckUpdate, DuckQuery),
    "lrvx": (Flox,),
}
"""The package that each needs, and what is asked of it."""


def version_of(package: str) -> str:
    """Its version; "" where it is not installed, which the `bench` extra mends."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
