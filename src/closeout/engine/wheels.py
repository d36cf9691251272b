"""Triggers, compiled: the prices before which an account cannot have come to another level.

A position's *triggers* are two prices, above and below the present one, before which its account cannot have come to
another level as far as this position goes: the account's slack to each line that it could cross is shared out among its
positions, and a trigger is the first tick at which its position could have used up a share. Each contract has two
wheels of buckets, one for either direction: bucket ``(price >> shift) mod size``, with a bitmap over them. No trigger
lies further than half a turn from the price it was set at, so a wheel needs neither a window nor an overflow list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from closeout.engine.kernels import (
    ANCHORED,
    ASIDE,
    BY_ENTRY,
    FLOOR,
    FREE,
    HAS_FLOOR,
    HOUSE,
    MARK,
    PRICED,
    RATE,
    SHIFT,
    SIZE,
    UNITS_PER_MICRO,
    WHEEL,
    WINDOW,
    Braked,
    Columns,
    Tables,
    assess,
    compiled,
    inlined,
    is_spread,
    kept_back,
    level_of,
    line_of,
    mul_div_floor,
    now_of,
    required_of,
    watch,
)
from closeout.engine.state import Batches
from closeout.engine.triggers import DOWN, UP, never_loses, safe_distance, segment_of


class Wheels(NamedTuple):
    """Nodes are 2 x position row, + 1 for the trigger below the price; links are node + 1. `loose` lists the accounts
    that have no triggers, `anchored` says which have; `hits` is room to collect in. `counts`: see below."""

    trigger: Any
    after: Any
    before: Any
    head: Any
    bits: Any
    loose: Any
    anchored: Any
    hits: Any
    counts: Any


# Entries of `Wheels.counts`
LOOSE, CROSSED, LOOKED_AT, GIVEN, PAUSE, WAITED, FOUND = range(7)
COUNTS = 7
NOWHERE = -1
"""Of a node that is in no bucket, the link to the one before it."""


# -- the wheels --------------------------------------------------------------------------------------


@inlined
def place_of(facts: Any, c: int, node: int, trigger: int) -> int:
    """The bucket of a trigger: wheels lie one after another, each contract's two halves too."""
    size = facts[c, SIZE]
    return facts[c, WHEEL] + (node & 1) * size + ((trigger >> facts[c, SHIFT]) & (size - 1))


@inlined
def insert(facts: Any, wheels: Wheels, c: int, node: int, trigger: int) -> None:
    bucket = place_of(facts, c, node, trigger)
    head = wheels.head[bucket]
    wheels.trigger[node] = trigger
    wheels.after[node], wheels.before[node] = head, 0
    if head:
        wheels.before[head - 1] = node + 1
    else:
        wheels.bits[bucket >> 6] |= np.uint64(1) << np.uint64(bucket & 63)
    wheels.head[bucket] = node + 1


@inlined
def remove(facts: Any, wheels: Wheels, c: int, node: int) -> None:
    after, before = wheels.after[node], wheels.before[node]
    if before:
        wheels.after[before - 1] = after
    else:
        bucket = place_of(facts, c, node, wheels.trigger[node])
        wheels.head[bucket] = after
        if after == 0:
            wheels.bits[bucket >> 6] &= ~(np.uint64(1) << np.uint64(bucket & 63))
    if after:
        wheels.before[after - 1] = before
    wheels.before[node] = NOWHERE


@compiled
def loosen(tables: Tables, book: Columns, wheels: Wheels, account: int) -> None:
    """Take an account's triggers away: it is looked at each time until it has new ones."""
    held = wheels.anchored[account]
    if held != ANCHORED and held != ASIDE:
        return
    wheels.anchored[account] = FREE
    wheels.loose[wheels.counts[LOOSE]] = account
    wheels.counts[LOOSE] += 1
    link = book.first[account] if account < len(book.first) else 0
    while link:
        row = link - 1
        for node in (2 * row, 2 * row + 1):
            if wheels.before[node] >= 0:
                remove(tables.facts, wheels, book.contract[row], node)
        link = book.next[row]


