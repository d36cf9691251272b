"""Account files: JSON Lines in and out, and the commands that open such accounts in an engine.

One account a line; fields that this does not know are refused by name. Money, prices and quantities are decimal strings
(whole numbers may be plain); a float is refused, because what was meant can no longer be told.

A position's `contract` is a contract of the rulebook, and then `quantity` is in that contract's own unit (coins, or
contracts); or it is a market that a contract of the rulebook stands for, and then `quantity` is in the market's base
units: 0.1 BTC of BTCUSDT are 10 contracts of 0.01 BTC. A leg of hedge mode is the name with ``:long`` or ``:short``
behind it; under a rulebook whose contract has no hedge mode it is the contract's one position.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Literal, cast

import msgspec
from msgspec import Struct, structs

from closeout.core.contracts import Contract, Kind, split_leg
from closeout.core.units import MAX_LOTS, InputError, plain, rate
from closeout.engine.commands import Command, Deposit, OpenAccount, TransferPosition
from closeout.rulebooks.policy import Policy
from closeout.studies.documents import parse
from closeout.studies.market import bounded_decimal, parse_time

MIN_LEVERAGE, MAX_LEVERAGE = Decimal("0.1"), 1000


class AccountPosition(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A position as the file has it; an isolated one names its margin, or a leverage to reckon it by."""

    contract: str
    quantity: Decimal
    entry_price: Decimal
    leverage: Decimal | None = None
    margin_mode: Literal["cross", "isolated"] = "cross"
    isolated_margin: Decimal | None = None


class AccountSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The customer's own settings."""

    validate_with_intraday: bool = True


class AccountFile(Struct, frozen=True, omit_defaults=True):
    """An account as the file has it. `opened_at` and `closed_at` are UTC nanoseconds; None is in from the beginning,
    and held to the end.

    `cash` leaves out isolated margin. `where` says in messages where the account was read; the file has no such field.
    """

    account_id: str
    cash: Decimal
    positions: tuple[AccountPosition, ...]
    settings: AccountSettings = AccountSettings()
    opened_at: int | None = None
    closed_at: int | None = None
    owner: str = ""
    where: str = ""


class _Line(Struct, forbid_unknown_fields=True):
    """The fields that a line may have."""

    account_id: str
    cash: Decimal
    positions: tuple[AccountPosition, ...]
    settings: AccountSettings = AccountSettings()
    opened_at: str | int | None = None
    closed_at: str | int | None = None
    owner: str = ""


def load_accounts(path: str | Path) -> list[AccountFile]:
    """All accounts of a JSON Lines file; `InputError` names the file, the line, the field and what was expected."""
    try:
        lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    accounts: list[AccountFile] = []
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        if not line.strip():
            continue
        account = parse_account(parse(line, where, one_line=True), where)
        if account.account_id in first_lines:
            before = first_lines[account.account_id]
            raise InputError(f"{where}: account_id: {account.account_id} stands on line {before} already")
        first_lines[account.account_id] = number
        accounts.append(account)
    if not accounts:
        raise InputError(f"{path}: the file is empty; expected one account a line")
    return accounts


def write_accounts(path: str | Path, accounts: Iterable[AccountFile]) -> None:
    """Write accounts so that `load_accounts` reads them back; the same accounts give the same bytes."""
    encoder = msgspec.json.Encoder(decimal_format="string")
    lines = (encoder.encode(msgspec.structs.replace(account, where="")) for account in accounts)
    Path(path).write_bytes(b"".join(line + b"\n" for line in lines))


# -- one account --------------------------------------------------------------------------------------------


def parse_account(obj: object, where: str) -> AccountFile:
    """An account from decoded JSON. `where` begins every message, such as ``accounts.jsonl: line 3``."""
    if not isinstance(obj, dict):
        raise InputError(f"{where}: expected one account as a JSON object")
    _refuse_floats(cast(object, obj), where, "")
    try:
        line = msgspec.convert(cast(object, obj), _Line)
    except msgspec.ValidationError as error:
        # msgspec says: what was wrong - at `$.positions[0].quantity`
        what, _, path = str(error).partition(" - at `$")
        field = path.strip("`.")
        what += "; expected cross or isolated" if field.endswith("margin_mode") else ""
        raise InputError(f"{where}: {f'{field}: ' if field else ''}{what}") from None
    if not re.fullmatch(r"[^\s/]([^/\n\r]{0,126}[^\s/])?", line.account_id):
        raise InputError(f"{where}: account_id: expected 1 to 128 characters without '/', not {line.account_id!r}")
    if bounded_decimal(line.cash, f"{where}: cash") < 0:
        raise InputError(f"{where}: cash: expected zero or more (an account cannot begin in debit), not {line.cash}")
    for index, position in enumerate(line.positions):
        _check_position(position, f"{where}: positions[{index}]")
    opened_at, closed_at = _time(line.opened_at, "opened_at", where), _time(line.closed_at, "closed_at", where)
    if opened_at is not None and closed_at is not None and closed_at <= opened_at:
        raise InputError(f"{where}: closed_at: expected a time after opened_at")
    return AccountFile(
        line.account_id, line.cash, line.positions, line.settings, opened_at, closed_at, line.owner, where
    )


