"""The auditor's market: marks and their grades, sessions, halts, news windows and margin rates."""

import json

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_money import Money
from tests.model.auditor_rules import BILLIONTH, Contract, read_tiers
from tests.model.auditor_state import EVERYBODY, Refusal, Release, check_name, check_second


class Market(Money):
    """What changes the figures of everybody at once."""

    schedule: dict[str, Release]
    reviews: dict[int, tuple[str, str]]

    def _Marks(self, marks: list[tuple[str, int | None]]) -> None:
        for contract, ticks in ((contract, ticks) for name, ticks in marks for contract in self.whole(name)):
            if ticks is not None:
                self._check_price(contract, ticks)
        if len({name for name, _ in marks}) < len(marks):
            raise Refusal("contract_twice")
        for contract, ticks in ((contract, ticks) for name, ticks in marks for contract in self.whole(name)):
            contract.marked_at = self.now
            contract.grade = self._grade(contract, ticks)
            if ticks is not None:
                contract.previous_price = contract.price
                contract.price = ticks * contract.tick
                if contract.grade == "ok":
                    contract.good_price = contract.price
                    contract.stale_told = False
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

    def _Tick(self, until: int) -> None:
        """Up to `until` the clock has said everything; it takes nothing back and says nothing of what is to come."""
        self.told_until = max(self.told_until, min(until, self.now) if until else self.now)
        self._stale_marks()
        self._due_releases()

    def _stale_marks(self) -> None:
        """A mark that has grown stale under somebody's position or order alarms once."""
        assert self.rules is not None
        for contract in self.rules.contracts.values():
            stale = contract.grade == "ok" and contract.grade_at(self.now, self.rules.stale_after) == "stale"
            names = {each.name for each in self.rules.together(contract.name)}
            touched = any(not names.isdisjoint(account.touched()) for account in self.accounts.values())
            if stale and touched and not contract.stale_told and not contract.side:
                contract.stale_told = True
                self.out.append(("alarm", "", "mark_stale"))
                self.reached["stale mark told"] += 1

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
        for target in self.live_whole(contract):
            target.halted = halted

    # -- margin rates ----------------------------------------------------------------------------

    def _SetMargin(self, contract: str, tiers: bytes, by: str, reason: str, second: str) -> None:
        check_name(by)
        target, *legs = self.live_whole(contract)
        new = read_tiers(json.loads(tiers), target.micro)
        lowered, alone = self._lowers(target, new), not second or second == by
        if lowered:
            check_second(by, second)
        elif alone and new != target.tiers:
            self.reviews[self.seq] = (contract, by)
            self.out.append(("alarm", "", "margin_raised"))
            self.reached["margin raised alone"] += 1
        self.reached["margin lowered" if lowered else "margin raised"] += 1
        for each in (target, *legs):
            each.tiers = new

    def _lowers(self, contract: Contract, new: list) -> bool:
        """Is any figure lower than before? Tiers that begin elsewhere count as lower."""
        if [tier.notional_from for tier in contract.tiers] != [tier.notional_from for tier in new]:
            return True
        for old_tier, new_tier in zip(contract.tiers, new, strict=True):
            for kind in ("intraday", "initial", "maintenance"):
                lower = new_tier.rate[kind] < old_tier.rate[kind]
                lower |= new_tier.per_contract[kind] < old_tier.per_contract[kind]
                lower |= new_tier.slope[kind] < old_tier.slope[kind]
                lower |= new_tier.root[kind] < old_tier.root[kind]
                lower |= old_tier.root[kind] > 0 and new_tier.beyond(kind) < old_tier.beyond(kind)
                if lower or new_tier.amount[kind] > old_tier.amount[kind]:
                    return True
        return False

    def _ReviewMargin(self, seq: int, by: str, reason: str) -> None:
        check_name(by)
        if seq not in self.reviews:
            raise Refusal("unknown_review")
        if self.reviews[seq][1] == by:
            raise Refusal("needs_second")
        del self.reviews[seq]
        self.setting("", "review", "", by)

    # -- news ------------------------------------------------------------------------------------

    def _NewsWindow(self, contracts: list[str], multiplier: int, held: bool, by: str, reason: str, second: str) -> None:
        check_name(by)
        for name in contracts:
            self.whole(name)
        if multiplier != 0 and multiplier < 10**9:
            raise Refusal("out_of_bounds")
        for name in contracts:
            before = self.contract(name).manual_news
            if before is not None and (multiplier * BILLIONTH < before[0] or (before[1] and not held)):
                check_second(by, second)
                self.reached["news lowered by hand"] += 1
        for name in contracts:
            for contract in self.whole(name):
                contract.manual_news = (multiplier * BILLIONTH, held) if multiplier else None
        self.setting("", "news", "", by)
        self._combine_news()

    def _ScheduleNews(
        self,
        release_id: str,
        contracts: list[str],
        begins: int,
        ends: int,
        multiplier: int,
        held: bool,
        by: str,
        reason: str,
        second: str,
    ) -> None:
        check_name(by)
        before = self.schedule.get(release_id)
        everybody = before is not None and before.begun
        if multiplier == 0:
            if before is None:
                raise Refusal("unknown_release")
            if before.begun:
                check_second(by, second)
            del self.schedule[release_id]
            self.reached["release withdrawn"] += 1
        else:
            if begins >= ends:
                raise Refusal("bad_time")
            for name in contracts:
                self.whole(name)
            if multiplier < 10**9:
                raise Refusal("out_of_bounds")
            after = Release(tuple(contracts), begins, ends, multiplier * BILLIONTH, held, False)
            self._replace(release_id, before, after, by, second)
        self.concerned |= {EVERYBODY} if everybody else set()
        self.setting("", "news", "", by)
        self._combine_news()

    def _replace(self, release_id: str, before: Release | None, after: Release, by: str, second: str) -> None:
        """A release that has begun goes on, unless it is to begin later now; whatever it asks less needs two."""
        if before is not None and before.begun:
            after.begun = after.begins <= self.now
            less = after.ends < before.ends or after.multiplier < before.multiplier or (before.held and not after.held)
            if less or not after.begun or not set(before.contracts) <= set(after.contracts):
                check_second(by, second)
                self.reached["begun release cut short"] += 1
        self.reached["release replaced"] += before is not None
        self.schedule[release_id] = after

    def _due_releases(self) -> None:
        """What is due begins and ends in the order of the instants, then of the names."""
        moments = [(r.begins, name, "begins") for name, r in self.schedule.items() if not r.begun]
        moments += [(r.ends, name, "ends") for name, r in self.schedule.items()]
        for instant, name, what in sorted(moments):
            if instant > self.now:
                continue
            self.setting("", "news", "", "clock")
            self.reached[f"release {what}"] += 1
            if what == "begins":
                self.schedule[name].begun = True
            else:
                del self.schedule[name]
        self._combine_news()

    def _combine_news(self) -> None:
        """The largest multiplier of all windows that are open; positions held are measured if any of them says so."""
        assert self.rules is not None
        for contract in self.rules.contracts.values():
            name = contract.leg_of or contract.name
            windows = [(r.multiplier, r.held) for r in self.schedule.values() if r.begun and name in r.contracts]
            windows += [contract.manual_news] if contract.manual_news else []
            self.reached["news windows overlap"] += len(windows) > 1
            contract.news_multiplier = max(multiplier for multiplier, _ in windows) if windows else None
            contract.news_held = any(held for _, held in windows)
