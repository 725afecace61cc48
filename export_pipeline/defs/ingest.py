"""The ingest job, and the sensor that starts it when files land."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial

import dagster as dg

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.events import DATA_VERSION_TAG, unrecorded_days
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.stored import counted_preview, of_day, of_users
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.ingest import Report, ingest_landing, waiting_files
from export_pipeline.ledger import Counts
from export_pipeline.store.tables import TABLE_OF

JOB = "ingest"
LONGEST_RUN = timedelta(hours=2)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=15)

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.op(
    name="take_in_batches",
    pool="ingest",
    description="Takes in every file that waits in the landing directory, and records the days it changed.",
)
def ingest_op(
    context: dg.OpExecutionContext, deployment: dg.ResourceParam[Deployment]
) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
    """Ingest what waits; record each day whose data version changed, and each user table that got rows."""
    yield from recorded(
        context, deployment, lambda: ingest_landing(deployment.settings, deployment.store, deployment.ledger)
    )


def recorded(
    context: dg.OpExecutionContext, deployment: Deployment, take: Callable[[], Report]
) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
    """The events of an op that ingests by ``take``: what to record, then the counts."""
    report, failure, began = Report(), None, time.monotonic()
    try:
        report = told_in_words(take)
    except dg.Failure as error:
        failure = error
    # Batches committed before a failure stay committed: their days are recorded all the same.
    seconds = round(time.monotonic() - began, 3)
    yield from materializations(deployment, context.instance, report, utc_now().date(), seconds)
    if failure is not None:
        raise failure
    yield dg.Output(None, metadata={"counts": dg.MetadataValue.json(report.to_json())})


def materializations(
    deployment: Deployment, instance: dg.DagsterInstance, report: Report, today: date, seconds: float
) -> Iterator[dg.AssetMaterialization]:
    """What to record after an ingest of ``seconds``: a materialization a changed (data type, day) and user
    table.

    ``ingest/…`` counts the lines of all days of this ingest, as a rejected line has no day.
    """
    for data_type, day, state in unrecorded_days(deployment, instance, today):
        added = report.days.get(data_type, {}).get(day)
        table = DATA_TYPES[data_type].table
        yield dg.AssetMaterialization(
            table,
            partition=day.isoformat(),
            metadata={
                "rows": state.rows,
                "seconds": seconds,
                **told_in_words(partial(of_day, deployment.store, table, day)),
                "preview": told_in_words(partial(counted_preview, deployment.store, table, day)),
                "dataVersion": state.version,
                **({} if added is None else {"rowsAdded": added}),
                **_counts(report, data_type),
            },
            tags={DATA_VERSION_TAG: str(state.version)},
        )
    for landing, of_landing in USER_TABLES.items():
        counts = report.counts.get(target := f"users/{landing}")
        if counts and counts.accepted:
            yield dg.AssetMaterialization(
                of_landing.name,
                metadata={
                    **told_in_words(partial(of_users, deployment.store, of_landing)),
                    "seconds": seconds,
                    "rowsAdded": counts.accepted,
                    **_counts(report, target),
                },
            )


def _counts(report: Report, target: str) -> dict[str, int]:
    counts = asdict(report.counts.get(target, Counts()))
    return {f"ingest/{name}": number for name, number in counts.items()} if target in report.counts else {}


@dg.job(
    name=JOB,
    description="Landing files into the event tables and user tables. Started by the `landing` sensor; "
    "starting it by hand is safe at any time.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    tags={
        "export_pipeline/lane": "ingest",
        "dagster/priority": "10",
        "dagster/max_runtime": str(int(LONGEST_RUN.total_seconds())),
    },
)
def ingest_job() -> None:
    """One op; batches inside it are committed one by one."""
    ingest_op()


def landing() -> dg.SensorDefinition:
    """A sensor that starts one ingest for all that waits, with a growing pause after failures."""

    @dg.sensor(
        name="landing",
        job=ingest_job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts `ingest` when files wait in the landing directory, when an ingest that died left "
        "something to finish, or when the command line ingested rows that are not shown here yet.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.RunRequest | dg.SkipReason:
        why = _work(deployment, context.instance)
        if why is None:
            return dg.SkipReason("No files wait in the landing directory.")
        return start_or_wait(context.instance, JOB, why)

    return sensor


def start_or_wait(instance: dg.DagsterInstance, job: str, why: str) -> dg.RunRequest | dg.SkipReason:
    """A run of ``job`` because of ``why``, unless one is under way or the last ones failed a moment ago."""
    if instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED), limit=1):
        return dg.SkipReason(f"{why}; a run of {job} is under way already.")
    failures, last_end = _failures(instance, job)
    resume = last_end + pause_after(failures)
    if failures and utc_now() < resume:
        return dg.SkipReason(f"{why}; the last runs failed, the next try is at {resume:%H:%M:%S} UTC.")
    return dg.RunRequest(tags={"export_pipeline/reason": why})


def _work(deployment: Deployment, instance: dg.DagsterInstance) -> str | None:
    for target in TABLE_OF:
        if files := len(waiting_files(deployment.settings, target)):
            return f"files wait in landing/{target}: {files}"
    if batches := len(deployment.ledger.open_batches()):
        return f"batches were taken and not finished: {batches}"
    if next(unrecorded_days(deployment, instance, utc_now().date()), None):
        return "rows were ingested by the command line"
    return None


def _failures(instance: dg.DagsterInstance, job: str) -> tuple[int, datetime]:
    """How many of the newest runs of ``job`` failed in a row, and when the last one ended."""
    failures, last_end = 0, datetime.fromtimestamp(0, UTC)
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=12):
        if record.dagster_run.status is not dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
        last_end = max(last_end, datetime.fromtimestamp(record.end_time or 0, UTC))
    return failures, last_end


def pause_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: doubling, up to a quarter of an hour."""
    return min(FIRST_PAUSE * (1 << min(max(failures, 1) - 1, 10)), LONGEST_PAUSE)
