"""Fees, debts and liquidations of a day: against the engine's own events, added up by hand, and against the ledger."""

from collections import Counter, defaultdict
from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin
from tests.service.reports.books import CAR, DAYS, edition, happened, keep, rows_of, take_in, week

from closeout.core.times import time_text
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.ledger import FEES, RECEIVABLE, WRITTEN_OFF
from closeout.service.reports.catalogue import REPORTS
from closeout.service.reports.flows import instant_of
from closeout.service.reports.press import sheets
from closeout.service.store import Store

SEEDS = range(4)


def report(store: Store, desk: Desk, date: str, name: str) -> list[dict[str, Any]]:
    return rows_of(store, edition(desk, date), name)


def in_store(store: Store, desk: Desk) -> None:
    keep(store, desk, edition(desk, DAYS[-1]))


# -- fees ----------------------------------------------------------------------------------------------


@pytest.mark.rule("US-22", "G-10")
@pytest.mark.parametrize("seed", SEEDS)
def test_fees_of_a_day_are_its_postings_by_reason(store: Store, seed: int) -> None:
    desk = week(seed)
    in_store(store, desk)
    for date in DAYS:
        taken, returned, number = Counter[str](), Counter[str](), Counter[str]()
        by = defaultdict[str, set[str]](set)
        for _, event in happened(desk, edition(desk, date)):
            if isinstance(event, ev.Posted) and FEES in (event.debit, event.credit):
                (taken if event.credit == FEES else returned)[event.reason] += event.micros
                number[event.reason] += 1
                by[event.reason].add(event.account_id)
        assert report(store, desk, date, "fees") == [
            {"kind": kind, "taken": taken[kind], "returned": returned[kind], "net": taken[kind] - returned[kind],
             "postings": number[kind], "accounts": len(by[kind])}
            for kind in sorted(number)
        ]  # fmt: skip


@pytest.mark.rule("US-22", "G-02")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_fees_of_all_days_are_the_ledger_s(store: Store, seed: int) -> None:
    desk = week(seed)
    in_store(store, desk)
    days = [*DAYS, "2026-06-15"]  # what follows Friday's close is Monday's
    rows = [row for date in days for row in report(store, desk, date, "fees")]
    assert sum(row["net"] for row in rows) == -desk.state.ledger.balances[FEES] > 0
    booked = [row for date in days for row in report(store, desk, date, "liquidations")]
    charged = sum(row["net"] for row in rows if row["kind"] == "liquidation fee")
    assert sum(row["liquidation_fee"] for row in booked) == charged > 0


# -- debts ---------------------------------------------------------------------------------------------


def folded(desk: Desk, until: int) -> dict[str, tuple[int, str, int, int, str]]:
    """Every debt as events up to an instant tell it: owed, status, age, since when, from which receipt."""
    debts: dict[str, tuple[int, str, int, int, str]] = {}
    for at, event in happened(desk):
        if at >= until:
            break
        owed, status, age, since, receipt = debts.get(event.account_id, (0, "", 0, 0, ""))
        match event:
            case ev.DeficitBooked():
                if not owed:
                    status, age, since, receipt = "demanded", 0, at, event.receipt_id
                debts[event.account_id] = (event.total, status, age, since, receipt)
            case ev.ReceivableChanged():
                debts[event.account_id] = (event.total, event.status, event.business_days, since, receipt)
    return debts


@pytest.mark.rule("US-13", "US-22")
@pytest.mark.parametrize("seed", SEEDS)
def test_debts_are_what_the_events_say_and_add_up(store: Store, seed: int) -> None:
    desk = week(seed)
    for date in DAYS:
        made = edition(desk, date)
        keep(store, desk, made)
        before, after = folded(desk, made.day.since), folded(desk, made.day.until)
        rows = {row["account_id"]: row for row in rows_of(store, made, "debts") if row["status"] != "in_debit"}
        owing = {name for debts in (before, after) for name, debt in debts.items() if debt[0]}
        changed = {
            event.account_id
            for _, event in happened(desk, made)
            if isinstance(event, ev.Posted) and RECEIVABLE in (event.debit, event.credit)
        }
        assert rows.keys() == owing | changed
        for name, row in rows.items():
            assert tuple(row[key] for key in ("owed", "status", "age", "since", "receipt_id")) == after[name]
            assert row["opening"] == before.get(name, (0,))[0]
            assert row["opening"] + row["booked"] + row["interest"] - row["paid"] - row["written_off"] == row["owed"]
            assert row["owner"] == f"owner of {name}"


