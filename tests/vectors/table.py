"""The rows that do not pass, in `not_reproduced.toml`: `python -m tests.vectors.table` writes their numbers anew.

A `[[different]]` is run, and its numbers are in the file as expected, ours and difference; a `[[without_mechanism]]`
names rows of one function that nothing of the product answers. The reasons are written by hand, in this file's order.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.vectors.rows import Row, differences, is_number, rows

TABLE = Path(__file__).parent / "not_reproduced.toml"
HEAD = """\
# Rows of the external vectors that the product does not reproduce (EX-08). Written by `python -m tests.vectors.table`
# but for the reasons. A listed row that begins to pass fails the tests, and so does one that does not pass and is not
# listed. Numbers are in the row's own units; "none" is no number.
"""


@dataclass(frozen=True)
class Table:
    different: dict[str, str]
    """Why, by row id."""
    without: dict[str, str]
    """Why, by row id."""
    groups: list[dict[str, Any]]


def read() -> Table:
    given = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    different = {one["id"]: one["why"] for one in given.get("different", [])}
    groups = given.get("without_mechanism", [])
    return Table(different, {row_id: one["why"] for one in groups for row_id in one["ids"]}, groups)


def written(table: Table, known: dict[str, Row]) -> str:
    parts = [HEAD]
    for row_id, why in table.different.items():
        lines = [f"[[different]]\nid = {quoted(row_id)}\nwhy = {quoted(why)}"]
        for key, (expected, ours) in differences(known[row_id]).items():
            numbers = [shown(expected), shown(ours), less(expected, ours)]
            lines.append(f"numbers.{key} = [{', '.join(quoted(number) for number in numbers)}]")
        parts.append("\n".join(lines) + "\n")
    for group in table.groups:
        ids = "".join(f"    {quoted(row_id)},\n" for row_id in group["ids"])
        parts.append(f"[[without_mechanism]]\nwhy = {quoted(group['why'])}\nids = [\n{ids}]\n")
    return "\n".join(parts)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(value: Any) -> str:
    if value is None:
        return "none"
    if is_number(value):
        fraction = Fraction(value)
        if fraction.denominator == 1:
            return str(fraction.numerator)
        return format(round(float(fraction), 12), ".12g")
    return str(value).replace("'", "")


def less(expected: Any, ours: Any) -> str:
    return shown(Fraction(ours) - Fraction(expected)) if is_number(expected) and is_number(ours) else "-"


if __name__ == "__main__":
    TABLE.write_text(written(read(), rows()), encoding="utf-8")
