"""JSON documents from outside: an account for `quote`, overrides for `replay`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from closeout.core.units import InputError


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for ``-``. `InputError` names the file, the line, and what was
    expected."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        loaded = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: expected JSON: {error.msg}") from None
    except InputError as twice:
        raise InputError(f"{path}: {twice}") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected a JSON object")
    return cast(dict[str, Any], loaded)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"{next(name for name in names if names.count(name) > 1)}: stands twice in one object")
    return found
