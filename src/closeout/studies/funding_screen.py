"""What `closeout study funding` prints: the study of `funding_study` as text and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from closeout.core.times import MINUTE, time_text
from closeout.core.units import RATE, plain, rate_text
from closeout.studies.columns import columns
from closeout.studies.funding_series import DAY, Series
from closeout.studies.funding_study import Paid, Study, Year
from closeout.studies.wording import count, grouped, money

WIDTH = 100
SHOWN = 5
"""Gaps that the text lists one by one; the JSON has them all."""


def text(study: Study) -> str:
    series, currency = study.series, study.policy.currency
    facts = study.policy.contracts[study.holding.contract].contract
    side = "long" if study.holding.lots > 0 else "short"
    held = f"{side} {facts.quantity_text(abs(study.holding.lots))} {facts.name} at "
    held += f"{facts.price_text(study.holding.ticks)}, worth {money(currency, study.holding.notional)} {currency.code}"
    lines = [
        f"Funding of {series.symbol}, {series.file}: {count(len(series.payments), 'payment')}, "
        f"{time_text(series.payments[0].due)} to {time_text(series.payments[-1].due)}",
        f"{held} at each payment, under {study.policy.name}, version {study.policy.version}",
    ]
    parts = [
        "\n".join(lines),
        f"By year (UTC), {currency.code}; net above zero was received\n{_years(study)}",
        f"The largest payments\n{_largest(study)}",
        "The books\n" + _listed(_books(study)),
        "The series\n" + _listed(_series(series)),
    ]
    if study.notes:
        parts.append("Against the rulebook\n" + _listed(study.notes))
    return "\n\n".join(parts)


def _years(study: Study) -> str:
    currency = study.policy.currency
    rows = [["year", "payments", "sum of rates", "paid", "received", "net"]]
    years = study.years
    whole = Year(0, *(sum(getattr(one, key) for one in years) for key in ("payments", "rate", "paid", "received")))
    for name, one in [*((str(one.year), one) for one in years), ("all", whole)]:
        rows.append([
            name, f"{one.payments:,}", percent(one.rate), money(currency, one.paid), money(currency, one.received),
            money(currency, one.received - one.paid),
        ])  # fmt: skip
    return columns(rows, left=1)


def _largest(study: Study) -> str:
    currency = study.policy.currency
    rows = [
        [time_text(one.payment.due), percent(one.payment.rate), money(currency, one.micros), f"line {one.payment.line}"]
        for one in study.largest
    ]
    return columns([["time", "rate", "to the position", ""], *rows], left=1)


def _books(study: Study) -> Iterator[str]:
    text = study.policy.currency.text
    yield (
        f"Every payment is the engine's own accrual, rounded against the account to {text(1)}; "
        f"{count(study.bookings, 'cash adjustment')}."
    )
    yield (
        f"To the position {grouped(text(study.booked))}, to the other side {grouped(text(study.booked_other))}, to "
        f"rounding {grouped(text(study.rounding))}, to the clearing house {grouped(text(study.cleared))}: "
        f"{text(study.booked + study.booked_other + study.rounding + study.cleared)} together."
    )


def _series(series: Series) -> Iterator[str]:
    """What was checked of the file, and what it does not say."""
    yield (
        f"Stamps carry no zone. They are taken as {series.zone}, {series.zone_known}. In UTC the payments fall at "
        f"{', '.join(hours(series))}."
    )
    if series.late:
        yield f"Stamps are up to {series.late} ms off the full minute, which is what intervals are counted by."
    yield f"Time between payments: {length(series.interval)}."
    if series.off_grid:
        yield (
            f"{count(series.off_grid, 'payment')} not at whole intervals from midnight UTC: another zone, or another "
            "schedule."
        )
    missing = sum(number for _, number in series.gaps)
    listed = "; ".join(f"{number:,} after {time_text(one.due)}" for one, number in series.gaps[:SHOWN])
    more = "; and more" if len(series.gaps) > SHOWN else ""
    yield f"Missing: {count(missing, 'payment')}{f' ({listed}{more})' if missing else ''}. None is filled in."
    yield f"Lines that repeat the one before, left out: {len(series.repeated):,}."
    if series.closer:
        yield f"{count(series.closer, 'payment')} sooner than that after the one before; each is paid."
    if series.rounded:
        change = sum((one.rate - one.exact for one in series.payments), Fraction(0))
        yield (
            f"{count(series.rounded, 'rate')} finer than the engine's unit of 0.0000001 %, rounded to the nearest: "
            f"{percent(change)} in all."
        )
    yield "The series has no prices: the position is worth the same at each payment."


def hours(series: Series) -> list[str]:
    """The times of day of the payments (UTC), or how many there are."""
    found = sorted({one.due % DAY // MINUTE for one in series.payments})
    if len(found) > 6:
        return [f"{len(found)} times of the day"]
    return [f"{minute // 60:02d}:{minute % 60:02d}" for minute in found]


def length(interval: int) -> str:
    minutes = interval // MINUTE
    return count(minutes, "minute") if minutes % 60 else count(minutes // 60, "hour")


def percent(rate: Fraction | int) -> str:
    """A rate of 1e-9 as exact per cent."""
    exact = Fraction(rate) * 100 / RATE
    return f"{grouped(plain(Decimal(exact.numerator) / exact.denominator))} %"


def _listed(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(
        textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for line in lines
    )


# -- JSON ---------------------------------------------------------------------------------------------------


def document(study: Study) -> dict[str, Any]:
    """The study as JSON: money and rates as decimal text, times in UTC."""
    currency = study.policy.currency
    facts = study.policy.contracts[study.holding.contract].contract
    return {
        "series": _document_series(study.series),
        "rulebook": study.policy.name,
        "version": study.policy.version,
        "rulebook_digest": study.policy.digest,
        "contract": study.holding.contract,
        "quantity": facts.quantity_text(study.holding.lots),
        "price": facts.price_text(study.holding.ticks),
        "notional": currency.text(study.holding.notional),
        "currency": currency.code,
        "years": [
            {
                "year": one.year,
                "payments": one.payments,
                "sum_of_rates": rate_text(one.rate),
                "paid": currency.text(one.paid),
                "received": currency.text(one.received),
                "net": currency.text(one.received - one.paid),
            }
            for one in study.years
        ],
        "largest": [_document_payment(one, study) for one in study.largest],
        "net": currency.text(study.booked),
        "net_other_side": currency.text(study.booked_other),
        "rounding": currency.text(study.rounding),
        "clearing_house": currency.text(study.cleared),
        "cash_adjustments": study.bookings,
        "ledger_imbalances": study.problems,
        "notes": study.notes,
    }


def _document_payment(one: Paid, study: Study) -> dict[str, Any]:
    return {
        "time": time_text(one.payment.due),
        "rate": rate_text(one.payment.rate),
        "amount": study.policy.currency.text(one.micros),
        "line": one.payment.line,
    }


def _document_series(series: Series) -> dict[str, Any]:
    return {
        "file": series.file,
        "sha256": series.sha256,
        "symbol": series.symbol,
        "payments": len(series.payments),
        "start": time_text(series.payments[0].due),
        "end": time_text(series.payments[-1].due),
        "stamps": {"zone": series.zone, "because": series.zone_known, "off_the_minute_ms": series.late},
        "interval_minutes": series.interval // MINUTE,
        "off_grid": series.off_grid,
        "gaps": [{"after": time_text(one.due), "line": one.line, "missing": number} for one, number in series.gaps],
        "repeated_lines": list(series.repeated),
        "closer": series.closer,
        "rates_rounded": series.rounded,
    }
