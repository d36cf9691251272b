"""`closeout verify` on journals that were cut, changed, reordered or rewritten."""

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
from tests.cli.command import Command, sqlite_journal
from tests.journal.places import sql
from tests.postgres import PASSWORD

from closeout.core.times import MINUTE
from closeout.engine.commands import Input
from closeout.engine.engine import Engine
from closeout.journal.journal import Journal
from closeout.journal.reader import JournalReader
from closeout.rulebooks.loader import load


@pytest.fixture
def journal(command: Command) -> Path:
    return sqlite_journal(command)


def published(command: Command) -> str:
    summary = json.loads((command.folder / "run" / "summary.json").read_bytes())
    return summary["rulebooks"]["reference"]["published"]


def failed(command: Command, *arguments: object) -> str:
    """The one line that a failed verification prints, plain and as JSON."""
    shown = command("verify", *arguments)
    assert (shown.code, shown.err) == (3, ""), shown
    (line,) = shown.out.splitlines()
    answer = command("verify", *arguments, "--json")
    assert (answer.code, answer.json["ok"], answer.json["problems"]) == (3, False, [line])
    return line


def execute(path: Path, *statements: str, values: tuple[bytes | int, ...] = ()) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement, values)
    connection.close()


@pytest.mark.rule("G-03", "G-17")
def test_a_whole_journal_is_proven(command: Command, journal: Path) -> None:
    for digest in ((), ("--published", published(command))):
        answer = command("verify", journal.name, *digest, "--json")
        assert (answer.code, answer.json["ok"], answer.json["receipts"]) == (0, True, 1)
    assert published(command) in command("verify", journal.name).out


