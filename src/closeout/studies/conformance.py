"""Conformance vectors against any engine (EX-08): `python -m closeout.studies.conformance --help`.

A case goes to a command as JSON on standard input, without what it expects; the command prints ``{"steps": [...]}``
with its answer to each step. What it answers is compared with what the case expects, exactly; figures that it leaves
out are counted, and are no error unless all are asked for.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

from closeout.core.units import InputError
from closeout.studies.documents import read_object
from closeout.studies.vectors import FORMAT, Case, answers, case_of

OWN = f"{shlex.quote(sys.executable)} -m closeout.studies.conformance answer"
"""Our engine as a command."""
_TIMEOUT = 60
_ABSENT = object()


@dataclass(slots=True)
class Compared:
    """One case: how many figures agree, which differ, and how many were not answered."""

    same: int = 0
    missing: int = 0
    different: list[str] = field(default_factory=list[str])


def question(case: Case) -> Case:
    """A case without what it expects."""
    return {**case, "steps": [{key: step[key] for key in ("at", "act")} for step in case["steps"]]}


def ask(case: Case, command: str) -> list[Any]:
    """A command's answers. `InputError` where it does not answer."""
    asked = json.dumps(question(case)).encode()
    try:
        done = subprocess.run(shlex.split(command), input=asked, capture_output=True, timeout=_TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{case['id']}: {error}") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
        raise InputError(f"{case['id']}: the command ended with {done.returncode}: {last[0]}")
    try:
        steps = json.loads(done.stdout)["steps"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f'{case["id"]}: expected {{"steps": [...]}} on standard output') from None
    found = cast(list[Any], steps) if isinstance(steps, list) else []
    if len(found) != len(case["steps"]):
        raise InputError(f"{case['id']}: expected {len(case['steps'])} steps")
    return found


def compare(case: Case, found: Sequence[Any]) -> Compared:
    """Each figure that a case expects against the one found. A list that is not expected must be empty."""
    result = Compared()
    for number, (step, answer) in enumerate(zip(case["steps"], found, strict=True), 1):
        expected: dict[str, Any] = step["expect"]
        given = cast(dict[str, Any], answer) if isinstance(answer, dict) else {}
        unexpected: dict[str, Any] = {
            key: list[Any]() for key, value in given.items() if key not in expected and isinstance(value, list)
        }
        for path, wanted, ours in _pairs({**expected, **unexpected}, given, ""):
            if ours is _ABSENT:
                result.missing += 1
            elif _same(wanted, ours):
                result.same += 1
            else:
                shown = f"got {json.dumps(ours)}, expected {json.dumps(wanted)}"
                result.different.append(f"{case['id']}: step {number}: {path}: {shown}")
    return result


def _pairs(expected: Any, found: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Leaves by their path. Lists and a map of positions are compared whole."""
    if not isinstance(expected, dict) or path.endswith("positions"):
        yield path, cast(object, expected), found
        return
    given = cast(dict[str, Any], found) if isinstance(found, dict) else {}
    for key, value in cast(dict[str, Any], expected).items():
        yield from _pairs(value, given.get(key, _ABSENT), f"{path}.{key}" if path else key)


def _same(expected: Any, found: Any) -> bool:
    """Whether two values are the same; numbers as text by their value."""
    if isinstance(expected, dict) and isinstance(found, dict):
        left, right = cast(dict[str, Any], expected), cast(dict[str, Any], found)
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(expected, list) and isinstance(found, list):
        both = cast(list[Any], expected), cast(list[Any], found)
        return len(both[0]) == len(both[1]) and all(map(_same, *both))
    if isinstance(expected, str) and isinstance(found, str):
        try:
            return Decimal(expected) == Decimal(found)
        except InvalidOperation:
            return expected == found
    return bool(expected == found) and isinstance(expected, bool) == isinstance(found, bool)


def read_case(path: Path) -> Case:
    case = read_object(path)
    if case.get("format") != FORMAT:
        raise InputError(f"{path}: format: expected {FORMAT}, got {case.get('format')!r}")
    return case


# -- the command -------------------------------------------------------------------------------------------


def main(args: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m closeout.studies.conformance", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="run cases with a command and compare")
    check.add_argument("files", nargs="+", type=Path, help="cases, such as vectors/*.json")
    check.add_argument("--command", default=OWN, help="what answers a case; our own engine unless given")
    check.add_argument("--all", action="store_true", help="a figure that is not answered is an error")
    verbs.add_parser("answer", help="our engine's answer to the case on standard input")
    write = verbs.add_parser("write", help="make cases from scenario files")
    write.add_argument("folder", type=Path)
    write.add_argument("files", nargs="+", type=Path, help="scenarios, such as docs/scenarios/*.toml")
    given = parser.parse_args(args)
    try:
        if given.verb == "check":
            return _check(given.files, given.command, whole=given.all)
        if given.verb == "answer":
            print(json.dumps({"steps": answers(read_object(Path("-")))}))
            return 0
        return _write(given.folder, given.files)
    except InputError as error:
        print(f"closeout: {error}", file=sys.stderr)
        return 2


def _check(files: Sequence[Path], command: str, *, whole: bool) -> int:
    failed = 0
    for path in files:
        case = read_case(path)
        try:
            result = compare(case, ask(case, command))
        except InputError as error:
            print(f"not answered  {error}")
            failed += 1
            continue
        bad = bool(result.different) or (whole and result.missing > 0)
        failed += bad
        print(f"{'different' if bad else 'same':9}  {case['id']}: {result.same} same, "
              f"{len(result.different)} different, {result.missing} not answered")  # fmt: skip
        for line in result.different:
            print(f"    {line}")
    print(f"{len(files) - failed} of {len(files)} cases as expected")
    return 1 if failed else 0


def case_text(case: Case) -> str:
    """A case as its file has it."""
    return json.dumps(case, indent=1, ensure_ascii=False) + "\n"


def _write(folder: Path, files: Sequence[Path]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        case = case_of(path, path.as_posix())
        if case is None:
            print(f"{path.name}: a story of the books or the desk: no case")
        else:
            (folder / f"{path.stem}.json").write_text(case_text(case), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
