"""A second engine, slow and plain: what each input must lead to, from the rules alone, on exact fractions.

It imports nothing of the package under test. Commands come as plain dictionaries with a `type`; the answer is a list
of plain tuples in the order in which they follow: ``("rejected", code)``, ``("order", account, order, contract,
lots)``, ``("approved" | "refused", ...)``, ``("cancel", account, orders)``, ``("ended", account, receipt)``,
``("deficit", account, micros)``. What an account then looks like is `Auditor.view`.
"""

import json
from collections import Counter, defaultdict

from tests.model.auditor_brakes import Stops
from tests.model.auditor_calls import Calls
from tests.model.auditor_desk import Desk
from tests.model.auditor_fractions import Fraction
from tests.model.auditor_market import Market
from tests.model.auditor_orders import Orders
from tests.model.auditor_rules import MARKET, Contract, Rules, Step
from tests.model.auditor_state import (
    EVERYBODY,
    HOUSE,
    SUSPENSE,
    Account,
    Event,
    Figures,
    Refusal,
    lots_of,
    micros,
)
from tests.model.auditor_trades import Trades
from tests.model.auditor_waterfall import Waterfall

OF_EVERYBODY = ("Marks", "Tick", "SessionChange", "Halt", "SetMargin", "NewsWindow")
OF_ONE = ("Deposit", "Withdraw", "TransferPosition", "WriteOff", "AdjustCash", "SetRiskSettings", "Flatten", "Fill")
"""Commands after which everybody's close-out, or one account's, is looked at again; others say it themselves."""


