"""Every way of tampering with a journal is found, and the place is named."""

import shutil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.journal.places import Place, name_of, tampering
from tests.journal.purse import Purse, feed, inputs, new_journal, write

from closeout.engine.commands import DECODER, ENCODER, Deposit, Input
from closeout.journal.journal import Journal
from closeout.journal.records import Checkpoint, Head, Outputs, Segment, VerificationError, checksum, digest_of_image
from closeout.journal.rerun import first_difference
from closeout.journal.verify import Verification, verify

FRAMES, PER_FRAME = 6, 10


@pytest.fixture
def published(place: Place) -> str:
    return write(place, FRAMES * PER_FRAME, PER_FRAME)


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def problem(place: Place, published: str | None = None) -> str:
    """The one problem that verification names, without the journal's name."""
    result = verify(place, Purse, published=published)
    assert not result.ok
    assert len(result.problems) == 1
    text = result.problems[0]
    assert "\n" not in text
    assert text.startswith(f"{name_of(place)}: ")
    return text.removeprefix(f"{name_of(place)}: ")


@pytest.mark.rule("G-03", "G-17")
def test_a_sound_journal_is_proven_and_counted(place: Place, published: str) -> None:
    seen: list[tuple[int, int]] = []
    result = verify(place, Purse, published=published, progress=lambda done, total: seen.append((done, total)))
    engine, outputs, receipts, postings = Purse(), Outputs(), 0, 0
    for seq, item in enumerate(inputs(60), 1):
        events = engine.apply(item)
        receipts += len(outputs.add(seq, events))
        postings += sum(type(event).__name__ == "Posted" for event in events)
    assert result == Verification(
        True, [], 6, 60, outputs.events, postings, receipts, 3, 3,
        engine.digest(), outputs.digest.hex(), result.chain_digest, published, name_of(place),
    )  # fmt: skip
    assert seen == [(done, 60) for done in range(10, 61, 10)]


@pytest.mark.rule("G-17")
def test_an_older_published_digest_still_holds_when_the_journal_has_grown(place: Place, published: str) -> None:
    with Journal.open(place) as journal:
        engine, _ = journal.recover(Purse)
        feed(journal, engine, inputs(80)[60:])
        newer = journal.checkpoint(80, engine)
    assert newer != published
    assert verify(place, Purse, published=published).ok
    assert verify(place, Purse, published=newer.upper()).ok
    assert "no checkpoint that was run again has the published digest beef" in problem(place, "beef")


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
def test_a_changed_payload_byte(place: Place) -> None:
    with tampering(place) as execute:
        (payload,) = execute("SELECT payload FROM frame WHERE number = 3").fetchone()
        execute("UPDATE frame SET payload = ? WHERE number = 3", (flipped(payload, 40),))
    assert problem(place) == "frame 3 (inputs 21 to 30): its bytes do not match its length and checksum"
    with pytest.raises(VerificationError, match=r"frame 3 \(inputs 21 to 30\)"):
        Journal.open(place)
    with Journal.read(place) as reader, pytest.raises(VerificationError, match=r"frame 3 .* match its checksum"):
        [frame.inputs() for frame in reader.frames()]


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE frame SET chain = ? WHERE number = 4", "frame 4 (inputs 31 to 40): its chained digest"),
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
        ("UPDATE snapshot SET image = ? WHERE seq = 40", "snapshot at input 40 (segment 1): its image"),
        ("UPDATE snapshot SET state_digest = 'x' WHERE seq = 20", "snapshot at input 20 (segment 1): the state's"),
        ("UPDATE snapshot SET events_digest = ? WHERE seq = 20", "snapshot at input 20 (segment 1): the events"),
        ("UPDATE checkpoint SET events = 1 WHERE seq = 20", "checkpoint at input 20: "),
        ("UPDATE checkpoint SET chain = ? WHERE seq = 40", "checkpoint at input 40: its chained digest"),
        ("UPDATE checkpoint SET seq = 41 WHERE seq = 40", "a checkpoint stands after input 41, but no frame"),
        ("INSERT INTO receipt VALUES (7, 'R', '{}')", "receipt R of input 7 is stored, but was never issued"),
        ("INSERT INTO receipt VALUES (70, 'R', '{}')", "receipt R of input 70 is stored, but the journal ends"),
    ],
)  # fmt: skip
def test_a_changed_row(place: Place, change: str, expected: str) -> None:
    with tampering(place) as execute:
        assert execute(change, (bytes(32),) if "?" in change else ()).rowcount > 0
    assert problem(place).startswith(expected)


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
def test_swapped_frames(place: Place) -> None:
    with tampering(place) as execute:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            execute("UPDATE frame SET number = ? WHERE number = ?", (new, old))
    assert problem(place).startswith("frame 2 (inputs 21 to 30): input 11 was due: frames are swapped")
    with tampering(place) as execute:  # with the inputs' numbers put right too
        execute("UPDATE frame SET first_seq = 10 * number - 9, last_seq = 10 * number")
    assert problem(place).startswith("frame 2 (inputs 11 to 20): its chained digest")


