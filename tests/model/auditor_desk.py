"""The auditor's desk: acts on accounts, products and the firm, limits, the disclosure, reconciliation, alarms."""

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_limits import Bounds, looser
from tests.model.auditor_money import Money
from tests.model.auditor_rules import BILLIONTH, MAX_LOTS, MAX_UNITS
from tests.model.auditor_state import EVERYBODY, Account, Refusal, check_name, check_second, lots_of, micros

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
SWITCHES = {
    "hold": ("held", True),
    "release_hold": ("held", False),
    "lock": ("locked", True),
    "unlock": ("locked", False),
    "liquidate_only": ("liquidate_only", True),
    "release_liquidate_only": ("liquidate_only", False),
    "kill": ("locked", True),
}


class Desk(Money):
    """Everything that somebody answers for by name."""

    def start(self, account: Account, flatten: bool = False, own: bool = False) -> None:
        raise NotImplementedError

    def cancel_working(self, account: Account, contract: str = "") -> None:
        raise NotImplementedError

    # -- accounts --------------------------------------------------------------------------------

    def _SetValidation(self, account_id: str, with_intraday: bool) -> None:
        self.account(account_id).with_intraday = with_intraday

    def _DeskAction(self, account_id: str, action: str, by: str, reason: str, second: str) -> str:
        account = self.account(account_id)
        check_name(by)
        if action not in ("liquidate", "alert", *DESK_FLAGS):
            raise Refusal("unknown_action")
        if action == "alert":
            self.out.append(("notice", account_id, "desk_alert", reason))
            return ""
        self.concerned.add(account_id)
        if action == "liquidate":
            return self._desk_liquidates(account)
        if action == "release_restriction":
            check_second(by, second)
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
        self.start(account, flatten=True)
        return account.account_id

    def _Reconcile(self, account_id: str, cash: int, lots: dict[str, int], file: str, by: str) -> None:
        account = self.account(account_id)
        check_name(by)
        assert self.rules is not None
        for name in lots:
            self.contract(name)
        pairs = {"cash": (micros(account.cash, self.rules.micro), cash)}
        for name, contract in self.rules.contracts.items():
            pairs[name] = (lots_of(contract, account.position(name).quantity), lots.get(name, 0))
        differences = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if differences:
            account.set_flags.add("frozen")
            self.out.append(("alarm", account_id, "reconciliation_break"))
        elif "frozen" in account.set_flags:
            account.set_flags.discard("frozen")
            self.reached["thawed"] += 1
        self.reached["reconciliation break" if differences else "reconciled"] += 1
        self.out.append(("reconciled", account_id, file, tuple(sorted(differences.items()))))

    def _RaiseAlarm(self, account_id: str, code: str, detail: str) -> None:
        if account_id:
            self.account(account_id)
        self.out.append(("alarm", account_id, code))

    def _GiveNotice(self, account_id: str, kind: str, detail: str) -> None:
        if account_id:
            self.account(account_id)
        self.out.append(("notice", account_id, kind, detail))

    # -- products and the firm -------------------------------------------------------------------

    def _DeskSwitch(self, contract: str, action: str, by: str, reason: str, second: str) -> str:
        check_name(by)
        together = self.whole(contract) if contract else []
        if action not in ("alert", *SWITCHES):
            raise Refusal("unknown_action")
        if action in ("unlock", "release_liquidate_only"):
            check_second(by, second)
        scope = "product" if contract else "firm"
        self.reached[f"{scope} {action}"] += 1
        self.setting("", "desk_switch", f"{contract or 'firm'} {action}: {reason}", by)
        if action == "alert":
            self._tell_holders(contract, "desk_alert", reason)
            return ""
        flag, on = SWITCHES[action]
        for switches in [target.switches for target in together] or [self.switches]:
            (switches.add if on else switches.discard)(flag)
        self.concerned |= {EVERYBODY} if flag == "held" else set()
        if action == "kill":
            for account in self.people():
                self.reached["kill switch cancels orders"] += bool(account.working)
                for name in [target.name for target in together] or [""]:
                    self.cancel_working(account, name)
        return EVERYBODY if action == "release_hold" and not contract else ""

    def _tell_holders(self, contract: str, kind: str, detail: str) -> None:
        names = {target.name for target in self.whole(contract)} if contract else set()
        for account in self.accounts.values():
            if not names.isdisjoint(account.held()) or (not contract and account.held()):
                self.out.append(("notice", account.account_id, kind, detail))
                self.reached[f"holder told of {kind}"] += 1

    def _AnnounceExpiry(self, contract: str, what: str) -> None:
        self.live_whole(contract)
        self._tell_holders(contract, "expiry_warning", what)

    # -- the disclosure --------------------------------------------------------------------------

    def _SetDisclosure(self, version: str, by: str) -> None:
        check_name(by)
        self.disclosure = version
        self.setting("", "disclosure", version or "none", by)

    def _AcknowledgeDisclosure(self, account_id: str, version: str) -> None:
        account = self.account(account_id)
        if version != self.disclosure:
            raise Refusal("disclosure_version")
        account.acknowledged = version
        self.setting(account_id, "disclosure", version, "customer")

    # -- limits ----------------------------------------------------------------------------------

    def _SetLimits(self, scope: str, name: str, limits: dict, by: str, reason: str, second: str) -> None:
        check_name(by)
        if scope not in ("account", "owner") or (scope == "owner" and not name):
            raise Refusal("unknown_scope")
        account = self.account(name) if scope == "account" else None
        bounds = self._read_bounds(limits)
        before = self.bounds_of(account) if account else self.owner_bounds.get(name, Bounds())
        inherited = self.accounts[account.parent].bounds if account and account.parent else None
        if looser(before, (inherited or bounds) if bounds == Bounds() else bounds):
            check_second(by, second)
            self.reached["limits loosened"] += 1
        if account:
            account.bounds = bounds
        else:
            self.owner_bounds[name] = bounds
        self.setting(name if account else "", "limits", f"{scope} {name}", by)

    def _read_bounds(self, limits: dict) -> Bounds:
        """Zero is no limit."""
        assert self.rules is not None
        tables = [limits[key] for key in ("order_lots", "position_lots", "concentration_lots")]
        named = {name for table in tables for name in table} | {n for group, _ in limits["groups"] for n in group}
        for contract in sorted(named):
            self.contract(contract)
        in_bounds = all(0 <= lots <= MAX_LOTS for table in tables for lots in table.values())
        in_bounds &= all(0 <= most <= MAX_UNITS for _, most in limits["groups"])
        rates = (limits["concentration_rate"], limits["collar"] or 0)
        if not in_bounds or min(rates) < 0:
            raise Refusal("out_of_bounds")
        kept = [{name: lots for name, lots in table.items() if lots} for table in tables]
        collar = limits["collar"]
        groups: dict[tuple[str, ...], Fraction] = {}
        for group, most in limits["groups"]:
            if most:
                key, amount = tuple(sorted(set(group))), Fraction(most) * self.rules.micro
                groups[key] = min(amount, groups.get(key, amount))
        return Bounds(
            kept[0],
            kept[1],
            collar * BILLIONTH if collar else None,
            kept[2],
            Fraction(limits["concentration_rate"]) * BILLIONTH,
            groups,
        )
