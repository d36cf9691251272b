"""What people are told: every kind that is emitted has words, and none promises a greatest loss (US-11, US-18)."""

from __future__ import annotations

import ast
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.engine.bench import Desk
from tests.engine.test_receipts import closed_out

from closeout.adapters.notices.letter import Letter, Table
from closeout.adapters.notices.wording import (
    ALARMS,
    KINDS,
    About,
    Shortfall,
    alarm,
    look_ahead,
    look_ahead_list,
    moment,
    notice,
    receivable,
    time_left,
)
from closeout.core.units import USD
from closeout.engine import commands as c
from closeout.engine import events as ev

SOURCES = sorted((Path(__file__).parents[3] / "src" / "closeout").rglob("*.py"))
NOON = 1_781_110_800_000_000_000  # 2026-06-10 17:00:00 UTC
ABOUT = About(NOON, USD, "Firm & Sons")
HOSTILE = '<img src="http://evil.example/x">\u202e{0}{}\r\n\x00&'
TAGS = {"html", "head", "meta", "title", "style", "body", "p", "table", "caption", "tr", "th", "td"}
PROMISES = ("maximum loss", "at most", "no more than", "cannot lose more", "limited to", "worst case", "guarantee")


def receipt_of_a_debt() -> dict[str, Any]:
    return closed_out([("3", "740"), ("1", "730")])[1]


def receipt_of_a_correction() -> dict[str, Any]:
    desk = Desk()
    desk.account("A", "1000")
    desk.done(c.AdjustCash("A", 25_000_000, "eve", "bob", "a wrong fee"))
    (issued,) = desk.events(ev.CorrectionIssued)
    return issued.receipt


def letters() -> dict[str, Letter]:
    """One letter of each kind, with text from outside wherever it can stand."""
    level = ev.LevelChanged(HOSTILE, "normal", "alert", 900_000_000, 800_000_000, 1_000_000_000)
    row = Shortfall(HOSTILE, NOON + 7_500 * 10**9, 1_000_000, 3_000_000, 2_000_000, {HOSTILE: "3", "ETH": None})
    made = {kind: notice(ev.Notice(HOSTILE, kind, HOSTILE), ABOUT) for kind in KINDS}
    return made | {
        "warning": notice(ev.Notice(HOSTILE, "warning", "alert"), ABOUT, level=level),
        "warning at liquidate-only": notice(ev.Notice(HOSTILE, "warning", "liquidate_only"), ABOUT),
        "liquidation": notice(ev.Notice("A", "liquidation", "1-A"), ABOUT, receipt=receipt_of_a_debt()),
        "correction": notice(ev.Notice("A", "correction", "1c-A"), ABOUT, receipt=receipt_of_a_correction()),
        "receivable": receivable(ev.ReceivableChanged(HOSTILE, 5_000_000, "demanded", 2, HOSTILE), ABOUT),
        "look_ahead": look_ahead(row, ABOUT),
        "look_ahead_list": look_ahead_list([row, row], ABOUT),
        "alarm": alarm(ev.Alarm(HOSTILE, "mark_jump", HOSTILE), ABOUT),
    }


@pytest.fixture(scope="module", name="all_letters")
def every_letter() -> dict[str, Letter]:
    return letters()


