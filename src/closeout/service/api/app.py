"""The door: every request is measured, recognised, counted and held to the table of roles before its handler runs.

The API is one ASGI application (`Api`) before a Litestar application, which has the pages. It does not use Litestar's
own handlers: their parameters are converted leniently (the text "1" passes as a number), their OpenAPI document leaves
out that unknown fields are refused, and the order check, which brokers wait for, is about twice as fast without them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from closeout.service.api import (
    accounts,
    cash,
    desk,
    events,
    limits,
    lists,
    market,
    news,
    orders,
    outbox,
    portfolio,
    problems,
    proposals,
    reports,
    system,
)
from closeout.service.api.audit import Audit
from closeout.service.api.problems import PROBLEM_JSON, Problem
from closeout.service.api.route import (
    METRICS,
    ROUTES,
    Answer,
    Call,
    Node,
    Route,
    Stream,
    encode,
    find,
    read_body,
    read_query,
)
from closeout.service.context import ApiKey, Context
from closeout.service.store.records import AuditEntry
from closeout.service.streams import Streams
from closeout.service.writer import Refused

TOPICS = (
    accounts, cash, desk, events, limits, lists, market, news, orders, outbox, portfolio, proposals, reports, system,
)  # fmt: skip
"""Importing them registered their routes."""

_CHALLENGE = ((b"www-authenticate", b'Bearer realm="closeout"'),)
_LOOPBACK = ("127.0.0.1", "::1")


class Gone(Exception):
    """The client went away while it was sending."""


class Api:
    """The ASGI application of all routes."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.audit = Audit(context)
        self._tree = Node()
        for route in ROUTES.values():
            self._tree.add(route)
        self._find = lru_cache(4096)(partial(find, self._tree))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        visit = _Visit(scope)
        try:
            answer = await self._answer(visit, receive)
        except Gone:
            return
        except Problem as problem:
            answer = _of_problem(problem)
        except Refused as refused:
            answer = _of_problem(problems.of_refusal(refused))
        except Exception as error:
            self.context.failed(f"{visit.method} {visit.path}", error)
            answer = _of_problem(Problem(500, "internal", "this is our fault; it is in the log"))
        status = 200 if isinstance(answer, Stream) else answer.status
        self._note(visit, status, time.perf_counter() - begun)
        if isinstance(answer, Stream):
            await _stream(answer, receive, send)
        else:
            await _send(answer, visit.headers_out, send)

    async def _answer(self, visit: _Visit, receive: Receive) -> Answer | Stream:
        """Measure, recognise, count, hold to the roles; then read and handle."""
        route, path = self._find(visit.path, visit.method)
        visit.route = route
        _check_length(visit, route.limit)
        self._admit(visit, route)
        key = _idempotency_key(visit) if route.writes else ""
        query = read_query(route, visit.query)
        raw = await _body(receive, route.limit) if route.body is not None or route.file else b""
        body = read_body(route, raw, visit.header(b"content-type"))
        call = Call(self.context, visit.method, path, query, body, visit.headers, visit.key, key)
        visit.call = call
        made = await route.handle(call)
        if call.replayed:
            visit.headers_out += ((b"idempotent-replayed", b"true"),)
        if isinstance(made, Answer | Stream):
            return made
        return Answer(encode(made), route.status)

    def _admit(self, visit: _Visit, route: Route) -> None:
        """Recognise the key, count the request, and hold it to the table of roles."""
        if not route.roles or (route.path == METRICS and visit.is_local):
            return
        scheme, _, token = visit.header(b"authorization").partition(" ")
        key = self.context.access.check(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            detail = "the key is not known" if token else "expected Authorization: Bearer KEY"
            raise Problem(401, "unauthorized", detail, headers=_CHALLENGE)
        visit.key = key
        left = self.context.access.spend(key)
        visit.headers_out = (
            (b"ratelimit-limit", b"%d" % left.limit),
            (b"ratelimit-remaining", b"%d" % left.remaining),
            (b"ratelimit-reset", b"%d" % left.reset),
        )
        if not left.allowed:
            raise Problem(429, "rate_limited", "too many requests with this key", retry_after=max(1, left.reset))
        if key.role not in route.roles:
            raise Problem(403, "forbidden", f"not for {key.role} keys")

    def _note(self, visit: _Visit, status: int, seconds: float) -> None:
        """Count every answer; keep acts and denials in the access log."""
        route = visit.route
        role = "" if visit.key is None else visit.key.role
        self.context.answered("none" if route is None else route.name, role, status, seconds)
        if status in (401, 403, 429) or (route is not None and route.writes):
            self.audit.add(visit.entry(self.context.clock.now(), status))


class _Visit:
    """What is known of a request so far."""

    def __init__(self, scope: Any) -> None:
        self.method: str = scope["method"]
        self.path = _raw_path(scope)
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.remote: str = (scope.get("client") or ("", 0))[0]
        self.route: Route | None = None
        self.key: ApiKey | None = None
        self.call: Call | None = None
        self.headers_out: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it comes from this machine, and not through a proxy on it."""
        forwarded = b"x-forwarded-for" in self.headers or b"forwarded" in self.headers
        return self.remote in _LOOPBACK and not forwarded

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    def entry(self, now: int, status: int) -> AuditEntry:
        key = self.key
        return AuditEntry(
            now, "" if key is None else key.key_id, "" if key is None else key.role, self.method, self.path[:1000],
            status, None if self.call is None else self.call.seq, self.remote,
        )  # fmt: skip


def _raw_path(scope: Any) -> str:
    """The path as it was sent, without the query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def _check_length(visit: _Visit, limit: int) -> None:
    """Refuse a body that says that it is too long before a byte of it is read."""
    length = visit.header(b"content-length")
    if length.isascii() and length.isdigit() and (len(length) > 12 or int(length) > limit):
        raise _too_large(limit)


def _too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"at most {limit} bytes", headers=((b"connection", b"close"),))


