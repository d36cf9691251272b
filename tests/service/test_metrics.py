"""Metrics: their names, what they count, and that no label can take a value from outside."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.engine.bench import NOON, Desk, flat_margin, nanoseconds

from closeout.adapters.feeds.port import FeedStatus
from closeout.core.margin import Level
from closeout.core.units import USD
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag
from closeout.service.access import ROLES
from closeout.service.applied import Applied
from closeout.service.metrics import (
    CODES,
    DROP_REASONS,
    EFFECT_KINDS,
    EFFECT_STATES,
    EVENT_KINDS,
    SOURCE_KINDS,
    STATUSES,
    Metrics,
)

ENGINE = Path(__file__).parents[2] / "src" / "closeout" / "engine"
NOW = nanoseconds(NOON)
SECOND = 10**9


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, label values in the order of the labels' names) -> value, of what is exposed."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def applied(source: str, command: c.AnyCommand, *events: ev.AnyEvent) -> Applied:
    return Applied(1, c.Input(source, 1, NOW, command), list(events))


def test_a_frame_counts_its_inputs_events_rejections_and_deficits() -> None:
    metrics = Metrics()
    refused = ev.OrderRefused("A", "o", "margin", "", 0, 0, 0, 0)
    batch = [
        applied("key:broker-1", c.Tick(), ev.Rejected("A", "unknown_account", "")),
        applied("key:ada", c.Tick(), refused, ev.DeficitBooked("A", 1_500_000, 1_500_000, "r")),
        applied("feed:kraken", c.Tick(), ev.DeficitBooked("B", 250_000, 250_000, "r")),
    ]
    metrics.applied(batch, 0.003, 0.0002, USD)
    found = samples(metrics)
    assert found["closeout_inputs_total", ("key",)] == 2
    assert found["closeout_inputs_total", ("feed",)] == 1
    assert found["closeout_frames_total", ()] == 1
    assert found["closeout_events_total", ("DeficitBooked",)] == 2
    assert found["closeout_rejected_total", ("unknown_account",)] == 1
    assert found["closeout_rejected_total", ("margin",)] == 1
    assert found["closeout_deficits_dollars_total", ()] == 1.75
    assert found["closeout_commit_seconds_sum", ()] == 0.003
    assert found["closeout_commit_seconds_bucket", ("0.0025",)] == 0
    assert found["closeout_commit_seconds_bucket", ("0.005",)] == 1
    assert found["closeout_apply_seconds_bucket", ("0.00025",)] == 1


def test_accounts_positions_and_debts_are_those_of_the_state() -> None:
    margins: dict[str, Any] = {"contracts": {"CAR": flat_margin("50", session="cme_equity")}}
    desk = Desk("kraken-us", margins | {"close_out": {"method": "flatten_all"}})
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    for name in ("A", "B", "C"):
        desk.account(name, "1000")
    desk.hold("A", "CAR", "4", "1000")
    desk.hold("B", "CAR", "1", "1000")
    desk.done(c.DeskAction("C", "lock", "Dora", "asked for"))
    desk.marks(CAR="740")
    metrics = Metrics()
    metrics.state(desk.state)
    before = samples(metrics)
    assert before["closeout_positions", ()] == 2
    assert before["closeout_accounts", ("liquidating",)] == 1
    assert before["closeout_accounts", ("normal",)] == 2
    assert before["closeout_accounts_flagged", ("locked",)] == 1
    assert sum(value for (name, _), value in before.items() if name == "closeout_accounts") == 3
    (order,) = desk.state.order_owner
    desk.fill_order(order, "740", "4")
    metrics.state(desk.state)
    after = samples(metrics)
    assert after["closeout_positions", ()] == 1
    assert after["closeout_accounts", ("liquidating",)] == 0
    assert after["closeout_accounts_flagged", ("in_debit",)] == 1
    owed = int(desk.state.book.column("receivable").sum())
    assert owed > 0
    assert after["closeout_receivables_dollars", ()] == owed / 1_000_000


def test_feeds_and_totals_that_others_count() -> None:
    metrics = Metrics(feeds=("kraken", "coinbase"))
    kraken = FeedStatus("kraken", connected=True, last_message_at=NOW - 3 * SECOND, malformed=2)
    metrics.feeds([kraken, FeedStatus("coinbase")], NOW)
    kraken.malformed = 5
    metrics.feeds([kraken], NOW)
    metrics.writer(7, conflated=10, refused=1)
    metrics.writer(0, conflated=12, refused=1)
    metrics.possible_second_copies(2)
    metrics.possible_second_copies(2)
    metrics.heartbeat(NOW)
    metrics.projection_lag(11)
    metrics.streams(3)
    found = samples(metrics)
    assert found["closeout_feed_age_seconds", ("kraken",)] == 3
    assert found["closeout_feed_age_seconds", ("coinbase",)] == float("inf")
    assert (found["closeout_feed_connected", ("kraken",)], found["closeout_feed_connected", ("coinbase",)]) == (1, 0)
    assert found["closeout_feed_malformed_total", ("kraken",)] == 5
    assert found["closeout_offer_queue_length", ()] == 0
    assert found["closeout_marks_conflated_total", ()] == 12
    assert found["closeout_offers_refused_total", ()] == 1
    assert found["closeout_mail_possible_second_copies_total", ()] == 2
    assert found["closeout_heartbeat_timestamp_seconds", ()] == NOW / SECOND
    assert found["closeout_projection_lag_inputs", ()] == 11
    assert found["closeout_websocket_clients", ()] == 3


def test_the_outbox_shows_every_state_and_forgets_what_is_gone() -> None:
    metrics = Metrics()
    assert samples(metrics)["closeout_effects", ("order", "parked")] == 0  # an alert needs the line to be there
    metrics.effects({("order", "parked"): 2, ("notice", "pending"): 3}, 4_500_000_000)
    assert samples(metrics)["closeout_effects", ("order", "parked")] == 2
    metrics.effects({("notice", "pending"): 1}, 0)
    found = samples(metrics)
    assert (found["closeout_effects", ("order", "parked")], found["closeout_effects", ("notice", "pending")]) == (0, 1)
    assert found["closeout_effect_oldest_seconds", ()] == 0


def test_answers_and_latencies() -> None:
    metrics = Metrics(routes=("check_order",))
    metrics.answered("check_order", "broker", 200, 0.004)
    metrics.answered("check_order", "", 401, 0.0001)
    metrics.verdict_after(0.002)
    metrics.order_after(0.2)
    metrics.stream_dropped("slow")
    metrics.stream_dropped("too many streams")
    found = samples(metrics)
    assert found["closeout_http_requests_total", ("broker", "check_order", "200")] == 1
    assert found["closeout_http_requests_total", ("none", "check_order", "401")] == 1
    assert found["closeout_http_request_seconds_count", ("check_order",)] == 2
    assert found["closeout_input_to_verdict_seconds_count", ()] == 1
    assert found["closeout_verdict_to_order_seconds_sum", ()] == 0.2
    assert found["closeout_websocket_dropped_total", ("slow",)] == 1
    assert found["closeout_websocket_dropped_total", ("too_many_streams",)] == 1


CLOSED: dict[str, set[str]] = {
    "source_kind": {*SOURCE_KINDS},
    "kind": {*EVENT_KINDS, *EFFECT_KINDS},
    "state": {*EFFECT_STATES},
    "code": {*CODES},
    "level": {level.name.lower() for level in Level},
    "flag": {flag.label for flag in Flag},
    "feed": {"kraken"},
    "reason": {*DROP_REASONS},
    "route": {"check_order"},
    "role": {*ROLES, "none"},
    "status": {*STATUSES},
}


def test_every_label_comes_from_a_closed_set_whatever_comes_in() -> None:
    metrics = Metrics(feeds=("kraken",), routes=("check_order",))
    evil = 'A1"} 1\nevil{x="'
    desk = Desk()
    desk.account(evil, "1000")
    metrics.state(desk.state)
    unknown = ev.Rejected(evil, evil, evil)
    metrics.applied([applied(evil, c.Tick(), unknown), applied(f"key:{evil}", c.Tick())], 0, 0, USD)
    metrics.feeds([FeedStatus(evil), FeedStatus("kraken")], NOW)
    metrics.answered(evil, evil, 999, 0)
    metrics.answered("check_order", "desk", 200, 0)
    metrics.effects({(evil, evil): 1}, 0)
    metrics.stream_dropped(evil)
    assert "evil" not in metrics.exposition().decode()
    labels: set[str] = set()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            for label, value in sample.labels.items():
                labels.add(label)
                assert label == "le" or value in CLOSED[label] | {"other"}, (sample.name, label, value)
    assert labels == CLOSED.keys() | {"le"}


def test_every_metric_has_the_prefix_a_unit_where_it_has_one_and_a_help_text() -> None:
    families = list(text_string_to_metric_families(Metrics().exposition().decode()))
    own = [family for family in families if not family.name.startswith("process_")]
    assert len(own) > 25
    for family in own:
        assert family.name.startswith("closeout_")
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|micros|milliseconds|ns|percent)$", family.name)


def refusals() -> set[str]:
    """The codes that stand in the engine's code: of `Reject` and `Rejected`, and of refused orders."""
    found: set[str] = set()
    for path in ENGINE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            value: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"Reject": 0, "Rejected": 1}.get(node.func.id)
                value = None if place is None else node.args[place]
            elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
                value = node.value.elts[0] if path.stem in ("orders", "limits", "trading") else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                found.add(value.value)
    return found


