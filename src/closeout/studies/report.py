"""The report of a replay: one self-contained HTML page that needs no network, no script and no second file.

Amounts are exact and come from integers; each stands in a ``<data value="...">`` as the files have it, so that what is
read and what is computed with are the same number. All text from outside is escaped here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from closeout.core.text import clean
from closeout.core.times import time_text
from closeout.core.units import Currency
from closeout.studies.outcome import AccountOutcome, Run, Totals
from closeout.studies.wording import (
    amount,
    clock,
    count,
    debt_sentence,
    grouped,
    headline,
    made_by_fees,
    money,
    receipts_of,
    verify_command,
)

MOST_ROWS = 500
"""Debtors in the table, and at most so many explained; accounts.csv and receipts/ have them all."""
_SHOWN = 15
_EXPLAINED = 3

_NOTICE = (
    "Not affiliated with, endorsed by or supported by any venue whose rules are modelled. Values that a rulebook marks "
    "as assumed are not the venue's. A replay says what these rules would have done to these accounts at these prices, "
    "under the assumptions above; it promises nothing about another day."
)


def write_report(path: Path, runs: list[Run], *, title: str, market: dict[str, Any]) -> None:
    """Write the runs of one book of accounts, one per rulebook, to `path`.

    `market` has name, start, end, and sources with file, sha256 and rows. Money is told in each run's own currency.
    """
    path.write_text(page(runs, title, market), encoding="utf-8")


def page(runs: Sequence[Run], title: str, market: Mapping[str, Any]) -> str:
    """The whole page as text."""
    style = (resources.files("closeout.studies") / "report.css").read_text(encoding="utf-8")
    several = len(runs) > 1
    body = [
        f"<h1>closeout replay: {_e(title)}</h1>",
        f'<p class="when">{_e(market["name"])}, {_span(market["start"], market["end"])}</p>',
        *(_headline(run, several) for run in runs),
        _comparison(runs) if several else "",
        *(_run(run, index, runs) for index, run in enumerate(runs)),
        _sources(market),
        f"<footer><p>{_e(_NOTICE)}</p></footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_e(title)} - closeout replay</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def _e(text: object) -> str:
    return escape(clean(str(text)))


def _id(account_id: str) -> str:
    return f"<bdi>{_e(account_id)}</bdi>"


def _money(currency: Currency, micros: int) -> str:
    """Exact; what is finer than a hundredth is set smaller, so that columns line up and the eye stops at the cents."""
    shown = money(currency, micros)
    cents = shown.index(".") + 3
    return f'<data value="{currency.text(micros)}">{shown[:cents]}<span class="tail">{shown[cents:]}</span></data>'


def _number(text: str | None) -> str:
    return "none" if text is None else f'<data value="{_e(text)}">{_e(grouped(text))}</data>'


def _when(time_ns: int) -> str:
    text = time_text(time_ns)
    shown = text[5:].replace("T", " ").removesuffix("Z").removesuffix(":00")
    return f'<time datetime="{text}" title="{clock(time_ns)}">{shown}</time>'


def _span(start: str, end: str) -> str:
    """Two RFC 3339 times in words, with the desk's own time."""
    said: list[str] = []
    for text in (start, end):
        moment = int(datetime.fromisoformat(text).timestamp()) * 10**9
        said.append(f'<time datetime="{_e(text)}">{_e(text[:10])} {_e(clock(moment))}</time>')
    return " to ".join(said)


# -- the top of the page ------------------------------------------------------------------------------------


def _headline(run: Run, several: bool) -> str:
    under = f"<small>under {_e(run.rulebook)}</small> " if several else ""
    return f'<p class="headline">{under}{_e(headline(run))}</p>'


