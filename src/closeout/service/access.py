"""Keys to the API: who may call, in which role, and how often a minute.

A key reads ``co_ID_SECRET``. Only the SHA-256 of the secret is kept: 256 random bits need no slower hash, and whoever
reads the configuration cannot call.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, NamedTuple, Protocol, cast, get_args

import msgspec

from closeout.core.units import InputError
from closeout.service.config import KeyTable

Role = Literal["customer", "broker", "desk", "supervisor", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)

PER_MINUTE = 6000
MINUTE = 60.0
_PREFIX = "co_"
_LONGEST = 200
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`name` is the person's or the system's, the `by` of every act; `accounts` are a customer's, and empty for every
    other role; `hash` is the SHA-256 of the secret in lower-case hexadecimal; `per_minute` how many requests pass."""

    key_id: str
    name: str
    role: Role
    accounts: tuple[str, ...]
    hash: str
    per_minute: int = PER_MINUTE

    def as_table(self) -> str:
        """The key as a table of closeout.toml."""
        fields = {"id": self.key_id, "name": self.name, "role": self.role, "hash": self.hash}
        lines = [f"{field} = {_toml(value)}" for field, value in fields.items()]
        if self.accounts:
            lines.append(f"accounts = [{', '.join(map(_toml, self.accounts))}]")
        if self.per_minute != PER_MINUTE:
            lines.append(f"per_minute = {self.per_minute}")
        return "\n".join(["[[keys]]", *lines, ""])


def _toml(text: str) -> str:
    return msgspec.json.encode(text).decode()  # JSON's strings are TOML's too, as long as they are printable


def make_key(
    key_id: str, name: str, role: str, accounts: Sequence[str] = (), per_minute: int = PER_MINUTE
) -> tuple[str, ApiKey]:
    """A new key: its text, which is shown once and kept nowhere, and what is kept. `InputError` for a bad field."""
    secret = secrets.token_hex(32)
    key = ApiKey(key_id, name, cast(Role, role), tuple(accounts), _digest(secret), per_minute)
    _check(key)
    return f"{_PREFIX}{key_id}_{secret}", key


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _check(key: ApiKey) -> None:
    where = f"key {key.key_id!r}"
    if not _ID.fullmatch(key.key_id):
        raise InputError(f"{where}: id: expected up to 32 lower-case letters, digits and hyphens")
    if not key.name or not key.name.isprintable():
        raise InputError(f"{where}: name: expected the name of a person or a system")
    if key.role not in ROLES:
        raise InputError(f"{where}: role: {key.role!r}; expected one of {', '.join(ROLES)}")
    if (key.role == "customer") != bool(key.accounts) or not all(a and a.isprintable() for a in key.accounts):
        raise InputError(f"{where}: accounts: expected accounts for a customer, and for nobody else")
    if not _HASH.fullmatch(key.hash):
        raise InputError(f"{where}: hash: expected 64 lower-case hexadecimal digits")
    if key.per_minute < 1:
        raise InputError(f"{where}: per_minute: expected 1 or more")


class Allowance(NamedTuple):
    """What a key has left of its `limit` in this moving minute: in `reset` seconds the oldest request counted leaves
    it."""

    allowed: bool
    limit: int
    remaining: int
    reset: int


class HasId(Protocol):
    """Whatever stands for a key of the gate."""

    @property
    def key_id(self) -> str: ...


class Gate:
    """The keys that open, and what each has left of its minute."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        """`InputError` for a key that cannot be, or an id that stands twice."""
        self._keys: dict[str, ApiKey] = {}
        for key in keys:
            _check(key)
            if key.key_id in self._keys:
                raise InputError(f"key {key.key_id!r}: the id stands twice")
            self._keys[key.key_id] = key
        self._spent = {key_id: deque[float]() for key_id in self._keys}
        self._nobody = _digest(secrets.token_hex(32))

    @classmethod
    def of(cls, tables: Iterable[KeyTable]) -> Gate:
        """The gate of closeout.toml's `[[keys]]`."""
        return cls(ApiKey(key.id, key.name, key.role, tuple(key.accounts), key.hash, key.per_minute) for key in tables)

    def check(self, token: str) -> ApiKey | None:
        """Whose key it is; None where nobody's. An unknown id takes as long as a wrong secret."""
        if not token.startswith(_PREFIX) or len(token) > _LONGEST or not token.isascii():
            return None
        key_id, _, secret = token.removeprefix(_PREFIX).rpartition("_")
        key = self._keys.get(key_id)
        right = hmac.compare_digest(_digest(secret), self._nobody if key is None else key.hash)
        return key if right else None

    def spend(self, key: HasId) -> Allowance:
        """Count one request of a key of this gate, unless its minute is spent."""
        spent, now = self._spent[key.key_id], time.monotonic()
        while spent and spent[0] <= now - MINUTE:
            spent.popleft()
        limit = self._keys[key.key_id].per_minute
        allowed = len(spent) < limit
        if allowed:
            spent.append(now)
        return Allowance(allowed, limit, limit - len(spent), _seconds_until(spent[0] + MINUTE, now))


def _seconds_until(moment: float, now: float) -> int:
    """Whole seconds, rounded up."""
    return max(0, -int((now - moment) // 1))
