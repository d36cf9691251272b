"""The auditor's executions: fills on orders or on none, orders that end, positions brought in."""

from dataclasses import dataclass

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_money import Money
from tests.model.auditor_rules import Contract, down, up
from tests.model.auditor_state import FUND, SUSPENSE, Account, Refusal


@dataclass
class Fill:
    """What a correction needs to know."""

    account_id: str
    contract: str
    quantity: Fraction
    price: Fraction
    fee: Fraction


class Trades(Money):
    """Whoever trades is judged anew, and a close-out of his planned anew."""

    def _Fill(self, account_id: str, contract: str, lots: int, price_ticks: int, order_id: str, fill_id: str) -> str:
        target = self.live(contract)
        if lots == 0:
            raise Refusal("zero_quantity")
        if fill_id in self.fills:
            raise Refusal("duplicate_fill")
        price, quantity = price_ticks * target.tick, lots * target.lot
        booked_to = account_id if account_id in self.accounts else SUSPENSE
        account = self.accounts[booked_to]
        self.check_trade(account, target, quantity, price)
        fee, value = target.fee(price, quantity), target.cost(price, quantity)
        above = self.above_bankruptcy(account, target, quantity, value) - fee
        rate = self.figures.fee_rate(account, contract)
        self._trade(account, target, quantity, value)
        self.take_fee(account, fee)
        self.fills[fill_id] = Fill(booked_to, contract, quantity, price, fee)
        self._fill_order(account, target, order_id, quantity, price, (rate, above))
        self._note_fill(account, target, order_id, price)
        return booked_to

    def _note_fill(self, account: Account, target: Contract, order_id: str, price: Fraction) -> None:
        if account.account_id == SUSPENSE:
            self.reached["suspense fill"] += 1
        elif account.event is not None and order_id.startswith(account.event.receipt_id):
            part = "partial" if order_id in account.event.outstanding else "whole"
            self.reached[f"close-out fill {part}"] += 1
        if price < 0:
            self.reached["fill below zero"] += 1

    def _fill_order(
        self, account: Account, target: Contract, order_id: str, quantity: Fraction, price: Fraction,
        charge: tuple[Fraction, Fraction],
    ) -> None:  # fmt: skip
        """Take the fill off the order that it names, unless it cannot be one of its fills."""
        event, name = account.event, target.name
        orders = account.working
        if order_id not in orders:
            orders = event.outstanding if event else {}
        if order_id not in orders:
            return
        contract, rest = orders[order_id]
        if contract != name or rest * quantity < 0:
            self.reached["fill that does not fit"] += 1
            return
        if event is not None and orders is event.outstanding:
            event.filled = True
            if account.held().get(name) and not (event.flatten or event.own):
                self.accounts[account.parent or account.account_id].parted_at = self.now
            charged = self.charge_by_rate(account, target, quantity, price, *charge)
            if event.takeovers.get(order_id):  # a coin has no value at the limit 0
                better = target.cost(event.takeovers[order_id], quantity) - target.cost(price, quantity)
                fees = target.fee(price, quantity) + charged
                self.give_surplus(account, down(better, target.micro) - fees)
            self.reached["overfill"] += abs(quantity) > abs(rest)
        orders[order_id] = (contract, rest - quantity)
        if (rest - quantity) * rest <= 0:
            del orders[order_id]

    def charge_by_rate(
        self, account: Account, contract: Contract, quantity: Fraction, price: Fraction, rate: Fraction, above: Fraction
    ) -> Fraction:
        """The liquidation fee by what a close-out order fills: where it is capped, never more than the fill brought
        beyond the bankruptcy price; none where the customer's own brake closes."""
        assert self.rules is not None
        if self.rules.fee_rate == 0 or (account.event is not None and account.event.own):
            return Fraction(0)
        fee = up(contract.notional(price, quantity) * rate, self.rules.micro)
        self.reached["fee of what is left"] += 0 < rate < self.rules.fee_rate
        if self.rules.fee_capped:
            self.reached["fee by rate capped"] += above < fee
            fee = min(fee, max(Fraction(0), above))
        self.post("customer_cash", FUND if self.rules.fee_to_fund else "fees", fee, account)
        self.reached["fee by rate to the fund" if self.rules.fee_to_fund else "fee by rate"] += fee > 0
        return fee

    def _trade(self, account: Account, contract: Contract, quantity: Fraction, value: Fraction) -> None:
        self.realise(account, contract, account.position(contract.name).trade(quantity, value, contract.quantum))

    def check_trade(self, account: Account, contract: Contract, quantity: Fraction, price: Fraction) -> None:
        after = account.position(contract.name).quantity + quantity
        trades = [(price, quantity), (price, after)] + ([] if contract.price is None else [(contract.price, after)])
        if not all(contract.in_bounds(p, q) for p, q in trades):
            raise Refusal("out_of_bounds")
        self.check_leg(account, contract, quantity)

    def _TransferPosition(self, account_id: str, contract: str, lots: int, cost: int, last: bool) -> None:
        account, target = self.account(account_id), self.live(contract)
        if lots == 0:
            raise Refusal("zero_quantity")
        self.check_leg(account, target, lots * target.lot)
        self._trade(account, target, lots * target.lot, cost * target.quantum)

    def _OrderDone(self, order_id: str, reason: str) -> str:
        for account in self.accounts.values():
            if account.event is not None and order_id in account.event.outstanding:
                del account.event.outstanding[order_id]
                account.event.missed |= order_id in account.event.limited
                self.reached["close-out order done with a remainder"] += 1
                self.reached["immediate-or-cancel order left something"] += order_id in account.event.limited
                return account.account_id
        return self._CancelOrder(order_id)

    def _CancelOrder(self, order_id: str) -> str:
        for account in self.accounts.values():
            if account.working.pop(order_id, None) is not None:
                return ""
        raise Refusal("unknown_order")
