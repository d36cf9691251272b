"""A mail's bytes, and mail in a folder (US-11, G-16)."""

from __future__ import annotations

import asyncio
import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.adapters.notices.folder import FolderSender
from closeout.adapters.notices.mail import Mail, Refused, Retry, compose, message_id

NOW = 1_760_131_980_000_000_000  # 2025-10-10 21:33:00 UTC
SENDER = "margin@firm.example"
MAIL = Mail("<17-2@firm.example>", "ada@home.example", "Positions were closed", "Größe: 5 €\n", "<p>Größe: 5 €</p>")


def parsed(message: bytes) -> EmailMessage:
    return cast(EmailMessage, email.message_from_bytes(message, policy=email.policy.default))


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return cast(EmailMessage, part).get_content().replace("\r\n", "\n")


@pytest.mark.rule("US-11")
def test_a_mail_has_its_given_id_and_time_and_says_the_same_twice() -> None:
    message = parsed(compose(MAIL, SENDER, NOW))
    assert {name: str(message[name]) for name in ("Message-ID", "From", "To", "Subject", "Date", "Auto-Submitted")} == {
        "Message-ID": "<17-2@firm.example>",
        "From": SENDER,
        "To": "ada@home.example",
        "Subject": "Positions were closed",
        "Date": "Fri, 10 Oct 2025 21:33:00 +0000",
        "Auto-Submitted": "auto-generated",
    }
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert body(message, "plain") == "Größe: 5 €\n"
    assert body(message, "html").strip() == "<p>Größe: 5 €</p>"


def test_a_mail_is_ascii_with_lines_that_every_server_takes() -> None:
    long = replace(MAIL, message_id=message_id("9" * 300, "firm.example"), text="ü" * 5000, html="ü" * 5000)
    message = compose(long, SENDER, NOW)
    assert message.isascii()
    assert max(len(line) for line in message.split(b"\r\n")) <= 998
    assert parsed(message)["Message-ID"] == long.message_id


@given(st.text(max_size=200))
def test_no_subject_begins_another_header(subject: str) -> None:
    message = parsed(compose(replace(MAIL, subject=subject), SENDER, NOW))
    assert sorted(message.keys()) == sorted(parsed(compose(MAIL, SENDER, NOW)).keys())


def test_a_subject_cannot_be_broken_into_headers() -> None:
    message = parsed(compose(replace(MAIL, subject="Hello\r\nBcc: eve@evil.example\r\n\r\nbody"), SENDER, NOW))
    assert message["Bcc"] is None
    assert message["Subject"] == "Hello Bcc: eve@evil.example body"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "a@b\r\nBcc: eve@evil.example",
        "a@b, eve@evil.example",
        "Ada <a@b.example>",
        "ada@hö.example",
        "a b@c",
    ],
)
def test_what_is_not_one_plain_address_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="not a plain mail address"):
        compose(replace(MAIL, to=address), SENDER, NOW)
    with pytest.raises(Refused, match="not a plain mail address"):
        compose(MAIL, address, NOW)


@pytest.mark.parametrize("given_id", ["", "17", "<17@>", "<1@a>\r\nBcc: e@evil.example", "<1 2@a>", "<../x@a>"])
def test_what_is_not_a_message_id_is_refused(given_id: str) -> None:
    with pytest.raises(Refused, match="not a Message-ID"):
        compose(replace(MAIL, message_id=given_id), SENDER, NOW)


@pytest.mark.rule("G-16")
@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=2, unique=True))
def test_each_effect_has_its_own_message_id(effects: list[str]) -> None:
    first, second = (message_id(effect, "firm.example") for effect in effects)
    assert first != second
    assert first == message_id(effects[0], "firm.example")
    compose(replace(MAIL, message_id=first), SENDER, NOW)


@pytest.mark.rule("G-16")
def test_the_same_mail_again_is_counted_and_leaves_the_first_file_alone(tmp_path: Path) -> None:
    sender = FolderSender(tmp_path / "mail", SENDER, lambda: NOW)

    async def play() -> None:
        await sender.send(MAIL)
        await sender.send(replace(MAIL, message_id="<17-3@firm.example>"))
        first = sender.path(MAIL.message_id).read_bytes()
        await sender.send(MAIL)
        assert sender.path(MAIL.message_id).read_bytes() == first

    asyncio.run(play())
    assert sender.repeated == 1
    assert sorted(path.name for path in (tmp_path / "mail").iterdir()) == ["17-2.eml", "17-3.eml"]
    assert parsed((tmp_path / "mail" / "17-2.eml").read_bytes())["Message-ID"] == "<17-2@firm.example>"


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file, not a folder")
    with pytest.raises(Retry, match="could not be written"):
        asyncio.run(FolderSender(tmp_path / "mail", SENDER, lambda: NOW).send(MAIL))
