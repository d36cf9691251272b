"""A second engine, slow and plain: what each input must lead to, from the rules alone, on exact fractions.

It imports nothing of the package under test. Commands come as plain dictionaries with a `type`; the answer is a list
of plain tuples in the order in which they follow: ``("rejected", code)``, ``("order", account, order, contract,
lots)``, ``("approved" | "refused", ...)``, ``("cancel", account, orders)``, ``("ended", account, receipt)``,
``("deficit", account, micros)``. What an account then looks like is `Auditor.view`.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction

from tests.model.auditor_money import SUSPENSE
from tests.model.auditor_orders import Orders
from tests.model.auditor_rules import BILLIONTH, Contract, Rules, read_tier
from tests.model.auditor_state import Account, Event, Figures, Refusal, lots_of, micros

DESK_FLAGS = {
    "hold": ("held", True),
    "release_hold": ("held", False),
    "lock": ("locked", True),
    "unlock": ("locked", False),
    "liquidate_only": ("desk_liquidate_only", True),
    "release_liquidate_only": ("desk_liquidate_only", False),
    "restrict": ("restricted", True),
    "release_restriction": ("restricted", False),
}


@dataclass
class Fill:
    """What a correction needs to know."""

    account_id: str
    contract: str
    quantity: Fraction
    price: Fraction
    fee: Fraction


class Auditor(Orders):
    """Predicts every verdict. `reached` counts the branches that were worth reaching."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.now = 0
        self.seq = 0
        self.rules: Rules | None = None
        self.accounts: dict[str, Account] = {}
        self.ledger: dict[str, Fraction] = defaultdict(Fraction)
        self.fills: dict[str, Fill] = {}
        self.out: list[tuple] = []
        self.reached: Counter[str] = Counter()
        self.kind = ""

    # -- inputs ----------------------------------------------------------------------------------

    def apply(self, source: str, number: int, time: int, command: dict) -> list[tuple]:
        self.seq += 1
        self.out = []
        try:
            expected = self.seen.get(source, 0) + 1
            if number != expected:
                raise Refusal("duplicate_input" if number < expected else "gap_in_inputs")
            self.seen[source] = number
            self._act(time, command)
        except Refusal as refusal:
            self.out = [("rejected", refusal.code)]
            self.reached[f"rejected {refusal.code}"] += 1
        return self.out

    def _act(self, time: int, command: dict) -> None:
        kind = command["type"]
        if (self.rules is None) != (kind == "LoadRulebook"):
            raise Refusal("no_rulebook" if self.rules is None else "rulebook_loaded")
        if time < self.now:
            raise Refusal("time_ran_back")
        before, self.now, self.kind = self.now, time, kind
        try:
            replan = getattr(self, f"_{kind}")(**{key: value for key, value in command.items() if key != "type"})
        except Refusal:
            self.now = before
            raise
        self.reached[kind] += 1
        if command.get("last", True):  # a transfer is judged when all of it is in
            self.judge_all(replan or "")

    def contract(self, name: str) -> Contract:
        if self.rules is None or name not in self.rules.contracts:
            raise Refusal("unknown_contract")
        return self.rules.contracts[name]

    def live(self, name: str) -> Contract:
        if self.contract(name).expired:
            raise Refusal("expired_contract")
        return self.contract(name)

    def account(self, account_id: str) -> Account:
        if account_id not in self.accounts:
            raise Refusal("unknown_account")
        return self.accounts[account_id]

    @property
    def figures(self) -> Figures:
        assert self.rules is not None
        return Figures(self.rules)

    def _LoadRulebook(self, document: bytes) -> None:
        self.rules = Rules(json.loads(document))
        self.accounts[SUSPENSE] = Account(SUSPENSE, None, True)

    def _OpenAccount(
        self, account_id: str, owner: str, validate_with_intraday: bool, parent: str | None, leverage: dict[str, int]
    ) -> None:
        if account_id in self.accounts:
            raise Refusal("duplicate_account")
        if parent is not None:
            self.account(parent)
        for name in leverage:
            self.contract(name)
        self.accounts[account_id] = Account(account_id, parent, validate_with_intraday)
        self.accounts[account_id].leverage = {name: Fraction(rate, 10**9) for name, rate in leverage.items()}

    # -- the market ------------------------------------------------------------------------------

    def _Marks(self, marks: list[tuple[str, int | None]]) -> None:
        for name, ticks in marks:
            contract = self.contract(name)
            if ticks is not None:
                self._check_price(contract, ticks)
        if len({name for name, _ in marks}) < len(marks):
            raise Refusal("contract_twice")
        for name, ticks in marks:
            contract = self.contract(name)
            contract.marked_at = self.now
            contract.grade = self._grade(contract, ticks)
            if ticks is not None:
                contract.price = ticks * contract.tick
                if contract.grade == "ok":
                    contract.good_price = contract.price
            self.reached[f"mark {contract.grade}"] += 1

    def _check_price(self, contract: Contract, ticks: int) -> None:
        held = (abs(account.position(contract.name).quantity) for account in self.accounts.values())
        largest = max(held, default=Fraction(0))
        if not contract.in_bounds(ticks * contract.tick, largest):
            raise Refusal("out_of_bounds")

    def _grade(self, contract: Contract, ticks: int | None) -> str:
        assert self.rules is not None
        if ticks is None:
            return "missing"
        if contract.price is None or contract.good_price is None:
            return "ok"
        new = ticks * contract.tick
        if self.rules.jump is None:
            return "ok"
        bounds = ((abs(new - old), self.rules.jump * abs(old)) for old in (contract.price, contract.good_price))
        return "jump" if all(move > bound for move, bound in bounds) else "ok"

    def _Tick(self) -> None:
        pass

    def _SessionChange(self, session: str, window: str, is_open: bool) -> None:
        assert self.rules is not None
        if window not in self.rules.windows:
            raise Refusal("unknown_window")
        if session not in self.rules.sessions:
            raise Refusal("unknown_session")
        for contract in self.rules.contracts.values():
            if contract.session == session:
                contract.window = self.rules.windows[window]
                contract.is_open = is_open

    def _Halt(self, contract: str, halted: bool) -> None:
        self.live(contract).halted = halted

    def _NewsWindow(self, contracts: list[str], multiplier: int, held: bool, by: str, reason: str) -> None:
        for name in contracts:
            self.contract(name)
        if multiplier != 0 and multiplier < 10**9:
            raise Refusal("out_of_bounds")
        for name in contracts:
            contract = self.contract(name)
            contract.news_multiplier = multiplier * BILLIONTH if multiplier else None
            contract.news_held = held

    def _SetMargin(self, contract: str, tiers: bytes, by: str, reason: str, second: str) -> None:
        target = self.live(contract)
        new = [read_tier(table) for table in json.loads(tiers)]
        if (not second or second == by) and self._lowers(target, new):
            raise Refusal("needs_second")
        self.reached["margin lowered" if self._lowers(target, new) else "margin raised"] += 1
        target.tiers = new

    def _lowers(self, contract: Contract, new: list) -> bool:
        """Is any figure lower than before? Tiers that begin elsewhere count as lower."""
        if [tier.notional_from for tier in contract.tiers] != [tier.notional_from for tier in new]:
            return True
        for old_tier, new_tier in zip(contract.tiers, new, strict=True):
            for kind in ("intraday", "initial", "maintenance"):
                lower = new_tier.rate[kind] < old_tier.rate[kind]
                lower |= new_tier.per_contract[kind] < old_tier.per_contract[kind]
                if lower or new_tier.amount[kind] > old_tier.amount[kind]:
                    return True
        return False

    # -- fills and orders ------------------------------------------------------------------------

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

    def _SetValidation(self, account_id: str, with_intraday: bool) -> None:
        self.account(account_id).with_intraday = with_intraday

    def _DeskAction(self, account_id: str, action: str, by: str, reason: str, second: str) -> str:
        account = self.account(account_id)
        if action != "liquidate" and action not in DESK_FLAGS:
            raise Refusal("unknown_action")
        if action == "liquidate":
            return self._desk_liquidates(account)
        if action == "release_restriction" and (not second or second == by):
            raise Refusal("needs_second")
        flag, on = DESK_FLAGS[action]
        (account.set_flags.add if on else account.set_flags.discard)(flag)
        return account.account_id if action == "release_hold" else ""

    def _desk_liquidates(self, account: Account) -> str:
        """An order to close everything; it stands until the account is flat, whatever its level or the policy."""
        if not account.held():
            raise Refusal("flat")
        self.reached["desk liquidates"] += 1
        if account.event is not None:
            account.event.flatten = True
            return account.account_id
        self._start(account, flatten=True)
        return account.account_id

    # -- judging ---------------------------------------------------------------------------------

    def judge_all(self, replanned: str) -> None:
        """Isolated accounts first: what they give to or take from their parents is in the parents' verdicts."""
        judged = [account for account in self.accounts.values() if account.account_id != SUSPENSE]
        for account in sorted(judged, key=lambda a: (a.parent is None, a.account_id)):
            self._judge(account, account.account_id == replanned)

    def _judge(self, account: Account, replan: bool) -> None:
        assert self.rules is not None
        if account.event is None:
            self.flat_rules(account)
        figures = self.figures
        level = figures.level_at(figures.net_liq(account), figures.requirements(account))
        if account.event is None and level == "liquidating":
            if "held" in account.set_flags:
                self.reached["held below the line"] += 1
                level = "liquidate_only"
            else:
                self._start(account, flatten=False)
                replan = True
        if account.event is not None:
            level = "liquidating"
            if replan or not account.event.outstanding or self._reopened(account):
                self._pursue(account)
            if account.event is None:
                level = figures.level_at(figures.net_liq(account), figures.requirements(account))
        if level != account.level:
            self.reached[f"{account.level} to {level}"] += 1
            self.reached[f"level change after {self.kind}"] += 1
        account.level = level

    def _reopened(self, account: Account) -> bool:
        """Whether a leg that could not be closed when the last plan was made can be closed now."""
        assert account.event is not None
        found = any(name in account.event.waiting and self.figures.closable(name, self.now) for name in account.held())
        if found:
            self.reached["reopened beside orders"] += bool(account.event.outstanding)
        return found

    def _start(self, account: Account, flatten: bool) -> None:
        self.reached["liquidation"] += 1
        self.reached[f"liquidation after {self.kind}"] += 1
        account.event = Event(f"{self.seq}-{account.account_id}", flatten)
        self._cancel_working(account)

    def _cancel_working(self, account: Account) -> None:
        if account.working:
            self.out.append(("cancel", account.account_id, tuple(account.working)))
            self.reached["working orders cancelled"] += 1
        account.working.clear()

    def _pursue(self, account: Account) -> None:
        """End the event if that can be, else plan and send what the plan wants beyond what is out already."""
        event = account.event
        assert event is not None
        assert self.rules is not None
        if not event.outstanding and self._is_over(account):
            self._end(account)
            return
        if "held" in account.set_flags and not event.flatten:
            self.reached["held back"] += 1
            return
        wanted = self._wanted(account)
        for name, lots in ((name, wanted[name]) for name in self.rules.contracts if name in wanted):
            contract, position = self.rules.contracts[name], account.held()[name]
            sign = -1 if position.quantity > 0 else 1
            missing = lots * contract.lot - event.closing_in(name, sign)
            if missing <= 0:
                continue
            self._cancel_working(account)
            event.sent += 1
            order_id = f"{event.receipt_id}-{event.sent}"
            event.outstanding[order_id] = (name, sign * missing)
            self.out.append(("order", account.account_id, order_id, name, lots_of(contract, sign * missing)))
            self.reached["close-out order"] += 1
            if event.fee is None:
                event.fee = self._fee_due(account)
                account.pending_fees += event.fee

    def _fee_due(self, account: Account) -> Fraction:
        assert self.rules is not None
        return self.rules.later_fee if account.liquidations else self.rules.first_fee

    def _is_over(self, account: Account) -> bool:
        if not account.held():
            return True
        event = account.event
        assert event is not None
        return not event.flatten and self.figures.cured(account, {}, Fraction(0))

    def _wanted(self, account: Account) -> dict[str, int]:
        """Lots to close by contract. Legs that cannot be closed now are left for later."""
        event = account.event
        assert event is not None
        assert self.rules is not None
        figures, held = self.figures, account.held()
        closable = [n for n in self.rules.contracts if n in held and figures.closable(n, self.now)]
        event.waiting = (event.waiting | set(held)) - set(closable)
        if len(closable) < len(held):
            self.reached["queued"] += 1
        if event.flatten or self.rules.flattens:
            return {n: abs(lots_of(self.rules.contracts[n], held[n].quantity)) for n in closable}
        fee = Fraction(0) if event.fee is not None else self._fee_due(account)
        plan = figures.plan_reduction(account, fee, self.now)
        if any(0 < n < abs(held[name].quantity) / self.rules.contracts[name].lot for name, n in plan.items()):
            self.reached["partial close"] += 1
        return plan

    def _end(self, account: Account) -> None:
        event = account.event
        assert event is not None
        assert self.rules is not None
        account.event = None
        if event.fee is not None:
            account.pending_fees -= event.fee
        if event.filled:
            self.take_fee(account, event.fee or Fraction(0))
            account.liquidations += 1
            if self.rules.restricts:
                account.set_flags.add("restricted")
                self.reached["restricted after liquidation"] += 1
        else:
            self.reached["ended without a fill"] += 1
        self.flat_rules(account)
        self.out.append(("ended", account.account_id, event.receipt_id))

    # -- views -----------------------------------------------------------------------------------

    def view(self, account_id: str) -> dict:
        """An account's exact figures in micros and lots."""
        assert self.rules is not None
        account, figures, micro = self.accounts[account_id], self.figures, self.rules.micro
        event = account.event
        contracts = self.rules.contracts
        outstanding = event.outstanding if event else {}
        return {
            "cash": micros(account.cash, micro),
            "receivable": micros(account.receivable, micro),
            "accrued": micros(account.accrued, micro),
            "pending_fees": micros(account.pending_fees, micro),
            "net_liq": micros(figures.net_liq(account), micro),
            "requirement": micros(sum(figures.requirements(account).values(), Fraction(0)), micro),
            "level": account.level,
            "flags": sorted(figures.flags(account)),
            "liquidations": account.liquidations,
            "days_in_debit": account.days_in_debit,
            "positions": {
                n: (lots_of(contracts[n], p.quantity), micros(p.cost, contracts[n].quantum))
                for n, p in sorted(account.held().items())
            },
            "working": {o: (n, lots_of(contracts[n], q)) for o, (n, q) in sorted(account.working.items())},
            "outstanding": {o: (n, lots_of(contracts[n], q)) for o, (n, q) in sorted(outstanding.items())},
            "event": event.receipt_id if event else None,
        }
