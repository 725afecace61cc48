"""Scheduled exports that were delivered and of which days have changed: made again, and told to who got them.

The new version has the id of the export and takes its place; the one before stays until the export expires.
What an incremental schedule made is left as it is: what came since is in its next increment (contract,
section 8).
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from export_pipeline import locks
from export_pipeline.days import oldest_kept_day
from export_pipeline.errors import Conflict, DamagedData, NotFound
from export_pipeline.exports.comparing import came_and_went
from export_pipeline.exports.daily import SCRATCH, read
from export_pipeline.exports.executors import makers
from export_pipeline.exports.making import Made, Sources, Waiting, make_published, seal
from export_pipeline.exports.manifest import Manifest, Replaces
from export_pipeline.exports.ondemand import kept_days
from export_pipeline.exports.onefile import one_file_bytes
from export_pipeline.exports.publishing import Making, room, scratch
from export_pipeline.exports.service import lock_name, requested
from export_pipeline.faults import reach
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.jobs import SCHEDULED
from export_pipeline.ledger.schedules import INCREMENTAL
from export_pipeline.objects import relative
from export_pipeline.operations.restatement import due, watermark
from export_pipeline.settings import Settings
from export_pipeline.store import Store


@dataclass(frozen=True)
class StaleDelivery:
    """A scheduled export of which days have changed; its next version is due at ``due_at``."""

    job_id: str
    version: int
    due_at: datetime


def stale_deliveries(settings: Settings, ledger: Ledger, now: datetime) -> Iterator[StaleDelivery]:
    """The complete scheduled exports of which a day has a higher data version by now, all days being kept.

    None while people are being erased: their exports are rewritten for that reason.
    """
    if ledger.erasures.open():
        return
    for job in ledger.jobs.complete_of(SCHEDULED, now):
        with suppress(DamagedData):
            manifest = read(settings.exports / str(job.path), settings)
            if found := _stale(settings, ledger, job, manifest, now):
                yield found


def _stale(
    settings: Settings, ledger: Ledger, job: Job, manifest: Manifest, now: datetime
) -> StaleDelivery | None:
    if (
        manifest.since
        or _is_incremental(ledger, job)
        or len(_users(ledger, job)) != job.request["filters"]["userCount"]
    ):
        return None
    since: list[datetime] = []
    changed: list[datetime] = []
    for name in manifest.data_types:
        first = ledger.keeping.first_day(name)
        if manifest.start < max(oldest_kept_day(now, settings.raw_retention_days), first or manifest.start):
            return None
        states = ledger.read_days(name, manifest.start, manifest.end)
        mark = watermark(settings, name, manifest)
        for day in manifest.days:
            if day.data_type == name and states[day.date].version > day.data_version:
                changed_at = states[day.date].changed_at or now
                changed.append(changed_at)
                since.append(ledger.rows_of_day(name, day.date, mark)[1] or changed_at)
    if not changed:
        return None
    made_at = datetime.fromisoformat(manifest.created_at)
    return StaleDelivery(job.id, manifest.version, due(settings, made_at, min(since), max(changed)))


def restate(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    job_id: str,
    *,
    now: datetime,
    waiting: Waiting = lambda _: (),
    executor: Executor | None = None,
) -> Manifest | None:
    """Make the next version of a scheduled export and tell who got it, in the transaction that shows it.

    Returns:
        Its manifest; None if the export is not stale any more.

    Raises:
        Conflict: if it is not complete any more.
        OutsideRetention: if a day of it is not kept any more.
        DamagedData, TransientError, StorageFull: see ``making.make_published``.
    """
    with locks.lock(settings, lock_name(job_id)), makers(settings, executor) as pool:
        job = ledger.jobs.get(job_id, now, [SCHEDULED])
        if job.path is None or job.completed_at is None:
            raise Conflict(f"job {job_id} is {job.state}; only a complete one is restated", field="jobId")
        shown = settings.exports / job.path
        before = read(shown, settings)
        if _stale(settings, ledger, job, before, now) is None:
            return None
        request = requested(settings, job, _users(ledger, job), now)
        sources = Sources(settings, store, ledger, pool, waiting)
        with scratch(settings.tmp / "exports", SCRATCH) as made_in, room(settings.exports):

            def finish(place: Making, made: Made) -> Manifest:
                added, removed = came_and_went(shown, before, place.folder, made, sources, place.spill)
                return seal(
                    place,
                    made,
                    export_id=job_id,
                    kind=job.kind,
                    version=before.version + 1,
                    replaces=Replaces(job_id, before.version, added, removed),
                    sources=sources,
                    now=now,
                )

            final = shown.with_name(f"{job_id}-v{before.version + 1}")
            kept = kept_days(settings, request)
            manifest = make_published(made_in, request, sources, None, lambda _: final, finish, kept)
        reach(settings, "restatement.published")
        assert manifest.replaces is not None
        ledger.jobs.restate(
            job_id,
            path=relative(final, settings.exports),
            rows=manifest.row_count,
            bytes=one_file_bytes(final, manifest),
            version=manifest.version,
            replaces=before.version,
            added=manifest.replaces.rows_added,
            removed=manifest.replaces.rows_removed,
            cursor=manifest.cursor,
            now=now,
        )
        reach(settings, "restatement.shown")
        return manifest


def _is_incremental(ledger: Ledger, job: Job) -> bool:
    try:
        return ledger.schedules.get(job.created_by).mode == INCREMENTAL
    except NotFound:
        return False


def _users(ledger: Ledger, job: Job) -> tuple[str, ...]:
    """The users its filter names, which the schedule knows; none if it is there no more."""
    try:
        return ledger.schedules.user_ids(job.created_by) if job.request["filters"]["userCount"] else ()
    except NotFound:
        return ()
