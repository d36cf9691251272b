"""From a rulebook's table to the engine's units: every number is read, bounded and converted here, once.

`InputError` names the key (``contracts.MES.tiers[0].initial_margin``); the loader puts the file in front.
"""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from closeout.core.contracts import Contract, Kind
from closeout.core.margin import MarginKind, MarginTier, Tiers, Window
from closeout.core.sessions import END_OF_DAY, INTRADAY, Holiday, Session, SessionTable
from closeout.core.units import (
    CURRENCIES,
    MAX_CONTRACTS,
    MAX_RATE,
    RATE,
    Currency,
    InputError,
    decimal,
)
from closeout.rulebooks import funding, mechanisms
from closeout.rulebooks.policy import (
    ContractPolicy,
    MarkPolicy,
    Policy,
    ReceivablePolicy,
)
from closeout.rulebooks.schema import (
    ContractTable,
    MarksTable,
    RulebookTable,
    SessionTables,
    TierTable,
    WindowTable,
)
from closeout.rulebooks.values import read_money, read_positive, read_rate, read_wall_time, read_whole

_SECOND = 10**9


def build_policy(table: RulebookTable, digest: str) -> Policy:
    """The engine's view of a resolved rulebook."""
    currency = CURRENCIES.get(table.currency)
    if currency is None:
        raise InputError(f"currency: expected one of {', '.join(CURRENCIES)}, got {table.currency!r}")
    windows = {name: _window(name, window) for name, window in table.windows.items()}
    sessions = {name: _session(name, session) for name, session in table.sessions.items()}
    needed = [table.opening_window, *((INTRADAY, END_OF_DAY) if sessions else ())]
    for name in needed:
        if name not in windows:
            raise InputError(f"windows.{name}: expected a window of this name")
    if len(table.contracts) > MAX_CONTRACTS:
        raise InputError(f"contracts: expected at most {MAX_CONTRACTS}, got {len(table.contracts)}")
    contracts = {name: _contract(name, given, currency, sessions) for name, given in table.contracts.items()}
    if table.settlement is not None:
        read_whole("settlement.period_minutes", table.settlement.period_minutes, 0, 24 * 60)
    floor = table.net_liq_floor
    multiplier, held = _news(table, contracts)
    receivable = table.receivable
    return Policy(
        name=table.name,
        version=table.version,
        digest=digest,
        currency=currency,
        contracts=contracts,
        sessions=sessions,
        windows=windows,
        opening_window=table.opening_window,
        net_liq_floor=None if floor is None else read_money("net_liq_floor", floor, currency, signed=True),
        close_out=mechanisms.close_out(table.close_out, currency),
        waterfall=mechanisms.waterfall(table, currency),
        insurance_fund=None
        if table.insurance_fund is None
        else read_money("insurance_fund.initial", table.insurance_fund.initial, currency),
        liquidation_fee=mechanisms.liquidation_fee(table, currency),
        restrict_after_liquidation=table.restriction is not None and table.restriction.after_liquidation,
        news_multiplier=multiplier,
        news_held=held,
        marks=_marks(table.marks),
        receivable=ReceivablePolicy(
            read_rate("receivable.daily_interest", receivable.daily_interest, 0, RATE),
            read_whole(
                "receivable.closing_only_after_business_days", receivable.closing_only_after_business_days, 0, 10_000
            ),
        ),
        funding=None if table.funding is None else funding.build(table.funding, contracts),
    )


# -- margin tiers ------------------------------------------------------------------------------------


def build_tiers(tables: list[TierTable], contract: Contract, where: str) -> Tiers:
    """Margin tiers in ascending order; each tier requires something at every margin level, never zero (G-06)."""
    if not tables:
        raise InputError(f"{where}: expected at least one tier")
    tiers: list[MarginTier] = []
    for index, table in enumerate(tables):
        key = f"{where}[{index}]"
        tier = _tier(table, contract, key)
        if not tiers and tier.notional_from != 0:
            raise InputError(f"{key}.notional_from: expected 0 for the first tier, got {table.notional_from}")
        if tiers and tier.notional_from <= tiers[-1].notional_from:
            raise InputError(f"{key}.notional_from: expected more than the tier before, got {table.notional_from}")
        tiers.append(tier)
    return tuple(tiers)


