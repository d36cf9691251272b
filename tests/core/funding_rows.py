"""Published numbers about funding. They lie in ../shared/vectors; what is not there is not tested."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[2].parent / "shared" / "vectors"


def published(function: str) -> list[Any]:
    """The rows of a function, or in worked_examples of an id, as test parameters."""
    found: list[Any] = []
    for path in sorted(SHARED.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal):
            if function in (row.get("function"), row["id"]):
                found.append(pytest.param(row, id=row["id"]))
    return found or [pytest.param(None, marks=pytest.mark.skip(reason="../shared/vectors is not there"))]
