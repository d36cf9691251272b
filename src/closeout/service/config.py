"""closeout.toml: what `closeout serve` is told. Unknown keys are refused; an error names the file and the key.

Secrets never stand in the file: a key that ends in `_env` names an environment variable, one that ends in `_file` a
file whose first line is the secret. Relative paths are relative to the file. docs/configuration.md explains each key.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from closeout.core.units import InputError

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
WallTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table."""


class Listen(Section, frozen=True, kw_only=True):
    """Where the API listens. Put a proxy with TLS before it: the service itself speaks plain HTTP."""

    host: str = "127.0.0.1"
    port: Port = 8645


class Storage(Section, frozen=True, kw_only=True):
    """`journal` and `store` (the projection): each a file, or postgresql://USER@HOST/DATABASE; both may lie in one
    database. The password of both comes from `password_env` or `password_file`. A snapshot is taken after so many
    inputs."""

    journal: str = "closeout.journal"
    store: str = "closeout.store"
    password_env: str = ""
    password_file: str = ""
    snapshot_every: Count = 100_000


class FeedTable(Section, frozen=True, kw_only=True):
    """A source of prices. `exchange` is ccxt's name; `url` replaces the exchange's own address."""

    name: str
    kind: Literal["kraken_futures", "kraken_spot", "coinbase", "ccxt"]
    exchange: str = ""
    url: str = ""


class Source(Section, frozen=True, kw_only=True):
    """A market of a feed, such as PF_XBTUSD of kraken_futures."""

    feed: str
    market: str


class ContractTable(Section, frozen=True, kw_only=True):
    """Where a contract of the rulebook gets its mark: the first of `sources` that is good. `index`: its spot price, for
    the funding rate. `venue_symbol`: its name at the venue."""

    sources: list[Source] = []
    index: list[Source] = []
    venue_symbol: str = ""
    stale_after_seconds: Positive = 5.0
    jump: str | None = None


class VenueTable(Section, frozen=True, kw_only=True):
    """Where close-outs go. `simulated` fills against the depth model. `ccxt` names an `exchange`, its API key and its
    secret; `url` takes the place of the exchange's scheme and host. `fix` names a counterparty: `sender` and `target`
    are the session's CompIDs, the API key and the secret its Username and Password, if it wants them; with `firm`, our
    party id, it may ask for positions and collateral. After `patience_seconds` an order in doubt is asked for again."""

    kind: Literal["simulated", "ccxt", "fix"] = "simulated"
    exchange: str = ""
    url: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    secret_env: str = ""
    secret_file: str = ""
    host: str = ""
    port: Port = 0
    tls: bool = True
    sender: str = ""
    target: str = ""
    heartbeat_seconds: Count = 30
    session_file: str = "closeout.fix"
    firm: str = ""
    patience_seconds: Positive = 10.0


class MailTable(Section, frozen=True, kw_only=True):
    """Who is mailed, and how. `folder` writes each mail into a file instead. `addresses`: a CSV file
    ``account_id,address`` that is read again when it changes; `desk`: the desk's addresses."""

    kind: Literal["none", "folder", "smtp"] = "none"
    folder: str = "closeout-mail"
    host: str = ""
    port: Port = 587
    tls: Literal["none", "starttls", "tls"] = "starttls"
    user: str = ""
    password_env: str = ""
    password_file: str = ""
    sender: str = "closeout@localhost"
    desk: list[str] = []
    addresses: str = ""


class WebhookTable(Section, frozen=True, kw_only=True):
    """A URL that is told of every warning, close-out, deficit and margin call; signed with the secret."""

    url: str
    secret_env: str = ""
    secret_file: str = ""


class KeyTable(Section, frozen=True, kw_only=True):
    """A person or system that may call. `hash` is what `closeout keys new` prints; the key itself is stored nowhere."""

    id: str
    name: str
    role: Literal["customer", "broker", "desk", "supervisor", "auditor"]
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    accounts: list[str] = []
    per_minute: Count = 6000


class ClockTable(Section, frozen=True, kw_only=True):
    """`business_day`: the wall time, in the sessions' time zone, at which a business day begins. `look_ahead_minutes`:
    how long before the switch the list is mailed. `reports_at`: when the nightly reports are made."""

    business_day: WallTime = "07:00"
    look_ahead_minutes: tuple[Count, ...] = (60, 15, 5)
    reports_at: WallTime = "17:30"


class ServiceTable(Section, frozen=True, kw_only=True):
    """Bounds: inputs that may wait, streams a key may open; where reports, recordings and logs go; and what customers
    are told: the disclosure in force, by version and text, and how they pay what they owe."""

    queue: Count = 10_000
    streams_per_key: Count = 20
    reports: str = "closeout-reports"
    record: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    disclosure: str = ""
    disclosure_file: str = ""
    how_to_pay: str = ""


