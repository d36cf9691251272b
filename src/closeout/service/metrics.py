"""What the service counts and measures, for Prometheus. Amounts are in base units: seconds, dollars, ratios.

A label's value always comes from a closed set: what is not in it counts as "other". No account, order or person is a
label. `docs/operations/alerts.yml` has alerts on these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from closeout.adapters.feeds.port import FeedStatus
from closeout.core.margin import Level
from closeout.core.times import SECOND
from closeout.core.units import Currency
from closeout.engine.book import Flag
from closeout.engine.events import AnyEvent, DeficitBooked, OrderRefused, Rejected
from closeout.engine.state import State
from closeout.service.access import ROLES
from closeout.service.applied import Batch

OTHER = "other"
SOURCE_KINDS = frozenset({"key", "desk", "feed", "venue", "clock", "service"})
EVENT_KINDS = frozenset(kind.__name__ for kind in get_args(AnyEvent))
EFFECT_KINDS = ("order", "cancel", "notice", "alarm", "webhook")
EFFECT_STATES = ("pending", "sending", "failed", "parked")
DROP_REASONS = frozenset({"internal", "slow", "too_many_streams", "unauthorized"})
"""Why `streams` closes a stream, in the words that it tells the client."""
STATUSES = frozenset(str(status) for status in range(100, 600))
CODES = frozenset({
    "bad_book", "bad_rulebook", "bad_series", "bad_tiers", "bad_time", "contract_twice", "date_ran_back",
    "debit_overdue", "disclosure", "disclosure_version", "duplicate_account", "duplicate_fill", "duplicate_input",
    "duplicate_order", "exceeds_receivable", "exceeds_withdrawable", "expired_contract", "flat", "gap_in_inputs",
    "group_limit", "in_debit", "isolated_account", "leg", "liquidate_only", "liquidating", "locked", "margin",
    "margin_call_overdue", "mark_grade", "needs_name", "needs_second", "no_receivable", "no_rulebook", "order_size",
    "out_of_bounds", "position_limit", "position_twice", "price_collar", "reconciliation_break", "rulebook_loaded",
    "stopped", "time_ahead", "time_ran_back", "unknown_account", "unknown_action", "unknown_contract", "unknown_fill",
    "unknown_order", "unknown_release", "unknown_review", "unknown_scope", "unknown_session", "unknown_status",
    "unknown_window", "unpriced", "withdrawals_gated", "wrong_leg", "zero_quantity",
})  # fmt: skip
"""Why the engine rejects an input or refuses an order."""

QUICK = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Histogram bounds in seconds."""


