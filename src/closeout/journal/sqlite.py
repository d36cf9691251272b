"""A journal in an SQLite file: what a journal is in unless a database is named.

Beside the file lie, while it is written, the write-ahead log and the fence: an empty file whose lock the operating
system drops with its process. Two writers would break the chain, and SQLite before 3.51.3 can damage a file that two
connections write.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from closeout.core.units import InputError
from closeout.journal.records import VerificationError
from closeout.journal.storage import FORMAT, Damage, Statement

APPLICATION_ID = 0x434C4F53  # "CLOS"
SCHEMA = (
    """CREATE TABLE segment (
    number INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, engine_version TEXT NOT NULL,
    rulebook_digest TEXT NOT NULL, image_digest BLOB NOT NULL, chain BLOB NOT NULL
) STRICT""",
    """CREATE TABLE frame (
    number INTEGER PRIMARY KEY, segment INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    length INTEGER NOT NULL, checksum BLOB NOT NULL, chain BLOB NOT NULL, payload BLOB NOT NULL
) STRICT""",
    """CREATE TABLE snapshot (
    segment INTEGER NOT NULL, seq INTEGER NOT NULL, state_digest TEXT NOT NULL, events INTEGER NOT NULL,
    events_digest BLOB NOT NULL, chain BLOB NOT NULL, image_digest BLOB NOT NULL, image BLOB NOT NULL,
    PRIMARY KEY (segment, seq)
) STRICT""",
    """CREATE TABLE checkpoint (
    segment INTEGER NOT NULL, seq INTEGER NOT NULL, state_digest TEXT NOT NULL, events INTEGER NOT NULL,
    events_digest BLOB NOT NULL, chain BLOB NOT NULL,
    PRIMARY KEY (segment, seq)
) STRICT""",
    """CREATE TABLE receipt (
    seq INTEGER NOT NULL, receipt_id TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (seq, receipt_id)
) STRICT""",
)
BUSY_MILLISECONDS = 5000
SETTINGS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 2000",
    f"PRAGMA journal_size_limit = {64 * 2**20}",
)


class SqliteStorage:
    """A `Storage` in a file; a writer has a `fence`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, fence: sqlite3.Connection | None = None) -> None:
        self.name = str(path)
        self.connection = connection
        self._path = path
        self._fence = fence

    @classmethod
    def create(cls, address: str, statements: Sequence[Statement]) -> SqliteStorage:
        path = Path(address)
        try:
            path.open("xb").close()
        except FileExistsError:
            raise InputError(f"{path}: exists already, a journal is never overwritten") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be created: {error.strerror}") from None
        storage = _connect(path)
        tables = (f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {FORMAT}", *SCHEMA)
        try:
            storage.commit([*((table, ()) for table in tables), *statements])
        except BaseException:
            storage.close()
            path.unlink()
            raise
        return storage

    @classmethod
    def open(cls, address: str) -> SqliteStorage:
        path = Path(address)
        _check_exists(path)
        cls.read(address).close()  # so that nothing is written to a file that is not a journal
        storage = _connect(path)
        try:
            _check_is_journal(path, storage.connection)
        except BaseException:
            storage.close()
            raise
        return storage

    @classmethod
    def read(cls, address: str) -> SqliteStorage:
        """A writer may be at work on the file, whose write-ahead log grows as long as this is open."""
        path = Path(address)
        _check_exists(path)
        try:
            connection = _connect_read_only(path)
            try:
                connection.execute("BEGIN")
                _check_is_journal(path, connection)
            except BaseException:
                connection.close()
                raise
        except UnicodeDecodeError:  # an error message of SQLite's that quotes damaged bytes
            raise VerificationError(f"{path}: damaged: the names of its tables cannot be read") from None
        return SqliteStorage(path, connection)

    def rows(self, query: str, *values: int | str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self.connection.execute(query, values)
        except sqlite3.ProgrammingError:  # a mistake of the caller's, such as a closed journal
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise Damage(str(error)) from None

    def fault(self) -> str:
        ((found,),) = self.rows("PRAGMA integrity_check(1)")
        return "" if found == "ok" else found

    def commit(self, statements: Sequence[Statement]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in statements:
                self.connection.execute(statement, values)
            self.connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    def close(self, *, finished: bool = False) -> None:
        """A finished file stands alone, unless somebody reads it just now: whoever reads it later leaves no log beside
        it, and it can lie where nothing may be written."""
        try:
            if finished:
                with suppress(sqlite3.OperationalError):
                    self.connection.execute("PRAGMA busy_timeout = 0")
                    self.connection.execute("PRAGMA journal_mode = DELETE")
        finally:
            self.connection.close()
            if self._fence:
                with suppress(OSError):
                    _fence_path(self._path).unlink(missing_ok=True)
                self._fence.close()


def _connect(path: Path) -> SqliteStorage:
    """Open for writing behind the fence."""
    fence = sqlite3.connect(_fence_path(path), isolation_level=None, timeout=0)
    try:
        fence.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        fence.close()
        raise InputError(f"{path}: another writer has this journal open") from None
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        for setting in SETTINGS:
            connection.execute(setting)
    except sqlite3.DatabaseError as error:
        fence.close()
        raise _damage(path, error) from None
    return SqliteStorage(path, connection, fence)


def _fence_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-writer")


def _check_exists(path: Path) -> None:
    """`InputError` for no file or an empty one. The file is not opened here: closing it again would drop the locks of
    every SQLite connection that this process holds on it."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a journal")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty, expected a journal")


def _damage(path: Path, error: sqlite3.DatabaseError) -> InputError | VerificationError:
    """What an error of SQLite's on opening says about the file."""
    if not hasattr(error, "sqlite_errorcode"):  # not SQLite's own: text that cannot be decoded
        return VerificationError(f"{path}: damaged: the names of its tables cannot be read")
    if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
        return InputError(f"{path}: not a journal (not an SQLite file)")
    if isinstance(error, sqlite3.OperationalError):
        return InputError(f"{path}: cannot be opened: {error}")
    return _cut_short(path) or VerificationError(f"{path}: damaged: {error} (file of {path.stat().st_size} bytes)")


def _cut_short(path: Path) -> InputError | None:
    """Bad input: the file ends before the pages that its header counts (SQLite could not even read its schema)."""
    with path.open("rb") as file:
        header = file.read(100)
    page_size = int.from_bytes(header[16:18], "big") or 1
    size, whole = path.stat().st_size, int.from_bytes(header[28:32], "big") * (65536 if page_size == 1 else page_size)
    return InputError(f"{path}: cut short: {size} bytes of {whole}") if size < whole else None


def _check_is_journal(path: Path, connection: sqlite3.Connection) -> None:
    """`InputError` for another program's database, another format, or a file cut short."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    except sqlite3.DatabaseError as error:
        raise _damage(path, error) from None
    if application != APPLICATION_ID:
        raise InputError(f"{path}: an SQLite file, but not a journal")
    if version != FORMAT:
        raise InputError(f"{path}: journal format {version}, expected {FORMAT}")
    if tuple(sql for (sql,) in tables) != SCHEMA:
        raise InputError(f"{path}: its tables are not those of journal format {FORMAT}")
    if not _log_bytes(path) and (size := path.stat().st_size) < pages * page_size:
        raise InputError(f"{path}: cut short: {size} bytes of {pages * page_size}")


def _log_bytes(path: Path) -> int:
    """The size of the write-ahead log beside the file, whose pages stand for those of the file."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Read-only, also in a folder where SQLite cannot put its shared-memory file if no log is left to be read."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _try_read(uri)
    except sqlite3.OperationalError as error:
        codes = (sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_CANTOPEN)
        if error.sqlite_errorcode not in codes or _log_bytes(path):
            raise _damage(path, error) from None
        return _try_read(f"{uri}&immutable=1")
    except sqlite3.DatabaseError as error:
        raise _damage(path, error) from None


def _try_read(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_MILLISECONDS / 1000)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
