"""What is broken now, in words: rules over the ledger, for ``status`` and for the checks in the UI."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.ledger.erasures import FAILED
from export_pipeline.settings import Settings

STUCK_AFTER = timedelta(hours=1)
SHARE_WINDOW = timedelta(hours=24)


@dataclass(frozen=True)
class Alert:
    """Something an operator should look at. ``kind`` names the rule, ``subject`` what it is about."""

    kind: str
    subject: str
    message: str


def alerts(settings: Settings, ledger: Ledger, now: datetime) -> list[Alert]:
    """Every alert that the ledger gives reason for at ``now``."""
    return [
        *silent_data_types(settings, ledger, now),
        *large_quarantine(settings, ledger, now),
        *stuck_batches(ledger, now),
        *failed_deliveries(settings, ledger, now),
        *disabled_webhooks(ledger),
        *disabled_schedules(ledger),
        *unfulfilled_erasures(ledger, now),
    ]


def silent_data_types(settings: Settings, ledger: Ledger, now: datetime) -> list[Alert]:
    """Data types that landed before and have landed nothing for longer than ``silence_hours``."""
    limit = timedelta(hours=settings.silence_hours)
    return [
        Alert(
            "silence",
            data_type,
            f"{data_type}: nothing has landed since {last:%Y-%m-%d %H:%M} UTC, "
            f"{_hours(now - last)} ago; more than {settings.silence_hours:g} hours is reported",
        )
        for data_type, (_, last) in sorted(ledger.totals().items())
        if data_type in DATA_TYPES and now - last > limit
    ]


def large_quarantine(settings: Settings, ledger: Ledger, now: datetime) -> list[Alert]:
    """Targets of which more than ``quarantine_share`` of the last day's lines were rejected."""
    return [
        Alert(
            "quarantine",
            target,
            f"{target}: {counts.rejected:,} of {counts.received:,} lines ({share(counts):.1%}) of the last "
            f"24 hours are in quarantine; more than {settings.quarantine_share:.1%} is reported. "
            "`export-pipeline quarantine list` shows why",
        )
        for target, (counts, _) in sorted(ledger.totals(since=now - SHARE_WINDOW).items())
        if share(counts) > settings.quarantine_share
    ]


def share(counts: Counts) -> float:
    """The share of the received lines that was rejected, 0 if there were none."""
    return counts.rejected / counts.received if counts.received else 0.0


def stuck_batches(ledger: Ledger, now: datetime) -> list[Alert]:
    """Batches that were taken long ago and have not ended; the next ingest finishes them."""
    return [
        Alert(
            "stuck batch",
            batch.target,
            f"{batch.target}: batch {batch.id} was taken {_hours(now - batch.taken_at)} ago "
            "and has not ended; `export-pipeline ingest` finishes it",
        )
        for batch in ledger.open_batches()
        if now - batch.taken_at > STUCK_AFTER
    ]


def failed_deliveries(settings: Settings, ledger: Ledger, now: datetime) -> list[Alert]:
    """Receivers that messages could not be delivered to, as long as the files these tell of are kept."""
    since = now - timedelta(days=settings.export_retention_days)
    return [
        Alert(
            "failed delivery",
            webhook_id or "e-mail",
            f"{webhook_id or 'e-mail'}: {count} deliveries failed for good since {since:%Y-%m-%d %H:%M} UTC; "
            "`export-pipeline webhooks deliveries --status failed` shows why, `webhooks retry` tries again",
        )
        for webhook_id, count in ledger.messages.failed_since(since).items()
    ]


def disabled_webhooks(ledger: Ledger) -> list[Alert]:
    """Endpoints that nothing is sent to any more, though nobody asked for that."""
    return [
        Alert(
            "disabled webhook",
            webhook.id,
            f"{webhook.id}: disabled, {webhook.reason}; "
            f"`export-pipeline webhooks update {webhook.id} --status active` enables it again",
        )
        for webhook in ledger.webhooks.disabled()
    ]


def unfulfilled_erasures(ledger: Ledger, now: datetime) -> list[Alert]:
    """Requests to erase somebody that failed, or that nothing has come of for long."""
    found = []
    for request in ledger.erasures.unfulfilled():
        due = f"due by {request.due_at:%Y-%m-%d}"
        if request.state == FAILED:
            told = f"{request.id}: the erasure failed, {due}: {request.error_message}; ask for it again"
        elif now - request.created_at > STUCK_AFTER:
            asked = f"{request.created_at:%Y-%m-%d %H:%M} UTC"
            told = f"{request.id}: the erasure was asked for at {asked} and is {request.state}, {due}"
        else:
            continue
        found.append(Alert("erasure", request.id, told))
    return found


def disabled_schedules(ledger: Ledger) -> list[Alert]:
    """Scheduled exports that are not made any more, though nobody asked for that."""
    return [
        Alert("disabled schedule", schedule.id, f"{schedule.id}: disabled, {schedule.reason}")
        for schedule in ledger.schedules.disabled()
    ]


def _hours(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 3600:.1f} hours"
