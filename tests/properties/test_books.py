"""Money is never made or lost: balanced postings, fees as taken, debts that add up, nobody else's balance."""

from collections import Counter, defaultdict

import pytest
from tests.properties.driver import STREAMS, recorded, replay

from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine.engine import Engine


class Books:
    """Balances rebuilt from the events alone."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = defaultdict(int)
        self.cash: dict[str, int] = defaultdict(int)
        self.owed: dict[str, int] = defaultdict(int)
        self.by_reason: Counter[str] = Counter()
        self.count: Counter[str] = Counter()

    def take(self, posted: e.Posted) -> None:
        assert posted.micros > 0
        self.balances[posted.debit] += posted.micros
        self.balances[posted.credit] -= posted.micros
        for name, sign in ((posted.debit, 1), (posted.credit, -1)):
            if name in ("customer_cash", "suspense"):
                self.cash[posted.account_id] -= sign * posted.micros
            elif name == "receivable":
                self.owed[posted.account_id] += sign * posted.micros
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
