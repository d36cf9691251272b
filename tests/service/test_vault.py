"""Journal and store opened together: whatever is missing of the store comes out of the journal (G-16, G-17)."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from closeout.core.units import InputError
from closeout.engine import commands as c
from closeout.engine.commands import AnyCommand, Input
from closeout.journal.journal import Journal
from closeout.rulebooks.loader import load
from closeout.service.applied import Applied
from closeout.service.store.records import Posting, Query
from closeout.service.vault import Vault
from closeout.service.writer import key_hash

BOOK = load("reference")
NOW = 10**18


def opened(folder: Path, book: str = "reference") -> Vault:
    return Vault.open(str(folder / "j.sqlite"), str(folder / "s.sqlite"), load(book), NOW, webhooks=False)


def say(vault: Vault, *commands: AnyCommand, projected: bool = True, key: str = "") -> None:
    """Journal and apply; without `projected` as if the process ended before the store heard of it."""

    def said() -> None:
        for command in commands:
            number = vault.engine.sources.get("key:b", 0) + 1
            given = Input("key:b", number, NOW, command, key)
            seq = vault.journal.append([given])
            events = vault.engine.apply(given)
            vault.journal.record(seq, events)
            if projected:
                vault.store.project([Applied(seq, given, events)])

    vault.thread.submit(said).result()


def postings(vault: Vault) -> list[int]:
    return [row.micros for row in vault.store.page(Posting, Query()).items]


@pytest.mark.rule("G-16", "G-17")
def test_what_the_store_had_not_heard_of_is_projected_at_the_next_start(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    say(vault, c.OpenAccount("A1"), c.Deposit("A1", 1))
    say(vault, c.Deposit("A1", 2), projected=False, key="k")
    digest = vault.engine.digest()
    assert postings(vault) == [1]
    vault.close()
    again = opened(tmp_path)
    assert postings(again) == [1, 2]
    assert again.engine.digest() == digest
    assert again.keys() == {key_hash("key:b", "k")}
    again.close()


@pytest.mark.rule("G-16", "G-17")
def test_recovery_starts_from_a_snapshot_and_passes_over_what_the_store_lacks(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    say(vault, c.OpenAccount("A1"), *(c.Deposit("A1", n) for n in range(1, 6)))
    vault.thread.submit(vault.snapshot).result()
    say(vault, c.Deposit("A1", 6))
    say(vault, c.Deposit("A1", 7), projected=False)
    vault.close()
    again = opened(tmp_path)
    assert again.recovered == 2
    assert postings(again) == [1, 2, 3, 4, 5, 6, 7]
    assert again.seq == 9
    again.close()


@pytest.mark.rule("G-16")
def test_a_snapshot_of_what_the_store_has_not_is_refused(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    say(vault, c.OpenAccount("A1"), projected=False)
    with pytest.raises(ValueError, match="caught up"):
        vault.thread.submit(vault.snapshot).result()
    vault.close()


@pytest.mark.rule("G-16")
def test_a_lost_store_is_made_again_and_nothing_of_it_goes_out_blindly(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    say(vault, c.OpenAccount("A1"), c.Deposit("A1", 5), c.DeskAction("A1", "alert", "dana", "call us"))
    assert [effect.state for effect in vault.store.due_effects(2 * NOW)] == ["pending"]
    vault.close()
    for path in tmp_path.glob("s.sqlite*"):
        path.unlink()
    again = opened(tmp_path)
    assert postings(again) == [5]
    assert again.store.due_effects(2 * NOW) == []
    assert [effect.kind for effect in again.store.parked_effects()] == ["notice"]
    assert any("made anew" in note for note in again.notes)
    again.close()


def test_a_store_without_its_journal_is_refused(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    say(vault, c.OpenAccount("A1"))
    vault.close()
    for path in tmp_path.glob("j.sqlite*"):
        path.unlink()
    with pytest.raises(InputError, match="they belong together"):
        opened(tmp_path)
    assert not (tmp_path / "j.sqlite").exists()


def test_a_store_that_is_ahead_of_its_journal_is_refused(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    vault.close()
    kept = (tmp_path / "j.sqlite").read_bytes()
    vault = opened(tmp_path)
    say(vault, c.OpenAccount("A1"))
    vault.close()
    (tmp_path / "j.sqlite").write_bytes(kept)
    with pytest.raises(InputError, match="they belong together"):
        opened(tmp_path)


def test_another_rulebook_is_not_slipped_in(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(InputError, match="runs under rulebook reference"):
        opened(tmp_path, "kraken-us")
    opened(tmp_path).close()


def test_a_journal_without_its_first_input_begins(tmp_path: Path) -> None:
    from closeout.engine.engine import Engine
    from closeout.journal.records import document_digest

    Journal.create(
        tmp_path / "j.sqlite", engine_version=Engine.version, rulebook_digest=document_digest(BOOK.document())
    ).close()
    vault = opened(tmp_path)
    assert vault.engine.loaded.policy.name == "reference"
    vault.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    vault = opened(tmp_path)
    with ThreadPoolExecutor(1) as other, pytest.raises(InputError):
        other.submit(opened, tmp_path).result()
    vault.close()
