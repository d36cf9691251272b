"""The tests of the store run on a SQLite file and on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.service.store.batches import wipe

from closeout.service.store import Store

DATABASES = ["sqlite", "postgres"]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new store can be made."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def postgres_store(postgres_server: str) -> Iterator[Store]:
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute("CREATE DATABASE stores")
    opened = Store.open(postgres_server.replace("/postgres?", "/stores?"))
    yield opened
    opened.close()


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store with nothing in it."""
    if request.param == "sqlite":
        opened = Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}")
        yield opened
        opened.close()
    else:
        opened = request.getfixturevalue("postgres_store")
        wipe(opened)
        yield opened
