"""What positions must be covered by (EX-02): from a contract's margin tiers and rules to the engine's units.
`InputError` names the key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec

from closeout.core.contracts import Contract, Kind
from closeout.core.margin import MarginKind, MarginRules, MarginTier, Slope, Tiers
from closeout.core.units import MAX_LOTS, MAX_RATE, RATE, InputError, decimal, mul_div_floor, plain
from closeout.rulebooks.schema import ContractTable, RulebookTable, TierTable
from closeout.rulebooks.values import read_money, read_positive, read_rate

_Margin = tuple[int, int, int]  # rate, micros a lot, micros deducted


def build_tiers(tables: list[TierTable], contract: Contract, where: str) -> Tiers:
    """Margin tiers in ascending order; each tier requires something at every margin level, never zero (G-06)."""
    if not tables:
        raise InputError(f"{where}: expected at least one tier")
    tiers: list[MarginTier] = []
    for index, table in enumerate(tables):
        key = f"{where}[{index}]"
        tier = _tier(table, contract, key, tiers[-1] if tiers else None)
        if not tiers and tier.notional_from != 0:
            raise InputError(f"{key}.notional_from: expected 0 for the first tier, got {table.notional_from}")
        if tiers and tier.notional_from <= tiers[-1].notional_from:
            raise InputError(f"{key}.notional_from: expected more than the tier before, got {table.notional_from}")
        tiers.append(tier)
    return tuple(tiers)


def decode_tiers(document: bytes, key: str) -> list[TierTable]:
    """The JSON list of tier tables of a `SetMargin` command."""
    try:
        return msgspec.json.decode(document, type=list[TierTable])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{key}: {error}") from None


def margin_rules(table: ContractTable, contract: Contract, tiers: Tiers, key: str) -> MarginRules:
    """What the contract says of margin beside its tiers."""
    if table.close_fee_in_requirement and not contract.taker_fee:
        raise InputError(f"{key}.close_fee_in_requirement: expected a taker_fee beside it")
    return MarginRules(
        table.requirement_base == "entry",
        contract.taker_fee if table.close_fee_in_requirement else 0,
        _open_interest(table, contract, tiers, key),
        _close_fee_side(table, contract, tiers, key),
        table.netting_group,
    )


def check_netting(table: RulebookTable) -> None:
    """`InputError` for a netting group of one contract, which nets nothing, and for what does not go with one."""
    groups: dict[str, list[str]] = {}
    for name, contract in table.contracts.items():
        if contract.netting_group:
            groups.setdefault(contract.netting_group, []).append(name)
    for group, (first, *others) in groups.items():
        key = f"contracts.{first}.netting_group"
        if not others:
            raise InputError(f"{key}: expected another contract of the group {group!r}")
        for name in others:
            if table.contracts[name].session != table.contracts[first].session:
                raise InputError(f"{key}: expected {name}, which is of it too, in the same session")
        for name in (first, *others):
            if table.contracts[name].hedge_mode:
                raise InputError(f"contracts.{name}.netting_group: expected no hedge_mode beside it")
        if table.liquidation_fee is not None and table.liquidation_fee.of_rest is not None:
            raise InputError(f"{key}: expected no of_rest in liquidation_fee, which is of one position's own margin")
        if any(step.method == "reduce_to_target" for step in (table.close_out, *table.close_out.then)):
            raise InputError(f"{key}: expected no reduce_to_target in close_out: one side closed may cure nothing")


def _close_fee_side(table: ContractTable, contract: Contract, tiers: Tiers, key: str) -> int:
    """0 where the fee of closing is on the value; else the side on which a bankrupt position is worth less."""
    if table.close_fee_on == "value":
        return 0
    if not table.close_fee_in_requirement:
        raise InputError(f"{key}.close_fee_on: expected close_fee_in_requirement beside it")
    check_bankrupt(tiers, f"{key}.close_fee_on")
    return 1 if contract.kind is Kind.LINEAR else -1


def check_bankrupt(tiers: Tiers, key: str) -> None:
    """`InputError` for tiers whose initial margin may be more than the value, so that none of it would be left."""
    own = MarginKind.INITIAL
    if any(tier.rate[own] > RATE or tier.per_lot[own] or tier.slope[own] for tier in tiers):
        raise InputError(f"{key}: expected initial margins by rate, of at most 1, without a slope")


def _open_interest(table: ContractTable, contract: Contract, tiers: Tiers, key: str) -> tuple[int, int] | None:
    lower, upper = table.open_interest_lower, table.open_interest_upper
    if lower is None and upper is None:
        return None
    if lower is None or upper is None:
        raise InputError(f"{key}: expected open_interest_lower and open_interest_upper together")
    bounds = (
        read_money(f"{key}.open_interest_lower", lower, contract.currency),
        read_money(f"{key}.open_interest_upper", upper, contract.currency),
    )
    if bounds[0] >= bounds[1]:
        raise InputError(f"{key}.open_interest_upper: expected more than open_interest_lower, got {upper}")
    if len(tiers) > 1 or any(any(tier.amount) or any(tier.per_lot) or any(tier.slope) for tier in tiers):
        raise InputError(f"{key}.open_interest_lower: expected one tier with rates only")
    return bounds


# -- one tier ----------------------------------------------------------------------------------------


def _tier(table: TierTable, contract: Contract, key: str, before: MarginTier | None) -> MarginTier:
    notional_from = read_money(f"{key}.notional_from", table.notional_from, contract.currency)
    maintenance = _stated(key, "maintenance", table.maintenance_margin_rate, table.maintenance_margin, contract)
    initial = _stated(key, "initial", table.initial_margin_rate, table.initial_margin, contract)
    intraday = _stated(key, "intraday", table.intraday_margin_rate, table.intraday_margin, contract)
    if table.max_leverage is not None:
        leverage = read_positive(f"{key}.max_leverage", table.max_leverage)
        if leverage < Decimal("0.5"):
            raise InputError(f"{key}.max_leverage: expected at least 0.5, got {table.max_leverage}")
        # Rounded up: a third of the notional is not a whole number of rate units, and requirements go up.
        initial = initial or (math.ceil(RATE / leverage), 0, 0)
    slopes = _slopes(table, contract, key, initial, maintenance)
    at = _Start(notional_from, contract, before)
    maintenance = _less(maintenance, table.maintenance_amount, MarginKind.MAINTENANCE, at, f"{key}.maintenance_amount")
    initial = _less(initial, table.initial_amount, MarginKind.INITIAL, at, f"{key}.initial_amount")
    initial = initial or maintenance
    if initial is None:
        raise InputError(f"{key}: expected a maintenance or an initial margin above zero, got neither")
    maintenance = maintenance or initial
    intraday = intraday or initial
    for name, lower in (("intraday", intraday), ("maintenance", maintenance)):
        if lower[:2] != initial[:2] and lower[0] >= initial[0] and lower[1] >= initial[1]:
            raise InputError(f"{key}: expected {name} margin to be no more than initial margin")
        if initial[2] and _at_start(lower, notional_from) > _at_start(initial, notional_from):
            raise InputError(f"{key}: expected {name} margin at the tier's start to be no more than initial margin")
    rates, per_lots, amounts = zip(intraday, initial, maintenance, strict=True)  # the order of MarginKind
    slope = slopes if table.intraday_margin_rate is None and table.intraday_margin is None else (None, *slopes[1:])
    return MarginTier(notional_from, rates, per_lots, amounts, slope)


def _stated(key: str, name: str, rate_text: str | None, money_text: str | None, contract: Contract) -> _Margin | None:
    """One margin level as the tier states it, None where it does not."""
    if rate_text is None and money_text is None:
        return None
    margin_rate = 0 if rate_text is None else read_rate(f"{key}.{name}_margin_rate", rate_text, 0, MAX_RATE)
    per_lot = 0
    if money_text is not None:
        micros = decimal(money_text, f"{key}.{name}_margin") * contract.lot * 10**contract.currency.places
        if not 0 <= micros <= 10**15:
            raise InputError(f"{key}.{name}_margin: expected an amount from 0 to a thousand million, got {money_text}")
        per_lot = math.ceil(micros)
    if margin_rate == 0 and per_lot == 0:
        field = f"{name}_margin_rate" if money_text is None else f"{name}_margin"
        raise InputError(f"{key}.{field}: expected a margin above zero, got {rate_text or money_text}")
    return margin_rate, per_lot, 0


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a tier begins, in micros, and the tier before it."""

    notional: int
    contract: Contract
    before: MarginTier | None


