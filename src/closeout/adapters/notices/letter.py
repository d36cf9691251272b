"""A letter of sentences and tables, and the same letter as plain text and as HTML.

The HTML needs nothing from outside, sets no colour, so that it reads on light and on dark, and prints.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from closeout.core.text import clean

WIDTH = 76

_STYLE = """
body { font-family: system-ui, sans-serif; line-height: 1.45; max-width: 46rem; margin: 1rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: bold; padding: .25rem 0 }
th, td { border: 1px solid; padding: .2rem .5rem; text-align: left; vertical-align: top; overflow-wrap: anywhere }
@media print { body { max-width: none; margin: 0 } tr { break-inside: avoid } }
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a title. With one row's `head` every row has as many cells; without, the first cell names the
    second."""

    title: str
    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """`blocks` are paragraphs and tables, in order. Text from outside may stand anywhere in it."""

    subject: str
    blocks: Sequence[str | Table]

    @property
    def text(self) -> str:
        parts = [_table_text(block) if isinstance(block, Table) else _wrapped(block) for block in self.blocks]
        return "\n\n".join(parts) + "\n"

    @property
    def html(self) -> str:
        parts = [_table_html(b) if isinstance(b, Table) else f"<p>{_escaped(b)}</p>" for b in self.blocks]
        return "\n".join([
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{_escaped(self.subject)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *parts,
            "</body>\n</html>\n",
        ])  # fmt: skip


def _escaped(text: str) -> str:
    return escape(clean(text))


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        clean(text), WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _table_text(table: Table) -> str:
    lines = [clean(table.title)]
    for row in table.rows:
        cells = [f"{name} {cell}" for name, cell in zip(table.head, row, strict=True)] if table.head else row
        lines.append(_wrapped((", " if table.head else ": ").join(cells), "  - "))
    return "\n".join(lines)


def _table_html(table: Table) -> str:
    def line(cells: Sequence[str], first: str, rest: str) -> str:
        tags = [first, *[rest] * (len(cells) - 1)]
        return "<tr>" + "".join(f"<{t}>{_escaped(c)}</{t[:2]}>" for t, c in zip(tags, cells, strict=True)) + "</tr>"

    lines = [line(table.head, 'th scope="col"', 'th scope="col"')] if table.head else []
    first = "td" if table.head else 'th scope="row"'
    lines += [line(row, first, "td") for row in table.rows]
    return "\n".join([f"<table>\n<caption>{_escaped(table.title)}</caption>", *lines, "</table>"])
