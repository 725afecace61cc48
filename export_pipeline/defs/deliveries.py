"""Deliveries in Dagster: one run for all that is due, what became of each, and a check that stays red.

A message is known here by its id and that of its endpoint; addresses of people are not shown.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import dagster as dg
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.ingest import start_or_wait
from export_pipeline.delivery.outbox import Courier
from export_pipeline.ledger.attempts import Outcome
from export_pipeline.ledger.posting import FAILED, PENDING, Message
from export_pipeline.operations.alerts import failed_deliveries
from export_pipeline.operations.notices import tell_operator

JOB = "deliver_due"
ASSET, CHECK = "deliveries", "all_delivered"
LONGEST_SECONDS = 1800
"""After which a run is ended: nothing is delivered beside one that hangs."""
MOST_SHOWN = 200
"""Attempts that a run shows one by one; the log of deliveries has all."""


class Shown(NamedTuple):
    """An attempt as the UI shows it."""

    message: str
    to: str
    event: str
    attempt: int
    result: str
    next: str


def _shown(outcome: Outcome, message: Message) -> Shown:
    following = f"{message.next_attempt_at:%Y-%m-%d %H:%M:%S}" if message.next_attempt_at else "-"
    result = "delivered" if outcome.success else outcome.error or "failed"
    if message.state == FAILED:
        following = "failed for good; retry by hand"
    return Shown(message.id, outcome.claimed.target, message.event, message.attempts, result, following)


@dg.op(
    name="deliver",
    description="Sends every message of the outbox that is due, webhooks and e-mail, side by side; what "
    "becomes due meanwhile too. Each attempt is in the output's metadata.",
)
def deliver_op(context: dg.OpExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.Output[None]:
    """One pass over the outbox."""
    states: Counter[str] = Counter()
    attempts: list[Shown] = []

    def told(outcome: Outcome, message: Message) -> None:
        states[message.state] += 1
        shown = _shown(outcome, message)
        if len(attempts) < MOST_SHOWN:
            attempts.append(shown)
        if message.state != "success":
            context.log.warning(
                f"{shown.message} to {shown.to}, attempt {shown.attempt}: {shown.result}; next: {shown.next}"
            )

    told_in_words(lambda: Courier(deployment.settings, deployment.ledger).deliver_due(told))
    verdict = told_in_words(lambda: _verdict(deployment, utc_now()))
    _record(context, attempts, states, verdict)
    return dg.Output(None, metadata=_metadata(attempts, states))


def _metadata(attempts: Sequence[Shown], states: Counter[str]) -> dict[str, dg.MetadataValue]:
    return {
        "delivered": dg.MetadataValue.int(states["success"]),
        "toBeTriedAgain": dg.MetadataValue.int(states[PENDING]),
        "failedForGood": dg.MetadataValue.int(states[FAILED]),
        "attempts": dg.MetadataValue.md(_table(attempts)),
    }


def _table(attempts: Sequence[Shown]) -> str:
    lines = ["| " + " | ".join(Shown._fields) + " |", "|---" * len(Shown._fields) + "|"]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in shown) + " |" for shown in attempts]
    return "\n".join(lines)


def _verdict(deployment: Deployment, now: datetime) -> tuple[bool, str]:
    found = [alert.message for alert in failed_deliveries(deployment.settings, deployment.ledger, now)]
    return not found, " ".join(found) or "Every message was delivered, or is still being tried."


def _record(
    context: dg.OpExecutionContext,
    attempts: Sequence[Shown],
    states: Counter[str],
    verdict: tuple[bool, str],
) -> None:
    """The attempts and the verdict on the asset's page; a run of the check itself says the same later."""
    instance = context.instance
    instance.report_runless_asset_event(dg.AssetObservation(ASSET, metadata=_metadata(attempts, states)))
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(ASSET),
            check_name=CHECK,
            passed=verdict[0],
            severity=dg.AssetCheckSeverity.ERROR,
            description=verdict[1],
            metadata={},
        )
    )


@dg.job(
    name=JOB,
    description="Webhooks and e-mail that are due. Started by the `deliveries` sensor; by hand it is "
    "safe at any time.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    tags={
        "export_pipeline/lane": "deliveries",
        PRIORITY_TAG: "30",
        MAX_RUNTIME_SECONDS_TAG: str(LONGEST_SECONDS),
    },
)
def deliver_job() -> None:
    """One op."""
    deliver_op()


@dg.sensor(
    name="deliveries",
    job=deliver_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Starts one run of `{JOB}` for all messages that are due.",
    owners=OWNERS,
)
def deliveries_sensor(
    context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
) -> dg.RunRequest | dg.SkipReason:
    """Look at the outbox."""
    due, following = told_in_words(lambda: deployment.ledger.messages.waiting(utc_now()))
    if due:
        return start_or_wait(context.instance, JOB, f"messages that are due: {due}")
    after = f" The next is due at {following:%Y-%m-%d %H:%M:%S} UTC." if following else ""
    return dg.SkipReason(f"No message is due.{after}")


@dg.sensor(
    name="operator_mail",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the operator that the settings name of new alerts, by e-mail; of each once.",
    owners=OWNERS,
)
def operator_mail_sensor(
    context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
) -> dg.SkipReason:
    """Look at the alerts."""
    told = told_in_words(lambda: tell_operator(deployment.settings, deployment.ledger, utc_now()))
    return dg.SkipReason(f"Told the operator of {', '.join(told)}." if told else "Nothing new to tell.")


@dg.asset_check(
    asset=ASSET,
    name=CHECK,
    description="No message failed for good while the files it tells of are kept, or it was retried.",
)
def all_delivered(deployment: dg.ResourceParam[Deployment]) -> dg.AssetCheckResult:
    """Red as long as something could not be delivered."""
    passed, description = told_in_words(lambda: _verdict(deployment, utc_now()))
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.ERROR, description=description)


def deliveries() -> dg.Definitions:
    """The job, its sensors, and the asset on whose page attempts are shown."""
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                ASSET,
                description="Messages to endpoints of webhooks and by e-mail; each run of `deliver_due` "
                "records its attempts here.",
                group_name="deliveries",
                owners=OWNERS,
                kinds={"webhook", "email"},
            )
        ],
        asset_checks=[all_delivered],
        jobs=[deliver_job],
        sensors=[deliveries_sensor, operator_mail_sensor],
    )
