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

    An amount makes brackets of tiers: with the right one a rate holds for what lies above the tier's start alone;
    "continuous" is that one, worked out of the tier before (its amount + start x what the rate grows by). A
    slope is added to the rate for each coin of size (quantity x `contract_size`, of an inverse contract its value in
    the coin), rounded up to 1e-9; rate and slope together are at most 200 %. A root is such a slope of the square root
    of the coins, of a linear contract; of the root the first `root_within_rate` x the rate add nothing.
    """

    notional_from: str = "0"
    max_leverage: str | None = None
    intraday_margin_rate: str | None = None
    intraday_margin: str | None = None
    initial_margin_rate: str | None = None
    initial_margin: str | None = None
    initial_margin_slope: str | None = None
    initial_margin_root: str | None = None
    initial_amount: str | None = None
    maintenance_margin_rate: str | None = None
    maintenance_margin: str | None = None
    maintenance_margin_slope: str | None = None
    maintenance_margin_root: str | None = None
    maintenance_amount: str | None = None
    root_within_rate: str = "0"


class ContractTable(Stated, frozen=True, kw_only=True):
    """One contract. `tick_value` is a check: what one tick of a quantity of one is worth, `tick` x `contract_size`.

    `requirement_base`: whether margin is a share of what the position is worth at the mark, or was at entry.
    `close_fee_in_requirement`: every margin includes the taker fee of closing, on the same value, or with
    `close_fee_on` "bankruptcy" on what is left of it when the tiers' initial margin is lost. Between an open
    interest (what is held long, at the mark) of `open_interest_lower` and `open_interest_upper` the initial margin rate
    of orders rises to 100 %.

    `hedge_mode`: an account may hold a long and a short of the contract side by side. Each is a contract of its own
    beside the plain one, ``NAME:long`` and ``NAME:short``, with the same terms, price and hours; each carries its own
    requirement, is closed out and deleveraged by itself, and holds its own side alone. A slope, or initial margin that
    rises with open interest, does not go with it.

    `netting_group`: of what an account holds in the contracts of one group, all in the same session, longs and shorts
    are not asked for margin both: only the side that needs more is, at every margin level. A position that is isolated
    is an account of its own and nets with nothing beside it. Hedge mode, `of_rest` and
    `reduce_to_target` do not go with it.

    How the venue states a liquidation price, which no verdict reads (G-05): in steps of `liquidation_price_tick`, or of
    `tick`, rounded to the side on which the position is still safe (BitMEX, Bybit, KuCoin), or for an isolated position
    one such step nearer to the entry than where it is (OKX). And a bankruptcy price: where nothing is left, or with
    `bankruptcy_price_after_fee` where nothing is left once the taker fee of closing there is paid (Phemex).
    """

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
    requirement_base: Literal["mark", "entry"] = "mark"
    close_fee_in_requirement: bool = False
    close_fee_on: Literal["value", "bankruptcy"] = "value"
    open_interest_lower: str | None = None
    open_interest_upper: str | None = None
    hedge_mode: bool = False
    netting_group: str = ""
    liquidation_price_rounding: Literal["safe", "one_tick_towards_entry"] = "safe"
    liquidation_price_tick: str | None = None
    bankruptcy_price_after_fee: bool = False


class WindowTable(Stated, frozen=True, kw_only=True):
    """Which margin a window requires, and its levels of usage ("1.20" is 120 %) (US-04)."""

    requirement: Literal["intraday", "initial", "maintenance"]
    alert: str
    liquidate_only: str
    auto_liquidate: str


class StepTable(Stated, frozen=True, kw_only=True):
    """One step of a close-out (US-09, EX-02): how much is closed, and at which limit.

    `reduce_by_share` closes `share` of the position every `interval_seconds` while it is worth more than
    `share_above`, and all of it from there on, and all of it within `whole_within_seconds` after a close-out closed
    a part of any position of the customer's; `lower_tier` closes what it takes to reach the margin tier
    `tiers_down` below, or the lowest. An order with a limit is immediate-or-cancel, and what it leaves is the next
    step's; one without works until it is filled, so that no step may follow. `fillable` is the limit that concedes
    up to `spread_to_maintenance` of the maintenance margin, the more the nearer the account is to zero, faster by
    `bankruptcy_adjustment`. A key that a step's method or limit does not read keeps its default.
    """

    method: Literal["flatten_all", "reduce_to_target", "reduce_by_share", "lower_tier"]
    limit: Literal["none", "any_price", "bankruptcy", "fillable"] = "none"
    share: str = "1"
    share_above: str = "0"
    interval_seconds: int = 0
    whole_within_seconds: int = 0
    tiers_down: int = 1
    bankruptcy_adjustment: str = "1"
    spread_to_maintenance: str = "0.1"


class CloseOutTable(StepTable, frozen=True, kw_only=True):
    """The first step, and those that follow it. `target` is the usage at which `reduce_to_target` is cured. Net liq
    below `take_over_below` of the requirement goes to the waterfall at once, and the last step is tried at each look
    until then; without it the waterfall follows the last step, which needs a limit then where stages take positions.
    `surplus`: who keeps what a close-out of everything leaves above zero."""

    target: str = "1.00"
    take_over_below: str | None = None
    surplus: Literal["customer", "insurance_fund"] = "customer"
    then: list[StepTable] = []


class LiquidationFeeTable(Stated, frozen=True, kw_only=True):
    """US-10: an amount an event. EX-02: `rate` of what each close-out order fills; never more than is left of the
    account where `capped`. With `of_rest` the rate is at most that share of what the position's requirement has left
    when the fee of the trade and what the account is short of its target are taken off (Drift)."""

    first: str = "0"
    later: str = "0"
    rate: str = "0"
    of_rest: str | None = None
    payee: Literal["house", "insurance_fund"] = "house"
    capped: bool = False


class InsuranceFundTable(Stated, frozen=True, kw_only=True):
    """EX-03: what the fund begins with."""

    initial: str


class StageTable(Stated, frozen=True, kw_only=True):
    """One stage of the deficit waterfall (EX-02 to EX-05); `engine.waterfall` says what each does.

    Takers (`liquidity_providers`, `insurance_fund_takes`, `backstop_vault`) hold at most `capacity` of notional, or
    `capacity_of_fund` x the fund. Liquidity providers with an `equity` of their own begin with it; they hold at most
    `capacity_of_equity` x it as it stands, and take at most `share_of_equity` x it within each `within_seconds`, which
    begin with the first position taken after the last are over. With `solvent_only` takers take nothing of an account
    below zero. `ranking` and `price` are those of `auto_deleveraging`, `price` of `unwind` too, `seed` that of the
    ranking `random`; `among` that of `socialised_loss`.

    Deleveraging with a `drawdown` takes part only where the fund, were it to bear all that the account is below zero,
    would be down by that share or more from the most that it held in the last `drawdown_hours`; it stands before the
    stages of the fund. At the price `drawdown` winners give what would take the fund further down than that.
    """

    stage: Literal[
        "liquidity_providers", "insurance_fund_takes", "backstop_vault", "auto_deleveraging", "unwind",
        "insurance_fund", "socialised_loss", "withdrawal_haircut", "customer_owes", "venue_bears",
    ]  # fmt: skip
    capacity: str | None = None
    capacity_of_fund: str | None = None
    equity: str | None = None
    capacity_of_equity: str | None = None
    share_of_equity: str | None = None
    within_seconds: int | None = None
    solvent_only: bool = False
    ranking: Literal["leveraged_return", "profit_times_margin_ratio", "return_times_leverage", "random"] | None = None
    price: Literal["bankruptcy", "mark", "previous_mark", "drawdown"] = "bankruptcy"
    seed: int = 0
    among: Literal["days_winners", "positions", "balances"] | None = None
    drawdown: str | None = None
    drawdown_hours: int | None = None


class RestrictionTable(Stated, frozen=True, kw_only=True):
    """US-12: whether a liquidated account is restricted to initial margin."""

    after_liquidation: bool


class WithdrawalsTable(Stated, frozen=True, kw_only=True):
    """US-16. With `gated_seconds` nothing can be withdrawn while a customer's account that holds positions, all of them
    priced, is below zero, and for so long from there on. At least `kept_of_notional` of the notional that it holds, a
    rate, stays with an account, where that is more than its initial margin."""

    gated_seconds: int | None = None
    kept_of_notional: str = "0"


class NewsTable(Stated, frozen=True, kw_only=True):
    """US-08."""

    multiplier: str
    scope: Literal["entry_only", "all"]
    before_minutes: int
    after_minutes: int


class CappedTable(Stated, frozen=True, kw_only=True):
    """EX-06: the interval after one whose rate was at its cap is the longest of `interval_hours` below it. After
    `calm_intervals` shortened ones in a row with rates of at most `calm_rate` either way it is `restored_hours`, or the
    contract's own."""

    interval_hours: list[int]
    calm_rate: str
    calm_intervals: int
    restored_hours: int | None = None


