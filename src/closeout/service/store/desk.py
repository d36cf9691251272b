"""What people add to the store: acknowledgements, proposals (four eyes), the access log, and each day's accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from msgspec.structs import asdict
from sqlalchemy import ColumnElement, delete, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from closeout.service.store.database import Database
from closeout.service.store.lists import CURSOR
from closeout.service.store.records import AccountDay, Alarm, AuditEntry, Conflict, NotFound, Proposal
from closeout.service.store.schema import account_day, alarm, audit_entry, columns, day, proposal

DAY_CHUNK = 2_000
"""Rows of a day in one transaction: between two of them the projection, and with it close-outs, goes on."""


class Desk:
    def __init__(self, database: Database) -> None:
        self._database = database

    # -- alarms --------------------------------------------------------------------------------------

    def acknowledge(self, alarm_id: str, by: str, now_ns: int) -> Alarm:
        """Note who has seen an alarm; the first one stays. Returns the alarm as it stands; `NotFound`."""
        place = CURSOR.fullmatch(alarm_id)
        if place is None:
            raise NotFound(f"no alarm {alarm_id!r}")
        which = (alarm.c.seq == int(place[1]), alarm.c.idx == int(place[2]))
        note = update(alarm).where(*which, alarm.c.acknowledged_by == "")
        with self._database.write() as connection:
            connection.execute(note.values(acknowledged_by=by, acknowledged_at=now_ns))
            row = connection.execute(select(*columns(alarm, Alarm)).where(*which)).one_or_none()
        if row is None:
            raise NotFound(f"no alarm {alarm_id!r}")
        return Alarm(*row)

    # -- proposals -----------------------------------------------------------------------------------

    def propose(self, proposal_id: str, time_ns: int, by: str, kind: str, command: bytes, reason: str) -> Proposal:
        """Keep an act for a second person to decide; `Conflict` if the id was used before."""
        made = Proposal(proposal_id, time_ns, by, kind, command, reason, "open", "", 0, None)
        try:
            with self._database.write() as connection:
                connection.execute(insert(proposal), asdict(made))
        except IntegrityError:
            raise Conflict(f"proposal {proposal_id!r} was made before") from None
        return made

    def proposal(self, proposal_id: str) -> Proposal:
        """`NotFound` where there is none."""
        found = self._proposals(proposal.c.proposal_id == proposal_id)
        if not found:
            raise NotFound(f"no proposal {proposal_id!r}")
        return found[0]

    def proposals(self, status: str | None = None) -> list[Proposal]:
        """All, or those open, approved or rejected; oldest first."""
        return self._proposals(true() if status is None else proposal.c.status == status)

    def decide(self, proposal_id: str, by: str, approved: bool, now_ns: int, seq: int | None = None) -> Proposal:
        """Approve, with the input that the act became, or reject. `Conflict` if it was decided before, or if who
        proposed it approves it; withdrawing one's own is a rejection. `NotFound`."""
        change = update(proposal).where(proposal.c.proposal_id == proposal_id, proposal.c.status == "open")
        if approved:
            change = change.where(proposal.c.proposed_by != by)
        status = "approved" if approved else "rejected"
        with self._database.write() as connection:
            decision = change.values(status=status, decided_by=by, decided_at=now_ns, seq=seq)
            changed = connection.execute(decision).rowcount
        now = self.proposal(proposal_id)
        if changed:
            return now
        raise Conflict(f"proposal {proposal_id!r} " + ("needs another" if now.status == "open" else f"is {now.status}"))

    # -- access log ----------------------------------------------------------------------------------

    def audit(self, entries: Sequence[AuditEntry]) -> None:
        """Append to the access log; the entries' own `entry_id` does not count. Read it with `page(AuditEntry)`."""
        if entries:
            rows = [asdict(entry) for entry in entries]
            for row in rows:
                del row["entry_id"]
            with self._database.write() as connection:
                connection.execute(insert(audit_entry), rows)

    # -- days ----------------------------------------------------------------------------------------

    def record_day(self, date: str, rows: Iterable[AccountDay]) -> None:
        """Keep all accounts as they stand at the end of a day (ISO 8601), in place of what was kept for it. Until
        all are in, `days` does not have the date."""
        with self._database.write() as connection:
            connection.execute(delete(day).where(day.c.date == date))
            connection.execute(delete(account_day).where(account_day.c.date == date))
        left, count = iter(rows), 0
        while chunk := list(islice(left, DAY_CHUNK)):
            count += len(chunk)
            with self._database.write() as connection:
                connection.execute(insert(account_day), [{"date": date, **asdict(row)} for row in chunk])
        with self._database.write() as connection:
            connection.execute(insert(day), {"date": date, "accounts": count})

    def days(self) -> list[str]:
        """The dates that are complete, oldest first."""
        with self._database.read() as connection:
            return list(connection.execute(select(day.c.date).order_by(day.c.date)).scalars())

    def account_days(self, date: str, after: str = "", limit: int = 1000) -> list[AccountDay]:
        """A date's accounts behind the id `after`, in the order of their ids."""
        query = select(*columns(account_day, AccountDay)).where(
            account_day.c.date == date, account_day.c.account_id > after
        )
        with self._database.read() as connection:
            return [
                AccountDay(*row) for row in connection.execute(query.order_by(account_day.c.account_id).limit(limit))
            ]

    def _proposals(self, which: ColumnElement[bool]) -> list[Proposal]:
        query = select(*columns(proposal, Proposal)).where(which).order_by(proposal.c.time, proposal.c.proposal_id)
        with self._database.read() as connection:
            return [Proposal(*row) for row in connection.execute(query)]
