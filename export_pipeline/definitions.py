"""The Dagster code location: every asset, check, job, schedule, sensor and resource, built from settings."""

import warnings
from collections.abc import Mapping

import dagster as dg

from export_pipeline.defs.access import access
from export_pipeline.defs.database import database_source
from export_pipeline.defs.deliveries import deliveries
from export_pipeline.defs.deployment import Deployment, object_store
from export_pipeline.defs.erasure import erasure
from export_pipeline.defs.events import event_specs, user_specs
from export_pipeline.defs.exports import export_assets
from export_pipeline.defs.failures import failed_runs
from export_pipeline.defs.ingest import ingest_job, landing
from export_pipeline.defs.metrics import daily_metrics
from export_pipeline.defs.on_demand import on_demand
from export_pipeline.defs.operations import operations
from export_pipeline.defs.restatement import restatement
from export_pipeline.defs.retention import retention
from export_pipeline.defs.runs import deployment
from export_pipeline.defs.schedule import scheduled_exports
from export_pipeline.defs.scheduled import recurring
from export_pipeline.settings import Settings, load


def build_defs(
    *, settings: Settings | None = None, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """All definitions for ``settings`` (default: the environment's).

    Args:
        resource_overrides: resources that replace those of the same name.
    """
    settings = settings or load()
    with warnings.catch_warnings():
        # Backfill policies are marked as beta; the minor version of Dagster is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        flow = dg.Definitions(
            assets=[*event_specs(settings), *user_specs(), *export_assets(settings)],
            jobs=[ingest_job],
            sensors=[landing(), failed_runs()],
            resources={
                "deployment": deployment(Deployment(settings)),
                **object_store(settings),
                **(resource_overrides or {}),
            },
            # Steps share one process: starting one for each costs more than most of them take, and an export
            # spreads its windows over the workers by itself.
            executor=dg.in_process_executor,
        )
        return dg.Definitions.merge(
            flow,
            database_source(settings),
            scheduled_exports(settings),
            recurring(settings),
            restatement(settings),
            on_demand(),
            access(),
            erasure(),
            deliveries(),
            operations(),
            retention(settings),
            daily_metrics(settings),
        )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_defs()
