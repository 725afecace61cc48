"""The daily metrics as an asset: each day a partition, computed again when its rows changed."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from export_pipeline.days import MAX_RANGE_DAYS, days_between, utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.ingest import UNFINISHED
from export_pipeline.defs.partitions import RANGE_END_TAG, RANGE_START_TAG, daily
from export_pipeline.defs.stored import of_day
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.metrics import KEYS, METRICS
from export_pipeline.exports.due import stretches
from export_pipeline.failures import in_words, may_pass
from export_pipeline.ingest import waiting_for
from export_pipeline.retention.charts import Panel, image, svg
from export_pipeline.retention.metrics import (
    DEFINITION,
    SHOWN_DAYS,
    DayMetrics,
    compute_day,
    due_metrics,
    top_contents,
    totals,
)
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import METRICS_SCHEMA, METRICS_TABLE

JOB = "compute_metrics"
RETRY_AFTER = timedelta(hours=1)
"""How long the schedule waits after a run that failed."""
TRIES, PAUSE_SECONDS = 3, 10
HOURS_TO_FRESH = 3

Events = Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]


def metrics_asset(settings: Settings) -> dg.AssetsDefinition:
    """The one asset."""

    @dg.asset(
        name=METRICS_TABLE,
        deps=[data_type.table for data_type in DATA_TYPES.values()],
        description="A day's impressions, plays, watch time, startup, rebuffering, errors and ads by content "
        "and device type, in the table of the same name; what each column means stands in its schema. It "
        f"holds no user id: a cell of under {settings.metrics_min_viewers} viewers is merged into "
        f"`other`. It is kept for {settings.aggregate_retention_days} days; raw events go earlier.",
        group_name="metrics",
        owners=OWNERS,
        kinds={"iceberg", "duckdb"},
        metadata={"dagster/column_schema": _column_schema()},
        partitions_def=daily(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(MAX_RANGE_DAYS),
        freshness_policy=dg.FreshnessPolicy.cron(
            deadline_cron=f"0 {(settings.export_hour + HOURS_TO_FRESH) % 24} * * *",
            lower_bound_delta=timedelta(hours=HOURS_TO_FRESH),
        ),
        pool="metrics",
        code_version=str(DEFINITION),
    )
    def asset(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> Events:
        yield from _materialize(context, deployment)

    return asset


def _column_schema() -> dg.TableSchema:
    words = dict(KEYS)
    types = {"integer": "bigint", "number": "double"}
    columns = [
        dg.TableColumn(name, "date" if name == "date" else "string", words[name])
        for name in METRICS_SCHEMA.names
        if name in words
    ]
    columns += [
        dg.TableColumn(
            m.name,
            types[m.type],
            f"{m.description}{f' ({m.unit})' if m.unit else ''}",
            constraints=dg.TableColumnConstraints(nullable=m.nullable),
        )
        for m in METRICS
    ]
    return dg.TableSchema(columns)


def _materialize(context: dg.AssetExecutionContext, deployment: Deployment) -> Events:
    """Compute each day on its own: one that fails leaves the others materialised and fails the run."""
    days = [date.fromisoformat(partition) for partition in context.partition_keys]
    made: dict[date, DayMetrics] = {}
    failed: dict[date, Exception] = {}
    for day in days:
        try:
            made[day] = compute_day(deployment.settings, deployment.store, deployment.ledger, day, utc_now())
            how = (
                f"computed in {made[day].seconds:.1f} s" if made[day].computed else "there already, unchanged"
            )
            context.log.info(f"{day}: {made[day].cells:,} cells, {how}")
        except Exception as error:
            failed[day] = error
            context.log.error(f"{day}: {in_words(error)}")
    if any(map(may_pass, failed.values())) and context.retry_number + 1 < TRIES:
        raise dg.RetryRequested(max_retries=TRIES - 1, seconds_to_wait=PAUSE_SECONDS)
    shown = told_in_words(lambda: {day: _metadata(deployment.store, made[day]) for day in made})
    if not failed:
        for day, metadata in shown.items():
            context.add_asset_metadata(metadata, partition_key=day.isoformat())
        yield dg.MaterializeResult()
        return
    for day, metadata in shown.items():
        yield dg.AssetMaterialization(METRICS_TABLE, partition=day.isoformat(), metadata=metadata)
    reasons = ". ".join(f"{day}: {in_words(error)}" for day, error in sorted(failed.items()))
    raise dg.Failure(f"{len(failed)} of {len(days)} days failed. {reasons}", allow_retries=False)


def _metadata(store: Store, made: DayMetrics) -> dict[str, dg.MetadataValue]:
    """What the UI shows of a day: its numbers, the days before it as a picture, and its top contents."""
    found = {total.day: total for total in totals(store, made.day)}
    today = found.get(made.day)
    shown: dict[str, dg.MetadataValue] = {
        "rows": dg.MetadataValue.int(made.cells),
        **of_day(store, METRICS_TABLE, made.day),
        "seconds": dg.MetadataValue.float(round(made.seconds, 3)),
        "plays": dg.MetadataValue.int(today.plays if today else 0),
        "computedFrom": dg.MetadataValue.json(dict(made.computed_from)),
    }
    if today and today.completion_rate is not None and today.rebuffer_rate is not None:
        shown["completionRate"] = dg.MetadataValue.float(round(today.completion_rate, 4))
        shown["rebufferRate"] = dg.MetadataValue.float(round(today.rebuffer_rate, 4))
    if found:
        days = list(days_between(min(found), made.day))
        panels = (
            Panel("Plays", "#4f46e5", [found[d].plays if d in found else None for d in days], bars=True),
            Panel(
                "Completion rate (completions / plays)",
                "#059669",
                [found[d].completion_rate if d in found else None for d in days],
                percent=True,
            ),
            Panel(
                "Rebuffer rate (rebuffers / plays)",
                "#dc2626",
                [found[d].rebuffer_rate if d in found else None for d in days],
                percent=True,
            ),
        )
        words = f"Plays, completion rate and rebuffer rate of up to {SHOWN_DAYS} days to {made.day}"
        shown["overTheDays"] = dg.MetadataValue.md(image(svg(days, panels), words))
    shown["preview"] = dg.MetadataValue.md(_top(store, made.day))
    return shown


def _top(store: Store, day: date) -> str:
    lines = ["| content | plays | completion rate | watched | shares |", "|---|---:|---:|---:|---:|"]
    for content, plays, rate, seconds, shares in top_contents(store, day):
        completed = "" if rate is None else f"{100 * rate:.1f} %"
        name = str(content).replace("|", "\\|").replace("`", "'")
        lines.append(f"| `{name}` | {plays:,} | {completed} | {seconds / 3600:,.1f} h | {shares:,} |")
    return "\n".join(lines) if len(lines) > 2 else "No content has enough viewers to be shown."


def daily_metrics(settings: Settings) -> dg.Definitions:
    """The asset, its job, and a schedule that looks whether days have closed or changed."""
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(METRICS_TABLE),
        description="The daily metrics of the days that closed, or whose rows changed.",
        owners=OWNERS,
        executor_def=dg.in_process_executor,
    )

    @dg.schedule(
        name=JOB,
        job=job,
        cron_schedule="7,37 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks twice an hour whether days have closed, or rows of closed days inside raw "
        "retention have changed, and computes their metrics.",
        owners=OWNERS,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = utc_now()
        here = deployment
        due = told_in_words(
            lambda: due_metrics(here.settings, here.ledger, now, waiting_for(here.settings, here.ledger))
        )
        if not due:
            return dg.SkipReason("The metrics of every closed day are up to date.")
        if why := _resting(context.instance, now):
            return dg.SkipReason(f"{len(due)} days are due; {why}.")
        return [
            dg.RunRequest(tags={RANGE_START_TAG: str(first), RANGE_END_TAG: str(last)})
            for first, last, _ in stretches(dict.fromkeys(due, ()))
        ]

    return dg.Definitions(assets=[metrics_asset(settings)], jobs=[job], schedules=[schedule])


def _resting(instance: dg.DagsterInstance, now: datetime) -> str | None:
    """Why no run is started now: one is under way, or the last one failed a short while ago."""
    for record in instance.get_run_records(dg.RunsFilter(job_name=JOB), limit=1):
        if record.dagster_run.status in UNFINISHED:
            return "a run is under way"
        if record.dagster_run.status is dg.DagsterRunStatus.FAILURE and record.end_time:
            again = record.end_time + RETRY_AFTER.total_seconds()
            if now.timestamp() < again:
                return "the last run failed less than an hour ago"
    return None
