"""What `Rulebook.policy()` makes of a rulebook file: the engine's own units (rates 1e-9, micros, nanoseconds)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from closeout.core.contracts import Contract, leg_name, split_leg
from closeout.core.funding import FundingTerms
from closeout.core.margin import PLAIN_RULES, MarginRules, Tiers, Window
from closeout.core.marks import MarkFormula
from closeout.core.sessions import Session
from closeout.core.units import RATE, Currency


class CloseOutMethod(Enum):
    FLATTEN_ALL = "flatten_all"
    REDUCE_TO_TARGET = "reduce_to_target"
    REDUCE_BY_SHARE = "reduce_by_share"
    LOWER_TIER = "lower_tier"


class Limit(Enum):
    """The limit of a close-out order (EX-02)."""

    NONE = "none"
    ANY_PRICE = "any_price"
    BANKRUPTCY = "bankruptcy"
    FILLABLE = "fillable"


class StageKind(Enum):
    """The stages of a waterfall. Those up to `UNWIND` take positions, the others pay money."""

    LIQUIDITY_PROVIDERS = "liquidity_providers"
    INSURANCE_FUND_TAKES = "insurance_fund_takes"
    BACKSTOP_VAULT = "backstop_vault"
    AUTO_DELEVERAGING = "auto_deleveraging"
    UNWIND = "unwind"
    INSURANCE_FUND = "insurance_fund"
    SOCIALISED_LOSS = "socialised_loss"
    WITHDRAWAL_HAIRCUT = "withdrawal_haircut"
    CUSTOMER_OWES = "customer_owes"
    VENUE_BEARS = "venue_bears"


TAKERS = (StageKind.LIQUIDITY_PROVIDERS, StageKind.INSURANCE_FUND_TAKES, StageKind.BACKSTOP_VAULT)
POSITION_STAGES = (*TAKERS, StageKind.AUTO_DELEVERAGING, StageKind.UNWIND)


class Ranking(Enum):
    """In which order auto-deleveraging takes winners (EX-04); `engine.deleveraging` has the formulas."""

    LEVERAGED_RETURN = "leveraged_return"
    PROFIT_TIMES_MARGIN_RATIO = "profit_times_margin_ratio"
    RETURN_TIMES_LEVERAGE = "return_times_leverage"
    RANDOM = "random"


class TransferPrice(Enum):
    """At which price a position changes hands without the book."""

    BANKRUPTCY = "bankruptcy"
    MARK = "mark"
    PREVIOUS_MARK = "previous_mark"
    DRAWDOWN = "drawdown"


class Among(Enum):
    """Who shares a socialised loss, and in proportion to what (EX-05)."""

    DAYS_WINNERS = "days_winners"
    POSITIONS = "positions"
    BALANCES = "balances"


@dataclass(frozen=True, slots=True)
class ShownPrice:
    """How a venue states a liquidation price (G-05): in steps of so many ticks, to the safe side, or for an isolated
    position one step `towards_entry`; and whether its bankruptcy price leaves the fee of closing (`after_fee`)."""

    step: int = 1
    towards_entry: bool = False
    after_fee: bool = False


TO_THE_TICK = ShownPrice()


@dataclass(frozen=True, slots=True)
class ContractPolicy:
    """One contract under a rulebook. `session` None trades always. `expected_cost` is the rate of notional that a
    close-out is expected to lose (it only ranks legs). `stands_for` names markets whose prices may mark it; a leg of
    hedge mode has none, being marked with its contract."""

    contract: Contract
    tiers: Tiers
    session: str | None
    expected_cost: int
    stands_for: tuple[str, ...]
    margin: MarginRules = PLAIN_RULES
    shown: ShownPrice = TO_THE_TICK


@dataclass(frozen=True, slots=True)
class CloseOutStep:
    """One step (`schema.StepTable`): rates, micros of notional, nanoseconds."""

    method: CloseOutMethod
    limit: Limit = Limit.NONE
    share: int = RATE
    share_above: int = 0
    interval: int = 0
    whole_within: int = 0
    tiers_down: int = 1
    bankruptcy_adjustment: int = RATE
    spread_to_maintenance: int = 0


@dataclass(frozen=True, slots=True)
class CloseOutPolicy:
    """US-09, EX-02. `target` is the usage (a rate) at which `reduce_to_target` is cured; net liq below
    `take_over_below` (a rate; None: after the last step) of the requirement goes to the waterfall."""

    steps: tuple[CloseOutStep, ...]
    target: int
    take_over_below: int | None = None
    surplus_to_fund: bool = False


@dataclass(frozen=True, slots=True)
class LiquidationFee:
    """US-10, EX-02: micros an event, the first and later ones; a rate of what close-out orders fill, at most what is
    left of the account where `capped`; `of_rest` as in `schema.LiquidationFeeTable`."""

    first: int = 0
    later: int = 0
    rate: int = 0
    to_fund: bool = False
    capped: bool = False
    of_rest: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the waterfall (`schema.StageTable`): micros of notional, a rate of the fund; None: no bound.
    `of_equity` and `share_of_equity` are rates of the takers' equity, which begins with `equity` micros (None: they
    have none to measure by); the share is of each `within` nanoseconds.
    `drawdown`: a rate of the fund's peak within `window` nanoseconds; None: the stage always takes part."""

    kind: StageKind
    capacity: int | None = None
    capacity_of_fund: int | None = None
    solvent_only: bool = False
    ranking: Ranking | None = None
    price: TransferPrice = TransferPrice.BANKRUPTCY
    seed: int = 0
    among: Among | None = None
    drawdown: int | None = None
    window: int = 0
    equity: int | None = None
    of_equity: int | None = None
    share_of_equity: int | None = None
    within: int = 0


