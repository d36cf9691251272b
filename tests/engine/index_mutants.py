"""Run by test_index_mutants.py without Numba's compiler: the walks of `index_walk`, or the twins of `index_twins` where
a fault shows in series of marks, against an index with one fault in its source. Prints as JSON, by mutant, what they
said of it ("" where nothing was noticed), and under "" what they said of the index as it is. What costs only time is no
fault here.

A mutant is a function, a piece of its source that stands there once, and what is put in its place.
"""

from __future__ import annotations

import inspect
import json
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from tests.engine.index_books import starts
from tests.engine.index_twins import Twins
from tests.engine.index_walk import SMALL, Size, Walk

from closeout.engine import index, kernels, series, triggers, wheels
from closeout.engine.index import Index

SECONDS = 4
"""A walk that needs so much of the processor goes round in circles."""
RIGHT = range(2)
"""Seeds of the walks that are taken with the index as it is."""


class Mutant(NamedTuple):
    """What is wrong, in which function (methods are the index's), what stands there, what stands there instead, and in
    which book it shows."""

    name: str
    function: str
    before: str
    after: str
    book: str = "mechanisms"


STARTS = starts()
LINEAR = "kraken-linear"
MUTANTS = (
    Mutant("no new triggers after a fill or a payment", "_take_moved",
           "[np.fromiter(table.moved, np.int64, len(table.moved))]", "[EMPTY]"),
    Mutant("no new triggers after what happens to everybody", "_take_moved", "if table.all_moved or most", "if most"),
    Mutant("no room for what is new before the marks", "_take_in", "self._grow()", "pass"),
    Mutant("no look after a change of terms", "_take_moved",
           "rows += [self.contracts[number].holders() for number in stale]", "pass"),
    Mutant("whose triggers are void is not looked at", "kernels.verdicts",
           "(everybody and held == ANCHORED)", "False"),
    Mutant("only half of a large book", "_look", "*given, 0, count // 2, known", "*given, 0, 0, known"),
    Mutant("no look after a first mark", "_take_in", "stale.append(number)", "pass"),
    Mutant("a change of window is not noticed", "index._same", "or contract.window is not terms.window", ""),
    Mutant("a change of margin is not noticed", "index._same", "or contract.tiers is not terms.tiers", ""),
    Mutant("news is not noticed", "index._same", "return contract.news == terms.news", "return True"),
    Mutant("the desk's switch is not noticed", "_pack_limits",
           "limits[kernels.DESK_HELD] = bool(self.state.desk & Flag.HELD)", "pass"),
    Mutant("desk orders to liquidate are not noticed", "kernels.kept_back", " and not flags & LIQUIDATE_NOW", ""),
    Mutant("margin that falls is taken for margin that rises", "index._rises",
           "return all(", "return True or all(", "falls"),
    Mutant("slopes are taken for straight lines", "index._shape",
           "return triggers.BENT", "return triggers.STRAIGHT", "bent"),
    Mutant("news is taken for a straight line", "index._shape",
           "return triggers.CONCAVE", "return triggers.STRAIGHT", "kink"),
    Mutant("jumps of margin cost a winner nothing", "index._is_mild", "not any(steps) and", ""),
    Mutant("steep margin costs a winner nothing", "index._is_mild", "and steepest <= terms.window.alert", ""),
    Mutant("losers never lose", "triggers.never_loses", "(lots > 0) == (direction == UP)", "True"),
    Mutant("roundings cost a winner nothing", "triggers.never_loses", "least >= limits[ROUNDINGS]", "True", "tiny"),
    Mutant("winners have no way back up", "wheels.anchor", "if level == 0 and never_loses(", "if never_loses("),
    Mutant("one tick too far", "wheels.anchor", "price + safe + 1 if direction == UP else price - safe - 1",
           "price + safe + 2 if direction == UP else price - safe - 2"),
    Mutant("one tick too far up", "wheels.anchor", "price + safe + 1 if", "price + safe + 2 if"),
    Mutant("one tick too far down", "wheels.anchor", "price - safe - 1", "price - safe - 2"),
    Mutant("the wrong direction", "wheels.anchor", "if direction == UP else", "if direction == DOWN else"),
    Mutant("no triggers above", "wheels.anchor", "for direction in (UP, DOWN):", "for direction in (DOWN,):"),
    Mutant("no triggers below", "wheels.anchor", "for direction in (UP, DOWN):", "for direction in (UP,):"),
    Mutant("the floor is forgotten", "wheels.anchor", "if limits[HAS_FLOOR] and safe:", "if False:"),
    Mutant("the way back up is forgotten", "wheels.anchor", "if level and safe:", "if False:"),
    Mutant("everybody gets all of the slack", "wheels.anchor", "mul_div_floor(slack[0], weight, total)", "slack[0]"),
    Mutant("everybody gets all of the gain", "wheels.anchor", "mul_div_floor(slack[1], weight, total)", "slack[1]"),
    Mutant("roundings cost nothing", "triggers.safe_distance", "share -= tables.limits[ROUNDINGS]", "pass", "tiny"),
    Mutant("no requirement where a tier begins", "triggers.used",
           "return max(-profit, 0) + max(line, 0)", "return max(-profit, 0)"),
    Mutant("no relief where a tier ends", "triggers.used",
           "return max(profit, 0) + max(-line, 0)", "return max(profit, 0)"),
    Mutant("tiers are not seen", "triggers.segment_of",
           "segment = tier_at(tiers, facts[c, TIERS], facts[c, TIERS_END], worth)", "segment = 0"),
    Mutant("news gains in a straight line", "triggers.used",
           "(shape == CONCAVE and not gains)", "shape == CONCAVE", "kink"),
    Mutant("prices beyond zero", "triggers.reach_of", "reach = min(reach, abs(price))", "pass", "steep"),
    Mutant("the bitmap is not set", "wheels.insert",
           "wheels.bits[bucket >> 6] |= np.uint64(1) << np.uint64(bucket & 63)", "pass"),
    Mutant("the bitmap is cleared too soon", "wheels.remove", "if after == 0:", "if True:"),
    Mutant("who comes next is forgotten", "wheels.remove", "wheels.after[before - 1] = after", "pass"),
    Mutant("who came before is forgotten", "wheels.remove", "wheels.before[after - 1] = before", "pass"),
    Mutant("only the first of a bucket", "wheels.collect", "link = wheels.after[link - 1]", "link = 0"),
    Mutant("the other half of the wheel", "wheels.collect", "half = UP if new > old", "half = UP if new < old"),
    Mutant("half a turn at most", "wheels.collect", "first + size - 1", "first + size // 2 - 1"),
    Mutant("the first bucket is left out", "wheels.collect",
           "turn = first\n", "turn = first + 1\n"),
    Mutant("the last bucket is left out", "wheels.collect", "while turn <= last:", "while turn < last:"),
    Mutant("the mark itself is left out", "wheels.collect",
           "(half == UP and trigger <= new) or (half == DOWN and trigger >= new)",
           "(half == UP and trigger < new) or (half == DOWN and trigger > new)"),
    Mutant("words of the bitmap are skipped", "wheels.collect", "turn += 64 - (bucket & 63)", "turn += 64"),
    Mutant("only the first mark of a batch", "_take_in",
           "np.array(marked), np.array([self.contracts[number].mark for number in marked])",
           "np.array(marked[:1]), np.array([self.contracts[number].mark for number in marked[:1]])"),
    Mutant("triggers are left behind", "wheels.loosen",
           "for node in (2 * row, 2 * row + 1):", "for node in (2 * row,):"),
    Mutant("triggers for whoever changes level", "wheels.look",
           "level == book.level[account] and own < 3", "own < 3"),
    Mutant("triggers for whoever is below his line", "wheels.look", " and own < 3", ""),
    Mutant("triggers for whoever holds both sides of a netting group", "kernels.is_spread",
           "return longs & shorts != 0", "return False", "netting"),
    Mutant("once the requirement is taken for twice", "kernels.assess", "net_liq >= 2 * required",
           "net_liq >= required"),
    Mutant("netting is left out", "kernels.assess", "max(sums[place], sums[place + 1])",
           "sums[place] + sums[place + 1]", "netting"),
)  # fmt: skip
IN_SERIES = (
    Mutant("a batch before the last", "wheels.is_plain", "batches.times[batch] < now or ", "", LINEAR),
    Mutant("a batch after its input", "wheels.is_plain", " or batches.times[batch] > batches.until", "", LINEAR),
    Mutant("a contract that the rulebook has not", "wheels.is_plain", "c < 0 or ", "", LINEAR),
    Mutant("a contract twice", "wheels.is_plain", " or following[c, BATCH] == batch", "", LINEAR),
    Mutant("a lost mark, or one too low", "wheels.is_plain", "ticks < following[c, LOWEST] or ", "", LINEAR),
    Mutant("a mark too high", "wheels.is_plain", " or ticks > following[c, HIGHEST]", "", LINEAR),
    Mutant("a jump", "wheels.is_plain", "if jumps and", "if False and"),
    Mutant("time stands still in a run", "wheels.run", "else 0, batches.times[batch]", "else 0, now", LINEAR),
    Mutant("the good mark stays", "wheels.run", "following[c, GOOD_MARK] = batches.ticks[place]", "pass", LINEAR),
    Mutant("the previous mark is another", "wheels.run",
           "= tables.facts[c, MARK], now", "= batches.ticks[place], now", LINEAR),
    Mutant("a crowd is passed over", "wheels.run", "return batch, CROWDED", "continue", LINEAR),
    Mutant("nobody is looked at", "wheels.run", "if wheels.counts[LOOSE]:", "if False:", LINEAR),
    Mutant("a run goes on after a change", "wheels.run", "return batch, CHANGED", "continue", LINEAR),
    Mutant("set aside, and loose all the same", "wheels.set_aside", "kept += wheels.anchored[account] == FREE",
           "kept += 1"),
    Mutant("void triggers are followed", "advance", "self._lay_out()", "pass", LINEAR),
    Mutant("a batch of another time", "advance", "if batch + is_in > first:", "if batch + is_in >= first:", LINEAR),
    Mutant("a batch at the time of the one before", "advance", "batch - 1 + is_in", "batch - 1", LINEAR),
    Mutant("marks that were not taken in", "advance", "if marked_at:", "if True:", LINEAR),
    Mutant("a grade that stays", "advance", "contract.grade, contract.stale_told = Grade.OK, False", "pass", LINEAR),
    Mutant("a crowd keeps its triggers", "advance", "self._reset()", "pass", LINEAR),
    Mutant("nobody of a crowd changes", "advance", "return batch, self._look()", "return batch, EMPTY", LINEAR),
    Mutant("the wheels are not emptied", "_lay_out", "wheels.drop_all(drums, self.accounts)", "pass", LINEAR),
    Mutant("void triggers stay", "_reset", "self.void = True", "pass", LINEAR),
    Mutant("peaks stay", "kernels.watch",
           "brakes.peak[slot] = max(brakes.peak[slot], net_liq)", "pass", LINEAR),
    Mutant("no daily loss limit", "kernels.watch", "if day and", "if False and", LINEAR),
    Mutant("no weekly loss limit", "kernels.watch", "if week and", "if False and", LINEAR),
    Mutant("no trailing drawdown", "kernels.watch", "if drawdown and", "if False and", LINEAR),
    Mutant("a brake beside a change of level", "series.advance", "if state.book.brakes.count:", "if False:", LINEAR),
    Mutant("a close-out with a part queued", "series._runs",
           " and not any(book.close_outs[row].queued.values())", ""),
)  # fmt: skip


