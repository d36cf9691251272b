"""The writer: durable, one at a time, and recovery that equals a straight run."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.engine.bench import Desk
from tests.journal.purse import NewPurse, Purse, feed, inputs, new_journal, straight, write

from closeout.core.units import InputError
from closeout.engine.engine import Engine
from closeout.journal.journal import Journal
from closeout.journal.reader import JournalReader
from closeout.journal.records import VerificationError, document_digest
from closeout.journal.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def sql(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.mark.rule("G-09")
def test_what_was_offered_comes_back_in_order_duplicates_included(path: Path) -> None:
    items = inputs(25)
    items.insert(10, items[9])
    with new_journal(path) as journal:
        assert journal.append(items[:7]) == 7
        assert journal.append(items[7:]) == 26
    with Journal.read(path) as reader:
        assert [item for frame in reader.frames() for item in frame.inputs()] == items
        assert [(frame.first_seq, frame.last_seq) for frame in reader.frames()] == [(1, 7), (8, 26)]
        assert reader.last_seq == 26
    assert straight(items).snapshot() == straight(inputs(25)).snapshot()


@pytest.mark.rule("G-03")
def test_recovery_is_the_newest_snapshot_and_the_frames_after_it(path: Path) -> None:
    engine, items = Purse(), inputs(50)
    with new_journal(path) as journal:
        feed(journal, engine, items[:20])
        journal.snapshot(20, engine)
        feed(journal, engine, items[20:35])
        journal.checkpoint(35, engine)
    applied: list[int] = []

    class Counting(Purse):
        def apply(self, item):
            applied.append(item.number)
            return super().apply(item)

    with Journal.open(path) as journal:
        recovered, last = journal.recover(Counting)
        assert (last, applied) == (35, list(range(21, 36)))
        assert recovered.snapshot() == straight(items[:35]).snapshot()
        assert journal.notes == []
        feed(journal, recovered, items[35:])
        taken_up = journal.checkpoint(50, recovered)
    straight_path = path.with_name("straight.sqlite")
    engine = Purse()
    with new_journal(straight_path) as journal:
        for start, end in ((0, 20), (20, 35), (35, 50)):
            feed(journal, engine, items[start:end])
        assert journal.checkpoint(50, engine) == taken_up
    assert verify(path, Purse, published=taken_up).problems == []


@pytest.mark.rule("G-03")
def test_a_damaged_snapshot_falls_back_to_the_one_before_and_then_to_the_start(path: Path) -> None:
    write(path, count=60)
    expected = straight(inputs(60)).digest()
    for damaged in (60, 40, 20):
        sql(path, "UPDATE snapshot SET image = zeroblob(length(image)) WHERE seq = ?", damaged)
        with Journal.open(path) as journal:
            engine, last = journal.recover(Purse)
            assert (engine.digest(), last) == (expected, 60)
            assert len(journal.notes) == 1 + (60 - damaged) // 20
            assert f"snapshot at input {damaged} (segment 1): its image does not match" in journal.notes[-1]


@pytest.mark.rule("G-03")
def test_recovery_refuses_a_checkpoint_or_receipt_that_the_inputs_do_not_lead_to(path: Path) -> None:
    write(path)
    sql(path, "DELETE FROM snapshot")
    sql(path, "UPDATE checkpoint SET state_digest = 'ab' WHERE seq = 40")
    with Journal.open(path) as journal, pytest.raises(VerificationError, match=r"checkpoint at input 40: the state's"):
        journal.recover(Purse)
    sql(path, 'UPDATE receipt SET document = replace(document, \'"cash":"\', \'"cash":"9\')')
    with Journal.open(path) as journal, pytest.raises(VerificationError, match=r"receipt \w-\d+ .* field cash is '9"):
        journal.recover(Purse)


@pytest.mark.rule("G-11", "G-17")
def test_receipts_that_a_kill_left_unstored_are_stored_by_recovery(path: Path) -> None:
    engine, items = Purse(), inputs(60)
    with new_journal(path) as journal:
        feed(journal, engine, items)
    with Journal.read(path) as reader:
        issued = list(reader.receipts())
    assert issued
    sql(path, "DELETE FROM receipt")
    assert verify(path, Purse).ok, "no checkpoint promised these receipts"
    with Journal.open(path) as journal:
        journal.recover(Purse)
    with Journal.read(path) as reader:
        assert list(reader.receipts()) == issued
        assert reader.receipt(issued[0].seq, issued[0].receipt_id) == issued[0]


@pytest.mark.rule("G-17")
def test_an_upgrade_starts_a_segment_from_a_snapshot(path: Path) -> None:
    engine, items = Purse(), inputs(40)
    with new_journal(path) as journal:
        feed(journal, engine, items[:20])
    with Journal.open(path) as journal:
        with pytest.raises(InputError, match="recorded by engine purse-1, this is purse-2"):
            journal.recover(NewPurse)
        with pytest.raises(InputError, match="no snapshot at its end, input 20"):
            journal.upgrade(NewPurse)
        engine, last = journal.recover(Purse)
        journal.snapshot(last, engine)
    with Journal.open(path) as journal:
        engine, last = journal.upgrade(NewPurse)
        assert (type(engine), last) == (NewPurse, 20)
        feed(journal, engine, items[20:30])
        published = journal.checkpoint(30, engine)
    with Journal.open(path) as journal:
        engine, _ = journal.recover(NewPurse)
        feed(journal, engine, items[30:])
        assert engine.snapshot() == straight(items).snapshot()

    new, old = verify(path, NewPurse, published=published), verify(path, Purse)
    assert (new.ok, new.inputs, old.ok, old.inputs) == (False, 20, False, 20)
    assert new.problems == [
        f"{path}: segment 1 (inputs 1 to 20) was recorded by engine purse-1, this is purse-2: "
        "it cannot be run again here"
    ]
    assert "segment 2 (inputs 21 to 40) was recorded by engine purse-2" in old.problems[0]


@pytest.mark.rule("G-17")
def test_a_segment_of_the_same_version_is_run_through(path: Path) -> None:
    engine, items = Purse(), inputs(40)
    with new_journal(path) as journal:
        feed(journal, engine, items[:20])
        journal.snapshot(20, engine)
        engine, _ = journal.upgrade(Purse)
        feed(journal, engine, items[20:])
        journal.checkpoint(40, engine)
    result = verify(path, Purse)
    assert (result.problems, result.inputs, result.snapshots) == ([], 40, 2)
    sql(path, "DELETE FROM snapshot WHERE segment = 2")
    assert "segment 2: the snapshot that it starts from is missing" in verify(path, Purse).problems[0]


def test_a_second_writer_is_refused_and_a_reader_is_not(path: Path) -> None:
    with new_journal(path) as journal:
        feed(journal, Purse(), inputs(5))
        with pytest.raises(InputError, match="another writer has this journal open"):
            Journal.open(path)
        with Journal.read(path) as reader:
            assert reader.last_seq == 5
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.sqlite"]
    Journal.open(path).close()


def test_a_reader_keeps_its_view_while_the_writer_goes_on(path: Path) -> None:
    engine, items = Purse(), inputs(400)
    with new_journal(path) as journal:
        feed(journal, engine, items[:100])
        with Journal.read(path) as before:
            for start in range(100, 400, 10):
                feed(journal, engine, items[start : start + 10])
                with Journal.read(path) as now:
                    assert now.last_seq == start + 10
            assert sum(len(frame.inputs()) for frame in before.frames()) == 100
        assert verify(path, Purse).inputs == 400


@pytest.mark.rule("G-16")
def test_events_are_taken_only_for_durable_inputs_in_turn(path: Path) -> None:
    engine, items = Purse(), inputs(10)
    with new_journal(path) as journal:
        with pytest.raises(ValueError, match="input 1: recorded are 0, durable are 0"):
            journal.record(1, [])
        journal.append(items)
        with pytest.raises(ValueError, match="input 2: recorded are 0"):
            journal.record(2, [])
        with pytest.raises(ValueError, match="input 10: recorded are 0"):
            journal.checkpoint(10, engine)
    with Journal.open(path) as journal, pytest.raises(ValueError, match="recover before"):
        journal.append(items)


def test_a_failed_write_leaves_what_was_durable_and_ends_the_writing(path: Path) -> None:
    engine, items = Purse(), inputs(2_000)
    with new_journal(path) as journal:
        last = feed(journal, engine, items[:500])
        journal._connection.execute("PRAGMA max_page_count = 30")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            journal.append(items[500:] * 10)
        with pytest.raises(ValueError, match="open the journal again"):
            journal.append(items[500:501])
    with Journal.open(path) as journal:
        recovered, found = journal.recover(Purse)
        assert (found, recovered.digest()) == (last, engine.digest())
        assert feed(journal, recovered, items[500:]) == 2_000


def test_create_refuses_an_existing_file_a_missing_folder_and_another_rulebook(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        new_journal(path)
    assert path.read_text() == "mine"
    with pytest.raises(InputError, match="cannot be created"):
        new_journal(path / "below")
    other = Journal.create(path.with_name("other.sqlite"), engine_version=Purse.version, rulebook_digest="00")
    with other:
        with pytest.raises(ValueError, match="input 1 loads a rulebook with digest"):
            other.append(inputs(1))
        with pytest.raises(ValueError, match="input 1 is not LoadRulebook"):
            other.append(inputs(2)[1:])


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


def test_published_is_the_last_checkpoints(path: Path) -> None:
    published = write(path)
    with JournalReader.read(path) as reader:
        assert reader.published() == published
        assert len(published) == 32
        assert len({row.published for row in reader.checkpoints()}) == 3


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


@pytest.mark.rule("G-03", "G-11", "G-17")
def test_a_receipt_that_recovery_finishes_is_the_one_that_a_run_from_the_start_issues(path: Path) -> None:
    desk = Desk("reference")
    desk.account("A", "1000")
    desk.marks(BTCUSDT="10000")
    desk.hold("A", "BTCUSDT", "1", "10000")
    desk.marks(BTCUSDT="9040")
    begun = len(desk.inputs)
    desk.close_at("A", "9040")
    digest = document_digest(desk.rulebook.document())
    engine, journal = Engine(), Journal.create(path, engine_version=Engine.version, rulebook_digest=digest)
    for seq, given in enumerate(desk.inputs, 1):
        journal.append([given])
        journal.record(seq, engine.apply(given))
        if seq == begun:
            journal.snapshot(seq, engine)
            journal.close()
            journal = Journal.open(path)
            engine, _ = journal.recover(Engine)
    journal.checkpoint(len(desk.inputs), engine)
    journal.close()
    result = verify(path, Engine)
    assert (result.problems, result.receipts) == ([], 1)


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
