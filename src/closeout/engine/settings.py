"""What customers set and say: the order check, the disclosure, their own brakes (US-06, US-18, US-23)."""

from __future__ import annotations

import datetime as dt
import re

from closeout.core.units import MAX_VALUE
from closeout.engine import brakes, scan
from closeout.engine.book import Flag
from closeout.engine.commands import (
    AcknowledgeDisclosure,
    Flatten,
    RiskSettings,
    SetDisclosure,
    SetRiskSettings,
    SetValidation,
    TradeDate,
)
from closeout.engine.judge import judge, judge_rows
from closeout.engine.state import Reject, State, require_name

CUSTOMER = "customer"
WALL_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


def set_validation(state: State, command: SetValidation) -> None:
    """The toggle changes what new orders must fit, and nothing that is held (US-06)."""
    row = state.row(command.account_id)
    reason = "intraday margin" if command.with_intraday else "initial margin"
    state.set_flag(row, Flag.INITIAL_ONLY, not command.with_intraday, f"new orders validate against {reason}")


# -- disclosure ------------------------------------------------------------------------------------


def set_disclosure(state: State, command: SetDisclosure) -> None:
    require_name(command.by)
    state.disclosure = command.version
    state.setting("", "disclosure", command.version or "none", command.by)


def acknowledge_disclosure(state: State, command: AcknowledgeDisclosure) -> None:
    row = state.row(command.account_id)
    if command.version != state.disclosure:
        raise Reject("disclosure_version", f"version {command.version!r} is not the current one, {state.disclosure!r}")
    state.book.acknowledged[row] = command.version
    state.setting(command.account_id, "disclosure", command.version, CUSTOMER)


# -- brakes ----------------------------------------------------------------------------------------


def set_risk_settings(state: State, command: SetRiskSettings) -> None:
    """The customer sets his brakes; one that has stopped the account stays as tight until the next trade date."""
    row, new = _own_row(state, command.account_id), command.settings
    if not all(0 <= loss <= MAX_VALUE for loss in _losses(new)):
        raise Reject("out_of_bounds", f"a loss limit is not between 0 and {MAX_VALUE} micros")
    if new.flatten_at and not WALL_TIME.fullmatch(new.flatten_at):
        raise Reject("bad_time", f"{new.flatten_at!r} is not a time HH:MM")
    table, net_liq = state.book.brakes, state.risk(row).net_liq
    old = table.settings(row)
    if state.book.has(row, Flag.STOPPED) and _looser(old, new):
        raise Reject("stopped", "a brake cannot be loosened before the next trade date")
    if row not in table.slot:
        table.add(row, net_liq)
    table.set(row, new)
    if new.trailing_drawdown and not old.trailing_drawdown:
        table.peak[table.slot[row]] = net_liq
    state.setting(command.account_id, "risk_settings", _text(state, new), CUSTOMER)
    judge(state, row)


def _own_row(state: State, account_id: str) -> int:
    row = state.row(account_id)
    if row in state.book.parent:
        raise Reject("isolated_account", "an isolated position has no brakes of its own")
    return row


def _losses(settings: RiskSettings) -> tuple[int, int, int]:
    return settings.daily_loss, settings.weekly_loss, settings.trailing_drawdown


def _looser(old: RiskSettings, new: RiskSettings) -> bool:
    raised = any(before and not 0 < after <= before for before, after in zip(_losses(old), _losses(new), strict=True))
    return raised or old.flatten_at != new.flatten_at


def _text(state: State, settings: RiskSettings) -> str:
    losses = zip((name for name, _, _ in brakes.LIMITS), _losses(settings), strict=True)
    said = [f"{name} {state.policy.currency.text(loss)}" for name, loss in losses if loss]
    said += [f"flatten at {settings.flatten_at}"] if settings.flatten_at else []
    return ", ".join(said) or "none"


def flatten(state: State, command: Flatten) -> None:
    """The customer's flatten time has come."""
    row = _own_row(state, command.account_id)
    brakes.stop(state, row, command.reason or "flatten time")
    judge(state, row)


def trade_date(state: State, command: TradeDate) -> None:
    """Losses count anew, and who was stopped may trade again. A limit that is still passed, the week's or the drawdown,
    stops its account again at once."""
    new = _date(command.date)
    if command.date <= state.trade_date:
        raise Reject("date_ran_back", f"{command.date} is not after {state.trade_date}")
    book, table = state.book, state.book.brakes
    new_week = not state.trade_date or _date(state.trade_date).isocalendar()[:2] != new.isocalendar()[:2]
    state.trade_date = command.date
    if table.count:
        net_liq = scan.levels(state)[0][table.column("account")]
        table.column("base_day")[:] = net_liq
        if new_week:
            table.column("base_week")[:] = net_liq
    stopped = (int(row) for row in (book.column("flags") & Flag.STOPPED).nonzero()[0])
    book.stops.clear()
    for row in sorted(stopped, key=book.ids.__getitem__):
        state.set_flag(row, Flag.STOPPED, False, f"trade date {command.date}")
    judge_rows(state, table.slot)


def _date(text: str) -> dt.date:
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        date = None
    if date is None or date.isoformat() != text:
        raise Reject("bad_time", f"{text!r} is not a date YYYY-MM-DD")
    return date
