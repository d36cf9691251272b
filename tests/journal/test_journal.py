"""The writer: durable, one at a time, and recovery that equals a straight run."""

from pathlib import Path

import pytest
from tests.engine.bench import Desk
from tests.journal.places import Place, beside, name_of, sql
from tests.journal.purse import NewPurse, Purse, feed, inputs, new_journal, straight, write

from closeout.core.units import InputError
from closeout.engine.engine import Engine
from closeout.journal.journal import Journal
from closeout.journal.reader import JournalReader
from closeout.journal.records import VerificationError, document_digest
from closeout.journal.verify import verify


@pytest.mark.rule("G-09")
def test_what_was_offered_comes_back_in_order_duplicates_included(place: Place) -> None:
    items = inputs(25)
    items.insert(10, items[9])
    with new_journal(place) as journal:
        assert journal.append(items[:7]) == 7
        assert journal.append(items[7:]) == 26
    with Journal.read(place) as reader:
        assert [item for frame in reader.frames() for item in frame.inputs()] == items
        assert [(frame.first_seq, frame.last_seq) for frame in reader.frames()] == [(1, 7), (8, 26)]
        assert reader.last_seq == 26
    assert straight(items).snapshot() == straight(inputs(25)).snapshot()


@pytest.mark.rule("G-03")
def test_recovery_is_the_newest_snapshot_and_the_frames_after_it(place: Place) -> None:
    engine, items = Purse(), inputs(50)
    with new_journal(place) as journal:
        feed(journal, engine, items[:20])
        journal.snapshot(20, engine)
        feed(journal, engine, items[20:35])
        journal.checkpoint(35, engine)
    applied: list[int] = []

    class Counting(Purse):
        def apply(self, item):
            applied.append(item.number)
            return super().apply(item)

    with Journal.open(place) as journal:
        recovered, last = journal.recover(Counting)
        assert (last, applied) == (35, list(range(21, 36)))
        assert recovered.snapshot() == straight(items[:35]).snapshot()
        assert journal.notes == []
        feed(journal, recovered, items[35:])
        taken_up = journal.checkpoint(50, recovered)
    straight_place = beside(place, "straight")
    engine = Purse()
    with new_journal(straight_place) as journal:
        for start, end in ((0, 20), (20, 35), (35, 50)):
            feed(journal, engine, items[start:end])
        assert journal.checkpoint(50, engine) == taken_up
    assert verify(place, Purse, published=taken_up).problems == []


@pytest.mark.rule("G-03")
def test_a_damaged_snapshot_falls_back_to_the_one_before_and_then_to_the_start(place: Place) -> None:
    write(place, count=60)
    expected = straight(inputs(60)).digest()
    for damaged in (60, 40, 20):
        sql(place, "UPDATE snapshot SET image = ? WHERE seq = ?", bytes(9), damaged)
        with Journal.open(place) as journal:
            engine, last = journal.recover(Purse)
            assert (engine.digest(), last) == (expected, 60)
            assert len(journal.notes) == 1 + (60 - damaged) // 20
            assert f"snapshot at input {damaged} (segment 1): its image does not match" in journal.notes[-1]


@pytest.mark.rule("G-03")
def test_recovery_refuses_a_checkpoint_or_receipt_that_the_inputs_do_not_lead_to(place: Place) -> None:
    write(place)
    sql(place, "DELETE FROM snapshot")
    sql(place, "UPDATE checkpoint SET state_digest = 'ab' WHERE seq = 40")
    with Journal.open(place) as journal, pytest.raises(VerificationError, match=r"checkpoint at input 40: the state's"):
        journal.recover(Purse)
    sql(place, 'UPDATE receipt SET document = replace(document, \'"cash":"\', \'"cash":"9\')')
    with Journal.open(place) as journal, pytest.raises(VerificationError, match=r"receipt \w-\d+ .* field cash is '9"):
        journal.recover(Purse)


@pytest.mark.rule("G-11", "G-17")
def test_receipts_that_a_kill_left_unstored_are_stored_by_recovery(place: Place) -> None:
    engine, items = Purse(), inputs(60)
    with new_journal(place) as journal:
        feed(journal, engine, items)
    with Journal.read(place) as reader:
        issued = list(reader.receipts())
    assert issued
    sql(place, "DELETE FROM receipt")
    assert verify(place, Purse).ok, "no checkpoint promised these receipts"
    with Journal.open(place) as journal:
        journal.recover(Purse)
    with Journal.read(place) as reader:
        assert list(reader.receipts()) == issued
        assert reader.receipt(issued[0].seq, issued[0].receipt_id) == issued[0]


