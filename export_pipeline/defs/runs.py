"""Which runs are alive: each holds a lock while it works, and one that does not is ended.

Dagster notices when a run's process dies, but not when the code server dies with it, as in a power cut:
the run would stay "started", and hold its place, until its longest time has passed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.locks import forget, is_held, lock

GRACE = timedelta(minutes=1)
"""How long after its start a run may be without its lock."""


def deployment(opened: Deployment) -> dg.ResourceDefinition:
    """The deployment as a resource; a run that uses it is known to be alive."""

    @dg.resource(description="Settings, store and ledger of the deployment.")
    def resource(context: dg.InitResourceContext) -> Iterator[Deployment]:
        if context.run is None:
            yield opened
            return
        name = _lock_name(context.run)
        with lock(opened.settings, name):
            try:
                yield opened
            finally:
                forget(opened.settings, name)

    return resource


def _lock_name(run: dg.DagsterRun) -> str:
    return f"run-{run.run_id}"


def stranded_runs() -> dg.SensorDefinition:
    """A sensor that ends runs whose process is gone."""

    @dg.sensor(
        name="stranded_runs",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks runs as failed whose process is gone, such as after a power cut, so that they are "
        "started again and nothing waits for them.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.SkipReason:
        ended = []
        under_way = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
        for record in context.instance.get_run_records(dg.RunsFilter(statuses=under_way)):
            run = record.dagster_run
            started = datetime.fromtimestamp(record.start_time or utc_now().timestamp(), UTC)
            if utc_now() - started > GRACE and not is_held(deployment.settings, _lock_name(run)):
                context.instance.report_run_failed(run, "The process of this run is gone.")
                forget(deployment.settings, _lock_name(run))
                ended.append(run.run_id)
        return dg.SkipReason(
            f"Ended {', '.join(ended)}." if ended else "Every run that is under way is alive."
        )

    return sensor
