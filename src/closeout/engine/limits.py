"""Limits on orders and positions, of an account and of one owner's accounts together (US-28)."""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

from closeout.core.units import MAX_LOTS, MAX_RATE, MAX_VALUE, RATE, mul_div_ceil, mul_div_floor
from closeout.engine.book import Book, ContractState
from closeout.engine.commands import GroupLimit, Limits, SetLimits
from closeout.engine.state import Reject, State, require_name, require_second

NONE = Limits()

Key = TypeVar("Key")

Refusal = tuple[str, str]
"""A code and words."""


# -- setting them -----------------------------------------------------------------------------------


def set_limits(state: State, command: SetLimits) -> None:
    """Put limits in the place of those before; whatever widens one takes a second person."""
    require_name(command.by)
    limits, row = command.limits, -1
    if command.scope == "account":
        row = state.row(command.name)
        before = of_account(state.book, row)
    elif command.scope == "owner" and command.name:
        before = state.owner_limits.get(command.name, NONE)
    else:
        raise Reject("unknown_scope", f"{command.scope!r} {command.name!r}; expected an account's or an owner's name")
    _check(state, limits)
    after = limits
    if row >= 0 and limits == NONE and row in state.book.parent:
        after = of_account(state.book, state.book.parent[row])
    if _wider(before, after):
        require_second(command.by, command.second, "widening a limit")
    if row >= 0:
        _put(state.book.limits, row, limits)
    else:
        _put(state.owner_limits, command.name, limits)
    account_id = command.name if row >= 0 else ""
    state.setting(account_id, "limits", f"{command.scope} {command.name}", command.by)


def _put(kept: dict[Key, Limits], key: Key, limits: Limits) -> None:
    kept.pop(key, None)
    if limits != NONE:
        kept[key] = limits


def _check(state: State, limits: Limits) -> None:
    lots = (limits.order_lots, limits.position_lots, limits.concentration_lots)
    names = [name for limited in lots for name in limited]
    for name in names + [name for group in limits.groups for name in group.contracts]:
        state.contract(name)
    bounded = [(number, MAX_LOTS) for limited in lots for number in limited.values()]
    bounded += [(limits.collar or 0, MAX_RATE), (limits.concentration_rate, MAX_RATE)]
    bounded += [(group.micros, MAX_VALUE) for group in limits.groups]
    for number, most in bounded:
        if not 0 <= number <= most:
            raise Reject("out_of_bounds", f"{number} is not between 0 and {most}")


def _wider(before: Limits, after: Limits) -> bool:
    """Whether anything that was limited is limited less now."""
    lots = (
        (before.order_lots, after.order_lots),
        (before.position_lots, after.position_lots),
        (before.concentration_lots, after.concentration_lots),
        (_groups(before), _groups(after)),
    )
    return (
        any(_larger(most, new.get(name, 0)) for old, new in lots for name, most in old.items())
        or _larger(before.collar or 0, after.collar or 0)
        or after.concentration_rate < before.concentration_rate
    )


def _larger(before: int, after: int) -> bool:
    """Whether a limit was removed (0) or grew."""
    return before > 0 and not 0 < after <= before


def _groups(limits: Limits) -> dict[str, int]:
    """What the groups allow, by their contracts; the narrowest where two name the same ones."""
    found: dict[str, int] = {}
    for group in limits.groups:
        name = " ".join(sorted(dict.fromkeys(group.contracts)))
        if group.micros:
            found[name] = min(group.micros, found.get(name, group.micros))
    return found


# -- what holds -------------------------------------------------------------------------------------


def of_account(book: Book, row: int) -> Limits:
    """The account's own limits, or for an isolated one without any those of its parent."""
    found, parent = book.limits.get(row), book.parent.get(row)
    if found is not None:
        return found
    return of_account(book, parent) if parent is not None else NONE


def concentration(limits: Limits, contract: ContractState, lots: int) -> int:
    """Micros that the order check asks for the part of |lots| beyond the limit, at the mark."""
    threshold = contract.contract.named_in(limits.concentration_lots)
    beyond = lots - threshold
    if threshold == 0 or beyond <= 0 or contract.mark is None:
        return 0
    return mul_div_ceil(contract.contract.notional(contract.mark, beyond), limits.concentration_rate, RATE)


def _sides(state: State, row: int, contract: ContractState) -> tuple[int, int, int]:
    """The position held, and the sums of its working buys and sells, all signed."""
    buys = sells = 0
    for order in state.book.working.get(row, {}).values():
        if order.contract == contract.contract.name:
            buys, sells = buys + max(0, order.lots), sells + min(0, order.lots)
    return contract.position(row).lots, buys, sells


