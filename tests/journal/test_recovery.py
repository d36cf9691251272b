"""Recovery for whoever follows the events: each input after the snapshot comes back once, and what followed from it."""

import pytest
from tests.journal.places import Place, sql
from tests.journal.purse import NewPurse, Purse, feed, inputs, new_journal, straight, write

from closeout.core.units import InputError
from closeout.engine.engine import Engine
from closeout.journal.journal import Journal
from closeout.journal.reader import JournalReader
from closeout.journal.records import VerificationError, digest_of_image
from closeout.journal.verify import verify


def events_of(first: int, last: int) -> list[tuple]:
    """Number, input and events of each input from `first` to `last`, from a run without any journal."""
    engine = Purse()
    return [(seq, item, engine.apply(item)) for seq, item in enumerate(inputs(last), 1)][first - 1 :]


def snapshots(place: Place) -> list[tuple[int, int]]:
    with JournalReader.read(place) as reader:
        return reader.snapshot_keys()


@pytest.mark.rule("G-03", "G-16")
@pytest.mark.parametrize(("before_seq", "start"), [(None, 40), (50, 40), (40, 40), (39, 20), (21, 20), (19, 0), (0, 0)])
def test_every_input_after_the_snapshot_is_told_with_its_events(
    place: Place, before_seq: int | None, start: int
) -> None:
    write(place, count=50)
    told: list[tuple] = []
    with Journal.open(place) as journal:
        engine, last = journal.recover(Purse, lambda *applied: told.append(applied), before_seq)
        assert (last, journal.last_seq, journal.notes) == (50, 50, [])
        assert told == events_of(start + 1, 50)
        feed(journal, engine, inputs(60)[50:])
    assert engine.snapshot() == straight(inputs(60)).snapshot()
    assert verify(place, Purse).problems == []


@pytest.mark.rule("G-03", "G-16")
def test_a_damaged_snapshot_makes_the_telling_start_earlier(place: Place) -> None:
    write(place, count=50)
    assert sql(place, "UPDATE snapshot SET image = ? WHERE seq = 20", b"damaged") == 1
    seen: list[int] = []
    with Journal.open(place) as journal:
        journal.recover(Purse, lambda seq, _item, _events: seen.append(seq), before_seq=30)
        assert seen == list(range(1, 51))
        assert len(journal.notes) == 1


@pytest.mark.rule("G-11", "G-16")
def test_nothing_is_told_of_an_input_whose_receipt_is_another(place: Place) -> None:
    write(place, count=60)
    with JournalReader.read(place) as reader:
        receipt = next(reader.receipts())
    sql(place, "UPDATE receipt SET document = '{}' WHERE seq = ?", receipt.seq)
    seen: list[int] = []
    with Journal.open(place) as journal, pytest.raises(VerificationError, match="field account_id is missing"):
        journal.recover(Purse, lambda seq, _item, _events: seen.append(seq), before_seq=0)
    assert seen == list(range(1, receipt.seq))


@pytest.mark.rule("G-17")
def test_inputs_of_another_engine_version_cannot_be_told_again(place: Place) -> None:
    engine, items = Purse(), inputs(40)
    with new_journal(place) as journal:
        feed(journal, engine, items[:20])
        journal.snapshot(20, engine)
        engine, _ = journal.upgrade(NewPurse)
        feed(journal, engine, items[20:])
    seen: list[int] = []
    with Journal.open(place) as journal:
        message = "inputs 16 to 20 were applied by engine purse-1 and cannot be applied again by purse-2"
        with pytest.raises(InputError, match=message):
            journal.recover(NewPurse, before_seq=15)
        journal.recover(NewPurse, lambda seq, _item, _events: seen.append(seq), before_seq=20)
        assert seen == list(range(21, 41))


@pytest.mark.rule("G-17")
def test_pruning_keeps_the_newest_snapshots_and_those_that_segments_start_from(place: Place) -> None:
    engine, items = Purse(), inputs(80)
    with new_journal(place) as journal:
        for start in range(0, 40, 10):
            journal.snapshot(feed(journal, engine, items[start : start + 10]), engine)
        journal.prune()
        assert journal.snapshot_keys() == [(1, 40), (1, 30), (1, 20)]
        engine, _ = journal.upgrade(Purse)
        for start in range(40, 80, 10):
            journal.snapshot(feed(journal, engine, items[start : start + 10]), engine)
        journal.prune(keep=1)
        assert journal.snapshot_keys() == [(2, 80), (2, 40)]
        journal.prune(keep=0)  # the newest stays in any case
        assert journal.snapshot_keys() == [(2, 80), (2, 40)]
    assert verify(place, Purse).problems == []
    with Journal.open(place) as journal:
        assert journal.recover(Purse)[0].snapshot() == engine.snapshot()


@pytest.mark.rule("G-03")
def test_a_snapshot_makes_one_image_and_is_a_checkpoint_too(place: Place) -> None:
    class Counting(Purse):
        images = 0

        def snapshot(self) -> bytes:
            type(self).images += 1
            return super().snapshot()

    engine = Counting()
    with new_journal(place) as journal:
        last = feed(journal, engine, inputs(30))
        published = journal.snapshot(last, engine)
        assert Counting.images == 1
        assert journal.checkpoint(last, engine) == published == journal.published()
    assert snapshots(place) == [(1, 30)]
    assert verify(place, Purse, published=published).problems == []


@pytest.mark.rule("G-03")
def test_the_engines_digest_is_that_of_its_image() -> None:
    for engine in (Engine(), straight(inputs(9))):
        assert engine.digest() == digest_of_image(engine.snapshot()).hex()
