"""Decimal text to micros, ticks, lots and rates, and back; an error names the field (``/amount``) of the request.

The patterns are part of the published document, so a client can check before it sends. Numbers have no exponent, no
space and no plus sign: one number has few spellings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, TypeVar

from msgspec import Meta

from closeout.core import units
from closeout.core.contracts import Contract
from closeout.core.units import Currency, InputError
from closeout.service.api.problems import invalid

SIGNED = "^-?(0|[1-9][0-9]{0,17})([.][0-9]{1,18})?$"
UNSIGNED = "^(0|[1-9][0-9]{0,17})([.][0-9]{1,18})?$"

Amount = Annotated[str, Meta(pattern=UNSIGNED, description="money in the rulebook's currency", examples=["1000.00"])]
SignedAmount = Annotated[str, Meta(pattern=SIGNED, description="money in the rulebook's currency", examples=["-5.00"])]
Price = Annotated[str, Meta(pattern=SIGNED, description="a price, on the contract's tick", examples=["67250.50"])]
Quantity = Annotated[
    str,
    Meta(pattern=SIGNED, description="signed, below zero to sell; a multiple of the contract's lot", examples=["-2"]),
]
UnsignedQuantity = Annotated[str, Meta(pattern=UNSIGNED, description="in the contract's own unit", examples=["50"])]
RateText = Annotated[str, Meta(pattern=UNSIGNED, description='a rate: "0.05" is 5 %', examples=["0.05"])]
SignedRate = Annotated[str, Meta(pattern=SIGNED, description='a rate: "0.0001" is 0.01 %', examples=["0.0001"])]

T = TypeVar("T")
_NUMBER = re.compile(SIGNED.removeprefix("^").removesuffix("$"))


def number(text: str, pointer: str) -> Decimal:
    """The number that `text` is; the pattern's ``$`` alone would let a line feed pass."""
    if not _NUMBER.fullmatch(text):
        raise invalid(f"{text[:40]!r} is not a decimal number", pointer)
    return Decimal(text)


def _exact(read: Callable[[Decimal], T], text: str, pointer: str) -> T:
    try:
        return read(number(text, pointer))
    except InputError as error:
        raise invalid(str(error), pointer) from None


def micros(currency: Currency, text: str, pointer: str = "/amount") -> int:
    return _exact(currency.micros, text, pointer)


def ticks(contract: Contract, text: str, pointer: str = "/price") -> int:
    return _exact(contract.ticks, text, pointer)


def lots(contract: Contract, text: str, pointer: str = "/quantity") -> int:
    return _exact(contract.lots, text, pointer)


def rate(text: str, pointer: str) -> int:
    number(text, pointer)
    try:
        scaled = units.rate(text, pointer)
    except InputError as error:
        raise invalid(str(error), pointer) from None
    if abs(scaled) >= 2**63:
        raise invalid(f"{text} is out of bounds", pointer)
    return scaled


def cost(contract: Contract, price: str, held: int) -> int:
    """Units that `held` lots cost at an average price, which may be off the tick."""
    entry = number(price, "/entry_price")
    if entry <= 0 and not contract.negative_prices:
        raise invalid(f"expected a price above zero, not {price}", "/entry_price")
    try:
        return contract.cost_of(entry, held)
    except InputError as error:
        raise invalid(str(error), "/entry_price") from None


def suggestion(contract: Contract, suggested_lots: int) -> str:
    return contract.quantity_text(suggested_lots)


def joined(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
