"""Events to another system: signed HTTP POST requests of JSON, and how a receiver checks them.

A request carries

    closeout-event-id   the event's stable id; the same again is the same event, to be acted on once
    closeout-signature  ``t=UNIX,v1=HEX``: the time in seconds, and HMAC-SHA256 under the shared secret of the time's
                        digits, a full stop and the body as it came, in lower-case hexadecimal

A receiver calls `verify_signature` with the untouched body, acts on the event, and answers 2xx. While the secret is
being changed it accepts a request that either secret verifies.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import quote

import httpx

from closeout.adapters.notices.mail import Refused, Retry
from closeout.core.times import SECOND
from closeout.core.units import InputError

_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


def signature(secret: bytes, time: int, body: bytes) -> str:
    """The value of `closeout-signature` for a body sent at `time` (seconds)."""
    return f"t={time},v1={_digest(secret, str(time), body)}"


def verify_signature(secret: bytes, header: str, body: bytes, now: int, tolerance: int = 300) -> bool:
    """Whether `header` signs `body`, and was made within `tolerance` of `now` (seconds): an older one may have been
    recorded by somebody and sent again."""
    parts = _SIGNATURE.fullmatch(header)
    if parts is None:
        return False
    genuine = hmac.compare_digest(_digest(secret, parts[1], body), parts[2])
    return genuine and abs(now - int(parts[1])) <= tolerance


def _digest(secret: bytes, time: str, body: bytes) -> str:
    return hmac.digest(secret, f"{time}.".encode() + body, "sha256").hex()


class WebhookSender:
    """Posts to one address. `now` gives the time of the signature (UTC nanoseconds), `timeout` is in seconds and for
    the whole request. Redirects are not followed: the signed body goes where the configuration says, or nowhere."""

    def __init__(self, url: str, secret: bytes, now: Callable[[], int], timeout: float = 10.0) -> None:
        _check_address(url)
        if len(secret) < 32:
            raise InputError("webhook: the secret is too short; expected 32 bytes or more")
        self._url, self._secret, self._now, self._timeout = url, secret, now, timeout
        self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False)

    async def send(self, event_id: str, body: bytes) -> None:
        """Post JSON. 2xx is success; 4xx but 408 and 429 raises `Refused`; all else `Retry`."""
        headers = {
            "content-type": "application/json",
            "closeout-event-id": quote(event_id, safe=_PRINTABLE),
            "closeout-signature": signature(self._secret, self._now() // SECOND, body),
        }
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code  # what else it says is not read
        except (httpx.HTTPError, TimeoutError) as error:
            raise Retry(f"no answer: {error or type(error).__name__}", maybe_taken=True) from error
        if 200 <= status < 300:
            return
        if 400 <= status < 500 and status not in (408, 429):
            raise Refused(f"the receiver answered {status}")
        raise Retry(f"the receiver answered {status}")

    async def close(self) -> None:
        await self._client.aclose()


def _check_address(url: str) -> None:
    try:
        address = httpx.URL(url)
        local = address.host == "localhost" or (address.scheme == "http" and ip_address(address.host).is_loopback)
    except (httpx.InvalidURL, ValueError):
        address, local = httpx.URL(), False
    if not address.host or not (address.scheme == "https" or (address.scheme == "http" and local)):
        raise InputError("webhook: url: expected an https address (http only to this machine)")
