"""The service about itself: health, metrics, its own description, the rulebook, the books and the journal."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from closeout import __version__
from closeout.core.times import time_text
from closeout.core.units import rate_text
from closeout.engine.engine import Engine
from closeout.rulebooks.loader import describe
from closeout.service.api import openapi
from closeout.service.api.problems import Problem
from closeout.service.api.route import Answer, Call, encode, route
from closeout.service.api.schema import View


class Health(View, frozen=True, kw_only=True):
    """`status` is ready or not_ready; `checks` says of each part what it lacks, "" where nothing."""

    status: str
    checks: dict[str, str]


@route("GET", "/health", Health, other=((503, "the service is not ready"),))
async def health(call: Call) -> Answer:
    """Whether the service is ready."""
    checks = dict(call.context.ready())
    ready = not any(checks.values())
    return Answer(
        encode(Health(status="ready" if ready else "not_ready", checks=checks)), 200 if ready else 503
    )  # fmt: skip


@route("GET", "/metrics", str, media=("text/plain",))
async def metrics(call: Call) -> Answer:
    """Metrics in Prometheus' text format; without a key only from the machine itself."""
    return Answer(call.context.metrics(), content_type=b"text/plain; version=0.0.4; charset=utf-8")


class WindowView(View, frozen=True, kw_only=True):
    """Which margin is required in a window, and the usage of it at which each level begins."""

    requirement: str
    alert: str
    liquidate_only: str
    auto_liquidate: str


class ServiceView(View, frozen=True, kw_only=True):
    """`mode` is live or recorded; then `market` says of what, and `speed` how much faster than the wall it runs.
    The engine's units of `currency`, in which commands and notices give amounts, have so many decimal `places`.
    `liability` is unlimited where a customer owes what is missing beyond his money, limited where the stages of the
    rulebook's waterfall bear it. `disclosure` is the version in force, `how_to_pay` says how what is owed is paid;
    `time_zone` is that of the rulebook's first session."""

    version: str
    mode: str
    market: str | None
    speed: float
    now: str
    currency: str
    places: int
    rulebook: str
    rulebook_version: str
    liability: str
    time_zone: str
    disclosure: str | None
    how_to_pay: str | None
    venue: str
    simulated_venue: bool
    windows: dict[str, WindowView]


@route("GET", "/v1/service", ServiceView)
async def get_service(call: Call) -> ServiceView:
    """What this service is, and whose rules it applies."""
    policy, about = call.state.policy, call.context.about
    windows = {
        name: WindowView(
            requirement=window.requirement.name.lower(), alert=rate_text(window.alert),
            liquidate_only=rate_text(window.liquidate_only), auto_liquidate=rate_text(window.auto_liquidate),
        )
        for name, window in policy.windows.items()
    }  # fmt: skip
    return ServiceView(
        version=__version__,
        mode="live" if about.market is None else "recorded",
        market=about.market,
        speed=call.context.clock.speed,
        now=time_text(call.now()),
        currency=policy.currency.code,
        places=policy.currency.places,
        rulebook=policy.name,
        rulebook_version=policy.version,
        liability="unlimited" if policy.customer_owes else "limited",
        time_zone=next((session.time_zone for session in policy.sessions.values()), "America/Chicago"),
        disclosure=call.state.disclosure or None,
        how_to_pay=about.how_to_pay or None,
        venue=about.venue,
        simulated_venue=about.simulated_venue,
        windows=windows,
    )


class Disclosure(View, frozen=True, kw_only=True):
    """The risk disclosure in force; `text` is null where the broker's own pages show it."""

    version: str
    text: str | None


@route("GET", "/v1/disclosure", Disclosure, absent=True)
async def get_disclosure(call: Call) -> Disclosure:
    """What customers must have read and acknowledged before they open positions (US-18)."""
    if not call.state.disclosure:
        raise Problem(404, "no_disclosure", "no risk disclosure is in force")
    return Disclosure(version=call.state.disclosure, text=call.context.about.disclosure or None)


class AnyDocument(Struct):
    """A JSON object."""


@route("GET", "/openapi.json", AnyDocument)
async def openapi_document(call: Call) -> Answer:
    """This document."""
    return Answer(openapi.encoded())


class Me(View, frozen=True, kw_only=True):
    key_id: str
    name: str
    role: str
    accounts: list[str]


@route("GET", "/v1/me", Me)
async def get_me(call: Call) -> Me:
    """Whose key this is, and what it may do."""
    key = call.person
    return Me(key_id=key.key_id, name=key.name, role=str(key.role), accounts=sorted(key.accounts))


@route("GET", "/v1/rulebook", AnyDocument)
async def get_rulebook(call: Call) -> Any:
    """The rulebook in force: every parameter with its source."""
    return describe(call.context.rulebook)


class Ledger(View, frozen=True, kw_only=True):
    """Balances of the ledger accounts; they add up to zero: `ledger_imbalance` is the sum."""

    seq: int
    currency: str
    balances: dict[str, str]
    ledger_imbalance: str
    faults: list[str]


@route("GET", "/v1/ledger", Ledger)
async def get_ledger(call: Call) -> Ledger:
    """The ledger's balances, and whether they agree with the accounts."""
    state, text = call.state, call.currency.text
    return Ledger(
        seq=call.context.writer.seq,
        currency=call.currency.code,
        balances={name: text(balance) for name, balance in state.ledger.balances.items()},
        ledger_imbalance=text(state.ledger.imbalance()),
        faults=call.context.writer.engine.imbalances(),
    )


class JournalView(View, frozen=True, kw_only=True):
    """`published` is what to note elsewhere: with it a journal whose end was taken away is found out."""

    seq: int
    published: str
    engine_version: str
    rulebook_digest: str


@route("GET", "/v1/journal", JournalView)
async def get_journal(call: Call) -> JournalView:
    """Where the journal stands."""
    return JournalView(
        seq=call.context.writer.seq,
        published=call.context.published(),
        engine_version=Engine.version,
        rulebook_digest=call.state.policy.digest,
    )
