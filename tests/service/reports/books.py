"""Stories to report on: lived through by the real engine, and told again as batches for a store."""

import datetime as dt
import random
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from typing import Any

from tests.engine.bench import Desk, flat_margin

from closeout.core.units import RATE
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.engine import Engine
from closeout.service.applied import Applied
from closeout.service.reports.calendar import Calendar, ReportDay
from closeout.service.reports.catalogue import REPORTS
from closeout.service.reports.edition import Edition
from closeout.service.reports.figures import account_days, freeze
from closeout.service.reports.press import sheets
from closeout.service.schedule import Schedule
from closeout.service.store import Store

TIER = {"notional_from": "0", "intraday_margin": "50", "initial_margin": "300", "maintenance_margin": "200"}
CAR = {"tick": "0.01", "lot": "1", "tiers": [TIER], "session": "cme_equity", "fee_per_contract": "1.50"}
DAYS = [f"2026-06-{date:02}" for date in (8, 9, 10, 11, 12)]
"""Monday to Friday."""


def calendar(desk: Desk, reports_at: str = "17:30") -> Calendar:
    return Calendar(Schedule(desk.rulebook, "07:00"), reports_at)


def day_of(desk: Desk, date: str) -> ReportDay:
    found = calendar(desk).day(dt.date.fromisoformat(date))
    assert found is not None
    return found


def edition(desk: Desk, date: str, **more: Any) -> Edition:
    return Edition(day_of(desk, date), freeze(desk.state), desk.time, **more)


def batch_of(desk: Desk) -> list[Applied]:
    """All that the desk's engine was given, with what followed from it."""
    engine = Engine()
    return [Applied(seq, given, engine.apply(given)) for seq, given in enumerate(desk.inputs, 1)]


