"""Journals in PostgreSQL: the fence, what is no journal, and that no message holds a password."""

import sys
from collections.abc import Iterator

import psycopg
import pytest
from tests.journal.places import name_of, sql
from tests.journal.purse import Purse, feed, inputs, new_journal, write
from tests.postgres import PASSWORD

from closeout.core.units import InputError
from closeout.journal.journal import Journal
from closeout.journal.postgres import PostgresStorage, read_address
from closeout.journal.verify import verify


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("closeout.journal.postgres.LOCK_MILLISECONDS", 200)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def connection(journal: Journal) -> psycopg.Connection:
    assert isinstance(journal._storage, PostgresStorage)
    return journal._storage.connection


def refused(address: str, *, creating: bool = False) -> str:
    """What is said of an address, in one line without the password."""
    with pytest.raises(InputError) as caught:
        (new_journal if creating else Journal.read)(address)
    text = str(caught.value)
    assert "\n" not in text
    assert PASSWORD not in text
    assert "secret" not in text
    return text


@pytest.mark.rule("G-17")
def test_the_same_inputs_give_the_digest_that_a_file_gives(postgres_url: str, tmp_path) -> None:
    assert write(postgres_url) == write(tmp_path / "journal.sqlite")


@pytest.mark.rule("G-09", "G-16")
def test_a_writer_that_lost_its_connection_writes_no_more(postgres_url: str, admin: psycopg.Connection) -> None:
    items = inputs(30)
    with new_journal(postgres_url) as journal:
        feed(journal, Purse(), items[:10])
        admin.execute("SELECT pg_terminate_backend(%s)", (connection(journal).info.backend_pid,))
        with pytest.raises(InputError, match="the connection is lost"):
            journal.append(items[10:20])
        with Journal.open(postgres_url) as next_journal:
            engine, last = next_journal.recover(Purse)
            assert last == 10
            with pytest.raises(ValueError, match="an earlier write failed; open the journal again"):
                journal.append(items[10:20])
            assert feed(next_journal, engine, items[10:]) == 30
    assert verify(postgres_url, Purse).inputs == 30


