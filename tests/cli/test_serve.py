"""`closeout serve` and `closeout keys new` for somebody who writes a closeout.toml for the first time."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.cli.service import running

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "closeout.toml"
LEAST = 'rulebook = "kraken-us"\n'
MAIL = LEAST + '[mail]\nkind = "smtp"\nhost = "mail.example"\n'


def serve(command: Command, text: str) -> Sequence[object]:
    command.write("closeout.toml", text)
    return ("serve", "--config", "closeout.toml")


def test_the_example_is_accepted_and_nothing_is_opened(command: Command) -> None:
    call = serve(command, EXAMPLE.read_text(encoding="utf-8"))
    assert command(*call, "--check").out == "closeout.toml: good\n"
    assert command(*call, "--check", "--json").json == {"file": "closeout.toml", "ok": True}
    assert command.names() == {"closeout.toml"}


def test_the_least_that_starts(command: Command) -> None:
    """One line and a port: it serves, is ready, stops in order, and leaves a journal that is proven."""
    call = serve(command, LEAST + "[listen]\nport = 0\n")
    with running(command.folder, *call) as service:
        assert set(service.said) == {"url"}
        assert service.get("/health", role="").json()["status"] == "ready"
        assert service.get("/v1/me", role="").status_code == 401
        busy = command(*call)
        assert (busy.code, busy.out) == (2, "")
        assert "another process has this store open" in busy.err
    assert (service.code, service.out) == (0, "")
    assert command.names() >= {"closeout.toml", "closeout.journal", "closeout.store"}
    assert command("verify", "closeout.journal", "--json").json["ok"]


@pytest.mark.parametrize("check", [(), ("--check",)])
@pytest.mark.parametrize(
    ("text", "naming"),
    [
        ("", ("missing", "rulebook")),
        ("rulebook = kraken-us", ("not TOML",)),
        ('rulebook = "krakenus"', ("krakenus", "did you mean kraken-us?")),
        (LEAST + "[listen]\nprot = 1", ("listen", "prot")),
        (LEAST + '[listen]\nport = "8645"', ("listen.port",)),
        (LEAST + "[storage]\nsnapshot_every = -1", ("storage.snapshot_every",)),
        (LEAST + "[contracts.XBTUSD]", ("contracts.XBTUSD", "kraken-us")),
        (MAIL + 'user = "u"\npassword_env = "NO_SUCH"', ("mail.password_env", "NO_SUCH")),
        (MAIL + 'user = "u"\npassword_file = "no"', ("mail.password_file", "no")),
        (MAIL + 'user = "u"\npassword_file = "closeout.toml"\ntls = "none"', ("mail: ", "only sent over TLS")),
        (MAIL + 'addresses = "nobody.csv"', ("mail.addresses", "nobody.csv")),
        (MAIL + 'desk = ["d@x.example", "the desk"]', ("mail.desk[1]", "'the desk'")),
        (MAIL + 'sender = "risk"', ("mail.sender", "'risk'")),
        (LEAST + '[[webhooks]]\nurl = "http://x.example"\nsecret_file = "closeout.toml"', ("webhooks[0]: ",)),
        (LEAST + '[[keys]]\nid = "a"\nname = "A"\nrole = "desk"\nhash = "abc"', ("keys", "hash")),
        (LEAST + 'overrides = "none.json"', ("none.json",)),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_opened(
    command: Command, text: str, naming: tuple[str, ...], check: tuple[str, ...]
) -> None:
    command.refuses(*serve(command, text), *check, naming=("closeout.toml", *naming))


def test_a_file_that_is_not_there(command: Command) -> None:
    command.refuses("serve", "--config", "none.toml", naming=("none.toml", "No such file"))
    answer = command("serve")
    assert (answer.code, answer.out) == (2, "")
    assert "--config" in answer.err


def test_a_port_in_use(command: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        call = serve(command, f"{LEAST}[listen]\nport = {port}\n")
        command.refuses(*call, naming=("listen", f"127.0.0.1:{port}", "in use"))


def test_an_address_that_is_not_this_machines(command: Command) -> None:
    call = serve(command, LEAST + '[listen]\nhost = "192.0.2.1"\n')
    command.refuses(*call, naming=("listen", "192.0.2.1"))
    call = serve(command, LEAST + '[listen]\nhost = "no such host"\n')
    command.refuses(*call, naming=("listen", "no such host"))


# -- keys new ------------------------------------------------------------------------------------------


def test_a_new_key_lets_in(command: Command) -> None:
    made = command("keys", "new", "--id", "oms", "--name", 'The "order" system', "--role", "broker", "--json").json
    assert set(made) == {"key", "hash", "toml"}
    assert made["key"] not in made["toml"]
    call = serve(command, f"{LEAST}[listen]\nport = 0\n{made['toml']}")
    with running(command.folder, *call) as service:
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert service.http.get(f"{service.said['url']}/v1/me", headers=headers).json()["name"] == 'The "order" system'
        wrong = {"Authorization": f"Bearer {made['key'][:-1]}"}
        assert service.http.get(f"{service.said['url']}/v1/me", headers=wrong).status_code == 401
    kept = b"".join(path.read_bytes() for path in command.folder.iterdir())
    assert made["key"].encode() not in kept + service.err.encode()


def test_a_key_for_a_person_is_shown_once_with_its_table(command: Command) -> None:
    call = (
        "keys",
        "new",
        "--id",
        "casey",
        "--name",
        "Casey",
        "--role",
        "customer",
        "--account",
        "C1",
        "--account",
        "C2",
    )
    said = command(*call).out
    assert re.search(r"^co_casey_[0-9a-f]{64}$", said, re.MULTILINE)
    assert command(*serve(command, LEAST + said[said.index("[[keys]]") :]), "--check").code == 0
    assert 'accounts = ["C1", "C2"]' in said
    assert command(*call, "--json").json["key"] != json.dumps(said)


@pytest.mark.parametrize(
    ("options", "naming"),
    [
        (("--id", "Ann", "--name", "Ann", "--role", "desk"), ("'Ann'", "id", "lower-case")),
        (("--id", "", "--name", "Ann", "--role", "desk"), ("id",)),
        (("--id", "ann", "--name", "", "--role", "desk"), ("'ann'", "name")),
        (("--id", "ann", "--name", "Ann", "--role", "boss"), ("'boss'", "customer, broker, desk, supervisor, auditor")),
        (("--id", "ann", "--name", "Ann", "--role", "customer"), ("'ann'", "accounts")),
        (("--id", "ann", "--name", "Ann", "--role", "desk", "--account", "A1"), ("'ann'", "accounts")),
    ],
)
def test_a_key_that_cannot_be(command: Command, options: tuple[str, ...], naming: tuple[str, ...]) -> None:
    command.refuses("keys", "new", *options, naming=naming)


@pytest.mark.parametrize("options", [(), ("--id", "ann"), ("--id", "ann", "--role", "desk")])
def test_a_key_of_which_too_little_is_said(command: Command, options: tuple[str, ...]) -> None:
    answer = command("keys", "new", *options)
    assert (answer.code, answer.out) == (2, "")
    assert "Missing option" in answer.err
