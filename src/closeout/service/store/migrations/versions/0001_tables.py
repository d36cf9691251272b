"""All tables of the first release."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def words(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, WORDS, nullable=False) for name in names]


def integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def boolean(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def binary(*names: str) -> list[sa.Column[bytes]]:
    return [sa.Column(name, sa.LargeBinary, nullable=False) for name in names]


def entries(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("idx", sa.Integer, nullable=False, autoincrement=False),
        *integers("time"),
        *words("account_id"),
        *columns,
        sa.PrimaryKeyConstraint("seq", "idx"),
        sqlite_with_rowid=False,
    )
    op.create_index(f"{name}_account", name, ["account_id", "seq", "idx"])
    op.create_index(f"{name}_time", name, ["time"])


def upgrade() -> None:
    projection = op.create_table("projection", *integers("seq", "rebuilt_to"))
    op.bulk_insert(projection, [{"seq": 0, "rebuilt_to": 0}])
    trading()
    risk()
    delivery()
    desk()
    days()


def trading() -> None:
    entries("posting", *words("debit", "credit", "currency"), *integers("micros"), *words("reason"))
    columns = words("receipt_id", "kind", "supersedes", "document")
    entries("receipt", *columns, sa.UniqueConstraint("receipt_id"))
    columns = (*words("source", "contract"), *integers("lots", "price_ticks"), *words("order_id", "fill_id"))
    entries("fill", *columns)
    op.create_index("ix_fill_fill_id", "fill", ["fill_id"])
    entries(
        "order_entry",
        *words("order_id", "origin", "contract"),
        *integers("lots"),
        sa.Column("limit_ticks", sa.BigInteger),
        *words("receipt_id", "outcome", "code", "detail"),
        *integers("before", "change", "after", "available", "suggested_lots"),
    )
    op.create_index("ix_order_entry_order_id", "order_entry", ["order_id"])


def risk() -> None:
    entries("alarm", *words("code", "detail", "acknowledged_by"), *integers("acknowledged_at"))
    entries("notice", *words("kind", "detail"))
    entries("level_change", *words("before", "after"), *integers("net_liq", "requirement", "line"))
    entries("flag_change", *words("flag"), boolean("is_on"), *words("reason"))
    entries("deficit", *integers("micros", "total"), *words("receipt_id"))
    columns = (*integers("total"), *words("status"), *integers("business_days"), *words("reason"))
    entries("receivable_change", *columns)
    columns = (*words("call_id", "status"), *integers("micros", "business_days"), boolean("capital_charge"))
    entries("margin_call", *columns)
    entries("reconciliation", *words("file"), boolean("agreed"), *words("differences"))
    entries("setting_change", *words("what", "detail", "changed_by"))
    entries("act", *words("source", "command", "person", "document", "outcome", "code"))


def delivery() -> None:
    op.create_table(
        "reply",
        *words("source", "key"),
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        *integers("time"),
        *binary("command", "events"),
        sa.PrimaryKeyConstraint("source", "key", "seq"),
    )
    op.create_index("reply_time", "reply", ["time"])
    op.create_table(
        "effect",
        *words("effect_id", "kind"),
        *integers("seq"),
        sa.Column("idx", sa.Integer, nullable=False),
        *integers("time"),
        *words("account_id"),
        *binary("payload"),
        *words("state"),
        sa.Column("attempts", sa.Integer, nullable=False),
        *integers("not_before"),
        *words("note"),
        sa.PrimaryKeyConstraint("effect_id"),
    )
    op.create_index("effect_state", "effect", ["state", "kind", "seq", "idx"])
    op.create_index("effect_account", "effect", ["account_id", "kind", "state"])


def desk() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        *integers("time"),
        *words("key_id", "role", "method", "path"),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger),
        *words("remote"),
        sa.PrimaryKeyConstraint("entry_id"),
    )
    op.create_index("ix_audit_entry_time", "audit_entry", ["time"])
    op.create_table(
        "proposal",
        *words("proposal_id"),
        *integers("time"),
        *words("proposed_by", "kind"),
        *binary("command"),
        *words("reason", "status", "decided_by"),
        *integers("decided_at"),
        sa.Column("seq", sa.BigInteger),
        sa.PrimaryKeyConstraint("proposal_id"),
    )


def days() -> None:
    margins: Sequence[str] = ("net_liq", "requirement", "initial", "maintenance")
    op.create_table(
        "account_day",
        *words("date", "account_id", "owner"),
        *integers(*margins, "cash", "accrued", "pending", "receivable"),
        *words("level", "flags"),
        *integers("liquidations"),
        sa.PrimaryKeyConstraint("date", "account_id"),
    )
    op.create_table("day", *words("date"), *integers("accounts"), sa.PrimaryKeyConstraint("date"))
