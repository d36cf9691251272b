"""What a replay leaves: one `Run` per rulebook, read by the files, the report and the demo's summary.

Money is in micros of `Run.currency`, prices and quantities are exact decimal text, times are UTC nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from closeout.core.units import Currency
from closeout.rulebooks.policy import StageKind


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who can bear a part of a deficit: the key in summary.json and accounts.csv, words, and the stages of the
    waterfall that it stands for. Every stage has one bearer; what a customer owes is read from the books."""

    key: str
    words: str
    stages: tuple[str, ...] = ()


OWED = Bearer("customers_owe", "the customers owe it", (StageKind.CUSTOMER_OWES.value,))
OTHER_CASH = Bearer("customers_paid_from_other_cash", "customers' other cash")
FUND = Bearer("fund_paid", "the insurance fund", (StageKind.INSURANCE_FUND.value, StageKind.INSURANCE_FUND_TAKES.value))
PROVIDERS = Bearer("liquidity_providers", "liquidity providers", (StageKind.LIQUIDITY_PROVIDERS.value,))
VAULT = Bearer("backstop_vault", "the backstop vault", (StageKind.BACKSTOP_VAULT.value,))
WINNERS = Bearer("deleveraged", "deleveraged winners", (StageKind.AUTO_DELEVERAGING.value, StageKind.UNWIND.value))
SOCIALISED = Bearer("socialised", "shared among customers", (StageKind.SOCIALISED_LOSS.value,))
WITHDRAWALS = Bearer("withdrawals", "a cut of withdrawals", (StageKind.WITHDRAWAL_HAIRCUT.value,))
VENUE = Bearer("venue_bears", "the venue", (StageKind.VENUE_BEARS.value,))
BEARERS = (OWED, OTHER_CASH, FUND, PROVIDERS, VAULT, WINNERS, SOCIALISED, WITHDRAWALS, VENUE)
"""Everybody who can, in the order in which they are shown."""


@dataclass(slots=True)
class AccountOutcome:
    """One account of the accounts file (its isolated positions included).

    `deficit` is what its close-outs left below zero, `owed` what of it the customer owes at the end of the run, and
    `covered` what stages of the waterfall bore of it. `adl_amount` is what auto-deleveraging and unwinding took from
    the account as a winner to cover deficits, `adl_beyond` what their price took on top of that, `adl_gain` what it
    gave the account where the other side was still above zero, `deleveraged` how often they reduced it; `socialised` is
    what it paid of others' deficits. `fees` are trade and liquidation fees, whoever got them; `fund_kept` is the
    surplus of its close-outs that the insurance fund kept, `left_with_takers` its equity that went with positions to
    the takers of the waterfall. `funding_paid` and `funding_received` are what became cash or had accrued at the end.
    `leverage` is opening notional / net liq before, rounded to one decimal place, for grouping only.
    """

    account_id: str
    contracts: tuple[str, ...]
    side: str
    leverage: str
    opened_at: int
    net_liq_before: int
    notional_before: int
    net_liq_after: int = 0
    level: str = "normal"
    flags: tuple[str, ...] = ()
    liquidated_at: int | None = None
    liquidation_price: str | None = None
    fill_price: str | None = None
    fees: int = 0
    deficit: int = 0
    owed: int = 0
    covered: dict[str, int] = field(default_factory=dict[str, int])
    deleveraged: int = 0
    adl_amount: int = 0
    adl_beyond: int = 0
    adl_gain: int = 0
    socialised: int = 0
    fund_kept: int = 0
    left_with_takers: int = 0
    funding_paid: int = 0
    funding_received: int = 0

    def borne_by(self, bearer: Bearer) -> int:
        """What one bearer bore of the account's deficit."""
        if bearer is OWED:
            return self.owed
        if bearer is OTHER_CASH:
            return self.deficit - self.owed - sum(self.covered.values())
        return sum(self.covered.get(stage, 0) for stage in bearer.stages)

    @property
    def fund_paid(self) -> int:
        """What the insurance fund bore for this account: cash, and what positions that it took were worth less than it
        gave for them."""
        return self.borne_by(FUND)


@dataclass(frozen=True, slots=True)
class Fund:
    """The insurance fund of a run in micros: its cash before and after, what it received (fees, surplus), paid, and
    realised on positions that it took; and the profit of those that it still holds at the end."""

    before: int
    received: int
    paid: int
    realised: int
    after: int
    open_profit: int


@dataclass(frozen=True, slots=True)
class Funding:
    """The funding of a run in micros: what all holders paid and received, the house's among them, and what rounding
    took; `due` is the same added up from rates and positions, what all of them together received with that."""

    paid: int
    received: int
    rounding: int
    due: int

    @property
    def outsiders(self) -> int:
        """What those paid, net, who hold the other side of what is held here."""
        return self.received + self.rounding - self.paid


@dataclass(slots=True)
class OrderRow:
    """One close-out order: a row of liquidations.csv."""

    receipt_id: str
    account_id: str
    contract: str
    time: int
    side: str
    quantity: str
    limit_price: str | None
    fill_price: str | None
    filled_quantity: str
    fee: int


