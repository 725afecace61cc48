"""The job that makes daily exports, and the schedule that starts it once a day has closed."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.exports import GROUP, export_key
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.ingest import UNFINISHED
from export_pipeline.defs.partitions import RANGE_END_TAG, RANGE_START_TAG, days_of
from export_pipeline.exports.due import Due, stretches
from export_pipeline.exports.request import FORMATS
from export_pipeline.operations.due import due_now
from export_pipeline.settings import Settings

JOB = "daily_exports"
RETRY_AFTER = timedelta(hours=1)
"""How long a day whose run failed is left alone by the schedule."""


def scheduled_exports(settings: Settings) -> dg.Definitions:
    """The job over all export assets, and a schedule that looks again and again whether days have closed."""
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.groups(GROUP),
        description="The daily exports of all data types in all formats.",
        owners=OWNERS,
        executor_def=dg.in_process_executor,
        tags={"dagster/priority": "5"},
    )

    @dg.schedule(
        name="daily_exports",
        job=job,
        cron_schedule=f"*/{settings.export_check_minutes} {hours(settings.export_hour)} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Exports yesterday from {settings.export_hour:02}:00 UTC on, as soon as the day is "
        "closed: the close delay after its midnight has passed and nothing that landed for it waits. Days "
        "missed in the week before are caught up.",
        owners=OWNERS,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = utc_now()
        due = told_in_words(lambda: due_now(deployment.settings, deployment.ledger, now))
        resting = resting_days(context.instance, now)
        ready = {day: data_types for day, data_types in due.ready.items() if day not in resting}
        requests = [_request(*stretch) for stretch in stretches(ready)]
        return requests or dg.SkipReason(_why_not(due, resting))

    return dg.Definitions(jobs=[job], schedules=[schedule])


def hours(first: int) -> str:
    """The hours from ``first`` to the end of the day, for cron."""
    # Dagster's cron parser takes the range 23-23 for every hour.
    return f"{first}-23" if first < 23 else "23"


def _request(start: date, end: date, data_types: Sequence[str]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=str(start),
        tags={RANGE_START_TAG: str(start), RANGE_END_TAG: str(end)},
        asset_selection=[export_key(name, format_) for name in data_types for format_ in FORMATS],
    )


def resting_days(instance: dg.DagsterInstance, now: datetime) -> dict[date, str]:
    """Days that a run of the job works on now, or failed on a short while ago, with that in words."""
    resting: dict[date, str] = {}
    for record in instance.get_run_records(dg.RunsFilter(job_name=JOB), limit=100):
        run = record.dagster_run
        ended = datetime.fromtimestamp(record.end_time or 0, UTC)
        for day in days_of(run):
            if run.status in UNFINISHED:
                resting[day] = "is being exported"
            elif run.status is dg.DagsterRunStatus.FAILURE and now < ended + RETRY_AFTER:
                resting.setdefault(day, f"failed and is tried again after {ended + RETRY_AFTER:%H:%M} UTC")
    return resting


def _why_not(due: Due, resting: dict[date, str]) -> str:
    reasons = [f"{day} {resting[day]}" for day in due.ready]
    reasons += [f"{day} is not closed yet for {', '.join(types)}" for day, types in due.waiting.items()]
    return ". ".join(reasons) + "." if reasons else "Every closed day is exported."