def _less(margin: _Margin | None, text: str | None, kind: MarginKind, at: _Start, key: str) -> _Margin | None:
    """A margin less the amount of its bracket, which leaves something of it at the tier's start (G-06)."""
    if text is None:
        return margin
    if text == "continuous" and margin is not None:
        amount = _continuous(margin, kind, at, key)
    else:
        amount = read_money(key, text, at.contract.currency)
    if margin is None or (amount and at.notional * margin[0] <= amount * RATE):
        raise InputError(f"{key}: expected less than the margin at the tier's start")
    return margin[0], margin[1], amount


def _continuous(margin: _Margin, kind: MarginKind, at: _Start, key: str) -> int:
    """The amount with which the margin at the tier's start is what the tier before asks there, rounded down."""
    before = at.before
    if before is None:
        raise InputError(f"{key}: expected an amount, or none, in the first tier: there is none before it")
    if margin[1] != before.per_lot[kind] or margin[0] < before.rate[kind] or before.slope[kind] is not None:
        raise InputError(f"{key}: expected a rate not below that of the tier before, and no slope")
    return joining(before, kind, at.notional, margin[0])


def joining(before: MarginTier, kind: MarginKind, start: int, rate: int) -> int:
    """The amount in micros, rounded down, that joins a tier of `rate` to the one before it at `start`."""
    return before.amount[kind] + start * (rate - before.rate[kind]) // RATE


