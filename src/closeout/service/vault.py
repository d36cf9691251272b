"""Journal and store together: opened, recovered into one consistent state, and put away again (G-16, G-17).

The journal is the truth, the store follows it. On opening, inputs that the store has not seen are projected from the
journal; snapshots are only taken of what the store has, so that recovery always passes over what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from closeout.core.units import InputError
from closeout.engine.commands import Input, LoadRulebook
from closeout.engine.engine import Engine
from closeout.engine.events import AnyEvent, Rejected
from closeout.journal.journal import Journal
from closeout.journal.reader import JournalReader
from closeout.journal.records import document_digest
from closeout.rulebooks.loader import Rulebook
from closeout.service.applied import Applied
from closeout.service.store.store import Store
from closeout.service.writer import key_hash

AT_ONCE = 2_000


@dataclass(slots=True)
class Vault:
    """The opened pair. The journal is only touched in `thread`; `notes` are plain lines about the recovery."""

    journal: Journal
    store: Store
    engine: Engine
    seq: int
    thread: ThreadPoolExecutor
    notes: list[str]
    recovered: int = 0

    @classmethod
    def open(cls, journal: str, store: str, rulebook: Rulebook, now: int, *, webhooks: bool) -> Vault:
        """Open both, or make them. `InputError` where that cannot be, or where the journal is another rulebook's."""
        kept = Store.open(store if "://" in store else f"sqlite:///{store}", webhooks=webhooks)
        thread = ThreadPoolExecutor(1, "journal")
        try:
            return thread.submit(_open, cls, journal, kept, rulebook, now, thread).result()
        except BaseException:
            kept.close()
            thread.shutdown()
            raise

    def keys(self) -> set[int]:
        """Hashes of the idempotency keys that the store knows."""
        return {key_hash(source, key) for source, key in self.store.reply_keys()}

    def snapshot(self) -> str:
        """Write down the whole state, in `thread`; the published digest. The store must have caught up."""
        if self.store.projected_seq < self.journal.last_seq:
            raise ValueError("the store must have caught up before a snapshot")
        published = self.journal.snapshot(self.journal.last_seq, self.engine)
        self.journal.prune()
        return published

    def close(self) -> None:
        self.thread.submit(self.journal.close).result()
        self.thread.shutdown()
        self.store.close()


def _open(
    make: Callable[..., Vault], place: str, store: Store, rulebook: Rulebook, now: int, thread: ThreadPoolExecutor
) -> Vault:
    document = rulebook.document()
    if not _exists(place):
        if store.projected_seq:
            raise InputError(f"{place}: there is no journal, but the store follows one: they belong together")
        journal = Journal.create(place, engine_version=Engine.version, rulebook_digest=document_digest(document))
        engine = Engine()
        return make(journal, store, engine, _begin(journal, store, engine, document, now), thread, [])
    journal = Journal.open(place)
    try:
        if journal.last_seq == 0:  # killed between making it and its first input
            engine, _ = journal.recover(Engine)
            return make(journal, store, engine, _begin(journal, store, engine, document, now), thread, [])
        return _recover(make, journal, store, document, thread)
    except BaseException:
        journal.close()
        raise


def _begin(journal: Journal, store: Store, engine: Engine, document: bytes, now: int) -> int:
    """The first input loads the rulebook; its number."""
    given = Input("service", 1, now, LoadRulebook(document))
    seq = journal.append([given])
    events = engine.apply(given)
    if any(isinstance(event, Rejected) for event in events):
        raise InputError(f"the engine does not take this rulebook: {events}")
    journal.record(seq, events)
    store.project([Applied(seq, given, events)])
    return seq


def _recover(
    make: Callable[..., Vault], journal: Journal, store: Store, document: bytes, thread: ThreadPoolExecutor
) -> Vault:
    """Recover from the newest snapshot that the store has passed, and project what it lacks."""
    rebuilt = store.projected_seq == 0
    if rebuilt:
        store.rebuild_to(journal.last_seq)
    missed: list[Applied] = []
    count = 0

    def flush() -> None:
        store.project(missed)
        missed.clear()

    def passed(seq: int, given: Input, events: list[AnyEvent]) -> None:
        nonlocal count
        count += 1
        if seq > store.projected_seq:
            missed.append(Applied(seq, given, events))
            if len(missed) >= AT_ONCE:
                flush()

    engine, seq = journal.recover(Engine, on_applied=passed, before_seq=store.projected_seq)
    if missed:
        flush()
    if store.projected_seq != seq:
        raise InputError(f"the store is at input {store.projected_seq}, the journal at {seq}: they belong together")
    if engine.loaded.document != document:
        raise InputError(
            f"the journal runs under rulebook {engine.loaded.policy.name} {engine.loaded.policy.version} "
            f"({engine.loaded.policy.digest[:12]}), which is not the configured one: a new version needs an upgrade"
        )
    notes = [*journal.notes, f"recovered {seq} inputs, {count} of them run again"]
    if rebuilt:
        notes.append("the store was made anew: its mails are parked, and the venue is asked about every order")
    return make(journal, store, engine, seq, thread, notes, count)


def _exists(place: str) -> bool:
    if "://" not in place:
        return Path(place).exists()
    try:
        JournalReader.read(place).close()
    except InputError:
        return False  # if the server is not there, making the journal says so
    return True
