"""The top of a report of several rulebooks: where each dollar of loss went, the figures, and who fared how.

The bars are plain HTML: they take the page's colours, fit any width, and say in words beside them what they show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from closeout.studies.outcome import BEARERS, AccountOutcome, Run, Totals
from closeout.studies.report_parts import account_name, escaped, exact, table
from closeout.studies.side_by_side import Figure, figures
from closeout.studies.wording import comparison, count, dollars, fate

_MOST_LOSERS, _MOST_WINNERS = 10, 5


def compared(runs: Sequence[Run], *, same_appetite: bool) -> str:
    """The whole comparison, before the rulebooks come one by one."""
    parts = [
        f'<p class="headline">{escaped(comparison(runs))}</p>',
        _note(runs, same_appetite=same_appetite),
        _picture(runs),
        "<h2>The rulebooks side by side</h2>",
        _figures(runs),
        _fates(runs),
    ]
    return "\n".join(part for part in parts if part)


def _note(runs: Sequence[Run], *, same_appetite: bool) -> str:
    said: list[str] = []
    if same_appetite:
        said.append("Every account is sized to the same fraction of what each rulebook allows (--same-appetite).")
    if not any(Totals.of(run).deficit for run in runs):
        said += _admission(runs)  # else under the picture
    return f'<p class="note">{escaped(" ".join(said))}</p>' if said else ""


def _admission(runs: Sequence[Run]) -> list[str]:
    if not any(Totals.of(run).not_admitted for run in runs):
        return []
    return ["Whoever would not pass a rulebook's opening check is not admitted there and in none of its sums."]


# -- the picture --------------------------------------------------------------------------------------------


def _picture(runs: Sequence[Run]) -> str:
    most = max(run.in_dollars(Totals.of(run).deficit) for run in runs)
    if not most:
        return ""
    said = [
        "A bar is what close-outs left below zero, one scale for all; its parts are who bore it.",
        *_admission(runs),
    ]
    if any(run.dollars is not None for run in runs):
        said.append("Coins are counted at the opening mark.")
    caption = " ".join(said)
    rows = "\n".join(_bar(run, index, float(run.in_dollars(Totals.of(run).deficit) / most)) for index, run in
                     enumerate(runs))  # fmt: skip
    return (
        '<figure class="sides"><h3>Where each dollar of loss beyond margin went</h3>\n'
        f"{rows}\n<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def _bar(run: Run, index: int, length: float) -> str:
    """One rulebook: its name and total, the bar at `length` of the longest, and its parts in words."""
    totals = Totals.of(run)
    borne = [(bearer, totals.borne[bearer.key]) for bearer in BEARERS if totals.borne[bearer.key] > 0]
    name = f'<a href="#run{index}">{escaped(run.rulebook)}</a>'
    away = f" <small>{totals.not_admitted:,} not admitted</small>" if totals.not_admitted else ""
    if not borne:
        said = "nothing was lost beyond margin" if totals.accounts else "no account was admitted"
        return f'<div class="side"><div class="who">{name}{away}</div><div class="bar nothing">{said}</div></div>'
    # Widths are drawn, amounts are told: only here a share is a float.
    segments = "".join(
        f'<i class="part {bearer.key}" style="flex-grow: {micros / totals.deficit:.6f}"></i>'
        for bearer, micros in borne
    )
    told = "".join(
        f'<li><i class="part {bearer.key}"></i>{escaped(bearer.words)} <b>{escaped(dollars(run, micros))}</b></li>'
        for bearer, micros in borne
    )
    label = "; ".join(f"{bearer.words} {dollars(run, micros)}" for bearer, micros in borne)
    return (
        f'<div class="side"><div class="who">{name} <b>{escaped(dollars(run, totals.deficit))}</b>{away}</div>'
        f'<div class="track"><div class="bar" style="width: {100 * length:.3f}%" role="img" '
        f'aria-label="{escaped(f"{run.rulebook}: {label}")}">{segments}</div><ul>{told}</ul></div></div>'
    )


# -- the figures --------------------------------------------------------------------------------------------


def _figures(runs: Sequence[Run]) -> str:
    """Figures as rows and rulebooks as columns."""
    rows = [
        [
            f'<span class="of">{escaped(figure.name)}</span>' if figure.part else escaped(figure.name),
            *(_cell(run, figure, value) for run, value in zip(runs, figure.values, strict=True)),
        ]
        for figure in figures(runs)
    ]
    rows.append(["in", *(escaped(run.currency.code) for run in runs)])
    shown = table("Rulebooks side by side", ["", *(run.rulebook for run in runs)], rows)
    return f'<div class="figures">{shown}</div>'


def _cell(run: Run, figure: Figure, value: int | None) -> str:
    """A number, or the exact amount, and under a coin what it is in dollars; a part of nothing is a dash."""
    if value is None or (figure.part and not value):
        return "–"
    if not figure.money:
        return f"{value:,}"
    shown = exact(run.currency, value)
    return shown if run.dollars is None or not value else f"{shown}<small>{escaped(dollars(run, value))}</small>"


# -- account by account -------------------------------------------------------------------------------------


def _fates(runs: Sequence[Run]) -> str:
    """What became of the accounts that lost or gave up most under any rulebook."""
    found = [{account.account_id: account for account in run.accounts} for run in runs]
    chosen = _most(runs, _MOST_LOSERS, lambda a: a.deficit)
    chosen += [
        key
        for key in _most(runs, _MOST_WINNERS, lambda a: a.adl_amount + a.adl_beyond + a.socialised)
        if key not in chosen
    ]
    if not chosen:
        return ""
    rows: list[list[str]] = []
    for key in chosen:
        one = next(accounts[key] for accounts in found if key in accounts)
        fates = [escaped(fate(run, accounts.get(key))) for run, accounts in zip(runs, found, strict=True)]
        rows.append([account_name(key), escaped(one.side), *fates])
    head = ["account", "side", *(run.rulebook for run in runs)]
    said = table("Accounts side by side", head, rows, words=len(head))
    return (
        "<h3>The same account under each rulebook</h3>"
        f'<p class="note">{count(len(rows), "account")}: those that lost most beyond margin, or gave up most for '
        "others, under any of the rulebooks, in its own currency; summary.json has them all.</p>"
        f'<div class="fates">{said}</div>'
    )


def _most(runs: Sequence[Run], most: int, size: Callable[[AccountOutcome], int]) -> list[str]:
    largest: dict[str, float] = {}
    for run in runs:
        for account in run.admitted:
            worth = float(run.in_dollars(size(account)))
            if worth > 0:
                largest[account.account_id] = max(worth, largest.get(account.account_id, 0.0))
    return sorted(largest, key=lambda key: (-largest[key], key))[:most]