class Auditor(Orders, Market, Trades, Desk, Stops, Calls, Waterfall):
    """Predicts every verdict. `reached` counts the branches that were worth reaching; `concerned` are accounts whose
    close-outs this input is a reason to look at again, `touched` those that another's close-out has moved."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.now = 0
        self.seq = self.batch = 0
        self.rules: Rules | None = None
        self.accounts: dict[str, Account] = {}
        self.ledger: dict[str, Fraction] = defaultdict(Fraction)
        self.fills = {}
        self.switches = set()
        self.disclosure = ""
        self.owner_bounds = {}
        self.schedule = {}
        self.reviews = {}
        self.trade_date = None
        self.told_until = 0
        self.out: list[tuple] = []
        self.reached: Counter[str] = Counter()
        self.kind = ""
        self.concerned: set[str] = set()
        self.touched: set[str] = set()
        self.used_since: int | None = None
        self.used = Fraction(0)
        self.fund_held: list[tuple[int, Fraction]] = []
        self.seen_below_zero: int | None = None

    # -- inputs ----------------------------------------------------------------------------------

    def apply(self, source: str, number: int, time: int, command: dict) -> list[tuple]:
        self.seq += 1
        self.batch = 0
        self.out = []
        try:
            expected = self.seen.get(source, 0) + 1
            if number != expected:
                raise Refusal("duplicate_input" if number < expected else "gap_in_inputs")
            self.seen[source] = number
            if command["type"] == "MarkSeries" and self.rules is not None:
                self._series(time, command["batches"])
            else:
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
        seen = self.below_zero_until(time)
        before, self.now, self.kind = self.now, time, kind
        self.concerned = {EVERYBODY} if kind in OF_EVERYBODY else set()
        if kind in OF_ONE:
            self.concerned.add(command["account_id"])
        try:
            replan = getattr(self, f"_{kind}")(**{key: value for key, value in command.items() if key != "type"})
        except Refusal:
            self.now, self.seen_below_zero = before, seen
            raise
        self.reached[kind] += 1
        if command.get("last", True):  # a transfer is judged when all of it is in
            self.judge_all(replan or "")
            self.answer_calls()

    def _series(self, until: int, batches: list[tuple[int, list]]) -> None:
        """Each batch as if it had come alone, and refused alone."""
        if until < self.now:
            raise Refusal("time_ran_back")
        for self.batch, (time, marks) in enumerate(batches, 1):
            try:
                if time > until:
                    raise Refusal("time_ahead")
                self._act(time, {"type": "Marks", "marks": marks})
            except Refusal as refusal:
                self.out.append(("rejected", refusal.code))
                self.reached[f"rejected {refusal.code}"] += 1
        self.reached["MarkSeries"] += 1

    def place(self) -> str:
        return f"{self.seq}.{self.batch}" if self.batch else f"{self.seq}"

    def contract(self, name: str) -> Contract:
        if self.rules is None or name not in self.rules.contracts:
            raise Refusal("unknown_contract")
        return self.rules.contracts[name]

    def live(self, name: str) -> Contract:
        if self.contract(name).expired:
            raise Refusal("expired_contract")
        return self.contract(name)

    def whole(self, name: str) -> list[Contract]:
        if self.contract(name).leg_of:
            raise Refusal("leg")
        assert self.rules is not None
        return self.rules.together(name)

    def live_whole(self, name: str) -> list[Contract]:
        self.live(name)
        return self.whole(name)

    def account(self, account_id: str) -> Account:
        if account_id not in self.accounts:
            raise Refusal("unknown_account")
        return self.accounts[account_id]

    @property
    def figures(self) -> Figures:
        assert self.rules is not None
        return Figures(self.rules, self.accounts.values())

    def _LoadRulebook(self, document: bytes) -> None:
        self.rules = Rules(json.loads(document))
        for name in (SUSPENSE, *self.house_accounts()):
            self.accounts[name] = Account(name, "", None, True)
        self.endow()

    def _OpenAccount(
        self, account_id: str, owner: str, validate_with_intraday: bool, parent: str | None, leverage: dict[str, int]
    ) -> None:
        if account_id in self.accounts:
            raise Refusal("duplicate_account")
        if parent is not None:
            self.account(parent)
        for name in leverage:
            self.contract(name)
        self.accounts[account_id] = Account(account_id, owner, parent, validate_with_intraday)
        self.accounts[account_id].leverage = {name: Fraction(rate, 10**9) for name, rate in leverage.items()}

    def _OpenBook(self, accounts: list[tuple[str, int]], positions: list[tuple[str, str, int, int]]) -> None:
        """All of it, or nothing; every account is looked at as after its own transfer."""
        ids = [account_id for account_id, _ in accounts]
        if len(set(ids)) < len(ids) or any(key in self.accounts or key in HOUSE for key in ids):
            raise Refusal("duplicate_account")
        for _, cash in accounts:
            if cash:
                self.check_amount(cash)
        for name in {name for _, name, _, _ in positions}:
            self.live(name)
        if any(lots == 0 for _, _, lots, _ in positions):
            raise Refusal("zero_quantity")
        if len({(owner, name) for owner, name, _, _ in positions}) < len(positions):
            raise Refusal("position_twice")
        for _, name, lots, _ in positions:
            target = self.live(name)
            price = target.tick if target.price is None else target.price
            if not target.in_bounds(price, lots * target.lot):
                raise Refusal("out_of_bounds")
        if any(lots * self.live(name).side < 0 for _, name, lots, _ in positions):
            raise Refusal("wrong_leg")
        for account_id, cash in accounts:
            self._OpenAccount(account_id, "", True, None, {})
            self.concerned.add(account_id)
            if cash:
                self._Deposit(account_id, cash)
        for owner, name, lots, cost in positions:
            target = self.live(name)
            self._trade(self.accounts[owner], target, lots * target.lot, cost * target.quantum)

    def _BusinessDay(self, date: str) -> None:
        for account in self.accounts.values():
            account.won = Fraction(0)
        self.age_debts()
        self.issue_calls()

    def _SetValidation(self, account_id: str, with_intraday: bool) -> None:
        self.account(account_id).with_intraday = with_intraday

    # -- judging ---------------------------------------------------------------------------------

    def judge_all(self, replanned: str) -> None:
        """Isolated accounts first: what they give to or take from their parents is in the parents' verdicts. After each
        account those that its close-out touched."""
        self.keep_fund_whole()
        for account in self.people() if EVERYBODY in self.concerned else ():
            self.note_peak(account)
        for account in sorted(self.people(), key=lambda a: (a.parent is None, a.account_id)):
            self._judge_one(account, replanned in (account.account_id, EVERYBODY), parents_follow=True)

    def _judge_one(self, account: Account, replan: bool, parents_follow: bool = False) -> None:
        moved = self._judge(account, replan)
        self.answer_call(account)
        while self.touched:
            due, self.touched = sorted(self.touched), set()
            for name in due:
                self.concerned.add(name)
                self.reached["touched by another's close-out"] += 1
                self._judge_one(self.accounts[name], False)
        if moved and account.parent is not None:
            self.concerned.add(account.parent)
            if not parents_follow:
                self._judge_one(self.accounts[account.parent], False)

    def _judge(self, account: Account, replan: bool) -> bool:
        """One verdict. Returns whether money went to or came from the parent."""
        if replan or self.concerned & {account.account_id, EVERYBODY}:
            self.note_peak(account)
        ended: list[Event] = []
        if account.event is not None and self._due(account, replan):
            self._pursue(account, ended, replan)
            self.note_peak(account)  # a fee that was pending may not be due any more
        level = "liquidating" if account.event is not None else self._verdict_of(account, ended)
        if level != account.level:
            self.reached[f"{account.level} to {level}"] += 1
            self.reached[f"level change after {self.kind}"] += 1
            if level == "liquidate_only" and self._kept_back(account):
                self.out.append(("alarm", account.account_id, "held_below_line"))
        account.level = level
        if account.event is not None or account.held():
            return False
        before = account.cash
        self.flat_rules(account)
        return account.parent is not None and account.cash != before

    def _due(self, account: Account, replan: bool) -> bool:
        """Whether a close-out under way is looked at again: an order of it ended, nothing of it is out, or a leg that
        waited can be traded."""
        assert account.event is not None
        if replan:
            return True
        concerned = bool(self.concerned & {account.account_id, EVERYBODY})
        return concerned and (not account.event.outstanding or self._reopened(account))

    def _verdict_of(self, account: Account, ended: list[Event]) -> str:
        """The level of an account that is not being closed out. A close-out begins here, and may be over at once where
        others take the positions."""
        while True:
            level = self._plain_level(account)
            reason = self.crossed(account)
            if reason and "stopped" not in account.set_flags:
                self.reached["stopped with a liquidation"] += level == "liquidating"
                self.reached["stopped when a liquidation ends"] += account.level == "liquidating"
                self.stop(account, reason)
            account.flatten_due &= bool(account.held())
            if level != "liquidating" and not account.flatten_due:
                return level
            if self._held(account):
                self.reached["held below the line" if level == "liquidating" else "own brake held back"] += 1
                return "liquidate_only" if level == "liquidating" else level
            self.start(account, own=level != "liquidating")
            self._pursue(account, ended, False)
            if account.event is not None:
                return "liquidating"
            self.reached["over at once"] += 1
            self.note_peak(account)

    def _plain_level(self, account: Account) -> str:
        counted = self.figures.required(account)
        self.reached["verdict netted"] += counted != self.figures.requirements(account)
        return self.figures.level_at(self.figures.net_liq(account), counted)

    def _held(self, account: Account) -> bool:
        return "held" in account.set_flags | self.switches

    def _kept_back(self, account: Account) -> bool:
        return self._held(account) and self._plain_level(account) == "liquidating"

    def _reopened(self, account: Account) -> bool:
        """Whether a leg that could not be closed when the last plan was made can be closed now."""
        assert account.event is not None
        found = any(account.event.waiting.get(n) and self.figures.closable(n, self.now) for n in account.held())
        if found:
            self.reached["reopened beside orders"] += bool(account.event.outstanding)
        return found

    def start(self, account: Account, flatten: bool = False, own: bool = False) -> None:
        self.reached["own close-out" if own else "liquidation"] += 1
        self.reached[f"{'own close-out' if own else 'liquidation'} after {self.kind}"] += 1
        account.event = Event(f"{self.place()}-{account.account_id}", flatten, own)
        account.flatten_due = False
        self.cancel_working(account)

    def cancel_working(self, account: Account, contract: str = "") -> None:
        """All working orders, or those in one contract."""
        gone = tuple(o for o, (name, _) in account.working.items() if contract in ("", name))
        for order_id in gone:
            del account.working[order_id]
        if gone:
            self.out.append(("cancel", account.account_id, gone))
            self.reached["working orders cancelled"] += 1

    def _pursue(self, account: Account, ended: list[Event], replan: bool) -> None:
        """End the event if that can be, else hand over or send what the plan wants beyond what is out already."""
        event = account.event
        assert event is not None
        assert self.rules is not None
        if self._ends(account, ended):
            return
        if self._held(account) and not event.flatten:
            self.reached["held back"] += 1
            return
        event.rests &= replan
        self.next_step(event)
        if event.missed:
            self.reached["waits for the step's other orders"] += 1
            return
        closable, step = self._closable(account, event), self.step_of(event)
        if closable and self.goes_to_waterfall(account, event):
            self.take_over(account, event, closable)
            if self._ends(account, ended):
                return
            closable = [name for name in closable if name in account.held()]
            if step.limit in ("bankruptcy", "fillable"):
                self.reached["what nobody took goes to the market"] += 1
                step, event.rests = MARKET, False
        if event.rests:
            return
        wanted = self.hedged(account, closable, self._wanted(account, step, closable))
        for name in (name for name in self.rules.contracts if name in wanted):
            contract, position = self.rules.contracts[name], account.held()[name]
            sign = -1 if position.quantity > 0 else 1
            missing = wanted[name] * contract.lot - event.closing_in(name, sign)
            if missing > 0:
                self._send(account, event, step, name, sign * missing)

    def _send(self, account: Account, event: Event, step: Step, name: str, quantity: Fraction) -> None:
        assert self.rules is not None
        self.cancel_working(account)
        if event.fee is None and not event.own:
            event.fee = self._fee_due(account)
            account.pending_fees += event.fee
        limit = self.limit_for(account, step, name)
        event.sent += 1
        event.shared_at = self.now
        order_id = f"{event.receipt_id}-{event.sent}"
        event.outstanding[order_id] = (name, quantity)
        event.limited |= {order_id} if limit is not None else set()
        whole = abs(quantity) == abs(account.held()[name].quantity)
        if limit is not None and whole and step.limit == "bankruptcy" and step.method in ("flatten_all", "lower_tier"):
            event.takeovers[order_id] = limit * self.rules.contracts[name].tick
        lots = lots_of(self.rules.contracts[name], quantity)
        self.out.append(("order", account.account_id, order_id, name, lots, limit))
        self.reached["close-out order"] += 1

    def _fee_due(self, account: Account) -> Fraction:
        assert self.rules is not None
        return self.rules.later_fee if account.liquidations else self.rules.first_fee

    def _ends(self, account: Account, ended: list[Event]) -> bool:
        event = account.event
        assert event is not None
        if event.outstanding or not self._is_over(account):
            return False
        self._end(account)
        ended.append(event)
        return True

    def _is_over(self, account: Account) -> bool:
        if not account.held():
            return True
        event = account.event
        assert event is not None
        return not (event.flatten or event.own) and self.figures.cured(account, {}, Fraction(0))

    def _closable(self, account: Account, event: Event) -> list[str]:
        """Contracts that take orders now. Legs that cannot be closed are left for later."""
        assert self.rules is not None
        figures, held = self.figures, account.held()
        for name in held:
            reason = figures.why_not_closable(name, self.now)
            if reason and event.waiting.get(name) != reason:
                self.reached[f"queued: {reason}"] += 1
            event.waiting[name] = reason
        closable = [n for n in self.rules.contracts if n in held and not event.waiting[n]]
        self.reached["queued"] += len(closable) < len(held)
        return closable

    def _wanted(self, account: Account, step: Step, closable: list[str]) -> dict[str, int]:
        """Lots to close by contract."""
        event = account.event
        assert event is not None
        assert self.rules is not None
        held = account.held()
        if step.method == "flatten_all":
            return {n: abs(lots_of(self.rules.contracts[n], held[n].quantity)) for n in closable}
        if step.method != "reduce_to_target":
            return self.in_part(account, event, closable)
        fee = Fraction(0) if event.fee is not None else self._fee_due(account)
        plan = self.figures.plan_reduction(account, fee, self.now)
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
        if event.own:
            self.reached["own close-out ended"] += 1
        elif event.filled:
            self.take_fee(account, event.fee or Fraction(0))
            account.liquidations += 1
            if self.rules.restricts:
                account.set_flags.add("restricted")
                self.reached["restricted after liquidation"] += 1
        else:
            self.reached["ended without a fill"] += 1
        self.out.append(("ended", account.account_id, event.receipt_id, event.own))

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
            "requirement": micros(sum(figures.required(account).values(), Fraction(0)), micro),
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
            "event": (event.receipt_id, event.own, event.step) if event else None,
            "won": micros(account.won, micro),
            "call": (call.call_id, call.days) if (call := account.call) else None,
            "bases": [micros(base, micro) for base in (b.day, b.week, b.peak)] if (b := account.brakes) else None,
        }

    def standing(self) -> dict:
        """What holds for everybody: news and switches by contract ("" the firm), releases, reviews, the disclosure."""
        assert self.rules is not None
        contracts = self.rules.contracts
        return {
            "news": {
                name: (int(contract.news_multiplier * 10**9), contract.news_held)
                for name, contract in contracts.items()
                if contract.news_multiplier is not None
            },
            "switches": {"": self.switches, **{name: contract.switches for name, contract in contracts.items()}},
            "releases": {
                name: (r.contracts, r.begins, r.ends, int(r.multiplier * 10**9), r.held, r.begun)
                for name, r in self.schedule.items()
            },
            "reviews": self.reviews,
            "disclosure": self.disclosure,
            "intervals": {name: found.state() for name, found in self.rules.intervals.items() if found.last},
            "told until": self.told_until,
            "fund": self._fund_standing(),
            "below zero": self.below_zero(),
            "told of stale marks": {name for name, contract in contracts.items() if contract.stale_told},
        }
