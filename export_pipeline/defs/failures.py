"""How failures are told: in one sentence, without a trace of the data, by every run and by a sensor."""

from collections.abc import Callable
from typing import TypeVar

import dagster as dg

from export_pipeline.defs.partitions import days_of
from export_pipeline.failures import in_words, may_pass

T = TypeVar("T")


def told_in_words(work: Callable[[], T], *, again: bool = False) -> T:
    """The result of ``work``; any exception of it becomes a Dagster failure whose text is ``in_words``.

    Args:
        again: a retry policy may try once more what may pass.
    """
    try:
        return work()
    except Exception as error:
        failure = dg.Failure(in_words(error), allow_retries=again and may_pass(error))
    # Raised out here, the failure does not carry the exception, whose text may quote a row.
    raise failure


def subject(run: dg.DagsterRun) -> str:
    """The assets or the job of a run, and the days it is about."""
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    days = days_of(run)
    told = "" if not days else f" for {days[0]}" if len(days) == 1 else f" for {days[0]} to {days[-1]}"
    return f"{assets or run.job_name}{told}"


def failed_runs() -> dg.SensorDefinition:
    """A sensor that writes one line to the log for every run that failed."""

    @dg.run_failure_sensor(
        name="failed_runs",
        description="Logs one clear line for every run that failed: which, for which days, and why.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=10,
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        context.log.error(_sentence(context))

    return sensor


def _sentence(context: dg.RunFailureSensorContext) -> str:
    failures = context.get_step_failure_events()
    reasons = [
        _reason(event) if len(failures) == 1 else f"{event.step_key}: {_reason(event)}" for event in failures
    ]
    run = context.dagster_run
    return f"Run {run.run_id} failed: {subject(run)}. {' '.join(reasons) or context.failure_event.message}"


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return str(data.error.cls_name) if data.error else "unknown"
