"""One making of a day's reports: which day, of which balances, and when."""

from __future__ import annotations

from dataclasses import dataclass

from closeout.engine.state import State
from closeout.service.reports.calendar import ReportDay


@dataclass(frozen=True, slots=True)
class Edition:
    """`state` is the frozen copy that balances and stress are of, `made_at` when it was taken. `late`: the service was
    not running when it was due. `so_far`: nobody keeps it, the day is not over or its reports are not due."""

    day: ReportDay
    state: State
    made_at: int
    late: bool = False
    so_far: bool = False

    @property
    def as_of(self) -> int:
        """The time of the last input that the balances know."""
        return self.state.time

    @property
    def seq(self) -> int:
        return self.state.seq
