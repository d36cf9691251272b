"""The terminal: plain lines off a terminal, a picture on one, and the summary."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tests.studies.outcomes import ONE, START, account, run_of

from closeout.core.times import MINUTE
from closeout.studies.screen import PLAIN_EVERY, RiskRow, Screen, progress_bar, summary_text

COUNTS = {"normal": 1200, "alert": 3, "liquidate_only": 2, "liquidating": 1, "closed out": 7}
ROW = RiskRow("A[red]1\x1b[2J", "liquidate_only", "-12.50", "1300.00", "over", "BTCUSDT", "long", "0.15", "12.50")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def played(console: Console, clock: Clock, seconds_a_bar: float, bars: int = 6) -> None:
    screen = Screen(console, clock)
    screen.start(bars, "oct-10 under kraken-us")
    for bar in range(1, bars + 1):
        prices = {"BTCUSDT": f"{110_000 - bar}.50"}
        money = {"fees": "1234.5", "owed": "12.50"}
        screen.update(bar, START + bar * MINUTE, prices, COUNTS, money, [ROW] * 15)
        clock.seconds += seconds_a_bar
    screen.finish()
    screen.finish()


def test_plain_lines_off_a_terminal() -> None:
    out = io.StringIO()
    played(Console(file=out, force_terminal=False, width=60), Clock(), PLAIN_EVERY / 2)
    lines = out.getvalue().splitlines()
    assert lines[0] == "oct-10 under kraken-us: 6 bars"
    assert [line.split(";")[0] for line in lines[1:]] == [f"oct-10 under kraken-us: bar {n} of 6" for n in (1, 3, 5, 6)]
    assert lines[-1].split("; ")[1:] == [
        "21:16 UTC, 16:16 CT", "BTCUSDT 109,994.50", "normal 1,200", "alert 3", "liquidate only 2", "liquidating 1",
        "closed out 7", "fees 1,234.5", "owed 12.50",
    ]  # fmt: skip


def test_the_last_bar_is_told_once() -> None:
    out = io.StringIO()
    played(Console(file=out, force_terminal=False), Clock(), PLAIN_EVERY, bars=2)
    assert out.getvalue().count("bar 2 of 2") == 1


def test_a_picture_on_a_terminal() -> None:
    out = io.StringIO()
    played(Console(file=out, force_terminal=True, width=120, height=40, color_system=None), Clock(), 1.0)
    text = out.getvalue()
    for said in ("6/6 bars", "21:16 UTC, 16:16 CT", "BTCUSDT 109,994.50", "A[red]1\ufffd[2J", "liquidate only",
                 "−12.50", "1,300.00", "long 0.15 BTCUSDT", "closed out 7"):  # fmt: skip
        assert said in text
    assert "\x1b[2J" not in text
    assert text[text.rindex("account ") :].count("A[red]1") == 12
    assert text.endswith("\x1b[?25h")  # the cursor is shown again


def test_nothing_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    played(Screen().console, Clock(), 1.0, bars=1)
    with progress_bar("verifying") as tell:
        tell(1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "bar 1 of 1" in captured.err


@pytest.mark.rule("US-13")
def test_summary_of_two_rulebooks() -> None:
    many = run_of([account(f"A{number:02d}", number * ONE) for number in range(20, 8, -1)])
    none = run_of([account("B1\x1b[2J", after=3 * ONE)], "reference")
    text = summary_text([many, none], Path("out"))
    assert text.startswith(
        "The same accounts at the same prices under 2 rulebooks: beyond margin they lose from nothing\n"
        "(reference) to 174 USD (kraken-us). Under kraken-us the customers owe it.\n"
    )
    lines = [line.split() for line in text.splitlines()]
    for line in ("kraken-us reference", "lost beyond margin 174.00 0.00", "the customers owe it 174.00 -",
                 "worst debt 20.00 0.00", "in USD USD"):  # fmt: skip
        assert line.split() in lines
    assert "12 of 12 accounts were closed out. 12 customers owe 174.00 USD in total" in text
    assert "12 of 12 debts would not be there without fees." in text
    row = "A20      long  BTCUSDT       10.0x  1,000.00   21:12 UTC  105,000.50  103,999.25  30.00  20.00     fees"
    assert row in text
    assert "A11 " in text
    assert "A10 " not in text
    assert "and 2 smaller debts, 19.00 USD together" in text
    assert text.count("- Margin: one window throughout.") == 1  # of both
    assert "Nobody owes anything. Nearest to it came B1\ufffd[2J, left with 3.00 USD." in text
    assert "\x1b" not in text
    assert f"Verify: closeout verify {Path('out') / 'journal.kraken-us.sqlite'} --published " + "e" * 32 in text
    assert f"Report:  {Path('out') / 'report.html'}" in text


@pytest.mark.rule("US-13")
def test_summary_of_one_rulebook() -> None:
    text = summary_text([run_of([account(f"A{number:02d}", number * ONE) for number in range(20, 8, -1)])], "out")
    assert text.splitlines()[1] == "kraken-us        12          12      12  360.00       12  174.00       20.00  USD"
    assert "What these debts rest on:\n- Margin: one window throughout." in text


@pytest.mark.rule("EX-05", "EX-09")
def test_the_other_path_is_told_where_nobody_owes() -> None:
    run = run_of([account("A1", after=3 * ONE)])
    run.other_path = {"debtors": 0, "deficits": {"total": "1234.50", "customers_owe": "0.00"}}
    said = " ".join(summary_text([run], "out").split())
    assert "With the high first 1,234.50 USD would be lost beyond margin, and 0 customers would owe 0.00 USD" in said
    run.other_path = {"debtors": 2, "deficits": {"total": "30.00", "customers_owe": "30.00"}}
    assert "With the high first 2 customers would owe 30.00 USD" in " ".join(summary_text([run], "out").split())


@pytest.mark.rule("EX-04")
def test_the_headline_says_what_winners_gave_beyond_deficits() -> None:
    winner = account("W1", after=900 * ONE)
    winner.adl_amount, winner.adl_beyond = 10 * ONE, 2_500_000
    assert "Deleveraging took 2.50 USD from winners beyond what it covered." in summary_text([run_of([winner])], "out")
    winner.adl_beyond = 0
    assert "Deleveraging" not in summary_text([run_of([winner])], "out")


@pytest.mark.rule("EX-03")
def test_summary_says_that_sums_do_not_agree() -> None:
    run = run_of([account("A1")])
    run.problems = ["taken by deleveraging, and covered by it: 1.00 against 2.00"]
    assert "SUMS DO NOT AGREE: taken by deleveraging, and covered by it: 1.00 against 2.00." in summary_text([run], "o")


def test_summary_says_that_the_books_are_off() -> None:
    run = run_of([account("A1")])
    assert "BALANCE" not in summary_text([run], "out")
    run.ledger_imbalance = 7
    assert "THE BOOKS DO NOT BALANCE: they are off by 0.000007 USD." in summary_text([run], "out")
