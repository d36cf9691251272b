"""Small rulebooks for generated streams: the mechanics of the shipped ones, with numbers that are soon reached."""

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec

from closeout.rulebooks.loader import Rulebook


@dataclass(frozen=True)
class Setting:
    """A rulebook, first prices in ticks, the usual size of an order in lots, by contract, and a comfortable deposit
    in micros. `limited`: close-outs have limits and a waterfall, so that their orders must often end unfilled."""

    name: str
    document: bytes = field(repr=False)
    prices: dict[str, int]
    sizes: dict[str, int]
    wealth: int
    limited: bool = False


HEAD = {"title": "model", "notice": "model", "version": "1", "sources": {}, "currency": "USD"}
RECEIVABLE = {"daily_interest": "0.001", "closing_only_after_business_days": 2}
MARKS = {"jump": "0.25", "stale_after_seconds": 3600, "unpriced_move": "0.5"}
ALWAYS = {"requirement": "maintenance", "alert": "0.80", "liquidate_only": "1.00", "auto_liquidate": "1.00"}
INTRADAY = {"requirement": "intraday", "alert": "0.80", "liquidate_only": "1.00", "auto_liquidate": "1.20"}
END_OF_DAY = {"requirement": "initial", "alert": "0.80", "liquidate_only": "1.00", "auto_liquidate": "1.00"}
HOURS = {"valid_from": "2020-01-01", "opens": "17:00", "closes": "16:00", "switch_minutes_before_close": 15}

# A tick of a lot is 0.003 micros: values are held in thousandths of a micro.
FINE = {
    "tick": "0.0000001",
    "lot": "0.1",
    "contract_size": "0.3",
    "taker_fee": "0.00045",
    "tiers": [{"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"}],
}

