"""What people are told: a letter for each notice, receipt, alarm and shortfall ahead (US-11, US-18, US-27).

Pure functions. Amounts are exact and in their currency; those of a receipt stand as the receipt has them. No sentence
says how much could be lost at most, because nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from closeout.adapters.notices.letter import Letter, Table
from closeout.core.times import MINUTE, SECOND
from closeout.core.units import Currency
from closeout.engine.events import Alarm, LevelChanged, Notice, ReceivableChanged

Receipt = Mapping[str, Any]

NO_CAP = (
    "A close-out does not cap the loss: in a fast market it can fill far from the mark. What is then missing is a debt "
    "of the account's holder, due at once."
)
_CHICAGO = ZoneInfo("America/Chicago")
_LEVELS = {"alert": "the alert level", "liquidate_only": "the liquidate-only level"}

ALARMS = {
    "cancel_failed": "A customer's order could not be cancelled; the close-out goes out without waiting for it longer.",
    "close_out_queued": "A close-out waits because its contract takes no orders; it goes out when that changes.",
    "execution_not_booked": "The venue reported a fill that cannot be booked; it is in nobody's books until corrected.",
    "execution_off_lot": "The venue reported a fill finer than a lot; its whole lots are booked, the rest is not.",
    "execution_off_tick": "The venue reported a fill between two ticks; it is booked at the worse one for the account.",
    "execution_unknown_order": "The venue reported a fill of an order that it never had from us.",
    "execution_wrong_side": "The venue reported a fill on the other side of its order.",
    "feed_back": "A price feed that was lost is connected again.",
    "fills_missing": "The venue says that more of an order was filled than was told here, one fill at a time.",
    "feed_lost": "A price feed is not connected; marks come from the next source in order, if there is one.",
    "fix_disconnected": "The connection to the venue is lost; it is made again, and orders are asked for.",
    "fix_gap": "The venue's messages have a gap that could not be closed.",
    "fix_logon": "The venue refused our logon.",
    "fix_message": "The venue sent a message that cannot be used.",
    "fix_messages_lost": "Messages between us and the venue are lost for good; compare positions with it.",
    "fix_reject": "The venue rejected a message of ours.",
    "fix_session": "The connection to the venue broke its rules and was ended.",
    "held_below_line": "The account is below its auto-liquidation line, and a hold by the desk keeps it open.",
    "margin_raised": "One person alone raised a margin; somebody else has to review it.",
    "mark_by_hand": "Somebody at the desk gave a mark by hand; it decides like any other.",
    "mark_jump": "A mark moved further than the rulebook believes; nothing trades on it until another confirms it.",
    "mark_missing": "A source has no price for a contract any more.",
    "mark_stale": "A contract that customers hold has had no new mark for too long; nothing is closed out on it.",
    "no_funding_rate": "The funding rate of an interval is not known; give it, or that interval is not accrued.",
    "no_settlement_price": "A contract has no settlement price today; give it, or the contract is not settled.",
    "order_refused": "The venue refused a close-out order; the close-out is planned anew after a pause.",
    "order_unknown": "Nobody knows whether the venue has a close-out order; that leg is frozen until it is known.",
    "overfilled": "The venue reported more filled than was ordered.",
    "reconciliation_break": "Our books and the back office's file differ; the account opens and withdraws nothing.",
    "reports_failed": "The day's reports could not be made; it is tried again every five minutes.",
    "trade_corrected": "The venue busted or corrected a fill; book the same correction here.",
    "unknown_account": "A fill came for an account that we do not know; it is booked to suspense.",
    "unknown_order": "A fill came for an order that we do not know; it is booked to the account.",
    "unpriced": "A position has no mark yet: no opening orders, no withdrawals, no close-out of it.",
    "venue_disconnected": "The venue's stream of fills broke; it is made again, and orders are asked for.",
    "venue_lookup": "The venue could not be asked about an order; it is asked again.",
    "venue_lost": "The venue is not connected while close-outs are under way; their orders wait.",
    "wrong_fill": "The venue reported a fill that does not fit its order; it is booked as reported.",
}
"""What an alarm's code means, for the desk."""


