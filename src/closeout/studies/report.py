"""The report of a replay: one self-contained HTML page that needs no network, no script and no second file.

Amounts are exact and come from integers; each stands in a ``<data value="...">`` as the files have it, so that what is
read and what is computed with are the same number. All text from outside is escaped (`report_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from closeout.studies.outcome import OTHER_CASH, OWED, AccountOutcome, Run, Totals
from closeout.studies.report_parts import account_name, escaped, exact, moment, number, span, table
from closeout.studies.report_side_by_side import compared
from closeout.studies.wording import (
    amount,
    clock,
    count,
    debt_sentence,
    grouped,
    headline,
    made_by_fees,
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


def write_report(
    path: Path, runs: list[Run], *, title: str, market: dict[str, Any], same_appetite: bool = False
) -> None:
    """Write the runs of one book of accounts, one per rulebook, to `path`.

    `market` has name, start, end, and sources with file, sha256 and rows. Money is told in each run's own currency.
    """
    path.write_text(page(runs, title, market, same_appetite=same_appetite), encoding="utf-8")


def page(runs: Sequence[Run], title: str, market: Mapping[str, Any], *, same_appetite: bool = False) -> str:
    """The whole page as text."""
    style = (resources.files("closeout.studies") / "report.css").read_text(encoding="utf-8")
    body = [
        f"<h1>closeout replay: {escaped(title)}</h1>",
        f'<p class="when">{escaped(market["name"])}, {span(market["start"], market["end"])}</p>',
        compared(runs, same_appetite=same_appetite) if len(runs) > 1 else _headline(runs[0]),
        *(_run(run, index, runs) for index, run in enumerate(runs)),
        _sources(market),
        f"<footer><p>{escaped(_NOTICE)}</p></footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)} - closeout replay</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


# -- the top of the page ------------------------------------------------------------------------------------


def _headline(run: Run) -> str:
    return f'<p class="headline">{escaped(headline(run))}</p>'


# -- one rulebook -------------------------------------------------------------------------------------------


def _run(run: Run, index: int, runs: Sequence[Run]) -> str:
    from closeout.studies.report_figures import draw

    figures = draw(run, f"f{index}")
    totals = Totals.of(run)
    parts = [
        f'<section id="run{index}">',
        f"<h2>{escaped(run.rulebook)} <span class='sub'>version {escaped(run.version)}</span></h2>",
        _headline(run) if len(runs) > 1 else "",
        _keys(run, totals),
        "" if run.ledger_imbalance == 0 else _out_of_balance(run),
        *(f'<p class="wrong"><strong>Sums do not agree:</strong> {escaped(text)}.</p>' for text in run.problems),
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
        (f"owed, {text.code}", exact(text, totals.owed), "after liquidation, by the customers", debt),
        (f"worst debt, {text.code}", exact(text, worst.owed), account_name(worst.account_id), debt) if worst else
        ("worst debt", "none", "", ""),
        (f"fees taken, {text.code}", exact(text, totals.fees), "trading and liquidation", ""),
    ]  # fmt: skip
    if run.funding is not None:
        sub = f"{exact(text, totals.funding_received)} received; the difference is outsiders' and rounding"
        keys.append((f"funding paid, {text.code}", exact(text, totals.funding_paid), sub, ""))
    if totals.deficit != totals.owed:
        others = totals.borne[OWED.key] + totals.borne[OTHER_CASH.key]
        sub = f"{count(totals.in_deficit, 'account')}; " + (
            "others bore all of it" if not others else "others bore a part of it"
        )
        keys.append((f"deficits, {text.code}", exact(text, totals.deficit), sub, "debt"))
    if totals.deleveraged:
        sub = f"taken from {count(len(totals.deleveraged), 'account')} that won"
        keys.append((f"deleveraged, {text.code}", exact(text, totals.adl_amount + totals.adl_beyond), sub, "debt"))
    if totals.fund_kept:
        sub = "of what close-outs brought beyond bankruptcy"
        keys.append((f"kept by the insurance fund, {text.code}", exact(text, totals.fund_kept), sub, ""))
    if totals.left_with_takers:
        sub = "customers' equity that went with positions"
        keys.append((f"left with the takers, {text.code}", exact(text, totals.left_with_takers), sub, ""))
    cells = "\n".join(
        f"<div{f' class={kind}' if kind else ''}><dt>{escaped(name)}</dt><dd>{value}<small>{sub}</small></dd></div>"
        for name, value, sub, kind in keys
    )
    return f'<dl class="keys">\n{cells}\n</dl>'


def _out_of_balance(run: Run) -> str:
    off = f"{exact(run.currency, run.ledger_imbalance)} {run.currency.code}"
    said = f"<strong>The books do not balance: they are off by {off}.</strong> Trust no number here."
    return f'<p class="wrong">{said}</p>'


def _nobody_owes(run: Run, totals: Totals) -> str:
    if totals.nearest is None or totals.deficit:
        return ""
    nearest = totals.nearest
    held = f"{nearest.side} {', '.join(nearest.contracts)}"
    said = f"Nearest to it came {account_name(nearest.account_id)}: {escaped(held)}"
    said += f" at {escaped(nearest.leverage)}x, from {amount(run.currency, nearest.net_liq_before)} down to "
    said += f"{exact(run.currency, nearest.net_liq_after)} {run.currency.code}"
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
        f"<figure><h3>{escaped(heading)}</h3>{figures[name]}<figcaption>{escaped(caption)}</figcaption></figure>"
        for name, heading, caption in pair
        if figures[name]
    ]
    said.append("</div>")
    return "\n".join(said)


# -- debtors ------------------------------------------------------------------------------------------------


_DEBTORS: list[tuple[str, Callable[[Run, AccountOutcome], str]]] = [
    ("account", lambda run, a: account_name(a.account_id)),
    ("owes", lambda run, a: exact(run.currency, a.owed)),
    ("side", lambda run, a: escaped(a.side)),
    ("contracts", lambda run, a: escaped(", ".join(a.contracts))),
    ("leverage", lambda run, a: f"{escaped(a.leverage)}x"),
    ("notional", lambda run, a: exact(run.currency, a.notional_before)),
    ("equity before", lambda run, a: exact(run.currency, a.net_liq_before)),
    ("closed out at (UTC)", lambda run, a: "not yet" if a.liquidated_at is None else moment(a.liquidated_at)),
    ("liquidation price", lambda run, a: number(a.liquidation_price)),
    ("fill price", lambda run, a: number(a.fill_price)),
    ("fees", lambda run, a: exact(run.currency, a.fees)),
]
_FUNDING: tuple[str, Callable[[Run, AccountOutcome], str]] = (
    "funding", lambda run, a: exact(run.currency, a.funding_received - a.funding_paid)
)  # fmt: skip


def _debtors(run: Run, totals: Totals) -> str:
    """The table of debtors and how each debt came about; the first of them open, the rest one click away."""
    if not totals.debtors:
        return ""
    columns = [*_DEBTORS, *([] if run.funding is None else [_FUNDING])]
    head = [name for name, _ in columns]
    listed = totals.debtors[:MOST_ROWS]
    rows = [[cell(run, account) for _, cell in columns] for account in listed]
    explained = [_explained(run, account) for account in listed]
    said = [
        f"<h3>Who owes, in {escaped(run.currency.code)}</h3>",
        table("Debtors", head, rows[:_SHOWN], owes=1, words=4),
    ]
    if len(rows) > _SHOWN:
        rest = table("More debtors", head, rows[_SHOWN:], owes=1, words=4)
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
    told = "".join(f"<p>{escaped(text)}</p>" for text in words) or "<p>There is no receipt.</p>"
    return f"<details><summary>{escaped(debt_sentence(run, account))}</summary>{told}</details>"


# -- what it rests on, and how to check it ------------------------------------------------------------------


def _rests(run: Run) -> str:
    """Assumptions, the other order of the extremes, and alarms."""
    items = [_assumption(text) for text in run.assumptions]
    if run.path_assumed:
        items.append(f"<li><strong>Path:</strong> within a bar, {escaped(run.path_assumed.replace('_', ' '))}.</li>")
    if run.other_path:
        items.append(f"<li><strong>The other path:</strong> {escaped(_flat(run.other_path))}.</li>")
    said = ['<div class="rests">', "<h3>What this outcome rests on</h3>", f"<ul>{''.join(items)}</ul>"]
    if run.alarms:
        rows = [[escaped(code.replace("_", " ")), f"{number:,}"] for code, number in run.alarms.items()]
        said += ["<h3>Alarms raised to the desk</h3>", table("Alarms", ["alarm", "times"], rows)]
    return "\n".join([*said, "</div>"])


def _assumption(text: str) -> str:
    topic, colon, rest = text.partition(": ")
    if colon and topic.isalpha():
        return f"<li><strong>{escaped(topic)}:</strong> {escaped(rest)}</li>"
    return f"<li>{escaped(text)}</li>"


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
        f'<code class="command">{escaped(verify_command(run, runs))}</code>'
        '<dl class="digests">'
        f"<dt>published digest</dt><dd><code>{escaped(run.published or 'none')}</code></dd>"
        f"<dt>final state digest</dt><dd><code>{escaped(run.final_digest or 'none')}</code></dd>"
        f"<dt>rulebook digest</dt><dd><code>{escaped(run.digest)}</code></dd>"
        f"<dt>ledger imbalance</dt><dd>{exact(run.currency, run.ledger_imbalance)}</dd>"
        f"<dt>inputs, events</dt><dd>{run.inputs:,}, {run.events:,}</dd></dl></div>"
    )


def _sources(market: Mapping[str, Any]) -> str:
    rows = [
        [escaped(source["file"]), f"{source['rows']:,}", f"<code>{escaped(source['sha256'])}</code>"]
        for source in [*market["sources"], *([market["funding"]] if market.get("funding") else [])]
    ]
    return "<h2>Data</h2>" + table("Data sources", ["file", "rows", "SHA-256"], rows)
