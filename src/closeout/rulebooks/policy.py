"""What `Rulebook.policy()` makes of a rulebook file: the engine's own units (rates 1e-9, micros, nanoseconds)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from closeout.core.contracts import Contract
from closeout.core.margin import Tiers, Window
from closeout.core.sessions import Session
from closeout.core.units import Currency


class CloseOutMethod(Enum):
    FLATTEN_ALL = "flatten_all"
    REDUCE_TO_TARGET = "reduce_to_target"


@dataclass(frozen=True, slots=True)
class ContractPolicy:
    """One contract under a rulebook. `session` None trades always. `expected_cost` is the rate of notional that a
    close-out is expected to lose (it only ranks legs). `stands_for` names markets whose prices may mark it."""

    contract: Contract
    tiers: Tiers
    session: str | None
    expected_cost: int
    stands_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CloseOutPolicy:
    """US-09. `target` is the usage (a rate) at which `reduce_to_target` is cured."""

    method: CloseOutMethod
    target: int


@dataclass(frozen=True, slots=True)
class MarkPolicy:
    """Grades (G-06, G-18): a move above `jump` (a rate of the last mark; None: no guard) is `jump` until a mark
    confirms it; a mark older than `stale_after` nanoseconds is stale; a position without any mark is taken to have lost
    `unpriced_move` (a rate of its cost)."""

    jump: int | None
    stale_after: int
    unpriced_move: int


@dataclass(frozen=True, slots=True)
class ReceivablePolicy:
    """US-13. `daily_interest` is a rate a business day; after `closing_only_after` business days in debit only
    close-outs and the desk act."""

    daily_interest: int
    closing_only_after: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that the engine reads of a rulebook. Dictionaries keep the file's order."""

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
    liquidation_fee_first: int
    liquidation_fee_later: int
    restrict_after_liquidation: bool
    news_multiplier: int
    news_held: bool
    marks: MarkPolicy
    receivable: ReceivablePolicy