class Config(Section, frozen=True, kw_only=True):
    """The whole file. `where` is its folder."""

    rulebook: str
    overrides: str = ""
    listen: Listen = Listen()
    storage: Storage = Storage()
    service: ServiceTable = ServiceTable()
    clock: ClockTable = ClockTable()
    venue: VenueTable = VenueTable()
    mail: MailTable = MailTable()
    feeds: list[FeedTable] = []
    contracts: dict[str, ContractTable] = {}
    webhooks: list[WebhookTable] = []
    keys: list[KeyTable] = []
    where: str = ""

    def path(self, name: str) -> Path:
        """A path of the file, relative to the file's own folder."""
        return Path(self.where) / name

    def url(self, name: str) -> str:
        """A database address: postgresql:// as it stands, with the password put in; anything else is a file."""
        if not name.startswith(("postgresql://", "postgresql+psycopg://")):
            return str(self.path(name))
        password = self.secret(self.storage.password_env, self.storage.password_file, "storage.password", optional=True)
        return with_password(name, password) if password else name

    def secret(self, env: str, file: str, key: str, *, optional: bool = False) -> str:
        """The secret that `KEY_env` or `KEY_file` points to; `InputError` names the key where it is not there."""
        if env and file:
            raise InputError(f"{key}: give {key}_env or {key}_file, not both")
        if env:
            if not os.environ.get(env):
                raise InputError(f"{key}_env: the environment variable {env} is not set")
            return os.environ[env]
        if file:
            try:
                lines = self.path(file).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{key}_file: {self.path(file)} cannot be read: {error}") from None
            if not lines or not lines[0]:
                raise InputError(f"{key}_file: {self.path(file)}: its first line is empty, expected the secret")
            return lines[0]
        if optional:
            return ""
        raise InputError(f"{key}_env: expected the name of an environment variable (or {key}_file)")


def with_password(url: str, password: str) -> str:
    """The address with a password after its user."""
    from urllib.parse import quote, urlsplit, urlunsplit

    split = urlsplit(url)
    user = split.username or ""
    place = split.hostname or ""
    if split.port:
        place += f":{split.port}"
    return urlunsplit((split.scheme, f"{quote(user)}:{quote(password, safe='')}@{place}", *split[2:]))


def load_config(path: Path) -> Config:
    """The file, checked; `InputError` names the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read: {reason}") from None
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {_key_first(str(error))}") from None
    config = msgspec.structs.replace(config, where=str(path.absolute().parent))
    try:
        _check(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return config


def _key_first(message: str) -> str:
    """msgspec's ``What is wrong - at `$.a.b` `` as ``a.b: what is wrong``."""
    what, _, place = message.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    return f"{place}: {what}" if place else what


def _check(config: Config) -> None:
    """What the shape alone cannot say: names that must be known, and things that belong together."""
    names = [feed.name for feed in config.feeds]
    for index, feed in enumerate(config.feeds):
        if names.count(feed.name) > 1:
            raise InputError(f"feeds[{index}].name: {feed.name!r} stands twice")
        if (feed.kind == "ccxt") != bool(feed.exchange):
            raise InputError(f"feeds[{index}].exchange: expected ccxt's name of an exchange with kind ccxt, else none")
        if feed.kind == "ccxt" and feed.url:
            raise InputError(f"feeds[{index}].url: expected none with kind ccxt")
    for name, contract in config.contracts.items():
        for index, source in enumerate([*contract.sources, *contract.index]):
            if source.feed not in names:
                raise InputError(f"contracts.{name}: source {index + 1}: no feed is called {source.feed!r}")
    ids = [key.id for key in config.keys]
    for index, key in enumerate(config.keys):
        if ids.count(key.id) > 1:
            raise InputError(f"keys[{index}].id: {key.id!r} stands twice")
        if (key.role == "customer") != bool(key.accounts):
            raise InputError(f"keys[{index}].accounts: expected accounts for a customer, and for nobody else")
    if config.service.disclosure_file and not config.service.disclosure:
        raise InputError("service.disclosure: expected the version of the text in service.disclosure_file")
    _check_venue(config.venue)
    if config.mail.kind == "smtp" and not config.mail.host:
        raise InputError("mail.host: expected a mail server with kind smtp")


SECRETS = ("api_key_env", "api_key_file", "secret_env", "secret_file")
VENUE_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "simulated": ((), ()),
    "ccxt": (("exchange",), ("url", *SECRETS)),
    "fix": (("host", "port", "sender", "target"), ("tls", "heartbeat_seconds", "session_file", "firm", *SECRETS)),
}
"""What each kind of venue needs, and what it may have beside `patience_seconds`."""


def _check_venue(venue: VenueTable) -> None:
    needed, optional = VENUE_KEYS[venue.kind]
    for field in needed:
        if not getattr(venue, field):
            raise InputError(f"venue.{field}: expected one with kind {venue.kind}")
    given = {field for field in VenueTable.__struct_fields__ if getattr(venue, field) != getattr(VenueTable(), field)}
    for field in sorted(given - {"kind", "patience_seconds", *needed, *optional}):
        raise InputError(f"venue.{field}: expected none with kind {venue.kind}")
