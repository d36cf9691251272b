"""Funding and settlement as plain loops over the holders: what the engine's columns must come to, to the bit."""

from closeout.core.units import MAX_VALUE, RATE, floor_div
from closeout.engine import commands as c
from closeout.engine import ledger as books
from closeout.engine import market
from closeout.engine.engine import Engine
from closeout.engine.judge import judge_rows
from closeout.engine.state import Reject, State


class LoopEngine(Engine):
    """An engine that does these commands account by account, and judges every account that they concern."""

    def _handle(self, given: c.Input) -> None:
        loop = LOOPS.get(type(given.command))
        if loop is None or self.state is None or given.time < self.state.time:
            super()._handle(given)
            return
        before = self.state.time, self.state.seq
        self.state.time, self.state.seq = given.time, self.offered
        try:
            loop(self.state, given.command)
        except Reject:
            self.state.time, self.state.seq = before
            raise


def by_id(state: State, rows: object) -> list[int]:
    return sorted(map(int, rows), key=state.book.ids.__getitem__)  # pyright: ignore[reportArgumentType]


def accrue_funding(state: State, command: c.AccrueFunding) -> None:
    contracts = state.live_whole(command.contract)
    facts = contracts[0].contract
    price = contracts[0].mark if command.price_ticks is None else command.price_ticks
    if price is None:
        raise Reject("unpriced", f"{command.contract} has no mark and no price was given")
    if abs(command.rate) > RATE:
        raise Reject("out_of_bounds", "a funding rate above 100 %")
    market._check_mark(contracts, price)  # pyright: ignore[reportPrivateUsage]
    divisor = RATE * facts.units_per_micro
    accrued: dict[int, int] = {}
    parts: list[tuple[int, int]] = []
    for contract in contracts:
        due: list[int] = []
        for row in by_id(state, contract.holders()):
            lots = contract.position(row).lots
            due.append(abs(facts.value(price, lots)) * command.rate * (-1 if lots > 0 else 1))
            accrued[row] = accrued.get(row, int(state.book.accrued[row])) + floor_div(due[-1], divisor)
        parts.append((sum(due), sum(floor_div(units, divisor) for units in due)))
    for row in by_id(state, accrued):
        if abs(accrued[row]) > MAX_VALUE:
            raise Reject("out_of_bounds", f"accrued funding of {state.book.ids[row]} would pass its bound")
    for row, micros in accrued.items():
        state.book.accrued[row] = micros
        state.book.positions.moved.add(row)
    for contract, (units, booked) in zip(contracts, parts, strict=True):
        exact, contract.funding_residue = divmod(contract.funding_residue + units, divisor)
        contract.funding_rounding += exact - booked
    market._next_interval(state, command)  # pyright: ignore[reportPrivateUsage]
    judge_rows(state, accrued)


def book_funding(state: State, command: c.BookFunding) -> None:
    book = state.book
    from_balance = state.policy.funding is not None and state.policy.funding.from_balance
    rows = by_id(state, book.column("accrued").nonzero()[0])
    for row in rows:
        state.check_cash(row, int(book.accrued[row]))
    touched = set(rows)
    for row in rows:
        amount = int(book.accrued[row])
        book.accrued[row] = 0
        book.positions.moved.add(row)
        state.post_signed(row, books.CLEARING_HOUSE, amount, "funding")
        if from_balance and amount < 0 and row in book.parent:
            market._pay_from_balance(state, row, book.parent[row], -amount)  # pyright: ignore[reportPrivateUsage]
            touched.add(book.parent[row])
    for contract in state.contracts.values():
        state.post_rounding(contract.funding_rounding, "funding")
        contract.funding_rounding = 0
    judge_rows(state, touched)


def settle(state: State, command: c.Settle) -> None:
    contracts = state.live_whole(command.contract)
    market._check_mark(contracts, command.price_ticks)  # pyright: ignore[reportPrivateUsage]
    rows = by_id(state, {int(row) for contract in contracts for row in contract.holders()})
    for row in rows:
        held = ((contract.contract, contract.position(row)) for contract in contracts)
        profits = (facts.profit(command.price_ticks, position.lots, position.cost) for facts, position in held)
        state.check_cash(row, sum(profits))
    for row, contract in ((row, contract) for row in rows for contract in contracts):
        position = contract.position(row)
        if position.lots:
            value = contract.contract.value(command.price_ticks, position.lots)
            units, position.cost = value - position.cost, value
            contract.store(row, position)
            state.realise(row, contract, units, "daily settlement")
    for contract in contracts:
        contract.settlement = command.price_ticks
    judge_rows(state, rows)


LOOPS = {c.AccrueFunding: accrue_funding, c.BookFunding: book_funding, c.Settle: settle}