@dataclass(frozen=True, slots=True)
class MarkPolicy:
    """Grades (G-06, G-18): a move above `jump` (a rate of the last mark; None: no guard) is `jump` until a mark
    confirms it; a mark older than `stale_after` nanoseconds is stale; a position without any mark is taken to have lost
    `unpriced_move` (a rate of its cost). `formula`: how the venue works a mark out (EX-02)."""

    jump: int | None
    stale_after: int
    unpriced_move: int
    formula: MarkFormula = MarkFormula.GIVEN


@dataclass(frozen=True, slots=True)
class ReceivablePolicy:
    """US-13. `daily_interest` is a rate a business day; after `closing_only_after` business days in debit only
    close-outs and the desk act."""

    daily_interest: int
    closing_only_after: int


@dataclass(frozen=True, slots=True)
class FundingPolicy:
    """EX-06, US-14 (`schema.FundingTable`): each contract's formula, the wall times at which intervals end (none: every
    interval from midnight UTC), the wall time of the booking (None: at each interval's end), the nanoseconds between
    two accruals of continuous funding (0: at the interval's end)."""

    terms: dict[str, FundingTerms]
    time_zone: str
    ends: tuple[str, ...] = ()
    booking: str | None = None
    step: int = 0
    on_index: bool = False
    known_ahead: bool = False
    from_balance: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that the engine reads of a rulebook. Dictionaries keep the file's order. `withdrawal_gate`:
    nanoseconds for which nothing can be withdrawn after an account was seen below zero; None: no gate.
    `withdrawal_keep`: the rate of its positions' notional that at least stays with an account that withdraws."""

    name: str
    version: str
    digest: str
    currency: Currency
    contracts: dict[str, ContractPolicy]
    sessions: dict[str, Session]
    windows: dict[str, Window]
    opening_window: str
    net_liq_floor: int | None
    close_out: CloseOutPolicy
    waterfall: tuple[Stage, ...]
    insurance_fund: int | None
    liquidation_fee: LiquidationFee
    restrict_after_liquidation: bool
    news_multiplier: int
    news_held: bool
    marks: MarkPolicy
    receivable: ReceivablePolicy
    funding: FundingPolicy | None = None
    withdrawal_gate: int | None = None
    withdrawal_keep: int = 0

    def contract_for(self, name: str) -> ContractPolicy | None:
        """The contract of that name, or the first that stands for the market of that name. A leg of either is the
        contract's leg, and the contract itself where it has no hedge mode."""
        if name in self.contracts:
            return self.contracts[name]
        market, side = split_leg(name)
        if side:
            whole = self.contract_for(market)
            return None if whole is None else self.contracts.get(leg_name(whole.contract.name, side), whole)
        return next((rules for rules in self.contracts.values() if name in rules.stands_for), None)

    @property
    def takes_positions(self) -> bool:
        """Whether any stage of the waterfall takes positions."""
        return self.waterfall[0].kind in POSITION_STAGES

    @property
    def fund_window(self) -> int:
        """Nanoseconds over which a stage looks back at what the insurance fund held; 0 where none does."""
        return max(stage.window for stage in self.waterfall)

    @property
    def customer_owes(self) -> bool:
        """Whether a customer's liability is unlimited: what is left of a deficit is his debt (US-13)."""
        return self.waterfall[-1].kind is StageKind.CUSTOMER_OWES
