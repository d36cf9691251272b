"""What the report's pages are made of: escaped text, amounts with their exact value, times and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from closeout.core.text import clean
from closeout.core.times import time_text
from closeout.core.units import Currency
from closeout.studies.wording import clock, grouped, money


def escaped(text: object) -> str:
    return escape(clean(str(text)))


def account_name(account_id: str) -> str:
    return f"<bdi>{escaped(account_id)}</bdi>"


def exact(currency: Currency, micros: int) -> str:
    """Exact; what is finer than a hundredth is set smaller, so that columns line up and the eye stops at the cents."""
    shown = money(currency, micros)
    if currency.places > 6:  # a coin's hundredths are no cents
        return f'<data value="{currency.text(micros)}">{shown}</data>'
    cents = shown.index(".") + 3
    return f'<data value="{currency.text(micros)}">{shown[:cents]}<span class="tail">{shown[cents:]}</span></data>'


def number(text: str | None) -> str:
    return "none" if text is None else f'<data value="{escaped(text)}">{escaped(grouped(text))}</data>'


def moment(time_ns: int) -> str:
    text = time_text(time_ns)
    shown = text[5:].replace("T", " ").removesuffix("Z").removesuffix(":00")
    return f'<time datetime="{text}" title="{clock(time_ns)}">{shown}</time>'


def span(start: str, end: str) -> str:
    """Two RFC 3339 times in words, with the desk's own time."""
    said: list[str] = []
    for text in (start, end):
        at = int(datetime.fromisoformat(text).timestamp()) * 10**9
        said.append(f'<time datetime="{escaped(text)}">{escaped(text[:10])} {escaped(clock(at))}</time>')
    return " to ".join(said)


def table(label: str, head: Sequence[str], rows: Sequence[Sequence[str]], owes: int = -1, words: int = 1) -> str:
    """A table that scrolls by itself on a narrow screen. The first `words` columns are text, the rest numbers."""
    tails = [_tail(column) for column in zip(*rows, strict=True)] or [""] * len(head)
    cells = [
        "".join(
            f'<th scope="row">{cell}</th>' if i == 0 else f"<td{_class(i, words, owes)}{tails[i]}>{cell}</td>"
            for i, cell in enumerate(row)
        )
        for row in rows
    ]
    heads = "".join(f'<th scope="col"{_class(i, words, owes)}>{escaped(text)}</th>' for i, text in enumerate(head))
    lines = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(label)}">'
        "<table>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def _tail(column: Iterable[str]) -> str:
    """Room for the longest tail of a column's amounts, so that their points stand in line."""
    longest = max((len(tail) for cell in column for tail in re.findall(r'class="tail">(\d*)<', cell)), default=0)
    return f' style="--tail: {longest}ch"' if longest else ""


def _class(column: int, words: int, owes: int) -> str:
    if column == owes:
        return ' class="n owes"'
    return ' class="n"' if column >= words else ""
