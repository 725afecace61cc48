"""Scheduled exports: what is asked for again and again, for whom, and which delivery comes next.

Owns the pointer ``next_day``, the day (UTC) of the next delivery. It moves in the transaction that queues
the job of that delivery, so that each is made once, whoever looks and whenever a process dies. The users a
filter names are kept encrypted, and forgotten when one of them is erased: without them a schedule stays
disabled until it gets another filter.
"""

import builtins
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline import ids
from export_pipeline.errors import Conflict
from export_pipeline.ledger import scheduled
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.jobs import CANCELLED, COMPLETE, EXPIRED, FAILED, OPEN, Job, Jobs, NewJob
from export_pipeline.ledger.paging import read_page
from export_pipeline.ledger.posting import EXPORT_RESTATED, USER_ERASED
from export_pipeline.ledger.sealing import Seal
from export_pipeline.ledger.tables import jobs, schedules
from export_pipeline.ledger.webhooks import Webhooks
from export_pipeline.settings import Settings

DAILY, WEEKLY = "daily", "weekly"
FREQUENCIES = (DAILY, WEEKLY)
FULL, INCREMENTAL = "full", "incremental"
MODES = (FULL, INCREMENTAL)

SUBJECT_ERASED = "a person its filter named was erased; give it other filters to enable it again"

_MEANWHILE = "the increment before it is being made, or was meanwhile; try again"

_FOLLOW_UPS = (EXPORT_RESTATED, USER_ERASED)
"""What an endpoint made for a schedule subscribes to: news of exports that it got."""


@dataclass(frozen=True)
class Schedule:
    """A scheduled export. ``request`` is plain JSON as in the manifest, users as a count only; it goes to
    ``webhook_id``, or by e-mail if that is None; ``next_day`` is the day (UTC) of the next delivery."""

    id: str
    number: int
    frequency: str
    mode: str
    request: Mapping[str, Any]
    webhook_id: str | None
    enabled: bool
    reason: str | None
    next_day: date
    created_by: str
    created_at: datetime


@dataclass(frozen=True)
class Recipient:
    """Who gets the exports of a schedule: one of an endpoint, a URL to make one for, an address."""

    webhook_id: str | None = None
    url: str | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Wanted:
    """What a schedule is to be; ``user_ids`` and the recipient stay out of every representation."""

    frequency: str
    mode: str
    request: Mapping[str, Any]
    user_ids: Sequence[str] = field(repr=False)
    enabled: bool
    next_day: date


