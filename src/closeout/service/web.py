"""The HTTP server around the application: uvicorn, without its own signals, on a socket that is bound before use."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from closeout.core.units import InputError

SEND_BUFFER = 2**17
"""Bytes that the system keeps for one connection. It would let them grow to megabytes, and a stream's client that does
not read would be noticed a minute late."""


class Sockets(WebSocketsSansIOProtocol):
    """uvicorn's WebSockets, with an end for clients that do not read: the reason is sent behind what they have not
    read, and does not wait for them; when they have not answered it, the connection is cut."""

    async def send(self, message: Any) -> None:
        is_end = message["type"] == "websocket.close"
        if is_end:
            self.writable.set()
        await super().send(message)
        if is_end:
            self.loop.call_later(self.close_timeout + 1, self.transport.abort)


class Server(uvicorn.Server):
    """One process, one loop: the engine is in it. `listening` is a socket of `bound`; `address` says where it is."""

    def __init__(self, app: Any, listening: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                ws=Sockets,
                ws_per_message_deflate=False,
                ws_max_size=65_536,
                ws_ping_interval=20.0,
                timeout_graceful_shutdown=5,
                server_header=False,
            )
        )
        self._socket = listening
        self.address = _address(self._socket)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """The service decides when to stop."""
        yield

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then let requests under way end."""
        serving = asyncio.create_task(self.serve(sockets=[self._socket]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self.should_exit = True
        await serving


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, port 0 for a free one. A service takes it before it opens anything: where the address
    is another's, nothing has been written."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, else asyncio leaves Nagle on: 40 ms
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise InputError(f"listen: {host}:{port}: {error.strerror or error}") from None
    return found


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
