"""The calendar of news releases (US-08)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from closeout.core.times import time_text
from closeout.core.units import rate_text
from closeout.engine.commands import ScheduleNews
from closeout.service.api import money
from closeout.service.api.lists import Instant, nanoseconds
from closeout.service.api.problems import Problem, invalid
from closeout.service.api.route import Call, route
from closeout.service.api.schema import AccountId, Body, Listed, Name, Reason, Written, written

LATEST = 2**62
"""2116: an instant beyond it is a slip."""


class Release(Body, frozen=True, kw_only=True):
    """`multiplier` and `held` (for positions held too, not only for orders) are the rulebook's where they are null. The
    same `release_id` again replaces what was scheduled."""

    release_id: AccountId
    contracts: Annotated[list[Name], Meta(min_length=1, max_length=64)]
    begins: Instant
    ends: Instant
    multiplier: money.RateText | None = None
    held: bool | None = None
    reason: Reason


class WithdrawQuery(Body, frozen=True, kw_only=True):
    reason: Reason = "withdrawn"


def news_command(call: Call, body: Any) -> ScheduleNews:
    """The command of a release."""
    policy = call.state.policy
    for name in body.contracts:
        call.contract(name, "/contracts")
    begins, ends = nanoseconds(body.begins), nanoseconds(body.ends)
    for pointer, instant in (("/begins", begins), ("/ends", ends)):
        if not 0 <= instant <= LATEST:
            raise invalid("expected an instant between 1970 and 2116", pointer)
    multiplier = policy.news_multiplier if body.multiplier is None else money.rate(body.multiplier, "/multiplier")
    if multiplier == 0:
        raise invalid("expected 1 or more; DELETE withdraws a release", "/multiplier")
    held = policy.news_held if body.held is None else body.held
    return ScheduleNews(body.release_id, tuple(body.contracts), begins, ends, multiplier, held, call.by, body.reason)


@route("GET", "/v1/news", Listed)
async def list_news(call: Call) -> Any:
    """Releases to come, and those whose window has begun, by the time at which they begin."""
    releases = sorted(call.state.releases.items(), key=lambda item: (item[1].begins, item[0]))
    items = [
        {
            "release_id": name, "contracts": list(release.contracts), "begins": time_text(release.begins),
            "ends": time_text(release.ends), "multiplier": rate_text(release.multiplier), "held": release.held,
            "begun": release.begun,
        }
        for name, release in releases
    ]  # fmt: skip
    return {"items": items, "next": None}


@route("POST", "/v1/news", Written, body=Release)
async def schedule_news(call: Call) -> Written:
    """Schedule a release. Making one that has begun shorter or smaller takes two people: propose it."""
    return written(await call.offer(news_command(call, call.body)))


@route("DELETE", "/v1/news/{release_id}", Written, query=WithdrawQuery)
async def withdraw_news(call: Call) -> Written:
    """Take a release out of the calendar. One that has begun takes two people: propose it."""
    return written(await call.offer(withdrawal(call, call.path["release_id"], call.query.reason)))


def withdrawal(call: Call, release_id: str, reason: str) -> ScheduleNews:
    if not release_id:
        raise Problem(404, "unknown_release", "no release has an empty name")
    return ScheduleNews(release_id, (), 0, 0, 0, False, call.by, reason)