class Schedules:
    """The schedules of one deployment; safe to share between threads. Every method is one transaction."""

    def __init__(self, settings: Settings, engine: Engine, jobs: Jobs, webhooks: Webhooks) -> None:
        self._engine = engine
        self._jobs = jobs
        self._webhooks = webhooks
        self._filters = Seal(settings, "filters")
        self._addresses = Seal(settings, "addresses")

    def create(
        self,
        wanted: Wanted,
        recipient: Recipient,
        created_by: str,
        now: datetime,
        schedule_id: str | None = None,
    ) -> tuple[Schedule, str | None]:
        """A new schedule, and the secret of the endpoint that was made for it.

        Args:
            schedule_id: its id; default: a new ``sch_…``.

        Raises:
            NotFound: if there is no such endpoint.
        """
        with self._engine.begin() as connection:
            last = connection.execute(select(func.max(schedules.c.number))).scalar() or 0
            new_id = schedule_id or ids.SCHEDULE.new()
            held, secret = self._recipient(connection, recipient, new_id, None, now)
            row = connection.execute(
                insert(schedules)
                .values(
                    id=new_id,
                    number=last + 1,
                    created_by=created_by,
                    created_at=now,
                    **self._held(wanted),
                    **held,
                )
                .returning(*schedules.c)
            ).one()
        return _schedule(row), secret

    def change(
        self, before: Schedule, wanted: Wanted, recipient: Recipient | None, now: datetime
    ) -> tuple[Schedule, str | None]:
        """Make a schedule, as it was read ``before``, what is wanted; see ``create``.

        Args:
            recipient: default: who gets it now. An endpoint that was made for it moves to the URL given.

        Raises:
            NotFound: if there is none with this id, or no such endpoint.
            Conflict: if it was changed since it was read.
        """
        with self._engine.begin() as connection:
            if _schedule(_one(connection, before.id)) != before:
                raise Conflict(f"schedule {before.id} was changed meanwhile; try again", field="id")
            held: dict[str, Any] = {}
            secret: str | None = None
            if recipient:
                held, secret = self._recipient(connection, recipient, before.id, before.webhook_id, now)
            row = connection.execute(
                update(schedules)
                .where(schedules.c.id == before.id)
                .values(reason=None if wanted.enabled else before.reason, **self._held(wanted), **held)
                .returning(*schedules.c)
            ).one()
        return _schedule(row), secret

    def _held(self, wanted: Wanted) -> dict[str, Any]:
        users = self._filters.close(json.dumps(list(wanted.user_ids))) if wanted.user_ids else None
        return {
            "frequency": wanted.frequency,
            "mode": wanted.mode,
            "request": dict(wanted.request),
            "user_filter": users,
            "enabled": wanted.enabled,
            "next_day": wanted.next_day,
        }

    def _recipient(
        self,
        connection: Connection,
        recipient: Recipient,
        schedule_id: str,
        current: str | None,
        now: datetime,
    ) -> tuple[dict[str, Any], str | None]:
        """What a schedule holds of its recipient, and the secret of an endpoint that was made or moved.

        Args:
            current: the endpoint that it is delivered to now.
        """
        if recipient.address is not None:
            return {"webhook_id": None, "address": self._addresses.close(recipient.address)}, None
        if recipient.url is not None:
            if current is not None:
                if self._webhooks.known(connection, current).url == recipient.url:
                    return {"webhook_id": current, "address": None}, None
                if moved := self._webhooks.move(connection, current, recipient.url, schedule_id):
                    return {"webhook_id": current, "address": None}, moved
            made, secret = self._webhooks.add(
                connection, recipient.url, _FOLLOW_UPS, "", now, made_for=schedule_id
            )
            return {"webhook_id": made.id, "address": None}, secret
        known = self._webhooks.known(connection, recipient.webhook_id or "")
        return {"webhook_id": known.id, "address": None}, None

    def get(self, schedule_id: str) -> Schedule:
        """A schedule.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            return _schedule(_one(connection, schedule_id))

    def address(self, schedule_id: str) -> str | None:
        """The e-mail address that a schedule goes to; None if it goes to an endpoint.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            held = _one(connection, schedule_id).address
        return None if held is None else self._addresses.open(held)

    def user_ids(self, schedule_id: str) -> tuple[str, ...]:
        """The users a schedule's filter names; empty if it names none, or one of them was erased.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            return self._users(_one(connection, schedule_id))

    def list(
        self, *, limit: int = 20, cursor: str | None = None
    ) -> tuple[tuple[Schedule, ...], str | None, int]:
        """Schedules newest first, the cursor of the next page (None on the last), and how many there are.

        Raises:
            InvalidRequest: naming ``limit`` or ``cursor``.
        """
        with reading(self._engine) as connection:
            rows, following, total = read_page(connection, schedules, (), limit, cursor)
        return tuple(_schedule(row) for row in rows), following, total

    def enabled(self, frequency: str | None = None) -> tuple[Schedule, ...]:
        """The schedules (of a frequency) that are enabled, in the order in which they were made."""
        return self._all(schedules.c.enabled, *([schedules.c.frequency == frequency] if frequency else []))

    def disabled(self) -> tuple[Schedule, ...]:
        """The schedules that were disabled, though by nobody's hand."""
        return self._all(schedules.c.reason.is_not(None))

    def _all(self, *only: ColumnElement[bool]) -> tuple[Schedule, ...]:
        with reading(self._engine) as connection:
            query = select(schedules).where(*only).order_by(schedules.c.number)
            return tuple(_schedule(row) for row in connection.execute(query))

    def last_exports(self, schedule_ids: Collection[str]) -> dict[str, str]:
        """The id of the newest export of each of some schedules that has one."""
        newest = (
            select(func.max(jobs.c.number))
            .where(jobs.c.created_by.in_(schedule_ids), jobs.c.state.in_((COMPLETE, EXPIRED)))
            .group_by(jobs.c.created_by)
        )
        with reading(self._engine) as connection:
            found = connection.execute(select(jobs.c.created_by, jobs.c.id).where(jobs.c.number.in_(newest)))
            return {row.created_by: row.id for row in found}

    def failed(self, schedule_ids: Collection[str]) -> dict[str, str]:
        """The id of the newest export of each of some schedules whose newest one failed."""
        newest = select(func.max(jobs.c.number)).where(jobs.c.created_by.in_(schedule_ids))
        with reading(self._engine) as connection:
            query = select(jobs.c.created_by, jobs.c.id).where(
                jobs.c.number.in_(newest.group_by(jobs.c.created_by)), jobs.c.state == FAILED
            )
            return {row.created_by: row.id for row in connection.execute(query)}

    def cursors(self, schedule_id: str) -> tuple[str, ...]:
        """What the next increment of a schedule goes on from; see ``scheduled.cursors``."""
        with reading(self._engine) as connection:
            return scheduled.cursors(connection, schedule_id)

    def is_making(self, schedule_id: str) -> bool:
        """Whether an export of a schedule is queued or processing."""
        with reading(self._engine) as connection:
            return scheduled.is_making(connection, schedule_id)

    def remove(self, schedule_id: str, now: datetime) -> None:
        """Remove a schedule and cancel what is being made for it; what it made stays until its time is over.

        Raises:
            NotFound: if there is none with this id.
        """
        with self._engine.begin() as connection:
            _one(connection, schedule_id)
            connection.execute(
                update(jobs)
                .where(jobs.c.created_by == schedule_id, jobs.c.state.in_(OPEN))
                .values(state=CANCELLED, ended_at=now, user_filter=None)
            )
            connection.execute(delete(schedules).where(schedules.c.id == schedule_id))

    def queue(
        self, schedule: Schedule, following: date, new: NewJob, now: datetime, job_id: str
    ) -> Job | None:
        """Queue the job of the delivery that is next, and go on to the one of the day ``following``.

        Args:
            new: the job; the users its filter names are the schedule's.
            job_id: its id; with a number behind it if one that was asked for before came to nothing.

        Returns:
            The job; None if somebody else queued it or asked for it before, the schedule was changed or
            removed since it was read, it is disabled, or the job is an increment that does not go on from the
            last one.
        """
        with self._engine.begin() as connection:
            if not (_follows(connection, schedule, new) and self._go_on(connection, schedule, following)):
                return None
            known = scheduled.states(connection, job_id)
            if any(state not in (FAILED, CANCELLED) for state in known.values()):
                return None
            return self._add(connection, schedule, new, now, scheduled.free_id(job_id, known))

    def skip(self, schedule: Schedule, following: date) -> bool:
        """Leave out what is due before the delivery of the day ``following``; whether it was done."""
        with self._engine.begin() as connection:
            return self._go_on(connection, schedule, following)

    def _go_on(self, connection: Connection, schedule: Schedule, following: date) -> bool:
        row = connection.execute(select(schedules).where(schedules.c.id == schedule.id)).one_or_none()
        if row is None or _schedule(row) != schedule or not schedule.enabled:
            return False
        connection.execute(update(schedules).where(schedules.c.id == schedule.id).values(next_day=following))
        return True

    def queue_now(self, schedule: Schedule, new: NewJob, now: datetime, job_id: str) -> Job:
        """Queue a job because somebody asked for it, under ``job_id`` or that with a number behind it.

        Raises:
            NotFound: if there is no such schedule any more.
            Conflict: if a job for the same days is open, or of an incremental schedule any; a user of the
                filter was erased, or the schedule was changed since it was read.
        """
        with self._engine.begin() as connection:
            if _schedule(_one(connection, schedule.id)) != schedule:
                raise Conflict(f"schedule {schedule.id} was changed meanwhile; try again", field="id")
            known = scheduled.states(connection, job_id)
            for other, state in known.items():
                if state in OPEN:
                    raise Conflict(f"{other} is {state}; it is delivered when it is complete", field="id")
            if not _follows(connection, schedule, new):
                raise Conflict(f"schedule {schedule.id}: {_MEANWHILE}", field="id")
            return self._add(connection, schedule, new, now, scheduled.free_id(job_id, known))

    def _add(
        self, connection: Connection, schedule: Schedule, new: NewJob, now: datetime, job_id: str
    ) -> Job:
        user_ids = self._users(_one(connection, schedule.id))
        if len(user_ids) != schedule.request["filters"]["userCount"]:
            raise Conflict(f"schedule {schedule.id}: {schedule.reason or SUBJECT_ERASED}", field="filters")
        return self._jobs.add(connection, replace(new, user_ids=user_ids), now, job_id)

    def disable_naming(self, user_ids: Collection[str]) -> builtins.list[str]:
        """Disable the schedules whose filter names one of these users, and forget whom; their ids."""
        ended = []
        with self._engine.begin() as connection:
            for row in connection.execute(
                select(schedules).where(schedules.c.user_filter.is_not(None))
            ).all():
                if not frozenset(user_ids).isdisjoint(self._users(row)):
                    connection.execute(
                        update(schedules)
                        .where(schedules.c.id == row.id)
                        .values(enabled=False, reason=SUBJECT_ERASED, user_filter=None)
                    )
                    ended.append(row.id)
        return ended

    def _users(self, row: Row[Any]) -> tuple[str, ...]:
        held = row.user_filter
        return tuple(json.loads(self._filters.open(held))) if held is not None else ()


def _one(connection: Connection, schedule_id: str) -> Row[Any]:
    row = connection.execute(select(schedules).where(schedules.c.id == schedule_id)).one_or_none()
    if row is None:
        raise ids.SCHEDULE.unknown(schedule_id)
    return row


def _follows(connection: Connection, schedule: Schedule, new: NewJob) -> bool:
    """Whether a job is no increment, or goes on from the last one."""
    return schedule.mode != INCREMENTAL or scheduled.follows(connection, schedule.id, new.request["since"])


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(
        row.id,
        row.number,
        row.frequency,
        row.mode,
        row.request,
        row.webhook_id,
        row.enabled,
        row.reason,
        row.next_day,
        row.created_by,
        row.created_at,
    )
