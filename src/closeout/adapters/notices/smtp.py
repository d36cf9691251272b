"""Mail through an SMTP server, over one connection that is kept open and made again when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException

from closeout.adapters.notices.mail import Mail, Refused, Retry, compose
from closeout.core.units import InputError

_LOST = (SMTPException, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where and how to hand mail in. `tls` is from the first byte on, `starttls` after a greeting in clear; both verify
    the server's certificate, against `ca_file` (PEM) instead of the system's authorities where given. `timeout` is in
    seconds, for each answer of the server. An empty `username` signs in nowhere."""

    host: str
    port: int
    tls: Literal["none", "starttls", "tls"] = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 30.0
    ca_file: str | None = None


class SmtpSender:
    """A `MailSender`. `sender` is the address mail comes from, `now` gives the time for its Date (UTC nanoseconds).

    A server that answers 5xx to the mail itself has refused it. All else is tried again: 4xx, a lost connection, a bad
    certificate, a sign-in that fails (the password is at fault, not the mail).
    """

    def __init__(self, server: SmtpServer, sender: str, now: Callable[[], int]) -> None:
        if server.username and server.tls == "none":
            raise InputError("smtp: a password is only sent over TLS; expected tls = starttls or tls")
        try:
            self._context = None if server.tls == "none" else ssl.create_default_context(cafile=server.ca_file)
        except OSError as error:
            raise InputError(f"smtp: {server.ca_file}: no certificates could be read: {error}") from None
        self._server, self._sender, self._now = server, sender, now
        self._client: aiosmtplib.SMTP | None = None
        self._turn = asyncio.Lock()

    async def send(self, mail: Mail) -> None:
        """Hand one mail in. Raises `Retry` or `Refused`."""
        message = compose(mail, self._sender, self._now())
        async with self._turn:
            client = await self._connected()
            handed_over = False
            try:
                await client.mail(self._sender)
                await client.rcpt(mail.to)
                handed_over = True
                await client.data(message)
            except SMTPResponseException as error:
                self._drop()
                said = f"the server answered {error.code} {error.message}"
                raise (Refused(said) if 500 <= error.code < 600 else Retry(said)) from error
            except _LOST as error:
                self._drop()
                raise Retry(f"the connection was lost: {error}", maybe_taken=handed_over) from error
            except BaseException:
                self._drop()  # cancelled half-way: the next mail must not go on in this one's dialogue
                raise

    async def close(self) -> None:
        """Say goodbye, if anybody is there."""
        async with self._turn:
            if self._client is not None:
                with contextlib.suppress(*_LOST):
                    await self._client.quit()
                self._drop()

    async def _connected(self) -> aiosmtplib.SMTP:
        """The open connection if it still answers, else a new one."""
        if self._client is not None:
            try:
                await self._client.noop()
                return self._client
            except BaseException as error:
                self._drop()
                if not isinstance(error, _LOST):
                    raise
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            timeout=server.timeout,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            tls_context=self._context,
        )
        try:
            await client.connect()
        except BaseException as error:
            client.close()
            if isinstance(error, _LOST):
                raise Retry(f"no connection to {server.host}:{server.port}: {error}") from error
            raise
        self._client = client
        return client

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
