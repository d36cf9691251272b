"""The auditor's view of a customer's own brakes, which stop his account for the rest of the trade date."""

from datetime import date as Date

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_money import Money
from tests.model.auditor_rules import MAX_UNITS
from tests.model.auditor_state import Account, Brakes, Refusal

AMOUNTS = ("daily_loss", "weekly_loss", "trailing_drawdown")


class Stops(Money):
    """A stopped account is closed out without a fee and takes no opening order."""

    trade_date: Date | None

    def cancel_working(self, account: Account, contract: str = "") -> None:
        raise NotImplementedError

    def plain_account(self, account_id: str) -> Account:
        account = self.account(account_id)
        if account.parent is not None:
            raise Refusal("isolated_account")
        return account

    def _SetRiskSettings(self, account_id: str, settings: dict) -> None:
        account = self.plain_account(account_id)
        if any(not 0 <= settings[name] <= MAX_UNITS for name in AMOUNTS):
            raise Refusal("out_of_bounds")
        if not _is_time(settings["flatten_at"]):
            raise Refusal("bad_time")
        assert self.rules is not None
        losses = tuple(settings[name] * self.rules.micro for name in AMOUNTS)
        before = account.brakes
        if "stopped" in account.set_flags and _loosens(before, losses, settings["flatten_at"]):
            raise Refusal("stopped")
        now = self.figures.net_liq(account)
        if before is None:
            account.brakes = Brakes(losses, settings["flatten_at"], now, now, now)
        else:
            peak = now if before.losses[2] == 0 and losses[2] > 0 else before.peak
            account.brakes = Brakes(losses, settings["flatten_at"], before.day, before.week, peak)
            self.reached["brakes set again"] += 1
        self.setting(account_id, "risk_settings", "", "customer")

    def _Flatten(self, account_id: str, reason: str) -> None:
        account = self.plain_account(account_id)
        self.reached["flatten with a position" if account.held() else "flatten without a position"] += 1
        self.stop(account, reason or "flatten time")

    def _TradeDate(self, date: str) -> None:
        new = _read_date(date)
        if self.trade_date is not None and new <= self.trade_date:
            raise Refusal("date_ran_back")
        new_week = self.trade_date is None or new.isocalendar()[:2] != self.trade_date.isocalendar()[:2]
        self.trade_date = new
        for account in self.people():
            account.flatten_due = False
            if account.brakes is not None:
                self.concerned.add(account.account_id)
                account.brakes.day = self.figures.net_liq(account)
                if new_week:
                    account.brakes.week = account.brakes.day
                    self.reached["a new week counts anew"] += 1
            if "stopped" in account.set_flags:
                account.set_flags.discard("stopped")
                self.out.append(("flag", account.account_id, "stopped", False))
                self.reached["stop lifted"] += 1

    # -- verdicts --------------------------------------------------------------------------------

    def note_peak(self, account: Account) -> None:
        if account.brakes is not None and not self.figures.unpriced(account):
            account.brakes.peak = max(account.brakes.peak, self.figures.net_liq(account))

    def crossed(self, account: Account) -> str:
        """The name of the first brake whose line the account is below; "" where there is none, or nobody can say."""
        if account.brakes is None or self.figures.unpriced(account):
            return ""
        net_liq = self.figures.net_liq(account)
        return next((name for line, name in account.brakes.lines() if net_liq < line), "")

    def stop(self, account: Account, reason: str) -> None:
        """From now on nothing opens, and what is held is closed."""
        if "stopped" not in account.set_flags:
            account.set_flags.add("stopped")
            self.out.append(("flag", account.account_id, "stopped", True))
            self.reached[f"stopped by {reason}"] += 1
        self.out.append(("notice", account.account_id, "stopped", reason))
        self.cancel_working(account)
        account.flatten_due = bool(account.held())


def _loosens(before: Brakes | None, losses: tuple[Fraction, ...], flatten_at: str) -> bool:
    if before is None:
        return flatten_at != ""
    if any(old > 0 and (new == 0 or new > old) for old, new in zip(before.losses, losses, strict=True)):
        return True
    return flatten_at != before.flatten_at


def _read_date(text: str) -> Date:
    try:
        found = Date.fromisoformat(text)
    except ValueError:
        raise Refusal("bad_time") from None
    if found.isoformat() != text:
        raise Refusal("bad_time")
    return found


def _is_time(text: str) -> bool:
    hours = {f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60)}
    return text == "" or text in hours
