"""Rulebooks by name or path: read, patched by a variant and by overrides, checked, and turned into the engine's policy.

Everything wrong with a rulebook raises `InputError` with one line that names the file, the table and the key.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from closeout.core.contracts import Contract
from closeout.core.margin import Tiers
from closeout.core.units import InputError
from closeout.rulebooks import schema
from closeout.rulebooks.build import build_policy
from closeout.rulebooks.margins import build_tiers, decode_tiers, gaps
from closeout.rulebooks.policy import Policy
from closeout.rulebooks.schema import ContractTable, RulebookTable, SessionTables, Stated, WindowTable

Raw = dict[str, Any]

_KEYED: dict[str, type[Stated]] = {"windows": WindowTable, "contracts": ContractTable, "sessions": SessionTables}
_STATEMENT = ("title", "source", "as_of", "assumed")
_NOTHING: Raw = {"source": [], "as_of": None}
_HEAD = (*_STATEMENT, "name", "notice", "version", "sources", "overridden")


@dataclass(frozen=True)
class Rulebook:
    """A resolved rulebook: one variant, overrides applied. Two with equal documents behave alike."""

    table: RulebookTable

    def document(self) -> bytes:
        """Canonical JSON: the schema's order of keys, contracts in the file's order, nothing left to defaults."""
        return self._document

    @staticmethod
    def from_document(document: bytes) -> Rulebook:
        """The rulebook that `document` was made of; raises `InputError`."""
        try:
            raw = msgspec.json.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"rulebook document: {error}") from None
        if not isinstance(raw, dict):
            raise InputError("rulebook document: expected an object")
        return _resolve(cast(Raw, raw), "rulebook document")

    def policy(self) -> Policy:
        """The engine's view, in its own units."""
        return self._policy

    @cached_property
    def digest(self) -> str:
        """BLAKE2b (256 bits) of the document, in hexadecimal."""
        return hashlib.blake2b(self._document, digest_size=32).hexdigest()

    @cached_property
    def _document(self) -> bytes:
        return msgspec.json.encode(self.table)

    @cached_property
    def _policy(self) -> Policy:
        return build_policy(self.table, self.digest)


def names() -> list[str]:
    """The shipped rulebooks and their variants, such as ``kraken-us:as_if_24x7``."""
    found: list[str] = []
    for path in sorted(_shipped().glob("*.toml")):
        found.append(path.stem)
        found += [f"{path.stem}:{variant}" for variant in _read(path).get("variants", {})]
    return found


def variants(name_or_path: str) -> list[str]:
    """The variants of the rulebook that a name or a path means; none where it names one itself."""
    path, variant = _locate(name_or_path)
    given = _read(path).get("variants", {})
    return [] if variant or not isinstance(given, dict) else list(cast(Raw, given))


def load(name_or_path: str, overrides: Raw | None = None) -> Rulebook:
    """A shipped rulebook by name, or a user's by the path of its .toml file; ``:VARIANT`` may follow either.

    `overrides` is nested by the file's own keys and merged into it (lists are replaced whole); a contract that the
    rulebook does not know is defined by its tick, lot and tiers. Overrides need not state sources.
    """
    path, variant = _locate(name_or_path)
    raw = _read(path)
    given = raw.pop("variants", {})
    variants: Raw = cast(Raw, given) if isinstance(given, dict) else {}
    label = path.name
    raw["name"] = path.stem
    if variant is not None:
        if not isinstance(variants.get(variant), dict):
            expected = f"expected one of {', '.join(variants) or 'none'}, got {variant!r}"
            raise InputError(f"{label}: variants: {expected}{_nearest(variant, variants)}")
        _merge(raw, variants[variant])
        raw["name"] = f"{path.stem}:{variant}"
        label = f"{label}: variants.{variant}"
    _check_statements(raw, label)
    if overrides:
        raw["overridden"] = _override(raw, overrides)
        label = f"{label} with overrides"
    return _resolve(raw, label)


def tiers_from_json(contract: Contract, document: bytes) -> Tiers:
    """Tiers for a `SetMargin` command: a JSON list of tier tables; raises `InputError`."""
    key = f"{contract.name}.tiers"
    return build_tiers(decode_tiers(document, key), contract, key)


def notes(rulebook: Rulebook) -> list[str]:
    """What may be a slip in a rulebook that is good: amounts of brackets that do not join."""
    contracts = rulebook.policy().contracts
    return [
        note for name, own in contracts.items() for note in gaps(own.tiers, own.contract, f"contracts.{name}.tiers")
    ]


