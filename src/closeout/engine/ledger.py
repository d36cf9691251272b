"""Double-entry ledger: nothing moves outside a posting (G-02).

An account's balance is its debits less its credits, so the sum over all accounts is zero after every posting. Assets
(segregated_bank, clearing_house, receivable) stand above zero, claims on them (customer_cash, house, fees, rounding,
suspense) below.  What a posting means is told by its two accounts:

    deposit          Dr segregated_bank  Cr customer_cash
    realised profit  Dr clearing_house   Cr customer_cash     (a loss: reversed)
    fee              Dr customer_cash    Cr fees
    deficit          Dr receivable       Cr customer_cash     the customer owes
                     Dr segregated_bank  Cr house             and the firm covers the pool from its own money
    payment          Dr customer_cash    Cr receivable
                     Dr house            Cr segregated_bank   the firm takes its money back
    write-off        Dr written_off      Cr receivable        the firm bears it: its advance stays in the pool
    isolated margin  Dr customer_cash    Cr transfer, and back: between the accounts of one customer

    surplus, its fee Dr customer_cash    Cr insurance_fund    what a rulebook gives to the fund
    fund pays        Dr insurance_fund   Cr customer_cash     a deficit, never more than the fund has
    socialised loss  Dr customer_cash    Cr transfer, and back: from those who share it to the account below zero
    haircut          Dr uncovered        Cr customer_cash     a hole that withdrawals pay for
                     Dr customer_cash    Cr uncovered         what a withdrawal leaves there
    venue bears      Dr house            Cr customer_cash     what no stage of the waterfall covers

Insurance fund, liquidity providers and backstop vault have an account each, which is the cash of the book's account of
the same name: they can hold positions. `external` is none: a deposit's other side is the bank itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CUSTOMER_CASH = "customer_cash"
RECEIVABLE = "receivable"
SEGREGATED_BANK = "segregated_bank"
CLEARING_HOUSE = "clearing_house"
HOUSE = "house"
FEES = "fees"
ROUNDING = "rounding"
SUSPENSE = "suspense"
INSURANCE_FUND = "insurance_fund"
LIQUIDITY_PROVIDERS = "liquidity_providers"
BACKSTOP_VAULT = "backstop_vault"
UNCOVERED = "uncovered"
TRANSFER = "transfer"
WRITTEN_OFF = "written_off"

ACCOUNTS = (
    CUSTOMER_CASH,
    RECEIVABLE,
    SEGREGATED_BANK,
    CLEARING_HOUSE,
    HOUSE,
    FEES,
    ROUNDING,
    SUSPENSE,
    INSURANCE_FUND,
    LIQUIDITY_PROVIDERS,
    BACKSTOP_VAULT,
    UNCOVERED,
    TRANSFER,
    WRITTEN_OFF,
)


@dataclass(slots=True)
class Ledger:
    """Balances in micros (debits less credits); `customer_cash` and `receivable` are the totals over all customers."""

    balances: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))

    def post(self, debit: str, credit: str, micros: int) -> None:
        """Move `micros` (above zero) from `credit` to `debit`."""
        if micros <= 0 or debit == credit:
            raise ValueError(f"not a posting: {debit} {credit} {micros}")
        self.balances[debit] += micros
        self.balances[credit] -= micros

    def imbalance(self) -> int:
        return sum(self.balances.values())
