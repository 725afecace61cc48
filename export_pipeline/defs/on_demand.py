"""Exports on demand in Dagster: the job with its form, and the sensor that turns queued requests into runs,
those of scheduled exports too.

A run that is for a request of the ledger carries its id as a tag and in its config, and nothing else of it.
"""

from datetime import datetime
from enum import Enum

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG
from pydantic import Field

from export_pipeline import ids
from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.requests import JOB_TAG, next_jobs
from export_pipeline.delivery.links import HmacSigner, current_link, urls
from export_pipeline.delivery.published import published
from export_pipeline.errors import Conflict, InvalidRequest
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.estimates import MOST_AT_ONCE
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.request import COMPRESSIONS, FORMATS
from export_pipeline.exports.service import clear, request_export, run_job
from export_pipeline.ingest import waiting_for
from export_pipeline.ledger import Job
from export_pipeline.ledger.jobs import COMPLETE, EXPORTS

JOB = "on_demand_export"
OP = "export_on_demand"
KIND_TAG = "export_pipeline/kind"
LONGEST_SECONDS = 6 * 3600
DataTypeName = Enum("DataTypeName", {name: name for name in DATA_TYPES})  # type: ignore[misc]
FormatName = Enum("FormatName", {name: name for name in FORMATS})  # type: ignore[misc]
CompressionName = Enum("CompressionName", {name: name for name in COMPRESSIONS})  # type: ignore[misc]


class OnDemandForm(dg.Config):
    """What to export, or the id of a request that says it. Anybody can read it: it has no place for users."""

    start_date: str | None = Field(None, description="First day (UTC), YYYY-MM-DD.")
    end_date: str | None = Field(None, description="Last day, at most 30 days later.")
    cursor: list[str] = Field(
        [], description="Instead of dates: the cursors of exports, for the rows taken in since."
    )
    data_types: list[DataTypeName] | None = Field(
        None,
        description=f"Any of {', '.join(DATA_TYPES)}, in the order wanted; absent: events, or those of the "
        "cursor.",
    )
    format: FormatName = Field(FormatName["jsonl"], description="jsonl or csv.")
    compression: CompressionName = Field(CompressionName["gzip"], description="gzip or none.")
    content_ids: list[str] = Field([], description="Only these videos; empty: all.")
    event_types: list[str] = Field([], description="Only these events; empty: all.")
    job_id: str | None = Field(
        None,
        description="Instead of all else: the id (exp_…) of a request made by API or command, such as one "
        "that names users.",
    )


def _values(form: OnDemandForm) -> dict[str, object]:
    """The request as the REST body would have it."""
    filters = {"contentIds": form.content_ids, "eventTypes": form.event_types}
    dates = {"startDate": form.start_date, "endDate": form.end_date}
    return {
        **{name: day for name, day in dates.items() if day is not None},
        **({"cursor": form.cursor} if form.cursor else {}),
        **({} if form.data_types is None else {"dataTypes": [name.value for name in form.data_types]}),
        "format": form.format.value,
        "compression": form.compression.value,
        "filters": {name: wanted for name, wanted in filters.items() if wanted},
    }


@dg.op(
    name=OP,
    description="Makes one export, publishes it at `exports/<kind>/<job id>/`, and links to it.",
)
def export_op(
    context: dg.OpExecutionContext, config: OnDemandForm, deployment: dg.ResourceParam[Deployment]
) -> dg.Output[None]:
    """Work on the job the form names, or on the one it asks for."""
    job = told_in_words(lambda: _job_of(context, deployment, config))
    done = told_in_words(lambda: _run(context, deployment, job))
    return dg.Output(None, metadata=told_in_words(lambda: _metadata(deployment, done, utc_now())))


def _job_of(context: dg.OpExecutionContext, deployment: Deployment, form: OnDemandForm) -> Job:
    now = utc_now()
    if form.job_id is not None:
        if form.start_date is not None or form.end_date is not None or form.cursor:
            raise InvalidRequest(
                "job_id is given together with dates or a cursor; give the id alone, or what to export",
                field="job_id",
            )
        job_id = deployment.ledger.jobs.get(form.job_id, now).id
        context.instance.add_run_tags(context.run_id, {JOB_TAG: job_id})
        return deployment.ledger.jobs.get(job_id, now)
    # Tagged before the job is there, so that the sensor never takes it for one without a run.
    job_id = ids.EXPORT.new()
    context.instance.add_run_tags(context.run_id, {JOB_TAG: job_id})
    return request_export(
        deployment.settings,
        deployment.store,
        deployment.ledger,
        _values(form),
        now=now,
        created_by="dagster",
        job_id=job_id,
    )


