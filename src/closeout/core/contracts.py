"""Contracts: what one lot at one tick is worth, linear and inverse.

A position is worth ``value(price) - cost`` where `cost` is the sum of its fills' values (never an entry price:
averages are off-tick, fills and marks are not).

    linear    value = ticks x lots x unit_value                exact
    inverse   value = floor(-lots x unit_value / ticks)        paid in the coin, falling as the price rises;
              a fill's is rounded up (`trade_value`)

so that profit has one formula for both kinds and both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import ceil
from typing import Any

from closeout.core.units import (
    MAX_INVERSE,
    MAX_LOTS,
    MAX_PRICE_TICKS,
    MAX_VALUE,
    RATE,
    Currency,
    InputError,
    IntOrArray,
    ceil_div,
    floor_div,
    mul_div_ceil,
    plain,
)


class Kind(Enum):
    LINEAR = "linear"
    INVERSE = "inverse"


LEGS = {"long": 1, "short": -1}
"""The legs of hedge mode and the sign of what each holds."""


def leg_name(name: str, side: int) -> str:
    """What a contract's leg is called: ``BTCUSDT:long``."""
    return f"{name}:{'long' if side > 0 else 'short'}"


def split_leg(name: str) -> tuple[str, int]:
    """The contract or market of a leg's name, and the leg's side; 0 where the name is no leg's."""
    market, _, leg = name.rpartition(":")
    return (market, LEGS[leg]) if market and leg in LEGS else (name, 0)


