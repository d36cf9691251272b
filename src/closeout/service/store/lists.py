"""Pages of the store's lists. A cursor is the place of a page's last item; it stays good while new entries come in."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import ColumnElement, Select, Table, and_, or_, select, tuple_

from closeout.core.units import InputError
from closeout.service.store.records import Page, Query
from closeout.service.store.schema import LISTS, columns

R = TypeVar("R", bound=Struct)

MAX_LIMIT = 10_000
CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})", re.ASCII)


def page_query(record: type[Struct], query: Query) -> Select[Any]:
    """The SELECT of one page and one row more; `InputError` for a limit or cursor that is none."""
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InputError(f"limit: expected 1 to {MAX_LIMIT}, got {query.limit}")
    table = LISTS[record]
    key = [table.c.seq, table.c.idx] if "idx" in table.c else [table.c.entry_id]
    where = [table.c[name] == value for name, value in query.matching.items()]
    if query.account_id is not None:
        where.append(family(table, query.account_id))
    if query.since is not None:
        where.append(table.c.time >= query.since)
    if query.until is not None:
        where.append(table.c.time < query.until)
    if query.cursor is not None:
        last = tuple_(*_place(query.cursor)[: len(key)])
        where.append(tuple_(*key) < last if query.newest_first else tuple_(*key) > last)
    order = [column.desc() for column in key] if query.newest_first else key
    return select(*columns(table, record)).where(*where).order_by(*order).limit(query.limit + 1)


def page_of(record: type[R], rows: list[Any], limit: int) -> Page[R]:
    items = [record(*row) for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(items, None)
    last: Any = items[-1]
    place = (last.seq, last.idx) if "idx" in record.__struct_fields__ else (last.entry_id, 0)
    return Page(items, "{}.{}".format(*place))


def family(table: Table, account_id: str) -> ColumnElement[bool]:
    """The account and its isolated positions, ``A/...``; "0" is the sign after "/"."""
    column = table.c.account_id
    return or_(column == account_id, and_(column > f"{account_id}/", column < f"{account_id}0"))


def _place(cursor: str) -> tuple[int, int]:
    found = CURSOR.fullmatch(cursor)
    if found is None:
        raise InputError("cursor: expected the cursor of an earlier page")
    return int(found[1]), int(found[2])
