"""The command, ready to be called."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.cli.command import Command


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Logs of a service that was called end with the test: the standard error that they go to is the test's."""
    handlers, level, lines = logging.root.handlers[:], logging.root.level, structlog.get_config()
    yield Command(tmp_path, capsys, monkeypatch)
    structlog.configure(**lines)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
