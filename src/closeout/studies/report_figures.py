"""The figures of the report, one function each. Floats are coordinates here and nothing else; every number in words
comes from integers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import accumulate, pairwise
from typing import Any

from closeout.core.text import clean
from closeout.core.times import SECOND
from closeout.core.units import Currency
from closeout.studies.outcome import OrderRow, PricePath, Run, Totals
from closeout.studies.report_drawing import (
    BAND,
    CALM,
    DEBT,
    FULL,
    HALF,
    INK,
    MUTED,
    PRICE,
    STYLE,
    Drawing,
    TimeAxis,
    axis_money,
    axis_percent,
    axis_price,
    gaps,
)
from closeout.studies.wording import grouped, owner

LEVERAGE_BUCKETS = ((Decimal("2.5"), "to 2.5x"), (Decimal("7.5"), "2.5–7.5x"), (Decimal(15), "7.5–15x"),
                    (Decimal(30), "15–30x"), (Decimal(75), "30–75x"), (None, "over 75x"))  # fmt: skip
"""Upper bounds, between the leverages that people choose: 2, 3 and 5, 10, 20 and 25, 50, 100."""

_MOST_POINTS = 400
_MOST_PANELS = 4
_MOST_PATHS = 6
_DASHES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (10, 3)))


def draw(run: Run, name: str) -> dict[str, str]:
    """All figures of a run as SVG elements, "" where there is nothing to draw; `name` sets their ids apart."""
    import matplotlib as mpl

    library: Any = mpl  # its types name every setting there is
    with library.rc_context(STYLE):
        fallen = any(account.deficit > 0 for account in run.accounts)
        return {
            "price": price(run, f"{name}-price", FULL),
            "price_narrow": price(run, f"{name}-narrow", HALF),
            "equity": equity(run, f"{name}-equity"),
            "leverage": by_leverage(run, f"{name}-leverage") if fallen else "",
            "moment": by_moment(run, f"{name}-moment") if fallen else "",
            "money": waterfall(run, f"{name}-money"),
        }


def short(currency: Currency, micros: int) -> str:
    """An amount for a label in a figure, rounded; the tables have it exactly."""
    exact = Decimal(micros).scaleb(-currency.places)
    places = 0 if abs(exact) >= 1000 or not micros else 2 if abs(exact) >= 1 else min(currency.places, 6)
    return grouped(format(round(exact, places), "f"))


def leverage_bucket(leverage: str) -> int:
    """Index into `LEVERAGE_BUCKETS`; what is not a number (no net liq to speak of) goes to the last."""
    try:
        number = Decimal(leverage)
    except InvalidOperation:
        number = Decimal("Infinity")
    bounds = [bound for bound, _ in LEVERAGE_BUCKETS if bound is not None]
    return next((index for index, bound in enumerate(bounds) if number <= bound), len(bounds))


def _time_axis(run: Run) -> TimeAxis:
    """The bars that were played; without any, the moments at which something happened."""
    times = {time for path in run.prices for time in path.times}
    if not times:
        times = {account.liquidated_at for account in run.accounts if account.liquidated_at is not None}
        times |= {time for path in run.equity.values() for time, _ in path}
    return TimeAxis(sorted(times) or [0])


# -- (a) the price, with the close-outs on it ---------------------------------------------------------------


def price(run: Run, name: str, width: int) -> str:
    """A panel a contract, those with the most close-outs first: low-high band, close, and a marker a close-out."""
    tally = {path.contract: 0 for path in run.prices}
    for order in run.closings:
        tally[order.contract] = tally.get(order.contract, 0) + 1
    paths = sorted((p for p in run.prices if p.times), key=lambda p: -tally[p.contract])[:_MOST_PANELS]
    if not paths:
        return ""
    first, more = (320, 190) if width == FULL else (280, 190)
    drawing = Drawing(name, width, first + more * (len(paths) - 1), nrows=len(paths), sharex=True)
    time_axis = _time_axis(run)
    for axes, path in zip(drawing.axes, paths, strict=True):
        _price_band(axes, path, time_axis)
        _markers(axes, run, path, time_axis, width)
        axes.set_ylabel(clean(path.contract))
        axes.yaxis.set_major_formatter(axis_price)
        time_axis.dress(axes, 10 if width == FULL else 5, labels=axes is drawing.axes[-1])
    _price_legend(drawing, run)
    totals = Totals.of(run)
    contracts = ", ".join(clean(path.contract) for path in paths)
    return drawing.svg(
        f"Price of {contracts}, with {totals.closed_out} accounts closed out, {len(totals.debtors)} of which owe."
    )


def _price_band(axes: Any, path: PricePath, time_axis: TimeAxis) -> None:
    """Neighbouring bars are drawn as one where there are more than a screen can show."""
    step = -(-len(path.times) // _MOST_POINTS)
    starts = range(0, len(path.times), step)
    x = [time_axis.at(path.times[i]) for i in starts]
    low = [min(map(float, path.low[i : i + step])) for i in starts]
    high = [max(map(float, path.high[i : i + step])) for i in starts]
    close = [float(path.close[i : i + step][-1]) for i in starts]
    cuts = [i + 1 for i in gaps([path.times[i] for i in starts])]  # no line where there were no prices
    for begin, end in pairwise([0, *cuts, len(x)]):
        part = slice(begin, end)
        if end - begin > 1:
            axes.fill_between(x[part], low[part], high[part], step="mid", color=BAND, linewidth=0)
        else:
            axes.vlines(x[part], low[part], high[part], color=BAND, linewidth=4)
        axes.plot(x[part], close[part], color=PRICE, linewidth=1.4, marker="" if end - begin > 1 else "_")


def _price_legend(drawing: Drawing, run: Run) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=PRICE, linewidth=1.4), Patch(color=BAND, linewidth=0)]
    texts = ["close", "low to high"]
    debtors = {account.account_id for account in run.debtors}
    kinds = {owner(order.account_id) in debtors for order in run.closings if order.fill_price is not None}
    for owes, text in ((False, "closed out, owes nothing"), (True, "closed out, owes")):
        if owes in kinds:
            handles.append(Line2D([], [], linestyle="", markersize=8, **_marker(owes)))
            texts.append(text)
    columns = 4 if drawing.figure.get_figwidth() * 72 > HALF else 2
    drawing.figure.legend(handles, texts, loc="outside upper left", ncols=columns, handlelength=1.4, columnspacing=1.5)


def _marker(owes: bool) -> dict[str, Any]:
    if owes:
        return {"marker": "v", "markerfacecolor": DEBT, "markeredgecolor": DEBT, "alpha": 0.85}
    return {"marker": "o", "markerfacecolor": "none", "markeredgecolor": CALM, "markeredgewidth": 1.3}


@dataclass(slots=True)
class _Cell:
    """Close-outs that would be drawn on top of one another: their money, and the place of the first."""

    x: float
    y: float
    money: float = 0


def _markers(axes: Any, run: Run, path: PricePath, time_axis: TimeAxis, width: int) -> None:
    """One marker for all close-outs within a few pixels, so that its area is their money and not their order."""
    debtors = {account.account_id for account in run.debtors}
    notional = {account.account_id: float(account.notional_before) for account in run.accounts}
    orders = [(order, float(order.fill_price)) for order in run.closings
              if order.contract == path.contract and order.fill_price is not None]  # fmt: skip
    if not orders:
        return
    shares = _shares(run.closings)
    prices = [*map(float, path.low), *map(float, path.high), *(fill for _, fill in orders)]
    bar, rung = len(time_axis.times) / (width / 6), ((max(prices) - min(prices)) or 1) / 50
    cells: dict[tuple[bool, int, int], _Cell] = {}
    for order, fill in orders:
        account_id, x = owner(order.account_id), time_axis.at(order.time)
        place = (account_id in debtors, int(x / max(bar, 1)), int(fill / rung))
        cell = cells.setdefault(place, _Cell(x, fill))
        cell.money += notional.get(account_id, 0.0) * shares[id(order)]
    most = max(cell.money for cell in cells.values()) or 1
    # Eight sizes: each becomes one shape in the SVG that all its markers use.
    groups: dict[tuple[bool, int], list[_Cell]] = {}
    for (owes, _, _), cell in cells.items():
        groups.setdefault((owes, max(1, -int(-8 * cell.money // most))), []).append(cell)
    largest = 17 if width == FULL else 13
    for (owes, size), group in sorted(groups.items(), key=lambda entry: (entry[0][0], -entry[0][1])):
        across = max(largest * (size / 8) ** 0.5, 5)
        axes.plot([c.x for c in group], [c.y for c in group], linestyle="", markersize=across, zorder=3 + owes,
                  **_marker(owes))  # fmt: skip
    _name_the_worst(axes, run, path, time_axis)


def _shares(orders: list[OrderRow]) -> dict[int, float]:
    """By `id` of the order: its part of what its account had closed, so that an account counts once."""
    worth = {id(o): float(o.filled_quantity or 0) * abs(float(o.fill_price or 0)) for o in orders}
    whole: dict[str, float] = {}
    for order in orders:
        whole[owner(order.account_id)] = whole.get(owner(order.account_id), 0.0) + worth[id(order)]
    return {id(o): worth[id(o)] / (whole[owner(o.account_id)] or 1) for o in orders}


def _name_the_worst(axes: Any, run: Run, path: PricePath, time_axis: TimeAxis) -> None:
    worst = run.debtors[0] if run.debtors else None
    mine = [o for o in run.closings if worst and owner(o.account_id) == worst.account_id and o.fill_price is not None]
    if worst is None or not mine or mine[-1].contract != path.contract:
        return
    x = time_axis.at(mine[-1].time)
    left = x > len(time_axis.times) / 2
    text = f"{_brief(worst.account_id)} owes {short(run.currency, worst.owed)}"
    # Above the panel, with a thread down to the marker, so that it hides nothing.
    axes.annotate(text, (x, float(mine[-1].fill_price or 0)), xytext=(x, 1.02), textcoords=("data", "axes fraction"),
                  arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "relpos": (left, 0)}, zorder=2,
                  color=INK, ha="right" if left else "left", va="bottom", fontweight="bold",
                  annotation_clip=False)  # fmt: skip


def _brief(account_id: str) -> str:
    account_id = clean(account_id)
    return account_id if len(account_id) <= 16 else f"{account_id[:15]}…"


# -- (b) equity paths ---------------------------------------------------------------------------------------


def equity(run: Run, name: str) -> str:
    """Net liq of the accounts that ended worst, in percent of what each had; below the zero line it is debt."""
    ranked = sorted(((path[-1][1], account) for account, path in run.equity.items() if path))[:_MOST_PATHS]
    if not ranked:
        return ""
    drawing = Drawing(name, HALF, 320)
    axes, time_axis = drawing.axes[0], _time_axis(run)
    before = {account.account_id: account.net_liq_before for account in run.accounts}
    ends: list[tuple[float, int, str, Any]] = []
    for dash, (end, account) in zip(_DASHES, ranked, strict=False):
        points = _thinned(run.equity[account])
        whole = before.get(account, 0) if before.get(account, 0) > 0 else max(abs(micros) for _, micros in points) or 1
        y = [100 * micros / whole for _, micros in points]
        axes.plot([time_axis.at(time) for time, _ in points], y, color=_paint(end), linestyle=dash, linewidth=1.5)
        ends.append((y[-1], end, account, dash))
    low, high = axes.get_ylim()
    low, high = min(low, -0.08 * (high - low)), max(high, 0.05 * (high - low))
    axes.set_ylim(low, high)
    axes.axhspan(low, 0, color=DEBT, alpha=0.1, linewidth=0)
    axes.axhline(0, color=INK, linewidth=1.2)
    axes.annotate("below zero is debt", (0.01, 0), xycoords=("axes fraction", "data"), xytext=(0, -4),
                  textcoords="offset points", va="top", color=INK, fontsize=10)  # fmt: skip
    time_axis.dress(axes, 4)
    ends.sort(key=lambda end: end[:3])
    levels = _spread([level for level, *_ in ends], (high - low) * 0.065)
    for level, (_, end, account, dash) in zip(levels, ends, strict=True):
        beside = axes.get_yaxis_transform()
        axes.plot([1.02, 1.1], [level] * 2, color=_paint(end), linestyle=dash, transform=beside, clip_on=False)
        axes.annotate(f"{_brief(account)} {short(run.currency, end)}", (1.12, level), annotation_clip=False,
                      xycoords=beside, va="center", fontsize=10)  # fmt: skip
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(axis_percent)
    names = ", ".join(f"{_brief(account)} {short(run.currency, end)}" for end, account in ranked)
    return drawing.svg(f"Net liq over time of the accounts that ended worst: {names} {run.currency.code}.")


def _paint(micros: int) -> str:
    return DEBT if micros < 0 else CALM


def _thinned(path: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most about `_MOST_POINTS` points with every stretch's lowest and last among them."""
    step = -(-2 * len(path) // _MOST_POINTS)
    if step <= 1:
        return path
    stretches = [path[i : i + step] for i in range(0, len(path), step)]
    return [path[0], *(point for s in stretches for point in sorted({min(s, key=lambda p: p[1]), s[-1]}))]


def _spread(levels: list[float], distance: float) -> list[float]:
    """Ascending label positions, moved up only as far as needed to stand clear of the one below."""
    return list(accumulate(levels, lambda below, level: max(level, below + distance)))


# -- (c) deficits by leverage and by moment -----------------------------------------------------------------


def by_leverage(run: Run, name: str) -> str:
    """How many accounts fell below zero, and by how much, in each bucket of opening leverage."""
    accounts = [0] * len(LEVERAGE_BUCKETS)
    fallen, deficit = accounts.copy(), accounts.copy()
    for account in run.accounts:
        if "not_admitted" not in account.flags:
            bucket = leverage_bucket(account.leverage)
            accounts[bucket] += 1
            fallen[bucket] += account.deficit > 0
            deficit[bucket] += account.deficit
    drawing = Drawing(name, HALF, 300, ncols=2, sharey=True)
    left, right = drawing.axes
    counts = [f"{n:,} of {all_:,}" for n, all_ in zip(fallen, accounts, strict=True)]
    _bars(left, [float(n) for n in fallen], counts, "accounts below zero")
    amounts = [short(run.currency, micros) if micros else "0" for micros in deficit]
    _bars(right, [micros / 10**run.currency.places for micros in deficit], amounts, f"deficit, {run.currency.code}")
    left.set_yticks(range(len(accounts)), [text for _, text in LEVERAGE_BUCKETS])
    left.invert_yaxis()
    said = (f"{LEVERAGE_BUCKETS[i][1]}: {counts[i]}, {amounts[i]}" for i in range(len(accounts)))
    return drawing.svg(f"Accounts below zero and deficit in {run.currency.code} by leverage. {'; '.join(said)}.")


def _bars(axes: Any, values: list[float], texts: list[str], title: str) -> None:
    """Level bars with their figure at the end, which makes a scale unnecessary."""
    axes.barh(range(len(values)), values, color=DEBT, height=0.6)
    axes.set_xlim(0, (max(values) or 1) * 1.9)
    axes.set_title(title, loc="left", fontsize=11, color=MUTED)
    axes.grid(False)
    axes.tick_params(length=0, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        colour = INK if value else MUTED
        axes.annotate(text, (value, place), xytext=(5, 0), textcoords="offset points", va="center", color=colour)


def by_moment(run: Run, name: str) -> str:
    """Close-outs and deficits by the moment of the trigger."""
    time_axis = _time_axis(run)
    bins = min(len(time_axis.times), 46)
    width = len(time_axis.times) / bins
    calm, fallen, deficit = [0] * bins, [0] * bins, [0] * bins
    for account in run.liquidated:
        place = min(int((time_axis.at(account.liquidated_at or 0) + 0.5) / width), bins - 1)
        (fallen if account.deficit > 0 else calm)[place] += 1
        deficit[place] += account.deficit
    drawing = Drawing(name, HALF, 300, nrows=2, sharex=True)
    upper, lower = drawing.axes
    x = [(i + 0.5) * width - 0.5 for i in range(bins)]
    upper.bar(x, calm, width * 0.86, color=CALM, label="nothing left below zero")
    some = [i for i in range(bins) if fallen[i]]
    upper.bar([x[i] for i in some], [fallen[i] for i in some], width * 0.86, bottom=[calm[i] for i in some],
              facecolor="none", edgecolor=DEBT, hatch="////", linewidth=0.8, label="left below zero")  # fmt: skip
    upper.set_title("accounts closed out", loc="left", fontsize=11, color=MUTED)
    upper.set_ylim(0, max(map(sum, zip(calm, fallen, strict=True)), default=1) * 1.35 or 1)
    upper.legend(loc="upper left", ncols=2, fontsize=10, borderaxespad=0, handlelength=1.2, columnspacing=1.2)
    upper.yaxis.get_major_locator().set_params(integer=True)
    lower.bar(x, [micros / 10**run.currency.places for micros in deficit], width * 0.86, color=DEBT)
    lower.set_title(f"deficit, {run.currency.code}", loc="left", fontsize=11, color=MUTED)
    lower.yaxis.set_major_formatter(axis_money)
    time_axis.dress(upper, 5, labels=False)
    time_axis.dress(lower, 5)
    return drawing.svg(f"Close-outs and deficits by moment: {_peaks(time_axis, fallen, width)}.")


def _peaks(time_axis: TimeAxis, fallen: list[int], width: float) -> str:
    most = max(range(len(fallen)), key=lambda i: fallen[i])
    time = datetime.fromtimestamp(time_axis.times[int(most * width)] // SECOND, UTC)
    return f"the most deficits, {fallen[most]}, were triggered from {time:%H:%M} UTC on"


# -- (d) the waterfall of money -----------------------------------------------------------------------------


def waterfall(run: Run, name: str) -> str:
    """`Run.money` step by step: each bar begins where the one before it ended; what lies below zero is debt."""
    if not run.money:
        return ""
    ends = list(accumulate(micros for _, micros in run.money))
    starts = [0, *ends[:-1]]
    one = 10**run.currency.places
    drawing = Drawing(name, HALF, 40 + 44 * len(run.money))
    axes = drawing.axes[0]
    for row, ((label, micros), start, end) in enumerate(zip(run.money, starts, ends, strict=True)):
        down = micros < 0
        for low, high, colour in ((min(start, end), min(max(start, end), 0), DEBT),
                                  (max(min(start, end), 0), max(start, end), CALM)):  # fmt: skip
            if low < high:
                axes.barh(row, (high - low) / one, left=low / one, height=0.42, linewidth=1, edgecolor=colour,
                          facecolor="none" if down else colour, hatch="////" if down else "")  # fmt: skip
        axes.plot([0, 0], [row - 0.27, row + 0.27], color=INK, linewidth=1.2, zorder=4)
        if row:
            axes.plot([start / one] * 2, [row - 0.79, row + 0.21], color=MUTED, linewidth=0.8)
        text = textwrap.shorten(clean(label), 52, placeholder="…")
        sign = "+" if micros > 0 else ""
        for x, words, side in ((0, text, "left"), (1, f"{sign}{short(run.currency, micros)}", "right")):
            axes.annotate(words, (x, row - 0.3), xycoords=("axes fraction", "data"), ha=side, va="bottom")
    axes.set_ylim(len(run.money) - 0.5, -0.85)
    axes.grid(False, axis="y")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(axis_money)
    axes.xaxis.get_major_locator().set_params(nbins=5)
    axes.set_xlabel(f"{run.currency.code}; left of zero is debt" if min(ends) < 0 else run.currency.code)
    return drawing.svg("Waterfall of money: " + _said(run.money, run.currency))


def _said(steps: Iterable[tuple[str, int]], currency: Currency) -> str:
    return "; ".join(f"{clean(label)} {short(currency, micros)}" for label, micros in steps) + "."
