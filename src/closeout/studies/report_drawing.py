"""What the report's figures are drawn with: matplotlib without a display, and SVG that takes its colours from the page.

Every colour drawn is a stand-in that becomes a CSS variable, so that one figure serves light, dark and print.
"""

from __future__ import annotations

import io
import re
import warnings
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from statistics import median
from typing import Any, cast

from closeout.core.times import MINUTE, SECOND

INK, MUTED, GRID, BAND, PRICE, CALM, DEBT, PAGE = (f"#0{n}0{n}0{n}" for n in range(1, 9))
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", BAND: "band", PRICE: "price", CALM: "calm", DEBT: "debt",
              PAGE: "page"}  # fmt: skip

FULL, HALF = 960, 430
"""Widths in pixels: of a figure across a wide page, and of one that fits half of it, or a phone."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "closeout", "text.parse_math": False, "timezone": "UTC",
    "font.family": "sans-serif", "font.size": 11, "text.color": INK, "hatch.linewidth": 0.7,
    "axes.edgecolor": GRID, "axes.labelcolor": MUTED, "axes.facecolor": "none", "axes.linewidth": 1,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
    "figure.facecolor": "none", "legend.frameon": False, "legend.fontsize": 11,
}  # fmt: skip


class Drawing:
    """A figure of `width` x `height` pixels with rows of axes, and the way out as an SVG element."""

    def __init__(self, name: str, width: int, height: int, **layout: Any) -> None:
        from matplotlib.figure import Figure

        self.name = name
        figure: Any = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        self.figure = figure
        self.axes: list[Any] = list(figure.subplots(squeeze=False, **layout).flat)

    def svg(self, label: str) -> str:
        """The figure as inline SVG; `label` says in words what it shows. `savefig` would draw it twice."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        out, canvas = io.StringIO(), cast(Any, FigureCanvasSVG(self.figure))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a glyph that the measuring font lacks is no fault: the browser has it
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            canvas.print_svg(out, metadata=nothing)
        return _inline(out.getvalue(), self.name, label)


def _inline(svg: str, name: str, label: str) -> str:
    """SVG for the middle of a page: no declarations, no addresses, ids of its own, the page's colours and font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, f"var(--{variable})")
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg {box[0] if box else ""} role="img" aria-label="{escape(label)}">{body}'


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Bars side by side, so that a shut market takes no room; a gap is marked for what it is."""

    times: list[int]

    def at(self, time: int) -> float:
        """The bar that is on at this time."""
        return float(max(bisect_right(self.times, time) - 1, 0))

    def _ticks(self, most: int) -> list[int]:
        """Places of at most about `most` bars at round times, or at the first bar after one."""
        for minutes in (1, 2, 5, 10, 15, 20, 30, 60, 120, 240, 360, 720, 1440, 2880, 10080):
            parts = [time // (minutes * MINUTE) for time in self.times]
            places = [i + 1 for i, (before, after) in enumerate(pairwise(parts)) if before != after]
            if len(places) <= most:
                break
        else:
            places = list(range(0, len(self.times), len(self.times) // most))
        apart = len(self.times) / (1.8 * most)
        kept: list[int] = []
        for place in reversed([0, *places]):  # of two that would overlap the later stays, which may be a new day
            if not kept or kept[-1] - place > apart:
                kept.append(place)
        return kept[::-1]

    def dress(self, axes: Any, ticks: int, *, labels: bool = True) -> None:
        """Labels at round times, the date where it changes, and the gaps."""
        last = len(self.times) - 1
        texts: list[str] = []
        day = ""
        places = self._ticks(ticks)
        for place in places:
            moment = datetime.fromtimestamp(self.times[place] // SECOND, UTC)
            texts.append(f"{moment:%H:%M}" if f"{moment:%d %b}" == day else f"{moment:%H:%M}\n{moment:%d %b}")
            day = f"{moment:%d %b}"
        axes.set_xticks(places, texts if labels else [""] * len(places))
        axes.set_xlim(-0.5, max(last, 1) + 0.5)
        times = self.times
        for place in gaps(times):
            axes.axvline(place + 0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 3)))
            if labels:
                hours = (times[place + 1] - times[place]) / (60 * MINUTE)
                text = f"no prices for {hours:.0f} h" if hours >= 2 else f"no prices for {hours * 60:.0f} min"
                axes.annotate(text, (place + 0.5, 0.02), xycoords=("data", "axes fraction"), rotation=90,
                                  ha="right", va="bottom", color=MUTED, fontsize=10,
                                  bbox={"facecolor": PAGE, "alpha": 0.8, "linewidth": 0, "pad": 1})  # fmt: skip


def gaps(times: list[int]) -> list[int]:
    """Places after which there is nothing for far longer than usual."""
    steps = [b - a for a, b in pairwise(times)]
    return [place for place, step in enumerate(steps) if step > 5 * median(steps)]


def axis_money(value: float, _: object = None) -> str:
    for scale, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= scale:
            return f"{value / scale:,.4g}{letter}".replace("-", "−")
    return f"{value:,.4g}".replace("-", "−")


def axis_percent(value: float, _: object = None) -> str:
    return f"{value:,.0f} %".replace("-", "−")


def axis_price(value: float, _: object = None) -> str:
    return f"{value:,.6g}".replace("-", "−") if abs(value) < 1e6 else axis_money(value)
