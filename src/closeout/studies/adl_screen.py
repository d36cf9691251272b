"""What `closeout study deleveraging` prints: the study of `adl_study` as text and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

from closeout.core.text import clean
from closeout.core.times import MILLISECOND, time_text
from closeout.studies.adl_study import RULES, Corrections, Study, Total, WaveStudy
from closeout.studies.adl_tables import Tables
from closeout.studies.columns import columns

WIDTH = 100
MISSING = (
    "Accounts. Neither winners nor losers stand in these files one by one, so the 165 accounts and 302 fills with "
    "equity below zero that are told of elsewhere cannot be counted here; the sum over those fills can.",
    "Equity and leverage of each winner. The rules are therefore applied to the winners of a coin taken together, with "
    "their profit in these tables as equity and cap, and for the risk-aware rules with a stand-in for leverage: what "
    "the coin needed for each dollar of that profit. How a rule shares among the winners of one coin is not seen.",
    "Caps of the venue's own. A coin's winners can lose all their profit here, and nothing else.",
)
"""What the tables do not hold, in the words of the report."""


# -- text ---------------------------------------------------------------------------------------------------


def text(study: Study) -> str:
    fills = f"{study.fills:,} fills"
    head = (
        "Auto-deleveraging on Hyperliquid, 10 October 2025, from its published tables\n"
        f"{len(study.waves)} waves with a deficit, {fills}, {study.gap_rows:,} rows of a wave and a coin. USD."
    )
    parts = [
        head,
        "Totals, summed again from the rows\n" + _totals(study.totals),
        "What the totals hide\n" + _listed(said(study.corrections, study)),
        "Policies by account, as the tables have them (mean: of each wave's largest haircut)\n" + _policies(study),
        "Wave by wave\n" + _waves(study.waves),
        "The needed amounts shared among the winners of each wave's coins: the largest haircut, share of profit\n"
        + _shared(study),
        _listed(_about_sharing(study)),
        "What the files do not hold\n" + _listed(MISSING),
    ]
    return "\n\n".join(parts)


def said(found: Corrections, study: Study) -> list[str]:
    """The corrections in words."""
    lines: list[str] = []
    if found.repeated_in:
        waves = ", ".join(map(str, found.repeated_in))
        lines.append(
            f"The deficit of {money(found.deficit)} has a loss of {money(found.repeated_loss)}, the same to the last "
            f"digit and so one account's, in {len(found.repeated_in)} waves ({waves}). Counted once, the deficit is at "
            f"most {money(found.deficit_once)}; all other losses are {money(found.deficit_others)}."
        )
    else:
        lines.append(f"No loss is the largest of two waves: the deficit of {money(found.deficit)} stands.")
    lines.append(
        f"The overshoot of {money(found.over - found.under)} is {money(found.over)} too much in {found.over_waves} "
        f"waves and {money(found.under)} too little in {found.under_waves}."
    )
    lines.append(
        "The queue diagnostic compares the profit that was closed with the deficit of the same fills: "
        f"{found.shocks_without_deficit:,} of its {study.shocks:,} runs of fills have none, and their "
        f"{money(found.overshoot_without_deficit)} all count as overshoot. {found.shocks_outside:,} runs, with "
        f"{money(found.budget_outside)}, lie outside the waves."
    )
    lines.append(
        f"The deficit of those runs is {money(found.row_deficit)}: equity below zero, counted at each fill. "
        f"{money(found.largest_row_deficit)} of it is a single run of {clean(found.largest_row_coin)}."
    )
    return lines


def _totals(totals: Sequence[Total]) -> str:
    rows = [("", "summed", "published", "")]
    for one in totals:
        published = money(one.published) if one.published is not None else "not published"
        verdict = {True: "agrees", False: "DIFFERS", None: ""}[one.agrees()]
        rows.append((one.what, money(one.found), published, verdict))
    return columns(rows, 1)


def _policies(study: Study) -> str:
    rows = [("", "taken", "overshoot", "mean")]
    rows += [(one.name, money(one.taken), money(one.overshoot), rounded(one.mean_largest, 4)) for one in study.policies]
    return columns(rows, 1)


def _waves(waves: Sequence[WaveStudy]) -> str:
    rows: list[Sequence[str]] = [("wave", "UTC", "needed", "taken", "overshoot", "deficit")]
    for one in waves:
        overshoot = one.outcome.taken - one.outcome.needed
        amounts = (one.outcome.needed, one.outcome.taken, overshoot, one.deficit)
        rows.append((str(one.wave), clock(one.start_ms), *map(money, amounts)))
    return columns(rows, 0)


def _shared(study: Study) -> str:
    rows: list[Sequence[str]] = [("wave", "coins", "profit", *RULES)]
    for wave in study.waves:
        found = [wave.shared[rule].largest for rule in RULES]
        haircuts = ("-" if largest is None else rounded(largest, 4) for largest in found)
        rows.append((str(wave.wave), str(wave.coins), money(wave.profit), *haircuts))
    rows.append(("mean", "", "", *(rounded(study.mean_largest(rule), 4) for rule in RULES)))
    rows.append(("unpaid", "", "", *(money(study.left(rule)) for rule in RULES)))
    return columns(rows, 1)


def _about_sharing(study: Study) -> list[str]:
    waves = study.waves
    same = sum(wave.shared["pro-rata"] == wave.shared["capped pro-rata"] for wave in waves)
    above = sum(wave.profit > wave.outcome.winners_profit for wave in waves)
    without = sum(wave.without_profit for wave in waves)
    return [
        "own coin: a coin's winners pay what that coin needed. queue: the coin with most profit closed pays first. "
        "risk-aware 2 and 3: capped pro-rata by profit x leverage squared and cubed, with the stand-in below.",
        f"Capped pro-rata comes to the same as pro-rata in {same} of {len(waves)} waves: no cap is reached there.",
        f"In {above} waves the coins' profit is above the unrealised profit of the winners' accounts when the wave "
        "began, which the tables have in sum: they count a position's profit again at each of its fills. "
        f"{without} times a coin needed something and its winners had no profit.",
    ]


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(
        textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for line in lines
    )


# -- JSON ---------------------------------------------------------------------------------------------------


def document(study: Study, tables: Tables) -> dict[str, Any]:
    """All of it; amounts as exact decimal text, haircuts and shares rounded to 12 places."""
    found = study.corrections
    corrections: dict[str, Any] = {name: getattr(found, name) for name in Corrections.__slots__}
    return {
        "fills": study.fills,
        "wave_and_coin_rows": study.gap_rows,
        "totals": [_total(one) for one in study.totals],
        "corrections": {
            name: exact(value) if isinstance(value, Fraction) else value for name, value in corrections.items()
        },
        "policies": [
            {
                "name": one.name,
                "taken": exact(one.taken),
                "overshoot": exact(one.overshoot),
                "mean_of_largest_haircuts": exact(one.mean_largest),
            }
            for one in study.policies
        ],
        "waves": [_wave(one) for one in study.waves],
        "allocations": {
            rule: {"mean_of_largest_haircuts": exact(study.mean_largest(rule)), "unpaid": exact(study.left(rule))}
            for rule in RULES
        },
        "not_in_the_files": list(MISSING),
        "files": [{"file": one.file, "sha256": one.sha256, "rows": one.rows} for one in tables.sources],
    }


def _total(one: Total) -> dict[str, Any]:
    return {
        "what": one.what,
        "summed": exact(one.found),
        "rows_in": one.rows_in,
        "published": None if one.published is None else exact(one.published),
        "published_in": one.published_in or None,
        "agrees": one.agrees(),
    }


def _wave(one: WaveStudy) -> dict[str, Any]:
    shared = {
        rule: {
            "unpaid": exact(by.left),
            "coins_that_pay": by.paying,
            "coins_at_their_cap": by.at_cap,
            "largest_haircut": None if by.largest is None else exact(by.largest),
            "share_of_the_first": exact(by.first),
        }
        for rule, by in one.shared.items()
    }
    return {
        "wave": one.wave,
        "time": time_text(one.start_ms * MILLISECOND),
        "needed": exact(one.outcome.needed),
        "taken": exact(one.outcome.taken),
        "overshoot": exact(one.outcome.taken - one.outcome.needed),
        "deficit": exact(one.deficit),
        "coins": one.coins,
        "coins_without_profit": one.without_profit,
        "profit": exact(one.profit),
        "winners_profit": exact(one.outcome.winners_profit),
        "allocations": shared,
    }


# -- numbers ------------------------------------------------------------------------------------------------


def money(amount: Fraction) -> str:
    """To the cent, with commas; half a cent goes to the even one."""
    cents = round(amount * 100)
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole:,}.{rest:02d}"


def rounded(number: Fraction, places: int) -> str:
    return f"{_decimal(Fraction(round(number * 10**places), 10**places)):.{places}f}"


def exact(number: Fraction) -> str:
    """Decimal text, to the last digit where it has one, otherwise to 12 places."""
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    digits = format(_decimal(number if rest == 1 else Fraction(round(number * 10**12), 10**12)), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _decimal(number: Fraction) -> Decimal:
    with localcontext(prec=1100):  # exact: a number of the files has at most 500 places before and after the point
        return Decimal(number.numerator) / Decimal(number.denominator)


def clock(milliseconds: int) -> str:
    return time_text(milliseconds * MILLISECOND)[11:19]
