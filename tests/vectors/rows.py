"""The rows of ../shared/vectors beside the checkout, each with the way that leads to the product's own answer.

`WAYS` are by the row's id, or by its function; those of `published` and `worked` are documents for `quote`. A way calls
the product and puts its numbers into the row's units: no formula of a venue stands in these files. `trace` shows which
functions of the product a row went through.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.studies.published import RECORDED, SHARED
from tests.studies.worked import WORKED
from tests.vectors import direct, drift, dydx, dydx_engine, dydx_updates, worked_dydx

import closeout
from closeout.studies.quote import quote

Row = dict[str, Any]
Differences = dict[str, tuple[Any, Any]]
"""Expected and found, by the row's own key."""

FILES = (
    *("worked_examples", "ccxt", "freqtrade", "hyperliquid_python_sdk", "venue_recordings"),
    *("dydx_v4_chain", "drift_protocol_v2"),
)
DIRECT: dict[str, Callable[[Row], dict[str, Any]]] = {
    **dydx.WAYS,
    **dydx_engine.WAYS,
    **dydx_updates.WAYS,
    **worked_dydx.WAYS,
    **drift.WAYS,
    **direct.WAYS,
}
_ROOT = Path(closeout.__file__).parent


def rows() -> dict[str, Row]:
    """All rows by id, with exact decimals."""
    found: dict[str, Row] = {}
    for name in FILES:
        path = SHARED / f"{name}.json"
        for row in json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal) if path.exists() else ():
            found[row["id"]] = row
    return found


def way(row: Row) -> Callable[[Row], dict[str, Any]] | None:
    """What answers the row; None where the product has no such mechanism."""
    for key in (row["id"], row.get("function", "")):
        if key in DIRECT:
            return DIRECT[key]
        if key in WORKED or key in RECORDED:
            return quoted
    return None


def quoted(row: Row) -> dict[str, Any]:
    """The numbers of `quote` for the row's document."""
    document, checks = (WORKED.get(row["id"]) or RECORDED[row["function"]])(row)
    answer = quote(document, row["id"])
    return {key: number_at(answer, path) for key, path in checks.items()}


def number_at(answer: Any, path: tuple[str, ...]) -> Decimal | None:
    for key in path:
        answer = answer[int(key)] if isinstance(answer, list) else answer[key]
    return None if answer is None else Decimal(answer)


def tolerance(row: Row, key: str) -> Fraction:
    given = row["tolerance"]
    bound = Fraction(given.get(key, 0) if isinstance(given, dict) else given)
    return bound * abs(Fraction(row["expected"][key])) if row.get("tolerance_kind") == "relative" else bound


def differences(row: Row) -> Differences:
    """Where expected and found differ by more than the row's own tolerance, or what is expected is not answered."""
    answer = way(row)
    assert answer is not None
    found = answer(row)
    assert found
    missing = {key: None for key in row["expected"] if key not in found}
    off: Differences = {}
    for key, ours in {**found, **missing}.items():
        expected = row["expected"].get(key)
        if not _same(row, key, expected, ours):
            off[key] = (expected, ours)
    return off


def _same(row: Row, key: str, expected: Any, ours: Any) -> bool:
    if is_number(expected) and is_number(ours):
        return abs(Fraction(ours) - Fraction(expected)) <= tolerance(row, key)
    return expected == ours


def is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal | Fraction) and not isinstance(value, bool)


def trace(action: Callable[[], object]) -> set[str]:
    """The product's functions that ran, such as ``core.bankruptcy.bankruptcy_value``."""
    codes: set[CodeType] = set()

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        action()
    finally:
        sys.setprofile(before)
    ours = [(Path(code.co_filename), code.co_name) for code in codes if code.co_filename.startswith(str(_ROOT))]
    return {".".join((*file.relative_to(_ROOT).with_suffix("").parts, name)) for file, name in ours}
