"""Keys and rates: only the key's own text opens, only its hash is kept, and each key has its own minute."""

from __future__ import annotations

import hmac
import time
import tomllib
from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest

from closeout.core.units import InputError
from closeout.service import access
from closeout.service.access import ROLES, ApiKey, Gate, make_key
from closeout.service.config import KeyTable


def test_a_key_opens_as_whom_it_was_made_for_and_only_its_hash_is_kept() -> None:
    token, key = make_key("ada-1", "Ada", "customer", ("A", "B"))
    prefix, key_id, secret = token.split("_")
    assert (prefix, key_id, len(bytes.fromhex(secret))) == ("co", "ada-1", 32)
    assert key == ApiKey("ada-1", "Ada", "customer", ("A", "B"), sha256(secret.encode()).hexdigest())
    assert secret not in repr(key) + key.as_table()
    other_token, other = make_key("ada-2", "Ada", "customer", ("A",))
    gate = Gate([key, other])
    assert (gate.check(token), gate.check(other_token)) == (key, other)


def test_no_two_keys_share_a_secret() -> None:
    assert len({make_key("a", "A", "desk")[0] for _ in range(100)}) == 100


def test_what_is_not_a_key_does_not_open() -> None:
    token, key = make_key("desk-1", "Dora", "desk")
    other, _ = make_key("desk-2", "Dan", "desk")
    secret = token.rpartition("_")[2]
    gate = Gate([key])
    wrong = [
        "", "co_", "co__", "co_desk-1", "co_desk-1_", secret, f"co__{secret}", f"co_desk-2_{secret}", other,
        token[:-1], token + "0", token.upper(), f" {token}", f"Bearer {token}", f"co_desk-1_{key.hash}",
        token.replace("co_", "ko_"), f"co_desk-1_{secret}é", "co_" + "x" * 100_000,
    ]  # fmt: skip
    assert [attempt for attempt in wrong if gate.check(attempt) is not None] == []
    assert gate.check(token) is key


def test_an_unknown_id_is_compared_like_a_wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = make_key("desk-1", "Dora", "desk")
    gate = Gate([key])
    compared: list[tuple[int, int]] = []
    genuine = hmac.compare_digest

    def compare(left: str, right: str) -> bool:
        compared.append((len(left), len(right)))
        return genuine(left, right)

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    gate.check("co_desk-1_" + "0" * 64)
    gate.check("co_nobody_" + "0" * 64)
    assert compared == [(64, 64), (64, 64)]


def test_a_new_key_stands_in_closeout_toml_as_it_was_made() -> None:
    made = [
        make_key("ada-1", 'Ada "the first" \\ Ü', "customer", ("A", "B/BTC"), per_minute=60),
        make_key("broker", "The order system", "broker"),
    ]
    tables = tomllib.loads("".join(key.as_table() for _, key in made))["keys"]
    gate = Gate.of(msgspec.convert(tables, list[KeyTable]))
    assert [gate.check(token) for token, _ in made] == [key for _, key in made]


_, GOOD = make_key("a", "Ada", "desk")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (replace(GOOD, key_id=""), "id"),
        (replace(GOOD, key_id="A_B"), "id"),
        (replace(GOOD, key_id="x" * 33), "id"),
        (replace(GOOD, name=""), "name"),
        (replace(GOOD, name="a\nb"), "name"),
        (replace(GOOD, role="root"), "role"),
        (replace(GOOD, accounts=("A",)), "accounts"),
        (replace(GOOD, role="customer"), "accounts"),
        (replace(GOOD, role="customer", accounts=("A", "")), "accounts"),
        (replace(GOOD, role="customer", accounts=("A\x7f",)), "accounts"),
        (replace(GOOD, hash="secret"), "hash"),
        (replace(GOOD, hash=GOOD.hash.upper()), "hash"),
        (replace(GOOD, per_minute=0), "per_minute"),
    ],
)
def test_a_key_that_cannot_be_is_named_with_its_field(bad: ApiKey, field: str) -> None:
    with pytest.raises(InputError, match=f"key '{bad.key_id}': {field}: ") as error:
        Gate([bad])
    assert "\n" not in str(error.value)


def test_an_id_stands_once() -> None:
    with pytest.raises(InputError, match="stands twice"):
        Gate([GOOD, replace(GOOD, name="Bob")])


def test_every_role_can_have_a_key() -> None:
    gate_keys = [make_key(role, "X", role, ("A",) if role == "customer" else ())[1] for role in ROLES]
    assert {key.role for key in gate_keys} == {"customer", "broker", "desk", "supervisor", "auditor"}
    Gate(gate_keys)


def test_each_key_has_its_own_moving_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    keys = [make_key(name, "X", "desk", per_minute=3)[1] for name in ("a", "b")]
    gate = Gate(keys)
    first, second = keys
    assert gate.spend(first) == (True, 3, 2, 60)
    now += 20
    assert gate.spend(first) == (True, 3, 1, 40)
    assert gate.spend(first) == (True, 3, 0, 40)
    assert gate.spend(first) == (False, 3, 0, 40)
    assert gate.spend(second) == (True, 3, 2, 60)
    now += 40.5  # the first request has left the minute, the other two have not
    assert gate.spend(first) == (True, 3, 0, 20)
    assert gate.spend(first).allowed is False
    now += 61
    assert gate.spend(first) == (True, 3, 2, 60)
