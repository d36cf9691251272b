"""An account's assessment as a document: what `closeout quote` prints and what the service answers, live.

An isolated position is an account of its own. Totals (net liq, margins, requirement, usage) include it; the level is
the worst among the cross account and the isolated positions, whose own figures stand with the position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from closeout.core.bankruptcy import price_text
from closeout.core.contracts import Contract
from closeout.core.margin import MarginKind, Window
from closeout.core.outlook import MOVES, WORST_GAPS, Account, look_ahead, outcome
from closeout.core.prices import bankruptcy_price, estimated_liquidation_value, liquidation_price
from closeout.core.risk import Holding, Money, Risk, assess, margin_together, take_over_line
from closeout.core.times import SECOND, time_text
from closeout.core.units import RATE, mul_div_ceil, mul_div_floor, rate_text
from closeout.rulebooks.policy import Policy, ShownPrice

DAY = 86_400 * SECOND
LINES = ("alert", "liquidate_only", "auto_liquidation")
"""Names of `Risk.lines`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One position, its session, and its name, quantity and entry price as the owner knows them; an entry price of ""
    is the average of its cost."""

    holding: Holding
    session: str | None
    name: str
    quantity: str
    entry_price: str


@dataclass(slots=True)
class Part:
    """What is judged together: the cross account (always the first part, `isolated` false) or an isolated position.
    `fee` is that of its next close-out; None: of a first one."""

    isolated: bool
    money: Money
    lines: list[Line] = field(default_factory=list[Line])
    fee: int | None = None

    def holdings(self, windows: Mapping[str, Window] | None = None) -> tuple[Holding, ...]:
        """As the engine holds them; under `windows` by session instead of the present ones where given."""
        if windows is None:
            return tuple(line.holding for line in self.lines)
        return tuple(
            line.holding.under(windows.get(line.session or "", line.holding.terms.window)) for line in self.lines
        )

    def account(self, windows: Mapping[str, Window] | None = None) -> Account:
        return Account(self.money, self.holdings(windows), self.fee)

    def risk(self, floor: int | None) -> Risk:
        return assess(self.money, self.holdings(), floor)


def average_entry(contract: Contract, lots: int, cost: int) -> str:
    """The average entry price of a position for display, to eight places, half to even; "" where it has none."""
    return price_text(contract, lots, cost) if lots and cost else ""


def document(parts: Sequence[Part], policy: Policy, as_of: int | None) -> dict[str, Any]:
    """The assessment of an account in parts. `as_of` None: no look-ahead."""
    return {
        **totals(parts, policy),
        "positions": [position(part, index, policy) for part in parts for index in range(len(part.lines))],
        "liability": "unlimited" if policy.customer_owes else "limited",
        "could_owe": owed_after_gaps(parts, policy),
        "look_ahead": None if as_of is None else ahead(parts, policy, as_of),
    }


def totals(parts: Sequence[Part], policy: Policy) -> dict[str, Any]:
    """The account in one line of figures."""
    return {**figures(parts, policy), "auto_liquidation_distance": _can_lose(parts, policy, to_auto_line=True)}


def _can_lose(parts: Sequence[Part], policy: Policy, *, to_auto_line: bool) -> str:
    """The Estimated Liquidation Value, or the distance to the auto-liquidation line, of the part nearest to it."""
    values = [
        estimated_liquidation_value(part.money, part.holdings(), policy.net_liq_floor, to_auto_line=to_auto_line)
        for part in ([part for part in parts if part.lines] or parts)
    ]
    return policy.currency.text(min(values))


def figures(parts: Sequence[Part], policy: Policy) -> dict[str, Any]:
    """What a list shows of an account. Excess is net liq less that margin, below zero where it is short; `lines` are
    the net liqs of the cross account at which each level begins, and below which it is taken over."""
    text, floor = policy.currency.text, policy.net_liq_floor
    risks = [part.risk(floor) for part in parts]
    held = [holding for part in parts for holding in part.holdings()]
    net_liq, requirement = sum(risk.net_liq for risk in risks), sum(risk.requirement for risk in risks)
    initial, maintenance, intraday = (
        sum(margin_together(part.holdings(), kind) for part in parts)
        for kind in (MarginKind.INITIAL, MarginKind.MAINTENANCE, MarginKind.INTRADAY)
    )
    intraday = intraday if _has_intraday(policy) else None
    share = policy.close_out.take_over_below if policy.takes_positions else None
    flags = ["unpriced"] if any(holding.mark is None for holding in held) else []
    return {
        "net_liq": text(net_liq),
        "equity": text(net_liq),
        "cash": text(parts[0].money.cash),
        "initial_margin": text(initial),
        "maintenance_margin": text(maintenance),
        "intraday_margin": None if intraday is None else text(intraday),
        "excess": text(net_liq - requirement),
        "excess_initial_margin": text(net_liq - initial),
        "excess_maintenance_margin": text(net_liq - maintenance),
        "excess_intraday_margin": None if intraday is None else text(net_liq - intraday),
        "notional": text(sum(holding.notional for holding in held)),
        "open_trade_equity": text(sum(holding.profit for holding in held)),
        "requirement": text(requirement),
        "margin_ratio": margin_ratio(net_liq, maintenance),
        "usage": usage(requirement, net_liq),
        "initial_usage": usage(initial, net_liq),
        "intraday_usage": None if intraday is None else usage(intraday, net_liq),
        "lines": {name: text(line) for name, line in zip(LINES, risks[0].lines, strict=True)}
        | {"take_over": None if share is None else text(take_over_line(risks[0].requirement, share))},
        "state": {"level": max(risk.level for risk in risks).name.lower(), "flags": flags},
        "estimated_liquidation_value": _can_lose(parts, policy, to_auto_line=False),
    }


def _has_intraday(policy: Policy) -> bool:
    """Whether any window of a rulebook requires intraday margin."""
    return any(window.requirement is MarginKind.INTRADAY for window in policy.windows.values())


def usage(requirement: int, net_liq: int) -> str | None:
    """Requirement / net liq, rounded up to 1e-9; "over" with net liq at or below zero (US-03), None where there is
    nothing to divide."""
    if net_liq <= 0:
        return "over" if requirement else None
    return rate_text(mul_div_ceil(requirement, RATE, net_liq))


def margin_ratio(net_liq: int, maintenance: int) -> str | None:
    """Net liq / maintenance margin, rounded down to 1e-9; None where nothing is required."""
    return rate_text(mul_div_floor(net_liq, RATE, maintenance)) if maintenance else None


def position(part: Part, index: int, policy: Policy) -> dict[str, Any]:
    line, holdings, floor = part.lines[index], part.holdings(), policy.net_liq_floor
    holding = line.holding
    contract, text = holding.contract, policy.currency.text
    how = policy.contracts[contract.name].shown
    liquidation = liquidation_price(part.money, holdings, index, floor)
    bankruptcy = bankruptcy_price(part.money, holdings, index, after_fee=how.after_fee)
    prices = {
        "liquidation_price": shown(liquidation, holding, how, isolated=part.isolated),
        "bankruptcy_price": bankruptcy,
    }
    maintenance, fee = holding.margin(MarginKind.MAINTENANCE), holding.close_fee
    leaving = None if bankruptcy is None else contract.trade_fee(bankruptcy, holding.lots)
    intraday = holding.margin(MarginKind.INTRADAY) if _has_intraday(policy) else None
    answer: dict[str, Any] = {
        "contract": line.name,
        "held_as": contract.name,
        "quantity": line.quantity,
        "lots": str(holding.lots),
        "margin_mode": "isolated" if part.isolated else "cross",
        "entry_price": line.entry_price or average_entry(contract, holding.lots, holding.cost),
        "mark": None if holding.mark is None else contract.price_text(holding.mark),
        "notional": text(holding.notional),
        "unrealized_pnl": text(holding.profit),
        "initial_margin": text(holding.margin(MarginKind.INITIAL)),
        "maintenance_margin": text(maintenance),
        "maintenance_before_fee": text(maintenance - fee),
        "close_fee": text(fee),
        "intraday_margin": None if intraday is None else text(intraday),
        "requirement": text(holding.requirement),
        "window": holding.terms.window.name,
        **{key: None if ticks is None else contract.price_text(ticks) for key, ticks in prices.items()},
        "fee_at_bankruptcy": None if leaving is None else text(leaving),
    }
    if part.isolated:
        risk = part.risk(floor)
        answer |= {
            "isolated_margin": text(part.money.cash),
            "net_liq": text(risk.net_liq),
            "usage": usage(risk.requirement, risk.net_liq),
            "margin_ratio": margin_ratio(risk.net_liq, maintenance),
            "level": risk.level.name.lower(),
        }
    return answer


def shown(ticks: int | None, holding: Holding, how: ShownPrice, *, isolated: bool) -> int | None:
    """A liquidation price as the venue states it (`ContractTable.liquidation_price_rounding`)."""
    side = 1 if holding.lots > 0 else -1
    if ticks is None:
        return None
    if how.towards_entry:
        return ticks + side * how.step if isolated else ticks
    return -side * (-side * ticks // how.step) * how.step


def owed_after_gaps(parts: Sequence[Part], policy: Policy) -> list[dict[str, Any]]:
    """What could be owed after each of the moves that an account is always shown (US-18, US-19)."""
    cross, *isolated = [part.account() for part in parts]
    moves = [(move, None) for move in MOVES] + [(gap.move, gap.what) for gap in WORST_GAPS]
    rows: list[dict[str, Any]] = []
    for move, gap in moves:
        after = outcome(
            cross, isolated, move, policy.net_liq_floor, policy.liquidation_fee.first,
            customer_owes=policy.customer_owes,
        )  # fmt: skip
        rows.append({
            "move": move_text(move),
            "amount": policy.currency.text(after.owed),
            "borne_by_others": policy.currency.text(after.borne),
            "worst_minute": gap,
        })  # fmt: skip
    return rows


def move_text(move: int) -> str:
    """At least two decimal places: ``-0.10``."""
    whole, _, fraction = rate_text(move).partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"


# -- the next window -----------------------------------------------------------------------------------


def next_windows(policy: Policy, sessions: Sequence[str], as_of: int) -> tuple[int, dict[str, Window]] | None:
    """The first change of window among these sessions, and the windows that hold from then on; None where no window
    ever changes."""
    changes = [
        next((i.time_ns for i in session.changes(as_of, as_of + 30 * DAY) if i.window != now), None)
        for session, now in ((policy.sessions[name], policy.sessions[name].state(as_of).window) for name in sessions)
    ]
    times = [time for time in changes if time is not None]
    if not times:
        return None
    switch = min(times)
    return switch, {name: policy.windows[policy.sessions[name].state(switch).window] for name in sessions}


def sessions_of(parts: Sequence[Part]) -> tuple[str, ...]:
    """The sessions of the contracts held, by name."""
    return tuple(sorted({line.session for part in parts for line in part.lines if line.session is not None}))


def ahead(parts: Sequence[Part], policy: Policy, as_of: int) -> dict[str, Any] | None:
    """The account under the windows of the next switch (US-05, US-27)."""
    following = next_windows(policy, sessions_of(parts), as_of)
    if following is None:
        return None
    switch, windows = following
    return {
        "switch_at": time_text(switch),
        "countdown_seconds": -((as_of - switch) // SECOND),
        **part_ahead(parts[0], windows, policy),
        "isolated": [{"contract": part.lines[0].name, **part_ahead(part, windows, policy)} for part in parts[1:]],
    }


def part_ahead(part: Part, windows: Mapping[str, Window], policy: Policy) -> dict[str, Any]:
    account, floor, text = part.account(windows), policy.net_liq_floor, policy.currency.text
    found = look_ahead(account, floor)
    values = [
        estimated_liquidation_value(account.money, account.holdings, floor, to_auto_line=auto) for auto in (False, True)
    ]
    fewest = [(line.holding.contract, found.fewest_lots[line.holding.contract.name]) for line in part.lines]
    return {
        "windows": {holding.contract.name: holding.terms.window.name for holding in account.holdings},
        "requirement": text(found.risk.requirement),
        "usage": usage(found.risk.requirement, found.risk.net_liq),
        "excess": text(found.risk.net_liq - found.risk.requirement),
        "level": found.risk.level.name.lower(),
        "estimated_liquidation_value": text(values[0]),
        "auto_liquidation_distance": text(values[1]),
        "short": text(found.short),
        "smallest_deposit": text(found.short),
        "fewest_lots": [
            {
                "contract": contract.name,
                "lots": None if lots is None else str(lots),
                "quantity": None if lots is None else contract.quantity_text(lots),
            }
            for contract, lots in fewest
        ],
    }
