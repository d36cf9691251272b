"""The FIX venue against QuickFIX, by hand: not a test of the suite, because QuickFIX is not a dependency.

    python -m venv QF && QF/bin/pip install quickfix-ssl      (a wheel for CPython 3.11; `quickfix` itself is compiled)
    python tests/adapters/venues/quickfix_by_hand.py QF/bin/python

The second line runs with the project's own interpreter and starts a QuickFIX acceptor with the other one. It prints a
line for each scene and ends with exit code 1 at the first that is not as it should be. QuickFIX checks numbers, times,
lengths and checksums; it has no data dictionary here (the wheel ships none), so it does not check which fields a
message type may have.
"""

import asyncio
import socket
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

SETTINGS = """[DEFAULT]
ConnectionType=acceptor
FileStorePath={folder}/quickfix
StartTime=00:00:00
EndTime=00:00:00
UseDataDictionary=N
SocketAcceptPort={port}
[SESSION]
BeginString=FIX.4.4
SenderCompID=VENUE
TargetCompID=CLOSEOUT
"""


# The acceptor, in the interpreter that has QuickFIX. It prints each message that it gets and obeys lines on its input.


def value(fix: Any, part: Any, tag: int) -> str:
    """A field of a message or header, "" where it is missing."""
    field = fix.StringField(tag)
    if not part.isSetField(tag):
        return ""
    part.getField(field)
    return field.getString()


def venue_of(fix: Any) -> Any:
    """QuickFIX's application: a venue that fills what is called so."""

    class Venue(fix.Application):
        def __init__(self) -> None:
            super().__init__()
            self.session: Any = None
            self.orders: dict[str, dict[int, str]] = {}
            self.reports = 0

        def onCreate(self, session: Any) -> None:
            self.session = session

        def onLogon(self, session: Any) -> None:
            print("logon", flush=True)

        def onLogout(self, session: Any) -> None:
            print("logout", flush=True)

        def toAdmin(self, message: Any, session: Any) -> None: ...

        def toApp(self, message: Any, session: Any) -> None: ...

        def fromAdmin(self, message: Any, session: Any) -> None:
            print("admin", value(fix, message.getHeader(), 35), flush=True)

        def fromApp(self, message: Any, session: Any) -> None:
            kind, again = value(fix, message.getHeader(), 35), value(fix, message.getHeader(), 43)
            order_id = value(fix, message, 11)
            print("app", kind, order_id or "-", again or "N", value(fix, message, 899) or "-", flush=True)
            fields = {tag: value(fix, message, tag) for tag in (11, 41, 55, 54, 38, 790)}
            if kind == "D":
                self.orders[order_id] = fields
                self.report(fields, "0", "0")
                if order_id.startswith("fill"):
                    self.report(fields, "F", "1", {32: "0.03", 31: "64000.5", 14: "0.03"})
                    self.report(fields, "F", "2", {32: "0.04", 31: "64000", 14: "0.07"})
            elif kind == "H":
                known = order_id in self.orders
                more = {790: fields[790], 14: "0.07"} if known else {790: fields[790], 103: "5", 37: "NONE"}
                status = ("2" if order_id.startswith("fill") else "0") if known else "8"
                self.report(fields, "I", status, more)
            elif kind == "F":
                self.report({**self.orders[fields[41]], 11: order_id}, "4", "4", {41: fields[41]})

        def report(self, fields: dict[int, str], kind: str, status: str, more: dict[int, str] | None = None) -> None:
            self.reports += 1
            told = {37: "V1", 17: f"E{self.reports}", 14: "0", 151: "0", 6: "0", **fields, 150: kind, 39: status}
            self.send("8", {**told, **(more or {})})

        def send(self, kind: str, fields: dict[int, str]) -> None:
            message = fix.Message()
            message.getHeader().setField(fix.MsgType(kind))
            for tag, text in fields.items():
                if text:
                    message.setField(fix.StringField(tag, text))
            fix.Session.sendToTarget(message, self.session)

    return Venue()


