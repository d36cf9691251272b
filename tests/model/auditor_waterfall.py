"""The auditor's waterfall: who takes positions that the book could not close, and who pays what is missing.

Stages go in the rulebook's order: takers, deleveraging and unwinding get positions of an account that is being closed
out; fund, sharers and the venue pay what a flat account is below zero. What a stage leaves is the next one's.
"""

import hashlib
from collections.abc import Mapping
from math import floor
from typing import TypeVar

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_rules import Contract, Stage, down, up
from tests.model.auditor_state import FUND, HOUSE, Account, Event, Position, lots_of, micros
from tests.model.auditor_steps import Steps

HOLDERS = {
    "liquidity_providers": "liquidity_providers",
    "insurance_fund_takes": FUND,
    "backstop_vault": "backstop_vault",
}
POSITION_STAGES = (*HOLDERS, "auto_deleveraging", "unwind")
ROUNDINGS = 3
"""Micros that are left to whoever is closed against a position, or brought by each lot: by what is rounded it could be
below zero else."""


Rival = tuple[str, str]
"""An account, and the contract or the leg in which it holds the other side."""
Key = TypeVar("Key", str, Rival)


def shares(total: int, weights: Mapping[Key, Fraction]) -> dict[Key, int]:
    """Whole parts in proportion: rounded down, what is left one by one to the largest remainders, of equal ones to the
    lower name."""
    whole = sum(weights.values())
    exact = {name: total * weights[name] / whole for name in sorted(weights)}
    parts = {name: floor(part) for name, part in exact.items()}
    ranked = sorted(exact, key=lambda name: (parts[name] - exact[name], name))
    for name in ranked[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


class Waterfall(Steps):
    """Whoever is touched by another's close-out is judged in the same input."""

    used_since: int | None
    used: Fraction

    def cancel_working(self, account: Account, contract: str = "") -> None:
        raise NotImplementedError

    def _trade(self, account: Account, contract: Contract, quantity: Fraction, value: Fraction) -> None:
        raise NotImplementedError

    def house_accounts(self) -> list[str]:
        assert self.rules is not None
        takers = [HOLDERS[stage.kind] for stage in self.rules.stages if stage.kind in HOLDERS]
        return sorted({*takers, *([FUND] if self.rules.fund is not None else [])})

    def endow(self) -> None:
        """What the house's own accounts begin with."""
        assert self.rules is not None
        if self.rules.fund is not None:
            self.post("segregated_bank", FUND, self.rules.fund)
        for stage in self.rules.stages:
            if stage.equity:
                self.post("segregated_bank", HOLDERS[stage.kind], stage.equity)

    def _covered(self, account: Account, stage: Stage, share: Fraction, given: Fraction) -> None:
        """A price that gives the account something beyond the mark makes good what its lots were below zero (`share`);
        what goes beyond that is told apart."""
        assert self.rules is not None
        given = max(given, Fraction(0))
        borne = min(given, max(Fraction(0), -share))
        if given > 0:
            figures = micros(borne, self.rules.micro), micros(given - borne, self.rules.micro)
            self.out.append(("covered", account.account_id, *figures, stage.kind))
            self.reached[f"{stage.kind} beyond the deficit"] += borne < given
        self.reached[f"{stage.kind} {'pays' if borne else 'takes over what is left' if share > 0 else 'at zero'}"] += 1

    # -- positions -------------------------------------------------------------------------------

    def take_over(self, account: Account, event: Event, closable: list[str]) -> None:
        assert self.rules is not None
        for stage in self.rules.stages:
            if stage.kind not in POSITION_STAGES:
                break
            for name in closable:
                if name in account.held():
                    handle = self._taken if stage.kind in HOLDERS else self._deleveraged
                    handle(account, event, stage, name)

    def _taken(self, account: Account, event: Event, stage: Stage, name: str) -> None:
        """A taker gets what it has room for at the bankruptcy price. The fund takes nothing that would leave it below
        zero; a solvent-only taker nothing of an account that is below."""
        contract, position, whole = self._facts(account, name)
        if stage.solvent_only and self.figures.net_liq(account) < 0:
            self.reached["insolvent account not taken"] += 1
            return
        taker = self.accounts[HOLDERS[stage.kind]]
        lots = min(whole, self._room(taker, stage, contract, position, whole))
        if lots < whole:
            self.reached["no room for all of it" if lots else "no room"] += 1
        if not lots:
            return
        value, share = self.at_bankruptcy(account, name, lots), self.share_of_lots(account, name, lots)
        quantity = lots * contract.lot * (1 if position.quantity > 0 else -1)
        if taker.account_id == FUND:
            held = taker.position(name)
            realised = Position(held.quantity, held.cost).trade(quantity, value, contract.quantum)
            if taker.cash + down(realised, contract.micro) < 0:
                self.reached["the fund would be below zero"] += 1
                return
        if stage.within:
            self.used_since = self.now if self.used_since is None else self.used_since
            self.used += self.figures.notional(contract, Position(quantity, Fraction(0)))
        self._trade(account, contract, -quantity, -value)
        self._trade(taker, contract, quantity, value)
        event.filled = True
        self._covered(account, stage, share, -share)

    def _room(self, taker: Account, stage: Stage, contract: Contract, position: Position, whole: int) -> int:
        """Lots that the taker's capacity, in value at the marks, leaves room for."""
        assert self.rules is not None
        micro, equity = self.rules.micro, max(Fraction(0), self.figures.net_liq(taker))
        held = taker.held().items()
        holds = sum((self.figures.notional(self.rules.contracts[n], p) for n, p in held), Fraction(0))
        bounds = [] if stage.capacity is None else [stage.capacity - holds]
        if stage.of_fund is not None:
            bounds.append(down(self.in_fund() * stage.of_fund, micro) - holds)
        if stage.of_equity is not None:
            bounds.append(down(equity * stage.of_equity, micro) - holds)
        if stage.share_of_equity is not None:
            bounds.append(down(equity * stage.share_of_equity, micro) - self._used(stage))
            self.reached["used up for now"] += bounds[-1] == min(bounds)
        if not bounds:
            return whole
        notional = self.figures.notional(contract, position)
        return max(0, floor(whole * min(bounds) / notional)) if notional else 0

    def _used(self, stage: Stage) -> Fraction:
        """What was taken since the present window began; one that is over has taken nothing."""
        if self.used_since is not None and self.now >= self.used_since + stage.within:
            self.used_since, self.used = None, Fraction(0)
            self.reached["used anew"] += 1
        return self.used

    def _deleveraged(self, account: Account, event: Event, stage: Stage, name: str) -> None:
        """Winners on the other side are closed against the position, ranked, or all in proportion."""
        assert self.rules is not None
        contract, _, whole = self._facts(account, name)
        if stage.drawdown is not None:
            below = -self.figures.net_liq(account)
            spare = self._fund_may_lose(stage)
            self.reached["the fund is not down enough" if below < spare else "the fund is down"] += 1
            if below < spare:
                return
        _, given = self.handed_over_at(account, stage, name, whole)
        rivals = self._rivals(account, name, given)
        if not rivals:
            self.reached["nobody on the other side"] += 1
            return
        sizes = {rival: abs(lots_of(contract, self._held_by(rival).quantity)) for rival in rivals}
        need = min(whole, sum(sizes.values()))
        if stage.kind == "unwind":
            parts = {r: n for r, n in shares(need, {r: Fraction(n) for r, n in sizes.items()}).items() if n}
        else:
            parts, left = {}, need
            places = sorted(rivals, key=lambda r: -self._score(stage, self.accounts[r[0]], r[1], account.account_id))
            for rival in places:
                if left:
                    parts[rival] = min(left, sizes[rival])
                    left -= parts[rival]
        self.reached["closed against a leg"] += any(self.rules.contracts[own].side for _, own in parts)
        self.reached["closed against two places of one"] += len({rival for rival, _ in parts}) < len(parts)
        self._hand_over(account, event, stage, name, parts)

    def _hand_over(self, account: Account, event: Event, stage: Stage, name: str, parts: dict[Rival, int]) -> None:
        """Running totals of value and of what is taken are rounded down, so that all parts are the whole."""
        assert self.rules is not None
        contract, position, whole = self._facts(account, name)
        sign, lots = 1 if position.quantity > 0 else -1, sum(parts.values())
        value, given = self.handed_over_at(account, stage, name, lots)
        share = self.share_of_lots(account, name, lots)
        self.reached[f"{stage.kind} {stage.ranking or ''} at {stage.price}"] += 1
        self.reached[f"{stage.kind} of several"] += len(parts) > 1
        self.reached[f"{stage.kind} of a part"] += lots < whole
        self._trade(account, contract, -sign * lots * contract.lot, -value)
        event.filled = True
        self._covered(account, stage, share, given)
        done = 0
        for (account_id, own), part in parts.items():
            rival = self.accounts[account_id]
            before, after = Fraction(done, lots), Fraction(done + part, lots)
            done += part
            worth = down(value * after, contract.quantum) - down(value * before, contract.quantum)
            taken = down(given * after, contract.micro) - down(given * before, contract.micro)
            self.cancel_working(rival, own)
            self._trade(rival, self.rules.contracts[own], sign * part * contract.lot, worth)
            self.touched.add(account_id)
            told = (own, sign * part, micros(taken, contract.micro), account.account_id, stage.kind)
            self.out.append(("deleveraged", account_id, *told))

    def _held_by(self, rival: Rival) -> Position:
        return self.accounts[rival[0]].position(rival[1])

    def _rivals(self, account: Account, name: str, given: Fraction) -> list[Rival]:
        """Whoever holds the other side, in the contract or a leg, is not being closed out, and would not be left below
        zero by the price; by account, then as the rulebook has the contracts."""
        assert self.rules is not None
        contract, position, whole = self._facts(account, name)
        names = [each.name for each in self.rules.together(name)]
        found: list[Rival] = []
        for rival in sorted(self.people(), key=lambda rival: rival.account_id):
            own = [each for each in names if rival.position(each).quantity * position.quantity < 0]
            if not own:
                continue
            if rival.event is not None:
                self.reached["winner is being closed out"] += rival is not account
                continue
            held = sum(abs(lots_of(contract, rival.position(each).quantity)) for each in own)
            cost = up(given * Fraction(min(held, whole), whole), contract.micro)
            roundings = ROUNDINGS * contract.micro
            brings = -given >= roundings * whole
            if self.figures.net_liq(rival) >= (Fraction(0) if brings else max(cost, Fraction(0)) + roundings):
                found += [(rival.account_id, each) for each in own]
            else:
                self.reached["winner would be below zero"] += 1
        return found

    def _score(self, stage: Stage, account: Account, name: str, against: str) -> Fraction:
        """The highest is taken first."""
        assert self.rules is not None
        if stage.ranking == "random":
            text = f"{stage.seed} {self.seq} {against} {name} {account.account_id}"
            return Fraction(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))
        contract, position, _ = self._facts(account, name)
        profit, notional = self.figures.profit(contract, position), self.figures.notional(contract, position)
        equity = max(contract.micro, self.figures.net_liq(account))
        if stage.ranking == "profit_times_margin_ratio":
            margins = {
                n: self.rules.contracts[n].margin("maintenance", p.quantity, self._stands_on(n, p))
                for n, p in account.held().items()
            }
            maintenance = sum(self.figures.counted(account, margins).values(), Fraction(0))
            return max(profit, Fraction(0)) / max(account.cash, contract.micro) * maintenance / equity
        leverage, entry = notional / equity, abs(position.cost)
        if stage.ranking == "return_times_leverage":
            grown = notional / entry if entry else Fraction(1)
            if (position.quantity > 0) != contract.linear:  # a short, or an inverse long, which is worth less coin
                grown = 1 / grown if grown else Fraction(0)
            return grown * leverage
        gained = profit / entry if entry else Fraction(0)
        if gained > 0:
            return gained * leverage
        self.reached["ranked by return / leverage"] += gained < 0
        return gained / leverage if leverage else gained

    def _stands_on(self, name: str, position: Position) -> Fraction:
        assert self.rules is not None
        return self.figures.stands_on(self.rules.contracts[name], position)

    def _notional(self, name: str, position: Position) -> Fraction:
        assert self.rules is not None
        return self.figures.notional(self.rules.contracts[name], position)

    # -- money -----------------------------------------------------------------------------------

    def keep_fund_whole(self) -> None:
        """What the fund's own positions lose beyond it is the venue's loss: it is never below zero."""
        if FUND in self.accounts and self.accounts[FUND].cash < 0:
            self.post("house", FUND, -self.accounts[FUND].cash)
            self.reached["fund made whole"] += 1

    def haircut(self, amount: Fraction) -> Fraction:
        """What a withdrawal leaves in the hole that deficits made: its part of all that customers could take out."""
        assert self.rules is not None
        hole = self.ledger["uncovered"]
        if hole <= 0:
            return Fraction(0)
        total = sum((max(Fraction(0), self.figures.net_liq(account)) for account in self.people()), Fraction(0))
        self.reached["withdrawal haircut"] += 1
        return min(hole, amount, up(amount * hole / max(total, hole), self.rules.micro))

    def give_surplus(self, account: Account, beyond: Fraction) -> None:
        """What a takeover brought beyond its limit is the fund's, but nothing that funding or a debt claims."""
        assert self.rules is not None
        free = account.cash + min(account.accrued, Fraction(0)) - account.receivable
        surplus = min(beyond, free)
        if self.rules.surplus_to_fund and surplus > 0:
            self.post("customer_cash", FUND, surplus, account)
            self.reached["surplus to the fund"] += 1

    def in_fund(self) -> Fraction:
        """The fund's cash, less what the positions that it holds have lost."""
        fund = self.accounts[FUND]
        self.reached["the fund's positions have lost"] += self.figures.net_liq(fund) < fund.cash
        return max(Fraction(0), min(fund.cash, self.figures.net_liq(fund)))

    def _fund_may_lose(self, stage: Stage) -> Fraction:
        """Until it is down by the stage's share from the most that it held in the window."""
        assert self.rules is not None
        assert stage.drawdown is not None
        floor = self.fund_peak(stage.window) * (1 - stage.drawdown)
        return self.in_fund() - down(floor, self.rules.micro)

    def _borne_by_fund(self, account: Account, stage: Stage, share: Fraction) -> Fraction:
        """What of a position's deficit, its `share` of net liq, winners leave to the fund: as much of all that the fund
        may lose as it is of the account's."""
        assert self.rules is not None
        spare = self._fund_may_lose(stage) if stage.price == "drawdown" else Fraction(0)
        return down(spare * share / self.figures.net_liq(account), self.rules.micro) if spare > 0 else Fraction(0)

    def _fund_standing(self) -> int | None:
        assert self.rules is not None
        window = max((stage.window for stage in self.rules.stages), default=0)
        return micros(self.fund_peak(window), self.rules.micro) if window else None

    def cover(self, account: Account, deficit: Fraction) -> Fraction:
        assert self.rules is not None
        left = deficit
        for stage in self.rules.stages:
            paid = Fraction(0)
            if stage.kind == "insurance_fund":
                paid = min(left, self.in_fund())
                self.post(FUND, "customer_cash", paid, account)
                self.reached["the fund is empty"] += paid < left
            elif stage.kind == "socialised_loss":
                paid = self._socialised(account, left, stage)
            elif stage.kind == "withdrawal_haircut":
                paid = left
                self.post("uncovered", "customer_cash", paid, account)
            elif stage.kind == "venue_bears":
                paid = left
                self.post("house", "customer_cash", paid, account)
            if paid:
                self._covered(account, stage, -paid, paid)
            left -= paid
        return left

    def _socialised(self, account: Account, deficit: Fraction, stage: Stage) -> Fraction:
        """In proportion to what each won today, holds or has; nobody pays more than he has, a winner no more than he
        won. What one could not pay is not asked of the others."""
        assert self.rules is not None
        micro, paid = self.rules.micro, Fraction(0)
        own = account.parent or account.account_id
        others = [a for a in self.people() if (a.parent or a.account_id) != own and a.event is None]
        weights = {a.account_id: self._weight(a, stage) for a in others}
        weights = {name: weight for name, weight in weights.items() if weight > 0}
        bounds = {name: max(Fraction(0), self.figures.net_liq(self.accounts[name])) for name in weights}
        if stage.among == "days_winners":
            bounds = {name: min(bound, weights[name]) for name, bound in bounds.items()}
        if not weights:
            self.reached[f"nobody to share with among {stage.among}"] += 1
            return paid
        total = micros(min(deficit, sum(bounds.values(), Fraction(0))), micro)
        for name, share in shares(total, weights).items():
            part = min(share * micro, bounds[name])
            self.reached["sharer has too little"] += part < share * micro
            if part:
                self.post("customer_cash", "transfer", part, self.accounts[name])
                self.post("transfer", "customer_cash", part, account)
                self.out.append(("socialised", name, micros(part, micro), account.account_id))
                self.touched.add(name)
                paid += part
        self.reached[f"socialised among {stage.among}"] += paid > 0
        return paid

    def _weight(self, account: Account, stage: Stage) -> Fraction:
        assert self.rules is not None
        held = account.held().items()
        if stage.among == "balances":
            return self.figures.net_liq(account)
        if stage.among == "positions":
            return sum((self._notional(n, p) for n, p in held), Fraction(0))
        return account.won + sum((self.figures.profit(self.rules.contracts[n], p) for n, p in held), Fraction(0))


assert set(HOLDERS.values()) < set(HOUSE)
