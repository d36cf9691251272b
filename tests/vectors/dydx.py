"""dYdX v4's rows as accounts for the core functions: quantums are lots, a price integer is ticks.

Nothing is worked out here that the product works out: subaccounts become holdings, updates are applied to positions,
and answers are put into the row's unit (quote quantums are micros of USDC).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import gcd
from typing import Any

from closeout.core.bankruptcy import bankruptcy_value, closes, fillable_value, limit_of, order_limit, price_of, share_of
from closeout.core.contracts import Contract, Kind
from closeout.core.funding import maintenance_ppm, max_funding_ppm, settlement, settlement_ppm
from closeout.core.margin import Level, MarginKind, MarginRules, MarginTier, Terms, Window, initial_margin, scaled_rate
from closeout.core.risk import Holding, Money, Risk, assess
from closeout.core.units import CURRENCIES, RATE, InputError

Row = dict[str, Any]
Found = dict[str, Any]

USDC = CURRENCIES["USDC"]
WINDOW = Window("all", MarginKind.MAINTENANCE, RATE, RATE, RATE)
_PPM = RATE // 10**6


def holdings(row: Row, positions: list[Row], sizes: tuple[int, ...] = ()) -> list[Holding]:
    """The positions as holdings. A lot is as many quantums as go into every size of the row."""
    perpetuals = {one["perpetual_id"]: one for one in row["inputs"]["perpetuals"]}
    return [
        holding(perpetuals[one["perpetual_id"]], one["quantums"], one["quote_balance"], sizes)
        for one in positions
        if one["quantums"]
    ]


def holding(perpetual: Row, quantums: int, quote_balance: int = 0, sizes: tuple[int, ...] = ()) -> Holding:
    open_base = perpetual.get("open_interest_base_quantums", 0)
    lot = gcd(quantums, open_base, *sizes)
    price, exponent = perpetual["price"], perpetual["price_exponent"]
    while price and price % 10 == 0:
        price, exponent = price // 10, exponent + 1
    unit = Fraction(10) ** (exponent + perpetual["atomic_resolution"] + USDC.places) * lot
    contract = Contract(
        str(perpetual.get("perpetual_id", 0)),
        Kind.LINEAR,
        USDC,
        Decimal(1).scaleb(exponent),
        Decimal(lot).scaleb(perpetual["atomic_resolution"]),
        Decimal(1),
        *unit.as_integer_ratio(),
    )
    cost = -quote_balance * contract.units_per_micro
    own = Holding(contract, terms(perpetual), quantums // lot, cost, price)
    interest = contract.notional(price, open_base // lot) if own.terms.rules.open_interest else 0
    return replace(own, terms=replace(own.terms, open_interest=interest))


def terms(perpetual: Row, open_interest: int = 0) -> Terms:
    lower, upper = perpetual.get("open_interest_lower_cap", 0), perpetual.get("open_interest_upper_cap", 0)
    return Terms(
        (tier(perpetual),),
        WINDOW,
        rules=MarginRules(open_interest=(lower, upper) if upper else None),
        open_interest=open_interest,
    )


def tier(perpetual: Row) -> MarginTier:
    """The rates as a rulebook states them."""
    initial = perpetual.get("initial_margin_ppm", 0)
    maintenance = maintenance_ppm(initial, perpetual.get("maintenance_fraction_ppm", 0)) * _PPM
    return MarginTier(0, (initial * _PPM, initial * _PPM, maintenance), (0, 0, 0), (0, 0, 0))


def account(row: Row, sizes: tuple[int, ...] = ()) -> tuple[list[Holding], Risk]:
    held = holdings(row, row["inputs"]["subaccount"]["positions"], sizes)
    return held, assess(Money(row["inputs"]["subaccount"]["usdc_quantums"]), held, None)


def _named(held: list[Holding], row: Row) -> int:
    return [one.contract.name for one in held].index(str(row["inputs"]["perpetual_id"]))


def is_liquidatable(row: Row) -> Found:
    return {"is_liquidatable": account(row)[1].level is Level.LIQUIDATING}


NO_CLOSE = "InvalidPerpetualPositionSizeDelta"
"""The chain's word for a change of size that closes nothing (`core.bankruptcy.closes`)."""


def closed(positions: list[Row], perpetual_id: int, delta: int) -> int | None:
    """Quantums that the change closes of the position; None where the product refuses it."""
    held = sum(one["quantums"] for one in positions if one["perpetual_id"] == perpetual_id)
    try:
        return closes(held, delta)
    except InputError:
        return None


def of_a_part(answer: Callable[[Row], Found]) -> Callable[[Row], Found]:
    """The answer for a change of size that closes a part, or the refusal of one that does not."""

    def found(row: Row) -> Found:
        inputs = row["inputs"]
        if closed(inputs["subaccount"]["positions"], inputs["perpetual_id"], inputs["delta_quantums"]) is None:
            return {"error": NO_CLOSE}
        return answer(row)

    return found