@dataclass(slots=True)
class PricePath:
    """A contract's bars as they were played: text prices by bar time."""

    contract: str
    times: list[int] = field(default_factory=list[int])
    open: list[str] = field(default_factory=list[str])
    high: list[str] = field(default_factory=list[str])
    low: list[str] = field(default_factory=list[str])
    close: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Run:
    """One rulebook's run. `equity` holds the net liq paths (time, micros) of the accounts that ended worst.

    `money` is the waterfall of money in micros, in the order to draw: (label, signed amount), e.g. margin the debtors
    had, their trading losses, fees, liquidation fees, what they owe, what the firm advanced.
    `assumptions` are plain sentences; `other_path` holds the totals of the run with the extremes in the other order.
    `fund` is None without an insurance fund, `funding` where none was applied. `dollars` is what one of the currency is
    worth at the opening mark; None for a currency that is read in dollars. `problems` are sums that do not agree, in
    words: there should be none. `passed_on` are positions that stages of the waterfall took, told like orders.
    """

    rulebook: str
    version: str
    digest: str
    currency: Currency
    accounts: list[AccountOutcome] = field(default_factory=list[AccountOutcome])
    orders: list[OrderRow] = field(default_factory=list[OrderRow])
    receipts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    prices: list[PricePath] = field(default_factory=list[PricePath])
    equity: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    money: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    ledger: dict[str, int] = field(default_factory=dict[str, int])
    assumptions: list[str] = field(default_factory=list[str])
    path_assumed: str | None = None
    other_path: dict[str, Any] | None = None
    alarms: dict[str, int] = field(default_factory=dict[str, int])
    inputs: int = 0
    events: int = 0
    seconds: float = 0.0
    final_digest: str = ""
    published: str = ""
    ledger_imbalance: int = 0
    fund: Fund | None = None
    funding: Funding | None = None
    dollars: Fraction | None = None
    problems: list[str] = field(default_factory=list[str])
    passed_on: list[OrderRow] = field(default_factory=list[OrderRow])

    @property
    def closings(self) -> list[OrderRow]:
        """All that closed positions, for the figures."""
        return [*self.orders, *self.passed_on]

    @property
    def admitted(self) -> list[AccountOutcome]:
        return [account for account in self.accounts if "not_admitted" not in account.flags]

    @property
    def liquidated(self) -> list[AccountOutcome]:
        return [account for account in self.accounts if account.liquidated_at is not None]

    @property
    def debtors(self) -> list[AccountOutcome]:
        return sorted((a for a in self.accounts if a.owed > 0), key=lambda a: (-a.owed, a.account_id))

    def in_dollars(self, micros: int) -> Fraction:
        """An amount in dollars, at the opening mark where the currency is no dollar."""
        return Fraction(micros, 10**self.currency.places) * (1 if self.dollars is None else self.dollars)


@dataclass(frozen=True, slots=True)
class Totals:
    """A run added up; accounts that were not admitted are counted apart and in nothing else. Money is in micros."""

    accounts: int
    not_admitted: int
    closed_out: int
    orders: int
    fees: int
    in_deficit: int
    deficit: int
    debtors: list[AccountOutcome]
    owed: int
    nearest: AccountOutcome | None
    """The account with the lowest net liq at the end; None without accounts."""
    borne: dict[str, int]
    """By `Bearer.key`; the sum is `deficit`."""
    deleveraged: list[AccountOutcome]
    adl_amount: int
    adl_beyond: int
    adl_gain: int
    socialised: int
    fund_kept: int
    left_with_takers: int
    funding_paid: int
    funding_received: int

    @staticmethod
    def of(run: Run) -> Totals:
        admitted = run.admitted
        return Totals(
            accounts=len(admitted),
            not_admitted=len(run.accounts) - len(admitted),
            closed_out=len(run.liquidated),
            orders=len(run.orders),
            fees=sum(account.fees for account in admitted),
            in_deficit=sum(account.deficit > 0 for account in admitted),
            deficit=sum(account.deficit for account in admitted),
            debtors=run.debtors,
            owed=sum(account.owed for account in run.debtors),
            nearest=min(admitted, key=_end) if admitted else None,
            borne={bearer.key: sum(account.borne_by(bearer) for account in admitted) for bearer in BEARERS},
            deleveraged=[account for account in admitted if account.deleveraged],
            adl_amount=sum(account.adl_amount for account in admitted),
            adl_beyond=sum(account.adl_beyond for account in admitted),
            adl_gain=sum(account.adl_gain for account in admitted),
            socialised=sum(account.socialised for account in admitted),
            fund_kept=sum(account.fund_kept for account in admitted),
            left_with_takers=sum(account.left_with_takers for account in admitted),
            funding_paid=sum(account.funding_paid for account in admitted),
            funding_received=sum(account.funding_received for account in admitted),
        )


def _end(account: AccountOutcome) -> tuple[int, str]:
    return account.net_liq_after, account.account_id