def test_cut_in_the_middle(command: Command, journal: Path) -> None:
    data = journal.read_bytes()
    for size in (len(data) - 1, len(data) // 2, 4096, 5):
        journal.write_bytes(data[:size])
        line = command.refuses("verify", journal.name, naming=(journal.name,))
        assert "cut short" in line or "not a journal" in line


def test_what_is_no_journal(command: Command) -> None:
    command.write("empty.sqlite", "")
    command.write("text.sqlite", "not a database, but long enough to have a header of a hundred bytes" * 5)
    execute(command.folder / "other.sqlite", "CREATE TABLE t (x)")
    (command.folder / "folder").mkdir()
    for name, said in {
        "missing.sqlite": "no such file",
        "empty.sqlite": "empty",
        "text.sqlite": "not a journal",
        "other.sqlite": "not a journal",
        "folder": "expected a journal",
    }.items():
        command.refuses("verify", name, naming=(name, said))


@pytest.mark.rule("G-17")
def test_a_byte_changed(command: Command, journal: Path) -> None:
    with JournalReader.read(journal) as reader:
        frame = list(reader.frames())[3]
    data = journal.read_bytes()
    assert data.count(frame.payload) == 1
    at = data.index(frame.payload) + len(frame.payload) // 2
    journal.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert f"frame {frame.number}" in failed(command, journal.name)


@pytest.mark.rule("G-17")
def test_a_byte_changed_in_the_names_of_the_tables(command: Command, journal: Path) -> None:
    """SQLite's own message then quotes bytes that are no text."""
    data = journal.read_bytes()
    assert b"CREATE TABLE frame" in data
    journal.write_bytes(data.replace(b"CREATE TABLE frame", b"CREATE TABL\xee frame"))
    assert journal.name in failed(command, journal.name)


@pytest.mark.rule("G-17")
def test_a_frame_deleted(command: Command, journal: Path) -> None:
    execute(journal, "DELETE FROM frame WHERE number = 4")
    assert "frame 4" in failed(command, journal.name)


@pytest.mark.rule("G-17")
def test_the_last_frame_deleted(command: Command, journal: Path) -> None:
    execute(journal, "DELETE FROM frame WHERE number = (SELECT max(number) FROM frame)")
    assert "the journal ends with frame" in failed(command, journal.name)


@pytest.mark.rule("G-17")
def test_two_frames_swapped(command: Command, journal: Path) -> None:
    execute(
        journal,
        "UPDATE frame SET number = -1 WHERE number = 4",
        "UPDATE frame SET number = 4 WHERE number = 5",
        "UPDATE frame SET number = 5 WHERE number = -1",
    )
    assert "frame 4" in failed(command, journal.name)


@pytest.mark.rule("G-17")
def test_a_frame_altered_with_its_checksum(command: Command, journal: Path) -> None:
    """The checksum of the altered frame holds; the chain does not."""
    with JournalReader.read(journal) as reader:
        frame = list(reader.frames())[3]
    altered = frame.payload[:-1] + bytes([frame.payload[-1] ^ 1])
    digest = hashlib.blake2b(altered, digest_size=len(frame.checksum)).digest()
    change = "UPDATE frame SET payload = ?, checksum = ? WHERE number = ?"
    execute(journal, change, values=(altered, digest, frame.number))
    assert f"frame {frame.number}" in failed(command, journal.name)


@pytest.mark.rule("G-17")
def test_a_journal_written_anew_is_caught_by_the_published_digest_alone(command: Command, journal: Path) -> None:
    """Whoever can write the whole journal can make another whole one: only what was noted elsewhere tells."""
    with JournalReader.read(journal) as reader:
        inputs = [given for frame in reader.frames() for given in frame.inputs()]
    noted = published(command)
    journal.unlink()
    forged, engine = (
        Journal.create(journal, engine_version=Engine.version, rulebook_digest=load("reference").digest),
        Engine(),
    )
    for number, given in enumerate(inputs, 1):
        later = Input(given.source, given.number, given.time + MINUTE, given.command)
        forged.append([later])
        forged.record(number, engine.apply(later))
    forged.checkpoint(len(inputs), engine)
    forged.close()
    assert command("verify", journal.name).code == 0
    assert noted in failed(command, journal.name, "--published", noted)


def test_a_published_digest_that_is_none(command: Command, journal: Path) -> None:
    assert "published digest nonsense" in failed(command, journal.name, "--published", "nonsense")


@pytest.fixture
def address(journal: Path, postgres_url: str) -> str:
    """The same journal, frame by frame, in PostgreSQL."""
    engine = Engine()
    with (
        JournalReader.read(journal) as reader,
        Journal.create(postgres_url, engine_version=Engine.version, rulebook_digest=load("reference").digest) as copy,
    ):
        for frame in reader.frames():
            copy.append(frame.inputs())
            for seq, given in enumerate(frame.inputs(), frame.first_seq):
                copy.record(seq, engine.apply(given))
        copy.checkpoint(copy.last_seq, engine)
    return postgres_url


@pytest.mark.rule("G-03", "G-17")
def test_a_journal_in_postgresql_is_proven_and_its_password_not_shown(command: Command, address: str) -> None:
    assert PASSWORD in address
    answer = command("verify", address, "--published", published(command), "--json")
    assert (answer.code, answer.json["ok"], answer.json["receipts"]) == (0, True, 1)
    shown = command("verify", address)
    assert (shown.code, shown.err) == (0, "")
    assert "proven" in shown.out
    assert PASSWORD not in shown.out + answer.out


@pytest.mark.rule("G-17")
def test_a_changed_journal_in_postgresql_is_named_without_password(command: Command, address: str) -> None:
    sql(address, "DELETE FROM frame WHERE number = 4")
    line = failed(command, address)
    assert "frame 4" in line
    assert PASSWORD not in line


def test_an_address_that_leads_nowhere(command: Command, postgres_url: str) -> None:
    for address, said in (
        (postgres_url, "no journal in the schema closeout_journal"),
        ("postgresql://someone:open-sesame@127.0.0.1:1/books", "cannot be reached"),
        ("postgresql://someone:open@sesame@127.0.0.1:1/books", "expected postgresql://USER"),
    ):
        line = command.refuses("verify", address, naming=("postgresql://", said))
        assert "sesame" not in line
