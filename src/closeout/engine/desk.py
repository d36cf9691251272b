"""The risk desk's acts on an account, a product or the firm, and the alarms of what is outside (US-12, US-20)."""

from __future__ import annotations

from collections.abc import Iterable

from closeout.engine.book import ContractState, Flag
from closeout.engine.candidates import candidates
from closeout.engine.commands import DeskAction, DeskSwitch, GiveNotice, RaiseAlarm
from closeout.engine.events import Notice
from closeout.engine.judge import judge, judge_all, judge_rows
from closeout.engine.state import Reject, State, require_name, require_second

ALERT = "alert"

ACTIONS = {
    "hold": (Flag.HELD, True),
    "release_hold": (Flag.HELD, False),
    "lock": (Flag.LOCKED, True),
    "unlock": (Flag.LOCKED, False),
    "liquidate_only": (Flag.DESK_LIQUIDATE_ONLY, True),
    "release_liquidate_only": (Flag.DESK_LIQUIDATE_ONLY, False),
    "liquidate": (Flag.LIQUIDATE_NOW, True),
    "restrict": (Flag.RESTRICTED, True),
    "release_restriction": (Flag.RESTRICTED, False),
}
"""What the desk can do to one account, besides alerting it: the flag, and whether it is set."""

SWITCHES = {name: ACTIONS[name] for name in list(ACTIONS)[:6]} | {"kill": (Flag.LOCKED, True)}
"""What the desk can do to a product or the firm, besides alerting."""


def desk_action(state: State, command: DeskAction) -> None:
    require_name(command.by)
    row, action = state.row(command.account_id), command.action
    if action == ALERT:
        state.emit(Notice(command.account_id, "desk_alert", command.reason))
        return
    if action not in ACTIONS:
        raise Reject("unknown_action", f"{action!r}; expected one of {', '.join([ALERT, *ACTIONS])}")
    if action == "release_restriction":
        require_second(command.by, command.second)
    if action == "liquidate" and not state.holds(row):
        raise Reject("flat", "there is nothing to liquidate")
    flag, on = ACTIONS[action]
    state.set_flag(row, flag, on, f"{command.by}: {command.reason}")
    if action == "liquidate" and row in state.book.close_outs:
        state.book.close_outs[row].flatten = True
    judge(state, row, executed=action in ("liquidate", "release_hold"))


def desk_switch(state: State, command: DeskSwitch) -> None:
    """An act on a product, or on the firm where no contract is named."""
    require_name(command.by)
    action = command.action
    contracts = state.whole(command.contract) if command.contract else None
    if action != ALERT and action not in SWITCHES:
        raise Reject("unknown_action", f"{action!r}; expected one of {', '.join([ALERT, *SWITCHES])}")
    if action in ("unlock", "release_liquidate_only"):
        require_second(command.by, command.second)
    state.setting("", "desk_switch", f"{command.contract or 'firm'} {action}: {command.reason}", command.by)
    if action == ALERT:
        for row in _holders(state, contracts):
            state.emit(Notice(state.book.ids[row], "desk_alert", command.reason))
        return
    flag, on = SWITCHES[action]
    for place in [state] if contracts is None else contracts:
        place.desk = place.desk | flag if on else place.desk & ~flag
    if action == "kill":
        for row in _by_id(state, state.book.working):
            for name in [None] if contracts is None else [contract.contract.name for contract in contracts]:
                state.cancel_orders(row, "kill switch", name)
    elif action == "release_hold" and contracts is None:
        # The scan sees neither orders that an active close-out kept back nor that its plan may have grown.
        judge_rows(state, [*map(int, candidates(state)), *state.book.close_outs], executed=True)
    elif flag is Flag.HELD:
        judge_all(state)


def _by_id(state: State, rows: Iterable[int]) -> list[int]:
    return sorted(rows, key=state.book.ids.__getitem__)


def _holders(state: State, contracts: Iterable[ContractState] | None) -> list[int]:
    every = state.contracts.values() if contracts is None else contracts
    return _by_id(state, {int(row) for one in every for row in one.holders()})


def raise_alarm(state: State, command: RaiseAlarm) -> None:
    """Something outside the engine needs the desk: it gets one list of alarms."""
    if command.account_id:
        state.row(command.account_id)
    state.alarm(command.account_id, command.code, command.detail)


def give_notice(state: State, command: GiveNotice) -> None:
    """A notice that somebody outside the engine has reason for."""
    if command.account_id:
        state.row(command.account_id)
    state.emit(Notice(command.account_id, command.kind, command.detail))
