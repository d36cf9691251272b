"""When funding intervals end under a rulebook (EX-06): for the service's schedule and for replays."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from closeout.core.funding import Cadence
from closeout.core.times import HOUR, wall_instants
from closeout.rulebooks.policy import FundingPolicy

LONGEST = 49 * HOUR
"""Within it every wall time comes, also on the days on which clocks change."""


def multiples(step: int, since: int, until: int) -> Iterator[int]:
    """Every (since, until] that is a whole number of steps from midnight UTC, for steps that divide a day."""
    yield from range((since // step + 1) * step, until + 1, step)


def next_end(funding: FundingPolicy, cadence: Cadence, since: int) -> int:
    """The end of the first interval that ends after an instant."""
    if not funding.ends:
        return cadence.next_end(since)
    zone = ZoneInfo(funding.time_zone)
    return min(next(wall_instants(end, zone, since, since + LONGEST))[0] for end in funding.ends)
