"""What keeps the deployment well: the maintenance job, and alerts as checks on the event assets."""

from collections.abc import Callable, Sequence
from datetime import datetime

import dagster as dg

from export_pipeline.days import utc_now
from export_pipeline.defs.deliveries import all_delivered
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.runs import stranded_runs
from export_pipeline.events.catalogue import DATA_TYPES, DataType
from export_pipeline.ledger import Ledger
from export_pipeline.operations.alerts import Alert, large_quarantine, silent_data_types
from export_pipeline.operations.bucket import tell_at_start
from export_pipeline.operations.due import overdue
from export_pipeline.operations.maintenance import maintain
from export_pipeline.settings import Settings

Rule = Callable[[Settings, Ledger, datetime], list[Alert]]


@dg.op(
    name="maintain_tables",
    pool="maintenance",
    description="Merges small store files, and removes files that nothing reads any more. Rows, data "
    "versions and export files stay as they are.",
)
def maintenance_op(
    context: dg.OpExecutionContext, deployment: dg.ResourceParam[Deployment]
) -> dg.Output[None]:
    """One round over all tables; what was done is in the output's metadata, by table."""
    told_in_words(lambda: tell_at_start(deployment.settings, context.log.warning))
    done = told_in_words(
        lambda: maintain(deployment.settings, deployment.store, deployment.ledger, utc_now())
    )
    return dg.Output(
        None, metadata={table: dg.MetadataValue.json(work.to_json()) for table, work in done.items()}
    )


@dg.job(
    name="maintenance",
    description="Compaction and removal of unused store files. Safe beside ingest and exports.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    tags={"export_pipeline/lane": "maintenance"},
)
def maintenance_job() -> None:
    """One op."""
    maintenance_op()


maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance",
    job=maintenance_job,
    cron_schedule="40 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Maintains the store every hour.",
    owners=OWNERS,
)


def alert_checks() -> list[dg.AssetChecksDefinition]:
    """For each event asset: whether it still receives events, whether too many lines are refused, and
    whether its exports were made."""
    rules: Sequence[tuple[str, str, Rule]] = (
        (
            "receives_events",
            "Batches land; not silent for longer than the setting allows.",
            silent_data_types,
        ),
        ("quarantine_share", "Few of the last day's lines are in quarantine.", large_quarantine),
        ("daily_exports_made", "Every closed day of the last week has its daily exports.", overdue),
    )
    return [_alert_check(data_type, *rule) for data_type in DATA_TYPES.values() for rule in rules]


def _alert_check(data_type: DataType, name: str, description: str, rule: Rule) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=data_type.table, name=name, description=description)
    def check(deployment: dg.ResourceParam[Deployment]) -> dg.AssetCheckResult:
        alerts = told_in_words(lambda: rule(deployment.settings, deployment.ledger, utc_now()))
        found = [alert.message for alert in alerts if alert.subject == data_type.name]
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(found) or "Nothing to report.",
        )

    return check


def operations() -> dg.Definitions:
    """Maintenance and alert checks every hour, and an end for runs whose process is gone."""
    checks = alert_checks()
    alerts_job = dg.define_asset_job(
        "alerts",
        selection=dg.AssetSelection.checks(*checks, all_delivered),
        description="Looks whether events still land, few lines are refused, no export is missing, and no "
        "delivery failed for good.",
        owners=OWNERS,
        executor_def=dg.in_process_executor,
    )
    alerts_schedule = dg.ScheduleDefinition(
        name="alerts",
        job=alerts_job,
        cron_schedule="10 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs the alert checks every hour.",
        owners=OWNERS,
    )
    return dg.Definitions(
        asset_checks=checks,
        sensors=[stranded_runs()],
        jobs=[maintenance_job, alerts_job],
        schedules=[maintenance_schedule, alerts_schedule],
    )
