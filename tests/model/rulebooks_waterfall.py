"""Rulebooks for generated streams that between them have every close-out step, limit, and stage of the waterfall."""

from dataclasses import replace
from typing import Any

from tests.model.rulebooks import (
    ALWAYS,
    COIN,
    FINE,
    FUNDING,
    HEAD,
    MARKS,
    RECEIVABLE,
    SETTINGS,
    TIERS,
    US,
    Setting,
    document,
)

BASE: dict[str, Any] = {
    **HEAD,
    "opening_window": "always",
    "windows": {"always": ALWAYS},
    "contracts": {
        "BTC": {"tick": "0.1", "lot": "0.01", "taker_fee": "0.0005", "expected_cost": "0.001", "tiers": TIERS},
        "ETH": {"tick": "0.01", "lot": "0.1", "taker_fee": "0.0007", "expected_cost": "0.002", "tiers": TIERS},
        "FINE": FINE,
    },
    "marks": MARKS,
    "receivable": RECEIVABLE,
}
FUND = {"stage": "insurance_fund"}
VENUE = {"stage": "venue_bears"}
FLATTEN = {"method": "flatten_all", "limit": "bankruptcy"}


def adl(ranking: str, price: str = "bankruptcy", **more: Any) -> dict[str, Any]:
    return {"stage": "auto_deleveraging", "ranking": ranking, "price": price, **more}


# Tier by tier at the bankruptcy price, then all of it; takers with little room; what is left over is the fund's.
TAKERS = {
    **BASE,
    "name": "model-takers",
    "close_out": {
        "method": "lower_tier",
        "tiers_down": 2,
        "limit": "bankruptcy",
        "surplus": "insurance_fund",
        "then": [FLATTEN],
    },
    "insurance_fund": {"initial": "3000"},
    "funding": FUNDING,
    "liquidation_fee": {"rate": "0.01", "payee": "insurance_fund", "capped": True},
    "waterfall": [
        {"stage": "liquidity_providers", "capacity": "5000"},
        {"stage": "insurance_fund_takes", "capacity": "20000", "capacity_of_fund": "4"},
        adl("leveraged_return"),
        FUND,
        VENUE,
    ],
}

# A share every half minute; a vault takes who is far below the line, but nobody below zero.
VAULT = {
    **BASE,
    "name": "model-vault",
    "close_out": {
        "method": "reduce_by_share",
        "share": "0.2",
        "share_above": "6000",
        "interval_seconds": 30,
        "limit": "any_price",
        "take_over_below": "0.6667",
    },
    "liquidation_fee": {"rate": "0.002"},
    "waterfall": [
        {"stage": "backstop_vault", "capacity": "60000", "solvent_only": True},
        adl("return_times_leverage", "previous_mark"),
        {"stage": "socialised_loss", "among": "balances"},
        VENUE,
    ],
}

# In coin: limits that concede more the worse it stands; deleveraging at the mark; in the end the customer owes.
COINS = {
    **COIN,
    "name": "model-coin-waterfall",
    "close_out": {
        "method": "reduce_to_target",
        "target": "0.9",
        "limit": "fillable",
        "bankruptcy_adjustment": "1.5",
        "spread_to_maintenance": "0.3",
        "then": [FLATTEN],
    },
    "insurance_fund": {"initial": "0.02"},
    "liquidation_fee": {"rate": "0.008", "of_rest": "0.95", "payee": "insurance_fund", "capped": True},
    "waterfall": [
        adl("profit_times_margin_ratio", "mark"),
        FUND,
        {"stage": "socialised_loss", "among": "positions"},
        {"stage": "customer_owes"},
    ],
}

# Everybody on the other side is closed in proportion; the day's winners pay, then withdrawals.
UNWIND = {
    **BASE,
    "name": "model-unwind",
    "close_out": {**FLATTEN, "take_over_below": "0.3"},
    "waterfall": [
        {"stage": "unwind"},
        {"stage": "socialised_loss", "among": "days_winners"},
        {"stage": "withdrawal_haircut"},
    ],
}

# A fifth, and all of it for a while after; a vault without bounds.
FIFTH = {
    **BASE,
    "name": "model-fifth",
    "close_out": {
        "method": "reduce_by_share",
        "share": "0.2",
        "share_above": "4000",
        "whole_within_seconds": 600,
        "limit": "any_price",
        "take_over_below": "0.5",
    },
    "withdrawals": {"kept_of_notional": "0.1"},
    "waterfall": [{"stage": "backstop_vault", "solvent_only": True}, adl("return_times_leverage", "mark"), VENUE],
}

