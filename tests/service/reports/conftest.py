"""The tests of the reports run on a SQLite file and on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from closeout.service.store import Store


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store with nothing in it."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    opened = Store.open(str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else url)
    yield opened
    opened.close()