@compiled
def loosen_all(tables: Tables, book: Columns, wheels: Wheels, accounts: Any) -> None:
    for account in accounts:
        loosen(tables, book, wheels, account)


# Columns of the room for an account's positions in `anchor`
ROW, WEIGHT, PROFIT, PART, PART_ABOVE, SEGMENT = range(6)


@compiled
def set_aside(tables: Tables, book: Columns, wheels: Wheels, accounts: Any) -> None:
    """Look at accounts no more until they are loosened."""
    for account in accounts:
        loosen(tables, book, wheels, account)
        if wheels.anchored[account] == FREE:
            wheels.anchored[account] = ASIDE
    kept = 0
    for place in range(wheels.counts[LOOSE]):
        account = wheels.loose[place]
        wheels.loose[kept] = account
        kept += wheels.anchored[account] == FREE
    wheels.counts[LOOSE] = kept


@compiled
def drop_all(wheels: Wheels, accounts: int) -> None:
    """Empty the wheels; every account that is judged is loose."""
    wheels.head[:] = 0
    wheels.bits[:] = 0
    wheels.before[:] = NOWHERE
    loose = 0
    for account in range(accounts):
        if wheels.anchored[account] != HOUSE:
            wheels.anchored[account] = FREE
            wheels.loose[loose] = account
            loose += 1
    wheels.counts[LOOSE] = loose


@compiled
def anchor(tables: Tables, book: Columns, wheels: Wheels, account: int, net_liq: int, level: int, room: Any) -> None:
    """Give a loose account that is not below its auto-liquidation line its triggers. Its slack to the next line down,
    to the line above and to the floor is shared out by what each position is worth, none weighing less than a 64th of
    all. Lines are taken as sums of the positions' own parts, each rounded up: no less than the line itself, and less
    than a micro a position more."""
    facts, limits = tables.facts, tables.limits
    count, positions, total, next_line, line_above = 0, 0, 0, 0, 0
    link = book.first[account]
    while link:
        row = link - 1
        link = book.next[row]
        lots, cost = book.lots[row], book.cost[row]
        if lots == 0:
            continue
        c = book.contract[row]
        profit, worth = now_of(tables, c, lots, cost)
        required, window = required_of(tables, c, lots, worth), facts[c, WINDOW]
        part = line_of(required, tables.windows[window, level])
        part_above = line_of(required, tables.windows[window, level - 1]) if level else 0
        next_line, line_above, positions = next_line + part, line_above + part_above, positions + 1
        if facts[c, PRICED]:
            weight = abs(cost) // facts[c, UNITS_PER_MICRO] if facts[c, BY_ENTRY] else worth
            room[count, ROW], room[count, WEIGHT], room[count, PROFIT] = row, weight, profit
            room[count, PART], room[count, PART_ABOVE] = part, part_above
            room[count, SEGMENT] = segment_of(tables, c, worth)
            total += weight
            count += 1
    shift = 0
    while total >> shift >= 2**24:
        shift += 1
    total >>= shift
    least = max(1, total >> 6)
    total += count * (least + 1)
    slack = max(net_liq - next_line, 0), max(line_above - net_liq - positions - 1, 0), net_liq - limits[FLOOR] - 1
    for place in range(count):
        weight = (room[place, WEIGHT] >> shift) + least
        down = mul_div_floor(slack[0], weight, total)
        up = mul_div_floor(slack[1], weight, total) if level else 0
        floor = mul_div_floor(max(slack[2], 0), weight, total) if limits[HAS_FLOOR] else 0
        row = room[place, ROW]
        c = book.contract[row]
        position = (c, book.lots[row], book.cost[row])
        profit, segment, price = room[place, PROFIT], room[place, SEGMENT], facts[c, MARK]
        for direction in (UP, DOWN):
            if level == 0 and never_loses(tables, c, position[1], direction, (down, floor)):
                continue
            here = (profit, room[place, PART], segment)
            safe = safe_distance(tables, position, direction, level, False, down, here)
            if level and safe:
                here = (profit, room[place, PART_ABOVE], segment)
                safe = min(safe, safe_distance(tables, position, direction, level - 1, True, up, here))
            if limits[HAS_FLOOR] and safe:
                here = (profit, 0, segment)
                safe = min(safe, safe_distance(tables, position, direction, 3, False, floor, here))
            trigger = price + safe + 1 if direction == UP else price - safe - 1
            insert(facts, wheels, c, 2 * row + direction, trigger)


