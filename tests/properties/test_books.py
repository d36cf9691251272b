"""Money is never made or lost: balanced postings, fees as taken, debts that add up, nobody else's balance."""

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import pytest
from tests.properties.driver import STREAMS, WATERFALL_STREAMS, recorded, recorded_waterfall, replay

from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine.book import HOUSE
from closeout.engine.engine import Engine


class Books:
    """Balances rebuilt from the events alone."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = defaultdict(int)
        self.cash: dict[str, int] = defaultdict(int)
        self.owed: dict[str, int] = defaultdict(int)
        self.by_reason: Counter[str] = Counter()
        self.count: Counter[str] = Counter()

    def begin(self, engine: Engine) -> None:
        """What the fund begins with is in the rulebook; no event tells it."""
        fund = engine.loaded.policy.insurance_fund or 0
        self.balances["segregated_bank"], self.balances["insurance_fund"] = fund, -fund
        self.cash["insurance_fund"] = fund

    def take(self, posted: e.Posted) -> None:
        assert posted.micros > 0
        self.balances[posted.debit] += posted.micros
        self.balances[posted.credit] -= posted.micros
        for name, sign in ((posted.debit, 1), (posted.credit, -1)):
            if name in HOUSE:
                self.cash[name] -= sign * posted.micros
            elif name == "customer_cash":
                self.cash[posted.account_id] -= sign * posted.micros
            elif name == "receivable":
                self.owed[posted.account_id] += sign * posted.micros
        if posted.reason.startswith("socialised loss of"):
            self.by_reason["socialised"] += posted.micros
        self.by_reason[posted.reason] += posted.micros
        self.count[posted.reason] += 1

    def check(self, engine: Engine) -> None:
        state = engine.loaded
        assert engine.imbalances() == []
        assert {n: b for n, b in state.ledger.balances.items() if b} == {n: b for n, b in self.balances.items() if b}
        book = state.book
        assert {a: x for a, x in self.cash.items() if x} == {
            a: int(book.cash[row]) for a, row in book.row.items() if book.cash[row]
        }
        assert {a: x for a, x in self.owed.items() if x} == {
            a: int(book.receivable[row]) for a, row in book.row.items() if book.receivable[row]
        }


@pytest.mark.rule("G-01", "G-02", "G-10", "US-13")
def test_the_postings_explain_every_balance() -> None:
    """What was booked is what was taken: cash, debts and fees follow from the postings alone."""
    count: Counter[str] = Counter()
    for seed in range(STREAMS):
        books = Books()

        def look(engine: Engine, given: c.Input, events: list[e.AnyEvent], books: Books = books) -> None:
            for event in events:
                if isinstance(event, e.Posted):
                    books.take(event)
            if engine.state is not None:
                books.check(engine)

        replay(recorded(seed), look)
        reason = books.by_reason
        deficits = reason["deficit owed by the customer"]
        payments = sum(amount for text, amount in reason.items() if text.startswith("payment")) // 2
        assert reason["deficit covered by the firm"] == deficits
        assert sum(books.owed.values()) == (deficits + reason["interest on a deficit"] - payments - reason["write-off"])
        count += books.count
    print(dict(count))
    for name in ("deficit owed by the customer", "trade fee", "liquidation fee", "realised profit"):
        assert count[name] >= 100, name
    assert count["write-off"] >= 10


MONEY_STAGES = {
    "insurance_fund": "deficit paid by the insurance fund",
    "socialised_loss": "socialised",
    "withdrawal_haircut": "deficit left to withdrawals",
    "venue_bears": "deficit borne by the venue",
}


@pytest.mark.rule("G-01", "G-02", "G-10", "EX-03", "EX-05", "US-13")
def test_every_deficit_has_somebody_who_bears_it() -> None:
    """Postings explain every balance, the house's own as well; what each stage is said to have paid is what was posted;
    what a receipt says is missing is borne by those whom it names, to the micro."""
    said: Counter[str] = Counter()
    for seed in range(WATERFALL_STREAMS):
        books, told = Books(), Counter[str]()

        def look(
            engine: Engine, given: c.Input, events: list[e.AnyEvent], books: Books = books, told: Counter[str] = told
        ) -> None:
            if engine.state is None:
                return
            if not books.balances:
                books.begin(engine)
            for event in events:
                if isinstance(event, e.Posted):
                    books.take(event)
                elif isinstance(event, e.DeficitCovered):
                    told[event.stage] += event.micros
                elif isinstance(event, e.CloseOutEnded):
                    told["receipts with a deficit"] += check_receipt(event.receipt)
            books.check(engine)

        engine = replay(recorded_waterfall(seed), look)
        for stage, reason in MONEY_STAGES.items():
            assert told[stage] == books.by_reason[reason], stage
        if not engine.loaded.policy.customer_owes:
            assert not any(books.owed.values())
        said += told
    print(dict(said))
    assert said["receipts with a deficit"] >= 100
    for stage in (*MONEY_STAGES, "auto_deleveraging", "unwind", "insurance_fund_takes", "liquidity_providers"):
        assert said[stage] > 0, stage


def check_receipt(receipt: dict[str, Any]) -> bool:
    deficit = Decimal(receipt["deficit"])
    assert sum(Decimal(part["amount"]) for part in receipt["borne_by"]) == deficit
    assert all(Decimal(part["amount"]) > 0 for part in receipt["borne_by"])
    return deficit > 0


@pytest.mark.rule("US-13", "G-15")
def test_no_other_customers_balance_moves() -> None:
    """What happens to one account, its deficit included, moves nobody's cash or debt but its own and its
    parent's."""
    reached: Counter[str] = Counter()
    single = (c.Deposit, c.Withdraw, c.Fill, c.TransferPosition, c.DeskAction, c.WriteOff, c.AdjustCash, c.CheckOrder)
    for seed in range(STREAMS):
        before: dict[str, tuple[int, int]] = {}

        def look(
            engine: Engine, given: c.Input, events: list[e.AnyEvent], before: dict[str, tuple[int, int]] = before
        ) -> None:
            if engine.state is None:
                return
            book = engine.state.book
            now = {a: (int(book.cash[r]), int(book.receivable[r])) for a, r in book.row.items()}
            if isinstance(given.command, single):
                own = given.command.account_id if given.command.account_id in book.row else "suspense"
                family = {own, own.partition("/")[0]}
                for account_id in before.keys() - family:
                    assert now[account_id] == before[account_id]
                reached["one account"] += 1
                reached["deficit"] += any(isinstance(event, e.DeficitBooked) for event in events)
            before.update(now)

        replay(recorded(seed), look)
    print(dict(reached))
    assert reached["deficit"] >= 100