def test_every_code_of_the_engine_has_its_own_line() -> None:
    codes = refusals()
    assert {"unknown_account", "margin", "liquidating"} <= codes
    assert codes <= CODES


def test_a_counter_that_began_anew_counts_on() -> None:
    metrics, status = Metrics(feeds=("kraken",)), FeedStatus("kraken")
    for total in (4, 6, 1):
        status.malformed = total
        metrics.feeds([status], NOW)
    assert samples(metrics)["closeout_feed_malformed_total", ("kraken",)] == 7


@pytest.mark.rule("G-12")
def test_what_the_trigger_index_does_is_counted_and_who_has_no_triggers_is_shown() -> None:
    desk = Desk("kraken-us", {"contracts": {"CAR": flat_margin("50", session="cme_equity")}})
    desk.session("cme_equity")
    for name in ("A", "B", "C"):
        desk.account(name, "1000")
    desk.marks(CAR="1000")
    desk.marks(CAR="1001")
    metrics = Metrics()
    metrics.state(desk.twin.loaded)
    assert samples(metrics)["closeout_accounts_without_triggers", ()] == 3  # no index: everybody is looked at
    metrics.state(desk.state)
    found = samples(metrics)
    assert found["closeout_accounts_without_triggers", ()] == 0
    assert found["closeout_index_looks_total", ()] >= 3
    assert found["closeout_index_resets_total", ()] >= 1
    desk.hold("A", "CAR", "4", "1001")
    desk.marks(CAR="1002")
    desk.marks(CAR="740")
    metrics.state(desk.state)
    found = samples(metrics)
    assert found["closeout_index_triggers_crossed_total", ()] == 1
    assert found["closeout_accounts_without_triggers", ()] == 1  # it is being liquidated
