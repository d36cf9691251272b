"""The worked examples as documents for `quote`."""

from collections.abc import Callable
from decimal import Decimal

from tests.studies.published import (
    BANKRUPTCY,
    LIQUIDATION,
    Case,
    Held,
    Row,
    document,
    hyperliquid_isolated,
    of,
    of_mark_value,
    side,
    with_others,
)


def binance(row: Row) -> Case:
    """Both positions of the venue's own two-position example, at their marks."""
    btc = Held(
        Decimal("109.488"), Decimal("32481.98"), Decimal("31967.27"), rate=Decimal("0.025"), amount=Decimal(16300)
    )
    eth = Held(Decimal("3683.979"), Decimal("1456.84"), Decimal("1335.18"), rate=Decimal("0.1"), amount=Decimal(135365))
    (cash,) = of(row, "wallet_balance")
    held = [btc, eth] if row["inputs"]["mode"] == "cross" else [eth]
    return document(row, held, cash=cash), {"liquidation_price": LIQUIDATION}


def bybit_usdt(row: Row) -> Case:
    """Requirement of the entry value: for one position a fixed amount per coin."""
    size, entry, leverage, rate, extra = of(row, "size", "entry", "leverage", "mmr", "extra_margin")
    held = Held(
        side(row) * size, entry, per_unit=rate * entry, margin=size * entry / leverage + extra, leverage=leverage
    )
    checks = {"IM": ("initial_margin",), "MM": ("maintenance_margin",), "liquidation_price": LIQUIDATION}
    given = document(row, [held], tick=Decimal("0.1"))
    return given, {key: at for key, at in checks.items() if key in row["expected"]}


def okx_calculator(row: Row) -> Case:
    row["inputs"]["size"] = row["inputs"]["size_btc"]
    rate, fee = of(row, "mmr_inferred", "taker_fee_inferred")
    return of_mark_value(row, rate=rate + fee, margin="margin", entry="entry")


def kraken_inverse(row: Row) -> Case:
    contracts, entry, cash, initial, rate = of(row, "contracts_usd", "entry", "collateral_btc", "im_rate", "mm_rate")
    held = Held(side(row) * contracts, entry, rate=rate, initial_rate=initial, inverse_size=Decimal(1))
    checks = {
        "position_value_btc": ("positions", "0", "notional"),
        "IM_btc": ("initial_margin",),
        "MM_btc": ("maintenance_margin",),
        "liquidation_price": LIQUIDATION,
        "zero_equity_price": BANKRUPTCY,
    }
    return document(row, [held], cash=cash, tick=Decimal("0.01")), checks


def dydx_cross(row: Row) -> Case:
    equity, size, price, rate, other = of(row, "e", "s", "p", "MMF", "other_MMR")
    return with_others(row, Held(size, price, rate=rate), equity, other)


def bitmex_fair(row: Row) -> Case:
    checks = {"fair_price": "mark", "fair_basis": "basis", "fair_basis_rate": "basis_a_year"}
    name = "LTCUSDT"
    given = marking(row, "bitmex", name, "0.001", row["inputs"]["timestamp"], index="index_indicative_settle")
    given["overrides"]["funding"] = {"contracts": [name]}
    return given, {key: ("marks", name, at) for key, at in checks.items()}


def binance_mark(row: Row) -> Case:
    """Of 2020, before the median."""
    name = "BTCUSDT"
    begun = 8 - row["inputs"]["hours_to_funding"]
    given = marking(row, "binance-usdm", name, "0.1", f"2020-06-01T{begun:02d}:00:00Z", index="index")
    given["overrides"]["marks"] = {"formula": "funding_basis"}
    return given, {"mark": ("marks", name, "mark"), "basis": ("marks", name, "funding_basis")}


def marking(row: Row, rulebook: str, name: str, tick: str, as_of: str, *, index: str) -> Row:
    seen = {"index": str(row["inputs"][index]), "funding_rate": str(row["inputs"]["funding_rate"])}
    contract = {"tick": tick, "lot": "1", "tiers": [{"maintenance_margin_rate": "0.01"}]}
    return {
        "account_id": row["id"], "cash": "0", "positions": [], "rulebook": rulebook, "as_of": as_of,
        "marks": {name: seen}, "overrides": {"contracts": {name: contract}},
    }  # fmt: skip


_HYPERLIQUID = (
    *("01-eth-long", "02-btc-long", "04-sol-long", "08-eth-short", "11-btc-short", "12-btc-short", "16-eth-short"),
    *("17-btc-long", "20-btc-short", "21-sol-short", "23-sol-short", "24-btc-short", "26-eth-long", "28-sol-short"),
)

WORKED: dict[str, Callable[[Row], Case]] = {
    "binance-usdm-btc-cross": binance,
    "binance-usdm-eth-isolated": binance,
    "bybit-usdt-iso-long": bybit_usdt,
    "bybit-usdt-iso-short-extra": bybit_usdt,
    "bybit-usdt-iso-long-funding": bybit_usdt,
    "okx-calculator-btc-3x": okx_calculator,
    "kraken-epp-inverse-long": kraken_inverse,
    "dydx-cross-liq": dydx_cross,
    "bitmex-fair-mark-ltcusdt": bitmex_fair,
    "binance-mark-price-2020": binance_mark,
    **{f"hyperliquid-iso-{number}": hyperliquid_isolated for number in _HYPERLIQUID},
}
