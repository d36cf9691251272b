"""What a batch of marks costs when every account is judged by a full scan, and what exactness costs in it.

    python -m benchmarks.full_scan [--json]

A book of up to a million accounts is written into the engine's columns directly. That it is a legal book is checked
on a sample: the same accounts are opened by commands in an engine of their own and must come out the same. Beside the
scan, in turns with it in the same process: the one-account assessment in plain Python, and a pass in float64.
"""

import random
import sys
import time
from typing import Any

import numpy as np

from benchmarks.measure import percentiles
from benchmarks.report import main_of, result_of
from closeout.core.margin import margin
from closeout.engine import ledger, scan
from closeout.engine.book import ContractState
from closeout.engine.candidates import candidates
from closeout.engine.commands import (
    AnyCommand,
    Deposit,
    Input,
    LoadRulebook,
    Mark,
    Marks,
    OpenAccount,
    SessionChange,
    TransferPosition,
)
from closeout.engine.engine import Engine
from closeout.engine.state import State
from closeout.rulebooks import loader
from closeout.rulebooks.loader import Rulebook

SIZES = (10_000, 100_000, 1_000_000)
BATCHES = 100
SAMPLE = 1_000
SEED = 20_251_010
SECOND = 10**9
START = 1_760_108_400 * SECOND
CHUNK = 100_000
"""Accounts drawn at a time, so that drawing does not set the peak of memory."""

PRICES = {"BTC": 116_800, "ETH": 4_100, "SOL": 215, "SPX": 6_700, "NDX": 25_000}
UNDERLYING = {
    "PBTCUCZ50": "BTC", "MBT": "BTC", "BTC": "BTC", "PETHIUZ50": "ETH", "MET": "ETH", "ETH": "ETH",
    "PSOLUZ50": "SOL", "MSL": "SOL", "SOL": "SOL", "MES": "SPX", "ES": "SPX", "MNQ": "NDX", "NQ": "NDX",
}  # fmt: skip
OWN = [f"OWN{number}" for number in range(1, 8)]
"""Seven contracts beside the thirteen of the rulebook, each with two tiers."""


def rulebook() -> Rulebook:
    tiers = [
        {"notional_from": "0", "intraday_margin_rate": "0.05", "initial_margin_rate": "0.1",
         "maintenance_margin_rate": "0.09"},
        {"notional_from": "50000", "intraday_margin_rate": "0.08", "initial_margin_rate": "0.16",
         "maintenance_margin_rate": "0.15", "maintenance_amount": "0"},
    ]  # fmt: skip
    own = {"tick": "0.5", "lot": "1", "contract_size": "0.1", "session": "cme_crypto", "tiers": tiers}
    return loader.load("kraken-us", {"contracts": dict.fromkeys(OWN, own)})


class Desk:
    """An engine and the numbers of its inputs."""

    def __init__(self, book: Rulebook) -> None:
        self.engine, self.number = Engine(), 0
        self.offer(LoadRulebook(book.document()))
        self.offer(SessionChange("cme_crypto", "intraday", True))
        self.offer(SessionChange("bitnomial", "intraday", True))
        self.offer(SessionChange("cme_equity", "end_of_day", True))  # so that two windows' levels hold

    @property
    def state(self) -> State:
        return self.engine.loaded

    def offer(self, command: AnyCommand) -> int:
        """Nanoseconds that the input took; an error if it was rejected."""
        self.number += 1
        given = Input("bench", self.number, START + self.number * SECOND, command)
        begun = time.perf_counter_ns()
        events = self.engine.apply(given)
        taken = time.perf_counter_ns() - begun
        refused = [event for event in events if type(event).__name__ == "Rejected"]
        if refused:
            raise RuntimeError(str(refused[0]))
        return taken


class Walk:
    """Seeded marks of every contract: each batch moves each price by about 1 in 10,000, as a second of a lively day."""

    def __init__(self, state: State) -> None:
        self.draw = random.Random(SEED)
        self.ticks = {
            name: round(PRICES[UNDERLYING.get(name, "ETH")] / float(contract.contract.tick))
            for name, contract in state.contracts.items()
        }

    def now(self) -> Marks:
        return Marks(tuple(Mark(name, ticks) for name, ticks in self.ticks.items()))

    def step(self) -> Marks:
        for name, ticks in self.ticks.items():
            self.ticks[name] = ticks + round(self.draw.gauss(0, 1e-4 * ticks))
        return self.now()


def fill_book(state: State, count: int) -> None:
    """Write `count` accounts with 2 to 4 positions each into the columns; every contract has its mark already.

    Side: 70 % long. Notional: log-normal, median 15,000, whole lots. Entry: within a few percent of the mark. Cash: the
    net liq at which warnings begin, and a slack above it (gamma of shape 2, as much again on average). So every account
    starts out as normal, which is the level that the columns hold.
    """
    draw, book = np.random.default_rng(SEED), state.book
    first = book.add_all([f"A{number:07d}" for number in range(count)])
    holders = _holders(draw, count, len(state.contracts))
    columns = [
        _positions(draw, contract, rows + first)
        for contract, rows in zip(state.contracts.values(), holders, strict=True)
    ]
    book.positions.load(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))
    for contract in state.contracts.values():
        contract.load()
    net_liq, _, _ = scan.levels(state)
    slack = draw.gamma(2.0, 0.5, count)
    lines = _alert_lines(state)[first:]
    cash = np.maximum(0, (lines * (1 + slack)).astype(np.int64) + 1 - net_liq[first:])
    book.column("cash")[first:] = cash
    state.ledger.post(ledger.SEGREGATED_BANK, ledger.CUSTOMER_CASH, int(cash.sum()))


