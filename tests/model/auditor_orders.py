"""The auditor's answers to orders before they go out: approved or refused, and the requirement before and after."""

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_limits import Bounds, of_contract
from tests.model.auditor_money import Money
from tests.model.auditor_rules import Contract, down
from tests.model.auditor_state import SUSPENSE, Account, micros

FEWER_MAY_PASS = ("margin", "order_size", "position_limit", "group_limit")
FEW = 12
"""Up to so many lots every smaller order is tried; beyond, the answer is searched for by halving."""


class Orders(Money):
    """The first reason against an order is its answer; an order that can only reduce risk needs few reasons for it."""

    def _CheckOrder(self, account_id: str, order_id: str, contract: str, lots: int, limit_ticks: int | None) -> None:
        code, before, after, available = self._verdict(account_id, order_id, contract, lots, limit_ticks)
        self.reached[f"order {code or 'approved'}"] += 1
        if code:
            fewer = 0
            if code in FEWER_MAY_PASS:
                fewer = self._most(account_id, order_id, contract, lots, limit_ticks)
                self.reached["fewer lots suggested"] += fewer != 0
            self.out.append(("refused", account_id, order_id, code, before, after - before, after, available, fewer))
            return
        target, account = self.live(contract), self.account(account_id)
        self.reached["order netted"] += self.figures.required(account) != self.figures.requirements(account)
        account.working[order_id] = (contract, lots * target.lot)
        account.limits[order_id] = None if limit_ticks is None else limit_ticks * target.tick
        self.out.append(("approved", account_id, order_id, before, after - before, after, available))

    def _most(self, account_id: str, order_id: str, name: str, lots: int, limit_ticks: int | None) -> int:
        """The largest order on the same side, of fewer lots, that would pass."""
        sign = 1 if lots > 0 else -1

        def passes(size: int) -> bool:
            return self._verdict(account_id, order_id, name, sign * size, limit_ticks)[0] == ""

        if abs(lots) <= FEW:
            return sign * max((size for size in range(1, abs(lots)) if passes(size)), default=0)
        good, bad = 0, abs(lots)
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if passes(middle) else (good, middle)
        return sign * good

    def _verdict(
        self, account_id: str, order_id: str, name: str, lots: int, limit_ticks: int | None
    ) -> tuple[str, int, int, int]:
        assert self.rules is not None
        early = self._early_refusal(account_id, order_id, name, lots, limit_ticks)
        if early:
            return early, 0, 0, 0
        account, contract, figures = self.accounts[account_id], self.rules.contracts[name], self.figures
        quantity = lots * contract.lot
        limit = None if limit_ticks is None else limit_ticks * contract.tick
        toggle = account.with_intraday and "restricted" not in account.set_flags
        bounds = self.bounds_of(account)
        before = figures.entry_total(account, toggle, None, bounds)
        after = figures.entry_total(account, toggle, {name: (quantity, limit)}, bounds)
        available = figures.net_liq(account)
        code = self._barred(account, contract)
        if not code and not self._reduces(account, name, quantity):
            code = (
                self._opening_refusal(account, contract)
                or self._limit_refusal(account, contract, quantity, limit)
                or ("margin" if after > available else "")
            )
        elif not code:
            self.reached["reducing order"] += 1
        micro = self.rules.micro
        return code, micros(before, micro), micros(after, micro), micros(available, micro)

    def _reduces(self, account: Account, name: str, quantity: Fraction) -> bool:
        """Opposite to the position, and not more than it with all that is out on the order's side."""
        position = account.positions[name].quantity if name in account.positions else Fraction(0)
        sign = 1 if quantity > 0 else -1
        same_side = abs(account.working_in(name, sign))
        if account.event:
            same_side += account.event.closing_in(name, sign)
        return position * quantity < 0 and abs(quantity) + same_side <= abs(position)

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
        if (account.position(name).quantity + lots * contract.lot) * contract.side < 0:
            return "wrong_leg"
        if any(order_id in a.working or (a.event and order_id in a.event.outstanding) for a in self.accounts.values()):
            return "duplicate_order"
        if lots * contract.side < 0 and not self._reduces(account, name, lots * contract.lot):
            return "wrong_leg"
        return ""

    def _order_in_bounds(self, account: Account, contract: Contract, lots: int, limit_ticks: int | None) -> bool:
        quantity = lots * contract.lot
        held = account.position(contract.name).quantity
        both = [quantity, held + account.working_in(contract.name, 1 if lots > 0 else -1) + quantity]
        prices = [contract.price, None if limit_ticks is None else limit_ticks * contract.tick]
        known = [price for price in prices if price is not None] or [contract.tick]
        return all(contract.in_bounds(price, q) for price in known for q in both)

    def _barred(self, account: Account, contract: Contract) -> str:
        """Reasons that even orders which only reduce do not pass."""
        assert self.rules is not None
        if "locked" in account.set_flags | contract.switches | self.switches:
            return "locked"
        return "debit_overdue" if account.days_in_debit > self.rules.closing_only_after else ""

    def _opening_refusal(self, account: Account, contract: Contract) -> str:
        """What is wrong with the account, the market or the papers, whatever the order's size."""
        assert self.rules is not None
        flags = account.set_flags
        shut = "desk_liquidate_only" in flags or "liquidate_only" in contract.switches | self.switches
        customer = self.accounts[account.parent] if account.parent else account
        reasons = (
            ("in_debit", self.figures.in_debit(account)),
            ("liquidating", account.level == "liquidating"),
            ("stopped", "stopped" in flags),
            ("liquidate_only", account.level == "liquidate_only" or shut),
            ("reconciliation_break", "frozen" in flags),
            ("margin_call_overdue", account.call is not None and account.call.days > 5),
            ("unpriced", self.figures.unpriced(account) or contract.price is None),
            ("mark_grade", contract.grade_at(self.now, self.rules.stale_after) != "ok"),
            ("disclosure", self.disclosure not in ("", customer.acknowledged)),
        )
        return next((code for code, applies in reasons if applies), "")

    # -- limits ----------------------------------------------------------------------------------

    def _family(self, account: Account) -> list[Account]:
        """All accounts of the same owner, isolated ones with them."""
        owner = self.owner_of(account)
        return [a for a in self.accounts.values() if owner and a.account_id != SUSPENSE and self.owner_of(a) == owner]

    def _limit_refusal(self, account: Account, contract: Contract, quantity: Fraction, limit: Fraction | None) -> str:
        own = self.bounds_of(account)
        whole = self.owner_bounds.get(self.owner_of(account), Bounds())
        name = contract.name
        most = of_contract(own.order_lots, name)
        if most is not None and abs(quantity) > most * contract.lot:
            return "order_size"
        if self._beyond_collar(own, contract, quantity, limit):
            return "price_collar"
        for bounds, together in ((own, [account]), (whole, self._family(account))):
            most = of_contract(bounds.position_lots, name)
            if most is not None and self._side_total(together, account, name, quantity) > most * contract.lot:
                self.reached["position limit of the owner"] += bounds is whole
                return "position_limit"
        for bounds, together in ((own, [account]), (whole, self._family(account))):
            code = self._group_refusal(bounds, together, account, name, quantity)
            if code:
                self.reached[f"{code} of the owner's group"] += bounds is whole
                return code
        return ""

    def _beyond_collar(self, own: Bounds, contract: Contract, quantity: Fraction, limit: Fraction | None) -> bool:
        if own.collar is None or limit is None or contract.price is None:
            return False
        room = down(abs(contract.price) * own.collar, contract.tick)
        return limit > contract.price + room if quantity > 0 else limit < contract.price - room

    def _side_total(self, together: list[Account], account: Account, name: str, quantity: Fraction) -> Fraction:
        total = Fraction(0)
        for each in together:
            held = each.positions[name].quantity if name in each.positions else Fraction(0)
            filled = held + each.working_in(name, 1 if quantity > 0 else -1)
            total += abs(filled + (quantity if each is account else 0))
        return total

    def _groups_of(self, bounds: Bounds, name: str) -> list[tuple[set[str], Fraction]]:
        """The groups that a contract is in, each with the legs of what it names."""
        assert self.rules is not None
        found: list[tuple[set[str], Fraction]] = []
        for names, most in bounds.groups.items():
            contracts = self.rules.contracts
            group = {own for own, contract in contracts.items() if own in names or contract.leg_of in names}
            found += [(group, most)] if name in group else []
        return found

    def _group_refusal(
        self, bounds: Bounds, together: list[Account], account: Account, name: str, quantity: Fraction
    ) -> str:
        """An order counts in the groups that its contract is in."""
        assert self.rules is not None
        for group, most in self._groups_of(bounds, name):
            total = Fraction(0)
            for each, member in ((each, member) for each in together for member in group):
                contract = self.rules.contracts[member]
                extra = (quantity, None) if each is account and member == name else None
                largest = self.figures.largest(each, member, extra)
                if contract.price is not None:
                    total += contract.notional(contract.price, largest)
                elif member in each.touched():
                    return "unpriced"
            if total > most:
                return "group_limit"
        return ""
