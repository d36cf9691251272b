"""Reading a journal, wherever it lies (rule G-17)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from closeout.journal.records import Checkpoint, Frame, Head, Receipt, Segment, Snapshot, VerificationError
from closeout.journal.sqlite import SqliteStorage
from closeout.journal.storage import Damage, Storage

MIN, MAX = -(2**63), 2**63 - 1
PAGE = 100
"""Rows of a long table that are asked for at once."""


def backend(address: Path | str) -> type[Storage]:
    """Which database an address means: ``postgresql://...``, anything else is the path of a file."""
    if str(address).startswith("postgresql:"):
        from closeout.journal.postgres import PostgresStorage

        return PostgresStorage
    return SqliteStorage


class JournalReader:
    """A journal as it stood when it was opened; what is appended later is not seen. Close it soon: while it is open the
    database keeps what it would otherwise clear away. `InputError`: not a journal; `VerificationError`: a damaged one.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @classmethod
    def read(cls, address: Path | str) -> JournalReader:
        """Open read-only, by path or ``postgresql://`` address; a writer may be at work on the journal."""
        return JournalReader(backend(address).read(str(address)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def close(self) -> None:
        self._storage.close()

    @property
    def name(self) -> str:
        """The path, or the address without its password."""
        return self._storage.name

    @property
    def last_seq(self) -> int:
        """The number of the last input, 0 when there is none."""
        with self._naming("its last frame"):
            rows = list(self._storage.rows("SELECT last_seq FROM frame ORDER BY number DESC LIMIT 1"))
        return rows[0][0] if rows else 0

    def segments(self) -> list[Segment]:
        with self._naming("its segments"):
            return [Segment(*row) for row in self._storage.rows("SELECT * FROM segment ORDER BY number")]

    def frames(self, after_seq: int = MIN, first_segment: int = MIN, last_segment: int = MAX) -> Iterator[Frame]:
        """Frames in order, as they are stored: those whose inputs come after `after_seq`, of the segments given."""
        query = """SELECT * FROM frame WHERE number > ?1 AND first_seq > ?2 AND segment BETWEEN ?3 AND ?4
            ORDER BY number LIMIT ?5"""
        place = "its frames" if after_seq == MIN else f"the frames after input {after_seq}"
        number, found = MIN, PAGE
        while found == PAGE:
            rows, found = self._storage.rows(query, number, after_seq, first_segment, last_segment, PAGE), 0
            while True:
                with self._naming(place):
                    if (row := next(rows, None)) is None:
                        break
                    frame = Frame(*row)
                yield frame
                number, found, place = frame.number, found + 1, f"the frame after {frame.name}"

    def snapshot_keys(self) -> list[tuple[int, int]]:
        """Segment and last input of each snapshot, newest first."""
        with self._naming("its snapshots"):
            query = "SELECT segment, seq FROM snapshot ORDER BY segment DESC, seq DESC"
            return [(segment, seq) for segment, seq in self._storage.rows(query)]

    def stored_snapshot(self, segment: int, seq: int) -> Snapshot | None:
        with self._naming(f"the snapshot at input {seq}"):
            rows = self._storage.rows("SELECT * FROM snapshot WHERE segment = ?1 AND seq = ?2", segment, seq)
            return next((Snapshot(*row) for row in rows), None)

    def checkpoints(self) -> list[Checkpoint]:
        with self._naming("its checkpoints"):
            return [Checkpoint(*row) for row in self._storage.rows("SELECT * FROM checkpoint ORDER BY segment, seq")]

    def receipts(self, first_seq: int = MIN, last_seq: int = MAX) -> Iterator[Receipt]:
        """Receipts as they were issued, in order, those of inputs `first_seq` to `last_seq`."""
        query = """SELECT * FROM receipt WHERE seq BETWEEN ?1 AND ?2 AND (seq, receipt_id) > (?3, ?4)
            ORDER BY seq, receipt_id LIMIT ?5"""
        last, page = (MIN, ""), PAGE
        while page == PAGE:
            with self._naming("its receipts"):
                receipts = [Receipt(*row) for row in self._storage.rows(query, first_seq, last_seq, *last, PAGE)]
            yield from receipts
            page = len(receipts)
            last = receipts[-1][:2] if receipts else last

    def receipt(self, seq: int, receipt_id: str) -> Receipt | None:
        with self._naming("its receipts"):
            rows = self._storage.rows("SELECT * FROM receipt WHERE seq = ?1 AND receipt_id = ?2", seq, receipt_id)
            return next((Receipt(*row) for row in rows), None)

    def published(self) -> str:
        """The digest of the last checkpoint, to be noted elsewhere and given to `verify`; "" when there is none."""
        checkpoints = self.checkpoints()
        return checkpoints[-1].published if checkpoints else ""

    def check(self) -> Head:
        """Prove the journal whole: every frame's length, checksum and place in the chain, then the database's own
        check. `VerificationError` names the first frame that is wrong, missing or moved."""
        head = self._check_chain()
        with self._naming("the database's check"):
            found = self._storage.fault()
        if found:
            raise VerificationError(f"{self.name}: damaged: {' '.join(found.split())}")
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
            raise VerificationError(f"{self.name}: damaged after frame {head.frame}: {error}") from None
        if not head.segment:
            raise VerificationError(f"{self.name}: segment 1 is missing")
        return head

    def named(self, error: VerificationError) -> VerificationError:
        """The same error with the journal's name in front, once."""
        text = str(error)
        return error if text.startswith(self.name) else VerificationError(f"{self.name}: {text}")

    @contextmanager
    def _naming(self, place: str) -> Generator[None]:
        """Damage that the database or a row's shape shows becomes one line that names the journal and the place."""
        try:
            yield
        except (Damage, TypeError) as error:
            raise VerificationError(f"{self.name}: damaged at {place}: {error}") from None
