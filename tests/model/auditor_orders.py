"""The auditor's answers to orders before they go out: approved or refused, and the requirement before and after."""

from fractions import Fraction

from tests.model.auditor_money import Money
from tests.model.auditor_rules import Contract
from tests.model.auditor_state import Account, micros


class Orders(Money):
    """The first reason against an order is its answer; an order that can only reduce risk needs few reasons for it."""

    now: int

    def _CheckOrder(self, account_id: str, order_id: str, contract: str, lots: int, limit_ticks: int | None) -> None:
        code, before, after, available = self._verdict(account_id, order_id, contract, lots, limit_ticks)
        self.reached[f"order {code or 'approved'}"] += 1
        if code:
            self.out.append(("refused", account_id, order_id, code, before, after - before, after, available))
            return
        target = self.live(contract)
        self.account(account_id).working[order_id] = (contract, lots * target.lot)
        self.account(account_id).limits[order_id] = None if limit_ticks is None else limit_ticks * target.tick
        self.out.append(("approved", account_id, order_id, before, after - before, after, available))

    def _verdict(
        self, account_id: str, order_id: str, name: str, lots: int, limit_ticks: int | None
    ) -> tuple[str, int, int, int]:
        assert self.rules is not None
        early = self._early_refusal(account_id, order_id, name, lots, limit_ticks)
        if early:
            return early, 0, 0, 0
        account, contract, figures = self.accounts[account_id], self.rules.contracts[name], self.figures
        quantity = lots * contract.lot
        toggle = account.with_intraday and "restricted" not in account.set_flags
        before = figures.entry_total(account, toggle)
        limit = None if limit_ticks is None else limit_ticks * contract.tick
        after = figures.entry_total(account, toggle, {name: (quantity, limit)})
        available = figures.net_liq(account)
        held = account.positions.get(name, None)
        position = held.quantity if held else Fraction(0)
        same_side = account.working_in(name, 1 if lots > 0 else -1)
        if account.event:
            same_side += account.event.closing_in(name, 1 if lots > 0 else -1) * (1 if lots > 0 else -1)
        reduces = position * quantity < 0 and abs(quantity) + abs(same_side) <= abs(position)
        code = self._barred(account)
        if not code and not reduces:
            code = self._risk_refusal(account, contract, after > available)
        elif not code:
            self.reached["reducing order"] += 1
        micro = self.rules.micro
        return code, micros(before, micro), micros(after, micro), micros(available, micro)

    def _early_refusal(self, account_id: str, order_id: str, name: str, lots: int, limit_ticks: int | None) -> str:
        assert self.rules is not None
        if account_id not in self.accounts:
            return "unknown_account"
        if name not in self.rules.contracts:
            return "unknown_contract"
        contract, account = self.rules.contracts[name], self.accounts[account_id]
        if contract.expired:
            return "expired_contract"
        if lots == 0:
            return "zero_quantity"
        if not self._order_in_bounds(account, contract, lots, limit_ticks):
            return "out_of_bounds"
        if any(order_id in a.working or (a.event and order_id in a.event.outstanding) for a in self.accounts.values()):
            return "duplicate_order"
        return ""

    def _barred(self, account: Account) -> str:
        """Reasons that even orders which only reduce do not pass."""
        assert self.rules is not None
        if "locked" in account.set_flags:
            return "locked"
        return "debit_overdue" if account.days_in_debit > self.rules.closing_only_after else ""

    def _order_in_bounds(self, account: Account, contract: Contract, lots: int, limit_ticks: int | None) -> bool:
        quantity = lots * contract.lot
        held = account.position(contract.name).quantity
        both = [quantity, held + account.working_in(contract.name, 1 if lots > 0 else -1) + quantity]
        prices = [contract.price, None if limit_ticks is None else limit_ticks * contract.tick]
        known = [price for price in prices if price is not None] or [contract.tick]
        return all(contract.in_bounds(price, q) for price in known for q in both)

    def _risk_refusal(self, account: Account, contract: Contract, too_much: bool) -> str:
        assert self.rules is not None
        if self.figures.in_debit(account):
            return "in_debit"
        if account.level == "liquidating":
            return "liquidating"
        if account.level == "liquidate_only" or "desk_liquidate_only" in account.set_flags:
            return "liquidate_only"
        if self.figures.unpriced(account) or contract.price is None:
            return "unpriced"
        if contract.grade_at(self.now, self.rules.stale_after) != "ok":
            return "mark_grade"
        return "margin" if too_much else ""
