"""Access exports in Dagster: the job of two ops, and the sensor that turns queued requests into runs.

A run knows the id of a request and nothing else of it; who it is about stands encrypted in the ledger. No
link to the archive is shown: whoever opens the UI could follow it.
"""

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG
from pydantic import Field

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.requests import JOB_TAG, next_jobs
from export_pipeline.errors import Conflict
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.ingest import waiting_for
from export_pipeline.ledger import Job
from export_pipeline.ledger.jobs import COMPLETE, USER
from export_pipeline.privacy.access import MOST_AT_ONCE, Access
from export_pipeline.privacy.places import clear_access

JOB = "access_export"
COLLECT, PUBLISH = "collect_person", "publish_archive"
LONGEST_SECONDS = 3600


class AccessForm(dg.Config):
    """Which request. Anybody can read a run's config: it has no place for users."""

    job_id: str = Field(description="The id (usr_exp_…) of a request made by API or command.")


@dg.op(
    name=COLLECT,
    description="Finds what is held of the person, writes the archive out of sight, and reads it back.",
)
def collect_op(
    context: dg.OpExecutionContext, config: AccessForm, deployment: dg.ResourceParam[Deployment]
) -> dg.Output[None]:
    """Begin an attempt at the request; what was found is in the metadata as counts."""
    found = told_in_words(lambda: _collected(context, deployment, config.job_id))
    return dg.Output(None, metadata={"jobId": config.job_id, **found})


def _collected(
    context: dg.OpExecutionContext, deployment: Deployment, job_id: str
) -> dict[str, dg.MetadataValue]:
    job_id = deployment.ledger.jobs.get(job_id, utc_now(), [USER]).id
    context.instance.add_run_tags(context.run_id, {JOB_TAG: job_id})
    try:
        found = _access(deployment).collect(job_id)
    except Conflict as conflict:
        context.log.info(f"Nothing to do: {conflict.message}.")
        return {}
    tables = {DATA_TYPES[name].table: rows for name, rows in found.rows.items()}
    counts = {
        **tables,
        "withheld": sum(found.withheld.values()),
        "linkedIds": found.linked_ids,
        "contestedIds": found.contested_ids,
    }
    return {name: dg.MetadataValue.int(count) for name, count in counts.items()}


@dg.op(
    name=PUBLISH,
    ins={"collected": dg.In(dg.Nothing)},
    description="Gives the archive its place, unless an erasure has changed what is in it: then it is "
    "collected again. Kept for 7 days; links to it are given by API and command.",
)
def publish_op(
    context: dg.OpExecutionContext, config: AccessForm, deployment: dg.ResourceParam[Deployment]
) -> dg.Output[None]:
    """End the request; what it came to is in the metadata."""
    job = told_in_words(lambda: _published(context, deployment, config.job_id))
    return dg.Output(None, metadata=_metadata(job))


def _published(context: dg.OpExecutionContext, deployment: Deployment, job_id: str) -> Job:
    try:
        return _access(deployment).publish(job_id)
    except Conflict as conflict:
        context.log.info(f"Nothing to do: {conflict.message}.")
        return deployment.ledger.jobs.get(job_id, utc_now(), [USER])


def _metadata(job: Job) -> dict[str, dg.MetadataValue]:
    shown: dict[str, dg.MetadataValue] = {
        "jobId": dg.MetadataValue.text(job.id),
        "status": dg.MetadataValue.text(job.state),
    }
    if job.state == COMPLETE and job.started_at and job.ended_at and job.expires_at:
        shown |= {
            "rows": dg.MetadataValue.int(job.rows or 0),
            "withheld": dg.MetadataValue.int(job.withheld or 0),
            "bytes": dg.MetadataValue.int(job.bytes or 0),
            "seconds": dg.MetadataValue.float((job.ended_at - job.started_at).total_seconds()),
            "expires": dg.MetadataValue.timestamp(job.expires_at),
        }
    return shown


def _access(deployment: Deployment) -> Access:
    settings, ledger = deployment.settings, deployment.ledger
    return Access(settings, deployment.store, ledger, waiting=waiting_for(settings, ledger))


@dg.config_mapping
def _for_both(form: AccessForm) -> dict[str, object]:
    return {"ops": {name: {"config": {"job_id": form.job_id}} for name in (COLLECT, PUBLISH)}}


@dg.job(
    name=JOB,
    config=_for_both,
    description="One person's data as an archive. Requests are made by API or command and started by the "
    "`access_exports` sensor; the form takes the id of one.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    tags={
        PRIORITY_TAG: "20",
        MAX_RUNTIME_SECONDS_TAG: str(LONGEST_SECONDS),
        # The sensor sees to a second try, as the ledger counts them.
        MAX_RETRIES_TAG: "0",
    },
)
def access_job() -> None:
    """Collect, then publish."""
    publish_op(collected=collect_op())


def access_sensor() -> dg.SensorDefinition:
    """A sensor that starts a run for every access request whose turn it is."""

    @dg.sensor(
        name="access_exports",
        job=access_job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts access exports that were asked for, in order, {MOST_AT_ONCE} at a time; tries "
        "one whose run died once more; clears away what expired and failed ones left.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = utc_now()
        clear_access(deployment.settings, deployment.ledger, now)
        jobs = deployment.ledger.jobs.open(now, [USER])
        # Between the two ops nobody holds the lock.
        starting, working = next_jobs(
            deployment, context.instance, JOB, jobs, MOST_AT_ONCE, now, one_lock=False
        )
        if not starting:
            others = len(jobs) - working
            return dg.SkipReason(f"{working} access exports are being made; {others} wait for their turn.")
        return [
            dg.RunRequest(run_key=run_key, run_config={"job_id": job.id}, tags={JOB_TAG: job.id})
            for job, run_key in starting
        ]

    return sensor


def access() -> dg.Definitions:
    """The job and its sensor."""
    return dg.Definitions(jobs=[access_job], sensors=[access_sensor()])
