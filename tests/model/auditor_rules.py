"""The auditor's reading of a rulebook: contracts, margins and their roundings, on exact fractions of the currency.

Nothing here comes from the package under test. Prices and quantities are fractions of the currency and of a coin
or contract, never ticks or lots; what must be rounded is rounded in the named direction to a micro, or to the
contract's quantum where that is finer.
"""

from dataclasses import dataclass, field, replace
from math import ceil, floor, isqrt

from tests.model.auditor_fractions import Fraction
from tests.model.auditor_funding import Intervals, of_contract

PLACES = {"USD": 6, "USDT": 6, "USDC": 6, "BTC": 8, "ETH": 8, "SOL": 8}
RATE = Fraction(1, 10**9)
MAX_PRICE_TICKS = 2**40
MAX_LOTS = 2**40
MAX_UNITS = 2**53
MAX_INVERSE = 2**62
BILLIONTH = Fraction(1, 10**9)
MILLIONTH = Fraction(1, 10**6)


def down(amount: Fraction, step: Fraction) -> Fraction:
    return floor(amount / step) * step


def up(amount: Fraction, step: Fraction) -> Fraction:
    return ceil(amount / step) * step


@dataclass
class Tier:
    """Margins from a notional on: a rate of it, plus so much a contract, less an amount; by kind of margin. The rate
    grows by `slope` with each coin of size, or by `root` x the square root of the coins, less `within` x the rate."""

    notional_from: Fraction
    rate: dict[str, Fraction]
    per_contract: dict[str, Fraction]
    amount: dict[str, Fraction]
    slope: dict[str, Fraction]
    root: dict[str, Fraction]
    within: Fraction

    def beyond(self, kind: str) -> Fraction:
        """The rate to which the root is added where that is more than the rate alone."""
        return self.rate[kind] - down(self.rate[kind] * self.within, BILLIONTH)


def read_tiers(tables: list, micro: Fraction) -> list[Tier]:
    tiers: list[Tier] = []
    for table in tables:
        tiers.append(read_tier(joined(table, tiers[-1], micro) if tiers else table))
    return tiers


def joined(table: dict, before: Tier, micro: Fraction) -> dict:
    """A tier whose margin begins where that of the one before it ends, where it says "continuous"."""
    plain, found = read_tier({**table, "initial_amount": None, "maintenance_amount": None}), dict(table)
    for kind in ("initial", "maintenance"):
        if table.get(f"{kind}_amount") == "continuous":
            lifted = plain.notional_from * (plain.rate[kind] - before.rate[kind])
            found[f"{kind}_amount"] = str(down(before.amount[kind] + lifted, micro))
    return found


def read_tier(table: dict) -> Tier:
    """A tier without an intraday margin takes its initial, and so on (see the rulebook's description)."""
    found: dict[str, tuple[Fraction, ...]] = {}
    for kind in ("intraday", "initial", "maintenance"):
        rate, fixed = table.get(f"{kind}_margin_rate"), table.get(f"{kind}_margin")
        if rate is not None or fixed is not None:
            given = (rate, fixed, table.get(f"{kind}_amount"), table.get(f"{kind}_margin_slope"))
            given = (*given, table.get(f"{kind}_margin_root"))
            found[kind] = tuple(Fraction(text or "0") for text in given)
    if "initial" not in found and table.get("max_leverage") is not None:
        rest = ("0", *(table.get(f"initial_{key}") for key in ("amount", "margin_slope", "margin_root")))
        own = up(1 / Fraction(table["max_leverage"]), BILLIONTH)
        found["initial"] = (own, *(Fraction(text or "0") for text in rest))
    found.setdefault("initial", found.get("maintenance", ()))
    found.setdefault("maintenance", found["initial"])
    found.setdefault("intraday", found["initial"])
    rate, fixed, amount, slope, root = ({kind: found[kind][index] for kind in found} for index in range(5))
    within = Fraction(table.get("root_within_rate") or "0")
    return Tier(Fraction(table.get("notional_from") or "0"), rate, fixed, amount, slope, root, within)


@dataclass
class Window:
    name: str
    requirement: str
    alert: Fraction
    liquidate_only: Fraction
    auto_liquidate: Fraction


