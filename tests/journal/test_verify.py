"""Every way of tampering with a journal is found, and the place is named."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.journal.purse import Purse, feed, inputs, new_journal, write

from closeout.core.units import InputError
from closeout.engine.commands import DECODER, ENCODER, Deposit, Input
from closeout.journal.journal import Journal
from closeout.journal.records import Checkpoint, Head, Outputs, Segment, VerificationError, checksum, digest_of_image
from closeout.journal.rerun import first_difference
from closeout.journal.verify import Verification, verify

FRAMES, PER_FRAME = 6, 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def published(path: Path) -> str:
    return write(path, FRAMES * PER_FRAME, PER_FRAME)


@contextmanager
def tampering(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    yield connection
    connection.commit()
    connection.close()


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def problem(path: Path, published: str | None = None) -> str:
    """The one problem that verification names, without the file's name."""
    result = verify(path, Purse, published=published)
    assert not result.ok
    assert len(result.problems) == 1
    text = result.problems[0]
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.rule("G-03", "G-17")
def test_a_sound_journal_is_proven_and_counted(path: Path, published: str) -> None:
    seen: list[tuple[int, int]] = []
    result = verify(path, Purse, published=published, progress=lambda done, total: seen.append((done, total)))
    engine, outputs, receipts, postings = Purse(), Outputs(), 0, 0
    for seq, item in enumerate(inputs(60), 1):
        events = engine.apply(item)
        receipts += len(outputs.add(seq, events))
        postings += sum(type(event).__name__ == "Posted" for event in events)
    assert result == Verification(
        True, [], 6, 60, outputs.events, postings, receipts, 3, 3,
        engine.digest(), outputs.digest.hex(), result.chain_digest, published,
    )  # fmt: skip
    assert seen == [(done, 60) for done in range(10, 61, 10)]


@pytest.mark.rule("G-17")
def test_an_older_published_digest_still_holds_when_the_journal_has_grown(path: Path, published: str) -> None:
    with Journal.open(path) as journal:
        engine, _ = journal.recover(Purse)
        feed(journal, engine, inputs(80)[60:])
        newer = journal.checkpoint(80, engine)
    assert newer != published
    assert verify(path, Purse, published=published).ok
    assert verify(path, Purse, published=newer.upper()).ok
    assert "no checkpoint that was run again has the published digest beef" in problem(path, "beef")


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
def test_a_changed_payload_byte(path: Path) -> None:
    with tampering(path) as db:
        (payload,) = db.execute("SELECT payload FROM frame WHERE number = 3").fetchone()
        db.execute("UPDATE frame SET payload = ? WHERE number = 3", (flipped(payload, 40),))
    assert problem(path) == "frame 3 (inputs 21 to 30): its bytes do not match its length and checksum"
    with pytest.raises(VerificationError, match=r"frame 3 \(inputs 21 to 30\)"):
        Journal.open(path)
    with Journal.read(path) as reader, pytest.raises(VerificationError, match=r"frame 3 .* match its checksum"):
        [frame.inputs() for frame in reader.frames()]


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE frame SET chain = zeroblob(32) WHERE number = 4", "frame 4 (inputs 31 to 40): its chained digest"),
        ("UPDATE frame SET length = 5 WHERE number = 4", "frame 4 (inputs 31 to 40): its bytes do not match"),
        ("UPDATE frame SET segment = 2 WHERE number = 4", "frame 4 (inputs 31 to 40): its chained digest"),
        ("UPDATE frame SET last_seq = 41 WHERE number = 4", "frame 4 (inputs 31 to 41): its chained digest"),
        ("UPDATE frame SET first_seq = -31 WHERE number = 4", "frame 4 (inputs -31 to 40): input 31 was due"),
        ("DELETE FROM frame WHERE number = 4", "frame 4 (from input 31) is missing"),
        ("DELETE FROM frame WHERE number = 1", "frame 1 (from input 1) is missing"),
        ("DELETE FROM frame WHERE number = 6", "a checkpoint stands after input 60, but no frame ends"),
        ("UPDATE segment SET engine_version = 'x'", "segment 1: its chained digest"),
        ("UPDATE segment SET rulebook_digest = 'x'", "segment 1: its chained digest"),
        ("UPDATE segment SET number = 2", "segment 1 is missing"),
        ("DELETE FROM segment", "segment 1 is missing"),
        ("UPDATE snapshot SET image = zeroblob(9) WHERE seq = 40", "snapshot at input 40 (segment 1): its image"),
        ("UPDATE snapshot SET state_digest = 'x' WHERE seq = 20", "snapshot at input 20 (segment 1): the state's"),
        ("UPDATE snapshot SET events_digest = x'00' WHERE seq = 20", "snapshot at input 20 (segment 1): the events"),
        ("UPDATE checkpoint SET events = 1 WHERE seq = 20", "checkpoint at input 20: "),
        ("UPDATE checkpoint SET chain = x'00' WHERE seq = 40", "checkpoint at input 40: its chained digest"),
        ("UPDATE checkpoint SET seq = 41 WHERE seq = 40", "a checkpoint stands after input 41, but no frame"),
        ("INSERT INTO receipt VALUES (7, 'R', '{}')", "receipt R of input 7 is stored, but was never issued"),
        ("INSERT INTO receipt VALUES (70, 'R', '{}')", "receipt R of input 70 is stored, but the journal ends"),
    ],
)  # fmt: skip
def test_a_changed_row(path: Path, change: str, expected: str) -> None:
    with tampering(path) as db:
        assert db.execute(change).rowcount > 0
    assert problem(path).startswith(expected)


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
def test_swapped_frames(path: Path) -> None:
    with tampering(path) as db:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            db.execute("UPDATE frame SET number = ? WHERE number = ?", (new, old))
    assert problem(path).startswith("frame 2 (inputs 21 to 30): input 11 was due: frames are swapped")
    with tampering(path) as db:  # with the inputs' numbers put right too
        db.execute("UPDATE frame SET first_seq = 10 * number - 9, last_seq = 10 * number")
    assert problem(path).startswith("frame 2 (inputs 11 to 20): its chained digest")


