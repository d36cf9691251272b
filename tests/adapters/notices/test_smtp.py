"""Mail over SMTP against a real server: TLS, signing in, refusals, lost connections (US-11, G-16)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from tests.adapters.notices.servers import PASSWORD, USER, Post, authenticate, certificate, mail_server
from tests.adapters.notices.test_mail import MAIL, NOW, SENDER, body, parsed

from closeout.adapters.notices.mail import Mail, Refused, Retry
from closeout.adapters.notices.smtp import SmtpSender, SmtpServer
from closeout.core.units import InputError

SECOND_MAIL = replace(MAIL, message_id="<18-0@firm.example>")


def sender(
    port: int, tls: Literal["none", "starttls", "tls"] = "none", ca_file: str | None = None, user: str = "",
    password: str = "",
) -> SmtpSender:  # fmt: skip
    server = SmtpServer("127.0.0.1", port, tls, user, password, timeout=10, ca_file=ca_file)
    return SmtpSender(server, SENDER, lambda: NOW)


def deliver(smtp: SmtpSender, *mails: Mail) -> list[Exception | None]:
    """Send one after the other over one sender; what each raised."""

    async def play() -> list[Exception | None]:
        outcomes: list[Exception | None] = []
        for mail in mails:
            try:
                await smtp.send(mail)
            except (Retry, Refused) as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        await smtp.close()
        return outcomes

    return asyncio.run(play())


@pytest.mark.rule("US-11")
def test_mails_arrive_whole_over_one_connection() -> None:
    post = Post()
    with mail_server(post) as port:
        assert deliver(sender(port), MAIL, SECOND_MAIL) == [None, None]
    first, second = (parsed(mail) for mail in post.mails)
    assert (first["Message-ID"], second["Message-ID"]) == (MAIL.message_id, SECOND_MAIL.message_id)
    assert body(first, "plain") == MAIL.text
    assert len(post.sessions) == 1


def test_lines_that_begin_with_a_full_stop_arrive() -> None:
    post = Post()
    dotted = replace(MAIL, text=".\n..\n.end\n")
    with mail_server(post) as port:
        assert deliver(sender(port), dotted) == [None]
    assert body(parsed(post.mails[0]), "plain") == dotted.text


@pytest.mark.rule("G-16")
def test_a_temporary_refusal_is_tried_again_under_the_same_id() -> None:
    post = Post(answers={"RCPT": ["451 later"], "DATA": ["452 full", "250 yes"]})
    with mail_server(post) as port:
        first, second, third = deliver(sender(port), MAIL, MAIL, MAIL)
    assert isinstance(first, Retry)
    assert isinstance(second, Retry)
    assert ("451 later" in str(first), "452 full" in str(second), third) == (True, True, None)
    assert not first.maybe_taken
    assert not second.maybe_taken
    assert [parsed(mail)["Message-ID"] for mail in post.mails] == [MAIL.message_id]


@pytest.mark.parametrize("stage", ["RCPT", "DATA"])
def test_a_final_refusal_is_one_and_the_next_mail_goes_through(stage: str) -> None:
    post = Post(answers={"RCPT": [], "DATA": []} | {stage: ["550 nobody here"]})
    with mail_server(post) as port:
        refused, sent = deliver(sender(port), MAIL, SECOND_MAIL)
    assert isinstance(refused, Refused)
    assert "550 nobody here" in str(refused)
    assert sent is None
    assert [parsed(mail)["Message-ID"] for mail in post.mails] == [SECOND_MAIL.message_id]


@pytest.mark.rule("G-16")
def test_a_connection_lost_after_the_message_may_mean_a_second_copy_under_the_same_id() -> None:
    post = Post(answers={"RCPT": [], "DATA": ["drop"]})
    with mail_server(post) as port:
        lost, sent = deliver(sender(port), MAIL, MAIL)
    assert isinstance(lost, Retry)
    assert lost.maybe_taken
    assert sent is None
    assert {parsed(mail)["Message-ID"] for mail in post.mails} == {MAIL.message_id}
    assert len(post.sessions) == 2


def test_a_connection_that_died_in_between_is_made_again() -> None:
    post, again = Post(), Post()

    async def play() -> None:
        with mail_server(post) as port:
            smtp = sender(port)
            await smtp.send(MAIL)
        with pytest.raises(Retry, match="no connection to") as lost:
            await smtp.send(SECOND_MAIL)
        assert not lost.value.maybe_taken
        with mail_server(again, port):
            await smtp.send(SECOND_MAIL)
            await smtp.close()

    asyncio.run(play())
    assert (len(post.mails), len(again.mails)) == (1, 1)


def test_a_mail_that_is_given_up_half_way_leaves_no_trace_in_the_next() -> None:
    post = Post(answers={"RCPT": [], "DATA": ["250 yes", "hold"]})

    async def play(port: int) -> None:
        smtp = sender(port)
        await smtp.send(MAIL)
        sending = asyncio.create_task(smtp.send(MAIL))
        while not post.holding:
            await asyncio.sleep(0.001)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await smtp.send(SECOND_MAIL)
        await smtp.close()

    with mail_server(post) as port:
        asyncio.run(play(port))
    assert [parsed(mail)["Message-ID"] for mail in post.mails] == [MAIL.message_id, SECOND_MAIL.message_id]


def test_starttls_with_a_verified_certificate_and_a_password(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    post = Post()
    with mail_server(post, tls_context=context, authenticator=authenticate, auth_required=True) as port:
        smtp = sender(port, "starttls", user=USER.decode(), password=PASSWORD.decode(), ca_file=ca_file)
        assert deliver(smtp, MAIL, SECOND_MAIL) == [None, None]
    assert (post.over_tls, post.signed_in, len(post.sessions)) == ([True, True], [True, True], 1)


def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    post = Post()
    with mail_server(post, ssl_context=context) as port:
        assert deliver(sender(port, "tls", ca_file=ca_file), MAIL) == [None]
    assert len(post.mails) == 1


@pytest.mark.parametrize("trusted", [None, "127.0.0.2"])
def test_a_certificate_of_nobody_or_of_somebody_else_is_not_spoken_to(tmp_path: Path, trusted: str | None) -> None:
    """Neither one that no authority vouches for, nor a trusted one for another address."""
    context, ca_file = certificate(tmp_path, trusted or "127.0.0.1")
    post = Post()
    with mail_server(post, tls_context=context) as port:
        (refusal,) = deliver(sender(port, "starttls", ca_file if trusted else None), MAIL)
    assert isinstance(refusal, Retry)
    assert "certificate" in str(refusal).lower()
    assert not post.mails


def test_starttls_is_never_left_out() -> None:
    post = Post()
    with mail_server(post) as port:
        (refusal,) = deliver(sender(port, "starttls"), MAIL)
    assert isinstance(refusal, Retry)
    assert not post.mails


def test_a_wrong_password_is_no_fault_of_the_mail(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    post = Post()
    with mail_server(post, tls_context=context, authenticator=authenticate, auth_required=True) as port:
        smtp = sender(port, "starttls", user=USER.decode(), password="wrong", ca_file=ca_file)  # noqa: S106
        (refusal,) = deliver(smtp, MAIL)
    assert isinstance(refusal, Retry)
    assert "535" in str(refusal)
    assert not post.mails


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = SmtpServer("127.0.0.1", silent.getsockname()[1], "none", timeout=0.05)
        (refusal,) = deliver(SmtpSender(server, SENDER, lambda: NOW), MAIL)
    assert isinstance(refusal, Retry)


def test_a_password_is_neither_sent_in_clear_nor_shown() -> None:
    server = SmtpServer("mail.example", 25, "none", username="margin", password="secret words")  # noqa: S106
    with pytest.raises(InputError, match="only sent over TLS"):
        SmtpSender(server, SENDER, lambda: NOW)
    assert "secret words" not in repr(server)


def test_a_missing_certificate_file_is_named(tmp_path: Path) -> None:
    server = SmtpServer("mail.example", 25, ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"none\.pem"):
        SmtpSender(server, SENDER, lambda: NOW)
