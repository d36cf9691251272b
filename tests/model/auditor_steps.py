"""The auditor's close-out steps: which one is on, how much of a position it closes, and at which limit.

What an account is worth at its bankruptcy is here as well: each position stands for a share of net liq by what it
requires, and is closed so that nothing of that share is left.
"""

from math import ceil, floor

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_money import Money
from tests.model.auditor_rules import MARKET, MAX_PRICE_TICKS, Contract, Stage, Step, down, up
from tests.model.auditor_state import Account, Event, Position


class Steps(Money):
    """A rulebook's steps follow one another where immediate-or-cancel orders leave something."""

    def step_of(self, event: Event) -> Step:
        """The desk and the customer's own brake close everything, without a limit; so does whoever has no step left."""
        assert self.rules is not None
        steps = self.rules.steps
        return MARKET if event.flatten or event.own or event.step >= len(steps) else steps[event.step]

    def next_step(self, event: Event) -> None:
        """What an order left is the next step's, when nothing is out any more. Where the rulebook draws a line for its
        waterfall the last step is tried again instead, at the next look."""
        assert self.rules is not None
        if not event.missed or event.outstanding:
            return
        event.missed = False
        if self.rules.take_over_below is not None and event.step == len(self.rules.steps) - 1:
            event.rests = True
            self.reached["last step rests"] += 1
        else:
            event.step += 1
            self.reached["next step" if event.step < len(self.rules.steps) else "behind the last step"] += 1

    def goes_to_waterfall(self, account: Account, event: Event) -> bool:
        """Whether the stages that take positions get what can be closed now."""
        assert self.rules is not None
        if event.own or event.outstanding:
            return False
        grades = {self.rules.contracts[n].grade_at(self.now, self.rules.stale_after) for n in account.held()}
        if grades != {"ok"}:
            self.reached["not handed over while a leg is badly marked"] += 1
            return False
        if event.step >= len(self.rules.steps):
            return True
        if self.rules.take_over_below is None:
            return False
        required = sum(self.figures.required(account).values(), Fraction(0))
        return self.figures.net_liq(account) < up(required * self.rules.take_over_below, self.rules.micro)

    def in_part(self, account: Account, event: Event, closable: list[str]) -> dict[str, int]:
        """What a step that closes in parts wants closed: nothing while any of its orders is out."""
        step = self.step_of(event)
        if event.outstanding:
            return {}
        part = self._a_share if step.method == "reduce_by_share" else self._to_the_lower_tier
        return {name: part(account, event, step, name) for name in closable}

    def _a_share(self, account: Account, event: Event, step: Step, name: str) -> int:
        """A share for each interval since orders went out last; all of what is worth little, and all of everything
        shortly after a part of anything of the customer's was closed."""
        contract, position, whole = self._facts(account, name)
        if self.figures.notional(contract, position) <= step.share_above:
            self.reached["all of a small position"] += 1
            return whole
        parted_at = self.accounts[account.parent or account.account_id].parted_at
        if parted_at is not None and step.whole_within:
            self.reached["all of it after a part" if self.now < parted_at + step.whole_within else "a part anew"] += 1
            if self.now < parted_at + step.whole_within:
                return whole
        rounds = 1
        if step.interval and event.shared_at is not None:
            rounds = (self.now - event.shared_at) // step.interval
        self.reached["share closed" if rounds else "share not due yet"] += 1
        return min(whole, ceil(whole * step.share * rounds))

    def _to_the_lower_tier(self, account: Account, event: Event, step: Step, name: str) -> int:
        """The fewest lots after which what is required of the position lies so many tiers below, or in the lowest;
        all of it there."""
        contract, position, whole = self._facts(account, name)
        value = self.figures.stands_on(contract, position)
        begins = [tier.notional_from for tier in contract.tiers if tier.notional_from <= value]
        assert contract.price is not None
        if len(begins) > 1:
            upper = begins[-step.tiers_down] if step.tiers_down < len(begins) else begins[1]
            for lots in range(1, whole):
                left = Fraction(whole - lots, whole)
                rest = Position(position.quantity * left, up(position.cost * left, contract.quantum))
                if self.figures.stands_on(contract, rest) < upper:
                    self.reached["to the lower tier"] += 1
                    self.reached["two tiers down"] += upper != begins[-1]
                    return lots
        self.reached["no lower tier"] += 1
        return whole

    def hedged(self, account: Account, closable: list[str], wanted: dict[str, int]) -> dict[str, int]:
        """While a leg on one side of a netting group waits, the other side is closed no further than margin falls."""
        assert self.rules is not None
        held, asked, contracts = account.held(), self.figures.requirements(account), self.rules.contracts
        waiting = [name for name in held if name not in closable and contracts[name].nets_in]
        for name in closable:
            contract, position, whole = self._facts(account, name)
            group = [n for n in held if contracts[n].nets_in == contract.nets_in != ""]
            beside = [n for n in group if n != name and held[n].quantity * position.quantity > 0]
            bound = sum(asked[n] for n in group if n in waiting and held[n].quantity * position.quantity < 0)
            if not bound:
                continue
            rest = asked[name]
            for closed in range(whole + 1):
                left = Fraction(whole - closed, whole)
                after = Position(position.quantity * left, up(position.cost * left, contract.quantum))
                rest = self.figures.requirement_of(account, name, after) if left else Fraction(0)
                if closed >= wanted.get(name, 0) or rest + sum(asked[n] for n in beside) <= bound:
                    self.reached["hedges what waits"] += closed < wanted.get(name, 0)
                    wanted[name] = closed
                    break
            asked[name] = rest
        return wanted

    def _facts(self, account: Account, name: str) -> tuple[Contract, Position, int]:
        assert self.rules is not None
        contract, position = self.rules.contracts[name], account.position(name)
        return contract, position, int(abs(position.quantity) / contract.lot)

    # -- limits ----------------------------------------------------------------------------------

    def limit_for(self, account: Account, step: Step, name: str) -> int | None:
        """The limit in ticks of an order that closes the position: a sale's rounded up, a purchase's down."""
        if step.limit == "none":
            return None
        contract, position, whole = self._facts(account, name)
        self.reached[f"limit {step.limit}"] += 1
        sells = position.quantity > 0
        any_price = MAX_PRICE_TICKS if not sells else -MAX_PRICE_TICKS if contract.negative_prices else 1
        if step.limit == "any_price":
            return any_price
        if step.limit == "bankruptcy":
            value = self.at_bankruptcy(account, name, whole)
        else:
            value = self._fillable(account, step, name)
        if contract.linear:
            price = value / (position.quantity * contract.size)
        elif value * position.quantity >= 0:
            return any_price  # no price makes an inverse position worth that
        else:
            price = -position.quantity * contract.size / value
        ticks = ceil(price / contract.tick) if sells else floor(price / contract.tick)
        if sells and ticks < 1 and not contract.negative_prices:
            return any_price
        return max(-MAX_PRICE_TICKS if contract.linear else 1, min(ticks, MAX_PRICE_TICKS))

    def _fillable(self, account: Account, step: Step, name: str) -> Fraction:
        """What the position must bring: its value, less a part of its margin that grows with the account's trouble."""
        contract, position, _ = self._facts(account, name)
        requirements = self.figures.requirements(account)
        assert contract.price is not None
        value = contract.value(contract.price, position.quantity)
        required = sum(self.figures.required(account).values(), Fraction(0))
        if required <= 0:
            return value
        trouble = step.adjustment * (1 - self.figures.net_liq(account) / required)
        return value - min(max(trouble, Fraction(0)), Fraction(1)) * step.spread * requirements[name]

    # -- bankruptcy ------------------------------------------------------------------------------

    def _borne_by_fund(self, account: Account, stage: Stage, share: Fraction) -> Fraction:
        raise NotImplementedError

    def _share_of_net_liq(self, account: Account, name: str) -> Fraction:
        """By requirement, or by value where nothing is required; the only position stands for everything."""
        assert self.rules is not None
        held, net_liq = account.held(), self.figures.net_liq(account)
        if len(held) == 1:
            return net_liq
        weights = self.figures.requirements(account)
        if not sum(weights.values()):
            weights = {n: self.figures.notional(self.rules.contracts[n], p) for n, p in held.items()}
        total = sum(weights.values(), Fraction(0))
        return down(net_liq * weights[name] / total, self.rules.micro) if total else Fraction(0)

    def share_of_lots(self, account: Account, name: str, lots: int) -> Fraction:
        """What of net liq so many lots of the position stand for."""
        contract, _, whole = self._facts(account, name)
        return down(self._share_of_net_liq(account, name) * Fraction(lots, whole), contract.micro)

    def at_bankruptcy(self, account: Account, name: str, lots: int) -> Fraction:
        """For what so many lots are closed that of what they stand for nothing is left. Whole micros are realised."""
        contract, position, whole = self._facts(account, name)
        part = Fraction(lots, whole)
        profit = up(self.figures.profit(contract, position) * part, contract.micro)
        return up(position.cost * part, contract.quantum) + profit - self.share_of_lots(account, name, lots)

    def above_bankruptcy(self, account: Account, contract: Contract, quantity: Fraction, value: Fraction) -> Fraction:
        held = account.position(contract.name).quantity
        if account.event is None or held * quantity >= 0:
            return Fraction(0)
        closed = min(abs(quantity), abs(held))
        brought = down(-value * closed / abs(quantity), contract.quantum)
        return down(brought - self.at_bankruptcy(account, contract.name, int(closed / contract.lot)), contract.micro)

    def handed_over_at(self, account: Account, stage: Stage, name: str, lots: int) -> tuple[Fraction, Fraction]:
        """For what so many lots change hands at the stage's price, and what that gives the account beyond the mark."""
        contract, position, whole = self._facts(account, name)
        if stage.price in ("bankruptcy", "drawdown"):
            share = self._share_of_net_liq(account, name)
            left = self._borne_by_fund(account, stage, share)
            own = down((share + left) * Fraction(lots, whole), contract.micro)
            plain = self.share_of_lots(account, name, lots)
            return self.at_bankruptcy(account, name, lots) + plain - own, -own
        assert contract.price is not None
        quantity = lots * contract.lot * (1 if position.quantity > 0 else -1)
        price = contract.price
        if stage.price == "previous_mark" and contract.previous_price is not None:
            price = contract.previous_price
        value = contract.value(price, quantity)
        return value, down(value - contract.value(contract.price, quantity), contract.micro)
