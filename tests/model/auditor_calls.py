"""The auditor's margin calls: who is asked for money at the start of a business day, and until when."""

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_money import Money
from tests.model.auditor_state import Account, Call, micros


class Calls(Money):
    """A call is for initial margin, from whoever is below maintenance margin; news does not count.
    Where a rulebook asks for less initial than maintenance margin, there may be nothing to call for."""

    def issue_calls(self) -> None:
        for account in self.people():
            if not account.held():
                continue
            missing = self.initial_margin(account) - self.figures.net_liq(account)
            if account.call is not None:
                account.call.days += 1
                account.call.missing = missing
                self._say(account, "aged", missing)
                self.reached["capital charge"] += account.call.days == 3
            elif missing > 0 and self.figures.net_liq(account) < self._margin(account, "maintenance"):
                account.call = Call(f"{self.seq}m-{account.account_id}", 1, missing)
                self._say(account, "issued", missing)
                self.out.append(("notice", account.account_id, "margin_call", None))

    def answer_calls(self) -> None:
        for account in self.people():
            self.answer_call(account)

    def answer_call(self, account: Account) -> None:
        """A call ends when initial margin is there again, or nothing is held any more: whichever was first."""
        if account.call is None:
            return
        if not account.held():
            self._say(account, "closed", Fraction(0))
        elif self.figures.net_liq(account) >= self.initial_margin(account):
            self._say(account, "met", Fraction(0))
            self.out.append(("notice", account.account_id, "margin_call_met", None))
        else:
            return
        account.call = None

    def _say(self, account: Account, status: str, missing: Fraction) -> None:
        assert account.call is not None
        assert self.rules is not None
        call, amount = account.call, micros(missing, self.rules.micro)
        self.out.append(("call", account.account_id, call.call_id, status, amount, call.days, call.days >= 3))
        self.reached[f"margin call {status}"] += 1

    def initial_margin(self, account: Account) -> Fraction:
        return self._margin(account, "initial")

    def _margin(self, account: Account, kind: str) -> Fraction:
        assert self.rules is not None
        found: dict[str, Fraction] = {}
        for name, position in account.held().items():
            contract = self.rules.contracts[name]
            value = self.figures.stands_on(contract, position)
            if kind == "initial":
                found[name] = contract.initial(position.quantity, value, account.leverage_of(name), Fraction(0))
            else:
                found[name] = contract.margin(kind, position.quantity, value)
        counted = self.figures.counted(account, found)
        self.reached[f"{kind} margin netted"] += counted != found
        return sum(counted.values(), Fraction(0))
