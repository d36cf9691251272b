"""A book opened at once is the book that single commands open, and is opened whole or not at all (G-09, US-01)."""

import msgspec
import pytest
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.core.units import MAX_VALUE
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag
from closeout.engine.opening import pack

ACCOUNTS = [("B", 500_000_000), ("A", 10**9), ("nothing", 0), ("D", 10**8)]
POSITIONS = [("B", "BUS", -3, -30_000), ("A", "CAR", 10, 100_000), ("A", "BUS", 2, 20_000), ("D", "CAB", 1, 9_000)]


def desk() -> Desk:
    contracts = {name: flat_margin("10") for name in ("CAR", "BUS", "CAB", "OLD")}
    found = Desk(overrides={"contracts": contracts})
    found.marks(CAR="100", BUS="100", OLD="1")
    found.done(c.Expire("OLD", 100))
    found.account("first", "1000")
    found.hold("first", "BUS", "4", "100")
    return found


@pytest.mark.rule("G-09", "US-01", "G-02")
def test_it_is_what_single_commands_open() -> None:
    """D's contract has no mark, which is told and flagged as after a transfer."""
    whole, single = desk(), desk()
    events = whole.done(pack(ACCOUNTS, POSITIONS))
    told: list[ev.AnyEvent] = []
    for account_id, cash in ACCOUNTS:
        told += single.done(c.OpenAccount(account_id))
        told += single.done(c.Deposit(account_id, cash)) if cash else []
    for owner, name, lots, cost in POSITIONS:
        told += single.done(c.TransferPosition(owner, name, lots, cost, last=owner != "A" or name == "BUS"))
    assert events == sorted(told, key=lambda event: event.account_id)
    assert whole.facts_only() == single.facts_only()
    assert whole.has("D", Flag.UNPRICED)
    assert whole.position("first", "BUS") == "4"
    assert whole.state.contracts["BUS"].largest == 4


@pytest.mark.rule("G-09")
def test_accounts_without_positions_leave_what_others_hold() -> None:
    found = desk()
    found.done(pack([("A", 5)], []))
    found.done(pack([], []))
    assert (found.cash("A"), found.position("first", "BUS")) == ("0.000005", "4")


@pytest.mark.rule("US-09")
def test_who_is_below_a_line_is_judged_at_once() -> None:
    found = desk()
    positions = [(owner, "CAR", lots, found.facts("CAR").value(10_000, lots)) for owner, lots in (("E", 50), ("F", 1))]
    events = found.done(pack([("E", 10**8), ("F", 10**9)], positions))
    assert [event.account_id for event in of(events, ev.CloseOutOrder)] == ["E"]
    assert (found.level("E"), found.level("F")) == (Level.LIQUIDATING, Level.NORMAL)


@pytest.mark.rule("G-09", "G-01")
@pytest.mark.parametrize(
    ("accounts", "positions", "code"),
    [
        ([("A", 1), ("first", 1)], [], "duplicate_account"),
        ([("A", 1), ("suspense", 1)], [], "duplicate_account"),
        ([("", 1)], [], "duplicate_account"),
        ([("A", -1)], [], "out_of_bounds"),
        ([("A", MAX_VALUE + 1)], [], "out_of_bounds"),
        ([("A", 1)], [("A", "SHIP", 1, 1)], "unknown_contract"),
        ([("A", 1)], [("A", "OLD", 1, 1)], "expired_contract"),
        ([("A", 1)], [("A", "CAR", 1, 1), ("A", "BUS", 0, 0)], "zero_quantity"),
        ([("A", 1)], [("A", "CAR", 1, 1), ("A", "CAR", 1, 1)], "position_twice"),
        ([("A", 1)], [("A", "CAR", 1, -MAX_VALUE - 1)], "out_of_bounds"),
        ([("A", 1)], [("A", "CAR", -(2**63), 1)], "out_of_bounds"),
        ([("A", 1)], [("A", "CAB", 2**50, 1)], "out_of_bounds"),
    ],
)
def test_what_cannot_be_taken_is_refused_whole(
    accounts: list[tuple[str, int]], positions: list[tuple[str, str, int, int]], code: str
) -> None:
    assert desk().refused(pack(accounts, positions)) == code


@pytest.mark.rule("G-09")
@pytest.mark.parametrize(
    "change",
    [
        {"cash": b""},
        {"lots": b"1234567"},
        {"lots": b""},
        {"account": b"\2" + bytes(7)},
        {"account": b"\xff" * 8},
        {"contracts": ()},
    ],
)
def test_columns_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    book = pack([("A", 1), ("B", 1)], [("A", "CAR", 1, 1)])
    assert desk().refused(msgspec.structs.replace(book, **change)) == "bad_book"


@pytest.mark.rule("G-09")
def test_an_account_that_stands_twice_is_refused() -> None:
    book = pack([("A", 1), ("B", 1)], [])
    assert desk().refused(msgspec.structs.replace(book, account_ids=("A", "A"))) == "duplicate_account"