def gaps(tiers: Tiers, contract: Contract, key: str) -> list[str]:
    """Where brackets do not join: amounts that let a margin by rates jump at a tier's start, which may be a slip of the
    pen. Tiers without any amount are steps on the whole position, and meant to jump."""
    found: list[str] = []
    for kind in (MarginKind.INITIAL, MarginKind.MAINTENANCE):
        if not any(tier.amount[kind] for tier in tiers):
            continue
        for index, (before, tier) in enumerate(pairwise(tiers), 1):
            if before.per_lot[kind] != tier.per_lot[kind] or before.slope[kind] or tier.slope[kind]:
                continue
            joined = joining(before, kind, tier.notional_from, tier.rate[kind])
            if abs(joined - tier.amount[kind]) > 1:
                text = contract.currency.text
                found.append(
                    f"{key}[{index}].{kind.name.lower()}_amount: {text(tier.amount[kind])} lets the margin jump at "
                    f"{text(tier.notional_from)}; {text(joined)} would be continuous"
                )
    return found


def _at_start(margin: _Margin, start: int) -> int:
    """A margin by rate at the tier's start, in micros x RATE."""
    return margin[0] * start - margin[2] * RATE


def _slopes(
    table: TierTable, contract: Contract, key: str, initial: _Margin | None, maintenance: _Margin | None
) -> tuple[Slope | None, Slope | None, Slope | None]:
    """Slopes by `MarginKind`; a level that the tier does not state takes that of the one it falls back to."""
    found: dict[str, Slope | None] = {}
    for name, margin in (("initial", initial), ("maintenance", maintenance)):
        text: str | None = getattr(table, f"{name}_margin_slope")
        root: str | None = getattr(table, f"{name}_margin_root")
        field = f"{key}.{name}_margin_{'slope' if root is None else 'root'}"
        if text is not None and root is not None:
            raise InputError(f"{field}: expected no slope beside it")
        if (text or root) is not None and (margin is None or not margin[0]):
            raise InputError(f"{field}: expected the level's rate beside it")
        found[name] = None if text is None else _slope(text, contract, field)
        if root is not None and margin is not None:
            share = read_rate(f"{key}.root_within_rate", table.root_within_rate, 0, RATE)
            found[name] = _root(root, contract, mul_div_floor(margin[0], share, RATE), field)
    first = found["initial"] if initial is not None else found["maintenance"]
    second = found["maintenance"] if maintenance is not None else first
    if first is not None and second is not None and bool(first.root) != bool(second.root):
        raise InputError(f"{key}.maintenance_margin_slope: expected slopes or roots for both levels")
    if second is not None and (first is None or first.rate * second.per < second.rate * first.per):
        word = "root" if second.root else "slope"
        raise InputError(f"{key}.maintenance_margin_{word}: expected no more than initial_margin_{word}")
    if table.root_within_rate != "0" and not (first is not None and first.root):
        raise InputError(f"{key}.root_within_rate: expected initial_margin_root or maintenance_margin_root beside it")
    return first, first, second


def _coins(contract: Contract) -> Fraction:
    """The coins of size of a lot, or of an inverse contract's micro."""
    if contract.kind is Kind.INVERSE:
        return Fraction(1, 10**contract.currency.places)
    return Fraction(contract.lot) * Fraction(contract.contract_size)


def slope_text(slope: Slope, contract: Contract) -> str:
    """A slope as a rulebook file states it, per coin, or a root, per square root of a coin."""
    exact = Fraction(slope.rate, slope.per) / _coins(contract) / (RATE**2 if slope.root else RATE)
    number = Decimal(exact.numerator) / exact.denominator
    return plain(number.sqrt() if slope.root else number)


def _slope(text: str, contract: Contract, key: str) -> Slope:
    """Rate units per lot, or per micro of an inverse contract's notional, from a rate per coin of size."""
    of_lots = contract.kind is Kind.LINEAR
    exact = Fraction(read_positive(key, text)) * RATE * _coins(contract)
    # Products with the largest size stay below 63 bits: 2**40 lots, 2**53 micros.
    most = 2**21 if of_lots else 2**8
    if exact > most or exact.numerator * exact.denominator >= 2**62:
        raise InputError(f"{key}: {text} is out of bounds, or too fine for this contract's lot")
    return Slope(exact.numerator, exact.denominator, of_lots)


def _root(text: str, contract: Contract, within: int, key: str) -> Slope:
    """Squares of rate units per lot, from a rate per square root of a coin of size."""
    if contract.kind is not Kind.LINEAR:
        raise InputError(f"{key}: expected a linear contract, whose size no mark moves")
    square = (Fraction(read_positive(key, text)) * RATE) ** 2 * _coins(contract)
    # What a root is taken of stays below 2**62: the square of `MAX_RATE`, and a lot more.
    if square > 2**58 or square.numerator * square.denominator >= 2**62:
        raise InputError(f"{key}: {text} is out of bounds, or too fine for this contract's lot")
    most = min(MAX_LOTS, math.ceil(MAX_RATE**2 / square))
    return Slope(square.numerator, square.denominator, of_lots=True, root=most, within=within)