@dataclass
class Contract:
    """A contract's facts and everything that moves with the market: marks, hours, terms."""

    name: str
    linear: bool
    micro: Fraction
    tick: Fraction
    lot: Fraction
    size: Fraction
    taker_fee: Fraction
    fee_per_contract: Fraction
    negative_prices: bool
    expected_cost: Fraction
    session: str | None
    tiers: list[Tier]
    window: Window
    by_entry: bool = False
    fee_inside: bool = False
    interest: tuple[Fraction, Fraction] | None = None
    fee_when_bankrupt: bool = False
    nets_in: str = ""
    leg_of: str = ""
    side: int = 0
    is_open: bool = True
    halted: bool = False
    expired: bool = False
    news_multiplier: Fraction | None = None
    news_held: bool = False
    manual_news: tuple[Fraction, bool] | None = None
    switches: set[str] = field(default_factory=set)
    stale_told: bool = False
    price: Fraction | None = None
    previous_price: Fraction | None = None
    good_price: Fraction | None = None
    grade: str = "missing"
    marked_at: int = 0
    traded_residue: Fraction = Fraction(0)
    funding_exact: Fraction = Fraction(0)
    funding_given: Fraction = Fraction(0)
    quantum: Fraction = field(init=False)

    def __post_init__(self) -> None:
        """A tick of a lot (inverse: a lot at one tick), in micros: its denominator says how fine values are."""
        finest = self.lot * self.size * self.tick if self.linear else self.lot * self.size / self.tick
        self.quantum = self.micro / (finest / self.micro).denominator

    def value(self, price: Fraction, quantity: Fraction) -> Fraction:
        if self.linear:
            return price * quantity * self.size
        return down(-quantity * self.size / price, self.quantum)

    def cost(self, price: Fraction, quantity: Fraction) -> Fraction:
        """What a trade is bought for: where it must be rounded, up, so that no two traders gain from it together."""
        if self.linear:
            return price * quantity * self.size
        return up(-quantity * self.size / price, self.quantum)

    def notional(self, price: Fraction, quantity: Fraction) -> Fraction:
        return up(abs(self.value(price, quantity)), self.micro)

    def fee(self, price: Fraction, quantity: Fraction) -> Fraction:
        share = up(self.notional(price, quantity) * self.taker_fee, self.micro)
        return share + abs(quantity) * self.fee_per_contract

    def units(self, amount: Fraction) -> Fraction:
        return amount / self.quantum

    def in_bounds(self, price: Fraction, quantity: Fraction) -> bool:
        if abs(price / self.tick) > MAX_PRICE_TICKS or abs(quantity / self.lot) > MAX_LOTS:
            return False
        if not self.linear and price <= 0:
            return False
        if not self.linear and price / self.tick * abs(quantity / self.lot) > MAX_INVERSE:
            return False
        return abs(self.units(self.value(price, quantity))) <= MAX_UNITS

    def grade_at(self, now: int, stale_after: int) -> str:
        if self.price is None or self.grade == "missing":
            return "missing"
        return "stale" if now - self.marked_at > stale_after else self.grade

    # -- margin ----------------------------------------------------------------------------------

    def margin(self, kind: str, quantity: Fraction, notional: Fraction) -> Fraction:
        """`notional`: or the value at entry, where requirements stand on that."""
        return self._tiered(kind, quantity, notional) + self._fee_of_closing(quantity, notional)

    def _tiered(self, kind: str, quantity: Fraction, notional: Fraction, open_now: Fraction = Fraction(0)) -> Fraction:
        tier = next(tier for tier in reversed(self.tiers) if notional >= tier.notional_from or tier is self.tiers[0])
        coins = abs(quantity) * self.size if self.linear else notional
        grown = up(coins * tier.slope[kind], BILLIONTH)
        if tier.root[kind]:
            square = ceil(coins * (tier.root[kind] / BILLIONTH) ** 2)
            floored = isqrt(square)
            grown = (floored + (floored**2 < square)) * BILLIONTH - tier.rate[kind] + tier.beyond(kind)
        rate = min(Fraction(2), tier.rate[kind] + max(grown, Fraction(0)))
        if self.interest is not None:
            lower, upper = self.interest
            way = min(max((open_now - lower) / (upper - lower), Fraction(0)), Fraction(1))
            rate += down((1 - rate) * way, MILLIONTH)
        share = up(notional * rate, self.micro)
        return share + abs(quantity) * tier.per_contract[kind] - tier.amount[kind]

    def _fee_of_closing(self, quantity: Fraction, notional: Fraction) -> Fraction:
        if not self.fee_inside:
            return Fraction(0)
        left = notional
        if self.fee_when_bankrupt:
            lost = self._tiered("initial", quantity, notional)
            left += -lost if (quantity > 0) == self.linear else lost
        return up(left * self.taker_fee, self.micro)

    def held_requirement(self, quantity: Fraction, notional: Fraction) -> Fraction:
        required = self.margin(self.window.requirement, quantity, notional)
        if self.news_multiplier is not None and self.news_held:
            required = max(required, self._in_news(quantity, notional))
        return required

    def entry_requirement(
        self,
        quantity: Fraction,
        notional: Fraction,
        with_intraday: bool,
        leverage: Fraction | None,
        open_now: Fraction,
    ) -> Fraction:
        """`open_now`: what all accounts hold long, which an order's initial margin may depend on."""
        if quantity == 0:
            return Fraction(0)
        needed = [self.held_requirement(quantity, notional)]
        if self.window.requirement != "intraday" or not with_intraday:
            needed.append(self.initial(quantity, notional, leverage, open_now))
        if self.news_multiplier is not None:
            needed.append(self._in_news(quantity, notional))
        return max(needed)

    def initial(
        self, quantity: Fraction, notional: Fraction, leverage: Fraction | None, open_now: Fraction
    ) -> Fraction:
        own = self._tiered("initial", quantity, notional, open_now)
        if leverage is not None:
            own = max(own, up(notional / leverage, self.micro))
        return own + self._fee_of_closing(quantity, notional)

    def _in_news(self, quantity: Fraction, notional: Fraction) -> Fraction:
        assert self.news_multiplier is not None
        intraday = self._tiered("intraday", quantity, notional)
        return up(intraday * self.news_multiplier, self.micro) + self._fee_of_closing(quantity, notional)


