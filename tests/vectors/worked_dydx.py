"""dYdX's worked examples, written in whole units, as rows of the chain's own form."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.vectors import dydx, dydx_engine
from tests.vectors.dydx import Found, Row

_RESOLUTION = -8
_EXPONENT = -5


def _perpetual(index: int, price: Any, rate: Any) -> Row:
    return {
        "perpetual_id": index,
        "atomic_resolution": _RESOLUTION,
        "price": int(Decimal(price).scaleb(-_EXPONENT)),
        "price_exponent": _EXPONENT,
        "initial_margin_ppm": int(2 * Decimal(rate) * 10**6),
        "maintenance_fraction_ppm": 500_000,
    }


def _quantums(size: Any) -> int:
    return int(Fraction(str(size)) * 10**-_RESOLUTION)


def chain_row(row: Row, **more: Any) -> Row:
    inputs = row["inputs"]
    positions = [
        {"perpetual_id": i, "quantums": _quantums(one["size"]), "funding_index": 0, "quote_balance": 0}
        for i, one in enumerate(inputs["positions"])
    ]
    perpetuals = [_perpetual(i, one["oracle_price"], inputs["mmf"]) for i, one in enumerate(inputs["positions"])]
    account = {"usdc_quantums": int(Decimal(inputs["usdc_balance"]) * 10**6), "positions": positions}
    given = {"subaccount": account, "perpetuals": perpetuals, "perpetual_id": inputs["position_index"], **more}
    return {"inputs": given, "expected": {}}


def bankruptcy(row: Row) -> Found:
    found = dydx.bankruptcy(chain_row(row, delta_quantums=_quantums(row["inputs"]["delta_size"])))
    return {"quote_quantums": found["bankruptcy_price_quote_quantums"]}


def fillable(row: Row) -> Found:
    ppm = {
        "bankruptcy_adjustment_ppm": int(Decimal(row["inputs"]["bankruptcy_adjustment"]) * 10**6),
        "spread_to_maintenance_margin_ratio_ppm": int(Decimal(row["inputs"]["spread_to_mmr"]) * 10**6),
    }
    given = chain_row(row, **ppm)
    given["expected"] = {"fillable_price_usd": None}
    return {"fillable_price": dydx.fillable(given)["fillable_price_usd"]}


def insurance(row: Row) -> Found:
    """A position that is the only one is bankrupt at what its account owes, or has, in quote."""
    inputs = row["inputs"]
    size = _quantums(inputs["size"])
    quote = -int(Decimal(inputs["bankruptcy_quote"]) * 10**6)
    position = {"perpetual_id": 0, "quantums": -size if inputs["is_buy"] else size}
    delta = dydx_engine.insurance_delta(
        {"usdc_quantums": quote, "positions": [position]},
        _perpetual(0, 50_000, "0.1"),
        size,
        Decimal(inputs["fill_price"]),
        Decimal(inputs["max_liquidation_fee_ppm"]).scaleb(-6),
    )
    return {"insurance_fund_delta_quantums": delta}


WAYS: dict[str, Callable[[Row], Found]] = {
    "dydx-bankruptcy-multi-short-eth": bankruptcy,
    "dydx-bankruptcy-longbtc-shorteth": bankruptcy,
    "dydx-bankruptcy-round-short": bankruptcy,
    "dydx-bankruptcy-long-full": bankruptcy,
    "dydx-bankruptcy-long-below-bankr": bankruptcy,
    "dydx-bankruptcy-short-below-bankr": bankruptcy,
    "dydx-fillable-short-just-under": fillable,
    "dydx-fillable-short-at-bankr": fillable,
    "dydx-fillable-long-below-bankr": fillable,
    "dydx-fillable-long-smmr1": fillable,
    "dydx-insurance-long-maxfee": insurance,
    "dydx-insurance-long-below-maxfee": insurance,
    "dydx-insurance-long-at-bankr": insurance,
    "dydx-insurance-short-loss": insurance,
}
