"""Scheduled exports in Dagster: two schedules that look whether deliveries are due, and the job that queues
them in the ledger. Each is then made like an export that was asked for, by the runs of ``on_demand``.
"""

from collections.abc import Sequence

import dagster as dg

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.schedule import hours
from export_pipeline.exports.scheduled import Look, Queued, look, queue_due
from export_pipeline.ingest import waiting_for
from export_pipeline.ledger import Job
from export_pipeline.ledger.schedules import DAILY, FREQUENCIES
from export_pipeline.settings import Settings

JOB, OP = "queue_scheduled_exports", "queue_scheduled"
_OF = {
    DAILY: "Every day, of the day before",
    "weekly": "On Mondays, of the seven days before; what is late is caught up on any day",
}


class Frequency(dg.Config):
    """Which schedules are looked at: daily, weekly; absent: all."""

    frequency: str | None = None


@dg.op(
    name=OP,
    description="Queues a job in the ledger for every delivery that is due; what was missed is caught up, "
    "each delivery once, and said to be so.",
)
def queue_op(
    context: dg.OpExecutionContext, config: Frequency, deployment: dg.ResourceParam[Deployment]
) -> dg.Output[None]:
    """One pass over the schedules."""
    settings, ledger = deployment.settings, deployment.ledger
    queued = told_in_words(
        lambda: queue_due(
            settings,
            deployment.store,
            ledger,
            utc_now(),
            waiting_for(settings, ledger),
            config.frequency,
        )
    )
    for job in queued.caught_up:
        context.log.warning(f"{job.id} was missed at its time and is caught up.")
    if queued.left_out:
        context.log.warning(f"{queued.left_out} deliveries are left out: their days are not kept any more.")
    return dg.Output(None, metadata=_metadata(queued))


def _metadata(queued: Queued) -> dict[str, dg.MetadataValue]:
    return {
        "queued": dg.MetadataValue.int(len(queued.jobs)),
        "caughtUp": dg.MetadataValue.int(len(queued.caught_up)),
        "leftOut": dg.MetadataValue.int(queued.left_out),
        "exports": dg.MetadataValue.md(_table(queued.jobs, queued.caught_up)),
    }


def _table(jobs: Sequence[Job], caught_up: Sequence[Job]) -> str:
    lines = ["| export | first day | last day | |", "|---|---|---|---|"]
    for word, those in (("caught up", caught_up), ("", jobs)):
        for job in those:
            days = job.request["dateRange"]
            lines.append(f"| {job.id} | {days['start']} | {days['end']} | {word} |")
    return "\n".join(lines)


@dg.job(
    name=JOB,
    description="Queues the scheduled exports that are due. Started by the schedules; by hand it is safe at "
    "any time.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    tags={"dagster/priority": "10"},
)
def queue_job() -> None:
    """One op."""
    queue_op()


def _schedule(settings: Settings, frequency: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"scheduled_exports_{frequency}",
        job=queue_job,
        cron_schedule=f"*/{settings.export_check_minutes} {hours(settings.export_hour)} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{_OF[frequency]}: looks from {settings.export_hour:02}:00 UTC on which scheduled "
        "exports are due; they are made once their days are closed, and from the daily exports.",
        owners=OWNERS,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.RunRequest | dg.SkipReason:
        ledger = deployment.ledger
        found = told_in_words(
            lambda: look(
                deployment.settings,
                ledger,
                utc_now(),
                waiting_for(deployment.settings, ledger),
                frequency,
            )
        )
        if not (found.ready or found.lost):
            return dg.SkipReason(_why_not(found))
        return dg.RunRequest(
            run_config=dg.RunConfig(ops={OP: Frequency(frequency=frequency)}),
            tags={"export_pipeline/reason": _why(found)},
        )

    return schedule


def _why(found: Look) -> str:
    late = sum(delivery.late for delivery in found.ready)
    missed = f", {late} of them missed before" if late else ""
    return f"{len(found.ready)} deliveries are due{missed}"


def _why_not(found: Look) -> str:
    waits = [f"{schedule_id} waits: {why}." for schedule_id, why in sorted(found.waiting.items())]
    return " ".join(waits) or "Nothing is due."


def recurring(settings: Settings) -> dg.Definitions:
    """The job and its two schedules."""
    return dg.Definitions(
        jobs=[queue_job], schedules=[_schedule(settings, frequency) for frequency in FREQUENCIES]
    )
