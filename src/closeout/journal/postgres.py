"""A journal in PostgreSQL: the same tables in a schema of their own.

The fence is an advisory lock of the writer's connection, which ends with it: a writer that has lost its connection can
write no more, since every frame goes through that one. A pooler in between must keep a session on one connection.
Should a second writer come past the lock all the same, the frames' numbers stop the slower of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, get_type_hints
from urllib.parse import parse_qsl, quote, urlencode

from closeout.core.units import InputError
from closeout.journal.storage import FORMAT, TABLES, Damage, Statement

try:
    import psycopg
    from psycopg import conninfo, errors
except ImportError:
    raise InputError("a journal in PostgreSQL needs psycopg: pip install closeout[postgres]") from None

SCHEMA = "closeout_journal"
"""Unless the address names another one (``?schema=NAME``)."""
MARK = f"closeout journal, format {FORMAT}"
"""The comment on the table `segment`, by which a journal is known."""
TYPES = {int: "bigint", bytes: "bytea", str: 'text COLLATE "C"'}
KEYS = {
    "segment": "number",
    "frame": "number",
    "snapshot": "segment, seq",
    "checkpoint": "segment, seq",
    "receipt": "seq, receipt_id",
}
COLUMNS = [
    (table, column, TYPES[kind]) for table, record in TABLES.items() for column, kind in get_type_hints(record).items()
]
"""Table, column and type, in order."""
LOCK_MILLISECONDS = 2000
"""How long a writer waits for the one before it: the server may take a moment to see that a process is gone."""
SETTINGS = """
SET client_encoding TO utf8; SET synchronous_commit TO on; SET statement_timeout TO 0; SET idle_session_timeout TO 0;
SET tcp_keepalives_idle TO 10; SET tcp_keepalives_interval TO 5; SET tcp_keepalives_count TO 3;
"""
"""The keepalives free the lock when a writer's machine is gone without a word."""

PART = "[^:@/?#]*"
ADDRESS = re.compile(
    rf"postgresql://(?:(?P<user>{PART})(?::{PART})?@)?(?P<host>(?:[^:@/?#\[]*|\[[^\]@/?#]*\])(?::[0-9]*)?)"
    r"(?:/(?P<database>[^@/?#]*))?(?:\?(?P<query>[^@?#]*))?"
)


class Address(NamedTuple):
    """Where to connect (libpq's parameters), the schema there, and a name to be shown, without the password."""

    parameters: dict[str, Any]
    schema: str
    name: str