@pytest.mark.rule("G-11", "G-17")
@pytest.mark.usefixtures("published")
def test_a_receipt_changed_or_taken_away(place: Place) -> None:
    with tampering(place) as execute:
        seq, name, text = execute("SELECT * FROM receipt ORDER BY seq LIMIT 1").fetchone()
        receipt = msgspec.json.decode(text)
        time = receipt["legs"][0]["time"]
        receipt["legs"][0]["time"] = 1
        execute("UPDATE receipt SET document = ? WHERE seq = ?", (msgspec.json.encode(receipt).decode(), seq))
    assert problem(place) == f"receipt {name} of input {seq}: field legs[0].time is 1, issued was {time}"
    with tampering(place) as execute:
        execute("UPDATE receipt SET document = ? WHERE seq = ?", (text + " ", seq))
    assert problem(place) == f"receipt {name} of input {seq}: its text was rewritten"
    with tampering(place) as execute:
        execute("DELETE FROM receipt WHERE seq = ?", (seq,))
    assert problem(place) == f"receipt {name} of input {seq} was issued, but is not stored"


def rewrite_frame_3(place: Place) -> None:
    """A forger's work: one deposit in frame 3 made larger, its checksum and all later chained digests computed anew."""
    with tampering(place) as execute:
        (payload,) = execute("SELECT payload FROM frame WHERE number = 3").fetchone()
        items = DECODER.decode(payload)
        at = next(index for index, item in enumerate(items) if isinstance(item.command, Deposit))
        old = items[at]
        assert isinstance(old.command, Deposit)
        larger = Deposit(old.command.account_id, old.command.micros + 1_000_000)
        items[at] = Input(old.source, old.number, old.time, larger)
        execute("UPDATE frame SET payload = ? WHERE number = 3", (ENCODER.encode(items),))
        head = Head()
        head.enter(Segment(*execute("SELECT * FROM segment").fetchone()))
        for number, first, last, payload in execute(
            "SELECT number, first_seq, last_seq, payload FROM frame ORDER BY number"
        ).fetchall():
            frame = head.next_frame(payload, last - first + 1)
            head.follow(frame)
            values = (frame.length, frame.checksum, frame.chain, number)
            execute("UPDATE frame SET length = ?, checksum = ?, chain = ? WHERE number = ?", values)


def rewrite_outputs(place: Place) -> None:
    """The rest of the forger's work: receipts, snapshots and checkpoints of the rewritten inputs."""
    engine, outputs = Purse(), Outputs()
    with tampering(place) as execute:
        for first, payload, chain in execute("SELECT first_seq, payload, chain FROM frame ORDER BY number").fetchall():
            for seq, item in enumerate(DECODER.decode(payload), first):
                for receipt in outputs.add(seq, engine.apply(item)):
                    execute("UPDATE receipt SET document = ? WHERE seq = ?", (receipt.document, receipt.seq))
            state = (engine.digest(), outputs.events, outputs.digest, chain)
            image = engine.snapshot()
            execute(
                """UPDATE checkpoint SET state_digest = ?, events = ?, events_digest = ?, chain = ? WHERE seq = ?""",
                (*state, seq),
            )
            execute(
                """UPDATE snapshot SET state_digest = ?, events = ?, events_digest = ?, chain = ?, image_digest = ?,
                image = ? WHERE seq = ?""",
                (*state, digest_of_image(image), image, seq),
            )