def rows_of(store: Store, made: Edition, name: str) -> list[dict[str, Any]]:
    """A report's rows by the names of its columns; the day's accounts are in the store."""
    with store.read() as connection:
        (sheet,) = sheets(connection, connection, made, [REPORTS[name]])
        rows = list(sheet.rows())
    assert sheet.count == len(rows)
    names = [column.name for column in sheet.report.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


def keep(store: Store, desk: Desk, made: Edition) -> None:
    """The whole story, and the day's accounts, into the store."""
    store.project(batch_of(desk))
    store.record_day(made.day.text, account_days(made.state))


def happened(desk: Desk, made: Edition | None = None) -> list[tuple[int, ev.AnyEvent]]:
    """The events with their times; those of the day."""
    told = [(item.input.time, event) for item in batch_of(desk) for event in item.events]
    return [(at, event) for at, event in told if made is None or made.day.since <= at < made.day.until]


# -- a book of all kinds of accounts -------------------------------------------------------------------

MARKS = {"PBTCUCZ50": "60000", "PSOLUZ50": "150", "CAR": "1000", "MBT": "60000"}


@cache
def mixed_book(seed: int, accounts: int = 40) -> Desk:
    """Cross and isolated positions with and without leverage, long and short, near their lines, some without a mark."""
    chance = random.Random(seed)
    desk = Desk("kraken-us", {"contracts": {"CAR": CAR, "DUE": CAR}})
    desk.session("bitnomial")
    desk.session("cme_crypto", "end_of_day")
    desk.session("cme_equity")
    desk.marks(**MARKS)
    _debtors(desk, chance)
    for number in range(accounts):
        name = f"A{number:02}"
        desk.done(c.OpenAccount(name, owner=chance.choice(["", "Ann", "Bob"]), leverage=_leverage(chance)))
        desk.deposit(name, str(chance.randrange(10, 20_000)))
        for contract in chance.sample([*MARKS, "DUE"], chance.randrange(4)):
            _hold(desk, chance, name, contract)
        desk.marks(CAR=MARKS["CAR"])
        for contract in chance.sample(list(MARKS), chance.choice([0, 0, 1, 2])):
            child = f"{name}/{contract}"
            desk.done(c.OpenAccount(child, parent=name))
            _hold(desk, chance, child, contract)
            desk.deposit(child, str(chance.randrange(10, 9_000)))
    return desk


def _debtors(desk: Desk, chance: random.Random) -> None:
    """Three who owe something, of whom two hold something again."""
    for name in ("D1", "D2", "D3"):
        desk.account(name, "400")
        desk.hold(name, "CAR", "2", "1000")
    desk.marks(CAR="810")
    for name in ("D1", "D2", "D3"):
        desk.close_at(name, "700")
    desk.marks(CAR=MARKS["CAR"])
    for name in ("D1", "D2"):
        _hold(desk, chance, name, "CAR")


def _hold(desk: Desk, chance: random.Random, name: str, contract: str) -> None:
    price = Decimal(MARKS.get(contract, "1000"))
    near = (price * Decimal(chance.randrange(95, 106)) / 100).quantize(Decimal(1))
    take_in(desk, name, contract, str(chance.choice([-20, -9, -2, -1, 1, 3, 9, 20])), str(near))


def take_in(desk: Desk, name: str, contract: str, quantity: str, price: str) -> None:
    """Bring a position in; the account is judged with what comes next, such as the cash for it."""
    facts, lots = desk.facts(contract), desk.lots(contract, quantity)
    desk.done(c.TransferPosition(name, contract, lots, facts.cost_of(Decimal(price), lots), last=False))


def _leverage(chance: random.Random) -> dict[str, int]:
    values = [2 * RATE, 10 * RATE, 123_456_789_123, RATE // 10, 3_333_333_333]
    return {name: chance.choice(values) for name in chance.sample([*MARKS, "DUE"], chance.randrange(3))}


# -- a week --------------------------------------------------------------------------------------------


@cache
def week(seed: int) -> Desk:
    """A week with trades, close-outs that end in debt, payments, interest, write-offs and corrections."""
    chance = random.Random(seed)
    car = flat_margin("50", "300", session="cme_equity", fee_per_contract="1.50")
    overrides = {"contracts": {"CAR": car}, "receivable": {"daily_interest": "0.001"}}
    desk = Desk("kraken-us", overrides, at="2026-06-07T23:00:00Z")
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    names = [f"A{number}" for number in range(8)]
    for name in names:
        desk.account(name, str(chance.randrange(400, 3000)), owner=f"owner of {name}")
    for date in DAYS:
        desk.at(f"{date}T12:00:00Z")
        desk.done(c.BusinessDay(date))
        for hour in range(13, 24, 2):  # over the day's end at 21:00 and beyond
            desk.at(f"{date}T{hour}:30:00Z")
            _hour(desk, chance, names)
    desk.at("2026-06-13T01:00:00Z")
    desk.done(c.Tick())
    return desk


def _hour(desk: Desk, chance: random.Random, names: Iterable[str]) -> None:
    mark = chance.randrange(700, 1300)
    desk.marks(CAR=str(mark))
    for name in names:
        while desk.close_out(name) is not None and desk.outstanding(name):
            desk.close_at(name, str(mark + chance.randrange(-250, 250)))
            desk.done(c.Tick())
        _act(desk, chance, name, mark)


def _act(desk: Desk, chance: random.Random, name: str, mark: int) -> None:
    owed = int(desk.state.book.receivable[desk.state.row(name)])
    match chance.randrange(7):
        case 0:
            desk.deposit(name, str(chance.randrange(1, 700)))
        case 1 | 2:
            order = desk.order(name, "CAR", str(chance.choice([-4, -3, 3, 4])))
            if isinstance(order, ev.OrderApproved):
                lots = next(w.lots for w in desk.state.book.working[desk.state.row(name)].values())
                desk.fill(name, "CAR", str(lots), str(mark), order.order_id)
        case 3 if owed:
            part = chance.choice([owed, (owed + 1) // 2])
            desk.done(c.WriteOff(name, part, "carl", "dora", "uncollectable"))
        case 4 if desk.state.fills and chance.randrange(4) == 0:
            fill_id = chance.choice(sorted(desk.state.fills))
            desk.give(c.CorrectFill(fill_id, desk.ticks("CAR", str(mark)), "carl", "dora", "wrong price"))
        case _:
            pass