def _run(context: dg.OpExecutionContext, deployment: Deployment, job: Job) -> Job:
    settings, ledger = deployment.settings, deployment.ledger
    tenth = 0

    def told(now: Job) -> None:
        nonlocal tenth
        if now.progress // 10 > tenth:
            tenth = now.progress // 10
            context.log.info(f"{now.progress} %: {now.processed_rows:,} rows of about {now.estimated_rows:,}")

    try:
        return run_job(
            settings,
            deployment.store,
            ledger,
            job.id,
            job.attempt + 1,
            waiting=waiting_for(settings, ledger),
            told=told,
        )
    except Conflict as conflict:
        context.log.info(f"Nothing to do: {conflict.message}.")
        return ledger.jobs.get(job.id, utc_now())


def _metadata(deployment: Deployment, job: Job, now: datetime) -> dict[str, dg.MetadataValue]:
    """What the UI shows of a job that has ended."""
    shown: dict[str, dg.MetadataValue] = {
        "jobId": dg.MetadataValue.text(job.id),
        "status": dg.MetadataValue.text(job.state),
    }
    if job.state == COMPLETE and job.path is not None and job.started_at and job.ended_at:
        settings = deployment.settings
        export = published(settings, job)
        signer = HmacSigner(settings)
        links = urls(export, current_link(deployment.ledger, job, now), signer)
        shown |= {
            "rows": dg.MetadataValue.int(job.rows or 0),
            "bytes": dg.MetadataValue.int(job.bytes or 0),
            "seconds": dg.MetadataValue.float((job.ended_at - job.started_at).total_seconds()),
            "download": dg.MetadataValue.url(links.download),
            "linkExpires": dg.MetadataValue.timestamp(links.expires_at),
            "directory": dg.MetadataValue.path(str(export.folder)),
            "manifest": dg.MetadataValue.path(str(export.folder / MANIFEST)),
        }
    return shown


@dg.job(
    name=JOB,
    description="One export of a range of days. Its form is typed; such a run is an export like any other, "
    "listed by the API and counted against the exports of the day. Requests made by API or command, and "
    "scheduled exports, are started by the `on_demand_exports` sensor.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    tags={
        PRIORITY_TAG: "20",
        MAX_RUNTIME_SECONDS_TAG: str(LONGEST_SECONDS),
        # The sensor sees to a second try, as the ledger counts them.
        MAX_RETRIES_TAG: "0",
    },
)
def on_demand_job() -> None:
    """One op."""
    export_op()


def on_demand_sensor() -> dg.SensorDefinition:
    """A sensor that starts a run for every request whose turn it is."""

    @dg.sensor(
        name="on_demand_exports",
        job=on_demand_job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts exports that were asked for or are scheduled, in order, {MOST_AT_ONCE} at a "
        "time; tries one whose run died once more; clears away what cancelled and failed exports left.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = utc_now()
        clear(deployment.settings, deployment.ledger, now)
        jobs = deployment.ledger.jobs.open(now, EXPORTS)
        starting, working = next_jobs(
            deployment, context.instance, JOB, jobs, MOST_AT_ONCE, now, one_lock=True
        )
        if not starting:
            others = len(jobs) - working
            return dg.SkipReason(f"{working} exports are being made; {others} wait for their turn.")
        return [
            dg.RunRequest(
                run_key=run_key,
                run_config=dg.RunConfig(ops={OP: {"config": {"job_id": job.id}}}),
                tags={JOB_TAG: job.id, KIND_TAG: job.kind},
            )
            for job, run_key in starting
        ]

    return sensor


def on_demand() -> dg.Definitions:
    """The job and its sensor."""
    return dg.Definitions(jobs=[on_demand_job], sensors=[on_demand_sensor()])