# Whoever the lot falls on, in coin and at the bankruptcy price; an inverse fund takes what it may.
LOTTERY = {
    **COINS,
    "name": "model-lottery",
    "close_out": {"method": "reduce_to_target", "target": "0.8", "limit": "bankruptcy", "surplus": "insurance_fund"},
    "liquidation_fee": {"first": "0.00005", "later": "0.0001", "rate": "0.003", "capped": True},
    "waterfall": [
        {"stage": "insurance_fund_takes", "capacity": "0.02"},
        adl("random", seed=7),
        FUND,
        {"stage": "customer_owes"},
    ],
}

_PRICES = {"BTC": 500_000, "ETH": 300_000, "FINE": 25_000_000_123}
_SIZES = {"BTC": 60, "ETH": 60, "FINE": 30}
_COIN_PRICES, _COIN_SIZES = {"XBTUSD": 100_000, "XBTM": 71_429}, {"XBTUSD": 20, "XBTM": 60}

WATERFALLS = (
    Setting("takers", document(TAKERS), _PRICES, _SIZES, 3_000_000_000, limited=True),
    Setting("vault", document(VAULT), _PRICES, _SIZES, 3_000_000_000, limited=True),
    Setting("coin-waterfall", document(COINS), _COIN_PRICES, _COIN_SIZES, 1_000_000, limited=True),
    Setting("unwind", document(UNWIND), _PRICES, _SIZES, 3_000_000_000, limited=True),
    Setting("lottery", document(LOTTERY), _COIN_PRICES, _COIN_SIZES, 1_000_000, limited=True),
)

# Winners instead of the fund once it would be down by a third within an hour, at a price or at the mark.
DRAWDOWN = {
    **BASE,
    "name": "model-drawdown",
    "close_out": {**FLATTEN, "take_over_below": "0.4", "surplus": "insurance_fund"},
    "insurance_fund": {"initial": "1500"},
    "liquidation_fee": {"rate": "0.01", "payee": "insurance_fund"},
    "withdrawals": {"gated_seconds": 90},
    "waterfall": [
        adl("leveraged_return", "drawdown", drawdown="0.33", drawdown_hours=1),
        {"stage": "insurance_fund_takes", "capacity": "30000"},
        adl("return_times_leverage", "mark", drawdown="0.1", drawdown_hours=3),
        adl("leveraged_return"),
        FUND,
        VENUE,
    ],
}

# Providers with an equity of their own, of which they take no more than a part within two minutes.
PROVIDERS = {
    **BASE,
    "name": "model-providers",
    "close_out": {**FLATTEN, "take_over_below": "0.5"},
    "waterfall": [
        {
            "stage": "liquidity_providers",
            "equity": "9000",
            "capacity_of_equity": "2.5",
            "share_of_equity": "0.7",
            "within_seconds": 120,
        },
        {"stage": "unwind"},
        VENUE,
    ],
}

SPECIAL = (
    Setting("providers", document(PROVIDERS), _PRICES, _SIZES, 3_000_000_000, limited=True),
    Setting("fifth", document(FIFTH), _PRICES, _SIZES, 3_000_000_000, limited=True),
    Setting("drawdown", document(DRAWDOWN), _PRICES, _SIZES, 3_000_000_000, limited=True),
)
"""What single venues have."""


def hedged(setting: Setting, table: dict[str, Any], *markets: str) -> Setting:
    """The same where these contracts have a hedge mode: streams trade the legs as well as the contracts."""
    contracts = {
        name: {**own, "hedge_mode": True} if name in markets else own for name, own in table["contracts"].items()
    }
    own = document({**table, "name": f"{table['name']}-hedged", "contracts": contracts})
    found: tuple[dict[str, int], dict[str, int]] = {}, {}
    for given, made in zip((setting.prices, setting.sizes), found, strict=True):
        for name, number in given.items():
            made |= {name: number} | ({f"{name}:{leg}": number for leg in ("long", "short")} if name in markets else {})
    return replace(setting, name=f"{setting.name}-hedged", document=own, prices=found[0], sizes=found[1])


HEDGED = (
    hedged(WATERFALLS[0], TAKERS, "BTC"),
    hedged(WATERFALLS[1], VAULT, "BTC", "ETH"),
    hedged(WATERFALLS[2], COINS, "XBTUSD", "XBTM"),
    hedged(WATERFALLS[3], UNWIND, "ETH"),
    hedged(WATERFALLS[4], LOTTERY, "XBTM"),
    hedged(SETTINGS[1], US, "MES", "PERP"),
)
