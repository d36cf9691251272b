"""Real servers on this machine for the tests of notices: SMTP, with faults on demand, and HTTP."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = b"margin", b"a password"


@dataclass
class Post:
    """An SMTP handler that keeps what it is handed. `answers` are given to the next commands (``RCPT`` or ``DATA``),
    in order, instead of yes; "drop" takes the whole message and hangs up without a word, "hold" never answers."""

    answers: dict[str, list[str]] = field(default_factory=lambda: {"RCPT": [], "DATA": []})
    mails: list[bytes] = field(default_factory=list[bytes])
    sessions: list[Session] = field(default_factory=list[Session])
    over_tls: list[bool] = field(default_factory=list[bool])
    signed_in: list[bool] = field(default_factory=list[bool])
    holding: bool = False

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answers["RCPT"]:
            return self.answers["RCPT"].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 yes"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        answer = self.answers["DATA"].pop(0) if self.answers["DATA"] else "250 yes"
        if answer == "hold":
            self.holding = True
            await asyncio.sleep(60)  # ends when the client hangs up
        if answer.startswith("2") or answer == "drop":
            self.mails.append(envelope.content)
        if answer == "drop":
            assert server.transport is not None
            cast(asyncio.WriteTransport, server.transport).abort()
        if not any(session is known for known in self.sessions):
            self.sessions.append(session)
        self.over_tls.append(session.ssl is not None)
        self.signed_in.append(bool(session.authenticated))
        return answer


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    """Whether the one user signs in. `handled=False`: the server answers, not this function."""
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER, PASSWORD)
    return AuthResult(success=good, handled=False)


class AnyPort(Controller):
    """The library's controller, made to understand port 0: it connects once to see that the server answers."""

    def _trigger_server(self) -> None:
        self.port = cast(asyncio.Server, self.server).sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(post: Post, port: int = 0, **options: Any) -> Iterator[int]:
    """An SMTP server on 127.0.0.1; gives its port. `options` are the Controller's."""
    controller = AnyPort(post, hostname="127.0.0.1", port=port, server_hostname="127.0.0.1", **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def certificate(folder: Path, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, str]:
    """A server's context with a certificate of its own for an address, and the file that makes a client trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = folder / f"{name}.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    whole = folder / f"{name}-key.pem"
    whole.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + public.read_bytes()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(whole)
    return context, str(public)


@dataclass
class Receiver:
    """A receiver of webhooks: `answers` are given in order, then 200; `heard` has (path, headers, body)."""

    answers: list[int] = field(default_factory=list[int])
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list[tuple[str, dict[str, str], bytes]])


@contextmanager
def web_server(receiver: Receiver) -> Iterator[str]:
    """An HTTP server on 127.0.0.1; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.heard.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.answers.pop(0) if receiver.answers else 200
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
