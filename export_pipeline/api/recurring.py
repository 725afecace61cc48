"""Scheduled exports as JSON (contract, section 4)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from export_pipeline.exports.manifest import instant_text
from export_pipeline.exports.scheduled import next_run
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.schedules import Schedule
from export_pipeline.settings import Settings


def shown(
    settings: Settings, ledger: Ledger, schedules: Sequence[Schedule], now: datetime
) -> list[dict[str, Any]]:
    """Schedules with their newest exports and what comes next."""
    last = ledger.schedules.last_exports([schedule.id for schedule in schedules])
    return [_shown(settings, ledger, schedule, last.get(schedule.id), now) for schedule in schedules]


def _shown(
    settings: Settings, ledger: Ledger, schedule: Schedule, last: str | None, now: datetime
) -> dict[str, Any]:
    following = next_run(settings, schedule, now)
    if schedule.webhook_id is None:
        delivery = {"email": ledger.schedules.address(schedule.id)}
    else:
        delivery = {"webhookId": schedule.webhook_id}
    return {
        "id": schedule.id,
        "frequency": schedule.frequency,
        **{name: schedule.request[name] for name in ("dataTypes", "format", "compression", "filters")},
        "delivery": delivery,
        "mode": schedule.mode,
        "enabled": schedule.enabled,
        "disabledReason": schedule.reason,
        "lastExportId": last,
        "nextRunAt": None if following is None else instant_text(following),
        "createdAt": instant_text(schedule.created_at),
    }
