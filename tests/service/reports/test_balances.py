"""Margin and undermargined accounts: each figure against the account judged alone, and against sums done by hand."""

from typing import Any

import pytest
from tests.engine.bench import Desk
from tests.service.reports.books import CAR, DAYS, edition, keep, mixed_book, rows_of, week

from closeout.core.margin import MarginKind
from closeout.engine import commands as c
from closeout.engine.book import SUSPENSE, Flag
from closeout.service.reports.balances import in_memory
from closeout.service.reports.catalogue import REPORTS
from closeout.service.reports.figures import account_days
from closeout.service.reports.press import sheets
from closeout.service.store import Store

MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = DAYS


def alone(desk: Desk, row: int) -> dict[str, Any]:
    """A row of the margin report from one account's own assessment."""
    state, risk = desk.state, desk.state.risk(row)
    holdings, money = state.holdings(row), state.money(row)
    worn = int(state.book.flags[row])
    usage = None
    if risk.requirement:
        tenths_of_a_basis_point = -(-risk.requirement * 10_000 // risk.net_liq) if risk.net_liq > 0 else 0
        usage = f"{tenths_of_a_basis_point / 10_000:.4f}" if risk.net_liq > 0 else "over"
    return {
        "account_id": state.book.ids[row],
        "owner": state.book.owner.get(row) or state.book.owner.get(state.book.parent.get(row, -1), ""),
        "net_liq": risk.net_liq,
        "requirement": risk.requirement,
        "initial": sum(holding.margin(MarginKind.INITIAL) for holding in holdings),
        "maintenance": sum(holding.margin(MarginKind.MAINTENANCE) for holding in holdings),
        "excess": risk.net_liq - risk.requirement,
        "usage": usage,
        "level": state.level(row).name.lower(),
        "flags": " ".join(flag.label for flag in Flag if worn & flag and flag is not Flag.INITIAL_ONLY),
        "cash": money.cash,
        "accrued": money.accrued,
        "pending": money.pending_fees,
        "receivable": money.receivable,
        "liquidations": int(state.book.liquidations[row]),
    }


def kept_rows(desk: Desk) -> list[int]:
    book = desk.state.book
    rows = [row for row in range(book.count) if book.ids[row] != SUSPENSE]
    return [row for row in rows if row not in book.parent or desk.state.holdings(row) or desk.state.money(row).sum]


@pytest.mark.rule("US-22")
@pytest.mark.parametrize("seed", [1, 2])
def test_the_margin_report_says_of_every_account_what_it_is_judged_by(store: Store, seed: int) -> None:
    desk = mixed_book(seed)
    made = edition(desk, WEDNESDAY)
    keep(store, desk, made)
    rows = rows_of(store, made, "margin")
    assert rows == sorted((alone(desk, row) for row in kept_rows(desk)), key=lambda row: row["account_id"])
    assert any(row["initial"] > row["maintenance"] > 0 for row in rows)
    assert {row["level"] for row in rows} >= {"normal", "liquidating"}
    assert any("unpriced" in row["flags"] for row in rows)
    assert any("/" in row["account_id"] and row["owner"] for row in rows)


@pytest.mark.rule("US-22")
def test_the_page_of_margin_begins_with_the_largest_deficits_and_adds_up(store: Store) -> None:
    desk = mixed_book(1)
    made = edition(desk, WEDNESDAY)
    keep(store, desk, made)
    with store.read() as connection:
        (sheet,) = sheets(connection, connection, made, [REPORTS["margin"]])
    rows = [alone(desk, row) for row in kept_rows(desk)]
    assert [row[6] for row in sheet.shown] == sorted(row["excess"] for row in rows)
    short = [row["excess"] for row in rows if row["excess"] < 0]
    key = {name: value for name, value, _ in sheet.key}
    assert key["accounts"] == len(rows)
    assert key["net liq of all"] == sum(row["net_liq"] for row in rows)
    assert key["required of all"] == sum(row["requirement"] for row in rows)
    assert (key["accounts in deficit"], key["their deficits"]) == (len(short), -sum(short))
    assert key["normal"] == sum(row["level"] == "normal" for row in rows)


def test_a_day_that_is_not_over_is_reported_from_memory_alike(store: Store) -> None:
    desk = mixed_book(2)
    made = edition(desk, WEDNESDAY)
    keep(store, desk, made)
    reports = [REPORTS[name] for name in ("margin", "undermargined", "debts")]
    with store.read() as connection, in_memory(WEDNESDAY, account_days(made.state)) as days:
        live = [list(sheet.rows()) for sheet in sheets(days, connection, made, reports)]
        kept = [list(sheet.rows()) for sheet in sheets(connection, connection, made, reports)]
    assert live == kept
    assert live[0]


# -- undermargined accounts and calls ------------------------------------------------------------------


def called_up(cash: str = "380") -> Desk:
    """Two contracts of 200 maintenance and 300 initial margin each."""
    desk = Desk("kraken-us", {"contracts": {"CAR": CAR}}, at=f"{MONDAY}T15:00:00Z")
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", cash, owner="Ann")
    desk.hold("A", "CAR", "2", "1000")
    return desk


def reported(store: Store, desk: Desk, date: str, moment: str) -> list[dict[str, Any]]:
    """The report of a day as it is made at a moment, on all that happened until then."""
    desk.at(moment)
    desk.done(c.Tick())
    made = edition(desk, date)
    keep(store, desk, made)
    return rows_of(store, made, "undermargined")


@pytest.mark.rule("US-17", "US-22")
def test_a_call_is_reported_from_the_shortfall_to_the_capital_charge(store: Store) -> None:
    """Undermargined at Monday's close: called on Tuesday, not met at Wednesday's close, charged from that report on."""
    desk = called_up()
    micros = desk.micros
    told: list[tuple[Any, ...]] = []
    for date in DAYS[:4]:
        if date != MONDAY:
            desk.at(f"{date}T12:00:00Z")
            desk.done(c.BusinessDay(date))
        if date == WEDNESDAY:
            desk.marks(CAR="950")
        (row,) = reported(store, desk, date, f"{date}T22:30:00Z")
        assert (row["account_id"], row["owner"], row["maintenance"], row["initial"]) == (
            "A", "Ann", micros("400"), micros("600"),
        )  # fmt: skip
        told.append(tuple(row[name] for name in ("net_liq", "undermargined", "called", "call_age", "capital_charge")))
    assert told == [
        (micros("380"), micros("20"), None, None, 0),
        (micros("380"), micros("20"), micros("220"), 1, 0),
        (micros("280"), micros("120"), micros("220"), 2, micros("120")),
        (micros("280"), micros("120"), micros("320"), 3, micros("120")),
    ]


@pytest.mark.rule("US-17", "US-22")
def test_before_the_close_of_its_second_day_a_call_is_not_charged(store: Store) -> None:
    desk = called_up()
    for date in (TUESDAY, WEDNESDAY):
        desk.at(f"{date}T12:00:00Z")
        desk.done(c.BusinessDay(date))
    (before,) = reported(store, desk, WEDNESDAY, f"{WEDNESDAY}T20:59:59Z")
    (after,) = reported(store, desk, WEDNESDAY, f"{WEDNESDAY}T21:00:00Z")
    assert (before["call_age"], before["capital_charge"]) == (2, 0)
    assert (after["call_age"], after["capital_charge"]) == (2, desk.micros("20"))


@pytest.mark.rule("US-17", "US-22")
def test_a_call_that_was_met_is_told_once_and_one_that_is_between_the_margins_is_not_charged(store: Store) -> None:
    desk = called_up()
    desk.at(f"{TUESDAY}T12:00:00Z")
    desk.done(c.BusinessDay(TUESDAY))
    desk.deposit("A", "100")  # above maintenance, below initial margin
    (row,) = reported(store, desk, TUESDAY, f"{TUESDAY}T22:30:00Z")
    assert (row["call_status"], row["undermargined"], row["capital_charge"]) == ("issued", 0, 0)
    desk.at(f"{WEDNESDAY}T12:00:00Z")
    desk.done(c.BusinessDay(WEDNESDAY))
    (row,) = reported(store, desk, WEDNESDAY, f"{WEDNESDAY}T20:00:00Z")
    assert (row["call_age"], row["called"], row["capital_charge"]) == (2, desk.micros("120"), 0)
    desk.deposit("A", "120")
    (row,) = reported(store, desk, WEDNESDAY, f"{WEDNESDAY}T22:30:00Z")
    assert (row["call_status"], row["called"]) == ("met", 0)
    assert reported(store, desk, THURSDAY, f"{THURSDAY}T22:30:00Z") == []


@pytest.mark.rule("US-17", "US-22")
def test_a_second_call_on_the_day_the_first_was_met_counts_its_account_once(store: Store) -> None:
    desk = called_up()
    desk.at(f"{TUESDAY}T12:00:00Z")
    desk.done(c.BusinessDay(TUESDAY))
    desk.at(f"{TUESDAY}T22:00:00Z")  # after the close: it belongs to Wednesday
    desk.deposit("A", "250")
    desk.marks(CAR="850")
    desk.at(f"{WEDNESDAY}T12:00:00Z")
    desk.done(c.BusinessDay(WEDNESDAY))
    met, standing = reported(store, desk, WEDNESDAY, f"{WEDNESDAY}T22:30:00Z")
    assert (met["call_status"], met["undermargined"], met["capital_charge"]) == ("met", None, None)
    assert (standing["call_status"], standing["undermargined"]) == ("issued", desk.micros("70"))
    assert met["call_id"] != standing["call_id"]


@pytest.mark.rule("US-17", "US-22")
def test_what_is_below_zero_is_a_debit_and_no_part_of_the_undermargined_amount(store: Store) -> None:
    desk = called_up("1000")
    desk.desk("A", "hold")
    desk.marks(CAR="450")
    (row,) = reported(store, desk, MONDAY, f"{MONDAY}T22:30:00Z")
    assert row["net_liq"] == desk.micros("-100")
    assert (row["undermargined"], row["debit"]) == (desk.micros("400"), desk.micros("100"))


@pytest.mark.rule("US-17", "US-22")
@pytest.mark.parametrize("seed", range(3))
def test_who_is_below_maintenance_margin_is_in_the_report_and_nobody_else(store: Store, seed: int) -> None:
    desk = week(seed)
    made = edition(desk, FRIDAY)
    keep(store, desk, made)
    rows = {row["account_id"]: row for row in rows_of(store, made, "undermargined") if row["net_liq"] is not None}
    every = [alone(desk, row) for row in kept_rows(desk)]
    below = [row for row in every if row["net_liq"] < row["maintenance"] and row["maintenance"]]
    lacking = {row["account_id"]: row["maintenance"] - row["net_liq"] for row in below}
    assert {name: row["undermargined"] + row["debit"] for name, row in rows.items() if row["undermargined"]} == lacking
    standing = {desk.state.book.ids[row]: call for row, call in desk.state.book.calls.items()}
    told = {name: row for name, row in rows.items() if row["call_status"] in ("issued", "aged")}
    assert {name: (row["call_id"], row["called"], row["call_age"]) for name, row in told.items()} == {
        name: (call.call_id, call.micros, call.business_days) for name, call in standing.items()
    }