_Margin = tuple[int, int, int]  # rate, micros a lot, micros deducted


def _tier(table: TierTable, contract: Contract, key: str) -> MarginTier:
    notional_from = read_money(f"{key}.notional_from", table.notional_from, contract.currency)
    maintenance = _stated(key, "maintenance", table.maintenance_margin_rate, table.maintenance_margin, contract)
    initial = _stated(key, "initial", table.initial_margin_rate, table.initial_margin, contract)
    intraday = _stated(key, "intraday", table.intraday_margin_rate, table.intraday_margin, contract)
    if table.maintenance_amount is not None:
        amount = read_money(f"{key}.maintenance_amount", table.maintenance_amount, contract.currency)
        if maintenance is None or notional_from * maintenance[0] < amount * RATE:
            raise InputError(f"{key}.maintenance_amount: expected no more than the margin at the tier's start")
        maintenance = (maintenance[0], maintenance[1], amount)
    if table.max_leverage is not None:
        leverage = read_positive(f"{key}.max_leverage", table.max_leverage)
        if leverage < Decimal("0.5"):
            raise InputError(f"{key}.max_leverage: expected at least 0.5, got {table.max_leverage}")
        # Rounded up: a third of the notional is not a whole number of rate units, and requirements go up.
        initial = initial or (math.ceil(RATE / leverage), 0, 0)
    initial = initial or maintenance
    if initial is None:
        raise InputError(f"{key}: expected a maintenance or an initial margin above zero, got neither")
    maintenance = maintenance or initial
    intraday = intraday or initial
    for name, lower in (("intraday", intraday), ("maintenance", maintenance)):
        if lower[:2] != initial[:2] and lower[0] >= initial[0] and lower[1] >= initial[1]:
            raise InputError(f"{key}: expected {name} margin to be no more than initial margin")
    rates, per_lots, amounts = zip(intraday, initial, maintenance, strict=True)  # the order of MarginKind
    return MarginTier(notional_from, rates, per_lots, amounts)


def _stated(key: str, name: str, rate_text: str | None, money_text: str | None, contract: Contract) -> _Margin | None:
    """One margin level as the tier states it, None where it does not."""
    if rate_text is None and money_text is None:
        return None
    margin_rate = 0 if rate_text is None else read_rate(f"{key}.{name}_margin_rate", rate_text, 0, MAX_RATE)
    per_lot = 0
    if money_text is not None:
        micros = decimal(money_text, f"{key}.{name}_margin") * contract.lot * 10**contract.currency.places
        if not 0 <= micros <= 10**15:
            raise InputError(f"{key}.{name}_margin: expected an amount from 0 to a thousand million, got {money_text}")
        per_lot = math.ceil(micros)
    if margin_rate == 0 and per_lot == 0:
        field = f"{name}_margin_rate" if money_text is None else f"{name}_margin"
        raise InputError(f"{key}.{field}: expected a margin above zero, got {rate_text or money_text}")
    return margin_rate, per_lot, 0


# -- the other tables --------------------------------------------------------------------------------


def _contract(name: str, table: ContractTable, currency: Currency, sessions: dict[str, Session]) -> ContractPolicy:
    key = f"contracts.{name}"
    tick = read_positive(f"{key}.tick", table.tick)
    size = read_positive(f"{key}.contract_size", table.contract_size)
    if table.tick_value is not None and decimal(table.tick_value, f"{key}.tick_value") != tick * size:
        raise InputError(f"{key}.tick_value: expected tick x contract_size = {tick * size}, got {table.tick_value}")
    if table.session is not None and table.session not in sessions:
        raise InputError(f"{key}.session: expected one of {', '.join(sessions) or 'none'}, got {table.session!r}")
    try:
        contract = Contract.define(
            name,
            kind=Kind(table.kind),
            currency=currency,
            tick=tick,
            lot=read_positive(f"{key}.lot", table.lot),
            contract_size=size,
            taker_fee=read_rate(f"{key}.taker_fee", table.taker_fee, 0, RATE),
            fee_per_contract=decimal(table.fee_per_contract, f"{key}.fee_per_contract"),
            negative_prices=table.negative_prices,
        )
    except InputError as error:
        raise InputError(str(error).replace(f"{name}: ", f"{key}.", 1)) from None
    tiers = build_tiers(table.tiers, contract, f"{key}.tiers")
    expected_cost = read_rate(f"{key}.expected_cost", table.expected_cost, 0, RATE)
    return ContractPolicy(contract, tiers, table.session, expected_cost, tuple(table.stands_for))


