"""Properties of the selector over any sequence of observations, silences and losses (G-06)."""

from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closeout.adapters.feeds.port import Observation
from closeout.adapters.feeds.selector import Grade, MarkSelector, Route
from closeout.core.contracts import Contract, Kind
from closeout.core.units import RATE, USD

STALE, HOLD = 30, 5
CONTRACT = Contract.define(
    "BTC", kind=Kind.LINEAR, currency=USD, tick=Decimal("0.5"), lot=Decimal(1), contract_size=Decimal(1)
)
SOURCES = (("a", "1"), ("b", "2"), ("c", "3"))

Offers = dict[str, dict[str, int | None]]


@dataclass(frozen=True)
class Step:
    """Time passes, then a source is heard, or (None) only the selection is asked for."""

    passes: int
    source: int | None
    price: Decimal | None


PRICES = st.sampled_from(["100", "101", "109", "130", "135", "60", "0", "-5", "NaN", "Infinity", "1E+30"])
STEPS = st.lists(
    st.builds(
        Step,
        passes=st.sampled_from([0, 0, 1, 4, 5, 10, 30, 31]),
        source=st.sampled_from([0, 0, 1, 1, 2, None]),
        price=st.none() | PRICES.map(Decimal),
    ),
    max_size=40,
)
JUMPS = st.sampled_from([None, RATE // 10, RATE // 4])


def selector(jump: int | None, sources: tuple[tuple[str, str], ...] = SOURCES) -> MarkSelector:
    return MarkSelector({"BTC": Route(CONTRACT, sources, STALE, jump)}, HOLD)


class Run:
    """Plays steps; `without` is a source that is never heard."""

    def __init__(self, jump: int | None, without: int | None = None) -> None:
        self.selector = selector(jump)
        self.without = without
        self.now = 1000
        self.stamp = 0

    def play(self, step: Step) -> Offers:
        self.now += step.passes
        self.stamp += 1
        if step.source is not None and step.source != self.without:
            feed, market = SOURCES[step.source]
            self.selector.observe(Observation(feed, market, step.price, self.stamp, self.now))
        return self.selector.select(self.now)

    def grades(self) -> list[Grade]:
        return [row.grade for row in self.selector.grades(self.now)]

    def selected(self) -> int | None:
        rows = self.selector.grades(self.now)
        chosen = [index for index, row in enumerate(rows) if row.selected]
        assert len(chosen) <= 1
        return chosen[0] if chosen else None


@pytest.mark.rule("G-06")
@given(STEPS, JUMPS)
def test_a_good_source_is_selected_whenever_there_is_one(steps: list[Step], jump: int | None) -> None:
    run = Run(jump)
    for step in steps:
        offers = run.play(step)
        grades, selected = run.grades(), run.selected()
        if Grade.OK in grades:
            assert selected is not None
            assert grades[selected] is Grade.OK
        elif Grade.JUMP in grades:
            assert selected is not None
            assert grades[selected] is Grade.JUMP
        else:
            assert selected is None
        for feed, marks in offers.items():
            ticks = marks["BTC"]
            assert ticks is None or ticks > 0
            assert ticks is None or (selected is not None and SOURCES[selected][0] == feed)


@pytest.mark.rule("G-06")
@given(STEPS, JUMPS)
def test_what_was_offered_last_is_what_is_selected_now(steps: list[Step], jump: int | None) -> None:
    """The offers alone tell the engine everything: the source, the price, and that there is none."""
    run, known = Run(jump), None
    for step in steps:
        offers = run.play(step)
        assert len(offers) <= 1
        for feed, marks in offers.items():
            known = None if marks["BTC"] is None else (feed, marks["BTC"])
        selected = run.selected()
        if selected is None:
            assert known is None
        else:
            row = run.selector.grades(run.now)[selected]
            assert row.price is not None
            assert known == (row.feed, CONTRACT.nearest_ticks(row.price))


@pytest.mark.rule("G-06")
@given(STEPS, JUMPS)
def test_asking_twice_says_nothing_new(steps: list[Step], jump: int | None) -> None:
    run = Run(jump)
    for step in steps:
        run.play(step)
        before = run.selector.grades(run.now)
        assert run.selector.select(run.now) == {}
        assert run.selector.grades(run.now) == before


@pytest.mark.rule("G-03")
@given(STEPS, JUMPS)
def test_same_inputs_same_outputs(steps: list[Step], jump: int | None) -> None:
    one, two = Run(jump), Run(jump)
    assert [(one.play(step), one.grades()) for step in steps] == [(two.play(step), two.grades()) for step in steps]


@pytest.mark.rule("G-06")
@given(STEPS, JUMPS, st.sampled_from([0, 1, 2]))
def test_removing_a_source_never_improves_another(steps: list[Step], jump: int | None, without: int) -> None:
    """Where knowing less first makes a difference to another source's price, a good one becomes a jump."""
    whole, part = Run(jump), Run(jump, without)
    for step in steps:
        whole.play(step)
        part.play(step)
        pairs = enumerate(zip(whole.grades(), part.grades(), strict=True))
        changes = {pair for index, pair in pairs if index != without and pair[0] is not pair[1]}
        if changes:
            assert changes == {(Grade.OK, Grade.JUMP)}
            assert jump is not None
            return


@pytest.mark.rule("G-06")
@given(STEPS)
def test_a_source_never_selected_is_not_missed(steps: list[Step]) -> None:
    """Without a guard sources do not speak for each other."""
    whole = Run(None)
    outcome = [(whole.play(step), whole.selected()) for step in steps]
    for index in range(len(SOURCES)):
        if all(selected != index for _, selected in outcome):
            part = Run(None, without=index)
            assert [(part.play(step), part.selected()) for step in steps] == outcome


@pytest.mark.rule("G-06")
@given(STEPS, JUMPS)
def test_a_better_source_is_taken_back_only_after_the_hold(steps: list[Step], jump: int | None) -> None:
    run = Run(jump)
    good_since: list[int | None] = [None, None, None]
    before: int | None = None
    for step in steps:
        run.play(step)
        grades, selected = run.grades(), run.selected()
        for index, grade in enumerate(grades):
            if grade is not Grade.OK:
                good_since[index] = None
            elif good_since[index] is None:
                good_since[index] = run.now
        if before is not None and selected is not None and selected < before and grades[before] is Grade.OK:
            since = good_since[selected]
            assert since is not None
            assert run.now - since >= HOLD
        before = selected