@pytest.mark.rule("US-13", "US-22", "G-02")
@pytest.mark.parametrize("seed", SEEDS)
def test_deficits_are_what_is_still_owed_paid_or_written_off(store: Store, seed: int) -> None:
    desk = week(seed)
    rows: list[dict[str, Any]] = []
    for date in [*DAYS, "2026-06-15"]:
        made = edition(desk, date)
        keep(store, desk, made)
        rows += rows_of(store, made, "debts")
    booked, interest, paid, written = (
        sum(row[key] for row in rows) for key in ("booked", "interest", "paid", "written_off")
    )
    balances = desk.state.ledger.balances
    assert booked == sum(event.micros for event in desk.events(ev.DeficitBooked)) > 0
    assert booked + interest == balances[RECEIVABLE] + paid + written
    assert written == balances[WRITTEN_OFF]
    assert balances[RECEIVABLE] == sum(row["owed"] for row in report(store, desk, "2026-06-15", "debts"))
    receipts = [row for date in [*DAYS, "2026-06-15"] for row in report(store, desk, date, "liquidations")]
    of_receipts = [event.micros for event in desk.events(ev.DeficitBooked) if event.receipt_id]
    assert sum(row["borne_debt"] for row in receipts) == sum(of_receipts)


def in_debt() -> Desk:
    """A falls 637 into debt at noon on Monday."""
    car = flat_margin("50", session="cme_equity", fee_per_contract="1.50")
    desk = Desk("kraken-us", {"contracts": {"CAR": car}}, at=f"{DAYS[0]}T17:00:00Z")
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "1000", owner="Ann")
    desk.trade("A", "CAR", "4", "1000")
    desk.marks(CAR="780")
    desk.close_at("A", "600")
    return desk


@pytest.mark.rule("US-13", "US-22")
@pytest.mark.parametrize(
    ("days", "expected"), [(0, "up to 1 day"), (1, "up to 1 day"), (2, "2 to 5 days"), (6, "over 5 days")]
)
def test_the_ages_of_debts_stand_at_the_top(store: Store, days: int, expected: str) -> None:
    desk = in_debt()
    dates = [*DAYS, "2026-06-15", "2026-06-16"][: days + 1]
    for date in dates[1:]:
        desk.at(f"{date}T12:00:00Z")
        desk.done(c.BusinessDay(date))
    made = edition(desk, dates[-1])
    keep(store, desk, made)
    with store.read() as connection:
        (sheet,) = sheets(connection, connection, made, [REPORTS["debts"]])
    owed = {name: value for name, value, _ in sheet.key if value}
    assert owed == {"owed": desk.micros("637"), f"owed, {expected}": desk.micros("637")}


@pytest.mark.rule("US-13", "US-22")
def test_a_debt_that_comes_after_one_that_was_paid_is_a_new_one(store: Store) -> None:
    desk = in_debt()
    desk.at(f"{DAYS[1]}T12:00:00Z")
    desk.done(c.BusinessDay(DAYS[1]))
    desk.deposit("A", "637")
    desk.at(f"{DAYS[1]}T13:00:00Z")
    desk.deposit("A", "1000")
    desk.marks(CAR="1000")
    desk.hold("A", "CAR", "4", "1000")
    desk.marks(CAR="780")
    desk.close_at("A", "600")
    made = edition(desk, DAYS[1])
    keep(store, desk, made)
    (row,) = rows_of(store, made, "debts")
    (_, last) = desk.events(ev.DeficitBooked)
    assert (row["opening"], row["paid"]) == (desk.micros("637"), desk.micros("637"))
    assert (row["owed"], row["receipt_id"], row["age"]) == (last.micros, last.receipt_id, 0)
    assert time_text(row["since"]) == f"{DAYS[1]}T13:00:00Z"
    made = edition(desk, DAYS[2])
    keep(store, desk, made)
    (row,) = rows_of(store, made, "debts")
    assert (row["opening"], row["owed"], row["paid"]) == (last.micros, last.micros, 0)


@pytest.mark.rule("US-13", "US-22")
def test_who_is_below_zero_with_positions_open_is_in_debit(store: Store) -> None:
    desk = Desk("kraken-us", {"contracts": {"CAR": CAR}}, at=f"{DAYS[0]}T17:00:00Z")
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "1000", owner="Ann")
    desk.hold("A", "CAR", "2", "1000")
    desk.desk("A", "hold")
    desk.marks(CAR="400")
    made = edition(desk, DAYS[0])
    keep(store, desk, made)
    (row,) = rows_of(store, made, "debts")
    assert (row["account_id"], row["status"], row["owed"], row["net_liq"]) == ("A", "in_debit", 0, desk.micros("-200"))


