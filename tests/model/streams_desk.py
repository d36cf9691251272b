"""Inputs by people for a stream: the desk's acts, news, limits, papers, and the customer's own brakes."""

from datetime import date as Date
from datetime import timedelta
from typing import Any

import msgspec
from tests.model.auditor_fractions import Fraction
from tests.model.auditor_state import Account
from tests.model.streams_look import SECOND, Look

from closeout.engine import commands as c
from closeout.engine.opening import pack

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

    def _open_book(self) -> Any:
        """One or two accounts that nobody aims at afterwards; seldom something that cannot be taken."""
        names = list(self.setting.prices)
        accounts = [
            (self.new_id("P"), self.random.randint(0, self.setting.wealth))
            for _ in range(self.random.choice((1, 1, 2)))
        ]
        positions: list[tuple[str, str, int, int]] = []
        for account_id, _ in accounts:
            for name in self.random.sample(names, self.random.randint(0, min(2, len(names)))):
                contract, lots = self.auditor.contract(name), self.random.choice((-3, -1, 1, 2, 5))
                cost = contract.value(self.price(name) * contract.tick, lots * contract.lot) / contract.quantum
                positions.append((account_id, name, lots, int(cost)))
        slip = self.random.random()
        if slip < 0.06:
            accounts.append(self.random.choice((("A", 1), ("suspense", 1), ("P", -1), ("P", 2**60))))
        elif slip < 0.12 and positions:
            owner, name, lots, cost = positions[-1]
            positions.append(self.random.choice((positions[-1], (owner, name, 0, 0), (owner, name, 2**50, cost))))
        return pack(accounts, positions)

    def _news(self) -> Any:
        names = tuple(self.random.sample(self.markets(), self.random.randint(1, 2)))
        multiplier = self.random.choice((0, 0, 2 * SECOND, 4 * SECOND, 1_500_000_001))
        held, second = self.random.random() < 0.5, self.second()
        if self.news_asked is not None and self.random.random() < 0.4:  # the same again, but for one thing
            names, multiplier, held = self.news_asked.contracts, self.news_asked.multiplier, not self.news_asked.held
            second = self.random.choice(("", "second"))
        self.news_asked = c.NewsWindow(names, multiplier, held, "desk", "release", second)
        return self.news_asked

    def _status(self) -> Any:
        owing = [account for account in self.accounts() if account.receivable]
        account = self.random.choice(owing) if owing and self.random.random() < 0.8 else self.an_account()
        if account is None:
            return None
        status = self.random.choice(("plan", "collections", "settled"))
        return c.SetReceivableStatus(account.account_id, status, "desk", "talked")

    def _schedule_news(self) -> Any:
        """A release soon, or one that stands already cut short, drawn out, raised, lowered or withdrawn."""
        names = tuple(self.random.sample(self.markets(), self.random.randint(1, 2)))
        multiplier = self.random.choice((2 * SECOND, 3 * SECOND, 4 * SECOND, 1_500_000_001, 0, 500))
        begins = self.auditor.now + self.random.choice((-60, 0, 30, 120, 600)) * SECOND
        ends = begins + self.random.choice((60, 60, 60, 300, 300, 600, 900, 3600, 0)) * SECOND
        release_id = self.random.choice(RELEASES)
        held = self.random.random() < 0.5
        given = c.ScheduleNews(release_id, names, begins, ends, multiplier, held, "desk", "figures", self.second())
        standing = self.auditor.schedule
        return self._changed_release(given) if standing and self.random.random() < 0.75 else given

    def _changed_release(self, given: c.ScheduleNews) -> c.ScheduleNews:
        """A release that stands, one thing of it changed; one that has begun where there is one."""
        standing = self.auditor.schedule
        begun = [name for name, release in standing.items() if release.begun]
        name = self.random.choice(begun or list(standing))
        release = standing[name]
        same = msgspec.structs.replace(
            given,
            release_id=name,
            contracts=release.contracts,
            begins=release.begins,
            ends=release.ends,
            multiplier=int(release.multiplier * SECOND),
            held=release.held,
            second=self.random.choice(("", "second")),
        )
        changes: tuple[dict[str, Any], ...] = (
            {},
            {"ends": same.ends + self.random.choice((-1, 1, 60 * SECOND))},
            {"multiplier": same.multiplier + self.random.choice((-SECOND // 10, SECOND // 10))},
            {"multiplier": 0},
            {"held": not same.held},
            {"contracts": given.contracts},
            {"contracts": (*given.contracts, *same.contracts)},
            {"begins": given.begins, "ends": max(given.begins + SECOND, same.ends)},
        )
        return msgspec.structs.replace(same, **self.random.choice(changes))

    def _review(self) -> Any:
        seq = self.random.choice([*self.auditor.reviews, 1])
        return c.ReviewMargin(seq, self.random.choice(("desk", "second", "second")), "looked at")

    def _switch(self) -> Any:
        """What is switched on is soon switched off, or nothing else would be reached."""
        scope = self.random.choice(("", self.a_market(), self.a_market()))
        on = {name for name in ("", *self.markets()) if self._switched(name)}
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
        before = self.limits_asked.get((scope, name))
        changed = before is not None and before != c.Limits() and self.random.random() < 0.5
        limits = self._changed_limits(before) if changed and before else self._limits(account)
        second = self.random.choice(("", "second")) if changed else self.second()
        given = c.SetLimits(scope, name, limits, "desk", "exposure", second)
        if scope != "firm" and given.second == "second":
            self.limits_asked[(scope, name)] = limits
        return given

    def _changed_limits(self, before: c.Limits) -> c.Limits:
        """One figure more, less, or gone."""
        figures = {
            "order_lots": before.order_lots,
            "position_lots": before.position_lots,
            "concentration_lots": before.concentration_lots,
        }
        field = self.random.choice((*figures, "collar", "concentration_rate", "groups"))
        step = self.random.choice((-1, 1))
        if field == "collar":
            collar = self.random.choice((None, (before.collar or SECOND // 100) + step))
            return msgspec.structs.replace(before, collar=collar)
        if field == "concentration_rate":
            return msgspec.structs.replace(before, concentration_rate=max(0, before.concentration_rate + step))
        if field == "groups":
            groups = tuple(
                c.GroupLimit(g.contracts[:: self.random.choice((1, -1))], g.micros + step) for g in before.groups
            )
            return msgspec.structs.replace(before, groups=groups[self.random.choice((0, 0, 1)) :])
        table = dict(figures[field])
        name = self.random.choice([*table, self.a_contract()])
        table[name] = max(0, table.get(name, 2) + step)
        if self.random.random() < 0.3:
            del table[name]
        return msgspec.structs.replace(before, **{field: table})

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
        collar = self.random.choice((None, SECOND // 1000, SECOND // 500, SECOND // 200))
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
        return c.AnnounceExpiry(self.random.choice(("NONE", *self.markets())), "last trade on Friday")

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
