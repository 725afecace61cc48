"""Exports that jobs stand for: asked for, queued in the ledger, and worked on by whoever runs the job.

Owns what a job's export is called and where it lies, how its progress is noted, what a failure means for
the job, and what is cleared away. The states themselves are the ledger's.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from upath import UPath

from export_pipeline import locks, objects
from export_pipeline.days import utc_now
from export_pipeline.errors import (
    Conflict,
    NotFound,
)
from export_pipeline.exports.daily import SCRATCH
from export_pipeline.exports.estimates import MOST_AT_ONCE, estimate
from export_pipeline.exports.executors import makers
from export_pipeline.exports.making import Made, Sources, Waiting, make_published, seal
from export_pipeline.exports.manifest import Manifest
from export_pipeline.exports.ondemand import kept_days
from export_pipeline.exports.onefile import one_file_bytes
from export_pipeline.exports.publishing import Making, room, scratch, sweep
from export_pipeline.exports.request import ExportRequest, parse_request
from export_pipeline.failures import EXPORT, may_pass, verdict
from export_pipeline.faults import reach
from export_pipeline.ledger import Job, Ledger, NewJob
from export_pipeline.ledger.jobs import CANCELLED, EXPORTS, FAILED, MAX_ATTEMPTS, OPEN, SCHEDULED
from export_pipeline.objects import AnyPath
from export_pipeline.settings import Settings
from export_pipeline.store import Store

_LATER_VERSION = re.compile(r"-v[1-9][0-9]*\Z", re.ASCII)
_PROGRESS_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0

INTERRUPTED = "the export was interrupted each time it was tried; ask for it again"

Clock = Callable[[], datetime]


def request_export(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    values: Mapping[str, object],
    *,
    now: datetime,
    created_by: str,
    job_id: str | None = None,
) -> Job:
    """Queue the export that ``values``, keyed as in the REST body, ask for; no row is read.

    Args:
        created_by: the id of a key, or ``command`` or ``dagster``.
        job_id: the job's id; default: a new one.

    Raises:
        InvalidRequest, OutsideRetention: see ``parse_request``.
        RateLimited: if as many as a day allows were asked for.
    """
    request = parse_request(values, now=now, settings=settings)
    expected = estimate(settings, store, ledger, request, now)
    new = NewJob(
        request=noted(request),
        user_ids=request.filters.user_ids,
        estimated_rows=expected.rows,
        estimated_bytes=expected.bytes,
        estimated_completion=expected.completion,
        created_by=created_by,
    )
    return ledger.jobs.create(new, now, job_id)


def noted(request: ExportRequest) -> dict[str, object]:
    """The request as the ledger shows it: as in the manifest, users as a count."""
    return {
        "since": list(request.since.texts) if request.since else [],
        "dateRange": {"start": str(request.start), "end": str(request.end)},
        "dataTypes": list(request.data_types),
        "format": request.format,
        "compression": request.compression,
        "filters": {
            "contentIds": list(request.filters.content_ids),
            "eventTypes": list(request.filters.event_types),
            "userCount": len(request.filters.user_ids),
        },
    }


def _request(settings: Settings, ledger: Ledger, job: Job, now: datetime) -> ExportRequest:
    """The request of an open job, its users decrypted.

    Raises:
        OutsideRetention: if its first day is not kept any more.
    """
    return requested(settings, job, ledger.jobs.user_ids(job.id), now)


def requested(settings: Settings, job: Job, user_ids: Sequence[str], now: datetime) -> ExportRequest:
    """What a job was asked for.

    Args:
        user_ids: the users its filter names.

    Raises:
        OutsideRetention: if its first day is not kept any more.
        Conflict: if there were more users.
    """
    noted = job.request
    filters = {
        "contentIds": noted["filters"]["contentIds"],
        "userIds": list(user_ids),
        "eventTypes": noted["filters"]["eventTypes"],
    }
    if len(filters["userIds"]) != noted["filters"]["userCount"]:
        raise Conflict(f"job {job.id} has ended", field="jobId")
    dates = {"startDate": noted["dateRange"]["start"], "endDate": noted["dateRange"]["end"]}
    values = {
        **({"cursor": noted["since"]} if noted.get("since") else dates),
        **{name: noted[name] for name in ("dataTypes", "format", "compression")},
        "filters": {name: wanted for name, wanted in filters.items() if wanted},
    }
    return parse_request(values, now=now, settings=settings)


def job_folder(settings: Settings, job: Job) -> UPath:
    """The directory of a job's export as it is first made; all of a kind are in one place."""
    return settings.exports / job.kind / job.id


def job_of(path: AnyPath) -> str:
    """The id of the job whose files, in whatever version, are at ``path``."""
    return _LATER_VERSION.sub("", path.name.partition(".")[0])


def lock_name(job_id: str) -> str:
    """The lock that whoever works on a job holds: an open job without a holder is worked on by nobody."""
    return f"job-{job_id}"


