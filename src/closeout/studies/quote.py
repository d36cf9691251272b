"""One account's assessment under a rulebook: what `closeout quote` answers.

The figures are the engine's: the account is read by the same commands as a replay, and judged by `core.risk.assess`.
An isolated position is an account of its own. Totals (net liq, margins, requirement, usage) include it; the level is
the worst among the cross account and the isolated positions, whose own figures stand with the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from closeout.core.contracts import OutOfBounds, Position
from closeout.core.margin import MarginKind, Terms, Window
from closeout.core.outlook import MOVES, WORST_GAPS, Account, could_owe, look_ahead
from closeout.core.prices import bankruptcy_price, estimated_liquidation_value, liquidation_price
from closeout.core.risk import Holding, Money, Risk, assess
from closeout.core.times import SECOND, time_text
from closeout.core.units import RATE, InputError, decimal, mul_div_ceil, plain, rate_text
from closeout.engine.commands import Deposit, OpenAccount, TransferPosition
from closeout.rulebooks.loader import load
from closeout.rulebooks.policy import ContractPolicy, Policy
from closeout.studies.accounts import AccountFile, AccountPosition, parse_account, to_commands
from closeout.studies.columns import columns
from closeout.studies.market import bounded_decimal, parse_time

_DAY = 86_400 * SECOND
_OWN_FIELDS = ("rulebook", "as_of", "marks", "overrides")


def quote(document: object, where: str) -> dict[str, Any]:
    """The assessment of an account document, as the JSON of the command.

    `where` (the file) begins the message of every `InputError`. Marks are rounded to the contract's tick, half to even.
    Without `as_of` the rulebook's opening window holds, and `look_ahead` is null.
    """
    given, account = _read(document, where)
    policy = _policy(given, where)
    as_of = _as_of(given.get("as_of"), where)
    marks = _marks(given.get("marks", {}), policy, where)
    parts = _parts(account, policy, marks, as_of)
    return {
        "account_id": account.account_id,
        "rulebook": policy.name,
        "rulebook_version": policy.version,
        "rulebook_digest": policy.digest,
        "currency": policy.currency.code,
        "as_of": None if as_of is None else time_text(as_of),
        **_totals(parts, policy),
        "positions": [_position(part, index, policy) for part in parts for index in range(len(part.lines))],
        "could_owe": _could_owe(parts, policy),
        "look_ahead": None if as_of is None else _look_ahead(parts, policy, as_of),
    }


# -- reading -------------------------------------------------------------------------------------------


def _read(document: object, where: str) -> tuple[dict[str, Any], AccountFile]:
    """The document's own fields and the account in it."""
    if not isinstance(document, dict):
        raise InputError(f"{where}: expected one account as a JSON object")
    fields = cast(dict[str, Any], document)
    given = {key: fields[key] for key in _OWN_FIELDS if key in fields}
    return given, parse_account({key: value for key, value in fields.items() if key not in given}, where)


def _policy(given: dict[str, Any], where: str) -> Policy:
    name, overrides = given.get("rulebook"), given.get("overrides")
    if not isinstance(name, str):
        raise InputError(f"{where}: rulebook: expected the name of a rulebook, not {name!r}")
    if overrides is not None and not isinstance(overrides, dict):
        raise InputError(f"{where}: overrides: expected an object with the rulebook's own keys")
    try:
        return load(name, cast(dict[str, Any] | None, overrides)).policy()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _as_of(value: object, where: str) -> int | None:
    if value is None:
        return None
    try:
        return parse_time(str(value))[0]
    except ValueError as error:
        raise InputError(f"{where}: as_of: {error}") from None


def _marks(value: object, policy: Policy, where: str) -> dict[str, int]:
    """Ticks by the rulebook's contract; a contract's own name goes before a market that it stands for."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: marks: expected an object of contracts and prices")
    given = cast(dict[str, object], value)
    known = {name for own in policy.contracts.values() for name in (own.contract.name, *own.stands_for)}
    ticks: dict[str, int] = {}
    for own in policy.contracts.values():
        name = next((name for name in (own.contract.name, *own.stands_for) if name in given), None)
        if name is not None:
            ticks[own.contract.name] = _mark(given[name], own, f"{where}: marks.{name}")
    for name in given:
        if name not in known:
            raise InputError(f"{where}: marks.{name}: {policy.name} has no such contract")
    return ticks


def _mark(value: object, own: ContractPolicy, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{where}: expected a price as a string, not {value!r}")
    price = bounded_decimal(decimal(str(value), where), where)
    if price <= 0 and not own.contract.negative_prices:
        raise InputError(f"{where}: expected a price above zero, not {value}")
    try:
        return own.contract.nearest_ticks(price)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


# -- the account in parts ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """One position as it is held, and the file's positions that it was made of."""

    own: ContractPolicy
    position: Position
    leverage: int
    mark: int | None
    window: Window
    written: list[AccountPosition] = field(default_factory=list[AccountPosition])


