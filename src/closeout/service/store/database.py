"""The store's database: a SQLite file or PostgreSQL, brought to today's schema on opening.

SQLite has one connection that writes and others that only read: before 3.51.3 two connections that write or checkpoint
at once can damage a file. In PostgreSQL the tables lie in a schema of their own, so that the journal and other
programs can share the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from closeout.core.units import InputError

SCHEMA = "store"
APPLICATION_ID = 0x434C5354  # "CLST"
MIGRATION_LOCK = APPLICATION_ID
SETTINGS = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 2000",
    f"PRAGMA journal_size_limit = {64 * 2**20}",
)


class Database:
    """Connections of one process. `write` is one transaction at a time; `read` sees one state, that of its first
    query."""

    def __init__(self, writer: Engine, reader: Engine, release: Callable[[], None]) -> None:
        self._writer, self._reader, self._release = writer, reader, release
        self._lock = Lock()

    @contextmanager
    def write(self) -> Generator[Connection]:
        with self._lock, self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Generator[Connection]:
        with self._reader.connect() as connection:
            yield connection

    def close(self) -> None:
        """Let the database go; may be called twice."""
        self._reader.dispose()
        self._writer.dispose()
        self._release()


def open_database(address: str) -> Database:
    """Connect and bring the schema up to date; `InputError` in one line, without a password, where that cannot be."""
    try:
        url = make_url(address)
    except ArgumentError:
        raise InputError("store: expected sqlite:///PATH or postgresql://USER@HOST/NAME") from None
    name = url.render_as_string(hide_password=True)
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        opened = _open_sqlite(url, Path(str(url.database)))
    elif url.drivername in ("postgresql", "postgresql+psycopg"):
        opened = _open_postgres(url, name)
    else:
        raise InputError(f"{name}: expected sqlite:///PATH or postgresql://USER@HOST/NAME")
    try:
        with opened.write() as connection:
            _migrate(connection, name)
    except DBAPIError as error:
        opened.close()
        raise InputError(f"{name}: cannot be opened: {_reason(error)}") from None
    except BaseException:
        opened.close()
        raise
    return opened


def _reason(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]


# -- SQLite --------------------------------------------------------------------------------------------


def _open_sqlite(url: URL, path: Path) -> Database:
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    _check_is_store(path)
    fence = _fence(path)

    def release() -> None:
        with suppress(OSError):
            _fence_path(path).unlink(missing_ok=True)
        fence.close()

    def read_only() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False)

    writer = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0)
    reader = create_engine("sqlite://", creator=read_only, poolclass=QueuePool)
    _listen(writer, "BEGIN IMMEDIATE", SETTINGS)
    _listen(reader, "BEGIN", SETTINGS[:1])
    return Database(writer, reader, release)


def _listen(engine: Engine, begin: str, settings: tuple[str, ...]) -> None:
    """Begin transactions ourselves: the driver would begin them late, and commit before changes of the schema."""

    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        for setting in settings:
            connection.execute(setting)

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


def _check_is_store(path: Path) -> None:
    """Leave a file alone that is somebody else's, such as a journal."""
    if not path.exists():
        return
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    try:
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: not a store: {error}") from None
    finally:
        connection.close()
    if found != APPLICATION_ID and (found or tables):
        raise InputError(f"{path}: not a store")


def _fence_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-writer")


def _fence(path: Path) -> sqlite3.Connection:
    """An empty file whose lock the operating system drops with its process."""
    fence = sqlite3.connect(_fence_path(path), isolation_level=None, timeout=0, check_same_thread=False)
    try:
        fence.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        fence.close()
        raise InputError(f"{path}: another process has this store open") from None
    return fence


# -- PostgreSQL ----------------------------------------------------------------------------------------


def _open_postgres(url: URL, name: str) -> Database:
    try:
        engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except ModuleNotFoundError:
        raise InputError(f"{name}: PostgreSQL needs: pip install closeout[postgres]") from None

    def connected(connection: Any, _: Any) -> None:
        connection.autocommit = True
        connection.execute(f"SET search_path TO {SCHEMA}")
        connection.autocommit = False

    event.listen(engine, "connect", connected)
    return Database(engine, engine.execution_options(isolation_level="REPEATABLE READ"), lambda: None)


# -- schema --------------------------------------------------------------------------------------------


def _migrate(connection: Connection, name: str) -> None:
    """Bring the schema up to date, all or nothing, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    else:
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise InputError(f"{name}: made by a newer closeout: {error}") from None
