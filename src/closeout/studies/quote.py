"""One account's assessment under a rulebook, from a file: what `closeout quote` answers.

The figures are the engine's: the account is read by the same commands as a replay, and judged by `core.risk.assess`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from msgspec import structs

from closeout.core.contracts import OutOfBounds, Position
from closeout.core.margin import Terms, Window
from closeout.core.prices import MOVE_GRID, common_move, moved_tick
from closeout.core.risk import Holding, Money
from closeout.core.times import time_text
from closeout.core.units import RATE, InputError, plain
from closeout.engine.commands import Deposit, OpenAccount, TransferPosition
from closeout.rulebooks.loader import load
from closeout.rulebooks.policy import ContractPolicy, Policy
from closeout.studies import assessment, collateral
from closeout.studies.accounts import AccountFile, AccountPosition, parse_account, to_commands
from closeout.studies.assessment import Line, Part
from closeout.studies.columns import columns
from closeout.studies.market import parse_time
from closeout.studies.marking import read_marks
from closeout.studies.room import Orders, Room, read_orders

_OWN_FIELDS = ("rulebook", "as_of", "marks", "overrides", "collateral", "orders")


def quote(document: object, where: str) -> dict[str, Any]:
    """The assessment of an account document, as the JSON of the command.

    `where` (the file) begins the message of every `InputError`. Marks are prices, or what the rulebook's formula of a
    mark reads; they are rounded to the tick, half to even. Without `as_of` the rulebook's opening window holds,
    and `look_ahead` is null. Collateral in other assets counts as cash of the cross account.
    """
    given, account = _read(document, where)
    policy = _policy(given, where)
    held: collateral.Worth | None = None
    if "collateral" in given:
        held = collateral.worth(given["collateral"], policy.currency, f"{where}: collateral")
        account = structs.replace(account, cash=account.cash + Decimal(held.counted).scaleb(-policy.currency.places))
    as_of = _as_of(given.get("as_of"), where)
    marks, worked_out = read_marks(given.get("marks", {}), policy, as_of, where)
    parts, leverage = _parts(account, policy, marks, as_of)
    orders = read_orders(given.get("orders", []), policy, f"{where}: orders")
    _need_marks(orders, marks, where)
    flat = [
        _holding(own, Position(), own.contract.named_in(leverage), policy, marks, as_of)
        for name, own in policy.contracts.items()
        if name in marks
    ]
    return {
        "account_id": account.account_id,
        "rulebook": policy.name,
        "rulebook_version": policy.version,
        "rulebook_digest": policy.digest,
        "currency": policy.currency.code,
        "as_of": None if as_of is None else time_text(as_of),
        **worked_out,
        **({} if held is None else _with_collateral(held, parts, policy)),
        **assessment.document(parts, policy, as_of),
        "all_together": _all_together(parts[0], policy),
        **_left(parts, flat, orders, policy, with_intraday=account.settings.validate_with_intraday),
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


# -- the account in parts ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Held:
    """One position while the file's positions are put together, and those that it was made of."""

    own: ContractPolicy
    leverage: int
    position: Position = field(default_factory=Position)
    written: list[AccountPosition] = field(default_factory=list[AccountPosition])


def _parts(
    account: AccountFile, policy: Policy, marks: dict[str, int], as_of: int | None
) -> tuple[list[Part], dict[str, int]]:
    """The accounts that a replay would open for this one, with what they would hold; and the cross account's leverage
    by contract."""
    parts: dict[str, Part] = {}
    held: dict[str, dict[str, _Held]] = {}
    leverage: dict[str, dict[str, int]] = {}
    written = {mode: iter([p for p in account.positions if p.margin_mode == mode]) for mode in ("cross", "isolated")}
    for command in to_commands(account, policy):
        if isinstance(command, OpenAccount):
            parts[command.account_id] = Part(command.parent is not None, Money(0))
            leverage[command.account_id], held[command.account_id] = command.leverage, {}
        elif isinstance(command, Deposit):
            parts[command.account_id].money = Money(command.micros)
        elif isinstance(command, TransferPosition):
            rules = policy.contracts[command.contract]
            rate = rules.contract.named_in(leverage[command.account_id])
            own = held[command.account_id].setdefault(command.contract, _Held(rules, rate))
            own.position.trade(own.own.contract, command.lots, command.cost)
            own.written.append(next(written["isolated" if parts[command.account_id].isolated else "cross"]))
    for account_id, part in parts.items():
        part.lines = [_line(own, policy, marks, as_of, account) for own in held[account_id].values()]
    return list(parts.values()), leverage[account.account_id]