def _holders(draw: np.random.Generator, count: int, contracts: int) -> list[Any]:
    """Per contract the numbers of the accounts that hold it."""
    found: list[list[Any]] = [[] for _ in range(contracts)]
    for begin in range(0, count, CHUNK):
        size = min(CHUNK, count - begin)
        order = draw.random((size, contracts)).argsort(axis=1)
        wanted = draw.integers(2, 5, size)
        for place in range(4):
            rows = np.flatnonzero(wanted > place)
            chosen = order[rows, place]
            for index in range(contracts):
                found[index].append(begin + rows[chosen == index])
    return [np.concatenate(parts) for parts in found]


def _positions(draw: np.random.Generator, contract: ContractState, rows: Any) -> tuple[Any, Any, Any, Any]:
    """A position in a contract for each of the account rows: account, contract, lots and cost."""
    facts, mark, size = contract.contract, contract.mark, len(rows)
    assert mark is not None
    value_of_lot = mark * facts.unit_value / facts.units_per_micro / 10**facts.currency.places
    wanted = np.exp(draw.normal(np.log(15_000), 1.3, size)) / value_of_lot
    lots = np.maximum(1, wanted.astype(np.int64)) * np.where(draw.random(size) < 0.7, 1, -1)
    entry = np.rint(mark * (1 + draw.normal(0, 0.01, size))).astype(np.int64)
    return rows.astype(np.int64), np.full(size, contract.index), lots, entry * lots * facts.unit_value


def _alert_lines(state: State) -> Any:
    """The net liq of each account at which warnings begin, as floats: only to draw cash from."""
    lines = np.zeros(state.book.count)
    for contract in state.contracts.values():
        assert contract.mark is not None
        rows, lots, _ = contract.held()
        notional = contract.contract.notional(contract.mark, lots)
        required = margin(contract.tiers, contract.window.requirement, lots, notional)
        lines[rows] += required * (1e9 / contract.window.alert)
    return lines


def check(desk: Desk, book: Rulebook, sample: list[int]) -> None:
    """The sampled accounts, opened one by one by commands, must be what the columns say, and the scan must judge them
    as the one-account assessment does. `AssertionError` names the first that differs."""
    assert desk.engine.imbalances() == []
    net_liq, requirement, level = scan.levels(desk.state)
    single = Desk(book)
    single.offer(Marks(tuple(Mark(name, contract.mark) for name, contract in desk.state.contracts.items())))
    for row in sample:
        for command in _commands(desk.state, row):
            single.offer(command)
        mine = single.state.book.row[desk.state.book.ids[row]]
        risk = desk.state.risk(row)
        same = (
            risk == single.state.risk(mine)
            and desk.state.holdings(row) == single.state.holdings(mine)
            and desk.state.money(row) == single.state.money(mine)
            and int(desk.state.book.level[row]) == int(single.state.book.level[mine])
            and (risk.net_liq, risk.requirement, risk.level) == (net_liq[row], requirement[row], level[row])
        )
        assert same, f"{desk.state.book.ids[row]}: {risk} is not {single.state.risk(mine)}"


def _commands(state: State, row: int) -> list[AnyCommand]:
    account = state.book.ids[row]
    given: list[AnyCommand] = [OpenAccount(account)]
    if cash := int(state.book.cash[row]):
        given.append(Deposit(account, cash))
    holdings = state.holdings(row)
    for number, holding in enumerate(holdings, 1):
        last = number == len(holdings)
        given.append(TransferPosition(account, holding.contract.name, holding.lots, holding.cost, last=last))
    return given


# -- the baselines -------------------------------------------------------------------------------------


