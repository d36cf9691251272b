"""Files from outside: JSON (an account for `quote`, overrides for `replay`, the lines of an accounts file), and text of
CSV files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from closeout.core.units import InputError


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for ``-``. `InputError` names the file, the line, and what was
    expected."""
    name = name_of(path)
    try:
        data = sys.stdin.buffer.read() if name != str(path) else path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    loaded = parse(data, name)
    if not isinstance(loaded, dict):
        raise InputError(f"{name}: expected a JSON object")
    return cast(dict[str, Any], loaded)


def read_csv(path: Path) -> tuple[bytes, str]:
    """The bytes of a CSV file and their text; `InputError` where it cannot be read or is not UTF-8."""
    try:
        data = path.read_bytes()
        return data, data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected CSV in UTF-8") from None


def name_of(path: Path) -> str:
    """What messages call the file."""
    return "standard input" if str(path) == "-" else str(path)


def parse(data: bytes, where: str, *, one_line: bool = False) -> object:
    """A JSON document in UTF-8, in which no name stands twice in one object. `one_line`: `where` names the line."""
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise InputError(f"{where}: expected JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        line = "" if one_line else f" line {error.lineno}:"
        raise InputError(f"{where}:{line} expected JSON: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{where}: expected an account, not JSON nested this deep") from None
    except InputError as wrong:
        raise InputError(f"{where}: {wrong}") from None
    except ValueError:  # what json says of a whole number with thousands of digits
        raise InputError(f"{where}: a number has too many digits") from None


def _refuse(constant: str) -> None:
    raise InputError(f"{constant} is not JSON; expected a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"{next(name for name in names if names.count(name) > 1)}: stands twice in one object")
    return found