@pytest.mark.rule("G-11", "G-17")
@pytest.mark.usefixtures("published")
def test_a_receipt_changed_or_taken_away(path: Path) -> None:
    with tampering(path) as db:
        seq, name, text = db.execute("SELECT * FROM receipt ORDER BY seq LIMIT 1").fetchone()
        receipt = msgspec.json.decode(text)
        time = receipt["legs"][0]["time"]
        receipt["legs"][0]["time"] = 1
        db.execute("UPDATE receipt SET document = ? WHERE seq = ?", (msgspec.json.encode(receipt).decode(), seq))
    assert problem(path) == f"receipt {name} of input {seq}: field legs[0].time is 1, issued was {time}"
    with tampering(path) as db:
        db.execute("UPDATE receipt SET document = ? WHERE seq = ?", (text + " ", seq))
    assert problem(path) == f"receipt {name} of input {seq}: its text was rewritten"
    with tampering(path) as db:
        db.execute("DELETE FROM receipt WHERE seq = ?", (seq,))
    assert problem(path) == f"receipt {name} of input {seq} was issued, but is not stored"


def rewrite_frame_3(path: Path) -> None:
    """A forger's work: one deposit in frame 3 made larger, its checksum and all later chained digests computed anew."""
    with tampering(path) as db:
        (payload,) = db.execute("SELECT payload FROM frame WHERE number = 3").fetchone()
        items = DECODER.decode(payload)
        at = next(index for index, item in enumerate(items) if isinstance(item.command, Deposit))
        old = items[at]
        assert isinstance(old.command, Deposit)
        larger = Deposit(old.command.account_id, old.command.micros + 1_000_000)
        items[at] = Input(old.source, old.number, old.time, larger)
        db.execute("UPDATE frame SET payload = ? WHERE number = 3", (ENCODER.encode(items),))
        head = Head()
        head.enter(Segment(*db.execute("SELECT * FROM segment").fetchone()))
        for number, first, last, payload in db.execute(
            "SELECT number, first_seq, last_seq, payload FROM frame"
        ).fetchall():
            frame = head.next_frame(payload, last - first + 1)
            head.follow(frame)
            values = (frame.length, frame.checksum, frame.chain, number)
            db.execute("UPDATE frame SET length = ?, checksum = ?, chain = ? WHERE number = ?", values)


def rewrite_outputs(path: Path) -> None:
    """The rest of the forger's work: receipts, snapshots and checkpoints of the rewritten inputs."""
    engine, outputs = Purse(), Outputs()
    with tampering(path) as db:
        for first, payload, chain in db.execute(
            "SELECT first_seq, payload, chain FROM frame ORDER BY number"
        ).fetchall():
            for seq, item in enumerate(DECODER.decode(payload), first):
                for receipt in outputs.add(seq, engine.apply(item)):
                    db.execute("UPDATE receipt SET document = ? WHERE seq = ?", (receipt.document, receipt.seq))
            state = (engine.digest(), outputs.events, outputs.digest, chain)
            image = engine.snapshot()
            db.execute(
                """UPDATE checkpoint SET state_digest = ?, events = ?, events_digest = ?, chain = ? WHERE seq = ?""",
                (*state, seq),
            )
            db.execute(
                """UPDATE snapshot SET state_digest = ?, events = ?, events_digest = ?, chain = ?, image_digest = ?,
                image = ? WHERE seq = ?""",
                (*state, digest_of_image(image), image, seq),
            )


@pytest.mark.rule("G-17")
def test_a_rewritten_frame_fails_receipts_and_checkpoints(path: Path, published: str) -> None:
    assert verify(path, Purse, published=published).ok
    rewrite_frame_3(path)
    with Journal.read(path) as reader:
        reader.check()  # the chain holds
    found = problem(path)
    assert found.startswith(("receipt ", "snapshot at input 40", "checkpoint at input 40"))
    with tampering(path) as db:
        db.execute("DELETE FROM snapshot")
    with Journal.open(path) as journal, pytest.raises(VerificationError, match=r"receipt |checkpoint at input 40"):
        journal.recover(Purse)