@pytest.mark.rule("G-17")
def test_a_writer_past_the_fence_is_stopped_by_the_frames_numbers(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = inputs(30)
    with new_journal(postgres_url) as first:
        feed(first, Purse(), items[:10])
        monkeypatch.setattr(PostgresStorage, "_lock", lambda self: None)
        with Journal.open(postgres_url) as second:
            feed(second, second.recover(Purse)[0], items[10:20])
            with pytest.raises(InputError, match="another writer has written to this journal"):
                first.append(items[10:15])
            with pytest.raises(ValueError, match="open the journal again"):
                first.append(items[10:15])
    assert verify(postgres_url, Purse).inputs == 20


@pytest.mark.rule("G-16")
def test_a_commit_waits_for_the_disk_whatever_the_database_is_set_to(
    postgres_url: str, admin: psycopg.Connection
) -> None:
    database = admin.info.dbname
    admin.execute(f"ALTER DATABASE {database} SET synchronous_commit TO off".encode())
    with new_journal(postgres_url) as journal:
        assert connection(journal).execute(b"SHOW synchronous_commit").fetchone() == ("on",)


def test_a_reader_cannot_write(postgres_url: str) -> None:
    write(postgres_url)
    with Journal.read(postgres_url) as reader, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader._storage.commit([("DELETE FROM frame", ())])


def test_two_journals_in_two_schemas_of_a_database(postgres_url: str) -> None:
    other = f"{postgres_url}&schema=other"
    with new_journal(postgres_url) as one, new_journal(other) as two:
        feed(one, Purse(), inputs(10))
        feed(two, Purse(), inputs(20))
    assert (verify(postgres_url, Purse).inputs, verify(other, Purse).inputs) == (10, 20)
    assert name_of(other).endswith("&schema=other")


def test_a_schema_made_beforehand_is_used_by_who_may_not_make_one(postgres_url: str, admin: psycopg.Connection) -> None:
    admin.execute("CREATE ROLE recorder LOGIN; CREATE SCHEMA ready AUTHORIZATION recorder")
    address = f"{postgres_url}&schema=ready&user=recorder"
    assert "permission denied" in refused(f"{postgres_url}&schema=another&user=recorder", creating=True)
    write(address)
    assert verify(address, Purse).ok
    admin.execute("DROP SCHEMA ready CASCADE; DROP ROLE recorder")


def test_what_is_not_a_journal_is_said_in_one_line(postgres_url: str, admin: psycopg.Connection) -> None:
    assert refused(postgres_url) == f"{name_of(postgres_url)}: no journal in the schema closeout_journal"
    write(postgres_url)
    assert refused(postgres_url, creating=True).endswith("exists already, a journal is never overwritten")
    sql(postgres_url, "ALTER TABLE frame ADD COLUMN extra text")
    assert refused(postgres_url).endswith("its tables are not those of journal format 1")
    sql(postgres_url, "COMMENT ON TABLE segment IS 'closeout journal, format 2'")
    assert refused(postgres_url).endswith("closeout journal, format 2, expected 1")
    sql(postgres_url, "COMMENT ON TABLE segment IS NULL")
    assert refused(postgres_url).endswith("the schema closeout_journal holds something else than a journal")
    assert "exists already" in refused(postgres_url, creating=True)
    admin.execute("CREATE SCHEMA mine; CREATE TABLE mine.note (text text)")
    assert "exists already" in refused(f"{postgres_url}&schema=mine", creating=True)
    admin.execute("CREATE DATABASE bytes ENCODING SQL_ASCII TEMPLATE template0")
    ascii_only = postgres_url.replace(f"/{admin.info.dbname}?", "/bytes?")
    assert refused(ascii_only, creating=True).endswith("expected a database in UTF8, this one is in SQL_ASCII")
    admin.execute("DROP DATABASE bytes")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://user:secret@127.0.0.1:1/db", "postgresql://user@127.0.0.1:1/db: cannot be reached: "),
        ("postgresql://user@127.0.0.1:1/db?password=secret", "postgresql://user@127.0.0.1:1/db: cannot be reached"),
        ("postgresql://user:secret@[::1]:1/db", "postgresql://user@[::1]:1/db: cannot be reached: "),
        ("postgresql://user:%zzsecret@host/db", "postgresql://user@host/db: cannot be read"),
        ("postgresql://user:%00secret@host/db", "postgresql://user@host/db: cannot be read"),
        ("postgresql://user:x@host/db?secret=1", "postgresql://user@host/db: cannot be read"),
        ("postgresql://user:x@host/db?password=%00secret", "postgresql://user@host/db: cannot be read"),
        ("postgresql://user:x@host/db?schema=Two%20Words", "postgresql://user@host/db?schema=Two%20Words: schema: "),
        ("postgresql://user:at@secret@host/db", "postgresql://...: expected postgresql://USER:PASSWORD@HOST"),
        ("postgresql://user:se/secret@host/db", "postgresql://...: expected "),
        ("postgresql://user:se?secret@host/db", "postgresql://...: expected "),
        ("postgresql://user:se#secret@host/db", "postgresql://...: expected "),
        ("postgresql://user:secret", "postgresql://...: expected "),
        ("postgresql:user:secret@host", "postgresql://...: expected "),
    ],
)
def test_no_message_holds_a_password(address: str, said: str) -> None:
    assert refused(address).startswith(said)


def test_an_address_is_read_in_parts() -> None:
    parameters, schema, name = read_address("postgresql://u:p%40%2Fss+x@h:5433/d?schema=s&sslmode=require")
    assert parameters == {
        "user": "u", "password": "p@/ss+x", "host": "h", "port": "5433", "dbname": "d", "sslmode": "require",
    }  # fmt: skip
    assert (schema, name) == ("s", "postgresql://u@h:5433/d?schema=s")


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "closeout.journal.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"needs psycopg: pip install closeout\[postgres\]"):
        Journal.read("postgresql://localhost/db")
