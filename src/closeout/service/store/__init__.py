"""Read models, replies and the outbox, kept in SQLite or PostgreSQL. See `store.Store`."""

from closeout.service.store.records import Conflict, Effect, NotFound, Page, Query, Reply
from closeout.service.store.store import Store

__all__ = ["Conflict", "Effect", "NotFound", "Page", "Query", "Reply", "Store"]