def describe(rulebook: Rulebook) -> dict[str, Any]:
    """A rulebook for people: its head, and every parameter as ``{"key", "value", "source", "as_of", "assumed",
    "overridden"}``. Parameters that stand at the schema's own default are left out."""
    table = rulebook.table
    head = {key: getattr(table, key) for key in ("name", "title", "notice", "version", "currency", "sources")}
    rows: list[Raw] = []
    _describe(table, "", {**_NOTHING, "assumed": False, "overridden": False}, set(table.overridden), rows)
    return {**head, "digest": rulebook.digest, "parameters": rows}


# -- reading and merging -----------------------------------------------------------------------------


def _shipped() -> Path:
    return Path(str(resources.files("closeout.rulebooks")))


def _locate(name_or_path: str) -> tuple[Path, str | None]:
    """The file and the variant, if any."""
    base, colon, variant = name_or_path.rpartition(":")
    if not colon or name_or_path.endswith(".toml"):
        base, variant = name_or_path, ""
    shipped = _shipped() / f"{base}.toml"
    if re.fullmatch(r"[\w-]+", base) and shipped.is_file():
        return shipped, variant or None
    if base.endswith(".toml"):
        return Path(base), variant or None
    shipped_names = names()
    expected = f"expected {', '.join(shipped_names)}, or the path of a .toml file"
    raise InputError(f"rulebook {name_or_path!r}: {expected}{_nearest(name_or_path, shipped_names)}")


def _read(path: Path) -> Raw:
    try:
        raw = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:  # a ValueError for bytes that are no text, or no path
        raise InputError(f"{path.name}: not TOML: {error}") from None
    # Dates become text, so that a file and a JSON override are checked by the same rules.
    return cast(Raw, msgspec.to_builtins(raw))


