"""A DuckDB database as a source: the job that reads what is new in it, and the sensor that starts it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.ingest import recorded, start_or_wait
from export_pipeline.errors import TransientError
from export_pipeline.ingest import ingest_database, new_targets
from export_pipeline.settings import Settings
from export_pipeline.store.tables import TABLE_OF

JOB = "ingest_database"


def database_source(settings: Settings) -> dg.Definitions:
    """Job and sensor for the setting ``duckdb_source``; nothing where it is not set."""
    if settings.duckdb_source is None:
        return dg.Definitions()
    path = settings.duckdb_source

    @dg.op(
        name="take_in_database",
        pool="ingest",
        description="Takes in the rows of the source database that are new since the last time, and records "
        "the days it changed.",
    )
    def op(
        context: dg.OpExecutionContext, deployment: dg.ResourceParam[Deployment]
    ) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
        yield from recorded(
            context,
            deployment,
            lambda: ingest_database(deployment.settings, deployment.store, deployment.ledger, path),
        )

    @dg.job(
        name=JOB,
        description=f"New rows of the DuckDB database {path.name} into the event tables and user tables. "
        "Started by the `database` sensor; starting it by hand is safe at any time.",
        owners=OWNERS,
        executor_def=dg.in_process_executor,
        tags={"export_pipeline/lane": "ingest", "dagster/priority": "10"},
    )
    def job() -> None:
        op()

    return dg.Definitions(jobs=[job], sensors=[_sensor(job, path)])


def _sensor(job: dg.JobDefinition, path: Path) -> dg.SensorDefinition:
    @dg.sensor(
        name="database",
        job=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts `{JOB}` when the source database has rows received after those taken last.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.RunRequest | dg.SkipReason:
        def looked() -> list[str] | dg.SkipReason:
            try:
                return new_targets(deployment.settings, deployment.ledger, path)
            except TransientError as error:
                return dg.SkipReason(f"{error.message}.")

        targets = told_in_words(looked)
        if isinstance(targets, dg.SkipReason):
            return targets
        if not targets:
            return dg.SkipReason("The database has no new rows.")
        tables = ", ".join(TABLE_OF[target] for target in targets)
        return start_or_wait(context.instance, JOB, f"new rows in {tables}")

    return sensor
