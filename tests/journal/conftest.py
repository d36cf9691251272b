"""`place`: each test that asks for it runs on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest
from tests.journal.places import Place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where a journal can be made. Nobody waits for a second writer's lock."""
    if request.param == "sqlite":
        return path
    url: str = request.getfixturevalue("postgres_url")
    monkeypatch.setattr("closeout.journal.postgres.LOCK_MILLISECONDS", 200)
    return url
