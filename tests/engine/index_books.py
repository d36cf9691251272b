"""Rulebooks for walks of the index: every mechanism of margin, in numbers that are soon reached."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model import rulebooks, rulebooks_margins
from tests.model.rulebooks import ALWAYS, END_OF_DAY, HEAD, HOURS, INTRADAY, MARKS, RECEIVABLE, document

from closeout.rulebooks import loader

STEPS = [
    {"intraday_margin_rate": "0.05", "initial_margin_rate": "0.1"},
    {"notional_from": "2500.01", "intraday_margin_rate": "0.07", "initial_margin_rate": "0.2"},
    {"notional_from": "9000", "initial_margin_rate": "0.3", "maintenance_margin_rate": "0.25"},
]
BRACKETS = [
    {"initial_margin_rate": "0.1", "maintenance_margin_rate": "0.05"},
    {
        "notional_from": "3000", "initial_margin_rate": "0.2", "initial_amount": "300",
        "maintenance_margin_rate": "0.1", "maintenance_amount": "150",
    },
]  # fmt: skip
FALLS = [
    {"initial_margin_rate": "0.2", "maintenance_margin_rate": "0.15"},
    {
        "notional_from": "4000", "initial_margin_rate": "0.25", "initial_amount": "700",
        "maintenance_margin_rate": "0.2", "maintenance_amount": "600",
    },
]  # fmt: skip
"""Where the second begins, less is needed than a tick before."""
SLOPED = {
    "intraday_margin_rate": "0.015", "initial_margin_rate": "0.02", "initial_margin_slope": "0.0019",
}  # fmt: skip
ROOTED = {
    "intraday_margin_rate": "0.015", "initial_margin_rate": "0.02", "initial_margin_root": "0.0113",
    "root_within_rate": "0.7",
}  # fmt: skip
BENT = {"initial_margin_rate": "0.02", "initial_margin_slope": "0.037", "maintenance_margin_rate": "0.01"}

CONTRACTS: dict[str, Any] = {
    "ONE": {"tick": "0.01", "lot": "1", "tiers": STEPS, "session": "day"},
    "NEGATIVE": {"tick": "0.01", "lot": "1", "tiers": STEPS, "session": "day", "negative_prices": True},
    "TINY": {"tick": "0.000001", "lot": "0.3", "tiers": STEPS, "session": "night"},
    "LOTS": {
        "tick": "0.25", "lot": "1", "contract_size": "5", "session": "day",
        "tiers": [{"intraday_margin": "33.33", "initial_margin": "100"}],
    },
    "KINK": {
        "tick": "0.01", "lot": "1", "session": "day",
        "tiers": [{"intraday_margin_rate": "0.3", "initial_margin_rate": "0.31", "initial_margin": "40"}],
    },
    "COIN": {"kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "100", "tiers": STEPS, "session": "night"},
    "BRACKETS": {
        "tick": "0.01", "lot": "1", "session": "day", "taker_fee": "0.0007", "close_fee_in_requirement": True,
        "tiers": BRACKETS,
    },
    "BANKRUPT": {
        "tick": "0.01", "lot": "1", "session": "night", "taker_fee": "0.0007", "close_fee_in_requirement": True,
        "close_fee_on": "bankruptcy", "tiers": BRACKETS,
    },
    "ENTRY": {
        "tick": "0.01", "lot": "1", "tiers": STEPS, "session": "night", "requirement_base": "entry",
        "taker_fee": "0.0003", "close_fee_in_requirement": True,
    },
    "BENT": {
        "kind": "inverse", "tick": "0.5", "lot": "1", "contract_size": "100", "session": "day",
        "tiers": [BENT, {"notional_from": "20", "initial_margin_rate": "0.5", "initial_margin_slope": "0.04"}],
    },
    "SLOPED": {"tick": "0.01", "lot": "1", "session": "night", "tiers": [SLOPED]},
    "ROOTED": {"tick": "0.01", "lot": "1", "session": "night", "tiers": [ROOTED]},
    "STEEP": {
        "tick": "0.01", "lot": "1", "session": "day", "negative_prices": True,
        "tiers": [{"intraday_margin_rate": "1.5", "initial_margin_rate": "1.9"}],
    },
    "FALLS": {"tick": "0.01", "lot": "1", "session": "day", "tiers": FALLS},
}  # fmt: skip
PRICES = {name: 2000 for name in CONTRACTS} | {"TINY": 3_000_000, "COIN": 120_000, "BENT": 90_000, "STEEP": 300}

MECHANISMS: dict[str, Any] = {
    **HEAD,
    "name": "index-mechanisms",
    "opening_window": "intraday",
    "net_liq_floor": "5",
    "windows": {"intraday": INTRADAY, "end_of_day": END_OF_DAY, "always": ALWAYS},
    "contracts": CONTRACTS,
    "sessions": {name: {"time_zone": "America/Chicago", "tables": [HOURS]} for name in ("day", "night")},
    "close_out": {"method": "flatten_all"},
    "marks": MARKS,
    "receivable": RECEIVABLE,
}


NETTING = MECHANISMS | {
    "name": "index-netting",
    "contracts": {
        name: own | {"netting_group": "" if name in ("LOTS", "ENTRY") else own["session"]}
        for name, own in CONTRACTS.items()
    },
}
"""The contracts of a session net, but for two."""

NEARLY = {"intraday_margin_rate": "0.02", "initial_margin_rate": "0.3"}
"""37 times the first, at 80 % usage, is nearly what a position wins or loses."""


def alone(name: str, **changes: Any) -> bytes:
    """A rulebook with one contract, without a floor, where initial margin is required at all times."""
    table = {key: value for key, value in MECHANISMS.items() if key != "net_liq_floor"}
    return document(
        table | {
            "name": f"index-{name.lower()}",
            "windows": {"intraday": END_OF_DAY, "end_of_day": END_OF_DAY},
            "contracts": {name: CONTRACTS[name] | {"session": "day"} | changes},
            "sessions": {"day": MECHANISMS["sessions"]["day"]},
        }
    )  # fmt: skip


class Start(NamedTuple):
    """A rulebook's document, prices in ticks to begin with, and what positions are usually worth in micros, where that
    matters."""

    document: bytes
    prices: dict[str, int]
    worths: dict[str, int]


def starts() -> dict[str, Start]:
    """Every rulebook by name, shipped ones with their variants. Alone stand a contract with slack that goes first and
    comes back further on, one whose margin outgrows its profit further on, one whose margin falls where a tier begins,
    one whose margin outgrows any profit, and one of which a tick is worth less than a micro."""
    found = {
        "mechanisms": Start(document(MECHANISMS), PRICES, {}),
        "kink": Start(alone("KINK"), {"KINK": 4400}, {}),
        "bent": Start(alone("BENT", tiers=[BENT]), PRICES, {"BENT": 11_000_000}),
        "falls": Start(alone("FALLS"), PRICES, {"FALLS": 4_000_000_000}),
        "steep": Start(alone("STEEP"), PRICES, {}),
        "netting": Start(document(NETTING), PRICES, {}),
        "tiny": Start(alone("TINY", tiers=[NEARLY]), PRICES, {"TINY": 2_000_000}),
    }
    found |= {name: Start(loader.load(name).document(), {}, {}) for name in loader.names()}
    for setting in (*rulebooks.SETTINGS, *rulebooks_margins.SETTINGS):
        found[f"model-{setting.name}"] = Start(setting.document, setting.prices, {})
    return found