def _idempotency_key(visit: _Visit) -> str:
    key = visit.header(b"idempotency-key")
    if not key:
        raise Problem(400, "key_missing", "this writes: an Idempotency-Key header is needed", pointer="Idempotency-Key")
    if len(key) > 128 or not all("!" <= sign <= "~" for sign in key):
        raise problems.invalid("expected 1 to 128 visible ASCII characters", "Idempotency-Key")
    return key


async def _body(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _of_problem(problem: Problem) -> Answer:
    return Answer(problem.document(), problem.status, PROBLEM_JSON, problem.headers)


async def _send(answer: Answer, headers: tuple[tuple[bytes, bytes], ...], send: Send) -> None:
    start: Any = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-store"),
            *answer.headers,
            *headers,
        ],
    }
    await send(start)
    body: Any = {"type": "http.response.body", "body": answer.body}
    await send(body)


async def _stream(stream: Stream, receive: Receive, send: Send) -> None:
    """Send until the chunks end or the client goes."""
    headers = [(b"content-type", stream.content_type), (b"cache-control", b"no-store")]
    start: Any = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(start)
    sending = asyncio.ensure_future(_send_chunks(stream, send))
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        sending.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await sending


async def _send_chunks(stream: Stream, send: Send) -> None:
    async for chunk in stream.chunks:
        part: Any = {"type": "http.response.body", "body": chunk, "more_body": True}
        await send(part)
    end: Any = {"type": "http.response.body", "body": b""}
    await send(end)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# -- the application ---------------------------------------------------------------------------------

OWN = (["v1"], ["health"], [METRICS.strip("/")], ["openapi.json"])
"""First segments of the paths that are the API's."""


class Application(Litestar):
    """Litestar for the pages; what is the API's goes past its router, which takes as long as the API itself."""

    direct: ASGIApp

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and _raw_path(scope).split("/", 2)[1:2] in OWN:
            await self.direct(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def build(context: Context, pages: Sequence[ControllerRouterHandler] = ()) -> Litestar:
    """The application: the API, the streams, and `pages` beside them (which must not be mounted at ``/``: Litestar
    would give them everything)."""
    api, streams = Api(context), Streams(context)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await api(scope, receive, send)
        elif _raw_path(scope) == "/v1/stream":
            await streams.serve(dict(scope["headers"]), receive, send)
        else:
            closed: Any = {"type": "websocket.close"}
            await send(closed)  # before it is accepted: a 403

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncGenerator[None, None]:
        duties = [asyncio.create_task(duty) for duty in (api.audit.run(), streams.run(), context.events.run())]
        try:
            yield
        finally:
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)

    application = Application(
        pages,
        lifespan=[running],
        exception_handlers={HTTPException: _outside},
        openapi_config=None,
        logging_config=None,
    )
    application.direct = serve
    return application


def _outside(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: a path that nobody serves, a bad host."""
    status = error.status_code
    words = HTTPStatus(status).phrase
    problem = Problem(status, words.lower().replace(" ", "_"), words)
    headers = {str(name): str(value) for name, value in (error.headers or {}).items()}
    return Response(problem.document(), status_code=status, media_type=PROBLEM_JSON.decode(), headers=headers)
