"""What goes wrong, as RFC 9457 problem documents with stable codes."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from closeout.service import writer

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"


class ProblemDocument(Struct, omit_defaults=True, frozen=True, kw_only=True, rename={"kind": "type"}):
    """An error. `code` is stable and what `type` ends with; `pointer` is the place in the request's document, or the
    name of a parameter; `seq` the journal's input where the engine refused it."""

    kind: str
    title: str
    status: int
    detail: str
    code: str
    pointer: str | None = None
    seq: int | None = None


class Problem(Exception):
    """Ends a request with a problem document. `retry_after` is in seconds."""

    def __init__(
        self, status: int, code: str, detail: str, *, pointer: str | None = None, seq: int | None = None,
        retry_after: int | None = None, headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:  # fmt: skip
        super().__init__(f"{code}: {detail}")
        self.status, self.code, self.detail, self.pointer, self.seq = status, code, detail, pointer, seq
        self.headers = headers
        if retry_after is not None:
            self.headers += ((b"retry-after", str(retry_after).encode()),)

    def document(self) -> bytes:
        words = self.code.replace("_", " ")
        return msgspec.json.encode(
            ProblemDocument(
                kind=f"/problems/{self.code}", title=words[:1].upper() + words[1:], status=self.status,
                detail=self.detail, code=self.code, pointer=self.pointer, seq=self.seq,
            )
        )  # fmt: skip


def invalid(detail: str, pointer: str | None = None) -> Problem:
    """The request says something that cannot be meant."""
    return Problem(400, "validation", detail, pointer=pointer)


def not_found(what: str) -> Problem:
    return Problem(404, "not_found", what)


def unknown_account(account_id: str) -> Problem:
    """Also of an account that is somebody else's: who may not see it need not know that it is there."""
    return Problem(404, "unknown_account", f"no account {account_id!r}")


def of_refusal(refused: writer.Refused) -> Problem:
    """What the writer did not take: nothing has happened."""
    if isinstance(refused, writer.KeyReused):
        return Problem(422, "key_reused", str(refused))
    if isinstance(refused, writer.KeyBusy):
        return Problem(409, "key_busy", str(refused), retry_after=1)
    if isinstance(refused, writer.Stopped):
        return Problem(503, "stopping", str(refused), retry_after=5)
    return Problem(503, "busy", str(refused), retry_after=1)


def of_validation(error: msgspec.DecodeError | UnicodeDecodeError) -> Problem:
    """What msgspec says of a document or of parameters; its ``at `$.a[0]` `` becomes the pointer ``/a/0``."""
    if isinstance(error, UnicodeDecodeError):
        return Problem(400, "bad_request", "the body is not UTF-8")
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem(400, "bad_request", f"the body is not JSON: {message}")
    what, _, place = message.partition(" - at `")
    place = place.rstrip("`").split("`")[-1].partition("[...]")[0]  # msgspec does not say which key of a mapping
    pointer = place.lstrip("$").replace("[", ".").replace("]", "").replace(".", "/")
    for words in ("missing required field `", "contains unknown field `"):
        if words in what:
            pointer += "/" + what.partition(words)[2].rstrip("`")
    return invalid(what[:500], pointer or None)
