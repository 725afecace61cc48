"""Export jobs: what was asked for, what became of it, and every transition between their states.

``queued`` → ``processing`` → ``complete`` | ``failed`` | ``cancelled``; ``queued`` → ``failed`` |
``cancelled``; ``complete`` → ``expired`` (contract, section 4). Each transition is one conditional update, so
that of two processes that try, one wins and the other gets ``Conflict``. A job is worked on under the number
of its attempt: whoever was overtaken by a later attempt can change nothing any more.

The users a filter names are kept encrypted, and only until the job ends.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, insert, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline import ids
from export_pipeline.days import midnight
from export_pipeline.errors import Conflict, RateLimited
from export_pipeline.ledger.announcements import announce_failed, announce_ready, announce_restated
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.links import revoke_others
from export_pipeline.ledger.paging import check_status, read_page
from export_pipeline.ledger.sealing import FILTERS, Seal
from export_pipeline.ledger.tables import jobs
from export_pipeline.settings import Settings

QUEUED, PROCESSING, COMPLETE = "queued", "processing", "complete"
FAILED, CANCELLED, EXPIRED = "failed", "cancelled", "expired"
STATES = (QUEUED, PROCESSING, COMPLETE, FAILED, CANCELLED, EXPIRED)
OPEN = (QUEUED, PROCESSING)

ON_DEMAND, SCHEDULED, USER = "on_demand", "scheduled", "user"
"""An export that was asked for, one that is due, and one person's (contract, section 6)."""
EXPORTS = (ON_DEMAND, SCHEDULED)
"""What the list of exports shows."""
MAX_ATTEMPTS = 2
"""A run that dies is tried once more (contract, section 4)."""