@dataclass(slots=True)
class _Part:
    """What is judged together: the cross account (always the first part, `isolated` false) or an isolated position."""

    isolated: bool
    money: Money
    lines: list[_Line]
    policy: Policy

    def holdings(self, windows: dict[str, Window] | None = None) -> tuple[Holding, ...]:
        """As the engine holds them; under `windows` by session instead of the present ones where given."""
        return tuple(
            Holding(
                contract=line.own.contract,
                terms=Terms(line.own.tiers, (windows or {}).get(line.own.session or "", line.window)),
                lots=line.position.lots,
                cost=line.position.cost,
                mark=line.mark,
                leverage=line.leverage,
                unpriced_move=self.policy.marks.unpriced_move,
            )
            for line in self.lines
        )

    def account(self, windows: dict[str, Window] | None = None) -> Account:
        return Account(self.money, self.holdings(windows))

    def risk(self) -> Risk:
        return assess(self.money, self.holdings(), self.policy.net_liq_floor)


def _parts(account: AccountFile, policy: Policy, marks: dict[str, int], as_of: int | None) -> list[_Part]:
    """The accounts that a replay would open for this one, with what they would hold."""
    parts: dict[str, _Part] = {}
    leverage: dict[str, dict[str, int]] = {}
    written = {mode: iter([p for p in account.positions if p.margin_mode == mode]) for mode in ("cross", "isolated")}
    for command in to_commands(account, policy):
        if isinstance(command, OpenAccount):
            parts[command.account_id] = _Part(command.parent is not None, Money(0), [], policy)
            leverage[command.account_id] = command.leverage
        elif isinstance(command, Deposit):
            parts[command.account_id].money = Money(command.micros)
        elif isinstance(command, TransferPosition):
            part = parts[command.account_id]
            line = next((line for line in part.lines if line.own.contract.name == command.contract), None)
            if line is None:
                own = policy.contracts[command.contract]
                rate = leverage[command.account_id].get(command.contract, 0)
                mark, window = marks.get(command.contract), _window(own.session, policy, as_of)
                part.lines.append(line := _Line(own, Position(), rate, mark, window))
            line.position.trade(line.own.contract, command.lots, command.cost)
            line.written.append(next(written["isolated" if part.isolated else "cross"]))
    for line in (line for part in parts.values() for line in part.lines):
        try:
            line.own.contract.check_bounds(1 if line.mark is None else line.mark, line.position.lots)
        except OutOfBounds as error:
            where = account.where or account.account_id
            raise InputError(f"{where}: positions: {error}: beyond the bound on one position") from None
    return list(parts.values())


def _window(session: str | None, policy: Policy, as_of: int | None) -> Window:
    if session is None or as_of is None:
        return policy.windows[policy.opening_window]
    return policy.windows[policy.sessions[session].state(as_of).window]


# -- the answer ----------------------------------------------------------------------------------------


def _totals(parts: Sequence[_Part], policy: Policy) -> dict[str, Any]:
    text, floor = policy.currency.text, policy.net_liq_floor
    risks = [part.risk() for part in parts]
    held = [holding for part in parts for holding in part.holdings()]
    net_liq, requirement = sum(risk.net_liq for risk in risks), sum(risk.requirement for risk in risks)
    initial = sum(holding.margin(MarginKind.INITIAL) for holding in held)
    intraday = _intraday(held, policy)
    values = {
        to_auto_line: min(
            estimated_liquidation_value(part.money, part.holdings(), floor, to_auto_line=to_auto_line)
            for part in ([part for part in parts if part.lines] or parts)
        )
        for to_auto_line in (False, True)
    }
    flags = ["unpriced"] if any(holding.mark is None for holding in held) else []
    return {
        "net_liq": text(net_liq),
        "equity": text(net_liq),
        "cash": text(parts[0].money.cash),
        "initial_margin": text(initial),
        "maintenance_margin": text(sum(holding.margin(MarginKind.MAINTENANCE) for holding in held)),
        "intraday_margin": None if intraday is None else text(intraday),
        "requirement": text(requirement),
        "usage": _usage(requirement, net_liq),
        "initial_usage": _usage(initial, net_liq),
        "intraday_usage": None if intraday is None else _usage(intraday, net_liq),
        "state": {"level": max(risk.level for risk in risks).name.lower(), "flags": flags},
        "estimated_liquidation_value": text(values[False]),
        "auto_liquidation_distance": text(values[True]),
    }


