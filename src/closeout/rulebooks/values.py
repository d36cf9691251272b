"""The values of a rulebook file, each read with its key: `InputError` says which key, and what was expected."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

from closeout.core.units import Currency, InputError, decimal, rate, rate_text

_WALL_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def read_wall_time(key: str, text: str) -> dt.time:
    """A wall time ``HH:MM``."""
    if not _WALL_TIME.fullmatch(text):
        raise InputError(f"{key}: expected a time HH:MM, got {text!r}")
    return dt.time.fromisoformat(text)


def read_rate(key: str, text: str, low: int, high: int) -> int:
    value = rate(text, key)
    if not low <= value <= high:
        bound = "above 0 and up to" if low == 1 else f"from {rate_text(low)} to"
        raise InputError(f"{key}: expected a rate {bound} {rate_text(high)}, got {text}")
    return value


def read_money(key: str, text: str, currency: Currency, *, signed: bool = False) -> int:
    amount = decimal(text, key)
    if amount < 0 and not signed:
        raise InputError(f"{key}: expected an amount not below zero, got {text}")
    try:
        return currency.micros(amount)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def read_positive(key: str, text: str) -> Decimal:
    number = decimal(text, key)
    if number <= 0:
        raise InputError(f"{key}: expected a number above zero, got {text}")
    return number


def read_whole(key: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise InputError(f"{key}: expected a whole number from {low} to {high}, got {value}")
    return value
