"""Which rules of docs/rules.md does no test name? Run as a script by `python3 tasks.py check`.

A test names the rules that it holds with `@pytest.mark.rule("US-07")` or `@pytest.mark.rule("US-07", "G-04")`, a
scenario (docs/scenarios, played by tests/test_scenarios.py) with its list `rules`. The check fails when a rule marked
`done` has no test, when a test names a rule that does not exist, or when the list itself is malformed. Rules with
another status are only listed.
"""

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATUSES = {
    "done": "built, and held by the tests that name it",
    "started": "built in part",
    "later": "needs a part of the system that does not exist yet",
}
ROW = re.compile(r"^\|\s*([A-Z]+-\d+)\s*\|\s*([^|]*?)\s*\|\s*(.*?)\s*\|\s*$")


@dataclass(frozen=True)
class Use:
    """One place where a test names a rule."""

    rule: str
    place: str


def read_rules(text: str) -> tuple[dict[str, str], list[str]]:
    """The rules of a rule list and their statuses, in its order, and what is wrong with the list."""
    rules: dict[str, str] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if (row := ROW.match(line)) is None:
            continue
        rule, status, words = row.groups()
        if rule in rules:
            faults.append(f"line {number}: {rule} is listed twice")
        if status not in STATUSES:
            faults.append(f"line {number}: {rule} has the unknown status {status!r}; known: {', '.join(STATUSES)}")
        if not words:
            faults.append(f"line {number}: {rule} says nothing")
        rules[rule] = status
    if not rules:
        faults.append("no rule found")
    return rules, faults


def is_rule_marker(node: ast.AST) -> bool:
    """Whether a node is `pytest.mark.rule` or `mark.rule`."""
    match node:
        case ast.Attribute(attr="rule", value=ast.Attribute(attr="mark") | ast.Name(id="mark")):
            return True
        case _:
            return False


def find_uses(source: str, name: str) -> tuple[list[Use], list[str]]:
    """The rules that a test file names, and the markers in it that cannot be read."""
    uses: list[Use] = []
    faults: list[str] = []
    for node in ast.walk(ast.parse(source, filename=name)):
        if not (isinstance(node, ast.Call) and is_rule_marker(node.func)):
            continue
        place = f"{name}:{node.lineno}"
        if not node.args:
            faults.append(f"{place}: the marker names no rule")
        for argument in node.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                uses.append(Use(argument.value, place))
            else:
                faults.append(f"{place}: a rule must be named by a plain string")
    return uses, faults


def main() -> int:
    rules, faults = read_rules((ROOT / "docs" / "rules.md").read_text(encoding="utf-8"))
    faults = [f"docs/rules.md: {fault}" for fault in faults]
    uses: list[Use] = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        found, unreadable = find_uses(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
        uses += found
        faults += unreadable

    for path in sorted((ROOT / "docs" / "scenarios").glob("*.toml")):
        place = path.relative_to(ROOT).as_posix()
        uses += [Use(rule, place) for rule in tomllib.loads(path.read_text(encoding="utf-8"))["rules"]]

    named = {use.rule for use in uses}
    faults += [f"{use.place}: there is no rule {use.rule!r} in docs/rules.md" for use in uses if use.rule not in rules]
    untested = [rule for rule, status in rules.items() if status == "done" and rule not in named]
    faults += [f"{rule} is marked done, but no test names it" for rule in untested]

    print(f"{len(rules)} rules, {len(named & rules.keys())} of them named by a test")
    for status, meaning in STATUSES.items():
        of_status = [rule for rule in rules if rules[rule] == status]
        missing = [rule for rule in of_status if rule not in named]
        print(f"  {status} ({meaning}): {len(of_status)} rules, {len(missing)} without a test")
        if missing:
            print(f"    {' '.join(missing)}")
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