class Metrics:
    """All of a process's metrics, in a registry of their own. `feeds` and `routes` are the names that their labels may
    have. Methods are called on the event loop; totals that others count are handed over as they stand."""

    def __init__(self, feeds: Iterable[str] = (), routes: Iterable[str] = ()) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._feeds, self._routes = frozenset(feeds), frozenset(routes)
        self._totals: dict[tuple[str, ...], int] = {}

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"closeout_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"closeout_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(f"closeout_{name}", what, labels, registry=registry, buckets=QUICK)

        self._inputs = counter("inputs", "Inputs that are durable and applied.", "source_kind")
        self._frames = counter("frames", "Frames of inputs, each one commit of the journal.")
        self._conflated = counter("marks_conflated", "Marks that a newer one replaced before they were journaled.")
        self._offers_refused = counter("offers_refused", "Offers refused because the queue was full.")
        self._events = counter("events", "Events that followed from inputs.", "kind")
        self._rejected = counter("rejected", "Inputs rejected and orders refused.", "code")
        self._deficits = counter("deficits_dollars", "Deficits booked as debts of customers.")
        self._receivables = gauge("receivables_dollars", "What customers owe now.")
        self._accounts = gauge("accounts", "Margin accounts; an isolated position is one.", "level")
        self._flagged = gauge("accounts_flagged", "Margin accounts with a flag set.", "flag")
        self._positions = gauge("positions", "Open positions.")
        self._loose = gauge("accounts_without_triggers", "Margin accounts looked at at every mark.")
        self._looked_at = counter("index_looks", "Looks of the trigger index at an account.")
        self._crossed = counter("index_triggers_crossed", "Triggers that marks have crossed.")
        self._resets = counter("index_resets", "Times that all triggers were void.")
        self._queue = gauge("offer_queue_length", "Commands that wait for a frame.")
        self._commit = histogram("commit_seconds", "From a frame's taking to its durability.")
        self._apply = histogram("apply_seconds", "From a frame's durability to its last event.")
        self._verdict = histogram("input_to_verdict_seconds", "From hearing of something to its published verdict.")
        self._order = histogram(
            "verdict_to_order_seconds", "From a verdict to the venue's acknowledgement of an order."
        )
        self._feed_age = gauge("feed_age_seconds", "Since a feed's last message; +Inf before the first.", "feed")
        self._feed_connected = gauge("feed_connected", "Whether a feed is connected.", "feed")
        self._feed_malformed = counter("feed_malformed", "Messages of feeds that could not be used.", "feed")
        self._effects = gauge("effects", "Effects in the outbox that are not sent.", "kind", "state")
        self._oldest = gauge("effect_oldest_seconds", "Since the input of the oldest effect that is due.")
        self._lag = gauge("projection_lag_inputs", "Inputs that the store is behind the journal.")
        self._streams = gauge("websocket_clients", "Streams that are open.")
        self._dropped = counter("websocket_dropped", "Streams that the service ended.", "reason")
        self._requests = counter("http_requests", "Requests answered.", "route", "role", "status")
        self._answer = histogram("http_request_seconds", "From a request to its answer.", "route")
        self._heartbeat = gauge("heartbeat_timestamp_seconds", "Unix time of the last tick of the service's clock.")
        self._copies = counter("mail_possible_second_copies", "Mails that may have arrived twice.")
        for kind in EFFECT_KINDS:
            for state in EFFECT_STATES:
                self._effects.labels(kind, state)

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    # -- told as it happens --------------------------------------------------------------------------

    def applied(self, batch: Batch, commit_seconds: float, apply_seconds: float, currency: Currency) -> None:
        """One frame."""
        self._frames.inc()
        self._commit.observe(commit_seconds)
        self._apply.observe(apply_seconds)
        inputs: dict[str, int] = {}
        events: dict[str, int] = {}
        for item in batch:
            source = item.input.source.partition(":")[0]
            inputs[source] = inputs.get(source, 0) + 1
            for event in item.events:
                kind = type(event).__name__
                events[kind] = events.get(kind, 0) + 1
                if isinstance(event, Rejected | OrderRefused):
                    self._rejected.labels(_known(event.code, CODES)).inc()
                elif isinstance(event, DeficitBooked):
                    self._deficits.inc(event.micros / 10**currency.places)
        for source, count in inputs.items():
            self._inputs.labels(_known(source, SOURCE_KINDS)).inc(count)
        for kind, count in events.items():
            self._events.labels(_known(kind, EVENT_KINDS)).inc(count)

    def verdict_after(self, seconds: float) -> None:
        """From hearing a mark or a request to publishing what followed."""
        self._verdict.observe(seconds)

    def order_after(self, seconds: float) -> None:
        """From the verdict that made a close-out order to its being acknowledged."""
        self._order.observe(seconds)

    def answered(self, operation: str, role: str, status: int, seconds: float) -> None:
        """One answer of the API (`Context.answered`); `role` "" without a key."""
        route = _known(operation, self._routes)
        role = _known(role, ROLES) if role else "none"
        self._requests.labels(route, role, _known(str(status), STATUSES)).inc()
        self._answer.labels(route).observe(seconds)

    def stream_dropped(self, reason: str) -> None:
        """A stream that the service closed, with the reason told to its client."""
        self._dropped.labels(_known(reason.replace(" ", "_"), DROP_REASONS)).inc()

    # -- looked at from time to time -----------------------------------------------------------------

    def state(self, state: State) -> None:
        """Accounts, flags, positions and debts as they are now."""
        book = state.book
        levels = np.bincount(book.column("level"), minlength=len(Level))
        levels[Level.NORMAL] -= len(book.house)  # they are nobody's accounts
        for level in Level:
            self._accounts.labels(level.name.lower()).set(int(levels[level]))
        flags = book.column("flags")
        flags = flags[flags != 0]  # few accounts have any
        for flag in Flag:
            self._flagged.labels(flag.label).set(int(np.count_nonzero(flags & flag)))
        self._positions.set(int(np.count_nonzero(state.book.positions.lots)))
        self._receivables.set(int(book.column("receivable").sum()) / 10**state.policy.currency.places)
        self._index({} if state.index is None else state.index.counters, book.count - len(book.house))

    def _index(self, counters: Mapping[str, int], everybody: int) -> None:
        """What the trigger index has done; where there is none, everybody is looked at."""
        self._loose.set(counters.get("loose", everybody))
        for counter, name in (
            (self._looked_at, "accounts_looked_at"), (self._crossed, "triggers_crossed"), (self._resets, "resets"),
        ):  # fmt: skip
            self._up_to(counter, counters.get(name, 0), name)

    def feeds(self, statuses: Iterable[FeedStatus], now: int) -> None:
        """`now` and their times are UTC nanoseconds."""
        for status in statuses:
            name = _known(status.name, self._feeds)
            heard = status.last_message_at
            self._feed_age.labels(name).set(float("inf") if heard is None else max(0, now - heard) / SECOND)
            self._feed_connected.labels(name).set(status.connected)
            self._up_to(self._feed_malformed.labels(name), status.malformed, "malformed", status.name)

    def writer(self, waiting: int, conflated: int, refused: int) -> None:
        """Commands in the queue, and the writer's totals."""
        self._queue.set(waiting)
        self._up_to(self._conflated, conflated, "conflated")
        self._up_to(self._offers_refused, refused, "refused")

    def effects(self, counts: Mapping[tuple[str, str], int], oldest_age: int) -> None:
        """The outbox's (kind, state) counts, and the age in nanoseconds of the oldest effect that is due."""
        for kind in EFFECT_KINDS:
            for state in EFFECT_STATES:
                self._effects.labels(kind, state).set(counts.get((kind, state), 0))
        self._oldest.set(oldest_age / SECOND)

    def projection_lag(self, inputs: int) -> None:
        self._lag.set(inputs)

    def streams(self, count: int) -> None:
        self._streams.set(count)

    def heartbeat(self, time: int) -> None:
        """The instant of the last tick, UTC nanoseconds."""
        self._heartbeat.set(time / SECOND)

    def possible_second_copies(self, total: int) -> None:
        self._up_to(self._copies, total, "copies")

    def _up_to(self, counter: Counter, total: int, *name: str) -> None:
        """Bring a counter up to a total that somebody else counts; one that began anew counts on."""
        before = self._totals.get(name, 0)
        counter.inc(total - before if total >= before else total)
        self._totals[name] = total


def _known(value: str, values: Iterable[str]) -> str:
    return value if value in values else OTHER
