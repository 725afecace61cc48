"""Telling the operator by e-mail what is broken: each thing once, not every time somebody looks."""

from datetime import datetime, timedelta

from export_pipeline.ledger import Ledger
from export_pipeline.operations.alerts import alerts
from export_pipeline.operations.bucket import bucket_alerts
from export_pipeline.operations.due import overdue
from export_pipeline.settings import Settings

AGAIN_AFTER = timedelta(hours=24)
"""How long after it was told something that went away and came back is told again."""


def tell_operator(settings: Settings, ledger: Ledger, now: datetime) -> tuple[str, ...]:
    """Put an e-mail into the outbox that tells the operator of new alerts.

    Returns:
        What it tells of; nothing if that is told already, or if the settings name no operator or mail server.
    """
    if not (settings.operator_email and settings.smtp_host):
        return ()
    found = [
        *alerts(settings, ledger, now),
        *overdue(settings, ledger, now),
        *bucket_alerts(settings),
    ]
    current = {f"{alert.kind}: {alert.subject}": alert.message for alert in found}
    return ledger.messages.tell(current, settings.operator_email, now, AGAIN_AFTER)
