"""The store's tables. A change here needs a migration beside it (`migrations/versions`); a test compares the two."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import BigInteger, Boolean, Column, Dialect, Index, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from closeout.service.store import records


class Words(TypeDecorator[str]):
    """Text in the order of its code points, on every database. PostgreSQL takes no NUL: it becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        return Text(collation="C") if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value.replace("\0", "\ufffd") if value and "\0" in value else value


METADATA = MetaData()
ENTRY_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up in an INTEGER only


def _words(*names: str) -> list[Column[Any]]:
    return [Column(name, Words, nullable=False) for name in names]


def _integers(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger, nullable=False) for name in names]


def _entries(name: str, *columns: Column[Any]) -> Table:
    """A list in the journal's order: found by account and by time as well."""
    return Table(
        name,
        METADATA,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("idx", Integer, primary_key=True, autoincrement=False),
        Column("time", BigInteger, nullable=False),
        Column("account_id", Words, nullable=False),
        *columns,
        Index(f"{name}_account", "account_id", "seq", "idx"),
        Index(f"{name}_time", "time"),
        sqlite_with_rowid=False,
    )


projection = Table("projection", METADATA, *_integers("seq", "rebuilt_to"))
"""One row: the last input whose consequences stand here, and up to which they stood in a store that is lost."""

posting = _entries("posting", *_words("debit", "credit", "currency"), *_integers("micros"), *_words("reason"))
receipt = _entries(
    "receipt",
    Column("receipt_id", Words, nullable=False, unique=True),
    *_words("kind", "supersedes", "document"),
)
fill = _entries(
    "fill",
    *_words("source", "contract"),
    *_integers("lots", "price_ticks"),
    *_words("order_id"),
    Column("fill_id", Words, nullable=False, index=True),
)
order_entry = _entries(
    "order_entry",
    Column("order_id", Words, nullable=False, index=True),
    *_words("origin", "contract"),
    *_integers("lots"),
    Column("limit_ticks", BigInteger),
    *_words("receipt_id", "outcome", "code", "detail"),
    *_integers("before", "change", "after", "available", "suggested_lots"),
)
alarm = _entries("alarm", *_words("code", "detail", "acknowledged_by"), *_integers("acknowledged_at"))
notice = _entries("notice", *_words("kind", "detail"))
level_change = _entries("level_change", *_words("before", "after"), *_integers("net_liq", "requirement", "line"))
flag_change = _entries("flag_change", *_words("flag"), Column("is_on", Boolean, nullable=False), *_words("reason"))
deficit = _entries("deficit", *_integers("micros", "total"), *_words("receipt_id"))
receivable_change = _entries(
    "receivable_change", *_integers("total"), *_words("status"), *_integers("business_days"), *_words("reason")
)
margin_call = _entries(
    "margin_call",
    *_words("call_id", "status"),
    *_integers("micros", "business_days"),
    Column("capital_charge", Boolean, nullable=False),
)
reconciliation = _entries(
    "reconciliation", *_words("file"), Column("agreed", Boolean, nullable=False), *_words("differences")
)
setting_change = _entries("setting_change", *_words("what", "detail", "changed_by"))
act = _entries("act", *_words("source", "command", "person", "document", "outcome", "code"))

reply = Table(
    "reply",
    METADATA,
    Column("source", Words, primary_key=True),
    Column("key", Words, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("command", LargeBinary, nullable=False),
    Column("events", LargeBinary, nullable=False),
    Index("reply_time", "time"),
)
"""One row for each input that came with an idempotency key: msgpack of the command and of its events."""

effect = Table(
    "effect",
    METADATA,
    Column("effect_id", Words, primary_key=True),
    *_words("kind"),
    Column("seq", BigInteger, nullable=False),
    Column("idx", Integer, nullable=False),
    *_integers("time"),
    *_words("account_id"),
    Column("payload", LargeBinary, nullable=False),
    *_words("state"),
    Column("attempts", Integer, nullable=False),
    *_integers("not_before"),
    *_words("note"),
    Index("effect_state", "state", "kind", "seq", "idx"),
    Index("effect_account", "account_id", "kind", "state"),
)

audit_entry = Table(
    "audit_entry",
    METADATA,
    Column("entry_id", ENTRY_ID, primary_key=True, autoincrement=True),
    Column("time", BigInteger, nullable=False, index=True),
    *_words("key_id", "role", "method", "path"),
    Column("status", Integer, nullable=False),
    Column("seq", BigInteger),
    *_words("remote"),
)

proposal = Table(
    "proposal",
    METADATA,
    Column("proposal_id", Words, primary_key=True),
    *_integers("time"),
    *_words("proposed_by", "kind"),
    Column("command", LargeBinary, nullable=False),
    *_words("reason", "status", "decided_by"),
    *_integers("decided_at"),
    Column("seq", BigInteger),
)

account_day = Table(
    "account_day",
    METADATA,
    Column("date", Words, primary_key=True),
    Column("account_id", Words, primary_key=True),
    *_words("owner"),
    *_integers("net_liq", "requirement", "initial", "maintenance", "cash", "accrued", "pending", "receivable"),
    *_words("level", "flags"),
    *_integers("liquidations"),
)
day = Table("day", METADATA, Column("date", Words, primary_key=True), *_integers("accounts"))
"""The dates whose `account_day` is complete."""

LISTS: dict[type[Struct], Table] = {
    records.Posting: posting,
    records.Receipt: receipt,
    records.Fill: fill,
    records.Order: order_entry,
    records.Alarm: alarm,
    records.Notice: notice,
    records.LevelChange: level_change,
    records.FlagChange: flag_change,
    records.Deficit: deficit,
    records.ReceivableChange: receivable_change,
    records.MarginCall: margin_call,
    records.Reconciliation: reconciliation,
    records.SettingChange: setting_change,
    records.Act: act,
    records.AuditEntry: audit_entry,
}
"""What `Store.page` can be asked for. A record's fields are columns of its table."""


def columns(table: Table, record: type[Struct]) -> list[Column[Any]]:
    """The table's columns in the order of the record's fields."""
    return [table.c[name] for name in record.__struct_fields__]