def read_address(address: str) -> Address:
    """``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME``; further parameters are libpq's. For another form
    `InputError`, which quotes nothing that might be a part of the password."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise InputError(
            "postgresql://...: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, "
            "with signs such as @ : / ? # in its parts written as %40 %3A %2F %3F %23"
        )
    query = dict(parse_qsl((found["query"] or "").replace("+", "%2B"), keep_blank_values=True))
    shown = {key: value for key, value in query.items() if key in ("host", "port", "user", "dbname", "schema")}
    user = f"{found['user']}@" if found["user"] else ""
    name = f"postgresql://{user}{found['host']}/{found['database'] or ''}"
    name += f"?{urlencode(shown, safe='/', quote_via=quote)}" if shown else ""
    schema = query.pop("schema", SCHEMA)
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", schema):
        raise InputError(f"{name}: schema: expected small letters, digits and _")
    try:
        parameters = conninfo.conninfo_to_dict(f"{address.partition('?')[0]}?{urlencode(query, quote_via=quote)}")
    except psycopg.Error:
        raise InputError(
            f"{name}: cannot be read; after the ? come schema and parameters of libpq, such as sslmode"
        ) from None
    return Address(parameters, schema, name)


class PostgresStorage:
    """A `Storage` in a PostgreSQL schema."""

    def __init__(self, name: str, schema: str, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.name = name
        self.connection = connection
        self._schema = schema

    @classmethod
    def create(cls, address: str, statements: Sequence[Statement]) -> PostgresStorage:
        storage = cls._connect(address)
        try:
            storage._lock()
            if storage._columns():
                raise InputError(f"{storage.name}: exists already, a journal is never overwritten")
            storage.commit([*storage._tables(), *statements])
        except psycopg.Error as error:
            storage.close()
            raise InputError(f"{storage.name}: cannot be created: {_one_line(error)}") from None
        except BaseException:
            storage.close()
            raise
        return storage

    @classmethod
    def open(cls, address: str) -> PostgresStorage:
        storage = cls._connect(address)
        try:
            storage._check_is_journal()
            storage._lock()
        except BaseException:
            storage.close()
            raise
        return storage

    @classmethod
    def read(cls, address: str) -> PostgresStorage:
        storage = cls._connect(address)
        try:
            storage.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            storage._check_is_journal()
        except BaseException:
            storage.close()
            raise
        return storage

    def rows(self, query: str, *values: int | str | bytes) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self.connection.execute(_numbered(query), values, binary=True)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise InputError(f"{self.name}: the connection is lost: {_one_line(error)}") from None
        except psycopg.Error as error:
            raise Damage(_one_line(error)) from None

    def fault(self) -> str:
        return ""  # the server checks its pages itself, where it was told to when it was set up

    def commit(self, statements: Sequence[Statement]) -> None:
        try:
            if len(statements) == 1:  # a transaction of its own, in one round trip
                self.connection.execute(_numbered(statements[0][0]), statements[0][1])
                return
            with self.connection.transaction():
                for statement, values in statements:
                    self.connection.execute(_numbered(statement), values)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise InputError(f"{self.name}: the connection is lost: {_one_line(error)}") from None
        except errors.UniqueViolation as error:
            if error.diag.table_name != "frame":
                raise
            raise InputError(f"{self.name}: another writer has written to this journal") from None

    def close(self, *, finished: bool = False) -> None:
        self.connection.close()

    @classmethod
    def _connect(cls, address: str) -> PostgresStorage:
        parameters, schema, name = read_address(address)
        defaults: dict[str, Any] = {
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "application_name": f"closeout {schema}",
        }
        try:
            connection = psycopg.connect(
                autocommit=True, cursor_factory=psycopg.RawCursor, **{**defaults, **parameters}
            )
        except psycopg.Error as error:
            raise InputError(f"{name}: cannot be reached: {_one_line(error)}") from None
        storage = cls(name, schema, connection)
        try:
            connection.execute(f"{SETTINGS} SET search_path TO {schema}".encode())
            ((encoding,),) = storage.rows("SHOW server_encoding")
            if encoding != "UTF8":
                raise InputError(f"{name}: expected a database in UTF8, this one is in {encoding}")
        except BaseException:
            storage.close()
            raise
        return storage

    def _lock(self) -> None:
        key = int.from_bytes(blake2b(f"closeout journal {self._schema}".encode(), digest_size=8).digest(), signed=True)
        try:
            self.connection.execute(f"SET lock_timeout TO {LOCK_MILLISECONDS}".encode())
            self.connection.execute(b"SELECT pg_advisory_lock($1)", (key,))
            self.connection.execute(b"SET lock_timeout TO 0")
        except errors.LockNotAvailable:
            raise InputError(f"{self.name}: another writer has this journal open") from None

    def _columns(self) -> list[tuple[str, str, str]]:
        """Table, column and type of every column in the schema, in order."""
        query = """SELECT relname::text, attname::text, format_type(atttypid, atttypmod)
            FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
            WHERE relnamespace = to_regnamespace(?1) AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
            ORDER BY pg_class.oid, attnum"""
        return [(table, column, kind) for table, column, kind in self.rows(query, self._schema)]

    def _check_is_journal(self) -> None:
        """`InputError` for a schema without journal, another format, or other tables."""
        columns = self._columns()
        if not columns:
            raise InputError(f"{self.name}: no journal in the schema {self._schema}")
        ((mark,),) = self.rows("SELECT obj_description(to_regclass(?1), 'pg_class')", f"{self._schema}.segment")
        if not mark or not mark.startswith(MARK.rpartition(" ")[0]):
            raise InputError(f"{self.name}: the schema {self._schema} holds something else than a journal")
        if mark != MARK:
            raise InputError(f"{self.name}: {mark}, expected {FORMAT}")
        if columns != [(table, column, kind.split()[0]) for table, column, kind in COLUMNS]:
            raise InputError(f"{self.name}: its tables are not those of journal format {FORMAT}")

    def _tables(self) -> Iterator[Statement]:
        """What makes the tables, and the schema unless somebody made it beforehand."""
        if self._schema not in [name for (name,) in self.rows("SELECT nspname::text FROM pg_namespace")]:
            yield f"CREATE SCHEMA {self._schema}", ()
        for table, key in KEYS.items():
            columns = ", ".join(f"{column} {kind} NOT NULL" for owner, column, kind in COLUMNS if owner == table)
            yield f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))", ()
        for table, column in (("frame", "payload"), ("snapshot", "image")):
            yield (
                f"ALTER TABLE {table} ALTER {column} SET STORAGE EXTERNAL",
                (),
            )  # compressing takes longer than writing
        yield f"COMMENT ON TABLE segment IS '{MARK}'", ()


def _numbered(statement: str) -> bytes:
    return statement.replace("?", "$").encode()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
