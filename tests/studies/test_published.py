"""Published worked examples and positions recorded at venues, through `quote`, each at its own tolerance (EX-08)."""

from decimal import Decimal
from typing import Any

import pytest
from tests.studies.published import RECORDED, SHARED, Row, rows, tolerance
from tests.studies.worked import NOT_FITTING, WORKED

from closeout.studies.quote import quote

ROWS = rows()
FITTING = [i for i, row in ROWS.items() if i not in NOT_FITTING and (i in WORKED or row.get("function") in RECORDED)]

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the published examples are not part of the project")


def number_at(answer: Any, path: tuple[str, ...]) -> Decimal | None:
    for key in path:
        answer = answer[int(key)] if isinstance(answer, list) else answer[key]
    return None if answer is None else Decimal(answer)


def differences(row: Row) -> dict[str, tuple[Any, Any]]:
    """Expected and found where they differ by more than the row's own tolerance."""
    given, checks = (WORKED.get(row["id"]) or RECORDED[row["function"]])(row)
    answer = quote(given, row["id"])
    found = {key: number_at(answer, path) for key, path in checks.items()}
    assert found
    off: dict[str, tuple[Any, Any]] = {}
    for key, number in found.items():
        expected = row["expected"][key]
        if expected is None or number is None:
            same = expected is None and number is None
        else:
            same = abs(number - Decimal(expected)) <= tolerance(row, key)
        if not same:
            off[key] = (expected, number)
    return off


@pytest.mark.rule("EX-08", "G-05")
@pytest.mark.parametrize("row_id", FITTING)
def test_published(row_id: str) -> None:
    assert differences(ROWS[row_id]) == {}


@pytest.mark.rule("EX-08")
def test_every_row_is_run_or_listed() -> None:
    missing = [i for i, r in ROWS.items() if i not in FITTING and not {i, r.get("function")} & set(NOT_FITTING)]
    assert missing == []
    known = {*ROWS, *(row.get("function") for row in ROWS.values())}
    assert [name for name in (*WORKED, *RECORDED, *NOT_FITTING) if name not in known] == []
    assert len(FITTING) >= 80
