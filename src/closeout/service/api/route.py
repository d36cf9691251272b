"""Routes as data: a handler is registered with its method, path, body, parameters and answer, and from that one entry
come the dispatch, the checks at the door and the OpenAPI document.

A handler takes a `Call` and returns what the answer's body is made of; a `Problem` ends it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from closeout.core.contracts import Contract
from closeout.core.units import Currency
from closeout.engine.commands import AnyCommand
from closeout.engine.state import State
from closeout.service.api import problems
from closeout.service.api.guards import CUSTOMER, ROLES
from closeout.service.api.problems import Problem
from closeout.service.context import ApiKey, Context
from closeout.service.writer import Outcome

BODY_LIMIT = 64 * 2**10
FILE_LIMIT = 8 * 2**20
METRICS = "/metrics"
"""Asks for no key on the machine itself."""
PROPOSE = "; propose it at POST /v1/proposals"
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_ESCAPED_CONTROL = re.compile(rb"(?<!\\)(?:\\\\)*\\(?:[bfnrt]|u00[01][0-9a-fA-F]|u007[fF])")
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response, where it is more than a document with the route's own status."""

    body: bytes
    status: int = 200
    content_type: bytes = problems.JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """A response that does not end by itself."""

    chunks: AsyncIterator[bytes]
    content_type: bytes


@dataclass(slots=True)
class Call:
    """One request that has passed the door: `path` and `query` are checked, `body` is decoded."""

    context: Context
    method: str
    path: Mapping[str, str]
    query: Any
    body: Any
    headers: Mapping[bytes, bytes]
    key: ApiKey | None
    idempotency_key: str = ""
    replayed: bool = False
    seq: int | None = None
    """The last input that this call became."""

    @property
    def state(self) -> State:
        return self.context.writer.engine.loaded

    @property
    def currency(self) -> Currency:
        return self.state.policy.currency

    @property
    def person(self) -> ApiKey:
        """Whose key it is; only for routes that need one."""
        if self.key is None:
            raise Problem(401, "unauthorized", "this needs a key")
        return self.key

    @property
    def by(self) -> str:
        return self.person.name

    @property
    def is_customer(self) -> bool:
        return self.key is not None and self.key.role == CUSTOMER

    @property
    def source(self) -> str:
        return f"key:{self.person.key_id}"

    def now(self) -> int:
        """Never before the last input: what is shown is not older than what was decided."""
        return max(self.context.clock.now(), self.state.time)

    # -- accounts ----------------------------------------------------------------------------------

    def owns(self, row: int) -> bool:
        """Whether a customer's key may see an account: one of its own, or an isolated position of one."""
        book, own = self.state.book, self.person.accounts
        return book.ids[row] in own or (row in book.parent and book.ids[book.parent[row]] in own)

    def row(self, account_id: str) -> int:
        """The account's row; a customer does not find anybody else's."""
        row = self.state.book.row.get(account_id)
        if row is None or (self.is_customer and not self.owns(row)):
            raise problems.unknown_account(account_id)
        return row

    def account(self) -> str:
        """The account of the path, which the key may see."""
        account_id = self.path["account_id"]
        self.row(account_id)
        return account_id

    def contract(self, name: str, pointer: str = "/contract") -> Contract:
        found = self.state.contracts.get(name)
        if found is None:
            raise Problem(404, "unknown_contract", f"no contract {name!r}", pointer=pointer)
        return found.contract

    # -- writing -----------------------------------------------------------------------------------

    async def offer(self, *commands: AnyCommand, key: str = "", source: str = "") -> Outcome:
        """Offer commands under this call's key. What the engine refuses becomes a problem with its code."""
        outcome = await self.context.writer.offer(
            source or self.source, *commands, key=key or self.idempotency_key
        )  # fmt: skip
        self.replayed = outcome.replayed
        self.seq = outcome.answers[-1].seq
        for answer in outcome.answers:
            rejected = answer.rejected
            if rejected is not None:
                status = 404 if rejected.code == "unknown_account" else 409
                detail = rejected.detail
                if rejected.code == "needs_second" and hasattr(commands[0], "second"):
                    detail += PROPOSE
                raise Problem(status, rejected.code, detail, seq=answer.seq)
        return outcome


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """`answer` is the type of the answer's document. `file` takes a body of that content type instead of JSON;
    `optional` lets the body be left out. A route that `writes` needs an idempotency key. What it answers with may be
    `absent`, though the path names nothing."""

    method: str
    path: str
    handle: Handler
    answer: Any
    body: Any = None
    query: Any = None
    status: int = 200
    writes: bool = False
    file: str = ""
    other: tuple[tuple[int, str], ...] = ()
    media: tuple[str, ...] = ("application/json",)
    absent: bool = False

    @property
    def roles(self) -> frozenset[str]:
        return ROLES[self.method, self.path]

    @property
    def name(self) -> str:
        """The operation's id; stable, as clients are made from it."""
        return self.handle.__name__

    @property
    def parameters(self) -> list[str]:
        return re.findall("{([a-z_]+)}", self.path)

    @property
    def limit(self) -> int:
        return FILE_LIMIT if self.file else BODY_LIMIT