def _line(held: _Held, policy: Policy, marks: dict[str, int], as_of: int | None, account: AccountFile) -> Line:
    contract = held.own.contract
    mark = marks.get(contract.name)
    try:
        contract.check_bounds(1 if mark is None else mark, held.position.lots)
    except OutOfBounds as error:
        where = account.where or account.account_id
        raise InputError(f"{where}: positions: {error}: beyond the bound on one position") from None
    holding = _holding(held.own, held.position, held.leverage, policy, marks, as_of)
    return Line(holding, held.own.session, *_as_written(held))


def _holding(
    own: ContractPolicy, position: Position, leverage: int, policy: Policy, marks: dict[str, int], as_of: int | None
) -> Holding:
    return Holding(
        contract=own.contract,
        terms=Terms(own.tiers, _window(own.session, policy, as_of), rules=own.margin),
        lots=position.lots,
        cost=position.cost,
        mark=marks.get(own.contract.name),
        leverage=leverage,
        unpriced_move=policy.marks.unpriced_move,
    )


def _window(session: str | None, policy: Policy, as_of: int | None) -> Window:
    if session is None or as_of is None:
        return policy.windows[policy.opening_window]
    return policy.windows[policy.sessions[session].state(as_of).window]


def _as_written(held: _Held) -> tuple[str, str, str]:
    """Name, quantity and entry price as the file has them, and the contract's own where several were put together."""
    written, contract = held.written, held.own.contract
    if len({position.contract for position in written}) > 1:
        name, quantity = contract.name, contract.quantity_text(held.position.lots)
    else:
        name, quantity = written[0].contract, plain(sum((p.quantity for p in written), Decimal(0)))
    if len({position.entry_price for position in written}) == 1:
        return name, quantity, plain(written[0].entry_price)
    weight = sum(position.quantity for position in written)
    average = sum(position.quantity * position.entry_price for position in written) / Decimal(weight)
    return name, quantity, plain(round(average, 8))


def _with_collateral(held: collateral.Worth, parts: list[Part], policy: Policy) -> dict[str, str]:
    """What collateral counts as, and the account's worth with all of it at its price."""
    net_liq = sum(part.risk(policy.net_liq_floor).net_liq for part in parts)
    text = policy.currency.text
    return {"collateral": text(held.counted), "portfolio_value": text(net_liq + held.whole - held.counted)}