class OwnFundingTable(Stated, frozen=True, kw_only=True):
    """What of `[funding]` is another for one contract; what it leaves out is as there. A cap of either kind replaces
    that of the other."""

    interval_hours: int | None = None
    period_hours: int | None = None
    interest: str | None = None
    clamp: str | None = None
    cap: str | None = None
    cap_of_margins: str | None = None
    capped: CappedTable | None = None


class FundingTable(Stated, frozen=True, kw_only=True):
    """US-14, EX-06: the funding of `contracts` (`core.funding` has the formula); `own` has what is another for some.

    Intervals end at the wall times `interval_ends`, or every `interval_hours` from midnight UTC; `capped` says what
    follows a rate at its cap, where intervals become shorter then. `interest`, `clamp` and
    premiums are for `period_hours` (the interval's own length unless given); `scaled` says what of them becomes the
    interval's share: the whole `rate`, or the `interest` alone. The rate is at most `cap`, or `cap_of_margins` x
    (initial - maintenance margin rate of the first tier), before it is scaled where `cap_for` is the period.

    `known_ahead`: the premiums of the interval before make the rate. `continuous` funding accrues in steps of
    `step_seconds` (the venue's own steps are as short as a millisecond). What accrued becomes cash at the wall time
    `booking`, or at each interval's end. `paid_from`: whether an isolated position pays out of its own margin, or first
    out of what the customer has free.
    """

    contracts: list[str]
    time_zone: str
    interval_ends: list[str] = []
    interval_hours: int | None = None
    period_hours: int | None = None
    averaging: Literal["weighted", "mean", "minute_medians"] = "weighted"
    samples: int | None = None
    interest: str
    clamp: str | None = None
    scaled: Literal["rate", "interest"] = "rate"
    cap: str | None = None
    cap_of_margins: str | None = None
    cap_for: Literal["interval", "period"] = "interval"
    capped: CappedTable | None = None
    notional: Literal["mark", "index"] = "mark"
    known_ahead: bool = False
    accrual: Literal["interval_end", "continuous"] = "interval_end"
    step_seconds: int | None = None
    booking: str | None = None
    paid_from: Literal["position_margin", "balance"] = "position_margin"
    own: dict[str, OwnFundingTable] = {}


class SettlementTable(Stated, frozen=True, kw_only=True):
    """US-24: the settlement period ends with the session; `prices` are the first available of these."""

    period_minutes: int
    prices: list[str]


class MarksTable(Stated, frozen=True, kw_only=True):
    """G-06, G-18. EX-02: `formula` is how the venue works its mark out (`core.marks`); `given` where what it reads,
    such as its order book, is nothing that a user of this file has. The engine is told marks under every formula."""

    formula: Literal["given", "index", "funding_basis", "index_and_basis", "median"] = "given"
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
    """A whole rulebook with one variant and the overrides applied. `overridden` names what overrides replaced. Without
    a waterfall the customer owes."""

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
    waterfall: list[StageTable] = []
    insurance_fund: InsuranceFundTable | None = None
    liquidation_fee: LiquidationFeeTable | None = None
    restriction: RestrictionTable | None = None
    withdrawals: WithdrawalsTable | None = None
    news: NewsTable | None = None
    funding: FundingTable | None = None
    settlement: SettlementTable | None = None
    marks: MarksTable
    receivable: ReceivableTable
    overridden: list[str] = []
