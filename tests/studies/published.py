"""Published examples and recorded positions as documents for `quote`: one function per formula that fits.

The numbers lie in ../shared/vectors next to the checkout; what is not there is not tested. Contracts are defined by
overrides, because the examples have parameters of their own. Money is in a currency of eight decimal places, for
margins that are stated more finely than micros. The tick is far finer than the row's tolerance, or the row's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from closeout.core.units import MAX_PRICE_TICKS, MAX_VALUE
from closeout.rulebooks.loader import load

SHARED = Path(__file__).parents[2].parent / "shared" / "vectors"

Row = dict[str, Any]
Checks = dict[str, tuple[str, ...]]
"""The row's expected key -> where in the answer its number is."""

LIQUIDATION = ("positions", "0", "liquidation_price")
BANKRUPTCY = ("positions", "0", "bankruptcy_price")


@dataclass(frozen=True)
class Held:
    """A position of an example. `entry` is its mark too unless `mark` is given."""

    quantity: Decimal
    entry: Decimal
    mark: Decimal | None = None
    rate: Decimal | None = None
    per_unit: Decimal | None = None
    amount: Decimal = Decimal(0)
    initial_rate: Decimal | None = None
    leverage: Decimal | None = None
    margin: Decimal | None = None
    inverse_size: Decimal | None = None
    tiers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])


def tolerance(row: Row, key: str) -> Decimal:
    given = row["tolerance"]
    bound = Decimal(given.get(key, 0) if isinstance(given, dict) else given)
    return bound * abs(Decimal(row["expected"][key])) if row.get("tolerance_kind") == "relative" else bound


def document(
    row: Row, held: list[Held], *, cash: Decimal = Decimal(0), tick: Decimal | None = None, currency: str = "BTC"
) -> Row:
    """The account of a row. A position with `margin`, or whose leverage is its only margin, is isolated."""
    contracts: Row = {}
    positions: list[Row] = []
    marks: Row = {}
    for number, one in enumerate(held):
        name = f"C{number}"
        step = tick or fine_tick(row, one)
        contracts[name] = contract(one, step)
        position: Row = {"contract": name, "quantity": text(one.quantity), "entry_price": text(one.entry)}
        if one.leverage is not None:
            position["leverage"] = text(one.leverage)
        if one.margin is not None:
            position |= {"margin_mode": "isolated", "isolated_margin": text(round(one.margin, 8))}
        elif not cash and len(held) == 1 and one.leverage is not None:
            position["margin_mode"] = "isolated"
        positions.append(position)
        marks[name] = text(one.mark if one.mark is not None else one.entry)
    return {
        "account_id": row["id"],
        "cash": text(round(cash, 8)),
        "positions": positions,
        "rulebook": "reference",
        "marks": marks,
        "overrides": {"currency": currency, "contracts": contracts},
    }


def contract(one: Held, tick: Decimal) -> Row:
    tier: Row = {}
    if one.rate is not None:
        tier["maintenance_margin_rate"] = text(one.rate)
    if one.per_unit is not None:
        tier["maintenance_margin"] = text(one.per_unit)
    if one.initial_rate is not None:
        tier["initial_margin_rate"] = text(one.initial_rate)
    tiers = [tier]
    if one.amount and one.rate is not None:
        # An amount belongs to a tier that begins where its margin is above zero.
        begins = int(one.amount / one.rate) + 1
        tiers.append({**tier, "notional_from": str(begins), "maintenance_amount": text(one.amount)})
    defined: Row = {"tick": text(tick), "lot": text(abs(one.quantity)), "tiers": one.tiers or tiers}
    if one.inverse_size is not None:
        defined |= {"kind": "inverse", "contract_size": text(one.inverse_size), "lot": "1"}
    return defined


def fine_tick(row: Row, one: Held) -> Decimal:
    """A hundredth of the row's smallest tolerance, as far as the bounds on ticks and values allow."""
    keys = [key for key, value in row["expected"].items() if "price" in key and value is not None]
    bounds = [tolerance(row, key) for key in keys if tolerance(row, key)]
    tick = Decimal(1).scaleb((min(bounds, default=Decimal("1e-7")) / 100).adjusted())
    furthest = max([abs(one.entry), *(abs(Decimal(row["expected"][key])) for key in keys)])
    while not fits(one, furthest, tick):
        tick *= 10
    return tick


def fits(one: Held, furthest: Decimal, tick: Decimal) -> bool:
    if furthest / tick > MAX_PRICE_TICKS:
        return False
    if one.inverse_size is not None:
        return one.inverse_size / tick * 10**8 <= MAX_VALUE
    numerator, denominator = (tick * abs(one.quantity) * 10**8).as_integer_ratio()
    ticks = max(abs(one.entry), abs(one.mark or one.entry)) / tick
    return denominator <= 10**6 and numerator * ticks <= MAX_VALUE


def text(number: Decimal | int) -> str:
    return format(Decimal(number), "f")


def of(row: Row, *names: str) -> list[Decimal]:
    return [Decimal(row["inputs"][name]) for name in names]


