"""Reading a journal file, and telling a journal from what is none (rule G-17)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from closeout.core.units import InputError
from closeout.journal.records import Checkpoint, Frame, Head, Receipt, Segment, Snapshot, VerificationError

APPLICATION_ID = 0x434C4F53  # "CLOS"
FORMAT = 1
SCHEMA = (
    """CREATE TABLE segment (
    number INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, engine_version TEXT NOT NULL,
    rulebook_digest TEXT NOT NULL, image_digest BLOB NOT NULL, chain BLOB NOT NULL
) STRICT""",
    """CREATE TABLE frame (
    number INTEGER PRIMARY KEY, segment INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    length INTEGER NOT NULL, checksum BLOB NOT NULL, chain BLOB NOT NULL, payload BLOB NOT NULL
) STRICT""",
    """CREATE TABLE snapshot (
    segment INTEGER NOT NULL, seq INTEGER NOT NULL, state_digest TEXT NOT NULL, events INTEGER NOT NULL,
    events_digest BLOB NOT NULL, chain BLOB NOT NULL, image_digest BLOB NOT NULL, image BLOB NOT NULL,
    PRIMARY KEY (segment, seq)
) STRICT""",
    """CREATE TABLE checkpoint (
    segment INTEGER NOT NULL, seq INTEGER NOT NULL, state_digest TEXT NOT NULL, events INTEGER NOT NULL,
    events_digest BLOB NOT NULL, chain BLOB NOT NULL,
    PRIMARY KEY (segment, seq)
) STRICT""",
    """CREATE TABLE receipt (
    seq INTEGER NOT NULL, receipt_id TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (seq, receipt_id)
) STRICT""",
)
BUSY_MILLISECONDS = 5000
MAX_SEQ = 2**63 - 1


class JournalReader:
    """A journal as it stood when it was opened; what is appended later is not seen. Close it soon: while it is open the
    write-ahead log keeps growing. `InputError`: not a journal; `VerificationError`: a damaged one."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def read(cls, path: Path | str) -> JournalReader:
        """Open read-only; a writer may be at work on the file."""
        path = Path(path)
        check_exists(path)
        try:
            connection = _connect_read_only(path)
            try:
                connection.execute("BEGIN")
                check_is_journal(path, connection)
            except BaseException:
                connection.close()
                raise
        except UnicodeDecodeError:  # an error message of SQLite's that quotes damaged bytes
            raise VerificationError(f"{path}: damaged: the names of its tables cannot be read") from None
        return JournalReader(path, connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def close(self) -> None:
        self._connection.close()

    @property
    def last_seq(self) -> int:
        """The number of the last input, 0 when there is none."""
        with self._naming("its last frame"):
            row = self._connection.execute("SELECT last_seq FROM frame ORDER BY number DESC LIMIT 1").fetchone()
        return row[0] if row else 0

    def segments(self) -> list[Segment]:
        with self._naming("its segments"):
            return [Segment(*row) for row in self._connection.execute("SELECT * FROM segment ORDER BY number")]

    def frames(self, after_seq: int | None = None, segment: int | None = None) -> Iterator[Frame]:
        """Frames in order, as they are stored: all, those whose inputs come after `after_seq`, those of one segment."""
        query = """SELECT * FROM frame WHERE (?1 IS NULL OR first_seq > ?1) AND (?2 IS NULL OR segment = ?2)
            ORDER BY number"""
        place = "its frames" if after_seq is None else f"the frames after input {after_seq}"
        with self._naming(place):
            rows = self._connection.execute(query, (after_seq, segment))
        while True:
            with self._naming(place):
                if (row := rows.fetchone()) is None:
                    return
                frame = Frame(*row)
            yield frame
            place = f"the frame after {frame.name}"

    def snapshot_keys(self) -> list[tuple[int, int]]:
        """Segment and last input of each snapshot, newest first."""
        with self._naming("its snapshots"):
            query = "SELECT segment, seq FROM snapshot ORDER BY segment DESC, seq DESC"
            return self._connection.execute(query).fetchall()

    def stored_snapshot(self, segment: int, seq: int) -> Snapshot | None:
        with self._naming(f"the snapshot at input {seq}"):
            query = "SELECT * FROM snapshot WHERE segment = ? AND seq = ?"
            row = self._connection.execute(query, (segment, seq)).fetchone()
        return Snapshot(*row) if row else None

    def checkpoints(self) -> list[Checkpoint]:
        with self._naming("its checkpoints"):
            return [Checkpoint(*row) for row in self._connection.execute("SELECT * FROM checkpoint ORDER BY 1, 2")]

    def receipts(self, first_seq: int = 0, last_seq: int = MAX_SEQ) -> Iterator[Receipt]:
        """Receipts as they were issued, in order, those of inputs `first_seq` to `last_seq`."""
        query = "SELECT * FROM receipt WHERE seq BETWEEN ? AND ? ORDER BY seq, receipt_id"
        with self._naming("its receipts"):
            for row in self._connection.execute(query, (first_seq, last_seq)):
                yield Receipt(*row)

    def receipt(self, seq: int, receipt_id: str) -> Receipt | None:
        with self._naming("its receipts"):
            query = "SELECT * FROM receipt WHERE seq = ? AND receipt_id = ?"
            row = self._connection.execute(query, (seq, receipt_id)).fetchone()
        return Receipt(*row) if row else None

    def published(self) -> str:
        """The digest of the last checkpoint, to be noted elsewhere and given to `verify`; "" when there is none."""
        checkpoints = self.checkpoints()
        return checkpoints[-1].published if checkpoints else ""

    def check(self) -> Head:
        """Prove the file whole: every frame's length, checksum and place in the chain, then SQLite's own check.
        `VerificationError` names the first frame that is wrong, missing or moved."""
        head = self._check_chain()
        with self._naming("SQLite's check"):
            found: str = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise VerificationError(f"{self.path}: damaged: {' '.join(found.split())}")
        return head

    def _check_chain(self) -> Head:
        head = Head()
        segments = self.segments()
        try:
            for frame in self.frames():
                while segments and segments[0].number <= frame.segment:
                    head.enter(segments.pop(0))
                head.follow(frame)
            for segment in segments:
                head.enter(segment)
        except VerificationError as error:
            raise self.named(error) from None
        except TypeError as error:  # a column of another type than its table states
            raise VerificationError(f"{self.path}: damaged after frame {head.frame}: {error}") from None
        if not head.segment:
            raise VerificationError(f"{self.path}: segment 1 is missing")
        return head

    def named(self, error: VerificationError) -> VerificationError:
        """The same error with the file's name in front, once."""
        text = str(error)
        return error if text.startswith(str(self.path)) else VerificationError(f"{self.path}: {text}")

    @contextmanager
    def _naming(self, place: str) -> Generator[None]:
        """Damage that SQLite or a row's shape shows becomes one line that names the file and the place."""
        try:
            yield
        except sqlite3.ProgrammingError:  # a mistake of the caller's, such as a closed journal
            raise
        except (sqlite3.DatabaseError, TypeError, UnicodeDecodeError) as error:
            raise VerificationError(f"{self.path}: damaged at {place}: {error}") from None


def check_exists(path: Path) -> None:
    """`InputError` for no file or an empty one. The file is not opened here: closing it again would drop the locks of
    every SQLite connection that this process holds on it."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a journal")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty, expected a journal")


def damage(path: Path, error: sqlite3.DatabaseError) -> InputError | VerificationError:
    """What an error of SQLite's on opening says about the file."""
    if not hasattr(error, "sqlite_errorcode"):  # not SQLite's own: text that cannot be decoded
        return VerificationError(f"{path}: damaged: the names of its tables cannot be read")
    if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
        return InputError(f"{path}: not a journal (not an SQLite file)")
    if isinstance(error, sqlite3.OperationalError):
        return InputError(f"{path}: cannot be opened: {error}")
    return _cut_short(path) or VerificationError(f"{path}: damaged: {error} (file of {path.stat().st_size} bytes)")


def _cut_short(path: Path) -> InputError | None:
    """Bad input: the file ends before the pages that its header counts (SQLite could not even read its schema)."""
    with path.open("rb") as file:
        header = file.read(100)
    page_size = int.from_bytes(header[16:18], "big") or 1
    size, whole = path.stat().st_size, int.from_bytes(header[28:32], "big") * (65536 if page_size == 1 else page_size)
    return InputError(f"{path}: cut short: {size} bytes of {whole}") if size < whole else None


def check_is_journal(path: Path, connection: sqlite3.Connection) -> None:
    """`InputError` for another program's database, another format, or a file cut short."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    except sqlite3.DatabaseError as error:
        raise damage(path, error) from None
    if application != APPLICATION_ID:
        raise InputError(f"{path}: an SQLite file, but not a journal")
    if version != FORMAT:
        raise InputError(f"{path}: journal format {version}, expected {FORMAT}")
    if tuple(sql for (sql,) in tables) != SCHEMA:
        raise InputError(f"{path}: its tables are not those of journal format {FORMAT}")
    if not _log_bytes(path) and (size := path.stat().st_size) < pages * page_size:
        raise InputError(f"{path}: cut short: {size} bytes of {pages * page_size}")


def _log_bytes(path: Path) -> int:
    """The size of the write-ahead log beside the file, whose pages stand for those of the file."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Read-only, also in a folder where SQLite cannot put its shared-memory file if no log is left to be read."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _try_read(uri)
    except sqlite3.OperationalError as error:
        codes = (sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_CANTOPEN)
        if error.sqlite_errorcode not in codes or _log_bytes(path):
            raise damage(path, error) from None
        return _try_read(f"{uri}&immutable=1")
    except sqlite3.DatabaseError as error:
        raise damage(path, error) from None


def _try_read(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_MILLISECONDS / 1000)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