class FloatBook:
    """The same columns as float64, judged by the same formulas without a rounding: what a plain NumPy engine does."""

    def __init__(self, state: State) -> None:
        book = state.book
        self.money = (
            book.column("cash") + book.column("accrued") - book.column("pending") - book.column("receivable")
        ).astype(float)
        self.floor = state.policy.net_liq_floor
        self.parts: list[tuple[ContractState, Any, Any, Any]] = []
        for contract in state.contracts.values():
            rows, lots, cost = contract.held()
            self.parts.append((contract, rows, lots.astype(float), cost / contract.contract.units_per_micro))

    def levels(self) -> Any:
        net_liq, holds = self.money.copy(), np.zeros(len(self.money), bool)
        by_window: dict[Any, Any] = {}
        for contract, rows, lots, cost in self.parts:
            facts, window = contract.contract, contract.window
            assert contract.mark is not None
            value = lots * (contract.mark * facts.unit_value / facts.units_per_micro)
            net_liq[rows] += value - cost
            if window not in by_window:
                by_window[window] = np.zeros(len(self.money))
            by_window[window][rows] += _float_margin(contract, abs(lots), abs(value))
            holds[rows] = True
        alert = sum(required * (1e9 / window.alert) for window, required in by_window.items())
        only = sum(required * (1e9 / window.liquidate_only) for window, required in by_window.items())
        auto = sum(required * (1e9 / window.auto_liquidate) for window, required in by_window.items())
        warned = (net_liq < alert) * 1 + (net_liq < only) * 1
        liquidating = (net_liq < auto) | (net_liq <= self.floor if self.floor is not None else False)
        return np.where(liquidating, 3, warned) * holds


def _float_margin(contract: ContractState, lots: Any, notional: Any) -> Any:
    kind, tiers = contract.window.requirement, contract.tiers
    required = notional * (tiers[0].rate[kind] / 1e9) + lots * tiers[0].per_lot[kind] - tiers[0].amount[kind]
    for tier in tiers[1:]:
        own = notional * (tier.rate[kind] / 1e9) + lots * tier.per_lot[kind] - tier.amount[kind]
        required = np.where(notional >= tier.notional_from, own, required)
    return required


# -- measuring -----------------------------------------------------------------------------------------


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure; `scale` shrinks the numbers of accounts and of batches. Rows: accounts, positions, method, p50, p99 and
    worst in ms, ns an account and the ratio to the exact scan (both from p50), the accounts whose level a batch
    changes, verdicts of the method that differ from the exact ones after the last batch, and memory."""
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        rows += _measure(max(50, int(size * scale)), max(3, int(BATCHES * min(1.0, 10 * scale))))
    return result_of(
        workload="batches of 20 marks, each moving every contract by about 1 in 10,000; 2 to 4 positions an account "
        f"in the 13 contracts of kraken-us and 7 of two tiers; two margin windows at once; seed {SEED}",
        method=f"{BATCHES} batches a size, the methods in turns after each batch; apply: the whole input, with its "
        f"scan and the acts on those whose level changes; one by one: {SAMPLE:,} sampled accounts, scaled to all; "
        "float64: the same columns and formulas without roundings; one thread",
        rows=rows,
    )


def _measure(count: int, batches: int) -> list[dict[str, Any]]:
    book = rulebook()
    desk = Desk(book)
    walk = Walk(desk.state)
    desk.offer(walk.now())
    fill_book(desk.state, count)
    sample = random.Random(SEED).sample(range(1, count + 1), min(SAMPLE, count))
    check(desk, book, sample)
    columns = _column_bytes(desk.state)
    floats = FloatBook(desk.state)
    taken: dict[str, list[int]] = {"apply": [], "scan": [], "float64": [], "one by one": []}
    changed = 0
    for _ in range(batches):
        before = desk.state.book.column("level").copy()
        taken["apply"].append(desk.offer(walk.step()))
        changed += int((before != desk.state.book.column("level")).sum())
        taken["scan"].append(_timed(lambda: candidates(desk.state)))
        taken["float64"].append(_timed(floats.levels))
        alone = _timed(lambda: [desk.state.risk(row) for row in sample])
        taken["one by one"].append(alone * count // len(sample))
    differ = int((floats.levels() != scan.levels(desk.state)[2]).sum())
    shared = {"changed a batch": changed / batches, "columns MiB": columns / 2**20, "peak MiB": peak_memory() / 2**20}
    rows = _rows(count, desk.state, taken)
    return [row | {"differ": differ if row["method"] == "float64" else 0} | shared for row in rows]


def _rows(count: int, state: State, taken: dict[str, list[int]]) -> list[dict[str, Any]]:
    positions = sum(contract.count for contract in state.contracts.values())
    scan_p50 = percentiles(taken["scan"])["p50"]
    found: list[dict[str, Any]] = []
    for method, durations in taken.items():
        spread = percentiles(durations)
        shown = {f"{key} ms": spread[key] / 1e6 for key in ("p50", "p99", "worst")}
        relative = {"ns an account": round(spread["p50"] / count), "it / scan": spread["p50"] / scan_p50}
        found.append({"accounts": count, "positions": positions, "method": method, **shown, **relative})
    return found


def _timed(act: Any) -> int:
    begun = time.perf_counter_ns()
    act()
    return time.perf_counter_ns() - begun


def _column_bytes(state: State) -> int:
    """Bytes of all columns: accounts, positions, and the chains and lists that lead to these."""
    book, table = state.book, state.book.positions
    columns = [getattr(book, name) for name in book.COLUMNS]
    columns += [table.first, *(getattr(table, name) for name in table.COLUMNS)]
    columns += [contract.rows for contract in state.contracts.values()]
    return sum(column.nbytes for column in columns)


def peak_memory() -> int:
    """Bytes that this process held at most so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


main = main_of(run)

if __name__ == "__main__":
    main()
