"""Late data in Dagster: which days of the exports are stale, in words, and runs that make them whole."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import dagster as dg
from pydantic import Field

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.exports import UP_TO_DATE, export_key, replaced, staleness
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.ingest import UNFINISHED
from export_pipeline.defs.partitions import RANGE_END_TAG, RANGE_START_TAG
from export_pipeline.defs.schedule import JOB, RETRY_AFTER, resting_days
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.due import stretches
from export_pipeline.exports.request import FORMATS
from export_pipeline.failures import in_words
from export_pipeline.ingest import waiting_for
from export_pipeline.operations.delivered import restate, stale_deliveries
from export_pipeline.operations.restatement import Stale, stale_exports
from export_pipeline.settings import Settings

REASON_TAG = "export_pipeline/reason"
RESTATE, OP = "restate_delivered", "restate"


class Delivered(dg.Config):
    """Which scheduled exports are made again."""

    export_ids: list[str] = Field(description="Their ids (exp_…).")


@dg.op(
    name=OP,
    description="Makes the next version of scheduled exports of which days have changed, and puts "
    "`export.restated` into the outbox for those who got the one before.",
)
def restate_op(
    context: dg.OpExecutionContext, config: Delivered, deployment: dg.ResourceParam[Deployment]
) -> dg.Output[None]:
    """Each on its own: one that fails leaves the others made and fails the run."""
    settings, ledger = deployment.settings, deployment.ledger
    failed: dict[str, Exception] = {}
    for export_id in config.export_ids:
        try:
            made = restate(
                settings,
                deployment.store,
                ledger,
                export_id,
                now=utc_now(),
                waiting=waiting_for(settings, ledger),
            )
        except Exception as error:
            failed[export_id] = error
            context.log.error(f"{export_id}: {in_words(error)}")
            continue
        if made and made.replaces:
            context.log.info(f"{export_id}: version {made.version}, {replaced(made.replaces)}")
    if failed:
        raise dg.Failure(" ".join(f"{export_id}: {in_words(e)}." for export_id, e in failed.items()))
    return dg.Output(None, metadata={"exports": len(config.export_ids)})


@dg.job(
    name=RESTATE,
    description="Scheduled exports of which days have changed since they were delivered, made again. Started "
    "by the `delivered_restatements` sensor.",
    executor_def=dg.in_process_executor,
    tags={"dagster/priority": "5"},
    owners=OWNERS,
)
def restate_job() -> None:
    """One op."""
    restate_op()


def _delivered() -> dg.SensorDefinition:
    @dg.sensor(
        name="delivered_restatements",
        job=restate_job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes scheduled exports again of which days have changed, after the same quiet period "
        "as daily exports and at most once an hour, and tells those who got them.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.RunRequest | dg.SkipReason:
        now = utc_now()
        stale = told_in_words(lambda: list(stale_deliveries(deployment.settings, deployment.ledger, now)))
        due = [export.job_id for export in stale if export.due_at <= now]
        if not due:
            waits = [f"{e.job_id}: version {e.version + 1} from {e.due_at:%H:%M} UTC on." for e in stale]
            return dg.SkipReason(" ".join(waits) or "No scheduled export is stale.")
        for record in context.instance.get_run_records(dg.RunsFilter(job_name=RESTATE), limit=1):
            ended = datetime.fromtimestamp(record.end_time or 0, UTC)
            if record.dagster_run.status in UNFINISHED:
                return dg.SkipReason("Scheduled exports are being made again.")
            if record.dagster_run.status is dg.DagsterRunStatus.FAILURE and now < ended + RETRY_AFTER:
                return dg.SkipReason(f"The last run failed; the next is at {ended + RETRY_AFTER:%H:%M} UTC.")
        return dg.RunRequest(
            run_config=dg.RunConfig(ops={OP: Delivered(export_ids=due)}), tags={REASON_TAG: "late_data"}
        )

    return sensor


def restatement(settings: Settings) -> dg.Definitions:
    """A sensor that tells of late data and starts runs for the days it came for."""

    @dg.sensor(
        name="restatements",
        job_name=JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes the next version of daily exports of which the day has changed, "
        f"{settings.restate_quiet_minutes} minutes after it changed last, and at most once an hour. Until "
        f"then the check `{UP_TO_DATE}` of the export says which days are stale.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.SensorResult:
        now = utc_now()
        stale = told_in_words(lambda: list(stale_exports(deployment.settings, deployment.ledger, now)))
        resting = resting_days(context.instance, now)
        due = [export for export in stale if export.due_at <= now and export.day not in resting]
        requests = [_request(*stretch) for stretch in stretches(_by_day(due))]
        told, changed = _told(stale, json.loads(context.cursor or "{}"))
        waiting = " ".join(dict.fromkeys(str(export) for export in stale)) or "No daily export is stale."
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(waiting),
            asset_events=changed,
            cursor=json.dumps(told),
        )

    return dg.Definitions(jobs=[restate_job], sensors=[sensor, _delivered()])


def _by_day(due: Iterable[Stale]) -> dict[date, tuple[tuple[str, str], ...]]:
    days = defaultdict[date, list[tuple[str, str]]](list)
    for export in due:
        days[export.day].append((export.data_type, export.format))
    return {day: tuple(sorted(exports)) for day, exports in days.items()}


def _request(start: date, end: date, exports: tuple[tuple[str, str], ...]) -> dg.RunRequest:
    return dg.RunRequest(
        tags={RANGE_START_TAG: str(start), RANGE_END_TAG: str(end), REASON_TAG: "late_data"},
        asset_selection=[export_key(data_type, format_) for data_type, format_ in exports],
    )


def _told(
    stale: Iterable[Stale], before: Mapping[str, str]
) -> tuple[dict[str, str], list[dg.AssetCheckEvaluation]]:
    """What is said of each asset that is stale, and the verdicts that are new since ``before``."""
    told: dict[str, str] = {}
    changed: list[dg.AssetCheckEvaluation] = []
    by_asset = defaultdict[tuple[str, str], list[Stale]](list)
    for export in stale:
        by_asset[export.data_type, export.format].append(export)
    for data_type in DATA_TYPES:
        for format_ in FORMATS:
            key, exports = export_key(data_type, format_), by_asset[data_type, format_]
            name, text = key.to_user_string(), staleness(exports)
            if exports:
                told[name] = text
            if told.get(name) != before.get(name):
                changed.append(
                    dg.AssetCheckEvaluation(
                        asset_key=key,
                        check_name=UP_TO_DATE,
                        passed=not exports,
                        metadata={},
                        severity=dg.AssetCheckSeverity.WARN,
                        description=text,
                    )
                )
    return told, changed
