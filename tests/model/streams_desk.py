"""Inputs by people for a stream: the desk's acts, news, limits, papers, and the customer's own brakes."""

from datetime import date as Date
from datetime import timedelta
from fractions import Fraction
from typing import Any

from tests.model.auditor_state import Account
from tests.model.streams_look import SECOND, Look

from closeout.engine import commands as c

DISCLOSURES = ("", "", "v1", "v2")
RELEASES = ("cpi", "fomc", "jobs")


class DeskInputs(Look):
    """Each method invents one input, or None where there is nothing to aim at."""

    date = Date(2026, 9, 14)

    def second(self) -> str:
        return self.random.choice(("second", "second", "second", "", "desk"))

    def _desk(self) -> Any:
        account = self.an_account()
        if account is None:
            return None
        actions = ["hold", "lock", "liquidate_only", "liquidate", "restrict", "dance", "alert"]
        undo = {
            "held": "release_hold",
            "locked": "unlock",
            "desk_liquidate_only": "release_liquidate_only",
            "restricted": "release_restriction",
        }
        actions += [undo[flag] for flag in sorted(account.set_flags & undo.keys())] * 4
        second = self.random.choice(("", "second"))
        return c.DeskAction(account.account_id, self.random.choice(actions), "desk", "reason", second)

    def _news(self) -> Any:
        names = tuple(self.random.sample(list(self.setting.prices), self.random.randint(1, 2)))
        multiplier = self.random.choice((0, 0, 2 * SECOND, 4 * SECOND, 1_500_000_001))
        return c.NewsWindow(names, multiplier, self.random.random() < 0.5, "desk", "release", self.second())

    def _status(self) -> Any:
        account = self.an_account()
        if account is None:
            return None
        status = self.random.choice(("plan", "collections", "settled"))
        return c.SetReceivableStatus(account.account_id, status, "desk", "talked")

    def _schedule_news(self) -> Any:
        """A release soon, or one that stands already cut short, drawn out, raised, lowered or withdrawn."""
        names = tuple(self.random.sample(list(self.setting.prices), self.random.randint(1, 2)))
        multiplier = self.random.choice((2 * SECOND, 3 * SECOND, 4 * SECOND, 1_500_000_001, 0, 500))
        begins = self.auditor.now + self.random.choice((-60, 0, 30, 120, 600)) * SECOND
        ends = begins + self.random.choice((60, 60, 60, 300, 300, 600, 900, 3600, 0)) * SECOND
        release_id = self.random.choice(RELEASES)
        standing = self.auditor.schedule.get(release_id)
        if standing is not None and self.random.random() < 0.7:
            names = standing.contracts if self.random.random() < 0.7 else (*names, standing.contracts[0])
            begins = standing.begins if self.random.random() < 0.8 else begins
            ends = standing.ends + self.random.choice((-60, 0, 0, 600)) * SECOND
            multiplier = self.random.choice((0, int(standing.multiplier * SECOND), 2 * SECOND, 4 * SECOND))
        held = self.random.random() < 0.5
        return c.ScheduleNews(release_id, names, begins, ends, multiplier, held, "desk", "figures", self.second())

    def _review(self) -> Any:
        seq = self.random.choice([*self.auditor.reviews, 1])
        return c.ReviewMargin(seq, self.random.choice(("desk", "second", "second")), "looked at")

    def _switch(self) -> Any:
        """What is switched on is soon switched off, or nothing else would be reached."""
        scope = self.random.choice(("", self.a_contract(), self.a_contract()))
        on = {name for name in ("", *self.setting.prices) if self._switched(name)}
        if on and self.random.random() < 0.85:
            scope = self.random.choice(sorted(on))
        undo = {"held": "release_hold", "locked": "unlock", "liquidate_only": "release_liquidate_only"}
        actions = [undo[flag] for flag in sorted(self._switched(scope))]
        if not actions or self.random.random() < 0.2:
            actions = ["hold", "hold", "hold", "lock", "liquidate_only", "kill", "alert", "alert", "dance"]
        return c.DeskSwitch(scope, self.random.choice(actions), "desk", "orders", self.second())

    def _switched(self, scope: str) -> set[str]:
        return self.auditor.contract(scope).switches if scope else self.auditor.switches

    def _set_disclosure(self) -> Any:
        return c.SetDisclosure("" if self.auditor.disclosure else self.random.choice(DISCLOSURES), "desk")

    def _acknowledge(self) -> Any:
        account = self.an_account()
        if account is None or not self.auditor.disclosure:
            return None
        version = self.auditor.disclosure if self.random.random() < 0.9 else "v0"
        return c.AcknowledgeDisclosure(account.account_id, version)

    def _set_limits(self) -> Any:
        account = self.an_account()
        if account is None:
            return None
        scope = self.random.choice(("account", "account", "account", "owner", "owner", "firm"))
        name = account.account_id
        if scope == "owner":
            name = self.random.choice(("A", "B", "B", ""))
            account = self.random.choice([a for a in self.accounts() if self.auditor.owner_of(a) == name] or [account])
        return c.SetLimits(scope, name, self._limits(account), "desk", "exposure", self.second())

    def _limits(self, account: Account) -> c.Limits:
        """Near what the account holds, so that the next orders are on either side of them."""
        if self.random.random() < 0.2:
            return c.Limits()
        tables: list[dict[str, int]] = [{}, {}, {}]
        for table in tables:
            for name in self.setting.prices:
                if self.random.random() < 0.4:
                    held = abs(account.position(name).quantity) / self.auditor.contract(name).lot
                    size = self.setting.sizes[name]
                    table[name] = max(0, int(held) + self.random.choice((0, 1, size // 2, size, 2 * size)))
        tables[0] = {name: max(1, lots // 4) for name, lots in tables[0].items()}
        if self.random.random() < 0.05:
            tables[0][self.random.choice(("NONE", *self.setting.prices))] = self.random.choice((-1, 2**60))
        collar = self.random.choice((None, None, SECOND // 500, SECOND // 100, SECOND // 50))
        rate = self.random.choice((0, SECOND // 50, SECOND // 4))
        return c.Limits(tables[0], tables[1], collar, tables[2], rate, self._groups(account))

    def _groups(self, account: Account) -> tuple[c.GroupLimit, ...]:
        names = list(self.setting.prices)
        found: list[c.GroupLimit] = []
        for group in (tuple(names[:2]), (names[0], names[-1])):
            if self.random.random() < 0.4:
                notional = Fraction(0)
                for name in group:
                    contract = self.auditor.contract(name)
                    held = abs(account.position(name).quantity) + self.setting.sizes[name] * contract.lot / 2
                    notional += contract.notional(self.price(name) * contract.tick, held)
                found.append(c.GroupLimit(group, self.micros(notional * self.random.choice((1, 2, 3)))))
        return tuple(found)

    def _reconcile(self) -> Any:
        account = self.an_account()
        if account is None:
            return None
        cash = self.micros(account.cash)
        held = account.held().items()
        lots = {name: int(p.quantity / self.auditor.contract(name).lot) for name, p in held}
        if self.random.random() < 0.4 and "frozen" not in account.set_flags:
            cash += self.random.choice((0, 1, -1))
            name = self.random.choice(("NONE", self.a_contract(), self.a_contract(), self.a_contract()))
            lots[name] = lots.get(name, 0) + self.random.choice((0, 1))
        return c.Reconcile(account.account_id, cash, lots, self.new_id("file"), "desk")

    def _say(self) -> Any:
        account_id = self.random.choice(("", "A", "B", "nobody"))
        if self.random.random() < 0.5:
            return c.GiveNotice(account_id, "look_ahead", "short after the switch")
        return c.RaiseAlarm(account_id, self.random.choice(("feed_lost", "venue_unknown")), "look")

    def _announce_expiry(self) -> Any:
        return c.AnnounceExpiry(self.random.choice(("NONE", *self.setting.prices)), "last trade on Friday")

    # -- the customer's brakes -------------------------------------------------------------------

    def a_brakeable(self) -> Account | None:
        """Seldom an isolated account, which has no brakes of its own."""
        account = self.an_account()
        again = account is not None and account.parent and self.random.random() < 0.9
        return self.auditor.accounts[account.parent] if account and account.parent and again else account

    def _brakes(self) -> Any:
        """Losses that the next moves reach."""
        account = self.a_brakeable()
        if account is None:
            return None
        worth = max(abs(self.auditor.figures.net_liq(account)), Fraction(1))
        shares = (0, 0, Fraction(1, 100), Fraction(1, 20), Fraction(1, 5), Fraction(1, 2))
        amounts = [self.micros(worth * self.random.choice(shares)) for _ in range(3)]
        if self.random.random() < 0.03:
            amounts[0] = self.random.choice((-1, 2**53 + 1))
        standing = account.brakes
        if standing is not None and self.random.random() < 0.5:
            amounts = [self.micros(loss * self.random.choice((1, 1, 1, Fraction(1, 2), 2))) for loss in standing.losses]
        at = self.random.choice((*[""] * 7, "15:10", "24:00", "9:00"))
        return c.SetRiskSettings(account.account_id, c.RiskSettings(amounts[0], amounts[1], amounts[2], at))

    def _flatten(self) -> Any:
        account = self.a_brakeable()
        return c.Flatten(account.account_id, self.random.choice(("flatten time", "holiday", ""))) if account else None

    def _trade_date(self) -> Any:
        """Mostly the next; sometimes the same again, or one in the next week."""
        self.date += timedelta(days=self.random.choice((1, 1, 1, 0, -1, 3)))
        return c.TradeDate(self.date.isoformat() if self.random.random() < 0.95 else f"{self.date:%Y%m%d}")