# -- marks -------------------------------------------------------------------------------------------


@compiled
def collect(facts: Any, wheels: Wheels, c: int, old: int, new: int, found: int) -> int:
    """Put the nodes whose triggers lie between two marks into `hits` from place `found` on; returns how many there are
    now, or -1 where there is no more room."""
    size, shift = facts[c, SIZE], facts[c, SHIFT]
    half = UP if new > old else DOWN
    base = facts[c, WHEEL] + half * size
    first = (old + 1) >> shift if half == UP else new >> shift
    last = new >> shift if half == UP else (old - 1) >> shift
    last = min(last, first + size - 1)
    turn = first
    while turn <= last:
        bucket = base + (turn & (size - 1))
        word = wheels.bits[bucket >> 6] >> np.uint64(bucket & 63)
        if word == 0:
            turn += 64 - (bucket & 63)
            continue
        if not word & np.uint64(1):
            turn += 1
            continue
        link = wheels.head[bucket]
        while link:
            trigger = wheels.trigger[link - 1]
            if (half == UP and trigger <= new) or (half == DOWN and trigger >= new):
                if found == len(wheels.hits):
                    return -1
                wheels.hits[found] = link - 1
                found += 1
            link = wheels.after[link - 1]
        turn += 1
    return found


@compiled
def take(tables: Tables, book: Columns, wheels: Wheels, contracts: Any, marks: Any, begin: int, end: int) -> bool:
    """Take in the marks ``begin:end`` as one batch and loosen every account of which they cross a trigger. False where
    so many are crossed that the triggers had better all be dropped; the marks are in all the same."""
    found, fits = 0, True
    for place in range(begin, end):
        c = contracts[place]
        old = tables.facts[c, MARK]
        tables.facts[c, MARK] = marks[place]
        if fits and marks[place] != old:
            found = collect(tables.facts, wheels, c, old, marks[place], found)
            fits = found >= 0
    if not fits:
        return False
    for place in range(found):
        loosen(tables, book, wheels, book.account[wheels.hits[place] >> 1])
    wheels.counts[CROSSED] += found
    if 4 * found > len(wheels.hits):  # new triggers would be crossed at once again: wait, longer each time
        wait(wheels)
    return True


@compiled
def wait(wheels: Wheels) -> None:
    wheels.counts[PAUSE] = min(2 * wheels.counts[PAUSE] + 1, 63)
    wheels.counts[WAITED] = 0


@compiled
def look(
    tables: Tables, book: Columns, wheels: Wheels, known: Any, found: Any, quota: int, sums: Any, room: Any
) -> int:
    """Look at every loose account. Those whose level is not the stored one go to `found`, whose number is returned; up
    to `quota` of the others get triggers. `known`: the level of every account, worked out already, or nothing."""
    if wheels.counts[WAITED] < wheels.counts[PAUSE]:
        wheels.counts[WAITED] += 1
        quota = 0
    elif wheels.counts[LOOSE]:
        wheels.counts[PAUSE] >>= 1
        wheels.counts[WAITED] = wheels.counts[PAUSE]
    kept, changed, anchored = 0, 0, 0
    for place in range(wheels.counts[LOOSE]):
        account = wheels.loose[place]
        stay, asked = True, len(known) == 0
        if not asked and known[account] == book.level[account] and anchored < quota:
            asked = not is_spread(tables, book, account, 0)
        if asked:
            net_liq, alert, liquidate_only, auto, positions = assess(tables, book, account, sums)
            own = level_of(tables, net_liq, alert, liquidate_only, auto, positions)
            level = kept_back(tables, book.flags[account], own)
            at_rest = level == book.level[account] and own < 3
            if at_rest and anchored < quota and not is_spread(tables, book, account, positions):
                if positions:
                    anchor(tables, book, wheels, account, net_liq, own, room)
                wheels.anchored[account] = ANCHORED
                anchored += 1
                stay = False
        else:
            level = known[account]
        if level != book.level[account]:
            found[changed] = account
            changed += 1
        if stay:
            wheels.loose[kept] = account
            kept += 1
    wheels.counts[LOOKED_AT] += wheels.counts[LOOSE]
    wheels.counts[GIVEN] += anchored
    wheels.counts[LOOSE], wheels.counts[FOUND] = kept, changed
    return changed