def _refuse_floats(value: object, where: str, field: str) -> None:
    """A JSON number with a fraction has been through a float somewhere."""
    if isinstance(value, float):
        raise InputError(f"{where}: {field}: {value!r} is a float; write it as a string")
    if isinstance(value, dict):
        for key, item in cast(dict[str, object], value).items():
            _refuse_floats(item, where, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(cast(list[object], value)):
            _refuse_floats(item, where, f"{field}[{index}]")


def _check_position(position: AccountPosition, where: str) -> None:
    """What can be said about a position without a rulebook."""
    for field in ("quantity", "entry_price", "leverage", "isolated_margin"):
        number: Decimal | None = getattr(position, field)
        if number is not None:
            bounded_decimal(number, f"{where}.{field}")
    if not position.quantity:
        raise InputError(f"{where}.quantity: expected a quantity above or below zero, not {position.quantity}")
    if position.leverage is not None and not MIN_LEVERAGE <= position.leverage <= MAX_LEVERAGE:
        raise InputError(
            f"{where}.leverage: expected a number from {MIN_LEVERAGE} to {MAX_LEVERAGE}, not {position.leverage}"
        )
    if position.margin_mode == "cross" and position.isolated_margin is not None:
        raise InputError(f"{where}.isolated_margin: a cross position has none; expected margin_mode isolated")
    if position.margin_mode == "isolated" and position.isolated_margin is None and position.leverage is None:
        raise InputError(f"{where}.isolated_margin: an isolated position needs isolated_margin or leverage")
    if position.isolated_margin is not None and position.isolated_margin <= 0:
        raise InputError(f"{where}.isolated_margin: expected an amount above zero, not {position.isolated_margin}")


def _time(value: str | int | None, field: str, where: str) -> int | None:
    try:
        return None if value is None else parse_time(str(value))[0]
    except ValueError as error:
        raise InputError(f"{where}: {field}: {error}") from None


# -- into an engine -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Carried:
    """An account as a rulebook of another kind has it (`studies.sizing`): its cash in micros of the rulebook's
    currency and, position by position, the contract, signed lots and isolated margin in micros. `leverage`: whether
    positions keep the leverage that the file names."""

    cash: int
    positions: tuple[tuple[Contract, int, int | None], ...]
    leverage: bool


def to_commands(account: AccountFile, policy: Policy, carried: Carried | None = None) -> list[Command]:
    """The commands that open the account and bring its cash and positions in, under a rulebook; as `carried` where its
    sizes and money are not the file's own.

    Each isolated position becomes an account of its own, named ``account_id/contract`` by the file's name of the
    contract (so that it is called the same under every rulebook), with the account as its parent. `InputError` where a
    contract is unknown or a quantity or price does not fit it.
    """
    where = account.where or f"account {account.account_id}"
    cross: list[TransferPosition] = []
    isolated: list[Command] = []
    leverage: dict[str, int] = {}
    held: dict[str, AccountPosition] = {}
    for index, position in enumerate(account.positions):
        place = f"{where}: positions[{index}]"
        contract, lots, margin = carried.positions[index] if carried else (*_held(position, policy, place), None)
        cost = _cost(contract, position, lots, place)
        named = position.leverage if carried is None or carried.leverage else None
        rates = {} if named is None else {contract.name: rate(str(named), f"{place}.leverage")}
        name = contract.name
        if position.margin_mode == "isolated":
            if f"{name}/isolated" in held:
                raise InputError(f"{place}.contract: a second isolated position in {name}; expected one")
            held[f"{name}/isolated"] = position
            child = f"{account.account_id}/{position.contract}"
            if margin is None:
                margin = _isolated_margin(contract, position, lots, policy, place)
            isolated.append(_open(account, child, account.account_id, rates))
            # The margin comes after the position: an isolated account without one gives its money back.
            isolated += [TransferPosition(child, name, lots, cost, last=False), Deposit(child, margin)]
            continue
        before = held.setdefault(name, position)
        if (before.quantity > 0) != (position.quantity > 0):
            raise InputError(f"{place}.quantity: long and short of {name} in one cross account; expected one side")
        if leverage.get(name, rates.get(name)) != rates.get(name, leverage.get(name)):
            raise InputError(f"{place}.leverage: a second leverage for {name} in one cross account; expected one")
        leverage |= rates
        cross.append(TransferPosition(account.account_id, name, lots, cost))
    cash = carried.cash if carried else _micros(policy, account.cash, f"{where}: cash")
    deposits = [Deposit(account.account_id, cash)] if cash else []
    transfers = [structs.replace(transfer, last=transfer is cross[-1]) for transfer in cross]
    return [_open(account, account.account_id, None, leverage), *deposits, *transfers, *isolated]


def _open(account: AccountFile, account_id: str, parent: str | None, leverage: dict[str, int]) -> OpenAccount:
    return OpenAccount(
        account_id,
        owner=account.owner,
        validate_with_intraday=account.settings.validate_with_intraday,
        parent=parent,
        leverage=leverage,
    )


def _held(position: AccountPosition, policy: Policy, where: str) -> tuple[Contract, int]:
    contract, lots = resolve(position.contract, position.quantity, policy, where)
    side = split_leg(position.contract)[1]
    if side * lots < 0:
        wanted, name = "above" if side > 0 else "below", position.contract
        raise InputError(f"{where}.quantity: expected a quantity {wanted} zero in {name}, not {position.quantity}")
    return contract, lots


def resolve(name: str, quantity: Decimal, policy: Policy, where: str) -> tuple[Contract, int]:
    """The rulebook's contract (the first in its order that stands for the market) and the signed lots; `InputError`
    names the field."""
    exact = Fraction(quantity)
    rules, market = policy.contract_for(name), split_leg(name)[0]
    if rules is None:
        raise InputError(f"{where}.contract: {name} is unknown under {policy.name}; {_nearest(name, policy)}")
    contract = rules.contract
    own = contract.market in (name, market)
    if not own:
        if contract.kind is Kind.INVERSE:
            raise InputError(
                f"{where}.contract: {contract.name} is inverse; expected the quantity in its own contracts"
            )
        exact /= Fraction(contract.contract_size)
    lots = exact / Fraction(contract.lot)
    if lots.denominator != 1:
        unit = Fraction(contract.lot) * (1 if own else Fraction(contract.contract_size))
        step = plain(Decimal(unit.numerator) / unit.denominator)
        raise InputError(f"{where}.quantity: {quantity} of {name} is off the lot; expected a multiple of {step}")
    if abs(lots.numerator) > MAX_LOTS:
        raise InputError(f"{where}.quantity: {quantity} of {name} is out of bounds")
    return contract, lots.numerator


def _nearest(name: str, policy: Policy) -> str:
    known = [*policy.contracts, *(market for own in policy.contracts.values() for market in own.stands_for)]
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(policy.contracts)}"


def _cost(contract: Contract, position: AccountPosition, lots: int, where: str) -> int:
    if position.entry_price <= 0 and not contract.negative_prices:
        raise InputError(f"{where}.entry_price: expected a price above zero, not {position.entry_price}")
    try:
        return contract.cost_of(position.entry_price, lots)
    except InputError as error:
        raise InputError(f"{where}.entry_price: {error}") from None


def _isolated_margin(contract: Contract, position: AccountPosition, lots: int, policy: Policy, where: str) -> int:
    """Micros to deposit: what the file says, or entry notional / leverage, rounded up to a micro."""
    if position.isolated_margin is not None:
        return _micros(policy, position.isolated_margin, f"{where}.isolated_margin")
    ticks = Fraction(position.entry_price) / Fraction(contract.tick)
    value = ticks * lots * contract.unit_value if contract.kind is Kind.LINEAR else lots * contract.unit_value / ticks
    notional = abs(value) / contract.units_per_micro
    if not notional:
        raise InputError(f"{where}.isolated_margin: expected an amount, because the entry notional is zero")
    return ceil(notional / Fraction(position.leverage or 1))


def _micros(policy: Policy, amount: Decimal, where: str) -> int:
    try:
        return policy.currency.micros(amount)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