def run_job(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    job_id: str,
    attempt: int,
    *,
    clock: Clock = utc_now,
    waiting: Waiting = lambda _: (),
    executor: Executor | None = None,
    told: Callable[[Job], None] = lambda _: None,
) -> Job:
    """Work on a job under the number of an attempt, to its end; what it is then.

    It stays queued until fewer than ``MOST_AT_ONCE`` are worked on.

    A job that was cancelled or taken over by a later attempt meanwhile is left as it is, and nothing of
    this attempt stays. A failure ends the job with an error its user understands, and is raised as well; one
    that may pass leaves the first attempt's job to a second.

    Args:
        waiting: which days something landed waits for; decides ``complete`` in the manifest.
        executor: where windows are encoded; default: threads.
        told: the job each time its progress is noted.

    Raises:
        Conflict: if the job has ended, or was begun under this number or a higher one.
        NotFound: if there is no such job.
    """
    with (
        locks.lock_soon(settings, lock_name(job_id), _PATIENCE_SECONDS),
        locks.lock_one(settings, [f"worker-{number}" for number in range(MOST_AT_ONCE)]),
    ):
        job = ledger.jobs.start(job_id, attempt, clock())
        reach(settings, "job.started")
        work = _Work(settings, store, ledger, job, clock, waiting, told)
        try:
            manifest = work.publish(executor)
            done = work.complete(manifest)
        except Conflict:
            return ledger.jobs.get(job_id, clock())
        except Exception as error:
            if attempt >= MAX_ATTEMPTS or not may_pass(error):
                work.fail(error)
            raise
        reach(settings, "job.completed")
        return done


class _Work:
    """One attempt at a job."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ledger: Ledger,
        job: Job,
        clock: Clock,
        waiting: Waiting,
        told: Callable[[Job], None],
    ) -> None:
        self._settings, self._store, self._ledger = settings, store, ledger
        self._job, self._clock, self._waiting, self._told = job, clock, waiting, told
        self._rows = 0
        self._noted = time.monotonic()

    def publish(self, executor: Executor | None) -> Manifest:
        """Make the export and move it to its place.

        Raises:
            Conflict: if the job is not this attempt's any more.
        """
        settings, job = self._settings, self._job
        request = _request(settings, self._ledger, job, self._clock())
        with (
            scratch(settings.tmp / "exports", SCRATCH) as made_in,
            room(settings.exports),
            makers(settings, executor) as pool,
        ):
            sources = Sources(settings, self._store, self._ledger, pool, self._waiting)

            def finish(place: Making, made: Made) -> Manifest:
                manifest = seal(
                    place,
                    made,
                    export_id=job.id,
                    kind=job.kind,
                    version=1,
                    replaces=None,
                    sources=sources,
                    now=self._clock(),
                )
                self._note()
                return manifest

            final = job_folder(settings, job)
            kept = kept_days(settings, request)
            manifest = make_published(
                made_in, request, sources, self._progress, lambda _: final, finish, kept
            )
            reach(settings, "job.published")
            return manifest

    def complete(self, manifest: Manifest) -> Job:
        """End the job; take its export away again if it is not this attempt's any more."""
        job, now = self._job, self._clock()
        try:
            return self._ledger.jobs.complete(
                job.id,
                job.attempt,
                rows=manifest.row_count,
                bytes=one_file_bytes(job_folder(self._settings, job), manifest),
                path=f"{job.kind}/{job.id}",
                now=now,
                made={
                    "dateRange": {"start": str(manifest.start), "end": str(manifest.end)},
                    "cursor": manifest.cursor,
                },
                expires_at=now + timedelta(days=self._settings.export_retention_days),
            )
        except Conflict:
            clear(self._settings, self._ledger, now)
            raise

    def fail(self, error: Exception) -> None:
        """End the job with what ``error`` means to its user, unless it is not this attempt's any more."""
        code, message = verdict(error, EXPORT)
        with suppress(Conflict):
            self._ledger.jobs.fail(self._job.id, code, message, self._clock(), attempt=self._job.attempt)

    def _progress(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() >= self._noted + _PROGRESS_SECONDS:
            self._note()

    def _note(self) -> None:
        self._noted = time.monotonic()
        self._told(self._ledger.jobs.progress(self._job.id, self._job.attempt, self._rows, self._clock()))


def clear(settings: Settings, ledger: Ledger, now: datetime) -> None:
    """Clear away what no job needs: exports of cancelled and failed jobs, what dead processes left, and locks
    of jobs that have ended. Files whose time is over are the affair of retention."""
    sweep(settings.tmp / "exports", SCRATCH)
    for kind in EXPORTS:
        for folder in objects.inside(settings.exports / kind):
            with suppress(NotFound):
                if _is_left_over(settings, ledger, folder, now):
                    objects.remove(folder)
    open_jobs = {lock_name(job.id) for job in ledger.jobs.open(now)}
    for name in locks.known(settings, lock_name("")):
        if name not in open_jobs and not locks.is_held(settings, name):
            locks.forget(settings, name)


def _is_left_over(settings: Settings, ledger: Ledger, folder: UPath, now: datetime) -> bool:
    """Whether no job needs the export in ``folder``: its own ended without it, or shows another."""
    job_id = job_of(folder)
    state = ledger.jobs.get(job_id, now).state
    if state in (CANCELLED, FAILED):
        return True
    if state in OPEN or locks.is_held(settings, lock_name(job_id)):
        return False
    # Read once nobody holds it: who made another version has said by then which one is shown.
    job = ledger.jobs.get(job_id, now)
    return job.path != str(folder.relative_to(settings.exports)) and not is_superseded(job, folder)


def is_superseded(job: Job, folder: AnyPath) -> bool:
    """Whether ``folder`` holds an older version of a scheduled export than is shown; it stays as long."""
    if job.kind != SCHEDULED or job.path is None:
        return False
    return _version(folder.name) < _version(PurePosixPath(job.path).name)


def _version(name: str) -> int:
    later = _LATER_VERSION.search(name)
    return int(later[0].removeprefix("-v")) if later else 1
