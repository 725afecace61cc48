"""Requests of the ledger as runs: the run that is next, whether one is on its way, and when it is given up.

A run carries the id of its request as a tag. Its run key is that id and a number higher than that of any try
before, as Dagster remembers keys for ever.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from export_pipeline.defs.deployment import Deployment
from export_pipeline.defs.ingest import UNFINISHED
from export_pipeline.errors import Conflict
from export_pipeline.exports.service import INTERRUPTED, lock_name
from export_pipeline.ledger import Job
from export_pipeline.ledger.jobs import MAX_ATTEMPTS, PROCESSING
from export_pipeline.locks import is_held

JOB_TAG = "export_pipeline/job"
MOST_RUNS = 6
"""Runs for a request after which it is given up, those that died before they began to work on it included."""
LAUNCHED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
LONGEST_LAUNCH = timedelta(minutes=1)
"""How long a run may take from being launched to being started; after that its process is taken for dead."""


@dataclass(frozen=True)
class Tries:
    """What there was of a request: its runs, newest first, and how often somebody began to work on it."""

    request_id: str
    runs: Sequence[dg.RunRecord]
    attempt: int

    @property
    def run_key(self) -> str:
        """The key of the next run."""
        return f"{self.request_id}:{max(self.attempt, len(self.runs)) + 1}"

    def is_coming(self, now: datetime, begun: int = 0) -> bool:
        """Whether the newest run is on its way or at work; one launched long ago that never began is dead.

        Args:
            begun: runs that began an attempt, where it is known otherwise whether they still work.
        """
        if len(self.runs) <= begun or self.runs[0].dagster_run.status not in UNFINISHED:
            return False
        launched = self.runs[0].dagster_run.status in LAUNCHED
        return not (launched and now - self.runs[0].update_timestamp > LONGEST_LAUNCH)

    def was_cancelled(self) -> bool:
        """Whether somebody cancelled the newest run in the UI."""
        return bool(self.runs) and self.runs[0].dagster_run.status is dg.DagsterRunStatus.CANCELED

    def is_given_up(self, most_attempts: int) -> bool:
        """Whether it was tried as often as it may be."""
        return self.attempt >= most_attempts or len(self.runs) >= MOST_RUNS


def tries(instance: dg.DagsterInstance, job_name: str, tag: str, request_id: str, attempt: int) -> Tries:
    """What there was of a request, by the runs of a job that carry its id as ``tag``."""
    wanted = dg.RunsFilter(job_name=job_name, tags={tag: request_id})
    return Tries(request_id, instance.get_run_records(wanted), attempt)


def next_jobs(
    deployment: Deployment,
    instance: dg.DagsterInstance,
    job_name: str,
    jobs: Sequence[Job],
    at_once: int,
    now: datetime,
    *,
    one_lock: bool,
) -> tuple[list[tuple[Job, str]], int]:
    """The jobs to start now, in order, with the keys of their runs; and how many are worked on.

    A job that was tried as often as it may be ends as failed here, and one whose run was cancelled in
    the UI as cancelled.

    Args:
        job_name: the Dagster job whose runs work on them.
        at_once: how many may be worked on at the same time.
        one_lock: whether a run that began holds the lock of its job until it ends, so that without the
            lock it is dead, whatever Dagster says of it.
    """
    waiting: list[tuple[Job, str]] = []
    working = 0
    for job in jobs:
        if len(waiting) == at_once:
            break
        tried = tries(instance, job_name, JOB_TAG, job.id, job.attempt)
        begun = job.attempt if one_lock and job.state == PROCESSING else 0
        if is_held(deployment.settings, lock_name(job.id)) or tried.is_coming(now, begun):
            working += 1
        elif tried.was_cancelled():
            with suppress(Conflict):
                deployment.ledger.jobs.cancel(job.id, now)
        elif tried.is_given_up(MAX_ATTEMPTS):
            with suppress(Conflict):
                deployment.ledger.jobs.fail(job.id, "INTERNAL_ERROR", INTERRUPTED, now)
        else:
            waiting.append((job, tried.run_key))
    return waiting[: max(0, at_once - working)], working
