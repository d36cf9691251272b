"""Framing and encoding of FIX messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.venues.acceptor import packed, unpacked

from closeout.adapters.venues.fix_codec import Framer, Message, MissingTag, encode, utc_timestamp

VALUES = st.text(st.characters(exclude_characters="\x01", exclude_categories=["Cs"]), min_size=1, max_size=12)
BODIES = st.lists(st.tuples(st.sampled_from([11, 55, 58, 1000]), VALUES), max_size=5)


@given(st.lists(BODIES, max_size=4), st.data())
def test_any_stream_in_any_pieces_gives_its_messages(bodies: list[list[tuple[int, str]]], data: st.DataObject) -> None:
    stream = b"".join(encode("D", [(34, str(number)), *body]) for number, body in enumerate(bodies, 1))
    framer, found = Framer(), list[Message]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += framer.feed(stream[:size])
        stream = stream[size:]
    assert [list(message.fields[1:]) for message in found] == [
        [(34, str(number)), *body] for number, body in enumerate(bodies, 1)
    ]
    assert framer.garbled == 0


@given(BODIES, st.data())
def test_a_garbled_message_is_left_out_and_the_next_one_read(body: list[tuple[int, str]], data: st.DataObject) -> None:
    """Any one byte of the first message is broken; enough good ones follow to fill whatever length it then claims."""
    first = bytearray(encode("D", [(34, "1"), *body]))
    at = data.draw(st.integers(0, len(first) - 1))
    first[at] ^= data.draw(st.integers(1, 255))
    good = [encode("0", [(34, str(number))]) for number in range(2, 60)]
    found = Framer().feed(bytes(first) + b"".join(good))
    assert [message.seq for message in found] == list(range(2, 60))


def test_the_acceptor_of_the_tests_reads_what_is_written_and_the_other_way_round() -> None:
    fields = [(49, "A"), (34, "7"), (58, "gr\u00fc\u00df = dich")]
    assert unpacked(encode("B", fields)) == ([[(35, "B"), *fields]], b"")
    (message,) = Framer().feed(packed([(35, "B"), *fields]))
    assert message == Message("B", ((35, "B"), *fields))


@pytest.mark.parametrize("value", ["", "a\x0155=BTC"])
def test_a_value_cannot_bring_fields_of_its_own(value: str) -> None:
    with pytest.raises(ValueError, match="tag 1"):
        encode("D", [(1, value)])


def test_fields() -> None:
    message = Message("8", ((35, "8"), (34, "12"), (43, "Y"), (17, "a"), (17, "b"), (38, "-5"), (14, "\u0663")))
    assert (message.seq, message.flag(43), message.flag(123)) == (12, True, False)
    assert (message.get(17), message.all(17), message.get(1)) == ("a", ["a", "b"], None)
    assert (message.number(38), message.number(14)) == (None, None)
    assert message.body() == [(17, "a"), (17, "b"), (38, "-5"), (14, "\u0663")]
    with pytest.raises(MissingTag, match="missing: 44"):
        message.need(44)
    assert utc_timestamp(1_760_130_780_250_000_000) == "20251010-21:13:00.250"
