"""The outbox: effects from the moment they follow from an input until they are done (G-16).

    pending --> sending --> sent
                  |  ^
                  |  +----- failed      due again at `not_before`
                  +-------> parked      needs a person, who says that it is done (sent) or may go out again (failed)

A state is left only by the acts above; anything else is a `Conflict` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Select, and_, exists, func, or_, select, update

from closeout.service.store.database import Database
from closeout.service.store.records import Conflict, Effect
from closeout.service.store.schema import columns, effect

UNSENT = ("pending", "sending", "failed", "parked")
KINDS = ("order", "cancel", "notice", "alarm", "webhook")
Ids = str | Sequence[str]

_EFFECT = select(*columns(effect, Effect))
_earlier = effect.alias("earlier")
_CANCELLED_FIRST = or_(
    effect.c.kind != "order",
    ~exists().where(
        _earlier.c.state.in_(UNSENT),
        _earlier.c.kind == "cancel",
        _earlier.c.account_id == effect.c.account_id,
        or_(_earlier.c.seq < effect.c.seq, and_(_earlier.c.seq == effect.c.seq, _earlier.c.idx < effect.c.idx)),
    ),
)
"""G-07: a close-out order waits until the account's earlier cancels are out; a parked cancel holds it as well."""


class Effects:
    """`ids` are one effect's id or several; several change together or not at all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due_effects(self, now_ns: int, limit: int = 100, kinds: Sequence[str] = KINDS) -> list[Effect]:
        """What is to be sent now, oldest first."""
        due = (effect.c.state.in_(("pending", "failed")), effect.c.kind.in_(kinds), effect.c.not_before <= now_ns)
        return self._effects(_EFFECT.where(*due, _CANCELLED_FIRST).order_by(effect.c.seq, effect.c.idx).limit(limit))

    def sending_effects(self) -> list[Effect]:
        """What was under way, oldest first: after a start, what a crash left behind."""
        return self._effects(_EFFECT.where(effect.c.state == "sending").order_by(effect.c.seq, effect.c.idx))

    def parked_effects(self, limit: int = 1000) -> list[Effect]:
        """What waits for a person, oldest first."""
        parked = _EFFECT.where(effect.c.state == "parked")
        return self._effects(parked.order_by(effect.c.seq, effect.c.idx).limit(limit))

    def effect(self, effect_id: str) -> Effect | None:
        return next(iter(self._effects(_EFFECT.where(effect.c.effect_id == effect_id))), None)

    def mark_sending(self, ids: Ids) -> None:
        """Durable before anything goes out."""
        self._mark(ids, ("pending", "failed"), state="sending", attempts=effect.c.attempts + 1)

    def mark_sent(self, ids: Ids, note: str = "") -> None:
        self._mark(ids, ("sending", "parked"), state="sent", note=note)

    def mark_all_sent(self, notes: Mapping[str, str]) -> None:
        """Many effects at once, each with its note."""
        ids: dict[str, list[str]] = {}
        for effect_id, note in notes.items():
            ids.setdefault(note, []).append(effect_id)
        with self._database.write() as connection:
            for note, wanted in ids.items():
                _change(connection, sorted(wanted), ("sending", "parked"), {"state": "sent", "note": note})

    def mark_failed(self, ids: Ids, reason: str, not_before_ns: int) -> None:
        """It surely did not go out, or may go out twice: try again from then on."""
        self._mark(ids, ("sending", "parked"), state="failed", note=reason, not_before=not_before_ns)

    def mark_parked(self, ids: Ids, reason: str) -> None:
        """No more tries until a person decides."""
        self._mark(ids, ("pending", "failed", "sending"), state="parked", note=reason)

    def effect_counts(self) -> dict[tuple[str, str], int]:
        """How many of each (kind, state) are not sent yet; those that are sent grow for ever and are not counted."""
        counted = select(effect.c.kind, effect.c.state, func.count()).where(effect.c.state.in_(UNSENT))
        with self._database.read() as connection:
            rows = connection.execute(counted.group_by(effect.c.kind, effect.c.state)).all()
        return {(kind, state): count for kind, state, count in rows}

    def oldest_due_age(self, now_ns: int) -> int:
        """Nanoseconds since the input of the oldest effect that is due, or under way; 0 where there is none."""
        waiting = select(func.min(effect.c.time)).where(
            effect.c.state.in_(("pending", "failed", "sending")), effect.c.not_before <= now_ns
        )
        with self._database.read() as connection:
            oldest = connection.execute(waiting).scalar_one()
        return 0 if oldest is None else max(0, now_ns - oldest)

    def _effects(self, query: Select[tuple[object, ...]]) -> list[Effect]:
        with self._database.read() as connection:
            return [Effect(*row) for row in connection.execute(query)]

    def _mark(self, ids: Ids, allowed: Sequence[str], **values: object) -> None:
        wanted = sorted({ids} if isinstance(ids, str) else set(ids))
        if not wanted:
            return
        with self._database.write() as connection:
            _change(connection, wanted, allowed, values)


def _change(
    connection: Connection, wanted: Sequence[str], allowed: Sequence[str], values: Mapping[str, object]
) -> None:
    change = update(effect).where(effect.c.effect_id.in_(wanted), effect.c.state.in_(allowed)).values(values)
    changed = connection.execute(change).rowcount
    if changed != len(wanted):
        raise Conflict(
            f"{len(wanted) - changed} of {', '.join(wanted[:5])} cannot become {values['state']}: "
            f"only {' or '.join(allowed)} can"
        )