class OutOfBounds(Exception):
    """A quantity or a value beyond the bounds of `units`; the engine turns it into a rejection code."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract's fixed facts. `lot` is in the unit that quantities are quoted in (coins, or contracts).

    `taker_fee` is a rate (1e-9) of the notional, `fee_per_lot` is micros a lot; both are charged on each side.
    A leg of hedge mode (EX-02) names the contract that it is a `leg_of`, and holds only its own `side`: 1 long, -1
    short. A contract and its legs have one price and one set of terms.
    """

    name: str
    kind: Kind
    currency: Currency
    tick: Decimal
    lot: Decimal
    contract_size: Decimal
    unit_value: int
    units_per_micro: int
    taker_fee: int = 0
    fee_per_lot: int = 0
    negative_prices: bool = False
    leg_of: str = ""
    side: int = 0

    @property
    def market(self) -> str:
        """The contract whose price this one has: its own name, or that of which it is a leg."""
        return self.leg_of or self.name

    def named_in(self, numbers: Mapping[str, int]) -> int:
        """What is named for the contract or, for a leg without its own, for that of which it is a leg; 0 without."""
        return numbers.get(self.name, 0) or numbers.get(self.market, 0)

    def leg(self, side: int) -> Contract:
        """The leg that holds longs (1) or shorts (-1) alone."""
        return replace(self, name=leg_name(self.name, side), leg_of=self.name, side=side)

    @staticmethod
    def define(
        name: str,
        *,
        kind: Kind,
        currency: Currency,
        tick: Decimal,
        lot: Decimal,
        contract_size: Decimal,
        taker_fee: int = 0,
        fee_per_contract: Decimal = Decimal(0),
        negative_prices: bool = False,
    ) -> Contract:
        """Build a contract; `InputError` names the field that is out of range.

        `fee_per_contract` is in the currency, for a quantity of one.
        """
        for field, number in (("tick", tick), ("lot", lot), ("contract_size", contract_size)):
            if number <= 0:
                raise InputError(f"{name}: {field}: expected a number above zero, not {number}")
        one = Decimal(10) ** currency.places
        size = Fraction(lot) * Fraction(contract_size) * Fraction(one)
        exact = size * Fraction(tick) if kind is Kind.LINEAR else size / Fraction(tick)
        if exact.numerator > MAX_VALUE or exact.denominator > 10**6:
            shown = plain(Decimal(exact.numerator) / exact.denominator / one)
            raise InputError(f"{name}: tick x lot x contract_size: {shown} {currency.code} is out of bounds")
        fee = fee_per_contract * lot * one
        if fee < 0 or fee != fee.to_integral_value():
            raise InputError(f"{name}: fee_per_contract: expected whole micros a lot and not below zero, not {fee}")
        return Contract(
            name,
            kind,
            currency,
            tick,
            lot,
            contract_size,
            *exact.as_integer_ratio(),
            taker_fee,
            int(fee),
            negative_prices,
        )

    # -- text to integers and back ------------------------------------------------------------------

    def ticks(self, price: Decimal) -> int:
        """Exact ticks of a price; `InputError` when it is off the tick or out of bounds."""
        ticks = Fraction(price) / Fraction(self.tick)
        if ticks.denominator != 1:
            raise InputError(f"price {price} of {self.name} is off the tick of {plain(self.tick)}")
        return self._in_bounds(ticks.numerator, price)

    def nearest_ticks(self, price: Decimal) -> int:
        """Nearest tick, ties to even: only for a market with a finer tick that stands in for this contract, where no
        side may gain from the rounding."""
        return self._in_bounds(round(Fraction(price) / Fraction(self.tick)), price)

    def _in_bounds(self, ticks: int, price: Decimal) -> int:
        if abs(ticks) > MAX_PRICE_TICKS or (self.kind is Kind.INVERSE and ticks <= 0):
            raise InputError(f"price {price} of {self.name} is out of bounds")
        return ticks

    def lots(self, quantity: Decimal) -> int:
        """Exact lots of a signed quantity; `InputError` when it is off the lot or out of bounds."""
        lots = Fraction(quantity) / Fraction(self.lot)
        if lots.denominator != 1:
            raise InputError(f"quantity {quantity} of {self.name} is off the lot of {plain(self.lot)}")
        if abs(lots) > MAX_LOTS:
            raise InputError(f"quantity {quantity} of {self.name} is out of bounds")
        return lots.numerator

    def price_text(self, ticks: int) -> str:
        return format(self.tick * ticks, "f")

    def quantity_text(self, lots: int) -> str:
        return plain(self.lot * lots)

    # -- values (int64 arrays or integers alike) ---------------------------------------------------

    def value(self, ticks: int, lots: IntOrArray) -> IntOrArray:
        """Signed value in units at a price; inverse: rounded down (equity down)."""
        worth: Any
        if self.kind is Kind.LINEAR:
            worth = ticks * lots * self.unit_value
        else:  # quotient and remainder apart, as in `mul_div_floor`: lots x unit_value can pass 63 bits
            whole, rest = divmod(self.unit_value, ticks)
            worth = -lots * whole + floor_div(-lots * rest, ticks)
        return worth

    def trade_value(self, ticks: int, lots: int) -> int:
        """Units that a trade of signed `lots` is bought for; inverse: rounded up, against the customer.

        Rounded down like a valuation, both sides of one trade could gain from it.
        """
        return -self.value(ticks, -lots)

    def notional(self, ticks: int, lots: IntOrArray) -> IntOrArray:
        """|value| in micros, rounded up (requirements and fees stand on it)."""
        return ceil_div(abs(self.value(ticks, lots)), self.units_per_micro)

    def profit(self, ticks: int, lots: IntOrArray, cost: IntOrArray) -> IntOrArray:
        """Open profit in micros against `cost` units, rounded down (equity down)."""
        return floor_div(self.value(ticks, lots) - cost, self.units_per_micro)

    def worth(self, ticks: int, lots: IntOrArray, cost: IntOrArray) -> tuple[IntOrArray, IntOrArray]:
        """Profit and notional together, of one value."""
        value = self.value(ticks, lots)
        return floor_div(value - cost, self.units_per_micro), ceil_div(abs(value), self.units_per_micro)

    def cost_of(self, price: Decimal, lots: int) -> int:
        """Cost in units of `lots` brought in at an average `price` that may be off the tick.

        Rounded up, against the customer (equity down), where the average is finer than a unit.
        """
        ticks = Fraction(price) / Fraction(self.tick)
        cost = ceil(ticks * lots * self.unit_value if self.kind is Kind.LINEAR else -lots * self.unit_value / ticks)
        if abs(cost) > MAX_VALUE:
            raise InputError(f"{self.name}: {self.quantity_text(lots)} at {price} is beyond the bound on one position")
        return cost

    def trade_fee(self, ticks: int, lots: int) -> int:
        """Micros for trading |lots| at a price, one side: the rate rounded up, plus the fee per lot."""
        return mul_div_ceil(self.notional(ticks, lots), self.taker_fee, RATE) + abs(lots) * self.fee_per_lot

    def check_bounds(self, ticks: int, lots: int) -> None:
        """`OutOfBounds` when a position of `lots` at `ticks` passes the bounds of rule G-01."""
        inverse = self.kind is Kind.INVERSE
        out = abs(ticks) > MAX_PRICE_TICKS or abs(lots) > MAX_LOTS
        out = out or (inverse and (ticks <= 0 or ticks * abs(lots) > MAX_INVERSE))
        if out or abs(self.value(ticks, lots)) > MAX_VALUE:
            raise OutOfBounds(f"{self.quantity_text(lots)} {self.name} at {self.price_text(ticks)}")


@dataclass(slots=True)
class Position:
    """Signed lots and their cost in units."""

    lots: int = 0
    cost: int = 0

    def trade(self, contract: Contract, lots: int, value: int) -> int:
        """Add `lots` bought for `value` units (a sale: both negative). Returns the realised profit in units.

        The part of the cost that leaves with a reduction is rounded up (equity down: realised a unit lower now, the
        rest a unit cheaper), so that realised and open profit always add up to the exact total. A trade through zero
        closes first and opens the rest at the trade's own price; the split of `value` is rounded up likewise.
        """
        if self.lots == 0 or (self.lots > 0) == (lots > 0):
            self.lots += lots
            self.cost += value
            return 0
        if abs(lots) <= abs(self.lots):
            closed_cost = mul_div_ceil(self.cost, abs(lots), abs(self.lots))
            self.lots += lots
            self.cost -= closed_cost
            return -value - closed_cost
        closing = -self.lots
        closing_value = mul_div_ceil(value, abs(closing), abs(lots))
        realised = self.trade(contract, closing, closing_value)
        self.lots, self.cost = lots - closing, value - closing_value
        return realised