def bankruptcy(row: Row) -> Found:
    delta = row["inputs"]["delta_quantums"]
    held, risk = account(row, (delta,))
    index = _named(held, row)
    own = held[index]
    lots = abs(delta * own.lots // row["inputs"]["subaccount"]["positions"][index]["quantums"])
    value = bankruptcy_value(own, share_of(risk.net_liq, held, index), lots)
    return {"bankruptcy_price_quote_quantums": Fraction(value, own.contract.units_per_micro)}


def fillable(row: Row) -> Found:
    inputs = row["inputs"]
    held, risk = account(row)
    own = held[_named(held, row)]
    value = fillable_value(
        own,
        risk.net_liq,
        risk.requirement,
        inputs["bankruptcy_adjustment_ppm"] * _PPM,
        inputs["spread_to_maintenance_margin_ratio_ppm"] * _PPM,
    )
    ticks = price_of(own.contract, own.lots, value)
    assert ticks is not None
    usd = ticks * Fraction(own.contract.tick)
    resolution = next(p for p in inputs["perpetuals"] if p["perpetual_id"] == inputs["perpetual_id"])[
        "atomic_resolution"
    ]
    quanta = usd * Fraction(10) ** (6 + resolution)
    found: Found = {"fillable_price_num": quanta.numerator, "fillable_price_den": quanta.denominator}
    if "fillable_price_usd" in row["expected"]:
        found["fillable_price_usd"] = usd
    return found


def subticks(row: Row) -> Found:
    """The limit of a sale or purchase, as ticks of `subticks_per_tick`."""
    inputs = row["inputs"]
    size = Fraction(10) ** inputs["quantum_conversion_exponent"] * inputs["subticks_per_tick"]
    lot = 10**6
    contract = Contract.define(
        "pair",
        kind=Kind.LINEAR,
        currency=USDC,
        tick=Decimal(size.numerator) / size.denominator,
        lot=Decimal(lot).scaleb(-6),
        contract_size=Decimal(1),
    )
    lots = 1 if inputs["is_liquidating_long"] else -1
    price = Fraction(inputs["fillable_price_num"], inputs["fillable_price_den"])
    value = lots * lot * price * contract.units_per_micro
    ticks = limit_of(contract, lots, value)
    ticks = order_limit(contract, lots, value) if ticks is None else ticks  # the chain's ticks go beyond the engine's
    return {"subticks": ticks * inputs["subticks_per_tick"]}


def net_notional(row: Row) -> Found:
    inputs = row["inputs"]
    own = holding(inputs, inputs["quantums"] or 10**12)
    return {"net_notional_quote_quantums": replace(own, lots=own.lots if inputs["quantums"] else 0).profit}


def margin_requirements(row: Row) -> Found:
    own = holding(row["inputs"]["perpetual"], row["inputs"]["quantums"] or 1)
    return {
        "initial_margin": own.margin(MarginKind.INITIAL),
        "maintenance_margin": own.margin(MarginKind.MAINTENANCE),
    }


def settled(row: Row) -> int:
    """What the funding indices pay to the subaccount."""
    indices = {one["perpetual_id"]: one["funding_index"] for one in row["inputs"]["perpetuals"]}
    return settlement(
        settlement_ppm(indices[one["perpetual_id"]], one["funding_index"], one["quantums"])
        for one in row["inputs"]["subaccount"]["positions"]
    )


def settlement_of(row: Row) -> Found:
    names = ("perpetual_funding_index", "position_funding_index", "quantums")
    return {"net_settlement_ppm": settlement_ppm(*(row["inputs"][name] for name in names))}


def funding_cap(row: Row) -> Found:
    names = ("clamp_factor_ppm", "initial_margin_ppm", "maintenance_fraction_ppm")
    return {"max_abs_funding_ppm": max_funding_ppm(*(row["inputs"][name] for name in names))}


def maintenance_rate(row: Row) -> Found:
    names = ("initial_margin_ppm", "maintenance_fraction_ppm")
    return {"maintenance_margin_ppm": maintenance_ppm(*(row["inputs"][name] for name in names))}


def initial_margin_of(row: Row) -> Found:
    inputs = row["inputs"]
    given = terms(inputs, inputs["open_interest_notional"])
    return {"initial_margin_quote_quantums": initial_margin(given, 1, inputs["position_notional_quote_quantums"], 0)}


def adjusted_rate(row: Row) -> Found:
    inputs = row["inputs"]
    bounds = (inputs["open_interest_lower_cap"], inputs["open_interest_upper_cap"])
    rate = scaled_rate(inputs["initial_margin_ppm"] * _PPM, inputs["open_interest_notional"], *bounds)
    return {"adjusted_initial_margin_ppm": Fraction(rate, _PPM)}


def collateral(row: Row) -> Found:
    """The account after its funding is settled and the updates are made."""
    inputs = row["inputs"]
    update = inputs["update"]
    positions = {one["perpetual_id"]: dict(one) for one in inputs["subaccount"]["positions"]}
    for delta in update["perpetual_deltas"]:
        own = positions.setdefault(
            delta["perpetual_id"], {"perpetual_id": delta["perpetual_id"], "quantums": 0, "quote_balance": 0}
        )
        own["quantums"] += delta["quantums"]
    held = holdings(row, list(positions.values()))
    cash = inputs["subaccount"]["usdc_quantums"] + settled(row) + sum(update["usdc_deltas"])
    risk = assess(Money(cash), held, None)
    found = {
        "net_collateral": risk.net_liq,
        "initial_margin": sum(own.margin(MarginKind.INITIAL) for own in held),
        "maintenance_margin": risk.requirement,
    }
    return {key: value for key, value in found.items() if key in row["expected"]}


WAYS: dict[str, Callable[[Row], Found]] = {
    "IsLiquidatable": is_liquidatable,
    "GetBankruptcyPriceInQuoteQuantums": of_a_part(bankruptcy),
    "GetFillablePrice": of_a_part(fillable),
    "ConvertFillablePriceToSubticks": subticks,
    "GetNetNotional": net_notional,
    "GetSettlementPpm": settlement_of,
    "GetMaxAbsFundingClampPpm": funding_cap,
    "GetMaintenanceMarginPpm": maintenance_rate,
    "GetInitialMarginQuoteQuantums": initial_margin_of,
    "GetAdjustedInitialMarginPpm": adjusted_rate,
    "GetMarginRequirements": margin_requirements,
    "GetNetCollateralAndMarginRequirements": collateral,
}
