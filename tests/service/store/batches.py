"""Batches for the store's tests, and a look at everything that a store holds.

As a script it projects `story` into a store, and prints each input that has become durable, until it is killed.
"""

import random
import sys
from typing import Any

from sqlalchemy import delete, select, update

from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.service.applied import Applied
from closeout.service.store import Store
from closeout.service.store.schema import METADATA, projection

STORY = 5_000
"""Inputs in the story."""


def applied(
    seq: int, *events: ev.AnyEvent, command: Any = None, source: str = "service", key: str = "", time: int | None = None
) -> Applied:
    """Input `seq`, at `seq` times ten unless said otherwise, and its events."""
    given = c.Input(source, seq, 10 * seq if time is None else time, c.Tick() if command is None else command, key)
    return Applied(seq, given, list(events))


def story_item(seq: int) -> Applied:
    """Input `seq` of a story that is always the same: quiet marks, keyed deposits, close-outs, fills."""
    chance = random.Random(seq)
    account = f"A{chance.randrange(20)}" + chance.choice(["", "", "/BTC"])
    match chance.randrange(4):
        case 0:
            command = c.Marks((c.Mark("BTC", seq),))
            return applied(seq, command=command, source="feed:x")
        case 1:
            posted = ev.Posted(account, "segregated_bank", "customer_cash", "USD", seq, "deposit")
            return applied(seq, posted, command=c.Deposit(account, seq), source="key:desk", key=f"k{seq}")
        case 2:
            command = c.Fill(account, "BTC", -1, seq, f"{seq}-o", f"{seq}-f")
            return applied(seq, ev.Posted(account, "a", "b", "USD", 1, "fee"), command=command, source="venue:paper")
        case _:
            events = (
                ev.LevelChanged(account, "normal", "liquidating", seq, 2 * seq, -seq),
                ev.CancelOrders(account, (f"{seq}-w",), "close-out"),
                ev.CloseOutOrder(account, f"{seq}-{account}-1", f"{seq}-{account}", "BTC", -seq),
                ev.CloseOutEnded(account, f"{seq}-{account}", {"receipt_id": f"{seq}-{account}"}),
                ev.Notice(account, "liquidation", f"{seq}-{account}"),
            )
            return applied(seq, *events)


def story(first: int, last: int) -> list[Applied]:
    return [story_item(seq) for seq in range(first, last + 1)]


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, sorted."""
    with store._database.read() as connection:
        return {
            table.name: sorted(tuple(row) for row in connection.execute(select(table)))
            for table in METADATA.sorted_tables
        }


def wipe(store: Store) -> None:
    """Make an opened store new again."""
    with store._database.write() as connection:
        for table in METADATA.sorted_tables:
            connection.execute(update(projection).values(seq=0, rebuilt_to=0) if table is projection else delete(table))
    store.projected_seq = 0


if __name__ == "__main__":
    opened = Store.open(sys.argv[1])
    chance = random.Random()
    while opened.projected_seq < STORY:
        last = min(STORY, opened.projected_seq + chance.randrange(1, 40))
        opened.project(story(opened.projected_seq + 1, last))
        print(opened.projected_seq, flush=True)
    opened.close()
