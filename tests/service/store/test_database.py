"""Opening: new and old databases, those that are not ours, and several who open at once."""

import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from tests.service.store.batches import applied, story

from closeout.core.units import InputError
from closeout.engine import events as ev
from closeout.journal.journal import Journal
from closeout.service.store import Query, Store
from closeout.service.store import records as r
from closeout.service.store.database import open_database
from closeout.service.store.schema import METADATA


def test_migrations_make_the_tables_that_the_code_uses(url: str) -> None:
    database = open_database(url)
    with database.write() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == "0001"
    database.close()


def test_what_was_stored_is_there_when_opened_again(url: str) -> None:
    first = Store.open(url)
    first.project(story(1, 30))
    held = first.page(r.Posting, Query(limit=1000))
    first.close()
    first.close()
    again = Store.open(url)
    assert again.projected_seq == 30
    assert again.page(r.Posting, Query(limit=1000)) == held
    again.close()


def test_a_store_of_a_newer_closeout_is_left_alone(url: str) -> None:
    database = open_database(url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(InputError, match="made by a newer closeout"):
        Store.open(url)


def test_readers_see_no_half_of_a_transaction(store: Store) -> None:
    with ThreadPoolExecutor(2) as threads:

        def write() -> None:
            for seq in range(1, 60):
                store.project([applied(seq, ev.Notice("A", "k", ""), ev.Notice("A", "k", ""))])

        def count() -> int:
            return len(store.page(r.Notice, Query(limit=1000)).items)

        writing = threads.submit(write)
        counts = [count()]
        while not writing.done():
            counts.append(count())
        writing.result()
    assert all(number % 2 == 0 for number in counts)
    assert counts == sorted(counts)
    assert count() == 118


def test_a_reader_sees_one_state(store: Store) -> None:
    store.project(story(1, 10))
    with store.read() as connection:
        seqs = [connection.execute(text("SELECT seq FROM projection")).scalar_one()]
        store.project(story(11, 20))
        seqs.append(connection.execute(text("SELECT seq FROM projection")).scalar_one())
    assert seqs == [10, 10]
    with store.read() as connection:
        assert connection.execute(text("SELECT seq FROM projection")).scalar_one() == 20


# -- SQLite --------------------------------------------------------------------------------------------


def test_a_sqlite_store_has_one_process_that_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    first = Store.open(url)
    with pytest.raises(InputError, match="another process has this store open"):
        Store.open(url)
    first.project(story(1, 5))
    first.close()
    assert [path.name for path in tmp_path.iterdir()] == ["store.sqlite"]
    Store.open(url).close()


def test_a_path_with_signs_that_addresses_use(tmp_path: Path) -> None:
    folder = tmp_path / "50% #1 ü"
    folder.mkdir()
    store = Store.open(f"sqlite:///{folder / 'the store.sqlite'}")
    store.project(story(1, 5))
    assert store.page(r.Act, Query()).cursor is None
    store.close()


def test_files_that_are_no_store_are_left_alone(tmp_path: Path) -> None:
    journal, words, other = tmp_path / "journal.sqlite", tmp_path / "words.txt", tmp_path / "other.sqlite"
    Journal.create(journal, engine_version="1", rulebook_digest="").close()
    words.write_text("not a database " * 100)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    for path in (journal, words, other):
        before = path.read_bytes()
        with pytest.raises(InputError, match=rf"{path.name}: not a store"):
            Store.open(f"sqlite:///{path}")
        assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").touch()
    Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}").close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "expected sqlite:///PATH"),
        ("mysql://u:secret@host/db", r"mysql://u:\*\*\*@host/db: expected sqlite:///PATH"),
        ("sqlite://", "expected sqlite:///PATH"),
        ("sqlite:///:memory:", "expected sqlite:///PATH"),
        ("sqlite:////no/such/folder/store.sqlite", "there is no folder /no/such/folder"),
        ("postgresql://u:secret@/db?host=/no/such/socket", "cannot be opened: connection"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_in_one_line(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        Store.open(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install closeout\[postgres\]"):
        Store.open("postgresql://u@host/db")


# -- PostgreSQL ----------------------------------------------------------------------------------------


def test_several_may_open_a_new_database_at_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(Store.open, [postgres_url] * 4))
    stores[0].project(story(1, 5))
    stores[1].project(story(1, 6))
    for store in stores:
        store.close()
    again = Store.open(postgres_url)
    assert again.projected_seq == 6
    again.close()


def test_the_tables_lie_apart_from_others_in_the_database(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE receipt (mine integer)")
        store = Store.open(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
        store.project(story(1, 20))
        store.close()
        query = "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_name = 'receipt'"
        assert sorted(row[0] for row in connection.execute(query)) == ["public", "store"]
        assert connection.execute("SELECT count(*) FROM public.receipt").fetchone() == (0,)


def test_ids_are_ordered_by_code_points_whatever_the_database_thinks(postgres_server: str) -> None:
    names = ["A", "A/x", "A0", "AA", "Z", "a", "Ä"]
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute("CREATE DATABASE worded LOCALE_PROVIDER icu ICU_LOCALE 'de' TEMPLATE template0")
        url = postgres_server.replace("/postgres?", "/worded?")
        with psycopg.connect(url) as connection:
            query = "SELECT name FROM unnest(%s::text[]) name ORDER BY name"
            assert [row[0] for row in connection.execute(query, [names])] != names
        store = Store.open(url)
        store.record_day(
            "2026-06-10", [r.AccountDay(name, "", 0, 0, 0, 0, 0, 0, 0, 0, "", "", 0) for name in names[::-1]]
        )
        store.project([applied(1, *(ev.Notice(name, "k", "") for name in names))])
        assert [row.account_id for row in store.account_days("2026-06-10")] == names
        assert [notice.account_id for notice in store.page(r.Notice, Query("A")).items] == ["A", "A/x"]
        store.close()
        server.execute("DROP DATABASE worded WITH (FORCE)")


def test_the_store_lives_on_after_its_connections_broke(postgres_url: str) -> None:
    store = Store.open(postgres_url)
    store.project(story(1, 10))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    store.project(story(1, 20))
    assert store.projected_seq == 20
    store.close()
