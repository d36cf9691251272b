"""What a replay saw, gathered while it runs and turned into a `Run` at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from closeout.adapters.venues.simulated import BarTicks, FillMode, SimulatedVenue
from closeout.core.margin import Level
from closeout.core.prices import liquidation_price
from closeout.core.times import time_text
from closeout.engine import scan
from closeout.engine.book import Column, Flag
from closeout.engine.commands import Command, OpenAccount, TransferPosition
from closeout.engine.events import CloseOutOrder
from closeout.studies import conservation
from closeout.studies.accounts import AccountFile
from closeout.studies.funding_replay import Payments
from closeout.studies.market import parse_time
from closeout.studies.outcome import AccountOutcome, OrderRow, PricePath, Run
from closeout.studies.recorder import Recorder
from closeout.studies.sizing import DOLLARS

WORST = 8
"""Equity paths that are kept."""
MOST_PATHS = 20_000
"""Above so many accounts no equity paths are recorded."""


class Tracker:
    """Collects a replay's facts that the engine does not keep.

    `feeds` maps the market's contracts to the rulebook's. `withheld` counts the bars that fell while a market was shut.
    """

    def __init__(self, recorder: Recorder, feeds: Mapping[str, str], venue: SimulatedVenue, payments: Payments) -> None:
        self.recorder, self.feeds, self.venue, self.payments = recorder, feeds, venue, payments
        self.withheld = 0
        self.outcomes: dict[str, AccountOutcome] = {}
        self.members: dict[str, list[str]] = {}
        self.prices: dict[str, PricePath] = {}
        self.triggered: dict[str, tuple[int, str | None]] = {}
        self.sent: dict[str, tuple[CloseOutOrder, int]] = {}
        self.paths: list[tuple[int, Column]] = []
        self.windows: list[str] = []
        self.reopening: str | None = None
        self.sides_opened: dict[str, tuple[int, int]] = {}

    # -- while it runs -----------------------------------------------------------------------------

    def window(self, session: str, time: int, window: str, *, is_open: bool) -> None:
        contracts = self.recorder.state.policy.contracts
        if all(contracts[name].session != session for name in self.feeds.values()):
            return
        self.windows.append(
            f"{session}: {window.replace('_', ' ')}, {'open' if is_open else 'shut'} from {time_text(time)}"
        )

    def opened(
        self,
        account: AccountFile,
        commands: Sequence[Command],
        time: int,
        net_liq: int,
        notional: int,
        *,
        admitted: bool,
    ) -> None:
        """An account enters the run, or is turned away at its first complete set of marks."""
        transfers = [command for command in commands if isinstance(command, TransferPosition)]
        sides = {"long" if command.lots > 0 else "short" for command in transfers}
        self.outcomes[account.account_id] = AccountOutcome(
            account.account_id,
            tuple(dict.fromkeys(command.contract for command in transfers)),
            sides.pop() if len(sides) == 1 else "both" if sides else "flat",
            _one_place(notional, net_liq),
            time,
            net_liq,
            notional,
            net_liq_after=net_liq,
            flags=() if admitted else ("not_admitted",),
        )
        if admitted:
            self.members[account.account_id] = [c.account_id for c in commands if isinstance(c, OpenAccount)]
            for command in transfers:
                market = self.recorder.state.contracts[command.contract].contract.market
                long, short = self.sides_opened.get(market, (0, 0))
                self.sides_opened[market] = long + max(command.lots, 0), short + max(-command.lots, 0)

    def order(self, order: CloseOutOrder, time: int) -> None:
        """A close-out order goes out; the account's first one is when it was liquidated."""
        self.sent[order.order_id] = (order, time)
        if order.account_id not in self.triggered:
            self.triggered[order.account_id] = (time, self._liquidation_price(order))

    def _liquidation_price(self, order: CloseOutOrder) -> str | None:
        """The displayed liquidation price of the position being closed, from the numbers at the trigger. The pending
        liquidation fee is left out: it was not there when the line was crossed."""
        state = self.recorder.state
        row = state.book.row[order.account_id]
        holdings = state.holdings(row)
        for index, holding in enumerate(holdings):
            if holding.contract.name == order.contract:
                money = replace(state.money(row), pending_fees=0)
                ticks = liquidation_price(money, holdings, index, state.policy.net_liq_floor)
                return None if ticks is None else holding.contract.price_text(ticks)
        return None

    def bar(self, time: int, bars: Mapping[str, BarTicks]) -> None:
        """A bar is over: keep its prices and, for small books, everybody's net liq."""
        state = self.recorder.state
        for name, bar in bars.items():
            path = self.prices.setdefault(name, PricePath(name))
            path.times.append(time)
            text = state.contracts[name].contract.price_text
            for field in ("open", "high", "low", "close"):
                getattr(path, field).append(text(getattr(bar, field)))
        if state.book.count <= MOST_PATHS:
            self.paths.append((time, scan.levels(state)[0]))

    def reopened(self, time: int, bars: Mapping[str, BarTicks]) -> None:
        self.reopening = (
            f"The data end while {', '.join(bars)} is shut. Its next open, {time_text(time)}, is played with the last "
            "price recorded; what the price really was then is not in the data."
        )

    @staticmethod
    def last_bars(bars: Sequence[tuple[int, dict[str, BarTicks]]]) -> dict[str, BarTicks]:
        last: dict[str, BarTicks] = {}
        for _, found in bars:
            last |= found
        return last

    # -- at the end --------------------------------------------------------------------------------

    def result(self, label: str, waiting: int, published: str, seconds: float) -> Run:
        """Everything as a `Run`. `label` is the rulebook's as the user wrote it, `waiting` the accounts that never had
        a complete set of marks."""
        recorder, state = self.recorder, self.recorder.state
        policy = state.policy
        self._finish_accounts()
        run = Run(label, policy.version, policy.digest, policy.currency)
        run.accounts = list(self.outcomes.values())
        run.orders, run.passed_on = self._orders(), self._passed_on()
        run.receipts = recorder.receipts
        run.prices = list(self.prices.values())
        run.ledger = dict(state.ledger.balances)
        run.money = self._money()
        run.equity = self._equity(run)
        run.assumptions = self._assumptions(waiting)
        run.alarms = dict(sorted(recorder.alarms.items()))
        run.inputs, run.events, run.seconds = recorder.seq, recorder.events, seconds
        run.final_digest, run.published = recorder.engine.digest(), published
        run.ledger_imbalance = state.ledger.imbalance()
        run.fund = conservation.fund_of(recorder)
        run.funding = conservation.funding_of(recorder, self.payments.exact)
        run.problems = conservation.problems(run, recorder, self.members)
        return run

    def _finish_accounts(self) -> None:
        """Figures of each account with its isolated positions: state, fees, deficits, debts."""
        state = self.recorder.state
        trade, liquidation = conservation.fees(self.recorder)
        kept, left = conservation.surplus(self.recorder), conservation.left_with_takers(self.recorder)
        deficits, funding = conservation.deficits(self.recorder), conservation.funding(self.recorder)
        conservation.gather(self.recorder, [(self.outcomes[key], ids) for key, ids in self.members.items()])
        self._taken_over()
        fills = self._fill_prices()
        for account_id, members in self.members.items():
            outcome = self.outcomes[account_id]
            rows = [state.book.row[member] for member in members]
            outcome.net_liq_after = sum(state.risk(row).net_liq for row in rows)
            outcome.level = max(state.level(row) for row in rows).name.lower()
            flags = Flag(0)
            for row in rows:
                flags |= Flag(int(state.book.flags[row]) & ~Flag.INITIAL_ONLY)
            outcome.flags = tuple(flag.label for flag in flags)
            outcome.fees = sum(trade[member] + liquidation[member] for member in members)
            outcome.funding_paid = sum(funding[0][member] for member in members)
            outcome.funding_received = sum(funding[1][member] for member in members)
            outcome.fund_kept = sum(kept[member] for member in members)
            outcome.left_with_takers = sum(left[member] for member in members)
            outcome.deficit = sum(deficits[member] for member in members)
            outcome.owed = sum(int(state.book.receivable[row]) for row in rows)
            first = min((self.triggered[m] for m in members if m in self.triggered), default=None, key=lambda t: t[0])
            if first is not None:
                outcome.liquidated_at, outcome.liquidation_price = first
            outcome.fill_price = next((fills[member] for member in members if member in fills), None)

    def _taken_over(self) -> None:
        """Accounts whose positions went to a stage of the waterfall before any order: that is when they were
        liquidated, at a price that nobody had to show."""
        for receipt in self.recorder.receipts:
            if receipt.get("transfers"):
                time, _ = parse_time(receipt["trigger"]["time"])
                self.triggered.setdefault(receipt["account_id"], (time, None))

    def _fill_prices(self) -> dict[str, str]:
        """By account: average price of the first close-out order that filled (`_average`), or else the price at which
        its position passed to a stage of the waterfall."""
        found: dict[str, str] = {}
        for receipt in self.recorder.receipts:
            filled = [_average(order["fills"]) for order in receipt["orders"] if order["fills"]]
            passed = [transfer["price"] for transfer in receipt.get("transfers", []) if transfer["price"]]
            for price in (filled or passed)[:1]:
                found.setdefault(receipt["account_id"], price)
        return found

    def _orders(self) -> list[OrderRow]:
        """A row per close-out order, with what the receipts and open events say of its fills."""
        state = self.recorder.state
        records: dict[str, tuple[str, dict[str, Any]]] = {}
        open_events = [active.receipt for active in state.book.close_outs.values()]
        for receipt in [*self.recorder.receipts, *open_events]:
            for order in receipt["orders"]:
                records[order["order_id"]] = (receipt["receipt_id"], order)
        rows: list[OrderRow] = []
        for order_id, (sent, time) in self.sent.items():
            receipt_id, order = records[order_id]
            quantity = sum((Fraction(fill["quantity"]) for fill in order["fills"]), Fraction(0))
            lots = quantity / Fraction(state.contracts[sent.contract].contract.lot)
            rows.append(OrderRow(
                receipt_id, sent.account_id, sent.contract, time, order["side"], order["quantity"],
                order["limit_price"], _average(order["fills"]) if order["fills"] else None,
                state.contracts[sent.contract].contract.quantity_text(int(lots)),
                sum(state.policy.currency.micros_of_text(fill["fee"]) for fill in order["fills"]),
            ))  # fmt: skip
        return rows

    def _passed_on(self) -> list[OrderRow]:
        """The positions that stages of the waterfall took, at the time at which the close-out ended."""
        return [
            OrderRow(
                receipt["receipt_id"], receipt["account_id"], transfer["contract"],
                parse_time(receipt["end"]["time"])[0], "", transfer["quantity"], None, transfer["price"] or None,
                transfer["quantity"], 0,
            )
            for receipt in self.recorder.receipts
            for transfer in receipt.get("transfers", [])
        ]  # fmt: skip

    def _money(self) -> list[tuple[str, int]]:
        """Where the debtors' money went, from what they brought to what they owe."""
        debtors = [outcome for outcome in self.outcomes.values() if outcome.owed > 0]
        if not debtors:
            return []
        rows = {member for outcome in debtors for member in self.members[outcome.account_id]}
        brought = sum(outcome.net_liq_before for outcome in debtors)
        trade, liquidation = (sum(part[row] for row in rows) for part in conservation.fees(self.recorder))
        kept = sum(outcome.fund_kept for outcome in debtors)
        left = sum(outcome.left_with_takers for outcome in debtors)
        owed = sum(outcome.owed for outcome in debtors)
        funding = sum(outcome.funding_received - outcome.funding_paid for outcome in debtors)
        others = sum(sum(outcome.covered.values()) for outcome in debtors)
        lost = brought + owed + others + funding - liquidation - trade - kept - left
        return [
            ("equity the debtors had", brought),
            ("lost in the market", -lost),
            *([("funding", funding)] if funding else []),
            ("trade fees", -trade),
            ("liquidation fees", -liquidation),
            *([("kept by the insurance fund", -kept)] if kept else []),
            *([("left with the takers", -left)] if left else []),
            *([("borne by others", others)] if others else []),
            ("owed by the customers", owed),
        ]

    def _equity(self, run: Run) -> dict[str, list[tuple[int, int]]]:
        """Net liq paths of the accounts that ended worst: who owes most, then who lost most of what he had."""
        state = self.recorder.state
        worst = sorted(
            (outcome for outcome in run.accounts if outcome.account_id in self.members),
            key=lambda o: (-o.owed, Fraction(o.net_liq_after, max(o.net_liq_before, 1)), o.account_id),
        )[:WORST]
        found: dict[str, list[tuple[int, int]]] = {}
        for outcome in worst:
            rows = np.array([state.book.row[member] for member in self.members[outcome.account_id]])
            found[outcome.account_id] = [
                (time, int(column[rows].sum()))
                for time, column in self.paths
                if time >= outcome.opened_at and rows.max() < len(column)
            ]
        return found

    def _assumptions(self, waiting: int) -> list[str]:
        """What this outcome stands on, in plain sentences."""
        said = [f"Margin: {line}." for line in self.windows] or ["Margin: one window throughout."]
        contracts = self.recorder.state.policy.contracts
        stand_in = [
            f"{market} for {name}"
            for market, name in self.feeds.items()
            if market != name or market in contracts[name].stands_for
        ]
        if stand_in:
            said.append(
                f"Prices: {', '.join(stand_in)}, rounded to the nearest tick; the contract's own are not recorded."
            )
        said.append(f"Execution: {self._execution()}")
        said += self.payments.said()
        if self.withheld:
            said.append(f"Calendar: {self.withheld} bars fell while the market was shut and were not played.")
        if self.reopening:
            said.append(self.reopening)
        turned_away = sum("not_admitted" in outcome.flags for outcome in self.outcomes.values())
        if turned_away:
            said.append(f"Admission: {turned_away} accounts would not pass the opening check and are left out.")
        if self.venue.unheard:
            said.append(
                f"End: {self.venue.unheard} orders with a limit had not reached the market when the data ended. What "
                "it would have given is not in the data: their accounts are left in close-out."
            )
        if waiting:
            said.append(f"Admission: {waiting} accounts never had a complete set of marks and stayed out.")
        return said

    def sides(self) -> list[str]:
        """Who stands against whom, where customers are one another's counterparties."""
        said: list[str] = []
        for name, (long, short) in self.sides_opened.items():
            text = self.recorder.state.contracts[name].contract.quantity_text
            held = f"longs opened {text(long)} and shorts {text(short)}"
            if long == short:
                said.append(f"Sides: of {name} {held}: each position has its other side among the accounts.")
            else:
                said.append(f"Sides: of {name} {held}: the rest stands against outsiders, who cannot be deleveraged.")
        return said

    def _execution(self) -> str:
        """How close-outs fill, with the model's figures."""
        venue = self.venue
        if venue.mode is FillMode.ADVERSE:
            return "each close-out fills whole at the worst price of its bar."
        if venue.mode is FillMode.CLOSE:
            return "each close-out fills whole at its bar's close."
        depth, code = venue.depth, self.recorder.state.policy.currency.code
        code = code if code in DOLLARS else "USD"  # what prices are quoted in
        return (
            f"a modelled book (assumed): {depth.within_1_percent:,} {code} within 1 % of "
            f"the mid and a half spread of {_percent(depth.half_spread)} when calm; by 1 + {depth.range_multiplier} x "
            f"the bar's range / {_percent(depth.typical_range)} the depth shrinks and the spread grows; a bar gives at "
            f"most {_percent(depth.participation)} of its depth; orders arrive {depth.latency_ms} ms late."
        )

    def counts(self) -> dict[str, int]:
        """Accounts by level now, for the screen."""
        book = self.recorder.state.book
        customers = np.ones(book.count, np.bool_)
        customers[sorted(book.house)] = False
        tally = np.bincount(book.column("level")[customers], minlength=4)
        return {level.name.lower(): int(tally[level]) for level in Level} | {"closed out": self._closed_out()}

    def _closed_out(self) -> int:
        """Accounts that an order went out for, or whose positions others took over, isolated positions not apart."""
        book = self.recorder.state.book
        names = self.triggered.keys() | {r["account_id"] for r in self.recorder.receipts if r.get("transfers")}
        return len({book.parent.get(row, row) for row in (book.row[name] for name in names)})


def _percent(rate: Fraction) -> str:
    return f"{float(rate * 100):g} %"


def _one_place(notional: int, net_liq: int) -> str:
    if net_liq <= 0:
        return "-"
    tenths = (2 * 10 * notional + net_liq) // (2 * net_liq)
    return f"{tenths // 10}.{tenths % 10}"


def _average(fills: Sequence[Mapping[str, str]]) -> str:
    """Quantity-weighted price of fills: exact where one price, else to a hundredth of the prices' last place, down."""
    prices = {fill["price"] for fill in fills}
    if len(prices) == 1:
        return prices.pop()
    quantity = sum((Fraction(fill["quantity"]) for fill in fills), Fraction(0))
    value = sum((Fraction(fill["quantity"]) * Fraction(fill["price"]) for fill in fills), Fraction(0))
    average = value / quantity
    places = max(len(price.partition(".")[2]) for price in prices) + 2
    scaled = average.numerator * 10**places // average.denominator
    sign = "-" if scaled < 0 else ""
    whole, fraction = divmod(abs(scaled), 10**places)
    return f"{sign}{whole}.{fraction:0{places}d}"
