"""Rulebooks for generated streams with brackets, slopes, roots, values at entry, closing fees, open interest."""

from typing import Any

from tests.model.rulebooks import ALWAYS, FINE, HEAD, MARKS, RECEIVABLE, Setting, document

BRACKETS = [
    {"initial_margin_rate": "0.04", "maintenance_margin_rate": "0.02"},
    {
        "notional_from": "8000",
        "initial_margin_rate": "0.06",
        "initial_amount": "continuous",
        "maintenance_margin_rate": "0.03",
        "maintenance_amount": "80",
    },
]
GROWING = {
    "intraday_margin_rate": "0.03",
    "initial_margin_rate": "0.05",
    "initial_margin_slope": "0.000123",
    "maintenance_margin_rate": "0.02",
    "maintenance_margin_slope": "0.000101",
}

ROOTED = {
    "intraday_margin_rate": "0.03",
    "initial_margin_rate": "0.05",
    "initial_margin_root": "0.0211",
    "maintenance_margin_rate": "0.02",
    "maintenance_margin_root": "0.0123",
    "root_within_rate": "0.4",
}

MARGINS: dict[str, Any] = {
    **HEAD,
    "name": "model-margins",
    "opening_window": "always",
    "windows": {"always": ALWAYS},
    "contracts": {
        "BTC": {
            "tick": "0.1", "lot": "0.01", "taker_fee": "0.0005", "expected_cost": "0.001",
            "close_fee_in_requirement": True, "close_fee_on": "bankruptcy", "tiers": BRACKETS,
        },
        "ETH": {"tick": "0.01", "lot": "0.1", "taker_fee": "0.0007", "tiers": [GROWING]},
        "ENTRY": {
            "tick": "0.01", "lot": "0.1", "taker_fee": "0.0007", "expected_cost": "0.002",
            "requirement_base": "entry", "close_fee_in_requirement": True, "tiers": BRACKETS,
        },
        "FINE": {
            **FINE,
            "requirement_base": "entry", "open_interest_lower": "1000", "open_interest_upper": "9000.5",
        },
    },
    "close_out": {"method": "reduce_to_target", "target": "0.80"},
    "liquidation_fee": {"first": "10", "later": "10"},
    "marks": MARKS,
    "receivable": RECEIVABLE,
}  # fmt: skip

# The same, closed out tier by tier; winners are ranked by margin.
STEPS = {
    **MARGINS,
    "name": "model-margin-steps",
    "contracts": {**MARGINS["contracts"], "ETH": {**MARGINS["contracts"]["ETH"], "tiers": [ROOTED]}},
    "close_out": {
        "method": "lower_tier",
        "limit": "any_price",
        "then": [{"method": "flatten_all", "limit": "bankruptcy"}],
    },
    "waterfall": [
        {"stage": "auto_deleveraging", "ranking": "profit_times_margin_ratio", "price": "mark"},
        {"stage": "customer_owes"},
    ],
}

COINS: dict[str, Any] = {
    **HEAD,
    "name": "model-coin-margins",
    "currency": "BTC",
    "opening_window": "always",
    "windows": {"always": ALWAYS},
    "contracts": {
        "XBTUSD": {
            "kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "100", "taker_fee": "0.0005",
            "close_fee_in_requirement": True,
            "tiers": [
                {
                    **GROWING, "initial_margin_slope": "0.8", "maintenance_margin_slope": "0.71",
                },
                {
                    "notional_from": "0.02",
                    **GROWING, "initial_margin_slope": "0.5", "maintenance_margin_slope": "0.4",
                },
            ],
        },
        "XBTM": {
            "kind": "inverse", "tick": "0.7", "lot": "1", "contract_size": "10", "taker_fee": "0.0003",
            "requirement_base": "entry", "close_fee_in_requirement": True, "close_fee_on": "bankruptcy",
            "open_interest_lower": "0.01", "open_interest_upper": "0.1",
            "tiers": [{"initial_margin_rate": "0.05", "maintenance_margin_rate": "0.025"}],
        },
    },
    "close_out": {"method": "reduce_to_target", "target": "0.9"},
    "liquidation_fee": {"first": "0.00005", "later": "0.0001"},
    "marks": MARKS,
    "receivable": RECEIVABLE,
}  # fmt: skip

# A perpetual and two dated futures of one underlying.
NETTING = {
    **STEPS,
    "name": "model-netting",
    "contracts": {
        "BTC": {**MARGINS["contracts"]["BTC"], "netting_group": "bitcoin"},
        "BTC_NEXT": {
            "tick": "0.1", "lot": "0.01", "taker_fee": "0.0005", "netting_group": "bitcoin", "tiers": [GROWING],
        },
        "BTC_LAST": {
            "tick": "0.1", "lot": "0.01", "taker_fee": "0.0007", "netting_group": "bitcoin", "tiers": BRACKETS,
            "requirement_base": "entry", "close_fee_in_requirement": True,
        },
    },
}  # fmt: skip

_PRICES = {"BTC": 500_000, "ETH": 300_000, "ENTRY": 300_000, "FINE": 25_000_000_123}
_SIZES = {"BTC": 30, "ETH": 300, "ENTRY": 90, "FINE": 30}

SETTINGS = (
    Setting("margins", document(MARGINS), _PRICES, _SIZES, 3_000_000_000),
    Setting("margin-steps", document(STEPS), _PRICES, _SIZES, 3_000_000_000, limited=True),
    Setting(
        "netting",
        document(NETTING),
        {"BTC": 500_000, "BTC_NEXT": 505_000, "BTC_LAST": 512_345},
        {"BTC": 10, "BTC_NEXT": 12, "BTC_LAST": 8},
        3_000_000_000,
        limited=True,
    ),
    Setting(
        "coin-margins", document(COINS), {"XBTUSD": 100_000, "XBTM": 71_429}, {"XBTUSD": 20, "XBTM": 60}, 1_000_000
    ),
)
