"""Journals in files: what is none, what was cut or overwritten, and where nothing may be written."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.journal.places import sql
from tests.journal.purse import Purse, feed, inputs, new_journal, write

from closeout.core.units import InputError
from closeout.journal.journal import Journal
from closeout.journal.sqlite import SqliteStorage
from closeout.journal.verify import verify


@pytest.fixture
def published(path: Path) -> str:
    return write(path)


def connection(journal: Journal) -> sqlite3.Connection:
    assert isinstance(journal._storage, SqliteStorage)
    return journal._storage.connection


def test_a_failed_write_leaves_what_was_durable_and_ends_the_writing(path: Path) -> None:
    engine, items = Purse(), inputs(2_000)
    with new_journal(path) as journal:
        last = feed(journal, engine, items[:500])
        connection(journal).execute("PRAGMA max_page_count = 30")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            journal.append(items[500:] * 10)
        with pytest.raises(ValueError, match="open the journal again"):
            journal.append(items[500:501])
    with Journal.open(path) as journal:
        recovered, found = journal.recover(Purse)
        assert (found, recovered.digest()) == (last, engine.digest())
        assert feed(journal, recovered, items[500:]) == 2_000


def test_create_refuses_an_existing_file_and_a_missing_folder(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        new_journal(path)
    assert path.read_text() == "mine"
    with pytest.raises(InputError, match="cannot be created"):
        new_journal(path / "below")


@pytest.mark.parametrize("opener", [Journal.open, Journal.read, lambda path: verify(path, Purse)])
def test_what_is_not_a_journal_is_said_in_one_line_and_left_alone(opener, path: Path) -> None:
    def refused(expected: str) -> None:
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(InputError, match=expected) as caught:
            opener(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        assert (path.read_bytes() if path.is_file() else None) == before
        path.unlink(missing_ok=True)

    refused("no such file")
    path.write_bytes(b"")
    refused("the file is empty")
    path.write_bytes(b"time,contract,mark\n" * 1_000)
    refused("not an SQLite file")
    sql(path, "CREATE TABLE frame (number INTEGER)")
    refused("an SQLite file, but not a journal")
    write(path)
    sql(path, "PRAGMA user_version = 2")
    refused("journal format 2, expected 1")
    write(path)
    sql(path, "ALTER TABLE frame ADD COLUMN extra TEXT")
    refused("its tables are not those of journal format 1")


def test_a_journal_in_a_folder_that_cannot_be_written_is_read() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        write(path)
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        with unprivileged():
            assert verify(path, Purse).ok
        assert [file.name for file in Path(folder).iterdir()] == ["journal.sqlite"]
        Path(folder).chmod(0o755)


def test_a_file_cut_anywhere_is_never_accepted(path: Path, published: str) -> None:
    whole = path.read_bytes()
    sizes = {1, 15, 16, 99, 100, 511, 512, 4095, 4096, 4097, len(whole) // 2, len(whole) - 4096, len(whole) - 1}
    for size in sorted(sizes | set(range(0, len(whole), len(whole) // 20))):
        path.write_bytes(whole[:size])
        for opener in (Journal.open, Journal.read, lambda path: verify(path, Purse, published=published)):
            with pytest.raises(InputError) as caught:
                opener(path)
            assert str(caught.value).startswith(f"{path}: ")
            if size >= 512:
                assert f"cut short: {size} bytes of {len(whole)}" in str(caught.value)
        assert path.read_bytes() == whole[:size]


def test_a_file_overwritten_anywhere_is_never_accepted(path: Path, published: str) -> None:
    """A page of zeros in the place of each page but the first, which says what the file is."""
    whole = path.read_bytes()
    assert len(whole) >= 8 * 4096
    for at in range(4096, len(whole), 4096):
        path.write_bytes(whole[:at] + bytes(4096) + whole[at + 4096 :])
        assert not verify(path, Purse, published=published).ok


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_killed_writers_files_cut_anywhere_give_all_or_an_older_whole(path: Path, suffix: str) -> None:
    """As a kill leaves them: part of the pages in the file, part in the log beside it. The file cut short loses what
    only it held, and is refused unless the log holds it all; the log cut short is an older journal, which only the
    published digest tells."""
    engine, items = Purse(), inputs(60)
    copy = path.with_name("copy.sqlite")
    with new_journal(path) as journal:
        for start in range(0, 60, 10):
            last = feed(journal, engine, items[start : start + 10])
            if last == 30:
                connection(journal).execute("PRAGMA wal_checkpoint(PASSIVE)")
        published = journal.checkpoint(60, engine)
        parts = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal")}
    refused = 0
    for size in range(1, len(parts[suffix]) + 1, 997):
        for end, data in parts.items():
            Path(f"{copy}{end}").write_bytes(data[:size] if end == suffix else data)
        Path(f"{copy}-shm").unlink(missing_ok=True)
        try:
            result = verify(copy, Purse, published=published)
        except InputError:
            refused += 1
            continue
        refused += not result.ok
        assert not result.ok or result.inputs == 60
    assert refused > 5
    for end, data in parts.items():
        Path(f"{copy}{end}").write_bytes(data)
    assert verify(copy, Purse, published=published).ok


@contextmanager
def unprivileged() -> Iterator[None]:
    """The superuser may write anywhere, so be nobody for a while."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
