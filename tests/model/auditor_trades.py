"""The auditor's executions: fills on orders or on none, orders that end, positions brought in."""

from dataclasses import dataclass
from fractions import Fraction

from tests.model.auditor_money import Money
from tests.model.auditor_rules import Contract
from tests.model.auditor_state import SUSPENSE, Account, Refusal


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
        fee = target.fee(price, quantity)
        self._trade(account, target, quantity, target.cost(price, quantity))
        self.take_fee(account, fee)
        self.fills[fill_id] = Fill(booked_to, contract, quantity, price, fee)
        self._fill_order(account, contract, order_id, quantity)
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

    def _fill_order(self, account: Account, name: str, order_id: str, quantity: Fraction) -> None:
        """Take the fill off the order that it names, unless it cannot be one of its fills."""
        event = account.event
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
            self.reached["overfill"] += abs(quantity) > abs(rest)
        orders[order_id] = (contract, rest - quantity)
        if (rest - quantity) * rest <= 0:
            del orders[order_id]

    def _trade(self, account: Account, contract: Contract, quantity: Fraction, value: Fraction) -> None:
        self.realise(account, contract, account.position(contract.name).trade(quantity, value, contract.quantum))

    def check_trade(self, account: Account, contract: Contract, quantity: Fraction, price: Fraction) -> None:
        after = account.position(contract.name).quantity + quantity
        trades = [(price, quantity), (price, after)] + ([] if contract.price is None else [(contract.price, after)])
        if not all(contract.in_bounds(p, q) for p, q in trades):
            raise Refusal("out_of_bounds")

    def _TransferPosition(self, account_id: str, contract: str, lots: int, cost: int, last: bool) -> None:
        account, target = self.account(account_id), self.live(contract)
        if lots == 0:
            raise Refusal("zero_quantity")
        self._trade(account, target, lots * target.lot, cost * target.quantum)

    def _OrderDone(self, order_id: str, reason: str) -> str:
        for account in self.accounts.values():
            if account.event is not None and order_id in account.event.outstanding:
                del account.event.outstanding[order_id]
                self.reached["close-out order done with a remainder"] += 1
                return account.account_id
        return self._CancelOrder(order_id)

    def _CancelOrder(self, order_id: str) -> str:
        for account in self.accounts.values():
            if account.working.pop(order_id, None) is not None:
                return ""
        raise Refusal("unknown_order")
