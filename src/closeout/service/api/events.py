"""GET /v1/events: what happened, as pages or as a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from closeout.service.api.problems import Problem, invalid
from closeout.service.api.route import Answer, Call, Stream, route
from closeout.service.api.schema import Body, Limit, Listed
from closeout.service.eventfeed import END, EventFeed, Listener, Place, Sight, Told

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment says that the line still stands."""


class EventsQuery(Body, frozen=True, kw_only=True):
    """`after`: the journal's input, or an event's place ``SEQ.IDX``, behind which to begin."""

    after: Annotated[str, Meta(pattern="^[0-9]{1,18}([.][0-9]{1,9})?$")] | UnsetType = UNSET
    limit: Limit = 100


def place_of(text: str, pointer: str) -> Place:
    """``17`` is behind all of input 17, ``17.2`` behind one of its events."""
    seq, dot, idx = text.partition(".")
    if not all(part.isascii() and part.isdigit() for part in ((seq, idx) if dot else (seq,))) or len(text) > 28:
        raise invalid("expected SEQ or SEQ.IDX", pointer)
    return int(seq), int(idx) if dot else END


def sight_of(call: Call) -> Sight:
    return Sight(frozenset(call.person.accounts) if call.is_customer else None)


@route("GET", "/v1/events", Listed, query=EventsQuery, media=("application/json", EVENT_STREAM))
async def list_events(call: Call) -> Any:
    """Events in order, `next` being the place to go on from. With ``Accept: text/event-stream`` they come as they
    happen; `Last-Event-ID` goes on where a stream broke off."""
    feed = call.context.events
    if EVENT_STREAM in call.headers.get(b"accept", b"").decode("latin-1"):
        return _stream(call, feed)
    after = (0, 0) if call.query.after is UNSET else place_of(call.query.after, "after")
    found = await feed.page(after, call.query.limit, sight_of(call))
    following = b'"%d.%d"' % found.events[-1].place if found.more else b"null"
    return Answer(b'{"items":[' + b",".join(told.body for told in found.events) + b'],"next":' + following + b"}")


def _stream(call: Call, feed: EventFeed) -> Stream:
    begun = call.headers.get(b"last-event-id", b"").decode("latin-1")
    if begun:
        after = place_of(begun, "Last-Event-ID")
    elif call.query.after is not UNSET:
        after = place_of(call.query.after, "after")
    else:
        after = (feed.position, END)
    release = call.context.seats.take(call.person.key_id)
    if release is None:
        raise Problem(429, "too_many_streams", "this key has as many streams open as it may", retry_after=5)
    return Stream(_chunks(feed, after, sight_of(call), release), EVENT_STREAM.encode())


async def _chunks(feed: EventFeed, after: Place, sight: Sight, release: Any) -> AsyncIterator[bytes]:
    woken = asyncio.Event()
    listener = Listener(sight, after, woken.set)
    catching_up = asyncio.create_task(feed.catch_up(listener))
    try:
        yield b"retry: 2000\n\n"
        while not listener.dropped:
            try:
                await asyncio.wait_for(woken.wait(), KEEP_ALIVE)
            except TimeoutError:
                yield b":\n\n"
                continue
            woken.clear()
            for told in listener.take():
                yield _sent(told)
    finally:
        catching_up.cancel()
        feed.leave(listener)
        release()


def _sent(told: Told) -> bytes:
    return b"id: %d.%d\nevent: %s\ndata: %s\n\n" % (*told.place, told.kind.encode(), told.body)