def side(row: Row) -> int:
    return {"long": 1, "short": -1, 1: 1, -1: -1}[row["inputs"]["side"]]


# -- formulas ------------------------------------------------------------------------------------------

Case = tuple[Row, Checks]


def of_mark_value(
    row: Row, *, rate: Decimal, margin: str, entry: str = "entry_price", amount: str | None = None
) -> Case:
    """Isolated, requirement = rate x mark value - amount."""
    wallet, price, size = of(row, margin, entry, "size")
    cut = Decimal(row["inputs"][amount]) if amount else Decimal(0)
    held = Held(side(row) * size, price, rate=rate, margin=wallet, amount=cut)
    return document(row, [held]), {"liquidation_price": LIQUIDATION}


def of_entry_value(row: Row, *, rate: str, margin: str, entry: str = "entry_price", bankruptcy: bool = True) -> Case:
    """Isolated, requirement = rate x entry value: for one position a fixed amount per unit."""
    wallet, price, size, share = of(row, margin, entry, "size", rate)
    held = Held(side(row) * size, price, per_unit=share * price, margin=wallet)
    checks = {"liquidation_price": LIQUIDATION, "bankruptcy_price": BANKRUPTCY}
    return document(row, [held]), {key: at for key, at in checks.items() if key in row["expected"]}


def with_others(row: Row, own: Held, account_value: Decimal, other_requirement: Decimal) -> Case:
    """Cross, the other positions' value and requirement standing still: a unit at 1 with a fixed margin."""
    other = Held(Decimal(1), Decimal(1), per_unit=other_requirement)
    held = [own, other] if other_requirement else [own]
    return document(row, held, cash=account_value), {"liquidation_price": LIQUIDATION}


def freqtrade_isolated(row: Row) -> Case:
    rate, fee = of(row, "maintenance_margin_rate", "taker_fee_rate")
    match row["inputs"]["venue"]:
        case "binance":
            return of_mark_value(row, rate=rate, margin="isolated_wallet", amount="maintenance_amount")
        case "bybit":
            return of_entry_value(row, rate="maintenance_margin_rate", margin="isolated_wallet")
        case _:
            return of_mark_value(row, rate=rate + fee, margin="isolated_wallet")


def binance_cross(row: Row) -> Case:
    def holding(given: Row, mark: Decimal) -> Held:
        size, entry, rate, amount = (
            Decimal(given[key]) for key in ("size", "entry_price", "maintenance_margin_rate", "maintenance_amount")
        )
        return Held(size, entry, mark, rate=rate, amount=amount)

    inputs = row["inputs"]
    others = [holding(other, Decimal(other["mark_price"])) for other in inputs["other_positions"]]
    held = [holding(inputs, Decimal(inputs["entry_price"])), *others]
    return document(row, held, cash=Decimal(inputs["wallet_balance"])), {"liquidation_price": LIQUIDATION}


def binance_isolated(row: Row) -> Case:
    wallet, size, entry, rate, amount = of(
        row, "isolated_wallet", "position_amount", "entry_price", "maintenance_margin_rate", "maintenance_amount"
    )
    held = Held(size, entry, rate=rate, amount=amount, margin=wallet)
    return document(row, [held]), {"liquidation_price": LIQUIDATION}


def margins(row: Row) -> Case:
    """Initial = notional / leverage, maintenance = notional x rate."""
    notional, leverage, rate = of(row, "notional", "leverage", "maintenance_margin_rate")
    held = Held(Decimal(1), notional, rate=rate, leverage=leverage)
    return document(row, [held]), {key: (key,) for key in row["expected"]}


def hyperliquid_rate(row: Row) -> Decimal:
    return 1 / (2 * Decimal(row["inputs"]["max_leverage"]))


def hyperliquid_isolated(row: Row) -> Case:
    entry = "entry" if "entry" in row["inputs"] else "entry_price"
    return of_mark_value(row, rate=hyperliquid_rate(row), margin="isolated_margin", entry=entry)


def hyperliquid_raw(row: Row) -> Case:
    size, raw, entry, value = of(row, "szi", "raw_usd", "entry_price", "position_value")
    held = Held(size, entry, value / abs(size), rate=hyperliquid_rate(row), margin=raw + size * entry)
    return document(row, [held]), {"liquidation_price": LIQUIDATION, "margin_used": ("positions", "0", "net_liq")}


def hyperliquid_cross(row: Row) -> Case:
    size, value, equity, total = of(
        row, "szi", "position_value", "cross_account_value", "cross_maintenance_margin_used"
    )
    rate = hyperliquid_rate(row)
    return with_others(row, Held(size, value / abs(size), rate=rate), equity, total - value * rate)


