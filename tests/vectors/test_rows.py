"""Examples published by venues, positions recorded at them and their own tests, each at its own tolerance (EX-08)."""

from __future__ import annotations

import pytest
from tests.studies.published import RECORDED, SHARED
from tests.studies.worked import WORKED
from tests.vectors import drift, table
from tests.vectors.rows import DIRECT, Differences, differences, quoted, rows, trace, way

ROWS = rows()
TABLE = table.read()
ANSWERED = [row_id for row_id, row in ROWS.items() if row_id not in TABLE.without and way(row) is not None]
PASSING = [row_id for row_id in ANSWERED if row_id not in TABLE.different]
JUDGES = (
    *("core.risk.", "core.margin.", "core.bankruptcy.", "core.contracts.", "core.funding.", "core.marks."),
    "engine.",
)
"""Where the product works out what an account is worth, must have, pays, or is closed for."""

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the published examples are not part of the project")


@pytest.mark.rule("EX-08", "G-05")
@pytest.mark.parametrize("row_id", PASSING)
def test_the_row_passes_through_the_product(row_id: str) -> None:
    row = ROWS[row_id]
    found: list[Differences] = []
    seen = trace(lambda: found.append(differences(row)))
    assert found == [{}]
    assert any(name.startswith(JUDGES) for name in seen)
    assert (way(row) is not quoted) or "studies.quote.quote" in seen


@pytest.mark.rule("EX-08")
@pytest.mark.parametrize("row_id", TABLE.different)
def test_a_listed_row_does_not_pass_yet(row_id: str) -> None:
    assert differences(ROWS[row_id]) != {}, f"{row_id} passes: take it out of {table.TABLE.name}"


@pytest.mark.rule("EX-08")
def test_who_owes_and_holds_nothing_is_bankrupt_by_the_way_of_drifts_rows() -> None:
    """The rows themselves are of accounts that are not."""
    cases = {(0, -1, 0): True, (0, -2, 1): True, (0, -1, 1): False, (1, -1, 0): False}
    for (base, quote, deposit), expected in cases.items():
        inputs = {"perp_base": base, "perp_quote": quote, "deposit": deposit}
        assert drift.bankrupt({"inputs": inputs}) == {"is_bankrupt": expected}


@pytest.mark.rule("EX-08")
def test_every_row_passes_or_is_listed() -> None:
    listed = [*TABLE.different, *TABLE.without]
    assert [row_id for row_id in listed if row_id not in ROWS] == []
    assert len(listed) == len(set(listed))
    assert [row_id for row_id, row in ROWS.items() if way(row) is None and row_id not in TABLE.without] == []
    known = {*ROWS, *(row.get("function") for row in ROWS.values())}
    assert [name for name in (*WORKED, *RECORDED, *DIRECT) if name not in known] == []
    assert all(why for why in (*TABLE.different.values(), *TABLE.without.values()))


@pytest.mark.rule("EX-08")
def test_the_table_has_the_numbers_of_today() -> None:
    assert table.written(TABLE, ROWS) == table.TABLE.read_text(encoding="utf-8")
