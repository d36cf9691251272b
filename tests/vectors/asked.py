"""What the ways of centralised venues share: a row's positions asked of `quote`."""

from __future__ import annotations

from typing import Any

from tests.studies.published import Held, document

from closeout.studies.quote import quote

Row = dict[str, Any]
Found = dict[str, Any]

THOUSAND = 1000


def answer(row: Row, held: list[Held], contract: Row | None = None, tier: Row | None = None, **given: Any) -> Row:
    """What `quote` says of these positions, with more keys for their contracts and tiers."""
    asked = document(row, held, **given)
    for defined in asked["overrides"]["contracts"].values():
        defined |= contract or {}
        defined["tiers"] = [{**one, **(tier or {})} for one in defined["tiers"]]
    return quote(asked, row["id"])
