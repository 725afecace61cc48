"""Working on access exports: what is held of a person is collected, and published as one archive.

A job of kind ``user`` (contract, section 6): its states and attempts are the ledger's, and the person it is
about is known until it ends only. How it is asked for stands in ``asking``, where it lies in ``places``.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from export_pipeline import ids, locks
from export_pipeline.days import utc_now
from export_pipeline.errors import Conflict, TransientError
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.archives import FOLDER, read_manifest
from export_pipeline.exports.making import PUBLISHING, Waiting
from export_pipeline.exports.publishing import room
from export_pipeline.exports.service import lock_name
from export_pipeline.failures import EXPORT, may_pass, verdict
from export_pipeline.faults import reach
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.jobs import COMPLETE, MAX_ATTEMPTS, PROCESSING, USER
from export_pipeline.objects import bring
from export_pipeline.privacy.archive import Sources, write_archive
from export_pipeline.privacy.asking import request_access
from export_pipeline.privacy.identity import resolve
from export_pipeline.privacy.places import archive_name, made_in
from export_pipeline.privacy.reading import connection, planned_again
from export_pipeline.settings import Settings
from export_pipeline.store import Store

MOST_AT_ONCE = 2
"""Archives made side by side."""

_ERASURES = "erasures"
_PATIENCE_SECONDS = 5.0
_PLANS = 4

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Collected:
    """What was found of a person: rows and rows withheld by data type, and how many ids they have."""

    rows: dict[str, int]
    withheld: dict[str, int]
    linked_ids: int
    contested_ids: int


Told = Callable[[int, int], None]


def _untold(_rows: int, _found: int) -> None:
    """For work that nobody watches."""


class Access:
    """Work on access exports of one deployment; ``waiting`` is as for other exports."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ledger: Ledger,
        clock: Clock = utc_now,
        waiting: Waiting = lambda _: (),
    ) -> None:
        self._settings, self._store, self._ledger = settings, store, ledger
        self._clock, self._waiting = clock, waiting

    def make(self, user_id: object, created_by: str, told: Told | None = None) -> Job:
        """Ask for an access export and make it here and now; nobody else works on it meanwhile.

        Args:
            told: the rows written, and how many are found so far.

        Raises:
            InvalidRequest, DamagedData, StorageFull, TransientError: see ``collect``.
            Conflict: if the person was erased meanwhile.
        """
        job_id = ids.ACCESS.new()
        with self._working_on(job_id):
            request_access(
                self._settings, self._ledger, user_id,
                now=self._clock(), created_by=created_by, job_id=job_id,
            )  # fmt: skip
            self._collect(self._ledger.jobs.start(job_id, 1, self._clock()), told or _untold)
            return self._publish(self._ledger.jobs.get(job_id, self._clock()), told or _untold)

    def collect(self, job_id: str) -> Collected:
        """Begin an attempt at an open job: find what is held, write the archive out of sight, read it back.

        A failure ends the job; one that may pass leaves the first attempt's job to a second.

        Raises:
            Conflict: if the job has ended, or another works on it.
            NotFound: if there is no such access export.
            DamagedData: if a store file is damaged, or the archive read back wrong.
            StorageFull, TransientError: if it may work the next time.
        """
        job = self._ledger.jobs.get(job_id, self._clock(), [USER])
        with self._working_on(job_id):
            return self._collect(self._ledger.jobs.start(job_id, job.attempt + 1, self._clock()))

    def publish(self, job_id: str) -> Job:
        """Give what the job's attempt has collected its place, and end the job; what it is then.

        What an erasure has changed since is collected again. Safe to repeat.

        Raises:
            as ``collect``.
        """
        with self._working_on(job_id):
            job = self._ledger.jobs.get(job_id, self._clock(), [USER])
            return job if job.state == COMPLETE else self._publish(job)

    @contextmanager
    def _working_on(self, job_id: str) -> Iterator[None]:
        slots = [f"access-{number}" for number in range(MOST_AT_ONCE)]
        with (
            locks.lock_soon(self._settings, lock_name(job_id), _PATIENCE_SECONDS),
            locks.lock_one(self._settings, slots),
        ):
            yield

    def _collect(self, job: Job, told: Told = _untold) -> Collected:
        with self._failing(job):
            reach(self._settings, "access.started")
            return planned_again(lambda: self._write(job, told))

    def _write(self, job: Job, told: Told) -> Collected:
        settings, ledger = self._settings, self._ledger
        folder = made_in(settings, job.id)
        shutil.rmtree(folder, ignore_errors=True)
        with room(folder):
            folder.mkdir(parents=True)
            # Looked up before anything is planned: what an erasure changes from here on is collected again.
            erasures = _erasures(ledger)
            (user_id,) = self._user_ids(job)
            (person,) = resolve(settings, self._store, [user_id])
            written = 0

            def progress(rows: int, found: int) -> None:
                nonlocal written
                written += rows
                ledger.jobs.progress(job.id, job.attempt, written, self._clock(), found)
                told(written, found)

            sources = Sources(settings, self._store, ledger, self._waiting, progress)
            with connection(settings) as reading:
                manifest = write_archive(
                    folder / archive_name(job.id), job.id, person, reading, sources, self._clock()
                )
            (folder / _ERASURES).write_text(erasures)
            reach(settings, "access.written")
        rows = {file.data_type: file.rows for file in manifest.export.files}
        return Collected(rows, dict(manifest.withheld), len(person.own), len(person.contested))

    def _user_ids(self, job: Job) -> tuple[str, ...]:
        held = self._ledger.jobs.user_ids(job.id)
        if not held:
            raise Conflict(f"job {job.id} has ended", field="jobId")
        return held

    def _publish(self, job: Job, told: Told = _untold) -> Job:
        if job.state != PROCESSING:
            raise Conflict(f"job {job.id} is {job.state}; nothing is collected for it", field="jobId")
        with self._failing(job):
            for _ in range(_PLANS):
                folder = made_in(self._settings, job.id)
                with self._ledger.lock(PUBLISHING):
                    if self._is_current(folder):
                        return self._move(job, folder / archive_name(job.id))
                planned_again(lambda: self._write(job, told))
            raise TransientError(f"people were erased {_PLANS} times in a row meanwhile; ask for it again")

    def _is_current(self, folder: Path) -> bool:
        try:
            return (folder / _ERASURES).read_text() == _erasures(self._ledger)
        except FileNotFoundError:
            return False

    def _move(self, job: Job, made: Path) -> Job:
        settings, now = self._settings, self._clock()
        manifest, size = read_manifest(made), made.stat().st_size
        place = settings.exports / FOLDER / made.name
        bring(made, place)
        reach(settings, "access.published")
        try:
            done = self._ledger.jobs.complete(
                job.id,
                job.attempt,
                rows=manifest.export.row_count,
                bytes=size,
                withheld=sum(manifest.withheld.values()),
                path=f"{FOLDER}/{made.name}",
                now=now,
                expires_at=now + timedelta(days=settings.export_retention_days),
            )
        except Conflict:
            place.unlink()
            raise
        finally:
            shutil.rmtree(made.parent, ignore_errors=True)
        reach(settings, "access.completed")
        return done

    @contextmanager
    def _failing(self, job: Job) -> Iterator[None]:
        """End the job by what fails in the block, with words its user understands."""
        try:
            yield
        except Conflict:
            shutil.rmtree(made_in(self._settings, job.id), ignore_errors=True)
            raise
        except Exception as error:
            shutil.rmtree(made_in(self._settings, job.id), ignore_errors=True)
            if job.attempt >= MAX_ATTEMPTS or not may_pass(error):
                code, message = verdict(error, EXPORT)
                with suppress(Conflict):
                    self._ledger.jobs.fail(job.id, code, message, self._clock(), attempt=job.attempt)
            raise


def _erasures(ledger: Ledger) -> str:
    """Which days erasures have changed, and how often: another text after each one that changed any."""
    looks = {name: ledger.read_days(name, date.min, date.max).states for name in DATA_TYPES}
    return "".join(
        f"{name} {day} {state.erasures}\n"
        for name, states in looks.items()
        for day, state in sorted(states.items())
        if state.erasures
    )
