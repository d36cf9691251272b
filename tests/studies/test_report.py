"""The report: whole in one file, exact, safe with any name, and plain when there is nothing to tell."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.studies.outcomes import BARS, MARKET, ONE, START, account, run_of

from closeout.core.times import MINUTE
from closeout.core.units import CURRENCIES, MAX_VALUE
from closeout.studies.outcome import Run
from closeout.studies.report import write_report
from closeout.studies.report_figures import LEVERAGE_BUCKETS, leverage_bucket
from closeout.studies.wording import clean, debt_sentence, grouped, headline

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page: its text, its `data` values, ids, links and tags; `faults` are elements that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.values: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self.faults += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "href", "action", "data", "poster", "srcset"):
                self.links.append(value or "")
            elif name == "value" and tag == "data":
                self.values.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def written(folder: Path, *runs: Run, title: str = "oct-10") -> tuple[str, Page]:
    path = folder / "report.html"
    write_report(path, list(runs), title=title, market=MARKET)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.faults == []
    assert sorted(set(page.ids)) == sorted(page.ids)
    return text, page


def debtors() -> Run:
    owed = (("A1", 120_500_001), ("B<2>", 25 * ONE), ("C3", 7))
    return run_of([*(account(name, micros) for name, micros in owed), account("D4", after=900 * ONE)])


def test_the_page_is_whole_in_one_file(tmp_path: Path) -> None:
    text, page = written(tmp_path, debtors(), run_of([account("A1")], "reference"))
    assert re.findall(r"https?:|//[a-z]+\.|@import|@font-face|xmlns", text) == []
    assert [link for link in page.links if not link.startswith("#")] == []
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert {"script", "link", "iframe", "img", "object"}.isdisjoint(page.tags)
    for target in re.findall(r"url\(#([^)]+)\)", text):
        assert target in page.ids


def test_figures_take_their_colours_from_the_page(tmp_path: Path) -> None:
    text, page = written(tmp_path, debtors())
    assert page.tags.count("svg") == 6  # price twice, equity, money, leverage, moment
    body = text.partition("</style>")[2]
    assert re.findall(r"#(0\d)\1\1", body) == []
    used = set(re.findall(r"var\(--(\w+)\)", body))
    assert {"ink", "muted", "grid", "band", "price", "calm", "debt"} <= used
    defined = set(re.findall(r"--(\w+):", text.partition("</style>")[0]))
    assert used <= defined


@pytest.mark.rule("US-13")
def test_debtors_and_exact_amounts(tmp_path: Path) -> None:
    run = debtors()
    text, page = written(tmp_path, run)
    for amount in ("120.500001", "25.00", "0.000007", "145.500008", "10000.00", "105000.50", "103999.25"):
        assert amount in page.values
    assert "4 accounts were closed out. 3 customers owe 145.500008 USD in total; the worst, A1," in text
    assert "Receipt in words for A1." in text
    assert "3 of 4" in text
    assert "2 of 3 debts would not be there without fees" in text
    order = [text.index(f">{name}</bdi></th>") for name in ("A1", "B&lt;2&gt;", "C3")]
    assert order == sorted(order)
    assert "D4</bdi></th>" not in text


@pytest.mark.rule("EX-03")
def test_what_the_fund_and_the_takers_kept_is_a_figure_of_its_own(tmp_path: Path) -> None:
    one = account("A1", after=0)
    text, _ = written(tmp_path, run_of([one]))
    assert "kept by" not in text
    one.fund_kept, one.left_with_takers = 1_250_000, 7_500_000
    text, page = written(tmp_path, run_of([one]))
    assert {"1.25", "7.50"} <= set(page.values)
    assert "kept by the insurance fund, USD" in text
    assert "left with the takers, USD" in text


def test_nobody_owes(tmp_path: Path) -> None:
    run = run_of([account("A1", after=12_345_678), account("B2", after=500 * ONE)])
    text, page = written(tmp_path, run)
    assert (
        "0 of 2 accounts were closed out. Nobody owes anything. Nearest to it came A1, left with 12.345678 USD." in text
    )
    assert "No account ended in debt." in text
    assert page.tags.count("svg") == 3  # the price twice and equity: no empty charts
    assert "Who owes" not in text


def test_without_any_account_or_price(tmp_path: Path) -> None:
    turned_away = account("A1")
    turned_away.flags = ("not_admitted",)
    run = run_of([turned_away])
    run.prices, run.equity = [], {}
    text, page = written(tmp_path, run)
    assert "No account was admitted under kraken-us" in text
    assert "1 more not admitted" in text
    assert "svg" not in page.tags


@pytest.mark.rule("EX-09")
def test_rulebooks_side_by_side(tmp_path: Path) -> None:
    other = run_of([account("A1", 3 * ONE)], "reference:wide", CURRENCIES["USDT"])
    text, page = written(tmp_path, debtors(), other)
    table = text[text.index("side by side") : text.index("<section")]
    assert "145.500008" in table
    assert "3.00" in table
    assert "USDT" in table
    assert "closeout verify journal.kraken-us.sqlite --published " + "e" * 32 in text
    assert "closeout verify journal.reference.wide.sqlite" in text
    assert {"run0", "run1"} <= set(page.ids)


def test_assumptions_sources_and_digests(tmp_path: Path) -> None:
    run = debtors()
    run.path_assumed, run.other_path = "low_first", {"path": "high_first", "deficits": {"total": "99.5"}, "digest": "0"}
    text, page = written(tmp_path, run)
    words = " ".join(" ".join(page.words).split())
    for said in ("one window throughout.", "fill book, latency ms 500.", "within a bar, low first.", "total 99.5",
                 "close out queued", "ab" * 32, "f" * 64, "d" * 64, "1,234, 5,678", "Not affiliated"):  # fmt: skip
        assert said in words
    assert "closeout verify journal.sqlite --published " + "e" * 32 in text
    assert "do not balance" not in text
    run.ledger_imbalance = -5
    assert "The books do not balance: they are off by" in written(tmp_path, run)[0]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x>', "a$b$c&amp;", "\u202eevil\x1b[31m\x00", "客户" * 60]
)
def test_a_name_is_text_and_nothing_else(tmp_path: Path, name: str) -> None:
    run = run_of([account(name, 5 * ONE), account("B2")], rulebook=name[:20])
    run.assumptions, run.alarms = [f"Margin: {name}"], {name: 1}
    run.prices[0].contract = run.orders[0].contract = name
    text, page = written(tmp_path, run, title=name)
    assert {"script", "img"}.isdisjoint(page.tags)
    assert not any(sign in text for sign in "\u202e\x1b\x00")
    assert clean(name) in "".join(page.words)


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("code", ["USD", "BTC"])
def test_huge_and_tiny_numbers(tmp_path: Path, code: str) -> None:
    run = run_of([account("A1", MAX_VALUE), account("B2", 1)], currency=CURRENCIES[code])
    text, page = written(tmp_path, run)
    exact = CURRENCIES[code].text(MAX_VALUE + 1)
    assert exact in page.values
    assert f"owe {grouped(exact)} {code} in total" in text


def test_negative_prices_and_a_shut_market(tmp_path: Path) -> None:
    run = debtors()
    path = run.prices[0]
    for prices in (path.open, path.high, path.low, path.close):
        prices[:] = [f"-{price}" for price in prices]
    path.low, path.high = path.high, path.low
    path.times[BARS // 2 :] = [time + 49 * 60 * MINUTE for time in path.times[BARS // 2 :]]
    assert "no prices for 49 h" in written(tmp_path, run)[0]


def test_thousands_of_debtors_stay_small(tmp_path: Path) -> None:
    run = run_of([account(f"P{number:05d}", number * ONE + 1) for number in range(1, 5001)])
    for index, (order, closed) in enumerate(zip(run.orders, run.liquidated, strict=True)):
        closed.liquidated_at = order.time = START + index % BARS * MINUTE
        order.fill_price = f"{103_000 + index}.25"
    text, page = written(tmp_path, run)
    assert len(text.encode()) < 2_000_000
    assert page.values.count("5000.000001") >= 2
    assert "4,500 smaller debts" in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    first, _ = written(tmp_path, debtors())
    assert written(tmp_path, debtors())[0] == first


def test_an_isolated_positions_receipt_and_order_belong_to_its_owner(tmp_path: Path) -> None:
    run = debtors()
    run.receipts[0]["account_id"] = run.orders[0].account_id = "A1/BTCUSDT"
    text, _ = written(tmp_path, run)
    assert "Receipt in words for A1." in text
    assert "A1 owes 120.50" in text


def test_leverage_buckets() -> None:
    usual = {"1.0": 0, "2.0": 0, "3.0": 1, "5.0": 1, "10.0": 2, "20.0": 3, "25.0": 3, "50.1": 4, "100.4": 5, "-": 5}
    assert {leverage: leverage_bucket(leverage) for leverage in usual} == usual
    assert len(LEVERAGE_BUCKETS) == 6


def test_wording() -> None:
    assert grouped("-1234567.8900") == "−1,234,567.8900"
    assert grouped("0.000001") == "0.000001"
    assert grouped("high_first") == "high_first"
    assert (
        headline(run_of([account("A1", 5 * ONE)]))
        == "1 of 1 account was closed out. One customer owes money: A1, 5.00 USD."
    )
    sentence = debt_sentence(run_of([]), account("A1", 5 * ONE))
    assert sentence == (
        "A1 owes 5.00 USD: long BTCUSDT at 10.0x on 1,000.00 USD of its own, closed out at 21:12 UTC, 16:12 CT at "
        "103,999.25, where 105,000.50 was the liquidation price; fees took 30.00 USD, without which 25.00 USD would "
        "have been left."
    )
