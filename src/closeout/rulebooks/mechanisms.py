"""How accounts are closed out and who bears what is left (EX-02 to EX-05): from a rulebook's tables to the engine's
units. `InputError` names the key."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from closeout.core.units import RATE, Currency, InputError
from closeout.rulebooks.policy import (
    POSITION_STAGES,
    TAKERS,
    Among,
    CloseOutMethod,
    CloseOutPolicy,
    CloseOutStep,
    Limit,
    LiquidationFee,
    Ranking,
    Stage,
    StageKind,
    TransferPrice,
)
from closeout.rulebooks.schema import CloseOutTable, RulebookTable, StageTable, StepTable
from closeout.rulebooks.values import read_money, read_rate, read_whole

_SECOND = 10**9
_LAST = (StageKind.WITHDRAWAL_HAIRCUT, StageKind.CUSTOMER_OWES, StageKind.VENUE_BEARS)
_OWN_KEYS: dict[str, tuple[StageKind, ...]] = {
    "capacity": TAKERS,
    "capacity_of_fund": TAKERS,
    "equity": (StageKind.LIQUIDITY_PROVIDERS,),
    "capacity_of_equity": (StageKind.LIQUIDITY_PROVIDERS,),
    "share_of_equity": (StageKind.LIQUIDITY_PROVIDERS,),
    "within_seconds": (StageKind.LIQUIDITY_PROVIDERS,),
    "solvent_only": TAKERS,
    "ranking": (StageKind.AUTO_DELEVERAGING,),
    "price": (StageKind.AUTO_DELEVERAGING, StageKind.UNWIND),
    "among": (StageKind.SOCIALISED_LOSS,),
    "drawdown": (StageKind.AUTO_DELEVERAGING,),
    "drawdown_hours": (StageKind.AUTO_DELEVERAGING,),
}
_STEP_KEYS = {
    "share": ("method", "reduce_by_share"),
    "share_above": ("method", "reduce_by_share"),
    "interval_seconds": ("method", "reduce_by_share"),
    "whole_within_seconds": ("method", "reduce_by_share"),
    "tiers_down": ("method", "lower_tier"),
    "bankruptcy_adjustment": ("limit", "fillable"),
    "spread_to_maintenance": ("limit", "fillable"),
}
_STEP_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(StepTable)}


def close_out(table: CloseOutTable, currency: Currency) -> CloseOutPolicy:
    for index, step in enumerate((table, *table.then[:-1])):
        if table.then and step.limit == "none":
            raise InputError(
                f"close_out.then[{index}]: expected a limit in the step before it, which works until it is filled"
            )
    steps = [_step(table, "close_out", currency)]
    steps += [_step(step, f"close_out.then[{index}]", currency) for index, step in enumerate(table.then)]
    return CloseOutPolicy(
        tuple(steps),
        read_rate("close_out.target", table.target, 1, 4 * RATE),
        None
        if table.take_over_below is None
        else read_rate("close_out.take_over_below", table.take_over_below, 0, RATE),
        table.surplus == "insurance_fund",
    )


def _step(table: StepTable, key: str, currency: Currency) -> CloseOutStep:
    for name, (reader, value) in _STEP_KEYS.items():
        given, default = getattr(table, name), _STEP_DEFAULTS[name]
        if given != default and getattr(table, reader) != value:
            raise InputError(f"{key}.{name}: expected it with {reader} {value} only, else its default {default}")
    return CloseOutStep(
        CloseOutMethod(table.method),
        Limit(table.limit),
        read_rate(f"{key}.share", table.share, 1, RATE),
        read_money(f"{key}.share_above", table.share_above, currency),
        read_whole(f"{key}.interval_seconds", table.interval_seconds, 0, 86_400) * _SECOND,
        read_whole(f"{key}.whole_within_seconds", table.whole_within_seconds, 0, 86_400) * _SECOND,
        read_whole(f"{key}.tiers_down", table.tiers_down, 1, 1_000),
        read_rate(f"{key}.bankruptcy_adjustment", table.bankruptcy_adjustment, 1, 1_000 * RATE),
        read_rate(f"{key}.spread_to_maintenance", table.spread_to_maintenance, 0, 10 * RATE),
    )


def liquidation_fee(table: RulebookTable, currency: Currency) -> LiquidationFee:
    fee = table.liquidation_fee
    if fee is None:
        return LiquidationFee()
    if fee.payee == "insurance_fund":
        _need_fund(table, "liquidation_fee.payee")
    if fee.of_rest is not None and fee.rate == "0":
        raise InputError("liquidation_fee.of_rest: expected a rate beside it")
    return LiquidationFee(
        read_money("liquidation_fee.first", fee.first, currency),
        read_money("liquidation_fee.later", fee.later, currency),
        read_rate("liquidation_fee.rate", fee.rate, 0, RATE),
        fee.payee == "insurance_fund",
        fee.capped,
        None if fee.of_rest is None else read_rate("liquidation_fee.of_rest", fee.of_rest, 1, RATE),
    )


def withdrawal_gate(table: RulebookTable) -> int | None:
    if table.withdrawals is None or table.withdrawals.gated_seconds is None:
        return None
    return read_whole("withdrawals.gated_seconds", table.withdrawals.gated_seconds, 0, 86_400) * _SECOND


def withdrawal_keep(table: RulebookTable) -> int:
    if table.withdrawals is None:
        return 0
    return read_rate("withdrawals.kept_of_notional", table.withdrawals.kept_of_notional, 0, RATE)


def waterfall(table: RulebookTable, currency: Currency) -> tuple[Stage, ...]:
    """The stages in order: those that take positions, those that pay money, and last who bears the rest."""
    if table.close_out.surplus == "insurance_fund":
        _need_fund(table, "close_out.surplus")
    if not table.waterfall:
        return (Stage(StageKind.CUSTOMER_OWES),)
    stages = [_stage(stage, f"waterfall[{index}]", table, currency) for index, stage in enumerate(table.waterfall)]
    if stages[-1].kind not in _LAST:
        last = ", ".join(kind.value for kind in _LAST)
        raise InputError(f"waterfall: expected one of {last} as the last stage: somebody bears the rest")
    for index, (stage, following) in enumerate(pairwise(stages)):
        if stage.kind in _LAST:
            raise InputError(f"waterfall[{index}].stage: expected {stage.kind.value} as the last stage only")
        if following.kind in POSITION_STAGES and stage.kind not in POSITION_STAGES:
            raise InputError(
                f"waterfall[{index + 1}].stage: expected stages that take positions before those that pay money, got "
                f"{following.kind.value} after {stage.kind.value}"
            )
    if stages[0].kind in POSITION_STAGES and not _leads_on(table.close_out):
        raise InputError(
            "waterfall[0].stage: expected a limit in close_out's last step, or close_out.take_over_below: without "
            f"either nothing comes to {stages[0].kind.value}"
        )
    return tuple(stages)


def _leads_on(table: CloseOutTable) -> bool:
    """Whether anything comes to the stages that take positions: what an immediate-or-cancel order of the last step
    leaves, or accounts below the line for them."""
    return table.take_over_below is not None or [table, *table.then][-1].limit != "none"


def _stage(table: StageTable, key: str, rulebook: RulebookTable, currency: Currency) -> Stage:
    kind = StageKind(table.stage)
    for name, kinds in _OWN_KEYS.items():
        given = getattr(table, name)
        if given not in (None, False, "bankruptcy") and kind not in kinds:
            raise InputError(f"{key}.{name}: expected it with {' or '.join(k.value for k in kinds)} only")
    if table.seed and table.ranking != Ranking.RANDOM.value:
        raise InputError(f"{key}.seed: expected it with ranking random only")
    if kind is StageKind.AUTO_DELEVERAGING and table.ranking is None:
        raise InputError(f"{key}.ranking: expected one of {', '.join(ranking.value for ranking in Ranking)}")
    if kind is StageKind.SOCIALISED_LOSS and table.among is None:
        raise InputError(f"{key}.among: expected one of {', '.join(among.value for among in Among)}")
    if kind in (StageKind.INSURANCE_FUND, StageKind.INSURANCE_FUND_TAKES) or table.capacity_of_fund is not None:
        _need_fund(rulebook, f"{key}.stage")
    drawdown, window = _drawdown(table, key, rulebook)
    share = table.capacity_of_fund
    return Stage(
        kind,
        None if table.capacity is None else read_money(f"{key}.capacity", table.capacity, currency),
        None if share is None else read_rate(f"{key}.capacity_of_fund", share, 0, 100 * RATE),
        table.solvent_only,
        None if table.ranking is None else Ranking(table.ranking),
        TransferPrice(table.price),
        read_whole(f"{key}.seed", table.seed, 0, 2**63 - 1),
        None if table.among is None else Among(table.among),
        drawdown,
        window,
        *_equity(table, key, rulebook, currency),
    )


def _equity(
    table: StageTable, key: str, rulebook: RulebookTable, currency: Currency
) -> tuple[int | None, int | None, int | None, int]:
    """What the takers begin with, the rates of it that they hold and take at most, and the latter's nanoseconds."""
    factor, share, seconds = table.capacity_of_equity, table.share_of_equity, table.within_seconds
    if (share is None) != (seconds is None):
        raise InputError(f"{key}.share_of_equity: expected within_seconds beside it, and neither alone")
    if table.equity is None:
        if factor is not None or share is not None:
            raise InputError(f"{key}.equity: expected what the takers begin with")
        return None, None, None, 0
    if sum(stage.stage == table.stage for stage in rulebook.waterfall) > 1:
        raise InputError(f"{key}.equity: expected one stage {table.stage}, whose equity it is")
    return (
        read_money(f"{key}.equity", table.equity, currency),
        None if factor is None else read_rate(f"{key}.capacity_of_equity", factor, 1, 100 * RATE),
        None if share is None else read_rate(f"{key}.share_of_equity", share, 1, 100 * RATE),
        0 if seconds is None else read_whole(f"{key}.within_seconds", seconds, 1, 86_400) * _SECOND,
    )


def _drawdown(table: StageTable, key: str, rulebook: RulebookTable) -> tuple[int | None, int]:
    """The rate of the fund's peak, and the nanoseconds in which the peak is looked for."""
    if table.drawdown is None:
        if table.price == TransferPrice.DRAWDOWN.value:
            raise InputError(f"{key}.price: expected {key}.drawdown beside the price drawdown")
        if table.drawdown_hours is not None:
            raise InputError(f"{key}.drawdown_hours: expected {key}.drawdown beside it")
        return None, 0
    if table.drawdown_hours is None:
        raise InputError(f"{key}.drawdown: expected {key}.drawdown_hours beside it")
    _need_fund(rulebook, f"{key}.drawdown")
    hours = read_whole(f"{key}.drawdown_hours", table.drawdown_hours, 1, 24 * 366)
    return read_rate(f"{key}.drawdown", table.drawdown, 1, RATE), hours * 3_600 * _SECOND


def _need_fund(table: RulebookTable, key: str) -> None:
    if table.insurance_fund is None:
        raise InputError(f"{key}: expected a table [insurance_fund] beside it")