def _comparison(runs: Sequence[Run]) -> str:
    """The rulebooks side by side."""
    rows: list[list[str]] = []
    for index, run in enumerate(runs):
        totals, text = Totals.of(run), run.currency
        worst = totals.debtors[0] if totals.debtors else None
        rows.append([
            f'<a href="#run{index}">{_e(run.rulebook)}</a>', f"{totals.accounts:,}", f"{totals.not_admitted:,}",
            f"{totals.closed_out:,}", f"{totals.orders:,}", _money(text, totals.fees), _money(text, totals.deficit),
            f"{len(totals.debtors):,}", _money(text, totals.owed),
            f"{_money(text, worst.owed)} {_id(worst.account_id)}" if worst else "none", _e(text.code),
        ])  # fmt: skip
    head = ["rulebook", "accounts", "not admitted", "closed out", "orders", "fees", "deficits", "debtors", "owed",
            "worst", "in"]  # fmt: skip
    return "<h2>The rulebooks side by side</h2>" + _table("Rulebooks side by side", head, rows, owes=8)


def _table(label: str, head: Sequence[str], rows: Sequence[Sequence[str]], owes: int = -1, words: int = 1) -> str:
    """A table that scrolls by itself on a narrow screen. The first `words` columns are text, the rest numbers."""
    tails = [_tail(column) for column in zip(*rows, strict=True)] or [""] * len(head)
    cells = [
        "".join(
            f'<th scope="row">{cell}</th>' if i == 0 else f"<td{_class(i, words, owes)}{tails[i]}>{cell}</td>"
            for i, cell in enumerate(row)
        )
        for row in rows
    ]
    heads = "".join(f'<th scope="col"{_class(i, words, owes)}>{_e(text)}</th>' for i, text in enumerate(head))
    lines = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_e(label)}">'
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


# -- one rulebook -------------------------------------------------------------------------------------------


