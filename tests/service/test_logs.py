"""Logs: one JSON object a line on standard error, with nothing in it that must not be read."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import structlog

from closeout.service.access import make_key
from closeout.service.logs import HIDDEN, configure, logger


class Stderr:
    """What went to standard error so far; nothing may go to standard output."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self._seen = ""

    def getvalue(self) -> str:
        out, err = self._captured.readouterr()
        assert out == ""
        self._seen += err
        return self._seen


@pytest.fixture(name="stderr")
def standard_error(capsys: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """Standard error; the process's logging is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    yield Stderr(capsys)
    structlog.configure(**before[2])
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name in ("httpx", "httpcore", "uvicorn.access", "ccxt"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(stream: Stderr) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def test_ours_and_other_packages_lines_are_json(stderr: Stderr) -> None:
    configure("info")
    logger("closeout.service").info("started", port=8645, path="a\nb")
    logging.getLogger("alembic").warning("a %s", "message")
    ours, other = lines(stderr)
    assert [list(line)[:3] for line in (ours, other)] == [["time", "level", "event"]] * 2
    assert ours.pop("time").endswith("Z")
    assert ours == {"level": "info", "event": "started", "port": 8645, "path": "a\nb", "where": "closeout.service"}
    assert (other["level"], other["event"], other["where"]) == ("warning", "a message", "alembic")


def test_what_lies_below_the_level_is_not_written(stderr: Stderr) -> None:
    configure("warning")
    logger("a").info("one")
    logging.getLogger("b").info("two")
    logger("a").error("three")
    assert [line["event"] for line in lines(stderr)] == ["three"]


@pytest.mark.parametrize(
    "name",
    ["password", "smtp_password", "Authorization", "secret", "webhook-secret", "api_key", "apikey", "token", "key",
     "cookie", "secret_hash", "private_key"],
)  # fmt: skip
def test_secrets_are_hidden_by_name_at_any_depth(stderr: Stderr, name: str) -> None:
    configure()
    logger("a").info("told", **{name: "s3cr3t"}, outer={"list": [{name: "s3cr3t"}]}, account_id="A")
    (line,) = lines(stderr)
    assert "s3cr3t" not in stderr.getvalue()
    assert (line[name], line["outer"], line["account_id"]) == (HIDDEN, {"list": [{name: HIDDEN}]}, "A")


def test_names_that_only_look_like_secrets_are_shown(stderr: Stderr) -> None:
    configure()
    shown = {"key_id": "desk-1", "password_file": "/etc/p", "monkey": "m", "idempotency_key": "i", "tokens_left": 3}
    logger("a").info("told", **shown)
    (line,) = lines(stderr)
    assert {name: line[name] for name in shown} == shown


def test_secrets_inside_texts_are_hidden(stderr: Stderr) -> None:
    configure()
    token, _ = make_key("desk-1", "Dora", "desk")
    logger("a").warning(f"Bearer {token} was tried", place="postgresql://margin:pa55@db.example/closeout")
    logging.getLogger("b").warning("cannot reach %s", "postgresql://margin:pa55@db.example/closeout")
    ours, other = lines(stderr)
    assert ours["event"] == f"Bearer co_desk-1_{HIDDEN} was tried"
    assert ours["place"] == f"postgresql://margin:{HIDDEN}@db.example/closeout"
    assert other["event"] == f"cannot reach postgresql://margin:{HIDDEN}@db.example/closeout"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_is_one_field_without_local_variables(stderr: Stderr, as_json: bool) -> None:
    configure(json=as_json)

    def fails(hidden_value: str) -> None:
        raise ValueError("no such thing")

    try:
        fails("-".join(["local", "value"]))
    except ValueError:
        logger("a").exception("failed")
        logging.getLogger("b").exception("failed too")
    assert "local-value" not in stderr.getvalue()
    assert stderr.getvalue().count("ValueError: no such thing") == 2
    if as_json:
        assert ["Traceback" in line["exception"] for line in lines(stderr)] == [True, True]


def test_values_of_any_kind_can_be_told(stderr: Stderr) -> None:
    configure()
    logger("a").info("told", error=KeyError("x"), kinds={1, 2}.__class__, many=(1, None, 2.5, True, b"bytes"))
    (line,) = lines(stderr)
    assert (line["error"], line["kinds"]) == ("'x'", "<class 'set'>")
    assert line["many"] == [1, None, 2.5, True, "b'bytes'"]


def test_a_terminal_gets_lines_for_people(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure()
    logger("a").info("started", port=8645)
    assert "started" in stderr.getvalue()
    assert not stderr.getvalue().startswith("{")


def test_requests_of_other_packages_are_not_told_one_by_one(stderr: Stderr) -> None:
    configure("info")
    logging.getLogger("httpx").info("HTTP Request: POST https://hook.example/s3cr3t")
    assert stderr.getvalue() == ""


def test_a_log_that_nobody_reads_any_more_stops_nothing(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as nobody_reads:
        monkeypatch.setattr(sys, "stderr", nobody_reads)
        configure("info")
        os.close(reading)
        logger("test").info("into the void")
        with suppress(BrokenPipeError):
            nobody_reads.close()
    logger("test").info("into nothing")