def _merge(base: Raw, patch: Raw) -> None:
    """Merge `patch` into `base`, table by table; anything but a table is replaced whole."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], cast(Raw, value))
        else:
            base[key] = value


def _override(raw: Raw, overrides: Raw) -> list[str]:
    """Merge overrides in; the keys that they replaced, for `describe`."""
    _merge(raw, cast(Raw, msgspec.to_builtins(overrides)))
    contracts = overrides.get("contracts")
    for name, patch in contracts.items() if isinstance(contracts, dict) else ():  # pyright: ignore[reportUnknownVariableType]
        # A stated tick value checks the file's own tick and size, not those of an override.
        if isinstance(patch, dict) and {"tick", "contract_size"} & set(patch) and "tick_value" not in patch:  # pyright: ignore
            raw["contracts"][name].pop("tick_value", None)
    return list(_leaves(overrides, ""))


def _leaves(table: Raw, where: str) -> list[str]:
    found: list[str] = []
    for key, value in table.items():
        path = f"{where}{key}"
        found += _leaves(cast(Raw, value), f"{path}.") if isinstance(value, dict) else [path]
    return found


# -- checking ----------------------------------------------------------------------------------------


def _resolve(raw: Raw, label: str) -> Rulebook:
    try:
        rulebook = Rulebook(_convert(raw))
        rulebook.policy()
    except InputError as error:
        raise InputError(f"{label}: {error}") from None
    return rulebook


def _convert(raw: Raw) -> RulebookTable:
    # One keyed table at a time: msgspec does not say at which key of a mapping an error is.
    for section, shape in _KEYED.items():
        tables: Any = raw.get(section)
        for key, table in tables.items() if isinstance(tables, dict) else ():  # pyright: ignore[reportUnknownVariableType]
            _convert_as(table, shape, f"{section}.{key}")
    return _convert_as(raw, RulebookTable, "")


def _convert_as(raw: Any, shape: Any, where: str) -> Any:
    try:
        return msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        raise InputError(_plain_error(str(error), where)) from None


def _plain_error(message: str, where: str) -> str:
    """msgspec's message with the path in front, in the file's own notation."""
    text, _, path = message.partition(" - at `$")
    path = f"{where}{path.rstrip('`')}".lstrip(".")
    if field := re.search(r"(missing required|unknown) field `(.+)`", text):
        key = f"{path}.{field[2]}".lstrip(".")
        return f"{key}: {_unknown(field[2])}" if field[1] == "unknown" else f"{key}: expected a value, got none"
    if wrong := re.search(r"[Ii]nvalid enum value (.+)", text):
        words = _words(path.rpartition(".")[2], wrong[1].strip("'"))
        return f"{path}: expected one of {', '.join(words)}, got {wrong[1]}" if words else f"{path}: {text}"
    return f"{path}: {text[0].lower()}{text[1:]}"


def _shapes() -> list[type[Struct]]:
    return [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, Struct)]


def _words(key: str, got: str) -> list[str]:
    """The words that a key of this name takes, the nearest to what was given first."""
    found: dict[str, None] = {}
    for shape in _shapes():
        for part in _parts(get_type_hints(shape).get(key)):
            found |= dict.fromkeys(word for word in get_args(part) if isinstance(word, str))
    near = difflib.get_close_matches(got, found, 1)
    return list(dict.fromkeys([*near, *found]))


def _parts(hint: Any) -> tuple[Any, ...]:
    """A Literal itself, or those among the parts of a union."""
    return (hint,) if get_origin(hint) is Literal else tuple(p for p in get_args(hint) if get_origin(p) is Literal)


def _unknown(key: str) -> str:
    known = {field for shape in _shapes() for field in shape.__struct_fields__}
    near = difflib.get_close_matches(key, sorted(known), 1)
    return "unknown key" + (f"; did you mean {near[0]!r}?" if near else "")


def _check_statements(raw: Raw, label: str) -> None:
    """Every table of a file says where its values come from, and when, or which of them are assumed."""
    try:
        sources = raw.get("sources")
        _check_table(raw, "", "", "", set(cast(Raw, sources) if isinstance(sources, dict) else ()))
    except InputError as error:
        raise InputError(f"{label}: {error}") from None


def _check_table(table: Raw, where: str, source: Any, as_of: Any, tags: set[str], *, covered: bool = False) -> None:
    """One table and those in it, which inherit its source and date (`covered`: the key that holds it is assumed)."""
    source, as_of = table.get("source", source), table.get("as_of", as_of)
    for tag in _tags(source):
        if tag not in tags:
            raise InputError(f"{where}source: expected a tag of [sources], got {tag!r}")
    assumed: list[Any] = table.get("assumed", [])
    for key in assumed if isinstance(assumed, list) else ():  # pyright: ignore[reportUnnecessaryIsInstance]
        if key not in table or key in _STATEMENT:
            raise InputError(f"{where}assumed: expected keys of this table, got {key!r}")
    stated = {key: _nested(key, value) for key, value in table.items() if key not in (_STATEMENT if where else _HEAD)}
    # A mapping of tables holds no values of its own, a list of tables inside a table does (margin tiers).
    parameters = [key for key, tables in stated.items() if not tables or (where and isinstance(table[key], list))]
    sourced = [key for key in parameters if key not in assumed]
    if parameters and not as_of:
        raise InputError(f"{where}as_of: expected the date of these values")
    if sourced and not _tags(source) and not covered:
        raise InputError(f"{where}source: expected a source for {sourced[0]!r}, or the key among 'assumed'")
    inherited = (source, as_of) if where else ("", "")
    for key, tables in stated.items():
        for name, child in tables:
            _check_table(child, f"{where}{name}.", *inherited, tags, covered=covered or key in assumed)


def _nested(key: str, value: Any) -> list[tuple[str, Raw]]:
    """The tables inside a value, with their names."""
    if isinstance(value, dict):
        tables = cast(Raw, value)
        if key in _KEYED:
            return [(f"{key}.{name}", child) for name, child in tables.items() if isinstance(child, dict)]
        return [(key, tables)]
    if isinstance(value, list):
        items = cast(list[Any], value)
        return [(f"{key}[{index}]", child) for index, child in enumerate(items) if isinstance(child, dict)]
    return []


def _tags(source: Any) -> list[str]:
    if isinstance(source, list):
        return [str(tag) for tag in cast(list[Any], source)]
    return [str(source)] if source else []


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


# -- describing --------------------------------------------------------------------------------------


def _describe(table: Stated, where: str, inherited: Raw, overridden: set[str], rows: list[Raw]) -> None:
    """Append a row for each parameter of a table; `inherited` is what the table around it says of its key."""
    for field in msgspec.structs.fields(table):
        if field.name in (_STATEMENT if where else _HEAD):
            continue
        key, value = f"{where}{field.name}", getattr(table, field.name)
        changed = inherited["overridden"] or key in overridden
        assumed = not changed and (inherited["assumed"] or field.name in table.assumed)
        as_of = table.as_of or inherited["as_of"]
        stated: Raw = {
            "source": [] if assumed or changed else _tags(table.source) or inherited["source"],
            "as_of": None if as_of is None or changed else str(as_of),
            "assumed": assumed,
            "overridden": changed,
        }
        children = _children(value, key)
        for path, child in children:
            _describe(child, f"{path}.", stated if where else {**stated, **_NOTHING}, overridden, rows)
        if not children and (key in overridden or field.name in table.assumed or value not in (field.default, [], {})):
            rows.append({"key": key, "value": msgspec.to_builtins(value), **stated})


def _children(value: Any, key: str) -> list[tuple[str, Stated]]:
    if isinstance(value, Stated):
        return [(key, value)]
    if isinstance(value, dict):
        tables = cast(dict[str, Any], value)
        return [(f"{key}.{name}", child) for name, child in tables.items() if isinstance(child, Stated)]
    if isinstance(value, list):
        items = cast(list[Any], value)
        return [(f"{key}[{index}]", child) for index, child in enumerate(items) if isinstance(child, Stated)]
    return []
