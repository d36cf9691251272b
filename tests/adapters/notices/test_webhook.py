"""Signed webhooks against a real server, and the check that receivers make."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket

import pytest
from tests.adapters.notices.servers import Receiver, web_server

from closeout.adapters.notices.mail import Refused, Retry
from closeout.adapters.notices.webhook import WebhookSender, signature, verify_signature
from closeout.core.units import InputError

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_760_131_980
BODY = b'{"kind":"liquidation","text":"\xc3\xa4"}'


def post(url: str, *event_ids: str) -> list[Exception | None]:
    async def play() -> list[Exception | None]:
        sender = WebhookSender(url, SECRET, lambda: NOW * 10**9 + 999, timeout=10)
        outcomes: list[Exception | None] = []
        for event_id in event_ids:
            try:
                await sender.send(event_id, BODY)
            except (Retry, Refused) as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        await sender.close()
        return outcomes

    return asyncio.run(play())


def test_a_receiver_can_verify_what_it_gets() -> None:
    receiver = Receiver()
    with web_server(receiver) as url:
        assert post(url, "17-2") == [None]
    ((path, headers, body),) = receiver.heard
    assert (path, body, headers["closeout-event-id"]) == ("/hook", BODY, "17-2")
    assert headers["content-type"] == "application/json"
    by_hand = hmac.new(SECRET, b"%d." % NOW + BODY, hashlib.sha256).hexdigest()
    assert headers["closeout-signature"] == f"t={NOW},v1={by_hand}"
    assert verify_signature(SECRET, headers["closeout-signature"], body, NOW)


def test_an_id_cannot_break_out_of_its_header() -> None:
    receiver = Receiver()
    with web_server(receiver) as url:
        assert post(url, "1\r\nx-evil: 1", "ü") == [None, None]
    assert [headers["closeout-event-id"] for _, headers, _ in receiver.heard] == ["1%0D%0Ax-evil:%201", "%C3%BC"]
    assert not any("x-evil" in headers for _, headers, _ in receiver.heard)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, None), (202, None), (204, None),
        (400, Refused), (401, Refused), (404, Refused), (410, Refused), (422, Refused),
        (408, Retry), (429, Retry), (500, Retry), (503, Retry), (302, Retry), (307, Retry), (0, Retry),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, outcome: type[Exception] | None) -> None:
    receiver = Receiver([status])
    with web_server(receiver) as url:
        (raised,) = post(url, "1")
    assert type(raised) is (outcome or type(None))
    assert [path for path, _, _ in receiver.heard] == ["/hook"]  # a redirect is not followed
    assert (isinstance(raised, Retry) and raised.maybe_taken) == (status == 0)


def test_a_receiver_that_is_not_there_or_says_nothing_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"

        async def play() -> None:
            sender = WebhookSender(address, SECRET, lambda: 0, timeout=0.05)
            with pytest.raises(Retry, match="no answer"):
                await sender.send("1", BODY)
            await sender.close()

        asyncio.run(play())
    (raised,) = post(address, "1")
    assert isinstance(raised, Retry)


def test_only_the_secret_the_body_and_the_hour_verify() -> None:
    header = signature(SECRET, NOW, BODY)
    assert verify_signature(SECRET, header, BODY, NOW)
    assert verify_signature(SECRET, header, BODY, NOW + 300)
    assert verify_signature(SECRET, header, BODY, NOW - 300)
    assert not verify_signature(SECRET, header, BODY, NOW + 301)
    assert not verify_signature(SECRET, header, BODY, NOW - 301)
    assert not verify_signature(SECRET, header, BODY + b" ", NOW)
    assert not verify_signature(SECRET[::-1], header, BODY, NOW)
    assert not verify_signature(SECRET, header.replace(f"t={NOW}", f"t={NOW + 1}"), BODY, NOW)


@pytest.mark.parametrize("header", ["", "t=1", "v1=" + "0" * 64, "t=x,v1=" + "0" * 64, "t=١,v1=" + "0" * 64, "t=1,v1="])
def test_a_header_that_is_no_signature_does_not_verify(header: str) -> None:
    assert not verify_signature(SECRET, header, BODY, 1)


@pytest.mark.parametrize(
    "url", ["", "hook", "ftp://a.example", "http://a.example/", "https://", "http://[::1", "//a.b"]
)
def test_addresses_that_would_send_in_clear_or_nowhere(url: str) -> None:
    with pytest.raises(InputError, match="expected an https address"):
        WebhookSender(url, SECRET, lambda: 0)


def test_addresses_that_are_taken() -> None:
    for url in ("https://a.example/x", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost:8080/"):
        asyncio.run(WebhookSender(url, SECRET, lambda: 0).close())


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(InputError, match="32 bytes"):
        WebhookSender("https://a.example", b"short", lambda: 0)
