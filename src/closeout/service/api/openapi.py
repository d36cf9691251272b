"""The OpenAPI 3.1 document, made from the routes: what it says is what the door does."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from closeout import __version__
from closeout.service.api.guards import EVERYBODY
from closeout.service.api.problems import ProblemDocument
from closeout.service.api.route import METRICS, ROUTES, Route

REF = "#/components/schemas/{name}"
WORDS = {
    400: "what was sent cannot be meant; `pointer` says where",
    401: "no key, or one that is not known",
    403: "not for this role",
    404: "there is no such thing, or it is not for this key",
    409: "the engine refused it, with its code; or the first request with this key is under way",
    413: "the body is too large",
    415: "not the content type that is expected",
    422: "the idempotency key came before with another request",
    429: "too many requests with this key",
    503: "the service is stopping, or has too much to do: nothing has happened",
}
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "the same key again gets the first answer, and nothing happens twice; kept for a day",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
SEGMENT = {"type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f]{1,257}$"}
EXAMPLES = {"account_id": "A1", "contract": "MBT", "owner": "Ann & Co", "seq": 17}


@cache
def encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    shapes = {shape for route in ROUTES.values() for shape in (route.answer, route.body) if shape is not None}
    queries = {route.query for route in ROUTES.values() if route.query is not None}
    order = sorted((*shapes, *queries, ProblemDocument), key=repr)
    found, components = msgspec.json.schema_components(order, ref_template=REF)
    schemas = dict(zip(order, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), route in ROUTES.items():
        paths.setdefault(path, {})[method.lower()] = _operation(route, schemas, components)
    for shape in queries:  # they stand with the operations
        components.pop(shape.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "closeout",
            "version": __version__,
            "description": "Margin, liquidation and deficit engine. Money, prices and quantities are decimal strings, "
            "times RFC 3339 in UTC. Errors are RFC 9457 problems with a stable `code`.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(route: Route, schemas: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    parameters: list[Any] = [
        {"name": name, "in": "path", "required": True, "schema": _segment(name)}
        | ({"example": EXAMPLES[name]} if name in EXAMPLES else {})
        for name in route.parameters
    ]
    parameters += _query(route, components)
    if route.writes:
        parameters.append(IDEMPOTENCY)
    words = (route.handle.__doc__ or "").strip().split("\n\n")
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": words[0].split(". ")[0].split("\n")[0].rstrip("."),
        "description": " ".join(" ".join(words).split()),
        "x-roles": sorted(route.roles),
        "responses": _responses(route, schemas),
    }
    if parameters:
        operation["parameters"] = parameters
    if route.file:
        content: dict[str, Any] = {route.file: {"schema": {"type": "string"}}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[route.body]}}}
    if not route.roles:
        operation["security"] = []
    elif route.path == METRICS:
        operation["security"] = [{}, {"key": []}]
    return operation


def _segment(name: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0} if name == "seq" else SEGMENT


def _query(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    shape = components[route.query.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in shape.get("required", ()),
            "schema": schema,
        }
        for name, schema in shape["properties"].items()
    ]


def _responses(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "done" if route.writes else "the answer", "content": {}}
    for media in route.media:
        schema = schemas[route.answer] if media == "application/json" else {"type": "string"}
        success["content"][media] = {"schema": schema}
    if route.writes:
        success["headers"] = {"Idempotent-Replayed": {"schema": {"type": "string", "enum": ["true"]}}}
    responses = {str(route.status): success}
    problem = {"application/problem+json": {"schema": schemas[ProblemDocument]}}
    for status in sorted(statuses(route)):
        responses[str(status)] = {"description": WORDS[status], "content": problem}
    for status, words in route.other:
        responses[str(status)] = {"description": words, "content": success["content"]}
    return responses


def statuses(route: Route) -> set[int]:
    """The errors that an operation can answer with."""
    found = {400, 413}  # any query, and any body that is not asked for
    if route.roles:
        found |= {401, 429}
        if route.roles != EVERYBODY:
            found.add(403)
    if route.absent or route.parameters or route.body is not None or route.query is not None:
        found.add(404)
    if route.body is not None or route.file:
        found.add(415)
    if route.writes:
        found |= {409, 422, 503}
    return found
