"""Late data in Dagster: which days of the exports are stale, in words, and runs that make them whole."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date

import dagster as dg

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import Deployment
from export_pipeline.defs.exports import UP_TO_DATE, export_key, staleness
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.partitions import RANGE_END_TAG, RANGE_START_TAG
from export_pipeline.defs.schedule import JOB, resting_days
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.due import stretches
from export_pipeline.exports.request import FORMATS
from export_pipeline.operations.restatement import Stale, stale_exports
from export_pipeline.settings import Settings

REASON_TAG = "export_pipeline/reason"


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

    return dg.Definitions(sensors=[sensor])


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
