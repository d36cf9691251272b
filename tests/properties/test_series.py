"""A series of marks is its batches one by one: the same events, the same books (G-19), and the same again (G-03)."""

import re
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from tests.model.rulebooks import SETTINGS
from tests.model.rulebooks_waterfall import WATERFALLS
from tests.properties.driver import recorded, recorded_waterfall

from closeout.engine import commands as c
from closeout.engine import events as e
from closeout.engine.commands import Input, Mark
from closeout.engine.engine import Engine
from closeout.engine.series import pack, refused, unpack

SEEDS = 16
SECOND = 10**9
OUT_OF_TURN = ("duplicate_input", "gap_in_inputs")
PLACE = re.compile(r"(?<![\w.-])(\d+(?:\.\d+)?)(?=[cm]?-[ABCP0sbil])")
INPUT = re.compile(r"(?<=input )\d+")


def streams() -> Iterator[tuple[Input, ...]]:
    """Recorded streams, but for rulebooks whose lots are drawn by the input's number."""
    for seed in range(SEEDS):
        yield recorded(seed)
        if b'"random"' not in WATERFALLS[seed % len(WATERFALLS)].document:
            yield recorded_waterfall(seed)


def with_walks(inputs: tuple[Input, ...], prices: dict[str, int], random: Random) -> Iterator[Input]:
    """The inputs, and after every few of them a series of many batches: wide moves, lost marks, and what is refused."""
    walks, names, last = 0, list(prices), dict(prices)
    for index, given in enumerate(inputs):
        yield given
        if index % 9 or not index:
            continue
        batches: list[tuple[int, list[Mark]]] = []
        time = given.time
        for _ in range(random.randint(2, 12)):
            time += random.choice((0, 1, SECOND, 30 * SECOND))
            chosen = random.sample(names, random.randint(1, len(names)))
            chosen += random.choices((["NONE"], chosen[:1], []), (1, 1, 28))[0]
            batch: list[Mark] = []
            for name in chosen:
                first = prices.get(name, 1)
                moved = last.get(name, 1) + round(first * random.choice((-0.4, -0.06, -0.02, 0, 0.02, 0.06, 0.4)))
                last[name] = first if random.random() < 0.05 else min(max(moved, first // 3, 1), 3 * first)
                lost, wild = random.random() < 0.03, random.random() < 0.01
                batch.append(Mark(name, None if lost else 2**50 if wild else last[name]))
            batches.append((time - (40 * SECOND if random.random() < 0.02 else 0), batch))
        walks += 1
        yield Input("walk", walks, time, pack(batches))


class OneByOne:
    """An engine that gets each batch of a series as an input of its own; `places` maps ids of the other engine's."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.places: dict[str, str] = {}

    def put(self, place: str, given: Input) -> list[e.AnyEvent]:
        number = self.engine.sources.get(given.source, 0) + 1
        self.places[place] = str(self.engine.offered + 1)
        command = given.command
        if not isinstance(command, c.Marks | c.LoadRulebook):
            said = msgspec.to_builtins(command, builtin_types=(bytes,))
            command = msgspec.convert(self.named(said), c.AnyCommand, builtin_types=(bytes,))
        if isinstance(command, c.ReviewMargin):
            command = msgspec.structs.replace(command, seq=self.seq(command.seq))
        return self.engine.apply(Input(given.source, number, given.time, command))

    def seq(self, other: int) -> int:
        return int(self.places.get(str(other), other))

    def named(self, value: Any) -> Any:
        """What the other engine said, with the numbers of this one's inputs."""
        match value:
            case str():
                said = PLACE.sub(lambda found: self.places.get(found[1], found[1]), value)
                return INPUT.sub(lambda found: self.places.get(found[0], found[0]), said)
            case dict():
                return {self.named(k): self.numbered(k, v) for k, v in value.items()}  # pyright: ignore
            case list() | tuple():
                return [self.named(part) for part in value]  # pyright: ignore
            case _:
                return value

    def numbered(self, key: Any, value: Any) -> Any:
        if key in ("input", "sources", "offered", "seq"):
            return None
        if key == "margin_set_by":
            return self.seq(value)
        if key == "reviews":
            return [[self.seq(seq), *raised] for seq, *raised in value]
        if key == "receipt" and isinstance(value, bytes):
            value = msgspec.json.decode(value)
        return self.named(value)


def plain(events: list[e.AnyEvent]) -> list[Any]:
    return [msgspec.to_builtins(event) for event in events]


def image_of(engine: Engine, names: OneByOne) -> Any:
    """The state's image without the numbers of sources and inputs."""
    return names.named(msgspec.msgpack.decode(engine.snapshot()))


def compare(inputs: Iterator[Input], reached: Counter[str]) -> None:
    engine, other, unnamed = Engine(), OneByOne(), OneByOne()
    for given in inputs:
        events = engine.apply(given)
        if isinstance(events[0] if events else None, e.Rejected) and events[0].code in OUT_OF_TURN:  # pyright: ignore
            continue
        if not isinstance(given.command, c.MarkSeries) or 0 in refused(events):
            if not isinstance(given.command, c.MarkSeries):
                expected = other.put(f"{engine.offered}", given)
                assert other.named(plain(events)) == unnamed.named(plain(expected))
            continue
        wanted: list[Any] = []
        for number, (time, marks) in enumerate(unpack(given.command), 1):
            if time > given.time:
                found: list[e.AnyEvent] = [e.Rejected("", "time_ahead", "")]
            else:
                single = Input(given.source, 1, time, c.Marks(marks))
                found = other.put(f"{engine.offered}.{number}", single)
            reached.update(type(event).__name__ for event in found)
            reached["batches"] += 1
            wanted += plain([e.SeriesBatch("", number, time), *found] if found else [])
        assert without_place(other.named(plain(events))) == without_place(unnamed.named(wanted))
        reached["series with several batches that have events"] += sum(x[0] == "SeriesBatch" for x in wanted) > 1
    assert engine.imbalances() == []
    assert image_of(engine, other) == image_of(other.engine, unnamed)
    assert Engine.restore(engine.snapshot()).snapshot() == engine.snapshot()


def without_place(events: list[Any]) -> list[Any]:
    """Rejections say their batch in a series."""
    return [
        [*event[:3], "" if event[2] == "time_ahead" else event[3].split(": ", event[3].startswith("batch "))[-1]]
        if event[0] == "Rejected"
        else event
        for event in events
    ]


@pytest.mark.rule("G-06", "G-09", "G-19", "G-03")
def test_a_series_gives_the_events_and_books_of_its_batches() -> None:
    """Equal but for the numbers of inputs, which ids of close-outs and receipts carry: these are mapped."""
    reached: Counter[str] = Counter()
    for seed, inputs in enumerate(streams()):
        document = next(given.command.document for given in inputs if isinstance(given.command, c.LoadRulebook))
        setting = next(setting for setting in (*SETTINGS, *WATERFALLS) if setting.document == document)
        compare(with_walks(inputs, setting.prices, Random(seed)), reached)
    print(dict(reached))
    for name in ("LevelChanged", "CloseOutOrder", "Rejected", "Alarm", "CloseOutQueued"):
        assert reached[name] >= 15, name
    assert reached["series with several batches that have events"] >= 100


marks = st.builds(Mark, st.sampled_from(("ONE", "TWO", "")), st.none() | st.integers(-(2**62), 2**62))


@pytest.mark.rule("G-19")
@drawn(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.lists(marks, max_size=4)), min_size=1, max_size=6))
def test_what_is_packed_comes_out(batches: list[tuple[int, list[Mark]]]) -> None:
    packed = pack(batches)
    assert [(time, list(found)) for time, found in unpack(packed)] == batches
    (again,) = c.DECODER.decode(c.ENCODER.encode([Input("feed", 1, 1, packed)]))
    assert again.command == packed
