"""Shapes that several routes share."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from closeout.core.times import time_text
from closeout.service.writer import Answer, Outcome

Id = Annotated[
    str, Meta(pattern="^[!-~]{1,128}$", description="1 to 128 visible ASCII characters", examples=["order-17"])
]
AccountId = Annotated[
    str,
    Meta(
        pattern="^[!-.0-~]{1,128}$", description="1 to 128 visible ASCII characters, without a slash", examples=["A1"]
    ),
]
Name = Annotated[str, Meta(pattern="^[^\\x00-\\x1f\\x7f]{1,128}$", description="1 to 128 characters")]
ContractName = Annotated[
    str, Meta(pattern="^[^\\x00-\\x1f\\x7f]{1,128}$", description="a contract of the rulebook", examples=["MBT"])
]
Reason = Annotated[
    str, Meta(pattern="^[^\\x00-\\x1f\\x7f]{1,500}$", description="why; it goes into the journal", examples=["margin"])
]
Cursor = Annotated[str, Meta(max_length=200, description="`next` of the page before")]
StoreCursor = Annotated[
    str, Meta(pattern="^[0-9]{1,18}[.][0-9]{1,9}$", description="`next` of the page before", examples=["17.2"])
]
Limit = Annotated[int, Meta(ge=1, le=500, description="items on a page, at most")]
Time = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2026-02-05T14:30:00Z"])]


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a client sends."""


class View(Struct, frozen=True, kw_only=True):
    """Base of what a client gets."""


class PageQuery(Body, frozen=True, kw_only=True):
    limit: Limit = 100
    cursor: Cursor = ""


class Written(View, frozen=True, kw_only=True):
    """An act that is durable and applied: `seq` is its input in the journal."""

    seq: int
    time: Time
    applied: bool = True


class Listed(View, frozen=True, kw_only=True):
    """A page of a list; `next` is the cursor of the page after it, null on the last."""

    items: list[dict[str, Any]]
    next: str | None = None


def written(outcome: Outcome) -> Written:
    """The answer to an act without one of its own."""
    last: Answer = outcome.answers[-1]
    return Written(seq=last.seq, time=time_text(last.time))