@pytest.mark.rule("G-17")
def test_only_the_published_digest_tells_a_perfect_forgery(path: Path, published: str) -> None:
    rewrite_frame_3(path)
    rewrite_outputs(path)
    assert verify(path, Purse).ok
    assert problem(path, published) == f"no checkpoint that was run again has the published digest {published}"


@pytest.mark.rule("G-17")
def test_only_the_published_digest_tells_a_tail_taken_away_cleanly(path: Path, published: str) -> None:
    with tampering(path) as db:
        db.execute("DELETE FROM frame WHERE number > 4")
        db.execute("DELETE FROM checkpoint WHERE seq > 40")
        db.execute("DELETE FROM snapshot WHERE seq > 40")
        db.execute("DELETE FROM receipt WHERE seq > 40")
    assert verify(path, Purse).ok
    assert "published digest" in problem(path, published)


@pytest.mark.rule("G-02", "G-17")
def test_books_that_do_not_balance_name_frame_input_and_account(path: Path) -> None:
    class Leaky(Purse):
        def apply(self, item: Input):
            if item.number == 25:
                self.banked += 7
            return super().apply(item)

    engine = Leaky()
    with new_journal(path) as journal:
        for start in range(0, 60, 10):
            feed(journal, engine, inputs(60)[start : start + 10])
        journal.checkpoint(60, engine)
    (text,) = verify(path, Leaky).problems
    assert text == (
        f"{path}: frame 3 (inputs 21 to 30): after input 30 the books do not balance: "
        "account bank differs from the purses by 7"
    )


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
def test_an_input_at_which_the_engine_stops_is_named(path: Path) -> None:
    class Broken(Purse):
        def apply(self, item: Input):
            if item.number == 33:
                raise OverflowError("beyond\nbounds")
            return super().apply(item)

    (text,) = verify(path, Broken).problems
    assert text.endswith("input 33 (frame 4 (inputs 31 to 40)): the engine stops at it: OverflowError: beyond bounds")


@pytest.mark.rule("G-17")
def test_a_frame_that_does_not_decode_is_named(path: Path) -> None:
    with new_journal(path) as journal:
        feed(journal, Purse(), inputs(10))
    with tampering(path) as db:
        head = Head()
        head.enter(Segment(*db.execute("SELECT * FROM segment").fetchone()))
        head.follow(head.next_frame(*db.execute("SELECT payload, 10 FROM frame").fetchone()))
        db.execute("INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?)", head.next_frame(b"\x91\x01", 5))
    assert problem(path).startswith("frame 2 (inputs 11 to 15): it does not decode: ")
    with Journal.open(path) as journal, pytest.raises(VerificationError, match=r"frame 2 \(inputs 11 to 15\)"):
        journal.recover(Purse)


@given(data=st.data())
@pytest.mark.rule("G-17")
def test_any_flipped_bit_of_a_payload_is_found_in_its_frame(data: st.DataObject, tmp_path_factory) -> None:
    source = tmp_path_factory.getbasetemp() / "flip-source.sqlite"
    if not source.exists():
        write(source, FRAMES * PER_FRAME, PER_FRAME)
    path = source.with_name("flip.sqlite")
    shutil.copyfile(source, path)
    number = data.draw(st.integers(1, FRAMES), "frame")
    with tampering(path) as db:
        (payload,) = db.execute("SELECT payload FROM frame WHERE number = ?", (number,)).fetchone()
        at, bit = data.draw(st.integers(0, len(payload) - 1), "byte"), data.draw(st.integers(0, 7), "bit")
        db.execute("UPDATE frame SET payload = ? WHERE number = ?", (flipped(payload, at, bit), number))
    assert problem(path).startswith(f"frame {number} (")


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
                journal._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
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


def test_first_difference_names_the_field() -> None:
    issued = {"a": [1, {"b": None}], "c": True}
    assert first_difference(issued, issued) == ""
    assert first_difference({"a": [1, {"b": 0}], "c": True}, issued) == "field a[1].b is 0, issued was None"
    assert first_difference({"a": [1], "c": True}, issued) == "field a has 1 entries, issued were 2"
    assert first_difference({"a": issued["a"]}, issued) == "field c is missing"
    assert first_difference({**issued, "d": 1}, issued) == "field d was never issued"
    assert first_difference({**issued, "c": 1}, issued) == "field c is 1, issued was True"


def test_published_depends_on_all_of_the_checkpoint() -> None:
    base = Checkpoint(1, 20, "ab", 3, b"e", b"c")
    others = [
        base._replace(**{name: value})
        for name, value in (
            ("segment", 2), ("seq", 21), ("state_digest", "ac"),
            ("events", 4), ("events_digest", b"f"), ("chain", b"d"),
        )
    ]  # fmt: skip
    assert len({row.published for row in [base, *others]}) == 7
    assert checksum(b"a") != checksum(b"b")
