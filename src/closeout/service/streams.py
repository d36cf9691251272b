"""GET /v1/stream: a WebSocket on which pages follow the book as it changes.

A client subscribes to topics: ``account:ID`` (an assessment), ``portfolio`` (a customer's accounts, a line each),
``desk`` (the sums of the whole book), ``accounts?sort=owed&level=alert&n=50`` (the first accounts of a list, a line
each, the riskiest unless it says otherwise, and how many match: `closeout.service.listing.Wanted` has the parts),
``stress`` (the book after moves of all contracts) and ``events``. It gets a snapshot first, then deltas:

    {"type": "snapshot" | "delta", "topic": ..., "n": ..., "seq": ..., "ts": ..., "data": {...}}

`n` counts the frames of a topic without a gap. A delta's `data` has the fields that changed, whole; a list of accounts
(`items`) is ``{"rows": [changed rows], "order": [all account ids]}``. Of ``events`` a delta's data is the
list of events. ``{"type": "resume", "topic": ..., "after": n}`` gives the deltas behind `n` while they are kept, else a
snapshot; for events `after` is an input of the journal. What cannot be done is answered with
``{"type": "error", "code": ..., "detail": ..., "topic": ...}``.

A topic is worked out at most four times a second, only when something touched it, once for all its clients, not at all
while it has none, and less often where all topics together would take more than half of the time. Who reads slowly
loses deltas and gets a snapshot in their place; who does not read for five seconds is closed (1013).
"""

from __future__ import annotations

import asyncio
import time as wall
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from litestar.types import Receive, Send
from msgspec import Struct

from closeout.core.times import time_text
from closeout.service.api.guards import CUSTOMER
from closeout.service.api.route import BODY_LIMIT
from closeout.service.applied import Batch
from closeout.service.context import ApiKey, Context
from closeout.service.eventfeed import END, Listener, Sight
from closeout.service.listing import Wanted, parse
from closeout.service.topics import (
    ANYTHING,
    Topic,
    account_topic,
    accounts_topic,
    desk_topic,
    portfolio_topic,
    quoted,
    stress_topic,
    touched,
)

LOOK = 0.02
"""Seconds between two looks at what is due."""
LINGER = 30.0
"""Seconds that a topic is kept without clients, for one that comes back: as it was, and worked out when he has."""
SEND_TIMEOUT = 5.0
AUTH_TIMEOUT = 5.0
TOPICS = 200
"""Topics of one client, at most."""
LISTS = 5
"""Lists of accounts among them, at most: one costs as much as two hundred accounts."""

UNAUTHORIZED, TOO_MANY, SLOW = (1008, "unauthorized"), (1008, "too many streams"), (1013, "slow")
BROKEN = (1011, "internal")
EVENTS, DESK, ACCOUNTS, STRESS = "events", "desk", "accounts", "stress"
SNAPSHOT = None
"""Stands in a client's slot for the whole document, as of when it is sent."""
ENCODER = msgspec.json.Encoder()


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client may send: auth (`key`), subscribe, resume, unsubscribe (`topic`), ping."""

    type: str
    topic: str = ""
    key: str = ""
    after: int | None = None


MESSAGES = msgspec.json.Decoder(Message)


class Fault(Exception):
    """A message that cannot be done; the stream goes on."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


# -- one client --------------------------------------------------------------------------------------