def hyperliquid_summary(row: Row) -> Case:
    held = [
        Held(
            Decimal(one["szi"]),
            Decimal(one["position_value"]) / abs(Decimal(one["szi"])),
            rate=1 / (2 * Decimal(one.get("max_leverage", 50))),
            leverage=Decimal(one["leverage"]),
        )
        for one in row["inputs"]["positions"]
    ]
    signed = sum((one.quantity * one.entry for one in held), Decimal(0))
    checks = {
        "account_value": ("net_liq",),
        "total_ntl_pos": ("notional",),
        "total_margin_used": ("initial_margin",),
        "cross_maintenance_margin_used": ("maintenance_margin",),
        "withdrawable": ("withdrawable",),
    }
    given = document(row, held, cash=Decimal(row["inputs"]["total_raw_usd"]) + signed)
    if not row["function"].endswith("_2023"):
        rules = load("hyperliquid").table.withdrawals
        assert rules is not None
        given["overrides"]["withdrawals"] = {"kept_of_notional": rules.kept_of_notional}
    return given, {key: at for key, at in checks.items() if key in row["expected"]}


def okx_cross(row: Row) -> Case:
    size, mark, rate, fee, ratio = of(row, "size", "mark_price", "mmr_rate", "fee_rate", "margin_ratio")
    equity = ratio * (rate + fee) * size * mark
    given, checks = with_others(row, Held(side(row) * size, mark, rate=rate), equity, Decimal(0))
    given["overrides"]["contracts"]["C0"] |= {"taker_fee": text(fee), "close_fee_in_requirement": True}
    checks |= {"maintenance_margin": ("positions", "0", "maintenance_before_fee"), "margin_ratio": ("margin_ratio",)}
    return given, {key: at for key, at in checks.items() if key in row["expected"]}


def bybit_isolated(row: Row) -> Case:
    size, entry, leverage, rate, tick = of(row, "size", "entry_price", "leverage", "maintenance_margin_rate", "tick")
    held = Held(side(row) * size, entry, per_unit=rate * entry, leverage=leverage)
    checks = {"liquidation_price": LIQUIDATION, "bankruptcy_price": BANKRUPTCY}
    return document(row, [held], tick=tick), checks


def kucoin(row: Row) -> Case:
    """The commission is set aside: neither margin nor requirement has it."""
    size, entry, margin, commission, maintenance, tick = of(
        row, "size", "entry_price", "pos_margin", "pos_comm", "pos_maint", "tick"
    )
    fixed = (maintenance - commission) / size
    held = Held(side(row) * size, entry, per_unit=round(fixed, 8), margin=margin - commission)
    checks = {"liquidation_price": LIQUIDATION, "bankruptcy_price": BANKRUPTCY}
    return document(row, [held], tick=tick), checks


def kucoin_v2(row: Row) -> Case:
    rate = Decimal(row["inputs"]["maintenance_plus_fee_rate"])
    given, checks = of_mark_value(row, rate=rate, margin="pos_margin")
    return given, checks | {"bankruptcy_price": BANKRUPTCY}


def closing_fee_in_the_rate(row: Row) -> Case:
    rate, fee = of(row, "maintenance_rate", "taker_fee_rate")
    return of_mark_value(row, rate=rate + fee, margin="margin")


def lighter(row: Row) -> Case:
    size, value, equity, rate = of(row, "size", "position_value", "cross_asset_value", "maintenance_fraction")
    return with_others(row, Held(side(row) * size, value / size, rate=rate), equity, Decimal(0))


def bitget(row: Row) -> Case:
    """The requirement stands still at the present mark."""
    size, mark, ratio, keep, fee = of(row, "size", "mark_price", "margin_ratio", "keep_margin_rate", "taker_fee_rate")
    fixed = mark * (keep + fee)
    own = Held(side(row) * size, mark, per_unit=fixed)
    return with_others(row, own, size * fixed / ratio, Decimal(0))


RECORDED: dict[str, Callable[[Row], Case]] = {
    "binance_isolated_liquidation_price": binance_isolated,
    "binance_liquidation_price": binance_cross,
    "binance_position_margins": margins,
    "bitget_cross_liquidation_price": bitget,
    "bybit_isolated_liquidation_price": bybit_isolated,
    "delta_isolated_liquidation_price": lambda row: of_entry_value(row, rate="maintenance_rate", margin="margin"),
    "gate_isolated_liquidation_price": closing_fee_in_the_rate,
    "hyperliquid_cross_liquidation_price": hyperliquid_cross,
    "hyperliquid_cross_margin_summary": hyperliquid_summary,
    "hyperliquid_cross_margin_summary_2023": hyperliquid_summary,
    "hyperliquid_isolated_liquidation_price": hyperliquid_isolated,
    "hyperliquid_isolated_liquidation_price_from_raw_usd": hyperliquid_raw,
    "isolated_liquidation_price": freqtrade_isolated,
    "kucoin_isolated_liquidation_price": kucoin,
    "kucoin_isolated_liquidation_price_v2": kucoin_v2,
    "lighter_cross_liquidation_price": lighter,
    "mexc_isolated_liquidation_price": closing_fee_in_the_rate,
    "okx_linear_liquidation_price": okx_cross,
    "phemex_isolated_liquidation_price": lambda row: of_entry_value(
        row, rate="maintenance_rate", margin="pos_margin_less_fee"
    ),
}
"""By a recorded row's function."""
