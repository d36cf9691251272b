"""The session layer of FIX 4.4 for the side that connects, without input or output of its own.

`FixConnection` feeds it messages and the time and sends what it answers. It keeps to this:

    numbers     both are durable (`FixStore`) before anything acts on them; an incoming one counts when its message has
                been dealt with (`done`), so what a crash interrupts is asked for again
    gaps        what is numbered too high is left alone and asked for, from the first missing one to the end; while the
                gap stands the request is repeated, a few times, once per heartbeat interval
    too low     dropped when flagged as a possible duplicate; otherwise the session ends with a logout and an alarm
    resending   application messages go again under their own numbers as possible duplicates; what lies between them is
                skipped by gap fills
    reset       numbers start anew only when asked for (`FixConfig.reset`), never because the other side says so

SendingTime is not compared with the own clock: a venue's clock decides nothing here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from closeout.adapters.venues.fix_codec import Field, Fields, Message, MissingTag, encode, utc_timestamp
from closeout.adapters.venues.fix_store import FixStore

LOGON_WAIT = 10.0
"""Seconds for an answer to a logon."""
LOGOUT_WAIT = 2.0
PATIENCE = 1.2
"""Heartbeat intervals of silence until a test request, and again until the connection is given up."""
GAP_REQUESTS = 3

REQUIRED_TAG_MISSING, VALUE_INCORRECT, COMP_ID_PROBLEM = 1, 5, 9
"""Values of SessionRejectReason (373)."""


class FixConfig(Struct, frozen=True):
    """Who we are and who they are. `heartbeat` in seconds. `reset`: ask the other side to start the numbers anew at
    this process' first logon."""

    sender: str
    target: str
    heartbeat: int = 30
    reset: bool = False
    username: str = ""
    password: str = ""

    @property
    def session(self) -> str:
        """The session's name, that of its store."""
        return f"FIX.4.4:{self.sender}->{self.target}"


class Step(Struct):
    """What follows: bytes to send in order, a message to hand on (then call `done`), alarms, and, where not empty, why
    the connection must be closed."""

    out: list[bytes] = []
    deliver: Message | None = None
    close: str = ""
    alarms: list[tuple[str, str]] = []


