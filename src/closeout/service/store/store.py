"""The store: a projection of the journal for everybody who reads, and the outbox (rules G-11, G-16, US-22).

`project` turns batches into rows, in the journal's order; what it has already is skipped. All of it can be made again
from the journal but the delivery of effects, the acknowledgement of alarms, proposals, the access log and the days.
Synchronous: the service calls it in worker threads. Any thread may call anything; writers wait for each other.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import pairwise, takewhile
from typing import Self, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from closeout.core.times import MINUTE
from closeout.core.units import InputError
from closeout.engine.commands import AnyCommand
from closeout.engine.events import DECODER
from closeout.service.applied import Batch
from closeout.service.store.database import Database, open_database
from closeout.service.store.desk import Desk
from closeout.service.store.effects import Effects
from closeout.service.store.lists import page_of, page_query
from closeout.service.store.projection import rows_of
from closeout.service.store.records import Page, Query, Receipt, Reply
from closeout.service.store.schema import columns, projection, receipt, reply
from closeout.service.writer import Answer, command_digest

R = TypeVar("R", bound=Struct)

KEEP_REPLIES = 24 * 60 * MINUTE
COMMAND_DECODER = msgspec.msgpack.Decoder(AnyCommand)


class Store(Effects, Desk):
    """`projected_seq` is the last input whose consequences are durable here. With `webhooks` the events that others
    subscribe to become effects as well."""

    def __init__(self, database: Database, *, webhooks: bool = False) -> None:
        super().__init__(database)
        self._webhooks = webhooks
        with database.read() as connection:
            self.projected_seq: int = connection.execute(select(projection.c.seq)).scalar_one()

    @classmethod
    def open(cls, url: str, *, webhooks: bool = False) -> Self:
        """Open or make the store at ``sqlite:///PATH`` or ``postgresql://...``, its schema brought up to date;
        `InputError` where that cannot be."""
        return cls(open_database(url), webhooks=webhooks)

    def close(self) -> None:
        self._database.close()

    def read(self) -> AbstractContextManager[Connection]:
        """A connection for queries on `schema`'s tables, such as reports. It sees the state at its first query."""
        return self._database.read()

    # -- the projection ------------------------------------------------------------------------------

    def project(self, batch: Batch) -> None:
        """Take a batch in, all or nothing. `InputError` if inputs are missing before it: the store belongs to an
        earlier state of the journal and must be fed from there."""
        with self._database.write() as connection:
            at = select(projection.c.seq, projection.c.rebuilt_to).with_for_update()
            done, rebuilt_to = connection.execute(at).one()
            new = [item for item in batch if item.seq > done]
            if new:
                _check_order(done, [item.seq for item in new])
                for table, rows in rows_of(new, webhooks=self._webhooks, rebuilt_to=rebuilt_to).items():
                    connection.execute(insert(table), rows)
                done = new[-1].seq
                connection.execute(update(projection).values(seq=done))
        self.projected_seq = done

    def rebuild_to(self, seq: int) -> None:
        """Say, before a new store is fed from a journal that goes up to `seq`, that the store which followed it so far
        is lost. What follows from these inputs may have gone out: its orders and cancels then count as under way, so
        that the venue is asked, and its mail as parked; nothing is blindly sent a second time (G-16)."""
        with self._database.write() as connection:
            connection.execute(update(projection).values(rebuilt_to=seq))

    # -- replies -------------------------------------------------------------------------------------

    def find_reply(self, source: str, key: str) -> Reply | None:
        """The first answers to an idempotency key. Inputs with one key that follow each other, the commands of one
        file, are one request."""
        query = select(reply.c.seq, reply.c.time, reply.c.command, reply.c.events)
        query = query.where(reply.c.source == source, reply.c.key == key).order_by(reply.c.seq)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        first = [row for _, row in takewhile(lambda pair: pair[1].seq == rows[0].seq + pair[0], enumerate(rows))]
        if not first:
            return None
        commands = [COMMAND_DECODER.decode(row.command) for row in first]
        answers = tuple(Answer(row.seq, row.time, DECODER.decode(row.events)) for row in first)
        return Reply(command_digest(commands), answers)

    def reply_keys(self) -> list[tuple[str, str]]:
        """Every (source, key) that `find_reply` knows."""
        with self._database.read() as connection:
            rows = connection.execute(select(reply.c.source, reply.c.key).distinct()).all()
        return [(source, key) for source, key in rows]

    def prune(self, now_ns: int) -> int:
        """Forget replies older than a day; how many inputs' answers went."""
        with self._database.write() as connection:
            return connection.execute(delete(reply).where(reply.c.time < now_ns - KEEP_REPLIES)).rowcount

    # -- lists ---------------------------------------------------------------------------------------

    def page(self, record: type[R], query: Query | None = None) -> Page[R]:
        """One page of a list: `record` is one of `schema.LISTS`, such as `Posting`. `InputError` for a bad cursor or
        limit, `KeyError` for a column in `matching` that the list has not."""
        query = query or Query()
        with self._database.read() as connection:
            rows = list(connection.execute(page_query(record, query)))
        return page_of(record, rows, query.limit)

    def receipt(self, receipt_id: str) -> Receipt | None:
        with self._database.read() as connection:
            row = connection.execute(
                select(*columns(receipt, Receipt)).where(receipt.c.receipt_id == receipt_id)
            ).one_or_none()
        return None if row is None else Receipt(*row)


def _check_order(done: int, seqs: list[int]) -> None:
    for before, seq in pairwise([done, *seqs]):
        if seq != before + 1:
            raise InputError(f"store: holds the journal up to input {before}, cannot go on with input {seq}")
