"""The start-of-day comparison with the back office's or the clearing side's books (US-26)."""

from __future__ import annotations

from closeout.engine.book import Flag
from closeout.engine.commands import Reconcile
from closeout.engine.events import Reconciled
from closeout.engine.state import State, require_name


def reconcile(state: State, command: Reconcile) -> None:
    """Compare one account's cash and lots; a difference freezes opening orders and withdrawals, agreement lifts it."""
    require_name(command.by)
    row = state.row(command.account_id)
    for name in command.lots:
        state.contract(name)
    compared = {"cash": (int(state.book.cash[row]), command.cash)}
    for name, contract in state.contracts.items():
        compared[name] = (contract.position(row).lots, command.lots.get(name, 0))
    differences = {what: pair for what, pair in compared.items() if pair[0] != pair[1]}
    told = Reconciled(command.account_id, command.file, differences)
    if differences:
        state.set_flag(row, Flag.FROZEN, True, f"differs from {command.file}")
        said = ", ".join(f"{what}: {ours} here, {theirs} there" for what, (ours, theirs) in differences.items())
        state.alarm(command.account_id, "reconciliation_break", f"{command.file}: {said}")
        state.emit(told)
    else:
        state.emit(told)
        state.set_flag(row, Flag.FROZEN, False, f"agrees with {command.file}")