@cache
def calls() -> list[tuple[str, ast.Call]]:
    """Every call in the package, with the last part of the name that it calls."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES)
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [(getattr(node.func, "attr", "") or getattr(node.func, "id", ""), node) for node in nodes]


def texts(*expressions: ast.expr) -> set[str]:
    """Those of the expressions that are literal texts."""
    return {e.value for e in expressions if isinstance(e, ast.Constant) and isinstance(e.value, str) and e.value}


def alarm_codes() -> set[str]:
    """The codes that the package raises: first of the texts handed to something called alarm, or in a list `alarms`."""
    found: set[str] = set()
    for name, call in calls():
        if name.lower().endswith("alarm"):
            found |= texts(*call.args[:2])
        for keyword in call.keywords:
            if keyword.arg == "alarms":
                tuples = [node for node in ast.walk(keyword.value) if isinstance(node, ast.Tuple)]
                found |= texts(*(pair.elts[0] for pair in tuples))
    return found


@pytest.mark.rule("US-11")
def test_every_kind_of_notice_that_is_emitted_has_words(all_letters: dict[str, Letter]) -> None:
    kinds = {kind for name, call in calls() if name in ("Notice", "GiveNotice") for kind in texts(*call.args[1:2])}
    assert {"warning", "liquidation", "deficit", "correction", "expiry"} <= kinds
    assert kinds <= all_letters.keys()


def test_every_alarm_that_is_raised_is_explained() -> None:
    codes = alarm_codes()
    assert {"unpriced", "mark_jump"} <= codes
    assert codes <= ALARMS.keys()
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


@pytest.mark.rule("US-18")
def test_no_letter_promises_a_greatest_loss(all_letters: dict[str, Letter]) -> None:
    for kind, letter in all_letters.items():
        said = re.sub(r"\s+", " ", letter.text + letter.subject).lower()
        assert [promise for promise in PROMISES if promise in said] == [], kind


@pytest.mark.rule("US-18")
@pytest.mark.parametrize("kind", ["warning", "warning at liquidate-only", "liquidation", "margin_call", "look_ahead"])
def test_letters_before_and_after_a_close_out_say_that_a_debt_can_follow(
    all_letters: dict[str, Letter], kind: str
) -> None:
    assert "A close-out does not cap the loss" in all_letters[kind].text


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.said: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "head"} & {*self.open[-1:]}:
            self.said.append(data)


def flowing(letter: Letter) -> str:
    """The plain text without its line breaks."""
    return re.sub(r"\s+", " ", letter.text)


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w.]{2,}", text))


def test_html_is_whole_escaped_and_loads_nothing(all_letters: dict[str, Letter]) -> None:
    for kind, letter in all_letters.items():
        page = Page(letter.html)
        assert not page.open, kind
        assert page.attributes <= {"lang", "charset", "name", "content", "scope"}, kind
        assert set(page.tags) <= TAGS, kind
        assert "url(" not in letter.html
        assert "@import" not in letter.html
        assert not re.search(r"color: |background|#[0-9a-f]{3}", letter.html)


def test_text_and_html_say_the_same(all_letters: dict[str, Letter]) -> None:
    for kind, letter in all_letters.items():
        page = Page(letter.html)
        assert words(letter.text) <= words(" ".join(page.said)), kind


def test_text_from_outside_cannot_hide_or_turn_anything(all_letters: dict[str, Letter]) -> None:
    for kind, letter in all_letters.items():
        for text in (letter.text, letter.html):
            assert all(sign.isprintable() or sign == "\n" for sign in text), kind
        assert "<img" not in letter.html


@pytest.mark.rule("US-11")
def test_the_mail_of_a_liquidation_has_the_receipts_words_and_numbers() -> None:
    receipt = receipt_of_a_debt()
    letter = notice(ev.Notice("A", "liquidation", receipt["receipt_id"]), ABOUT, receipt=receipt)
    said = flowing(letter)
    assert receipt["words"] in said
    assert receipt["owed"] != "0.00"
    assert letter.subject == f"Account A: positions were closed out, {receipt['owed']} USD owed"
    for part in (
        f"Liquidation fee: {receipt['liquidation_fee']} USD",
        f"Deficit: {receipt['deficit']} USD",
        f"Borne by the customer, as a debt: {receipt['owed']} USD",
        f"Owed, due at once: {receipt['owed']} USD",
        f"Receipt: {receipt['receipt_id']}",
        f"Rulebook: kraken-us, {receipt['rulebook']['version']}",
        "Contract CAR, Mark 780.00, Source cme, Time 2026-06-10T17:01:00Z, Grade ok",
    ):
        assert part in said
    (order,) = receipt["orders"]
    assert len(order["fills"]) == 2
    for fill in order["fills"]:
        assert (
            f"Order {order['order_id']}, Contract CAR, Side sell, Quantity {order['quantity']}, Filled "
            f"{fill['quantity']}, Price {fill['price']}, Time {fill['time']}, Fee {fill['fee']} USD, Result "
            f"{fill['profit']} USD"
        ) in said


def test_an_order_that_did_not_fill_and_an_own_limit_are_told() -> None:
    receipt = closed_out([("4", "780")])[1]
    receipt["orders"].append(receipt["orders"][0] | {"order_id": "late", "fills": []})
    receipt["kind"] = "own_brake"
    letter = notice(ev.Notice("A", "liquidation", "1"), ABOUT, receipt=receipt)
    assert letter.subject == "Account A: positions were closed by your own limit"
    assert "Order late, Contract CAR, Side sell, Quantity 4, Filled nothing" in flowing(letter)


@pytest.mark.rule("US-11")
@pytest.mark.parametrize("kind", ["liquidation", "correction"])
def test_a_mail_about_a_receipt_is_not_made_without_it(kind: str) -> None:
    with pytest.raises(ValueError, match="needs receipt 17-A"):
        notice(ev.Notice("A", kind, "17-A"), ABOUT)


def test_a_kind_without_words_is_not_sent_as_something_else() -> None:
    with pytest.raises(KeyError):
        notice(ev.Notice("A", "news", ""), ABOUT)


def test_amounts_name_their_currency() -> None:
    assert "It owes 150.00 USD now, due at once." in flowing(notice(ev.Notice("A", "deficit", "150.00"), ABOUT))
    assert notice(ev.Notice("A", "margin_call", "9.50"), ABOUT).subject == "Margin call: account A, 9.50 USD"
    letter = receivable(ev.ReceivableChanged("A", 0, "settled", 3, "payment"), ABOUT)
    assert "Nothing is owed any more." in letter.text
    assert "Still owed: 0.00 USD" in letter.text
    level = ev.LevelChanged("A", "normal", "alert", -1, 800_000_000, 1_000_000_000)
    text = notice(ev.Notice("A", "warning", "alert"), ABOUT, level=level).text
    assert "Net liq: -0.000001 USD\n  - Margin requirement: 800.00 USD\n" in text


def test_a_line_of_the_list_goes_through_json_and_comes_back() -> None:
    row = Shortfall("A", NOON, 1, 2, 1, {"MBT": "3", "MET": None})
    assert msgspec.json.decode(msgspec.json.encode([row]), type=list[Shortfall]) == [row]


@pytest.mark.rule("US-27")
def test_the_look_ahead_names_deposit_lots_and_time_left() -> None:
    row = Shortfall("A", NOON + 13_500 * 10**9, 1_000_000_000, 3_000_000_000, 2_000_000_000, {"MBT": "3", "MET": None})
    letter = look_ahead(row, ABOUT)
    said = flowing(letter)
    assert letter.subject == "Account A will be short of margin in 3 h 45 min"
    assert "At 2026-06-10 20:45:00 UTC (15:45 in Chicago), in 3 h 45 min, the margin requirement of account A" in said
    assert "becomes 3000.00 USD" in said
    assert "deposit, at least: 2000.00 USD - close MBT, at least: 3" in said
    assert "MET" not in said  # closing all of it would not clear it
    desk = flowing(look_ahead_list([row], ABOUT))
    assert "1 account is short" in desk
    assert "What clears it deposit, at least 2000.00 USD; or close MBT, at least 3" in desk
    assert "Time left 3 h 45 min" in desk


def test_time_left_rounds_down_and_never_below_nothing() -> None:
    minute = 60 * 10**9
    assert [time_left(n) for n in (-1, 0, minute - 1, minute, 60 * minute - 1, 60 * minute, 125 * minute)] == [
        "0 min", "0 min", "0 min", "1 min", "59 min", "1 h 00 min", "2 h 05 min",
    ]  # fmt: skip


def test_moments_follow_daylight_saving() -> None:
    assert moment(NOON) == "2026-06-10 17:00:00 UTC (12:00 in Chicago)"
    assert moment(NOON + 182 * 86_400 * 10**9) == "2026-12-09 17:00:00 UTC (11:00 in Chicago)"


def test_tables_have_a_cell_for_every_head() -> None:
    with pytest.raises(ValueError, match="zip"):
        _ = Letter("s", [Table("t", [("1",)], ("a", "b"))]).text
