"""The page and the CSV: exact, whole in themselves, safe against what stands in names, and the manual beside them."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.engine.bench import Desk
from tests.service.reports.books import CAR, DAYS, edition, keep, mixed_book, rows_of, week

from closeout.core.times import time_text
from closeout.engine import commands as c
from closeout.service.reports import catalogue
from closeout.service.reports.catalogue import REPORTS, Kind
from closeout.service.reports.page import page, write_csv
from closeout.service.reports.press import press, render, sheets
from closeout.service.store import Store

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reports.md"
VOID = {"meta", "br", "hr"}


class Reader(HTMLParser):
    """Checks that every element is closed, and collects text, attributes and the cells of the table."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def amount(text: str) -> str:
    return text.replace(",", "").replace("−", "-")


@pytest.mark.rule("US-22")
def test_files_of_a_day_hold_every_row_exactly(store: Store, tmp_path: Path) -> None:
    desk = week(0)
    made = edition(desk, DAYS[4])
    keep(store, desk, made)
    press(store, made, tmp_path)
    folder = tmp_path / DAYS[4]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.{form}" for name in REPORTS for form in ("csv", "html")
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []
    for name, report in REPORTS.items():
        header, *lines = csv.reader(io.StringIO((folder / f"{name}.csv").read_text(encoding="utf-8"), newline=""))
        assert header == [column.name for column in report.columns]
        rows = rows_of(store, made, name)
        assert len(lines) == len(rows)
        for line, row in zip(lines, rows, strict=True):
            for text, column in zip(line, report.columns, strict=True):
                value = row[column.name]
                assert text == ("" if value is None else as_text(desk, column.kind, value))
        table = read((folder / f"{name}.html").read_text(encoding="utf-8")).rows
        assert not rows or table[0] == [column.heading for column in report.columns]


def as_text(desk: Desk, kind: Kind, value: Any) -> str:
    match kind:
        case Kind.MONEY:
            return desk.money(value)
        case Kind.TIME:
            return time_text(value)
        case _:
            return str(value)


@pytest.mark.rule("US-22")
@pytest.mark.parametrize("name", list(REPORTS))
def test_a_page_needs_nothing_from_outside_and_says_what_it_is(store: Store, name: str) -> None:
    desk = mixed_book(1)
    made = edition(desk, DAYS[2])
    keep(store, desk, made)
    with store.read() as connection:
        (sheet,) = sheets(connection, connection, made, [REPORTS[name]])
        text = page(sheet, made)
    read(text)
    assert re.search(r"<(script|link|img|iframe|object|base|form)\b|https?:|//\w|url\(|@import|\bon\w+=", text) is None
    report = REPORTS[name]
    for said in (report.title, DAYS[2], "USD", "kraken-us", time_text(made.day.since), time_text(made.day.until),
                 time_text(made.as_of), *report.assumed):  # fmt: skip
        assert catalogue_text(said) in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def catalogue_text(sentence: str) -> str:
    return sentence.replace("&", "&amp;").replace("'", "&#x27;")


@pytest.mark.rule("US-22")
def test_sums_at_the_foot_are_of_all_rows_also_of_those_not_shown(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MOST", 2)
    desk = mixed_book(1)
    made = edition(desk, DAYS[2])
    keep(store, desk, made)
    rows = rows_of(store, made, "undermargined")
    with store.read() as connection:
        (sheet,) = sheets(connection, connection, made, [REPORTS["undermargined"]])
        text = page(sheet, made)
    table = read(text).rows
    assert len(table) == 4  # the head, two rows and the foot
    total = sum(row["undermargined"] for row in rows)
    assert amount(table[-1][5]) == desk.money(total)
    assert f"The first 2 of {len(rows)} rows; undermargined.csv has all." in text


@pytest.mark.rule("US-22")
def test_names_from_outside_are_text_and_nothing_else(store: Store) -> None:
    nasty = '<script>alert("1")</script>&\u202e'
    desk = Desk("kraken-us", {"contracts": {"CAR": CAR}}, at=f"{DAYS[0]}T17:00:00Z")
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.done(c.OpenAccount('A"<b>,\n', owner=nasty))
    desk.deposit('A"<b>,\n', "10")
    made = edition(desk, DAYS[0])
    keep(store, desk, made)
    text = render(store, made, REPORTS["margin"], "html").decode()
    read(text)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\ufffd" in text
    body = render(store, made, REPORTS["margin"], "csv").decode()
    (row,) = csv.DictReader(io.StringIO(body, newline=""))
    assert (row["account_id"], row["owner"]) == ('A"<b>,\n', nasty)


@pytest.mark.rule("US-22")
def test_a_page_says_whether_it_was_made_late_or_is_not_the_day_s_last_word(store: Store) -> None:
    desk = week(1)
    made = edition(desk, DAYS[4])
    keep(store, desk, made)
    with store.read() as connection:
        (sheet,) = sheets(connection, connection, made, [REPORTS["fees"]])
        kept, late, so_far = (page(sheet, one) for one in (made, replace(made, late=True), replace(made, so_far=True)))
    assert f"Made at {time_text(made.made_at)}." in kept
    assert f"Made late at {time_text(made.made_at)}: at {time_text(made.day.due)}, when it was due" in late
    assert f"The report of the day is made at {time_text(made.day.due)}." in so_far
    assert [">made late<" in text for text in (kept, late, so_far)] == [False, True, False]
    assert [">so far<" in text for text in (kept, late, so_far)] == [False, False, True]


def test_a_report_with_nothing_in_it_says_so(store: Store) -> None:
    desk = Desk("kraken-us", at=f"{DAYS[0]}T17:00:00Z")
    made = edition(desk, DAYS[0])
    keep(store, desk, made)
    for name, report in REPORTS.items():
        with store.read() as connection:
            (sheet,) = sheets(connection, connection, made, [report])
            text = page(sheet, made)
            file = io.StringIO(newline="")
            write_csv(file, report, sheet.rows(), made.state.policy.currency)
        read(text)
        if name != "stress":
            assert "There is none." in text
            assert len(file.getvalue().splitlines()) == 1


# -- the manual ----------------------------------------------------------------------------------------


def documented() -> dict[str, list[tuple[str, ...]]]:
    """Of each section named like a report the cells of its table."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        name = part.splitlines()[0].split(":")[0]
        rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \| (.+) \|$", part, re.MULTILINE)
        if rows:
            found[name] = rows
    return found


@pytest.mark.rule("US-17", "US-22")
def test_the_manual_explains_every_column_with_its_rule_and_source() -> None:
    told = documented()
    assert list(told) == list(REPORTS)
    for name, rows in told.items():
        assert [column for column, _, _ in rows] == [column.name for column in REPORTS[name].columns]
        for column, words, source in rows:
            assert len(words) > 10, (name, column)
            assert re.search(r"\b(US|G)-\d\d\b", source), (name, column)
