"""What a FIX session must not forget: both sequence numbers and the application messages it sent, in one SQLite file.

A number is taken, and its message stored, in one durable commit before anything is sent; so after any crash the other
side can ask for whatever it has not got, and no number is used twice. The incoming number survives the process, but is
not forced to the disk: after a power failure it may be too low, and messages come again that were dealt with.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
from msgspec import Struct

from closeout.adapters.venues.fix_codec import Field, Fields
from closeout.core.units import InputError

SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    only INTEGER PRIMARY KEY CHECK (only = 1), name TEXT NOT NULL, next_out INTEGER NOT NULL, next_in INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS sent (
    seq INTEGER PRIMARY KEY, type TEXT NOT NULL, time TEXT NOT NULL, body BLOB NOT NULL
);
"""


class Sent(Struct, frozen=True):
    """An application message as it was sent: number, type, SendingTime and body."""

    seq: int
    type: str
    time: str
    body: list[Field]


class FixStore:
    """The store of the session `name`, in the file at `path` (":memory:" for none).

    Its methods block for the disk; a lock of the caller keeps them apart. `InputError` where the file is another
    session's, or no such store.
    """

    def __init__(self, path: Path | str, name: str) -> None:
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO session VALUES (1, ?, 1, 1)", (name,))
            owner, self.next_out, self.next_in = self._db.execute(
                "SELECT name, next_out, next_in FROM session"
            ).fetchone()
        except sqlite3.Error as bad:
            raise InputError(f"{path}: not a store of a FIX session ({bad})") from None
        if owner != name:
            self._db.close()
            raise InputError(f"{path}: expected the store of the FIX session {name}, not of {owner}")

    def close(self) -> None:
        self._db.close()

    def allot(self, msg_type: str, time: str, body: Fields | None) -> int:
        """Take the next outgoing number, durably; with a `body` the message is kept for sending again."""
        seq = self.next_out
        self._db.execute("PRAGMA synchronous=FULL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE session SET next_out = ?", (seq + 1,))
            if body is not None:
                row = (seq, msg_type, time, msgspec.msgpack.encode(body))
                self._db.execute("INSERT INTO sent VALUES (?, ?, ?, ?)", row)
        self.next_out = seq + 1
        return seq

    def expect(self, next_in: int) -> None:
        """Everything below this incoming number has been dealt with."""
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("UPDATE session SET next_in = ?", (next_in,))
        self.next_in = next_in

    def sent(self, first: int, last: int) -> list[Sent]:
        """The application messages with numbers first..last, in order."""
        rows = self._db.execute("SELECT * FROM sent WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last))
        return [Sent(seq, kind, time, msgspec.msgpack.decode(body, type=list[Field])) for seq, kind, time, body in rows]

    def reset(self) -> None:
        """Both numbers start at 1 again, and nothing sent is kept."""
        self._db.execute("PRAGMA synchronous=FULL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM sent")
            self._db.execute("UPDATE session SET next_out = 1, next_in = 1")
        self.next_out = self.next_in = 1
