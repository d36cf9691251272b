"""The session layer, message by message, and against a venue over a line that loses what it likes."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.venues.acceptor import Acceptor, unpacked

from closeout.adapters.venues.fix_codec import Field, Framer, Message
from closeout.adapters.venues.fix_session import LOGON_WAIT, FixConfig, FixSession, Step
from closeout.adapters.venues.fix_store import FixStore
from closeout.core.units import InputError

CONFIG = FixConfig("CLOSEOUT", "VENUE", heartbeat=10)
TIME = 1_760_130_780_000_000_000


def opened(config: FixConfig = CONFIG, store: FixStore | None = None) -> FixSession:
    return FixSession(config, store or FixStore(":memory:", config.session), lambda: TIME)


def told(*steps: Step) -> list[dict[int, str]]:
    """What the steps send."""
    return [dict(pairs) for step in steps for data in step.out for pairs in unpacked(data)[0]]


def message(kind: str, seq: int, *fields: Field) -> Message:
    return Message(kind, ((35, kind), (49, "VENUE"), (56, "CLOSEOUT"), (34, str(seq)), *fields))


def on(config: FixConfig = CONFIG) -> FixSession:
    """A session that is logged on."""
    session = opened(config)
    session.connect(0.0)
    assert session.receive(message("A", 1, (98, "0"), (108, "10")), 0.0) == Step()
    assert session.logged_on
    return session


# Numbers and logon


def test_logon_asks_for_a_reset_only_when_told_to() -> None:
    (plain,) = told(opened().connect(0.0))
    assert (plain[35], plain[34], plain[108], plain.get(141)) == ("A", "1", "10", None)
    session = opened(FixConfig("CLOSEOUT", "VENUE", 10, True, "u", "p"))
    session.store.allot("D", "t", [(11, "o1")])
    session.store.expect(8)
    (asked,) = told(session.connect(0.0))
    assert (asked[34], asked[141], asked[553], asked[554]) == ("1", "Y", "u", "p")
    session.receive(message("A", 1, (108, "10"), (141, "Y")), 0.0)
    assert session.logged_on
    session.dropped()
    (again,) = told(session.connect(1.0))
    assert (again[34], again.get(141)) == ("2", None)


def test_a_reset_that_was_not_asked_for_ends_the_session() -> None:
    session = opened()
    session.connect(0.0)
    step = session.receive(message("A", 1, (108, "10"), (141, "Y")), 0.0)
    assert not session.logged_on
    assert step.close
    assert [code for code, _ in step.alarms] == ["fix_session"]
    assert session.store.next_in == 1


def test_numbers_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "fix.sqlite"
    session = opened(store=FixStore(path, CONFIG.session))
    session.connect(0.0)
    session.receive(message("A", 1), 0.0)
    session.send("D", [(11, "o1")], 0.0)
    # the process is gone here: nothing is closed
    other = opened(store=FixStore(path, CONFIG.session))
    assert [one[34] for one in told(other.connect(0.0))] == ["3"]
    assert other.store.next_in == 2
    with pytest.raises(InputError, match=r"expected the store of the FIX session .*OTHER"):
        FixStore(path, FixConfig("OTHER", "VENUE").session)
    (tmp_path / "text").write_text("no database, but long enough to be taken for the header of one " * 20)
    with pytest.raises(InputError, match="not a store"):
        FixStore(tmp_path / "text", "x")


@pytest.mark.rule("G-09")
def test_what_was_delivered_but_not_dealt_with_is_asked_for_again() -> None:
    session = on()
    assert session.receive(message("8", 2, (17, "E1")), 0.0).deliver is not None
    session.dropped()  # the process failed before `done`
    session.connect(0.0)
    assert [m[7] for m in told(session.receive(message("A", 3), 0.0)) if m[35] == "2"] == ["2"]
    again = message("8", 2, (17, "E1"), (43, "Y"), (122, "t"))
    assert session.receive(again, 0.0).deliver == again
    session.done(again)
    assert session.receive(again, 0.0) == Step()


def test_too_low_ends_the_session_unless_flagged() -> None:
    session = on()
    assert session.receive(message("8", 1, (43, "Y"), (122, "t")), 0.0) == Step()
    step = session.receive(message("8", 1), 0.0)
    assert step.close == "MsgSeqNum too low, expecting 2 but received 1"
    assert [(m[35], m[58]) for m in told(step)] == [("5", step.close)]
    assert [code for code, _ in step.alarms] == ["fix_session"]


# Gaps, in both directions


def test_a_gap_is_asked_for_once_and_what_comes_too_early_is_left_alone() -> None:
    session = on()
    first, second = session.receive(message("8", 4), 0.0), session.receive(message("8", 5), 0.0)
    assert [(m[35], m[7], m[16]) for m in told(first, second)] == [("2", "2", "0")]
    assert first.deliver is None
    session.receive(message("4", 2, (43, "Y"), (123, "Y"), (36, "4")), 0.0)
    assert session.receive(message("8", 4, (43, "Y"), (122, "t")), 0.0).deliver is not None


def test_a_gap_in_what_was_sent_again_is_asked_for_from_there() -> None:
    session = on()
    session.receive(message("8", 6), 0.0)
    session.done(message("8", 2))
    step = session.receive(message("8", 4, (43, "Y"), (122, "t")), 0.0)
    assert [(m[35], m[7], m[16]) for m in told(step)] == [("2", "3", "0")]


def test_a_gap_that_stays_is_asked_for_again_and_then_given_up() -> None:
    session = on()
    session.receive(message("8", 4), 0.0)
    asked, ended, now = 1, Step(), 0.0
    while not ended.close:
        now += 5.0
        session.receive(message("0", 4, (43, "Y"), (122, "t")), now)  # not silent: only the gap does not close
        ended = session.tick(now)
        asked += sum(m[35] == "2" for m in told(ended))
    assert asked == 3
    assert [code for code, _ in ended.alarms] == ["fix_gap"]


def test_a_resend_fills_over_administrative_messages_and_flags_the_rest() -> None:
    session = on()
    session.send("D", [(11, "o1"), (58, "a")], 0.0)  # 2
    session.receive(message("1", 2, (112, "T")), 0.0)  # our heartbeat is 3
    session.send("D", [(11, "o2")], 0.0)  # 4
    session.receive(message("1", 3, (112, "T")), 0.0)  # 5
    again = told(session.receive(message("2", 4, (7, "1"), (16, "0")), 0.0))
    shown = [(m[35], m[34], m.get(36), m.get(11), m[43], m[122]) for m in again]
    time = "20251010-21:13:00.000"
    assert shown == [
        ("4", "1", "2", None, "Y", time),
        ("D", "2", None, "o1", "Y", time),
        ("4", "3", "4", None, "Y", time),
        ("D", "4", None, "o2", "Y", time),
        ("4", "5", "6", None, "Y", time),
    ]
    part = told(session.receive(message("2", 5, (7, "2"), (16, "2")), 0.0))
    assert [(m[35], m[34]) for m in part] == [("D", "2")]
    assert told(session.receive(message("2", 6, (7, "90"), (16, "99")), 0.0)) == []
    assert session.store.next_out == 6


def test_two_sides_with_a_gap_each_do_not_wait_for_each_other() -> None:
    session = on()
    session.send("D", [(11, "o1")], 0.0)
    answered = told(session.receive(message("2", 7, (7, "2"), (16, "0")), 0.0))
    assert [(m[35], m[34]) for m in answered] == [("D", "2"), ("2", "3")]
    assert session.store.next_in == 2


def test_sequence_reset_goes_forward_only_and_tells_what_was_skipped() -> None:
    session = on()
    step = session.receive(message("4", 9, (36, "6")), 0.0)
    assert session.store.next_in == 6
    assert step.alarms == [("fix_messages_lost", "the other side skipped 4 of its messages by a sequence reset")]
    refused = told(session.receive(message("4", 6, (36, "3")), 0.0))
    assert [(m[35], m[45], m[371], m[373]) for m in refused] == [("3", "6", "36", "5")]
    assert session.store.next_in == 6
    bad = told(session.receive(message("4", 6, (123, "Y"), (36, "6")), 0.0))
    assert [(m[35], m[371]) for m in bad] == [("3", "36")]
    assert session.store.next_in == 7


# Rejects, heartbeats, logout


def test_what_is_wrong_with_a_message_is_rejected_or_ends_the_session() -> None:
    session = on()
    (reject,) = told(session.receive(message("8", 2, (43, "Y")), 0.0))
    assert (reject[35], reject[45], reject[371], reject[372], reject[373]) == ("3", "2", "122", "8", "1")
    stranger = Message("8", ((35, "8"), (49, "OTHER"), (56, "CLOSEOUT"), (34, "3")))
    step = session.receive(stranger, 0.0)
    assert [(m[35], m.get(373)) for m in told(step)] == [("3", "9"), ("5", None)]
    assert step.close
    assert session.receive(Message("8", ((35, "8"), (49, "VENUE"), (56, "CLOSEOUT"))), 0.0).close


def test_heartbeats_and_test_requests() -> None:
    session = on()
    assert session.tick(9.9) == Step()
    assert [m[35] for m in told(session.tick(10.0))] == ["0"]
    assert [m.get(112) for m in told(session.receive(message("1", 2, (112, "abc")), 10.0))] == ["abc"]
    assert [m[35] for m in told(session.tick(22.1))] == ["1"]
    session.receive(message("0", 3, (112, "T4")), 23.0)
    assert not session.tick(34.0).close
    assert [m[35] for m in told(session.tick(35.1))][:1] == ["1"]
    assert session.tick(48.0).close == "no answer to a test request"


def test_no_answer_or_another_answer_to_the_logon() -> None:
    session = opened()
    session.connect(0.0)
    assert session.tick(LOGON_WAIT).close == "no answer to the logon"
    assert session.receive(message("8", 1), 0.0).close == "the first message was 8, not a logon"
    step = session.receive(message("5", 1, (58, "bad password")), 0.0)
    assert (step.close, step.alarms) == ("logon refused: bad password", [("fix_logon", "logon refused: bad password")])
    assert session.store.next_in == 2


def test_logout_from_either_side() -> None:
    session = on()
    step = session.receive(message("5", 2, (58, "end of day")), 0.0)
    assert step.close == "the other side logged out: end of day"
    assert [m[35] for m in told(step)] == ["5"]
    session = on()
    assert [m[35] for m in told(session.logout(1.0))] == ["5"]
    assert session.receive(message("5", 2), 1.5).out == []
    assert session.tick(3.1).close


# Whatever the line loses


class Line:
    """The session and an acceptor, and what is on its way between them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.acceptor = Acceptor()
        self.to_venue: list[bytes] = []
        self.to_us: list[bytes] = []
        self.dealt_with: list[tuple[str, bool]] = []
        self.failed: set[str] = set()
        self.ours = self.theirs = 0
        self.now = 0.0
        self.session = opened(store=FixStore(path, CONFIG.session))
        self.up = False

    def drop(self, restart: bool) -> None:
        """Everything on its way is lost; a restart forgets all but the store."""
        self.up = False
        self.to_venue.clear()
        self.to_us.clear()
        self.acceptor.lost()
        self.session.dropped()
        if restart:
            self.session = opened(store=FixStore(self.path, CONFIG.session))

    def send(self) -> None:
        if not self.session.logged_on:
            self.settle()
        self.ours += 1
        self.to_venue.append(self.session.send("B", [(58, f"ours {self.ours}")], self.now)[1])

    def venue_sends(self) -> None:
        """A venue goes on while nobody is connected."""
        self.theirs += 1
        data = self.acceptor.send("B", [(58, f"theirs {self.theirs}")])
        if self.acceptor.logged_on:
            self.to_us.append(data)

    def deliver_there(self) -> None:
        if self.to_venue:
            for pairs in unpacked(self.to_venue.pop(0))[0]:
                self.to_us += self.acceptor.receive(pairs)

    def garble_here(self) -> None:
        if self.to_us and self.session.logged_on:
            self.to_us[0] = self.to_us[0].replace(b"35=", b"36=")

    def deliver_here(self, fails: str = "") -> None:
        """`fails`: the process ends "before" a message is dealt with, or "after" it, but before that is kept."""
        if not self.to_us:
            return
        for heard in self.framer.feed(self.to_us.pop(0)):
            step = self.session.receive(heard, self.now)
            assert not step.close, step.close
            self.to_venue += step.out
            if step.deliver is None:
                continue
            if fails == "before":
                return self.drop(restart=True)
            text = step.deliver.need(58)
            self.dealt_with.append((text, step.deliver.flag(43)))
            if fails == "after":
                self.failed.add(text)
                return self.drop(restart=True)
            self.session.done(step.deliver)
        return None

    def settle(self) -> None:
        """Connect, and go on until there is nothing more on its way, and no gap stands."""
        if not self.up:
            self.up = True
            self.framer = Framer()
            self.to_venue += self.session.connect(self.now).out
        for _ in range(2):
            while self.to_venue or self.to_us:
                self.deliver_there()
                self.deliver_here()
            self.now += CONFIG.heartbeat
            self.to_venue += self.session.tick(self.now).out


