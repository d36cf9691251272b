"""`closeout demo`: the whole service on this machine, with a recorded crash as its market and a book of accounts in it.

Its clock is the recording's, `speed` times as fast as the wall. Close-outs fill at the simulated venue, mail is written
into a folder, keys are made anew at each start. With `--dir` the journal stays, and the next start goes on where it
stopped.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from closeout.adapters.notices.folder import FolderSender
from closeout.adapters.venues.paper import PaperVenue
from closeout.core.times import SECOND, time_text
from closeout.core.units import InputError
from closeout.rulebooks import loader
from closeout.service.access import ApiKey, Gate, Role, make_key
from closeout.service.config import Config, Listen, ServiceTable, Storage
from closeout.service.logs import configure
from closeout.service.parts import Posting, assemble
from closeout.service.recorded import RecordedMarket
from closeout.service.run import run_until_signal
from closeout.service.schedule import Schedule
from closeout.service.service import Service
from closeout.service.time import RecordedClock
from closeout.service.vault import Vault
from closeout.studies.accounts import AccountFile
from closeout.studies.market import Market, load_market
from closeout.studies.population import generate
from closeout.studies.replay import Replay, Settings

SEED = 20_200_312
MARKET, RULEBOOK = "march-12", "kraken-us:as_if_24x7"
DESK = "desk@broker.example"


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that is ready to run. `announcement` is what INTERFACES promises for `--json`."""

    service: Service
    market: RecordedMarket
    announcement: dict[str, Any]
    said: str


def make_demo(
    folder: Path, *, market: str = MARKET, rulebook: str = RULEBOOK, accounts: int = 1000, speed: float = 60.0,
    port: int = 8645,
) -> Demo:  # fmt: skip
    """A service around a recorded market, its files in `folder`; `InputError` for what cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    loaded, rules = load_market([market]), loader.load(rulebook)
    book = generate(SEED, accounts, loaded)
    replay = Replay(loaded, book, rules, market, Settings())
    config = Config(
        rulebook=rulebook, listen=Listen(port=port), storage=Storage(journal=str(folder / "journal.sqlite")),
        service=ServiceTable(), where=str(folder),
    )  # fmt: skip
    vault = Vault.open(config.storage.journal, str(folder / "store.sqlite"), rules, replay.start, webhooks=False)
    try:
        return _demo(folder, config, vault, replay, loaded, book, speed)
    except BaseException:
        vault.close()
        raise


def _demo(
    folder: Path, config: Config, vault: Vault, replay: Replay, market: Market, book: list[AccountFile], speed: float
) -> Demo:
    clock = RecordedClock(max(replay.start, vault.engine.loaded.time), speed)
    contracts = {name: rules.contract for name, rules in replay.policy.contracts.items()}
    venue = PaperVenue(contracts, interval=market.interval())
    sender = FolderSender(folder / "mail", "risk@broker.example", clock.now)
    posting = Posting(sender, _address, (DESK,), "broker.example", ())
    customer = book[0].account_id
    keys, texts = _keys(customer)
    schedule = Schedule(replay.rulebook, config.clock.business_day)
    service = assemble(
        vault,
        clock,
        replay.rulebook,
        schedule,
        venue,
        posting,
        Gate(keys),
        config,
        tick=max(SECOND, int(SECOND * speed)),
    )
    recorded = RecordedMarket(replay, service.writer, venue, clock, schedule.samples)
    service.extra.append(recorded.run)
    service.on_start = clock.begin
    url = service.server.address
    announcement = {
        "url": url,
        "keys": {"customer": {"key": texts["customer"], "account_id": customer}}
        | {role: texts[role] for role in ("desk", "supervisor", "broker", "auditor")},
    }
    said = (
        f"{len(market.contracts)} market(s) of {time_text(replay.start)} to {time_text(replay.end)}, "
        f"{speed:g} times as fast, {len(book)} accounts, rulebook {config.rulebook}"
    )
    return Demo(service, recorded, announcement, said)


def _address(account_id: str) -> str:
    return f"{account_id.partition('/')[0].lower()}@customers.example"


def _keys(customer: str) -> tuple[list[ApiKey], dict[str, str]]:
    """One key of each role: what the gate keeps, and the texts."""
    names: dict[Role, str] = {
        "customer": "Casey Customer", "desk": "Dana Desk", "supervisor": "Sam Supervisor", "broker": "broker system",
        "auditor": "Ari Auditor",
    }  # fmt: skip
    keys: list[ApiKey] = []
    texts: dict[str, str] = {}
    for role, name in names.items():
        own = (customer,) if role == "customer" else ()
        texts[role], key = make_key(f"demo-{role}", name, role, own, per_minute=600_000)
        keys.append(key)
    return keys, texts


def run(
    folder: Path | None, market: str, rulebook: str, accounts: int, speed: float, port: int, *, as_json: bool
) -> None:
    """Run the demo until Ctrl-C or SIGTERM. Without a folder its files go when it ends."""
    if speed <= 0:
        raise InputError("--speed: expected a number above 0; --once plays as fast as it goes")
    configure("info")
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(TemporaryDirectory(prefix="closeout-demo-")))
        asyncio.run(_run(place, market, rulebook, accounts, speed, port, as_json=as_json))


async def _run(
    folder: Path, market: str, rulebook: str, accounts: int, speed: float, port: int, *, as_json: bool
) -> None:
    demo = make_demo(folder, market=market, rulebook=rulebook, accounts=accounts, speed=speed, port=port)

    def ready() -> None:
        print(json.dumps(demo.announcement) if as_json else _text(demo, folder), flush=True)

    await run_until_signal(demo.service, ready)


def _text(demo: Demo, folder: Path) -> str:
    keys: dict[str, Any] = demo.announcement["keys"]
    customer = keys["customer"]
    rows = [("customer", f"{customer['key']}  (account {customer['account_id']})")]
    rows += [(role, keys[role]) for role in ("broker", "desk", "supervisor", "auditor")]
    return "\n".join([
        f"closeout demo: {demo.said}",
        f"It listens on {demo.announcement['url']}. Its files, the mail among them, are in {folder}.",
        "Keys of this run:",
        *(f"  {role:<11}{text}" for role, text in rows),
        "Try:",
        f"  curl -H 'Authorization: Bearer {keys['desk']}' {demo.announcement['url']}/v1/risk",
        "Ctrl-C stops it.",
    ])  # fmt: skip
