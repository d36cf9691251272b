"""What the firm reports of its accounts over FIX 4.4: positions (AP) and margin (BA), asked for by AN and BB.

899 MarginExcess is the net liquidating value less the requirement: below zero it is what is missing. 900 is the net
liquidating value, 901 the cash. Amounts are exact decimals in the account's currency.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct

from closeout.adapters.venues.fix_codec import Field, Message
from closeout.core.units import plain

Reply = tuple[str, list[Field]]
"""Type and body of a message to send."""

ASSIGNED, PARTIALLY_ASSIGNED = "3", "1"
"""CollStatus (910)."""
VALID, NO_POSITIONS, OTHER = "0", "2", "99"
"""PosReqResult (728)."""
COMPLETED, REJECTED = "0", "2"
"""PosReqStatus (729)."""
CUSTOMER_SIDE = "1"
"""AccountType (581): carried on the customer side of the books."""


class ReportedPosition(Struct, frozen=True):
    """A position: the symbol that the other side knows, the signed quantity in the unit that quantities are quoted in,
    the mark and the last settlement price, None where there is none, and the open profit."""

    symbol: str
    quantity: Decimal
    mark: Decimal | None
    prior_settlement: Decimal | None
    profit: Decimal


class ReportedAccount(Struct, frozen=True):
    """An account at one moment. `firm` is the clearing firm's party id, `sequence` the journal's position, which makes
    the reports' ids, `business_date` is ``YYYYMMDD``."""

    account_id: str
    firm: str
    currency: str
    sequence: int
    business_date: str
    net_liq: Decimal
    requirement: Decimal
    cash: Decimal
    positions: tuple[ReportedPosition, ...]


Accounts = Callable[[str], ReportedAccount | None]
"""Looks an account up by its id."""


def position_reports(account: ReportedAccount, request_id: str | None = None) -> list[Reply]:
    """One PositionReport (AP) per position; with the id of the request that they answer, if any."""
    return [_position_report(account, position, request_id) for position in account.positions]


def collateral_report(account: ReportedAccount, inquiry_id: str | None = None) -> Reply:
    """The CollateralReport (BA); with the id of the inquiry that it answers, if any."""
    excess = account.net_liq - account.requirement
    fields: list[Field] = [(908, f"{account.sequence}-{account.account_id}")]
    if inquiry_id is not None:
        fields.append((909, inquiry_id))
    fields += [
        (910, ASSIGNED if excess >= 0 else PARTIALLY_ASSIGNED),
        (911, "1"),
        (912, "Y"),
        *_parties(account),
        (1, account.account_id),
        (581, CUSTOMER_SIDE),
        (15, account.currency),
        (899, plain(excess)),
        (900, plain(account.net_liq)),
        (901, plain(account.cash)),
        (715, account.business_date),
    ]
    return "BA", fields


def answer(message: Message, accounts: Accounts) -> list[Reply] | None:
    """The messages that answer a CollateralInquiry (BB) or RequestForPositions (AN); None for any other message.
    `MissingTag` where the question lacks a field."""
    if message.type == "BB":
        return _collateral(message, accounts)
    if message.type == "AN":
        return _positions(message, accounts)
    return None


def _collateral(message: Message, accounts: Accounts) -> list[Reply]:
    inquiry = message.get(909) or ""
    account_id = message.need(1)
    account = accounts(account_id)
    if account is not None:
        return [collateral_report(account, inquiry or None)]
    refused: list[Field] = [(909, inquiry or "none"), (945, "4"), (946, OTHER), (1, account_id)]
    return [("BG", [*refused, (58, "unknown account")])]


def _positions(message: Message, accounts: Accounts) -> list[Reply]:
    request, account_id = message.need(710), message.need(1)
    if message.need(724) != "0":
        return [_acknowledged(message, None, OTHER, REJECTED, "only positions are reported (PosReqType 0)")]
    account = accounts(account_id)
    if account is None:
        return [_acknowledged(message, None, OTHER, REJECTED, "unknown account")]
    result = VALID if account.positions else NO_POSITIONS
    return [_acknowledged(message, account, result, COMPLETED, ""), *position_reports(account, request)]


def _acknowledged(message: Message, account: ReportedAccount | None, result: str, status: str, text: str) -> Reply:
    """RequestForPositionsAck (AO)."""
    request = message.need(710)
    fields: list[Field] = [
        (721, f"{account.sequence}-{account.account_id}" if account else f"none-{request}"),
        (710, request),
        (727, str(len(account.positions)) if account else "0"),
        (728, result),
        (729, status),
        *(_parties(account) if account else [(453, "0")]),
        (1, message.need(1)),
        (581, CUSTOMER_SIDE),
    ]
    return "AO", [*fields, (58, text)] if text else fields


def _position_report(account: ReportedAccount, position: ReportedPosition, request_id: str | None) -> Reply:
    fields: list[Field] = [(721, f"{account.sequence}-{account.account_id}-{position.symbol}")]
    if request_id is not None:
        fields += [(710, request_id), (724, "0"), (727, str(len(account.positions)))]
    fields += [
        (728, VALID),
        (715, account.business_date),
        *_parties(account),
        (1, account.account_id),
        (581, CUSTOMER_SIDE),
        (55, position.symbol),
        (15, account.currency),
    ]
    if position.mark is not None:
        fields += [(730, plain(position.mark)), (731, "2")]  # theoretical: a mark, not a settlement
    if position.prior_settlement is not None:
        fields.append((734, plain(position.prior_settlement)))
    side = 704 if position.quantity >= 0 else 705
    fields += [(702, "1"), (703, "TOT"), (side, plain(abs(position.quantity)))]
    fields += [(753, "1"), (707, "FMTM"), (708, plain(position.profit))]
    return "AP", fields


def _parties(account: ReportedAccount) -> list[Field]:
    """The clearing firm, by an id of its own (447 D: proprietary, 452 4: clearing firm)."""
    return [(453, "1"), (448, account.firm), (447, "D"), (452, "4")]
