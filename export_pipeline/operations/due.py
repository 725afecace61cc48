"""Which daily exports are due now, which should have been made long ago, and which are live."""

from datetime import date, datetime, time, timedelta
from functools import cache

from export_pipeline.days import close_instant
from export_pipeline.errors import DamagedData
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import DailyExport, Waiting
from export_pipeline.exports.due import Due, due_days, due_exports, is_closed
from export_pipeline.exports.live import LiveDays
from export_pipeline.exports.request import FORMATS
from export_pipeline.exports.scheduled import look, possible_from
from export_pipeline.ingest import waiting_for
from export_pipeline.ledger import Ledger
from export_pipeline.operations.alerts import Alert
from export_pipeline.settings import Settings

OVERDUE_AFTER = timedelta(hours=2)
"""How long a closed day may be without its exports, counted from when they could be made."""


def due_now(
    settings: Settings,
    ledger: Ledger,
    now: datetime,
    *,
    live: LiveDays | None = None,
    waits: Waiting | None = None,
) -> Due:
    """The daily exports that are due at ``now``: ready to be made, or waiting for their day to close.

    Args:
        live, waits: what was looked at before; default: it is looked at now.
    """
    found_live, waits = live or LiveDays(settings), waits or waiting_now(settings, ledger)
    known = [day for name in DATA_TYPES for day in ledger.known_days(name)]
    waiting = {name: waits(name) for name in DATA_TYPES}

    def exported(data_type: str, day: date) -> bool:
        live = {format_: live_or_problem(found_live, data_type, format_, day) for format_ in FORMATS}
        return all(
            export.manifest.complete
            if isinstance(export, DailyExport)
            else export is None and _had_its_time(ledger, data_type, format_, day)
            for format_, export in live.items()
        )

    return due_exports(
        due_days(now, settings, min(known, default=None)),
        DATA_TYPES,
        closed=lambda data_type, day: is_closed(day, now, settings, waiting[data_type]),
        exported=exported,
    )


def _had_its_time(ledger: Ledger, data_type: str, format_: str, day: date) -> bool:
    """Whether a daily export of what the day holds now expired: only who asks for it gets it again."""
    expired = ledger.keeping.expired(data_type, format_, day)
    return expired is not None and (
        expired.data_version == ledger.read_days(data_type, day, day)[day].version
    )


def waiting_now(settings: Settings, ledger: Ledger) -> Waiting:
    """For which days of a data type something landed waits, looked at once for each."""
    return cache(waiting_for(settings, ledger))


def overdue(
    settings: Settings,
    ledger: Ledger,
    now: datetime,
    *,
    due: Due | None = None,
    waits: Waiting | None = None,
) -> list[Alert]:
    """The closed days whose daily exports should have been made for a while, and were not.

    Args:
        due, waits: what was looked at before; default: it is looked at now.
    """
    found = []
    waits = waits or waiting_now(settings, ledger)
    for day, data_types in (due or due_now(settings, ledger, now, waits=waits)).ready.items():
        closed_at = close_instant(day, settings.close_delay)
        starts_at = datetime.combine(day + timedelta(days=1), time(settings.export_hour), closed_at.tzinfo)
        for data_type in data_types:
            changed_at = ledger.read_days(data_type, day, day)[day].changed_at or closed_at
            since = max(closed_at, starts_at, changed_at)
            if now - since > OVERDUE_AFTER:
                found.append(
                    Alert(
                        "overdue export",
                        data_type,
                        f"{data_type}: {day} could be exported since {since:%Y-%m-%d %H:%M} UTC and has no "
                        "complete export in every format; its runs in Dagster say why",
                    )
                )
    return [*found, *_overdue_deliveries(settings, ledger, now, waits)]


def _overdue_deliveries(settings: Settings, ledger: Ledger, now: datetime, waits: Waiting) -> list[Alert]:
    """The scheduled exports that could have been queued for a while, the oldest of each schedule."""
    found = look(settings, ledger, now, waits)
    oldest = {delivery.schedule.id: delivery for delivery in reversed(found.ready)}
    return [
        Alert(
            "overdue delivery",
            schedule_id,
            f"{schedule_id}: {delivery.export_id} could be made since {since:%Y-%m-%d %H:%M} UTC and is not "
            "queued; the schedules in Dagster say why",
        )
        for schedule_id, delivery in sorted(oldest.items())
        if now - (since := max(possible_from(settings, delivery), delivery.schedule.created_at))
        > OVERDUE_AFTER
    ]


def live_or_problem(live: LiveDays, data_type: str, format_: str, day: date) -> DailyExport | str | None:
    """The live daily export, None if there is none, or what is wrong with it in words."""
    try:
        return live(data_type, format_, day)
    except DamagedData as error:
        return error.message
