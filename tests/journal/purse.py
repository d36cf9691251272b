"""A small engine for the journal's tests: cash per account, every deposit and withdrawal a posting, and a receipt for
each account that the desk liquidates. As a script it writes a journal until it is killed."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from closeout.core.units import InputError
from closeout.engine.commands import Deposit, DeskAction, Input, LoadRulebook, OpenAccount, Withdraw
from closeout.engine.events import AnyEvent, CloseOutEnded, Posted, Rejected
from closeout.journal.journal import Journal
from closeout.journal.records import digest_of_image, document_digest

DOCUMENT = b'{"name":"purse"}'


class Purse:
    version = "purse-1"

    def __init__(self) -> None:
        self.cash: dict[str, int] = {}
        self.banked = 0
        self.numbers: dict[str, int] = {}

    def apply(self, item: Input) -> list[AnyEvent]:
        if item.number <= self.numbers.get(item.source, 0):
            return [Rejected("", "duplicate", f"{item.source} {item.number}")]
        self.numbers[item.source] = item.number
        match item.command:
            case OpenAccount(account_id):
                self.cash[account_id] = 0
                return []
            case Deposit(account_id, micros):
                self.cash[account_id] += micros
                self.banked += micros
                return [Posted(account_id, "bank", "cash", "USD", micros, "deposit")]
            case Withdraw(account_id, micros):
                if micros > self.cash[account_id]:
                    return [Rejected(account_id, "withdrawable", f"{self.cash[account_id]} at most")]
                self.cash[account_id] -= micros
                self.banked -= micros
                return [Posted(account_id, "cash", "bank", "USD", micros, "withdrawal")]
            case DeskAction(account_id):
                receipt = {"account_id": account_id, "cash": str(self.cash[account_id]), "legs": [{"time": item.time}]}
                return [CloseOutEnded(account_id, f"{account_id}-{item.number}", receipt)]
            case _:
                return []

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.cash, self.banked, self.numbers), order="sorted")

    @classmethod
    def restore(cls, image: bytes) -> Self:
        engine = cls()
        kind = tuple[dict[str, int], int, dict[str, int]]
        engine.cash, engine.banked, engine.numbers = msgspec.msgpack.decode(image, type=kind)
        return engine

    def digest(self) -> str:
        return digest_of_image(self.snapshot()).hex()

    def imbalances(self) -> list[str]:
        difference = self.banked - sum(self.cash.values())
        return [f"account bank differs from the purses by {difference}"] if difference else []


class NewPurse(Purse):
    version = "purse-2"


def stream(seed: int = 1) -> Iterator[Input]:
    """An endless reproducible stream, beginning with the rulebook and two accounts."""
    rng = random.Random(seed)
    commands = iter((LoadRulebook(DOCUMENT), OpenAccount("A"), OpenAccount("B")))
    number = 0
    while True:
        number += 1
        account, micros = rng.choice("AB"), rng.randrange(1, 10_000)
        kinds = (Deposit(account, micros), Withdraw(account, micros), DeskAction(account, "liquidate", "desk", "test"))
        command = next(commands, None) or rng.choices(kinds, weights=(6, 3, 1))[0]
        yield Input("test", number, number * 1_000, command)


def inputs(count: int) -> list[Input]:
    return [item for item, _ in zip(stream(), range(count), strict=False)]


def straight(items: list[Input]) -> Purse:
    """The engine after all inputs, without any journal."""
    engine = Purse()
    for item in items:
        engine.apply(item)
    return engine


def new_journal(place: Path | str, engine_version: str = Purse.version) -> Journal:
    return Journal.create(place, engine_version=engine_version, rulebook_digest=document_digest(DOCUMENT))


def feed(journal: Journal, engine: Purse, items: list[Input]) -> int:
    """Append one frame, apply it and record what follows."""
    last = journal.append(items)
    for seq, item in enumerate(items, last - len(items) + 1):
        journal.record(seq, engine.apply(item))
    return last


def write(place: Path | str, count: int = 60, per_frame: int = 10, snapshot_every: int = 20) -> str:
    """A closed journal with a checkpoint per two frames; its published digest."""
    engine, items, published = Purse(), inputs(count), ""
    with new_journal(place) as journal:
        for start in range(0, count, per_frame):
            last = feed(journal, engine, items[start : start + per_frame])
            if last % snapshot_every == 0:
                journal.snapshot(last, engine)
                published = journal.checkpoint(last, engine)
    return published


def write_until_killed(place: str, seed: int) -> None:
    """Take up the journal, then append for ever, saying on standard output what is durable."""
    rng = random.Random(seed)
    try:
        journal = Journal.open(place)
    except InputError:  # the first time
        journal, engine, last = new_journal(place), Purse(), 0
    else:
        engine, last = journal.recover(Purse)
    source = stream()
    for _ in range(last):
        next(source)
    print(last, flush=True)
    while True:
        last = feed(journal, engine, [next(source) for _ in range(rng.randrange(1, 40))])
        print(last, flush=True)
        if rng.random() < 0.1:
            journal.snapshot(last, engine)
        if rng.random() < 0.1:
            journal.checkpoint(last, engine)


if __name__ == "__main__":
    write_until_killed(sys.argv[1], int(sys.argv[2]))