STEPS = ["send", "venue_sends", "there", "here", "settle", "garble", "drop", "restart", "fail before", "fail after"]


@pytest.mark.rule("G-16", "G-09")
@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_no_message_is_lost_and_none_repeated_without_its_flag(steps: list[str]) -> None:
    with TemporaryDirectory() as folder:
        line = Line(Path(folder) / "fix.sqlite")
        acts = {
            "send": line.send,
            "venue_sends": line.venue_sends,
            "there": line.deliver_there,
            "here": line.deliver_here,
            "settle": line.settle,
            "garble": line.garble_here,
            "drop": lambda: line.drop(restart=False),
            "restart": lambda: line.drop(restart=True),
            "fail before": lambda: line.deliver_here("before"),
            "fail after": lambda: line.deliver_here("after"),
        }
        for step in steps:
            acts[step]()
        line.settle()
        line.send()
        line.venue_sends()
        line.settle()
    assert [m[58] for m in line.acceptor.handled] == [f"ours {n}" for n in range(1, line.ours + 1)]
    unflagged = [seq for seq, flagged in line.acceptor.copies if not flagged]
    assert len(unflagged) == len(set(unflagged))
    texts = [text for text, _ in line.dealt_with]
    assert list(dict.fromkeys(texts)) == [f"theirs {n}" for n in range(1, line.theirs + 1)]
    repeated = [(text, flagged) for at, (text, flagged) in enumerate(line.dealt_with) if text in texts[:at]]
    assert {text for text, _ in repeated} == line.failed  # only what was not kept as dealt with
    assert all(flagged for _, flagged in repeated)
