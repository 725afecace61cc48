"""Retention in Dagster: the job a day, what it removed as metadata, and old runs with their logs."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from export_pipeline.dagster_home import printed
from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.exports import export_key
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.ingest import UNFINISHED
from export_pipeline.defs.partitions import has_partition
from export_pipeline.exports.live import LiveDays
from export_pipeline.ledger.keeping import ExpiredExport
from export_pipeline.operations.due import live_or_problem
from export_pipeline.outages import answering
from export_pipeline.retention import Item, retain
from export_pipeline.retention.items import remove
from export_pipeline.settings import Settings
from export_pipeline.store.tables import METRICS_TABLE

JOB = "retention"
RUNS_AT_ONCE = 200

Events = Iterator[dg.AssetObservation | dg.Output[None]]


@dg.op(
    name="remove_expired",
    pool="maintenance",
    description="Removes raw events, quarantine, metrics, export files, leftovers and old runs that are past "
    "their time. What was removed is in the output's metadata; each partition whose export expired gets an "
    "observation that says how to make it again.",
)
def retention_op(context: dg.OpExecutionContext, deployment: dg.ResourceParam[Deployment]) -> Events:
    """One round."""
    now = utc_now()
    settings, ledger = deployment.settings, deployment.ledger
    removed = told_in_words(lambda: retain(settings, deployment.store, ledger, now))
    for export in ledger.keeping.unannounced():
        if _is_gone(settings, export, now):
            yield _observation(settings, export)
        ledger.keeping.announced(export)
    removed["runs"] = told_in_words(lambda: _forget_runs(context.instance, settings, now))
    for what, item in removed.items():
        if item != Item():
            context.log.info(
                f"{what}: {item.rows:,} rows, {item.files:,} files, {item.bytes:,} bytes removed"
            )
    yield dg.Output(
        None,
        metadata={
            **{what: dg.MetadataValue.json(vars(item)) for what, item in removed.items()},
            "summary": dg.MetadataValue.md(_table(removed)),
        },
    )


def _is_gone(settings: Settings, export: ExpiredExport, now: datetime) -> bool:
    """Whether no other version of an expired export is live, and Dagster has its partition."""
    live = live_or_problem(LiveDays(settings), export.data_type, export.format, export.day)
    return live is None and has_partition(settings, export.day, now.date())


def _observation(settings: Settings, export: ExpiredExport) -> dg.AssetObservation:
    return dg.AssetObservation(
        export_key(export.data_type, export.format),
        partition=export.day.isoformat(),
        description=f"The files of version {export.version} expired {settings.export_retention_days} days "
        "after they were made and were removed. As long as the day's events are kept "
        f"({settings.raw_retention_days} days), materialize this partition to make them again.",
        metadata={
            "expired": dg.MetadataValue.bool(True),
            "version": dg.MetadataValue.int(export.version),
            "dataVersion": dg.MetadataValue.int(export.data_version),
            "removedAt": dg.MetadataValue.timestamp(export.expired_at),
        },
    )


def _forget_runs(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> Item:
    """Delete runs that ended long enough ago, with their event logs and captured output.

    Runs that made daily metrics stay as long as these: they say which days there are.
    """
    removed = Item()
    cursor = None
    while True:
        records = instance.get_run_records(
            dg.RunsFilter(created_before=now - timedelta(days=settings.log_retention_days)),
            limit=RUNS_AT_ONCE,
            cursor=cursor,
        )
        for record in records:
            if record.dagster_run.status not in UNFINISHED and not _is_kept(record, settings, now):
                removed += _forget_run(instance, settings, record.dagster_run.run_id)
        if len(records) < RUNS_AT_ONCE:
            return removed
        cursor = records[-1].dagster_run.run_id


def _is_kept(record: dg.RunRecord, settings: Settings, now: datetime) -> bool:
    selected = record.dagster_run.asset_selection or ()
    about_metrics = dg.AssetKey(METRICS_TABLE) in selected
    kept_from = now - timedelta(days=settings.aggregate_retention_days)
    return about_metrics and record.create_timestamp >= kept_from


def _forget_run(instance: dg.DagsterInstance, settings: Settings, run_id: str) -> Item:
    instance.delete_run(run_id)
    # Dagster leaves what it printed behind, and the embedded default an emptied database.
    history = settings.root / "dagster" / "history" / "runs"
    with answering():
        return Item(rows=1) + remove(
            [*history.glob(f"{run_id}.db*"), *(folder / run_id for folder in printed(settings))]
        )


def _table(removed: dict[str, Item]) -> str:
    lines = [f"| {what} | {i.rows:,} | {i.files:,} | {i.bytes:,} |" for what, i in removed.items()]
    return "\n".join(["| removed | rows | files | bytes |", "|---|---:|---:|---:|", *lines])


@dg.job(
    name=JOB,
    description="Removes what is past its time: raw events and quarantine, daily metrics, export files, "
    "leftovers, old runs. `export-pipeline retention --dry-run` shows what would go.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    tags={"export_pipeline/lane": "maintenance"},
)
def retention_job() -> None:
    """One op."""
    retention_op()


def retention(settings: Settings) -> dg.Definitions:
    """The job, and the schedule that starts it every day."""
    schedule = dg.ScheduleDefinition(
        name=JOB,
        job=retention_job,
        cron_schedule=f"20 {settings.retention_hour} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Removes what is past its time every day at {settings.retention_hour:02}:20 UTC.",
        owners=OWNERS,
    )
    return dg.Definitions(jobs=[retention_job], schedules=[schedule])
