"""A run in words and totals, shared by the report and the terminal: exact amounts, headlines, one sentence a debt."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from closeout.core.text import clean
from closeout.core.times import SECOND
from closeout.core.units import Currency
from closeout.studies.files import journal_name
from closeout.studies.outcome import BEARERS, OTHER_CASH, OWED, SOCIALISED, AccountOutcome, Bearer, Run, Totals

_CHICAGO = ZoneInfo("America/Chicago")


def grouped(number: str) -> str:
    """Decimal text with thousands separators and a real minus sign: ``-1234.5`` is ``−1,234.5``."""
    whole, point, fraction = number.removeprefix("-").partition(".")
    if not whole.isdigit():
        return number
    return f"{'−' if number.startswith('-') else ''}{int(whole):,}{point}{fraction}"


def money(currency: Currency, micros: int) -> str:
    """The exact amount, without its currency's code."""
    return grouped(currency.text(micros))


def amount(currency: Currency, micros: int) -> str:
    """The exact amount with its currency's code."""
    return f"{money(currency, micros)} {currency.code}"


def clock(time_ns: int) -> str:
    """Time of day on the desk and in the market: ``21:13 UTC, 16:13 CT``."""
    moment = datetime.fromtimestamp(time_ns // SECOND, UTC)
    return f"{moment:%H:%M} UTC, {moment.astimezone(_CHICAGO):%H:%M} CT"


def count(number: int, one: str, many: str = "") -> str:
    """``1 account``, ``2,000 accounts``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def owner(account_id: str) -> str:
    """The account of the accounts file; an isolated position's own account is named ``account/contract``."""
    return account_id.partition("/")[0]


def headline(run: Run) -> str:
    """The outcome in a few sentences."""
    totals = Totals.of(run)
    beyond = amount(run.currency, totals.adl_beyond)
    more = f" Deleveraging took {beyond} from winners beyond what it covered." if totals.adl_beyond else ""
    return _outcome(run, totals) + more


def _outcome(run: Run, totals: Totals) -> str:
    if not totals.accounts:
        return f"No account was admitted under {clean(run.rulebook)}; there is nothing to report."
    closed = f"{totals.closed_out:,} of {count(totals.accounts, 'account')}"
    closed += " was closed out" if 1 in (totals.closed_out, totals.accounts) else " were closed out"
    if totals.debtors:
        worst = totals.debtors[0]
        name, owed = clean(worst.account_id), amount(run.currency, totals.owed)
        if len(totals.debtors) == 1:
            return f"{closed}. One customer owes money: {name}, {owed}."
        return (
            f"{closed}. {len(totals.debtors):,} customers owe {owed} in total; "
            f"the worst, {name}, owes {amount(run.currency, worst.owed)}."
        )
    said = f"{closed}. Nobody owes anything"
    if totals.deficit:
        parts = [
            f"{bearer.words} {money(run.currency, totals.borne[bearer.key])}"
            for bearer in BEARERS
            if totals.borne[bearer.key]
        ]
        return f"{said}; who bore the {amount(run.currency, totals.deficit)} lost beyond margin: {', '.join(parts)}."
    said += "."
    if totals.nearest is not None:
        left = amount(run.currency, totals.nearest.net_liq_after)
        said += f" Nearest to it came {clean(totals.nearest.account_id)}, left with {left}."
    return said


def dollars(run: Run, micros: int) -> str:
    """An amount in whole dollars for a comparison, to the cent below a hundred; ``≈`` before what is not exact."""
    worth = run.in_dollars(micros)
    scale = 100 if 0 < abs(worth) < 100 else 1
    shown = round(worth * scale)
    whole, rest = divmod(abs(shown), scale)
    text = f"{'-' if shown < 0 else ''}{whole}" + (f".{rest:02d}" if scale > 1 else "")
    return f"{'' if shown == worth * scale else '≈ '}{grouped(text)} USD"


def fate(run: Run, account: AccountOutcome | None) -> str:
    """What became of an account under a rulebook, in a few words."""
    if account is None:
        return "not in the run"
    if "not_admitted" in account.flags:
        return "not admitted"
    if account.deficit:
        borne = [(bearer, account.borne_by(bearer)) for bearer in BEARERS]
        return "; ".join(_bore(run, bearer, micros) for bearer, micros in borne if micros)
    said: list[str] = []
    if account.liquidated_at is not None:
        said.append(f"closed out, {money(run.currency, account.net_liq_after)} left")
    if account.deleveraged:
        said.append(f"deleveraged, {money(run.currency, account.adl_amount + account.adl_beyond)} taken")
    if account.socialised:
        said.append(f"{money(run.currency, account.socialised)} of others' losses paid")
    return "; ".join(said) or f"kept, {money(run.currency, account.net_liq_after)}"


def _bore(run: Run, bearer: Bearer, micros: int) -> str:
    shown = money(run.currency, micros)
    said = {
        OWED.key: f"owes {shown}",
        OTHER_CASH.key: f"{shown} from other cash",
        SOCIALISED.key: f"{shown} shared among customers",
    }
    return said.get(bearer.key, f"{shown} borne by {bearer.words}")


def comparison(runs: Sequence[Run]) -> str:
    """The rulebooks against one another in a sentence or two."""
    lost = sorted(runs, key=lambda run: run.in_dollars(Totals.of(run).deficit))
    least, most = lost[0], lost[-1]
    said = f"The same accounts at the same prices under {count(len(runs), 'rulebook')}"
    worst = Totals.of(most)
    if not worst.deficit:
        return f"{said}: nobody loses more than his margin under any of them."
    best = Totals.of(least)
    low = dollars(least, best.deficit) if best.deficit else "nothing"
    high = f"{dollars(most, worst.deficit)} ({clean(most.rulebook)})"
    return f"{said}: beyond margin they lose from {low} ({clean(least.rulebook)}) to {high}. {_bearers(runs)}"


def _bearers(runs: Sequence[Run]) -> str:
    """Under which rulebooks the customers owe most of it, and to whom it falls under the others."""
    main = {run.rulebook: _main_bearer(run) for run in runs if Totals.of(run).deficit}
    owes = [clean(name) for name, bearer in main.items() if bearer is OWED]
    others = list(dict.fromkeys(bearer.words for bearer in main.values() if bearer is not OWED))
    if not others:
        return f"Under {_listed(owes, 'and')} the customers owe it."
    falls = f"it falls mostly to {_listed(others, 'or')}"
    if not owes:
        return f"{falls[0].upper()}{falls[1:]}."
    return f"Under {_listed(owes, 'and')} the customers owe it, elsewhere {falls}."


def _main_bearer(run: Run) -> Bearer:
    borne = Totals.of(run).borne
    return max(BEARERS, key=lambda bearer: borne[bearer.key])


def _listed(words: Sequence[str], last: str) -> str:
    """``a, b and c``."""
    return f" {last} ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def receipts_of(run: Run, account: AccountOutcome) -> list[dict[str, Any]]:
    """The account's receipts, its isolated positions' included; those with a deficit if any has one."""
    own = [receipt for receipt in run.receipts if owner(str(receipt["account_id"])) == account.account_id]
    nothing = run.currency.text(0)
    return [receipt for receipt in own if receipt.get("deficit", nothing) != nothing] or own


def made_by_fees(account: AccountOutcome) -> bool:
    """Whether the account owes no more than its fees took: at its prices alone it would not have ended in debt."""
    return 0 < account.owed <= account.fees


def debt_sentence(run: Run, account: AccountOutcome) -> str:
    """How the debt came about, in one sentence; the receipt's own words say more."""
    held = f"{account.side} {', '.join(account.contracts)} at {account.leverage}x".strip()
    own = amount(run.currency, account.net_liq_before)
    text = f"{clean(account.account_id)} owes {amount(run.currency, account.owed)}: {clean(held)} on {own} of its own"
    if account.liquidated_at is not None:
        text += f", closed out at {clock(account.liquidated_at)}"
    if account.fill_price is not None:
        text += f" at {grouped(account.fill_price)}"
    if account.liquidation_price is not None:
        text += f", where {grouped(account.liquidation_price)} was the liquidation price"
    text += f"; fees took {amount(run.currency, account.fees)}"
    if made_by_fees(account):
        text += f", without which {amount(run.currency, account.fees - account.owed)} would have been left"
    if account.funding_paid or account.funding_received:
        text += f"; funding paid {amount(run.currency, account.funding_paid)}"
        text += f" and received {amount(run.currency, account.funding_received)}"
    return f"{text}."


def verify_command(run: Run, runs: Sequence[Run], folder: Path | str = "") -> str:
    """What proves the run again from its inputs; without `folder` to be called in the folder of its files."""
    published = f" --published {run.published}" if run.published else ""
    journal = Path(folder) / journal_name(run.rulebook, len(runs) > 1)
    return f"closeout verify {shlex.quote(str(journal))}{published}"