@dataclass(frozen=True, slots=True)
class About:
    """What every letter needs: the time of the input it is about (UTC nanoseconds), the rulebook's currency, and the
    name of the firm that writes."""

    time: int
    currency: Currency
    firm: str = "closeout"

    def amount(self, micros: int) -> str:
        return f"{self.currency.text(micros)} {self.currency.code}"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One line of the look-ahead list: an account that the next margin window, from `switch_at` on, would close out at
    today's marks (US-27). Money in micros. `deposit` is the smallest that clears it; `fewest` maps contracts to the
    smallest quantity (text) whose closing alone clears it, None where closing all of it is not enough."""

    account_id: str
    switch_at: int
    net_liq: int
    requirement: int
    deposit: int
    fewest: Mapping[str, str | None]


def notice(event: Notice, about: About, *, receipt: Receipt | None = None, level: LevelChanged | None = None) -> Letter:
    """The letter of a notice. `receipt` is what a liquidation or correction is about, and needed there; `level` adds
    the figures to a warning. Raises KeyError for a kind that has no wording."""
    if event.kind in ("liquidation", "correction"):
        if receipt is None:
            raise ValueError(f"the {event.kind} notice of {event.account_id} needs receipt {event.detail}")
        return receipt_letter(receipt, about)
    if event.kind == "warning":
        return _warning(event, about, level)
    subject, blocks = KINDS[event.kind](event, about)
    return _letter(about, subject, blocks)


def receipt_letter(receipt: Receipt, about: About) -> Letter:
    """The letter about a receipt: of a correction, or of a close-out."""
    return _correction(receipt, about) if receipt.get("kind") == "correction" else _liquidation(receipt, about)


def _letter(about: About, subject: str, blocks: Sequence[str | Table]) -> Letter:
    closing = f"{about.firm} sent this automatically, about {moment(about.time)}. Your page shows how things stand now."
    return Letter(subject, [*blocks, closing])


def moment(time: int) -> str:
    """``2025-10-10 21:13:05 UTC (16:13 in Chicago)``."""
    utc = datetime.fromtimestamp(time // SECOND, UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S} UTC ({utc.astimezone(_CHICAGO):%H:%M} in Chicago)"


def _warning(event: Notice, about: About, level: LevelChanged | None) -> Letter:
    name = _LEVELS[event.detail]
    blocks: list[str | Table] = [f"At {moment(about.time)} account {event.account_id} reached {name} of its margin."]
    if level is not None:
        rows = [
            ("Net liq", about.amount(level.net_liq)),
            ("Margin requirement", about.amount(level.requirement)),
            ("Net liq at which this level begins", about.amount(level.line)),
        ]
        blocks.append(Table("The account", rows))
    if event.detail == "liquidate_only":
        blocks.append("Only orders that reduce risk are accepted now. If net liq falls on, positions are closed out.")
    else:
        blocks.append("If net liq falls on, new positions are refused first, and then positions are closed out.")
    blocks += ["A deposit helps, and so does closing positions. There may be no further warning.", NO_CAP]
    return _letter(about, f"Margin warning: account {event.account_id} is at {name}", blocks)


def _liquidation(receipt: Receipt, about: About) -> Letter:
    """Words and figures of the receipt, as it was issued."""
    account_id, code = receipt["account_id"], receipt["currency"]
    own = receipt.get("kind") == "own_brake"
    owes = any(figure in "123456789" for figure in receipt["owed"])
    subject = f"Account {account_id}: positions were closed " + ("by your own limit" if own else "out")
    figures = [
        ("Liquidation fee", f"{receipt['liquidation_fee']} {code}"),
        ("Net liq at the end", f"{receipt['end']['net_liq']} {code}"),
        ("Deficit", f"{receipt['deficit']} {code}"),
        *((f"Borne by the {part['party']}", f"{part['amount']} {code}") for part in receipt["borne_by"]),
        ("Owed, due at once" if owes else "Owed", f"{receipt['owed']} {code}"),
        ("Rulebook", f"{receipt['rulebook']['name']}, {receipt['rulebook']['version']}"),
        ("Receipt", receipt["receipt_id"]),
    ]
    marks = [
        (mark["contract"], str(mark["price"]), mark["source"], mark["time"], mark["grade"])
        for mark in receipt["trigger"]["marks"]
    ]
    blocks = [
        receipt["words"],
        Table("Marks that decided", marks, ("Contract", "Mark", "Source", "Time", "Grade")),
        _executions(receipt),
        Table("The outcome", figures),
        NO_CAP,
    ]
    return _letter(about, f"{subject}, {receipt['owed']} {code} owed" if owes else subject, blocks)


def _executions(receipt: Receipt) -> Table:
    head = ("Order", "Contract", "Side", "Quantity", "Filled", "Price", "Time", "Fee", "Result")
    code = receipt["currency"]
    rows: list[Sequence[str]] = []
    for order in receipt["orders"]:
        of_order = (order["order_id"], order["contract"], order["side"], order["quantity"])
        if not order["fills"]:
            rows.append((*of_order, "nothing", "none", order["sent_at"], "none", "none"))
        for fill in order["fills"]:
            money = (f"{fill['fee']} {code}", f"{fill['profit']} {code}")
            rows.append((*of_order, fill["quantity"], fill["price"], fill["time"], *money))
    return Table("Orders and fills", rows, head)


def _correction(receipt: Receipt, about: About) -> Letter:
    figures = [
        ("Change of cash", f"{receipt['cash_change']} {receipt['currency']}"),
        ("Receipt", receipt["receipt_id"]),
        ("Takes the place of", receipt["supersedes"] or "no receipt"),
        ("Approved by", " and ".join(receipt["approved_by"])),
    ]
    subject = f"Account {receipt['account_id']} was corrected"
    return _letter(about, subject, [receipt["words"], Table("The correction", figures)])


Words = tuple[str, Sequence[str | Table]]


def _deficit(event: Notice, about: About) -> Words:
    owed = f"{event.detail} {about.currency.code}"
    return f"Account {event.account_id} owes {owed}", [
        f"Losses and fees of account {event.account_id} were larger than its money. It owes {owed} now, due at once.",
        "The firm has paid the missing money in from its own funds, and is owed it by the account's holder. Deposits "
        "pay it first. Until it is paid, no new positions can be opened.",
    ]


def _margin_call(event: Notice, about: About) -> Words:
    asked = f"{event.detail} {about.currency.code}"
    return f"Margin call: account {event.account_id}, {asked}", [
        f"Account {event.account_id} has less than its maintenance margin. It is called for {asked}, which brings it "
        "to its initial margin.",
        "A deposit meets the call, and so does closing positions. Positions can be closed out before the call is due.",
        NO_CAP,
    ]


def _margin_call_met(event: Notice, about: About) -> Words:
    return f"Margin call met: account {event.account_id}", [f"The margin call of account {event.account_id} is met."]


def _stopped(event: Notice, about: About) -> Words:
    return f"Account {event.account_id} is stopped: your own limit", [
        f"At {moment(about.time)} a limit or time that you set stopped account {event.account_id}: {event.detail}.",
        "Working orders are cancelled and positions are being closed. Orders that open positions are refused until the "
        "next trade date.",
        "The limit says when closing begins. It does not say at which price it ends, so the loss can pass it.",
    ]


def _desk_alert(event: Notice, about: About) -> Words:
    return f"Message from the risk desk: account {event.account_id}", [
        f"About account {event.account_id}: {event.detail}"
    ]


def _expiry(event: Notice, about: About) -> Words:
    return f"{event.detail} has expired: account {event.account_id}", [
        f"{event.detail} has expired. The position of account {event.account_id} in it was closed at the final "
        "settlement price.",
    ]


def _expiry_warning(event: Notice, about: About) -> Words:
    return f"A contract is about to expire: account {event.account_id}", [
        f"Account {event.account_id} holds a contract whose last trade comes nearer: {event.detail}",
    ]


def _payment(event: Notice, about: About) -> Words:
    return f"Payment booked: account {event.account_id}", [
        f"A payment was booked to account {event.account_id}: {event.detail}"
    ]


def _auto_deleveraging(event: Notice, about: About) -> Words:
    return f"Deleveraged: account {event.account_id}, {event.detail}", [
        f"A part of the position of account {event.account_id} was closed against an account that the market could not "
        f"close out, as the venue's rules say: {event.detail}. Working orders in the contract are cancelled.",
        "It is no liquidation. The page shows what is left of the position.",
    ]


def _socialised_loss(event: Notice, about: About) -> Words:
    paid = f"{event.detail} {about.currency.code}"
    return f"Account {event.account_id} bears {paid} of a loss that is shared", [
        "An account was closed out below zero. By the venue's rules customers share what is missing: "
        f"{paid} were taken from the cash of account {event.account_id}.",
    ]


KINDS: dict[str, Callable[[Notice, About], Words]] = {
    "auto_deleveraging": _auto_deleveraging,
    "socialised_loss": _socialised_loss,
    "deficit": _deficit,
    "desk_alert": _desk_alert,
    "expiry": _expiry,
    "expiry_warning": _expiry_warning,
    "margin_call": _margin_call,
    "margin_call_met": _margin_call_met,
    "payment": _payment,
    "stopped": _stopped,
}
"""Wording, subject and blocks, of the notices that need nothing but themselves."""


def receivable(event: ReceivableChanged, about: About) -> Letter:
    """What is owed has changed: a payment, a day, a new status, interest, a write-off."""
    rows = [
        ("What happened", event.reason),
        ("Still owed", about.amount(event.total)),
        ("Status", event.status.replace("_", " ")),
        ("Business days since it was booked", str(event.business_days)),
    ]
    said = f"What account {event.account_id} owes has changed."
    if event.total == 0:
        said += " Nothing is owed any more."
    return _letter(about, f"Account {event.account_id}: what is owed", [said, Table("The debt", rows)])


def look_ahead(row: Shortfall, about: About) -> Letter:
    """To the customer, ahead of the switch: what would clear it, and how long there is (US-27)."""
    left = time_left(row.switch_at - about.time)
    blocks = [
        f"At {moment(row.switch_at)}, in {left}, the margin requirement of account {row.account_id} becomes "
        f"{about.amount(row.requirement)}. At the marks of {moment(about.time)} its net liq of "
        f"{about.amount(row.net_liq)} is too little for that, and positions would be closed out.",
        Table("Any one of these clears it at these marks", _cures(row, about)),
        "Marks move until then, so leave room.",
        NO_CAP,
    ]
    return _letter(about, f"Account {row.account_id} will be short of margin in {left}", blocks)


def look_ahead_list(rows: Sequence[Shortfall], about: About) -> Letter:
    """To the desk: every account that will be short, and what would clear each (US-27)."""
    head = ("Account", "Switch", "Time left", "Net liq", "Requirement then", "What clears it")
    lines = [
        (
            row.account_id,
            moment(row.switch_at),
            time_left(row.switch_at - about.time),
            about.amount(row.net_liq),
            about.amount(row.requirement),
            "; or ".join(f"{what} {how_much}" for what, how_much in _cures(row, about)),
        )
        for row in rows
    ]
    said = f"{len(rows)} account{' is' if len(rows) == 1 else 's are'} short at the next change of margin."
    return _letter(about, f"Look-ahead: {said}", [said, Table("Short at the switch", lines, head)])


def _cures(row: Shortfall, about: About) -> list[tuple[str, str]]:
    closing = [(f"close {name}, at least", quantity) for name, quantity in row.fewest.items() if quantity is not None]
    return [("deposit, at least", about.amount(row.deposit)), *closing]


def time_left(nanoseconds: int) -> str:
    """``2 h 05 min``, rounded down: nobody is told of a minute that he does not have."""
    hours, minutes = divmod(max(0, nanoseconds) // MINUTE, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def alarm(event: Alarm, about: About) -> Letter:
    """To the desk."""
    rows = [
        ("Code", event.code),
        ("Account", event.account_id or "none"),
        ("What happened", event.detail),
        ("What it means", ALARMS.get(event.code, "See the detail.")),
    ]
    subject = f"Alarm {event.code}" + (f": account {event.account_id}" if event.account_id else "")
    return _letter(about, subject, [Table("Alarm", rows)])