class FixSession:
    """One session's state; see the module. `now` is any clock that only goes forward, in seconds; `clock` is UTC in
    nanoseconds. Calls block for the store's disk and must not overlap."""

    def __init__(self, config: FixConfig, store: FixStore, clock: Callable[[], int] = time.time_ns) -> None:
        self.config, self.store, self.clock = config, store, clock
        self.logged_on = False
        self._reset = config.reset
        self._heartbeat = float(config.heartbeat)
        self._clear(0.0)

    def _clear(self, now: float) -> None:
        """The state of a new connection."""
        self.logged_on = False
        self._connected_at = self._received_at = self._sent_at = now
        self._tested_at: float | None = None
        self._leaving_at: float | None = None
        self._highest = self._asked = self._requests = 0
        self._asked_at = now

    # -- what the owner does ------------------------------------------------------------------------

    def connect(self, now: float) -> Step:
        """A connection stands: log on."""
        self._clear(now)
        if self._reset:
            self.store.reset()
        fields: list[Field] = [(98, "0"), (108, str(self.config.heartbeat))]
        if self._reset:
            fields.append((141, "Y"))
        if self.config.username:
            fields += [(553, self.config.username), (554, self.config.password)]
        return Step([self._admin("A", fields, now)])

    def send(self, msg_type: str, body: Fields, now: float) -> tuple[int, bytes]:
        """Number and bytes of an application message; it is stored before this returns."""
        self._sent_at = now
        sending = utc_timestamp(self.clock())
        seq = self.store.allot(msg_type, sending, body)
        return seq, self._encode(msg_type, seq, sending, body)

    def reject(self, message: Message, tag: int, text: str, now: float) -> Step:
        """A session-level reject of a message that could not be read."""
        return Step([self._reject(message, REQUIRED_TAG_MISSING, text, now, tag)])

    def logout(self, now: float, text: str = "") -> Step:
        self._leaving_at = now
        return Step([self._admin("5", [(58, text)] if text else [], now)])

    def dropped(self) -> None:
        """The connection is gone."""
        self.logged_on = False

    def done(self, message: Message) -> None:
        """A delivered message has been dealt with, for good."""
        self._advance(message.seq + 1)

    def tick(self, now: float) -> Step:
        """What the time asks for: heartbeat, test request, a request repeated, or the end."""
        if self._leaving_at is not None:
            return Step(close="logged out" if now - self._leaving_at >= LOGOUT_WAIT else "")
        if not self.logged_on:
            return Step(close="no answer to the logon" if now - self._connected_at >= LOGON_WAIT else "")
        step = Step()
        patience = self._heartbeat * PATIENCE
        if self._tested_at is not None and now - self._tested_at >= patience:
            return Step(close="no answer to a test request")
        if self._tested_at is None and now - self._received_at >= patience:
            self._tested_at = now
            step.out.append(self._admin("1", [(112, f"T{self.store.next_out}")], now))
        if self._asked and now - self._asked_at >= self._heartbeat:
            if self._requests >= GAP_REQUESTS:
                text = f"messages from {self.store.next_in} on were asked for {GAP_REQUESTS} times and did not come"
                return Step(close=text, alarms=[("fix_gap", text)])
            step.out.append(self._ask(now))
        if now - self._sent_at >= self._heartbeat:
            step.out.append(self._admin("0", [], now))
        return step

    # -- what comes in ------------------------------------------------------------------------------

    def receive(self, message: Message, now: float) -> Step:
        """Deal with one message; never raises for what the other side sends."""
        self._received_at, self._tested_at = now, None
        try:
            seq = message.seq
        except MissingTag:
            return self._give_up("a message came without MsgSeqNum", now)
        if (message.get(49), message.get(56)) != (self.config.target, self.config.sender):
            wrong = f"CompIDs {message.get(49)} -> {message.get(56)} are not this session's"
            if not self.logged_on:
                return Step(close=wrong, alarms=[("fix_session", wrong)])
            out = [self._reject(message, COMP_ID_PROBLEM, wrong, now)]
            if seq == self.store.next_in:
                self._advance(seq + 1)
            ended = self._give_up(wrong, now)
            return Step(out + ended.out, None, ended.close, ended.alarms)
        if not self.logged_on:
            return self._first(message, seq, now)
        if message.type == "4" and not message.flag(123):
            return self._reset_to(message, now)
        if seq < self.store.next_in:
            return self._too_low(message, seq, now)
        if seq > self.store.next_in:
            return self._too_high(message, seq, now)
        return self._in_order(message, seq, now)

    def _first(self, message: Message, seq: int, now: float) -> Step:
        """The answer to the logon."""
        text = message.get(58) or "no reason given"
        if message.type == "5":
            if seq == self.store.next_in:
                self._advance(seq + 1)
            return Step(close=f"logon refused: {text}", alarms=[("fix_logon", f"logon refused: {text}")])
        if message.type != "A":
            return Step(close=f"the first message was {message.type}, not a logon")
        if seq < self.store.next_in:
            return self._too_low(message, seq, now)
        if message.flag(141) and not self._reset:
            return self._give_up("the other side wants to reset the numbers, which was not asked for", now)
        self.logged_on, self._reset = True, False
        self._heartbeat = float(message.number(108) or self.config.heartbeat)
        if seq > self.store.next_in:
            return self._too_high(message, seq, now)
        self._advance(seq + 1)
        return Step()

    def _too_low(self, message: Message, seq: int, now: float) -> Step:
        if message.flag(43):
            return Step()
        return self._give_up(f"MsgSeqNum too low, expecting {self.store.next_in} but received {seq}", now)

    def _too_high(self, message: Message, seq: int, now: float) -> Step:
        """A gap. Only what must not wait for its turn is answered: two sides that ask each other would never end."""
        out: list[bytes] = []
        if message.type == "2":
            out += self._resend(message, now)
        elif message.type == "5":
            return self._logged_out(message, now)
        self._highest = max(self._highest, seq)
        if self._asked != self.store.next_in:
            self._requests = 0
            out.append(self._ask(now))
        return Step(out)

    def _in_order(self, message: Message, seq: int, now: float) -> Step:
        if message.flag(43) and message.type != "4" and message.get(122) is None:
            self._advance(seq + 1)
            return Step([self._reject(message, REQUIRED_TAG_MISSING, "OrigSendingTime missing", now, 122)])
        match message.type:
            case "0":
                out: list[bytes] = []
            case "1":
                out = [self._admin("0", [(112, message.get(112) or "none")], now)]
            case "2":
                out = self._resend(message, now)
            case "4":
                return self._gap_fill(message, seq, now)
            case "5":
                self._advance(seq + 1)
                return self._logged_out(message, now)
            case "A":
                self._advance(seq + 1)
                if message.flag(141):
                    return self._give_up("the other side wants to reset the numbers, which was not asked for", now)
                return Step()
            case _:
                return Step(deliver=message)
        self._advance(seq + 1)
        return Step(out)

    def _logged_out(self, message: Message, now: float) -> Step:
        reason = f"the other side logged out: {message.get(58) or 'no reason given'}"
        return Step([] if self._leaving_at is not None else self.logout(now).out, close=reason)

    def _give_up(self, text: str, now: float) -> Step:
        """What only a person can mend."""
        return Step(self.logout(now, text).out, close=text, alarms=[("fix_session", text)])

    # -- numbers ------------------------------------------------------------------------------------

    def _advance(self, next_in: int) -> None:
        self.store.expect(next_in)
        if next_in > self._highest:
            self._asked = self._requests = 0

    def _ask(self, now: float) -> bytes:
        self._asked, self._asked_at = self.store.next_in, now
        self._requests += 1
        return self._admin("2", [(7, str(self._asked)), (16, "0")], now)

    def _gap_fill(self, message: Message, seq: int, now: float) -> Step:
        new = message.number(36)
        if new is None or new <= seq:
            self._advance(seq + 1)
            return Step([self._reject(message, VALUE_INCORRECT, "NewSeqNo must be above MsgSeqNum", now, 36)])
        self._advance(new)
        return Step()

    def _reset_to(self, message: Message, now: float) -> Step:
        """SequenceReset in reset mode: obeyed whatever its own number, but never backwards."""
        new = message.number(36)
        if new is None or new < self.store.next_in:
            return Step([self._reject(message, VALUE_INCORRECT, f"NewSeqNo below {self.store.next_in}", now, 36)])
        lost = new - self.store.next_in
        self._advance(new)
        text = f"the other side skipped {lost} of its messages by a sequence reset"
        return Step(alarms=[("fix_messages_lost", text)] if lost else [])

    def _resend(self, message: Message, now: float) -> list[bytes]:
        """The answer to a resend request: everything from the first to the last asked for, or gap fills over it."""
        first, last = message.number(7) or 1, message.number(16) or 0
        newest = self.store.next_out - 1
        last = newest if last == 0 else min(last, newest)
        self._sent_at = now
        out: list[bytes] = []
        for sent in self.store.sent(first, last):
            if sent.seq > first:
                out.append(self._fill(first, sent.seq))
            again: list[Field] = [(43, "Y"), (122, sent.time)]
            out.append(self._encode(sent.type, sent.seq, utc_timestamp(self.clock()), sent.body, again))
            first = sent.seq + 1
        if first <= last:
            out.append(self._fill(first, last + 1))
        return out

    def _fill(self, seq: int, new: int) -> bytes:
        sending = utc_timestamp(self.clock())
        return self._encode("4", seq, sending, [(123, "Y"), (36, str(new))], [(43, "Y"), (122, sending)])

    # -- bytes --------------------------------------------------------------------------------------

    def _reject(self, message: Message, reason: int, text: str, now: float, tag: int = 0) -> bytes:
        fields: list[Field] = [(45, message.get(34) or "0")]
        fields += [(371, str(tag))] if tag else []
        return self._admin("3", [*fields, (372, message.type), (373, str(reason)), (58, text)], now)

    def _admin(self, msg_type: str, body: Fields, now: float) -> bytes:
        self._sent_at = now
        sending = utc_timestamp(self.clock())
        return self._encode(msg_type, self.store.allot(msg_type, sending, None), sending, body)

    def _encode(self, msg_type: str, seq: int, sending: str, body: Fields, again: Fields = ()) -> bytes:
        header: list[Field] = [(49, self.config.sender), (56, self.config.target), (34, str(seq)), (52, sending)]
        return encode(msg_type, [*header, *again, *body])
