"""Makes the parts of a service of its configuration, and names what is wrong with it before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from closeout.adapters.feeds.recorder import Recorder
from closeout.adapters.feeds.selector import MarkSelector
from closeout.adapters.notices.folder import FolderSender
from closeout.adapters.notices.mail import ADDRESS, MailSender
from closeout.adapters.notices.smtp import SmtpSender, SmtpServer
from closeout.adapters.notices.webhook import WebhookSender
from closeout.adapters.venues.fix_venue import FixVenue
from closeout.adapters.venues.paper import PaperVenue
from closeout.adapters.venues.port import Venue
from closeout.core.times import SECOND
from closeout.core.units import InputError
from closeout.engine.candidates import finder
from closeout.rulebooks import loader
from closeout.rulebooks.loader import Rulebook
from closeout.service.about import About
from closeout.service.access import Gate
from closeout.service.api.app import build
from closeout.service.api.route import ROUTES
from closeout.service.applied import Batch
from closeout.service.config import Config
from closeout.service.context import Context
from closeout.service.logs import logger
from closeout.service.metrics import Metrics
from closeout.service.observe import Observer
from closeout.service.orders import OrderDesk
from closeout.service.post import Addresses, AddressFile, Hook, PostOffice
from closeout.service.pricing import Pricing, make_feeds, routes
from closeout.service.projector import Projector
from closeout.service.reports.calendar import Calendar
from closeout.service.reports.clerk import Clerk
from closeout.service.schedule import Schedule
from closeout.service.service import Service, published_marks
from closeout.service.time import Clock, SystemClock
from closeout.service.timekeeper import Timekeeper
from closeout.service.vault import Vault
from closeout.service.venues import Alarms, make_venue, venue_secrets, venue_symbols
from closeout.service.web import Server, bound
from closeout.service.writer import Writer
from closeout.web import pages

LOG = logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Posting:
    """Where mail and webhooks go."""

    mail: MailSender | None
    address: Addresses
    desk: Sequence[str]
    domain: str
    hooks: Sequence[Hook]
    closers: Sequence[Callable[[], Awaitable[None]]] = ()


def check(config: Config) -> Rulebook:
    """The rulebook, and all of a configuration that can be checked before anything is opened."""
    rulebook = _rulebook(config)
    policy = rulebook.policy()
    for name in config.contracts:
        if name not in policy.contracts:
            raise InputError(f"contracts.{name}: rulebook {policy.name} has no such contract")
        whole = policy.contracts[name].contract.leg_of
        if whole:
            raise InputError(f"contracts.{name}: expected {whole}, whose prices are its legs'")
    routes(config, policy)
    Gate.of(config.keys)
    for place in (config.storage.journal, config.storage.store):
        config.url(place)
    _disclosure(config)
    _posting(config, SystemClock())
    if config.venue.kind != "simulated":
        venue_symbols(config)
        venue_secrets(config)
    return rulebook


def serve(config: Config) -> Service:
    """The service of a configuration. `InputError` names the key that is wrong."""
    clock = SystemClock()
    rulebook = check(config)
    policy = rulebook.policy()
    posting = _posting(config, clock)
    alarms = Alarms()
    feeds = make_feeds(config, clock)
    selector = MarkSelector(routes(config, policy))
    index = MarkSelector(routes(config, policy, index=True))
    recorder = Recorder(config.path(config.service.record), routes(config, policy)) if config.service.record else None
    schedule = Schedule(rulebook, config.clock.business_day)
    with ExitStack() as undo:
        listening = undo.enter_context(bound(config.listen.host, config.listen.port))
        venue = make_venue(config, policy, alarms, lambda: vault.engine.loaded)
        vault = Vault.open(
            config.url(config.storage.journal), config.url(config.storage.store), rulebook, clock.now(),
            webhooks=bool(config.webhooks),
        )  # fmt: skip
        undo.callback(vault.close)
        service = assemble(vault, clock, rulebook, schedule, venue, posting, Gate.of(config.keys), config, listening)
        undo.pop_all()
    service.pricing = Pricing(feeds, selector, index, service.writer, clock, schedule.samples, recorder)
    service.extra.append(lambda: alarms.run(service.writer))
    if isinstance(venue, PaperVenue):
        service.writer.subscribers.append(_moves(venue))
    elif isinstance(venue, FixVenue):
        service.closing.callback(venue.close)
    if recorder is not None:
        service.closing.callback(recorder.close)
    return service


def assemble(
    vault: Vault, clock: Clock, rulebook: Rulebook, schedule: Schedule, venue: Venue, posting: Posting, gate: Gate,
    config: Config, listening: socket.socket, *, tick: int = SECOND, market: str | None = None,
) -> Service:  # fmt: skip
    """Everything around an opened vault, not started yet. `market` says which recording is played, if one is."""
    writer = Writer(
        vault.engine, vault.journal, vault.seq, clock, vault.thread, vault.store, vault.keys(),
        queue_limit=config.service.queue,
    )  # fmt: skip
    projector = Projector(vault.store)
    metrics = Metrics([feed.name for feed in config.feeds], [*(route.name for route in ROUTES.values()), "none"])
    currency = rulebook.policy().currency
    post_office = PostOffice(
        vault.store, clock, currency, posting.mail, posting.address, posting.desk, posting.domain, hooks=posting.hooks
    )
    order_desk = OrderDesk(vault.store, writer, venue, clock, int(config.venue.patience_seconds * SECOND))
    timekeeper = Timekeeper(writer, schedule, clock, tuple(config.clock.look_ahead_minutes), tick)
    clerk = Clerk(
        writer, vault.store, Calendar(schedule, config.clock.reports_at), clock, config.path(config.service.reports),
        projector.caught_up,
    )  # fmt: skip
    about = About(
        market, venue.name, isinstance(venue, PaperVenue), _disclosure(config), config.service.how_to_pay
    )  # fmt: skip
    context = Context(
        writer, vault.store, gate, clock, rulebook, metrics=metrics.exposition, reports=clerk,
        about=about, streams_per_key=config.service.streams_per_key,
    )  # fmt: skip
    app = build(context, pages.handlers())
    server = Server(app, listening)
    service = Service(
        vault, writer, projector, timekeeper, order_desk, post_office, clock, server,
        snapshot_every=config.storage.snapshot_every, disclosure=config.service.disclosure,
    )  # fmt: skip
    context.ready = service.checks
    context.published = lambda: service.published
    context.feeds = lambda: service.pricing.status() if service.pricing else ()
    observer = Observer(service, metrics, lambda: context.seats.open)
    service.watchers.append(observer.look)
    for close in posting.closers:
        service.closing.push_async_callback(close)
    service.extra.append(clerk.run)
    order_desk.on_sent = observer.sent
    context.answered = metrics.answered
    context.closed = metrics.stream_dropped
    context.failed = lambda where, error: LOG.error("failed", where=where, exc_info=error)
    writer.subscribers.append(observer.applied)
    for note in vault.notes:
        LOG.info("recovery", note=note)
    finder(vault.engine.loaded)  # a large book's index is compiled now, not while somebody waits
    return service


def _rulebook(config: Config) -> Rulebook:
    overrides = None
    if config.overrides:
        from closeout.studies.documents import read_object

        overrides = read_object(config.path(config.overrides))
    name = config.rulebook
    own = config.path(name.partition(":")[0])
    return loader.load(str(config.path(name)) if own.suffix == ".toml" else name, overrides)


def _disclosure(config: Config) -> str:
    """The text of the risk disclosure; "" where the configuration names none."""
    name = config.service.disclosure_file
    if not name:
        return ""
    try:
        text = config.path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"service.disclosure_file: {config.path(name)} cannot be read: {error}") from None
    if not text.strip():
        raise InputError(f"service.disclosure_file: {config.path(name)} is empty")
    return text


def _moves(venue: PaperVenue) -> Callable[[Batch], None]:
    """The simulated venue fills at the marks that the engine took, when it took them."""

    def moved(batch: Batch) -> None:
        venue.on_marks(batch[-1].input.time, published_marks(batch))

    return moved


def _posting(config: Config, clock: Clock) -> Posting:
    mail, where = config.mail, config.path
    senders: dict[str, Callable[[], MailSender | None]] = {
        "none": lambda: None,
        "folder": lambda: FolderSender(where(mail.folder), mail.sender, clock.now),
        "smtp": lambda: SmtpSender(_smtp(config), mail.sender, clock.now),
    }
    for key, given in (("mail.sender", mail.sender), *((f"mail.desk[{i}]", one) for i, one in enumerate(mail.desk))):
        if not ADDRESS.fullmatch(given):
            raise InputError(f"{key}: {given!r} is not a plain mail address")
    address: Addresses = lambda account_id: ""  # noqa: E731
    if mail.addresses:
        address = _naming("mail.addresses", AddressFile, where(mail.addresses))
    sender = _naming("mail", senders[mail.kind])
    hooks = [
        _naming(f"webhooks[{index}]", WebhookSender, table.url, _hook_secret(config, index), clock.now)
        for index, table in enumerate(config.webhooks)
    ]
    closers = [part.close for part in (*hooks, sender) if isinstance(part, WebhookSender | SmtpSender)]
    domain = mail.sender.rpartition("@")[2] or socket.gethostname()
    return Posting(sender, address, mail.desk, domain, hooks, closers)


def _naming(key: str, make: Callable[..., T], *given: object) -> T:
    """What `make` makes; what it refuses is named by its key."""
    try:
        return make(*given)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(key) else f"{key}: {error}") from None


def _hook_secret(config: Config, index: int) -> bytes:
    table = config.webhooks[index]
    return config.secret(table.secret_env, table.secret_file, f"webhooks[{index}].secret").encode()


def _smtp(config: Config) -> SmtpServer:
    mail = config.mail
    password = config.secret(mail.password_env, mail.password_file, "mail.password") if mail.user else ""
    return SmtpServer(mail.host, mail.port, mail.tls, mail.user, password)