# -- liquidations --------------------------------------------------------------------------------------


@pytest.mark.rule("US-11", "US-22")
@pytest.mark.parametrize("seed", SEEDS)
def test_liquidations_are_the_receipts_of_the_day(store: Store, seed: int) -> None:
    desk = week(seed)
    in_store(store, desk)
    for date in DAYS:
        ended = [
            (at, event) for at, event in happened(desk, edition(desk, date)) if isinstance(event, ev.CloseOutEnded)
        ]
        rows = report(store, desk, date, "liquidations")
        assert [row["receipt_id"] for row in rows] == [event.receipt_id for _, event in ended]
        for row, (at, event) in zip(rows, ended, strict=True):
            receipt, money = event.receipt, desk.money
            fills = [fill for order in receipt["orders"] for fill in order["fills"]]
            assert money(row["trade_fees"]) == money(sum(desk.micros(fill["fee"]) for fill in fills))
            assert money(row["profit"]) == money(sum(desk.micros(fill["profit"]) for fill in fills))
            for key, text in [
                ("net_liq", receipt["trigger"]["net_liq"]), ("requirement", receipt["trigger"]["requirement"]),
                ("line", receipt["trigger"]["line"]), ("liquidation_fee", receipt["liquidation_fee"]),
                ("deficit", receipt["deficit"]), ("borne_debt", receipt["owed"]),
            ]:  # fmt: skip
                assert money(row[key]) == text
            assert row["deficit"] == row["borne_debt"] + row["borne_other_cash"]
            assert (row["ended"], time_text(row["began"])) == (at, receipt["trigger"]["time"])
            assert (row["how"], row["orders"]) == (receipt["end"]["how"], len(receipt["orders"]))


@pytest.mark.rule("US-13", "US-22")
def test_other_cash_of_the_customer_bears_an_isolated_deficit_first(store: Store) -> None:
    desk = Desk("kraken-us", {"contracts": {"CAR": CAR}}, at=f"{DAYS[0]}T17:00:00Z")
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "100", owner="Ann")
    desk.account("A/CAR", parent="A")
    take_in(desk, "A/CAR", "CAR", "2", "1000")
    desk.deposit("A/CAR", "300")
    desk.marks(CAR="850")
    desk.close_at("A/CAR", "700")
    in_store(store, desk)
    (row,) = report(store, desk, DAYS[0], "liquidations")
    assert row["deficit"] == desk.micros("300") + row["trade_fees"] + row["liquidation_fee"]
    assert row["borne_other_cash"] == desk.micros("100")
    (debt,) = report(store, desk, DAYS[0], "debts")
    assert (debt["account_id"], debt["receipt_id"]) == ("A", row["receipt_id"])
    assert debt["owed"] == debt["booked"] == row["borne_debt"] == row["deficit"] - desk.micros("100")


@pytest.mark.rule("US-22", "US-25")
def test_a_correction_is_named_beside_the_receipt_that_it_corrects(store: Store) -> None:
    desk = in_debt()
    (ended,) = desk.events(ev.CloseOutEnded)
    desk.at(f"{DAYS[1]}T12:00:00Z")
    desk.done(c.AdjustCash("A", desk.micros("25"), "carl", "dora", "fee waived", ended.receipt_id))
    in_store(store, desk)
    (row,) = report(store, desk, DAYS[0], "liquidations")
    (correction,) = desk.events(ev.CorrectionIssued)
    assert row["corrected_by"] == correction.receipt_id
    assert report(store, desk, DAYS[1], "liquidations") == []


@pytest.mark.rule("US-22", "US-23")
def test_a_closing_by_the_customer_s_own_brake_is_told_apart(store: Store) -> None:
    desk = Desk("kraken-us", {"contracts": {"CAR": CAR}}, at=f"{DAYS[0]}T17:00:00Z")
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", "5000")
    desk.trade("A", "CAR", "2", "1000")
    desk.done(c.SetRiskSettings("A", c.RiskSettings(daily_loss=desk.micros("100"))))
    desk.marks(CAR="940")
    desk.close_at("A", "940")
    in_store(store, desk)
    (row,) = report(store, desk, DAYS[0], "liquidations")
    assert (row["kind"], row["liquidation_fee"], row["how"]) == ("own_brake", 0, "flat")
    assert row["cause"] == "the customer's own daily loss limit"


@pytest.mark.parametrize("at", [0, 1, 10**9, 1_781_000_000_123_456_789, 1_781_000_000_500_000_000])
def test_a_time_s_text_is_read_to_the_nanosecond(at: int) -> None:
    assert instant_of(time_text(at)) == at
