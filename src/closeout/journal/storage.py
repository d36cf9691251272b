"""What a journal needs of a database; `sqlite` and `postgres` are the two there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

from closeout.journal.records import Checkpoint, Frame, Receipt, Segment, Snapshot

FORMAT = 1
"""Of the tables, whose columns are the records' fields in their order."""

Record = Segment | Frame | Snapshot | Checkpoint | Receipt
TABLES: dict[str, type[Record]] = {
    "segment": Segment,
    "frame": Frame,
    "snapshot": Snapshot,
    "checkpoint": Checkpoint,
    "receipt": Receipt,
}

Statement = tuple[str, Sequence[Any]]
"""SQL that both databases take, with parameters ?1, ?2, ..., and their values (int, str, bytes)."""


class Damage(Exception):
    """Rows that the database cannot read; the message is the database's."""


class Storage(Protocol):
    """The tables of one journal. `name` stands for the place in messages: a path, or an address without password.

    Whatever opens one raises `InputError` for what is no journal or cannot be reached."""

    name: str

    @classmethod
    def create(cls, address: str, statements: Sequence[Statement]) -> Self:
        """Make the tables and execute the statements, all or nothing, and hold the journal as `open` does. `InputError`
        where something is already."""
        ...

    @classmethod
    def open(cls, address: str) -> Self:
        """Hold the journal as its one writer, until `close` or the end of the process; `InputError` for a second."""
        ...

    @classmethod
    def read(cls, address: str) -> Self:
        """The journal as it stands now, read-only; what is written later is not seen."""
        ...

    def rows(self, query: str, *values: int | str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, perhaps all of them held in memory. `Damage` where they cannot be read."""
        ...

    def fault(self) -> str:
        """What the database's own check finds wrong; "" for nothing."""
        ...

    def commit(self, statements: Sequence[Statement]) -> None:
        """All of the statements, or none, durable on return. After an error nobody knows which."""
        ...

    def close(self, *, finished: bool = False) -> None:
        """Let the journal go. `finished`: the writer ended well and leaves it as a whole to be kept."""
        ...