@dataclass(frozen=True)
class Job:
    """A job as the ledger holds it, its state as of the instant it was read for.

    ``request`` is plain JSON as in the manifest, users as a count only; ``path`` the export's directory
    relative to the exports' root, or of an access export its archive; ``withheld`` is known of a complete
    access export only; ``attempt`` 0 until somebody worked on it; instants are UTC.
    """

    id: str
    number: int
    kind: str
    state: str
    request: Mapping[str, Any]
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    attempt: int
    processed_rows: int
    estimated_rows: int
    estimated_bytes: int
    estimated_completion: datetime
    rows: int | None
    bytes: int | None
    withheld: int | None
    path: str | None
    error_code: str | None
    error_message: str | None

    @property
    def progress(self) -> int:
        """How far it is, 0 to 100; under 100 until it is complete, as the estimate may be too low."""
        if self.state in (COMPLETE, EXPIRED):
            return 100
        return min(99, 100 * self.processed_rows // max(self.estimated_rows, 1)) if self.processed_rows else 0

    @property
    def completed_at(self) -> datetime | None:
        """When its files were ready; None if they never were."""
        return self.ended_at if self.state in (COMPLETE, EXPIRED) else None


@dataclass(frozen=True)
class NewJob:
    """What is noted of a job when it is asked for. ``user_ids`` stays out of every representation."""

    request: Mapping[str, Any]
    user_ids: Sequence[str]
    estimated_rows: int
    estimated_bytes: int
    estimated_completion: datetime
    created_by: str
    kind: str = ON_DEMAND

    def __repr__(self) -> str:
        return f"NewJob({self.kind}, {len(self.user_ids)} users)"


class Jobs:
    """The jobs of one deployment; safe to share between threads. Every method is one transaction."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._seal = Seal(settings, FILTERS)
        self._engine = engine

    def create(self, new: NewJob, now: datetime, job_id: str | None = None) -> Job:
        """Queue a job behind all that are there.

        Args:
            job_id: its id; default: a new ``exp_…``, of an access export ``usr_exp_…``.

        Raises:
            RateLimited: if as many on-demand jobs as ``jobs_per_day`` allows were asked for this UTC day.
        """
        with self._engine.begin() as connection:
            if new.kind == ON_DEMAND:
                self._check_day(connection, now)
            return self.add(
                connection, new, now, job_id or (ids.ACCESS if new.kind == USER else ids.EXPORT).new()
            )

    def add(self, connection: Connection, new: NewJob, now: datetime, job_id: str) -> Job:
        """The same as part of a transaction; however many were asked for."""
        encrypted = self._seal.close(json.dumps(list(new.user_ids))) if new.user_ids else None
        last = connection.execute(select(func.max(jobs.c.number))).scalar() or 0
        row = connection.execute(
            insert(jobs)
            .values(
                id=job_id,
                number=last + 1,
                kind=new.kind,
                state=QUEUED,
                request=dict(new.request),
                user_filter=encrypted,
                created_by=new.created_by,
                created_at=now,
                attempt=0,
                processed_rows=0,
                estimated_rows=new.estimated_rows,
                estimated_bytes=new.estimated_bytes,
                estimated_completion=new.estimated_completion,
            )
            .returning(*jobs.c)
        ).one()
        return _job(row, now)

    def _check_day(self, connection: Connection, now: datetime) -> None:
        allowed, day = self._settings.jobs_per_day, midnight(now.date())
        count = select(func.count()).where(jobs.c.kind == ON_DEMAND, jobs.c.created_at >= day)
        if (connection.execute(count).scalar() or 0) >= allowed:
            tomorrow = day + timedelta(days=1)
            raise RateLimited(
                f"{allowed} exports were asked for today, as many as a day (UTC) allows; "
                f"ask again after {tomorrow:%Y-%m-%dT%H:%M:%SZ}",
                retry_after=int((tomorrow - now).total_seconds()) + 1,
            )

    def get(self, job_id: str, now: datetime, kinds: Collection[str] | None = None) -> Job:
        """A job (of ``kinds``) as of ``now``.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
        if row is None or (kinds is not None and row.kind not in kinds):
            raise ids.JOB.unknown(job_id)
        return _job(row, now)

    def list(
        self,
        now: datetime,
        *,
        limit: int = 20,
        status: str | None = None,
        cursor: str | None = None,
        kinds: Iterable[str] = EXPORTS,
    ) -> tuple[tuple[Job, ...], str | None, int]:
        """Jobs newest first, the cursor of the next page (None on the last), and how many there are in all.

        Raises:
            InvalidRequest: naming ``limit``, ``status`` or ``cursor``.
        """
        check_status(status, STATES)
        wanted: list[ColumnElement[bool]] = [jobs.c.kind.in_(tuple(kinds))]
        if status is not None:
            wanted.append(_in_state(status, now))
        with reading(self._engine) as connection:
            rows, following, total = read_page(connection, jobs, wanted, limit, cursor)
        return tuple(_job(row, now) for row in rows), following, total

    def open(self, now: datetime, kinds: Iterable[str] | None = None) -> tuple[Job, ...]:
        """The jobs (of ``kinds``) that are queued or processing, in the order of being asked for."""
        query = select(jobs).where(jobs.c.state.in_(OPEN)).order_by(jobs.c.number)
        if kinds is not None:
            query = query.where(jobs.c.kind.in_(tuple(kinds)))
        with reading(self._engine) as connection:
            return tuple(_job(row, now) for row in connection.execute(query))

    def user_ids(self, job_id: str) -> tuple[str, ...]:
        """The users an open job's filter names; empty if it names none."""
        with reading(self._engine) as connection:
            held = connection.execute(select(jobs.c.user_filter).where(jobs.c.id == job_id)).scalar()
        return tuple(json.loads(self._seal.open(held))) if held is not None else ()

    def start(self, job_id: str, attempt: int, now: datetime) -> Job:
        """Begin to work on an open job under a number higher than that of any attempt before.

        Raises:
            Conflict: if it has ended, or an attempt with this number or a higher one was begun.
            NotFound: if there is none with this id.
        """
        return self._move(
            job_id, now, OPEN, [jobs.c.attempt < attempt],
            state=PROCESSING, attempt=attempt, started_at=now, processed_rows=0,
        )  # fmt: skip

    def progress(
        self, job_id: str, attempt: int, rows: int, now: datetime, expected: int | None = None
    ) -> Job:
        """Note how many rows are written, and how many there will be where that is known by now.

        Raises:
            Conflict: if the job was cancelled, has failed, or a later attempt works on it: stop.
        """
        known: dict[str, Any] = {} if expected is None else {"estimated_rows": expected}
        return self._move(
            job_id, now, (PROCESSING,), [jobs.c.attempt == attempt], processed_rows=rows, **known
        )

    def complete(
        self,
        job_id: str,
        attempt: int,
        *,
        rows: int,
        bytes: int,
        path: str,
        now: datetime,
        expires_at: datetime,
        withheld: int | None = None,
        made: Mapping[str, Any] | None = None,
    ) -> Job:
        """End a job whose files are at ``path``, relative to the exports' root; messages that tell of it
        are in the outbox with the same transaction.

        Args:
            withheld: the rows an access export does not show.
            made: what is known of its request only now: the range of an increment, the cursor.

        Raises:
            Conflict: see ``progress``.
        """
        known: dict[str, Any] = {}
        if made:
            known["request"] = {**self.get(job_id, now).request, **made}
        return self._move(
            job_id, now, (PROCESSING,), [jobs.c.attempt == attempt],
            state=COMPLETE, rows=rows, bytes=bytes, withheld=withheld, path=path, processed_rows=rows,
            ended_at=now, expires_at=expires_at, user_filter=None, told_by=announce_ready, **known,
        )  # fmt: skip

    def show_files(self, job_id: str, *, path: str, rows: int, bytes: int, now: datetime) -> Job:
        """Let a complete job show other files, its own made again, in the place of those it had, to which
        links end with the same transaction.

        Raises:
            Conflict: if it is not complete.
        """
        return self._move(
            job_id, now, (COMPLETE,), [], path=path, rows=rows, bytes=bytes, told_by=revoke_others
        )

    def restate(
        self,
        job_id: str,
        *,
        path: str,
        rows: int,
        bytes: int,
        version: int,
        replaces: int,
        added: int,
        removed: int,
        cursor: str | None,
        now: datetime,
    ) -> Job:
        """Let a complete job show the version that late data made; links to the one before stay in force. Who
        got that is told with the same transaction, if any rows came or went.

        Raises:
            Conflict: if it is not complete.
        """
        told = {
            "version": version,
            "replaces": replaces,
            "reason": "late_data",
            "rowsAdded": added,
            "rowsRemoved": removed,
        }
        return self._move(
            job_id, now, (COMPLETE,), [], path=path, rows=rows, bytes=bytes,
            request={**self.get(job_id, now).request, "cursor": cursor},
            told_by=partial(announce_restated, told=told) if added or removed else None,
        )  # fmt: skip

    def fail(self, job_id: str, code: str, message: str, now: datetime, *, attempt: int | None = None) -> Job:
        """End an open job with an error its user understands.

        Args:
            attempt: only if this is the attempt that works on it; default: whoever does.

        Raises:
            Conflict: if it has ended, or another attempt works on it.
        """
        only = [] if attempt is None else [jobs.c.attempt == attempt]
        return self._move(
            job_id, now, OPEN, only,
            state=FAILED, error_code=code, error_message=message, ended_at=now, user_filter=None,
            told_by=announce_failed,
        )  # fmt: skip

    def cancel(self, job_id: str, now: datetime) -> Job:
        """End an open job because nobody wants it any more; who works on it stops at its next progress.

        Raises:
            Conflict: if it has ended.
            NotFound: if there is none with this id.
        """
        return self._move(job_id, now, OPEN, [], state=CANCELLED, ended_at=now, user_filter=None)

    def complete_of(self, kind: str, now: datetime) -> tuple[Job, ...]:
        """The complete jobs of a kind, in the order in which they were asked for."""
        with reading(self._engine) as connection:
            query = select(jobs).where(jobs.c.kind == kind, _in_state(COMPLETE, now)).order_by(jobs.c.number)
            return tuple(_job(row, now) for row in connection.execute(query))

    def kept(self, now: datetime) -> dict[str, tuple[int, int]]:
        """By kind: how many complete jobs have files, and the bytes of these."""
        query = select(jobs.c.kind, func.count(), func.sum(jobs.c.bytes)).where(_in_state(COMPLETE, now))
        with reading(self._engine) as connection:
            found = connection.execute(query.group_by(jobs.c.kind))
            return {kind: (count, int(size or 0)) for kind, count, size in found}

    def expire(self, job_id: str, code: str, message: str, now: datetime) -> Job:
        """End the time of a complete job's files now, and say why.

        Raises:
            Conflict: if it is not complete.
            NotFound: if there is none with this id.
        """
        return self._move(
            job_id, now, (COMPLETE,), [],
            state=EXPIRED, expires_at=now, error_code=code, error_message=message,
        )  # fmt: skip

    def expire_due(self, now: datetime) -> tuple[str, ...]:
        """Note that the files of jobs have reached the end of their time; the ids of those jobs."""
        due = and_(jobs.c.state == COMPLETE, jobs.c.expires_at <= now)
        with reading(self._engine) as connection:
            if connection.execute(select(jobs.c.id).where(due).limit(1)).scalar() is None:
                return ()
        with self._engine.begin() as connection:
            expired = connection.execute(update(jobs).where(due).values(state=EXPIRED).returning(jobs.c.id))
            return tuple(sorted(expired.scalars()))

    def _move(
        self,
        job_id: str,
        now: datetime,
        states: Sequence[str],
        only: Sequence[ColumnElement[bool]],
        told_by: Callable[[Connection, Row[Any], datetime], None] | None = None,
        **to: Any,
    ) -> Job:
        """Change a job that is in one of ``states`` and as ``only`` says, or say why that cannot be.

        Args:
            told_by: what the change entails, in the same transaction: messages that tell of it.
        """
        with self._engine.begin() as connection:
            row = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state.in_(states), *only)
                .values(**to)
                .returning(*jobs.c)
            ).one_or_none()
            if row is not None and told_by is not None:
                told_by(connection, row, now)
        if row is not None:
            return _job(row, now)
        job = self.get(job_id, now)
        if job.state in OPEN:
            raise Conflict(f"job {job_id} is {job.state}, worked on by attempt {job.attempt}", field="jobId")
        raise Conflict(f"job {job_id} has ended; it is {job.state}", field="jobId")


def _in_state(state: str, now: datetime) -> ColumnElement[bool]:
    """Whether a job is in ``state`` at ``now``: complete ones expire in time, noted or not."""
    if state == COMPLETE:
        return and_(jobs.c.state == COMPLETE, jobs.c.expires_at > now)
    if state == EXPIRED:
        return or_(jobs.c.state == EXPIRED, and_(jobs.c.state == COMPLETE, jobs.c.expires_at <= now))
    return jobs.c.state == state


def _job(row: Row[Any], now: datetime) -> Job:
    held = {name: value for name, value in row._mapping.items() if name != "user_filter"}
    if held["state"] == COMPLETE and held["expires_at"] <= now:
        held["state"] = EXPIRED
    return Job(**held)
