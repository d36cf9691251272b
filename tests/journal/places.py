"""Where the journal's tests keep a journal: a path or a `postgresql://` address, changed behind the journal's back."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from closeout.journal.postgres import read_address

Place = Path | str


def name_of(place: Place) -> str:
    """What stands before every message about the journal."""
    return read_address(place).name if isinstance(place, str) else str(place)


def beside(place: Place, name: str) -> Place:
    """A place for another journal."""
    return f"{place}&schema={name}" if isinstance(place, str) else place.with_name(f"{name}.sqlite")


@contextmanager
def tampering(place: Place) -> Iterator[Callable[..., Any]]:
    """Gives `execute(statement, values)`, with ? for values, whose cursor is returned; committed in the end."""
    if isinstance(place, Path):
        with closing(sqlite3.connect(place)) as connection, connection:
            yield connection.execute
    else:
        parameters, schema, _ = read_address(place)
        with psycopg.connect(**parameters) as connection:
            connection.execute(f"SET search_path TO {schema}".encode())
            yield lambda statement, values=(): connection.execute(statement.replace("?", "%s").encode(), values)


def sql(place: Place, statement: str, *values: object) -> int:
    """Change rows; how many were."""
    with tampering(place) as execute:
        return execute(statement, values).rowcount
