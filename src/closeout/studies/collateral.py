"""Collateral in other assets, for an assessment: each counts at its price less a haircut (EX-02)."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import NamedTuple, cast

import msgspec
from msgspec import Struct

from closeout.core.units import Currency, InputError, decimal
from closeout.studies.market import bounded_decimal


class Asset(Struct, frozen=True, forbid_unknown_fields=True):
    """An amount of an asset, its price in the rulebook's currency, and the part of its value that does not count."""

    asset: str
    amount: str
    price: str
    haircut: str = "0"


class Worth(NamedTuple):
    """What assets come to in micros, each rounded down (equity down): at their prices, and as they count."""

    whole: int
    counted: int


def worth(value: object, currency: Currency, where: str) -> Worth:
    """What a document's list of assets is worth, and what it counts as cash."""
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list of assets with amount, price and haircut")
    each = [_worth(given, currency, f"{where}[{index}]") for index, given in enumerate(cast(list[object], value))]
    return Worth(sum(one.whole for one in each), sum(one.counted for one in each))


def _worth(value: object, currency: Currency, where: str) -> Worth:
    try:
        asset = msgspec.convert(value, Asset)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from None
    amount, price, haircut = (
        bounded_decimal(decimal(getattr(asset, field), f"{where}.{field}"), f"{where}.{field}")
        for field in ("amount", "price", "haircut")
    )
    for field, number in (("amount", amount), ("price", price)):
        if number < 0:
            raise InputError(f"{where}.{field}: expected zero or more, not {number}")
    if not 0 <= haircut <= 1:
        raise InputError(f"{where}.haircut: expected a share from 0 to 1, not {haircut}")
    whole = Fraction(amount) * Fraction(price) * 10**currency.places
    return Worth(floor(whole), floor(whole * (1 - Fraction(haircut))))