@pytest.mark.rule("G-17")
def test_an_upgrade_starts_a_segment_from_a_snapshot(place: Place) -> None:
    engine, items = Purse(), inputs(40)
    with new_journal(place) as journal:
        feed(journal, engine, items[:20])
    with Journal.open(place) as journal:
        with pytest.raises(InputError, match="recorded by engine purse-1, this is purse-2"):
            journal.recover(NewPurse)
        with pytest.raises(InputError, match="no snapshot at its end, input 20"):
            journal.upgrade(NewPurse)
        engine, last = journal.recover(Purse)
        journal.snapshot(last, engine)
    with Journal.open(place) as journal:
        engine, last = journal.upgrade(NewPurse)
        assert (type(engine), last) == (NewPurse, 20)
        feed(journal, engine, items[20:30])
        published = journal.checkpoint(30, engine)
    with Journal.open(place) as journal:
        engine, _ = journal.recover(NewPurse)
        feed(journal, engine, items[30:])
        assert engine.snapshot() == straight(items).snapshot()

    new, old = verify(place, NewPurse, published=published), verify(place, Purse)
    assert (new.ok, new.inputs, old.ok, old.inputs) == (False, 20, False, 20)
    assert new.problems == [
        f"{name_of(place)}: segment 1 (inputs 1 to 20) was recorded by engine purse-1, this is purse-2: "
        "it cannot be run again here"
    ]
    assert "segment 2 (inputs 21 to 40) was recorded by engine purse-2" in old.problems[0]


@pytest.mark.rule("G-17")
def test_a_segment_of_the_same_version_is_run_through(place: Place) -> None:
    engine, items = Purse(), inputs(40)
    with new_journal(place) as journal:
        feed(journal, engine, items[:20])
        journal.snapshot(20, engine)
        engine, _ = journal.upgrade(Purse)
        feed(journal, engine, items[20:])
        journal.checkpoint(40, engine)
    result = verify(place, Purse)
    assert (result.problems, result.inputs, result.snapshots) == ([], 40, 2)
    sql(place, "DELETE FROM snapshot WHERE segment = 2")
    assert "segment 2: the snapshot that it starts from is missing" in verify(place, Purse).problems[0]


def test_a_second_writer_is_refused_and_a_reader_is_not(place: Place) -> None:
    with new_journal(place) as journal:
        feed(journal, Purse(), inputs(5))
        with pytest.raises(InputError, match="another writer has this journal open"):
            Journal.open(place)
        with Journal.read(place) as reader:
            assert reader.last_seq == 5
    if isinstance(place, Path):
        assert sorted(file.name for file in place.parent.iterdir()) == ["journal.sqlite"]
    Journal.open(place).close()


def test_a_reader_keeps_its_view_while_the_writer_goes_on(place: Place) -> None:
    engine, items = Purse(), inputs(400)
    with new_journal(place) as journal:
        feed(journal, engine, items[:100])
        with Journal.read(place) as before:
            for start in range(100, 400, 10):
                feed(journal, engine, items[start : start + 10])
                with Journal.read(place) as now:
                    assert now.last_seq == start + 10
            assert sum(len(frame.inputs()) for frame in before.frames()) == 100
        assert verify(place, Purse).inputs == 400


@pytest.mark.rule("G-16")
def test_events_are_taken_only_for_durable_inputs_in_turn(place: Place) -> None:
    engine, items = Purse(), inputs(10)
    with new_journal(place) as journal:
        with pytest.raises(ValueError, match="input 1: recorded are 0, durable are 0"):
            journal.record(1, [])
        journal.append(items)
        with pytest.raises(ValueError, match="input 2: recorded are 0"):
            journal.record(2, [])
        with pytest.raises(ValueError, match="input 10: recorded are 0"):
            journal.checkpoint(10, engine)
    with Journal.open(place) as journal, pytest.raises(ValueError, match="recover before"):
        journal.append(items)


def test_the_first_input_loads_the_rulebook_that_the_journal_was_made_for(place: Place) -> None:
    other = Journal.create(place, engine_version=Purse.version, rulebook_digest="00")
    with other:
        with pytest.raises(ValueError, match="input 1 loads a rulebook with digest"):
            other.append(inputs(1))
        with pytest.raises(ValueError, match="input 1 is not LoadRulebook"):
            other.append(inputs(2)[1:])


def test_published_is_the_last_checkpoints(place: Place) -> None:
    published = write(place)
    with JournalReader.read(place) as reader:
        assert reader.published() == published
        assert len(published) == 32
        assert len({row.published for row in reader.checkpoints()}) == 3


@pytest.mark.rule("G-03", "G-11", "G-17")
def test_a_receipt_that_recovery_finishes_is_the_one_that_a_run_from_the_start_issues(place: Place) -> None:
    desk = Desk("reference")
    desk.account("A", "1000")
    desk.marks(BTCUSDT="10000")
    desk.hold("A", "BTCUSDT", "1", "10000")
    desk.marks(BTCUSDT="9040")
    begun = len(desk.inputs)
    desk.close_at("A", "9040")
    digest = document_digest(desk.rulebook.document())
    engine, journal = Engine(), Journal.create(place, engine_version=Engine.version, rulebook_digest=digest)
    for seq, given in enumerate(desk.inputs, 1):
        journal.append([given])
        journal.record(seq, engine.apply(given))
        if seq == begun:
            journal.snapshot(seq, engine)
            journal.close()
            journal = Journal.open(place)
            engine, _ = journal.recover(Engine)
    journal.checkpoint(len(desk.inputs), engine)
    journal.close()
    result = verify(place, Engine)
    assert (result.problems, result.receipts) == ([], 1)