@pytest.mark.rule("G-17")
def test_a_rewritten_frame_fails_receipts_and_checkpoints(place: Place, published: str) -> None:
    assert verify(place, Purse, published=published).ok
    rewrite_frame_3(place)
    with Journal.read(place) as reader:
        reader.check()  # the chain holds
    found = problem(place)
    assert found.startswith(("receipt ", "snapshot at input 40", "checkpoint at input 40"))
    with tampering(place) as execute:
        execute("DELETE FROM snapshot")
    with Journal.open(place) as journal, pytest.raises(VerificationError, match=r"receipt |checkpoint at input 40"):
        journal.recover(Purse)


@pytest.mark.rule("G-17")
def test_only_the_published_digest_tells_a_perfect_forgery(place: Place, published: str) -> None:
    rewrite_frame_3(place)
    rewrite_outputs(place)
    assert verify(place, Purse).ok
    assert problem(place, published) == f"no checkpoint that was run again has the published digest {published}"


@pytest.mark.rule("G-17")
def test_only_the_published_digest_tells_a_tail_taken_away_cleanly(place: Place, published: str) -> None:
    with tampering(place) as execute:
        execute("DELETE FROM frame WHERE number > 4")
        execute("DELETE FROM checkpoint WHERE seq > 40")
        execute("DELETE FROM snapshot WHERE seq > 40")
        execute("DELETE FROM receipt WHERE seq > 40")
    assert verify(place, Purse).ok
    assert "published digest" in problem(place, published)


@pytest.mark.rule("G-02", "G-17")
def test_books_that_do_not_balance_name_frame_input_and_account(place: Place) -> None:
    class Leaky(Purse):
        def apply(self, item: Input):
            if item.number == 25:
                self.banked += 7
            return super().apply(item)

    engine = Leaky()
    with new_journal(place) as journal:
        for start in range(0, 60, 10):
            feed(journal, engine, inputs(60)[start : start + 10])
        journal.checkpoint(60, engine)
    (text,) = verify(place, Leaky).problems
    assert text == (
        f"{name_of(place)}: frame 3 (inputs 21 to 30): after input 30 the books do not balance: "
        "account bank differs from the purses by 7"
    )


@pytest.mark.rule("G-17")
@pytest.mark.usefixtures("published")
def test_an_input_at_which_the_engine_stops_is_named(place: Place) -> None:
    class Broken(Purse):
        def apply(self, item: Input):
            if item.number == 33:
                raise OverflowError("beyond\nbounds")
            return super().apply(item)

    (text,) = verify(place, Broken).problems
    assert text.endswith("input 33 (frame 4 (inputs 31 to 40)): the engine stops at it: OverflowError: beyond bounds")


@pytest.mark.rule("G-17")
def test_a_frame_that_does_not_decode_is_named(place: Place) -> None:
    with new_journal(place) as journal:
        feed(journal, Purse(), inputs(10))
    with tampering(place) as execute:
        head = Head()
        head.enter(Segment(*execute("SELECT * FROM segment").fetchone()))
        head.follow(head.next_frame(*execute("SELECT payload, 10 FROM frame").fetchone()))
        execute("INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?)", head.next_frame(b"\x91\x01", 5))
    assert problem(place).startswith("frame 2 (inputs 11 to 15): it does not decode: ")
    with Journal.open(place) as journal, pytest.raises(VerificationError, match=r"frame 2 \(inputs 11 to 15\)"):
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
    with tampering(path) as execute:
        (payload,) = execute("SELECT payload FROM frame WHERE number = ?", (number,)).fetchone()
        at, bit = data.draw(st.integers(0, len(payload) - 1), "byte"), data.draw(st.integers(0, 7), "bit")
        execute("UPDATE frame SET payload = ? WHERE number = ?", (flipped(payload, at, bit), number))
    assert problem(path).startswith(f"frame {number} (")


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