@dataclass(frozen=True)
class Step:
    """One step of a close-out: how much is closed, at which limit, and how often."""

    method: str
    limit: str
    share: Fraction
    share_above: Fraction
    interval: int
    whole_within: int
    tiers_down: int
    adjustment: Fraction
    spread: Fraction


@dataclass(frozen=True)
class Stage:
    """One stage of the waterfall. None: no bound."""

    kind: str
    capacity: Fraction | None
    of_fund: Fraction | None
    solvent_only: bool
    ranking: str | None
    price: str
    seed: int
    among: str | None
    drawdown: Fraction | None = None
    window: int = 0
    equity: Fraction | None = None
    of_equity: Fraction | None = None
    share_of_equity: Fraction | None = None
    within: int = 0


MARKET = Step("flatten_all", "none", Fraction(1), Fraction(0), 0, 0, 1, Fraction(1), Fraction(0))
CUSTOMER_OWES = Stage("customer_owes", None, None, False, None, "bankruptcy", 0, None)


def optional(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def read_step(table: dict) -> Step:
    return Step(
        table["method"],
        table.get("limit") or "none",
        Fraction(table.get("share") or "1"),
        Fraction(table.get("share_above") or "0"),
        (table.get("interval_seconds") or 0) * 10**9,
        (table.get("whole_within_seconds") or 0) * 10**9,
        table.get("tiers_down") or 1,
        Fraction(table.get("bankruptcy_adjustment") or "1"),
        Fraction(table.get("spread_to_maintenance") or "0.1"),
    )


def read_stage(table: dict) -> Stage:
    return Stage(
        table["stage"],
        optional(table.get("capacity")),
        optional(table.get("capacity_of_fund")),
        bool(table.get("solvent_only")),
        table.get("ranking"),
        table.get("price") or "bankruptcy",
        table.get("seed") or 0,
        table.get("among"),
        optional(table.get("drawdown")),
        (table.get("drawdown_hours") or 0) * 3600 * 10**9,
        optional(table.get("equity")),
        optional(table.get("capacity_of_equity")),
        optional(table.get("share_of_equity")),
        (table.get("within_seconds") or 0) * 10**9,
    )


class Rules:
    """A whole rulebook document (money and rates as strings), read once."""

    def __init__(self, document: dict) -> None:
        self.micro = Fraction(1, 10 ** PLACES[document["currency"]])
        self.currency = document["currency"]
        self.windows = {
            name: Window(
                name,
                table["requirement"],
                Fraction(table["alert"]),
                Fraction(table["liquidate_only"]),
                Fraction(table["auto_liquidate"]),
            )
            for name, table in document["windows"].items()
        }
        self.opening_window = self.windows[document["opening_window"]]
        floor_text = document.get("net_liq_floor")
        self.floor = None if floor_text is None else Fraction(floor_text)
        self.sessions = set(document.get("sessions") or {})
        self.contracts: dict[str, Contract] = {}
        for name, table in document["contracts"].items():
            self.contracts[name] = self._contract(name, table)
            if table.get("hedge_mode"):
                for leg, side in (("long", 1), ("short", -1)):
                    own = self._contract(f"{name}:{leg}", table)
                    self.contracts[own.name] = replace(own, leg_of=name, side=side)
        found = {name: of_contract(document, name) for name in self.contracts}
        self.intervals = {name: Intervals(table) for name, table in found.items() if table and table.get("capped")}
        self.paid_from_balance = (document.get("funding") or {}).get("paid_from") == "balance"
        closing = document["close_out"]
        self.steps = [read_step(closing), *(read_step(table) for table in closing.get("then") or [])]
        self.target = Fraction(closing.get("target") or "1.00")
        self.take_over_below = optional(closing.get("take_over_below"))
        self.surplus_to_fund = closing.get("surplus") == "insurance_fund"
        self.stages = [read_stage(table) for table in document.get("waterfall") or []] or [CUSTOMER_OWES]
        fund = document.get("insurance_fund")
        self.fund = None if fund is None else Fraction(fund["initial"])
        fees = document.get("liquidation_fee") or {}
        self.first_fee, self.later_fee = Fraction(fees.get("first") or "0"), Fraction(fees.get("later") or "0")
        self.fee_rate = Fraction(fees.get("rate") or "0")
        self.fee_of_rest = optional(fees.get("of_rest"))
        self.fee_to_fund, self.fee_capped = fees.get("payee") == "insurance_fund", bool(fees.get("capped"))
        withdrawals = document.get("withdrawals") or {}
        gated, self.kept = withdrawals.get("gated_seconds"), Fraction(withdrawals.get("kept_of_notional") or "0")
        self.gate = None if gated is None else gated * 10**9
        self.restricts = bool((document.get("restriction") or {}).get("after_liquidation"))
        jump = document["marks"].get("jump")
        self.jump = None if jump is None else Fraction(jump)
        self.stale_after = document["marks"]["stale_after_seconds"] * 10**9
        self.unpriced_move = Fraction(document["marks"]["unpriced_move"])
        self.daily_interest = Fraction(document["receivable"]["daily_interest"])
        self.closing_only_after = document["receivable"]["closing_only_after_business_days"]

    def together(self, name: str) -> list[Contract]:
        """A contract with its legs, the contract first: what has its price and its terms."""
        whole = self.contracts[name].leg_of or name
        return [contract for contract in self.contracts.values() if whole in (contract.name, contract.leg_of)]

    def _contract(self, name: str, table: dict) -> Contract:
        lower = table.get("open_interest_lower")
        return Contract(
            name,
            (table.get("kind") or "linear") == "linear",
            self.micro,
            Fraction(table["tick"]),
            Fraction(table["lot"]),
            Fraction(table.get("contract_size") or "1"),
            Fraction(table.get("taker_fee") or "0"),
            Fraction(table.get("fee_per_contract") or "0"),
            bool(table.get("negative_prices")),
            Fraction(table.get("expected_cost") or "0"),
            table.get("session"),
            read_tiers(table["tiers"], self.micro),
            self.opening_window,
            table.get("requirement_base") == "entry",
            bool(table.get("close_fee_in_requirement")),
            None if lower is None else (Fraction(lower), Fraction(table["open_interest_upper"])),
            table.get("close_fee_on") == "bankruptcy",
            table.get("netting_group") or "",
        )