def _window(name: str, table: WindowTable) -> Window:
    key = f"windows.{name}"
    alert = read_rate(f"{key}.alert", table.alert, RATE // 2, 4 * RATE)
    liquidate_only = read_rate(f"{key}.liquidate_only", table.liquidate_only, RATE // 2, 4 * RATE)
    auto_liquidate = read_rate(f"{key}.auto_liquidate", table.auto_liquidate, RATE // 2, 4 * RATE)
    if not alert <= liquidate_only <= auto_liquidate:
        raise InputError(f"{key}: expected alert <= liquidate_only <= auto_liquidate")
    return Window(name, MarginKind[table.requirement.upper()], alert, liquidate_only, auto_liquidate)


def _session(name: str, tables: SessionTables) -> Session:
    key = f"sessions.{name}"
    hours = tuple(
        SessionTable(
            valid_from=table.valid_from,
            opens=read_wall_time(f"{key}.tables[{index}].opens", table.opens),
            closes=read_wall_time(f"{key}.tables[{index}].closes", table.closes),
            switch_minutes_before_close=read_whole(
                f"{key}.tables[{index}].switch_minutes_before_close", table.switch_minutes_before_close, 1, 24 * 60
            ),
            always_open=table.always_open,
        )
        for index, table in enumerate(tables.tables)
    )
    holidays: list[Holiday] = []
    for index, table in enumerate(tables.holidays):
        where = f"{key}.holidays[{index}]"
        if table.closed + (table.early_close is not None) + (table.halt is not None) != 1:
            raise InputError(f"{where}: expected one of closed, early_close and halt")
        closes = table.early_close or table.halt
        at = (
            None
            if closes is None
            else read_wall_time(f"{where}.{'early_close' if table.early_close else 'halt'}", closes)
        )
        holidays.append(Holiday(table.date, at, merged=table.halt is not None))
    try:
        return Session(name, tables.time_zone, hours, tuple(holidays))
    except InputError as error:
        raise InputError(f"{key}.{error}") from None


def _news(table: RulebookTable, contracts: dict[str, ContractPolicy]) -> tuple[int, bool]:
    """The multiplier (1 where the rulebook has no news windows) and whether it reaches positions held."""
    news = table.news
    if news is None:
        return RATE, False
    multiplier = read_rate("news.multiplier", news.multiplier, RATE, 100 * RATE)
    for name, given in contracts.items():
        if any(tier.rate[MarginKind.INTRADAY] * multiplier > MAX_RATE * RATE for tier in given.tiers):
            raise InputError(f"news.multiplier: {news.multiplier} x intraday margin of {name} is above 200 %")
    for field in ("before_minutes", "after_minutes"):
        read_whole(f"news.{field}", getattr(news, field), 0, 24 * 60)
    return multiplier, news.scope == "all"


def _marks(table: MarksTable) -> MarkPolicy:
    return MarkPolicy(
        jump=None if table.jump is None else read_rate("marks.jump", table.jump, 1, 100 * RATE),
        stale_after=read_whole("marks.stale_after_seconds", table.stale_after_seconds, 1, 366 * 86400) * _SECOND,
        unpriced_move=read_rate("marks.unpriced_move", table.unpriced_move, 1, RATE),
    )


def decode_tiers(document: bytes, key: str) -> list[TierTable]:
    """The JSON list of tier tables of a `SetMargin` command."""
    try:
        return msgspec.json.decode(document, type=list[TierTable])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{key}: {error}") from None
