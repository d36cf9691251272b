"""How an account is carried over to a rulebook whose contracts, currency or allowance are of another kind.

The market's accounts hold coins and dollars. Three things can be asked of them:

    inverse contracts   A rulebook's inverse contract that stands for the market is worth so many dollars. A position of
                        coins becomes as many as its entry notional pays for, rounded down to lots, and at least one.
    another currency    Under a rulebook whose money is a coin, cash and isolated margins become coins at the price of
                        the account's opening, rounded down. An account that names the rulebook's own contracts has its
                        money in the rulebook's currency already.
    the same appetite   Every position is made as large as the rulebook lets it be with the same money (EX-09): the
                        most lots, at least one, whose initial margin there is no more than what `reference` asks for
                        the position that the account has. So an account that uses a tenth of what `reference` would
                        allow it with its cash uses a tenth of what every other rulebook would; a tier that asks more of
                        a large position counts. Cash, isolated margins, entry prices and times stay; a leverage of the
                        account's own is dropped: it would ask for more than the rulebook does.

Prices are those of the market at the account's opening, on the contract's tick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from closeout.core.contracts import Contract, Kind, split_leg
from closeout.core.margin import MarginKind, Terms
from closeout.core.risk import Holding
from closeout.core.units import MAX_LOTS, MAX_VALUE, InputError
from closeout.rulebooks.policy import ContractPolicy, Policy
from closeout.studies.accounts import AccountFile, AccountPosition, Carried
from closeout.studies.market import Market

DOLLARS = ("USD", "USDT", "USDC")
"""Currencies that are read in dollars, at par."""


@dataclass(slots=True)
class Sizer:
    """Carries the accounts of a market over to one rulebook. `feeds` maps the market's contracts to the rulebook's;
    `measure` is the rulebook whose initial margin measures an appetite, None to keep every size."""

    market: Market
    policy: Policy
    feeds: dict[str, str]
    measure: Policy | None = None
    _done: set[str] = field(default_factory=set[str])

    def carry(self, account: AccountFile) -> Carried | None:
        """The account under the rulebook; None where it is as the file has it."""
        resolved = [self._standing(position) for position in account.positions]
        converts = self._converts(account)
        inverse = any(rules is not None and rules.contract.kind is Kind.INVERSE for rules in resolved)
        if not converts and not inverse and self.measure is None:
            return None
        where = account.where or f"account {account.account_id}"
        price = self._coin_price(account.opened_at) if converts else Fraction(1)
        positions: list[tuple[Contract, int, int | None]] = []
        for index, position in enumerate(account.positions):
            place = f"{where}: positions[{index}]"
            rules = self._rules(position, place)
            if self.measure is not None:
                lots = self._same_appetite(account, position, rules, price, place)
            else:
                lots = self._same_size(position, rules, place)
            margin = self._isolated(position, price, place)
            positions.append((rules.contract, lots if position.quantity > 0 else -lots, margin))
        cash = self._money(account.cash, price, f"{where}: cash")
        return Carried(cash, tuple(positions), leverage=self.measure is None)

    def dollars(self) -> Fraction | None:
        """What one of the rulebook's currency is worth in dollars at the opening mark; None for a dollar."""
        return None if self.policy.currency.code in DOLLARS else self._coin_price(None)

    def notes(self) -> list[str]:
        """What was done to the accounts, in plain sentences; after `carry`."""
        code = self.policy.currency.code
        said = {
            "money": f"Money: cash in dollars became {code} at the price of each account's opening, rounded down.",
            "inverse": "Sizes: inverse contracts are whole: positions in coins became as many as their entry notional "
            "pays for, rounded down, at least one.",
            "appetite": "Sizes: the same appetite: each position is the largest whose initial margin here is no more "
            f"than what {'' if self.measure is None else self.measure.name} asks for the account's own position, in "
            "whole lots, at least one.",
        }
        return [text for key, text in said.items() if key in self._done]

    # -- contracts ---------------------------------------------------------------------------------

    def _standing(self, position: AccountPosition) -> ContractPolicy | None:
        """The contract that stands for the position's market; None where the rulebook has one of that name."""
        rules = self.policy.contract_for(position.contract)
        return None if rules is None or _is_own(rules, position) else rules

    def _rules(self, position: AccountPosition, place: str) -> ContractPolicy:
        rules = self.policy.contract_for(position.contract)
        if rules is None:
            raise InputError(f"{place}.contract: {position.contract} is unknown under {self.policy.name}")
        return rules

    def _price(self, name: str, time: int | None) -> Decimal | None:
        """The market's price of a contract of the rulebook, or of a market."""
        price_of, _ = split_leg(name)
        market = next((market for market, own in self.feeds.items() if price_of in (market, own)), None)
        return None if market is None else self.market.price_at(market, time)

    # -- money -------------------------------------------------------------------------------------

    def _converts(self, account: AccountFile) -> bool:
        """Whether the account's money is dollars while the rulebook's is not."""
        if self.policy.currency.code in DOLLARS:
            return False
        own = bool(account.positions) and not any(self._standing(position) for position in account.positions)
        return not own

    def _coin_price(self, time: int | None) -> Fraction:
        """Dollars of one of the rulebook's currency: the price of its first inverse contract that has one."""
        for name, rules in self.policy.contracts.items():
            price = self._price(name, time) if rules.contract.kind is Kind.INVERSE else None
            if price is not None and price > 0:
                return Fraction(price)
        raise InputError(
            f"{', '.join(source.file for source in self.market.sources)}: expected a market that tells what a "
            f"{self.policy.currency.code} is worth, the currency of {self.policy.name}"
        )

    def _money(self, amount: Decimal, price: Fraction, where: str) -> int:
        """Micros of the rulebook's currency: exact at a price of one, else rounded down."""
        currency = self.policy.currency
        if price == 1:
            try:
                return currency.micros(amount)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        self._done.add("money")
        micros = floor(Fraction(amount) * 10**currency.places / price)
        if micros > MAX_VALUE:
            raise InputError(f"{where}: {amount} is beyond the bound of {currency.text(MAX_VALUE)} {currency.code}")
        return micros

    def _isolated(self, position: AccountPosition, price: Fraction, place: str) -> int | None:
        """The isolated margin of the position as it is in the file, whatever becomes of its size."""
        if position.margin_mode != "isolated":
            return None
        if position.isolated_margin is not None:
            return self._money(position.isolated_margin, price, f"{place}.isolated_margin")
        rules = self._rules(position, place)
        if _is_own(rules, position) and rules.contract.kind is Kind.INVERSE:
            size = abs(Fraction(position.quantity)) * Fraction(rules.contract.contract_size)
            worth = size / Fraction(position.entry_price)
        else:
            worth = abs(Fraction(position.quantity) * Fraction(position.entry_price)) / price
        exact = worth / Fraction(position.leverage or 1) * 10**self.policy.currency.places
        return ceil(exact) if price == 1 else floor(exact)

    # -- sizes -------------------------------------------------------------------------------------

    def _same_size(self, position: AccountPosition, rules: ContractPolicy, place: str) -> int:
        """|lots| of the position as it is; `_resolve` of the accounts refuses what is off the lot, this rounds only
        coins that become inverse contracts."""
        contract = rules.contract
        exact = abs(Fraction(position.quantity))
        if not _is_own(rules, position):
            if contract.kind is Kind.INVERSE:
                self._done.add("inverse")
                exact *= Fraction(position.entry_price)
            exact /= Fraction(contract.contract_size)
        lots = exact / Fraction(contract.lot)
        if lots.denominator != 1 and (contract.kind is Kind.LINEAR or _is_own(rules, position)):
            raise InputError(f"{place}.quantity: {position.quantity} of {position.contract} is off the lot")
        return _bounded(max(1, floor(lots)), position, place)

    def _same_appetite(
        self, account: AccountFile, position: AccountPosition, rules: ContractPolicy, price: Fraction, place: str
    ) -> int:
        """The most |lots| whose initial margin is no more than the measuring rulebook asks for the position."""
        assert self.measure is not None  # noqa: S101
        self._done.add("appetite")
        measuring = self.measure.contract_for(position.contract)
        market_price = self._price(position.contract, account.opened_at)
        if measuring is None or not _is_own(measuring, position) or market_price is None:
            raise InputError(
                f"{place}.contract: --same-appetite measures by {self.measure.name}, which has no {position.contract}; "
                f"expected one of {', '.join(self.measure.contracts)}"
            )
        own = max(1, floor(abs(Fraction(position.quantity)) / Fraction(measuring.contract.lot)))
        dollars = Fraction(_initial(self.measure, measuring, own, market_price), 10**self.measure.currency.places)
        allowed = floor(dollars * 10**self.policy.currency.places / price)
        low, high = 1, 2
        while high <= MAX_LOTS and _initial(self.policy, rules, high, market_price) <= allowed:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if _initial(self.policy, rules, middle, market_price) <= allowed:
                low = middle
            else:
                high = middle
        return _bounded(low, position, place)


def _is_own(rules: ContractPolicy, position: AccountPosition) -> bool:
    """Whether the position names the contract itself, or a leg of it, and no market that it stands for."""
    return rules.contract.market in (position.contract, split_leg(position.contract)[0])


def _bounded(lots: int, position: AccountPosition, place: str) -> int:
    if lots > MAX_LOTS:
        raise InputError(f"{place}.quantity: {position.quantity} of {position.contract} is out of bounds")
    return lots


def _initial(policy: Policy, rules: ContractPolicy, lots: int, price: Decimal) -> int:
    """Initial margin in micros for |lots| at a price, under the rulebook's opening window."""
    contract, window = rules.contract, policy.windows[policy.opening_window]
    terms = Terms(rules.tiers, window, rules=rules.margin)
    ticks = max(1, contract.nearest_ticks(price))
    if contract.kind is Kind.LINEAR and ticks * lots * contract.unit_value > MAX_VALUE:
        return MAX_VALUE  # beyond the bound on one position
    return Holding(contract, terms, lots, contract.trade_value(ticks, lots), ticks).margin(MarginKind.INITIAL)