class OrderLimits:
    """The limits on one account's orders in one contract on one side. What does not depend on the order's size is
    worked out once."""

    def __init__(self, state: State, row: int, contract: ContractState, *, buy: bool) -> None:
        self.state, self.row, self.contract, self.buy = state, row, contract, buy
        self.name = contract.contract.name
        self.account = of_account(state.book, row)
        owner = state.book.owner_of(row)
        self.owner = state.owner_limits.get(owner, NONE) if owner else NONE
        self.family = state.book.owned.get(owner, []) if self.owner is not NONE else []

    def refusal(self, lots: int, limit_ticks: int | None) -> Refusal | None:
        """The first limit that an order of signed `lots` would pass."""
        if self.account is NONE and self.owner is NONE:
            return None
        most = self.contract.contract.named_in(self.account.order_lots)
        if most and abs(lots) > most:
            return "order_size", f"an order may be of at most {self._text(most)} {self.name}"
        return self._collar(limit_ticks) or self._position(lots) or self._group(lots)

    def _text(self, lots: int) -> str:
        return self.contract.contract.quantity_text(lots)

    def _collar(self, limit_ticks: int | None) -> Refusal | None:
        collar, mark = self.account.collar, self.contract.mark
        if not collar or limit_ticks is None or mark is None:
            return None
        away = mul_div_floor(abs(mark), collar, RATE)
        worst = mark + away if self.buy else mark - away
        if limit_ticks > worst if self.buy else limit_ticks < worst:
            return "price_collar", f"the limit price may be no worse than {self.contract.contract.price_text(worst)}"
        return None

    # -- positions ---------------------------------------------------------------------------------

    def _position(self, lots: int) -> Refusal | None:
        most = self.contract.contract.named_in(self.account.position_lots)
        if most and self._reach(self.row, lots) > most:
            return "position_limit", f"at most {self._text(most)} {self.name}, working orders counted"
        most = self.contract.contract.named_in(self.owner.position_lots)
        if most and self._reach(self.row, lots) + self._held_elsewhere > most:
            return "position_limit", f"at most {self._text(most)} {self.name} over all accounts of the owner"
        return None

    def _reach(self, row: int, lots: int) -> int:
        """|lots| of the position with everything that works on the order's side filled, and `lots` more."""
        held, buys, sells = _sides(self.state, row, self.contract)
        return abs(held + (buys if self.buy else sells) + lots)

    @cached_property
    def _held_elsewhere(self) -> int:
        return sum(self._reach(row, 0) for row in self.family if row != self.row)

    # -- groups ------------------------------------------------------------------------------------

    def _group(self, lots: int) -> Refusal | None:
        for whose, group, others in self._groups:
            if others is None:
                return "unpriced", f"a contract of the group {', '.join(group.contracts)} has no mark"
            held, buys, sells = _sides(self.state, self.row, self.contract)
            buys, sells = buys + max(0, lots), sells + min(0, lots)
            if others + self._notional(self.contract, held, buys, sells) > group.micros:
                most = self.state.policy.currency.text(group.micros)
                return "group_limit", f"at most {most} in {', '.join(group.contracts)} together, for the {whose}"
        return None

    @cached_property
    def _groups(self) -> list[tuple[str, GroupLimit, int | None]]:
        """The groups that the contract is in, each with what everything but this account's part in this contract comes
        to in micros; None where that cannot be told."""
        whose = (("account", self.account, [self.row]), ("owner", self.owner, self.family))
        return [
            (scope, group, self._others(group, rows))
            for scope, limits, rows in whose
            for group in limits.groups
            if group.micros and not {self.name, self.contract.contract.market}.isdisjoint(group.contracts)
        ]

    def _others(self, group: GroupLimit, rows: list[int]) -> int | None:
        total = 0
        every = dict.fromkeys(each.contract.name for name in group.contracts for each in self.state.legs(name))
        for name in every:
            contract = self.state.contracts[name]
            for row in rows:
                held, buys, sells = _sides(self.state, row, contract)
                if (row, name) == (self.row, self.name) or not (held or buys or sells):
                    continue
                if contract.mark is None:
                    return None
                total += self._notional(contract, held, buys, sells)
        return total

    @staticmethod
    def _notional(contract: ContractState, held: int, buys: int, sells: int) -> int:
        return contract.contract.notional(contract.mark or 0, max(abs(held + buys), abs(held + sells)))