def _all_together(part: Part, policy: Policy) -> dict[str, Any] | None:
    """The move of all marks by one share of themselves at which the cross account is just not closed out yet, and the
    marks of what it holds then; None where there is none."""
    move = common_move(part.money, part.holdings(), policy.net_liq_floor)
    if move is None:
        return None
    marked = [(own, own.mark) for own in part.holdings() if own.mark is not None]
    prices = {own.contract.name: own.contract.price_text(moved_tick(own, mark, move)) for own, mark in marked}
    return {"move": assessment.move_text(move * (RATE // MOVE_GRID)), "prices": prices}


# -- what is left to it --------------------------------------------------------------------------------


def _need_marks(orders: Orders, marks: dict[str, int], where: str) -> None:
    for name in orders:
        if name not in marks:
            raise InputError(f"{where}: orders: expected a mark of {name}, in which an order works")


def _left(
    parts: list[Part], flat: list[Holding], orders: Orders, policy: Policy, *, with_intraday: bool
) -> dict[str, Any]:
    """What can be withdrawn from the cross account, what its orders leave of net liq, and the largest further order in
    each contract that has a mark (`flat`); an isolated position's comes out of its own margin."""
    cross, *isolated = parts
    floor, text = policy.net_liq_floor, policy.currency.text
    room = Room(cross.money, [*flat, *cross.holdings()], orders, floor, with_intraday=with_intraday)
    alone = [Room(part.money, part.holdings(), {}, floor, with_intraday=with_intraday) for part in isolated]
    return {
        "withdrawable": text(room.withdrawable(policy.withdrawal_keep)),
        "available_margin": text(room.net_liq - room.worst_case),
        "largest_orders": [
            _largest(each, holding, "cross" if each is room else "isolated")
            for each in (room, *alone)
            for holding in each.holdings.values()
        ],
    }


def _largest(room: Room, holding: Holding, mode: str) -> dict[str, str]:
    contract = holding.contract
    buy, sell = (contract.quantity_text(room.largest_order(contract.name, side)) for side in (1, -1))
    return {"contract": contract.name, "margin_mode": mode, "buy": buy, "sell": sell}


# -- for people ----------------------------------------------------------------------------------------


def explain(result: dict[str, Any]) -> str:
    """The answer as plain text, for a terminal."""
    flags = f" ({', '.join(result['state']['flags'])})" if result["state"]["flags"] else ""
    isolated = [position for position in result["positions"] if position["margin_mode"] == "isolated"]
    of_worst, of_nearest = (", of its worst part", "nearest part ") if isolated else ("", "")
    together = result["all_together"]
    money: list[tuple[str, str | None]] = [
        ("net liq", result["net_liq"]),
        ("requirement", result["requirement"]),
        ("usage", _percent(result["usage"])),
        (f"state{of_worst}", result["state"]["level"].replace("_", "-") + flags),
        (f"{of_nearest}can lose before 100 % usage", result["estimated_liquidation_value"]),
        (f"{of_nearest}can lose before liquidation", result["auto_liquidation_distance"]),
        ("all marks together can move", _percent(together["move"]) if together else None),
        ("initial margin", result["initial_margin"]),
        ("maintenance margin", result["maintenance_margin"]),
        ("intraday margin", result["intraday_margin"]),
        ("above initial margin", result["available_margin"]),
        ("can be withdrawn", result["withdrawable"]),
    ]
    blocks = [
        f"{result['account_id']} under {result['rulebook']} {result['rulebook_version']}, in {result['currency']}",
        columns([(name, shown) for name, shown in money if shown is not None], left=1),
    ]
    names = ("contract", "quantity", "mode", "entry", "mark", "profit", "liquidation", "bankruptcy")
    keys = ("contract", "quantity", "margin_mode", "entry_price", "mark", "unrealized_pnl")
    rows = [
        [str(p[key] or "none") for key in (*keys, "liquidation_price", "bankruptcy_price")] for p in result["positions"]
    ]
    if rows:
        blocks.append(columns([names, *rows], left=1))
        blocks += [_isolated(isolated)] if isolated else []
        blocks.append(_gaps(result))
    blocks += [_largest_orders(result["largest_orders"])] if result["largest_orders"] else []
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


def _isolated(positions: list[dict[str, Any]]) -> str:
    """What each isolated position is judged by: its own money, not the account's."""
    rows = [("contract", "margin", "net liq", "requirement", "usage", "state")]
    rows += [
        (
            position["contract"],
            position["isolated_margin"],
            position["net_liq"],
            position["requirement"],
            _percent(position["usage"]),
            position["level"].replace("_", "-"),
        )
        for position in positions
    ]
    return f"Isolated positions are in the sums above, and each is closed out alone:\n{columns(rows, left=1)}"


def _gaps(result: dict[str, Any]) -> str:
    owes = result["liability"] == "unlimited"
    gaps = [
        (
            _percent(row["move"]),
            row["amount" if owes else "borne_by_others"],
            f"worst minute of {row['worst_minute']}" if row["worst_minute"] else "",
        )
        for row in result["could_owe"]
    ]
    what = (
        "What it could owe if the market gapped there (no loss is capped)"
        if owes
        else "What others would bear if the market gapped there (it owes nothing: its loss ends at zero)"
    )
    return f"{what}:\n{columns(gaps, left=3)}"


def _largest_orders(rows: list[dict[str, str]]) -> str:
    names = ("contract", "margin_mode", "buy", "sell")
    table = columns(
        [("contract", "mode", "buy", "sell"), *(tuple(row[name] for name in names) for row in rows)], left=1
    )
    return f"The largest further orders that margin allows:\n{table}"


def _percent(ratio: str | None) -> str:
    if ratio is None or ratio == "over":
        return ratio or "none"
    return f"{plain(round(Decimal(ratio) * 100, 3))} %"
