"""`closeout demo`: the whole service on this machine, with a recorded crash as its market and a book of accounts in it.

Its clock is the recording's, `speed` times as fast as the wall. Close-outs fill at the simulated venue, orders from the
Portfolio page at `demo_broker`; mail is written into a folder, keys are made anew at each start. With `--out` the
journal stays, and the next start goes on where it stopped.

The customer's key is that of CASEY, an account beside the seeded population, and of CASEY-2, which nobody has opened:
docs/tutorial.md does. Whoever is in the book from the start has acknowledged the risk disclosure.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from closeout.adapters.notices.folder import FolderSender
from closeout.adapters.venues.paper import PaperVenue
from closeout.core.times import SECOND, time_text
from closeout.core.units import InputError
from closeout.rulebooks import loader
from closeout.rulebooks.policy import Policy
from closeout.service.access import ApiKey, Gate, Role, make_key
from closeout.service.config import Config, Listen, ServiceTable, Storage
from closeout.service.demo_broker import DemoBroker
from closeout.service.logs import configure
from closeout.service.parts import Posting, assemble
from closeout.service.recorded import RecordedMarket
from closeout.service.run import run_until_signal
from closeout.service.schedule import Schedule
from closeout.service.service import Service
from closeout.service.time import RecordedClock
from closeout.service.vault import Vault
from closeout.service.web import bound
from closeout.studies.accounts import AccountFile, AccountPosition
from closeout.studies.market import Market, load_market
from closeout.studies.population import LOTS, generate
from closeout.studies.replay import Replay, Settings

SEED = 20_200_312
MARKET, RULEBOOK = "march-12", "kraken-us:as_if_24x7"
DESK = "desk@broker.example"
DISCLOSURE = "2026-07"
TEXT = Path(__file__).with_name("disclosure.txt")
HOW_TO_PAY = (
    "This is a demonstration, and the debt in it is not real. A broker would say here where it is paid to "
    "and with which reference. In the demo a deposit pays it, which the broker's key can book."
)
CUSTOMER, UNOPENED = "CASEY", "CASEY-2"
EACH, CASH_SHARE = Decimal(60_000), Decimal("0.195")
"""CASEY's positions: about so much notional of each contract, and this share of it in cash: enough to pass the opening
check under either margin window, and less than what a fall of a fifth costs."""


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
    loaded, rules = load_market([market]), loader.load(rulebook)
    book = [casey(loaded, rules.policy()), *generate(SEED, accounts, loaded)]
    replay = Replay(loaded, book, rules, market, Settings())
    config = Config(
        rulebook=rulebook, listen=Listen(port=port), storage=Storage(journal=str(folder / "journal.sqlite")),
        service=ServiceTable(disclosure=DISCLOSURE, disclosure_file=str(TEXT), how_to_pay=HOW_TO_PAY),
        where=str(folder),
    )  # fmt: skip
    with ExitStack() as undo:
        listening = undo.enter_context(bound(config.listen.host, port))
        _begin(folder, market, accounts)
        vault = Vault.open(config.storage.journal, str(folder / "store.sqlite"), rules, replay.start, webhooks=False)
        undo.callback(vault.close)
        demo = _demo(folder, config, vault, replay, loaded, book, speed, listening)
        undo.pop_all()
        return demo


def _begin(folder: Path, market: str, accounts: int) -> None:
    """The folder, with what it was begun with: another market or another book cannot go on in it."""
    kept, wanted = folder / "demo.json", {"market": market, "accounts": accounts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if kept.exists():
            begun = json.loads(kept.read_text(encoding="utf-8"))
            if begun != wanted:
                raise InputError(
                    f"{folder}: was begun with --market {begun['market']} --accounts {begun['accounts']}, "
                    "and goes on with these only"
                )
        kept.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: cannot be the demo's folder: {error}") from None


def _demo(
    folder: Path, config: Config, vault: Vault, replay: Replay, market: Market, book: list[AccountFile], speed: float,
    listening: socket.socket,
) -> Demo:  # fmt: skip
    clock = RecordedClock(max(replay.start, vault.engine.loaded.time), speed)
    contracts = {name: rules.contract for name, rules in replay.policy.contracts.items()}
    venue = PaperVenue(contracts, interval=market.interval())
    sender = FolderSender(folder / "mail", "risk@broker.example", clock.now)
    posting = Posting(sender, _address, (DESK,), "broker.example", ())
    keys, texts = _keys()
    schedule = Schedule(replay.rulebook, config.clock.business_day)
    service = assemble(
        vault, clock, replay.rulebook, schedule, venue, posting, Gate(keys), config, listening,
        tick=max(SECOND, int(SECOND * speed)), market=_words(market, replay),
    )  # fmt: skip
    recorded = RecordedMarket(replay, service.writer, venue, clock, schedule.samples)
    broker = DemoBroker(service.writer, clock)
    service.writer.subscribers.append(broker.take)
    service.extra += [recorded.run, broker.run]
    service.on_start = clock.begin
    url = service.server.address
    announcement = {
        "url": url,
        "keys": {"customer": {"key": texts["customer"], "account_id": CUSTOMER}}
        | {role: texts[role] for role in ("desk", "supervisor", "broker", "auditor")},
        "pages": {"portfolio": f"{url}/#key={texts['customer']}", "desk": f"{url}/desk#key={texts['desk']}"},
        "folder": str(folder.absolute()),
    }
    said = (
        f"{len(market.contracts)} market(s) of {time_text(replay.start)} to {time_text(replay.end)}, "
        f"{speed:g} times as fast, {len(book) - 1} accounts and {CUSTOMER}, rulebook {config.rulebook}"
    )
    return Demo(service, recorded, announcement, said)


def _words(market: Market, replay: Replay) -> str:
    """``BTCUSDT, ETHUSDT of 12 March 2020``: what is played, for people."""
    begin, end = (datetime.fromtimestamp(time // SECOND, UTC) for time in (replay.start, replay.end))
    days = dict.fromkeys(f"{day.day} {day:%B %Y}" for day in (begin, end))
    return f"{', '.join(market.contracts)} of {' to '.join(days)}"


def _address(account_id: str) -> str:
    return f"{account_id.partition('/')[0].lower()}@customers.example"


def casey(market: Market, policy: Policy) -> AccountFile:
    """The account of the demo's customer: long each contract of the market, from its first open on."""
    positions: list[AccountPosition] = []
    worth = Decimal(0)
    for name, bars in market.contracts.items():
        price, own = bars[0].open, policy.contracts.get(name)
        size = own.contract.contract_size if own else 1  # what another contract stands for is held in base units
        lot = LOTS.get(name, Decimal(1))
        quantity = max(lot, (EACH / (price * size)).quantize(lot))
        positions.append(AccountPosition(name, quantity, price))
        worth += quantity * price * size
    cash = (worth * CASH_SHARE).quantize(Decimal("0.01"))
    return AccountFile(CUSTOMER, cash, tuple(positions), owner="Casey Customer")


def _keys() -> tuple[list[ApiKey], dict[str, str]]:
    """One key of each role: what the gate keeps, and the texts."""
    names: dict[Role, str] = {
        "customer": "Casey Customer", "desk": "Dana Desk", "supervisor": "Sam Supervisor", "broker": "broker system",
        "auditor": "Ari Auditor",
    }  # fmt: skip
    keys: list[ApiKey] = []
    texts: dict[str, str] = {}
    for role, name in names.items():
        own = (CUSTOMER, UNOPENED) if role == "customer" else ()
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
        "In a browser:",
        f"  {demo.announcement['pages']['portfolio']}  (the customer's Portfolio)",
        f"  {demo.announcement['pages']['desk']}  (the Risk desk)",
        "Try:",
        f"  curl -H 'Authorization: Bearer {keys['desk']}' {demo.announcement['url']}/v1/risk",
        "Ctrl-C stops it.",
    ])  # fmt: skip