def walk(book: str, seed: int) -> None:
    Walk.of(seed, STARTS[book], SMALL).run()


def in_series(book: str, seed: int) -> None:
    Twins(seed, STARTS[book], Size(50, 30)).run()


JUDGES: tuple[tuple[tuple[Mutant, ...], Callable[[str, int], None], range], ...] = (
    (MUTANTS, walk, range(24)),
    (IN_SERIES, in_series, range(40)),
)
"""Who looks for which faults, and with which seeds."""


def owner_of(mutant: Mutant) -> tuple[Any, str]:
    """Whose function it is, and its name there."""
    module, _, name = mutant.function.rpartition(".")
    modules = {"index": index, "kernels": kernels, "series": series, "triggers": triggers, "wheels": wheels}
    return (modules[module] if module else Index), name


def written(mutant: Mutant) -> str:
    """The function's source with the fault in it."""
    owner, name = owner_of(mutant)
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    assert source.count(mutant.before) == 1, f"{mutant.name}: {mutant.before!r} stands elsewhere now"
    return source.replace(mutant.before, mutant.after)


@contextmanager
def put_in(mutant: Mutant) -> Iterator[None]:
    """The fault wherever the function is known."""
    owner, name = owner_of(mutant)
    home: Any = vars(index if owner is Index else owner)
    right, made = getattr(owner, name), dict[str, Any]()
    exec(compile(written(mutant), mutant.function, "exec"), home, made)  # noqa: S102
    places = [place for place in (Index, index, kernels, series, triggers, wheels) if vars(place).get(name) is right]
    for place in places:
        setattr(place, name, made[name])
    try:
        yield
    finally:
        for place in places:
            setattr(place, name, right)


def too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def noticed(judge: Callable[[str, int], None], book: str, seeds: range) -> str:
    """What the first walk that went wrong said."""
    for seed in seeds:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            judge(book, seed)
        except Exception as fault:  # whatever a faulty index does is a fault noticed
            return f"{book}, {seed}: {type(fault).__name__}: {fault}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return ""


def main(names: list[str]) -> dict[str, str]:
    """What was said of the index as it is, and of each mutant, or of those named alone."""
    signal.signal(signal.SIGVTALRM, too_long)
    said = {"": ""}
    for mutants, judge, seeds in JUDGES:
        said[""] += "".join(noticed(judge, book, RIGHT) for book in sorted({mutant.book for mutant in mutants}))
        for mutant in mutants:
            if not names or mutant.name in names:
                with put_in(mutant):
                    said[mutant.name] = noticed(judge, mutant.book, seeds)
    return said


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