def _run(run: Run, index: int, runs: Sequence[Run]) -> str:
    from closeout.studies.report_figures import draw

    figures = draw(run, f"f{index}")
    totals = Totals.of(run)
    parts = [
        f'<section id="run{index}">',
        f"<h2>{_e(run.rulebook)} <span class='sub'>version {_e(run.version)}</span></h2>",
        _keys(run, totals),
        "" if run.ledger_imbalance == 0 else _out_of_balance(run),
        "" if totals.debtors else _nobody_owes(run, totals),
        _figures(figures, run.currency.code),
        _debtors(run, totals),
        _rests(run),
        _proof(run, runs),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _keys(run: Run, totals: Totals) -> str:
    """The key figures; those that are debts stand out, in words too."""
    text = run.currency
    worst = totals.debtors[0] if totals.debtors else None
    share = f"{1000 * totals.closed_out // totals.accounts / 10} % of them" if totals.accounts else ""
    debt = "debt" if totals.debtors else ""
    not_admitted = f"{totals.not_admitted:,} more not admitted" if totals.not_admitted else ""
    keys = [
        ("accounts", f"{totals.accounts:,}", not_admitted, ""),
        ("closed out", f"{totals.closed_out:,}", f"{share}, {count(totals.orders, 'order')}", ""),
        ("customers who owe", f"{len(totals.debtors):,}", "", debt),
        (f"owed, {text.code}", _money(text, totals.owed), "after liquidation, by the customers", debt),
        (f"worst debt, {text.code}", _money(text, worst.owed), _id(worst.account_id), debt) if worst else
        ("worst debt", "none", "", ""),
        (f"fees taken, {text.code}", _money(text, totals.fees), "trading and liquidation", ""),
    ]  # fmt: skip
    if totals.deficit != totals.owed:
        sub = f"{count(totals.in_deficit, 'account')}; part is covered by other money"
        keys.append((f"deficits, {text.code}", _money(text, totals.deficit), sub, "debt"))
    cells = "\n".join(
        f"<div{f' class={kind}' if kind else ''}><dt>{_e(name)}</dt><dd>{value}<small>{sub}</small></dd></div>"
        for name, value, sub, kind in keys
    )
    return f'<dl class="keys">\n{cells}\n</dl>'


def _out_of_balance(run: Run) -> str:
    off = f"{_money(run.currency, run.ledger_imbalance)} {run.currency.code}"
    said = f"<strong>The books do not balance: they are off by {off}.</strong> Trust no number here."
    return f'<p class="wrong">{said}</p>'


def _nobody_owes(run: Run, totals: Totals) -> str:
    if totals.nearest is None:
        return ""
    nearest = totals.nearest
    said = f"Nearest to it came {_id(nearest.account_id)}: {_e(nearest.side)} {_e(', '.join(nearest.contracts))}"
    said += f" at {_e(nearest.leverage)}x, from {amount(run.currency, nearest.net_liq_before)} down to "
    said += f"{_money(run.currency, nearest.net_liq_after)} {run.currency.code}"
    ended = f", closed out at {clock(nearest.liquidated_at)}" if nearest.liquidated_at is not None else ", still open"
    return f'<p class="calm"><strong>No account ended in debt.</strong> {said}{ended}.</p>'


def _figures(figures: Mapping[str, str], code: str) -> str:
    said: list[str] = []
    if figures["price"]:
        said.append(
            f'<figure><h3>The price, and the close-outs on it</h3><div class="wide">{figures["price"]}</div>'
            f'<div class="narrow">{figures["price_narrow"]}</div><figcaption>Each close-out stands at the bar that '
            "triggered it and at the price that it got; its area is the notional of the account. A triangle owes "
            "money afterwards, a ring does not. Times are UTC.</figcaption></figure>"
        )
    pair = [
        ("equity", "The accounts that ended worst", "Net liq at the end of each bar, in percent of what the account "
         f"had; on the right, what was left in {code}."),
        ("money", "Where the debtors' money went", "Each bar begins where the one before ended. Hatched is taken away, "
         "solid is brought in; left of zero is debt."),
        ("leverage", "Deficits by leverage", "By notional over net liq at the opening; the bars count accounts and "
         "money left below zero by close-outs."),
        ("moment", "Deficits by moment", "By the bar that triggered the close-out, UTC."),
    ]  # fmt: skip
    said.append('<div class="pair">')
    said += [
        f"<figure><h3>{_e(heading)}</h3>{figures[name]}<figcaption>{_e(caption)}</figcaption></figure>"
        for name, heading, caption in pair
        if figures[name]
    ]
    said.append("</div>")
    return "\n".join(said)


# -- debtors ------------------------------------------------------------------------------------------------


_DEBTORS: list[tuple[str, Callable[[Run, AccountOutcome], str]]] = [
    ("account", lambda run, a: _id(a.account_id)),
    ("owes", lambda run, a: _money(run.currency, a.owed)),
    ("side", lambda run, a: _e(a.side)),
    ("contracts", lambda run, a: _e(", ".join(a.contracts))),
    ("leverage", lambda run, a: f"{_e(a.leverage)}x"),
    ("notional", lambda run, a: _money(run.currency, a.notional_before)),
    ("equity before", lambda run, a: _money(run.currency, a.net_liq_before)),
    ("closed out at (UTC)", lambda run, a: "not yet" if a.liquidated_at is None else _when(a.liquidated_at)),
    ("liquidation price", lambda run, a: _number(a.liquidation_price)),
    ("fill price", lambda run, a: _number(a.fill_price)),
    ("fees", lambda run, a: _money(run.currency, a.fees)),
]


def _debtors(run: Run, totals: Totals) -> str:
    """The table of debtors and how each debt came about; the first of them open, the rest one click away."""
    if not totals.debtors:
        return ""
    head = [name for name, _ in _DEBTORS]
    listed = totals.debtors[:MOST_ROWS]
    rows = [[cell(run, account) for _, cell in _DEBTORS] for account in listed]
    explained = [_explained(run, account) for account in listed]
    said = [
        f"<h3>Who owes, in {_e(run.currency.code)}</h3>",
        _table("Debtors", head, rows[:_SHOWN], owes=1, words=4),
    ]
    if len(rows) > _SHOWN:
        rest = _table("More debtors", head, rows[_SHOWN:], owes=1, words=4)
        said.append(f"<details><summary>{count(len(rows) - _SHOWN, 'more debtor')}</summary>{rest}</details>")
    if len(totals.debtors) > len(listed):
        left = totals.debtors[MOST_ROWS:]
        owed = amount(run.currency, sum(account.owed for account in left))
        said.append(f'<p class="note">{len(left):,} smaller debts, {owed} in all, are in accounts.csv.</p>')
    by_fees = sum(made_by_fees(account) for account in totals.debtors)
    note = f'<p class="note">{by_fees:,} of {count(len(totals.debtors), "debt")} would not be there without fees.</p>'
    said += ["<h3>How each debt came about</h3>", note if by_fees else "", *explained[:_EXPLAINED]]
    if len(explained) > _EXPLAINED:
        rest = "\n".join(explained[_EXPLAINED:])
        said.append(f"<details><summary>{len(explained) - _EXPLAINED:,} more</summary>\n{rest}\n</details>")
    return "\n".join(said)


def _explained(run: Run, account: AccountOutcome) -> str:
    words = [str(receipt.get("words", "")) for receipt in receipts_of(run, account)]
    told = "".join(f"<p>{_e(text)}</p>" for text in words) or "<p>There is no receipt.</p>"
    return f"<details><summary>{_e(debt_sentence(run, account))}</summary>{told}</details>"


# -- what it rests on, and how to check it ------------------------------------------------------------------


def _rests(run: Run) -> str:
    """Assumptions, the other order of the extremes, and alarms."""
    items = [_assumption(text) for text in run.assumptions]
    if run.path_assumed:
        items.append(f"<li><strong>Path:</strong> within a bar, {_e(run.path_assumed.replace('_', ' '))}.</li>")
    if run.other_path:
        items.append(f"<li><strong>The other path:</strong> {_e(_flat(run.other_path))}.</li>")
    said = ['<div class="rests">', "<h3>What this outcome rests on</h3>", f"<ul>{''.join(items)}</ul>"]
    if run.alarms:
        rows = [[_e(code.replace("_", " ")), f"{number:,}"] for code, number in run.alarms.items()]
        said += ["<h3>Alarms raised to the desk</h3>", _table("Alarms", ["alarm", "times"], rows)]
    return "\n".join([*said, "</div>"])


def _assumption(text: str) -> str:
    topic, colon, rest = text.partition(": ")
    if colon and topic.isalpha():
        return f"<li><strong>{_e(topic)}:</strong> {_e(rest)}</li>"
    return f"<li>{_e(text)}</li>"


def _flat(values: Mapping[str, Any]) -> str:
    """Nested totals in one line, digests left out."""
    said: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            said.append(f"{key.replace('_', ' ')} ({_flat(value)})")  # pyright: ignore[reportUnknownArgumentType]
        elif "digest" not in key:
            said.append(f"{key.replace('_', ' ')} {grouped(str(value)).replace('_', ' ')}")
    return ", ".join(said)


def _proof(run: Run, runs: Sequence[Run]) -> str:
    return (
        '<div class="rests"><h3>Check it yourself</h3>'
        "<p>Every number follows from the inputs in the journal beside this report. This runs them again, and proves "
        "the digests, the balances and the receipts; it ends with exit code 3 at the first difference:</p>"
        f'<code class="command">{_e(verify_command(run, runs))}</code>'
        '<dl class="digests">'
        f"<dt>published digest</dt><dd><code>{_e(run.published or 'none')}</code></dd>"
        f"<dt>final state digest</dt><dd><code>{_e(run.final_digest or 'none')}</code></dd>"
        f"<dt>rulebook digest</dt><dd><code>{_e(run.digest)}</code></dd>"
        f"<dt>ledger imbalance</dt><dd>{_money(run.currency, run.ledger_imbalance)}</dd>"
        f"<dt>inputs, events</dt><dd>{run.inputs:,}, {run.events:,}</dd></dl></div>"
    )


def _sources(market: Mapping[str, Any]) -> str:
    rows = [
        [_e(source["file"]), f"{source['rows']:,}", f"<code>{_e(source['sha256'])}</code>"]
        for source in market["sources"]
    ]
    return "<h2>Data</h2>" + _table("Data sources", ["file", "rows", "SHA-256"], rows)
