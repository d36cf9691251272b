"""The shape of a rulebook file: TOML, with money, prices and rates as strings, and unknown keys refused (EX-01).

Every table states where its values come from: `source` (tags of ``[sources]``), `as_of`, and in `assumed` the names
of those of its keys whose values nobody published. Tables inside a table inherit its source and date.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from msgspec import Struct


class Stated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table that states parameters."""

    source: str | list[str] = ""
    as_of: dt.date | None = None
    assumed: list[str] = []


class TierTable(Stated, frozen=True, kw_only=True):
    """Margins from `notional_from` on: rate x notional + margin per contract - amount.

    `intraday_margin`, `initial_margin` and `maintenance_margin` are currency per quantity of one. A tier without an
    intraday margin takes its initial; without an initial, 1 / `max_leverage` if given, else its maintenance; without a
    maintenance, its initial.
    """

    notional_from: str = "0"
    max_leverage: str | None = None
    intraday_margin_rate: str | None = None
    intraday_margin: str | None = None
    initial_margin_rate: str | None = None
    initial_margin: str | None = None
    maintenance_margin_rate: str | None = None
    maintenance_margin: str | None = None
    maintenance_amount: str | None = None


class ContractTable(Stated, frozen=True, kw_only=True):
    """One contract. `tick_value` is a check: what one tick of a quantity of one is worth, `tick` x `contract_size`."""

    title: str = ""
    kind: Literal["linear", "inverse"] = "linear"
    tick: str
    lot: str
    contract_size: str = "1"
    tick_value: str | None = None
    taker_fee: str = "0"
    fee_per_contract: str = "0"
    tiers: list[TierTable]
    session: str | None = None
    stands_for: list[str] = []
    expected_cost: str = "0"
    negative_prices: bool = False


class WindowTable(Stated, frozen=True, kw_only=True):
    """Which margin a window requires, and its levels of usage ("1.20" is 120 %) (US-04)."""

    requirement: Literal["intraday", "initial", "maintenance"]
    alert: str
    liquidate_only: str
    auto_liquidate: str


class CloseOutTable(Stated, frozen=True, kw_only=True):
    """US-09; `target` is the usage at which `reduce_to_target` is cured."""

    method: Literal["flatten_all", "reduce_to_target"]
    target: str = "1.00"


class LiquidationFeeTable(Stated, frozen=True, kw_only=True):
    """US-10."""

    first: str
    later: str


class RestrictionTable(Stated, frozen=True, kw_only=True):
    """US-12: whether a liquidated account is restricted to initial margin."""

    after_liquidation: bool


class NewsTable(Stated, frozen=True, kw_only=True):
    """US-08."""

    multiplier: str
    scope: Literal["entry_only", "all"]
    before_minutes: int
    after_minutes: int


class FundingTable(Stated, frozen=True, kw_only=True):
    """US-14: wall times ``HH:MM`` in `time_zone`; `interest` and `clamp` are rates an interval."""

    contracts: list[str]
    time_zone: str
    interval_ends: list[str]
    booking: str
    interest: str
    clamp: str
    samples: int


class SettlementTable(Stated, frozen=True, kw_only=True):
    """US-24: the settlement period ends with the session; `prices` are the first available of these."""

    period_minutes: int
    prices: list[str]


class MarksTable(Stated, frozen=True, kw_only=True):
    """G-06, G-18."""

    jump: str | None = None
    stale_after_seconds: int
    unpriced_move: str


class ReceivableTable(Stated, frozen=True, kw_only=True):
    """US-13."""

    daily_interest: str
    closing_only_after_business_days: int


class SessionHours(Stated, frozen=True, kw_only=True):
    """The hours from a trade date on, as wall times ``HH:MM``; the session opens on the calendar day before where
    `opens` is not before `closes`."""

    valid_from: dt.date
    opens: str
    closes: str
    switch_minutes_before_close: int
    always_open: bool = False


class HolidayTable(Stated, frozen=True, kw_only=True):
    """One of `closed` (no session), `early_close`, or `halt` (closes then, and belongs to the next trade date)."""

    date: dt.date
    closed: bool = False
    early_close: str | None = None
    halt: str | None = None


class SessionTables(Stated, frozen=True, kw_only=True):
    time_zone: str
    tables: list[SessionHours]
    holidays: list[HolidayTable] = []


class RulebookTable(Stated, frozen=True, kw_only=True):
    """A whole rulebook with one variant and the overrides applied. `overridden` names what overrides replaced."""

    name: str
    title: str
    notice: str
    version: str
    currency: str
    opening_window: str
    net_liq_floor: str | None = None
    sources: dict[str, str]
    windows: dict[str, WindowTable]
    contracts: dict[str, ContractTable]
    sessions: dict[str, SessionTables] = {}
    close_out: CloseOutTable
    liquidation_fee: LiquidationFeeTable | None = None
    restriction: RestrictionTable | None = None
    news: NewsTable | None = None
    funding: FundingTable | None = None
    settlement: SettlementTable | None = None
    marks: MarksTable
    receivable: ReceivableTable
    overridden: list[str] = []
