"""The auditor's money: every movement is one posting of a debit and a credit, and what customers own or owe follows."""

from collections import Counter

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_limits import Bounds
from tests.model.auditor_rules import Contract, Rules, down, up
from tests.model.auditor_state import FUND, HOUSE, Account, Figures, Refusal, check_name, check_second


def check_names(by: str, second: str) -> None:
    check_name(by)
    check_second(by, second)


class Money:
    """Commands and rules that move money. Balances are debits less credits."""

    rules: Rules | None
    accounts: dict[str, Account]
    fund_held: list[tuple[int, Fraction]]
    seen_below_zero: int | None
    ledger: dict[str, Fraction]
    out: list[tuple]
    reached: Counter[str]
    fills: dict
    now: int
    seq: int
    switches: set[str]
    disclosure: str
    owner_bounds: dict[str, Bounds]
    concerned: set[str]
    touched: set[str]

    def account(self, account_id: str) -> Account:
        raise NotImplementedError

    def live(self, name: str) -> Contract:
        raise NotImplementedError

    def contract(self, name: str) -> Contract:
        raise NotImplementedError

    def whole(self, name: str) -> list[Contract]:
        raise NotImplementedError

    def live_whole(self, name: str) -> list[Contract]:
        raise NotImplementedError

    def check_leg(self, account: Account, contract: Contract, quantity: Fraction) -> None:
        """A leg holds its own side alone."""
        if (account.position(contract.name).quantity + quantity) * contract.side < 0:
            raise Refusal("wrong_leg")

    @property
    def figures(self) -> Figures:
        raise NotImplementedError

    def owner_of(self, account: Account) -> str:
        """An isolated account that names no owner belongs to whoever its parent belongs to."""
        return account.owner or (self.accounts[account.parent].owner if account.parent else "")

    def bounds_of(self, account: Account) -> Bounds:
        """Its own, else for an isolated account what its parent has, for itself alone."""
        if account.bounds == Bounds() and account.parent is not None:
            return self.accounts[account.parent].bounds
        return account.bounds

    def people(self) -> list[Account]:
        """Everybody but the house, by id."""
        return [self.accounts[name] for name in sorted(self.accounts) if name not in HOUSE]

    def setting(self, account_id: str, what: str, detail: str, by: str) -> None:
        self.out.append(("setting", account_id, what, detail, by))

    def came(self, account: Account, amount: Fraction) -> None:
        """Money from outside, or to it, is no profit in the eyes of the customer's brakes."""
        if account.brakes is not None:
            account.brakes.moved(amount)

    def post(self, debit: str, credit: str, amount: Fraction, account: Account | None = None) -> None:
        """A negative amount is the posting the other way round."""
        if amount < 0:
            debit, credit, amount = credit, debit, -amount
        for name, signed in ((debit, amount), (credit, -amount)):
            if name == "customer_cash":
                assert account is not None
                account.cash -= signed
                name = account.account_id if account.account_id in HOUSE else name
            elif name in HOUSE:
                self.accounts[name].cash -= signed
            elif name == "receivable":
                assert account is not None
                account.receivable += signed
            self.ledger[name] += signed
        if amount and FUND in (debit, credit, account.account_id if account else ""):
            self._note_fund()

    def _note_fund(self) -> None:
        """What the fund holds from now on."""
        if self.fund_held and self.fund_held[-1][0] == self.now:
            self.fund_held.pop()
        self.fund_held.append((self.now, self.accounts[FUND].cash))

    def fund_peak(self, window: int) -> Fraction:
        """The most that the fund held within a window that ends now."""
        ends = [*(time for time, _ in self.fund_held[1:]), self.now + 1]
        return max(held for (_, held), end in zip(self.fund_held, ends, strict=True) if end > self.now - window)

    def check_amount(self, micros: int) -> Fraction:
        if not 0 < micros <= 2**53:
            raise Refusal("out_of_bounds")
        assert self.rules is not None
        return micros * self.rules.micro

    # -- cash ------------------------------------------------------------------------------------

    def _Deposit(self, account_id: str, micros: int) -> None:
        account, amount = self.account(account_id), self.check_amount(micros)
        self.post("segregated_bank", "customer_cash", amount, account)
        self.came(account, amount)
        if account.receivable:
            self.reached["deposit into debt"] += 1
        self.pay_receivable(account)

    def _Withdraw(self, account_id: str, micros: int) -> None:
        account, amount = self.account(account_id), self.check_amount(micros)
        if account.receivable > 0:
            raise Refusal("in_debit")
        if self.figures.unpriced(account):
            raise Refusal("unpriced")
        if "frozen" in account.set_flags:
            raise Refusal("reconciliation_break")
        if self.gated():
            raise Refusal("withdrawals_gated")
        if amount > self.withdrawable(account):
            raise Refusal("exceeds_withdrawable")
        kept = self.haircut(amount)
        self.post("customer_cash", "uncovered", kept, account)
        self.post("customer_cash", "segregated_bank", amount - kept, account)
        self.came(account, -amount)

    def gated(self) -> bool:
        """Whether withdrawals wait: for whoever is below zero with positions, and a while after the last one."""
        assert self.rules is not None
        if self.rules.gate is None:
            return False
        recent = self.seen_below_zero is not None and self.now < self.seen_below_zero + self.rules.gate
        return recent or bool(self.below_zero())

    def below_zero_until(self, time: int) -> int | None:
        """Whoever is below zero when an input comes has been until then. Returns when one was seen before."""
        before, below = self.seen_below_zero, self.below_zero()
        if below:
            self.seen_below_zero = time
            self.reached["seen below zero"] += 1
            self.reached["below zero beside a guess"] += any(self.figures.unpriced(self.accounts[a]) for a in below)
        return before

    def below_zero(self) -> set[str]:
        """Customers with positions whose money and positions with a price come to less than nothing, where withdrawals
        wait for them."""
        if self.rules is None or self.rules.gate is None:
            return set()
        low = [a for a in self.accounts.values() if a.level in ("liquidate_only", "liquidating") and a.held()]
        return {a.account_id for a in low if a.account_id not in HOUSE and self.figures.known(a) < 0}

    def withdrawable(self, account: Account) -> Fraction:
        """What is free, less what the customer's flat isolated accounts will still cost when funding is booked."""
        free, above = self.figures.free(account), self.figures.above_kept(account)
        self.reached["a share of the notional stays"] += 0 < above < free
        children = [a for a in self.accounts.values() if a.parent == account.account_id and not a.held()]
        pending = sum((max(Fraction(0), -self.figures.net_liq(child)) for child in children), Fraction(0))
        return max(Fraction(0), min(free, above) - pending)

    def pay_receivable(self, account: Account) -> None:
        free = account.cash + min(account.accrued, Fraction(0))
        payment = min(account.receivable, max(free, Fraction(0)))
        if payment > 0:
            self.post("customer_cash", "receivable", payment, account)
            self.post("house", "segregated_bank", payment)
            self.reached["receivable payment"] += 1
            self.settled(account)

    def settled(self, account: Account) -> None:
        if account.receivable == 0:
            account.days_in_debit = 0
            self.reached["receivable settled"] += 1

    def take_fee(self, account: Account, fee: Fraction) -> None:
        self.post("customer_cash", "fees", fee, account)

    # -- profits ---------------------------------------------------------------------------------

    def realise(self, account: Account, contract: Contract, exact: Fraction) -> None:
        """The customer's profit is rounded down; the clearing house pays the exact running total, rounded down; what
        lies between is nobody's, and is kept apart."""
        if exact == 0:
            return
        customer = down(exact, contract.micro)
        account.won += customer
        contract.traded_residue += exact
        clearing = down(contract.traded_residue, contract.micro)
        contract.traded_residue -= clearing
        self.post("clearing_house", "customer_cash", customer, account)
        self.post("clearing_house", "rounding", clearing - customer)
        if clearing != customer:
            self.reached["rounding"] += 1

    def _AccrueFunding(self, contract: str, rate: int, price_ticks: int | None) -> None:
        """Longs pay a rate above zero. What each is owed is rounded down; the exact total is kept beside it."""
        together = self.live_whole(contract)
        price = together[0].price if price_ticks is None else price_ticks * together[0].tick
        if price is None:
            raise Refusal("unpriced")
        if abs(rate) > 10**9:
            raise Refusal("out_of_bounds")
        for account, target in ((account, target) for account in self.accounts.values() for target in together):
            position = account.position(target.name)
            if position.quantity == 0:
                continue
            size = abs(target.value(price, position.quantity)) * Fraction(rate, 10**9)
            self.concerned.add(account.account_id)
            exact = -size if position.quantity > 0 else size
            amount = down(exact, target.micro)
            account.accrued += amount
            target.funding_exact += exact
            target.funding_given += amount
            self.reached["funding accrued"] += 1
            self.reached["funding of a leg"] += target.side != 0
        assert self.rules is not None
        if contract in self.rules.intervals:
            changed = self.rules.intervals[contract].ended(Fraction(rate, 10**9), self.now)
            self.reached[changed or "interval as usual"] += 1

    def _BookFunding(self) -> None:
        assert self.rules is not None
        for name in sorted(self.accounts):
            account, amount = self.accounts[name], self.accounts[name].accrued
            account.accrued = Fraction(0)
            self.post("clearing_house", "customer_cash", amount, account)
            if amount:
                self.concerned.add(name)
                self.reached["funding booked"] += 1
            if amount < 0 and account.parent is not None and self.rules.paid_from_balance:
                self._pay_from_balance(account, self.accounts[account.parent], -amount)
        for contract in self.rules.contracts.values():
            clearing = down(contract.funding_exact, contract.micro)
            self.post("clearing_house", "rounding", clearing - contract.funding_given)
            contract.funding_exact -= clearing
            contract.funding_given = Fraction(0)

    def _pay_from_balance(self, child: Account, parent: Account, due: Fraction) -> None:
        """The customer's free money pays for an isolated position, as far as it goes and he may withdraw it."""
        self.concerned.add(parent.account_id)
        barred = parent.receivable > 0 or self.figures.unpriced(parent) or "frozen" in parent.set_flags
        paid = Fraction(0) if barred else min(due, self.withdrawable(parent))
        self.reached[f"funding from the balance: {'all' if paid == due else 'a part' if paid else 'nothing'}"] += 1
        parent.cash -= paid
        child.cash += paid
        self.came(parent, -paid)

    def _Settle(self, contract: str, price_ticks: int) -> None:
        together = self.live_whole(contract)
        price = price_ticks * together[0].tick
        for target in together:
            self._check_settlement(target, price)
        for account, target in ((account, target) for account in self.accounts.values() for target in together):
            position = account.position(target.name)
            if position.quantity:
                value = target.value(price, position.quantity)
                self.realise(account, target, value - position.cost)
                position.cost = value
                self.concerned.add(account.account_id)
                self.reached["settled position"] += 1

    def _Expire(self, contract: str, price_ticks: int) -> None:
        together = self.live_whole(contract)
        self._Settle(contract, price_ticks)
        for target in together:
            target.expired = True
        for account, target in ((account, target) for account in self.accounts.values() for target in together):
            position = account.position(target.name)
            position.quantity = position.cost = Fraction(0)
            gone = tuple(o for o, (name, _) in account.working.items() if name == target.name)
            for order_id in gone:
                del account.working[order_id]
            if gone:
                self.out.append(("cancel", account.account_id, gone))
                self.reached["expiry cancels orders"] += 1
            self._forget_outstanding(account, target.name)

    def _forget_outstanding(self, account: Account, contract: str) -> None:
        """Nothing fills in a contract that has ended."""
        if account.event is None:
            return
        for order_id in [o for o, (name, _) in account.event.outstanding.items() if name == contract]:
            del account.event.outstanding[order_id]
            self.concerned.add(account.account_id)
            self.out.append(("cancel", account.account_id, (order_id,)))
            self.reached["expiry ends close-out orders"] += 1

    def _check_settlement(self, target: Contract, price: Fraction) -> None:
        for account in self.accounts.values():
            if not target.in_bounds(price, account.position(target.name).quantity):
                raise Refusal("out_of_bounds")

    # -- debts -----------------------------------------------------------------------------------

    def flat_rules(self, account: Account) -> None:
        """Without a position and without a liquidation under way: debts are paid, and what is short goes down the
        waterfall; in the end somebody owes or bears it."""
        if account.held() or account.event is not None:
            return
        if account.parent is not None:
            self._to_parent(account, self.accounts[account.parent])
            return
        self.pay_receivable(account)
        short = -(account.cash + account.accrued - account.pending_fees)
        short = self.cover(account, short) if short > 0 else short
        if short > 0:
            self.post("receivable", "customer_cash", short, account)
            self.owes_more(account, short)

    def give_surplus(self, account: Account, beyond: Fraction) -> None:
        raise NotImplementedError

    def cover(self, account: Account, deficit: Fraction) -> Fraction:
        """What the money stages of the waterfall leave of a flat account's deficit."""
        raise NotImplementedError

    def above_bankruptcy(self, account: Account, contract: Contract, quantity: Fraction, value: Fraction) -> Fraction:
        """What a trade of the quantity for `value` would bring, for what it closes, beyond the bankruptcy price."""
        raise NotImplementedError

    def haircut(self, amount: Fraction) -> Fraction:
        """What of a withdrawal is kept."""
        raise NotImplementedError

    def owes_more(self, account: Account, amount: Fraction) -> None:
        """The firm covers the pool of customers' money from its own, the same day."""
        self.post("segregated_bank", "house", amount)
        account.status = account.status or "demanded"
        assert self.rules is not None
        self.out.append(("deficit", account.account_id, int(amount / self.rules.micro)))
        self.reached["deficit"] += 1

    def _to_parent(self, child: Account, parent: Account) -> None:
        """An isolated account gives its parent what is left, or takes what is missing; the rest the parent owes. The
        day's winnings go along."""
        parent.won += child.won
        child.won = Fraction(0)
        free = child.cash + min(child.accrued, Fraction(0))
        if free > 0:
            self.reached["surplus to the parent"] += 1
            self.reached["funding kept back"] += free < child.cash
            self.came(parent, free)
            child.cash -= free
            parent.cash += free
            return
        if child.cash < 0:
            if self.cover(child, -child.cash) == 0:
                return
            self.reached["shortfall from the parent"] += 1
            moved = -min(-child.cash, max(Fraction(0), parent.cash))
        else:
            return
        self.came(parent, child.cash)  # what the parent comes to owe is no loss of its own either
        child.cash -= moved
        parent.cash += moved
        if child.cash < 0:
            short = -child.cash
            child.cash = Fraction(0)
            parent.receivable += short
            self.ledger["receivable"] += short
            self.ledger["customer_cash"] -= short
            self.reached["the parent owes"] += 1
            self.owes_more(parent, short)

    def age_debts(self) -> None:
        """Debts age and grow by the interest; the clearing house is paid, or pays, what the day brought."""
        assert self.rules is not None
        for account in self.accounts.values():
            if account.receivable > 0:
                account.days_in_debit += 1
                interest = up(account.receivable * self.rules.daily_interest, self.rules.micro)
                self.post("receivable", "fees", interest, account)
                self.reached["debt aged"] += 1
        self.post("segregated_bank", "clearing_house", self.ledger["clearing_house"])

    def _SetReceivableStatus(self, account_id: str, status: str, by: str, reason: str) -> None:
        account = self.account(account_id)
        check_name(by)
        if status not in ("demanded", "plan", "collections"):
            raise Refusal("unknown_status")
        if account.receivable == 0:
            raise Refusal("no_receivable")
        account.status = status

    def _WriteOff(self, account_id: str, micros: int, by: str, second: str, reason: str) -> None:
        account = self.account(account_id)
        check_names(by, second)
        amount = self.check_amount(micros)
        if amount > account.receivable:
            raise Refusal("exceeds_receivable")
        self.post("written_off", "receivable", amount, account)
        self.settled(account)
        self.reached["write-off"] += 1

    # -- corrections -----------------------------------------------------------------------------

    def _AdjustCash(
        self, account_id: str, micros: int, by: str, second: str, reason: str, receipt_id: str, restore_count: bool
    ) -> None:
        account = self.account(account_id)
        check_names(by, second)
        amount = self.check_amount(abs(micros)) * (1 if micros > 0 else -1)
        self.post("segregated_bank", "house", amount)
        self.post("house", "customer_cash", amount, account)
        self.came(account, amount)
        if restore_count and account.liquidations > 0:
            account.liquidations -= 1
            self.reached["count restored"] += 1
        self.pay_receivable(account)
        self.reached["cash adjusted"] += 1

    def _CorrectFill(self, fill_id: str, price_ticks: int | None, by: str, second: str, reason: str) -> None:
        check_names(by, second)
        if fill_id not in self.fills:
            raise Refusal("unknown_fill")
        past = self.fills[fill_id]
        account, contract = self.accounts[past.account_id], self.live(past.contract)
        if price_ticks is None:
            self.check_leg(account, contract, -past.quantity)
        self.concerned.add(account.account_id)
        self._trade(account, contract, -past.quantity, -contract.cost(past.price, past.quantity))
        self.post("fees", "customer_cash", past.fee, account)
        if price_ticks is None:
            del self.fills[fill_id]
            self.reached["fill busted"] += 1
            return
        past.price = price_ticks * contract.tick
        past.fee = contract.fee(past.price, past.quantity)
        self._trade(account, contract, past.quantity, contract.cost(past.price, past.quantity))
        self.take_fee(account, past.fee)
        self.reached["fill repriced"] += 1

    def _trade(self, account: Account, contract: Contract, quantity: Fraction, value: Fraction) -> None:
        raise NotImplementedError
