"""A second engine, slow and plain: what each input must lead to, from the rules alone, on exact fractions.

It imports nothing of the package under test. Commands come as plain dictionaries with a `type`; the answer is a list
of plain tuples in the order in which they follow: ``("rejected", code)``, ``("order", account, order, contract,
lots)``, ``("approved" | "refused", ...)``, ``("cancel", account, orders)``, ``("ended", account, receipt)``,
``("deficit", account, micros)``. What an account then looks like is `Auditor.view`.
"""

import json
from collections import Counter, defaultdict
from fractions import Fraction

from tests.model.auditor_brakes import Stops
from tests.model.auditor_calls import Calls
from tests.model.auditor_desk import Desk
from tests.model.auditor_market import Market
from tests.model.auditor_orders import Orders
from tests.model.auditor_rules import Contract, Rules
from tests.model.auditor_state import EVERYBODY, SUSPENSE, Account, Event, Figures, Refusal, lots_of, micros
from tests.model.auditor_trades import Trades


class Auditor(Orders, Market, Trades, Desk, Stops, Calls):
    """Predicts every verdict. `reached` counts the branches that were worth reaching."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.now = 0
        self.seq = 0
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
            self.answer_calls()

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
        return Figures(self.rules, self.accounts.values())

    def _LoadRulebook(self, document: bytes) -> None:
        self.rules = Rules(json.loads(document))
        self.accounts[SUSPENSE] = Account(SUSPENSE, "", None, True)

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

    def _BusinessDay(self, date: str) -> None:
        self.age_debts()
        self.issue_calls()

    def _SetValidation(self, account_id: str, with_intraday: bool) -> None:
        self.account(account_id).with_intraday = with_intraday

    # -- judging ---------------------------------------------------------------------------------

    def judge_all(self, replanned: str) -> None:
        """Isolated accounts first: what they give to or take from their parents is in the parents' verdicts."""
        for account in sorted(self.people(), key=lambda a: (a.parent is None, a.account_id)):
            self._judge(account, replanned in (account.account_id, EVERYBODY))

    def _judge(self, account: Account, replan: bool) -> None:
        if account.event is None:
            self.flat_rules(account)
        self.note_peak(account)
        if account.event is not None and (replan or not account.event.outstanding or self._reopened(account)):
            self._pursue(account)
            self.note_peak(account)  # a fee that was pending may not be due any more
        level = "liquidating" if account.event is not None else self._verdict_of(account)
        if level != account.level:
            self.reached[f"{account.level} to {level}"] += 1
            self.reached[f"level change after {self.kind}"] += 1
            if level == "liquidate_only" and self._kept_back(account):
                self.out.append(("alarm", account.account_id, "held_below_line"))
        account.level = level

    def _verdict_of(self, account: Account) -> str:
        """The level of an account that is not being closed out; a close-out begins here."""
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
        self._pursue(account)
        return "liquidating" if account.event is not None else self._plain_level(account)

    def _plain_level(self, account: Account) -> str:
        return self.figures.level_at(self.figures.net_liq(account), self.figures.requirements(account))

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
        account.event = Event(f"{self.seq}-{account.account_id}", flatten, own)
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

    def _pursue(self, account: Account) -> None:
        """End the event if that can be, else plan and send what the plan wants beyond what is out already."""
        event = account.event
        assert event is not None
        assert self.rules is not None
        if not event.outstanding and self._is_over(account):
            self._end(account)
            return
        if self._held(account) and not event.flatten:
            self.reached["held back"] += 1
            return
        wanted = self._wanted(account)
        for name, lots in ((name, wanted[name]) for name in self.rules.contracts if name in wanted):
            contract, position = self.rules.contracts[name], account.held()[name]
            sign = -1 if position.quantity > 0 else 1
            missing = lots * contract.lot - event.closing_in(name, sign)
            if missing <= 0:
                continue
            self.cancel_working(account)
            event.sent += 1
            order_id = f"{event.receipt_id}-{event.sent}"
            event.outstanding[order_id] = (name, sign * missing)
            self.out.append(("order", account.account_id, order_id, name, lots_of(contract, sign * missing)))
            self.reached["close-out order"] += 1
            if event.fee is None and not event.own:
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
        return not (event.flatten or event.own) and self.figures.cured(account, {}, Fraction(0))

    def _wanted(self, account: Account) -> dict[str, int]:
        """Lots to close by contract. Legs that cannot be closed now are left for later."""
        event = account.event
        assert event is not None
        assert self.rules is not None
        figures, held = self.figures, account.held()
        closable = [n for n in self.rules.contracts if n in held and figures.closable(n, self.now)]
        for name in held:
            reason = figures.why_not_closable(name, self.now)
            if reason and event.waiting.get(name) != reason:
                self.reached[f"queued: {reason}"] += 1
            event.waiting[name] = reason
        if len(closable) < len(held):
            self.reached["queued"] += 1
        if event.flatten or event.own or self.rules.flattens:
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
        self.flat_rules(account)
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
            "event": (event.receipt_id, event.own) if event else None,
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
            "told until": self.told_until,
            "told of stale marks": {name for name, contract in contracts.items() if contract.stale_told},
        }
