"""A FIX session over TCP or TLS: connect, keep alive, reconnect with a growing pause.

The session's calls wait for the disk, so each runs in a worker thread, one at a time; its bytes are written before the
next call begins, so the numbers go out in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

from closeout.adapters.venues.fix_codec import Fields, Framer, Message
from closeout.adapters.venues.fix_session import LOGOUT_WAIT, FixSession, Step
from closeout.adapters.venues.fix_store import Sent
from closeout.adapters.venues.port import Alarm, NotConnected

LONGEST_WAIT = 30.0
"""Seconds between two attempts to connect, at most."""

Handler = Callable[[Message], Awaitable[None]]
T = TypeVar("T")


class FixConnection:
    """Runs a session against `host`:`port`, with TLS where a context is given. The first pause before connecting again
    is `pause` seconds; it doubles until a logon succeeds."""

    def __init__(
        self,
        session: FixSession,
        host: str,
        port: int,
        alarm: Alarm,
        *,
        tls: ssl.SSLContext | None = None,
        pause: float = 1.0,
    ) -> None:
        self.session, self._host, self._port, self._alarm, self._tls = session, host, port, alarm, tls
        self._pause = pause
        self._lock = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._logged_on = asyncio.Event()
        self._failures = 0
        self._told = ""

    @property
    def logged_on(self) -> bool:
        return self._logged_on.is_set()

    async def run(self, handle: Handler) -> None:
        """For ever. `handle` gets each message for the application, in order, each again until it has returned."""
        while True:
            try:
                reason = await self._once(handle)
            except OSError as bad:
                reason = f"{self._host}:{self._port}: {bad or type(bad).__name__}"
            if reason != self._told:  # once for each reason, until a logon succeeds
                self._told = reason
                self._alarm("fix_disconnected", reason)
            await asyncio.sleep(min(self._pause * 2 ** min(self._failures, 10), LONGEST_WAIT))
            self._failures += 1

    async def send(self, msg_type: str, body: Fields) -> int:
        """Number of an application message that is stored and on its way; `NotConnected` where nothing was done."""

        now = asyncio.get_running_loop().time()

        def act() -> tuple[int, Step]:
            if not self._logged_on.is_set() or self._writer is None or self._writer.is_closing():
                raise NotConnected("the FIX session is not logged on")
            seq, data = self.session.send(msg_type, body, now)
            return seq, Step([data])

        return await self._call(act)

    async def reject(self, message: Message, tag: int, text: str) -> None:
        """Tell the other side that a message lacks a field."""
        await self._step(lambda now: self.session.reject(message, tag, text, now))

    async def sent(self, seq: int) -> Sent | None:
        """The application message that we sent under a number."""
        return await self._call(lambda: (next(iter(self.session.store.sent(seq, seq)), None), Step()))

    async def logged_on_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._logged_on.wait()
        return self._logged_on.is_set()

    # -- one connection -----------------------------------------------------------------------------

    async def _once(self, handle: Handler) -> str:
        """From connecting to the end of the connection; returns why it ended."""
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        self._writer = writer
        ticker: asyncio.Task[None] | None = None
        ended: list[str] = []
        try:
            await self._step(self.session.connect)
            ticker = asyncio.create_task(self._tick(writer, ended))
            reason = await self._read(reader, handle)
            return ended[0] if ended else reason
        except asyncio.CancelledError:
            if self._logged_on.is_set():
                await self._leave(reader)
            raise
        finally:
            self._logged_on.clear()
            if ticker is not None:
                ticker.cancel()
            self._writer = None
            self.session.dropped()
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(LOGOUT_WAIT):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, handle: Handler) -> str:
        framer = Framer()
        while data := await reader.read(65536):
            for message in framer.feed(data):
                step = await self._receive(message)
                if step.deliver is not None:
                    try:
                        await handle(step.deliver)
                    except Exception as bad:
                        self._alarm("fix_message", f"message {message.get(34)} of type {message.type}: {bad!r}")
                        return f"message {message.get(34)} could not be dealt with; it will be asked for again"
                    await self._settle(step.deliver)
                if step.close:
                    return step.close
        return "the connection was closed"

    async def _receive(self, message: Message) -> Step:
        step = await self._step(lambda now: self.session.receive(message, now))
        if self.session.logged_on and not self._logged_on.is_set() and not step.close:
            self._failures, self._told = 0, ""
            self._logged_on.set()
        return step

    async def _settle(self, message: Message) -> None:
        def act() -> tuple[None, Step]:
            self.session.done(message)
            return None, Step()

        await self._call(act)

    async def _tick(self, writer: asyncio.StreamWriter, ended: list[str]) -> None:
        try:
            while not ended:
                await asyncio.sleep(min(1.0, self.session.config.heartbeat / 4))
                step = await self._step(self.session.tick)
                if step.close:
                    ended.append(step.close)
        finally:
            writer.transport.abort()  # nobody answers, or nobody would send heartbeats: the reader ends

    async def _leave(self, reader: asyncio.StreamReader) -> None:
        """Log out, and wait a little for the answer."""
        framer = Framer()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LOGOUT_WAIT):
                await self._step(self.session.logout)
                while data := await reader.read(65536):
                    for message in framer.feed(data):
                        step = await self._receive(message)
                        if step.deliver is not None or step.close:  # what is not dealt with is asked for next time
                            return

    # -- the session, one call at a time ---------------------------------------------------------------

    async def _step(self, act: Callable[[float], Step]) -> Step:
        now = asyncio.get_running_loop().time()

        def both() -> tuple[Step, Step]:
            step = act(now)
            return step, step

        return await self._call(both)

    async def _call(self, act: Callable[[], tuple[T, Step]]) -> T:
        """The call goes on to its end when the caller is cancelled: no two may overlap."""
        return await asyncio.shield(asyncio.ensure_future(self._locked(act)))

    async def _locked(self, act: Callable[[], tuple[T, Step]]) -> T:
        async with self._lock:
            writer = self._writer  # not a later one, to which nothing may go before its logon
            result, step = await asyncio.to_thread(act)
            if writer is not None and not writer.is_closing() and step.out:
                with contextlib.suppress(OSError):  # lost with the connection; the other side asks for it
                    writer.write(b"".join(step.out))
                    await writer.drain()
        for code, text in step.alarms:
            self._alarm(code, text)
        return result