# -- a series of batches -----------------------------------------------------------------------------


# Columns of `following`, a row for each contract: what a series moves along of it
GOOD_MARK, PREVIOUS, MARKED_AT, LOWEST, HIGHEST, BATCH = range(6)
UNTOUCHED, CROWDED, CHANGED = range(3)
"""How a run ended: before a batch that is not plain, or within one, of which the marks are in: because too many
triggers were crossed, or because accounts change level or a brake trips."""


@compiled
def is_plain(tables: Tables, batches: Batches, batch: int, now: int, guard: int, following: Any) -> bool:
    """Whether a batch can be taken in without a second thought: in time, every contract once, priced before, in bounds,
    and no jump (G-06)."""
    if batches.times[batch] < now or batches.times[batch] > batches.until:
        return False
    begin = batches.ends[batch - 1] if batch else 0
    for place in range(begin, batches.ends[batch]):
        c, ticks = batches.contracts[place], batches.ticks[place]
        if c < 0 or not tables.facts[c, PRICED] or following[c, BATCH] == batch:
            return False
        following[c, BATCH] = batch
        if ticks < following[c, LOWEST] or ticks > following[c, HIGHEST]:
            return False
        mark, good = tables.facts[c, MARK], following[c, GOOD_MARK]
        jumps = guard >= 0 and abs(ticks - mark) > mul_div_floor(abs(mark), guard, RATE)
        if jumps and abs(ticks - good) > mul_div_floor(abs(good), guard, RATE):
            return False
    return True


@compiled
def run(
    tables: Tables,
    book: Columns,
    wheels: Wheels,
    batches: Batches,
    first: int,
    now: int,
    guard: int,
    following: Any,
    brakes: Braked,
    room: tuple[Any, Any, Any, Any],
    quota: int,
) -> tuple[int, int]:
    """Take in batch after batch from `first` on, as long as they are plain, nobody changes level and no brake trips;
    returns the batch at which that ended (or their number) and how. The brakes' peaks are raised after each batch but
    one at which accounts change level or that is crowded: whoever judges them raises the peaks first. `guard`: the jump
    guard, -1 for none. `room`: what `look` needs."""
    known, found, sums, positions = room
    for batch in range(first, len(batches.times)):
        if not is_plain(tables, batches, batch, now, guard, following):
            return batch, UNTOUCHED
        begin, now = batches.ends[batch - 1] if batch else 0, batches.times[batch]
        for place in range(begin, batches.ends[batch]):
            c = batches.contracts[place]
            following[c, PREVIOUS], following[c, MARKED_AT] = tables.facts[c, MARK], now
            following[c, GOOD_MARK] = batches.ticks[place]
        if not take(tables, book, wheels, batches.contracts, batches.ticks, begin, batches.ends[batch]):
            return batch, CROWDED
        changed = wheels.counts[FOUND] = 0
        if wheels.counts[LOOSE]:
            changed = look(tables, book, wheels, known, found, quota, sums, positions)
        if changed or watch(tables, book, brakes, wheels.anchored):
            return batch, CHANGED
    return len(batches.times), UNTOUCHED
