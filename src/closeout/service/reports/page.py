"""A sheet as CSV, exact, and as a page: one HTML file that needs nothing else, for the screen and for paper."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, TextIO

from closeout.core.times import time_text
from closeout.core.units import Currency
from closeout.rulebooks.policy import Policy
from closeout.service.reports.catalogue import Column, Kind, Report, Row, Sheet
from closeout.service.reports.edition import Edition
from closeout.studies.wording import clean, grouped

STYLE = Path(__file__).with_name("page.css")
LONG = 24
"""Signs of a word that may be broken on paper."""


def text_of(currency: Currency, kind: Kind) -> Callable[[Any], str]:
    """What gives the exact text of a value that is not None."""
    return {Kind.MONEY: currency.text, Kind.TIME: time_text}.get(kind, str)


def write_csv(file: TextIO, report: Report, rows: Iterable[Row], currency: Currency) -> None:
    """A header and the rows."""
    writer, columns = csv.writer(file), report.columns
    writer.writerow([column.name for column in columns])
    texts = [text_of(currency, column.kind) for column in columns]
    writer.writerows(
        ["" if value is None else text(value) for text, value in zip(texts, row, strict=True)] for row in rows
    )


# -- the page ------------------------------------------------------------------------------------------


def page(sheet: Sheet, edition: Edition) -> str:
    """The whole document."""
    report, policy = sheet.report, edition.state.policy
    title = f"{report.title}, {edition.day.text}"
    body = [
        f"<header><h1>{_e(report.title)}</h1>",
        f'<p class="day">{_e(edition.day.text)}{_mark(edition)}</p>',
        _facts(edition, policy),
        "</header>",
        _keys(sheet, policy.currency),
        _table(sheet, policy.currency),
        *(f'<p class="note">{_e(note)}</p>' for note in _said(sheet)),
        "<section><h2>What this rests on</h2><ul>",
        *(f"<li>{_e(sentence)}</li>" for sentence in (*report.assumed, *sheet.notes)),
        "</ul></section>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_e(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def _e(text: object) -> str:
    return escape(clean(str(text)))


def _mark(edition: Edition) -> str:
    if edition.so_far:
        return ' <strong class="mark">so far</strong>'
    return ' <strong class="mark">made late</strong>' if edition.late else ""


def _facts(edition: Edition, policy: Policy) -> str:
    day = edition.day
    made = f"Made at {time_text(edition.made_at)}."
    if edition.late:
        made = (
            f"Made late at {time_text(edition.made_at)}: at {time_text(day.due)}, when it was due, it could not be. "
            "Balances are those of when it was made."
        )
    elif edition.so_far:
        made = f"So far: nothing of this is kept. The report of the day is made at {time_text(day.due)}."
    rows = [
        ("Day", f"from {time_text(day.since)} to {time_text(day.until)}, from close to close"),
        ("Balances", f"as of {time_text(edition.as_of)}, after input {edition.seq:,} of the journal"),
        ("Currency", policy.currency.code),
        ("Rulebook", f"{policy.name}, version {policy.version}, digest {policy.digest[:16]}"),
        ("Made", made),
    ]
    return "<dl class='facts'>" + "".join(f"<dt>{_e(name)}</dt><dd>{_e(text)}</dd>" for name, text in rows) + "</dl>"


def _keys(sheet: Sheet, currency: Currency) -> str:
    cells = "".join(
        f"<div><dt>{_e(name)}{_unit(kind, currency)}</dt><dd>{_cell(kind, value, currency)}</dd></div>"
        for name, value, kind in sheet.key
    )
    return f'<dl class="keys">{cells}</dl>' if cells else ""


def _unit(kind: Kind, currency: Currency) -> str:
    return f", {_e(currency.code)}" if kind is Kind.MONEY else ""


def _said(sheet: Sheet) -> list[str]:
    """What the reader must know of the table itself."""
    said = [f"Rows are in order: {sheet.order}."] if sheet.order and sheet.count > 1 else []
    if sheet.count > len(sheet.shown):
        shown, all_rows = f"{len(sheet.shown):,}", f"{sheet.count:,}"
        said.append(f"The first {shown} of {all_rows} rows; {sheet.report.name}.csv has all. Sums are of all rows.")
    return said


def _table(sheet: Sheet, currency: Currency) -> str:
    if not sheet.shown:
        return '<p class="none">There is none.</p>'
    columns = sheet.report.columns
    head = "".join(f'<th scope="col"{_class(column)}>{_e(column.heading)}</th>' for column in columns)
    cells = [[_cell(column.kind, value, currency) for column, value in zip(columns, row, strict=True)]
             for row in sheet.shown]  # fmt: skip
    foot = _foot(columns, sheet.rows(), currency) if any(column.total for column in columns) else None
    every = [*cells, foot] if foot else cells
    tails = [_tail(row[index] for row in every) for index in range(len(columns))]

    def line(row: Sequence[str], first: str) -> str:
        found = "".join(
            f"<td{_class(column)}{tail}>{cell}</td>"
            for column, cell, tail in zip(columns[1:], row[1:], tails[1:], strict=True)
        )
        return f'<tr><th scope="row"{_class(columns[0])}>{first}</th>{found}</tr>'

    body = "\n".join(line(row, row[0]) for row in cells)
    last = f"\n<tfoot>{line(foot, foot[0])}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_e(sheet.report.title)}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>{last}\n</table></div>"
    )


def _class(column: Column) -> str:
    return ' class="n"' if column.kind in (Kind.MONEY, Kind.NUMBER) else ""


def _foot(columns: Sequence[Column], rows: Iterable[Row], currency: Currency) -> list[str]:
    """The sums of all rows, under the columns that are added up."""
    sums = [0] * len(columns)
    adding = [index for index, column in enumerate(columns) if column.total]
    for row in rows:
        for index in adding:
            sums[index] += row[index] or 0
    return ["all"] + [
        _cell(column.kind, sums[index], currency) if column.total else ""
        for index, column in enumerate(columns[1:], 1)
    ]  # fmt: skip


def _cell(kind: Kind, value: Any, currency: Currency) -> str:
    """What is finer than a hundredth is set smaller, so that points stand in line and the eye stops at the cents."""
    if value is None:
        return ""
    text = text_of(currency, kind)(value)
    match kind:
        case Kind.MONEY:
            shown = grouped(text)
            cents = shown.index(".") + 3
            below = " class='minus'" if value < 0 else ""
            return f'<data value="{text}"{below}>{shown[:cents]}<span class="tail">{shown[cents:]}</span></data>'
        case Kind.TIME:
            return f'<time datetime="{text}">{text[:16].replace("T", " ")}</time>'
        case Kind.NUMBER:
            return _e(grouped(text))
        case Kind.WORDS:
            long = any(len(word) > LONG for word in text.split())
            return f"<bdi{' class=long' if long else ''}>{_e(text)}</bdi>"


def _tail(cells: Iterable[str]) -> str:
    """Room for the longest tail of a column's amounts."""
    longest = max((len(tail) for cell in cells for tail in re.findall(r'class="tail">(\d*)<', cell)), default=0)
    return f' style="--tail: {longest}ch"' if longest else ""