def acceptor(port: str, folder: str) -> None:
    import quickfix as fix  # pyright: ignore[reportMissingImports]

    path = Path(folder, "acceptor.cfg")
    path.write_text(SETTINGS.format(folder=folder, port=port))
    settings, venue = fix.SessionSettings(str(path)), venue_of(fix)
    running = fix.SocketAcceptor(venue, fix.FileStoreFactory(settings), settings)
    running.start()
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "fill":
            venue.report(venue.orders[words[0]], "F", "1", {32: words[1], 31: words[2]})
        elif verb == "inquire":
            venue.send("BB", {909: "Q1", 1: words[0]})
        elif verb == "logout":
            fix.Session.lookupSession(venue.session).logout()
    running.stop()


# The initiator, in the project's interpreter


class Scenes:
    """One venue after another over the same store, against one acceptor."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder
        self.lines: list[str] = []

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().strip())

    async def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in self.lines)

    def start(self, *, reset: bool = False, heartbeat: int = 5, known: tuple[str, ...] = ()) -> None:
        from tests.adapters.venues.common import BTC, Ears, order

        from closeout.adapters.venues.fix_reports import ReportedAccount
        from closeout.adapters.venues.fix_session import FixConfig
        from closeout.adapters.venues.fix_venue import FixVenue

        def account(account_id: str) -> ReportedAccount:
            numbers = (Decimal("480.25"), Decimal(500), Decimal(1000))
            return ReportedAccount(account_id, "CLOSEOUT", "USD", 42, "20251010", *numbers, ())

        self.ears = Ears()
        config = FixConfig("CLOSEOUT", "VENUE", heartbeat, reset)
        contracts, symbols = {"BTC-PERP": BTC}, {"BTC-PERP": "BTCUSD"}
        store = self.folder / "fix.sqlite"
        self.venue = FixVenue(
            config, "127.0.0.1", self.port, store, contracts, symbols, self.ears.alarm, reports=account, pause=0.1
        )
        self.order = order
        for order_id in known:
            self.venue.remember(order(-7, order_id), 0)
        self.running = asyncio.create_task(self.venue.run(self.ears.report))

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.venue.close()

    async def until(self, what: str, true: Any) -> None:
        for _ in range(400):
            if true():
                return
            await asyncio.sleep(0.05)
        print(f"FAILED: {what}\n  QuickFIX said: {self.lines[-12:]}\n  alarms: {self.ears.alarms}")
        raise SystemExit(1)

    async def play(self) -> None:
        self.start()
        await self.until("logon", lambda: self.venue.connected)
        print("logged on")
        begun, many = time.perf_counter(), 300
        await asyncio.gather(*(self.venue.place(self.order(-7, f"fill-{n}")) for n in range(many)))
        await self.until("fills", lambda: len(self.ears.reports) == 3 * many)
        rate = many / (time.perf_counter() - begun)
        ticks = {one.price_ticks for one in self.ears.executions}
        print(f"{many} orders placed, {len(self.ears.executions)} executions at {sorted(ticks)}, {rate:.0f} orders/s")

        print("found", await self.venue.find("fill-7", 0), "| absent:", await self._never())
        await self.venue.place(self.order(-7, "rest-1"))
        await self.venue.cancel("rest-1")
        await self.until("cancelled", lambda: self.ears.done[-1].order_id == "rest-1")
        print("cancelled:", self.ears.done[-1])
        await self.tell("inquire A1")
        await self.until("collateral report", lambda: self.count("app BA - N -19.75"))
        print("collateral inquiry answered with 899 =", self.lines[-1].split()[-1])

        await self.venue.place(self.order(-7, "rest-2"))
        await self.stop()
        await self.until("logout", lambda: self.count("logout"))
        print("logged out")
        await self.missed()
        await self.lost()
        await self.torn()
        await self.quiet()

    async def _never(self) -> object:
        self.venue.remember(self.order(-7, "never"), 0)
        return await self.venue.find("never", 0)

    async def missed(self) -> None:
        """Executions while we are away: QuickFIX numbers them, and we ask for them."""
        await self.tell("fill rest-2 0.02 64000")
        await self.tell("fill rest-2 0.01 63999.5")
        await asyncio.sleep(0.5)
        self.start(known=("rest-2",))
        await self.until("executions from before the logon", lambda: len(self.ears.executions) == 2)
        print("missed executions came by a resend:", [one.lots for one in self.ears.executions])
        await self.stop()

    async def lost(self) -> None:
        """Stored and never sent, as when the process dies between the two: QuickFIX asks, we send flagged."""
        from closeout.adapters.venues.fix_session import FixConfig, FixSession
        from closeout.adapters.venues.fix_store import FixStore

        config = FixConfig("CLOSEOUT", "VENUE")
        store = FixStore(self.folder / "fix.sqlite", config.session)
        FixSession(config, store).send("D", [(11, "fill-lost"), (55, "BTCUSD"), (54, "2"), (38, "0.07"), (40, "1")], 0)
        store.close()
        self.start(known=("fill-lost",))
        await self.until("the order that was lost", lambda: len(self.ears.executions) == 2)
        assert self.count("app D fill-lost") == self.count("app D fill-lost Y") == 1
        print("a lost order was asked for and came once, flagged")

    async def torn(self) -> None:
        """The connection breaks again and again under load: every order is taken once, every execution told."""
        from closeout.adapters.venues.port import Refused, Uncertain

        before, names = len(self.ears.executions), [f"fill-torn-{n}" for n in range(60)]
        unclear: list[str] = []

        async def place(name: str) -> None:
            while True:
                try:
                    return await self.venue.place(self.order(-7, name))
                except Refused:
                    await asyncio.sleep(0.02)  # not connected, nothing sent
                except Uncertain:
                    return unclear.append(name)

        placing = [asyncio.create_task(place(name)) for name in names]
        for _ in range(5):
            await asyncio.sleep(0.06)
            writer = self.venue._connection._writer
            if writer is not None:
                writer.transport.abort()
        await asyncio.gather(*placing)
        await self.until("executions after torn lines", lambda: len(self.ears.executions) >= before + 2 * len(names))
        twice = [name for name in names if self.count(f"app D {name} ") != 1]
        ids = [one.fill_id for one in self.ears.executions]
        print(f"lines torn 5 times under {len(names)} orders: taken other than once {twice}, without answer {unclear},")
        print(
            f"  executions {len(ids) - before}, told twice {len(ids) - len(set(ids))}; alarms {set(self.ears.alarms)}"
        )
        assert not twice
        await self.stop()

    async def quiet(self) -> None:
        """Numbers reset when asked for, heartbeats in a quiet time, and QuickFIX logging out."""
        self.start(reset=True, heartbeat=1)
        await self.until("logon with reset", lambda: self.venue.connected)
        print("logged on with ResetSeqNumFlag, next numbers", self.venue._session.store.next_out)
        heartbeats = self.count("admin 0")
        await asyncio.sleep(4.5)
        assert self.venue.connected
        print("quiet for 4.5 s at HeartBtInt 1: heartbeats that QuickFIX got:", self.count("admin 0") - heartbeats)
        await self.tell("logout")
        await self.until("QuickFIX's logout", lambda: self.ears.alarms)
        print("QuickFIX logged out:", self.ears.alarms[-1])
        await self.stop()


async def main(python: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(python, __file__, "acceptor", str(port), folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        scenes = Scenes(process, port, Path(folder))
        listening = asyncio.create_task(scenes.listen())
        while "ready" not in scenes.lines:
            await asyncio.sleep(0.05)
        try:
            await scenes.play()
            print("all as it should be")
        finally:
            process.kill()
            await process.wait()
            listening.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "acceptor":
        acceptor(*sys.argv[2:])
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
        asyncio.run(main(sys.argv[1]))
