"""The pages in a real browser, while all that they show moves: what is drawn, how evenly, and what it costs.

    python -m benchmarks.pages [--json]

Beside them, in the same run: the page that asks for a key, which follows nothing, while nobody else follows anything.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.browser import Watched, browser, program, seconds_between, seconds_by_process
from benchmarks.exchange import Walk
from benchmarks.full_scan import PRICES, UNDERLYING, fill_book
from benchmarks.measure import percentiles
from benchmarks.report import main_of, result_of
from benchmarks.serving import RULEBOOK, Process, address, exchange, is_ready, prepare, process, service
from benchmarks.stream_clients import ACCOUNT, Spec
from closeout.core.units import InputError
from closeout.engine.state import State
from closeout.service.access import make_key
from closeout.web.pages import STATIC

ACCOUNTS = 10_000
SECONDS = 600.0
BESIDE = 0.1
"""Of the time of a page, as long as its baseline and as it with further viewers."""
MOVES = 4.0
"""New marks of every contract a second: every topic has something to tell at each of its four looks."""
VIEWERS = 20
POSITIONS = 3
SIZE = {"width": 1440, "height": 900}


@dataclass(frozen=True)
class Shown:
    """A page: where it is, whose key opens it, the topic whose frames are followed to where they are drawn, and for
    which share of the time it is watched."""

    name: str
    path: str
    role: str
    topic: str
    drawn_in: str
    share: float = 1.0


DESK = Shown("Risk desk", "/desk", "desk", "accounts", "[data-testid=accounts]")
PORTFOLIO = Shown("Portfolio", "/", "customer", "account:", "[data-testid=net-liq]", 0.1)
NOTHING = Shown("sign-in page", "/", "", "", "")


@dataclass
class Bench:
    """The running service, the browser and the rows so far."""

    serving: Process
    keys: dict[str, str]
    account: str
    others: list[str]
    folder: Path
    chromium: Any
    seconds: float
    viewers: int = VIEWERS

    def __post_init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.asked: dict[str, int] = {}
        self.url: str = self.serving.said["url"]

    def show(self, shown: Shown) -> None:
        """A row for the page alone and, where it follows something, one for it with further viewers beside it."""
        context = self.chromium.new_context(viewport=SIZE)
        try:
            watched = Watched(context.new_page(), shown.topic, shown.drawn_in)
            watched.open(self.url + shown.path + (f"#key={self.keys[shown.role]}" if shown.role else ""))
            seconds = max(1.0, self.seconds * shown.share)
            short = max(1.0, seconds * BESIDE)
            watched.page.wait_for_timeout(short * 1000)  # it has come to rest: charts are made, code is compiled
            if not shown.role:
                self.rows.append(self._measure(f"{shown.name}, nobody follows anything", watched, short))
                return
            self.rows.append(self._measure(f"{shown.name}, one viewer", watched, seconds))
            command, further = ["-m", "benchmarks.stream_clients"], self._further(watched, seconds)
            with process(command, self.folder / "viewers.log", further):
                row = self._measure(f"{shown.name}, {self.viewers} further viewers", watched, short)
            self.rows.append(row)
        finally:
            context.close()

    def _further(self, watched: Watched, seconds: float) -> str:
        """Viewers that do what the page does: they follow the same topics of the book, and an account each of their
        own; they ask for the same as often."""
        topics = watched.followed()
        shared = [topic for topic in topics if topic != "portfolio" and not topic.startswith("account:")]
        own = self.others[: self.viewers] if shared != topics else []
        polls = {
            path.replace(self.account, ACCOUNT) if own else path: times / seconds for path, times in self.asked.items()
        }
        spec = Spec(
            address(self.url)[1], self.keys["desk"], self.viewers, own, False, seconds, topics=shared, polls=polls
        )
        return msgspec.json.encode(spec).decode()

    def _measure(self, what: str, watched: Watched, seconds: float) -> dict[str, Any]:
        before = watched.held()
        watched.begin()
        browsed, served, at = seconds_by_process(), self.serving.seconds(), time.monotonic()
        watched.page.wait_for_timeout(seconds * 1000)
        took = time.monotonic() - at
        served, browsed = self.serving.seconds() - served, seconds_between(browsed, seconds_by_process())
        found = watched.found()
        self.asked = found["asked"]
        after = watched.held()
        drawn = found["ms"] / 1000
        delays = [round(delay * 1e6) for delay in found["delays"]]
        delay = percentiles(delays) if delays else dict.fromkeys(("p50", "p99", "p99.9", "worst"), 0)
        return {
            "page": what,
            "seconds": round(drawn),
            "updates/s": len(delays) / drawn,
            "frames/s": found["frames"] / drawn,
            "long tasks": len(found["tasks"]),
            "longest ms": round(max(found["tasks"], default=0)),
            **{f"{name} ms": delay[name] / 1e6 for name in ("p50", "p99", "p99.9", "worst")},
            "browser": browsed / took,
            "service": served / took,
            "heap MiB": before["heap"] / 2**20,
            "at the end": after["heap"] / 2**20,
            "DOM nodes": round(after["nodes"]),
            "page KiB": watched.weight() / 1024,
        }


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure; `scale` shrinks accounts and time. Rows: the page and who else watches, updates and animation frames a
    second, long tasks (50 ms and more) and the longest of them, p50, p99, p99.9 and worst delay in ms, the browser's
    and the service's share of a core, the heap at the beginning and at the end, DOM nodes, and the page's weight."""
    _check_parts()
    accounts, seconds = max(200, int(ACCOUNTS * scale)), max(2.0, SECONDS * scale)
    prices = {name: float(PRICES[underlying]) for name, underlying in UNDERLYING.items()}
    walk = Walk({f"PF_{name}": price for name, price in prices.items()}, {}, MOVES, 10 * seconds + 300)
    mine: list[str] = []

    def fill(state: State) -> None:
        fill_book(state, accounts)
        mine.extend(name for name, row in state.book.row.items() if len(state.holdings(row)) == POSITIONS)

    with tempfile.TemporaryDirectory() as place, exchange(walk, Path(place)) as venue:
        products = {name: f"PF_{name}" for name in prices}
        made = prepare(Path(place), venue.said["url"], products, prices, fill, VIEWERS + 10)
        text, key = make_key("customer", "Casey Customer", "customer", mine[:1], per_minute=10_000_000)
        with made.config.open("a", encoding="utf-8") as config:
            config.write(f"{key.as_table()}\n")
        with service(made) as serving, browser() as chromium:
            keys = {**made.keys, "customer": text}
            bench = Bench(serving, keys, mine[0], mine[1:], Path(place), chromium, seconds)
            for shown in (NOTHING, DESK, PORTFOLIO):
                bench.show(shown)
            assert is_ready(serving.said["url"])
    result = result_of(
        workload=f"a page of {SIZE['width']} x {SIZE['height']} on {accounts:,} accounts with 2 to 4 positions each "
        f"under {RULEBOOK}, the Portfolio's with {POSITIONS}; all 13 contracts move {MOVES:g} times a second, so that "
        "every topic has news at each of its four looks a second",
        method="`closeout serve` in a process of its own, Chromium without a screen, the marks from a third; "
        f"{seconds:g} s the desk, a tenth of that the Portfolio, each a tenth of its time more with further viewers, "
        "which do what the page does without a browser; before that nobody; update: a frame of the account table's "
        "topic (of the account's) was drawn; delay: from when its document was worked out until it was drawn; long "
        "task: the page's thread was busy for 50 ms or more; browser and service: shares of a core, the browser's of "
        "all its processes; heap: JavaScript's, after a collection",
        rows=bench.rows,
    )
    return result | {"figures": _figures(bench)}


def _check_parts() -> None:
    """`InputError` where the pages or a browser are missing."""
    try:
        program()
    except InputError as missing:
        raise InputError(f"bench pages: {missing}") from None
    if not (STATIC / "index.html").is_file():
        raise InputError("bench pages: the pages are not built; python hatch_build.py does it")


def _figures(bench: Bench) -> dict[str, float]:
    """What each viewer costs the service."""
    nobody, *rows = (row["service"] for row in bench.rows)
    found: dict[str, float] = {"the service's share of a core with no viewer": nobody}
    for shown, one, many in zip((DESK, PORTFOLIO), rows[::2], rows[1::2], strict=True):
        found[f"the first viewer of the {shown.name} adds"] = one - nobody
        found[f"each further viewer of the {shown.name} adds"] = (many - one) / bench.viewers
    return found


main = main_of(run)

if __name__ == "__main__":
    main()