def _intraday(held: Sequence[Holding], policy: Policy) -> int | None:
    """None under a rulebook none of whose windows requires intraday margin."""
    if all(window.requirement is not MarginKind.INTRADAY for window in policy.windows.values()):
        return None
    return sum(holding.margin(MarginKind.INTRADAY) for holding in held)


def _usage(requirement: int, net_liq: int) -> str | None:
    """Requirement / net liq, rounded up to 1e-9; "over" with net liq at or below zero (US-03), None where there is
    nothing to divide."""
    if net_liq <= 0:
        return "over" if requirement else None
    return rate_text(mul_div_ceil(requirement, RATE, net_liq))


def _position(part: _Part, index: int, policy: Policy) -> dict[str, Any]:
    line, holdings = part.lines[index], part.holdings()
    contract, holding = line.own.contract, holdings[index]
    name, quantity, entry = _as_written(line)
    text = policy.currency.text
    prices = {
        "liquidation_price": liquidation_price(part.money, holdings, index, policy.net_liq_floor),
        "bankruptcy_price": bankruptcy_price(part.money, holdings, index),
    }
    intraday = _intraday([holding], policy)
    answer: dict[str, Any] = {
        "contract": name,
        "held_as": contract.name,
        "quantity": quantity,
        "lots": str(holding.lots),
        "margin_mode": "isolated" if part.isolated else "cross",
        "entry_price": entry,
        "mark": None if line.mark is None else contract.price_text(line.mark),
        "notional": text(holding.notional),
        "unrealized_pnl": text(holding.profit),
        "initial_margin": text(holding.margin(MarginKind.INITIAL)),
        "maintenance_margin": text(holding.margin(MarginKind.MAINTENANCE)),
        "intraday_margin": None if intraday is None else text(intraday),
        "requirement": text(holding.requirement),
        "window": line.window.name,
        **{key: None if ticks is None else contract.price_text(ticks) for key, ticks in prices.items()},
    }
    if part.isolated:
        risk = part.risk()
        answer |= {
            "isolated_margin": text(part.money.cash),
            "net_liq": text(risk.net_liq),
            "usage": _usage(risk.requirement, risk.net_liq),
            "level": risk.level.name.lower(),
        }
    return answer


def _as_written(line: _Line) -> tuple[str, str, str]:
    """Name, quantity and entry price as the file has them, and the contract's own where several were put together."""
    written, contract = line.written, line.own.contract
    if len({position.contract for position in written}) > 1:
        name, quantity = contract.name, contract.quantity_text(line.position.lots)
    else:
        name, quantity = written[0].contract, plain(sum((p.quantity for p in written), Decimal(0)))
    if len({position.entry_price for position in written}) == 1:
        return name, quantity, plain(written[0].entry_price)
    weight = sum(position.quantity for position in written)
    average = sum(position.quantity * position.entry_price for position in written) / Decimal(weight)
    return name, quantity, plain(round(average, 8))


def _could_owe(parts: Sequence[_Part], policy: Policy) -> list[dict[str, Any]]:
    cross, *isolated = [part.account() for part in parts]
    moves = [(move, None) for move in MOVES] + [(gap.move, gap.what) for gap in WORST_GAPS]
    rows: list[dict[str, Any]] = []
    for move, gap in moves:
        owed = could_owe(cross, isolated, move, policy.net_liq_floor, policy.liquidation_fee_first)
        rows.append({"move": _move_text(move), "amount": policy.currency.text(owed), "worst_minute": gap})
    return rows


def _move_text(move: int) -> str:
    """At least two decimal places: ``-0.10``."""
    whole, _, fraction = rate_text(move).partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"


