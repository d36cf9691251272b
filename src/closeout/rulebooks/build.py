"""From a rulebook's table to the engine's units: every number is read, bounded and converted here, once.

`InputError` names the key (``contracts.MES.tiers[0].initial_margin``); the loader puts the file in front.
"""

from __future__ import annotations

from dataclasses import replace

from closeout.core.contracts import LEGS, Contract, Kind, split_leg
from closeout.core.margin import MarginKind, Window
from closeout.core.marks import READS, MarkFormula
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
from closeout.rulebooks import funding, margins, mechanisms
from closeout.rulebooks.policy import (
    ContractPolicy,
    MarkPolicy,
    Policy,
    ReceivablePolicy,
    ShownPrice,
)
from closeout.rulebooks.schema import (
    ContractTable,
    RulebookTable,
    SessionTables,
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
    contracts = _contracts(table, currency, sessions)
    margins.check_netting(table)
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
        withdrawal_gate=mechanisms.withdrawal_gate(table),
        withdrawal_keep=mechanisms.withdrawal_keep(table),
        news_multiplier=multiplier,
        news_held=held,
        marks=_marks(table),
        receivable=ReceivablePolicy(
            read_rate("receivable.daily_interest", receivable.daily_interest, 0, RATE),
            read_whole(
                "receivable.closing_only_after_business_days", receivable.closing_only_after_business_days, 0, 10_000
            ),
        ),
        funding=None if table.funding is None else funding.build(table.funding, contracts),
    )


# -- the other tables --------------------------------------------------------------------------------


def _contracts(table: RulebookTable, currency: Currency, sessions: dict[str, Session]) -> dict[str, ContractPolicy]:
    """The file's contracts in its order, and behind each that has a hedge mode its legs."""
    found: dict[str, ContractPolicy] = {}
    for name, given in table.contracts.items():
        if split_leg(name)[1]:
            raise InputError(f"contracts.{name}: expected no name of a leg; hedge_mode makes legs of a contract")
        whole = found[name] = _contract(name, given, currency, sessions)
        if given.hedge_mode:
            _check_legs(whole, f"contracts.{name}.hedge_mode")
            legs = (whole.contract.leg(side) for side in LEGS.values())
            found |= {leg.name: replace(whole, contract=leg, stands_for=()) for leg in legs}
    if len(found) > MAX_CONTRACTS:
        raise InputError(f"contracts: expected at most {MAX_CONTRACTS} with their legs, got {len(found)}")
    return found


def _check_legs(whole: ContractPolicy, key: str) -> None:
    if any(slope is not None for tier in whole.tiers for slope in tier.slope):
        raise InputError(f"{key}: expected no margin slope or root beside it")
    if whole.margin.open_interest is not None:
        raise InputError(f"{key}: expected no open_interest_lower beside it")


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
    tiers = margins.build_tiers(table.tiers, contract, f"{key}.tiers")
    rules = margins.margin_rules(table, contract, tiers, key)
    expected_cost = read_rate(f"{key}.expected_cost", table.expected_cost, 0, RATE)
    shown = _shown_price(table, contract, key)
    return ContractPolicy(contract, tiers, table.session, expected_cost, tuple(table.stands_for), rules, shown)


def _shown_price(table: ContractTable, contract: Contract, key: str) -> ShownPrice:
    given = table.liquidation_price_tick
    step = 1 if given is None else read_positive(f"{key}.liquidation_price_tick", given) / contract.tick
    if step != int(step):
        raise InputError(f"{key}.liquidation_price_tick: expected a multiple of the tick {table.tick}, got {given}")
    if table.bankruptcy_price_after_fee and not (contract.taker_fee or contract.fee_per_lot):
        raise InputError(f"{key}.bankruptcy_price_after_fee: expected a taker_fee beside it")
    towards_entry = table.liquidation_price_rounding == "one_tick_towards_entry"
    return ShownPrice(int(step), towards_entry, table.bankruptcy_price_after_fee)


def _window(name: str, table: WindowTable) -> Window:
    key = f"windows.{name}"
    alert = read_rate(f"{key}.alert", table.alert, RATE // 2, 4 * RATE)  # kernels.assess counts on a half
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
        if any(tier.slope[MarginKind.INTRADAY] for tier in given.tiers):
            raise InputError(f"news: expected no intraday margin with a slope beside it, as {name} has it")
        if any(tier.rate[MarginKind.INTRADAY] * multiplier > MAX_RATE * RATE for tier in given.tiers):
            raise InputError(f"news.multiplier: {news.multiplier} x intraday margin of {name} is above 200 %")
    for field in ("before_minutes", "after_minutes"):
        read_whole(f"news.{field}", getattr(news, field), 0, 24 * 60)
    return multiplier, news.scope == "all"


def _marks(rulebook: RulebookTable) -> MarkPolicy:
    table, formula = rulebook.marks, MarkFormula(rulebook.marks.formula)
    if "funding_rate" in READS[formula] and rulebook.funding is None:
        raise InputError(f"marks.formula: expected a table [funding] beside {formula.value}")
    return MarkPolicy(
        jump=None if table.jump is None else read_rate("marks.jump", table.jump, 1, 100 * RATE),
        stale_after=read_whole("marks.stale_after_seconds", table.stale_after_seconds, 1, 366 * 86400) * _SECOND,
        unpriced_move=read_rate("marks.unpriced_move", table.unpriced_move, 1, RATE),
        formula=formula,
    )