class Client:
    """One WebSocket: a slot per topic with the newest that it has not been sent."""

    def __init__(self, key: ApiKey, send: Send) -> None:
        self.key = key
        self.topics: dict[str, Topic] = {}
        self.listener: Listener | None = None
        self.catching_up: asyncio.Task[None] | None = None
        self.closing: tuple[int, str] | None = None
        self._send = send
        self._slots: dict[str, list[str] | None] = {}
        self._words: deque[str] = deque(maxlen=100)
        self._events_n = 0
        self._woken = asyncio.Event()

    def offer(self, topic: Topic, frame: str) -> None:
        """A delta: it waits, or with another that waits already becomes a snapshot."""
        for name in self._names(topic):
            self._slots[name] = SNAPSHOT if name in self._slots else [frame]
        self._woken.set()

    def begin(self, topic: Topic) -> None:
        """The topic's first document."""
        for name in self._names(topic):
            self.give(name, SNAPSHOT)

    def give(self, name: str, frames: list[str] | None) -> None:
        """What a client gets that subscribes or resumes: deltas, or None for a snapshot."""
        self._slots[name] = frames
        self._woken.set()

    def forget(self, name: str) -> Topic:
        """Follow a topic by this name no more."""
        self._slots.pop(name, None)
        return self.topics.pop(name)

    def _names(self, topic: Topic) -> list[str]:
        """What the client calls the topic: the parts of a query stand in any order."""
        return [name for name, followed in self.topics.items() if followed is topic]

    def say(self, word: Mapping[str, Any]) -> None:
        """An answer to a message."""
        self._words.append(ENCODER.encode(word).decode())
        self._woken.set()

    def close(self, why: tuple[int, str]) -> None:
        self.closing = self.closing or why
        self._woken.set()

    def wake(self) -> None:
        self._woken.set()

    async def write(self) -> None:
        """Send what waits, until the client is closed; raises `TimeoutError` where it does not read."""
        while self.closing is None:
            await self._woken.wait()
            self._woken.clear()
            while self._words and self.closing is None:
                await self._out(self._words.popleft())
            for name in tuple(self._slots):
                if name not in self._slots or self.closing is not None:
                    continue
                topic, frames = self.topics[name], self._slots.pop(name)
                for frame in [topic.snapshot()] if frames is None else frames:
                    await self._out(frame if name == topic.name else frame.replace(topic.word, quoted(name), 1))
            if self.listener is not None:
                await self._write_events(self.listener)

    async def _write_events(self, listener: Listener) -> None:
        if listener.dropped:
            self.close(SLOW)
            return
        events = listener.take()
        while events and self.closing is None:
            some, events = events[:500], events[500:]
            self._events_n += 1
            body = b",".join(told.body for told in some).decode()
            head = f'{{"type":"delta","topic":"{EVENTS}","n":{self._events_n},"seq":{some[-1].place[0]}'
            await self._out(f'{head},"place":"{some[-1].place[0]}.{some[-1].place[1]}","data":[{body}]}}')

    async def _out(self, text: str) -> None:
        message: Any = {"type": "websocket.send", "text": text}
        async with asyncio.timeout(SEND_TIMEOUT):
            await self._send(message)


# -- all of them -------------------------------------------------------------------------------------