REFERENCE: dict[str, Any] = {
    **HEAD,
    "name": "model-reference",
    "opening_window": "always",
    "windows": {"always": ALWAYS},
    "contracts": {
        "BTCUSDT": {
            "tick": "0.01",
            "lot": "0.0001",
            "tiers": [{"initial_margin_rate": "0.01", "maintenance_margin_rate": "0.005"}],
        },
        "SOLUSDT": {
            "tick": "0.01",
            "lot": "0.0001",
            "tiers": [{"initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}],
        },
        "FINE": FINE,
    },
    "close_out": {"method": "flatten_all"},
    "marks": {key: value for key, value in MARKS.items() if key != "jump"},
    "receivable": {**RECEIVABLE, "daily_interest": "0"},
}

# Fixed dollars a contract, and rates of notional; two windows; a part of the positions is closed.
US: dict[str, Any] = {
    **HEAD,
    "name": "model-us",
    "opening_window": "intraday",
    "net_liq_floor": "0",
    "windows": {"intraday": INTRADAY, "end_of_day": END_OF_DAY},
    "contracts": {
        "MES": {
            "tick": "0.25",
            "lot": "1",
            "contract_size": "5",
            "fee_per_contract": "0.37",
            "session": "globex",
            "tiers": [{"intraday_margin": "50", "initial_margin": "2500", "maintenance_margin": "2300"}],
        },
        "CL": {
            "tick": "0.01",
            "lot": "1",
            "contract_size": "100",
            "fee_per_contract": "0.99",
            "session": "globex",
            "expected_cost": "0.001",
            "negative_prices": True,
            "tiers": [{"intraday_margin": "150", "initial_margin": "700", "maintenance_margin": "600"}],
        },
        "PERP": {
            "tick": "5",
            "lot": "1",
            "contract_size": "0.01",
            "fee_per_contract": "0.15",
            "expected_cost": "0.0005",
            "tiers": [
                {
                    "intraday_margin_rate": "0.25",
                    "initial_margin_rate": "0.3",
                    "maintenance_margin_rate": "0.27",
                    "maintenance_margin": "1.5",
                }
            ],
        },
        "FINE": {**FINE, "session": "globex"},
    },
    "sessions": {"globex": {"time_zone": "America/Chicago", "tables": [HOURS]}},
    "close_out": {"method": "reduce_to_target", "target": "0.80"},
    "liquidation_fee": {"first": "25", "later": "50"},
    "restriction": {"after_liquidation": True},
    "news": {"multiplier": "4", "scope": "entry_only", "before_minutes": 15, "after_minutes": 5},
    "marks": MARKS,
    "receivable": RECEIVABLE,
}

TIERS = [
    {"initial_margin_rate": "0.04", "maintenance_margin_rate": "0.02"},
    {
        "notional_from": "20000",
        "initial_margin_rate": "0.06",
        "maintenance_margin_rate": "0.03",
        "maintenance_amount": "200",
    },
    {
        "notional_from": "60000",
        "max_leverage": "8",
        "maintenance_margin_rate": "0.05",
        "maintenance_amount": "1400",
    },
]

# Intervals that rates at the cap shorten, and isolated positions whose payments come out of free cash.
FUNDING: dict[str, Any] = {
    "contracts": ["BTC", "ETH"],
    "time_zone": "UTC",
    "interval_hours": 8,
    "interest": "0.0001",
    "cap": "0.02",
    "own": {"ETH": {"cap": "0.05"}},
    "capped": {"interval_hours": [4, 1], "calm_rate": "0.0001", "calm_intervals": 2},
    "paid_from": "balance",
}

TIERED: dict[str, Any] = {
    **HEAD,
    "name": "model-tiered",
    "opening_window": "always",
    "windows": {"always": {**ALWAYS, "auto_liquidate": "1.00"}},
    "contracts": {
        "BTC": {"tick": "0.1", "lot": "0.01", "taker_fee": "0.0005", "expected_cost": "0.001", "tiers": TIERS},
        "ETH": {"tick": "0.01", "lot": "0.1", "taker_fee": "0.0007", "expected_cost": "0.002", "tiers": TIERS},
        "FINE": FINE,
    },
    "close_out": {"method": "reduce_to_target", "target": "0.70"},
    "liquidation_fee": {"first": "10", "later": "10"},
    "funding": FUNDING,
    "marks": MARKS,
    "receivable": {**RECEIVABLE, "daily_interest": "0.05"},
}

# Coin-margined: worth 100 or 10 dollars a contract, in bitcoin; with a tick of 0.7 values are sevenths of a micro.
COIN: dict[str, Any] = {
    **HEAD,
    "name": "model-coin",
    "currency": "BTC",
    "opening_window": "always",
    "windows": {"always": ALWAYS},
    "contracts": {
        "XBTUSD": {
            "kind": "inverse",
            "tick": "0.5",
            "lot": "1",
            "contract_size": "100",
            "taker_fee": "0.0005",
            "tiers": [{"initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}],
        },
        "XBTM": {
            "kind": "inverse",
            "tick": "0.7",
            "lot": "1",
            "contract_size": "10",
            "taker_fee": "0.0003",
            "expected_cost": "0.0002",
            "tiers": [
                {"initial_margin_rate": "0.05", "maintenance_margin_rate": "0.025"},
                {
                    "notional_from": "0.01",
                    "initial_margin_rate": "0.08",
                    "maintenance_margin_rate": "0.04",
                    "maintenance_amount": "0.00015",
                },
            ],
        },
    },
    "close_out": {"method": "reduce_to_target", "target": "0.9"},
    "liquidation_fee": {"first": "0.00005", "later": "0.0001"},
    "marks": MARKS,
    "receivable": RECEIVABLE,
}


def document(table: dict[str, Any]) -> bytes:
    """A table in the canonical form in which an engine is given it."""
    return Rulebook.from_document(msgspec.json.encode(table)).document()


def _us_flat() -> dict[str, Any]:
    table = copy.deepcopy(US)
    table["name"] = "model-us-flat"
    table["close_out"] = {"method": "flatten_all"}
    table["windows"]["intraday"]["auto_liquidate"] = "1.00"
    del table["net_liq_floor"]
    return table


_US_PRICES = {"MES": 20_000, "CL": 1_200, "PERP": 12_000, "FINE": 25_000_000_123}
_US_SIZES = {"MES": 6, "CL": 4, "PERP": 8, "FINE": 30}

SETTINGS = (
    Setting(
        "reference",
        document(REFERENCE),
        {"BTCUSDT": 6_000_000, "SOLUSDT": 15_000, "FINE": 25_000_000_123},
        {"BTCUSDT": 2_000, "SOLUSDT": 400_000, "FINE": 30},
        500_000_000,
    ),
    Setting("us", document(US), _US_PRICES, _US_SIZES, 10_000_000_000),
    Setting("us-flat", document(_us_flat()), _US_PRICES, _US_SIZES, 10_000_000_000),
    Setting(
        "tiered",
        document(TIERED),
        {"BTC": 500_000, "ETH": 300_000, "FINE": 25_000_000_123},
        {"BTC": 30, "ETH": 30, "FINE": 30},
        3_000_000_000,
    ),
    Setting("coin", document(COIN), {"XBTUSD": 100_000, "XBTM": 71_429}, {"XBTUSD": 20, "XBTM": 60}, 1_000_000),
)
