"""Mail and webhooks from the outbox: once, under a stable id, and with an end to trying (US-11, G-16)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from closeout.adapters.notices.mail import Mail, Refused, Retry
from closeout.adapters.notices.webhook import verify_signature
from closeout.core.times import MINUTE, SECOND
from closeout.core.units import Currency, InputError
from closeout.engine import events as ev
from closeout.engine.commands import Input, Tick
from closeout.service.applied import Applied
from closeout.service.post import TRIES, AddressFile, PostOffice
from closeout.service.store.store import Store

USD = Currency("USD", 6)


class FastClock:
    speed = 1.0

    def __init__(self) -> None:
        self.time = 10**18

    def now(self) -> int:
        self.time += 700 * SECOND  # every pause between two tries is over at the next look
        return self.time

    async def sleep(self, nanoseconds: int) -> None:
        await asyncio.sleep(0)


@dataclass
class Server:
    """Takes mail as `script` says: take, later (not taken), lost (taken, and nobody knows), never."""

    script: list[str] = field(default_factory=list)
    taken: list[Mail] = field(default_factory=list)

    async def send(self, mail: Mail) -> None:
        step = self.script.pop(0) if self.script else "take"
        if step == "later":
            raise Retry("come back")
        if step == "never":
            raise Refused("go away")
        self.taken.append(mail)
        if step == "lost":
            raise Retry("no answer", maybe_taken=True)
        if step == "hang":
            await asyncio.Event().wait()


@dataclass
class Hooks:
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    async def send(self, event_id: str, body: bytes) -> None:
        self.sent.append((event_id, body))


def project(store: Store, *events: Sequence[ev.AnyEvent], time: int = 10**18, step: int = SECOND) -> None:
    """One input for each list of events."""
    first = store.projected_seq + 1
    store.project([
        Applied(seq, Input("clock", seq, time + seq * step, Tick()), list(found))
        for seq, found in enumerate(events, first)
    ])  # fmt: skip


def posting(
    folder: Path, server: Server | None, scenario: Callable[[PostOffice, Store], Awaitable[Any]], **more: Any
) -> Store:
    """Run a post office on the store in `folder` until the scenario ends."""
    store = Store.open(f"sqlite:///{folder / 's.sqlite'}", webhooks=bool(more.get("hooks")))

    async def main() -> None:
        given = {"address": lambda account: f"{account.lower()}@x.example", "desk": ("desk@x.example",)} | more
        office = PostOffice(store, FastClock(), USD, server, domain="x.example", **given)
        run = asyncio.create_task(office.run())
        try:
            async with asyncio.timeout(10):
                await scenario(office, store)
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    asyncio.run(main())
    return store


async def drained(office: PostOffice, store: Store) -> None:
    while any(state in ("pending", "sending", "failed") for _, state in store.effect_counts()):
        office.wake()
        await asyncio.sleep(0.01)


def warning(level: str = "alert") -> tuple[ev.AnyEvent, ...]:
    return ev.LevelChanged("A1", "normal", level, 90, 100, 95), ev.Notice("A1", "warning", level)


@pytest.mark.rule("US-11")
def test_a_warning_is_mailed_to_its_customer_with_the_figures(tmp_path: Path) -> None:
    server = Server()

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, warning())
        await drained(office, store)

    posting(tmp_path, server, scenario).close()
    (mail,) = server.taken
    assert mail.to == "a1@x.example"
    assert "0.00009" in mail.text  # net liq of 90 micros
    assert mail.message_id == "<1%2E1@x.example>"


@pytest.mark.rule("US-11")
def test_an_account_that_swings_about_a_level_is_not_flooded(tmp_path: Path) -> None:
    server = Server()

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, warning(), warning(), warning("liquidate_only"), warning(), step=6 * MINUTE)
        await drained(office, store)

    posting(tmp_path, server, scenario).close()
    assert [mail.message_id.partition("%")[0] for mail in server.taken] == [
        "<1",
        "<3",
        "<4",
    ]  # 2 came 6 minutes after 1


@pytest.mark.rule("G-16")
def test_what_is_tried_again_keeps_its_id_and_possible_copies_are_counted(tmp_path: Path) -> None:
    server = Server(["later", "lost", "take"])

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, [ev.Notice("A1", "desk_alert", "call us")])
        await drained(office, store)
        assert office.second_copies == 1

    posting(tmp_path, server, scenario).close()
    assert len(server.taken) == 2
    assert len({mail.message_id for mail in server.taken}) == 1


@pytest.mark.rule("G-16")
def test_a_mail_that_was_being_sent_at_the_end_of_a_process_goes_out_once_more_and_is_counted(tmp_path: Path) -> None:
    server = Server(["hang"])

    async def until_sending(office: PostOffice, store: Store) -> None:
        project(store, [ev.Notice("A1", "desk_alert", "call us")])
        office.wake()
        while not server.taken:
            await asyncio.sleep(0.01)

    posting(tmp_path, server, until_sending).close()

    async def next_process(office: PostOffice, store: Store) -> None:
        await drained(office, store)
        assert office.second_copies == 1

    posting(tmp_path, server, next_process).close()
    assert len(server.taken) == 2
    assert len({mail.message_id for mail in server.taken}) == 1


def test_trying_ends_with_a_person(tmp_path: Path) -> None:
    server = Server(["later"] * (TRIES + 5))

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, [ev.Notice("A1", "desk_alert", "x")], [ev.Notice("A2", "no such kind", "x")])
        await drained(office, store)

    store = posting(tmp_path, server, scenario)
    parked = store.parked_effects()
    assert [effect.account_id for effect in parked] == ["A1", "A2"]
    assert parked[0].attempts == TRIES
    assert "no wording" in parked[1].note
    assert server.taken == []
    store.close()


@pytest.mark.rule("US-11")
def test_alarms_go_to_the_desk_and_so_does_mail_without_an_address(tmp_path: Path) -> None:
    server = Server()

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, [ev.Alarm("A1", "feed_lost", "x"), ev.Notice("A1", "desk_alert", "x")])
        await drained(office, store)

    posting(tmp_path, server, scenario, address=lambda account: "", desk=("d1@x.example", "d2@x.example")).close()
    assert sorted(mail.to for mail in server.taken) == ["d1@x.example", "d1@x.example", "d2@x.example", "d2@x.example"]
    assert len({mail.message_id for mail in server.taken}) == 4


def test_with_mail_off_nothing_waits_for_ever(tmp_path: Path) -> None:
    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, warning())
        await drained(office, store)

    store = posting(tmp_path, None, scenario)
    found = store.effect("1.1")
    assert found is not None
    assert (found.state, found.note) == ("sent", "mail is off")
    store.close()


def test_webhooks_tell_what_happened(tmp_path: Path) -> None:
    hooks = Hooks()

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, [ev.DeficitBooked("A1", 5_000_000, 5_000_000, "r1")])
        await drained(office, store)

    posting(tmp_path, Server(), scenario, hooks=(hooks,)).close()
    ((event_id, body),) = hooks.sent
    assert event_id.startswith("1.0")
    assert b'"event":"DeficitBooked"' in body
    assert not verify_signature(b"x" * 32, "t=1,v1=00", body, 1)


def test_addresses_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "addresses.csv"
    path.write_text("account_id,address\nA1,a@x.example\n")
    addresses = AddressFile(path)
    assert (addresses("A1"), addresses("A1/BTCUSDT"), addresses("A2")) == ("a@x.example", "a@x.example", "")
    path.write_text("A2,b@x.example\n")
    assert (addresses("A1"), addresses("A2")) == ("", "b@x.example")
    path.write_text("A2 b@x.example\n")
    with pytest.raises(InputError, match="line 1: expected account_id,address"):
        addresses("A2")


@pytest.mark.rule("US-11")
def test_a_warning_that_could_not_be_sent_at_once_is_sent_later(tmp_path: Path) -> None:
    server = Server(["later", "take"])

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, warning())
        await drained(office, store)

    posting(tmp_path, server, scenario).close()
    assert [mail.to for mail in server.taken] == ["a1@x.example"]


class Refusing(Server):
    """Has no mailbox of that name, and breaks on another."""

    async def send(self, mail: Mail) -> None:
        if mail.to == "left@x.example":
            raise Refused("no such mailbox")
        if mail.to == "odd@x.example":
            raise ValueError("nobody expected this")
        await super().send(mail)


@pytest.mark.rule("US-11")
def test_a_receiver_that_will_not_have_it_keeps_nobody_else_from_it(tmp_path: Path) -> None:
    server, hooks, dead = Refusing(), Hooks(), DeadHook()
    desk = ("left@x.example", "odd@x.example", "desk@x.example")

    async def scenario(office: PostOffice, store: Store) -> None:
        project(store, [ev.Alarm("", "feed_lost", "a feed")], [ev.DeficitBooked("A1", 5, 5, "r")])
        await drained(office, store)

    with capture_logs() as logged:
        store = posting(tmp_path, server, scenario, desk=desk, hooks=[dead, hooks])
    assert {entry["event"] for entry in logged} == {"not sent"}
    assert [mail.to for mail in server.taken] == ["desk@x.example"]  # once, over all the tries for the others
    assert len(hooks.sent) == 1
    notes = {effect.kind: effect.note for effect in store.parked_effects()}
    store.close()
    assert "no such mailbox" in notes["alarm"]
    assert "nobody expected this" in notes["alarm"]
    assert "1: away" in notes["webhook"]


class DeadHook(Hooks):
    async def send(self, event_id: str, body: bytes) -> None:
        raise Retry("away")