class Streams:
    """The topics that somebody follows, and who does."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._topics: dict[str, Topic] = {}
        context.writer.subscribers.append(self.take)

    def take(self, batch: Batch) -> None:
        """Note which topics a batch of the writer's touched."""
        if not self._topics:
            return
        names: set[str] | None = {ANYTHING}
        for item in batch:
            found = touched(item)
            names = None if found is None or names is None else names | found
        for topic in self._topics.values():
            if names is None or not names.isdisjoint(topic.touched_by):
                topic.dirty = True

    async def run(self) -> None:
        """Work out what is due, for ever."""
        while True:
            await asyncio.sleep(LOOK)
            for inner, topic in tuple(self._topics.items()):
                now = wall.perf_counter()
                if not topic.followers and now - topic.idle_since > LINGER:
                    del self._topics[inner]
                elif topic.followers and topic.dirty and now >= topic.due and not topic.busy:
                    try:
                        await self._work_out(topic)
                    except Exception as error:
                        self._broken(topic, error)

    def _broken(self, topic: Topic, error: Exception) -> None:
        """What cannot be worked out does not stop the others; who follows it is not left with old figures."""
        self.context.failed(f"topic {topic.kind}", error)
        topic.dirty, topic.due = True, wall.perf_counter() + SEND_TIMEOUT
        for follower in tuple(topic.followers):
            follower.close(BROKEN)

    async def _work_out(self, topic: Topic) -> None:
        """Step by step, with a rest as long as the step after each: order checks have half the time at least."""
        begun = wall.perf_counter()
        topic.busy = True
        try:
            for _ in self._refresh(topic):
                await asyncio.sleep(wall.perf_counter() - begun)
                begun = wall.perf_counter()
        except BaseException:
            topic.dirty = True  # who began it has gone, or it failed: it is still to be done
            raise
        finally:
            topic.busy = False
        await asyncio.sleep(wall.perf_counter() - begun)

    def _refresh(self, topic: Topic) -> Generator[None]:
        state, writer = self.context.writer.engine.loaded, self.context.writer
        return topic.refresh(state, writer.seq, max(self.context.clock.now(), state.time))

    # -- one connection ------------------------------------------------------------------------------

    async def serve(self, headers: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
        """One WebSocket, from its handshake to its end."""
        await receive()  # the handshake
        await _plainly(send, {"type": "websocket.accept"})
        key = await self._recognise(headers, receive)
        if key is None:
            await self._close(send, UNAUTHORIZED)
            return
        release = self.context.seats.take(key.key_id)
        if release is None:
            await self._close(send, TOO_MANY)
            return
        client = Client(key, send)
        client.say({"type": "ready", "seq": self.context.writer.seq})
        reading = asyncio.create_task(self._read(client, receive))
        writing = asyncio.create_task(client.write())
        try:
            done, _ = await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            if writing in done and isinstance(writing.exception(), TimeoutError):
                client.close(SLOW)
            for task in done:
                if task.exception() is not None and not isinstance(task.exception(), TimeoutError | OSError):
                    self.context.failed("stream", task.exception() or Exception())
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
            self._leave(client)
            release()
            if client.closing is not None:
                await self._close(send, client.closing)

    async def _close(self, send: Send, why: tuple[int, str]) -> None:
        """Close with a reason, as far as the client still listens."""
        code, reason = why
        self.context.closed(reason)
        with suppress(Exception):
            await asyncio.wait_for(_plainly(send, {"type": "websocket.close", "code": code, "reason": reason}), 1.0)

    async def _recognise(self, headers: Mapping[bytes, bytes], receive: Receive) -> ApiKey | None:
        """The key of the handshake's Authorization, or of the first message."""
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer":
            return self.context.access.check(token.strip())
        with suppress(TimeoutError, Fault):
            message = _decode(await asyncio.wait_for(receive(), AUTH_TIMEOUT))
            if message is not None and message.type == "auth":
                return self.context.access.check(message.key)
        return None

    async def _read(self, client: Client, receive: Receive) -> None:
        """Do what the client says, until it goes."""
        while True:
            about = ""
            try:
                message = _decode(await receive())
                if message is None:
                    return
                about = message.topic
                if not self.context.access.spend(client.key).allowed:
                    raise Fault("rate_limited", "too many messages with this key")
                await self._do(client, message)
            except Fault as fault:
                word = {"type": "error", "code": fault.code, "detail": fault.detail}
                client.say(word | ({"topic": about} if about else {}))

    async def _do(self, client: Client, message: Message) -> None:
        if message.type in ("subscribe", "resume"):
            if message.topic == EVENTS:
                await self._listen(client, message.after)
                return
            topic = self._topic(client, message.topic)
            if topic.document is None:
                await self._begin(topic)
                return
            missed = None
            if message.type == "resume" and message.after is not None:
                missed = topic.since(message.after)
            client.give(message.topic, missed)
        elif message.type == "unsubscribe":
            self._unsubscribe(client, message.topic)
        elif message.type == "ping":
            client.say({"type": "pong", "seq": self.context.writer.seq, "ts": time_text(self.context.clock.now())})
        else:
            raise Fault("unknown_message", "expected subscribe, resume, unsubscribe or ping")

    def _topic(self, client: Client, name: str) -> Topic:
        """The topic, which the client follows from now on."""
        if name not in client.topics and len(client.topics) >= TOPICS:
            raise Fault("too_many_topics", f"at most {TOPICS}")
        is_list = name.startswith(ACCOUNTS)
        if is_list and sum(other.startswith(ACCOUNTS) for other in {*client.topics} - {name}) >= LISTS:
            raise Fault("too_many_topics", f"at most {LISTS} lists of accounts")
        inner, make = self._maker(client.key, name)
        topic = self._topics.get(inner)
        if topic is None:
            topic = self._topics[inner] = make()
        client.topics[name] = topic
        topic.followers.add(client)
        return topic

    async def _begin(self, topic: Topic) -> None:
        """Work out a topic that is new, for whoever waits for its first snapshot."""
        if not topic.busy:
            await self._work_out(topic)

    def _maker(self, key: ApiKey, name: str) -> tuple[str, Callable[[], Topic]]:
        """What all who follow the same call it, and what makes it; a fault where the key may not follow it."""
        kind, colon, account_id = name.partition(":")
        is_customer, context = key.role == CUSTOMER, self.context
        if kind == "account" and colon:
            known = account_id in context.writer.engine.loaded.book.row
            if not known or (is_customer and account_id.partition("/")[0] not in key.accounts):
                raise Fault("unknown_account", f"no account {account_id[:128]!r}")
            return name, lambda: account_topic(name, account_id)
        if name == "portfolio" and is_customer:
            return f"{name} {key.key_id}", lambda: portfolio_topic(name, key.accounts)
        kind, _, query = name.partition("?")
        if name not in ("portfolio", DESK, STRESS) and kind != ACCOUNTS:
            raise Fault("unknown_topic", "expected account:ID, portfolio, desk, accounts?..., stress or events")
        if name == "portfolio" or is_customer:
            raise Fault("forbidden", f"not for {key.role} keys")
        if name == DESK:
            return name, lambda: desk_topic(name, context.scans)
        if name == STRESS:
            return name, lambda: stress_topic(name)
        wanted = self._wanted(query)
        return (
            f"{ACCOUNTS}?{wanted.text}",
            lambda: accounts_topic(name, wanted, context.scans, context.roster),
        )

    def _wanted(self, query: str) -> Wanted:
        try:
            return parse(query, self.context.writer.engine.loaded)
        except ValueError as error:
            raise Fault("bad_topic", str(error)[:500]) from None

    async def _listen(self, client: Client, after: int | None) -> None:
        if client.listener is not None:
            raise Fault("subscribed", "events are subscribed to already")
        feed, key = self.context.events, client.key
        begin = feed.position if after is None else min(max(0, after), 2**53)
        sight = Sight(frozenset(key.accounts) if key.role == CUSTOMER else None)
        client.listener = Listener(sight, (begin, END), client.wake)
        client.catching_up = asyncio.create_task(feed.catch_up(client.listener))

    def _unsubscribe(self, client: Client, name: str) -> None:
        if name == EVENTS and client.listener is not None:
            if client.catching_up is not None:
                client.catching_up.cancel()
            self.context.events.leave(client.listener)
            client.listener = None
        elif name in client.topics:
            topic = client.forget(name)
            if topic not in client.topics.values():
                topic.followers.discard(client)
                topic.idle_since = wall.perf_counter()
        else:
            raise Fault("not_subscribed", "that topic is not subscribed to")

    def _leave(self, client: Client) -> None:
        for name in [*client.topics]:
            self._unsubscribe(client, name)
        if client.listener is not None:
            self._unsubscribe(client, EVENTS)


def _decode(received: Any) -> Message | None:
    """A message; None when the client has gone."""
    if received["type"] == "websocket.disconnect":
        return None
    text = received.get("text")
    if text is None:
        raise Fault("bad_message", "expected text")
    if len(text) > BODY_LIMIT:
        raise Fault("bad_message", f"at most {BODY_LIMIT} characters")
    try:
        return MESSAGES.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Fault("bad_message", str(error)[:200]) from None


async def _plainly(send: Send, message: Any) -> None:
    await send(message)