ROUTES: dict[tuple[str, str], Route] = {}


def route(
    method: str, path: str, answer: Any, *, body: Any = None, query: Any = None, status: int = 200,
    writes: bool | None = None, file: str = "", other: tuple[tuple[int, str], ...] = (),
    media: tuple[str, ...] = ("application/json",), absent: bool = False,
) -> Callable[[Handler], Handler]:  # fmt: skip
    """Register a handler; what is not in the table of roles cannot be registered."""

    def register(handle: Handler) -> Handler:
        if (method, path) not in ROLES or (method, path) in ROUTES:
            raise KeyError(f"{method} {path} is not in the table of roles, or registered twice")
        does_write = method != "GET" if writes is None else writes
        ROUTES[method, path] = Route(
            method, path, handle, answer, body, query, status, does_write, file, other, media, absent
        )  # fmt: skip
        return handle

    return register


# -- finding the route -------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """A place in the tree of paths: children by literal segment, or one that takes any."""

    children: dict[str, Node] = field(default_factory=dict[str, "Node"])
    any: Node | None = None
    routes: dict[str, Route] = field(default_factory=dict[str, Route])

    def add(self, route: Route) -> None:
        node = self
        for segment in route.path.strip("/").split("/"):
            if segment.startswith("{"):
                node.any = node.any or Node()
                node = node.any
            else:
                node = node.children.setdefault(segment, Node())
        node.routes[route.method] = route

    def find(self, segments: list[str], values: list[str]) -> Node | None:
        """The node of a path, literal segments before parameters; `values` takes the parameters'."""
        if not segments:
            return self if self.routes else None
        first, rest = segments[0], segments[1:]
        child = self.children.get(first)
        found = child.find(rest, values) if child else None
        if found is None and self.any is not None and first:
            values.append(first)
            found = self.any.find(rest, values)
            if found is None:
                values.pop()
        return found


def find(tree: Node, raw_path: str, method: str) -> tuple[Route, dict[str, str]]:
    """The route of a request and its path parameters. The path is taken apart before it is decoded, so that an id may
    have a slash in it (``A1%2FBTCUSDT``)."""
    values: list[str] = []
    try:
        segments = [unquote(segment, errors="strict") for segment in raw_path.strip("/").split("/")]
    except UnicodeDecodeError:
        raise problems.invalid("the path is not UTF-8") from None
    node = tree.find(segments, values)
    if node is None:
        raise problems.not_found("there is nothing at this path")
    route = node.routes.get(method)
    if route is None:
        allowed = ", ".join(sorted(node.routes)).encode()
        raise Problem(405, "method_not_allowed", f"{method} is not offered here", headers=((b"allow", allowed),))
    path = dict(zip(route.parameters, values, strict=True))
    for name, value in path.items():
        if _CONTROL.search(value) or len(value) > 257:
            raise problems.invalid("expected 1 to 257 characters, none of them a control character", name)
    return route, path


# -- reading what was sent ---------------------------------------------------------------------------


def read_query(route: Route, raw: bytes) -> Any:
    """The query parameters as the route's struct; unknown ones, or one twice, are refused."""
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise problems.invalid("the query is not UTF-8, or has too many parameters") from None
    for name, value in pairs:
        if name in given:
            raise problems.invalid("stands twice in the query", name)
        if _CONTROL.search(value) or len(value) > 1000:
            raise problems.invalid("expected at most 1000 characters, none of them a control character", name)
        given[name] = value
    if route.query is None:
        if given:
            raise problems.invalid("this takes no query parameters", next(iter(given))[:100])
        return None
    try:
        return msgspec.convert(given, route.query, strict=False)
    except msgspec.ValidationError as error:
        raise problems.of_validation(error) from None


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def read_body(route: Route, raw: bytes, content_type: str) -> Any:
    """The body as the route's struct, or the bytes of a file."""
    if route.body is None and not route.file:
        return None
    expected = route.file or "application/json"
    if content_type.partition(";")[0].strip().lower() != expected:
        raise Problem(415, "unsupported_media_type", f"expected a body of content type {expected}")
    if route.file:
        return raw
    if b"\\" in raw and _ESCAPED_CONTROL.search(raw):
        raise problems.invalid("no text may have a control character in it")
    decoder = _DECODERS.get(route.body)
    if decoder is None:
        decoder = _DECODERS[route.body] = msgspec.json.Decoder(route.body)
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise problems.of_validation(error) from None
    except RecursionError:
        raise Problem(400, "bad_request", "the body is nested too deeply") from None


def encode(document: Any) -> bytes:
    return _ENCODER.encode(document)