def _look_ahead(parts: Sequence[_Part], policy: Policy, as_of: int) -> dict[str, Any] | None:
    """The first change of window among the sessions of the contracts held, and the account under the windows that
    hold from then on; None where no window ever changes."""
    sessions = sorted({line.own.session for part in parts for line in part.lines if line.own.session is not None})
    changes = [
        next((i.time_ns for i in session.changes(as_of, as_of + 30 * _DAY) if i.window != now), None)
        for session, now in ((policy.sessions[name], policy.sessions[name].state(as_of).window) for name in sessions)
    ]
    times = [time for time in changes if time is not None]
    if not times:
        return None
    switch = min(times)
    windows = {name: policy.windows[policy.sessions[name].state(switch).window] for name in sessions}
    cross, isolated = parts[0], parts[1:]
    return {
        "switch_at": time_text(switch),
        "countdown_seconds": -((as_of - switch) // SECOND),
        **_ahead(cross, windows, policy),
        "isolated": [
            {"contract": part.lines[0].written[0].contract, **_ahead(part, windows, policy)} for part in isolated
        ],
    }


def _ahead(part: _Part, windows: dict[str, Window], policy: Policy) -> dict[str, Any]:
    account, floor, text = part.account(windows), policy.net_liq_floor, policy.currency.text
    ahead = look_ahead(account, floor)
    values = [
        estimated_liquidation_value(account.money, account.holdings, floor, to_auto_line=auto) for auto in (False, True)
    ]
    fewest = [(line.own.contract, ahead.fewest_lots[line.own.contract.name]) for line in part.lines]
    return {
        "windows": {
            line.own.contract.name: h.terms.window.name for line, h in zip(part.lines, account.holdings, strict=True)
        },
        "requirement": text(ahead.risk.requirement),
        "usage": _usage(ahead.risk.requirement, ahead.risk.net_liq),
        "level": ahead.risk.level.name.lower(),
        "estimated_liquidation_value": text(values[0]),
        "auto_liquidation_distance": text(values[1]),
        "short": text(ahead.short),
        "smallest_deposit": text(ahead.short),
        "fewest_lots": [
            {
                "contract": contract.name,
                "lots": None if lots is None else str(lots),
                "quantity": None if lots is None else contract.quantity_text(lots),
            }
            for contract, lots in fewest
        ],
    }


# -- for people ----------------------------------------------------------------------------------------


def explain(result: dict[str, Any]) -> str:
    """The answer as plain text, for a terminal."""
    flags = f" ({', '.join(result['state']['flags'])})" if result["state"]["flags"] else ""
    money = [
        ("net liq", result["net_liq"]),
        ("requirement", result["requirement"]),
        ("usage", _percent(result["usage"])),
        ("state", result["state"]["level"].replace("_", "-") + flags),
        ("can lose before 100 % usage", result["estimated_liquidation_value"]),
        ("can lose before liquidation", result["auto_liquidation_distance"]),
        ("initial margin", result["initial_margin"]),
        ("maintenance margin", result["maintenance_margin"]),
        ("intraday margin", result["intraday_margin"]),
    ]
    blocks = [
        f"{result['account_id']} under {result['rulebook']} {result['rulebook_version']}, in {result['currency']}",
        columns([row for row in money if row[1] is not None], left=1),
    ]
    names = ("contract", "quantity", "mode", "entry", "mark", "profit", "liquidation", "bankruptcy")
    keys = ("contract", "quantity", "margin_mode", "entry_price", "mark", "unrealized_pnl")
    rows = [
        [str(p[key] or "none") for key in (*keys, "liquidation_price", "bankruptcy_price")] for p in result["positions"]
    ]
    if rows:
        blocks.append(columns([names, *rows], left=1))
        gaps = [
            (
                _percent(row["move"]),
                row["amount"],
                f"worst minute of {row['worst_minute']}" if row["worst_minute"] else "",
            )
            for row in result["could_owe"]
        ]
        blocks.append("What it could owe if the market gapped there (no loss is capped):\n" + columns(gaps, left=3))
    ahead = result["look_ahead"]
    if ahead is not None:
        blocks.append(
            f"Next margin window at {ahead['switch_at']}, in {ahead['countdown_seconds']} s: requirement "
            f"{ahead['requirement']}, usage {_percent(ahead['usage'])}, {ahead['level'].replace('_', '-')}, "
            f"short {ahead['short']}"
        )
        blocks += [
            f"Cleared by a deposit of {ahead['smallest_deposit']}, or by closing {row['quantity']} {row['contract']}"
            for row in ahead["fewest_lots"]
            if row["lots"] not in (None, "0")
        ]
    return "\n\n".join(blocks)


def _percent(ratio: str | None) -> str:
    if ratio is None or ratio == "over":
        return ratio or "none"
    return f"{plain(round(Decimal(ratio) * 100, 3))} %"
